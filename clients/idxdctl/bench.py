"""idxdctl bench: some seconds in one's own instance; each number beside memcpy over the same memory, round by round."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from idxdctl.options import Json, Socket
from idxdctl.output import Failed, print_json, say, table
from idxdctl.sizes import format_size, percentile

if TYPE_CHECKING:  # the library is loaded by the command, not by every other one
    from idxd_client import Connection, Descriptor, KernelChannel, WorkQueue

DEFAULT_WQ: Final = "dsa0/wq0.1"
SIZES: Final = (64 << 10, 16 << 10, 4 << 10)
SPAN_BYTES: Final = 32 << 20
"""Of each buffer: more than caches hold."""
IN_FLIGHT: Final = 16
SMALL_BYTES: Final = 64
SMALL_COUNT: Final = 1024
SMALL_REPEATS: Final = 16
TRIPS: Final = 500
ROUND_S: Final = 0.05
"""A measurement is repeated until it has taken so long."""
TIMEOUT_S: Final = 60.0
BUSY_LOAD: Final = 0.5
"""Of a core, by others: from here on it is said."""


@dataclass
class Row:
    """One number and what it is held against: a sample of each a round."""

    what: str
    unit: str
    measured: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Medians, and the range of the ratios: whoever compares two runs needs to know how far rounds lie apart."""
        import statistics

        facts: dict[str, Any] = {"what": self.what, "unit": self.unit, "median": statistics.median(self.measured)}
        facts["low"], facts["high"] = min(self.measured), max(self.measured)
        if self.baseline:
            ratios = [mine / base for mine, base in zip(self.measured, self.baseline, strict=True)]
            facts["memcpy"] = statistics.median(self.baseline)
            facts["ratio"] = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        return facts

    def cells(self) -> list[str]:
        """Of the table."""
        facts = self.facts()
        shown = [facts["what"], f"{facts['median']:.3g} {self.unit}", f"{facts['low']:.3g} - {facts['high']:.3g}"]
        if "ratio" not in facts:
            return [*shown, "", ""]
        ratio = facts["ratio"]
        return [
            *shown,
            f"{facts['memcpy']:.3g} {self.unit}",
            f"{ratio['median']:.2f} ({ratio['low']:.2f} - {ratio['high']:.2f})",
        ]


