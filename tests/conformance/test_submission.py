"""Conformance of submission: the client's side of a kernel channel, and what idxdd-irq makes of a failure."""

import errno
import signal
import struct
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from driver_bench import DriverBench, configured
from fake_portal import GATE_CLOSED, GATE_DEAD, FakeChannel, FakePortal
from waiting import wait_until

from idxd_client import Descriptor, KernelChannel
from idxdd.native import LAYOUT, SUBMIT_CLOSED, SUBMIT_RETRY
from idxdd.testing.mock_device import MockChannel

DISABLED, ENABLED, DEVICE_HALTED = 0, 1, 2
SHARED = 2
NOOP_WITH_RCI = struct.pack("<II", 0, 0x10).ljust(64, b"\0")
WRITE_FAILED = 2


@pytest.fixture
def fake() -> Iterator[FakeChannel]:
    with FakeChannel() as channel:
        channel.driver.set32("device_state", ENABLED)
        yield channel


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        yield bench


# ---- alloc and submit ------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("SUB-01")
@pytest.mark.parametrize("state", [DISABLED, DEVICE_HALTED])
def test_a_device_that_is_not_enabled_gives_eio(fake: FakeChannel, state: int) -> None:
    """No slot is taken, nothing is listed; the errno is the driver's."""
    fake.driver.set32("device_state", state)
    fake.set_gate(GATE_DEAD)
    assert fake.channel.submit(NOOP_WITH_RCI) == SUBMIT_CLOSED
    assert fake.channel.refusal == errno.EIO
    assert (fake.channel.in_flight, fake.pending()) == (0, [])


@pytest.mark.conformance("HLT-18", "SUB-11")
def test_a_submitter_blocked_at_the_gate_gets_enxio_when_it_dies(fake: FakeChannel) -> None:
    """The halt path quiesces while the driver still believes the device enabled; whoever comes later gets EIO."""
    fake.set_gate(GATE_CLOSED)
    answers: list[int] = []
    blocked = threading.Thread(target=lambda: answers.append(fake.channel.submit(NOOP_WITH_RCI, block=True)))
    blocked.start()
    wait_until(lambda: fake.client.get32("in_submit") == 0, 10, "it waits outside")
    assert answers == []
    fake.set_gate(GATE_DEAD)
    blocked.join(10)
    assert (answers, fake.channel.refusal) == ([SUBMIT_CLOSED], errno.ENXIO)
    fake.driver.set32("device_state", DEVICE_HALTED)
    assert (fake.channel.submit(NOOP_WITH_RCI, block=True), fake.channel.refusal) == (SUBMIT_CLOSED, errno.EIO)


@pytest.mark.conformance("SUB-03")
def test_an_empty_pool_is_eagain(fake: FakeChannel) -> None:
    """Non-blocking: at once. Blocking: a signal ends the wait, long before its own limit of a second."""
    fake.channel.submit_many(NOOP_WITH_RCI * 16)
    assert fake.channel.submit(NOOP_WITH_RCI) == SUBMIT_RETRY
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: handled.append(number))
    main, over = threading.get_ident(), threading.Event()

    def interrupt() -> None:
        while not over.wait(0.01):
            signal.pthread_kill(main, signal.SIGUSR1)

    interrupting = threading.Thread(target=interrupt)
    start = time.monotonic()
    try:
        interrupting.start()
        answer = fake.channel.submit(NOOP_WITH_RCI, block=True)
    finally:
        over.set()
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert (answer, bool(handled)) == (SUBMIT_RETRY, True)
    assert time.monotonic() - start < 0.9, "not its own limit"
    assert fake.channel.in_flight == 16


@pytest.mark.conformance("SUB-04")
def test_a_descriptor_is_listed_before_the_device_can_see_it(fake: FakeChannel) -> None:
    """Whenever the portal's tail is seen to have moved, the pending list has the descriptor: sampled while another submits."""
    wrong: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            published = fake.client.get64("tail")  # acquire; the pending tail is read after it
            listed = fake.memory.get64("pending_tail")
            if listed < published:
                wrong.append((listed, published))

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(300):
        tickets = fake.channel.submit_many(NOOP_WITH_RCI * 8)
        fake.device.set64("limit", fake.portal.tail + 100)
        for ticket in tickets:
            fake.complete(ticket)
        fake.channel.reap()
    over.set()
    looking.join()
    assert wrong == []
    assert fake.memory.get64("pending_tail") == fake.client.get64("tail") == 2400


