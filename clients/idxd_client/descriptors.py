"""Descriptors by operation, with typed arguments. The library sets the completion record's address when it submits one.

Operands are addresses, buffers, regions, or anything with contiguous memory; a size that is not given is the destination's
or source's own. Lengths and alignments are not checked here: the device answers, as hardware does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from idxd_client import dif
from idxd_client.buffers import Buffer, Operand, Region, resolve
from idxd_client.dif import DifDestination, DifFormat, DifSource
from idxd_client.errors import OperandError
from idxdd.spec.codes import Flag, Opcode, OpFlag

DESCRIPTOR_BYTES = 64
_LAYOUT = struct.Struct("<IIQQQIHHQQQ")
assert _LAYOUT.size == DESCRIPTOR_BYTES
_RECORD_FLAGS = int(Flag.CRAV | Flag.RCR)
_MASK64 = (1 << 64) - 1
_DELTA_ENTRY_BYTES = 10
_DELTA_GROUP_BYTES = 8
_DELTA_RECORD_BYTES_MIN = 80


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

    @classmethod
    def unpack(cls, raw: bytes | bytearray | memoryview) -> Descriptor:
        """From 64 bytes, as somebody else laid them out; PASID, record, interrupt handle and list belong to who submits it."""
        if len(raw) != DESCRIPTOR_BYTES:
            raise OperandError(f"a descriptor has {DESCRIPTOR_BYTES} bytes, not {len(raw)}")
        _, word, _, operand1, operand2, size, _, _, *specific = _LAYOUT.unpack(raw)
        flags = word & 0xFFFFFF & ~(_RECORD_FLAGS | int(Flag.RCI))
        first, second, third = specific
        known = Opcode(word >> 24) if word >> 24 in Opcode._value2member_map_ else word >> 24
        return cls(
            known, operand1=operand1, operand2=operand2, size=size, specific=(first, second, third), flags=flags, operands=(0,)
        )

    # ---- operations -----------------------------------------------------------------------------------------------------

    @classmethod
    def noop(cls, *, flags: int = 0) -> Descriptor:
        """Nothing but a completion."""
        return cls(Opcode.NOOP, flags=flags)

    @classmethod
    def drain(cls, *readbacks: Operand, flags: int = 0) -> Descriptor:
        """Completes when everything submitted to this WQ before has, and up to two addresses have been read back."""
        if len(readbacks) > 2:
            raise OperandError(f"drain: two readback addresses at most, not {len(readbacks)}")
        addresses = [resolve(operand, "drain readback")[0] for operand in readbacks]
        valid = (0, OpFlag.DRAIN_READBACK1_VALID, OpFlag.DRAIN_READBACK1_VALID | OpFlag.DRAIN_READBACK2_VALID)
        first, second = [*addresses, 0, 0][:2]
        flags |= valid[len(addresses)]
        return cls(Opcode.DRAIN, operand1=first, operand2=second, flags=flags, operands=readbacks)

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
    def compare_pattern(
        cls, src: Operand, pattern: int | bytes, size: int | None = None, *, expect: bool | None = None, flags: int = 0
    ) -> Descriptor:
        """Is the source a pattern of 8 bytes, repeated? As compare."""
        source, there = resolve(src, "compare_pattern source")
        if not isinstance(pattern, int) and len(pattern) != 8:
            raise OperandError(f"compare_pattern: a pattern has 8 bytes, not {len(pattern)}")
        return cls(
            Opcode.COMPVAL,
            operand1=source,
            operand2=pattern & _MASK64 if isinstance(pattern, int) else int.from_bytes(pattern, "little"),
            size=_size("compare_pattern", size, there),
            specific=(int(bool(expect)), 0, 0),
            flags=flags | (Flag.CR if expect is not None else 0),
            operands=(src,),
        )

    @classmethod
    def create_delta(
        cls,
        delta: Operand,
        first: Operand,
        second: Operand,
        size: int | None = None,
        *,
        max_size: int | None = None,
        expect: Iterable[int] | None = None,
        flags: int = 0,
    ) -> Descriptor:
        """Write to `delta` what turns `first` into `second`: 10 bytes for each 8 that differ, at most `max_size` in all.

        result 0 equal, 1 different, 2 it did not fit; `expect`: check that the result is one of these.
        """
        record, room = resolve(delta, "create_delta record", writable=True)
        one, here = resolve(first, "create_delta source 1")
        two, there = resolve(second, "create_delta source 2")
        length = _size("create_delta", size, here, there)
        most = max_size if max_size is not None else room
        if most is None:  # an address: as much as the worst case needs
            most = max(_DELTA_RECORD_BYTES_MIN, length // _DELTA_GROUP_BYTES * _DELTA_ENTRY_BYTES)
        mask = sum(1 << result for result in set(expect or ()))
        return cls(
            Opcode.CR_DELTA,
            operand1=one,
            operand2=two,
            size=length,
            specific=(record, most, mask),
            flags=flags | (Flag.CR if expect is not None else 0),
            operands=(delta, first, second),
        )

    @classmethod
    def apply_delta(
        cls, dst: Operand, delta: Operand, delta_size: int, size: int | None = None, *, flags: int = 0
    ) -> Descriptor:
        """Change the destination as `delta_size` bytes of a delta record say."""
        record, _ = resolve(delta, "apply_delta record")
        destination, here = resolve(dst, "apply_delta destination", writable=True)
        return cls(
            Opcode.AP_DELTA,
            operand1=record,
            operand2=destination,
            size=_size("apply_delta", size, here),
            specific=(delta_size, 0, 0),
            flags=flags,
            operands=(dst, delta),
        )

    @classmethod
    def dualcast(cls, dst1: Operand, dst2: Operand, src: Operand, size: int | None = None, *, flags: int = 0) -> Descriptor:
        """Copy to two destinations, whose addresses have the same low 12 bits."""
        source, there = resolve(src, "dualcast source")
        one, here1 = resolve(dst1, "dualcast destination 1", writable=True)
        two, here2 = resolve(dst2, "dualcast destination 2", writable=True)
        return cls(
            Opcode.DUALCAST,
            operand1=source,
            operand2=one,
            size=_size("dualcast", size, there, here1, here2),
            specific=(two, 0, 0),
            flags=flags,
            operands=(dst1, dst2, src),
        )

    @classmethod
    def translation_fetch(
        cls, region: Operand, size: int | None = None, *, stride: int | None = None, flags: int = 0
    ) -> Descriptor:
        """Have the addresses of a region translated, every `stride` bytes (a power of two, at least 4096)."""
        address, there = resolve(region, "translation_fetch region")
        return cls(
            Opcode.TRANSL_FETCH,
            operand1=address,
            size=_size("translation_fetch", size, there),
            specific=(0, stride or 0, 0),
            flags=flags | (OpFlag.TRANSL_FETCH_STRIDE if stride is not None else 0),
            operands=(region,),
        )

    @classmethod
    def cache_flush(cls, dst: Operand, size: int | None = None, *, flags: int = 0) -> Descriptor:
        """Evict what caches hold of a region; its contents stay."""
        destination, here = resolve(dst, "cache_flush destination")
        return cls(
            Opcode.CFLUSH,
            operand2=destination,
            size=_size("cache_flush", size, here),
            flags=flags,
            operands=(dst,),
        )

    # ---- CRC ------------------------------------------------------------------------------------------------------------

    @classmethod
    def crc(
        cls,
        src: Operand,
        size: int | None = None,
        *,
        seed: int = 0,
        seed_from: Operand | None = None,
        crc64: bool = False,
        bypass_inversion: bool = False,
        bypass_reflection: bool = False,
        flags: int = 0,
    ) -> Descriptor:
        """CRC-32C of the source (`crc64`: CRC-64/NVME), beginning from `seed`, or from the value at `seed_from`."""
        source, there = resolve(src, "crc source")
        first, second, crc_flags = _seed(seed, seed_from, crc64, bypass_inversion, bypass_reflection)
        return cls(
            Opcode.CRCGEN,
            operand1=source,
            size=_size("crc", size, there),
            specific=(first, second, 0),
            flags=flags | crc_flags,
            operands=(src,) if seed_from is None else (src, seed_from),
        )

    @classmethod
    def copy_crc(
        cls,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        seed: int = 0,
        seed_from: Operand | None = None,
        crc64: bool = False,
        bypass_inversion: bool = False,
        bypass_reflection: bool = False,
        flags: int = 0,
    ) -> Descriptor:
        """Copy, and the CRC of what was copied."""
        source, there = resolve(src, "copy_crc source")
        destination, here = resolve(dst, "copy_crc destination", writable=True)
        first, second, crc_flags = _seed(seed, seed_from, crc64, bypass_inversion, bypass_reflection)
        return cls(
            Opcode.COPY_CRC,
            operand1=source,
            operand2=destination,
            size=_size("copy_crc", size, there, here),
            specific=(first, second, 0),
            flags=flags | crc_flags,
            operands=(dst, src) if seed_from is None else (dst, src, seed_from),
        )

    # ---- DIF ------------------------------------------------------------------------------------------------------------

    @classmethod
    def dif_check(
        cls,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008  # frozen
        form: DifFormat = DifFormat(),  # noqa: B008
        flags: int = 0,
    ) -> Descriptor:
        """Check the fields behind each block of the source; `size` counts them."""
        return cls._protect(Opcode.DIF_CHECK, None, src, size, form, source, None, flags)

    @classmethod
    def dif_insert(
        cls,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        flags: int = 0,
    ) -> Descriptor:
        """Copy blocks and put a field behind each; `size` is the source's."""
        return cls._protect(Opcode.DIF_INS, dst, src, size, form, None, destination, flags)

    @classmethod
    def dif_strip(
        cls,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        flags: int = 0,
    ) -> Descriptor:
        """Check and copy blocks without their fields; `size` is the source's."""
        return cls._protect(Opcode.DIF_STRP, dst, src, size, form, source, None, flags)

    @classmethod
    def dif_update(
        cls,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        source: DifSource = DifSource(),  # noqa: B008
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        flags: int = 0,
    ) -> Descriptor:
        """Check and copy blocks, with new fields."""
        return cls._protect(Opcode.DIF_UPDT, dst, src, size, form, source, destination, flags)

    @classmethod
    def dix_generate(
        cls,
        dst: Operand,
        src: Operand,
        size: int | None = None,
        *,
        destination: DifDestination = DifDestination(),  # noqa: B008
        form: DifFormat = DifFormat(),  # noqa: B008
        flags: int = 0,
    ) -> Descriptor:
        """Only the fields of the source's blocks go to the destination."""
        return cls._protect(Opcode.DIX_GEN, dst, src, size, form, None, destination, flags)

    @classmethod
    def _protect(
        cls,
        opcode: Opcode,
        dst: Operand | None,
        src: Operand,
        size: int | None,
        form: DifFormat,
        source: DifSource | None,
        destination: DifDestination | None,
        flags: int,
    ) -> Descriptor:
        name = opcode.name.lower()
        where, there = resolve(src, f"{name} source")
        to, _ = resolve(dst, f"{name} destination", writable=True) if dst is not None else (0, None)
        return cls(
            opcode,
            operand1=where,
            operand2=to,
            size=_size(name, size, there),
            specific=dif.specific(form, source, destination),
            flags=flags,
            operands=(src,) if dst is None else (dst, src),
        )

    # ---- many as one ------------------------------------------------------------------------------------------------------

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


def _seed(seed: int, seed_from: Operand | None, crc64: bool, inversion: bool, reflection: bool) -> tuple[int, int, int]:
    """Bytes 40-47 and 48-55 of a CRC's descriptor, and its flags."""
    flags = OpFlag.CRC_SIZE64 * crc64 | OpFlag.CRC_BYPASS_INVERSION * inversion | OpFlag.CRC_BYPASS_REFLECTION * reflection
    if seed_from is None:
        return seed, 0, flags
    if seed:
        raise OperandError("crc: a seed and an address of one")
    return 0, resolve(seed_from, "crc seed")[0], flags | OpFlag.CRC_SEED_ADDR
