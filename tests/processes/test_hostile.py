"""A hostile client: whatever it writes, rewrites, keeps, takes or stops, only it is hurt; its neighbour's data keeps moving."""

import contextlib
import errno
import fcntl
import os
import random
import resource
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from child import Child
from daemons import RunningDaemon
from daemons import daemon as daemon  # the fixture
from neighbour import BOTH, KERNEL, SHARED, Neighbour, held, unbalanced, unharmed
from raw_client import (
    BATCH,
    CHANNEL_SLOTS,
    CRAV,
    DRAIN,
    FILL,
    MEMMOVE,
    NOOP,
    PAGE,
    RCI,
    RCR,
    SLOTS,
    RawClient,
    RawPortal,
    descriptor,
    quiet,
    ticket,
)
from waiting import Lateness, wait_until

from idxdd import native
from idxdd.control.client import ControlError, RequestError
from idxdd.native import LAYOUT

TESTS = Path(__file__).parents[1]
ATTACK_S = 0.5
CLOSED_REVOKED = 4
FENCE_S = 0.1
"""What is inside the gate longer than this is fenced (driver/submit.py)."""


def for_a_while(attack: Callable[[], object], seconds: float = ATTACK_S) -> int:
    """Again and again; how often."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        attack()
        count += 1
    return count


def taken(client: RawClient, portal: RawPortal, behind: int = 64) -> None:
    """Wait until the engine has finished all but `behind` of what was published there, or closed it; else say more."""
    try:
        wait_until(lambda: portal.load("done") > portal.number - behind or portal.load("closed"), 10)
    except AssertionError:
        words = {name: portal.load(name) for name in ("limit", "done", "closed", "closed_at", "fenced", "answered")}
        raise AssertionError(f"stands still at {portal.number}: {words}, {client.stats()}") from None


def stopped(pid: int) -> bool:
    """Every thread of it stands."""
    tasks = Path(f"/proc/{pid}/task")
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir())


# ---- words and slots ----------------------------------------------------------------------------------------------------


class Garbage:
    """Descriptors from nonsense to nearly right, over one buffer."""

    def __init__(self, client: RawClient, seed: int) -> None:
        self.rng = random.Random(seed)
        self.buffer = client.alloc(1 << 16)

    def address(self) -> int:
        """Inside the buffer, at its edges, or anywhere."""
        base, size = self.buffer.address, self.buffer.size
        return self.rng.choice(
            (base + self.rng.randrange(size), base + size - self.rng.randrange(64), base - 1, self.rng.getrandbits(64), 0)
        )

    def descriptor(self) -> bytes:
        """64 bytes."""
        rng = self.rng
        if rng.random() < 0.3:
            return rng.randbytes(64)
        opcode = rng.choice((NOOP, BATCH, DRAIN, MEMMOVE, FILL, 5, 0x10, 0x11, rng.randrange(256)))
        flags = rng.choice((CRAV | RCR, CRAV | RCR | RCI, CRAV, 0, rng.getrandbits(24)))
        size = rng.choice((0, 1, 3, 64, 4096, rng.getrandbits(16), rng.getrandbits(32)))
        record = rng.choice((self.buffer.address + rng.randrange(0, 4096, 32), self.address()))
        return descriptor(
            opcode,
            flags=flags,
            record=record,
            source=self.address(),
            destination=self.address(),
            size=size,
            handle=rng.randrange(8),
        )


def test_garbage_in_the_slots(daemon: RunningDaemon) -> None:
    """Any 64 bytes, published by the rules: answered as the device answers, or reported; never more than that."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portals, garbage = {wq: client.open(wq) for wq in BOTH}, Garbage(client, 1)

        def attack() -> None:
            for wq, portal in portals.items():
                if portal.load("closed"):  # the device wrote where it was told to: over the pending list of our own channel
                    portals[wq] = client.open(wq)
                for _ in range(16):
                    portals[wq].publish(garbage.descriptor())
            for portal in portals.values():
                taken(client, portal)

        assert for_a_while(attack) > 1


