"""Verbs that change the configuration: whole (load-config), by attribute (config-*), or away (reset), each all or nothing.

Order            checked whole; devices that are to change are unbound; the configuration is stored; then binding and WQs.
Crash            a repeated verb that finds its configuration stored goes on where its predecessor stopped; one that does not
                 starts again. If Enable fails then, the former configuration is in force again (what was enabled before
                 is known to the first run only: after a kill the devices stay disabled).
Several devices  the verb waits until it has the work queues of all of them: nothing else of theirs runs meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from errno import EBUSY, EINVAL, ENODEV, ENOENT, ENXIO
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver import bind
from idxdd.driver.accfg import copy_config, list_device, save_device
from idxdd.driver.attributes import find, write
from idxdd.driver.cdev import forget_opens
from idxdd.driver.config import DRIVER_OF, DeviceConfig, Problem, parse_config
from idxdd.driver.device import Device, reset_device
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Key, Steps, Wait, immediately
from idxdd.driver.wq import Wq, drv_enable_wq, refuse_wq
from idxdd.spec.codes import DriverStatus, WqType

if TYPE_CHECKING:
    from idxdd.driver.driver import Driver

Message = dict[str, Any]
PROBLEMS_MAX: Final = 100
PROBLEM_BYTES_MAX: Final = 400
DEPRECATED: Final = {
    "token_limit": "read_buffer_limit",
    "tokens_reserved": "read_buffers_reserved",
    "tokens_allowed": "read_buffers_allowed",
    "use_token_limit": "use_read_buffer_limit",
    "max_tokens": "max_read_buffers",
}


# ---- what a configuration says -----------------------------------------------------------------------------------------
def deprecated_keys(config: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Each old name, with what to write instead."""
    if isinstance(config, dict):
        for key, value in config.items():
            at = f"{path}.{key}"
            if key in DEPRECATED:
                yield {"path": at, "rule": f"{key} is deprecated", "fix": f"write {DEPRECATED[key]}"}
            yield from deprecated_keys(value, at)
    elif isinstance(config, list):
        for position, value in enumerate(config):
            yield from deprecated_keys(value, f"{path}[{position}]")


def _report(problems: list[Problem]) -> list[dict[str, str]]:
    """As many as an answer holds."""
    return [
        {key: value[:PROBLEM_BYTES_MAX] for key, value in vars(problem).items() if isinstance(value, str)}
        for problem in problems[:PROBLEMS_MAX]
    ]


def _store(driver: Driver, configs: dict[str, DeviceConfig]) -> None:
    """Make it what a successor finds. EINVAL: it is too large."""
    try:
        driver.state.store_config(_text(driver, configs))
    except ValueError as error:
        raise DriverError(EINVAL, str(error)) from error
    driver.configs = configs


def _text(driver: Driver, configs: dict[str, DeviceConfig]) -> bytes:
    caps = {device.name: device.caps for device in driver.devices.values()}
    saved = [save_device(config, caps[name]) for name, config in sorted(configs.items())]
    return json.dumps(saved, sort_keys=True, separators=(",", ":")).encode()


def _by_name(driver: Driver) -> dict[str, Device]:
    return {device.name: device for device in driver.devices.values()}


# ---- the work queues of several devices --------------------------------------------------------------------------------
def _holding(driver: Driver, indices: list[int], steps: Steps) -> tuple[Key, Steps]:
    """Queued on the first device; runs when the queues of the others wait for it."""
    held: set[int] = set()
    over = False

    def hold(index: int) -> Steps:
        held.add(index)
        yield Wait(f"device {index}: held for a verb on several", lambda: over)

    def run() -> Steps:
        nonlocal over
        try:
            yield Wait("the other devices' work queues", lambda: len(held) == len(indices) - 1)
            return (yield from steps)
        finally:
            over = True

    for index in indices[1:]:
        driver.works.queue(("device", index), "held", hold(index))
    return ("device", indices[0]), run()


