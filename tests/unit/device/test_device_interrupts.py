"""Causes and their gates, MSI-X masks and pending bits, permissions, interrupt handles, occupancy interrupts."""

from dataclasses import replace

import pytest

from idxdd.native import _native as native
from idxdd.spec.codes import CmdErr, Command, InterruptCause, ResetType, WqState
from idxdd.spec.registers import CMD, CMDSTS, GENCTRL, INTCAUSE, MSIX, MSIXPERM, PBA, SWERR, WQCFG
from idxdd.testing.mock_driver import DEDICATED, MockDriver
from idxdd.testing.profiles import DSA2

GATED = {InterruptCause.ERR: "softerr_int_en", InterruptCause.HALT: "halt_int_en", InterruptCause.EVL: "evl_int_en"}


@pytest.mark.parametrize("cause", list(GATED))
def test_a_closed_gate_lets_nothing_through(driver: MockDriver, cause: InterruptCause) -> None:
    """A cause whose gate is closed is neither set nor signalled; the other gates do not matter."""
    others = {gate: True for other, gate in GATED.items() if other is not cause}
    driver.write(GENCTRL.encode(**others))
    assert not driver.device.interrupts.raise_cause(cause)
    assert driver.read(INTCAUSE).raw == 0
    assert driver.fake.signalled(0) == 0
    driver.write(GENCTRL.encode(**{GATED[cause]: True}))
    assert driver.device.interrupts.raise_cause(cause)
    assert driver.read(INTCAUSE).causes == cause
    assert driver.fake.signalled(0) == 1


def test_revocation_has_no_gate(driver: MockDriver) -> None:
    """Bit 31 comes whatever GENCTRL says."""
    assert driver.device.interrupts.raise_cause(InterruptCause.INT_HANDLE_REVOKED)
    assert driver.read(INTCAUSE).raw == 1 << 31


def test_acknowledging_clears_what_was_written_only(driver: MockDriver) -> None:
    """A cause that came between the driver's read and its write-back must survive (IRQ-03)."""
    driver.device.interrupts.raise_cause(InterruptCause.CMD)
    seen = driver.read(INTCAUSE)
    driver.device.interrupts.raise_cause(InterruptCause.OCCUPANCY)
    driver.write(seen)
    assert driver.read(INTCAUSE).causes == InterruptCause.OCCUPANCY


