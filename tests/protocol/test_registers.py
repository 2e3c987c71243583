"""What a bus write may change: the register file against a small model written from the manual's tables, not from spec."""

from collections.abc import Iterator

import pytest
from device_model import CMD, DeviceModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType
from idxdd.spec.registers import (
    CMDCAP,
    EVLSTATUS,
    GENCAP,
    GRPCAP,
    GRPCFG,
    INTCAUSE,
    OFFSETS,
    OPCAP,
    SWERR,
    VERSION,
    WQCAP,
    WQCFG,
)
from idxdd.testing.mock_driver import DEDICATED, MockDriver
from idxdd.testing.profiles import DSA1

OFFSETS_OF_INTEREST = [
    *range(0, 0x110, 4),
    *range(0x178, 0x198, 4),
    *range(0x400, 0x450, 4),
    *range(0x600, 0x710, 4),
    *range(0x800, 0xA10, 4),
    *range(0x2000, 0x20A0, 4),
    *(0x3000, 0x3004, 0xE000, 0xE004, 0xF000, 0xFFFC, 0x10000, -4),
]


@st.composite
def writes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Mostly aligned writes near registers, some nonsense."""
    width = draw(st.sampled_from([1, 2, 4, 4, 4, 8, 8, 3, 0, 16]))
    offset = draw(st.sampled_from(OFFSETS_OF_INTEREST)) + draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4]))
    value = draw(st.one_of(st.just((1 << 64) - 1), st.just(0), st.integers(0, (1 << 64) - 1)))
    return offset, width, value & (1 << 8 * width) - 1 if width else 0


def prepared(state: DeviceState) -> MockDriver:
    """A device in `state` with WQs 0 and 1 configured; unless Disabled, WQ 0 enabled."""
    driver = MockDriver()
    driver.configure(DEDICATED, DEDICATED)
    if state is DeviceState.DISABLED:
        return driver
    assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
    assert driver.command(Command.ENABLE_WQ, 0) is CmdErr.SUCCESS
    if state is DeviceState.HALT:
        driver.device.halt(ResetType.FLR)
    return driver


@pytest.mark.parametrize("state", [DeviceState.DISABLED, DeviceState.ENABLED, DeviceState.HALT])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(writes(), min_size=1, max_size=60), causes=st.integers(0, (1 << 32) - 1))
def test_any_sequence_of_writes_changes_what_the_manual_says(
    state: DeviceState, sequence: list[tuple[int, int, int]], causes: int
) -> None:
    """Whatever a driver writes, read-only bits, locked fields and reserved bits stay; W1C clears exactly the ones written."""
    with prepared(state) as driver:
        registers = driver.device.registers
        registers.write(INTCAUSE(causes & 0x8000_003F))
        registers.write(SWERR(causes & 3 | causes << 100))
        registers.set(EVLSTATUS, tail=causes & 0xFFFF, int_pending=causes & 1)
        registers.set(WQCFG, 3, occupancy_int_generated=causes >> 1 & 1)
        model = DeviceModel(bytearray(driver.bar0))
        for offset, width, value in sequence:
            if offset & ~7 == CMD:
                continue  # commands: test_commands.py
            registers.bus_write(offset, width, value)
            model.write(offset, width, value)
        differences = [at for at in range(0, 0x10000, 4) if driver.bar0[at : at + 4] != model.bar0[at : at + 4]]
        assert [f"{at:#x}: {driver.bar0[at : at + 4].hex()} model {model.bar0[at : at + 4].hex()}" for at in differences] == []


@pytest.fixture
def driver() -> Iterator[MockDriver]:
    with MockDriver() as made:
        yield made


def test_capabilities_of_dsa2(driver: MockDriver) -> None:
    """The raw words, decoded by hand: a driver's whole behaviour hangs on them."""
    assert driver.read(VERSION).raw == 0x200
    # 31 config, 24:21 = 10, 20:16 = 31, batch continuation, evl 1, fault info, crc64, fill16, readbacks, cmd_cap, 2:0
    assert driver.read(GENCAP).raw == 1 << 31 | 10 << 21 | 31 << 16 | 1 << 15 | 1 << 13 | 0b11111 << 8 | 1 << 7 | 1 << 4 | 0b111
    assert driver.read(WQCAP).raw == 0xFF << 48 | 1 << 24 | 8 << 16 | 128
    assert driver.read(GRPCAP).raw == 0b11 << 16 | 96 << 8 | 4
    assert driver.mmio.read32(0x38) == 4
    assert driver.read(OPCAP).raw == 0x1_00BF_07FF
    assert driver.read(OFFSETS).raw == 0x10 << 64 | 0x4 << 32 | 0x8 << 16 | 0x6
    assert driver.read(CMDCAP).raw == 0x7FFE
    assert [driver.mmio.read64(at) for at in (0x100, 0x180, 0x188, 0x190)] == [0, 0, 0, 0]


