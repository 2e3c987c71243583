"""Waiting in tests: for a condition, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

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
