"""No-op, Batch and Drain (8.3.1 to 8.3.3)."""

from __future__ import annotations

from collections.abc import Iterable

from idxdd.spec import limits as spec
from idxdd.spec import records
from idxdd.spec.codes import CompletionStatus, Flag, Operand, OpFlag
from idxdd.testing.reference.run import Effect, Outcome, Run, refuse

READBACKS = (
    (OpFlag.DRAIN_READBACK1_VALID, "readback_addr1", Operand.SOURCE1, (16, 23), Flag.ADDR1_TCS),
    (OpFlag.DRAIN_READBACK2_VALID, "readback_addr2", Operand.SOURCE2, (24, 31), Flag.ADDR2_TCS),
)
"""Flag, address, operand id, bytes, traffic-class selector of each readback."""


def no_op(run: Run) -> Effect:
    """Nothing."""
    return Effect()


def drain(run: Run) -> Effect:
    """Everything before has ended, because execution here is one after the other; read back where asked."""
    wanted = records.DrainDescriptor.unpack(run.desc)
    for flag, name, operand, _, _ in READBACKS:
        address = getattr(wanted, name)
        if run.has(flag) and not run.memory.allows(address, False):
            return Effect(CompletionStatus.PFAULT_RDBA, fault_addr=address, operand=operand)
    return Effect()


def reserved_drain(run: Run) -> Iterable[tuple[int, int]]:
    """An address counts only with its flag."""
    yield from [(32, 35), (40, 63)]
    yield from (where for flag, _, _, where, _ in READBACKS if not run.has(flag))


def addresses_drain(run: Run) -> Iterable[int]:
    """The readbacks in use."""
    return [selector for flag, _, _, _, selector in READBACKS if run.has(flag)]


def batch(run: Run) -> Effect:
    """Members in order. A failed member stops nobody but a later fence."""
    wanted = records.BatchDescriptor.unpack(run.desc)
    effect = Effect()
    failed = run.has(OpFlag.BATCH_ERROR)
    for number in range(wanted.desc_count):
        address = wanted.desc_list_addr + number * spec.DESCRIPTOR_BYTES
        if not run.memory.allows(address, False):
            effect.status, effect.fault_addr, effect.operand = CompletionStatus.BATCH_PAGE_FAULT, address, Operand.SOURCE1
            break
        member = run.memory.read(address, spec.DESCRIPTOR_BYTES)
        if failed and records.Descriptor.unpack(member).flags & Flag.FENCE:
            break
        outcome = run.execute_member(member)
        effect.members.append(outcome)
        failed |= outcome.status is not CompletionStatus.SUCCESS or _undelivered(outcome)
    effect.bytes_completed = len(effect.members)
    effect.result = int(failed and run.limits.gencap.batch_continuation)
    if failed and effect.succeeded:
        effect.status = CompletionStatus.BATCH_FAIL
    return effect


def check_batch(run: Run) -> None:
    """Count and place of the list."""
    wanted, batch1 = records.BatchDescriptor.unpack(run.desc), run.limits.gencap.batch1
    least = spec.BATCH_COUNT_MIN_WITH_BATCH1 if batch1 else spec.BATCH_COUNT_MIN
    most = 1 << run.limits.max_batch_shift
    if not least <= wanted.desc_count <= most:
        refuse(CompletionStatus.DESC_CNT_ERANGE, f"descriptor count {wanted.desc_count} is not {least} to {most}")
    if wanted.desc_list_addr % spec.DESCRIPTOR_LIST_ALIGN_BYTES:
        refuse(CompletionStatus.DESCLIST_ALIGN, f"descriptor list {wanted.desc_list_addr:#x} is not 64-byte aligned")


def _undelivered(outcome: Outcome) -> bool:
    return outcome.report is not None and outcome.report.status is CompletionStatus.CRA_XLAT
