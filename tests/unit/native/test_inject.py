"""Fault injection in the engine: each effect exactly, where and when, and that what is held always ends."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine_bench import BATCH, CRAV, DRAIN, FILL, GENCAP, MOVE, NOOP, RCI, RCR, Bench, Client, bench, descriptor
from engine_rules import ALL64, faults, hits, install, rule, traced
from waiting import wait_until

from idxdd import native
from idxdd.spec.codes import CompletionStatus as S
from idxdd.spec.codes import Operand

MS = 1_000_000
LONG_NS = 500_000 * MS
"""Longer than any test: what ends before was let go."""
SOURCE, DESTINATION, LIST, RECORDS = 0x0, 0x10000, 0x20000, 0x30000


@pytest.fixture
def engine() -> Iterator[Bench]:
    with bench() as made:
        made.wq(0)
        yield made


def filled(client: Client, size: int = 0x2000) -> bytes:
    """Put a pattern into the source; returns it."""
    pattern = bytes(i * 7 & 0xFF for i in range(size))
    client.memory[SOURCE : SOURCE + size] = pattern
    return pattern


def record_at(number: int) -> int:
    return RECORDS + 32 * number


def move(client: Client, number: int = 0, size: int = 0x1000, *, to: int = DESTINATION, flags: int = 0, **more: Any) -> bytes:
    """A move whose record lies at `number`."""
    base = client.base
    return descriptor(MOVE, CRAV | RCR | flags, base + record_at(number), base + SOURCE, base + to, size, **more)


def status(client: Client, number: int = 0) -> int:
    return client.record(record_at(number))[0]


def completed(client: Client, number: int = 0) -> int:
    return int.from_bytes(client.record(record_at(number))[4:8], "little")


def answer(engine: Bench, exit: native.Exit, action: int, code: int = 0) -> list[native.Exit]:
    engine.engine.resume(exit.context, exit.generation, action, code)
    return engine.run(4)


# ---- statuses --------------------


@pytest.mark.parametrize(
    "code", [S.HW_ERR1, S.HW_ERR_DRB, S.BAD_OPCODE, S.XFER_ERANGE, S.DIF_ERR, S.DOMAIN_GONE, S.SUCCESS_PRED]
)
def test_any_status_instead_of_the_operation(engine: Bench, code: S) -> None:
    """The record says what the rule says, and not a byte was moved: programs meet every code they must handle."""
    client = engine.client()
    filled(client)
    install(engine, rule(native.RULE_STATUS, status=code, result=5, bytes_completed=0x123))
    client.publish(move(client))
    engine.run(3)
    record = client.record(record_at(0))
    assert record[:2] == bytes([code, 5])
    assert completed(client) == 0x123
    assert not any(client.memory[DESTINATION : DESTINATION + 0x1000])
    assert hits(engine) == [1]


def test_a_fault_status_has_its_address_operand_and_direction(engine: Bench) -> None:
    """0x83 as a whole: what a partial completion looks like without a page that is missing."""
    client = engine.client()
    fields = {
        "status": S.PAGE_FAULT_NOBOF | 0x80,
        "bytes_completed": 64,
        "fault_address": 0xABC000,
        "operand": Operand.DESTINATION1,
    }
    install(engine, rule(native.RULE_STATUS, **fields))
    client.publish(move(client))
    engine.run(3)
    record = client.record(record_at(0))
    assert record[0] == 0x83
    assert record[2] == Operand.DESTINATION1 << 1
    assert completed(client) == 64
    assert int.from_bytes(record[8:16], "little") == 0xABC000


def test_invalid_flags_carry_their_mask(engine: Bench) -> None:
    """0x11 names flags at byte 16."""
    client = engine.client()
    install(engine, rule(native.RULE_STATUS, status=S.INVALID_FLAGS, invalid_flags=0x4020))
    client.publish(move(client))
    engine.run(3)
    assert status(client) == S.INVALID_FLAGS
    assert client.record(record_at(0))[16:19] == b"\x20\x40\x00"


def test_a_status_that_no_record_may_have_is_reported(engine: Bench) -> None:
    """0x1B goes to SWERR or the event log and never to the record, injected or not."""
    client = engine.client()
    install(engine, rule(native.RULE_STATUS, status=S.CRA_ALIGN))
    client.publish(move(client))
    (error,) = engine.run(3)
    assert error.kind == native.EXIT_ERROR
    assert error.status == S.CRA_ALIGN
    assert not error.record_written
    answer(engine, error, native.RESUME_FINISH)
    assert status(client) == 0
    assert client.get("done") == 1


def test_a_batch_that_ends_with_a_status_runs_no_member(engine: Bench) -> None:
    """The rule means the Batch, not its members."""
    client = engine.client()
    client.memory[LIST : LIST + 128] = client.noop(record_at(1)) + client.noop(record_at(2))
    install(engine, rule(native.RULE_STATUS, status=S.HW_ERR1, opcodes=(BATCH,)))
    client.publish(descriptor(BATCH, CRAV | RCR, client.base + record_at(0), client.base + LIST, 0, 2))
    engine.run(3)
    assert [status(client, i) for i in range(3)] == [S.HW_ERR1, 0, 0]


# ---- faults --------------------


@pytest.mark.parametrize("offset", [0, 1, 1000, 0xFFF, 0x1000, 0x1FFF])
@pytest.mark.parametrize("operand", [Operand.SOURCE1, Operand.DESTINATION1])
def test_a_fault_at_any_byte_has_the_exact_partial_result(engine: Bench, operand: Operand, offset: int) -> None:
    """As if the page were not there: FAULT exit, bytes before it moved, none after; a retry finds the page."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_FAULT, operand=operand, offset=offset))
    client.publish(move(client, 0, 0x2000), move(client, 1, 0x2000, to=0x14000))
    first, second = faults(engine.run(3))
    start = client.base + (SOURCE if operand == Operand.SOURCE1 else DESTINATION)
    assert (first.address, first.operand, first.write) == (start + offset, operand, operand == Operand.DESTINATION1)
    answer(engine, first, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
    assert status(client) & 0x3F == S.PAGE_FAULT_NOBOF
    assert completed(client) == offset
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x2000]) == pattern[:offset].ljust(0x2000, b"\0")
    assert not answer(engine, second, native.RESUME_RETRY), "once a descriptor"
    assert status(client, 1) == S.SUCCESS
    assert bytes(client.memory[0x14000:0x16000]) == pattern
    assert hits(engine) == [2]


