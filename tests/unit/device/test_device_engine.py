"""The device on the real engine, in one thread: what a client finds in its record, and the driver in SWERR."""

import mmap
import struct
from collections.abc import Iterator
from typing import Any

import posix_ipc
import pytest
from engine_bench import CRAV, MOVE, NOOP, RCI, RCR, Client, descriptor

from idxdd import native
from idxdd.spec.codes import CmdErr, Command, ResetType, WqState
from idxdd.spec.registers import GENCTRL, INTCAUSE, SWERR, WQCFG
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver

BASE = 0x10000
SIZE = 1 << 16
NOWHERE = 0x7000_0000


class System:
    """Engine, device, driver; clients publish into portals by hand."""

    def __init__(self, instance: str) -> None:
        self.semaphores = [posix_ipc.Semaphore(f"/{instance}.v{entry}", posix_ipc.O_CREX) for entry in range(9)]
        self.published = mmap.mmap(-1, -(-native.LAYOUT["published_device"] // 4096) * 4096)
        self.native = native.Engine(self.published, spin_us=0)
        self.driver = MockDriver(
            engine=self.native, published=self.published, semaphores=[semaphore.name for semaphore in self.semaphores]
        )
        self.clients: list[Client] = []

    @property
    def engine(self) -> "System":
        """engine_bench.Client asks its bench's engine for a portal; here the port must hear of it."""
        return self

    def portal_add(self, wq: int, **arguments: Any) -> tuple[int, int]:
        return self.driver.port.portal_add(wq, **arguments), 0

    def settle(self, request: int = 0) -> None:
        self.driver.settle()

    def client(self, wq: int = 0, pasid: int = 2) -> Client:
        made = Client(self, wq, pasid, base=BASE, size=SIZE)  # type: ignore[arg-type]
        self.clients.append(made)
        return made

    def run(self, client: Client, *descriptors: bytes) -> None:
        client.publish(*descriptors)
        self.driver.turn_until(lambda: client.get("done") == client.tail, "the descriptors")
        self.driver.settle()

    def swerr(self) -> SWERR:
        """Read and acknowledge."""
        seen = self.driver.read(SWERR)
        self.driver.write(SWERR(3))
        return seen

    def fired(self, entry: int) -> bool:
        """Take one signal of this vector."""
        try:
            self.semaphores[entry].acquire(0)
        except posix_ipc.BusyError:
            return False
        at = native.LAYOUT["mmio.pending"] + 4 * entry
        self.driver.ring[at : at + 4] = bytes(4)
        return True

    def close(self) -> None:
        self.driver.close()
        del self.native, self.driver
        for client in self.clients:
            client.close()
        for semaphore in self.semaphores:
            semaphore.unlink()
            semaphore.close()


@pytest.fixture
def system(instance: str) -> Iterator[System]:
    made = System(instance)
    try:
        yield made
    finally:
        made.close()


def test_a_move_runs_and_interrupts(system: System) -> None:
    """Enable through registers, submit through a portal, completion by the requested handle."""
    system.driver.enable(DEDICATED)
    assert system.driver.command(Command.REQUEST_INT_HANDLE, 3) is CmdErr.SUCCESS
    client = system.client()
    client.memory[0x1000:0x1100] = bytes(range(256))
    system.run(client, descriptor(MOVE, CRAV | RCR | RCI, BASE, BASE + 0x1000, BASE + 0x2000, 256, handle=3))
    assert client.record(0)[0] == 1
    assert bytes(client.memory[0x2000:0x2100]) == bytes(range(256))
    assert system.fired(3)
    assert not system.fired(0)


def test_a_handle_ends_with_its_release(system: System) -> None:
    """0x19 in the record and in SWERR, and no interrupt."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.command(Command.RELEASE_INT_HANDLE, 3)
    system.run(client, client.noop(0, RCI, handle=3))
    assert client.record(0)[0] == 0x19
    swerr = system.swerr()
    assert (swerr.error, swerr.error_info, swerr.pasid, swerr.operation) == (0x19, 3, 2, NOOP)
    assert not system.fired(3)


def test_the_permission_table_guards_a_handle(system: System) -> None:
    """An entry that belongs to a PASID is not for a WQ without one."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    client = system.client()
    system.driver.mmio.write32(0x400 + 8 * 3, 2 << 12 | 1 << 3)
    system.driver.settle()
    system.run(client, client.noop(0, RCI, handle=3))
    assert client.record(0)[0] == 0x19
    system.driver.mmio.write32(0x400 + 8 * 3, 0)
    system.driver.settle()
    system.run(client, client.noop(32, RCI, handle=3))
    assert client.record(32)[0] == 1


def test_a_masked_vector_pends_behind_the_engine(system: System) -> None:
    """The engine raises, PBA shows it, the mask opens, one signal; Reset Device would have forgotten it."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 1)
    client = system.client()
    system.run(client, client.noop(0, RCI, handle=3))
    assert not system.fired(3)
    assert system.driver.mmio.read64(0x3000) == 1 << 3
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 0)
    system.driver.settle()
    assert system.fired(3)
    assert system.driver.mmio.read64(0x3000) == 0


def test_reset_device_forgets_what_pends_in_the_engine(system: System) -> None:
    """After a reset an old completion interrupt must not appear."""
    system.driver.enable(DEDICATED)
    system.driver.command(Command.REQUEST_INT_HANDLE, 3)
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 1)
    client = system.client()
    system.run(client, client.noop(0, RCI, handle=3))
    assert system.driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    assert system.driver.mmio.read64(0x3000) == 0
    system.driver.mmio.write32(0x2000 + 16 * 3 + 12, 0)
    system.driver.settle()
    assert not system.fired(3)


@pytest.mark.parametrize(("source", "destination", "status"), [(NOWHERE, BASE + 0x1000, 0x03), (BASE, NOWHERE, 0x83)])
def test_a_page_fault_ends_in_the_record(system: System, source: int, destination: int, status: int) -> None:
    """Partial result, fault address, the write bit; nothing in SWERR."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(MOVE, CRAV | RCR, BASE + 0x8000, source, destination, 64))
    record = client.record(0x8000)
    assert record[0] == status
    assert struct.unpack_from("<Q", record, 8)[0] & ~0xFFF == NOWHERE
    assert not system.swerr().valid


def test_a_page_fault_without_a_record_goes_to_swerr(system: System) -> None:
    """The engine exits a second time for it; the address and operand are told."""
    system.driver.write(GENCTRL.encode(softerr_int_en=True))
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(MOVE, 0, 0, BASE, NOWHERE, 64))
    swerr = system.swerr()
    assert (swerr.error, swerr.fault_rw, swerr.fault_addr & ~0xFFF, swerr.error_info >> 29) == (0x03, 1, NOWHERE, 3)
    assert system.driver.read(INTCAUSE).err
    assert system.fired(0)


def test_a_record_that_is_nowhere_is_reported(system: System) -> None:
    """0x1A, and the WQ goes on."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.run(client, descriptor(NOOP, CRAV | RCR, NOWHERE), client.noop(0))
    swerr = system.swerr()
    assert (swerr.error, swerr.fault_addr & ~0xFFF, swerr.fault_rw, swerr.overflow) == (0x1A, NOWHERE, 1, 0)
    assert client.record(0)[0] == 1


def test_dropped_posted_writes_become_swerr(system: System) -> None:
    """The client counts what it dropped; the driver reads 0x53."""
    system.driver.enable(DEDICATED)
    client = system.client()
    client.set("dropped", 1)
    system.driver.turn_until(lambda: bool(system.driver.read(SWERR).valid), "the overflow report")
    swerr = system.swerr()
    assert (swerr.error, swerr.wq_idx_valid, swerr.wq_idx) == (0x53, 1, 0)


@pytest.mark.parametrize(
    ("command", "operand", "reason"),
    [
        (Command.DISABLE_WQ, 1, 1),
        (Command.DISABLE_DEVICE, 0, 1),
        (Command.RESET_WQ, 1, 2),
        (Command.RESET_DEVICE, 0, 2),
        (Command.ABORT_WQ, 1, 2),
        (Command.ABORT_ALL, 0, 2),
    ],
)
def test_commands_close_portals_with_their_reason(system: System, command: Command, operand: int, reason: int) -> None:
    """A client must be able to name why its portal closed; a WQ that was aborted serves new portals."""
    system.driver.enable(DEDICATED, SHARED)
    client = system.client()
    system.run(client, client.noop(0))
    assert system.driver.command(command, operand) is CmdErr.SUCCESS
    assert (client.get("closed"), client.get("closed_at")) == (reason, 1)
    if command in (Command.ABORT_WQ, Command.ABORT_ALL):
        assert system.driver.read(WQCFG, 0).wq_state is WqState.ENABLED
        system.run(other := system.client(), other.noop(0))
        assert other.record(0)[0] == 1


def test_a_halt_stops_everything_until_reset(system: System) -> None:
    """Portals close as halted; after Reset Device the device can be configured and used again."""
    system.driver.enable(DEDICATED)
    client = system.client()
    system.driver.device.halt(ResetType.SOFTWARE)
    system.driver.settle()
    assert client.get("closed") == 3
    assert system.driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    system.driver.enable(DEDICATED)
    system.run(other := system.client(), other.noop(0))
    assert other.record(0)[0] == 1


def test_drains_wait_for_what_was_accepted(system: System) -> None:
    """Drain All, Drain WQ and Drain PASID end, and everything published before has its record."""
    system.driver.enable(DEDICATED)
    client = system.client()
    for number, (command, operand) in enumerate([(Command.DRAIN_ALL, 0), (Command.DRAIN_WQ, 1), (Command.DRAIN_PASID, 2)]):
        client.publish(client.noop(32 * number))
        assert system.driver.command(command, operand) is CmdErr.SUCCESS
        assert client.record(32 * number)[0] == 1, command.name
