"""The driver's performance monitor: events that are started, read and stopped, each on a counter of its own.

Who writes what  the driver configures counters and clears overflows; the device counts. What an event had counted, and the
                 counter's value then, are in the driver state: a successor goes on counting.
Order            the value is read before the counter is enabled, and stored before the event is; updates add the difference
                 modulo the counter's width, so that one overflow between two updates is counted.
Removal, reset   of the device by its bus end its events: their counters are gone. Of an absent device nothing that was read
                 is believed, and nothing is stored.
"""

from __future__ import annotations

from contextlib import suppress
from errno import EINVAL, ENODEV, ENOSPC
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver.state import EVENTS_MAX
from idxdd.driver.workqueue import DriverError, Key, Steps, integer
from idxdd.spec.registers import CNTRCFG, CNTRDATA, EVNTCAP, FLTCFG, OVFSTATUS, PERFCAP, PERFFRZ, PERFRST

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.driver import Driver
    from idxdd.driver.state import EventBlock

COUNT_MASK: Final = (1 << 64) - 1
OVERFLOW_ROUNDS_MAX: Final = 32
EVENT_VALID: Final = 1 << 63
FILTERS: Final = {"wq": 0, "traffic_class": 1, "page_size": 2, "xfer_size": 3, "engine": 4}
"""Bit of PERFCAP.filters; the driver does not use the PASID filter."""

UNFILTERED: Final = {**dict.fromkeys(FILTERS, 0xFFFF), "pasid": 0x3FFFFF}

Message = dict[str, Any]


def pmu_init(device: Device) -> None:
    """At probe: reset the block and unfreeze it. A monitor that lacks what the driver needs is left alone."""
    device.pmu = has_pmu(device)
    if not device.pmu:
        return
    mmio, offsets = device.mmio, device.caps.offsets
    mmio.write(PERFRST.encode(config=True), at=PERFRST.entry_offset(0, offsets))
    mmio.write(OVFSTATUS(0), at=OVFSTATUS.entry_offset(0, offsets))
    mmio.write(PERFFRZ(0), at=PERFFRZ.entry_offset(0, offsets))
    mmio.write(PERFRST.encode(counters=True), at=PERFRST.entry_offset(0, offsets))
    for event in _events(device):
        event.config = 0


def has_pmu(device: Device) -> bool:
    """Counters, their width, an overflow interrupt, a freeze and global categories: the driver wants them all."""
    if not device.caps.offsets.perfmon:
        return False
    caps = perfcap(device)
    needed = (caps.num_counters, caps.counter_width, caps.overflow_int, caps.freeze, caps.num_event_categories)
    return all(needed) and not caps.per_counter_caps


def perfcap(device: Device) -> PERFCAP:
    """What its monitor can do."""
    return device.mmio.read(PERFCAP, at=PERFCAP.entry_offset(0, device.caps.offsets))


def _counters(device: Device) -> int:
    return min(perfcap(device).num_counters, EVENTS_MAX) if device.pmu else 0


def _events(device: Device) -> list[EventBlock]:
    return [device.state_segment.event(device.index, counter) for counter in range(_counters(device))]


def _count_of(device: Device, counter: int) -> tuple[int, int]:
    """What a counter holds, and a mask of its width. ENODEV: the device is absent, by now if not before."""
    caps = perfcap(device)
    now = device.mmio.read(CNTRDATA, at=CNTRDATA.entry_offset(counter, device.caps.offsets, caps)).event_count
    _present(device)  # after the reads: what they gave before it went was good
    return now, (1 << caps.counter_width) - 1


def _present(device: Device) -> None:
    if device.mmio.absent:
        raise DriverError(ENODEV, f"{device.name}: the device was removed")


def forget_lost_events(device: Device) -> None:
    """After a removal or a reset by the bus: events whose counter is off. Safe to repeat: one started since is on."""
    absent = device.mmio.absent
    for counter, event in enumerate(_events(device)):
        at = CNTRCFG.entry_offset(counter, device.caps.offsets, perfcap(device))
        if event.config and (absent or not device.mmio.read(CNTRCFG, at=at).enable):
            event.config = 0


# ---- events ----------------------------------------------------------------------------------------------------------------
def event_start(device: Device, config: CNTRCFG, filters: dict[str, int]) -> int:
    """Filters, then the start value, then enable; the event's number. ENOSPC: every counter is taken."""
    events, caps, offsets = _events(device), perfcap(device), device.caps.offsets
    _present(device)
    counter = next((number for number, event in enumerate(events) if not event.config), None)
    if counter is None:
        raise DriverError(ENOSPC, f"{device.name}: each of its {len(events)} counters has an event")
    chosen = {name: value for name, value in filters.items() if value and caps.filters >> FILTERS[name] & 1}
    device.mmio.write(FLTCFG.encode(**{**UNFILTERED, **chosen}), at=FLTCFG.entry_offset(counter, offsets, caps))
    events[counter].previous, _ = _count_of(device, counter)
    events[counter].count = 0
    events[counter].config = EVENT_VALID | config.raw
    at = CNTRCFG.entry_offset(counter, offsets, caps)
    device.mmio.write32(at + 4, config.raw >> 32)  # what counts is fixed once the low half has enabled the counter
    device.mmio.write32(at, config.raw & 0xFFFFFFFF)
    return counter


