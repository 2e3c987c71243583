"""Driver state: the segment that idxdd-irq alone writes and that a successor goes on from.

Who writes what  idxdd makes the segment (zeroed, SEGMENT_SIZE bytes) and only reads it; idxdd-irq writes every word.
Order            a record's operands are stored before the word that makes it valid (command, open, channel, config);
                 what a command did to the driver's belief is stored before its record is cleared.
Truth            is in words. Lists, works and Python objects are rebuilt from them and from the hardware.
Limits           DEVICES_MAX devices, OPENS_MAX opens, CHANNELS_MAX kernel channels, CONFIG_MAX bytes of configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from idxdd.native import _native
from idxdd.native._native import Words

if TYPE_CHECKING:
    from typing_extensions import Buffer

VERSION: Final = 3
DEVICES_MAX: Final = _native.LAYOUT["devices_max"]
WQS_PER_DEVICE_MAX: Final = _native.LAYOUT["wqs_per_device_max"]
OPENS_MAX: Final = 2048
CHANNELS_MAX: Final = 128
CONFIG_MAX: Final = 64 * 1024
EVL_ENTRIES_MAX: Final = 65536
FAULTS_MAX: Final = 128
"""Fault works of one device at a time."""
BATCHES: Final = 256


class DriverState(IntEnum):
    """What the driver believes of a device."""

    DISABLED = 0
    ENABLED = 1
    HALTED = 2


class Word:
    """A word of a block, at a byte offset from its start."""

    def __init__(self, offset: int, size: int = 8) -> None:
        self.offset, self.size = offset, size

    def __get__(self, block: Block, owner: type[Block]) -> int:
        load = block.words.load64 if self.size == 8 else block.words.load32
        return load(block.base + self.offset)

    def __set__(self, block: Block, value: int) -> None:
        store = block.words.store64 if self.size == 8 else block.words.store32
        store(block.base + self.offset, value)


class Block:
    """Words at a place of the segment."""

    def __init__(self, words: Words, base: int) -> None:
        self.words, self.base = words, base


class Header(Block):
    """Of the whole segment."""

    SIZE: Final = 64
    version = Word(0)
    """0: fresh. Stored last when a generation has been set up."""
    generation = Word(8)
    log_number = Word(16)
    """Number of the last log line; a successor repeats a line under the number it had."""
    config_current = Word(24)
    """0 none, else 1 + which copy of the configuration holds."""
    config_bytes_0 = Word(32)
    config_bytes_1 = Word(40)
    opens_high = Word(48)
    """Entries of opens from here on were never used."""


class WqBlock(Block):
    """What must survive of a WQ."""

    SIZE: Final = 64
    state = Word(0, 4)
    """The driver's belief: 0 disabled, 1 enabled."""
    type = Word(4, 4)
    """spec.codes.WqType as bound."""
    bound = Word(8, 4)
    """1: the driver's enable went through to its end."""
    int_handle = Word(12, 4)
    """1 + handle; 0 = invalid."""
    pasid = Word(16, 4)
    """PASID of the interrupt entry (kernel) or of the owner (dedicated user); 0 = none."""
    drain_owed = Word(20, 4)
    """1: the handle was switched, and what carries the old one is not drained yet."""


