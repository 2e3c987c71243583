"""One client process of a stress run: opens work queues one after the other, works on each for a while, checks what it gets.

Started as `python -m idxdctl.stress_worker JOB PARENT`; works until its input ends. Events go to stdout, a JSON object a line.

What is counted  `submitted` is what a portal or channel took, `succeeded`, `faulted` and `aborted` how it ended, each once:
                 their sum must be `submitted` whenever a queue is left, and no callback may come twice.
A closed portal  (halt, disabled WQ) is waited out: reopened, or given up and opened anew; then what has a record is checked,
                 and what has none was aborted or never taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from idxd_client import (
    Completion,
    Connection,
    DescriptorArray,
    IdxdError,
    KernelChannel,
    PortalClosed,
    Refused,
    TxnResult,
    WaitTimeout,
    WorkQueue,
    connect,
)
from idxdctl.stress_rounds import NOWHERE, PIECES_MAX, RECORD_BYTES, Content, Counted, Round, WrongAnswer
from idxdd import native
from idxdd.control.exitcodes import ExitCode
from idxdd.spec.codes import COMP_DESC_ABORT, CompletionStatus

REPORT_S: Final = 0.2
ROUNDS_MAX: Final = 40
"""On one queue, before it is left for another."""
REPEATS_MAX: Final = 24
"""Of a pair of rounds."""
BACK_S: Final = 0.01
SINGLY_OF: Final = 0.1
GIVE_UP_OF: Final = 0.3
NOT_NOW: Final = frozenset({"EBUSY", "ENXIO", "ENODEV"})
"""Refusals of a WQ that is taken, or disabled at the moment."""
RECORD_AT: Final = slice(8, 16)
ABANDONED: Final = frozenset({COMP_DESC_ABORT, CompletionStatus.INT_HANDLE_INVAL})
"""Written by the submitter itself, and of a handle that was revoked while there was no other."""


@dataclass
class Job:
    """What one worker does."""

    number: int
    seed: int
    wqs: list[str]
    socket: str | None = None
    faults: bool = False
    disturbed: bool = False
    """WQs are disabled, devices halted, handles revoked: descriptors may be aborted, portals closed."""
    timeout_s: float = 60.0
    rest_s: float = 0.0
    """Between two queues, on the average."""


@dataclass
class Tally:
    """What it has done so far."""

    submitted: int = 0
    succeeded: int = 0
    faulted: int = 0
    aborted: int = 0
    opened: int = 0
    closed: int = 0
    """Portals that the device closed."""
    fenced: int = 0
    retries: int = 0
    longest_ms: int = 0
    """The longest round."""


class InVain(IdxdError):
    """Something that was accepted has not ended in time."""


class Worker:
    """The loop of one client."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self._job = job
        self._connection = connection
        self._rng = random.Random(job.seed)
        self._content = Content(self._rng, connection)
        self._arrays = [connection.array(PIECES_MAX) for _ in range(2)]
        self._reported = 0.0
        self.tally = Tally()
        self.doing = "start"

    def run(self) -> None:
        """Until the input ends."""
        while not self._told_to_stop():
            queue = self._open()
            if queue is None:
                return
            try:
                self.tally.opened += 1
                before = queue.retries
                if isinstance(queue, KernelChannel):
                    self._use_channel(queue)
                else:
                    self._use(queue)
                self.tally.retries += queue.retries - before
            finally:
                self.doing = f"closing {queue.name}"
                queue.close()
            if self._job.rest_s:
                select.select([0], [], [], self._job.rest_s * self._rng.uniform(0.3, 1.7))

    def close(self) -> None:
        """Give everything back."""
        for array in self._arrays:
            array.close()
        self._content.close()

    def _told_to_stop(self) -> bool:
        now = time.monotonic()
        if now - self._reported >= REPORT_S:
            self._reported = now
            say("progress", **asdict(self.tally))
        return bool(select.select([0], [], [], 0)[0])

    # ---- queues ------------------------------------------------------------------------------------------------------
    def _open(self) -> WorkQueue | KernelChannel | None:
        """One of ours that lets us in; None when told to stop meanwhile."""
        deadline = time.monotonic() + self._job.timeout_s
        while not self._told_to_stop():
            wq = self._rng.choice(self._job.wqs)
            self.doing = f"opening {wq}"
            try:
                return self._connection.open(wq)
            except Refused as refused:
                if refused.code not in NOT_NOW:
                    raise
                if refused.code == "EBUSY":  # somebody else's turn, and others wait, too
                    deadline = time.monotonic() + self._job.timeout_s
                if time.monotonic() > deadline:
                    raise InVain(f"no work queue let us in for {self._job.timeout_s:g} s: {refused}") from None
            time.sleep(BACK_S)
        return None

    def _reopened(self, queue: WorkQueue | KernelChannel, closed: PortalClosed) -> bool:
        """After the device closed its portal: wait until it can go on; False: the queue was closed instead."""
        if not self._job.disturbed:
            raise closed
        self.doing = f"reopening {queue.name}, closed: {closed.reason.name}"
        self.tally.closed += 1
        deadline = time.monotonic() + self._job.timeout_s
        give_up = self._rng.random() < GIVE_UP_OF
        while not give_up:
            try:
                queue.reopen()
                return True
            except Refused as refused:
                if "fenced" in refused.text:
                    self.tally.fenced += 1
                    give_up = True
                elif refused.code not in NOT_NOW:
                    raise
                elif time.monotonic() > deadline:
                    raise InVain(f"{queue.name}: not to be reopened for {self._job.timeout_s:g} s: {refused}") from None
                elif refused.code == "EBUSY" or self._rng.random() < GIVE_UP_OF / 10:
                    give_up = True
            time.sleep(BACK_S)
        queue.close()
        return False

    def _rounds(self, *, batches: bool = False) -> list[Round]:
        return [Round(self._rng, self._content, faults=self._job.faults, batches=batches) for _ in range(2)]

    # ---- user work queues --------------------------------------------------------------------------------------------
    def _use(self, queue: WorkQueue) -> None:
        left = self._rng.randrange(1, ROUNDS_MAX)
        while left > 0 and not self._told_to_stop():
            singly = self._rng.random() < SINGLY_OF
            rounds = self._rounds(batches=singly)
            repeats = 2 if singly else self._rng.randrange(1, REPEATS_MAX)
            if not singly:
                for array, turn in zip(self._arrays, rounds, strict=True):
                    build(array, turn)
            for number in range(repeats):
                start = time.monotonic()
                turn, array = rounds[number % 2], self._arrays[number % 2]
                open_still = self._singly(queue, turn) if singly else self._at_once(queue, turn, array)
                self.tally.longest_ms = max(self.tally.longest_ms, int(1e3 * (time.monotonic() - start)))
                if not open_still or self._told_to_stop():
                    return
            left -= 1

    def _at_once(self, queue: WorkQueue, turn: Round, array: DescriptorArray) -> bool:
        """Prebuilt descriptors in groups. False: the queue was closed meanwhile."""
        self.doing = f"{queue.name}: {turn.count} descriptors at once"
        turn.prepare()
        array.clear()
        before = queue.statistics()["published"]
        closed = None
        try:
            queue.wait_number(queue.submit_array(array, 0, turn.count, timeout=self._job.timeout_s), self._job.timeout_s)
        except PortalClosed as error:
            closed = error
        submitted = queue.statistics()["published"] - before
        open_still = closed is None or self._reopened(queue, closed)
        records = bytes(array.records)
        self._count(submitted, turn.check(split(records)[: turn.count], closed=closed is not None), turn.count)
        return open_still

    def _singly(self, queue: WorkQueue, turn: Round) -> bool:
        """One object a descriptor, as most programs do it."""
        self.doing = f"{queue.name}: {turn.count} descriptors singly"
        turn.prepare()
        before = queue.statistics()["published"]
        sent: list[Completion] = []
        closed = None
        try:
            for piece in turn.pieces:
                descriptor = piece.descriptor
                if piece.silent:
                    queue.submit_slot(descriptor.pack(NOWHERE), self._job.timeout_s)
                    continue
                sent.append(queue.submit(descriptor, timeout=self._job.timeout_s))
            queue.wait_number(queue.statistics()["published"] - 1, self._job.timeout_s)
        except PortalClosed as error:
            closed = error
        submitted = queue.statistics()["published"] - before
        open_still = closed is None or self._reopened(queue, closed)
        answers = iter(sent)
        records = [bytes(RECORD_BYTES) if piece.silent else ended(next(answers, None)) for piece in turn.pieces]
        self._count(submitted, turn.check(records, closed=closed is not None), turn.count)
        return open_still

    def _count(self, submitted: int, counted: Counted, count: int) -> None:
        """What was not submitted at all is among the unfinished."""
        aborted = counted.unfinished - (count - submitted)
        if aborted < 0:
            raise WrongAnswer(f"{submitted} descriptors were submitted and {count - counted.unfinished} have ended")
        tally = self.tally
        tally.submitted += submitted
        tally.succeeded += counted.succeeded
        tally.faulted += counted.faulted
        tally.aborted += aborted

    # ---- kernel work queues ------------------------------------------------------------------------------------------
    def _use_channel(self, channel: KernelChannel) -> None:
        left = self._rng.randrange(1, ROUNDS_MAX)
        tickets: set[int] = set()
        while left > 0 and not self._told_to_stop():
            rounds = self._rounds(batches=self._rng.random() < SINGLY_OF)
            for number in range(self._rng.randrange(1, REPEATS_MAX)):
                start = time.monotonic()
                if not self._on_channel(channel, rounds[number % 2], tickets):
                    return
                self.tally.longest_ms = max(self.tally.longest_ms, int(1e3 * (time.monotonic() - start)))
            left -= 1

    def _on_channel(self, channel: KernelChannel, turn: Round, tickets: set[int]) -> bool:
        """A round, each descriptor's callback exactly once. False: the queue was closed meanwhile."""
        self.doing = f"{channel.name}: {turn.count} descriptors by interrupt"
        turn.prepare()
        called: list[Completion] = []
        closed = None
        try:
            for completion in channel.submit_many(turn.descriptors, callback=called.append, timeout=self._job.timeout_s):
                completion.wait(self._job.timeout_s)
        except PortalClosed as error:
            closed = error
            self._flush(channel)
        except WaitTimeout as error:
            raise InVain(f"{error}; {channel.in_flight} of this channel are in flight") from None
        open_still = closed is None or self._reopened(channel, closed)
        for one in called:
            if one.number in tickets:
                raise WrongAnswer(f"{channel.name}: the callback of ticket {one.number} was called twice")
            tickets.add(one.number)
        outcomes = {id(completion.descriptor): completion for completion in called}
        if len(outcomes) != len(called):
            raise WrongAnswer(f"{channel.name}: {len(called)} callbacks for {len(outcomes)} descriptors")
        records, aborted = [], 0
        for piece in turn.pieces:
            completion_of = outcomes.get(id(piece.descriptor))
            record = self._record_of(completion_of)
            aborted += completion_of is not None and not record[0]
            records.append(record)
        counted = turn.check(records, closed=closed is not None or bool(aborted), silenced=False)
        self._count(len(called), counted, turn.count)
        return open_still

    def _record_of(self, completion: Completion | None) -> bytes:
        """Zero where it was aborted, or never accepted."""
        if completion is None or completion.exception() is not None:
            return bytes(RECORD_BYTES)
        result = completion.result(0)
        abandoned = result.txn is TxnResult.ABORTED or result.record[0] in ABANDONED
        if abandoned and self._job.disturbed:
            return bytes(RECORD_BYTES)
        return result.record

    def _flush(self, channel: KernelChannel) -> None:
        """A closed channel: what it had accepted is completed by idxdd-irq, or by itself after a fence."""
        deadline = time.monotonic() + self._job.timeout_s
        while channel.in_flight:
            seen = channel.progress()
            channel.poll()
            if not channel.in_flight:
                return
            if time.monotonic() > deadline:
                raise InVain(f"{channel.name}: {channel.in_flight} accepted descriptors were neither completed nor aborted")
            channel.wait_progress(seen, BACK_S)


