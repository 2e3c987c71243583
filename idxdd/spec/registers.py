"""Every register of BAR0 that software meets, declared once (configuration space: pci.py).

Sections cited are those of the architecture specification (341204-006US, revision 3.0).
A reset value that names a capability field depends on the device: `GENCFG.initial(grpcap)`.
"""

from idxdd.spec.codes import Command, CompletionStatus, DeviceState, InterruptCause, ResetType, WqMode, WqState
from idxdd.spec.layout import (
    RO,
    RW,
    RW_COUNTER_DISABLED,
    RW_DEVICE_DISABLED,
    RW_INT_DISABLED,
    RW_UNUSABLE,
    RW_UNUSABLE_LOCKED,
    RW_WQ_DISABLED,
    RWV,
    W1C,
    WO,
    Register,
    Table,
    bit,
    bits,
)


# ---- fixed registers -----------------------------------------------------------------------------------------------------
class VERSION(Register, offset=0x00, width=32):
    """Version of the architecture the device implements (9.2.1)."""

    minor = bits(7, 0)
    major = bits(15, 8)


class GENCAP(Register, offset=0x10, width=64):
    """General capabilities (9.2.2)."""

    block_on_fault = bit(0, "Block On Fault flag and WQCFG.bof are usable")
    overlap_copy = bit(1, "Memory Move may overlap")
    cache_control = bit(2, "hints that write to cache are allowed")
    cmd_cap = bit(4, "CMDCAP is present; 0 = commands 1-12 only")
    durable_write = bit(5, "cache control 100 (durable, no readback) is allowed")
    inter_domain = bit(6, "inter-domain operations, while PASID is enabled")
    translation_fetch_stride = bit(7, "Translation Fetch: Use Stride flag is allowed")
    dest_readback = bit(8, "cache-control encodings with readback are allowed")
    drain_readback = bit(9, "Drain may carry readback addresses")
    fill16 = bit(10, "Fill with a 16-byte pattern")
    crc64 = bit(11, "CRC Size flag is allowed")
    fault_info = bit(12, "byte 2 of the completion record is defined")
    evl_support = bits(14, 13, "event-log entry size: 0 no log, 1 = 64, 2 = 128, 3 = 256 bytes")
    batch_continuation = bit(15, "Batch Error flag, and result of a batch")
    max_xfer_shift = bits(20, 16, "largest transfer is 2^n bytes")
    max_batch_shift = bits(24, 21, "largest batch is 2^n descriptors")
    ims_entries = bits(30, 25, "IMS entries; 0 = no IMS table, no IMS portals", unit=256)
    config_en = bit(31, "GENCFG, GRPCFG and WQCFG are configurable")
    evl_overflow = bit(32, "a full event log drops the entry and posts 0x54; 0 = it blocks")
    batch1 = bit(52, "a batch of one descriptor is allowed")
    strict_order_no_memory = bit(53, "Strict Ordering flag is reserved for memory destinations")
    strict_order_no_peer = bit(54, "Strict Ordering flag is reserved for peer destinations")


class WQCAP(Register, offset=0x20, width=64):
    """Work-queue capabilities."""

    total_wq_size = bits(15, 0, "bound on the sum of all WQ sizes, entries")
    num_wqs = bits(23, 16)
    wqcfg_size = bits(27, 24, "a WQCFG entry takes 2^(n + 5) bytes")
    shared_mode = bit(48)
    dedicated_mode = bit(49)
    wq_ats_support = bit(50, "WQCFG.wq_ats_disable is usable")
    priority = bit(51, "0 = WQ priority is ignored, and not checked at Enable WQ")
    occupancy = bit(52, "WQCFG.occupancy is readable")
    occupancy_int = bit(53, "occupancy interrupt; 0 = its fields are reserved")
    op_config = bit(54, "per-WQ operation mask; 0 = every WQ follows OPCAP")
    wq_prs_support = bit(55, "WQCFG.wq_prs_disable is usable")


