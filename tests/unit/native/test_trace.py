"""The per-descriptor trace: what a record says, in which order, and exactly how much was lost."""

import time
from collections.abc import Iterator

import pytest
from engine_bench import BATCH, CRAV, DRAIN, FENCE, MOVE, NOOP, RCI, RCR, Bench, Client, bench, descriptor
from engine_rules import faults, install, rule, times, trace_on, traced
from waiting import wait_until

from idxdd import native
from idxdd.control.tracerecord import TraceRecord
from idxdd.spec.codes import CompletionStatus as S
from idxdd.spec.codes import Flag, Operand

LIST, RECORDS = 0x20000, 0x30000


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        made.wq(0)
        trace_on(made)
        yield made


def record_at(number: int) -> int:
    return RECORDS + 32 * number


def move(client: Client, number: int = 0, size: int = 256, flags: int = 0) -> bytes:
    return descriptor(MOVE, CRAV | RCR | flags, client.base + record_at(number), client.base, client.base + 0x10000, size)


def run(engine: Bench, client: Client, *descriptors: bytes) -> list[TraceRecord]:
    """What the trace says of these, in the order of their ends."""
    client.publish(*descriptors)
    engine.run(4)
    records, dropped = traced(engine)
    assert not dropped
    return records


def batch(client: Client, *members: bytes, number: int = 0, flags: int = RCR) -> bytes:
    client.memory[LIST : LIST + 64 * len(members)] = b"".join(members)
    return descriptor(BATCH, CRAV | flags, client.base + record_at(number), client.base + LIST, 0, len(members))


def test_a_record_says_what_happened(engine: Bench) -> None:
    """Who, where, what, when; the descriptor's own bytes and the record's as it was written."""
    client = engine.client(pasid=7)
    desc = move(client)
    before = time.monotonic_ns()
    (one,) = run(engine, client, desc)
    after = time.monotonic_ns()
    assert (one.id, one.batch, one.pasid, one.portal, one.wq, one.engine) == (1, 0, 7, client.number, 0, 0)
    assert (one.status, one.why, one.reported, one.rule, one.vector) == (S.SUCCESS, native.WHY_CARRIED_OUT, 0, 0, 0xFFFF)
    assert one.desc == desc
    assert one.record == client.record(record_at(0))
    assert one.flags == native.TRACE_RECORD_WRITTEN
    assert [before, *times(one), after] == sorted([before, *times(one), after]), "CLOCK_MONOTONIC, in order"
    assert one.first_fault_ns == one.interrupt_ns == 0


def test_times_are_monotone_whatever_clock_is_behind_them(engine: Bench) -> None:
    """The cycle counter is compared with the clock again and again: no time goes back, not over thousands of records."""
    client = engine.client()
    last, count = 0, 0
    end = time.monotonic_ns() + 60_000_000
    while time.monotonic_ns() < end:
        for one in run(engine, client, *(move(client, i) for i in range(8))):
            assert times(one) == sorted(times(one))
            assert one.written_ns >= last, "ends are in order"
            last, count = one.written_ns, count + 1
        assert abs(time.monotonic_ns() - last) < 1_000_000_000
    assert count > 100


