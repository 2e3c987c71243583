"""kill -9 of a client, of idxdd-irq, of idxdd: at any moment, again and again; nothing leaks, nothing is lost, nobody hangs."""

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from child import Child
from daemons import RunningDaemon, alive
from daemons import daemon as daemon  # the fixture
from neighbour import KERNEL, SHARED, held, unbalanced, unharmed
from waiting import Lateness, wait_until

import idxd_client
from idxd_client import DaemonAbsent, Descriptor, DeviceGone, IdxdError, wait_all, wait_any
from idxdd.shm import names

TESTS = Path(__file__).parents[1]
SEED = 20_260_501
ROUNDS = 60
NOTICED_S = 1.0
"""A dead daemon is noticed within this, and what the machine needs to run who notices."""


# ---- clients ------------------------------------------------------------------------------------------------------------

ZYGOTE = """
import os, random, signal, sys
sys.path.insert(0, sys.argv[1])
import idxd_client
from idxd_client import Descriptor
from raw_client import *

SOCKET = sys.argv[2]
ALL = ["dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.3"]

def work(rng):
    '''Opens, allocates, fills queues, waits, closes, without end.'''
    while True:
        with idxd_client.connect(SOCKET) as conn, conn.alloc(rng.choice((4096, 1 << 20))) as memory:
            queues = [conn.open(rng.choice(ALL)) for _ in range(rng.randrange(1, 4))]
            for _ in range(rng.randrange(6)):
                size = rng.choice((8, 2048))
                moves = [Descriptor.memmove(memory[2048:][:size], memory[:size]) for _ in range(rng.randrange(1, 40))]
                sent = [queue.submit(move) for queue in queues for move in moves]
                sent[-1].wait(10)

def gap(rng):
    '''Between slot and tail.'''
    portal = RawClient(SOCKET).open("dsa0/wq0.1")
    portal.put(0, descriptor(NOOP, flags=0))
    return portal

def gate(rng):
    '''Inside the gate, on the pending list, not published.'''
    portal = RawClient(SOCKET).open("dsa0/wq0.2")
    portal.store("in_submit", 1)
    portal.enter(ticket(3, 1))
    portal.put(0, descriptor(NOOP, record=portal.record_address(3)))
    return portal

def published(rng):
    '''Inside the gate, published, in flight.'''
    portal = gate(rng)
    portal.store("tail", 1)
    portal.knock()
    return portal

def full(rng):
    '''More in flight than the WQ holds.'''
    client = RawClient(SOCKET)
    memory, portal = client.alloc(1 << 24), client.open("dsa0/wq0.1")
    for _ in range(100):
        end = memory.address + (1 << 23)
        portal.publish(descriptor(MEMMOVE, source=memory.address, destination=end, size=1 << 21, flags=0))
    return portal

def asking(rng):
    '''Between a question and its answer.'''
    portal = RawClient(SOCKET).open("dsa0/wq0.1")
    portal.store("want", 1)
    portal.store("wake_at", 1)
    return portal

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    position, seed = line.split()
    pid = os.fork()
    if pid == 0:
        try:
            if position != "work":
                print(os.getpid(), flush=True)
            kept = globals()[position](random.Random(int(seed)))
            signal.pause()
        finally:
            os._exit(1)
    if position == "work":
        print(pid, flush=True)
"""
POSITIONS = ["work", "work", "work", "gap", "gate", "published", "full", "asking"]