class GRPCAP(Register, offset=0x30, width=64):
    """Group capabilities."""

    num_groups = bits(7, 0)
    total_rdbufs = bits(15, 8, "read buffers (formerly tokens); undefined without rdbuf_ctrl")
    rdbuf_ctrl = bit(16, "GRPCFG.rdbufs_reserved and rdbufs_allowed are usable")
    rdbuf_limit = bit(17, "GENCFG.rdbuf_limit and GRPCFG.use_rdbuf_limit are usable")
    progress_limit = bit(18, "descriptors-in-progress limits are usable")
    bandwidth_limit = bit(19, "read and write bandwidth limits are usable (3.0)")


class ENGCAP(Register, offset=0x38, width=64):
    """Engine capabilities."""

    num_engines = bits(7, 0)
    max_work_descs = bits(15, 8, "work descriptors in progress per engine")
    max_batch_descs = bits(23, 16, "batch descriptors in progress per engine")


class OPCAP(Register, offset=0x40, width=256):
    """Operation capabilities: bit n = opcode n is supported."""

    opcodes = bits(255, 0)


class OFFSETS(Register, offset=0x60, width=128):
    """Where the tables lie, in steps of 0x100 bytes from the start of BAR0."""

    grpcfg = bits(15, 0, unit=0x100)
    wqcfg = bits(31, 16, unit=0x100)
    msix_perm = bits(47, 32, unit=0x100)
    ims = bits(63, 48, unit=0x100)
    perfmon = bits(79, 64, "0 = none (PERFCAP = 0 also says so)", unit=0x100)
    idpt = bits(95, 80, "inter-domain permissions table", unit=0x100)


class GENCFG(Register, offset=0x80, width=32, access=RW_DEVICE_DISABLED, fixed=True):
    """General configuration."""

    rdbuf_limit = bits(7, 0, "global read-buffer limit; reserved without GRPCAP.rdbuf_limit", reset=GRPCAP.total_rdbufs)
    user_int_en = bit(12, "user descriptors on a WQ with PASID may request completion interrupts")
    evl_en = bit(13, "event log; writable while Disabled also when config_en = 0", fixed=False)


class GENCTRL(Register, offset=0x88, width=32, access=RW):
    """General control: interrupt enables of vector 0."""

    softerr_int_en = bit(0)
    halt_int_en = bit(1)
    evl_int_en = bit(2)


class GENSTS(Register, offset=0x90, width=32):
    """General Status: where the device is, and which reset would bring it back."""

    state = bits(1, 0, DeviceState)
    reset_type = bits(3, 2, ResetType)


class INTCAUSE(Register, offset=0x98, width=32, access=W1C):
    """Why vector 0 fired. Writing a 1 back acknowledges that cause; if the device sets it meanwhile, set wins (9.2.11)."""

    err = bit(0, "SWERR.valid went from 0 to 1 (gate GENCTRL.softerr_int_en)")
    cmd = bit(1, "command finished (gate CMD.int_req)")
    occupancy = bit(2, "WQ occupancy at or below its limit, entry 0 selected (gate WQCFG.occupancy_int_en)")
    perfmon_ovfl = bit(3, "perfmon counter overflowed (gate CNTRCFG.int_overflow)")
    halt = bit(4, "GENSTS.state became Halt (gate GENCTRL.halt_int_en)")
    evl = bit(5, "event-log entry written while int_pending was 0 (gate GENCTRL.evl_int_en)")
    int_handle_revoked = bit(31, "interrupt handles were revoked")

    @property
    def causes(self) -> InterruptCause:
        """All causes that are set."""
        return InterruptCause(self.raw & self.defined_mask())


class CMD(Register, offset=0xA0, width=32, access=WO, kept=True):
    """Command (9.2.12, 3.15). Written while CMDSTS.active = 1: discarded, error 0x52."""

    operand = bits(19, 0)
    command = bits(24, 20, Command)
    int_req = bit(31, "INTCAUSE.cmd and vector 0 on completion")


