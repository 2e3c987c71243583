"""idxdctl trace: a record of every descriptor: when it was accepted, begun and ended, how, and why."""

from __future__ import annotations

import json as json_module
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idxdctl.options import Json, Socket, ask_once
from idxdctl.output import SCHEMA, Failed, print_json, say
from idxdctl.sizes import format_size
from idxdd.control.client import connect
from idxdd.control.exitcodes import ExitCode

if TYPE_CHECKING:
    from idxdctl.trace_reading import Owned, Reader

SIZE_DEFAULT, SIZE_MIN, SIZE_MAX = 65536, 64, 1 << 20
FOLLOW_S = 0.1

trace_app = typer.Typer(
    no_args_is_help=True,
    help="""Record every descriptor: when it was accepted, begun and ended, how, and why (admin).

    Off by default. While it is on, the device keeps the last SIZE records in its own memory, batch members included; older ones
    are overwritten, and every answer says how many. A usual session: `idxdctl trace on`, run the program, `idxdctl trace show
    --status error`, `idxdctl why ID`, `idxdctl trace export run.json` for https://ui.perfetto.dev, `idxdctl trace off`.
    """,
)


class Format(StrEnum):
    """What `export` writes."""

    TEXT = "text"
    JSONL = "jsonl"
    CHROME = "chrome"


SUFFIXES = {".txt": Format.TEXT, ".log": Format.TEXT, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".json": Format.CHROME}


@trace_app.command("on")
def on(
    size: Annotated[int, typer.Option("--size", min=SIZE_MIN, max=SIZE_MAX, help="Records kept.")] = SIZE_DEFAULT,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Begin to trace; an earlier trace is discarded."""
    from idxdd.control.tracerecord import RECORD_BYTES

    answer = ask_once(socket, "trace_on", size=size)
    if json:
        print_json("trace on", answer)
    else:
        say(f"trace on: the last {size} records are kept, {format_size(2 * size * RECORD_BYTES)} at most")


@trace_app.command("off")
def off(
    discard: Annotated[bool, typer.Option("--discard", help="Forget what was traced, and free its memory.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Stop; what was traced can still be shown and exported."""
    answer = ask_once(socket, "trace_off", discard=discard)
    if json:
        print_json("trace off", answer)
    else:
        say(f"trace off: {answer['kept']} records kept, {answer['dropped']} older ones overwritten")


Wqs = Annotated[list[str] | None, typer.Option("--wq", help="Only this work queue; repeat it for more.")]
Clients = Annotated[list[str] | None, typer.Option("--client", help="Only this client: a pid, or pasid:N.")]
Statuses = Annotated[list[str] | None, typer.Option("--status", help="ok, error, aborted, a code as 0x13 or a name.")]
Ops = Annotated[list[str] | None, typer.Option("--op", help="Only this operation, as memmove.")]


@trace_app.command("show")
def show(
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="So many of the newest that match; 0: all.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; ends with Ctrl-C.")] = False,
    wq: Wqs = None,
    client: Clients = None,
    status: Statuses = None,
    op: Ops = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Print records, a line each; times in µs.

    `queued` is the time from the descriptor's acceptance to its dispatch, `ran` from there to its record. A batch's members
    stand before it, with their index, because it ends after them. --json with --follow prints a JSON object a line.
    """
    from idxdctl.trace_reading import Reader
    from idxdctl.trace_records import Chosen, facts

    chosen = Chosen(wq or [], client or [], status or [], op or [])
    with connect(socket) as connection:
        reader = Reader(connection, chosen)
        found = list(reader.newest(last)) if last else list(reader.all())
        if json and not follow:
            print_json("trace show", {**reader.state(), "records": [facts(record, owner) for record, owner in found]})
            return
        _print(found, json=json, header=bool(found))
        _tell(reader.state(), len(found), json=json)
        if follow:
            _follow(reader, json=json)


def _print(found: Iterable[Owned], *, json: bool, header: bool) -> None:
    from idxdctl import trace_export
    from idxdctl.trace_records import facts

    if json:
        for record, owner in found:
            print(json_module.dumps({"schema": SCHEMA, **facts(record, owner)}))
    else:
        clock = trace_export.Clock()
        if header:
            print(trace_export.COLUMNS)
        for record, owner in found:
            print(trace_export.line(record, owner, clock))
    sys.stdout.flush()


def _tell(state: dict[str, Any], shown: int, *, json: bool) -> None:
    """What people should know besides: is it on, was anything lost."""
    if json:
        return
    if not state["on"]:
        say("the trace is off" + ("" if state["kept"] or state["dropped"] else "; `idxdctl trace on` begins one"))
    if state["dropped"]:
        say(f"{state['dropped']} older records were overwritten; `trace on --size` keeps more")
    if not shown and state["kept"]:
        say(f"none of {state['kept']} records matches")


def _follow(reader: Reader, *, json: bool) -> None:
    while True:
        time.sleep(FOLLOW_S)
        found, lost = reader.more()
        if lost:
            say(f"{lost} records were overwritten before they could be read")
        _print(found, json=json, header=False)


@trace_app.command("export")
def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="`-` is standard output.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Else by the suffix: .txt, .jsonl, .json (chrome).", show_default=False)
    ] = None,
    wq: Wqs = None,
    client: Clients = None,
    status: Statuses = None,
    op: Ops = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write the whole trace to a file: text, JSON lines, or Chrome's trace events for https://ui.perfetto.dev.

    In the viewer a process is a client and a thread a work queue (+1, +2 ... where descriptors overlap); each descriptor is a
    bar around its time in the queue and its execution, with status, fault and rule among its arguments.
    """
    from idxdctl import trace_export
    from idxdctl.trace_reading import Reader
    from idxdctl.trace_records import Chosen

    chosen_form = form or SUFFIXES.get(os.path.splitext(file)[1].lower())
    if chosen_form is None:
        raise Failed(f"trace export: no format for {file!r:.60}", ExitCode.USAGE, hint="say --format text, jsonl or chrome")
    formats: dict[Format, Callable[[Iterable[Owned], dict[str, Any]], Iterator[str]]] = {
        Format.TEXT: lambda records, _: trace_export.text(records),
        Format.JSONL: lambda records, _: trace_export.jsonl(records),
        Format.CHROME: trace_export.chrome,
    }
    count = 0

    def counted(records: Iterable[Owned]) -> Iterator[Any]:
        nonlocal count
        for pair in records:
            count += 1
            yield pair

    with connect(socket) as connection:
        reader = Reader(connection, Chosen(wq or [], client or [], status or [], op or []))
        state = reader.state()
        _write(file, formats[chosen_form](counted(reader.all()), state), separate=chosen_form is not Format.CHROME)
    if json:
        print_json("trace export", {"file": file, "format": chosen_form.value, "records": count, **state})
    elif file != "-":
        say(f"{file}: {count} records ({chosen_form.value})")
        _tell(state, count, json=False)


def _write(path: str, pieces: Iterator[str], *, separate: bool) -> None:
    end = "\n" if separate else ""
    if path == "-":
        for piece in pieces:
            sys.stdout.write(piece + end)
        sys.stdout.write("" if separate else "\n")
        return
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe, /dev/null: written to, never replaced
        with open(path, "w", encoding="utf-8") as out:
            out.writelines(piece + end for piece in pieces)
        return
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as out:
            for piece in pieces:
                out.write(piece + end)
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, path) from None
        raise


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(trace_app, name="trace", rich_help_panel="Asking why")
