"""What Enable Device and Enable WQ check, as tables of rules: the first that is violated gives the command's error code.

Sections: registers.md 8.1 and 8.2 (architecture specification 5.1, 5.2, table 5-8), in the order given there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from idxdd.device.profile import Platform
from idxdd.device.registerfile import RegisterFile
from idxdd.spec.codes import CmdErr, Command, Opcode, WqMode, WqState
from idxdd.spec.limits import EVL_ENTRY_BYTES_BY_SUPPORT
from idxdd.spec.registers import (
    DSACAP0,
    ENGCAP,
    EVLCFG,
    GENCAP,
    GENCFG,
    GRPCAP,
    GRPCFG,
    IDBR,
    OPCAP,
    WQCAP,
    WQCFG,
)

LOG_SIZE_MIN = 64
ADDRESS_SPACE = 1 << 64
READ_BUFFERS_PER_ENGINE = 4
BANDWIDTH_LIMIT_MAX = 3


@dataclass(frozen=True)
class Configuration:
    """A snapshot of all that the device rules look at."""

    platform: Platform
    gencap: GENCAP
    wqcap: WQCAP
    grpcap: GRPCAP
    engcap: ENGCAP
    gencfg: GENCFG
    evlcfg: EVLCFG
    idbr: IDBR
    groups: tuple[GRPCFG, ...]
    wqs: tuple[WQCFG, ...]

    @classmethod
    def of(cls, registers: RegisterFile, platform: Platform) -> "Configuration":
        """What the registers say now."""
        return cls(
            platform=platform,
            gencap=registers.read(GENCAP),
            wqcap=registers.read(WQCAP),
            grpcap=registers.read(GRPCAP),
            engcap=registers.read(ENGCAP),
            gencfg=registers.read(GENCFG),
            evlcfg=registers.read(EVLCFG),
            idbr=registers.read(IDBR),
            groups=tuple(registers.read(GRPCFG, index) for index in range(registers.count(GRPCFG))),
            wqs=tuple(registers.read(WQCFG, index) for index in range(registers.count(WQCFG))),
        )


def count_bits(mask: int) -> int:
    return mask.bit_count()


def disjoint(masks: Iterable[int]) -> bool:
    """No bit is set in two of them."""
    return not any(one & other for one, other in combinations(masks, 2))


# ---- Enable Device: each says whether the rule holds ------------------------------------------------------------------------
def prs_allocation_fits(c: Configuration) -> bool:
    return not c.platform.prs or 0 < c.platform.prs_allocation <= c.platform.prs_capacity


def ats_matches_platform(c: Configuration) -> bool:
    return c.platform.ats_supported if c.platform.ats else not c.platform.ats_required


def pasid_and_privilege_are_enabled(c: Configuration) -> bool:
    return all(
        (not reader.pasid_en or c.platform.pasid) and (not reader.priv or (reader.pasid_en and c.platform.privileged_mode))
        for reader in (c.evlcfg, c.idbr)
    )


def event_log_fits(c: Configuration) -> bool:
    if not c.gencfg.evl_en:
        return True
    entry_bytes = EVL_ENTRY_BYTES_BY_SUPPORT.get(c.gencap.evl_support)
    if entry_bytes is None or c.evlcfg.log_size < LOG_SIZE_MIN:
        return False
    return c.evlcfg.log_base + c.evlcfg.log_size * entry_bytes <= ADDRESS_SPACE


def wq_sizes_fit(c: Configuration) -> bool:
    return sum(wq.wq_size for wq in c.wqs) <= c.wqcap.total_wq_size


def groups_have_both_or_neither(c: Configuration) -> bool:
    return all(bool(group.wqs) == bool(group.engines) for group in c.groups)


def wqs_are_in_one_group(c: Configuration) -> bool:
    sized = sum(1 << index for index, wq in enumerate(c.wqs) if wq.wq_size)
    members = [group.wqs for group in c.groups]
    return disjoint(members) and sum(members) == sized


def engines_are_in_one_group(c: Configuration) -> bool:
    members = [group.engines for group in c.groups]
    return disjoint(members) and sum(members) < 1 << c.engcap.num_engines


def read_buffer_limit_fits(c: Configuration) -> bool:
    limited = [group for group in c.groups if group.use_rdbuf_limit]
    if not c.grpcap.rdbuf_limit:
        return not limited
    engines = sum(count_bits(group.engines) for group in limited)
    limit = c.gencfg.rdbuf_limit
    return limit <= c.grpcap.total_rdbufs and (not limited or limit >= READ_BUFFERS_PER_ENGINE * engines)


def read_buffers_fit(c: Configuration) -> bool:
    if not c.grpcap.rdbuf_ctrl:
        return True
    groups = [group for group in c.groups if group.engines]
    free = c.grpcap.total_rdbufs - sum(group.rdbufs_reserved for group in groups)
    return free >= 0 and all(
        max(READ_BUFFERS_PER_ENGINE * count_bits(group.engines), group.rdbufs_reserved)
        <= group.rdbufs_allowed
        <= group.rdbufs_reserved + free
        for group in groups
    )


def bandwidth_limits_fit(c: Configuration) -> bool:
    most = BANDWIDTH_LIMIT_MAX if c.grpcap.bandwidth_limit else 0
    return all(max(group.read_bandwidth_limit, group.write_bandwidth_limit) <= most for group in c.groups)


def reserved_flags_are_zero(c: Configuration) -> bool:
    return c.grpcap.progress_limit or not any(group.work_descs_limit or group.batch_descs_limit for group in c.groups)


DEVICE_RULES: tuple[tuple[CmdErr, Callable[[Configuration], bool]], ...] = (
    (CmdErr.BUS_MASTER_OFF, lambda c: c.platform.bus_master),
    (CmdErr.PRS_ALLOC_ERANGE, prs_allocation_fits),
    (CmdErr.ATS_CONFIG, ats_matches_platform),
    (CmdErr.PASID_PRIV_CONFIG, pasid_and_privilege_are_enabled),
    (CmdErr.EVL_CONFIG, event_log_fits),
    (CmdErr.WQ_SIZE_SUM_ERANGE, wq_sizes_fit),
    (CmdErr.GROUP_CONFIG, groups_have_both_or_neither),
    (CmdErr.GROUP_WQ_CONFIG, wqs_are_in_one_group),
    (CmdErr.GROUP_ENGINE_CONFIG, engines_are_in_one_group),
    (CmdErr.RDBUF_CONFIG, read_buffer_limit_fits),
    (CmdErr.RDBUF_CONFIG, read_buffers_fit),
    (CmdErr.RDBUF_CONFIG, bandwidth_limits_fit),
    (CmdErr.DEV_CONFIG, reserved_flags_are_zero),
)
"""That the device is Disabled is checked before, by commands.RULES."""


def check_device(configuration: Configuration) -> CmdErr:
    """Registers.md 8.1: SUCCESS, or the code of the first rule that does not hold."""
    return next((code for code, holds in DEVICE_RULES if not holds(configuration)), CmdErr.SUCCESS)


# ---- Enable WQ ---------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class WqConfiguration:
    """What the rules of one WQ look at."""

    platform: Platform
    gencap: GENCAP
    wqcap: WQCAP
    dsacap0: DSACAP0
    opcap: int
    evl_en: bool
    commands: frozenset[Command]
    vectors: int
    is_handle: Callable[[int], bool]
    wq: WQCFG

    @classmethod
    def of(cls, registers: RegisterFile, platform: Platform, is_handle: Callable[[int], bool], wq_id: int) -> "WqConfiguration":
        """What the registers say now."""
        return cls(
            platform=platform,
            gencap=registers.read(GENCAP),
            wqcap=registers.read(WQCAP),
            dsacap0=registers.read(DSACAP0),
            opcap=registers.read(OPCAP).opcodes,
            evl_en=registers.read(GENCFG).evl_en,
            commands=registers.profile.commands,
            vectors=registers.profile.vectors,
            is_handle=is_handle,
            wq=registers.read(WQCFG, wq_id),
        )


def mode_is_supported(c: WqConfiguration) -> bool:
    return c.wqcap.dedicated_mode if c.wq.mode is WqMode.DEDICATED else c.wqcap.shared_mode


def bof_is_possible(c: WqConfiguration) -> bool:
    return not c.wq.bof or (c.gencap.block_on_fault and c.platform.prs)


def pasid_is_possible(c: WqConfiguration) -> bool:
    return (c.wq.pasid_en or c.wq.mode is WqMode.DEDICATED) and (not c.wq.pasid_en or c.platform.pasid)


def privilege_is_possible(c: WqConfiguration) -> bool:
    privileged = c.wq.mode is WqMode.DEDICATED and c.wq.pasid_en and c.wq.priv
    return not privileged or c.platform.privileged_mode


def batch_limits_fit(c: WqConfiguration) -> bool:
    if not c.opcap >> Opcode.BATCH & 1:
        return True
    smallest = 0 if c.gencap.batch1 else 1
    return smallest <= c.wq.max_batch_shift <= c.gencap.max_batch_shift and c.wq.max_sgl_shift <= c.dsacap0.max_sgl_shift


def occupancy_interrupt_is_possible(c: WqConfiguration) -> bool:
    """A handle is looked at only if it will be used, or if it is a table index: software that never uses the interrupt
    leaves the field 0 (registers.md 8.2)."""
    if not c.wqcap.occupancy_int:
        return True
    if c.wq.occupancy_table_sel and not c.gencap.ims_entries:
        return False
    if Command.REQUEST_INT_HANDLE not in c.commands:
        return c.wq.occupancy_inth < c.vectors
    return not c.wq.occupancy_int_en or c.is_handle(c.wq.occupancy_inth)


def operations_are_supported(c: WqConfiguration) -> bool:
    return not c.wqcap.op_config or not c.wq.op_config & ~c.opcap


def prs_disable_is_possible(c: WqConfiguration) -> bool:
    return not c.wq.wq_prs_disable or (c.wqcap.wq_prs_support and c.evl_en and not c.wq.bof)


WQ_RULES: tuple[tuple[CmdErr, Callable[[WqConfiguration], bool]], ...] = (
    (CmdErr.WQ_ENABLED, lambda c: c.wq.wq_state is WqState.DISABLED),
    (CmdErr.WQ_SIZE_ZERO, lambda c: c.wq.wq_size != 0),
    (CmdErr.WQ_MODE_UNSUPPORTED, mode_is_supported),
    (CmdErr.WQ_PRIORITY_ZERO, lambda c: not c.wqcap.priority or c.wq.priority != 0),
    (CmdErr.WQ_BOF, bof_is_possible),
    (CmdErr.WQ_PASID_EN, pasid_is_possible),
    (CmdErr.WQ_PRIV, privilege_is_possible),
    (CmdErr.WQ_MAX_XFER_ERANGE, lambda c: c.wq.max_xfer_shift <= c.gencap.max_xfer_shift),
    (CmdErr.WQ_MAX_BATCH_ERANGE, batch_limits_fit),
    (CmdErr.WQ_OCCUPANCY_INT, occupancy_interrupt_is_possible),
    (CmdErr.WQ_ATS_DISABLE, lambda c: not c.wq.wq_ats_disable or c.wqcap.wq_ats_support),
    (CmdErr.WQ_OP_CONFIG, operations_are_supported),
    (CmdErr.WQ_PRS_DISABLE, prs_disable_is_possible),
)
"""That the index exists and the device is Enabled is checked before, by commands.RULES."""


def check_wq(configuration: WqConfiguration) -> CmdErr:
    """Registers.md 8.2: SUCCESS, or the code of the first rule that does not hold."""
    return next((code for code, holds in WQ_RULES if not holds(configuration)), CmdErr.SUCCESS)