class CMDSTS(Register, offset=0xA8, width=32, kept=True):
    """Command status; while active = 1 the other fields say nothing."""

    error = bits(7, 0, "CmdErr")
    result = bits(23, 8, "handle of commands 13 and 15, else 0")
    active = bit(31)


class CMDCAP(Register, offset=0xB0, width=64):
    """Command capabilities: bit n = command n is supported. Present if GENCAP.cmd_cap."""

    commands = bits(63, 0)


class SWERR(Register, offset=0xC0, width=256, kept=True):
    """Software error record (9.2.15): the first error is latched, a second sets overflow and is lost."""

    valid = bit(0, access=W1C)
    overflow = bit(1, access=W1C)
    desc_valid = bit(2, "batch, operation, batch_idx, priv and pasid are meaningful")
    wq_idx_valid = bit(3)
    batch = bit(4, "the descriptor was a member of a batch")
    fault_rw = bit(5, "the faulting access was a write (0x03, 0x04, 0x06, 0x1A, 0x1F)")
    priv = bit(6)
    err_info_valid = bit(7, "error_info is meaningful (for 0x11 it is, even with 0 here)")
    error = bits(15, 8, "CompletionStatus")
    wq_idx = bits(23, 16)
    operation = bits(39, 32, "opcode")
    pasid = bits(59, 40)
    batch_idx = bits(15, 0, "position in the batch", at=8)
    error_info = bits(31, 0, "0x11: flag mask; 0x19: handle; faults: operand id in 31:29, IDPT handle in 15:0", at=12)
    fault_addr = bits(63, 0, at=16)

    @property
    def status(self) -> CompletionStatus | int:
        """The error code by name, where it has one."""
        return CompletionStatus(self.error) if self.error in CompletionStatus._value2member_map_ else self.error


class EVLCFG(Register, offset=0xE0, width=128, access=RW_DEVICE_DISABLED):
    """Event-log configuration."""

    pasid_en = bit(0, "reserved if PCI PASID is off")
    priv = bit(1, "reserved without pasid_en or privileged mode")
    log_base = bits(63, 12, "address of the log", unit=4096)
    log_size = bits(15, 0, "entries, at least 64", at=8)
    pasid = bits(35, 16, at=8)


class EVLSTATUS(Register, offset=0xF0, width=64, kept=True):
    """Event-log status."""

    head = bits(15, 0, "next entry software will read", access=RW)
    tail = bits(47, 32, "next entry the device will write")
    int_pending = bit(62, access=W1C)


class IDCAP(Register, offset=0x100, width=64):
    """Inter-domain capabilities; present if GENCAP.inter_domain."""

    entry_types = bits(1, 0, "bit 0 single submitter (SASS), bit 1 many (SAMS)")
    idpt_size = bits(23, 8, "entries, 0 = no table")
    offset_mode = bit(24)
    suppress_drain = bit(25, "Update Window may suppress its drain")
    idpt_entry_size = bits(27, 26, "an IDPT entry takes 2^(n + 5) bytes")


class IDBR(Register, offset=0x108, width=32, access=RW_DEVICE_DISABLED):
    """How submitter bitmaps are read; present if GENCAP.inter_domain and IDCAP bit 1."""

    pasid_en = bit(0)
    priv = bit(1)
    traffic_class = bits(4, 2)
    pasid = bits(27, 8)


class DSACAP0(Register, offset=0x180, width=64):
    """DSA 3.0 capabilities; 0 on versions 1 and 2."""

    max_sgl_shift = bits(3, 0, "largest SGL is 2^n entries")
    max_gather_reduce_shift = bits(7, 4, "largest gather-reduce block is 2^n bytes")
    inter_domain_ops = bits(
        14, 8, "8 type conversion, 9 reduce, 10 reduce dualcast, 12 gather copy, 13 scatter copy, 14 scatter fill"
    )
    sgl_formats = bits(47, 32, "bit n = format n")
    max_sg_descs = bits(55, 48, "scatter/gather descriptors in progress per engine")


