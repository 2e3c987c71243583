"""Second processes in tests: a Python program, answered line by line."""

import subprocess
import sys
from types import TracebackType
from typing import Self


class Child:
    """Runs a program; `line()` is what it said next; ends with the test."""

    def __init__(self, program: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )

    def line(self) -> str:
        """Blocks until the child says something; the test's own time-out bounds it."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and reaped: nothing of it runs on."""
        self.process.kill()
        self.process.wait(10)

    def finish(self) -> int:
        """Close its input and wait; the exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
