"""A real daemon and a real agent: every kind of address, and clients that stop, die, fork, exec or never bring a page.

Whatever such a client does, others' descriptors and the administrator's commands go on.
"""

import copy
import ctypes
import fcntl
import json
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from agent_memory import PAGE, Kind, Pages, unmap
from child import Child
from daemons import RunningDaemon
from waiting import Lateness, wait_until

import idxd_client
from idxd_client import CompletionStatus, Connection, Descriptor, Flag, Result, WorkQueue
from idxdd.driver.config import DEFAULT_CONFIG

DEDICATED, SHARED = "dsa0/wq0.0", "dsa0/wq0.1"
FAULT_WITHIN_S = 4.0
"""The time-out of a second, and two loaded cores."""
H, R, A, U = Kind.HEAP, Kind.READ_ONLY, Kind.ABSENT, Kind.UNTOUCHED


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """As ever, but its work queues may block on faults; one for all tests of this file."""
    config = copy.deepcopy(DEFAULT_CONFIG)
    for group in config[0]["groups"]:
        for wq in group["grouped_workqueues"]:
            wq["block_on_fault"] = 1
    folder = tmp_path_factory.mktemp("agent")
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    name = f"t-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}-agent"
    running = RunningDaemon(name, folder, "--config", str(path)).start()
    yield running
    assert running.stop() == 0, running.said


@pytest.fixture
def conn(daemon: RunningDaemon) -> Iterator[Connection]:
    with idxd_client.connect(daemon.socket) as connection:
        wait_until(lambda: connection.stats()["sessions"] == 1, 10, "clients of the tests before have gone")
        yield connection


@pytest.fixture
def wq(conn: Connection) -> Iterator[WorkQueue]:
    with conn.open_user(SHARED) as queue:
        yield queue


def run(wq: WorkQueue, descriptor: Descriptor, timeout: float = 10.0) -> Result:
    """Its result, whatever the status."""
    return wq.submit(descriptor).result(timeout)


def pages(*kinds: Kind) -> Iterator[Pages]:
    """Anywhere."""
    made = Pages(0, kinds, bytes(range(256)) * (16 * len(kinds)))
    yield made
    made.close()


# ---- any address --------------------------------------------------------------------------------------------------------


def test_any_object_with_memory(wq: WorkQueue) -> None:
    """bytes, bytearray, memoryview, arrays, mmaps, addresses: as source and, if writable, as destination."""
    text = b"The device reads this from the heap." * 200
    target = bytearray(len(text))
    wq.memmove(target, text)
    assert target == text
    array = np.zeros(len(text), np.uint8)
    wq.memmove(array, memoryview(text)[:])
    assert array.tobytes() == text
    stack = ctypes.create_string_buffer(len(text))
    wq.memmove(ctypes.addressof(stack), array, len(text))
    assert stack.raw == text
    with pytest.raises(idxd_client.OperandError, match="writable"):
        wq.memmove(text, target)


def test_a_file_mapping_read_only(wq: WorkQueue, tmp_path: Path) -> None:
    """A source from a file; as a destination it is protected."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * PAGE))
    target = bytearray(3 * PAGE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        content = bytes(mapped)  # touched: present
        wq.memmove(target, mapped)
        assert target == content
        address, _ = idxd_client.buffers.resolve(mapped, "file")
        result = run(wq, Descriptor.memmove(address, target, 100))
        assert (result.status, result.write_fault, result.fault_address) == (CompletionStatus.PAGE_FAULT_NOBOF, True, address)


def test_large_and_unaligned(wq: WorkQueue) -> None:
    """Over many requests, slices and pages, forwards, backwards and crosswise with library buffers."""
    memory = bytearray(os.urandom(5 << 20))
    address, _ = idxd_client.buffers.resolve(memory, "memory")
    expected = bytearray(memory)
    expected[100_001 : 100_001 + (3 << 20)] = expected[7 : 7 + (3 << 20)]
    wq.memmove(address + 100_001, address + 7, 3 << 20)
    assert memory == expected
    expected[3 : 3 + (4 << 20)] = expected[5000 : 5000 + (4 << 20)]
    wq.memmove(address + 3, address + 5000, 4 << 20)
    assert memory == expected
    with wq.connection.alloc(1 << 20) as buffer:
        wq.memmove(buffer, address + 77, 1 << 20)
        assert bytes(memoryview(buffer)) == memory[77 : 77 + (1 << 20)]
        wq.memmove(address, buffer, 1 << 20)
        assert memory[: 1 << 20] == bytes(memoryview(buffer))


def test_heap_batches_and_records(wq: WorkQueue) -> None:
    """A batch whose list, members' operands and records lie in the heap, beside some that do not."""
    source, target = bytearray(os.urandom(20000)), bytearray(20000)
    result = wq.batch(
        [Descriptor.memmove(memoryview(target)[i : i + 1000], memoryview(source)[i : i + 1000]) for i in range(0, 20000, 1000)]
    )
    assert result.status is CompletionStatus.SUCCESS
    assert target == source
    heap = ctypes.create_string_buffer(8192)
    at = ctypes.addressof(heap) + 64 & ~63
    member = Descriptor.memmove(at + 4096, source, 512).pack(at + 1024)
    ctypes.memmove(at, member + member[:8] + struct.pack("<Q", at + 1056) + member[16:], 128)
    wq.run(Descriptor(1, operand1=at, size=2, operands=(heap,)))
    assert ctypes.string_at(at + 1024, 1) == ctypes.string_at(at + 1056, 1) == b"\1"
    assert ctypes.string_at(at + 4096, 512) == source[:512]


