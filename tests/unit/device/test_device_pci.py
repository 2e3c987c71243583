"""PCI configuration space: what a bus driver reads there, and what its switches do to a device (registers.md 1.1, 1.2)."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from idxdd.device.pciconfig import named
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType
from idxdd.spec.layout import Access, PciRegister
from idxdd.spec.pci import ATSCAP, DEVCTL, MSIXCAP, PASIDCAP, PCI_CONFIG, PCICMD, PCIID, PRSCAP
from idxdd.spec.registers import GENCTRL, GENSTS, INTCAUSE, SWERR
from idxdd.testing.mock_driver import DEDICATED, MockDriver
from idxdd.testing.profiles import DSA2

SWITCHES: list[tuple[type[PciRegister], str, str]] = [
    (PCICMD, "bus_master", "bus_master"),
    (ATSCAP, "enable", "ats"),
    (PASIDCAP, "enable", "pasid"),
    (PASIDCAP, "privileged_mode_en", "privileged_mode"),
    (PRSCAP, "enable", "prs"),
]
"""Register, field, and what it switches."""


@pytest.fixture
def driver() -> Iterator[MockDriver]:
    with MockDriver() as made:
        yield made


def switch(driver: MockDriver, register: type[PciRegister], **fields: int) -> None:
    pci = driver.device.pci
    pci.write(pci.read(register).replace(**fields))
    driver.settle()


def test_it_starts_as_the_profile_says(driver: MockDriver) -> None:
    """What a bus driver finds: memory space and bus mastering on, capabilities in a chain that ends."""
    pci = driver.device.pci
    assert (pci.read(PCIID).vendor, pci.read(PCIID).device) == (0x8086, 0x0B25)
    assert (pci.read(PCICMD).memory_space, pci.read(PCICMD).bus_master) == (1, 1)
    assert [getattr(pci.read(register), field) for register, field, _ in SWITCHES] == [1] * 5
    assert (pci.read(PRSCAP).capacity, pci.read(PRSCAP).allocation) == (512, 512)
    assert pci.read(MSIXCAP).table_size == 8
    with MockDriver(replace(DSA2, vectors=17, platform=replace(DSA2.platform, prs=False, ats=False))) as other:
        assert other.device.pci.read(MSIXCAP).table_size == 16
        assert (other.device.pci.read(PRSCAP).enable, other.device.pci.read(ATSCAP).enable) == (0, 0)


@pytest.mark.parametrize(("register", "field", "name"), SWITCHES, ids=[name for _, _, name in SWITCHES])
def test_a_switch_halts_a_device_that_runs(driver: MockDriver, register: type[PciRegister], field: str, name: str) -> None:
    """SWERR 0x51 and Halt with a function reset needed; the reset brings the switch back."""
    driver.write(GENCTRL.encode(softerr_int_en=True, halt_int_en=True))
    driver.enable(DEDICATED)
    switch(driver, register, **{field: 0})
    assert getattr(driver.device.platform, name) is False
    assert driver.read(GENSTS) == GENSTS.encode(state=DeviceState.HALT, reset_type=ResetType.FLR)
    assert driver.read(SWERR).error == 0x51
    causes = driver.read(INTCAUSE)
    assert (causes.err, causes.halt) == (1, 1)
    assert driver.command(Command.RESET_DEVICE) is CmdErr.DEV_HALTED
    switch(driver, DEVCTL, initiate_flr=1)
    assert driver.read(GENSTS).state is DeviceState.DISABLED
    assert getattr(driver.device.pci.read(register), field) == 1
    assert driver.device.pci.read(DEVCTL).initiate_flr == 0


@pytest.mark.parametrize(
    ("register", "fields", "code"),
    [
        (PCICMD, {"bus_master": 0}, CmdErr.BUS_MASTER_OFF),
        (PRSCAP, {"allocation": 0}, CmdErr.PRS_ALLOC_ERANGE),
        (PRSCAP, {"allocation": 513}, CmdErr.PRS_ALLOC_ERANGE),
    ],
)
def test_a_disabled_device_does_not_mind_until_it_is_enabled(
    driver: MockDriver, register: type[PciRegister], fields: dict[str, int], code: CmdErr
) -> None:
    """No halt; Enable Device finds it (registers.md 8.1)."""
    driver.configure(DEDICATED)
    switch(driver, register, **fields)
    assert driver.read(GENSTS).state is DeviceState.DISABLED
    assert not driver.read(SWERR).valid
    assert driver.command(Command.ENABLE_DEVICE) is code


def test_the_same_value_changes_nothing(driver: MockDriver) -> None:
    """A bus driver reads, changes one bit and writes all of it back."""
    driver.enable(DEDICATED)
    for register in PCI_CONFIG:
        if register is not DEVCTL:
            driver.device.pci.write(driver.device.pci.read(register))
    assert driver.read(GENSTS).state is DeviceState.ENABLED


@pytest.mark.parametrize("register", PCI_CONFIG, ids=lambda register: register.__name__)
def test_read_only_bits_stay(driver: MockDriver, register: type[PciRegister]) -> None:
    """All ones, then all zeros: what may not be written is as it was, reserved bits read 0."""
    pci = driver.device.pci
    fixed = sum(field.mask for field in register.fields.values() if field.access is not Access.RW)
    before = pci.read(register).raw
    for value in ((1 << 8 * register.width_bytes) - 1, 0):
        if register is not DEVCTL:
            pci.write(register(value & register.defined_mask() | before & ~register.defined_mask()))
        assert pci.read(register).raw & fixed == before & fixed


def test_registers_go_by_name() -> None:
    """As the manual writes them."""
    assert named("PCICMD") is PCICMD
    assert named("GENCAP") is None
