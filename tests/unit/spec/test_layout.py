"""The declaration language refuses what cannot be right, and encodes and decodes without loss.

Device, driver, clients and the C header all take their layouts from it: a mistake here is one everywhere.
"""

from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd.spec.codes import CompletionStatus, DeviceState, Operand, ResetType
from idxdd.spec.layout import (
    RO,
    RW,
    W1C,
    Field,
    Layout,
    LayoutError,
    Record,
    Register,
    Table,
    bit,
    bits,
    data,
    reserved,
    u8,
    u32,
)
from idxdd.spec.pci import PCI_CONFIG
from idxdd.spec.records import RECORDS, CompletionRecord, CrcRecord, Descriptor, MemmoveDescriptor, view
from idxdd.spec.registers import (
    EVLCFG,
    GENCFG,
    GENSTS,
    GRPCAP,
    INTCAUSE,
    OFFSETS,
    OPCAP,
    PERFMON,
    REGISTERS,
    SWERR,
    TABLES,
    WQCAP,
    WQCFG,
)

LAYOUTS: list[type[Layout]] = [*REGISTERS, *TABLES, *PERFMON, *PCI_CONFIG, *RECORDS]


class Wide(IntEnum):
    """Needs three bits."""

    LARGE = 4


@pytest.mark.parametrize(
    ("fields", "width", "rule"),
    [
        ({"a": bits(7, 0), "b": bits(8, 7)}, 32, "X.b: overlaps a"),
        ({"a": bits(32, 31)}, 32, "X.a: bits 32:31 are not inside 0..31"),
        ({"a": bits(0, 4)}, 32, "X.a: bits 0:4 are not inside"),
        ({"a": bits(1, 0, at=4)}, 32, "X.a: bits 33:32 are not inside"),
        ({"a": bits(1, 0, reset=4)}, 32, "X.a: reset value 0x4 does not fit 2 bits"),
        ({"a": bits(1, 0, Wide)}, 32, "X.a: Wide does not fit 2 bits"),
        ({"raw": bits(1, 0)}, 32, "X.raw: the name is taken"),
        ({"reset": bits(1, 0)}, 32, "X.reset: the name is taken"),
        ({"replace": bits(1, 0)}, 32, "X.replace: the name is taken"),
    ],
)
def test_impossible_registers_fail_when_declared(fields: dict[str, Any], width: int, rule: str) -> None:
    """At import, naming register, field and rule."""
    with pytest.raises(LayoutError) as caught:
        type("X", (Register,), dict(fields), offset=0, width=width)
    assert rule in str(caught.value)


@pytest.mark.parametrize(("offset", "width", "reset"), [(2, 32, 0), (4, 64, 0), (0, 12, 0), (0, 8, 256)])
def test_impossible_places_fail_when_declared(offset: int, width: int, reset: int) -> None:
    """A register is aligned to its width and holds its reset value."""
    with pytest.raises(LayoutError):
        type("X", (Register,), {}, offset=offset, width=width, reset=reset)


def test_an_entry_wider_than_its_stride_fails() -> None:
    """Two entries of a table would lie on each other."""
    with pytest.raises(LayoutError, match="does not fit its stride"):
        type("X", (Table,), {"a": bit(0)}, stride=8, count=4, width=128)


@pytest.mark.parametrize(
    ("fields", "size", "rule"),
    [
        ({"a": u32(0)}, 8, "byte 4 of 8 belongs to no field"),
        ({"a": u32(0), "b": u32(6)}, 10, "byte 4 of 10 belongs to no field"),
        ({"a": u32(0), "b": u8(4)}, 4, "X.b: bits 39:32 are not inside"),
        ({"a": u32(0), "_rsvd": reserved(3, 5)}, 8, "X._rsvd: overlaps a"),
        ({"a": Field(11, 4, bytes, "", None, 0, None, 1)}, 2, "X.a: bytes must begin and end on a byte"),
    ],
)
def test_impossible_records_fail_when_declared(fields: dict[str, Any], size: int, rule: str) -> None:
    """A record declares each of its bytes, once."""
    with pytest.raises(LayoutError) as caught:
        type("X", (Record,), dict(fields), size=size)
    assert rule in str(caught.value)


def test_a_view_may_refine_a_field_but_not_straddle_two() -> None:
    """A view names the operands of one operation inside the fields all operations share."""

    class Base(Record, size=8):
        first = u32(0)
        second = data(4, 4)

    class Good(Base):
        low = bits(15, 0, at=4)

    assert list(Good.fields) == ["first", "low"]
    with pytest.raises(LayoutError, match="lies across the end of first"):
        type("Bad", (Base,), {"across": bits(15, 0, at=3)})


def test_a_value_prints_and_compares_by_fields() -> None:
    """What a log or a failed assertion shows must be readable."""
    halted = GENSTS.encode(state=DeviceState.HALT, reset_type=ResetType.FLR)
    assert repr(halted) == "GENSTS(state=HALT, reset_type=FLR)"
    assert halted == GENSTS(7) != GENSTS(3)
    assert hash(halted) == hash(GENSTS(7))
    assert halted.state is DeviceState.HALT
    assert GENSTS(7) != INTCAUSE(7)
    assert hex(halted) == "0x7"


