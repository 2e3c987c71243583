"""Whether a descriptor is carried out at all: the checks every operation shares, in the order they apply (5.4, 5.5).

An operation's own counts, alignments and overlaps are its `check`, between the transfer size and the interrupt handle.
"""

from __future__ import annotations

from collections.abc import Iterable

from idxdd.spec import limits as spec
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.testing.reference.run import CACHE_CONTROL, Operation, Refused, Run, refuse

NOT_IN_BATCH = {Opcode.BATCH, Opcode.DRAIN, Opcode.UPDATE_WINDOW}
RESERVED_PASID_BITS = 0x7FF00000


def check(run: Run, operation: Operation | None) -> Operation:
    """The operation, if the descriptor may be carried out; otherwise Refused with the status of the first rule it breaks."""
    _check_record(run)
    operation = _check_opcode(run, operation)
    if invalid := invalid_flags(run, operation):
        raise Refused(CompletionStatus.INVALID_FLAGS, _flags_in_words(run, invalid), invalid_flags=invalid)
    _check_reserved(run, operation)
    if operation.needs_pasid and not run.limits.pasid_enabled:
        refuse(CompletionStatus.NO_PASID, "the work queue has no PASID")
    if operation.has_size:
        _check_size(run)
    operation.check(run)
    if run.has(Flag.RCI) and run.plain.int_handle not in run.limits.int_handles:
        refuse(CompletionStatus.INT_HANDLE_INVAL, f"interrupt handle {run.plain.int_handle} is not one of this WQ and PASID")
    if not all(_tc_enabled(run, selector) for selector in operation.addresses(run)):
        refuse(CompletionStatus.TRAFFIC_CLASS_CONF, "an operand's traffic class is not enabled")
    operation.resolve(run)
    return operation


def record_reachable(run: Run) -> bool:
    """Can the completion record be written? (32-byte aligned: never across a page)"""
    return run.memory.allows(run.plain.completion_addr, True)


def interrupts_enabled(run: Run) -> bool:
    """May this PASID ask for completion interrupts at all?"""
    return not run.limits.pasid_enabled or run.limits.user_int_en or run.priv


def _check_record(run: Run) -> None:
    limits, address = run.limits, run.plain.completion_addr
    if run.has(Flag.CRAV) and address % spec.COMPLETION_RECORD_ALIGN_BYTES:
        refuse(CompletionStatus.CRA_ALIGN, f"completion record address {address:#x} is not 32-byte aligned")
    if not limits.dedicated and run.priv and not limits.privileged_mode:
        refuse(CompletionStatus.PRIV_BAD, "priv on a shared WQ while PCI privileged mode is off")
    if run.has(Flag.CRAV) and not _tc_enabled(run, Flag.CR_TCS):
        raise Refused(CompletionStatus.TRAFFIC_CLASS_CONF, "the record's traffic class is not enabled", reported=True)
    if run.has(Flag.CRAV) and not limits.evl_en and not record_reachable(run):
        refuse(CompletionStatus.CRA_XLAT, f"completion record address {address:#x} is not mapped writable")


def _check_opcode(run: Run, operation: Operation | None) -> Operation:
    opcode = run.plain.opcode
    if operation is None or not run.limits.opcfg >> opcode & 1:
        refuse(CompletionStatus.BAD_OPCODE, f"opcode {opcode:#04x} is not one of this WQ")
    if run.in_batch and opcode in NOT_IN_BATCH:
        refuse(CompletionStatus.BAD_OPCODE, f"opcode {opcode:#04x} is not allowed in a batch")
    if opcode == Opcode.TRANSL_FETCH and not run.limits.ats_enabled:
        refuse(CompletionStatus.BAD_OPCODE, "Translation Fetch needs address translation services")
    return operation


