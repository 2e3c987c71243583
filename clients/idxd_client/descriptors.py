"""Descriptors by operation, with typed arguments. The library sets the completion record's address when it submits one.

Operands are addresses, buffers, regions, or anything with contiguous memory; a size that is not given is the destination's
or source's own. Lengths and alignments are not checked here: the device answers, as hardware does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from idxd_client.buffers import Buffer, Operand, Region, resolve
from idxd_client.errors import OperandError
from idxdd.spec.codes import Flag, Opcode, OpFlag

DESCRIPTOR_BYTES = 64
_LAYOUT = struct.Struct("<IIQQQIHHQQQ")
assert _LAYOUT.size == DESCRIPTOR_BYTES
_RECORD_FLAGS = int(Flag.CRAV | Flag.RCR)
_MASK64 = (1 << 64) - 1


class Descriptor:
    """One operation, not yet submitted; it may be submitted any number of times."""

    __slots__ = ("flags", "foreign", "members", "opcode", "operand1", "operand2", "operands", "size", "specific")

    def __init__(
        self,
        opcode: int,
        *,
        operand1: int = 0,
        operand2: int = 0,
        size: int = 0,
        specific: tuple[int, int, int] = (0, 0, 0),
        flags: int = 0,
        operands: tuple[Any, ...] = (),
        members: tuple[Descriptor, ...] = (),
    ) -> None:
        self.opcode = opcode
        self.operand1 = operand1
        self.operand2 = operand2
        self.size = size
        self.specific = specific
        self.flags = int(flags)
        self.operands = operands  # kept alive as long as the descriptor is
        self.members = members
        self.foreign = any(not isinstance(operand, Buffer | Region) for operand in operands)  # may need the agent
        self.foreign = self.foreign or any(member.foreign for member in members)

    def pack(self, record: int = 0, *, descriptor_list: int = 0) -> bytes:
        """Its 64 bytes. `record`: address of the completion record, 0 = none is written; `descriptor_list`: of a batch."""
        flags = self.flags | (_RECORD_FLAGS if record else 0)
        operand1 = descriptor_list or self.operand1
        try:
            return _LAYOUT.pack(
                0, flags | self.opcode << 24, record, operand1, self.operand2, self.size, 0, 0, *self.specific
            )  # fmt: skip
        except struct.error:
            raise OperandError(f"{self!r}: a field does not fit the descriptor") from None

    # ---- operations -----------------------------------------------------------------------------------------------------

    @classmethod
    def noop(cls, *, flags: int = 0) -> Descriptor:
        """Nothing but a completion."""
        return cls(Opcode.NOOP, flags=flags)

    @classmethod
    def drain(cls, *, flags: int = 0) -> Descriptor:
        """Completes when everything submitted to this WQ before has."""
        return cls(Opcode.DRAIN, flags=flags)

    @classmethod
    def memmove(cls, dst: Operand, src: Operand, size: int | None = None, *, flags: int = 0) -> Descriptor:
        """Copy `size` bytes; the ranges may overlap."""
        source, there = resolve(src, "memmove source")
        destination, here = resolve(dst, "memmove destination", writable=True)
        return cls(
            Opcode.MEMMOVE,
            operand1=source,
            operand2=destination,
            size=_size("memmove", size, there, here),
            flags=flags,
            operands=(dst, src),
        )

    @classmethod
    def fill(cls, dst: Operand, pattern: int | bytes, size: int | None = None, *, flags: int = 0) -> Descriptor:
        """Repeat a pattern of 8 or 16 bytes (an integer: 8 bytes, little-endian) over the destination."""
        destination, here = resolve(dst, "fill destination", writable=True)
        if isinstance(pattern, int):
            low, high = pattern & _MASK64, 0
        elif len(pattern) in (8, 16):
            low, high = int.from_bytes(pattern[:8], "little"), int.from_bytes(pattern[8:], "little")
            flags |= OpFlag.FILL_PATTERN16 if len(pattern) == 16 else 0
        else:
            raise OperandError(f"fill: a pattern has 8 or 16 bytes, not {len(pattern)}")
        return cls(
            Opcode.MEMFILL,
            operand1=low,
            operand2=destination,
            size=_size("fill", size, here),
            specific=(high, 0, 0),
            flags=flags,
            operands=(dst,),
        )

    @classmethod
    def compare(
        cls, first: Operand, second: Operand, size: int | None = None, *, expect: bool | None = None, flags: int = 0
    ) -> Descriptor:
        """result 0 equal, 1 different; `expect` (True = different): check it, status SUCCESS_PRED when it is not so."""
        one, here = resolve(first, "compare source 1")
        two, there = resolve(second, "compare source 2")
        return cls(
            Opcode.COMPARE,
            operand1=one,
            operand2=two,
            size=_size("compare", size, here, there),
            specific=(int(bool(expect)), 0, 0),
            flags=flags | (Flag.CR if expect is not None else 0),
            operands=(first, second),
        )

    @classmethod
    def crc(cls, src: Operand, size: int | None = None, *, seed: int = 0, crc64: bool = False, flags: int = 0) -> Descriptor:
        """CRC-32C of the source (`crc64`: CRC-64/NVME), beginning from `seed`."""
        source, there = resolve(src, "crc source")
        return cls(
            Opcode.CRCGEN,
            operand1=source,
            size=_size("crc", size, there),
            specific=(seed, 0, 0),
            flags=flags | (OpFlag.CRC_SIZE64 if crc64 else 0),
            operands=(src,),
        )

    @classmethod
    def copy_crc(
        cls, dst: Operand, src: Operand, size: int | None = None, *, seed: int = 0, crc64: bool = False, flags: int = 0
    ) -> Descriptor:
        """Copy, and the CRC of what was copied."""
        source, there = resolve(src, "copy_crc source")
        destination, here = resolve(dst, "copy_crc destination", writable=True)
        return cls(
            Opcode.COPY_CRC,
            operand1=source,
            operand2=destination,
            size=_size("copy_crc", size, there, here),
            specific=(seed, 0, 0),
            flags=flags | (OpFlag.CRC_SIZE64 if crc64 else 0),
            operands=(dst, src),
        )

    @classmethod
    def batch(cls, members: Sequence[Descriptor], *, flags: int = 0) -> Descriptor:
        """Several descriptors as one; each has its own record, found in `Result.members`."""
        return cls(Opcode.BATCH, size=len(members), flags=flags, members=tuple(members))

    def __repr__(self) -> str:
        name = self.opcode.name.lower() if isinstance(self.opcode, Opcode) else f"operation {self.opcode:#04x}"
        return f"<Descriptor {name} {self.operand1:#x} {self.operand2:#x} size {self.size} flags {self.flags:#x}>"


def _size(what: str, given: int | None, *offered: int | None) -> int:
    if given is not None:
        return given
    known = {size for size in offered if size is not None}
    if len(known) != 1:
        raise OperandError(f"{what}: operands of {sorted(known)} bytes: say which size" if known else f"{what}: say which size")
    return known.pop()
