"""A work queue's policy: what happens when it is full, closed, gone, or nobody writes a record."""

import asyncio
import gc
import threading
import time

import pytest
from unit.client.client_fakes import FakeConnection, FakePortal, opened
from waiting import Lateness, wait_until

from idxd_client import (
    ClosedReason,
    Descriptor,
    DescriptorAborted,
    DeviceGone,
    ForkedHandle,
    HandleClosed,
    PortalClosed,
    WaitTimeout,
    WorkQueue,
    WorkQueueFull,
    wait_all,
    wait_any,
    wait_some,
)
from idxdd import native

Pair = tuple[FakePortal, WorkQueue]


def test_a_submission_gets_a_record_and_a_result(portal_and_wq: Pair) -> None:
    """The whole way once: packed, published, completed, decoded."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    assert not completion.done()
    portal.complete()
    assert completion.done()
    assert completion.result(0).ok
    assert completion.number == 0


def test_retry_waits_for_half_of_what_is_outstanding(portal_and_wq: Pair) -> None:
    """Sleeping while our own descriptors finish would waste the WQ; waking for each one would publish them one by one."""
    portal, wq = portal_and_wq
    for _ in range(8):
        wq.submit(Descriptor.noop())
    portal.answers.extend([native.SUBMIT_RETRY])
    portal.on_wait = lambda: portal.complete(4)
    assert wq.submit(Descriptor.noop()).number == 8
    assert portal.waits[0][0] == 4
    assert wq.retries == 1


def test_retry_without_anything_of_ours_ends_at_the_time_out(portal_and_wq: Pair) -> None:
    """Others fill a shared WQ: the call must end, and say why."""
    portal, wq = portal_and_wq
    portal.answers.extend([native.SUBMIT_RETRY] * 100_000)
    with Lateness() as late:
        start = time.monotonic()
        with pytest.raises(WorkQueueFull, match=r"dsa0/wq0.1: submit: .* retry"):
            wq.submit(Descriptor.noop(), timeout=0.05)
        assert time.monotonic() - start < late.limit(2)
    assert wq.retries > 0
    assert portal.waits == []


@pytest.mark.parametrize(
    ("answer", "reason", "error", "words"),
    [
        (native.SUBMIT_CLOSED, 1, PortalClosed, "wq disabled"),
        (native.SUBMIT_CLOSED, 4, PortalClosed, "revoked"),
        (native.SUBMIT_CLOSED, 6, DeviceGone, "gone"),
        (native.SUBMIT_GONE, 0, DeviceGone, "gone"),
    ],
)
def test_a_refused_submission_says_why(
    portal_and_wq: Pair, answer: int, reason: int, error: type[Exception], words: str
) -> None:
    """A program decides by the reason: reopen, reattach or give up."""
    portal, wq = portal_and_wq
    portal.answers.append(answer)
    portal.closed = reason
    with pytest.raises(error, match=words):
        wq.submit(Descriptor.noop())


def test_a_wait_ends_at_its_time_out_and_the_result_still_comes(portal_and_wq: Pair) -> None:
    """A time-out is not an outcome."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    with pytest.raises(WaitTimeout, match=r"not complete after 0\.01 s"):
        completion.wait(0.01)
    portal.complete()
    assert completion.result(0).ok


@pytest.mark.parametrize(
    ("answer", "reason", "error"),
    [(native.WAIT_GONE, 0, DeviceGone), (native.WAIT_CLOSED, 2, PortalClosed), (native.WAIT_CLOSED, 6, DeviceGone)],
)
def test_a_wait_on_a_dead_portal_is_a_named_error(
    portal_and_wq: Pair, answer: int, reason: int, error: type[Exception]
) -> None:
    """No call hangs when the daemon dies."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    portal.wait_answer, portal.closed = answer, reason
    for _ in range(2):
        with pytest.raises(error):
            completion.result(5)
    assert isinstance(completion.exception(), error)


def test_a_record_that_was_written_counts_even_if_the_portal_closed(portal_and_wq: Pair) -> None:
    """What the device finished is finished."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    portal.wait_answer = native.WAIT_CLOSED
    portal.on_wait = portal.complete
    assert completion.result(1).ok


def test_finished_without_a_record_is_aborted_not_success(portal_and_wq: Pair) -> None:
    """An aborted descriptor leaves its record zero; that must never read as done."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    portal.complete(record=False)
    portal.closed = ClosedReason.ABORTED
    with pytest.raises(DescriptorAborted, match="without a completion record"):
        completion.result(1)


def test_a_lost_completion_was_taken_for_an_aborted_one(portal_and_wq: Pair) -> None:
    """`done` on an open portal and a record of 0: it comes later, out of the event log, or never. Only the time-out tells."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.noop())
    portal.complete(record=False)
    with pytest.raises(WaitTimeout):
        completion.result(0.01)
    assert not completion.done()
    assert completion.piece is not None
    completion.piece.view[0] = 1
    assert completion.result(0).ok


