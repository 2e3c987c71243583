"""Shell completion, written from the commands themselves: the files in clients/completions are these texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from idxdctl.output import Failed
from idxdd.control.exitcodes import ExitCode

Commands = dict[str, tuple[str, list[str]]]


def commands(app: typer.Typer) -> Commands:
    """Each command, as "list" or "delta create", with its help's first line and its options; of a group its members' names."""
    found: Commands = {}
    _collect(typer.main.get_command(app), "", found)
    return found


def _collect(group: Any, prefix: str, found: Commands) -> None:
    for name, command in sorted(group.commands.items()):
        text = (command.help or "").strip().splitlines()[0]
        if hasattr(command, "commands"):
            found[prefix + name] = (text, [*sorted(command.commands), "--help"])
            _collect(command, f"{prefix}{name} ", found)
        else:
            options = sorted({option for parameter in command.params for option in parameter.opts if option.startswith("--")})
            found[prefix + name] = (text, [*options, "--help"])


def _groups(found: Commands) -> list[str]:
    return sorted({name.split()[0] for name in found if " " in name})


def _top(found: Commands) -> list[str]:
    return [name for name in found if " " not in name]


def bash(found: Commands) -> str:
    """For /usr/share/bash-completion/completions/idxdctl."""
    cases = "\n".join(f'    {_bash_case(name)}) words="{" ".join(options)}" ;;' for name, (_, options) in found.items())
    return f"""# bash completion of idxdctl
_idxdctl() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(_top(found))}" -- "$word"))
    return
  fi
  case $verb in
    {"|".join(_groups(found))})
      if [ "$COMP_CWORD" -gt 2 ]; then verb="$verb ${{COMP_WORDS[2]}}"; fi ;;
  esac
  case $verb in
{cases}
  esac
  case $verb:$word in
    {"|".join(f"{name}:*" for name in _groups(found))}|*:-*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _idxdctl idxdctl
"""


def _bash_case(name: str) -> str:
    return f'"{name}"' if " " in name else name


def zsh(found: Commands) -> str:
    """For a directory of fpath, as _idxdctl."""
    names = "\n".join(f"    {_quoted(f'{name}:{found[name][0]}')}" for name in _top(found))
    cases = "\n".join(f"    {_bash_case(name)}) compadd -- {' '.join(options)} ;;" for name, (_, options) in found.items())
    return f"""#compdef idxdctl
local -a verbs
local verb=$words[2]
if (( CURRENT == 2 )); then
  verbs=(
{names}
  )
  _describe command verbs
  return
fi
case $verb in
  {"|".join(_groups(found))})
    if (( CURRENT > 3 )); then verb="$verb $words[3]"; fi ;;
esac
if [[ $PREFIX == -* ]] || (( CURRENT == 3 )) && [[ $verb == ({"|".join(_groups(found))}) ]]; then
  case $verb in
{cases}
  esac
else
  _files
fi
"""


def fish(found: Commands) -> str:
    """For ~/.config/fish/completions/idxdctl.fish."""
    lines = ["# fish completion of idxdctl"]
    for name, (text, options) in found.items():
        group, _, member = name.partition(" ")
        if not member:
            lines.append(f"complete -c idxdctl -n __fish_use_subcommand -f -a {name} -d {_quoted(text)}")
            seen = f"__fish_seen_subcommand_from {name}"
        else:
            lines.append(f"complete -c idxdctl -n '__fish_seen_subcommand_from {group}' -f -a {member} -d {_quoted(text)}")
            seen = f"__fish_seen_subcommand_from {group}; and __fish_seen_subcommand_from {member}"
        lines += [f"complete -c idxdctl -n '{seen}' -l {option[2:]}" for option in options if option.startswith("--")]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: dict[str, tuple[str, Callable[[Commands], str]]] = {
    "bash": ("idxdctl.bash", bash),
    "zsh": ("_idxdctl", zsh),
    "fish": ("idxdctl.fish", fish),
}


def register(app: typer.Typer) -> None:
    """Add the command."""

    from idxdctl.parts import program  # which has all the others

    def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish")]) -> None:
        """Print a completion file for a shell."""
        if shell not in SHELLS:
            raise Failed(f"completion: no shell {shell!r:.40}", ExitCode.USAGE, hint=f"there is {', '.join(SHELLS)}")
        print(SHELLS[shell][1](commands(program())), end="")

    app.command("completion", rich_help_panel="Looking")(completion)
