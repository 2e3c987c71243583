"""Rules in force, with a fake engine: whose descriptors it is told to look at, and what the loop does itself."""

from collections.abc import Callable

import pytest

from idxdd.device.device import Device
from idxdd.device.engineport import EnginePort
from idxdd.device.faults import BadRule, Rule
from idxdd.device.faults.armed import Faults
from idxdd.device.faults.clients import Client
from idxdd.device.faults.compiled import LAYOUT
from idxdd.device.faults.text import RULES_MAX
from idxdd.shm.clock import FakeClock
from idxdd.spec.codes import InterruptCause
from idxdd.testing.fake_engine import FakeEngine
from idxdd.testing.mock_driver import MockDriver


class Bench:
    """Faults over one device with a fake engine; time is moved by hand."""

    def __init__(self, driver: MockDriver) -> None:
        self.device: Device = driver.device
        self.engine: FakeEngine = driver.engine
        self.port: EnginePort = driver.device.port
        self.clients: list[Client] = []
        self.clock = FakeClock()
        self.due: list[tuple[float, Callable[[], object]]] = []
        self.unplugged: list[float | None] = []
        self.faults = Faults(
            self.port,
            {self.device.name: self.device},
            lambda: self.clients,
            lambda seconds, call: self.due.append((seconds, call)),
            lambda device, seconds: self.unplugged.append(seconds),
            self.clock,
        )

    def add(self, *texts: str) -> list[int]:
        return [one.number for one in self.faults.add(map(Rule.parse, texts))]

    def table(self) -> list[tuple[int, ...]]:
        """(pasid, id, also) of each row the engine has now."""
        packed = self.engine.asked("set_rules")[-1]["rules"]
        rows = LAYOUT.iter_unpack(packed)
        return [(row[9], row[22], row[-1]) for row in rows]

    def signals(self) -> int:
        return self.engine.signalled(0)


@pytest.fixture
def bench(driver: MockDriver) -> Bench:
    return Bench(driver)


def test_clients_by_uid_become_rows_that_count_as_one(bench: Bench) -> None:
    """Who comes later is looked at, who goes is not any more; rules without a client are one row for all."""
    (every,) = bench.add("do drop")
    bench.clients = [Client(pid=10, uid=1000, pasid=2), Client(pid=11, uid=7, pasid=3)]
    (theirs,) = bench.add("uid=1000 do drop")
    anybody = 0xFFFFFFFF
    assert bench.table() == [(anybody, every, 0), (2, theirs, 0)]
    bench.clients.append(Client(pid=12, uid=1000, pasid=4))
    bench.faults.clients_changed()
    assert bench.table() == [(anybody, every, 0), (2, theirs, 0), (4, theirs, 1)]
    bench.clients.clear()
    bench.faults.clients_changed()
    assert bench.table() == [(anybody, every, 0)]
    bench.faults.remove()
    assert bench.table() == []


def test_no_client_rule_no_exchange(bench: Bench) -> None:
    """A client that connects must not set free what other rules hold back."""
    bench.add("op=noop do delay 1s")
    before = len(bench.engine.asked("set_rules"))
    bench.faults.clients_changed()
    assert len(bench.engine.asked("set_rules")) == before


def test_what_strikes_by_itself_waits_for_its_time_and_not_for_a_removed_rule(bench: Bench) -> None:
    """`after` is a timer of the loop; a rule that was taken away before does nothing."""
    kept, taken = bench.add("when after=2s do remove 5ms", "when after=1s do remove")
    assert [seconds for seconds, _ in bench.due] == [2.0, 1.0]
    assert bench.engine.asked("set_rules") == [], "nothing for the engine to look for"
    bench.faults.remove([taken])
    for _, strike in bench.due:
        strike()
        strike()
    assert bench.unplugged == [0.005]
    (entry,) = bench.faults.entries()
    assert (entry.number, entry.progress.hits, entry.hits_left) == (kept, 1, 0)


