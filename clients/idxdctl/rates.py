"""What happens in a time: two answers of `stats` and the seconds between them, as rates."""

from __future__ import annotations

from typing import Any

from idxdctl.observe import describe_clients

CLIENT_RATES = ("completed", "bytes", "retries", "errors", "interrupts")
WQ_RATES = ("accepted", "completed", "aborted", "bytes", "retries", "faults", "errors", "interrupts")


def rates(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    """WQs and clients with `NAME_per_s` beside each counter; a WQ or client that is new counts from 0."""
    old_wqs = {wq["wq"]: wq for wq in before["wqs"]} if before["generation"] == after["generation"] else {}
    old_clients = {client["pasid"]: client for client in describe_clients(before)} if old_wqs else {}
    wqs = [_with_rates(wq, old_wqs.get(wq["wq"], {}), WQ_RATES, seconds) for wq in after["wqs"]]
    return {
        "seconds": round(seconds, 3),
        "generation": after["generation"],
        "devices": after["devices"],
        "groups": _groups(wqs),
        "wqs": wqs,
        "clients": [
            _with_rates(client, old_clients.get(client["pasid"], {}), CLIENT_RATES, seconds)
            for client in describe_clients(after)
        ],
        "irq": after["irq"],
        "engine": after["engine"],
    }


def _groups(wqs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of the WQs of each group that has any."""
    found: dict[str, dict[str, Any]] = {}
    for wq in wqs:
        if wq["group"] is None:
            continue
        device, _, name = wq["wq"].partition("/")
        label = f"{device}/group{name[2:].partition('.')[0]}.{wq['group']}"
        group = found.setdefault(label, {"group": label, "wqs": 0, "occupancy": 0})
        group["wqs"] += 1
        group["occupancy"] += wq["occupancy"]
        for key in WQ_RATES:
            group[f"{key}_per_s"] = round(group.get(f"{key}_per_s", 0.0) + wq[f"{key}_per_s"], 1)
    return [found[label] for label in sorted(found)]


def _with_rates(now: dict[str, Any], then: dict[str, Any], keys: tuple[str, ...], seconds: float) -> dict[str, Any]:
    found = dict(now)
    for key in keys:
        found[f"{key}_per_s"] = round(max(0, now[key] - then.get(key, 0)) / seconds, 1) if seconds > 0 else 0.0
    return found
