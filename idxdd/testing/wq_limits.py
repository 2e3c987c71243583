"""What a work queue allows, as the reference model takes it: from a profile, or from what a daemon tells of one."""

from __future__ import annotations

from typing import Any

from idxdd.device.profile import Profile
from idxdd.device.registerfile import capabilities
from idxdd.spec.codes import Opcode
from idxdd.spec.registers import GENCAP
from idxdd.testing.reference import Limits

DEFAULT_MAX_TRANSFER_BYTES = 2 << 20
DEFAULT_MAX_BATCH = 32
"""The driver's defaults for a WQ that was not told otherwise."""


def of_profile(
    profile: Profile,
    *,
    shared: bool = False,
    block_on_fault: bool = True,
    max_transfer_size: int = DEFAULT_MAX_TRANSFER_BYTES,
    max_batch_size: int = DEFAULT_MAX_BATCH,
) -> Limits:
    """A user WQ on a device of this kind; sizes beyond the device's are its own."""
    gencap = next(register for register in capabilities(profile) if isinstance(register, GENCAP))
    opcap = profile.opcap if profile.platform.ats else profile.opcap & ~(1 << Opcode.TRANSL_FETCH)
    return Limits(
        gencap,
        opcfg=opcap,
        max_xfer_shift=min(shift_of(max_transfer_size), gencap.max_xfer_shift),
        max_batch_shift=min(shift_of(max_batch_size), gencap.max_batch_shift),
        bof_enabled=block_on_fault and gencap.block_on_fault and profile.platform.prs,
        dedicated=not shared,
        privileged_mode=profile.platform.privileged_mode,
        ats_enabled=profile.platform.ats,
        evl_en=bool(profile.evl_support),
    )


def of_topology(device: dict[str, Any], wq: dict[str, Any], int_handles: frozenset[int] = frozenset()) -> Limits:
    """A WQ as `topology` lists it (accel-config's keys), on its device."""
    gencap = GENCAP(int(device["gen_cap"], 16))
    operations = _bitmap(device["op_cap"]) & _bitmap(wq.get("op_config", "f" * 64))
    ats = not wq.get("ats_disable", 0)
    return Limits(
        gencap,
        opcfg=operations if ats else operations & ~(1 << Opcode.TRANSL_FETCH),
        max_xfer_shift=shift_of(wq["max_transfer_size"]),
        max_batch_shift=shift_of(wq["max_batch_size"]),
        bof_enabled=bool(wq["block_on_fault"]),
        dedicated=wq["mode"] == "dedicated",
        priv=wq["type"] == "kernel",
        ats_enabled=ats,
        evl_en=bool(gencap.evl_support),
        int_handles=int_handles,
    )


def shift_of(size: int) -> int:
    """Of a power of two; else of the next larger one."""
    return max(0, size - 1).bit_length()


def _bitmap(text: str) -> int:
    return int(text.replace(",", ""), 16)
