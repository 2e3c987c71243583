"""The engine at missing pages: what it leaves half-way can be resumed, and a page request that is answered leaves nothing."""

from collections.abc import Iterator

import pytest
from engine_bench import GENCAP as GENCAP_RAW
from engine_bench import OPCAP, Bench, bench
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import COMPLETION, PAGE, Model, Work, operations_of, to_the_end, undisturbed, works

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, Operand
from idxdd.spec.records import CompletionRecord
from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

LIMITS = reference.Limits(GENCAP(GENCAP_RAW), opcfg=OPCAP, pasid_enabled=False)
VISITS_MAX = 4000


every_operation = pytest.mark.parametrize("opcode", operations_of(OPCAP))


@pytest.fixture(scope="module")
def rig() -> Iterator[Bench]:
    """One engine for all examples."""
    with bench() as made:
        made.wq(0, max_xfer_shift=21, max_batch_shift=5, bof=True, pasid_en=False)
        yield made


class Engine:
    """The C engine as a Machine, with the memory of one Work."""

    def __init__(self, rig: Bench, work: Work, *, retry: bool) -> None:
        self._rig, self._work, self._retry = rig, work, retry
        self._client = rig.client(0, 2, size=0)
        self._record = self._client.map(COMPLETION, b"")
        self._windows: dict[int, memoryview] = {}
        self.faults = 0
        for page in work.content.keys() - work.missing:
            self.provide(page)

    def provide(self, page: int) -> None:
        """The page at this address exists from now on, with its content."""
        self._windows[page] = self._client.map(page, self._work.content[page])

    def execute(self, desc: bytes) -> bytes:
        """Carry it out; its record. A fault is refused, or its page is given and the engine told to try again."""
        self._record[:32] = bytes(32)
        done = self._client.get("done")
        self._client.publish(desc)
        for _ in range(VISITS_MAX):
            for exit in self._rig.run():
                self._answer(exit)
            if self._client.get("done") > done:
                return bytes(self._record[:32])
        raise AssertionError(f"not done after {VISITS_MAX} visits: {self._work}")

    def _answer(self, exit: native.Exit) -> None:
        assert exit.kind == native.EXIT_FAULT, f"{exit} of {self._work}"
        assert exit.operand != Operand.COMPLETION_RECORD
        self.faults += 1
        if self._retry:
            self.provide(exit.address & ~(PAGE - 1))
            self._rig.engine.resume(exit.context, exit.generation, native.RESUME_RETRY)
        else:
            bof = exit.desc[4] & Flag.BOF
            status = CompletionStatus.PAGE_FAULT_IR if bof else CompletionStatus.PAGE_FAULT_NOBOF
            self._rig.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, status)

    def pages(self) -> dict[int, bytes]:
        """Address and content of every page but the record's, missing ones included."""
        return self._work.content | {page: bytes(window) for page, window in self._windows.items()}

    def close(self) -> None:
        """Give everything back."""
        for window in (*self._windows.values(), self._record):
            window.release()
        self._rig.leave(self._client)


@every_operation
def test_resumed_work_equals_undisturbed_work(rig: Bench, opcode: Opcode) -> None:
    """Any pages of any operand missing, every fault refused: resumed, it ends as if all had been there."""
    faults = 0

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        nonlocal faults
        work = data.draw(works(opcode))
        engine = Engine(rig, work, retry=False)
        try:
            ending, resumed = to_the_end(engine, work)
        finally:
            engine.close()
        assert ending == undisturbed(work, LIMITS)
        faults += resumed

    hold()
    assert faults > 10, "pages were missing where it mattered"


@every_operation
def test_first_partial_result_is_the_model_s(rig: Bench, opcode: Opcode) -> None:
    """Record and memory at the first fault: status, write bit, operand, fault address, bytes completed, progress values."""

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        work = data.draw(works(opcode))
        engine, model = Engine(rig, work, retry=False), Model(work, LIMITS)
        try:
            found = CompletionRecord.unpack(engine.execute(work.desc))
            assert found == CompletionRecord.unpack(model.execute(work.desc))
            assert engine.pages() == model.pages()
        finally:
            engine.close()

    hold()


@every_operation
def test_retried_work_equals_undisturbed_work(rig: Bench, opcode: Opcode) -> None:
    """A page request that is answered with the page goes on where it stopped and does nothing twice."""
    faults = 0

    @settings(max_examples=30, deadline=None, database=None)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        nonlocal faults
        work = data.draw(works(opcode))
        engine = Engine(rig, work, retry=True)
        try:
            ending, resumed = to_the_end(engine, work)
        finally:
            engine.close()
        assert not resumed
        assert ending == undisturbed(work, LIMITS)
        faults += engine.faults

    hold()
    assert faults > 10, "pages were missing where it mattered"
