"""What `list` and `stats` print for people; --json prints the daemon's answer itself."""

from __future__ import annotations

from typing import Any

from idxdctl.session import table
from idxdctl.sizes import format_size


def devices(listed: dict[str, Any]) -> str:
    """Each device, then its work queues."""
    return "\n\n".join(_device(device) for device in listed["devices"]) or "no devices"


def _device(device: dict[str, Any]) -> str:
    engines = len(device.get("engines", ()))
    head = f"{device['name']}: {device['state']}, {len(device.get('groups', ()))} groups, {engines} engines"
    rows = [
        (
            f"{device['name']}/{wq['name']}" if "/" not in wq["name"] else wq["name"],
            wq["state"],
            wq["mode"],
            wq["type"],
            wq["size"],
            wq.get("threshold", 0) or "-",
            wq.get("priority", "-"),
            _group(wq.get("group", wq.get("group_id"))),
            wq.get("clients", "-"),
        )
        for wq in device["wqs"]
    ]
    header = ("wq", "state", "mode", "type", "size", "threshold", "priority", "group", "clients")
    return head + ("\n" + table(header, rows, left=4) if rows else "")


def _group(group: object) -> object:
    return "-" if group in (None, -1) else group


def statistics(counted: dict[str, Any]) -> str:
    """Work queues, clients, then what the processes say of themselves."""
    wqs = [
        (
            wq["wq"],
            wq["accepted"],
            wq["completed"],
            wq["aborted"],
            format_size(wq["bytes"]),
            wq["retries"],
            wq["errors"],
            wq["faults"],
            wq["interrupts"],
            wq["portals"],
        )
        for wq in counted["wqs"]
    ]
    header = ("wq", "accepted", "completed", "aborted", "bytes", "retries", "errors", "faults", "interrupts", "portals")
    parts = [table(header, wqs)]
    clients = [[_short(client[key]) for key in sorted(client)] for client in counted["clients"]]
    if clients:
        parts.append(table(sorted(counted["clients"][0]), clients))
    for name in ("irq", "engine"):
        facts = counted.get(name, {})
        parts.append(f"{name}: " + ", ".join(f"{key} {_short(value)}" for key, value in facts.items()))
    return "\n\n".join(parts)


def _short(value: object) -> str:
    return str(len(value)) if isinstance(value, list | dict) else str(value)
