"""The Python form of rules: on(wq="dsa0/wq0.1", op="memmove").nth(3).fault("write", at=4096)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any

from idxdd.device.faults.rule import BadRule, Rule, What, When, Where, kinds
from idxdd.device.faults.text import read, unknown
from idxdd.device.faults.values import FLAG_BITS, Flags, Span, write_duration

TIMES = frozenset({"after", "time"})


class Builder:
    """A rule as far as it has been said; every method gives a new one, an action the rule."""

    def __init__(self, where: Where, when: When) -> None:
        self._where = where
        self._when = when

    # ---- when ----------------------------------------------------------------------------------------------------------
    def nth(self, number: int) -> Builder:
        """Only this match, counted from 1."""
        return self._timed(nth=number)

    def every(self, number: int) -> Builder:
        """Each of so many."""
        return self._timed(every=number)

    def first(self, number: int) -> Builder:
        """So many, then none."""
        return self._timed(first=number)

    def chance(self, probability: float, seed: int | None = None) -> Builder:
        """Each with this probability; the same seed strikes the same matches."""
        return self._timed(chance=probability, seed=seed)

    def times(self, number: int) -> Builder:
        """At most so many hits."""
        return self._timed(times=number)

    def after(self, seconds: float | str) -> Builder:
        """Not before this time has passed since the rule was added; also "10ms"."""
        return self._timed(after=seconds)

    # ---- what ----------------------------------------------------------------------------------------------------------
    def status(
        self,
        code: int | str,
        *,
        result: int | None = None,
        bytes: int | None = None,
        mask: int | None = None,
        force: bool = False,
    ) -> Rule:
        """End with this status."""
        return self._do("status", status=code, result=result, bytes=bytes, mask=mask, force=force)

    def fault(self, access: str, *, at: int | str | None = None, operand: str | None = None) -> Rule:
        """A page fault: "read", "write", "record", "list" or "readback"."""
        return self._do("fault", access=access, at=at, operand=operand)

    def corrupt(
        self, *, at: int | None = None, bytes: int | None = None, xor: int | None = None, operand: str | None = None
    ) -> Rule:
        """Success with wrong bytes."""
        return self._do("corrupt", at=at, bytes=bytes, xor=xor, operand=operand)

    def delay(self, seconds: float | str) -> Rule:
        """Completed so much later."""
        return self._do("delay", time=seconds)

    def drop(self) -> Rule:
        """No record, no interrupt."""
        return self._do("drop")

    def reorder(self, count: int, seconds: float | str | None = None) -> Rule:
        """Completed after so many later ones, or that time (1 s)."""
        return self._do("reorder", count=count, time=seconds)

    def full(self) -> Rule:
        """The work queue is full."""
        return self._do("full")

    def swerr(self, code: int | str) -> Rule:
        """This error in SWERR besides."""
        return self._do("swerr", status=code)

    def evl_overflow(self, count: int | None = None) -> Rule:
        """The next entries (1) find the event log full."""
        return self._do("evl-overflow", count=count)

    def interrupt(self, how: str, seconds: float | str | None = None, *, vector: int | None = None) -> Rule:
        """ "lost", "late" (with a time) or "spurious"."""
        return self._do("interrupt", how=how, time=seconds, vector=vector)

    def revoke(self) -> Rule:
        """Every interrupt handle is revoked."""
        return self._do("revoke")

    def halt(self, reset: str) -> Rule:
        """ "software", "flr", "warm" or "cold"."""
        return self._do("halt", reset=reset)

    def slow(self, seconds: float | str) -> Rule:
        """Translation takes so long."""
        return self._do("slow", time=seconds)

    def remove(self, seconds: float | str | None = None) -> Rule:
        """Surprise removal; with a time, the device returns then."""
        return self._do("remove", time=seconds)

    # ---- how -----------------------------------------------------------------------------------------------------------
    def _timed(self, **values: Any) -> Builder:
        said = {name: value for name in kinds(When) if (value := getattr(self._when, name)) is not None}
        return Builder(self._where, When(**{**said, **_read(When, values, "when")}))

    def _do(self, action: str, *, force: bool = False, **values: Any) -> Rule:
        return Rule(self._where, self._when, What(action, force=force, **_read(What, values, action)))


def on(**where: Any) -> Builder:
    """Begin a rule: device, wq, pid, uid, pasid, op, flags, addr, size, member, vector, cause. Numbers, names, codes, lists;
    a (first, last) or a range for addr, size, member. BadRule."""
    return Builder(Where(**_read(Where, where, "where")), When())


def _read(part: type[Where] | type[When] | type[What], values: dict[str, Any], name: str) -> dict[str, Any]:
    known = kinds(part)
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise BadRule(unknown(key, known, name))
        if value is not None:
            word = known[key].write(value) if isinstance(value, Span | Flags) else _word(key, value)
            found[key] = read(key, known, word)
    return found


def _word(key: str, value: Any) -> str:
    """As the text form would say it."""
    if key in TIMES and isinstance(value, int | float) and not isinstance(value, bool):
        return write_duration(round(value * 10**9)) if value >= 0 else f"{value}s"
    if key == "flags" and isinstance(value, int) and not isinstance(value, bool):
        return ",".join(f"bit{number}" for number in range(FLAG_BITS) if value >> number & 1)
    if isinstance(value, IntFlag):
        return ",".join((flag.name or "").lower() for flag in value)
    if isinstance(value, IntEnum):
        return str(int(value))
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple) and key in ("addr", "size", "member"):
        return "..".join(str(int(end)) for end in value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(_word(key, member) for member in value)
    return str(value)
