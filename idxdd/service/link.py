"""The link to idxdd-irq: verbs with a number, answered later, sent again to a successor until they are answered.

Who writes what  the loop sends verbs and answers asks; idxdd-irq answers verbs, asks, and reports log events.
Order            frames of one life of idxdd-irq are in order: adopt first, then what a predecessor left unanswered,
                 oldest first, then new ones.
Crash            what it said before it died is read to the end; a verb may still have been done without an answer: it is
                 sent again, and is safe to repeat. One that was under way when DEATHS_MAX of them in succession died of
                 themselves may be what kills them: it is answered EIO and not sent again.
"""

import contextlib
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idxdd.control import protocol, wire
from idxdd.control.protocol import BadFrame
from idxdd.service.logs import Log
from idxdd.service.loop import READ, WRITE, Loop, Rank
from idxdd.service.tasks import Fail, Refused, Resume, Wait

RECORD_BYTES_MAX = 64
"""A completion record that idxdd-irq asks to be delivered."""
FRAMES_PER_TURN_MAX = 64
DEATHS_MAX = 3

Frame = tuple[Mapping[str, Any], Sequence[int]]
"""Keys and descriptors; the descriptors stay their caller's."""


@dataclass
class Verb:
    """A verb not answered yet; `repeat`: a successor gets it too; `deaths`: of how many idxdd-irq that had it."""

    frame: Frame
    resume: Resume
    fail: Fail
    repeat: bool
    deaths: int = 0


