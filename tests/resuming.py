"""Work that meets missing pages and is resumed as software does, for anything that executes descriptors.

A Work is a descriptor, the pages it may touch and those of them that are missing at first. `to_the_end` executes it on a
Machine, gives back the page of each fault and goes on with `reference.continuation`, until it ends without one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import strategies as st

from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.spec.records import VIEWS, CompletionRecord, DeltaEntry, DeltaRecord, view
from idxdd.testing import reference
from idxdd.testing.reference import crc
from idxdd.testing.reference.dif import BLOCK_BYTES, FIELD, SHAPES

PAGE = reference.PAGE_BYTES
FIRST, SECOND, THIRD, FOURTH, COMPLETION = 0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000, 0x50_0000
RECORD = Flag.CRAV | Flag.RCR
TOLD_UP_TO_A_DIFFERENCE = {Opcode.COMPARE, Opcode.COMPVAL}


class Machine(Protocol):
    """Executes descriptors on the memory of one Work."""

    def execute(self, desc: bytes) -> bytes:
        """Carry it out; its record."""

    def provide(self, page: int) -> None:
        """The page at this address exists from now on, with its content."""

    def pages(self) -> dict[int, bytes]:
        """Address and content of every page but the record's."""


@dataclass(frozen=True)
class Work:
    """One descriptor whose pages are not all there."""

    desc: bytes
    content: dict[int, bytes]
    missing: frozenset[int]

    @property
    def opcode(self) -> Opcode:
        """Of its descriptor."""
        return Opcode(self.desc[7])

    def __repr__(self) -> str:
        return f"{view(self.desc)!r}, missing {sorted(map(hex, self.missing))}"


class Ending(NamedTuple):
    """How it ended, pieces put together."""

    status: int
    result: int
    bytes_completed: int
    payload: bytes
    pages: dict[int, bytes]


def to_the_end(machine: Machine, work: Work) -> tuple[Ending, int]:
    """Execute and resume until nothing is missing; also how often it was resumed."""
    desc, missing, completed, pieces = work.desc, set(work.missing), 0, list[bytes]()
    for resumed in range(len(work.missing) + 1):
        record = machine.execute(desc)
        pieces.append(record)
        found = CompletionRecord.unpack(record)
        if found.code not in reference.RESUMABLE:
            return _ending(machine, work, pieces, completed + found.bytes_completed), resumed
        page = found.fault_addr & ~(PAGE - 1)
        assert page in missing, f"{found!r} faults at a page that is there"
        missing.remove(page)
        machine.provide(page)
        completed += found.bytes_completed
        desc = reference.continuation(desc, record)
    raise AssertionError(f"more faults than missing pages: {work}")


def _ending(machine: Machine, work: Work, pieces: list[bytes], completed: int) -> Ending:
    found, pages = CompletionRecord.unpack(pieces[-1]), machine.pages()
    result, payload = found.result, found.op_specific
    stopped = found.code not in (CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED)
    differs = work.opcode in TOLD_UP_TO_A_DIFFERENCE and result == 1
    if work.opcode is Opcode.CR_DELTA:
        pages, payload = _one_delta_record(work, pieces, pages)
        result = max(result, int(any(payload)))
    overflow = work.opcode is Opcode.CR_DELTA and result == 2
    return Ending(found.status, result, completed if stopped or differs or overflow else 0, payload, pages)


