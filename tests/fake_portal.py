"""A portal's other side, played by the test: the engine's words, and idxdd-irq's, on the same memory files."""

import mmap
import os
import socket
import struct
from typing import Final, Self

from idxdd.native import LAYOUT, Channel, Portal, Words
from idxdd.shm import bells, memfd

NEVER: Final = 2**64 - 1
REVOKED: Final = 4
HALTED: Final = 3
DEVICE_GONE: Final = 6
GATE_DEAD: Final = 0
GATE_LIVE: Final = 1
GATE_CLOSED: Final = 2
PAGE: Final = 4096


def pages(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE


class SharedStruct:
    """One shared structure by field name, on a memory file of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = memfd.create(name, pages(LAYOUT[name]))
        self.map: mmap.mmap = memfd.map_shared(self.fd, pages(LAYOUT[name]))
        self.words = Words(self.map)

    def offset(self, field: str) -> int:
        return LAYOUT[f"{self.name}.{field}"]

    def get64(self, field: str) -> int:
        return self.words.load64(self.offset(field))

    def set64(self, field: str, value: int) -> None:
        self.words.store64(self.offset(field), value)

    def get32(self, field: str) -> int:
        return self.words.load32(self.offset(field))

    def set32(self, field: str, value: int) -> None:
        self.words.store32(self.offset(field), value)

    def close(self) -> None:
        self.words.release()
        self.map.close()
        os.close(self.fd)


class FakePortal:
    """Device's side of one portal: grants, answers, finishes and closes when the test says so."""

    def __init__(self, *, dedicated: bool = True, limit: int = 0, cores: int = 0) -> None:
        """`cores` 0: waiters never spin, so that a test of a sleep sleeps."""
        self.client = SharedStruct("portal_client")
        self.device = SharedStruct("portal_device")
        self.published = SharedStruct("published_device")
        self.published.set32("layout_version", 1)
        self.published.set32("cores", cores)
        self.device.set64("closed_at", NEVER)
        self.device.set64("limit", limit)
        self.doorbell = bells.create_doorbell()
        ours, self.wake_fd = bells.create_wake_pair()
        self.wake = socket.socket(fileno=ours)
        self.portal = Portal(
            client_fd=self.client.fd,
            device_fd=self.device.fd,
            published_fd=self.published.fd,
            doorbell_fd=self.doorbell,
            wake_fd=self.wake_fd,
            dedicated=dedicated,
        )
        self.rung = 0

    def slot(self, number: int) -> bytes:
        at = LAYOUT["portal_client.slot"] + number % LAYOUT["portal_slots"] * LAYOUT["portal_client.slot[]"]
        return self.client.map[at : at + 64]

    def doorbell_rings(self) -> int:
        """How often the device was rung since the last call."""
        try:
            return os.eventfd_read(self.doorbell)
        except BlockingIOError:
            return 0

    def ring(self) -> None:
        self.wake.send(b"!")

    def finish(self, done: int) -> bool:
        """Store `done`, and ring as the engine does; True if it rang."""
        self.device.set64("done", done)
        wake_at = self.client.get64("wake_at")
        if not wake_at or wake_at == self.rung or done < wake_at:
            return False
        self.rung = wake_at
        self.ring()
        return True

    def shut(self, reason: int, closed_at: int | None = None) -> None:
        """Close the portal; closed_at None: the tail has not been taken yet."""
        self.device.set32("closed", reason)
        if closed_at is not None:
            self.device.set64("closed_at", closed_at)
        self.ring()

    def die(self) -> None:
        """As the kernel does it when the daemon ends."""
        self.wake.close()

    def close(self) -> None:
        self.portal.close()
        self.wake.close()
        for fd in (self.doorbell, self.wake_fd):
            os.close(fd)
        for shared in (self.client, self.device, self.published):
            shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeChannel(FakePortal):
    """A kernel channel on top: idxdd-irq's gate and completion ring."""

    def __init__(
        self, *, slots: int = 16, gate: int = GATE_LIVE, wq: int = 3, dedicated: bool = True, limit: int = 128
    ) -> None:
        super().__init__(dedicated=dedicated, limit=limit)
        self.memory = SharedStruct("channel")
        self.ring_memory = SharedStruct("completion_ring")
        self.driver = SharedStruct("published_driver")
        self.driver.set32("layout_version", 1)
        self.wq = wq
        self.set_gate(gate)
        self.set_handle(7)
        self.channel = Channel(
            portal=self.portal,
            channel_fd=self.memory.fd,
            ring_fd=self.ring_memory.fd,
            driver_fd=self.driver.fd,
            wq=wq,
            slots=slots,
            wake_fd=self.wake_fd,
        )

    def _wq_word(self, field: str) -> int:
        return LAYOUT["published_driver.wq"] + self.wq * LAYOUT["published_driver.wq[]"] + LAYOUT[f"published_wq.{field}"]

    def set_gate(self, gate: int) -> None:
        self.driver.words.store32(self._wq_word("gate"), gate)

    def set_handle(self, handle: int) -> None:
        self.driver.words.store32(self._wq_word("int_handle"), handle)

    def pending(self) -> list[int]:
        """Tickets on the pending list, oldest first."""
        at, tail = LAYOUT["channel.pending"], self.memory.get64("pending_tail")
        return [self.memory.words.load64(at + n % LAYOUT["channel_slots"] * 8) for n in range(tail)]

    def descriptor(self, slot: int) -> bytes:
        at = LAYOUT["channel.desc"] + slot * 64
        return self.memory.map[at : at + 64]

    def write_record(self, slot: int, record: bytes) -> None:
        at = LAYOUT["channel.record"] + slot * 32
        self.memory.map[at : at + 32] = record.ljust(32, b"\0")

    def record(self, slot: int) -> bytes:
        at = LAYOUT["channel.record"] + slot * 32
        return self.memory.map[at : at + 32]

    def complete(self, ticket: int, status: int = 1, result: int = 0) -> bool:
        """An entry in the completion ring, then the bell as idxdd-irq rings it; True if it rang."""
        tail = self.ring_memory.get64("tail")
        at = LAYOUT["completion_ring.entry"] + tail % LAYOUT["completions"] * LAYOUT["completion_ring.entry[]"]
        self.ring_memory.map[at : at + 16] = struct.pack("<QBB6x", ticket, status, result)
        self.ring_memory.set64("tail", tail + 1)
        wake_at = self.memory.get64("wake_at")
        if not wake_at or tail + 1 < wake_at:
            return False
        self.ring()
        return True

    def close(self) -> None:
        self.channel.close()
        super().close()
        for shared in (self.memory, self.ring_memory, self.driver):
            shared.close()
