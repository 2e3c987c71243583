"""Bells: how one process wakes another.

Who rings what   loop bells (eventfd) stay between idxdd and idxdd-irq. A client rings the device by its doorbell and
                 is woken through a socketpair end. Vectors (named semaphores) are posted by the device, waited for by
                 idxdd-irq; no client ever holds one: whoever may write a semaphore can kill its waiters.
Order            publish, fence, look whether the other side sleeps, only then ring (protocols: sleeping and waking).
Limits           none of our ends ever blocks. A doorbell is registered edge-triggered and never read, so its counter
                 does not matter; a wake socket is a pair because the flags of a shared eventfd are the client's as well.
"""

import os
import select
import socket
from types import TracebackType
from typing import Final, Self

import posix_ipc

from idxdd.shm.names import private_umask

_WAKE_BUFFER_BYTES: Final = 1  # the kernel rounds up to its least: what a client never reads must not pile up


class Bell:
    """An eventfd between our own processes: any number of rings until it is drained are one."""

    def __init__(self, fd: int | None = None) -> None:
        """Make one, or take over an fd that was inherited or passed."""
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if fd is None else fd

    def fileno(self) -> int:
        return self.fd

    def ring(self) -> None:
        """Wake the other side; never blocks."""
        try:
            os.eventfd_write(self.fd, 1)
        except BlockingIOError:
            return  # the counter is full: it is as rung as can be

    def drain(self) -> bool:
        """Silence it; True if it had been rung."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def create_doorbell() -> int:
    """An eventfd for one client to ring the device with; the device registers it and never reads it."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def watch_doorbell(epoll: select.epoll, fd: int) -> None:
    """Every write is an edge, also when the counter was never read."""
    epoll.register(fd, select.EPOLLIN | select.EPOLLET)


def create_wake_pair() -> tuple[int, int]:
    """(ours, the client's) ends of the socket that wakes a client; neither blocks, flags are not shared."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAKE_BUFFER_BYTES)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAKE_BUFFER_BYTES)
    return ours.detach(), theirs.detach()


class Vectors:
    """The semaphores of one device's interrupt vectors: created exclusively, 0600, value 0; unlinked by the creator."""

    def __init__(self, names: list[str]) -> None:
        self.names: list[str] = []
        self._pid = os.getpid()
        try:
            for name in names:
                with private_umask():
                    posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600, initial_value=0).close()
                self.names.append(name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlink them; who has one open keeps it. Idempotent; does nothing in a forked child."""
        names, self.names = self.names, []
        if os.getpid() != self._pid:
            return
        for name in names:
            try:
                posix_ipc.unlink_semaphore(name)
            except posix_ipc.ExistentialError:
                continue  # a sweep was faster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
