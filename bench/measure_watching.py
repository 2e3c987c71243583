"""Rows watching: what it costs others that somebody looks: `idxdctl top`, and a trace of every descriptor.

Pairs of runs, one beside the other, with and without, in turns the first; a pair sees the same machine. What is told is the
mean ratio and the interval that holds it with 95 %: an interval around 1 shows no cost.
"""

from __future__ import annotations

import math
import os
import pty
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.instance import Instance, Programs
from bench.samples import Measured
from idxdd.control import client as control

WQ = "dsa0/wq0.0"
SIZE, DEPTH, TURN_MS = 4096, 16, 60
PAIRS = 30
STUDENT_95 = 2.045
"""Of 29 degrees of freedom."""
TOP_INTERVAL_S = 0.2
TRACE_RECORDS = 1 << 16


def watching(instance: Instance, programs: Programs, _rounds: int) -> dict[str, Measured]:
    """Both rows: PAIRS pairs each, whatever the number of rounds."""
    with _top(instance) as (look, do_not_look):
        top = _pairs(instance, programs, look, do_not_look)
    trace = _pairs(instance, programs, lambda: _trace(instance, on=True), lambda: _trace(instance, on=False))
    return {"top": _measured("top", top), "trace": _measured("trace", trace)}


def _pairs(instance: Instance, programs: Programs, begin: Callable[[], None], end: Callable[[], None]) -> list[float]:
    """With by without, pair by pair; `end` holds when this returns."""

    def moved() -> float:
        _, device = programs.run("move", WQ, SIZE, DEPTH, TURN_MS, 0, socket=instance.socket)
        return device

    def watched() -> float:
        begin()
        try:
            return moved()
        finally:
            end()

    end()
    moved()
    found = []
    for number in range(PAIRS):
        if number % 2:
            alone = moved()
            found.append(watched() / alone)
        else:
            together = watched()
            found.append(together / moved())
    return found


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Mean ratio, and the bounds that hold it with 95 %; ratios multiply, so their logarithms are what is averaged."""
    logarithms = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logarithms)
    half = STUDENT_95 * statistics.stdev(logarithms) / math.sqrt(len(logarithms))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _measured(name: str, ratios: list[float]) -> Measured:
    mean, low, high = interval(ratios)
    print(f"bench: {name}: {len(ratios)} pairs, mean {mean:.3f}, 95 % interval {low:.3f} to {high:.3f}", file=sys.stderr)
    return Measured(ratios, {"mean": mean, "low": low, "high": high})


@contextmanager
def _top(instance: Instance) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """A real one at a terminal of its own; (go on, stop)."""
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).parent / "idxdctl"), "top", "-i", str(TOP_INTERVAL_S), "--socket", instance.socket]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        drawn = threading.Event()
        reader = threading.Thread(target=_read, args=(ours, drawn))
        reader.start()
        try:
            drawn.wait(10)
            yield (lambda: process.send_signal(signal.SIGCONT)), (lambda: process.send_signal(signal.SIGSTOP))
        finally:
            process.kill()
            process.wait()
            reader.join()
            os.close(ours)


def _read(terminal: int, drawn: threading.Event) -> None:
    try:
        while os.read(terminal, 65536):
            drawn.set()
    except OSError:  # its end
        drawn.set()


def _trace(instance: Instance, *, on: bool) -> None:
    connection = control.connect(instance.socket)
    try:
        if on:
            connection.request("trace_on", size=TRACE_RECORDS)
        else:
            connection.request("trace_off", discard=True)
    finally:
        connection.close()
