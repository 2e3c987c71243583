"""Create and Apply Delta Record: entries of a 16-bit group number and the 8 bytes that group shall have."""

from __future__ import annotations

from dataclasses import replace

from idxdd.spec import limits as spec
from idxdd.spec.codes import CompletionStatus, Operand
from idxdd.spec.records import ApplyDeltaDescriptor, CreateDeltaDescriptor, DeltaEntry
from idxdd.testing.reference.run import Effect, Run, advance, check_overlap, check_result, refuse

GROUP, ENTRY = spec.DELTA_GROUP_BYTES, spec.DELTA_ENTRY_BYTES
NO_DIFFERENCE, ALL_FIT, OVERFLOW = 0, 1, 2
"""Results of Create Delta."""


def create_delta(run: Run) -> Effect:
    """Group by group: read both sources, then store an entry if they differ; it stops where one of the two cannot be done."""
    wanted = CreateDeltaDescriptor.unpack(run.desc)
    sources = (Operand.SOURCE1, wanted.src1_addr, False), (Operand.SOURCE2, wanted.src2_addr, False)
    effect = advance(run, wanted.xfer_size, *sources)  # aligned groups: always whole ones
    readable = effect.done(wanted.xfer_size)
    first, second = run.memory.read(wanted.src1_addr, readable), run.memory.read(wanted.src2_addr, readable)
    written = 0
    for at in range(0, readable, GROUP):
        group = second[at : at + GROUP]
        if first[at : at + GROUP] == group:
            continue
        if written + ENTRY > wanted.max_delta_size:
            effect = Effect(result=OVERFLOW, bytes_completed=at)
            break
        storable = advance(run, ENTRY, (Operand.DESTINATION1, wanted.delta_addr + written, True))
        if not storable.succeeded:
            effect = replace(storable, bytes_completed=at)
            break
        run.memory.write(wanted.delta_addr + written, DeltaEntry.encode(group=at // GROUP, replacement=group).pack())
        written += ENTRY
    if effect.result != OVERFLOW:
        effect.result = ALL_FIT if written else NO_DIFFERENCE
    effect.payload = written.to_bytes(4, "little")
    return check_result(run, effect, bool(wanted.expected_result_mask >> effect.result & 1))


def apply_delta(run: Run) -> Effect:
    """Entry by entry: read it, check it, store it. Those before a bad one stay applied."""
    wanted = ApplyDeltaDescriptor.unpack(run.desc)
    previous = -1
    for done in range(0, wanted.delta_rec_size, ENTRY):
        readable = advance(run, ENTRY, (Operand.SOURCE1, wanted.delta_addr + done, False))
        if not readable.succeeded:
            return replace(readable, bytes_completed=done)
        entry = DeltaEntry.unpack(run.memory.read(wanted.delta_addr + done, ENTRY))
        if entry.group <= previous:
            return Effect(CompletionStatus.DR_OFFSET_NOINC, bytes_completed=done)
        if entry.group * GROUP >= wanted.xfer_size:
            return Effect(CompletionStatus.DR_OFFSET_ERANGE, bytes_completed=done)
        target = wanted.dst_addr + entry.group * GROUP
        storable = advance(run, GROUP, (Operand.DESTINATION1, target, True))
        if not storable.succeeded:
            return replace(storable, bytes_completed=done)
        run.memory.write(target, entry.replacement)
        previous = entry.group
    return Effect()


def check_create_delta(run: Run) -> None:
    """Groups of both sources are whole and aligned; the record may grow to its maximum without meeting a source."""
    wanted = CreateDeltaDescriptor.unpack(run.desc)
    size, most = wanted.xfer_size, wanted.max_delta_size
    _check_transfer(run)
    if not spec.DELTA_RECORD_BYTES_MIN <= most <= 1 << run.limits.max_xfer_shift:
        refuse(CompletionStatus.DR_ERANGE, f"maximum delta record size {most} is not 80 to the WQ's transfer size")
    _check_aligned(source_1=wanted.src1_addr, source_2=wanted.src2_addr, transfer_size=size)
    check_overlap(wanted.src1_addr, size, wanted.delta_addr, most, "source 1 and delta record")
    check_overlap(wanted.src2_addr, size, wanted.delta_addr, most, "source 2 and delta record")


def check_apply_delta(run: Run) -> None:
    """Whole entries; whole aligned groups of the destination."""
    wanted = ApplyDeltaDescriptor.unpack(run.desc)
    size, record_size = wanted.xfer_size, wanted.delta_rec_size
    _check_transfer(run)
    if not ENTRY <= record_size <= 1 << run.limits.max_xfer_shift or record_size % ENTRY:
        refuse(CompletionStatus.DR_ERANGE, f"delta record size {record_size} is no multiple of 10 up to the WQ's transfer size")
    _check_aligned(destination=wanted.dst_addr, transfer_size=size)
    check_overlap(wanted.delta_addr, record_size, wanted.dst_addr, size, "delta record and destination")


def _check_transfer(run: Run) -> None:
    if run.plain.xfer_size > spec.DELTA_TRANSFER_BYTES_MAX:
        refuse(CompletionStatus.XFER_ERANGE, f"transfer size {run.plain.xfer_size} is more than a group number can reach")


def _check_aligned(**values: int) -> None:
    for name, value in values.items():
        if value % GROUP:
            refuse(CompletionStatus.ADDR_ALIGN, f"{name.replace('_', ' ')} {value:#x} is not a multiple of 8")
