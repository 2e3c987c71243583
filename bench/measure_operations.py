"""Rows operate and agent: the other operations on a dedicated WQ, against what a library does with the same bytes.

As in measure_moves, the rows that promise go through buffers larger than the caches; "hot" rows use the same 16 pieces.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import idxd_client
from bench.instance import Instance, Programs
from bench.measure_moves import BUFFER_BYTES, DEPTH, TURN_MS, WQ
from bench.samples import Measured, details, ratios
from idxd_client import Descriptor

SIZE = 64 << 10
AGAINST = ("compare", "fill", "delta", "copy-crc")
"""Those with a function of the C library to be measured against; the rest in GB/s."""
ALONE = ("crc", "crc64", "dif-insert", "dif-check")
BATCH_MEMBERS, BATCH_MEMBER_BYTES, BATCH_DEPTH = 32, 64, 8
PACKAGES = {"crc-package": ("crc32c", "crc32c"), "crc-fastcrc": ("fastcrc", "crc32.iscsi")}
"""Row: module and function of a Python package that computes CRC-32C; a package that is not installed has no row."""
PACKAGE_TURN_S = 0.1
HEAP_TRIPS = 2000
HEAP_COPIES = 60


def operations(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """Bytes per second, or the ratio to the baseline of the same round."""
    baseline: dict[str, list[float]] = defaultdict(list)
    device: dict[str, list[float]] = defaultdict(list)
    package: dict[str, list[float]] = defaultdict(list)
    members = []
    for _ in range(rounds):
        for name in (*AGAINST, *ALONE):
            for row, total in ((name, BUFFER_BYTES), (f"{name}-hot", 0)):
                numbers = programs.run("operate", WQ, name, SIZE, DEPTH, TURN_MS, total, socket=instance.socket)
                baseline[row].append(numbers[0] / 1e9)
                device[row].append(numbers[1] / 1e9)
        for row, (module, function) in PACKAGES.items():
            crc = package_function(module, function)
            if crc is not None:
                package[row].append(package_rate(crc) / 1e9)
        found = programs.run("batch", WQ, BATCH_MEMBERS, BATCH_MEMBER_BYTES, BATCH_DEPTH, TURN_MS, socket=instance.socket)
        members.append(found[0] / 1e6)
    against = [row for row in device if row.removesuffix("-hot") in AGAINST]
    return {
        **{row: Measured(device[row]) for row in device if row not in against},
        **{
            row: Measured(
                ratios(device[row], baseline[row]), details(baseline_gb_per_s=baseline[row], device_gb_per_s=device[row])
            )
            for row in against
        },
        **{row: Measured(ratios(device["crc"], package[row]), details(package_gb_per_s=package[row])) for row in package},
        "batch": Measured(members),
    }


def package_function(module: str, function: str) -> Callable[[bytes], int] | None:
    """None: the package is not installed."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    for name in function.split("."):
        found = getattr(found, name)
    return found  # type: ignore[return-value]


def package_rate(crc: Callable[[bytes], int]) -> float:
    """Bytes per second over pieces of a buffer larger than the caches, as the device's row."""
    pieces = [os.urandom(4096) * (SIZE // 4096) for _ in range(BUFFER_BYTES // SIZE)]
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < PACKAGE_TURN_S:
        crc(pieces[count % len(pieces)])
        count += 1
    return count * SIZE / (time.perf_counter() - start)


# ---- memory that is not mapped -----------------------------------------------------------------------------------------------
def heap(instance: Instance, _programs: Programs, rounds: int) -> dict[str, Measured]:
    """Moves between plain bytearrays of this process, through its agent."""
    trips, ratio_samples, moved, copied = [], [], [], []
    with idxd_client.connect(instance.socket) as connection, connection.open_user(WQ) as wq:
        for _ in range(rounds):
            trips.append(heap_trip_us(connection, wq))
            device, memcpy = heap_rates(connection, wq)
            moved.append(device / 1e9)
            copied.append(memcpy / 1e9)
        ratio_samples = ratios(moved, copied)
    return {
        "heap-4k": Measured(trips),
        "heap-1m": Measured(ratio_samples, details(memcpy_gb_per_s=copied, device_gb_per_s=moved)),
    }


def heap_trip_us(connection: idxd_client.Connection, wq: idxd_client.WorkQueue) -> float:
    """The median round trip of a 4 KiB move."""
    source, destination = bytearray(os.urandom(4096)), bytearray(4096)
    with connection.array(1) as array:
        array[0] = Descriptor.memmove(destination, source)
        slot, record = array.slots[0], array.records[:32]
        took = []
        for _ in range(HEAP_TRIPS):
            record[0] = 0
            start = time.perf_counter_ns()
            wq.wait_record(record, wq.submit_slot(slot))
            took.append(time.perf_counter_ns() - start)
            array.raise_for_status()
    assert source == destination
    return statistics.median(took) / 1e3


def heap_rates(connection: idxd_client.Connection, wq: idxd_client.WorkQueue) -> tuple[float, float]:
    """Bytes per second of 1 MiB moves one after the other, and of memcpy over the same memory."""
    size = 1 << 20
    source, destination = bytearray(os.urandom(size)), bytearray(size)
    device, memcpy = [], []
    with connection.array(1) as array:
        array[0] = Descriptor.memmove(destination, source)
        slot, record = array.slots[0], array.records[:32]
        for _ in range(HEAP_COPIES):
            record[0] = 0
            start = time.perf_counter()
            wq.wait_record(record, wq.submit_slot(slot))
            device.append(time.perf_counter() - start)
            array.raise_for_status()
            start = time.perf_counter()
            destination[:] = source
            memcpy.append(time.perf_counter() - start)
    return size / statistics.median(device), size / statistics.median(memcpy)
