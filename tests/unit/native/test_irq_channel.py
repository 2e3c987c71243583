"""The driver's side of a kernel channel: order of completion, hostile lists, and going on after a kill."""

import os
from collections.abc import Callable, Iterator

import posix_ipc
import pytest
from waiting import wait_until

from idxdd.native import LAYOUT, NativeError, Words
from idxdd.native._native import VIOLATION_INDEX, VIOLATION_TAIL, VIOLATION_TWICE, IrqChannel, VectorWaiter
from idxdd.testing.mock_device import MockChannel

NOERROR, WRITE_FAILED, ABORTED = 0, 2, 3
SUCCESS, INT_HANDLE_INVAL, ABORT = 0x01, 0x19, 0xFF


class Side:
    """idxdd-irq's view of a channel; `successor` is another process's, on the same state."""

    def __init__(self, client: MockChannel) -> None:
        self.client = client
        self.state = bytearray(IrqChannel.STATE_SIZE)
        self.native = self.open()

    def open(self) -> IrqChannel:
        fds = self.client.fds
        return IrqChannel(
            channel_fd=fds["channel"], ring_fd=fds["ring"], portal_client_fd=fds["portal"], wake_fd=self.client.wake_ours,
            slots=self.client.slots, state=self.state, state_offset=0,
        )  # fmt: skip

    def successor(self) -> IrqChannel:
        self.native.close()
        self.native = self.open()
        return self.native

    def interrupt(self) -> None:
        """One run of wq_thread."""
        self.native.work_list(False)
        self.native.pending_list(False)


@pytest.fixture
def side() -> Iterator[Side]:
    client = MockChannel(slots=16)
    side = Side(client)
    yield side
    side.native.close()
    client.close()


def test_finished_descriptors_complete_newest_first(side: Side) -> None:
    """The driver's lock-free list is not reversed: what was submitted last is called back first."""
    tickets = [side.client.push(slot) for slot in (3, 1, 2)]
    for slot in (1, 2, 3):
        side.client.set_status(slot, SUCCESS)
    side.interrupt()
    assert side.client.completions() == [(ticket, SUCCESS, NOERROR) for ticket in reversed(tickets)]


def test_an_unfinished_descriptor_waits_for_the_next_interrupt(side: Side) -> None:
    """One interrupt is one pass over each list."""
    ticket = side.client.push(5)
    side.interrupt()
    side.client.set_status(5, SUCCESS)
    assert side.native.listed == 1
    assert side.client.completions() == []
    side.interrupt()
    assert side.client.completions() == [(ticket, SUCCESS, NOERROR)]


@pytest.mark.parametrize(
    ("status", "result"),
    [(0x01, NOERROR), (0x02, WRITE_FAILED), (0x19, WRITE_FAILED), (0x81, WRITE_FAILED), (0xFF, WRITE_FAILED)],
)
def test_status_to_dmaengine_result(side: Side, status: int, result: int) -> None:
    """Only 0x01, by the raw byte, is no error."""
    ticket = side.client.push(0)
    side.client.set_status(0, status)
    side.interrupt()
    assert side.client.completions() == [(ticket, status, result)]


def test_the_two_lists_look_at_0x80_differently(side: Side) -> None:
    """The pending list masks bit 7, the work list does not."""
    ticket = side.client.push(0)
    side.client.set_status(0, 0x80)
    side.interrupt()
    assert side.client.completions() == []
    side.interrupt()
    assert side.client.completions() == [(ticket, 0x80, WRITE_FAILED)]


def test_0x19_is_handed_out_for_resubmission_and_stays_held(side: Side) -> None:
    """The callback is not called; the descriptor is neither lost nor met twice."""
    ticket = side.client.push(4)
    side.client.set_status(4, INT_HANDLE_INVAL)
    assert side.native.pending_list(True) == [(ticket, INT_HANDLE_INVAL)]
    assert side.client.completions() == []
    side.client.set_status(4, 0)
    assert side.native.relist(ticket)
    assert not side.native.relist(ticket)
    side.client.set_status(4, SUCCESS)
    assert side.native.work_list(True) == []
    assert side.client.completions() == [(ticket, SUCCESS, NOERROR)]