def test_partial_counts_at_page_borders(wq: WorkQueue) -> None:
    """Read-only, missing and untouched pages stop an operation at their first byte."""
    for kinds, flags, done in (
        ((H, H, A), 0, 2),
        ((H, U, H), 0, 1),
        ((H, R, H), 0, 1),
        ((H, U, H), Flag.BOF, 3),
        ((A, H, H), Flag.BOF, 0),
    ):
        for made in pages(*kinds):
            result = run(wq, Descriptor.fill(made.base + 100, 0x5A5A5A5A5A5A5A5A, 3 * PAGE - 100, flags=int(flags)))
            if done == 3:
                assert result.status is CompletionStatus.SUCCESS
                continue
            count = max(0, done * PAGE - 100)
            assert result.status in (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.PAGE_FAULT_IR), kinds
            assert (result.bytes_completed, result.write_fault) == (count, True), kinds
            assert result.fault_address == made.base + 100 + count
            if done:
                assert made.read(0)[100:] == b"\x5a" * (PAGE - 100)


def test_freed_while_it_runs(wq: WorkQueue) -> None:
    """A race that the client loses: a fault or a success, never more bytes counted than were written, and nobody crashes."""
    source = bytearray(b"\xa5" * (1 << 20))
    for _ in range(20):
        for made in pages(*[H] * 256):
            completion = wq.submit(Descriptor.memmove(made.base, source, 1 << 20))
            unmap(made.address(128), 128 * PAGE)
            made.kinds[128:] = [A] * 128
            result = completion.result(10)
            assert result.status in (CompletionStatus.SUCCESS, CompletionStatus.PAGE_FAULT_NOBOF)
            written = min(result.bytes_completed if result.status is not CompletionStatus.SUCCESS else 1 << 20, 128 * PAGE)
            found = b"".join(made.read(page) for page in range(128))
            assert found[:written] == b"\xa5" * written


def test_without_an_agent(daemon: RunningDaemon) -> None:
    """connect(agent=False): such an address is a page fault, as for a client that has none."""
    with idxd_client.connect(daemon.socket, agent=False) as conn, conn.open_user(SHARED) as wq, conn.alloc(PAGE) as buffer:
        result = run(wq, Descriptor.memmove(buffer, b"x" * 100, 100))
        assert (result.status, result.bytes_completed) == (CompletionStatus.PAGE_FAULT_NOBOF, 0)
        assert not agent_threads(os.getpid())


def agent_threads(pid: int) -> list[int]:
    """Threads of this name."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == "idxdd-agent"]


def test_it_starts_when_needed_and_idles(conn: Connection) -> None:
    """Library buffers need no agent; one that idles takes no time of a processor."""
    with conn.open_user(SHARED) as wq, conn.alloc(PAGE) as one, conn.alloc(PAGE) as two:
        wq.memmove(one, two)
        assert not agent_threads(os.getpid())
        wq.memmove(one, b"y" * PAGE)
        (thread,) = wait_until(lambda: agent_threads(os.getpid()), 5, "it has its name")

        def ticks() -> int:
            fields = Path(f"/proc/{os.getpid()}/task/{thread}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(0.05)  # it looks for a while before it sleeps
        before = ticks()
        time.sleep(0.5)
        assert ticks() - before <= 1


# ---- clients that do not answer ----------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
import idxd_client
from idxd_client import Descriptor
conn = idxd_client.connect(sys.argv[1])
wq = conn.open_user(sys.argv[2])
source, target = bytearray(b"s" * (1 << 20)), bytearray(1 << 20)
wq.memmove(target, source)
print("ready", flush=True)
while line := sys.stdin.readline():
    if line.strip() == "flood":
        print("flooding", flush=True)
        while True:
            wq.submit(Descriptor.memmove(target, source)).result(30)
    elif line.strip() == "fork":
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        target[:] = bytes(1 << 20)
        wq.memmove(target, source)
        print(target == source, flush=True)
    elif line.strip() == "exec":
        for _ in range(4):
            wq.submit(Descriptor.memmove(target, source))
        os.execv("/bin/sleep", ["sleep", "60"])
"""


