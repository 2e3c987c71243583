"""What an instance emulates: one engine and its devices, each with BAR0, MMIO ring, host memory and vectors.

Who writes what  architecture.md, "Segments". The loop alone calls what is here.
Order            a turn: exits, then the posted writes of each device. Asleep only after `loop_asleep` of every device
                 was stored and every ring was looked at again (protocols, sleeping).
Isolation        devices share the engine's thread and nothing else: numbers of WQs, groups and vectors are global.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from typing import Any

from typing_extensions import Buffer

from idxdd.device.device import Device
from idxdd.device.engineport import EXITS_PER_TURN_MAX, WQS_PER_DEVICE, EnginePort
from idxdd.device.profile import Profile
from idxdd.device.registerfile import BAR0_SIZE_BYTES
from idxdd.native import Engine, Space
from idxdd.service.loop import Loop
from idxdd.shm.bells import Bell, Vectors
from idxdd.shm.hostmemory import HOST_MEMORY_SIZE, host_base
from idxdd.shm.mmio import MMIO_SIZE, DeviceMmio
from idxdd.shm.names import Names
from idxdd.shm.segment import Segment

LOOK_US_MAX = 50  # of the time the engine looks before it sleeps; 0 where there is no core to spare
TURN_NS_MAX = 1_000_000  # after so long sockets and timers have a turn, whatever the engine and the driver ask
LIVE_VALUES_S = 0.002  # how often a device that watches an occupancy limit looks


class Hardware:
    """Engine and devices; what the stack was given is undone in reverse."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        names: Names,
        published: Buffer,
        profiles: Sequence[Profile],
        spin_us: int,
        batch_seed: int = 0,
    ) -> None:
        """`published`: struct idxdd_published_device; device n is called dsa<n> and is what profile n says."""
        self.engine = Engine(published, spin_us=spin_us, batch_seed=batch_seed)
        self.port = EnginePort(self.engine, published)
        stack.callback(self.port.close)
        stack.callback(self.engine.stop)
        self.bell: Bell = stack.enter_context(Bell())
        """Rung by idxdd-irq after a posted write, if the loop sleeps."""
        self.devices: dict[str, Device] = {}
        self.handed: list[dict[str, Any]] = []
        """What idxdd-irq is told about each: adopt's `devices`."""
        self._mmio: list[DeviceMmio] = []
        self._worked = False
        self._look_ns = min(spin_us, LOOK_US_MAX) * 1000
        for index, profile in enumerate(profiles):
            self._build(stack, names, index, profile)

    def _build(self, stack: contextlib.ExitStack, names: Names, index: int, profile: Profile) -> None:
        name = f"dsa{index}"
        bar0 = create_segment(stack, names.of(f"{name}.bar0"), BAR0_SIZE_BYTES)
        ring = create_segment(stack, names.of(f"{name}.mmio"), MMIO_SIZE)
        host = create_segment(stack, names.of(f"{name}.evl"), HOST_MEMORY_SIZE)
        vectors = stack.enter_context(Vectors([names.of(f"{name}.v{vector}") for vector in range(profile.vectors)]))
        mmio = DeviceMmio(ring.buffer)
        stack.callback(mmio.close)
        device = Device(
            index, name, profile, self.port, bar0.buffer, mmio, vectors.names, ring.buffer, host.buffer, host_space(host, index)
        )
        stack.callback(device.close)
        self.devices[name] = device
        self._mmio.append(mmio)
        segments = {"bar0": bar0.name, "mmio": ring.name, "host": host.name}
        self.handed.append({"name": name, "index": index, **segments, "semaphores": list(vectors.names)})

    def accepts(self, wq: int) -> bool:
        """The device would take descriptors for this WQ (global index)."""
        device = next(device for device in self.devices.values() if device.index == wq // WQS_PER_DEVICE)
        return device.wq_accepts(wq % WQS_PER_DEVICE)

    # ---- the loop's turn -------------------------------------------------------------------------------------------

    def work(self) -> int:
        """Exits, then MMIO writes; how much there was of what may go on at once."""
        exits = self.port.dispatch()
        applied = sum(device.tick() for device in self.devices.values())
        self._worked = self._worked or exits + applied > 0
        return (exits >= EXITS_PER_TURN_MAX) + applied

    def exits(self) -> None:
        """The engine has rung."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.engine.exit_bell)
        self.port.dispatch()

    def wait(self, loop: Loop) -> list[tuple[int, int]]:
        """Sleep until anything is ready, unless the driver has posted a write just now; what is ready."""
        if self._worked and self._look_again():
            return loop.wait(block=False)
        quiet = sum(mmio.about_to_sleep() for mmio in self._mmio) == len(self._mmio)
        if any(device.needs_ticks for device in self.devices.values()):
            loop.timers.call_later(LIVE_VALUES_S, lambda: None)
        try:
            return loop.wait(block=quiet)
        finally:
            for mmio in self._mmio:
                mmio.awake()

    def _look_again(self) -> bool:
        """Who has just had an answer often asks again at once: look for a short while, which costs less than a wake-up, and
        answer at once; then everybody else has a turn. Was there anything?"""
        self._worked = False
        now = time.perf_counter_ns()
        until, last = now + self._look_ns, now + TURN_NS_MAX
        while now < until:
            if self.port.dispatch() + self._apply():
                self._worked, until = True, min(now + self._look_ns, last)
            os.sched_yield()  # the engine, which waits for what was said just now, may wait for this very core
            now = time.perf_counter_ns()
        return self._worked

    def _apply(self) -> int:
        """Posted writes of devices that have some."""
        applied = 0
        for device, mmio in zip(self.devices.values(), self._mmio, strict=True):
            if mmio.waiting:
                applied += device.tick()
        return applied


def create_segment(stack: contextlib.ExitStack, name: str, size: int) -> Segment:
    """A new segment that the stack removes."""
    segment = Segment.create(name, size)

    def close() -> None:
        with contextlib.suppress(BufferError):  # the stopped engine still has a view; the name is gone, the process ends
            segment.close()

    stack.callback(close)
    return segment


def host_space(host: Segment, index: int) -> Space:
    """The driver's memory as the engine reads it (submitter bitmaps)."""
    space = Space()
    fd = host.descriptor()
    try:
        space.add(host_base(index), fd, host.size)
    finally:
        os.close(fd)
    return space
