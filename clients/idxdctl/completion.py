"""Shell completion, written from the commands themselves: the files in clients/completions are these texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.output import Failed
from idxdd.control.exitcodes import ExitCode


def commands(app: typer.Typer) -> dict[str, tuple[str, list[str]]]:
    """Each command with its help's first line and its options."""
    group: Any = typer.main.get_command(app)
    found = {}
    for name, command in sorted(group.commands.items()):
        options = sorted({option for parameter in command.params for option in parameter.opts if option.startswith("--")})
        found[name] = ((command.help or "").strip().splitlines()[0], [*options, "--help"])
    return found


def bash(found: dict[str, tuple[str, list[str]]]) -> str:
    """For /usr/share/bash-completion/completions/idxdctl."""
    cases = "\n".join(f'    {name}) words="{" ".join(options)}" ;;' for name, (_, options) in found.items())
    return f"""# bash completion of idxdctl
_idxdctl() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(found)}" -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _idxdctl idxdctl
"""


def zsh(found: dict[str, tuple[str, list[str]]]) -> str:
    """For a directory of fpath, as _idxdctl."""
    names = "\n".join(f"    {_quoted(f'{name}:{text}')}" for name, (text, _) in found.items())
    cases = "\n".join(f"    {name}) compadd -- {' '.join(options)} ;;" for name, (_, options) in found.items())
    return f"""#compdef idxdctl
local -a verbs
if (( CURRENT == 2 )); then
  verbs=(
{names}
  )
  _describe command verbs
elif [[ $PREFIX == -* ]]; then
  case $words[2] in
{cases}
  esac
else
  _files
fi
"""


def fish(found: dict[str, tuple[str, list[str]]]) -> str:
    """For ~/.config/fish/completions/idxdctl.fish."""
    lines = ["# fish completion of idxdctl"]
    for name, (text, options) in found.items():
        lines.append(f"complete -c idxdctl -n __fish_use_subcommand -f -a {name} -d {_quoted(text)}")
        lines += [f"complete -c idxdctl -n '__fish_seen_subcommand_from {name}' -l {option[2:]}" for option in options]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: dict[str, tuple[str, Callable[[dict[str, tuple[str, list[str]]]], str]]] = {
    "bash": ("idxdctl.bash", bash),
    "zsh": ("_idxdctl", zsh),
    "fish": ("idxdctl.fish", fish),
}


def register(app: typer.Typer) -> None:
    """Add the command: it needs the others."""

    def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish")]) -> None:
        """Print a completion file for a shell."""
        if shell not in SHELLS:
            raise Failed(f"completion: no shell {shell!r:.40}", ExitCode.USAGE, hint=f"there is {', '.join(SHELLS)}")
        print(SHELLS[shell][1](commands(app)), end="")

    app.command("completion", rich_help_panel="Looking")(completion)
