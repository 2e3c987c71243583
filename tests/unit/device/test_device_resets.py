"""FLR, warm and cold reset, halts of each type, surprise removal and return: what is dropped and what survives."""

from dataclasses import replace

import pytest

from idxdd.device.profile import Profile
from idxdd.native import _native as native
from idxdd.shm.closed import Closed
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType, WqState
from idxdd.spec.registers import CMD, CMDSTS, EVLSTATUS, GENCTRL, GENSTS, INTCAUSE, MSIX, MSIXPERM, PBA, SWERR, WQCFG
from idxdd.testing.mock_driver import BAR0_SIZE_BYTES, DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA1, DSA2

HARD = [ResetType.FLR, ResetType.WARM, ResetType.COLD]


def used(driver: MockDriver) -> None:
    """Leave a trace in every register a reset clears, also in those that survive Reset Device."""
    driver.write(GENCTRL(7))
    driver.write(MSIXPERM.encode(pasid_en=True, pasid=3), 4)
    driver.write(MSIX.encode(address=0xFEE00000, message=0x33, masked=True), 3)
    driver.mmio.write32(0xE000, 0x1234)
    driver.enable(DEDICATED, SHARED)
    driver.command(Command.REQUEST_INT_HANDLE, 3, int_req=True)
    driver.fake.vectors[3].pending = True
    driver.settle()
    driver.mmio.write32(0xF0, 9)
    driver.fake.exit(native.EXIT_OVERFLOW, 0, id=1)
    driver.settle()
    assert driver.read(SWERR).valid
    assert driver.read(EVLSTATUS).head == 9
    assert driver.read(PBA).pending == 1 << 3


@pytest.mark.parametrize("profile", [DSA1, DSA2], ids=["dsa1", "dsa2"])
@pytest.mark.parametrize("kind", HARD)
def test_after_a_reset_the_device_is_a_new_one(kind: ResetType, profile: Profile) -> None:
    """Every byte of BAR0 as after power-on: registers.md section 9, last column."""
    with MockDriver(profile) as driver:
        fresh = bytes(driver.bar0)
        driver.enable(DEDICATED)
        driver.write(MSIX.encode(address=0xFEE00000, message=0x33, masked=True), 3)
        driver.write(GENCTRL(7))
        done: list[str] = []
        driver.device.reset(kind, lambda: done.append("done"))
        driver.settle()
        assert done == ["done"]
        assert bytes(driver.bar0) == fresh
        assert driver.device.statistics()["resets"] == 1


def test_what_reset_device_keeps_an_flr_clears(driver: MockDriver) -> None:
    """SWERR, EVLSTATUS, the MSI-X table, CMDSTS, handles and what pends behind a mask."""
    used(driver)
    driver.device.reset(ResetType.FLR)
    driver.settle()
    assert [driver.read(register).raw for register in (SWERR, EVLSTATUS, CMDSTS, INTCAUSE, PBA, GENSTS)] == [0] * 6
    assert driver.read(MSIX, 3).raw == 0
    assert driver.fake.handles[0, 3] is None
    assert not driver.fake.vectors[3].masked
    assert driver.fake.signalled(3) == 0, "what pended is forgotten, not sent"
    driver.enable(DEDICATED)
    assert driver.read(WQCFG, 1).wq_state is WqState.DISABLED


def test_a_reset_abandons_and_waits_for_the_engine() -> None:
    """Until the engine has let go the bus finds nobody; a write of an old descriptor after the reset would be a ghost."""
    with MockDriver() as driver:
        driver.enable(DEDICATED)
        driver.fake.automatic = False
        driver.device.reset(ResetType.FLR)
        assert driver.fake.asked("wq_stop")[-1] == {"wqs": list(range(8)), "how": native.STOP_ABORT, "reason": Closed.ABORTED}
        ignored = driver.device.registers.ignored
        driver.write(CMD.encode(command=Command.DRAIN_ALL))
        assert driver.device.registers.ignored == ignored + 1
        driver.fake.exit(native.EXIT_FAULT, 0, operand=5, address=0x1000)
        driver.settle()
        assert driver.fake.resumed == [], "what the engine says of the old device is not listened to"
        driver.fake.acknowledge()
        driver.settle()
        assert driver.read(GENSTS).raw == 0
        assert not driver.read(SWERR).valid
        driver.fake.automatic = True
        driver.enable(DEDICATED)


