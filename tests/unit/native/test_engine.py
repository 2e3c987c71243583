"""The engine inline, with clients that write their pages by hand: acceptance, grants, close, abort, drain, batch, parking."""

import os
import struct
from collections.abc import Iterator

import pytest
from engine_bench import BATCH, CRAV, DRAIN, FENCE, MOVE, NEVER, NOOP, RCI, RCR, SLOTS, Bench, Client, bench, descriptor
from waiting import wait_until

from idxdd import native

REVOKED = 4


@pytest.fixture
def rig() -> Iterator[Bench]:
    """An engine with dedicated WQ 0 (32 entries) and shared WQ 1 (threshold 4)."""
    with bench() as made:
        made.wq(0, priority=1)  # one turn a visit
        made.wq(1, priority=1, dedicated=False, size=16, threshold=4)
        yield made


def moves(client: Client, count: int, size: int = 64) -> list[bytes]:
    """Moves from 64 KiB on to 128 KiB on, records from 0 on."""
    return [
        descriptor(
            MOVE, CRAV | RCR, client.base + 32 * i, client.base + 0x10000 + i * size, client.base + 0x20000 + i * size, size
        )
        for i in range(count)
    ]


def test_a_move_lands_and_its_record_says_success(rig: Bench) -> None:
    """The plainest path: slot, tail, engine, memory, record, done."""
    client = rig.client(0)
    client.memory[0x10000:0x10040] = bytes(range(64))
    client.publish(*moves(client, 1))
    rig.run()
    assert bytes(client.memory[0x20000:0x20040]) == bytes(range(64))
    assert client.record(0) == b"\x01" + bytes(31)
    assert client.get("done") == 1
    assert rig.statistics(0, "completed") == 1
    assert rig.statistics(0, "bytes") == 64


def test_a_dedicated_portal_is_granted_the_whole_wq(rig: Bench) -> None:
    """Alone on a dedicated WQ a client may have as many descriptors outstanding as the WQ holds."""
    client = rig.client(0)
    assert client.get("limit") == 32
    client.publish(*[client.noop()] * 32)
    rig.run()
    assert client.get("done") == 32
    assert client.get("limit") == 64


def test_nothing_above_the_limit_is_accepted(rig: Bench) -> None:
    """A slot above `limit` stays where it is until the limit reaches it."""
    client = rig.client(1)
    limit = client.get("limit")
    client.publish(*[client.noop()] * (limit + 3))
    accepted = rig.statistics(1, "accepted")
    rig.engine.run(1)
    assert rig.statistics(1, "accepted") - accepted == limit
    rig.run(4)
    assert client.get("done") == limit + 3


def test_grants_never_exceed_the_threshold(rig: Bench) -> None:
    """Several portals of a shared WQ: what they may publish together, with what is queued, is the threshold."""
    clients = [rig.client(1, pasid) for pasid in range(2, 7)]
    for _ in range(20):
        assert sum(client.get("limit") - client.tail for client in clients) <= 4
        for client in clients:
            if client.get("limit") > client.tail:
                client.publish(client.noop())
            else:
                client.set("want", client.get("answered") + 1)
        rig.run()
    assert all(client.get("done") > 0 for client in clients)


def test_who_meets_the_limit_gets_an_answer_and_then_a_grant(rig: Bench) -> None:
    """ENQCMD is not posted: want is answered, and not with retry while an idle portal holds a grant (protocols: grants)."""
    first, second = rig.client(1, 2), rig.client(1, 3)
    assert first.get("limit") == 4
    second.set("want", 1)
    rig.run()
    assert second.get("answered") == 1
    assert second.get("limit") > 0
    assert second.get("retries") == 0
    assert first.get("limit") + second.get("limit") <= 4


def test_a_starved_portal_is_rung_when_it_is_granted(rig: Bench) -> None:
    """It may be asleep between two tries."""
    first, second = rig.client(1, 2), rig.client(1, 3)
    for question in range(1, 2000):
        second.set("want", question)
        rig.run()
        if second.get("limit"):
            break
    assert second.rung() >= 1
    assert first.rung() == 0


