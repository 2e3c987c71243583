"""What devices told of errors: SWERR with its history, and the event log as it lies in the driver's memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from idxdd.device.device import Device
from idxdd.service import reports
from idxdd.service.tasks import Steps
from idxdd.spec.limits import EVL_ENTRY_BYTES_BY_SUPPORT
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCAP, SWERR

if TYPE_CHECKING:
    from idxdd.device.errors import Reported
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

ENTRIES_MAX = 256
"""Of an answer: 32 KiB with entries of 128 bytes."""


def _swerr(daemon: "Daemon", _session: "Session", device: str) -> Steps:
    """The register, and the last errors with where each was told."""
    owner = reports.device_named(daemon.devices, device)
    raw = owner.registers.read(SWERR).raw
    return {
        "device": device,
        "register": raw.to_bytes(SWERR.width_bytes, "little"),
        "reported": owner.errors.reported,
        "lost": owner.errors.overflowed,
        "history": [_told(entry) for entry in owner.errors.history],
    }, []
    yield


def _told(entry: "Reported") -> dict[str, Any]:
    raw = entry.report.swerr().raw
    return {"at_ns": entry.at_ns, "where": entry.where, "swerr": raw.to_bytes(SWERR.width_bytes, "little")}


def _evl(daemon: "Daemon", _session: "Session", device: str) -> Steps:
    """The log's registers, and the newest entries that its memory still has."""
    owner = reports.device_named(daemon.devices, device)
    config, status = owner.registers.read(EVLCFG), owner.registers.read(EVLSTATUS)
    log = owner.errors.log
    found = {
        "device": device,
        "active": log.active,
        "log_base": config.log_base,
        "log_size": config.log_size,
        "head": status.head,
        "tail": status.tail,
        "int_pending": bool(status.int_pending),
        **log.statistics(),
    }
    return found | {"entries": _entries(owner, config, status) if owner.present else []}, []
    yield


def _entries(device: Device, config: EVLCFG, status: EVLSTATUS) -> list[dict[str, Any]]:
    """Oldest first; `number` counts entries since the device began, `waits`: the driver has not taken it yet."""
    support = device.registers.get(GENCAP.evl_support)
    written, size = device.errors.log.written, config.log_size
    if not support or not size or device.host is None:
        return []
    entry_bytes = EVL_ENTRY_BYTES_BY_SUPPORT[support]
    waiting = (status.tail - status.head) % size
    found = []
    for age in range(min(size - 1, written, ENTRIES_MAX), 0, -1):
        index = (status.tail - age) % size
        raw = device.host.read(config.log_base + index * entry_bytes, entry_bytes)
        if raw and any(raw):  # set up anew since, it begins with zeros
            found.append({"number": written - age + 1, "index": index, "waits": age <= waiting, "entry": raw})
    return found


OPERATIONS: dict[str, Callable[..., Steps]] = {"swerr": _swerr, "evl": _evl}
