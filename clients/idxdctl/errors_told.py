"""What devices told of errors, decoded: entries of the event log, SWERR, and what is past."""

from __future__ import annotations

from typing import Any

from idxdctl import statuses
from idxdctl.trace_export import Clock
from idxdctl.trace_records import op_name
from idxdd.spec.codes import CompletionStatus, Operand
from idxdd.spec.records import CompletionRecord, EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import SWERR

DELIVERED = (CompletionStatus.CRA_XLAT, CompletionStatus.DRAIN_EVL, CompletionStatus.BATCH_EVL_ERR)
"""Entries whose address is the completion record's."""
FAULTS = (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.PAGE_FAULT_IR, CompletionStatus.BATCH_PAGE_FAULT)


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


def decoded(entry: dict[str, Any]) -> dict[str, Any]:
    """One entry by field."""
    raw: bytes = entry["entry"]
    fields = EventLogEntry.unpack(raw[: EventLogEntry.size_bytes])
    found = {"number": entry["number"], "index": entry["index"], "waits": entry["waits"], "hex": raw.hex()}
    return found | told(fields) | _delivery(fields, raw[: EventLogEntry.size_bytes])


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


def text_of(found: dict[str, Any]) -> str:
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


def line(entry: dict[str, Any]) -> str:
    parts = [f"{entry['number']:>6} [{entry['index']:>3}]{' waits' if entry['waits'] else ''}", text_of(entry)]
    if "record" in entry:
        status = entry["record"]["status"]
        parts.append(f"record to deliver: {status:#04x} {statuses.name_of(statuses.parse_status(status)[0])}")
    if "int_handle" in entry:
        parts.append(f"and interrupt, handle {entry['int_handle']}")
    return "  ".join(parts)


def saved(device: dict[str, Any]) -> dict[str, Any]:
    """As sysfs has it: four words, 0 while there was none."""
    raw = sum(int(qword, 16) << 64 * position for position, qword in enumerate(device["errors"]))
    fields = {name: getattr(value, "name", value) for name, value in SWERR(raw).values().items()} if raw else {}
    found = {"device": device["name"], "valid": bool(raw & 1), "qwords": device["errors"], "fields": fields}
    return found | ({"told": told(SWERR(raw))} if raw else {})


def history(answer: dict[str, Any]) -> dict[str, Any]:
    register = SWERR(int.from_bytes(answer["register"], "little"))
    past = [
        {"at_ns": entry["at_ns"], "where": entry["where"], **told(SWERR(int.from_bytes(entry["swerr"], "little")))}
        for entry in answer["history"]
    ]
    latched = {"valid": bool(register.valid), "overflow": bool(register.overflow)}
    return {"register": latched, "reported": answer["reported"], "lost": answer["lost"], "history": past}


def swerr_text(found: dict[str, Any]) -> str:
    lines = [f"{found['device']}: " + ("no software error" if not found["fields"] else " ".join(found["qwords"]))]
    if found["fields"]:
        lines.append(f"  {text_of(found['told'])}")
    for name, value in found["fields"].items():
        number = isinstance(value, int) and not isinstance(value, bool)
        lines.append(f"  {name} = {value:#x}" if number else f"  {name} = {value}")
    if "history" in found:
        latched = "valid" if found["register"]["valid"] else "empty"
        lines.append(f"  {found['reported']} errors reported, {found['lost']} lost; the register is {latched} now")
        clock = Clock()
        lines += [f"  {clock.of(entry['at_ns'])}  in {entry['where']:<10} {text_of(entry)}" for entry in found["history"]]
    return "\n".join(lines)
