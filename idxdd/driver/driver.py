"""The driver: handlers, works and verbs of all devices, in one thread that never blocks.

`interrupt` runs a handler to its end, `verb` starts a work, `tick` advances works; answers, questions and log lines
leave through `emit` at once, so that nothing is stored as done before it was said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EINVAL, EIO, ENODEV, ENOENT, EPROTO
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver import evl, flr, irq, reinit, resubmit, revoke, steps
from idxdd.driver.adopt import adopt_driver
from idxdd.driver.cdev import forget_opens
from idxdd.driver.channels import close_all, verb_attach
from idxdd.driver.config import DeviceConfig, Problem, parse_config
from idxdd.driver.device import Device
from idxdd.driver.later import parse_later
from idxdd.driver.oops import Oops
from idxdd.driver.questions import Questions
from idxdd.driver.quirks import parse_quirks
from idxdd.driver.state import StateSegment
from idxdd.driver.submit import Channel, fence_channel, quiesce
from idxdd.driver.verbs import VERBS, Verb
from idxdd.driver.workqueue import DriverError, Steps, WorkQueue
from idxdd.driver.wq import Wq
from idxdd.driver.wq_thread import STATUS_INT_HANDLE_INVAL, WRITE_FAILED, wq_thread
from idxdd.native._native import LAYOUT, Words
from idxdd.shm.clock import CLOCK, Clock
from idxdd.shm.errors import IdxdError
from idxdd.spec.codes import ResetType, WqType

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from idxdd.driver.state import FaultBlock
    from idxdd.shm.hostmemory import HostMemory
    from idxdd.shm.mmio import DriverMmio

_PENDING: Final = LAYOUT["mmio.pending"]
_WQS_PER_DEVICE: Final = LAYOUT["wqs_per_device_max"]
PROBLEMS_TEXT_MAX: Final = 16384

Message = dict[str, Any]


@dataclass
class DeviceWindow:
    """What the driver gets of one device."""

    name: str
    index: int
    mmio: DriverMmio
    vectors: Words
    """Of the device's struct idxdd_mmio: the pending words."""
    host: HostMemory | None = None
    """For the event log; without it there is none."""
    vector_count: int = 0
    """MSI-X entries it has; 0: one more than WQs."""


