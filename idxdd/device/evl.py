"""Event log: errors and completion records that software must deliver, as a ring in host memory (registers.md 2.10).

Who writes what  the device: entries, EVLSTATUS.tail, int_pending := 1; the driver: head, int_pending := 0.
Order            entry, then tail and int_pending in one store, then INTCAUSE.evl and vector 0.
Full             tail + 1 = head. With GENCAP.evl_overflow the event is dropped and 0x54 reported; without, it waits here with
                 its descriptor, in order, until head moves or the descriptor is aborted.
Limits           every event that waits belongs to a parked descriptor; others go to SWERR instead of waiting.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from idxdd.device.engineport import WQS_PER_DEVICE, Continuation
from idxdd.device.interrupts import Interrupts
from idxdd.device.registerfile import BusWrite, RegisterFile
from idxdd.native._native import Exit
from idxdd.shm.hostmemory import HostMemory
from idxdd.spec.codes import DeviceState, InterruptCause
from idxdd.spec.limits import EVL_ENTRY_BYTES_BY_SUPPORT
from idxdd.spec.records import EventLogEntry
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCAP, GENCFG, GENCTRL, GENSTS


@dataclass(frozen=True)
class Waiting:
    """An entry that found the log full, and the descriptor that waits with it."""

    entry: EventLogEntry
    exit: Exit
    then: Continuation


class EventLog:
    """The log of one device; on while the device runs with GENCFG.evl_en."""

    def __init__(
        self, registers: RegisterFile, interrupts: Interrupts, host: HostMemory | None, failed: Callable[[], None]
    ) -> None:
        """`host`: None, and every write fails; `failed`: an entry is lost, report 0x54."""
        self._registers = registers
        self._interrupts = interrupts
        self._host = host
        self._failed = failed
        self._waiting: deque[Waiting] = deque()
        self.written = self.dropped = self.write_failures = 0
        self._losing = 0
        registers.on_write(EVLSTATUS, self._status_written)

    @property
    def active(self) -> bool:
        """Does the log take entries? GENCFG is locked while the device runs."""
        state = self._registers.get(GENSTS.state)
        return self._registers.get(GENCFG.evl_en) and state in (DeviceState.ENABLED, DeviceState.DRAIN)

    @property
    def full(self) -> bool:
        """No entry can be written before head moves."""
        status = self._registers.read(EVLSTATUS)
        return self._after(status.tail) == status.head

    def post(self, entry: EventLogEntry, exit: Exit, then: Continuation) -> None:
        """Log the event of a parked descriptor; `then` runs when the entry is written, or lost for good."""
        if self._waiting or (self.full and not self._registers.get(GENCAP.evl_overflow)):
            self._waiting.append(Waiting(entry, exit, then))
        else:
            self._write(entry)
            then()

    def post_at_once(self, entry: EventLogEntry) -> bool:
        """Log an event nothing waits for; False if there is no room and the log may not drop it."""
        if self._waiting or (self.full and not self._registers.get(GENCAP.evl_overflow)):
            return False
        self._write(entry)
        return True

    def forget(self, chosen: Callable[[Exit], bool]) -> None:
        """Descriptors were aborted: nothing of theirs may appear any more."""
        self._waiting = deque(waiting for waiting in self._waiting if not chosen(waiting.exit))

    def forget_wqs(self, wq_ids: Collection[int], pasid: int | None = None) -> None:
        """As forget, by WQ and perhaps PASID."""
        self.forget(lambda exit: exit.wq % WQS_PER_DEVICE in wq_ids and pasid in (None, exit.pasid))

    def lose(self, count: int) -> None:
        """Fault injection: so many entries from here find the log full, and are dropped whatever GENCAP.evl_overflow says."""
        self._losing = count

    def _write(self, entry: EventLogEntry) -> None:
        if self.full or self._losing:
            self._losing = max(0, self._losing - 1)
            self.dropped += 1
            return self._failed()
        tail = self._registers.read(EVLSTATUS).tail
        size = EVL_ENTRY_BYTES_BY_SUPPORT[self._registers.get(GENCAP.evl_support)]
        address = self._registers.get(EVLCFG.log_base) + tail * size
        if self._host is None or not self._host.write(address, entry.pack().ljust(size, b"\0")):
            self.write_failures += 1
            return self._failed()
        self.written += 1
        interrupt = self._registers.get(GENCTRL.evl_int_en) and not self._registers.get(EVLSTATUS.int_pending)
        if interrupt:
            self._registers.set(EVLSTATUS, tail=self._after(tail), int_pending=True)
            self._interrupts.raise_cause(InterruptCause.EVL)
        else:
            self._registers.set(EVLSTATUS, tail=self._after(tail))

    def _after(self, index: int) -> int:
        return (index + 1) % max(self._registers.get(EVLCFG.log_size), 1)

    def _status_written(self, write: BusWrite) -> None:
        """Head may have moved: whoever waited goes on."""
        while self._waiting and not self.full:
            waiting = self._waiting.popleft()
            self._write(waiting.entry)
            waiting.then()

    def statistics(self) -> dict[str, int]:
        """Entries written, lost to a full log, lost to failed writes; events that wait for room."""
        return {
            "evl_entries": self.written,
            "evl_dropped": self.dropped,
            "evl_write_failures": self.write_failures,
            "evl_waiting": len(self._waiting),
        }