def test_a_starved_portal_that_comes_late_is_rung_again(rig: Bench) -> None:
    """It lost its grant to others while its client was not scheduled: without another bell it would sleep for ever."""
    clients = [rig.client(1, pasid, size=4096) for pasid in range(2, 8)]
    late = clients[-1]
    late.set("want", 1)
    rung = 0

    def others_stream() -> bool:
        nonlocal rung
        for client in clients[:-1]:
            if client.get("limit") > client.tail:
                client.publish(client.noop())
            elif client.get("answered") == client.page.load32(native.LAYOUT["portal_client.want"]):
                client.set("want", client.get("answered") + 1)
        rig.engine.run(1)
        rung += late.rung()
        return rung >= 2

    wait_until(others_stream, 10.0)
    assert late.tail == 0, "it has published nothing meanwhile"
    rig.engine.exits()


def test_a_client_that_gave_up_is_not_rung_for_ever(rig: Bench) -> None:
    """It asked once and never came: the engine rests when the others do."""
    clients = [rig.client(1, pasid, size=4096) for pasid in range(2, 8)]
    for client in clients:
        client.set("want", 1)
    wait_until(lambda: rig.engine.run(1) == 0 and rig.engine.run(64) == 0, 10.0)


def test_all_active_portals_of_a_shared_wq_are_served_alike(rig: Bench) -> None:
    """More clients than entries: nobody starves while others stream."""
    clients = [rig.client(1, pasid, size=4096) for pasid in range(2, 18)]
    for _ in range(3000):
        for client in clients:
            if client.get("limit") > client.tail:
                client.publish(client.noop())
            elif client.get("answered") == client.page.load32(native.LAYOUT["portal_client.want"]):
                client.set("want", client.get("answered") + 1)
        rig.engine.run(1)
    rig.engine.exits()
    done = [client.get("done") for client in clients]
    assert min(done) > 0.5 * sum(done) / len(done), done
    assert all(client.get("retries") > 0 for client in clients), (
        "sixteen clients and four entries: some questions end with retry"
    )


def test_wake_at_rings_once(rig: Bench) -> None:
    """A waiter is rung when done reaches its number, once, and not when it waits for more."""
    client = rig.client(0)
    client.rung()
    client.set("wake_at", 2)
    client.publish(client.noop())
    rig.run()
    assert client.rung() == 0
    client.publish(client.noop())
    rig.run()
    assert client.rung() == 1
    client.publish(client.noop())
    rig.run()
    assert client.rung() == 0
    client.set("wake_at", 4)
    client.publish(client.noop())
    rig.run()
    assert client.rung() == 1


@pytest.mark.parametrize("garbage", [SLOTS + 1000, NEVER, NEVER - 5, 1 << 63, 40_000_000])
def test_a_garbage_tail_hurts_its_own_portal_only(rig: Bench, garbage: int) -> None:
    """It is reported (0x53), this portal alone is resynchronised, and the other client goes on."""
    bad, good = rig.client(0), rig.client(1)
    bad.set("tail", garbage)
    exits = rig.run()
    assert [(exit.kind, exit.portal, exit.id) for exit in exits] == [(native.EXIT_OVERFLOW, bad.number, 0)]
    good.publish(good.noop())
    rig.run()
    assert good.get("done") == 1
    bad.publish(bad.noop(64))
    rig.run(3)
    assert bad.record(64)[0] == 1
    assert rig.engine.run(1) == 0, "the engine rests"


def test_dropped_posted_writes_are_reported_at_a_bounded_rate(rig: Bench) -> None:
    """The client counts what it dropped; one exit tells, and a client that does nothing else cannot flood the loop."""
    client = rig.client(0)
    client.set("dropped", 3)
    exits = rig.run()
    assert [(exit.kind, exit.id) for exit in exits] == [(native.EXIT_OVERFLOW, 3)]
    for n in range(4, 204):
        client.set("dropped", n)
        exits += rig.run()
    assert len(exits) < 100