@pytest.mark.parametrize(
    ("desc", "why", "code"),
    [
        (descriptor(NOOP, CRAV | RCR, 0x10001), native.WHY_RECORD_ALIGNMENT, S.CRA_ALIGN),
        (descriptor(0x3F, CRAV | RCR, 0x40000), native.WHY_OPCODE, S.BAD_OPCODE),
        (descriptor(NOOP, CRAV | RCR | 0x40, 0x40000), native.WHY_FLAGS, S.INVALID_FLAGS),
        (descriptor(NOOP, CRAV | RCR, 0x40000, 1), native.WHY_RESERVED, S.NOZERO_RESERVE),
        (descriptor(MOVE, CRAV | RCR, 0x40000, 0x10000, 0x20000, 0), native.WHY_SIZE, S.XFER_ERANGE),
        (descriptor(BATCH, CRAV | RCR, 0x40000, 0x10000, 0, 0), native.WHY_COUNT, S.DESC_CNT_ERANGE),
        (descriptor(BATCH, CRAV | RCR, 0x40000, 0x10020, 0, 2), native.WHY_LIST_ALIGNMENT, S.DESCLIST_ALIGN),
        (
            descriptor(7, CRAV | RCR, 0x40000, 0x10004, 0x11000, 8, rest=b"\0\0\x02\0\0\0\0\0\x50"),
            native.WHY_ALIGNMENT,
            S.ADDR_ALIGN,
        ),
        (
            descriptor(7, CRAV | RCR, 0x40000, 0x10000, 0x11000, 8, rest=b"\0\0\x02\0\0\0\0\0\x10"),
            native.WHY_FIELD_VALUE,
            S.DR_ERANGE,
        ),
        (descriptor(9, CRAV | RCR, 0x40000, 0x10000, 0x11000, 8, rest=b"\x08\0\x02"), native.WHY_DUALCAST_BITS, S.DCAST_ERR),
        (descriptor(9, CRAV | RCR, 0x40000, 0x11000, 0x11000, 8, rest=b"\0\0\x02"), native.WHY_OVERLAP, S.OVERLAP_BUFFERS),
        (descriptor(NOOP, CRAV | RCR | RCI, 0x40000, handle=9), native.WHY_HANDLE, S.INT_HANDLE_INVAL),
    ],
)
def test_why_names_the_row_that_refused(engine: Bench, desc: bytes, why: int, code: S) -> None:
    """Every row of the order of checks that a descriptor alone can break."""
    client = engine.client()
    client.publish(desc)
    for exit in engine.run(3):
        engine.engine.resume(exit.context, exit.generation, native.RESUME_FINISH, 0)
    engine.run(3)
    ((one,), _) = traced(engine)
    assert (one.why, one.status) == (why, code)
    assert one.reported == (code if code in (S.CRA_ALIGN, S.INT_HANDLE_INVAL) else 0)
    assert one.invalid_flags == (0x40 if code == S.INVALID_FLAGS else 0)


def test_why_of_privilege_and_traffic_classes() -> None:
    """Rows 2, 3 and 17, which need a WQ that forbids."""
    with bench() as engine:
        engine.wq(0, tc_enabled=1)
        trace_on(engine)
        client = engine.client()
        client.publish(descriptor(NOOP, CRAV | RCR | Flag.CR_TCS, 0x40000))
        (refused,) = engine.run(3)
        engine.engine.resume(refused.context, refused.generation, native.RESUME_FINISH, 0)
        engine.run(2)
        client.publish(move(client, flags=Flag.ADDR1_TCS))
        engine.run(3)
        assert [one.why for one in traced(engine)[0]] == [native.WHY_RECORD_TRAFFIC_CLASS, native.WHY_TRAFFIC_CLASS]


def test_a_fault_has_its_time_and_place(engine: Bench) -> None:
    """First fault, by whom, and the end that the loop decided."""
    client = engine.client()
    client.publish(descriptor(MOVE, CRAV | RCR, client.base + record_at(0), client.base, 0x7000_0000, 64))
    (fault,) = faults(engine.run(3))
    engine.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
    engine.run(3)
    ((one,), _) = traced(engine)
    assert (one.why, one.status, one.operand, one.fault_address) == (native.WHY_FAULT, 0x83, Operand.DESTINATION1, 0x7000_0000)
    assert one.dispatched_ns <= one.first_fault_ns <= one.written_ns
    assert one.flags & native.TRACE_FAULT_WRITE


def test_records_that_are_nowhere(engine: Bench) -> None:
    """0x1A: not carried out; with the event log: carried out and logged. Neither was written."""
    engine.wq(0, evl_en=True)
    client = engine.client()
    client.publish(*(descriptor(MOVE, CRAV | RCR, 0x7000_0000, client.base, client.base + 0x10000, 64) for _ in range(2)))
    lost, logged = faults(engine.run(3))
    engine.engine.resume(lost.context, lost.generation, native.RESUME_FAIL, S.CRA_XLAT)
    engine.engine.resume(logged.context, logged.generation, native.RESUME_RUN, 0)
    for exit in engine.run(3):
        engine.engine.resume(exit.context, exit.generation, native.RESUME_FINISH, 0)
    engine.run(3)
    records, _ = traced(engine)
    assert [(one.why, one.written_ns, one.reported) for one in records] == [
        (native.WHY_RECORD_FAULT, records[0].written_ns, 0),
        (native.WHY_RECORD_LOGGED, 0, S.CRA_XLAT),
    ]
    assert not any(one.flags & native.TRACE_RECORD_WRITTEN for one in records)


