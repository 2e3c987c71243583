"""A delta of a whole file: records of Create Delta one after the other, each with the piece of the file it belongs to.

A record's offsets have 16 bits, so a piece has 512 KiB at most. Header: magic, version, number of pieces, sizes and CRC-32C of
the old and the new file. Each piece that differs: its offset, its length, the size of its record, the record. Little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from idxdctl.output import Failed
from idxdctl.outputs import read_all
from idxdd.control.exitcodes import ExitCode

MAGIC = b"idxdelta"
VERSION = 1
HEADER = struct.Struct("<8sIIQQII")
PIECE = struct.Struct("<QII")
GROUP_BYTES = 8
ENTRY_BYTES = 10
PIECE_BYTES_MAX = 0x80000
FILE_BYTES_MAX = 1 << 62


@dataclass(frozen=True)
class Header:
    """What a delta file says of itself."""

    pieces: int
    old_size: int
    new_size: int
    old_crc: int
    new_crc: int

    def pack(self) -> bytes:
        """Its bytes."""
        return HEADER.pack(MAGIC, VERSION, self.pieces, self.old_size, self.new_size, self.old_crc, self.new_crc)


@dataclass(frozen=True)
class Record:
    """One piece's delta record: where it is in the delta file, and what it changes."""

    offset: int
    length: int
    place: int
    size: int


def rounded(size: int) -> int:
    """To whole groups: what is missing of the last one is taken as zeros."""
    return -(-size // GROUP_BYTES) * GROUP_BYTES


def read_header(fd: int, name: str) -> Header:
    """Failed: no delta file, or one of another version."""
    raw = os.pread(fd, HEADER.size, 0)
    if len(raw) < HEADER.size or raw[:8] != MAGIC:
        raise Failed(f"delta: {name}: not a delta file", ExitCode.USAGE)
    _, version, *values = HEADER.unpack(raw)
    if version != VERSION:
        raise Failed(f"delta: {name}: version {version}, this program knows {VERSION}", ExitCode.USAGE)
    header = Header(*values)
    if max(header.old_size, header.new_size) > FILE_BYTES_MAX:
        raise Failed(f"delta: {name}: is damaged: no file has {max(header.old_size, header.new_size)} bytes")
    return header


def records(fd: int, header: Header, name: str) -> Iterator[Record]:
    """In order; Failed names the first one that cannot be right, before anything of it is read."""
    place, end, covered = HEADER.size, os.fstat(fd).st_size, 0
    for number in range(header.pieces):
        raw = os.pread(fd, PIECE.size, place)
        if len(raw) < PIECE.size:
            raise Failed(f"delta: {name}: ends in piece {number}")
        offset, length, size = PIECE.unpack(raw)
        place += PIECE.size
        problem = _problem(offset, length, size, covered, header, end - place)
        if problem:
            raise Failed(f"delta: {name}: piece {number}: {problem}")
        yield Record(offset, length, place, size)
        place += size
        covered = offset + length
    if place != end:
        raise Failed(f"delta: {name}: {end - place} bytes behind the last piece")


def _problem(offset: int, length: int, size: int, covered: int, header: Header, left: int) -> str:
    if offset % GROUP_BYTES or length % GROUP_BYTES or not 0 < length <= PIECE_BYTES_MAX:
        return f"offset {offset} or length {length} is not of whole groups of {GROUP_BYTES}, up to {PIECE_BYTES_MAX}"
    if offset < covered or offset + length > rounded(header.new_size):
        return f"offset {offset}, length {length} lies outside the file or in the piece before"
    if size % ENTRY_BYTES or not 0 < size <= length // GROUP_BYTES * ENTRY_BYTES:
        return f"a record of {size} bytes for {length}"
    return f"a record of {size} bytes, {left} are left" if size > left else ""


def read_padded(fd: int, view: memoryview, offset: int, size: int, name: str) -> None:
    """A piece of a file of `size` bytes; zeros behind its end."""
    there = max(0, min(len(view), size - offset))
    if there:
        read_all(fd, view[:there], offset, name)
    view[there:] = bytes(len(view) - there)
