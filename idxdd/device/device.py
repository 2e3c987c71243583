"""The emulated device as the device loop sees it: applies register writes, decides what the engine leaves open.

One thread       the device loop calls everything here; nothing in it waits. What takes time is a request to the engine
                 with a continuation.
Live values      occupancy, PBA and occupancy interrupts are brought up to date at every tick().
Resets           Reset Device is a command. The others (FLR, warm, cold) take effect when the engine has let go of every
                 descriptor; until then the bus finds nobody, and what the engine still says is not listened to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from typing_extensions import Buffer

from idxdd.device.commands import CommandUnit
from idxdd.device.domains import Domains
from idxdd.device.engineport import WQS_PER_DEVICE, Continuation, EnginePort
from idxdd.device.errors import Errors
from idxdd.device.interrupts import Interrupts
from idxdd.device.pciconfig import PciConfig
from idxdd.device.perfmon import Perfmon
from idxdd.device.profile import Platform, Profile
from idxdd.device.registerfile import RegisterFile
from idxdd.device.reports import OPCODE_BYTE, ErrorReport, report_of
from idxdd.device.state import change_device
from idxdd.device.wq import Wqs
from idxdd.native import _native as native
from idxdd.native._native import Exit, Space
from idxdd.shm.closed import Closed
from idxdd.shm.hostmemory import HostMemory
from idxdd.shm.mmio import DeviceMmio
from idxdd.spec.codes import Command, CompletionStatus, DeviceState, Flag, InterruptCause, Opcode, Operand, ResetType
from idxdd.spec.registers import CAPABILITIES, GENSTS, MSIX, WQCFG

log = logging.getLogger(__name__)

FLAGS_BYTES = slice(4, 7)
BOF = int(Flag.BOF)
OVERFLOW_REPORTS_MAX = 2
"""One dropped write fills SWERR, a second sets its overflow bit; more change nothing."""


class Device:
    """One DSA: BAR0, commands, WQs, interrupts, errors."""

    def __init__(
        self,
        index: int,
        name: str,
        profile: Profile,
        port: EnginePort,
        bar0: Buffer,
        mmio: DeviceMmio,
        semaphores: Sequence[str],
        mmio_buffer: Buffer,
        host: Buffer | None = None,
        host_space: Space | None = None,
    ) -> None:
        """`bar0`: 64 KiB, written here; `semaphores`: one name a vector; `mmio_buffer`: what `mmio` works on; `host`: the
        driver's memory at host_base(index); `host_space`: the same, as an address space that the engine reads."""
        self.index = index
        self.name = name
        self.profile = profile
        self.port = port
        self.platform = profile.platform
        self._mmio = mmio
        self.registers = RegisterFile(bar0, profile)
        self._open_msix()
        self.interrupts = Interrupts(index, self.registers, port, semaphores, mmio_buffer, self.platform.bus_master)
        self.host = None if host is None else HostMemory(host, index)
        self.errors = Errors(self.registers, self.interrupts, self.host)
        self.wqs = Wqs(index, self.registers, port, self.interrupts, self.errors.log, lambda: self.platform)
        self.domains = Domains(index, self.registers, port, host_space, handles=Command.REQUEST_IDPT_HANDLE in profile.commands)
        self.commands = CommandUnit(self)
        self.faults = self.records_lost = 0
        self._dropped: dict[int, int] = {}
        self.perfmon = Perfmon(self.registers, self.interrupts, port, self.wqs, self._dropped)
        self.injected: Callable[[Exit], None] = lambda exit: None
        """Fault injection: the engine met a descriptor of a rule about the device as a whole."""
        self.resets = self._resetting = 0
        self.pci = PciConfig(self)
        self.present = True
        port.register(index, self)

    # ---- the loop's turn -------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Apply posted writes in order, bring live values up to date; returns how many writes there were."""
        applied = self._mmio.apply(self.registers.bus_write)
        if self.registers.answers:
            self.wqs.refresh()
            self.perfmon.poll()
            self.interrupts.refresh()
        return applied

    @property
    def needs_ticks(self) -> bool:
        """tick() must be called now and then even if no bell rings: an occupancy interrupt is armed, or counters run."""
        return self.wqs.waits_for_occupancy() or self.perfmon.running

    def wq_accepts(self, wq_id: int) -> bool:
        """Would a submission to this WQ be taken now?"""
        return 0 <= wq_id < self.wqs.count and self.wqs.accepts(wq_id)

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> DeviceState:
        """GENSTS.state."""
        return self.registers.get(GENSTS.state)

    def set_state(self, new: DeviceState, reset_type: ResetType = ResetType.SOFTWARE) -> None:
        """Move the device's state machine."""
        old = self.state
        change_device(self.registers, new, reset_type)
        log.info("%s: state %s -> %s", self.name, old.name, new.name)

    def halt(self, reset_type: ResetType) -> None:
        """Stop everything at once; only a reset of this type or stronger brings the device back (5.7)."""
        before = self.state
        if before not in (DeviceState.ENABLED, DeviceState.DRAIN):
            return
        change_device(self.registers, DeviceState.HALT, reset_type)
        self.commands.cut_off()
        self.interrupts.raise_cause(InterruptCause.HALT)
        self.errors.log.forget(lambda exit: True)
        # descriptors in flight end without a record: the engine stops at its next slice. Reset Device alone waits for that
        self.wqs.stop(range(self.wqs.count), native.STOP_ABORT, Closed.HALTED, lambda: None)
        # the log comes last: who reads it may be slow
        log.info("%s: state %s -> HALT, needs a %s reset", self.name, before.name, reset_type.name)

    def set_platform(self, **switches: bool | int) -> None:
        """Change PCI-side switches at run time, as a write to PCI configuration space would: while the device is not
        Disabled that is error 0x51, and the device halts (registers.md 1.2)."""
        before, self.platform = self.platform, replace(self.platform, **switches)  # type: ignore[arg-type]
        if self.platform == before:
            return
        self.interrupts.set_bus_master(self.pci.messages_leave)
        if halts(before, self.platform) and self.state in (DeviceState.ENABLED, DeviceState.DRAIN):
            self.errors.report(ErrorReport(CompletionStatus.PCI_CONFIG_CHANGED))
            self.halt(ResetType.FLR)

    def reset_registers(self) -> None:
        """Reset Device: registers.md section 9. Interrupt handles and the MSI-X table stay."""
        self.registers.reset(lambda register: not register.kept and register not in CAPABILITIES and register is not GENSTS)
        self.perfmon.restart()
        self.domains.clear()
        self.interrupts.clear_pending()
        self.interrupts.refresh_permissions()

    def reset(self, kind: ResetType, then: Continuation = lambda: None) -> None:
        """FLR, warm or cold reset, from any state: every descriptor is abandoned, every register initial, every handle
        invalid. A halt that needs a stronger reset stays. `then` runs when the device answers again."""
        assert kind is not ResetType.SOFTWARE, "Reset Device is a command"
        self._resetting += 1
        self._abandon(Closed.ABORTED, lambda: self._begin_again(kind, then))

    def remove(self, then: Continuation = lambda: None) -> None:
        """Surprise removal: reads give all ones, writes go nowhere, portals close for good."""
        self.present = False
        self._abandon(Closed.REMOVED, then)
        self.registers.vanish()

    def insert(self, then: Continuation = lambda: None) -> None:
        """A removed device returns, as after power-on."""
        assert not self.present, f"{self.name} was not removed"
        self.present = True
        self.reset(ResetType.COLD, then)

    def _abandon(self, reason: Closed, then: Continuation) -> None:
        self.registers.answers = False
        self.commands.forget()
        self.errors.log.forget(lambda exit: True)
        self.wqs.stop(range(self.wqs.count), native.STOP_ABORT, reason, then)

    def _begin_again(self, kind: ResetType, then: Continuation) -> None:
        self._resetting -= 1
        if self._resetting or not self.present:  # a later reset, or the return, does it
            return then()
        log.info("%s: %s reset", self.name, kind.name)
        gensts = self.registers.read(GENSTS)
        stays_halted = gensts.state is DeviceState.HALT and kind < gensts.reset_type
        self.registers.power_on()
        if stays_halted:
            self.registers.write(gensts)
        self.platform = self.profile.platform  # the PCI layer of an operating system restores what it had saved
        self.pci.restart()
        self._open_msix()
        self.perfmon.restart()
        self.domains.restart()
        self.interrupts.restart(self.platform.bus_master)
        self.registers.answers = True
        self.resets += 1
        then()

    def _open_msix(self) -> None:
        """Power-on masks every entry; see Platform.msix_masked."""
        for entry in range(self.profile.vectors):
            self.registers.set(MSIX, entry, masked=self.platform.msix_masked)

    # ---- what the engine leaves open -------------------------------------------------------------------------------

    def handle_exit(self, exit: Exit) -> None:
        """FAULT, ERROR or OVERFLOW of one of this device's WQs. Of a device that halted or is being reset: the descriptor is
        swept by the stop that is on its way, and nobody is told."""
        if not self.registers.answers or self.state is DeviceState.HALT:
            return
        if exit.kind == native.EXIT_FAULT:
            self._fault(exit)
        elif exit.kind == native.EXIT_WINDOW:
            self.domains.update_window(exit)
        elif exit.kind == native.EXIT_ERROR:
            report = report_of(exit, CompletionStatus(exit.status), exit.wq % WQS_PER_DEVICE)
            self.errors.report_exit(report, exit, lambda: self.port.resume(exit, native.RESUME_FINISH))
        elif exit.kind == native.EXIT_INJECTED:
            self.injected(exit)
        else:
            assert exit.kind == native.EXIT_OVERFLOW, f"{self.name}: exit of kind {exit.kind}"
            self._overflow(exit)

    def _fault(self, exit: Exit) -> None:
        """An address is not reachable: nobody answers page requests yet, so each is answered "invalid" at once."""
        self.faults += 1
        wq_id = exit.wq % WQS_PER_DEVICE
        translated = self.platform.ats and not self.registers.get(WQCFG.wq_ats_disable, wq_id)
        # a WQ that may block has a paging service: Enable WQ and set_platform see to it
        asks = int.from_bytes(exit.desc[FLAGS_BYTES], "little") & BOF
        status = fault_status(exit, translated=translated, blocks=bool(asks) and self.registers.get(WQCFG.bof, wq_id))
        if status is CompletionStatus.CRA_XLAT:
            if translated and self.errors.log.active:
                return self.port.resume(exit, native.RESUME_RUN)  # the record comes back as an ERROR, for the log
            if translated:
                self.errors.report(report_of(exit, status, wq_id))
            else:
                self.records_lost += 1
        self.port.resume(exit, native.RESUME_FAIL, status)

    def portal_aborted(self, portal: int) -> None:
        """What waits for room in the event log is gone with the portal it came from."""
        self.errors.log.forget(lambda exit: exit.portal == portal)

    def _overflow(self, exit: Exit) -> None:
        """`id` posted writes found a dedicated WQ full; 0: a tail that was never granted, one descriptor's worth of error."""
        wq_id = exit.wq % WQS_PER_DEVICE
        self._dropped[wq_id] = self._dropped.get(wq_id, 0) + exit.id
        report = ErrorReport(
            status=CompletionStatus.DWQ_FULL,
            wq_id=exit.wq % WQS_PER_DEVICE,
            desc_valid=True,
            priv=bool(exit.priv),
            pasid=exit.pasid,
            operation=exit.desc[OPCODE_BYTE],
        )
        for _ in range(min(max(exit.id, 1), OVERFLOW_REPORTS_MAX)):
            self.errors.report(report)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Everything counted, by name."""
        counted = {
            "faults": self.faults,
            "records_lost": self.records_lost,
            "dropped": sum(self._dropped.values()),
            "resets": self.resets,
        }
        for part in (self.registers, self.commands, self.wqs, self.domains, self.interrupts, self.errors, self.perfmon):
            counted.update(part.statistics())
        return counted

    def close(self) -> None:
        """Let go of BAR0; the caller has stopped the engine or this device's WQs."""
        self.port.unregister(self.index)
        if self.host is not None:
            self.host.close()
        self.registers.close()


