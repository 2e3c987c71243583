"""Which matches of a rule are hits. The engine counts its own rules in C (inject.c); this counts for the device loop's.

Chance           match n of a rule strikes if splitmix64(seed + n) is below the chance: the same rule over the same matches
                 strikes the same ones, whatever else happens.
"""

from idxdd.device.faults.rule import When

MASK = (1 << 64) - 1


def splitmix64(value: int) -> int:
    """A number of 64 bits that looks like chance, of any number."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
    return value ^ value >> 31


def strikes(when: When, match: int, hits: int) -> bool:
    """Is match number `match` (from 1) a hit, after so many hits?"""
    if when.hits_max is not None and hits >= when.hits_max:
        return False
    if when.nth is not None:
        return match == when.nth
    if when.every is not None:
        return match % when.every == 0
    if when.chance is not None:
        return splitmix64((when.seed or 0) + match) < when.chance * 2.0**64
    return True


class Counted:
    """Matches and hits of one rule."""

    def __init__(self, when: When) -> None:
        self._when = when
        self.matches = self.hits = 0

    def strike(self) -> bool:
        """Another match; is it a hit?"""
        self.matches += 1
        struck = strikes(self._when, self.matches, self.hits)
        self.hits += struck
        return struck

    @property
    def left(self) -> int | None:
        """Hits that can still come; None: without end."""
        return None if self._when.hits_max is None else self._when.hits_max - self.hits
