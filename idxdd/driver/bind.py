"""Binding a device to the driver (configuration, Enable Device), and unbinding it."""

from __future__ import annotations

from errno import ENXIO
from typing import TYPE_CHECKING

from idxdd.driver.configure import apply_attributes, write_configuration
from idxdd.driver.device import disable_device, enable_device, reset_device
from idxdd.driver.evl import free_evl, setup_evl
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Steps
from idxdd.driver.wq import drv_disable_wq
from idxdd.spec.codes import DriverStatus
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
