"""DIF Check, Insert, Strip and Update, DIX Generate: 8 bytes of protection for each block of data.

A protection field is guard, application tag and reference tag, big-endian in memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from idxdd.spec.codes import CompletionStatus, Opcode, Operand
from idxdd.spec.records import DifDescriptor
from idxdd.testing.reference import crc
from idxdd.testing.reference.run import Effect, Run, advance, check_overlap, refuse

BLOCK_BYTES = (512, 520, 4096, 4104)
FIELD = struct.Struct(">HHI")
DIX_ALIGN_BYTES = 8

# DIF flags
BLOCK_SIZE, CRC_SEED_ONES, CRC_INVERTED = 0x03, 0x04, 0x08
# source DIF flags
ALL_F_ERROR, ALL_F_DETECT, APP_F_DETECT, APP_REF_F_DETECT = 0x01, 0x02, 0x04, 0x08
GUARD_UNCHECKED, REF_UNCHECKED = 0x20, 0x40
# destination DIF flags
APP_PASSED, GUARD_PASSED, REF_PASSED = 0x08, 0x20, 0x40
# both
APP_INCREMENTS, REF_FIXED = 0x10, 0x80
# DIF status
BAD_GUARD, BAD_APP, BAD_REF, ALL_F = 0x01, 0x02, 0x04, 0x08

RESERVED_DIF_FLAGS, RESERVED_DST_DIF_FLAGS = 0xF0, 0x07


@dataclass(frozen=True)
class Shape:
    """What lies at source and destination, block by block."""

    checks: bool = False
    """The source has protection fields."""
    data: bool = False
    """The data goes to the destination."""
    fields: bool = False
    """Protection fields go to the destination."""


SHAPES = {
    Opcode.DIF_CHECK: Shape(checks=True),
    Opcode.DIF_INS: Shape(data=True, fields=True),
    Opcode.DIF_STRP: Shape(checks=True, data=True),
    Opcode.DIF_UPDT: Shape(checks=True, data=True, fields=True),
    Opcode.DIX_GEN: Shape(fields=True),
}


@dataclass
class Tags:
    """One side's tags: what the next block uses."""

    flags: int
    ref: int
    mask: int
    app: int

    @property
    def used_app(self) -> int:
        """The application tag as it is compared or stored."""
        return self.app & ~self.mask

    def advance(self) -> None:
        """On to the next block: by default the reference tag increments and the application tag does not."""
        self.ref = self.ref + (not self.flags & REF_FIXED) & 0xFFFF_FFFF
        self.app = self.app + bool(self.flags & APP_INCREMENTS) & 0xFFFF

    def pack(self) -> bytes:
        """As the completion record shows them."""
        return struct.pack("<IHH", self.ref, self.mask, self.app)


class Blocks:
    """A DIF descriptor taken apart."""

    def __init__(self, run: Run) -> None:
        wanted = DifDescriptor.unpack(run.desc)
        self.shape = SHAPES[Opcode(wanted.opcode)]
        self.dif_flags = wanted.dif_flags
        self.block = BLOCK_BYTES[wanted.dif_flags & BLOCK_SIZE]
        self.source, self.destination, self.size = wanted.src_addr, wanted.dst_addr, wanted.xfer_size
        self.source_block = self.block + FIELD.size * self.shape.checks
        self.destination_block = self.block * self.shape.data + FIELD.size * self.shape.fields
        self.count = self.size // self.source_block
        self.source_tags = Tags(wanted.src_dif_flags, wanted.src_ref_tag_seed, wanted.src_app_tag_mask, wanted.src_app_tag_seed)
        self.destination_tags = Tags(
            wanted.dst_dif_flags, wanted.dst_ref_tag_seed, wanted.dst_app_tag_mask, wanted.dst_app_tag_seed
        )

    def guard(self, data: bytes) -> int:
        """As the DIF flags want it."""
        seed = 0xFFFF if self.dif_flags & CRC_SEED_ONES else 0
        return crc.guard(data, seed=seed, inverted=bool(self.dif_flags & CRC_INVERTED))

    def advance(self) -> None:
        """Tags of both sides to the next block."""
        self.source_tags.advance()
        self.destination_tags.advance()

    @property
    def payload(self) -> bytes:
        """The record's tags: source side where fields are checked, destination side where they are made."""
        source = self.source_tags.pack() if self.shape.checks else bytes(8)
        return source + (self.destination_tags.pack() if self.shape.fields else bytes(8))


