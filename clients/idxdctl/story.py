"""The story of one descriptor: what it said, how it went, what decided its end, and what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from idxdctl import explain, fields, statuses
from idxdctl.errors_told import told
from idxdctl.options import ask
from idxdctl.output import Failed
from idxdctl.trace_export import Clock
from idxdctl.trace_records import Owners, command, everything, facts, status_name, wq_name
from idxdd.control.client import ControlClient
from idxdd.control.errors import RequestError
from idxdd.control.exitcodes import ExitCode
from idxdd.control.tracerecord import CHECK_ROWS, TraceFlag, TraceRecord, Why, unpack
from idxdd.spec.codes import Opcode
from idxdd.spec.registers import SWERR

ERROR_NUMBER = re.compile(r"e([0-9]{1,15})")
SAME_ERROR_NS = 2_000_000_000
"""A report of the device and a record of a descriptor this far apart are not of the same event."""
MEMBERS_SHOWN_MAX = 8
NEAR_BYTES = 1 << 24

DECIDED: dict[int, tuple[str, str]] = {
    Why.CARRIED_OUT: ("the operation ran to its end, and this is what it found", ""),
    Why.MEMBER_FAILED: ("all members were processed; at least one did not end with 0x01", "ask why of the members"),
    Why.FENCE: (
        "a member with Fence stood behind one that failed: the rest was not begun",
        "ask why of the member that failed",
    ),
    Why.FAULT: ("an operand's page was not there", ""),
    Why.RECORD_FAULT: ("the completion record's page could not be written, and there was no event log to tell", ""),
    Why.RECORD_LOGGED: ("the completion record's page could not be written: the record went to the event log", ""),
    Why.DRAIN_LOGGED: ("page requests are off: the Drain's record goes to the event log", ""),
    Why.ABORTED: (
        "it was abandoned: its portal, WQ, PASID or device was stopped. No record was or will be written",
        "the daemon's log says who stopped what; reopen and submit it again",
    ),
    Why.RULE: ("a rule of fault injection gave this end", "`idxdctl inject list` shows the rules"),
    Why.CHECK: ("a check refused it, before anything was done", ""),
}
"""What it means, and what to do where the status does not say it."""


@dataclass
class Found:
    """One record, with what is known beside it; `related`: its batch's other records."""

    record: TraceRecord
    number: int | None
    related: list[TraceRecord]
    traced: bool


# ---- finding it ----------------------------------------------------------------------------------------------------------
def _last_errors(connection: ControlClient, last: int = 300) -> list[tuple[int, TraceRecord]]:
    answer = ask(connection, "errors", last=last)
    return list(zip(answer["numbers"], unpack(answer["records"]), strict=True))


def find(connection: ControlClient, what: str) -> Found:
    """last-error, eN, or an id of the trace. Failed: there is none such."""
    if what == "last-error":
        errors = _last_errors(connection, 1)
        if not errors:
            raise Failed("why: no descriptor has ended with an error since the daemon began")
        return _with_trace(connection, *errors[0])
    number = ERROR_NUMBER.fullmatch(what)
    if number:
        kept = dict(_last_errors(connection))
        if int(number[1]) not in kept:
            raise Failed(f"why: error {what} is not kept", hint=f"there is {_range(sorted(kept))}; `idxdctl errors` lists them")
        return _with_trace(connection, int(number[1]), kept[int(number[1])])
    if not what.isdecimal():
        raise Failed(f"why: {what!r:.40} is no descriptor", ExitCode.USAGE, hint="say last-error, eN, or an id of `trace show`")
    return _of_trace(connection, int(what))


def _range(numbers: list[int]) -> str:
    return f"e{numbers[0]} to e{numbers[-1]}" if numbers else "none"


def _with_trace(connection: ControlClient, number: int, record: TraceRecord) -> Found:
    if record.id:
        with contextlib.suppress(Failed, RequestError):
            found = _of_trace(connection, record.id)
            return Found(found.record, number, found.related, traced=True)
    return Found(record, number, [], traced=bool(record.id))


