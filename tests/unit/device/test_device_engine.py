"""The device on the real engine, in one thread: what a client finds in its record, and the driver in SWERR."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from device_system import BASE, NOWHERE, System, device_system
from engine_bench import BATCH, CRAV, DRAIN, FENCE, MOVE, NOOP, RCI, RCR, Client, descriptor

from idxdd.shm.hostmemory import host_base
from idxdd.spec.codes import CmdErr, Command, ResetType, WqState
from idxdd.spec.records import RecordFaultEntry
from idxdd.spec.registers import EVLSTATUS, GENCTRL, INTCAUSE, SWERR, WQCFG
from idxdd.testing.mock_driver import DEDICATED, SHARED


@pytest.fixture
def system(instance: str) -> Iterator[System]:
    with device_system(instance) as made:
        yield made


def test_a_move_runs_and_interrupts(system: System) -> None:
    """Enable through registers, submit through a portal, completion by the requested handle."""
    system.driver.enable(DEDICATED)
    assert system.driver.command(Command.REQUEST_INT_HANDLE, 3) is CmdErr.SUCCESS
    client = system.client()
    client.memory[0x1000:0x1100] = bytes(range(256))
    system.run(client, descriptor(MOVE, CRAV | RCR | RCI, BASE, BASE + 0x1000, BASE + 0x2000, 256, handle=3))
    assert client.record(0)[0] == 1
    assert bytes(client.memory[0x2000:0x2100]) == bytes(range(256))
    assert system.fired(3)
    assert not system.fired(0)


def test_a_handle_ends_with_its_release(system: System) -> None:
    """0x19 in the record and in SWERR, and no interrupt."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.command(Command.RELEASE_INT_HANDLE, 3)
    system.run(client, client.noop(0, RCI, handle=3))
    assert client.record(0)[0] == 0x19
    swerr = system.swerr()
    assert (swerr.error, swerr.error_info, swerr.pasid, swerr.operation) == (0x19, 3, 2, NOOP)
    assert not system.fired(3)


def test_the_permission_table_guards_a_handle(system: System) -> None:
    """An entry that belongs to a PASID is not for a WQ without one."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    system.driver.mmio.write32(0x400 + 8 * 3, 2 << 12 | 1 << 3)
    system.driver.settle()
    system.run(client, client.noop(0, RCI, handle=3))
    assert client.record(0)[0] == 0x19
    system.driver.mmio.write32(0x400 + 8 * 3, 0)
    system.driver.settle()
    system.run(client, client.noop(32, RCI, handle=3))
    assert client.record(32)[0] == 1


def test_a_masked_vector_pends_behind_the_engine(system: System) -> None:
    """The engine raises, PBA shows it, the mask opens, one signal; Reset Device would have forgotten it."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 1)
    client = system.client()
    system.run(client, client.noop(0, RCI, handle=3))
    assert not system.fired(3)
    assert system.driver.mmio.read64(0x3000) == 1 << 3
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 0)
    system.driver.settle()
    assert system.fired(3)
    assert system.driver.mmio.read64(0x3000) == 0


def test_reset_device_forgets_what_pends_in_the_engine(system: System) -> None:
    """After a reset an old completion interrupt must not appear."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 1)
    client = system.client()
    system.run(client, client.noop(0, RCI, handle=3))
    assert system.driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert system.driver.mmio.read64(0x3000) == 0
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 0)
    system.driver.settle()
    assert not system.fired(3)


@pytest.mark.parametrize(("source", "destination", "status"), [(NOWHERE, BASE + 0x1000, 0x03), (BASE, NOWHERE, 0x83)])
def test_a_page_fault_ends_in_the_record(system: System, source: int, destination: int, status: int) -> None:
    """Partial result, fault address, the write bit; nothing in SWERR."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(MOVE, CRAV | RCR, BASE + 0x8000, source, destination, 64))
    record = client.record(0x8000)
    assert record[0] == status
    assert struct.unpack_from("<Q", record, 8)[0] & ~0xFFF == NOWHERE
    assert not system.swerr().valid


def test_a_page_fault_without_a_record_goes_to_swerr(system: System) -> None:
    """The engine exits a second time for it; the address and operand are told."""
    system.driver.write(GENCTRL.encode(softerr_int_en=True))
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(MOVE, 0, 0, BASE, NOWHERE, 64))
    swerr = system.swerr()
    assert (swerr.error, swerr.fault_rw, swerr.fault_addr & ~0xFFF, swerr.error_info >> 29) == (0x03, 1, NOWHERE, 3)
    assert system.driver.read(INTCAUSE).err
    assert system.fired(0)


