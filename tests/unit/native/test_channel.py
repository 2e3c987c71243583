"""A client's kernel channel, against an idxdd-irq that the test plays: the gate, the pending list, completions, fencing."""

import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_portal import GATE_CLOSED, GATE_DEAD, GATE_LIVE, HALTED, REVOKED, FakeChannel
from waiting import wait_until

from idxdd.native import (
    LAYOUT,
    SUBMIT_CLOSED,
    SUBMIT_GONE,
    SUBMIT_RETRY,
    WAIT_CLOSED,
    WAIT_DONE,
    WAIT_GONE,
    WAIT_TIMEOUT,
    Channel,
    NativeError,
)

ABORTED = 3
CRAV_RCR_RCI = 0x1C


def descriptor(opcode: int = 3, flags: int = 0x100) -> bytes:
    return struct.pack("<IIQQQI", 0, flags | opcode << 24, 0xDEAD, 0x1000, 0x2000, 64).ljust(64, b"\0")


def slot_of(ticket: int) -> int:
    return ticket & 0xFFFF


def sequence_of(ticket: int) -> int:
    return ticket >> 16


@pytest.fixture
def fake() -> Iterator[FakeChannel]:
    with FakeChannel() as channel:
        yield channel


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


# ---- submitting --------------------------------------------------------------------------------------------------------


def test_submit_stamps_lists_and_publishes(fake: FakeChannel) -> None:
    """What the device gets carries the record's address, the flags and the handle, and is what idxdd-irq can resubmit."""
    fake.write_record(15, b"\xee" * 32)
    tickets = [fake.channel.submit(descriptor()) for _ in range(16)]
    assert fake.pending() == tickets
    assert sorted(map(slot_of, tickets)) == list(range(16))
    assert [sequence_of(ticket) for ticket in tickets] == list(range(1, 17))
    for number, ticket in enumerate(tickets):
        slot = slot_of(ticket)
        desc = fake.slot(number)
        assert desc == fake.descriptor(slot)
        flags, address = struct.unpack_from("<IQ", desc, 4)
        assert (flags & 0xFFFFFF, flags >> 24) == (0x100 | CRAV_RCR_RCI, 3)
        assert address == fake.channel.address + LAYOUT["channel.record"] + 32 * slot
        assert struct.unpack_from("<H", desc, 36) == (7,)
        assert desc[16:36] == descriptor()[16:36]
        assert fake.record(slot) == bytes(32), "a record is zero before the device has it"
    assert fake.client.get32("in_submit") == 0
    assert fake.channel.in_flight == 16
    assert fake.channel.size == LAYOUT["channel"]


def test_the_handle_is_read_inside_the_gate(fake: FakeChannel) -> None:
    """After a revoke the next descriptor carries the new handle."""
    fake.channel.submit(descriptor())
    fake.set_handle(300)
    fake.channel.submit(descriptor())
    assert [struct.unpack_from("<H", fake.slot(n), 36)[0] for n in (0, 1)] == [7, 300]


def test_no_free_slot_is_retry(fake: FakeChannel) -> None:
    """As idxd_alloc_desc without blocking; nothing is listed or published."""
    tickets = [fake.channel.submit(descriptor()) for _ in range(17)]
    assert tickets[16] == SUBMIT_RETRY
    assert fake.portal.tail == len(fake.pending()) == 16
    fake.complete(tickets[3])
    assert fake.channel.submit(descriptor()) == SUBMIT_RETRY, "a slot is free when its completion was reaped, not before"
    fake.channel.reap()
    assert slot_of(fake.channel.submit(descriptor())) == slot_of(tickets[3])


def test_a_full_wq_is_retry_before_anything_is_listed() -> None:
    """What is on the pending list must not fail to be published: room is looked at first."""
    for dedicated in (True, False):
        with FakeChannel(dedicated=dedicated, limit=1) as fake:
            assert fake.channel.submit(descriptor()) > 0
            answer = threading.Thread(
                target=lambda f=fake: (wait_until(lambda: f.client.get32("want")), f.device.set32("answered", 1))
            )
            answer.start()
            assert fake.channel.submit(descriptor()) == SUBMIT_RETRY
            answer.join()
            assert fake.client.get32("want") == 1
            assert (len(fake.pending()), fake.portal.tail, fake.channel.in_flight) == (1, 1, 1)


