"""An engine in one thread with hand-made clients: what tests of the data plane stand on.

The clients write portal pages word by word, as a hostile or a correct program would; the client library is not used.
"""

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from idxdd import native
from idxdd.native import LAYOUT

SLOTS = LAYOUT["portal_slots"]
NEVER = (1 << 64) - 1
GENCAP = 0x1833F215F & ~(1 << 6) | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15  # no inter-domain operations
OPCAP = 0x7FF | 0x3F << 0x10 | 1 << 0x17 | 1 << 0x20
CRAV, RCR, RCI, FENCE = 0x04, 0x08, 0x10, 0x01
NOOP, BATCH, DRAIN, MOVE, FILL = 0, 1, 2, 3, 4

WQ: dict[str, Any] = {
    "group": 0,
    "dedicated": True,
    "size": 32,
    "threshold": 0,
    "priority": 10,
    "gencap": GENCAP,
    "opcfg": [OPCAP, 0, 0, 0],
    "max_xfer_shift": 31,
    "max_batch_shift": 10,
    "bof": False,
    "pasid_en": True,
    "pasid": 0,
    "priv": False,
    "user_int_en": True,
    "privileged_mode": True,
}


def descriptor(
    opcode: int,
    flags: int = 0,
    record: int = 0,
    first: int = 0,
    second: int = 0,
    size: int = 0,
    handle: int = 0,
    rest: bytes = b"",
) -> bytes:
    """64 bytes as they reach a portal."""
    head = struct.pack("<IIQQQIHH", 0, flags | opcode << 24, record, first, second, size, handle, 0)
    return head + rest.ljust(24, b"\0")


def _memfd(size: int) -> int:
    fd = os.memfd_create("engine-bench", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


class Client:
    """A portal and the memory of its owner. `base` is the owner's address of `memory`."""

    def __init__(self, bench: "Bench", wq: int, pasid: int, *, base: int, size: int, priv: bool = False) -> None:
        self.bench, self.wq, self.pasid, self.base = bench, wq, pasid, base
        self._fds = [
            _memfd(LAYOUT["portal_client"]),
            _memfd(4096),
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
            _memfd(size or 4096),
        ]
        client_fd, device_fd, self.doorbell, memory_fd = self._fds
        self._device_end, self.wake = socket.socketpair()
        self._device_end.setblocking(False)
        self.wake.setblocking(False)
        self._maps = [mmap.mmap(client_fd, 0), mmap.mmap(device_fd, 0), mmap.mmap(memory_fd, 0)]
        self.page, self.device = native.Words(self._maps[0]), native.Words(self._maps[1])
        self.slots = memoryview(self._maps[0])[LAYOUT["portal_client.slot"] :]
        self.memory = memoryview(self._maps[2])
        self.space = native.Space()
        if size:
            self.space.add(base, memory_fd, size)
        self.number, request = bench.engine.portal_add(
            wq, client_fd=client_fd, device_fd=device_fd, doorbell_fd=self.doorbell, wake_fd=self._device_end.fileno(),
            space=self.space, pasid=pasid, priv=priv,
        )  # fmt: skip
        bench.settle(request)

    def get(self, word: str) -> int:
        """A word of the device's page."""
        offset = LAYOUT[f"portal_device.{word}"]
        return self.device.load32(offset) if word in ("answered", "closed", "fenced") else self.device.load64(offset)

    def set(self, word: str, value: int) -> None:
        """A word of the client's page."""
        offset = LAYOUT[f"portal_client.{word}"]
        (self.page.store32 if word in ("want", "in_submit") else self.page.store64)(offset, value)

    @property
    def tail(self) -> int:
        return self.page.load64(LAYOUT["portal_client.tail"])

    def publish(self, *descriptors: bytes) -> None:
        """Fill slots, move tail: without asking anybody."""
        tail = self.tail
        for number, desc in enumerate(descriptors, tail):
            at = number % SLOTS * 64
            self.slots[at : at + 64] = desc
        self.set("tail", (tail + len(descriptors)) & NEVER)

    def record(self, offset: int) -> bytes:
        """32 bytes at `offset` of memory."""
        return bytes(self.memory[offset : offset + 32])

    def noop(self, offset: int = 0, flags: int = 0, **kwargs: Any) -> bytes:
        """A no-op with its record at `offset`."""
        return descriptor(NOOP, CRAV | RCR | flags, self.base + offset, **kwargs)

    def rung(self) -> int:
        """Bells since the last call."""
        with contextlib.suppress(BlockingIOError):
            return len(self.wake.recv(4096))
        return 0

    def map(self, address: int, content: bytes) -> memoryview:
        """One more page of the owner's memory, with this content."""
        fd = _memfd(4096)
        window = mmap.mmap(fd, 0)
        window[: len(content)] = content
        self._fds.append(fd)
        self._maps.append(window)
        self.space.add(address, fd, 4096)
        return memoryview(window)

    def close(self) -> None:
        self.slots.release()
        self.memory.release()
        self.page.release()
        self.device.release()
        for window in self._maps:
            window.close()
        for fd in self._fds:
            os.close(fd)
        self.wake.close()
        self._device_end.close()


class Bench:
    """An engine that runs only when told to."""

    def __init__(self) -> None:
        self._published = mmap.mmap(-1, -(-LAYOUT["published_device"] // 4096) * 4096)
        self.engine = native.Engine(self._published, spin_us=0)
        self.exits: list[native.Exit] = []
        self._clients: list[Client] = []

    def wq(self, wq: int, **changes: Any) -> None:
        """Enable it; dedicated, 32 entries, all that is implemented."""
        self.settle(self.engine.wq_enable(wq, **WQ | changes))

    def client(self, wq: int = 0, pasid: int = 2, *, base: int = 0x10000, size: int = 1 << 20, priv: bool = False) -> Client:
        """Another portal."""
        client = Client(self, wq, pasid, base=base, size=size, priv=priv)
        self._clients.append(client)
        return client

    def run(self, visits: int = 1) -> list[native.Exit]:
        """So many visits; the exits that are not acknowledgements, of this call."""
        self.engine.run(visits)
        new = self.engine.exits()
        self.exits += new
        return [exit for exit in new if exit.kind != native.EXIT_ACK]

    def acknowledged(self, request: int) -> bool:
        """Has the request been done?"""
        return any(exit.kind == native.EXIT_ACK and exit.id == request for exit in self.exits)

    def settle(self, request: int, visits: int = 64) -> None:
        """Run until the request is acknowledged."""
        for _ in range(visits):
            self.run()
            if self.acknowledged(request):
                return
        raise AssertionError(f"request {request} was not acknowledged in {visits} visits")

    def statistics(self, wq: int, word: str) -> int:
        """A counter of struct idxdd_wq_statistics."""
        words = native.Words(self._published)
        base = LAYOUT["published_device.wq"] + wq * LAYOUT["published_device.wq[]"]
        try:
            return words.load64(base + LAYOUT[f"wq_statistics.{word}"])
        finally:
            words.release()

    def leave(self, client: Client) -> None:
        """Remove its portal and free what it had."""
        self.settle(self.engine.portal_remove(client.number))
        self.settle(self.engine.barrier())
        self._clients.remove(client)
        client.close()

    def close(self) -> None:
        del self.engine
        for client in self._clients:
            client.close()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """One engine, taken down afterwards."""
    made = Bench()
    try:
        yield made
    finally:
        made.close()