def resources(pid: int) -> tuple[int, int]:
    """Descriptors and mappings of a process."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return len(os.listdir(f"/proc/{pid}/fd")), sum("memfd:idxdd" in line for line in maps)


def no_more(now: list[tuple[int, int]], before: list[tuple[int, int]]) -> bool:
    """`before` may still have had the connection that asked; a leak would show once a round."""
    return all(new <= old for pair in zip(now, before, strict=True) for new, old in zip(*pair, strict=True))


def test_clients_killed_at_any_moment_give_everything_back(daemon: RunningDaemon) -> None:
    """Portal, PASID, grants, channels, buffers and descriptors come back, from whatever instruction; nobody else notices."""
    rng = random.Random(SEED)
    processes = daemon.pid, daemon.irq_pid()
    before = [resources(pid) for pid in processes]
    with Child(ZYGOTE, TESTS, daemon.socket) as zygote, unharmed(daemon):
        assert zygote.line() == "ready"
        for turn in range(ROUNDS):
            position = POSITIONS[turn % len(POSITIONS)]
            zygote.say(f"{position} {rng.randrange(1 << 30)}")
            victim = int(zygote.line())
            delay_s = rng.choice((0.0005, 0.005, 0.03, 0.08)) * rng.random()
            time.sleep(delay_s)  # the moment is what varies, nothing is waited for
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: not alive(victim), 5)  # type: ignore[misc]
        assert zygote.finish() == 0
    wait_until(lambda: no_more([resources(pid) for pid in processes], before), 5, f"no more than {before}")
    with daemon.connect() as client:
        stats, _ = client.request("stats")
    assert stats["engine"]["contexts"] == stats["engine"]["parked"] == 0
    assert stats["irq"]["restarts"] == 0


def test_the_dedicated_wq_of_a_killed_client_is_free_again(daemon: RunningDaemon) -> None:
    """Ten owners in a row die with descriptors in flight: each next one gets the WQ, its old PASID's work is gone."""
    with idxd_client.connect(daemon.socket) as conn:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(BaseException):
                    own = idxd_client.connect(daemon.socket)
                    queue, memory = free_at_last(own, "dsa0/wq0.0"), own.alloc(1 << 22)
                    for _ in range(20):
                        queue.submit(Descriptor.memmove(memory[1 << 21 :], memory[: 1 << 21]))
                    os.kill(os.getpid(), signal.SIGKILL)
                os._exit(1)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        with free_at_last(conn, "dsa0/wq0.0") as queue:
            queue.noop()
    assert not unbalanced(daemon)


def free_at_last(conn: idxd_client.Connection, wq: str) -> idxd_client.WorkQueue:
    """Open it once its dead owner's session has ended."""

    def opened() -> idxd_client.WorkQueue | None:
        try:
            return conn.open_user(wq)
        except idxd_client.Refused:
            return None

    queue = wait_until(opened, 10, f"{wq} is free")
    assert queue is not None
    return queue


# ---- idxdd-irq ----------------------------------------------------------------------------------------------------------

COUNTER = """
import sys
from collections import Counter
import crc32c
import idxd_client
from idxd_client import Descriptor, wait_all

socket, wq, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZE = 4096
calls = Counter()
with idxd_client.connect(socket) as conn, conn.open_kernel(wq) as channel, conn.alloc(65 * SIZE) as memory:
    view = memoryview(memory)
    print("ready", flush=True)
    sent = []
    for i in range(count):
        place = memory[(1 + i % 64) * SIZE :][:SIZE]
        sent.append(channel.submit(Descriptor.fill(place, i), callback=lambda c: calls.update([c.number]), timeout=60))
        if i % 500 == 499:
            print(i + 1, flush=True)
    results = wait_all(sent, 60)
    assert all(result.ok for result in results)
    tickets = [completion.number for completion in sent]
    assert calls == Counter(tickets), (calls - Counter(tickets), Counter(tickets) - calls)
    assert len(set(tickets)) == count
    for i in range(count - 64, count):
        place = (1 + i % 64) * SIZE
        assert crc32c.crc32c(view[place : place + SIZE]) == crc32c.crc32c(i.to_bytes(8, "little") * (SIZE // 8)), i
    view.release()
print("done", flush=True)
"""
KILLS_OF_IRQ = 4
DESCRIPTORS = 4000


