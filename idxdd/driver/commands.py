"""Commands: one at a time, by interrupt or polled, with a record that lets a successor go on.

Record           position of the CMD write in the MMIO ring, then COMMAND_VALID | value, then the write itself. So after a
                 kill it was issued exactly if the ring's tail is past the position (model d, d2).
Waiting          the interrupt only says "look": what counts is CMDSTS.active. A spurious cause completes nothing. While it is
                 active there is no time-out (a drain takes as long as it takes; halt, reset and removal end it); one that
                 is over, and whose interrupt does not come, is taken as it ended after LOST_LOOKS looks, with a warning.
Effect           what a command changed of the driver's belief is stored (`apply_effect`) before the record is cleared,
                 by the caller or, after a kill, by the successor (`adopt_command`).
Removal, reset   of the device by its bus: no interrupt will come. The bus says "look" (bus_event); of a removed device the
                 status is 0x03.
Halt             a halted device is sent nothing (status 0x03), except Reset Device in a software halt. A waiter is woken
                 with 0x03 when a halt is taken (DEF-01).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from idxdd.driver.state import COMMAND_VALID, DriverState
from idxdd.driver.workqueue import Steps, Wait
from idxdd.shm.clock import NS_PER_S
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType
from idxdd.spec.registers import CMD, CMDSTS, GENSTS

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.wq import Wq


LOOK_S: Final = 1.0
LOST_LOOKS: Final = 2
"""So often in succession a command was found over, LOOK_S apart, without its interrupt: that is lost."""


def cmd_exec(device: Device, command: Command, operand: int) -> Steps:
    """Send a command and wait for its interrupt, as long as it is active. Returns CMDSTS.error, or 0x03 when halted.

    The whole CMDSTS for the commands that request a handle, whose result counts, and for every command under DEF-16.
    """
    if _refused(device, command):
        return int(CmdErr.HW_ERR)
    yield Wait(f"{device.name}: the command register", lambda: not device.command_running)
    if _refused(device, command):
        return int(CmdErr.HW_ERR)
    device.command_running = True
    try:
        device.command_done = device.halt_taken = False
        device.block.cmd_status = 0
        _issue(device, CMD.encode(operand=operand, command=command, int_req=True))
        return (yield from _await(device, command, operand))
    finally:
        device.command_running = False


def _await(device: Device, command: Command, operand: int) -> Steps:
    lost = _LostInterrupt(device)
    while True:
        yield Wait(f"{device.name}: {command.name}", lambda: device.command_done or device.halt_taken or lost())
        if not device.command_done and not device.halt_taken:
            device.log("warning", f"{command.name} is over and its interrupt did not come.", device=device.name)
        device.command_done = False
        if command is Command.RESET_DEVICE and device.halt_taken and device.mmio.read(CMDSTS).active:
            device.halt_taken = False  # it is what ends the halt: an error's interrupt has looked at GENSTS again meanwhile
            continue
        if device.halt_taken or device.mmio.absent:
            status = int(CmdErr.HW_ERR)
            break
        sts = device.mmio.read(CMDSTS)
        if not sts.active:
            whole = command in (Command.REQUEST_INT_HANDLE, Command.REQUEST_IDPT_HANDLE) or "DEF-16" in device.quirks
            status = sts.raw if whole else int(sts.error)
            break
    device.block.cmd_status = status & 0xFF
    _settle(device, command, operand, status)
    return status


class _LostInterrupt:
    """Whether a command that is waited for is over without a word. Called at least once a second, when the process looks up."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._looked_ns = device.clock.now_ns()
        self._over = 0

    def __call__(self) -> bool:
        device = self._device
        if "DEF-01" in device.quirks or device.clock.now_ns() - self._looked_ns < LOOK_S * NS_PER_S:
            return False
        self._looked_ns = device.clock.now_ns()
        self._over = 0 if device.mmio.read(CMDSTS).active else self._over + 1
        return self._over >= LOST_LOOKS


def cmd_poll(device: Device, command: Command, operand: int) -> Steps:
    """Send a command without an interrupt and look until it is over (probe reset, handle release). Returns CMDSTS."""
    yield Wait(f"{device.name}: the command register", lambda: not device.command_running)
    device.command_running = True
    try:
        _issue(device, CMD.encode(operand=operand, command=command))
        over = lambda: device.mmio.absent or not device.mmio.read(CMDSTS).active  # noqa: E731
        yield Wait(f"{device.name}: {command.name}", over, poll=True)
        status = int(CmdErr.HW_ERR) if device.mmio.absent else device.mmio.read(CMDSTS).raw
        _settle(device, command, operand, status)
        return status
    finally:
        device.command_running = False


def _issue(device: Device, value: CMD) -> None:
    device.block.command_position = device.mmio.position
    device.block.command = COMMAND_VALID | value.raw
    device.mmio.write(value)


def _settle(device: Device, command: Command, operand: int, status: int) -> None:
    apply_effect(device, command, operand, status)
    device.block.command = 0


def apply_effect(device: Device, command: Command, operand: int, status: int) -> None:
    """Store what the command changed of the driver's belief. Safe to repeat."""
    if command is Command.ENABLE_DEVICE and status in (CmdErr.SUCCESS, CmdErr.DEV_ENABLED):
        device.set_state(DriverState.ENABLED)
    elif command is Command.DISABLE_DEVICE:
        if status == CmdErr.SUCCESS or status & CmdErr.DIS_DEV_NOT_ENABLED:
            device.clear_state()
    elif command is Command.RESET_DEVICE:
        if device.wqs:  # at probe there is nothing yet
            device.clear_state()
    elif command is Command.ENABLE_WQ and status in (CmdErr.SUCCESS, CmdErr.WQ_ENABLED):
        device.wqs[operand].set_enabled(True)
        device.block.enabled_bitmap |= 1 << operand
    elif command is Command.DISABLE_WQ and status == CmdErr.SUCCESS:
        for wq in _selected(device, operand):
            wq.set_enabled(False)
            device.block.enabled_bitmap &= ~(1 << wq.id)
    elif command is Command.RESET_WQ:
        for wq in _selected(device, operand):
            wq.cleanup()
            if "DEF-09" not in device.quirks:
                device.block.enabled_bitmap &= ~(1 << wq.id)


def adopt_command(device: Device) -> None:
    """What a predecessor had in flight: take its effect if it was issued. The device must be settled and inactive."""
    record = device.block.command
    if not record & COMMAND_VALID:
        return
    if device.mmio.position > device.block.command_position:
        cmd, sts = CMD(record & 0xFFFFFFFF), device.mmio.read(CMDSTS)
        apply_effect(device, Command(cmd.command), cmd.operand, sts.raw)
    device.block.command = 0


def mask_operand(wq_id: int) -> int:
    """Mask form: bit inside a block of 16, block number above."""
    return 1 << wq_id % 16 | wq_id // 16 << 16


def _selected(device: Device, operand: int) -> list[Wq]:
    block = operand >> 16
    return [wq for wq in device.wqs if wq.id // 16 == block and operand >> wq.id % 16 & 1]


def _refused(device: Device, command: Command) -> bool:
    """A halted device is sent nothing but the Reset Device that brings it back from a software halt."""
    gensts = device.mmio.read(GENSTS)
    if gensts.state is not DeviceState.HALT:
        return False
    if command is Command.RESET_DEVICE and gensts.reset_type is ResetType.SOFTWARE and "DEF-02" not in device.quirks:
        return False
    device.log("warning", "Device is HALTED!", device=device.name)
    return True
