"""Inter-domain windows: a client lets another client's descriptors reach a part of its own memory.

Who may          the owner alone opens a window, and only on its own address space: the access PASID is its session's, the
                 submitter's that of a client it names. The owner or an administrator closes it. Nobody grants anybody
                 else's memory.
Who writes what  the loop alone. idxdd chooses the entry, idxdd-irq writes it; a window is here from before its entry is
                 written until after it is cleared, so that an entry is never given away twice.
The end          a session that ends takes its windows along, as owner and as submitter, before its PASID is free: at once
                 in the engine (unbind_pasid cuts off whoever reaches into it), then in the table. It waits for one that
                 another is closing.
Resets           clear the table: a window whose entry is not its own any more is forgotten when it is looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from idxdd.control.roles import Role
from idxdd.device.device import Device
from idxdd.service.tasks import Fail, Refused, Resume, Steps
from idxdd.spec.registers import IDCAP, IDPT

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

SHARE_OF_ONE_USER = 4
"""One user may hold a quarter of a device's entries; an administrator all."""
ADDRESSES = 1 << 64


@dataclass
class Window:
    """One window and its entry."""

    device: Device
    handle: int
    owner: "Session"
    submitter: "Session"
    entry: IDPT
    settled: bool = False
    """Its entry was written."""
    closing: bool = False
    """Its entry is being cleared."""
    waiting: list[Resume] = field(default_factory=list)
    """Who goes on when that has ended, well or not."""

    def until_closed(self, resume: Resume, _fail: Fail) -> None:
        """Wait: whoever is closing it has its answer."""
        self.waiting.append(resume)

    def end_closing(self) -> None:
        """It is closed, or stays."""
        self.closing = False
        waiting, self.waiting = self.waiting, []
        for resume in waiting:
            resume(None)

    @property
    def lives(self) -> bool:
        """False: a reset has cleared its entry."""
        if not self.settled:
            return True
        now = self.device.registers.read(IDPT, self.handle)
        return bool(now.usable) and (now.access_pasid, now.submitter_pasid) == (self.owner.pasid, self.submitter.pasid)

    def described(self) -> dict[str, Any]:
        """As `windows` answers; base and size are those of now: Update Window changes them."""
        now = self.device.registers.read(IDPT, self.handle)
        return {
            "device": self.device.name,
            "handle": self.handle,
            "owner": self.owner.pasid,
            "submitter": self.submitter.pasid,
            "address": now.window_base,
            "size": now.window_size,
            "read": bool(now.read_permission),
            "write": bool(now.write_permission),
            "offset": bool(now.window_mode),
            "update": bool(now.allow_update),
        }


