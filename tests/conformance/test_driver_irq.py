"""Conformance of the miscellaneous interrupt: driver.md section 11, IRQ-01 to IRQ-22, against a mock device."""

from collections.abc import Iterator

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.irq import IrqReturn
from idxdd.driver.state import DeviceBlock
from idxdd.native import LAYOUT
from idxdd.spec.codes import DeviceState, InterruptCause, ResetType
from idxdd.spec.registers import GENSTS, INTCAUSE, SWERR

HALT, ERR, CMD = int(InterruptCause.HALT), int(InterruptCause.ERR), int(InterruptCause.CMD)
KERNEL_WQ, USER_WQ, OTHER_USER_WQ = 2, 0, 1


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        bench.mmio.trace.clear()
        yield bench


def misc(bench: DriverBench) -> IrqReturn:
    return bench.driver.interrupt(0, 0)


def swerr(**fields: object) -> SWERR:
    return SWERR.encode(error=0x10, **fields)


@pytest.mark.conformance("IRQ-01")
def test_no_cause_is_nobodys_interrupt(bench: DriverBench) -> None:
    """Nothing is written."""
    assert misc(bench) is IrqReturn.NONE
    assert bench.mmio.trace == [("read", INTCAUSE.offset, 0)]


@pytest.mark.conformance("IRQ-02")
def test_causes_are_acknowledged_verbatim_before_anything_else(bench: DriverBench) -> None:
    """Else an error latched while the handler looks would be acknowledged unseen."""
    bench.device.raise_cause(0x80000007 & ~int(InterruptCause.INT_HANDLE_REVOKED))
    misc(bench)
    assert bench.mmio.trace[:2] == [("read", INTCAUSE.offset, 0x7), ("write", INTCAUSE.offset, 0x7)]


@pytest.mark.conformance("IRQ-03")
def test_a_cause_raised_after_the_read_survives(bench: DriverBench) -> None:
    """RW1C: only what was read is written back; the later cause posts the vector again."""
    bench.device.raise_cause(int(InterruptCause.OCCUPANCY))
    bench.device.posted.clear()
    misc_trace = bench.mmio.trace
    bench.driver.interrupt(0, 0)  # read 0x4, posted 0x4; not applied yet
    bench.device.raise_cause(CMD)
    assert misc_trace[-1] == ("write", INTCAUSE.offset, 0x4)
    assert bench.device.posted == [0]
    bench.device.pump()
    assert bench.device.get(INTCAUSE) == CMD


@pytest.mark.conformance("IRQ-04")
def test_causes_are_handled_in_order(bench: DriverBench) -> None:
    """Error, revoke, command, occupancy, perfmon, event log: seen by what each leaves in causes_owed."""
    owed = vars(DeviceBlock)["causes_owed"]
    block = bench.driver.devices[0].block
    seen: list[int] = []

    class Spy(DeviceBlock):
        @property
        def causes_owed(self) -> int:
            return owed.__get__(self, type(self))

        @causes_owed.setter
        def causes_owed(self, value: int) -> None:
            seen.append(value)
            owed.__set__(self, value)

    bench.driver.devices[0].block = Spy(block.words, block.base)
    every = [1 << 0, 1 << 31, 1 << 1, 1 << 2, 1 << 3, 1 << 5]
    bench.device.raise_cause(sum(every))
    misc(bench)
    left = [sum(every[n:]) for n in range(len(every) + 1)]
    assert seen[: len(left)] == left


@pytest.mark.conformance("IRQ-05")
def test_halt_runs_alone(bench: DriverBench) -> None:
    """The other causes in the same value are acknowledged and lost."""
    bench.device.set(swerr(valid=True))
    bench.device.raise_cause(HALT | ERR)
    misc(bench)
    assert [entry[:2] for entry in bench.mmio.trace] == [
        ("read", INTCAUSE.offset),
        ("write", INTCAUSE.offset),
        ("read", GENSTS.offset),
    ]


@pytest.mark.conformance("IRQ-06")
def test_swerr_is_read_ascending_then_acknowledged_as_read(bench: DriverBench) -> None:
    """Four qwords, then bits 1:0 as a 64-bit write, low half first."""
    bench.device.latch_swerr(swerr())
    misc(bench)
    at = SWERR.offset
    accesses = [(kind, offset) for kind, offset, _ in bench.mmio.trace if at <= offset < at + 32]
    assert accesses == [("read", at), ("read", at + 8), ("read", at + 16), ("read", at + 24), ("write", at), ("write", at + 4)]


@pytest.mark.conformance("IRQ-07")
def test_swerr_of_a_user_wq_wakes_its_pollers_only(bench: DriverBench) -> None:
    """Others have no error."""
    bench.device.latch_swerr(swerr(wq_idx_valid=True, wq_idx=OTHER_USER_WQ))
    bench.run()
    assert bench.swerr_wakes == [OTHER_USER_WQ]


@pytest.mark.conformance("IRQ-08")
def test_swerr_of_no_wq_wakes_every_user_wq(bench: DriverBench) -> None:
    """Nobody knows whose it is."""
    bench.device.latch_swerr(swerr())
    bench.run()
    assert bench.swerr_wakes == [USER_WQ, OTHER_USER_WQ]


@pytest.mark.conformance("IRQ-09")
def test_swerr_of_a_kernel_wq_wakes_nobody(bench: DriverBench) -> None:
    """It has no pollers."""
    bench.device.latch_swerr(swerr(wq_idx_valid=True, wq_idx=KERNEL_WQ))
    bench.run()
    assert bench.swerr_wakes == []


