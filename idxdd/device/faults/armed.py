"""The rules in force: handed to the engine, counted, carried out where the device loop must.

Who calls what   the device loop alone. The engine looks for descriptors and does what it can to them; for the rest it sends an
                 INJECTED exit with the rule's number. Rules about vector 0, and those that strike by themselves, are ours.
Table            the engine's rules are exchanged whole when a rule comes or goes, or a client that one has a row for by pid
                 or uid (clients.py shares out the rows). Counts go on; what the rules before held back (delay, reorder) goes
                 on at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idxdd.device.engineport import EnginePort
from idxdd.device.faults.actions import NS_PER_S, Unplug, act, forget
from idxdd.device.faults.clients import Client, Connected, shares
from idxdd.device.faults.compiled import Progress, compiled, has_rows
from idxdd.device.faults.counting import Counted
from idxdd.device.faults.rule import BadRule, Rule
from idxdd.device.faults.text import RULES_MAX
from idxdd.native._native import Exit
from idxdd.shm.clock import CLOCK, Clock
from idxdd.spec.codes import InterruptCause

if TYPE_CHECKING:
    from idxdd.device.device import Device

log = logging.getLogger(__name__)

Later = Callable[[float, Callable[[], object]], object]
"""Call something after so many seconds, in the device loop."""


NONE = Progress()
STRIKES_TOLD = 4


@dataclass
class Armed:
    """One rule in force."""

    number: int
    rule: Rule
    added_ns: int
    counted: Counted
    """Of rules that the device loop looks for."""
    before: Progress = NONE
    """What the engine's tables before the one now in force have counted."""
    now: Progress = NONE
    """The same for the table now in force."""
    told: int = 0
    """Strikes that the log has a line for."""
    left_out: int = 0
    """Clients that it names and the table has no row for: it is not in force for these."""
    left_out_told: bool = False

    @property
    def progress(self) -> Progress:
        """All that was counted."""
        matches = self.counted.matches + self.before.matches + self.now.matches
        return Progress(matches, self.counted.hits + self.before.hits + self.now.hits)

    @property
    def hits_left(self) -> int | None:
        """None: without end."""
        most = 1 if self.rule.by_itself else self.rule.when.hits_max
        if self.rule.when.nth is not None and self.progress.matches >= self.rule.when.nth:
            return 0
        return None if most is None else max(0, most - self.progress.hits)

    @property
    def per_client(self) -> bool:
        """It names processes: which PASIDs these are changes with the clients."""
        return self.rule.where.pid is not None or self.rule.where.uid is not None

    def document(self) -> dict[str, Any]:
        """What is told of it."""
        counts = {"matches": self.progress.matches, "hits": self.progress.hits, "hits_left": self.hits_left}
        return {"id": self.number, "rule": str(self.rule), **counts, "left_out": self.left_out}


def _tell(one: Armed, device: Device) -> None:
    """A rule may strike a thousand times a second; the log has its first."""
    one.told += 1
    level = logging.INFO if one.told <= STRIKES_TOLD else logging.DEBUG
    log.log(level, "%s: rule %d strikes: %s", device.name, one.number, one.rule)


