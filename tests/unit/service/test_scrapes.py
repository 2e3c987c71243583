"""Metrics over HTTP: what a scraper gets, and that nobody who connects can hurt the loop it runs in."""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from waiting import wait_until

from idxdd.service import scrapes
from idxdd.service.listen import SocketTaken
from idxdd.service.logs import Log
from idxdd.service.loop import Loop
from idxdd.service.scrapes import Address, Scrapes, answer, parse_address


class Text:
    """Metrics of a fixed length."""

    def __init__(self, length: int = 100) -> None:
        self.told = "x" * length
        self.made = 0

    def text(self) -> str:
        self.made += 1
        return self.told


class Served:
    """A listener in a loop that the test turns."""

    def __init__(self, directory: Path, length: int = 100) -> None:
        self.path = str(directory / "m")
        self.loop = Loop()
        self.metrics = Text(length)
        self.scrapes = Scrapes(self.loop, Log(), cast(Any, self.metrics), Address(path=self.path))

    def turn(self) -> None:
        self.loop.handle(self.loop.wait(block=False))
        self.loop.timers.run_due()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.setblocking(False)
        return sock

    def read_all(self, sock: socket.socket) -> bytes:
        found = bytearray()

        def ended() -> bool:
            self.turn()
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            found.extend(data)
            return not data

        wait_until(ended, 10, "the connection ends")
        return bytes(found)

    def close(self) -> None:
        self.scrapes.close()
        self.loop.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()
    assert not Path(made.path).exists()


def test_a_scrape_gets_the_text(served: Served) -> None:
    """One request, one answer, closed; however the request is cut into pieces."""
    with served.connect() as sock:
        for piece in (b"GET /met", b"rics?x=1 HTTP/1.1\r\nHost:", b" x\r\n\r\n"):
            sock.send(piece)
            served.turn()
        found = served.read_all(sock)
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 100" in head
    assert body == b"x" * 100


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.0\n\n", 200),
        (b"HEAD / HTTP/1.1\r\n\r\n", 200),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x00\xff\x00\r\n\r\n", 400),
        (b"GET /metrics SIP/2.0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_every_request_has_its_status(request_: bytes, status: int) -> None:
    """As RFC 9112 has it; HEAD has no body."""
    found = answer(request_, lambda: b"body")
    assert found.startswith(b"HTTP/1.1 %d " % status)
    assert found.endswith(b"body") == (status == 200 and request_.startswith(b"GET"))
    head = found.partition(b"\r\n\r\n")[0]
    assert head.count(b"Content-Length:") == 1


def test_a_request_without_end_is_refused(served: Served) -> None:
    """8 KiB are enough for any scraper."""
    with served.connect() as sock:
        sock.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000)
        assert served.read_all(sock).startswith(b"HTTP/1.1 431")


def test_who_says_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection has so many seconds, for request and answer together."""
    monkeypatch.setattr(scrapes, "CONNECTION_S", 0.05)
    with served.connect() as silent, served.connect() as half:
        half.send(b"GET")
        assert served.read_all(silent) == b""
        assert served.read_all(half) == b""


def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large answer waits in our memory for so long only, and the loop never waits with it."""
    monkeypatch.setattr(scrapes, "CONNECTION_S", 0.2)
    served = Served(tmp_path, 1 << 23)
    try:
        with served.connect() as sock:
            sock.send(b"GET / HTTP/1.1\r\n\r\n")
            wait_until(lambda: (served.turn(), served.metrics.made)[1], 10, "it was asked")
            wait_until(lambda: (served.turn(), not served.scrapes._connections)[1], 10, "it is cut off")
            assert len(served.read_all(sock)) < 1 << 23
    finally:
        served.close()


def all_taken(served: Served) -> list[socket.socket]:
    """As many connections as there may be, oldest first; none has said anything."""
    socks = [served.connect() for _ in range(scrapes.BACKLOG)]
    wait_until(lambda: (served.turn(), len(served.scrapes._connections) == scrapes.CONNECTIONS_MAX)[1], 10, "all are taken")
    return socks


