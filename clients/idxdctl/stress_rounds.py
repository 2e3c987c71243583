"""What a stress client moves: rounds of descriptors whose effects are known beforehand, from a seed and from Python alone.

A round's descriptors write disjoint pieces of one destination, so that a round that succeeded is checked by one comparison
of it all. Before each round the destination is overwritten, and two rounds with different contents take turns: a write that
is missing, wrong, too long or late shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from idxd_client import Buffer, CompletionStatus, Connection, Descriptor, IdxdError, Result

PIECES_MAX: Final = 32
PIECE_BYTES: Final = 4096
RECORD_BYTES: Final = 32
JUNK: Final = bytes((0xA5,)) * (PIECES_MAX * PIECE_BYTES)
NOWHERE: Final = 0x1000
"""An address that no process has mapped."""
FAULTS_OF: Final = 0.02
"""Of the descriptors, where faults are asked for."""
_CRC32C: Final = 0x82F63B78


class WrongAnswer(IdxdError):
    """The device has answered something else than was asked of it, or written other bytes."""


@cache
def _remainders() -> tuple[int, ...]:
    def remainder(byte: int) -> int:
        for _ in range(8):
            byte = byte >> 1 ^ (_CRC32C if byte & 1 else 0)
        return byte

    return tuple(remainder(byte) for byte in range(256))


def crc32c(content: bytes) -> int:
    """Byte by byte, by nobody else's code."""
    table, register = _remainders(), 0xFFFFFFFF
    for byte in content:
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


class Content:
    """Source and destination of one client: random bytes, a second copy of them that differs here and there, and room."""

    def __init__(self, rng: random.Random, connection: Connection) -> None:
        size = PIECES_MAX * PIECE_BYTES
        self.source = connection.alloc(size)
        self.other = connection.alloc(size)
        self.destination = connection.alloc(size)
        self.bytes = rng.randbytes(size)
        changed = bytearray(self.bytes)
        for at in range(0, size, 8 * PIECE_BYTES):
            changed[at + rng.randrange(PIECE_BYTES)] ^= 0xFF
        self.changed = bytes(changed)
        memoryview(self.source)[:] = self.bytes
        memoryview(self.other)[:] = self.changed

    def close(self) -> None:
        """Give the memory back."""
        for buffer in (self.source, self.other, self.destination):
            buffer.close()


@dataclass(frozen=True)
class Piece:
    """One descriptor, and what it must answer and leave behind."""

    operation: str
    descriptor: Descriptor
    at: int
    written: bytes = b""
    """What its piece of the destination holds then; empty: nothing was written."""
    crc: int | None = None
    differs_at: int | None = None
    """Compare: the first byte that differs; -1: none does."""
    faults: bool = False
    silent: bool = False
    """Its record's address is nowhere: the driver is told through the event log, the client never."""


@dataclass(frozen=True)
class Counted:
    """How the descriptors of a round ended."""

    succeeded: int = 0
    faulted: int = 0
    unfinished: int = 0
    """Without a record: the portal was closed before."""


