"""The trace of descriptors, and the last errors, which are kept without one: taken out of the engine when somebody asks.

Who writes what  the engine fills rings of its own; the loop empties them into stores of the same size, at each question. While
                 nobody asks the trace costs the loop nothing, and the engine overwrites the oldest.
Positions        records of a store are counted from 0; a page starts at a position, so a reader that comes back misses nothing
                 but what was overwritten, and sees how much that is.
Limits           a store holds as many records as the ring; a turn of the loop copies RECORDS_PER_TURN, a page has
                 RECORDS_PER_PAGE.
                 The last errors kept are ERRORS_KEPT, and the oldest of the user who has most makes room: once they are fetched
                 nobody can crowd out another's. In the engine's ring the newest still replace everybody's.
Whose            a record's user is looked up once, when it is fetched, and that is at the latest when its portal goes.
Who may          an administrator everything; others the last errors of their own user.
"""

import mmap
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from idxdd.control.roles import Role
from idxdd.control.tracerecord import RECORD_BYTES, unpack
from idxdd.device.engineport import EnginePort
from idxdd.native._native import ERRORS_KEPT
from idxdd.service import reports
from idxdd.service.tasks import Refused, Steps, Wait, acknowledged

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

RECORDS_PER_PAGE = 300
"""57,600 bytes: beside it the rest of an answer finds room in a frame."""
RECORDS_PER_TURN = 4096
"""0.8 MB, about a tenth of a millisecond."""
OWNERS_PER_PAGE = 256

Read = Callable[[int], tuple[bytes, int]]
"""read(maximum) -> records, how many were overwritten unread since the call before."""
UidOf = Callable[[int, int], int | None]
"""uid_of(portal, at_ns): whose portal that was at a time; None: not known any more."""
Numbered = tuple[int, bytes]


