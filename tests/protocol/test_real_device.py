"""Commands, event log, occupancy and perfmon on the real device: posted ring, native engine, semaphores, portals.

What the unit tests show against a stand-in for the engine, here with nothing in between but time: engine, device and
driver take turns in one thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from device_system import BASE, NOWHERE, System, device_system
from engine_bench import CRAV, RCR, Client, descriptor

from idxdd.shm.hostmemory import host_base
from idxdd.spec.codes import CmdErr, Command, ResetType, WqState
from idxdd.spec.records import RecordFaultEntry
from idxdd.spec.registers import (
    CMD,
    CMDSTS,
    CNTRCFG,
    EVLCFG,
    EVLSTATUS,
    GENCFG,
    GENCTRL,
    INTCAUSE,
    OVFSTATUS,
    SWERR,
    WQCFG,
)
from idxdd.testing.mock_driver import DEDICATED, SHARED
from idxdd.testing.profiles import DSA2

GOLDEN = Path(__file__).parents[1] / "golden" / "commands.txt"
OPERANDS = {"ENABLE_WQ": 1, "DRAIN_PASID": 5, "ABORT_PASID": 5, "REQUEST_INT_HANDLE": 3, "RELEASE_INT_HANDLE": 2}
OF_WQS = dict.fromkeys(("DISABLE_WQ", "DRAIN_WQ", "ABORT_WQ", "RESET_WQ"), 1)
LOST = descriptor(0, CRAV | RCR, NOWHERE)
"""A no-op whose record is nowhere: one entry of the log (0x1A), or SWERR."""


@pytest.fixture
def system(instance: str) -> Iterator[System]:
    with device_system(instance) as made:
        yield made


# ---- commands -----------------------------------------------------------------------------------------------------------


def disabled(system: System) -> None:
    system.driver.configure(DEDICATED, DEDICATED)


def enabled(system: System) -> None:
    disabled(system)
    assert system.driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
    assert system.driver.command(Command.ENABLE_WQ, 0) is CmdErr.SUCCESS


def active(system: System) -> None:
    """A Drain that cannot end: the log is full and a descriptor waits for room in it."""
    system.driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
    system.driver.change(GENCFG, evl_en=True)
    enabled(system)
    filled(system, 64)
    system.driver.post_command(Command.DRAIN_ALL)
    assert system.driver.read(CMDSTS).active


def halted(system: System) -> None:
    enabled(system)
    system.driver.device.halt(ResetType.SOFTWARE)


def halted_flr(system: System) -> None:
    enabled(system)
    system.driver.device.halt(ResetType.FLR)


STATES: tuple[Callable[[System], None], ...] = (disabled, enabled, active, halted, halted_flr)


def filled(system: System, count: int) -> Client:
    """So many lost records from one client; 63 fill a log of 64 entries."""
    client = system.client()
    for _ in range(count):
        client.publish(LOST)
        system.driver.settle()
    return client


def golden() -> Iterator[tuple[int, Callable[[System], None], str]]:
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *answers = line.split()
            operand = OPERANDS.get(name, OF_WQS.get(name, 0))
            word = (int(name) if name.isdigit() else Command[name]) << 20 | operand
            yield from ((word, state, answer) for state, answer in zip(STATES, answers, strict=True))


CASES = list(golden())


@pytest.mark.parametrize(("word", "state", "answer"), CASES, ids=[f"{word >> 20}-{state.__name__}" for word, state, _ in CASES])
def test_a_command_ends_in_its_interrupt(system: System, word: int, state: Callable[[System], None], answer: str) -> None:
    """The code of the table in CMDSTS, active fallen, the cause set and vector 0 signalled exactly if it was asked for."""
    assert system.driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
    state(system)
    while system.fired(0):
        pass
    system.driver.write(INTCAUSE(0xFFFF_FFFF))
    if answer == "0x52":
        system.driver.write(CMD(1 << 31 | word))
        assert system.driver.read(CMDSTS).active, "the running command goes on"
        assert not system.fired(0), "the discarded one interrupts nobody"
        system.driver.mmio.write32(EVLSTATUS.offset, 32)  # room in the log: the Drain ends, and the error is told
        system.driver.settle()
        assert system.driver.read(CMDSTS).raw == 0
        assert system.driver.read(SWERR).error == 0x52, "the log had no room for it"
        return
    system.driver.write(CMD(word))
    system.driver.settle()
    assert (CmdErr(system.driver.read(CMDSTS).error), system.driver.read(CMDSTS).active) == (CmdErr[answer], 0)
    assert not system.fired(0), "nobody asked for an interrupt"
    if answer != "SUCCESS":  # what succeeded has changed the state
        system.driver.write(CMD(1 << 31 | word))
        system.driver.settle()
        assert CmdErr(system.driver.read(CMDSTS).error) is CmdErr[answer]
        assert system.driver.read(INTCAUSE).cmd
        assert system.fired(0)


@pytest.mark.parametrize(
    ("word", "state", "answer"),
    [case for case in CASES if case[2] == "SUCCESS"],
    ids=[f"{word >> 20}-{state.__name__}" for word, state, answer in CASES if answer == "SUCCESS"],
)
def test_a_command_that_succeeds_interrupts_too(
    system: System, word: int, state: Callable[[System], None], answer: str
) -> None:
    """One interrupt, after active has fallen."""
    assert system.driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
    state(system)
    system.driver.write(INTCAUSE(0xFFFF_FFFF))
    while system.fired(0):
        pass
    system.driver.write(CMD(1 << 31 | word))
    system.driver.settle()
    assert system.driver.read(CMDSTS).error == CmdErr.SUCCESS
    assert system.driver.read(INTCAUSE).cmd
    assert system.fired(0)
    assert not system.fired(0)


WQ_STATES = ("disabled", "enabled", "draining")
WQ_ANSWERS = {
    Command.ENABLE_WQ: ("SUCCESS", "WQ_ENABLED", "0x52"),
    Command.DISABLE_WQ: ("WQ_NOT_ENABLED", "SUCCESS", "0x52"),
    Command.DRAIN_WQ: ("WQ_NOT_ENABLED", "SUCCESS", "0x52"),
    Command.ABORT_WQ: ("WQ_NOT_ENABLED", "SUCCESS", "0x52"),
    Command.RESET_WQ: ("SUCCESS", "SUCCESS", "0x52"),
}
"""A WQ drains only while the command that makes it runs."""


@pytest.mark.parametrize("command", list(WQ_ANSWERS), ids=lambda command: command.name)
@pytest.mark.parametrize("column", range(len(WQ_STATES)), ids=WQ_STATES)
def test_wq_commands_by_state_of_the_wq(system: System, command: Command, column: int) -> None:
    """registers.md 2.7 and section 5, second table; the others of the mask are left alone where one is refused."""
    if WQ_STATES[column] == "draining":
        system.log_on()
        filled(system, 64)
        system.driver.post_command(Command.DISABLE_WQ, 1)
        assert system.driver.read(WQCFG, 0).wq_state is WqState.DRAIN
    else:
        enabled(system)
    wq = 1 if WQ_STATES[column] == "disabled" else 0
    operand = wq if command is Command.ENABLE_WQ else 1 << wq
    answer = WQ_ANSWERS[command][column]
    if answer == "0x52":
        system.driver.post_command(command, operand)
        assert system.driver.read(CMDSTS).active
        assert system.driver.read(SWERR).error == 0x52
        return
    assert system.driver.command(command, operand) is CmdErr[answer]
    if answer == "WQ_NOT_ENABLED":
        assert system.driver.command(command, 0b11) is CmdErr.WQ_NOT_ENABLED
        assert system.driver.read(WQCFG, 0).wq_state is WqState.ENABLED


def test_masks_and_blocks(instance: str) -> None:
    """16 WQs: bits 15:0 select inside the block that 19:16 name; only block 0 exists."""
    with device_system(instance, replace(DSA2, wqs=16, vectors=17, int_handles_max=17)) as system:
        system.driver.configure(*[DEDICATED | {"wq_size": 8}] * 16)
        assert system.driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        for wq in range(16):
            assert system.driver.command(Command.ENABLE_WQ, wq) is CmdErr.SUCCESS
        assert system.driver.command(Command.DISABLE_WQ, 0x8012) is CmdErr.SUCCESS
        off = [wq for wq in range(16) if system.driver.read(WQCFG, wq).wq_state is WqState.DISABLED]
        assert off == [1, 4, 15]
        for block in range(1, 16):
            assert system.driver.command(Command.DRAIN_WQ, block << 16 | 1) is CmdErr.INVAL_WQIDX


# ---- event log ----------------------------------------------------------------------------------------------------------


def test_the_log_wraps_and_goes_on(system: System) -> None:
    """Three times round a log of 64, read as it fills: entries in order, tail back at 0, nothing lost."""
    system.log_on()
    client = system.client()
    head = 0
    for number in range(190):
        client.publish(descriptor(0, CRAV | RCR, NOWHERE + 32 * number))
        system.driver.settle()
        entry = system.driver.host.read(host_base(0) + 64 * head, 64) or b""
        assert int.from_bytes(entry[16:24], "little") == NOWHERE + 32 * number
        head = (head + 1) % 64
        system.driver.mmio.write32(EVLSTATUS.offset, head)
    assert system.driver.read(EVLSTATUS).tail == 190 % 64
    assert client.get("done") == 190
    assert not system.driver.read(SWERR).valid


def test_a_full_log_makes_descriptors_wait(system: System) -> None:
    """GENCAP.32 = 0: nothing is lost; who waits goes on as the driver reads."""
    system.log_on()
    client = filled(system, 66)
    assert (system.driver.read(EVLSTATUS).tail, client.get("done")) == (63, 63)
    system.driver.mmio.write32(EVLSTATUS.offset, 2)
    system.driver.turn_until(lambda: client.get("done") == 65, "the room of two")
    system.driver.settle()
    assert (system.driver.read(EVLSTATUS).tail, client.get("done")) == (1, 65)
    assert not system.driver.read(SWERR).valid


def test_a_full_log_that_may_drop_says_so(instance: str) -> None:
    """GENCAP.32 = 1: the event is gone, 0x54 in SWERR, then its overflow bit; descriptors go on."""
    with device_system(instance, replace(DSA2, evl_overflow=True)) as system:
        system.log_on()
        client = filled(system, 64)
        assert (system.driver.read(EVLSTATUS).tail, client.get("done")) == (63, 64)
        swerr = system.driver.read(SWERR)
        assert (swerr.error, swerr.overflow) == (0x54, 0)
        client.publish(LOST)
        system.driver.settle()
        assert system.driver.read(SWERR).overflow
        assert client.get("done") == 65


def test_a_log_that_is_nowhere_says_so(system: System) -> None:
    """0x54: its memory does not answer; the descriptor is done all the same."""
    system.driver.write(EVLCFG.encode(log_size=64, log_base=host_base(3)))
    system.driver.change(GENCFG, evl_en=True)
    system.driver.write(GENCTRL.encode(softerr_int_en=True))
    system.driver.enable(DEDICATED)
    client = filled(system, 1)
    assert (system.driver.read(SWERR).error, system.driver.read(EVLSTATUS).tail, client.get("done")) == (0x54, 0, 1)
    assert system.driver.read(INTCAUSE).err
    assert system.fired(0)


def test_all_batch_ids_in_use(instance: str) -> None:
    """256 ids: the batch that finds none waits until one has ended, and no two that run share one."""
    with device_system(instance, replace(DSA2, total_wq_size=1024)) as system:
        system.driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
        system.driver.change(GENCFG, evl_en=True)
        system.driver.enable(DEDICATED | {"wq_size": 1000})
        filled(system, 63)
        clients = [system.client() for _ in range(20)]
        for one in clients:
            one.publish(*[system.batch(one, [LOST] * 2)] * 16)
        system.driver.settle()
        assert sum(one.get("done") for one in clients) == 0, "every batch waits: for the log, for a context or for an id"
        ids: list[int] = []
        head = 0
        for _ in range(20_000):
            tail = system.driver.read(EVLSTATUS).tail
            if tail == head:
                if sum(one.get("done") for one in clients) == 320:
                    break
                system.driver.settle()
                continue
            entry = RecordFaultEntry.unpack(system.driver.host.read(host_base(0) + 64 * head, 64) or b"")
            if entry.error == 0x27:
                ids.append(entry.batch_id)
            head = (head + 1) % 64
            system.driver.mmio.write32(EVLSTATUS.offset, head)
            system.driver.settle()
        assert len(ids) == 320
        assert len(set(ids)) > 128, "many at the same time"


# ---- occupancy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [0, 4])
def test_the_occupancy_interrupt_comes_when_the_queue_has_drained(system: System, entry: int) -> None:
    """Above the limit nothing; at the limit one interrupt, by the handle's entry; not again before it is acknowledged."""
    assert system.driver.command(Command.REQUEST_INT_HANDLE, entry) is CmdErr.SUCCESS
    system.log_on(wq_size=64, occupancy_inth=entry)
    filled(system, 63)
    clients = [system.client() for _ in range(2)]
    for one in clients:
        one.publish(*[LOST] * 40)
        system.driver.settle()
    occupancy = system.driver.read(WQCFG, 0).occupancy
    assert occupancy > 2, "contexts are used up, the rest is queued"
    system.driver.write(INTCAUSE(0xFFFF_FFFF))
    while system.fired(entry):
        pass
    system.driver.mmio.write32(0x800 + 20, 1 << 16 | 2)
    system.driver.settle()
    assert not system.fired(entry), "above its limit"
    for head in [*range(1, 64), *range(64)]:
        system.driver.mmio.write32(EVLSTATUS.offset, head)
        system.driver.settle()
        if system.driver.read(WQCFG, 0).occupancy_int_generated:
            break
    assert system.driver.read(WQCFG, 0).occupancy <= 2
    assert system.fired(entry)
    assert bool(system.driver.read(INTCAUSE).occupancy) is (entry == 0)
    assert not system.fired(entry)
    system.driver.mmio.write32(0x800 + 24, 1 << 16)
    system.driver.settle()
    assert system.fired(entry), "acknowledged, and still at the limit"


