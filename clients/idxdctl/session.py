"""What every command needs: a connection, a queue of it, and answers as text or JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from idxd_client import Connection, KernelChannel, WorkQueue, connect

SCHEMA = 1
"""Of everything --json prints; it changes when a key changes its meaning or goes."""


@contextlib.contextmanager
def queue_of(socket: str | None, wq: str) -> Iterator[tuple[Connection, WorkQueue | KernelChannel]]:
    """Connect and open one WQ."""
    with connect(socket) as connection, connection.open(wq) as queue:
        yield connection, queue


def print_json(command: str, facts: dict[str, Any]) -> None:
    """One JSON object: schema version, command, facts."""
    print(json.dumps({"schema": SCHEMA, "command": command, **facts}, indent=2))


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
