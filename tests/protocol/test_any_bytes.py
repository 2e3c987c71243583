"""Any 64 bytes in any slot of any portal: the device answers, goes on, and the next good descriptor is done.

What each descriptor should say is held by tests of the engine against the reference model; here nothing may hang, halt or
spoil what comes after, whatever the bytes, on dedicated and shared WQs, with and without an event log.
"""

import os
import struct
from collections.abc import Iterator

import pytest
from device_system import BASE, NOWHERE, SIZE, System, device_system
from engine_bench import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idxdd.device.profilefile import load
from idxdd.shm.hostmemory import host_base
from idxdd.spec.codes import DeviceState
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCFG, GENSTS, SWERR
from idxdd.testing.mock_driver import DEDICATED, SHARED

addresses = st.one_of(
    st.integers(BASE, BASE + SIZE - 1),
    st.sampled_from([0, BASE, BASE + SIZE - 32, BASE + SIZE, NOWHERE, (1 << 64) - 32, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
sizes = st.one_of(
    st.sampled_from([0, 1, 31, 64, 512, 520, 4096, 1 << 21, (1 << 21) + 1, (1 << 32) - 1]), st.integers(0, (1 << 32) - 1)
)
flags = st.one_of(st.sampled_from([0, 0x4, 0xC, 0x1C, 0xE, 0x1000C]), st.integers(0, (1 << 24) - 1))
rest = st.one_of(st.just(bytes(28)), st.binary(min_size=28, max_size=28))
plausible = st.builds(
    lambda head, opcode, bits, record, one, two, size, tail: (
        struct.pack("<IIQQQI", head, opcode << 24 | bits, record, one, two, size) + tail
    ),
    *(st.one_of(st.just(0), st.integers(0, (1 << 32) - 1)), st.one_of(st.integers(0, 0x28), st.integers(0, 255)), flags),
    *(addresses, addresses, addresses, sizes, rest),
)
slots = st.one_of(plausible, plausible, plausible, st.binary(min_size=64, max_size=64))


class Victims:
    """One device, a client on a dedicated and one on a shared WQ."""

    def __init__(self, system: System, *, log: bool) -> None:
        self.system, self.log = system, log
        if log:
            system.driver.write(EVLCFG.encode(log_size=0xFFFF, log_base=host_base(0)))
            system.driver.change(GENCFG, evl_en=True)
        system.driver.enable(DEDICATED, SHARED)
        self.clients = [system.client(0), system.client(1, pasid=3)]

    def publish(self, client: Client, *descriptors: bytes) -> None:
        """Ask for a grant, publish, and wait for the end of all."""
        client.set("want", (client.get("answered") + 1) & 0xFFFF_FFFF)
        self.system.driver.settle()
        client.publish(*descriptors)
        self.system.driver.turn_until(lambda: client.get("done") == client.tail, "every descriptor has an end")
        self.system.driver.settle()


@pytest.fixture(scope="module", params=[False, True], ids=["SWERR", "log"])
def victims(request: pytest.FixtureRequest) -> Iterator[Victims]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with device_system(f"t-bytes-{worker}-{os.getpid()}-{request.param}", load("dsa2-interdomain")) as system:
        yield Victims(system, log=request.param)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(descriptors=st.lists(slots, min_size=1, max_size=4), which=st.integers(0, 1))
def test_any_bytes_have_an_end(victims: Victims, descriptors: list[bytes], which: int) -> None:
    """Every slot is finished with, the device runs, and a no-op behind them has its record."""
    client, driver = victims.clients[which], victims.system.driver
    victims.publish(client, *descriptors)
    client.memory[:32] = bytes(32)
    victims.publish(client, client.noop(0))
    assert client.record(0)[0] == 1
    assert driver.read(GENSTS).state is DeviceState.ENABLED
    assert client.get("closed") == 0
    driver.write(SWERR(3))
    if victims.log:
        driver.mmio.write32(EVLSTATUS.offset, driver.read(EVLSTATUS).tail)
        driver.settle()
    assert victims.system.driver.port.statistics()["outstanding"] == 0
