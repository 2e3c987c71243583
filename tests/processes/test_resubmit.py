"""Descriptors whose interrupt handle was revoked, with a real device: idxdd-irq submits them again by a portal of its own."""

import os
import signal

import pytest
from daemons import RunningDaemon
from daemons import daemon as daemon  # the fixture
from raw_client import CRAV, MEMMOVE, NOOP, RCI, RCR, RawClient, RawPortal, descriptor, ticket
from waiting import wait_until

from idxdd.native import LAYOUT

SHARED, DEDICATED = "dsa0/wq0.2", "dsa0/wq0.3"
HANDLES = {SHARED: 3, DEDICATED: 4}
REVOKED_HANDLE = 200


def submit(portal: RawPortal, slot: int, opcode: int, handle: int, **operands: int) -> int:
    """As a kernel channel's client submits; its ticket."""
    desc = descriptor(opcode, flags=CRAV | RCR | RCI, record=portal.record_address(slot), handle=handle, **operands)
    at = LAYOUT["channel.desc"] + slot * 64
    portal.channel_view[at : at + 64] = desc
    portal.channel_view[LAYOUT["channel.record"] + slot * 32] = 0
    portal.sequence += 1
    portal.enter(ticket(slot, portal.sequence))
    portal.publish(desc)
    return ticket(slot, portal.sequence)


@pytest.mark.parametrize("wq", [SHARED, DEDICATED])
@pytest.mark.conformance("CMP-07")
def test_it_is_done_after_all_in_its_owners_memory(daemon: RunningDaemon, wq: str) -> None:
    """The copy that met a revoked handle is made by the second attempt, by the owner's own addresses, and called back once."""
    with RawClient(daemon.socket) as client:
        portal, buffer = client.open(wq), client.alloc(8192)
        for round_ in range(3):
            buffer.view[:4096] = bytes([round_ + 1]) * 4096
            operands = {"source": buffer.address, "destination": buffer.address + 4096, "size": 4096}
            copy = submit(portal, 2 * round_, MEMMOVE, REVOKED_HANDLE, **operands)
            wait_until(lambda slot=2 * round_: portal.record_status(slot) == 0x19, 10, "the device refuses the handle")
            assert bytes(buffer.view[4096:]) != bytes(buffer.view[:4096])
            noop = submit(portal, 2 * round_ + 1, NOOP, HANDLES[wq])
            wait_until(lambda copy=copy, noop=noop: {copy, noop} <= set(portal.completions()), 10, "both are called back")
            assert portal.record_status(2 * round_) == 1
            assert bytes(buffer.view[4096:]) == bytes(buffer.view[:4096])
        assert len(portal.completions()) == len(set(portal.completions())) == 6


def test_a_killed_idxdd_irq_has_it_submitted_again_by_its_successor(daemon: RunningDaemon) -> None:
    """The descriptor is on no list but the client's when idxdd-irq dies; nothing else interrupts."""
    with RawClient(daemon.socket) as client:
        portal = client.open(SHARED)
        irq = daemon.irq_pid()
        os.kill(irq, signal.SIGSTOP)
        ticket_ = submit(portal, 0, NOOP, REVOKED_HANDLE)
        wait_until(lambda: portal.record_status(0) == 0x19, 10, "the device refuses the handle")
        os.kill(irq, signal.SIGKILL)
        wait_until(lambda: portal.completions() == [ticket_], 10, "its successor has done it")
        assert portal.record_status(0) == 1


def test_its_portal_comes_back_after_the_wq_was_disabled(daemon: RunningDaemon) -> None:
    """Disabling the WQ closes idxdd-irq's portal as every other; it is there again when it is needed."""
    with RawClient(daemon.socket) as client:
        portal = client.open(SHARED)
        for _ in range(2):
            refused = submit(portal, 0, NOOP, REVOKED_HANDLE)
            noop = submit(portal, 1, NOOP, HANDLES[SHARED])
            wait_until(lambda refused=refused, noop=noop: {refused, noop} <= set(portal.completions()), 10, "called back")
            assert portal.record_status(0) == 1
            client.control.request("disable_wq", wq=SHARED)
            client.control.request("enable_wq", wq=SHARED)
            client.control.request("reopen", portal=portal.answer["portal"])
            portal.number = portal.client.load64(LAYOUT["portal_client.tail"])
