"""Inter-domain operations between clients of one daemon: nobody reaches anybody's memory without its owner's word."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import RunningDaemon
from raw_client import CRAV, RCR, RawBuffer, RawClient, RawPortal
from waiting import wait_until

import idxd_client
from idxd_client import windows
from idxdd.control.errors import RequestError
from idxdd.spec.codes import CompletionStatus, Opcode, OpFlag

WQ = "dsa0/wq0.1"
SOURCE, DESTINATION = int(OpFlag.SRC_ALTERNATE_PASID), int(OpFlag.DST_ALTERNATE_PASID)
RECORD_AT, OWN_AT, SIZE = 0, 4096, 8192


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One daemon for all tests, with a shared WQ that everybody opens."""
    directory = tmp_path_factory.mktemp("windows")
    instance = f"t-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}-windows"
    running = RunningDaemon(instance, directory, "--device", "dsa2-interdomain").start()
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, f"exit code {code}: {running.said}"


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the check after each test: the daemon is the module's."""


def desc(
    opcode: int,
    flags: int,
    *,
    record: int,
    first: int,
    second: int,
    size: int,
    handles: tuple[int, int] = (0, 0),
    byte61: int = 0,
) -> bytes:
    """An inter-domain descriptor, or Update Window."""
    head = struct.pack("<IIQQQIHH", 0, opcode << 24 | flags | CRAV | RCR, record, first, second, size, 0, 0)
    tail = bytearray(head.ljust(64, b"\0"))
    struct.pack_into("<HH", tail, 60, *handles)
    if byte61:
        tail[61] = byte61
    return bytes(tail)


class Peer:
    """A client with a portal, a page for its record and memory."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.client = RawClient(daemon.socket)
        self.memory: RawBuffer = self.client.alloc(OWN_AT + SIZE)
        self.portal: RawPortal = self.client.open(WQ)
        self.pasid = int(self.portal.answer["pasid"])
        self.own = self.memory.address + OWN_AT

    def window(self, submitter: "Peer", *, address: int | None = None, size: int = SIZE, **allowed: bool) -> int:
        """The handle through which `submitter` reaches `size` bytes of this one's memory."""
        answer, _ = self.client.control.request(
            "open_window",
            device="dsa0",
            submitter=submitter.pasid,
            address=self.own if address is None else address,
            size=size,
            **allowed,
        )
        return int(answer["handle"])

    def run(self, opcode: int, flags: int, first: int, second: int, size: int, **rest: object) -> bytes:
        """The record of one descriptor."""
        self.memory.view[RECORD_AT : RECORD_AT + 32] = bytes(32)
        number = self.portal.publish(
            desc(opcode, flags, record=self.memory.address, first=first, second=second, size=size, **rest)  # type: ignore[arg-type]
        )
        wait_until(lambda: self.portal.load("done") > number, 10, "the descriptor is done")
        return bytes(self.memory.view[RECORD_AT : RECORD_AT + 32])

    def fill(self, byte: int) -> None:
        self.memory.view[OWN_AT:] = bytes([byte]) * SIZE

    @property
    def content(self) -> bytes:
        return bytes(self.memory.view[OWN_AT:])


@pytest.fixture
def owner(daemon: RunningDaemon) -> Iterator[Peer]:
    """Whose memory it is."""
    made = Peer(daemon)
    yield made
    made.client.close()


@pytest.fixture
def submitter(daemon: RunningDaemon) -> Iterator[Peer]:
    """Who reaches for it."""
    made = Peer(daemon)
    yield made
    made.client.close()


def put(submitter: Peer, handle: int, to: int, size: int = SIZE) -> int:
    """Status of a copy from its own memory to `to` of the owner."""
    return submitter.run(Opcode.INTER_DOMAIN_COPY, DESTINATION, submitter.own, to, size, handles=(0, handle))[0]


def test_a_copy_through_a_window(owner: Peer, submitter: Peer) -> None:
    """One client writes into the other's memory and reads it back, as far as the owner allowed; both addresses are plain
    virtual addresses of their processes, so the mechanism is the whole protection."""
    owner.fill(0x11)
    submitter.fill(0x22)
    handle = owner.window(submitter, read=True, write=True)
    assert put(submitter, handle, owner.own) == CompletionStatus.SUCCESS
    assert owner.content == b"\x22" * SIZE
    owner.fill(0x33)
    record = submitter.run(Opcode.INTER_DOMAIN_COPY, SOURCE, owner.own, submitter.own, SIZE, handles=(handle, 0))
    assert record[0] == CompletionStatus.SUCCESS
    assert submitter.content == b"\x33" * SIZE
    owner.client.control.request("close_window", device="dsa0", handle=handle)
    submitter.fill(0x44)
    assert put(submitter, handle, owner.own) == CompletionStatus.IDPT_HANDLE_INVAL
    assert owner.content == b"\x33" * SIZE


