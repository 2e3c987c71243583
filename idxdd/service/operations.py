"""The table of operations: what each request of a client does, as steps that return (answer, descriptors)."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from idxdd.control.protocol import VERSION
from idxdd.device.device import Device
from idxdd.service import admin, agents, cdev, faults, pci, portals, reports, sessions, windows
from idxdd.service.tasks import Refused, Steps

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

Operation = Callable[..., Steps]


def _hello(daemon: "Daemon", _session: "Session") -> Steps:
    answer = {
        "version": VERSION,
        "instance": daemon.settings.instance,
        "generation": daemon.generation,
        "pid": os.getpid(),
        "irq_pid": daemon.irq_pid,
        "max_frame": 65536,
    }
    return answer, daemon.pages.for_client()
    yield


def _list(daemon: "Daemon", _session: "Session") -> Steps:
    answer = yield daemon.link.verb("list")
    for device in answer["devices"]:
        device["profile"] = daemon.devices[device["name"]].profile.name
    return answer, []


def _stats(daemon: "Daemon", _session: "Session", after: int = 0) -> Steps:
    return reports.stats(daemon, after), []
    yield


def _regs(daemon: "Daemon", _session: "Session", device: str) -> Steps:
    return {"registers": reports.registers(named(daemon, device))}, []
    yield


def _open(daemon: "Daemon", session: "Session", wq: str) -> Steps:
    """open and mmap in one."""
    if not daemon.wq_facts(wq).kernel:
        cdev.may_map(daemon, session)
    return (yield from portals.open_wq(daemon, session, wq))


def _device_verb(name: str) -> Operation:
    def operation(daemon: "Daemon", _session: "Session", device: str) -> Steps:
        yield daemon.link.verb(name, device=named(daemon, device).index)
        return {}, []

    return operation


def _wq_verb(name: str) -> Operation:
    def operation(daemon: "Daemon", _session: "Session", wq: str) -> Steps:
        yield daemon.link.verb(name, wq=reports.wq_index(daemon.devices, wq))
        return {}, []

    return operation


def named(daemon: "Daemon", name: str) -> Device:
    """The device of this name. Refused: ENOENT."""
    device = daemon.devices.get(name)
    if device is None:
        raise Refused("ENOENT", f"device: no device {name!r} (there is {', '.join(daemon.devices)})")
    return device


OPERATIONS: dict[str, Operation] = {
    "hello": _hello,
    "list": _list,
    "stats": _stats,
    "agent": agents.add,
    "alloc": sessions.alloc,
    "map": sessions.map_memory,
    "unmap": sessions.unmap,
    "free": sessions.free,
    "open": _open,
    **cdev.OPERATIONS,
    "close": sessions.close,
    "reopen": sessions.reopen,
    "enable_device": _device_verb("enable_device"),
    "disable_device": _device_verb("disable_device"),
    "enable_wq": _wq_verb("enable_wq"),
    "disable_wq": _wq_verb("disable_wq"),
    "regs": _regs,
    **windows.OPERATIONS,
    **pci.OPERATIONS,
    **admin.OPERATIONS,
    **faults.OPERATIONS,
}
