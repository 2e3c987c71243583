"""Who is at the other end of a control connection, and what it may do. Identity comes from the kernel, never from a frame."""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto

SO_PEERGROUPS = 59
PEER_GROUPS_MAX = 256  # as many as Python reads of a socket option; who has more is known by the first group alone
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
    "perfmon_start": Role.ADMIN,
    "perfmon_read": Role.ADMIN,
    "perfmon_stop": Role.ADMIN,
    "reload": Role.ADMIN,
    "regs": Role.ADMIN,
    "inject": Role.ADMIN,
    "inject_list": Role.ADMIN,
    "inject_remove": Role.ADMIN,
    "inject_dry_run": Role.ADMIN,
    "halt": Role.ADMIN,
    "bus_reset": Role.ADMIN,
    "pci": Role.ADMIN,
    "remove": Role.ADMIN,
    "insert": Role.ADMIN,
    "revoke": Role.ADMIN,
    "swerr": Role.ADMIN,
    "evl": Role.ADMIN,
    "trace_on": Role.ADMIN,
    "trace_off": Role.ADMIN,
    "trace": Role.ADMIN,
}
"""Operations that need more than Role.USER; opening a kernel WQ needs KERNEL_CHANNEL besides."""


EVERYBODY: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Allowed:
    """Who may open a work queue: users by uid, groups by gid."""

    users: frozenset[int] = EVERYBODY
    groups: frozenset[int] = EVERYBODY


@dataclass(frozen=True)
class Access:
    """Who is more than a user, and whose the work queues are; one that is not named is everybody's."""

    admin_users: frozenset[int] = frozenset()
    admin_groups: frozenset[int] = frozenset()
    kernel_users: frozenset[int] = frozenset()
    kernel_groups: frozenset[int] = frozenset()
    wqs: Mapping[str, Allowed] = field(default_factory=dict)

    def roles(self, peer: "Peer") -> Role:
        """The daemon's own uid and root have every role; others were let in by the socket's mode, and what is listed here."""
        if peer.uid in (0, os.geteuid()) or peer.uid in self.admin_users or peer.groups & self.admin_groups:
            return Role.USER | Role.KERNEL_CHANNEL | Role.ADMIN
        if peer.uid in self.kernel_users or peer.groups & self.kernel_groups:
            return Role.USER | Role.KERNEL_CHANNEL
        return Role.USER

    def may_open(self, peer: "Peer", wq: str) -> bool:
        """Administrators are not locked out by a list they can change."""
        allowed = self.wqs.get(wq)
        return (
            allowed is None or peer.uid in allowed.users or bool(peer.groups & allowed.groups) or Role.ADMIN in self.roles(peer)
        )


@dataclass(frozen=True)
class Peer:
    """The process that connected: SO_PEERCRED and its groups at connect time, and a pidfd whose owner closes it."""

    pid: int
    uid: int
    gid: int
    pidfd: int
    groups: frozenset[int] = frozenset()


def peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """pid, uid, gid of the process at the other end when it connected (or listened)."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def identify(sock: socket.socket) -> Peer:
    """Who connected. ProcessLookupError: it is gone already, or of another pid namespace (its death could not be seen)."""
    pid, uid, gid = peer_credentials(sock)
    if pid <= 0:
        raise ProcessLookupError("the client's process is not visible from here")
    return Peer(pid, uid, gid, _pidfd(sock, pid), _groups(sock) | {gid})


def _groups(sock: socket.socket) -> frozenset[int]:
    """Supplementary groups; none when the kernel does not tell."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * PEER_GROUPS_MAX)
    except OSError:
        return frozenset()
    return frozenset(struct.unpack(f"{len(data) // 4}I", data))


def _pidfd(sock: socket.socket, pid: int) -> int:
    try:
        (pidfd,) = struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))
    except OSError:  # before Linux 6.5, or the process is reaped: then its number may be another's by now
        pidfd = os.pidfd_open(pid)
    os.set_inheritable(pidfd, False)
    return int(pidfd)