def test_silent_connections_do_not_keep_a_scraper_out(served: Served) -> None:
    """Who came first and has asked nothing makes room, also if it has begun to; the others are served as ever."""
    socks = all_taken(served)
    socks[0].send(b"GET / HTTP/1.1\r\n")
    for turned_away in socks[:2]:
        with served.connect() as beyond:
            beyond.send(b"GET / HTTP/1.1\r\n\r\n")
            assert served.read_all(beyond).endswith(b"x" * 100)
        assert served.read_all(turned_away) == b""
        socks.append(served.connect())
        wait_until(lambda: (served.turn(), len(served.scrapes._connections) == scrapes.CONNECTIONS_MAX)[1], 10, "one more")
    socks[2].send(b"GET / HTTP/1.1\r\n\r\n")
    assert served.read_all(socks[2]).endswith(b"x" * 100)
    for sock in socks:
        sock.close()
    wait_until(lambda: (served.turn(), not served.scrapes._connections)[1], 10, "all are gone")
    assert served.scrapes.refused == 2


def test_who_has_asked_is_not_turned_away(tmp_path: Path) -> None:
    """Its answer is under way: one that comes later is closed at once."""
    served = Served(tmp_path, 1 << 23)
    try:
        socks = all_taken(served)
        for sock in socks:
            sock.send(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(lambda: (served.turn(), served.metrics.made == len(socks))[1], 10, "all have asked")
        with served.connect() as beyond:
            assert served.read_all(beyond) == b""
        assert len(served.scrapes._connections) == scrapes.CONNECTIONS_MAX
        assert all(sock.recv(64).startswith(b"HTTP/1.1 200") for sock in socks)
        for sock in socks:
            sock.close()
    finally:
        served.close()


def test_no_descriptor_left_does_not_keep_the_loop_awake(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose accept fails stays readable: it is looked at again after a while."""
    monkeypatch.setattr(scrapes, "ACCEPT_AGAIN_S", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served.connect() as sock:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            served.turn()
            assert served.loop.wait(block=False) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        assert served.read_all(sock).endswith(b"x" * 100)


def test_a_living_listener_is_left_alone_and_a_dead_one_is_not(served: Served, tmp_path: Path) -> None:
    """As with the control socket."""
    with pytest.raises(SocketTaken, match="another daemon listens"):
        Served(tmp_path)
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(dead))
    again = Scrapes(served.loop, Log(), cast(Any, served.metrics), Address(path=str(dead)))
    again.close()
    plain = tmp_path / "file"
    plain.write_text("x")
    with pytest.raises(SocketTaken, match="not a socket"):
        Scrapes(served.loop, Log(), cast(Any, served.metrics), Address(path=str(plain)))


def test_a_port_of_the_loopback(tmp_path: Path) -> None:
    """TCP as well, for a Prometheus that knows nothing of Unix sockets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loop = Loop()
    served = Scrapes(loop, Log(), cast(Any, Text()), parse_address(f"localhost:{port}"))
    found: list[bytes] = []

    def scrape() -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            found.append(sock.recv(65536))

    client = threading.Thread(target=scrape)
    client.start()
    try:
        wait_until(lambda: (loop.handle(loop.wait(block=False)), found)[1], 10, "the answer")
    finally:
        client.join()
        served.close()
        loop.close()
    assert found[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/x", "/run/x"),
        ("unix:/run/x", "/run/x"),
        ("127.0.0.1:9464", "127.0.0.1:9464"),
        ("127.9.9.9:1", "127.9.9.9:1"),
        ("localhost:80", "127.0.0.1:80"),
        ("[::1]:9464", "[::1]:9464"),
    ],
)
def test_addresses_that_are_taken(text: str, address: str) -> None:
    """A path, or a port of this machine."""
    assert str(parse_address(text)) == address


@pytest.mark.parametrize("text", ["0.0.0.0:9464", "[::]:80", "192.168.1.2:80", "8.8.8.8:1", "example.org:80", "9464", "", 9464])
def test_other_addresses_are_refused(text: object) -> None:
    """Counters of other people's programs are not for the network."""
    with pytest.raises(ValueError, match=r"loopback|must be a path"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x"])
def test_a_port_is_needed(text: str) -> None:
    """In words that say what is missing."""
    with pytest.raises(ValueError, match="port"):
        parse_address(text)