def test_close_accepts_what_lies_below_the_highest_limit(rig: Bench) -> None:
    """closed, then the tail once: below it accepted and executed, at or past it dropped; closed_at tells the client which."""
    client = rig.client(0)
    client.rung()
    client.publish(*[client.noop(32 * i) for i in range(3)])
    request = rig.engine.portal_close(client.number, native.STOP_DRAIN, REVOKED)
    rig.settle(request)
    assert client.get("closed") == REVOKED
    assert client.get("closed_at") == 3
    assert [client.record(32 * i)[0] for i in range(3)] == [1, 1, 1]
    assert client.rung() >= 1
    client.publish(client.noop(96))
    rig.run(2)
    assert client.record(96)[0] == 0
    assert client.get("done") == 3


def test_a_closed_portal_reopens_at_request_and_skips_what_was_dropped(rig: Bench) -> None:
    """Slots between the close and the reopening are never executed."""
    client = rig.client(0)
    rig.settle(rig.engine.portal_close(client.number, native.STOP_DRAIN, REVOKED))
    client.publish(client.noop(0))
    rig.settle(rig.engine.portal_reopen(client.number))
    assert client.get("closed") == 0
    assert client.get("closed_at") == NEVER
    client.publish(client.noop(32))
    rig.run(2)
    assert client.record(0)[0] == 0
    assert client.record(32)[0] == 1


def test_abort_leaves_no_record_and_counts(rig: Bench) -> None:
    """An aborted descriptor gets no record; done follows, so that the client knows nothing of it runs any more."""
    client = rig.client(0)
    client.publish(*[client.noop(32 * i) for i in range(5)])
    rig.settle(rig.engine.portal_close(client.number, native.STOP_ABORT, 2))
    assert all(client.record(32 * i)[0] == 0 for i in range(5))
    assert client.get("closed_at") == 5
    assert client.get("done") == 5
    assert rig.statistics(0, "aborted") == 5


def test_a_large_move_is_sliced_and_others_run_between(rig: Bench) -> None:
    """A descriptor larger than a slice keeps its progress; another client of the WQ is not held up."""
    big, small = rig.client(1, 2, size=9 << 20), rig.client(1, 3)
    big.memory[: 4 << 20] = bytes(range(256)) * (4 << 12)
    big.publish(descriptor(MOVE, CRAV | RCR, big.base + (8 << 20), big.base, big.base + (4 << 20), 4 << 20))
    rig.engine.run(2)
    while small.get("limit") == 0:
        small.set("want", small.get("answered") + 1)
        rig.engine.run(1)
    small.publish(small.noop())
    rig.engine.run(2)
    assert small.record(0)[0] == 1
    assert big.record(8 << 20)[0] == 0, "still at work"
    rig.run(20)
    assert big.record(8 << 20)[0] == 1
    assert bytes(big.memory[4 << 20 : 8 << 20]) == bytes(range(256)) * (4 << 12)


def test_a_stop_is_looked_at_between_slices(rig: Bench) -> None:
    """A 4 MiB descriptor does not hold up an abort."""
    client = rig.client(0, size=8 << 20)
    client.publish(descriptor(MOVE, CRAV | RCR, client.base + (7 << 20), client.base, client.base + (3 << 20), 4 << 20 >> 1))
    rig.engine.run(1)
    request = rig.engine.wq_stop([0], native.STOP_ABORT, 2)
    rig.run()
    assert rig.acknowledged(request)
    assert client.record(7 << 20)[0] == 0


def test_wq_stop_drains_what_was_accepted(rig: Bench) -> None:
    """Disable WQ waits for every accepted descriptor, and nothing is accepted afterwards."""
    client = rig.client(0)
    client.publish(*moves(client, 8))
    request = rig.engine.wq_stop([0], native.STOP_DRAIN, 1)
    rig.settle(request)
    assert [client.record(32 * i)[0] for i in range(8)] == [1] * 8
    assert client.get("closed") == 1
    late = rig.client(0, 3)
    assert late.get("closed") == 1, "a portal of a disabled WQ is born closed"


