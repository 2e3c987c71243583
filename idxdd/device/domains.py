"""The inter-domain permissions table of one device: what the bus wrote and Update Window changed, told to the engine.

Who decides      the table in BAR0 is what counts, and it is written here alone (by the bus through the register file, by Update
                 Window below). The engine has a copy of each entry and the address space its access PASID had then.
Order            an entry is told when its first dword is written: everything else is locked while it is usable or updatable.
                 Requests reach the engine in order, so who learns of an entry afterwards meets it as written.
PASIDs           an address space that goes takes its entries along: who uses one is cut off (0x2E), and whoever gets the
                 number next is not reached by an entry that was written before it came.
"""

from idxdd.device.engineport import EnginePort
from idxdd.device.registerfile import BusWrite, RegisterFile
from idxdd.native import _native as native
from idxdd.native._native import Exit, Space
from idxdd.spec.codes import CompletionStatus
from idxdd.spec.records import UpdateWindowDescriptor
from idxdd.spec.registers import IDBR, IDCAP, IDPT

READ, WRITE, WINDOW_EN, OFFSET_MODE = 1, 2, 4, 8
"""Flags of Update Window (byte 61)."""
SINGLE, MANY = 0, 1
"""IDPT.entry_type: one submitter, or a bitmap of them."""
ADDRESSES = 1 << 64


class Domains:
    """IDPT and IDPT handles of one device."""

    def __init__(self, device: int, registers: RegisterFile, port: EnginePort, host: Space | None, *, handles: bool) -> None:
        """`host`: the driver's memory, where bitmaps lie that are read without a PASID. `handles`: an entry is used by a
        handle that was requested; else its index is the handle."""
        self._device = device
        self._registers = registers
        self._port = port
        self._host = host
        self._handles = handles
        self._requested: set[int] = set()
        self._told: dict[int, int] = {}
        """Entries the engine has, with their access PASID."""
        self.count = registers.count(IDPT)
        self.updates = self.cut_off = 0
        if self.count:
            registers.on_write(IDPT, self._written)
            port.on_pasid_gone(self._pasid_gone)

    def _written(self, write: BusWrite) -> None:
        if write.dword == 0 and write.before != write.after:
            self._tell(write.index)

    def clear(self) -> None:
        """The table was reset: nobody reaches anything any more. Handles stay, as interrupt handles do."""
        for handle in list(self._told):
            self._tell(handle)

    def restart(self) -> None:
        """FLR and stronger: handles are gone as well."""
        self._requested.clear()
        self.clear()

    def _tell(self, handle: int, *, update: bool = False) -> None:
        entry = self._registers.read(IDPT, handle)
        usable = entry.usable and entry.entry_type in self._types() and (not self._handles or handle in self._requested)
        if not usable and handle not in self._told:
            return
        self._port.idpt_set(
            self._device,
            handle,
            usable=usable,
            many=entry.entry_type == MANY,
            submitter=entry.submitter_pasid,
            read=entry.read_permission,
            write=entry.write_permission,
            window_en=entry.window_en,
            offset_mode=entry.window_mode,
            base=entry.window_base,
            size=entry.window_size,
            bitmap=entry.submitter_bitmap,
            space=self._port.space_of(entry.access_pasid) if usable else None,
            bitmap_space=self._bitmap_space() if usable and entry.entry_type == MANY else None,
            update=update,
        )
        if usable:
            self._told[handle] = entry.access_pasid
        else:
            del self._told[handle]

    def _types(self) -> list[int]:
        types = self._registers.read(IDCAP).entry_types
        return [kind for kind in (SINGLE, MANY) if types >> kind & 1]

    def _bitmap_space(self) -> Space | None:
        """Where submitter bitmaps lie (IDBR)."""
        idbr = self._registers.read(IDBR)
        return self._port.space_of(idbr.pasid) if idbr.pasid_en else self._host

    def _pasid_gone(self, pasid: int) -> None:
        idbr = self._registers.read(IDBR)
        for handle, access in list(self._told.items()):
            entry = self._registers.read(IDPT, handle)
            bitmap_gone = entry.entry_type == MANY and idbr.pasid_en and idbr.pasid == pasid
            if access == pasid or bitmap_gone:
                self.cut_off += 1
                self._tell(handle)

    # ---- commands 15 and 16 ----------------------------------------------------------------------------------------------

    def request_handle(self, index: int) -> None:
        """The entry may be used; its handle is its index."""
        self._requested.add(index)
        self._tell(index)

    def release_handle(self, index: int) -> None:
        """The handle is invalid from now on."""
        self._requested.discard(index)
        self._tell(index)

    # ---- Update Window ---------------------------------------------------------------------------------------------------

    def update_window(self, exit: Exit) -> None:
        """Check it and change the table; the engine then waits for who uses the old values (operations.md 8)."""
        wanted = UpdateWindowDescriptor.unpack(exit.desc)
        status = self._update(wanted, exit.pasid)
        if status is None:
            self.updates += 1
            self._port.resume(exit, native.RESUME_FINISH)
        else:
            self._port.resume(exit, native.RESUME_FAIL, status)

    def _update(self, wanted: UpdateWindowDescriptor, pasid: int) -> CompletionStatus | None:
        handle, flags = wanted.idpt_handle, wanted.window_flags
        if handle >= self.count or (self._handles and handle not in self._requested):
            return CompletionStatus.WINDOW_UPDATE_REFUSED
        entry = self._registers.read(IDPT, handle)
        if not entry.allow_update or entry.access_pasid != pasid:
            return CompletionStatus.WINDOW_UPDATE_REFUSED
        if not fields_valid(wanted, offset_mode=self._registers.read(IDCAP).offset_mode):
            return CompletionStatus.WINDOW_FIELDS
        changed = entry.replace(
            read_permission=bool(flags & READ),
            write_permission=bool(flags & WRITE),
            window_en=bool(flags & WINDOW_EN),
            window_mode=bool(flags & OFFSET_MODE),
            window_base=wanted.window_base,
            window_size=wanted.window_size,
        )
        self._registers.write(changed, handle)
        if entry.usable:
            self._tell(handle, update=True)
        return None

    def statistics(self) -> dict[str, int]:
        """Windows changed by Update Window, and entries whose address space went."""
        return {"window_updates": self.updates, "windows_cut_off": self.cut_off} if self.count else {}


def fields_valid(wanted: UpdateWindowDescriptor, *, offset_mode: bool) -> bool:
    """0x2D otherwise: without a window everything about it is zero; a window has a size and ends within the address space."""
    flags, base, size = wanted.window_flags, wanted.window_base, wanted.window_size
    if flags & ~(READ | WRITE | WINDOW_EN | OFFSET_MODE) or (flags & OFFSET_MODE and not offset_mode):
        return False
    if not flags & WINDOW_EN:
        return not (flags & OFFSET_MODE or base or size)
    return size != 0 and base + size <= ADDRESSES
