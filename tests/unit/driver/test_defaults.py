"""The configuration of a device for which none is given: for dsa0 what it always was, for others as far as they have it."""

from collections import Counter
from dataclasses import replace

import pytest

from idxdd.device.profile import Profile
from idxdd.device.registerfile import RegisterFile
from idxdd.driver.config import DEFAULT_CONFIG, parse_config
from idxdd.driver.defaults import default_config
from idxdd.driver.device import Capabilities
from idxdd.spec.registers import CMDCAP, ENGCAP, GENCAP, GRPCAP, OFFSETS, OPCAP, VERSION, WQCAP
from idxdd.testing.profiles import DSA1, DSA2


def capabilities(profile: Profile) -> Capabilities:
    """As the driver reads them at probe."""
    registers = RegisterFile(bytearray(0x10000), profile)
    read = registers.read
    try:
        return Capabilities(
            read(VERSION).raw,
            read(GENCAP),
            read(WQCAP),
            read(GRPCAP),
            read(ENGCAP),
            read(OPCAP),
            read(OFFSETS),
            read(CMDCAP).raw,
        )
    finally:
        registers.close()


def test_the_default_of_the_default_device_stays() -> None:
    """README, examples and tests are written for it."""
    assert default_config([(0, capabilities(DSA2))]) == DEFAULT_CONFIG


SMALL = replace(DSA2, wqs=2, total_wq_size=9, groups=1, engines=1)
PROFILES = {
    "first generation": DSA1,
    "two WQs in one group": SMALL,
    "one entry": replace(SMALL, total_wq_size=1),
    "one engine": replace(DSA2, engines=1),
    "shared only": replace(DSA2, dedicated_mode=False),
    "dedicated only": replace(DSA2, shared_mode=False),
    "small limits": replace(DSA2, max_xfer_shift=12, max_batch_shift=1),
    "many of everything": replace(DSA2, wqs=16, groups=8, engines=16, total_wq_size=4096, vectors=17),
}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_every_possible_device_has_a_default_it_accepts(profile: Profile) -> None:
    """A daemon with an unusual profile must start without a configuration file."""
    caps = capabilities(profile)
    config = default_config([(1, caps)])
    parsed, problems = parse_config(config, {"dsa1": (1, caps)})
    assert problems == []
    (device,) = parsed
    assert len(device.wqs) == min(4, profile.wqs, profile.total_wq_size)
    assert sum(wq.size for wq in device.wqs) <= profile.total_wq_size
    engines = Counter(device.engines.values())
    assert all(engines[wq.group_id] for wq in device.wqs), "each group has an engine"