def test_parked_descriptors_hold_a_stop_until_answered(rig: Bench) -> None:
    """A draining stop waits for the device loop's answer to a fault; an abort does not."""
    client = rig.client(0)
    client.publish(descriptor(MOVE, CRAV | RCR, client.base, 0x9999_0000, client.base + 64, 8))
    (fault,) = rig.run()
    request = rig.engine.wq_stop([0], native.STOP_DRAIN, 1)
    rig.run(3)
    assert not rig.acknowledged(request)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
    rig.settle(request)
    assert client.record(0)[0] == 3


def test_an_answer_after_a_sweep_does_nothing(rig: Bench) -> None:
    """The answer carries the context's generation; the context may serve another descriptor by now (protocols: exit ring)."""
    client = rig.client(0)
    client.publish(descriptor(MOVE, CRAV | RCR, client.base, 0x9999_0000, client.base + 64, 8))
    (fault,) = rig.run()
    rig.settle(rig.engine.portal_close(client.number, native.STOP_ABORT, 2))
    rig.settle(rig.engine.portal_reopen(client.number))
    client.publish(descriptor(MOVE, CRAV | RCR, client.base + 32, 0x9999_0000, client.base + 64, 8))
    (again,) = rig.run()
    assert again.context == fault.context
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 4)
    rig.run(2)
    assert client.record(32)[0] == 0, "the stale answer was not taken for the new descriptor's"
    rig.engine.resume(again.context, again.generation, native.RESUME_FAIL, 3)
    rig.run(2)
    assert client.record(0)[0] == 0
    assert client.record(32)[0] == 3


def test_a_fault_can_be_retried(rig: Bench) -> None:
    """RETRY goes on where the fault was, once the address is reachable."""
    client = rig.client(0, size=1 << 20)
    other = rig.client(1, 3, base=0x9990_0000, size=4096)
    other.memory[:5] = b"hello"
    client.publish(descriptor(MOVE, CRAV | RCR, client.base, 0x9990_0000, client.base + 64, 5))
    (fault,) = rig.run()
    assert (fault.kind, fault.address, fault.operand, fault.write) == (native.EXIT_FAULT, 0x9990_0000, 1, 0)
    client.space.add(0x9990_0000, other._fds[3], 4096)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_RETRY)
    rig.run(2)
    assert client.record(0)[0] == 1
    assert bytes(client.memory[64:69]) == b"hello"


def test_others_of_the_portal_go_on_while_one_is_parked(rig: Bench) -> None:
    """A fault delays its own descriptor only."""
    client = rig.client(0)
    client.publish(descriptor(MOVE, CRAV | RCR, client.base, 0x9999_0000, client.base + 64, 8), client.noop(32))
    rig.run()
    assert client.record(32)[0] == 1
    assert client.get("done") == 1


def test_an_unreachable_record_is_reported_not_written(rig: Bench) -> None:
    """Row 4: the operation is not carried out; the loop is told with operand 5 and answers 0x1A."""
    client = rig.client(0)
    client.memory[0x100:0x105] = b"hello"
    client.publish(descriptor(MOVE, CRAV | RCR, 0x7777_0000, client.base + 0x100, client.base + 0x200, 5))
    (fault,) = rig.run()
    assert (fault.kind, fault.operand, fault.write, fault.address) == (native.EXIT_FAULT, 5, 1, 0x7777_0000)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 0x1A)
    assert rig.run(2) == []
    assert bytes(client.memory[0x200:0x205]) == bytes(5)
    assert client.get("done") == 1


def test_an_error_without_a_record_goes_to_the_loop(rig: Bench) -> None:
    """CRAV = 0 and a bad opcode: an ERROR exit, and done only when it was reported."""
    client = rig.client(0)
    client.publish(descriptor(0x55))
    (error,) = rig.run()
    assert (error.kind, error.status, error.record_written) == (native.EXIT_ERROR, 0x10, 0)
    assert client.get("done") == 0
    rig.engine.resume(error.context, error.generation, native.RESUME_FINISH)
    rig.run(2)
    assert client.get("done") == 1


