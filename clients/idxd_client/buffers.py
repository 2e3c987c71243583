"""Buffers that the device reads and writes without copies.

Who writes what   the client and the device both write the memory; the daemon made the memfd and maps it too.
Lifetime          the address is reserved once, by an anonymous mapping, and never moves: the memfd is mapped over it, after a
                  daemon restart a fresh one, after a fork a private copy. So views (memoryview, NumPy) stay valid.
Fork              the shared mapping is not inherited (MADV_DONTFORK): the child gets a private copy-on-write view at the same
                  address, which the device never sees.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
import warnings
from typing import TYPE_CHECKING, Any, Self, overload

from idxd_client.errors import OperandError, WaitTimeout
from idxdd import native

if TYPE_CHECKING:
    from idxd_client.connection import Connection

PAGE_BYTES = mmap.PAGESIZE
REFILL_BYTES = 16 << 20
"""Copied between two looks at the clock: some milliseconds."""


def address_of(view: memoryview) -> int:
    """Where the bytes of a writable, contiguous view lie."""
    import ctypes  # costs 6 ms at start-up, which most commands of idxdctl need not pay

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


class Buffer(mmap.mmap):
    """Memory shared with the device: `memoryview(buf)`, `np.frombuffer(buf, dtype)`, `buf[a:b]` a Region usable as operand."""

    address: int
    nbytes: int
    _connection: Connection | None
    _number: int
    _fd: int
    owned: bool
    """Somebody is expected to close it: ResourceWarning if nobody does."""

    def __new__(cls, size: int) -> Self:
        if size <= 0:
            raise OperandError(f"alloc: size must be positive, not {size}")
        nbytes = -(-size // PAGE_BYTES) * PAGE_BYTES
        try:
            self = super().__new__(cls, -1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError) as error:
            raise OperandError(f"alloc: no address range of {nbytes} bytes: {error}") from None
        self.nbytes = nbytes
        self.address = address_of(memoryview(self))
        self._connection = None
        self._number = 0
        self._fd = -1
        self.owned = True
        return self

    def attach(self, connection: Connection, number: int, fd: int) -> None:
        """Lay the daemon's memfd over the reserved range; the buffer owns `fd` from here on."""
        native.map_fixed_shared(fd, self.address, self.nbytes)
        self.madvise(mmap.MADV_DONTFORK)
        if self._fd >= 0:
            os.close(self._fd)
        self._connection, self._number, self._fd = connection, number, fd

    def refill(self, connection: Connection, number: int, fd: int, deadline: float) -> None:
        """After a daemon restart: the same contents in a fresh memfd at the same address. WaitTimeout: nothing has changed.

        Written, not copied into a mapping: that would fault every page in, and hold up the other threads.
        """
        with memoryview(self) as contents:
            for start in range(0, self.nbytes, REFILL_BYTES):
                if time.monotonic() > deadline:
                    raise WaitTimeout(f"reattach: a buffer of {self.nbytes} bytes: {start} are copied, the time is over")
                end = min(start + REFILL_BYTES, self.nbytes)
                while start < end:
                    start += os.pwrite(fd, contents[start:end], start)
        self.attach(connection, number, fd)

    def after_fork_in_child(self) -> None:
        """A private copy at the same address, so that views made before the fork do not fault."""
        if self._fd < 0:
            return
        native.map_fixed_private(self._fd, self.address, self.nbytes)
        os.close(self._fd)
        self._fd = -1
        self._connection = None

    @property
    def number(self) -> int:
        """The daemon's name for this buffer."""
        return self._number

    @overload  # type: ignore[override]  # mmap copies a slice; a region does not
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> Region: ...
    def __getitem__(self, key: Any, /) -> Any:
        if isinstance(key, slice):
            return self.region(*_bounds(key, self.nbytes))
        return super().__getitem__(key)

    def region(self, offset: int, length: int) -> Region:
        """A part of the buffer, as an operand."""
        if offset < 0 or length < 0 or length > self.nbytes - offset:
            raise OperandError(f"region [{offset}, +{length}) lies outside a buffer of {self.nbytes} bytes")
        return Region(self, offset, length)

    def close(self) -> None:
        """Give it back to the daemon. The mapping itself goes when the last view of it does. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.free(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(BufferError):  # a view is alive: the memory stays until it is collected
            super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # mmap's own would close only the mapping
        self.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is None:
            return
        if self.owned:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
        connection.abandon("unmap", address=self.address)
        connection.abandon("free", buffer=self._number)
        os.close(self._fd)

    def __repr__(self) -> str:
        state = "" if self._connection is not None else ", closed"
        return f"<Buffer {self.nbytes} bytes at {self.address:#x}{state}>"


class Region:
    """Part of a buffer: an operand with its own address and length. `view` is its memory, `bytes(region)` a copy of it."""

    __slots__ = ("buffer", "nbytes", "offset")

    def __init__(self, buffer: Buffer, offset: int, nbytes: int) -> None:
        self.buffer = buffer
        self.offset = offset
        self.nbytes = nbytes

    @property
    def address(self) -> int:
        """As the device uses it: this process's virtual address."""
        return self.buffer.address + self.offset

    @property
    def view(self) -> memoryview:
        """The memory itself, without a copy."""
        return memoryview(self.buffer)[self.offset : self.offset + self.nbytes]

    def __len__(self) -> int:
        return self.nbytes

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    def __getitem__(self, key: slice) -> Region:
        offset, length = _bounds(key, self.nbytes)
        return Region(self.buffer, self.offset + offset, length)

    def __setitem__(self, key: slice, data: Any) -> None:
        self[key].view[:] = data

    def __repr__(self) -> str:
        return f"<Region {self.nbytes} bytes at {self.address:#x}>"


def _bounds(key: slice, size: int) -> tuple[int, int]:
    start, stop, step = key.indices(size)
    if step != 1:
        raise OperandError("a region is contiguous: no step other than 1")
    return start, max(0, stop - start)


Operand = Buffer | Region | int | Any
"""An address, a buffer or region, or anything with contiguous memory (bytes, bytearray, memoryview, NumPy array, mmap)."""


def resolve(operand: Operand, what: str, *, writable: bool = False) -> tuple[int, int | None]:
    """(address, bytes it offers or None); OperandError names `what`. The caller keeps the operand alive."""
    if isinstance(operand, int):
        if not 0 <= operand < 1 << 64:
            raise OperandError(f"{what}: {operand:#x} is not a 64-bit address")
        return operand, None
    if isinstance(operand, Buffer | Region):
        return operand.address, operand.nbytes
    try:
        address, nbytes = native.buffer_address(operand, writable)
    except TypeError:
        raise OperandError(f"{what}: {type(operand).__name__} has no memory the device could use") from None
    except (BufferError, ValueError) as error:
        needs = "writable, C-contiguous" if writable else "C-contiguous"
        raise OperandError(f"{what}: needs {needs} memory: {error}") from None
    if not nbytes:
        raise OperandError(f"{what}: has no memory: it is empty")
    return address, nbytes
