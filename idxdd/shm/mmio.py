"""Posted register writes between the driver and the device: a ring beside BAR0.

Who writes what  the driver fills entries and moves `tail`; the device moves `applied` and `loop_asleep` and alone
                 writes the register file. (`pending`, the vectors' words, belongs to the engine and VectorWaiter.)
Order            an entry is filled before `tail` moves (release), `tail` is read before the entry (acquire); a register
                 is changed before `applied` moves (release), and a read waits for `applied` (acquire) to reach the
                 reader's own writes. That makes "acknowledge, then look" safe, as on PCIe.
                 Sleep: the device stores `loop_asleep`, fence, looks at `tail` again; the driver stores `tail`, fence,
                 looks at `loop_asleep`. One of them sees the other.
Limits           MMIO_RING entries; a full ring makes the driver wait, bounded. An entry is copied once, and the copy is
                 checked; one that no bus could carry is counted and ignored.
Crash            a driver that dies between entry and `tail` has written nothing. `tail` says what was posted: a successor
                 goes on from there, and an operation whose ring position lies at or past it was never issued.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, TypeVar

from typing_extensions import Buffer

from idxdd.native import LAYOUT, Words, fence
from idxdd.shm.clock import CLOCK, Clock
from idxdd.shm.errors import DeviceGone
from idxdd.spec.registers import VERSION

MMIO_SIZE: Final = LAYOUT["mmio"]
MMIO_RING: Final = LAYOUT["mmio_ring"]
_TAIL: Final = LAYOUT["mmio.tail"]
_APPLIED: Final = LAYOUT["mmio.applied"]
_ASLEEP: Final = LAYOUT["mmio.loop_asleep"]
_ENTRY: Final = LAYOUT["mmio.entry"]
_STRIDE: Final = LAYOUT["mmio.entry[]"]
_OFFSET: Final = LAYOUT["posted_write.offset"]
_WIDTH: Final = LAYOUT["posted_write.width_bytes"]
_VALUE: Final = LAYOUT["posted_write.value"]

_WIDTHS: Final = frozenset({1, 2, 4, 8})
_COUNTER: Final = 1 << 64
_NOBODY: Final = 0xFFFFFFFF


class RegisterValue(Protocol):
    """What of a spec register is needed here: where it is, how wide, its bits."""

    offset: ClassVar[int]
    width_bytes: ClassVar[int]
    raw: int

    def __init__(self, raw: int = 0) -> None: ...


R = TypeVar("R", bound=RegisterValue)


@dataclass(frozen=True)
class WaitPolicy:
    """How the driver waits for the device: look for so long, then sleep in growing steps, give up at the time-out."""

    timeout_s: float = 5.0
    spin_us: float = 20.0
    step_s: float = 20e-6
    step_s_max: float = 1e-3


class DriverMmio:
    """The driver's window on the registers: writes are posted, reads see them."""

    def __init__(
        self,
        bar0: Buffer,
        mmio: Buffer,
        ring_bell: Callable[[], object],
        *,
        name: str = "dsa",
        wait: WaitPolicy = WaitPolicy(),
        clock: Clock = CLOCK,
        pump: Callable[[], object] | None = None,
        before_sleep: Callable[[], object] = lambda: None,
    ) -> None:
        """`bar0` may be read-only; `pump` runs the device while we wait, where both sides live in one thread.
        `before_sleep` may raise: whoever is told to end need not wait for a device that has ended already."""
        self._bar0 = Words(bar0)
        self._bytes = memoryview(bar0)
        self._ring = Words(mmio)
        self._ring_bell = ring_bell
        self._name = name
        self._wait = wait
        self._clock = clock
        self._pump = pump
        self._before_sleep = before_sleep
        self._tail = self._ring.load64(_TAIL)  # what a predecessor posted stays posted

    @property
    def position(self) -> int:
        """The number the next posted write gets; a write with number n was issued only if position > n."""
        return self._tail

    @property
    def applied(self) -> int:
        """Writes the device has acted on."""
        return self._ring.load64(_APPLIED)

    def write32(self, offset: int, value: int) -> None:
        """Post 32 bits."""
        self._post(offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        """Post 64 bits as two writes, low half first: the order a 32-bit bus master uses."""
        self._post(offset, 4, value & 0xFFFFFFFF)
        self._post(offset + 4, 4, value >> 32)

    def write(self, register: RegisterValue, *, at: int | None = None) -> None:
        """Post a register's value, from its lowest dword up; `at`: offset of a table entry."""
        offset = register.offset if at is None else at
        left, value = register.width_bytes, register.raw
        while left:
            width = min(4, left)
            self._post(offset, width, value & ((1 << 8 * width) - 1))
            offset, left, value = offset + width, left - width, value >> 8 * width

    def read32(self, offset: int) -> int:
        """32 bits, after our own writes. Raises DeviceGone."""
        self.settle(f"reading register {offset:#x}")
        return self._bar0.load32(offset)

    def read64(self, offset: int) -> int:
        """64 bits, after our own writes. Raises DeviceGone."""
        self.settle(f"reading register {offset:#x}")
        return self._bar0.load64(offset)

    def read(self, register: type[R], *, at: int | None = None) -> R:
        """A register by its class, wide ones from the lowest 64 bits up; `at`: offset of a table entry. Raises DeviceGone."""
        offset = register.offset if at is None else at
        self.settle(f"reading {register.__name__}")
        raw = 0
        for byte in range(0, register.width_bytes, 8):
            raw |= self._load(offset + byte, min(8, register.width_bytes - byte)) << 8 * byte
        return register(raw)

    @property
    def absent(self) -> bool:
        """The bus finds nobody: all ones where a device has its version. Waits for nothing."""
        return self._bar0.load32(VERSION.offset) == _NOBODY

    def read_bytes(self, offset: int, size: int) -> bytes:
        """A range of the register file, after our own writes; no order inside it. Raises DeviceGone."""
        self.settle(f"reading registers {offset:#x}..{offset + size - 1:#x}")
        if offset < 0 or size < 0 or offset + size > len(self._bytes):
            raise IndexError(f"registers {offset:#x}..{offset + size - 1:#x} lie outside BAR0")
        return bytes(self._bytes[offset : offset + size])

    def settle(self, doing: str = "waiting for posted writes") -> None:
        """Return when all that was posted is applied. Raises DeviceGone naming what was being done."""
        self._wait_until(lambda: self._ring.load64(_APPLIED) >= self._tail, doing)

    def close(self) -> None:
        """Let go of both buffers."""
        self._bar0.release()
        self._bytes.release()
        self._ring.release()

    def _load(self, offset: int, width: int) -> int:
        if width == 8:
            return self._bar0.load64(offset)
        if width == 4:
            return self._bar0.load32(offset)
        return int.from_bytes(self._bytes[offset : offset + width], "little")

    def _post(self, offset: int, width_bytes: int, value: int) -> None:
        ring, tail = self._ring, self._tail
        if tail - ring.load64(_APPLIED) >= MMIO_RING:
            self._wait_until(lambda: tail - ring.load64(_APPLIED) < MMIO_RING, f"posting a write of register {offset:#x}")
        entry = _ENTRY + tail % MMIO_RING * _STRIDE
        ring.store32(entry + _OFFSET, offset)
        ring.store32(entry + _WIDTH, width_bytes)
        ring.store64(entry + _VALUE, value)
        self._tail = tail + 1
        ring.store64(_TAIL, self._tail)  # release: partner is DeviceMmio.apply
        fence()  # partner is DeviceMmio.about_to_sleep
        if ring.load32(_ASLEEP):
            self._ring_bell()

    def _wait_until(self, condition: Callable[[], bool], doing: str) -> None:
        if condition():
            return
        started_ns, step_s = self._clock.now_ns(), self._wait.step_s
        deadline = self._clock.deadline(self._wait.timeout_s)
        while not condition():
            if self._pump is not None:
                self._pump()
                if condition():
                    return
            elif self._clock.now_ns() - started_ns < self._wait.spin_us * 1000:
                continue
            if deadline.expired:
                raise DeviceGone(
                    f"{self._name}: {doing}: the device has applied {self.applied} of {self._tail} posted writes"
                    f" after {self._wait.timeout_s:g} s"
                )
            self._before_sleep()
            self._clock.sleep(min(step_s, deadline.remaining_s))
            step_s = min(2 * step_s, self._wait.step_s_max)


class DeviceMmio:
    """The device's end of the ring: applies what was posted, in order."""

    def __init__(self, mmio: Buffer) -> None:
        self._ring = Words(mmio)
        self._applied = self._ring.load64(_APPLIED)  # kept privately, never read back
        self.ignored = 0

    @property
    def waiting(self) -> int:
        """Writes posted and not yet applied."""
        return (self._ring.load64(_TAIL) - self._applied) % _COUNTER

    def apply(self, handler: Callable[[int, int, int], object], maximum: int = MMIO_RING) -> int:
        """Hand up to `maximum` writes to handler(offset, width_bytes, value); returns how many were taken off the ring."""
        waiting = self.waiting
        if waiting > MMIO_RING:
            return self._resynchronise(waiting)
        count = min(waiting, maximum)
        for _ in range(count):
            offset, width, value = self._copy(self._applied % MMIO_RING)
            if width in _WIDTHS and offset % width == 0 and value < 1 << 8 * width:
                handler(offset, width, value)
            else:
                self.ignored += 1
            self._advance(self._applied + 1)
        return count

    def about_to_sleep(self) -> bool:
        """Ask to be rung, then look again: True if there is nothing to do and the loop may sleep. Pair it with awake()."""
        self._ring.store32(_ASLEEP, 1)
        fence()  # partner is DriverMmio._post
        if self.waiting == 0:
            return True
        self.awake()
        return False

    def awake(self) -> None:
        """No bell needed: the loop looks by itself."""
        self._ring.store32(_ASLEEP, 0)

    def statistics(self) -> dict[str, int]:
        """applied, waiting, ignored"""
        return {"applied": self._applied, "waiting": self.waiting, "ignored": self.ignored}

    def close(self) -> None:
        """Let go of the buffer."""
        self._ring.release()

    def _copy(self, index: int) -> tuple[int, int, int]:
        entry = _ENTRY + index * _STRIDE
        ring = self._ring
        return ring.load32(entry + _OFFSET), ring.load32(entry + _WIDTH), ring.load64(entry + _VALUE)

    def _advance(self, applied: int) -> None:
        self._applied = applied % _COUNTER
        self._ring.store64(_APPLIED, self._applied)  # release: partner is DriverMmio.settle

    def _resynchronise(self, waiting: int) -> int:
        """A tail no driver of ours can have written: what it announces is dropped."""
        self.ignored += 1
        self._advance(self._applied + waiting)
        return 1
