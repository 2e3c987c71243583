"""The C engine against the reference model: any descriptor leaves the same bytes, record, report and interrupt."""

from collections.abc import Iterator

import pytest
from engine_bench import GENCAP as GENCAP_RAW
from engine_bench import OPCAP, Bench, bench, descriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Opcode
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
opcodes = st.one_of(st.sampled_from([0, 2, 3, 3, 4, 5, 0x10, 0x11]), st.integers(0, 255))
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


def memory(seed: int) -> tuple[bytearray, reference.Memory]:
    """The same pages twice: as one buffer for the engine, as a model."""
    content = bytearray((i * 7 + (i >> 8) * 13 + seed) & 0xFF for i in range(SPAN))
    if seed % 3 == 0:
        content[PAGE : 3 * PAGE] = content[: 2 * PAGE]  # so that compares succeed
    model = reference.Memory()
    for page in LAYOUT_PAGES:
        model.place(BASE + page * PAGE, bytes(content[page * PAGE : (page + 1) * PAGE]))
    return content, model


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


def run_engine(rig: Bench, desc: bytes, content: bytearray) -> tuple[dict[int, bytes], list[tuple[int, int]], bool]:
    """Memory afterwards (mapped pages), reports as (status, address), and whether an interrupt was raised."""
    client = rig.client(0, 2, size=0)
    windows = {page: client.map(BASE + page * PAGE, content[page * PAGE : (page + 1) * PAGE]) for page in LAYOUT_PAGES}
    interrupts = rig.statistics(0, "interrupts_requested")
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
    raised = rig.statistics(0, "interrupts_requested") > interrupts
    left = {page: bytes(window) for page, window in windows.items()}
    for window in windows.values():
        window.release()
    rig.leave(client)
    return left, reports, raised


@pytest.fixture(scope="module")
def rig() -> Iterator[Bench]:
    """One engine for all examples; handle 1 is valid for the WQ."""
    with bench() as made:
        made.wq(0, max_xfer_shift=21, max_batch_shift=5, bof=True, pasid_en=False)
        made.engine.handle_config(0, 1, 1)
        yield made


LIMITS = reference.Limits(
    GENCAP(GENCAP_RAW), opcfg=OPCAP, max_xfer_shift=21, max_batch_shift=5, pasid_enabled=False, int_handles=frozenset({1})
)


@settings(max_examples=400, deadline=None)
@given(desc=descriptors, seed=st.integers(0, 5))
@example(desc=descriptor(Opcode.MEMMOVE, 0x0C, BASE + 8 * PAGE, BASE + 100, BASE + 200, 2 * PAGE), seed=0)
@example(desc=descriptor(Opcode.MEMMOVE, 0x0C, BASE + 8 * PAGE, BASE + 100, BASE + 200, 4 * PAGE), seed=0)
@example(desc=descriptor(Opcode.COMPARE, 0x8C, BASE + 8 * PAGE, BASE, BASE + PAGE, 100, rest=b"\1"), seed=0)
def test_engine_and_reference_agree(rig: Bench, desc: bytes, seed: int) -> None:
    """Any descriptor, valid or not, leaves the same memory, record, reports and interrupt."""
    content, model = memory(seed)
    outcome = reference.execute(desc, model, LIMITS)
    left, reports, raised = run_engine(rig, desc, content)
    for page in LAYOUT_PAGES:
        assert left[page] == model.read(BASE + page * PAGE, PAGE), f"page {page}, {outcome.status!r}"
    expected = [] if outcome.report is None else [outcome.report.status]
    assert [status for status, _ in reports] == expected
    if outcome.report and outcome.report.status in (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.CRA_XLAT):
        assert reports[0][1] == outcome.report.fault_addr
    assert raised == (outcome.interrupt is not None)


members = st.builds(
    descriptor,
    st.sampled_from([0, 3, 4, 5, 1, 2]),
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
    content, model = memory(seed)
    raw = b"".join(batch)
    room = SPAN - offset
    content[offset : offset + min(len(raw), room)] = raw[:room]
    for i in range(0, len(raw), 64):
        if model.allows(BASE + offset + i, True):
            model.write(BASE + offset + i, raw[i : i + 64])
    desc = descriptor(Opcode.BATCH, 0x0C, BASE + 8 * PAGE, BASE + offset, 0, len(batch))
    reference.execute(desc, model, LIMITS)
    left, _, _ = run_engine(rig, desc, content)
    for page in LAYOUT_PAGES:
        assert left[page] == model.read(BASE + page * PAGE, PAGE), f"page {page}"
