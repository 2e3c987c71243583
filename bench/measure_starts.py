"""Row start: how long a user waits for the daemon and for an answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.instance import RUN_S, BenchFailed, Instance, Programs, environment
from bench.samples import Measured

STARTS = 5


def starts(instance: Instance, _programs: Programs, _rounds: int) -> dict[str, Measured]:
    """Wall time in seconds: a daemon of its own each time; `idxdctl list` as a user types it; a bare Python for comparison."""
    serve, listed, bare = [], [], []
    for number in range(STARTS):
        with Instance(f"bench-{os.getpid()}-{number}") as another:
            serve.append(another.ready_s)
        listed.append(wall_s(str(Path(sys.executable).parent / "idxdctl"), "list", socket=instance.socket))
        bare.append(wall_s(sys.executable, "-c", "pass", socket=""))
    seen = {"bare_python_s": sorted(bare)[STARTS // 2]}
    return {"serve": Measured(serve, seen), "list": Measured(listed, seen)}


def wall_s(*command: str, socket: str) -> float:
    """From start to end of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment(socket), capture_output=True, text=True, timeout=RUN_S, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise BenchFailed(f"{command[0]}: {done.stderr.strip()}")
    return took
