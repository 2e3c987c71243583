"""Halts, resets and the event log between real processes: what a client is told, what comes back, what is delivered."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from daemons import RunningDaemon
from raw_client import MEMMOVE, NOOP, RawClient, RawPortal, descriptor
from waiting import wait_until

import idxd_client
from idxd_client import ClosedReason, Connection, DescriptorAborted, PortalClosed
from idxdd.control.errors import RequestError
from idxdd.spec.codes import CompletionStatus

pytestmark = pytest.mark.xdist_group("recovery")
DEDICATED, SHARED, KERNEL, KERNEL_DEDICATED = (f"dsa0/wq0.{wq}" for wq in range(4))
NOWHERE = 0x7000_0000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[RunningDaemon]:
    """One for all of these tests; with FLR recovery."""
    name = f"recovery-{worker_id}-{tmp_path_factory.getbasetemp().name[-8:]}"
    running = RunningDaemon(name, tmp_path_factory.mktemp("recovery"), "--later", "flr").start()
    yield running
    assert running.stop() == 0, running.said


@pytest.fixture
def conn(daemon: RunningDaemon) -> Iterator[Connection]:
    with idxd_client.connect(daemon.socket) as connection:
        yield connection
        back(daemon)


def state(conn: Connection, wq: str) -> str:
    return str(conn.list()["devices"][0]["wqs"][int(wq[-1])]["state"])


def back(daemon: RunningDaemon) -> None:
    """Every WQ enabled again, whatever a test has left."""
    with idxd_client.connect(daemon.socket) as connection:
        for wq in (DEDICATED, SHARED, KERNEL, KERNEL_DEDICATED):
            if state(connection, wq) != "enabled":
                connection.request("enable_wq", wq=wq)


def told(queue: Any) -> ClosedReason:
    """Why the portal is closed, by a named error; what was accepted before may have been aborted."""
    for _ in range(1000):
        try:
            queue.noop(timeout=10)
        except DescriptorAborted:
            continue
        except PortalClosed as closed:
            return closed.reason
    raise AssertionError("the portal stays open")


def works_again(queue: Any) -> None:
    """Once its WQ is back the same handle goes on, at its client's request."""

    def reopened() -> bool:
        try:
            queue.reopen()
        except RequestError:
            return False
        return True

    wait_until(reopened, 20, "the WQ is enabled again")
    assert queue.noop(timeout=10).status is CompletionStatus.SUCCESS


@pytest.mark.parametrize("wq", [DEDICATED, SHARED, KERNEL])
def test_a_halt_is_a_named_error_and_the_handle_can_be_reopened(conn: Connection, wq: str) -> None:
    """Three halts, the second right after the first: HALTED each time; opens are not counted anew (dedicated: EBUSY)."""
    with conn.open(wq) as queue:
        for _ in range(2):
            conn.request("halt", device="dsa0", reset_type="software")
            assert told(queue) is ClosedReason.HALTED
            works_again(queue)
        counted = conn.list()["devices"][0]["wqs"][int(wq[-1])]["clients"]
        assert counted == (0 if wq == KERNEL else 1)


def test_halts_in_quick_succession_end_in_an_enabled_device(conn: Connection) -> None:
    """As fast as the device is enabled again: every one is recovered from, nobody waits for ever."""
    with conn.open(SHARED) as queue, conn.open(KERNEL) as channel:
        halts = 0
        end = time.monotonic() + 20
        while halts < 4 and time.monotonic() < end:
            try:
                conn.request("halt", device="dsa0", reset_type="software")
                halts += 1
            except RequestError:  # not enabled yet
                continue
            for each in (queue, channel):
                told(each)
        assert halts == 4
        for each in (queue, channel):
            works_again(each)


def test_a_disable_is_named_as_such(conn: Connection) -> None:
    """Reset WQ, which ends it, is no abort to those who were drained before."""
    with conn.open(SHARED) as queue:
        conn.request("disable_wq", wq=SHARED)
        assert told(queue) is ClosedReason.WQ_DISABLED
        conn.request("enable_wq", wq=SHARED)
        works_again(queue)


