"""Manual pages from the programs themselves: idxdctl(1) from its typer commands, idxdd(8) from its argument parser.

`python man/generate.py` writes them beside this file; `--check` says which one is no longer what the program would say.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from idxdctl.grouped import EXAMPLES, EXIT_CODES, by_group
from idxdd.control.exitcodes import MEANING, ExitCode
from idxdd.service.main import _parser

HERE = Path(__file__).parent
DATE = "2026-11-22"
WIDTH = 66
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
ENVIRONMENT = {
    "IDXDD_SOCKET": "The daemon's control socket, for clients and for a daemon that is not told another one.",
    "IDXDD_SETTINGS": "The file of settings (TOML) that a daemon reads.",
    "IDXDD_...": "Each setting, for example IDXDD_LOG_LEVEL; idxdd config show --origin lists them.",
    "NO_COLOR": "No colours, whatever the terminal can do.",
}
FILES = {
    "/etc/idxdd/idxdd.toml": "Settings of the system's daemon.",
    "/run/idxdd/default.sock": "Control socket of the system's daemon.",
}


def escaped(text: str) -> str:
    """For running text: nothing of it is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text


def filled(text: str) -> Iterator[str]:
    """Running text in lines that an editor shows."""
    for line in textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False) or [""]:
        yield escaped(line) or "\\&"


def bold(text: str) -> str:
    """In bold."""
    return f"\\fB{escaped(text)}\\fR"


def heading(name: str, section: int, what: str) -> Iterator[str]:
    """Title and name."""
    yield '.\\" Written by man/generate.py from the program itself: change that, then make man.'
    yield f'.TH {name.upper()} {section} "{DATE}" "idxdd {PROJECT["version"]}" "idxdd"'
    yield ".SH NAME"
    yield f"{name} \\- {escaped(what)}"


def terms(pairs: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> Iterator[str]:
    """Words and their meaning."""
    for word, meaning in pairs:
        yield ".TP"
        yield bold(word)
        yield from filled(meaning)


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield from filled(paragraph)


# ---- idxdctl -----------------------------------------------------------------------------------------------------------
def idxdctl() -> Iterator[str]:
    """idxdctl(1)."""
    import typer

    from idxdctl.main import app

    group: Any = typer.main.get_command(app)
    yield from heading("idxdctl", 1, "configure, use and watch a software Intel DSA")
    yield from [".SH SYNOPSIS", f"{bold('idxdctl')} \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]", ".SH DESCRIPTION"]
    yield from paragraphs(group.help)
    yield ".SH COMMANDS"
    for title, commands in by_group(group):
        yield f".SS {escaped(title)}"
        for name, command in commands:
            yield from _command(name, command)
    yield from [".SH OPTIONS", "Every command has"]
    yield from terms([("--help", "Say what the command does, and its options.")])
    yield from [".SH EXIT STATUS"]
    yield from terms([(str(int(code)), MEANING[code]) for code in EXIT_CODES])
    yield ".SH ENVIRONMENT"
    yield from terms([(name, ENVIRONMENT[name]) for name in ("IDXDD_SOCKET", "NO_COLOR")])
    yield ".SH EXAMPLES"
    yield from terms(list(EXAMPLES))
    yield from [".SH SEE ALSO", ".BR idxdd (8)"]


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for member, one in command.commands.items():
            yield from _command(f"{name} {member}", one)
        return
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join(f"\\fI{escaped(parameter.metavar or parameter.name.upper())}\\fR" for parameter in arguments)
    yield from [".TP", f"{bold(name)} {usage}".rstrip()]
    yield from paragraphs(command.help or "")
    told = [(parameter.metavar or parameter.name.upper(), parameter.help) for parameter in arguments if parameter.help]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden]
    if told or options:
        yield ".RS"
        for metavar, text in told:
            yield from [".TP", f"\\fI{escaped(metavar)}\\fR", *filled(text)]
        for parameter in options:
            yield from _option(parameter)
        yield ".RE"


