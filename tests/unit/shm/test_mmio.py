"""Posted writes: in order, once, seen by the writer's next read; garbage hurts nobody; no wake-up is lost."""

import os
import threading
from typing import ClassVar

import pytest
from child import Child
from hypothesis import given
from hypothesis import strategies as st

from idxdd.native import LAYOUT, Words
from idxdd.shm.clock import CLOCK, FakeClock
from idxdd.shm.errors import DeviceGone
from idxdd.shm.mmio import MMIO_RING, MMIO_SIZE, DeviceMmio, DriverMmio, WaitPolicy
from idxdd.shm.names import names_left
from idxdd.shm.segment import Segment

BAR_SIZE = 65536
TAIL, APPLIED, ASLEEP, ENTRY = (LAYOUT[f"mmio.{word}"] for word in ("tail", "applied", "loop_asleep", "entry"))


class Dword:
    """Shaped like a spec register."""

    offset: ClassVar[int] = 0x98
    width_bytes: ClassVar[int] = 4

    def __init__(self, raw: int = 0) -> None:
        self.raw = raw


class Wide(Dword):
    offset = 0xC0
    width_bytes = 32


class Word16(Dword):
    offset = 0x42
    width_bytes = 2


class Bus:
    """Both ends over the same memory, and a device that stores what is written."""

    def __init__(self, start: int = 0, *, pumped: bool = True, **options: object) -> None:
        self.bar0, self.mmio = bytearray(BAR_SIZE), bytearray(MMIO_SIZE)
        words = Words(self.mmio)
        words.store64(TAIL, start)
        words.store64(APPLIED, start)
        self.words = words
        self.log: list[tuple[int, int, int]] = []
        self.rings = 0
        self.device = DeviceMmio(self.mmio)
        options.setdefault("clock", FakeClock())
        if pumped:
            options["pump"] = self.tick
        self.driver = DriverMmio(memoryview(self.bar0).toreadonly(), self.mmio, self.ring, name="dsa0", **options)

    def ring(self) -> None:
        self.rings += 1

    def store(self, offset: int, width: int, value: int) -> None:
        self.log.append((offset, width, value))
        if offset + width <= BAR_SIZE:
            self.bar0[offset : offset + width] = value.to_bytes(width, "little")

    def tick(self) -> int:
        return self.device.apply(self.store)

    def garbage(self, index: int, offset: int, width: int, value: int) -> None:
        """What a driver that went mad puts into the ring."""
        entry = ENTRY + index % MMIO_RING * LAYOUT["mmio.entry[]"]
        self.words.store32(entry + LAYOUT["posted_write.offset"], offset)
        self.words.store32(entry + LAYOUT["posted_write.width_bytes"], width)
        self.words.store64(entry + LAYOUT["posted_write.value"], value)


@pytest.fixture
def bus():
    return Bus()


def test_a_read_sees_the_readers_own_writes(bus):
    """To acknowledge and then look, as misc_thread does, depends on it."""
    bus.driver.write32(0x98, 0x20)
    assert bus.log == []
    assert bus.driver.read32(0x98) == 0x20
    bus.driver.write64(0x10, 0x1122_3344_5566_7788)
    assert bus.driver.read64(0x10) == 0x1122_3344_5566_7788
    assert bus.driver.read_bytes(0x10, 8) == bytes.fromhex("8877665544332211")


def test_a_write_is_posted_and_not_waited_for(bus):
    """Fire and forget, as on PCIe."""
    bus.driver.write32(0x98, 1)
    assert (bus.driver.position, bus.driver.applied, bus.device.waiting) == (1, 0, 1)


def test_64_bits_are_two_writes_low_half_first(bus):
    """What Linux does, and what a device with side effects on the high half depends on."""
    bus.driver.write64(0xC0, 0xAAAA_BBBB_CCCC_DDDD)
    bus.driver.settle()
    assert bus.log == [(0xC0, 4, 0xCCCC_DDDD), (0xC4, 4, 0xAAAA_BBBB)]