class Bench:
    """Buffers and a queue; each method is one measurement."""

    def __init__(self, connection: Connection, queue: WorkQueue | KernelChannel) -> None:
        self._connection = connection
        self._queue = queue
        self._memory = contextlib.ExitStack()
        self.source, self.destination = (self._memory.enter_context(connection.alloc(SPAN_BYTES)) for _ in range(2))
        memoryview(self.source)[:] = os.urandom(1 << 20) * (SPAN_BYTES >> 20)
        memoryview(self.destination)[:] = bytes(SPAN_BYTES)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def memcpy_gb_per_s(self) -> float:
        """One copy of all of it by this process."""
        source, destination = memoryview(self.source), memoryview(self.destination)

        def copy() -> None:
            destination[:] = source

        return SPAN_BYTES / repeated_s(copy) / 1e9

    def moves(self, size: int) -> Callable[[], float]:
        """GB/s of moves that go through both buffers, so many in flight as a client usually has."""
        from idxd_client import Descriptor

        count = SPAN_BYTES // size
        pieces = [(self.destination.region(at, size), self.source.region(at, size)) for at in range(0, SPAN_BYTES, size)]
        run = self._running([Descriptor.memmove(*piece) for piece in pieces], IN_FLIGHT)
        memoryview(self.destination)[:] = bytes(SPAN_BYTES)
        run()
        if memoryview(self.destination) != memoryview(self.source):
            raise Failed(f"bench: moves of {size} bytes have left other bytes than they were given")
        return lambda: count * size / repeated_s(run) / 1e9

    def small(self) -> Callable[[], float]:
        """Millions of 64-byte moves a second, in groups."""
        from idxd_client import Descriptor

        target, source = self.destination.region(0, SMALL_BYTES), self.source.region(0, SMALL_BYTES)
        run = self._running([Descriptor.memmove(target, source)] * SMALL_COUNT, SMALL_COUNT)
        return lambda: SMALL_COUNT / repeated_s(run) / 1e6

    def trip_us(self) -> float:
        """The median no-op round trip."""
        from idxdctl.measure import round_trips

        return percentile(sorted(round_trips(self._connection, self._queue, TRIPS, TIMEOUT_S)), 0.5) / 1e3

    def _running(self, descriptors: list[Descriptor], in_flight: int) -> Callable[[], None]:
        """Submit all of them, `in_flight` at a time, and wait; a user WQ takes them prebuilt."""
        from idxd_client import KernelChannel, wait_all

        queue = self._queue
        if isinstance(queue, KernelChannel):
            groups = [descriptors[at : at + in_flight] for at in range(0, len(descriptors), in_flight)]

            def by_interrupt() -> None:
                for group in groups:
                    for result in wait_all(queue.submit_many(group, timeout=TIMEOUT_S), TIMEOUT_S):
                        result.raise_for_status()

            return by_interrupt
        array = self._memory.enter_context(self._connection.array(len(descriptors), report="errors"))
        for index, descriptor in enumerate(descriptors):
            array[index] = descriptor

        def prebuilt() -> None:
            half = max(1, in_flight // 2)
            before = -1
            for at in range(0, array.count, half):
                number = queue.submit_array(array, at, min(half, array.count - at), timeout=TIMEOUT_S)
                if before >= 0:
                    queue.wait_number(before, TIMEOUT_S)
                before = number
            queue.wait_number(before, TIMEOUT_S)
            array.raise_for_status()

        return prebuilt


def repeated_s(run: Callable[[], object]) -> float:
    """Seconds a run takes, on the average of as many as fit into ROUND_S."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < ROUND_S or not count:
        run()
        count += 1
    return spent / count


def measure(connection: Connection, queue: WorkQueue | KernelChannel, rounds: int) -> list[Row]:
    """Each number once a round, memcpy just before those that are held against it; a round before the first does not count."""
    with contextlib.closing(Bench(connection, queue)) as bench:
        return _measure(bench, rounds)


def _measure(bench: Bench, rounds: int) -> list[Row]:
    moves = [(Row(f"move {format_size(size)}", "GB/s"), bench.moves(size)) for size in SIZES]
    small, trip = Row(f"move {SMALL_BYTES} B, in groups", "M/s"), Row("no-op round trip, p50", "us")
    small_per_s = bench.small()
    for number in range(-1, rounds):
        for row, moved in moves:
            baseline, measured = bench.memcpy_gb_per_s(), moved()
            if number >= 0:
                row.baseline.append(baseline)
                row.measured.append(measured)
        rate, took = small_per_s(), bench.trip_us()
        if number >= 0:
            small.measured.append(rate)
            trip.measured.append(took)
    return [*(row for row, _ in moves), small, trip]


def bench(
    wq: Annotated[str, typer.Option("--wq", help="Work queue, for example dsa0/wq0.1.")] = DEFAULT_WQ,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000, help="More rounds, narrower medians.")] = 7,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Throughput and round trips of one work queue from Python, each beside memcpy over the same memory.

    low - high is the range over the rounds: differences smaller than that mean nothing. memcpy is one call for all of the
    32 MiB; the device gets it piece by piece, 16 in flight.
    """
    from idxdctl.session import queue_of

    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    with queue_of(socket, wq) as (connection, queue):
        rows = measure(connection, queue, rounds)
    busy = load > BUSY_LOAD
    if json:
        found = {"wq": wq, "rounds": rounds, "cores": cores, "load_before": load, "rows": [row.facts() for row in rows]}
        print_json("bench", found)
    else:
        print(table(("what", "median", "low - high", "memcpy", "ratio (low - high)"), [row.cells() for row in rows]))
    if busy:
        say(f"bench: load average {load:.1f} on {cores} cores before: other work is in these numbers")


def register(app: typer.Typer) -> None:
    """Its command."""
    app.command("bench", rich_help_panel="Load and measurement")(bench)
