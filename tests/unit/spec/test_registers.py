"""The register map as a whole: a golden file holds every register and field, and nothing lies on anything else.

A layout that shifts by a bit breaks drivers silently; here it shows as a changed line.
"""

import itertools
from pathlib import Path

import pytest

from idxdd.spec import codes, limits
from idxdd.spec.codes import Command, CompletionStatus, DriverStatus, Opcode
from idxdd.spec.layout import Field, PciRegister, Record, Register, Table
from idxdd.spec.pci import PCI_CONFIG
from idxdd.spec.records import RECORDS, VIEWS, CompletionRecord, Descriptor, EventLogEntry
from idxdd.spec.registers import (
    CAPABILITIES,
    CMD,
    DSACAP0,
    ENGCAP,
    GENCAP,
    GRPCAP,
    GRPCFG,
    INTCAUSE,
    MSIXPERM,
    PERFMON,
    REGISTERS,
    SWERR,
    TABLES,
    WQCAP,
    WQCFG,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "registers.txt"


def lines_of(register: type[Register]) -> list[str]:
    space = "pci" if issubclass(register, PciRegister) else "bar0"
    place = f"{register.offset:#06x}"
    if issubclass(register, Table):
        base = f"{register.base.path}+" if register.base is not None else ""
        stride = register.stride.path if isinstance(register.stride, Field) else register.stride
        count = register.count.path if isinstance(register.count, Field) else register.count
        place = f"{base}{place} stride {stride} count {count}"
    flags = ("", " fixed")[register.fixed] + ("", " kept")[register.kept]
    how = f"width {register.width_bits} {register.access.name}{flags} {register.reset:#x}"
    lines = [f"{register.__name__} {space} {place} {how}"]
    for field in register.fields.values():
        reset = field.reset.path if isinstance(field.reset, Field) else f"{field.reset:#x}"
        unit = f" unit {field.unit:#x}" if field.unit > 1 else ""
        fixed = " fixed" if field.fixed else ""
        lines.append(f"{field.path} {field.high}:{field.low} {field.access.name}{fixed} {reset} {field.kind.__name__}{unit}")
    return lines


def lines_of_record(record: type[Record]) -> list[str]:
    base = next(base.__name__ for base in record.__mro__[1:] if issubclass(base, Record))
    lines = [f"{record.__name__} {base} size {record.size_bytes}"]
    own = [field for field in record.fields.values() if field.owner is record]
    return lines + [f"{field.path} byte {field.byte} bits {field.high}:{field.low} {field.kind.__name__}" for field in own]


def test_register_map_is_the_golden_one() -> None:
    """A deliberate change is made here by hand, after looking at every line of the difference."""
    registers = itertools.chain(REGISTERS, TABLES, PERFMON, PCI_CONFIG)
    found = [line for register in registers for line in lines_of(register)]
    found += [line for record in RECORDS for line in lines_of_record(record)]
    assert found == GOLDEN.read_text().splitlines()


def test_fixed_registers_ascend_without_overlap() -> None:
    """Two registers on one byte would make bus writes ambiguous."""
    for lower, upper in itertools.pairwise(REGISTERS):
        assert lower.offset + lower.width_bytes <= upper.offset
    for first, second in itertools.pairwise(PCI_CONFIG):
        assert first.offset + first.width_bytes <= second.offset


@pytest.mark.parametrize(
    ("record", "size"),
    [(Descriptor, 64), (CompletionRecord, 32), (EventLogEntry, 64)],
)
def test_record_sizes(record: type[Record], size: int) -> None:
    """What hardware and every client agree on."""
    assert (record.size_bytes, len(record(0).pack())) == (size, size)


def test_every_operation_has_a_view() -> None:
    """Whoever prints a descriptor prints it with its operation's names."""
    assert set(VIEWS) == set(Opcode)


def test_every_driver_status_has_a_text_and_its_number() -> None:
    """sysfs prints the value, idxdctl the text."""
    for status in DriverStatus:
        assert status.text
        assert status >> 31 == 1
    assert DriverStatus.WQ_NO_DRV_NAME.number == 0x20


def test_published_sample_values_decode_as_published() -> None:
    """Capability words of real devices, decoded as the tools that list them print them."""
    sample = GENCAP(0x1833F215F)
    assert (sample.max_xfer_shift, 1 << sample.max_batch_shift, sample.evl_support, sample.ims_entries) == (31, 512, 1, 256)
    assert (sample.block_on_fault, sample.cmd_cap, sample.dest_readback, sample.config_en, sample.evl_overflow) == (True,) * 5
    third = DSACAP0(0x0014000E000007AA)
    assert (1 << third.max_sgl_shift, 1 << third.max_gather_reduce_shift, third.sgl_formats, third.max_sg_descs) == (
        1024, 1024, 0b1110, 20,
    )  # fmt: skip


def test_capability_registers_are_read_only() -> None:
    """No bus write changes what a device is."""
    assert {GENCAP, WQCAP, GRPCAP, ENGCAP} <= CAPABILITIES
    for register in CAPABILITIES:
        assert {field.access.name for field in register.fields.values()} == {"RO"}


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (CMD.encode(command=Command.ENABLE_WQ, operand=3, int_req=True), 0x8060_0003),
        (INTCAUSE.encode(err=True, int_handle_revoked=True), 0x8000_0001),
        (SWERR.encode(valid=True, error=0x53, wq_idx=7, wq_idx_valid=True, desc_valid=True), 0x07530D),
        (MSIXPERM.encode(pasid=0x12345, pasid_en=True, ignore=True), 0x1234500C),
        (
            WQCFG.encode(wq_size=16, wq_thresh=15, mode=1, priority=10, pasid=5, pasid_en=True),
            16 | 15 << 32 | (1 | 10 << 4 | 5 << 8 | 1 << 28) << 64,
        ),
        (GRPCFG.encode(tc_a=1, tc_b=1, rdbufs_allowed=0x60), (0x60 << 20 | 9) << 320),
    ],
)  # fmt: skip
def test_encoded_words(value: Register, raw: int) -> None:
    """Words worked out by hand from the manual's bit numbers."""
    assert value.raw == raw


def test_codes_are_one_value_one_name() -> None:
    """A status with two names would be printed under the wrong one; operation flags alone share bits on purpose."""
    for kind in (codes.Opcode, codes.CompletionStatus, codes.CmdErr, codes.Command, codes.DriverStatus, codes.Flag):
        assert len(kind.__members__) == len(set(kind))
    assert {status for status in CompletionStatus if status > 0x3F} == {0x51, 0x52, 0x53, 0x54}
    assert limits.WQ_PORTAL_STRIDE_BYTES == 0x4000
