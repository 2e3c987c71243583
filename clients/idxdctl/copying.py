"""Copy one file with many client processes: planning, starting, listening to them, replacing those that die."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from idxd_client.errors import IdxdError
from idxdctl.worker import Job
from idxdd.control.exitcodes import ExitCode

CRC_BLOCK_BYTES = 1 << 20


class CopyFailed(IdxdError):
    """A worker said what went wrong, or died."""

    def __init__(self, text: str, exit_code: int = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.exit_code = ExitCode(exit_code)


@dataclass
class Worker:
    """One client process and what it told about itself."""

    number: int
    job: Job
    process: subprocess.Popen[bytes]
    replaces: int | None = None
    pid: int = 0
    kernel: bool = False
    dedicated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    """Its latest event: finished bytes, descriptors, callbacks, retries, p50_us, p99_us, and seconds at the end."""
    error: dict[str, Any] | None = None
    ended: bool = False
    killed: bool = False
    pending: bytes = b""

    @property
    def finished(self) -> int:
        """Bytes written out so far."""
        return int(self.facts.get("finished", 0))

    @property
    def name(self) -> str:
        """As shown: "2", or "2 for 1" when it took over."""
        return str(self.number) if self.replaces is None else f"{self.number} for {self.replaces}"

    def summary(self) -> dict[str, Any]:
        """For --json."""
        known = {"client": self.name, "pid": self.pid, "wq": self.job.wq, "kernel": self.kernel, "killed": self.killed}
        return known | {name: value for name, value in self.facts.items() if name != "round_trips_us"}


def plan(size: int, chunk: int, procs: int) -> list[tuple[int, int]]:
    """(offset, length) of at most `procs` parts that cover `size` bytes, each but the last a multiple of `chunk`."""
    chunks = -(-size // chunk)
    parts = []
    start = 0
    for number in range(procs):
        end = chunks * (number + 1) // procs
        if end > start:
            parts.append((start * chunk, min(end * chunk, size) - start * chunk))
        start = end
    return parts


class Copy:
    """A running copy. `watch(worker)` is called after each event of a worker; `replacements` dead workers are replaced.

    `pass_fds` are open in the workers, too: `dst` may be one of them, as /proc/self/fd/N.
    """

    def __init__(
        self,
        src: str,
        dst: str,
        wqs: Sequence[str],
        *,
        procs: int,
        chunk: int,
        depth: int,
        socket: str | None = None,
        replacements: int = 0,
        timeout_s: float = 600.0,
        wait_s: float = 30.0,
        watch: Callable[[Worker], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.src, self.dst = src, dst
        self.size = os.stat(src).st_size
        self.workers: list[Worker] = []
        self._wqs = list(wqs)
        self._procs, self._chunk, self._depth, self._socket = procs, chunk, depth, socket
        self._replacements = replacements
        self._deadline = time.monotonic() + timeout_s
        self._wait_s = wait_s
        self.watch = watch
        self._pass_fds = tuple(pass_fds)
        self._selector = selectors.DefaultSelector()

    @property
    def finished(self) -> int:
        """Bytes written out, all workers together."""
        return sum(worker.finished for worker in self.workers)

    def run(self) -> float:
        """Copy; seconds it took. CopyFailed; no worker outlives this call."""
        begin = time.perf_counter()
        with open(self.dst, "wb") as destination:
            os.ftruncate(destination.fileno(), self.size)
        try:
            for number, (offset, length) in enumerate(plan(self.size, self._chunk, self._procs)):
                wq = self._wqs[number % len(self._wqs)]
                self._start(Job(self.src, self.dst, offset, length, wq, self._chunk, self._depth, self._socket, self._wait_s))
            while self._selector.get_map():
                self._listen()
        finally:
            self._stop()
        return time.perf_counter() - begin

    def kill(self, worker: Worker) -> None:
        """SIGKILL, for demonstrations: its part is taken over if replacements are left."""
        worker.killed = True
        worker.process.send_signal(signal.SIGKILL)

    def _start(self, job: Job, replaces: int | None = None) -> None:
        command = [sys.executable, "-P", "-m", "idxdctl.worker", json.dumps(asdict(job)), str(os.getpid())]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=self._pass_fds)
        worker = Worker(len(self.workers), job, process, replaces)
        self.workers.append(worker)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)

    def _listen(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CopyFailed("copy: not finished in time")
        for key, _ in self._selector.select(left):
            worker: Worker = key.data
            data = os.read(key.fd, 65536)
            if data:
                *lines, worker.pending = (worker.pending + data).split(b"\n")
                for line in lines:
                    self._take(worker, json.loads(line))
            else:
                self._selector.unregister(key.fileobj)
                self._ended(worker)

    def _take(self, worker: Worker, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "start":
            worker.pid, worker.kernel, worker.dedicated = event["pid"], event["kernel"], event["dedicated"]
        elif kind == "error":
            worker.error = event
        else:
            worker.facts = event
            worker.ended = kind == "end"
        if self.watch is not None:
            self.watch(worker)

    def _ended(self, worker: Worker) -> None:
        status = worker.process.wait()
        if worker.process.stdout is not None:
            worker.process.stdout.close()
        if worker.ended and status == 0:
            return
        if worker.error is not None:
            raise CopyFailed(worker.error["text"], worker.error["exit_code"])
        if self._replacements <= 0:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise CopyFailed(f"copy: client {worker.name} on {worker.job.wq} was {how}")
        self._replacements -= 1
        job, done = worker.job, worker.finished
        rest = Job(**{**asdict(job), "offset": job.offset + done, "length": job.length - done})
        self._start(rest, worker.number)

    def _stop(self) -> None:
        self._selector.close()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            if worker.process.stdout is not None:
                worker.process.stdout.close()


def crc32_of(path: str) -> int:
    """zlib's CRC-32 of a file: a library that knows nothing of the device."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(CRC_BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def verify(src: str, dst: str, copy: str = "") -> int:
    """The CRC-32 of both (`copy`: where `dst` is written until it is done); CopyFailed when they differ."""
    wanted, got = crc32_of(src), crc32_of(copy or dst)
    if os.path.getsize(src) != os.path.getsize(copy or dst) or wanted != got:
        raise CopyFailed(f"copy: verification failed: CRC-32 {wanted:08x} of {src}, {got:08x} of {dst}")
    return wanted


def check_paths(src: str, dst: str) -> None:
    """CopyFailed: no regular source, or a destination that is not a regular file of its own."""
    if not os.path.isfile(src):
        raise CopyFailed(f"copy: {src}: no such regular file", ExitCode.USAGE)
    if os.path.exists(dst):
        if not os.path.isfile(dst):
            raise CopyFailed(f"copy: {dst}: exists and is not a regular file", ExitCode.USAGE)
        if os.path.samefile(src, dst):
            raise CopyFailed(f"copy: {src} and {dst} are the same file", ExitCode.USAGE)
