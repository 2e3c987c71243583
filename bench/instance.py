"""The daemon that is measured, and the programs that measure it: started, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import idxdd.native
from idxdd.control import client as control

SOURCES = Path(__file__).parent / "c"
PROGRAMS = ("move", "operate", "batch", "trip", "pingpong", "crowd", "chain", "callback")
READY_S = 20.0
END_S = 10.0
RUN_S = 60.0


class BenchFailed(Exception):
    """A row cannot be measured; the text says why."""


# ---- programs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Programs:
    """The C programs, built against the installed library."""

    folder: Path

    def run(self, name: str, *arguments: object, socket: str = "") -> list[float]:
        """One line of numbers, as a program prints it."""
        command = [str(self.folder / name), *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                env=environment(socket),
                capture_output=True,
                text=True,
                timeout=RUN_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{name} did not end within {RUN_S:g} s") from None
        if done.returncode != 0:
            raise BenchFailed(f"{name}: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return [float(word) for word in done.stdout.split()]


def environment(socket: str) -> dict[str, str]:
    """For a program that connects to `socket`."""
    return {**os.environ, "IDXDD_SOCKET": socket} if socket else dict(os.environ)


def build(folder: Path) -> Programs:
    """Compile what is older than its sources or the library, as a user of the library would."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise BenchFailed("no C compiler: apt-get install gcc")
    folder.mkdir(parents=True, exist_ok=True)
    library = installed_library()
    headers = [library.parents[1] / "include" / "idxdd" / "client.h", *SOURCES.glob("*.h")]
    for name in PROGRAMS:
        source, program = SOURCES / f"{name}.c", folder / name
        newest = max(path.stat().st_mtime_ns for path in [source, library, *headers])
        if not program.exists() or program.stat().st_mtime_ns <= newest:
            flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{library.parents[1] / 'include'}"]
            command = [compiler, *flags, str(source), str(library), "-pthread", "-o", str(program)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BenchFailed(f"{name}.c does not compile: {done.stderr.strip()}")
    return Programs(folder)


def installed_library() -> Path:
    """libidxdd.a beside the binding: an editable install keeps it there, not beside the sources."""
    for folder in (*idxdd.native.__path__, *(str(Path(entry) / "idxdd" / "native") for entry in sys.path)):
        library = Path(folder) / "lib" / "libidxdd.a"
        if library.exists():
            return library
    raise BenchFailed("libidxdd.a is not installed: make native")


# ---- the daemon --------------------------------------------------------------------------------------------------------


class Instance:
    """A private idxdd; `config`: accel-config's list of devices, else the default. `ready_s`: how long it took to be ready."""

    def __init__(self, name: str = "", config: object = None) -> None:
        self._directory = tempfile.mkdtemp(prefix="idxdd-bench-")
        self._config = Path(self._directory) / "config.json" if config else None
        if self._config:
            self._config.write_text(json.dumps(config))
        self._log = Path(self._directory) / "log"
        self.socket = str(Path(self._directory) / "s")
        self.ready_s = 0.0
        try:
            self._start(name or f"bench-{os.getpid()}")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def _start(self, name: str) -> None:
        ready, theirs = os.pipe()
        command = [str(Path(sys.executable).parent / "idxdd"), "serve", "--instance", name, "--socket", self.socket]
        command += ["--ready-fd", str(theirs), "--die-with-parent"]
        command += ["--config", str(self._config)] if self._config else []
        with self._log.open("wb") as log:
            start = time.perf_counter()
            self.process = subprocess.Popen(command, pass_fds=[theirs], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(theirs)
        try:
            readable, _, _ = select.select([ready], [], [], READY_S)
            said = os.read(ready, 1) if readable else b""
            self.ready_s = time.perf_counter() - start
        finally:
            os.close(ready)
        if not said:
            self._end()
            raise BenchFailed(f"idxdd is not ready: {self._log.read_text().strip()}")

    @property
    def pid(self) -> int:
        return self.process.pid

    def stats(self) -> dict[str, Any]:
        """The daemon's own counters."""
        connection = control.connect(self.socket)
        try:
            answer, _ = connection.request("stats")
        finally:
            connection.close()
        return answer

    def wq(self, name: str) -> dict[str, int]:
        """The counters of one WQ."""
        return next(wq for wq in self.stats()["wqs"] if wq["wq"] == name)

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """What fails because the daemon has ended is told so, with its last words."""
        try:
            yield
        except Exception as error:
            code = self.process.poll()
            if code is None:
                raise
            words = self._log.read_text().strip().splitlines()[-1:] or ["it said nothing"]
            raise BenchFailed(f"idxdd has ended, exit code {code}: {words[0]}") from error

    def close(self) -> None:
        """SIGTERM, then SIGKILL; nothing of it stays."""
        self._end()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- many clients ------------------------------------------------------------------------------------------------------


class Crowd:
    """Client processes that are connected, have a portal each, and run when told to."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def run(self, seconds: float, delay_s: float = 0.2) -> tuple[list[int], list[int]]:
        """All of them between the same two moments: (moves completed, times the WQ was full) of each."""
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(delay_s * 1e9)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{start} {start + int(seconds * 1e9)}\n")
            process.stdin.flush()
        answers = [self._line(process, delay_s + seconds + RUN_S).split() for process in self._processes]
        return [int(completed) for completed, _ in answers], [int(full) for _, full in answers]

    def wait_ready(self) -> None:
        """Every portal is open."""
        for process in self._processes:
            if self._line(process, READY_S) != "ready\n":
                raise BenchFailed("a client said something else than ready")

    @staticmethod
    def _line(process: subprocess.Popen[str], timeout: float) -> str:
        assert process.stdout is not None
        assert process.stderr is not None
        readable, _, _ = select.select([process.stdout], [], [], timeout)
        line = process.stdout.readline() if readable else ""
        if not line:
            process.kill()
            raise BenchFailed(f"a client ended or hung: {process.stderr.read().strip()}")
        return line

    def close(self) -> None:
        """End of file ends them."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()


@contextlib.contextmanager
def crowd(programs: Programs, socket: str, count: int, wq: str, size: int, depth: int) -> Iterator[Crowd]:
    """`count` client processes on one WQ, each with `depth` moves of `size` bytes in flight when it runs."""
    processes: list[subprocess.Popen[str]] = []
    clients = Crowd(processes)
    pipe = subprocess.PIPE
    command = [str(programs.folder / "crowd"), wq, str(size), str(depth)]
    try:
        for _ in range(count):
            processes.append(
                subprocess.Popen(command, env=environment(socket), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            )
        clients.wait_ready()
        yield clients
    finally:
        clients.close()