def test_registers_by_class(bus):
    """Typed: 2, 4 and 32 bytes, and a table entry elsewhere."""
    bus.driver.write(Dword(0x8000_0001))
    bus.driver.write(Word16(0xBEEF))
    raw = int.from_bytes(bytes(range(1, 33)), "little")
    bus.driver.write(Wide(raw))
    bus.driver.write(Dword(7), at=0x400)
    assert bus.driver.read(Dword).raw == 0x8000_0001
    assert bus.driver.read(Word16).raw == 0xBEEF
    wide = bus.driver.read(Wide)
    assert type(wide) is Wide
    assert wide.raw == raw
    assert bus.driver.read(Dword, at=0x400).raw == 7
    assert [entry[:2] for entry in bus.log[2:10]] == [(0xC0 + 4 * i, 4) for i in range(8)]


def test_order_holds_over_many_turns_of_the_ring():
    """More writes than entries, applied in any portions; numbers that wrap the ring."""
    bus = Bus(start=MMIO_RING * 5 - 3)
    expected = []
    for number in range(3 * MMIO_RING):
        bus.driver.write32(4 * (number % 1000), number)
        expected.append((4 * (number % 1000), 4, number))
        if number % 7 == 0:
            bus.device.apply(bus.store, maximum=5)
    bus.driver.settle()
    assert bus.log == expected
    assert bus.driver.position == MMIO_RING * 8 - 3
    assert bus.device.statistics() == {"applied": MMIO_RING * 8 - 3, "waiting": 0, "ignored": 0}


def test_a_full_ring_waits_and_overwrites_nothing(bus):
    """The write after the last free entry runs the device first; a device that does nothing is gone, in bounded time."""
    for number in range(MMIO_RING):
        bus.driver.write32(0, number)
    assert bus.log == []
    bus.driver.write32(0, MMIO_RING)
    bus.driver.settle()
    assert [value for _, _, value in bus.log] == list(range(MMIO_RING + 1))

    clock = FakeClock()
    dead = Bus(pumped=False, clock=clock, wait=WaitPolicy(timeout_s=3.0))
    for number in range(MMIO_RING):
        dead.driver.write32(0, number)
    started_ns = clock.now_ns()
    dead.driver._wait = WaitPolicy(timeout_s=3.0, spin_us=0)
    with pytest.raises(DeviceGone, match=r"dsa0: posting a write of register 0x40: .* 0 of 1024 posted writes after 3 s"):
        dead.driver.write32(0x40, 1)
    assert 3.0 <= (clock.now_ns() - started_ns) / 1e9 < 3.1
    assert dead.words.load64(TAIL) == MMIO_RING


def test_a_read_from_a_dead_device_ends_and_names_the_register():
    """Every wait has an end; the message says what was being read."""
    bus = Bus(pumped=False, wait=WaitPolicy(timeout_s=1.0, spin_us=0))
    assert bus.driver.read(Dword).raw == 0  # nothing of ours is on the way: no wait
    bus.driver.write32(0, 1)
    for read, name in [
        (lambda: bus.driver.read(Wide), "reading Wide"),
        (lambda: bus.driver.read32(0x90), "reading register 0x90"),
        (lambda: bus.driver.read64(0x90), "reading register 0x90"),
        (lambda: bus.driver.read_bytes(0x80, 16), "reading registers 0x80..0x8f"),
        (lambda: bus.driver.settle(), "waiting for posted writes"),
    ]:
        with pytest.raises(DeviceGone, match=name):
            read()


def test_spinning_comes_before_sleeping():
    """A device that answers within the spin is not slept for."""
    looks = 0

    class Ticking(FakeClock):
        def now_ns(self) -> int:
            nonlocal looks
            looks += 1
            if looks == 20:
                bus.tick()
            self.advance(1e-6)
            return super().now_ns()

        def sleep(self, seconds: float) -> None:
            raise AssertionError("slept")

    bus = Bus(pumped=False, clock=Ticking(), wait=WaitPolicy(spin_us=50))
    bus.driver.write32(0, 5)
    assert bus.driver.read32(0) == 5


def test_reads_outside_the_registers_are_refused(bus):
    """No bus cycle reaches what is not mapped."""
    for read in (
        lambda: bus.driver.read32(BAR_SIZE),
        lambda: bus.driver.read64(-8),
        lambda: bus.driver.read_bytes(BAR_SIZE - 4, 8),
        lambda: bus.driver.read_bytes(-4, 4),
    ):
        with pytest.raises(IndexError):
            read()


