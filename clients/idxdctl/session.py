"""What commands that send descriptors need: a connection and a queue of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from idxd_client import Connection, KernelChannel, WorkQueue, connect


@contextlib.contextmanager
def queue_of(socket: str | None, wq: str) -> Iterator[tuple[Connection, WorkQueue | KernelChannel]]:
    """Connect and open one WQ."""
    with connect(socket) as connection, connection.open(wq) as queue:
        yield connection, queue
