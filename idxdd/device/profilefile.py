"""Profiles as data: a TOML file says what a device can do; all that is wrong with it is said at once, by key and rule.

The package's own are `profiles/*.toml`; a user copies one, changes it and names it by its path. `like` names the profile
that missing keys are taken from; without it every key must be there, so that a file says all that it means.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from idxdd.device.possible import problems_of
from idxdd.device.profile import IMPLEMENTED, Platform, Profile
from idxdd.spec.codes import Command, Opcode

DIRECTORY: Final = Path(__file__).parent / "profiles"
SUFFIX: Final = ".toml"
BYTES_MAX: Final = 1 << 16
LIKES_MAX: Final = 8
VERSIONS: Final = {"1.0": 0x100, "2.0": 0x200}
SECTIONS: Final = {
    "": ("name", "version", "operations", "commands"),
    "gencap": (
        *("block_on_fault", "overlap_copy", "cache_control", "cmd_cap", "translation_fetch_stride", "dest_readback"),
        *("drain_readback", "fill16", "crc64", "fault_info", "evl_support", "evl_overflow", "batch_continuation", "batch1"),
        *("max_xfer_shift", "max_batch_shift"),
    ),
    "wqcap": (
        *("wqs", "total_wq_size", "wqcfg_size_bytes", "shared_mode", "dedicated_mode", "wq_ats_support", "wq_prs_support"),
        *("priority", "occupancy", "occupancy_int", "op_config"),
    ),
    "grpcap": ("groups", "read_buffers", "rdbuf_ctrl", "rdbuf_limit", "progress_limit", "bandwidth_limit"),
    "engcap": ("engines", "work_in_progress_max", "batches_in_progress_max"),
    "idcap": ("idpt_entries", "offset_mode", "suppress_drain", "submitter_bitmap"),
    "msix": ("vectors", "int_handles_max"),
    "perfmon": ("counters", "counter_width", "events", "filters"),
    "pci": tuple(field.name for field in fields(Platform)),
}
"""Every key, by the section of the file it stands in."""

FIELD_OF: Final = {
    "perfmon.counters": "perf_counters",
    "perfmon.counter_width": "perf_counter_width",
    "perfmon.events": "perf_events",
    "perfmon.filters": "perf_filters",
    "operations": "opcodes",
}
"""Fields of Profile that are called otherwise than their key."""

KEYS: Final = tuple(f"{section}.{key}".lstrip(".") for section, keys in SECTIONS.items() for key in keys)
Document = dict[str, Any]


class BadProfile(Exception):
    """A profile that cannot be read, or that no device can have; `problems` has a line for each reason."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.source = source
        self.problems = list(problems)
        super().__init__(f"profile {source}: " + "; ".join(self.problems))


def names() -> list[str]:
    """Profiles of the package."""
    return sorted(path.stem for path in DIRECTORY.glob(f"*{SUFFIX}"))


def path_of(profile: str) -> Path:
    """The file of a name, or of a path. BadProfile: no such name."""
    if "/" in profile or profile.endswith(SUFFIX):
        return Path(profile)
    if profile not in names():
        raise BadProfile(
            f"{profile:.60}", [f"there is {', '.join(names())}; the path of a file has a slash or ends in {SUFFIX}"]
        )
    return DIRECTORY / f"{profile}{SUFFIX}"


def load(profile: str) -> Profile:
    """The profile of this name, or in the file of this path. BadProfile: all reasons why there is none."""
    path = path_of(profile)
    problems: list[str] = []
    values = _values(_document(path), path, problems)
    if not problems:
        problems = problems_of(_profile(values))
    if problems:
        raise BadProfile(profile, problems)
    return _profile(values)


# ---- the file ----------------------------------------------------------------------------------------------------------------
def _document(path: Path) -> Document:
    """What the file says, with what it does not say from the profiles it is like. BadProfile."""
    document = _read(path)
    seen = [path.resolve()]
    while isinstance(document.get("like"), str):
        base = path_of(document.pop("like"))
        base = base if base.is_absolute() else seen[-1].parent / base
        if base.resolve() in seen or len(seen) >= LIKES_MAX:
            raise BadProfile(str(path), [f"like: {base} comes back to itself, or is more than {LIKES_MAX} profiles deep"])
        seen.append(base.resolve())
        document = _merged(_read(base), document)
    return document