@pytest.mark.parametrize(
    ("offset", "width", "value"),
    [(0, 0, 0), (0, 3, 0), (0, 16, 0), (0, 0xFFFFFFFF, 0), (2, 4, 0), (4, 8, 0), (1, 2, 0), (0, 4, 1 << 32), (0, 1, 256)],
)
def test_garbage_entries_are_counted_and_ignored(bus, offset, width, value):
    """What no bus could carry does not reach a register, and does not hold up the next write."""
    bus.garbage(0, offset, width, value)
    bus.words.store64(TAIL, 1)
    bus.garbage(1, 0x10, 8, 2**64 - 1)
    bus.words.store64(TAIL, 2)
    assert bus.tick() == 2
    assert bus.log == [(0x10, 8, 2**64 - 1)]
    assert bus.device.statistics() == {"applied": 2, "waiting": 0, "ignored": 1}


@pytest.mark.parametrize("tail", [MMIO_RING + 101, 2**64 - 1, 99, 0])
def test_a_wild_tail_is_not_followed(tail):
    """Further than the ring is long, or backwards: dropped, counted, and the device goes on from there."""
    bus = Bus(start=100)
    bus.words.store64(TAIL, tail)
    assert bus.tick() == 1
    assert bus.log == []
    assert bus.words.load64(APPLIED) == tail
    assert (bus.device.ignored, bus.device.waiting) == (1, 0)
    bus.garbage(tail, 8, 4, 6)
    bus.words.store64(TAIL, (tail + 1) % 2**64)
    assert bus.tick() == 1
    assert bus.log == [(8, 4, 6)]


def test_applied_is_never_read_back(bus):
    """The device keeps its cursor: a driver that writes it makes only itself look foolish."""
    bus.driver.write32(0, 1)
    bus.tick()
    bus.words.store64(APPLIED, 77)
    bus.driver.write32(4, 2)
    assert bus.tick() == 1
    assert bus.words.load64(APPLIED) == 2


def test_applied_moves_after_each_register():
    """A reader that waits for its write must not be released before the register has changed, nor later than needed."""
    bus = Bus()
    seen = []
    for number in range(3):
        bus.driver.write32(0, number)
    bus.device.apply(lambda *_: seen.append(bus.words.load64(APPLIED)))
    assert seen == [0, 1, 2]
    assert bus.words.load64(APPLIED) == 3


def test_the_bell_rings_only_for_a_sleeper(bus):
    """A busy loop makes no system call; a sleeping one is woken by the first write."""
    bus.driver.write32(0, 1)
    assert bus.rings == 0
    bus.tick()
    assert bus.device.about_to_sleep()
    bus.driver.write32(0, 2)
    assert bus.rings == 1
    bus.device.awake()
    bus.tick()
    bus.driver.write32(0, 3)
    assert bus.rings == 1


def test_a_loop_with_work_does_not_go_to_sleep(bus):
    """It looks again after it said that it sleeps, and takes its word back."""
    bus.driver.write32(0, 1)
    assert not bus.device.about_to_sleep()
    assert bus.words.load32(ASLEEP) == 0


class Traced:
    """Words that say in which order they were touched."""

    def __init__(self, words: Words, log: list[str]) -> None:
        self._words, self._log = words, log

    def __getattr__(self, call: str):
        def traced(offset: int, *value: int) -> int | None:
            name = next(
                (word for word, at in (("tail", TAIL), ("applied", APPLIED), ("asleep", ASLEEP)) if at == offset), "entry"
            )
            self._log.append(f"{call.rstrip('0123456789')} {name}")
            return getattr(self._words, call)(offset, *value)

        return traced


def test_the_order_of_stores_loads_and_fences(bus, monkeypatch):
    """The rule of sleeping and waking (model a): a missing fence or a swapped line loses a wake-up once in a million."""
    log: list[str] = []
    monkeypatch.setattr("idxdd.shm.mmio.fence", lambda: log.append("fence"))
    bus.driver._ring = Traced(bus.words, log)
    bus.device._ring = Traced(bus.words, log)
    bus.driver.write32(0, 1)
    assert log == ["load applied", "store entry", "store entry", "store entry", "store tail", "fence", "load asleep"]
    log.clear()
    bus.tick()
    assert log == ["load tail", "load entry", "load entry", "load entry", "store applied"]
    log.clear()
    assert bus.device.about_to_sleep()
    assert log == ["store asleep", "fence", "load tail"]


