"""A device as the driver believes it to be, and the device functions of device.c.

`DriverState` is the driver's belief and never the same thing as GENSTS.state. What must survive this process is in
`block` (the driver-state segment); the rest is rebuilt from the configuration and the hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from errno import ENXIO, EOPNOTSUPP
from typing import TYPE_CHECKING, Protocol

from idxdd.driver.commands import cmd_exec, cmd_poll
from idxdd.driver.config import EVL_ENTRIES
from idxdd.driver.perfmon import pmu_init
from idxdd.driver.quirks import DEFAULT_QUIRKS
from idxdd.driver.state import DeviceBlock, DriverState
from idxdd.driver.workqueue import DriverError, Steps
from idxdd.driver.wq import Wq
from idxdd.native._native import LAYOUT
from idxdd.shm.clock import NS_PER_S
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType
from idxdd.spec.registers import CMDCAP, ENGCAP, GENCAP, GENCTRL, GENSTS, GRPCAP, OFFSETS, OPCAP, VERSION, WQCAP

if TYPE_CHECKING:
    from idxdd.driver.state import StateSegment
    from idxdd.native._native import Words
    from idxdd.shm.clock import Clock
    from idxdd.shm.hostmemory import HostMemory
    from idxdd.shm.mmio import DriverMmio

WARNINGS_MAX, WARNINGS_S = 10, 5
"""The kernel's default rate limit of a message."""
SYSTEM_PASID = 1
"""PASID of kernel channels (docs/architecture.md, "Global numbers")."""


class Log(Protocol):
    """One line of the kernel log."""

    def __call__(self, level: str, text: str, *, number: int | None = None, **fields: object) -> None: ...


CopyRecord = Callable[[int, int, bytes, int], Callable[[], int | None]]
"""(pasid, address, record, number of the request) -> how many bytes were copied; None: not answered yet."""


@dataclass
class Capabilities:
    """Read once, at probe."""

    version: int
    gencap: GENCAP
    wqcap: WQCAP
    grpcap: GRPCAP
    engcap: ENGCAP
    opcap: OPCAP
    offsets: OFFSETS
    cmdcap: int

    @classmethod
    def read(cls, mmio: DriverMmio) -> Capabilities:
        gencap = mmio.read(GENCAP)
        return cls(
            mmio.read(VERSION).raw,
            gencap,
            mmio.read(WQCAP),
            mmio.read(GRPCAP),
            mmio.read(ENGCAP),
            mmio.read(OPCAP),
            mmio.read(OFFSETS),
            mmio.read(CMDCAP).raw if gencap.cmd_cap else 0x1FFE,  # Table 9-6: without CMDCAP, commands 1-12
        )


@dataclass
class Group:
    """A group's attributes, as sysfs holds them."""

    id: int
    tc_a: int = 1
    tc_b: int = 1
    use_rdbuf_limit: bool = False
    rdbufs_reserved: int = 0
    rdbufs_allowed: int = 0
    desc_progress_limit: int = 0
    batch_progress_limit: int = 0


@dataclass
class Device:
    """One accelerator device."""

    index: int
    name: str
    mmio: DriverMmio
    published: Words
    block: DeviceBlock
    clock: Clock
    log: Log
    state_segment: StateSegment
    reserve_log_numbers: Callable[[int], int]
    """Take so many log numbers; returns the first."""
    caps: Capabilities = field(init=False)
    wqs: list[Wq] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    engines: list[int] = field(default_factory=list)
    """Group of each engine, -1 = none."""
    rdbuf_limit: int = 0
    pmu: bool = False
    """It has a performance monitor that the driver can use."""
    command_running: bool = False
    command_done: bool = False
    halt_taken: bool = False
    """A halt was taken while a command was in flight: its waiter gets 0x03 (DEF-01)."""
    wake_pollers: Callable[[Wq], None] = lambda wq: None
    """Called with each user WQ whose error queue is woken."""
    host: HostMemory | None = None
    """What the driver allocates for the device: the event log."""
    faults_queued: set[int] = field(default_factory=set)
    """Numbers of event-log entries whose work is queued."""
    copy_record: CopyRecord = lambda pasid, address, record, number: lambda: 0
    """Asks idxdd to write a record into a client's memory."""
    quirks: frozenset[str] = DEFAULT_QUIRKS
    """DEF-* that are reproduced."""
    later: frozenset[str] = frozenset()
    """What is done as later versions of the driver do it."""
    ask: Callable[[str, int], Callable[[], bool]] = lambda what, number: lambda: True
    """Ask idxdd: what, of which; the result says whether it was done."""
    evl_size: int = EVL_ENTRIES
    """event_log_size: entries."""
    vector_count: int = 0
    """MSI-X entries; 0: one more than WQs."""
    _warnings: dict[str, tuple[int, int]] = field(default_factory=dict)

    def may_warn(self, place: str, lines: int = 1) -> bool:
        """The kernel's rate limit of a message, for each place that logs: WARNINGS_MAX lines in WARNINGS_S, all or none."""
        now = self.clock.now_ns()
        since, said = self._warnings.get(place, (now, 0))
        if now - since >= WARNINGS_S * NS_PER_S:
            since, said = now, 0
        allowed = said + lines <= WARNINGS_MAX
        self._warnings[place] = since, said + lines if allowed else said
        return allowed

    def read_capabilities(self) -> None:
        """Size everything by what the hardware says."""
        self.caps = Capabilities.read(self.mmio)
        rdbufs = self.caps.grpcap.total_rdbufs
        self.wqs = [Wq(self, wq_id) for wq_id in range(self.caps.wqcap.num_wqs)]
        self.groups = [Group(group_id, rdbufs_allowed=rdbufs) for group_id in range(self.caps.grpcap.num_groups)]
        self.engines = [-1] * self.caps.engcap.num_engines

    @property
    def request_int_handles(self) -> bool:
        """Whether handles are asked of the device (CMDCAP bit 13)."""
        return bool(self.caps.cmdcap >> Command.REQUEST_INT_HANDLE & 1)

    @property
    def state(self) -> DriverState:
        return DriverState(self.block.state)

    def set_state(self, state: DriverState) -> None:
        """Belief, then what clients see."""
        self.block.state = state
        self.published.store32(LAYOUT["published_driver.device_state"] + 4 * self.index, state)

    @property
    def reset_type(self) -> ResetType:
        """Which reset a halted device needs."""
        return ResetType(self.mmio.read(GENSTS).reset_type)

    def clear_state(self) -> None:
        """Forget the configuration (if the device takes one) and be DISABLED. Touches neither hardware nor enabled bitmap."""
        if self.caps.gencap.config_en:
            for wq in self.wqs:
                wq.cleanup()
                wq.size = 0
                wq.group_id = -1
            rdbufs = self.caps.grpcap.total_rdbufs
            self.groups = [Group(group.id, rdbufs_allowed=rdbufs) for group in self.groups]
            self.engines = [-1] * len(self.engines)
            self.evl_size = EVL_ENTRIES
        self.set_state(DriverState.DISABLED)


