"""Enable Device and Enable WQ: each rule broken alone, through registers, gives its own code (registers.md 8.1, 8.2)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from idxdd.device.config import DEVICE_RULES, WQ_RULES
from idxdd.device.profile import Profile
from idxdd.spec.codes import CmdErr, Command, DeviceState, WqState
from idxdd.spec.registers import EVLCFG, GENCFG, GENSTS, GRPCFG, WQCFG
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA1, DSA2

Breaks = Callable[[MockDriver], None]


def platform(**switches: bool | int) -> Breaks:
    return lambda driver: driver.device.set_platform(**switches)


def group(index: int, **fields: object) -> Breaks:
    return lambda driver: driver.change(GRPCFG, index, **fields)


def wq(index: int, **fields: object) -> Breaks:
    return lambda driver: driver.change(WQCFG, index, **fields)


def both(*steps: Breaks) -> Breaks:
    def run(driver: MockDriver) -> None:
        for step in steps:
            step(driver)

    return run


def log(size: int, base: int = 0x1000, **fields: object) -> Breaks:
    def run(driver: MockDriver) -> None:
        driver.change(GENCFG, evl_en=True)
        driver.write(EVLCFG.encode(log_size=size, log_base=base, **fields))

    return run


def limit(value: int) -> Breaks:
    return lambda driver: driver.change(GENCFG, rdbuf_limit=value)


def evlcfg(**fields: object) -> Breaks:
    return lambda driver: driver.write(EVLCFG.encode(**fields))


NO_LIMIT = replace(DSA2, rdbuf_limit=False)
LIMITS = replace(DSA2, progress_limit=True, bandwidth_limit=True)
NEEDS_ATS = replace(DSA2, platform=replace(DSA2.platform, ats_required=True))
NO_ATS = replace(DSA2, platform=replace(DSA2.platform, ats_supported=False))

DEVICE_CASES: list[tuple[str, CmdErr, Profile, Breaks]] = [
    ("bus master off", CmdErr.BUS_MASTER_OFF, DSA2, platform(bus_master=False)),
    ("prs without allocation", CmdErr.PRS_ALLOC_ERANGE, DSA2, platform(prs_allocation=0)),
    ("prs allocation above capacity", CmdErr.PRS_ALLOC_ERANGE, DSA2, platform(prs_allocation=513)),
    ("ats required and off", CmdErr.ATS_CONFIG, NEEDS_ATS, platform(ats=False)),
    ("ats on and not supported", CmdErr.ATS_CONFIG, NO_ATS, platform()),
    ("log pasid without pasid", CmdErr.PASID_PRIV_CONFIG, DSA2, both(platform(pasid=False), evlcfg(pasid_en=True))),
    ("log priv without log pasid", CmdErr.PASID_PRIV_CONFIG, DSA2, evlcfg(priv=True)),
    (
        "log priv without privileged mode",
        CmdErr.PASID_PRIV_CONFIG,
        DSA2,
        both(platform(privileged_mode=False), evlcfg(priv=True, pasid_en=True)),
    ),
    ("log too small", CmdErr.EVL_CONFIG, DSA2, log(63)),
    ("log beyond the address space", CmdErr.EVL_CONFIG, DSA2, log(65, base=(1 << 64) - 4096)),
    ("more entries than the device has", CmdErr.WQ_SIZE_SUM_ERANGE, DSA2, wq(1, wq_size=113)),
    ("group with WQs only", CmdErr.GROUP_CONFIG, DSA2, both(group(0, wqs=1), group(1, wqs=2))),
    ("group with engines only", CmdErr.GROUP_CONFIG, DSA2, group(1, engines=2)),
    ("WQ in no group", CmdErr.GROUP_WQ_CONFIG, DSA2, group(0, wqs=1)),
    ("WQ in two groups", CmdErr.GROUP_WQ_CONFIG, DSA2, group(1, wqs=2, engines=2)),
    ("WQ without size in a group", CmdErr.GROUP_WQ_CONFIG, DSA2, group(0, wqs=7)),
    ("WQ that does not exist", CmdErr.GROUP_WQ_CONFIG, DSA2, group(0, wqs=3 | 1 << 8)),
    ("engine in two groups", CmdErr.GROUP_ENGINE_CONFIG, DSA2, both(group(0, wqs=1), group(1, wqs=2, engines=1))),
    ("engine that does not exist", CmdErr.GROUP_ENGINE_CONFIG, DSA2, group(0, engines=1 | 1 << 4)),
    ("limit used and not supported", CmdErr.RDBUF_CONFIG, NO_LIMIT, group(0, use_rdbuf_limit=True)),
    ("limit above the total", CmdErr.RDBUF_CONFIG, DSA2, limit(97)),
    ("limit below 4 an engine", CmdErr.RDBUF_CONFIG, DSA2, both(group(0, use_rdbuf_limit=True, engines=3), limit(7))),
    ("reserved above the total", CmdErr.RDBUF_CONFIG, DSA2, group(0, rdbufs_reserved=97, rdbufs_allowed=97)),
    ("allowed below 4 an engine", CmdErr.RDBUF_CONFIG, DSA2, group(0, engines=3, rdbufs_allowed=7)),
    ("allowed below reserved", CmdErr.RDBUF_CONFIG, DSA2, group(0, rdbufs_reserved=9, rdbufs_allowed=8)),
    ("allowed above what others leave", CmdErr.RDBUF_CONFIG, DSA2, group(0, rdbufs_allowed=97)),
    ("bandwidth limit not supported", CmdErr.RDBUF_CONFIG, DSA2, group(0, read_bandwidth_limit=1)),
    ("bandwidth limit reserved value", CmdErr.RDBUF_CONFIG, LIMITS, group(0, write_bandwidth_limit=4)),
    ("progress limit not supported", CmdErr.DEV_CONFIG, DSA2, group(0, work_descs_limit=1)),
]

DEVICE_GOOD: list[tuple[str, Profile, Breaks]] = [
    ("as configured", DSA2, platform()),
    ("first generation", DSA1, platform()),
    ("no paging service, no allocation", DSA2, platform(prs=False, prs_allocation=0)),
    ("ats off where nobody requires it", DSA2, platform(ats=False)),
    ("smallest log", DSA2, log(64)),
    ("log that ends with the address space", DSA2, log(64, base=(1 << 64) - 4096)),
    ("privileged log", DSA2, log(64, pasid_en=True, priv=True, pasid=1)),
    ("all entries", DSA2, wq(1, wq_size=112)),
    ("limit of exactly 4 an engine", DSA2, both(group(0, use_rdbuf_limit=True, engines=3), limit(8))),
    ("allowed exactly 4 an engine", DSA2, group(0, engines=3, rdbufs_allowed=8)),
    ("limits where they are supported", LIMITS, group(0, write_bandwidth_limit=3, batch_descs_limit=3)),
    ("two groups", DSA2, both(group(0, wqs=1), group(1, wqs=2, engines=2))),
]


@pytest.mark.parametrize(("code", "profile", "breaks"), [pytest.param(*case, id=name) for name, *case in DEVICE_CASES])
def test_enable_device_names_the_broken_rule(code: CmdErr, profile: Profile, breaks: Breaks) -> None:
    """The code is all a driver gets; a wrong one sends its author to the wrong register."""
    with MockDriver(profile) as driver:
        driver.configure(DEDICATED, DEDICATED)
        breaks(driver)
        assert driver.command(Command.ENABLE_DEVICE) is code
        assert driver.read(GENSTS).state is DeviceState.DISABLED


@pytest.mark.parametrize(("profile", "changes"), [pytest.param(*case, id=name) for name, *case in DEVICE_GOOD])
def test_enable_device_accepts_the_edges(profile: Profile, changes: Breaks) -> None:
    """The last legal value of each rule; with the cases above it pins every bound."""
    with MockDriver(profile) as driver:
        driver.configure(DEDICATED, DEDICATED)
        changes(driver)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        assert driver.read(GENSTS).state is DeviceState.ENABLED


def test_reserved_more_than_the_others_leave() -> None:
    """What one group reserves is missing for the other's maximum."""
    with MockDriver() as driver:
        driver.configure(DEDICATED, DEDICATED)
        driver.change(GRPCFG, 0, wqs=1, rdbufs_allowed=86)
        driver.change(GRPCFG, 1, wqs=2, engines=2, rdbufs_reserved=10)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        assert driver.command(Command.DISABLE_DEVICE) is CmdErr.SUCCESS
        driver.change(GRPCFG, 0, rdbufs_allowed=87)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.RDBUF_CONFIG


