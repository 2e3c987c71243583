"""Buffers: memory that NumPy and memoryview use without copies, at an address that never moves."""

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest
from unit.client.client_fakes import FakeConnection

from idxd_client import Buffer, OperandError, WaitTimeout
from idxd_client.buffers import resolve


@pytest.fixture
def buffer(connection: FakeConnection) -> Iterator[Buffer]:
    with connection.alloc(8192) as made:
        yield made


def test_views_are_the_memory_itself(buffer: Buffer) -> None:
    """A copy anywhere would make the device work on something else."""
    array = np.frombuffer(buffer, np.uint32)
    array[0] = 0x64636261
    assert bytes(memoryview(buffer)[:4]) == b"abcd"
    assert resolve(array, "x") == (buffer.address, 8192)
    assert resolve(array[1024:], "x") == (buffer.address + 4096, 4096)
    assert resolve(memoryview(buffer)[100:200], "x") == (buffer.address + 100, 100)


def test_size_is_rounded_up_to_pages(connection: FakeConnection) -> None:
    """The daemon maps whole pages; the client must not think otherwise."""
    assert connection.alloc(1).nbytes == 4096
    with pytest.raises(OperandError, match="must be positive"):
        Buffer(0)


def test_slices_are_regions_with_bounds(buffer: Buffer) -> None:
    """buffer[a:b] is an operand; a slice of a slice adds up; nothing reaches outside."""
    region = buffer[100:300][50:60]
    assert (region.address, len(region)) == (buffer.address + 150, 10)
    region[:] = b"0123456789"
    assert bytes(buffer[150:160]) == b"0123456789" == bytes(region)
    assert buffer[150] == ord("0")
    assert len(buffer[9000:]) == 0
    with pytest.raises(OperandError, match="outside"):
        buffer.region(8000, 200)
    with pytest.raises(OperandError, match="step"):
        buffer[::2]


def test_a_fresh_memfd_keeps_address_contents_and_views(connection: FakeConnection, buffer: Buffer) -> None:
    """reattach(): programs hold NumPy views across a daemon restart."""
    array = np.frombuffer(buffer, np.uint8)
    array[:] = 7
    before = buffer.address
    fd = os.memfd_create("fresh")
    os.ftruncate(fd, buffer.nbytes)
    with pytest.raises(WaitTimeout, match="8192 bytes: 0 are copied"):
        buffer.refill(connection, 99, fd, deadline=0.0)  # type: ignore[arg-type]
    assert (array == 7).all(), "out of time, nothing has changed"
    buffer.refill(connection, 99, fd, deadline=time.monotonic() + 60)  # type: ignore[arg-type]
    assert (buffer.address, buffer.number, bytes(buffer[:])) == (before, 99, bytes([7]) * 8192)
    array[0] = 1
    assert os.pread(fd, 2, 0) == b"\x01\x07", "the old views write to the new memory"


def test_closing_with_a_view_alive_keeps_the_view_readable(connection: FakeConnection) -> None:
    """A dangling NumPy array would crash the interpreter."""
    buffer = connection.alloc(4096)
    array = np.frombuffer(buffer, np.uint8)
    buffer[0:4][:] = b"safe"
    buffer.close()
    assert ("free", {"buffer": buffer.number}) in connection.requests
    assert bytes(array[:4]) == b"safe"


def test_an_unclosed_buffer_warns_and_is_given_back(connection: FakeConnection) -> None:
    """Memory counts against the client's quota until it is freed."""
    buffer = connection.alloc(4096)
    connection._buffers.clear()
    number, address = buffer.number, buffer.address
    with pytest.warns(ResourceWarning, match="was not closed"):
        del buffer
    assert connection.abandoned == [("unmap", {"address": address}), ("free", {"buffer": number})]
