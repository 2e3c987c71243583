"""Client buffers: memory files made here, sealed, within the client's quota, and where they lie in its address space.

Order   reserve in pieces (a turn of the loop each), seal, pass on. Taken out of the address table first, then a barrier: the
        engine has left it; only then is the answer sent and the address free to be used otherwise.
"""

import _thread
import errno
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field

from idxdd.native import NativeError, Space
from idxdd.service.settings import Limits
from idxdd.service.tasks import Refused, Steps, Wait
from idxdd.shm import memfd
from idxdd.shm.errors import SharedMemoryFull

PAGE = 4096
RESERVE_BYTES = 4 << 20  # about a millisecond of zeroing
DESCRIPTORS_KEPT = 64  # the last ones are for the next idxdd-irq and for control connections, not for what clients hold
CLOSE_BYTES_AT_ONCE = 4 << 20  # about a millisecond of freeing


@dataclass
class Buffer:
    """One memory file; `address` where the client has it, None while it is not mapped."""

    fd: int
    size: int
    address: int | None = None


@dataclass
class AddressSpace:
    """What one client shows the device: its buffers and its mappings (of buffers and channels)."""

    limits: Limits
    space: Space = field(default_factory=Space)
    buffers: dict[int, Buffer] = field(default_factory=dict)
    mappings: dict[int, Buffer | None] = field(default_factory=dict)
    bytes_held: int = 0
    _next: int = 1

    def alloc(self, size: int, next_turn: Wait) -> Steps:
        """Make one; returns (number, Buffer). Refused: EMFILE, ENOMEM."""
        size = -(-size // PAGE) * PAGE
        if len(self.buffers) >= self.limits.buffers_max:
            raise Refused("EMFILE", f"size: this client has {self.limits.buffers_max} buffers, which is its limit")
        if self.bytes_held + size > self.limits.buffer_bytes_max:
            held, most = self.bytes_held, self.limits.buffer_bytes_max
            raise Refused("ENOMEM", f"size: {size} bytes beside {held} held exceed this client's {most} bytes")
        buffer = Buffer(_memory_file(), size)
        number, self._next = self._next, self._next + 1
        self.buffers[number] = buffer
        self.bytes_held += size
        try:
            for start in range(0, size, RESERVE_BYTES):
                memfd.grow(buffer.fd, start, min(RESERVE_BYTES, size - start), "a client's buffer")
                yield next_turn
            memfd.seal(buffer.fd)
        except SharedMemoryFull as error:
            self._drop(number)
            raise Refused("ENOMEM", f"size: {error}") from None
        return number, buffer

    def map(self, buffer: Buffer, address: int) -> None:
        """Serve the client's [address, address + size) from this buffer. Refused: EBUSY, EINVAL, EEXIST, ENOSPC."""
        if buffer.address is not None:
            raise Refused("EBUSY", f"buffer: it is mapped at {buffer.address:#x} already")
        self._add(address, buffer.fd, buffer.size)
        buffer.address = address
        self.mappings[address] = buffer

    def map_file(self, fd: int, size: int, address: int) -> None:
        """The same for a channel's memory."""
        self._add(address, fd, size)
        self.mappings[address] = None

    def _add(self, address: int, fd: int, size: int) -> None:
        try:
            self.space.add(address, fd, size)
        except NativeError as error:
            raise refusal(error, "address") from None

    def unmap(self, address: int, barrier: Wait) -> Steps:
        """Take it out and wait until the engine has left it. Refused: ENOENT."""
        if address not in self.mappings:
            raise Refused("ENOENT", f"address: nothing is mapped at {address:#x}")
        buffer = self.mappings.pop(address)
        self.space.remove(address)
        yield barrier
        if buffer is not None:
            buffer.address = None

    def free(self, number: int) -> None:
        """Give the memory back. Refused: ENOENT, EBUSY."""
        buffer = self.buffers.get(number)
        if buffer is None:
            raise Refused("ENOENT", f"buffer: this client has no buffer {number}")
        if buffer.address is not None:
            raise Refused("EBUSY", f"buffer: it is mapped at {buffer.address:#x}; unmap it first")
        self._drop(number)

    def _drop(self, number: int) -> None:
        buffer = self.buffers.pop(number)
        self.bytes_held -= buffer.size
        _close(buffer)

    def write_record(self, address: int, record: bytes) -> int:
        """A completion record that the driver delivers: all but its status byte, then that. How many bytes it wrote."""
        body = self._write(address + 1, record[1:])
        if body < len(record) - 1:
            return body
        return body + self._write(address, record[:1])

    def _write(self, address: int, data: bytes) -> int:
        """As far as the client has shown memory there without a gap."""
        written = 0
        while written < len(data):
            at = address + written
            buffer = next((b for start, b in self.mappings.items() if b is not None and start <= at < start + b.size), None)
            if buffer is None or buffer.address is None:
                break
            offset = at - buffer.address
            written += os.pwrite(buffer.fd, data[written : written + buffer.size - offset], offset)
        return written

    def clear(self, barrier: Wait, unmapped: Callable[[int], object]) -> Steps:
        """The client is gone: everything out, then wait, then close; `unmapped(count)` is told how many mappings went."""
        unmapped(len(self.mappings))
        for address in self.mappings:
            self.space.remove(address)
        self.mappings.clear()
        yield barrier
        for number in list(self.buffers):
            self._drop(number)


def _close(buffer: Buffer) -> None:
    """Give it back; the last one to do so waits while the kernel frees its pages, 0.2 s a GiB.

    So a large one is closed by a thread that does nothing else and leaves the interpreter alone meanwhile.
    """
    if buffer.size <= CLOSE_BYTES_AT_ONCE:
        os.close(buffer.fd)
    else:
        _thread.start_new_thread(os.close, (buffer.fd,))


def _memory_file() -> int:
    try:
        fd = memfd.create_unreserved("idxdd-buffer")
    except OSError as error:
        raise refusal(error, "size") from None
    return check_descriptor(fd, "size")


def check_descriptor(fd: int, key: str) -> int:
    """A new descriptor that a client will hold: its number tells how many there are. Refused: EMFILE; it is closed then."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and fd >= limit - DESCRIPTORS_KEPT:
        os.close(fd)
        raise Refused("EMFILE", f"{key}: the daemon holds as many descriptors as it may")
    return fd


def refusal(error: OSError, key: str) -> Refused:
    """What the C side refused, as an answer that names the key."""
    return Refused(errno.errorcode.get(error.errno or 0, "EINVAL"), f"{key}: {error.strerror}")
