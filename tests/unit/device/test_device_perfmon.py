"""Performance monitor: what is counted, filters, freezing, overflow, resets; against statistics the test writes itself."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from idxdd import native
from idxdd.device.perfmon import CATEGORIES, EVENTS, events_of
from idxdd.device.profile import Profile
from idxdd.spec.codes import Command, ResetType
from idxdd.spec.registers import CNTRCFG, EVNTCAP, INTCAUSE
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA1, DSA2


class Counting(MockDriver):
    """WQ 0 dedicated, WQ 1 shared with PASID; the engine's statistics are the test's."""

    def __init__(self, profile: Profile = DSA2) -> None:
        self.published_page = bytearray(native.LAYOUT["published_device"])
        super().__init__(profile, published=self.published_page)
        self.enable(DEDICATED, SHARED)

    def happens(self, wq: int, **statistics: int) -> None:
        """The engine counts."""
        for name, more in statistics.items():
            at = native.LAYOUT["published_device.wq"] + wq * native.LAYOUT["published_device.wq[]"]
            at += native.LAYOUT[f"wq_statistics.{name}"]
            value = int.from_bytes(self.published_page[at : at + 8], "little") + more
            self.published_page[at : at + 8] = value.to_bytes(8, "little")
        self.settle()

    def count(self, counter: int, category: int, events: int, **more: int) -> None:
        """Configure and enable with one 8-byte write, as the kernel's perfmon driver does."""
        value = CNTRCFG.encode(enable=1, category=category, events=events, **more).raw
        self.settle()
        self.device.registers.bus_write(0x1100 + 8 * counter, 8, value)

    def change_filter(self, counter: int, wqs: int) -> None:
        """FLTCFG by WQ."""
        self.mmio.write32(0x1300 + 32 * counter, wqs)
        self.settle()

    def data(self, counter: int) -> int:
        return self.mmio.read64(0x1200 + 8 * counter)


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as made:
        yield made


def test_capabilities_say_what_can_be_counted(counting: Counting) -> None:
    """8 counters of 48 bits, five categories of which four have events, the WQ filter, freeze and overflow interrupt."""
    assert counting.mmio.read64(0x1000) == 8 | 48 << 8 | 5 << 16 | 0b10111 << 20 | 1 << 36 | 1 << 54 | 1 << 55
    advertised = [counting.read(EVNTCAP, category).events for category in range(5)]
    assert advertised == [0x33, 0x1, 0xA, 0, 0x9]
    assert [events_of(category) for category in range(CATEGORIES)] == advertised, "all of it, and nothing else"
    assert [counting.mmio.read32(0x1300 + 4 * n) for n in range(6)] == [0xFFFF] * 5 + [0x3FFFFF]


@pytest.mark.parametrize(
    ("category", "bit", "wq", "statistic", "happened", "counted"),
    [
        (0, 0x01, 1, "accepted", 7, 7),
        (0, 0x01, 0, "accepted", 7, 0),
        (0, 0x02, 1, "retries", 3, 3),
        (0, 0x10, 0, "accepted", 7, 7),
        (0, 0x10, 1, "accepted", 7, 0),
        (1, 0x01, 0, "bytes", 4096, 128),
        (2, 0x02, 1, "faults", 5, 5),
        (2, 0x02, 0, "faults", 5, 0),
        (2, 0x08, 0, "faults", 5, 5),
        (4, 0x01, 1, "interrupts_requested", 2, 2),
        (4, 0x08, 0, "errors", 9, 9),
        (4, 0x02, 0, "errors", 9, 0),
        (3, 0x01, 0, "accepted", 9, 0),
    ],
)
def test_each_event_counts_its_own(
    counting: Counting, category: int, bit: int, wq: int, statistic: str, happened: int, counted: int
) -> None:
    """One event, one WQ; what the WQ is decides which event it is; unsupported bits count nothing."""
    counting.happens(wq, **{statistic: 1000})
    counting.count(2, category, bit)
    assert counting.device.needs_ticks
    counting.happens(wq, **{statistic: happened})
    assert counting.data(2) == counted, "only what came after the counter was enabled"


def test_every_event_has_a_case() -> None:
    """An event that is advertised and never tried is a promise nobody has checked."""
    marks = test_each_event_counts_its_own.pytestmark  # type: ignore[attr-defined]
    tried = {case[:2] for case in marks[0].args[1]}
    assert {(event.category, event.bit) for event in EVENTS} <= tried | {(0, 0x20)}


def test_dropped_writes_are_counted(counting: Counting) -> None:
    """They come by an exit of the engine, not by its statistics."""
    counting.count(0, 0, 0x20)
    counting.fake.exit(native.EXIT_OVERFLOW, 0, id=6)
    counting.settle()
    counting.settle()
    assert counting.data(0) == 6


def test_selected_events_are_added_and_filtered_by_wq(counting: Counting) -> None:
    """All submissions = limited accepted + dedicated accepted; the filter is a mask of WQs; category 1 knows none."""
    for counter in range(3):
        counting.change_filter(counter, (0xFFFF, 0b01, 0b10)[counter])
        counting.count(counter, 0, 0x11)
    counting.change_filter(3, 0)
    counting.count(3, 1, 0x1)
    counting.happens(0, accepted=5, bytes=16)
    counting.happens(1, accepted=3, bytes=16)
    assert [counting.data(counter) for counter in range(4)] == [8, 5, 3, 1]


def test_bytes_are_not_lost_between_polls(counting: Counting) -> None:
    """32-byte units: a remainder waits for the next."""
    counting.count(0, 1, 1)
    for _ in range(10):
        counting.happens(0, bytes=20)
    assert counting.data(0) == 200 // 32


