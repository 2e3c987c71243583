"""Builders of every operation: fields lie under the manual's names, and the reference model finds nothing to refuse."""

import struct

import pytest

from idxd_client import Descriptor, DifDestination, DifFormat, DifSource, Flag, Opcode, OperandError, OpFlag
from idxd_client.results import Result
from idxdd.spec.codes import CompletionStatus
from idxdd.spec.records import view
from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

A, B, C, D, RECORD = 0x10000, 0x20000, 0x30000, 0x40000, 0x50000
LIMITS = reference.Limits(
    GENCAP.encode(block_on_fault=True, overlap_copy=True, fill16=True, crc64=True, drain_readback=True, dest_readback=True,
                  translation_fetch_stride=True)
)  # fmt: skip
SOURCE = DifSource(ref=7, app=8, app_mask=0xFF00, check_guard=False, app_increments=True)
DESTINATION = DifDestination(ref=9, app=10, app_mask=0x00FF, ref_fixed=True, pass_guard=True)
FORM = DifFormat(520, crc_seed_ones=True)

BUILT = [
    (Descriptor.noop(), Opcode.NOOP, {}),
    (Descriptor.drain(A, B), Opcode.DRAIN, {"readback_addr1": A, "readback_addr2": B, "flags": 0x3000C}),
    (Descriptor.drain(A), Opcode.DRAIN, {"readback_addr1": A, "readback_addr2": 0, "flags": 0x1000C}),
    (Descriptor.memmove(B, A, 64), Opcode.MEMMOVE, {"src_addr": A, "dst_addr": B, "xfer_size": 64}),
    (Descriptor.fill(B, b"0123456789abcdef", 64), Opcode.MEMFILL, {"dst_addr": B, "flags": 0x4000C}),
    (Descriptor.compare(A, B, 64, expect=True), Opcode.COMPARE, {"src1_addr": A, "src2_addr": B, "expected_result": 1}),
    (Descriptor.compare_pattern(A, b"ABCDEFGH", 64), Opcode.COMPVAL, {"src_addr": A, "pattern": 0x4847464544434241}),
    (Descriptor.compare_pattern(A, 5, 64, expect=False), Opcode.COMPVAL, {"pattern": 5, "flags": 0x8C}),
    (
        Descriptor.create_delta(C, A, B, 64, max_size=80, expect=[0, 1]),
        Opcode.CR_DELTA,
        {"src1_addr": A, "src2_addr": B, "delta_addr": C, "max_delta_size": 80, "expected_result_mask": 3, "flags": 0x8C},
    ),
    (
        Descriptor.apply_delta(B, C, 20, 64),
        Opcode.AP_DELTA,
        {"delta_addr": C, "dst_addr": B, "delta_rec_size": 20, "xfer_size": 64},
    ),
    (Descriptor.dualcast(B, C, A, 64), Opcode.DUALCAST, {"src_addr": A, "dst1_addr": B, "dst2_addr": C}),
    (
        Descriptor.translation_fetch(A, 8192, stride=4096),
        Opcode.TRANSL_FETCH,
        {"addr": A, "region_size": 8192, "region_stride": 4096, "flags": 0x1000C},
    ),
    (Descriptor.cache_flush(B, 64), Opcode.CFLUSH, {"dst_addr": B}),
    (Descriptor.crc(A, 64, seed_from=C), Opcode.CRCGEN, {"src_addr": A, "seed_addr": C, "crc_seed": 0, "flags": 0x1000C}),
    (Descriptor.crc(A, 64, bypass_inversion=True, bypass_reflection=True), Opcode.CRCGEN, {"flags": 0x6000C}),
    (Descriptor.copy_crc(B, A, 64, seed=1 << 40, crc64=True), Opcode.COPY_CRC, {"dst_addr": B, "crc_seed": 1 << 40}),
    (
        Descriptor.dif_check(A, 528, source=SOURCE, form=FORM),
        Opcode.DIF_CHECK,
        {"src_ref_tag_seed": 7, "src_app_tag_seed": 8, "src_app_tag_mask": 0xFF00, "src_dif_flags": 0x30, "dif_flags": 5},
    ),
    (
        Descriptor.dif_insert(B, A, 520, destination=DESTINATION, form=FORM),
        Opcode.DIF_INS,
        {"dst_ref_tag_seed": 9, "dst_app_tag_seed": 10, "dst_app_tag_mask": 0xFF, "dst_dif_flags": 0xA0, "src_dif_flags": 0},
    ),
    (Descriptor.dif_strip(B, A, 528, source=SOURCE, form=FORM), Opcode.DIF_STRP, {"src_dif_flags": 0x30, "dst_dif_flags": 0}),
    (
        Descriptor.dif_update(B, A, 528, source=SOURCE, destination=DESTINATION, form=FORM),
        Opcode.DIF_UPDT,
        {"src_ref_tag_seed": 7, "dst_ref_tag_seed": 9, "src_dif_flags": 0x30, "dst_dif_flags": 0xA0},
    ),
    (Descriptor.dix_generate(B, A, 520, form=FORM), Opcode.DIX_GEN, {"src_addr": A, "dst_addr": B, "dif_flags": 5}),
]