@pytest.mark.parametrize("offset", [0, 5, 0x1234, 0x1FFF])
@pytest.mark.parametrize("operand", [Operand.SOURCE1, Operand.DESTINATION1])
def test_a_move_backwards_faults_from_its_end(engine: Bench, operand: Operand, offset: int) -> None:
    """Overlapping moves run from the end: Bytes Completed counts from there, result 1."""
    client = engine.client()
    pattern, ahead = filled(client), 64
    install(engine, rule(native.RULE_FAULT, operand=operand, offset=offset))
    client.publish(move(client, 0, 0x2000, to=SOURCE + ahead))
    (fault,) = faults(engine.run(3))
    answer(engine, fault, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
    moved = 0x2000 - offset - 1
    assert completed(client) == moved
    assert client.record(record_at(0))[1] == 1
    assert bytes(client.memory[SOURCE + 0x2000 - moved + ahead : SOURCE + 0x2000 + ahead]) == pattern[0x2000 - moved :]
    assert fault.address == client.base + (SOURCE if operand == Operand.SOURCE1 else SOURCE + ahead) + offset


def test_a_refused_record_is_a_record_fault(engine: Bench) -> None:
    """As a record page that is missing: parked before the operation, which a retry then carries out whole."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_FAULT, operand=Operand.COMPLETION_RECORD))
    client.publish(move(client), move(client, 1))
    first, second = faults(engine.run(3))
    assert first.operand == Operand.COMPLETION_RECORD
    assert first.address == client.base + record_at(0)
    answer(engine, first, native.RESUME_FAIL, S.CRA_XLAT)
    assert status(client) == 0
    assert client.get("done") == 1
    answer(engine, second, native.RESUME_RETRY)
    assert status(client, 1) == S.SUCCESS
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == pattern[:0x1000]


def test_a_refused_record_can_go_to_the_event_log(engine: Bench) -> None:
    """RESUME_RUN as for a real page: the operation is carried out, its record leaves in an ERROR exit."""
    engine.wq(0, evl_en=True)
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_FAULT, operand=Operand.COMPLETION_RECORD))
    client.publish(move(client))
    (fault,) = faults(engine.run(3))
    (error,) = answer(engine, fault, native.RESUME_RUN)
    assert error.status == S.CRA_XLAT
    assert error.record[0] == S.SUCCESS
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == pattern[:0x1000]


def test_a_list_faults_at_the_member_of_the_offset(engine: Bench) -> None:
    """Batch, operand 1: members before it are done, the batch ends with 0x06."""
    client = engine.client()
    client.memory[LIST : LIST + 256] = b"".join(client.noop(record_at(i)) for i in range(1, 5))
    install(engine, rule(native.RULE_FAULT, operand=Operand.SOURCE1, offset=2 * 64 + 5, opcodes=(BATCH,)))
    client.publish(descriptor(BATCH, CRAV | RCR, client.base + record_at(0), client.base + LIST, 0, 4))
    (fault,) = faults(engine.run(3))
    assert fault.address == client.base + LIST + 2 * 64
    assert not fault.in_batch
    answer(engine, fault, native.RESUME_FAIL, S.BATCH_PAGE_FAULT)
    assert [status(client, i) for i in range(5)] == [S.BATCH_PAGE_FAULT, S.SUCCESS, S.SUCCESS, 0, 0]
    assert completed(client) == 2


def test_a_member_faults_and_its_batch_goes_on(engine: Bench) -> None:
    """A rule for one index of a batch: exactly that member, and the batch ends with 0x05."""
    client = engine.client()
    filled(client)
    client.memory[LIST : LIST + 192] = b"".join(move(client, i, 256) for i in range(1, 4))
    scope = {"scope": native.RULE_MEMBERS, "member_first": 1, "member_last": 1}
    install(engine, rule(native.RULE_FAULT, operand=native.RULE_FIRST_WRITTEN, offset=100, **scope))
    client.publish(descriptor(BATCH, CRAV | RCR, client.base + record_at(0), client.base + LIST, 0, 3))
    (fault,) = faults(engine.run(3))
    assert fault.in_batch
    assert fault.batch_index == 1
    answer(engine, fault, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
    assert [status(client, i) for i in range(4)] == [S.BATCH_FAIL, S.SUCCESS, 0x83, S.SUCCESS]
    assert completed(client, 2) == 100


def test_a_readback_of_a_drain_fails(engine: Bench) -> None:
    """0x1F on demand; operand 2 alone has it."""
    client = engine.client()
    readbacks = 1 << 16 | 1 << 17
    install(engine, rule(native.RULE_FAULT, operand=Operand.SOURCE2))
    client.publish(descriptor(DRAIN, CRAV | RCR | readbacks, client.base + record_at(0), client.base, client.base + 0x1000))
    (fault,) = faults(engine.run(3))
    assert fault.operand == 2
    assert fault.address == client.base + 0x1000
    answer(engine, fault, native.RESUME_FAIL, S.PFAULT_RDBA)
    assert status(client) == S.PFAULT_RDBA


def test_a_rule_whose_operand_is_missing_is_not_tried(engine: Bench) -> None:
    """A no-op has no source, a small move no byte 5000: neither counts as a match, so "the third" is the third that can."""
    client = engine.client()
    filled(client)
    install(engine, rule(native.RULE_FAULT, operand=Operand.SOURCE1, offset=5000, skip=1, hits_max=1))
    client.publish(client.noop(record_at(0)), move(client, 1, 0x1000), move(client, 2, 0x2000), move(client, 3, 0x2000))
    assert len(faults(engine.run(3))) == 1
    assert engine.engine.rule_counters() == [(2, 1)]
    assert [status(client, i) for i in range(4)] == [S.SUCCESS, S.SUCCESS, S.SUCCESS, 0]


# ---- ends --------------------


def test_corrupted_data_with_status_success(engine: Bench) -> None:
    """Exactly the named bytes differ: only who compares will notice."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_CORRUPT, operand=native.RULE_FIRST_WRITTEN, offset=0x800, flip=0x0F, count=3))
    client.publish(move(client))
    engine.run(3)
    wrong = bytearray(pattern[:0x1000])
    for at in range(0x800, 0x803):
        wrong[at] ^= 0x0F
    assert status(client) == S.SUCCESS
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == wrong


def test_a_corrupted_record(engine: Bench) -> None:
    """Any byte of the record, as it is written."""
    client = engine.client()
    install(engine, rule(native.RULE_CORRUPT, operand=Operand.COMPLETION_RECORD, offset=16, flip=0xFF, count=99))
    client.publish(client.noop(record_at(0)))
    engine.run(3)
    assert client.record(record_at(0)) == bytes([1]).ljust(16, b"\0") + b"\xff" * 16


def test_a_dropped_completion(engine: Bench) -> None:
    """The work is done, nobody is told, and the context is free again."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_DROP, hits_max=1))
    client.publish(move(client), client.noop(record_at(1)))
    assert not engine.run(3)
    assert status(client) == 0
    assert status(client, 1) == S.SUCCESS
    assert client.get("done") == 2
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == pattern[:0x1000]
    assert engine.engine.statistics()["contexts"] == 0
    assert engine.statistics(0, "accepted") == engine.statistics(0, "completed") == 2


def test_a_dropped_member_does_not_hold_its_batch(engine: Bench) -> None:
    """The batch goes on behind it and succeeds."""
    client = engine.client()
    client.memory[LIST : LIST + 128] = client.noop(record_at(1)) + client.noop(record_at(2))
    install(engine, rule(native.RULE_DROP, scope=native.RULE_MEMBERS, member_last=0))
    client.publish(descriptor(BATCH, CRAV | RCR, client.base + record_at(0), client.base + LIST, 0, 2))
    engine.run(3)
    assert [status(client, i) for i in range(3)] == [S.SUCCESS, 0, S.SUCCESS]


def test_a_delayed_completion_lets_others_pass(engine: Bench) -> None:
    """Carried out at once, told later; what comes behind is told before."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_DELAY, ns=20 * MS, hits_max=1))
    start = time.monotonic_ns()
    client.publish(move(client), client.noop(record_at(1)))
    engine.run(3)
    if time.monotonic_ns() - start < 20 * MS:
        assert status(client) == 0
        assert client.get("done") == 1
    assert status(client, 1) == S.SUCCESS
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == pattern[:0x1000]
    wait_until(lambda: bool(engine.run(1)) or status(client) == S.SUCCESS)
    assert time.monotonic_ns() - start >= 20 * MS
    engine.run(1)
    assert client.get("done") == 2


def test_delayed_completions_keep_their_order(engine: Bench) -> None:
    """Delays of one length do not turn a stream round."""
    client = engine.client()
    install(engine, rule(native.RULE_DELAY, ns=MS))
    client.publish(*(client.noop(record_at(i)) for i in range(8)))
    engine.run(2)
    seen: list[int] = []

    def look() -> bool:
        engine.run(1)
        seen.append(sum(status(client, i) == S.SUCCESS for i in range(8)))
        assert all(status(client, i) == S.SUCCESS for i in range(seen[-1])), "the first ones first"
        return seen[-1] == 8

    wait_until(look)


def test_a_reordered_completion_waits_for_others(engine: Bench) -> None:
    """Told after two later ones, as engines that finish out of order do."""
    client = engine.client()
    install(engine, rule(native.RULE_REORDER, count=2, ns=LONG_NS, hits_max=1))
    client.publish(client.noop(record_at(0)), client.noop(record_at(1)))
    engine.run(3)
    assert [status(client, i) for i in range(2)] == [0, S.SUCCESS]
    client.publish(client.noop(record_at(2)))
    engine.run(3)
    assert [status(client, i) for i in range(3)] == [S.SUCCESS] * 3


def test_a_reordered_completion_that_waits_in_vain_has_a_time_out(engine: Bench) -> None:
    """Nothing comes behind it: it ends all the same, and so does what waits for it."""
    client = engine.client()
    install(engine, rule(native.RULE_REORDER, count=100, ns=5 * MS))
    client.publish(client.noop(record_at(0)))
    request = engine.engine.wq_drain([0])
    wait_until(lambda: bool(engine.run(1)) or engine.acknowledged(request))
    assert status(client) == S.SUCCESS


@pytest.mark.parametrize("how", ["clear", "swap", "abort", "remove"])
@pytest.mark.parametrize("what", [native.RULE_DELAY, native.RULE_REORDER, native.RULE_SLOW, native.RULE_INTERRUPT_LATE])
def test_what_is_held_always_ends(engine: Bench, what: int, how: str) -> None:
    """Rules cleared or changed, the portal closed, its owner gone: no descriptor stays behind for minutes."""
    client = engine.client()
    engine.engine.handle_config(0, 3, 5, pasid_en=True, pasid=client.pasid)
    install(engine, rule(what, ns=LONG_NS, count=1000))
    client.publish(move(client, flags=RCI, handle=3))
    engine.run(3)
    assert engine.engine.statistics()["contexts"] == 1
    assert client.get("done") == 0
    if how == "clear":
        install(engine)
    elif how == "swap":
        install(engine, rule(native.RULE_DROP, opcodes=(FILL,)))
    elif how == "abort":
        engine.settle(engine.engine.portal_close(client.number, native.STOP_ABORT, native.LAYOUT["closed_revoked"]))
    else:
        engine.leave(client)
    engine.run(3)
    assert engine.engine.statistics()["contexts"] == 0
    if how in ("clear", "swap"):
        assert status(client) == S.SUCCESS
        assert client.get("done") == 1


def test_a_held_descriptor_ends_with_its_engine() -> None:
    """The engine is freed while rules hold, events wait and a batch is under way: nothing hangs, nothing leaks (ASan)."""
    with bench() as engine:
        engine.wq(0)
        client = engine.client()
        install(engine, rule(native.RULE_DELAY, ns=LONG_NS), rule(native.RULE_EVENT))
        client.publish(*(client.noop(record_at(i)) for i in range(40)))
        engine.run(3)
        engine.engine.set_rules(b"")


def test_slow_translation_comes_before_the_operation(engine: Bench) -> None:
    """Nothing is moved while translations take their time: once for each operand."""
    client = engine.client()
    pattern = filled(client)
    install(engine, rule(native.RULE_SLOW, ns=5 * MS))
    start = time.monotonic_ns()
    client.publish(move(client))
    engine.run(1)
    if time.monotonic_ns() - start < 15 * MS:
        assert not any(client.memory[DESTINATION : DESTINATION + 0x1000])
    wait_until(lambda: bool(engine.run(1)) or status(client) == S.SUCCESS)
    assert time.monotonic_ns() - start >= 15 * MS, "source, destination, record"
    assert bytes(client.memory[DESTINATION : DESTINATION + 0x1000]) == pattern[:0x1000]


# ---- interrupts --------------------


def requested(engine: Bench) -> int:
    return engine.statistics(0, "interrupts_requested")


def with_interrupt(engine: Bench) -> Client:
    client = engine.client()
    engine.engine.handle_config(0, 3, 5, pasid_en=True, pasid=client.pasid)
    return client


def test_a_lost_interrupt(engine: Bench) -> None:
    """The record is there, nobody is rung; descriptors that asked for none are not even tried."""
    client = with_interrupt(engine)
    install(engine, rule(native.RULE_INTERRUPT_LOST, hits_max=1))
    client.publish(*(client.noop(record_at(i), RCI if i else 0, handle=3 if i else 0) for i in range(3)))
    engine.run(3)
    assert [status(client, i) for i in range(3)] == [S.SUCCESS] * 3
    assert requested(engine) == 1
    assert engine.engine.rule_counters() == [(2, 1)]


def test_a_late_interrupt(engine: Bench) -> None:
    """The record is visible at once, the interrupt comes later."""
    client = with_interrupt(engine)
    install(engine, rule(native.RULE_INTERRUPT_LATE, ns=20 * MS))
    start = time.monotonic_ns()
    client.publish(client.noop(record_at(0), RCI, handle=3))
    engine.run(3)
    assert status(client) == S.SUCCESS
    wait_until(lambda: bool(engine.run(1)) or requested(engine) == 1)
    assert time.monotonic_ns() - start >= 20 * MS


# ---- full WQs --------------------


def ask(engine: Bench, client: Client, want: int) -> bool:
    """One submission that asks; True: there is room for it."""
    client.set("want", want)
    engine.run(2)
    assert client.get("answered") == want
    return client.get("limit") > client.tail


def test_a_shared_wq_that_is_full_answers_retry(engine: Bench) -> None:
    """Every second submission is turned away; each one is looked at by itself, and afterwards the WQ is as it was."""
    engine.wq(1, dedicated=False, threshold=16)
    client = engine.client(1)
    engine.run(2)
    assert client.get("limit") > 1
    install(engine, rule(native.RULE_FULL, every=2, wqs=1 << 1))
    assert client.get("limit") == 0, "what it was granted before is withdrawn"
    answers = []
    for want in range(1, 7):
        room = ask(engine, client, want)
        answers.append(room)
        if room:
            client.publish(client.noop(record_at(want)))
            engine.run(2)
            assert status(client, want) == S.SUCCESS
    assert answers == [False, True, False, True, False, True]
    assert hits(engine) == [3]
    assert engine.statistics(1, "retries") == 3
    install(engine)
    assert client.get("limit") > client.tail + 1


def test_a_full_wq_has_room_again_when_its_hits_are_used_up(engine: Bench) -> None:
    """first-k: then grants come as ever, without asking."""
    engine.wq(1, dedicated=False, threshold=16)
    client = engine.client(1)
    install(engine, rule(native.RULE_FULL, hits_max=2))
    assert [ask(engine, client, want) for want in (1, 2, 3)] == [False, False, True]
    engine.run(2)
    assert client.get("limit") > client.tail + 1


def test_a_full_wq_of_one_client_has_room_for_others(engine: Bench) -> None:
    """Where: a PASID."""
    engine.wq(1, dedicated=False, threshold=16)
    one, other = engine.client(1, 2), engine.client(1, 3)
    install(engine, rule(native.RULE_FULL, pasid=2))
    assert not ask(engine, one, 1)
    assert ask(engine, other, 1)
    other.publish(*(other.noop(record_at(i)) for i in range(3)))
    engine.run(3)
    assert [status(other, i) for i in range(3)] == [S.SUCCESS] * 3


def test_what_was_published_before_the_wq_was_full_is_served(engine: Bench) -> None:
    """A withdrawn grant does not strand what lies in the slots already."""
    engine.wq(1, dedicated=False, threshold=16)
    client = engine.client(1)
    engine.run(2)
    client.publish(*(client.noop(record_at(i)) for i in range(4)))
    install(engine, rule(native.RULE_FULL))
    engine.run(4)
    assert [status(client, i) for i in range(4)] == [S.SUCCESS] * 4
    assert hits(engine) == [0]


def test_a_dedicated_wq_that_is_full_drops_and_reports(engine: Bench) -> None:
    """As a posted write that met a full WQ: gone, and an OVERFLOW for 0x53."""
    client = engine.client()
    install(engine, rule(native.RULE_FULL, hits_max=1))
    client.publish(client.noop(record_at(0)), client.noop(record_at(1)))
    (overflow,) = engine.run(3)
    assert overflow.kind == native.EXIT_OVERFLOW
    assert overflow.id == 1
    assert [status(client, i) for i in range(2)] == [0, S.SUCCESS]
    assert client.get("done") == 2


def test_a_dedicated_wq_that_is_full_never_answers_retry(engine: Bench) -> None:
    """A client that waits for room before it posts got "retry" instead of a dropped descriptor."""
    client = engine.client()
    engine.run(2)
    install(engine, rule(native.RULE_FULL, hits_max=1))
    assert client.get("limit") > 0
    assert hits(engine) == [0]


# ---- events --------------------


def test_an_event_tells_the_loop_and_nobody_waits(engine: Bench) -> None:
    """The exit names rule and descriptor; the descriptor goes on."""
    client = engine.client()
    install(engine, rule(native.RULE_EVENT, id=77, skip=1, hits_max=1))
    client.publish(client.noop(record_at(0)), move(client, 1), client.noop(record_at(2)))
    (event,) = engine.run(3)
    assert (event.kind, event.id, event.wq, event.portal, event.pasid) == (
        native.EXIT_INJECTED,
        77,
        0,
        client.number,
        client.pasid,
    )
    assert event.desc[7] == MOVE
    assert [status(client, i) for i in range(3)] == [S.SUCCESS] * 3


def test_no_event_is_lost_and_the_exit_ring_never_overflows(engine: Bench) -> None:
    """A loop that does not look: the engine lets descriptors wait, and tells all when it looks."""
    client = engine.client()
    count = 5 * native.RULE_EVENTS_MAX
    install(engine, rule(native.RULE_EVENT, id=9))
    seen = published = 0

    def look() -> bool:
        nonlocal seen, published
        room = min(client.get("limit") - client.tail, count - published)
        client.publish(*(client.noop(record_at(0)) for _ in range(room)))
        published += room
        engine.engine.run(8)
        told = sum(exit.kind == native.EXIT_INJECTED for exit in engine.engine.exits())
        assert told <= native.RULE_EVENTS_MAX
        seen += told
        return client.get("done") == count

    wait_until(look)
    engine.engine.run(1)
    seen += sum(exit.kind == native.EXIT_INJECTED for exit in engine.engine.exits())
    assert seen == count
    assert hits(engine) == [count]


# ---- where and when --------------------


def struck(engine: Bench, client: Client, count: int = 12, **fields: Any) -> list[int]:
    """Which of `count` no-ops a STATUS rule strikes."""
    client.memory[RECORDS : RECORDS + 32 * count] = bytes(32 * count)
    install(engine, rule(native.RULE_STATUS, status=S.HW_ERR1, **fields))
    for start in range(0, count, 12):
        client.publish(*(client.noop(record_at(i)) for i in range(start, min(start + 12, count))))
        engine.run(4)
    return [i for i in range(count) if status(client, i) == S.HW_ERR1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, list(range(12))),
        ({"skip": 2, "hits_max": 1}, [2]),
        ({"hits_max": 3}, [0, 1, 2]),
        ({"every": 4}, [0, 4, 8]),
        ({"every": 4, "skip": 3}, [3, 7, 11]),
        ({"every": 3, "hits_max": 2}, [0, 3]),
        ({"chance": 0}, []),
        ({"not_before_ns": (1 << 64) - 1}, []),
        ({"not_before_ns": 1}, list(range(12))),
        ({"wqs": 2}, []),
        ({"pasid": 9}, []),
        ({"scope": native.RULE_MEMBERS}, []),
        ({"scope": 99}, []),
        ({"flags_mask": RCI, "flags_value": RCI}, []),
        ({"flags_mask": CRAV | RCI, "flags_value": CRAV}, list(range(12))),
        ({"size_min": 1}, []),
        ({"opcodes": (MOVE,)}, []),
    ],
)
def test_where_and_when(engine: Bench, fields: dict[str, Any], expected: list[int]) -> None:
    """n-th, first, every, chance, time; queue, client, flags, size, operation."""
    assert struck(engine, engine.client(), **fields) == expected


