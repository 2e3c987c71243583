"""Inter-domain operations: the engine against the reference model, over tables, windows and holes in either memory."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
from engine_bench import GENCAP as GENCAP_RAW
from engine_bench import OPCAP, Bench, Client, bench
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resuming import machine_memory

from idxdd import native
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.spec.records import CompletionRecord, InterDomainDescriptor, UpdateWindowDescriptor, view
from idxdd.spec.registers import GENCAP, IDCAP
from idxdd.testing import reference
from idxdd.testing.reference import Domains, Entry

PAGE = 4096
BASE, RECORD_AT = 0x10_0000, 0x50_0000
OWN, OTHER, NOBODY = 2, 3, 9
BITMAP_AT = 0x60_0000
OPCODES = OPCAP | 1 << 0x21 | 0xF << 0x23
IDCAP_RAW = IDCAP.encode(entry_types=3, idpt_size=64, offset_mode=True, suppress_drain=True).raw
LIMITS = reference.Limits(GENCAP(GENCAP_RAW), opcfg=OPCODES, max_xfer_shift=25, max_batch_shift=5)
SOURCE, DESTINATION = int(OpFlag.SRC_ALTERNATE_PASID), int(OpFlag.DST_ALTERNATE_PASID)
INTER_DOMAIN = [Opcode.INTER_DOMAIN_COPY, Opcode.INTER_DOMAIN_FILL, Opcode.INTER_DOMAIN_COMPARE, Opcode.INTER_DOMAIN_COMPVAL]

entries = st.builds(
    Entry,
    access=st.sampled_from([OTHER, OTHER, OTHER, OWN, NOBODY]),
    submitters=st.sampled_from([*[frozenset({OWN})] * 4, frozenset({OWN, OTHER}), frozenset({OTHER}), frozenset()]),
    usable=st.sampled_from([True, True, True, False]),
    allow_update=st.booleans(),
    read=st.sampled_from([True, True, True, False]),
    write=st.sampled_from([True, True, True, False]),
    window_en=st.sampled_from([True, True, False]),
    offset_mode=st.booleans(),
    base=st.sampled_from([BASE, BASE + 100, BASE + PAGE, (1 << 64) - PAGE]),
    size=st.sampled_from([64, PAGE, 3 * PAGE, 6 * PAGE]),
).map(lambda entry: entry if entry.window_en else replace(entry, offset_mode=False, base=0, size=0))
tables = st.dictionaries(st.sampled_from([0, 1, 63]), entries, min_size=1, max_size=3)
handles = st.sampled_from([0, 0, 0, 0, 0, 1, 63, 64, 300, 65535])
addresses = st.one_of(
    st.integers(BASE, BASE + 2 * PAGE),
    st.sampled_from([0, 1, 100, PAGE, BASE + 100, BASE + PAGE]),
    st.integers(BASE - 10, BASE + 6 * PAGE),
    st.just((1 << 64) - 64),
)
sizes = st.one_of(st.integers(0, 130), st.integers(1, 64), st.integers(1, 4 * PAGE), st.sampled_from([PAGE, 2 * PAGE]))
flags = st.sampled_from([0] * 9 + [SOURCE, DESTINATION, int(Flag.CR), int(OpFlag.FILL_PATTERN16), 1 << 19])
layouts = st.one_of(st.just(frozenset(range(6))), st.just(frozenset(range(6))), st.frozensets(st.integers(0, 5), min_size=1))


@st.composite
def descriptors(draw: st.DrawFn) -> bytes:
    """Mostly with the handles its operation needs."""
    opcode = draw(st.sampled_from(INTER_DOMAIN))
    needed = {
        Opcode.INTER_DOMAIN_COPY: draw(st.sampled_from([SOURCE, DESTINATION, SOURCE | DESTINATION])),
        Opcode.INTER_DOMAIN_FILL: DESTINATION,
        Opcode.INTER_DOMAIN_COMPARE: draw(st.sampled_from([SOURCE, DESTINATION, SOURCE | DESTINATION])),
        Opcode.INTER_DOMAIN_COMPVAL: SOURCE,
    }[opcode]
    fill, pattern = opcode is Opcode.INTER_DOMAIN_FILL, opcode is Opcode.INTER_DOMAIN_COMPVAL
    return InterDomainDescriptor.encode(
        opcode=opcode,
        flags=int(Flag.CRAV | Flag.RCR) | needed ^ draw(flags),
        completion_addr=RECORD_AT,
        operand1=draw(st.integers(0, (1 << 64) - 1)) if fill else draw(addresses),
        operand2=draw(st.sampled_from([0, 0x0707070707070707])) if pattern else draw(addresses),
        xfer_size=draw(sizes),
        idpt_handle1=0 if fill else draw(handles),
        idpt_handle2=0 if pattern else draw(handles),
    ).pack()


def memory(pages: frozenset[int], seed: int) -> reference.Memory:
    """Pages of a ramp, holes between; seed 0 is all the same byte."""
    return machine_memory({BASE + page * PAGE: ramp(seed) for page in pages})


@cache
def ramp(seed: int) -> bytes:
    """What a page of this seed holds."""
    return bytes((i * seed + 7) & 0xFF for i in range(PAGE))


class Rig:
    """An engine with a WQ; each example has a client, another domain and a driver's memory of its own."""

    def __init__(self, made: Bench) -> None:
        self.bench = made
        made.wq(0, gencap=GENCAP_RAW, opcfg=[OPCODES, 0, 0, 0], max_xfer_shift=25, max_batch_shift=5, bof=True, idcap=IDCAP_RAW)

    def set(
        self, handle: int, entry: Entry, spaces: dict[int, native.Space], bitmap: native.Space | None, *, update: bool
    ) -> None:
        many = len(entry.submitters) != 1
        self.bench.settle(
            self.bench.engine.idpt_set(
                0, handle, usable=entry.usable, many=many, submitter=0 if many else next(iter(entry.submitters)),
                read=entry.read, write=entry.write, window_en=entry.window_en, offset_mode=entry.offset_mode,
                base=entry.base, size=entry.size, bitmap=BITMAP_AT, space=spaces.get(entry.access),
                bitmap_space=bitmap if entry.submitters else None, update=update,
            )
        )  # fmt: skip

    def clear(self, table: dict[int, Entry]) -> None:
        for handle, entry in table.items():
            self.set(handle, replace(entry, usable=False), {}, None, update=False)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One engine for all examples."""
    with bench() as made:
        yield Rig(made)


def run(rig: Rig, client: Client, desc: bytes) -> list[native.Exit]:
    """Until it is done, page requests refused; the exits on the way."""
    done = client.get("done")
    client.publish(desc)
    seen = []
    for _ in range(400):
        for exit in rig.bench.run():
            seen.append(exit)
            if exit.kind == native.EXIT_FAULT:
                status = CompletionStatus.PAGE_FAULT_IR if exit.desc[4] & Flag.BOF else CompletionStatus.PAGE_FAULT_NOBOF
                rig.bench.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, status)
            elif exit.kind == native.EXIT_ERROR:
                rig.bench.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
        if client.get("done") > done:
            return seen
    raise AssertionError("every descriptor ends")


def execute(
    rig: Rig, desc: bytes, table: dict[int, Entry], memories: dict[int, dict[int, bytes]]
) -> tuple[bytes, dict[int, dict[int, bytes]]]:
    """Record and memories afterwards. NOBODY has none."""
    made = rig.bench
    client, other = made.client(0, OWN, size=0), made.client(0, OTHER, size=0)
    spaces = {OWN: client.space, OTHER: other.space}
    record = client.map(RECORD_AT, b"")
    windows = {
        (pasid, page): (client if pasid == OWN else other).map(page, content)
        for pasid, pages in memories.items()
        for page, content in pages.items()
    }
    bitmap = other.map(BITMAP_AT, bytes([1 << OWN | 1 << OTHER]))
    for handle, entry in table.items():
        rig.set(handle, entry, spaces, other.space, update=False)
    try:
        run(rig, client, desc)
        left: dict[int, dict[int, bytes]] = {pasid: {} for pasid in memories}
        for (pasid, page), window in windows.items():
            left[pasid][page] = bytes(window)
        return bytes(record[:32]), left
    finally:
        for window in (*windows.values(), record, bitmap):
            window.release()
        rig.clear(table)
        made.leave(client)
        made.leave(other)


@settings(max_examples=100, deadline=None)
@given(desc=descriptors(), table=tables, own=layouts, other=layouts, seed=st.sampled_from([0, 0, 1, 3]))
@example(
    desc=InterDomainDescriptor.encode(
        opcode=Opcode.INTER_DOMAIN_COPY, flags=int(Flag.CRAV | Flag.RCR) | DESTINATION, completion_addr=RECORD_AT,
        operand1=BASE, operand2=BASE + 8, xfer_size=2 * PAGE,
    ).pack(),
    table={0: Entry(OTHER, frozenset({OWN}), write=True)}, own=frozenset(range(6)), other=frozenset(range(6)), seed=3,
)  # fmt: skip
def test_engine_and_reference_agree(
    rig: Rig, desc: bytes, table: dict[int, Entry], own: frozenset[int], other: frozenset[int], seed: int
) -> None:
    """Same record and the same bytes in both memories, whatever the table allows."""
    models = {OWN: memory(own, seed), OTHER: memory(other, seed * 5)}
    before = {pasid: model.pages() for pasid, model in models.items()}
    models[OWN].map(RECORD_AT, PAGE)
    outcome = reference.execute(desc, models[OWN], LIMITS, domains=Domains(OWN, dict(table), models))
    record, left = execute(rig, desc, table, before)
    assert outcome.record is not None
    assert CompletionRecord.unpack(record) == CompletionRecord.unpack(outcome.record), f"{view(desc)!r} {table} {outcome.rule}"
    for pasid, model in models.items():
        after = {page: content for page, content in model.pages().items() if page != RECORD_AT}
        assert left[pasid] == after, f"memory of PASID {pasid}: {view(desc)!r} {table}"


def long_copy(client: Client, size: int) -> bytes:
    """Many slices into the other domain, through entry 0."""
    return InterDomainDescriptor.encode(
        opcode=Opcode.INTER_DOMAIN_COPY, flags=int(Flag.CRAV | Flag.RCR) | DESTINATION, completion_addr=client.base,
        operand1=client.base + PAGE, operand2=client.base + PAGE, xfer_size=size,
    ).pack()  # fmt: skip


@pytest.fixture
def pair(rig: Rig) -> Iterator[tuple[Client, Client]]:
    """Two domains with 16 MiB each at the same addresses."""
    ours, theirs = (rig.bench.client(0, pasid, size=16 << 20) for pasid in (OWN, OTHER))
    yield ours, theirs
    rig.clear({0: Entry(OTHER, frozenset({OWN}))})
    rig.bench.leave(ours)
    rig.bench.leave(theirs)


WINDOW = Entry(OTHER, frozenset({OWN}), write=True, allow_update=True)


def test_an_entry_taken_away_stops_who_uses_it(rig: Rig, pair: tuple[Client, Client]) -> None:
    """After the acknowledgement not a byte of the owner's changes, though the copy is half-way: its memory may be another's
    by then."""
    ours, theirs = pair
    size = 15 << 20
    ours.memory[PAGE : PAGE + size] = b"\x77" * size
    rig.set(0, WINDOW, {OTHER: theirs.space}, None, update=False)
    ours.publish(long_copy(ours, size))
    rig.bench.run()
    begun = bytes(theirs.memory)
    assert 0 < begun.count(b"\x77") < size
    rig.set(0, replace(WINDOW, usable=False), {}, None, update=False)
    after = bytes(theirs.memory)
    for _ in range(50):
        rig.bench.run()
    assert ours.get("done") == 1
    assert bytes(theirs.memory) == after
    found = CompletionRecord.unpack(ours.record(0))
    assert (found.status, found.bytes_completed) == (CompletionStatus.DOMAIN_GONE, 0)


@pytest.mark.parametrize("drains", [True, False])
def test_update_window_waits_for_users_of_the_old_values(rig: Rig, pair: tuple[Client, Client], drains: bool) -> None:
    """A copy that began goes on with the window it found; the Update Window ends after it, unless it is told not to wait."""
    ours, theirs = pair
    size = 15 << 20
    ours.memory[PAGE : PAGE + size] = b"\x78" * size
    rig.set(0, WINDOW, {OTHER: theirs.space}, None, update=False)
    ours.publish(long_copy(ours, size))
    rig.bench.run()
    suppress = 0 if drains else int(OpFlag.UPDATE_WINDOW_NO_DRAIN)
    update = UpdateWindowDescriptor.encode(
        opcode=Opcode.UPDATE_WINDOW, flags=int(Flag.CRAV | Flag.RCR) | suppress, completion_addr=theirs.base,
        window_base=theirs.base, window_size=PAGE, window_flags=2 | 4,
    ).pack()  # fmt: skip
    theirs.publish(update)
    order = []
    for _ in range(200):
        for exit in rig.bench.run():
            assert exit.kind == native.EXIT_WINDOW
            assert ours.get("done") == 0, "the copy is long enough to be met in the middle"
            changed = replace(WINDOW, window_en=True, base=theirs.base, size=PAGE)
            rig.set(0, changed, {OTHER: theirs.space}, None, update=True)
            rig.bench.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
        for name, client in (("copy", ours), ("update", theirs)):
            if client.get("done") == 1 and name not in order:
                order.append(name)
        if len(order) == 2:
            break
    assert order == (["copy", "update"] if drains else ["update", "copy"])
    assert ours.record(0)[0] == theirs.record(0)[0] == CompletionStatus.SUCCESS
    assert theirs.memory[PAGE : PAGE + size] == b"\x78" * size


# ---- page faults -----------------------------------------------------------------------------------------------------------
PAGES = range(6)


@st.composite
def resumable(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A descriptor over pages that may be missing; is its first operand the foreign one?"""
    opcode = draw(st.sampled_from(INTER_DOMAIN))
    foreign_first = opcode in (Opcode.INTER_DOMAIN_COMPARE, Opcode.INTER_DOMAIN_COMPVAL) or (
        opcode is Opcode.INTER_DOMAIN_COPY and draw(st.booleans())
    )
    fill, pattern = opcode is Opcode.INTER_DOMAIN_FILL, opcode is Opcode.INTER_DOMAIN_COMPVAL
    wide = fill and draw(st.booleans())
    desc = InterDomainDescriptor.encode(
        opcode=opcode,
        flags=int(Flag.CRAV | Flag.RCR)
        | (SOURCE if foreign_first else DESTINATION)
        | draw(st.sampled_from([0, int(Flag.BOF)]))
        | (int(OpFlag.FILL_PATTERN16) if wide else 0),
        completion_addr=RECORD_AT,
        operand1=draw(st.integers(0, (1 << 64) - 1)) if fill else BASE + draw(st.integers(0, 2 * PAGE)),
        operand2=0x0707070707070707 if pattern else BASE + draw(st.integers(0, 2 * PAGE)),
        xfer_size=draw(st.integers(1, 4 * PAGE)),
        pattern_upper=draw(st.integers(0, (1 << 64) - 1)) if wide else 0,
    ).pack()
    return desc, foreign_first


