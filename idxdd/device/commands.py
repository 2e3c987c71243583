"""Commands: what CMD may ask in which state, and what each does (registers.md 2.7; specification 3.15).

One at a time    CMDSTS.active is 1 from the write until the command has ended, which for drains and stops is when the
                 engine has acknowledged. A command written meanwhile is discarded and reported as 0x52.
End              result and error written and active 0 in one store, then INTCAUSE.cmd and vector 0 if int_req was set.
Halt             ends the command that runs with HW_ERR; what the engine acknowledges for it later does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from idxdd.device import config
from idxdd.device.engineport import Continuation
from idxdd.device.registerfile import BusWrite
from idxdd.device.reports import ErrorReport
from idxdd.native import _native as native
from idxdd.shm.closed import Closed
from idxdd.spec.codes import CmdErr, Command, CompletionStatus, DeviceState, InterruptCause, ResetType, WqState
from idxdd.spec.registers import CMD, CMDSTS, EVLSTATUS, GENCFG, GENSTS

if TYPE_CHECKING:
    from idxdd.device.device import Device

OPERAND_BITS = (1 << 20) - 1
PASID_BITS = (1 << 20) - 1
WQ_INDEX_BITS = 0xFF
WQ_MASK_BITS = (1 << 20) - 1
TABLE_INDEX_BITS = 0xFFFF
TABLE_IMS = 1 << 16


class Selects(Enum):
    """How a command's operand names WQs."""

    NONE = 0
    INDEX = 1
    MASK = 2


class Running:
    """The command at work: ends once, unless a halt ended it before."""

    def __init__(self, unit: CommandUnit, cmd: CMD) -> None:
        self._unit = unit
        self.cmd = cmd

    def end(self, error: CmdErr = CmdErr.SUCCESS, result: int = 0) -> None:
        """The command has ended."""
        self._unit.end(self, error, result)

    def when_done(self, effect: Continuation) -> Continuation:
        """`effect` as a continuation of this command: skipped if a halt ended the command meanwhile."""

        def guarded() -> None:
            if self._unit.running is self:
                effect()

        return guarded


Effect = Callable[["Device", int, Running], None]


@dataclass(frozen=True)
class Rule:
    """One command: operand bits it defines, states it is allowed in, the answer elsewhere, what it does."""

    operand: int
    selects: Selects
    allowed_in: frozenset[DeviceState]
    refused_as: CmdErr
    effect: Effect


# ---- device ------------------------------------------------------------------------------------------------------------------
def enable_device(device: Device, operand: int, running: Running) -> None:
    error = config.check_device(config.Configuration.of(device.registers, device.platform))
    if error is CmdErr.SUCCESS:
        if device.registers.read(GENCFG).evl_en:
            device.registers.reset(lambda register: register is EVLSTATUS)
        device.set_state(DeviceState.ENABLED)
    running.end(error)


def disable_device(device: Device, operand: int, running: Running) -> None:
    stop_device(device, running, native.STOP_DRAIN, Closed.WQ_DISABLED, running.end)


def reset_device(device: Device, operand: int, running: Running) -> None:
    def clear_and_end() -> None:
        device.reset_registers()
        running.end()

    if device.state is DeviceState.DISABLED:
        clear_and_end()
    elif device.state is DeviceState.HALT:
        # the engine was told to stop at the halt; this waits until it has
        every = range(device.wqs.count)

        def disable_and_clear() -> None:
            device.wqs.set_state(every, WqState.DISABLED)
            device.set_state(DeviceState.DISABLED)
            clear_and_end()

        device.wqs.stop(every, native.STOP_ABORT, Closed.ABORTED, running.when_done(disable_and_clear))
    else:
        stop_device(device, running, native.STOP_ABORT, Closed.ABORTED, clear_and_end)


def stop_device(device: Device, running: Running, how: int, reason: int, then: Continuation) -> None:
    """Accept nothing, drain or abort every WQ, end up Disabled."""
    stopped = device.wqs.enabled()
    device.set_state(DeviceState.DRAIN)
    device.wqs.set_state(stopped, WqState.DRAIN)

    def disabled() -> None:
        device.wqs.set_state(stopped, WqState.DISABLED)
        device.set_state(DeviceState.DISABLED)
        then()

    device.wqs.stop(stopped, how, reason, running.when_done(disabled))


def drain_all(device: Device, operand: int, running: Running) -> None:
    device.wqs.drain(device.wqs.enabled(), running.when_done(running.end))


def abort_all(device: Device, operand: int, running: Running) -> None:
    device.wqs.abort(device.wqs.enabled(), running.when_done, running.end)


# ---- WQ --------------------------------------------------------------------------------------------------------------------
def selected(operand: int) -> list[int]:
    """WQ ids of a mask operand: 15:0 choose inside the block of 16 that 19:16 name."""
    block = operand >> 16
    return [16 * block + bit for bit in range(16) if operand >> bit & 1]


