"""Each status a portal can provoke, at each place it can appear: record, SWERR, event log; on the real engine.

operations.md section 2 says where an error goes: with a completion record address into the record, without one into the
event log if that is on, else into SWERR. docs/device-coverage.md is made from what is seen here and elsewhere.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from device_system import BASE, NOWHERE, System, device_system
from engine_bench import CRAV, DRAIN, MOVE, NOOP, RCR, Client, descriptor

from idxdd.device.profile import Profile
from idxdd.device.profilefile import load
from idxdd.shm.hostmemory import host_base
from idxdd.spec.codes import CmdErr, Command, CompletionStatus, Flag, Opcode
from idxdd.spec.pci import VC0CTL
from idxdd.spec.registers import EVLCFG, GENCFG, GRPCFG, IDCAP, IDPT, MSIXPERM, OFFSETS
from idxdd.testing.mock_driver import DEDICATED, SHARED
from idxdd.testing.profiles import DSA2

RECORD, SOURCE, TARGET = BASE, BASE + 0x1000, BASE + 0x8000
BOF, RCI = int(Flag.BOF), int(Flag.RCI)
Make = Callable[[Client, int, int], bytes]
"""The descriptor; with these flags besides its own, and this record."""


@dataclass(frozen=True)
class Provoked:
    """A status, who provokes it, and what the device must be like for it."""

    status: CompletionStatus
    make: Make
    wq: dict[str, int] = field(default_factory=dict)
    platform: dict[str, Any] = field(default_factory=dict)
    priv: bool = False
    in_record: bool = True
    """Not of those that never go there (operations.md section 2)."""

    @property
    def profile(self) -> Profile:
        return replace(DSA2, platform=replace(DSA2.platform, **self.platform))


def move(source: int = SOURCE, target: int = TARGET, size: int = 64, flags: int = 0) -> Make:
    return lambda client, more, record: descriptor(MOVE, flags | more, record, source, target, size)


def operation(opcode: int, flags: int = 0, *rest: Any, first: int = SOURCE, second: int = TARGET, size: int = 64) -> Make:
    tail = rest[0] if rest else b""
    return lambda client, more, record: descriptor(opcode, flags | more, record, first, second, size, rest=tail)


def applied(*offsets: int) -> Make:
    """Apply Delta Record of entries at these offsets, in units of 8 bytes."""

    def make(client: Client, more: int, record: int) -> bytes:
        delta = b"".join(struct.pack("<HQ", offset, 0) for offset in offsets)
        client.memory[0x1000 : 0x1000 + len(delta)] = delta
        return descriptor(Opcode.AP_DELTA, more, record, SOURCE, TARGET, 4096, rest=struct.pack("<I", len(delta)))

    return make


def stripped(client: Client, more: int, record: int) -> bytes:
    """DIF Strip of a block of 512 bytes whose guard is wrong."""
    client.memory[0x1000 : 0x1000 + 520] = b"\1" + bytes(519)
    return descriptor(Opcode.DIF_STRP, more, record, SOURCE, TARGET, 520)


def listed(*members: bytes, address: int = BASE + 0x4000, count: int | None = None) -> Make:
    def make(client: Client, more: int, record: int) -> bytes:
        client.memory[0x4000 : 0x4000 + 64 * len(members)] = b"".join(members)
        return descriptor(Opcode.BATCH, more, record, address, 0, len(members) if count is None else count)

    return make


CODES = [
    Provoked(CompletionStatus.PAGE_FAULT_NOBOF, move(source=NOWHERE)),
    Provoked(CompletionStatus.PAGE_FAULT_NOBOF, move(target=NOWHERE)),
    Provoked(CompletionStatus.PAGE_FAULT_IR, move(source=NOWHERE, flags=BOF), wq={"bof": 1}),
    Provoked(CompletionStatus.PAGE_FAULT_IR, move(target=NOWHERE, flags=BOF), wq={"bof": 1}),
    Provoked(CompletionStatus.BATCH_PAGE_FAULT, listed(address=NOWHERE, count=2)),
    Provoked(CompletionStatus.DR_OFFSET_NOINC, applied(3, 3)),
    Provoked(CompletionStatus.DR_OFFSET_ERANGE, applied(512)),
    Provoked(CompletionStatus.DIF_ERR, stripped),
    Provoked(CompletionStatus.BAD_OPCODE, operation(0x0B)),
    Provoked(CompletionStatus.INVALID_FLAGS, operation(NOOP, 1 << 6, first=0, second=0, size=0)),
    Provoked(CompletionStatus.NOZERO_RESERVE, operation(NOOP, 0, second=0, size=0)),
    Provoked(CompletionStatus.XFER_ERANGE, move(size=1 << 22)),
    Provoked(CompletionStatus.DESC_CNT_ERANGE, listed(count=33)),
    Provoked(CompletionStatus.DR_ERANGE, operation(Opcode.AP_DELTA, 0, struct.pack("<I", 11), size=4096)),
    Provoked(
        CompletionStatus.OVERLAP_BUFFERS, operation(Opcode.DUALCAST, 0, struct.pack("<Q", TARGET + 0x4000), second=SOURCE)
    ),
    Provoked(CompletionStatus.DCAST_ERR, operation(Opcode.DUALCAST, 0, struct.pack("<Q", TARGET + 0x4004))),
    Provoked(CompletionStatus.DESCLIST_ALIGN, listed(address=BASE + 0x4020, count=2)),
    Provoked(CompletionStatus.ADDR_ALIGN, operation(Opcode.AP_DELTA, 0, struct.pack("<I", 10), second=TARGET + 4, size=4096)),
    Provoked(CompletionStatus.HW_ERR1, move(source=NOWHERE), platform={"ats": False, "prs": False}),
    Provoked(CompletionStatus.HW_ERR1, move(source=NOWHERE), wq={"wq_ats_disable": 1}),
    Provoked(CompletionStatus.HW_ERR_DRB, move(target=NOWHERE), platform={"ats": False, "prs": False}),
    Provoked(CompletionStatus.HW_ERR_DRB, move(target=NOWHERE), wq={"wq_ats_disable": 1}),
    Provoked(
        CompletionStatus.PRIV_BAD,
        operation(NOOP, 0, first=0, second=0, size=0),
        wq=SHARED,
        platform={"privileged_mode": False},
        priv=True,
        in_record=False,
    ),
]
IDS = [f"{one.status.name}-{number}" for number, one in enumerate(CODES)]


@pytest.fixture
def provoked(request: pytest.FixtureRequest, instance: str) -> Iterator[tuple[Provoked, System]]:
    with device_system(instance, request.param.profile) as system:
        yield request.param, system


def enabled(system: System, case: Provoked, *, log: bool = False) -> Client:
    """Device, WQ 0 as the case wants it, and a client on it."""
    if log:
        system.driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
        system.driver.change(GENCFG, evl_en=True)
    system.driver.enable(DEDICATED | case.wq)
    return system.client(priv=case.priv)


@pytest.mark.parametrize("provoked", CODES, ids=IDS, indirect=True)
def test_a_status_is_in_the_record(provoked: tuple[Provoked, System]) -> None:
    """With a record address the record tells; the statuses that never may, do not touch it."""
    case, system = provoked
    client = enabled(system, case)
    system.run(client, case.make(client, CRAV | RCR, RECORD))
    found = client.record(0)[0] & 0x3F
    assert found == (case.status if case.in_record else 0), f"{found:#04x}"
    assert bool(system.swerr().valid) is not case.in_record


@pytest.mark.parametrize("provoked", CODES, ids=IDS, indirect=True)
def test_without_a_record_a_status_is_in_swerr(provoked: tuple[Provoked, System]) -> None:
    """WQ, PASID, operation and operand of the descriptor are told."""
    case, system = provoked
    client = enabled(system, case)
    desc = case.make(client, 0, 0)
    system.run(client, desc)
    swerr = system.swerr()
    assert (swerr.error, swerr.valid, swerr.desc_valid, swerr.wq_idx_valid) == (case.status, 1, 1, 1), hex(swerr.raw)
    assert (swerr.wq_idx, swerr.operation, swerr.priv) == (0, desc[7], case.priv)
    assert bytes(client.record(0)) == bytes(32)


@pytest.mark.parametrize("provoked", CODES, ids=IDS, indirect=True)
def test_with_a_log_a_status_is_in_an_entry(provoked: tuple[Provoked, System]) -> None:
    """And SWERR stays empty."""
    case, system = provoked
    client = enabled(system, case, log=True)
    desc = case.make(client, 0, 0)
    system.run(client, desc)
    assert [(entry.error, entry.operation) for entry in system.entries()] == [(case.status, desc[7])]
    assert not system.swerr().valid


@pytest.mark.parametrize("log", [False, True], ids=["SWERR", "log"])
def test_a_refused_handle_is_in_the_record_and_beside_it(instance: str, log: bool) -> None:
    """0x19: the only status that is told twice (operations.md section 2); no interrupt is raised."""
    with device_system(instance) as system:
        client = enabled(system, Provoked(CompletionStatus.INT_HANDLE_INVAL, move()), log=log)
        assert system.driver.command(Command.REQUEST_INT_HANDLE, 2) is CmdErr.SUCCESS
        system.driver.change(MSIXPERM, 2, pasid_en=True, pasid=7)
        system.run(client, client.noop(0, RCI, handle=2))
        assert client.record(0)[0] == CompletionStatus.INT_HANDLE_INVAL
        told = [entry.error for entry in system.entries()] if log else [system.swerr().error]
        assert told == [CompletionStatus.INT_HANDLE_INVAL]
        assert not system.fired(2)


@pytest.mark.parametrize("switch", ["ats", "wq_ats_disable"])
def test_a_readback_that_fails_without_translation(instance: str, switch: str) -> None:
    """0x21, as for a write: nobody can ask for the page."""
    case = Provoked(
        CompletionStatus.HW_ERR_DRB,
        move(),
        platform={"ats": False, "prs": False} if switch == "ats" else {},
        wq={"wq_ats_disable": 1} if switch == "wq_ats_disable" else {},
    )
    with device_system(instance, case.profile) as system:
        client = enabled(system, case)
        system.run(client, descriptor(DRAIN, CRAV | RCR | 1 << 16, RECORD, NOWHERE))
        assert client.record(0)[0] & 0x3F == CompletionStatus.HW_ERR_DRB


@pytest.mark.parametrize("place", ["record", "SWERR", "log", "record's class"])
def test_a_traffic_class_that_no_channel_carries(instance: str, place: str) -> None:
    """0x1E (operations.md section 4, rows 3 and 17): the group's TC-B is class 3, which configuration space has unmapped."""
    with device_system(instance) as system:
        driver = system.driver
        driver.device.pci.write(driver.device.pci.read(VC0CTL).replace(tc_map=0b111))
        if place == "log":
            driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
            driver.change(GENCFG, evl_en=True)
        driver.change(GRPCFG, 0, tc_b=3)
        driver.enable(DEDICATED)
        client = system.client()
        selector = int(Flag.CR_TCS if place == "record's class" else Flag.ADDR1_TCS)
        to_record = CRAV | RCR if place.startswith("record") else 0
        system.run(client, descriptor(MOVE, to_record | selector, RECORD if to_record else 0, SOURCE, TARGET, 64))
        in_record = place == "record"
        assert client.record(0)[0] == (CompletionStatus.TRAFFIC_CLASS_CONF if in_record else 0)
        if place == "log":
            assert [entry.error for entry in system.entries()] == [CompletionStatus.TRAFFIC_CLASS_CONF]
        elif not in_record:
            assert system.swerr().error == CompletionStatus.TRAFFIC_CLASS_CONF


