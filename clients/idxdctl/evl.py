"""idxdctl evl and swerr: what devices told of errors, decoded, with what is past."""

from __future__ import annotations

import json as json_module
import time
from typing import Annotated, Any

import typer

from idxdctl import statuses
from idxdctl.options import Json, Socket, ask
from idxdctl.output import SCHEMA, print_json, say
from idxdctl.trace_export import Clock
from idxdctl.trace_records import op_name
from idxdd.control.client import ControlClient, connect
from idxdd.spec.codes import CompletionStatus, Operand
from idxdd.spec.records import CompletionRecord, EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import SWERR

FOLLOW_S = 0.2
DELIVERED = (CompletionStatus.CRA_XLAT, CompletionStatus.DRAIN_EVL, CompletionStatus.BATCH_EVL_ERR)
"""Entries whose address is the completion record's."""
FAULTS = (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.PAGE_FAULT_IR, CompletionStatus.BATCH_PAGE_FAULT)


# ---- the event log -------------------------------------------------------------------------------------------------------
def evl(
    device: Annotated[str, typer.Argument(metavar="[DEVICE]")] = "dsa0",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; ends with Ctrl-C.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """A device's event log, decoded (admin).

    The device writes entries at tail, the driver takes them from head; an entry stays in memory until it is overwritten, so
    the last ones can be read here although the driver has handled them. `waits`: it has not.
    """
    with connect(socket) as connection:
        found = ask(connection, "evl", device=device)
        entries = [_decoded(entry) for entry in found.pop("entries")]
        if json and not follow:
            print_json("evl", {**found, "entries": entries})
            return
        if not json:
            print(_head(found))
        _print(entries, json=json)
        if follow:
            _follow(connection, device, found["evl_entries"], json=json)


def _head(found: dict[str, Any]) -> str:
    if not found["active"]:
        return f"{found['device']}: the event log is off"
    pending = ", interrupt pending" if found["int_pending"] else ""
    place = f"{found['log_size']} entries at {found['log_base']:#x}, head {found['head']}, tail {found['tail']}{pending}"
    counted = f"{found['evl_entries']} written, {found['evl_dropped']} dropped, {found['evl_write_failures']} not writable"
    return f"{found['device']}: {place}; {counted}, {found['evl_waiting']} descriptors wait for room"


def _print(entries: list[dict[str, Any]], *, json: bool) -> None:
    for entry in entries:
        print(json_module.dumps({"schema": SCHEMA, **entry}) if json else _line(entry), flush=True)


def _follow(connection: ControlClient, device: str, seen: int, *, json: bool) -> None:
    while True:
        time.sleep(FOLLOW_S)
        found = ask(connection, "evl", device=device)
        new = [entry for entry in found["entries"] if entry["number"] > seen]
        lost = found["evl_entries"] - seen - len(new)
        if lost > 0:
            say(f"{lost} entries were overwritten before they could be read")
        seen = found["evl_entries"]
        _print([_decoded(entry) for entry in new], json=json)


def _decoded(entry: dict[str, Any]) -> dict[str, Any]:
    """One entry by field."""
    raw: bytes = entry["entry"]
    fields = EventLogEntry.unpack(raw[: EventLogEntry.size_bytes])
    found = {"number": entry["number"], "index": entry["index"], "waits": entry["waits"], "hex": raw.hex()}
    return found | told(fields) | _delivery(fields, raw[: EventLogEntry.size_bytes])


def told(error: EventLogEntry | SWERR) -> dict[str, Any]:
    """What an entry and SWERR have in common, by name."""
    code = int(error.error)
    found: dict[str, Any] = {
        "error": code,
        "name": statuses.name_of(code),
        "wq": int(error.wq_idx) if error.wq_idx_valid else None,
        "operation": op_name(int(error.operation)) if error.desc_valid else None,
        "pasid": int(error.pasid) if error.desc_valid else None,
        "priv": bool(error.priv),
        "batch_member": int(error.batch_idx) if error.batch else None,
        "error_info": int(error.error_info) if error.err_info_valid else None,
    }
    if code in FAULTS or code == CompletionStatus.PFAULT_RDBA:
        operand = int(error.error_info) >> 29
        found["operand"] = Operand(operand).name.lower() if operand in Operand._value2member_map_ else str(operand)
        found["access"] = "write" if error.fault_rw else "read"
    if error.fault_addr:
        found["address"] = int(error.fault_addr)
    return found


def _delivery(fields: EventLogEntry, raw: bytes) -> dict[str, Any]:
    """A record that software has to deliver, and the interrupt with it."""
    if fields.error not in DELIVERED and fields.error != CompletionStatus.INT_HANDLE_INVAL:
        return {}
    asked = RecordFaultEntry.unpack(raw)
    found: dict[str, Any] = {"batch_id": int(fields.batch_id), "first_error_in_batch": bool(asked.first_err_in_batch)}
    if asked.rci:
        found["int_handle"] = int(asked.int_handle)
    if asked.rcr:
        record = CompletionRecord.unpack(fields.completion_record)
        found["record"] = {"status": int(record.status), "hex": fields.completion_record.hex()}
    return found


def _line(entry: dict[str, Any]) -> str:
    parts = [f"{entry['number']:>6} [{entry['index']:>3}]{' waits' if entry['waits'] else ''}", _text(entry)]
    if "record" in entry:
        status = entry["record"]["status"]
        parts.append(f"record to deliver: {status:#04x} {statuses.name_of(statuses.parse_status(status)[0])}")
    if "int_handle" in entry:
        parts.append(f"and interrupt, handle {entry['int_handle']}")
    return "  ".join(parts)


def _text(found: dict[str, Any]) -> str:
    text = f"{found['error']:#04x} {found['name']}"
    if found["wq"] is not None:
        text += f", wq {found['wq']}"
    if found["operation"] is not None:
        text += f", {found['operation']} of PASID {found['pasid']}"
    if found["batch_member"] is not None:
        text += f", batch member {found['batch_member']}"
    if "access" in found:
        text += f", {found['access']} of {found['operand']}"
    if "address" in found:
        text += f" at {found['address']:#x}"
    return text


# ---- SWERR ---------------------------------------------------------------------------------------------------------------
def swerr(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", show_default=False)] = None,
    history: Annotated[bool, typer.Option("--history", help="The last errors of the device itself, too (admin).")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """The last software error of each device, as the driver saved it, decoded.

    SWERR takes one error at a time: what comes before the driver has acknowledged it is lost, and sets its overflow bit. The
    history says of each error where it was told: in the event log, in SWERR, or nowhere.
    """
    with connect(socket) as connection:
        devices = [one for one in ask(connection, "list")["devices"] if device in (None, one["name"])]
        if device is not None and not devices:
            ask(connection, "swerr", device=device)  # says which there are
        found = [_saved(one) for one in devices]
        for one in found if history else []:
            one |= _history(ask(connection, "swerr", device=one["device"]))
    if json:
        print_json("swerr", {"devices": found})
        return
    for one in found:
        print(_swerr_text(one))


def _saved(device: dict[str, Any]) -> dict[str, Any]:
    """As sysfs has it: four words, 0 while there was none."""
    raw = sum(int(qword, 16) << 64 * position for position, qword in enumerate(device["errors"]))
    fields = {name: getattr(value, "name", value) for name, value in SWERR(raw).values().items()} if raw else {}
    found = {"device": device["name"], "valid": bool(raw & 1), "qwords": device["errors"], "fields": fields}
    return found | ({"told": told(SWERR(raw))} if raw else {})


def _history(answer: dict[str, Any]) -> dict[str, Any]:
    register = SWERR(int.from_bytes(answer["register"], "little"))
    past = [
        {"at_ns": entry["at_ns"], "where": entry["where"], **told(SWERR(int.from_bytes(entry["swerr"], "little")))}
        for entry in answer["history"]
    ]
    latched = {"valid": bool(register.valid), "overflow": bool(register.overflow)}
    return {"register": latched, "reported": answer["reported"], "lost": answer["lost"], "history": past}


def _swerr_text(found: dict[str, Any]) -> str:
    lines = [f"{found['device']}: " + ("no software error" if not found["fields"] else " ".join(found["qwords"]))]
    if found["fields"]:
        lines.append(f"  {_text(found['told'])}")
    for name, value in found["fields"].items():
        number = isinstance(value, int) and not isinstance(value, bool)
        lines.append(f"  {name} = {value:#x}" if number else f"  {name} = {value}")
    if "history" in found:
        latched = "valid" if found["register"]["valid"] else "empty"
        lines.append(f"  {found['reported']} errors reported, {found['lost']} lost; the register is {latched} now")
        clock = Clock()
        lines += [f"  {clock.of(entry['at_ns'])}  in {entry['where']:<10} {_text(entry)}" for entry in found["history"]]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evl", rich_help_panel="Asking why")(evl)
    app.command("swerr", rich_help_panel="Asking why")(swerr)
