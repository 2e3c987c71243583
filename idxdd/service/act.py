"""What an administrator makes a device do: halt, reset by its bus, revoke interrupt handles, leave and return.

Order            the device acts at once; where an answer waits, until the engine has let go of every descriptor. The driver
                 learns of it by what the device does: interrupts, registers, portals; and what the bus tells it:
Resets           of the bus wake who waits for an interrupt of a command (bus_event); no more, as in a kernel without handlers.
Hotplug          the driver unbinds the device when it is gone, and finds a reset one when it is back, each by its
                 disable-device verb (which survives a successor, being repeated).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from idxdd.device.device import Device
from idxdd.service import reports
from idxdd.service.tasks import Fail, Refused, Resume, Steps
from idxdd.spec.codes import DeviceState, ResetType

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

NO_HANDLE = 0xFFFFFFFF
BUS_RESETS = (ResetType.FLR, ResetType.WARM, ResetType.COLD)


def _reset_type(word: str, among: tuple[ResetType, ...]) -> ResetType:
    """Refused: EINVAL."""
    for kind in among:
        if word == kind.name.lower():
            return kind
    raise Refused("EINVAL", f"reset_type: {word!r:.40} is none of {', '.join(kind.name.lower() for kind in among)}")


def _present(daemon: "Daemon", name: str) -> Device:
    """Refused: ENOENT; ENODEV: it was removed."""
    device = reports.device_named(daemon.devices, name)
    if not device.present:
        raise Refused("ENODEV", f"device: {name} was removed; insert it first")
    return device


def _say(daemon: "Daemon", session: "Session", device: Device, what: str, **facts: Any) -> None:
    peer = session.peer
    by = f"by pid {peer.pid} of uid {peer.uid}"
    daemon.log.warning(f"{device.name}: {what}, {by}", device=device.name, uid=peer.uid, pid=peer.pid, **facts)


def _halt(daemon: "Daemon", session: "Session", device: str, reset_type: str) -> Steps:
    """The device stops at once, as after an error it cannot go on from; `reset_type` brings it back."""
    halted, kind = _present(daemon, device), _reset_type(reset_type, tuple(ResetType))
    before = halted.state
    if before not in (DeviceState.ENABLED, DeviceState.DRAIN):
        raise Refused("ENXIO", f"device: {device} is {before.name.lower()}; only an enabled device halts")
    _say(daemon, session, halted, f"halted, needs a {kind.name.lower()} reset")
    halted.halt(kind)
    return {"device": device, "state": halted.state.name, "reset_type": kind.name.lower()}, []
    yield


def _bus_reset(daemon: "Daemon", session: "Session", device: str, reset_type: str) -> Steps:
    """FLR, warm or cold reset; answered when the device answers again."""
    victim, kind = _present(daemon, device), _reset_type(reset_type, BUS_RESETS)
    _say(daemon, session, victim, f"{kind.name} reset")

    def wait(resume: Resume, _fail: Fail) -> None:
        victim.reset(kind, lambda: resume(None))

    yield wait
    yield daemon.link.verb("bus_event", device=victim.index)
    state = victim.state
    return {"device": device, "state": state.name, "reset_type": kind.name.lower(), "resets": victim.resets}, []


def _remove(daemon: "Daemon", session: "Session", device: str) -> Steps:
    """Surprise removal; answered when the driver has unbound the device."""
    victim = _present(daemon, device)
    _say(daemon, session, victim, "removed")
    yield from removal(daemon, victim)
    return {"device": device}, []


def removal(daemon: "Daemon", victim: Device) -> Steps:
    """The device goes; over when the driver has unbound it."""

    def wait(resume: Resume, _fail: Fail) -> None:
        victim.remove(lambda: resume(None))

    yield wait
    yield daemon.link.verb("bus_event", device=victim.index)
    yield daemon.link.verb("disable_device", device=victim.index)


def _insert(daemon: "Daemon", session: "Session", device: str) -> Steps:
    """A removed device returns as new; answered when the driver has probed it."""
    victim = reports.device_named(daemon.devices, device)
    if victim.present:
        raise Refused("EEXIST", f"device: {device} was not removed")
    _say(daemon, session, victim, "inserted")
    yield from insertion(daemon, victim)
    return {"device": device, "state": victim.state.name}, []


def insertion(daemon: "Daemon", victim: Device) -> Steps:
    """The device returns; over when the driver has probed it."""

    def wait(resume: Resume, _fail: Fail) -> None:
        victim.insert(lambda: resume(None))

    yield wait
    yield daemon.link.verb("disable_device", device=victim.index)


def _revoke(daemon: "Daemon", session: "Session", device: str, handle: int | None = None, wq: str | None = None) -> Steps:
    """Interrupt handles become invalid: all of them, one, or the one a kernel WQ has; the driver asks for others."""
    owner = _present(daemon, device)
    if not owner.interrupts.handles_by_command:
        raise Refused("EOPNOTSUPP", f"device: {device} has no Request Interrupt Handle command: its handles cannot be revoked")
    chosen = None if handle is None else [handle]
    if wq is not None:
        chosen = [_handle_of(daemon, wq, owner)]
    revoked = owner.interrupts.revoke_handles(chosen)
    if not revoked:
        out = ", ".join(map(str, sorted(owner.interrupts.handles))) or "none"
        raise Refused("ENOENT", f"handle: {device} has not given such a handle; out are: {out}")
    _say(daemon, session, owner, f"interrupt handles {', '.join(map(str, revoked))} revoked")
    return {"device": device, "revoked": revoked}, []
    yield


def _handle_of(daemon: "Daemon", wq: str, owner: Device) -> int:
    """Refused: ENOENT, EINVAL, ENXIO."""
    number = reports.wq_index(daemon.devices, wq)
    if number // reports.WQS_PER_DEVICE != owner.index:
        raise Refused("EINVAL", f"wq: {wq} is not of {owner.name}")
    handle = reports.int_handle(daemon.published_driver, number)
    if handle == NO_HANDLE:
        raise Refused("ENXIO", f"wq: {wq} has no interrupt handle: an enabled kernel work queue has one")
    return handle


OPERATIONS: dict[str, Callable[..., Steps]] = {
    "halt": _halt,
    "bus_reset": _bus_reset,
    "remove": _remove,
    "insert": _insert,
    "revoke": _revoke,
}