def _one_delta_record(work: Work, pieces: list[bytes], pages: dict[int, bytes]) -> tuple[dict[int, bytes], bytes]:
    """Entries of every piece count from the piece's own sources: software adds what came before."""
    at, groups = view(work.desc).values()["delta_addr"], 0
    assert isinstance(at, int)
    memory, begin = machine_memory(pages), at
    for record in pieces:
        piece = DeltaRecord.unpack(record)
        for entry_at in range(at, at + piece.delta_rec_size, DeltaEntry.width_bits // 8):
            group = int.from_bytes(memory.read(entry_at, 2), "little")
            memory.write(entry_at, (group + groups).to_bytes(2, "little"))
        at, groups = at + piece.delta_rec_size, groups + piece.bytes_completed // 8
    return memory.pages(), (at - begin).to_bytes(16, "little")


def machine_memory(pages: dict[int, bytes]) -> reference.Memory:
    """A memory of just these pages."""
    memory = reference.Memory()
    for page, content in pages.items():
        memory.place(page, content)
    return memory


class Model:
    """The reference model as a Machine."""

    def __init__(self, work: Work, limits: reference.Limits) -> None:
        self._work, self._limits = work, limits
        self._memory = machine_memory({page: work.content[page] for page in work.content.keys() - work.missing})
        self._memory.map(COMPLETION, PAGE)

    def execute(self, desc: bytes) -> bytes:
        """Carry it out; its record."""
        outcome = reference.execute(desc, self._memory, self._limits)
        assert outcome.record is not None, outcome
        return outcome.record

    def provide(self, page: int) -> None:
        """The page at this address exists from now on, with its content."""
        self._memory.place(page, self._work.content[page])

    def pages(self) -> dict[int, bytes]:
        """Address and content of every page but the record's, missing ones included."""
        there = {page: content for page, content in self._memory.pages().items() if page != COMPLETION}
        return self._work.content | there


# ---- drawing work --------------------------------------------------------------------------------------------------------
class Sketch:
    """Memory and descriptor fields of a work being drawn."""

    def __init__(self, opcode: Opcode, draw: Callable[..., Any]) -> None:
        self.opcode, self.draw = opcode, draw
        self.random = random.Random(draw(st.integers(0, 1 << 32)))
        self.memory = reference.Memory()
        self.flags = int(RECORD) | (Flag.BOF if draw(st.booleans()) else 0)
        self.fields: dict[str, int] = {}

    def size(self, most: int = 4 * PAGE) -> int:
        """A transfer size, biased to pages and their edges."""
        chosen: int = self.draw(
            st.one_of(st.integers(1, most), st.integers(1, 64), st.sampled_from([PAGE, 2 * PAGE - 1, most]))
        )
        return chosen

    def offset(self, unit: int = 1) -> int:
        """Where in its first page an operand starts."""
        chosen: int = self.draw(st.integers(0, PAGE // unit - 1)) * unit
        return chosen

    def place(self, address: int, content: bytes) -> int:
        """Operand with this content, its pages full of noise; its address."""
        first, last = address // PAGE * PAGE, (address + len(content) - 1) // PAGE * PAGE
        for page in range(first, last + PAGE, PAGE):
            if not self.memory.allows(page, False):
                self.memory.place(page, self.random.randbytes(PAGE))
        self.memory.write(address, content)
        return address

    def noise(self, address: int, size: int) -> int:
        """Operand with any content; its address."""
        return self.place(address, self.random.randbytes(size))

    def work(self) -> Work:
        """With some of its pages missing."""
        desc = VIEWS[self.opcode].encode(opcode=self.opcode, flags=self.flags, completion_addr=COMPLETION, **self.fields)
        pages = self.memory.pages()
        missing = self.draw(st.sets(st.sampled_from(sorted(pages)), min_size=1, max_size=len(pages)))
        return Work(desc.pack(), pages, frozenset(missing))


def _memmove(sketch: Sketch) -> None:
    size = sketch.size()
    source = sketch.noise(FIRST + sketch.offset(), size)
    near = st.integers(max(-size, FIRST - source), size).map(lambda distance: source + distance)
    destination = sketch.draw(st.one_of(near, st.just(SECOND + sketch.offset())))
    before = machine_memory(sketch.memory.pages())
    sketch.noise(destination, size)
    for page, content in before.pages().items():
        sketch.memory.write(page, content)
    sketch.fields = {"src_addr": source, "dst_addr": destination, "xfer_size": size}


def _fill(sketch: Sketch) -> None:
    size = sketch.size()
    sketch.fields = {"dst_addr": sketch.noise(FIRST + sketch.offset(), size), "xfer_size": size}
    sketch.fields["pattern_lower"] = sketch.random.getrandbits(64)
    if sketch.draw(st.booleans()):
        sketch.flags |= OpFlag.FILL_PATTERN16
        sketch.fields["pattern_upper"] = sketch.random.getrandbits(64)


def _with_difference(sketch: Sketch, content: bytes) -> bytes:
    changed = bytearray(content)
    if sketch.draw(st.booleans()):
        changed[sketch.draw(st.integers(0, len(content) - 1))] ^= 0x10
    return bytes(changed)


def _check_result(sketch: Sketch) -> None:
    if sketch.draw(st.booleans()):
        sketch.flags |= Flag.CR
        sketch.fields["expected_result"] = sketch.draw(st.integers(0, 3))


def _compare(sketch: Sketch) -> None:
    size = sketch.size()
    content = sketch.random.randbytes(size)
    first = sketch.place(FIRST + sketch.offset(), content)
    second = sketch.place(SECOND + sketch.offset(), _with_difference(sketch, content))
    sketch.fields = {"src1_addr": first, "src2_addr": second, "xfer_size": size}
    _check_result(sketch)


def _compare_pattern(sketch: Sketch) -> None:
    size, pattern = sketch.size(), sketch.random.randbytes(8)
    content = (pattern * (size // 8 + 1))[:size]
    source = sketch.place(FIRST + sketch.offset(), _with_difference(sketch, content))
    sketch.fields = {"src_addr": source, "pattern": int.from_bytes(pattern, "little"), "xfer_size": size}
    _check_result(sketch)


def _create_delta(sketch: Sketch) -> None:
    size = -(-sketch.size() // 8) * 8
    content = sketch.random.randbytes(size)
    changed = bytearray(content)
    for group in sketch.draw(st.sets(st.integers(0, size // 8 - 1), max_size=40)):
        changed[group * 8 + group % 8] ^= 1
    first, second = sketch.place(FIRST + sketch.offset(8), content), sketch.place(SECOND + sketch.offset(8), bytes(changed))
    most = sketch.draw(st.one_of(st.just(PAGE), st.integers(500, 600)))  # 40 entries and the least a resumed one may have
    delta = sketch.noise(THIRD + sketch.draw(st.one_of(st.just(sketch.offset()), st.integers(PAGE - 200, PAGE - 1))), most)
    sketch.fields = {
        "src1_addr": first, "src2_addr": second, "delta_addr": delta, "max_delta_size": most, "xfer_size": size,
    }  # fmt: skip


def _apply_delta(sketch: Sketch) -> None:
    size = -(-sketch.size() // 8) * 8
    groups = sorted(sketch.draw(st.sets(st.integers(0, size // 8 - 1 + 5), min_size=1, max_size=40)))  # some out of range
    entries = [DeltaEntry.encode(group=group, replacement=sketch.random.randbytes(8)).pack() for group in groups]
    start = sketch.draw(st.one_of(st.just(sketch.offset()), st.integers(PAGE - 200, PAGE - 1)))
    delta = sketch.place(FIRST + start, b"".join(entries))
    destination = sketch.noise(SECOND + sketch.offset(8), size)
    sketch.fields = {"delta_addr": delta, "dst_addr": destination, "xfer_size": size, "delta_rec_size": 10 * len(entries)}


def _dualcast(sketch: Sketch) -> None:
    size, offset = sketch.size(), sketch.offset()
    sketch.fields = {
        "src_addr": sketch.noise(FIRST + sketch.offset(), size), "dst1_addr": sketch.noise(SECOND + offset, size),
        "dst2_addr": sketch.noise(THIRD + offset, size), "xfer_size": size,
    }  # fmt: skip


def _translation_fetch(sketch: Sketch) -> None:
    size = sketch.size()
    sketch.fields = {"addr": sketch.noise(FIRST + sketch.offset(), size), "region_size": size}
    if sketch.draw(st.booleans()):
        sketch.flags |= OpFlag.TRANSL_FETCH_STRIDE
        sketch.fields["region_stride"] = sketch.draw(st.sampled_from([PAGE, 2 * PAGE, 8 * PAGE]))


def _crc(sketch: Sketch) -> None:
    size = sketch.size(2 * PAGE)
    sketch.fields = {"src_addr": sketch.noise(FIRST + sketch.offset(), size), "xfer_size": size}
    bits = sketch.draw(st.integers(0, 15))
    sketch.flags |= bits << 16
    width = 8 if sketch.flags & OpFlag.CRC_SIZE64 else 4
    if sketch.flags & OpFlag.CRC_SEED_ADDR:
        sketch.fields["seed_addr"] = sketch.noise(FOURTH + sketch.offset(8), width)
    else:
        sketch.fields["crc_seed"] = sketch.random.getrandbits(8 * width)
    if sketch.opcode is Opcode.COPY_CRC:
        sketch.fields["dst_addr"] = sketch.noise(SECOND + sketch.offset(), size)


def _dif(sketch: Sketch) -> None:
    shape = SHAPES[sketch.opcode]
    block_size = sketch.draw(st.sampled_from([0, 0, 1, 1, 2, 3]))
    block = BLOCK_BYTES[block_size]
    count = sketch.draw(st.integers(1, 12 if block < PAGE else 2))
    dif_flags = block_size | sketch.draw(st.sampled_from([0, 4, 8, 12]))
    tags = {name: sketch.random.getrandbits(bits) for name, bits in
            (("ref_tag_seed", 32), ("app_tag_seed", 16), ("app_tag_mask", 16))}  # fmt: skip
    tags["dif_flags"] = sketch.draw(st.sampled_from([0x00, 0x10, 0x80, 0x90, 0x60, 0x0F]))
    data = [sketch.random.randbytes(block) for _ in range(count)]
    fields = {"dif_flags": dif_flags}
    if shape.checks:
        fields |= {f"src_{name}": value for name, value in tags.items()}
        data = [_protected(content, dif_flags, tags, number) for number, content in enumerate(data)]
        if sketch.draw(st.integers(0, 3)) == 0:
            bad = sketch.draw(st.integers(0, count - 1))
            data[bad] = data[bad][:-1] + bytes([data[bad][-1] ^ 1])
    source = b"".join(data)
    fields |= {"src_addr": sketch.place(FIRST + sketch.offset(), source), "xfer_size": len(source)}
    if shape.fields:
        fields |= {"dst_ref_tag_seed": 0xFFFF_FFFE, "dst_app_tag_seed": 0xFFFE, "dst_app_tag_mask": tags["app_tag_mask"]}
        fields["dst_dif_flags"] = sketch.draw(st.sampled_from([0x00, 0x10, 0x80, 0x90, 0x68]))
    if shape.data or shape.fields:
        written = count * (block * shape.data + FIELD.size * shape.fields)
        fields["dst_addr"] = sketch.noise(SECOND + sketch.offset(8), written)
    sketch.fields = fields


def _protected(content: bytes, dif_flags: int, tags: dict[str, int], number: int) -> bytes:
    """A block with its right field, made from the text and not by the model's own function."""
    guard = crc.guard(content, seed=0xFFFF if dif_flags & 4 else 0, inverted=bool(dif_flags & 8))
    ref = tags["ref_tag_seed"] + (0 if tags["dif_flags"] & 0x80 else number)
    app = tags["app_tag_seed"] + (number if tags["dif_flags"] & 0x10 else 0)
    return content + FIELD.pack(guard, app & 0xFFFF & ~tags["app_tag_mask"], ref & 0xFFFF_FFFF)


def _cache_flush(sketch: Sketch) -> None:
    size = sketch.size()
    sketch.fields = {"dst_addr": sketch.noise(FIRST + sketch.offset(), size), "xfer_size": size}


DRAWN: dict[Opcode, Callable[[Sketch], None]] = {
    Opcode.MEMMOVE: _memmove,
    Opcode.MEMFILL: _fill,
    Opcode.COMPARE: _compare,
    Opcode.COMPVAL: _compare_pattern,
    Opcode.CR_DELTA: _create_delta,
    Opcode.AP_DELTA: _apply_delta,
    Opcode.DUALCAST: _dualcast,
    Opcode.TRANSL_FETCH: _translation_fetch,
    Opcode.CRCGEN: _crc,
    Opcode.COPY_CRC: _crc,
    Opcode.DIF_CHECK: _dif,
    Opcode.DIF_INS: _dif,
    Opcode.DIF_STRP: _dif,
    Opcode.DIF_UPDT: _dif,
    Opcode.DIX_GEN: _dif,
    Opcode.CFLUSH: _cache_flush,
}
"""Every operation that can stop half-way at an operand."""


def operations_of(opcap: int) -> list[Any]:
    """Parameters of a test over all of them; those the engine does not have yet are skipped by name."""
    return [
        pytest.param(
            opcode,
            id=opcode.name,
            marks=pytest.mark.skipif(not opcap >> opcode & 1, reason=f"not in the engine's OPCAP: {opcode.name}"),
        )
        for opcode in DRAWN
    ]


@st.composite
def works(draw: Callable[..., Any], opcode: Opcode) -> Work:
    """A valid descriptor of this operation with any of its pages missing."""
    sketch = Sketch(opcode, draw)
    DRAWN[opcode](sketch)
    return sketch.work()


def undisturbed(work: Work, limits: reference.Limits) -> Ending:
    """What the model does when every page is there."""
    ending, resumed = to_the_end(Model(Work(work.desc, work.content, frozenset()), limits), work)
    assert not resumed
    return ending
