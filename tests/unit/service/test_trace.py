"""The daemon's stores of trace records, whose portals were whose, and where an address lies among a client's mappings."""

import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest

from idxdd.control.roles import Role
from idxdd.control.tracerecord import RECORD_BYTES, TraceRecord, pack
from idxdd.native._native import ERRORS_KEPT
from idxdd.service import owners as owners_module
from idxdd.service import reports, trace
from idxdd.service.owners import CLOSED_KEPT, COUNTED, OTHER_USERS, Owners
from idxdd.service.tasks import Refused, Steps, run
from idxdd.service.trace import LastErrors, RecordStore, Trace


def record(number: int, portal: int = 0, at_ns: int = 1) -> bytes:
    values = dict.fromkeys(TraceRecord._fields, 0) | {"id": number, "portal": portal, "written_ns": at_ns}
    return pack(TraceRecord(**{**values, "desc": bytes(64), "record": bytes(32)}))  # type: ignore[arg-type]


def ids(records: bytes) -> list[int]:
    return [int.from_bytes(piece[:8], "little") for piece in trace.pieces(records)]


def finish(steps: Steps) -> Any:
    """Run an operation whose waits are all for the next turn."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


# ---- stores --------------------------------------------------------------------------------------------------------------
def test_a_store_keeps_the_newest() -> None:
    """Positions go on; what was overwritten is not given for something else."""
    store = RecordStore(8)
    assert store.read(0, 100) == (0, b"")
    for first in range(1, 21, 5):
        store.add(b"".join(record(number) for number in range(first, first + 5)))
    assert (store.start, store.end) == (12, 20)
    position, records = store.read(0, 100)
    assert (position, ids(records)) == (12, list(range(13, 21)))
    assert ids(store.read(15, 3)[1]) == [16, 17, 18]
    assert store.read(99, 3) == (20, b"")
    store.add(b"".join(record(number) for number in range(21, 29)))
    assert ids(store.read(0, 100)[1]) == list(range(21, 29))


def test_a_trace_is_fetched_a_piece_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there is, the loop goes on in between; what the ring lost is counted."""
    monkeypatch.setattr(trace, "RECORDS_PER_TURN", 4)
    left = [record(number) for number in range(1, 11)]

    def read(maximum: int) -> tuple[bytes, int]:
        assert maximum <= 4
        taken = left[:maximum]
        del left[:maximum]
        return b"".join(taken), 3 if taken and ids(taken[0]) == [1] else 0

    traced = Trace(read, RecordStore(16))
    turns = list(traced.fetch(cast(Any, "next turn")))
    assert turns == ["next turn"] * 2
    assert ids(traced.store.read(0, 100)[1]) == list(range(1, 11))
    assert traced.dropped == 3


def test_errors_keep_their_numbers() -> None:
    """A number is an error's for good, also if those before it were never read."""
    answers = [(record(0) * 2, 0), (b"", 0), (record(0) * 3, 10)]
    errors = LastErrors(lambda: answers.pop(0), lambda portal, at_ns: None)
    for numbers in ([1, 2], [1, 2], [1, 2, 13, 14, 15]):
        errors.fetch()
        assert [number for number, _ in errors.of_all()] == numbers
    assert errors.count == 15


def test_one_users_errors_do_not_evict_anothers() -> None:
    """Whoever fails all the time has the oldest of his own replaced; what others asked about stays."""
    answers = [record(1, portal=8) * 3, *[record(2, portal=7) * ERRORS_KEPT] * 3, record(3, portal=8)]
    errors = LastErrors(lambda: (answers.pop(0), 0), lambda portal, at_ns: portal)
    while answers:
        errors.fetch()
    last = 4 + 3 * ERRORS_KEPT
    assert [number for number, _ in errors.of(8)] == [1, 2, 3, last]
    assert [number for number, _ in errors.of(7)] == list(range(2 * ERRORS_KEPT + 8, last))
    assert [number for number, _ in errors.of_all()] == [1, 2, 3, *range(2 * ERRORS_KEPT + 8, last + 1)]
    assert errors.of(9) == []


