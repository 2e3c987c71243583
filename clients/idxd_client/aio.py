"""Completions in asyncio: one watcher per queue and event loop, on the fd that the portal's bell makes readable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from idxd_client.errors import IdxdError

if TYPE_CHECKING:
    from idxd_client.completions import Completion
    from idxd_client.queue import Queue

BELT_S = 0.25
"""A loop that sleeps looks at least so often: a dead daemon is noticed even if its bell is not."""


class AsyncBell:
    """Wakes the coroutines of one loop that await completions of one queue."""

    def __init__(self, queue: Queue, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop
        self._waiting: dict[asyncio.Future[None], Completion] = {}
        self._fd = -1
        self._belt: asyncio.TimerHandle | None = None

    async def wait(self, completion: Completion) -> None:
        """Until `completion` is settled."""
        if completion.done():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[future] = completion
        try:
            self._arm()
            await future
        finally:
            self._waiting.pop(future, None)
            if not self._waiting:
                self._rest()

    def _arm(self) -> None:
        """Watch the bell; look once more if there was progress since the last look."""
        seen = self._queue.progress()
        self._look()
        if not self._waiting_still():
            return
        fd = self._queue.arm(seen)
        if fd < 0 and self._queue.progress() == seen:  # nothing to wait for, and no progress: the portal has ended
            self._check()
            if not self._waiting_still():
                return
        if fd < 0:
            self._loop.call_soon(self._ready)
        elif fd != self._fd:
            self._unwatch()
            self._fd = fd
            self._loop.add_reader(fd, self._ready)
        if self._belt is None:
            self._belt = self._loop.call_later(BELT_S, self._belted)

    def _ready(self) -> None:
        if not self._waiting:
            return
        try:
            self._queue.drain_bell()
            self._arm()
        except IdxdError as error:  # the handle was closed under us
            self._fail(error)

    def _belted(self) -> None:
        self._belt = None
        if not self._waiting:
            return
        try:
            self._queue.wait_progress(self._queue.progress(), 0.0)  # settles what is watched if the daemon is gone
            self._check()
            self._arm()
        except IdxdError as error:
            self._fail(error)

    def _check(self) -> None:
        for completion in list(self._waiting.values()):
            if not completion.done():
                self._queue.check(completion)
        self._look()

    def _look(self) -> None:
        for future, completion in list(self._waiting.items()):
            if completion.done() and not future.done():
                future.set_result(None)

    def _waiting_still(self) -> bool:
        return any(not future.done() for future in self._waiting)

    def _fail(self, error: IdxdError) -> None:
        for future, completion in list(self._waiting.items()):
            completion.settle(error)
            if not future.done():
                future.set_result(None)

    def _unwatch(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1

    def _rest(self) -> None:
        if self._belt is not None:
            self._belt.cancel()
            self._belt = None
        self._unwatch()
