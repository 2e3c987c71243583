"""Waiting in tests: for a condition, with a limit."""

import threading
import time
from collections.abc import Callable
from typing import Self, TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """The first true value of condition(); fails after so many seconds, saying what was waited for."""
    end = time.monotonic() + timeout
    step_s = 0.0005
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {timeout:g} s: {what or getattr(condition, '__name__', condition)}; last value {value!r}"
            )
        time.sleep(step_s)
        step_s = min(2 * step_s, 0.05)
    return value


class Lateness:
    """While it is open: how late, at worst, this machine runs a thread that wants to run. What a limit on time must allow for.

    On a quiet machine it adds next to nothing, so that a limit still says what it should; on two cores with twenty programs it
    is what keeps a test from failing for what those do.
    """

    TICK_S = 0.005
    RUNS = 10
    """So many processes and threads may have to be run one after the other before something is noticed."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            wanted = time.monotonic() + self.TICK_S
            if self._stop.wait(self.TICK_S):
                return
            self.worst_s = max(self.worst_s, time.monotonic() - wanted)

    def limit(self, seconds: float) -> float:
        """What may be asked of this machine, when `seconds` may be asked of a quiet one."""
        return seconds + self.RUNS * self.worst_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
