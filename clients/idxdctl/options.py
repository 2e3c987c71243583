"""Options that many commands share, and the connection they ask through."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from idxdctl.output import Failed
from idxdd.control.client import ControlClient, connect
from idxdd.control.protocol import BadFrame
from idxdd.control.wire import close_all

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Socket = Annotated[str | None, typer.Option("--socket", help="The daemon's socket; else IDXDD_SOCKET, else the default.")]
Wq = Annotated[str, typer.Option("--wq", help="Work queue, for example dsa0/wq0.1.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds to wait for one descriptor.")]
DEFAULT_WQ = "dsa0/wq0.1"
Force = Annotated[bool, typer.Option("-f", "--force", help="Also when clients are using it.")]


def ask(connection: ControlClient, op: str, **arguments: Any) -> dict[str, Any]:
    """One request whose answer has no descriptors. Failed: the arguments do not fit into a request."""
    try:
        answer, fds = connection.request(op, **arguments)
    except (BadFrame, ValueError) as error:
        raise Failed(str(error)) from None
    close_all(fds)
    return answer


def ask_once(socket: str | None, op: str, **arguments: Any) -> dict[str, Any]:
    """Connect, ask, disconnect."""
    with connect(socket) as connection:
        return ask(connection, op, **arguments)


def all_stats(connection: ControlClient) -> dict[str, Any]:
    """Every page of stats in one."""
    counted = page = ask(connection, "stats")
    while page["more"]:
        page = ask(connection, "stats", after=page["clients"][-1]["pasid"])
        counted["clients"] += page["clients"]
    return counted
