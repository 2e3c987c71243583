"""The later driver's answer to a halt that needs an FLR: save the state, have the function reset, restore (option "flr").

Record           `flr` of the device's block: the enabled bitmap as it was, valid until the work is over. A successor starts
                 again from it and from the stored configuration: a function reset twice is a function reset.
Restored         read-buffer limit, size of the event log, groups without their progress limits, engines, WQs; user WQs are
                 bound again, kernel WQs are not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from idxdd.driver.accfg import live_config
from idxdd.driver.bind import bind_device, unbind_device
from idxdd.driver.device import mask_error_interrupts, unmask_error_interrupts
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Steps, Wait
from idxdd.driver.wq import Wq, drv_enable_wq
from idxdd.spec.codes import DeviceState, WqType
from idxdd.spec.registers import GENSTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from idxdd.driver.config import DeviceConfig
    from idxdd.driver.device import Device

FLR_OWED: Final = 1 << 32


def take_flr_halt(device: Device) -> bool:
    """In the handler: mask the error interrupts and record what is owed. False: the work is queued already."""
    mask_error_interrupts(device)
    if device.block.flr:
        return False
    device.log("debug", "idxd halted, doing FLR. After FLR, configs are restored.", device=device.name)
    device.block.flr = FLR_OWED | device.block.enabled_bitmap
    return True


def device_flr(device: Device, forget_opens: Callable[[Wq], None], stored: DeviceConfig | None = None) -> Steps:
    """The work. Where the function cannot be reset the device stays HALTED. `stored`: a predecessor had begun it."""
    saved = reset_prepare(live_config(device) if stored is None else stored)
    answered = device.ask("flr", device.index)
    yield Wait(f"{device.name}: its function's reset", answered)
    if device.mmio.absent or device.mmio.read(GENSTS).state is DeviceState.HALT:
        device.log("error", "FLR failed", device=device.name)
    else:
        yield from reset_done(device, saved, forget_opens)
    device.block.flr = 0


def reset_prepare(config: DeviceConfig) -> DeviceConfig:
    """Save the state of device, groups, engines and WQs: all but the progress limits."""
    groups = [replace(group, desc_progress_limit=0, batch_progress_limit=0) for group in config.groups]
    return replace(config, groups=groups)


def reset_done(device: Device, saved: DeviceConfig, forget_opens: Callable[[Wq], None]) -> Steps:
    """Unbind, probe without a reset command, restore and bind again."""
    bitmap = device.block.flr & ~FLR_OWED
    yield from unbind_device(device)
    for wq in device.wqs:
        forget_opens(wq)
    device.set_state(DriverState.DISABLED)
    unmask_error_interrupts(device)
    device.block.enabled_bitmap = bitmap
    try:
        yield from bind_device(device, saved)
    except DriverError as error:
        device.log("error", f"HALT: binding {device.name} fails: {error.text}", device=device.name)
        return
    for wq in device.wqs:
        if bitmap >> wq.id & 1:
            yield from _rebind_wq(wq, next((wq_.type for wq_ in saved.wqs if wq_.id == wq.id), WqType.NONE))


def _rebind_wq(wq: Wq, wq_type: WqType) -> Steps:
    try:
        if wq_type is not WqType.USER:
            raise DriverError(0, "not a user WQ")
        yield from drv_enable_wq(wq, wq_type)
    except DriverError:
        wq.device.block.enabled_bitmap &= ~(1 << wq.id)
        wq.device.log("error", f"HALT: unable to re-enable wq {wq.dev_name}", device=wq.device.name, wq=wq.label)
