"""What a user work queue and a kernel channel have in common: operations as plain calls, futures, time-outs, dispatching."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn, Self

from idxd_client.completions import WAIT_TIMEOUT_S, Completion
from idxd_client.descriptors import Descriptor
from idxd_client.errors import ForkedHandle, HandleClosed, IdxdError, WaitTimeout
from idxd_client.operations import Operations
from idxd_client.results import Result
from idxdd import native

if TYPE_CHECKING:
    from idxd_client.aio import AsyncBell
    from idxd_client.connection import Connection

SUBMIT_TIMEOUT_S = 30.0


class Closed:
    """Stands where the native object stood: every use raises, and the fast path tests no flag."""

    def __init__(self, error: type[HandleClosed], text: str) -> None:
        self._error = error
        self._text = text

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error(self._text)


class Queue(Operations, ABC):
    """Submits descriptors and settles their completions. Threads of one process may share it."""

    name: str

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name
        self.retries = 0
        self._dispatcher: Dispatcher | None = None
        self._bells: dict[Any, AsyncBell] = {}

    # ---- for completions -------------------------------------------------------------------------------------------------

    @abstractmethod
    def submit(self, descriptor: Descriptor, *, timeout: float = SUBMIT_TIMEOUT_S) -> Completion:
        """Submit one descriptor; its completion."""

    @abstractmethod
    def serve(self, agent: native.Agent) -> None:
        """Who waits here serves the agent from now on."""

    @abstractmethod
    def look(self, completion: Completion) -> None:
        """Settle `completion` if its outcome is there."""

    @abstractmethod
    def wait_for(self, completion: Completion, timeout: float) -> None:
        """Settle `completion`, or raise WaitTimeout."""

    def check(self, completion: Completion) -> None:
        """As look, and settle it with an error if the portal is closed or the daemon gone."""
        with contextlib.suppress(WaitTimeout):
            self.wait_for(completion, 0.0)

    @abstractmethod
    def watch(self, completion: Completion) -> None:
        """A callback was added: see to it that somebody looks for this completion, if nobody is bound to."""

    @abstractmethod
    def poll(self) -> int:
        """Settle what is done among the watched completions; how many. Never waits."""

    @abstractmethod
    def progress(self) -> int:
        """A count that grows with every completion."""

    @abstractmethod
    def wait_progress(self, beyond: int, timeout: float) -> bool:
        """Until progress() > beyond, or the portal is closed or the device gone; False: time-out."""

    @abstractmethod
    def arm(self, beyond: int) -> int:
        """Ask for the bell when progress() > beyond; the fd that becomes readable, -1 when it is so already."""

    @abstractmethod
    def drain_bell(self) -> None:
        """Read what the bell holds."""

    async def awaited(self, completion: Completion) -> Result:
        """What `await completion` runs."""
        import asyncio

        from idxd_client.aio import AsyncBell

        loop = asyncio.get_running_loop()
        bell = self._bells.get(loop)
        if bell is None:
            self._bells = {known: b for known, b in self._bells.items() if not known.is_closed()}
            bell = self._bells[loop] = AsyncBell(self, loop)
        await bell.wait(completion)
        return completion.result(0)

    # ---- futures ---------------------------------------------------------------------------------------------------------

    def submit_future(self, descriptor: Descriptor, *, timeout: float = SUBMIT_TIMEOUT_S) -> concurrent.futures.Future[Result]:
        """Submit; a future of concurrent.futures, fulfilled by this queue's dispatcher thread."""
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()  # a descriptor on its way cannot be cancelled

        def fulfil(completion: Completion) -> None:
            error = completion.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(completion.result(0))

        completion = self.submit(descriptor, timeout=timeout)
        self.start_dispatcher()
        completion.add_done_callback(fulfil)
        return future

    def start_dispatcher(self) -> None:
        """A daemon thread that waits for completions and runs callbacks. Idempotent; stop_dispatcher() or close() ends it."""
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(self)

    def stop_dispatcher(self) -> None:
        """End it; returns when no callback is running any more."""
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.stop()

    def run(self, descriptor: Descriptor, *, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Submit, wait, and raise unless it succeeded; `timeout` bounds both together."""
        deadline = time.monotonic() + timeout
        completion = self.submit(descriptor, timeout=timeout)
        return completion.result(max(0.0, deadline - time.monotonic())).raise_for_status()

    # ---- life -------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Give the portal back to the daemon. Idempotent."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """The portal belongs to the parent: close what the child has of it and refuse every use."""

    def forked(self) -> Closed:
        """What stands where the native object stood, in a forked child."""
        return Closed(ForkedHandle, f"{self.name}: this handle belongs to the parent process; open the WQ in this process")

    def closed(self) -> Closed:
        """What stands there after close()."""
        return Closed(HandleClosed, f"{self.name}: this handle was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Dispatcher:
    """One thread that waits for one queue and delivers."""

    LOOK_S = 0.25

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"idxd dispatcher {queue.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                seen = self._queue.progress()
                if self._queue.poll() or not self._queue.wait_progress(seen, self.LOOK_S):
                    continue
                if self._queue.progress() == seen:  # woken for nothing: the portal has ended, until reopen() or reattach()
                    self._stopping.wait(self.LOOK_S)
            except IdxdError:
                return  # the handle was closed: everything watched was settled with that error

    def stop(self) -> None:
        """Returns when it has ended, unless called from one of its own callbacks."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