def test_same_seed_same_hits(engine: Bench) -> None:
    """A failure found by chance can be had again; another seed is another failure, and other rules do not disturb it."""
    client = engine.client()
    half = {"chance": 1 << 31}
    first = struck(engine, client, 60, seed=7, **half)
    assert 15 < len(first) < 45
    assert struck(engine, client, 60, seed=7, **half) == first
    assert struck(engine, client, 60, seed=8, **half) != first


def test_addresses_of_any_operand(engine: Bench) -> None:
    """A rule about one byte strikes who touches it by source, destination or record, and nobody else."""
    client = engine.client()
    base = client.base
    for first, expected in (
        (SOURCE + 0xFFF, 0),
        (DESTINATION + 0x800, 0),
        (record_at(0) + 31, 0),
        (SOURCE + 0x1000, 1),
        (0x50000, None),
    ):
        client.memory[RECORDS : RECORDS + 64] = bytes(64)
        address = {"address_first": base + first, "address_last": base + first}
        install(engine, rule(native.RULE_STATUS, status=S.HW_ERR1, **address))
        behind = descriptor(FILL, CRAV | RCR, base + record_at(1), 0, base + SOURCE + 0x1000, 64)
        client.publish(move(client), behind)
        engine.run(3)
        assert [i for i in range(2) if status(client, i) == S.HW_ERR1] == ([] if expected is None else [expected])


