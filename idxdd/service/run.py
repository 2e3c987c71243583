"""`idxdd run -- COMMAND`: a private instance around one command; its exit status is ours, nothing stays behind.

Order   daemon, ready, command, command's end, daemon's end, directory. Daemon and command are our children and end with us
        (PDEATHSIG: SIGTERM), so also a runner that is killed leaves neither; the daemon removes its names itself.
Signals Ctrl-C reaches the command, which is in our process group; the daemon is in its own. SIGTERM and SIGHUP are passed on.
"""

import contextlib
import errno
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from types import FrameType

from idxdd.control.address import ENVIRONMENT
from idxdd.control.exitcodes import ExitCode
from idxdd.service.notify import fail
from idxdd.service.private import PrivateDaemon, code_of

DIRECTORY_PREFIX = "idxdd-run-"
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def executable(verb: str, name: str) -> str | ExitCode:
    """Its path; else the code that a shell has for it, and why is told in one line."""
    found = shutil.which(name)
    if found is not None:
        return found
    exists = os.path.exists(name)
    fail(f"{verb}: {name}: {'not executable' if exists else 'command not found'}")
    return ExitCode.COMMAND_NOT_EXECUTABLE if exists else ExitCode.COMMAND_NOT_FOUND


def run(
    command: Sequence[str],
    *,
    instance: str | None = None,
    config: str | None = None,
    spin_us: int | None = None,
    devices: Sequence[str] | None = None,
    quirks: Sequence[str] | None = None,
    later: Sequence[str] | None = None,
    inject: str | None = None,
) -> int:
    """The command's exit status, 128 + n if signal n ended it; a code of the table if there was no daemon to run it with."""
    found = executable("run", command[0])
    if isinstance(found, ExitCode):
        return found
    name = instance or f"run-{os.getpid()}"
    with _quiet(), _directory() as directory:
        path = os.path.join(directory, "s")
        options = [] if config is None else ["--config", config]
        options += [] if spin_us is None else ["--spin-us", str(spin_us)]
        options += [] if inject is None else ["--inject", inject]
        for option, words in (("--device", devices), ("--quirk", quirks), ("--later", later)):
            options += [f"{option}={word}" for word in words or ()]
        daemon = PrivateDaemon(name, path, options)
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


class _Command:
    """The command, in our process group and with our terminal."""

    def __init__(self, path: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self._problem: OSError | None = None
        self._pid = self._early = 0
        for number in PASSED_ON:  # before there is a command: one that comes now is passed on as soon as there is
            signal.signal(number, lambda number, _frame: self._pass_on(number))
        try:
            self._pid = _spawn(path, list(command), environment)
        except OSError as error:
            self._problem = error
        if self._early:
            self._pass_on(self._early)

    def wait(self, daemon: PrivateDaemon) -> int:
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
            return code_of(status)
        finally:
            os.close(pidfd)

    def _pass_on(self, number: int) -> None:
        self._early = number
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


def _spawn(path: str, command: list[str], environment: dict[str, str]) -> int:
    """Its pid. Forked, not spawned: before it is the command it asks for SIGTERM at our death. OSError: not executable."""
    from idxdd.native import set_parent_death_signal  # before the fork: afterwards nothing is imported

    parent = os.getpid()
    failed, tell = os.pipe()
    try:
        pid = os.fork()
        if not pid:
            try:
                set_parent_death_signal(signal.SIGTERM)
                for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, *PASSED_ON):
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                if os.getppid() == parent:
                    os.execve(path, command, environment)
            except OSError as error:
                os.write(tell, (error.errno or errno.EINVAL).to_bytes(4, "little"))
            finally:
                os._exit(ExitCode.COMMAND_NOT_EXECUTABLE)
        os.close(tell)
        tell = -1
        if said := os.read(failed, 4):  # an execve that succeeds closes it
            os.waitpid(pid, 0)
            error_number = int.from_bytes(said, "little")
            raise OSError(error_number, os.strerror(error_number), path)
        return pid
    finally:
        os.close(failed)
        if tell >= 0:
            os.close(tell)