def test_what_the_owner_did_not_allow(owner: Peer, submitter: Peer, daemon: RunningDaemon) -> None:
    """Another direction, a byte outside, another submitter, another handle: each its own status, and no byte moves."""
    owner.fill(0x11)
    submitter.fill(0x22)
    handle = owner.window(submitter, size=4096, write=True)
    record = submitter.run(Opcode.INTER_DOMAIN_COPY, SOURCE, owner.own, submitter.own, 64, handles=(handle, 0))
    assert record[0] == CompletionStatus.IDPT_PERMISSION
    assert record[16:18] == handle.to_bytes(2, "little")
    assert put(submitter, handle, owner.own + 1, 4096) == CompletionStatus.WINDOW_ERANGE
    assert put(submitter, handle, owner.own - 1, 1) == CompletionStatus.WINDOW_ERANGE
    assert put(submitter, handle + 1, owner.own, 64) == CompletionStatus.IDPT_HANDLE_INVAL
    assert put(submitter, 65535, owner.own, 64) == CompletionStatus.IDPT_HANDLE_INVAL
    third = Peer(daemon)
    try:
        assert put(third, handle, owner.own, 64) == CompletionStatus.IDPT_HANDLE_INVAL
    finally:
        third.client.close()
    assert owner.content == b"\x11" * SIZE
    assert submitter.content == b"\x22" * SIZE


def test_memory_in_the_window_that_the_owner_has_not(owner: Peer, submitter: Peer) -> None:
    """A window may be wider than the memory behind it: the rest is a page fault, told with the handle and, in offset mode,
    without the address."""
    handle = owner.window(submitter, size=SIZE + 4096, write=True, offset=True)
    owner.fill(0)
    submitter.fill(0x55)
    record = submitter.run(Opcode.INTER_DOMAIN_FILL, DESTINATION, 0x5555555555555555, 4096, SIZE, handles=(0, handle))
    assert record[0] == CompletionStatus.PAGE_FAULT_NOBOF | 0x80
    assert int.from_bytes(record[4:8], "little") == SIZE - 4096
    assert record[2] == 3 << 1 | 1
    assert record[8:16] == bytes(8)
    assert record[16:18] == handle.to_bytes(2, "little")
    assert owner.content == bytes(4096) + b"\x55" * (SIZE - 4096)


def test_update_window(owner: Peer, submitter: Peer) -> None:
    """The owner moves its window by a descriptor; nobody else can, not even the submitter."""
    owner.fill(0)
    submitter.fill(0x66)
    handle = owner.window(submitter, size=4096, write=True, update=True)
    change = (Opcode.UPDATE_WINDOW, 0)
    moved = {"handles": (0, handle), "byte61": 2 | 4}
    assert submitter.run(*change, owner.own, SIZE, 0, **moved)[0] == CompletionStatus.WINDOW_UPDATE_REFUSED
    assert put(submitter, handle, owner.own + 4096, 64) == CompletionStatus.WINDOW_ERANGE
    assert owner.run(*change, owner.own + 4096, 4096, 0, **moved)[0] == CompletionStatus.SUCCESS
    assert put(submitter, handle, owner.own, 64) == CompletionStatus.WINDOW_ERANGE
    assert put(submitter, handle, owner.own + 4096, 64) == CompletionStatus.SUCCESS
    assert owner.content == bytes(4096) + b"\x66" * 64 + bytes(SIZE - 4096 - 64)
    assert owner.run(*change, owner.own, 0, 0, **moved)[0] == CompletionStatus.WINDOW_FIELDS
    (seen,) = owner.client.control.request("windows")[0]["windows"]
    assert (seen["address"], seen["size"]) == (owner.own + 4096, 4096)


def test_windows_end_with_their_owner(daemon: RunningDaemon, submitter: Peer) -> None:
    """The owner goes: whoever reaches for its memory is told so, and the next client is not reached in its place."""
    owner = Peer(daemon)
    handle = owner.window(submitter, write=True)
    address = owner.own
    assert put(submitter, handle, address, 64) == CompletionStatus.SUCCESS
    owner.client.close()
    gone = (CompletionStatus.DOMAIN_GONE, CompletionStatus.IDPT_HANDLE_INVAL)
    wait_until(lambda: put(submitter, handle, address, 64) in gone, 10, "the window is gone")
    wait_until(
        lambda: put(submitter, handle, address, 64) == CompletionStatus.IDPT_HANDLE_INVAL, 10, "and its entry is cleared"
    )
    assert submitter.client.control.request("windows")[0]["windows"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"submitter": 999_999}, "ESRCH"),
        ({"read": False}, "EINVAL"),
        ({"device": "dsa9"}, "ENOENT"),
    ],
    ids=["nobody", "nothing allowed", "no device"],
)
def test_windows_that_are_refused(owner: Peer, submitter: Peer, arguments: dict[str, object], code: str) -> None:
    """Each with the field and the rule."""
    asked = {"device": "dsa0", "submitter": submitter.pasid, "address": owner.own, "size": 64, "read": True} | arguments
    with pytest.raises(RequestError) as refused:
        owner.client.control.request("open_window", **asked)
    assert refused.value.code == code


