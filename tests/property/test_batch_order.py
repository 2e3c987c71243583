"""Batches whose members run out of order: nothing that the architecture promises depends on the order between fences."""

import contextlib
from collections.abc import Iterator

import pytest
from engine_bench import CRAV, FENCE, MOVE, NOOP, RCR, Bench, Client, bench, descriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import CompletionRecord
from idxdd.spec.registers import GENCAP

LIST_AT, RECORDS_AT, BATCH_RECORD_AT, DATA_AT = 0x1000, 0x8000, 0x20, 0x40000
OUT_OF_RANGE = (1 << 32) - 1


class Shuffled:
    """An engine with a seed, and a client whose members can be watched."""

    def __init__(self, seed: int, *, batch1: bool = False) -> None:
        self._stack = contextlib.ExitStack()
        self.rig: Bench = self._stack.enter_context(bench())
        self.rig.engine = native.Engine(self.rig._published, spin_us=0, batch_seed=seed)
        more = {"gencap": GENCAP.encode(batch1=True, batch_continuation=True, max_xfer_shift=31).raw} if batch1 else {}
        self.rig.wq(0, max_xfer_shift=21, max_batch_shift=8, pasid_en=False, **more)
        self.client: Client = self.rig.client(0, 2, size=1 << 20)

    def close(self) -> None:
        self._stack.close()

    def batch(self, members: list[bytes]) -> CompletionRecord:
        """The batch's record."""
        memory, base = self.client.memory, self.client.base
        memory[LIST_AT : LIST_AT + 64 * len(members)] = b"".join(members)
        memory[BATCH_RECORD_AT : BATCH_RECORD_AT + 32] = bytes(32)
        memory[RECORDS_AT : RECORDS_AT + 32 * 256] = bytes(32 * 256)
        done = self.client.get("done")
        self.client.publish(descriptor(Opcode.BATCH, CRAV | RCR, base + BATCH_RECORD_AT, base + LIST_AT, 0, len(members)))
        for _ in range(200):
            assert not self.rig.run()
            if self.client.get("done") > done:
                return CompletionRecord.unpack(bytes(memory[BATCH_RECORD_AT : BATCH_RECORD_AT + 32]))
        raise AssertionError("the batch ends")

    def statuses(self, count: int) -> list[int]:
        """Of the members' records."""
        return [self.client.memory[RECORDS_AT + 32 * n] for n in range(count)]


def member(number: int, *, fence: bool = False, fails: bool = False) -> bytes:
    """A no-op, or a move that is too long."""
    record = 0x10000 + RECORDS_AT + 32 * number
    flags = CRAV | RCR | (FENCE if fence else 0)
    if fails:
        return descriptor(MOVE, flags, record, 0x10000, 0x20000, OUT_OF_RANGE)
    return descriptor(NOOP, flags, record)


@pytest.fixture(params=[0, 1, 7], ids=["in order", "seed 1", "seed 7"])
def engine(request: pytest.FixtureRequest) -> Iterator[Shuffled]:
    """In order, and out of it."""
    made = Shuffled(request.param)
    yield made
    made.close()


def test_records_counts_and_fences_do_not_depend_on_the_order(engine: Shuffled) -> None:
    """Whatever runs first: every member before a fence that trips has run, none behind it, and the count says how many."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.tuples(st.booleans(), st.sampled_from([False, False, False, True])), min_size=2, max_size=80))
    def hold(kinds: list[tuple[bool, bool]]) -> None:
        found = engine.batch([member(n, fence=fence, fails=fails) for n, (fence, fails) in enumerate(kinds)])
        failed, ran = False, len(kinds)
        for n, (fence, fails) in enumerate(kinds):
            if fence and failed:
                ran = n
                break
            failed |= fails
        assert found.bytes_completed == ran
        assert found.status == (CompletionStatus.BATCH_FAIL if failed else CompletionStatus.SUCCESS)
        expected = [CompletionStatus.XFER_ERANGE if fails else CompletionStatus.SUCCESS for _, fails in kinds[:ran]]
        assert engine.statuses(len(kinds)) == [*expected, *[0] * (len(kinds) - ran)]

    hold()


def last_writer(engine: Shuffled, count: int, fences: frozenset[int] = frozenset()) -> int:
    """Every member writes its number to the same place: which one was the last."""
    memory, base = engine.client.memory, engine.client.base
    for n in range(count):
        memory[DATA_AT + 8 * n : DATA_AT + 8 * n + 8] = (n + 1).to_bytes(8, "little")
    found = engine.batch(
        [descriptor(MOVE, FENCE if n in fences else 0, 0, base + DATA_AT + 8 * n, base + 0x80000, 8) for n in range(count)]
    )
    assert found.status == CompletionStatus.SUCCESS
    return int.from_bytes(memory[0x80000:0x80008], "little") - 1


def test_the_order_is_drawn_and_a_seed_draws_it_again() -> None:
    """In order the last member writes last; out of order some other one does, and the same one each time a run is repeated."""

    def run(seed: int) -> list[int]:
        made = Shuffled(seed)
        try:
            return [last_writer(made, 12) for _ in range(20)]
        finally:
            made.close()

    assert run(0) == [11] * 20
    assert len(set(run(5))) > 3
    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_fence_keeps_its_place() -> None:
    """What stands behind the last fence runs last, whatever the seed: here it is one member."""
    for seed in range(1, 12):
        made = Shuffled(seed)
        try:
            assert last_writer(made, 12, frozenset({11})) == 11
            assert last_writer(made, 40, frozenset({3, 39})) == 39
        finally:
            made.close()


@pytest.mark.parametrize("batch1", [False, True])
def test_a_batch_of_one_needs_its_capability(batch1: bool) -> None:
    """GENCAP.52; without it a single member left is submitted by itself."""
    made = Shuffled(0, batch1=batch1)
    try:
        found = made.batch([member(0)])
        assert found.status == (CompletionStatus.SUCCESS if batch1 else CompletionStatus.DESC_CNT_ERANGE)
        assert made.statuses(1) == [CompletionStatus.SUCCESS if batch1 else 0]
    finally:
        made.close()
