"""Feeding systemd's watchdog from the loops that do the work: no food while the engine or idxdd-irq does not answer.

The loop beats; a beat asks the engine's thread for a barrier and looks when idxdd-irq was last heard. Only when both were
answered since is systemd told, so a hung engine, an idxdd-irq that cannot be brought back, or a hung loop ends in a restart.
"""

import os
from collections.abc import Callable, Mapping

from idxdd.service.notify import sd_notify
from idxdd.shm.clock import Timers

BEATS_PER_PERIOD = 3
IRQ_SILENT_S_MAX = 10.0  # the supervisor kills a hung one after 5 s and starts another: that is given its time


def period_s(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds within which systemd wants to hear from this process; 0: it does not."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / 1e6


class Watchdog:
    """Beats until the timers end."""

    def __init__(
        self,
        timers: Timers,
        period: float,
        barrier: Callable[[Callable[[], None]], object],
        irq_silent_s: Callable[[], float],
        notify: Callable[[str], object] = sd_notify,
    ) -> None:
        """`barrier(then)` asks the engine; `irq_silent_s()` tells how long idxdd-irq has not answered."""
        self._timers = timers
        self._beat_s = period / BEATS_PER_PERIOD
        self._barrier = barrier
        self._irq_silent_s = irq_silent_s
        self._notify = notify
        self._engine_answered = True
        self.fed = 0

    def beat(self) -> None:
        """Feed if everybody answered, ask the engine again, come back."""
        if self._engine_answered and self._irq_silent_s() < IRQ_SILENT_S_MAX:
            self._notify("WATCHDOG=1")
            self.fed += 1
        if self._engine_answered:  # one question at a time: a hung engine would collect them
            self._engine_answered = False
            self._barrier(self._answered)
        self._timers.call_later(self._beat_s, self.beat)

    def _answered(self) -> None:
        self._engine_answered = True