class Driver:
    """All devices of one idxdd-irq."""

    def __init__(
        self,
        state: Buffer,
        published: Buffer,
        windows: Sequence[DeviceWindow],
        emit: Callable[[Message], None],
        *,
        published_device: int,
        generation: int = 0,
        clock: Clock = CLOCK,
        quirks: Sequence[str] = (),
        later: Sequence[str] = (),
        step: steps.Step | None = None,
    ) -> None:
        """`state`: driver-state segment; `published`: struct idxdd_published_driver. `emit` sends one message on the link.
        `published_device`: descriptor of struct idxdd_published_device, the caller's. `step`: called before each store."""
        self.watch = steps.watcher(step)
        self.state = StateSegment(state, self.watch.state)
        self.published = self.watch.published(Words(published))
        self.published_device = published_device
        self.quirks = parse_quirks(quirks)
        self.later = parse_later(later)
        self.clock = clock
        self.generation = generation
        self.works = WorkQueue()
        self.channels: dict[int, Channel] = {}
        self.in_slot: dict[int, int] = {}
        self.configs: dict[str, DeviceConfig] = {}
        self.ready = False
        self._emit = self.watch.link(emit)
        self.questions = Questions(self._emit)
        self._held: list[tuple[int, str, Message, list[int]]] = []
        self._vectors = {window.index: self.watch.vectors(window.vectors) for window in windows}
        self.hand_over = irq.Handovers(
            self.queue_int_handle_revoke,
            self.queue_halt,
            self.queue_flr,
            self.queue_fence,
            self.queue_int_handle_resubmit,
            self.queue_fault,
        )
        self.devices = {window.index: self._device(window) for window in windows}

    def _device(self, window: DeviceWindow) -> Device:
        block = self.state.device(window.index)
        return Device(
            window.index, window.name, window.mmio, self.published, block, self.clock, self.log, self.state,
            self.reserve_log_numbers, host=window.host, copy_record=self.questions.copy_record,
            wake_pollers=lambda wq: self._emit({"event": "swerr", "wq": wq.global_index}), quirks=self.quirks,
            vector_count=window.vector_count, later=self.later, ask=self.questions.ask,
        )  # fmt: skip

    # ---- log ----
    def reserve_log_numbers(self, count: int) -> int:
        """So many numbers of log lines; returns the first."""
        first = self.state.header.log_number + 1
        self.state.header.log_number = first + count - 1
        return first

    def log(self, level: str, text: str, *, number: int | None = None, **fields: object) -> None:
        """A line of the kernel log; a repeated line keeps its number, so that idxdd drops it."""
        number = self.reserve_log_numbers(1) if number is None else number
        self._emit({"event": "log", "level": level, "text": text, "number": number, **fields})

    # ---- interrupts ----
    def interrupt(self, device_index: int, vector: int) -> irq.IrqReturn:
        """Run the handler of a vector: clear its pending word (exchange), then look."""
        device, words = self.devices[device_index], self._vectors[device_index]
        words.exchange32(_PENDING + 4 * vector, 0)
        if not self.ready:
            return irq.IrqReturn.NONE  # adoption ends with a run of every handler
        if vector == 0:
            return irq.misc_thread(device, self.hand_over)
        if vector <= len(device.wqs):
            return wq_thread(device.wqs[vector - 1], self.hand_over)
        return irq.IrqReturn.NONE

    def tick(self) -> int:
        """Advance the works; returns how many ended."""
        return self.works.tick()

    @property
    def polls(self) -> bool:
        """tick() wants to be called again soon although nothing will announce it."""
        return self.works.polls

    def queue_int_handle_revoke(self, device: Device) -> None:
        """Cause bit 31. Without room for its work every kernel WQ is quiesced instead."""
        if not self.works.has_room():
            device.log("error", "Failed to allocate work for int handle revoke", device=device.name)
            device.block.revoke_queued = 0
            for wq in device.wqs:
                if wq.enabled and wq.type is WqType.KERNEL:
                    self.works.queue(("quiesce", wq.global_index), f"{wq.label}: quiesce", quiesce(wq))
            return
        self.works.queue(("device", device.index), f"{device.name}: handle revoke", revoke.int_handle_revoke(device))

    def queue_halt(self, device: Device, reset_type: ResetType) -> None:
        """The device was found halted."""
        work = reinit.take_halt(device, self.configs.get(device.name))
        self.works.queue(("device", device.index), f"{device.name}: halt, {reset_type.name} reset", work)

    def queue_flr(self, device: Device, stored: DeviceConfig | None = None) -> None:
        """The device was found halted, and a reset of its function is to bring it back."""
        work = flr.device_flr(device, lambda wq: forget_opens(self, wq), stored)
        self.works.queue(("device", device.index), f"{device.name}: FLR", work)

    def queue_fence(self, channel: Channel, why: str) -> None:
        """Its lists are garbage, or its owner stays inside the gate."""
        self.works.queue(("channel", channel.number), f"channel {channel.number}: fence", fence_channel(channel, why))

    def queue_int_handle_resubmit(self, channel: Channel, ticket: int) -> None:
        """A descriptor that ended 0x19. Without room for the work it is completed as it is."""
        if not self.works.has_room():
            channel.native.complete(ticket, STATUS_INT_HANDLE_INVAL, WRITE_FAILED)
        elif ticket not in channel.resubmitting:
            channel.resubmitting.add(ticket)
            device = channel.wq.device
            self.works.queue(
                ("device", device.index), f"{channel.wq.label}: resubmit", resubmit.int_handle_resubmit_work(channel, ticket)
            )

    def queue_fault(self, wq: Wq, fault: FaultBlock) -> None:
        """An entry of the event log, on the WQ's own queue."""
        self.works.queue(("faults", wq.global_index), f"{wq.label}: fault", evl.evl_fault_work(wq.device, fault))

    # ---- verbs ----
    def verb(self, number: int, name: str, arguments: Message, fds: Sequence[int] = ()) -> None:
        """Start a verb; its answer is emitted with this id. The driver owns `fds` from here on."""
        if not self.ready:
            self._held.append((number, name, arguments, list(fds)))
            return
        arguments = {**arguments, "id": number}
        try:
            if name == "attach":
                key, work = verb_attach(self, arguments, fds)
            else:
                close_all(fds)
                key, work = self._start(name)(self, arguments)
        except DriverError as error:
            self._refuse(number, error)
            return
        except (IdxdError, Oops):
            raise
        except Exception as error:
            self._failed(number, name, error)
            if name == "attach":
                raise
            return  # what comes before a verb's steps only looks (but attach): nothing is half done, and we go on
        work = self._answering(number, name, work)
        self.works.queue(key, f"verb {name}", work, lambda result, error: self._finish(number, result, error))

    def _answering(self, number: int, name: str, work: Steps) -> Steps:
        """The work; where it fails as no driver's call does, its verb is answered before we end.

        We do end: what is stored is whole after each step, for a successor that reconciles; what is half done in memory
        alone (a gate that is held, a command without a waiter) nobody here would put right. Answered, it is not sent again.
        """
        try:
            return (yield from work)
        except (DriverError, IdxdError, Oops):
            raise
        except Exception as error:
            self._failed(number, name, error)
            raise

    def _failed(self, number: int, name: str, error: Exception) -> None:
        text = f"verb {name}: {type(error).__name__}: {error}"
        self.log("error", f"{text} (a defect of idxdd; the verb is not repeated)")
        self._refuse(number, DriverError(EIO, text))

    def _start(self, name: str) -> Verb:
        if name not in VERBS:
            raise DriverError(EPROTO, f"verb {name!r} is not known")
        return VERBS[name]

    def _finish(self, number: int, result: Message | None, error: DriverError | None) -> None:
        if error is not None:
            self._refuse(number, error)
        else:
            self._emit({"id": number, "ok": result or {}})

    def _refuse(self, number: int, error: DriverError) -> None:
        self._emit({"id": number, "error": {"code": error.code, "text": error.text}})

    def begun(self, device: Device, verb: int) -> bool:
        """A predecessor had begun this verb: what it asks for may have been done."""
        return verb <= device.block.verb_high

    def begin(self, device: Device, verb: int) -> None:
        """From here on a successor finds it begun."""
        device.block.verb_high = max(device.block.verb_high, verb)

    def find_wq(self, arguments: Message) -> Wq:
        """ENOENT."""
        number = arguments.get("wq")
        if isinstance(number, int) and number // _WQS_PER_DEVICE in self.devices:
            device = self.devices[number // _WQS_PER_DEVICE]
            if number % _WQS_PER_DEVICE < len(device.wqs):
                return device.wqs[number % _WQS_PER_DEVICE]
        raise DriverError(ENOENT, f"wq: {number!r} is no WQ of this instance")

    def find_device(self, arguments: Message) -> Device:
        """ENODEV."""
        for device in self.devices.values():
            if arguments.get("device") in (device.name, device.index):
                return device
        raise DriverError(ENODEV, f"device: {arguments.get('device')!r} is no device of this instance")

    def parse(self, config: Any, *, checked: bool = True) -> dict[str, DeviceConfig]:
        """accel-config's JSON. EINVAL. `checked` is off for what is stored: it need not be fit to be enabled yet."""
        known = {device.name: (device.index, device.caps) for device in self.devices.values()}
        parsed, problems = parse_config(config, known)
        if problems and checked:
            raise DriverError(EINVAL, _lines(problems))
        return {device.name: device for device in parsed}

    # ---- life ----
    def adopt(self, number: int, channels: Sequence[Message], fds: Sequence[int]) -> None:
        """Take the devices over: fresh ones are probed, others gone on with. Answers like a verb; every other verb waits."""
        self.works.queue(
            ("driver", 0), "adopt", adopt_driver(self, channels, list(fds)),
            lambda result, error: self._finish(number, result, error),
        )  # fmt: skip

    def take_held_verbs(self) -> None:
        """Adopted: what had to wait starts now."""
        held, self._held = self._held, []
        for verb in held:
            self.verb(*verb)

    def close(self) -> None:
        """Let go of every mapping and descriptor; the state stays for a successor."""
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()
        self.state.release()
        self.published.release()
        for words in self._vectors.values():
            words.release()


def _lines(problems: Sequence[Problem]) -> str:
    """A problem a line, as many as fit; then how many more there are."""
    lines: list[str] = []
    size = 0
    for problem in problems:
        size += len(str(problem)) + 1
        if size > PROBLEMS_TEXT_MAX:
            return "\n".join([*lines, f"and {len(problems) - len(lines)} more"])
        lines.append(str(problem))
    return "\n".join(lines)