class Windows:
    """All windows of all devices."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Window] = {}

    def __iter__(self) -> Iterator[Window]:
        self._forget_dead()
        return iter(list(self._held.values()))

    def find(self, device: Device, handle: int) -> Window | None:
        """The window of this handle."""
        self._forget_dead()
        return self._held.get((device.index, handle))

    def add(self, window: Window) -> None:
        """Its entry is taken from now on."""
        self._held[window.device.index, window.handle] = window

    def remove(self, window: Window) -> None:
        """Its entry is free."""
        if self._held.get((window.device.index, window.handle)) is window:
            del self._held[window.device.index, window.handle]

    def free_entry(self, device: Device, uid: int | None) -> int:
        """An entry nobody has. `uid`: whose share counts, None for an administrator. Refused: ENOSPC, EMFILE."""
        count = device.domains.count
        mine = [window for window in self if window.device is device and window.owner.peer.uid == uid]
        if uid is not None and len(mine) >= max(1, count // SHARE_OF_ONE_USER):
            raise Refused("EMFILE", f"device: uid {uid} has {len(mine)} windows on {device.name}, which is its limit")
        for handle in range(count):
            entry = device.registers.read(IDPT, handle)
            if (device.index, handle) not in self._held and not entry.usable and not entry.allow_update:
                return handle
        raise Refused("ENOSPC", f"device: all {count} IDPT entries of {device.name} are in use")

    def _forget_dead(self) -> None:
        for key, window in list(self._held.items()):
            if not window.lives:
                del self._held[key]


def _named(daemon: "Daemon", name: str) -> Device:
    device = daemon.devices.get(name)
    if device is None:
        raise Refused("ENOENT", f"device: no device {name!r} (there is {', '.join(daemon.devices)})")
    if not device.domains.count:
        raise Refused("EOPNOTSUPP", f"device: {name} has no inter-domain operations; profile dsa2-interdomain has")
    return device


def open_window(
    daemon: "Daemon",
    session: "Session",
    device: str,
    submitter: int,
    address: int,
    size: int,
    read: bool = False,
    write: bool = False,
    offset: bool = False,
    update: bool = False,
) -> Steps:
    """The submitter's descriptors may reach [address, address + size) of this session's memory."""
    chosen = _named(daemon, device)
    other = daemon.sessions.of_pasid(submitter)
    if other is None:
        raise Refused("ESRCH", f"submitter: no client has PASID {submitter}")
    if not (read or write or update):
        raise Refused("EINVAL", "read, write: a window for neither, that its owner cannot update, is none")
    if offset and not chosen.registers.read(IDCAP).offset_mode:
        raise Refused("EOPNOTSUPP", f"offset: {device} has no offset mode")
    if address + size > ADDRESSES:
        raise Refused("EINVAL", "size: the window passes the end of the address space")
    entry = IDPT.encode(
        usable=True,
        allow_update=update,
        submitter_pasid=submitter,
        read_permission=read,
        write_permission=write,
        window_en=True,
        window_mode=offset,
        access_pasid=session.pasid,
        window_base=address,
        window_size=size,
    )
    uid = None if Role.ADMIN in session.roles else session.peer.uid
    window = Window(chosen, daemon.windows.free_entry(chosen, uid), session, other, entry)
    daemon.windows.add(window)
    try:
        answer = yield daemon.link.verb(
            "set_window",
            device=chosen.index,
            entry=window.handle,
            qwords=[entry.raw >> 64 * number & (1 << 64) - 1 for number in range(4)],
        )
    except Refused:
        daemon.windows.remove(window)
        raise
    window.settled = True
    if other.ended or daemon.windows.find(chosen, window.handle) is not window:
        yield from _close_unless_closed(daemon, window)
        raise Refused("ESRCH", f"submitter: the client of PASID {submitter} has gone")
    return {"handle": answer["handle"]}, []


def close_window(daemon: "Daemon", session: "Session", device: str, handle: int) -> Steps:
    """Answered when nobody reaches anything through it any more."""
    window = daemon.windows.find(_named(daemon, device), handle)
    mine = window is not None and (window.owner is session or Role.ADMIN in session.roles)
    if window is None or not mine or not window.settled or window.closing:
        raise Refused("ENOENT", f"handle: this client has no window {handle} on {device}")
    yield from _close(daemon, window)
    return {}, []


def _close(daemon: "Daemon", window: Window) -> Steps:
    window.closing = True
    try:
        yield daemon.link.verb("clear_window", device=window.device.index, entry=window.handle)
    except Refused:
        window.end_closing()
        raise
    daemon.windows.remove(window)
    window.end_closing()


def _close_unless_closed(daemon: "Daemon", window: Window) -> Steps:
    """As _close, of a window that another may be closing, or has closed."""
    while window.closing:
        yield window.until_closed
    if daemon.windows.find(window.device, window.handle) is window:
        yield from _close(daemon, window)


def windows(daemon: "Daemon", session: "Session") -> Steps:
    """Those this client owns or may submit to; an administrator sees all."""
    seen = [
        window.described()
        for window in daemon.windows
        if window.settled and (session in (window.owner, window.submitter) or Role.ADMIN in session.roles)
    ]
    return {"windows": seen}, []
    yield


def leave(daemon: "Daemon", session: "Session") -> Steps:
    """The session ends: its memory is out of everybody's reach, and it is in nobody's window."""
    daemon.port.unbind_pasid(session.pasid)
    for window in daemon.windows:
        if session not in (window.owner, window.submitter):
            continue
        try:
            yield from _close_unless_closed(daemon, window)
        except Refused as refusal:  # the device is gone, and its table with it
            daemon.windows.remove(window)
            daemon.log.warning(f"window {window.handle} of {window.device.name} was not cleared: {refusal.text}")


OPERATIONS: dict[str, Callable[..., Steps]] = {"open_window": open_window, "close_window": close_window, "windows": windows}
