"""Rows of the interrupt process: interrupt to callback, submitters that a revoke holds, recovery from a halt, a restart."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import idxd_client
from bench.instance import BenchFailed, Instance, Programs, crowd
from bench.measure_starts import wall_s
from bench.samples import Measured, details, ratios
from idxd_client import Connection, Descriptor, KernelChannel
from idxdd.native import LAYOUT, Words
from idxdd.shm import memfd

WQ, NUMBER = "dsa0/wq0.2", 2
OTHER_WQS = 4
TRIPS = 400
PAUSE_US = 500
SUBMITTERS = 8
BYTES = 64
DEPTH = 32
RATE_S = 1.0
REVOKES = 12
REVOKE_EVERY_S = 0.03
HALTS = 8
RESTARTS = 3
LIMIT_S = 10.0
LOOK_S = 20e-6
GATE_LIVE, GATE_CLOSED, ENABLED = 1, 2, 1
ALLOWED_S = 0.2
STARTS_ALLOWED = 3


def irq(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """All of them, round by round, each beside its own baseline."""
    chain_ns, callback_ns, held_ns = [], [], []
    reinit_ms, restart, restart_s, bare_s, rates, interrupts = [], [], [], [], [], []
    with idxd_client.connect(instance.socket) as connection, published(connection) as driver:
        for _ in range(rounds):
            chain_ns.append(programs.run("chain", TRIPS, PAUSE_US)[0])
            callback_ns.append(programs.run("callback", WQ, TRIPS, PAUSE_US, socket=instance.socket)[0])
            with crowd(programs, instance.socket, SUBMITTERS, WQ, BYTES, DEPTH) as clients:
                clients.run(RATE_S / 5)
                before = instance.wq(WQ)
                completed, _ = clients.run(RATE_S)
                after = instance.wq(WQ)
                rates.append(sum(completed) / RATE_S / 1e3)
                moved = after["completed"] - before["completed"]
                interrupts.append((after["wq_thread_runs"] - before["wq_thread_runs"]) / moved)
                held_ns.append(statistics.median(_revokes(connection, driver, clients.run)))
            reinit_ms.append(1e3 * statistics.median(_reinit_s(connection, driver) for _ in range(HALTS)))
            for _ in range(RESTARTS):
                bare_s.append(wall_s(sys.executable, "-c", "pass", socket=""))
                restart_s.append(_restart_s(connection))
            restart.append(statistics.median(restart_s) / (STARTS_ALLOWED * statistics.median(bare_s) + ALLOWED_S))
    return {
        "callback": Measured(ratios(callback_ns, chain_ns), details(callback_ns=callback_ns, chain_ns=chain_ns)),
        "submitters": Measured(rates),
        "submitters-runs": Measured(interrupts),
        "revoke-hold": Measured(ratios(held_ns, chain_ns), details(held_ns=held_ns)),
        "reinit": Measured(reinit_ms),
        "irq-restart": Measured(restart, details(restart_s=restart_s, bare_python_s=bare_s)),
    }


@contextmanager
def published(connection: Connection) -> Iterator[Words]:
    """The driver's page, as every client may read it."""
    size = -(-LAYOUT["published_driver"] // 4096) * 4096
    page = memfd.map_shared(connection._driver_fd, size, writable=False)
    words = Words(page)
    try:
        yield words
    finally:
        words.release()
        page.close()


def _of_wq(driver: Words, wq: int, name: str) -> int:
    at = LAYOUT["published_driver.wq"] + wq * LAYOUT["published_driver.wq[]"]
    return driver.load32(at + LAYOUT[f"published_wq.{name}"])


def _revokes(connection: Connection, driver: Words, run: Callable[[float], object]) -> list[float]:
    """Nanoseconds the gate was closed at each revoke, while submitters work; looked at every 20 us and what a sleep adds."""
    seconds = REVOKES * REVOKE_EVERY_S * 2 + 1.0
    load = threading.Thread(target=run, args=(seconds,))
    load.start()
    time.sleep(0.4)
    held = []
    for _ in range(REVOKES):
        handle = _of_wq(driver, NUMBER, "int_handle")
        connection.request("revoke", device="dsa0", wq=WQ)
        held.append(_held_ns(driver, handle))
        time.sleep(REVOKE_EVERY_S)
    load.join()
    return held


def _held_ns(driver: Words, handle: int) -> float:
    """From the gate's closing to its opening; a hold between two looks counts as the time between them."""
    clock = time.perf_counter_ns
    limit = clock() + int(LIMIT_S * 1e9)
    before = clock()
    while _of_wq(driver, NUMBER, "gate") != GATE_CLOSED:
        if _of_wq(driver, NUMBER, "int_handle") != handle:
            return clock() - before
        if clock() > limit:
            raise BenchFailed("the driver has not taken the revoke")
        before = clock()
        time.sleep(LOOK_S)
    while _of_wq(driver, NUMBER, "gate") != GATE_LIVE:
        if clock() > limit:
            raise BenchFailed("the gate does not open")
        time.sleep(LOOK_S)
    return clock() - before


def _reinit_s(connection: Connection, driver: Words) -> float:
    """From the request to halt until the driver says that every WQ is enabled again."""
    start = time.perf_counter()
    connection.request("halt", device="dsa0", reset_type="software")
    while not _halted(driver):
        if time.perf_counter() - start > LIMIT_S:
            raise BenchFailed("the driver has not noticed the halt")
        time.sleep(LOOK_S)
    while _halted(driver) or any(_of_wq(driver, wq, "state") != ENABLED for wq in range(OTHER_WQS)):
        if time.perf_counter() - start > LIMIT_S:
            raise BenchFailed("the device was not recovered")
        time.sleep(LOOK_S)
    return time.perf_counter() - start


def _halted(driver: Words) -> bool:
    return driver.load32(LAYOUT["published_driver.device_state"]) != ENABLED


def _restart_s(connection: Connection) -> float:
    """From its SIGKILL to the completion of a descriptor that was submitted at once."""
    channel = connection.open(WQ)
    try:
        assert isinstance(channel, KernelChannel)
        channel.noop()
        pid = int(connection.stats()["irq"]["pid"])
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        channel.submit(Descriptor.noop(), timeout=LIMIT_S).result(LIMIT_S).raise_for_status()
        return time.perf_counter() - start
    finally:
        channel.close()