def test_asking_for_errors_looks_nobody_up_again() -> None:
    """Each call of an ordinary user searched the closed portals once a record: 400 sessions held the loop for seconds."""
    asked_about: list[int] = []

    def uid_of(portal: int, at_ns: int) -> int:
        asked_about.append(portal)
        return 1000

    answers = [record(1, portal=5) * 100]
    errors = LastErrors(lambda: (answers.pop() if answers else b"", 0), uid_of)
    there = SimpleNamespace(tracing=SimpleNamespace(errors=errors))
    for _ in range(3):
        assert len(finish(trace._errors(cast(Any, there), session(1000)))[0]["numbers"]) == 100
    assert asked_about == [5] * 100


def test_a_closed_portals_user_is_found_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number used again a thousand times costs a few comparisons, and who is forgotten is forgotten in both places."""
    now = itertools.count(1)
    monkeypatch.setattr(owners_module, "CLOCK", SimpleNamespace(now_ns=lambda: next(now)))
    owners = Owners()
    extra = 10
    for number in range(CLOSED_KEPT + extra):
        owners.opened(session(number), PORTAL, 3)
        owners.closed(3, counted())
    looked_at = 0

    class Counting(int):
        """A time that counts how often it is compared."""

        def __lt__(self, other: int) -> bool:
            nonlocal looked_at
            looked_at += 1
            return int(self) < other

    for number in (0, extra - 1):
        assert owners.uid_of(3, 2 * number + 1) is None
    for number in (extra, CLOSED_KEPT, CLOSED_KEPT + extra - 1):
        assert owners.uid_of(3, Counting(2 * number + 1)) == number
        assert owners.uid_of(3, 2 * number + 2) == number
    assert 0 < looked_at <= 3 * 11
    assert owners.uid_of(3, 2 * (CLOSED_KEPT + extra) + 1) is None


# ---- owners --------------------------------------------------------------------------------------------------------------
def session(uid: int, pid: int = 1) -> Any:
    memory = SimpleNamespace(buffers={}, mappings={})
    return SimpleNamespace(
        peer=SimpleNamespace(uid=uid, pid=pid), pasid=pid + 1, memory=memory, has_agent=False, roles=Role.USER
    )


PORTAL: Any = SimpleNamespace(facts=SimpleNamespace(name="dsa0/wq0.1"))


def counted(**numbers: int) -> dict[str, int]:
    return dict.fromkeys(COUNTED, 0) | numbers


def test_a_portals_number_is_used_again() -> None:
    """Time tells whose descriptor it was; whose portal had errors keeps what its client had mapped."""
    owners = Owners()
    owners.opened(session(1000, 10), PORTAL, 5)
    first = owners.known()[0].opened_ns
    owners.closed(5, counted(descriptors=3, errors=1))
    owners.opened(session(1001, 11), PORTAL, 5)
    second = owners.known()[1].opened_ns
    owners.closed(5, counted(descriptors=4))
    owners.closed(5, counted(descriptors=1000))  # a second time: nothing
    assert [owners.of(5, at).pid for at in (first, second)] == [10, 11]  # type: ignore[union-attr]
    assert owners.of(5, first).memory is not None  # type: ignore[union-attr]
    assert owners.of(5, second).memory is None  # type: ignore[union-attr]
    assert owners.of(5, first - 1) is None
    assert owners.of(6, first) is None


def test_users_sums_outlive_their_portals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters must not fall when a client leaves; too many users are counted together, and nothing is lost."""
    monkeypatch.setattr(owners_module, "USERS_MAX", 2)
    owners = Owners()
    for uid in (1000, 1001, 1002, 1000):
        owners.opened(session(uid), PORTAL, 1)
        owners.closed(1, counted(descriptors=10, bytes=100))
    owners.opened(session(1001), PORTAL, 2)
    owners.opened(session(1003), PORTAL, 3)
    sums = owners.by_user(lambda number: counted(descriptors=number))
    assert {uid: values["descriptors"] for uid, values in sums.items()} == {1000: 20, 1001: 12, OTHER_USERS: 13}
    assert sum(values["bytes"] for values in sums.values()) == 400


