"""A driver, a mock device and an idxdd that answers, in one thread; the driver can be killed and followed at any step."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from idxdd.driver.config import DEFAULT_CONFIG
from idxdd.driver.driver import DeviceWindow, Driver
from idxdd.driver.state import SEGMENT_SIZE
from idxdd.driver.steps import POINTS, number_of
from idxdd.driver.wq import Wq
from idxdd.native import LAYOUT, Words
from idxdd.shm import memfd
from idxdd.shm.clock import FakeClock
from idxdd.shm.hostmemory import HostMemory
from idxdd.testing.mock_device import MockChannel, MockDevice

TURNS_MAX = 10_000
KILLS_MAX = 1000


class Killed(BaseException):
    """The driver process ends here."""


class DriverBench:
    """What idxdd keeps when its idxdd-irq dies: state, published page, device, channels, unanswered verbs."""

    def __init__(
        self, device: MockDevice | None = None, quirks: Sequence[str] = (), *, later: Sequence[str] = (), counting: bool = False
    ) -> None:
        """`counting`: every point of idxdd/driver/steps.py is a step, at which the driver can be killed."""
        self._counting = counting
        self.passed: Counter[str] = Counter()
        """How often each point was passed."""
        self.device = device or MockDevice()
        self.quirks, self.later = quirks, later
        self.state = bytearray(SEGMENT_SIZE)
        self.published = bytearray(LAYOUT["published_driver"])
        self.published_device = memfd.create("mock-published-device", -(-LAYOUT["published_device"] // 4096) * 4096)
        os.pwrite(self.published_device, LAYOUT["layout_version"].to_bytes(4, "little"), 0)
        self.clock = FakeClock()
        self.channels: dict[int, tuple[dict[str, Any], MockChannel]] = {}
        self.answers: dict[int, dict[str, Any]] = {}
        self.unanswered: dict[int, tuple[str, dict[str, Any], MockChannel | None]] = {}
        self.asked: list[tuple[str, int]] = []
        self.lines: list[dict[str, Any]] = []
        self.swerr_wakes: list[int] = []
        self.memories: dict[int, dict[int, int]] = {}
        """Of each PASID: what its address space holds."""
        self.copying: list[dict[str, Any]] = []
        self.copied: dict[int, int] = {}
        self.vector_count = 0
        """MSI-X entries that the driver is told of."""
        self.answer_asks = True
        self.reopens = True
        self.budget: int | None = None
        """Steps until the driver is killed; None: never."""
        self.next_budget: Callable[[], int | None] = lambda: None
        """The successor's."""
        self.steps = self.kills = 0
        self._number = 0
        self._last_line = 0
        self.start()

    # ---- idxdd ----
    def start(self) -> None:
        """A (new) driver, told to adopt; then what its predecessor left unanswered."""
        self.mmio = self.device.driver_mmio()
        self.mmio.on_post = self._posting
        host = HostMemory(self.device.host, 0) if self.device.evl else None
        window = DeviceWindow(self.device.name, 0, self.mmio, Words(self.device.ring), host, self.vector_count)
        self.driver = Driver(
            self.state, self.published, [window], self._emit,
            published_device=self.published_device, generation=1, clock=self.clock, quirks=self.quirks,
            later=self.later,
            step=self._at if self._counting else None,
        )  # fmt: skip
        self._number += 1
        fds = [fd for _, channel in self.channels.values() for fd in channel.handed_over()]
        self.driver.adopt(self._number, [arguments for arguments, _ in self.channels.values()], fds)
        for number, (name, arguments, channel) in self.unanswered.items():
            self.driver.verb(number, name, dict(arguments), channel.handed_over() if channel else [])

    def kill(self) -> None:
        """The driver is gone; nothing it had only in memory remains."""
        with contextlib.suppress(BufferError):  # a frame of the killed driver's may still hold a view
            self.driver.close()
        self.mmio.close()

    def _emit(self, message: dict[str, Any]) -> None:
        if message.get("what") == "copy":
            self.copying.append(message)
            if self.answer_asks:
                self.answer_copy()
        elif message.get("what") == "flr":
            self.device.function_reset()
            if self.answer_asks:
                self.driver.questions.answer(message["ask"])
        elif "ask" in message:
            self.asked.append((message["what"], message["channel"]))
            if message["what"] == "reopen" and self.reopens:
                self.channels[message["channel"]][1].set_own(closed=0, closed_at=LAYOUT["never"], limit=1 << 20)
            if self.answer_asks:
                self.driver.questions.answer(message["ask"])
        elif message.get("event") == "log":
            if message["number"] > self._last_line:
                self._last_line = message["number"]
                self.lines.append(message)
        elif "event" in message:
            self.swerr_wakes.append(message["wq"])
        else:
            self.answers[message["id"]] = message
            self.unanswered.pop(message["id"], None)

    def answer_copy(self) -> None:
        """Do the oldest copy that was asked for, unless it was done for a predecessor, and tell how much was copied."""
        message = self.copying.pop(0)
        request = message["request"]
        if request not in self.copied:
            address, record = message["address"], message["record"]
            memory = self.memories.get(message["pasid"], {})
            body = 0
            while body < len(record) - 1 and address + 1 + body in memory:
                memory[address + 1 + body] = record[1 + body]
                body += 1
            whole = body == len(record) - 1 and address in memory
            if whole:
                memory[address] = record[0]
            self.copied[request] = body + whole
        self.driver.questions.answer(message["ask"], self.copied[request])

    def send(self, name: str, owner: MockChannel | None = None, /, **arguments: Any) -> int:
        """Start a verb; returns its number."""
        self._number += 1
        self.unanswered[self._number] = (name, arguments, owner)
        self.driver.verb(self._number, name, dict(arguments), owner.handed_over() if owner else [])
        return self._number

    def verb(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A verb, run to its answer: the whole message."""
        number = self.send(name, **arguments)
        self.run()
        return self.answers[number]

    def attach(self, channel: MockChannel, wq: int) -> dict[str, Any]:
        """Attach a kernel channel to a WQ."""
        arguments = {"channel": channel.number, "wq": wq, "pasid": 1, "slots": channel.slots, "state_slot": channel.number}
        number = self.send("attach", channel, **arguments)
        self.run()
        self.channels[channel.number] = (arguments, channel)
        return self.answers[number]

    # ---- dying ----
    def _at(self, point: int) -> None:
        """Something another process could see is about to be stored; the budget of such steps may be spent."""
        self.passed[POINTS[point]] += 1
        self.steps += 1
        if self.budget is not None:
            if self.budget == 0:
                self.budget = None
                raise Killed
            self.budget -= 1

    def _posting(self, offset: int) -> None:
        """Of WQCFG and GRPCFG, rewritten as a whole after a kill, two dwords of an entry stand for all."""
        if not self._counting:
            return
        point = self.mmio.point_of(offset)
        if point not in ("mmio.WQCFG", "mmio.GRPCFG") or offset % 64 in (0, 8):
            self._at(number_of(point))

    def survive(self, act: Callable[[], object]) -> None:
        """Do it and come to rest; a driver killed on the way is followed by the next."""
        again: Callable[[], object] = act
        for _ in range(KILLS_MAX):
            try:
                again()
                self.run()
                return
            except Killed:
                self.kills += 1
                self.kill()
                self.device.pump()
                self.budget = self.next_budget()
                again = self.start
        raise AssertionError("killed more often than asked for")

    # ---- turns ----
    def turn(self) -> bool:
        """One turn: the device applies, handlers run, works advance; False when nothing happened."""
        moved = self.device.pump() > 0
        posted, self.device.posted = self.device.posted, []
        for vector in posted:
            self.driver.interrupt(0, vector)
        ended = self.driver.tick()
        return bool(ended or posted or moved or self.device.posted or self.device.mmio.waiting)

    def run(self) -> None:
        """Until nothing more happens; time passes only while a work polls."""
        idle = 0
        for _ in range(TURNS_MAX):
            if self.turn():
                idle = 0
                continue
            idle += 1
            if not self.driver.polls or idle > 1000:
                return
            self.clock.advance(0.001)
        raise AssertionError("the driver does not come to rest")

    def wq(self, wq_id: int) -> Wq:
        return self.driver.devices[0].wqs[wq_id]

    def texts(self) -> list[str]:
        """Log lines, oldest first."""
        return [line["text"] for line in self.lines]

    def close(self) -> None:
        self.kill()
        for _, channel in self.channels.values():
            channel.close()
        os.close(self.published_device)


@contextmanager
def configured(
    device: MockDevice | None = None, quirks: Sequence[str] = (), *, later: Sequence[str] = (), counting: bool = False
) -> Iterator[DriverBench]:
    """A bench with the default configuration applied."""
    bench = DriverBench(device, quirks, later=later, counting=counting)
    try:
        bench.run()
        answer = bench.verb("configure", config=DEFAULT_CONFIG)
        assert "ok" in answer, answer
        bench.lines.clear()
        yield bench
    finally:
        bench.close()