def test_resumed_work_equals_undisturbed_work(rig: Rig) -> None:
    """Pages missing in either domain, with and without Block on Fault: resumed, both memories end as if all had been there."""
    resumed = 0

    @settings(max_examples=40, deadline=None, database=None)
    @given(work=resumable(), missing=st.frozensets(st.tuples(st.booleans(), st.sampled_from(PAGES)), min_size=1, max_size=6))
    def hold(work: tuple[bytes, bool], missing: frozenset[tuple[bool, int]]) -> None:
        nonlocal resumed
        desc, foreign_first = work
        seed = 0 if desc[7] in (Opcode.INTER_DOMAIN_COMPARE, Opcode.INTER_DOMAIN_COMPVAL) else 3
        entry = Entry(OTHER, frozenset({OWN}), read=True, write=True)
        models = {OWN: memory(frozenset(PAGES), seed), OTHER: memory(frozenset(PAGES), seed * 5)}
        contents = {pasid: model.pages() for pasid, model in models.items()}
        models[OWN].map(RECORD_AT, PAGE)
        undisturbed = reference.execute(desc, models[OWN], LIMITS, domains=Domains(OWN, {0: entry}, models))
        made = rig.bench
        clients = {OWN: made.client(0, OWN, size=0), OTHER: made.client(0, OTHER, size=0)}
        record = clients[OWN].map(RECORD_AT, b"")
        windows = {
            (pasid, page): clients[pasid].map(page, content)
            for pasid, pages in contents.items()
            for page, content in pages.items()
            if (pasid == OTHER, (page - BASE) // PAGE) not in missing
        }
        rig.set(0, entry, {OTHER: clients[OTHER].space}, None, update=False)
        try:
            for _ in range(len(missing) + 1):
                exits = run(rig, clients[OWN], desc)
                found = CompletionRecord.unpack(bytes(record[:32]))
                if found.code not in reference.RESUMABLE:
                    break
                resumed += 1
                blocks = desc[4] & Flag.BOF
                assert found.code == (CompletionStatus.PAGE_FAULT_IR if blocks else CompletionStatus.PAGE_FAULT_NOBOF)
                assert exits[0].operand == found.fault_operand
                pasid = OTHER if (found.fault_operand == 1) is foreign_first else OWN
                page = found.fault_addr & ~(PAGE - 1)
                windows[pasid, page] = clients[pasid].map(page, contents[pasid][page])
                desc = reference.continuation(desc, bytes(record[:32]))
                record[:32] = bytes(32)
            assert (found.status, found.result) == (
                undisturbed.status,
                CompletionRecord.unpack(undisturbed.record or b"").result,
            )
            for pasid, model in models.items():
                left = contents[pasid] | {page: bytes(window) for (owner, page), window in windows.items() if owner == pasid}
                assert left == {page: content for page, content in model.pages().items() if page != RECORD_AT}
        finally:
            for window in (*windows.values(), record):
                window.release()
            rig.clear({0: entry})
            made.leave(clients[OWN])
            made.leave(clients[OTHER])

    hold()
    assert resumed > 10, "pages were missing where it mattered"