class Faults:
    """Every rule in force in one daemon."""

    def __init__(
        self,
        port: EnginePort,
        devices: Mapping[str, Device],
        clients: Callable[[], Iterable[Client]],
        later: Later,
        unplug: Unplug,
        clock: Clock = CLOCK,
    ) -> None:
        """`clients()`: who is connected now; `later`: the loop's timers; `unplug`: what removes a device and brings it back."""
        self._port = port
        self._devices = devices
        self._clients = clients
        self._later = later
        self._unplug = unplug
        self._clock = clock
        self._armed: dict[int, Armed] = {}
        self._table: list[Armed | None] = []
        """The engine's rules now: whose each is; None: one more client of the rule before it."""
        self._looked_at: dict[int, list[int | None]] = {}
        """By rule, the PASIDs that have a row of the table."""
        self._next = 1
        for device in devices.values():
            device.injected = self._injector(device)
            device.interrupts.disturb = self._disturber(device)

    def __len__(self) -> int:
        return len(self._armed)

    # ---- rules come and go -----------------------------------------------------------------------------------------------

    def add(self, rules: Iterable[Rule]) -> list[Armed]:
        """Put rules in force, all or none. BadRule: one names what this daemon has not, or there are too many."""
        new = list(rules)
        for rule in new:
            self.check(rule)
        if len(self._armed) + len(new) > RULES_MAX:
            raise BadRule(f"rules: {len(self._armed)} are in force, {RULES_MAX} are possible: remove some")
        added = [self._arm(rule) for rule in new]
        self._install()
        for one in added:
            if one.rule.by_itself:
                self._strike_later(one)
        return added

    def _arm(self, rule: Rule) -> Armed:
        number, self._next = self._next, self._next + 1
        self._armed[number] = Armed(number, rule, self._clock.now_ns(), Counted(rule.when))
        return self._armed[number]

    def check(self, rule: Rule) -> None:
        """BadRule: it names a device, a work queue or a vector that is not there."""
        there = ", ".join(self._devices)
        if rule.where.device is not None and rule.where.device not in self._devices:
            raise BadRule(f"device: no device {rule.where.device} (there is {there})")
        for device in self._devices.values():
            if rule.where.device in (None, device.name) and (rule.what.vector or 0) >= device.profile.vectors:
                raise BadRule(f"vector: {device.name} has vectors 0 to {device.profile.vectors - 1}")
        for name in rule.where.wq or ():
            owner = self._devices.get(name.partition("/")[0])
            if owner is None or int(name.rpartition(".")[2]) >= owner.wqs.count:
                raise BadRule(f"wq: no work queue {name} (there is {there})")

    def remove(self, numbers: Iterable[int] | None = None) -> list[int]:
        """Take rules out of force, all if none is named; KeyError names one that is not in force, and nothing happens."""
        gone = list(self._armed) if numbers is None else list(dict.fromkeys(numbers))
        for number in gone:
            if number not in self._armed:
                raise KeyError(number)
        for number in gone:
            what = self._armed.pop(number).rule.what
            for device in self._devices.values():
                forget(device, what)
        if gone:
            self._install()
        return gone

    def entries(self) -> list[Armed]:
        """Rules in force with their counts now, in the order they came."""
        self._count()
        return list(self._armed.values())

    def clients_changed(self) -> None:
        """A client came or went: rules that name processes look at others now. What nothing changes for holds on to what it
        holds back."""
        if any(one.per_client for one in self._armed.values()):
            self._count()
            if self._share_out() != self._looked_at:
                self._install()

    # ---- the engine's table ----------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Bring counts of the table in force up to date."""
        if not self._table:
            return
        for one, (matches, hits) in zip(self._table, self._port.rule_counters(), strict=False):
            if one is not None:
                one.now = Progress(matches, hits)

    def _install(self) -> None:
        self._count()
        self._looked_at = self._share_out()
        had, self._table = self._table, []
        packed: list[bytes] = []
        indices = [device.index for device in self._devices.values()]
        for one in self._armed.values():
            one.before = Progress(one.before.matches + one.now.matches, one.before.hits + one.now.hits)
            one.now = NONE
            if pasids := self._looked_at.get(one.number):
                packed += compiled(one.rule, one.number, indices, pasids, one.added_ns, one.before)
                self._table += [one, *[None] * (len(pasids) - 1)]
        if packed or had:
            self._port.set_rules(b"".join(packed))

    def _share_out(self) -> dict[int, list[int | None]]:
        """By rule, whose descriptors the engine is to look at; None: everybody's. Who has no row is counted and told."""
        connected = Connected(self._clients())
        for one in self._armed.values():
            one.left_out = 0
        looking = [one for one in self._armed.values() if has_rows(one.rule, one.progress)]
        named = [connected.named(one.rule.where) if one.per_client else None for one in looking]
        given = shares([1 if clients is None else len(clients) for clients in named], RULES_MAX)
        looked_at: dict[int, list[int | None]] = {}
        for one, clients, rows in zip(looking, named, given, strict=True):
            if clients is None:
                looked_at[one.number] = [one.rule.where.pasid]
                continue
            looked_at[one.number] = [client.pasid for client in clients[:rows]]
            one.left_out = len(clients) - rows
            self._tell_left_out(one, len(clients))
        return looked_at

    @staticmethod
    def _tell_left_out(one: Armed, wanted: int) -> None:
        """Once a rule: clients may come and go often."""
        if one.left_out and not one.left_out_told:
            one.left_out_told = True
            text = "rule %d is not in force for %d of the %d clients it names: all rules together have %d rows: %s"
            log.warning(text, one.number, one.left_out, wanted, RULES_MAX, one.rule)

    def clients_of(self, rule: Rule) -> list[Client]:
        """Connected now, and named by the rule."""
        return Connected(self._clients()).named(rule.where)

    # ---- what the device loop does ---------------------------------------------------------------------------------------

    def _injector(self, device: Device) -> Callable[[Exit], None]:
        """Called when the engine met a descriptor of one of our rules."""

        def injected(exit: Exit) -> None:
            one = self._armed.get(exit.id)
            if one is not None:
                self._act(one, device, exit)

        return injected

    def _act(self, one: Armed, device: Device, exit: Exit | None) -> None:
        _tell(one, device)
        act(device, one.rule.what, exit, self._unplug)

    def _strike_later(self, one: Armed) -> None:
        def strike() -> None:
            if self._armed.get(one.number) is one and not one.counted.hits and one.counted.strike():
                for device in self._devices.values():
                    if one.rule.where.device in (None, device.name):
                        self._act(one, device, None)

        if one.rule.when.after:
            self._later(one.rule.when.after / NS_PER_S, strike)
        else:
            strike()

    def _disturber(self, device: Device) -> Callable[[InterruptCause], bool]:
        """Called when a cause is set: True when vector 0 is not to be raised now."""

        def disturb(cause: InterruptCause) -> bool:
            for one in self._armed.values() if self._armed else ():
                if one.rule.of_vector and self._means(one, device, cause) and one.counted.strike():
                    _tell(one, device)
                    if one.rule.what.time is not None:
                        self._later(one.rule.what.time / NS_PER_S, lambda: device.interrupts.post(0))
                    return True
            return False

        return disturb

    def _means(self, one: Armed, device: Device, cause: InterruptCause) -> bool:
        where, after = one.rule.where, one.rule.when.after or 0
        if self._clock.now_ns() < one.added_ns + after:
            return False
        named = (cause.name or "").lower()
        return where.device in (None, device.name) and (where.cause is None or named in where.cause)
