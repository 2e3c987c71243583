"""What the numbers were measured on, and what a process has used of it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

NS = 1_000_000_000


def facts() -> dict[str, Any]:
    """Cores that we may use, CPU model, kernel, Python, load average now."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": load(),
    }


def load() -> list[float]:
    """Load average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def cpu_model(cpuinfo: str) -> str:
    """The first "model name" of /proc/cpuinfo, else the architecture."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far; in steps of a clock tick, 10 ms mostly."""
    return stat_seconds(Path(f"/proc/{pid}/stat").read_text(), os.sysconf("SC_CLK_TCK"))


def stat_seconds(stat: str, ticks_per_second: int) -> float:
    """utime + stime of a line of /proc/PID/stat: its fields 14 and 15, counted behind the name, which may hold anything."""
    after_name = stat.rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / ticks_per_second


def threads_seconds(pid: int) -> float:
    """As cpu_seconds, by the scheduler's own clock in ns; without it by ticks. Threads that have ended are not in it."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / NS
    except FileNotFoundError:
        return cpu_seconds(pid)
