"""idxdctl why and errors: what became of a descriptor, and what decided it."""

from __future__ import annotations

from typing import Annotated

import typer

from idxdctl.options import Json, Socket, ask
from idxdctl.output import print_json, say
from idxdd.control.client import connect


def why(
    what: Annotated[str, typer.Argument(metavar="ID|eN|last-error", help="An id of `trace show`, an error of `errors`.")],
    json: Json = False,
    socket: Socket = None,
) -> None:
    """One descriptor's story: how it went, the rule that failed, the fix.

    The last errors are kept without a trace (`idxdctl errors` lists them), so `why last-error` always works, also for an
    ordinary user's own. With `idxdctl trace on` beforehand every descriptor can be asked about, and the times between its
    stations are known.
    """
    from idxdctl import story

    with connect(socket) as connection:
        found = story.find(connection, what)
        told = story.story(connection, socket, found)
    if json:
        print_json("why", told)
    else:
        print(story.text(told, found.record))


def errors(
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=256, help="So many of the newest.")] = 20,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """The last descriptors that did not end well; kept without a trace.

    The daemon keeps 256 of them, batch members included; `idxdctl why eN` tells the story of one. Ordinary users see their own.
    """
    from idxdctl.trace_export import Clock, line
    from idxdctl.trace_records import Owners, facts
    from idxdd.control.tracerecord import unpack

    with connect(socket) as connection:
        answer = ask(connection, "errors", last=last)
        owners = Owners(connection)
        found = [(n, record, owners.of(record)) for n, record in zip(answer["numbers"], unpack(answer["records"]), strict=True)]
    if json:
        listed = [{"error": number, **facts(record, owner)} for number, record, owner in found]
        print_json("errors", {"count": answer["count"], "errors": listed})
        return
    clock = Clock()
    for number, record, owner in found:
        print(f"{f'e{number}':>8} {line(record, owner, clock)}")
    if not found:
        say("no descriptor has ended with an error" + (" of yours" if answer["count"] else " since the daemon began"))
    elif len(found) < answer["count"]:
        say(f"{len(found)} of {answer['count']} errors since the daemon began")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("why", rich_help_panel="Asking why")(why)
    app.command("errors", rich_help_panel="Asking why")(errors)