# ---- perfmon ------------------------------------------------------------------------------------------------------------


def count(system: System, counter: int, category: int, events: int, **more: Any) -> None:
    """Configure and enable a counter: the enable goes last."""
    value = CNTRCFG.encode(enable=1, category=category, events=events, **more).raw
    system.driver.mmio.write32(0x1100 + 8 * counter + 4, value >> 32)
    system.driver.mmio.write32(0x1100 + 8 * counter, value & 0xFFFF_FFFF)
    system.driver.settle()


def data(system: System, counter: int) -> int:
    return system.driver.mmio.read64(0x1200 + 8 * counter)


def test_counters_count_what_the_portals_do(system: System) -> None:
    """Accepted by mode of the WQ, faults, errors; a filter leaves other WQs out; what a counter missed stays missed."""
    system.driver.enable(DEDICATED, SHARED)
    one, two = system.client(0), system.client(1)
    count(system, 0, 0, 0x11)
    count(system, 1, 0, 0x11)
    system.driver.mmio.write32(0x1100 + 8, 0)
    system.driver.mmio.write32(0x1300 + 32, 0b10)
    count(system, 1, 0, 0x11)
    count(system, 2, 2, 0xA)
    count(system, 3, 4, 0x8)
    system.run(one, *[one.noop(0)] * 3)
    two.set("want", 1)
    system.driver.settle()
    system.run(two, *[two.noop(0)] * 2)
    system.run(one, descriptor(3, CRAV | RCR, BASE, NOWHERE, BASE, 64))
    assert [data(system, counter) for counter in range(4)] == [6, 2, 1, 1]
    system.driver.mmio.write32(0x1020, 1)
    system.run(one, one.noop(0))
    assert data(system, 0) == 6, "frozen"
    assert data(system, 1) == 2


