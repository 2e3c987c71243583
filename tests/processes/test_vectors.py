"""Every published vector through a portal of a real daemon: client's memory in, client's memory and record out.

The reference model and the engine each have tests of their own; this one leaves nothing out in between. One daemon and one
session for all of them: a test is a few hundred microseconds.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RunningDaemon, alive, child_pids
from raw_client import BATCH, CRAV, RCR, RawBuffer, RawClient, RawPortal, descriptor
from waiting import wait_until

from idxdd.shm import names
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.testing import vectors

pytestmark = pytest.mark.xdist_group("vectors")

DOCUMENT = vectors.load(Path(__file__).parents[1] / "golden" / "vectors.json")
CASES = list(vectors.cases(DOCUMENT))
SINGLE_FAULTS = list(vectors.single_faults(DOCUMENT))
GUARDS: list[dict[str, Any]] = DOCUMENT["groups"]["crc16_t10dif"]
"""The guard of DIF fields by itself: no operation of its own computes it."""

WQ = "dsa0/wq0.0"
CONFIG = [
    {
        "dev": "dsa0",
        "groups": [
            {
                "dev": "group0.0",
                "grouped_workqueues": [
                    {
                        "dev": "wq0.0",
                        "mode": "dedicated",
                        "size": 16,
                        "group_id": 0,
                        "priority": 10,
                        "block_on_fault": 1,
                        "max_batch_size": 16,
                        "max_transfer_size": 2 << 20,
                        "type": "user",
                        "name": "vectors",
                        "driver_name": "user",
                        "threshold": 0,
                    }
                ],
                "grouped_engines": [{"dev": "engine0.0", "group_id": 0}],
            }
        ],
    }
]
"""What the single-fault descriptors assume: transfers up to 2 MiB, 16 members, Block on Fault allowed."""

REGION_BYTES = 4 << 20
REGIONS = {name: index * REGION_BYTES for index, name in enumerate(vectors.REGIONS)}
MARGIN = 256
"""Bytes around what an operation may write, which it may not."""


class Session:
    """A client with a portal and memory in regions, as the vectors want it."""

    def __init__(self, client: RawClient) -> None:
        self.memory: RawBuffer = client.alloc(len(REGIONS) * REGION_BYTES)
        self.portal: RawPortal = client.open(WQ)
        self.record_at = REGIONS["C"]

    def address(self, offset: int) -> int:
        base: int = self.memory.address
        return base + offset

    def run(self, desc: bytes) -> bytes:
        """The completion record in region C, once it is there."""
        view, at = self.memory.view, self.record_at
        view[at : at + 32] = bytes(32)
        number = self.portal.publish(desc)
        wait_until(lambda: self.portal.load("done") > number, 10, "the descriptor is done")
        return bytes(view[at : at + 32])

    def place(self, offset: int, content: bytes) -> None:
        """Content with a margin of 0x5A on both sides, as far as the region's first byte."""
        before = min(MARGIN, offset % REGION_BYTES)
        self.memory.view[offset - before : offset + len(content) + MARGIN] = b"\x5a" * before + content + b"\x5a" * MARGIN

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there; what lies around them must be as `place` left it."""
        before, end, view = min(MARGIN, offset % REGION_BYTES), offset + size, self.memory.view
        assert bytes(view[offset - before : offset]) == b"\x5a" * before, "written before the destination"
        assert bytes(view[end : end + MARGIN]) == b"\x5a" * MARGIN, "written behind the destination"
        return bytes(view[offset:end])


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> None:
    """In place of the check after each test, which would take longer than all of them: the daemon is checked at its end."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One daemon, one client, one portal."""
    directory = tmp_path_factory.mktemp("vectors")
    config = directory / "config.json"
    config.write_text(json.dumps(CONFIG))
    instance = f"t-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}-vectors"
    daemon = RunningDaemon(instance, directory, "--config", str(config)).start()
    try:
        with RawClient(daemon.socket) as client:
            yield Session(client)
            children = child_pids(daemon.pid)
    finally:
        code = daemon.stop()
    assert code == 0, f"exit code {code}: {daemon.said}"
    wait_until(lambda: not any(map(alive, children)), 5, "idxdd-irq ends with its daemon")
    assert not names.names_left(instance)


