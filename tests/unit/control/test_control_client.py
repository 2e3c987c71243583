"""The blocking client: each way a daemon can be absent, silent, foreign or gone has its own named error and a bound in time."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idxdd.control import protocol, wire
from idxdd.control.client import (
    DaemonAbsent,
    DeviceGone,
    PermissionDenied,
    ProtocolError,
    RequestError,
    SocketPathTooLong,
    connect,
)
from idxdd.control.exitcodes import MEANING, ExitCode

Reply = Callable[[socket.socket, protocol.Request], None]
Serve = Callable[[Reply], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A daemon of one thread: each request of one connection goes to `reply`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    threads: list[threading.Thread] = []
    path = str(tmp_path / "s")

    def start(reply: Reply) -> str:
        listener.bind(path)
        listener.listen(4)

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                while (frame := wire.receive(sock)) is not None:
                    reply(sock, protocol.parse_request(frame.payload))

        threads.append(threading.Thread(target=answer))
        threads[0].start()
        return path

    yield start
    listener.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def good(sock: socket.socket, request: protocol.Request) -> None:
    wire.send(sock, protocol.encode_answer(request.id, {"version": 1, "op": request.op}))


def test_request_and_answer(serve: Serve) -> None:
    """The plain case: hello is said by connect, requests are answered in order."""
    with connect(serve(good)) as client:
        assert client.hello["op"] == "hello"
        assert client.request("alloc", size=1) == ({"version": 1, "op": "alloc"}, [])


def test_a_refusal_carries_code_and_text(serve: Serve) -> None:
    """A program decides by the code; a person reads the text."""

    def reply(sock: socket.socket, request: protocol.Request) -> None:
        if request.op == "hello":
            return good(sock, request)
        wire.send(sock, protocol.encode_error(request.id, "EBUSY", "taken"))

    with connect(serve(reply)) as client:
        with pytest.raises(RequestError, match="open: taken") as refused:
            client.request("open", wq="dsa0/wq0.0")
        assert refused.value.code == "EBUSY"


def test_absent(tmp_path: Path) -> None:
    """No socket, or a socket nobody listens on: the same name, and the exit code of the table."""
    with pytest.raises(DaemonAbsent, match="no daemon at") as absent:
        connect(str(tmp_path / "none"))
    assert absent.value.exit_code is ExitCode.DAEMON_ABSENT
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    with pytest.raises(DaemonAbsent):
        connect(str(tmp_path / "stale"))
    (tmp_path / "file").touch()
    with pytest.raises(DaemonAbsent):
        connect(str(tmp_path / "file"))


def test_path_too_long(tmp_path: Path) -> None:
    """The kernel's own message would be "AF_UNIX path too long", without the path or the limit."""
    with pytest.raises(SocketPathTooLong, match="at most 107"):
        connect(str(tmp_path / ("x" * 108)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everything")
def test_no_permission(tmp_path: Path) -> None:
    """A directory that may not be entered is not an absent daemon."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(PermissionDenied):
        connect(str(closed / "s"))
    closed.chmod(0o700)


def test_another_version(serve: Serve) -> None:
    """Refused at hello, not at some later key."""
    with pytest.raises(ProtocolError, match="speaks version 2"):
        connect(serve(lambda sock, request: wire.send(sock, protocol.encode_answer(request.id, {"version": 2})) and None))


@pytest.mark.parametrize("payload", [b"\xc1", b"\x80", protocol.encode({"id": 99, "ok": {}})])
def test_something_else_answers(serve: Serve, payload: bytes) -> None:
    """Garbage, or the answer to another request, is never taken for this one's."""
    with pytest.raises(ProtocolError, match="hello: "):
        connect(serve(lambda sock, request: wire.send(sock, payload) and None))


def test_silence_ends_in_time(serve: Serve) -> None:
    """A stopped daemon: the call ends at its time-out, and the connection with it."""

    def reply(sock: socket.socket, request: protocol.Request) -> None:
        if request.op == "hello":
            good(sock, request)

    client = connect(serve(reply), timeout=0.2)
    with pytest.raises(DeviceGone, match="does not answer"):
        client.request("list")
    with pytest.raises(DeviceGone, match="is closed"):
        client.request("list")


def test_the_daemon_leaves(serve: Serve) -> None:
    """Killed between two requests, or within one: a named error, no hang."""

    def reply(sock: socket.socket, request: protocol.Request) -> None:
        if request.op == "hello":
            return good(sock, request)
        sock.shutdown(socket.SHUT_RDWR)

    with connect(serve(reply)) as client, pytest.raises(DeviceGone, match="closed the connection"):
        client.request("list")


def test_a_full_backlog_ends_in_time(tmp_path: Path) -> None:
    """A stopped daemon accepts nobody: connecting must end too."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(0)
        first = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with first:
            first.connect(path)
            with pytest.raises(DeviceGone, match="does not accept"):
                connect(path, timeout=0.1)


def test_every_exit_code_has_a_meaning() -> None:
    """The README's table is made of these."""
    assert set(MEANING) == set(ExitCode)
