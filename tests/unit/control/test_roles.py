"""Who a client is and what it may do: the kernel says who, the policy what."""

import os
import socket

import pytest

from idxdd.control.protocol import OPS
from idxdd.control.roles import NEEDS, Access, Allowed, Peer, Role, identify


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
    roles = Access().roles(Peer(1, uid, uid, -1))
    assert Role.USER in roles
    assert (Role.ADMIN in roles) is admin
    assert (Role.KERNEL_CHANNEL in roles) is admin


def test_lists_give_roles_by_user_and_by_group() -> None:
    """Supplementary groups count: a login's first group is its own."""
    access = Access(admin_users=frozenset({50}), kernel_groups=frozenset({60}))
    assert Role.ADMIN in access.roles(Peer(1, 50, 5, -1))
    kernel = access.roles(Peer(1, 51, 5, -1, frozenset({5, 60})))
    assert (Role.KERNEL_CHANNEL in kernel, Role.ADMIN in kernel) == (True, False)
    assert access.roles(Peer(1, 51, 5, -1, frozenset({5}))) == Role.USER


def test_a_listed_wq_is_its_users_and_the_administrators() -> None:
    """One that is not listed is everybody's; an empty list is nobody's else."""
    access = Access(wqs={"dsa0/wq0.0": Allowed(frozenset({50}), frozenset({60})), "dsa0/wq0.1": Allowed()})
    user, member, other = Peer(1, 50, 5, -1), Peer(1, 51, 5, -1, frozenset({60})), Peer(1, 52, 5, -1, frozenset({5}))
    assert [access.may_open(peer, "dsa0/wq0.0") for peer in (user, member, other)] == [True, True, False]
    assert not access.may_open(user, "dsa0/wq0.1")
    assert access.may_open(Peer(1, 0, 0, -1), "dsa0/wq0.1")
    assert access.may_open(other, "dsa0/wq0.7")


def test_every_operation_that_changes_the_device_needs_the_admin_role() -> None:
    """A new one must be thought of here."""
    changing = {op for op in OPS if op.startswith(("enable", "disable", "load", "config", "reset", "kick", "reload", "inject"))}
    changing |= {op for op in OPS if op.startswith("perfmon")}  # its counters are the device's
    changing |= {"halt", "bus_reset", "remove", "insert", "revoke", "pci", "trace_on", "trace_off"}
    changing |= {"regs", "swerr", "evl", "trace"}  # registers and logs tell of everybody's descriptors
    assert {op for op, role in NEEDS.items() if role is Role.ADMIN} == changing