def test_block_waits_for_a_slot(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    """Another thread reaps; the blocked one goes on."""
    tickets = fake.channel.submit_many(descriptor() * 16)
    blocked = pool.submit(fake.channel.submit, descriptor(), block=True)
    fake.complete(tickets[0])
    assert len(fake.channel.reap()) == 1
    assert sequence_of(blocked.result(5)) == 17


def test_block_has_an_end(fake: FakeChannel) -> None:
    """Nobody reaps: retry after a second."""
    fake.channel.submit_many(descriptor() * 16)
    start = time.monotonic()
    assert fake.channel.submit(descriptor(), True) == SUBMIT_RETRY
    assert time.monotonic() - start < 3


def test_submit_many_stops_where_there_is_no_room(fake: FakeChannel) -> None:
    """Tickets of what was submitted; shorter means retry, a negative last one says why for good."""
    tickets = fake.channel.submit_many(descriptor() * 20)
    assert tickets == fake.pending()
    assert len(tickets) == 16
    for ticket in tickets:
        fake.complete(ticket)
    assert [entry[0] for entry in fake.channel.reap()] == tickets
    assert fake.channel.submit_many(b"") == []
    fake.shut(HALTED, fake.portal.tail)
    assert fake.channel.submit_many(descriptor() * 2) == [SUBMIT_CLOSED]


def test_bad_sizes_are_one_error(fake: FakeChannel) -> None:
    for submit, size in ((fake.channel.submit, 63), (fake.channel.submit_many, 65)):
        with pytest.raises(ValueError, match="64"):
            submit(bytes(size))
    assert fake.pending() == []


# ---- the gate ------------------------------------------------------------------------------------------------------------


def test_a_dead_gate_refuses(fake: FakeChannel) -> None:
    """The WQ is disabled: nothing is listed, no slot is lost, in_submit is left."""
    fake.set_gate(GATE_DEAD)
    assert [fake.channel.submit(descriptor()) for _ in range(40)] == [SUBMIT_CLOSED] * 40
    assert (fake.pending(), fake.channel.in_flight, fake.client.get32("in_submit")) == ([], 0, 0)
    fake.set_gate(GATE_LIVE)
    assert fake.channel.submit(descriptor()) > 0


def test_a_closed_gate_holds_submitters(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    """Outside (in_submit = 0) while they wait; retry for those who do not block."""
    fake.set_gate(GATE_CLOSED)
    assert fake.channel.submit(descriptor()) == SUBMIT_RETRY
    blocked = [pool.submit(fake.channel.submit, descriptor(), True) for _ in range(3)]
    wait_until(lambda: fake.client.get32("in_submit") == 0)
    assert not any(waiter.done() for waiter in blocked)
    assert fake.pending() == []
    fake.set_handle(9)
    fake.set_gate(GATE_LIVE)
    assert sorted(sequence_of(waiter.result(5)) for waiter in blocked) == sorted(map(sequence_of, fake.pending()))
    assert len(fake.pending()) == 3


def test_a_gate_that_stays_closed_is_retry(fake: FakeChannel) -> None:
    fake.set_gate(GATE_CLOSED)
    start = time.monotonic()
    assert fake.channel.submit(descriptor(), block=True) == SUBMIT_RETRY
    assert time.monotonic() - start < 3
    assert (fake.channel.in_flight, fake.client.get32("in_submit")) == (0, 0)


def test_submitters_at_the_gate_learn_of_a_dead_daemon(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    fake.set_gate(GATE_CLOSED)
    blocked = pool.submit(fake.channel.submit, descriptor(), True)
    fake.die()
    assert blocked.result(1) == SUBMIT_GONE


# ---- completions -----------------------------------------------------------------------------------------------------------


def test_reap_gives_each_completion_once(fake: FakeChannel) -> None:
    """With the record as it was when its slot was freed; a repeat (a successor of idxdd-irq) is recognised."""
    tickets = fake.channel.submit_many(descriptor() * 3)
    for ticket in reversed(tickets):
        fake.write_record(slot_of(ticket), struct.pack("<BBHI", 1, 0, 0, ticket & 0xFF))
        fake.complete(ticket)
        fake.complete(ticket)
    reaped = fake.channel.reap()
    assert [entry[0] for entry in reaped] == tickets[::-1]
    assert [entry[1:3] for entry in reaped] == [(1, 0)] * 3
    assert [struct.unpack_from("<I", entry[3], 4)[0] for entry in reaped] == [ticket & 0xFF for ticket in tickets[::-1]]
    assert all(len(entry[3]) == 32 for entry in reaped)
    assert (fake.channel.reap(), fake.channel.in_flight, fake.channel.completed) == ([], 0, 6)


def test_a_repeat_does_not_complete_the_next_user_of_the_slot(fake: FakeChannel) -> None:
    """Same slot, another sequence."""
    first = fake.channel.submit(descriptor())
    fake.complete(first)
    fake.channel.reap()
    second = fake.channel.submit(descriptor())
    assert slot_of(second) == slot_of(first)
    fake.complete(first)
    assert fake.channel.reap() == []
    assert fake.channel.in_flight == 1


@pytest.mark.parametrize("ticket", [0, 5, 1 << 16 | 16, 1 << 16 | 0xFFFF, 2**64 - 1])
def test_wild_completions_are_ignored(fake: FakeChannel, ticket: int) -> None:
    fake.channel.submit(descriptor())
    fake.complete(ticket)
    assert fake.channel.reap() == []
    assert fake.channel.in_flight == 1


def test_a_wild_ring_tail_is_bounded(fake: FakeChannel) -> None:
    """A tail that runs away costs one ring's worth of looks."""
    ticket = fake.channel.submit(descriptor())
    fake.ring_memory.set64("tail", 2**63)
    start = time.monotonic()
    assert fake.channel.reap() == []
    assert time.monotonic() - start < 1
    fake.complete(ticket)
    assert [entry[0] for entry in fake.channel.reap()] == [ticket]


def test_reap_maximum(fake: FakeChannel) -> None:
    for ticket in fake.channel.submit_many(descriptor() * 5):
        fake.complete(ticket)
    assert [len(fake.channel.reap(maximum)) for maximum in (0, 2, 2, 2, 2)] == [0, 2, 2, 1, 0]
    with pytest.raises(ValueError, match="maximum"):
        fake.channel.reap(-1)


def test_slots_and_sequences_through_many_rounds(fake: FakeChannel) -> None:
    """Pending list and completion ring go round several times; nothing is lost or mixed up."""
    seen = 0
    for _ in range(100):
        tickets = fake.channel.submit_many(descriptor() * 13)
        assert len(tickets) == 13
        for ticket in tickets:
            fake.complete(ticket)
        fake.device.set64("limit", fake.portal.tail + 128)
        assert [entry[0] for entry in fake.channel.reap()] == tickets
        seen += len(tickets)
        assert sequence_of(tickets[-1]) == seen


def test_wait_sleeps_on_the_same_bell(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    """One wake socket for the portal and its channel: both kinds of waiters at once, each woken for its own."""
    ticket = fake.channel.submit(descriptor())
    assert fake.channel.wait(1, 0) == WAIT_TIMEOUT
    by_channel = pool.submit(fake.channel.wait, 1, 20)
    by_portal = pool.submit(fake.portal.wait, 1, 20)
    wait_until(lambda: fake.memory.get64("wake_at") == 1 and fake.client.get64("wake_at") == 1)
    assert fake.finish(1)
    assert by_portal.result(5) == WAIT_DONE
    assert not by_channel.done()
    wait_until(lambda: fake.client.get64("wake_at") == 0)
    assert fake.complete(ticket)
    assert by_channel.result(5) == WAIT_DONE
    assert fake.memory.get64("wake_at") == 0


def test_waiters_learn_of_a_dead_daemon(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    waiter = pool.submit(fake.channel.wait, 1, 20)
    wait_until(lambda: fake.memory.get64("wake_at") == 1)
    fake.die()
    assert waiter.result(1) == WAIT_GONE


def test_sleeping_fd(fake: FakeChannel) -> None:
    """For an event loop; shared with the portal, so that a bell for one is not lost when the other drains."""
    import select

    ticket = fake.channel.submit(descriptor())
    fd = fake.channel.sleeping_fd(1)
    assert fake.portal.sleeping_fd(1) == fd
    assert not select.select([fd], [], [], 0)[0]
    fake.finish(1)
    fake.complete(ticket)
    assert select.select([fd], [], [], 5)[0]
    fake.portal.drain_bell()
    assert select.select([fd], [], [], 5)[0]
    fake.channel.drain_bell()
    assert not select.select([fd], [], [], 0)[0]
    assert fake.channel.sleeping_fd(1) == -1


# ---- closed, fenced ----------------------------------------------------------------------------------------------------------


def test_a_fenced_owner_fails_what_is_not_in_the_ring(fake: FakeChannel) -> None:
    """After `fenced` idxdd-irq touches nothing: what it swept is in the ring, the rest is the owner's to fail; once each."""
    tickets = fake.channel.submit_many(descriptor() * 4)
    fake.complete(tickets[1], status=1)
    fake.shut(REVOKED, 4)
    assert [entry[0] for entry in fake.channel.reap()] == [tickets[1]], "before `fenced` the rest is idxdd-irq's"
    fake.complete(tickets[0], status=0, result=ABORTED)
    fake.write_record(slot_of(tickets[2]), b"\x01")
    fake.device.set32("fenced", 1)
    assert fake.channel.wait(99, 5) == WAIT_CLOSED
    assert [entry[:3] for entry in fake.channel.reap()] == [
        (tickets[0], 0, ABORTED),
        *sorted([(tickets[2], 1, 0), (tickets[3], 0, ABORTED)], key=lambda entry: slot_of(entry[0])),
    ]
    assert (fake.channel.reap(), fake.channel.in_flight) == ([], 0)
    assert fake.channel.submit(descriptor()) == SUBMIT_CLOSED


def test_a_waiter_is_told_that_nothing_more_comes(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    """A close without a fence: what is in flight is still completed by idxdd-irq; then the wait ends."""
    tickets = fake.channel.submit_many(descriptor() * 2)
    waiter = pool.submit(fake.channel.wait, 3, 20)
    wait_until(lambda: fake.memory.get64("wake_at") == 3)
    fake.shut(HALTED, 2)
    for ticket in tickets:
        fake.complete(ticket, 0, ABORTED)
    fake.ring()
    assert waiter.result(0.9) == WAIT_CLOSED
    assert [entry[2] for entry in fake.channel.reap()] == [ABORTED, ABORTED]


# ---- life ------------------------------------------------------------------------------------------------------------------


def test_close_ends_waits_of_other_threads(fake: FakeChannel, pool: ThreadPoolExecutor) -> None:
    """The channel alone; its portal goes on."""
    waiters = [pool.submit(fake.channel.wait, n, 20) for n in (1, 2)]
    other = pool.submit(fake.portal.wait, 1, 20)
    wait_until(lambda: fake.memory.get64("wake_at") == 1 and fake.client.get64("wake_at") == 1)
    fake.channel.close()
    assert [waiter.result(5) for waiter in waiters] == [WAIT_CLOSED] * 2
    with pytest.raises(NativeError, match="channel is closed"):
        fake.channel.submit(descriptor())
    assert fake.finish(1)
    assert other.result(5) == WAIT_DONE


def test_a_channel_outlives_a_closed_portal_as_an_error(fake: FakeChannel) -> None:
    """In either order of closing: an error, not a crash."""
    fake.channel.sleeping_fd(1)
    fake.portal.close()
    for use in (lambda: fake.channel.submit(descriptor()), lambda: fake.channel.reap(), lambda: fake.channel.completed):
        with pytest.raises(NativeError, match="portal is closed"):
            use()


@pytest.mark.parametrize(("wq", "slots"), [(64, 16), (3, 0), (3, 257)])
def test_wild_arguments_are_refused(fake: FakeChannel, wq: int, slots: int) -> None:
    with pytest.raises(NativeError, match="Channel: Invalid argument"):
        Channel(
            portal=fake.portal,
            channel_fd=fake.memory.fd,
            ring_fd=fake.ring_memory.fd,
            driver_fd=fake.driver.fd,
            wq=wq,
            slots=slots,
            wake_fd=fake.wake_fd,
        )