def test_the_cause_is_visible_when_the_vector_fires(driver: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that runs at once must find why."""
    seen = []
    monkeypatch.setattr(driver.fake, "vector_post", lambda vector: seen.append(driver.device.registers.read(INTCAUSE).raw))
    driver.device.interrupts.raise_cause(InterruptCause.CMD)
    assert seen == [InterruptCause.CMD]


@pytest.mark.parametrize("int_req", [False, True])
def test_command_completion_interrupts_on_request(driver: MockDriver, int_req: bool) -> None:
    """INTCAUSE.cmd belongs to CMD.int_req alone, and comes after active fell."""
    driver.command(Command.DRAIN_ALL, int_req=int_req)
    assert driver.read(INTCAUSE).cmd == int_req
    assert driver.fake.signalled(0) == int_req


def test_active_has_fallen_when_the_command_interrupt_comes(driver: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiter believes CMDSTS, not the cause: it must not see active = 1 after the interrupt."""
    seen = []
    monkeypatch.setattr(driver.fake, "vector_post", lambda vector: seen.append(driver.device.registers.read(CMDSTS).active))
    driver.command(Command.DRAIN_ALL, int_req=True)
    assert seen == [False]


def test_a_masked_entry_pends_and_is_sent_on_unmask(driver: MockDriver) -> None:
    """PCI Express: nothing is lost behind a mask, PBA shows it, and opening the mask sends it once."""
    driver.change(MSIX, 0, masked=True)
    driver.command(Command.DRAIN_ALL, int_req=True)
    assert driver.read(PBA).pending == 1
    assert driver.fake.signalled(0) == 0
    assert driver.read(INTCAUSE).cmd, "the cause does not care about the mask"
    driver.change(MSIX, 0, masked=False)
    assert driver.read(PBA).pending == 0
    assert driver.fake.signalled(0) == 1


def test_pending_bits_the_engine_set_show_up(driver: MockDriver) -> None:
    """Completion interrupts of a masked entry are raised by the engine, behind the device loop's back."""
    driver.change(MSIX, 3, masked=True)
    driver.fake.vectors[3].pending = True
    driver.settle()
    assert driver.read(PBA).pending == 1 << 3


def test_pending_bits_follow_the_mask_at_once(driver: MockDriver) -> None:
    """The driver's read waits for its own write to be applied, not for the end of the device's turn."""
    driver.change(MSIX, 3, masked=True)
    driver.fake.vectors[3].pending = True
    registers = driver.device.registers
    registers.bus_write(0x2000 + 16 * 3 + 12, 4, 1)
    assert registers.read(PBA).pending == 1 << 3
    registers.bus_write(0x2000 + 16 * 3 + 12, 4, 0)
    assert registers.read(PBA).pending == 0


def test_reset_device_forgets_pending_bits_and_keeps_the_table(driver: MockDriver) -> None:
    """Registers.md section 9: PBA is cleared, the MSI-X table is not."""
    driver.write(MSIX.encode(address=0xFEE00000, message=0x33, masked=True), 3)
    driver.fake.vectors[3].pending = True
    driver.settle()
    assert driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert driver.read(PBA).pending == 0
    assert driver.read(MSIX, 3) == MSIX.encode(address=0xFEE00000, message=0x33, masked=True)
    assert driver.fake.vectors[3].masked
    driver.change(MSIX, 3, masked=False)
    assert driver.fake.signalled(3) == 0


def test_a_platform_may_leave_the_table_masked() -> None:
    """As after power-on, before any PCI layer has opened it."""
    with MockDriver(replace(DSA2, platform=replace(DSA2.platform, msix_masked=True))) as driver:
        assert driver.read(MSIX, 8).masked
        driver.command(Command.DRAIN_ALL, int_req=True)
        assert driver.fake.signalled(0) == 0


def test_without_bus_master_no_message_leaves(driver: MockDriver) -> None:
    """MSI-X messages are memory writes of the device."""
    driver.device.set_platform(bus_master=False)
    driver.command(Command.DRAIN_ALL, int_req=True)
    assert driver.fake.signalled(0) == 0
    assert driver.read(PBA).pending == 1
    driver.device.set_platform(bus_master=True)
    assert driver.fake.signalled(0) == 1


def test_handles_are_requested_used_and_released(driver: MockDriver) -> None:
    """Handle = table index; the engine knows a handle from request to release, with its entry's permission."""
    driver.write(MSIXPERM.encode(pasid_en=True, pasid=7), 2)
    assert driver.fake.handles[0, 2] is None
    assert driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
    assert driver.read(CMDSTS).result == 2
    assert driver.fake.handles[0, 2] == {"vector": 2, "pasid_en": True, "pasid": 7, "ignore": False}
    driver.write(MSIXPERM.encode(ignore=True), 2)
    assert driver.fake.handles[0, 2] == {"vector": 2, "pasid_en": False, "pasid": 0, "ignore": True}
    assert driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS, "the same one again (REV-04)"
    assert driver.command(Command.RELEASE_INT_HANDLE, 2) is CmdErr.SUCCESS
    assert driver.fake.handles[0, 2] is None
    assert driver.command(Command.RELEASE_INT_HANDLE, 2) is CmdErr.INVAL_INT_IDX


@pytest.mark.parametrize("command", [Command.REQUEST_INT_HANDLE, Command.RELEASE_INT_HANDLE])
@pytest.mark.parametrize("operand", [9, 0xFFFF, 1 << 16, 1 << 16 | 3])
def test_entries_that_do_not_exist_have_no_handle(driver: MockDriver, command: Command, operand: int) -> None:
    """9 MSI-X entries, no IMS table: 0x41, and no result beside the error (Linux compares the whole word)."""
    assert driver.command(command, operand) is CmdErr.INVAL_INT_IDX
    assert driver.read(CMDSTS).raw == CmdErr.INVAL_INT_IDX


def test_handles_can_run_out() -> None:
    """0x42, and a release makes room."""
    with MockDriver(replace(DSA2, int_handles_max=1)) as driver:
        assert driver.command(Command.REQUEST_INT_HANDLE, 1) is CmdErr.SUCCESS
        assert driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.NO_HANDLE
        assert driver.read(CMDSTS).raw == CmdErr.NO_HANDLE
        assert driver.command(Command.RELEASE_INT_HANDLE, 1) is CmdErr.SUCCESS
        assert driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS


def test_handles_survive_reset_and_permissions_do_not(driver: MockDriver) -> None:
    """Registers.md section 5 and section 9."""
    driver.write(MSIXPERM.encode(pasid_en=True, pasid=7), 2)
    driver.command(Command.REQUEST_INT_HANDLE, 2)
    assert driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert driver.read(MSIXPERM, 2).raw == 0
    assert driver.fake.handles[0, 2] == {"vector": 2, "pasid_en": False, "pasid": 0, "ignore": False}


def test_vectors_are_tied_to_their_semaphore() -> None:
    """Entry n of device d is global vector 32 d + n."""
    names = [f"/name.{entry}" for entry in range(9)]
    with MockDriver(index=2, semaphores=names) as driver:
        assert {vector: state.semaphore for vector, state in driver.fake.vectors.items()} == {
            64 + entry: name for entry, name in enumerate(names)
        }
    with pytest.raises(ValueError, match="8 semaphores given, profile has 9 vectors"):
        MockDriver(semaphores=names[:8])


class Occupied:
    """A dsa2 device with a published page, on which WQ 0 holds `entries`."""

    def __init__(self) -> None:
        self.published = bytearray(native.LAYOUT["published_device"])
        self.driver = MockDriver(published=self.published)

    def hold(self, entries: int) -> None:
        at = native.LAYOUT["published_device.wq"] + native.LAYOUT["wq_statistics.occupancy"]
        self.published[at : at + 4] = entries.to_bytes(4, "little")
        self.driver.settle()


@pytest.mark.parametrize("entry", [0, 4])
def test_the_occupancy_interrupt(entry: int) -> None:
    """At or below the limit, once, until acknowledged; entry 0 is explained in INTCAUSE, another raises its own vector."""
    occupied = Occupied()
    with occupied.driver as driver:
        driver.command(Command.REQUEST_INT_HANDLE, entry)
        occupied.hold(9)
        driver.enable(DEDICATED | {"occupancy_inth": entry, "occupancy_limit": 3, "occupancy_int_en": 1})
        assert driver.device.needs_ticks
        assert driver.read(WQCFG, 0).occupancy == 9
        occupied.hold(4)
        assert not driver.read(WQCFG, 0).occupancy_int_generated
        occupied.hold(3)
        assert driver.read(WQCFG, 0).occupancy_int_generated
        assert (driver.fake.signalled(entry), driver.read(INTCAUSE).occupancy) == (1, entry == 0)
        assert not driver.device.needs_ticks
        driver.fake.handled(entry)
        occupied.hold(2)
        assert driver.fake.signalled(entry) == 1, "not again before it is acknowledged"
        driver.mmio.write32(0x800 + 24, 1 << 16)
        driver.settle()
        assert driver.fake.signalled(entry) == 2, "evaluated again when acknowledged"
        assert driver.read(WQCFG, 0).wq_state is WqState.ENABLED


def test_arming_below_the_limit_fires_at_once() -> None:
    """Setting the enable with occupancy at or below the limit does not wait for a change."""
    with Occupied().driver as driver:
        driver.command(Command.REQUEST_INT_HANDLE, 4)
        driver.enable(DEDICATED | {"occupancy_inth": 4, "occupancy_limit": 0})
        driver.mmio.write32(0x800 + 20, 1 << 16)
        driver.settle()
        assert driver.fake.signalled(4) == 1


def test_occupancy_of_a_disabled_wq_is_zero() -> None:
    """What the engine last counted there is history."""
    occupied = Occupied()
    with occupied.driver as driver:
        occupied.hold(5)
        assert driver.read(WQCFG, 0).occupancy == 0
        driver.enable(DEDICATED)
        driver.settle()
        assert driver.read(WQCFG, 0).occupancy == 5


def test_changes_of_pci_configuration_halt_a_running_device(driver: MockDriver) -> None:
    """0x51 in SWERR even if it cannot be signalled, Halt, an FLR needed (registers.md 1.2)."""
    driver.enable(DEDICATED)
    driver.device.set_platform(bus_master=False)
    swerr = driver.read(SWERR)
    assert (swerr.valid, swerr.error, swerr.desc_valid) == (1, 0x51, 0)
    assert driver.mmio.read32(0x90) == 3 | ResetType.FLR << 2
    assert driver.fake.asked("wq_stop")[-1] == {"wqs": list(range(8)), "how": 1, "reason": 3}
    driver.write(CMD.encode(command=Command.RESET_DEVICE))
    assert driver.read(CMDSTS).error == CmdErr.DEV_HALTED


@pytest.mark.parametrize("switch", ["bus_master", "pasid", "privileged_mode", "ats", "prs"])
def test_a_disabled_device_does_not_mind_pci_changes(driver: MockDriver, switch: str) -> None:
    """Only a device that is not Disabled halts."""
    driver.device.set_platform(**{switch: False})
    assert driver.mmio.read32(0x90) == 0
    assert not driver.read(SWERR).valid


@pytest.mark.parametrize("enabled", [False, True])
def test_halt_is_announced_if_its_gate_is_open(driver: MockDriver, enabled: bool) -> None:
    """GENCTRL.halt_int_en decides about bit 4."""
    driver.write(GENCTRL.encode(halt_int_en=enabled))
    driver.enable(DEDICATED)
    driver.device.halt(ResetType.SOFTWARE)
    assert driver.read(INTCAUSE).halt == enabled
    assert not driver.device.wq_accepts(0)
