"""Every command in every state, and every way to ask wrongly."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idxdd.device.commands import RULES, selected
from idxdd.spec.codes import CmdErr, Command, CompletionStatus, DeviceState, ResetType, WqState
from idxdd.spec.registers import CMD, CMDSTS, GENSTS, INTCAUSE, SWERR, WQCFG
from idxdd.testing.fake_engine import FakeEngine
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA1

GOLDEN = Path(__file__).parents[1] / "golden" / "commands.txt"
OPERANDS = {
    Command.ENABLE_WQ: 1,
    Command.DISABLE_WQ: 1 << 0,
    Command.DRAIN_WQ: 1 << 0,
    Command.ABORT_WQ: 1 << 0,
    Command.RESET_WQ: 1 << 0,
    Command.DRAIN_PASID: 5,
    Command.ABORT_PASID: 5,
    Command.REQUEST_INT_HANDLE: 3,
    Command.RELEASE_INT_HANDLE: 2,
}


def disabled(driver: MockDriver) -> None:
    driver.configure(DEDICATED, DEDICATED)


def enabled(driver: MockDriver) -> None:
    driver.configure(DEDICATED, DEDICATED)
    assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
    assert driver.command(Command.ENABLE_WQ, 0) is CmdErr.SUCCESS


def active(driver: MockDriver) -> None:
    enabled(driver)
    driver.fake.automatic = False
    driver.post_command(Command.DRAIN_ALL)
    assert driver.read(CMDSTS).active


def halted(driver: MockDriver) -> None:
    enabled(driver)
    driver.device.halt(ResetType.SOFTWARE)


def halted_flr(driver: MockDriver) -> None:
    enabled(driver)
    driver.device.halt(ResetType.FLR)


STATES: tuple[Callable[[MockDriver], None], ...] = (disabled, enabled, active, halted, halted_flr)


def golden() -> Iterator[tuple[int, Callable[[MockDriver], None], str]]:
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *answers = line.split()
            code = int(name) if name.isdigit() else Command[name]
            yield from ((code, state, answer) for state, answer in zip(STATES, answers, strict=True))


@pytest.fixture
def driver() -> Iterator[MockDriver]:
    with MockDriver(engine=FakeEngine(automatic=True)) as made:
        assert made.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
        yield made


def test_the_golden_table_has_every_command() -> None:
    """A command added without an expectation must be noticed."""
    assert {code for code, _, _ in golden()} >= set(Command)
    assert set(RULES) <= set(Command)


@pytest.mark.parametrize(
    ("code", "state", "answer"), list(golden()), ids=lambda value: getattr(value, "__name__", None) or str(value)
)
def test_commands_follow_the_table(driver: MockDriver, code: int, state: Callable[[MockDriver], None], answer: str) -> None:
    """Drivers branch on these codes; the table was written from the manual, not from the code."""
    state(driver)
    if answer == "0x52":
        driver.post_command(code, OPERANDS.get(Command(code), 0) if code in set(Command) else 0)
        assert driver.read(CMDSTS).active, "the running command was replaced"
        swerr = driver.read(SWERR)
        assert (swerr.valid, swerr.error, swerr.desc_valid, swerr.wq_idx_valid) == (1, 0x52, 0, 0)
    else:
        assert driver.command(code, OPERANDS.get(Command(code), 0) if code in set(Command) else 0) is CmdErr[answer]
        assert not driver.read(SWERR).valid


def test_reserved_bits_of_a_command_are_refused(driver: MockDriver) -> None:
    """Each bit the command does not define, one at a time: software that sets it meant something the device cannot do."""
    enabled(driver)
    for bit in range(25, 31):
        driver.write(CMD(1 << bit | Command.DRAIN_ALL << 20))
        assert driver.read(CMDSTS).error == CmdErr.NONZERO_RESERVED, f"bit {bit}"
    for command, first in ((Command.DRAIN_ALL, 0), (Command.ENABLE_WQ, 8), (Command.REQUEST_INT_HANDLE, 17)):
        for bit in range(first, 20):
            assert driver.command(command, 1 << bit) is CmdErr.NONZERO_RESERVED, f"{command.name}, operand bit {bit}"


@pytest.mark.parametrize("command", [Command.DISABLE_WQ, Command.DRAIN_WQ, Command.ABORT_WQ, Command.RESET_WQ])
@pytest.mark.parametrize("operand", [1 << 8, 0x00101, 1 << 16 | 1, 0xF0001])
def test_a_wq_that_does_not_exist_is_refused(driver: MockDriver, command: Command, operand: int) -> None:
    """8 WQs: bit 8 and any other block name none of them, also beside a valid one."""
    enabled(driver)
    assert driver.command(command, operand) is CmdErr.INVAL_WQIDX
    assert driver.read(WQCFG, 0).wq_state is WqState.ENABLED


@pytest.mark.parametrize("wq_id", [8, 15, 16, 255])
def test_enabling_a_wq_that_does_not_exist_is_refused(driver: MockDriver, wq_id: int) -> None:
    """The index decides before the WQ's configuration is looked at."""
    enabled(driver)
    assert driver.command(Command.ENABLE_WQ, wq_id) is CmdErr.INVAL_WQIDX


