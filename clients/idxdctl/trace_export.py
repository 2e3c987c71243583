"""The trace in other programs' forms: one line a record, JSON lines, and Chrome's trace events (Perfetto opens them)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from idxdctl import statuses
from idxdctl.trace_records import command, facts, op_name, status_name, why_name, wq_name
from idxdd.control.tracerecord import TraceFlag, TraceRecord

Owned = tuple[TraceRecord, dict[str, Any] | None]

COLUMNS = f"{'id':>9} {'time':<15} {'wq':<10} {'pid':>7} {'operation':<14} {'size':>9} {'queued':>9} {'ran':>9}  status"


# ---- text --------------------------------------------------------------------------------------------------------------
class Clock:
    """CLOCK_MONOTONIC as time of day, by the difference of the two now."""

    def __init__(self) -> None:
        self._difference_ns = time.time_ns() - time.monotonic_ns()

    def of(self, at_ns: int) -> str:
        """Hours, minutes, seconds, microseconds."""
        return datetime.fromtimestamp((at_ns + self._difference_ns) / 1e9).strftime("%H:%M:%S.%f")


def line(record: TraceRecord, owner: dict[str, Any] | None, clock: Clock) -> str:
    """One record for people; times in µs."""
    found = facts(record, owner)
    name = f"  [{record.member}] {found['op']}" if record.flags & TraceFlag.MEMBER else found["op"]
    begin = clock.of(record.accepted_ns or record.dispatched_ns or record.ended_ns)
    pid = found["client"]["pid"] or "-"
    head = f"{record.id:>9} {begin:<15} {found['wq']:<10} {pid:>7} {name:<14} {found['size']:>9}"
    return f"{head} {_us(found['queued_us']):>9} {_us(found['ran_us']):>9}  {_end(record, found)}"


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _end(record: TraceRecord, found: dict[str, Any]) -> str:
    text: str = found["status_name"]
    if record.reported and record.reported != statuses.parse_status(record.status)[0]:
        text += f", {statuses.name_of(record.reported)} reported"
    if found["fault"]:
        text += f", {found['fault']['access']} of {found['fault']['operand']} at {found['fault']['address']:#x}"
    if record.status not in (0x01, 0x02) or record.rule:
        text += f" ({why_name(record.why)}{f', rule {record.rule}' if record.rule else ''})"
    if found["interrupt_us"] is not None:
        text += f", interrupt +{found['interrupt_us']:.1f}"
    return text


def text(records: Iterable[Owned]) -> Iterator[str]:
    """A header, then a line each."""
    clock = Clock()
    yield COLUMNS
    for record, owner in records:
        yield line(record, owner, clock)


def jsonl(records: Iterable[Owned]) -> Iterator[str]:
    """One JSON object a line."""
    for record, owner in records:
        yield json.dumps(facts(record, owner))


# ---- Chrome ------------------------------------------------------------------------------------------------------------
UNKNOWN_PID = 0
LANES = 1000
"""Threads of one WQ: descriptors that overlap in time lie in lanes beside each other."""


class _Lanes:
    """Puts intervals of one WQ into the first lane that is free."""

    def __init__(self) -> None:
        self._free_ns: list[int] = []

    def take(self, begin_ns: int, end_ns: int) -> int:
        for lane, free_ns in enumerate(self._free_ns):
            if free_ns <= begin_ns:
                self._free_ns[lane] = end_ns
                return lane
        self._free_ns.append(end_ns)
        return len(self._free_ns) - 1


def chrome(records: Iterable[Owned], about: dict[str, Any]) -> Iterator[str]:
    """A JSON object with traceEvents: a process is a client, a thread a lane of a WQ; a descriptor is a complete event around
    one for its wait in the queue and one for its execution; faults and interrupts are instants. Times in µs from the first."""
    owned = sorted(records, key=lambda pair: _begin(pair[0]))
    base_ns = _begin(owned[0][0]) if owned else 0
    lanes: dict[tuple[int, int], _Lanes] = {}
    named: set[tuple[int, int]] = set()
    yield json.dumps({"displayTimeUnit": "ns", "otherData": {**about, "base_ns": base_ns}})[:-1] + ', "traceEvents": ['
    first = True
    for record, owner in owned:
        pid = owner["pid"] if owner else UNKNOWN_PID
        lane = lanes.setdefault((pid, record.wq), _Lanes()).take(_begin(record), record.ended_ns)
        tid = record.wq * LANES + lane + 1
        events = _names(pid, tid, lane, record, owner, named) + _events(record, owner, pid, tid, base_ns)
        yield ("" if first else ",\n") + ",\n".join(json.dumps(event) for event in events)
        first = False
    yield "]}"


def _begin(record: TraceRecord) -> int:
    if record.flags & TraceFlag.MEMBER:
        return record.dispatched_ns or record.ended_ns
    return record.accepted_ns or record.dispatched_ns or record.ended_ns


def _names(
    pid: int, tid: int, lane: int, record: TraceRecord, owner: dict[str, Any] | None, named: set[tuple[int, int]]
) -> list[dict[str, Any]]:
    events = []
    if (pid, 0) not in named:
        named.add((pid, 0))
        name = "clients that are not known any more" if owner is None else f"client {pid} {command(pid)}".strip()
        events.append({"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": name}})
    if (pid, tid) not in named:
        named.add((pid, tid))
        name = wq_name(record.wq) + (f" +{lane}" if lane else "")
        events.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}})
    return events


def _events(record: TraceRecord, owner: dict[str, Any] | None, pid: int, tid: int, base_ns: int) -> list[dict[str, Any]]:
    found = facts(record, owner)
    place = {"pid": pid, "tid": tid}
    name = op_name(record.desc[7])
    arguments = {key: found[key] for key in ("id", "batch", "size", "flags", "why", "bytes_completed", "rule", "engine")}
    arguments["status"] = f"{record.status:#04x} {status_name(record.status)}"
    if found["fault"]:
        arguments["fault"] = f"{found['fault']['access']} at {found['fault']['address']:#x}"
    whole = _complete(f"{name} {found['size']}", "descriptor", _begin(record), record.ended_ns, base_ns)
    events = [whole | place | {"args": arguments}]
    if record.dispatched_ns and not record.flags & TraceFlag.MEMBER:
        events.append(_complete("queued", "queued", _begin(record), record.dispatched_ns, base_ns) | place)
    if record.dispatched_ns:
        end = record.written_ns or record.ended_ns
        events.append(_complete("executing", "executing", record.dispatched_ns, end, base_ns) | place)
    for what, at_ns in (("fault", record.first_fault_ns), ("interrupt", record.interrupt_ns)):
        if at_ns:
            events.append({"name": what, "cat": what, "ph": "i", "s": "t", "ts": (at_ns - base_ns) / 1e3} | place)
    return events


def _complete(name: str, category: str, begin_ns: int, end_ns: int, base_ns: int) -> dict[str, Any]:
    duration_us = max(0, end_ns - begin_ns) / 1e3
    return {"name": name, "cat": category, "ph": "X", "ts": (begin_ns - base_ns) / 1e3, "dur": duration_us}
