"""Metrics over HTTP, on a Unix socket or a loopback port: as much of HTTP as a scraper needs, in the device loop's own epoll.

Order            a connection: one request, one answer, closed. Nothing waits for it.
Limits           CONNECTIONS_MAX at a time: one more takes the place of the oldest that has not sent its request, and is closed
                 itself if all have. REQUEST_BYTES_MAX of a request, CONNECTION_S for all of it. The text is made at most
                 every 0.1 s, however many ask.
Crash            nothing here can end the daemon: whatever a peer does, its connection ends.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idxdd.control.address import check_length
from idxdd.service.listen import remove_stale
from idxdd.service.loop import READ, WRITE, Rank

if TYPE_CHECKING:
    from idxdd.service.logs import Log
    from idxdd.service.loop import Loop
    from idxdd.service.metrics import Metrics

BACKLOG = 16
CONNECTIONS_MAX = 16
ACCEPTS_PER_TURN_MAX = 4
ACCEPT_AGAIN_S = 0.2
REQUEST_BYTES_MAX = 8192
CONNECTION_S = 5.0
METHODS = (b"GET", b"HEAD")
PATHS = (b"/metrics", b"/")
Body = Callable[[], bytes]


@dataclass(frozen=True)
class Address:
    """Where to listen: a path, or a loopback address and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


def parse_address(text: object) -> Address:
    """A path with a slash, or HOST:PORT where the host is a loopback address. ValueError says the rule."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.60} must be a path, or a loopback address and a port, as 127.0.0.1:9464")
    if "/" in text:
        return Address(path=os.path.abspath(text.removeprefix("unix:")))
    import ipaddress

    host, colon, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError(f"{text!r:.60} must be a path, or a loopback address and a port, as 127.0.0.1:9464") from None
    if not local:
        raise ValueError(f"{text!r:.60}: metrics are served on loopback addresses only; put a proxy in front for others")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r:.60} must have a port, 1 to 65535")
    return Address(host=host, port=int(port))


class Scrapes:
    """The listener and its connections."""

    def __init__(self, loop: "Loop", log: "Log", metrics: "Metrics", address: Address) -> None:
        """OSError: it cannot be listened there."""
        self._loop = loop
        self._log = log
        self._metrics = metrics
        self._address = address
        self._inode: int | None = None
        self._connections: dict[_Connection, None] = {}
        """Oldest first."""
        self.answered = self.refused = 0
        self._sock = self._bound()
        loop.register(self._sock.fileno(), Rank.LISTENER, lambda _events: self._accept())

    def _bound(self) -> socket.socket:
        address = self._address
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        if address.path:
            check_length(address.path)
            remove_stale(address.path, socket.SOCK_STREAM)
            sock = socket.socket(socket.AF_UNIX, kind)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        umask = os.umask(0o117)
        try:
            sock.bind(address.path or (address.host, address.port))
            sock.listen(BACKLOG)
            self._inode = os.lstat(address.path).st_ino if address.path else None
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(umask)
        return sock

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor left: who waits there would keep the loop awake
                return self._pause()
            if len(self._connections) >= CONNECTIONS_MAX and not self._make_room():
                sock.close()
                continue
            sock.setblocking(False)
            self._connections[_Connection(self, sock)] = None

    def _make_room(self) -> bool:
        """Somebody is turned away: who is silent longest, False if everybody has asked."""
        self.refused += 1
        silent = next((connection for connection in self._connections if not connection.asked), None)
        if silent is not None:
            silent.close()
        return silent is not None

    def _pause(self) -> None:
        self._loop.modify(self._sock.fileno(), 0)
        self._loop.timers.call_later(ACCEPT_AGAIN_S, self._go_on)

    def _go_on(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.modify(self._sock.fileno(), READ)

    def ended(self, connection: "_Connection") -> None:
        """It is closed."""
        self._connections.pop(connection, None)

    @property
    def loop(self) -> "Loop":
        return self._loop

    def body(self) -> bytes:
        """What is told."""
        self.answered += 1
        return self._metrics.text().encode()

    def close(self) -> None:
        """Stop, and remove the path if it is still ours."""
        for connection in list(self._connections):
            connection.close()
        self._loop.unregister(self._sock.fileno())
        self._sock.close()
        with contextlib.suppress(OSError):
            if self._inode is not None and os.lstat(self._address.path).st_ino == self._inode:
                os.unlink(self._address.path)


class _Connection:
    """One peer: read a request, write an answer, end."""

    def __init__(self, scrapes: Scrapes, sock: socket.socket) -> None:
        self._scrapes = scrapes
        self._sock: socket.socket | None = sock
        self._request = bytearray()
        self._answer = memoryview(b"")
        scrapes.loop.register(sock.fileno(), Rank.CLIENT, self._ready, READ)
        self._timer = scrapes.loop.timers.call_later(CONNECTION_S, self.close)

    @property
    def asked(self) -> bool:
        """Its request is complete: what it has not got yet is the answer."""
        return bool(self._answer)

    def _ready(self, _events: int) -> None:
        try:
            if self._answer:
                self._write()
            else:
                self._read()
        except OSError:
            self.close()

    def _read(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(REQUEST_BYTES_MAX + 1 - len(self._request))
        except BlockingIOError:
            return
        if not data:
            return self.close()
        self._request += data
        if b"\r\n\r\n" in self._request or b"\n\n" in self._request:
            self._begin(answer(bytes(self._request), self._scrapes.body))
        elif len(self._request) > REQUEST_BYTES_MAX:
            self._begin(_response("431 Request Header Fields Too Large"))

    def _begin(self, response: bytes) -> None:
        assert self._sock is not None
        self._answer = memoryview(response)
        self._scrapes.loop.modify(self._sock.fileno(), WRITE)
        self._write()

    def _write(self) -> None:
        assert self._sock is not None
        with contextlib.suppress(BlockingIOError):
            self._answer = self._answer[self._sock.send(self._answer) :]
        if not self._answer:
            with contextlib.suppress(OSError):  # what it still says would else reset the connection before it has read
                self._sock.shutdown(socket.SHUT_WR)
                self._sock.recv(REQUEST_BYTES_MAX)
            self.close()

    def close(self) -> None:
        """The end. Idempotent."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._timer.cancel()
            self._scrapes.loop.unregister(sock.fileno())
            sock.close()
            self._scrapes.ended(self)


def answer(request: bytes, body: Body) -> bytes:
    """The whole response to a request's bytes."""
    words = request.split(b"\r\n", 1)[0].split(b"\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _response("400 Bad Request")
    method, target = words[0], words[1].partition(b"?")[0]
    if method not in METHODS:
        return _response("405 Method Not Allowed", "Allow: GET, HEAD\r\n")
    if target not in PATHS:
        return _response("404 Not Found")
    found = body()
    head = _response("200 OK", f"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {len(found)}\r\n")
    return head if method == b"HEAD" else head + found


def _response(status: str, headers: str = "Content-Length: 0\r\n") -> bytes:
    length = "" if "Content-Length" in headers else "Content-Length: 0\r\n"
    return f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}{length}\r\n".encode()
