"""The C engine against the reference model: any descriptor leaves the same bytes, record, report and interrupt."""

from collections.abc import Iterator

import pytest
from engine_bench import GENCAP as GENCAP_RAW
from engine_bench import OPCAP, Bench, bench, descriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resuming import COMPLETION, machine_memory, operations_of, works

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import view
from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

PAGE = 4096
BASE = 0x10_0000
LAYOUT_PAGES = (0, 1, 2, 4, 5, 8)  # of ten: holes between, so that operands run into missing pages
SPAN = 10 * PAGE

flags = st.one_of(
    st.just(0x0C),
    st.sampled_from(
        [0x00, 0x04, 0x08, 0x0C, 0x0E, 0x8C, 0x1C, 0x10C, 0x200C, 0x1000C, 0x4000C, 0x8000C, 0x2000C, 0xF000C, 0x1]
    ),
    st.integers(0, (1 << 24) - 1),
)
addresses = st.one_of(
    st.integers(BASE - 64, BASE + SPAN + 64),
    st.sampled_from([BASE, BASE + PAGE, BASE + 4 * PAGE, BASE + 3 * PAGE - 8, (1 << 64) - 32, (1 << 64) - 1, 0]),
    st.integers(0, (1 << 64) - 1),
)
sizes = st.one_of(
    st.integers(0, 200), st.integers(0, 4 * PAGE), st.sampled_from([PAGE, 2 * PAGE, 1 << 21, (1 << 21) + 1, (1 << 32) - 1])
)
tails = st.one_of(st.just(bytes(24)), st.binary(max_size=24).map(lambda b: b.ljust(24, b"\0")))
opcodes = st.one_of(st.sampled_from([code for code in reference.OPERATIONS if code != Opcode.BATCH]), st.integers(0, 255))
records = st.one_of(st.just(BASE + 8 * PAGE), st.just(BASE + 8 * PAGE + 0x40), addresses.map(lambda a: a & ~31), addresses)

descriptors = st.builds(
    descriptor,
    opcodes,
    flags,
    record=records,
    first=addresses,
    second=addresses,
    size=sizes,
    handle=st.sampled_from([0, 0, 0, 1, 2]),
    rest=tails,
)


def memory(seed: int) -> reference.Memory:
    """Pages of a ramp with holes between."""
    content = bytearray((i * 7 + (i >> 8) * 13 + seed) & 0xFF for i in range(SPAN))
    if seed % 3 == 0:
        content[PAGE : 3 * PAGE] = content[: 2 * PAGE]  # so that compares succeed
    model = reference.Memory()
    for page in LAYOUT_PAGES:
        model.place(BASE + page * PAGE, bytes(content[page * PAGE : (page + 1) * PAGE]))
    return model


def fault_answer(exit: native.Exit) -> int:
    """What the device loop decides: the paging service answers every page request with "invalid"."""
    opcode, bof = exit.desc[7], exit.desc[4] & 2
    if exit.operand == 5:
        return 0x1A
    if opcode == Opcode.BATCH:
        return 0x06
    if opcode == Opcode.DRAIN:
        return 0x1F
    return 0x04 if bof else 0x03


def run_engine(
    rig: Bench, desc: bytes, pages: dict[int, bytes], wq: int = 0
) -> tuple[dict[int, bytes], list[tuple[int, int]], bool]:
    """Pages afterwards, reports as (status, address), and whether an interrupt was raised."""
    client = rig.client(wq, 2, size=0)
    windows = {page: client.map(page, content) for page, content in pages.items()}
    interrupts = rig.statistics(wq, "interrupts_requested")
    client.publish(desc)
    reports = []
    for _ in range(400):
        exits = rig.run()
        for exit in exits:
            if exit.kind == native.EXIT_FAULT:
                answer = fault_answer(exit)
                if answer == 0x1A:
                    reports.append((0x1A, exit.address))
                rig.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, answer)
            elif exit.kind == native.EXIT_ERROR:
                reports.append((exit.status, exit.address if exit.status in (3, 4, 6, 0x1F) else 0))
                rig.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
        if client.get("done") == 1:
            break
    assert client.get("done") == 1, "every descriptor ends"
    raised = rig.statistics(wq, "interrupts_requested") > interrupts
    left = {page: bytes(window) for page, window in windows.items()}
    for window in windows.values():
        window.release()
    rig.leave(client)
    return left, reports, raised


