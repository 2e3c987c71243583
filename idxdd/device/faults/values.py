"""How one value of a rule is written and read: numbers, spans, times, names of operations, statuses and flags.

Every kind reads what a person may type and writes one spelling of it, so that a rule has one text. JSON holds the same
words, but plain numbers as numbers, truth as true and false, and lists as lists.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from idxdd.spec.codes import CompletionStatus, Flag, InterruptCause, Opcode, Operand, ResetType

NUMBER = re.compile(r"(0x[0-9a-f]{1,16}|[0-9]{1,19})([kmg]?)", re.IGNORECASE)
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
DURATION = re.compile(r"([0-9]{1,12})(\.[0-9]{1,9})?(ns|us|ms|s)")
NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DURATION_NS_MAX = 600 * 10**9
ADDRESS_MAX = (1 << 64) - 1
COUNT_MAX = (1 << 32) - 1
FLAG_BITS = 24


class BadValue(ValueError):
    """A word that is no such value; the text says what it must be."""


@dataclass(frozen=True, order=True)
class Span:
    """A range of numbers, both ends included."""

    first: int
    last: int

    def __contains__(self, value: int) -> bool:
        return self.first <= value <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"


@dataclass(frozen=True)
class Flags:
    """Flags a descriptor must have and must not have, as bits 23:0."""

    are_set: int = 0
    are_clear: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind of value: `parse` reads a word (BadValue), `write` is its one spelling; `is_list`, `is_number`: in JSON."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    is_list: bool = False
    is_number: bool = False

    def document(self, value: Any) -> Any:
        """As JSON says it."""
        if isinstance(value, bool):
            return value
        text = self.write(value)
        if self.is_list:
            return text.split(",")
        return value if self.is_number else text

    def of_document(self, value: Any) -> Any:
        """From JSON. BadValue."""
        if isinstance(value, list) and self.is_list and all(isinstance(member, str | int) for member in value):
            value = ",".join(map(str, value))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadValue(f"{value!r:.60} must be text or a number")
        return self.parse(_plain(value))


def _plain(value: str | int | float) -> str:
    return repr(value) if isinstance(value, float) else str(value)


# ---- numbers ---------------------------------------------------------------------------------------------------------------
def number_of(word: str) -> int:
    """Decimal or 0x..., with k, m or g for powers of 1024. BadValue."""
    match = NUMBER.fullmatch(word)
    if match is None:
        raise BadValue(f"{word!r:.60} must be a number as 4096, 4k or 0x1000")
    return int(match[1], 0 if match[1][:2].lower() == "0x" else 10) * SIZES[match[2].lower()]


def number(low: int, high: int, write: Callable[[int], str] = str) -> Kind:
    """An integer within bounds, both included."""

    def parse(word: str) -> int:
        value = number_of(word)
        if not low <= value <= high:
            raise BadValue(f"{word} must be between {low:,} and {high:,}".replace(",", ""))
        return value

    return Kind(parse, write, is_number=True)


def span(high: int, write: Callable[[int], str] = str) -> Kind:
    """N, N..M, N.. or ..M."""

    def parse(word: str) -> Span:
        first, dots, last = word.partition("..")
        low, top = number_of(first) if first else 0, number_of(last) if last else high
        if not dots:
            top = low
        if not first and not last:
            raise BadValue(f"{word!r:.60} must be a number or a range as 64..4096")
        if low > top or top > high:
            raise BadValue(f"{word!r:.60} must rise and end at {high:#x} at most")
        return Span(low, top)

    def spell(value: Span) -> str:
        if value.first == value.last:
            return write(value.first)
        return f"{write(value.first)}.." + ("" if value.last == high else write(value.last))

    return Kind(parse, spell)


NO_MEMBER = Span(-1, -1)
_INDEX = span(0xFFFF)
MEMBER = Kind(
    lambda word: NO_MEMBER if word == "none" else _INDEX.parse(word),
    lambda value: "none" if value == NO_MEMBER else _INDEX.write(value),
)


def _duration(word: str) -> int:
    match = DURATION.fullmatch(word)
    if match is None:
        raise BadValue(f"{word!r:.60} must be a time as 10us, 1.5ms or 2s")
    whole, fraction, unit = int(match[1]) * NS[match[3]], match[2] or ".", NS[match[3]]
    parts = int(fraction[1:].ljust(9, "0") or 0) * unit
    if parts % 10**9:
        raise BadValue(f"{word} is finer than a nanosecond")
    value = whole + parts // 10**9
    if value > DURATION_NS_MAX:
        raise BadValue(f"{word} must be 600s at most")
    return value


def write_duration(value: int) -> str:
    """In the largest unit that divides it."""
    unit = next(unit for unit, ns in NS.items() if value % ns == 0)
    return f"{value // NS[unit]}{unit}"


DURATION_KIND = Kind(_duration, write_duration)


def _chance(word: str) -> float:
    try:
        value = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise BadValue(f"{word!r:.60} must be a probability as 0.01 or 1%, above 0 and at most 1")
    return value


CHANCE = Kind(_chance, repr, is_number=True)


# ---- names ------------------------------------------------------------------------------------------------------------------
def _unknown(word: str, known: list[str], what: str) -> BadValue:
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, 1)
    return BadValue(f"{word!r:.60} is no {what}" + (f"; did you mean {close[0]}?" if close else ""))


def code_name(code: int, names: type[IntEnum]) -> str:
    """As rules write it: the manual's name in small letters, else the number."""
    return names(code).name.lower() if code in names._value2member_map_ else f"{code:#04x}"


