"""Conformance of the event log: EVL-*, CDV-06, CDV-07, DEV-04. The device's side is a mock with the log in plain memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from driver_bench import DriverBench, configured

from idxdd.spec.codes import Command, InterruptCause
from idxdd.spec.records import EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import CMD, EVLCFG, EVLSTATUS, GENCFG, GENCTRL
from idxdd.testing.mock_device import MockDevice

USER, DEDICATED, KERNEL = 1, 0, 2
PASID, OTHER = 7, 8
ADDRESS = 0x10000
RECORD = bytes([0x01, 0x00, *range(2, 32)])
ENTRIES = 64
CRA, DRAIN, BATCH = 0x1A, 0x26, 0x27


def entry(code: int, record: bytes = RECORD, **fields: Any) -> EventLogEntry:
    """An entry about a record of PASID on the user WQ."""
    values = {"error": code, "wq_idx": USER, "pasid": PASID, "fault_addr": ADDRESS, "rcr": True, "completion_record": record}
    return EventLogEntry.unpack(RecordFaultEntry.encode(**{**values, **fields}).pack())


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured(MockDevice(evl=True)) as bench:
        opened(bench)
        yield bench


def opened(bench: DriverBench) -> None:
    """A user WQ, open by PASID, whose memory holds one record's room."""
    bench.verb("open", wq=USER, pasid=PASID, client=1)
    bench.memories[PASID] = dict.fromkeys(range(ADDRESS, ADDRESS + 32), 0)


def logged(bench: DriverBench, *entries: EventLogEntry) -> None:
    for each in entries:
        bench.device.log_entry(each)
    bench.run()


def record(bench: DriverBench) -> bytes:
    """What the client sees."""
    return bytes(bench.memories[PASID][ADDRESS + i] for i in range(32))


def counters(bench: DriverBench) -> tuple[int, int]:
    """Faults and failed copies of the open."""
    (block,) = bench.driver.state.opens_of(USER, PASID)
    return block.faults, block.copy_failures


def unreachable(bench: DriverBench) -> None:
    bench.memories[PASID].clear()


def status(bench: DriverBench) -> EVLSTATUS:
    return EVLSTATUS(bench.device.get(EVLSTATUS))


# ---- set-up ----------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("DEV-04")
def test_the_log_is_described_before_it_is_on_and_on_before_the_device() -> None:
    """EVLCFG, then GENCFG.evl_en, then Enable Device: later they cannot be written."""
    with configured(MockDevice(evl=True)) as bench:
        offsets = [offset for offset, _, _ in bench.device.writes]
        enable = max(
            i for i, (offset, _, value) in enumerate(bench.device.writes) if offset == CMD.offset and value >> 20 & 0x1F == 1
        )
        config, on = offsets.index(EVLCFG.offset), max(i for i, o in enumerate(offsets[:enable]) if o == GENCFG.offset)
        assert config < on < enable
        assert (EVLCFG(bench.device.get(EVLCFG)).log_size, GENCTRL(bench.device.get(GENCTRL)).evl_int_en) == (ENTRIES, True)


@pytest.mark.parametrize("quirks", [[], ["DEF-11"]])
def test_def_11_the_log_is_freed_at_unbind(quirks: list[str]) -> None:
    """On: the reset of a configurable device clears GENCFG first, so nothing is freed."""
    with configured(MockDevice(evl=True), quirks) as bench:
        assert "ok" in bench.verb("disable_device", device=0)
        assert bench.driver.devices[0].block.evl_entries == (ENTRIES if quirks else 0)
        assert not GENCFG(bench.device.get(GENCFG)).evl_en


def test_a_device_without_a_log_gets_none() -> None:
    """And an interrupt for it is a warning."""
    with configured() as bench:
        assert not GENCFG(bench.device.get(GENCFG)).evl_en
        bench.device.raise_cause(InterruptCause.EVL)
        bench.run()
        assert bench.texts() == ["Event log interrupt without an event log."]


# ---- the pass --------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("EVL-01", "EVL-02")
def test_int_pending_first_head_last(bench: DriverBench) -> None:
    """int_pending is cleared before tail is read; head is written once, after all entries."""
    for _ in range(3):
        bench.device.log_entry(entry(CRA))
    bench.mmio.trace.clear()
    bench.run()
    ours = [access for access in bench.mmio.trace if EVLSTATUS.offset <= access[1] < EVLSTATUS.offset + 8]
    assert ours[0] == ("write", EVLSTATUS.offset + 4, 1 << 30)
    assert [access for access in ours if access[0] == "write"][1:] == [("write", EVLSTATUS.offset, 3)]
    assert ours[-1][0] == "write"


