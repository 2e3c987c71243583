"""Configuration: accel-config's JSON to sysfs attributes (configure.py writes these to the registers).

The JSON is what `accel-config save-config` writes: a list of devices, each with groups, each with `grouped_workqueues`
and `grouped_engines`. It is validated whole before anything is applied; each problem names path, rule, code and a fix.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from idxdd.spec.codes import CmdErr, DriverStatus, WqMode, WqType

if TYPE_CHECKING:
    from idxdd.driver.device import Capabilities

NAME_MAX: Final = 1024
DRIVER_NAME_MAX: Final = 128
TEXT_MAX: Final = 300
"""Characters of a problem's path, rule or fix: what is wrong may be long itself."""
EVL_ENTRIES: Final = 64
"""The event log's size unless it is configured, and the smallest."""
EVL_ENTRIES_LARGEST: Final = 65535
SIZE_DEFAULT: Final = 16
"""A WQ with a type but no size gets this many entries."""
DRIVER_OF: Final = {WqType.USER: "user", WqType.KERNEL: "dmaengine"}


def _default_wq(number: int, mode: str, wq_type: str, name: str) -> dict[str, Any]:
    return {
        "dev": f"wq0.{number}",
        "mode": mode,
        "size": 32,
        "group_id": number,
        "priority": 10,
        "block_on_fault": 0,
        "max_batch_size": 1024,
        "max_transfer_size": 1 << 31,
        "type": wq_type,
        "name": name,
        "driver_name": "user" if wq_type == "user" else "dmaengine",
        "threshold": 32 if mode == "shared" else 0,
    }


DEFAULT_CONFIG: Final[list[dict[str, Any]]] = [
    {
        "dev": "dsa0",
        "groups": [
            {
                "dev": f"group0.{number}",
                "grouped_workqueues": [_default_wq(number, mode, wq_type, name)],
                "grouped_engines": [{"dev": f"engine0.{number}", "group_id": number}],
            }
            for number, (mode, wq_type, name) in enumerate(
                [
                    ("dedicated", "user", "app0"),
                    ("shared", "user", "app1"),
                    ("shared", "kernel", "dmaengine"),
                    ("dedicated", "kernel", "dmaengine"),
                ]
            )
        ],
    }
]
"""What runs when no configuration is given: one WQ of each kind, each in a group with an engine of its own."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration."""

    path: str
    rule: str
    code: str
    """errno name, or the Enable command's code."""
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.rule} [{self.code}]; {self.fix}"


@dataclass
class WqConfig:
    """Attributes of a WQ, by their sysfs names."""

    id: int
    group_id: int
    mode: WqMode = WqMode.SHARED
    size: int = 0
    threshold: int = 0
    priority: int = 0
    block_on_fault: bool = False
    ats_disable: bool = False
    prs_disable: bool = False
    type: WqType = WqType.NONE
    name: str = ""
    driver_name: str = ""
    max_transfer_size: int = 2 << 20
    max_batch_size: int = 32
    op_config: int | None = None


@dataclass
class GroupConfig:
    """Attributes of a group, by their sysfs names."""

    id: int
    traffic_class_a: int = 1
    traffic_class_b: int = 1
    use_read_buffer_limit: bool = False
    read_buffers_reserved: int = 0
    read_buffers_allowed: int | None = None
    desc_progress_limit: int = 0
    batch_progress_limit: int = 0


@dataclass
class DeviceConfig:
    """One device's configuration."""

    index: int
    name: str
    groups: list[GroupConfig] = field(default_factory=list)
    wqs: list[WqConfig] = field(default_factory=list)
    engines: dict[int, int] = field(default_factory=dict)
    """engine: group"""
    read_buffer_limit: int = 0
    event_log_size: int = EVL_ENTRIES