# ---- other domains ------------------------------------------------------------------------------------------------------

OWNER, SUBMITTER, HANDLE = 5, 6, 3
DEST_HANDLE = 1 << 17  # the flag that must be set: the destination goes through the entry
WINDOW = BASE + 0x8000
ENTRY: dict[str, Any] = {
    "usable": True, "submitter_pasid": SUBMITTER, "access_pasid": OWNER, "read_permission": True, "write_permission": True,
    "window_en": True, "window_base": WINDOW, "window_size": 0x1000,
}  # fmt: skip


def filled(handle: int = HANDLE, target: int = WINDOW, size: int = 64) -> Make:
    """Inter-domain Fill through this entry."""
    rest = bytes(22) + struct.pack("<H", handle)
    return lambda client, more, record: descriptor(
        Opcode.INTER_DOMAIN_FILL, DEST_HANDLE | more, record, 7, target, size, rest=rest
    )


def updated(base: int = WINDOW, size: int = 64, flags: int = 0b111) -> Make:
    """Update Window: base, size, and what byte 61 says."""

    def make(client: Client, more: int, record: int) -> bytes:
        desc = bytearray(descriptor(Opcode.UPDATE_WINDOW, more, record, base))
        desc[24:32], desc[61], desc[62:64] = size.to_bytes(8, "little"), flags, HANDLE.to_bytes(2, "little")
        return bytes(desc)

    return make