def test_garbage_in_every_word(daemon: RunningDaemon) -> None:
    """Wild tails, questions, wake-up numbers and counts of dropped writes, as fast as a client can store them."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portals = [client.open(wq) for wq in BOTH * 2]
        rng = random.Random(2)
        wild = (0, 1, SLOTS, SLOTS + 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - SLOTS)

        def attack() -> None:
            portal = rng.choice(portals)
            for _ in range(50):
                word = rng.choice(("tail", "dropped", "wake_at", "want", "in_submit"))
                value = rng.choice((*wild, rng.getrandbits(64), (portal.load("done") + rng.randrange(3)) & ((1 << 64) - 1)))
                portal.store(word, value & 0xFFFFFFFF if word in ("want", "in_submit") else value)
            portal.knock()
            with contextlib.suppress(BlockingIOError):
                portal.wake.recv(4096)

        assert for_a_while(attack) > 10


WRITER = """
import mmap, random, sys
sys.path.insert(0, sys.argv[1])
page = mmap.mmap(int(sys.argv[2]), int(sys.argv[3]))
slot, size = int(sys.argv[4]), int(sys.argv[3])
rng = random.Random(3)
blocks = [rng.randbytes(64) for _ in range(64)]
print("writing", flush=True)
while True:
    for block in blocks:
        for at in range(slot, size, 64):
            page[at : at + 64] = block
"""


def test_slots_rewritten_while_they_are_read(daemon: RunningDaemon) -> None:
    """A second process writes every slot all the time: what is checked must be what is executed (one copy, then its checks)."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portal, garbage = client.open(SHARED), Garbage(client, 4)
        arguments = (TESTS, portal.client_fd, len(portal.page), LAYOUT["portal_client.slot"])
        with Child(WRITER, *arguments, pass_fds=(portal.client_fd,)) as writer:
            assert writer.line() == "writing"

            def attack() -> None:
                for _ in range(16):
                    portal.publish(garbage.descriptor())
                taken(client, portal)

            assert for_a_while(attack) > 1


def test_a_batch_rewritten_while_it_runs(daemon: RunningDaemon) -> None:
    """Its list lies in client memory: each member is copied once, and a batch in a batch is refused."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portal, garbage = client.open(SHARED), Garbage(client, 5)
        listed = client.alloc(PAGE)
        with Child(WRITER, TESTS, listed.fd, PAGE, 0, pass_fds=(listed.fd,)) as writer:
            assert writer.line() == "writing"

            def attack() -> None:
                for count in (2, 16, 32, 64):
                    record = garbage.buffer.address
                    portal.publish(descriptor(BATCH, record=record, source=listed.address, size=count))
                taken(client, portal)

            assert for_a_while(attack) > 1


def test_drains_of_several_portals_at_once(daemon: RunningDaemon) -> None:
    """Each drain looks at the other portals first, where it finds a drain: it once ended the daemon."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portals = [client.open(wq) for wq in BOTH * 3]
        memory = client.alloc(PAGE)

        def attack() -> None:
            for at, portal in enumerate(portals):
                portal.publish(descriptor(DRAIN, record=memory.address + 64 * at))
                portal.publish(descriptor(NOOP, flags=0))
            for portal in portals:
                taken(client, portal, 16)

        assert for_a_while(attack) > 10


# ---- memory files ---------------------------------------------------------------------------------------------------------


def refused(call: Callable[..., Any], *arguments: Any) -> int:
    """The errno it fails with; 0: it worked."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


FALLOC_KEEP_PUNCH = 0x03
F_SEALS = (fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SEAL, 0x10)


def punch(fd: int, size: int) -> int:
    """Every page of it gone; what is read then is zero."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.fallocate(fd, FALLOC_KEEP_PUNCH, ctypes.c_long(0), ctypes.c_long(size))
    return ctypes.get_errno() if done else 0