@pytest.fixture
def neighbour(daemon: RunningDaemon) -> Iterator[Child]:
    with Child(PROGRAM, daemon.socket, SHARED) as child:
        assert child.line() == "ready"
        yield child


def others_go_on(conn: Connection) -> None:
    """A neighbour on the same shared WQ, and the administrator."""
    with conn.open_user(SHARED) as wq, Lateness() as late:
        started = time.monotonic()
        target = bytearray(100)
        wq.memmove(target, b"z" * 100)
        assert target == b"z" * 100
        assert time.monotonic() - started < late.limit(1.0)


def test_a_stopped_client(conn: Connection, neighbour: Child) -> None:
    """It is waited for once, others not at all; disabling its WQ ends within its time-out."""
    neighbour.say("flood")
    assert neighbour.line() == "flooding"
    for _ in range(3):
        os.kill(neighbour.process.pid, signal.SIGSTOP)
        others_go_on(conn)
        os.kill(neighbour.process.pid, signal.SIGCONT)
    os.kill(neighbour.process.pid, signal.SIGSTOP)
    with Lateness() as late:
        started = time.monotonic()
        conn.request("disable_wq", wq=SHARED)
        assert time.monotonic() - started < late.limit(FAULT_WITHIN_S)
    conn.request("enable_wq", wq=SHARED)
    others_go_on(conn)


def test_a_killed_client(conn: Connection, neighbour: Child) -> None:
    """Its session goes, whatever it was in the middle of."""
    neighbour.say("flood")
    assert neighbour.line() == "flooding"
    neighbour.kill()
    others_go_on(conn)
    wait_until(lambda: conn.stats()["sessions"] == 1, 10, "its session is over")


def test_a_client_that_forks(neighbour: Child) -> None:
    """The agent is the parent's: it serves on, the child has nothing of it."""
    neighbour.say("fork")
    assert neighbour.line() == "True"


def test_a_client_that_execs(conn: Connection, neighbour: Child) -> None:
    """Its addresses mean nothing any more: the session ends."""
    neighbour.say("exec")
    wait_until(lambda: conn.stats()["sessions"] == 1, 10, "its session is over")
    others_go_on(conn)


def userfault_pages(count: int) -> tuple[int, mmap.mmap]:
    """(its descriptor, pages that nobody brings); skips where that is not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK | 0)
    if fd < 0:
        pytest.skip(f"userfaultfd: {os.strerror(ctypes.get_errno())}")
    fcntl.ioctl(fd, 0xC018AA3F, struct.pack("<QQQ", 0xAA, 0, 0))
    window = mmap.mmap(-1, count * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address, _ = idxd_client.buffers.resolve(window, "window")
    fcntl.ioctl(fd, 0xC020AA00, struct.pack("<QQQQ", address, count * PAGE, 1, 0))
    return fd, window


def test_a_page_that_nobody_brings(conn: Connection, neighbour: Child) -> None:
    """Not present is a fault at once; with Block on Fault it is waited for, then a fault; the next one is not waited for."""
    fd, window = userfault_pages(4)
    address, _ = idxd_client.buffers.resolve(window, "window")
    with conn.open_user(SHARED) as wq, Lateness() as late:
        target = bytearray(PAGE)
        assert run(wq, Descriptor.memmove(target, address, PAGE)).status is CompletionStatus.PAGE_FAULT_NOBOF
        started = time.monotonic()
        result = run(wq, Descriptor.memmove(target, address, PAGE, flags=int(Flag.BOF)))
        assert result.status is CompletionStatus.PAGE_FAULT_IR
        assert 0.5 < time.monotonic() - started < late.limit(FAULT_WITHIN_S)
        result = run(wq, Descriptor.memmove(address + PAGE, target, PAGE, flags=int(Flag.BOF)))
        assert (result.status, result.bytes_completed) == (CompletionStatus.PAGE_FAULT_IR, 0)
        neighbour.say("fork")
        assert neighbour.line() == "True", "others are served"
        started = time.monotonic()
        conn.request("disable_wq", wq=DEDICATED)
        conn.request("enable_wq", wq=DEDICATED)
        assert time.monotonic() - started < late.limit(5)
        os.close(fd)  # every page is a zero page now, and who waited goes on
        wait_until(
            lambda: (
                bytes(target) is not None
                and run(wq, Descriptor.memmove(target, b"w" * PAGE)).status is CompletionStatus.SUCCESS
            ),
            10,
            "the agent is back",
        )
    del window
