"""What accel-config prints: a device, its groups, WQs and engines with its keys, in its order (list and save-config).

An enabled object shows what it was enabled with; a disabled one what an enable would use, that is its configuration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver.config import DeviceConfig, GroupConfig, WqConfig
from idxdd.driver.state import DriverState
from idxdd.spec.codes import WqMode, WqType

if TYPE_CHECKING:
    from idxdd.driver.device import Capabilities, Device
    from idxdd.driver.wq import Wq

_OPCAP_BITS: Final = 256


def bitmap(value: int) -> str:
    """As sysfs prints one: eight groups of eight hexadecimal digits, most significant first."""
    return ",".join(f"{value >> shift & 0xFFFFFFFF:08x}" for shift in range(_OPCAP_BITS - 32, -1, -32))


def list_device(device: Device, config: DeviceConfig | None) -> dict[str, Any]:
    """The device with everything on it, enabled or not; `cmd_status` and the WQs' `label` come besides accel-config's keys."""
    config = config or DeviceConfig(device.index, device.name)
    enabled = device.state is DriverState.ENABLED
    shown: dict[str, Any] = {
        "dev": device.name,
        "read_buffer_limit": device.rdbuf_limit if enabled else config.read_buffer_limit,
    }
    if device.caps.gencap.evl_support:
        shown["event_log_size"] = device.evl_size if enabled else config.event_log_size
    return {**shown, **_facts(device), **_members(device, config)}


def _facts(device: Device) -> dict[str, Any]:
    caps = device.caps
    errors = sum(qword << 64 * position for position, qword in enumerate(device.block.swerr()))
    return {
        "max_groups": caps.grpcap.num_groups,
        "max_work_queues": caps.wqcap.num_wqs,
        "max_engines": caps.engcap.num_engines,
        "work_queue_size": caps.wqcap.total_wq_size,
        "numa_node": -1,
        **({"errors": bitmap(errors)} if errors else {}),
        "op_cap": bitmap(caps.opcap.raw),
        "gen_cap": f"{caps.gencap.raw:#x}",
        "version": f"{caps.version:#x}",
        "state": device.state.name.lower(),
        "max_read_buffers": caps.grpcap.total_rdbufs,
        "max_batch_size": 1 << caps.gencap.max_batch_shift,
        "max_transfer_size": 1 << caps.gencap.max_xfer_shift,
        "configurable": int(caps.gencap.config_en),
        "pasid_enabled": 1,
        "cdev_major": 0,
        "clients": sum(_clients(wq) for wq in device.wqs),
        "cmd_status": f"{device.block.cmd_status:#x}",
    }


def _members(device: Device, config: DeviceConfig) -> dict[str, Any]:
    enabled = device.state is DriverState.ENABLED
    settings = {wq.id: wq for wq in config.wqs}
    wqs = [_shown(wq, settings.get(wq.id)) for wq in device.wqs]
    described = {
        shown.id: wq_json(shown, device.index, device.caps) | {"state": _word(wq.enabled), "clients": _clients(wq)}
        for shown, wq in zip(wqs, device.wqs, strict=True)
    }
    owners = device.engines if enabled else [config.engines.get(number, -1) for number in range(len(device.engines))]
    groups = {group.id: group for group in _live_groups(device) if enabled} or {group.id: group for group in config.groups}
    listed = []
    for number in range(device.caps.grpcap.num_groups):
        group = group_json(groups.get(number) or GroupConfig(number), device.index, device.caps)
        members = [described[shown.id] for shown in wqs if shown.group_id == number]
        engines = [_engine(device.index, engine, owner) for engine, owner in enumerate(owners) if owner == number]
        listed.append(_with_members(group, members, engines))
    loose_wqs = [described[shown.id] for shown in wqs if shown.group_id < 0]
    loose_engines = [_engine(device.index, engine, owner) for engine, owner in enumerate(owners) if owner < 0]
    found: dict[str, Any] = {"groups": listed}
    if loose_wqs:
        found["ungrouped workqueues"] = loose_wqs
    if loose_engines:
        found["ungrouped_engines"] = loose_engines
    return found


def _clients(wq: Wq) -> int:
    return wq.clients + len(wq.channels)


def _word(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _live_groups(device: Device) -> list[GroupConfig]:
    return [
        GroupConfig(
            group.id,
            traffic_class_a=group.tc_a,
            traffic_class_b=group.tc_b,
            use_read_buffer_limit=group.use_rdbuf_limit,
            read_buffers_reserved=group.rdbufs_reserved,
            read_buffers_allowed=group.rdbufs_allowed,
            desc_progress_limit=group.desc_progress_limit,
            batch_progress_limit=group.batch_progress_limit,
        )
        for group in device.groups
    ]


def live_config(device: Device) -> DeviceConfig:
    """What the device was enabled with."""
    return DeviceConfig(
        device.index,
        device.name,
        groups=_live_groups(device),
        wqs=[_shown(wq, None) for wq in device.wqs if wq.enabled],
        engines={number: group_id for number, group_id in enumerate(device.engines) if group_id >= 0},
        read_buffer_limit=device.rdbuf_limit,
        event_log_size=device.evl_size,
    )


def _shown(wq: Wq, settings: WqConfig | None) -> WqConfig:
    if not wq.enabled:
        return settings or WqConfig(wq.id, -1)
    return WqConfig(
        wq.id,
        wq.group_id,
        mode=wq.mode,
        size=wq.size,
        threshold=wq.threshold,
        priority=wq.priority,
        block_on_fault=wq.block_on_fault,
        ats_disable=wq.ats_disable,
        prs_disable=wq.prs_disable,
        type=wq.type,
        name=wq.name,
        driver_name=wq.driver_name,
        max_transfer_size=wq.max_transfer_size,
        max_batch_size=wq.max_batch_size,
        op_config=wq.op_config,
    )


# ---- objects -----------------------------------------------------------------------------------------------------------
def group_json(group: GroupConfig, device: int, caps: Capabilities) -> dict[str, Any]:
    """A group's own keys."""
    allowed = caps.grpcap.total_rdbufs if group.read_buffers_allowed is None else group.read_buffers_allowed
    found: dict[str, Any] = {
        "dev": f"group{device}.{group.id}",
        "read_buffers_reserved": group.read_buffers_reserved,
        "use_read_buffer_limit": int(group.use_read_buffer_limit),
        "read_buffers_allowed": allowed,
        "traffic_class_a": group.traffic_class_a,
        "traffic_class_b": group.traffic_class_b,
    }
    if caps.grpcap.progress_limit:
        found["desc_progress_limit"] = group.desc_progress_limit
        found["batch_progress_limit"] = group.batch_progress_limit
    return found