def test_a_record_that_is_nowhere_is_reported(system: System) -> None:
    """0x1A, and the WQ goes on."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(NOOP, CRAV | RCR, NOWHERE), client.noop(0))
    swerr = system.swerr()
    assert (swerr.error, swerr.fault_addr & ~0xFFF, swerr.fault_rw, swerr.overflow) == (0x1A, NOWHERE, 1, 0)
    assert client.record(0)[0] == 1


def test_dropped_posted_writes_become_swerr(system: System) -> None:
    """The client counts what it dropped; the driver reads 0x53."""
    system.driver.enable(DEDICATED)
    client = system.client()
    client.set("dropped", 1)
    system.driver.turn_until(lambda: bool(system.driver.read(SWERR).valid), "the overflow report")
    swerr = system.swerr()
    assert (swerr.error, swerr.wq_idx_valid, swerr.wq_idx) == (0x53, 1, 0)


@pytest.mark.parametrize(
    ("command", "operand", "reason"),
    [
        (Command.DISABLE_WQ, 1, 1),
        (Command.DISABLE_DEVICE, 0, 1),
        (Command.RESET_WQ, 1, 1),
        (Command.RESET_DEVICE, 0, 2),
        (Command.ABORT_WQ, 1, 2),
        (Command.ABORT_ALL, 0, 2),
    ],
)
def test_commands_close_portals_with_their_reason(system: System, command: Command, operand: int, reason: int) -> None:
    """A client must be able to name why its portal closed; a WQ that was aborted serves new portals."""
    system.driver.enable(DEDICATED, SHARED)
    client = system.client()
    system.run(client, client.noop(0))
    assert system.driver.command(command, operand) is CmdErr.SUCCESS
    assert (client.get("closed"), client.get("closed_at")) == (reason, 1)
    if command in (Command.ABORT_WQ, Command.ABORT_ALL):
        assert system.driver.read(WQCFG, 0).wq_state is WqState.ENABLED
        system.run(other := system.client(), other.noop(0))
        assert other.record(0)[0] == 1


def test_a_halt_stops_everything_until_reset(system: System) -> None:
    """Portals close as halted; after Reset Device the device can be configured and used again."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.driver.device.halt(ResetType.SOFTWARE)
    system.driver.settle()
    assert client.get("closed") == 3
    assert system.driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    system.driver.enable(DEDICATED)
    system.run(other := system.client(), other.noop(0))
    assert other.record(0)[0] == 1


def test_drains_wait_for_what_was_accepted(system: System) -> None:
    """Drain All, Drain WQ and Drain PASID end, and everything published before has its record."""
    system.driver.enable(DEDICATED)
    client = system.client()
    for number, (command, operand) in enumerate([(Command.DRAIN_ALL, 0), (Command.DRAIN_WQ, 1), (Command.DRAIN_PASID, 2)]):
        client.publish(client.noop(32 * number))
        assert system.driver.command(command, operand) is CmdErr.SUCCESS
        assert client.record(32 * number)[0] == 1, command.name


# ---- event log ---------------------------------------------------------------------------------------------------------------
def move_to_nowhere(client: Client, flags: int = 0, **fields: Any) -> bytes:
    """A move whose record is nowhere; 256 bytes from 0x1000 to 0x2000."""
    client.memory[0x1000:0x1100] = bytes(range(256))
    return descriptor(MOVE, CRAV | RCR | flags, NOWHERE + 0x40, BASE + 0x1000, BASE + 0x2000, 256, **fields)


def test_an_operation_is_done_though_its_record_is_nowhere(system: System) -> None:
    """0x1A with the log on: memory moved, the record of a success in the entry, no interrupt by the device."""
    system.log_on()
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    system.run(client, move_to_nowhere(client, RCI, handle=3), client.noop(0))
    assert bytes(client.memory[0x2000:0x2100]) == bytes(range(256))
    (entry,) = system.entries()
    assert (entry.error, entry.fault_addr, entry.operand, entry.fault_rw) == (0x1A, NOWHERE + 0x40, 5, 1)
    assert (entry.rci, entry.int_handle, entry.rcr, entry.pasid, entry.operation) == (1, 3, 1, 2, MOVE)
    assert entry.completion_record == b"\x01" + bytes(31)
    assert not system.fired(3)
    assert not system.swerr().valid
    assert client.record(0)[0] == 1, "the WQ goes on"


