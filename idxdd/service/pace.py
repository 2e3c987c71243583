"""How often a client may ask: a bucket of calls that fills as time passes and holds one second's worth."""

from idxdd.shm.clock import CLOCK, NS_PER_S, Clock


class Pace:
    """`take()` for every call; while `wait_s()` is above 0 the next one has to wait so long."""

    def __init__(self, per_s: int, clock: Clock = CLOCK) -> None:
        self.per_s = per_s
        self.told = False
        self._clock = clock
        self._left = float(per_s)
        self._looked_ns = clock.now_ns()

    def take(self) -> None:
        """One call was made."""
        self._fill()
        self._left -= 1.0

    def wait_s(self) -> float:
        """Seconds until a call may be made; 0 now."""
        self._fill()
        return max(0.0, (1.0 - self._left) / self.per_s)

    def _fill(self) -> None:
        now_ns = self._clock.now_ns()
        self._left = min(float(self.per_s), self._left + (now_ns - self._looked_ns) / NS_PER_S * self.per_s)
        self._looked_ns = now_ns
