"""Descriptors go to the portal byte by byte as the manual lays them out; records come back as typed results."""

import struct

import pytest

from idxd_client import Descriptor, DescriptorAborted, DescriptorError, Flag, OperandError, OpFlag
from idxd_client.results import Result, TxnResult
from idxdd.spec.codes import CompletionStatus, Opcode


def fields(packed: bytes) -> dict[str, int]:
    names = ("pasid", "word1", "record", "operand1", "operand2", "size", "handle", "reserved", "s40", "s48", "s56")
    return dict(zip(names, struct.unpack("<IIQQQIHHQQQ", packed), strict=True))


def test_memmove_puts_source_first_and_destination_second() -> None:
    """The one mistake that would copy the wrong way round."""
    found = fields(Descriptor.memmove(0x2000, 0x1000, 64).pack(0x40))
    assert found == {
        "pasid": 0, "word1": 0x03 << 24 | Flag.CRAV | Flag.RCR, "record": 0x40, "operand1": 0x1000, "operand2": 0x2000,
        "size": 64, "handle": 0, "reserved": 0, "s40": 0, "s48": 0, "s56": 0,
    }  # fmt: skip


def test_no_record_means_no_record_flags() -> None:
    """CRAV without an address, or RCR without CRAV, is an error to the device."""
    found = fields(Descriptor.noop(flags=Flag.FENCE).pack())
    assert (found["word1"], found["record"]) == (int(Flag.FENCE), 0)


LOW, HIGH = 0x0706050403020100, 0x0F0E0D0C0B0A0908


@pytest.mark.parametrize(
    ("descriptor", "opcode", "expected"),
    [
        (Descriptor.fill(0x2000, LOW, 9), Opcode.MEMFILL, {"operand1": LOW, "operand2": 0x2000, "s40": 0}),
        (Descriptor.fill(0x2000, bytes(range(8)), 9), Opcode.MEMFILL, {"operand1": LOW, "s40": 0}),
        (Descriptor.fill(0x2000, bytes(range(16)), 9), Opcode.MEMFILL, {"operand1": LOW, "s40": HIGH}),
        (Descriptor.compare(0x1000, 0x2000, 9, expect=True), Opcode.COMPARE, {"operand1": 0x1000, "s40": 1}),
        (Descriptor.crc(0x1000, 9, seed=0xDEAD), Opcode.CRCGEN, {"operand1": 0x1000, "operand2": 0, "s40": 0xDEAD}),
        (Descriptor.copy_crc(0x2000, 0x1000, 9, seed=5), Opcode.COPY_CRC, {"operand1": 0x1000, "s40": 5}),
        (Descriptor.drain(), Opcode.DRAIN, {"operand1": 0, "operand2": 0, "size": 0}),
    ],
)
def test_operands_lie_where_the_manual_says(descriptor: Descriptor, opcode: Opcode, expected: dict[str, int]) -> None:
    """One row per operation of this library."""
    found = fields(descriptor.pack(0x40))
    assert found["word1"] >> 24 == opcode
    assert {name: found[name] for name in expected} == expected


def test_operation_flags_follow_the_arguments() -> None:
    """A 16-byte pattern, a checked result and CRC64 each need their flag, and nothing else does."""
    assert Descriptor.fill(0, bytes(16), 1).flags == OpFlag.FILL_PATTERN16
    assert Descriptor.fill(0, bytes(8), 1).flags == 0
    assert Descriptor.compare(0, 0, 1).flags == 0
    assert Descriptor.compare(0, 0, 1, expect=False).flags == Flag.CR
    assert Descriptor.crc(0, 1, crc64=True).flags == OpFlag.CRC_SIZE64


def test_sizes_come_from_the_operands() -> None:
    """Without a size, operands that agree give it; operands that do not are refused here, not truncated."""
    short, long = bytearray(8), bytearray(16)
    assert Descriptor.memmove(short, bytearray(8)).size == 8
    assert Descriptor.memmove(0x1000, short).size == 8
    assert Descriptor.memmove(long, short, 4).size == 4
    with pytest.raises(OperandError, match="8, 16"):
        Descriptor.memmove(long, short)
    with pytest.raises(OperandError, match="say which size"):
        Descriptor.memmove(0x1000, 0x2000)