def wq_json(wq: WqConfig, device: int, caps: Capabilities) -> dict[str, Any]:
    """A WQ's attributes, without what only list has."""
    found: dict[str, Any] = {"dev": f"wq{device}.{wq.id}", "mode": wq.mode.name.lower(), "size": wq.size}
    if wq.group_id >= 0:
        found["group_id"] = wq.group_id
    found |= {
        "priority": wq.priority,
        "block_on_fault": int(wq.block_on_fault),
        "max_batch_size": wq.max_batch_size,
        "max_transfer_size": wq.max_transfer_size,
        "type": wq.type.name.lower(),
        "name": wq.name,
        "driver_name": wq.driver_name,
        "threshold": 0 if wq.mode is WqMode.DEDICATED else wq.threshold,
    }
    if caps.wqcap.wq_prs_support:
        found["prs_disable"] = int(wq.prs_disable)
    if caps.wqcap.wq_ats_support:
        found["ats_disable"] = int(wq.ats_disable)
    if caps.wqcap.op_config:
        found["op_config"] = bitmap(caps.opcap.raw if wq.op_config is None else wq.op_config)
    return found


def _engine(device: int, number: int, group_id: int) -> dict[str, Any]:
    return {"dev": f"engine{device}.{number}", **({"group_id": group_id} if group_id >= 0 else {})}


def _with_members(group: dict[str, Any], wqs: list[dict[str, Any]], engines: list[dict[str, Any]]) -> dict[str, Any]:
    if wqs:
        group["grouped_workqueues"] = wqs
    if engines:
        group["grouped_engines"] = engines
    return group


# ---- save-config -------------------------------------------------------------------------------------------------------
def save_device(config: DeviceConfig, caps: Capabilities) -> dict[str, Any]:
    """A configuration as save-config writes it: parse_config gives the same one back."""
    groups = {group.id: group for group in config.groups}
    used = sorted({*groups, *(wq.group_id for wq in config.wqs if wq.group_id >= 0), *config.engines.values()} - {-1})
    listed = [
        _with_members(
            group_json(groups.get(number) or GroupConfig(number), config.index, caps),
            [_saved(wq, config.index, caps) for wq in config.wqs if wq.group_id == number],
            [_engine(config.index, engine, owner) for engine, owner in sorted(config.engines.items()) if owner == number],
        )
        for number in used
    ]
    found: dict[str, Any] = {"dev": config.name, "read_buffer_limit": config.read_buffer_limit}
    if caps.gencap.evl_support:
        found["event_log_size"] = config.event_log_size
    found["groups"] = listed
    loose = [_saved(wq, config.index, caps) for wq in config.wqs if wq.group_id < 0 and wq != WqConfig(wq.id, -1)]
    if loose:
        found["ungrouped_workqueues"] = loose
    return found


def _saved(wq: WqConfig, device: int, caps: Capabilities) -> dict[str, Any]:
    found = wq_json(wq, device, caps)
    if not found["driver_name"]:
        del found["driver_name"]
    return found


def copy_config(config: DeviceConfig) -> DeviceConfig:
    """One that can be changed without the other."""
    return replace(
        config,
        groups=[replace(group) for group in config.groups],
        wqs=[replace(wq) for wq in config.wqs],
        engines=dict(config.engines),
    )


def wq_settings(config: DeviceConfig, wq_id: int) -> WqConfig:
    """The WQ's entry, made if there is none."""
    for wq in config.wqs:
        if wq.id == wq_id:
            return wq
    config.wqs.append(WqConfig(wq_id, -1, type=WqType.NONE))
    config.wqs.sort(key=lambda wq: wq.id)
    return wq_settings(config, wq_id)


def group_settings(config: DeviceConfig, group_id: int) -> GroupConfig:
    """The group's entry, made if there is none."""
    for group in config.groups:
        if group.id == group_id:
            return group
    config.groups.append(GroupConfig(group_id))
    config.groups.sort(key=lambda group: group.id)
    return group_settings(config, group_id)