def fault_status(exit: Exit, *, translated: bool, blocks: bool) -> CompletionStatus:
    """How a fault ends (operations.md section 5). Bit 7 of the record's status is the engine's to add. `translated`: addresses
    of the WQ are, so that a fault is noticed as one; `blocks`: descriptor and WQ let it wait for the page."""
    opcode = exit.desc[OPCODE_BYTE]
    readback = opcode == Opcode.DRAIN
    if exit.operand == Operand.COMPLETION_RECORD:
        return CompletionStatus.CRA_XLAT
    if not translated:
        # a lost write may be reported or not; this device reports it
        return CompletionStatus.HW_ERR_DRB if exit.write or readback else CompletionStatus.HW_ERR1
    if opcode == Opcode.BATCH:
        return CompletionStatus.BATCH_PAGE_FAULT
    if readback:
        return CompletionStatus.PFAULT_RDBA
    return CompletionStatus.PAGE_FAULT_IR if blocks else CompletionStatus.PAGE_FAULT_NOBOF


def halts(before: Platform, after: Platform) -> bool:
    """Is the difference one that a device which is not Disabled does not survive?"""
    return any(
        getattr(before, switch) != getattr(after, switch) for switch in ("bus_master", "ats", "pasid", "privileged_mode", "prs")
    )