def test_two_places_of_one_rule_count_together(engine: Bench) -> None:
    """`also`: one rule about two clients strikes their third together, not the third of each."""
    engine.wq(1, dedicated=False, threshold=16)
    one, other, third = engine.client(1, 2), engine.client(1, 3), engine.client(1, 4)
    both = {"status": S.HW_ERR1, "skip": 2, "hits_max": 1}
    install(engine, rule(native.RULE_STATUS, pasid=2, **both), rule(native.RULE_STATUS, pasid=3, also=1, **both))
    for client, number in ((third, 0), (one, 0), (third, 1), (other, 0), (other, 1), (one, 1)):
        client.publish(client.noop(record_at(number)))
        wait_until(lambda client=client, number=number: bool(engine.run(1)) or status(client, number) != 0)
    assert [[status(client, i) for i in range(2)] for client in (one, other, third)] == [[1, 1], [1, S.HW_ERR1], [1, 1]]
    assert engine.engine.rule_counters() == [(4, 1), (0, 0)]


def test_a_descriptor_that_a_check_refuses_keeps_its_status(engine: Bench) -> None:
    """Rules about what is carried out are not tried at it; rules about its end are."""
    client = engine.client()
    install(
        engine, rule(native.RULE_STATUS, status=S.HW_ERR1), rule(native.RULE_FAULT, operand=3), rule(native.RULE_DROP, skip=1)
    )
    client.publish(move(client, 0, 0), move(client, 1, 0))
    engine.run(3)
    assert status(client) == S.XFER_ERANGE
    assert status(client, 1) == 0
    assert engine.engine.rule_counters() == [(0, 0), (0, 0), (2, 1)]


