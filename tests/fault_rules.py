"""Strategies: any rule that can be, and any descriptor."""

from typing import Any

from hypothesis import strategies as st

from idxdd.device.faults import BadRule, Rule, What, When, Where
from idxdd.device.faults.operations import OPERATIONS
from idxdd.device.faults.rule import ACTIONS
from idxdd.device.faults.values import CAUSES, NO_MEMBER, OPERANDS, RESETS, Flags, Span
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import Descriptor

TIMES = st.integers(1, 600 * 10**9)
STATUSES = st.sampled_from([int(status) for status in CompletionStatus if status]) | st.integers(1, 0x7F)
WQS = [f"dsa{device}/wq{device}.{wq}" for device in (0, 1) for wq in (0, 1, 15)]


def spans(high: int) -> st.SearchStrategy[Span]:
    """Ranges up to `high`, also open ones and single numbers."""
    ends = st.integers(0, high) | st.sampled_from([0, high])
    return st.tuples(ends, ends).map(lambda pair: Span(min(pair), max(pair)))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


flags = st.tuples(st.integers(0, (1 << 24) - 1), st.integers(0, (1 << 24) - 1)).map(
    lambda pair: Flags(pair[0], pair[1] & ~pair[0]) if pair[0] | pair[1] & ~pair[0] else Flags(1, 0)
)
ops = st.lists(st.sampled_from([int(op) for op in Opcode]) | st.integers(0, 255), min_size=1, max_size=4).map(
    lambda codes: tuple(sorted(set(codes)))
)
wheres = st.builds(
    Where,
    device=st.sampled_from([None, None, "dsa0"]),
    wq=st.none() | st.lists(st.sampled_from(WQS[:3]), min_size=1, max_size=3).map(lambda names: tuple(sorted(set(names)))),
    pid=maybe(st.integers(1, 1 << 20)),
    uid=maybe(st.integers(0, 70000)),
    pasid=maybe(st.integers(1, (1 << 20) - 1)),
    op=maybe(ops),
    flags=maybe(flags),
    addr=maybe(spans((1 << 64) - 1)),
    size=maybe(spans((1 << 32) - 1)),
    member=maybe(spans(0xFFFF) | st.just(NO_MEMBER)),
)
of_vector = st.builds(
    Where,
    device=st.sampled_from([None, "dsa0"]),
    vector=st.just(0),
    cause=maybe(st.lists(st.sampled_from(CAUSES), min_size=1, max_size=3).map(lambda names: tuple(sorted(set(names))))),
)
counts = st.integers(1, 1 << 32 - 1)
whens = st.one_of(
    st.builds(When, nth=counts, after=maybe(TIMES)),
    st.builds(When, first=counts, after=maybe(TIMES)),
    st.builds(When, every=counts, times=maybe(counts), after=maybe(TIMES)),
    st.builds(
        When,
        chance=st.floats(0, 1, exclude_min=True),
        seed=maybe(st.integers(0, 1 << 31)),
        times=maybe(counts),
    ),
    st.builds(When, times=maybe(counts), after=maybe(TIMES)),
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "status": STATUSES,
    "result": st.integers(0, 255),
    "bytes": st.integers(0, 1 << 31),
    "mask": st.integers(1, (1 << 24) - 1),
    "access": st.sampled_from(["read", "write", "record", "list", "readback"]),
    "at": st.integers(0, 1 << 20),
    "operand": st.sampled_from(OPERANDS),
    "xor": st.integers(1, 255),
    "time": TIMES,
    "count": st.integers(1, 1000),
    "how": st.sampled_from(["lost", "late", "spurious"]),
    "vector": st.integers(0, 31),
    "reset": st.sampled_from(RESETS),
}


@st.composite
def whats(draw: st.DrawFn) -> What:
    """Actions with all the values they must have, and some they may."""
    name = draw(st.sampled_from(list(ACTIONS)))
    action = ACTIONS[name]
    optional = action.places[-1:] if action.optional_place else ()
    values = {field: draw(_FIELDS[field]) for field in action.places if field not in optional}
    for field in (*optional, *action.names):
        if draw(st.booleans()):
            values[field] = draw(_FIELDS[field])
    return What(name, force=name == "status" and draw(st.booleans()), **values)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Rules that can be; what cannot is mended field by field until it can."""
    what, when = draw(whats()), draw(whens)
    where = draw(of_vector) if what.how in ("lost", "late") and what.vector is None and draw(st.booleans()) else draw(wheres)
    for candidate in (where, Where(op=where.op), Where(wq=where.wq, uid=where.uid), Where()):
        try:
            return Rule(candidate, when, what)
        except BadRule:
            continue
    return Rule(Where(), when, What("drop"))


@st.composite
def descriptors(draw: st.DrawFn) -> bytes:
    """64 bytes, mostly of an operation there is, with small sizes as often as any."""
    return Descriptor.encode(
        pasid=draw(st.integers(0, 15)),
        flags=draw(st.integers(0, (1 << 24) - 1)),
        opcode=draw(st.sampled_from(sorted(OPERATIONS)) | st.integers(0, 255)),
        completion_addr=draw(st.integers(0, 1 << 20)) * 32,
        operand1=draw(st.integers(0, 1 << 24)),
        operand2=draw(st.integers(0, 1 << 24)),
        xfer_size=draw(st.integers(0, 8192) | st.integers(0, (1 << 32) - 1)),
        op_specific=draw(st.binary(min_size=24, max_size=24)),
    ).pack()
