"""Capability profiles: what a device of one generation can do. Data, no behaviour.

registerfile.py turns a profile into capability registers and reset values. Whatever this device does not do yet is not
advertised, whatever the generation: opcodes outside IMPLEMENTED, inter-domain operations, interrupt message storage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from idxdd.spec.codes import Command, Opcode

INTER_DOMAIN_OPCODES = frozenset(
    {
        Opcode.UPDATE_WINDOW,
        Opcode.INTER_DOMAIN_COPY,
        Opcode.INTER_DOMAIN_FILL,
        Opcode.INTER_DOMAIN_COMPARE,
        Opcode.INTER_DOMAIN_COMPVAL,
    }
)
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
    }
)
"""The one list of operations the engine executes; OPCAP is a generation's list cut down to it."""

DSA1_OPCODES = frozenset({*range(0x0A), *range(0x10, 0x16), 0x20})
DSA2_OPCODES = DSA1_OPCODES | {0x0A, 0x17} | INTER_DOMAIN_OPCODES

BASIC_COMMANDS = frozenset(Command(code) for code in range(1, 13))
"""What a device without CMDCAP supports (registers.md section 6)."""


@dataclass(frozen=True)
class Platform:
    """PCI-side switches and limits, as a sane platform leaves them for a driver (registers.md section 1)."""

    bus_master: bool = True
    pasid: bool = True
    privileged_mode: bool = True
    ats: bool = True
    prs: bool = True
    ats_supported: bool = True
    ats_required: bool = False
    prs_capacity: int = 512
    prs_allocation: int = 512
    """Page requests that may be outstanding; checked at Enable Device while PRS is on."""
    msix_masked: bool = False
    """Power-on masks every MSI-X entry, and the PCI layer of an operating system opens them for the driver. No process
    here is that layer: the device starts with its work done, unless this says otherwise."""


@dataclass(frozen=True)
class Profile:
    """One kind of device. Field names are those of the capability registers (registers.md section 2)."""

    name: str
    version: int
    opcodes: frozenset[int]
    wqs: int = 8
    groups: int = 4
    engines: int = 4
    total_wq_size: int = 128
    wqcfg_size_bytes: int = 64
    max_xfer_shift: int = 31
    max_batch_shift: int = 10
    # GENCAP
    block_on_fault: bool = True
    overlap_copy: bool = True
    cache_control: bool = True
    dest_readback: bool = True
    drain_readback: bool = True
    translation_fetch_stride: bool = True
    fill16: bool = True
    crc64: bool = True
    fault_info: bool = True
    evl_support: int = 1
    """Event-log entries of 64, 128 or 256 bytes: 1, 2 or 3; 0: no event log."""
    evl_overflow: bool = False
    batch_continuation: bool = True
    batch1: bool = False
    # WQCAP
    shared_mode: bool = True
    dedicated_mode: bool = True
    wq_ats_support: bool = True
    wq_prs_support: bool = True
    priority: bool = True
    occupancy: bool = True
    occupancy_int: bool = True
    op_config: bool = True
    # GRPCAP, ENGCAP
    read_buffers: int = 96
    rdbuf_ctrl: bool = True
    rdbuf_limit: bool = True
    progress_limit: bool = False
    bandwidth_limit: bool = False
    work_in_progress_max: int = 0
    batches_in_progress_max: int = 0
    # commands and interrupts
    commands: frozenset[Command] | None = None
    """CMDCAP; None: the register is absent and BASIC_COMMANDS hold."""
    vectors: int = 9
    int_handles_max: int = 9
    """Interrupt handles that may be out at the same time; a request beyond is answered 0x42."""
    # performance monitor
    perf_counters: int = 8
    perf_counter_width: int = 48
    perf_events: tuple[int, ...] = (0x33, 0x1, 0xA, 0, 0x9)
    """EVNTCAP by category: the events that perfmon.EVENTS can count."""
    perf_filters: int = 1
    """Bit n = filter n; 0 is by WQ."""
    platform: Platform = field(default_factory=Platform)

    def __post_init__(self) -> None:
        assert 0 < self.wqs <= 16, "global WQ = device * 16 + wq"
        assert 0 < self.groups <= 8, "OFFSETS leaves room for 8 groups"
        assert 0 < self.engines <= 64
        assert 0 < self.vectors <= 32, "global vector = device * 32 + entry"
        assert 0 < self.perf_counters <= 32
        assert 0 < self.perf_counter_width <= 64
        assert self.wqcfg_size_bytes in (32, 64)
        assert not self.op_config or self.wqcfg_size_bytes == 64, "op_config lies in the second half of WQCFG"

    @property
    def opcap(self) -> int:
        """OPCAP as a 256-bit mask: bit n = opcode n."""
        return sum(1 << code for code in self.opcodes & IMPLEMENTED)

    @property
    def supported_commands(self) -> frozenset[Command]:
        """What CMD accepts, whether or not CMDCAP says it."""
        return BASIC_COMMANDS if self.commands is None else self.commands


DSA1 = Profile(
    name="dsa1",
    version=0x100,
    opcodes=DSA1_OPCODES,
    wqcfg_size_bytes=32,
    drain_readback=False,
    translation_fetch_stride=False,
    fill16=False,
    crc64=False,
    fault_info=False,
    evl_support=0,
    batch_continuation=False,
    wq_prs_support=False,
    op_config=False,
)

DSA2 = Profile(
    name="dsa2",
    version=0x200,
    opcodes=DSA2_OPCODES,
    commands=BASIC_COMMANDS | {Command.REQUEST_INT_HANDLE, Command.RELEASE_INT_HANDLE},
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (DSA1, DSA2)})
DEFAULT = DSA2
