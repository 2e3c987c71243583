"""Time through one object, so that tests and the simulation can move it."""

import heapq
import itertools
import math
import time
from collections.abc import Callable
from typing import Final

NS_PER_S: Final = 1_000_000_000


class Clock:
    """The monotonic clock of this machine; the same in every process on it."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Let other processes run for about that long."""
        time.sleep(seconds)

    def deadline(self, seconds: float) -> "Deadline":
        """A point in time so far from now."""
        return Deadline(self, seconds)


class FakeClock(Clock):
    """Stands still until told to advance; sleeping advances it."""

    def __init__(self, start_ns: int = NS_PER_S) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds; a clock never goes back."""
        assert seconds >= 0
        self._now_ns += round(seconds * NS_PER_S)


class Deadline:
    """The end of a bounded wait."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.at_ns = clock.now_ns() + round(seconds * NS_PER_S)

    @property
    def expired(self) -> bool:
        return self._clock.now_ns() >= self.at_ns

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0, self.at_ns - self._clock.now_ns()) / NS_PER_S

    def __repr__(self) -> str:
        return f"Deadline(remaining_s={self.remaining_s:.6f})"


class Timer:
    """One call at one time; cancelled, it does nothing."""

    __slots__ = ("_call", "at_ns")

    def __init__(self, at_ns: int, call: Callable[[], object]) -> None:
        self.at_ns = at_ns
        self._call: Callable[[], object] | None = call

    @property
    def active(self) -> bool:
        return self._call is not None

    def cancel(self) -> None:
        """Do not call; idempotent."""
        self._call = None

    def fire(self) -> bool:
        """Call once; False when there was nothing left to call."""
        call, self._call = self._call, None
        if call is None:
            return False
        call()
        return True


class Timers:
    """What a loop has to do later, in order of time, then of request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._heap: list[tuple[int, int, Timer]] = []

    def __len__(self) -> int:
        return sum(timer.active for _, _, timer in self._heap)

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call it when so many seconds have passed."""
        timer = Timer(self._clock.now_ns() + round(seconds * NS_PER_S), call)
        heapq.heappush(self._heap, (timer.at_ns, next(self._order), timer))
        return timer

    def run_due(self) -> int:
        """Fire what is due now; what these calls ask for runs in a later turn. Returns how many fired."""
        now_ns = self._clock.now_ns()
        due = []
        while self._heap and self._heap[0][0] <= now_ns:
            due.append(heapq.heappop(self._heap)[2])
        return sum(timer.fire() for timer in due)

    def next_in_s(self) -> float | None:
        """Seconds until the next one is due; None: nothing to wait for."""
        while self._heap and not self._heap[0][2].active:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return max(0, self._heap[0][0] - self._clock.now_ns()) / NS_PER_S

    def next_in_ms(self) -> int | None:
        """The same for poll(2), rounded up: waking early would spin."""
        seconds = self.next_in_s()
        return None if seconds is None else math.ceil(seconds * 1000)


CLOCK: Final = Clock()
