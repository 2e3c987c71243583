"""What a daemon holds: memory, descriptors and mappings of its two processes, and its names in /dev/shm, watched for growth."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

WARM_UP: Final = 0.2
"""Of the samples: what is allocated once, early, is no growth."""
_SHM: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Held:
    """One process at one moment."""

    at_s: float
    anonymous_kib: int
    """RssAnon: its own memory, without what it shares."""
    resident_kib: int
    descriptors: int
    mappings: int


def held(pid: int, at_s: float) -> Held | None:
    """None: the process is gone, or not ours to look at."""
    with contextlib.suppress(OSError, LookupError):  # a zombie has no sizes
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        sizes = [int(status[name].split()[0]) for name in ("RssAnon", "VmRSS")]
        with open(f"/proc/{pid}/maps", "rb") as maps:
            mappings = sum(1 for _ in maps)
        return Held(at_s, sizes[0], sizes[1], len(os.listdir(f"/proc/{pid}/fd")), mappings)
    return None


def names_of(instance: str) -> int:
    """Segments and semaphores of an instance, whoever runs it."""
    mine = f".{instance}."
    with contextlib.suppress(OSError):
        return sum(1 for name in os.listdir(_SHM) if mine in name)
    return 0


@dataclass
class Growth:
    """Samples of one process, by its pid: a successor starts anew."""

    pid: int
    samples: list[Held] = field(default_factory=list)

    def look(self, at_s: float) -> None:
        """One more."""
        sample = held(self.pid, at_s)
        if sample is not None:
            self.samples.append(sample)

    def facts(self) -> dict[str, Any]:
        """First and last after warming up, and the most; means of memory by quarters of the time, which tell what levels off
        from what grows; and what it gained an hour, by a line through all of these."""
        if not self.samples:
            return {"pid": self.pid, "samples": 0}
        kept = self.samples[int(len(self.samples) * WARM_UP) :]
        most = {name: max(getattr(sample, name) for sample in kept) for name in ("anonymous_kib", "descriptors", "mappings")}
        return {
            "pid": self.pid,
            "samples": len(kept),
            "seconds": round(kept[-1].at_s - kept[0].at_s, 1),
            "first": asdict(kept[0]),
            "last": asdict(kept[-1]),
            "most": most,
            "quarters_kib": quarters([sample.anonymous_kib for sample in kept]),
            "kib_per_hour": round(3600 * slope([(sample.at_s, sample.anonymous_kib) for sample in kept])),
        }

    def line(self, name: str) -> str:
        """For people."""
        facts = self.facts()
        if not facts["samples"]:
            return f"{name} {self.pid}: not to be seen from here"
        first, last = facts["first"], facts["last"]
        changes = ", ".join(
            f"{what} {first[key]} -> {last[key]}"
            for what, key in (("own memory KiB", "anonymous_kib"), ("descriptors", "descriptors"), ("mappings", "mappings"))
        )
        return f"{name} {self.pid}: {changes} in {facts['seconds']:g} s ({facts['samples']} looks)"


def quarters(values: list[int]) -> list[int]:
    """The mean of each; fewer than four values: none."""
    if len(values) < 4:
        return []
    cuts = [len(values) * part // 4 for part in range(5)]
    return [round(sum(values[start:end]) / (end - start)) for start, end in pairwise(cuts)]


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line with the least squares; 0 for fewer than three points."""
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
