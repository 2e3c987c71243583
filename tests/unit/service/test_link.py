"""The link to idxdd-irq across its deaths: what it said counts once, and nobody is told what was meant for another."""

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from idxdd.control import protocol, wire
from idxdd.control.protocol import BadFrame
from idxdd.service.link import RECORD_BYTES_MAX, Link
from idxdd.service.logs import Log
from idxdd.service.loop import Loop


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
