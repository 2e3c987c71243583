"""Which module has which command: a command line loads the one it needs, help and completion load all."""

from __future__ import annotations

from importlib import import_module

import typer

from idxdctl.grouped import Grouped

PARTS: dict[str, tuple[str, ...]] = {
    "accfg": (
        "list", "load-config", "save-config", "config-device", "config-group", "config-wq", "config-engine", "enable-device",
        "disable-device", "enable-wq", "disable-wq", "reset",
    ),
    "moving": ("copy", "ping"),
    "data": ("fill", "compare", "dualcast", "translate", "cflush"),
    "crcs": ("crc",),
    "delta": ("delta",),
    "protect": ("dif", "dix"),
    "batchfile": ("batch",),
    "observe": ("stats", "regs", "clients", "kick", "reload", "assert"),
    "explain": ("explain",),
    "trace": ("trace",),
    "why": ("why", "errors"),
    "evl": ("evl", "swerr"),
    "top": ("top",),
    "metrics": ("metrics",),
    "stress": ("stress",),
    "bench": ("bench",),
    "windows": ("windows", "close-window"),
    "act": ("halt", "flr", "bus-reset", "revoke", "remove", "insert"),
    "pci": ("pci",),
    "inject": ("inject",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}  # fmt: skip
"""Modules in the order in which help shows what they have, each with its commands."""


HELP = """Work with idxdd, a software Intel DSA.

A daemon must run: `idxdd serve &`, or around one command: `idxdd run -- COMMAND`. `idxdctl doctor` says what is missing.
Names are dsa0 (device), dsa0/wq0.1 (work queue), dsa0/group0.1, dsa0/engine0.1. Configuration has accel-config's commands
and options; `idxdctl COMMAND --help` tells each. --json prints facts for programs; errors are one line and an exit code.
"""


def program(command: str = "") -> typer.Typer:
    """With the module that has `command` alone; with all of them when none has it, which takes 0.1 s more."""
    app = typer.Typer(
        cls=Grouped,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        help=HELP,
    )
    app.callback()(_program)  # else a program of one command would swallow its name
    found = [module for module, names in PARTS.items() if command in names]
    for module in found or PARTS:
        import_module(f"idxdctl.{module}").register(app)
    return app


def _program() -> None:
    """Nothing of its own to do."""
