"""A WQ as the driver believes it to be, and the WQ functions of device.c.

A WQ's attributes come from the configuration and are gone after a reset, as in sysfs; its state, type, handle and
PASID are in the driver-state segment. `shadow` is the driver's copy of WQCFG: hardware contents are ORed into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EBUSY, ENXIO
from typing import TYPE_CHECKING, Final

from idxdd.driver.commands import cmd_exec, mask_operand
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError, Steps
from idxdd.native._native import LAYOUT
from idxdd.spec.codes import CmdErr, Command, DriverStatus, WqMode, WqType
from idxdd.spec.registers import MSIXPERM, WQCFG

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.submit import Channel

MAX_XFER_DEFAULT: Final = 2 << 20
MAX_BATCH_DEFAULT: Final = 32
RETRIES_DEFAULT: Final = 32
INVALID_INT_HANDLE: Final = 0xFFFFFFFF
GATE_DEAD, GATE_LIVE, GATE_CLOSED = 0, 1, 2
PASID_DWORD: Final = 8
"""Byte of WQCFG where mode, priority and PASID are."""


@dataclass
class Wq:
    """One work queue."""

    device: Device
    id: int
    group_id: int = -1
    size: int = 0
    mode: WqMode = WqMode.SHARED
    threshold: int = 0
    priority: int = 0
    name: str = ""
    driver_name: str = ""
    block_on_fault: bool = False
    ats_disable: bool = False
    prs_disable: bool = False
    max_transfer_size: int = MAX_XFER_DEFAULT
    max_batch_size: int = MAX_BATCH_DEFAULT
    op_config: int | None = None
    """Allowed opcodes; None = all of the device's."""
    shadow: int = 0
    channels: dict[int, Channel] = field(default_factory=dict)
    clients: int = 0

    def __post_init__(self) -> None:
        self.block = self.device.block.wq(self.id)
        self.global_index = self.device.index * LAYOUT["wqs_per_device_max"] + self.id
        self._published = LAYOUT["published_driver.wq"] + self.global_index * LAYOUT["published_driver.wq[]"]

    @property
    def label(self) -> str:
        """As users write it: dsa0/wq0.1."""
        return f"{self.device.name}/wq{self.device.index}.{self.id}"

    @property
    def dev_name(self) -> str:
        """As the kernel's log lines name it: wq0.1."""
        return f"wq{self.device.index}.{self.id}"

    @property
    def vector(self) -> int:
        """MSI-X entry of this WQ's completions."""
        return self.id + 1

    @property
    def enabled(self) -> bool:
        return bool(self.block.state)

    @property
    def type(self) -> WqType:
        return WqType(self.block.type)

    @property
    def dedicated(self) -> bool:
        return self.mode is WqMode.DEDICATED

    @property
    def pool(self) -> int:
        """Descriptors a kernel channel may use: size (dedicated) or threshold (shared)."""
        return min(self.size if self.dedicated else self.threshold, LAYOUT["channel_slots"])

    @property
    def int_handle(self) -> int | None:
        return self.block.int_handle - 1 if self.block.int_handle else None

    # ---- what clients see ----
    def _publish(self, word: str, value: int) -> None:
        self.device.published.store32(self._published + LAYOUT[f"published_wq.{word}"], value)

    @property
    def gate(self) -> int:
        return self.device.published.load32(self._published + LAYOUT["published_wq.gate"])

    def set_gate(self, gate: int) -> None:
        """GATE_*: clients read it after marking themselves inside."""
        self._publish("gate", gate)

    def set_int_handle(self, handle: int | None) -> None:
        """Belief, then what submitters stamp."""
        self.block.int_handle = 0 if handle is None else handle + 1
        self._publish("int_handle", INVALID_INT_HANDLE if handle is None else handle)

    def set_type(self, wq_type: WqType) -> None:
        self.block.type = wq_type
        self._publish("type", wq_type)

    def set_enabled(self, enabled: bool) -> None:
        self.block.state = enabled
        self._publish("state", enabled)

    def publish_shape(self) -> None:
        """Mode and pool, before the gate opens."""
        self._publish("mode", self.mode)
        self._publish("pool", self.pool)

    def count_interrupt(self) -> None:
        """Another run of wq_thread."""
        at = self._published + LAYOUT["published_wq.interrupts"]
        self.device.published.store64(at, self.device.published.load64(at) + 1)

    def cleanup(self) -> None:
        """Disabled, and every attribute back to its default but size, group and driver_name."""
        self.set_enabled(False)
        self.block.bound = 0
        self.shadow = 0
        self.set_type(WqType.NONE)
        self.mode, self.threshold, self.priority, self.name = WqMode.SHARED, 0, 0, ""
        self.block_on_fault = self.ats_disable = self.prs_disable = False
        self.max_transfer_size, self.max_batch_size, self.op_config = MAX_XFER_DEFAULT, MAX_BATCH_DEFAULT, None

    # ---- WQCFG ----
    @property
    def config_offset(self) -> int:
        """Byte offset of this WQ's WQCFG in BAR0."""
        return WQCFG.entry_offset(self.id, self.device.caps.offsets, self.device.caps.wqcap)

    @property
    def config_bytes(self) -> int:
        return min(WQCFG.stride_bytes(self.device.caps.wqcap), WQCFG.width_bytes)

    def write_pasid(self, pasid_en: bool, pasid: int, *, keep_shadow: bool = False) -> None:
        """Dword 2, read-modify-write in hardware and (unless told otherwise) in the shadow."""
        mmio, at, shift = self.device.mmio, self.config_offset + PASID_DWORD, 8 * PASID_DWORD
        dword = WQCFG(mmio.read32(at) << shift).replace(pasid_en=pasid_en, pasid=pasid).raw >> shift
        mmio.write32(at, dword & 0xFFFFFFFF)
        if not keep_shadow:
            self.shadow = WQCFG(self.shadow).replace(pasid_en=pasid_en, pasid=pasid).raw


