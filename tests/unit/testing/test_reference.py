"""The reference model's answers to page faults, flags and batches: records, reports and interrupts."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd.spec.codes import CompletionStatus, Flag, Opcode, Operand, OpFlag
from idxdd.spec.records import (
    BatchDescriptor,
    CompareDescriptor,
    CompletionRecord,
    CrcDescriptor,
    CrcRecord,
    Descriptor,
    DrainDescriptor,
    FillDescriptor,
    MemmoveDescriptor,
)
from idxdd.spec.registers import GENCAP
from idxdd.testing import vectors
from idxdd.testing.reference import Limits, Memory, Outcome, execute

GENCAP_FULL = GENCAP.encode(
    block_on_fault=True, overlap_copy=True, cache_control=True, dest_readback=True, drain_readback=True, fill16=True,
    crc64=True, fault_info=True, batch_continuation=True, translation_fetch_stride=True, max_xfer_shift=31, max_batch_shift=10,
)  # fmt: skip
LIMITS = Limits(GENCAP_FULL, max_xfer_shift=21, max_batch_shift=4)
RECORD = Flag.CRAV | Flag.RCR
COMPLETION, SOURCE, DESTINATION, SEED, LIST = 0x10000, 0x100_0000, 0x200_0000, 0x300_0000, 0x400_0000
IMPLEMENTED = {*range(0x0B), *range(0x10, 0x16), 0x17, 0x20, 0x21, *range(0x23, 0x27)}


def run(desc: Descriptor, memory: Memory, limits: Limits = LIMITS, **how: Any) -> Outcome:
    """With a place for the record, unless the descriptor says otherwise."""
    if not desc.completion_addr and desc.flags & Flag.CRAV:
        desc = desc.replace(completion_addr=COMPLETION)
        memory.map(COMPLETION, 32)
    return execute(desc.pack(), memory, limits, **how)


def record(outcome: Outcome) -> CompletionRecord:
    assert outcome.record is not None
    return CompletionRecord.unpack(outcome.record)


def holed(size: int, *missing: int) -> Memory:
    """`size` bytes at SOURCE and DESTINATION, each with the given pages (addresses) missing."""
    memory = Memory()
    memory.place(SOURCE, vectors.content({"sha": "holed", "len": size}))
    memory.map(DESTINATION, size)
    for page in missing:
        memory.unmap(page, 1)
    return memory


def test_forward_move_stops_at_the_missing_page() -> None:
    """Bytes Completed counts from the start, so that software can go on from there."""
    memory = holed(3 * 4096, DESTINATION + 8192)
    move = MemmoveDescriptor.encode(
        opcode=Opcode.MEMMOVE, flags=RECORD, src_addr=SOURCE + 5, dst_addr=DESTINATION + 10, xfer_size=12000
    )
    found = record(run(move, memory))
    done = 8192 - 10
    assert (found.code, found.write_fault, found.bytes_completed) == (CompletionStatus.PAGE_FAULT_NOBOF, True, done)
    assert (found.fault_addr, found.fault_operand, found.result) == (DESTINATION + 8192, Operand.DESTINATION1, 0)
    assert memory.read(DESTINATION + 10, done) == memory.read(SOURCE + 5, done)


def test_backward_move_counts_from_the_end() -> None:
    """A reversed move that faults says so with result 1 and keeps its addresses."""
    memory = Memory()
    before = vectors.content({"sha": "arena", "len": 4 * 4096})
    memory.place(SOURCE, before)
    memory.unmap(SOURCE + 4096, 1)
    move = MemmoveDescriptor.encode(
        opcode=Opcode.MEMMOVE, flags=RECORD, src_addr=SOURCE, dst_addr=SOURCE + 100, xfer_size=4 * 4096 - 100
    )
    found = record(run(move, memory))
    assert (found.code, found.result, found.write_fault) == (CompletionStatus.PAGE_FAULT_NOBOF, 1, False)
    done = found.bytes_completed
    assert done == 4 * 4096 - 100 - 8192
    assert memory.read(SOURCE + 4 * 4096 - done, done) == before[4 * 4096 - 100 - done : 4 * 4096 - 100]


def test_crc_that_did_not_begin_gives_its_seed_back() -> None:
    """Software that resumes with the record's value is right even when the first page was missing."""
    wanted = CrcDescriptor.encode(opcode=Opcode.CRCGEN, flags=RECORD, src_addr=SOURCE, xfer_size=8, crc_seed=0x12345678)
    outcome = run(wanted, Memory())
    assert outcome.record is not None
    assert record(outcome).bytes_completed == 0
    assert CrcRecord.unpack(outcome.record).crc_value == 0x12345678