def test_a_reset_ends_a_command_unheard(driver: MockDriver) -> None:
    """Works also on a drain that never ends: no status, no interrupt, and its late end changes nothing."""
    driver.enable(DEDICATED)
    driver.fake.automatic = False
    driver.post_command(Command.DISABLE_DEVICE, int_req=True)
    assert driver.read(GENSTS).state is DeviceState.DRAIN
    driver.device.reset(ResetType.FLR)
    driver.fake.acknowledge()
    driver.settle()
    assert driver.read(CMDSTS).raw == 0
    assert driver.fake.signalled(0) == 0
    driver.fake.automatic = True
    driver.enable(DEDICATED)


def test_two_resets_at_once_are_one(driver: MockDriver) -> None:
    """The second finds the first under way; the device answers when both are through."""
    driver.enable(DEDICATED)
    driver.fake.automatic = False
    ended: list[int] = []
    driver.device.reset(ResetType.FLR, lambda: ended.append(1))
    driver.device.reset(ResetType.WARM, lambda: ended.append(2))
    driver.fake.acknowledge(1)
    driver.settle()
    assert not driver.device.registers.answers
    driver.fake.acknowledge()
    driver.settle()
    assert (ended, driver.device.registers.answers, driver.device.resets) == ([1, 2], True, 1)


@pytest.mark.parametrize("needed", list(ResetType))
@pytest.mark.parametrize("kind", list(ResetType))
def test_a_halt_ends_with_a_reset_of_its_type_or_a_stronger_one(driver: MockDriver, needed: ResetType, kind: ResetType) -> None:
    """GENSTS.reset_type is the weakest that works (registers.md 2.5): all sixteen pairs."""
    driver.enable(DEDICATED)
    driver.device.halt(needed)
    assert driver.read(GENSTS) == GENSTS.encode(state=DeviceState.HALT, reset_type=needed)
    if kind is ResetType.SOFTWARE:
        error = driver.command(Command.RESET_DEVICE)
        assert error is (CmdErr.SUCCESS if needed is ResetType.SOFTWARE else CmdErr.DEV_HALTED)
    else:
        driver.device.reset(kind)
        driver.settle()
    if kind >= needed:
        driver.enable(DEDICATED)
    else:
        assert driver.read(GENSTS) == GENSTS.encode(state=DeviceState.HALT, reset_type=needed)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.DEV_HALTED


@pytest.mark.parametrize("needed", list(ResetType))
def test_what_a_halt_keeps(driver: MockDriver, needed: ResetType) -> None:
    """Registers stay readable and writable as while Disabled; descriptors end without record or report."""
    driver.write(GENCTRL.encode(halt_int_en=True))
    driver.enable(DEDICATED, SHARED)
    driver.device.halt(needed)
    driver.device.halt(ResetType.COLD)
    assert driver.read(GENSTS).reset_type is needed, "a device halts once"
    assert (driver.read(INTCAUSE).halt, driver.fake.signalled(0)) == (1, 1)
    assert driver.read(WQCFG, 1).wq_size == SHARED["wq_size"]
    driver.fake.exit(native.EXIT_ERROR, 0, status=0x10)
    driver.settle()
    assert driver.fake.resumed == []
    assert not driver.read(SWERR).valid
    driver.change(WQCFG, 1, wq_size=3)
    assert driver.read(WQCFG, 1).wq_size == 3


def test_a_disabled_device_does_not_halt(driver: MockDriver) -> None:
    """Only Enabled and the way out of it lead to Halt (registers.md section 5)."""
    driver.device.halt(ResetType.FLR)
    assert driver.read(GENSTS).raw == 0


def test_a_reset_brings_the_platform_back() -> None:
    """A device that halted because bus mastering was taken away is usable after the FLR of its driver, which restores PCI
    configuration space."""
    masked = replace(DSA2, platform=replace(DSA2.platform, msix_masked=True))
    with MockDriver(masked) as driver:
        driver.enable(DEDICATED)
        driver.change(MSIX, 0, masked=False)
        driver.device.set_platform(bus_master=False)
        assert driver.read(GENSTS).state is DeviceState.HALT
        driver.device.reset(ResetType.FLR)
        driver.settle()
        assert driver.device.platform == masked.platform
        assert [driver.read(MSIX, entry).masked for entry in (0, 8)] == [True, True]
        driver.enable(DEDICATED)


