"""A driver for tests of the device: it programs registers and sends commands, in the device's own thread.

Its writes go through the real posted ring (DriverMmio, whose pump runs the device), so that what it reads is what
idxdd-irq would read. No interrupts are awaited: a command's end is seen in CMDSTS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from typing_extensions import Buffer

from idxdd.device.device import Device
from idxdd.device.engineport import Engine, EnginePort
from idxdd.device.profile import Profile
from idxdd.native import _native as native
from idxdd.shm.hostmemory import HOST_MEMORY_SIZE, HostMemory
from idxdd.shm.mmio import MMIO_SIZE, DeviceMmio, DriverMmio
from idxdd.spec.codes import CmdErr, Command, WqMode
from idxdd.spec.layout import Register, Table
from idxdd.spec.registers import CMD, CMDSTS, GENCAP, GRPCAP, GRPCFG, IDCAP, OFFSETS, WQCAP, WQCFG
from idxdd.testing.fake_engine import FakeEngine
from idxdd.testing.profiles import DSA2

BAR0_SIZE_BYTES = 0x10000
TURNS_MAX = 10_000

R = TypeVar("R", bound=Register)
WqFields = dict[str, int]

DEDICATED: WqFields = {"wq_size": 16, "mode": WqMode.DEDICATED, "priority": 10, "max_xfer_shift": 21, "max_batch_shift": 5}
SHARED: WqFields = {**DEDICATED, "mode": WqMode.SHARED, "wq_thresh": 12, "pasid_en": 1}
"""WQs as the Linux driver would configure them."""


class MockDriver:
    """One device and the driver that programs it, both in this thread."""

    def __init__(
        self,
        profile: Profile = DSA2,
        *,
        engine: Engine | None = None,
        published: Buffer | None = None,
        semaphores: list[str] | None = None,
        index: int = 0,
    ) -> None:
        """`engine`: native.Engine, or a FakeEngine that acknowledges by itself; `semaphores`: one name a vector."""
        self.engine = FakeEngine(automatic=True) if engine is None else engine
        self.port = EnginePort(self.engine, published)
        self.bar0 = bytearray(BAR0_SIZE_BYTES)
        self.ring = bytearray(MMIO_SIZE)
        self.device_mmio = DeviceMmio(self.ring)
        names = semaphores or [f"/unused.{entry}" for entry in range(profile.vectors)]
        segment = bytearray(HOST_MEMORY_SIZE)
        self.device = Device(index, f"dsa{index}", profile, self.port, self.bar0, self.device_mmio, names, self.ring, segment)
        self.host = HostMemory(segment, index)
        self.mmio = DriverMmio(self.bar0, self.ring, lambda: None, name=self.device.name, pump=self.turn)
        self._capabilities = tuple(self.mmio.read(register) for register in (GENCAP, WQCAP, GRPCAP, OFFSETS, IDCAP))

    def __enter__(self) -> MockDriver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fake(self) -> FakeEngine:
        """The fake engine, if that is what the device drives."""
        assert isinstance(self.engine, FakeEngine)
        return self.engine

    def turn(self) -> int:
        """One turn of the device loop; returns what was done."""
        done = self.port.dispatch() + self.device.tick()
        if isinstance(self.engine, native.Engine):
            done += self.engine.run(1)
        return done

    def settle(self) -> None:
        """Turn until there is nothing to do."""
        for _ in range(TURNS_MAX):
            if not self.turn():
                return
        raise AssertionError("the device does not come to rest")

    def turn_until(self, condition: Callable[[], bool], what: str) -> None:
        """Turn until `condition` holds."""
        for _ in range(TURNS_MAX):
            if condition():
                return
            self.turn()
        raise AssertionError(f"waited in vain for {what}")

    # ---- registers -------------------------------------------------------------------------------------------------

    def read(self, register: type[R], index: int = 0) -> R:
        """A register or table entry, after all that was posted."""
        return self.mmio.read(register, at=self._place(register, index))

    def write(self, value: Register, index: int = 0) -> None:
        """Post a whole register or table entry, dword by dword."""
        self.mmio.write(value, at=self._place(type(value), index))
        self.mmio.settle()

    def change(self, register: type[Register], index: int = 0, **fields: object) -> None:
        """Read, change some fields, write back."""
        self.write(self.read(register, index).replace(**fields), index)

    def _place(self, register: type[Register], index: int) -> int:
        return register.entry_offset(index, *self._capabilities) if issubclass(register, Table) else register.offset

    # ---- commands --------------------------------------------------------------------------------------------------

    def post_command(self, command: int, operand: int = 0, *, int_req: bool = False) -> None:
        """Write CMD; do not wait."""
        self.write(CMD(int_req << 31 | command << 20 | operand))

    def command(self, command: int, operand: int = 0, *, int_req: bool = False) -> CmdErr:
        """Write CMD and wait for its end."""
        self.post_command(command, operand, int_req=int_req)
        self.turn_until(lambda: not self.read(CMDSTS).active, f"the end of command {command}")
        return CmdErr(self.read(CMDSTS).error)

    def configure(self, *wqs: WqFields, group: int = 0) -> None:
        """WQs 0, 1, ... of these fields, all in one group with engine 0."""
        for wq_id, fields in enumerate(wqs):
            self.change(WQCFG, wq_id, **fields)
        self.change(GRPCFG, group, wqs=(1 << len(wqs)) - 1, engines=1)

    def enable(self, *wqs: WqFields) -> None:
        """Configure these WQs, enable the device and all of them."""
        self.configure(*wqs)
        assert self.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        for wq_id in range(len(wqs)):
            error = self.command(Command.ENABLE_WQ, wq_id)
            assert error is CmdErr.SUCCESS, f"wq {wq_id}: {error.name}"

    def close(self) -> None:
        """Let go of every buffer."""
        self.mmio.close()
        self.device.close()
        self.host.close()
        self.device_mmio.close()
        self.port.close()
        if isinstance(self.engine, FakeEngine):
            self.engine.close()
