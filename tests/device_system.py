"""The device on the real engine, with real vectors, in one thread: what tests of the device by portals stand on."""

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import posix_ipc
from engine_bench import BATCH, CRAV, RCR, Client, descriptor

from idxdd import native
from idxdd.device.profile import Profile
from idxdd.shm.hostmemory import host_base
from idxdd.spec.records import RecordFaultEntry
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCFG, SWERR
from idxdd.testing.mock_driver import DEDICATED, MockDriver
from idxdd.testing.profiles import DSA2

BASE = 0x10000
SIZE = 1 << 16
NOWHERE = 0x7000_0000


class System:
    """Engine, device, driver; clients publish into portals by hand."""

    def __init__(self, instance: str, profile: Profile = DSA2) -> None:
        entries = range(profile.vectors)
        self.semaphores = [posix_ipc.Semaphore(f"/{instance}.v{entry}", posix_ipc.O_CREX) for entry in entries]
        self.published = mmap.mmap(-1, -(-native.LAYOUT["published_device"] // 4096) * 4096)
        self.native = native.Engine(self.published, spin_us=0)
        self.driver = MockDriver(
            profile, engine=self.native, published=self.published, semaphores=[semaphore.name for semaphore in self.semaphores]
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

    def client(self, wq: int = 0, pasid: int = 2, *, priv: bool = False) -> Client:
        """A portal on this WQ and 64 KiB of memory at BASE."""
        made = Client(self, wq, pasid, base=BASE, size=SIZE, priv=priv)  # type: ignore[arg-type]
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

    def log_on(self, **wq: int) -> None:
        """Enable device and WQ 0 with an event log of 64 entries."""
        self.driver.write(EVLCFG.encode(log_size=64, log_base=host_base(0)))
        self.driver.change(GENCFG, evl_en=True)
        self.driver.enable(DEDICATED | wq)

    def entries(self) -> list[RecordFaultEntry]:
        """Every entry since the log was switched on."""
        tail = self.driver.read(EVLSTATUS).tail
        return [RecordFaultEntry.unpack(self.driver.host.read(host_base(0) + 64 * n, 64) or b"") for n in range(tail)]

    def batch(self, client: Client, members: list[bytes], flags: int = CRAV | RCR, record: int = BASE, **fields: Any) -> bytes:
        """Lay the members out at 0x4000 and return the Batch."""
        client.memory[0x4000 : 0x4000 + 64 * len(members)] = b"".join(members)
        return descriptor(BATCH, flags, record, BASE + 0x4000, 0, len(members), **fields)

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


@contextlib.contextmanager
def device_system(instance: str, profile: Profile = DSA2) -> Iterator[System]:
    """One device of this profile, taken down afterwards."""
    made = System(instance, profile)
    try:
        yield made
    finally:
        made.close()