def test_the_file_is_complete() -> None:
    """A vector that the loader skips would look like one that passes."""
    assert len(CASES) + len(GUARDS) == sum(map(len, DOCUMENT["groups"].values())) == 334
    assert len(SINGLE_FAULTS) == len(DOCUMENT["descriptor_errors"]["cases"]) == 51


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_vector(session: Session, case: vectors.Case) -> None:
    """Status, result, counts, CRC, tags and every defined byte of every destination are as published."""
    free = (REGIONS[name] for name in ("S", "D", "D2", "E", "L"))
    offsets = {name: next(free) + buffer.page_offset for name, buffer in case.buffers.items()}
    for name, buffer in case.buffers.items():
        session.place(offsets[name], buffer.content)
    addresses = {name: session.address(offset) for name, offset in offsets.items()}
    record = session.run(case.descriptor(addresses, session.address(session.record_at)))
    contents = {name: session.read(offsets[name], len(case.buffers[name].content)) for name in case.buffers}
    case.check(record, contents)
    for name, buffer in case.buffers.items():
        assert name in case.written or contents[name] == buffer.content, f"{name} is a source"


@pytest.mark.parametrize("vector", GUARDS, ids=lambda vector: vector["id"])
def test_guard_vector(session: Session, vector: dict[str, Any]) -> None:
    """CRC-16/T10-DIF of any message, through DIF Insert.

    A message shorter than a block is the end of a block of zeros, which leave the register at 0; a seed of ones is then its
    first two bytes complemented. In a message that is a block the seed is the flag.
    """
    message, ones = vectors.content(vector["bufs"]["src"]), vectors.number(vector["seed"]) != 0
    sizes = {512: 0, 520: 1, 4096: 2, 4104: 3}
    whole = len(message) in sizes
    if ones and not whole:
        message = bytes(byte ^ 0xFF for byte in message[:2]) + message[2:]
    block = message if whole else message.rjust(512, b"\0")
    source, destination = REGIONS["S"], REGIONS["D"]
    for inverted in (False, True):
        session.place(source, block)
        session.place(destination, bytes(len(block) + 8))
        dif_flags = sizes[len(block)] | (ones and whole) << 2 | inverted << 3
        desc = bytearray(
            descriptor(
                Opcode.DIF_INS,
                record=session.address(session.record_at),
                source=session.address(source),
                destination=session.address(destination),
                size=len(block),
            )
        )
        desc[42] = dif_flags
        assert session.run(bytes(desc))[0] == CompletionStatus.SUCCESS
        guard = int.from_bytes(session.read(destination, len(block) + 8)[len(block) : len(block) + 2], "big")
        assert guard == vectors.number(vector["expect"]["crc_inverted" if inverted else "crc"])


@pytest.mark.parametrize("fault", SINGLE_FAULTS, ids=lambda fault: fault.id)
def test_single_fault(session: Session, fault: vectors.SingleFault) -> None:
    """One rule broken, by itself or inside a batch: the status says which, and the next descriptor is served."""
    regions = {name: session.address(offset) for name, offset in REGIONS.items()}
    for offset in REGIONS.values():
        session.memory.view[offset : offset + 8192] = bytes(8192)
    desc = fault.descriptor(regions)
    if fault.in_batch:
        at = REGIONS["E"]
        session.memory.view[at : at + 128] = desc + bytes(64)
        desc = descriptor(BATCH, flags=CRAV | RCR, record=regions["C"] + 64, source=regions["E"], size=2)
    status = session.run(desc)[0]
    if fault.accept:
        assert status in fault.accept, fault.why
    else:
        assert status == CompletionStatus.SUCCESS, fault.why
    if fault.in_batch:
        batch = bytes(session.memory.view[REGIONS["C"] + 64 : REGIONS["C"] + 96])
        assert (batch[0], batch[4]) == (CompletionStatus.BATCH_FAIL, 2)
