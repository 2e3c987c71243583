"""Engine and agent against the reference model: operands, records and lists in this process's memory, in every kind of page.

Whatever mixture of library buffers, heap, read-only, untouched and missing pages a descriptor names, it leaves the same bytes,
the same record and the same reports as over one plain address space.
"""

from collections.abc import Iterator

import pytest
from agent_memory import AgentMemory, Kind, Pages
from engine_bench import GENCAP as GENCAP_RAW
from engine_bench import Bench, bench, descriptor
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Flag, Opcode
from idxdd.spec.registers import GENCAP
from idxdd.testing import reference

PAGE = 4096
BASE = 0x10_0000  # nothing of a process lies so low
PAGES = 10
SPAN = PAGES * PAGE
RECORDS = BASE + 8 * PAGE
OPCODES = sum(1 << opcode for opcode in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17))

kinds = st.lists(
    st.sampled_from([Kind.BUFFER, Kind.HEAP, Kind.HEAP, Kind.HEAP, Kind.READ_ONLY, Kind.ABSENT, Kind.UNTOUCHED]),
    min_size=PAGES - 2,
    max_size=PAGES - 2,
)
record_kinds = st.sampled_from([Kind.BUFFER, Kind.HEAP, Kind.HEAP, Kind.READ_ONLY, Kind.ABSENT])
flags = st.sampled_from([0x0C, 0x0C, 0x0C, 0x0E, 0x04, 0x8C, 0x1000C, 0x4000C, 0x2000C, 0x8000C])
addresses = st.one_of(
    st.integers(BASE, BASE + 8 * PAGE),
    st.integers(0, 8).map(lambda n: BASE + n * PAGE),
    st.integers(0, 8 * 512).map(lambda n: BASE + 8 * n),
)
sizes = st.one_of(
    st.integers(1, 200),
    st.integers(1, 6 * PAGE),
    st.sampled_from([PAGE, 2 * PAGE, 520, 1040, 4104, 512, 3 * 512]),
    st.integers(1, 512).map(lambda n: 8 * n),
)
tails = st.one_of(
    st.just(bytes(24)),
    st.tuples(addresses, st.just(8 * PAGE)).map(lambda t: t[0].to_bytes(8, "little") + t[1].to_bytes(4, "little") + bytes(12)),
    st.binary(max_size=24).map(lambda b: b.ljust(24, b"\0")),
)
opcodes = st.sampled_from([0, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17])
descriptors = st.builds(
    descriptor,
    opcodes,
    flags,
    record=st.sampled_from([RECORDS, RECORDS + 0x40, RECORDS + PAGE]),
    first=addresses,
    second=addresses,
    size=sizes,
    rest=tails,
)

LIMITS = reference.Limits(
    GENCAP(GENCAP_RAW), opcfg=OPCODES, max_xfer_shift=21, max_batch_shift=5, pasid_enabled=False, int_handles=frozenset()
)


def content_of(seed: int) -> bytearray:
    content = bytearray((i * 7 + (i >> 8) * 13 + seed) & 0xFF for i in range(SPAN))
    if seed % 3 == 0:
        content[PAGE : 4 * PAGE] = content[: 3 * PAGE]  # so that compares succeed
    return content


def model_of(layout: list[Kind], content: bytes, *, touches: bool) -> reference.Memory:
    """An untouched page is one that is brought, by a descriptor that may block; else it is none."""
    model = reference.Memory()
    for page, kind in enumerate(layout):
        address = BASE + page * PAGE
        if kind in (Kind.BUFFER, Kind.HEAP, Kind.READ_ONLY):
            model.place(address, bytes(content[page * PAGE : (page + 1) * PAGE]))
        if kind is Kind.READ_ONLY:
            model.map(address, PAGE, writable=False)
        if kind is Kind.UNTOUCHED and touches:
            model.map(address, PAGE)
    return model


def fault_answer(exit: native.Exit) -> int:
    """The paging service answers every page request with "invalid"."""
    if exit.operand == 5:
        return 0x1A
    if exit.desc[7] == Opcode.BATCH:
        return 0x06
    if exit.desc[7] == Opcode.DRAIN:
        return 0x1F
    return 0x04 if exit.desc[4] & Flag.BOF else 0x03


class Reached:
    """One client whose memory is this process's own."""

    def __init__(self) -> None:
        self._bench = bench()
        self.rig: Bench = self._bench.__enter__()
        self.rig.wq(0, max_xfer_shift=21, max_batch_shift=5, bof=True, pasid_en=False, opcfg=[OPCODES, 0, 0, 0])

    def run(self, desc: bytes, pages: Pages) -> list[tuple[int, int]]:
        """Execute it; the reports, as (status, address)."""
        client = self.rig.client(0, 2, size=0)
        pages.show(client.space)
        shared = AgentMemory()
        agent = shared.agent()
        self.rig.settle(
            self.rig.engine.agent_add(
                client.space, memory_fd=shared.memory, bell_fd=shared.bell, doorbell_fd=shared.doorbell, timeout=5.0
            )
        )
        client.publish(desc)
        reports = []
        for _ in range(4000):
            exits = self.rig.run()
            agent.look(True)
            for exit in exits:
                if exit.kind == native.EXIT_FAULT:
                    answer = fault_answer(exit)
                    if answer == 0x1A:
                        reports.append((0x1A, exit.address))
                    self.rig.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, answer)
                elif exit.kind == native.EXIT_ERROR:
                    reports.append((exit.status, exit.address))
                    self.rig.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
            if client.get("done") == 1:
                break
        assert client.get("done") == 1, "every descriptor ends"
        self.rig.settle(self.rig.engine.portal_remove(client.number))
        self.rig.settle(self.rig.engine.agent_remove(client.space))
        self.rig.settle(self.rig.engine.barrier())
        self.rig._clients.remove(client)
        client.close()
        del agent
        shared.close()
        return reports

    def close(self) -> None:
        self._bench.__exit__(None, None, None)