# ---- JSON to attributes ----------------------------------------------------------------------------------------------------
def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_DEVICE_LISTS: Final = frozenset(
    {"groups", "ungrouped_workqueues", "ungrouped_engines", "ungrouped workqueues", "ungrouped engines"}
)
_LOOSE_WQS: Final = frozenset({"ungrouped_workqueues", "ungrouped workqueues"})
_DEVICE_FACTS: Final = _words(
    "max_groups max_work_queues max_engines max_work_queues_size work_queue_size numa_node ims_size max_batch_size",
    "max_transfer_size gen_cap op_cap configurable pasid_enabled max_read_buffers max_tokens cdev_major version state errors",
    "clients cmd_status iaa_cap dsacaps",
)
"""What list and save-config write that describes the device: accepted, not applied."""
_WQ_FACTS: Final = frozenset({"cdev_minor", "state", "clients", "occupancy", "enqcmds_retries", "pasid_enabled"})


class _Reader:
    """Walks the JSON, collecting problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, path: str, rule: str, code: str, fix: str) -> None:
        self.problems.append(Problem(path[:TEXT_MAX], rule[:TEXT_MAX], code, fix[:TEXT_MAX]))

    def obj(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return value
        self.refuse(path, "must be an object", "EINVAL", "write {...}")
        return {}

    def array(self, owner: dict[str, Any], key: str, path: str) -> list[Any]:
        value = owner.get(key, [])
        if isinstance(value, list):
            return value
        self.refuse(f"{path}.{key}", "must be a list", "EINVAL", "write [...]")
        return []

    def number(
        self, owner: dict[str, Any], key: str, path: str, low: int, high: int, default: int, code: str = "EINVAL"
    ) -> int:
        value = owner.get(key, default)
        if isinstance(value, str):  # accel-config writes some numbers as strings
            with contextlib.suppress(ValueError):
                value = int(value, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"{path}.{key}", f"must be a number, is {value!r}", code, f"write {low}..{high}")
            return default
        if not low <= value <= high:
            self.refuse(f"{path}.{key}", f"must be {low}..{high}, is {value}", code, f"write {low}..{high}")
            return default
        return value

    def flag(self, owner: dict[str, Any], key: str, path: str) -> bool:
        value = owner.get(key, 0)
        if value in (0, 1, "0", "1"):
            return bool(int(value))
        self.refuse(f"{path}.{key}", f"must be 0 or 1, is {value!r}", "EINVAL", "write 0 or 1")
        return False

    def word(self, owner: dict[str, Any], key: str, path: str, words: dict[str, Any], default: Any) -> Any:
        value = owner.get(key)
        if value is None:
            return default
        if isinstance(value, str) and value in words:
            return words[value]
        self.refuse(
            f"{path}.{key}", f"must be one of {', '.join(words)}, is {value!r}", "EINVAL", f"write one of {', '.join(words)}"
        )
        return default

    def text(self, owner: dict[str, Any], key: str, path: str, length_max: int) -> str:
        value = owner.get(key, "")
        if not isinstance(value, str) or len(value.encode(errors="replace")) > length_max:
            self.refuse(f"{path}.{key}", f"must be a string of at most {length_max} bytes", "EINVAL", "shorten it")
            return ""
        return value.strip()

    def dev(self, owner: dict[str, Any], path: str, kind: str, device: int, count: int) -> int:
        """The number in "wq0.3"; -1 with a problem."""
        value = owner.get("dev")
        prefix = f"{kind}{device}."
        if isinstance(value, str) and value.startswith(prefix) and value[len(prefix) :].isdecimal():
            number = int(value[len(prefix) :])
            if number < count:
                return number
        self.refuse(
            f"{path}.dev",
            f"must be {prefix}0..{prefix}{count - 1}, is {value!r}",
            "ENOENT",
            f"write {prefix}0..{prefix}{count - 1}",
        )
        return -1

    def keys(self, owner: dict[str, Any], path: str, known: frozenset[str]) -> None:
        for key in owner:
            if key not in known:
                from difflib import get_close_matches

                close = get_close_matches(key, known, 1)
                fix = f"write {close[0]}" if close else f"known: {', '.join(sorted(known))}"
                self.refuse(f"{path}.{key}", "is not a known key", "ENOENT", fix)


def parse_config(config: Any, devices: dict[str, tuple[int, Capabilities]]) -> tuple[list[DeviceConfig], list[Problem]]:
    """accel-config's JSON against what the devices can do (name: index, capabilities): attributes, and every problem."""
    read = _Reader()
    parsed: list[DeviceConfig] = []
    if not isinstance(config, list):
        read.refuse("config", "must be a list of devices", "EINVAL", "write [{...}]")
        return [], read.problems
    for position, value in enumerate(config):
        path = f"[{position}]"
        obj = read.obj(value, path)
        name = obj.get("dev")
        if not isinstance(name, str) or name not in devices:
            read.refuse(
                f"{path}.dev",
                f"must name a device ({', '.join(devices)}), is {name!r}",
                "ENODEV",
                f"write {', '.join(devices)}",
            )
            continue
        if any(device.name == name for device in parsed):
            read.refuse(f"{path}.dev", f"{name} is there twice", "EEXIST", "remove one")
            continue
        parsed.append(_parse_device(read, obj, path, name, *devices[name]))
    return parsed, read.problems


