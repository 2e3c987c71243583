"""Several devices in one daemon: own profiles, own registers, one engine; what happens to one does not happen to another."""

import contextlib
import os
from collections.abc import Iterator

import pytest
from daemons import RunningDaemon, alive, child_pids
from raw_client import MEMMOVE, RawBuffer, RawClient, RawPortal, descriptor
from waiting import wait_until

from idxdd.control.errors import RequestError
from idxdd.shm import names
from idxdd.shm.closed import Closed

pytestmark = pytest.mark.xdist_group("devices")

SMALL = """like = "dsa2"
name = "small"
[gencap]
max_xfer_shift = 16
[wqcap]
wqs = 2
total_wq_size = 20
[grpcap]
groups = 1
[engcap]
engines = 1
[msix]
vectors = 3
int_handles_max = 3
"""


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> None:
    """In place of the check after each test: the daemon is checked at its end."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """dsa0 a dsa2, dsa1 a dsa1, dsa2 what a user's file says; all by their default configurations."""
    directory = tmp_path_factory.mktemp("devices")
    profile = directory / "small.toml"
    profile.write_text(SMALL)
    instance = f"t-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}-devices"
    options = [word for one in ("dsa2", "dsa1", str(profile)) for word in ("--device", one)]
    running = RunningDaemon(instance, directory, *options)
    try:
        yield running.start()
        children = child_pids(running.pid)
    finally:
        code = running.stop()
    assert code == 0, f"exit code {code}: {running.said}"
    wait_until(lambda: not any(map(alive, children)), 5, "idxdd-irq ends with its daemon")
    assert not names.names_left(instance)


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[RawClient]:
    with RawClient(daemon.socket) as client:
        yield client


def moved(portal: RawPortal, memory: RawBuffer, size: int = 4096) -> int:
    """Copy within the buffer by this portal; the record's status."""
    base, view = memory.address, memory.view
    view[:32] = bytes(32)
    view[8192 : 8192 + size] = os.urandom(size)
    number = portal.publish(descriptor(MEMMOVE, record=base, source=base + 8192, destination=base + 524288, size=size))
    wait_until(lambda: portal.load("done") > number, 10, "the descriptor is done")
    if view[0] == 1:
        assert view[524288 : 524288 + size] == view[8192 : 8192 + size]
    return int(view[0])


def opened(client: RawClient, wq: str) -> RawPortal | None:
    """None while the driver has not brought the WQ back."""
    with contextlib.suppress(RequestError):
        return client.open(wq)
    return None


def test_each_device_is_what_its_profile_says(client: RawClient) -> None:
    """In the list, in the topology that accel-config prints, and in its registers."""
    listed = {device["name"]: device for device in client.control.request("list")[0]["devices"]}
    assert {name: device["profile"] for name, device in listed.items()} == {"dsa0": "dsa2", "dsa1": "dsa1", "dsa2": "small"}
    assert {name: len(device["wqs"]) for name, device in listed.items()} == {"dsa0": 8, "dsa1": 8, "dsa2": 2}
    topology = {device["dev"]: device for device in client.control.request("topology")[0]["devices"]}
    assert [topology[name]["work_queue_size"] for name in listed] == [128, 128, 20]
    versions = [client.control.request("regs", device=name)[0]["registers"]["VERSION"]["value"] for name in listed]
    assert [int(version, 16) for version in versions] == [0x200, 0x100, 0x200]


def test_the_same_traffic_goes_through_each(client: RawClient) -> None:
    """One session, one address space, three devices; numbers of WQs are global and count apart."""
    memory = client.alloc(1 << 20)
    before = {wq["wq"]: wq["completed"] for wq in client.stats()["wqs"]}
    portals = {name: client.open(name) for name in ("dsa0/wq0.0", "dsa1/wq1.0", "dsa2/wq2.0")}
    assert [portal.answer["wq"] for portal in portals.values()] == [0, 16, 32]
    for _ in range(3):
        assert [moved(portal, memory) for portal in portals.values()] == [1, 1, 1]
    after = {wq["wq"]: wq["completed"] for wq in client.stats()["wqs"]}
    assert [after[name] - before[name] for name in portals] == [3, 3, 3]
    assert moved(portals["dsa1/wq1.0"], memory, 1 << 17) == 1
    assert moved(portals["dsa2/wq2.0"], memory, 1 << 17) == 0x13, "its profile allows 64 KiB"
    assert portals["dsa2/wq2.0"].answer["max_transfer_size"] == 1 << 16


