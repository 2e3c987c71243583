"""A kernel WQ's vector: wq_thread and the two lists it goes through, channel by channel.

The pending list is where submitters put what they are about to submit; the work list holds what had not finished when it
was looked at. One interrupt is one pass over each. A channel that breaks the rules is fenced, and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from idxdd.driver.irq import IrqReturn
from idxdd.driver.submit import violation_of
from idxdd.native._native import DEFER_FINISHED, DEFER_INVALID_HANDLE, DEFER_NOTHING

if TYPE_CHECKING:
    from idxdd.driver.irq import Handovers
    from idxdd.driver.submit import Channel
    from idxdd.driver.wq import Wq

STATUS_SUCCESS, STATUS_INT_HANDLE_INVAL, STATUS_ABORT = 0x01, 0x19, 0xFF
NOERROR, WRITE_FAILED = 0, 2
"""Results that a callback is given."""
OWN_PASS: Final = frozenset({"DEF-06", "DEF-07", "DEF-14"})
"""Quirks of the lists: with one of them on, each completion is made here instead of in C."""


def wq_thread(wq: Wq, hand_over: Handovers) -> IrqReturn:
    """One pass over the work lists of all the WQ's channels, then one over their pending lists.

    Status 0x19 is resubmitted if the device has handles, else it is WRITE_FAILED.
    """
    wq.count_interrupt()
    channels = [channel for channel in wq.channels.values() if channel.live]
    for channel in channels:
        for ticket in irq_process_work_list(channel):
            hand_over.resubmit(channel, ticket)
    for channel in channels:
        for ticket in irq_process_pending_llist(channel):
            hand_over.resubmit(channel, ticket)
        violation = violation_of(channel)
        if violation is not None:
            hand_over.fence(channel, violation)
    return IrqReturn.HANDLED


def irq_process_work_list(channel: Channel) -> list[int]:
    """Complete what has a status (the raw byte); tickets of those to be resubmitted."""
    quirks = channel.wq.device.quirks
    if not OWN_PASS & quirks:
        return [ticket for ticket, _status in channel.native.work_list(_deferred(channel))]
    again = []
    for ticket, status in channel.native.work_list(DEFER_FINISHED):
        if dma_complete_txd(channel, ticket, status):
            again.append(ticket)
        if "DEF-14" in quirks and channel.native.entered(ticket & 0xFFFF):
            break  # its memory is another descriptor's by now, and so is what followed it
    return again


def irq_process_pending_llist(channel: Channel) -> list[int]:
    """Take the pending list, newest first: finished (masked byte) is completed, the rest goes to the work list."""
    quirks = channel.wq.device.quirks
    if not OWN_PASS & quirks:
        return [ticket for ticket, _status in channel.native.pending_list(_deferred(channel))]
    finished = channel.native.pending_list(DEFER_FINISHED)
    if "DEF-06" in quirks and any(status == STATUS_ABORT for _, status in finished):
        finished = [(ticket, status) for ticket, status in finished if status == STATUS_ABORT]  # the others are forgotten
    return [ticket for ticket, status in finished if dma_complete_txd(channel, ticket, status)]


def _deferred(channel: Channel) -> int:
    return DEFER_INVALID_HANDLE if channel.wq.device.request_int_handles else DEFER_NOTHING


def dma_complete_txd(channel: Channel, ticket: int, status: int) -> bool:
    """Complete one descriptor; True: it is to be submitted again instead. DEF-07: an aborted one is freed twice."""
    if status == STATUS_INT_HANDLE_INVAL and channel.wq.device.request_int_handles:
        return True
    result = NOERROR if status == STATUS_SUCCESS else WRITE_FAILED
    channel.native.complete(ticket, status, result)
    if status == STATUS_ABORT and "DEF-07" in channel.wq.device.quirks:
        channel.native.complete_again(ticket, status, result)
    return False
