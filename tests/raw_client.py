"""A client without a library: every word it may write is written here as a test likes, right or wrong."""

import contextlib
import mmap
import os
import socket
import struct
from types import TracebackType
from typing import Any, Self

from idxdd import native
from idxdd.control.client import ControlClient, connect
from idxdd.native import LAYOUT, Words

PAGE = 4096
SLOTS = LAYOUT["portal_slots"]
CHANNEL_SLOTS = LAYOUT["channel_slots"]
SLOT = LAYOUT["portal_client.slot"]
NOOP, BATCH, DRAIN, MEMMOVE, FILL = 0, 1, 2, 3, 4
CRAV, RCR, RCI = 0x4, 0x8, 0x10


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def descriptor(
    opcode: int,
    *,
    flags: int = CRAV | RCR,
    record: int = 0,
    source: int = 0,
    destination: int = 0,
    size: int = 0,
    handle: int = 0,
) -> bytes:
    """64 bytes as the device reads them; addresses are this process's."""
    return struct.pack("<IIQQQIHH24x", 0, opcode << 24 | flags, record, source, destination, size, handle, 0)


class RawBuffer:
    """Memory that the device reaches at its address here."""

    def __init__(self, client: "RawClient", size: int) -> None:
        answer, (self.fd,) = client.control.request("alloc", size=size)
        self.number, self.size = int(answer["buffer"]), int(answer["size"])
        self.address = native.map_shared(self.fd, self.size, True)
        self.view = native.view(self.address, self.size, True)
        client.control.request("map", buffer=self.number, address=self.address)

    def release(self) -> None:
        """Unmap it here; the daemon is not told."""
        self.view.release()
        native.unmap(self.address, self.size)
        os.close(self.fd)


class RawPortal:
    """The pages and bells of one open, mapped; `client`, `device`, `channel` and `ring` are their words."""

    def __init__(self, client: "RawClient", wq: str) -> None:
        self.control = client.control
        self.answer, self.fds = client.control.request("open", wq=wq)
        self.client_fd, self.device_fd, self.doorbell, self.wake_fd = self.fds[:4]
        self.page = mmap.mmap(self.client_fd, _pages(LAYOUT["portal_client"]))
        self.client = Words(self.page)
        self.device_page = mmap.mmap(self.device_fd, _pages(LAYOUT["portal_device"]), prot=mmap.PROT_READ)
        self.device = Words(self.device_page)
        self.wake = socket.socket(fileno=os.dup(self.wake_fd))
        self.wake.setblocking(False)
        self.number = 0
        self.sequence = 0
        self.entered = 0
        if len(self.fds) > 4:
            self._map_channel(client)

    def _map_channel(self, client: "RawClient") -> None:
        self.channel_fd, self.ring_fd = self.fds[4:6]
        size = _pages(LAYOUT["channel"])
        self.channel_address = native.map_shared(self.channel_fd, size, True)
        self.channel_view = native.view(self.channel_address, size, True)
        self.channel = Words(self.channel_view)
        self.ring_page = mmap.mmap(self.ring_fd, _pages(LAYOUT["completion_ring"]), prot=mmap.PROT_READ)
        self.ring = Words(self.ring_page)
        client.control.request("map", channel=self.answer["channel"], address=self.channel_address)

    # ---- words -----------------------------------------------------------------------------------------------------

    def load(self, name: str) -> int:
        """A word of the device's page."""
        offset = LAYOUT[f"portal_device.{name}"]
        return self.device.load32(offset) if name in ("answered", "closed", "fenced") else self.device.load64(offset)

    def store(self, name: str, value: int) -> None:
        """A word of our own page, whatever it means."""
        offset = LAYOUT[f"portal_client.{name}"]
        (self.client.store32 if name in ("want", "in_submit") else self.client.store64)(offset, value)

    def put(self, slot: int, desc: bytes) -> None:
        """Write a slot without telling anybody."""
        at = SLOT + slot % SLOTS * 64
        self.page[at : at + 64] = desc

    def knock(self) -> None:
        """Ring the device whether it sleeps or not."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.doorbell, 1)

    def publish(self, desc: bytes) -> int:
        """Slot, tail, fence, bell: as the protocol says, but for the limit, which is not looked at."""
        number, self.number = self.number, self.number + 1
        self.put(number, desc)
        self.store("tail", self.number)
        native.fence()
        self.knock()
        return number

    # ---- a kernel channel --------------------------------------------------------------------------------------------

    def enter(self, ticket: int) -> None:
        """Append a pending-list entry, whatever it says."""
        self.channel.store64(LAYOUT["channel.pending"] + self.entered % CHANNEL_SLOTS * 8, ticket)
        self.entered += 1
        self.channel.store64(LAYOUT["channel.pending_tail"], self.entered)

    def record_address(self, slot: int) -> int:
        return self.channel_address + LAYOUT["channel.record"] + slot * LAYOUT["channel.record[]"]

    def record_status(self, slot: int) -> int:
        return self.channel_view[LAYOUT["channel.record"] + slot * LAYOUT["channel.record[]"]]

    def completions(self) -> list[int]:
        """Tickets in the completion ring, oldest first."""
        tail = self.ring.load64(LAYOUT["completion_ring.tail"])
        entry, stride = LAYOUT["completion_ring.entry"], LAYOUT["completion_ring.entry[]"]
        count = LAYOUT["completions"]
        return [self.ring.load64(entry + n % count * stride) for n in range(max(0, tail - count), tail)]

    def close(self) -> None:
        """As the protocol says."""
        self.control.request("close", portal=self.answer["portal"])

    def release(self) -> None:
        """Unmap and close everything here; the daemon is not told."""
        self.wake.close()
        self.client.release()
        self.device.release()
        self.page.close()
        self.device_page.close()
        if len(self.fds) > 4:
            self.channel.release()
            self.ring.release()
            self.ring_page.close()
            self.channel_view.release()
            native.unmap(self.channel_address, _pages(LAYOUT["channel"]))
        quiet(self.fds)


def ticket(slot: int, sequence: int) -> int:
    return sequence << 16 | slot


class RawClient:
    """A session; its death or close() ends it."""

    def __init__(self, socket_path: str, timeout: float = 10.0) -> None:
        self.control: ControlClient = connect(socket_path, timeout)
        self._held: list[RawPortal | RawBuffer] = []

    def open(self, wq: str) -> RawPortal:
        portal = RawPortal(self, wq)
        self._held.append(portal)
        return portal

    def alloc(self, size: int) -> RawBuffer:
        buffer = RawBuffer(self, size)
        self._held.append(buffer)
        return buffer

    def stats(self) -> dict[str, Any]:
        return self.control.request("stats")[0]

    def close(self) -> None:
        """End the session, then let go of what it had."""
        self.control.close()
        while self._held:
            self._held.pop().release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def quiet(fds: list[int]) -> None:
    """Let go of descriptors; one that a test closed already is no matter."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
