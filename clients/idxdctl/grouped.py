"""`idxdctl --help`: commands by what one wants to do, each with its whole first line, and the exit codes."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from idxdd.control.exitcodes import MEANING, ExitCode

FIRST = (
    "Looking",
    "Configuration (accel-config's names)",
    "Files through the device",
    "Asking why",
    "Making the device act",
    "Faults",
    "Load and measurement",
)
"""The order of the groups; others follow."""
OTHERS = "This program"
EXIT_CODES = tuple(code for code in ExitCode if code not in (ExitCode.COMMAND_NOT_EXECUTABLE, ExitCode.COMMAND_NOT_FOUND))
EXAMPLES = (
    ("idxdd run -- idxdctl ping", "a private daemon around one command"),
    ("idxdctl list", "what there is"),
    ("idxdctl copy SRC DST --verify", "a file through the device"),
    ("idxdctl top", "who is doing what at the moment"),
    ("idxdctl explain op=fill dst=0x1000 size=0", "which rule refuses a descriptor"),
    ("idxdctl assert --min-ops 1", "at the end of a CI job: was the device used?"),
)


def first_line(command: Any) -> str:
    """Of its help: one sentence."""
    return (command.help or "").strip().splitlines()[0] if command.help else ""


def by_group(group: Any) -> list[tuple[str, list[tuple[str, Any]]]]:
    """(title, commands by name) in the order of FIRST."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, command in group.commands.items():
        panel = getattr(command, "rich_help_panel", None)
        found.setdefault(panel if isinstance(panel, str) else OTHERS, []).append((name, command))
    titles = [title for title in FIRST if title in found]
    titles += [title for title in found if title not in FIRST and title != OTHERS]
    return [(title, found[title]) for title in [*titles, *([OTHERS] if OTHERS in found else [])]]


class Grouped(TyperGroup):
    """The group of all commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """By group, in the order in which they were added."""
        for title, commands in by_group(self):
            with formatter.section(title):
                formatter.write_dl([(name, first_line(command)) for name, command in commands], col_max=16)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples and exit codes."""
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES), col_max=44)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), MEANING[code]) for code in EXIT_CODES])
