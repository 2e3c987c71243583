"""Going on where a predecessor was killed: reconcile belief with hardware, device by device.

Order            posted writes applied, nothing active; the command in flight; states; causes owed; gates; then every
                 handler once (driver.py). Each step is safe to repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idxdd.driver.commands import adopt_command
from idxdd.driver.configure import apply_attributes
from idxdd.driver.device import probe
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import Steps, Wait
from idxdd.driver.wq import GATE_CLOSED, GATE_DEAD, GATE_LIVE
from idxdd.spec.codes import DeviceState, WqState, WqType
from idxdd.spec.registers import CMDSTS, GENSTS, WQCFG

if TYPE_CHECKING:
    from idxdd.driver.config import DeviceConfig
    from idxdd.driver.device import Device
    from idxdd.driver.wq import Wq


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
