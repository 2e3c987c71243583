"""`idxdd profile list | show NAME | check FILE`: the capability profiles there are, as files to copy and to check."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from idxdd.control.exitcodes import ExitCode
from idxdd.device.profile import Profile
from idxdd.device.profilefile import BadProfile, load, names, path_of
from idxdd.device.registerfile import capabilities
from idxdd.service.notify import fail


def run(options: argparse.Namespace) -> int:
    """Exit code; one line for each thing that is wrong."""
    try:
        if options.profile == "list":
            return _list(json_wanted=options.json)
        profile = load(options.name)
    except BadProfile as error:
        return _refused(error, json_wanted=options.json)
    if options.profile == "check":
        print(_json("check", name=profile.name, problems=[]) if options.json else f"{options.name}: ok, {summary(profile)}")
    elif options.json:
        print(_json("show", profile=_plain(asdict(profile)), registers=_registers(profile)))
    elif options.registers:
        print("\n".join(f"{name:<8} {value}" for name, value in _registers(profile).items()))
    else:
        print(path_of(options.name).read_text(), end="")
    return ExitCode.OK


def _list(*, json_wanted: bool) -> int:
    found = [load(name) for name in names()]
    if json_wanted:
        print(_json("list", profiles=[{"name": one.name, "summary": summary(one)} for one in found]))
        return ExitCode.OK
    for profile in found:
        print(f"{profile.name:<{max(len(one.name) for one in found)}}  {summary(profile)}")
    return ExitCode.OK


def _refused(error: BadProfile, *, json_wanted: bool) -> int:
    if json_wanted:
        print(_json("check", name=error.source, problems=error.problems))
    for problem in error.problems:
        fail(f"profile {error.source}: {problem}")
    return ExitCode.BAD_CONFIGURATION


def summary(profile: Profile) -> str:
    """One line: what a reader asks first."""
    log = f"event log of {32 << profile.evl_support}-byte entries" if profile.evl_support else "no event log"
    sizes = f"{profile.wqs} WQs, {profile.groups} groups, {profile.engines} engines, {profile.total_wq_size} entries"
    return f"DSA {profile.version >> 8}.{profile.version & 0xFF}, {sizes}, {len(profile.opcodes)} operations, {log}"


def _registers(profile: Profile) -> dict[str, str]:
    return {type(register).__name__: f"{register.raw:#x}" for register in capabilities(profile)}


def _plain(value: Any) -> Any:
    """Sets of codes by name, in the order of the codes."""
    if isinstance(value, frozenset):
        return [code.name for code in sorted(value)]
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def _json(verb: str, **content: Any) -> str:
    return json.dumps({"schema": 1, "command": f"profile {verb}", **content}, indent=2)