def test_rules_combine(engine: Bench) -> None:
    """Event, fault, corruption, reordering on one descriptor, each at its time; of one kind the first counts."""
    client = engine.client()
    pattern = filled(client)
    install(
        engine,
        rule(native.RULE_EVENT, id=5),
        rule(native.RULE_FAULT, operand=native.RULE_FIRST_READ, offset=10),
        rule(native.RULE_FAULT, operand=native.RULE_FIRST_READ, offset=20),
        rule(native.RULE_CORRUPT, operand=native.RULE_FIRST_WRITTEN, flip=1),
        rule(native.RULE_REORDER, count=1, ns=LONG_NS, hits_max=1),
    )
    client.publish(move(client))
    event, fault = engine.run(3)
    assert event.kind == native.EXIT_INJECTED
    assert fault.address == client.base + SOURCE + 10
    answer(engine, fault, native.RESUME_RETRY)
    assert status(client) == 0, "held for the next one"
    assert bytes(client.memory[DESTINATION : DESTINATION + 2]) == bytes([pattern[0] ^ 1, pattern[1]])
    assert engine.engine.rule_counters() == [(1, 1), (1, 1), (0, 0), (1, 1), (1, 1)]
    install(engine)
    engine.run(2)
    assert status(client) == S.SUCCESS


