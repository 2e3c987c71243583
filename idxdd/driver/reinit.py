"""After a halt: re-init from a software halt; quiesce, clear the state and say so for any other.

Order            gates close and lists are flushed before the reset that drops what the device still holds; gates open as
                 their WQ is enabled again, else they die. Killed half-way it starts again: each step is safe to repeat.
Halted again     while it runs: its interrupt finds the work queued and leaves it at that. So the work looks at GENSTS at its
                 end, and begins anew; until then no WQ is given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idxdd.driver.bind import bind_device
from idxdd.driver.commands import cmd_exec
from idxdd.driver.configure import apply_wq_attributes, write_configuration
from idxdd.driver.device import enable_device, reset_device, unmask_error_interrupts
from idxdd.driver.state import DriverState
from idxdd.driver.submit import drain_gate
from idxdd.driver.workqueue import DriverError, Steps
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, Wq, drv_enable_wq, enable_wq, set_pasid
from idxdd.spec.codes import Command, DeviceState, ResetType, WqType
from idxdd.spec.registers import GENSTS

if TYPE_CHECKING:
    from idxdd.driver.config import DeviceConfig
    from idxdd.driver.device import Device


def take_halt(device: Device, config: DeviceConfig | None) -> Steps:
    """The work after a halt: recover from a software halt, give up on any other."""
    while (yield from _take_halt(device, config)):
        pass
    device.block.reinit_queued = 0


def _take_halt(device: Device, config: DeviceConfig | None) -> Steps:
    """True: it has halted again, or needs another reset by now."""
    reset_type = device.reset_type
    if reset_type is ResetType.SOFTWARE and "DEF-02" in device.quirks:
        yield from device_reinit_as_shipped(device)
    elif reset_type is ResetType.SOFTWARE and config is not None:
        try:
            yield from device_reinit(device, config)
        except DriverError as error:
            device.log("error", f"re-init failed: {error.text}", device=device.name)
            device.clear_state()
            return device.reset_type is not ResetType.SOFTWARE
        return _halted(device)
    else:
        yield from wqs_quiesce(device, GATE_DEAD, keep="DEF-12" in device.quirks)
        device.clear_state()
        if "DEF-03" not in device.quirks:
            device.set_state(DriverState.HALTED)
        device.log(
            "error", f"idxd halted, need {'FLR' if reset_type is ResetType.FLR else 'system reset'}.", device=device.name
        )
    return False


def _halted(device: Device) -> bool:
    return device.mmio.read(GENSTS).state is DeviceState.HALT


def device_reinit(device: Device, config: DeviceConfig) -> Steps:
    """Reset, configure and enable again, then every WQ of the enabled bitmap; where that fails: a warning and a clear bit."""
    yield from wqs_quiesce(device, GATE_CLOSED)
    yield from cmd_exec(device, Command.RESET_DEVICE, 0)
    device.clear_state()
    unmask_error_interrupts(device)
    try:
        yield from bind_device(device, config)
    except DriverError as error:
        if not _halted(device):
            device.log("error", f"re-init failed: {error.text}", device=device.name)
        device.clear_state()
    for settings in config.wqs:
        if _halted(device):
            return
        wq = device.wqs[settings.id]
        if device.block.enabled_bitmap >> wq.id & 1 and device.state is DriverState.ENABLED:
            apply_wq_attributes(wq, settings)
            yield from _reenable_wq(wq, settings.type)
        if wq.gate == GATE_CLOSED:
            wq.set_gate(GATE_DEAD)


def device_reinit_as_shipped(device: Device) -> Steps:
    """The kernel's own (DEF-02): the reset's clearing takes the configuration that the next step writes."""
    yield from reset_device(device)
    try:
        if device.caps.gencap.config_en:
            write_configuration(device)
        yield from enable_device(device)
    except DriverError:
        device.clear_state()
        return
    for wq in device.wqs:
        if device.block.enabled_bitmap >> wq.id & 1:
            try:
                yield from enable_wq(wq)
            except DriverError:
                _give_up(wq)


def _reenable_wq(wq: Wq, wq_type: WqType) -> Steps:
    try:
        yield from drv_enable_wq(wq, wq_type)
        if wq_type is WqType.USER and wq.dedicated and wq.block.pasid:
            yield from set_pasid(wq, wq.block.pasid)
    except DriverError:
        if not _halted(wq.device):
            _give_up(wq)


def _give_up(wq: Wq) -> None:
    wq.device.block.enabled_bitmap &= ~(1 << wq.id)
    wq.device.log("warning", f"Unable to re-enable wq {wq.dev_name}", device=wq.device.name, wq=wq.label)


def wqs_quiesce(device: Device, gate: int, *, keep: bool = False) -> Steps:
    """Close the gates of kernel WQs and, unless `keep`, complete what their lists hold: the device has dropped it."""
    for wq in device.wqs:
        if wq.type is WqType.KERNEL:
            yield from drain_gate(wq, gate)
            if keep:
                continue
            for channel in wq.channels.values():
                channel.flush_pending()
            wq.set_int_handle(None)
