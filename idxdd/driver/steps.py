"""Numbered steps: the points at which idxdd-irq changes what others see, and a page by which a test stops it at one.

A point is named by what is about to be stored: `state.device.command`, `published.wq.gate`, `mmio.INTCAUSE`,
`channel.work_list`, `link.ask.copy`. POINTS is derived from the layouts, so a new word is a new point.

Cost             none when unused: nothing is wrapped, no branch is taken. Armed, every store goes through a wrapper.
The page         a file that a test makes (`create_page`) and names in IDXDD_IRQ_STEPS; every idxdd-irq of that daemon maps it.
Who writes what  the test: `point` and `countdown`, the countdown last; idxdd-irq: `hits` of each point, and countdown while
                 it counts. At 0 it stores `kills` and ends itself by SIGKILL, before the store that the point names.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from idxdd.driver import state
from idxdd.native._native import LAYOUT, Words
from idxdd.shm.mmio import DriverMmio
from idxdd.spec import registers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from idxdd.native._native import IrqChannel, Portal

VARIABLE: Final = "IDXDD_IRQ_STEPS"
Step = Callable[[int], None]
"""Called with a point's number just before its store."""
Emit = Callable[[dict[str, Any]], None]


# ---- names -----------------------------------------------------------------------------------------------------------------
def _fields(prefix: str, block: type[state.Block]) -> dict[int, str]:
    return {word.offset: f"{prefix}.{name}" for name, word in vars(block).items() if isinstance(word, state.Word)}


_HEADER: Final = _fields("state", state.Header)
_DEVICE: Final = _fields("state.device", state.DeviceBlock)
_WQ: Final = _fields("state.wq", state.WqBlock)
_OPEN: Final = _fields("state.open", state.OpenBlock)
_CHANNEL: Final = _fields("state.channel", state.ChannelBlock)
_FAULT: Final = _fields("state.fault", state.FaultBlock)
_EVENT: Final = _fields("state.event", state.EventBlock)
_PUBLISHED_WQ: Final = {
    offset: f"published.{name.replace('published_wq', 'wq')}"
    for name, offset in LAYOUT.items()
    if name.startswith("published_wq.")
}
_REGISTERS: Final = {
    at: f"mmio.{register.__name__}"
    for register in (
        registers.GENCFG, registers.GENCTRL, registers.INTCAUSE, registers.CMD, registers.SWERR, registers.EVLCFG,
        registers.EVLSTATUS,
    )
    for at in range(register.offset, register.offset + register.width_bytes, 4)
}  # fmt: skip
_TABLES: Final = {"WQCFG": "wqcfg", "GRPCFG": "grpcfg", "MSIXPERM": "msix_perm", "PERFMON": "perfmon", "IDPT": "idpt"}
_NATIVE: Final = {
    **{
        name: f"channel.{name}"
        for name in (
            "work_list",
            "pending_list",
            "adopt",
            "sweep",
            "complete",
            "relist",
            "set_status",
            "abort_invalid_handles",
            "complete_again",
        )
    },
    "try_submit": "portal.try_submit",
}
_LINK: Final = (
    "link.answer", "link.log", "link.event", "link.ask.fence", "link.ask.fenced", "link.ask.reopen", "link.ask.copy",
    "link.ask.flr",
)  # fmt: skip
POINTS: Final = tuple(
    dict.fromkeys(
        (
            *_HEADER.values(), *_DEVICE.values(), "state.device.swerr", *_WQ.values(), *_OPEN.values(), *_CHANNEL.values(),
            *_FAULT.values(), "state.fault.entry", "state.evl.bits", *_EVENT.values(),
            "published.layout_version", "published.generation", "published.device_state", *_PUBLISHED_WQ.values(),
            "vector.pending", *_REGISTERS.values(), *(f"mmio.{table}" for table in _TABLES),
            *_NATIVE.values(), *_LINK,
        )
    )
)  # fmt: skip
"""Every point, in the order of their numbers."""
_NUMBER: Final = {name: number for number, name in enumerate(POINTS)}


