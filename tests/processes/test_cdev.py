"""The character device of a user WQ between real processes: mmap, write and poll, and what later drivers refuse."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RunningDaemon
from raw_client import BATCH, FILL, MEMMOVE, NOOP, RawClient, descriptor
from waiting import wait_until

from idxdd.control.errors import RequestError
from idxdd.native import LAYOUT

DEDICATED, SHARED, KERNEL = "dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2"


@pytest.fixture(scope="module")
def version_1(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[RunningDaemon]:
    """A device without an event log: what has no record becomes a software error."""
    yield from _running(tmp_path_factory, f"cdev-{worker_id}", "--device", "dsa1")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[RunningDaemon]:
    """As later drivers do it."""
    yield from _running(tmp_path_factory, f"later-{worker_id}", "--later", "rawio", "--later", "mm-check")


def _running(tmp_path_factory: pytest.TempPathFactory, name: str, *options: str) -> Iterator[RunningDaemon]:
    running = RunningDaemon(f"{name}-{tmp_path_factory.getbasetemp().name[-8:]}", tmp_path_factory.mktemp("cdev"), *options)
    running.start()
    yield running
    assert running.stop() == 0, running.said


def refused(client: RawClient, op: str, **arguments: Any) -> str:
    """The errno's name."""
    with pytest.raises(RequestError) as error:
        client.control.request(op, **arguments)
    return str(error.value.code)


@pytest.mark.conformance("CDV-03")
@pytest.mark.parametrize("wq", [DEDICATED, SHARED])
def test_mmap_takes_one_page_of_the_limited_portal(version_1: RunningDaemon, wq: str) -> None:
    """More is EINVAL; what is mapped is a portal with a limit that the device grants."""
    with RawClient(version_1.socket) as client:
        opened, fds = client.control.request("cdev_open", wq=wq)
        portal = opened["portal"]
        assert fds == []
        assert [refused(client, "mmap", portal=portal, size=size) for size in (4097, 8192)] == ["EINVAL", "EINVAL"]
        _answer, fds = client.control.request("mmap", portal=portal, size=4096)
        assert len(fds) == 4
        with open(fds[1], "rb", closefd=True) as page:
            page.seek(LAYOUT["portal_device.limit"])
            assert int.from_bytes(page.read(8), "little") <= opened["size"]
        assert refused(client, "mmap", portal=portal, size=4096) == "EBUSY"
        for fd in (fds[0], *fds[2:]):
            open(fd, "rb", closefd=True).close()
        client.control.request("close", portal=portal)


@pytest.mark.conformance("CDV-08")
@pytest.mark.parametrize("wq", [DEDICATED, SHARED])
def test_write_submits_whole_descriptors_and_ignores_a_fragment(version_1: RunningDaemon, wq: str) -> None:
    """The bytes it answers are those of descriptors that the device has; their memory is the writer's."""
    with RawClient(version_1.socket) as client:
        portal = client.control.request("cdev_open", wq=wq)[0]["portal"]
        buffer = client.alloc(8192)
        buffer.view[:64] = b"x" * 64
        move = descriptor(
            MEMMOVE, record=buffer.address + 4096, source=buffer.address, destination=buffer.address + 64, size=64
        )
        noop = descriptor(NOOP, record=buffer.address + 4128)
        answer, _ = client.control.request("write", portal=portal, data=(move + noop + b"fragment").hex())
        assert answer == {"written": 128}
        wait_until(lambda: buffer.view[4096] and buffer.view[4128], 10, "both records")
        assert (buffer.view[4096], buffer.view[4128], bytes(buffer.view[64:128])) == (1, 1, b"x" * 64)
        assert client.control.request("write", portal=portal, data=move[:63].hex())[0] == {"written": 0}
        client.control.request("close", portal=portal)


@pytest.mark.conformance("CDV-09")
def test_write_refuses_misaligned_records_and_batches_on_version_1(version_1: RunningDaemon) -> None:
    """EINVAL if nothing was submitted, else the bytes before it: those stay submitted."""
    with RawClient(version_1.socket) as client:
        portal = client.control.request("cdev_open", wq=SHARED)[0]["portal"]
        buffer = client.alloc(8192)
        good = descriptor(NOOP, record=buffer.address)
        misaligned, batch = descriptor(NOOP, record=buffer.address + 8), descriptor(BATCH, record=buffer.address + 32)
        for bad in (misaligned, batch):
            assert refused(client, "write", portal=portal, data=bad.hex()) == "EINVAL"
            assert client.control.request("write", portal=portal, data=(good + bad + good).hex())[0] == {"written": 64}
        assert refused(client, "write", portal=portal, data="zz") == "EINVAL"
        assert refused(client, "write", portal=99, data=good.hex()) == "ENOENT"
        mapped = client.open(DEDICATED)
        assert refused(client, "write", portal=mapped.answer["portal"], data=good.hex()) == "EBUSY"
        assert refused(client, "cdev_open", wq=KERNEL) == "ENODEV"


