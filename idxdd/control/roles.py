"""Who is at the other end of a control connection, and what it may do. Identity comes from the kernel, never from a frame."""

import os
import socket
import struct
from dataclasses import dataclass
from enum import Flag, auto

SO_PEERPIDFD = 77  # Linux 6.5: a pidfd of the process that connected, immune to reuse of its number


class Role(Flag):
    """What a client may ask for."""

    USER = auto()
    KERNEL_CHANNEL = auto()
    ADMIN = auto()


ROLE_NAMES = {Role.USER: "user", Role.KERNEL_CHANNEL: "kernel channel", Role.ADMIN: "admin"}

NEEDS: dict[str, Role] = {
    "enable_device": Role.ADMIN,
    "disable_device": Role.ADMIN,
    "enable_wq": Role.ADMIN,
    "disable_wq": Role.ADMIN,
    "load_config": Role.ADMIN,
    "config": Role.ADMIN,
    "reset_device": Role.ADMIN,
    "kick": Role.ADMIN,
    "regs": Role.ADMIN,
}
"""Operations that need more than Role.USER; opening a kernel WQ needs KERNEL_CHANNEL besides."""


@dataclass(frozen=True)
class Peer:
    """The process that connected: SO_PEERCRED at connect time, and a pidfd whose owner closes it."""

    pid: int
    uid: int
    gid: int
    pidfd: int

    def roles(self) -> Role:
        """The daemon's own uid and root: everything. Others were let in by the socket's mode: user role."""
        if self.uid in (0, os.geteuid()):
            return Role.USER | Role.KERNEL_CHANNEL | Role.ADMIN
        return Role.USER


def peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """pid, uid, gid of the process at the other end when it connected (or listened)."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def identify(sock: socket.socket) -> Peer:
    """Who connected. ProcessLookupError: it is gone already, or of another pid namespace (its death could not be seen)."""
    pid, uid, gid = peer_credentials(sock)
    if pid <= 0:
        raise ProcessLookupError("the client's process is not visible from here")
    return Peer(pid, uid, gid, _pidfd(sock, pid))


def _pidfd(sock: socket.socket, pid: int) -> int:
    try:
        (pidfd,) = struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))
    except OSError:  # before Linux 6.5, or the process is reaped: then its number may be another's by now
        pidfd = os.pidfd_open(pid)
    os.set_inheritable(pidfd, False)
    return int(pidfd)
