"""Connected processes as rules may name them, and how many of them each rule has a row of the engine's table for.

Limits           the table has RULES_MAX rows for everybody. Each rule has its first before any has a second, and so on: whoever
                 opens connections takes rows from the rules that name him, and never the last of another's.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from idxdd.device.faults.rule import Where


class Client(NamedTuple):
    """A connected process, as rules may name it."""

    pid: int
    uid: int
    pasid: int


class Connected:
    """Who is connected, looked through once for all rules."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._all = list(clients)
        self._by_pid: defaultdict[int, list[Client]] = defaultdict(list)
        self._by_uid: defaultdict[int, list[Client]] = defaultdict(list)
        for client in self._all:
            self._by_pid[client.pid].append(client)
            self._by_uid[client.uid].append(client)
        self._found: dict[tuple[int | None, int | None, int | None], list[Client]] = {}

    def named(self, where: Where) -> list[Client]:
        """Those that a rule names."""
        names = where.pid, where.uid, where.pasid
        if names not in self._found:
            self._found[names] = [one for one in self._candidates(where) if _is_named(one, where)]
        return self._found[names]

    def _candidates(self, where: Where) -> list[Client]:
        if where.pid is not None:
            return self._by_pid.get(where.pid, [])
        return self._all if where.uid is None else self._by_uid.get(where.uid, [])


def _is_named(client: Client, where: Where) -> bool:
    return all(name in (None, known) for name, known in zip((where.pid, where.uid, where.pasid), client, strict=True))


def shares(wanted: Sequence[int], rows: int) -> list[int]:
    """How many of so many rows each gets: one each, then one more each, until all have what they want or none is left."""
    given = [0] * len(wanted)
    wanting = [index for index, count in enumerate(wanted) if count]
    while wanting and rows:
        for index in wanting[:rows]:
            given[index] += 1
        rows -= min(rows, len(wanting))
        wanting = [index for index in wanting if given[index] < wanted[index]]
    return given
