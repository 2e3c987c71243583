"""Conformance of the performance monitor, PMU-*: the driver's events on a mock device's counters, 16 bits wide."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.perfmon import event_update, perfmon_counter_overflow
from idxdd.driver.workqueue import DriverError
from idxdd.spec.codes import InterruptCause
from idxdd.spec.registers import CNTRCFG, CNTRDATA, FLTCFG, OVFSTATUS, PERFCAP, PERFFRZ, PERFRST
from idxdd.testing.mock_device import MockDevice

COUNTERS = 4


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured(MockDevice(counters=COUNTERS)) as bench:
        yield bench


def start(bench: DriverBench, events: int = 1, **filters: int) -> int:
    return int(bench.verb("perfmon_start", device=0, category=0, events=events, **filters)["ok"]["event"])


def counts(bench: DriverBench) -> list[int]:
    return [event["count"] for event in bench.verb("perfmon_read", device=0)["ok"]["events"]]


def at(table: type, counter: int, bench: DriverBench) -> int:
    return int(table.entry_offset(counter, bench.device.offsets))  # type: ignore[attr-defined]


@pytest.mark.conformance("PMU-01")
def test_an_overflow_updates_each_overflowed_counter_and_clears_exactly_its_bit(bench: DriverBench) -> None:
    """Nobody read in between: without the update the wrap would be lost."""
    for _ in range(3):
        start(bench)
    overflow = at(OVFSTATUS, 0, bench)
    bench.device.writes.clear()
    for counter in (0, 2):
        bench.device.count(counter, 60_000)
    assert counts(bench) == [60_000, 0, 60_000]
    for counter in (0, 2):
        bench.device.count(counter, 60_000)
    bench.run()
    cleared = [(offset, value) for offset, _width, value in bench.device.writes if offset == overflow]
    assert cleared == [(overflow, 1 << 0), (overflow, 1 << 2)]
    assert bench.device.get(OVFSTATUS, overflow) == 0
    bench.device.count(0, 60_000)
    assert counts(bench) == [180_000, 0, 120_000]


@pytest.mark.conformance("PMU-02")
def test_overflows_without_end_end_after_32_rounds(bench: DriverBench) -> None:
    """Then one warning: a counter that overflows faster than it is read must not keep the handler for ever."""
    start(bench)
    overflow = at(OVFSTATUS, 0, bench)
    writes = [0]

    def again(offset: int, width: int, value: int) -> None:
        apply(offset, width, value)
        if offset == overflow:
            writes[0] += 1
            bench.device.set(OVFSTATUS(1), overflow)

    apply, bench.device._write = bench.device._write, again  # type: ignore[method-assign]
    bench.device.set(OVFSTATUS(1), overflow)
    bench.device.raise_cause(InterruptCause.PERFMON_OVFL)
    bench.run()
    assert writes == [32]
    assert bench.texts() == ["perfmon counters overflow faster than they are cleared."]


def test_an_event_counts_what_happens_while_it_runs(bench: DriverBench) -> None:
    """Not what the counter held before, nor what comes after."""
    bench.device.count(0, 77)
    event = start(bench, 3, wq=0b10)
    config = CNTRCFG(bench.device.get(CNTRCFG, at(CNTRCFG, event, bench)))
    assert (config.enable, config.int_overflow, config.category, config.events) == (True, True, 0, 3)
    assert FLTCFG(bench.device.get(FLTCFG, at(FLTCFG, event, bench))).wq == 0b10
    bench.device.count(event, 5)
    assert counts(bench) == [5]
    bench.device.count(event, 6)
    assert bench.verb("perfmon_stop", device=0, event=event)["ok"] == {"event": event, "count": 11}
    assert not CNTRCFG(bench.device.get(CNTRCFG, at(CNTRCFG, event, bench))).enable
    assert bench.verb("perfmon_stop", device=0, event=event)["error"]["code"] == "EINVAL"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"category": 1, "events": 1}, "EINVAL"),
        ({"category": 0, "events": 0x10}, "EINVAL"),
        ({"category": 0, "events": 0}, "EINVAL"),
        ({"category": 0}, "EINVAL"),
    ],
)
def test_an_event_that_the_device_has_not(bench: DriverBench, arguments: dict[str, int], code: str) -> None:
    """Refused before a counter is touched."""
    bench.device.writes.clear()
    assert bench.verb("perfmon_start", device=0, **arguments)["error"]["code"] == code
    assert bench.device.writes == []


def test_a_counter_is_told_what_to_count_before_it_is_enabled(bench: DriverBench) -> None:
    """A real device takes no change of a counter that runs: low half first, every event counted nothing."""
    bench.device.writes.clear()
    event = start(bench)
    where = at(CNTRCFG, event, bench)
    halves = [(offset - where, value & 1) for offset, _width, value in bench.device.writes if offset in (where, where + 4)]
    assert halves == [(4, 1), (0, 1)]


def test_more_events_than_counters(bench: DriverBench) -> None:
    """ENOSPC; a stopped one makes room."""
    for _ in range(COUNTERS):
        start(bench)
    assert bench.verb("perfmon_start", device=0, category=0, events=1)["error"]["code"] == "ENOSPC"
    bench.verb("perfmon_stop", device=0, event=2)
    assert start(bench) == 2


def test_a_successor_goes_on_counting(bench: DriverBench) -> None:
    """What was counted before the kill is not counted again, what came while nobody lived is."""
    event = start(bench)
    bench.device.count(event, 10)
    assert counts(bench) == [10]
    bench.kill()
    bench.device.count(event, 4)
    bench.start()
    bench.run()
    assert counts(bench) == [14]


def test_a_device_without_a_monitor() -> None:
    """No register of it is touched; the cause, should it come, is handled."""
    with configured() as bench:
        assert bench.verb("perfmon_read", device=0)["error"]["code"] == "ENODEV"
        bench.device.raise_cause(InterruptCause.PERFMON_OVFL)
        bench.run()
        assert bench.texts() == []


def test_the_monitor_is_reset_at_probe() -> None:
    """Configuration, overflows, freeze, counters, in this order."""
    bench = DriverBench(MockDevice(counters=COUNTERS))
    bench.run()
    base = bench.device.offsets.perfmon
    offsets = [offset - base for offset, _width, _value in bench.device.writes if base <= offset < base + 0x100]
    assert offsets == [PERFRST.offset, OVFSTATUS.offset, PERFFRZ.offset, PERFRST.offset]
    bench.close()


@pytest.mark.parametrize("lacks", ["counter_width", "overflow_int", "freeze", "num_event_categories"])
def test_a_monitor_that_lacks_something_is_left_alone(lacks: str) -> None:
    """The driver wants overflow interrupts, a freeze, a width and global categories."""
    device = MockDevice(counters=COUNTERS)
    caps = PERFCAP(device.get(PERFCAP, device.offsets.perfmon))
    device.set(caps.replace(**{lacks: 0}), device.offsets.perfmon)
    with configured(device) as bench:
        assert bench.verb("perfmon_read", device=0)["error"]["code"] == "ENODEV"
        assert CNTRDATA.entry_offset(0, device.offsets) not in [offset for offset, _, _ in device.writes]


@contextmanager
def removed(bench: DriverBench) -> Iterator[None]:
    """All ones, then what a device has after power-on."""
    whole = bytes(bench.device.bar0)
    bench.device.bar0[:] = b"\xff" * len(whole)
    yield
    bench.device.bar0[:] = whole
    for counter in range(COUNTERS):
        bench.device.set(CNTRCFG(0), at(CNTRCFG, counter, bench))
        bench.device.set(CNTRDATA(0), at(CNTRDATA, counter, bench))


def test_a_removed_device_counts_nothing_and_its_events_end_with_it(bench: DriverBench) -> None:
    """Its all-ones went into the count; after the return the sum did not fit, and one idxdd-irq after another died of it."""
    event = start(bench)
    bench.device.count(event, 7)
    assert counts(bench) == [7]
    with removed(bench):
        for verb in ("perfmon_read", "perfmon_stop", "perfmon_start"):
            answer = bench.verb(verb, device=0, event=event, category=0, events=1)
            assert answer["error"] == {"code": "ENODEV", "text": f"{bench.device.name}: the device was removed"}
        perfmon_counter_overflow(bench.driver.devices[0])
        assert bench.driver.state.event(0, event).count == 7
        bench.verb("bus_event", device=0)
    assert counts(bench) == []
    assert start(bench) == 0
    bench.device.count(0, 3)
    assert counts(bench) == [3]


def test_a_device_that_goes_between_look_and_read(bench: DriverBench) -> None:
    """The check is after the read too: a check before it alone stores what nobody counted."""
    event = start(bench)
    with removed(bench), pytest.raises(DriverError, match="the device was removed"):
        event_update(bench.driver.devices[0], event)
    assert bench.driver.state.event(0, event).count == 0


def test_a_count_is_modulo_two_to_the_64(bench: DriverBench) -> None:
    """Whatever a predecessor has stored: the sum always fits its word."""
    event = start(bench)
    bench.driver.state.event(0, event).count = (1 << 64) - 5
    bench.device.count(event, 10)
    assert counts(bench) == [5]


def test_a_reset_by_the_bus_ends_events_and_its_news_told_again_ends_none_started_since(bench: DriverBench) -> None:
    """A verb may be repeated after a kill; the counters say which events were lost."""
    start(bench)
    bench.device.set(CNTRCFG(0), at(CNTRCFG, 0, bench))
    bench.verb("bus_event", device=0)
    assert counts(bench) == []
    start(bench)
    bench.verb("bus_event", device=0)
    assert counts(bench) == [0]