def test_a_drain_in_the_event_log(engine: Bench) -> None:
    """Page requests are off: 0x26."""
    engine.wq(0, evl_en=True, evl_drains=True)
    client = engine.client()
    client.publish(descriptor(DRAIN, CRAV | RCR, client.base + record_at(0)))
    (error,) = engine.run(3)
    engine.engine.resume(error.context, error.generation, native.RESUME_FINISH, 0)
    engine.run(3)
    ((one,), _) = traced(engine)
    assert (one.why, one.reported, one.written_ns) == (native.WHY_DRAIN_LOGGED, S.DRAIN_EVL, 0)


def test_batches_and_members(engine: Bench) -> None:
    """Each member has its record with the batch's id, and ends before it."""
    client = engine.client()
    failing = move(client, 2, 0)
    *members, whole = run(engine, client, batch(client, client.noop(record_at(1)), failing, client.noop(record_at(3))))
    assert [one.batch for one in members] == [whole.id] * 3
    assert whole.batch == 0
    assert [one.id for one in members] == [whole.id + 1, whole.id + 2, whole.id + 3]
    assert [(one.member, one.why, one.status) for one in members] == [
        (0, native.WHY_CARRIED_OUT, S.SUCCESS),
        (1, native.WHY_SIZE, S.XFER_ERANGE),
        (2, native.WHY_CARRIED_OUT, S.SUCCESS),
    ]
    assert all(one.flags & native.TRACE_MEMBER for one in members)
    assert not whole.flags & native.TRACE_MEMBER
    assert (whole.member, whole.why, whole.status, whole.desc[7]) == (3, native.WHY_MEMBER_FAILED, S.BATCH_FAIL, BATCH)
    assert whole.accepted_ns == members[0].accepted_ns <= whole.dispatched_ns <= members[0].dispatched_ns
    assert members[-1].written_ns <= whole.written_ns


def test_a_fence_that_ends_its_batch(engine: Bench) -> None:
    """Members behind it have no record in the trace: they never were."""
    client = engine.client()
    failing, fenced, banned = move(client, 1, 0), client.noop(record_at(2), FENCE), client.noop(record_at(3))
    *members, whole = run(engine, client, batch(client, failing, fenced, banned))
    assert len(members) == 1
    assert (whole.why, whole.member) == (native.WHY_FENCE, 1)
    nested = batch(client, descriptor(DRAIN, CRAV | RCR, client.base + record_at(1)), client.noop(record_at(2)))
    assert run(engine, client, nested)[0].why == native.WHY_OPCODE_IN_BATCH


def test_interrupts(engine: Bench) -> None:
    """When it was raised, and the vector; a lost one was not."""
    client = engine.client()
    engine.engine.handle_config(0, 3, 5, pasid_en=True, pasid=client.pasid)
    install(engine, rule(native.RULE_INTERRUPT_LOST, skip=1, id=12))
    first, lost = run(engine, client, client.noop(record_at(0), RCI, handle=3), client.noop(record_at(1), RCI, handle=3))
    assert first.vector == 5
    assert first.interrupt_ns >= first.written_ns
    assert (lost.interrupt_ns, lost.rule, lost.why) == (0, 12, native.WHY_CARRIED_OUT)


def test_what_rules_did(engine: Bench) -> None:
    """A status and a drop are the rule's; a delay only names it."""
    client = engine.client()
    install(
        engine,
        rule(native.RULE_STATUS, status=S.HW_ERR1, hits_max=1, id=3),
        rule(native.RULE_DROP, hits_max=1, skip=1, id=4),
        rule(native.RULE_DELAY, ns=1, skip=1, id=5),
    )
    client.publish(*(client.noop(record_at(i)) for i in range(3)))
    wait_until(lambda: bool(engine.run(1)) or client.get("done") == 3)
    ended = {one.id: one for one in traced(engine)[0]}
    assert [(ended[i].rule, ended[i].why, ended[i].status) for i in (1, 2, 3)] == [
        (3, native.WHY_RULE, S.HW_ERR1),
        (4, native.WHY_RULE, S.SUCCESS),
        (5, native.WHY_CARRIED_OUT, S.SUCCESS),
    ]
    assert ended[2].flags & native.TRACE_DROPPED
    assert ended[2].written_ns == 0