class Round:
    """Descriptors that may be submitted again and again."""

    def __init__(self, rng: random.Random, content: Content, *, faults: bool, batches: bool = False) -> None:
        self._content = content
        self.count = rng.randrange(1, PIECES_MAX + 1)
        self.pieces = [self._piece(rng, index * PIECE_BYTES, faults, batches) for index in range(self.count)]
        expected = bytearray(JUNK[: self.count * PIECE_BYTES])
        for piece in self.pieces:
            expected[piece.at : piece.at + len(piece.written)] = piece.written
        self._expected = bytes(expected)
        self._plain = not any(piece.faults or piece.silent for piece in self.pieces)

    @property
    def descriptors(self) -> list[Descriptor]:
        return [piece.descriptor for piece in self.pieces]

    def _piece(self, rng: random.Random, at: int, faults: bool, batches: bool) -> Piece:
        if faults and rng.random() < FAULTS_OF:
            return self._faulting(rng, at)
        operations = ["memmove", "memmove", "fill", "crc", "copy_crc", "compare", "noop"] + ["batch"] * batches
        operation = rng.choice(operations)
        size = rng.choice((8, 64, rng.randrange(1, 512), rng.randrange(1, PIECE_BYTES + 1)))
        start = rng.randrange(PIECES_MAX * PIECE_BYTES - size + 1)
        content = self._content
        source, target = content.source.region(start, size), content.destination.region(at, size)
        moved = content.bytes[start : start + size]
        match operation:
            case "memmove":
                return Piece(operation, Descriptor.memmove(target, source), at, moved)
            case "fill":
                pattern = rng.randbytes(8)
                written = (pattern * (size // 8 + 1))[:size]
                return Piece(operation, Descriptor.fill(target, pattern), at, written)
            case "crc":
                return Piece(operation, Descriptor.crc(source), at, crc=crc32c(moved))
            case "copy_crc":
                return Piece(operation, Descriptor.copy_crc(target, source), at, moved, crc=crc32c(moved))
            case "compare":
                other = content.changed[start : start + size]
                differs = next((i for i in range(size) if moved[i] != other[i]), -1) if moved != other else -1
                return Piece(operation, Descriptor.compare(source, content.other.region(start, size)), at, differs_at=differs)
            case "batch":
                half = size // 2
                members = [Descriptor.memmove(target[half:size], source[half:size]), Descriptor.noop()]
                if half:
                    members.append(Descriptor.memmove(target[:half], source[:half]))
                return Piece(operation, Descriptor.batch(members), at, moved)
        return Piece(operation, Descriptor.noop(), at)

    def _faulting(self, rng: random.Random, at: int) -> Piece:
        if rng.random() < 0.5:
            return Piece("noop", Descriptor.noop(), at, silent=True)
        target = self._content.destination.region(at, 64)
        return Piece("memmove", Descriptor.memmove(target, NOWHERE, 64), at, faults=True)

    def silence(self) -> list[int]:
        """Which descriptors get a record address that is nowhere."""
        return [index for index, piece in enumerate(self.pieces) if piece.silent]

    def prepare(self) -> None:
        """Overwrite the destination."""
        size = self.count * PIECE_BYTES
        memoryview(self._content.destination)[:size] = JUNK[:size]

    def check(self, records: Sequence[bytes], *, closed: bool, silenced: bool = True) -> Counted:
        """Hold records and bytes against what must be. WrongAnswer. `closed`: the portal was, so records may be missing;
        `silenced`: silent pieces had no record (a kernel channel has one for each)."""
        if self._plain and all(record[0] == 1 for record in records) and len(records) == self.count:
            self._check_whole()
            for piece, record in zip(self.pieces, records, strict=True):
                _check_answer(piece, record)
            return Counted(self.count)
        succeeded = faulted = unfinished = 0
        for index, piece in enumerate(self.pieces):
            record = records[index] if index < len(records) else bytes(RECORD_BYTES)
            if piece.silent and silenced:
                if record[0]:
                    raise WrongAnswer(f"a record that was to go nowhere: {_told(piece, record)}")
                unfinished += closed
                faulted += not closed
            elif piece.faults and record[0]:
                _check_fault(piece, record)
                faulted += 1
            elif record[0] == CompletionStatus.SUCCESS:
                self._check_piece(piece)
                _check_answer(piece, record)
                succeeded += 1
            elif record[0] or not closed:
                raise WrongAnswer(f"descriptor {index} of {self.count}: {_told(piece, record)}")
            else:
                unfinished += 1
        return Counted(succeeded, faulted, unfinished)

    def _check_whole(self) -> None:
        if bytes(memoryview(self._content.destination)[: len(self._expected)]) != self._expected:
            for piece in self.pieces:
                self._check_piece(piece)
            raise WrongAnswer("bytes were written where no descriptor pointed")

    def _check_piece(self, piece: Piece) -> None:
        expected = self._expected[piece.at : piece.at + PIECE_BYTES]
        found = bytes(memoryview(self._content.destination)[piece.at : piece.at + PIECE_BYTES])
        if found != expected:
            at = next(i for i in range(PIECE_BYTES) if found[i] != expected[i])
            raise WrongAnswer(
                f"{piece.descriptor!r}: byte {at} of its piece is {found[at]:#04x}, not {expected[at]:#04x}"
                f" ({len(piece.written)} bytes were to be written)"
            )


def _check_answer(piece: Piece, record: bytes) -> None:
    if piece.crc is not None and int.from_bytes(record[16:20], "little") != piece.crc:
        raise WrongAnswer(f"{piece.descriptor!r}: CRC {record[16:20][::-1].hex()}, not {piece.crc:08x}")
    if piece.differs_at is not None:
        differs = int.from_bytes(record[4:8], "little") if record[1] else -1
        if differs != piece.differs_at:
            raise WrongAnswer(f"{piece.descriptor!r}: differs at {differs}, not at {piece.differs_at}")


def _check_fault(piece: Piece, record: bytes) -> None:
    result = Result(record, piece.descriptor.opcode)
    if result.status != CompletionStatus.PAGE_FAULT_NOBOF or result.fault_address & ~0xFFF != NOWHERE:
        raise WrongAnswer(f"a page fault was due: {_told(piece, record)}")


def _told(piece: Piece, record: bytes) -> str:
    return f"{piece.descriptor!r}: {Result(record, piece.descriptor.opcode, piece.descriptor.flags).describe()}"


__all__ = ["NOWHERE", "PIECES_MAX", "RECORD_BYTES", "Buffer", "Content", "Counted", "Piece", "Round", "WrongAnswer"]