def test_memory_files_keep_size_seals_and_writers(daemon: RunningDaemon) -> None:
    """Shrinking one under the daemon's mapping would be its SIGBUS; a writable device page would be everybody's."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portal, buffer = client.open(KERNEL), client.alloc(1 << 16)
        own = [portal.client_fd, portal.channel_fd, buffer.fd]
        published = [portal.device_fd, portal.ring_fd, *client.control.hello_fds]
        for fd in own:
            size = os.fstat(fd).st_size
            for wrong in (0, 1, size - PAGE, size + PAGE):
                assert refused(os.ftruncate, fd, wrong) == errno.EPERM
            for seal in F_SEALS:
                assert refused(fcntl.fcntl, fd, fcntl.F_ADD_SEALS, seal) == errno.EPERM
        for fd in published:
            assert refused(os.ftruncate, fd, 0) in (errno.EINVAL, errno.EPERM, errno.EBADF)
            assert refused(os.pwrite, fd, b"x", 0) == errno.EBADF
            assert refused(native.map_shared, fd, PAGE, True) in (errno.EACCES, errno.EPERM)
            assert punch(fd, PAGE) in (errno.EBADF, errno.EPERM)
            for seal in F_SEALS:
                assert refused(fcntl.fcntl, fd, fcntl.F_ADD_SEALS, seal) in (errno.EPERM, errno.EBADF)
        for fd in (portal.device_fd, client.control.hello_fds[0]):  # sealed: not even by another open of the same user
            with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as again:
                assert refused(native.map_shared, again.fileno(), PAGE, True) == errno.EPERM
                assert refused(os.pwrite, again.fileno(), b"x", 0) == errno.EPERM


def test_holes_in_its_own_memory(daemon: RunningDaemon) -> None:
    """A hole may be punched: the pages read as zeros, to whoever reads them, while descriptors are in flight there."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portal, user, garbage = client.open(KERNEL), client.open(SHARED), Garbage(client, 6)

        def attack() -> None:
            for _ in range(8):
                user.publish(garbage.descriptor())
                portal.publish(garbage.descriptor())
            for fd in (portal.client_fd, portal.channel_fd, user.client_fd, garbage.buffer.fd):
                assert punch(fd, os.fstat(fd).st_size) == 0
            user.store("tail", user.number)
            portal.store("tail", portal.number)

        assert for_a_while(attack) > 1


# ---- pending lists ----------------------------------------------------------------------------------------------------------


def out_of_range(portal: RawPortal) -> None:
    """A slot the channel does not have."""
    portal.enter(ticket(CHANNEL_SLOTS + 7, 1))


def twice(portal: RawPortal) -> None:
    """The same slot while it is listed."""
    portal.enter(ticket(3, 1))
    portal.enter(ticket(3, 2))


def without_sequence(portal: RawPortal) -> None:
    """Sequences start at 1."""
    portal.enter(ticket(3, 0))


def run_away(portal: RawPortal) -> None:
    """A tail further than the list is long."""
    portal.channel.store64(LAYOUT["channel.pending_tail"], 1 << 40)


def run_back(portal: RawPortal) -> None:
    """A tail behind what was taken."""
    portal.enter(ticket(3, 1))
    portal.channel.store64(LAYOUT["channel.pending_tail"], (1 << 64) - 1)


def test_a_forged_pending_list_fences_its_channel_alone(daemon: RunningDaemon) -> None:
    """idxdd-irq follows indices of client memory: a wrong one costs that channel, closed by name, and no other."""
    with unharmed(daemon, KERNEL), RawClient(daemon.socket) as client:
        other = client.open(KERNEL)
        for forge in (out_of_range, twice, without_sequence, run_away, run_back):
            portal = client.open(KERNEL)
            forge(portal)
            wait_until(lambda portal=portal: portal.load("fenced"), 5, forge.__name__)  # type: ignore[misc]
            assert portal.load("closed") == CLOSED_REVOKED
            with pytest.raises(RequestError, match="fenced"):
                client.control.request("reopen", portal=portal.answer["portal"])
        assert (other.load("fenced"), other.load("closed")) == (0, 0)


def test_completions_it_never_submitted(daemon: RunningDaemon) -> None:
    """Entries of slots whose records it wrote itself: completed once each, for itself; the ring never gets another's ticket."""
    with unharmed(daemon, KERNEL), RawClient(daemon.socket) as client:
        portal = client.open(KERNEL)
        sent = []
        for turn in range(1, 300):
            slot = turn % 8
            portal.channel_view[LAYOUT["channel.record"] + slot * 32] = 1 + turn % 2 * 0x12
            portal.enter(ticket(slot, turn))
            sent.append(ticket(slot, turn))
            wait_until(lambda turn=turn: len(portal.completions()) >= turn, 10)  # type: ignore[misc]
        assert Counter(portal.completions()) == Counter(sent)


# ---- bells --------------------------------------------------------------------------------------------------------------


