"""Looking at a daemon: counters, registers, errors, clients; taking a client off; proving that the device was used."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, all_stats, ask, ask_once
from idxdctl.output import Failed, print_json, say, table
from idxdctl.sizes import format_size, parse_size
from idxdd.control.client import connect
from idxdd.control.exitcodes import ExitCode

COMMAND_CHARACTERS_MAX = 40
PORTAL_COUNTERS = {
    "accepted": "descriptors",
    "completed": "done",
    "bytes": "bytes",
    "retries": "retries",
    "errors": "errors",
    "interrupts": "interrupts",
}
"""Of a client: the sums of what its portals count."""


def stats(json: Json = False, socket: Socket = None) -> None:
    """Counters of the device, its work queues, its clients and the interrupt process."""
    from idxdctl import facts

    with connect(socket) as connection:
        counted = all_stats(connection)
    if json:
        print_json("stats", counted)
    else:
        print(facts.statistics(counted))


# ---- registers ---------------------------------------------------------------------------------------------------------
def regs(
    names: Annotated[list[str] | None, typer.Argument(metavar="[REGISTER]...", help="As GENSTS, WQCFG; else all.")] = None,
    device: Annotated[str, typer.Option("-d", "--device")] = "dsa0",
    decode: Annotated[bool, typer.Option("--decode", help="Field by field, codes by name.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Registers of a device (admin)."""
    found = _chosen(ask_once(socket, "regs", device=device)["registers"], names or [])
    if json:
        print_json("regs", {"device": device, "registers": found})
        return
    width = max(map(len, found))
    for name, register in found.items():
        print(f"{name:<{width}}  {register['value']}")
        for field, value in register["fields"].items() if decode else ():
            print(f"{'':<{width}}    {field} = {value}")


def _chosen(registers: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Those of these names; a table's name means all its entries. Failed names the one that is none."""
    if not names:
        return registers
    chosen: dict[str, Any] = {}
    for name in names:
        matching = {key: value for key, value in registers.items() if name.upper() in (key, key.partition("[")[0])}
        if not matching:
            from difflib import get_close_matches

            close = get_close_matches(name.upper(), {key.partition("[")[0] for key in registers}, 1)
            raise Failed(f"regs: no register {name!r:.40}", ExitCode.USAGE, hint=f"did you mean {close[0]}?" if close else "")
        chosen |= matching
    return chosen


# ---- clients -----------------------------------------------------------------------------------------------------------
def user_of(uid: int) -> str:
    """The user's name, or the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def command_of(pid: int) -> str:
    """What the process calls itself; empty when it is gone or not ours to see."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return ""
    text = " ".join(word.decode(errors="replace") for word in words if word)
    return "".join(character if character.isprintable() else "?" for character in text)[:COMMAND_CHARACTERS_MAX]


def describe_clients(counted: dict[str, Any]) -> list[dict[str, Any]]:
    """The daemon's facts, with user, command, and sums over portals."""
    found = []
    for client in counted["clients"]:
        portals = client["portals"]
        sums = {name: sum(portal[key] for portal in portals) for name, key in PORTAL_COUNTERS.items()}
        wqs = sorted({portal["wq"] for portal in portals})
        found.append({**client, "user": user_of(client["uid"]), "command": command_of(client["pid"]), "wqs": wqs, **sums})
    return found


def clients(json: Json = False, socket: Socket = None) -> None:
    """Who is connected: process, user, PASID, work queues, buffers."""
    with connect(socket) as connection:
        found = describe_clients(all_stats(connection))
    if json:
        print_json("clients", {"clients": found})
        return
    rows = [
        (
            client["pasid"],
            client["pid"],
            client["user"],
            " ".join(client["wqs"]) or "-",
            client["completed"],
            format_size(client["buffer_bytes"]),
            client["command"],
        )
        for client in found
    ]
    print(table(("pasid", "pid", "user", "wqs", "completed", "buffers", "command"), rows, left=4))


def kick(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="A pid, or pasid:N as `idxdctl clients` shows it.")],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """End a client's session: its portals stop at once, its buffers are given back (admin)."""
    word, _, number = client.rpartition(":")
    if word not in ("", "pid", "pasid") or not number.isdecimal():
        raise Failed(f"kick: {client!r:.40} is neither a pid nor pasid:N", ExitCode.USAGE)
    with connect(socket) as connection:
        victims = [one for one in all_stats(connection)["clients"] if one["pasid" if word == "pasid" else "pid"] == int(number)]
        if not victims:
            raise Failed(f"kick: no client {client}", hint="`idxdctl clients` lists them")
        kicked = [ask(connection, "kick", pasid=victim["pasid"]) | {"pasid": victim["pasid"]} for victim in victims]
    if json:
        print_json("kick", {"kicked": kicked})
    for victim in kicked if not json else []:
        say(f"kicked pid {victim['pid']} of {user_of(victim['uid'])}, PASID {victim['pasid']}, {victim['portals']} portal(s)")


def reload(json: Json = False, socket: Socket = None) -> None:
    """Make the daemon read its settings again; what only a restart changes is named (admin)."""
    answer = ask_once(socket, "reload")
    if json:
        print_json("reload", answer)
        return
    say(f"changed: {', '.join(answer['changed']) or 'nothing'}")
    for name in answer["refused"]:
        say(f"{name} is not changed: it needs a restart of the daemon")


# ---- assert ------------------------------------------------------------------------------------------------------------
def assert_(
    min_ops: Annotated[int, typer.Option("--min-ops", min=0, help="Descriptors completed since the daemon started.")] = 1,
    min_bytes: Annotated[int, typer.Option("--min-bytes", parser=parse_size, metavar="SIZE", help="Bytes moved.")] = 0,
    wq: Annotated[list[str] | None, typer.Option("--wq", help="Only this work queue; repeat it for more.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Fail unless the device was really used: for the end of a CI job."""
    with connect(socket) as connection:
        counted = {one["wq"]: one for one in ask(connection, "stats")["wqs"]}
    for name in wq or []:
        if name not in counted:
            raise Failed(f"assert: {name}: no such work queue is configured", hint=f"there is {', '.join(counted) or 'none'}")
    chosen = [counted[name] for name in wq or counted]
    ops, moved = sum(one["completed"] for one in chosen), sum(one["bytes"] for one in chosen)
    held = ops >= min_ops and moved >= min_bytes
    where = ", ".join(wq or ["all work queues"])
    if json:
        facts = {"held": held, "ops": ops, "min_ops": min_ops, "bytes": moved, "min_bytes": min_bytes}
        print_json("assert", {**facts, "wqs": [one["wq"] for one in chosen]})
    line = f"{where}: {ops} completed, {min_ops} wanted; {format_size(moved)} moved, {format_size(min_bytes)} wanted"
    if not held:
        raise Failed(f"assert: {line}", hint="the program did not use the device, or another daemon")
    if not json:
        print(line)


PANEL = "Looking"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {
        "stats": stats,
        "regs": regs,
        "clients": clients,
        "kick": kick,
        "reload": reload,
        "assert": assert_,
    }
    for name, command in commands.items():
        app.command(name, rich_help_panel=PANEL)(command)
