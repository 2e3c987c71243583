"""What `list` and `stats` print for people; --json prints the daemon's answer itself."""

from __future__ import annotations

from typing import Any

from idxdctl.output import table
from idxdctl.sizes import format_size


def devices(listed: list[dict[str, Any]]) -> str:
    """Each device of a topology, then its work queues."""
    return "\n\n".join(_device(device) for device in listed) or "no devices"


def _device(device: dict[str, Any]) -> str:
    from idxdctl.accfg import members, wqs_of

    engines = sum(len(owner[key]) for owner, key in members(device) if "engines" in key)
    head = f"{device['dev']}: {device['state']}"
    if device.get("reach"):
        head += f" ({device['reach']})"
    head += f", {len(device.get('groups', ()))} groups, {engines} engines"
    status = int(device.get("cmd_status", "0x0"), 16)
    if status:
        head += f", cmd_status {status:#x}"
    rows = [
        (
            f"{device['dev']}/{wq['dev']}",
            wq["state"],
            wq["mode"],
            wq["type"],
            wq["size"],
            wq["threshold"] or "-",
            wq["priority"],
            wq.get("group_id", "-"),
            wq["clients"],
        )
        for wq in wqs_of(device)
    ]
    header = ("wq", "state", "mode", "type", "size", "threshold", "priority", "group", "clients")
    return head + ("\n" + table(header, rows, left=4) if rows else "")


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