@pytest.mark.conformance("IRQ-10")
def test_four_lines_a_software_error(bench: DriverBench) -> None:
    """As the kernel prints them: 0x and 16 digits."""
    bench.device.latch_swerr(swerr(fault_addr=0x7FFF00001000))
    bench.run()
    assert bench.texts() == [
        "err[0]: 0x0000000000001001",
        "err[1]: 0x0000000000000000",
        "err[2]: 0x00007fff00001000",
        "err[3]: 0x0000000000000000",
    ]


@pytest.mark.conformance("IRQ-11")
def test_after_the_acknowledgement_another_error_is_latched(bench: DriverBench) -> None:
    """Before it, a second error only sets overflow."""
    bench.device.latch_swerr(swerr(wq_idx=1))
    bench.device.latch_swerr(swerr(wq_idx=2))
    assert SWERR(bench.device.get(SWERR)).overflow
    bench.run()
    bench.device.latch_swerr(swerr(wq_idx=3))
    bench.run()
    first_lines = [text for text in bench.texts() if text.startswith("err[0]")]
    assert first_lines == ["err[0]: 0x0000000000011003", "err[0]: 0x0000000000031001"]


@pytest.mark.conformance("IRQ-12")
def test_the_saved_error_stays(bench: DriverBench) -> None:
    """sysfs errors shows it until the next one."""
    bench.device.latch_swerr(swerr())
    bench.run()
    assert not SWERR(bench.device.get(SWERR)).valid
    assert bench.verb("list")["ok"]["devices"][0]["errors"][0] == "0x0000000000001001"


@pytest.mark.conformance("IRQ-13")
def test_overflow_alone_is_acknowledged_with_the_value_read(bench: DriverBench) -> None:
    """Valid may be clear already."""
    bench.device.set(SWERR.encode(overflow=True))
    bench.device.raise_cause(ERR)
    bench.run()
    assert ("write", SWERR.offset, 0x2) in bench.mmio.trace
    assert not SWERR(bench.device.get(SWERR)).overflow


@pytest.mark.conformance("IRQ-14")
def test_a_command_completes_once(bench: DriverBench) -> None:
    """Two command causes while one command runs complete it once, with its own result."""
    bench.device.hold_commands = True
    number = bench.send("close", wq=1, pasid=7, client=1)
    bench.run()
    assert number in bench.answers  # nothing was open
    number = bench.send("disable_wq", wq=1)
    bench.run()
    bench.device.raise_cause(CMD)
    bench.run()
    assert number not in bench.answers
    bench.device.hold_commands = False
    bench.device.finish_command()
    bench.run()
    assert bench.answers[number]["ok"] == {}


@pytest.mark.conformance("IRQ-15")
def test_a_command_cause_without_a_waiter_is_ignored(bench: DriverBench) -> None:
    """It must not complete the next command before that has run."""
    bench.device.raise_cause(CMD)
    bench.run()
    bench.device.hold_commands = True
    number = bench.send("disable_wq", wq=1)
    bench.run()
    assert number not in bench.answers


@pytest.mark.conformance("IRQ-16")
def test_occupancy_is_silent(bench: DriverBench) -> None:
    """The driver does not use it."""
    bench.device.raise_cause(int(InterruptCause.OCCUPANCY))
    assert misc(bench) is IrqReturn.HANDLED
    assert bench.texts() == []


@pytest.mark.conformance("IRQ-17")
def test_unknown_causes_are_reported_once(bench: DriverBench) -> None:
    """The unknown bits alone, also by a successor."""
    for _ in range(2):
        bench.device.raise_cause(0x140 | int(InterruptCause.OCCUPANCY))
        bench.run()
        bench.kill()
        bench.start()
        bench.run()
    assert bench.texts() == ["Unexpected interrupt cause bits set: 0x140"]


@pytest.mark.conformance("IRQ-18")
def test_halt_is_never_unexpected(bench: DriverBench) -> None:
    """Also when GENSTS says nothing of a halt."""
    bench.device.raise_cause(HALT | 0x40)
    bench.run()
    assert bench.texts() == []


@pytest.mark.conformance("IRQ-19")
def test_a_software_error_looks_at_gensts(bench: DriverBench) -> None:
    """The seed's driver: a halt may hide behind an error."""
    bench.device.latch_swerr(swerr())
    misc(bench)
    assert bench.mmio.trace[-1][:2] == ("read", GENSTS.offset)


@pytest.mark.conformance("IRQ-20")
@pytest.mark.parametrize("state", [DeviceState.DISABLED, DeviceState.ENABLED, DeviceState.DRAIN])
def test_a_device_that_is_not_halted_changes_nothing(bench: DriverBench, state: DeviceState) -> None:
    """Only state 3 is a halt."""
    bench.device.set_state(state, ResetType.FLR)
    before = bytes(bench.state)
    bench.device.raise_cause(HALT)
    bench.run()
    assert bytes(bench.state) == before


@pytest.mark.conformance("IRQ-21")
def test_a_wq_index_out_of_range_is_refused(bench: DriverBench) -> None:
    """A line instead of somebody else's memory."""
    bench.device.latch_swerr(swerr(wq_idx_valid=True, wq_idx=200))
    bench.run()
    assert bench.swerr_wakes == []
    heads = [text.split(":")[0] for text in bench.texts()]
    assert heads == ["err[0]", "err[1]", "err[2]", "err[3]", "SWERR.wq_idx 200 is out of range"]


@pytest.mark.conformance("IRQ-03")
def test_the_pending_word_is_cleared_before_the_look(bench: DriverBench) -> None:
    """A device that posts while the handler runs posts the semaphore again (model e)."""
    bench.device.raise_cause(int(InterruptCause.OCCUPANCY))
    misc(bench)
    assert bench.device.ring_words.load32(LAYOUT["mmio.pending"]) == 0
