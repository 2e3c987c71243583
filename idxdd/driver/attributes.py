"""Writing sysfs attributes: each with the driver's checks in the driver's order, so that the errno is the driver's.

A write changes the configuration; an enabled device or WQ refuses what it must. sysfs.md gives the checks, section by section.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from errno import EACCES, EINVAL, ENOENT, EOPNOTSUPP, EPERM
from errno import ENXIO as NO_DEVICE_OR_ADDRESS
from typing import TYPE_CHECKING, Final

from idxdd.driver.accfg import group_settings, wq_settings
from idxdd.driver.config import (
    DRIVER_NAME_MAX,
    EVL_ENTRIES,
    EVL_ENTRIES_LARGEST,
    NAME_MAX,
    DeviceConfig,
    GroupConfig,
    WqConfig,
)
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError
from idxdd.spec.codes import WqMode, WqType

if TYPE_CHECKING:
    from idxdd.driver.device import Device

_OBJECT: Final = re.compile(
    r"(?P<device>dsa[0-9]{1,2})(?:/(?P<kind>wq|group|engine)(?P<index>[0-9]{1,2})\.(?P<id>[0-9]{1,2}))?"
)
_DECIMAL: Final = re.compile(r"\+?[0-9]{1,20}\n?")
_SIGNED: Final = re.compile(r"[+-]?[0-9]{1,20}\n?")
_ANY_BASE: Final = re.compile(r"\+?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\n?")
_BITMAP: Final = re.compile(r"[0-9a-fA-F]{1,8}(,[0-9a-fA-F]{1,8}){0,7}\n?")
_TRUE, _FALSE = ("y", "Y", "t", "T", "1", "on", "oN", "On", "ON"), ("n", "N", "f", "F", "0", "of", "oF", "Of", "OF")
VERSION_2: Final = 0x200
PROGRESS_LIMIT_MAX: Final = 3
PRIORITY_MAX: Final = 15
TRAFFIC_CLASS_MAX: Final = 7
READ_BUFFERS_PER_ENGINE: Final = 4


@dataclass
class Target:
    """What is written to: a configuration that may be thrown away, and the device as it is."""

    path: str
    device: Device
    config: DeviceConfig
    number: int = -1

    def refuse(self, attribute: str, errno: int, rule: str) -> DriverError:
        """One line: object, attribute, rule."""
        return DriverError(errno, f"{self.path}: {attribute}: {rule}")

    def configurable(self, attribute: str) -> None:
        if not self.device.caps.gencap.config_en:
            raise self.refuse(attribute, EPERM, "the device's configuration is read-only")

    def device_disabled(self, attribute: str) -> None:
        if self.device.state is DriverState.ENABLED:
            raise self.refuse(attribute, EPERM, "cannot be written while the device is enabled")

    def wq_disabled(self, attribute: str, errno: int = EPERM) -> None:
        if self.device.wqs[self.number].enabled:
            raise self.refuse(attribute, errno, "cannot be written while the WQ is enabled")

    def range(self, attribute: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            raise self.refuse(attribute, EINVAL, f"must be {low}..{high}, is {value}")

    @property
    def wq(self) -> WqConfig:
        return wq_settings(self.config, self.number)

    @property
    def group(self) -> GroupConfig:
        return group_settings(self.config, self.number)

    def parse(self, attribute: str, text: str, rule: re.Pattern[str] = _DECIMAL) -> int:
        if not rule.fullmatch(text):
            raise self.refuse(attribute, EINVAL, f"must be a number, is {text!r:.40}")
        digits = text.strip().lstrip("+")
        base = 16 if digits[:2] in ("0x", "0X") else 8 if rule is _ANY_BASE and digits.startswith("0") else 10
        try:
            return int(digits, base)
        except ValueError:
            raise self.refuse(attribute, EINVAL, f"must be a number, is {text!r:.40}") from None

    def boolean(self, attribute: str, text: str) -> bool:
        if text.startswith(_TRUE):
            return True
        if text.startswith(_FALSE):
            return False
        raise self.refuse(attribute, EINVAL, f"must be 0 or 1, is {text!r:.40}")


Write = Callable[[Target, str, str], None]


# ---- device ------------------------------------------------------------------------------------------------------------
def _read_buffer_limit(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.device_disabled(key)
    at.configurable(key)
    grpcap = at.device.caps.grpcap
    if not grpcap.rdbuf_limit:
        raise at.refuse(key, EPERM, "the device has no global read-buffer limit")
    at.range(key, value, 0, grpcap.total_rdbufs)
    at.config.read_buffer_limit = value


def _event_log_size(at: Target, key: str, text: str) -> None:
    if not at.device.caps.gencap.evl_support:
        raise at.refuse(key, EOPNOTSUPP, "the device has no event log")
    value = at.parse(key, text)
    at.device_disabled(key)
    at.configurable(key)
    at.range(key, value, EVL_ENTRIES, EVL_ENTRIES_LARGEST)
    at.config.event_log_size = value


def _cmd_status(at: Target, _key: str, _text: str) -> None:
    at.device.block.cmd_status = 0


# ---- group -------------------------------------------------------------------------------------------------------------
def _free_read_buffers(at: Target) -> int:
    total = at.device.caps.grpcap.total_rdbufs
    return total - sum(group.read_buffers_reserved for group in at.config.groups)


def _read_buffers_reserved(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.configurable(key)
    at.device_disabled(key)
    free = _free_read_buffers(at) + at.group.read_buffers_reserved
    at.range(key, value, 0, min(at.device.caps.grpcap.total_rdbufs, free))
    at.group.read_buffers_reserved = value


def _read_buffers_allowed(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.configurable(key)
    at.device_disabled(key)
    engines = sum(owner == at.number for owner in at.config.engines.values())
    at.range(key, value, READ_BUFFERS_PER_ENGINE * engines, at.group.read_buffers_reserved + _free_read_buffers(at))
    at.group.read_buffers_allowed = value


def _use_read_buffer_limit(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.configurable(key)
    at.device_disabled(key)
    if not at.config.read_buffer_limit:
        raise at.refuse(key, EPERM, "the device's read_buffer_limit is 0: write that first")
    at.group.use_read_buffer_limit = bool(value)


def _traffic_class(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text, _SIGNED)
    at.configurable(key)
    at.device_disabled(key)
    if at.device.caps.version <= VERSION_2:
        raise at.refuse(key, EPERM, "devices up to version 0x200 keep their traffic classes")
    at.range(key, value, 0, TRAFFIC_CLASS_MAX)
    setattr(at.group, key, value)


def _progress_limit(at: Target, key: str, text: str) -> None:
    if not at.device.caps.grpcap.progress_limit:
        raise at.refuse(key, ENOENT, "the device has no such attribute")
    value = at.parse(key, text)
    at.range(key, value, 0, PROGRESS_LIMIT_MAX)
    setattr(at.group, key, value)


# ---- engine ------------------------------------------------------------------------------------------------------------
def _engine_group(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text, _SIGNED)
    at.configurable(key)
    at.range(key, value, -1, at.device.caps.grpcap.num_groups - 1)
    at.config.engines.pop(at.number, None)
    if value >= 0:
        at.config.engines[at.number] = value


# ---- WQ ----------------------------------------------------------------------------------------------------------------
def _wq_group(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text, _SIGNED)
    at.configurable(key)
    at.wq_disabled(key)
    at.range(key, value, -1, at.device.caps.grpcap.num_groups - 1)
    at.wq.group_id = value


def _mode(at: Target, key: str, text: str) -> None:
    at.configurable(key)
    at.wq_disabled(key)
    modes = {"dedicated": WqMode.DEDICATED, "shared": WqMode.SHARED}
    mode = modes.get(text.removesuffix("\n"))
    if mode is None:
        raise at.refuse(key, EINVAL, f"must be dedicated or shared, is {text!r:.40}")
    at.wq.mode = mode
    if mode is WqMode.DEDICATED:
        at.wq.threshold = 0


def _size(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.configurable(key)
    at.device_disabled(key)
    total = at.device.caps.wqcap.total_wq_size
    others = sum(wq.size for wq in at.config.wqs if wq.id != at.number)
    if others + value > total:
        raise at.refuse(key, EINVAL, f"the sizes of all WQs would add up to {others + value}, the device has {total}")
    at.wq.size = value


def _priority(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text)
    at.configurable(key)
    at.wq_disabled(key)
    at.range(key, value, 0, PRIORITY_MAX)
    at.wq.priority = value


def _block_on_fault(at: Target, key: str, text: str) -> None:
    if not at.device.caps.gencap.block_on_fault:
        raise at.refuse(key, EOPNOTSUPP, "the device cannot block on faults")
    at.configurable(key)
    at.wq_disabled(key, NO_DEVICE_OR_ADDRESS)
    value = at.boolean(key, text)
    if value and at.wq.prs_disable:
        raise at.refuse(key, EOPNOTSUPP, "excludes prs_disable")
    at.wq.block_on_fault = value


def _threshold(at: Target, key: str, text: str) -> None:
    value = at.parse(key, text, _ANY_BASE)
    at.range(key, value, 1, at.wq.size)
    at.configurable(key)
    at.wq_disabled(key, NO_DEVICE_OR_ADDRESS)
    if at.wq.mode is WqMode.DEDICATED:
        raise at.refuse(key, EINVAL, "a dedicated WQ has none")
    at.wq.threshold = value


def _type(at: Target, key: str, text: str) -> None:
    at.wq_disabled(key)
    types = {wq_type.name.lower(): wq_type for wq_type in WqType}
    wq_type = types.get(text.removesuffix("\n"))
    if wq_type is None:
        raise at.refuse(key, EINVAL, f"must be one of {', '.join(types)}, is {text!r:.40}")
    if wq_type is not at.wq.type:
        at.wq.name = ""
    at.wq.type = wq_type


def _string(at: Target, key: str, text: str, longest: int) -> str:
    at.wq_disabled(key)
    if not 0 < len(text.encode()) <= longest:
        raise at.refuse(key, EINVAL, f"must be 1 to {longest} bytes")
    return text.strip()


def _name(at: Target, key: str, text: str) -> None:
    at.wq.name = _string(at, key, text, NAME_MAX)


def _driver_name(at: Target, key: str, text: str) -> None:
    at.wq.driver_name = _string(at, key, text, DRIVER_NAME_MAX)


def _shift_limit(at: Target, key: str, text: str, highest: int) -> int:
    at.configurable(key)
    at.wq_disabled(key)
    value = at.parse(key, text, _ANY_BASE)
    at.range(key, value, 1, highest)
    return 1 << (value - 1).bit_length()


def _max_transfer_size(at: Target, key: str, text: str) -> None:
    at.wq.max_transfer_size = _shift_limit(at, key, text, 1 << at.device.caps.gencap.max_xfer_shift)


def _max_batch_size(at: Target, key: str, text: str) -> None:
    at.wq.max_batch_size = _shift_limit(at, key, text, 1 << at.device.caps.gencap.max_batch_shift)


def _ats_disable(at: Target, key: str, text: str) -> None:
    if not at.device.caps.wqcap.wq_ats_support:
        raise at.refuse(key, ENOENT, "the device has no such attribute")
    at.wq_disabled(key)
    at.configurable(key)
    at.wq.ats_disable = at.boolean(key, text)


def _prs_disable(at: Target, key: str, text: str) -> None:
    if not at.device.caps.wqcap.wq_prs_support:
        raise at.refuse(key, ENOENT, "the device has no such attribute")
    at.wq_disabled(key)
    at.configurable(key)
    at.wq.prs_disable = at.boolean(key, text)
    at.wq.block_on_fault &= not at.wq.prs_disable


def _op_config(at: Target, key: str, text: str) -> None:
    if not at.device.caps.wqcap.op_config:
        raise at.refuse(key, ENOENT, "the device has no such attribute")
    at.wq_disabled(key)
    if not _BITMAP.fullmatch(text):
        raise at.refuse(key, EINVAL, "must be up to 8 comma-separated groups of up to 8 hexadecimal digits")
    value = int("".join(part.zfill(8) for part in text.strip().split(",")), 16)
    if value & ~at.device.caps.opcap.raw:
        raise at.refuse(key, EINVAL, "sets operations that op_cap does not have")
    at.wq.op_config = None if value == at.device.caps.opcap.raw else value


# ---- tables ------------------------------------------------------------------------------------------------------------
DEVICE: Final[dict[str, Write]] = {
    "read_buffer_limit": _read_buffer_limit,
    "token_limit": _read_buffer_limit,
    "event_log_size": _event_log_size,
    "cmd_status": _cmd_status,
}
GROUP: Final[dict[str, Write]] = {
    "read_buffers_reserved": _read_buffers_reserved,
    "tokens_reserved": _read_buffers_reserved,
    "read_buffers_allowed": _read_buffers_allowed,
    "tokens_allowed": _read_buffers_allowed,
    "use_read_buffer_limit": _use_read_buffer_limit,
    "use_token_limit": _use_read_buffer_limit,
    "traffic_class_a": _traffic_class,
    "traffic_class_b": _traffic_class,
    "desc_progress_limit": _progress_limit,
    "batch_progress_limit": _progress_limit,
}
ENGINE: Final[dict[str, Write]] = {"group_id": _engine_group}
WQ: Final[dict[str, Write]] = {
    "group_id": _wq_group,
    "mode": _mode,
    "size": _size,
    "priority": _priority,
    "block_on_fault": _block_on_fault,
    "threshold": _threshold,
    "type": _type,
    "name": _name,
    "driver_name": _driver_name,
    "max_transfer_size": _max_transfer_size,
    "max_batch_size": _max_batch_size,
    "ats_disable": _ats_disable,
    "prs_disable": _prs_disable,
    "op_config": _op_config,
}
_WRITABLE: Final = {None: DEVICE, "group": GROUP, "engine": ENGINE, "wq": WQ}
_NUMBERS_OF_DEVICE: Final = (
    *("max_groups", "max_work_queues", "max_work_queues_size", "max_engines", "max_batch_size", "max_transfer_size"),
    *("max_read_buffers", "max_tokens", "numa_node", "configurable", "cdev_major"),
)
_READ_ONLY: Final[dict[str | None, frozenset[str]]] = {
    None: frozenset(_NUMBERS_OF_DEVICE) | {"version", "op_cap", "gen_cap", "state", "errors", "clients", "pasid_enabled"},
    "group": frozenset({"engines", "work_queues"}),
    "engine": frozenset(),
    "wq": frozenset({"clients", "state", "cdev_minor", "occupancy"}),
}


def find(path: str, devices: dict[str, Device], configs: dict[str, DeviceConfig]) -> tuple[Target, str | None]:
    """The object of a name such as dsa0, dsa0/wq0.1, dsa0/group0.2, dsa0/engine0.3, and its kind. ENOENT."""
    match = _OBJECT.fullmatch(path)
    device = devices.get(match["device"]) if match else None
    if match is None or device is None:
        raise DriverError(ENOENT, f"object: no {path!r:.80} (named as dsa0, dsa0/wq0.1, dsa0/group0.0, dsa0/engine0.0)")
    config = configs.get(device.name) or DeviceConfig(device.index, device.name)
    kind: str | None = match["kind"]
    if kind is None:
        return Target(path, device, config), None
    counts = {"wq": len(device.wqs), "group": device.caps.grpcap.num_groups, "engine": len(device.engines)}
    number = int(match["id"])
    if int(match["index"]) != device.index or number >= counts[kind]:
        last = f"{kind}{device.index}.{counts[kind] - 1}"
        raise DriverError(ENOENT, f"object: {device.name} has no {match[0].partition('/')[2]}: it has up to {last}")
    return Target(path, device, config, number), kind


def write(at: Target, kind: str | None, attribute: str, text: str) -> None:
    """One attribute. ENOENT: there is none of this name; EACCES: it is read-only; else what its checks say."""
    store = _WRITABLE[kind].get(attribute)
    if store is not None:
        return store(at, attribute, text)
    if attribute in _READ_ONLY[kind]:
        raise at.refuse(attribute, EACCES, "is read-only")
    raise at.refuse(f"{attribute:.40}", ENOENT, f"no such attribute; there are {', '.join(_WRITABLE[kind])}")