_GROUP_KEYS: Final = _words(
    "dev grouped_workqueues grouped_engines traffic_class_a traffic_class_b use_read_buffer_limit read_buffers_reserved",
    "read_buffers_allowed use_token_limit tokens_reserved tokens_allowed desc_progress_limit batch_progress_limit",
)
_WQ_KEYS: Final = _WQ_FACTS | _words(
    "dev mode size group_id priority block_on_fault type driver_name name threshold max_batch_size max_transfer_size",
    "ats_disable prs_disable op_config",
)


def _parse_device(read: _Reader, obj: dict[str, Any], path: str, name: str, index: int, caps: Capabilities) -> DeviceConfig:
    read.keys(obj, path, _DEVICE_LISTS | _DEVICE_FACTS | {"dev", "read_buffer_limit", "token_limit", "event_log_size"})
    config = DeviceConfig(index, name)
    limit_key = "token_limit" if "token_limit" in obj else "read_buffer_limit"
    config.read_buffer_limit = read.number(obj, limit_key, path, 0, caps.grpcap.total_rdbufs, 0)
    if caps.gencap.evl_support:
        config.event_log_size = read.number(obj, "event_log_size", path, EVL_ENTRIES, EVL_ENTRIES_LARGEST, EVL_ENTRIES)
    for position, value in enumerate(read.array(obj, "groups", path)):
        at = f"{path}.groups[{position}]"
        group = read.obj(value, at)
        group_id = read.dev(group, at, "group", index, caps.grpcap.num_groups)
        if any(other.id == group_id for other in config.groups):
            read.refuse(f"{at}.dev", "this group is there twice", "EEXIST", "merge them")
        _parse_group(read, group, at, group_id, config, caps)
    for key in _LOOSE_WQS & obj.keys():
        for position, value in enumerate(read.array(obj, key, path)):
            at = f"{path}.{key}[{position}]"
            wq = _parse_wq(read, read.obj(value, at), at, -1, index, caps)
            if wq != WqConfig(wq.id, -1):  # what list prints of an idle one is no setting
                _add_wq(read, at, wq, config)
    _check_device(read, path, config, caps)
    return config


