"""Interrupt-handle revoke: ask for each handle anew, and switch it while no submitter stands inside the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from idxdd.driver.device import request_int_handle
from idxdd.driver.oops import oops
from idxdd.driver.resubmit import int_handle_revoke_drain
from idxdd.driver.state import DriverState
from idxdd.driver.submit import hold_submitters, quiesce, release_submitters
from idxdd.driver.workqueue import DriverError, Steps, delay
from idxdd.spec.codes import WqType

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.wq import Wq

DRAIN_DELAY_S: Final = 100e-6
"""Dedicated WQs: earlier posted writes reach the device before the drain."""


def int_handle_revoke(device: Device) -> Steps:
    """The work of cause bit 31, WQ by WQ; a failure does not stop the loop. Safe to repeat: an equal handle changes nothing."""
    if not device.request_int_handles:
        device.log("warning", "Unexpected int handle refresh interrupt.", device=device.name)
        device.block.revoke_queued = 0
        return
    queued = device.block.revoke_queued
    for wq in device.wqs:
        if wq.int_handle is not None and device.state is DriverState.ENABLED:
            yield from _refresh_handle(wq)
    if device.block.revoke_queued == queued:  # else another has come, and its work has not begun
        device.block.revoke_queued = 0
    if "DEF-18" in device.quirks and device.vector_count > len(device.wqs) + 1:
        oops(device, f"int_handle_revoke: WQ {len(device.wqs)} of {len(device.wqs)}")


def _refresh_handle(wq: Wq) -> Steps:
    device = wq.device
    try:
        handle = yield from request_int_handle(device, wq.vector)
    except DriverError as error:
        device.log("warning", f"get int handle {wq.vector} failed: {-error.errno}", device=device.name, wq=wq.label)
        wq.set_int_handle(None)
        yield from quiesce(wq)
        abort_invalid_int_handle_descs(wq)
        return
    if handle == wq.int_handle:
        release_submitters(wq)  # a predecessor may have been killed between the switch and this
        if wq.block.drain_owed:
            yield from _drain_old_handle(wq)
        return
    if not wq.enabled or wq.type is not WqType.KERNEL:
        wq.set_int_handle(handle)
        return
    yield from hold_submitters(wq)
    wq.block.drain_owed = 1
    wq.set_int_handle(handle)
    release_submitters(wq)
    yield from _drain_old_handle(wq)


def _drain_old_handle(wq: Wq) -> Steps:
    """What carries the old handle ends without an interrupt: this one comes after it."""
    if wq.dedicated:
        yield delay(wq.device.clock, DRAIN_DELAY_S)
    yield from int_handle_revoke_drain(wq)
    wq.block.drain_owed = 0


def abort_invalid_int_handle_descs(wq: Wq) -> None:
    """Descriptors with status 0x19 end WRITE_FAILED; all others stay on the work list."""
    for channel in wq.channels.values():
        if channel.live:
            channel.native.abort_invalid_handles()