def protect(run: Run) -> Effect:
    """Block by block: read, check, make the field, write. A block is done whole or not at all."""
    blocks = Blocks(run)
    for number in range(blocks.count):
        effect = _block(run, blocks, number)
        if not effect.succeeded:
            effect.bytes_completed = number * blocks.source_block
            break
        blocks.advance()
    else:
        effect = Effect()
    if effect.status is not CompletionStatus.DIF_ERR:
        effect.payload = blocks.payload
    return effect


def _block(run: Run, blocks: Blocks, number: int) -> Effect:
    source = blocks.source + number * blocks.source_block
    destination = blocks.destination + number * blocks.destination_block
    readable = advance(run, blocks.source_block, (Operand.SOURCE1, source, False))
    if not readable.succeeded:
        return readable
    content = run.memory.read(source, blocks.source_block)
    data, field = content[: blocks.block], content[blocks.block :]
    guard = blocks.guard(data)
    if blocks.shape.checks and (dif_status := mismatch(field, guard, blocks.source_tags)):
        return Effect(CompletionStatus.DIF_ERR, result=dif_status)
    made = made_field(field, guard, blocks.destination_tags) if blocks.shape.fields else b""
    written = (data if blocks.shape.data else b"") + made
    if written:
        writable = advance(run, len(written), (Operand.DESTINATION1, destination, True))
        if not writable.succeeded:
            return writable
        run.memory.write(destination, written)
    return Effect()


def mismatch(field: bytes, guard: int, tags: Tags) -> int:
    """DIF status of one stored field; 0 when it is right or an F detect lets it through unchecked."""
    stored_guard, stored_app, stored_ref = FIELD.unpack(field)
    ones = stored_guard == stored_app == 0xFFFF and stored_ref == 0xFFFF_FFFF
    if ones and tags.flags & ALL_F_DETECT and tags.flags & ALL_F_ERROR:
        return ALL_F
    skipped = (
        (ones and tags.flags & ALL_F_DETECT)
        or (stored_app == 0xFFFF and tags.flags & APP_F_DETECT)
        or (stored_app == 0xFFFF and stored_ref == 0xFFFF_FFFF and tags.flags & APP_REF_F_DETECT)
    )
    if skipped:
        return 0
    status = 0
    if not tags.flags & GUARD_UNCHECKED and stored_guard != guard:
        status |= BAD_GUARD
    if tags.mask != 0xFFFF and stored_app != tags.used_app:  # the stored tag is compared with all its bits
        status |= BAD_APP
    if not tags.flags & REF_UNCHECKED and stored_ref != tags.ref:
        status |= BAD_REF
    return status


def made_field(stored: bytes, guard: int, tags: Tags) -> bytes:
    """The destination's field; an update passes parts of the stored one on, right or wrong."""
    app, ref = tags.used_app, tags.ref
    if stored:
        stored_guard, stored_app, stored_ref = FIELD.unpack(stored)
        guard = stored_guard if tags.flags & GUARD_PASSED else guard
        app = stored_app if tags.flags & APP_PASSED else app
        ref = stored_ref if tags.flags & REF_PASSED else ref
    return FIELD.pack(guard, app, ref)


def check_dif(run: Run) -> None:
    """Whole blocks; a DIX destination of aligned fields; nothing overlaps."""
    blocks = Blocks(run)
    if blocks.size % blocks.source_block:
        refuse(CompletionStatus.XFER_ERANGE, f"transfer size {blocks.size} is no multiple of {blocks.source_block}")
    if blocks.shape == SHAPES[Opcode.DIX_GEN] and blocks.destination % DIX_ALIGN_BYTES:
        refuse(CompletionStatus.ADDR_ALIGN, f"destination {blocks.destination:#x} is not a multiple of 8")
    if blocks.destination_block:
        written = blocks.count * blocks.destination_block
        check_overlap(blocks.source, blocks.size, blocks.destination, written, "source and destination")
