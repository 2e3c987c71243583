"""Outcomes as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.samples import Outcome

SCHEMA = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""

HEADER = ("row", "what", "measured", "rounds", "target", "")
_RIGHT = ("measured", "rounds", "target")


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(outcomes: Sequence[Outcome]) -> str:
    """One line an outcome: median, lowest and highest round, target, verdict."""
    lines = [HEADER, *(_cells(outcome) for outcome in outcomes)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(cells, widths, HEADER, strict=True)
    return "  ".join(cell.rjust(width) if name in _RIGHT else cell.ljust(width) for cell, width, name in columns).rstrip()


def _cells(outcome: Outcome) -> tuple[str, ...]:
    row, measured, value = outcome.row, outcome.measured, outcome.value
    sign = {"more": "≥", "less": "≤"}[row.better]
    target = "" if row.target is None else f"{sign} {number(row.target)} {row.unit}"
    if measured is None or value is None:
        return row.name, row.what, "", "", target, f"{outcome.verdict}: {outcome.failure}"
    rounds = f"{number(min(measured.samples))} – {number(max(measured.samples))}" if len(measured.samples) > 1 else ""
    return row.name, row.what, f"{number(value)} {row.unit}", rounds, target, outcome.verdict


def facts(outcomes: Sequence[Outcome], machine: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for JSON: schema, machine, run, rows."""
    return {"schema": SCHEMA, "machine": dict(machine), "run": dict(run), "rows": [_facts(outcome) for outcome in outcomes]}


def _facts(outcome: Outcome) -> dict[str, Any]:
    row, measured = outcome.row, outcome.measured
    return {
        "row": row.name,
        "group": row.group,
        "what": row.what,
        "unit": row.unit,
        "better": row.better,
        "target": row.target,
        "value": outcome.value,
        "samples": list(measured.samples) if measured is not None else [],
        "details": dict(measured.details) if measured is not None else {},
        "verdict": outcome.verdict,
        "failure": outcome.failure,
    }


def dumps(facts: Mapping[str, Any]) -> str:
    """As it is written to a file; a number that is not one is an error, not "NaN"."""
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"