@pytest.mark.conformance("SUB-05")
def test_the_slot_advances_64_bytes_a_submission_and_wraps_at_the_portals_end() -> None:
    """As the portal address does over its page; a full-size burst never meets a slot that is still in use."""
    slots = LAYOUT["portal_slots"]
    with FakePortal(limit=3 * slots) as fake:
        base = fake.client.offset("slot")
        for number in range(2 * slots + 3):
            desc = struct.pack("<Q", number + 1).ljust(64, b"\0")
            assert fake.portal.submit(desc) == number
            at = base + 64 * (number % slots)
            assert fake.client.map[at : at + 64] == desc
            fake.device.set64("done", number + 1)
        assert LAYOUT["portal_client.slot[]"] == 64


@pytest.mark.conformance("SUB-06")
def test_a_full_shared_wq_is_asked_and_then_is_eagain() -> None:
    """Each attempt is a question that the device answers, as ENQCMD is; nothing is listed, so that there is nothing to abort.

    The attempts of idxdd-irq's own submissions are counted in test_a_full_wq_fails_the_descriptor_after_all_attempts."""
    with FakeChannel(dedicated=False, limit=0) as fake:
        fake.driver.set32("device_state", ENABLED)
        over, asked = threading.Event(), [0]

        def answer() -> None:
            while not over.is_set():
                want = fake.client.get32("want")
                if want != asked[0]:
                    asked[0] = want
                    fake.device.set32("answered", want)

        answering = threading.Thread(target=answer)
        answering.start()
        try:
            answers = [fake.channel.submit(NOOP_WITH_RCI) for _ in range(33)]
        finally:
            over.set()
            answering.join()
        assert answers == [SUBMIT_RETRY] * 33
        assert asked == [33]
        assert (fake.pending(), fake.channel.in_flight) == ([], 0)


@pytest.mark.conformance("CMP-12")
def test_a_descriptor_that_nobody_waits_for_is_freed_without_a_callback(fake: FakeChannel) -> None:
    """Submitted past the library, so that no completion object (cookie) stands for it: nobody is called, its slot is free."""
    words = {"name": "dsa0/wq0.2", "number": 3, "dedicated": True, "size": 16, "threshold": 0, "slots": 16}
    words |= {"max_transfer_size": 1, "max_batch_size": 1, "portal_number": 1, "channel_address": 0}
    opened = SimpleNamespace(portal=lambda: fake.portal, channel=lambda _portal: fake.channel, **words)
    connection = SimpleNamespace(agent=None, close_portal=lambda *_: None, arena=None)
    channel = KernelChannel(connection, opened)  # type: ignore[arg-type]
    called: list[int] = []
    known = channel.submit(Descriptor.noop(), callback=lambda completion: called.append(completion.number))
    unknown = fake.channel.submit(NOOP_WITH_RCI)
    for ticket in (unknown, known.number):
        fake.complete(ticket)
    assert channel.poll() == 1
    assert called == [known.number]
    assert fake.channel.in_flight == 0
    channel.close()


# ---- a failed submission ---------------------------------------------------------------------------------------------------
def interrupt(bench: DriverBench) -> None:
    bench.device.post(SHARED + 1)
    bench.run()


@pytest.mark.conformance("SUB-07")
@pytest.mark.parametrize("where", ["pending", "work", "thread"])
def test_the_victim_of_a_failed_submission_is_found_wherever_it_is(bench: DriverBench, where: str) -> None:
    """On the pending list, on the work list, or in the thread's hands (a resubmission): completed once, as aborted."""
    channel = MockChannel()
    bench.attach(channel, SHARED)
    victim = channel.push(0)
    if where == "work":
        interrupt(bench)
    elif where == "thread":
        bench.device.hold_commands = True
        bench.send("disable_wq", wq=1)
        bench.run()
        channel.set_status(0, 0x19)
        interrupt(bench)  # its resubmission waits for the device's queue
    channel.set_status(0, 0xFF)
    if where == "thread":
        bench.wq(SHARED).set_gate(0)
        bench.device.hold_commands = False
        bench.device.finish_command()
    interrupt(bench)
    interrupt(bench)
    assert channel.completions() == [(victim, 0xFF, WRITE_FAILED)]


@pytest.mark.conformance("SUB-09")
def test_unfinished_ones_beside_a_victim_go_to_the_work_list(bench: DriverBench) -> None:
    """In the order they have there; a later interrupt completes them."""
    channel = MockChannel()
    bench.attach(channel, SHARED)
    first, victim, last = (channel.push(slot) for slot in range(3))
    channel.set_status(1, 0xFF)
    interrupt(bench)
    native = bench.wq(SHARED).channels[1].native
    assert (channel.completions(), native.listed) == ([(victim, 0xFF, WRITE_FAILED)], 2)
    channel.set_status(0, 1)
    channel.set_status(2, 1)
    interrupt(bench)
    assert [ticket for ticket, _, _ in channel.completions()] == [last, first]
