"""Who lets whom reach its memory: inter-domain windows, listed and closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, ask, ask_once
from idxdctl.output import print_json, say, table
from idxdctl.sizes import format_size
from idxdd.control.client import connect


def windows(json: Json = False, socket: Socket = None) -> None:
    """Inter-domain windows: whose memory, who may reach it, and how (all of them: admin).

    A client opens a window on its own memory, with idxd_client.windows.open_window(); nobody opens one for another. PASIDs
    are those of `idxdctl clients`.
    """
    with connect(socket) as connection:
        found: list[dict[str, Any]] = ask(connection, "windows")["windows"]
    if json:
        print_json("windows", {"windows": found})
        return
    rows = [
        (
            f"{window['device']}/{window['handle']}",
            window["owner"],
            window["submitter"],
            f"{window['address']:#x}",
            format_size(window["size"]),
            _rights(window),
        )
        for window in found
    ]
    print(table(("window", "owner", "submitter", "address", "size", "rights"), rows, left=3))


def _rights(window: dict[str, Any]) -> str:
    return " ".join(right for right in ("read", "write", "offset", "update") if window[right]) or "none"


def close_window(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="For example dsa0.")],
    handle: Annotated[int, typer.Argument(metavar="HANDLE", min=0, max=65535, help="As `idxdctl windows` shows it.")],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Close an inter-domain window of any client (admin): who uses it is cut off with status 0x2e."""
    ask_once(socket, "close_window", device=device, handle=handle)
    if json:
        print_json("close-window", {"device": device, "handle": handle})
    else:
        say(f"{device}/{handle}: closed")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    commands: list[tuple[str, str, Callable[..., None]]] = [
        ("windows", "Looking", windows),
        ("close-window", "Making the device act", close_window),
    ]
    for name, panel, command in commands:
        app.command(name, rich_help_panel=panel)(command)
