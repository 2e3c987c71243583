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
    parts = [_head(found), _wq_table(found["wqs"])]
    if len(found["groups"]) > 1:
        parts.append(_group_table(found["groups"]))
    parts.append(_client_table(found["clients"]))
    return "\n\n".join(parts)


def _head(found: dict[str, Any]) -> str:
    irq, count = found["irq"], len(found["clients"])
    head = f"over {found['seconds']:.2f} s  clients {count}  idxdd-irq {irq['pid']} (restarted {irq['restarts']} times)"
    return "\n".join([head, *(_device(device) for device in found["devices"])])


def _device(device: dict[str, Any]) -> str:
    counted = ("commands", "faults", "errors", "errors_lost", "causes", "resets")
    told = "  ".join(f"{name.replace('_', ' ')} {device[name]}" for name in counted if name in device)
    return f"{device['name']}: {device['wqs_enabled']} work queues enabled  {told}"


def _wq_table(wqs: list[dict[str, Any]]) -> str:
    rows = [
        (
            wq["wq"],
            "-" if wq["group"] is None else wq["group"],
            f"{wq['completed_per_s']:.0f}",
            f"{format_size(wq['bytes_per_s'])}/s",
            f"{wq['occupancy']}/{wq['size']}",
            f"{wq['retries_per_s']:.0f}",
            f"{wq['faults_per_s']:.0f}",
            f"{wq['errors_per_s']:.0f}",
            f"{wq['interrupts_per_s']:.0f}",
            wq["portals"],
        )
        for wq in wqs
    ]
    header = ("wq", "group", "ops/s", "bytes/s", "occupancy", "retries/s", "faults/s", "errors/s", "interrupts/s", "portals")
    return table(header, rows)


def _group_table(groups: list[dict[str, Any]]) -> str:
    rows = [
        (
            group["group"],
            group["wqs"],
            f"{group['completed_per_s']:.0f}",
            f"{format_size(group['bytes_per_s'])}/s",
            group["occupancy"],
            f"{group['retries_per_s']:.0f}",
        )
        for group in groups
    ]
    return table(("group", "wqs", "ops/s", "bytes/s", "occupancy", "retries/s"), rows)


def _client_table(clients: list[dict[str, Any]]) -> str:
    busiest = sorted(clients, key=lambda client: (-client["completed_per_s"], client["pasid"]))
    rows = [
        (
            client["pasid"],
            client["pid"],
            client["user"],
            " ".join(client["wqs"]) or "-",
            f"{client['completed_per_s']:.0f}",
            f"{format_size(client['bytes_per_s'])}/s",
            f"{client['retries_per_s']:.0f}",
            f"{client['errors_per_s']:.0f}",
            f"{client['interrupts_per_s']:.0f}",
            format_size(client["buffer_bytes"]),
            client["command"],
        )
        for client in busiest[:CLIENTS_SHOWN_MAX]
    ]
    header = ("pasid", "pid", "user", "wqs", "ops/s", "bytes/s", "retries/s", "errors/s", "interrupts/s", "buffers", "command")
    hidden = len(clients) - len(rows)
    return table(header, rows, left=4) + (f"\n... and {hidden} more" if hidden else "")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top", rich_help_panel="Looking")(top)
