"""What fault rules do to a device as a whole: errors, interrupts of vector 0, handles, halts, removal. In the device loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from idxdd.device.engineport import WQS_PER_DEVICE
from idxdd.device.faults.rule import What
from idxdd.device.reports import ErrorReport, report_of
from idxdd.native._native import Exit
from idxdd.spec.codes import CompletionStatus, ResetType

if TYPE_CHECKING:
    from idxdd.device.device import Device

Unplug = Callable[["Device", float | None], None]
"""Surprise removal of a device; after so many seconds it returns, None: it does not."""
NS_PER_S = 10**9


def act(device: Device, what: What, exit: Exit | None, unplug: Unplug) -> None:
    """Carry an action out; `exit`: the descriptor that was met, None when the rule strikes by itself. A device that was removed
    is out of reach."""
    if device.present:
        ACTIONS[what.action](device, what, exit, unplug)


def forget(device: Device, what: What) -> None:
    """The rule is gone: so is what it still had in store."""
    if what.action == "evl-overflow":
        device.errors.log.lose(0)


def _swerr(device: Device, what: What, exit: Exit | None, _unplug: Unplug) -> None:
    status = CompletionStatus(what.status or 0)
    report = ErrorReport(status) if exit is None else report_of(exit, status, exit.wq % WQS_PER_DEVICE)
    device.errors.latch(report)


def _evl_overflow(device: Device, what: What, _exit: Exit | None, _unplug: Unplug) -> None:
    device.errors.log.lose(what.count or 1)


def _spurious(device: Device, what: What, _exit: Exit | None, _unplug: Unplug) -> None:
    device.interrupts.post(what.vector or 0)


def _revoke(device: Device, _what: What, _exit: Exit | None, _unplug: Unplug) -> None:
    device.interrupts.revoke_handles()


def _halt(device: Device, what: What, _exit: Exit | None, _unplug: Unplug) -> None:
    device.halt(ResetType[(what.reset or "software").upper()])


def _remove(device: Device, what: What, _exit: Exit | None, unplug: Unplug) -> None:
    unplug(device, None if what.time is None else what.time / NS_PER_S)


ACTIONS: dict[str, Callable[[Device, What, Exit | None, Unplug], None]] = {
    "swerr": _swerr,
    "evl-overflow": _evl_overflow,
    "interrupt": _spurious,
    "revoke": _revoke,
    "halt": _halt,
    "remove": _remove,
}
