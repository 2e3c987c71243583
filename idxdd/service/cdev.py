"""A user WQ as its character device has it: open without a mapping, then mmap, write or poll, each a request of its own.

`open` is open and mmap in one; this is for clients that the driver gives no mapping (later = ["rawio"]) and for tools that
mirror the device file. A portal has one writer: the client that mapped it, or the daemon for one that writes.
Poll             the answer's descriptor becomes readable when the driver wakes the WQ's pollers, and stays so: the daemon shuts
                 its end down, which nobody can take back. So it does when the session ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver.cdev import check_mmap, check_user_descriptors
from idxdd.driver.workqueue import DriverError
from idxdd.native import SUBMIT_RETRY, NativeError
from idxdd.native import Portal as NativePortal
from idxdd.service import portals
from idxdd.service.buffers import check_descriptor
from idxdd.service.tasks import Refused, Steps

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.portals import Portal
    from idxdd.service.sessions import Session, Sessions

CAP_SYS_RAWIO: Final = 17
DESCRIPTOR_BYTES: Final = 64
POLLS_MAX: Final = 16
"""Descriptors of one client that poll for one WQ; sessions.py says how many of one user."""
RETRIES: Final = 32
"""Of a write to a shared WQ that is full, as the driver's enqcmds_retries."""


def capable(session: Session) -> bool:
    """The client's process has CAP_SYS_RAWIO in the daemon's own user namespace: in one of its own everybody has it."""
    process = f"/proc/{session.peer.pid}"
    try:
        with open(f"{process}/status", "rb") as status:
            line = next(line for line in status if line.startswith(b"CapEff:"))
        # afterwards: a process can enter a namespace of its own between the two, but never come back from it
        ours = os.path.samestat(os.stat(f"{process}/ns/user"), os.stat("/proc/self/ns/user"))
    except (OSError, StopIteration):
        return False
    return ours and bool(int(line.split()[1], 16) >> CAP_SYS_RAWIO & 1)


def may_map(daemon: Daemon, session: Session, size: int = 1) -> None:
    """What the driver's mmap checks. Refused: EPERM, EINVAL."""
    same_process(session, "mmap")
    try:
        check_mmap(size, "rawio" in daemon.settings.later, lambda: capable(session))
    except DriverError as error:
        raise Refused(error.code, error.text) from None


def same_process(session: Session, call: str) -> None:
    """Later drivers (mm-check): the address space that opened is the one that calls. Refused: EPERM."""
    if session.sender not in (0, session.peer.pid):
        raise Refused("EPERM", f"{call}: process {session.sender} is not the one that opened, {session.peer.pid}")


def cdev_open(daemon: Daemon, session: Session, wq: str) -> Steps:
    """The portal's number and the WQ; nothing is mapped."""
    answer, fds = yield from portals.open_wq(daemon, session, wq, mapped=False)
    assert not fds
    return answer, []


def mmap(daemon: Daemon, session: Session, portal: int, size: int) -> Steps:
    """The pages of a portal that was opened without: what `open` hands over."""
    mine = _unmapped(session, portal)
    may_map(daemon, session, size)
    if mine.writer is not None:
        raise Refused("EBUSY", f"portal: {portal} is written to by write")
    fds = portals.pages_for_client(mine)
    mine.close_pages()
    return {"size": size}, fds
    yield


