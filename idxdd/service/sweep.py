"""`idxdd sweep -- COMMAND`: fail the first descriptor a rule means, in the next run the second, until a run is untouched.

Order   first a run without a fault: what the command does then is what it should do. Then, for each fault, run after run:
        a private daemon with one rule `when nth=N`, the command in a session of its own, the rule's hits, the daemon's end.
Ends    a fault's runs end with the first that was not hit; all of them at --max-runs. A command that is over its time is
        killed, and so is all it leaves in its session. Ctrl-C ends the run, and what was found is told.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from idxdd.control.address import ENVIRONMENT
from idxdd.control.client import ControlClient, connect
from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode
from idxdd.control.tracerecord import RECORD_BYTES, TraceFlag, TraceRecord, unpack
from idxdd.control.wire import close_all
from idxdd.device.engineport import WQS_PER_DEVICE
from idxdd.device.faults import BadRule, Rule
from idxdd.device.faults.values import code_name
from idxdd.service.private import READY_UNATTENDED_S, PrivateDaemon
from idxdd.service.sweep_options import DEFAULT_FAULTS, FAULTS
from idxdd.shm.clock import CLOCK
from idxdd.spec.codes import Opcode

ANSWER_S = 5.0
OUTPUT_BYTES_KEPT = 4000
TRACE_RECORDS = 65536

OK, FAILED, CRASHED, HUNG = "ok", "failed", "crashed", "hung"
BAD = (CRASHED, HUNG)


@dataclass(frozen=True)
class Outcome:
    """One run."""

    fault: str
    rule: str
    nth: int
    outcome: str
    """ok: it ended as without a fault; failed: another exit status; crashed: a signal; hung: over its time."""
    exit_code: int | None
    signal: str | None
    seconds: float
    hit: bool
    descriptor: dict[str, Any] | None
    """The one that was hit, as the trace has it."""
    output: str = field(repr=False, default="")
    """The end of what it wrote, of a run that crashed, hung or failed."""

    @property
    def how(self) -> str:
        """The end in a word or two."""
        if self.outcome == HUNG:
            return "killed"
        return self.signal or f"exit {self.exit_code}"


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    command: tuple[str, ...]
    templates: tuple[tuple[str, Rule], ...]
    timeout_s: float = 60.0
    runs_max: int = 1000
    stop_at_first: bool = False
    strict: bool = False
    daemon: tuple[str, ...] = ()
    """More options of serve."""


class CannotSweep(Exception):
    """There is nothing to compare with, or no daemon; one line and an exit code."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


def templates(names: Sequence[str], rules: Sequence[str]) -> tuple[tuple[str, Rule], ...]:
    """Name and rule of each fault; BadRule: one has a `when` that the sweep would have to replace."""
    found: list[tuple[str, Rule]] = []
    chosen = list(names) or ([] if rules else list(DEFAULT_FAULTS))
    for name in chosen:
        if name not in FAULTS:
            raise BadRule(f"fault: {name!r:.40} is none of {', '.join(FAULTS)}")
        found.append((name, Rule.parse(FAULTS[name])))
    for number, text in enumerate(rules, 1):
        rule = Rule.parse(text)
        when = rule.when
        if any(getattr(when, count) is not None for count in ("nth", "every", "first", "chance", "times")):
            raise BadRule(f"when: the sweep says which match it is: leave it out of {rule}")
        if rule.of_vector:
            raise BadRule(f"vector: a sweep is over descriptors: {rule}")
        found.append((f"rule {number}", rule))
    return tuple(found)