NO_SHARED = replace(DSA2, shared_mode=False)
NO_DEDICATED = replace(DSA2, dedicated_mode=False)
NO_PRIORITY = replace(DSA2, priority=False)
NO_BOF = replace(DSA2, block_on_fault=False)
NO_OP_CONFIG = replace(DSA2, op_config=False)
NO_OCCUPANCY = replace(DSA2, occupancy_int=False)
BATCH1 = replace(DSA2, batch1=True)
SMALL = replace(DSA2, max_xfer_shift=20, max_batch_shift=5)

WQ_CASES: list[tuple[str, CmdErr, Profile, Breaks]] = [
    ("no size", CmdErr.WQ_SIZE_ZERO, DSA2, lambda driver: None),
    ("shared not supported", CmdErr.WQ_MODE_UNSUPPORTED, NO_SHARED, wq(0, **SHARED)),
    ("dedicated not supported", CmdErr.WQ_MODE_UNSUPPORTED, NO_DEDICATED, wq(0, **DEDICATED)),
    ("no priority", CmdErr.WQ_PRIORITY_ZERO, DSA2, wq(0, **DEDICATED | {"priority": 0})),
    ("bof not supported", CmdErr.WQ_BOF, NO_BOF, wq(0, **DEDICATED | {"bof": 1})),
    ("bof without paging service", CmdErr.WQ_BOF, DSA2, both(platform(prs=False), wq(0, **DEDICATED | {"bof": 1}))),
    ("shared without pasid", CmdErr.WQ_PASID_EN, DSA2, wq(0, **SHARED | {"pasid_en": 0})),
    ("pasid while PCI has it off", CmdErr.WQ_PASID_EN, DSA2, both(platform(pasid=False), wq(0, **SHARED))),
    (
        "privileged without privileged mode",
        CmdErr.WQ_PRIV,
        DSA2,
        both(platform(privileged_mode=False), wq(0, **DEDICATED | {"pasid_en": 1, "priv": 1})),
    ),
    ("transfer limit above the device's", CmdErr.WQ_MAX_XFER_ERANGE, SMALL, wq(0, **DEDICATED)),
    ("batch limit of one", CmdErr.WQ_MAX_BATCH_ERANGE, DSA2, wq(0, **DEDICATED | {"max_batch_shift": 0})),
    ("batch limit above the device's", CmdErr.WQ_MAX_BATCH_ERANGE, DSA2, wq(0, **DEDICATED | {"max_batch_shift": 11})),
    ("sgl limit without sgl", CmdErr.WQ_MAX_BATCH_ERANGE, DSA2, wq(0, **DEDICATED | {"max_sgl_shift": 1})),
    ("occupancy interrupt by ims", CmdErr.WQ_OCCUPANCY_INT, DSA2, wq(0, **DEDICATED | {"occupancy_table_sel": 1})),
    ("occupancy handle not given", CmdErr.WQ_OCCUPANCY_INT, DSA2, wq(0, **DEDICATED | {"occupancy_int_en": 1})),
    ("occupancy index beyond the table", CmdErr.WQ_OCCUPANCY_INT, DSA1, wq(0, **DEDICATED | {"occupancy_inth": 9})),
    (
        "ats disable not supported",
        CmdErr.WQ_ATS_DISABLE,
        replace(DSA2, wq_ats_support=False),
        wq(0, **DEDICATED | {"wq_ats_disable": 1}),
    ),
    ("operation the device lacks", CmdErr.WQ_OP_CONFIG, DSA2, wq(0, **DEDICATED | {"op_config": 1 << 0x18})),
    ("prs disable without a log", CmdErr.WQ_PRS_DISABLE, DSA2, wq(0, **DEDICATED | {"wq_prs_disable": 1})),
    (
        "prs disable with bof",
        CmdErr.WQ_PRS_DISABLE,
        DSA2,
        both(log(64), wq(0, **DEDICATED | {"wq_prs_disable": 1, "bof": 1})),
    ),
    ("prs disable not supported", CmdErr.WQ_PRS_DISABLE, DSA1, wq(0, **DEDICATED | {"wq_prs_disable": 1})),
]

