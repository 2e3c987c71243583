"""Resumed as software does it, work ends as if no page had ever been missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import DRAWN, Model, to_the_end, undisturbed, works

from idxdd.spec.codes import CompletionStatus, Flag, Opcode
from idxdd.spec.records import BatchDescriptor, FillDescriptor
from idxdd.spec.registers import GENCAP
from idxdd.testing.reference import Limits, Memory, continuation, execute

GENCAP_FULL = GENCAP.encode(
    block_on_fault=True,
    batch_continuation=True,
    overlap_copy=True,
    fill16=True,
    crc64=True,
    fault_info=True,
    translation_fetch_stride=True,
)
LIMITS = Limits(GENCAP_FULL)


COMPLETION, LIST, TARGET = 0x10000, 0x20000, 0x40000


@pytest.mark.parametrize("opcode", DRAWN, ids=lambda opcode: opcode.name)
def test_resumed_work_equals_undisturbed_work(opcode: Opcode) -> None:
    """Any pages of any operand missing: same memory, result, CRC, tags, record, and offset of the difference."""
    faults = 0

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        nonlocal faults
        work = data.draw(works(opcode))
        ending, resumed = to_the_end(Model(work, LIMITS), work)
        assert ending == undisturbed(work, LIMITS)
        faults += resumed

    hold()
    assert faults > 10, "pages were missing where it mattered"


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("missing", [LIST, LIST + 4096])
def test_resumed_batch_equals_undisturbed_batch(missing: int, failing: bool) -> None:
    """A page of the list missing: the rest runs, knows of a failure before it, and its fence stops as the whole's would."""
    members = [
        FillDescriptor.encode(opcode=Opcode.MEMFILL, dst_addr=TARGET + 8 * n, xfer_size=8, pattern_lower=n + 1)
        for n in range(8)
    ]
    if failing:
        members[0] = members[0].replace(xfer_size=0)
    members[6] = members[6].replace(flags=Flag.FENCE)
    start = LIST + 4096 - 4 * 64
    batch = BatchDescriptor.encode(
        opcode=Opcode.BATCH, flags=Flag.CRAV | Flag.RCR, completion_addr=COMPLETION, desc_list_addr=start, desc_count=8
    ).pack()
    memories = [Memory(), Memory()]
    for memory in memories:
        memory.place(start, b"".join(member.pack() for member in members))
        memory.map(COMPLETION, 32)
        memory.map(TARGET, 64)
    whole, holed = memories
    straight = execute(batch, whole, LIMITS)
    kept = holed.read(missing, 4096)
    holed.unmap(missing, 1)
    first = execute(batch, holed, LIMITS)
    assert first.status is CompletionStatus.BATCH_PAGE_FAULT
    assert first.record is not None
    holed.place(missing, kept)
    rest = execute(continuation(batch, first.record), holed, LIMITS)
    assert rest.status is straight.status is (CompletionStatus.BATCH_FAIL if failing else CompletionStatus.SUCCESS)
    assert len(first.members) + len(rest.members) == len(straight.members) == (6 if failing else 8)
    assert holed.read(TARGET, 64) == whole.read(TARGET, 64)
