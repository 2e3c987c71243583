"""Resumed as software does it, work ends as if no page had ever been missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import DRAWN, Model, to_the_end, undisturbed, works

from idxdd.spec.codes import Opcode
from idxdd.spec.registers import GENCAP
from idxdd.testing.reference import Limits

GENCAP_FULL = GENCAP.encode(
    block_on_fault=True, overlap_copy=True, fill16=True, crc64=True, fault_info=True, translation_fetch_stride=True
)
LIMITS = Limits(GENCAP_FULL)


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