WQ_GOOD: list[tuple[str, Profile, Breaks]] = [
    ("dedicated", DSA2, wq(0, **DEDICATED)),
    ("shared, threshold 0", DSA2, wq(0, **SHARED | {"wq_thresh": 0})),
    ("priority where it is ignored", NO_PRIORITY, wq(0, **DEDICATED | {"priority": 0})),
    ("bof", DSA2, wq(0, **DEDICATED | {"bof": 1})),
    ("dedicated without pasid while PCI has it off", DSA2, both(platform(pasid=False), wq(0, **DEDICATED))),
    ("priv without pasid is ignored", DSA2, both(platform(privileged_mode=False), wq(0, **DEDICATED | {"priv": 1}))),
    ("batch of one where it is supported", BATCH1, wq(0, **DEDICATED | {"max_batch_shift": 0})),
    ("largest limits", DSA2, wq(0, **DEDICATED | {"max_batch_shift": 10, "max_xfer_shift": 31})),
    ("handle 0 nobody uses", DSA2, wq(0, **DEDICATED | {"occupancy_inth": 0})),
    ("last index of the table", DSA1, wq(0, **DEDICATED | {"occupancy_inth": 8})),
    ("occupancy fields where they are reserved", NO_OCCUPANCY, wq(0, **DEDICATED | {"occupancy_table_sel": 1})),
    ("no operation allowed", DSA2, wq(0, **DEDICATED | {"op_config": 0})),
    ("op_config where it does not exist", NO_OP_CONFIG, wq(0, **DEDICATED)),
    ("prs disable with a log", DSA2, both(log(64), wq(0, **DEDICATED | {"wq_prs_disable": 1}))),
    ("ats disable", DSA2, wq(0, **DEDICATED | {"wq_ats_disable": 1})),
]


