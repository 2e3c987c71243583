"""What a daemon is told: by option, else by environment, else by file, else by default; every value knows from where.

The file is TOML. All that is wrong is said at once, by name and rule. A setting that `reload` cannot change says so.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from idxdd.control.address import DEFAULT_INSTANCE, daemon_socket_path
from idxdd.control.roles import EVERYBODY, Access, Allowed
from idxdd.driver.later import parse_later
from idxdd.driver.quirks import parse_quirks
from idxdd.driver.workqueue import DriverError
from idxdd.service.scrapes import Address, parse_address

SPIN_US = 100
SPIN_US_MAX = 1_000_000
BATCH_SEED_MAX = (1 << 63) - 1  # what TOML can say
AGENT_TIMEOUT_MS = 1000
AGENT_TIMEOUT_MS_MAX = 60_000
INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,32}")
DEVICES_DEFAULT = ("dsa2",)
DEVICES_MAX = 4  # LAYOUT["devices_max"]; the native module is loaded later
WQ_NAME = re.compile(r"dsa[0-9]{1,2}/wq[0-9]{1,2}\.[0-9]{1,2}")
FILE_BYTES_MAX = 1 << 20
SETTINGS_VARIABLE = "IDXDD_SETTINGS"
SYSTEM_FILE = "/etc/idxdd/idxdd.toml"
LOG_LEVELS = ("error", "warning", "notice", "info", "debug")
LOG_FORMATS = ("auto", "human", "json", "journal")
DEFAULT, FILE, ENVIRONMENT, OPTION = "default", "file", "environment", "option"


class BadSetting(ValueError):
    """Options, variables or lines that cannot be used; the text names each and its rule."""


@dataclass(frozen=True)
class Limits:
    """What one client may hold and do. Beyond these it is refused with ENOMEM or EMFILE, or waits; nobody else notices."""

    buffers_max: int = 64
    buffer_bytes_max: int = 4 << 30
    portals_max: int = 32
    in_flight_max: int = 32 * 256
    """Descriptors: what its portals have slots for. 128 a portal, 256 a kernel channel."""
    sessions_max: int = 1024
    sessions_per_uid_max: int = 512
    outbox_frames_max: int = 8
    calls_per_s_max: int = 10_000


@dataclass(frozen=True)
class Settings:
    """One daemon."""

    instance: str = DEFAULT_INSTANCE
    socket: str = ""
    config: str | None = None
    inject: str | None = None
    """A file of fault rules that are in force from the start."""
    spin_us: int = SPIN_US
    batch_seed: int = 0
    """Not 0: members of a batch run in an order drawn from it, where no fence forbids."""
    agent_timeout_ms: int = AGENT_TIMEOUT_MS
    """How long a client may take to reach an address of its own, before that is a page fault."""
    metrics: Address | None = None
    """Where they are served over HTTP; None: nowhere."""
    log_level: str = "info"
    log_format: str = "auto"
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    ready_fd: int | None = None
    parent_dies: bool = False
    quirks: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    """What the driver does as its later versions do."""
    devices: tuple[str, ...] = DEVICES_DEFAULT
    """Profile of dsa0, of dsa1, ...: a name of the package's, or the path of a file."""


# ---- values -----------------------------------------------------------------------------------------------------------


def _number(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r:.60} must be a number")
        if not low <= value <= high:
            raise ValueError(f"{value} must be between {low} and {high}")
        return value

    return parse


