"""Event log: where entries go, what they say, head, tail and int_pending, full logs, failing writes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from idxdd.device.profile import Profile
from idxdd.device.reports import ErrorReport
from idxdd.native import _native as native
from idxdd.native._native import Exit
from idxdd.shm.closed import Closed
from idxdd.shm.hostmemory import HOST_MEMORY_SIZE, host_base
from idxdd.spec.codes import CmdErr, Command, CompletionStatus, DeviceState, Opcode, ResetType
from idxdd.spec.records import Descriptor, EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCFG, GENCTRL, GENSTS, INTCAUSE, SWERR
from idxdd.testing.fake_engine import FakeEngine
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver, WqFields
from idxdd.testing.profiles import DSA2

SIZE = 64
CRAV, RCR, RCI = 4, 8, 16
STATUS = CompletionStatus


class LogDriver(MockDriver):
    """A driver that has programmed an event log of 64 entries and enabled two WQs."""

    def __init__(self, profile: Profile = DSA2, *, offset: int = 0, wq: WqFields = DEDICATED, **arguments: Any) -> None:
        super().__init__(profile, **arguments)
        self.log_base = host_base(self.device.index) + offset
        self.write(EVLCFG.encode(log_size=SIZE, log_base=self.log_base))
        self.change(GENCFG, evl_en=True)
        self.write(GENCTRL.encode(evl_int_en=True, softerr_int_en=True))
        self.enable(wq, SHARED)

    @property
    def status(self) -> EVLSTATUS:
        return self.read(EVLSTATUS)

    def entry(self, index: int) -> EventLogEntry:
        raw = self.host.read(self.log_base + 64 * index, 64)
        assert raw is not None
        return EventLogEntry.unpack(raw)

    def give(self, status: int = 0x10, **fields: Any) -> Exit:
        """An error of WQ 0 arrives; the device has a turn."""
        made = self.fake.exit(native.EXIT_ERROR, 0, status=status, **fields)
        self.settle()
        return made

    def fill(self) -> None:
        """All entries but the one that stays free."""
        for _ in range(SIZE - 1):
            self.give()

    def move_head(self, head: int) -> None:
        self.mmio.write32(0xF0, head)
        self.settle()


@pytest.fixture
def log() -> Iterator[LogDriver]:
    with LogDriver() as made:
        yield made


def descriptor(opcode: Opcode, flags: int = 0, **fields: Any) -> bytes:
    return Descriptor.encode(opcode=opcode, flags=flags, **fields).pack()


def test_a_descriptor_error_becomes_an_entry(log: LogDriver) -> None:
    """Every common field; SWERR stays free; the entry is there when tail says so, and the descriptor goes on."""
    made = log.give(
        0x11, pasid=7, priv=1, invalid_flags=0x2, desc=descriptor(Opcode.MEMMOVE), in_batch=1, batch_index=5, batch_id=200
    )
    expected = EventLogEntry.encode(
        desc_valid=True, wq_idx_valid=True, batch=True, priv=True, err_info_valid=True, error=0x11, batch_id=200,
        operation=Opcode.MEMMOVE, pasid=7, batch_idx=5, error_info=2,
    )  # fmt: skip
    assert log.entry(0) == expected
    assert (log.status.head, log.status.tail, log.status.int_pending) == (0, 1, 1)
    assert log.read(INTCAUSE).evl
    assert log.fake.signalled(0) == 1
    assert not log.read(SWERR).valid
    assert log.fake.resumed == [(made.context, 1, native.RESUME_FINISH, 0)]


@pytest.mark.parametrize("status", [0x03, 0x04, 0x06, 0x1F])
def test_fault_entries_name_address_operand_and_direction(log: LogDriver, status: int) -> None:
    """As in SWERR (abi.md section 7)."""
    log.give(status, address=0x12345678, operand=3, write=1, desc=descriptor(Opcode.MEMMOVE))
    entry = log.entry(0)
    assert (entry.error, entry.fault_addr, entry.error_info, entry.fault_rw) == (status, 0x12345678, 3 << 29, 1)
    assert entry.completion_record == bytes(32)


@pytest.mark.parametrize("rcr", [False, True])
def test_an_invalid_handle_is_logged_with_its_record(log: LogDriver, rcr: bool) -> None:
    """0x19: handle, rci, rcr, the first-error mark; the record's copy if one was requested."""
    record = bytes([0x19, *range(1, 32)])
    desc = descriptor(Opcode.NOOP, CRAV | RCI | RCR * rcr, int_handle=0x77, completion_addr=0x4000)
    log.give(0x19, desc=desc, record=record, record_written=1, in_batch=1, first_error=1, batch_id=3)
    entry = RecordFaultEntry(log.entry(0).raw)
    assert (entry.error, entry.int_handle, entry.rci, entry.rcr, entry.first_err_in_batch) == (0x19, 0x77, 1, rcr, 1)
    assert (entry.fault_addr, entry.ims_portal, entry.operand) == (0, 0, 0)
    assert entry.completion_record == (record if rcr else bytes(32))


