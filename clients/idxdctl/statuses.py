"""Every completion status in words: what it means, where it is told, what to do; and the checks of a descriptor in order."""

from __future__ import annotations

from typing import NamedTuple

from idxdd.spec.codes import (
    COMP_DESC_ABORT,
    STATUS_CODE_MASK,
    STATUS_WRITE_FAULT,
    CompletionStatus,
    Opcode,
)

S = CompletionStatus
RECORD = "completion record"
LOG = "event log, or SWERR without one"
BOTH = "completion record, and event log or SWERR"


class Check(NamedTuple):
    """One rule that a descriptor is held against before anything is read or written."""

    number: int
    status: CompletionStatus
    rule: str
    where: str
    fix: str


CHECKS = (
    Check(1, S.CRA_ALIGN, "the completion record's address is a multiple of 32", LOG,
          "align the record; an allocator's memory is aligned to 16 only"),
    Check(2, S.PRIV_BAD, "on a shared WQ, privileged descriptors need PCI privileged mode", LOG,
          "clear bit 31 of bytes 0-3, or switch privileged mode on"),
    Check(3, S.TRAFFIC_CLASS_CONF, "the traffic class chosen for the record is enabled", LOG,
          "clear the flag CR_TCS, or configure the group's traffic class"),
    Check(4, S.CRA_XLAT, "the record's page can be written (checked here only while there is no event log)", LOG,
          "map the record writable and touch it before the descriptor is submitted"),
    Check(5, S.BAD_OPCODE, "the operation is one of this WQ (OPCAP, and the WQ's op_config), and is allowed where it stands: "
          "no Batch, Drain or Update Window in a batch, Translation Fetch with address translation services only", RECORD,
          "look at `idxdctl list -i --json` (op_cap, op_config); choose a profile that has it"),
    Check(6, S.INVALID_FLAGS, "every flag is one that this operation, device and WQ allow, and those it needs are set", RECORD,
          "bytes 16-18 of the record are the mask of the offending flags; clear them, or set the missing one"),
    Check(7, S.NOZERO_RESERVE, "reserved fields are zero; so are the record's address without CRAV and the handle without RCI",
          RECORD, "clear the whole descriptor before its fields are filled in"),
    Check(8, S.NO_PASID, "an inter-domain operation or Update Window needs a WQ with PASID", RECORD,
          "submit it to a user WQ, or to a shared one"),
    Check(9, S.XFER_ERANGE, "the transfer size is 1 to the WQ's maximum (a delta's at most 512 KiB; DIF: whole blocks)", RECORD,
          "split the transfer, or raise max_transfer_size with config-wq"),
    Check(10, S.DESC_CNT_ERANGE, "a batch has 2 members (1 with Batch1 support) to the WQ's maximum", RECORD,
          "split the batch, submit a single descriptor by itself, or raise max_batch_size with config-wq"),
    Check(11, S.DR_ERANGE, "field values are supported: a delta record of 80 bytes or more to create, 10 or more to apply, "
          "neither beyond the WQ's maximum transfer", RECORD, "give the record more room, or apply a whole number of entries"),
    Check(12, S.DESCLIST_ALIGN, "a descriptor list lies at a multiple of 64", RECORD, "align the list to 64 bytes"),
    Check(13, S.ADDR_ALIGN, "addresses are aligned as the operation wants: delta sources and destination 8, CRC seed 4 or 8, "
          "DIX destination 8; sizes of deltas are multiples of 8; a stride is a power of two from 4096", RECORD,
          "align it, or use another operation for the rest"),
    Check(14, S.DCAST_ERR, "both destinations of Dualcast have the same bits 11:0", RECORD,
          "give both destinations the same offset in their page"),
    Check(15, S.OVERLAP_BUFFERS, "what is written overlaps nothing else (Memory Move may, where GENCAP.overlap_copy says so)",
          RECORD, "keep the ranges apart; touching ends are fine"),
    Check(16, S.INT_HANDLE_INVAL, "with RCI, the interrupt handle is one of this WQ and PASID, and not revoked", BOTH,
          "take a new handle and submit again; user WQs have none: poll the record instead"),
    Check(17, S.TRAFFIC_CLASS_CONF, "the traffic classes chosen for the operands are enabled", RECORD,
          "clear ADDR1_TCS to ADDR3_TCS, or configure the group's traffic classes"),
    Check(18, S.IDPT_HANDLE_INVAL, "an inter-domain handle is valid and usable by this submitter; its window and permissions "
          "allow the access (0x29 to 0x2D)", RECORD, "look at the entry's type, window and permissions"),
)  # fmt: skip
"""The order in which this device checks; the architecture leaves it open, so a program must not depend on it."""


