"""What the daemon tells about itself: work queues by name, registers by name, counters of everything that counts."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from idxdd.device.device import Device
from idxdd.native import LAYOUT, Words
from idxdd.service.buffers import AddressSpace
from idxdd.service.portals import CHANNEL_SIZE
from idxdd.service.tasks import Refused
from idxdd.spec.codes import WqMode
from idxdd.spec.layout import Register
from idxdd.spec.registers import GRPCFG, REGISTERS, TABLES, WQCAP, WQCFG

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

WQS_PER_DEVICE = LAYOUT["wqs_per_device_max"]
WQ_NAME = re.compile(r"(?P<device>dsa[0-9]{1,2})/wq(?P<index>[0-9]{1,2})\.(?P<wq>[0-9]{1,2})")
TYPE_NONE, TYPE_KERNEL, TYPE_USER = 0, 1, 2
CLIENTS_PER_ANSWER_MAX = 64
PORTALS_PER_CLIENT_MAX = 8  # 64 clients with 8 portals of 8 counters stay well below a frame

_WQ_COUNTERS = tuple(
    (name, LAYOUT[f"wq_statistics.{name}"], size)
    for name, size in (
        ("accepted", 8),
        ("completed", 8),
        ("aborted", 8),
        ("bytes", 8),
        ("retries", 8),
        ("errors", 8),
        ("faults", 8),
        ("interrupts", 8),
        ("interrupts_requested", 8),
        ("occupancy", 4),
        ("portals", 4),
    )
)
_DEVICE_WQ, _DEVICE_WQ_STRIDE = LAYOUT["published_device.wq"], LAYOUT["published_device.wq[]"]
_DRIVER_WQ, _DRIVER_WQ_STRIDE = LAYOUT["published_driver.wq"], LAYOUT["published_driver.wq[]"]
_WQ_TYPE, _WQ_HANDLE, _WQ_RUNS = (LAYOUT[f"published_wq.{name}"] for name in ("type", "int_handle", "interrupts"))


@dataclass(frozen=True)
class WqFacts:
    """A work queue as it is configured now."""

    name: str
    wq: int
    kernel: bool
    dedicated: bool
    size: int
    threshold: int
    max_transfer_size: int
    max_batch_size: int

    def answer(self) -> dict[str, Any]:
        """Keys of the open answer."""
        return {
            "wq": self.wq,
            "dedicated": self.dedicated,
            "kernel": self.kernel,
            "size": self.size,
            "threshold": self.threshold,
            "max_transfer_size": self.max_transfer_size,
            "max_batch_size": self.max_batch_size,
        }


def wq_index(devices: dict[str, Device], name: str) -> int:
    """Global index of a WQ named as users write it. Refused: ENOENT."""
    match = WQ_NAME.fullmatch(name)
    device = devices.get(match["device"]) if match else None
    if match is None or device is None:
        raise Refused("ENOENT", f"wq: no work queue {name!r} (named as dsa0/wq0.1)")
    wq = int(match["wq"])
    if int(match["index"]) != device.index or wq >= device.registers.read(WQCAP).num_wqs:
        raise Refused("ENOENT", f"wq: {match['device']} has no work queue wq{match['index']}.{match['wq']}")
    return device.index * WQS_PER_DEVICE + wq


def device_named(devices: dict[str, Device], name: str) -> Device:
    """Refused: ENOENT."""
    device = devices.get(name)
    if device is None:
        raise Refused("ENOENT", f"device: no device {name!r} (there is {', '.join(devices)})")
    return device


def int_handle(published: Words, wq: int) -> int:
    """The interrupt handle the driver has for a WQ (global index); 0xffffffff: none."""
    return published.load32(_DRIVER_WQ + wq * _DRIVER_WQ_STRIDE + _WQ_HANDLE)


def wq_facts(devices: dict[str, Device], published: Words, name: str) -> WqFacts:
    """Mode and sizes from the registers, the type from the driver. Refused: ENOENT, ENXIO."""
    wq = wq_index(devices, name)
    device = devices[name.split("/")[0]]
    config = device.registers.read(WQCFG, wq % WQS_PER_DEVICE)
    kind = published.load32(_DRIVER_WQ + wq * _DRIVER_WQ_STRIDE + _WQ_TYPE)
    if kind == TYPE_NONE or not config.wq_size:
        raise Refused("ENXIO", f"wq: {name} is not configured")
    dedicated = config.mode is WqMode.DEDICATED
    return WqFacts(
        name=name,
        wq=wq,
        kernel=kind == TYPE_KERNEL,
        dedicated=dedicated,
        size=config.wq_size,
        threshold=0 if dedicated else config.wq_thresh,
        max_transfer_size=1 << config.max_xfer_shift,
        max_batch_size=1 << config.max_batch_shift,
    )


def registers(device: Device) -> dict[str, dict[str, Any]]:
    """Every register and table entry: {"value": hexadecimal, "fields": {name: number or name of the code}}."""
    found: dict[str, dict[str, Any]] = {}
    for register in REGISTERS:
        found[register.__name__] = decoded(device.registers.read(register))
    for table in TABLES:
        for index in range(device.registers.count(table)):
            found[f"{table.__name__}[{index}]"] = decoded(device.registers.read(table, index))
    return found


def decoded(value: Register) -> dict[str, Any]:
    """Value and fields of one register, as a client reads them."""
    fields = {name: _plain(field) for name, field in value.values().items()}
    return {"value": f"{value.raw:#0{2 + 2 * value.width_bytes}x}", "fields": fields}


def _plain(value: object) -> int | str:
    """msgpack's integers end at 64 bits; codes go by name."""
    if isinstance(value, Enum):
        return value.name or str(value.value)
    assert isinstance(value, int)
    return int(value) if value < 1 << 64 else f"{value:#x}"


