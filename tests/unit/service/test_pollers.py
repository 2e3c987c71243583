"""Who polls a character device holds descriptors of the daemon: as many as a user may, as long as its session is there."""

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from idxdd.control.roles import Role
from idxdd.service import cdev, sessions
from idxdd.service.buffers import DESCRIPTORS_KEPT
from idxdd.service.cdev import POLLS_MAX, Pollers
from idxdd.service.sessions import Sessions
from idxdd.service.tasks import Refused

CLONE_NEWUSER = 0x10000000


class Client:
    """A session as far as pollers know it, and the descriptors it was given."""

    def __init__(self, pollers: Pollers, uid: int = 1000, roles: Role = Role.USER) -> None:
        self.peer = SimpleNamespace(uid=uid)
        self.roles = roles
        self.fds: list[int] = []
        self._pollers = pollers

    def poll(self, wq: int = 0) -> None:
        self.fds.append(self._pollers.add(wq, cast(Any, self))[0])

    @property
    def readable(self) -> int:
        return len(select.select(self.fds, [], [], 0)[0])

    def leave(self) -> None:
        self._pollers.leave(cast(Any, self))


@pytest.fixture
def counted() -> Sessions:
    return Sessions(cast(Any, None), lambda _count: None)


@pytest.fixture
def pollers(counted: Sessions) -> Iterator[Pollers]:
    """Everything is given back at the end."""
    made = Pollers(counted)
    yield made
    made.close()
    assert counted._held == {}


@pytest.fixture
def clients(pollers: Pollers) -> Iterator[list[Client]]:
    """Two of one user, one of another, an administrator."""
    made = [Client(pollers), Client(pollers), Client(pollers, 1001), Client(pollers, 0, Role.USER | Role.ADMIN)]
    yield made
    for client in made:
        for fd in client.fds:
            os.close(fd)


def test_pollers_go_with_their_session(pollers: Pollers, clients: list[Client], counted: Sessions) -> None:
    """A client that connects, polls and leaves again and again must not leave a descriptor of the daemon each time."""
    leaving, staying = clients[:2]
    before = len(os.listdir("/proc/self/fd"))
    for wq in (0, 0, 3):
        leaving.poll(wq)
    staying.poll(0)
    assert len(os.listdir("/proc/self/fd")) == before + 8
    leaving.leave()
    assert len(os.listdir("/proc/self/fd")) == before + 5
    assert (leaving.readable, staying.readable) == (3, 0)
    assert counted._held == {(1000, "pollers"): 1}
    leaving.leave()
    pollers.wake(0)
    assert (staying.readable, pollers._waiting) == (1, {})


def test_pollers_are_counted_by_user(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions it opens; others, and administrators, are not its business."""
    monkeypatch.setattr(sessions, "FOREIGN_POLLERS_MAX", 4)
    first, second, other, admin = clients
    for client in (first, second):
        client.poll(0)
        client.poll(1)
    for client in (first, second):
        with pytest.raises(Refused, match="uid 1000 polls with 4") as refused:
            client.poll(2)
        assert refused.value.code == "EMFILE"
    other.poll(0)
    for wq in range(6):
        admin.poll(wq)
    first.leave()
    second.poll(2)


def test_a_poll_looks_at_its_own_sessions_pollers_only(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """What one client has open is no work for another's request."""
    looked: list[socket.socket] = []
    left = cdev._left
    monkeypatch.setattr(cdev, "_left", lambda sock: (looked.append(sock), left(sock))[1])
    first, second = clients[:2]
    for _ in range(POLLS_MAX):
        first.poll()
    looked.clear()
    second.poll()
    assert looked == []
    with pytest.raises(Refused, match=f"{POLLS_MAX} descriptors poll"):
        first.poll()
    os.close(first.fds.pop())
    first.poll()


def test_pollers_leave_descriptors_for_those_who_must_have_one(clients: list[Client]) -> None:
    """The last ones are for control connections and the next idxdd-irq; a refusal leaves nothing open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients[0].poll()
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(clients[0].fds) + DESCRIPTORS_KEPT, limits[1]))
    try:
        with pytest.raises(Refused, match="as many descriptors as it may"):
            clients[0].poll()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir("/proc/self/fd")) == before


def has_rawio(pid: int) -> bool:
    """As the daemon sees the process."""
    return cdev.capable(cast(Any, SimpleNamespace(peer=SimpleNamespace(pid=pid))))


def test_a_capability_in_a_namespace_of_ones_own_is_none() -> None:
    """Everybody has every capability there: it says nothing about what this daemon's side allows."""
    code = f"import ctypes; print(ctypes.CDLL(None).unshare({CLONE_NEWUSER}), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        if child.stdout.readline().strip() != "0":
            pytest.skip("this machine lets nobody make user namespaces")
        with open(f"/proc/{child.pid}/status") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
        assert effective >> cdev.CAP_SYS_RAWIO & 1
        assert not has_rawio(child.pid)
    finally:
        child.communicate("\n", timeout=20)
    with open("/proc/self/status") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    assert has_rawio(os.getpid()) == bool(effective >> cdev.CAP_SYS_RAWIO & 1)


def test_a_process_that_cannot_be_looked_at_is_not_capable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace that is not ours to read is not ours; nor is there one of a process that has gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(20)
    assert not has_rawio(child.pid)
    stat = os.stat

    def unreadable(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"/proc/{os.getpid()}/ns"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *rest, **options)

    monkeypatch.setattr(os, "stat", unreadable)
    assert not has_rawio(os.getpid())