def build(array: DescriptorArray, turn: Round) -> None:
    """Descriptors of a round; a silent one's record lies nowhere."""
    for index, descriptor in enumerate(turn.descriptors):
        array[index] = descriptor
    for index in turn.silence():
        array.slots[index][RECORD_AT] = NOWHERE.to_bytes(8, "little")


def split(records: bytes) -> list[bytes]:
    """Each record."""
    return [records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)]


def ended(completion: Completion | None) -> bytes:
    """Its record; zeros when there is none, and none will come."""
    if completion is None or not completion.done() or completion.exception() is not None:
        return bytes(RECORD_BYTES)
    return completion.result(0).record


def say(event: str, **facts: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def work(job: Job) -> None:
    """The whole life of a worker; raises what went wrong."""
    with connect(job.socket, timeout=job.timeout_s) as connection:
        worker = Worker(job, connection)
        say("ready", pid=os.getpid())
        try:
            worker.run()
        except IdxdError as error:
            say("error", text=f"{worker.doing}: {error}", **{"class": type(error).__name__})
            with contextlib.suppress(IdxdError):
                worker.close()
            raise SystemExit(ExitCode.FAILED) from None
        worker.close()
    say("end", **asdict(worker.tally))


def main(arguments: Sequence[str]) -> int:
    """A worker process: the job as JSON, and the process that started it."""
    native.set_parent_death_signal(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us, and ends us
    if os.getppid() != int(arguments[1]):  # it ended before the signal was asked for
        return ExitCode.FAILED
    try:
        work(Job(**json.loads(arguments[0])))
    except IdxdError as error:
        say("error", text=str(error), **{"class": type(error).__name__})
        return ExitCode.FAILED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