def test_success_without_a_record_address_is_silent(rig: Bench) -> None:
    """CRAV = 0 and status 0x01: nothing is reported."""
    client = rig.client(0)
    client.publish(descriptor(NOOP))
    assert rig.run() == []
    assert client.get("done") == 1


def test_an_invalid_handle_is_recorded_and_reported(rig: Bench) -> None:
    """0x19 goes to the record and to the log; no interrupt."""
    client = rig.client(0)
    client.publish(client.noop(0, RCI, handle=7))
    (error,) = rig.run()
    assert (error.kind, error.status, error.record_written) == (native.EXIT_ERROR, 0x19, 1)
    assert client.record(0)[0] == 0x19
    rig.engine.resume(error.context, error.generation, native.RESUME_FINISH)
    rig.run()
    assert client.get("done") == 1


def test_a_drain_waits_for_what_is_parked(rig: Bench) -> None:
    """Everything accepted before in the WQ ends before the drain does, also out of order."""
    client = rig.client(0)
    client.publish(
        descriptor(MOVE, CRAV | RCR, client.base, 0x9999_0000, client.base + 64, 8),
        descriptor(DRAIN, CRAV | RCR, client.base + 32),
        client.noop(96),
    )
    (fault,) = rig.run(3)
    assert client.record(96)[0] == 1, "what comes after a drain need not wait"
    assert client.record(32)[0] == 0
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
    rig.run(3)
    assert client.record(32)[0] == 1


def test_a_drain_reads_every_tail_first(rig: Bench) -> None:
    """What another portal of a dedicated WQ published before the drain was met comes first (protocols: acceptance, rule 6)."""
    driver, owner = rig.client(0, 1), rig.client(0, 1)
    rig.settle(rig.engine.barrier())
    while owner.get("limit") == 0:
        owner.set("want", owner.get("answered") + 1)
        rig.engine.run(1)
    owner.publish(descriptor(MOVE, CRAV | RCR, owner.base, 0x9999_0000, owner.base + 64, 8))
    while driver.get("limit") <= driver.tail:
        driver.set("want", driver.get("answered") + 1)
        rig.engine.run(1)
    driver.publish(descriptor(DRAIN, CRAV | RCR, driver.base))
    exits = rig.run(4) + [exit for exit in rig.exits if exit.kind == native.EXIT_FAULT]
    fault = next(exit for exit in exits if exit.kind == native.EXIT_FAULT)
    assert driver.record(0)[0] == 0
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
    rig.run(4)
    assert driver.record(0)[0] == 1


def test_a_shared_drain_waits_for_its_own_pasid_only(rig: Bench) -> None:
    """On a shared WQ a drain covers descriptors of the same PASID."""
    one, two = rig.client(1, 2), rig.client(1, 3)
    for client in (one, two):
        while client.get("limit") <= client.tail:
            client.set("want", client.get("answered") + 1)
            rig.engine.run(1)
    one.publish(descriptor(MOVE, CRAV | RCR, one.base, 0x9999_0000, one.base + 64, 8))
    two.publish(descriptor(DRAIN, CRAV | RCR, two.base))
    rig.run(3)
    assert two.record(0)[0] == 1
    assert one.record(0)[0] == 0


def test_a_drain_reports_an_unreachable_readback(rig: Bench) -> None:
    """0x1F with the readback address."""
    client = rig.client(0)
    client.publish(descriptor(DRAIN, CRAV | RCR | 1 << 16, client.base, 0x8888_0000))
    (fault,) = rig.run()
    assert (fault.address, fault.operand) == (0x8888_0000, 1)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 0x1F)
    rig.run(2)
    status, _, info, _, _, address = struct.unpack_from("<BBBBIQ", client.record(0))
    assert (status, info >> 1, address) == (0x1F, 1, 0x8888_0000)


def batch_list(client: Client, at: int, *members: bytes) -> bytes:
    """Lay the list out at `at`; the Batch descriptor, record at 0."""
    client.memory[at : at + 64 * len(members)] = b"".join(members)
    return descriptor(BATCH, CRAV | RCR, client.base, client.base + at, 0, len(members))


