"""Commands that send descriptors themselves: no-op round trips, and the CRC of a file."""

from __future__ import annotations

import os
import time
from typing import Any

from idxd_client import Completion, Connection, Descriptor, KernelChannel, WorkQueue
from idxd_client.errors import DescriptorError
from idxdctl.sizes import percentile

WARM_UP = 16
CRC_CHUNK_BYTES = 1 << 20


def round_trips(connection: Connection, queue: WorkQueue | KernelChannel, count: int, timeout: float) -> list[int]:
    """Nanoseconds of each of `count` no-ops, one after the other."""
    trip = _channel_trip(queue, timeout) if isinstance(queue, KernelChannel) else _portal_trip(connection, queue, timeout)
    for _ in range(WARM_UP):
        trip()
    return [trip() for _ in range(count)]


def _portal_trip(connection: Connection, queue: WorkQueue, timeout: float) -> Any:
    array = connection.array(1)
    array[0] = Descriptor.noop()
    slot, record = array.slots[0], array.records[:32]
    clock = time.perf_counter_ns

    def trip() -> int:
        array.clear()
        start = clock()
        queue.wait_record(record, queue.submit_slot(slot, timeout), timeout)
        took = clock() - start
        if record[0] != 1:
            raise DescriptorError(f"{queue.name}: noop", array.result(0))
        return took

    return trip


def _channel_trip(queue: KernelChannel, timeout: float) -> Any:
    noop = Descriptor.noop()
    clock = time.perf_counter_ns

    def trip() -> int:
        start = clock()
        queue.submit(noop, timeout=timeout).result(timeout).raise_for_status()
        return clock() - start

    return trip


def summary(round_trips_ns: list[int]) -> dict[str, float]:
    """Percentiles in microseconds."""
    ordered = sorted(round_trips_ns)
    points = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
    facts = {f"{name}_us": percentile(ordered, fraction) / 1e3 for name, fraction in points.items()}
    mean = sum(ordered) / len(ordered) / 1e3 if ordered else 0.0
    return facts | {"max_us": percentile(ordered, 1.0) / 1e3, "mean_us": round(mean, 3)}


def crc32c_of(connection: Connection, queue: WorkQueue | KernelChannel, path: str, timeout: float) -> tuple[int, int]:
    """(CRC-32C by the device, bytes): one chunk is read while the device works on the one before."""
    crc, size = 0, 0
    under_way: Completion | None = None
    with open(path, "rb", buffering=0) as file, connection.alloc(2 * CRC_CHUNK_BYTES) as buffer:
        halves = [buffer.region(0, CRC_CHUNK_BYTES), buffer.region(CRC_CHUNK_BYTES, CRC_CHUNK_BYTES)]
        while count := os.readv(file.fileno(), [halves[0].view]):
            if under_way is not None:
                crc = under_way.result(timeout).raise_for_status().crc
            under_way = queue.submit(Descriptor.crc(halves[0], count, seed=crc), timeout=timeout)
            size += count
            halves.reverse()
        if under_way is not None:
            crc = under_way.result(timeout).raise_for_status().crc
    return crc, size
