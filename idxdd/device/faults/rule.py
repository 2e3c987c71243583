"""A fault rule: where it looks, when it strikes, what happens then. Data; possible.py says which rules can be.

WHERE, WHEN and ACTIONS are the whole language: the text form, the JSON form, and the list in docs/testing.md follow them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from idxdd.device.faults import values
from idxdd.device.faults.values import Flags, Kind, Span

KIND = "kind"
TEXT_CHARACTERS_MAX = 1024
WQ = r"dsa[0-9]{1,2}/wq[0-9]{1,2}\.[0-9]{1,2}"


class BadRule(ValueError):
    """A rule that cannot be; one line that names the field and the rule."""


@dataclass(frozen=True)
class Where:
    """What a descriptor (or, with `vector`, an interrupt of vector 0) must be like; what is None is not looked at."""

    device: str | None = field(default=None, metadata={KIND: values.name(r"dsa[0-9]{1,2}", "a device as dsa0")})
    wq: tuple[str, ...] | None = field(
        default=None, metadata={KIND: values.many(values.name(WQ, "a work queue as dsa0/wq0.1"))}
    )
    pid: int | None = field(default=None, metadata={KIND: values.number(1, (1 << 22) - 1)})
    uid: int | None = field(default=None, metadata={KIND: values.UID})
    pasid: int | None = field(default=None, metadata={KIND: values.number(1, (1 << 20) - 1)})
    op: tuple[int, ...] | None = field(default=None, metadata={KIND: values.many(values.OPERATION)})
    flags: Flags | None = field(default=None, metadata={KIND: values.FLAGS})
    addr: Span | None = field(default=None, metadata={KIND: values.span(values.ADDRESS_MAX, hex)})
    """A byte of an operand lies there, record, list and seed included."""
    size: Span | None = field(default=None, metadata={KIND: values.span(values.COUNT_MAX)})
    """Transfer size, or count."""
    member: Span | None = field(default=None, metadata={KIND: values.MEMBER})
    """Index in a batch; NO_MEMBER: in none."""
    vector: int | None = field(default=None, metadata={KIND: values.number(0, 0)})
    cause: tuple[str, ...] | None = field(
        default=None, metadata={KIND: values.many(values.word(values.CAUSES, "interrupt cause"))}
    )


WHERE_FIELDS = tuple(one.name for one in fields(Where))


@dataclass(frozen=True)
class When:
    """Which of the matches are hit: all, unless one of nth, every, first, chance says otherwise."""

    nth: int | None = field(default=None, metadata={KIND: values.number(1, values.COUNT_MAX)})
    every: int | None = field(default=None, metadata={KIND: values.number(1, values.COUNT_MAX)})
    first: int | None = field(default=None, metadata={KIND: values.number(1, values.COUNT_MAX)})
    chance: float | None = field(default=None, metadata={KIND: values.CHANCE})
    seed: int | None = field(default=None, metadata={KIND: values.number(0, values.COUNT_MAX)})
    times: int | None = field(default=None, metadata={KIND: values.number(1, values.COUNT_MAX)})
    """At most so many hits."""
    after: int | None = field(default=None, metadata={KIND: values.DURATION_KIND})
    """Nanoseconds since the rule was added; what comes earlier is no match."""

    @property
    def hits_max(self) -> int | None:
        """How often it can strike; None: without end."""
        return 1 if self.nth is not None else self.first if self.first is not None else self.times


@dataclass(frozen=True)
class What:
    """What happens: an action and its values (ACTIONS says which belong to it)."""

    action: str
    status: int | None = field(default=None, metadata={KIND: values.STATUS})
    result: int | None = field(default=None, metadata={KIND: values.number(0, 0xFF)})
    access: str | None = field(
        default=None, metadata={KIND: values.word(("read", "write", "record", "list", "readback"), "access")}
    )
    at: int | None = field(default=None, metadata={KIND: values.number(0, values.COUNT_MAX)})
    operand: str | None = field(default=None, metadata={KIND: values.word(values.OPERANDS, "operand")})
    bytes: int | None = field(default=None, metadata={KIND: values.number(0, values.COUNT_MAX)})
    mask: int | None = field(default=None, metadata={KIND: values.number(1, (1 << values.FLAG_BITS) - 1, hex)})
    """Offending flags, of status invalid_flags."""
    xor: int | None = field(default=None, metadata={KIND: values.number(1, 0xFF, hex)})
    time: int | None = field(default=None, metadata={KIND: values.DURATION_KIND})
    count: int | None = field(default=None, metadata={KIND: values.number(1, values.COUNT_MAX)})
    how: str | None = field(default=None, metadata={KIND: values.word(("lost", "late", "spurious"), "interrupt fault")})
    vector: int | None = field(default=None, metadata={KIND: values.number(0, 31)})
    reset: str | None = field(default=None, metadata={KIND: values.word(values.RESETS, "reset type")})
    force: bool = False


@dataclass(frozen=True)
class Action:
    """One row of the language: values in their places, values by name, words that need no value."""

    places: tuple[str, ...] = ()
    optional_place: bool = False
    names: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    text: str = ""

    @property
    def allowed(self) -> frozenset[str]:
        """Fields of What that belong to it."""
        return frozenset((*self.places, *self.names, *self.flags))


ACTIONS: Mapping[str, Action] = {
    "status": Action(
        ("status",), False, ("result", "bytes", "mask"), ("force",), "ends with this status; nothing is carried out"
    ),
    "fault": Action(("access",), False, ("at", "operand"), (), "a page fault there, with the partial result up to it"),
    "corrupt": Action((), False, ("at", "bytes", "xor", "operand"), (), "success, and bytes of the destination are wrong"),
    "delay": Action(("time",), False, (), (), "carried out at once, its record and interrupt come so much later"),
    "drop": Action((), False, (), (), "carried out, and nobody is told: no record, no interrupt"),
    "reorder": Action(("count", "time"), True, (), (), "completed after so many later ones of its work queue"),
    "full": Action(
        (), False, (), (), "the work queue is full: a shared one answers retry, a dedicated one drops it, SWERR 0x53"
    ),
    "slow": Action(("time",), False, (), (), "translation of each of its operands takes so long"),
    "interrupt": Action(("how", "time"), True, ("vector",), (), "the interrupt is lost, comes late, or comes unasked"),
    "swerr": Action(("status",), False, (), (), "this error in SWERR besides"),
    "evl-overflow": Action(("count",), True, (), (), "the next entries find the event log full: lost, SWERR 0x54"),
    "revoke": Action((), False, (), (), "every interrupt handle is revoked"),
    "halt": Action(("reset",), False, (), (), "the device halts until a reset of this type"),
    "remove": Action(("time",), True, (), (), "surprise removal; with a time, the device returns then"),
}
"""The actions by name, in the order the docs list them."""

DEVICE_ACTIONS = frozenset({"swerr", "evl-overflow", "revoke", "halt", "remove"})
"""What happens to the device and not to a descriptor; without descriptor or count to wait for, it happens once, by itself."""


@dataclass(frozen=True)
class Rule:
    """One rule."""

    where: Where
    when: When
    what: What

    def __post_init__(self) -> None:
        from idxdd.device.faults.possible import check

        check(self)
        if len(str(self)) > TEXT_CHARACTERS_MAX:
            raise BadRule(f"rule: its text is longer than {TEXT_CHARACTERS_MAX} characters")

    @classmethod
    def parse(cls, text: str) -> Rule:
        """From its text form. BadRule."""
        from idxdd.device.faults.text import parse

        return parse(text)

    @classmethod
    def of(cls, document: Any) -> Rule:
        """From its JSON form. BadRule."""
        from idxdd.device.faults.document import rule_of

        return rule_of(document)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        from idxdd.device.faults.document import document_of

        return document_of(self)

    def __str__(self) -> str:
        from idxdd.device.faults.text import text_of

        return text_of(self)

    @property
    def of_vector(self) -> bool:
        """It looks at interrupts of vector 0, not at descriptors."""
        return self.where.vector is not None

    @property
    def by_itself(self) -> bool:
        """It waits for no descriptor: it strikes once, when its time has come."""
        unsought = all(name == "device" for name, _ in given(self.where))
        unsought = unsought and all(name == "after" for name, _ in given(self.when))
        return unsought and (self.what.action in DEVICE_ACTIONS or self.what.how == "spurious")


def kinds(part: type[Where] | type[When] | type[What]) -> dict[str, Kind]:
    """Fields and how their values are written."""
    return {one.name: one.metadata[KIND] for one in fields(part) if KIND in one.metadata}


def given(part: Where | When | What) -> Iterator[tuple[str, Any]]:
    """Fields that say something."""
    for one in fields(part):
        value = getattr(part, one.name)
        if value is not None and value is not False and one.name != "action":
            yield one.name, value