def test_rules_of_a_batch_and_of_its_members_do_not_mix(engine: Bench) -> None:
    """What is in store for the Batch waits while its members have theirs."""
    client = engine.client()
    client.memory[LIST : LIST + 128] = client.noop(record_at(1)) + client.noop(record_at(2))
    install(
        engine,
        rule(native.RULE_STATUS, status=S.HW_ERR1, scope=native.RULE_MEMBERS, member_last=0),
        rule(native.RULE_CORRUPT, operand=Operand.COMPLETION_RECORD, offset=8, flip=0xA5, opcodes=(BATCH,)),
    )
    client.publish(descriptor(BATCH, CRAV | RCR, client.base + record_at(0), client.base + LIST, 0, 2))
    engine.run(3)
    assert [status(client, i) for i in range(3)] == [S.BATCH_FAIL, S.HW_ERR1, S.SUCCESS]
    assert [client.record(record_at(i))[8] for i in range(3)] == [0xA5, 0, 0]


def test_a_table_that_cannot_be_is_refused() -> None:
    """Half a rule, or too many."""
    with bench() as engine:
        for packed in (b"\0" * 10, rule(native.RULE_DROP) * (native.RULES_MAX + 1)):
            with pytest.raises(native.NativeError):
                engine.engine.set_rules(packed)
        install(engine, *[rule(NOOP)] * native.RULES_MAX)
        assert len(engine.engine.rule_counters()) == native.RULES_MAX