@pytest.mark.parametrize("operand", [b"", -1, 1 << 64, object(), memoryview(bytearray(8))[::2]])
def test_what_has_no_address_is_not_an_operand(operand: object) -> None:
    """Named error, not a crash of the process that owns the memory."""
    with pytest.raises(OperandError, match="crc source"):
        Descriptor.crc(operand, 4)


def test_what_is_read_only_is_a_source_only() -> None:
    """The device reaches it through the agent; a destination must be writable."""
    assert Descriptor.crc(b"read only").size == 9
    with pytest.raises(OperandError, match="memmove destination: needs writable"):
        Descriptor.memmove(b"read only", bytes(9))


def test_only_library_memory_needs_no_agent() -> None:
    """What the daemon may not have mapped is marked, in a batch's members, too."""
    assert not Descriptor.noop().foreign
    assert Descriptor.crc(b"heap").foreign
    assert Descriptor.batch([Descriptor.noop(), Descriptor.crc(b"heap")]).foreign


def test_a_field_that_does_not_fit_is_refused() -> None:
    """The size has 32 bits; silently cut, it would move something else."""
    with pytest.raises(OperandError, match="does not fit"):
        Descriptor.memmove(0x1000, 0x2000, 1 << 32).pack()
    with pytest.raises(OperandError, match="8 or 16"):
        Descriptor.fill(0x1000, b"abc", 8)


def record(status: int, result: int = 0, info: int = 0, done: int = 0, fault: int = 0, low: int = 0, high: int = 0) -> bytes:
    return struct.pack("<BBBxIQIIII", status, result, info, done, fault, low, high, 0, 0)


def test_a_page_fault_is_reported_with_address_and_direction() -> None:
    """Bit 7 says write; it belongs to five statuses only."""
    found = Result(record(0x83, 1, 6, 4096, 0xABC000), Opcode.MEMMOVE)
    assert found.status is CompletionStatus.PAGE_FAULT_NOBOF
    assert (found.write_fault, found.fault_address, found.bytes_completed, found.result, found.fault_info) == (
        True,
        0xABC000,
        4096,
        1,
        6,
    )
    with pytest.raises(
        DescriptorError, match="memmove: status 0x03 PAGE_FAULT_NOBOF, writing 0xabc000, 4096 completed"
    ) as caught:
        found.raise_for_status()
    assert caught.value.result is found


def test_results_are_typed_by_operation() -> None:
    """A CRC is one only where a CRC was asked for."""
    assert Result(record(1, low=0xE3069283, high=1), Opcode.CRCGEN).crc == 0xE3069283, "the upper half is undefined"
    assert Result(record(1, low=2, high=1), Opcode.CRCGEN, OpFlag.CRC_SIZE64).crc == 1 << 32 | 2
    assert Result(record(1, low=7), Opcode.MEMMOVE).crc == 0
    assert Result(record(1, low=30), Opcode.CR_DELTA).delta_record_size == 30
    assert Result(record(0x11, low=0xFF000040), Opcode.NOOP).invalid_flags == 0x40
    assert Result(record(1, 0), Opcode.COMPARE).equal
    assert not Result(record(2, 1, done=17), Opcode.COMPARE).equal
    assert Result(record(2, 1, done=17), Opcode.COMPARE).ok, "a false predicate is a success"


def test_an_aborted_descriptor_is_an_error_even_if_its_record_is_empty() -> None:
    """Kernel channels: the driver's word counts, not the status byte 0."""
    with pytest.raises(DescriptorAborted):
        Result(record(0), Opcode.NOOP, txn=TxnResult.ABORTED).raise_for_status()
    with pytest.raises(DescriptorError):
        Result(record(0x10), Opcode.NOOP, txn=TxnResult.WRITE_FAILED).raise_for_status()
    assert Result(record(0xFF), Opcode.NOOP).status == 0xFF


def test_a_failed_batch_names_its_first_bad_member() -> None:
    """Otherwise a batch of a thousand says only that something went wrong."""
    members = (Result(record(1), Opcode.NOOP), Result(record(0x13), Opcode.MEMMOVE))
    found = Result(record(5, done=2), Opcode.BATCH, members=members)
    assert "member 1: memmove status 0x13 XFER_ERANGE" in found.describe()