def test_difference_before_the_fault_wins() -> None:
    """A compare that has its answer does not need the missing page."""
    memory = holed(8192, SOURCE + 4096)
    compare = CompareDescriptor.encode(
        opcode=Opcode.COMPARE, flags=RECORD, src1_addr=SOURCE, src2_addr=DESTINATION, xfer_size=8192
    )
    first = next(index for index, byte in enumerate(memory.read(SOURCE, 4096)) if byte)
    found = record(run(compare, memory))
    assert (found.status, found.result, found.bytes_completed) == (CompletionStatus.SUCCESS, 1, first)


def test_block_on_fault_ends_with_the_other_status() -> None:
    """A refused page request is 0x04, not 0x03."""
    memory = holed(4096, DESTINATION)
    fill = FillDescriptor.encode(opcode=Opcode.MEMFILL, flags=RECORD | Flag.BOF, dst_addr=DESTINATION, xfer_size=8)
    assert record(run(fill, memory)).status == CompletionStatus.PAGE_FAULT_IR | 0x80


def test_read_only_pages_fault_on_writes_only() -> None:
    """A page the client mapped read-only can be a source."""
    memory = holed(4096)
    memory.map(SOURCE, 4096, writable=False)
    move = MemmoveDescriptor.encode(opcode=Opcode.MEMMOVE, flags=RECORD, src_addr=SOURCE, dst_addr=DESTINATION, xfer_size=64)
    assert run(move, memory).status is CompletionStatus.SUCCESS
    back = move.replace(src_addr=DESTINATION, dst_addr=SOURCE)
    assert record(run(back, memory)).write_fault


@pytest.mark.parametrize(
    ("flags", "status", "written", "reported"),
    [
        (Flag.CRAV | Flag.RCR, CompletionStatus.SUCCESS, True, False),
        (Flag.CRAV, CompletionStatus.SUCCESS, False, False),
        (Flag(0), CompletionStatus.SUCCESS, False, False),
        (Flag.CRAV | Flag.RCR | Flag.BOF, CompletionStatus.INVALID_FLAGS, True, False),
        (Flag.CRAV | Flag.BOF, CompletionStatus.INVALID_FLAGS, True, False),
        (Flag.BOF, CompletionStatus.INVALID_FLAGS, False, True),
        (Flag.RCR, CompletionStatus.INVALID_FLAGS, False, True),
    ],
)
def test_when_a_record_is_written(flags: Flag, status: CompletionStatus, written: bool, reported: bool) -> None:
    """Success is silent without RCR, an error never is: record, else report."""
    outcome = run(Descriptor.encode(opcode=Opcode.NOOP, flags=flags), Memory())
    assert (outcome.status, outcome.record is not None, outcome.report is not None) == (status, written, reported)


def test_misaligned_record_is_reported_not_written() -> None:
    """Nobody reads a record that lies elsewhere."""
    memory = Memory()
    memory.map(COMPLETION, 64)
    outcome = run(Descriptor.encode(opcode=Opcode.NOOP, flags=RECORD, completion_addr=COMPLETION + 8), memory)
    assert outcome.report is not None
    assert (outcome.report.status, outcome.record, memory.read(COMPLETION, 64)) == (CompletionStatus.CRA_ALIGN, None, bytes(64))


@pytest.mark.parametrize("evl_en", [False, True])
def test_record_page_missing(evl_en: bool) -> None:
    """Without an event log the work is not done; with one it is done and the record is in the entry."""
    memory = holed(4096)
    fill = FillDescriptor.encode(
        opcode=Opcode.MEMFILL, flags=RECORD, dst_addr=DESTINATION, xfer_size=8, pattern_lower=7, completion_addr=0x7000_0000
    )
    outcome = execute(fill.pack(), memory, Limits(GENCAP_FULL, evl_en=evl_en))
    assert outcome.report is not None
    assert (outcome.report.status, outcome.record) == (CompletionStatus.CRA_XLAT, None)
    assert (memory.read(DESTINATION, 1) == b"\x07") is evl_en
    assert (outcome.report.record is not None) is evl_en


def test_invalid_interrupt_handle_is_told_twice_and_raises_nothing() -> None:
    """0x19 goes to the record and to the log; the interrupt cannot be sent."""
    limits = Limits(GENCAP_FULL, int_handles=frozenset({3}))
    good = run(Descriptor.encode(opcode=Opcode.NOOP, flags=RECORD | Flag.RCI, int_handle=3), Memory(), limits)
    bad = run(Descriptor.encode(opcode=Opcode.NOOP, flags=RECORD | Flag.RCI, int_handle=4), Memory(), limits)
    assert (good.status, good.interrupt) == (CompletionStatus.SUCCESS, 3)
    assert (bad.status, bad.interrupt) == (CompletionStatus.INT_HANDLE_INVAL, None)
    assert bad.record is not None
    assert bad.report is not None
    assert bad.report.error_info == 4