def _option(parameter: Any) -> Iterator[str]:
    names = ", ".join(bold(option) for option in [*parameter.opts, *parameter.secondary_opts])
    value = "" if parameter.is_flag else f" \\fI{escaped(_metavar(parameter))}\\fR"
    default = parameter.default
    shown = "" if parameter.is_flag or default in (None, "", 0) or callable(default) else f" Default: {default}."
    yield from [".TP", names + value, *filled(f"{parameter.help or ''}{shown}")]


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


# ---- idxdd ---------------------------------------------------------------------------------------------------------------
def idxdd() -> Iterator[str]:
    """idxdd(8)."""
    parser = _parser()
    yield from heading("idxdd", 8, "the daemon that is a software Intel DSA")
    yield ".SH SYNOPSIS"
    for number, (name, one) in enumerate(_verbs("", parser)):
        yield from [*([".br"] if number else []), f"{bold(f'idxdd {name}')} [\\fIOPTIONS\\fR]{_positionals(one)}"]
    yield ".SH DESCRIPTION"
    yield from paragraphs(parser.description or "")
    yield ".SH COMMANDS"
    for name, one in _verbs("", parser):
        yield from [".TP", bold(name) + _positionals(one), *filled(_help_of(parser, name))]
        yield ".RS"
        for action in filter(_told, one._actions):
            names = ", ".join(bold(option) for option in action.option_strings)
            value = "" if action.nargs == 0 else f" \\fI{escaped(str(action.metavar or action.dest.upper()))}\\fR"
            yield from [".TP", names + value, *filled((action.help or "") % {"prog": "idxdd", "default": action.default})]
        yield ".RE"
    yield ".SH EXIT STATUS"
    yield from terms([(str(int(code)), MEANING[code]) for code in ExitCode])
    yield ".PP"
    yield escaped("idxdd run ends with the status of its command, or 128 + n after signal n.")
    yield from [".SH SIGNALS"]
    yield from terms(
        [
            ("SIGTERM, SIGINT", "End: clients' portals are closed, everything is removed."),
            ("SIGHUP", "Read the settings again."),
        ]
    )
    yield ".SH ENVIRONMENT"
    yield from terms(list(ENVIRONMENT.items())[:3])
    yield ".SH FILES"
    yield from terms(list(FILES.items()))
    yield from [".SH SEE ALSO", ".BR idxdctl (1)"]


def _told(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.help is not argparse.SUPPRESS and "--help" not in action.option_strings


def _children(parser: argparse.ArgumentParser) -> Any:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


def _verbs(prefix: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, by its whole name."""
    children = _children(parser)
    if children is None:
        yield prefix.strip(), parser
        return
    for name, child in children.choices.items():
        yield from _verbs(f"{prefix} {name}", child)


def _help_of(parser: argparse.ArgumentParser, name: str) -> str:
    text = ""
    for word in name.split():
        children = _children(parser)
        text = next((str(action.help) for action in children._choices_actions if action.dest == word), text)
        parser = children.choices[word]
    return text[:1].upper() + text[1:] + "." if text else ""


def _positionals(parser: argparse.ArgumentParser) -> str:
    found = [str(action.metavar or action.dest.upper()) for action in parser._actions if not action.option_strings]
    return "".join(f" \\fI{escaped(name)}\\fR" for name in found)


PAGES = {"idxdctl.1": idxdctl, "idxdd.8": idxdd}


def text_of(name: str) -> str:
    """What a page should be."""
    return "\n".join(PAGES[name]()) + "\n"


def main() -> int:
    """Write, or check."""
    stale = []
    for name in PAGES:
        page = HERE / name
        wanted = text_of(name)
        if "--check" not in sys.argv[1:]:
            page.write_text(wanted)
        elif not page.exists() or page.read_text() != wanted:
            stale.append(name)
    if stale:
        print(f"man: {', '.join(stale)}: not what the program says: make man", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
