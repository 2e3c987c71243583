"""Trace records as facts: fetched page by page, with the client they belong to, decoded, and chosen by what people ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from idxdctl import statuses
from idxdctl.fields import flag_names
from idxdctl.observe import command_of, user_of
from idxdctl.options import ask
from idxdctl.output import Failed
from idxdd.control.client import ControlClient
from idxdd.control.exitcodes import ExitCode
from idxdd.control.tracerecord import CHECK_ROWS, NO_VECTOR, TraceFlag, TraceRecord, Why, unpack
from idxdd.spec.codes import Opcode, Operand

WQS_PER_DEVICE = 16
OPEN = 0


class Page(NamedTuple):
    """One answer: records from `position` on; the newest is before `end`."""

    position: int
    end: int
    records: list[TraceRecord]
    facts: dict[str, Any]


def fetch(connection: ControlClient, **what: int) -> Page:
    """`position` or `last`: a page of the trace."""
    answer = ask(connection, "trace", **what)
    raw: bytes = answer.pop("records")
    return Page(answer.pop("position"), answer.pop("end"), list(unpack(raw)), answer)


def everything(connection: ControlClient) -> Iterator[TraceRecord]:
    """All that is kept when the reading begins, oldest first."""
    page = fetch(connection, position=0)
    end = page.end
    while page.records:
        yield from page.records[: end - page.position]
        if page.position + len(page.records) >= end:
            return
        page = fetch(connection, position=page.position + len(page.records))


# ---- whose ---------------------------------------------------------------------------------------------------------------
class Owners:
    """Who had which portal when."""

    def __init__(self, connection: ControlClient) -> None:
        self._connection = connection
        self._by_portal: dict[int, list[dict[str, Any]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Ask again: portals were opened meanwhile."""
        known: list[dict[str, Any]] = []
        more = True
        while more:
            answer = ask(self._connection, "owners", after=len(known))
            known += answer["owners"]
            more = answer["more"] and answer["owners"]
        self._by_portal.clear()
        for owner in known:
            self._by_portal.setdefault(owner["portal"], []).append(owner)

    def of(self, record: TraceRecord) -> dict[str, Any] | None:
        """Its client; None: the daemon does not know any more."""
        at_ns = record.accepted_ns or record.ended_ns
        for owner in self._by_portal.get(record.portal, []):
            if owner["opened_ns"] <= at_ns and (owner["closed_ns"] == OPEN or at_ns <= owner["closed_ns"]):
                return owner
        return None


# ---- decoded -------------------------------------------------------------------------------------------------------------
def wq_name(wq: int) -> str:
    """Of a global index."""
    device, number = divmod(wq, WQS_PER_DEVICE)
    return f"dsa{device}/wq{device}.{number}"


def op_name(opcode: int) -> str:
    """As the CLI writes operations."""
    return Opcode(opcode).name.lower() if opcode in Opcode._value2member_map_ else f"opcode {opcode:#04x}"


def status_name(raw: int) -> str:
    """A status byte by name, `aborted` where there is none."""
    if not raw:
        return "aborted"
    code, write = statuses.parse_status(raw)
    return statuses.name_of(code) + (" (write)" if write else "")


def why_name(why: int) -> str:
    """enum idxdd_why in words."""
    return Why(why).name.lower().replace("_", " ") if why in Why._value2member_map_ else f"why {why}"


def facts(record: TraceRecord, owner: dict[str, Any] | None) -> dict[str, Any]:
    """One record by name; times in ns of CLOCK_MONOTONIC (null: did not happen), spans in µs."""
    opcode, flags = record.desc[7], int.from_bytes(record.desc[4:7], "little")
    found: dict[str, Any] = {
        "id": record.id,
        "batch": record.batch or None,
        "member": record.member if record.flags & TraceFlag.MEMBER else None,
        "wq": wq_name(record.wq),
        "engine": record.engine,
        "portal": record.portal,
        "client": client_of(record, owner),
        "op": op_name(opcode),
        "opcode": opcode,
        "flags": flag_names(flags, opcode),
        "size": int.from_bytes(record.desc[32:36], "little"),
        "status": record.status,
        "status_name": status_name(record.status),
        "why": why_name(record.why),
        "check": CHECK_ROWS.get(record.why),
        "reported": record.reported or None,
        "bytes_completed": record.bytes_completed,
        "fault": fault_of(record),
        "invalid_flags": flag_names(record.invalid_flags, opcode),
        "rule": record.rule or None,
        "vector": None if record.vector == NO_VECTOR else record.vector,
        "record_written": bool(record.flags & TraceFlag.RECORD_WRITTEN),
        "agent": bool(record.flags & TraceFlag.AGENT),
        "times_ns": {name[:-3]: value or None for name, value in zip(TIMES, record[2:7], strict=True)},
        **spans(record),
        "descriptor": record.desc.hex(),
        "record": record.record.hex(),
    }
    return found