class DeviceBlock(Block):
    """What must survive of a device."""

    WQS: Final = 256
    SIZE: Final = WQS + WQS_PER_DEVICE_MAX * WqBlock.SIZE
    state = Word(0, 4)
    """DriverState."""
    enabled_bitmap = Word(4, 4)
    cmd_status = Word(8, 4)
    warned = Word(12, 4)
    """1: unexpected causes were reported."""
    causes_owed = Word(16)
    """INTCAUSE as acknowledged; cleared cause by cause as they are handled."""
    swerr_mark = Word(24)
    """SWERR_*: SAVED once the copy is complete and its acknowledgement goes to `swerr_ack_position`."""
    swerr_ack_position = Word(32)
    swerr_log_number = Word(40)
    """Number of the first of the four lines."""
    revoke_queued = Word(48, 4)
    """Revocations whose handling is not over: a count, since one may come while another is handled."""
    reinit_queued = Word(52, 4)
    command = Word(56)
    """COMMAND_VALID | CMD as written; 0 = none in flight."""
    command_position = Word(64)
    """MMIO ring position of the write: it was issued if the tail is past it."""
    probed = Word(72, 4)
    verb_high = Word(80)
    """Highest number of a verb that was begun: verbs of a device run in order, so one up to here is a repeat."""
    swerr_saved = Word(76, 4)
    """1: `swerr` holds an error (it stays until the next one)."""

    evl_entries = Word(160, 4)
    """Size of the event log; 0 = none."""
    evl_shadow = Word(164, 4)
    """Where the last pass ended (DEF-15)."""
    evl_count = Word(168)
    """Entries that were read so far."""
    evl_next = Word(176)
    """What evl_count becomes once head is written at evl_position."""
    evl_position = Word(184)
    evl_faults = Word(192)
    evl_copy_failures = Word(200)
    flr = Word(208)
    """FLR_OWED | enabled bitmap as it was, while a function reset is under way; 0 = none."""

    def swerr(self) -> list[int]:
        """The saved copy, 4 qwords."""
        return [self.words.load64(self.base + 128 + 8 * i) for i in range(4)]

    def store_swerr(self, qwords: list[int]) -> None:
        for i, qword in enumerate(qwords):
            self.words.store64(self.base + 128 + 8 * i, qword)

    def wq(self, wq_id: int) -> WqBlock:
        return WqBlock(self.words, self.base + self.WQS + wq_id * WqBlock.SIZE)


COMMAND_VALID: Final = 1 << 32
SWERR_NONE, SWERR_SAVED, SWERR_LOGGED = range(3)


class ChannelBlock(Block):
    """What must survive of a kernel channel; IrqChannel's own state follows at NATIVE."""

    NATIVE: Final = 64
    SIZE: Final = NATIVE + (_native.IrqChannel.STATE_SIZE + 63) // 64 * 64
    owner = Word(0)
    """1 + channel number, stored last; 0 = free."""
    fence_step = Word(8)
    """FENCE_*: how far fencing this channel has come."""
    resubmit = Word(16)
    """Ticket of the descriptor that is being submitted again; 0 = none."""
    resubmit_position = Word(24)
    """Our portal's number for it: it was submitted if the portal's tail is past that."""


class OpenBlock(Block):
    """A client's open of a user WQ, under the number of the verb that asked for it: a repeated verb is recognised."""

    SIZE: Final = 64
    verb = Word(0)
    """Number of the open verb, stored last; 0 = free."""
    wq = Word(8)
    pasid = Word(16)
    client = Word(24)
    closing = Word(32)
    """Number of the close verb that is giving it back; 0 = none."""
    faults = Word(40)
    """Record faults that the event log told of."""
    copy_failures = Word(48)
    file = Word(56)
    """The client's number of it, so that taking a closed portal up again is no second open."""


class FaultBlock(Block):
    """The work of one event-log entry: a copy, since the device may write the entry anew once head has moved."""

    SIZE: Final = 128
    number = Word(0)
    """Of the entry, stored last; 0 = free."""
    step = Word(8, 4)
    failed = Word(12, 4)
    """1: members of its batch could not be delivered."""

    def entry(self) -> bytes:
        """The entry's 64 bytes."""
        return b"".join(self.words.load64(self.base + 64 + 8 * i).to_bytes(8, "little") for i in range(8))

    def store_entry(self, data: bytes) -> None:
        for i in range(8):
            self.words.store64(self.base + 64 + 8 * i, int.from_bytes(data[8 * i : 8 * i + 8], "little"))


class EventBlock(Block):
    """An event of the performance monitor, under the number of its counter."""

    SIZE: Final = 32
    config = Word(0)
    """perfmon.EVENT_VALID | CNTRCFG, stored last; 0 = free."""
    previous = Word(8)
    """The counter's value at the last update."""
    count = Word(16)


FENCE_NONE, FENCE_ASKED, FENCE_SWEPT, FENCE_DONE = range(4)

