"""A kernel channel: every completion is delivered exactly once, here, whoever polls."""

import threading
from collections import Counter

import pytest
from unit.client.client_fakes import FakeChannel, FakeConnection, opened
from waiting import wait_until

from idxd_client import (
    Completion,
    Descriptor,
    DescriptorAborted,
    DeviceGone,
    ForkedHandle,
    HandleClosed,
    KernelChannel,
    PortalClosed,
    TxnResult,
    WaitTimeout,
    WorkQueueFull,
)
from idxdd import native

Pair = tuple[FakeChannel, KernelChannel]


def test_completions_come_by_poll_with_their_callback(native_and_channel: Pair) -> None:
    """poll() is the place where callbacks run."""
    fake, channel = native_and_channel
    seen: list[int] = []
    first = channel.submit(Descriptor.noop(), callback=lambda c: seen.append(c.number))
    second = channel.submit(Descriptor.noop())
    fake.complete(second.number)
    fake.complete(first.number)
    assert channel.in_flight == 2
    assert channel.poll() == 2
    assert seen == [first.number]
    assert first.result(0).txn is TxnResult.NOERROR
    assert (channel.in_flight, channel.poll()) == (0, 0)


def test_an_unknown_or_repeated_ticket_delivers_nothing(native_and_channel: Pair) -> None:
    """A successor of idxdd-irq may write a completion again; the callback must not run twice."""
    fake, channel = native_and_channel
    calls: Counter[int] = Counter()
    completion = channel.submit(Descriptor.noop(), callback=lambda c: calls.update([c.number]))
    fake.complete(completion.number)
    fake.complete(completion.number)
    fake.complete(99 << 16)
    assert channel.poll() == 1
    assert calls == {completion.number: 1}


def test_many_pollers_deliver_each_completion_once(native_and_channel: Pair) -> None:
    """Four threads poll while one submits: no callback is lost, none runs twice."""
    fake, channel = native_and_channel
    calls: Counter[int] = Counter()
    lock = threading.Lock()
    stop = threading.Event()

    def called(completion: Completion) -> None:
        with lock:
            calls.update([completion.number])

    def poll() -> None:
        while not stop.is_set():
            channel.poll()

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    numbers = []
    for _ in range(2000):
        completion = channel.submit(Descriptor.noop(), callback=called)
        numbers.append(completion.number)
        fake.complete(completion.number)
    wait_until(lambda: len(calls) == 2000)
    stop.set()
    for thread in threads:
        thread.join()
    assert calls == Counter(numbers)


def test_a_callback_may_submit(native_and_channel: Pair) -> None:
    """Chains of descriptors are the usual way to use a channel; a lock held over callbacks would stop here."""
    fake, channel = native_and_channel
    chain: list[int] = []

    def next_one(completion: Completion) -> None:
        chain.append(completion.number)
        if len(chain) < 5:
            fake.complete(channel.submit(Descriptor.noop(), callback=next_one).number)

    fake.complete(channel.submit(Descriptor.noop(), callback=next_one).number)
    while channel.poll():
        pass
    assert len(chain) == 5


def test_retry_delivers_own_completions_first(native_and_channel: Pair) -> None:
    """A slot is free again only when its completion was delivered: without that a full channel would never get room."""
    fake, channel = native_and_channel
    first = channel.submit(Descriptor.noop())
    fake.answers.append(native.SUBMIT_RETRY)
    fake.on_wait = lambda: fake.complete(first.number)
    channel.submit(Descriptor.noop())
    assert channel.poll() == 1 or first.settled
    assert channel.retries == 1
    fake.answers.extend([native.SUBMIT_RETRY] * 100_000)
    with pytest.raises(WorkQueueFull, match="no free descriptor"):
        channel.submit(Descriptor.noop(), timeout=0.02)


