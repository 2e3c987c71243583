"""Completion records that the driver delivers into a client's memory: all but the status byte, then that, or none of it."""

import os
from collections.abc import Iterator

import pytest

from idxdd.service.buffers import PAGE, AddressSpace, Buffer
from idxdd.service.settings import Limits
from idxdd.shm import memfd

BASE = 1 << 32
RECORD = bytes(range(1, 33))


@pytest.fixture
def space() -> Iterator[AddressSpace]:
    """Two buffers of a page, side by side, and nothing behind them."""
    space = AddressSpace(Limits())
    made = [Buffer(memfd.create("test-record", PAGE), PAGE) for _ in range(2)]
    for number, buffer in enumerate(made):
        space.map(buffer, BASE + number * PAGE)
    yield space
    for number, buffer in enumerate(made):
        space.space.remove(BASE + number * PAGE)
        os.close(buffer.fd)


def contents(space: AddressSpace) -> bytes:
    buffers = [buffer for buffer in space.mappings.values() if buffer is not None]
    return b"".join(os.pread(buffer.fd, PAGE, 0) for buffer in buffers)


@pytest.mark.parametrize("at", [0, 64, PAGE - 16, 2 * PAGE - 32])
def test_a_record_is_written_where_it_belongs(space: AddressSpace, at: int) -> None:
    """Also across two buffers."""
    assert space.write_record(BASE + at, RECORD) == 32
    assert contents(space)[at : at + 32] == RECORD
    assert contents(space).count(0) == 2 * PAGE - 32


@pytest.mark.conformance("EVL-10")
def test_the_status_byte_goes_last(space: AddressSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sees it may read the rest."""
    seen: list[bytes] = []
    write = os.pwrite

    def watched(fd: int, data: bytes, offset: int) -> int:
        seen.append(contents(space)[:32])
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    space.write_record(BASE, RECORD)
    assert seen == [bytes(32), bytes(1) + RECORD[1:]]


@pytest.mark.conformance("EVL-11")
def test_a_body_that_does_not_fit_leaves_the_status_byte(space: AddressSpace) -> None:
    """The client sees no record; what was not written counts, the status byte with it."""
    assert space.write_record(BASE + 2 * PAGE - 8, RECORD) == 7
    assert contents(space)[-8:] == bytes(1) + RECORD[1:8]


@pytest.mark.conformance("EVL-11")
def test_a_status_byte_that_cannot_be_written(space: AddressSpace) -> None:
    """The body is there, and one byte is missing."""
    assert space.write_record(BASE - 1, RECORD) == 31
    assert space.write_record(BASE + 9 * PAGE, RECORD) == 0
