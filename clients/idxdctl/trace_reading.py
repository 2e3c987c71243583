"""Reading a trace through one connection: all of it, the newest, what came since; each record with its client."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from idxdctl.accfg import find_wq
from idxdctl.options import ask
from idxdctl.trace_records import Chosen, Owners, everything, fetch
from idxdd.control.client import ControlClient
from idxdd.control.tracerecord import TraceRecord

Owned = tuple[TraceRecord, dict[str, Any] | None]


class Reader:
    """What a connection has read so far, and who is who."""

    def __init__(self, connection: ControlClient, chosen: Chosen) -> None:
        self._connection = connection
        self._chosen = chosen
        self._owners = Owners(connection)
        self._next = 0
        if chosen.wqs:
            devices = ask(connection, "topology")["devices"]
            for name in chosen.wqs:
                find_wq(devices, name)

    def state(self) -> dict[str, Any]:
        """on, size, kept, dropped."""
        facts_ = ask(self._connection, "trace")
        return {key: facts_[key] for key in ("on", "size", "kept", "dropped")}

    def all(self) -> Iterator[Owned]:
        """Everything that is kept and wanted, oldest first."""
        page = fetch(self._connection, position=0)
        self._next = page.end
        return self._wanted(everything(self._connection))

    def newest(self, count: int) -> Iterable[Owned]:
        """The last `count` of those."""
        return deque(self.all(), maxlen=count)

    def more(self) -> tuple[list[Owned], int]:
        """What came since; how many were lost."""
        page = fetch(self._connection, position=self._next)
        lost = page.position - self._next if page.position > self._next else 0
        self._next = page.position + len(page.records)  # a new trace counts from 0 again
        return list(self._wanted(page.records)), lost

    def _wanted(self, records: Iterable[TraceRecord]) -> Iterator[Owned]:
        refreshed = False
        for record in records:
            owner = self._owners.of(record)
            if owner is None and not refreshed:
                refreshed = True
                self._owners.refresh()
                owner = self._owners.of(record)
            if self._chosen.wants(record, owner):
                yield record, owner