def test_a_fault_of_the_operation_is_in_the_logged_record(system: System) -> None:
    """Two faults of one descriptor: the operand's in the record, the record's in the entry."""
    system.log_on()
    client = system.client()
    system.run(client, descriptor(MOVE, CRAV | RCR, NOWHERE, BASE, NOWHERE + 0x5000, 64))
    (entry,) = system.entries()
    assert (entry.error, entry.fault_addr, entry.operand) == (0x1A, NOWHERE, 5)
    assert entry.completion_record[0] == 0x83
    assert struct.unpack_from("<Q", entry.completion_record, 8)[0] & ~0xFFF == NOWHERE + 0x5000


def test_a_success_without_a_record_needs_no_entry(system: System) -> None:
    """CRAV without RCR: a success is silent, a failure is logged with its record (operations.md section 2)."""
    system.log_on()
    client = system.client()
    system.run(client, descriptor(NOOP, CRAV, NOWHERE))
    assert system.entries() == []
    system.run(client, descriptor(MOVE, CRAV, NOWHERE, BASE, BASE, 0))
    assert [(entry.error, entry.completion_record[0]) for entry in system.entries()] == [(0x1A, 0x13)]


@pytest.mark.parametrize(("platform", "wq"), [({"prs": False}, {}), ({}, {"wq_prs_disable": 1})])
def test_a_drain_is_logged_while_page_requests_are_off(system: System, platform: dict[str, bool], wq: dict[str, int]) -> None:
    """0x26, with record and interrupt left to software; a failed drain writes its record."""
    system.driver.device.set_platform(**platform)
    system.log_on(**wq)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    system.run(client, descriptor(DRAIN, CRAV | RCR | RCI, BASE, handle=3), descriptor(DRAIN, CRAV | RCR, BASE + 32, 1))
    (entry,) = system.entries()
    assert (entry.error, entry.fault_addr, entry.rci, entry.rcr, entry.int_handle) == (0x26, BASE, 1, 1, 3)
    assert entry.completion_record[0] == 1
    assert client.record(0) == bytes(32)
    assert not system.fired(3)
    assert client.record(32)[0] == 0x12


def test_with_page_requests_a_drain_writes_its_record(system: System) -> None:
    """The log alone changes nothing for drains."""
    system.log_on()
    client = system.client()
    system.run(client, descriptor(DRAIN, CRAV | RCR, BASE))
    assert (system.entries(), client.record(0)[0]) == ([], 1)


def test_a_batch_with_a_logged_member_is_logged_last(system: System) -> None:
    """0x1A of two members under one batch id, the first of them marked, then 0x27; without a fence the batch succeeded."""
    system.log_on()
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    members = [client.noop(0x100), descriptor(NOOP, CRAV | RCR, NOWHERE), descriptor(NOOP, CRAV | RCR, NOWHERE + 32)]
    system.run(client, system.batch(client, members, CRAV | RCR | RCI, handle=3))
    first, second, last = system.entries()
    assert [entry.error for entry in (first, second, last)] == [0x1A, 0x1A, 0x27]
    assert [(entry.batch, entry.batch_idx) for entry in (first, second, last)] == [(1, 1), (1, 2), (0, 0)]
    assert [entry.first_err_in_batch for entry in (first, second, last)] == [1, 0, 0]
    assert len({entry.batch_id for entry in (first, second, last)}) == 1
    assert (last.fault_addr, last.rci, last.int_handle, last.rcr, last.operation) == (BASE, 1, 3, 1, BATCH)
    assert (last.completion_record[0], last.completion_record[1], last.completion_record[4]) == (1, 0, 3)
    assert client.record(0) == bytes(32)
    assert client.record(0x100)[0] == 1
    assert not system.fired(3)


def test_a_fence_stops_behind_a_logged_member(system: System) -> None:
    """What comes next may read a record that is not in memory yet: 0x05, result 1, the fenced member is abandoned."""
    system.log_on()
    client = system.client()
    members = [descriptor(NOOP, CRAV | RCR, NOWHERE), client.noop(0x100, FENCE)]
    system.run(client, system.batch(client, members))
    entries = system.entries()
    assert [entry.error for entry in entries] == [0x1A, 0x27]
    assert (entries[1].completion_record[0], entries[1].completion_record[1], entries[1].completion_record[4]) == (0x05, 1, 1)
    assert client.record(0x100) == bytes(32)