def _of_trace(connection: ControlClient, wanted: int) -> Found:
    records = list(everything(connection))
    for record in records:
        if record.id == wanted:
            related = [one for one in records if one.batch == wanted or (record.batch and one.id == record.batch)]
            return Found(record, None, related, traced=True)
    if not records:
        state = ask(connection, "trace")
        hint = "nothing was traced yet" if state["on"] else "`idxdctl trace on` before the program runs"
        raise Failed(f"why: no descriptor {wanted} in the trace", hint=hint)
    first, last = min(record.id for record in records), max(record.id for record in records)
    gone = "; older ones were overwritten" if wanted < first and ask(connection, "trace")["dropped"] else ""
    raise Failed(f"why: no descriptor {wanted} in the trace", hint=f"it has {first} to {last}{gone}")


# ---- the story -----------------------------------------------------------------------------------------------------------
def story(connection: ControlClient, socket: str | None, found: Found) -> dict[str, Any]:
    """Everything that is known of it, by name."""
    record = found.record
    owner = Owners(connection).of(record)
    descriptor = fields.as_descriptor(record.desc)
    told_ = statuses.told(statuses.parse_status(record.status)[0]) if record.status else None
    decided = DECIDED.get(record.why, ("", ""))
    facts_ = facts(record, owner)
    facts_["client"]["command"] = command(facts_["client"]["pid"])
    return {
        "error": found.number,
        "traced": found.traced,
        **facts_,
        "said": explain.decoded(descriptor),
        "decided": {"by": decided[0], **_check(record, socket)},
        "place": _places(connection, record),
        "told": _told(connection, record),
        "injected": _rule(connection, record.rule),
        "batch_records": [facts(one, owner) for one in found.related],
        "meaning": told_.meaning if told_ else "",
        "fix": _fix(record, decided[1], told_),
    }


def _check(record: TraceRecord, socket: str | None) -> dict[str, Any]:
    """The row that refused it, and what the reference model finds wrong with it on this WQ as it is now."""
    row = CHECK_ROWS.get(record.why)
    if row is None:
        return {}
    check = next(check for check in statuses.CHECKS if check.number == row)
    found: dict[str, Any] = {"check": row, "rule": check.rule, "fix": check.fix}
    with contextlib.suppress(Failed, RequestError, KeyError, ValueError):
        _, limits = explain.limits_of_wq(socket, wq_name(record.wq))
        descriptor = fields.as_descriptor(record.desc)
        in_batch = bool(record.flags & TraceFlag.MEMBER)
        answer = explain.answer_of(descriptor, limits, explain.Holes([], []), in_batch=in_batch)
        if answer.get("check") == row:
            found["here"] = answer["rule"]
    return found


def _places(connection: ControlClient, record: TraceRecord) -> dict[str, Any] | None:
    """Where the fault lay in its client's memory; None: there was none, or the client is gone."""
    if not record.fault_address:
        return None
    try:
        answer = ask(connection, "locate", portal=record.portal, at_ns=record.ended_ns, addresses=[record.fault_address])
    except RequestError as error:
        return {"text": error.text.rpartition(": ")[2]}
    place = answer["places"][0]
    return {
        **place,
        "agent": answer["agent"],
        "gone": answer["gone"],
        "text": _place_text(place, agent=answer["agent"], gone=answer["gone"]),
    }


def _place_text(place: dict[str, Any], *, agent: bool, gone: bool) -> str:
    address = place["address"]
    when = " when its portal was closed" if gone else ""
    if place["mapping"]:
        start, size = place["mapping"]["start"], place["mapping"]["size"]
        ends = f"{address - start} bytes from its start, {start + size - address} from its end"
        return f"inside {_mapping(place['mapping'])}{when}, {ends}"
    below, above = place["below"], place["above"]
    near = []
    if below and address - below["start"] - below["size"] < NEAR_BYTES:
        near.append(f"{address - below['start'] - below['size']} bytes behind {_mapping(below)}")
    if above and above["start"] - address < NEAR_BYTES:
        near.append(f"{above['start'] - address} bytes before {_mapping(above)}")
    reached = "its agent could not reach it" if agent else "it had no agent for other memory"
    return f"in no buffer of the client{when} ({' and '.join(near) or 'none is near'}); {reached}"