def event_update(device: Device, counter: int) -> int:
    """Add what was counted since the last update; the event's count, modulo 2^64. ENODEV."""
    event = device.state_segment.event(device.index, counter)
    now, mask = _count_of(device, counter)
    event.count = (event.count + ((now - event.previous) & mask)) & COUNT_MASK
    event.previous = now
    return event.count


def event_stop(device: Device, counter: int) -> int:
    """Disable, update, free the counter; what the event had counted. ENODEV."""
    at = CNTRCFG.entry_offset(counter, device.caps.offsets, perfcap(device))
    device.mmio.write(device.mmio.read(CNTRCFG, at=at).replace(enable=False), at=at)
    count = event_update(device, counter)
    device.state_segment.event(device.index, counter).config = 0
    return count


def perfmon_counter_overflow(device: Device) -> None:
    """Update each overflowed counter's event and clear exactly its bit; at most 32 rounds."""
    with suppress(DriverError):  # removed meanwhile: its events end with it
        _update_overflowed(device, _counters(device))


def _update_overflowed(device: Device, counters: int) -> None:
    if not counters:
        return
    at = OVFSTATUS.entry_offset(0, device.caps.offsets)
    for _ in range(OVERFLOW_ROUNDS_MAX):
        overflowed = device.mmio.read(OVFSTATUS, at=at).overflowed
        _present(device)
        if not overflowed:
            return
        for counter in range(counters):
            if overflowed >> counter & 1:
                if device.state_segment.event(device.index, counter).config:
                    event_update(device, counter)
                device.mmio.write32(at, 1 << counter)
    if device.mmio.read(OVFSTATUS, at=at).overflowed:
        device.log("warning", "perfmon counters overflow faster than they are cleared.", device=device.name)


# ---- verbs -----------------------------------------------------------------------------------------------------------------
def _pmu_of(driver: Driver, arguments: Message) -> Device:
    device = driver.find_device(arguments)
    _present(device)
    if not device.pmu:
        raise DriverError(ENODEV, f"{device.name}: the device has no performance monitor that the driver can use")
    return device


def verb_perfmon_start(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device, category, events (bits), and filters by name: answers the event's number."""
    device = _pmu_of(driver, arguments)
    category, events = integer(arguments, "category"), integer(arguments, "events")
    caps = perfcap(device)
    if category >= caps.num_event_categories:
        raise DriverError(EINVAL, f"category: must be below {caps.num_event_categories}, is {category}")
    known = device.mmio.read(EVNTCAP, at=EVNTCAP.entry_offset(category, device.caps.offsets, caps)).events
    if not events or events & ~known:
        raise DriverError(EINVAL, f"events: category {category} has {known:#x}, asked for {events:#x}")
    filters = {name: integer(arguments, name) for name in FILTERS if arguments.get(name) is not None}
    config = CNTRCFG.encode(category=category, events=events, int_overflow=True, enable=True)
    return ("perfmon", device.index), _start(device, config, filters)


def _start(device: Device, config: CNTRCFG, filters: dict[str, int]) -> Steps:
    return {"event": event_start(device, config, filters)}
    yield


def verb_perfmon_read(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device: every event with its count."""
    device = _pmu_of(driver, arguments)
    return ("perfmon", device.index), _read(device)


def _read(device: Device) -> Steps:
    found = [_described(device, counter) for counter, event in enumerate(_events(device)) if event.config]
    return {"events": found, "counters": _counters(device)}
    yield


def _described(device: Device, counter: int) -> Message:
    config = CNTRCFG(device.state_segment.event(device.index, counter).config & ~EVENT_VALID)
    return {"event": counter, "category": config.category, "events": config.events, "count": event_update(device, counter)}


def verb_perfmon_stop(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device, event: its count."""
    device, counter = _pmu_of(driver, arguments), integer(arguments, "event")
    return ("perfmon", device.index), _stop(device, counter)


def _stop(device: Device, counter: int) -> Steps:
    if counter >= _counters(device) or not device.state_segment.event(device.index, counter).config:
        raise DriverError(EINVAL, f"event: {device.name} counts no event {counter}")
    return {"event": counter, "count": event_stop(device, counter)}
    yield


VERBS: Final = {
    "perfmon_start": verb_perfmon_start,
    "perfmon_read": verb_perfmon_read,
    "perfmon_stop": verb_perfmon_stop,
}