# ---- operations ----------------------------------------------------------------------------------------------------------
def daemon(owners: Owners, errors: bytes) -> Any:
    tracing = SimpleNamespace(errors=LastErrors(lambda: (errors, 0), owners.uid_of))
    return SimpleNamespace(sessions=SimpleNamespace(owners=owners), tracing=tracing)


def test_users_see_their_own_errors_only() -> None:
    """Addresses and sizes of other people's buffers are not for everybody; an administrator sees all."""
    owners = Owners()
    owners.opened(session(1000, 10), PORTAL, 1)
    owners.opened(session(1001, 11), PORTAL, 2)
    at_ns = owners.known()[-1].opened_ns
    errors = record(1, 1, at_ns) + record(2, 2, at_ns) + record(3, 7, at_ns)
    asked = session(1000, 99)
    answer, _ = finish(trace._errors(daemon(owners, errors), asked))
    assert (answer["numbers"], len(answer["records"])) == ([1], RECORD_BYTES)
    told, _ = finish(trace._owners(daemon(owners, b""), asked))
    assert [owner["pid"] for owner in told["owners"]] == [10]
    for portal in (2, 7):
        with pytest.raises(Refused, match="not known"):
            finish(trace._locate(daemon(owners, b""), asked, portal, at_ns, [0]))
    asked.roles = Role.USER | Role.ADMIN
    answer, _ = finish(trace._errors(daemon(owners, errors), asked))
    assert answer["numbers"] == [1, 2, 3]
    assert finish(trace._locate(daemon(owners, b""), asked, 2, at_ns, [64]))[0]["places"][0]["mapping"] is None


def test_switching_off_leaves_a_trace_alone_that_began_meanwhile() -> None:
    """What is there is taken out in several turns: another administrator may switch off and on in between."""
    switched: list[str] = []
    tracing = SimpleNamespace(on=True, size=8, facts=dict)
    owner = SimpleNamespace(pid=1, uid=0)

    def trace_off(then: Any) -> None:
        switched.append("off")
        then()

    made: Any = SimpleNamespace(
        tracing=tracing,
        port=SimpleNamespace(trace_off=trace_off),
        log=SimpleNamespace(info=lambda _text: None),
        next_turn=lambda resume, _fail: resume(None),
    )
    asked: Any = SimpleNamespace(peer=owner)

    def begun() -> Trace:
        full = trace.RECORDS_PER_TURN
        return Trace(lambda _maximum: (bytes(full * RECORD_BYTES), 0), RecordStore(2 * full))

    tracing.descriptors = first = begun()
    late = trace._off(made, asked, discard=True)
    next(late)
    first.over, tracing.descriptors = True, begun()
    finish(late)
    assert (tracing.on, tracing.descriptors.over, tracing.size, switched) == (True, False, 8, [])
    run(trace._off(made, asked, discard=True), lambda _answer, _refusal: switched.append("answered"))
    assert (tracing.on, tracing.descriptors, tracing.size, switched) == (False, None, 0, ["off", "answered"])


def test_an_address_is_placed_between_mappings() -> None:
    """First and last byte of one, and the gaps around."""
    mappings: list[dict[str, Any]] = [{"start": 100, "size": 10, "buffer": 1}, {"start": 200, "size": 10, "buffer": None}]
    low, high = mappings
    for address, mapping, below, above in (
        (99, None, None, low),
        (100, low, None, high),
        (109, low, None, high),
        (110, None, low, high),
        (209, high, low, None),
        (210, None, high, None),
    ):
        place = reports.place_of(mappings, address)
        assert (place["mapping"], place["below"], place["above"]) == (mapping, below, above), address
