"""The blocking client side of the control socket, for idxd_client and idxdctl: one request, one answer, one time-out."""

import contextlib
import os
import re
import socket
import threading
import time
from typing import Any, Self

from idxdd.control import protocol, wire
from idxdd.control.address import ENVIRONMENT, SYSTEM_DIRECTORY, check_length, client_socket_path
from idxdd.control.errors import (
    ControlError,
    DaemonAbsent,
    DeviceGone,
    NotAllowed,
    PermissionDenied,
    ProtocolError,
    RequestError,
    SocketPathTooLong,
)
from idxdd.control.protocol import BadFrame
from idxdd.control.roles import peer_credentials

__all__ = [
    "ControlClient",
    "ControlError",
    "DaemonAbsent",
    "DeviceGone",
    "PermissionDenied",
    "ProtocolError",
    "RequestError",
    "SocketPathTooLong",
    "connect",
]

TIMEOUT_S = 10.0
_OF_THE_USER = re.compile(r"needs the .* role, which uid|has the user role only|is not open to uid")
"""The daemon's words: the driver refuses with the same errnos what the device's state forbids."""


class ControlClient:
    """A connection after its hello. `hello` is that answer, `hello_fds` its descriptors: whoever takes them owns them.

    Threads may share it: a lock keeps a request and its answer together. It is its process's alone: a forked child is refused.
    """

    def __init__(self, sock: socket.socket, path: str) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._next_id = 1
        self._owner = os.getpid()
        self.path = path
        self.hello: dict[str, Any] = {}
        self.hello_fds: list[int] = []

    def fileno(self) -> int:
        """The socket: it becomes readable (EOF) when the daemon goes."""
        return self._sock.fileno()

    def request(self, op: str, **arguments: Any) -> tuple[dict[str, Any], list[int]]:
        """Ask once; (answer, descriptors, which are then the caller's).

        RequestError: refused. DeviceGone: the daemon left or did not answer in time. ProtocolError: not an answer.
        """
        with self._lock:
            if self._sock.fileno() < 0 or os.getpid() != self._owner:
                raise DeviceGone(f"{op}: the connection to {self.path} is closed")
            request_id, self._next_id = self._next_id, self._next_id + 1
            frame = self._exchange(op, protocol.encode_request(request_id, op, arguments))
            try:
                answer = protocol.parse_answer(frame.payload)
                if answer.id not in (request_id, 0):
                    raise BadFrame(f"answer to request {answer.id}, not {request_id}")
            except BadFrame as error:
                frame.close()
                self._sock.close()
                raise ProtocolError(f"{op}: the daemon at {self.path} answered something else: {error}") from None
        if answer.ok is None:
            frame.close()
            raise _refusal(op, answer.code, answer.text)
        return answer.ok, frame.fds

    def _exchange(self, op: str, payload: bytes) -> wire.Frame:
        try:
            wire.send(self._sock, payload)
            frame = wire.receive(self._sock)
        except TimeoutError:
            self._sock.close()  # a late answer must not meet the next request
            raise DeviceGone(f"{op}: the daemon at {self.path} does not answer") from None
        except BadFrame as error:
            self._sock.close()
            raise ProtocolError(f"{op}: the daemon at {self.path} answered something else: {error}") from None
        except OSError as error:
            self._sock.close()
            raise DeviceGone(f"{op}: the daemon at {self.path} went away: {error.strerror}") from None
        if frame is None:
            self._sock.close()
            raise DeviceGone(f"{op}: the daemon at {self.path} closed the connection")
        return frame

    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""
        return self._sock.gettimeout() or 0.0

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        with contextlib.suppress(OSError):  # it was closed meanwhile: the next request says so
            self._sock.settimeout(max(0.001, seconds))

    def close(self) -> None:
        """End the session: the daemon gives everything of it back. Idempotent."""
        self._sock.close()
        wire.close_all(self.hello_fds)
        self.hello_fds = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refusal(op: str, code: str, text: str) -> ControlError:
    if code == "EPROTO":
        return ProtocolError(f"{op}: {text}")
    refused = NotAllowed if code in ("EPERM", "EACCES") and _OF_THE_USER.search(text) else RequestError
    return refused(code, f"{op}: {text}")


def connect(path: str | None = None, timeout: float = TIMEOUT_S) -> ControlClient:
    """Connect to the daemon at `path` (default: IDXDD_SOCKET, this user's, the system's) and say hello.

    `timeout` in seconds bounds connecting and every later request. DaemonAbsent, PermissionDenied, SocketPathTooLong,
    ProtocolError (another version, or not idxdd), DeviceGone.
    """
    named = path or os.environ.get(ENVIRONMENT)
    path = named or client_socket_path()
    sock = _connected(path, timeout)
    if not named:
        _trust(sock, path)
    client = ControlClient(sock, path)
    try:
        client.hello, client.hello_fds = client.request("hello")
        version = client.hello.get("version")
        if version != protocol.VERSION:
            raise ProtocolError(f"the daemon at {path} speaks version {version}, this client {protocol.VERSION}")
    except BaseException:
        client.close()
        raise
    return client


def _connected(path: str, timeout: float) -> socket.socket:
    check_length(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        _connect(sock, path, time.monotonic() + timeout)
    except BaseException:
        sock.close()
        raise
    return sock


def _trust(sock: socket.socket, path: str) -> None:
    """A default path may lie in /tmp, where anyone can listen: only this user and root are believed there."""
    _, uid, _ = peer_credentials(sock)
    if uid not in (0, os.geteuid()) and not path.startswith(SYSTEM_DIRECTORY + "/"):
        sock.close()
        raise PermissionDenied(f"the socket {path} belongs to uid {uid}, neither this user's nor root's")


def _connect(sock: socket.socket, path: str, deadline: float) -> None:
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:  # the backlog is full and a Unix socket does not wait for it with a time-out set
            if time.monotonic() >= deadline:
                raise DeviceGone(f"the daemon at {path} does not accept connections") from None
            time.sleep(0.005)
        except TimeoutError:
            raise DeviceGone(f"the daemon at {path} does not accept connections") from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise DaemonAbsent(f"no daemon at {path}: start one with `idxdd serve`, or set IDXDD_SOCKET") from None
        except PermissionError:
            raise PermissionDenied(f"no permission to connect to {path}") from None
        except OSError as error:
            raise DaemonAbsent(f"cannot connect to {path}: {error.strerror}") from None