def test_a_deferred_descriptor_is_completed_once(side: Side) -> None:
    """A second completion of the same ticket is refused, and so is one nobody submitted."""
    ticket = side.client.push(4)
    side.client.set_status(4, INT_HANDLE_INVAL)
    side.native.pending_list(True)
    assert side.native.complete(ticket, INT_HANDLE_INVAL, WRITE_FAILED)
    assert not side.native.complete(ticket, INT_HANDLE_INVAL, WRITE_FAILED)
    assert not side.native.complete(ticket + (1 << 16), SUCCESS, NOERROR)
    assert side.client.completions() == [(ticket, INT_HANDLE_INVAL, WRITE_FAILED)]


def test_sweep_aborts_the_unfinished_and_reports_the_finished(side: Side) -> None:
    """Written status: NORMAL mapping; zero: ABORT, status 0, result ABORTED. From both lists."""
    listed = side.client.push(0)
    side.interrupt()
    finished = side.client.push(1)
    failed = side.client.push(2)
    side.client.set_status(1, SUCCESS)
    side.client.set_status(2, 0x03)
    assert side.native.sweep() == 3
    assert side.client.completions() == [(listed, 0, ABORTED), (finished, SUCCESS, NOERROR), (failed, 0x03, WRITE_FAILED)]
    assert side.native.sweep() == 0


# ---- the bell --------------------------------------------------------------------------------------------------------------
def test_the_bell_rings_once_when_the_awaited_completion_is_there(side: Side) -> None:
    """A client asks once to be woken after n completions: not before, and not again for the same n."""
    side.client.set_wake_at(2)
    for slot in range(4):
        side.client.push(slot)
    side.interrupt()
    side.client.set_status(0, SUCCESS)
    side.interrupt()
    assert side.client.rung() == 0
    side.client.set_status(1, SUCCESS)
    side.interrupt()
    assert side.client.rung() == 1
    side.client.set_status(2, SUCCESS)
    side.interrupt()
    assert side.client.rung() == 0


def test_a_client_that_reads_no_bell_blocks_nobody(side: Side) -> None:
    """The socket fills up; completing goes on."""
    for number in range(20_000):
        side.client.push(number % 16)
        side.client.set_status(number % 16, SUCCESS)
        side.client.set_wake_at(number + 1)
        side.interrupt()
    assert len({entry[0] for entry in (side.client.entry(n) for n in range(20_000 - 512, 20_000))}) == 512


# ---- hostile lists ---------------------------------------------------------------------------------------------------------
def _index_out_of_range(client: MockChannel) -> None:
    client.push(16)


def _index_beyond_the_channel(client: MockChannel) -> None:
    client.push(0xFFFF)


def _no_sequence(client: MockChannel) -> None:
    client.push(1, sequence=0)


def _twice_in_one_take(client: MockChannel) -> None:
    client.push(2)
    client.push(2)


def _tail_runs_away(client: MockChannel) -> None:
    client.set_tail(LAYOUT["channel_slots"] + 1 + client.words["channel"].load64(LAYOUT["channel.pending_tail"]))


def _tail_goes_back(client: MockChannel) -> None:
    client.set_tail(0)