@pytest.mark.conformance("HLT-14", "HLT-15")
def test_an_flr_brings_user_wqs_back(daemon: RunningDaemon, conn: Connection) -> None:
    """The real device's function is reset: configuration and user WQs return, kernel WQs are enabled by hand."""
    with conn.open(SHARED) as queue, conn.open(KERNEL) as channel:
        conn.request("halt", device="dsa0", reset_type="flr")
        assert told(queue) is ClosedReason.HALTED
        works_again(queue)
        wait_until(lambda: "unable to re-enable wq wq0.3" in daemon.said, 20, "kernel WQs are given up")
        told(channel)
        back(daemon)
        works_again(channel)


def test_perfmon_counts_what_a_work_queue_accepts(conn: Connection) -> None:
    """The driver's event on the real device's counter, read while it runs and stopped."""
    with conn.open(SHARED) as queue:
        event = conn.request("perfmon_start", device="dsa0", category=0, events=1, wq=1 << 1)["event"]
        for _ in range(50):
            queue.noop(timeout=10)

        def counted() -> bool:
            return conn.request("perfmon_read", device="dsa0")["events"][0]["count"] == 50

        wait_until(counted, 20, "all of them are counted")
        assert conn.request("perfmon_stop", device="dsa0", event=event) == {"event": event, "count": 50}


# ---- the event log ---------------------------------------------------------------------------------------------------------
def faults(client: RawClient) -> tuple[int, int]:
    """(delivered or tried, failed) of the device."""
    answer, _ = client.control.request("list")
    device = answer["devices"][0]
    return int(device["evl_faults"]), int(device["evl_copy_failures"])


def run(portal: RawPortal, *descriptors: bytes) -> None:
    for desc in descriptors:
        portal.publish(desc)
    wait_until(lambda: portal.load("done") >= portal.number, 10, "the device has done them")


@pytest.mark.conformance("EVL-09", "EVL-24")
def test_a_record_that_the_device_could_not_write_is_delivered_by_the_driver(daemon: RunningDaemon) -> None:
    """A real descriptor, a real event-log entry, idxdd-irq's fault work: the record is in the client's memory, status last.

    The device finds no mapping of the record's page; the page is mapped by the time the driver's copy comes."""
    with RawClient(daemon.socket) as client:
        portal = client.open(SHARED)
        source = client.alloc(4096)
        records = client.alloc(4096)
        client.control.request("unmap", address=records.address)
        before = faults(client)
        irq = daemon.irq_pid()
        at = source.address
        move = descriptor(MEMMOVE, record=records.address, source=at, destination=at + 2048, size=512)
        source.view[:512] = bytes(range(256)) * 2
        os.kill(irq, signal.SIGSTOP)  # its fault work waits until the page is there
        try:
            run(portal, move)
            assert bytes(source.view[2048:2560]) == bytes(range(256)) * 2, (
                "the operation is done although its record is nowhere"
            )
            assert records.view[0] == 0
            client.control.request("map", buffer=records.number, address=records.address)
        finally:
            os.kill(irq, signal.SIGCONT)
        wait_until(lambda: records.view[0] == 1, 10, "the record is delivered")
        assert faults(client) == (before[0] + 1, before[1])


@pytest.mark.conformance("EVL-12", "EVL-13", "EVL-24")
def test_a_record_that_nobody_can_write_is_counted(daemon: RunningDaemon) -> None:
    """An address that the client never maps: fault and failed copy are counted, the client's next descriptor runs."""
    with RawClient(daemon.socket) as client:
        portal = client.open(SHARED)
        buffer = client.alloc(4096)
        before = faults(client)
        run(portal, descriptor(NOOP, record=NOWHERE))
        wait_until(lambda: faults(client) == (before[0] + 1, before[1] + 1), 10, "both are counted")
        other = client.open(SHARED)
        mine, others = (client.control.request("file", portal=one.answer["portal"])[0] for one in (portal, other))
        assert (mine["cr_faults"], mine["cr_fault_failures"]) == (1, 1), "of this open"
        assert (others["cr_faults"], others["cr_fault_failures"]) == (0, 0), "a process's first open is the one that counts"
        run(portal, descriptor(NOOP, record=buffer.address))
        assert buffer.view[0] == 1