@pytest.mark.conformance("EVL-03")
def test_the_index_wraps(bench: DriverBench) -> None:
    """Every entry once, round after round."""
    for round_ in range(ENTRIES + 5):
        logged(bench, entry(CRA, bytes([1, 0, *[round_] * 30])))
        assert record(bench)[2] == round_
    assert (status(bench).head, counters(bench)) == (5, (ENTRIES + 5, 0))


@pytest.mark.conformance("EVL-04")
def test_what_is_appended_after_tail_was_read_is_left(bench: DriverBench) -> None:
    """Its own interrupt follows, since int_pending was cleared first."""
    bench.device.log_entry(entry(CRA))
    bench.mmio.on_post = lambda offset: bench.device.log_entry(entry(CRA)) if offset == EVLSTATUS.offset else None
    bench.driver.interrupt(0, 0)
    bench.mmio.on_post = lambda offset: None
    bench.device.pump()
    assert (status(bench).head, status(bench).tail, counters(bench)) == (1, 2, (0, 0))
    bench.run()
    assert (status(bench).head, counters(bench)) == (2, (2, 0))


@pytest.mark.conformance("EVL-05", "CDV-06")
def test_a_closing_clients_entries_are_skipped(bench: DriverBench) -> None:
    """Its unread entries of that WQ, no others; the mark is used once, and head goes past them."""
    bench.verb("open", wq=USER, pasid=OTHER, client=2)
    bench.memories[OTHER] = dict.fromkeys(range(ADDRESS, ADDRESS + 32), 0)
    bench.device.set(GENCTRL(bench.device.get(GENCTRL)).replace(evl_int_en=False))
    bench.device.log_entry(entry(CRA))
    bench.device.log_entry(entry(CRA, pasid=OTHER))
    bench.verb("close", wq=USER, pasid=PASID, client=1)
    bench.device.raise_cause(InterruptCause.EVL)
    bench.run()
    assert (record(bench), bench.memories[OTHER][ADDRESS]) == (bytes(32), 1)
    assert status(bench).head == 2
    assert not bench.driver.state.take_skip(0, 0)


@pytest.mark.conformance("EVL-05", "CDV-06")
def test_entries_of_a_process_are_skipped_when_the_last_of_its_opens_closes(bench: DriverBench) -> None:
    """While it has the WQ open a second time the records are still its own; the first open is the one that counts."""
    bench.verb("open", wq=USER, pasid=PASID, client=1, file=2)
    bench.device.set(GENCTRL(bench.device.get(GENCTRL)).replace(evl_int_en=False))
    bench.device.log_entry(entry(CRA))
    bench.verb("close", wq=USER, pasid=PASID, client=1, file=2)
    bench.device.raise_cause(InterruptCause.EVL)
    bench.run()
    assert record(bench) == RECORD
    assert bench.verb("file", wq=USER, pasid=PASID, client=1, file=0)["ok"] == {"cr_faults": 1, "cr_fault_failures": 0}
    bench.device.log_entry(entry(CRA))
    bench.memories[PASID] = dict.fromkeys(range(ADDRESS, ADDRESS + 32), 0)
    bench.verb("close", wq=USER, pasid=PASID, client=1)
    bench.device.raise_cause(InterruptCause.EVL)
    bench.run()
    assert record(bench) == bytes(32)
    assert bench.verb("file", wq=USER, pasid=PASID, client=1, file=0)["error"]["code"] == "ENOENT"


def test_a_portal_taken_up_again_is_no_second_open(bench: DriverBench) -> None:
    """After a halt a dedicated WQ's own client got EBUSY, a shared one counted twice."""
    for _ in range(2):
        assert "ok" in bench.verb("open", wq=DEDICATED, pasid=9, client=3, file=4)
        assert "ok" in bench.verb("open", wq=USER, pasid=9, client=3, file=5)
    assert (bench.wq(DEDICATED).clients, bench.wq(USER).clients) == (1, 2)
    assert bench.verb("open", wq=DEDICATED, pasid=9, client=3, file=6)["error"]["code"] == "EBUSY"


@pytest.mark.conformance("CDV-07")
def test_a_close_waits_for_the_fault_works_of_its_wq(bench: DriverBench) -> None:
    """Else a record would be copied into memory that is another's by then."""
    bench.answer_asks = False
    logged(bench, entry(CRA))
    number = bench.send("close", wq=USER, pasid=PASID, client=1)
    bench.run()
    assert number not in bench.answers
    bench.answer_copy()
    bench.run()
    assert "ok" in bench.answers[number]
    assert record(bench) == RECORD