class Sweep:
    """All runs of a command."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.outcomes: list[Outcome] = []
        self.normal: Outcome | None = None
        """The run without a fault."""
        self.descriptors = 0
        """How many ended in that run."""
        self.complete = True
        """Every fault's runs ended with one that was not hit."""

    def run(self) -> Iterator[Outcome]:
        """Each run when it has ended. CannotSweep."""
        self.normal = self._run("none", None, 0)
        if self.normal.outcome in BAD:
            raise CannotSweep(
                f"sweep: without a fault the command {self.normal.outcome} ({self.normal.how}){_tail(self.normal)}"
            )
        yield self.normal
        for name, rule in self.options.templates:
            nth = 1
            while True:
                if len(self.outcomes) >= self.options.runs_max:
                    self.complete = False
                    return
                outcome = self._run(name, rule, nth)
                self.outcomes.append(outcome)
                yield outcome
                if self.options.stop_at_first and self.is_bad(outcome):
                    self.complete = False
                    return
                if not outcome.hit:
                    break
                nth += 1

    def is_bad(self, outcome: Outcome) -> bool:
        """It makes the sweep fail."""
        return outcome.outcome in BAD or (self.options.strict and outcome.outcome == FAILED)

    def _run(self, name: str, template: Rule | None, nth: int) -> Outcome:
        rule = None if template is None else Rule(template.where, replace(template.when, nth=nth), template.what)
        with _directory() as directory, open(directory / "log", "wb") as log:
            chosen = ["--log-level", "warning", *self.options.daemon]
            if rule is not None:
                (directory / "rules").write_text(f"{rule}\n")
                chosen += ["--inject", str(directory / "rules")]
            path = str(directory / "s")
            daemon = PrivateDaemon(f"sweep-{os.getpid()}", path, chosen, log=log.fileno())
            try:
                code = daemon.wait_ready(READY_UNATTENDED_S)
                if code is not None:
                    said = (directory / "log").read_text(errors="replace").strip().rpartition("\n")[2]
                    raise CannotSweep(
                        f"sweep: no daemon: {said}", ExitCode(code) if code in list(ExitCode) else ExitCode.FAILED
                    )
                return self._command(name, rule, nth, path, directory)
            finally:
                daemon.end()

    def _command(self, name: str, rule: Rule | None, nth: int, path: str, directory: Path) -> Outcome:
        with connect(path, ANSWER_S) as control, open(directory / "output", "w+b") as output:
            _trace_on(control)
            started_ns = CLOCK.now_ns()
            try:
                status = run_command(
                    self.options.command, {**os.environ, ENVIRONMENT: path}, output.fileno(), self.options.timeout_s
                )
            except OSError as error:
                raise CannotSweep(
                    f"sweep: the command cannot be executed: {error.strerror}", ExitCode.COMMAND_NOT_EXECUTABLE
                ) from None
            seconds = (CLOCK.now_ns() - started_ns) / 1e9
            if rule is None:
                self.descriptors = int(_ask(control, "trace", position=0)["end"])
            hits = _hits(control)
            descriptor = _descriptor(control) if hits else None
            outcome = self._judge(status)
            return Outcome(
                fault=name,
                rule="" if rule is None else str(rule),
                nth=nth,
                outcome=outcome,
                exit_code=status if status is not None and status >= 0 else None,
                signal=signal.Signals(-status).name if status is not None and status < 0 else None,
                seconds=round(seconds, 3),
                hit=bool(hits),
                descriptor=descriptor,
                output="" if outcome == OK else _end_of(directory / "output"),
            )

    def _judge(self, status: int | None) -> str:
        if status is None:
            return HUNG
        if status < 0:
            return CRASHED
        normal = 0 if self.normal is None else self.normal.exit_code
        return OK if status == normal or self.normal is None else FAILED

    def document(self) -> dict[str, Any]:
        """Everything, for --json."""
        return {
            "schema": 1,
            "command": "sweep",
            "argv": list(self.options.command),
            "normal": None if self.normal is None else asdict(self.normal),
            "descriptors": self.descriptors,
            "complete": self.complete,
            "bad": sum(map(self.is_bad, self.outcomes)),
            "runs": [asdict(outcome) for outcome in self.outcomes],
        }


# ---- one run -----------------------------------------------------------------------------------------------------------------


def run_command(command: Sequence[str], environment: dict[str, str], output: int, timeout_s: float) -> int | None:
    """Its exit code, -n after signal n, None when it was over its time; nothing of its session is left."""
    child = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    pidfd = os.pidfd_open(child.pid)
    try:
        ended = bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        status = child.wait()
    return status if ended else None


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    directory = tempfile.mkdtemp(prefix="idxdd-sweep-")
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _ask(control: ControlClient, op: str, **arguments: Any) -> dict[str, Any]:
    answer, fds = control.request(op, **arguments)
    close_all(fds)
    return answer


def _hits(control: ControlClient) -> int:
    try:
        return sum(int(rule["hits"]) for rule in _ask(control, "inject_list")["rules"])
    except ControlError as error:
        raise CannotSweep(f"sweep: the private daemon does not answer: {error}") from None


def _end_of(path: Path) -> str:
    data = path.read_bytes()[-OUTPUT_BYTES_KEPT:]
    return data.decode(errors="replace")


def _tail(outcome: Outcome) -> str:
    last = outcome.output.strip().rpartition("\n")[2]
    return f": {last[:200]}" if last else ""


# ---- which descriptor it was -------------------------------------------------------------------------------------------------
def _trace_on(control: ControlClient) -> None:
    _ask(control, "trace_on", size=TRACE_RECORDS)


def _descriptor(control: ControlClient) -> dict[str, Any] | None:
    """The descriptor that a rule acted on, as the trace has it; None: it is not traced, or was overwritten."""
    position = 0
    while True:
        page = _ask(control, "trace", position=position)
        for record in unpack(page["records"]):
            if record.rule:
                return _told(record)
        position = page["position"] + len(page["records"]) // RECORD_BYTES
        if not page["records"] or position >= page["end"]:
            return None


def _told(record: TraceRecord) -> dict[str, Any]:
    device, wq = divmod(record.wq, WQS_PER_DEVICE)
    member = {"member": record.member} if record.flags & TraceFlag.MEMBER else {}
    return {
        "number": record.id,
        "wq": f"dsa{device}/wq{device}.{wq}",
        "op": code_name(record.desc[7], Opcode),
        "size": int.from_bytes(record.desc[32:36], "little"),
        **member,
        "status": f"{record.status:#04x}",
        "desc": record.desc.hex(),
    }
