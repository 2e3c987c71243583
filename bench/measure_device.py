"""Rows device: a register written and read back, a fault decided, a halt announced; against two processes and two semaphores.

The baseline is a bare ping-pong of two processes that wake each other by POSIX semaphores, on two cores where there are
two, as device and driver are: the least that any wake-up and answer between processes costs here.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator

import posix_ipc

import idxd_client
from bench.device_process import DeviceProcess, device_process
from bench.instance import BenchFailed, Instance, Programs
from bench.samples import Measured, details, ratios
from idxd_client import Descriptor
from idxdd.shm.mmio import DriverMmio
from idxdd.spec.registers import GENCTRL

WQ = "dsa0/wq0.0"
NOWHERE = 0x1000
TRIPS = 2_000
TRIPS_S = 0.4
HALTS = 15
WARM_UP = 50


def device(instance: Instance, _programs: Programs, rounds: int) -> dict[str, Measured]:
    """Medians of each round, against the ping-pong of that round."""
    took: dict[str, list[float]] = {name: [] for name in ("pingpong", "mmio", "fault-exit", "halt", "halt-busy")}
    with device_process(f"bench-{os.getpid()}-device") as own:
        for _ in range(rounds):
            took["pingpong"].append(pingpong_ns())
            own.enable()
            took["mmio"].append(register_ns(own.mmio))
            took["fault-exit"].append(fault_ns(instance))
            took["halt"].append(statistics.median(halt_ns(own) for _ in range(HALTS)))
            took["halt-busy"].append(statistics.median(halt_ns(own, busy=True) for _ in range(HALTS)))
    baseline = took.pop("pingpong")
    return {
        name: Measured(ratios(samples, baseline), details(took_ns=samples, pingpong_ns=baseline))
        for name, samples in took.items()
    }


def pingpong_ns() -> float:
    """The median of a round trip by two semaphores."""
    with contextlib.ExitStack() as stack:
        there, back = (posix_ipc.Semaphore(None, posix_ipc.O_CREX) for _ in range(2))
        for semaphore in (there, back):
            stack.callback(semaphore.close)
            stack.callback(semaphore.unlink)
        stack.enter_context(apart(0))
        child = os.fork()
        if not child:
            answer(there, back)
        took: list[int] = []
        for _ in range(TRIPS):
            start = time.perf_counter_ns()
            there.release()
            back.acquire()
            took.append(time.perf_counter_ns() - start)
        os.waitpid(child, 0)
    return statistics.median(took[WARM_UP:])


def answer(there: posix_ipc.Semaphore, back: posix_ipc.Semaphore) -> None:
    """The other process; never returns."""
    with apart(1):
        for _ in range(TRIPS):
            there.acquire()
            back.release()
        os._exit(0)


@contextlib.contextmanager
def apart(number: int) -> Iterator[None]:
    """On the first or on another core, while it lasts."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def register_ns(mmio: DriverMmio) -> float:
    """Post a write of GENCTRL, read it back."""
    took: list[int] = []
    end = time.perf_counter() + TRIPS_S
    while len(took) <= WARM_UP or (len(took) < TRIPS and time.perf_counter() < end):
        value = 2 | len(took) & 1
        start = time.perf_counter_ns()
        mmio.write32(GENCTRL.offset, value)
        found = mmio.read32(GENCTRL.offset)
        took.append(time.perf_counter_ns() - start)
        if found != value:
            raise BenchFailed(f"GENCTRL reads {found:#x}, not {value:#x}")
    return statistics.median(took[WARM_UP:])


def fault_ns(instance: Instance) -> float:
    """A move to an address that is nowhere: submitted, found out, decided by the device loop, told in its record."""
    with (
        idxd_client.connect(instance.socket, agent=False) as connection,
        connection.open_user(WQ) as wq,
        connection.alloc(4096) as buffer,
        connection.array(1) as array,
    ):
        array[0] = Descriptor.memmove(NOWHERE, buffer.address, 64)
        slot, record = array.slots[0], array.records[:32]
        took: list[int] = []
        end = time.perf_counter() + TRIPS_S
        while len(took) <= WARM_UP or (len(took) < TRIPS and time.perf_counter() < end):
            record[0] = 0
            start = time.perf_counter_ns()
            wq.wait_record(record, wq.submit_slot(slot))
            took.append(time.perf_counter_ns() - start)
            if record[0] & 0x7F != 0x03:
                raise BenchFailed(f"a move to nowhere ended with {record[0]:#x}")
        return statistics.median(took[WARM_UP:])


def halt_ns(own: DeviceProcess, *, busy: bool = False) -> int:
    """One halt of an enabled device, perhaps in the middle of 2 GiB."""
    own.enable()
    if busy:
        own.fill()
    return own.halted_ns()
