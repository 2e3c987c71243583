"""idxdctl evl and swerr: what devices told of errors, decoded, with what is past."""

from __future__ import annotations

import json as json_module
import time
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, ask
from idxdctl.output import SCHEMA, print_json, say
from idxdd.control.client import ControlClient, connect

FOLLOW_S = 0.2


def evl(
    device: Annotated[str, typer.Argument(metavar="[DEVICE]")] = "dsa0",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; ends with Ctrl-C.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """A device's event log, decoded (admin).

    The device writes entries at tail, the driver takes them from head; an entry stays in memory until it is overwritten, so
    the last ones can be read here although the driver has handled them. `waits`: it has not.
    """
    from idxdctl.errors_told import decoded

    with connect(socket) as connection:
        found = ask(connection, "evl", device=device)
        entries = [decoded(entry) for entry in found.pop("entries")]
        if json and not follow:
            print_json("evl", {**found, "entries": entries})
            return
        if not json:
            print(_head(found))
        _print(entries, json=json)
        if follow:
            _follow(connection, device, found["evl_entries"], json=json)


def _head(found: dict[str, Any]) -> str:
    if not found["active"]:
        return f"{found['device']}: the event log is off"
    pending = ", interrupt pending" if found["int_pending"] else ""
    place = f"{found['log_size']} entries at {found['log_base']:#x}, head {found['head']}, tail {found['tail']}{pending}"
    counted = f"{found['evl_entries']} written, {found['evl_dropped']} dropped, {found['evl_write_failures']} not writable"
    return f"{found['device']}: {place}; {counted}, {found['evl_waiting']} descriptors wait for room"


def _print(entries: list[dict[str, Any]], *, json: bool) -> None:
    from idxdctl.errors_told import line

    for entry in entries:
        print(json_module.dumps({"schema": SCHEMA, **entry}) if json else line(entry), flush=True)


def _follow(connection: ControlClient, device: str, seen: int, *, json: bool) -> None:
    from idxdctl.errors_told import decoded

    while True:
        time.sleep(FOLLOW_S)
        found = ask(connection, "evl", device=device)
        new = [entry for entry in found["entries"] if entry["number"] > seen]
        lost = found["evl_entries"] - seen - len(new)
        if lost > 0:
            say(f"{lost} entries were overwritten before they could be read")
        seen = found["evl_entries"]
        _print([decoded(entry) for entry in new], json=json)


def swerr(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", show_default=False)] = None,
    history: Annotated[bool, typer.Option("--history", help="The last errors of the device itself, too (admin).")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """The last software error of each device, as the driver saved it, decoded.

    SWERR takes one error at a time: what comes before the driver has acknowledged it is lost, and sets its overflow bit. The
    history says of each error where it was told: in the event log, in SWERR, or nowhere.
    """
    from idxdctl import errors_told

    with connect(socket) as connection:
        devices = [one for one in ask(connection, "list")["devices"] if device in (None, one["name"])]
        if device is not None and not devices:
            ask(connection, "swerr", device=device)  # says which there are
        found = [errors_told.saved(one) for one in devices]
        for one in found if history else []:
            one |= errors_told.history(ask(connection, "swerr", device=one["device"]))
    if json:
        print_json("swerr", {"devices": found})
        return
    for one in found:
        print(errors_told.swerr_text(one))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evl", rich_help_panel="Asking why")(evl)
    app.command("swerr", rich_help_panel="Asking why")(swerr)
