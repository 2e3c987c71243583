"""Rows move and small: one client on a dedicated WQ, from C and from Python's fast path.

Where the bytes lie decides what memcpy takes. The rows that promise go through buffers larger than the caches, as copying a
file does; the rows "hot" move the same 16 pieces again and again, which a core has in its cache.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import idxd_client
from bench.instance import BenchFailed, Instance, Programs
from bench.samples import Measured, details, ratios
from idxd_client import Descriptor, DescriptorArray, WorkQueue

WQ = "dsa0/wq0.0"
SIZES = {"64k": 64 << 10, "16k": 16 << 10, "4k": 4 << 10}
DEPTH = 16
BUFFER_BYTES = 64 << 20
"""Twice the largest last-level cache of the machines this is run on; source and destination have so much each."""
TURN_MS = 160
SMALL_BYTES = 64
SMALL_COUNT = 1024
PYTHON_TURN_S = 0.12
WARM_UP_S = 0.02

Loop = Callable[[WorkQueue, DescriptorArray, float], tuple[int, float]]
"""So many seconds of moves, from the start of the array: moves done, seconds it took."""


def moves(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """Bytes per second against memcpy of the same round over buffers of the same size; from C over the same buffers."""
    memcpy: dict[str, list[float]] = defaultdict(list)
    device: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, size in SIZES.items():
            for row, total in ((f"move-{name}", BUFFER_BYTES), (f"move-{name}-hot", 0)):
                baseline, moved = programs.run("move", WQ, size, DEPTH, TURN_MS, total, socket=instance.socket)
                memcpy[row].append(baseline / 1e9)
                device[row].append(moved / 1e9)
            with python_moves(instance, size, BUFFER_BYTES // size) as measure:
                memcpy[f"move-{name}-python"].append(memcpy[f"move-{name}"][-1])
                device[f"move-{name}-python"].append(measure(with_depth) * size / 1e9)
    return {
        row: Measured(ratios(device[row], memcpy[row]), details(memcpy_gb_per_s=memcpy[row], device_gb_per_s=device[row]))
        for row in device
    }


def small(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """64-byte moves, millions per second."""
    found: dict[str, list[float]] = {"small-c": [], "small-python": [], "small-python-many": []}
    for _ in range(rounds):
        _, device = programs.run("move", WQ, SMALL_BYTES, 0, TURN_MS, 0, socket=instance.socket)
        found["small-c"].append(device / SMALL_BYTES / 1e6)
        with python_moves(instance, SMALL_BYTES, SMALL_COUNT) as measure:
            found["small-python"].append(measure(one_by_one) / 1e6)
            found["small-python-many"].append(measure(in_groups) / 1e6)
    return {name: Measured(samples) for name, samples in found.items()}


@contextmanager
def python_moves(instance: Instance, size: int, count: int) -> Iterator[Callable[[Loop], float]]:
    """Moves per second of a loop over `count` prebuilt moves on a dedicated WQ; what it moved is compared."""
    with (
        idxd_client.connect(instance.socket) as connection,
        connection.open_user(WQ) as wq,
        connection.alloc(size * count) as source,
        connection.alloc(size * count) as destination,
        connection.array(count, report="errors") as array,
    ):
        for i in range(count):
            part = slice(i * size, (i + 1) * size)
            array[i] = Descriptor.memmove(destination[part], source[part])
        wq.wait_number(wq.submit_array(array))  # once through: page tables of both sides

        def measure(loop: Loop) -> float:
            memoryview(source)[:] = os.urandom(251) * (size * count // 251) + bytes(size * count % 251)
            loop(wq, array, WARM_UP_S)
            moves, seconds = loop(wq, array, PYTHON_TURN_S)
            array.raise_for_status()
            moved = slice(0, min(moves, count) * size)
            if memoryview(source)[moved] != memoryview(destination)[moved]:
                raise BenchFailed("python: the destination differs from the source")
            return moves / seconds

        yield measure


def with_depth(wq: WorkQueue, array: DescriptorArray, seconds: float) -> tuple[int, float]:
    """At most DEPTH in flight: half of them run while the other half is published."""
    half = DEPTH // 2
    clock, count, at = time.perf_counter, 0, 0
    start = clock()
    before = wq.submit_array(array, 0, half)
    while clock() - start < seconds:
        at = at + half if at + DEPTH <= array.count else 0
        last = wq.submit_array(array, at, half)
        wq.wait_number(before)
        before = last
        count += half
    wq.wait_number(before)
    return count + half, clock() - start


def one_by_one(wq: WorkQueue, array: DescriptorArray, seconds: float) -> tuple[int, float]:
    """One call a descriptor."""
    slots, submit = array.slots, wq.submit_slot
    clock, count, number = time.perf_counter, 0, -1
    start = clock()
    while clock() - start < seconds:
        for slot in slots:
            number = submit(slot)
        count += len(slots)
    wq.wait_number(number)
    return count, clock() - start


def in_groups(wq: WorkQueue, array: DescriptorArray, seconds: float) -> tuple[int, float]:
    """One call for the whole array."""
    clock, count, last = time.perf_counter, 0, -1
    start = clock()
    while clock() - start < seconds:
        last = wq.submit_array(array)
        count += array.count
    wq.wait_number(last)
    return count, clock() - start
