"""What the engine keeps without being asked: the last descriptors that did not end well, and counts by operation and status."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import BATCH, CRAV, MOVE, NOOP, RCR, Bench, Client, bench, descriptor

from idxdd import native
from idxdd.control.tracerecord import RECORD_BYTES, TraceFlag, TraceRecord, Why, pack, unpack
from idxdd.native import LAYOUT
from idxdd.native import _native as binding
from idxdd.spec.codes import CompletionStatus

HEADER = Path(native.__file__).parent / "include" / "idxdd" / "trace.h"


@pytest.fixture
def rig() -> Iterator[Bench]:
    """One dedicated WQ."""
    with bench() as made:
        made.wq(0)
        yield made


def kept(rig: Bench) -> list[TraceRecord]:
    """What was not read before."""
    return list(unpack(rig.engine.errors_read()[0]))


def move(client: Client, record: int, size: int, to: int = 0x20000) -> bytes:
    return descriptor(MOVE, CRAV | RCR, client.base + record, client.base + 0x10000, client.base + to, size)


def test_only_what_did_not_end_well_is_kept(rig: Bench) -> None:
    """A check that refused, with its descriptor, record and reason; without a trace there is no id, and the time of its end."""
    client = rig.client()
    refused = move(client, 32, 0)
    client.publish(client.noop(), refused, client.noop(64))
    rig.run()
    (error,) = kept(rig)
    assert (error.desc, error.record, error.status) == (refused, client.record(32), CompletionStatus.XFER_ERANGE)
    assert (error.why, error.wq, error.portal, error.pasid, error.id) == (Why.SIZE, 0, client.number, 2, 0)
    assert error.flags & TraceFlag.RECORD_WRITTEN
    assert error.written_ns > 0
    assert kept(rig) == [], "read once"


def test_a_fault_keeps_its_address(rig: Bench) -> None:
    """What somebody who asks why needs first: where, which operand, read or write."""
    client = rig.client()
    client.publish(move(client, 0, 4096, to=(1 << 20) - 100))
    (fault,) = rig.run()
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, CompletionStatus.PAGE_FAULT_NOBOF)
    rig.run()
    (error,) = kept(rig)
    assert (error.why, error.fault_address, error.bytes_completed) == (Why.FAULT, client.base + (1 << 20), 100)
    assert error.flags & TraceFlag.FAULT_WRITE


def test_members_are_kept_too(rig: Bench) -> None:
    """A batch that failed says nothing by itself: its members tell."""
    client = rig.client()
    members = client.noop(64) + move(client, 96, 0)
    client.memory[0x8000 : 0x8000 + len(members)] = members
    client.publish(descriptor(BATCH, CRAV | RCR, client.base, client.base + 0x8000, 0, 2))
    rig.run(4)
    member, batch = kept(rig)
    assert (member.why, bool(member.flags & TraceFlag.MEMBER)) == (Why.SIZE, True)
    assert (batch.why, batch.status) == (Why.MEMBER_FAILED, CompletionStatus.BATCH_FAIL)


def test_the_last_ones_are_kept(rig: Bench) -> None:
    """A flood of errors costs no more memory, and says how many are gone."""
    client = rig.client()
    sizes = []
    for _ in range(20):
        client.publish(*[move(client, 0, 0, to=len(sizes) + i) for i in range(20)])
        sizes += range(20)
        rig.run(4)
    records, dropped = rig.engine.errors_read()
    found = list(unpack(records))
    assert len(found) == binding.ERRORS_KEPT
    assert dropped == 400 - binding.ERRORS_KEPT
    assert int.from_bytes(found[-1].desc[24:32], "little") == client.base + 399


def test_with_a_trace_they_carry_its_id(rig: Bench) -> None:
    """So that the error leads to the rest of the story."""
    client = rig.client()
    rig.settle(rig.engine.trace_on(16))
    client.publish(client.noop(), move(client, 32, 0))
    rig.run()
    (error,) = kept(rig)
    traced = list(unpack(rig.engine.trace_read(16)[0]))
    assert [record.id for record in traced] == [1, 2]
    assert error == traced[1]._replace(interrupt_ns=0)


def test_ends_are_counted_by_operation_and_status(rig: Bench) -> None:
    """Members count as well; 0x01 has no counter: it is what the others leave."""
    client = rig.client()
    client.publish(client.noop(), client.noop(), move(client, 32, 64), move(client, 64, 0), descriptor(0xC0, CRAV, client.base))
    rig.run()
    operations, statuses = rig.engine.wq_counts(0)
    assert operations == {NOOP: 2, MOVE: 2, 63: 1}
    assert statuses == {CompletionStatus.XFER_ERANGE: 1, CompletionStatus.BAD_OPCODE: 1}
    assert rig.engine.wq_counts(1) == ({}, {})
    with pytest.raises(ValueError, match="not below"):
        rig.engine.wq_counts(64)


def test_the_record_is_the_headers() -> None:
    """Size, order and reasons as trace.h has them."""
    assert LAYOUT["trace_record"] == RECORD_BYTES
    names = [name for name in TraceRecord._fields if name != "record"]
    offsets = [LAYOUT[f"trace_record.{name}"] for name in names]
    assert offsets == sorted(offsets)
    raw = bytes(range(RECORD_BYTES))
    (record,) = unpack(raw)
    for name, value in record._asdict().items():
        size = len(value) if isinstance(value, bytes) else {"Q": 8, "I": 4, "H": 2, "B": 1}[FIELD_SIZES[name]]
        at = LAYOUT[f"trace_record.{name}"]
        assert (value if isinstance(value, bytes) else value.to_bytes(size, "little")) == raw[at : at + size], name
    assert pack(record)[:93] == raw[:93]
    header = dict(re.findall(r"IDXDD_WHY_(\w+) = (\d+)", HEADER.read_text()))
    assert {why.name: str(int(why)) for why in Why} == header


FIELD_SIZES = dict(zip(TraceRecord._fields, "QQQQQQQQIIIIHHHBBBBBBB", strict=False))
