"""The model just inside and just outside each operation's own rules."""

import pytest
from operation_limits import LIMITS, MAX_XFER_SHIFT, REGION_BYTES, REGIONS, Limit

from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

WQ = reference.Limits(GENCAP.encode(crc64=True, translation_fetch_stride=True), max_xfer_shift=MAX_XFER_SHIFT)


@pytest.mark.parametrize("limit", [pytest.param(limit, id=limit.id) for limit in LIMITS])
def test_limit(limit: Limit) -> None:
    """One rule broken gives its status; none broken, the operation is carried out."""
    memory = reference.Memory()
    for region in REGIONS:
        memory.map(region, REGION_BYTES)
    outcome = reference.execute(limit.descriptor(), memory, WQ)
    assert outcome.status is limit.status, outcome
    assert bool(outcome.rule) is (limit.status >= 0x10)
