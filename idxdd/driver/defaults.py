"""The configuration of a device for which none is given: one WQ of each kind, each in a group with an engine of its own.

On the default profile that is four groups; a device with less of everything shares: WQ n lies in group n modulo the
groups, sizes divide the entries there are, and a mode that the device lacks is replaced by the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from idxdd.driver.device import Capabilities

SIZE_MAX: Final = 32
KINDS: Final = (
    ("dedicated", "user", "app0"),
    ("shared", "user", "app1"),
    ("shared", "kernel", "dmaengine"),
    ("dedicated", "kernel", "dmaengine"),
)
"""Mode, type and name of WQs 0 to 3."""


def default_config(devices: Iterable[tuple[int, Capabilities]]) -> list[dict[str, Any]]:
    """accel-config's list for devices of these numbers and capabilities."""
    return [_device(index, caps) for index, caps in devices]


def _device(index: int, caps: Capabilities) -> dict[str, Any]:
    count = min(len(KINDS), caps.wqcap.num_wqs, caps.wqcap.total_wq_size)
    groups = min(count, caps.grpcap.num_groups, caps.engcap.num_engines)
    return {
        "dev": f"dsa{index}",
        "groups": [
            {
                "dev": f"group{index}.{group}",
                "grouped_workqueues": [_wq(index, wq, group, count, caps) for wq in range(group, count, groups)],
                "grouped_engines": [{"dev": f"engine{index}.{group}", "group_id": group}],
            }
            for group in range(groups)
        ],
    }


def _wq(index: int, number: int, group: int, count: int, caps: Capabilities) -> dict[str, Any]:
    mode, wq_type, name = KINDS[number]
    size = min(SIZE_MAX, caps.wqcap.total_wq_size // count)
    if not (caps.wqcap.shared_mode if mode == "shared" else caps.wqcap.dedicated_mode):
        mode = "dedicated" if mode == "shared" else "shared"
    return {
        "dev": f"wq{index}.{number}",
        "mode": mode,
        "size": size,
        "group_id": group,
        "priority": 10,
        "block_on_fault": 0,
        "max_batch_size": 1 << caps.gencap.max_batch_shift,
        "max_transfer_size": 1 << caps.gencap.max_xfer_shift,
        "type": wq_type,
        "name": name,
        "driver_name": "user" if wq_type == "user" else "dmaengine",
        "threshold": size if mode == "shared" else 0,
    }
