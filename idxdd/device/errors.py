"""Errors that no completion record can tell: the SWERR latch, and the one place that decides where an error goes.

Latch            valid = 0: the error is recorded, valid set, INTCAUSE.err raised. valid = 1: overflow is set, the error is
                 lost, no interrupt. Software clears each of the two bits by writing 1; Reset Device leaves both.
"""

from collections import deque
from dataclasses import dataclass

from idxdd.device.engineport import Continuation
from idxdd.device.evl import EventLog
from idxdd.device.interrupts import Interrupts
from idxdd.device.registerfile import RegisterFile
from idxdd.device.reports import ErrorReport, entry_of
from idxdd.native._native import Exit
from idxdd.shm.clock import CLOCK
from idxdd.shm.hostmemory import HostMemory
from idxdd.spec.codes import CompletionStatus, InterruptCause
from idxdd.spec.registers import SWERR

SWERR_ONLY = frozenset(
    {
        CompletionStatus.PCI_CONFIG_CHANGED,
        CompletionStatus.DWQ_FULL,
        CompletionStatus.EVL_WRITE_FAILED,
        CompletionStatus.TRANSLATION_FAIL,
    }
)
"""Never in the event log (operations.md section 10; for 0x22 the manual does not say, its record goes out anyway)."""


HISTORY_MAX = 64


@dataclass(frozen=True)
class Reported:
    """One error of the past: when, what, and where it was told: the event log, SWERR, or nowhere, since SWERR was taken."""

    at_ns: int
    report: ErrorReport
    where: str


class Errors:
    """Reports of one device: to its event log, or to SWERR."""

    def __init__(self, registers: RegisterFile, interrupts: Interrupts, host: HostMemory | None) -> None:
        """`host`: where the event log lies."""
        self._registers = registers
        self._interrupts = interrupts
        self.log = EventLog(registers, interrupts, host, lambda: self.report(ErrorReport(CompletionStatus.EVL_WRITE_FAILED)))
        self.reported = self.overflowed = 0
        self.history: deque[Reported] = deque(maxlen=HISTORY_MAX)
        """For people who come later; the device itself forgets."""

    def report(self, report: ErrorReport) -> None:
        """An error that no parked descriptor waits for."""
        self.reported += 1
        if self._logs(report) and self.log.post_at_once(entry_of(report)):
            self._remember(report, "event log")
        else:
            self.latch(report)

    def report_exit(self, report: ErrorReport, exit: Exit, then: Continuation) -> None:
        """An error of a parked descriptor; `then` runs when it is where it belongs: a full log makes it wait."""
        self.reported += 1
        if self._logs(report):
            self._remember(report, "event log")
            self.log.post(entry_of(report, exit), exit, then)
        else:
            self.latch(report)
            then()

    def _logs(self, report: ErrorReport) -> bool:
        return report.status not in SWERR_ONLY and self.log.active

    def latch(self, report: ErrorReport) -> None:
        """To SWERR, whether there is a log or not."""
        latched = self._registers.read(SWERR)
        if latched.valid:
            self.overflowed += 1
            self._remember(report, "nowhere")
            self._registers.set(SWERR, overflow=True)
            return
        self._remember(report, "SWERR")
        # overflow is software's to clear: it can outlive a cleared valid
        self._registers.write(report.swerr().replace(overflow=latched.overflow))
        self._interrupts.raise_cause(InterruptCause.ERR)

    def _remember(self, report: ErrorReport, where: str) -> None:
        self.history.append(Reported(CLOCK.now_ns(), report, where))

    def statistics(self) -> dict[str, int]:
        """Errors reported, lost to overflow, and what the event log did."""
        return {"errors": self.reported, "errors_lost": self.overflowed, **self.log.statistics()}