def enable_wq(wq: Wq) -> Steps:
    """Enable WQ (operand: the plain id); success without a command when it is enabled. ENXIO."""
    if wq.enabled:
        return
    status = yield from cmd_exec(wq.device, Command.ENABLE_WQ, wq.id)
    if status not in (CmdErr.SUCCESS, CmdErr.WQ_ENABLED):
        raise DriverError(ENXIO, f"{wq.label}: Enable WQ failed with {status:#x}{_name_of(status)}")


def disable_wq(wq: Wq, *, clear_config: bool = False) -> Steps:
    """Disable WQ (mask form): waits for its descriptors; success without a command when it is disabled. ENXIO."""
    if not wq.enabled:
        return
    status = yield from cmd_exec(wq.device, Command.DISABLE_WQ, mask_operand(wq.id))
    if status != CmdErr.SUCCESS:
        raise DriverError(ENXIO, f"{wq.label}: Disable WQ failed with {status:#x}{_name_of(status)}")
    if clear_config:
        wq.cleanup()


def drain_wq(wq: Wq) -> Steps:
    """Drain WQ; result ignored."""
    if wq.enabled:
        yield from cmd_exec(wq.device, Command.DRAIN_WQ, mask_operand(wq.id))


def reset_wq(wq: Wq) -> Steps:
    """Reset WQ, then cleanup; the enabled bitmap keeps its bit (DEF-09)."""
    if wq.enabled:
        yield from cmd_exec(wq.device, Command.RESET_WQ, mask_operand(wq.id))
        wq.cleanup()


def set_pasid(wq: Wq, pasid: int) -> Steps:
    """Disable keeping the configuration, write the PASID, enable."""
    yield from disable_wq(wq)
    wq.write_pasid(True, pasid)
    yield from enable_wq(wq)


def disable_pasid(wq: Wq) -> Steps:
    """Disable keeping the configuration, clear the PASID (in hardware only: the shadow keeps the old one), enable."""
    yield from disable_wq(wq)
    wq.write_pasid(False, 0, keep_shadow=True)
    yield from enable_wq(wq)


def request_irq(wq: Wq) -> Steps:
    """A kernel WQ's interrupt: permission entry, then a handle (without handle support: the vector's index)."""
    from idxdd.driver.device import SYSTEM_PASID, request_int_handle

    device = wq.device
    wq.block.pasid = SYSTEM_PASID
    _write_permission(wq, MSIXPERM.encode(pasid_en=True, pasid=SYSTEM_PASID))
    try:
        handle = wq.vector
        if device.request_int_handles:
            handle = yield from request_int_handle(device, wq.vector)
        wq.set_int_handle(handle)
    except DriverError:
        _write_permission(wq, MSIXPERM(0))
        wq.block.pasid = 0
        raise