def in_batch(memory: Memory, members: list[Descriptor], flags: int = RECORD) -> Outcome:
    memory.place(LIST, b"".join(member.pack() for member in members))
    batch = BatchDescriptor.encode(opcode=Opcode.BATCH, flags=flags, desc_list_addr=LIST, desc_count=len(members))
    return run(batch, memory)


FINE, BROKEN = Descriptor.encode(opcode=Opcode.NOOP), Descriptor.encode(opcode=Opcode.NOOP, flags=Flag.BOF)
NESTED = Descriptor.encode(opcode=Opcode.DRAIN, flags=RECORD, completion_addr=COMPLETION)
FENCED = Descriptor.encode(opcode=Opcode.NOOP, flags=Flag.FENCE)


@pytest.mark.parametrize(
    ("members", "status", "done", "result"),
    [
        ([FINE, FINE, FINE], CompletionStatus.SUCCESS, 3, 0),
        ([FINE, BROKEN, FINE], CompletionStatus.BATCH_FAIL, 3, 1),
        ([FINE, FENCED, FINE], CompletionStatus.SUCCESS, 3, 0),
        ([BROKEN, FINE, FENCED, FINE], CompletionStatus.BATCH_FAIL, 2, 1),
        (
            [Descriptor.encode(opcode=Opcode.DRAIN, flags=RECORD, completion_addr=COMPLETION), FINE],
            CompletionStatus.BATCH_FAIL,
            2,
            1,
        ),
    ],
)
def test_batch(members: list[Descriptor], status: CompletionStatus, done: int, result: int) -> None:
    """A failure stops nobody, except at a fence; the batch tells how many members were processed."""
    memory = Memory()
    memory.map(COMPLETION, 32)
    outcome = in_batch(memory, members)
    found = record(outcome)
    assert (outcome.status, found.bytes_completed, found.result, len(outcome.members)) == (status, done, result, done)


def test_batch_list_that_ends_in_a_hole() -> None:
    """0x06 says how many members were done and which address is missing."""
    memory = Memory()
    memory.map(LIST, 4096)
    memory.write(LIST + 4096 - 128, FINE.pack() * 2)
    batch = BatchDescriptor.encode(opcode=Opcode.BATCH, flags=RECORD, desc_list_addr=LIST + 4096 - 128, desc_count=4)
    found = record(run(batch, memory))
    assert (found.code, found.bytes_completed, found.fault_addr) == (CompletionStatus.BATCH_PAGE_FAULT, 2, LIST + 4096)


def test_continued_batch_remembers_an_earlier_failure() -> None:
    """The Batch Error flag makes the rest of a faulted batch end as the whole would have."""
    found = record(in_batch(Memory(), [FINE, FINE], RECORD | OpFlag.BATCH_ERROR))
    assert (found.code, found.bytes_completed, found.result) == (CompletionStatus.BATCH_FAIL, 2, 1)


def test_drain_reads_back_where_asked() -> None:
    """A readback address that faults is 0x1F, with the operand that did."""
    memory = holed(4096)
    flags = RECORD | OpFlag.DRAIN_READBACK1_VALID | OpFlag.DRAIN_READBACK2_VALID
    drain = DrainDescriptor.encode(opcode=Opcode.DRAIN, flags=flags, readback_addr1=SOURCE, readback_addr2=DESTINATION)
    assert run(drain, memory).status is CompletionStatus.SUCCESS
    memory.unmap(DESTINATION, 1)
    found = record(run(drain, memory))
    assert (found.code, found.fault_operand, found.fault_addr) == (CompletionStatus.PFAULT_RDBA, Operand.SOURCE2, DESTINATION)


@settings(max_examples=300)
@given(st.binary(min_size=64, max_size=64), st.sampled_from(sorted(IMPLEMENTED)), st.booleans())
def test_any_bytes_get_an_answer(desc: bytes, opcode: int, dedicated: bool) -> None:
    """Garbage is answered with a status, never with an exception."""
    garbage = desc[:7] + bytes([opcode]) + desc[8:]
    outcome = execute(garbage, Memory(), Limits(GENCAP_FULL, dedicated=dedicated))
    assert outcome.status is not CompletionStatus.NONE


@pytest.mark.parametrize("opcode", [code for code in range(256) if code not in IMPLEMENTED])
def test_other_opcodes_are_refused(opcode: int) -> None:
    """3.0 and undefined codes answer 0x10, as an OPCAP without them would."""
    desc = bytes(4) + RECORD.to_bytes(3, "little") + bytes([opcode]) + COMPLETION.to_bytes(8, "little") + bytes(48)
    memory = Memory()
    memory.map(COMPLETION, 32)
    assert execute(desc, memory, LIMITS).status is CompletionStatus.BAD_OPCODE
