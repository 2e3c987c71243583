"""What `ping` measures: no-op round trips."""

from __future__ import annotations

import time
from typing import Any

from idxd_client import Connection, Descriptor, DescriptorArray, KernelChannel, WorkQueue
from idxd_client.errors import DescriptorError
from idxdctl.progress import Update
from idxdctl.sizes import percentile

WARM_UP = 16
UPDATE_EVERY = 4096


def round_trips(
    connection: Connection, queue: WorkQueue | KernelChannel, count: int, timeout: float, update: Update = lambda done: None
) -> list[int]:
    """Nanoseconds of each of `count` no-ops, one after the other; `update(done)` is called now and then."""
    with connection.array(1) as array:
        trip = _channel_trip(queue, timeout) if isinstance(queue, KernelChannel) else _portal_trip(array, queue, timeout)
        for _ in range(WARM_UP):
            trip()
        trips: list[int] = []
        while len(trips) < count:
            trips += [trip() for _ in range(min(UPDATE_EVERY, count - len(trips)))]
            update(len(trips))
    return trips


def _portal_trip(array: DescriptorArray, queue: WorkQueue, timeout: float) -> Any:
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