# ---- load-config, save-config ------------------------------------------------------------------------------------------
def verb_load_config(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """config: accel-config's list. force: disable what is enabled; enable: devices and WQs; dry_run: only check."""
    config = arguments.get("config")
    parsed, problems = parse_config(config, {device.name: (device.index, device.caps) for device in driver.devices.values()})
    answer = {"applied": False, "problems": _report(problems), "problem_count": len(problems)}
    answer["warnings"] = list(deprecated_keys(config))[:PROBLEMS_MAX]
    if problems or not parsed or arguments.get("dry_run"):
        return ("load", 0), immediately(answer)
    load = _Load(driver, parsed, bool(arguments.get("enable")), arguments["id"])
    load.check(force=bool(arguments.get("force")))
    return _holding(driver, sorted(config.index for config in parsed), load.run(answer, force=bool(arguments.get("force"))))


class _Load:
    """One load-config."""

    def __init__(self, driver: Driver, parsed: list[DeviceConfig], enable: bool, verb: int) -> None:
        self.driver = driver
        self.new = {config.name: config for config in parsed}
        self.enable = enable
        self.verb = verb
        self.devices = [_by_name(driver)[name] for name in self.new]
        self.repeated = any(driver.begun(device, verb) for device in self.devices)

    def check(self, *, force: bool) -> None:
        """EBUSY: a device is enabled. ENXIO: it is halted."""
        for device in self.devices:
            if device.state is DriverState.HALTED:
                raise DriverError(ENXIO, f"{device.name}: the device is halted; reset it first")
            if device.state is DriverState.ENABLED and not force and not self.repeated:
                raise DriverError(EBUSY, f"{device.name}: the device is enabled; disable it first, or use --force")

    def run(self, answer: Message, *, force: bool) -> Steps:
        """Unbind, store, bind; on failure everything as it was."""
        self.check(force=force)
        driver, former = self.driver, dict(self.driver.configs)
        configs = {**former, **self.new}
        bound = [(device, _bound_wqs(device)) for device in self.devices if device.state is DriverState.ENABLED]
        for device in self.devices:
            driver.begin(device, self.verb)
        if not self.repeated or driver.state.load_config() != _text(driver, configs):
            for device, _ in bound:
                yield from unbind(driver, device)
            _store(driver, configs)
        if not self.enable:
            return {**answer, "applied": True, "enabled": []}
        try:
            enabled = yield from self._bind()
        except DriverError as error:
            yield from self._restore(former, bound)
            raise DriverError(error.errno, f"{error.text}; the former configuration is in force") from error
        return {**answer, "applied": True, "enabled": enabled}

    def _bind(self) -> Steps:
        enabled = []
        for device in self.devices:
            config = self.new[device.name]
            if device.state is DriverState.DISABLED:
                yield from bind.bind_device(device, config)
            enabled.append(device.name)
            for settings in config.wqs:
                wq = device.wqs[settings.id]
                if settings.type is WqType.NONE or settings.group_id < 0:
                    continue
                if not wq.block.bound:
                    yield from drv_enable_wq(wq, settings.type)
                enabled.append(wq.label)
        return enabled

    def _restore(self, former: dict[str, DeviceConfig], bound: list[tuple[Device, list[tuple[Wq, WqType]]]]) -> Steps:
        for device in self.devices:
            yield from unbind(self.driver, device)
        _store(self.driver, former)
        for device, wqs in bound:
            if device.name not in former:
                continue
            try:
                yield from bind.bind_device(device, former[device.name])
                for wq, wq_type in wqs:
                    yield from drv_enable_wq(wq, wq_type)
            except DriverError as error:
                device.log(
                    "error", f"{device.name}: the former configuration cannot be enabled: {error.text}", device=device.name
                )


def _bound_wqs(device: Device) -> list[tuple[Wq, WqType]]:
    return [(wq, wq.type) for wq in device.wqs if wq.block.bound]


def unbind(driver: Driver, device: Device) -> Steps:
    """Disable a device and forget its clients' opens."""
    yield from bind.unbind_device(device)
    for wq in device.wqs:
        forget_opens(driver, wq)


def verb_save_config(driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    """The configuration in accel-config's format."""
    devices = _by_name(driver)
    saved = [save_device(config, devices[name].caps) for name, config in sorted(driver.configs.items())]
    return ("save", 0), immediately({"config": saved})


def verb_topology(driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    """What `accel-config list -i` prints."""
    return ("list", 0), immediately(
        {"devices": [list_device(device, driver.configs.get(device.name)) for device in driver.devices.values()]}
    )


def check_driver_name(wq: Wq, wq_type: WqType) -> None:
    """The driver that binds a WQ of this type must be the one its driver_name asks for. ENODEV."""
    driver = DRIVER_OF[wq_type]
    if wq.device.state is DriverState.ENABLED and wq.driver_name and not wq.driver_name.startswith(driver):
        raise refuse_wq(wq, ENODEV, DriverStatus.WQ_NO_DRV_NAME, f"driver_name: must begin with {driver} for this type")


# ---- config-*: attribute by attribute ----------------------------------------------------------------------------------
def verb_config(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """object, attributes: [[name, text], ...], written in this order; the first refusal leaves everything as it was."""
    at, _ = find(str(arguments.get("object")), _by_name(driver), driver.configs)
    return ("device", at.device.index), _write_attributes(driver, at.path, arguments.get("attributes"))


def _write_attributes(driver: Driver, path: str, attributes: Any) -> Steps:
    at, kind = find(path, _by_name(driver), driver.configs)
    at.config = copy_config(at.config)
    for attribute, text in _pairs(attributes):
        write(at, kind, attribute, text)
    _store(driver, {**driver.configs, at.device.name: at.config})
    return {}
    yield


def _pairs(attributes: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(attributes, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in attributes):
        raise DriverError(EINVAL, "attributes: must be a list of [name, value]")
    return [(str(name), str(text)) for name, text in attributes]


# ---- reset -------------------------------------------------------------------------------------------------------------
def verb_reset_device(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device: unbound, reset, and its configuration forgotten."""
    device = _by_name(driver).get(str(arguments.get("device")))
    if device is None:
        raise DriverError(ENOENT, f"device: no device {arguments.get('device')!r:.80}")
    return ("device", device.index), _reset(driver, device)


def _reset(driver: Driver, device: Device) -> Steps:
    if device.state is DriverState.HALTED:
        raise DriverError(ENXIO, f"{device.name}: the device is halted: a Reset Device does not bring it back")
    if device.state is DriverState.ENABLED:
        yield from unbind(driver, device)
    else:
        yield from reset_device(device)
    _store(driver, {**driver.configs, device.name: DeviceConfig(device.index, device.name)})
    return {}


VERBS: Final[dict[str, Callable[[Driver, Message], tuple[Key, Steps]]]] = {
    "load_config": verb_load_config,
    "save_config": verb_save_config,
    "topology": verb_topology,
    "config": verb_config,
    "reset_device": verb_reset_device,
}