def test_a_value_cannot_be_changed() -> None:
    """A register that was read stays what was read."""
    for name in ("raw", "state", "other"):
        with pytest.raises(AttributeError, match="is a value"):
            setattr(GENSTS(0), name, 1)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: GENSTS.encode(state=4), "GENSTS.state: 0x4 is not 0..0x3"),
        (lambda: GENSTS.encode(state=-1), "GENSTS.state: -0x1 is not"),
        (lambda: GENSTS.encode(mode=1), "GENSTS: no field 'mode', it has state, reset_type"),
        (lambda: GENSTS.encode(state="HALT"), "GENSTS.state: 'HALT' is not of type DeviceState"),
        (lambda: GENSTS(1 << 32), "GENSTS: 0x100000000 does not fit 32 bits"),
        (lambda: EVLCFG.encode(log_base=0x1001), "EVLCFG.log_base: 0x1001 is not"),
        (
            lambda: CompletionRecord.encode(op_specific=b"short"),
            "CompletionRecord.op_specific: 5 bytes given, holds exactly 16",
        ),
        (lambda: CompletionRecord.encode(op_specific=0), "CompletionRecord.op_specific: 0 is not of type bytes"),
        (lambda: Descriptor.unpack(b"short"), "Descriptor: 5 bytes given, needs 64"),
        (lambda: GENCFG.initial(), "GRPCAP.total_rdbufs is needed, and no GRPCAP was given"),
    ],
)
def test_what_does_not_fit_is_named(make: Any, rule: str) -> None:
    """One line that says which field and what it can hold."""
    with pytest.raises((ValueError, LookupError)) as caught:
        make()
    assert rule in str(caught.value)


def test_undefined_codes_stay_numbers() -> None:
    """The other side may write anything; reading it back must not fail."""
    assert WQCFG.encode(wq_state=3).wq_state == 3
    assert CompletionRecord.encode(status=0x8F).code == 0x0F
    assert CompletionRecord.encode(status=0x83).code is CompletionStatus.PAGE_FAULT_NOBOF
    assert SWERR.encode(error=0x53).status is CompletionStatus.DWQ_FULL
    assert SWERR.encode(error=0x99).status == 0x99
    assert CompletionRecord(0xE << 16).fault_operand == 7
    assert CompletionRecord.encode(fault_operand=Operand.SGL).to_bytes()[2] == 12


def test_units_are_part_of_the_field() -> None:
    """OFFSETS counts in 0x100 bytes, an aligned address in its alignment: the value is in bytes."""
    assert OFFSETS.encode(wqcfg=0x800).raw == 0x8 << 16
    assert EVLCFG(0x1234_5003).log_base == 0x1234_5000


def test_reset_values_that_depend_on_the_device() -> None:
    """They come from the capability register the declaration names."""
    assert GENCFG.initial(GRPCAP.encode(total_rdbufs=96)).rdbuf_limit == 96
    assert WQCFG.initial(OPCAP.encode(opcodes=0x3FF)).op_config == 0x3FF


def test_table_entries_lie_where_the_capabilities_say() -> None:
    """Base from OFFSETS, stride from WQCAP."""
    where = OFFSETS.encode(wqcfg=0x800), WQCAP.encode(wqcfg_size=1, num_wqs=8)
    assert WQCFG.entry_offset(0, *where) == 0x800
    assert WQCFG.entry_offset(3, *where) == 0x8C0
    assert (WQCFG.stride_bytes(*where), WQCFG.entry_count(*where)) == (64, 8)


def test_access_masks() -> None:
    """The device applies a bus write by these."""
    assert SWERR.access_mask(W1C) == 3
    assert SWERR.access_mask(RO) == SWERR.defined_mask() & ~3
    assert WQCFG.access_mask(RW) == 0xFFFF << 32 | 1 << 176


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@settings(max_examples=25)
@given(chosen=st.data())
def test_encode_and_decode_are_inverse(layout: type[Layout], chosen: st.DataObject) -> None:
    """Whatever the bits, the fields hold all that is defined, and setting them again gives the same bits."""
    raw = chosen.draw(st.integers(0, (1 << layout.width_bits) - 1))
    value = layout(raw)
    again = layout.encode(**value.values())
    assert again.raw == raw & layout.defined_mask()
    assert again.values() == value.values()
    assert int.from_bytes(value.to_bytes(), "little") == raw


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@settings(max_examples=25)
@given(chosen=st.data())
def test_replace_changes_one_field_only(layout: type[Layout], chosen: st.DataObject) -> None:
    """The bits of every other field, and the reserved ones, stay."""
    raw = chosen.draw(st.integers(0, (1 << layout.width_bits) - 1))
    field = chosen.draw(st.sampled_from(list(layout.fields.values())))
    other = layout(chosen.draw(st.integers(0, (1 << layout.width_bits) - 1)))
    changed = layout(raw).replace(**{field.name: field.decode(other.raw)})
    assert changed.raw & ~field.mask == raw & ~field.mask
    assert changed.raw & field.mask == other.raw & field.mask


@given(st.binary(min_size=64, max_size=64), st.integers(0, 9))
def test_any_descriptor_can_be_looked_at(raw: bytes, offset: int) -> None:
    """Unpacking client memory never fails, whatever the opcode."""
    assert view(raw).pack() == raw
    assert repr(view(raw))
    assert Descriptor.unpack(bytes(offset) + raw, offset).pack() == raw


def test_views_share_the_bytes_of_their_base() -> None:
    """One descriptor under two sets of names."""
    move = MemmoveDescriptor.encode(src_addr=0x1000, dst_addr=0x2000, xfer_size=9)
    plain = Descriptor(move.raw)
    assert (plain.operand1, plain.operand2, plain.xfer_size) == (0x1000, 0x2000, 9)
    assert (
        CrcRecord.unpack(CompletionRecord.encode(op_specific=b"\x83\x92\x06\xe3".ljust(16, b"\0")).pack()).crc_value
        == 0xE3069283
    )