@pytest.mark.parametrize(
    ("forge", "violation"),
    [
        (_index_out_of_range, VIOLATION_INDEX),
        (_index_beyond_the_channel, VIOLATION_INDEX),
        (_no_sequence, VIOLATION_INDEX),
        (_twice_in_one_take, VIOLATION_TWICE),
        (_tail_runs_away, VIOLATION_TAIL),
        (_tail_goes_back, VIOLATION_TAIL),
    ],
)
def test_a_forged_list_stops_the_channel(side: Side, forge: Callable[[MockChannel], None], violation: int) -> None:
    """What was right before the forgery completes; what came after is never looked at."""
    good = side.client.push(7)
    side.interrupt()
    forge(side.client)
    side.interrupt()
    after = side.client.push(9)
    side.client.set_status(7, SUCCESS)
    side.client.set_status(9, SUCCESS)
    side.interrupt()
    side.interrupt()
    assert side.native.violation == violation
    tickets = [ticket for ticket, _, _ in side.client.completions()]
    assert good in tickets
    assert after not in tickets


def test_a_slot_still_held_may_not_come_again(side: Side) -> None:
    """The same slot under another sequence, before its completion: met twice."""
    side.client.push(3)
    side.interrupt()
    side.client.push(3)
    side.interrupt()
    assert side.native.violation == VIOLATION_TWICE
    assert side.native.sweep() == 1


def test_a_reused_slot_is_honest(side: Side) -> None:
    """Completed, freed, submitted again: a thousand times round the list."""
    for number in range(1000):
        ticket = side.client.push(number % 3)
        side.client.set_status(number % 3, SUCCESS)
        side.interrupt()
        side.client.set_status(number % 3, 0)
        assert side.client.completions() == [(ticket, SUCCESS, NOERROR)]
    assert side.native.violation == 0


def test_a_channel_file_that_is_too_short_is_refused(side: Side) -> None:
    """Mapping it would be a SIGBUS at the first look."""
    fd = os.memfd_create("short")
    os.ftruncate(fd, 4096)
    try:
        with pytest.raises(NativeError, match="map channel"):
            IrqChannel(
                channel_fd=fd, ring_fd=side.client.fds["ring"], portal_client_fd=side.client.fds["portal"],
                wake_fd=side.client.wake_ours, slots=16, state=side.state, state_offset=0,
            )  # fmt: skip
    finally:
        os.close(fd)


@pytest.mark.parametrize("slots", [0, 257])
def test_slots_out_of_range_are_refused(side: Side, slots: int) -> None:
    """The arrays behind them have fixed sizes."""
    side.client.slots = slots
    with pytest.raises(NativeError):
        side.open()
    side.client.slots = 16


def test_a_state_area_that_does_not_hold_the_state_is_refused(side: Side) -> None:
    """Writing past the driver-state segment would be somebody else's memory."""
    side.state = bytearray(IrqChannel.STATE_SIZE - 8)
    with pytest.raises(ValueError, match="state_offset"):
        side.open()


# ---- adoption --------------------------------------------------------------------------------------------------------------
CURSOR, LISTED = 0, 64


def _state(side: Side) -> Words:
    return Words(side.state)


def test_a_successor_has_the_work_list_again(side: Side) -> None:
    """Lists are rebuilt from the words; nothing is lost, and the client is rung in case a bell died with the predecessor."""
    tickets = [side.client.push(slot) for slot in range(3)]
    side.interrupt()
    successor = side.successor()
    assert successor.adopt() == 3
    assert side.client.rung() == 1
    for slot in range(3):
        side.client.set_status(slot, SUCCESS)
    side.interrupt()
    assert side.client.completions() == [(ticket, SUCCESS, NOERROR) for ticket in reversed(tickets)]


@pytest.mark.parametrize("already_listed", range(5))
def test_killed_while_taking_the_pending_list(side: Side, already_listed: int) -> None:
    """Some entries listed, the cursor not moved: they are no repeat, and none is lost."""
    tickets = [side.client.push(slot) for slot in range(4)]
    words = _state(side)
    for slot in range(already_listed):
        words.store64(LISTED + 8 * slot, slot + 1)
    words.release()
    side.successor().adopt()
    for slot in range(4):
        side.client.set_status(slot, SUCCESS)
    side.interrupt()
    side.interrupt()
    assert side.native.violation == 0
    assert sorted(side.client.completions()) == sorted((ticket, SUCCESS, NOERROR) for ticket in tickets)


