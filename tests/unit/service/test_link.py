"""The link to idxdd-irq across its deaths: what it said counts once, and nobody is told what was meant for another."""

import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from idxdd.control import protocol, wire
from idxdd.control.protocol import BadFrame
from idxdd.service.link import DEATHS_MAX, RECORD_BYTES_MAX, Link
from idxdd.service.logs import Log
from idxdd.service.loop import Loop
from idxdd.service.supervisor import Supervisor


class NoLoop:
    """A loop that never calls: the test says when something is read."""

    def register(self, *_arguments: object) -> None: ...
    def unregister(self, *_arguments: object) -> None: ...
    def modify(self, *_arguments: object) -> None: ...


class Irq:
    """The far ends of the lives of an idxdd-irq."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []
        self.said: list[str] = []
        self.link = Link(
            cast(Loop, NoLoop()),
            cast(Log, None),
            lambda what, channel, done: self.asked.append(done),
            self.copy,
            self.said.append,
        )
        self.sockets: list[socket.socket] = []

    def copy(self, frame: Mapping[str, Any]) -> int:
        return len(frame["record"])

    def lives(self) -> socket.socket:
        """A new one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        self.sockets += [ours, theirs]
        self.link.connect(ours)
        return theirs

    def verb(self, name: str, answers: list[Any]) -> None:
        self.link.call(name, {}, (), answers.append, answers.append, repeat=True)


def say(sock: socket.socket, **frame: Any) -> None:
    assert wire.send(sock, protocol.encode(frame))


def heard(sock: socket.socket) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while True:
        try:
            frame = wire.receive(sock)
        except BlockingIOError:
            return frames
        assert frame is not None
        frames.append(protocol.decode(frame.payload))


@pytest.fixture
def irq() -> Iterator[Irq]:
    irq = Irq()
    yield irq
    for sock in irq.sockets:
        sock.close()


def test_what_it_answered_before_it_died_counts(irq: Irq) -> None:
    """Else a successor does a verb again that its caller could have been told the result of."""
    answers: list[Any] = []
    first = irq.lives()
    irq.verb("list", answers)
    irq.verb("ping", answers)
    assert [frame["verb"] for frame in heard(first)] == ["list", "ping"]
    say(first, id=1, ok={"devices": []})
    first.close()
    irq.link.drain()
    irq.link.disconnect()
    assert answers == [{"devices": []}]
    second = irq.lives()
    irq.link.repeat()
    assert [(frame["id"], frame["verb"]) for frame in heard(second)] == [(2, "ping")]


def test_an_answer_to_a_predecessors_question_is_not_given_to_its_successor(irq: Irq) -> None:
    """Both count from one: a successor would take a channel for closed that is not, and sweep what still runs."""
    first = irq.lives()
    say(first, ask=1, what="fence", channel=7)
    irq.link.drain()
    irq.link.disconnect()
    second = irq.lives()
    irq.asked[0]()
    assert heard(second) == []
    say(second, ask=1, what="fence", channel=8)
    irq.link._ready(0)
    irq.asked[1]()
    assert heard(second) == [{"answer": 1}]


def test_a_garbled_last_word_ends_the_reading(irq: Irq) -> None:
    """A process may die in the middle of anything; what was good before it counts."""
    answers: list[Any] = []
    first = irq.lives()
    irq.verb("list", answers)
    say(first, id=1, ok={})
    assert wire.send(first, b"\xc1")
    irq.link.drain()
    assert answers == [{}]


def test_a_record_to_be_delivered_is_no_bad_frame() -> None:
    """It is the one binary value on the link; refused, it cost one idxdd-irq after another, each of which sent it again."""
    frame = {"ask": 1, "what": "copy", "pasid": 2, "address": (1 << 64) - 32, "record": bytes(32), "request": 5}
    assert protocol.decode(protocol.encode(frame), bytes_max=RECORD_BYTES_MAX) == frame
    with pytest.raises(BadFrame):
        protocol.decode(protocol.encode(frame))


def test_a_verb_that_three_idxdd_irq_died_of_is_answered_and_not_sent_again(irq: Irq, monkeypatch: pytest.MonkeyPatch) -> None:
    """One verb killed every successor for ever, and nobody's verb was answered again."""
    lines: list[str] = []
    monkeypatch.setattr(irq.link, "_log", SimpleNamespace(error=lines.append))
    answers: list[Any] = []
    irq.verb("list", answers)
    for _ in range(DEATHS_MAX):
        assert answers == []
        sock = irq.lives()
        irq.link.repeat()
        assert [frame["verb"] for frame in heard(sock)] == ["list"]
        irq.link.disconnect()
        irq.link.blame()
    assert [(answer.code, answer.text) for answer in answers] == [
        ("EIO", "verb list: 3 idxdd-irq in succession died while it was under way")
    ]
    assert lines == ["verb list: 3 idxdd-irq in succession died while it was under way; it is not sent again"]
    sock = irq.lives()
    irq.link.repeat()
    assert heard(sock) == []
    assert irq.link.unanswered == 0


@pytest.mark.parametrize(
    ("status", "ours", "of_itself"),
    [
        (1 << 8, False, True),
        (signal.SIGSEGV, False, True),
        (0, False, False),
        (signal.SIGKILL, False, False),
        (signal.SIGKILL, True, True),
    ],
)
def test_which_deaths_a_verb_is_blamed_for(irq: Irq, status: int, ours: bool, of_itself: bool) -> None:
    """Somebody's SIGKILL tells nothing about the verbs: those survive as many as there are; ours means that it hung."""
    supervisor = Supervisor(
        cast(Loop, NoLoop()),
        irq.link,
        cast(Log, None),
        adoption=lambda: ({}, [], []),
        adopted=lambda: None,
        failed=irq.said.append,
    )
    supervisor._killed = ours
    assert supervisor._died_of_itself(status) == of_itself