class Told(NamedTuple):
    """What a status says, and what to do about it."""

    meaning: str
    where: str
    fix: str


RUN_TIME: dict[int, Told] = {
    S.NONE: Told("not complete: the device never writes this", "-", "wait; `idxdctl stats` shows if the WQ makes progress"),
    S.SUCCESS: Told("done", RECORD, ""),
    S.SUCCESS_PRED: Told(
        "done; the result is not the expected one (Check Result)", RECORD, "a predicate, no error; a later fence stops at it"
    ),
    S.PAGE_FAULT_NOBOF: Told(
        "an operand's page is missing, Block on Fault was 0", RECORD,
        "touch the page at bytes 8-15 and submit the rest; or set BOF (the WQ's block_on_fault must be 1)",
    ),
    S.PAGE_FAULT_IR: Told(
        "an operand's page is missing and the page request was refused: the address is not mapped, or not for this access",
        RECORD, "look at the fault address: bit 7 of the status tells a write; correct it and submit the rest",
    ),
    S.BATCH_FAIL: Told(
        "the batch is done; not every member ended with 0x01", RECORD, "look at each member's own record"
    ),
    S.BATCH_PAGE_FAULT: Told(
        "the descriptor list could not be read", RECORD, "map the list; go on behind the members that bytes 4-7 count"
    ),
    S.DR_OFFSET_NOINC: Told(
        "Apply Delta: an offset is not larger than the one before", RECORD,
        "the record is damaged; entries before it have been applied",
    ),
    S.DR_OFFSET_ERANGE: Told(
        "Apply Delta: an offset lies beyond the destination", RECORD,
        "the record belongs to a larger buffer; entries before it have been applied",
    ),
    S.DIF_ERR: Told(
        "a protection field is wrong: result bit 0 guard, 1 application tag, 2 reference tag, 3 all ones", RECORD,
        "bytes 4-7 count the source bytes of the good blocks before it",
    ),
    S.CRA_XLAT: Told(
        "the completion record's page cannot be written. With an event log the operation was done and the record is in the "
        "log entry; without one it was not", LOG, "map the record writable and keep it mapped",
    ),
    S.PFAULT_RDBA: Told("a readback's page is missing", RECORD, "map the address, or drain without explicit readback"),
    S.HW_ERR1: Told("a read failed", RECORD, "without address translation services a missing page looks like this"),
    S.HW_ERR_DRB: Told("a write or a readback failed", RECORD, "the data may not have arrived: do it again"),
    S.TRANSLATION_FAIL: Told("address translation failed", BOTH, "the page-request queue is disabled or broken"),
    S.DRAIN_EVL: Told("a Drain ended, told through the event log", LOG, "the driver writes the record"),
    S.BATCH_EVL_ERR: Told(
        "a batch with a member whose record could not be written, told through the event log", LOG,
        "the driver writes the record",
    ),
    S.IDPT_PERMISSION: Told("the inter-domain entry does not permit this access", RECORD, "check read and write permission"),
    S.WINDOW_ERANGE: Told("the address lies outside the inter-domain entry's window", RECORD, "check base and size"),
    S.WINDOW_UPDATE_REFUSED: Told(
        "Update Window is not allowed for this entry or PASID", RECORD, "the entry must allow updates, and by this PASID"
    ),
    S.WINDOW_FIELDS: Told(
        "Update Window: enabled with size 0 or beyond 2^64, or disabled with fields not zero", RECORD, "correct the window"
    ),
    S.DOMAIN_GONE: Told("the other domain's address space went away meanwhile", RECORD, "open the inter-domain entry again"),
    S.PCI_CONFIG_CHANGED: Told("PCI configuration changed while the device was enabled", "SWERR", "reset the device"),
    S.CMD_WHILE_ACTIVE: Told("a command was written while one was active", LOG, "wait for CMDSTS.active = 0"),
    S.DWQ_FULL: Told(
        "a descriptor was written to a full dedicated WQ and is lost", "SWERR", "count what is in flight: at most the WQ's size"
    ),
    S.EVL_WRITE_FAILED: Told("an event-log entry could not be written", "SWERR", "check the log's address and size"),
    COMP_DESC_ABORT: Told("abandoned by the driver; the device never writes this", RECORD, "submit it again"),
}  # fmt: skip
MAY_SAY_WRITE = (0x03, 0x04, 0x06, 0x1A, 0x1F)

