"""inject: fault rules of a running daemon: add, list with hits, remove, and a dry run (admin)."""

from __future__ import annotations

import contextlib
import json as jsonlib
import sys
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, ask
from idxdctl.output import Failed, print_json, say, table
from idxdd.control.client import ControlClient, connect
from idxdd.control.exitcodes import ExitCode

FILE_BYTES_MAX = 1 << 20
EVERY = 0
PIECE = 128

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="""Make rare events happen, by rules (admin).

    A rule says where, when and what: `wq=dsa0/wq0.1 op=memmove when nth=3 do fault write at=4096`.
    Where: device, wq, pid, uid, pasid, op, flags, addr, size, member, vector, cause. When: nth, every, first, chance, seed,
    times, after. What: status, fault, corrupt, delay, drop, reorder, full, slow, interrupt, swerr, evl-overflow, revoke, halt,
    remove. docs/testing.md has them all, with examples.
    """,
)

Rules = Annotated[list[str] | None, typer.Argument(metavar="RULE...", help="A rule in words, or several, each quoted.")]
File = Annotated[str | None, typer.Option("--file", metavar="FILE", help="Rules, one a line, or JSON; - is stdin.")]


@app.command()
def add(rules: Rules = None, file: File = None, json: Json = False, socket: Socket = None) -> None:
    """Put rules in force, all or none; prints each with the number it has."""
    with connect(socket) as connection:
        ids = set(ask(connection, "inject", rules=_given(rules, file))["ids"])
        added = [rule for rule in _all(connection) if rule["id"] in ids]
    if json:
        return print_json("inject add", {"rules": added})
    for rule in added:
        print(f"{rule['id']}: {rule['rule']}")
    _say_left_out(added)


@app.command("list")
def list_(json: Json = False, socket: Socket = None) -> None:
    """Rules in force, with what they matched, what they hit, and how many hits are left."""
    with connect(socket) as connection:
        found = _all(connection)
    if json:
        return print_json("inject list", {"rules": found})
    if not found:
        return say("no rule is in force")
    rows = [(one["rule"], one["id"], one["matches"], one["hits"], _left(one["hits_left"])) for one in found]
    print(table(("rule", "id", "matches", "hits", "left"), rows))
    _say_left_out(found)


def _say_left_out(rules: list[dict[str, Any]]) -> None:
    """Of whom a rule is not in force for."""
    for rule in rules:
        if rule["left_out"]:
            say(f"rule {rule['id']} is not in force for {rule['left_out']} of the clients it names: too many for all rules")


def _all(connection: ControlClient) -> list[dict[str, Any]]:
    """Every page of the rules in force."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        page = ask(connection, "inject_list", after=found[-1]["id"] if found else 0)
        found += page["rules"]
        more = page["more"]
    return found


def _left(hits: int | None) -> str:
    return "-" if hits is None else str(hits)


@app.command()
def remove(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers that `inject list` shows.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Take rules out of force; what they held back goes on."""
    if bool(ids) == every:
        raise Failed("inject remove: say which: ID... or --all", ExitCode.USAGE)
    removed: list[dict[str, Any]] = []
    with connect(socket) as connection:
        before = {rule["id"]: rule for rule in _all(connection)}
        for number in [EVERY] if every else ids or []:
            removed += [before[gone] for gone in ask(connection, "inject_remove", rule=number)["ids"] if gone in before]
    if json:
        return print_json("inject remove", {"rules": removed})
    for rule in removed:
        say(f"removed {rule['id']}: {rule['rule']} ({rule['hits']} hits)")


