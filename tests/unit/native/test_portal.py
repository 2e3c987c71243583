"""The client's side of a portal, against a device that the test plays: order, limits, closes, sleeping and waking."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_portal import DEVICE_GONE, HALTED, FakePortal, SharedStruct
from waiting import Lateness, wait_until

from idxdd.native import (
    LAYOUT,
    SUBMIT_CLOSED,
    SUBMIT_GONE,
    SUBMIT_RETRY,
    WAIT_CLOSED,
    WAIT_DONE,
    WAIT_GONE,
    WAIT_TIMEOUT,
    NativeError,
    Portal,
)

SLOTS = LAYOUT["portal_slots"]


def descriptor(number: int) -> bytes:
    return number.to_bytes(8, "little") * 8


@pytest.fixture
def fake() -> Iterator[FakePortal]:
    with FakePortal(limit=SLOTS) as portal:
        yield portal


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def asleep(fake: FakePortal, number: int) -> Callable[[], bool]:
    """A waiter has asked to be woken at `number`."""
    return lambda: fake.client.get64("wake_at") == number


# ---- publishing --------------------------------------------------------------------------------------------------------


def test_submit_fills_the_slot_and_moves_the_tail(fake: FakePortal) -> None:
    """What the engine reads is the descriptor, under the number that submit returned."""
    for number in range(SLOTS):
        assert fake.portal.submit(descriptor(number)) == number
        assert fake.client.get64("tail") == fake.portal.tail == number + 1
        assert fake.slot(number) == descriptor(number)


def test_slots_are_used_again_after_the_ring_went_round(fake: FakePortal) -> None:
    """Number 128 lies in slot 0; the numbers themselves never wrap."""
    assert fake.portal.submit_many(b"".join(map(descriptor, range(100)))) == 100
    fake.device.set64("limit", 200)
    assert fake.portal.submit_many(b"".join(map(descriptor, range(100, 228)))) == 100
    assert fake.portal.tail == 200
    assert [fake.slot(n) for n in range(72, 200)] == [descriptor(n) for n in range(72, 200)]


def test_the_bell_rings_only_while_the_device_sleeps(fake: FakePortal) -> None:
    """A busy pair makes no system call; a sleeping device is rung once for each publication, group or single."""
    fake.portal.submit(descriptor(0))
    assert fake.doorbell_rings() == 0
    fake.published.set32("asleep", 1)
    fake.portal.submit(descriptor(1))
    assert fake.doorbell_rings() == 1
    assert fake.portal.submit_many(descriptor(2) * 5) == 5
    assert fake.doorbell_rings() == 1


def test_a_full_doorbell_does_not_block(fake: FakePortal) -> None:
    """The device never reads it, so its counter may be anything."""
    os.eventfd_write(fake.doorbell, 2**64 - 2)
    fake.published.set32("asleep", 1)
    assert fake.portal.submit(descriptor(0)) == 0


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_submit_many_takes_what_there_is_room_for(limit: int) -> None:
    """In order, and no further than the limit."""
    with FakePortal(limit=limit) as fake:
        assert fake.portal.submit_many(b"".join(map(descriptor, range(8)))) == limit
        assert fake.portal.tail == fake.client.get64("tail") == limit
        assert [fake.slot(n) for n in range(limit)] == [descriptor(n) for n in range(limit)]


def test_submit_many_count(fake: FakePortal) -> None:
    """count takes the first ones of a larger buffer."""
    assert fake.portal.submit_many(descriptor(9) * 8, 3) == 3
    assert fake.portal.submit_many(descriptor(9) * 8, count=0) == 0
    assert fake.portal.tail == 3
    with pytest.raises(ValueError, match="count: 9"):
        fake.portal.submit_many(descriptor(9) * 8, 9)


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_a_descriptor_has_64_bytes(fake: FakePortal, size: int) -> None:
    """Anything else is one clear error, and nothing is published."""
    with pytest.raises(ValueError, match="descriptor"):
        fake.portal.submit(bytes(size))
    with pytest.raises(ValueError, match="descriptor"):
        fake.portal.post(bytes(size))
    assert fake.portal.tail == 0


def test_our_own_page_is_never_read_back(fake: FakePortal) -> None:
    """Whoever scribbles into it does not move our cursor."""
    fake.portal.submit(descriptor(0))
    fake.client.set64("tail", 77)
    assert fake.portal.submit(descriptor(1)) == 1
    assert fake.client.get64("tail") == 2


def test_a_wild_limit_gives_room_for_the_ring_at_most(fake: FakePortal) -> None:
    """The device's values are bounded before they are used."""
    fake.device.set64("limit", 2**64 - 2)
    assert fake.portal.submit_many(descriptor(0) * 500) == SLOTS


