"""A capability profile: what one kind of device can do. No behaviour, and no values: those are files (profilefile.py).

registerfile.py turns a profile into capability registers and reset values. Which combinations a device can have is said
in possible.py.
"""

from dataclasses import dataclass

from idxdd.spec.codes import Command, Opcode

IMPLEMENTED = frozenset(
    {
        Opcode.NOOP,
        Opcode.BATCH,
        Opcode.DRAIN,
        Opcode.MEMMOVE,
        Opcode.MEMFILL,
        Opcode.COMPARE,
        Opcode.COMPVAL,
        Opcode.CR_DELTA,
        Opcode.AP_DELTA,
        Opcode.DUALCAST,
        Opcode.TRANSL_FETCH,
        Opcode.CRCGEN,
        Opcode.COPY_CRC,
        Opcode.DIF_CHECK,
        Opcode.DIF_INS,
        Opcode.DIF_STRP,
        Opcode.DIF_UPDT,
        Opcode.DIX_GEN,
        Opcode.CFLUSH,
        Opcode.UPDATE_WINDOW,
        Opcode.INTER_DOMAIN_COPY,
        Opcode.INTER_DOMAIN_FILL,
        Opcode.INTER_DOMAIN_COMPARE,
        Opcode.INTER_DOMAIN_COMPVAL,
    }
)
"""The one list of operations the engine executes; a profile has some of them."""

BASIC_COMMANDS = frozenset(Command(code) for code in range(1, 13))
"""What a device without CMDCAP supports (registers.md section 6)."""


@dataclass(frozen=True)
class Platform:
    """PCI-side switches and limits, as configuration space holds them when a driver comes (registers.md section 1)."""

    bus_master: bool
    pasid: bool
    privileged_mode: bool
    ats: bool
    prs: bool
    ats_supported: bool
    ats_required: bool
    prs_capacity: int
    prs_allocation: int
    """Page requests that may be outstanding; checked at Enable Device while PRS is on."""
    traffic_classes: int
    """Classes a virtual channel is mapped to, bit n = class n; a descriptor of another ends with 0x1E."""
    msix_masked: bool
    """Power-on masks every MSI-X entry, and the PCI layer of an operating system opens them for the driver. No process
    here is that layer: the device starts with its work done, unless this says otherwise."""


@dataclass(frozen=True)
class Profile:
    """One kind of device. Field names are those of the capability registers (registers.md section 2)."""

    name: str
    version: int
    """VERSION: 0x100 is 1.0."""
    opcodes: frozenset[Opcode]
    commands: frozenset[Command]
    """What CMD accepts."""
    wqs: int
    groups: int
    engines: int
    total_wq_size: int
    wqcfg_size_bytes: int
    max_xfer_shift: int
    max_batch_shift: int
    # GENCAP
    block_on_fault: bool
    overlap_copy: bool
    cache_control: bool
    cmd_cap: bool
    """CMDCAP says which commands there are; without it they are BASIC_COMMANDS."""
    dest_readback: bool
    drain_readback: bool
    translation_fetch_stride: bool
    fill16: bool
    crc64: bool
    fault_info: bool
    evl_support: int
    """Event-log entries of 64, 128 or 256 bytes: 1, 2 or 3; 0: no event log."""
    evl_overflow: bool
    batch_continuation: bool
    batch1: bool
    # WQCAP
    shared_mode: bool
    dedicated_mode: bool
    wq_ats_support: bool
    wq_prs_support: bool
    priority: bool
    occupancy: bool
    occupancy_int: bool
    op_config: bool
    # GRPCAP, ENGCAP
    read_buffers: int
    rdbuf_ctrl: bool
    rdbuf_limit: bool
    progress_limit: bool
    bandwidth_limit: bool
    work_in_progress_max: int
    batches_in_progress_max: int
    # IDCAP
    idpt_entries: int
    """Entries of the inter-domain permissions table; 0: no inter-domain operations."""
    offset_mode: bool
    suppress_drain: bool
    submitter_bitmap: bool
    """Entries for many submitters (SAMS), with IDBR."""
    # interrupts
    vectors: int
    int_handles_max: int
    """Interrupt handles that may be out at the same time; a request beyond is answered 0x42."""
    # performance monitor
    perf_counters: int
    perf_counter_width: int
    perf_events: tuple[int, ...]
    """EVNTCAP by category: of what perfmon.EVENTS can count."""
    perf_filters: int
    """Bit n = filter n; 0 is by WQ."""
    platform: Platform

    @property
    def opcap(self) -> int:
        """OPCAP as a 256-bit mask: bit n = opcode n."""
        return sum(1 << code for code in self.opcodes)