def test_what_was_aborted_before_a_reopen_stays_aborted(portal_and_wq: Pair) -> None:
    """The portal is open again when the program asks: what it lost at the close must not read as under way."""
    portal, wq = portal_and_wq
    before = wq.submit(Descriptor.noop())
    portal.complete(record=False)
    portal.closed = ClosedReason.HALTED
    wq.reopen()
    portal.closed = ClosedReason.OPEN
    after = wq.submit(Descriptor.noop())
    with pytest.raises(DescriptorAborted):
        before.result(1)
    with pytest.raises(WaitTimeout):
        after.result(0.01)
    wq.reopen()  # of an open portal: nothing has ended
    with pytest.raises(WaitTimeout):
        after.result(0.01)
    portal.complete()
    assert after.result(1).ok


def test_records_of_dropped_completions_are_not_reused_while_the_device_may_write(portal_and_wq: Pair) -> None:
    """Else a late record would appear as somebody else's completion."""
    portal, wq = portal_and_wq
    arena = wq.connection.arena
    completion = wq.submit(Descriptor.noop())
    assert completion.piece is not None
    address = completion.piece.address
    del completion
    gc.collect()
    taken = [arena.take() for _ in range(arena.statistics()["free"] + 10)]
    assert address not in {piece.address for piece in taken}
    portal.complete()
    taken += [arena.take() for _ in range(arena.statistics()["free"] + 1)]
    assert address in {piece.address for piece in taken}


def test_callbacks_run_once_from_the_dispatcher(portal_and_wq: Pair) -> None:
    """Whoever else looks at the completion meanwhile."""
    portal, wq = portal_and_wq
    calls: list[int] = []
    completions = [wq.submit(Descriptor.noop()) for _ in range(5)]
    for completion in completions:
        completion.add_done_callback(lambda c: calls.append(c.number))
    portal.complete(5)
    wait_all(completions)
    wait_until(lambda: len(calls) == 5)
    wq.stop_dispatcher()
    assert sorted(calls) == [0, 1, 2, 3, 4]
    completions[0].add_done_callback(lambda c: calls.append(100 + c.number))
    assert calls[-1] == 100, "a callback added afterwards runs at once"


def test_a_future_gets_result_or_error(portal_and_wq: Pair) -> None:
    """Programs that know concurrent.futures need nothing new."""
    portal, wq = portal_and_wq
    good = wq.submit_future(Descriptor.noop())
    portal.complete(status=0x10)
    assert not good.result(5).ok
    bad = wq.submit_future(Descriptor.noop())
    portal.wait_answer = native.WAIT_GONE
    assert isinstance(bad.exception(5), DeviceGone)


def test_the_dispatcher_rests_when_the_portal_has_ended(portal_and_wq: Pair) -> None:
    """A dead daemon answers every wait at once: a thread that asked again at once would use a whole core."""
    portal, wq = portal_and_wq
    future = wq.submit_future(Descriptor.noop())
    portal.wait_answer = native.WAIT_GONE
    assert isinstance(future.exception(5), DeviceGone)
    before = len(portal.waits)
    wq.stop_dispatcher()
    assert len(portal.waits) - before <= 2
    wq.start_dispatcher()
    waits = len(portal.waits)
    with pytest.raises(AssertionError, match="never"):
        wait_until(lambda: len(portal.waits) > waits + 5, 0.4, "never")


def test_wait_any_and_wait_some_return_what_is_done(portal_and_wq: Pair) -> None:
    """Some, in any order, with one time-out."""
    portal, wq = portal_and_wq
    completions = [wq.submit(Descriptor.noop()) for _ in range(4)]
    with pytest.raises(WaitTimeout, match="none of 4"):
        wait_any(completions, 0.01)
    portal.complete(1)
    assert wait_any(completions, 1) == completions[:1]
    portal.on_wait = lambda: portal.pending and portal.complete(1)
    assert len(wait_some(completions, 3, 1)) == 3


def test_awaited_completions_of_one_loop_share_a_bell(portal_and_wq: Pair) -> None:
    """Every coroutine wakes when its own descriptor is done, none is lost when they share an fd."""
    portal, wq = portal_and_wq

    async def main() -> list[int]:
        completions = [wq.submit(Descriptor.noop()) for _ in range(10)]
        tasks = [asyncio.create_task(waiter(c)) for c in completions]
        await asyncio.sleep(0)
        while portal.pending:
            portal.complete(1)
            portal.ring()
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    async def waiter(completion: object) -> int:
        result = await completion  # type: ignore[misc]
        return int(result.status)

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [1] * 10


