"""Row operating: what a daemon costs that runs for months: memory, idle connections, a question, a whole configuration."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import machine
from bench.instance import Instance, Programs
from bench.samples import Measured
from idxdd.control import client as control

CONNECTIONS = 1000
SETTLE_S = 1.0
IDLE_S = 5.0
QUESTIONS = 500
LOADS = 7
MIB = 1 << 20
WQS = [
    {
        "dev": f"wq0.{n}", "mode": "dedicated" if n % 2 else "shared", "size": 16, "group_id": n % 4, "priority": 10,
        "block_on_fault": 0, "type": "user", "driver_name": "user", "name": f"app{n}", **({} if n % 2 else {"threshold": 12}),
    }
    for n in range(8)
]  # fmt: skip
FULL: list[dict[str, Any]] = [
    {
        "dev": "dsa0",
        "groups": [
            {
                "dev": f"group0.{n}",
                "grouped_workqueues": [wq for wq in WQS if wq["group_id"] == n],
                "grouped_engines": [{"dev": f"engine0.{n}", "group_id": n}],
            }
            for n in range(4)
        ],
    }
]


def operating(_instance: Instance, _programs: Programs, _rounds: int) -> dict[str, Measured]:
    """On daemons of their own: a fresh one shows its memory, and one must let in more than a user usually may."""
    with _allowed(), Instance(f"bench-operating-{os.getpid()}") as instance:
        pids = [instance.pid, int(instance.stats()["irq"]["pid"])]
        time.sleep(SETTLE_S)
        found = {"rss": Measured([rss(pids[0]) / MIB], {"irq_mib": rss(pids[1]) / MIB})}
        found |= {"question": Measured([_question_us(instance)])}
        found |= {"load": Measured(*_loads_ms(instance))}
        found |= _connections(instance, pids)
    return found


@contextlib.contextmanager
def _allowed() -> Iterator[None]:
    """As many sessions of one user as are asked for here."""
    names = ("IDXDD_SESSIONS_MAX", "IDXDD_SESSIONS_PER_UID_MAX")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(2 * CONNECTIONS)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def rss(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _question_us(instance: Instance) -> float:
    """p50 of a small question over the control socket."""
    with control.connect(instance.socket) as connection:
        trips = []
        for _ in range(QUESTIONS):
            start = time.perf_counter()
            with contextlib.suppress(control.RequestError):  # the answer is a refusal, which takes as long
                connection.request("close", portal=1)
            trips.append((time.perf_counter() - start) * 1e6)
    return statistics.median(trips)


def _loads_ms(instance: Instance) -> tuple[list[float], dict[str, float]]:
    """A device with 8 WQs is disabled, configured and enabled again, whole."""
    with control.connect(instance.socket) as connection:
        took = []
        for _ in range(LOADS):
            start = time.perf_counter()
            answer, _ = connection.request("load_config", config=FULL, force=True, enable=True)
            took.append((time.perf_counter() - start) * 1e3)
            assert answer["applied"], answer
    return [statistics.median(took)], {"slowest_ms": max(took), "quickest_ms": min(took)}


def _connections(instance: Instance, pids: list[int]) -> dict[str, Measured]:
    """What a thousand sessions that do nothing cost: memory of both processes, and their CPU time in % of a core."""
    before = sum(map(rss, pids))
    with contextlib.ExitStack() as stack:
        start = time.perf_counter()
        for _ in range(CONNECTIONS):
            stack.enter_context(control.connect(instance.socket))
        connecting_s = time.perf_counter() - start
        time.sleep(SETTLE_S)
        cost = (sum(map(rss, pids)) - before) / MIB
        spent = sum(map(machine.threads_seconds, pids))
        began = time.monotonic()
        time.sleep(IDLE_S)
        percent = 100 * (sum(map(machine.threads_seconds, pids)) - spent) / (time.monotonic() - began)
    seen = {"connecting_ms_each": connecting_s / CONNECTIONS * 1e3}
    return {"connections": Measured([cost], seen), "connections-cpu": Measured([percent])}