def _mapping(mapping: dict[str, Any]) -> str:
    name = "a channel's memory" if mapping["buffer"] is None else f"buffer {mapping['buffer']}"
    return f"{name} ({mapping['start']:#x} to {mapping['start'] + mapping['size']:#x})"


def _told(connection: ControlClient, record: TraceRecord) -> dict[str, Any]:
    """Who was told of its end."""
    completion = int.from_bytes(record.desc[8:16], "little")
    found: dict[str, Any] = {"record": bool(record.flags & TraceFlag.RECORD_WRITTEN), "record_address": completion}
    if not record.reported:
        return found
    with contextlib.suppress(RequestError):
        answer = ask(connection, "swerr", device=wq_name(record.wq).partition("/")[0])
        found["reported_in"] = _where(answer["history"], record)
    return found


def _where(history: Iterable[dict[str, Any]], record: TraceRecord) -> str | None:
    for entry in history:
        error = told(SWERR(int.from_bytes(entry["swerr"], "little")))
        near = abs(entry["at_ns"] - record.ended_ns) < SAME_ERROR_NS
        if near and (error["error"], error["pasid"], error["wq"]) == (record.reported, record.pasid, record.wq % 16):
            return str(entry["where"])
    return None


def _rule(connection: ControlClient, number: int) -> dict[str, Any] | None:
    """The rule's text, if it is in force still and we may ask."""
    if not number:
        return None
    with contextlib.suppress(RequestError):
        after, more = 0, True
        while more:
            answer = ask(connection, "inject_list", **({"after": after} if after else {}))
            for rule in answer["rules"]:
                after = rule["id"]
                if after == number:
                    return {"id": number, "rule": rule["rule"]}
            more = bool(answer.get("more")) and bool(answer["rules"])
    return {"id": number, "rule": None}


def _fix(record: TraceRecord, decided: str, told_: statuses.Told | None) -> str:
    row = CHECK_ROWS.get(record.why)
    if row is not None:
        return next(check.fix for check in statuses.CHECKS if check.number == row)
    return decided or (told_.fix if told_ else "")


# ---- as text -------------------------------------------------------------------------------------------------------------
def text(found: dict[str, Any], record: TraceRecord) -> str:
    """The story for people."""
    rows: list[tuple[str, str]] = [
        ("descriptor", _descriptor_text(found)),
        ("flags", " | ".join(found["said"]["flags"]) or "none"),
    ]
    rows += [
        (name, value)
        for name, value in found["said"]["fields"].items()
        if value != "0" or name in ("xfer_size", "completion_addr")
    ]
    rows += [("when", part) for part in _stations(found, record)]
    rows += _decision(found)
    rows += _tellings(found)
    if found["injected"]:
        rule = found["injected"]["rule"] or "not in force any more"
        rows.append(("fault rule", f"{found['injected']['id']}: {rule}"))
    rows += [("batch", _member_text(one)) for one in _worth_telling(found["batch_records"])]
    if found["fix"]:
        rows.append(("fix", found["fix"]))
    return "\n".join([_headline(found, record), explain.columns(_without_repeats(rows), "  ")])


