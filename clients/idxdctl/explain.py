"""explain: what a descriptor says, whether the device would take it, which rule refuses it, and what a record means.

The reference model checks, in the device's order; nothing is submitted. Memory is taken to be there, but for --unmapped and
--read-only, so that a page fault can be asked about, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idxdctl import fields
from idxdctl.options import Json, Socket, ask
from idxdctl.output import Failed, print_json, say
from idxdctl.sizes import parse_size
from idxdd.control.exitcodes import ExitCode

if TYPE_CHECKING:
    from idxdd.spec.records import Descriptor
    from idxdd.testing.reference import Limits, Outcome

ASSUMED_RECORD = 0x7FFF_0000_0000
EXECUTED_BYTES_MAX = 1 << 20
"""What is carried out by the model to find a page fault; it is slow on purpose."""
PAGE_BYTES = 4096


def explain(
    descriptor: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HEX | FIELD=VALUE...]", help="64 bytes, or op=memmove src=0x1000 dst=0x2000 size=4K flags=bof."
        ),
    ] = None,
    record: Annotated[str | None, typer.Option("--record", metavar="HEX", help="Decode a completion record, 32 bytes.")] = None,
    status: Annotated[str | None, typer.Option("--status", metavar="CODE", help="Explain a status, as 0x12.")] = None,
    checks: Annotated[bool, typer.Option("--checks", help="Print all checks, in their order.")] = False,
    wq: Annotated[str | None, typer.Option("--wq", help="Check against this WQ of the running daemon.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="Without --wq: the kind of device.")] = "dsa2",
    shared: Annotated[bool, typer.Option("--shared", help="With --profile: a shared WQ instead of a dedicated one.")] = False,
    block_on_fault: Annotated[bool, typer.Option("--bof/--no-bof", help="With --profile: the WQ's block_on_fault.")] = True,
    max_transfer: Annotated[int, typer.Option("--max-transfer", parser=parse_size, metavar="SIZE")] = 2 << 20,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1)] = 32,
    in_batch: Annotated[bool, typer.Option("--in-batch", help="It is a member of a batch.")] = False,
    unmapped: Annotated[list[str] | None, typer.Option("--unmapped", metavar="ADDR[+SIZE]", help="Not there.")] = None,
    read_only: Annotated[list[str] | None, typer.Option("--read-only", metavar="ADDR[+SIZE]", help="Not writable.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Say what a descriptor, a completion record or a status means, which rule refuses it, and what to do."""
    words = descriptor or []
    if not (words or record or status or checks):
        raise Failed("explain: nothing to explain", ExitCode.USAGE, hint="try idxdctl explain op=fill dst=0x1000 size=4K")
    found: dict[str, Any] = {}
    given = _descriptor(words) if words else None
    if given is not None:
        where, limits = limits_of_wq(socket, wq) if wq else _of_profile(
            profile, shared=shared, block_on_fault=block_on_fault, max_transfer_size=max_transfer, max_batch_size=max_batch
        )  # fmt: skip
        holes = Holes(_ranges(unmapped), _ranges(read_only))
        found["descriptor"] = decoded(given)
        found["answer"] = {"checked_against": where, **answer_of(given, limits, holes, in_batch=in_batch)}
    if record:
        found["record"] = decoded_record(fields.from_hex(record, 32, "explain --record"), given)
    if status:
        found["status"] = decoded_status(_code(status))
    if checks:
        found["checks"] = list(_checks())
    if json:
        print_json("explain", found)
    else:
        print("\n\n".join(_TEXTS[name](part) for name, part in found.items()))


# ---- reading what is given ---------------------------------------------------------------------------------------------
def _descriptor(words: list[str]) -> Descriptor:
    if any("=" in word for word in words):
        given = fields.build(fields.split_words(words, "explain"), what="explain")
        return _with_record(given)
    return fields.as_descriptor(fields.from_hex(" ".join(words), 64, "explain"))


def _with_record(given: Descriptor) -> Descriptor:
    """By fields, who says nothing of a record means an ordinary one."""
    from idxdd.spec.codes import Flag

    if given.completion_addr:
        return given.replace(flags=given.flags | (0 if given.flags & Flag.CRAV else int(Flag.CRAV | Flag.RCR)))
    if given.flags & (Flag.CRAV | Flag.RCR):
        return given
    say(f"a completion record at {ASSUMED_RECORD:#x} is assumed; say record=0x... for another place")
    return given.replace(completion_addr=ASSUMED_RECORD, flags=given.flags | int(Flag.CRAV | Flag.RCR))


def _code(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text, 0) <= 0xFF:
            return int(text, 0)
    from idxdd.spec.codes import CompletionStatus

    if text.upper() in CompletionStatus.__members__:
        return CompletionStatus[text.upper()]
    raise Failed(f"explain: {text!r:.40} is no status", ExitCode.USAGE, hint="write a byte, as 0x12, or a name")