def test_a_withdrawn_limit_is_no_room(fake: FakePortal) -> None:
    """limit below tail: what was published waits in its slot, nothing more is."""
    fake.portal.submit_many(descriptor(0) * 4)
    fake.device.set64("limit", 2)
    assert fake.portal.submit(descriptor(4)) == SUBMIT_RETRY


# ---- at the limit --------------------------------------------------------------------------------------------------------


def test_dedicated_submit_asks_and_does_not_wait() -> None:
    """A dedicated WQ gives no answer; the question lets the device divide again. One question until it is answered."""
    with FakePortal(limit=0) as fake:
        fake.published.set32("asleep", 1)
        assert fake.portal.submit(descriptor(0)) == SUBMIT_RETRY
        assert fake.portal.submit(descriptor(0)) == SUBMIT_RETRY
        assert (fake.client.get32("want"), fake.doorbell_rings()) == (1, 1)
        fake.device.set32("answered", 1)
        assert fake.portal.submit(descriptor(0)) == SUBMIT_RETRY
        assert fake.client.get32("want") == 2
        fake.device.set64("limit", 1)
        assert fake.portal.submit(descriptor(0)) == 0
        assert fake.client.get64("dropped") == 0


def test_dedicated_post_at_the_limit_is_dropped_and_counted() -> None:
    """As a posted write on hardware: the device turns the count into SWERR 0x53."""
    with FakePortal(limit=1) as fake:
        assert fake.portal.post(descriptor(0)) is True
        assert fake.portal.post(descriptor(1)) is False
        assert fake.portal.post(descriptor(1)) is False
        assert (fake.client.get64("dropped"), fake.portal.tail) == (2, 1)
        assert fake.doorbell_rings() == 2


def test_shared_submit_is_answered(pool: ThreadPoolExecutor) -> None:
    """ENQCMD gets an answer: want, then answered, then the limit decides - retry or accepted."""
    with FakePortal(dedicated=False, limit=0) as fake:
        fake.published.set32("asleep", 1)
        submission = pool.submit(fake.portal.submit, descriptor(0))
        wait_until(lambda: fake.client.get32("want") == 1)
        assert fake.doorbell_rings() == 1
        assert not submission.done()
        fake.device.set32("answered", 1)
        assert submission.result(5) == SUBMIT_RETRY
        submission = pool.submit(fake.portal.submit_many, descriptor(0) * 3)
        wait_until(lambda: fake.client.get32("want") == 2)
        fake.device.set64("limit", 2)
        fake.device.set32("answered", 2)
        assert submission.result(5) == 2


def test_shared_submit_without_an_answer_is_retry_within_bounds() -> None:
    """A device that does not answer costs a second, not for ever."""
    with FakePortal(dedicated=False, limit=0) as fake:
        start = time.monotonic()
        assert fake.portal.submit(descriptor(0)) == SUBMIT_RETRY
        assert time.monotonic() - start < 3


def test_a_question_ends_when_the_portal_closes(pool: ThreadPoolExecutor) -> None:
    """Nobody answers on a closed portal."""
    with FakePortal(dedicated=False, limit=0) as fake:
        submission = pool.submit(fake.portal.submit, descriptor(0))
        wait_until(lambda: fake.client.get32("want") == 1)
        fake.shut(HALTED, 0)
        assert submission.result(0.9) == SUBMIT_CLOSED


# ---- closing -------------------------------------------------------------------------------------------------------------


def test_a_closed_portal_refuses_before_it_publishes(fake: FakePortal) -> None:
    """Nothing is put into the slots of a portal that is known to be closed."""
    fake.shut(HALTED, 0)
    assert fake.portal.submit(descriptor(0)) == SUBMIT_CLOSED
    assert fake.portal.submit_many(descriptor(0) * 2) == SUBMIT_CLOSED
    assert fake.client.get64("tail") == 0
    with pytest.raises(NativeError, match="closed by the device"):
        fake.portal.post(descriptor(0))