def write(daemon: Daemon, session: Session, portal: int, data: str) -> Steps:
    """Whole descriptors, in order; how many bytes were taken. EINVAL, EAGAIN, EPIPE if the first was refused."""
    same_process(session, "write")
    mine = _unmapped(session, portal)
    try:
        descriptors = bytes.fromhex(data)
    except ValueError:
        raise Refused("EINVAL", "data: must be hexadecimal digits, two a byte") from None
    whole = [descriptors[at : at + DESCRIPTOR_BYTES] for at in range(0, len(descriptors) // 64 * 64, DESCRIPTOR_BYTES)]
    version = daemon.wq_device(mine.facts.wq).profile.version
    written = 0
    for descriptor in whole:
        try:
            check_user_descriptors(descriptor, version)
        except DriverError as error:
            return _taken(written, error.code, error.text)
        code = yield from _submit(daemon, mine, descriptor)
        if code:
            return _taken(written, code, f"portal: {mine.facts.name} took no more")
        written += DESCRIPTOR_BYTES
    return {"written": written}, []


def _taken(written: int, code: str, text: str) -> tuple[dict[str, Any], list[int]]:
    if not written:
        raise Refused(code, text)
    return {"written": written}, []


def _submit(daemon: Daemon, portal: Portal, descriptor: bytes) -> Steps:
    if portal.writer is None:
        portal.writer = _writer(daemon, portal)
    for _ in range(1 + RETRIES):
        answer = portal.writer.try_submit(descriptor)
        if answer >= 0:
            return ""
        if answer != SUBMIT_RETRY:
            return "EPIPE"
        for _ in range(RETRIES):  # the engine answers from its own thread
            if not portal.writer.asking:
                break
            yield daemon.next_turn
    return "EAGAIN"


def _writer(daemon: Daemon, portal: Portal) -> NativePortal:
    pages = portal.unmapped
    assert pages is not None
    try:
        return NativePortal(
            client_fd=pages.client, device_fd=pages.device, published_fd=daemon.pages.device_fd, doorbell_fd=pages.doorbell,
            wake_fd=pages.theirs, dedicated=portal.facts.dedicated,
        )  # fmt: skip
    except (NativeError, OSError, ValueError) as error:
        raise Refused("ENOMEM", f"portal: {error}") from None


def _unmapped(session: Session, number: int) -> Portal:
    portal = session.portals.get(number)
    if portal is None:
        raise Refused("ENOENT", f"portal: this client has no portal {number}")
    if portal.unmapped is None:
        raise Refused("EBUSY", f"portal: {number} is mapped: its client alone writes it")
    return portal


# ---- poll --------------------------------------------------------------------------------------------------------------
class Pollers:
    """Sockets whose other end polls for errors of a WQ; a session's go with it, and are counted by user meanwhile."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: dict[int, dict[Session, list[socket.socket]]] = {}

    def add(self, wq: int, session: Session) -> tuple[int, Callable[[], None]]:
        """The client's end, and what makes it readable at once. Refused: EMFILE."""
        self._close(wq, session, [sock for sock in self._of(wq, session) if _left(sock)])
        if len(self._of(wq, session)) >= POLLS_MAX:
            raise Refused("EMFILE", f"portal: {POLLS_MAX} descriptors poll for this work queue already")
        self._sessions.check_poller_quota(session)
        ours, theirs = _pair()
        self._waiting.setdefault(wq, {}).setdefault(session, []).append(ours)
        self._sessions.count_pollers(session, +1)
        return theirs, lambda: self._close(wq, session, [sock for sock in self._of(wq, session) if sock is ours])

    def wake(self, wq: int) -> None:
        """The driver's wake_up_interruptible of this WQ's error queue."""
        for session in list(self._waiting.get(wq, ())):
            self._close(wq, session, self._of(wq, session))

    def leave(self, session: Session) -> None:
        """It has ended: nobody asks any more."""
        for wq in list(self._waiting):
            self._close(wq, session, self._of(wq, session))

    def close(self) -> None:
        """Nobody is woken any more."""
        for wq in list(self._waiting):
            self.wake(wq)

    def _of(self, wq: int, session: Session) -> list[socket.socket]:
        return list(self._waiting.get(wq, {}).get(session, ()))

    def _close(self, wq: int, session: Session, socks: list[socket.socket]) -> None:
        if not socks:
            return
        held = self._waiting[wq]
        for sock in socks:
            held[session].remove(sock)
            sock.close()
        self._sessions.count_pollers(session, -len(socks))
        if not held[session]:
            del held[session]
        if not held:
            del self._waiting[wq]


def _pair() -> tuple[socket.socket, int]:
    """Ours, and the client's. Refused: EMFILE."""
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise Refused("EMFILE", f"portal: {error.strerror}") from None
    try:
        return socket.socket(fileno=check_descriptor(ours.detach(), "portal")), theirs.detach()
    finally:
        theirs.close()


def _left(sock: socket.socket) -> bool:
    """Its client has closed the other end."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def poll(daemon: Daemon, session: Session, portal: int) -> Steps:
    """A descriptor that is readable once the device has had a software error, for ever."""
    mine = session.portals.get(portal)
    if mine is None:
        raise Refused("ENOENT", f"portal: this client has no portal {portal}")
    fd, wake = daemon.pollers.add(mine.facts.wq, session)
    try:
        answer = yield daemon.link.verb("poll", wq=mine.facts.wq)
    except Refused:
        wake()
        os.close(fd)
        raise
    if answer["readable"]:
        wake()
    return {"readable": answer["readable"]}, [fd]


def file(daemon: Daemon, session: Session, portal: int) -> Steps:
    """How many completion records of this open came by the event log, and how many could not be written."""
    mine = session.portals.get(portal)
    if mine is None or mine.channel is not None:
        raise Refused("ENOENT", f"portal: this client has no portal {portal} of a user work queue")
    wq = mine.facts.wq
    return (yield daemon.link.verb("file", wq=wq, pasid=session.pasid, client=session.number, file=mine.number)), []


OPERATIONS: Final[dict[str, Callable[..., Steps]]] = {
    "cdev_open": cdev_open,
    "mmap": mmap,
    "write": write,
    "poll": poll,
    "file": file,
}