@pytest.mark.parametrize("rci", [False, True])
def test_a_record_that_is_nowhere_is_logged(log: LogDriver, rci: bool) -> None:
    """0x1A: all bits of the record's address, write, operand 5; the record is what software shall deliver."""
    record = bytes([0x01, *range(1, 32)])
    desc = descriptor(Opcode.MEMMOVE, CRAV | RCR | RCI * rci, int_handle=4 * rci, completion_addr=0x7000_0020)
    log.give(0x1A, desc=desc, record=record, address=0xDEAD000, operand=1, write=0, pasid=9)
    entry = RecordFaultEntry(log.entry(0).raw)
    assert (entry.error, entry.fault_addr, entry.fault_rw, entry.operand) == (0x1A, 0x7000_0020, 1, 5)
    assert (entry.rcr, entry.rci, entry.int_handle, entry.pasid) == (1, rci, 4 * rci, 9)
    assert entry.completion_record == record


@pytest.mark.parametrize(
    ("status", "opcode", "flags", "code", "rcr"),
    [
        (0x26, Opcode.DRAIN, CRAV | RCR, 0x01, True),
        (0x26, Opcode.DRAIN, RCI, 0x01, False),
        (0x27, Opcode.BATCH, CRAV | RCR | RCI, 0x01, True),
        (0x27, Opcode.BATCH, CRAV | RCI, 0x05, False),
        (0x27, Opcode.BATCH, CRAV, 0x06, True),
    ],
)
def test_drains_and_batches_are_logged(log: LogDriver, status: int, opcode: Opcode, flags: int, code: int, rcr: bool) -> None:
    """0x26, 0x27: rcr says whether software must write a record at all (operations.md section 2)."""
    desc = descriptor(opcode, flags, int_handle=4 if flags & RCI else 0, completion_addr=0x5000)
    log.give(status, desc=desc, record=bytes([code]) + bytes(31), batch_id=17)
    entry = RecordFaultEntry(log.entry(0).raw)
    assert (entry.error, entry.rcr, entry.rci, entry.int_handle) == (status, rcr, bool(flags & RCI), 4 if flags & RCI else 0)
    assert (entry.fault_addr, entry.fault_rw, entry.operand) == (0x5000, 0, 0)
    assert entry.completion_record[0] == (code if rcr else 0)
    assert entry.batch_id == (17 if opcode is Opcode.BATCH else 0)


def test_a_command_while_one_is_active_is_logged(log: LogDriver) -> None:
    """0x52 belongs to the log, or to SWERR if the log has no room for what nobody waits with."""
    log.fake.automatic = False
    log.post_command(Command.DRAIN_ALL)
    log.post_command(Command.DRAIN_ALL)
    assert log.entry(0) == EventLogEntry.encode(error=0x52)
    assert not log.read(SWERR).valid
    for _ in range(SIZE - 2):
        log.give()
    log.post_command(Command.DRAIN_ALL)
    assert log.read(SWERR).error == 0x52
    assert log.device.statistics()["evl_waiting"] == 0