class DSACAP1(Register, offset=0x188, width=64):
    """DSA 3.0: data types and compute types."""

    data_types = bits(15, 0, "bit n = type n")
    up_conversions = bits(24, 16)
    down_conversions = bits(40, 32)
    compute_types = bits(63, 48, "bit n = compute type n")


class DSACAP2(Register, offset=0x190, width=64):
    """DSA 3.0: compute flags."""

    negate = bit(0)
    flush_to_zero = bit(2)
    denormals_as_zero = bit(3)
    signed_integers = bit(7)
    saturate = bit(8)
    round_nearest_even = bit(12)
    round_down = bit(13)
    round_up = bit(14)
    round_to_zero = bit(15)


class CMDPARAM(Register, offset=0xE000, width=64, access=RW):
    """Second operand of Invalidate Submitter Bitmap Cache."""

    param = bits(63, 0)


# ---- tables ----------------------------------------------------------------------------------------------------------------
class GRPCFG(Table, base=OFFSETS.grpcfg, stride=64, count=GRPCAP.num_groups, width=512, access=RW_DEVICE_DISABLED, fixed=True):
    """Group configuration (9.2.23): which WQs and engines belong together."""

    wqs = bits(255, 0, "bit n = WQ n")
    engines = bits(63, 0, "bit n = engine n", at=32)
    tc_a = bits(2, 0, at=40)
    tc_b = bits(5, 3, at=40)
    use_rdbuf_limit = bit(7, "reserved without GRPCAP.rdbuf_limit", at=40)
    rdbufs_reserved = bits(15, 8, "RO and unused without GRPCAP.rdbuf_ctrl", at=40)
    rdbufs_allowed = bits(27, 20, "RO and unused without GRPCAP.rdbuf_ctrl", at=40, reset=GRPCAP.total_rdbufs)
    work_descs_limit = bits(33, 32, "in progress: 0 all, 1 = 1/2, 2 = 1/4, 3 = 1/8", at=40)
    batch_descs_limit = bits(37, 36, "in progress: 0 all, 1 = 1/2, 2 = 1/4, 3 = 1/8", at=40)
    read_bandwidth_limit = bits(43, 40, "0 none, 1 = 1/2, 2 = 1/4, 3 = 1/8 (3.0)", at=40)
    write_bandwidth_limit = bits(47, 44, "0 none, 1 = 1/2, 2 = 1/4, 3 = 1/8 (3.0)", at=40)


class WQCFG(Table, base=OFFSETS.wqcfg, stride=WQCAP.wqcfg_size, count=WQCAP.num_wqs, width=512, access=RW_WQ_DISABLED):
    """Work-queue configuration (9.2.24). With config_en = 0 and mode_support = 0 the whole entry is read-only."""

    wq_size = bits(15, 0, "entries; 0 = inactive", access=RW_DEVICE_DISABLED, fixed=True)
    wq_thresh = bits(15, 0, "bound of limited portals; ignored in dedicated mode", at=4, access=RW)
    mode = bits(0, 0, WqMode, at=8)
    bof = bit(1, "block on fault is allowed", at=8, fixed=True)
    wq_ats_disable = bit(2, at=8, fixed=True)
    wq_prs_disable = bit(3, at=8, fixed=True)
    priority = bits(7, 4, "1-15", at=8, fixed=True)
    pasid = bits(27, 8, "dedicated mode with pasid_en, else ignored", at=8)
    pasid_en = bit(28, at=8)
    priv = bit(29, "dedicated mode with pasid_en, else ignored", at=8)
    max_xfer_shift = bits(4, 0, "largest transfer is 2^n bytes", at=12, fixed=True)
    max_batch_shift = bits(8, 5, "largest batch is 2^n descriptors", at=12, fixed=True)
    max_sgl_shift = bits(12, 9, "largest SGL is 2^n entries (3.0)", at=12, fixed=True)
    occupancy_inth = bits(15, 0, "handle, or table index without command 13", at=16)
    occupancy_table_sel = bit(16, "0 MSI-X, 1 IMS", at=16)
    occupancy_limit = bits(15, 0, at=20, access=RW_INT_DISABLED)
    occupancy_int_en = bit(16, at=20, access=RW)
    occupancy = bits(15, 0, "entries accepted and not yet dispatched", at=24, access=RO)
    occupancy_int_generated = bit(16, at=24, access=W1C)
    mode_support = bit(29, "meaningful only if config_en = 0", at=24, access=RO)
    wq_state = bits(31, 30, WqState, at=24, access=RO)
    op_config = bits(255, 0, "bit n = opcode n is allowed", at=32, reset=OPCAP.opcodes, fixed=True)


