"""A device in plain memory: what idxd_client needs of a connection, a portal and a channel, scripted by the test."""

import os
import struct
import time
from collections import deque
from collections.abc import Callable
from errno import ENXIO
from typing import Any

from idxd_client.arena import Arena
from idxd_client.buffers import Buffer
from idxd_client.connection import Opened
from idxdd import native


class FakeConnection:
    """Allocates memfds itself and remembers what was given back."""

    def __init__(self) -> None:
        self.arena = Arena(self)  # type: ignore[arg-type]
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.agent: object | None = None
        self.reached = 0
        self.closed_portals: list[int] = []
        self.abandoned: list[tuple[str, dict[str, int]]] = []
        self._buffers: list[Buffer] = []

    def alloc(self, size: int, *, owned: bool = True) -> Buffer:
        buffer = Buffer(size)
        fd = os.memfd_create("fake")
        os.ftruncate(fd, buffer.nbytes)
        buffer.attach(self, len(self._buffers) + 1, fd)  # type: ignore[arg-type]
        buffer.owned = owned
        self._buffers.append(buffer)
        return buffer

    def reach(self) -> None:
        self.reached += 1

    def free(self, buffer: Buffer) -> None:
        self.requests.append(("free", {"buffer": buffer.number}))

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        self.requests.append((op, arguments))
        return {}

    def close_portal(self, _queue: object, opened: Opened) -> None:
        self.closed_portals.append(opened.portal_number)

    def abandon(self, op: str, **arguments: int) -> None:
        self.abandoned.append((op, arguments))

    def close(self) -> None:
        self.arena.close()
        for buffer in self._buffers:
            buffer.close()


class FakePortal:
    """Keeps what is submitted; `complete(n)` writes the records of the oldest n. `answers` overrides what submit says."""

    def __init__(self) -> None:
        self.submitted: list[bytes] = []
        self.pending: deque[bytes] = deque()
        self.answers: deque[int] = deque()
        self.tail = 0
        self.done = 0
        self.closed = 0
        self.closed_at = 2**64 - 1
        self.waits: list[tuple[int, float]] = []
        self.wait_answer: int | None = None
        self.on_wait: Callable[[], object] = lambda: None
        self.is_closed = False
        self.bell: tuple[int, int] | None = None

    def submit(self, descriptor: bytes) -> int:
        if self.answers and (answer := self.answers.popleft()) < 0:
            return answer
        self.submitted.append(bytes(descriptor))
        self.pending.append(bytes(descriptor))
        self.tail += 1
        return self.tail - 1

    def submit_many(self, descriptors: bytes) -> int:
        room = self.answers.popleft() if self.answers else 128
        count = min(room, len(descriptors) // 64)
        for i in range(count):
            self.submit(bytes(descriptors[i * 64 : (i + 1) * 64]))
        return count if room >= 0 else room

    def complete(self, count: int = 1, status: int = 1, *, record: bool = True) -> None:
        for _ in range(count):
            flags, address = struct.unpack_from("<4xI Q", self.pending.popleft())
            if record and flags & 4:
                native.view(address, 32, True)[:32] = bytes((status,)) + bytes(31)
            self.done += 1

    def _answer(self, satisfied: Callable[[], bool]) -> int:
        if satisfied():
            return native.WAIT_DONE
        self.on_wait()
        if satisfied():
            return native.WAIT_DONE
        return native.WAIT_TIMEOUT if self.wait_answer is None else self.wait_answer

    def wait(self, number: int, timeout: float) -> int:
        self.waits.append((number, timeout))
        return self._answer(lambda: self.done >= number)

    def wait_room(self, timeout: float) -> int:
        time.sleep(min(timeout, 0.01))
        return native.WAIT_TIMEOUT

    def wait_record(self, record: memoryview, timeout: float, number: int) -> int:
        self.waits.append((number, timeout))
        return self._answer(lambda: record[0] != 0 or (self.closed != 0 and self.done >= self.tail))

    def sleeping_fd(self, number: int) -> int:
        if self.done >= number:
            return -1
        if self.bell is None:
            self.bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self.bell[0]

    def ring(self) -> None:
        assert self.bell is not None
        os.write(self.bell[1], b"!")

    def drain_bell(self) -> None:
        if self.bell is not None:
            try:
                os.read(self.bell[0], 256)
            except BlockingIOError:
                return

    def close(self) -> None:
        self.is_closed = True
        if self.bell is not None:
            for fd in self.bell:
                os.close(fd)
            self.bell = None


class FakeChannel:
    """A channel whose completions the test appends to `ring`."""

    address = 0x10000
    size = 4096
    refusal = ENXIO

    def __init__(self) -> None:
        self.answers: deque[int] = deque()
        self.submitted: list[int] = []
        self.ring: deque[tuple[int, int, int, bytes]] = deque()
        self.completed = 0
        self.wait_answer: int | None = None
        self.on_wait: Callable[[], object] = lambda: None
        self.is_closed = False
        self._next = 1

    def submit(self, descriptor: bytes, block: bool = False) -> int:
        if self.answers and (answer := self.answers.popleft()) < 0:
            return answer
        assert len(descriptor) == 64
        ticket = self._next << 16
        self._next += 1
        self.submitted.append(ticket)
        return ticket

    def submit_many(self, descriptors: bytes) -> list[int]:
        tickets: list[int] = []
        for at in range(0, len(descriptors), 64):
            answer = self.submit(bytes(descriptors[at : at + 64]))
            if answer == native.SUBMIT_RETRY:
                break
            tickets.append(answer)
            if answer < 0:
                break
        return tickets

    def complete(self, ticket: int, status: int = 1, result: int = 0) -> None:
        self.ring.append((ticket, status, result, bytes((status,)) + bytes(31)))
        self.completed += 1

    def reap(self, maximum: int = 256) -> list[tuple[int, int, int, bytes]]:
        return [self.ring.popleft() for _ in range(min(maximum, len(self.ring)))]

    def wait(self, completed: int, timeout: float) -> int:
        if self.completed < completed:
            self.on_wait()
        if self.completed >= completed:
            return native.WAIT_DONE
        return native.WAIT_TIMEOUT if self.wait_answer is None else self.wait_answer

    def close(self) -> None:
        self.is_closed = True


class FakeOpened(Opened):
    """The answer to "open" with fakes instead of mappings."""

    fake_portal: FakePortal
    fake_channel: FakeChannel

    def portal(self) -> native.Portal:
        self.fake_portal = FakePortal()
        return self.fake_portal  # type: ignore[return-value]

    def channel(self, portal: native.Portal) -> native.Channel:
        self.fake_channel = FakeChannel()
        return self.fake_channel  # type: ignore[return-value]


def opened(name: str = "dsa0/wq0.1", *, kernel: bool = False) -> FakeOpened:
    """An open WQ of size 16."""
    answer = {
        "wq": 1, "portal": 7, "dedicated": False, "kernel": kernel, "size": 16, "threshold": 15,
        "max_transfer_size": 1 << 31, "max_batch_size": 1024, "pasid": 2,
    }  # fmt: skip
    return FakeOpened.of(name, answer, [], -1, -1)
