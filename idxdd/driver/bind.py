"""Binding a device to the driver (configuration, Enable Device), unbinding it, and re-init after a halt."""

from __future__ import annotations

from errno import ENXIO
from typing import TYPE_CHECKING

from idxdd.driver.commands import cmd_exec
from idxdd.driver.configure import apply_attributes, apply_wq_attributes, write_configuration
from idxdd.driver.device import disable_device, enable_device, reset_device, unmask_error_interrupts
from idxdd.driver.evl import free_evl, setup_evl
from idxdd.driver.state import DriverState
from idxdd.driver.submit import drain_gate
from idxdd.driver.workqueue import DriverError, Steps
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, Wq, drv_disable_wq, drv_enable_wq, enable_wq, set_pasid
from idxdd.spec.codes import Command, DriverStatus, ResetType, WqType
from idxdd.spec.registers import GENCFG

if TYPE_CHECKING:
    from idxdd.driver.config import DeviceConfig
    from idxdd.driver.device import Device


def bind_device(device: Device, config: DeviceConfig) -> Steps:
    """Write attributes and configuration, let user descriptors request interrupts, enable. ENXIO."""
    if device.state is not DriverState.DISABLED:
        device.block.cmd_status = DriverStatus.DEV_ENABLED
        raise DriverError(ENXIO, f"{device.name}: the device is {device.state.name.lower()}, not disabled")
    apply_attributes(device, config)
    if device.caps.gencap.config_en:
        try:
            write_configuration(device)
        except DriverError as error:
            raise DriverError(ENXIO, error.text) from error
    device.mmio.write(device.mmio.read(GENCFG).replace(user_int_en=True))
    setup_evl(device)
    try:
        yield from enable_device(device)
    except DriverError:
        free_evl(device)
        raise
    device.block.cmd_status = 0


def unbind_device(device: Device) -> Steps:
    """Unbind the WQs first, with a warning each; disable; reset a configurable device."""
    for wq in device.wqs:
        if wq.enabled:
            device.log("warning", f"Active wq {wq.id} on disable {device.name}.", device=device.name, wq=wq.label)
            yield from drv_disable_wq(wq)
    yield from disable_device(device)
    if device.caps.gencap.config_en:
        yield from reset_device(device)
    else:
        device.set_state(DriverState.DISABLED)
    free_evl(device)


def take_halt(device: Device, config: DeviceConfig | None) -> Steps:
    """The work after a halt: recover from a software halt, give up on any other."""
    reset_type = device.reset_type
    if reset_type is ResetType.SOFTWARE and "DEF-02" in device.quirks:
        yield from device_reinit_as_shipped(device)
    elif reset_type is ResetType.SOFTWARE and config is not None:
        yield from device_reinit(device, config)
    else:
        yield from _flush_kernel_wqs(device, GATE_DEAD, keep="DEF-12" in device.quirks)
        device.clear_state()
        if "DEF-03" not in device.quirks:
            device.set_state(DriverState.HALTED)
        device.log(
            "error", f"idxd halted, need {'FLR' if reset_type is ResetType.FLR else 'system reset'}.", device=device.name
        )
    device.block.reinit_queued = 0


def device_reinit(device: Device, config: DeviceConfig) -> Steps:
    """Reset, configure and enable again, then every WQ of the enabled bitmap; where that fails: a warning and a clear bit."""
    yield from _flush_kernel_wqs(device, GATE_CLOSED)
    yield from cmd_exec(device, Command.RESET_DEVICE, 0)
    device.clear_state()
    unmask_error_interrupts(device)
    try:
        yield from bind_device(device, config)
    except DriverError as error:
        device.log("error", f"re-init failed: {error.text}", device=device.name)
        device.clear_state()
    for settings in config.wqs:
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
        _give_up(wq)


def _give_up(wq: Wq) -> None:
    wq.device.block.enabled_bitmap &= ~(1 << wq.id)
    wq.device.log("warning", f"Unable to re-enable wq {wq.label}", device=wq.device.name, wq=wq.label)


def _flush_kernel_wqs(device: Device, gate: int, *, keep: bool = False) -> Steps:
    """Close the gates of kernel WQs and, unless `keep`, complete what their lists hold: the device has dropped it."""
    for wq in device.wqs:
        if wq.type is WqType.KERNEL:
            yield from drain_gate(wq, gate)
            if keep:
                continue
            for channel in wq.channels.values():
                channel.flush_pending()
            wq.set_int_handle(None)