class MSIXPERM(Table, base=OFFSETS.msix_perm, stride=8, count=9, width=32, access=RW):
    """MSI-X permission: which PASID may name this entry in a descriptor."""

    ignore = bit(2, "completion interrupts on this entry are neither sent nor made pending")
    pasid_en = bit(3)
    pasid = bits(31, 12)


class MSIX(Table, start=0x2000, stride=16, count=9, width=128, access=RW, kept=True):
    """MSI-X table entry (PCI Express)."""

    address = bits(63, 0)
    message = bits(31, 0, at=8)
    masked = bit(0, at=12, reset=1)


class PBA(Table, start=0x3000, stride=8, count=1, width=64):
    """MSI-X pending bits: bit n = entry n has a message waiting for its mask to open."""

    pending = bits(63, 0)


class IMS(Table, base=OFFSETS.ims, stride=16, count=GENCAP.ims_entries, width=128, access=RW):
    """Interrupt message storage (9.2.28). An address outside 0xFEE00000-0xFEEFFFFF is not taken."""

    address = bits(63, 0, reset=0xFEE00000)
    message = bits(31, 0, at=8)
    masked = bit(0, at=12, reset=1)
    pending = bit(1, at=12, access=RO)
    ignore = bit(2, at=12)
    pasid_en = bit(3, at=12)
    pasid = bits(31, 12, at=12)


class IDPT(Table, base=OFFSETS.idpt, stride=IDCAP.idpt_entry_size, count=IDCAP.idpt_size, width=256, access=RW_UNUSABLE_LOCKED):
    """Inter-domain permissions table entry (9.2.29)."""

    usable = bit(0, access=RW)
    allow_update = bit(1, access=RW)
    entry_type = bits(3, 2, "0 single submitter (SASS), 1 many (SAMS)")
    submitter_pasid = bits(31, 12, "type 0", access=RW_UNUSABLE)
    read_permission = bit(0, at=4)
    write_permission = bit(1, at=4)
    access_priv = bit(2, "0 force user, 1 use the descriptor's", at=4)
    window_en = bit(3, at=4)
    window_mode = bit(4, "0 address, 1 offset", at=4)
    access_pasid = bits(31, 12, at=4)
    window_base = bits(63, 0, at=8)
    window_size = bits(63, 0, at=16)
    submitter_bitmap = bits(63, 12, "type 1", at=24, unit=4096, access=RW_UNUSABLE)


# ---- performance monitor ---------------------------------------------------------------------------------------------------
class PERFCAP(Table, base=OFFSETS.perfmon, stride=8, count=1, width=64):
    """Perfmon capabilities (6, 9.2.25)."""

    num_counters = bits(5, 0, "0 = no perfmon")
    counter_width = bits(15, 8, "bits")
    num_event_categories = bits(19, 16)
    global_categories = bits(35, 20, "bit n = category n on every counter")
    filters = bits(43, 36, "bit n = filter n")
    per_counter_caps = bit(52)
    writable_while_enabled = bit(53)
    freeze = bit(54)
    overflow_int = bit(55)


class PERFRST(Table, base=OFFSETS.perfmon, start=0x10, stride=4, count=1, width=32, access=RWV):
    """Perfmon reset; clears itself."""

    config = bit(0, "CNTRCFG, FLTCFG, OVFSTATUS and PERFFRZ to their defaults")
    counters = bit(1, "CNTRDATA to 0")