def test_a_successor_goes_on_where_the_tail_is():
    """A driver that died between entry and tail has posted nothing; what was posted is applied before the first read."""
    bus = Bus()
    bus.driver.write32(0, 1)
    bus.garbage(1, 4, 4, 9)  # filled, not published
    successor = DriverMmio(bus.bar0, bus.mmio, bus.ring, pump=bus.tick)
    assert successor.position == 1
    assert successor.read32(0) == 1
    successor.write32(8, 3)
    successor.settle()
    assert bus.log == [(0, 4, 1), (8, 4, 3)]


@given(
    st.lists(st.tuples(st.sampled_from(["write32", "write64", "read", "apply"]), st.integers(0, 15), st.integers(0, 2**64 - 1)))
)
def test_reads_agree_with_a_register_file_that_is_written_at_once(steps):
    """Whatever the device's pace, the driver cannot tell posted from immediate writes."""
    bus, model = Bus(start=2**20), bytearray(BAR_SIZE)
    for step, place, value in steps:
        offset = 8 * place
        if step == "write32":
            bus.driver.write32(offset, value & 0xFFFFFFFF)
            model[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
        elif step == "write64":
            bus.driver.write64(offset, value)
            model[offset : offset + 8] = value.to_bytes(8, "little")
        elif step == "apply":
            bus.device.apply(bus.store, maximum=place)
        else:
            assert bus.driver.read64(offset) == int.from_bytes(model[offset : offset + 8], "little")
    assert bus.driver.read_bytes(0, 128) == model[:128]


def test_closing_lets_go_of_the_memory(bus):
    """Quiesce, then unmap."""
    bus.driver.close()
    bus.device.close()
    bus.words.release()
    bus.mmio.clear()  # BufferError while anybody holds it
    bus.bar0.clear()


DEVICE = """
import select, sys
from idxdd.shm.bells import Bell
from idxdd.shm.mmio import MMIO_SIZE, DeviceMmio
from idxdd.shm.segment import Segment
bar0, ring = Segment.create(sys.argv[1] + "bar0", 65536), Segment.create(sys.argv[1] + "mmio", MMIO_SIZE)
device, bell, naps = DeviceMmio(ring.buffer), Bell(int(sys.argv[2])), 0
print("ready", flush=True)
while True:
    if device.apply(lambda offset, width, value: bar0.words.store32(offset, value)):
        if bar0.words.load32(0xFFFC):
            break
        continue
    if device.about_to_sleep():
        naps += 1
        if not select.select([bell], [], [], 5)[0]:
            print("overslept", flush=True)
        bell.drain()
        device.awake()
device.close(); bar0.close(); ring.close()
print("naps", naps, flush=True)
"""


def test_no_wake_up_is_lost_between_two_processes(instance_lock):
    """The edge of sleep, many times: the device naps whenever it can, the driver waits for each write before the next.

    A lost wake-up would show as an oversleep of 5 s (the belt), or as DeviceGone.
    """
    prefix = instance_lock.names.of("")
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    os.set_inheritable(bell, True)
    with Child(DEVICE, prefix, bell, pass_fds=(bell,)) as child:
        assert child.line() == "ready"
        with Segment.open(prefix + "bar0", BAR_SIZE) as bar0, Segment.open(prefix + "mmio", MMIO_SIZE, writable=True) as ring:
            driver = DriverMmio(bar0.buffer, ring.buffer, lambda: os.eventfd_write(bell, 1), wait=WaitPolicy(timeout_s=20))
            for number in range(2000):
                for _ in range(number % 3 + 1):
                    driver.write32(8, number)
                assert driver.read32(8) == number
            driver.write32(0xFFFC, 1)
            naps = child.line()
            driver.close()
        assert child.finish() == 0
    os.close(bell)
    assert naps.startswith("naps ")
    assert int(naps.split()[1]) > 50
    assert [file for file in names_left(instance_lock.instance) if not file.endswith(".lock")] == []


def test_a_thread_that_applies_and_one_that_posts_agree():
    """The same objects from two threads, as a test of a loop would use them; nothing is lost or doubled."""
    bus = Bus(pumped=False, wait=WaitPolicy(timeout_s=30, spin_us=0), clock=CLOCK)
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            bus.tick()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        for number in range(5000):
            bus.driver.write32(0, number)
        bus.driver.settle()
    finally:
        stop.set()
        thread.join()
    assert [value for _, _, value in bus.log] == list(range(5000))
