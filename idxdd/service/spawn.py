"""Starting idxdd-irq by exec. Imports nothing heavy: the daemon starts the first one before its own imports, side by side."""

import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

LINK_FD = 3
COMMAND = (sys.executable, "-P", "-m", "idxdd.service.irq_main")


@dataclass
class Spawned:
    """A child that was not reaped yet, its pidfd, and our end of the link."""

    pid: int
    pidfd: int
    link: socket.socket

    def kill(self) -> None:
        """SIGKILL; the pidfd tells when it is gone."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def ended_within(self, seconds: float) -> bool:
        """Wait so long at most."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def reap(self) -> int:
        """Its wait status; blocks until it has ended."""
        self.link.close()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return status

    def abandon(self) -> None:
        """It is not needed after all."""
        self.kill()
        self.reap()


def spawn(command: Sequence[str] = COMMAND) -> Spawned:
    """Exec, not fork: a fork would inherit the instance lock. Its own process group: Ctrl-C is for the daemon alone."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        pid = os.posix_spawn(
            command[0],
            list(command),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), LINK_FD)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD],
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Spawned(pid, os.pidfd_open(pid), ours)


def describe(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
