"""A real idxdd of one's own for a test: started, ready, stopped; what it said is in `said`."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from idxdd.control.client import ControlClient, connect

READY_S = 30.0


class RunningDaemon:
    """idxdd serve with its own instance name, socket and log; spins 0 us, so that tests can share two cores."""

    def __init__(
        self, instance: str, directory: Path, *options: str, spin_us: int = 0, environ: dict[str, str] | None = None
    ) -> None:
        self.instance = instance
        self.socket = str(directory / "s")
        self._directory = directory
        self._options = options
        self._spin_us = spin_us
        self._environ = environ or {}
        self.log = directory / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "RunningDaemon":
        """Start it; with `wait`, until it is ready (an AssertionError tells what it said instead)."""
        ready, theirs = os.pipe()
        command = [sys.executable, "-m", "idxdd", "serve", "--instance", self.instance, "--socket", self.socket]
        command += ["--spin-us", str(self._spin_us), "--ready-fd", str(theirs), *self._options]
        environ = {**os.environ, **self._environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, pass_fds=[theirs], stderr=log, stdin=subprocess.DEVNULL, env=environ)
        os.close(theirs)
        try:
            if wait:
                readable, _, _ = select.select([ready], [], [], READY_S)
                said = os.read(ready, 1) if readable else b""
                assert said == b"\n", f"not ready: {self.said}"
        finally:
            os.close(ready)
        return self

    @property
    def said(self) -> str:
        """Everything it wrote to stderr so far."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def connect(self, timeout: float = 10.0) -> ControlClient:
        """A control connection."""
        return connect(self.socket, timeout)

    def irq_pid(self) -> int:
        """idxdd-irq's pid as the daemon tells it; 0 while there is none."""
        with self.connect() as client:
            answer, _ = client.request("stats")
        return int(answer["irq"]["pid"])

    def wait(self, timeout: float = 15.0) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM; its exit code. Idempotent."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"idxdd did not end on SIGTERM: {self.said}") from None

    def kill(self) -> None:
        """SIGKILL, and wait until idxdd-irq has noticed."""
        assert self.process is not None
        children = child_pids(self.pid)
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in children), 10, "idxdd-irq ends with its daemon")


def child_pids(pid: int) -> list[int]:
    """Children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """There is such a process, and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def daemon(instance: str, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon with the default configuration, ready; it must have ended well when the test has."""
    running = RunningDaemon(instance, tmp_path).start()
    yield running
    code = running.stop()
    assert code in (0, -signal.SIGKILL), f"exit code {code}: {running.said}"
