"""A well-behaved client beside a hostile or dying one: it moves checked data without end and tells how often."""

import contextlib
from collections.abc import Iterator
from typing import Any

from child import Child
from daemons import RunningDaemon, alive
from waiting import wait_until

KERNEL = "dsa0/wq0.2"
SHARED = "dsa0/wq0.1"
BOTH = (SHARED, KERNEL)
ROUNDS_MIN = 3

PROGRAM = """
import random, select, sys
import crc32c
import idxd_client
from idxd_client import Descriptor, wait_all

socket, names = sys.argv[1], sys.argv[2].split(",")
rng = random.Random(sys.argv[3])
SIZE = 1 << 16
DEPTH = 4

def work(queue, memory, view):
    pieces = []
    for i in range(DEPTH):
        size = rng.choice((64, 1000, 4096, SIZE // DEPTH))
        at = i * (SIZE // DEPTH)
        view[at : at + size] = rng.randbytes(size)
        view[SIZE + at : SIZE + at + size] = bytes(size)
        pieces.append((at, size))
    moves = [Descriptor.memmove(memory[SIZE + at :][:size], memory[at:][:size]) for at, size in pieces]
    for result in wait_all([queue.submit(move, timeout=20) for move in moves], 20):
        result.raise_for_status()
    for at, size in pieces:
        assert crc32c.crc32c(view[at : at + size]) == crc32c.crc32c(view[SIZE + at : SIZE + at + size]), "other bytes"

count = 0
with idxd_client.connect(socket) as conn, conn.alloc(2 * SIZE) as memory:
    view = memoryview(memory)
    queues = [conn.open(name) for name in names]
    print("ready", flush=True)
    while True:
        for queue in queues:
            work(queue, memory, view)
            count += 1
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                break
            print(count, flush=True)
    for queue in queues:
        queue.close()
    view.release()
"""


class Neighbour(Child):
    """Works on these WQs from the moment it exists."""

    def __init__(self, socket: str, *wqs: str, seed: int = 0) -> None:
        super().__init__(PROGRAM, socket, ",".join(wqs), seed)
        assert self.line() == "ready"

    def moved(self) -> int:
        """Rounds so far; the answer to a question comes after at least one more."""
        self.say("count")
        answer = self.line()
        assert answer, "the neighbour has ended"
        return int(answer)


@contextlib.contextmanager
def unharmed(daemon: RunningDaemon, *wqs: str) -> Iterator[Neighbour]:
    """Daemon and idxdd-irq live on, a neighbour on these WQs moves data all the while, and nothing is left of the others."""
    pids = daemon.pid, daemon.irq_pid()
    with Neighbour(daemon.socket, *(wqs or BOTH)) as neighbour:
        before = neighbour.moved()
        yield neighbour
        after = neighbour.moved()
        assert neighbour.finish() == 0
    assert after - before >= ROUNDS_MIN, f"the neighbour stood still: {told(daemon)}"
    wait_until(lambda: held(daemon) == (1, 0, 0), 10, "sessions, channels and portals are given back")
    assert (daemon.pid, daemon.irq_pid()) == pids, told(daemon)
    assert alive(daemon.pid)
    assert not unbalanced(daemon)


def held(daemon: RunningDaemon) -> tuple[int, int, int]:
    """Sessions (ours, which asks, is one), channels, portals."""
    with daemon.connect() as client:
        stats, _ = client.request("stats")
    return stats["sessions"], stats["channels"], sum(wq["portals"] for wq in stats["wqs"])


def unbalanced(daemon: RunningDaemon) -> list[dict[str, Any]]:
    """WQs on which something accepted was neither completed nor aborted, or which say that something is queued."""
    with daemon.connect() as client:
        stats, _ = client.request("stats")
    return [wq for wq in stats["wqs"] if wq["accepted"] != wq["completed"] + wq["aborted"] or wq["occupancy"]]


def told(daemon: RunningDaemon) -> str:
    """What the daemon said, without the software errors that a hostile client causes by the thousand."""
    return "\n".join(line for line in daemon.said.splitlines() if "err[" not in line)[-2000:]
