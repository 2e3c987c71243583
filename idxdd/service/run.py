"""`idxdd run -- COMMAND`: a private instance around one command; its exit status is ours, nothing stays behind.

Order   daemon, ready, command, command's end, daemon's end, directory. The daemon is our child and dies with us (PDEATHSIG),
        so also a runner that is killed leaves no daemon; the daemon removes its names itself.
Signals Ctrl-C reaches the command, which is in our process group; the daemon is in its own. SIGTERM and SIGHUP are passed on.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import FrameType

from idxdd.control.address import ENVIRONMENT
from idxdd.control.exitcodes import ExitCode
from idxdd.service.notify import fail

READY_S = 15.0
END_S = 5.0
DIRECTORY_PREFIX = "idxdd-run-"
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def run(
    command: Sequence[str],
    *,
    instance: str | None = None,
    config: str | None = None,
    spin_us: int | None = None,
    devices: Sequence[str] | None = None,
) -> int:
    """The command's exit status, 128 + n if signal n ended it; a code of the table if there was no daemon to run it with."""
    found = shutil.which(command[0])
    if found is None:
        exists = os.path.exists(command[0])
        fail(f"run: {command[0]}: {'not executable' if exists else 'command not found'}")
        return ExitCode.COMMAND_NOT_EXECUTABLE if exists else ExitCode.COMMAND_NOT_FOUND
    name = instance or f"run-{os.getpid()}"
    with _quiet(), _directory() as directory:
        path = os.path.join(directory, "s")
        options = [] if config is None else ["--config", config]
        options += [] if spin_us is None else ["--spin-us", str(spin_us)]
        daemon = _Daemon(name, path, [*options, *(word for device in devices or () for word in ("--device", device))])
        try:
            code = daemon.wait_ready()
            if code is not None:
                return code
            return _Command(found, command, {**os.environ, ENVIRONMENT: path}).wait(daemon)
        finally:
            daemon.end()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ctrl-C and Ctrl-\\ are the command's; we end when it ends. SIGTERM before there is a command ends us the normal way."""
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    ended = {number: signal.signal(number, _end) for number in PASSED_ON}
    try:
        yield
    finally:
        for number, handler in {**ignored, **ended}.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix=DIRECTORY_PREFIX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Daemon:
    """Our private idxdd, in its own process group."""

    def __init__(self, instance: str, path: str, chosen: Sequence[str]) -> None:
        self._ready, theirs = os.pipe()
        options = ["serve", "--instance", instance, "--socket", path, "--ready-fd", str(theirs), "--die-with-parent"]
        options += ["--settings", ""]  # a private instance is the same on every machine; the environment still counts
        options += chosen
        # posix_spawn, so that PDEATHSIG's parent is this thread, which lives as long as we do
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "idxdd", *options],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, theirs)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
        os.close(theirs)
        self.pidfd = os.pidfd_open(self.pid)

    def wait_ready(self) -> int | None:
        """None when ready; else the exit code it ended with (it has said why)."""
        ready, _, _ = select.select([self._ready], [], [], READY_S)
        if not ready:
            fail(f"run: the private daemon is not ready after {READY_S:g} s")
            return ExitCode.FAILED
        if os.read(self._ready, 1):
            return None
        return _code(self._reap())

    def end(self) -> None:
        """SIGTERM, bounded wait, SIGKILL. Idempotent."""
        os.close(self._ready)
        if self.pid:
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
            if not select.select([self.pidfd], [], [], END_S)[0]:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = 0
        return status


class _Command:
    """The command, in our process group and with our terminal."""

    def __init__(self, path: str, command: Sequence[str], environment: dict[str, str]) -> None:
        signals = [signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, *PASSED_ON]
        self._problem: OSError | None = None
        self._pid = self._early = 0
        for number in PASSED_ON:  # before there is a command: one that comes now is passed on as soon as there is
            signal.signal(number, lambda number, _frame: self._pass_on(number))
        try:
            self._pid = os.posix_spawn(path, list(command), environment, setsigmask=[], setsigdef=signals)
        except OSError as error:
            self._problem = error
        if self._early:
            self._pass_on(self._early)

    def wait(self, daemon: _Daemon) -> int:
        """Its status; a daemon that dies meanwhile is told about, and the command finds out by its own errors."""
        if self._problem is not None:
            fail(f"run: the command cannot be executed: {self._problem.strerror}")
            return ExitCode.COMMAND_NOT_EXECUTABLE
        pidfd = os.pidfd_open(self._pid)
        try:
            ready, _, _ = select.select([pidfd, daemon.pidfd], [], [])
            if pidfd not in ready:
                fail("run: the private daemon has ended")
            _, status = os.waitpid(self._pid, 0)
            return _code(status)
        finally:
            os.close(pidfd)

    def _pass_on(self, number: int) -> None:
        self._early = number
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