DOMAINS: list[tuple[CompletionStatus, Make, dict[str, Any]]] = [
    (CompletionStatus.NO_PASID, filled(), {"pasid_en": False}),
    (CompletionStatus.IDPT_HANDLE_INVAL, filled(handle=9), {}),
    (CompletionStatus.IDPT_HANDLE_INVAL, filled(), {"submitter_pasid": 7}),
    (CompletionStatus.IDPT_PERMISSION, filled(), {"write_permission": False}),
    (CompletionStatus.WINDOW_ERANGE, filled(target=WINDOW + 0x1000), {}),
    (CompletionStatus.WINDOW_UPDATE_REFUSED, updated(), {"access_pasid": SUBMITTER}),
    (CompletionStatus.WINDOW_FIELDS, updated(size=0xFFFF_FFFF_FFFF_FFFF), {"access_pasid": SUBMITTER, "allow_update": True}),
    (
        CompletionStatus.DOMAIN_GONE,
        filled(target=1 << 32, size=1 << 20),
        {"window_en": False, "window_base": 0, "window_size": 0},
    ),
]


def domain_run(system: System, make: Make, changes: dict[str, Any], flags: int, record: int, *, log: bool) -> Client:
    """A submitter on WQ 0, an owner whose PASID goes when the work is under way, an entry between them; run it."""
    driver = system.driver
    entry = IDPT.encode(**ENTRY | {name: value for name, value in changes.items() if name != "pasid_en"})
    if log:
        driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
        driver.change(GENCFG, evl_en=True)
    driver.enable(DEDICATED | {"pasid_en": changes.get("pasid_en", True), "pasid": SUBMITTER, "priority": 1})
    submitter, owner = system.client(pasid=SUBMITTER), system.client(pasid=OWNER)
    for start in range(0, 1 << 20, len(owner.memory)):
        owner.space.add((1 << 32) + start, owner._fds[3], len(owner.memory))
    driver.port.bind_pasid(OWNER, owner.space)
    driver.port.bind_pasid(SUBMITTER, submitter.space)
    at = IDPT.entry_offset(HANDLE, driver.read(OFFSETS), driver.read(IDCAP))
    for dword in (*range(1, 8), 0):
        driver.mmio.write32(at + 4 * dword, entry.raw >> 32 * dword & 0xFFFF_FFFF)
    assert driver.command(Command.REQUEST_IDPT_HANDLE, HANDLE) is CmdErr.SUCCESS
    submitter.publish(make(submitter, flags, record))
    system.native.run(1)
    if not submitter.get("done"):
        driver.port.unbind_pasid(OWNER)
    driver.turn_until(lambda: submitter.get("done") == 1, "the descriptor")
    driver.settle()
    return submitter


