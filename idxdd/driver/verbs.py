"""The verbs of idxdd: what each is called, which work queue it runs on, and those of devices and WQs."""

from __future__ import annotations

import json
from collections.abc import Callable
from errno import EBUSY, EINVAL, ENODEV, ENOENT
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver import bind, cdev, channels, load, perfmon, windows
from idxdd.driver.config import DeviceConfig, WqConfig
from idxdd.driver.configure import apply_wq_attributes
from idxdd.driver.defaults import default_config
from idxdd.driver.describe import describe_device
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Key, Steps, immediately
from idxdd.driver.wq import Wq, drv_disable_wq, drv_enable_wq
from idxdd.spec.codes import WqType

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.driver import Driver

Message = dict[str, Any]
Verb = Callable[["Driver", Message], tuple[Key, Steps]]
"""Checks what it can at once (DriverError), and names the queue that its steps run on."""


def verb_ping(_driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    """Answered at once, whatever runs."""
    return ("ping", 0), immediately({})


def verb_bus_event(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """The bus has reset or removed a device: whoever waits for a command's interrupt looks instead; its events have ended."""
    device = driver.find_device(arguments)
    device.command_done = True
    return ("bus", device.index), _bus_event(device)


def _bus_event(device: Device) -> Steps:
    perfmon.forget_lost_events(device)
    return {}
    yield


def verb_list(driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    """The driver's view of every device."""
    return ("list", 0), immediately({"devices": [describe_device(device) for device in driver.devices.values()]})


# ---- configure -------------------------------------------------------------------------------------------------------------
def verb_configure(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """config: what the devices start with; None: the default of every device there is."""
    return ("driver", 0), _configure(driver, arguments.get("config"))


def _configure(driver: Driver, config: Any) -> Steps:
    if config is None:
        config = default_config((device.index, device.caps) for device in driver.devices.values())
    configs = driver.parse(config)
    text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    if text != driver.state.load_config():
        for device in driver.devices.values():
            if device.state:
                raise DriverError(EBUSY, f"{device.name}: the device is {device.state.name.lower()}; disable it first")
        try:
            driver.state.store_config(text)
        except ValueError as error:
            raise DriverError(EINVAL, str(error)) from error
    driver.configs = configs
    for name, settings in configs.items():
        device = next(device for device in driver.devices.values() if device.name == name)
        if not device.state:
            yield from bind.bind_device(device, settings)
        for wq_settings in settings.wqs:
            wq = device.wqs[wq_settings.id]
            if wq_settings.type is not WqType.NONE and wq_settings.group_id >= 0 and not wq.block.bound:
                yield from drv_enable_wq(wq, wq_settings.type)
    return {}


# ---- devices ---------------------------------------------------------------------------------------------------------------
def verb_enable_device(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device."""
    device = driver.find_device(arguments)
    driver.configs.setdefault(device.name, DeviceConfig(device.index, device.name))  # refused for what it has not
    return ("device", device.index), _enable_device(driver, device, arguments["id"])


def _enable_device(driver: Driver, device: Device, verb: int) -> Steps:
    if driver.begun(device, verb) and device.state is DriverState.ENABLED:
        return  # a predecessor did it and could not say so
    driver.begin(device, verb)
    yield from bind.bind_device(device, driver.configs[device.name])


def verb_disable_device(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device."""
    device = driver.find_device(arguments)
    return ("device", device.index), disable_device(driver, device)


def disable_device(driver: Driver, device: Device) -> Steps:
    """Unbind a device and forget its clients' opens."""
    yield from bind.unbind_device(device)
    for wq in device.wqs:
        cdev.forget_opens(driver, wq)


# ---- WQs -------------------------------------------------------------------------------------------------------------------
def verb_enable_wq(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq."""
    wq = driver.find_wq(arguments)
    return ("device", wq.device.index), _enable_wq(driver, wq, arguments["id"])


def _enable_wq(driver: Driver, wq: Wq, verb: int) -> Steps:
    if driver.begun(wq.device, verb) and wq.block.bound:
        return
    driver.begin(wq.device, verb)
    settings = _wq_settings(driver, wq)
    if settings.type is WqType.NONE:
        raise DriverError(ENODEV, f"{wq.label}: type: the WQ has none, so no driver takes it")
    if not wq.enabled:
        wq.group_id = settings.group_id
        apply_wq_attributes(wq, settings)
    load.check_driver_name(wq, settings.type)
    yield from drv_enable_wq(wq, settings.type)


def _wq_settings(driver: Driver, wq: Wq) -> WqConfig:
    config = driver.configs.get(wq.device.name)
    for settings in config.wqs if config else []:
        if settings.id == wq.id:
            return settings
    raise DriverError(ENOENT, f"{wq.label}: the configuration does not have this WQ")


def verb_disable_wq(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq."""
    wq = driver.find_wq(arguments)
    return ("device", wq.device.index), _disable_wq(driver, wq)


def _disable_wq(driver: Driver, wq: Wq) -> Steps:
    yield from drv_disable_wq(wq)
    cdev.forget_opens(driver, wq)


VERBS: Final[dict[str, Verb]] = {
    "ping": verb_ping,
    "bus_event": verb_bus_event,
    "list": verb_list,
    "configure": verb_configure,
    "enable_device": verb_enable_device,
    "disable_device": verb_disable_device,
    "enable_wq": verb_enable_wq,
    "disable_wq": verb_disable_wq,
    "open": cdev.verb_open,
    "close": cdev.verb_close,
    "poll": cdev.verb_poll,
    "file": cdev.verb_file,
    "detach": channels.verb_detach,
    **load.VERBS,
    **perfmon.VERBS,
    **windows.VERBS,
}
"""All but attach, which comes with descriptors."""