def _ranges(texts: list[str] | None) -> list[tuple[int, int]]:
    """(first, last page) of each ADDR or ADDR+SIZE."""
    found = []
    for text in texts or []:
        address, plus, size = text.partition("+")
        try:
            first, length = int(address, 0), parse_size(size) if plus else PAGE_BYTES
        except ValueError:
            raise Failed(f"explain: {text!r:.40} is not ADDR or ADDR+SIZE", ExitCode.USAGE) from None
        found.append((first // PAGE_BYTES, (first + length - 1) // PAGE_BYTES))
    return found


# ---- what it is checked against ----------------------------------------------------------------------------------------
def _of_profile(name: str, **settings: Any) -> tuple[str, Limits]:
    from idxdd.device import profilefile
    from idxdd.testing import wq_limits

    try:
        profile = profilefile.load(name)
    except profilefile.BadProfile as error:
        raise Failed(f"explain: {error}", ExitCode.USAGE, hint=f"there is {', '.join(profilefile.names())}") from None
    limits = wq_limits.of_profile(profile, **settings)
    return f"profile {name}, {_in_words(limits)}", limits


def limits_of_wq(socket: str | None, name: str) -> tuple[str, Limits]:
    """A work queue of the running daemon, in words and as the checks need it."""
    from idxdctl.accfg import find_device, find_wq
    from idxdd.control.client import connect
    from idxdd.testing import wq_limits

    with connect(socket) as connection:
        devices = ask(connection, "topology")["devices"]
        listed = ask(connection, "list")["devices"]
    wq, device = find_wq(devices, name), find_device(devices, name.partition("/")[0])
    told: dict[str, Any] = next(
        (one for owner in listed if owner["name"] == device["dev"] for one in owner["wqs"] if one["name"] == wq["dev"]), {}
    )
    handles = frozenset({told["int_handle"]}) if wq["type"] == "kernel" and told.get("int_handle", -1) >= 0 else frozenset()
    limits = wq_limits.of_topology(device, wq, handles)
    disabled = "" if wq["state"] == "enabled" else ", disabled at present"
    return f"{name}, {wq['type']}, {_in_words(limits)}{disabled}", limits


def _in_words(limits: Limits) -> str:
    kind = "dedicated" if limits.dedicated else "shared"
    bof = "on" if limits.bof_enabled else "off"
    sizes = f"max transfer {1 << limits.max_xfer_shift}, max batch {1 << limits.max_batch_shift}"
    return f"{kind}, {sizes}, block on fault {bof}, event log {'on' if limits.evl_en else 'off'}"


class Holes:
    """Pages that are not there, or not writable; all others are."""

    def __init__(self, unmapped: list[tuple[int, int]], read_only: list[tuple[int, int]]) -> None:
        self.unmapped = unmapped
        self.read_only = read_only

    def __bool__(self) -> bool:
        return bool(self.unmapped or self.read_only)

    def forbids(self, page: int, write: bool) -> bool:
        """Would an access of this page fault?"""
        ranges = self.unmapped + (self.read_only if write else [])
        return any(first <= page <= last for first, last in ranges)


# ---- the answer --------------------------------------------------------------------------------------------------------
def decoded(given: Descriptor) -> dict[str, Any]:
    """Every field by name, and the flags by name."""
    values = {name: fields.shown(name, value) for name, value in given.values().items() if name not in ("opcode", "flags")}
    opcode = int(given.opcode)
    return {
        "hex": given.pack().hex(),
        "op": getattr(given.opcode, "name", "reserved").lower(),
        "opcode": f"{opcode:#04x}",
        "flags": fields.flag_names(given.flags, opcode),
        "fields": values,
    }


def answer_of(given: Descriptor, limits: Limits, holes: Holes, *, in_batch: bool) -> dict[str, Any]:
    """What the device would do with it."""
    outcome, executed = _outcome(given, limits, holes, in_batch=in_batch)
    if outcome is None:
        return {"accepted": True, "text": "every check passes: it is carried out", "may_end_with": list(_run_time(given))}
    facts = decoded_status(int(outcome.status))
    reported = [facts["where"]] if outcome.report is None else ["event log, or SWERR without one"]
    if outcome.record is not None and outcome.report is not None:
        reported = ["completion record", "event log, or SWERR without one"]
    if outcome.record is not None and outcome.report is None:
        reported = ["completion record"]
    check = _check_of(outcome)
    answer = {
        "accepted": executed,
        "status": facts["status"],
        "name": facts["name"],
        "reported_in": reported,
        "rule": outcome.rule or facts["meaning"],
        **({"check": check.number, "check_rule": check.rule} if check else {}),
        "fix": check.fix if check else facts["fix"],
    }
    if outcome.record is not None:
        answer["record"] = decoded_record(outcome.record, given)
    return answer


def _outcome(given: Descriptor, limits: Limits, holes: Holes, *, in_batch: bool) -> tuple[Outcome | None, bool]:
    """(how it ends, it was carried out); None: it passes, and what becomes of it depends on memory."""
    from idxdd.testing.reference import OPERATIONS, Memory
    from idxdd.testing.reference.checks import check
    from idxdd.testing.reference.completion import finish, refused_outcome
    from idxdd.testing.reference.run import Refused, Run

    class Everything(Memory):
        """Every page but the holes."""

        def allows(self, address: int, write: bool) -> bool:
            page = address // PAGE_BYTES
            if holes.forbids(page, write):
                return False
            self._pages.setdefault(page, bytearray(PAGE_BYTES))
            return True

    memory = Everything()
    priv = limits.priv if limits.dedicated else bool(given.priv)

    def member(raw: bytes) -> Any:
        raise AssertionError("members are not carried out here")

    run = Run(given.pack(), memory, limits, in_batch, priv, member)
    try:
        operation = check(run, OPERATIONS.get(run.plain.opcode))
    except Refused as refused:
        return refused_outcome(run, refused), False
    if not holes or given.opcode == 1:
        return None, True
    if given.xfer_size > EXECUTED_BYTES_MAX:
        say(f"page faults are looked for in descriptors of up to {EXECUTED_BYTES_MAX} bytes")
        return None, True
    outcome = finish(run, operation.run(run))
    return (outcome if outcome.status in FAULTS or outcome.report else None), True


FAULTS = (0x03, 0x04, 0x06, 0x1A, 0x1F)


def _check_of(outcome: Outcome) -> Any:
    """The row of the checks; two of them end with 0x1E, and the record's reports to the log."""
    from idxdctl.statuses import checks_of

    rows = checks_of(int(outcome.status)) if outcome.rule else []
    if not rows:
        return None
    return rows[0] if outcome.report is not None or len(rows) == 1 else rows[-1]


def _run_time(given: Descriptor) -> Iterator[str]:
    """Statuses that this operation may still end with."""
    from idxdd.spec.codes import CompletionStatus, Flag, Opcode

    yield "0x01 SUCCESS"
    opcode = given.opcode
    if given.flags & Flag.CR:
        yield "0x02 SUCCESS_PRED: the result is not the expected one"
    if opcode == Opcode.BATCH:
        yield "0x05 BATCH_FAIL: a member ended otherwise"
        yield "0x06 BATCH_PAGE_FAULT: the list's page is missing"
    elif opcode not in (Opcode.NOOP, Opcode.DRAIN):
        bof = given.flags & Flag.BOF
        status = CompletionStatus.PAGE_FAULT_IR if bof else CompletionStatus.PAGE_FAULT_NOBOF
        yield f"{int(status):#04x} {status.name}: a page is missing{' for good' if bof else ''}"
    if opcode == Opcode.AP_DELTA:
        yield "0x07 DR_OFFSET_NOINC, 0x08 DR_OFFSET_ERANGE: the record is damaged"
    if opcode in (Opcode.DIF_CHECK, Opcode.DIF_STRP, Opcode.DIF_UPDT):
        yield "0x09 DIF_ERR: a protection field is wrong"


def decoded_status(raw: int) -> dict[str, Any]:
    """A status byte in words."""
    from idxdctl import statuses

    code, write = statuses.parse_status(raw)
    told = statuses.told(code)
    rows = [check.number for check in statuses.checks_of(code)]
    return {
        "status": f"{code:#04x}",
        "name": statuses.name_of(code),
        "write": write,
        "meaning": told.meaning,
        "where": told.where,
        "checks": rows,
        "fix": told.fix,
    }


def decoded_record(raw: bytes, given: Descriptor | None) -> dict[str, Any]:
    """A completion record; with its descriptor also what is its operation's, and the descriptor of the rest."""
    from idxd_client.results import Result
    from idxdctl import statuses
    from idxdd.spec.codes import CompletionStatus
    from idxdd.spec.records import CompletionRecord

    ended = CompletionRecord.unpack(raw)
    code, write = statuses.parse_status(ended.status)
    found: dict[str, Any] = {"hex": raw.hex(), **decoded_status(ended.status), "result": ended.result}
    found |= {"bytes_completed": ended.bytes_completed, "fault_address": f"{ended.fault_addr:#x}"}
    if code in statuses.MAY_SAY_WRITE:
        found["operand"] = getattr(ended.fault_operand, "name", str(ended.fault_operand)).lower()
        found["access"] = "write" if write else "read"
    if code == CompletionStatus.INVALID_FLAGS:
        mask = int.from_bytes(raw[16:19], "little")
        found["invalid_flags"] = fields.flag_names(mask, int(given.opcode) if given is not None else -1)
    if given is not None:
        found["summary"] = Result(raw, given.opcode, given.flags).describe()
        if rest := _rest(given, raw, code):
            found |= rest
    return found


def _rest(given: Descriptor, raw: bytes, code: int) -> dict[str, Any]:
    """How to go on after a partial result."""
    from idxdctl import statuses
    from idxdd.spec.codes import Opcode
    from idxdd.testing.reference import RESUMABLE, continuation

    if code not in RESUMABLE or given.opcode not in statuses.PARTIAL:
        return {}
    done = int.from_bytes(raw[4:8], "little")
    if done >= given.xfer_size:
        return {}
    try:
        follows = continuation(given.pack(), raw).hex()
    except (ValueError, KeyError):  # a record that does not belong to this descriptor
        return {}
    return {"resume": statuses.PARTIAL[Opcode(given.opcode)], "continuation": follows}


def _checks() -> Iterator[dict[str, Any]]:
    from idxdctl.statuses import CHECKS

    for check in CHECKS:
        status = f"{int(check.status):#04x} {check.status.name}"
        yield {"number": check.number, "rule": check.rule, "status": status, "where": check.where, "fix": check.fix}


# ---- texts -------------------------------------------------------------------------------------------------------------
def _descriptor_text(found: dict[str, Any]) -> str:
    rows = [("operation", f"{found['op']} ({found['opcode']})"), ("flags", " | ".join(found["flags"]) or "none")]
    rows += [(name, value) for name, value in found["fields"].items() if value != "0" or name not in _SELDOM]
    return columns(rows)


def _answer_text(found: dict[str, Any]) -> str:
    lines = [f"checked against {found['checked_against']}"]
    if "status" not in found:
        return "\n".join([*lines, f"{found['text']}; it may end with", *(f"  {end}" for end in found["may_end_with"])])
    verb = "stopped" if found["accepted"] else "refused"
    lines.append(f"{verb}: status {found['status']} {found['name']}, told in the {' and the '.join(found['reported_in'])}")
    rows = [("found", found["rule"])]
    if "check" in found:
        rows.append((f"check {found['check']}", found["check_rule"]))
    rows.append(("fix", found["fix"]))
    if found["accepted"] and "record" in found:
        rows += _record_rows(found["record"])
    return "\n".join([*lines, columns(rows, "  ")])


def _record_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("result", str(found["result"])), ("completed", str(found["bytes_completed"]))]
    if "access" in found:
        rows.append(("fault", f"{found['access']} at {found['fault_address']}, operand {found['operand']}"))
    if "invalid_flags" in found:
        rows.append(("flags", " | ".join(found["invalid_flags"]) or "none"))
    if "summary" in found:
        rows.append(("summary", found["summary"]))
    if "resume" in found:
        rows += [("go on", found["resume"]), ("rest", found["continuation"])]
    return rows


def _record_text(found: dict[str, Any]) -> str:
    head = f"status {found['status']} {found['name']}{', a write' if found['write'] else ''}"
    rows = [("meaning", found["meaning"]), *_record_rows(found)]
    return "\n".join([head, columns([*rows, *([("fix", found["fix"])] if found["fix"] else [])], "  ")])


def _status_text(found: dict[str, Any]) -> str:
    rows = [("meaning", found["meaning"]), ("told in", found["where"])]
    if found["checks"]:
        rows.append(("check", ", ".join(map(str, found["checks"])) + " of `idxdctl explain --checks`"))
    if found["fix"]:
        rows.append(("fix", found["fix"]))
    return "\n".join([f"status {found['status']} {found['name']}{', a write' if found['write'] else ''}", columns(rows, "  ")])


def _checks_text(found: list[dict[str, Any]]) -> str:
    lines = ["The first check that fails decides the status; nothing has been read or written then."]
    for check in found:
        lines.append(f"{check['number']:>3}. {check['rule']}")
        lines.append(f"     else {check['status']}, in the {check['where']}; {check['fix']}")
    return "\n".join(lines)


def columns(rows: list[tuple[str, str]], indent: str = "") -> str:
    """Names flush left, texts behind them."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{indent}{name:<{width}}  {text}" for name, text in rows)


_SELDOM = frozenset({"pasid", "priv", "int_handle", "op_specific"})
"""Fields that are shown only when they are set."""
_TEXTS: dict[str, Callable[[Any], str]] = {
    "descriptor": _descriptor_text,
    "answer": _answer_text,
    "record": _record_text,
    "status": _status_text,
    "checks": _checks_text,
}
PANEL = "Asking why"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", rich_help_panel=PANEL)(explain)