def test_a_close_in_the_middle_decides_by_closed_at(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """Without the look at `closed` after the fence a refused descriptor would be reported as accepted (model b4)."""
    stop = threading.Event()

    def publish() -> tuple[int, int]:
        accepted = 0
        while not stop.is_set():
            fake.device.set64("limit", accepted + SLOTS)
            answer = fake.portal.submit_many(descriptor(accepted) * 3)
            if answer < 3:
                return accepted + max(answer, 0), answer
            accepted += answer
        return accepted, SUBMIT_RETRY

    publisher = pool.submit(publish)
    wait_until(lambda: fake.portal.tail > 3000)
    fake.shut(HALTED)
    closed_at = fake.client.get64("tail")
    wait_until(lambda: fake.portal.tail >= closed_at)
    fake.device.set64("closed_at", closed_at)
    accepted, answer = publisher.result(5)
    stop.set()
    assert accepted == closed_at
    assert answer in (SUBMIT_CLOSED, 1, 2)


def test_the_daemon_shutting_down_is_gone(fake: FakePortal) -> None:
    """A close for that reason is not one that a reopen can undo."""
    fake.shut(DEVICE_GONE, 0)
    assert fake.portal.submit(descriptor(0)) == SUBMIT_GONE
    assert fake.portal.wait(1, 5) == WAIT_GONE


def test_a_reopened_portal_goes_on(fake: FakePortal) -> None:
    """Numbers go on where they were."""
    fake.portal.submit(descriptor(0))
    fake.shut(HALTED, 1)
    assert fake.portal.submit(descriptor(1)) == SUBMIT_CLOSED
    fake.device.set64("closed_at", 2**64 - 1)
    fake.device.set32("closed", 0)
    assert fake.portal.submit(descriptor(1)) == 1


# ---- waiting -------------------------------------------------------------------------------------------------------------


def test_wait_answers_at_once_when_it_is_done(fake: FakePortal) -> None:
    fake.finish(5)
    assert fake.portal.wait(5, 0) == WAIT_DONE
    assert fake.portal.wait(6, 0) == WAIT_TIMEOUT
    assert fake.client.get64("wake_at") == 0


def test_a_sleeper_is_woken_at_its_number(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """It asks for one number, sleeps through the ones before it, and asks for nothing when awake."""
    waiter = pool.submit(fake.portal.wait, 3, 5)
    wait_until(asleep(fake, 3))
    assert not fake.finish(2)
    assert fake.finish(3)
    assert waiter.result(5) == WAIT_DONE
    assert fake.client.get64("wake_at") == 0


def test_a_wait_for_room_without_end_does_not_end_at_once(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """Its deadline wrapped to a moment ago: who waited for ever was told of a time-out, again and again."""
    fake.device.set64("limit", 0)
    waiter = pool.submit(fake.portal.wait_room, float("inf"))
    wait_until(lambda: fake.client.get32("want") > 0 or waiter.done())  # its belt: it slept, and asked
    fake.device.set32("answered", fake.client.get32("want"))
    fake.device.set64("limit", 1)
    fake.ring()
    assert waiter.result(5) == WAIT_DONE


def test_a_wait_times_out_and_disarms(fake: FakePortal) -> None:
    start = time.monotonic()
    assert fake.portal.wait(1, 0.15) == WAIT_TIMEOUT
    assert 0.14 < time.monotonic() - start < 2
    assert fake.client.get64("wake_at") == 0


def test_threads_waiting_at_once_are_all_woken(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """One sleeps at the socket for all; the smallest number is armed, then the next one. Bells are enough: no belt."""
    numbers = [7, 3, 9, 3, 5, 8, 2, 6]
    waiters = {n: [] for n in numbers}
    for n in numbers:
        waiters[n].append(pool.submit(fake.portal.wait, n, 20))
    start = time.monotonic()
    for n in sorted(set(numbers)):
        wait_until(asleep(fake, n))
        assert fake.finish(n)
        assert [waiter.result(5) for waiter in waiters[n]] == [WAIT_DONE] * len(waiters[n])
    assert time.monotonic() - start < 5
    wait_until(asleep(fake, 0))


def test_a_smaller_number_takes_over(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """The thread at the socket waits for 9; another one comes for 2 and is woken by the same socket."""
    late = pool.submit(fake.portal.wait, 9, 20)
    wait_until(asleep(fake, 9))
    early = pool.submit(fake.portal.wait, 2, 20)
    wait_until(asleep(fake, 2))
    assert fake.finish(2)
    assert early.result(5) == WAIT_DONE
    wait_until(asleep(fake, 9))
    assert fake.finish(9)
    assert late.result(5) == WAIT_DONE


def test_the_socket_is_handed_over(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """When the thread at the socket gives up, another one takes its place: the bell is heard, not the belt."""
    first = pool.submit(fake.portal.wait, 5, 0.05)
    wait_until(asleep(fake, 5))
    second = pool.submit(fake.portal.wait, 6, 20)
    assert first.result(5) == WAIT_TIMEOUT
    wait_until(asleep(fake, 6))
    assert fake.finish(6)
    assert second.result(5) == WAIT_DONE


@pytest.mark.parametrize("waiting", [1, 5])
def test_waiters_learn_of_a_dead_daemon_within_a_second(fake: FakePortal, pool: ThreadPoolExecutor, waiting: int) -> None:
    """End of file on the wake socket ends every wait, and every later one."""
    waiters = [pool.submit(fake.portal.wait, n + 1, 20) for n in range(waiting)]
    wait_until(asleep(fake, 1))
    with Lateness() as late:
        start = time.monotonic()
        fake.die()
        assert [waiter.result(15) for waiter in waiters] == [WAIT_GONE] * waiting
        assert time.monotonic() - start < late.limit(1)
    assert fake.portal.wait(1, 5) == WAIT_GONE


def test_who_only_polls_learns_of_a_dead_daemon() -> None:
    """Neither a wait of no time nor a submission at the limit sleeps, and both must find out."""
    for dedicated in (False, True):
        with FakePortal(limit=0, dedicated=dedicated) as fake, Lateness() as late:
            fake.die()
            start = time.monotonic()
            wait_until(lambda: fake.portal.wait(1, 0) == WAIT_GONE, 10)
            wait_until(lambda: fake.portal.submit(descriptor(0)) == SUBMIT_GONE, 10)
            assert time.monotonic() - start < late.limit(1)


def test_waiters_of_a_closed_portal_get_what_was_accepted(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """A drained close still finishes what lies below closed_at; past it nothing comes."""
    fake.portal.submit_many(descriptor(0) * 4)
    inside, past = pool.submit(fake.portal.wait, 2, 20), pool.submit(fake.portal.wait, 4, 20)
    wait_until(asleep(fake, 2))
    fake.shut(HALTED, 3)
    assert fake.finish(2)
    assert inside.result(5) == WAIT_DONE
    wait_until(asleep(fake, 3))
    assert fake.finish(3)
    assert past.result(5) == WAIT_CLOSED


def test_a_closed_portal_that_never_finishes_ends_the_wait(fake: FakePortal) -> None:
    """closed without closed_at (the daemon hangs): bounded."""
    fake.portal.submit(descriptor(0))
    fake.shut(HALTED)
    start = time.monotonic()
    assert fake.portal.wait(1, 20) == WAIT_CLOSED
    assert time.monotonic() - start < 3


def test_wait_record(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """The record decides, not the count of finished descriptors, which may be another's."""
    record = bytearray(32)
    fake.portal.submit_many(descriptor(0) * 2)
    waiter = pool.submit(fake.portal.wait_record, record, 20, 1)
    wait_until(asleep(fake, 1))
    fake.finish(1)  # the other descriptor
    wait_until(asleep(fake, 2))
    assert not waiter.done()
    record[0] = 1
    fake.finish(2)
    assert waiter.result(5) == WAIT_DONE
    assert fake.portal.wait_record(record, 0, 99) == WAIT_DONE


def test_wait_record_ends_when_everything_has_finished_and_the_portal_is_closed(fake: FakePortal) -> None:
    """An aborted descriptor leaves no record, and its waiter must not wait for ever."""
    fake.portal.submit(descriptor(0))
    fake.finish(1)
    fake.shut(HALTED, 1)
    record = bytearray(32)
    assert fake.portal.wait_record(record, 20, 1) == WAIT_DONE
    assert record[0] == 0


def test_wait_record_ended_when_a_completion_was_lost(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """`done` passes a descriptor whose record comes later, out of the event log, or never: the record decides."""
    record = bytearray(32)
    fake.portal.submit(descriptor(0))
    fake.finish(1)
    assert fake.portal.wait_record(record, 0.02, 1) == WAIT_TIMEOUT
    waiter = pool.submit(fake.portal.wait_record, record, 20, 1)
    wait_until(asleep(fake, 2))
    record[0] = 1  # nobody rings for it
    assert waiter.result(10) == WAIT_DONE


def test_a_signal_interrupts_a_wait(fake: FakePortal) -> None:
    """Ctrl-C works while a program waits for the device."""

    class Interrupted(Exception):
        pass

    def handle(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        start = time.monotonic()
        with pytest.raises(Interrupted):
            fake.portal.wait(1, 20)
        assert time.monotonic() - start < 2
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert fake.client.get64("wake_at") == 0


def test_a_handled_signal_does_not_shorten_a_wait(fake: FakePortal) -> None:
    """A handler that returns leaves the rest of the time-out."""
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: calls.append(number))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        start = time.monotonic()
        assert fake.portal.wait(1, 0.3) == WAIT_TIMEOUT
        assert time.monotonic() - start >= 0.29
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert calls


def test_nobody_spins_when_clients_outnumber_cores(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """With cores to spare a waiter looks first and asks later; else it asks at once."""
    fake.published.set32("cores", 2)
    fake.published.set32("clients", 2)
    used = time.thread_time()
    for _ in range(50):
        fake.portal.wait(1, 0.0001)
    outnumbered = time.thread_time() - used
    fake.published.set32("clients", 1)
    used = time.thread_time()
    for _ in range(50):
        fake.portal.wait(1, 0.0001)
    assert time.thread_time() - used > outnumbered


# ---- event loops -----------------------------------------------------------------------------------------------------------


def test_asyncio_is_woken(fake: FakePortal) -> None:
    """sleeping_fd arms and can be watched by any event loop; drain_bell makes it quiet."""

    async def wait_for(number: int) -> None:
        loop = asyncio.get_running_loop()
        while (fd := fake.portal.sleeping_fd(number)) >= 0:
            readable = loop.create_future()
            loop.add_reader(fd, lambda future=readable: future.done() or future.set_result(None))
            await asyncio.wait_for(readable, 5)
            loop.remove_reader(fd)
            fake.portal.drain_bell()

    async def main() -> None:
        for number in range(1, 20):
            waiting = asyncio.ensure_future(wait_for(number))
            await asyncio.sleep(0)
            assert fake.finish(number)
            await waiting

    asyncio.run(main())
    assert fake.portal.sleeping_fd(19) == -1
    assert fake.client.get64("wake_at") == 0


def test_an_event_loop_and_threads_share_the_bell(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """Whoever reads the socket passes on what was meant for the others, in both directions."""
    import select

    for number in range(1, 200, 2):
        thread = pool.submit(fake.portal.wait, number + number % 4 // 2, 20)
        wait_until(asleep(fake, number + number % 4 // 2))
        fd = fake.portal.sleeping_fd(number)
        assert fd >= 0
        fake.finish(number)
        assert select.select([fd], [], [], 5)[0], "the event loop's bell was taken by the thread"
        fake.portal.drain_bell()
        fake.finish(number + 1)
        assert thread.result(5) == WAIT_DONE


def test_an_event_loop_sees_a_dead_daemon(fake: FakePortal) -> None:
    fd = fake.portal.sleeping_fd(1)
    fake.die()
    import select

    assert select.select([fd], [], [], 5)[0]
    fake.portal.drain_bell()
    assert fake.portal.sleeping_fd(1) == -1
    assert fake.portal.wait(1, 0) == WAIT_GONE


# ---- threads, processes, life ------------------------------------------------------------------------------------------------


def test_threads_share_a_portal(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """Every number is given out once, and its slot holds that thread's descriptor."""
    each, threads = 500, 4
    stop = threading.Event()

    def grant() -> None:
        while not stop.wait(0.0002):
            fake.device.set64("limit", fake.portal.tail + 64)

    def publish(thread: int) -> list[int]:
        numbers = []
        while len(numbers) < each:
            number = fake.portal.submit(descriptor(thread))
            if number >= 0:
                numbers.append(number)
        return numbers

    granting = pool.submit(grant)
    numbers = [n for each_thread in pool.map(publish, range(threads)) for n in each_thread]
    stop.set()
    granting.result(5)
    assert sorted(numbers) == list(range(each * threads))
    assert fake.client.get64("tail") == each * threads


def test_close_ends_waits_of_other_threads(fake: FakePortal, pool: ThreadPoolExecutor) -> None:
    """The last one out unmaps: closing under a waiter is not a crash."""
    waiters = [pool.submit(fake.portal.wait, n, 20) for n in (1, 2, 3)]
    wait_until(asleep(fake, 1))
    fake.portal.close()
    assert [waiter.result(5) for waiter in waiters] == [WAIT_CLOSED] * 3
    for use in (lambda: fake.portal.submit(descriptor(0)), lambda: fake.portal.wait(1, 0), lambda: fake.portal.tail):
        with pytest.raises(NativeError, match="portal is closed"):
            use()
    fake.portal.close()


FORKED = """
import os, sys
sys.path[:0] = sys.argv[1:]
from fake_portal import FakePortal
from idxdd.native import NativeError
import errno
fake = FakePortal(limit=8)
assert fake.portal.submit(bytes(64)) == 0
child = os.fork()
if child == 0:
    try:
        fake.portal.submit(bytes(64))
    except NativeError as error:
        assert error.errno == errno.ECHILD, error
        fake.portal.close()
        with FakePortal(limit=8) as own:
            assert own.portal.submit(bytes(64)) == 0
        os._exit(42)
    os._exit(1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == 42, status
assert fake.portal.submit(bytes(64)) == 1
fake.close()
"""


def test_a_forked_child_gets_a_named_error() -> None:
    """Its mappings are not inherited; using the handle is an error, not a crash, and it can open its own."""
    run = subprocess.run(
        [sys.executable, "-c", FORKED, str(Path(__file__).parents[2])], timeout=60, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_file_that_is_too_short_is_refused(fake: FakePortal) -> None:
    """Mapping it would be a SIGBUS later."""
    short = os.memfd_create("short")
    try:
        with pytest.raises(NativeError, match="Portal: Invalid argument"):
            Portal(
                client_fd=short,
                device_fd=fake.device.fd,
                published_fd=fake.published.fd,
                doorbell_fd=fake.doorbell,
                wake_fd=fake.wake_fd,
                dedicated=True,
            )
    finally:
        os.close(short)


def test_another_layout_version_is_refused(fake: FakePortal) -> None:
    """A daemon of another release must not be talked to by guess."""
    other = SharedStruct("published_device")
    other.set32("layout_version", 99)
    with pytest.raises(NativeError, match="Protocol error"):
        Portal(
            client_fd=fake.client.fd,
            device_fd=fake.device.fd,
            published_fd=other.fd,
            doorbell_fd=fake.doorbell,
            wake_fd=fake.wake_fd,
            dedicated=True,
        )
    other.close()


def test_nothing_is_leaked(fake: FakePortal) -> None:
    """Every descriptor and mapping is given back, whether closed or collected."""
    count = len(os.listdir("/proc/self/fd"))
    maps = Path("/proc/self/maps").read_text().count("portal_client")
    for close in (True, False):
        other = Portal(
            client_fd=fake.client.fd,
            device_fd=fake.device.fd,
            published_fd=fake.published.fd,
            doorbell_fd=fake.doorbell,
            wake_fd=fake.wake_fd,
            dedicated=True,
        )
        other.sleeping_fd(1)
        other.wait(1, 0.001)
        if close:
            other.close()
        del other
    assert len(os.listdir("/proc/self/fd")) == count
    assert Path("/proc/self/maps").read_text().count("portal_client") == maps
