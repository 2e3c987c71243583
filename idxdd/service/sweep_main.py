"""`idxdd sweep` for people and programs: one line a run while it goes on, JSON, exit status."""

import argparse
import contextlib
import json
import signal
from collections.abc import Iterator
from types import FrameType

from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode
from idxdd.device.faults import BadRule
from idxdd.service.notify import fail
from idxdd.service.run import executable
from idxdd.service.sweep import CannotSweep, Options, Outcome, Sweep, templates

ENDS = (signal.SIGTERM, signal.SIGHUP)


def run(given: argparse.Namespace) -> int:
    """Sweep; the exit status."""
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        fail("sweep: no command: idxdd sweep -- COMMAND ...")
        return ExitCode.USAGE
    found = executable("sweep", command[0])
    if isinstance(found, ExitCode):
        return found
    try:
        chosen = templates(given.fault or [], given.rule or [])
    except BadRule as error:
        fail(f"sweep: {error}")
        return ExitCode.USAGE
    serve = [] if given.config is None else ["--config", given.config]
    serve += [word for device in given.device or () for word in ("--device", device)]
    serve += [] if given.spin_us is None else ["--spin-us", str(given.spin_us)]
    sweep = Sweep(Options(tuple(command), chosen, given.timeout, given.max_runs, given.stop, given.strict, daemon=tuple(serve)))
    with _ended_in_order():
        code = _sweep(sweep, table=given.json != "-")
    if given.json is not None and sweep.normal is not None:
        text = json.dumps(sweep.document(), indent=2)
        if given.json == "-":
            print(text)
        else:
            try:
                with open(given.json, "w", encoding="utf-8") as file:
                    file.write(text + "\n")
            except OSError as error:
                fail(f"sweep: {given.json}: {error.strerror}")
                return ExitCode.FAILED
    return code


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end a sweep as Ctrl-C does: with the run under way and its daemon."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, end) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sweep(sweep: Sweep, *, table: bool) -> int:
    width = max(len("fault"), *(len(name) for name, _ in sweep.options.templates))
    try:
        if table:
            print(f"{'fault':<{width}}  {'nth':>5}  {'hit':<3}  {'outcome':<8}  {'end':<9}  {'seconds':>7}  descriptor")
        for outcome in sweep.run():
            if table:
                print(_row(outcome, width), flush=True)
    except CannotSweep as error:
        fail(str(error))
        return error.code
    except ControlError as error:
        fail(f"sweep: {error}")
        return error.exit_code
    except KeyboardInterrupt as ended:
        sweep.complete = False
        fail(f"sweep: interrupted after {len(sweep.outcomes)} runs")
        return 128 + (ended.args[0] if ended.args else signal.SIGINT)
    bad = [outcome for outcome in sweep.outcomes if sweep.is_bad(outcome)]
    if table:
        print(_summary(sweep, bad))
    if not sweep.descriptors:
        fail("sweep: warning: the command submitted no descriptor, so no fault was tried: does it use IDXDD_SOCKET?")
    return ExitCode.FAILED if bad else ExitCode.OK


def _row(outcome: Outcome, width: int) -> str:
    hit = "yes" if outcome.hit else "-"
    nth = str(outcome.nth) if outcome.nth else "-"
    end = f"{outcome.outcome:<8}  {outcome.how:<9}  {outcome.seconds:>7.2f}"
    return f"{outcome.fault:<{width}}  {nth:>5}  {hit:<3}  {end}  {_descriptor(outcome)}".rstrip()


def _descriptor(outcome: Outcome) -> str:
    if outcome.descriptor is None:
        return ""
    return " ".join(
        f"{name}={outcome.descriptor[name]}" for name in ("op", "wq", "size", "status") if name in outcome.descriptor
    )


def _summary(sweep: Sweep, bad: list[Outcome]) -> str:
    counts = {word: sum(one.outcome == word for one in sweep.outcomes) for word in ("ok", "failed", "crashed", "hung")}
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    lines = [f"{len(sweep.outcomes)} runs: {told}" + ("" if sweep.complete else "; not all points were reached")]
    for one in bad:
        lines.append(f"  {one.outcome}: {one.rule}")
        last = one.output.strip().splitlines()[-1:] if one.output.strip() else []
        lines += [f"    {line[:160]}" for line in last]
    if bad:
        lines.append("to see one again: put its rule into a file, and `idxdd run --inject FILE -- COMMAND`")
    return "\n".join(lines)