def _without_repeats(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [("" if at and rows[at - 1][0] == name else name, value) for at, (name, value) in enumerate(rows)]


def _headline(found: dict[str, Any], record: TraceRecord) -> str:
    name = " ".join(
        word
        for word in (
            f"error e{found['error']}" if found["error"] is not None else "",
            f"descriptor {found['id']}" if found["id"] else "",
        )
        if word
    )
    size = f" of {found['size']} bytes" if found["size"] and record.desc[7] != Opcode.BATCH else ""
    end = f"ended with {record.status:#04x} {status_name(record.status)}" if record.status else "was aborted"
    if record.reported and record.reported != statuses.parse_status(record.status)[0]:
        end += f", reported as {record.reported:#04x} {statuses.name_of(record.reported)}"
    return f"{name}: {found['op']}{size} on {found['wq']} {end}"


def _descriptor_text(found: dict[str, Any]) -> str:
    client = found["client"]
    who = f"pid {client['pid']} ({client['user']})" if client["pid"] else "a client that is not known any more"
    who += f" {client['command']}" if client["command"] else ""
    member = f", member {found['member']} of batch {found['batch']}" if found["batch"] else ""
    via = ", submitted by idxdd-irq for it" if client["irq"] else ""
    return f"{found['op']} ({found['opcode']:#04x}) of {who}, PASID {client['pasid']}, portal {found['portal']}{member}{via}"


def _stations(found: dict[str, Any], record: TraceRecord) -> list[str]:
    clock = Clock()
    if not record.accepted_ns and not record.dispatched_ns:
        return [f"{clock.of(record.ended_ns)} ended; the way there is known only while `idxdctl trace on`"]
    names = ("accepted", "dispatched", "first fault", "record written" if record.flags & TraceFlag.RECORD_WRITTEN else "ended",
             "interrupt")  # fmt: skip
    lines = []
    before_ns = 0
    for name, at_ns in zip(names, record[2:7], strict=True):
        if at_ns:
            after = f"  +{(at_ns - before_ns) / 1e3:.1f} µs" if before_ns else ""
            lines.append(f"{clock.of(at_ns)} {name}{f' by engine {record.engine}' if name == 'dispatched' else ''}{after}")
            before_ns = at_ns
    return lines


def _decision(found: dict[str, Any]) -> list[tuple[str, str]]:
    decided = found["decided"]
    rows = []
    if found["status"] not in (0x00, 0x01) and "check" not in decided:
        rows.append(("status", f"{found['status']:#04x} {found['status_name']}: {found['meaning']}"))
    if "check" in decided:
        rows.append(("why", f"check {decided['check']} failed: {decided['rule']}"))
        if "here" in decided:
            rows.append(("why", f"here: {decided['here']}"))
    elif decided["by"]:
        rows.append(("why", decided["by"]))
    if found["invalid_flags"]:
        rows.append(("why", f"the flags {' | '.join(found['invalid_flags'])}"))
    if found["fault"]:
        fault = found["fault"]
        rows.append(("fault", f"{fault['access']} of {fault['operand']} at {fault['address']:#x}"))
    if found["place"]:
        rows.append(("fault", found["place"]["text"]))
    if found["bytes_completed"] and found["status"] not in (0x01, 0x02):
        rows.append(("completed", f"{found['bytes_completed']} {'members' if found['op'] == 'batch' else 'bytes'} before that"))
    return rows


def _tellings(found: dict[str, Any]) -> list[tuple[str, str]]:
    told_ = found["told"]
    rows = []
    if told_["record"]:
        rows.append(("told", f"in its completion record at {told_['record_address']:#x}"))
    if found["reported"]:
        where = {"nowhere": "nobody: SWERR was taken by an earlier error", None: "event log or SWERR"}
        place = told_.get("reported_in")
        rows.append(("told", f"{where.get(place, f'in the {place}')} as {found['reported']:#04x}"))
    if not rows and found["status"]:
        rows.append(("told", "nobody: it asked for no record"))
    return rows


def _worth_telling(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bad = [one for one in records if one["status"] not in (0x01, 0x02) or one["member"] is None]
    return bad[:MEMBERS_SHOWN_MAX]


def _member_text(one: dict[str, Any]) -> str:
    name = "the batch itself" if one["member"] is None else f"member {one['member']}"
    return f"{name}: descriptor {one['id']}, {one['op']}, {one['status_name']} ({one['why']})"
