"""idxdctl stress: client processes that check everything they get, while the daemon is disturbed; one line a work queue."""

from __future__ import annotations

import random
import re
from typing import Annotated

import typer

from idxdctl.options import Json, Socket
from idxdctl.output import Failed, print_json, say, table
from idxdd.control.exitcodes import ExitCode

_COUNT = re.compile(r"(\d+)([kM]?)")
DESCRIPTORS = 100_000


def parse_count(text: str | int) -> int:
    """A number, or one with k or M for thousands or millions. ValueError with the rule."""
    if isinstance(text, int):
        return text
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a count: write a number, or one with k or M")
    return int(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]]


def stress(
    clients: Annotated[int, typer.Option("--clients", min=1, max=256, help="Client processes.")] = 4,
    descriptors: Annotated[
        int | None,
        typer.Option("--descriptors", parser=parse_count, metavar="COUNT", help="End after so many: 5M. Default 100k."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="End after this time; 0: after the descriptors.")] = 0,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything that is random; printed.")] = None,
    wq: Annotated[list[str] | None, typer.Option("--wq", help="Repeat it; else every enabled work queue.")] = None,
    kill_clients: Annotated[bool, typer.Option("--kill-clients", help="SIGKILL clients, start others.")] = False,
    kill_irq: Annotated[bool, typer.Option("--kill-irq", help="SIGKILL the interrupt process.")] = False,
    revokes: Annotated[bool, typer.Option("--revokes", help="Revoke interrupt handles.")] = False,
    halts: Annotated[bool, typer.Option("--halts", help="Halt devices; a software reset brings them back.")] = False,
    disable_wqs: Annotated[bool, typer.Option("--disable-wqs", help="Disable and enable work queues.")] = False,
    faults: Annotated[bool, typer.Option("--faults", help="Page faults, and records that end in the event log.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.01, help="Seconds between two events of a kind.")] = 0.5,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Nothing accepted may take longer.")] = 60.0,
    rest: Annotated[
        float, typer.Option("--rest", min=0, help="Seconds a client rests between two queues: for long runs beside other work.")
    ] = 0.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Work queues under load; every byte and every count is checked. Kills, revokes and halts disturb every client there is."""
    from idxdctl.progress import counting
    from idxdctl.stress_run import KINDS, Plan, Stress

    chosen = dict(zip(KINDS, (kill_clients, kill_irq, revokes, halts, disable_wqs, faults), strict=True))
    plan = Plan(
        clients=clients,
        descriptors=descriptors if descriptors is not None else 0 if seconds else DESCRIPTORS,
        seconds=seconds,
        seed=random.SystemRandom().getrandbits(31) if seed is None else seed,
        kinds=frozenset(kind for kind, wanted in chosen.items() if wanted),
        wqs=tuple(wq or ()),
        every_s=every,
        timeout_s=timeout,
        rest_s=rest,
    )
    if not plan.descriptors and not plan.seconds:
        raise Failed("stress: --descriptors 0 needs --seconds", ExitCode.USAGE)
    say(f"stress: seed {plan.seed}")
    with counting("stress", plan.descriptors or None) as update:
        found = Stress(plan, socket, update).run()
    if json:
        print_json("stress", found.facts())
    else:
        rows = [[wq[name] for name in ("wq", "accepted", "completed", "aborted", "faults", "interrupts")] for wq in found.wqs]
        print(table(("wq", "accepted", "completed", "aborted", "faults", "interrupts"), rows))
        tally = found.tally
        print(
            f"{found.finished} descriptors in {found.seconds:.1f} s ({found.finished / found.seconds:,.0f}/s):"
            f" {tally['succeeded']} right, {tally['faulted']} faults as asked for, {tally['aborted']} aborted;"
            f" longest round {tally['longest_ms']} ms"
        )
        print("events: " + (", ".join(f"{count} {name}" for name, count in sorted(found.events.items())) or "none"))
        for name, growth in found.growth.items():
            print(growth.line(name))
        print(f"names in /dev/shm: {found.names[0]} -> {found.names[1]}")
    if found.failures:
        for failure in found.failures[:20]:
            say(f"stress: {failure}")
        raise Failed(f"stress: {len(found.failures)} things did not hold; again: {plan.command()}")


def register(app: typer.Typer) -> None:
    """Its command."""
    app.command("stress", rich_help_panel="Load and measurement")(stress)