def test_a_batch_that_needs_nothing_has_no_entry(system: System) -> None:
    """Neither record nor interrupt: only the member's entry."""
    system.log_on()
    client = system.client()
    members = [descriptor(NOOP, CRAV | RCR, NOWHERE), client.noop(0x100)]
    system.run(client, system.batch(client, members, 0, 0))
    assert [entry.error for entry in system.entries()] == [0x1A]


def test_batch_ids_are_distinct_while_batches_run_and_used_again(system: System) -> None:
    """Two batches wait for a full log with different ids; software tells them apart. Ended, a batch's id is free."""
    system.log_on()
    client, other = system.client(), system.client()
    for _ in range(63):
        system.run(client, descriptor(NOOP, CRAV | RCR, NOWHERE))
    assert system.driver.read(EVLSTATUS).tail == 63
    for one in (client, other):
        one.publish(system.batch(one, [descriptor(NOOP, CRAV | RCR, NOWHERE)] * 2))
    system.driver.turn_until(lambda: system.driver.device.statistics()["evl_waiting"] == 2, "both to wait")
    assert (client.get("done"), other.get("done")) == (63, 0)
    system.driver.mmio.write32(0xF0, 62)
    system.driver.turn_until(lambda: other.get("done") == 1 and client.get("done") == 64, "both batches")
    entries = [RecordFaultEntry.unpack(system.driver.host.read(host_base(0) + 64 * n, 64) or b"") for n in (63, 0, 1, 2, 3, 4)]
    assert sorted(entry.error for entry in entries) == [0x1A] * 4 + [0x27] * 2
    ids = [entry.batch_id for entry in entries if entry.error == 0x27]
    assert ids[0] != ids[1]
    assert all(sum(entry.batch_id == number for entry in entries) == 3 for number in ids)
    system.run(client, system.batch(client, [descriptor(NOOP, CRAV | RCR, NOWHERE)] * 2))
    again = RecordFaultEntry.unpack(system.driver.host.read(host_base(0) + 64 * 5, 64) or b"")
    assert again.batch_id in ids


def test_an_invalid_handle_is_in_record_and_log(system: System) -> None:
    """0x19 goes to both; the batch itself is not logged for it."""
    system.log_on()
    client = system.client()
    members = [client.noop(0x100, RCI, handle=5), client.noop(0x120)]
    system.run(client, system.batch(client, members))
    (entry,) = system.entries()
    assert (entry.error, entry.int_handle, entry.rcr, entry.first_err_in_batch) == (0x19, 5, 1, 1)
    assert entry.completion_record == client.record(0x100)
    assert (client.record(0)[0], client.record(0x100)[0]) == (0x05, 0x19)