@pytest.fixture(scope="module")
def reached() -> Iterator[Reached]:
    made = Reached()
    yield made
    made.close()


def check(reached: Reached, desc: bytes, layout: list[Kind], content: bytearray) -> None:
    touches = bool(desc[4] & Flag.BOF)
    model = model_of(layout, content, touches=touches)
    outcome = reference.execute(desc, model, LIMITS)
    pages = Pages(BASE, layout, bytes(content))
    try:
        reports = reached.run(desc, pages)
        expected = [one.report.status for one in (*outcome.members, outcome) if one.report is not None]
        assert [status for status, _ in reports] == expected
        if outcome.report and outcome.report.status in (CompletionStatus.PAGE_FAULT_NOBOF, CompletionStatus.CRA_XLAT):
            assert reports[0][1] == outcome.report.fault_addr
        for page, kind in enumerate(layout):
            if model.allows(BASE + page * PAGE, False):
                assert pages.read(page) == model.read(BASE + page * PAGE, PAGE), f"page {page}, {kind}, {outcome.status!r}"
    finally:
        pages.close()


H, B, R, A, U = Kind.HEAP, Kind.BUFFER, Kind.READ_ONLY, Kind.ABSENT, Kind.UNTOUCHED


@settings(max_examples=500, deadline=None)
@given(desc=descriptors, layout=kinds, records=st.tuples(record_kinds, record_kinds), seed=st.integers(0, 5))
@example(desc=descriptor(3, 0x0C, RECORDS, BASE + 100, BASE + 4 * PAGE + 50, 3 * PAGE), layout=[H] * 8, records=(H, H), seed=0)
@example(desc=descriptor(3, 0x0C, RECORDS, BASE + 100, BASE + 200, 3 * PAGE), layout=[H] * 8, records=(H, H), seed=0)
@example(
    desc=descriptor(3, 0x0C, RECORDS, BASE + 100, BASE + 200, 5 * PAGE), layout=[H, H, R, H, H, H, B, H], records=(B, H), seed=0
)
@example(
    desc=descriptor(3, 0x0C, RECORDS, BASE + 4 * PAGE, BASE, 3 * PAGE), layout=[H, R, H, H, H, H, U, H], records=(B, H), seed=0
)
def test_one_descriptor(reached: Reached, desc: bytes, layout: list[Kind], records: tuple[Kind, Kind], seed: int) -> None:
    """Same memory, record and reports as the model's, whatever the pages are."""
    check(reached, desc, [*layout, *records], content_of(seed))


members = st.builds(
    descriptor,
    st.sampled_from([0, 3, 3, 4, 5, 9, 1, 2]),
    st.sampled_from([0x0C, 0x0C, 0x0D, 0x04]),
    record=st.integers(0, 31).map(lambda i: RECORDS + 0x400 + 32 * i),
    first=st.integers(BASE, BASE + 6 * PAGE),
    second=st.integers(BASE, BASE + 6 * PAGE),
    size=st.integers(1, 6000),
)


def writes_into(member: bytes, address: int, size: int) -> bool:
    """Does its destination meet these bytes? A list that an agent reads comes in chunks: it was read before the member runs."""
    destination, length = int.from_bytes(member[24:32], "little"), int.from_bytes(member[32:36], "little")
    return destination < address + size and address < destination + length


@settings(max_examples=200, deadline=None)
@given(
    batch=st.lists(members, min_size=0, max_size=8),
    offset=st.sampled_from([0, 3 * PAGE - 64 * 4]),
    layout=kinds,
    records=st.tuples(record_kinds, record_kinds),
    seed=st.integers(0, 2),
)
def test_batches(
    reached: Reached, batch: list[bytes], offset: int, layout: list[Kind], records: tuple[Kind, Kind], seed: int
) -> None:
    """Lists, members' operands and records, each of its own kind."""
    content = content_of(seed)
    raw = b"".join(batch)
    assume(not any(writes_into(member, BASE + offset, len(raw)) for member in batch))  # the list is read ahead, or not
    content[offset : offset + len(raw)] = raw
    desc = descriptor(Opcode.BATCH, 0x0C, RECORDS, BASE + offset, 0, len(batch))
    # the list is always waited for, its members' operands are not
    layout = [Kind.ABSENT if kind is Kind.UNTOUCHED else kind for kind in layout]
    check(reached, desc, [*layout, *records], content)