def enable_wq(device: Device, operand: int, running: Running) -> None:
    wq_id = operand & WQ_INDEX_BITS
    error = config.check_wq(config.WqConfiguration.of(device.registers, device.platform, device.interrupts.is_handle, wq_id))
    if error is not CmdErr.SUCCESS:
        running.end(error)
        return

    def enabled() -> None:
        device.wqs.set_state([wq_id], WqState.ENABLED)
        running.end()

    device.wqs.enable(wq_id, running.when_done(enabled))


def all_enabled(device: Device, wq_ids: list[int], running: Running) -> bool:
    """If one is not, nothing happens to the others either."""
    if all(device.wqs.state(wq_id) is WqState.ENABLED for wq_id in wq_ids):
        return True
    running.end(CmdErr.WQ_NOT_ENABLED)
    return False


def disable_wq(device: Device, operand: int, running: Running) -> None:
    wq_ids = selected(operand)
    if all_enabled(device, wq_ids, running):
        stop_wqs(device, wq_ids, running, native.STOP_DRAIN, Closed.WQ_DISABLED, running.end)


def drain_wq(device: Device, operand: int, running: Running) -> None:
    wq_ids = selected(operand)
    if all_enabled(device, wq_ids, running):
        device.wqs.drain(wq_ids, running.when_done(running.end))


def abort_wq(device: Device, operand: int, running: Running) -> None:
    wq_ids = selected(operand)
    if all_enabled(device, wq_ids, running):
        device.wqs.abort(wq_ids, running.when_done, running.end)


def reset_wq(device: Device, operand: int, running: Running) -> None:
    wq_ids = selected(operand)
    running_wqs = [wq_id for wq_id in wq_ids if device.wqs.state(wq_id) is WqState.ENABLED]

    def clear_and_end() -> None:
        for wq_id in wq_ids:
            device.wqs.reset(wq_id, keep_size=True)
        running.end()

    # Disabled is what a reset leaves; the driver's disable ends with one, after its drain.
    stop_wqs(device, running_wqs, running, native.STOP_ABORT, Closed.WQ_DISABLED, clear_and_end)


def stop_wqs(device: Device, wq_ids: list[int], running: Running, how: int, reason: int, then: Continuation) -> None:
    """Accept nothing on these WQs, drain or abort them, end up Disabled."""
    device.wqs.set_state(wq_ids, WqState.DRAIN)

    def disabled() -> None:
        device.wqs.set_state(wq_ids, WqState.DISABLED)
        then()

    device.wqs.stop(wq_ids, how, reason, running.when_done(disabled))


# ---- PASID, interrupt handles -----------------------------------------------------------------------------------------------
def drain_pasid(device: Device, operand: int, running: Running) -> None:
    device.port.pasid_drain(operand & PASID_BITS, device.wqs.indices, running.when_done(running.end))


def abort_pasid(device: Device, operand: int, running: Running) -> None:
    device.wqs.abort_pasid(operand & PASID_BITS, running.when_done(running.end))


def request_int_handle(device: Device, operand: int, running: Running) -> None:
    entry = operand & TABLE_INDEX_BITS
    error, handle = (CmdErr.INVAL_INT_IDX, 0) if operand & TABLE_IMS else device.interrupts.request_handle(entry)
    running.end(error, handle)


def release_int_handle(device: Device, operand: int, running: Running) -> None:
    handle = operand & TABLE_INDEX_BITS
    running.end(CmdErr.INVAL_INT_IDX if operand & TABLE_IMS else device.interrupts.release_handle(handle))


def request_idpt_handle(device: Device, operand: int, running: Running) -> None:
    if operand >= device.domains.count:
        return running.end(CmdErr.INVAL_IDPT_IDX)
    device.domains.request_handle(operand)
    running.end(result=operand)


def release_idpt_handle(device: Device, operand: int, running: Running) -> None:
    if operand >= device.domains.count:
        return running.end(CmdErr.INVAL_IDPT_IDX)
    device.domains.release_handle(operand)
    running.end()


# ---- the table ---------------------------------------------------------------------------------------------------------------
DISABLED, ENABLED = DeviceState.DISABLED, DeviceState.ENABLED
ANY = frozenset({DISABLED, ENABLED, DeviceState.HALT})
"""Halt stands here for Reset Device alone: refused_in_halt() comes first."""