class PERFFRZ(Table, base=OFFSETS.perfmon, start=0x20, stride=4, count=1, width=32, access=RWV):
    """Perfmon freeze: bit n freezes counter n; reads give the state. Present if PERFCAP.freeze."""

    frozen = bits(31, 0)


class OVFSTATUS(Table, base=OFFSETS.perfmon, start=0x30, stride=4, count=1, width=32, access=W1C):
    """Overflow status: bit n = counter n wrapped."""

    overflowed = bits(31, 0)


class EVNTCAP(Table, base=OFFSETS.perfmon, start=0x80, stride=8, count=PERFCAP.num_event_categories, width=64):
    """Events of one category."""

    events = bits(27, 0)


class CNTRCFG(
    Table, base=OFFSETS.perfmon, start=0x100, stride=8, count=PERFCAP.num_counters, width=64, access=RW_COUNTER_DISABLED
):
    """Counter configuration."""

    enable = bit(0, access=RW)
    int_overflow = bit(1)
    freeze_on_overflow = bit(2, "all counters")
    category = bits(11, 8)
    events = bits(59, 32)


class CNTRDATA(
    Table, base=OFFSETS.perfmon, start=0x200, stride=8, count=PERFCAP.num_counters, width=64, access=RW_COUNTER_DISABLED
):
    """Counter value; always writable with PERFCAP.writable_while_enabled."""

    event_count = bits(63, 0)


class FLTCFG(
    Table, base=OFFSETS.perfmon, start=0x300, stride=32, count=PERFCAP.num_counters, width=192, access=RW_COUNTER_DISABLED
):
    """Filters of one counter; all ones = no constraint."""

    wq = bits(15, 0, reset=0xFFFF)
    traffic_class = bits(15, 0, at=4, reset=0xFFFF)
    page_size = bits(15, 0, at=8, reset=0xFFFF)
    xfer_size = bits(15, 0, at=12, reset=0xFFFF)
    engine = bits(15, 0, at=16, reset=0xFFFF)
    pasid = bits(21, 0, at=20, reset=0x3FFFFF)


class CNTRCAP(Table, base=OFFSETS.perfmon, start=0x800, stride=64, count=PERFCAP.num_counters, width=512):
    """Capabilities of one counter; present if PERFCAP.per_counter_caps."""

    counter_width = bits(7, 0, "bits")
    num_events = bits(31, 28, "entries that follow; 0 = all global categories")
    events = bits(479, 0, "dwords {3:0 category, 31:4 events}", at=4)


REGISTERS: tuple[type[Register], ...] = (
    VERSION, GENCAP, WQCAP, GRPCAP, ENGCAP, OPCAP, OFFSETS, GENCFG, GENCTRL, GENSTS, INTCAUSE, CMD, CMDSTS, CMDCAP, SWERR,
    EVLCFG, EVLSTATUS, IDCAP, IDBR, DSACAP0, DSACAP1, DSACAP2, CMDPARAM,
)  # fmt: skip
"""The fixed registers of BAR0, ascending."""

TABLES: tuple[type[Table], ...] = (GRPCFG, WQCFG, MSIXPERM, MSIX, PBA, IMS, IDPT)
"""The tables of BAR0."""

PERFMON: tuple[type[Table], ...] = (PERFCAP, PERFRST, PERFFRZ, OVFSTATUS, EVNTCAP, CNTRCFG, CNTRDATA, FLTCFG, CNTRCAP)
"""The performance monitor's block, at OFFSETS.perfmon."""

CAPABILITIES: frozenset[type[Register]] = frozenset(
    {
        VERSION,
        GENCAP,
        WQCAP,
        GRPCAP,
        ENGCAP,
        OPCAP,
        OFFSETS,
        CMDCAP,
        IDCAP,
        DSACAP0,
        DSACAP1,
        DSACAP2,
        PERFCAP,
        EVNTCAP,
        CNTRCAP,
    }
)
"""What a device is: fixed by its profile, changed by no reset."""

DUMMY_PORTAL_OFFSET = 0xF000
"""A 4 KiB page in BAR0 that behaves as the portal of a disabled WQ."""