def test_idxdd_irq_killed_again_and_again_completes_everything_once(daemon: RunningDaemon) -> None:
    """Its successor adopts: every accepted descriptor's callback runs exactly once, in three processes on two kernel WQs."""
    rng = random.Random(SEED)
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(Child(COUNTER, daemon.socket, wq, DESCRIPTORS)) for wq in (KERNEL, KERNEL, "dsa0/wq0.3")
        ]
        for child in children:
            assert child.line() == "ready"
        lives = {daemon.irq_pid()}
        for _ in range(KILLS_OF_IRQ):
            assert children[0].line().isdigit(), "killed under load"
            time.sleep(rng.random() * 0.02)  # the moment is what varies, nothing is waited for
            (pid,) = {irq_pid(daemon)}
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: irq_pid(daemon) not in (0, pid), 15, "the next one is there")  # type: ignore[misc]
            lives.add(irq_pid(daemon))
        for child in children:
            assert list(iter(child.line, "done"))[-1:] != [""], "it ended early"
            assert child.finish() == 0
    assert len(lives) == KILLS_OF_IRQ + 1
    with daemon.connect() as client:
        stats, _ = client.request("stats")
    done = {wq["wq"]: (wq["accepted"], wq["completed"], wq["aborted"]) for wq in stats["wqs"]}
    assert done[KERNEL] == (2 * DESCRIPTORS, 2 * DESCRIPTORS, 0)
    assert done["dsa0/wq0.3"] == (DESCRIPTORS, DESCRIPTORS, 0)
    assert stats["irq"]["restarts"] == KILLS_OF_IRQ
    wait_until(lambda: held(daemon) == (1, 0, 0), 10)


def irq_pid(daemon: RunningDaemon) -> int:
    """As the daemon tells it."""
    return daemon.irq_pid()


def test_idxdd_irq_killed_while_clients_open_and_close(daemon: RunningDaemon) -> None:
    """Verbs whose answers were lost are repeated: no open hangs, none is counted twice."""
    rng = random.Random(SEED)
    failures: list[BaseException] = []
    stopped = threading.Event()

    def open_and_close(wq: str) -> None:
        try:
            with idxd_client.connect(daemon.socket, timeout=20) as conn:
                while not stopped.is_set():
                    with conn.open(wq) as queue:
                        queue.noop()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_and_close, args=(wq,)) for wq in ("dsa0/wq0.0", SHARED, KERNEL, "dsa0/wq0.3")]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(rng.random() * 0.1)  # the moment is what varies, nothing is waited for
            pid = daemon.irq_pid()
            if pid:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: daemon.irq_pid() not in (0, pid), 15)  # type: ignore[misc]
    finally:
        stopped.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    wait_until(lambda: held(daemon) == (1, 0, 0), 10)
    with idxd_client.connect(daemon.socket) as conn:
        clients = {wq["name"]: wq["clients"] for device in conn.list()["devices"] for wq in device["wqs"]}
    assert set(clients.values()) == {0}, clients


# ---- idxdd --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(waits: dict[str, Callable[[], object]]) -> Iterator[dict[str, tuple[float, BaseException | None]]]:
    """Each wait in a thread of its own; when and how each ended is there after the block."""
    ended: dict[str, tuple[float, BaseException | None]] = {}

    def run(name: str, wait: Callable[[], object]) -> None:
        error: BaseException | None = None
        try:
            wait()
        except BaseException as raised:
            error = raised
        ended[name] = time.monotonic(), error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in waits.items()]
    for thread in threads:
        thread.start()
    yield ended
    for thread in threads:
        thread.join(15)


