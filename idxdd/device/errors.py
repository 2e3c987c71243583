"""Errors that no completion record can tell: the SWERR latch, and the one place that decides where an error goes.

Latch            valid = 0: the error is recorded, valid set, INTCAUSE.err raised. valid = 1: overflow is set, the error is
                 lost, no interrupt. Software clears each of the two bits by writing 1; Reset Device leaves both.
"""

from dataclasses import dataclass

from idxdd.device.interrupts import Interrupts
from idxdd.device.registerfile import RegisterFile
from idxdd.native._native import Exit
from idxdd.spec.codes import CompletionStatus, InterruptCause
from idxdd.spec.registers import GENCFG, SWERR

SWERR_ONLY = frozenset(
    {
        CompletionStatus.PCI_CONFIG_CHANGED,
        CompletionStatus.DWQ_FULL,
        CompletionStatus.EVL_WRITE_FAILED,
        CompletionStatus.TRANSLATION_FAIL,
    }
)
"""Never in the event log (operations.md section 10; for 0x22 the manual does not say, its record goes out anyway)."""

ADDRESS_STATUSES = frozenset(
    {
        CompletionStatus.PAGE_FAULT_NOBOF,
        CompletionStatus.PAGE_FAULT_IR,
        CompletionStatus.BATCH_PAGE_FAULT,
        CompletionStatus.CRA_XLAT,
        CompletionStatus.PFAULT_RDBA,
    }
)
"""Their fault address and read/write bit mean something."""

OPERAND_STATUSES = ADDRESS_STATUSES - {CompletionStatus.CRA_XLAT}
"""Their error information names the operand."""


@dataclass(frozen=True)
class ErrorReport:
    """One error as SWERR or an event-log entry tells it."""

    status: CompletionStatus
    wq_id: int | None = None
    desc_valid: bool = False
    batch: bool = False
    batch_index: int = 0
    priv: bool = False
    pasid: int = 0
    operation: int = 0
    write: bool = False
    error_info: int | None = None
    address: int = 0

    def swerr(self) -> SWERR:
        """As the register holds it."""
        return SWERR.encode(
            valid=True,
            desc_valid=self.desc_valid,
            wq_idx_valid=self.wq_id is not None,
            batch=self.batch,
            fault_rw=self.write,
            priv=self.priv,
            err_info_valid=self.error_info is not None,
            error=self.status,
            wq_idx=self.wq_id or 0,
            operation=self.operation,
            pasid=self.pasid,
            batch_idx=self.batch_index,
            error_info=self.error_info or 0,
            fault_addr=self.address,
        )


def report_of(exit: Exit, status: CompletionStatus, wq_id: int) -> ErrorReport:
    """What an exit of the engine tells, under `status`."""
    return ErrorReport(
        status=status,
        wq_id=wq_id,
        desc_valid=True,
        batch=bool(exit.in_batch),
        batch_index=exit.batch_index if exit.in_batch else 0,
        priv=bool(exit.priv),
        pasid=exit.pasid,
        operation=exit.desc[OPCODE_BYTE],
        write=bool(exit.write) and status in ADDRESS_STATUSES,
        error_info=error_info(exit, status),
        address=exit.address if status in ADDRESS_STATUSES else 0,
    )


def error_info(exit: Exit, status: CompletionStatus) -> int | None:
    """SWERR.error_info by status; None: there is none."""
    if status is CompletionStatus.INVALID_FLAGS:
        return exit.invalid_flags
    if status is CompletionStatus.INT_HANDLE_INVAL:
        return int.from_bytes(exit.desc[HANDLE_BYTES], "little")
    if status in OPERAND_STATUSES:
        return exit.operand << 29
    return None


OPCODE_BYTE = 7
HANDLE_BYTES = slice(36, 38)


class Errors:
    """Reports of one device."""

    def __init__(self, registers: RegisterFile, interrupts: Interrupts) -> None:
        self._registers = registers
        self._interrupts = interrupts
        self.reported = self.overflowed = self.for_event_log = 0

    def report(self, report: ErrorReport) -> None:
        """Route one error: to the event log if that is on and takes it, else to SWERR.

        The event log has no writer yet: with GENCFG.evl_en set, what belongs into the log goes to SWERR as well and is
        counted in `for_event_log`, so that nobody takes silence for health.
        """
        self.reported += 1
        if self._registers.read(GENCFG).evl_en and report.status not in SWERR_ONLY:
            self.for_event_log += 1
        self._latch(report)

    def _latch(self, report: ErrorReport) -> None:
        latched = self._registers.read(SWERR)
        if latched.valid:
            self.overflowed += 1
            self._registers.set(SWERR, overflow=True)
            return
        # overflow is software's to clear: it can outlive a cleared valid
        self._registers.write(report.swerr().replace(overflow=latched.overflow))
        self._interrupts.raise_cause(InterruptCause.ERR)

    def statistics(self) -> dict[str, int]:
        """Errors reported, lost to overflow, and due to an event log that is not there."""
        return {"errors": self.reported, "errors_lost": self.overflowed, "errors_for_event_log": self.for_event_log}
