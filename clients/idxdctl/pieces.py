"""A file through the device piece by piece: read, submit, take the result, several pieces on their way at once.

A piece is what one descriptor does. Its buffers are library buffers, page by page apart: nothing overlaps, and the low bits of
all addresses agree. Results are taken in order, whatever order the device finishes in.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from idxd_client import Completion, Connection, Descriptor, KernelChannel, Region, Result, WorkQueue, connect
from idxd_client.buffers import PAGE_BYTES
from idxdctl import progress
from idxdctl.output import Failed
from idxdctl.outputs import read_all

PIECE_BYTES = 1 << 20
DEPTH = 4
Stop = bool | None


@dataclass(frozen=True)
class Piece:
    """`length` bytes of a file from `offset`; the `number`th piece."""

    number: int
    offset: int
    length: int


@dataclass
class Slot:
    """The buffers of one piece on its way."""

    inputs: list[Region]
    outputs: list[Region]
    piece: Piece = field(default_factory=lambda: Piece(0, 0, 0))
    completion: Completion | None = None


@dataclass
class Session:
    """One WQ, and how long to wait for a descriptor on it."""

    connection: Connection
    queue: WorkQueue | KernelChannel
    timeout: float

    @property
    def piece_bytes(self) -> int:
        """Of one descriptor: no more than the WQ allows."""
        return min(PIECE_BYTES, self.queue.max_transfer_size)

    def piece_of(self, unit: int, what: str, most: int = PIECE_BYTES) -> int:
        """A whole number of units. Failed: the WQ's largest transfer is smaller than one."""
        found = min(self.piece_bytes, most) // unit * unit
        if not found:
            raise Failed(
                f"{what}: {self.queue.name} moves {self.queue.max_transfer_size} bytes at most, {unit} are needed",
                hint=f"idxdctl config-wq {self.queue.name} --max-transfer-size makes it larger",
            )
        return found

    def run(self, descriptor: Descriptor) -> Result:
        """Submit one, and wait."""
        return self.queue.submit(descriptor, timeout=self.timeout).result(self.timeout)


@contextlib.contextmanager
def session(socket: str | None, wq: str, timeout: float) -> Iterator[Session]:
    """Connect and open one WQ."""
    with connect(socket) as connection, connection.open(wq) as queue:
        yield Session(connection, queue, timeout)


def cut(size: int, piece: int) -> Iterator[Piece]:
    """`size` bytes in pieces."""
    for number, offset in enumerate(range(0, size, piece)):
        yield Piece(number, offset, min(piece, size - offset))


def _paged(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES


@contextlib.contextmanager
def slots(connection: Connection, inputs: Sequence[int], outputs: Sequence[int], depth: int) -> Iterator[list[Slot]]:
    """`depth` slots with buffers of these sizes, in one buffer of the library."""
    each = sum(map(_paged, [*inputs, *outputs]))
    with connection.alloc(max(PAGE_BYTES, each * depth)) as buffer:
        made = []
        at = 0
        for _ in range(depth):
            regions = []
            for size in [*inputs, *outputs]:
                regions.append(buffer.region(at, size))
                at += _paged(size)
            made.append(Slot(regions[: len(inputs)], regions[len(inputs) :]))
        yield made


def stream(
    using: Session,
    pieces: Iterable[Piece],
    *,
    inputs: Sequence[int] = (),
    outputs: Sequence[int] = (),
    read: Callable[[Slot], object],
    build: Callable[[Slot], Descriptor],
    take: Callable[[Slot, Result], Stop],
    chained: bool = False,
    what: str = "",
    total: int = 0,
) -> None:
    """Every piece through read, build, submit, take. `chained`: a descriptor is built when the one before was taken.

    `take` answers True to stop: what is on its way then is waited for, not taken.
    """
    with (
        slots(using.connection, inputs, outputs, DEPTH) as made,
        progress.bar(what, total) as update,
    ):
        free, moving, done = deque(made), deque[Slot](), 0
        stopped = False

        def finish() -> None:
            nonlocal done, stopped
            slot = moving.popleft()
            assert slot.completion is not None
            result = slot.completion.result(using.timeout)
            slot.completion = None
            free.append(slot)
            if not stopped:
                stopped = bool(take(slot, result))
            done += slot.piece.length
            update(done)

        try:
            for piece in pieces:
                if not free:
                    finish()
                slot = free.popleft()
                slot.piece = piece
                read(slot)
                while chained and moving and not stopped:
                    finish()
                if stopped:
                    break
                slot.completion = using.queue.submit(build(slot), timeout=using.timeout)
                moving.append(slot)
            while moving:
                finish()
        finally:  # the buffers go when nothing on its way uses them any more
            for slot in moving:
                if slot.completion is not None:
                    with contextlib.suppress(Exception):
                        slot.completion.wait(using.timeout)


def reader(*files: tuple[int, str]) -> Callable[[Slot], None]:
    """Reads a piece of each file (descriptor, name) into the input of its place."""

    def read(slot: Slot) -> None:
        for (fd, name), region in zip(files, slot.inputs, strict=True):
            read_all(fd, region.view[: slot.piece.length], slot.piece.offset, name)

    return read


@contextlib.contextmanager
def opened(*paths: str) -> Iterator[list[tuple[int, str]]]:
    """(descriptor, name) of each file, to read."""
    with contextlib.ExitStack() as stack:
        files = []
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            files.append((fd, path))
        yield files
