"""The engine's checks against tables written by hand: tests/golden/operations.txt, tests/operation_limits.py."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import pytest
from engine_bench import GENCAP, bench
from engine_bench import OPCAP as OPCAP_PLAIN
from operation_limits import COMPLETION, LIMITS, MAX_XFER_SHIFT, REGION_BYTES, REGIONS, Limit
from operation_rules import Rules, check_flags, check_reserved, rules

from idxdd import native
from idxdd.spec import registers
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import CompletionRecord

OPCAP = OPCAP_PLAIN | 1 << 0x21 | 0xF << 0x23
PAGE = 4096
VISITS_MAX = 1000
GENCAP_FULL = registers.GENCAP(GENCAP).replace(durable_write=True).raw
REFUSED_WITH: dict[int, CompletionStatus] = {
    Opcode.BATCH: CompletionStatus.BATCH_PAGE_FAULT,
    Opcode.DRAIN: CompletionStatus.PFAULT_RDBA,
}
Execute = Callable[[bytes], CompletionRecord]


def absent(opcode: Opcode) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not OPCAP >> opcode & 1, reason=f"not in the engine's OPCAP: {opcode.name}")


every_operation = pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.opcode.name, marks=absent(row.opcode)) for row in rules()]
)


@contextlib.contextmanager
def engine(pages: Iterable[int]) -> Iterator[Execute]:
    """Executes one descriptor after the other for a client that has these pages; every page request is refused."""
    with bench() as rig:
        rig.wq(
            0, gencap=GENCAP_FULL, opcfg=[OPCAP, 0, 0, 0], max_xfer_shift=MAX_XFER_SHIFT, max_batch_shift=5, bof=True,
            pasid_en=False,
            idcap=registers.IDCAP.encode(suppress_drain=True).raw,
        )  # fmt: skip
        rig.engine.handle_config(0, 0, 1)
        client = rig.client(0, 2, size=0)
        windows = {page: client.map(page, b"") for page in pages}
        record = windows[COMPLETION]

        def execute(desc: bytes) -> CompletionRecord:
            record[:32] = bytes(32)
            done = client.get("done")
            client.publish(desc)
            for _ in range(VISITS_MAX):
                for exit in rig.run():
                    answer = REFUSED_WITH.get(desc[7], CompletionStatus.PAGE_FAULT_NOBOF)
                    action = native.RESUME_FAIL if exit.kind == native.EXIT_FAULT else native.RESUME_FINISH
                    rig.engine.resume(exit.context, exit.generation, action, answer)
                if client.get("done") > done:
                    return CompletionRecord.unpack(record[:32])
            raise AssertionError(f"{desc.hex()} has not ended")

        yield execute
        for window in windows.values():
            window.release()


@pytest.fixture(scope="module")
def bare() -> Iterator[Execute]:
    """Nothing but the record's page."""
    with engine([COMPLETION]) as execute:
        yield execute


@pytest.fixture(scope="module")
def mapped() -> Iterator[Execute]:
    """Every region of the limits."""
    with engine(region + at for region in REGIONS for at in range(0, REGION_BYTES, PAGE)) as execute:
        yield execute


@every_operation
def test_flags(bare: Execute, row: Rules) -> None:
    """0x11 for exactly the flags that the operation does not take or lacks, with exactly these in the mask."""
    check_flags(row, bare, COMPLETION)


@every_operation
def test_reserved_bytes(bare: Execute, row: Rules) -> None:
    """0x12 for exactly the bytes that must be zero."""
    check_reserved(row, bare, COMPLETION)


@pytest.mark.parametrize("limit", [pytest.param(limit, id=limit.id, marks=absent(limit.opcode)) for limit in LIMITS])
def test_limit(mapped: Execute, limit: Limit) -> None:
    """Just inside and just outside the operation's own rules: one broken gives its status, none broken is carried out."""
    assert mapped(limit.descriptor()).code == limit.status
