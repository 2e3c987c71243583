"""Log lines, as the kernel log would say them, for people, for programs or for the journal: never a wait, never an exception.

Each kind of line (its text without numbers) may come LINES_PER_KIND times in KIND_S; what is more is counted, and the next
line of that kind says how many there were.
"""

import json
import logging
import os
import re
import select
import socket
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from idxdd.shm.clock import CLOCK, NS_PER_S, Clock

LINE_BYTES_MAX = 2048  # a pipe that polls writable takes this much without blocking
LINES_PER_KIND = 100
KIND_S = 5.0
KINDS_MAX = 256
JOURNAL_SOCKET = "/run/systemd/journal/socket"
_PRIORITY = {"error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9]+")


class Log:
    """Writes lines to a descriptor or to the journal; what cannot be written now is counted and said later."""

    def __init__(self, fd: int = 2, name: str = "idxdd", quietest: str = "info", clock: Clock = CLOCK) -> None:
        self._fd = fd
        self._name = name
        self._clock = clock
        self._lost = 0
        self._kinds: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._journal: socket.socket | None = None
        self.configure(quietest, "auto")

    def configure(self, quietest: str, form: str) -> None:
        """`quietest`: a level; `form`: human, json, journal, or auto: the journal's own fields when stderr goes there."""
        self._highest = _PRIORITY[quietest]
        self._form = form
        self.close()
        if form == "journal" or (form == "auto" and _is_journal(self._fd)):
            self._journal = _journal_socket()
        self._prefix = self._journal is None and form == "auto" and "JOURNAL_STREAM" in os.environ

    def close(self) -> None:
        """Leave the journal; the descriptor is its owner's."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def error(self, text: str, **fields: Any) -> None:
        self.line("error", text, **fields)

    def warning(self, text: str, **fields: Any) -> None:
        self.line("warning", text, **fields)

    def info(self, text: str, **fields: Any) -> None:
        self.line("info", text, **fields)

    def line(self, level: str, text: str, **fields: Any) -> None:
        """One line; fields as key=value, as JSON members or as the journal's fields."""
        priority = _PRIORITY.get(level, 6)
        if priority > self._highest:
            return
        suppressed = self._suppressed(level, text)
        if suppressed is None:
            return
        if suppressed:
            text = f"{text} [{suppressed} lines like this were left out]"
        if self._journal is not None and self._to_journal(priority, text, fields):
            return
        self._write(self._formatted(level, priority, text, fields))

    def _suppressed(self, level: str, text: str) -> int | None:
        """How many lines of this kind were left out before this one; None: this one is left out, too."""
        kind = (level, _NUMBERS.sub("#", text)[:80])
        now_ns = self._clock.now_ns()
        entry = self._kinds.pop(kind, None)
        suppressed = 0
        if entry is None or now_ns - entry[0] > KIND_S * NS_PER_S:
            suppressed = entry[2] if entry else 0
            entry = [now_ns, 0, 0]
        self._kinds[kind] = entry
        if len(self._kinds) > KINDS_MAX:
            self._kinds.popitem(last=False)
        entry[1] += 1
        if entry[1] > LINES_PER_KIND:
            entry[2] += 1
            return None
        return suppressed

    def _formatted(self, level: str, priority: int, text: str, fields: dict[str, Any]) -> str:
        if self._form == "json":
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = {"time": time, "level": level, "program": self._name, "message": text, **fields}
            line |= {"lost": self._lost} if self._lost else {}
            shown = json.dumps(line, default=str)
            return shown if len(shown) < LINE_BYTES_MAX else json.dumps(dict(list(line.items())[:3]) | {"message": text[:300]})
        prefix = f"<{priority}>" if self._prefix else ""
        word = "" if priority >= _PRIORITY["notice"] else f"{level}: "
        tail = "".join(f" {key}={value}" for key, value in fields.items())
        lost = f" [{self._lost} lines lost before]" if self._lost else ""
        return f"{prefix}{self._name}: {word}{text}{tail}{lost}"

    def _to_journal(self, priority: int, text: str, fields: dict[str, Any]) -> bool:
        """The journal's native protocol: FIELD=value, one a line. False: it does not take it."""
        assert self._journal is not None
        lines = {"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": self._name}
        lines |= {f"IDXDD_{re.sub('[^A-Z0-9_]', '_', key.upper())[:50]}": value for key, value in fields.items()}
        data = "".join(f"{key}={_one_line(str(value))}\n" for key, value in lines.items())
        try:
            self._journal.send(data.encode(errors="replace"))
        except OSError:
            return False
        return True

    def _write(self, line: str) -> None:
        data = _one_line(line).encode(errors="replace")[: LINE_BYTES_MAX - 1] + b"\n"
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


def _one_line(text: str) -> str:
    return text.replace("\n", " ")[:LINE_BYTES_MAX]


def _is_journal(fd: int) -> bool:
    """JOURNAL_STREAM names the device and inode of the stream that systemd connected."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _journal_socket() -> socket.socket | None:
    """None where no journal listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(os.environ.get("IDXDD_JOURNAL_SOCKET", JOURNAL_SOCKET))
    except OSError:
        sock.close()
        return None
    return sock


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