@pytest.mark.parametrize("seed", range(4))
def test_rules_of_any_bytes_do_no_harm(engine: Bench, seed: int) -> None:
    """The Python half refuses what cannot be; whatever reaches the engine, every descriptor ends when the rules are gone."""
    numbers = random.Random(seed)
    client = engine.client()
    filled(client)
    published = 0
    for _ in range(30):
        table = [bytearray(numbers.randbytes(native.LAYOUT["rule"])) for _ in range(8)]
        for packed in table:  # some places that hold
            for name, value in {"rule.wqs": b"\xff" * 8, "rule.pasid": b"\xff" * 4, "rule.opcodes": b"\xff" * 32}.items():
                if numbers.random() < 0.8:
                    packed[native.LAYOUT[name] : native.LAYOUT[name] + len(value)] = value
            if numbers.random() < 0.8:
                packed[native.LAYOUT["rule.what"] : native.LAYOUT["rule.what"] + 4] = bytes([numbers.randrange(13), 0, 0, 0])
        install(engine, *map(bytes, table))
        room = min(client.get("limit") - client.tail, 6)
        client.publish(*(move(client, published + i & 63, numbers.choice([1, 64, 0x1000])) for i in range(room)))
        published += room
        for exit in engine.run(3):
            if exit.kind == native.EXIT_FAULT:
                answer(engine, exit, numbers.choice([native.RESUME_RETRY, native.RESUME_FAIL]), 3)
            elif exit.kind == native.EXIT_ERROR:
                answer(engine, exit, native.RESUME_FINISH)
    engine.engine.set_rules(b"")

    def over() -> bool:
        for exit in engine.run(2):
            if exit.kind in (native.EXIT_FAULT, native.EXIT_ERROR):
                action = native.RESUME_FAIL if exit.kind == native.EXIT_FAULT else native.RESUME_FINISH
                answer(engine, exit, action, 0x1A if exit.operand == Operand.COMPLETION_RECORD else 3)
        return client.get("done") == client.tail

    wait_until(over)