class Link:
    """Our end; without an idxdd-irq verbs wait for the next one."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        ask: Callable[[str, int, Callable[[], None]], None],
        copy: Callable[[Mapping[str, Any]], int],
        lost: Callable[[str], None],
    ) -> None:
        """`ask(what, channel, done)` does what idxdd-irq asks for, then calls done; `copy(frame)` writes a record into a
        client's memory and returns how many bytes; `lost(why)`: it cannot be talked to."""
        self._loop = loop
        self._log = log
        self._ask = ask
        self._copy = copy
        self.swerr: Callable[[int], None] = lambda wq: None
        """idxdd-irq wakes the pollers of this user WQ."""
        self._lost = lost
        self._sock: socket.socket | None = None
        self._verbs: dict[int, Verb] = {}
        self._next_id = 1
        self._outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        self._last_line = 0

    def connect(self, sock: socket.socket) -> None:
        """A new idxdd-irq. The supervisor sends adopt first, then repeat()."""
        assert self._sock is None
        sock.setblocking(False)
        self._sock = sock
        self._loop.register(sock.fileno(), Rank.LINK, self._ready, READ)

    def disconnect(self) -> None:
        """idxdd-irq is gone; verbs to be repeated wait for the next one. Idempotent."""
        sock, self._sock = self._sock, None
        self._outbox.clear()
        self._verbs = {number: verb for number, verb in self._verbs.items() if verb.repeat}
        if sock is not None:
            self._loop.unregister(sock.fileno())
            sock.close()

    def drain(self) -> None:
        """idxdd-irq has died: what it answered before counts, and need not be done again."""
        with contextlib.suppress(BadFrame, OSError):
            while self._sock is not None and (frame := wire.receive(self._sock, fds_max=0)) is not None:
                self._take(protocol.decode(frame.payload, bytes_max=RECORD_BYTES_MAX))

    def blame(self) -> None:
        """It died of itself: whichever verb it had may be why. After disconnect()."""
        for number, verb in list(self._verbs.items()):
            verb.deaths += 1
            if verb.deaths >= DEATHS_MAX:
                del self._verbs[number]
                text = f"verb {verb.frame[0]['verb']}: {DEATHS_MAX} idxdd-irq in succession died while it was under way"
                self._log.error(f"{text}; it is not sent again")
                verb.fail(Refused("EIO", text))

    def repeat(self) -> None:
        """Send the successor what its predecessor left unanswered."""
        for verb in list(self._verbs.values()):
            if verb.repeat:
                self._send(*verb.frame)

    def verb(self, name: str, fds: Sequence[int] = (), **arguments: Any) -> Wait:
        """Ask idxdd-irq, whichever lives; the wait returns its answer's map or raises Refused with its error."""
        return lambda resume, fail: self.call(name, arguments, fds, resume, fail, repeat=True)

    def call(
        self, name: str, arguments: Mapping[str, Any], fds: Sequence[int], resume: Resume, fail: Fail, *, repeat: bool
    ) -> None:
        """Send one verb; not repeated, it is forgotten when this idxdd-irq dies."""
        number, self._next_id = self._next_id, self._next_id + 1
        frame = ({"id": number, "verb": name, **arguments}, fds)
        self._verbs[number] = Verb(frame, resume, fail, repeat)
        self._send(*frame)

    def send(self, frame: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """A frame that has no answer."""
        self._send(frame, fds)

    @property
    def unanswered(self) -> int:
        """Verbs sent or waiting."""
        return len(self._verbs)

    # ---- frames out ------------------------------------------------------------------------------------------------

    def _send(self, frame: Mapping[str, Any], fds: Sequence[int]) -> None:
        if self._sock is None:
            return
        self._outbox.append((protocol.encode(frame), fds))
        self._flush()

    def _flush(self) -> None:
        sock = self._sock
        try:
            while sock is not None and self._outbox and wire.send(sock, *self._outbox[0]):
                self._outbox.popleft()
        except OSError:  # it died: its pidfd says so
            self._outbox.clear()
        if sock is not None:
            self._loop.modify(sock.fileno(), READ | WRITE if self._outbox else READ)

    # ---- frames in -------------------------------------------------------------------------------------------------

    def _ready(self, _events: int) -> None:
        self._flush()
        for _ in range(FRAMES_PER_TURN_MAX):
            sock = self._sock
            if sock is None:
                return
            try:
                frame = wire.receive(sock, fds_max=0)
                if frame is None:
                    return self._lost("it closed its link")
                self._take(protocol.decode(frame.payload, bytes_max=RECORD_BYTES_MAX))
            except BlockingIOError:
                return
            except BadFrame as error:
                return self._lost(f"it sent a bad frame: {error}")
            except OSError as error:
                return self._lost(f"its link broke: {error.strerror}")

    def _take(self, frame: dict[str, Any]) -> None:
        if "event" in frame:
            self._event(frame)
        elif frame.get("what") == "copy":
            self._send({"answer": frame["ask"], "copied": self._copy(frame)}, ())
        elif "ask" in frame:
            number, asker = frame["ask"], self._sock

            def done() -> None:
                if self._sock is asker:  # a successor counts its questions from one again
                    self._send({"answer": number}, ())

            self._ask(str(frame.get("what")), int(frame.get("channel", frame.get("device", 0))), done)
        else:
            self._answered(frame)

    def _answered(self, frame: dict[str, Any]) -> None:
        verb = self._verbs.pop(frame.get("id", 0), None)
        if verb is None:
            return  # answered twice: once by a predecessor
        error = frame.get("error")
        if isinstance(error, dict):
            verb.fail(Refused(str(error.get("code", "EIO")), str(error.get("text", ""))))
        else:
            verb.resume(frame.get("ok", {}))

    def _event(self, frame: dict[str, Any]) -> None:
        """Log lines are numbered across lives: a successor may repeat the last one."""
        number = frame.pop("number", 0)
        if frame["event"] == "swerr":
            return self.swerr(int(frame.get("wq", -1)))
        if frame.pop("event") != "log" or (number and number <= self._last_line):
            return
        self._last_line = max(self._last_line, number)
        level, text = str(frame.pop("level", "info")), str(frame.pop("text", ""))
        self._log.line(level, text, **{str(key): value for key, value in frame.items()})