@pytest.mark.conformance("EVL-06")
def test_the_write_bit_does_not_count(bench: DriverBench) -> None:
    """0x9A is 0x1A."""
    logged(bench, entry(0x80 | CRA))
    assert record(bench) == RECORD


@pytest.mark.conformance("EVL-07")
def test_other_codes_are_warned_about(bench: DriverBench) -> None:
    """One line each, at most ten in five seconds; nothing is delivered."""
    logged(bench, entry(0x10, operation=3))
    assert bench.texts() == ["Device error 0x10 operation: 0x3 fault addr: 0x10000"]
    for _ in range(30):
        logged(bench, entry(0x10))
    assert len(bench.texts()) == 10
    bench.clock.advance(5.1)
    logged(bench, entry(0x10))
    assert len(bench.texts()) == 11
    assert (record(bench), counters(bench)) == (bytes(32), (0, 0))


@pytest.mark.conformance("EVL-08", "EVL-24")
def test_a_drains_record(bench: DriverBench) -> None:
    """Without a record requested: nothing. With one: delivered, and not counted as a fault, nor when that fails."""
    logged(bench, entry(DRAIN, rcr=False))
    assert (record(bench), bench.texts()) == (bytes(32), [])
    logged(bench, entry(DRAIN))
    assert record(bench) == RECORD
    unreachable(bench)
    logged(bench, entry(DRAIN))
    assert counters(bench) == (0, 0)


@pytest.mark.conformance("EVL-21")
def test_an_interrupt_request_in_an_entry_is_ignored(bench: DriverBench) -> None:
    """A debug line; no vector is signalled, the record is delivered."""
    logged(bench, entry(CRA, rci=True, int_handle=3))
    assert [line["level"] for line in bench.lines] == ["debug"]
    assert (bench.device.posted, record(bench)) == ([], RECORD)


@pytest.mark.conformance("EVL-28")
def test_valid_bits_are_not_looked_at(bench: DriverBench) -> None:
    """desc_valid and wq_idx_valid are zero in every entry of these tests, and one."""
    logged(bench, entry(CRA, desc_valid=True, wq_idx_valid=True))
    assert record(bench) == RECORD


def test_a_wq_that_is_not_there_is_rejected(bench: DriverBench) -> None:
    """DEF-05: the driver would index beyond its array."""
    logged(bench, entry(CRA, wq_idx=200))
    assert bench.texts() == ["Event log entry of wq 200, which there is not."]


# ---- fault works -----------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("EVL-09", "EVL-24")
def test_a_record_is_delivered_to_its_owner(bench: DriverBench) -> None:
    """To the fault address, in the address space of the entry's PASID."""
    logged(bench, entry(CRA))
    assert (record(bench), counters(bench)) == (RECORD, (1, 0))


@pytest.mark.conformance("EVL-12")
def test_an_unknown_pasid(bench: DriverBench) -> None:
    """Nothing is asked for, nothing written; it counts as a failure of the device."""
    logged(bench, entry(CRA, pasid=99))
    assert "No user context" in bench.texts()
    assert (bench.copied, bench.driver.devices[0].block.evl_copy_failures) == ({}, 1)


@pytest.mark.conformance("EVL-13", "EVL-15", "EVL-20", "EVL-23", "EVL-24")
def test_a_member_that_was_not_delivered_fails_its_batch(bench: DriverBench) -> None:
    """Success becomes 0x05 with result 1, in the copy only; the mark is used once."""
    memory = dict(bench.memories[PASID])
    unreachable(bench)
    logged(bench, entry(CRA, batch=True, batch_id=9))
    bench.memories[PASID] = memory
    at = bench.device.log_entry(entry(BATCH, batch_id=9))
    bench.run()
    assert record(bench) == bytes([0x05, 1]) + RECORD[2:]
    assert bench.device.host[64 * at + 32 : 64 * at + 64] == RECORD
    logged(bench, entry(BATCH, batch_id=9))
    assert record(bench) == RECORD
    assert counters(bench) == (3, 1)


@pytest.mark.conformance("EVL-13")
def test_without_a_batch_nothing_is_remembered(bench: DriverBench) -> None:
    """A descriptor of its own has batch_id 0, as a batch may have."""
    memory = dict(bench.memories[PASID])
    unreachable(bench)
    logged(bench, entry(CRA, batch=False, batch_id=0))
    bench.memories[PASID] = memory
    logged(bench, entry(BATCH, batch_id=0))
    assert record(bench) == RECORD


