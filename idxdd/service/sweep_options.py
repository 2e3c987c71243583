"""What `idxdd sweep` is told: faults by name and options. Imports nothing: every start of idxdd reads this."""

import argparse

FAULTS = {
    "read": "do fault read",
    "write": "do fault write",
    "error": "do status hw_err1",
    "record": "do fault record",
    "list": "do fault list",
    "corrupt": "do corrupt",
    "drop": "do drop",
    "delay": "do delay 20ms",
    "reorder": "do reorder 1",
    "full": "do full",
    "interrupt": "do interrupt lost",
    "revoke": "do revoke",
    "halt": "do halt software",
    "remove": "do remove",
}
"""Rule templates by name."""
DEFAULT_FAULTS = ("read", "write", "error")
"""What every program must survive."""

EPILOG = f"""
Faults: {", ".join(FAULTS)}; by default {", ".join(DEFAULT_FAULTS)}.
A run is ok when the command ends as it does without a fault, failed with another exit status (an error it noticed),
crashed when a signal ended it, hung when it was over its time.
Exit status: 0 nothing crashed or hung, 1 something did (with --strict: or failed), 2 wrong arguments, 130 Ctrl-C.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`sweep` and its options."""
    sweep = commands.add_parser(
        "sweep",
        help="run a command again and again, each time with the next descriptor failing",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("--fault", action="append", metavar="NAME", help="a fault of the list below; repeat it")
    sweep.add_argument("--rule", action="append", metavar="RULE", help="a fault rule without a count; repeat it")
    sweep.add_argument("--max-runs", type=_positive, default=1000, metavar="N", help="no more runs than these (1000)")
    sweep.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="a run takes no longer, or is hung (60)")
    sweep.add_argument("--stop", action="store_true", help="stop at the first run that crashed or hung")
    sweep.add_argument("--strict", action="store_true", help="a run that failed counts as one that crashed")
    sweep.add_argument("--config", metavar="FILE", help="accel-config's JSON")
    sweep.add_argument("--device", action="append", metavar="PROFILE", help="a device of this profile; repeat it")
    sweep.add_argument("--spin-us", type=int, metavar="US", help="how long the engine looks for work before it sleeps")
    sweep.add_argument("--json", metavar="FILE", help="write every run there as JSON; - is stdout, instead of the table")
    sweep.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("must be above 0, and a day at most")
    return value