@pytest.mark.parametrize(("built", "opcode", "expected"), BUILT, ids=[f"{o.name}-{n}" for n, (_, o, _) in enumerate(BUILT)])
def test_fields_are_the_manuals_and_nothing_is_refused(built: Descriptor, opcode: Opcode, expected: dict[str, int]) -> None:
    """A field in a wrong place is another operand, or a reserved byte that is not zero: the model sees the second."""
    packed = built.pack(RECORD)
    named = view(packed)
    assert named.opcode == opcode
    assert {name: int(getattr(named, name)) for name in expected} == expected
    memory = reference.Memory()
    for address in (A, B, C, D, RECORD):
        memory.map(address, 0x4000)
    outcome = reference.execute(packed, memory, LIMITS)
    assert outcome.status in (CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED, CompletionStatus.DR_OFFSET_NOINC,
                              CompletionStatus.DIF_ERR), outcome.rule  # fmt: skip
    again = Descriptor.unpack(packed)
    assert again.pack(RECORD) == packed, "unpack() keeps what the operation says"


def test_every_operation_of_the_device_has_a_builder_and_a_call() -> None:
    """An operation that only a hand-laid descriptor reaches would be one that nobody uses."""
    from idxd_client.queue import Queue

    assert {opcode for _, opcode, _ in BUILT} | {Opcode.BATCH} >= set(reference.OPERATIONS) - {
        code for code in reference.OPERATIONS if code in range(0x21, 0x27)
    }
    names = {"noop", "drain", "memmove", "fill", "compare", "compare_pattern", "create_delta", "apply_delta", "dualcast",
             "translation_fetch", "cache_flush", "crc", "copy_crc", "dif_check", "dif_insert", "dif_strip", "dif_update",
             "dix_generate", "batch"}  # fmt: skip
    for name in names:
        assert callable(getattr(Descriptor, name))
        assert callable(getattr(Queue, name))


def test_settings_that_cannot_be_are_refused_by_name() -> None:
    """Cut to their field's width, they would check or write something else."""
    with pytest.raises(OperandError, match="512, 520, 4096, 4104 bytes, not 513"):
        DifFormat(513)
    with pytest.raises(OperandError, match="app 0x10000 has more than 16 bits"):
        DifSource(app=0x10000)
    with pytest.raises(OperandError, match="ref"):
        DifDestination(ref=-1)
    with pytest.raises(OperandError, match="pattern has 8 bytes"):
        Descriptor.compare_pattern(A, b"abc", 8)
    with pytest.raises(OperandError, match="a seed and an address"):
        Descriptor.crc(A, 8, seed=1, seed_from=B)
    with pytest.raises(OperandError, match="two readback"):
        Descriptor.drain(A, B, C)
    with pytest.raises(OperandError, match="64 bytes"):
        Descriptor.unpack(bytes(63))


def test_tags_go_on_where_a_piece_ended() -> None:
    """Defaults of the two tags are opposite: the reference tag advances, the application tag does not."""
    assert DifSource(ref=0xFFFF_FFFF, app=5).after(2) == DifSource(ref=1, app=5)
    assert DifDestination(ref=3, app=0xFFFF, ref_fixed=True, app_increments=True).after(2) == DifDestination(
        ref=3, app=1, ref_fixed=True, app_increments=True
    )


def test_a_delta_record_has_room_for_the_worst_case() -> None:
    """Of a plain address nobody knows how much room there is; a buffer's own size is its limit."""
    assert view(Descriptor.create_delta(C, A, B, 80).pack(RECORD)).max_delta_size == 100  # type: ignore[attr-defined]
    assert view(Descriptor.create_delta(C, A, B, 8).pack(RECORD)).max_delta_size == 80  # type: ignore[attr-defined]
    assert view(Descriptor.create_delta(bytearray(90), A, B, 80).pack(RECORD)).max_delta_size == 90  # type: ignore[attr-defined]


def record(status: int, result: int, done: int = 0, low: int = 0) -> bytes:
    return struct.pack("<BBxxIQQQ", status, result, done, 0, low, 0)


def test_a_result_says_what_was_found() -> None:
    """A compare that found a difference used to print like one that found none."""
    assert repr(Result(record(1, 1, 17), Opcode.COMPARE)) == "<Result compare: status 0x01 SUCCESS, different at 17>"
    assert repr(Result(record(1, 0), Opcode.COMPARE)) == "<Result compare: status 0x01 SUCCESS, equal>"
    assert "different at 8" in Result(record(2, 1, 8), Opcode.COMPVAL).describe()
    assert Result(record(1, 2, 8, 80), Opcode.CR_DELTA).describe().endswith("does not fit, record of 80 bytes")
    assert "crc 0xe3069283" in Result(record(1, 0, 0, 0xE3069283), Opcode.CRCGEN).describe()
    failed = Result(record(9, 5, 1040), Opcode.DIF_CHECK)
    assert failed.dif_error == "guard, reference tag"
    assert "guard, reference tag wrong after 1040 good bytes" in failed.describe()
    assert Result(record(1, 5), Opcode.DIF_CHECK).dif_error == ""


def test_tags_of_a_record_are_read_from_their_side() -> None:
    """The two sides lie 8 bytes apart."""
    raw = bytes([1]) + bytes(15) + struct.pack("<IHHIHH", 1, 2, 3, 4, 5, 6)
    found = Result(raw, Opcode.DIF_UPDT)
    assert (found.source_tags, found.destination_tags) == ((1, 3), (4, 6))


def test_flags_of_the_arguments_and_of_the_caller_are_both_kept() -> None:
    """Either alone would be another descriptor."""
    built = Descriptor.crc(A, 8, crc64=True, flags=Flag.BOF)
    assert built.flags == OpFlag.CRC_SIZE64 | Flag.BOF
