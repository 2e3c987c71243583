"""Which profiles a device can have: rules of the manual and of this device, each with the key it is about.

A rule says what must hold; the text is what a user reads who broke it. Sections: registers.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from idxdd.device.perfmon import EVENTS, events_of
from idxdd.device.profile import BASIC_COMMANDS, Profile
from idxdd.native import LAYOUT
from idxdd.spec.codes import Command, Opcode
from idxdd.spec.limits import RDBUFS_PER_ENGINE_MIN

V2: Final = 0x200
GROUPS_MAX: Final = 8  # OFFSETS leaves room for so many
VECTORS_MAX: Final = LAYOUT["vectors_per_device_max"]
COUNTED: Final = tuple(events_of(category) for category in range(1 + max(event.category for event in EVENTS)))
SIZE_MAX: Final = (1 << 16) - 1
BATCH_SHIFT_MAX: Final = 10
COUNTERS_MAX: Final = 32
HANDLE_COMMANDS: Final = frozenset({Command.REQUEST_INT_HANDLE, Command.RELEASE_INT_HANDLE})
DOMAIN_COMMANDS: Final = frozenset({Command.REQUEST_IDPT_HANDLE, Command.RELEASE_IDPT_HANDLE})
DOMAIN_OPCODES: Final = frozenset(
    {
        Opcode.UPDATE_WINDOW,
        Opcode.INTER_DOMAIN_COPY,
        Opcode.INTER_DOMAIN_FILL,
        Opcode.INTER_DOMAIN_COMPARE,
        Opcode.INTER_DOMAIN_COMPVAL,
    }
)


@dataclass(frozen=True)
class Rule:
    """One condition, the key it is about, and what it asks for."""

    key: str
    text: str
    holds: Callable[[Profile], bool]


def between(key: str, name: str, low: int, high: int) -> Rule:
    return Rule(key, f"must be {low} to {high}", lambda profile: low <= getattr(profile, name) <= high)


def only_if(key: str, name: str, needs: str, condition: Callable[[Profile], bool]) -> Rule:
    """A capability that makes no sense, or that the manual does not have, without another."""
    return Rule(key, f"needs {needs}", lambda profile: not getattr(profile, name) or condition(profile))


def does(*opcodes: Opcode) -> Callable[[Profile], bool]:
    return lambda profile: not profile.opcodes.isdisjoint(opcodes)


def since_2(profile: Profile) -> bool:
    return profile.version >= V2


def without(opcode: Opcode) -> Callable[[Profile], bool]:
    return lambda profile: since_2(profile) or opcode not in profile.opcodes


SIZES: Final = (
    between("wqcap.wqs", "wqs", 1, LAYOUT["wqs_per_device_max"]),
    between("wqcap.total_wq_size", "total_wq_size", 1, SIZE_MAX),
    Rule("wqcap.wqcfg_size_bytes", "must be 32 or 64", lambda p: p.wqcfg_size_bytes in (32, 64)),
    between("grpcap.groups", "groups", 1, GROUPS_MAX),
    between("engcap.engines", "engines", 1, LAYOUT["groups_per_device_max"]),
    between("gencap.max_xfer_shift", "max_xfer_shift", 0, 31),
    between("gencap.max_batch_shift", "max_batch_shift", 0, BATCH_SHIFT_MAX),
    between("grpcap.read_buffers", "read_buffers", 0, 255),
    between("engcap.work_in_progress_max", "work_in_progress_max", 0, 255),
    between("engcap.batches_in_progress_max", "batches_in_progress_max", 0, 255),
    between("gencap.evl_support", "evl_support", 0, 3),
)
"""Widths of fields (2.1 to 2.3), and what this device has room for."""

FEATURES: Final = (
    only_if("gencap.evl_support", "evl_support", "version 2.0 (App. F)", since_2),
    only_if(
        "gencap.evl_overflow",
        "evl_overflow",
        "gencap.evl_support: without a log nothing overflows",
        lambda p: p.evl_support > 0,
    ),
    only_if("gencap.fill16", "fill16", "version 2.0 (App. F)", since_2),
    only_if("gencap.fill16", "fill16", "MEMFILL in operations", does(Opcode.MEMFILL)),
    only_if("gencap.crc64", "crc64", "version 2.0 (App. F)", since_2),
    only_if("gencap.crc64", "crc64", "CRCGEN or COPY_CRC in operations", does(Opcode.CRCGEN, Opcode.COPY_CRC)),
    only_if("gencap.fault_info", "fault_info", "version 2.0 (App. F)", since_2),
    only_if("gencap.overlap_copy", "overlap_copy", "MEMMOVE in operations", does(Opcode.MEMMOVE)),
    only_if("gencap.drain_readback", "drain_readback", "DRAIN in operations", does(Opcode.DRAIN)),
    only_if(
        *("gencap.translation_fetch_stride", "translation_fetch_stride", "TRANSL_FETCH in operations"),
        does(Opcode.TRANSL_FETCH),
    ),
    only_if("gencap.batch_continuation", "batch_continuation", "BATCH in operations", does(Opcode.BATCH)),
    only_if("gencap.batch1", "batch1", "BATCH in operations", does(Opcode.BATCH)),  # 3.0 brought it; software looks at the bit
    Rule(
        "gencap.max_batch_shift",
        "must be at least 1 while BATCH is in operations: a WQ could not be enabled (8.2)",
        lambda p: Opcode.BATCH not in p.opcodes or p.max_batch_shift >= 1,
    ),
    Rule("operations", "TRANSL_FETCH needs version 2.0 (App. F)", without(Opcode.TRANSL_FETCH)),
    Rule("operations", "DIX_GEN needs version 2.0 (App. F)", without(Opcode.DIX_GEN)),
    Rule("operations", "must have DRAIN: the driver sends one when a handle is revoked", does(Opcode.DRAIN)),
    only_if("wqcap.op_config", "op_config", "version 2.0 (App. F)", since_2),
    only_if(
        *("wqcap.op_config", "op_config", "wqcap.wqcfg_size_bytes = 64: it lies in the second half (3.1)"),
        lambda p: p.wqcfg_size_bytes == 64,
    ),
    only_if(
        *("wqcap.wq_prs_support", "wq_prs_support", "gencap.evl_support: Enable WQ asks for a log then (8.2)"),
        lambda p: p.evl_support > 0,
    ),
    only_if("wqcap.occupancy_int", "occupancy_int", "wqcap.occupancy", lambda p: p.occupancy),
    Rule("wqcap.shared_mode", "or dedicated_mode must be true", lambda p: p.shared_mode or p.dedicated_mode),
    only_if(
        "grpcap.rdbuf_limit",
        "rdbuf_limit",
        "grpcap.rdbuf_ctrl: read_buffers is undefined without it (2.3)",
        lambda p: p.rdbuf_ctrl,
    ),
    Rule(
        "grpcap.read_buffers",
        f"must be at least {RDBUFS_PER_ENGINE_MIN} with rdbuf_ctrl: a group with an engine must be allowed so many (8.1)",
        lambda p: not p.rdbuf_ctrl or p.read_buffers >= RDBUFS_PER_ENGINE_MIN,
    ),
    only_if("grpcap.progress_limit", "progress_limit", "version 2.0 (App. F)", since_2),
    only_if(
        *("grpcap.progress_limit", "progress_limit", "engcap.work_in_progress_max and batches_in_progress_max above 0"),
        lambda p: p.work_in_progress_max > 0 and p.batches_in_progress_max > 0,
    ),
    only_if("grpcap.bandwidth_limit", "bandwidth_limit", "version 3.0 (App. F), which this device is not", lambda p: False),
)
"""What the manual allows together."""

COMMANDS: Final = (
    Rule("commands", "must have the first twelve, ENABLE_DEVICE to ABORT_PASID (2.7)", lambda p: p.commands >= BASIC_COMMANDS),
    Rule(
        "gencap.cmd_cap",
        "false means the first twelve commands and no others (Table 9-6)",
        lambda p: p.cmd_cap or p.commands <= BASIC_COMMANDS,
    ),
    Rule(
        "commands",
        "REQUEST_INT_HANDLE and RELEASE_INT_HANDLE need each other",
        lambda p: len(p.commands & HANDLE_COMMANDS) in (0, len(HANDLE_COMMANDS)),
    ),
    Rule(
        "commands",
        "REQUEST_IDPT_HANDLE and RELEASE_IDPT_HANDLE need each other",
        lambda p: len(p.commands & DOMAIN_COMMANDS) in (0, len(DOMAIN_COMMANDS)),
    ),
    Rule(
        "commands",
        "REQUEST_IDPT_HANDLE and RELEASE_IDPT_HANDLE need idcap.idpt_entries above 0",
        lambda p: p.idpt_entries > 0 or p.commands.isdisjoint(DOMAIN_COMMANDS),
    ),
    Rule(
        "commands",
        "cannot have INVALIDATE_BITMAP_CACHE: this device reads submitter bitmaps each time",
        lambda p: Command.INVALIDATE_BITMAP_CACHE not in p.commands,
    ),
)

DOMAINS: Final = (
    between("idcap.idpt_entries", "idpt_entries", 0, LAYOUT["idpt_max"]),
    only_if("idcap.idpt_entries", "idpt_entries", "version 2.0 (App. F)", since_2),
    Rule(
        "operations",
        "UPDATE_WINDOW and INTER_DOMAIN_... need idcap.idpt_entries above 0",
        lambda p: p.idpt_entries > 0 or p.opcodes.isdisjoint(DOMAIN_OPCODES),
    ),
    only_if("idcap.idpt_entries", "idpt_entries", "an inter-domain operation", lambda p: bool(p.opcodes & DOMAIN_OPCODES)),
    only_if("idcap.offset_mode", "offset_mode", "idcap.idpt_entries above 0", lambda p: p.idpt_entries > 0),
    only_if("idcap.suppress_drain", "suppress_drain", "UPDATE_WINDOW in operations", does(Opcode.UPDATE_WINDOW)),
    only_if("idcap.submitter_bitmap", "submitter_bitmap", "idcap.idpt_entries above 0", lambda p: p.idpt_entries > 0),
)
"""Inter-domain operations and their table (2.11, 3.6)."""

INTERRUPTS: Final = (
    Rule(
        "msix.vectors",
        f"must be wqcap.wqs + 1 to {VECTORS_MAX}: vector 0, and one for each WQ as the driver uses them (1.1)",
        lambda p: p.wqs < p.vectors <= VECTORS_MAX,
    ),
    Rule(
        "msix.int_handles_max",
        "must be 1 to msix.vectors: an entry has one handle",
        lambda p: 0 < p.int_handles_max <= p.vectors,
    ),
)

PERFMON: Final = (
    between("perfmon.counters", "perf_counters", 1, COUNTERS_MAX),
    between("perfmon.counter_width", "perf_counter_width", 1, 64),
    Rule(
        "perfmon.events",
        f"can be {list(map(hex, COUNTED))} or some of their bits: no others are counted",
        lambda p: (
            len(p.perf_events) <= len(COUNTED) and not any(events & ~COUNTED[n] for n, events in enumerate(p.perf_events))
        ),
    ),
    Rule("perfmon.filters", "can be 0 or 1: only the filter by WQ is there", lambda p: p.perf_filters in (0, 1)),
)

PCI: Final = (
    Rule("pci.prs", "needs pci.ats: without translation it is ignored (1.2)", lambda p: not p.platform.prs or p.platform.ats),
    Rule("pci.privileged_mode", "needs pci.pasid (1.1)", lambda p: not p.platform.privileged_mode or p.platform.pasid),
    Rule("pci.ats", "needs pci.ats_supported", lambda p: not p.platform.ats or p.platform.ats_supported),
    Rule("pci.ats_required", "needs pci.ats_supported", lambda p: not p.platform.ats_required or p.platform.ats_supported),
    Rule("pci.prs_capacity", "must be 1 to 4294967295", lambda p: p.platform.prs_capacity >= 1),
    Rule(
        "pci.prs_allocation",
        "must be 1 to pci.prs_capacity while pci.prs is true: Enable Device answers 0x13 otherwise (8.1)",
        lambda p: not p.platform.prs or 0 < p.platform.prs_allocation <= p.platform.prs_capacity,
    ),
    Rule("pci.traffic_classes", "must be 1 to 255, with class 0", lambda p: p.platform.traffic_classes & ~0xFE == 1),
    Rule(
        "pci.bus_master",
        "must be true: no message would ever leave the device, and the driver waits for them; switch it off at run time",
        lambda p: p.platform.bus_master,
    ),
)

RULES: Final = (*SIZES, *FEATURES, *COMMANDS, *DOMAINS, *INTERRUPTS, *PERFMON, *PCI)


def problems_of(profile: Profile) -> list[str]:
    """A line for each rule that does not hold: key and rule."""
    return [f"{rule.key}: {rule.text}" for rule in RULES if not rule.holds(profile)]
