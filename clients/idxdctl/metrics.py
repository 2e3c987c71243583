"""idxdctl metrics: counters as Prometheus reads them, printed once or served on a Unix socket.

The daemon answers `stats` and knows nothing of HTTP; who serves is this process, which may hang or die without harm.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket as sockets
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from idxdctl.observe import user_of
from idxdctl.options import Socket, all_stats
from idxdctl.output import Failed, say
from idxdd.control.address import check_length
from idxdd.control.client import connect
from idxdd.control.errors import ControlError
from idxdd.control.exitcodes import ExitCode

REQUEST_BYTES_MAX = 8192
REQUEST_S = 2.0
WQ_COUNTERS = {
    "accepted": "Descriptors taken from portals.",
    "completed": "Descriptors whose record was written.",
    "aborted": "Descriptors given up.",
    "bytes": "Bytes moved.",
    "retries": "Submissions answered with retry.",
    "errors": "Descriptors that ended with an error.",
    "faults": "Page faults.",
    "interrupts": "Completion interrupts raised.",
}
WQ_GAUGES = {"occupancy": "Descriptors in the work queue now.", "portals": "Portals open now."}
USER_GAUGES = {"clients": "Clients now.", "client_buffer_bytes": "Bytes of client buffers.", "client_portals": "Open portals."}
Sample = tuple[dict[str, str], float]


def prometheus(counted: dict[str, Any]) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    for name, text in WQ_COUNTERS.items():
        _metric(lines, f"idxdd_wq_{name}_total", "counter", text, [({"wq": wq["wq"]}, wq[name]) for wq in counted["wqs"]])
    for name, text in WQ_GAUGES.items():
        _metric(lines, f"idxdd_wq_{name}", "gauge", text, [({"wq": wq["wq"]}, wq[name]) for wq in counted["wqs"]])
    users: dict[str, list[int]] = {}
    for client in counted["clients"]:
        entry = users.setdefault(user_of(client["uid"]), [0, 0, 0])
        entry[0] += 1
        entry[1] += client["buffer_bytes"]
        entry[2] += len(client["portals"])
    for position, (name, text) in enumerate(USER_GAUGES.items()):
        _metric(lines, f"idxdd_{name}", "gauge", text, [({"user": user}, values[position]) for user, values in users.items()])
    for key in ("commands", "faults", "errors", "dropped", "resets"):
        samples = [({"device": device["name"]}, device[key]) for device in counted["devices"]]
        _metric(lines, f"idxdd_device_{key}_total", "counter", f"Device: {key}.", samples)
    enabled = [({"device": device["name"]}, device["wqs_enabled"]) for device in counted["devices"]]
    _metric(lines, "idxdd_device_wqs_enabled", "gauge", "Work queues enabled.", enabled)
    _metric(lines, "idxdd_irq_restarts_total", "counter", "idxdd-irq restarted.", [({}, counted["irq"]["restarts"])])
    _metric(lines, "idxdd_irq_unanswered", "gauge", "Verbs idxdd-irq has not answered.", [({}, counted["irq"]["unanswered"])])
    _metric(lines, "idxdd_generation", "gauge", "Generation of the device.", [({}, counted["generation"])])
    return "\n".join(lines) + "\n"


def _metric(lines: list[str], name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics(
    listen: Annotated[str | None, typer.Option("--listen", metavar="PATH", help="Serve HTTP on this Unix socket.")] = None,
    socket: Socket = None,
) -> None:
    """Counters in Prometheus's text format."""
    if listen is None:
        with connect(socket) as connection:
            print(prometheus(all_stats(connection)), end="")
        return
    serve(listen, socket)


def serve(path: str, daemon: str | None) -> None:
    """Answer one scrape after the other until SIGTERM or Ctrl-C; each has REQUEST_S. Failed: the path is taken."""
    check_length(path)
    ended: list[int] = []
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_CLOEXEC)
    with listener:
        try:
            listener.bind(path)
        except OSError as error:
            raise Failed(f"metrics: cannot listen at {path}: {error.strerror}", ExitCode.SOCKET_TAKEN) from None
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
                body = prometheus(all_stats(connection)).encode()
        except ControlError as error:
            status, body = "503 Service Unavailable", f"{error}\n".encode()
        head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("metrics", rich_help_panel="Looking")(metrics)
