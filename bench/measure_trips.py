"""Row rtt: a no-op there and back, against two processes that do nothing but hand a word to each other."""

from __future__ import annotations

import statistics
import time

import idxd_client
from bench.instance import Instance, Programs
from bench.samples import Measured, details, ratios
from idxd_client import Descriptor

WQ = "dsa0/wq0.0"
TRIPS = 20_000
TRIPS_S = 0.5
"""A round ends here: where cores are shared with others, a trip may take a time slice."""
WARM_UP = 1_000


def trips(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """Medians of each round, against the ping-pong of that round."""
    pingpong, from_c, from_python = [], [], []
    for _ in range(rounds):
        pingpong.append(programs.run("pingpong", TRIPS)[0])
        from_c.append(programs.run("trip", WQ, TRIPS, int(TRIPS_S * 1e3), socket=instance.socket)[0])
        from_python.append(python_trip_ns(instance))
    rows = {"rtt-c": from_c, "rtt-python": from_python}
    return {
        name: Measured(ratios(trip_ns, pingpong), details(trip_ns=trip_ns, pingpong_ns=pingpong))
        for name, trip_ns in rows.items()
    }


def python_trip_ns(instance: Instance) -> float:
    """The median: submit a prebuilt no-op, wait for its record."""
    with (
        idxd_client.connect(instance.socket) as connection,
        connection.open_user(WQ) as wq,
        connection.array(1) as array,
    ):
        array[0] = Descriptor.noop()
        slot, record = array.slots[0], array.records[:32]
        clock = time.perf_counter_ns
        took: list[int] = []
        end = clock() + int(TRIPS_S * 1e9)
        while len(took) < WARM_UP + 1 or (len(took) < TRIPS and clock() < end):
            record[0] = 0
            start = clock()
            wq.wait_record(record, wq.submit_slot(slot))
            took.append(clock() - start)
            array.raise_for_status()
        return statistics.median(took[WARM_UP:])