def test_a_killed_idxdd_ends_every_kind_of_wait(daemon: RunningDaemon) -> None:
    """Within a second and by name; idxdd-irq goes along, the next start sweeps, and reattach() goes on with the same views."""
    irq = daemon.irq_pid()
    with idxd_client.connect(daemon.socket) as conn, idxd_client.connect(daemon.socket) as other:
        user, dedicated, channel, second = queues = [conn.open(wq) for wq in (SHARED, "dsa0/wq0.0", KERNEL, "dsa0/wq0.3")]
        memory = conn.alloc(1 << 16)
        view = np.frombuffer(memory, np.uint8)
        user.fill(memory[:32768], 0x5A5A5A5A5A5A5A5A)
        address = memory.address
        stop(daemon.pid)
        sent = [[queue.submit(Descriptor.noop()) for _ in range(4)] for queue in queues]

        async def gather(*completions: idxd_client.Completion) -> None:
            await asyncio.gather(*(as_coroutine(completion) for completion in completions))

        async def as_coroutine(completion: idxd_client.Completion) -> None:
            (await completion).raise_for_status()

        def fill_up(queue: idxd_client.WorkQueue | idxd_client.KernelChannel) -> None:
            while True:
                queue.submit(Descriptor.noop(), timeout=20)

        waits: dict[str, Callable[[], object]] = {
            "Completion.wait": lambda: sent[0][0].result(20),
            "channel Completion.wait": lambda: sent[2][0].result(20),
            "wait_all": lambda: wait_all([mine[1] for mine in sent], 20),
            "wait_any": lambda: [completion.result(0) for completion in wait_any([mine[2] for mine in sent], 20)],
            "asyncio": lambda: asyncio.run(gather(*(mine[3] for mine in sent))),
            "future": lambda: user.submit_future(Descriptor.noop()).result(20),
            "full user WQ": lambda: fill_up(dedicated),
            "full channel": lambda: fill_up(second),
            "control call": conn.list,
            "open": lambda: other.open(SHARED),
        }
        with Lateness() as late, running(waits) as ended:
            time.sleep(0.2)  # so that most of them sleep by now; whichever does not is as good a case
            assert ended == {}
            killed = time.monotonic()
            daemon.kill()
        assert set(ended) == set(waits)
        for name, (when, error) in ended.items():
            assert isinstance(error, DeviceGone), (name, error)
            assert when - killed < late.limit(NOTICED_S), name
        assert not alive(irq)
        left = set(names.names_left(daemon.instance))
        with pytest.raises(DaemonAbsent):
            conn.reattach(timeout=0.1)
        daemon.start()
        assert not left & set(names.names_left(daemon.instance)) - {f"idxdd.{os.geteuid()}.{daemon.instance}.lock"}
        conn.reattach()
        assert memory.address == address
        assert (view[:32768] == 0x5A).all()
        dedicated.memmove(memory[32768:], memory[:32768])
        channel.fill(memory[:8], 0)
        assert (view[32768:] == 0x5A).all()
        assert not view[:8].any()
        with pytest.raises(IdxdError):
            sent[1][0].result(1)
        for queue in queues:
            queue.close()
        del view
        memory.close()


def stop(pid: int) -> None:
    """SIGSTOP, and every thread of it stands. Only for one that is killed then: it would not end otherwise."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    wait_until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()))


def test_idxdd_killed_over_and_over(daemon: RunningDaemon) -> None:
    """Under load, five generations: reattach() finds each next one, and what it moves then is right."""
    with contextlib.ExitStack() as stack:
        conn = stack.enter_context(idxd_client.connect(daemon.socket))
        memory = stack.enter_context(conn.alloc(1 << 16))
        user, channel = (stack.enter_context(conn.open(wq)) for wq in (SHARED, KERNEL))
        generations = {conn.generation}
        for turn in range(4):
            view = memoryview(memory)
            view[:32768] = os.urandom(32768)
            sent = [queue.submit(Descriptor.memmove(memory[32768:], memory[:32768])) for queue in (user, channel) * 8]
            daemon.kill()
            for completion in sent:
                with contextlib.suppress(DeviceGone):
                    completion.result(5)
            daemon.start()
            conn.reattach()
            generations.add(conn.generation)
            for queue in (user, channel):
                view[32768:] = bytes(32768)
                queue.memmove(memory[32768:], memory[:32768])
                assert view[32768:] == view[:32768], turn
            view.release()
        assert len(generations) == 5
