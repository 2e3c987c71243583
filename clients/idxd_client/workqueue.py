"""A user work queue: a portal of one's own, records in one's own memory, no interrupts.

Fast path     `submit_slot` and `submit_array` publish prebuilt descriptors: one native call, no object per descriptor. When the
              handle is closed or forked, the native portal is swapped for one that refuses; no flag is tested.
Threads       the portal serialises publishing; completions are settled by whoever looks first.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, cast

from idxd_client.arrays import DescriptorArray
from idxd_client.completions import WAIT_TIMEOUT_S, Batch, Completion, RecordCompletion
from idxd_client.descriptors import DESCRIPTOR_BYTES, Descriptor
from idxd_client.errors import (
    ClosedReason,
    DescriptorAborted,
    DeviceGone,
    HandleClosed,
    IdxdError,
    PortalClosed,
    WaitTimeout,
    WorkQueueFull,
)
from idxd_client.portals import finished_on
from idxd_client.queue import SUBMIT_TIMEOUT_S, Closed, Queue
from idxdd import native

if TYPE_CHECKING:
    from idxd_client.connection import Connection, Opened

LOOKS_BEFORE_WAIT = 32
"""A full WQ is asked again so often, some microseconds in all, before a group submission waits."""


class WorkQueue(Queue):
    """An open user WQ."""

    def __init__(self, connection: Connection, opened: Opened) -> None:
        super().__init__(connection, opened.name)
        self._watched: set[RecordCompletion] = set()
        self._lock = threading.Lock()
        self.attach(opened)

    def attach(self, opened: Opened) -> None:
        """Use this portal; what was in flight on another one will never complete."""
        self._native = opened.portal()
        self._reopened_at = 0
        self._portal: native.Portal = self._native
        self.opened = opened
        self.number = opened.number
        self.dedicated: bool = opened.dedicated
        self.size: int = opened.size
        self.threshold: int = opened.threshold
        self.max_transfer_size: int = opened.max_transfer_size
        self.max_batch_size: int = opened.max_batch_size
        self.pasid: int = opened.pasid
        self._finished = finished_on(self._native)

    def serve(self, agent: native.Agent) -> None:
        native.serve(self._native, agent)

    # ---- submitting --------------------------------------------------------------------------------------------------------

    def submit(self, descriptor: Descriptor, *, timeout: float = SUBMIT_TIMEOUT_S) -> RecordCompletion:
        """Submit one descriptor; its completion. WorkQueueFull after `timeout` seconds of "retry"."""
        if descriptor.foreign and self.connection.agent is None:
            self.connection.reach()
        arena = self.connection.arena
        batch = Batch(arena, descriptor.members) if descriptor.members else None
        completion = RecordCompletion(self, descriptor, batch, arena, arena.take(), self._native, self._finished)
        piece = completion.piece
        assert piece is not None
        packed = descriptor.pack(piece.address, descriptor_list=batch.address if batch is not None else 0)
        completion.number = self.submit_slot(packed, timeout)
        return completion

    def submit_many(self, descriptors: Sequence[Descriptor], *, timeout: float = SUBMIT_TIMEOUT_S) -> list[RecordCompletion]:
        """Submit them in order; their completions."""
        deadline = time.monotonic() + timeout
        return [self.submit(descriptor, timeout=max(0.0, deadline - time.monotonic())) for descriptor in descriptors]

    def submit_slot(self, slot: bytes | bytearray | memoryview, timeout: float = SUBMIT_TIMEOUT_S) -> int:
        """Publish 64 prebuilt bytes; their number on the portal. Nothing is kept of them."""
        try:
            number = self._portal.submit(slot)
        except native.NativeError as error:
            raise HandleClosed(f"{self.name}: submit: {error.strerror}") from None
        return number if number >= 0 else self._submit_again(slot, number, timeout)

    def submit_array(
        self, array: DescriptorArray, start: int = 0, count: int | None = None, *, timeout: float = SUBMIT_TIMEOUT_S
    ) -> int:
        """Publish `count` prebuilt descriptors from `start` in groups; the number to wait_number() for: of the last one."""
        left = array.count - start if count is None else count
        descriptors = array.descriptors[start * DESCRIPTOR_BYTES : (start + left) * DESCRIPTOR_BYTES]
        portal = self._portal
        deadline = time.monotonic() + timeout
        looks = 0
        while left:
            published = portal.submit_many(descriptors)
            if published > 0:
                left -= published
                if left:
                    descriptors = descriptors[published * DESCRIPTOR_BYTES :]
                looks = 0
            elif published in (0, native.SUBMIT_RETRY):
                looks += 1  # small descriptors free a slot sooner than a wait takes to set up
                if looks > LOOKS_BEFORE_WAIT:
                    self._make_room(deadline)
            else:
                self._refuse(published)
        return portal.tail - 1

    def _submit_again(self, slot: bytes | bytearray | memoryview, answer: int, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while answer == native.SUBMIT_RETRY:
            self._make_room(deadline)
            answer = self._portal.submit(slot)
        if answer < 0:
            self._refuse(answer)
        return answer

    def _make_room(self, deadline: float) -> None:
        """After a retry: until half of what is ours has finished; with nothing of ours in the WQ, until the device rings."""
        self.retries += 1
        left = deadline - time.monotonic()
        if left <= 0:
            raise WorkQueueFull(f"{self.name}: submit: the work queue answered retry until the time-out")
        portal = self._portal
        done = portal.done
        outstanding = portal.tail - done
        if outstanding > 0:
            # Half, not one: a waiter that wakes for each descriptor publishes groups of one.
            portal.wait(done + (outstanding + 1) // 2, left)
        else:
            portal.wait_room(left)

    def _refuse(self, answer: int) -> NoReturn:
        raise self._ended("submit", native.WAIT_GONE if answer == native.SUBMIT_GONE else native.WAIT_CLOSED)

    # ---- waiting -----------------------------------------------------------------------------------------------------------

    def wait_number(self, number: int, timeout: float = WAIT_TIMEOUT_S) -> None:
        """Until as many descriptors have finished as were published up to `number`. PortalClosed: some of them may have
        been aborted, without a record, which DescriptorArray's report="errors" would take for success."""
        answer = self._portal.wait(number + 1, timeout)
        if answer == native.WAIT_DONE and self._portal.closed:
            answer = native.WAIT_CLOSED
        if answer == native.WAIT_TIMEOUT:
            raise WaitTimeout(f"{self.name}: descriptor {number} is not complete after {timeout:g} s")
        if answer != native.WAIT_DONE:
            raise self._ended(f"waiting for descriptor {number}", answer)

    def wait_record(self, record: memoryview, number: int, timeout: float = WAIT_TIMEOUT_S) -> None:
        """Until byte 0 of a prebuilt descriptor's record is not 0; `number` is what submit_slot() answered."""
        answer = self._portal.wait_record(record, timeout, number + 1)
        if answer == native.WAIT_DONE and not record[0]:
            raise DescriptorAborted(f"{self.name}: descriptor {number} ended without a completion record")
        if answer == native.WAIT_TIMEOUT:
            raise WaitTimeout(f"{self.name}: descriptor {number} is not complete after {timeout:g} s")
        if answer != native.WAIT_DONE:
            raise self._ended(f"waiting for descriptor {number}", answer)

    def look(self, completion: Completion) -> None:
        cast(RecordCompletion, completion).read()

    def wait_for(self, completion: Completion, timeout: float) -> None:
        mine = cast(RecordCompletion, completion)
        piece = mine.piece
        if mine.read() or piece is None:
            return
        answer = native.WAIT_GONE
        if mine.portal is self._portal and mine.number < self._reopened_at:
            answer = native.WAIT_DONE
        elif mine.portal is self._portal:
            answer = self._or_lost(lambda: mine.portal.wait_record(piece.view, timeout, mine.number + 1))
        else:
            self._portal.done  # noqa: B018  # closed or forked: says so. Else this is a new generation's portal
        if mine.read():
            return
        if answer == native.WAIT_TIMEOUT:  # also when its completion is lost: as on hardware, where nobody tells
            raise WaitTimeout(f"{self.name}: {mine.descriptor!r} is not complete after {timeout:g} s")
        if answer == native.WAIT_DONE:  # everything was finished when the portal closed, and nothing was written for this one
            mine.settle(DescriptorAborted(f"{self.name}: {mine.descriptor!r} ended without a completion record"))
        else:
            mine.settle(self._ended(f"waiting for {mine.descriptor!r}", answer))

    def progress(self) -> int:
        return self._portal.done

    def wait_progress(self, beyond: int, timeout: float) -> bool:
        answer = self._portal.wait(beyond + 1, timeout)
        if answer in (native.WAIT_CLOSED, native.WAIT_GONE):
            self._settle_watched(answer)
        return answer != native.WAIT_TIMEOUT

    def arm(self, beyond: int) -> int:
        return self._portal.sleeping_fd(beyond + 1)

    def drain_bell(self) -> None:
        self._portal.drain_bell()

    def _or_lost(self, call: Callable[[], int]) -> int:
        """What `call` answers; HandleClosed when another thread closed the handle under it."""
        try:
            return call()
        except native.NativeError:
            self._portal.done  # noqa: B018  # closed or forked: says so
            raise

    def _ended(self, doing: str, answer: int) -> IdxdError:
        """Why nothing more will come of this portal."""
        if answer == native.WAIT_GONE or self._portal.closed == ClosedReason.DEVICE_GONE:
            return DeviceGone(f"{self.name}: {doing}: the daemon is gone")
        return PortalClosed(f"{self.name}: {doing}", self._portal.closed)

    # ---- dispatching -------------------------------------------------------------------------------------------------------

    def watch(self, completion: Completion) -> None:
        with self._lock:
            self._watched.add(cast(RecordCompletion, completion))
        self.start_dispatcher()
        self.look(completion)  # it may have completed before it was watched, and then nothing wakes the dispatcher

    def poll(self) -> int:
        with self._lock:
            watched = list(self._watched)
        done = [completion for completion in watched if completion.read()]
        with self._lock:
            self._watched.difference_update(done)
        return len(done)

    def _settle_watched(self, answer: int) -> None:
        """The portal has ended: what it wrote counts, the rest will never come."""
        self.poll()
        with self._lock:
            watched, self._watched = self._watched, set()
        for completion in watched:
            completion.settle(self._ended("waiting", answer))

    # ---- life --------------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """This handle's counters."""
        portal = self._portal
        return {"published": portal.tail, "done": portal.done, "retries": self.retries}

    def reopen(self) -> None:
        """After the WQ was disabled and enabled again: a closed portal reopens only at its client's request."""
        portal = self._portal
        ended = portal.tail if portal.closed else self._reopened_at
        self.connection.request("reopen", portal=self.opened.portal_number)
        self._reopened_at = ended

    def replace(self, opened: Opened) -> None:
        """After a daemon restart: what was in flight is lost, the handle goes on with a new portal."""
        old = self._native
        self.attach(opened)
        self._settle_watched(native.WAIT_GONE)
        old.close()

    def close(self) -> None:
        if isinstance(self._portal, Closed):
            return
        self.stop_dispatcher()
        self._portal = cast(native.Portal, self.closed())
        with self._lock:
            watched, self._watched = self._watched, set()
        for completion in watched:
            completion.read() or completion.settle(
                HandleClosed(f"{self.name}: closed while {completion.descriptor!r} was in flight")
            )
        self._native.close()
        self.connection.close_portal(self, self.opened)

    def after_fork_in_child(self) -> None:
        self._portal = cast(native.Portal, self.forked())
        self._dispatcher = None
        self._watched = set()
        self._lock = threading.Lock()
        self._bells = {}
        self._native.close()

    def __del__(self) -> None:
        if not isinstance(getattr(self, "_portal", None), Closed | None):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.connection.abandon("close", portal=self.opened.portal_number)

    def __repr__(self) -> str:
        kind = "dedicated" if self.dedicated else "shared"
        return f"<WorkQueue {self.name} {kind} size {self.size}>"