def _text(rule: re.Pattern[str], words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not rule.fullmatch(value):
            raise ValueError(f"{value!r:.60} must be {words}")
        return value

    return parse


def _word(*words: str) -> Callable[[Any], str]:
    return _text(re.compile("|".join(words)), f"one of {', '.join(words)}")


def _ids(of_name: Callable[[str], int]) -> Callable[[Any], frozenset[int]]:
    """Names and numbers of users or groups; the environment has them between commas."""

    def parse(value: Any) -> frozenset[int]:
        members = [part for part in value.split(",") if part] if isinstance(value, str) else value
        if not isinstance(members, list):
            raise ValueError(f"{value!r:.60} must be a list of names or numbers")
        return frozenset(_id(member, of_name) for member in members)

    return parse


def _id(member: Any, of_name: Callable[[str], int]) -> int:
    if isinstance(member, int) and not isinstance(member, bool) and 0 <= member < 2**32:
        return member
    if not isinstance(member, str):
        raise ValueError(f"{member!r:.60} must be a name or a number")
    if member.isdecimal():
        return int(member)
    try:
        return of_name(member)
    except KeyError:
        raise ValueError(f"{member!r:.60} is not known on this machine") from None


def _uid(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


def _named(parse: Callable[[Any], object], example: str) -> Callable[[Any], tuple[str, ...]]:
    """Names that the driver knows: its defects, its later behaviour; the environment has them between commas."""

    def names(value: Any) -> tuple[str, ...]:
        listed = [part for part in value.split(",") if part] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ValueError(f"{value!r:.60} must be a list of names such as {example}")
        try:
            parse(listed)
        except DriverError as error:
            raise ValueError(error.text.partition(": ")[2]) from None
        return tuple(listed)

    return names


def _devices(value: Any) -> tuple[str, ...]:
    """A profile each; the environment has them between commas. A path has a slash or ends in .toml."""
    profiles = value.split(",") if isinstance(value, str) else value
    if not isinstance(profiles, list) or not all(isinstance(one, str) and one and "\0" not in one for one in profiles):
        raise ValueError(f"{value!r:.60} must be a list of profiles such as dsa2, or paths of files")
    if not 0 < len(profiles) <= DEVICES_MAX:
        raise ValueError(f"has {len(profiles)} devices; there may be 1 to {DEVICES_MAX}")
    return tuple(os.path.abspath(one) if os.sep in one or one.endswith(".toml") else one for one in profiles)


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{value!r:.60} must be a path")
    return os.path.abspath(value)


# ---- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One value: its name in the file, its variable, what it may be, and whether a reload changes it."""

    name: str
    variable: str
    parse: Callable[[Any], Any]
    default: Any
    reloads: bool = False
    repeated: str = ""
    """Name of the option that is given once for each element."""

    @property
    def option(self) -> str:
        """As the command line has it."""
        section, _, key = self.name.partition(".")
        return "--" + (self.repeated or (f"{section}-{key}" if section in ("metrics", "log") else key).replace("_", "-"))


def _limit(name: str, low: int, high: int) -> Setting:
    default = next(one.default for one in fields(Limits) if one.name == name)
    return Setting(f"limits.{name}", f"IDXDD_{name.upper()}", _number(low, high), default, reloads=True)


def _spin_default() -> int:
    return SPIN_US if len(os.sched_getaffinity(0)) > 1 else 0


SETTINGS: tuple[Setting, ...] = (
    Setting("daemon.instance", "IDXDD_INSTANCE", _text(INSTANCE, "1 to 32 of A-Z a-z 0-9 _ -"), DEFAULT_INSTANCE),
    Setting("daemon.socket", "IDXDD_SOCKET", _path, ""),
    Setting("daemon.config", "IDXDD_CONFIG", _path, None),
    Setting("daemon.inject", "IDXDD_INJECT", _path, None),
    Setting("daemon.spin_us", "IDXDD_SPIN_US", _number(0, SPIN_US_MAX), None),
    Setting("daemon.batch_seed", "IDXDD_BATCH_SEED", _number(0, BATCH_SEED_MAX), 0),
    Setting("daemon.agent_timeout_ms", "IDXDD_AGENT_TIMEOUT_MS", _number(1, AGENT_TIMEOUT_MS_MAX), AGENT_TIMEOUT_MS),
    Setting("daemon.devices", "IDXDD_DEVICES", _devices, DEVICES_DEFAULT, repeated="device"),
    Setting("daemon.quirks", "IDXDD_QUIRKS", _named(parse_quirks, "DEF-02"), (), repeated="quirk"),
    Setting("daemon.later", "IDXDD_LATER", _named(parse_later, "flr"), (), repeated="later"),
    Setting("metrics.listen", "IDXDD_METRICS_LISTEN", lambda value: str(parse_address(value)), None),
    Setting("log.level", "IDXDD_LOG_LEVEL", _word(*LOG_LEVELS), "info", reloads=True),
    Setting("log.format", "IDXDD_LOG_FORMAT", _word(*LOG_FORMATS), "auto", reloads=True),
    _limit("buffers_max", 0, 65536),
    _limit("buffer_bytes_max", 0, 1 << 47),
    _limit("portals_max", 0, 4096),
    _limit("in_flight_max", 0, 1 << 20),
    _limit("sessions_max", 1, 65536),
    _limit("sessions_per_uid_max", 1, 65536),
    _limit("outbox_frames_max", 1, 1024),
    _limit("calls_per_s_max", 1, 1_000_000),
    Setting("roles.admin_users", "IDXDD_ADMIN_USERS", _ids(_uid), frozenset(), reloads=True),
    Setting("roles.admin_groups", "IDXDD_ADMIN_GROUPS", _ids(_gid), frozenset(), reloads=True),
    Setting("roles.kernel_users", "IDXDD_KERNEL_USERS", _ids(_uid), frozenset(), reloads=True),
    Setting("roles.kernel_groups", "IDXDD_KERNEL_GROUPS", _ids(_gid), frozenset(), reloads=True),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
SECTIONS = {setting.name.partition(".")[0] for setting in SETTINGS} | {"wq"}


@dataclass(frozen=True)
class Resolved:
    """Every setting with where it comes from, and the file that was read (empty: none)."""

    values: dict[str, Any]
    origins: dict[str, str]
    file: str
    wqs: dict[str, Allowed]

    def settings(self, *, ready_fd: int | None = None, parent_dies: bool = False) -> Settings:
        """As the daemon uses them."""
        values = dict(self.values)
        limits = Limits(**{name.partition(".")[2]: value for name, value in values.items() if name.startswith("limits.")})
        roles = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("roles.")}
        return Settings(
            instance=values["daemon.instance"],
            socket=values["daemon.socket"],
            config=values["daemon.config"],
            inject=values["daemon.inject"],
            spin_us=values["daemon.spin_us"],
            batch_seed=values["daemon.batch_seed"],
            agent_timeout_ms=values["daemon.agent_timeout_ms"],
            metrics=parse_address(values["metrics.listen"]) if values["metrics.listen"] else None,
            log_level=values["log.level"],
            log_format=values["log.format"],
            limits=limits,
            access=Access(**roles, wqs=self.wqs),
            ready_fd=ready_fd,
            parent_dies=parent_dies,
            quirks=values["daemon.quirks"],
            later=values["daemon.later"],
            devices=values["daemon.devices"],
        )


def default_file(environ: Mapping[str, str]) -> str:
    """Where settings are looked for when nobody names a file."""
    if os.geteuid() == 0:
        return SYSTEM_FILE
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".config")
    return os.path.join(home, "idxdd", "idxdd.toml")


def resolve(options: Mapping[str, Any], file: str | None = None, environ: Mapping[str, str] = os.environ) -> Resolved:
    """Options (by setting's name; None: not given) over environment over file over defaults.

    `file`: None looks at IDXDD_SETTINGS and then at the default place, where there need be none; "" reads none. BadSetting.
    """
    problems: list[str] = []
    path = environ.get(SETTINGS_VARIABLE) if file is None else file
    document, found = _read(path if path is not None else default_file(environ), required=bool(path))
    _check_names(document, found, problems)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        given, origin, where = _given(setting, options, environ, document, found)
        origins[setting.name] = where
        try:
            values[setting.name] = setting.default if origin == DEFAULT else setting.parse(given)
        except ValueError as error:
            problems.append(f"{where}: {setting.name.partition('.')[2]} {error}")
            values[setting.name] = setting.default
    wqs = _wqs(document.get("wq", {}), found, problems)
    if problems:
        raise BadSetting("; ".join(problems))
    if origins["daemon.socket"] == DEFAULT:
        values["daemon.socket"] = os.path.abspath(daemon_socket_path(values["daemon.instance"]))
    if origins["daemon.spin_us"] == DEFAULT:
        values["daemon.spin_us"] = _spin_default()
    return Resolved(values, origins, found, wqs)


def _given(
    setting: Setting, options: Mapping[str, Any], environ: Mapping[str, str], document: dict[str, Any], file: str
) -> tuple[Any, str, str]:
    """Value, kind of origin, and the origin in words."""
    if options.get(setting.name) is not None:
        return options[setting.name], OPTION, f"option {setting.option}"
    if environ.get(setting.variable):
        return environ[setting.variable], ENVIRONMENT, f"environment {setting.variable}"
    section, _, key = setting.name.partition(".")
    table = document.get(section)
    if isinstance(table, dict) and key in table:
        return table[key], FILE, f"file {file}"
    return None, DEFAULT, DEFAULT


def _read(path: str, *, required: bool) -> tuple[dict[str, Any], str]:
    """The document and the file it is of; nothing where there need be none. BadSetting."""
    if not path:
        return {}, ""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise BadSetting(f"settings file {path}: {error.strerror}") from None
        return {}, ""
    except OSError as error:
        raise BadSetting(f"settings file {path}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise BadSetting(f"settings file {path}: longer than {FILE_BYTES_MAX} bytes")
    import tomllib

    try:
        return tomllib.loads(data.decode()), path
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"settings file {path}: not TOML: {error}") from None


def _check_names(document: dict[str, Any], file: str, problems: list[str]) -> None:
    for section, table in document.items():
        if section not in SECTIONS:
            problems.append(f"{file}: [{section:.40}] is no section{_close(section, SECTIONS)}")
        elif not isinstance(table, dict):
            problems.append(f"{file}: {section} must be a section: write [{section}]")
        elif section != "wq":
            known = {name.partition(".")[2] for name in BY_NAME if name.startswith(f"{section}.")}
            problems += [f"{file}: {section}.{key:.40} is no setting{_close(key, known)}" for key in table if key not in known]


def _close(word: str, known: set[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1)
    return f": write {found[0]}" if found else f"; there is {', '.join(sorted(known))}"


def _wqs(tables: Any, file: str, problems: list[str]) -> dict[str, Allowed]:
    """[wq."dsa0/wq0.1"] users, groups: who may open it; a WQ that is not named is everybody's."""
    found: dict[str, Allowed] = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        at = f'{file}: [wq."{name:.40}"]'
        if not WQ_NAME.fullmatch(name):
            problems.append(f"{at} must name a work queue as dsa0/wq0.1")
            continue
        if not isinstance(table, dict):
            problems.append(f"{at} must be a section")
            continue
        parsers = {"users": _ids(_uid), "groups": _ids(_gid)}
        problems += [f"{at} {key:.40} is no setting{_close(key, set(parsers))}" for key in table if key not in parsers]
        ids: dict[str, frozenset[int]] = {}
        for key, parse in parsers.items():
            try:
                ids[key] = parse(table.get(key, []))
            except ValueError as error:
                problems.append(f"{at} {key} {error}")
        found[name] = Allowed(ids.get("users", EVERYBODY), ids.get("groups", EVERYBODY))
    return found


# ---- reload -----------------------------------------------------------------------------------------------------------


def reloaded(now: Resolved, later: Resolved) -> tuple[Resolved, list[str], list[str]]:
    """What is in force after a reload, the names that changed, and those that only a restart changes."""
    different = [name for name in BY_NAME if now.values[name] != later.values[name]]
    changed = [name for name in different if BY_NAME[name].reloads]
    refused = [name for name in different if not BY_NAME[name].reloads]
    values = {**later.values, **{name: now.values[name] for name in refused}}
    origins = {**later.origins, **{name: now.origins[name] for name in refused}}
    changed += [f"wq.{name}" for name in sorted(now.wqs.keys() | later.wqs.keys()) if now.wqs.get(name) != later.wqs.get(name)]
    return replace(later, values=values, origins=origins), changed, refused
