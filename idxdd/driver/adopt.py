"""Going on where a predecessor was killed: reconcile belief with hardware, device by device.

Order            posted writes applied, nothing active; the command in flight; states; opens; channels; causes owed; works
                 owed; gates; then every handler once, then the verbs that waited. Each step is safe to repeat.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from errno import EINVAL
from typing import TYPE_CHECKING, Any

from idxdd.driver import evl, irq, resubmit
from idxdd.driver.cdev import count_opens
from idxdd.driver.channels import CHANNEL_FDS, attach
from idxdd.driver.commands import adopt_command
from idxdd.driver.configure import apply_attributes
from idxdd.driver.device import probe
from idxdd.driver.perfmon import has_pmu
from idxdd.driver.state import SWERR_SAVED, VERSION, DriverState
from idxdd.driver.workqueue import DriverError, Steps, Wait
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, GATE_LIVE
from idxdd.native._native import LAYOUT
from idxdd.spec.codes import DeviceState, WqState, WqType
from idxdd.spec.registers import CMDSTS, GENSTS, WQCFG

if TYPE_CHECKING:
    from idxdd.driver.config import DeviceConfig
    from idxdd.driver.device import Device
    from idxdd.driver.driver import Driver
    from idxdd.driver.submit import Channel
    from idxdd.driver.wq import Wq


def adopt_driver(driver: Driver, channels: Sequence[dict[str, Any]], fds: list[int]) -> Steps:
    """Take over every device and channel; CHANNEL_FDS of `fds` are each channel's."""
    header = driver.state.header
    if header.version not in (0, VERSION):
        raise DriverError(EINVAL, f"driver state: version {header.version}, expected {VERSION}")
    fresh = header.version == 0
    for device in driver.devices.values():
        yield from settle_device(device)
    driver.configs = _stored_configs(driver, fresh)
    for device in driver.devices.values():
        yield from adopt_device(device, driver.configs.get(device.name))
    count_opens(driver)
    for arguments in channels:
        taken, fds = fds[:CHANNEL_FDS], fds[CHANNEL_FDS:]
        attach(driver, arguments, taken)
    driver.published.store32(LAYOUT["published_driver.layout_version"], LAYOUT["layout_version"])
    driver.published.store64(LAYOUT["published_driver.generation"], driver.generation)
    header.generation = driver.generation
    header.version = VERSION
    driver.ready = True
    _go_on(driver)
    for device in driver.devices.values():
        for vector in range(len(device.wqs) + 1):
            driver.interrupt(device.index, vector)
    driver.take_held_verbs()
    return {"channels": sorted(driver.channels)}


def _stored_configs(driver: Driver, fresh: bool) -> dict[str, DeviceConfig]:
    text = None if fresh else driver.state.load_config()
    if text is None:
        return {}
    for device in driver.devices.values():
        device.read_capabilities()
    return driver.parse(json.loads(text), checked=False)


def _go_on(driver: Driver) -> None:
    """What a predecessor acknowledged or had begun, and did not finish."""
    saved_first = sorted(driver.devices.values(), key=lambda device: device.block.swerr_mark != SWERR_SAVED)
    for device in saved_first:  # its four lines have the oldest numbers
        evl.adopt_evl(device, driver.queue_fault)
        block = device.block
        revoke, flr, reinit = block.revoke_queued, block.flr, block.reinit_queued  # what is redone queues its own
        irq.redo_owed(device, driver.hand_over)
        if revoke:
            driver.queue_int_handle_revoke(device)
        if flr:
            driver.queue_flr(device, driver.configs.get(device.name))
        if reinit:
            driver.queue_halt(device, device.reset_type)
        adopt_gates(device)
    for channel in driver.channels.values():
        if not channel.live and not channel.fenced:
            driver.queue_fence(channel, "a predecessor had begun to")
        elif channel.live and channel.block.resubmit:
            _go_on_resubmitting(driver, channel)


def _go_on_resubmitting(driver: Driver, channel: Channel) -> None:
    """What it did not submit, it may have cleared the status of already."""
    if resubmit.was_submitted(channel):
        channel.block.resubmit = 0
    else:
        driver.queue_int_handle_resubmit(channel, channel.block.resubmit)


def settle_device(device: Device) -> Steps:
    """Until every posted write is applied and no command is active."""
    device.mmio.settle(f"{device.name}: adoption")
    yield Wait(f"{device.name}: its last command", lambda: not device.mmio.read(CMDSTS).active, poll=True)


def adopt_device(device: Device, config: DeviceConfig | None) -> Steps:
    """Probe a device nobody drives; of another, take over what its predecessor believed and what the hardware says."""
    if not device.block.probed:
        device.block.command = 0
        yield from probe(device)
        for wq in device.wqs:
            wq.set_int_handle(None)
            wq.set_gate(GATE_DEAD)
        return
    device.read_capabilities()
    device.pmu = has_pmu(device)
    if config is not None:
        apply_attributes(device, config)
    adopt_command(device)
    _reconcile(device)
    if device.state is DriverState.DISABLED:
        device.clear_state()


def _reconcile(device: Device) -> None:
    """The hardware's word wins over the belief."""
    gensts = device.mmio.read(GENSTS)
    if gensts.state is DeviceState.ENABLED and device.state is DriverState.DISABLED:
        device.set_state(DriverState.ENABLED)
    elif gensts.state is DeviceState.DISABLED and device.state is not DriverState.DISABLED:
        device.set_state(DriverState.DISABLED)
    for wq in device.wqs:
        enabled = _hardware_enabled(wq)
        if enabled != wq.enabled:
            wq.set_enabled(enabled)
        if enabled:
            device.block.enabled_bitmap |= 1 << wq.id
        wq.publish_shape()


def _hardware_enabled(wq: Wq) -> bool:
    return wq.device.mmio.read(WQCFG, at=wq.config_offset).wq_state is WqState.ENABLED


def adopt_gates(device: Device) -> None:
    """A gate that was held reopens if its WQ is whole, else it dies; one that no WQ stands behind is dead."""
    for wq in device.wqs:
        whole = wq.enabled and wq.type is WqType.KERNEL and bool(wq.block.bound) and wq.int_handle is not None
        if wq.gate == GATE_CLOSED or (wq.gate == GATE_LIVE and not whole):
            wq.set_gate(GATE_LIVE if whole else GATE_DEAD)