_DEVICES: Final = 4096
_OPENS: Final = _DEVICES + DEVICES_MAX * DeviceBlock.SIZE
_CHANNELS: Final = (_OPENS + OPENS_MAX * OpenBlock.SIZE + 4095) // 4096 * 4096
_CONFIG: Final = (_CHANNELS + CHANNELS_MAX * ChannelBlock.SIZE + 4095) // 4096 * 4096
_EVL: Final = _CONFIG + 2 * CONFIG_MAX
_EVL_FAULTS: Final = BATCHES // 8 + EVL_ENTRIES_MAX // 8
_EVL_SIZE: Final = _EVL_FAULTS + FAULTS_MAX * FaultBlock.SIZE
_EVENTS: Final = _EVL + DEVICES_MAX * _EVL_SIZE
EVENTS_MAX: Final = 32
"""Counters of a device that the driver uses."""
SEGMENT_SIZE: Final = _EVENTS + DEVICES_MAX * EVENTS_MAX * EventBlock.SIZE


def region_of(offset: int) -> tuple[str, int]:
    """What lies at a byte of the segment: the kind of block, and the byte in it (steps.py names stores by this)."""
    if offset < _DEVICES:
        return "header", offset
    for region, start, end, size in (
        ("device", _DEVICES, _OPENS, DeviceBlock.SIZE),
        ("open", _OPENS, _OPENS + OPENS_MAX * OpenBlock.SIZE, OpenBlock.SIZE),
        ("channel", _CHANNELS, _CHANNELS + CHANNELS_MAX * ChannelBlock.SIZE, ChannelBlock.SIZE),
        ("event", _EVENTS, SEGMENT_SIZE, EventBlock.SIZE),
    ):
        if start <= offset < end:
            return region, (offset - start) % size
    at = (offset - _EVL) % _EVL_SIZE - _EVL_FAULTS
    return ("fault", at % FaultBlock.SIZE) if at >= 0 else ("bits", offset)