def test_awaiting_ends_when_the_daemon_dies_without_a_bell(portal_and_wq: Pair) -> None:
    """The belt: nobody rings for a daemon that was killed."""
    portal, wq = portal_and_wq

    async def main() -> None:
        completion = wq.submit(Descriptor.noop())
        portal.wait_answer = native.WAIT_GONE
        await completion

    with Lateness() as late:
        start = time.monotonic()
        with pytest.raises(DeviceGone):
            asyncio.run(asyncio.wait_for(main(), 15))
        assert time.monotonic() - start < late.limit(1)


def test_a_batch_carries_its_members_and_their_records(portal_and_wq: Pair) -> None:
    """The list lies in device-visible memory, each member with a record of its own."""
    portal, wq = portal_and_wq
    completion = wq.submit(Descriptor.batch([Descriptor.noop(), Descriptor.fill(0x1000, 1, 8)]))
    packed = portal.submitted[0]
    address, count = int.from_bytes(packed[16:24], "little"), int.from_bytes(packed[32:36], "little")
    assert (count, address % 64) == (2, 0)
    members = bytes(native.view(address, 128, False))
    records = [int.from_bytes(members[at + 8 : at + 16], "little") for at in (0, 64)]
    assert [members[7], members[71]] == [0, 4]
    assert all(record % 32 == 0 for record in records)
    assert len(set(records)) == 2
    native.view(records[0], 1, True)[0] = 1
    native.view(records[1], 1, True)[0] = 0x10
    portal.complete(status=5)
    result = completion.result(0)
    assert [int(member.status) for member in result.members] == [1, 0x10]


def test_closing_ends_what_is_watched_and_every_later_use(connection: FakeConnection) -> None:
    """A closed handle says so by name, and gives its portal back once."""
    answer = opened()
    wq = WorkQueue(connection, answer)  # type: ignore[arg-type]
    future = wq.submit_future(Descriptor.noop())
    wq.close()
    wq.close()
    assert isinstance(future.exception(5), HandleClosed)
    assert connection.closed_portals == [7]
    assert answer.fake_portal.is_closed
    for use in (lambda: wq.submit(Descriptor.noop()), lambda: wq.noop(), wq.statistics, lambda: wq.submit_slot(bytes(64))):
        with pytest.raises(HandleClosed, match="was closed"):
            use()


def test_a_forked_handle_refuses_by_name(connection: FakeConnection) -> None:
    """The portal belongs to the parent: a child that published would corrupt its stream."""
    wq = WorkQueue(connection, opened())  # type: ignore[arg-type]
    wq.after_fork_in_child()
    with pytest.raises(ForkedHandle, match="belongs to the parent"):
        wq.submit(Descriptor.noop())
    wq.close()
    assert connection.closed_portals == [], "the child gives nothing back that is the parent's"


def test_a_replaced_portal_ends_what_was_in_flight(portal_and_wq: Pair) -> None:
    """reattach(): the handle goes on, its old completions say that the device is gone."""
    portal, wq = portal_and_wq
    old = wq.submit(Descriptor.noop())
    answer = opened()
    wq.replace(answer)
    assert portal.is_closed
    with pytest.raises(DeviceGone):
        old.result(1)
    new = wq.submit(Descriptor.noop())
    answer.fake_portal.complete()
    assert new.result(1).ok


def test_an_unclosed_queue_warns_and_is_given_back(connection: FakeConnection) -> None:
    """A dedicated WQ that nobody closes is busy for everybody."""
    wq = WorkQueue(connection, opened())  # type: ignore[arg-type]
    with pytest.warns(ResourceWarning, match="was not closed"):
        del wq
    assert connection.abandoned == [("close", {"portal": 7})]


def test_threads_share_a_queue(portal_and_wq: Pair) -> None:
    """Records are not mixed up between threads that submit at the same time."""
    portal, wq = portal_and_wq
    completions: list[list[object]] = [[] for _ in range(4)]

    def submit(mine: list[object]) -> None:
        mine.extend(wq.submit(Descriptor.noop()) for _ in range(200))

    threads = [threading.Thread(target=submit, args=(mine,)) for mine in completions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pieces = {c.piece.address for mine in completions for c in mine}  # type: ignore[attr-defined]
    assert len(pieces) == 800
    portal.complete(800)


def test_what_was_aborted_does_not_pass_for_finished(portal_and_wq: Pair) -> None:
    """`done` counts aborted descriptors too, and an array with report="errors" takes an empty record for success."""
    portal, wq = portal_and_wq
    wq.submit_slot(bytes(64))
    portal.closed = 3
    portal.complete(record=False)
    with pytest.raises(PortalClosed, match="halted"):
        wq.wait_number(0, 1)
