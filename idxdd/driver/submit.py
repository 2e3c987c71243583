"""Kernel channels on the driver's side, and the gate that holds their submitters.

Gate             published per WQ: LIVE; CLOSED (wait, it opens or dies); DEAD (a submission fails with ENXIO).
                 A submitter stores in_submit = 1, fence, reads the gate; quiesce stores the gate, fence, reads in_submit:
                 one of the two sees the other (model c).
Fencing          a channel that stands inside for FENCE_AFTER_S, or whose lists are garbage: idxdd closes its portal and
                 confirms; the channel is swept (a written status NORMAL, zero ABORT); idxdd stores `fenced`; it is never
                 touched again. How far this came survives a kill (`fence_step`); each step is safe to repeat.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from idxdd.driver.state import FENCE_ASKED, FENCE_DONE, FENCE_NONE, FENCE_SWEPT, ChannelBlock
from idxdd.driver.workqueue import Steps, Wait
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, GATE_LIVE, Wq
from idxdd.native._native import fence

if TYPE_CHECKING:
    from idxdd.native._native import IrqChannel, Portal

FENCE_AFTER_S: Final = 0.1
VIOLATIONS: Final = {1: "its pending list ran away", 2: "an index out of range", 3: "a descriptor listed twice"}

Ask = Callable[[str, int], Callable[[], bool]]
"""Ask idxdd something of a channel; the result says whether the answer has come."""


@dataclass
class Channel:
    """One client's channel on one kernel WQ."""

    number: int
    wq: Wq
    pasid: int
    native: IrqChannel
    pidfd: int
    """The owner; -1: not watched."""
    portal: Portal
    """Ours on that WQ, with the owner's address space."""
    block: ChannelBlock
    ask: Ask
    resubmitting: set[int] = field(default_factory=set)
    """Tickets whose resubmission is queued."""
    closed: bool = False
    """Detached: its mappings are gone, and its block may be another channel's."""

    @property
    def live(self) -> bool:
        """Its lists are ours to read; False once fencing has begun, or it was detached."""
        return not self.closed and self.block.fence_step == FENCE_NONE

    @property
    def fenced(self) -> bool:
        return self.block.fence_step == FENCE_DONE

    @property
    def inside(self) -> bool:
        """Its owner stands inside the gate; a dead owner stands nowhere."""
        return self.native.in_submit != 0 and not self.owner_dead()

    def owner_dead(self) -> bool:
        """Whether the owner's pidfd says it has ended."""
        if self.pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def flush_pending(self) -> int:
        """Complete everything both lists hold; returns how many."""
        return self.native.sweep() if self.live else 0

    def close(self) -> None:
        """Unmap it; its state stays."""
        self.closed = True
        self.native.close()
        self.portal.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def drain_gate(wq: Wq, gate: int) -> Steps:
    """Close the gate (CLOSED: it reopens; DEAD: for good), then wait for the submitters inside; fence who stays."""
    wq.set_gate(gate)
    fence()  # partner is a submitter's between in_submit and gate
    deadline = wq.device.clock.deadline(FENCE_AFTER_S)

    def inside() -> list[Channel]:
        return [channel for channel in wq.channels.values() if channel.live and channel.inside]

    yield Wait(f"{wq.label}: submitters to leave", lambda: deadline.expired or not inside(), poll=True)
    for channel in inside():
        yield from fence_channel(channel, "its submitter did not leave the gate")


def quiesce(wq: Wq) -> Steps:
    """Kill the gate: blocked and new submitters fail with ENXIO. A gate that is dead stays so."""
    if wq.gate == GATE_DEAD:
        if "DEF-10" in wq.device.quirks:
            yield Wait(f"{wq.label}: a completion that an earlier quiesce has consumed", lambda: False)
        return
    yield from drain_gate(wq, GATE_DEAD)


def hold_submitters(wq: Wq) -> Steps:
    """Hold submitters at the gate; release_submitters lets them go on."""
    if wq.gate == GATE_LIVE:
        yield from drain_gate(wq, GATE_CLOSED)


def release_submitters(wq: Wq) -> None:
    """Reopen a gate that was held."""
    if wq.gate == GATE_CLOSED:
        wq.set_gate(GATE_LIVE)


def fence_channel(channel: Channel, why: str) -> Steps:
    """Take a channel away from a client that breaks the rules; repeated, it goes on where it stood."""
    log = channel.wq.device.log
    if channel.fenced:
        return
    if channel.live:
        channel.block.fence_step = FENCE_ASKED
        log("warning", f"channel {channel.number} fenced: {why}", wq=channel.wq.label, channel=channel.number)
    if channel.block.fence_step < FENCE_SWEPT:
        answered = channel.ask("fence", channel.number)
        yield Wait(f"channel {channel.number}: its portal to be closed", answered)
    if channel.block.fence_step < FENCE_SWEPT:
        channel.native.sweep()
        channel.block.fence_step = FENCE_SWEPT  # before the mark: after it the client may fail what it entered since
    answered = channel.ask("fenced", channel.number)
    yield Wait(f"channel {channel.number}: the mark", answered)
    channel.block.fence_step = FENCE_DONE


def violation_of(channel: Channel) -> str | None:
    """What is wrong with the channel's lists, if anything."""
    return VIOLATIONS.get(channel.native.violation)
