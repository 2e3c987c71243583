"""Completion handles: a descriptor on its way, then its result.

Who settles   whoever looks first (wait, done, poll, the dispatcher, asyncio): `_settle` swaps the outcome in exactly once, so
              callbacks run exactly once, in this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from idxd_client.arena import Arena, Piece
from idxd_client.descriptors import DESCRIPTOR_BYTES, Descriptor
from idxd_client.errors import IdxdError
from idxd_client.results import RECORD_BYTES, Result
from idxdd import native
from idxdd.spec.codes import TxnResult

if TYPE_CHECKING:
    from idxd_client.queue import Queue

WAIT_TIMEOUT_S = 30.0
Callback = Callable[["Completion"], object]


class Batch:
    """The descriptor list of a batch on its way, and its members' records."""

    __slots__ = ("_arena", "_list", "_members", "_records")

    def __init__(self, arena: Arena, members: tuple[Descriptor, ...]) -> None:
        self._arena = arena
        self._members = members
        self._list = arena.take(max(1, len(members)) * DESCRIPTOR_BYTES)
        self._records = arena.take(max(1, len(members)) * RECORD_BYTES)
        self._records.view[:] = bytes(self._records.nbytes)
        packed = (m.pack(self._records.address + i * RECORD_BYTES) for i, m in enumerate(members))
        self._list.view[: len(members) * DESCRIPTOR_BYTES] = b"".join(packed)

    @property
    def address(self) -> int:
        """Of the descriptor list."""
        return self._list.address

    def results(self) -> tuple[Result, ...]:
        """Each member's, in order."""
        records = bytes(self._records.view)
        return tuple(
            Result(records[i * RECORD_BYTES : (i + 1) * RECORD_BYTES], m.opcode, m.flags) for i, m in enumerate(self._members)
        )

    def give(self) -> None:
        """The batch has ended: every member has."""
        self._arena.give(self._list)
        self._arena.give(self._records)

    def give_when(self, finished: Callable[[], bool]) -> None:
        """The batch may still run."""
        self._arena.give_when(self._list, finished)
        self._arena.give_when(self._records, finished)


class Completion:
    """One submitted descriptor: wait for it, ask for its result, await it, or be called when it is done."""

    __slots__ = ("__weakref__", "_batch", "_callbacks", "_outcome", "_queue", "descriptor", "number")

    def __init__(self, queue: Queue, descriptor: Descriptor, batch: Batch | None) -> None:
        self._queue = queue
        self._batch = batch
        self._outcome: Result | IdxdError | None = None
        self._callbacks: list[Callback] | None = None
        self.descriptor = descriptor
        self.number = -1
        """Its number on the portal, or its ticket on a kernel channel."""

    @property
    def queue(self) -> Queue:
        """Where it was submitted."""
        return self._queue

    @property
    def settled(self) -> bool:
        """Whether an outcome is there, without looking for one."""
        return self._outcome is not None

    def done(self) -> bool:
        """Whether an outcome is there; looks, never waits."""
        if self._outcome is None:
            self._queue.look(self)
        return self._outcome is not None

    def wait(self, timeout: float = WAIT_TIMEOUT_S) -> None:
        """Until it is done. WaitTimeout after `timeout` seconds; PortalClosed, DeviceGone, HandleClosed if it never will be."""
        if self._outcome is None:
            self._queue.wait_for(self, timeout)
        if isinstance(self._outcome, IdxdError):
            raise self._outcome

    def result(self, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Wait, then the typed record, whatever its status: `raise_for_status()` is the caller's choice."""
        self.wait(timeout)
        assert isinstance(self._outcome, Result)
        return self._outcome

    def exception(self) -> IdxdError | None:
        """Why there will be no result; None when there is one, or nothing yet."""
        return self._outcome if isinstance(self._outcome, IdxdError) else None

    def add_done_callback(self, callback: Callback) -> None:
        """Call `callback(self)` once, when it is done: at once if it is, else from whoever notices."""
        with _settling:
            if self._outcome is None:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                callback = self._queue.watch
        callback(self)

    def __await__(self) -> Generator[Any, None, Result]:
        return self._queue.awaited(self).__await__()

    def settle(self, outcome: Result | IdxdError) -> bool:
        """The one place where an outcome appears; False: it was there already."""
        with _settling:
            if self._outcome is not None:
                return False
            self._outcome = outcome
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)
        return True

    def __repr__(self) -> str:
        state = "in flight" if self._outcome is None else repr(self._outcome)
        return f"<{type(self).__name__} {self.number} {self.descriptor!r}: {state}>"


_settling = threading.Lock()


def renew_lock_in_child() -> None:
    """A thread of the parent may have held it while another one forked."""
    global _settling
    _settling = threading.Lock()


class RecordCompletion(Completion):
    """On a user WQ: the device writes a record into a piece of our memory."""

    __slots__ = ("_arena", "_finished", "_piece", "portal")

    def __init__(
        self,
        queue: Queue,
        descriptor: Descriptor,
        batch: Batch | None,
        arena: Arena,
        piece: Piece,
        portal: native.Portal,
        finished: Callable[[], bool],
    ) -> None:
        super().__init__(queue, descriptor, batch)
        self._arena = arena
        self._piece: Piece | None = piece
        self.portal = portal
        self._finished = finished

    @property
    def piece(self) -> Piece | None:
        """Where the record will be; None when it has been read."""
        return self._piece

    def read(self) -> bool:
        """Settle from the record if its status is there."""
        piece = self._piece
        if piece is None:
            return self._outcome is not None
        if piece.status() == 0:
            return False
        batch = self._batch
        members = batch.results() if batch is not None else ()
        result = Result(bytes(piece.view[:RECORD_BYTES]), self.descriptor.opcode, self.descriptor.flags, members=members)
        if self.settle(result):
            self._piece = None
            self._arena.give(piece)
            if batch is not None:
                batch.give()
        return True

    def __del__(self) -> None:
        """The device may still write what nobody will read: keep that memory out of use until it cannot."""
        piece = self._piece
        if piece is not None and self.number >= 0:
            finished = self._finished
            self._arena.give_when(piece, lambda: piece.status() != 0 or finished())
            if self._batch is not None:
                self._batch.give_when(finished)
        elif piece is not None:  # never submitted
            self._arena.give(piece)
            if self._batch is not None:
                self._batch.give()


class ChannelCompletion(Completion):
    """On a kernel channel: idxdd-irq completes it, poll() delivers it."""

    __slots__ = ("_finished",)

    def __init__(self, queue: Queue, descriptor: Descriptor, batch: Batch | None, finished: Callable[[], bool]) -> None:
        super().__init__(queue, descriptor, batch)
        self._finished = finished

    def packed(self) -> bytes:
        """The descriptor's 64 bytes; the channel itself sets record, interrupt and handle."""
        return self.descriptor.pack(descriptor_list=self._batch.address if self._batch is not None else 0)

    def deliver(self, status: int, txn: int, record: bytes) -> bool:
        """What the completion ring says. ABORT leaves status 0 in the record."""
        batch = self._batch
        members = batch.results() if batch is not None else ()
        if batch is not None and status:
            batch.give()
        elif batch is not None:  # aborted: its members may still be on their way
            batch.give_when(self._finished)
        result = Result(
            bytes((status,)) + record[1:], self.descriptor.opcode, self.descriptor.flags, txn=TxnResult(txn), members=members
        )
        return self.settle(result)
