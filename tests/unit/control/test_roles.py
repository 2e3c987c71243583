"""Who a client is and what it may do: the kernel says who, the policy what."""

import os
import socket

import pytest

from idxdd.control.protocol import OPS
from idxdd.control.roles import NEEDS, Peer, Role, identify


def test_identity_comes_from_the_kernel() -> None:
    """pid, uid and a pidfd of the process at the other end, which here is this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        peer = identify(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert not os.get_inheritable(peer.pidfd)
    os.close(peer.pidfd)


@pytest.mark.parametrize(("uid", "admin"), [(0, True), (os.geteuid(), True), (12345, False)])
def test_other_users_have_the_user_role_only(uid: int, admin: bool) -> None:
    """A socket whose mode lets others in must not make them administrators, nor give them kernel channels."""
    roles = Peer(1, uid, uid, -1).roles()
    assert Role.USER in roles
    assert (Role.ADMIN in roles) is admin
    assert (Role.KERNEL_CHANNEL in roles) is admin


def test_every_operation_that_changes_the_device_needs_the_admin_role() -> None:
    """A new one must be thought of here."""
    changing = {op for op in OPS if op.startswith(("enable", "disable", "load", "config", "reset", "kick"))}
    assert {op for op, role in NEEDS.items() if role is Role.ADMIN} == changing | {"regs"}
