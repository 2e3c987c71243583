"""The driver's view of devices and WQs, as the list verb tells it: sysfs names and words.

`name` is the object's own name (wq0.1); a WQ's sysfs attribute `name` is `label` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.wq import Wq


def describe_device(device: Device) -> dict[str, Any]:
    """The driver's view, by sysfs names."""
    return {
        "name": device.name,
        "index": device.index,
        "state": device.state.name.lower(),
        "cmd_status": device.block.cmd_status,
        "enabled_bitmap": device.block.enabled_bitmap,
        "clients": sum(wq.clients for wq in device.wqs),
        "evl_faults": device.block.evl_faults,
        "evl_copy_failures": device.block.evl_copy_failures,
        "errors": [f"{qword:#018x}" for qword in device.block.swerr()],
        "engines": [
            {"name": f"engine{device.index}.{number}", "group_id": group_id} for number, group_id in enumerate(device.engines)
        ],
        "wqs": [describe_wq(wq) for wq in device.wqs],
        "groups": [
            {
                "name": f"group{device.index}.{group.id}",
                "work_queues": [f"wq{device.index}.{wq.id}" for wq in device.wqs if wq.group_id == group.id],
                "engines": [f"engine{device.index}.{n}" for n, owner in enumerate(device.engines) if owner == group.id],
            }
            for group in device.groups
        ],
    }


def describe_wq(wq: Wq) -> dict[str, Any]:
    """A WQ's attributes, by sysfs names."""
    return {
        "name": f"wq{wq.device.index}.{wq.id}",
        "wq": wq.global_index,
        "state": "enabled" if wq.enabled else "disabled",
        "mode": wq.mode.name.lower(),
        "type": wq.type.name.lower(),
        "size": wq.size,
        "group_id": wq.group_id,
        "priority": wq.priority,
        "threshold": wq.threshold,
        "block_on_fault": int(wq.block_on_fault),
        "label": wq.name,
        "driver_name": wq.driver_name,
        "max_transfer_size": wq.max_transfer_size,
        "max_batch_size": wq.max_batch_size,
        "clients": wq.clients,
        "channels": sorted(wq.channels),
        "int_handle": wq.int_handle,
        "gate": ("dead", "live", "closed")[wq.gate] if wq.gate < 3 else str(wq.gate),
    }
