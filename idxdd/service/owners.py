"""Whose a portal is, and was: for the trace, and for counters by user that outlive portals.

Who writes what  the loop alone, when a portal is opened and just before it is removed.
Limits           the last CLOSED_KEPT closed portals; USERS_MAX users, the rest are counted together.
"""

from bisect import bisect_right
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from idxdd.service import reports
from idxdd.shm.clock import CLOCK

if TYPE_CHECKING:
    from idxdd.service.portals import Portal
    from idxdd.service.sessions import Session

CLOSED_KEPT = 1024
USERS_MAX = 256
OTHER_USERS = -1
COUNTED = ("descriptors", "bytes", "retries", "errors", "interrupts")
"""What a portal counts that is summed by user."""


@dataclass(frozen=True)
class Memory:
    """What a client showed the device, and whether it had an agent for the rest."""

    mappings: list[dict[str, Any]]
    agent: bool


@dataclass(frozen=True)
class Owner:
    """One portal in its time. `irq`: idxdd-irq submits through it, in the memory of this client."""

    portal: int
    """The engine's number; used again after it was removed."""
    wq: str
    pid: int
    uid: int
    pasid: int
    irq: bool
    opened_ns: int
    closed_ns: int = 0
    memory: Memory | None = None
    """When it was closed, if any of its descriptors had failed."""

    def facts(self) -> dict[str, Any]:
        """For an answer."""
        return {name: value for name, value in vars(self).items() if name != "memory"}


class Owners:
    """By engine's number; numbers are used again, so time tells which owner is meant."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[Owner, Session]] = {}
        self._closed: deque[Owner] = deque()
        self._closed_of: defaultdict[int, deque[Owner]] = defaultdict(deque)
        """The same by engine's number, in the order of their times."""
        self._by_user: dict[int, Counter[str]] = {}

    def opened(self, session: "Session", portal: "Portal", number: int, *, irq: bool = False) -> None:
        """`number`: the engine's, of the portal itself or of the one idxdd-irq has beside it."""
        peer = session.peer
        owner = Owner(number, portal.facts.name, peer.pid, peer.uid, session.pasid, irq, CLOCK.now_ns())
        self._open[number] = owner, session

    def closed(self, number: int, counted: dict[str, int]) -> None:
        """It is about to be removed; `counted` is what it counted."""
        entry = self._open.pop(number, None)
        if entry is None:
            return
        owner, session = entry
        memory = self._memory_of(session) if counted["errors"] else None
        self._keep(replace(owner, closed_ns=CLOCK.now_ns(), memory=memory))
        self._add(owner.uid, counted)

    def _keep(self, owner: Owner) -> None:
        self._closed.append(owner)
        self._closed_of[owner.portal].append(owner)
        if len(self._closed) > CLOSED_KEPT:
            number = self._closed.popleft().portal
            self._closed_of[number].popleft()
            if not self._closed_of[number]:
                del self._closed_of[number]

    def _add(self, uid: int, counted: dict[str, int]) -> None:
        if uid not in self._by_user and len(self._by_user) >= USERS_MAX:
            uid = OTHER_USERS
        self._by_user.setdefault(uid, Counter()).update({name: counted[name] for name in COUNTED})

    @staticmethod
    def _memory_of(session: "Session") -> Memory:
        return Memory(reports.mappings_of(session.memory), session.has_agent)

    def known(self) -> list[Owner]:
        """Closed ones, oldest first, then those that are open."""
        return [*self._closed, *(owner for owner, _ in self._open.values())]

    def of(self, number: int, at_ns: int) -> Owner | None:
        """Whose portal this was at that time, with its memory as far as it is known; None: not known any more."""
        owner = self._in_its_time(number, at_ns)
        if owner is None or owner.closed_ns:
            return owner
        return replace(owner, memory=self._memory_of(self._open[number][1]))

    def uid_of(self, number: int, at_ns: int) -> int | None:
        """Its user alone, which costs the same however much is mapped and was closed."""
        owner = self._in_its_time(number, at_ns)
        return None if owner is None else owner.uid

    def _in_its_time(self, number: int, at_ns: int) -> Owner | None:
        """Of the open ones or of those that had the number before."""
        entry = self._open.get(number)
        if entry and entry[0].opened_ns <= at_ns:
            return entry[0]
        before = self._closed_of.get(number, ())
        index = bisect_right(before, at_ns, key=lambda owner: owner.opened_ns) - 1
        return before[index] if index >= 0 and at_ns <= before[index].closed_ns else None

    def by_user(self, counters: "Any") -> dict[int, dict[str, int]]:
        """Sums by uid, closed portals and open ones; `counters(number)` reads an open portal's."""
        sums = {uid: Counter(counted) for uid, counted in self._by_user.items()}
        for number, (owner, _) in self._open.items():
            now = counters(number)
            uid = owner.uid if owner.uid in sums or len(sums) < USERS_MAX else OTHER_USERS
            sums.setdefault(uid, Counter()).update({name: now[name] for name in COUNTED})
        return {uid: dict(counted) for uid, counted in sums.items()}
