"""The reference model against the published operation vectors, and its answers to page faults, flags and batches.

The model judges the C engine, so it must itself be held to values that others agreed on.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
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
    InvalidFlagsRecord,
    MemmoveDescriptor,
)
from idxdd.spec.registers import GENCAP
from idxdd.testing.reference import Limits, Memory, Outcome, crc, execute

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "vectors.json").read_text())
GENCAP_FULL = GENCAP.encode(
    block_on_fault=True, overlap_copy=True, cache_control=True, dest_readback=True, drain_readback=True, fill16=True,
    crc64=True, fault_info=True, batch_continuation=True, translation_fetch_stride=True, max_xfer_shift=31, max_batch_shift=10,
)  # fmt: skip
LIMITS = Limits(GENCAP_FULL, max_xfer_shift=21, max_batch_shift=4)
RECORD = Flag.CRAV | Flag.RCR
COMPLETION, SOURCE, DESTINATION, SEED, LIST = 0x10000, 0x100_0000, 0x200_0000, 0x300_0000, 0x400_0000
IMPLEMENTED = {Opcode.NOOP, Opcode.BATCH, Opcode.DRAIN, Opcode.MEMMOVE, Opcode.MEMFILL, Opcode.COMPARE, Opcode.CRCGEN,
               Opcode.COPY_CRC}  # fmt: skip


def content(spec: dict[str, Any]) -> bytes:
    """A vector's DATA."""
    if "hex" in spec:
        found = bytes.fromhex(spec["hex"])
    elif "byte" in spec:
        found = bytes([spec["byte"]]) * spec["len"]
    elif "ramp" in spec:
        start, step = spec["ramp"]
        found = bytes((start + step * index) & 255 for index in range(spec["len"]))
    elif "rep" in spec:
        found = (bytes.fromhex(spec["rep"]) * (spec["len"] + 1))[: spec["len"]]
    else:
        blocks = (hashlib.sha256(f"{spec['sha']}:{index}".encode()).digest() for index in range(spec["len"] // 32 + 1))
        found = b"".join(blocks)[: spec["len"]]
    patched = bytearray(found)
    for offset, replacement in spec.get("patch", []):
        piece = bytes.fromhex(replacement)
        patched[offset : offset + len(piece)] = piece
    return bytes(patched)


def number(value: int | str) -> int:
    return int(value, 16) if isinstance(value, str) else value


def check_digest(expected: dict[str, Any], found: bytes) -> None:
    assert len(found) == expected["len"]
    assert hashlib.sha256(found).hexdigest() == expected["sha256"]


def run(desc: Descriptor, memory: Memory, limits: Limits = LIMITS, **how: Any) -> Outcome:
    """With a place for the record, unless the descriptor says otherwise."""
    if not desc.completion_addr and desc.flags & Flag.CRAV:
        desc = desc.replace(completion_addr=COMPLETION)
        memory.map(COMPLETION, 32)
    return execute(desc.pack(), memory, limits, **how)


def record(outcome: Outcome) -> CompletionRecord:
    assert outcome.record is not None
    return CompletionRecord.unpack(outcome.record)


def group(*names: str) -> list[Any]:
    return [pytest.param(vector, id=vector["id"]) for name in names for vector in VECTORS["groups"][name]]


@pytest.mark.parametrize("vector", group("crc32c", "crc64"))
def test_crc_vectors(vector: dict[str, Any]) -> None:
    """Every flag combination, seed source and width gives the value that independent CRC packages agree on."""
    memory, desc = Memory(), vector["desc"]
    source = content(vector["bufs"]["src"])
    memory.place(SOURCE, source)
    memory.map(DESTINATION, len(source))
    fields: dict[str, Any] = {"crc_seed": number(desc["crc_seed"])}
    if "seed_mem" in vector["bufs"]:
        memory.place(SEED, content(vector["bufs"]["seed_mem"]))
        fields["seed_addr"] = SEED
    if vector["opcode"] == Opcode.COPY_CRC:
        fields["dst_addr"] = DESTINATION
    outcome = run(
        CrcDescriptor.encode(
            opcode=vector["opcode"], flags=number(desc["flags"]), src_addr=SOURCE, xfer_size=desc["xfer_size"], **fields
        ),
        memory,
    )
    assert outcome.status == vector["expect"]["status"]
    assert outcome.record is not None
    assert CrcRecord.unpack(outcome.record).crc_value == number(vector["expect"]["crc_value"])
    assert record(outcome).bytes_completed == vector["expect"]["bytes_completed"]
    if "dst" in vector["expect"]:
        check_digest(vector["expect"]["dst"], memory.read(DESTINATION, len(source)))


@pytest.mark.parametrize("vector", group("fill", "fill16"))
def test_fill_vectors(vector: dict[str, Any]) -> None:
    """The pattern starts with its byte 0 on the first byte, whatever the alignment; nothing around it is touched."""
    memory, desc = Memory(), vector["desc"]
    start = DESTINATION + vector.get("dst_offset", 0)
    size = desc["xfer_size"]
    memory.place(start - 8, b"\xaa" * (size + 16))
    fields = {"pattern_upper": number(desc["pattern_upper"])} if "pattern_upper" in desc else {}
    outcome = run(
        FillDescriptor.encode(
            opcode=Opcode.MEMFILL, flags=number(desc["flags"]), dst_addr=start, xfer_size=size,
            pattern_lower=number(desc["pattern_lower"]), **fields,
        ),
        memory,
    )  # fmt: skip
    assert outcome.status == vector["expect"]["status"]
    check_digest(vector["expect"]["dst"], memory.read(start, size))
    assert memory.read(start - 8, 8) == memory.read(start + size, 8) == b"\xaa" * 8


@pytest.mark.parametrize("vector", group("compare"))
def test_compare_vectors(vector: dict[str, Any]) -> None:
    """Result, offset of the first difference, and which bit of the expected result counts."""
    memory, desc = Memory(), vector["desc"]
    memory.place(SOURCE, content(vector["bufs"]["src1"]))
    memory.place(DESTINATION, content(vector["bufs"]["src2"]))
    outcome = run(
        CompareDescriptor.encode(
            opcode=Opcode.COMPARE, flags=number(desc["flags"]), src1_addr=SOURCE, src2_addr=DESTINATION,
            xfer_size=desc["xfer_size"], expected_result=desc.get("expected_result", 0),
        ),
        memory,
    )  # fmt: skip
    expect = vector["expect"]
    found = record(outcome)
    assert (found.status, found.result, found.bytes_completed) == (
        expect["status"],
        expect["result"],
        expect["bytes_completed"],
    )


@pytest.mark.parametrize("overlap_copy", [True, False])
@pytest.mark.parametrize("vector", group("memmove"))
def test_memmove_vectors(vector: dict[str, Any], overlap_copy: bool) -> None:
    """An overlapping move is as if the source were buffered first, or refused with 0x16 where the device cannot."""
    memory = Memory()
    arena = content(vector["arena"])
    memory.place(SOURCE, arena)
    outcome = run(
        MemmoveDescriptor.encode(
            opcode=Opcode.MEMMOVE, flags=number(vector["desc"]["flags"]), src_addr=SOURCE + vector["src_off"],
            dst_addr=SOURCE + vector["dst_off"], xfer_size=vector["desc"]["xfer_size"],
        ),
        memory,
        Limits(GENCAP_FULL.replace(overlap_copy=overlap_copy)),
    )  # fmt: skip
    if vector["overlap"] and not overlap_copy:
        assert outcome.status is CompletionStatus.OVERLAP_BUFFERS
        assert memory.read(SOURCE, len(arena)) == arena
    else:
        assert outcome.status == vector["expect"]["status"]
        check_digest(vector["expect"]["arena"], memory.read(SOURCE, len(arena)))


REGIONS = {"S": 0x1000_0000, "D": 0x2000_0000, "D2": 0x3000_0000, "E": 0x4000_0000, "L": 0x5000_0000, "C": 0x6000_0000}
WHERE = {"src": 16, "dst": 24, "src2": 24, "pattern_lower": 16, "pattern_upper": 40, "xfer_size": 32, "int_handle": 36,
         "seed_addr": 48, "crc_seed": 40, "desc_list": 16, "desc_count": 32}  # fmt: skip
WIDTH = {"xfer_size": 4, "desc_count": 4, "int_handle": 2}


def single_faults() -> Iterator[Any]:
    for case in VECTORS["descriptor_errors"]["cases"]:
        if case["desc"]["opcode"] in IMPLEMENTED or CompletionStatus.BAD_OPCODE in case["accept"]:
            yield pytest.param(case, id=case["id"])


@pytest.mark.parametrize("case", list(single_faults()))
def test_single_fault_descriptors(case: dict[str, Any]) -> None:
    """Each breaks one rule and must get one of the statuses that apply, and change no memory but its record."""
    memory, desc = Memory(), bytearray(64)
    for base in REGIONS.values():
        memory.place(base, b"\x5a" * 8192)
    fields = dict(case["desc"])
    desc[7] = fields.pop("opcode")
    desc[4:7] = number(fields.pop("flags", "0x00000c")).to_bytes(3, "little")
    desc[8:16] = REGIONS["C"].to_bytes(8, "little")
    in_batch = fields.pop("in_batch", False)
    for offset, raw in fields.pop("raw", {}).items():
        desc[int(offset) : int(offset) + len(raw) // 2] = bytes.fromhex(raw)
    for name, value in fields.items():
        if isinstance(value, str) and "+" in value:
            region, offset = value.split("+")
            value = REGIONS[region] + int(offset)
        width = WIDTH.get(name, 8)
        desc[WHERE[name] : WHERE[name] + width] = number(value).to_bytes(width, "little")
    outcome = execute(bytes(desc), memory, LIMITS, in_batch=in_batch)
    assert outcome.status in (case["accept"] or [CompletionStatus.SUCCESS]), case["why"]
    for name, base in REGIONS.items():
        assert name == "C" or memory.read(base, 8192) == b"\x5a" * 8192
    if outcome.status is CompletionStatus.INVALID_FLAGS:
        assert outcome.record is not None
        assert InvalidFlagsRecord.unpack(outcome.record).invalid_flags


def holed(size: int, *missing: int) -> Memory:
    """`size` bytes at SOURCE and DESTINATION, each with the given pages (addresses) missing."""
    memory = Memory()
    memory.place(SOURCE, content({"sha": "holed", "len": size}))
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
    before = content({"sha": "arena", "len": 4 * 4096})
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


@pytest.mark.parametrize("hole", [None, *range(6)])
@pytest.mark.parametrize("opcode", [Opcode.MEMMOVE, Opcode.MEMFILL, Opcode.COMPARE, Opcode.CRCGEN, Opcode.COPY_CRC])
def test_resumed_work_equals_unfaulted_work(opcode: Opcode, hole: int | None) -> None:
    """One page missing at either operand: resumed as software does, memory and CRC end as if it had been there."""
    size = 3 * 4096 - 77
    whole, memory = holed(3 * 4096), holed(3 * 4096)
    if opcode is Opcode.COMPARE:
        for each in (whole, memory):
            each.write(DESTINATION + 33, each.read(SOURCE + 7, size - 1))
    saved = {}
    if hole is not None:
        page = (SOURCE, DESTINATION)[hole % 2] + hole // 2 * 4096
        saved[page] = memory.read(page, 4096)
        memory.unmap(page, 1)
    fields: dict[str, int] = {"operand1": SOURCE + 7, "operand2": DESTINATION + 33}
    if opcode is Opcode.CRCGEN:
        fields["operand2"] = 0
    if opcode is Opcode.MEMFILL:
        fields["operand1"] = 0x0807060504030201
    desc = Descriptor.encode(opcode=opcode, flags=RECORD, xfer_size=size, **fields)
    straight = run(desc, whole)
    outcome = run(desc, memory)
    for page, kept in saved.items():
        memory.place(page, kept)
    resumed = outcome.status is CompletionStatus.PAGE_FAULT_NOBOF
    if resumed:
        done = record(outcome).bytes_completed
        change: dict[str, Any] = {"xfer_size": size - done}
        if opcode is Opcode.MEMFILL:
            pattern = fields["operand1"].to_bytes(8, "little")
            turned = pattern[done % 8 :] + pattern[: done % 8]
            change |= {"operand1": int.from_bytes(turned, "little"), "operand2": fields["operand2"] + done}
        else:
            change |= {"operand1": fields["operand1"] + done}
            change |= {"operand2": fields["operand2"] + done} if fields["operand2"] else {}
        if opcode in (Opcode.CRCGEN, Opcode.COPY_CRC):
            change["op_specific"] = record(outcome).op_specific[:4].ljust(24, b"\0")
        outcome = run(desc.replace(**change), memory)
    needs_both = opcode not in (Opcode.MEMFILL, Opcode.CRCGEN)
    assert resumed is (hole is not None and (needs_both or hole % 2 == (opcode is Opcode.MEMFILL)))
    assert outcome.status is straight.status
    assert memory.read(DESTINATION, 3 * 4096) == whole.read(DESTINATION, 3 * 4096)
    if opcode in (Opcode.CRCGEN, Opcode.COPY_CRC):
        assert record(outcome).op_specific == record(straight).op_specific


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


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_a_crc_is_the_seed_of_the_next_piece(first: bytes, second: bytes, seed: int, inverted: bool, reflected: bool) -> None:
    """So a faulted or a split CRC can go on, whatever the flags."""
    whole = crc(first + second, seed, 32, inverted=inverted, reflected=reflected)
    part = crc(first, seed, 32, inverted=inverted, reflected=reflected)
    assert crc(second, part, 32, inverted=inverted, reflected=reflected) == whole


@settings(max_examples=300)
@given(st.binary(min_size=64, max_size=64), st.sampled_from(sorted(IMPLEMENTED)), st.booleans())
def test_any_bytes_get_an_answer(desc: bytes, opcode: Opcode, dedicated: bool) -> None:
    """Garbage is answered with a status, never with an exception."""
    garbage = desc[:7] + bytes([opcode]) + desc[8:]
    outcome = execute(garbage, Memory(), Limits(GENCAP_FULL, dedicated=dedicated))
    assert outcome.status is not CompletionStatus.NONE


@pytest.mark.parametrize("opcode", [code for code in range(256) if code not in IMPLEMENTED])
def test_other_opcodes_are_refused(opcode: int) -> None:
    """What this model does not know answers 0x10, as an OPCAP without it would."""
    desc = bytes(4) + RECORD.to_bytes(3, "little") + bytes([opcode]) + COMPLETION.to_bytes(8, "little") + bytes(48)
    memory = Memory()
    memory.map(COMPLETION, 32)
    assert execute(desc, memory, LIMITS).status is CompletionStatus.BAD_OPCODE
