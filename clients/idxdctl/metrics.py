"""idxdctl metrics: the daemon's counters as Prometheus reads them, printed once or served on a Unix socket by this process."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket as sockets
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, ask
from idxdctl.output import Failed, print_json, say
from idxdd.control.address import check_length
from idxdd.control.client import ControlClient, connect
from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode

REQUEST_BYTES_MAX = 8192
REQUEST_S = 2.0
SAMPLE = re.compile(r"(?P<name>[a-z_:][a-z0-9_:]*)(\{(?P<labels>.*)\})? (?P<value>[0-9.eE+-]+)")
ADDRESS = re.compile(r"[^/]*:[0-9]+|[0-9]+")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def text_of(connection: ControlClient) -> str:
    """The daemon's text, page by page."""
    text, more = "", True
    while more:
        answer = ask(connection, "metrics", **({"after": len(text)} if text else {}))
        text, more = text + answer["text"], answer["more"]
    return text


def metrics(
    listen: Annotated[str | None, typer.Option("--listen", metavar="PATH", help="Serve HTTP on this Unix socket.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Counters in Prometheus's text format.

    By work queue, operation, status and client's user; of devices, the engine and idxdd-irq. The daemon can serve them
    itself: `idxdd serve --metrics-listen 127.0.0.1:9464`, or a path (setting metrics.listen); --listen serves them from
    this process.
    """
    if listen is None:
        with connect(socket) as connection:
            text = text_of(connection)
        if json:
            print_json("metrics", {"samples": samples(text)})
        else:
            print(text, end="")
        return
    serve(listen, socket)


def samples(text: str) -> list[dict[str, Any]]:
    """Each line that is no comment: name, labels, value."""
    found = []
    for line in text.splitlines():
        sample = SAMPLE.fullmatch(line)
        if sample:
            labels = {key: _plain(value) for key, value in LABEL.findall(sample["labels"] or "")}
            found.append({"name": sample["name"], "labels": labels, "value": float(sample["value"])})
    return found


def _plain(label: str) -> str:
    return re.sub(r"\\(.)", lambda escaped: "\n" if escaped[1] == "n" else escaped[1], label)


def serve(path: str, daemon: str | None) -> None:
    """Answer one scrape after the other until SIGTERM or Ctrl-C; each has REQUEST_S. Failed: the path is taken."""
    if ADDRESS.fullmatch(path):
        raise Failed(
            f"metrics: --listen {path} is an address, and takes a path here",
            ExitCode.USAGE,
            hint="the daemon itself serves addresses: `idxdd serve --metrics-listen 127.0.0.1:9464`",
        )
    check_length(path)
    ended: list[int] = []
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_CLOEXEC)
    with listener:
        try:
            listener.bind(path)
        except OSError as error:
            taken = ExitCode.SOCKET_TAKEN if error.errno == errno.EADDRINUSE else ExitCode.FAILED
            raise Failed(f"metrics: cannot listen at {path}: {error.strerror}", taken) from None
        try:
            os.chmod(path, 0o660)
            listener.listen(8)
            listener.settimeout(0.2)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, _frame: ended.append(number))
            say(f"metrics at {path}")
            while not ended:
                with contextlib.suppress(TimeoutError):
                    client, _ = listener.accept()
                    _answer(client, daemon)
        finally:
            os.unlink(path)


def _answer(client: sockets.socket, daemon: str | None) -> None:
    """Whatever was asked gets the metrics; a daemon that is away is a 503."""
    with client, contextlib.suppress(OSError):
        client.settimeout(REQUEST_S)
        request = b""
        while b"\r\n\r\n" not in request and len(request) < REQUEST_BYTES_MAX:
            chunk = client.recv(REQUEST_BYTES_MAX - len(request))
            if not chunk:
                break
            request += chunk
        if not request.startswith(b"GET "):
            return client.sendall(b"HTTP/1.0 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n")
        status = "200 OK"
        try:
            with connect(daemon, REQUEST_S) as connection:
                body = text_of(connection).encode()
        except ControlError as error:
            status, body = "503 Service Unavailable", f"{error}\n".encode()
        head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("metrics", rich_help_panel="Looking")(metrics)