def code(names: type[IntEnum], high: int, what: str) -> Kind:
    """A code by name or number."""
    by_name = {member.name.lower(): int(member) for member in names}

    def parse(word: str) -> int:
        if word[:1].isdigit():
            value = number_of(word)
            if value > high:
                raise BadValue(f"{word} must be {high:#x} at most")
            return value
        if word.lower() not in by_name:
            raise _unknown(word, list(by_name), what)
        return by_name[word.lower()]

    return Kind(parse, lambda value: code_name(value, names))


def word(choices: tuple[str, ...], what: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise BadValue(f"{text!r:.60} is no {what}: one of {', '.join(choices)}")
        return text.lower()

    return Kind(parse, str)


def many(one: Kind) -> Kind:
    """Several, between commas; kept sorted, each once."""

    def parse(text: str) -> tuple[Any, ...]:
        return tuple(sorted({one.parse(part) for part in text.split(",")}))

    return Kind(parse, lambda values: ",".join(one.write(value) for value in values), is_list=True)


def name(pattern: str, words: str) -> Kind:
    """A name that keeps a pattern."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise BadValue(f"{text!r:.60} must be {words}")
        return text

    return Kind(parse, str)


def _uid(text: str) -> int:
    if text.isdecimal():
        value = number_of(text)
        if value > COUNT_MAX:
            raise BadValue(f"{text} must be {COUNT_MAX} at most")
        return value
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise BadValue(f"{text!r:.60} is no user of this machine") from None


UID = Kind(_uid, str, is_number=True)

FLAG_NAMES = {flag.name.lower(): flag.value for flag in Flag if flag.name}
BIT = re.compile(r"bit([0-9]{1,2})")


def _flag(text: str) -> int:
    match = BIT.fullmatch(text.lower())
    if match is not None and int(match[1]) < FLAG_BITS:
        return 1 << int(match[1])
    if text.lower() not in FLAG_NAMES:
        raise _unknown(text, [*FLAG_NAMES, "bit16"], "flag")
    return FLAG_NAMES[text.lower()]


def _flags(text: str) -> Flags:
    are_set = are_clear = 0
    for part in text.split(","):
        if part.startswith("!"):
            are_clear |= _flag(part[1:])
        else:
            are_set |= _flag(part)
    if are_set & are_clear:
        raise BadValue(f"{text!r:.60} wants a flag both set and clear")
    return Flags(are_set, are_clear)


def _write_flags(value: Flags) -> str:
    bits = {1 << number: f"bit{number}" for number in range(FLAG_BITS)}
    names = {**bits, **{mask: name for name, mask in FLAG_NAMES.items()}}
    wanted = [name for mask, name in names.items() if value.are_set & mask]
    return ",".join(wanted + [f"!{name}" for mask, name in names.items() if value.are_clear & mask])


FLAGS = Kind(_flags, _write_flags, is_list=True)
OPERATION = code(Opcode, 0xFF, "operation")
STATUS = code(CompletionStatus, 0x7F, "status")
OPERANDS = tuple(operand.name.lower() for operand in Operand if operand not in (Operand.UNKNOWN, Operand.SGL))
RESETS = tuple(kind.name.lower() for kind in ResetType)
CAUSES = tuple(cause.name.lower() for cause in InterruptCause if cause.name)