def _check_reserved(run: Run, operation: Operation) -> None:
    for first, last in _reserved(run, operation):
        if any(run.desc[first : last + 1]):
            refuse(CompletionStatus.NOZERO_RESERVE, f"bytes {first}-{last} must be zero")
    for offset, mask in operation.reserved_bits.items():
        if run.desc[offset] & mask:
            refuse(CompletionStatus.NOZERO_RESERVE, f"bits {mask:#04x} of byte {offset} must be zero")
    trusted = run.limits.dedicated or run.in_batch
    if not trusted and int.from_bytes(run.desc[:4], "little") & RESERVED_PASID_BITS:
        refuse(CompletionStatus.NOZERO_RESERVE, "bits 30:20 of bytes 0-3 must be zero on a shared WQ")


def _reserved(run: Run, operation: Operation) -> Iterable[tuple[int, int]]:
    yield from operation.reserved(run)
    yield 38, 39
    if not run.has(Flag.CRAV):
        yield 8, 15
    if not run.has(Flag.RCI):
        yield 36, 37


def _check_size(run: Run) -> None:
    size, largest = run.plain.xfer_size, 1 << run.limits.max_xfer_shift
    if not 0 < size <= largest:
        refuse(CompletionStatus.XFER_ERANGE, f"transfer size {size} is not 1 to {largest}")


def _tc_enabled(run: Run, selector: int) -> bool:
    return bool(run.limits.tc_enabled >> run.has(selector) & 1)


# ---- flags ---------------------------------------------------------------------------------------------------------------
def invalid_flags(run: Run, operation: Operation) -> int:
    """Every offending flag: set and not allowed, or missing and required."""
    gencap = run.limits.gencap
    allowed = int(Flag.CRAV | Flag.RCI | operation.flags)
    if run.has(Flag.CRAV):
        allowed |= Flag.RCR | Flag.CR_TCS
    if run.in_batch:
        allowed |= Flag.FENCE
    if _cache_control_allowed(run, operation):
        allowed |= CACHE_CONTROL
    for flag, capability in operation.op_flags.items():
        if capability is None or getattr(gencap, capability):
            allowed |= flag
    if run.plain.opcode == Opcode.UPDATE_WINDOW and run.domains and run.domains.suppress_drain:
        allowed |= OpFlag.UPDATE_WINDOW_NO_DRAIN
    # int(): the complement of an IntFlag would lose the bits that have no name
    offending = run.flags & (~int(allowed) | _refused_flags(run, operation))
    return offending | operation.required & ~run.flags | _missing(run, operation)


def _refused_flags(run: Run, operation: Operation) -> int:
    gencap, limits, refused = run.limits.gencap, run.limits, 0
    if not limits.bof_enabled or not gencap.block_on_fault:
        refused |= Flag.BOF
    if not interrupts_enabled(run):
        refused |= Flag.RCI
    if gencap.strict_order_no_memory:
        refused |= Flag.STORD
    for selector, needed in operation.selector_needs.items():
        if not run.has(needed):
            refused |= selector
    return int(refused)


def _missing(run: Run, operation: Operation) -> int:
    wanted = int(operation.requires_any)
    return 0 if not wanted or run.has(wanted) else wanted & -wanted


def _cache_control_allowed(run: Run, operation: Operation) -> bool:
    gencap, encoding = run.limits.gencap, run.flags & CACHE_CONTROL
    supported = {
        0: True,
        Flag.CC1: gencap.cache_control,
        Flag.CC2: gencap.dest_readback,
        Flag.CC2 | Flag.CC1: gencap.cache_control and gencap.dest_readback,
        Flag.CC3: gencap.durable_write,
        Flag.CC3 | Flag.CC2: gencap.dest_readback,
    }
    return encoding in operation.cache_controls and bool(supported.get(encoding, False))


def _flags_in_words(run: Run, invalid: int) -> str:
    def names(mask: int) -> str:
        common = [flag.name or "" for flag in Flag if flag & mask]
        return ", ".join(common + [f"bit {number}" for number in (6, *range(15, 24)) if mask >> number & 1])

    not_allowed, missing = invalid & run.flags, invalid & ~run.flags
    told = [f"not allowed here: {names(not_allowed)}"] if not_allowed else []
    return "flags " + "; ".join(told + ([f"required: {names(missing)}"] if missing else []))