class RecordStore:
    """The last `capacity` records that were put in."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.end = 0
        """Position behind the newest record."""
        self._memory = mmap.mmap(-1, capacity * RECORD_BYTES)  # pages come as they are written to

    @property
    def start(self) -> int:
        """Position of the oldest record."""
        return max(0, self.end - self.capacity)

    def add(self, records: bytes) -> None:
        """At most `capacity` of them."""
        count = len(records) // RECORD_BYTES
        assert count <= self.capacity, "a read is not larger than the ring"
        at = self.end % self.capacity * RECORD_BYTES
        first = min(len(records), len(self._memory) - at)
        self._memory[at : at + first] = records[:first]
        self._memory[: len(records) - first] = records[first:]
        self.end += count

    def read(self, position: int, count: int) -> tuple[int, bytes]:
        """Records from `position` on, or from the oldest: (position of the first, records)."""
        position = min(max(position, self.start), self.end)
        count = min(count, self.end - position)
        at = position % self.capacity * RECORD_BYTES
        first = self._memory[at : at + count * RECORD_BYTES]
        return position, first + self._memory[: count * RECORD_BYTES - len(first)]


class Trace:
    """One ring of the engine and its store."""

    def __init__(self, read: Read, store: RecordStore) -> None:
        self._read = read
        self.store = store
        self.over = False
        """Switched off, or another took its place: what the engine has now is not of this trace."""
        self._overwritten = 0

    @property
    def dropped(self) -> int:
        """Records that are not there any more: overwritten in the ring, or here."""
        return self._overwritten + self.store.start

    def fetch(self, next_turn: Wait) -> Steps:
        """Everything there is now, a piece in each turn."""
        left = self.store.capacity
        while left > 0 and not self.over:
            records, overwritten = self._read(min(left, RECORDS_PER_TURN))
            self.store.add(records)
            self._overwritten += overwritten
            left -= RECORDS_PER_TURN
            if len(records) < RECORDS_PER_TURN * RECORD_BYTES:
                return
            yield next_turn


class LastErrors:
    """The newest descriptors that did not end well, numbered from 1 since the daemon began."""

    def __init__(self, read: Callable[[], tuple[bytes, int]], uid_of: UidOf) -> None:
        self._read = read
        self._uid_of = uid_of
        self.count = 0
        """How many there were."""
        self._of_user: defaultdict[int | None, deque[Numbered]] = defaultdict(deque)
        """By uid, oldest first."""
        self._kept = 0

    def fetch(self) -> None:
        """Take what the engine has, while it is known whose it is."""
        records, overwritten = self._read()
        self.count += overwritten
        for piece, record in zip(pieces(records), unpack(records), strict=True):
            self.count += 1
            self._keep(self._uid_of(record.portal, record.ended_ns), (self.count, piece))

    def _keep(self, uid: int | None, error: Numbered) -> None:
        self._of_user[uid].append(error)
        self._kept += 1
        if self._kept > ERRORS_KEPT:
            most = max(self._of_user, key=lambda user: len(self._of_user[user]))
            self._of_user[most].popleft()
            self._kept -= 1
            if not self._of_user[most]:
                del self._of_user[most]

    def of(self, uid: int) -> list[Numbered]:
        """Number and record of each of a user that is kept, oldest first."""
        return list(self._of_user.get(uid, ()))

    def of_all(self) -> list[Numbered]:
        """The same of everybody, and of those whose portal is not known any more."""
        return sorted(error for errors in self._of_user.values() for error in errors)


def pieces(records: bytes) -> list[bytes]:
    """One record each."""
    return [records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)]


class Tracing:
    """What one daemon traces: nothing, or every descriptor; and the last errors."""

    def __init__(self, port: EnginePort, uid_of: UidOf) -> None:
        self.on = False
        self.size = 0
        self.descriptors: Trace | None = None
        """Also after it was switched off, until the next time."""
        self.errors = LastErrors(port.errors_read, uid_of)

    def facts(self) -> dict[str, Any]:
        """Whether it is on, and how much there is."""
        store = self.descriptors.store if self.descriptors else None
        return {
            "on": self.on,
            "size": self.size,
            "kept": store.end - store.start if store else 0,
            "dropped": self.descriptors.dropped if self.descriptors else 0,
        }


# ---- operations --------------------------------------------------------------------------------------------------------
def _on(daemon: "Daemon", session: "Session", size: int) -> Steps:
    """Trace every descriptor from now on; an earlier trace is gone."""
    tracing = daemon.tracing
    if tracing.on:
        raise Refused("EBUSY", f"trace: it is on already, with room for {tracing.size} records; trace off first")
    if tracing.descriptors:
        tracing.descriptors.over = True
    yield acknowledged(daemon.port.trace_on, size)
    tracing.on, tracing.size = True, size
    tracing.descriptors = Trace(daemon.port.trace_read, RecordStore(size))
    peer = session.peer
    daemon.log.info(f"trace: on, {size} records, by pid {peer.pid} of uid {peer.uid}", pid=peer.pid, uid=peer.uid)
    return tracing.facts(), []


def _off(daemon: "Daemon", session: "Session", discard: bool = False) -> Steps:
    """Stop; what was traced can still be read, unless it is discarded."""
    tracing = daemon.tracing
    mine = tracing.descriptors
    if tracing.on and mine:
        yield from mine.fetch(daemon.next_turn)
        if not mine.over:  # else another has switched it off meanwhile, and may have begun anew
            tracing.on, mine.over = False, True
            yield acknowledged(daemon.port.trace_off)
            daemon.log.info(f"trace: off, by pid {session.peer.pid} of uid {session.peer.uid}")
    if discard and tracing.descriptors is mine and not tracing.on:
        tracing.descriptors, tracing.size = None, 0
    return tracing.facts(), []


def _page(daemon: "Daemon", _session: "Session", position: int | None = None, last: int | None = None) -> Steps:
    """A page from a position, or the last so many records; neither: how things stand."""
    trace = daemon.tracing.descriptors
    if trace is None:
        return daemon.tracing.facts() | {"position": 0, "end": 0, "records": b""}, []
    if daemon.tracing.on:
        yield from trace.fetch(daemon.next_turn)
    start = trace.store.end if position is None else position
    start, records = trace.store.read(max(0, trace.store.end - last) if last is not None else start, RECORDS_PER_PAGE)
    return daemon.tracing.facts() | {"position": start, "end": trace.store.end, "records": records}, []


def _errors(daemon: "Daemon", session: "Session", last: int = RECORDS_PER_PAGE) -> Steps:
    """The last descriptors that did not end well; an ordinary user's own."""
    errors = daemon.tracing.errors
    errors.fetch()
    found = errors.of_all() if Role.ADMIN in session.roles else errors.of(session.peer.uid)
    found = found[-min(last, RECORDS_PER_PAGE) :]
    numbers, records = [number for number, _ in found], b"".join(record for _, record in found)
    return {"records": records, "numbers": numbers, "count": errors.count}, []
    yield


def _owners(daemon: "Daemon", session: "Session", after: int = 0) -> Steps:
    """Whose portals those were: a page behind the first `after`."""
    known = daemon.sessions.owners.known()
    if Role.ADMIN not in session.roles:
        known = [owner for owner in known if owner.uid == session.peer.uid]
    page = known[after : after + OWNERS_PER_PAGE]
    return {"owners": [owner.facts() for owner in page], "more": len(known) > after + OWNERS_PER_PAGE}, []
    yield


def _locate(daemon: "Daemon", session: "Session", portal: int, at_ns: int, addresses: list[int]) -> Steps:
    """Where addresses of a portal's client lie: in which of its mappings, or between which. As they are now, or were when the
    portal was closed."""
    owner = daemon.sessions.owners.of(portal, at_ns)
    if owner is None or (Role.ADMIN not in session.roles and owner.uid != session.peer.uid):
        raise Refused("ESRCH", f"portal: whose portal {portal} was is not known any more")
    if owner.memory is None:
        raise Refused("ESRCH", f"portal: the client of portal {portal} is gone, and its memory with it")
    places = [reports.place_of(owner.memory.mappings, address) for address in addresses]
    return {"agent": owner.memory.agent, "gone": bool(owner.closed_ns), "places": places}, []
    yield


OPERATIONS: dict[str, Callable[..., Steps]] = {
    "trace_on": _on,
    "trace_off": _off,
    "trace": _page,
    "errors": _errors,
    "owners": _owners,
    "locate": _locate,
}