def test_a_batch_runs_its_members_and_counts_them(rig: Bench) -> None:
    """Members have their own records; descriptors completed equals the count."""
    client = rig.client(0)
    client.publish(batch_list(client, 0x1000, *[client.noop(32 + 32 * i) for i in range(5)]))
    rig.run()
    assert struct.unpack_from("<BBHI", client.record(0)) == (1, 0, 0, 5)
    assert [client.record(32 + 32 * i)[0] for i in range(5)] == [1] * 5


def test_a_failed_member_fails_the_batch_and_a_fence_stops_it(rig: Bench) -> None:
    """0x05 with the members processed; after a fence nothing runs; Batch inside a batch is 0x10."""
    client = rig.client(0)
    client.publish(
        batch_list(
            client, 0x1000, client.noop(32), descriptor(BATCH, CRAV | RCR, client.base + 64, 0, 0, 2), client.noop(96),
            client.noop(128, FENCE), client.noop(160),
        )
    )  # fmt: skip
    rig.run()
    assert struct.unpack_from("<BBHI", client.record(0)) == (5, 1, 0, 3)
    assert [client.record(32 * i)[0] for i in range(1, 6)] == [1, 0x10, 1, 0, 0]


def test_a_batch_list_that_is_not_there_faults_with_what_was_done(rig: Bench) -> None:
    """0x06: members processed, the list address that faulted, operand 1."""
    client = rig.client(0, size=0x2000)
    client.memory[0x1F80:0x2000] = client.noop(32) + client.noop(64)
    client.publish(descriptor(BATCH, CRAV | RCR, client.base, client.base + 0x1F80, 0, 4))
    (fault,) = rig.run()
    assert (fault.address, fault.operand, fault.in_batch) == (client.base + 0x2000, 1, 0)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 6)
    rig.run(2)
    status, result, info, _, done, address = struct.unpack_from("<BBBBIQ", client.record(0))
    assert (status, result, info >> 1, done, address) == (6, 0, 1, 2, client.base + 0x2000)


def test_a_member_that_faults_parks_inside_its_batch(rig: Bench) -> None:
    """The exit names the position; after the answer the batch goes on with the next member."""
    client = rig.client(0)
    client.publish(
        batch_list(
            client,
            0x1000,
            client.noop(32),
            descriptor(MOVE, CRAV | RCR, client.base + 64, 0x9999_0000, client.base, 8),
            client.noop(96),
        )
    )
    (fault,) = rig.run()
    assert (fault.in_batch, fault.batch_index) == (1, 1)
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
    rig.run(2)
    assert [client.record(32 * i)[0] for i in range(4)] == [5, 1, 3, 1]


def test_a_full_house_of_parked_descriptors_does_not_stop_the_engine(rig: Bench) -> None:
    """One portal can park so many; the rest waits, other portals go on, and every one is answered in the end."""
    client, other = rig.client(0), rig.client(1, 3)
    client.publish(
        *[descriptor(MOVE, CRAV | RCR, client.base + 32 * i, 0x9999_0000, client.base + 0x4000, 8) for i in range(32)]
    )
    parked = rig.run(2)
    client.publish(
        *[descriptor(MOVE, CRAV | RCR, client.base + 32 * (32 + i), 0x9999_0000, client.base + 0x4000, 8) for i in range(32)]
    )
    parked += rig.run(2)
    other.publish(other.noop())
    rig.run()
    assert other.record(0)[0] == 1
    while parked:
        for fault in parked:
            rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
        parked = rig.run(3)
    assert [client.record(32 * i)[0] for i in range(64)] == [3] * 64
    assert rig.engine.statistics()["contexts"] == 0


def test_a_removed_portal_frees_its_number_and_touches_nothing_more(rig: Bench) -> None:
    """A client that died: its portal goes, the number serves the next one."""
    client = rig.client(0)
    client.publish(*moves(client, 4))
    number = client.number
    rig.settle(rig.engine.portal_remove(number))
    client.memory[0x20000:0x20100] = bytes(256)
    client.publish(*moves(client, 4))
    rig.run(3)
    assert bytes(client.memory[0x20000:0x20100]) == bytes(256)
    assert rig.client(0, 9).number == number


