"""idxdd-irq's own submissions: descriptors that met an invalid interrupt handle, and the drain after a revoke.

Portal           each channel comes with a portal of ours on its WQ; its PASID and address space are the channel's owner's,
                 whatever the descriptor says. Closed with its WQ; idxdd reopens it when asked.
Order            a resubmission's record is ticket and portal position; then status := 0; then slot and tail; then the record
                 is cleared. So after a kill it was submitted exactly if the portal's tail is past the position, and if it
                 was not, every step may be done again.
Works            one after another on the device's queue, as the driver's: a revoke that runs is through before one starts,
                 so that it picks up the current handle.
"""

from __future__ import annotations

from errno import EAGAIN, EIO, ENXIO
from typing import TYPE_CHECKING, Final

from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Steps, Wait
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, RETRIES_DEFAULT
from idxdd.native import SUBMIT_RETRY
from idxdd.spec.codes import Flag, Opcode
from idxdd.spec.records import Descriptor

if TYPE_CHECKING:
    from idxdd.driver.submit import Channel
    from idxdd.driver.wq import Wq

STATUS_ABORT: Final = 0xFF
WRITE_FAILED: Final = 2
ANSWER_S: Final = 1.0
"""The device answers a question for room at once; longer than this it does not live."""
REOPENS_MAX: Final = 2


def int_handle_resubmit_work(channel: Channel, ticket: int) -> Steps:
    """Submit a descriptor that ended 0x19 again, with the current handle; where that fails it ends WRITE_FAILED."""
    try:
        yield from _resubmit(channel, ticket)
    except DriverError as error:
        text = f"Failed to resubmit desc {ticket & 0xFFFF} to wq {channel.wq.id}."
        channel.wq.device.log("debug", text, device=channel.wq.device.name, wq=channel.wq.label, error=error.code)
        if channel.live and channel.native.set_status(ticket, STATUS_ABORT):
            channel.native.complete(ticket, STATUS_ABORT, WRITE_FAILED)
    channel.resubmitting.discard(ticket)
    if channel.live:
        channel.block.resubmit = 0


def _resubmit(channel: Channel, ticket: int) -> Steps:
    native, block = channel.native, channel.block
    yield from wait_for_gate(channel.wq)
    if not channel.live:
        return
    descriptor = native.descriptor(ticket)
    if descriptor is None:
        return  # completed meanwhile: flushed
    assert channel.wq.int_handle is not None
    stamped = Descriptor.unpack(descriptor).replace(pasid=channel.pasid, int_handle=channel.wq.int_handle)
    block.resubmit_position = channel.portal.tail
    block.resubmit = ticket
    native.set_status(ticket, 0)
    yield from submit_own(channel, stamped.pack())
    if channel.live:
        native.relist(ticket)


def wait_for_gate(wq: Wq) -> Steps:
    """What submit.c asks before it takes a reference. EIO, ENXIO."""
    if wq.device.state is not DriverState.ENABLED:
        raise DriverError(EIO, f"{wq.label}: the device is not enabled")
    yield Wait(f"{wq.label}: the gate to open or die", lambda: wq.gate != GATE_CLOSED)
    if wq.gate == GATE_DEAD or wq.int_handle is None:
        raise DriverError(ENXIO, f"{wq.label}: the WQ is quiesced")


def submit_own(channel: Channel, descriptor: bytes) -> Steps:
    """One descriptor by our own portal; a WQ that is full is tried again: a shared one 1 + retries times. EAGAIN, ENXIO."""
    portal, clock, wq = channel.portal, channel.wq.device.clock, channel.wq
    tries, reopens = 1 + RETRIES_DEFAULT, REOPENS_MAX
    full = clock.deadline(ANSWER_S)
    while channel.live:
        answer = portal.try_submit(descriptor)
        if answer >= 0:
            return
        if answer == SUBMIT_RETRY:
            tries -= not wq.dedicated
            if not tries or full.expired:
                raise DriverError(EAGAIN, f"{wq.label}: the WQ is full")
            yield Wait(f"{wq.label}: room", lambda: _answered(channel) or full.expired, poll=True)
            continue
        reopens -= 1
        if reopens < 0 or not portal.closed:
            raise DriverError(ENXIO, f"{wq.label}: our portal is closed")
        yield Wait(f"channel {channel.number}: our portal to be reopened", channel.ask("reopen", channel.number))


def _answered(channel: Channel) -> bool:
    """Whether there is room, or nothing to ask any more: the channel may be detached meanwhile, and its portal unmapped."""
    return not channel.live or not channel.portal.asking or bool(channel.portal.closed)


def int_handle_revoke_drain(wq: Wq) -> Steps:
    """A Drain with nothing but an interrupt: it comes after everything the WQ had, and makes wq_thread run."""
    channel = next((channel for channel in wq.channels.values() if channel.live), None)
    if channel is None or wq.int_handle is None:
        return  # nobody has submitted anything
    drain = Descriptor.encode(opcode=Opcode.DRAIN, flags=Flag.RCI, priv=True, pasid=wq.block.pasid, int_handle=wq.int_handle)
    try:
        yield from submit_own(channel, drain.pack())
    except DriverError:
        wq.device.log("warning", f"Failed to submit drain desc on wq {wq.id}", device=wq.device.name, wq=wq.label)


def was_submitted(channel: Channel) -> bool:
    """Of the resubmission that a predecessor recorded."""
    return channel.portal.tail > channel.block.resubmit_position