FULL = reference.Limits(
    GENCAP(GENCAP_RAW), opcfg=OPCAP, max_xfer_shift=21, max_batch_shift=5, pasid_enabled=False, int_handles=frozenset({1})
)
PLAIN = reference.Limits(
    GENCAP(0), opcfg=OPCAP, max_xfer_shift=13, max_batch_shift=1, bof_enabled=False, user_int_en=False, tc_enabled=1,
    int_handles=frozenset({1}),
)  # fmt: skip
WQS = (FULL, PLAIN)
"""WQ 0 can do everything, WQ 1 as little as there is."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Bench]:
    """One engine for all examples; handle 1 is valid for both WQs."""
    with bench() as made:
        for wq, limits in enumerate(WQS):
            made.wq(
                wq, gencap=limits.gencap.raw, max_xfer_shift=limits.max_xfer_shift, max_batch_shift=limits.max_batch_shift,
                bof=limits.bof_enabled, pasid_en=limits.pasid_enabled, pasid=2, user_int_en=limits.user_int_en,
                tc_enabled=limits.tc_enabled,
            )  # fmt: skip
        made.engine.handle_config(0, 1, 1)
        yield made


def agree(rig: Bench, desc: bytes, model: reference.Memory, wq: int = 0) -> reference.Outcome:
    """Execute it in both; memory, reports and interrupts must be the same."""
    before = model.pages()
    outcome = reference.execute(desc, model, WQS[wq])
    left, reports, raised = run_engine(rig, desc, before, wq)
    ends = (*outcome.members, outcome)
    expected = [end.report for end in ends if end.report]
    assert [status for status, _ in reports] == [report.status for report in expected], f"{view(desc)!r}: {outcome}"
    for (_, address), report in zip(reports, expected, strict=True):
        if report.status in (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.CRA_XLAT):
            assert address == report.fault_addr
    for page, content in model.pages().items():
        assert left[page] == content, f"page {page:#x}: {view(desc)!r}: {outcome}"
    assert raised == any(end.interrupt is not None for end in ends)
    return outcome


@settings(max_examples=400, deadline=None)
@given(desc=descriptors, seed=st.integers(0, 5), wq=st.sampled_from([0, 0, 1]))
@example(desc=descriptor(Opcode.MEMMOVE, 0x0C, BASE + 8 * PAGE, BASE + 100, BASE + 200, 2 * PAGE), seed=0, wq=0)
@example(desc=descriptor(Opcode.MEMMOVE, 0x0C, BASE + 8 * PAGE, BASE + 100, BASE + 200, 4 * PAGE), seed=0, wq=0)
@example(desc=descriptor(Opcode.COMPARE, 0x8C, BASE + 8 * PAGE, BASE, BASE + PAGE, 100, rest=b"\1"), seed=0, wq=0)
def test_engine_and_reference_agree(rig: Bench, desc: bytes, seed: int, wq: int) -> None:
    """Any descriptor, valid or not, leaves the same memory, record, reports and interrupt."""
    agree(rig, desc, memory(seed), wq)


flips = st.lists(st.integers(32, 511), max_size=2)  # not bytes 0-3: on a dedicated WQ they do not count


@pytest.mark.parametrize("opcode", operations_of(OPCAP))
def test_almost_valid_descriptors_agree(rig: Bench, opcode: Opcode) -> None:
    """Valid work of each operation with up to two bits of its descriptor flipped, on a WQ of many or of few capabilities."""
    seen: set[CompletionStatus] = set()

    @settings(max_examples=80, deadline=None, database=None)
    @given(data=st.data(), flipped=flips, wq=st.sampled_from([0, 0, 1]))
    def hold(data: st.DataObject, flipped: list[int], wq: int) -> None:
        work = data.draw(works(opcode))
        desc = int.from_bytes(work.desc, "little")
        for bit in flipped:
            desc ^= 1 << bit
        model = machine_memory({page: content for page, content in work.content.items() if page not in work.missing})
        model.map(COMPLETION, PAGE)
        seen.add(agree(rig, desc.to_bytes(64, "little"), model, wq).status)

    hold()
    assert len(seen) > 3, f"only {seen} were seen"


members = st.builds(
    descriptor,
    st.sampled_from([0, 3, 4, 5, 1, 2, *(code for code in (0x06, 0x20) if OPCAP >> code & 1)]),
    st.sampled_from([0x0C, 0x0C, 0x0D, 0x04]),
    record=st.integers(0, 31).map(lambda i: BASE + 8 * PAGE + 0x400 + 32 * i),
    first=st.integers(BASE, BASE + 6 * PAGE),
    second=st.integers(BASE, BASE + 6 * PAGE),
    size=st.integers(1, 600),
)


@settings(max_examples=150, deadline=None)
@given(batch=st.lists(members, min_size=0, max_size=12), offset=st.sampled_from([0, 3 * PAGE - 64 * 4]), seed=st.integers(0, 2))
def test_batches_agree(rig: Bench, batch: list[bytes], offset: int, seed: int) -> None:
    """Lists with failing, faulting, fenced and misplaced members, also ones that run off their page."""
    model = memory(seed)
    raw = b"".join(batch)
    for i in range(0, len(raw), 64):
        if model.allows(BASE + offset + i, True):
            model.write(BASE + offset + i, raw[i : i + 64])
    agree(rig, descriptor(Opcode.BATCH, 0x0C, BASE + 8 * PAGE, BASE + offset, 0, len(batch)), model)


anywhere = st.builds(
    descriptor,
    st.sampled_from([0, 3, 3, 4, 5, 9, 6]),
    st.sampled_from([0x0C, 0x0C, 0x0D, 0x04]),
    record=st.integers(0, 3 * PAGE // 32 - 1).map(lambda i: BASE + 32 * i),
    first=st.integers(BASE, BASE + 2 * PAGE),
    second=st.integers(BASE, BASE + 2 * PAGE),
    size=st.integers(1, 600),
)


@settings(max_examples=100, deadline=None)
@given(batch=st.lists(anywhere, min_size=2, max_size=12), seed=st.integers(0, 2))
def test_records_and_data_of_members_lie_in_each_other(rig: Bench, batch: list[bytes], seed: int) -> None:
    """Records inside sources, destinations over other members' records, all of it over the list itself: each member is what
    lies in the list when its turn comes, and nothing is read twice."""
    model = memory(seed)
    raw = b"".join(batch)
    model.write(BASE, raw)
    agree(rig, descriptor(Opcode.BATCH, 0x0C, BASE + 8 * PAGE, BASE, 0, len(batch)), model)
