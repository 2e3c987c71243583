"""python -m bench: measure, print the table, write the JSON beside it."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import (
    machine,
    measure_crowds,
    measure_device,
    measure_irq,
    measure_moves,
    measure_operating,
    measure_operations,
    measure_starts,
    measure_trips,
    measure_watching,
    report,
)
from bench.instance import BenchFailed, Instance, Programs, build
from bench.rows import ROWS
from bench.samples import Measured, Outcome, Row, select
from idxd_client import IdxdError
from idxdd.control.errors import ControlError

ROOT = Path(__file__).parents[1]
ROUNDS = 5

Measure = Callable[[Instance, Programs, int], dict[str, Measured]]
MEASURES: dict[str, Measure] = {
    "move": measure_moves.moves,
    "small": measure_moves.small,
    "operate": measure_operations.operations,
    "agent": measure_operations.heap,
    "rtt": measure_trips.trips,
    "device": measure_device.device,
    "channel": measure_crowds.channel,
    "irq": measure_irq.irq,
    "idle": measure_crowds.idle,
    "operating": measure_operating.operating,
    "watching": measure_watching.watching,
    "start": measure_starts.starts,
    "crowd": measure_crowds.crowds,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the README promises.")
    parser.add_argument("--rows", default="", metavar="NAME,...", help=f"rows or groups ({', '.join(MEASURES)}); default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: a new file in bench/results")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured, whatever came out; 1: a row could not be measured; 2: wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        rows = select(ROWS, [name for name in options.rows.split(",") if name])
        if options.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {options.rounds}")
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    started = datetime.datetime.now(datetime.UTC)
    facts = machine.facts()
    try:
        programs = build(ROOT / "build" / "bench")
        outcomes = measure(rows, programs, options.rounds)
    except BenchFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(report.table(outcomes))
    seconds = (datetime.datetime.now(datetime.UTC) - started).total_seconds()
    run = {"started": started.isoformat(timespec="seconds"), "seconds": round(seconds, 1), "rounds": options.rounds}
    path = options.json or ROOT / "bench" / "results" / f"{started:%Y%m%dT%H%M%SZ}.json"
    write(path, report.facts(outcomes, facts | {"load_after": machine.load()}, run))
    print(f"\n{facts['cores']} cores, {facts['cpu']}, load before {facts['load_before'][0]:g}; {seconds:.0f} s; {path}")
    return 1 if any(outcome.verdict == "failed" for outcome in outcomes) else 0


def measure(rows: Sequence[Row], programs: Programs, rounds: int) -> list[Outcome]:
    """Group by group, each with a daemon of its own: a group that fails does not end the others."""
    outcomes = []
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        start = time.monotonic()
        try:
            with Instance() as instance, instance.blamed():
                found = MEASURES[group](instance, programs, rounds)
            absent = "a package that it is measured against is not installed"
            outcomes += [Outcome(row, found.get(row.name), absent, skipped=row.name not in found) for row in mine]
        except (BenchFailed, ControlError, IdxdError) as error:
            outcomes += [Outcome(row, None, str(error)) for row in mine]
        print(f"bench: {group}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return outcomes


def write(path: Path, facts: dict[str, Any]) -> None:
    """One file a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.dumps(facts))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
