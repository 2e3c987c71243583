"""idxdctl: configure devices, look at them, copy and check files through them, measure round trips."""

from __future__ import annotations

import os
import sys
from typing import Any

from idxdctl import parts, refusals
from idxdctl.output import Failed
from idxdd.control.errors import ControlError, NotAllowed
from idxdd.control.exitcodes import ExitCode


def __getattr__(name: str) -> Any:
    """`app`: the program with all its commands, for help, manual and completion."""
    if name == "app":
        return parts.program()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """The program: an error of the library is one line and an exit code, never a traceback."""
    try:
        parts.program(sys.argv[1] if len(sys.argv) > 1 else "")()
    except (ControlError, Failed) as error:
        hint = refusals.hint_of(error) if isinstance(error, NotAllowed) else ""
        sys.exit(_fail(f"{error}; {hint}" if hint else str(error), error.exit_code))
    except BrokenPipeError:  # the reader of our output went away: say nothing more, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        where = "".join(f"{word}: " for word in (_verb(), error.filename) if word)
        sys.exit(_fail(f"{where}{error.strerror or error}", ExitCode.FAILED))
    except KeyboardInterrupt:
        sys.exit(130)


def _verb() -> str:
    """What was asked for; empty when that was an option."""
    return "" if len(sys.argv) < 2 or sys.argv[1].startswith("-") else sys.argv[1]


def _fail(text: str, exit_code: ExitCode) -> int:
    print(f"idxdctl: {' '.join(text.split())}", file=sys.stderr)
    return int(exit_code)


if __name__ == "__main__":
    main()