@pytest.mark.parametrize("cleared", range(4))
def test_killed_between_ring_entry_and_state(side: Side, cleared: int) -> None:
    """In the ring, still listed: a successor only clears it, even if the client has used the slot again (model d4)."""
    tickets = [side.client.push(slot) for slot in range(3)]
    for slot in range(3):
        side.client.set_status(slot, SUCCESS)
    side.interrupt()
    words = _state(side)
    for slot in range(cleared, 3):
        words.store64(LISTED + 8 * slot, slot + 1)  # as if the store of 0 had not happened
    words.release()
    for slot in range(3):
        side.client.set_status(slot, 0)
    again = [side.client.push(slot) for slot in range(3)]
    assert side.successor().adopt() == 0
    for slot in range(3):
        side.client.set_status(slot, SUCCESS)
    side.interrupt()
    assert side.native.violation == 0
    completed = [ticket for ticket, _, _ in side.client.completions()]
    assert sorted(completed) == sorted(tickets + again)


def test_killed_before_the_ring_tail(side: Side) -> None:
    """Entries without a tail were never published: the successor writes them again, in the same place."""
    ticket = side.client.push(0)
    side.client.set_status(0, SUCCESS)
    side.interrupt()
    side.client.words["ring"].store64(LAYOUT["completion_ring.tail"], 0)
    words = _state(side)
    words.store64(LISTED, 1)
    words.release()
    side.successor().adopt()
    side.interrupt()
    assert side.client.completions() == [(ticket, SUCCESS, NOERROR)]


def test_a_hundred_thousand_completions_are_quick(side: Side) -> None:
    """More than a million a second in the C pass is the aim; here a floor that no noise reaches."""
    import time

    client = MockChannel(slots=256)
    fast = Side(client)
    try:
        spent = 0.0
        for slot in range(256):
            client.set_status(slot, SUCCESS)
        for _ in range(400):
            for slot in range(256):
                client.push(slot)
            before = time.perf_counter()
            fast.native.pending_list(False)
            spent += time.perf_counter() - before
        assert fast.native.completed == 400 * 256
        assert fast.native.completed / spent > 200_000
        print(f"{fast.native.completed / spent / 1e6:.1f} M completions/s")
    finally:
        fast.native.close()
        client.close()


# ---- vectors ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def semaphores(instance: str) -> Iterator[list[posix_ipc.Semaphore]]:
    made = [posix_ipc.Semaphore(f"/idxdd.0.{instance}.v{n}", posix_ipc.O_CREX, mode=0o600) for n in range(3)]
    yield made
    for semaphore in made:
        semaphore.unlink()
        semaphore.close()


def test_vectors_fire_by_bit_and_ring_one_bell(semaphores: list[posix_ipc.Semaphore]) -> None:
    """Whatever fired since the last look is in one mask; looking silences the bell."""
    waiter = VectorWaiter([semaphore.name for semaphore in semaphores])
    try:
        semaphores[0].release()
        semaphores[2].release()
        fired = 0

        def both() -> bool:
            nonlocal fired
            fired |= waiter.fired()
            return fired == 0b101

        wait_until(both, 5.0, "both vectors")
        assert waiter.fired() == 0
    finally:
        waiter.close()


def test_closing_leaves_the_semaphores_as_they_were(semaphores: list[posix_ipc.Semaphore]) -> None:
    """A successor must not find posts that nobody made."""
    waiter = VectorWaiter([semaphore.name for semaphore in semaphores])
    waiter.close()
    waiter.close()
    assert [semaphore.value for semaphore in semaphores] == [0, 0, 0]
    with pytest.raises(ValueError, match="closed"):
        waiter.fired()


def test_a_missing_semaphore_is_an_error_not_a_wait() -> None:
    """It says what was being done."""
    with pytest.raises(NativeError, match="semaphores"):
        VectorWaiter(["/idxdd-there-is-no-such-semaphore"])