class StateSegment:
    """The whole segment."""

    def __init__(self, buffer: Buffer, watch: Callable[[Words], Words] = lambda words: words) -> None:
        """`buffer`: at least SEGMENT_SIZE bytes, writable. `watch` wraps what stores are made by (steps.py)."""
        self.memory = memoryview(buffer).cast("B")
        if self.memory.nbytes < SEGMENT_SIZE:
            raise ValueError(f"driver state: {self.memory.nbytes} bytes, needs {SEGMENT_SIZE}")
        self.words = watch(Words(self.memory))
        self.header = Header(self.words, 0)

    def device(self, index: int) -> DeviceBlock:
        return DeviceBlock(self.words, _DEVICES + index * DeviceBlock.SIZE)

    def event(self, device: int, counter: int) -> EventBlock:
        return EventBlock(self.words, _EVENTS + (device * EVENTS_MAX + counter) * EventBlock.SIZE)

    def channel(self, slot: int) -> ChannelBlock:
        return ChannelBlock(self.words, self.channel_offset(slot))

    def clear_channel(self, slot: int) -> None:
        """Before a new channel takes it over: its owner first."""
        self.channel(slot).owner = 0
        start = self.channel_offset(slot) + 8
        end = self.channel_offset(slot) + ChannelBlock.SIZE
        self.memory[start:end] = bytes(end - start)

    def channel_offset(self, slot: int) -> int:
        """Byte offset of a channel's block in the segment."""
        return _CHANNELS + slot * ChannelBlock.SIZE

    # ---- opens ----
    def open_block(self, entry: int) -> OpenBlock:
        return OpenBlock(self.words, _OPENS + entry * OpenBlock.SIZE)

    def opens(self) -> Iterator[OpenBlock]:
        """Every open there is."""
        for entry in range(self.header.opens_high):
            block = self.open_block(entry)
            if block.verb:
                yield block

    def add_open(self, verb: int, wq: int, pasid: int, client: int, file: int = 0) -> OpenBlock | None:
        """Remember an open; None: no room."""
        for entry in range(OPENS_MAX):
            block = self.open_block(entry)
            if not block.verb:
                self.header.opens_high = max(self.header.opens_high, entry + 1)
                block.wq, block.pasid, block.client, block.file, block.closing = wq, pasid, client, file, 0
                block.faults = block.copy_failures = 0
                block.verb = verb
                return block
        return None

    def opens_of(self, wq: int, pasid: int) -> Iterator[OpenBlock]:
        """Opens of a WQ by one process, the first one first."""
        found = (block for block in self.opens() if (block.wq, block.pasid) == (wq, pasid))
        return iter(sorted(found, key=lambda block: block.verb))

    # ---- event log: failed batches, entries to be skipped, fault works ----
    def clear_evl(self, device: int) -> None:
        """A new log: nothing is to be skipped, no batch has failed. Fault works go on."""
        for at in range(_EVL + device * _EVL_SIZE, _EVL + device * _EVL_SIZE + _EVL_FAULTS, 8):
            if self.words.load64(at):
                self.words.store64(at, 0)

    def batch_failed(self, device: int, batch: int) -> bool:
        return self._bit(_EVL + device * _EVL_SIZE, batch)

    def set_batch_failed(self, device: int, batch: int, failed: bool) -> None:
        """Of the 256 that batch_id can tell apart, whatever WQ they are of."""
        self._set_bit(_EVL + device * _EVL_SIZE, batch, failed)

    def set_skip(self, device: int, index: int) -> None:
        """The entry's owner is closing."""
        self._set_bit(_EVL + device * _EVL_SIZE + BATCHES // 8, index, True)

    def take_skip(self, device: int, index: int) -> bool:
        """Whether an entry is to be skipped; asked once."""
        base = _EVL + device * _EVL_SIZE + BATCHES // 8
        skipped = self._bit(base, index)
        if skipped:
            self._set_bit(base, index, False)
        return skipped

    def _bit(self, base: int, bit: int) -> bool:
        return bool(self.words.load64(base + bit // 64 * 8) >> bit % 64 & 1)

    def _set_bit(self, base: int, bit: int, value: bool) -> None:
        at = base + bit // 64 * 8
        qword = self.words.load64(at) & ~(1 << bit % 64)
        self.words.store64(at, qword | value << bit % 64)

    def _fault(self, device: int, slot: int) -> FaultBlock:
        return FaultBlock(self.words, _EVL + device * _EVL_SIZE + _EVL_FAULTS + slot * FaultBlock.SIZE)

    def faults(self, device: int) -> list[FaultBlock]:
        """Fault works that are not finished, oldest first."""
        blocks = [self._fault(device, slot) for slot in range(FAULTS_MAX)]
        return sorted((block for block in blocks if block.number), key=lambda block: block.number)

    def add_fault(self, device: int, number: int, entry: bytes) -> FaultBlock | None:
        """The work of an entry, made once; None: no room."""
        blocks = [self._fault(device, slot) for slot in range(FAULTS_MAX)]
        numbers = [block.number for block in blocks]
        if number in numbers:
            return blocks[numbers.index(number)]
        if 0 not in numbers:
            return None
        block = blocks[numbers.index(0)]
        block.store_entry(entry)
        block.step, block.failed = 0, 0
        block.number = number
        return block

    # ---- configuration ----
    def store_config(self, text: bytes) -> None:
        """Replace the configuration; a kill leaves the old one or the new one."""
        if len(text) > CONFIG_MAX:
            raise ValueError(f"configuration: {len(text)} bytes, at most {CONFIG_MAX}")
        other = 1 if self.header.config_current == 1 else 0
        start = _CONFIG + other * CONFIG_MAX
        self.memory[start : start + len(text)] = text
        if other:
            self.header.config_bytes_1 = len(text)
        else:
            self.header.config_bytes_0 = len(text)
        self.header.config_current = other + 1

    def load_config(self) -> bytes | None:
        """The configuration that was stored last, or None."""
        current = self.header.config_current
        if not current:
            return None
        length = self.header.config_bytes_1 if current == 2 else self.header.config_bytes_0
        start = _CONFIG + (current - 1) * CONFIG_MAX
        return bytes(self.memory[start : start + length])

    def release(self) -> None:
        """Let go of the buffer."""
        self.words.release()
        self.memory.release()
