"""What happens in a time: two answers of `stats` and the seconds between them, as rates."""

from __future__ import annotations

from typing import Any

from idxdctl.observe import describe_clients

CLIENT_RATES = ("completed",)
WQ_RATES = ("accepted", "completed", "bytes", "retries", "faults", "errors", "interrupts")


def rates(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    """WQs and clients with `NAME_per_s` beside each counter; a WQ or client that is new counts from 0."""
    old_wqs = {wq["wq"]: wq for wq in before["wqs"]} if before["generation"] == after["generation"] else {}
    old_clients = {client["pasid"]: client for client in describe_clients(before)} if old_wqs else {}
    return {
        "seconds": round(seconds, 3),
        "generation": after["generation"],
        "devices": after["devices"],
        "wqs": [_with_rates(wq, old_wqs.get(wq["wq"], {}), WQ_RATES, seconds) for wq in after["wqs"]],
        "clients": [
            _with_rates(client, old_clients.get(client["pasid"], {}), CLIENT_RATES, seconds)
            for client in describe_clients(after)
        ],
        "irq": after["irq"],
        "engine": after["engine"],
    }


def _with_rates(now: dict[str, Any], then: dict[str, Any], keys: tuple[str, ...], seconds: float) -> dict[str, Any]:
    found = dict(now)
    for key in keys:
        found[f"{key}_per_s"] = round(max(0, now[key] - then.get(key, 0)) / seconds, 1) if seconds > 0 else 0.0
    return found