@pytest.mark.parametrize("status", [0x22])
def test_what_never_goes_to_the_log(log: LogDriver, status: int) -> None:
    """SWERR only; so do 0x51, 0x53 and 0x54."""
    log.give(status)
    assert (log.read(SWERR).error, log.status.tail) == (status, 0)
    log.write(SWERR(3))
    log.fake.exit(native.EXIT_OVERFLOW, 0, id=1)
    log.settle()
    assert (log.read(SWERR).error, log.status.tail) == (0x53, 0)
    log.write(SWERR(3))
    log.device.set_platform(prs=False)
    assert (log.read(SWERR).error, log.status.tail) == (0x51, 0)


# ---- the protocol ------------------------------------------------------------------------------------------------------------
def test_one_interrupt_until_it_is_acknowledged(log: LogDriver) -> None:
    """int_pending set: entries come silently. Cleared: the next entry interrupts, clearing itself does not."""
    log.give()
    log.fake.handled(0)
    log.give()
    assert log.fake.signalled(0) == 1
    log.mmio.write32(0xF4, 1 << 30)
    log.settle()
    assert (log.status.int_pending, log.status.tail, log.fake.signalled(0)) == (0, 2, 1)
    log.give()
    assert (log.status.int_pending, log.fake.signalled(0)) == (1, 2)


def test_a_closed_gate_leaves_int_pending_alone(log: LogDriver) -> None:
    """GENCTRL.2 = 0: nothing is set and nothing sent; the entry is written all the same."""
    log.write(GENCTRL(0))
    log.give()
    assert (log.status.tail, log.status.int_pending, log.read(INTCAUSE).raw) == (1, 0, 0)


