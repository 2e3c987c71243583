"""The control socket of a live daemon against anything a client can send: that connection ends, the daemon and others go on."""

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from daemons import RunningDaemon
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from idxdd.control import protocol, wire
from idxdd.control.protocol import decode, encode


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One daemon for this file: it has to survive all of it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    running = RunningDaemon(f"t-{worker}-{os.getpid()}-frames", tmp_path_factory.mktemp("frames")).start()
    yield running
    assert running.stop() == 0, running.said
    assert "Traceback" not in running.said


def raw(live: RunningDaemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(10)
    sock.connect(live.socket)
    return sock


def answers(sock: socket.socket) -> list[dict[str, object]]:
    """Everything the daemon still says until it closes."""
    found = []
    while True:
        try:
            frame = wire.receive(sock)
        except ConnectionResetError:
            return found
        if frame is None:
            return found
        frame.close()
        found.append(decode(frame.payload))


def greeted(live: RunningDaemon) -> socket.socket:
    sock = raw(live)
    wire.send(sock, protocol.encode_request(1, "hello", {}))
    frame = wire.receive(sock)
    assert frame is not None
    frame.close()
    return sock


def assert_alive(live: RunningDaemon) -> None:
    with live.connect() as client:
        assert client.hello["pid"] == live.pid


def refusal(live: RunningDaemon, payload: bytes) -> str:
    """The one error a greeted client gets for this frame, after which the connection is closed."""
    with greeted(live) as sock:
        sock.send(payload)
        (answer,) = answers(sock)
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["code"] == "EPROTO"
    return str(error["text"])


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b"\xc1", "not one msgpack map"),
        (b"\x91" * 60000, "not one msgpack map"),
        (b"\x81\xa1v" * 20000, "not one msgpack map"),
        (b"\xdf\xff\xff\xff\xff", "not one msgpack map"),
        (b"\xdb\x7f\xff\xff\xff" + b"x" * 100, "not one msgpack map"),
        (encode({"v": 1, "id": 5, "op": "fly"}), "'op' must name an operation"),
        (encode({"v": 1, "id": 5, "op": "open", "wq": "dsa0/wq0.1", "pasid": 2}), "unknown key 'pasid'"),
        (encode({"v": 1, "id": 5, "op": "open"}), "'wq' is missing"),
        (encode({"v": 9, "id": 5, "op": "list"}), "'v' must be 1"),
        (encode({"v": 1, "id": 5, "op": "hello"}), "hello must be the first request"),
        (encode({"v": 1, "id": 5, "op": "alloc", "size": "4096"}), "'size' must be an integer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the bytes would be the test's name, and its environment
)
def test_a_bad_frame_is_answered_once_and_the_connection_closed(live: RunningDaemon, payload: bytes, rule: str) -> None:
    """The client learns which key broke which rule; it does not get a second try on this connection."""
    assert rule in refusal(live, payload)
    assert_alive(live)


def test_hello_must_be_first(live: RunningDaemon) -> None:
    """Whoever does not say hello is not told anything."""
    with raw(live) as sock:
        wire.send(sock, protocol.encode_request(1, "list", {}))
        (answer,) = answers(sock)
    assert "hello must be the first" in str(answer)


def test_a_frame_that_is_too_long_ends_the_connection(live: RunningDaemon) -> None:
    """It is not cut to something that may parse."""
    assert "longer than" in refusal(live, encode({"v": 1, "id": 5, "op": "list"}) + bytes(70000))


@pytest.mark.parametrize("count", [1, 16, 17, 253])
def test_descriptors_from_a_client_are_never_taken(live: RunningDaemon, count: int) -> None:
    """A client could otherwise fill the daemon's descriptor table, or hand it files whose close blocks."""
    table = Path(f"/proc/{live.pid}/fd")
    before = len(list(table.iterdir()))
    with open(os.devnull) as null, greeted(live) as sock:
        fds = array.array("i", [null.fileno()] * count)
        sock.sendmsg([encode({"v": 1, "id": 5, "op": "list"})], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        (answer,) = answers(sock)
    assert "descriptors" in str(answer)
    wait_until(lambda: len(list(table.iterdir())) <= before, 10, "the daemon holds no more descriptors than before")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_random_bytes_end_the_connection_only(live: RunningDaemon, frames: list[bytes]) -> None:
    """Whatever the bytes are, the daemon answers at most one error a connection and stays."""
    with greeted(live) as sock:
        for frame in frames:
            try:
                sock.send(frame)
            except (BrokenPipeError, ConnectionResetError):
                break
        sock.shutdown(socket.SHUT_WR)
        assert len(answers(sock)) <= 1
    assert_alive(live)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=70)
    | st.floats()
    | st.lists(st.booleans(), max_size=3)
)
QUIET_OPS = sorted(op for op in protocol.OPS if not op.startswith(("enable", "disable", "reset_device")))
"""Those that leave the device as it is, whatever the arguments drawn here are."""
ARGUMENTS = st.sampled_from(
    ["size", "buffer", "channel", "address", "portal", "wq", "device", "after", "config", "object", "attributes", "pasid", "x"]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    op=st.sampled_from(QUIET_OPS),
    arguments=st.dictionaries(ARGUMENTS, VALUES, max_size=3),
)
def test_any_map_gets_exactly_one_answer(live: RunningDaemon, op: str, arguments: dict[str, object]) -> None:
    """Valid operations with arbitrary arguments: an answer, a refusal, or a protocol error; never silence, never a crash."""
    with greeted(live) as sock:
        sock.send(bytes(msgpack.packb({"v": 1, "id": 7, "op": op, **arguments})))
        frame = wire.receive(sock)
        assert frame is not None
        frame.close()
        answer = decode(frame.payload)
        assert ("ok" in answer) != ("error" in answer)
        assert answer["id"] in (0, 7)
    assert_alive(live)


def test_a_client_that_never_reads_hurts_only_itself(live: RunningDaemon) -> None:
    """Its answers pile up in its own socket, then in a bounded outbox; the daemon goes on serving others."""
    with greeted(live) as sock:
        sock.settimeout(0.5)
        try:
            for number in range(2, 100_000):
                wire.send(sock, protocol.encode_request(number, "list", {}))
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        else:
            pytest.fail("the daemon took 100,000 requests without an answer being read")
        assert_alive(live)


def test_objects_of_another_client_do_not_exist(live: RunningDaemon) -> None:
    """Numbers are looked up in the asking session only: guessing them gives nothing."""
    with live.connect() as one, live.connect() as other:
        answer, fds = one.request("alloc", size=4096)
        wire.close_all(fds)
        for op, arguments in (
            ("map", {"buffer": answer["buffer"] + 50, "address": 0x10000}),
            ("map", {"channel": 1, "address": 0x10000}),
            ("free", {"buffer": answer["buffer"]}),
            ("close", {"portal": 1}),
            ("reopen", {"portal": 1}),
            ("unmap", {"address": 0x10000}),
        ):
            with pytest.raises(Exception, match="ENOENT"):
                other.request(op, **arguments)