def test_an_overflow_interrupts_and_freezes(system: System) -> None:
    """The count passes its width: OVFSTATUS, INTCAUSE.3, vector 0, and every counter frozen if it says so."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.driver.mmio.write64(0x1200, (1 << 48) - 2)
    count(system, 1, 0, 0x10)
    count(system, 0, 0, 0x10, int_overflow=1, freeze_on_overflow=1)
    system.run(client, *[client.noop(0)] * 3)
    assert system.driver.read(OVFSTATUS).raw == 1
    assert system.driver.read(INTCAUSE).perfmon_ovfl
    assert system.fired(0)
    assert data(system, 0) == 1
    before = data(system, 1)
    system.run(client, *[client.noop(0)] * 3)
    assert data(system, 1) == before, "frozen with it"


# ---- tables of interrupts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [Command.REQUEST_INT_HANDLE, Command.RELEASE_INT_HANDLE])
def test_the_ims_flag_is_refused_without_message_storage(system: System, command: Command) -> None:
    """GENCAP.30:25 = 0: there is no IMS table, so there is no entry in it (0x41), and none for occupancy (0x2B)."""
    assert system.driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
    assert system.driver.command(command, 1 << 16 | 2) is CmdErr.INVAL_INT_IDX
    system.driver.configure(DEDICATED | {"occupancy_table_sel": 1})
    assert system.driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
    assert system.driver.command(Command.ENABLE_WQ, 0) is CmdErr.WQ_OCCUPANCY_INT