def test_what_was_aborted(engine: Bench) -> None:
    """Parked, in the queue, in a batch: each says that it was taken away, and whether it had begun."""
    client = engine.client()
    lost = descriptor(MOVE, CRAV | RCR, client.base + record_at(0), client.base, 0x7000_0000, 64)
    client.publish(lost, batch(client, lost, lost), *(lost for _ in range(30)), client.noop(record_at(1)))
    engine.run(3)
    engine.settle(engine.engine.portal_close(client.number, native.STOP_ABORT, native.LAYOUT["closed_revoked"]))
    records, _ = traced(engine)
    assert all((one.why, one.status, one.written_ns) == (native.WHY_ABORTED, 0, 0) for one in records)
    assert sum(one.dispatched_ns == 0 for one in records) == 1, "32 contexts a portal; the last one was never taken"
    assert sum(one.batch != 0 for one in records) == 1
    assert len(records) == client.get("closed_at") + 1
    assert sorted(one.id for one in records) == list(range(1, len(records) + 1)), "no id twice, none missing"


def test_engines_of_a_group_in_rotation() -> None:
    """As a device with several engines gives descriptors out; members stay with their batch."""
    with bench() as engine:
        engine.wq(0, engines=0b1101)
        trace_on(engine)
        client = engine.client()
        records = run(engine, client, *(client.noop(record_at(i)) for i in range(4)))
        assert [one.engine for one in records] == [2, 3, 0, 2]
        first, second, whole = run(engine, client, batch(client, client.noop(record_at(1)), client.noop(record_at(2))))
        assert first.engine == second.engine == whole.engine == 3


@pytest.mark.parametrize(("ring", "count"), [(1, 5), (7, 7), (7, 8), (16, 100)])
def test_what_is_lost_is_counted_exactly(ring: int, count: int) -> None:
    """The newest stay, in order; the rest is a number, told once."""
    with bench() as engine:
        engine.wq(0)
        trace_on(engine, ring)
        client = engine.client()
        for start in range(0, count, 20):
            client.publish(*(client.noop(record_at(0)) for _ in range(min(20, count - start))))
            engine.run(3)
        records, dropped = traced(engine)
        assert dropped == max(0, count - ring)
        assert [one.id for one in records] == list(range(dropped + 1, count + 1))
        assert traced(engine) == ([], 0)


def test_reading_in_pieces(engine: Bench) -> None:
    """A maximum is a maximum; nothing is told twice or lost between reads."""
    client = engine.client()
    client.publish(*(client.noop(record_at(0)) for _ in range(10)))
    engine.run(3)
    assert [[one.id for one in traced(engine, 4)[0]] for _ in range(4)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_on_off_on(engine: Bench) -> None:
    """Off: no records, no memory, ids go on; what is under way at either moment belongs to no trace."""
    client = engine.client()
    lost = descriptor(MOVE, CRAV | RCR, client.base + record_at(0), client.base, 0x7000_0000, 64)
    client.publish(lost, client.noop(record_at(1)))
    (fault,) = faults(engine.run(3))
    engine.settle(engine.engine.trace_off())
    assert traced(engine) == ([], 0)
    client.publish(client.noop(record_at(2)))
    engine.run(3)
    trace_on(engine, 8)
    engine.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
    engine.run(3)
    (one,) = run(engine, client, client.noop(record_at(3)))
    assert one.desc == client.noop(record_at(3))
    assert one.id > 2
    for records in (0, native.TRACE_RECORDS_MAX + 1):
        with pytest.raises(native.NativeError):
            engine.engine.trace_on(records)


def test_a_thread_is_read_while_it_writes() -> None:
    """The loop reads a small ring that the engine's thread laps: every record is whole, and read plus lost is all there was."""
    with bench() as engine:
        engine.wq(0)
        client = engine.client()
        trace_on(engine, 64)
        engine.engine.start()
        try:
            published = seen = lost = last = 0

            def look() -> bool:
                nonlocal published, seen, lost, last
                room = min(client.get("limit") - client.tail, 3000 - published, 32)
                if room:
                    client.publish(*(client.noop(record_at((published + i) & 63)) for i in range(room)))
                    published += room
                    engine.engine.ring()
                records, dropped = traced(engine, 16)
                for one in records:
                    assert one.id > last
                    assert one.why == native.WHY_CARRIED_OUT
                    assert one.record[0] == S.SUCCESS
                    assert one.desc[:8] == client.noop()[:8]
                    last = one.id
                seen, lost = seen + len(records), lost + dropped
                return seen + lost == 3000 and client.get("done") == 3000

            wait_until(look)
        finally:
            engine.engine.stop()
