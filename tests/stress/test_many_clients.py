"""Sixteen processes on mixed WQs, random sizes and depths, every byte checked by a CRC of another library, kills in between.

`make test` runs one short seed; `make stress` (IDXDD_STRESS=long) runs many, longer. A failure names its seed:
IDXDD_STRESS_SEED=n repeats it.
"""

import contextlib
import os
import random
import signal
import time
from typing import Any

import pytest
from child import Child
from daemons import RunningDaemon
from daemons import daemon as daemon  # the fixture
from neighbour import held, told, unbalanced
from waiting import wait_until

LONG = os.environ.get("IDXDD_STRESS") == "long"
SEEDS = [int(os.environ["IDXDD_STRESS_SEED"])] if "IDXDD_STRESS_SEED" in os.environ else range(3 if LONG else 1)
CLIENTS = 16
SECONDS = 20.0 if LONG else 4.0
KILLS_OF_IRQ = 6 if LONG else 2
WQS = ["dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.1", "dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.2", "dsa0/wq0.3", "dsa0/wq0.3"]

WORKER = """
import random, sys, time
import crc32c
import idxd_client
from idxd_client import Descriptor, Refused, wait_all

socket, seed, seconds, wqs = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].split(",")
rng = random.Random(seed)
SIZE = 1 << 18

def sizes(count):
    '''`count` pieces that fit, small and large.'''
    most = SIZE // count
    return [rng.choice((1, 64, rng.randrange(1, 4096), rng.randrange(1, most + 1))) % most or 1 for _ in range(count)]

def turn(queue, memory, view):
    '''Some descriptors of mixed operations at once; each one's bytes, and the CRC the device answered.'''
    depth = rng.randrange(1, 25)
    pieces = [(i * (SIZE // depth), size) for i, size in enumerate(sizes(depth))]
    sent = []
    for at, size in pieces:
        view[at : at + size] = rng.randbytes(size)
        view[SIZE + at : SIZE + at + size] = bytes(size)
        src, dst = memory[at:][:size], memory[SIZE + at :][:size]
        operation = rng.choice(("memmove", "copy_crc", "crc", "memmove", "fill", "batch"))
        if operation == "batch":
            half = size // 2
            members = [Descriptor.memmove(dst[:half], src[:half]), Descriptor.memmove(dst[half:], src[half:])] if half else []
            descriptor = Descriptor.batch(members) if members else Descriptor.memmove(dst, src)
        elif operation == "fill":
            pattern = rng.getrandbits(64)
            descriptor = Descriptor.fill(dst, pattern)
            view[at : at + size] = (pattern.to_bytes(8, "little") * (size // 8 + 1))[:size]
        elif operation == "crc":
            descriptor = Descriptor.crc(src)
            view[SIZE + at : SIZE + at + size] = view[at : at + size]
        else:
            descriptor = getattr(Descriptor, operation)(dst, src)
        sent.append((queue.submit(descriptor, timeout=60), operation, at, size))
    results = wait_all([completion for completion, *_ in sent], 60)
    for result, (_, operation, at, size) in zip(results, sent, strict=True):
        result.raise_for_status()
        want = crc32c.crc32c(view[at : at + size])
        assert crc32c.crc32c(view[SIZE + at : SIZE + at + size]) == want, (operation, at, size)
        if operation in ("crc", "copy_crc"):
            assert result.crc == want, (operation, at, size, result)
    return depth

def opened(conn, wq):
    '''A dedicated user WQ has one client: the shared one instead.'''
    try:
        return conn.open(wq)
    except Refused as refused:
        if refused.code != "EBUSY":
            raise
        return conn.open("dsa0/wq0.1")

count = 0
with idxd_client.connect(socket, timeout=60) as conn, conn.alloc(2 * SIZE) as memory:
    view = memoryview(memory)
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with opened(conn, rng.choice(wqs)) as queue:
            for _ in range(rng.randrange(1, 30)):
                count += turn(queue, memory, view)
                if time.monotonic() > end:
                    break
    view.release()
print(count, flush=True)
"""


class Stress:
    """Workers that live and die."""

    def __init__(self, daemon: RunningDaemon, seed: int, stack: contextlib.ExitStack) -> None:
        self.rng = random.Random(seed)
        self.daemon = daemon
        self.stack = stack
        self.end = time.monotonic() + SECONDS
        self.workers = [self.worker() for _ in range(CLIENTS)]
        self.killed = 0

    def worker(self) -> Child:
        """One more, which works until the end."""
        left = max(0.5, self.end - time.monotonic())
        wqs = ",".join(self.rng.sample(WQS, 3))
        return self.stack.enter_context(Child(WORKER, self.daemon.socket, self.rng.getrandbits(30), left, wqs))

    def replace(self) -> None:
        """kill -9 of one that is anywhere; another in its place."""
        at = self.rng.randrange(CLIENTS)
        self.workers[at].kill()
        self.killed += 1
        self.workers[at] = self.worker()

    def kill_irq(self) -> None:
        """The one that lives; until the next one does."""
        pid = wait_until(self.daemon.irq_pid, 20, "an idxdd-irq")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.daemon.irq_pid() not in (0, pid), 20, "the next idxdd-irq")

    def finish(self) -> int:
        """Descriptors of those that lived."""
        done = 0
        for worker in self.workers:
            lines = list(iter(worker.line, ""))
            assert worker.finish() == 0, "a worker found wrong data, or waited in vain"
            done += int(lines[-1])
        return done


@pytest.mark.timeout(600 if LONG else 300)
@pytest.mark.parametrize("seed", SEEDS)
def test_sixteen_clients_on_mixed_wqs_with_kills(daemon: RunningDaemon, seed: int) -> None:
    """Accepted = completed + aborted per WQ, every byte right, nothing left, whoever is killed on the way."""
    pid = daemon.pid
    with contextlib.ExitStack() as stack:
        stress = Stress(daemon, seed, stack)
        for worker in stress.workers:
            assert worker.line() == "ready"
        irq_killed = turn = 0
        while time.monotonic() < stress.end - 1.0 or not irq_killed:
            turn += 1
            if turn % 3 == 0 and irq_killed < KILLS_OF_IRQ:
                stress.kill_irq()
                irq_killed += 1
            stress.replace()
            time.sleep(stress.rng.uniform(0.05, 0.4))  # the moment is what varies, nothing is waited for
        done = stress.finish()
    wait_until(lambda: held(daemon) == (1, 0, 0), 20, "sessions, channels and portals are given back")
    assert not unbalanced(daemon), told(daemon)
    assert daemon.pid == pid
    stats = statistics(daemon)
    print(
        f"seed {seed}: {done} descriptors of survivors, {stress.killed} clients and {stats['irq']['restarts']} idxdd-irq killed"
    )
    assert sum(wq["completed"] for wq in stats["wqs"]) >= done
    assert stats["irq"]["restarts"] == irq_killed
    assert (stats["engine"]["contexts"], stats["engine"]["parked"], stats["irq"]["unanswered"]) == (0, 0, 0)
    assert stress.killed >= 3


def statistics(daemon: RunningDaemon) -> dict[str, Any]:
    with daemon.connect() as client:
        stats, _ = client.request("stats")
    return stats