def test_tail_and_int_pending_are_visible_when_the_vector_fires(log: LogDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler runs at once: it must find entry, tail and cause."""
    seen: list[tuple[object, ...]] = []

    def look(vector: int) -> None:
        status = log.device.registers.read(EVLSTATUS)
        seen.append((status.tail, status.int_pending, log.device.registers.read(INTCAUSE).evl, log.entry(0).error))

    monkeypatch.setattr(log.fake, "vector_post", look)
    log.give()
    assert seen == [(1, 1, 1, 0x10)]


def test_the_log_wraps(log: LogDriver) -> None:
    """Entry 63 is followed by entry 0; an old entry is overwritten, not mixed with."""
    for index in range(SIZE + 5):
        log.give(0x11, invalid_flags=index + 1)
        log.move_head((index + 1) % SIZE)
    assert log.status.tail == 5
    assert [log.entry(index).error_info for index in (63, 0, 4, 5)] == [64, 65, 69, 6]
    assert log.device.statistics()["evl_entries"] == SIZE + 5


def test_a_full_log_blocks_until_head_moves(log: LogDriver) -> None:
    """GENCAP.32 = 0: nothing is lost, the descriptor waits with its event, in order (registers.md 2.10)."""
    log.fill()
    answered = len(log.fake.resumed)
    exits = [log.give(0x11, invalid_flags=index) for index in (1, 2, 3)]
    assert len(log.fake.resumed) == answered
    assert log.device.statistics()["evl_waiting"] == 3
    log.move_head(2)
    assert [context for context, *_ in log.fake.resumed[answered:]] == [exits[0].context, exits[1].context]
    assert [log.entry(index).error_info for index in (63, 0)] == [1, 2]
    log.move_head(3)
    assert log.fake.resumed[-1][0] == exits[2].context
    assert not log.read(SWERR).valid


def test_a_full_log_may_drop() -> None:
    """GENCAP.32 = 1: 0x54 for the first, overflow for the next; descriptors go on."""
    with LogDriver(replace(DSA2, evl_overflow=True)) as log:
        log.fill()
        log.give(0x12)
        assert (log.read(SWERR).error, log.read(SWERR).overflow) == (0x54, 0)
        log.give(0x12)
        assert (log.read(SWERR).error, log.read(SWERR).overflow) == (0x54, 1)
        assert len(log.fake.resumed) == SIZE + 1
        assert (log.status.tail, log.device.statistics()["evl_dropped"]) == (SIZE - 1, 2)


@pytest.mark.parametrize("offset", [HOST_MEMORY_SIZE, HOST_MEMORY_SIZE - 4096, -host_base(0), 1 << 40])
def test_a_log_that_cannot_be_written_is_reported(offset: int) -> None:
    """0x54, tail stays, the descriptor goes on; a log that starts inside and ends outside fails where it ends."""
    with LogDriver(offset=offset) as log:
        inside = 64 if offset == HOST_MEMORY_SIZE - 4096 else 0
        if inside:
            log.fill()
            assert not log.read(SWERR).valid
        else:
            log.give()
            assert (log.read(SWERR).error, log.read(SWERR).desc_valid) == (0x54, 0)
            assert log.status.tail == 0
        assert log.device.statistics()["evl_write_failures"] == (not inside)
        assert len(log.fake.resumed) == (SIZE - 1 if inside else 1)


@pytest.mark.parametrize("support", [2, 3])
def test_larger_entries(support: int) -> None:
    """128 or 256 bytes apart; what lies beyond 64 is written as zeros."""
    with LogDriver(replace(DSA2, evl_support=support)) as log:
        size = 32 << support
        log.host.write(log.log_base, b"\xff" * 1024)
        log.give(0x11, invalid_flags=1)
        log.give(0x11, invalid_flags=2)
        for index in (0, 1):
            raw = log.host.read(log.log_base + size * index, size)
            assert raw is not None
            assert EventLogEntry.unpack(raw).error_info == index + 1
            assert raw[64:] == bytes(size - 64)


def test_without_host_memory_every_write_fails() -> None:
    """A device that was given none; nothing waits for ever."""
    with LogDriver() as log:
        log.device.errors.log._host = None
        log.give()
        assert log.read(SWERR).error == 0x54


# ---- aborts, resets ----------------------------------------------------------------------------------------------------------
ABORTS: list[tuple[str, bool, Any]] = [
    ("Abort WQ", False, lambda log: log.command(Command.ABORT_WQ, 1)),
    ("Abort All", True, lambda log: log.command(Command.ABORT_ALL)),
    ("Reset WQ", False, lambda log: log.command(Command.RESET_WQ, 1)),
    ("Abort PASID", False, lambda log: log.command(Command.ABORT_PASID, 9)),
    ("portal closed", False, lambda log: log.port.portal_close(4, native.STOP_ABORT, Closed.BY_OWNER)),
]


@pytest.mark.parametrize(("everything", "abort"), [pytest.param(*case, id=name) for name, *case in ABORTS])
def test_what_was_aborted_does_not_appear_later(log: LogDriver, everything: bool, abort: Any) -> None:
    """No memory write of an affected descriptor after the abort has ended (registers.md 2.7); the others' entries come."""
    log.fill()
    log.give(0x11, invalid_flags=1, portal=4, pasid=9)
    other = log.fake.exit(native.EXIT_ERROR, 1, status=0x11, invalid_flags=2, portal=5, pasid=8)
    log.settle()
    abort(log)
    log.settle()
    log.move_head(40)
    if everything:
        assert log.status.tail == SIZE - 1
    else:
        assert (log.status.tail, log.entry(63).error_info) == (0, 2)
        assert log.fake.resumed[-1][0] == other.context


@pytest.mark.parametrize("how", ["halt", "flr", "reset"])
def test_halt_and_reset_forget_what_waits(log: LogDriver, how: str) -> None:
    """And the log of the next life starts empty."""
    log.fill()
    log.give(0x11, invalid_flags=1)
    if how == "halt":
        log.device.halt(ResetType.SOFTWARE)
    elif how == "flr":
        log.device.reset(ResetType.FLR)
    else:
        log.command(Command.RESET_DEVICE)
    log.settle()
    before = log.status
    log.move_head(40)
    assert log.status.tail == before.tail
    assert log.device.statistics()["evl_waiting"] == 0


def test_a_disabled_device_logs_nothing(log: LogDriver) -> None:
    """Between Disable and the next Enable the log may be gone from memory: SWERR."""
    log.fake.automatic = False
    log.post_command(Command.DISABLE_DEVICE)
    assert log.read(GENSTS).state is DeviceState.DRAIN
    log.post_command(Command.DRAIN_ALL)
    assert log.entry(0).error == 0x52, "still on while it drains"
    log.fake.acknowledge()
    log.settle()
    log.device.errors.report(ErrorReport(STATUS.CMD_WHILE_ACTIVE))
    assert (log.status.tail, log.read(SWERR).error) == (1, 0x52)


def test_the_log_survives_disable_and_starts_anew_with_enable(log: LogDriver) -> None:
    """Head, tail and int_pending survive Disable and Reset Device (registers.md 2.10)."""
    log.give()
    for command in (Command.DISABLE_DEVICE, Command.RESET_DEVICE):
        assert log.command(command) is CmdErr.SUCCESS
        assert (log.status.tail, log.status.int_pending) == (1, 1)
    assert log.entry(0).error == 0x10
    log.write(EVLCFG.encode(log_size=SIZE, log_base=log.log_base))
    log.change(GENCFG, evl_en=True)
    log.enable(DEDICATED)
    assert log.status.raw == 0


@pytest.mark.parametrize(
    ("wq", "platform", "drains"),
    [
        (DEDICATED, {}, False),
        (DEDICATED | {"wq_prs_disable": 1}, {}, True),
        (DEDICATED, {"prs": False}, True),
        (DEDICATED | {"wq_ats_disable": 1}, {}, True),
    ],
)
def test_the_engine_is_told_where_records_of_drains_go(wq: WqFields, platform: dict[str, bool], drains: bool) -> None:
    """A drain is logged whenever the log is on and page requests are off, faults or not."""
    with LogDriver(replace(DSA2, platform=replace(DSA2.platform, **platform)), wq=wq) as log:
        asked = log.fake.asked("wq_enable")[0]
        assert (asked["evl_en"], asked["evl_drains"]) == (True, drains)


def test_a_record_fault_is_answered_by_carrying_on(log: LogDriver) -> None:
    """With the log on the operation is done; without translation nobody would notice the fault."""
    log.fake.exit(native.EXIT_FAULT, 0, context=3, operand=5, write=1, desc=descriptor(Opcode.NOOP, CRAV | RCR))
    log.settle()
    assert log.fake.resumed == [(3, 1, native.RESUME_RUN, 0)]
    assert log.status.tail == 0
    with LogDriver(wq=DEDICATED | {"wq_ats_disable": 1}) as blind:
        blind.fake.exit(native.EXIT_FAULT, 0, context=3, operand=5, write=1, desc=descriptor(Opcode.NOOP, CRAV | RCR))
        blind.settle()
        assert blind.fake.resumed == [(3, 1, native.RESUME_FAIL, STATUS.CRA_XLAT)]
        assert blind.device.statistics()["records_lost"] == 1


def test_two_devices_have_two_windows() -> None:
    """The second device's log lies in the second device's memory."""
    with LogDriver(index=1, engine=FakeEngine(automatic=True)) as log:
        log.fake.exit(native.EXIT_ERROR, 16, status=0x12)
        log.settle()
        assert log.log_base == host_base(1)
        assert (log.entry(0).error, log.entry(0).wq_idx) == (0x12, 0)
