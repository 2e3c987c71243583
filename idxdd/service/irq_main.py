"""idxdd-irq: the process around the driver. One poll loop over the link, the vectors' bells and the parent's pidfd.

Lifetime  started by exec with the link as fd 3; ends when the link closes, when its parent ends (PDEATHSIG and pidfd), on
          SIGTERM. SIGINT is the daemon's to handle.
Order     the vectors' threads start only when the driver has adopted: what fired before is found by running every
          handler once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from idxdd.control import protocol, wire
from idxdd.driver import steps
from idxdd.driver.channels import CHANNEL_FDS
from idxdd.driver.driver import DeviceWindow, Driver
from idxdd.driver.oops import Oops
from idxdd.driver.state import SEGMENT_SIZE
from idxdd.driver.workqueue import DriverError
from idxdd.native._native import LAYOUT, VectorWaiter, Words, set_parent_death_signal
from idxdd.shm import memfd
from idxdd.shm.bells import Bell
from idxdd.shm.errors import IdxdError
from idxdd.shm.hostmemory import HOST_MEMORY_SIZE, HostMemory
from idxdd.shm.mmio import MMIO_SIZE, DriverMmio
from idxdd.shm.segment import Segment
from idxdd.spec.limits import BAR0_BYTES_MIN

LINK_FD: Final = 3
FRAMES_PER_TURN_MAX: Final = 64
BELT_MS: Final = 1000
POLL_MS: Final = 1

Message = dict[str, Any]


class Link:
    """Our end of the link. Sends at once; what the socket does not take waits, in order."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._waiting: deque[bytes] = deque()

    def emit(self, message: Message) -> None:
        """Send one message."""
        self._waiting.append(protocol.encode(message))
        self.flush()

    def flush(self) -> None:
        """Send what waits. A daemon that is gone is noticed by its pidfd."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while self._waiting and wire.send(self.sock, self._waiting[0]):
                self._waiting.popleft()

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)


class ToldToEnd(BaseException):
    """While a device was waited for that will not answer any more. No failure of the verb that waited."""


class Process:
    """Everything idxdd-irq holds."""

    def __init__(self, link_fd: int, parent: int) -> None:
        self._stack = contextlib.ExitStack()
        self.link = Link(self._stack.enter_context(socket.socket(fileno=link_fd)))
        self.link.sock.setblocking(False)
        self.parent = os.pidfd_open(parent)
        self._stack.callback(os.close, self.parent)
        self.driver: Driver | None = None
        self.waiters: dict[int, tuple[int, VectorWaiter]] = {}
        self._adoption: tuple[int, Message, list[int]] | None = None
        self._channel_fds: dict[int, list[int]] = {}
        self._early: list[tuple[int, str, Message, list[int]]] = []
        self.ended = False
        self._endings = select.poll()
        self._step: steps.Step | None = None
        self._mmio: Callable[..., DriverMmio] = DriverMmio
        page = steps.page_of_environment()
        if page is not None:
            self._stack.callback(page.close)
            self._step, self._mmio = page.step, steps.watched_mmio(page.step)

    # ---- loop ------------------------------------------------------------------------------------------------------
    def run(self, stop_fd: int) -> None:
        """Until the link or the parent ends, or a byte comes on stop_fd. ToldToEnd: the same, while a device was waited for."""
        self._endings.register(self.parent, select.POLLIN)
        self._endings.register(stop_fd, select.POLLIN)
        self._endings.register(self.link.sock, 0)
        poll = select.poll()
        poll.register(self.parent, select.POLLIN)
        poll.register(stop_fd, select.POLLIN)
        watched: set[int] = set()
        while not self.ended:
            poll.register(self.link.sock, select.POLLIN | (select.POLLOUT if self.link.waiting else 0))
            for bell in self.waiters.keys() - watched:
                poll.register(bell, select.POLLIN)
                watched.add(bell)
            polls = self.driver is not None and self.driver.polls
            for fd, _events in poll.poll(POLL_MS if polls else BELT_MS):
                if fd in (self.parent, stop_fd):
                    self.ended = True
                elif fd in self.waiters:
                    self._fired(*self.waiters[fd])
                else:
                    self._frames()
            if self.driver is not None:
                self.driver.tick()
                self._watch_vectors()

    def _end_if_told(self) -> None:
        """The device's loop ends before we are told: what was posted then is never applied."""
        if self._endings.poll(0):
            raise ToldToEnd

    def _fired(self, device_index: int, waiter: VectorWaiter) -> None:
        assert self.driver is not None
        fired = waiter.fired()
        while fired:
            vector = (fired & -fired).bit_length() - 1
            fired &= fired - 1
            self.driver.interrupt(device_index, vector)

    def _frames(self) -> None:
        self.link.flush()
        for _ in range(FRAMES_PER_TURN_MAX):
            try:
                frame = wire.receive(self.link.sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                frame = None
            if frame is None:
                self.ended = True
                return
            self._take(protocol.decode(frame.payload), frame.fds)

    def _take(self, message: Message, fds: list[int]) -> None:
        if "answer" in message:
            if self.driver is not None:
                self.driver.questions.answer(message["answer"], message.get("copied", 0))
            return
        if "descriptors" in message:
            for position, channel in enumerate(message["descriptors"]):
                self._channel_fds[channel] = fds[position * CHANNEL_FDS : (position + 1) * CHANNEL_FDS]
            self._adopt_when_complete()
            return
        number, verb = message.pop("id"), message.pop("verb")
        if verb == "adopt":
            self._adoption = (number, message, fds)
            self._adopt_when_complete()
        elif self.driver is None:
            self._early.append((number, verb, message, fds))
        else:
            self.driver.verb(number, verb, message, fds)

    # ---- adoption --------------------------------------------------------------------------------------------------
    def _adopt_when_complete(self) -> None:
        if self._adoption is None:
            return
        number, message, fds = self._adoption
        wanted = [arguments["channel"] for arguments in message["channels"]]
        if not all(channel in self._channel_fds for channel in wanted):
            return
        self._adoption = None
        try:
            self.driver = self._open_driver(message, *fds)
        except (IdxdError, DriverError, OSError, ValueError) as error:
            self.link.emit({"id": number, "error": {"code": "ENODEV", "text": f"adopt: {error}"}})
            return
        self.driver.adopt(number, message["channels"], [fd for channel in wanted for fd in self._channel_fds.pop(channel)])
        early, self._early = self._early, []
        for verb in early:
            self.driver.verb(*verb)

    def _open_driver(self, message: Message, published_fd: int, bell_fd: int, published_device_fd: int) -> Driver:
        state = self._segment(message["state"], SEGMENT_SIZE, writable=True)
        published = memfd.map_shared(published_fd, LAYOUT["published_driver"])
        os.close(published_fd)
        self._stack.callback(os.close, published_device_fd)
        bell = self._stack.enter_context(Bell(bell_fd))
        windows = []
        for device in message["devices"]:
            bar0 = self._segment(device["bar0"], BAR0_BYTES_MIN)
            ring = self._segment(device["mmio"], MMIO_SIZE, writable=True)
            mmio = self._mmio(
                bar0.buffer, ring.buffer, bell.ring, name=device["name"], before_sleep=self._end_if_told
            )  # fmt: skip
            self._stack.callback(mmio.close)
            memory = HostMemory(self._segment(device["host"], HOST_MEMORY_SIZE, writable=True).buffer, device["index"])
            self._stack.callback(memory.close)
            windows.append(DeviceWindow(device["name"], device["index"], mmio, Words(ring.buffer), memory))
        self._semaphores = {device["index"]: device["semaphores"] for device in message["devices"]}
        return Driver(
            state.buffer, published, windows, self.link.emit,
            published_device=published_device_fd, generation=message["generation"],
            quirks=message.get("quirks", ()), later=message.get("later", ()), step=self._step,
        )  # fmt: skip

    def _segment(self, name: str, size: int, *, writable: bool = False) -> Segment:
        segment = Segment.open(name, size, writable=writable)
        self._stack.callback(segment.close)
        return segment

    def _watch_vectors(self) -> None:
        if self.waiters or self.driver is None or not self.driver.ready:
            return
        for index, names in self._semaphores.items():
            waiter = VectorWaiter(names)
            self._stack.callback(waiter.close)
            self.waiters[waiter.bell] = (index, waiter)

    def close(self) -> None:
        """Give everything back; the driver's state stays where it is."""
        if self.driver is not None:
            self.driver.close()
        self._stack.close()


def main() -> int:
    """Exit status 0: told to end, or the daemon is gone."""
    parent = os.getppid()
    set_parent_death_signal(signal.SIGKILL)
    if parent == 1 or os.getppid() != parent:
        return 0  # it died before we could ask to die with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_read, stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(stop_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)  # the wake-up fd ends the loop
    os.set_inheritable(LINK_FD, False)
    process = Process(LINK_FD, parent)
    try:
        process.run(stop_read)
    except ToldToEnd:
        return 0
    except (IdxdError, Oops) as error:  # the device's loop does not answer, or a quirk: the supervisor decides what follows
        print(f"idxdd-irq: {error}", file=sys.stderr)
        return 1
    finally:
        process.close()
        os.close(stop_read)
        os.close(stop_write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
