"""One epoll and one set of timers. What is ready in a turn is handled by rank, then in the order it was registered."""

import contextlib
import select
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from idxdd.shm.clock import CLOCK, Clock, Timers

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
HANGUP: Final = select.EPOLLHUP | select.EPOLLERR
READY_MAX: Final = 256

Handler = Callable[[int], object]


class Rank(IntEnum):
    """Who comes first within a turn (docs/architecture.md, "The device loop")."""

    SIGNAL = 0
    DEVICE = 1
    LINK = 2
    PROCESS = 3
    CLIENT = 4
    LISTENER = 5


class Loop:
    """Waits for descriptors and timers; never runs anything itself but the handlers it was given."""

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[Rank, Handler]] = {}
        self.timers = Timers(clock)

    def register(self, fd: int, rank: Rank, handler: Handler, events: int = READ) -> None:
        """Call handler(events) in every turn in which `fd` is ready."""
        self._epoll.register(fd, events)
        self._handlers[fd] = (rank, handler)

    def modify(self, fd: int, events: int) -> None:
        """Look for these events from now on; 0: only for hang-up."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Before the descriptor is closed. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def wait(self, *, block: bool) -> list[tuple[int, int]]:
        """What is ready, as (fd, events) by rank; blocking at most until the next timer is due."""
        timeout_ms = self.timers.next_in_ms() if block else 0
        with contextlib.suppress(InterruptedError):
            ready = self._epoll.poll(None if timeout_ms is None else timeout_ms / 1000, READY_MAX)
            return sorted((pair for pair in ready if pair[0] in self._handlers), key=lambda pair: self._handlers[pair[0]][0])
        return []

    def handle(self, ready: list[tuple[int, int]]) -> None:
        """Call the handlers; one that an earlier handler of this turn unregistered is left out."""
        for fd, events in ready:
            entry = self._handlers.get(fd)
            if entry is not None:
                entry[1](events)

    def close(self) -> None:
        """Forget everything."""
        self._handlers.clear()
        self._epoll.close()
