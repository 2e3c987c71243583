"""The model's checks against a table written by hand: a wrong row in both model and engine would agree with itself."""

import pytest
from operation_rules import Rules, check_flags, check_reserved, rules

from idxdd.spec.codes import CompletionStatus
from idxdd.spec.records import CompletionRecord
from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

COMPLETION = 0x10000
GENCAP_FULL = GENCAP.encode(
    block_on_fault=True, cache_control=True, durable_write=True, dest_readback=True, drain_readback=True, fill16=True,
    crc64=True, batch_continuation=True, translation_fetch_stride=True,
)  # fmt: skip
LIMITS = reference.Limits(GENCAP_FULL, int_handles=frozenset({0}))
every_operation = pytest.mark.parametrize("row", [pytest.param(row, id=row.opcode.name) for row in rules()])


def execute(desc: bytes, limits: reference.Limits = LIMITS) -> CompletionRecord:
    """Nothing but the record is there; all zero if none was written."""
    memory = reference.Memory()
    memory.map(COMPLETION, 32)
    reference.execute(desc, memory, limits, domains=reference.Domains(2, {}, {2: memory}))
    return CompletionRecord.unpack(memory.read(COMPLETION, 32))


def test_table_is_complete() -> None:
    """Every operation of the model has a row, and no other."""
    assert {row.opcode for row in rules()} == set(reference.OPERATIONS)


@every_operation
def test_flags(row: Rules) -> None:
    """0x11 for exactly the flags that the operation does not take or lacks, with exactly these in the mask."""
    check_flags(row, execute, COMPLETION)


@every_operation
def test_reserved_bytes(row: Rules) -> None:
    """0x12 for exactly the bytes that must be zero."""
    check_reserved(row, execute, COMPLETION)


CAPABILITY_OF = {
    "block_on_fault": ("MEMMOVE", 1 << 1), "cache_control": ("MEMMOVE", 1 << 8), "dest_readback": ("MEMMOVE", 1 << 14),
    "durable_write": ("MEMMOVE", 1 << 5), "fill16": ("MEMFILL", 1 << 18), "crc64": ("CRCGEN", 1 << 19),
    "drain_readback": ("DRAIN", 1 << 16), "batch_continuation": ("BATCH", 1 << 16),
    "translation_fetch_stride": ("TRANSL_FETCH", 1 << 16),
}  # fmt: skip


@pytest.mark.parametrize("capability", CAPABILITY_OF)
def test_flags_follow_capabilities(capability: str) -> None:
    """Each flag that needs a capability is refused without it, and only then."""
    name, flag = CAPABILITY_OF[capability]
    desc = bytearray(64)
    opcode = next(row.opcode for row in rules() if row.opcode.name == name)
    desc[4:7], desc[7], desc[8:16] = (0x0C | flag).to_bytes(3, "little"), opcode, COMPLETION.to_bytes(8, "little")
    without = reference.Limits(GENCAP_FULL.replace(**{capability: False}))
    assert execute(bytes(desc)).code != CompletionStatus.INVALID_FLAGS
    assert execute(bytes(desc), without).code == CompletionStatus.INVALID_FLAGS
