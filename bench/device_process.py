"""A process that is the device alone, as idxdd runs it, and its driver in this one: what device rows are measured on.

The daemon's own register window belongs to idxdd-irq, so the rows have a device of their own: the same Hardware, the same
loop, on real segments and semaphores. Made here, then forked: the child runs it, this process writes its registers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import posix_ipc

from bench.instance import BenchFailed
from idxdd import native
from idxdd.device.profilefile import load
from idxdd.native import LAYOUT, Words
from idxdd.service.hardware import Hardware
from idxdd.service.loop import Loop, Rank
from idxdd.shm import bells, memfd
from idxdd.shm.mmio import MMIO_SIZE, DriverMmio
from idxdd.shm.names import InstanceLock
from idxdd.shm.segment import Segment
from idxdd.spec.codes import CmdErr, Command, Opcode, ResetType, WqMode
from idxdd.spec.registers import CMD, CMDSTS, GENCAP, GENCTRL, GRPCAP, GRPCFG, IDCAP, OFFSETS, WQCAP, WQCFG

BAR0_SIZE = 0x10000
ANSWER_S = 5.0
HALT, RESET, OPEN = b"h", b"r", b"o"
FILL_BYTES = (1 << 31) - 4096
REGION = 1 << 40
FILLING_S = 0.002
CHUNK = 64 << 20
"""The 2 GiB that are filled are this much memory, over and over."""


class DeviceProcess:
    """dsa0 in a child; `mmio` is its driver's window, `vector` its vector 0."""

    def __init__(self, stack: contextlib.ExitStack, instance: str, spin_us: int) -> None:
        lock = stack.enter_context(InstanceLock(instance))
        fd, window = memfd.create_published("bench-published", -(-LAYOUT["published_device"] // 4096) * 4096)
        stack.callback(os.close, fd)
        self._hardware = Hardware(stack, lock.names, window, [load("dsa2")], spin_us)
        handed = self._hardware.handed[0]
        self._portal = _Portal(stack)
        told = memfd.create("bench-told", 4096)
        self._told = Words(memfd.map_shared(told, 4096))
        os.close(told)
        stack.callback(self._told.release)
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(ANSWER_S)
        stack.callback(self._ours.close)
        self._pid = os.fork()
        if not self._pid:
            self._be_the_device(theirs)
        theirs.close()
        stack.callback(self._end)
        bar0 = stack.enter_context(contextlib.closing(Segment.open(handed["bar0"], BAR0_SIZE, writable=False)))
        self._ring = stack.enter_context(contextlib.closing(Segment.open(handed["mmio"], MMIO_SIZE, writable=True)))
        self.mmio = DriverMmio(bar0.buffer, self._ring.buffer, self._hardware.bell.ring)
        stack.callback(self.mmio.close)
        self._pending = Words(self._ring.buffer)
        stack.callback(self._pending.release)
        self.vector = posix_ipc.Semaphore(handed["semaphores"][0])
        stack.callback(self.vector.close)

    # ---- the child -------------------------------------------------------------------------------------------------

    def _be_the_device(self, orders: socket.socket) -> None:
        """Never returns."""
        code = 1
        try:
            native.set_parent_death_signal(signal.SIGKILL)
            hardware, loop = self._hardware, Loop()
            hardware.engine.start()
            loop.register(hardware.engine.exit_bell, Rank.DEVICE, lambda _events: hardware.exits())
            loop.register(hardware.bell.fd, Rank.DEVICE, lambda _events: hardware.bell.drain())
            loop.register(orders.fileno(), Rank.CLIENT, lambda _events: self._obey(orders))
            self._ours.close()
            while True:
                worked = hardware.work()
                ready = loop.wait(block=False) if worked else hardware.wait(loop)
                hardware.work()
                loop.handle(ready)
                loop.timers.run_due()
        except SystemExit:
            code = 0
        finally:
            os._exit(code)

    def _obey(self, orders: socket.socket) -> None:
        order, device = orders.recv(1), self._hardware.devices["dsa0"]
        if order == HALT:
            self._told.store64(0, time.monotonic_ns())
            device.halt(ResetType.FLR)
        elif order == RESET:
            device.reset(ResetType.FLR, lambda: orders.sendall(RESET))
        elif order == OPEN:
            self._portal.add(self._hardware, lambda: orders.sendall(OPEN))
        else:
            raise SystemExit

    # ---- the driver ------------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Reset it, then device and WQ 0 enabled, halts announced, a portal open."""
        self._order(RESET)
        self._capabilities = tuple(self.mmio.read(register) for register in (GENCAP, WQCAP, GRPCAP, OFFSETS, IDCAP))
        wq = WQCFG.encode(wq_size=16, mode=WqMode.DEDICATED, priority=10, max_xfer_shift=31, max_batch_shift=5)
        wq = wq.replace(op_config=1 << Opcode.MEMFILL | 1 << Opcode.NOOP)
        self.mmio.write(wq, at=WQCFG.entry_offset(0, *self._capabilities))
        self.mmio.write(GRPCFG.encode(wqs=1, engines=1, rdbufs_allowed=96), at=GRPCFG.entry_offset(0, *self._capabilities))
        self.mmio.write(GENCTRL.encode(halt_int_en=True))
        self._command(Command.ENABLE_DEVICE)
        self._command(Command.ENABLE_WQ)
        self._order(OPEN)

    def halted_ns(self) -> int:
        """Halt it; from the moment it does until vector 0 has woken this process."""
        self._ours.send(HALT)
        self.vector.acquire(ANSWER_S)
        woken = time.monotonic_ns()
        self._pending.store32(LAYOUT["mmio.pending"], 0)
        return woken - self._told.load64(0)

    def fill(self) -> None:
        """Submit one descriptor of 2 GiB; returns when the engine is at it."""
        self._portal.fill()
        time.sleep(FILLING_S)
        if not self._portal.busy:
            raise BenchFailed(f"2 GiB were filled in less than {FILLING_S:g} s")

    def _order(self, order: bytes) -> None:
        self._ours.send(order)
        if self._ours.recv(1) != order:
            raise BenchFailed("the device process has ended")

    def _command(self, command: Command) -> None:
        self.mmio.write(CMD.encode(command=command))
        while (status := self.mmio.read(CMDSTS)).active:
            time.sleep(0)
        if status.error != CmdErr.SUCCESS:
            raise BenchFailed(f"{command.name}: {CmdErr(status.error).name}")

    def _end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class _Portal:
    """One portal on WQ 0, its pages shared with the child by inheritance, and a piece of memory."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        size = -(-LAYOUT["portal_client"] // 4096) * 4096
        self._client, self._device = memfd.create("bench-portal", size), memfd.create("bench-device", 4096, 0)
        self._memory, self._doorbell = memfd.create("bench-memory", CHUNK), bells.create_doorbell()
        ours, theirs = bells.create_wake_pair()
        self._wake = ours
        for fd in (self._client, self._device, self._memory, self._doorbell, ours, theirs):
            stack.callback(os.close, fd)
        self._page = memfd.map_shared(self._client, size)
        self._words = Words(self._page)
        stack.callback(self._words.release)
        self._answers = Words(memfd.map_shared(self._device, 4096))
        stack.callback(self._answers.release)
        self._number = -1

    def add(self, hardware: Hardware, then: Callable[[], None]) -> None:
        """In the child: the pages are new to the engine each time."""
        space = native.Space()
        for start in range(0, 1 << 31, CHUNK):
            space.add(REGION + start, self._memory, CHUNK)
        self._words.store64(LAYOUT["portal_client.tail"], 0)

        def add() -> None:
            self._number = hardware.port.portal_add(
                0, client_fd=self._client, device_fd=self._device, doorbell_fd=self._doorbell, wake_fd=self._wake,
                space=space, pasid=2, then=then,
            )  # fmt: skip

        if self._number >= 0:
            hardware.port.portal_remove(self._number, then=add)
        else:
            add()

    def fill(self) -> None:
        at = LAYOUT["portal_client.slot"]
        desc = bytearray(64)
        desc[7], desc[24:32], desc[32:36] = Opcode.MEMFILL, REGION.to_bytes(8, "little"), FILL_BYTES.to_bytes(4, "little")
        self._page[at : at + 64] = bytes(desc)
        self._words.store64(LAYOUT["portal_client.tail"], 1)
        native.fence()
        os.eventfd_write(self._doorbell, 1)

    @property
    def busy(self) -> bool:
        return self._answers.load64(LAYOUT["portal_device.done"]) == 0


@contextlib.contextmanager
def device_process(instance: str, spin_us: int = 100) -> Iterator[DeviceProcess]:
    """One device, gone afterwards with all its names."""
    with contextlib.ExitStack() as stack:
        yield DeviceProcess(stack, instance, spin_us)