@pytest.mark.conformance("EVL-14")
def test_the_first_error_of_a_batch_clears_an_old_mark(bench: DriverBench) -> None:
    """batch_id is used again by another batch."""
    bench.driver.state.set_batch_failed(0, 9, True)
    logged(bench, entry(CRA, batch=True, batch_id=9, first_err_in_batch=True), entry(BATCH, batch_id=9))
    assert record(bench) == RECORD


@pytest.mark.conformance("EVL-16", "EVL-17")
@pytest.mark.parametrize("rcr", [False, True])
def test_a_failed_batch_keeps_its_own_error(bench: DriverBench, rcr: bool) -> None:
    """0x06 stays, result is 1; and it is written although no record was requested."""
    bench.driver.state.set_batch_failed(0, 3, True)
    logged(bench, entry(BATCH, bytes([0x06, 0]) + RECORD[2:], batch_id=3, rcr=rcr))
    assert record(bench) == bytes([0x06, 1]) + RECORD[2:]


@pytest.mark.conformance("EVL-18", "EVL-19", "EVL-24")
@pytest.mark.parametrize("rcr", [False, True])
def test_a_good_batch(bench: DriverBench, rcr: bool) -> None:
    """Unchanged if a record was requested, else nothing; the fault counts either way."""
    logged(bench, entry(BATCH, rcr=rcr))
    assert (record(bench), counters(bench)) == (RECORD if rcr else bytes(32), (1, 0))


@pytest.mark.conformance("EVL-20")
def test_a_mark_is_used_also_when_the_copy_fails(bench: DriverBench) -> None:
    """The next batch of that id starts clean."""
    bench.driver.state.set_batch_failed(0, 9, True)
    unreachable(bench)
    logged(bench, entry(BATCH, batch_id=9))
    assert not bench.driver.state.batch_failed(0, 9)


@pytest.mark.conformance("EVL-22")
def test_an_entry_may_be_overwritten_once_head_has_moved(bench: DriverBench) -> None:
    """The work has a copy."""
    bench.answer_asks = False
    logged(bench, entry(CRA))
    bench.device.host[:64] = bytes(64)
    bench.answer_copy()
    bench.run()
    assert record(bench) == RECORD


@pytest.mark.parametrize("quirks", [[], ["DEF-04"]])
@pytest.mark.conformance("EVL-25")
def test_works_without_a_copy_are_freed(quirks: list[str]) -> None:
    """DEF-04: else the pool is empty some day, and records are lost."""
    with configured(MockDevice(evl=True), quirks) as bench:
        opened(bench)
        for _ in range(200):
            logged(bench, entry(BATCH, rcr=False))
        logged(bench, entry(CRA))
        assert (record(bench) == RECORD) == (not quirks)
        assert ("Failed to service fault work." in bench.texts()) == bool(quirks)


@pytest.mark.conformance("EVL-26")
def test_faults_of_different_wqs_do_not_wait_for_each_other(bench: DriverBench) -> None:
    """A client that cannot be reached delays only its own WQ."""
    bench.verb("open", wq=DEDICATED, pasid=OTHER, client=2)
    bench.memories[OTHER] = dict.fromkeys(range(ADDRESS, ADDRESS + 32), 0)
    bench.answer_asks = False
    logged(bench, entry(CRA), entry(CRA), entry(CRA, wq_idx=DEDICATED, pasid=OTHER))
    assert [message["pasid"] for message in bench.copying] == [PASID, OTHER]


@pytest.mark.parametrize("quirks", [[], ["DEF-15"]])
@pytest.mark.conformance("EVL-27")
def test_def_15_head_after_the_device_was_enabled_again(quirks: list[str]) -> None:
    """Enable Device zeroes head and tail; the seed's shadow keeps the old head and reads what was never written."""
    with configured(MockDevice(evl=True), quirks) as bench:
        opened(bench)
        logged(bench, entry(CRA), entry(CRA), entry(CRA))
        bench.verb("disable_device", device=0)
        for verb, argument in (("enable_device", {"device": 0}), ("enable_wq", {"wq": USER})):
            assert "ok" in bench.verb(verb, **argument)
        opened(bench)
        assert (status(bench).head, status(bench).tail) == (0, 0)
        count = bench.driver.devices[0].block.evl_count
        logged(bench, entry(CRA))
        assert bench.driver.devices[0].block.evl_count - count == (ENTRIES - 2 if quirks else 1)


def test_a_software_halt_keeps_the_log() -> None:
    """The recovery sets it up again, with the device."""
    with configured(MockDevice(evl=True)) as bench:
        opened(bench)
        bench.device.halt()
        bench.run()
        assert Command.RESET_DEVICE in [command for command, _, _ in bench.device.commands]
        logged(bench, entry(CRA))
        assert record(bench) == RECORD
