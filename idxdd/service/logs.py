"""Log lines on stderr, as the kernel log would say them: never a wait, never an exception."""

import logging
import os
import select
from typing import Any

LINE_BYTES_MAX = 2048  # a pipe that polls writable takes this much without blocking
_PRIORITY = {"error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}


class Log:
    """Writes lines to a descriptor; what cannot be written now is counted and said later."""

    def __init__(self, fd: int = 2, name: str = "idxdd", quietest: str = "info") -> None:
        self._fd = fd
        self._name = name
        self._highest = _PRIORITY[quietest]
        self._lost = 0
        self._journal = "JOURNAL_STREAM" in os.environ

    def error(self, text: str, **fields: Any) -> None:
        self.line("error", text, **fields)

    def warning(self, text: str, **fields: Any) -> None:
        self.line("warning", text, **fields)

    def info(self, text: str, **fields: Any) -> None:
        self.line("info", text, **fields)

    def line(self, level: str, text: str, **fields: Any) -> None:
        """One line: program, level unless info, text, fields as key=value."""
        priority = _PRIORITY.get(level, 6)
        if priority > self._highest:
            return
        prefix = f"<{priority}>" if self._journal else ""
        word = "" if priority >= _PRIORITY["notice"] else f"{level}: "
        tail = "".join(f" {key}={value}" for key, value in fields.items())
        self._write(f"{prefix}{self._name}: {word}{text}{tail}")

    def _write(self, line: str) -> None:
        if self._lost:
            line = f"{line} [{self._lost} lines lost before]"
        data = line.replace("\n", " ").encode(errors="replace")[: LINE_BYTES_MAX - 1] + b"\n"
        poll = select.poll()
        try:
            poll.register(self._fd, select.POLLOUT)
            ready = poll.poll(0)
            if ready and not ready[0][1] & (select.POLLERR | select.POLLNVAL):
                os.write(self._fd, data)
                self._lost = 0
                return
        except (OSError, ValueError):
            pass
        self._lost += 1


class _Forward(logging.Handler):
    """What the device says goes the same way."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.line(record.levelname.lower(), record.getMessage())


def forward(name: str, log: Log) -> None:
    """Send the lines of a logging logger to `log`."""
    logger = logging.getLogger(name)
    logger.handlers = [_Forward(log)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
