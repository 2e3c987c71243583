"""SEQPACKET frames with descriptors: what arrives is whole, bounded, and never leaves a descriptor behind."""

import array
import os
import socket
from collections.abc import Iterator

import pytest

from idxdd.control import wire
from idxdd.control.protocol import FRAME_BYTES_MAX, BadFrame

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        yield ends


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def send_raw(sock: socket.socket, payload: bytes, fds: list[int]) -> None:
    sock.sendmsg([payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def test_descriptors_arrive_with_their_frame(pair: Pair) -> None:
    """An answer's descriptors are usable, not inheritable, and the receiver's to close."""
    reader, writer = os.pipe()
    assert wire.send(pair[0], b"take", [writer])
    os.close(writer)
    frame = wire.receive(pair[1])
    assert frame is not None
    assert frame.payload == b"take"
    assert not os.get_inheritable(frame.fds[0])
    os.write(frame.fds[0], b"x")
    frame.close()
    assert os.read(reader, 8) == b"x"
    assert os.read(reader, 8) == b""
    os.close(reader)


@pytest.mark.parametrize("count", [1, 17, 100])
def test_unwanted_descriptors_are_refused_and_closed(pair: Pair, count: int) -> None:
    """A client that sends descriptors must not fill the daemon's table: with fds_max 0 none is ever installed."""
    before = open_fds()
    null = os.open("/dev/null", os.O_RDONLY)
    send_raw(pair[0], b"x", [null] * count)
    with pytest.raises(BadFrame, match="more than 0 descriptors"):
        wire.receive(pair[1], fds_max=0)
    os.close(null)
    assert open_fds() == before


def test_too_many_descriptors_are_closed(pair: Pair) -> None:
    """Truncated control data: what did arrive is closed."""
    before = open_fds()
    null = os.open("/dev/null", os.O_RDONLY)
    send_raw(pair[0], b"x", [null] * 20)
    with pytest.raises(BadFrame, match="more than 16 descriptors"):
        wire.receive(pair[1])
    os.close(null)
    assert open_fds() == before


def test_a_long_frame_is_refused_whole(pair: Pair) -> None:
    """A datagram beyond the limit is not cut into something that might parse; its descriptors are closed."""
    before = open_fds()
    null = os.open("/dev/null", os.O_RDONLY)
    send_raw(pair[0], b"x" * (FRAME_BYTES_MAX + 1), [null])
    with pytest.raises(BadFrame, match="longer than"):
        wire.receive(pair[1])
    os.close(null)
    assert open_fds() == before
    assert wire.send(pair[0], b"x" * FRAME_BYTES_MAX)
    whole = wire.receive(pair[1])
    assert whole is not None
    assert len(whole.payload) == FRAME_BYTES_MAX


def test_the_end_is_none(pair: Pair) -> None:
    """Closing is not an error; an empty datagram, which looks the same, counts as closing."""
    pair[0].send(b"")
    assert wire.receive(pair[1]) is None
    pair[0].close()
    assert wire.receive(pair[1]) is None


def test_a_full_socket_says_so(pair: Pair) -> None:
    """A client that never reads must not stop the daemon."""
    pair[0].setblocking(False)
    sent = 0
    while wire.send(pair[0], b"x" * 4096):
        sent += 1
        assert sent < 100_000
    assert sent > 0


def test_a_gone_peer_is_an_error_and_no_signal(pair: Pair) -> None:
    """Writing to a client that left must not kill the daemon with SIGPIPE."""
    pair[1].close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        wire.send(pair[0], b"x")
