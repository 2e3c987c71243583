"""A well-behaved client beside a hostile one: it moves checked data without end and tells how often."""

from child import Child

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
