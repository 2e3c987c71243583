"""Configuration write: sysfs attributes to the driver's objects, and these to WQCFG, GENCFG and GRPCFG."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from idxdd.driver.config import SIZE_DEFAULT
from idxdd.driver.workqueue import DriverError
from idxdd.driver.wq import refuse_wq
from idxdd.spec.codes import DriverStatus, WqMode, WqType
from idxdd.spec.registers import GENCFG, GRPCFG, WQCFG

if TYPE_CHECKING:
    from idxdd.driver.config import DeviceConfig, WqConfig
    from idxdd.driver.device import Device
    from idxdd.driver.wq import Wq


def apply_attributes(device: Device, config: DeviceConfig) -> None:
    """Write the sysfs attributes of a disabled device, as load-config does."""
    device.rdbuf_limit, device.evl_size = config.read_buffer_limit, config.event_log_size
    for settings in config.groups:
        group = device.groups[settings.id]
        group.tc_a, group.tc_b = settings.traffic_class_a, settings.traffic_class_b
        group.use_rdbuf_limit = settings.use_read_buffer_limit
        group.rdbufs_reserved = settings.read_buffers_reserved
        if settings.read_buffers_allowed is not None:
            group.rdbufs_allowed = settings.read_buffers_allowed
        group.desc_progress_limit, group.batch_progress_limit = settings.desc_progress_limit, settings.batch_progress_limit
    for number, group_id in config.engines.items():
        device.engines[number] = group_id
    for wq_settings in config.wqs:
        wq = device.wqs[wq_settings.id]
        wq.size, wq.group_id = wq_settings.size, wq_settings.group_id
        apply_wq_attributes(wq, wq_settings)


def apply_wq_attributes(wq: Wq, config: WqConfig) -> None:
    """Write what a WQ's reset clears; size and group stay."""
    wq.mode, wq.threshold, wq.priority = config.mode, config.threshold, config.priority
    wq.name, wq.driver_name = config.name, config.driver_name
    wq.block_on_fault = config.block_on_fault and not config.prs_disable
    wq.ats_disable, wq.prs_disable = config.ats_disable, config.prs_disable
    wq.max_transfer_size, wq.max_batch_size, wq.op_config = config.max_transfer_size, config.max_batch_size, config.op_config


def write_configuration(device: Device) -> None:
    """Check the WQs and engines, then write WQCFG, read-buffer limit and GRPCFG (driver.md section 3.3). EINVAL."""
    used = [wq for wq in device.wqs if wq.group_id >= 0]
    for wq in used:
        if not wq.dedicated and not device.caps.wqcap.shared_mode:
            device.log("warning", "No shared wq support but configured.", device=device.name, wq=wq.label)
            raise refuse_wq(wq, EINVAL, DriverStatus.WQ_NO_SWQ_SUPPORT, "mode: the device has no shared WQs")
    if not used:
        device.block.cmd_status = DriverStatus.WQ_NONE_CONFIGURED
        raise DriverError(EINVAL, f"{device.name}: no WQ is in a group (cmd_status {int(DriverStatus.WQ_NONE_CONFIGURED):#x})")
    if all(group_id < 0 for group_id in device.engines):
        raise DriverError(EINVAL, f"{device.name}: no engine is in a group")
    for wq in used:
        _write_wqcfg(wq)
    if device.rdbuf_limit:
        device.mmio.write(device.mmio.read(GENCFG).replace(rdbuf_limit=device.rdbuf_limit))
    for group in device.groups:
        _write_grpcfg(device, group.id)


def _write_wqcfg(wq: Wq) -> None:
    device, at, size = wq.device, wq.config_offset, wq.config_bytes
    caps, mmio = device.caps, device.mmio
    there = int.from_bytes(b"".join(mmio.read32(at + byte).to_bytes(4, "little") for byte in range(0, size, 4)), "little")
    if not wq.size:
        wq.size = SIZE_DEFAULT if wq.name else 0
    cfg = WQCFG(wq.shadow | there)
    cfg = cfg.replace(
        wq_size=wq.size,
        wq_thresh=wq.threshold,
        mode=WqMode.DEDICATED if wq.dedicated else cfg.mode,  # only ever set: a set bit is cleared by a reset alone
        priority=wq.priority,
        priv=wq.type is WqType.KERNEL,
        bof=cfg.bof or (caps.gencap.block_on_fault and wq.block_on_fault and not wq.prs_disable),
        max_xfer_shift=(wq.max_transfer_size - 1).bit_length(),
        max_batch_shift=(wq.max_batch_size - 1).bit_length(),
    )
    if caps.wqcap.wq_ats_support:
        cfg = cfg.replace(wq_ats_disable=wq.ats_disable)
    if caps.wqcap.wq_prs_support:
        cfg = cfg.replace(wq_prs_disable=wq.prs_disable)
    if caps.wqcap.op_config:
        cfg = cfg.replace(op_config=caps.opcap.raw if wq.op_config is None else wq.op_config)
    wq.shadow = cfg.raw
    for byte in range(0, size, 4):
        if (wq.shadow ^ there) >> 8 * byte & 0xFFFFFFFF:  # each WQ's enabling comes here for all of them
            mmio.write32(at + byte, wq.shadow >> 8 * byte & 0xFFFFFFFF)


def _write_grpcfg(device: Device, group_id: int) -> None:
    group = device.groups[group_id]
    if group.tc_a < 0:
        group.tc_a = 0
    if group.tc_b < 0:
        group.tc_b = 1
    caps = device.caps.grpcap
    value = GRPCFG.encode(
        wqs=sum(1 << wq.id for wq in device.wqs if wq.group_id == group_id),
        engines=sum(1 << number for number, owner in enumerate(device.engines) if owner == group_id),
        tc_a=group.tc_a,
        tc_b=group.tc_b,
        use_rdbuf_limit=group.use_rdbuf_limit and caps.rdbuf_limit,
        rdbufs_reserved=group.rdbufs_reserved if caps.rdbuf_ctrl else 0,
        rdbufs_allowed=group.rdbufs_allowed if caps.rdbuf_ctrl else 0,
        work_descs_limit=group.desc_progress_limit if caps.progress_limit else 0,
        batch_descs_limit=group.batch_progress_limit if caps.progress_limit else 0,
    )
    at = GRPCFG.entry_offset(group_id, device.caps.offsets)
    for byte in range(0, 48, 8):
        word = value.raw >> 8 * byte & 0xFFFFFFFFFFFFFFFF
        if device.mmio.read64(at + byte) != word:
            device.mmio.write64(at + byte, word)
