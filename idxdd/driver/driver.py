"""The driver: handlers, works and verbs of all devices, in one thread that never blocks.

`interrupt` runs a handler to its end, `verb` starts a work, `tick` advances works; answers, questions and log lines
leave through `emit` at once, so that nothing is stored as done before it was said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EBUSY, EINVAL, ENODEV, ENOENT, ENOMEM, EPROTO
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver import bind, evl, irq, resubmit, revoke, steps
from idxdd.driver.adopt import adopt_device, adopt_gates, settle_device
from idxdd.driver.config import DeviceConfig, WqConfig, parse_config
from idxdd.driver.configure import apply_wq_attributes
from idxdd.driver.defaults import default_config
from idxdd.driver.describe import describe_device
from idxdd.driver.device import Device, drain_pasid
from idxdd.driver.load import VERBS, check_driver_name
from idxdd.driver.quirks import parse_quirks
from idxdd.driver.state import CHANNELS_MAX, SWERR_SAVED, VERSION, DriverState, StateSegment
from idxdd.driver.submit import Channel, fence_channel
from idxdd.driver.workqueue import DriverError, Steps, Wait, WorkQueue
from idxdd.driver.wq import Wq, disable_pasid, drv_disable_wq, drv_enable_wq, set_pasid
from idxdd.native import _native
from idxdd.native._native import LAYOUT, Words
from idxdd.shm.clock import CLOCK, Clock
from idxdd.spec.codes import ResetType, WqType

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from idxdd.driver.state import FaultBlock
    from idxdd.shm.hostmemory import HostMemory
    from idxdd.shm.mmio import DriverMmio

_PENDING: Final = LAYOUT["mmio.pending"]
_WQS_PER_DEVICE: Final = LAYOUT["wqs_per_device_max"]
PROBLEMS_TEXT_MAX: Final = 4096
CHANNEL_FDS: Final = 9
"""channel, completion ring, portal client's page, wake socket, pidfd; our own portal's two pages, doorbell, wake socket"""

Message = dict[str, Any]
Key = tuple[str, int]


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
        step: steps.Step | None = None,
    ) -> None:
        """`state`: driver-state segment; `published`: struct idxdd_published_driver. `emit` sends one message on the link.
        `published_device`: descriptor of struct idxdd_published_device, the caller's. `step`: called before each store."""
        self._watch = steps.watcher(step)
        self.state = StateSegment(state, self._watch.state)
        self.published = self._watch.published(Words(published))
        self._published_device = published_device
        self._quirks = parse_quirks(quirks)
        self.clock = clock
        self.generation = generation
        self.works = WorkQueue()
        self.channels: dict[int, Channel] = {}
        self._in_slot: dict[int, int] = {}
        self.configs: dict[str, DeviceConfig] = {}
        self.ready = False
        self._emit = self._watch.link(emit)
        self._questions: dict[int, bool] = {}
        self._question = 0
        self._copies: dict[int, int | None] = {}
        self._held: list[tuple[int, str, Message, list[int]]] = []
        self._vectors = {window.index: self._watch.vectors(window.vectors) for window in windows}
        self._hand_over = irq.Handovers(
            self._queue_revoke, self._queue_halt, self._queue_fence, self._queue_resubmit, self._queue_fault
        )
        self.devices = {window.index: self._device(window) for window in windows}

    def _device(self, window: DeviceWindow) -> Device:
        block = self.state.device(window.index)
        return Device(
            window.index, window.name, window.mmio, self.published, block, self.clock, self.log, self.state,
            self.reserve_log_numbers, host=window.host, copy_record=self.copy_record,
            wake_pollers=lambda wq: self._emit({"event": "swerr", "wq": wq.global_index}), quirks=self._quirks,
        )  # fmt: skip

    # ---- log, questions ----
    def reserve_log_numbers(self, count: int) -> int:
        """So many numbers of log lines; returns the first."""
        first = self.state.header.log_number + 1
        self.state.header.log_number = first + count - 1
        return first

    def log(self, level: str, text: str, *, number: int | None = None, **fields: object) -> None:
        """A line of the kernel log; a repeated line keeps its number, so that idxdd drops it."""
        number = self.reserve_log_numbers(1) if number is None else number
        self._emit({"event": "log", "level": level, "text": text, "number": number, **fields})

    def ask(self, what: str, channel: int) -> Callable[[], bool]:
        """Ask idxdd for "fence" or "fenced" of a channel; the result says whether the answer has come."""
        self._question += 1
        number = self._question
        self._questions[number] = False
        self._emit({"ask": number, "what": what, "channel": channel})

        def answered() -> bool:
            if not self._questions.get(number, True):
                return False
            self._questions.pop(number, None)
            return True

        return answered

    def answer(self, number: int, copied: int = 0) -> None:
        """idxdd has done what was asked. An answer to a predecessor's question is ignored."""
        if number in self._questions:
            self._questions[number] = True
        if number in self._copies:
            self._copies[number] = copied

    def copy_record(self, pasid: int, address: int, record: bytes, request: int) -> Callable[[], int | None]:
        """Ask idxdd to write a record, status byte last; the result tells how many bytes it wrote, None: not yet."""
        self._question += 1
        number = self._question
        self._copies[number] = None
        self._emit({"ask": number, "what": "copy", "pasid": pasid, "address": address, "record": record, "request": request})

        result: list[int] = []

        def answered() -> int | None:
            if not result and (copied := self._copies[number]) is not None:
                result.append(copied)
                self._copies.pop(number)
            return result[0] if result else None

        return answered

    # ---- interrupts ----
    def interrupt(self, device_index: int, vector: int) -> irq.IrqReturn:
        """Run the handler of a vector: clear its pending word (exchange), then look."""
        device, words = self.devices[device_index], self._vectors[device_index]
        words.exchange32(_PENDING + 4 * vector, 0)
        if not self.ready:
            return irq.IrqReturn.NONE  # adoption ends with a run of every handler
        if vector == 0:
            return irq.misc_thread(device, self._hand_over)
        if vector <= len(device.wqs):
            return irq.wq_thread(device.wqs[vector - 1], self._hand_over)
        return irq.IrqReturn.NONE

    def tick(self) -> int:
        """Advance the works; returns how many ended."""
        return self.works.tick()

    @property
    def polls(self) -> bool:
        """tick() wants to be called again soon although nothing will announce it."""
        return self.works.polls

    def _queue_revoke(self, device: Device) -> None:
        steps = revoke.int_handle_revoke(device, lambda wq: irq.wq_thread(wq, self._hand_over, resubmit=False))
        self.works.queue(("device", device.index), f"{device.name}: handle revoke", steps)

    def _queue_halt(self, device: Device, reset_type: ResetType) -> None:
        steps = bind.take_halt(device, self.configs.get(device.name))
        self.works.queue(("device", device.index), f"{device.name}: halt, {reset_type.name} reset", steps)

    def _queue_fence(self, channel: Channel, why: str) -> None:
        self.works.queue(("channel", channel.number), f"channel {channel.number}: fence", fence_channel(channel, why))

    def _queue_resubmit(self, channel: Channel, ticket: int) -> None:
        if ticket not in channel.resubmitting:
            channel.resubmitting.add(ticket)
            device = channel.wq.device
            self.works.queue(("device", device.index), f"{channel.wq.label}: resubmit", resubmit.resubmit(channel, ticket))

    def _queue_fault(self, wq: Wq, fault: FaultBlock) -> None:
        self.works.queue(("faults", wq.global_index), f"{wq.label}: fault", evl.fault_work(wq.device, fault))

    # ---- verbs ----
    def verb(self, number: int, name: str, arguments: Message, fds: Sequence[int] = ()) -> None:
        """Start a verb; its answer is emitted with this id. The driver owns `fds` from here on."""
        if not self.ready:
            self._held.append((number, name, arguments, list(fds)))
            return
        start = _VERBS.get(name)
        if start is None:
            _close_all(fds)
            self._refuse(number, DriverError(EPROTO, f"verb {name!r} is not known"))
            return
        try:
            key, steps = start(self, {**arguments, "id": number}, list(fds))
        except DriverError as error:
            self._refuse(number, error)
            return
        self.works.queue(key, f"verb {name}", steps, lambda result, error: self._finish(number, result, error))

    def _finish(self, number: int, result: Message | None, error: DriverError | None) -> None:
        if error is not None:
            self._refuse(number, error)
        else:
            self._emit({"id": number, "ok": result or {}})

    def _refuse(self, number: int, error: DriverError) -> None:
        self._emit({"id": number, "error": {"code": error.code, "text": error.text}})

    def _begun(self, device: Device, verb: int) -> bool:
        """A predecessor had begun this verb: what it asks for may have been done."""
        return verb <= device.block.verb_high

    def _begin(self, device: Device, verb: int) -> None:
        device.block.verb_high = max(device.block.verb_high, verb)

    def _find_wq(self, arguments: Message) -> Wq:
        number = arguments.get("wq")
        if isinstance(number, int) and number // _WQS_PER_DEVICE in self.devices:
            device = self.devices[number // _WQS_PER_DEVICE]
            if number % _WQS_PER_DEVICE < len(device.wqs):
                return device.wqs[number % _WQS_PER_DEVICE]
        raise DriverError(ENOENT, f"wq: {number!r} is no WQ of this instance")

    def _find_device(self, arguments: Message) -> Device:
        for device in self.devices.values():
            if arguments.get("device") in (device.name, device.index):
                return device
        raise DriverError(ENODEV, f"device: {arguments.get('device')!r} is no device of this instance")

    # ---- adoption ----
    def adopt(self, number: int, channels: Sequence[Message], fds: Sequence[int]) -> None:
        """Take the devices over: fresh ones are probed, others gone on with. Answers like a verb; every other verb waits."""
        self.works.queue(
            ("driver", 0), "adopt", self._adopt(channels, list(fds)), lambda result, error: self._finish(number, result, error)
        )

    def _adopt(self, channels: Sequence[Message], fds: list[int]) -> Steps:
        header = self.state.header
        if header.version not in (0, VERSION):
            raise DriverError(EINVAL, f"driver state: version {header.version}, expected {VERSION}")
        fresh = header.version == 0
        for device in self.devices.values():
            yield from settle_device(device)
        self.configs = self._stored_configs(fresh)
        for device in self.devices.values():
            yield from adopt_device(device, self.configs.get(device.name))
        self._count_opens()
        for arguments in channels:
            taken, fds = fds[:CHANNEL_FDS], fds[CHANNEL_FDS:]
            self._attach(arguments, taken)
        self.published.store32(LAYOUT["published_driver.layout_version"], LAYOUT["layout_version"])
        self.published.store64(LAYOUT["published_driver.generation"], self.generation)
        header.generation = self.generation
        header.version = VERSION
        self.ready = True
        saved_first = sorted(self.devices.values(), key=lambda device: device.block.swerr_mark != SWERR_SAVED)
        for device in saved_first:  # its four lines have the oldest numbers
            evl.adopt_evl(device, self._queue_fault)
            irq.redo_owed(device, self._hand_over)
            if device.block.revoke_queued:
                self._queue_revoke(device)
            if device.block.reinit_queued:
                self._queue_halt(device, device.reset_type)
            adopt_gates(device)
        for channel in self.channels.values():
            if not channel.live and not channel.fenced:
                self._queue_fence(channel, "a predecessor had begun to")
            elif channel.live and channel.block.resubmit:
                self._go_on_resubmitting(channel)
        for device in self.devices.values():
            for vector in range(len(device.wqs) + 1):
                self.interrupt(device.index, vector)
        held, self._held = self._held, []
        for verb in held:
            self.verb(*verb)
        return {"channels": sorted(self.channels)}

    def _go_on_resubmitting(self, channel: Channel) -> None:
        """A predecessor's record: what it did not submit, it may have cleared the status of already."""
        if resubmit.was_submitted(channel):
            channel.block.resubmit = 0
        else:
            self._queue_resubmit(channel, channel.block.resubmit)

    def _stored_configs(self, fresh: bool) -> dict[str, DeviceConfig]:
        text = None if fresh else self.state.load_config()
        if text is None:
            return {}
        for device in self.devices.values():
            device.read_capabilities()
        return self._parse(json.loads(text), checked=False)

    def _parse(self, config: Any, *, checked: bool = True) -> dict[str, DeviceConfig]:
        """`checked` is off for what is stored: attribute by attribute, it need not be fit to be enabled yet."""
        known = {device.name: (device.index, device.caps) for device in self.devices.values()}
        parsed, problems = parse_config(config, known)
        if problems and checked:
            raise DriverError(EINVAL, ("config: " + "; ".join(str(problem) for problem in problems))[:PROBLEMS_TEXT_MAX])
        return {device.name: device for device in parsed}

    def _count_opens(self) -> None:
        for opened in self.state.opens():
            self._find_wq({"wq": opened.wq}).clients += 1

    def close(self) -> None:
        """Let go of every mapping and descriptor; the state stays for a successor."""
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()
        self.state.release()
        self.published.release()
        for words in self._vectors.values():
            words.release()

    # ---- the verbs ----
    def _verb_ping(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        return ("ping", 0), _immediately({})

    def _verb_list(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        return ("list", 0), _immediately({"devices": [describe_device(device) for device in self.devices.values()]})

    def _verb_configure(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        config = arguments.get("config")
        return ("driver", 0), self._configure(config)

    def _configure(self, config: Any) -> Steps:
        """None: the default of every device there is."""
        if config is None:
            config = default_config((device.index, device.caps) for device in self.devices.values())
        configs = self._parse(config)
        text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
        if text != self.state.load_config():
            for device in self.devices.values():
                if device.state:
                    raise DriverError(EBUSY, f"{device.name}: the device is {device.state.name.lower()}; disable it first")
            try:
                self.state.store_config(text)
            except ValueError as error:
                raise DriverError(EINVAL, str(error)) from error
        self.configs = configs
        for name, settings in configs.items():
            device = next(device for device in self.devices.values() if device.name == name)
            if not device.state:
                yield from bind.bind_device(device, settings)
            for wq_settings in settings.wqs:
                wq = device.wqs[wq_settings.id]
                if wq_settings.type is not WqType.NONE and wq_settings.group_id >= 0 and not wq.block.bound:
                    yield from drv_enable_wq(wq, wq_settings.type)
        return {}

    def _verb_enable_device(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        device = self._find_device(arguments)
        self.configs.setdefault(device.name, DeviceConfig(device.index, device.name))  # refused for what it has not
        return ("device", device.index), self._enable_device(device, arguments["id"])

    def _enable_device(self, device: Device, verb: int) -> Steps:
        if self._begun(device, verb) and device.state is DriverState.ENABLED:
            return  # a predecessor did it and could not say so
        self._begin(device, verb)
        yield from bind.bind_device(device, self.configs[device.name])

    def _verb_disable_device(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        device = self._find_device(arguments)
        return ("device", device.index), self._disable_device(device)

    def _disable_device(self, device: Device) -> Steps:
        yield from bind.unbind_device(device)
        for wq in device.wqs:
            self._forget_opens(wq)

    def _verb_enable_wq(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        wq = self._find_wq(arguments)
        return ("device", wq.device.index), self._enable_wq(wq, arguments["id"])

    def _enable_wq(self, wq: Wq, verb: int) -> Steps:
        if self._begun(wq.device, verb) and wq.block.bound:
            return
        self._begin(wq.device, verb)
        settings = self._wq_settings(wq)
        if settings.type is WqType.NONE:
            raise DriverError(ENODEV, f"{wq.label}: type: the WQ has none, so no driver takes it")
        if not wq.enabled:
            wq.group_id = settings.group_id
            apply_wq_attributes(wq, settings)
        check_driver_name(wq, settings.type)
        yield from drv_enable_wq(wq, settings.type)

    def _wq_settings(self, wq: Wq) -> WqConfig:
        config = self.configs.get(wq.device.name)
        for settings in config.wqs if config else []:
            if settings.id == wq.id:
                return settings
        raise DriverError(ENOENT, f"{wq.label}: the configuration does not have this WQ")

    def _verb_disable_wq(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        wq = self._find_wq(arguments)
        return ("device", wq.device.index), self._disable_wq(wq)

    def _disable_wq(self, wq: Wq) -> Steps:
        yield from drv_disable_wq(wq)
        self._forget_opens(wq)

    def _forget_opens(self, wq: Wq) -> None:
        for opened in self.state.opens():
            if opened.wq == wq.global_index:
                opened.verb = 0
        wq.clients = 0

    def _verb_open(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        wq = self._find_wq(arguments)
        numbers = [_integer(arguments, key) for key in ("id", "pasid", "client")]
        return ("device", wq.device.index), self._open(wq, *numbers)

    def _open(self, wq: Wq, verb: int, pasid: int, client: int) -> Steps:
        """A client opens a user WQ. EBUSY: dedicated, and open already. ENODEV: no user driver is bound, hence no node."""
        if not wq.block.bound or wq.type is not WqType.USER:
            raise DriverError(ENODEV, f"{wq.label}: the WQ is not enabled for user clients")
        opened = next((block for block in self.state.opens() if block.verb == verb), None)
        if opened is None:
            if wq.dedicated and wq.clients:
                raise DriverError(EBUSY, f"{wq.label}: a dedicated WQ has one client, and it is open already")
            opened = self.state.add_open(verb, wq.global_index, pasid, client)
            if opened is None and "DEF-17" in self._quirks:
                return {}
            if opened is None:
                raise DriverError(ENOMEM, f"{wq.label}: too many opens")
            wq.clients += 1
        if wq.dedicated:
            wq.block.pasid = pasid
            try:
                yield from set_pasid(wq, pasid)
            except DriverError:
                opened.verb, wq.block.pasid = 0, 0
                wq.clients -= 1
                raise
        return {}

    def _verb_close(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        wq = self._find_wq(arguments)
        numbers = [_integer(arguments, key) for key in ("id", "pasid", "client")]
        return ("device", wq.device.index), self._close(wq, *numbers)

    def _close(self, wq: Wq, verb: int, pasid: int, client: int) -> Steps:
        """Give an open back. Repeated, or after the WQ was disabled, there is nothing left to do."""
        mine = [
            block for block in self.state.opens() if (block.wq, block.pasid, block.client) == (wq.global_index, pasid, client)
        ]
        opened = next((block for block in mine if block.closing == verb), None)
        if opened is None:
            opened = next((block for block in mine if not block.closing), None)
            if opened is None or self._begun(wq.device, verb):
                return {}
            opened.closing = verb
        self._begin(wq.device, verb)
        if wq.block.bound and wq.type is WqType.USER:
            if wq.dedicated:
                yield from disable_pasid(wq)
                wq.block.pasid = 0
            else:
                yield from drain_pasid(wq.device, pasid)
            if sum(1 for _ in self.state.opens_of(wq.global_index, pasid)) == 1:
                evl.skip_entries(wq, pasid)
                yield Wait(f"{wq.label}: its fault works", lambda: not self.works.busy(("faults", wq.global_index)))
        opened.verb = 0
        wq.clients = max(0, wq.clients - 1)
        return {}

    def _verb_attach(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        channel = self._attach(arguments, fds)
        return ("channel", channel.number), _immediately({"slots": arguments["slots"], "pool": channel.wq.pool})

    def _attach(self, arguments: Message, fds: list[int]) -> Channel:
        """Map a channel. One whose state slot it owns already (a predecessor's) is adopted, another starts anew."""
        try:
            if len(fds) != CHANNEL_FDS:
                raise DriverError(EINVAL, f"attach: {len(fds)} descriptors, expected {CHANNEL_FDS}")
            number, slot, slots = (_integer(arguments, key) for key in ("channel", "state_slot", "slots"))
            if number in self.channels:
                return self.channels[number]
            if slot >= CHANNELS_MAX:
                raise DriverError(EINVAL, f"state_slot: {slot} is not below {CHANNELS_MAX}")
            wq = self._find_wq(arguments)
            block = self.state.channel(slot)
            adopted = block.owner == number + 1
            if not adopted:
                self._evict(slot)
                self.state.clear_channel(slot)
            try:
                native = _native.IrqChannel(
                    channel_fd=fds[0], ring_fd=fds[1], portal_client_fd=fds[2], wake_fd=fds[3], slots=slots,
                    state=self.state.memory, state_offset=self.state.channel_offset(slot) + block.NATIVE,
                )  # fmt: skip
                portal = _native.Portal(
                    client_fd=fds[5], device_fd=fds[6], published_fd=self._published_device, doorbell_fd=fds[7], wake_fd=fds[8],
                    dedicated=wq.dedicated,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise DriverError(EINVAL, f"channel {number}: {error}") from error
            block.owner = number + 1
            channel = Channel(
                number, wq, _integer(arguments, "pasid"), self._watch.channel(native), os.dup(fds[4]),
                self._watch.portal(portal), block, self.ask,
            )  # fmt: skip
            self._in_slot[slot] = number
            if channel.live:
                channel.native.adopt()
            self.channels[number] = wq.channels[number] = channel
            return channel
        finally:
            _close_all(fds)

    def _evict(self, slot: int) -> None:
        """Two channels must never share a state: one that idxdd has given up without a word loses its place."""
        number = self._in_slot.pop(slot, None)
        channel = self.channels.pop(number, None) if number is not None else None
        if channel is not None:
            self.log("warning", f"channel {channel.number}: its place is given to another", wq=channel.wq.label)
            channel.wq.channels.pop(channel.number, None)
            channel.close()

    def _verb_detach(self, arguments: Message, fds: list[int]) -> tuple[Key, Steps]:
        _close_all(fds)
        number = _integer(arguments, "channel")
        return ("channel", number), self._detach(number)

    def _detach(self, number: int) -> Steps:
        """Complete what its lists hold, then forget the channel. idxdd has closed its portal before."""
        channel = self.channels.get(number)
        if channel is None:
            return {}
        yield Wait(f"channel {number}: fencing to end", lambda: channel.live or channel.fenced)
        swept = channel.flush_pending()
        channel.close()  # its state stays: until this is answered, a successor gets the channel again
        del self.channels[number]
        channel.wq.channels.pop(number, None)
        return {"swept": swept}


def _immediately(result: Message) -> Steps:
    return result
    yield  # a generator without a step


def _integer(arguments: Message, key: str) -> int:
    value = arguments.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DriverError(EINVAL, f"{key}: must be a number, is {value!r}")
    return value


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


_VERBS: Final[dict[str, Callable[[Driver, Message, list[int]], tuple[Key, Steps]]]] = {
    "ping": Driver._verb_ping,
    "list": Driver._verb_list,
    "configure": Driver._verb_configure,
    "enable_device": Driver._verb_enable_device,
    "disable_device": Driver._verb_disable_device,
    "enable_wq": Driver._verb_enable_wq,
    "disable_wq": Driver._verb_disable_wq,
    "open": Driver._verb_open,
    "close": Driver._verb_close,
    "attach": Driver._verb_attach,
    "detach": Driver._verb_detach,
    **VERBS,
}