def free_irq(wq: Wq) -> Steps:
    """Flush the lists, release the handle, clear the permission entry."""
    from idxdd.driver.device import release_int_handle

    for channel in wq.channels.values():
        channel.flush_pending()
    handle = wq.int_handle
    wq.set_int_handle(None)
    if handle is not None and wq.device.request_int_handles:
        try:
            yield from release_int_handle(wq.device, handle)
        except DriverError as error:
            wq.device.log("debug", error.text, device=wq.device.name, wq=wq.label)
    _write_permission(wq, MSIXPERM(0))
    wq.block.pasid = 0


def _write_permission(wq: Wq, entry: MSIXPERM) -> None:
    wq.device.mmio.write(entry, at=MSIXPERM.entry_offset(wq.vector, wq.device.caps.offsets))


def refuse_wq(wq: Wq, errno: int, status: DriverStatus, text: str) -> DriverError:
    """The error of a check, left in cmd_status as well."""
    wq.device.block.cmd_status = status
    return DriverError(errno, f"{wq.label}: {text} (cmd_status {int(status):#x} {status.name})")


def check_wq(wq: Wq) -> None:
    """The driver's checks before it enables a WQ, in its order."""
    device = wq.device
    if device.state is not DriverState.ENABLED:
        raise refuse_wq(wq, ENXIO, DriverStatus.DEV_NOT_ENABLED, "the device is not enabled")
    if wq.enabled:
        raise refuse_wq(wq, EBUSY, DriverStatus.WQ_ENABLED, "the WQ is enabled already")
    if wq.group_id < 0:
        raise refuse_wq(wq, ENXIO, DriverStatus.WQ_NO_GRP, "group_id: the WQ is in no group")
    if not wq.name:
        raise refuse_wq(wq, ENXIO, DriverStatus.WQ_NO_NAME, "name: the WQ has no name")
    if not wq.dedicated:
        if not device.caps.wqcap.shared_mode:
            raise refuse_wq(wq, ENXIO, DriverStatus.WQ_NO_SVM, "mode: the device has no shared WQs")
        if not wq.threshold:
            raise refuse_wq(wq, ENXIO, DriverStatus.WQ_NO_THRESH, "threshold: a shared WQ needs one")


def drv_enable_wq(wq: Wq, wq_type: WqType) -> Steps:
    """Bind a WQ's driver: checks, PASID, configuration, Enable WQ, and for a kernel WQ interrupt and gate."""
    from idxdd.driver.configure import write_configuration
    from idxdd.driver.device import SYSTEM_PASID

    device = wq.device
    resumed = wq.enabled and wq.type is wq_type and not wq.block.bound  # a predecessor was killed on the way
    if not resumed:
        check_wq(wq)
        wq.set_type(wq_type)
        if not wq.dedicated:
            wq.write_pasid(True, 0)
        elif wq_type is WqType.KERNEL:
            wq.write_pasid(True, SYSTEM_PASID)
        try:
            if device.caps.gencap.config_en:
                write_configuration(device)
            yield from enable_wq(wq)
        except DriverError:
            wq.set_type(WqType.NONE)
            raise
    wq.publish_shape()
    if wq_type is WqType.KERNEL:
        try:
            yield from request_irq(wq)
        except DriverError as error:
            yield from disable_wq(wq)
            wq.set_type(WqType.NONE)
            raise refuse_wq(wq, ENXIO, DriverStatus.WQ_IRQ_ERR, error.text) from error
        wq.set_gate(GATE_LIVE)
    wq.block.bound = 1
    device.block.cmd_status = 0


def drv_disable_wq(wq: Wq) -> Steps:
    """Unbind a WQ's driver: quiesce (kernel), drain, free the interrupt, reset."""
    from idxdd.driver.submit import quiesce

    wq_type = wq.type
    if wq_type is WqType.KERNEL:
        yield from quiesce(wq)
    if wq.clients:
        wq.device.log("warning", f"Clients has claim on wq {wq.id}: {wq.clients}", device=wq.device.name, wq=wq.label)
    yield from drain_wq(wq)
    if wq_type is WqType.KERNEL:
        yield from free_irq(wq)
    yield from reset_wq(wq)
    wq.set_type(WqType.NONE)
    wq.block.bound = 0
    wq.block.pasid = 0


def _name_of(status: int) -> str:
    error = status & 0xFF
    return f" ({CmdErr(error).name})" if error in CmdErr._value2member_map_ else ""
