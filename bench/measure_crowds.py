"""Rows channel, idle and crowd: many client processes at once."""

from __future__ import annotations

import time

from bench import machine
from bench.instance import Instance, Programs, crowd
from bench.samples import Measured, details, ratios, slowest_share

CHANNEL_WQ = "dsa0/wq0.2"
CHANNEL_CLIENTS = 4
CHANNEL_BYTES = 64
CHANNEL_DEPTH = 32
CHANNEL_S = 1.0

SHARED_WQ = "dsa0/wq0.1"
MANY, FEW = 64, 4
CROWD_BYTES = 4 << 10
CROWD_DEPTH = 2
CROWD_S = 1.5

ROOMY_WQ = "dsa0/wq0.0"
ROOMY = [
    {
        "dev": "dsa0",
        "groups": [
            {
                "dev": "group0.0",
                "grouped_workqueues": [
                    {
                        "dev": "wq0.0",
                        "mode": "shared",
                        "size": 128,
                        "threshold": 128,
                        "priority": 10,
                        "type": "user",
                        "name": "crowd",
                        "driver_name": "user",
                        "max_transfer_size": 1 << 21,
                        "max_batch_size": 32,
                    }
                ],
                "grouped_engines": [{"dev": "engine0.0", "group_id": 0}],
            }
        ],
    }
]
"""One shared WQ with all 128 entries of the device."""

IDLE_S = 10.0
SETTLE_S = 1.0


def channel(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """Descriptors of a shared kernel WQ, completed by idxdd-irq, thousands per second; interrupts by the device's count."""
    rates, interrupts, runs = [], [], []
    with crowd(programs, instance.socket, CHANNEL_CLIENTS, CHANNEL_WQ, CHANNEL_BYTES, CHANNEL_DEPTH) as clients:
        clients.run(CHANNEL_S / 5)
        for _ in range(rounds):
            before = instance.wq(CHANNEL_WQ)
            completed, _ = clients.run(CHANNEL_S)
            after = instance.wq(CHANNEL_WQ)
            moved = after["completed"] - before["completed"]
            rates.append(sum(completed) / CHANNEL_S / 1e3)
            interrupts.append((after["interrupts"] - before["interrupts"]) / moved)
            runs.append((after["wq_thread_runs"] - before["wq_thread_runs"]) / moved)
    return {
        "channel": Measured(rates),
        "channel-interrupts": Measured(interrupts, details(wq_thread_runs_per_descriptor=runs)),
    }


def idle(instance: Instance, programs: Programs, _rounds: int) -> dict[str, Measured]:
    """CPU of both processes in % of one core, while nobody asks for anything; both are opened and settled before."""
    pids = {"idxdd": instance.pid, "idxdd-irq": int(instance.stats()["irq"]["pid"])}
    with crowd(programs, instance.socket, MANY, SHARED_WQ, CROWD_BYTES, CROWD_DEPTH):
        time.sleep(SETTLE_S)
        before = {name: (machine.threads_seconds(pid), machine.cpu_seconds(pid)) for name, pid in pids.items()}
        start = time.monotonic()
        time.sleep(IDLE_S)
        spent = time.monotonic() - start
        used = {name: machine.threads_seconds(pid) - before[name][0] for name, pid in pids.items()}
        ticks = {name: machine.cpu_seconds(pid) - before[name][1] for name, pid in pids.items()}
    seen = {f"{name}_percent": 100 * seconds / spent for name, seconds in used.items()}
    seen |= {f"{name}_percent_by_ticks": 100 * seconds / spent for name, seconds in ticks.items()}
    return {"idle": Measured([100 * sum(used.values()) / spent], seen)}


def crowds(instance: Instance, programs: Programs, rounds: int) -> dict[str, Measured]:
    """Throughput of 64 clients against that of 4, in turns; both are more than the cores, so both sleep on the bell.

    Once on a WQ as large as the device has, so that each of the 64 has its entries; once on the default one of 32.
    """
    with Instance(f"bench-roomy-{instance.pid}", ROOMY) as roomy:
        found = _crowd(roomy, programs, rounds, ROOMY_WQ, "crowd")
    return found | _crowd(instance, programs, rounds, SHARED_WQ, "crowd-32")


def _crowd(instance: Instance, programs: Programs, rounds: int, wq: str, row: str) -> dict[str, Measured]:
    rates: dict[int, list[float]] = {FEW: [], MANY: []}
    slowest: dict[int, list[float]] = {FEW: [], MANY: []}
    full: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(rounds):
        for count in (FEW, MANY):
            with crowd(programs, instance.socket, count, wq, CROWD_BYTES, CROWD_DEPTH) as clients:
                clients.run(CROWD_S / 5)
                completed, turned_away = clients.run(CROWD_S)
            rates[count].append(sum(completed) / CROWD_S / 1e3)
            slowest[count].append(slowest_share(completed))
            full[count].append(sum(turned_away) / max(1, sum(completed)))
    seen = details(few_k_per_s=rates[FEW], many_k_per_s=rates[MANY], few_full=full[FEW], many_full=full[MANY])
    return {
        row: Measured(ratios(rates[MANY], rates[FEW]), seen),
        f"{row}-slowest": Measured(slowest[MANY], details(few_slowest=slowest[FEW])),
    }