def number_of(point: str) -> int:
    """The number of a named point. KeyError."""
    return _NUMBER[point]


def _state_point(offset: int) -> str:
    """What a store at this byte of the driver-state segment is."""
    region, at = state.region_of(offset)
    if region == "header":
        return _HEADER[at]
    if region == "device" and at >= state.DeviceBlock.WQS:
        return _WQ[(at - state.DeviceBlock.WQS) % state.WqBlock.SIZE]
    tables = {"device": _DEVICE, "open": _OPEN, "channel": _CHANNEL, "fault": _FAULT, "event": _EVENT}
    if region not in tables:
        return "state.evl.bits"
    return tables[region].get(at, {"device": "state.device.swerr", "fault": "state.fault.entry"}.get(region, "state.evl.bits"))


def _published_point(offset: int) -> str:
    wqs = LAYOUT["published_driver.wq"]
    if offset >= wqs:
        return _PUBLISHED_WQ[(offset - wqs) % LAYOUT["published_driver.wq[]"]]
    if offset >= LAYOUT["published_driver.device_state"]:
        return "published.device_state"
    return "published.generation" if offset == LAYOUT["published_driver.generation"] else "published.layout_version"


def _link_point(message: dict[str, Any]) -> str:
    if "ask" in message:
        return f"link.ask.{message['what']}"
    if "event" in message:
        return "link.log" if message["event"] == "log" else "link.event"
    return "link.answer"


# ---- wrappers --------------------------------------------------------------------------------------------------------------
class _WatchedWords:
    """Words whose every store is a step first."""

    def __init__(self, words: Words, point: Callable[[int], str], step: Step) -> None:
        self._words, self._point, self._step = words, point, step
        self.load32, self.load64, self.release = words.load32, words.load64, words.release

    def store32(self, offset: int, value: int) -> None:
        self._step(_NUMBER[self._point(offset)])
        self._words.store32(offset, value)

    def store64(self, offset: int, value: int) -> None:
        self._step(_NUMBER[self._point(offset)])
        self._words.store64(offset, value)

    def exchange32(self, offset: int, value: int) -> int:
        self._step(_NUMBER[self._point(offset)])
        return self._words.exchange32(offset, value)


class _WatchedNative:
    """IrqChannel and Portal whose every storing call is a step first."""

    def __init__(self, native: Any, step: Step) -> None:
        self._native, self._step = native, step

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._native, name)
        if name not in _NATIVE:
            return value

        def call(*arguments: Any) -> Any:
            self._step(_NUMBER[_NATIVE[name]])
            return value(*arguments)

        return call


@dataclass(frozen=True)
class Watch:
    """How each thing the driver stores by is wrapped."""

    step: Step

    def state(self, words: Words) -> Words:
        """The driver-state segment."""
        return cast("Words", _WatchedWords(words, _state_point, self.step))

    def published(self, words: Words) -> Words:
        """struct idxdd_published_driver."""
        return cast("Words", _WatchedWords(words, _published_point, self.step))

    def vectors(self, words: Words) -> Words:
        """The pending words of a device's vectors."""
        return cast("Words", _WatchedWords(words, lambda _offset: "vector.pending", self.step))

    def channel(self, native: IrqChannel) -> IrqChannel:
        """The driver's view of a channel."""
        return cast("IrqChannel", _WatchedNative(native, self.step))

    def portal(self, portal: Portal) -> Portal:
        """The driver's own portal."""
        return cast("Portal", _WatchedNative(portal, self.step))

    def link(self, emit: Emit) -> Emit:
        """What is said to idxdd."""

        def watched(message: dict[str, Any]) -> None:
            self.step(_NUMBER[_link_point(message)])
            emit(message)

        return watched


class Unwatched:
    """Nothing is wrapped."""

    def __getattr__(self, name: str) -> Any:
        return lambda thing: thing