def test_a_group_goes_on_where_there_was_no_room(native_and_channel: Pair) -> None:
    """Each descriptor of a group is published once, in order, whatever the WQ answers in between."""
    fake, channel = native_and_channel
    calls: list[int] = []
    fake.answers.extend([0, 0, native.SUBMIT_RETRY, 0, native.SUBMIT_RETRY, 0, 0])
    fake.on_wait = lambda: fake.complete(fake.submitted[fake.completed])
    completions = channel.submit_many([Descriptor.noop()] * 5, callback=lambda c: calls.append(c.number))
    assert [completion.number for completion in completions] == fake.submitted
    for ticket in fake.submitted[fake.completed :]:
        fake.complete(ticket)
    channel.poll()
    assert calls == fake.submitted
    fake.answers.extend([0, native.SUBMIT_CLOSED])
    with pytest.raises(PortalClosed):
        channel.submit_many([Descriptor.noop()] * 3)
    assert channel.in_flight == 1, "what was accepted before the refusal is on its way"
    fake.complete(fake.submitted[-1])


def test_an_abort_is_an_error_with_its_callback(native_and_channel: Pair) -> None:
    """The driver completes what it aborts, too."""
    fake, channel = native_and_channel
    calls: list[Completion] = []
    completion = channel.submit(Descriptor.noop(), callback=calls.append)
    fake.complete(completion.number, status=0, result=TxnResult.ABORTED)
    with pytest.raises(DescriptorAborted):
        completion.result(1).raise_for_status()
    assert calls == [completion]


@pytest.mark.parametrize(("answer", "error"), [(native.WAIT_GONE, DeviceGone), (native.WAIT_CLOSED, PortalClosed)])
def test_the_end_of_the_channel_settles_the_rest(native_and_channel: Pair, answer: int, error: type[Exception]) -> None:
    """What was completed counts, everything else gets a named error, and nothing hangs."""
    fake, channel = native_and_channel
    calls: list[Completion] = []
    done = channel.submit(Descriptor.noop(), callback=calls.append)
    lost = channel.submit(Descriptor.noop(), callback=calls.append)
    fake.wait_answer = answer
    fake.on_wait = lambda: fake.complete(done.number) if not fake.completed else None
    with pytest.raises(error):
        lost.result(5)
    assert done.result(0).ok
    assert calls == [done, lost]


def test_a_wait_ends_at_its_time_out(native_and_channel: Pair) -> None:
    """Finite, always."""
    _, channel = native_and_channel
    with pytest.raises(WaitTimeout, match=r"not complete after 0\.05 s"):
        channel.submit(Descriptor.noop()).wait(0.05)


def test_the_dispatcher_is_opt_in(native_and_channel: Pair) -> None:
    """No thread runs callbacks unless the application asked for one."""
    fake, channel = native_and_channel
    before = threading.active_count()
    thread: list[str] = []
    completion = channel.submit(Descriptor.noop(), callback=lambda _: thread.append(threading.current_thread().name))
    assert threading.active_count() == before
    channel.start_dispatcher()
    fake.complete(completion.number)
    wait_until(lambda: bool(thread))
    assert thread == ["idxd dispatcher dsa0/wq0.2"]
    channel.stop_dispatcher()


def test_close_and_fork_refuse_later_use(connection: FakeConnection) -> None:
    """Like a user WQ: named errors; what was in flight is settled."""
    channel = KernelChannel(connection, opened("dsa0/wq0.2", kernel=True))  # type: ignore[arg-type]
    lost = channel.submit(Descriptor.noop())
    channel.close()
    with pytest.raises(HandleClosed):
        lost.result(1)
    with pytest.raises(HandleClosed):
        channel.submit(Descriptor.noop())
    forked = KernelChannel(connection, opened("dsa0/wq0.2", kernel=True))  # type: ignore[arg-type]
    forked.after_fork_in_child()
    with pytest.raises(ForkedHandle):
        forked.poll()
    forked.close()
    assert connection.closed_portals == [7]
