"""A private idxdd as a child: started, ready, ended; around one command (run), one run of a sweep, one test."""

import os
import select
import signal
import sys
from collections.abc import Sequence

from idxdd.control.exitcodes import ExitCode
from idxdd.service.notify import fail

READY_S = 15.0
READY_UNATTENDED_S = 60.0
"""Where many run side by side on loaded cores, and nobody waits at a terminal."""
END_S = 5.0


class PrivateDaemon:
    """Our private idxdd, in its own process group; it dies with us (PDEATHSIG)."""

    def __init__(self, instance: str, path: str, chosen: Sequence[str], *, log: int | None = None) -> None:
        """`chosen`: more options of serve; `log`: a descriptor for its stderr, which is ours without."""
        self._ready, theirs = os.pipe()
        options = ["serve", "--instance", instance, "--socket", path, "--ready-fd", str(theirs), "--die-with-parent"]
        options += ["--settings", ""]  # a private instance is the same on every machine; the environment still counts
        options += chosen
        actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, theirs, theirs)]
        actions += [] if log is None else [(os.POSIX_SPAWN_DUP2, log, 2)]
        # posix_spawn, so that PDEATHSIG's parent is this thread, which lives as long as we do
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "idxdd", *options],
            os.environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
        os.close(theirs)
        self.pidfd = os.pidfd_open(self.pid)
        self.code: int | None = None
        """How it ended: exit code, 128 + n after signal n; None: not yet."""

    def wait_ready(self, timeout_s: float = READY_S) -> int | None:
        """None when ready; else the exit code it ended with (it has said why)."""
        ready, _, _ = select.select([self._ready], [], [], timeout_s)
        if not ready:
            fail(f"the private daemon is not ready after {timeout_s:g} s")
            return ExitCode.FAILED
        if os.read(self._ready, 1):
            return None
        return self._reap()

    def end(self) -> int:
        """SIGTERM, bounded wait, SIGKILL; its exit code. Idempotent."""
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1
        if self.code is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
            if not select.select([self.pidfd], [], [], END_S)[0]:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            return self._reap()
        return self.code

    def ended(self) -> bool:
        """It has ended by itself."""
        return self.code is not None or bool(select.select([self.pidfd], [], [], 0)[0])

    def _reap(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.code = code_of(status)
        return self.code


def code_of(status: int) -> int:
    """Of a wait status, as a shell says it."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