def test_vector_0_lost_late_and_by_cause(bench: Bench) -> None:
    """The cause is set all the same: only the message is missing, or comes later."""
    device = bench.device
    bench.add(
        "vector=0 cause=cmd,int_handle_revoked when nth=2 do interrupt lost", "vector=0 cause=occupancy do interrupt late 3ms"
    )
    raised = device.interrupts.raise_cause
    before = bench.signals()
    assert raised(InterruptCause.CMD)
    assert bench.signals() == before + 1
    bench.engine.handled(0)
    assert raised(InterruptCause.CMD)
    assert bench.signals() == before + 1, "lost"
    assert raised(InterruptCause.OCCUPANCY)
    assert bench.signals() == before + 1, "not yet"
    ((seconds, post),) = bench.due
    post()
    assert (seconds, bench.signals()) == (0.003, before + 2)


def test_a_vector_rule_waits_for_its_time(bench: Bench) -> None:
    """What comes before `after` is neither match nor hit."""
    (number,) = bench.add("vector=0 when after=1s do interrupt lost")
    before = bench.signals()
    bench.device.interrupts.raise_cause(InterruptCause.CMD)
    assert bench.signals() == before + 1
    bench.engine.handled(0)
    bench.clock.advance(1.5)
    bench.device.interrupts.raise_cause(InterruptCause.CMD)
    (entry,) = bench.faults.entries()
    assert (entry.number, entry.progress.matches, entry.progress.hits, bench.signals()) == (number, 1, 1, before + 1)


def test_all_or_none(bench: Bench) -> None:
    """One that names what is not there, and no other is in force either."""
    with pytest.raises(BadRule, match="device: no device dsa5"):
        bench.add("do drop", "device=dsa5 do drop")
    with pytest.raises(BadRule, match=r"wq: no work queue dsa0/wq0\.15"):
        bench.add("wq=dsa0/wq0.15 do drop")
    with pytest.raises(KeyError):
        bench.faults.remove([1])
    assert len(bench.faults) == 0
    assert bench.engine.asked("set_rules") == []


def test_idle_connections_take_no_rule_out_of_force(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A user who opens connections got all rows of the table: rules that came later matched nothing, and nobody was told."""
    bench.clients = [Client(pid=1000 + number, uid=7, pasid=2 + number) for number in range(400)]
    bench.clients.append(Client(pid=5, uid=8, pasid=900))
    theirs, other, later = bench.add("uid=7 do delay 1ms", "uid=8 do drop", "op=noop do drop")
    rows = bench.table()
    assert len(rows) == RULES_MAX
    assert [row for row in rows if row[1] != theirs] == [(900, other, 0), (0xFFFFFFFF, later, 0)]
    assert [also for _, number, also in rows if number == theirs] == [0] + [1] * (RULES_MAX - 3)
    left_out = {one.number: one.document()["left_out"] for one in bench.faults.entries()}
    assert left_out == {theirs: 400 - (RULES_MAX - 2), other: 0, later: 0}
    bench.clients.append(Client(pid=6, uid=7, pasid=901))
    bench.faults.clients_changed()
    (line,) = [record.getMessage() for record in caplog.records if "not in force" in record.getMessage()]
    assert f"rule {theirs} is not in force for 146 of the 400 clients" in line
    bench.add("uid=7 do drop")
    assert {len([row for row in bench.table() if row[1] == number]) for number in (theirs, theirs + 3)} == {127}


def test_clients_that_no_rule_looks_at_change_no_table(bench: Bench) -> None:
    """Each exchange lets go what rules hold back: a stranger who connects, or one too many, must not bring one about."""
    bench.clients = [Client(pid=10, uid=1000, pasid=2)]
    bench.add("uid=1000 do delay 1s")
    before = len(bench.engine.asked("set_rules"))
    bench.clients.append(Client(pid=11, uid=7, pasid=3))
    bench.faults.clients_changed()
    assert len(bench.engine.asked("set_rules")) == before
    bench.clients += [Client(pid=20 + number, uid=1000, pasid=10 + number) for number in range(RULES_MAX - 1)]
    bench.faults.clients_changed()
    assert len(bench.engine.asked("set_rules")) == before + 1
    bench.clients.append(Client(pid=12, uid=1000, pasid=999))
    bench.faults.clients_changed()
    assert len(bench.engine.asked("set_rules")) == before + 1
    assert [one.left_out for one in bench.faults.entries()] == [1]