def _parse_group(
    read: _Reader, obj: dict[str, Any], path: str, group_id: int, config: DeviceConfig, caps: Capabilities
) -> None:
    read.keys(obj, path, _GROUP_KEYS)
    rdbufs = caps.grpcap.total_rdbufs
    group = GroupConfig(
        group_id,
        traffic_class_a=read.number(obj, "traffic_class_a", path, -1, 7, 1),
        traffic_class_b=read.number(obj, "traffic_class_b", path, -1, 7, 1),
        use_read_buffer_limit=read.flag(obj, "use_read_buffer_limit", path) or read.flag(obj, "use_token_limit", path),
        read_buffers_reserved=read.number(
            obj, "tokens_reserved" if "tokens_reserved" in obj else "read_buffers_reserved", path, 0, rdbufs, 0
        ),
        desc_progress_limit=read.number(obj, "desc_progress_limit", path, 0, 3, 0),
        batch_progress_limit=read.number(obj, "batch_progress_limit", path, 0, 3, 0),
    )
    allowed_key = "tokens_allowed" if "tokens_allowed" in obj else "read_buffers_allowed"
    if allowed_key in obj:
        group.read_buffers_allowed = read.number(obj, allowed_key, path, 0, rdbufs, rdbufs)
    config.groups.append(group)
    for position, value in enumerate(read.array(obj, "grouped_workqueues", path)):
        at = f"{path}.grouped_workqueues[{position}]"
        _add_wq(read, at, _parse_wq(read, read.obj(value, at), at, group_id, config.index, caps), config)
    for position, value in enumerate(read.array(obj, "grouped_engines", path)):
        at = f"{path}.grouped_engines[{position}]"
        engine = read.obj(value, at)
        read.keys(engine, at, frozenset({"dev", "group_id"}))
        number = read.dev(engine, at, "engine", config.index, caps.engcap.num_engines)
        read.number(engine, "group_id", at, group_id, group_id, group_id)
        if number in config.engines:
            read.refuse(
                f"{at}.dev",
                f"engine{config.index}.{number} is there twice",
                CmdErr.GROUP_ENGINE_CONFIG.name,
                "keep it in one group",
            )
        config.engines[number] = group_id


def _add_wq(read: _Reader, path: str, wq: WqConfig, config: DeviceConfig) -> None:
    if any(other.id == wq.id for other in config.wqs):
        rule = f"wq{config.index}.{wq.id} is there twice"
        read.refuse(f"{path}.dev", rule, CmdErr.GROUP_WQ_CONFIG.name, "keep it in one group")
    config.wqs.append(wq)
    config.wqs.sort(key=lambda wq: wq.id)


def _parse_wq(read: _Reader, obj: dict[str, Any], path: str, group_id: int, device: int, caps: Capabilities) -> WqConfig:
    read.keys(obj, path, _WQ_KEYS)
    wq = WqConfig(read.dev(obj, path, "wq", device, caps.wqcap.num_wqs), group_id)
    read.number(obj, "group_id", path, group_id, group_id, group_id)
    wq.mode = read.word(obj, "mode", path, {"shared": WqMode.SHARED, "dedicated": WqMode.DEDICATED}, WqMode.SHARED)
    wq.type = read.word(obj, "type", path, {"none": WqType.NONE, "kernel": WqType.KERNEL, "user": WqType.USER}, WqType.NONE)
    wq.size = read.number(obj, "size", path, 0, caps.wqcap.total_wq_size, 0)
    wq.priority = read.number(obj, "priority", path, 0, 15, 0)
    wq.block_on_fault = read.flag(obj, "block_on_fault", path)
    wq.ats_disable, wq.prs_disable = read.flag(obj, "ats_disable", path), read.flag(obj, "prs_disable", path)
    wq.name = read.text(obj, "name", path, NAME_MAX)
    wq.driver_name = read.text(obj, "driver_name", path, DRIVER_NAME_MAX)
    if wq.mode is WqMode.SHARED:  # load-config writes it for a shared WQ only
        wq.threshold = read.number(obj, "threshold", path, 0, 0xFFFF, 0)
    wq.max_transfer_size = _shift_up(read, obj, "max_transfer_size", path, 1 << caps.gencap.max_xfer_shift, 2 << 20)
    wq.max_batch_size = _shift_up(read, obj, "max_batch_size", path, 1 << caps.gencap.max_batch_shift, 32)
    wq.op_config = _parse_op_config(read, obj, path, caps)
    _check_wq(read, path, wq, caps)
    return wq


def _shift_up(read: _Reader, obj: dict[str, Any], key: str, path: str, highest: int, default: int) -> int:
    value = read.number(obj, key, path, 1, highest, min(default, highest))
    return 1 << (value - 1).bit_length()


