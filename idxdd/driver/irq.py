"""irq.c's misc_thread (vector 0) and what it calls; the other handler, wq_thread, is in wq_thread.py.

Acknowledge, classify, hand over: whatever must wait is a work, because command completions arrive through misc_thread.

Who writes what  `causes_owed` is stored before INTCAUSE is written and cleared cause by cause as each is handled; SWERR is
                 copied and marked, with the ring position its acknowledgement gets, before that is posted (model d, d1).
A successor      `redo_owed`: acknowledges again, then looks, except for an error whose copy is marked; its log lines keep
                 their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from idxdd.driver.evl import process_evl_entries
from idxdd.driver.flr import take_flr_halt
from idxdd.driver.oops import oops
from idxdd.driver.perfmon import perfmon_counter_overflow
from idxdd.driver.state import SWERR_LOGGED, SWERR_NONE, SWERR_SAVED, DriverState
from idxdd.spec.codes import DeviceState, InterruptCause, ResetType, WqType
from idxdd.spec.registers import GENSTS, INTCAUSE, SWERR

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.state import FaultBlock
    from idxdd.driver.submit import Channel
    from idxdd.driver.wq import Wq

_ACK_BITS: Final = 0x3


class IrqReturn(IntEnum):
    """What a handler tells the interrupt core."""

    NONE = 0
    HANDLED = 1


@dataclass
class Handovers:
    """Where the handlers hand over to: each queues a work and returns."""

    revoke: Callable[[Device], None]
    halt: Callable[[Device, ResetType], None]
    flr: Callable[[Device], None]
    fence: Callable[[Channel, str], None]
    resubmit: Callable[[Channel, int], None]
    fault: Callable[[Wq, FaultBlock], None]


# ---- vector 0 --------------------------------------------------------------------------------------------------------------
def misc_thread(device: Device, hand_over: Handovers) -> IrqReturn:
    """Vector 0: acknowledge exactly what was seen, then handle it."""
    cause = device.mmio.read(INTCAUSE)
    if not cause.raw:
        return IrqReturn.NONE
    device.block.causes_owed = cause.raw
    device.mmio.write(cause)
    process_misc_interrupts(device, cause.raw, hand_over)
    return IrqReturn.HANDLED


def process_misc_interrupts(device: Device, cause: int, hand_over: Handovers) -> None:
    """All causes that were acknowledged, in the driver's order. A halt is handled alone: the others are lost."""
    handled = 0
    if cause & InterruptCause.HALT:
        halt_check(device, hand_over)
        device.block.causes_owed = 0
        return
    if cause & InterruptCause.ERR:
        report_swerr(device)
        handled |= _settled(device, InterruptCause.ERR)
        device.block.swerr_mark = SWERR_NONE
    if cause & InterruptCause.INT_HANDLE_REVOKED:
        device.block.revoke_queued += 1
        hand_over.revoke(device)
        handled |= _settled(device, InterruptCause.INT_HANDLE_REVOKED)
    if cause & InterruptCause.CMD:
        device.command_done = True  # without a command in flight: ignored
        handled |= _settled(device, InterruptCause.CMD)
    if cause & InterruptCause.OCCUPANCY:
        handled |= _settled(device, InterruptCause.OCCUPANCY)  # the driver does not use it
    if cause & InterruptCause.PERFMON_OVFL:
        perfmon_counter_overflow(device)
        handled |= _settled(device, InterruptCause.PERFMON_OVFL)
    if cause & InterruptCause.EVL:
        process_evl_entries(device, hand_over.fault)
        handled |= _settled(device, InterruptCause.EVL)
    warn_unexpected(device, cause ^ handled)
    device.block.causes_owed = 0
    if cause & InterruptCause.ERR and "halt-cause" not in device.later:
        halt_check(device, hand_over)


def _settled(device: Device, cause: InterruptCause) -> int:
    device.block.causes_owed &= ~int(cause)
    return int(cause)


def report_swerr(device: Device) -> None:
    """Save SWERR, acknowledge valid and overflow as read, wake pollers, log four lines."""
    block, mmio = device.block, device.mmio
    if block.swerr_mark == SWERR_NONE:
        qwords = [mmio.read64(SWERR.offset + 8 * i) for i in range(4)]
        block.store_swerr(qwords)
        block.swerr_saved = 1
        block.swerr_log_number = device.reserve_log_numbers(4)
        block.swerr_ack_position = mmio.position
        block.swerr_mark = SWERR_SAVED
    if mmio.position <= block.swerr_ack_position:
        mmio.write64(SWERR.offset, block.swerr()[0] & _ACK_BITS)
    saved = block.swerr()
    error = SWERR(saved[0])
    if "DEF-05" in device.quirks and names_no_wq(device, error):
        block.causes_owed, block.swerr_mark = 0, SWERR_NONE
        oops(device, f"misc_thread: wq_idx {error.wq_idx} of {len(device.wqs)}")
    wake_error_pollers(device, error)
    said = "swerr-ratelimit" not in device.later or device.may_warn("err", len(saved))
    for i, qword in enumerate(saved if said else []):  # numbers reserved: no other line may come before these
        device.log("warning", f"err[{i}]: {qword:#018x}", number=block.swerr_log_number + i, device=device.name)
    if names_no_wq(device, error):
        device.log("warning", f"SWERR.wq_idx {error.wq_idx} is out of range", device=device.name)
    block.swerr_mark = SWERR_LOGGED


def names_no_wq(device: Device, error: SWERR) -> bool:
    """It names a WQ that there is not."""
    return bool(error.valid and error.wq_idx_valid and error.wq_idx >= len(device.wqs))


def wake_error_pollers(device: Device, error: SWERR) -> None:
    """The pollers of the WQ it names, if that is a user WQ; of every user WQ if it names none."""
    named = device.wqs
    if error.valid and error.wq_idx_valid:
        named = named[error.wq_idx : error.wq_idx + 1]  # none if out of range
    for wq in named:
        if wq.type is WqType.USER:
            device.wake_pollers(wq)


def warn_unexpected(device: Device, unexpected: int) -> None:
    """Unknown cause bits, once per device."""
    if unexpected and not device.block.warned:
        device.block.warned = 1
        device.log("warning", f"Unexpected interrupt cause bits set: {unexpected:#x}", device=device.name)


def halt_check(device: Device, hand_over: Handovers) -> None:
    """After a halt cause or a software error: is the device halted, and which reset does it need?"""
    gensts = device.mmio.read(GENSTS)
    if gensts.state is not DeviceState.HALT:
        return
    device.set_state(DriverState.HALTED)
    device.halt_taken = "DEF-01" not in device.quirks
    if gensts.reset_type == ResetType.FLR and "flr" in device.later:
        if take_flr_halt(device):
            hand_over.flr(device)
        return
    if not device.block.reinit_queued or "DEF-08" in device.quirks:  # two halts before the work has run are one
        device.block.reinit_queued = 1
        hand_over.halt(device, ResetType(gensts.reset_type))


def redo_owed(device: Device, hand_over: Handovers) -> None:
    """What a predecessor acknowledged and did not finish. The ring must be applied."""
    block = device.block
    if block.swerr_mark == SWERR_LOGGED:
        block.causes_owed &= ~int(InterruptCause.ERR)
        block.swerr_mark = SWERR_NONE
    owed = block.causes_owed
    again = owed & ~InterruptCause.ERR if block.swerr_mark == SWERR_SAVED else owed
    if again:
        device.mmio.write(INTCAUSE(again))  # acknowledge again before looking: it may not have been posted
    if owed:
        process_misc_interrupts(device, owed, hand_over)