TIMES = ("accepted_ns", "dispatched_ns", "first_fault_ns", "written_ns", "interrupt_ns")


def client_of(record: TraceRecord, owner: dict[str, Any] | None) -> dict[str, Any]:
    """Process and user as far as they are known."""
    if owner is None:
        return {"pid": None, "uid": None, "user": None, "pasid": record.pasid, "irq": False}
    return {
        "pid": owner["pid"],
        "uid": owner["uid"],
        "user": user_of(owner["uid"]),
        "pasid": record.pasid,
        "irq": owner["irq"],
    }


def command(pid: int | None) -> str:
    """Of a process that lives."""
    return command_of(pid) if pid else ""


def fault_of(record: TraceRecord) -> dict[str, Any] | None:
    """The first page fault."""
    if not record.first_fault_ns and not record.fault_address:
        return None
    operand = Operand(record.operand).name.lower() if record.operand in Operand._value2member_map_ else str(record.operand)
    access = "write" if record.flags & TraceFlag.FAULT_WRITE else "read"
    return {"address": record.fault_address, "operand": operand, "access": access}


def spans(record: TraceRecord) -> dict[str, float | None]:
    """How long it waited, ran, and how long after its record it interrupted."""
    _, accepted, dispatched, _, written, interrupt = record[1:7]
    return {
        "queued_us": _span(accepted, dispatched),
        "ran_us": _span(dispatched, written or record.ended_ns),
        "interrupt_us": _span(written, interrupt),
        "total_us": _span(accepted or dispatched, record.ended_ns),
    }


def _span(begin_ns: int, end_ns: int) -> float | None:
    return round((end_ns - begin_ns) / 1e3, 3) if begin_ns and end_ns >= begin_ns else None


# ---- chosen --------------------------------------------------------------------------------------------------------------
@dataclass
class Chosen:
    """Which records are wanted; of each list any, of all lists all."""

    wqs: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tests: list[Callable[[TraceRecord, dict[str, Any] | None], bool]] = []
        if self.wqs:
            self._tests.append(lambda record, _: wq_name(record.wq) in self.wqs)
        if self.clients:
            wanted = [_client(text) for text in self.clients]
            self._tests.append(lambda record, owner: any(test(record, owner) for test in wanted))
        if self.statuses:
            ends = [_status(text) for text in self.statuses]
            self._tests.append(lambda record, _: any(test(record.status) for test in ends))
        if self.ops:
            from idxdctl.fields import parse_opcode

            opcodes = {parse_opcode(text) for text in self.ops}
            self._tests.append(lambda record, _: record.desc[7] in opcodes)

    def wants(self, record: TraceRecord, owner: dict[str, Any] | None) -> bool:
        """Is it one of those?"""
        return all(test(record, owner) for test in self._tests)


def _client(text: str) -> Callable[[TraceRecord, dict[str, Any] | None], bool]:
    word, _, number = text.rpartition(":")
    if word not in ("", "pid", "pasid") or not number.isdecimal():
        raise Failed(f"trace: {text!r:.40} is neither a pid nor pasid:N", ExitCode.USAGE)
    if word == "pasid":
        return lambda record, _: record.pasid == int(number)
    return lambda _, owner: owner is not None and owner["pid"] == int(number)


def _status(text: str) -> Callable[[int], bool]:
    good = (0x01, 0x02)
    words: dict[str, Callable[[int], bool]] = {
        "ok": lambda raw: raw in good,
        "error": lambda raw: raw not in good,
        "aborted": lambda raw: not raw,
    }
    if text.lower() in words:
        return words[text.lower()]
    for code in range(0x100):
        if statuses.name_of(code) == text.upper():
            return lambda raw: bool(raw) and statuses.parse_status(raw)[0] == code
    try:
        wanted = int(text, 0)
    except ValueError:
        raise Failed(
            f"trace: {text!r:.40} is no status", ExitCode.USAGE, hint="ok, error, aborted, 0x13, XFER_ERANGE"
        ) from None
    return lambda raw: wanted in (raw, statuses.parse_status(raw)[0]) and (bool(raw) or not wanted)