def _parse_op_config(read: _Reader, obj: dict[str, Any], path: str, caps: Capabilities) -> int | None:
    if "op_config" not in obj:
        return None
    try:
        value = int("".join(part.zfill(8) for part in str(obj["op_config"]).split(",")), 16)
    except ValueError:
        read.refuse(
            f"{path}.op_config",
            "must be comma-separated groups of 8 hex digits",
            "EINVAL",
            "copy it from op_cap and clear bits",
        )
        return None
    if value & ~caps.opcap.raw:
        read.refuse(f"{path}.op_config", "sets opcodes that op_cap does not have", CmdErr.WQ_OP_CONFIG.name, "clear those bits")
        return None
    return None if value == caps.opcap.raw else value


def _check_wq(read: _Reader, path: str, wq: WqConfig, caps: Capabilities) -> None:
    if wq.mode is WqMode.SHARED:
        if not caps.wqcap.shared_mode:
            read.refuse(f"{path}.mode", "the device has no shared WQs", DriverStatus.WQ_NO_SWQ_SUPPORT.name, "write dedicated")
        if wq.threshold > wq.size:
            read.refuse(f"{path}.threshold", f"must be 1..size ({wq.size}), is {wq.threshold}", "EINVAL", f"write 1..{wq.size}")
        if not wq.threshold and wq.type is not WqType.NONE:
            read.refuse(f"{path}.threshold", "a shared WQ needs one", DriverStatus.WQ_NO_THRESH.name, f"write 1..{wq.size}")
    if wq.block_on_fault and not caps.gencap.block_on_fault:
        read.refuse(f"{path}.block_on_fault", "the device cannot block on faults", "EOPNOTSUPP", "write 0")
    if wq.block_on_fault and wq.prs_disable:
        read.refuse(f"{path}.block_on_fault", "excludes prs_disable", "EOPNOTSUPP", "write 0 to one of them")
    if wq.type is WqType.NONE:
        return
    if not wq.name:
        read.refuse(f"{path}.name", "a WQ with a type needs a name", DriverStatus.WQ_NO_NAME.name, "write a name")
    if wq.priority == 0 and caps.wqcap.priority:
        read.refuse(f"{path}.priority", "must be 1..15 to enable the WQ", CmdErr.WQ_PRIORITY_ZERO.name, "write 1..15")
    if wq.driver_name and not wq.driver_name.startswith(DRIVER_OF[wq.type]):
        driver = DRIVER_OF[wq.type]
        read.refuse(
            f"{path}.driver_name",
            f"must begin with {driver} for this type",
            DriverStatus.WQ_NO_DRV_NAME.name,
            f"write {driver}",
        )


def _check_device(read: _Reader, path: str, config: DeviceConfig, caps: Capabilities) -> None:
    total = sum(wq.size or (SIZE_DEFAULT if wq.type is not WqType.NONE else 0) for wq in config.wqs)
    if total > caps.wqcap.total_wq_size:
        rule = f"the sizes of all WQs add up to {total}, the device has {caps.wqcap.total_wq_size}"
        read.refuse(path, rule, CmdErr.WQ_SIZE_SUM_ERANGE.name, "make WQs smaller")
    if not any(wq.group_id >= 0 for wq in config.wqs):
        read.refuse(
            f"{path}.groups", "no WQ is in a group", DriverStatus.WQ_NONE_CONFIGURED.name, "add a WQ to grouped_workqueues"
        )
    for group in config.groups:
        wqs = sum(wq.group_id == group.id for wq in config.wqs)
        engines = sum(group_id == group.id for group_id in config.engines.values())
        if bool(wqs) != bool(engines):
            missing, key = ("engines", "grouped_engines") if wqs else ("WQs", "grouped_workqueues")
            rule = f"group{config.index}.{group.id} has no {missing}"
            read.refuse(f"{path}.groups", rule, CmdErr.GROUP_CONFIG.name, f"add to its {key}")
        if group.read_buffers_allowed is not None and group.read_buffers_allowed < 4 * engines:
            rule = (
                f"read_buffers_allowed of group{config.index}.{group.id} must be at least 4 for each of its {engines} engines"
            )
            read.refuse(f"{path}.groups", rule, CmdErr.RDBUF_CONFIG.name, f"write {4 * engines} or more")