@pytest.mark.parametrize("offset_mode", [False, True])
def test_a_fault_in_another_clients_window(offset_mode: bool) -> None:
    """Inter-domain copy: the byte is counted where its operand's addresses count, and the trace keeps the owner's secret."""
    with bench() as engine:
        engine.wq(0, idcap=ALL64, opcfg=[ALL64, 0, 0, 0], gencap=GENCAP | 1 << 12)
        client, owner = engine.client(), engine.client(1, 3)
        pattern = filled(client)
        window = {"base": owner.base, "size": 0x80000} if offset_mode else {"base": 0, "size": 0}
        entry = {"usable": True, "many": False, "submitter": client.pasid, "read": True, "write": True, "bitmap": 0}
        engine.settle(
            engine.engine.idpt_set(
                0, 2, window_en=offset_mode, offset_mode=offset_mode, space=owner.space, bitmap_space=None, update=False,
                **entry, **window,
            )
        )  # fmt: skip
        engine.settle(engine.engine.trace_on(8))
        install(engine, rule(native.RULE_FAULT, operand=Operand.DESTINATION1, offset=1000))
        to = 0x4000 if offset_mode else owner.base + 0x4000
        handles = bytes(22) + b"\2\0"
        client.publish(
            descriptor(0x23, CRAV | RCR | 2 << 16, client.base + record_at(0), client.base + SOURCE, to, 0x1000, rest=handles)
        )
        (fault,) = faults(engine.run(3))
        assert fault.address == owner.base + 0x4000 + 1000
        answer(engine, fault, native.RESUME_FAIL, S.PAGE_FAULT_NOBOF)
        assert status(client) == 0x83
        assert completed(client) == 1000
        assert bytes(owner.memory[0x4000:0x5000]) == pattern[:1000].ljust(0x1000, b"\0")
        ((one,), _) = traced(engine)
        assert one.fault_address == (0 if offset_mode else owner.base + 0x4000 + 1000)