def test_an_enabled_counter_is_locked(counting: Counting) -> None:
    """Configuration, filter and data are RO while it is enabled; the write that enables sets all of itself."""
    counting.count(1, 4, 0x8)
    before = counting.mmio.read64(0x1108)
    assert before == 1 | 4 << 8 | 8 << 32
    counting.mmio.write64(0x1108, 1 | 3 << 8 | 0x7F << 32)
    counting.mmio.write64(0x1208, 77)
    counting.change_filter(1, 1)
    assert (counting.mmio.read64(0x1108), counting.data(1), counting.mmio.read32(0x1320)) == (before, 0, 0xFFFF)
    counting.mmio.write64(0x1108, 0)
    counting.mmio.write64(0x1208, (1 << 64) - 1)
    counting.settle()
    assert counting.data(1) == (1 << 48) - 1, "bits above the width are ignored"


def test_a_disabled_counter_keeps_its_count(counting: Counting) -> None:
    """Stop, look, go on; what happens in between is not counted."""
    counting.count(0, 4, 8)
    counting.happens(0, errors=3)
    counting.mmio.write32(0x1100, 0)
    counting.settle()
    counting.happens(0, errors=100)
    assert (counting.data(0), counting.device.needs_ticks) == (3, False)
    counting.count(0, 4, 8)
    counting.happens(0, errors=2)
    assert counting.data(0) == 5


def test_freezing_and_thawing(counting: Counting) -> None:
    """Only enabled counters freeze; disabling clears it; nothing is counted meanwhile, and nothing before is lost."""
    for counter in (0, 1):
        counting.count(counter, 4, 8)
    counting.happens(0, errors=1)
    counting.mmio.write32(0x1020, 0b101)
    counting.settle()
    assert counting.mmio.read32(0x1020) == 0b001
    counting.happens(0, errors=10)
    assert [counting.data(0), counting.data(1)] == [1, 11]
    counting.mmio.write32(0x1020, 0)
    counting.settle()
    counting.happens(0, errors=100)
    assert [counting.data(0), counting.data(1)] == [101, 111]
    counting.mmio.write32(0x1020, 1)
    counting.settle()
    counting.mmio.write32(0x1100, 0)
    counting.settle()
    assert counting.mmio.read32(0x1020) == 0


@pytest.mark.parametrize("interrupt", [False, True])
@pytest.mark.parametrize("freeze", [False, True])
def test_overflow(counting: Counting, interrupt: bool, freeze: bool) -> None:
    """Wraps, sets OVFSTATUS, raises INTCAUSE.3 and freezes all if asked; goes on counting otherwise."""
    counting.count(5, 4, 8)
    counting.mmio.write64(0x1200, (1 << 48) - 2)
    counting.count(0, 4, 8, int_overflow=interrupt, freeze_on_overflow=freeze)
    counting.happens(0, errors=5)
    assert counting.data(0) == 3
    assert counting.mmio.read32(0x1030) == 1
    assert (counting.read(INTCAUSE).perfmon_ovfl, counting.fake.signalled(0)) == (interrupt, interrupt)
    assert counting.mmio.read32(0x1020) == (0b100001 if freeze else 0)
    counting.happens(0, errors=5)
    assert counting.data(0) == (3 if freeze else 8)
    counting.mmio.write32(0x1030, 1)
    assert counting.mmio.read32(0x1030) == 0


def test_perfrst(counting: Counting) -> None:
    """Bit 0 configuration, bit 1 counts; it clears itself."""
    counting.change_filter(0, 1)
    counting.count(0, 4, 8)
    counting.happens(0, errors=4)
    counting.mmio.write32(0x1010, 1)
    counting.settle()
    assert (counting.mmio.read32(0x1010), counting.mmio.read64(0x1100), counting.mmio.read32(0x1300)) == (0, 0, 0xFFFF)
    assert (counting.data(0), counting.device.needs_ticks) == (4, False)
    counting.mmio.write32(0x1010, 2)
    counting.settle()
    assert counting.data(0) == 0


@pytest.mark.parametrize("how", ["Reset Device", "FLR"])
def test_resets_clear_it(counting: Counting, how: str) -> None:
    """FLTCFG all ones, the rest 0, capabilities kept (registers.md section 9)."""
    capabilities = counting.mmio.read64(0x1000)
    counting.change_filter(0, 1)
    counting.count(0, 4, 8)
    counting.happens(0, errors=4)
    if how == "FLR":
        counting.device.reset(ResetType.FLR)
    else:
        counting.command(Command.RESET_DEVICE)
    counting.settle()
    assert (counting.mmio.read64(0x1100), counting.data(0), counting.mmio.read32(0x1300)) == (0, 0, 0xFFFF)
    assert counting.mmio.read64(0x1000) == capabilities
    assert counting.read(EVNTCAP, 4).events == 9
    assert not counting.device.needs_ticks
    counting.enable(DEDICATED, SHARED)
    counting.count(0, 4, 8)
    counting.happens(0, errors=2)
    assert counting.data(0) == 2


def test_a_narrow_counter_and_dsa1() -> None:
    """The width is the profile's; every generation has the monitor."""
    with Counting(replace(DSA2, perf_counter_width=8)) as counting:
        counting.count(0, 4, 8)
        counting.happens(0, errors=300)
        assert (counting.data(0), counting.mmio.read32(0x1030)) == (300 - 256, 1)
    with MockDriver(DSA1) as driver:
        assert driver.mmio.read64(0x1000) & 0x3F == 8
