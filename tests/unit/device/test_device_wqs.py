"""What Enable WQ hands to the engine, what survives which reset, and the event log's status."""

from dataclasses import replace

import pytest

from idxdd.device.registerfile import RegisterFile
from idxdd.device.state import DEVICE_MOVES, WQ_MOVES, change_device, change_wq
from idxdd.spec.codes import CmdErr, Command, DeviceState, Opcode, ResetType, WqMode, WqState
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCFG, GENCTRL, GENSTS, GRPCFG, INTCAUSE, MSIXPERM, WQCFG
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA2

QWORD = (1 << 64) - 1


def test_the_engine_gets_the_configuration_of_the_registers() -> None:
    """Every argument from its register field; numbers are global."""
    profile = replace(DSA2, platform=replace(DSA2.platform, privileged_mode=True))
    with MockDriver(profile, index=1) as driver:
        driver.change(GENCFG, user_int_en=True)
        driver.change(
            WQCFG,
            5,
            wq_size=40,
            wq_thresh=33,
            mode=WqMode.DEDICATED,
            bof=1,
            priority=7,
            pasid=0xABCDE,
            pasid_en=1,
            priv=1,
            max_xfer_shift=20,
            max_batch_shift=3,
            op_config=1 << Opcode.NOOP | 1 << Opcode.COPY_CRC,
        )
        driver.change(GRPCFG, 2, wqs=1 << 5, engines=1 << 3)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        assert driver.command(Command.ENABLE_WQ, 5) is CmdErr.SUCCESS
        assert driver.fake.asked("wq_enable") == [
            {
                "wq": 16 + 5,
                "group": 16 + 2,
                "dedicated": True,
                "size": 40,
                "threshold": 33,
                "priority": 7,
                "gencap": driver.mmio.read64(0x10),
                "opcfg": [1 | 1 << 0x11, 0, 0, 0],
                "max_xfer_shift": 20,
                "max_batch_shift": 3,
                "bof": True,
                "pasid_en": True,
                "pasid": 0xABCDE,
                "priv": True,
                "user_int_en": True,
                "privileged_mode": True,
                "tc_enabled": 3,
                "evl_en": False,
                "evl_drains": False,
                "idcap": 0,
                "engines": 1 << 3,
            }
        ]


def test_shared_without_privileges() -> None:
    """The other value of each switch."""
    profile = replace(DSA2, platform=replace(DSA2.platform, privileged_mode=False), priority=False, op_config=False)
    with MockDriver(profile) as driver:
        driver.enable(SHARED | {"priority": 0})
        (asked,) = driver.fake.asked("wq_enable")
        expected = {"dedicated": False, "privileged_mode": False, "user_int_en": False, "bof": False, "priv": False}
        assert {name: asked[name] for name in expected} == expected
        assert asked["priority"] == 1, "0 would never be dispatched"
        assert asked["opcfg"] == [driver.device.profile.opcap & QWORD, 0, 0, 0], "without op_config every WQ follows OPCAP"


@pytest.mark.parametrize(
    ("ats", "wq_ats_disable", "allowed"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_translation_fetch_needs_ats(ats: bool, wq_ats_disable: bool, allowed: bool) -> None:
    """Off for the device or for the WQ, the engine is told to answer 0x10; nothing else is taken away."""
    profile = replace(DSA2, platform=replace(DSA2.platform, ats=ats, prs=ats))
    with MockDriver(profile) as driver:
        driver.enable(DEDICATED | {"op_config": profile.opcap, "wq_ats_disable": wq_ats_disable})
        (asked,) = driver.fake.asked("wq_enable")
        assert asked["opcfg"][0] == (profile.opcap if allowed else profile.opcap & ~(1 << Opcode.TRANSL_FETCH))


@pytest.mark.parametrize("evl_en", [False, True])
def test_enable_device_clears_the_event_log_status_if_the_log_is_on(driver: MockDriver, evl_en: bool) -> None:
    """Head, tail and int_pending start at 0 with a log that is switched on, and are left alone otherwise."""
    driver.write(EVLCFG.encode(log_size=64, log_base=0x1000))
    driver.change(GENCFG, evl_en=evl_en)
    driver.device.registers.write(EVLSTATUS.encode(head=3, tail=5, int_pending=True))
    driver.enable(DEDICATED)
    assert driver.read(EVLSTATUS) == (EVLSTATUS(0) if evl_en else EVLSTATUS.encode(head=3, tail=5, int_pending=True))


def test_what_reset_device_clears_and_keeps(driver: MockDriver) -> None:
    """Registers.md section 9, register by register."""
    driver.write(EVLCFG.encode(log_size=64, log_base=0x1000))
    driver.change(GENCFG, rdbuf_limit=5, user_int_en=True)
    driver.write(GENCTRL(7))
    driver.write(MSIXPERM.encode(pasid_en=True, pasid=3), 4)
    driver.mmio.write32(0xE000, 0x1234)
    driver.mmio.write32(0xF0, 9)
    driver.enable(DEDICATED, SHARED)
    driver.command(Command.DRAIN_ALL, int_req=True)
    assert driver.read(INTCAUSE).cmd
    assert driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert driver.read(GENCFG).raw == 96
    assert [driver.read(register).raw for register in (GENCTRL, INTCAUSE, EVLCFG)] == [0, 0, 0]
    assert driver.read(MSIXPERM, 4).raw == 0
    assert driver.mmio.read32(0xE000) == 0
    assert driver.read(EVLSTATUS).head == 9, "kept"
    assert [driver.read(GRPCFG, group).raw for group in range(4)] == [96 << 340] * 4
    assert [driver.read(WQCFG, wq).raw for wq in range(8)] == [DSA2.opcap << 256] * 8


def test_reset_reports_itself_after_clearing_the_causes(driver: MockDriver) -> None:
    """Its own completion must survive the clearing of INTCAUSE it does."""
    assert driver.command(Command.RESET_DEVICE, int_req=True) is CmdErr.SUCCESS
    assert driver.read(INTCAUSE).raw == 2


def test_illegal_moves_are_mistakes_of_ours() -> None:
    """Each pair outside the tables asserts, each inside is taken: a wrong transition never reaches a register."""
    for before in DeviceState:
        for after in DeviceState:
            registers = RegisterFile(bytearray(0x10000), DSA2)
            registers.write(GENSTS.encode(state=before))
            if (before, after) in DEVICE_MOVES:
                change_device(registers, after, ResetType.FLR)
            else:
                with pytest.raises(AssertionError):
                    change_device(registers, after)
    for old in WqState:
        for new in WqState:
            registers = RegisterFile(bytearray(0x10000), DSA2)
            registers.set(WQCFG, 0, wq_state=old)
            if (old, new) in WQ_MOVES:
                change_wq(registers, 0, new)
            else:
                with pytest.raises(AssertionError):
                    change_wq(registers, 0, new)