def test_ignore_counts_when_the_interrupt_is_due(system: System) -> None:
    """MSIXPERM.ignore set while the descriptor waits: neither sent nor made pending (registers.md 3.3)."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.mmio.write32(0x400 + 8 * 3, 1 << 2)
    system.driver.settle()
    client = system.client()
    system.run(client, client.noop(0, RCI, handle=3))
    assert client.record(0)[0] == 1
    assert not system.fired(3)
    system.driver.mmio.write32(0x400 + 8 * 3, 0)
    system.run(client, client.noop(32, RCI, handle=3))
    assert system.fired(3)
    assert not system.fired(3)


# ---- every descriptor error: in the record, and without one in SWERR or in the log -------------------------------------------
COMPARE, APPLY_DELTA, DUALCAST, COPY_CRC = 0x05, 0x08, 0x09, 0x11
BOF, CHECK_RESULT, READBACK1 = 0x02, 0x80, 1 << 16
BAD: list[tuple[int, int, dict[str, Any]]] = [
    (0x10, 0, {"opcode": 0x3F}),
    (0x11, BOF, {"opcode": NOOP}),
    (0x12, 0, {"opcode": NOOP, "first": 1}),
    (0x13, 0, {"opcode": MOVE, "first": BASE, "second": BASE, "size": 0}),
    (0x14, 0, {"opcode": BATCH, "first": BASE, "size": 1}),
    (0x15, 0, {"opcode": APPLY_DELTA, "first": BASE, "second": BASE + 0x1000, "size": 64, "rest": struct.pack("<I", 7)}),
    (0x16, 0, {"opcode": DUALCAST, "first": BASE, "second": BASE, "size": 64, "rest": struct.pack("<Q", BASE + 0x1000)}),
    (0x17, 0, {"opcode": DUALCAST, "first": BASE, "second": BASE + 4096, "size": 64, "rest": struct.pack("<Q", BASE + 0x2040)}),
    (0x18, 0, {"opcode": BATCH, "first": BASE + 32, "size": 2}),
    (0x1C, 0, {"opcode": APPLY_DELTA, "first": BASE, "second": BASE + 0x1004, "size": 64, "rest": struct.pack("<I", 10)}),
    (0x03, 0, {"opcode": MOVE, "first": NOWHERE, "second": BASE, "size": 64}),
    (0x06, 0, {"opcode": BATCH, "first": NOWHERE, "size": 2}),
    (0x1F, READBACK1 | RCI, {"opcode": DRAIN, "first": NOWHERE, "handle": 3}),
]  # fmt: skip


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("status", "flags", "fields"), [pytest.param(*case, id=f"{case[0]:#x}") for case in BAD])
def test_a_bad_descriptor_is_told_where_it_belongs(
    system: System, log: bool, status: int, flags: int, fields: dict[str, Any]
) -> None:
    """With a record it is there and nowhere else; without one it is in the log if that is on, else in SWERR."""
    system.log_on() if log else system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    opcode, rest = fields["opcode"], {name: value for name, value in fields.items() if name != "opcode"}
    system.run(client, descriptor(opcode, CRAV | RCR | flags, BASE + 0x8000, **rest))
    assert client.record(0x8000)[0] & 0x3F == status
    assert not system.swerr().valid
    assert not log or system.entries() == []
    system.run(client, descriptor(opcode, flags, 0, **rest))
    if log:
        assert [(entry.error, entry.operation) for entry in system.entries()] == [(status, opcode)]
        assert not system.swerr().valid
    else:
        assert system.swerr().error == status
        assert not system.swerr().valid, "told once"


@pytest.mark.parametrize("log", [False, True])
def test_a_record_address_that_is_not_aligned(system: System, log: bool) -> None:
    """0x1B never goes to a record."""
    system.log_on() if log else system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(NOOP, CRAV | RCR, BASE + 0x8001))
    assert system.entries()[0].error == 0x1B if log else system.swerr().error == 0x1B
    assert client.record(0x8000) == bytes(32)


def test_without_translation_a_fault_is_a_hardware_error(system: System) -> None:
    """ATS off: 0x20 for a read, 0x21 for a readback (operations.md section 5)."""
    system.driver.enable(DEDICATED | {"wq_ats_disable": 1})
    client = system.client()
    system.run(client, descriptor(MOVE, CRAV | RCR, BASE, NOWHERE, BASE + 0x1000, 64))
    system.run(client, descriptor(DRAIN, CRAV | RCR | READBACK1, BASE + 32, NOWHERE))
    assert (client.record(0)[0], client.record(32)[0]) == (0x20, 0x21)


def test_a_fault_that_may_block_is_answered_invalid(system: System) -> None:
    """Block on fault: the page request finds nothing, 0x04."""
    system.driver.enable(DEDICATED | {"bof": 1})
    client = system.client()
    system.run(client, descriptor(MOVE, CRAV | RCR | BOF, BASE, NOWHERE, BASE + 0x1000, 64))
    assert client.record(0)[0] == 0x04


def test_a_false_predicate_is_told_apart(system: System) -> None:
    """0x02: a compare that does not find what its descriptor expects."""
    system.driver.enable(DEDICATED)
    client = system.client()
    expects_difference = bytes([1])
    system.run(
        client, descriptor(COMPARE, CRAV | RCR | CHECK_RESULT, BASE, BASE + 0x1000, BASE + 0x1000, 64, rest=expects_difference)
    )
    assert client.record(0)[0] == 0x02


def test_blocks_that_do_not_overlap_are_demanded(system: System) -> None:
    """Copy with CRC cannot overlap, whatever GENCAP says of moves."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(COPY_CRC, CRAV | RCR, BASE, BASE + 0x1000, BASE + 0x1010, 64))
    assert client.record(0)[0] == 0x16