def test_a_window_of_somebody_else_is_not_closed(owner: Peer, submitter: Peer) -> None:
    """An administrator may; a client only its own (here both are root, so the handle is one that nobody has)."""
    handle = owner.window(submitter, read=True)
    with pytest.raises(RequestError):
        submitter.client.control.request("close_window", device="dsa0", handle=handle + 1)


# ---- through the library ---------------------------------------------------------------------------------------------------
def test_the_library(daemon: RunningDaemon) -> None:
    """What a user writes: a window, a copy into it, an update, a close."""
    with (
        idxd_client.connect(daemon.socket) as ours, ours.open(WQ) as wq, ours.alloc(8192) as mine,
        idxd_client.connect(daemon.socket) as theirs, theirs.open(WQ) as their_wq, theirs.alloc(8192) as memory,
    ):  # fmt: skip
        memoryview(mine)[:] = b"\x31" * 8192
        with windows.open_window(theirs, memory[4096:], wq.pasid, write=True, read=True, offset=True, update=True) as window:
            wq.submit(windows.inter_domain_copy(100, mine[:1000], 1000, dst_handle=window.handle)).result()
            assert bytes(memory) == bytes(4096 + 100) + b"\x31" * 1000 + bytes(8192 - 4096 - 1100)
            same = windows.inter_domain_compare(mine[:1000], 100, 1000, src2_handle=window.handle)
            assert wq.submit(same).result().result == 0
            wq.submit(windows.inter_domain_fill(0, 0x3232323232323232, 100, dst_handle=window.handle)).result()
            assert bytes(memory[4096:4196]) == b"\x32" * 100
            pattern = windows.inter_domain_compare_pattern(0, 0x3232323232323232, 100, src_handle=window.handle)
            assert wq.submit(pattern).result().result == 0
            their_wq.submit(windows.update_window(window, memory[:4096], write=True)).result()
            refused = wq.submit(windows.inter_domain_fill(memory.address + 4096, 0, 8, dst_handle=window.handle)).result()
            assert refused.status == CompletionStatus.WINDOW_ERANGE
        late = wq.submit(windows.inter_domain_fill(memory.address, 0, 8, dst_handle=window.handle)).result()
        assert late.status == CompletionStatus.IDPT_HANDLE_INVAL


def test_closing_a_window_whose_submitter_has_gone(daemon: RunningDaemon, submitter: Peer) -> None:
    """It has ended already: no error, as closing is what the owner wanted."""
    with (
        idxd_client.connect(daemon.socket) as theirs, theirs.alloc(4096) as memory,
        windows.open_window(theirs, memory, submitter.pasid, write=True),
    ):  # fmt: skip
        submitter.client.close()
        wait_until(lambda: not theirs.request("windows")["windows"], 10, "the window is gone")


def test_a_full_table(owner: Peer, submitter: Peer) -> None:
    """The table is the device's: who asks for one window too many is told so, and their end gives all of them back."""
    handles = [owner.window(submitter, read=True) for _ in range(64)]
    assert sorted(handles) == list(range(64))
    with pytest.raises(RequestError) as refused:
        owner.window(submitter, read=True)
    assert refused.value.code == "ENOSPC"
    submitter.client.close()
    wait_until(lambda: not owner.client.control.request("windows")[0]["windows"], 20, "nobody may submit to them any more")


def test_a_reset_clears_the_table(owner: Peer, daemon: RunningDaemon) -> None:
    """Disabling the device resets it: the windows are gone, and their handles are free again."""
    peer = Peer(daemon)
    try:
        handle = owner.window(peer, read=True)
        control = daemon.connect()
        try:
            control.request("disable_device", device="dsa0")
            assert owner.client.control.request("windows")[0]["windows"] == []
            control.request("enable_device", device="dsa0")
            control.request("enable_wq", wq=WQ)
        finally:
            control.close()
        assert owner.window(peer, read=True) == handle
    finally:
        peer.client.close()


def ctl(daemon: RunningDaemon, *words: str) -> str:
    """What idxdctl printed."""
    program = Path(sys.executable).parent / "idxdctl"
    command = [str(program), *words, "--socket", daemon.socket]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_administrator_sees_and_closes_them(owner: Peer, submitter: Peer, daemon: RunningDaemon) -> None:
    """Whose memory and who reaches it, in PASIDs; closing is for everybody's sake, opening is the owner's alone."""
    handle = owner.window(submitter, read=True, offset=True)
    (seen,) = json.loads(ctl(daemon, "windows", "--json"))["windows"]
    assert (seen["handle"], seen["owner"], seen["submitter"]) == (handle, owner.pasid, submitter.pasid)
    assert f"dsa0/{handle}" in ctl(daemon, "windows")
    ctl(daemon, "close-window", "dsa0", str(handle))
    assert owner.client.control.request("windows")[0]["windows"] == []
