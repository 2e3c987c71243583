"""Keeps one idxdd-irq alive: starts it by exec, watches its pidfd and its answers, reaps it, starts the next. Never two.

Order   a successor is started only after its predecessor was reaped: two would both write the driver state.
Limits  a ping a second; no answer within HUNG_S, or to the adoption within ADOPT_S: SIGKILL. One that dies young, before
        it has adopted, is followed later and later, up to BACKOFF_S_MAX; one that had adopted is followed at once: clients
        wait for it.
"""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from idxdd.service.link import Frame, Link
from idxdd.service.logs import Log
from idxdd.service.loop import Loop, Rank
from idxdd.service.spawn import COMMAND, Spawned, describe, spawn
from idxdd.service.tasks import Refused
from idxdd.shm.clock import CLOCK, NS_PER_S, Timer

PING_S = 1.0
HUNG_S = 5.0
ADOPT_S = 30.0
"""It starts a Python and takes over every channel, on a machine that may be busy: killed too early, none would ever adopt."""
YOUNG_S = 1.0
BACKOFF_S_FIRST = 0.05
BACKOFF_S_MAX = 2.0
STOP_S = 2.0
ENDING_S = 0.2  # a process that ends closes its link a little before it is gone


class IrqCannotStart(Exception):
    """The first idxdd-irq ended, or refused to adopt, before the daemon was ready."""


class Supervisor:
    """idxdd-irq's life. `adoption` gives what a new one is told; `adopted` runs when the first has taken it in."""

    def __init__(
        self,
        loop: Loop,
        link: Link,
        log: Log,
        *,
        adoption: Callable[[], tuple[Mapping[str, Any], Sequence[int], list[Frame]]],
        adopted: Callable[[], None],
        failed: Callable[[str], None],
        first: Spawned | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`adoption()`: adopt's arguments and descriptors, and what follows; `failed(why)`: the first cannot start;
        `first`: one that was spawned already, which is ours from here on."""
        self._loop = loop
        self._link = link
        self._log = log
        self._adoption = adoption
        self._adopted = adopted
        self._failed = failed
        self._command = list(command)
        self._first = first
        self._irq: Spawned | None = None
        self.restarts = 0
        self._started_ns = 0
        self._heard_ns = 0
        self._ready = False
        self._served = False
        self._stopping = False
        self._killed = False
        self._backoff_s = BACKOFF_S_FIRST
        self._timer: Timer | None = None

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return 0 if self._irq is None else self._irq.pid

    @property
    def silent_s(self) -> float:
        """How long ago it last answered."""
        return (CLOCK.now_ns() - self._heard_ns) / NS_PER_S

    def start(self) -> None:
        """Start one and send it all it must know."""
        assert self._irq is None, "never two"
        try:
            irq, self._first = self._first or spawn(self._command), None
        except OSError as error:
            return self._not_executed(f"{self._command[0]} cannot be executed: {error.strerror}")
        self._irq = irq
        self._served = self._killed = False
        self._loop.register(irq.pidfd, Rank.LINK, self._died)
        self._started_ns = self._heard_ns = CLOCK.now_ns()
        self._link.connect(irq.link)
        self._send_adoption()
        self._watch()

    def _send_adoption(self) -> None:
        arguments, fds, following = self._adoption()
        self._link.call("adopt", arguments, fds, self._answered_adopt, self._refused_adopt, repeat=False)
        for frame, frame_fds in following:
            self._link.send(frame, frame_fds)
        self._link.repeat()

    def _answered_adopt(self, _answer: object) -> None:
        self._heard_ns = CLOCK.now_ns()
        self._served = True
        if not self._ready:
            self._ready = True
            self._adopted()

    def _refused_adopt(self, refusal: Refused) -> None:
        if not self._ready:
            return self._ended_early(f"it refused to adopt the device: {refusal.text}")
        self.kill(f"it refused to adopt the device: {refusal.text}")

    # ---- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """One ping a second; the time since the last answer decides."""
        if self.silent_s >= (HUNG_S if self._served else ADOPT_S):
            return self.kill(f"it has not answered for {self.silent_s:.0f} s")
        self._link.call("ping", {}, (), self._heard, self._heard, repeat=False)
        self._timer = self._loop.timers.call_later(PING_S, self._watch)

    def _heard(self, _answer: object) -> None:
        self._heard_ns = CLOCK.now_ns()

    def kill(self, why: str) -> None:
        """SIGKILL; the pidfd tells when it is gone."""
        if self._irq is not None:
            self._log.warning(f"idxdd-irq {self._irq.pid} is killed: {why}")
            self._killed = True
            self._irq.kill()

    def lost(self, why: str) -> None:
        """Its link is unusable: without it, it is of no use."""
        if not self._stopping:
            self._log.warning(f"idxdd-irq: {why}")
        self._link.disconnect()
        pid = self.pid

        def still_there() -> None:
            if self.pid == pid:
                self.kill(why)

        if not self._stopping:
            self._loop.timers.call_later(ENDING_S, still_there)

    # ---- death -----------------------------------------------------------------------------------------------------

    def _died(self, _events: int) -> None:
        if not self._stopping:
            self._link.drain()
        status = self._reap()
        if self._stopping:
            return
        if not self._ready:
            return self._ended_early(f"it ended with {describe(status)}")
        if self._died_of_itself(status):
            self._link.blame()
        age_s = (CLOCK.now_ns() - self._started_ns) / NS_PER_S
        worked = self._served or age_s >= YOUNG_S
        self._backoff_s = BACKOFF_S_FIRST if worked else min(2 * self._backoff_s, BACKOFF_S_MAX)
        delay_s = 0.0 if worked or self._backoff_s <= 4 * BACKOFF_S_FIRST else self._backoff_s
        self.restarts += 1
        self._log.warning(f"idxdd-irq ended with {describe(status)}; starting another in {delay_s:g} s")
        self._timer = self._loop.timers.call_later(delay_s, self.start)

    def _died_of_itself(self, status: int) -> bool:
        """By an exception, a fault, or our kill since it hung. A SIGKILL of somebody else's tells nothing about its verbs."""
        return self._killed or os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL)

    def _reap(self) -> int:
        irq, self._irq = self._irq, None
        assert irq is not None
        if self._timer is not None:
            self._timer.cancel()
        self._loop.unregister(irq.pidfd)
        self._link.disconnect()
        return irq.reap()

    def _not_executed(self, why: str) -> None:
        """The first: the daemon cannot start. A successor: clients may leave descriptors and memory; it is tried again."""
        if not self._ready:
            return self._ended_early(why)
        self._log.warning(f"idxdd-irq: {why}; trying again in {BACKOFF_S_MAX:g} s")
        self._timer = self._loop.timers.call_later(BACKOFF_S_MAX, self.start)

    def _ended_early(self, why: str) -> None:
        self._failed(f"idxdd-irq cannot start: {why}")

    def stop(self) -> None:
        """Closing the link tells it to end; SIGKILL after STOP_S. Blocks so long at most; the loop has ended. Idempotent."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        first, self._first = self._first, None
        if first is not None:
            first.abandon()
        if self._irq is None:
            return
        self._link.disconnect()
        if not self._irq.ended_within(STOP_S):
            self.kill("it does not end")
        self._reap()
