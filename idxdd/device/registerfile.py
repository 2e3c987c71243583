"""BAR0: every register and table at its place, and the one place where access modes act on a bus write.

Who writes what  the device loop alone writes the segment: bus_write() applies what the driver posted, write() and set()
                 are the device's own changes. The driver reads the same memory, at any time.
Order            a value of several dwords is stored from its last dword to its first, changed dwords only: the word that
                 announces the others (SWERR.valid) comes last, with release. A hook runs after the new value is visible.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import Buffer

from idxdd.device.profile import Profile
from idxdd.native import _native as native
from idxdd.spec.codes import DeviceState, WqState
from idxdd.spec.layout import Access, Field, Register, Table
from idxdd.spec.registers import (
    CAPABILITIES,
    CMDCAP,
    CNTRCAP,
    CNTRCFG,
    DSACAP0,
    DSACAP1,
    DSACAP2,
    ENGCAP,
    EVLCFG,
    EVLSTATUS,
    EVNTCAP,
    GENCAP,
    GENCFG,
    GENSTS,
    GRPCAP,
    GRPCFG,
    IDBR,
    IDCAP,
    IDPT,
    IMS,
    MSIX,
    MSIXPERM,
    OFFSETS,
    OPCAP,
    PERFCAP,
    PERFMON,
    REGISTERS,
    TABLES,
    VERSION,
    WQCAP,
    WQCFG,
)

R = TypeVar("R", bound=Register)
T = TypeVar("T")

BAR0_SIZE_BYTES = 0x10000
BUS_WIDTHS_BYTES = frozenset({1, 2, 4, 8})
DWORD = 0xFFFF_FFFF

TABLE_PLACES = OFFSETS.encode(msix_perm=0x400, grpcfg=0x600, wqcfg=0x800, perfmon=0x1000)
IDPT_PLACE = 0x9000
"""The map recommended in registers.md section 2.4; tables this device does not have read 0."""

ABSENT: dict[type[Register], Callable[[Profile], bool]] = {
    CMDCAP: lambda profile: not profile.cmd_cap,
    EVLCFG: lambda profile: not profile.evl_support,
    EVLSTATUS: lambda profile: not profile.evl_support,
    IDCAP: lambda profile: not profile.idpt_entries,
    IDBR: lambda profile: not profile.submitter_bitmap,
    IMS: lambda profile: True,
    IDPT: lambda profile: not profile.idpt_entries,
    CNTRCAP: lambda profile: True,
}
"""Registers that exist only with a capability: without it they read 0 and writes are ignored."""

HARDWIRED: dict[Field[Any], Callable[[Profile], bool]] = {
    GENCFG.rdbuf_limit: lambda profile: not profile.rdbuf_limit,
    GENCFG.evl_en: lambda profile: not profile.evl_support,
    GRPCFG.rdbufs_reserved: lambda profile: not profile.rdbuf_ctrl,
    GRPCFG.rdbufs_allowed: lambda profile: not profile.rdbuf_ctrl,
    WQCFG.occupancy_inth: lambda profile: not profile.occupancy_int,
    WQCFG.occupancy_table_sel: lambda profile: not profile.occupancy_int,
    WQCFG.occupancy_limit: lambda profile: not profile.occupancy_int,
    WQCFG.occupancy_int_en: lambda profile: not profile.occupancy_int,
    WQCFG.op_config: lambda profile: not profile.op_config,
    IDPT.window_mode: lambda profile: not profile.offset_mode,
    IDPT.submitter_bitmap: lambda profile: not profile.submitter_bitmap,
}
"""Fields that are reserved without a capability. What Enable Device or Enable WQ refuses by a code of its own stays
writable, so that software meets that code."""


@dataclass(frozen=True)
class BusWrite:
    """What a hook gets: one dword of a register as the bus wrote it."""

    index: int
    dword: int
    """Number of the dword within the register or table entry."""
    written: int
    """The written lanes; others 0."""
    before: int
    after: int

    def rose(self, mask: int) -> int:
        """Bits of `mask` that this write set."""
        return self.after & ~self.before & mask


Hook = Callable[[BusWrite], None]


@dataclass(frozen=True)
class Cell:
    """One writable dword of BAR0."""

    register: type[Register]
    index: int
    dword: int
    masks: tuple[tuple[Access, int], ...]

    def mask(self, access: Access) -> int:
        return sum(mask for mode, mask in self.masks if mode is access)


class RegisterFile:
    """The registers of one device in `buffer` (BAR0_SIZE_BYTES), with reset values as after power-on."""

    def __init__(self, buffer: Buffer, profile: Profile) -> None:
        self.profile = profile
        self._words = native.Words(buffer)
        self._hooks: dict[type[Register], Hook] = {}
        self.writes = self.ignored = 0
        self.answers = True
        """False: the bus finds nobody (a reset is under way, or the device is gone); every write is ignored."""
        self.capabilities = capabilities(profile)
        self._places = dict(self._entries())
        self._fields: dict[tuple[Field[Any], int], tuple[int, int]] = {}
        self._cells = {
            offset + 4 * cell.dword: cell
            for (register, index), offset in self._places.items()
            for cell in cells(register, index, profile)
        }
        self.power_on()

    def power_on(self) -> None:
        """Everything as it is when the device appears."""
        for dword in range(0, BAR0_SIZE_BYTES, 4):
            self._words.store32(dword, 0)
        for capability in self.capabilities:
            if (type(capability), 0) in self._places:
                self.write(capability)
        for category, events in enumerate(self.profile.perf_events):
            self.write(EVNTCAP.encode(events=events), category)
        self.reset(lambda register: register not in CAPABILITIES)

    def vanish(self) -> None:
        """All ones, as a bus reads where nobody answers."""
        self.answers = False
        for dword in range(0, BAR0_SIZE_BYTES, 4):
            self._words.store32(dword, DWORD)

    def _entries(self) -> Iterator[tuple[tuple[type[Register], int], int]]:
        """Every register or table entry this device has, and its offset."""
        for register in (*REGISTERS, *TABLES, *PERFMON):
            if register in ABSENT and ABSENT[register](self.profile):
                continue
            if issubclass(register, Table):
                for index in range(self._entry_count(register)):
                    yield (register, index), register.entry_offset(index, *self.capabilities)
            else:
                yield (register, 0), register.offset

    def _entry_count(self, table: type[Table]) -> int:
        return self.profile.vectors if table in (MSIX, MSIXPERM) else table.entry_count(*self.capabilities)

    def on_write(self, register: type[Register], hook: Hook) -> None:
        """Call `hook` after each bus write that reached this register."""
        assert register not in self._hooks, f"{register.__name__} has a hook already"
        self._hooks[register] = hook

    def count(self, table: type[Table]) -> int:
        """Entries of `table` on this device."""
        return sum(register is table for register, _ in self._places)

    # ---- the device's own accesses ---------------------------------------------------------------------------------

    def read(self, register: type[R], index: int = 0) -> R:
        """The value now; 0 if this device does not have the register."""
        offset = self._places.get((register, index))
        if offset is None:
            return register(0)
        raw = 0
        for dword in range(self._dwords(register)):
            raw |= self._words.load32(offset + 4 * dword) << 32 * dword
        return register(raw)

    def write(self, value: Register, index: int = 0) -> None:
        """Store a whole value, whatever its access modes."""
        register = type(value)
        offset = self._places[register, index]
        for dword in reversed(range(self._dwords(register))):
            part = value.raw >> 32 * dword & DWORD
            if part != self._words.load32(offset + 4 * dword):
                self._words.store32(offset + 4 * dword, part)

    def get(self, field: Field[T], index: int = 0) -> T:
        """One field, without reading the rest of its register."""
        place = self._fields.get((field, index))
        if place is not None:
            return field.decode(self._words.load32(place[0]) << place[1])
        offset = self._places.get((self._register_of(field), index))
        if offset is None:
            return field.decode(0)
        first, last = field.low // 32, field.high // 32
        if first == last:
            self._fields[field, index] = offset + 4 * first, 32 * first
        raw = 0
        for dword in range(first, last + 1):
            raw |= self._words.load32(offset + 4 * dword) << 32 * dword
        return field.decode(raw)

    def set(self, register: type[Register], index: int = 0, **fields: object) -> None:
        """Change some fields, whatever their access modes."""
        offset = self._places[register, index]
        value = register.encode(**fields).raw
        mask = sum(register.fields[name].mask for name in fields)
        for dword in reversed(range(self._dwords(register))):
            part = mask >> 32 * dword & DWORD
            if part:
                before = self._words.load32(offset + 4 * dword)
                after = before & ~part | value >> 32 * dword & part
                if after != before:
                    self._words.store32(offset + 4 * dword, after)

    def reset(self, chosen: Callable[[type[Register]], bool]) -> None:
        """Give the chosen registers the values they have after a reset."""
        for register, index in self._places:
            if chosen(register):
                self.write(self.initial(register), index)

    def initial(self, register: type[R]) -> R:
        """Value after a reset on this device; fields it does not have are 0."""
        value = register.initial(*self.capabilities)
        absent = sum(f.mask for f in register.fields.values() if f in HARDWIRED and HARDWIRED[f](self.profile))
        return register(value.raw & ~absent)

    @staticmethod
    def _register_of(field: Field[Any]) -> type[Register]:
        owner = field.owner
        assert issubclass(owner, Register), f"{field.path} is not a register's field"
        return owner

    def _dwords(self, register: type[Register]) -> int:
        return entry_bytes(register, self.profile) // 4

    # ---- the bus ---------------------------------------------------------------------------------------------------

    def bus_read(self, offset: int, width: int) -> int:
        """What a read of the driver returns; all ones outside BAR0 or unaligned."""
        if not on_bus(offset, width):
            return (1 << 8 * width) - 1
        whole = self._words.load32(offset & ~3) | (self._words.load32(offset + 4) << 32 if width == 8 else 0)
        return whole >> 8 * (offset & 3) & (1 << 8 * width) - 1

    def bus_write(self, offset: int, width: int, value: int) -> None:
        """Apply one posted write by the access mode of every bit it covers; what may not be written is ignored and counted."""
        self.writes += 1
        taken = False
        if self.answers and on_bus(offset, width):
            shift = 8 * (offset & 3)
            lanes = (1 << 8 * width) - 1 << shift
            placed = value << shift & lanes
            places = [(offset & ~3) + 4 * dword for dword in range(2 if width == 8 else 1)]
            masks = [self._writable(at) for at in places]  # of both halves, before the first can lock the second
            for dword, (at, writable) in enumerate(zip(places, masks, strict=True)):
                taken |= self._write_dword(at, placed >> 32 * dword & DWORD, lanes >> 32 * dword & DWORD, writable)
        self.ignored += not taken

    def _writable(self, offset: int) -> int:
        cell = self._cells.get(offset)
        return 0 if cell is None else sum(mask for access, mask in cell.masks if self._is_open(access, cell))

    def _write_dword(self, offset: int, value: int, lanes: int, writable: int) -> bool:
        cell = self._cells.get(offset)
        if cell is None:
            return False
        if cell.mask(Access.WO):
            # half a command is none: the device acts on whole dwords only
            if lanes != DWORD:
                return False
            self._announce(cell, value, 0, 0)
            return True
        before = self._words.load32(offset)
        writable &= lanes
        acknowledged = cell.mask(Access.W1C) & lanes
        after = (before & ~writable | value & writable) & ~(value & acknowledged)
        if after != before:
            self._words.store32(offset, after)
        if not writable | acknowledged:
            return False
        self._announce(cell, value, before, after)
        return True

    def _announce(self, cell: Cell, written: int, before: int, after: int) -> None:
        hook = self._hooks.get(cell.register)
        if hook is not None:
            hook(BusWrite(cell.index, cell.dword, written, before, after))

    def _is_open(self, access: Access, cell: Cell) -> bool:
        """May a bus write change fields of this access mode now? Halt opens what Disabled opens."""
        if access in (Access.RW, Access.RWV):
            return True
        if access is Access.RW_COUNTER_DISABLED:
            return not self.get(CNTRCFG.enable, cell.index)
        state = self.get(GENSTS.state)
        if access is Access.RW_DEVICE_DISABLED:
            return state in (DeviceState.DISABLED, DeviceState.HALT)
        if access is Access.RW_WQ_DISABLED:
            return state is DeviceState.HALT or self.get(WQCFG.wq_state, cell.index) is WqState.DISABLED
        if access is Access.RW_INT_DISABLED:
            return not self.get(WQCFG.occupancy_int_en, cell.index)
        if access is Access.RW_UNUSABLE:
            return not self.get(IDPT.usable, cell.index)
        if access is Access.RW_UNUSABLE_LOCKED:
            return not self.get(IDPT.usable, cell.index) and not self.get(IDPT.allow_update, cell.index)
        return False

    def statistics(self) -> dict[str, int]:
        """Bus writes so far, and how many of them changed nothing because they may not."""
        return {"mmio_writes": self.writes, "mmio_ignored": self.ignored}

    def close(self) -> None:
        """Let go of the segment."""
        self._words.release()


def on_bus(offset: int, width: int) -> bool:
    """An access of 1, 2, 4 or 8 bytes, aligned to its width, inside BAR0."""
    return width in BUS_WIDTHS_BYTES and offset % width == 0 and 0 <= offset <= BAR0_SIZE_BYTES - width


def entry_bytes(register: type[Register], profile: Profile) -> int:
    """Bytes of one register or entry; a WQCFG of 32 bytes ends before op_config."""
    return profile.wqcfg_size_bytes if register is WQCFG else register.width_bytes


def cells(register: type[Register], index: int, profile: Profile) -> Iterator[Cell]:
    """The dwords of one register or table entry that a bus write can change."""
    writable = [
        field
        for field in register.fields.values()
        if field.access is not Access.RO and not (field in HARDWIRED and HARDWIRED[field](profile))
    ]
    for dword in range(entry_bytes(register, profile) // 4):
        parts = [(field.access, field.mask >> 32 * dword & DWORD) for field in writable]
        masks = tuple((access, mask) for access, mask in parts if mask)
        if masks:
            yield Cell(register, index, dword, masks)


def capabilities(profile: Profile) -> tuple[Register, ...]:
    """The capability registers of a profile."""
    return (
        VERSION(profile.version),
        GENCAP.encode(
            block_on_fault=profile.block_on_fault,
            overlap_copy=profile.overlap_copy,
            cache_control=profile.cache_control,
            inter_domain=profile.idpt_entries > 0,
            cmd_cap=profile.cmd_cap,
            translation_fetch_stride=profile.translation_fetch_stride,
            dest_readback=profile.dest_readback,
            drain_readback=profile.drain_readback,
            fill16=profile.fill16,
            crc64=profile.crc64,
            fault_info=profile.fault_info,
            evl_support=profile.evl_support,
            batch_continuation=profile.batch_continuation,
            max_xfer_shift=profile.max_xfer_shift,
            max_batch_shift=profile.max_batch_shift,
            config_en=True,
            evl_overflow=profile.evl_overflow,
            batch1=profile.batch1,
        ),
        WQCAP.encode(
            total_wq_size=profile.total_wq_size,
            num_wqs=profile.wqs,
            wqcfg_size=profile.wqcfg_size_bytes.bit_length() - 6,
            shared_mode=profile.shared_mode,
            dedicated_mode=profile.dedicated_mode,
            wq_ats_support=profile.wq_ats_support,
            priority=profile.priority,
            occupancy=profile.occupancy,
            occupancy_int=profile.occupancy_int,
            op_config=profile.op_config,
            wq_prs_support=profile.wq_prs_support,
        ),
        GRPCAP.encode(
            num_groups=profile.groups,
            total_rdbufs=profile.read_buffers,
            rdbuf_ctrl=profile.rdbuf_ctrl,
            rdbuf_limit=profile.rdbuf_limit,
            progress_limit=profile.progress_limit,
            bandwidth_limit=profile.bandwidth_limit,
        ),
        ENGCAP.encode(
            num_engines=profile.engines,
            max_work_descs=profile.work_in_progress_max,
            max_batch_descs=profile.batches_in_progress_max,
        ),
        OPCAP(profile.opcap),
        TABLE_PLACES.replace(idpt=IDPT_PLACE) if profile.idpt_entries else TABLE_PLACES,
        CMDCAP(sum(1 << command for command in profile.commands)),
        inter_domain_capabilities(profile),
        DSACAP0(0),
        DSACAP1(0),
        DSACAP2(0),
        PERFCAP.encode(
            num_counters=profile.perf_counters,
            counter_width=profile.perf_counter_width,
            num_event_categories=len(profile.perf_events),
            global_categories=sum(1 << category for category, events in enumerate(profile.perf_events) if events),
            filters=profile.perf_filters,
            freeze=True,
            overflow_int=True,
        ),
    )


def inter_domain_capabilities(profile: Profile) -> IDCAP:
    """IDCAP; entries take 32 bytes."""
    if not profile.idpt_entries:
        return IDCAP(0)
    return IDCAP.encode(
        entry_types=0b11 if profile.submitter_bitmap else 0b01,
        idpt_size=profile.idpt_entries,
        offset_mode=profile.offset_mode,
        suppress_drain=profile.suppress_drain,
    )