@pytest.mark.parametrize("place", ["record", "SWERR", "log"])
@pytest.mark.parametrize(
    ("status", "make", "changes"), DOMAINS, ids=[f"{status.name}-{number}" for number, (status, _, _) in enumerate(DOMAINS)]
)
def test_a_domain_that_is_not_open(
    instance: str, status: CompletionStatus, make: Make, changes: dict[str, Any], place: str
) -> None:
    """Each way another domain refuses, at each place it is told (operations.md section 4, rows 8 and 18, section 8)."""
    with device_system(instance, load("dsa2-interdomain")) as system:
        flags, record = (CRAV | RCR, RECORD) if place == "record" else (0, 0)
        client = domain_run(system, make, changes, flags, record, log=place == "log")
        found = {
            "record": lambda: [client.record(0)[0] & 0x3F],
            "SWERR": lambda: [system.swerr().error],
            "log": lambda: [entry.error for entry in system.entries()],
        }[place]()
        assert found == [status]


@pytest.mark.parametrize("command", [Command.REQUEST_IDPT_HANDLE, Command.RELEASE_IDPT_HANDLE])
def test_an_entry_that_is_not_there_has_no_handle(instance: str, command: Command) -> None:
    """0x51 for an index beyond the table."""
    with device_system(instance, load("dsa2-interdomain")) as system:
        assert system.driver.command(command, system.driver.read(IDCAP).idpt_size) is CmdErr.INVAL_IDPT_IDX
