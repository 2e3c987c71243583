"""The reference model against the published vectors: the model judges the C engine, so others must have judged the model."""

from pathlib import Path
from typing import Any

import pytest

from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import InvalidFlagsRecord
from idxdd.spec.registers import GENCAP
from idxdd.testing import vectors
from idxdd.testing.reference import ALL_OPCODES, Limits, Memory, crc, execute

DOCUMENT = vectors.load(Path(__file__).parents[2] / "golden" / "vectors.json")
GENCAP_OF_VECTORS = GENCAP.encode(
    block_on_fault=True, overlap_copy=True, cache_control=True, dest_readback=True, drain_readback=True, fill16=True,
    crc64=True, fault_info=True, translation_fetch_stride=True, max_xfer_shift=31, max_batch_shift=10,
)  # fmt: skip
LIMITS = Limits(
    GENCAP_OF_VECTORS, opcfg=ALL_OPCODES & ~(0x7D << 0x21), max_xfer_shift=21, max_batch_shift=4
)  # no other domains
COMPLETION, BUFFERS, STRIDE = 0x10000, 0x100_0000, 0x100_0000
MOVES = [case for case in vectors.cases(DOCUMENT) if case.vector["opcode"] == Opcode.MEMMOVE]
CASES = [pytest.param(case, id=case.id) for case in vectors.cases(DOCUMENT)]
FAULTS = [pytest.param(fault, id=fault.id) for fault in vectors.single_faults(DOCUMENT)]


def place(case: vectors.Case, memory: Memory) -> dict[str, int]:
    """Addresses of the buffers, each in pages of its own between pages full of another value."""
    memory.map(COMPLETION, 32)
    addresses = {}
    for index, (name, buffer) in enumerate(case.buffers.items(), 1):
        address = BUFFERS + index * STRIDE + buffer.page_offset
        memory.place(address - buffer.page_offset - 4096, b"\x5a" * (len(buffer.content) + 3 * 4096))
        memory.write(address, buffer.content)
        addresses[name] = address
    return addresses


def test_no_vector_is_left_out() -> None:
    """334 operation vectors, 22 of them of the DIF guard alone, and 51 single-fault descriptors."""
    assert len(CASES) + len(DOCUMENT["groups"]["crc16_t10dif"]) == sum(DOCUMENT["counts"].values()) == 334
    assert len(FAULTS) == 51


@pytest.mark.parametrize("case", CASES)
def test_operation(case: vectors.Case) -> None:
    """Record and buffers are as published, and no byte outside the destinations has changed."""
    memory = Memory()
    addresses = place(case, memory)
    before = memory.pages()
    outcome = execute(case.descriptor(addresses, COMPLETION), memory, LIMITS)
    assert outcome.record is not None
    case.check(outcome.record, {name: memory.read(addresses[name], size) for name, size in case.written.items()})
    memory.write(COMPLETION, bytes(32))
    for name, size in case.written.items():
        memory.write(addresses[name], case.buffers[name].content[:size])
    assert memory.pages() == before


@pytest.mark.parametrize("overlap_copy", [True, False])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in MOVES])
def test_memory_move_without_overlap_support(case: vectors.Case, overlap_copy: bool) -> None:
    """Where the device cannot, an overlapping move is refused with 0x16 and moves nothing."""
    memory = Memory()
    addresses = place(case, memory)
    before = memory.read(addresses["arena"], case.written["arena"])
    limits = Limits(GENCAP_OF_VECTORS.replace(overlap_copy=overlap_copy))
    outcome = execute(case.descriptor(addresses, COMPLETION), memory, limits)
    if case.vector["overlap"] and not overlap_copy:
        assert outcome.status is CompletionStatus.OVERLAP_BUFFERS
        assert memory.read(addresses["arena"], len(before)) == before
    else:
        assert outcome.status is CompletionStatus.SUCCESS


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in DOCUMENT["groups"]["crc16_t10dif"]])
def test_dif_guard(vector: dict[str, Any]) -> None:
    """The guard of any length of data, plain and inverted, big-endian in memory."""
    data, seed = vectors.content(vector["bufs"]["src"]), vectors.number(vector["seed"])
    assert crc.guard(data, seed=seed) == vectors.number(vector["expect"]["crc"])
    assert crc.guard(data, seed=seed, inverted=True) == vectors.number(vector["expect"]["crc_inverted"])
    assert crc.guard(data, seed=seed).to_bytes(2, "big").hex() == vector["expect"]["stored_bytes"]


@pytest.mark.parametrize("fault", FAULTS)
def test_single_fault_descriptor(fault: vectors.SingleFault) -> None:
    """Each breaks one rule, gets a status that applies, and changes no memory but its record."""
    memory = Memory()
    regions = {name: (index + 1) << 28 for index, name in enumerate(vectors.REGIONS)}
    for base in regions.values():
        memory.place(base, b"\x5a" * 16384)
    outcome = execute(fault.descriptor(regions), memory, LIMITS, in_batch=fault.in_batch)
    assert outcome.status in (fault.accept or [CompletionStatus.SUCCESS]), fault.why
    if not fault.accept:
        return
    assert outcome.rule, "a refusal says which rule was broken"
    for name, base in regions.items():
        assert name == "C" or memory.read(base, 16384) == b"\x5a" * 16384
    if outcome.status is CompletionStatus.INVALID_FLAGS and outcome.record:
        assert InvalidFlagsRecord.unpack(outcome.record).invalid_flags


def test_every_operation_has_vectors() -> None:
    """Of those that compute something."""
    computing = {Opcode.MEMMOVE, Opcode.MEMFILL, Opcode.COMPARE, Opcode.COMPVAL, Opcode.CR_DELTA, Opcode.AP_DELTA,
                 Opcode.DUALCAST, Opcode.CRCGEN, Opcode.COPY_CRC, Opcode.DIF_CHECK, Opcode.DIF_INS, Opcode.DIF_STRP,
                 Opcode.DIF_UPDT, Opcode.DIX_GEN}  # fmt: skip
    assert {
        Opcode(vector["opcode"]) for group in DOCUMENT["groups"].values() for vector in group if "opcode" in vector
    } == computing