def test_the_mask_form_of_the_manual() -> None:
    """The two examples of the manual: 0x00092 names 1, 4, 7 and 0x10060 names 21, 22."""
    assert selected(0x00092) == [1, 4, 7]
    assert selected(0x10060) == [21, 22]


def test_one_wq_that_is_not_enabled_spares_the_others(driver: MockDriver) -> None:
    """All or nothing: a driver that gets 0x32 must find the others as they were."""
    enabled(driver)
    for command in (Command.DISABLE_WQ, Command.DRAIN_WQ, Command.ABORT_WQ):
        assert driver.command(command, 0b11) is CmdErr.WQ_NOT_ENABLED
        assert driver.read(WQCFG, 0).wq_state is WqState.ENABLED


def test_a_drain_is_active_until_the_engine_is_done() -> None:
    """The driver waits for active = 0; it must not fall before the last descriptor is done."""
    with MockDriver() as driver:
        driver.enable(DEDICATED, SHARED)
        driver.fake.automatic = False
        driver.post_command(Command.DRAIN_WQ, 0b10, int_req=True)
        assert driver.fake.asked("wq_drain") == [{"wqs": [1]}]
        driver.settle()
        assert driver.read(CMDSTS).active
        assert not driver.read(INTCAUSE).cmd
        driver.fake.acknowledge()
        driver.settle()
        assert driver.read(CMDSTS).raw == 0
        assert driver.read(INTCAUSE).cmd
        assert driver.read(WQCFG, 1).wq_state is WqState.ENABLED


def test_disable_device_passes_through_drain_and_keeps_the_configuration() -> None:
    """While it drains nothing is accepted; afterwards the driver may enable again without writing anything."""
    with MockDriver() as driver:
        driver.enable(DEDICATED, SHARED)
        driver.fake.automatic = False
        driver.post_command(Command.DISABLE_DEVICE)
        assert driver.read(GENSTS).state is DeviceState.DRAIN
        assert [driver.read(WQCFG, wq).wq_state for wq in (0, 1, 2)] == [WqState.DRAIN, WqState.DRAIN, WqState.DISABLED]
        assert driver.fake.asked("wq_stop") == [{"wqs": [0, 1], "how": 0, "reason": 1}]
        assert not driver.device.wq_accepts(0)
        driver.fake.acknowledge()
        driver.settle()
        assert driver.read(GENSTS).state is DeviceState.DISABLED
        assert driver.read(WQCFG, 1).wq_state is WqState.DISABLED
        assert driver.read(WQCFG, 1).wq_size == SHARED["wq_size"]
        driver.fake.automatic = True
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        assert driver.command(Command.ENABLE_WQ, 1) is CmdErr.SUCCESS


@pytest.mark.parametrize(
    ("command", "request_name"), [(Command.DRAIN_PASID, "pasid_drain"), (Command.ABORT_PASID, "pasid_abort")]
)
def test_pasid_commands_name_their_own_wqs(command: Command, request_name: str) -> None:
    """Two devices share an engine and a client's PASID: a command of one must not touch the other's descriptors."""
    with MockDriver(index=1) as driver:
        driver.enable(SHARED)
        assert driver.command(command, 7) is CmdErr.SUCCESS
        assert driver.fake.asked(request_name) == [{"pasid": 7, "wqs": list(range(16, 24))}]


def test_reset_device_aborts() -> None:
    """Reset abandons what is queued, Disable waits for it: the engine must be told which."""
    with MockDriver() as driver:
        driver.enable(DEDICATED)
        assert driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
        assert driver.fake.asked("wq_stop") == [{"wqs": [0], "how": 1, "reason": 2}]
        assert driver.read(WQCFG, 0).wq_size == 0


def test_reset_wq_keeps_the_size_only(driver: MockDriver) -> None:
    """The driver counts on the size surviving Reset WQ and on everything else being initial."""
    enabled(driver)
    assert driver.command(Command.RESET_WQ, 0b11) is CmdErr.SUCCESS
    initial = WQCFG.encode(wq_size=16, op_config=driver.device.profile.opcap)
    assert [driver.read(WQCFG, wq) for wq in (0, 1)] == [initial, initial]
    assert driver.fake.asked("wq_stop") == [{"wqs": [0], "how": 1, "reason": 1}], "only the enabled one is stopped"


def test_abort_leaves_the_wq_enabled(driver: MockDriver) -> None:
    """Abort WQ is not Disable WQ: the engine is started again with the same configuration."""
    enabled(driver)
    before = driver.fake.asked("wq_enable")
    for command, operand in ((Command.ABORT_WQ, 1), (Command.ABORT_ALL, 0)):
        assert driver.command(command, operand) is CmdErr.SUCCESS
        assert driver.read(WQCFG, 0).wq_state is WqState.ENABLED
    assert driver.fake.asked("wq_enable") == before * 3
    assert [stop["how"] for stop in driver.fake.asked("wq_stop")] == [1, 1]