def test_a_client_cannot_take_the_daemons_descriptors_by_polling(version_1: RunningDaemon) -> None:
    """So many of one client for one WQ; those it closes are given back."""
    with RawClient(version_1.socket) as client:
        portal = client.open(SHARED).answer["portal"]
        held = []
        for _ in range(16):
            held += client.control.request("poll", portal=portal)[1]
        assert refused(client, "poll", portal=portal) == "EMFILE"
        for fd in held:
            open(fd, "rb", closefd=True).close()
        _, (again,) = client.control.request("poll", portal=portal)
        open(again, "rb", closefd=True).close()


def test_what_a_session_polls_with_goes_with_it(version_1: RunningDaemon) -> None:
    """A client that connects, polls and disconnects again and again leaves no descriptor of the daemon behind."""
    descriptors = Path(f"/proc/{version_1.pid}/fd")
    with RawClient(version_1.socket) as watching:
        before = len(list(descriptors.iterdir()))
        held = []
        for _ in range(4):
            with RawClient(version_1.socket) as client:
                portal = client.control.request("cdev_open", wq=SHARED)[0]["portal"]
                for _ in range(16):
                    held += client.control.request("poll", portal=portal)[1]
        wait_until(lambda: len(list(descriptors.iterdir())) <= before, 10, "everything is given back")
        assert watching.stats()["sessions"] == 1
    assert len(select.select(held, [], [], 0)[0]) == len(held)
    for fd in held:
        open(fd, "rb", closefd=True).close()


@pytest.mark.conformance("CDV-04", "IRQ-07")
def test_poll_is_readable_after_a_software_error_for_ever(version_1: RunningDaemon) -> None:
    """The pollers of the WQ it names are woken; who asks later, on any WQ of the device, finds it readable at once."""
    with RawClient(version_1.socket) as client, RawClient(version_1.socket) as other:
        portal, elsewhere = client.open(SHARED), other.open(DEDICATED)
        answer, (mine,) = client.control.request("poll", portal=portal.answer["portal"])
        _, (theirs,) = other.control.request("poll", portal=elsewhere.answer["portal"])
        assert not answer["readable"]
        assert select.select([mine, theirs], [], [], 0)[0] == []
        portal.publish(descriptor(FILL + 100, flags=0))
        wait_until(lambda: "err[3]" in version_1.said, 10, "the driver reports it")
        assert select.select([mine], [], [], 10)[0] == [mine]
        assert select.select([mine], [], [], 0)[0] == [mine], "and stays so"
        assert select.select([theirs], [], [], 0)[0] == [], "it names the other WQ"
        answer, (again,) = other.control.request("poll", portal=elsewhere.answer["portal"])
        assert answer["readable"]
        assert select.select([again], [], [], 10)[0] == [again]
        for fd in (mine, theirs, again):
            open(fd, "rb", closefd=True).close()


CHILD = """
import json, os, socket, sys
from idxdd.control import protocol, wire
from idxdd.control.client import connect
from idxdd.control.errors import RequestError

def code(op, **arguments):
    try:
        control.request(op, **arguments)
    except RequestError as error:
        return error.code
    return "ok"

control = connect(sys.argv[1], 10)
found = {"first": code("open", wq="dsa0/wq0.1")}
inherited = socket.socket(fileno=os.dup(control._sock.fileno()))
inherited.setblocking(True)
read, write = os.pipe()
child = os.fork()
if not child:
    try:
        answers = []
        for number, (op, arguments) in enumerate((("open", {"wq": "dsa0/wq0.1"}), ("write", {"portal": 1, "data": "00"}))):
            wire.send(inherited, protocol.encode_request(1000 + number, op, arguments))
            answers.append(protocol.decode(wire.receive(inherited).payload)["error"]["code"])
        os.write(write, json.dumps(answers).encode())
    finally:
        os._exit(0)
os.waitpid(child, 0)
os.close(write)
inherited.close()
control._sock.settimeout(10)
found["fork"] = json.loads(os.read(read, 100))
os.setresuid(65534, 65534, 65534)
opened = control.request("cdev_open", wq="dsa0/wq0.1")[0]
found["open"], found["mmap"] = code("open", wq="dsa0/wq0.1"), code("mmap", portal=opened["portal"], size=4096)
found["write"] = control.request("write", portal=opened["portal"], data=(b"\\0" * 64).hex())[0]["written"]
print(json.dumps(found))
"""


@pytest.mark.conformance("CDV-10")
def test_later_drivers_map_for_rawio_and_for_the_opener_only(later: RunningDaemon) -> None:
    """Without CAP_SYS_RAWIO: EPERM, and write is what is left. From a child that inherited the connection: EPERM."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, later.socket], capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2]
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    assert found == {"first": "ok", "fork": ["EPERM", "EPERM"], "open": "EPERM", "mmap": "EPERM", "write": 64}
