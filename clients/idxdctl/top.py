"""idxdctl top: what the device does now, work queue by work queue and client by client."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from idxdctl.options import Json, Socket, all_stats
from idxdctl.output import Failed, print_json, table
from idxdctl.rates import rates
from idxdctl.sizes import format_size
from idxdd.control.client import ControlClient, connect
from idxdd.control.exitcodes import ExitCode

CLIENTS_SHOWN_MAX = 30


def top(
    interval: Annotated[float, typer.Option("-i", "--interval", min=0.05, max=3600, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One interval, then end.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Rates of work queues and clients, live; ends with Ctrl-C."""
    if json and not once:
        raise Failed("top: --json needs --once", ExitCode.USAGE)
    with connect(socket) as connection:
        if once or not sys.stdout.isatty():
            found = measured(connection, all_stats(connection), time.monotonic(), interval)[0]
            if json:
                print_json("top", found)
            else:
                print(_text(found))
            return
        _live(connection, interval)


def measured(
    connection: ControlClient, before: dict[str, Any], since: float, interval: float
) -> tuple[dict[str, Any], Any, float]:
    """Wait out the interval; rates since `before`, the new counters and their time."""
    time.sleep(max(0.0, since + interval - time.monotonic()))
    now, after = time.monotonic(), all_stats(connection)
    return rates(before, after, now - since), after, now


def _live(connection: ControlClient, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    counted, since = all_stats(connection), time.monotonic()
    with Live(Text("..."), console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            found, counted, since = measured(connection, counted, since, interval)
            live.update(Text(_text(found), no_wrap=True, overflow="ellipsis"), refresh=True)


def _text(found: dict[str, Any]) -> str:
    wqs = [
        (
            wq["wq"],
            f"{wq['completed_per_s']:.0f}",
            f"{format_size(wq['bytes_per_s'])}/s",
            wq["occupancy"],
            f"{wq['retries_per_s']:.0f}",
            wq["faults"],
            wq["errors"],
            f"{wq['interrupts_per_s']:.0f}",
            wq["portals"],
        )
        for wq in found["wqs"]
    ]
    header = ("wq", "ops/s", "bytes/s", "occupancy", "retries/s", "faults", "errors", "interrupts/s", "portals")
    clients = [
        (client["pasid"], client["pid"], client["user"], " ".join(client["wqs"]) or "-", f"{client['completed_per_s']:.0f}",
         client["retries"], format_size(client["buffer_bytes"]), client["command"])
        for client in sorted(found["clients"], key=lambda client: -client["completed_per_s"])[:CLIENTS_SHOWN_MAX]
    ]  # fmt: skip
    hidden = len(found["clients"]) - len(clients)
    irq = found["irq"]
    head = f"{', '.join(device['name'] for device in found['devices'])}  over {found['seconds']:.2f} s  "
    head += f"clients {len(found['clients'])}  idxdd-irq {irq['pid']} (restarted {irq['restarts']} times)"
    shown = table(("pasid", "pid", "user", "wqs", "ops/s", "retries", "buffers", "command"), clients, left=4)
    return "\n\n".join([head, table(header, wqs), shown]) + (f"\n... and {hidden} more" if hidden else "")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top", rich_help_panel="Looking")(top)