def _merged(base: Document, document: Document) -> Document:
    """`document` over `base`; sections key by key."""
    both = {key for key, value in document.items() if isinstance(value, dict) and isinstance(base.get(key), dict)}
    return {**base, **document, **{key: {**base[key], **document[key]} for key in both}}


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise BadProfile(str(path), [f"{error.strerror}"]) from None
    if len(data) > BYTES_MAX:
        raise BadProfile(str(path), [f"longer than {BYTES_MAX} bytes"])
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadProfile(str(path), [f"not TOML: {error}"]) from None


def _values(document: Document, path: Path, problems: list[str]) -> dict[str, Any]:
    """Every key with its parsed value; what is wrong goes to `problems`."""
    if "like" in document:
        problems.append("like: must be the name of a profile")
    given = {key: value for key, value in document.items() if key != "like" and key not in SECTIONS}
    for section in SECTIONS:
        table = document.get(section, {})
        if not isinstance(table, dict):
            problems.append(f"{section}: must be a section: write [{section}]")
            continue
        given |= {f"{section}.{key}": value for key, value in table.items()}
    problems += [f"{key:.60}: is no key{_close(key)}" for key in given if key not in KEYS]
    found: dict[str, Any] = {}
    for key in KEYS:
        if key not in given:
            problems.append(f'{key}: is missing; write it, or like = "{path.stem if path.stem in names() else "dsa2"}"')
            continue
        try:
            found[key] = PARSERS[key](given[key])
        except ValueError as error:
            problems.append(f"{key}: {error}")
    return found


def _close(word: str) -> str:
    from difflib import get_close_matches

    found = [key for key in KEYS if key.endswith(f".{word}")] or get_close_matches(word, KEYS, 1)
    return f": write {found[0]}" if found else ""


def _profile(values: dict[str, Any]) -> Profile:
    pci = {key.removeprefix("pci."): value for key, value in values.items() if key.startswith("pci.")}
    own = {FIELD_OF.get(key, key.rpartition(".")[2]): value for key, value in values.items() if not key.startswith("pci.")}
    return Profile(**own, platform=Platform(**pci))


# ---- values ------------------------------------------------------------------------------------------------------------------
def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} must be true or false")
    return value


def _is_switch(key: str) -> bool:
    owner = Platform if key.startswith("pci.") else Profile
    return any(field.type is bool for field in fields(owner) if field.name == key.rpartition(".")[2])


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise ValueError(f"{value!r:.40} must be a number")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} must be a list of numbers")
    return tuple(_number(one) for one in value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 32 or not value.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{value!r:.40} must be 1 to 32 of letters, digits, - and _")
    return value


def _version(value: Any) -> int:
    if value not in VERSIONS:
        raise ValueError(f"{value!r:.40} must be one of {', '.join(map(repr, VERSIONS))}")
    return VERSIONS[value]


def _codes(kind: type[IntEnum], known: Iterable[int]) -> Callable[[Any], frozenset[Any]]:
    """A list of names."""
    allowed = {kind(code).name: kind(code) for code in sorted(known)}

    def parse(value: Any) -> frozenset[Any]:
        if not isinstance(value, list):
            raise ValueError(f"{value!r:.40} must be a list of names")
        for word in value:
            if word not in allowed:
                known_to_the_manual = isinstance(word, str) and word in kind.__members__
                raise ValueError(
                    f"{word} is not done by this device"
                    if known_to_the_manual
                    else f"{word!r:.40} must be one of {', '.join(allowed)}"
                )
        return frozenset(allowed[word] for word in value)

    return parse


PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(KEYS, _number),
    **{key: _switch for key in KEYS if _is_switch(key)},
    "name": _name,
    "version": _version,
    "operations": _codes(Opcode, IMPLEMENTED),
    "commands": _codes(Command, Command),
    "perfmon.events": _numbers,
}
