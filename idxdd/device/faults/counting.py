"""Which matches of a rule are hits, as the engine counts them (rule_table.c); the device loop counts its own rules here.

Chance           match n of a rule strikes if number n of its own generator (SplitMix64 from the seed) is below the chance:
                 the same rule over the same matches strikes the same ones.
"""

from idxdd.device.faults.rule import When

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
CHANCE_ALWAYS = (1 << 32) - 1


def generator_at(seed: int, match: int) -> int:
    """State of the generator after so many matches."""
    return (seed + match * STEP) & MASK


def chance_of(state: int) -> int:
    """Its number there, of 2^32."""
    state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) & MASK
    return (state ^ state >> 31) >> 32


def threshold(chance: float | None) -> int:
    """A chance as the engine takes it, of 2^32."""
    return CHANCE_ALWAYS if chance is None else min(max(1, int(chance * 2**32)), CHANCE_ALWAYS)


def strikes(when: When, match: int, hits: int) -> bool:
    """Is match number `match` (from 1) a hit, after so many hits?"""
    if when.hits_max is not None and hits >= when.hits_max:
        return False
    if when.nth is not None:
        return match == when.nth
    if when.every is not None:
        return match % when.every == 0
    below = threshold(when.chance)
    return below == CHANCE_ALWAYS or chance_of(generator_at(when.seed or 0, match)) < below


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