PARTIAL: dict[Opcode, str] = {
    Opcode.MEMMOVE: "direction (result) 0: both addresses += n, size -= n; direction 1: size -= n only",
    Opcode.MEMFILL: "destination += n, size -= n, pattern rotated left by n mod its size",
    Opcode.COMPARE: "both sources += n, size -= n",
    Opcode.COMPVAL: "source += n, size -= n, pattern rotated left by n mod 8",
    Opcode.CR_DELTA: "sources += n, size -= n, record += its size (bytes 16-19), maximum -= it; offsets count anew",
    Opcode.AP_DELTA: "record += n, record size -= n",
    Opcode.DUALCAST: "source and both destinations += n, size -= n",
    Opcode.CRCGEN: "source += n, size -= n, seed = the record's CRC (n = 0: the old seed)",
    Opcode.COPY_CRC: "source and destination += n, size -= n, seed = the record's CRC (n = 0: the old seed)",
    Opcode.DIF_CHECK: "source += n, size -= n, tags from the record",
    Opcode.DIF_INS: "source += n, destination += n + 8 per block, size -= n, tags from the record",
    Opcode.DIF_STRP: "source += n, destination += n - 8 per block, size -= n, tags from the record",
    Opcode.DIF_UPDT: "source and destination += n, size -= n, four tags from the record",
    Opcode.DIX_GEN: "source += n, destination += 8 per block, size -= n, tags from the record",
    Opcode.BATCH: "list += 64 n, count -= n, batch-error flag = result",
    Opcode.CFLUSH: "destination += n, size -= n",
}
"""How the rest is submitted after n bytes (batch: members) were completed."""


def parse_status(raw: int) -> tuple[int, bool]:
    """(code, the faulting access was a write) of a record's status byte, or of a code that only logs carry."""
    if raw == COMP_DESC_ABORT or 0x51 <= raw <= 0x54:
        return raw, False
    code = raw & STATUS_CODE_MASK
    return code, bool(raw & STATUS_WRITE_FAULT) and code in MAY_SAY_WRITE


def name_of(code: int) -> str:
    """As the specification's list of this project names it."""
    if code == COMP_DESC_ABORT:
        return "COMP_DESC_ABORT"
    return CompletionStatus(code).name if code in CompletionStatus._value2member_map_ else "reserved"


def checks_of(code: int) -> list[Check]:
    """The checks that end with this status."""
    return [check for check in CHECKS if check.status == code]


def told(code: int) -> Told:
    """In words; a reserved code says so."""
    if code in RUN_TIME:
        return RUN_TIME[code]
    checks = checks_of(code)
    if checks:
        return Told("refused before anything was done: " + "; or: ".join(f"not so: {c.rule}" for c in checks),
                    checks[0].where, checks[-1].fix)  # fmt: skip
    return Told("no status of DSA 1.0 or 2.0", "-", "a record that was never written, or memory that is no record")
