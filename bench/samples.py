"""What is measured and what came out: rows with targets, samples of several rounds, medians, verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "short", "failed", "skipped", "-"]


@dataclass(frozen=True)
class Row:
    """One number. `better` says on which side of the target it is good; a row without a target is only reported."""

    name: str
    group: str
    what: str
    unit: str
    better: Literal["more", "less"] = "more"
    target: float | None = None

    def reached(self, value: float) -> Verdict:
        """Is `value` as good as the target?"""
        if self.target is None:
            return "-"
        return "ok" if (value >= self.target if self.better == "more" else value <= self.target) else "short"


@dataclass(frozen=True)
class Measured:
    """One sample a round, in the row's unit, and what else was seen."""

    samples: Sequence[float]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A row and what came out; `failure` when it could not be measured."""

    row: Row
    measured: Measured | None
    failure: str = ""
    skipped: bool = False
    """What it is measured against is not installed."""

    @property
    def value(self) -> float | None:
        """The median of the rounds."""
        return statistics.median(self.measured.samples) if self.measured is not None else None

    @property
    def verdict(self) -> Verdict:
        value = self.value
        if value is None:
            return "skipped" if self.skipped else "failed"
        return self.row.reached(value)


def ratios(measured: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Round by round: what is divided was measured at the same time. ValueError: not as many, or a baseline of nothing."""
    if any(base <= 0 for base in baseline):
        raise ValueError("a baseline must be positive")
    return [mine / base for mine, base in zip(measured, baseline, strict=True)]


def details(**measured: Sequence[float]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(samples) for name, samples in measured.items()}


def slowest_share(counts: Sequence[int]) -> float:
    """What the slowest got, against the mean; 0 when nobody got anything."""
    return min(counts) / (sum(counts) / len(counts)) if sum(counts) else 0.0


def select(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """The rows of these names or groups, in the order of `rows`; all of them if none is named. ValueError names a stranger."""
    known = {row.name for row in rows} | {row.group for row in rows}
    strangers = [name for name in wanted if name not in known]
    if strangers:
        groups = ", ".join(dict.fromkeys(row.group for row in rows))
        raise ValueError(f"no row {', '.join(strangers)}; groups are {groups}")
    return [row for row in rows if not wanted or row.name in wanted or row.group in wanted]