def try_wq(profile: Profile, changes: Breaks) -> tuple[CmdErr, WqState]:
    """Enable the device with WQ 0 as `changes` leaves it, then the WQ."""
    with MockDriver(profile) as driver:
        driver.configure({}, DEDICATED)
        changes(driver)
        sized = 1 if driver.read(WQCFG, 0).wq_size else 0
        driver.change(GRPCFG, 0, wqs=2 | sized)
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        return driver.command(Command.ENABLE_WQ, 0), driver.read(WQCFG, 0).wq_state


@pytest.mark.parametrize(("code", "profile", "breaks"), [pytest.param(*case, id=name) for name, *case in WQ_CASES])
def test_enable_wq_names_the_broken_rule(code: CmdErr, profile: Profile, breaks: Breaks) -> None:
    """As for the device: one rule broken, its code, and the WQ stays Disabled."""
    assert try_wq(profile, breaks) == (code, WqState.DISABLED)


@pytest.mark.parametrize(("profile", "changes"), [pytest.param(*case, id=name) for name, *case in WQ_GOOD])
def test_enable_wq_accepts_the_edges(profile: Profile, changes: Breaks) -> None:
    """What the rules leave open must work."""
    assert try_wq(profile, changes) == (CmdErr.SUCCESS, WqState.ENABLED)


def test_enabling_twice_is_refused(driver: MockDriver) -> None:
    """0x21: the WQ is enabled already, and its configuration is not handed to the engine again."""
    driver.enable(DEDICATED)
    assert driver.command(Command.ENABLE_WQ, 0) is CmdErr.WQ_ENABLED
    assert len(driver.fake.asked("wq_enable")) == 1


def test_an_occupancy_handle_that_was_requested_is_accepted(driver: MockDriver) -> None:
    """With command 13 only what that command returned is a handle."""
    assert driver.command(Command.REQUEST_INT_HANDLE, 4) is CmdErr.SUCCESS
    driver.enable(DEDICATED | {"occupancy_inth": 4, "occupancy_int_en": 1})


def test_every_code_is_provoked() -> None:
    """A rule without a case is a rule nobody has seen work."""
    assert {code for code, _ in DEVICE_RULES} == {code for _, code, _, _ in DEVICE_CASES}
    assert {code for code, _ in WQ_RULES} == {code for _, code, _, _ in WQ_CASES} | {CmdErr.WQ_ENABLED}