def enable_device(device: Device) -> Steps:
    """Enable Device. ENXIO when it is enabled already or the command fails."""
    if device.mmio.read(GENSTS).state is DeviceState.ENABLED:
        raise DriverError(ENXIO, f"{device.name}: the hardware is enabled already")
    status = yield from cmd_exec(device, Command.ENABLE_DEVICE, 0)
    if status not in (CmdErr.SUCCESS, CmdErr.DEV_ENABLED):
        raise DriverError(ENXIO, f"{device.name}: Enable Device failed with {status:#x} ({_error_name(status)})")


def disable_device(device: Device) -> Steps:
    """Disable Device; nothing to do when the hardware is not enabled."""
    if device.mmio.read(GENSTS).state is not DeviceState.ENABLED:
        return
    status = yield from cmd_exec(device, Command.DISABLE_DEVICE, 0)
    if status != CmdErr.SUCCESS and not status & CmdErr.DIS_DEV_NOT_ENABLED:  # the driver's test: any common bit
        raise DriverError(ENXIO, f"{device.name}: Disable Device failed with {status:#x} ({_error_name(status)})")


def reset_device(device: Device) -> Steps:
    """Reset Device, whatever it answers; interrupts of vector 0 are enabled again, since a reset clears GENCTRL."""
    yield from cmd_exec(device, Command.RESET_DEVICE, 0)
    device.clear_state()
    unmask_error_interrupts(device)


def unmask_error_interrupts(device: Device) -> None:
    """GENCTRL bits 0 and 1, read-modify-write."""
    device.mmio.write(device.mmio.read(GENCTRL).replace(softerr_int_en=True, halt_int_en=True))


def mask_error_interrupts(device: Device) -> None:
    """The same bits, off."""
    device.mmio.write(device.mmio.read(GENCTRL).replace(softerr_int_en=False, halt_int_en=False))


def probe(device: Device) -> Steps:
    """What init.c does with a device that nobody drives yet: reset it, read its capabilities, unmask its errors."""
    if device.mmio.read(GENSTS).state is DeviceState.HALT:
        raise DriverError(ENXIO, f"{device.name}: halted at probe")
    yield from cmd_poll(device, Command.RESET_DEVICE, 0)
    device.read_capabilities()
    device.clear_state()
    unmask_error_interrupts(device)
    pmu_init(device)
    device.log("info", f"Intel(R) Accelerator Device (v{device.caps.version:x})", device=device.name)
    device.block.probed = 1


def request_int_handle(device: Device, vector: int) -> Steps:
    """A handle for an MSI-X table entry. EOPNOTSUPP, ENXIO."""
    if not device.request_int_handles:
        raise DriverError(EOPNOTSUPP, f"{device.name}: interrupt handles are not requested on this device")
    status = yield from cmd_exec(device, Command.REQUEST_INT_HANDLE, vector)
    if status & 0xFF:
        raise DriverError(ENXIO, f"{device.name}: Request Interrupt Handle {vector} failed with {status & 0xFF:#x}")
    return status >> 8 & 0xFFFF


def release_int_handle(device: Device, handle: int) -> Steps:
    """Give a handle back: without an interrupt, polled. EOPNOTSUPP, ENXIO."""
    if not device.caps.cmdcap >> Command.RELEASE_INT_HANDLE & 1:
        raise DriverError(EOPNOTSUPP, f"{device.name}: interrupt handles are not released on this device")
    status = yield from cmd_poll(device, Command.RELEASE_INT_HANDLE, handle & 0xFFFF)
    if status & 0xFF:
        raise DriverError(ENXIO, f"{device.name}: Release Interrupt Handle {handle} failed with {status & 0xFF:#x}")


def drain_pasid(device: Device, pasid: int) -> Steps:
    """Wait for all descriptors of a PASID; the result is ignored."""
    yield from cmd_exec(device, Command.DRAIN_PASID, pasid)


def _error_name(status: int) -> str:
    error = status & 0xFF
    return CmdErr(error).name if error in CmdErr._value2member_map_ else "unknown"
