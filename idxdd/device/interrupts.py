"""Interrupts of one device: causes of vector 0, MSI-X masks and pending bits, handles and who may use them.

Order            a cause bit is visible in INTCAUSE before vector 0 is raised; the handler acknowledges, then looks.
Two paths        completion interrupts are raised by the engine, by handle; what is here configures them. Causes and
                 occupancy interrupts are raised from here; permissions do not apply to those (registers.md section 2.6).
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from typing_extensions import Buffer

from idxdd.device.engineport import VECTORS_PER_DEVICE, EnginePort
from idxdd.device.registerfile import BusWrite, RegisterFile
from idxdd.native import _native as native
from idxdd.spec.codes import CmdErr, Command, InterruptCause
from idxdd.spec.registers import GENCTRL, INTCAUSE, MSIX, MSIXPERM, PBA

GATES = {
    InterruptCause.ERR: GENCTRL.softerr_int_en,
    InterruptCause.HALT: GENCTRL.halt_int_en,
    InterruptCause.EVL: GENCTRL.evl_int_en,
}
"""A cause whose gate is closed is not even set. The other causes have their gate where they arise: CMD.int_req, WQCFG."""


HANDLES_MAX = native.LAYOUT["handles_max"]
"""Numbers a handle of one device can have."""


class Interrupts:
    """Vectors 0..profile.vectors - 1 of one device, and its interrupt handles.

    A handle is its entry's table index, until it is revoked: then the next request answers another number, so that who still
    uses the old one is told so (0x19), and who asks again sees that something changed."""

    def __init__(
        self,
        device: int,
        registers: RegisterFile,
        port: EnginePort,
        semaphores: Sequence[str],
        mmio_buffer: Buffer,
        bus_master: bool,
    ) -> None:
        """`semaphores`: one name a vector; `mmio_buffer`: struct idxdd_mmio, where the vectors' pending words lie."""
        vectors = registers.profile.vectors
        if len(semaphores) != vectors:
            raise ValueError(f"device {device}: {len(semaphores)} semaphores given, profile has {vectors} vectors")
        self._device = device
        self._registers = registers
        self._port = port
        self._semaphores = list(semaphores)
        self._mmio_buffer = mmio_buffer
        self._masked: set[int] = set()
        self._handles: dict[int, int] = {}  # handle: entry
        self._revocations = [0] * vectors
        self.disturb: Callable[[InterruptCause], bool] = lambda cause: False
        """Fault injection: True when vector 0 is not to be raised for this cause, or not now."""
        self.causes_raised = self.entries_raised = 0
        for entry in range(vectors):
            self._configure(entry)
        self.restart(bus_master)
        registers.on_write(MSIX, self._table_written)
        registers.on_write(MSIXPERM, self._permission_written)

    @property
    def handles_by_command(self) -> bool:
        """Handles come from Request Interrupt Handle; without that command every table index is one."""
        return Command.REQUEST_INT_HANDLE in self._registers.profile.commands

    # ---- raising ---------------------------------------------------------------------------------------------------

    def raise_cause(self, cause: InterruptCause) -> bool:
        """Set the cause and raise vector 0, if the cause's gate is open; returns whether it was."""
        gate = GATES.get(cause)
        if gate is not None and not self._registers.get(gate):
            return False
        self._registers.write(INTCAUSE(self._registers.read(INTCAUSE).raw | int(cause)))
        self.causes_raised += 1
        if not self.disturb(cause):
            self.post(0)
        return True

    def raise_entry(self, entry: int) -> None:
        """A WQ's occupancy interrupt: entry 0 explains itself in INTCAUSE, any other has no cause register."""
        if entry == 0:
            self.raise_cause(InterruptCause.OCCUPANCY)
        elif entry < self._registers.profile.vectors:
            self.post(entry)

    def raise_handle(self, handle: int) -> None:
        """As raise_entry, for a handle that is valid."""
        self.raise_entry(self._handles[handle])

    def post(self, entry: int) -> None:
        """Raise an entry, whatever the cause register says."""
        self.entries_raised += 1
        self._port.engine.vector_post(self._global(entry))
        self.refresh()

    def restart(self, bus_master: bool) -> None:
        """As after power-on, with the tables as the registers hold them: nothing pends, no handle was given."""
        self._bus_master = bus_master
        entries = range(self._registers.profile.vectors)
        for entry in entries:
            self._port.engine.vector_clear(self._global(entry))
            self._apply_mask(entry)
        for handle in list(self._handles):
            self._forget_handle(handle)
        self._revocations = [0] * len(entries)
        self._handles = {} if self.handles_by_command else {entry: entry for entry in entries}
        self.refresh_permissions()

    def revoke_handles(self, chosen: Collection[int] | None = None) -> list[int]:
        """The chosen handles (all of them) become invalid, and the driver is told if there was one (registers.md section 5);
        returns those that were revoked."""
        given = self._handles if self.handles_by_command else {}
        revoked = sorted(handle for handle in given if chosen is None or handle in chosen)
        for handle in revoked:
            self._revocations[self._handles[handle]] += 1
            self._forget_handle(handle)
        if revoked:
            self.raise_cause(InterruptCause.INT_HANDLE_REVOKED)
        return revoked

    # ---- MSI-X -----------------------------------------------------------------------------------------------------

    def set_bus_master(self, bus_master: bool) -> None:
        """Without it no message leaves the device: every entry is as good as masked."""
        self._bus_master = bus_master
        for entry in range(self._registers.profile.vectors):
            self._apply_mask(entry)

    def refresh(self) -> None:
        """Bring PBA up to date; the engine sets pending bits of masked entries by itself."""
        if self._masked or self._registers.get(PBA.pending) != 0:
            pending = sum(1 << entry for entry in self._masked if self._port.engine.vector_pending(self._global(entry)))
            self._registers.write(PBA(pending))

    def clear_pending(self) -> None:
        """Reset: what waits behind a mask is forgotten."""
        for entry in sorted(self._masked):
            self._port.engine.vector_clear(self._global(entry))
        self.refresh()

    def _configure(self, entry: int) -> None:
        """Tie the entry to its semaphore and its pending word."""
        layout = native.LAYOUT
        offset = layout["mmio.pending"] + entry * layout["mmio.pending[]"]
        self._port.engine.vector_config(self._global(entry), self._semaphores[entry], self._mmio_buffer, offset)

    def _apply_mask(self, entry: int) -> None:
        masked = self._registers.read(MSIX, entry).masked or not self._bus_master
        if masked:
            self._masked.add(entry)
        else:
            self._masked.discard(entry)
        self._port.engine.vector_mask(self._global(entry), masked)
        self.refresh()

    def _table_written(self, write: BusWrite) -> None:
        if write.dword == MSIX.masked.byte // 4:
            self._apply_mask(write.index)

    # ---- handles ---------------------------------------------------------------------------------------------------

    @property
    def handles(self) -> Mapping[int, int]:
        """Those that are valid now, with the entry each stands for."""
        return self._handles

    def request_handle(self, entry: int) -> tuple[CmdErr, int]:
        """Make a handle for this entry; one that is out already is given again."""
        if entry >= self._registers.profile.vectors:
            return CmdErr.INVAL_INT_IDX, 0
        for handle, given in self._handles.items():
            if given == entry:
                return CmdErr.SUCCESS, handle
        if len(self._handles) >= self._registers.profile.int_handles_max:
            return CmdErr.NO_HANDLE, 0
        vectors = self._registers.profile.vectors
        handle = entry + vectors * (self._revocations[entry] % (HANDLES_MAX // vectors))
        self._handles[handle] = entry
        self._refresh_handle(handle)
        return CmdErr.SUCCESS, handle

    def release_handle(self, handle: int) -> CmdErr:
        """Descriptors that still name it end with 0x19."""
        if handle not in self._handles:
            return CmdErr.INVAL_INT_IDX
        self._forget_handle(handle)
        return CmdErr.SUCCESS

    def is_handle(self, handle: int) -> bool:
        """Does the handle name an entry now?"""
        return handle in self._handles

    def refresh_permissions(self) -> None:
        """Tell the engine all handles again, after MSIXPERM changed as a whole."""
        for entry in range(self._registers.profile.vectors):
            if entry not in self._handles:
                self._forget_handle(entry)
        for handle in self._handles:
            self._refresh_handle(handle)

    def _refresh_handle(self, handle: int) -> None:
        entry = self._handles[handle]
        permission = self._registers.read(MSIXPERM, entry)
        self._port.engine.handle_config(
            self._device,
            handle,
            self._global(entry),
            pasid_en=permission.pasid_en,
            pasid=permission.pasid,
            ignore=permission.ignore,
        )

    def _forget_handle(self, handle: int) -> None:
        self._handles.pop(handle, None)
        self._port.engine.handle_config(self._device, handle, None)

    def _permission_written(self, write: BusWrite) -> None:
        for handle, entry in self._handles.items():
            if entry == write.index:
                self._refresh_handle(handle)

    def _global(self, entry: int) -> int:
        return self._device * VECTORS_PER_DEVICE + entry

    def statistics(self) -> dict[str, int]:
        """Causes set, entries raised from the device loop, handles out."""
        return {"causes": self.causes_raised, "entries_raised": self.entries_raised, "int_handles": len(self._handles)}
