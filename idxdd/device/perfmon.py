"""Performance monitor: counters of events that the engine's statistics know (registers.md 3.5; specification 6, App. D).

Who writes what  the engine counts by WQ, always; nothing is added to its path. Each poll() adds what came since the last
                 poll to the counters that run.
Order            a change of a counter's configuration counts from the poll at that change on; OVFSTATUS, and the freeze of
                 all counters, are visible before INTCAUSE.perfmon_ovfl.
Exact            totals are exact, times are not: an event counts at the poll after it. An overflow is noticed there too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from idxdd.device.engineport import EnginePort
from idxdd.device.interrupts import Interrupts
from idxdd.device.registerfile import BusWrite, RegisterFile
from idxdd.device.wq import Wqs
from idxdd.spec.codes import InterruptCause, WqMode
from idxdd.spec.registers import CNTRCFG, CNTRDATA, FLTCFG, OVFSTATUS, PERFCAP, PERFFRZ, PERFRST, WQCFG

UNIT_BYTES: Final = 32
FILTER_WQ: Final = 0
Condition = Callable[[WQCFG], bool]


@dataclass(frozen=True)
class Event:
    """One countable event: its place, the statistic behind it, the WQs it comes from, whether the WQ filter applies."""

    category: int
    bit: int
    statistic: str
    of: Condition = lambda wq: True
    filtered: bool = True
    unit: int = 1


def shared(wq: WQCFG) -> bool:
    return wq.mode is WqMode.SHARED


def dedicated(wq: WQCFG) -> bool:
    return wq.mode is WqMode.DEDICATED


EVENTS: Final = (
    Event(0, 0x01, "accepted", shared),  # every portal of a client is a limited one
    Event(0, 0x02, "retries", shared),
    Event(0, 0x10, "accepted", dedicated),
    Event(0, 0x20, "dropped", dedicated),
    Event(1, 0x01, "bytes", filtered=False, unit=UNIT_BYTES),
    Event(2, 0x02, "faults", lambda wq: wq.pasid_en, filtered=False),
    Event(2, 0x08, "faults", lambda wq: not wq.pasid_en, filtered=False),
    Event(4, 0x01, "interrupts_requested"),
    Event(4, 0x08, "errors"),
)
"""Operations, traffic classes, page sizes and records are not counted by the engine: not in EVNTCAP."""

CATEGORIES: Final = 1 + max(event.category for event in EVENTS)
STATISTICS: Final = tuple(dict.fromkeys(event.statistic for event in EVENTS if event.statistic != "dropped"))
Totals = dict[tuple[int, str], int]


def events_of(category: int) -> int:
    """EVNTCAP.events of a category."""
    return sum(event.bit for event in EVENTS if event.category == category)


class Perfmon:
    """The counters of one device."""

    def __init__(
        self, registers: RegisterFile, interrupts: Interrupts, port: EnginePort, wqs: Wqs, dropped: Mapping[int, int]
    ) -> None:
        """`dropped`: posted writes a dedicated WQ found no room for, by WQ id."""
        self._registers = registers
        self._interrupts = interrupts
        self._port = port
        self._wqs = wqs
        self._dropped = dropped
        self.count = registers.count(CNTRCFG)
        self._running: frozenset[int] = frozenset()
        self._totals: Totals = {}
        self._rest: dict[tuple[int, Event], int] = {}
        self.overflows = 0
        for register, hook in (
            (PERFRST, self._reset_written),
            (PERFFRZ, self._freeze_written),
            (CNTRCFG, self._config_written),
            (CNTRDATA, self._data_written),
        ):
            registers.on_write(register, hook)

    @property
    def running(self) -> bool:
        """poll() must be called now and then."""
        return bool(self._running)

    def poll(self) -> None:
        """Count what happened since the last poll."""
        if not self._running:
            return
        before, self._totals = self._totals, self._read_totals()
        configs = [self._wqs.config(wq_id) for wq_id in range(self._wqs.count)]
        for counter in sorted(self._running):
            self._add(counter, sum(self._counted(counter, configs, before)))

    def restart(self) -> None:
        """After a reset of the registers: nothing runs."""
        self._running = frozenset()
        self._rest.clear()

    def _read_totals(self) -> Totals:
        totals = {(wq_id, "dropped"): self._dropped.get(wq_id, 0) for wq_id in range(self._wqs.count)}
        for wq_id in range(self._wqs.count):
            for statistic in STATISTICS:
                totals[wq_id, statistic] = self._port.wq_statistic(self._wqs.index(wq_id), statistic)
        return totals

    def _counted(self, counter: int, configs: list[WQCFG], before: Totals) -> list[int]:
        """What each selected event adds to this counter."""
        selected, wanted = self._registers.read(CNTRCFG, counter), self._registers.get(FLTCFG.wq, counter)
        counts = []
        for event in EVENTS:
            if event.category != selected.category or not event.bit & selected.events:
                continue
            happened = sum(
                self._totals[wq_id, event.statistic] - before[wq_id, event.statistic]
                for wq_id, config in enumerate(configs)
                if event.of(config) and (not event.filtered or wanted >> wq_id & 1)
            )
            units, rest = divmod(happened + self._rest.get((counter, event), 0), event.unit)
            self._rest[counter, event] = rest
            counts.append(units)
        return counts

    def _add(self, counter: int, happened: int) -> None:
        if not happened:
            return
        width = self._registers.get(PERFCAP.counter_width)
        count = self._registers.get(CNTRDATA.event_count, counter) + happened
        self._registers.write(CNTRDATA(count & (1 << width) - 1), counter)
        if count >> width:
            self._overflow(counter)

    def _overflow(self, counter: int) -> None:
        self.overflows += 1
        config = self._registers.read(CNTRCFG, counter)
        self._registers.write(OVFSTATUS(self._registers.read(OVFSTATUS).raw | 1 << counter))
        if config.freeze_on_overflow:
            self._registers.write(PERFFRZ(self._enabled()))
            self._refresh_running()
        if config.int_overflow:
            self._interrupts.raise_cause(InterruptCause.PERFMON_OVFL)

    # ---- registers -------------------------------------------------------------------------------------------------

    def _enabled(self) -> int:
        return sum(1 << counter for counter in range(self.count) if self._registers.get(CNTRCFG.enable, counter))

    def _refresh_running(self) -> None:
        """Start and stop counters as the registers say; one that starts counts from here."""
        running = self._enabled() & ~self._registers.read(PERFFRZ).frozen
        if running and not self._running:
            self._totals = self._read_totals()
        self._running = frozenset(counter for counter in range(self.count) if running >> counter & 1)

    def _config_written(self, write: BusWrite) -> None:
        self.poll()
        enabled = self._enabled()
        self._registers.write(PERFFRZ(self._registers.read(PERFFRZ).raw & enabled))  # disabling clears the freeze
        self._refresh_running()

    def _freeze_written(self, write: BusWrite) -> None:
        frozen = write.after & self._enabled()
        self._registers.write(PERFFRZ(write.before))
        self.poll()
        self._registers.write(PERFFRZ(frozen))
        self._refresh_running()

    def _data_written(self, write: BusWrite) -> None:
        width = self._registers.get(PERFCAP.counter_width)
        value = self._registers.get(CNTRDATA.event_count, write.index)
        self._registers.write(CNTRDATA(value & (1 << width) - 1), write.index)

    def _reset_written(self, write: BusWrite) -> None:
        self.poll()
        asked = PERFRST(write.after)
        self._registers.write(PERFRST(0))
        if asked.config:
            self._registers.reset(lambda register: register in (CNTRCFG, FLTCFG, OVFSTATUS, PERFFRZ))
            self.restart()
        if asked.counters:
            self._registers.reset(lambda register: register is CNTRDATA)
            self._rest.clear()

    def statistics(self) -> dict[str, int]:
        """Counters that run, and overflows so far."""
        return {"perf_counters_running": len(self._running), "perf_overflows": self.overflows}