def test_a_range_taken_out_faults_at_once(rig: Bench) -> None:
    """After Space.remove no slice begins with the old range; the memory goes with the barrier."""
    client = rig.client(0)
    assert client.space.remove(client.base) == 1 << 20
    client.publish(descriptor(NOOP, CRAV | RCR, client.base))
    (fault,) = rig.run()
    assert fault.operand == 5
    rig.settle(rig.engine.barrier())


def test_ranges_do_not_overlap_and_do_not_wrap(rig: Bench) -> None:
    """What cannot be an address range is refused by name."""
    client = rig.client(0)
    fd = client._fds[3]
    for address, size in (
        (client.base, 4096),
        (client.base + (1 << 20) - 4096, 8192),
        (4097, 4096),
        (4096, 100),
        ((1 << 64) - 4096, 8192),
        (0, 0),
    ):
        with pytest.raises(native.NativeError, match="map a range"):
            client.space.add(address, fd, size)
    assert client.space.ranges() == [(client.base, 1 << 20)]


def test_priority_decides_between_wqs_of_a_group() -> None:
    """A WQ of priority 10 gets about ten turns for one of priority 1, and neither starves."""
    with bench() as made:
        made.wq(0, priority=10)
        made.wq(1, priority=1)
        high, low = made.client(0), made.client(1)
        for _ in range(50):
            for client in (high, low):
                room = client.get("limit") - client.tail
                client.publish(*[client.noop()] * room)
            made.engine.run(1)
        assert low.get("done") > 0
        assert high.get("done") >= low.get("done")


def test_a_client_without_a_wq_does_not_keep_the_engine_awake(rig: Bench) -> None:
    """Publishing on a closed portal is nobody's work."""
    rig.settle(rig.engine.wq_stop([0], native.STOP_DRAIN, 1))
    client = rig.client(0)
    client.publish(*[client.noop()] * 8)
    client.set("want", 77)
    rig.run()
    assert rig.engine.run(4) == 0


def test_a_pasid_command_touches_the_given_wqs_only(rig: Bench) -> None:
    """Two devices share an engine; a client has one PASID on both."""
    rig.wq(16, priority=1)
    ours, other = rig.client(0, 2), rig.client(16, 2)
    rig.settle(rig.engine.pasid_abort(2, [0, 1]))
    assert (ours.get("closed"), other.get("closed")) == (2, 0)
    other.publish(other.noop())
    rig.settle(rig.engine.pasid_drain(2, [0, 1]))
    rig.settle(rig.engine.pasid_drain(2, [16]))
    assert other.record(0)[0] == 1


def test_a_loop_that_asks_and_does_not_look_is_not_overrun() -> None:
    """Acknowledgements used to wrap over unread ones: the engine stops serving until the loop looks, and forgets nothing."""
    with bench() as engine:
        asked, refused = [], 0
        while refused < 3 and len(asked) < 20_000:
            try:
                asked.append(engine.engine.barrier())
                refused = 0
            except native.NativeError:
                refused += 1
                engine.engine.run(1)
        seen: list[int] = []
        for _ in range(len(asked)):
            exits = engine.engine.exits()
            seen += [exit.id for exit in exits]
            engine.engine.run(1)
            if len(seen) == len(asked):
                break
        assert seen == asked


def test_address_tables_that_maps_leave_are_freed() -> None:
    """Each mapping used to leave its predecessor's table behind until something was unmapped: 2000 mappings, 48 MB."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    with bench() as engine:
        engine.wq(0)
        client = engine.client(size=4096)
        fd = os.memfd_create("page", os.MFD_CLOEXEC)
        os.ftruncate(fd, 4096)
        try:
            before = resident()
            for number in range(2000):
                client.space.add(0x100_0000 + 8192 * number, fd, 4096)
                assert not engine.run(2), "nobody is told of barriers that nobody asked for"
            assert resident() - before < 24 << 20
        finally:
            os.close(fd)