def test_wake_sockets_that_are_of_no_use(daemon: RunningDaemon) -> None:
    """Full, shut or closed: whoever rings it neither blocks nor dies of SIGPIPE."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portals = [client.open(wq) for wq in BOTH * 3]
        for portal in portals[2:4]:
            portal.wake.shutdown(socket.SHUT_RDWR)
        for portal in portals[4:6]:
            portal.wake.close()
            os.close(portal.wake_fd)

        def attack() -> None:
            for portal in portals:
                portal.store("wake_at", portal.number + 1)
                number = portal.publish(descriptor(NOOP, flags=0))
                wait_until(lambda number=number, portal=portal: portal.load("done") > number, 10)  # type: ignore[misc]

        assert for_a_while(attack) > 10


def test_a_doorbell_rung_without_end(daemon: RunningDaemon) -> None:
    """An eventfd at its maximum is no reason to sleep through the neighbour's work, nor to never sleep again."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        portal = client.open(SHARED)
        for_a_while(portal.knock)
        os.set_blocking(portal.doorbell, False)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(portal.doorbell, (1 << 64) - 2)
        number = portal.publish(descriptor(NOOP, flags=0))
        wait_until(lambda: portal.load("done") > number, 5)


# ---- stopping ---------------------------------------------------------------------------------------------------------------

STOPPER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from raw_client import *
position = sys.argv[3]
client = RawClient(sys.argv[2])
portal = client.open("dsa0/wq0.2")
here = lambda name: name == position and os.kill(os.getpid(), signal.SIGSTOP)
print("open", flush=True)
here("outside")
portal.store("in_submit", 1)
native.fence()
here("inside")
portal.enter(ticket(5, 1))
here("listed")
portal.put(0, descriptor(NOOP, flags=CRAV | RCR, record=portal.record_address(5)))
here("slot")
portal.store("tail", 1)
here("published")
print(portal.load("fenced"), portal.load("closed"), len(portal.completions()), flush=True)
sys.stdin.readline()
"""
POSITIONS = ["outside", "inside", "listed", "slot", "published"]


def test_clients_that_stop_in_a_submission(daemon: RunningDaemon) -> None:
    """Stopped inside the gate they are fenced after 100 ms and find out when they go on; others wait no longer than that."""
    with contextlib.ExitStack() as stack:
        children = {at: stack.enter_context(Child(STOPPER, TESTS, daemon.socket, at)) for at in POSITIONS}
        stack.enter_context(unharmed_later(daemon))
        for child in children.values():
            assert child.line() == "open"
            wait_until(lambda child=child: stopped(child.process.pid), 5)  # type: ignore[misc]
        with daemon.connect() as admin, Lateness() as late:
            started = time.monotonic()
            admin.request("disable_wq", wq=KERNEL)
            took = time.monotonic() - started
            admin.request("enable_wq", wq=KERNEL)
        assert FENCE_S <= took < late.limit(FENCE_S + 1.0), "who stops inside has its time, and no more"
        with Neighbour(daemon.socket, KERNEL) as neighbour:
            neighbour.moved()
            assert neighbour.finish() == 0
        for position, child in children.items():
            child.process.send_signal(signal.SIGCONT)
            fenced, closed, completed = map(int, child.line().split())
            assert closed
            assert fenced == (position != "outside"), position
            assert completed == (position in ("listed", "slot", "published")), position
            child.finish()


@contextlib.contextmanager
def unharmed_later(daemon: RunningDaemon) -> Iterator[None]:
    """As unharmed(), but the neighbour works on the user WQ, and the offender may outlive the block."""
    pids = daemon.pid, daemon.irq_pid()
    with Neighbour(daemon.socket, SHARED) as neighbour:
        before = neighbour.moved()
        yield
        assert neighbour.moved() - before >= 1
        assert neighbour.finish() == 0
    assert (daemon.pid, daemon.irq_pid()) == pids
    wait_until(lambda: held(daemon) == (1, 0, 0), 10, "everything is given back")
    assert not unbalanced(daemon)


def test_a_stopped_client_holds_no_grant(daemon: RunningDaemon) -> None:
    """SIGSTOP with grants and questions open: its share of the WQ goes to who works."""
    with unharmed(daemon), Child(STOPPER, TESTS, daemon.socket, "outside") as child:
        assert child.line() == "open"
        wait_until(lambda: stopped(child.process.pid), 5)
        with RawClient(daemon.socket) as client:
            portal = client.open(KERNEL)
            for _ in range(200):
                portal.publish(descriptor(NOOP, flags=0))
                taken(client, portal, 16)


# ---- floods -----------------------------------------------------------------------------------------------------------------


def test_a_flood_of_opens_and_buffers(daemon: RunningDaemon) -> None:
    """Beyond its quota it is refused by name; the neighbour keeps working and everything comes back at the end."""
    with unharmed(daemon), RawClient(daemon.socket) as client:
        refusals: Counter[str] = Counter()

        requests: list[tuple[str, dict[str, Any]]] = [
            ("alloc", {"size": 1 << 40}), ("alloc", {"size": PAGE}), ("open", {"wq": SHARED}), ("open", {"wq": KERNEL})
        ]  # fmt: skip
        rng = random.Random(7)

        def attack() -> None:
            op, arguments = rng.choice(requests)
            try:
                quiet(client.control.request(op, **arguments)[1])
            except RequestError as error:
                refusals[error.code] += 1

        for op, arguments in requests[:3]:
            for _ in range(70):
                try:
                    quiet(client.control.request(op, **arguments)[1])
                except RequestError as error:
                    refusals[error.code] += 1
        for_a_while(attack, 0.3)
        assert refusals["ENOMEM"] > 0
        assert refusals["EMFILE"] > 0
        assert set(refusals) <= {"ENOMEM", "EMFILE"}


def test_a_daemon_without_descriptors_refuses_and_lives(daemon: RunningDaemon) -> None:
    """Many clients within their quotas reach the process's limit: an open, an alloc or a hello is refused, nobody dies."""
    with unharmed(daemon):
        used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 200, hard))
        refusals: Counter[str] = Counter()
        clients = []
        with contextlib.ExitStack() as stack:
            for _ in range(70):
                try:
                    client = stack.enter_context(RawClient(daemon.socket, timeout=1.0))
                except ControlError as error:
                    refusals[getattr(error, "code", type(error).__name__)] += 1
                    break
                clients.append(client)
                requests: list[tuple[str, dict[str, Any]]] = [("open", {"wq": KERNEL}), ("open", {"wq": SHARED})]
                for op, arguments in [*requests, *[("alloc", {"size": PAGE})] * 16]:
                    try:
                        quiet(client.control.request(op, **arguments)[1])
                    except RequestError as error:
                        refusals[error.code] += 1
                        break
            assert refusals["EMFILE"] > 0
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (hard, hard))