RULES: dict[Command, Rule] = {
    Command.ENABLE_DEVICE: Rule(0, Selects.NONE, frozenset({DISABLED}), CmdErr.DEV_ENABLED, enable_device),
    Command.DISABLE_DEVICE: Rule(0, Selects.NONE, frozenset({ENABLED}), CmdErr.DIS_DEV_NOT_ENABLED, disable_device),
    Command.DRAIN_ALL: Rule(0, Selects.NONE, ANY, CmdErr.HW_ERR, drain_all),
    Command.ABORT_ALL: Rule(0, Selects.NONE, ANY, CmdErr.HW_ERR, abort_all),
    Command.RESET_DEVICE: Rule(0, Selects.NONE, ANY, CmdErr.HW_ERR, reset_device),
    Command.ENABLE_WQ: Rule(WQ_INDEX_BITS, Selects.INDEX, frozenset({ENABLED}), CmdErr.DEV_NOT_ENABLED, enable_wq),
    Command.DISABLE_WQ: Rule(WQ_MASK_BITS, Selects.MASK, frozenset({ENABLED}), CmdErr.WQ_NOT_ENABLED, disable_wq),
    Command.DRAIN_WQ: Rule(WQ_MASK_BITS, Selects.MASK, frozenset({ENABLED}), CmdErr.WQ_NOT_ENABLED, drain_wq),
    Command.ABORT_WQ: Rule(WQ_MASK_BITS, Selects.MASK, frozenset({ENABLED}), CmdErr.WQ_NOT_ENABLED, abort_wq),
    Command.RESET_WQ: Rule(WQ_MASK_BITS, Selects.MASK, ANY, CmdErr.HW_ERR, reset_wq),
    Command.DRAIN_PASID: Rule(PASID_BITS, Selects.NONE, ANY, CmdErr.HW_ERR, drain_pasid),
    Command.ABORT_PASID: Rule(PASID_BITS, Selects.NONE, ANY, CmdErr.HW_ERR, abort_pasid),
    Command.REQUEST_INT_HANDLE: Rule(TABLE_INDEX_BITS | TABLE_IMS, Selects.NONE, ANY, CmdErr.HW_ERR, request_int_handle),
    Command.REQUEST_IDPT_HANDLE: Rule(TABLE_INDEX_BITS, Selects.NONE, ANY, CmdErr.HW_ERR, request_idpt_handle),
    Command.RELEASE_IDPT_HANDLE: Rule(TABLE_INDEX_BITS, Selects.NONE, ANY, CmdErr.HW_ERR, release_idpt_handle),
    Command.RELEASE_INT_HANDLE: Rule(TABLE_INDEX_BITS | TABLE_IMS, Selects.NONE, ANY, CmdErr.HW_ERR, release_int_handle),
}
"""The bitmap cache (17): this device has none."""


def refused_in_halt(command: Command, gensts: GENSTS) -> bool:
    """A halted device does nothing; Reset Device brings it back if that is reset enough."""
    if gensts.state is not DeviceState.HALT:
        return False
    return command is not Command.RESET_DEVICE or gensts.reset_type is not ResetType.SOFTWARE


def names_missing_wq(rule: Rule, operand: int, wqs: int) -> bool:
    """Does the operand name a WQ that the device does not have?"""
    if rule.selects is Selects.INDEX:
        return operand & WQ_INDEX_BITS >= wqs
    return rule.selects is Selects.MASK and any(wq_id >= wqs for wq_id in selected(operand))


def execute_command(device: Device, running: Running) -> None:
    """Check in the order registers.md 2.7 recommends, then do it."""
    cmd = running.cmd
    rule = RULES.get(cmd.command)
    if rule is None or cmd.command not in device.profile.commands:
        running.end(CmdErr.INVAL_CMD)
    elif refused_in_halt(cmd.command, device.registers.read(GENSTS)):
        running.end(CmdErr.DEV_HALTED)
    elif cmd.raw & ~CMD.defined_mask() or cmd.operand & ~rule.operand:
        running.end(CmdErr.NONZERO_RESERVED)
    elif names_missing_wq(rule, cmd.operand, device.wqs.count):
        running.end(CmdErr.INVAL_WQIDX)
    elif device.state not in rule.allowed_in:
        running.end(rule.refused_as)
    else:
        rule.effect(device, cmd.operand, running)


class CommandUnit:
    """CMD and CMDSTS of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.running: Running | None = None
        self.executed = self.discarded = 0
        device.registers.on_write(CMD, self._written)

    def _written(self, write: BusWrite) -> None:
        if self.running is not None:
            self.discarded += 1
            self._device.errors.report(ErrorReport(CompletionStatus.CMD_WHILE_ACTIVE))
            return
        self.running = Running(self, CMD(write.written))
        self._device.registers.write(CMDSTS.encode(active=True))
        execute_command(self._device, self.running)

    def end(self, running: Running, error: CmdErr, result: int) -> None:
        """Publish how `running` ended and raise its interrupt; nothing if a halt has ended it before."""
        if running is not self.running:
            return
        self.running = None
        self.executed += 1
        self._device.registers.write(CMDSTS.encode(error=error, result=result))
        if running.cmd.int_req:
            self._device.interrupts.raise_cause(InterruptCause.CMD)

    def cut_off(self) -> None:
        """The device halts: whatever is running ends now."""
        if self.running is not None:
            self.running.end(CmdErr.HW_ERR)

    def forget(self) -> None:
        """A reset: nobody hears how the running command ended."""
        self.running = None

    def statistics(self) -> dict[str, int]:
        """Commands ended, and commands discarded because one was active."""
        return {"commands": self.executed, "commands_discarded": self.discarded}
