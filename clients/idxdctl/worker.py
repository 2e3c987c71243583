"""One client process of a copy: its own session, one WQ, one part of the file. Started as `python -m idxdctl.worker JOB`.

It reads chunks into a library buffer, has the device move them to another one, and writes them out, `depth` at a time.
What is reported as finished has been written: a replacement goes on behind it. Events go to stdout, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from idxd_client import Completion, Connection, Descriptor, IdxdError, KernelChannel, Region, WorkQueue, connect
from idxdctl.sizes import percentile
from idxdd import native
from idxdd.control.exitcodes import ExitCode

REPORT_BYTES = 1 << 20
PROBE_EVERY = 16
"""A no-op's round trip is measured once in so many chunks: under load, as the copy sees it."""


@dataclass
class Job:
    """What one worker does."""

    src: str
    dst: str
    offset: int
    length: int
    wq: str
    chunk: int
    depth: int
    socket: str | None = None
    timeout_s: float = 30.0


@dataclass
class Tally:
    """What it has done so far. On a kernel channel: `callbacks` are completions delivered, `repeated` those delivered twice."""

    finished: int = 0
    descriptors: int = 0
    callbacks: int = 0
    repeated: int = 0
    aborted: int = 0
    retries: int = 0
    round_trips_ns: list[int] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """For an event: numbers, and the round trips as percentiles."""
        facts = asdict(self)
        ordered = sorted(facts.pop("round_trips_ns"))
        return facts | {"p50_us": percentile(ordered, 0.5) / 1e3, "p99_us": percentile(ordered, 0.99) / 1e3}


@dataclass
class Slot:
    """One chunk on its way: read into `src`, moved to `dst`, written from there."""

    src: Region
    dst: Region
    offset: int = 0
    length: int = 0
    completion: Completion | None = None


def say(event: str, **facts: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


class Copier:
    """The loop: fill free slots, write out finished ones in order."""

    def __init__(self, job: Job, queue: WorkQueue | KernelChannel, slots: list[Slot], source: int, destination: int) -> None:
        self._job = job
        self._queue = queue
        self._free = deque(slots)
        self._moving: deque[Slot] = deque()
        self._source = source
        self._destination = destination
        self._delivered: set[int] = set()
        self.tally = Tally()

    def run(self) -> None:
        """Copy the part; raises what the library raises, OSError from the files."""
        end = self._job.offset + self._job.length
        at = self._job.offset
        reported = 0
        while at < end or self._moving:
            while at < end and self._free:
                at += self._start(self._free.popleft(), at, min(self._job.chunk, end - at))
            self._finish(self._moving.popleft())
            if self.tally.finished - reported >= REPORT_BYTES:
                reported = self.tally.finished
                say("progress", **self.tally.facts())

    def _start(self, slot: Slot, offset: int, length: int) -> int:
        slot.offset, slot.length = offset, length
        view = slot.src.view[:length]
        got = 0
        while got < length:
            count = os.preadv(self._source, [view[got:]], offset + got)
            if not count:
                raise OSError(0, f"{self._job.src} became shorter while it was copied")
            got += count
        slot.completion = self._submit(Descriptor.memmove(slot.dst, slot.src, length))
        self._moving.append(slot)
        return length

    def _submit(self, descriptor: Descriptor) -> Completion:
        if isinstance(self._queue, KernelChannel):
            completion: Completion = self._queue.submit(descriptor, callback=self._completed, timeout=self._job.timeout_s)
        else:
            completion = self._queue.submit(descriptor, timeout=self._job.timeout_s)
        self.tally.descriptors += 1
        return completion

    def _completed(self, completion: Completion) -> None:
        """The channel's callback. Exactly once for each ticket, whatever happens to idxdd-irq."""
        self.tally.callbacks += 1
        self.tally.repeated += completion.number in self._delivered
        self._delivered.add(completion.number)

    def _finish(self, slot: Slot) -> None:
        assert slot.completion is not None
        slot.completion.result(self._job.timeout_s).raise_for_status(f"{self._queue.name}: memmove at {slot.offset}")
        slot.completion = None
        view = slot.dst.view[: slot.length]
        put = 0
        while put < slot.length:
            put += os.pwritev(self._destination, [view[put:]], slot.offset + put)
        self.tally.finished += slot.length
        self.tally.retries = self._queue.retries
        self._free.append(slot)
        if self.tally.descriptors % PROBE_EVERY == 0:
            self._probe()

    def _probe(self) -> None:
        start = time.perf_counter_ns()
        self._submit(Descriptor.noop()).result(self._job.timeout_s).raise_for_status()
        self.tally.round_trips_ns.append(time.perf_counter_ns() - start)


def interrupts_of(connection: Connection) -> int:
    """Completion interrupts that the device raised for this process's portals."""
    mine = [client for client in connection.stats()["clients"] if client["pid"] == os.getpid()]
    return sum(portal["interrupts"] for client in mine for portal in client["portals"])


def copy(job: Job) -> Tally:
    """Do the job in a session of its own."""
    source = os.open(job.src, os.O_RDONLY | os.O_CLOEXEC)
    destination = os.open(job.dst, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with (
            connect(job.socket) as connection,
            connection.open(job.wq) as queue,
            connection.alloc(job.chunk * job.depth) as inputs,
            connection.alloc(job.chunk * job.depth) as outputs,
        ):
            say("start", pid=os.getpid(), wq=job.wq, kernel=isinstance(queue, KernelChannel), dedicated=queue.dedicated)
            places = range(0, job.chunk * job.depth, job.chunk)
            slots = [Slot(inputs.region(at, job.chunk), outputs.region(at, job.chunk)) for at in places]
            copier = Copier(job, queue, slots, source, destination)
            begin = time.perf_counter()
            copier.run()
            seconds = time.perf_counter() - begin
            trips_us = [round(trip / 1e3, 1) for trip in copier.tally.round_trips_ns]
            say("end", seconds=seconds, interrupts=interrupts_of(connection), **copier.tally.facts(), round_trips_us=trips_us)
            return copier.tally
    finally:
        os.close(source)
        os.close(destination)


def main() -> int:
    """A worker process: argument 1 is the job, argument 2 the process that started it."""
    native.set_parent_death_signal(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us, and ends us
    if os.getppid() != int(sys.argv[2]):  # it ended before the signal was asked for
        return ExitCode.FAILED
    try:
        copy(Job(**json.loads(sys.argv[1])))
    except IdxdError as error:
        say("error", text=str(error), exit_code=int(error.exit_code))
        return error.exit_code
    except OSError as error:
        say("error", text=f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), exit_code=int(ExitCode.FAILED))
        return ExitCode.FAILED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
