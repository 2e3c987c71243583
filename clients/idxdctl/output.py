"""Answers as text or JSON, and the one line that a command fails with. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from idxdd.control.exitcodes import ExitCode

SCHEMA = 1
"""Of everything --json prints but `list`, which is accel-config's; it changes when a key changes its meaning or goes."""


class Failed(Exception):
    """A command cannot do what it was asked; the text is its last line, `hint` what to do about it."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.FAILED, *, hint: str = "") -> None:
        super().__init__(f"{text}; {hint}" if hint else text)
        self.exit_code = exit_code


def print_json(command: str, facts: dict[str, Any]) -> None:
    """One JSON object: schema version, command, facts."""
    print(json.dumps({"schema": SCHEMA, "command": command, **facts}, indent=2))


def print_accel_config(devices: list[dict[str, Any]]) -> None:
    """As accel-config prints its list: an array, two blanks deep, no blank after a colon."""
    print(accel_config_text(devices), end="")


def accel_config_text(devices: list[dict[str, Any]]) -> str:
    """The text of a configuration file."""
    return json.dumps(devices, indent=2, separators=(",", ":")) + "\n"


def say(text: str) -> None:
    """A line for people, where it does not mix with the answer."""
    print(" ".join(text.split()), file=sys.stderr)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """Columns wide enough; the first `left` flush left, the others right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def colour() -> bool:
    """NO_COLOR and a terminal decide."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