def test_a_halt_ends_the_running_command(driver: MockDriver) -> None:
    """Its driver would wait for ever; and the late acknowledgement must not disable a halted device."""
    enabled(driver)
    driver.fake.automatic = False
    driver.post_command(Command.DISABLE_DEVICE, int_req=True)
    driver.device.halt(ResetType.SOFTWARE)
    assert driver.read(CMDSTS).raw == CmdErr.HW_ERR
    assert driver.read(INTCAUSE).cmd
    driver.fake.acknowledge()
    driver.settle()
    assert driver.read(GENSTS).state is DeviceState.HALT
    driver.fake.automatic = True
    assert driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert driver.read(GENSTS) == GENSTS(0)
    assert driver.read(WQCFG, 0).wq_state is WqState.DISABLED


@pytest.mark.parametrize(
    ("command", "operand"), [(Command.ABORT_WQ, 1), (Command.ABORT_ALL, 0), (Command.ENABLE_WQ, 1), (Command.RESET_WQ, 1)]
)
def test_nothing_starts_again_after_a_halt(driver: MockDriver, command: Command, operand: int) -> None:
    """Abort stops the engine and starts it again; a halt between the two must win."""
    enabled(driver)
    driver.fake.automatic = False
    driver.post_command(command, operand)
    driver.device.halt(ResetType.FLR)
    started = len(driver.fake.asked("wq_enable"))
    for _ in range(3):
        driver.fake.acknowledge()
        driver.settle()
    assert len(driver.fake.asked("wq_enable")) == started
    assert driver.read(WQCFG, 1).wq_state is WqState.DISABLED
    assert driver.fake.asked("wq_stop")[-1]["reason"] == 3


def test_a_threshold_written_while_the_wq_is_being_enabled_counts(driver: MockDriver) -> None:
    """wq_thresh is writable at all times; the engine was given the value before."""
    driver.configure(SHARED)
    assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
    driver.fake.automatic = False
    driver.post_command(Command.ENABLE_WQ, 0)
    driver.change(WQCFG, 0, wq_thresh=3)
    driver.fake.acknowledge()
    driver.settle()
    assert driver.fake.asked("wq_threshold") == [{"wq": 0, "threshold": 3}]


def test_reset_of_a_halted_device_waits_for_the_engine(driver: MockDriver) -> None:
    """No write of an abandoned descriptor may appear after the reset has ended."""
    enabled(driver)
    driver.fake.automatic = False
    driver.device.halt(ResetType.SOFTWARE)
    driver.post_command(Command.RESET_DEVICE)
    driver.fake.acknowledge(1)  # the halt's own stop
    driver.settle()
    assert driver.read(CMDSTS).active
    assert driver.read(GENSTS).state is DeviceState.HALT
    driver.fake.acknowledge()
    driver.settle()
    assert driver.read(CMDSTS).raw == 0
    assert driver.read(GENSTS).state is DeviceState.DISABLED


def test_a_second_command_while_active_sets_overflow(driver: MockDriver) -> None:
    """The first discarded command is latched, the next only sets overflow (registers.md 2.9)."""
    active(driver)
    driver.post_command(Command.DRAIN_ALL)
    driver.post_command(Command.DRAIN_ALL)
    swerr = driver.read(SWERR)
    assert (swerr.status, swerr.overflow) == (CompletionStatus.CMD_WHILE_ACTIVE, 1)


def test_half_a_command_is_none(driver: MockDriver) -> None:
    """A byte or word written to CMD would be half a command; nothing runs, and it is counted."""
    for offset, width in ((0xA0, 1), (0xA2, 2), (0xA3, 1)):
        before = driver.device.registers.ignored
        driver.device.registers.bus_write(offset, width, 0x10)
        assert driver.device.registers.ignored == before + 1
    assert driver.device.statistics()["commands"] == 1, "only the fixture's"


def test_a_command_written_with_eight_bytes_runs(driver: MockDriver) -> None:
    """8-byte accesses may cover two registers; CMD's neighbour is unassigned."""
    driver.device.registers.bus_write(0xA0, 8, Command.REQUEST_INT_HANDLE << 20 | 4)
    assert driver.read(CMDSTS) == CMDSTS.encode(result=4)


def test_dsa1_has_no_handle_commands() -> None:
    """Without CMDCAP commands 1 to 12 exist, and an interrupt handle is the table index."""
    with MockDriver(DSA1) as driver:
        for command in (Command.REQUEST_INT_HANDLE, Command.RELEASE_INT_HANDLE):
            assert driver.command(command, 1) is CmdErr.INVAL_CMD
        assert driver.fake.handles[0, 5] == {"vector": 5, "pasid_en": False, "pasid": 0, "ignore": False}