def test_a_descriptor_is_judged_by_its_own_device(client: RawClient) -> None:
    """Translation Fetch is an operation of the second generation only."""
    memory = client.alloc(1 << 20)
    results = []
    for name in ("dsa0/wq0.0", "dsa1/wq1.0"):
        portal = client.open(name)
        memory.view[:32] = bytes(32)
        number = portal.publish(descriptor(0x0A, record=memory.address, source=memory.address + 8192, size=4096))
        wait_until(lambda portal=portal, number=number: portal.load("done") > number, 10, "the descriptor is done")  # type: ignore[misc]
        results.append(memory.view[0])
    assert results == [1, 0x10]


def test_a_halt_of_one_leaves_the_others_alone(client: RawClient, daemon: RunningDaemon) -> None:
    """Portals of the halted device close, those of the others go on; after its reset the driver brings it back."""
    memory = client.alloc(1 << 20)
    victim, other = client.open("dsa1/wq1.1"), client.open("dsa0/wq0.1")
    statistics = {device["name"]: device for device in client.stats()["devices"]}
    client.control.request("halt", device="dsa1", reset_type="software")
    wait_until(lambda: victim.load("closed") == Closed.HALTED, 10, "the portal says why")
    assert moved(other, memory) == 1
    again = wait_until(lambda: opened(client, "dsa1/wq1.1"), 10, "the driver resets a device in a software halt")
    assert moved(again, memory) == moved(other, memory) == 1
    assert other.load("closed") == 0
    after = {device["name"]: device for device in client.stats()["devices"]}
    assert after["dsa1"]["commands"] > statistics["dsa1"]["commands"]
    for name in ("dsa0", "dsa2"):
        assert after[name]["commands"] == statistics[name]["commands"], f"nobody sent {name} a command"
    assert "dsa0: state ENABLED" not in daemon.said


def test_a_reset_of_one_leaves_the_others_alone(client: RawClient) -> None:
    """FLR: every register of that function is initial, every WQ of the others stays open."""
    memory = client.alloc(1 << 20)
    other = client.open("dsa2/wq2.1")
    client.control.request("bus_reset", device="dsa0", reset_type="flr")
    registers = client.control.request("regs", device="dsa0")[0]["registers"]
    assert registers["GENSTS"]["fields"]["state"] in ("DISABLED", "ENABLED")
    assert moved(other, memory) == 1
    client.control.request("disable_device", device="dsa0")
    client.control.request("enable_device", device="dsa0")
    client.control.request("enable_wq", wq="dsa0/wq0.0")
    assert moved(client.open("dsa0/wq0.0"), memory) == 1


def test_configurations_hold_several_devices(client: RawClient) -> None:
    """What is saved has all of them; loading a changed list of two touches these two and not the third."""
    saved = client.control.request("save_config")[0]["config"]
    assert [device["dev"] for device in saved] == ["dsa0", "dsa1", "dsa2"]
    other = client.open("dsa1/wq1.0")
    changed = [device for device in saved if device["dev"] in ("dsa0", "dsa2")]
    changed[1]["groups"][0]["grouped_workqueues"][1] |= {"size": 7, "threshold": 5}
    answer = client.control.request("load_config", config=changed, force=True, enable=True)[0]
    assert answer["applied"], answer
    topology = {device["dev"]: device for device in client.control.request("topology")[0]["devices"]}
    assert topology["dsa2"]["groups"][0]["grouped_workqueues"][1]["size"] == 7
    assert moved(other, client.alloc(1 << 20)) == 1, "its portal was not closed"


def test_a_device_that_is_not_there_is_refused(client: RawClient) -> None:
    """By the name, and what there is."""
    with pytest.raises(RequestError, match="dsa3"):
        client.control.request("regs", device="dsa3")
    with pytest.raises(RequestError, match="no work queue"):
        client.control.request("open", wq="dsa2/wq2.2")
