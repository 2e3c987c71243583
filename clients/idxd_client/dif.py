"""What protection fields are made of and checked against: the settings of DIF Check, Insert, Strip, Update and DIX Generate.

A field is 8 bytes, big-endian, behind each block: guard (CRC-16/T10-DIF of the block), application tag, reference tag.
Tags advance by one block at a time: the reference tag unless it is fixed, the application tag only if it increments.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Self

from idxd_client.errors import OperandError

FIELD_BYTES = 8
BLOCK_BYTES = (512, 520, 4096, 4104)
"""By their code in the DIF flags."""
_SPECIFIC = struct.Struct("<BBBxxxxxIHHIHH")
_WORDS = struct.Struct("<QQQ")
assert _SPECIFIC.size == _WORDS.size


@dataclass(frozen=True)
class DifFormat:
    """What both sides share: bytes of a block, and how the guard is computed."""

    block: int = 512
    crc_seed_ones: bool = False
    """The guard's seed is 0xFFFF instead of 0."""
    crc_inverted: bool = False

    def __post_init__(self) -> None:
        if self.block not in BLOCK_BYTES:
            raise OperandError(f"dif: a block has {', '.join(map(str, BLOCK_BYTES))} bytes, not {self.block}")

    @property
    def flags(self) -> int:
        """Byte 42 of the descriptor."""
        return BLOCK_BYTES.index(self.block) | self.crc_seed_ones << 2 | self.crc_inverted << 3

    @property
    def protected(self) -> int:
        """Bytes of a block with its field."""
        return self.block + FIELD_BYTES


@dataclass(frozen=True)
class _Tags:
    ref: int = 0
    """Reference tag of the first block."""
    app: int = 0
    """Application tag of the first block."""
    app_mask: int = 0
    """Bits of the application tag that do not count; 0xFFFF: none does."""
    ref_fixed: bool = False
    app_increments: bool = False

    def __post_init__(self) -> None:
        for name, bits in (("ref", 32), ("app", 16), ("app_mask", 16)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise OperandError(f"dif: {name} {getattr(self, name):#x} has more than {bits} bits")

    @property
    def _advancing(self) -> int:
        return self.app_increments << 4 | self.ref_fixed << 7

    def after(self, blocks: int) -> Self:
        """The same for what follows so many blocks."""
        return replace(
            self,
            ref=self.ref if self.ref_fixed else self.ref + blocks & 0xFFFF_FFFF,
            app=self.app + blocks & 0xFFFF if self.app_increments else self.app,
        )


@dataclass(frozen=True)
class DifSource(_Tags):
    """What the source's fields are checked against."""

    check_guard: bool = True
    check_ref: bool = True
    all_f_detect: bool = False
    """Fields that are all ones are not checked."""
    all_f_error: bool = False
    """With `all_f_detect`: they are an error instead."""
    app_f_detect: bool = False
    """Fields with the application tag 0xFFFF are not checked."""
    app_ref_f_detect: bool = False
    """Fields with the application tag 0xFFFF and the reference tag 0xFFFFFFFF are not checked."""

    @property
    def flags(self) -> int:
        """Byte 40 of the descriptor."""
        detect = self.all_f_error | self.all_f_detect << 1 | self.app_f_detect << 2 | self.app_ref_f_detect << 3
        return detect | (not self.check_guard) << 5 | (not self.check_ref) << 6 | self._advancing


@dataclass(frozen=True)
class DifDestination(_Tags):
    """What the destination's fields get. Passing through is Update's alone."""

    pass_guard: bool = False
    pass_app: bool = False
    pass_ref: bool = False

    @property
    def flags(self) -> int:
        """Byte 41 of the descriptor."""
        return self.pass_app << 3 | self.pass_guard << 5 | self.pass_ref << 6 | self._advancing


def specific(form: DifFormat, source: DifSource | None, destination: DifDestination | None) -> tuple[int, int, int]:
    """Bytes 40-63 of a descriptor that has these sides."""
    src = (source.flags, source.ref, source.app_mask, source.app) if source else (0, 0, 0, 0)
    dst = (destination.flags, destination.ref, destination.app_mask, destination.app) if destination else (0, 0, 0, 0)
    first, second, third = _WORDS.unpack(_SPECIFIC.pack(src[0], dst[0], form.flags, *src[1:], *dst[1:]))
    return first, second, third
