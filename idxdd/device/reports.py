"""What an error says: one report, as SWERR holds it and as an event-log entry tells it (registers.md 2.9, abi.md section 7)."""

from dataclasses import dataclass

from idxdd.native._native import Exit
from idxdd.spec.codes import STATUS_CODE_MASK, CompletionStatus, Flag, Opcode, Operand
from idxdd.spec.records import CompletionRecord, Descriptor, EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import SWERR

OPCODE_BYTE = 7
HANDLE_BYTES = slice(36, 38)
IDPT_HANDLE_BYTES = slice(16, 18)

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

RECORD_STATUSES = frozenset({CompletionStatus.CRA_XLAT, CompletionStatus.DRAIN_EVL, CompletionStatus.BATCH_EVL_ERR})
"""Entries of these bring a completion record to the address they name."""

SILENT_CODES = frozenset({CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED, CompletionStatus.BATCH_FAIL})
"""Outcomes whose record is written on request (RCR) only."""

OPERAND_STATUSES = ADDRESS_STATUSES - {CompletionStatus.CRA_XLAT}
"""Their error information names the operand."""

WINDOW_STATUSES = frozenset(
    {
        CompletionStatus.IDPT_HANDLE_INVAL,
        CompletionStatus.IDPT_PERMISSION,
        CompletionStatus.WINDOW_ERANGE,
        CompletionStatus.WINDOW_UPDATE_REFUSED,
    }
)
"""Their error information is the IDPT handle, as in the record."""

INTER_DOMAIN = range(Opcode.INTER_DOMAIN_COPY, Opcode.INTER_DOMAIN_COMPVAL + 1)


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
    if status in WINDOW_STATUSES:
        return _idpt_handle(exit)
    if status in (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.PAGE_FAULT_IR) and exit.desc[OPCODE_BYTE] in INTER_DOMAIN:
        return exit.operand << 29 | _idpt_handle(exit)
    if status in OPERAND_STATUSES:
        return exit.operand << 29
    return None


def _idpt_handle(exit: Exit) -> int:
    """As the record names it; 0 for a fault in the submitter's own memory."""
    return int.from_bytes(exit.record[IDPT_HANDLE_BYTES], "little")


# ---- event log ---------------------------------------------------------------------------------------------------------------
def entry_of(report: ErrorReport, exit: Exit | None = None) -> EventLogEntry:
    """The entry of a report; `exit`: the descriptor it came from."""
    entry = EventLogEntry.encode(
        desc_valid=report.desc_valid,
        wq_idx_valid=report.wq_id is not None,
        batch=report.batch,
        fault_rw=report.write,
        priv=report.priv,
        err_info_valid=report.error_info is not None,
        error=report.status,
        wq_idx=report.wq_id or 0,
        operation=report.operation,
        pasid=report.pasid,
        batch_idx=report.batch_index,
        error_info=report.error_info or 0,
        fault_addr=report.address,
    )
    if exit is None:
        return entry
    if report.batch or report.operation == Opcode.BATCH:
        entry = entry.replace(batch_id=exit.batch_id)
    if report.status in RECORD_STATUSES or report.status is CompletionStatus.INT_HANDLE_INVAL:
        return with_record(entry, exit)
    return entry


def with_record(entry: EventLogEntry, exit: Exit) -> EventLogEntry:
    """0x19, 0x1A, 0x26, 0x27: what software needs to deliver record and interrupt."""
    descriptor = Descriptor.unpack(exit.desc)
    flags, code = Flag(descriptor.flags & 0xFFFF), exit.record[0] & STATUS_CODE_MASK
    if entry.error == CompletionStatus.INT_HANDLE_INVAL:
        rcr = Flag.CRAV in flags and Flag.RCR in flags
    else:
        rcr = Flag.CRAV in flags and (Flag.RCR in flags or code not in SILENT_CODES)
    fault = entry.error == CompletionStatus.CRA_XLAT
    information = RecordFaultEntry.encode(
        int_handle=descriptor.int_handle if Flag.RCI in flags else 0,
        rci=Flag.RCI in flags,
        rcr=rcr,
        first_err_in_batch=bool(exit.first_error),
        operand=Operand.COMPLETION_RECORD if fault else Operand.UNKNOWN,
    )
    return entry.replace(
        error_info=EventLogEntry(information.raw).error_info,
        err_info_valid=True,
        fault_rw=fault,
        fault_addr=descriptor.completion_addr if entry.error in RECORD_STATUSES else 0,
        completion_record=CompletionRecord.unpack(exit.record).pack() if rcr else bytes(CompletionRecord.size_bytes),
    )