@app.command("dry-run")
def dry_run(
    rules: Rules = None,
    file: File = None,
    desc: Annotated[
        list[str] | None, typer.Option("--desc", metavar="HEX", help="A descriptor, 64 bytes; repeat it: they come in order.")
    ] = None,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="FILE", help="Descriptors of a trace, JSON lines; - is stdin.")
    ] = None,
    wq: Annotated[str | None, typer.Option("--wq", help="The work queue of --desc.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Say what rules would match and do, and to which of some descriptors; nothing is put in force."""
    points: list[dict[str, Any]] = [{"desc": one, **({"wq": wq} if wq else {})} for one in desc or []]
    points += _traced(trace) if trace else []
    with connect(socket) as connection:
        told = [_told(connection, rule, points) for rule in _given(rules, file)]
    if json:
        return print_json("inject dry-run", {"rules": told})
    for rule in told:
        print(rule["rule"])
        print(f"  does        {rule['does']}")
        if rule["by_itself"]:
            print("  happens     once, by itself")
        elif "wqs" in rule:
            print(f"  looks at    {', '.join(rule['wqs']) or 'no configured work queue'}")
            print(f"  operations  {', '.join(rule['operations'])}")
        for number, one in enumerate(rule.get("descriptors", ()), 1):
            print(f"  {number:>10}  " + (f"hit: {one['outcome']}" if one["hit"] else f"no: {one['why']}"))


def _told(connection: ControlClient, rule: Any, points: list[dict[str, Any]]) -> dict[str, Any]:
    """What the daemon says of one rule; of many descriptors in pieces, which go on counting."""
    told: dict[str, Any] = {}
    for start in range(0, max(len(points), 1), PIECE):
        answered = told.get("descriptors", [])
        counts = {name: sum(one[key] for one in answered) for name, key in (("matches", "matches"), ("hits", "hit"))}
        some = {"descriptors": points[start : start + PIECE], **counts} if points else {}
        told = ask(connection, "inject_dry_run", rules=[rule], **some)["rules"][0]
        if points:
            told["descriptors"] = answered + told["descriptors"]
    return told


# ---- what is given -----------------------------------------------------------------------------------------------------
def _given(rules: list[str] | None, file: str | None) -> list[Any]:
    """Rules of the command line and of a file. Failed: none."""
    words = list(rules or [])
    quoted = [word for word in words if " " in word]
    found: list[Any] = words if len(quoted) == len(words) else [" ".join(words)]
    if file is not None:
        found += _of_file(_read(file))
    if not found:
        raise Failed("inject: no rule", ExitCode.USAGE, hint="for example op=memmove when nth=3 do fault write at=4096")
    return found


def _of_file(text: str) -> list[Any]:
    if text.lstrip()[:1] not in ("[", "{"):
        return [said for line in text.splitlines() if (said := line.partition("#")[0].strip())]
    try:
        document = jsonlib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"inject: not JSON: {error}") from None
    return document if isinstance(document, list) else [document]


def _traced(file: str) -> list[dict[str, Any]]:
    """Lines of a trace that have a descriptor: what a rule may ask of it."""
    points = []
    for number, line in enumerate(_read(file).splitlines(), 1):
        if not line.strip():
            continue
        record = None
        with contextlib.suppress(ValueError, RecursionError):
            record = jsonlib.loads(line)
        if not isinstance(record, dict):
            raise Failed(f"inject: {file}: line {number} is no JSON object", hint="idxdctl trace export --format jsonl")
        if "descriptor" in record or "desc" in record:
            points.append(_point(record))
    return points


def _point(record: dict[str, Any]) -> dict[str, Any]:
    """What a rule may ask of a record of `trace export`, or of a line written by hand with the same names at the top."""
    client = record.get("client")
    known = {**record, **(client if isinstance(client, dict) else {}), "desc": record.get("descriptor", record.get("desc"))}
    return {name: known[name] for name in ("desc", "wq", "pid", "uid", "pasid", "member") if known.get(name) is not None}


def _read(path: str) -> str:
    """Failed names the file."""
    try:
        if path == "-":
            return sys.stdin.read(FILE_BYTES_MAX)
        with open(path, encoding="utf-8") as file:
            return file.read(FILE_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"inject: {path}: {getattr(error, 'strerror', None) or 'not text'}") from None


PANEL = "Faults"


def register(parent: typer.Typer) -> None:
    """Add the group of commands."""
    parent.add_typer(app, name="inject", rich_help_panel=PANEL)