def test_sessions_that_come_and_go(daemon: RunningDaemon) -> None:
    """Connections dropped before, during and after their first request: no session and no descriptor is kept."""
    with unharmed(daemon):
        used = len(os.listdir(f"/proc/{daemon.pid}/fd"))

        def attack() -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.settimeout(5)
                sock.connect(daemon.socket)
                if random.random() < 0.5:
                    sock.send(os.urandom(random.randrange(1, 200)))
            client = RawClient(daemon.socket)
            portal_request = random.choice([SHARED, KERNEL])
            quiet(client.control.request("open", wq=portal_request)[1])
            client.close()

        for_a_while(attack)
        wait_until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= used + 2, 10, "every descriptor is closed again")


# ---- fork -------------------------------------------------------------------------------------------------------------------

FORKER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from raw_client import *
client = RawClient(sys.argv[2])
portals = [client.open("dsa0/wq0.1"), client.open("dsa0/wq0.2")]
memory = client.alloc(4096)
child = os.fork()
name = b"child" if child == 0 else b"parent"
for turn in range(3000):
    portal = portals[turn % 2]
    portal.publish(descriptor(NOOP, record=memory.address + turn % 64 * 32))
if child:
    print(child, flush=True)
    os.kill(os.getpid(), 9)
while True:
    for portal in portals:
        portal.publish(descriptor(NOOP, record=memory.address))
"""


def test_a_fork_that_goes_on_with_its_parents_pages(daemon: RunningDaemon) -> None:
    """Two processes write one portal; when the owner dies the portal is gone, whatever its child still has mapped."""
    with unharmed(daemon) as neighbour, Child(FORKER, TESTS, daemon.socket) as child:
        orphan = int(child.line())
        try:
            pidfd = os.pidfd_open(orphan)
            wait_until(lambda: held(daemon)[0] == 2, 10, "the session of the dead parent ends")
            before = neighbour.moved()
            assert neighbour.moved() > before
            assert not select.select([pidfd], [], [], 0)[0], "the child is still at it"
        finally:
            os.kill(orphan, signal.SIGKILL)
            os.close(pidfd)