def watcher(step: Step | None) -> Watch | Unwatched:
    """What a driver wraps its stores with: nothing, unless it is being tested."""
    return Unwatched() if step is None else Watch(step)


def watched_mmio(step: Step) -> Callable[..., WatchedMmio]:
    """What makes a window on the registers."""

    def make(*arguments: Any, **keywords: Any) -> WatchedMmio:
        window = WatchedMmio(*arguments, **keywords)
        window.step = step
        return window

    return make


class WatchedMmio(DriverMmio):
    """The driver's window on the registers; every posted write is a step first."""

    step: Step

    def _post(self, offset: int, width_bytes: int, value: int) -> None:
        self.step(_NUMBER[self.point_of(offset)])
        super()._post(offset, width_bytes, value)

    def point_of(self, offset: int) -> str:
        """Which register, or which table, lies at this offset of BAR0."""
        if offset in _REGISTERS:
            return _REGISTERS[offset]
        offsets = registers.OFFSETS(sum(self._bar0.load64(registers.OFFSETS.offset + 8 * i) << 64 * i for i in range(2)))
        starts = {table: getattr(offsets, field) for table, field in _TABLES.items()}
        return f"mmio.{max((start, table) for table, start in starts.items() if start <= offset)[1]}"


# ---- the page --------------------------------------------------------------------------------------------------------------
_POINT: Final = 0
_COUNTDOWN: Final = 8
_KILLS: Final = 16
_HITS: Final = 64
PAGE_SIZE: Final = (_HITS + 8 * len(POINTS) + 4095) // 4096 * 4096


class StepsPage:
    """A test's end, and idxdd-irq's, of the page."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Map the page at `path`; OSError, ValueError if there is none."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(fd, PAGE_SIZE)
        finally:
            os.close(fd)
        self._words = Words(self._map)

    def arm(self, point: str | int, count: int = 1) -> None:
        """Let idxdd-irq end before the `count`-th time it comes to this point from now on. Disarmed by its end."""
        self._words.store64(_COUNTDOWN, 0)
        self._words.store64(_POINT, number_of(point) if isinstance(point, str) else point)
        self._words.store64(_COUNTDOWN, count)

    def disarm(self) -> None:
        """Let it live."""
        self._words.store64(_COUNTDOWN, 0)

    @property
    def armed(self) -> bool:
        """It has not come to the point so often yet."""
        return self._words.load64(_COUNTDOWN) != 0

    @property
    def kills(self) -> int:
        """How many ended at a point."""
        return self._words.load64(_KILLS)

    def hits(self) -> dict[str, int]:
        """How often each point was passed, by every idxdd-irq so far; those never passed are left out."""
        return {name: hits for number, name in enumerate(POINTS) if (hits := self._words.load64(_HITS + 8 * number))}

    def step(self, number: int) -> None:
        """idxdd-irq comes to a point."""
        words = self._words
        words.store64(_HITS + 8 * number, words.load64(_HITS + 8 * number) + 1)
        left = words.load64(_COUNTDOWN)
        if left and words.load64(_POINT) == number:
            words.store64(_COUNTDOWN, left - 1)
            if left == 1:
                words.store64(_KILLS, words.load64(_KILLS) + 1)
                os.kill(os.getpid(), signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._map.close()


def create_page(path: str | os.PathLike[str]) -> StepsPage:
    """A fresh page at `path`, for IDXDD_IRQ_STEPS of a daemon's environment."""
    with open(path, "xb") as file:
        file.truncate(PAGE_SIZE)
    return StepsPage(path)


def page_of_environment() -> StepsPage | None:
    """What idxdd-irq maps; None: it is not being tested."""
    path = os.environ.get(VARIABLE)
    return StepsPage(path) if path else None


def listing() -> Iterator[str]:
    """Number and name of every point, a line each."""
    return (f"{number:3} {name}" for number, name in enumerate(POINTS))


if __name__ == "__main__":
    print("\n".join(listing()))