def stats(daemon: "Daemon", after: int) -> dict[str, Any]:
    """Counters; clients with a PASID above `after`, `more` tells whether there are others."""
    clients = [session for session in daemon.sessions if session.pasid > after and session.greeted]
    return counters(daemon) | {
        "clients": [_client(daemon, session) for session in clients[:CLIENTS_PER_ANSWER_MAX]],
        "more": len(clients) > CLIENTS_PER_ANSWER_MAX,
    }


def counters(daemon: "Daemon") -> dict[str, Any]:
    """What is counted by device, work queue and process, not by client."""
    return {
        "generation": daemon.generation,
        "sessions": len(daemon.sessions),
        "channels": len(daemon.channels),
        "devices": [{"name": name, **device.statistics()} for name, device in daemon.devices.items()],
        "wqs": [_wq(daemon, device, wq) for device in daemon.devices.values() for wq in _configured(device)],
        "irq": {"pid": daemon.irq_pid, "restarts": daemon.irq_restarts, "unanswered": daemon.link.unanswered},
        "engine": daemon.engine.statistics(),
    }


def _configured(device: Device) -> list[int]:
    return [wq for wq in range(device.registers.read(WQCAP).num_wqs) if device.registers.get(WQCFG.wq_size, wq)]


def _group_of(device: Device, wq: int) -> int | None:
    groups = range(device.profile.groups)
    return next((group for group in groups if device.registers.get(GRPCFG.wqs, group) >> wq & 1), None)


def _wq(daemon: "Daemon", device: Device, wq: int) -> dict[str, Any]:
    number = device.index * WQS_PER_DEVICE + wq
    base, words = _DEVICE_WQ + number * _DEVICE_WQ_STRIDE, daemon.published
    counters: dict[str, Any] = {
        "wq": f"dsa{device.index}/wq{device.index}.{wq}",
        "group": _group_of(device, wq),
        "size": device.registers.get(WQCFG.wq_size, wq),
    }
    for name, offset, size in _WQ_COUNTERS:
        counters[name] = words.load64(base + offset) if size == 8 else words.load32(base + offset)
    counters["wq_thread_runs"] = daemon.published_driver.load64(_DRIVER_WQ + number * _DRIVER_WQ_STRIDE + _WQ_RUNS)
    return counters


def _client(daemon: "Daemon", session: "Session") -> dict[str, Any]:
    memory = session.memory
    return {
        "pid": session.peer.pid,
        "uid": session.peer.uid,
        "pasid": session.pasid,
        "buffers": len(memory.buffers),
        "buffer_bytes": memory.bytes_held,
        "portals": [
            {"portal": portal.number, "wq": portal.facts.name, **daemon.engine.portal_statistics(portal.engine_number)}
            for portal in list(session.portals.values())[:PORTALS_PER_CLIENT_MAX]
            if not portal.closing
        ],
    }


MAPPINGS_TOLD_MAX = 256


def mappings_of(memory: AddressSpace) -> list[dict[str, Any]]:
    """What a client shows the device, ascending: start, size, number of the buffer (None: a channel's memory)."""
    numbers = {id(buffer): number for number, buffer in memory.buffers.items()}
    return [
        {"start": start, "size": CHANNEL_SIZE, "buffer": None}
        if buffer is None
        else {"start": start, "size": buffer.size, "buffer": numbers.get(id(buffer))}
        for start, buffer in sorted(memory.mappings.items())[:MAPPINGS_TOLD_MAX]
    ]


def place_of(mappings: list[dict[str, Any]], address: int) -> dict[str, Any]:
    """Where an address lies among them: inside one, or beside the nearest below and above."""
    place: dict[str, Any] = {"address": address, "mapping": None, "below": None, "above": None}
    for mapping in mappings:
        if mapping["start"] <= address < mapping["start"] + mapping["size"]:
            place["mapping"] = mapping
        elif mapping["start"] < address:
            place["below"] = mapping
        elif place["above"] is None:
            place["above"] = mapping
    return place
