"""How a descriptor ends: its record, or the report that takes its place, and its interrupt (5.8, 5.9)."""

from __future__ import annotations

from idxdd.spec.codes import STATUS_WRITE_FAULT, CompletionStatus, Flag
from idxdd.spec.records import CompletionRecord
from idxdd.testing.reference.checks import interrupts_enabled, record_reachable
from idxdd.testing.reference.run import Effect, Outcome, Refused, Report, Run

SILENT = {CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED, CompletionStatus.BATCH_FAIL}
NEVER_IN_RECORD = {CompletionStatus.CRA_XLAT, CompletionStatus.CRA_ALIGN, CompletionStatus.PRIV_BAD}


def refused_outcome(run: Run, refused: Refused) -> Outcome:
    """A descriptor that was not carried out."""
    info = refused.invalid_flags.to_bytes(4, "little") if refused.invalid_flags else b""
    return finish(run, Effect(refused.status, payload=info, idpt_handle=refused.idpt_handle), refused)


def finish(run: Run, effect: Effect, refused: Refused | None = None) -> Outcome:
    """Write the record where one is wanted, and say what else can be seen."""
    wanted = run.has(Flag.CRAV) and (run.has(Flag.RCR) or effect.status not in SILENT)
    if effect.status in NEVER_IN_RECORD or (refused and refused.reported):
        wanted = False
    record = _record(run, effect) if wanted else None
    report = None
    if record and not record_reachable(run):  # only with an event log: without one the descriptor was refused
        address = run.plain.completion_addr
        report, record = Report(CompletionStatus.CRA_XLAT, fault_addr=address, write=True, record=record), None
    elif record and effect.status is CompletionStatus.INT_HANDLE_INVAL:
        report = Report(effect.status, run.plain.int_handle, record=record if run.has(Flag.RCR) else None)
    elif not wanted and effect.status not in SILENT:
        report = _report(run, effect)
    if record:
        run.memory.write(run.plain.completion_addr, record)
    interrupt = run.plain.int_handle if _interrupts(run, report) else None
    return Outcome(effect.status, record, report, interrupt, tuple(effect.members), refused.rule if refused else "")


def _record(run: Run, effect: Effect) -> bytes:
    info = run.limits.gencap.fault_info
    payload = effect.payload if effect.idpt_handle is None else effect.idpt_handle.to_bytes(2, "little")
    return CompletionRecord.encode(
        status=effect.status | (STATUS_WRITE_FAULT if effect.write else 0),
        result=effect.result,
        fault_operand=effect.operand if info else 0,
        fault_withheld=effect.withheld and info,
        bytes_completed=effect.bytes_completed,
        fault_addr=0 if effect.withheld else effect.fault_addr,
        op_specific=payload.ljust(16, b"\0"),
    ).pack()


def _report(run: Run, effect: Effect) -> Report:
    match effect.status:
        case CompletionStatus.CRA_XLAT:
            return Report(effect.status, fault_addr=run.plain.completion_addr, write=True)
        case CompletionStatus.INVALID_FLAGS:
            return Report(effect.status, int.from_bytes(effect.payload, "little"))
        case CompletionStatus.INT_HANDLE_INVAL:
            return Report(effect.status, run.plain.int_handle)
    handle = effect.idpt_handle or 0
    return Report(effect.status, effect.operand << 29 | handle, 0 if effect.withheld else effect.fault_addr, effect.write)


def _interrupts(run: Run, report: Report | None) -> bool:
    """Also after an error, except where the interrupt itself is what was wrong, whichever check came first."""
    if not run.has(Flag.RCI) or not interrupts_enabled(run) or run.plain.int_handle not in run.limits.int_handles:
        return False
    # software delivers record and interrupt from the log entry
    return not (report and report.status is CompletionStatus.CRA_XLAT and report.record)