def test_a_device_that_is_gone_reads_as_ones(driver: MockDriver) -> None:
    """Surprise removal: a driver sees all ones, as on PCI Express, and its writes are lost."""
    driver.enable(DEDICATED)
    driver.device.remove()
    assert driver.fake.asked("wq_stop")[-1]["reason"] == Closed.REMOVED
    driver.settle()
    assert bytes(driver.bar0) == b"\xff" * BAR0_SIZE_BYTES
    driver.mmio.write32(0xA0, Command.DRAIN_ALL << 20)
    driver.settle()
    assert bytes(driver.bar0) == b"\xff" * BAR0_SIZE_BYTES
    assert not driver.device.wq_accepts(0)
    driver.fake.exit(native.EXIT_OVERFLOW, 0, id=1)
    driver.device.halt(ResetType.FLR)
    driver.settle()
    assert bytes(driver.bar0) == b"\xff" * BAR0_SIZE_BYTES
    assert driver.fake.signalled(0) == 0


def test_a_device_returns_as_new() -> None:
    """Also when it is reset while it is away, and when it returns before the engine has let go."""
    with MockDriver() as driver:
        fresh = bytes(driver.bar0)
        driver.enable(DEDICATED)
        driver.fake.automatic = False
        driver.device.remove()
        driver.device.reset(ResetType.FLR)
        driver.fake.acknowledge()
        driver.settle()
        assert not driver.device.registers.answers
        driver.device.insert()
        driver.fake.acknowledge()
        driver.settle()
        assert bytes(driver.bar0) == fresh
        driver.fake.automatic = True
        driver.enable(DEDICATED)


def test_revoked_handles_are_invalid_until_requested_again(driver: MockDriver) -> None:
    """INTCAUSE 31 and no handle left; the same request gives another number: who compares sees that it was revoked."""
    assert not driver.device.interrupts.revoke_handles(), "nothing to revoke: nobody is told"
    assert driver.read(INTCAUSE).raw == 0
    driver.command(Command.REQUEST_INT_HANDLE, 3)
    driver.command(Command.REQUEST_INT_HANDLE, 4)
    assert driver.device.interrupts.revoke_handles() == [3, 4]
    assert driver.read(INTCAUSE).raw == 1 << 31
    assert (driver.fake.handles[0, 3], driver.fake.handles[0, 4]) == (None, None)
    assert driver.command(Command.RELEASE_INT_HANDLE, 3) is CmdErr.INVAL_INT_IDX
    assert driver.command(Command.REQUEST_INT_HANDLE, 3) is CmdErr.SUCCESS
    assert (driver.read(CMDSTS).result, driver.fake.handles[0, 3]) == (12, None)
    assert driver.fake.handles[0, 12] == {"vector": 3, "pasid_en": False, "pasid": 0, "ignore": False}
    driver.write(MSIXPERM.encode(pasid_en=True, pasid=7), 3)
    assert driver.fake.handles[0, 12]["pasid"] == 7, "the entry's permission goes with the new number"


def test_one_handle_is_revoked_and_the_others_stay(driver: MockDriver) -> None:
    """A platform that moves one interrupt; numbers come round without meeting a handle that is out."""
    driver.command(Command.REQUEST_INT_HANDLE, 4)
    seen = set()
    for _ in range(60):
        driver.command(Command.REQUEST_INT_HANDLE, 3)
        handle = driver.read(CMDSTS).result
        assert driver.device.interrupts.revoke_handles([handle, 99]) == [handle]
        assert driver.fake.handles[0, handle] is None
        seen.add(handle)
    assert len(seen) == 28
    assert max(seen) < 256
    assert driver.fake.handles[0, 4]["vector"] == 4
    assert driver.device.interrupts.revoke_handles([3]) == [], "nobody has it"


def test_handles_that_are_table_indices_cannot_be_revoked() -> None:
    """Without Request Interrupt Handle the cause does not exist (registers.md 2.6)."""
    with MockDriver(DSA1) as driver:
        assert not driver.device.interrupts.revoke_handles()
        assert driver.read(INTCAUSE).raw == 0
