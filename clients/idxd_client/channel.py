"""A kernel channel: descriptors that idxdd-irq completes by interrupt, as the kernel's dmaengine clients see it.

Who settles   poll(), whoever calls it: a wait, the application, asyncio, or the opt-in dispatcher thread. A ticket is taken
              out of `_in_flight` once, so its callback runs once, here in the submitting process.
Order         submit publishes under the lock and enters the ticket before it lets go; a poll in another thread that reaps it
              at once therefore finds it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from idxd_client.completions import Batch, Callback, ChannelCompletion, Completion
from idxd_client.descriptors import DESCRIPTOR_BYTES, Descriptor
from idxd_client.errors import ClosedReason, DeviceGone, HandleClosed, IdxdError, PortalClosed, WaitTimeout, WorkQueueFull
from idxd_client.portals import finished_on
from idxd_client.queue import SUBMIT_TIMEOUT_S, Closed, Queue
from idxdd import native

if TYPE_CHECKING:
    from idxd_client.connection import Connection, Opened

WAIT_SLICE_S = 0.25
"""A waiter looks again so often: another thread's poll may have delivered what it waits for."""


class KernelChannel(Queue):
    """An open kernel WQ."""

    def __init__(self, connection: Connection, opened: Opened) -> None:
        super().__init__(connection, opened.name)
        self._in_flight: dict[int, ChannelCompletion] = {}
        self._delivered = 0
        self._lock = threading.Lock()
        self.attach(opened)

    def attach(self, opened: Opened) -> None:
        """Use this portal and channel."""
        self._portal = opened.portal()
        self._native = opened.channel(self._portal)
        self._channel: native.Channel = self._native
        self._finished = finished_on(self._portal)
        self.opened = opened
        opened.channel_address = self.address
        self.number = opened.number
        self.dedicated: bool = opened.dedicated
        self.size: int = opened.size
        self.threshold: int = opened.threshold
        self.max_transfer_size: int = opened.max_transfer_size
        self.max_batch_size: int = opened.max_batch_size
        self.slots: int = opened.slots

    @property
    def address(self) -> int:
        """Where the channel lies in this process: its descriptors and records are reached there."""
        return self._native.address

    def serve(self, agent: native.Agent) -> None:
        native.serve(self._portal, agent)

    # ---- submitting --------------------------------------------------------------------------------------------------------

    def submit(
        self, descriptor: Descriptor, *, callback: Callback | None = None, timeout: float = SUBMIT_TIMEOUT_S
    ) -> ChannelCompletion:
        """Submit one descriptor; `callback(completion)` runs once, from poll() or the dispatcher, in this process."""
        completion = self._completion(descriptor, callback)
        self._submit_all(completion.packed(), [completion], timeout)
        return completion

    def submit_many(
        self, descriptors: Sequence[Descriptor], *, callback: Callback | None = None, timeout: float = SUBMIT_TIMEOUT_S
    ) -> list[ChannelCompletion]:
        """Submit them in order and in groups; their completions."""
        completions = [self._completion(descriptor, callback) for descriptor in descriptors]
        self._submit_all(b"".join([completion.packed() for completion in completions]), completions, timeout)
        return completions

    def _completion(self, descriptor: Descriptor, callback: Callback | None) -> ChannelCompletion:
        if descriptor.foreign and self.connection.agent is None:
            self.connection.reach()
        batch = Batch(self.connection.arena, descriptor.members) if descriptor.members else None
        completion = ChannelCompletion(self, descriptor, batch, self._finished)
        if callback is not None:
            completion.add_done_callback(callback)
        return completion

    def _submit_all(self, packed: bytes, completions: Sequence[ChannelCompletion], timeout: float) -> None:
        published, answer = self._publish(packed, completions)
        if published == len(completions):
            return
        deadline = time.monotonic() + timeout
        while published < len(completions):
            if answer < 0 and answer != native.SUBMIT_RETRY:
                raise self._ended("submit", native.WAIT_GONE if answer == native.SUBMIT_GONE else native.WAIT_CLOSED)
            self._make_room(deadline)
            more, answer = self._publish(packed[published * DESCRIPTOR_BYTES :], completions[published:])
            published += more

    def _publish(self, packed: bytes, completions: Sequence[ChannelCompletion]) -> tuple[int, int]:
        """How many there was room for, and what was said of the next one (0: nothing)."""
        with self._lock:
            tickets = [self._channel.submit(packed)] if len(completions) == 1 else self._channel.submit_many(packed)
            answer = tickets.pop() if tickets and tickets[-1] < 0 else 0
            for ticket, completion in zip(tickets, completions, strict=False):
                completion.number = ticket
                self._in_flight[ticket] = completion
        return len(tickets), answer

    def _make_room(self, deadline: float) -> None:
        """After a retry: deliver what is done, else wait for it; with nothing of ours in the WQ, until the device rings."""
        self.retries += 1
        left = deadline - time.monotonic()
        if left <= 0:
            raise WorkQueueFull(f"{self.name}: submit: no free descriptor until the time-out")
        seen = self.progress()
        if self.poll():
            return
        if self._in_flight:
            self.wait_progress(seen, min(left, WAIT_SLICE_S))
        else:
            self._portal.wait_room(min(left, WAIT_SLICE_S))

    # ---- completing --------------------------------------------------------------------------------------------------------

    def poll(self) -> int:
        delivered = 0
        while True:
            with self._lock:
                reaped = self._channel.reap()
                mine = [(self._in_flight.pop(ticket, None), status, txn, record) for ticket, status, txn, record in reaped]
            for completion, status, txn, record in mine:
                if completion is not None and completion.deliver(status, txn, record):
                    delivered += 1
                    self._delivered += 1
            if not reaped:
                return delivered

    def look(self, completion: Completion) -> None:
        self.poll()

    def wait_for(self, completion: Completion, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            seen = self.progress()  # before the look: a completion that another thread reaps meanwhile counts as progress
            self.poll()
            if completion.settled:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(f"{self.name}: {completion.descriptor!r} is not complete after {timeout:g} s")
            self.wait_progress(seen, min(left, WAIT_SLICE_S))

    def progress(self) -> int:
        """Entries in the completion ring: what was reaped is not counted, since some are made up when the channel ends."""
        return self._channel.completed

    def wait_progress(self, beyond: int, timeout: float) -> bool:
        answer = self._channel.wait(beyond + 1, timeout)
        if answer in (native.WAIT_CLOSED, native.WAIT_GONE):
            self._settle_rest(answer)
        return answer != native.WAIT_TIMEOUT

    def arm(self, beyond: int) -> int:
        return self._channel.sleeping_fd(beyond + 1)

    def drain_bell(self) -> None:
        self._channel.drain_bell()

    def watch(self, completion: Completion) -> None:
        """Nothing: callbacks of a channel come from poll(), the dispatcher or asyncio, by the application's choice."""

    def _settle_rest(self, answer: int) -> None:
        """The channel has ended: what idxdd-irq completed counts, the rest will never come."""
        self.poll()
        error = self._ended("waiting", answer)
        with self._lock:
            rest, self._in_flight = self._in_flight, {}
        for completion in rest.values():
            completion.settle(error)

    def _ended(self, doing: str, answer: int) -> IdxdError:
        if answer == native.WAIT_GONE or self._portal.closed == ClosedReason.DEVICE_GONE:
            return DeviceGone(f"{self.name}: {doing}: the daemon is gone")
        return PortalClosed(f"{self.name}: {doing}", self._portal.closed, self._channel.refusal)

    # ---- life --------------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Submitted, not yet delivered by poll()."""
        return len(self._in_flight)

    def statistics(self) -> dict[str, int]:
        """This handle's counters."""
        portal = self._portal
        return {"published": portal.tail, "done": portal.done, "delivered": self._delivered, "retries": self.retries}

    def reopen(self) -> None:
        """After the WQ was disabled and enabled again."""
        self.connection.request("reopen", portal=self.opened.portal_number)

    def replace(self, opened: Opened) -> None:
        """After a daemon restart: what was in flight is lost, the handle goes on with a new channel."""
        old = self._native, self._portal
        with self._lock:
            rest, self._in_flight = self._in_flight, {}
            self.attach(opened)
        for completion in rest.values():
            completion.settle(DeviceGone(f"{self.name}: the daemon died while {completion.descriptor!r} was in flight"))
        for native_handle in old:
            native_handle.close()

    def close(self) -> None:
        if isinstance(self._channel, Closed):
            return
        self.stop_dispatcher()
        self.poll()
        self._channel = cast(native.Channel, self.closed())
        with self._lock:
            rest, self._in_flight = self._in_flight, {}
        for completion in rest.values():
            completion.settle(HandleClosed(f"{self.name}: closed while {completion.descriptor!r} was in flight"))
        self._native.close()
        self._portal.close()
        self.connection.close_portal(self, self.opened)

    def after_fork_in_child(self) -> None:
        self._channel = cast(native.Channel, self.forked())
        self._dispatcher = None
        self._in_flight = {}
        self._lock = threading.Lock()
        self._bells = {}
        self._native.close()
        self._portal.close()

    def __del__(self) -> None:
        if not isinstance(getattr(self, "_channel", None), Closed | None):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.connection.abandon("close", portal=self.opened.portal_number)
            self.connection.abandon("unmap", address=self.opened.channel_address)

    def __repr__(self) -> str:
        kind = "dedicated" if self.dedicated else "shared"
        return f"<KernelChannel {self.name} {kind} size {self.size}, {len(self._in_flight)} in flight>"
