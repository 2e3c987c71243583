"""How software goes on after a page fault: the descriptor that does the rest of a partial run.

Resumed so, memory, result and CRC end as if no page had been missing (two differences that software undoes itself: entries of
a continued delta record count from the new sources, and Bytes Completed of a later difference counts from the new start).
"""

from __future__ import annotations

from idxdd.spec import limits as spec
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.spec.records import CompletionRecord, CrcRecord, DeltaRecord, Descriptor, DifRecord, view
from idxdd.testing.reference.dif import BLOCK_BYTES, BLOCK_SIZE, FIELD, SHAPES

RESUMABLE = {CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.PAGE_FAULT_IR, CompletionStatus.BATCH_PAGE_FAULT}
MOVES_TOGETHER = {
    Opcode.MEMMOVE: ("src_addr", "dst_addr"),
    Opcode.COMPARE: ("src1_addr", "src2_addr"),
    Opcode.DUALCAST: ("src_addr", "dst1_addr", "dst2_addr"),
    Opcode.COMPVAL: ("src_addr",),
    Opcode.INTER_DOMAIN_COPY: ("operand1", "operand2"),
    Opcode.INTER_DOMAIN_COMPARE: ("operand1", "operand2"),
    Opcode.INTER_DOMAIN_FILL: ("operand2",),
    Opcode.INTER_DOMAIN_COMPVAL: ("operand1",),
    Opcode.MEMFILL: ("dst_addr",),
    Opcode.CFLUSH: ("dst_addr",),
    Opcode.CRCGEN: ("src_addr",),
    Opcode.COPY_CRC: ("src_addr", "dst_addr"),
    Opcode.CR_DELTA: ("src1_addr", "src2_addr"),
}
"""Addresses that move on by the bytes completed, while the transfer size shrinks by them."""


def continuation(desc: bytes, record: bytes) -> bytes:
    """The descriptor for what is left, given the record of a page fault (0x03, 0x04; batch: 0x06)."""
    wanted, ended = view(desc), CompletionRecord.unpack(record)
    assert ended.code in RESUMABLE, f"{ended!r} is no partial result"
    opcode, done = Opcode(wanted.opcode), ended.bytes_completed
    match opcode:
        case Opcode.TRANSL_FETCH:
            return desc  # how far it came is not told
        case Opcode.BATCH:
            return _batch(wanted, ended).pack()
        case Opcode.AP_DELTA:
            left = _value(wanted, "delta_rec_size") - done
            return wanted.replace(delta_addr=_value(wanted, "delta_addr") + done, delta_rec_size=left).pack()
        case Opcode.MEMMOVE if ended.result:  # backwards: the end is done
            return wanted.replace(xfer_size=wanted.xfer_size - done).pack()
    return _onwards(wanted, opcode, record, done).pack()


def _onwards(wanted: Descriptor, opcode: Opcode, record: bytes, done: int) -> Descriptor:
    changes: dict[str, int] = {"xfer_size": wanted.xfer_size - done}
    if opcode in SHAPES:
        changes |= _dif(wanted, opcode, record, done)
    else:
        changes |= {name: _value(wanted, name) + done for name in MOVES_TOGETHER[opcode]}
    match opcode:
        case Opcode.MEMFILL if wanted.flags & OpFlag.FILL_PATTERN16:
            changes |= _rotated(wanted, done, "pattern_lower", "pattern_upper")
        case Opcode.MEMFILL:
            changes |= _rotated(wanted, done, "pattern_lower")
        case Opcode.COMPVAL:
            changes |= _rotated(wanted, done, "pattern")
        case Opcode.INTER_DOMAIN_FILL if wanted.flags & OpFlag.FILL_PATTERN16:
            changes |= _rotated(wanted, done, "operand1", "pattern_upper")
        case Opcode.INTER_DOMAIN_FILL:
            changes |= _rotated(wanted, done, "operand1")
        case Opcode.INTER_DOMAIN_COMPVAL:
            changes |= _rotated(wanted, done, "operand2")
        case Opcode.CR_DELTA:
            written = DeltaRecord.unpack(record).delta_rec_size
            changes["delta_addr"] = _value(wanted, "delta_addr") + written
            changes["max_delta_size"] = _value(wanted, "max_delta_size") - written
        case Opcode.CRCGEN | Opcode.COPY_CRC if done:  # of no bytes the value is undefined: the seed stays
            width = (1 << 64) - 1 if wanted.flags & OpFlag.CRC_SIZE64 else (1 << 32) - 1
            changes["crc_seed"] = CrcRecord.unpack(record).crc_value & width
            changes |= {"seed_addr": 0, "flags": wanted.flags & ~int(OpFlag.CRC_SEED_ADDR | Flag.ADDR3_TCS)}
    return wanted.replace(**changes)


def _dif(wanted: Descriptor, opcode: Opcode, record: bytes, done: int) -> dict[str, int]:
    shape, tags = SHAPES[opcode], DifRecord.unpack(record)
    block = BLOCK_BYTES[_value(wanted, "dif_flags") & BLOCK_SIZE]
    blocks = done // (block + FIELD.size * shape.checks)
    changes = {"src_addr": _value(wanted, "src_addr") + done}
    if shape.data or shape.fields:
        written = blocks * (block * shape.data + FIELD.size * shape.fields)
        changes["dst_addr"] = _value(wanted, "dst_addr") + written
    if shape.checks:
        changes |= {"src_ref_tag_seed": tags.src_ref_tag, "src_app_tag_seed": tags.src_app_tag}
    if shape.fields:
        changes |= {"dst_ref_tag_seed": tags.dst_ref_tag, "dst_app_tag_seed": tags.dst_app_tag}
    return changes


def _rotated(wanted: Descriptor, done: int, *names: str) -> dict[str, int]:
    """The device always starts with pattern byte 0."""
    pattern = b"".join(_value(wanted, name).to_bytes(8, "little") for name in names)
    turned = pattern[done % len(pattern) :] + pattern[: done % len(pattern)]
    return {name: int.from_bytes(turned[8 * n : 8 * n + 8], "little") for n, name in enumerate(names)}


def _batch(wanted: Descriptor, ended: CompletionRecord) -> Descriptor:
    """The rest of the list, knowing whether a member before has failed. Without Batch1 a single member left goes by itself."""
    done = ended.bytes_completed
    flags = wanted.flags | (int(OpFlag.BATCH_ERROR) if ended.result else 0)
    list_addr = _value(wanted, "desc_list_addr") + done * spec.DESCRIPTOR_BYTES
    return wanted.replace(desc_list_addr=list_addr, desc_count=wanted.xfer_size - done, flags=flags)


def _value(wanted: Descriptor, name: str) -> int:
    value = getattr(wanted, name)
    assert isinstance(value, int)
    return value