def test_capabilities_of_dsa1() -> None:
    """First generation: no event log, no command capabilities, 32-byte WQCFG, only its operations."""
    with MockDriver(DSA1) as driver:
        assert driver.read(VERSION).raw == 0x100
        assert driver.read(GENCAP).raw == 1 << 31 | 10 << 21 | 31 << 16 | 1 << 8 | 0b111
        assert driver.read(WQCAP).raw == 0x3F << 48 | 8 << 16 | 128
        assert driver.read(CMDCAP).raw == 0
        for offset in (0xE0, 0xE8, 0xF0, 0xB0, 0x100, 0x108, 0x820 + 7 * 32):
            driver.device.registers.bus_write(offset, 8, (1 << 64) - 1)
            assert driver.mmio.read64(offset) == 0, f"{offset:#x} does not exist here"
        driver.write(WQCFG(0xFFFF), 1)
        assert driver.mmio.read32(0x800 + 32) == 0xFFFF, "entries are 32 bytes apart"


def test_reset_values(driver: MockDriver) -> None:
    """What is not zero after power-on."""
    assert driver.mmio.read32(0x80) == 96
    assert driver.read(GRPCFG, 3).raw == 96 << 340, "rdbufs_allowed = all of them"
    assert driver.read(WQCFG, 7).raw == 0x1_00BF_07FF << 256, "op_config = OPCAP"
    rest = [at for at in range(0x80, 0xE0, 4) if driver.mmio.read32(at)]
    assert rest == [0x80, 0xB0]
    assert not any(driver.bar0[0x2000:0x10000]), "MSI-X open, nothing pending, no portal answers"


def test_the_threshold_of_an_enabled_wq_reaches_the_engine(driver: MockDriver) -> None:
    """wq_thresh is the one field of an enabled WQ that software may change; the device must act on it."""
    driver.enable(DEDICATED)
    driver.change(WQCFG, 0, wq_thresh=5)
    assert driver.fake.asked("wq_threshold") == [{"wq": 0, "threshold": 5}]
    driver.change(WQCFG, 0, wq_thresh=5)
    driver.change(WQCFG, 1, wq_thresh=7)
    assert len(driver.fake.asked("wq_threshold")) == 1, "unchanged, or not enabled: nothing to tell"


def test_the_occupancy_limit_may_change_in_the_write_that_enables(driver: MockDriver) -> None:
    """Limit and enable share a dword: set together both are taken, afterwards the limit is locked, clearing unlocks."""
    at = 0x800 + 20
    for written, expected in ((0x1_0005, 0x1_0005), (0x1_0009, 0x1_0005), (0x0_0009, 0x0_0005), (0x0_0009, 0x0_0009)):
        driver.mmio.write32(at, written)
        assert driver.mmio.read32(at) == expected


def test_ignored_writes_are_counted(driver: MockDriver) -> None:
    """A driver that writes what it may not gets no error; the count is how its author finds out."""
    refused = [(0x00, 4), (0x90, 4), (0x94, 4), (0x81, 2), (0x10000, 4), (0xF000, 8), (0x82, 4), (0x3000, 8), (0x824, 0)]
    for count, (offset, width) in enumerate(refused, 1):
        driver.device.registers.bus_write(offset, width, 1)
        assert driver.device.registers.ignored == count, f"{offset:#x}, {width} bytes"
    driver.device.registers.bus_write(0x88, 8, 1)
    assert driver.device.registers.ignored == len(refused), "one half of it was taken"


def test_bus_reads_of_every_width(driver: MockDriver) -> None:
    """Reads have no side effect and no width of their own."""
    registers = driver.device.registers
    assert [registers.bus_read(0x10, width) for width in (1, 2, 4, 8)] == [
        int.from_bytes(driver.bar0[0x10 : 0x10 + width], "little") for width in (1, 2, 4, 8)
    ]
    assert registers.bus_read(0x11, 2) == 0xFFFF
    assert registers.bus_read(0x10000, 4) == 0xFFFF_FFFF
