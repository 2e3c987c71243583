"""A device as the driver meets it, in plain Python and one thread: registers behind a real MMIO ring, commands, causes.

`pump` applies what was posted and finishes commands; `raise_cause`, `latch_swerr`, `halt` make things happen. Nothing
here checks a configuration or runs a descriptor: MockChannel plays the client and the record writer of a kernel channel.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from idxdd.driver.steps import WatchedMmio
from idxdd.native import LAYOUT, Words
from idxdd.shm import bells, memfd
from idxdd.shm.hostmemory import HOST_MEMORY_SIZE, host_base
from idxdd.shm.mmio import MMIO_SIZE, DeviceMmio
from idxdd.spec.codes import CmdErr, Command, DeviceState, InterruptCause, ResetType, WqState
from idxdd.spec.layout import Register
from idxdd.spec.limits import BAR0_BYTES_MIN
from idxdd.spec.records import EventLogEntry
from idxdd.spec.registers import (
    CMD,
    CMDCAP,
    CMDSTS,
    CNTRDATA,
    ENGCAP,
    EVLCFG,
    EVLSTATUS,
    EVNTCAP,
    GENCAP,
    GENCFG,
    GENCTRL,
    GENSTS,
    GRPCAP,
    GRPCFG,
    INTCAUSE,
    MSIXPERM,
    OFFSETS,
    OPCAP,
    OVFSTATUS,
    PERFCAP,
    SWERR,
    VERSION,
    WQCAP,
    WQCFG,
)

WQS: Final = 8
VECTORS: Final = WQS + 1
_PENDING: Final = LAYOUT["mmio.pending"]
_STATE_DWORD: Final = 24


@dataclass
class MockDevice:
    """One device; change the fields to make it refuse, be slow, or be of another kind."""

    name: str = "dsa0"
    config_en: bool = True
    shared_mode: bool = True
    int_handles: bool = True
    evl: bool = False
    """It has an event log, in `host`."""
    counters: int = 0
    """Of its performance monitor, 16 bits wide; 0 = it has none."""
    progress_limit: bool = False
    flrs: int = 0
    """Resets of the function."""
    refuse_flr: bool = False
    """A reset of the function does nothing."""
    hold_commands: bool = False
    """Commands stay active until finish_command()."""
    refuse: dict[Command, int] = field(default_factory=dict)
    """CMDSTS.error of a command."""
    results: dict[Command, int] = field(default_factory=dict)
    """CMDSTS.result beside a command's success, where there should be none."""
    handles: dict[int, int] = field(default_factory=dict)
    """Handle of a table index; else the index itself."""
    commands: list[tuple[Command, int, bool]] = field(default_factory=list)
    """Every command that was taken: code, operand, int_req."""
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    """Every posted write that was applied: offset, width, value."""
    posted: list[int] = field(default_factory=list)
    """Vectors whose semaphore would have been posted."""

    def __post_init__(self) -> None:
        self.bar0 = bytearray(BAR0_BYTES_MIN)
        self.host = bytearray(HOST_MEMORY_SIZE if self.evl else 0)
        self.ring = bytearray(MMIO_SIZE)
        self.words = Words(self.bar0)
        self.ring_words = Words(self.ring)
        self.mmio = DeviceMmio(self.ring)
        self._active: CMD | None = None
        offsets = OFFSETS.encode(grpcfg=0x600, wqcfg=0x800, msix_perm=0x400, perfmon=0x1000 if self.counters else 0)
        self.offsets = offsets
        commands = sum(1 << command for command in Command if command <= Command.ABORT_PASID)
        if self.int_handles:
            commands |= 1 << Command.REQUEST_INT_HANDLE | 1 << Command.RELEASE_INT_HANDLE
        for register in (
            VERSION(0x200),
            GENCAP.encode(
                cmd_cap=True, block_on_fault=True, max_xfer_shift=31, max_batch_shift=10, config_en=self.config_en,
                evl_support=self.evl,
            ),
            WQCAP.encode(
                total_wq_size=128, num_wqs=WQS, wqcfg_size=1, shared_mode=self.shared_mode, dedicated_mode=True, priority=True,
                op_config=True,
            ),
            GRPCAP.encode(num_groups=4, total_rdbufs=96, rdbuf_ctrl=True, rdbuf_limit=True, progress_limit=self.progress_limit),
            ENGCAP.encode(num_engines=4),
            OPCAP(0x3F),
            offsets,
            CMDCAP(commands),
        ):  # fmt: skip
            self.set(register)
        self._reset_tables()
        if self.counters:
            caps = PERFCAP.encode(
                num_counters=self.counters, counter_width=16, num_event_categories=1, filters=1, freeze=True, overflow_int=True
            )
            self.set(caps, offsets.perfmon)
            self.set(EVNTCAP(0xF), EVNTCAP.entry_offset(0, offsets))

    # ---- registers, from the device's side ----
    def get(self, register: type[Register], at: int | None = None) -> int:
        """A register's bits."""
        offset = register.offset if at is None else at
        return int.from_bytes(self.bar0[offset : offset + register.width_bytes], "little")

    def set(self, register: Register, at: int | None = None) -> None:
        """Store a register's bits, whatever its access mode."""
        offset = register.offset if at is None else at
        self.bar0[offset : offset + register.width_bytes] = register.raw.to_bytes(register.width_bytes, "little")

    def wqcfg_at(self, wq: int) -> int:
        return self.offsets.wqcfg + 64 * wq

    def wqcfg(self, wq: int) -> WQCFG:
        return WQCFG(self.get(WQCFG, self.wqcfg_at(wq)))

    def grpcfg(self, group: int) -> GRPCFG:
        return GRPCFG(self.get(GRPCFG, self.offsets.grpcfg + 64 * group))

    def permission(self, vector: int) -> MSIXPERM:
        return MSIXPERM(self.get(MSIXPERM, self.offsets.msix_perm + 8 * vector))

    @property
    def state(self) -> DeviceState:
        return DeviceState(GENSTS(self.get(GENSTS)).state)

    def set_state(self, state: DeviceState, reset_type: ResetType = ResetType.SOFTWARE) -> None:
        self.set(GENSTS.encode(state=state, reset_type=reset_type))

    # ---- the event log ----
    def log_entry(self, entry: EventLogEntry) -> int:
        """Append an entry, then raise the cause if no interrupt is pending; its index."""
        status, config = EVLSTATUS(self.get(EVLSTATUS)), EVLCFG(self.get(EVLCFG))
        assert (config.log_base, GENCFG(self.get(GENCFG)).evl_en) == (host_base(0), True), "no log is set up"
        self.host[64 * status.tail : 64 * status.tail + 64] = entry.pack()
        self.set(status.replace(tail=(status.tail + 1) % config.log_size, int_pending=True))
        if not status.int_pending and GENCTRL(self.get(GENCTRL)).evl_int_en:
            self.raise_cause(InterruptCause.EVL)
        return int(status.tail)

    def _evlstatus_written(self, offset: int, value: int) -> None:
        status = EVLSTATUS(self.get(EVLSTATUS))
        if offset == EVLSTATUS.offset:
            self.set(status.replace(head=value & 0xFFFF))
        elif value >> 30 & 1:
            self.set(status.replace(int_pending=False))

    # ---- what happens ----
    def post(self, vector: int) -> None:
        """Signal a vector: only if it was not pending."""
        if not self.ring_words.exchange32(_PENDING + 4 * vector, 1):
            self.posted.append(vector)

    def raise_cause(self, cause: int) -> None:
        """Set causes, then signal vector 0."""
        self.set(INTCAUSE(self.get(INTCAUSE) | cause))
        self.post(0)

    def latch_swerr(self, error: SWERR) -> None:
        """As hardware: the first is latched with its interrupt, another only sets overflow."""
        now = SWERR(self.get(SWERR))
        if now.valid:
            self.set(now.replace(overflow=True))
            return
        self.set(error.replace(valid=True, overflow=now.overflow))
        self.raise_cause(InterruptCause.ERR)

    def halt(self, reset_type: ResetType = ResetType.SOFTWARE) -> None:
        """Halt, with its cause if the driver enabled it."""
        self.set_state(DeviceState.HALT, reset_type)
        if GENCTRL(self.get(GENCTRL)).halt_int_en:
            self.raise_cause(InterruptCause.HALT)

    def function_reset(self) -> None:
        """What an FLR leaves; the PCI layer has restored its part."""
        if self.refuse_flr:
            return
        self._active = None
        self._execute(Command.RESET_DEVICE, 0)
        for register in (SWERR(0), EVLSTATUS(0), CMDSTS(0)):
            self.set(register)
        self.flrs += 1

    @property
    def _overflow_at(self) -> int:
        return int(OVFSTATUS.entry_offset(0, self.offsets))

    def count(self, counter: int, events: int) -> None:
        """Events happen: the counter wraps at 16 bits, with its cause."""
        at = CNTRDATA.entry_offset(counter, self.offsets)
        value = self.get(CNTRDATA, at) + events
        self.set(CNTRDATA(value & 0xFFFF), at)
        if value >> 16:
            self.set(OVFSTATUS(self.get(OVFSTATUS, self._overflow_at) | 1 << counter), self._overflow_at)
            self.raise_cause(InterruptCause.PERFMON_OVFL)

    def pump(self, maximum: int = 1 << 20) -> int:
        """Apply posted writes; returns how many."""
        return self.mmio.apply(self._write, maximum)

    def finish_command(self) -> None:
        """End a held command."""
        cmd, self._active = self._active, None
        assert cmd is not None, "no command is active"
        self._finish(cmd)

    # ---- the bus ----
    def _write(self, offset: int, width: int, value: int) -> None:
        self.writes.append((offset, width, value))
        if offset == CMD.offset:
            return self._command(CMD(value))
        if offset == INTCAUSE.offset:
            return self.set(INTCAUSE(self.get(INTCAUSE) & ~value))
        if EVLSTATUS.offset <= offset < EVLSTATUS.offset + 8:
            return self._evlstatus_written(offset, value)
        if SWERR.offset <= offset < SWERR.offset + 32:
            if offset == SWERR.offset:
                self.set(SWERR(self.get(SWERR) & ~(value & 3)))
            return None
        if self.counters and offset == self._overflow_at:
            return self.set(OVFSTATUS(self.get(OVFSTATUS, offset) & ~value), offset)
        if offset < GENCTRL.offset and offset >= VERSION.offset and offset not in (0x80,):
            return None  # capabilities
        wq, byte = divmod(offset - self.offsets.wqcfg, 64)
        if 0 <= wq < WQS and byte == _STATE_DWORD:
            return None
        self.bar0[offset : offset + width] = value.to_bytes(width, "little")
        return None

    def _command(self, cmd: CMD) -> None:
        if self._active is not None:
            return  # 0x52; the driver never does this
        self.commands.append((Command(cmd.command), cmd.operand, cmd.int_req))
        self.set(CMDSTS.encode(active=True))
        if self.hold_commands:
            self._active = cmd
        else:
            self._finish(cmd)

    def _finish(self, cmd: CMD) -> None:
        command = Command(cmd.command)
        error = self.refuse.get(command, CmdErr.SUCCESS)
        result = 0
        if not error:
            error, result = self._execute(command, cmd.operand)
            result = self.results.get(command, result)
        self.set(CMDSTS.encode(error=error, result=result))
        if cmd.int_req:
            self.raise_cause(InterruptCause.CMD)

    def _execute(self, command: Command, operand: int) -> tuple[int, int]:
        selected = [16 * (operand >> 16) + bit for bit in range(16) if operand >> bit & 1]
        if command is Command.ENABLE_DEVICE:
            if self.state is not DeviceState.DISABLED:
                return CmdErr.DEV_ENABLED, 0
            self.set_state(DeviceState.ENABLED)
            if GENCFG(self.get(GENCFG)).evl_en:
                self.set(EVLSTATUS(0))
        elif command in (Command.DISABLE_DEVICE, Command.RESET_DEVICE):
            if command is Command.RESET_DEVICE:
                self._reset_tables()
                self.set(GENCTRL(0))
                self.set(INTCAUSE(0))
                self.set(GENCFG(0))
                self.set(EVLCFG(0))
            for wq in range(WQS):
                self._set_wq_state(wq, WqState.DISABLED)
            self.set_state(DeviceState.DISABLED)
        elif command is Command.ENABLE_WQ:
            if self.wqcfg(operand).wq_state is WqState.ENABLED:
                return CmdErr.WQ_ENABLED, 0
            self._set_wq_state(operand, WqState.ENABLED)
        elif command is Command.DISABLE_WQ:
            if any(self.wqcfg(wq).wq_state is not WqState.ENABLED for wq in selected):
                return CmdErr.WQ_NOT_ENABLED, 0
            for wq in selected:
                self._set_wq_state(wq, WqState.DISABLED)
        elif command is Command.RESET_WQ:
            for wq in selected:
                self.set(WQCFG.encode(wq_size=self.wqcfg(wq).wq_size, op_config=0x3F), self.wqcfg_at(wq))
        elif command is Command.REQUEST_INT_HANDLE:
            return CmdErr.SUCCESS, self.handles.get(operand, operand)
        return CmdErr.SUCCESS, 0

    def _set_wq_state(self, wq: int, state: WqState) -> None:
        self.set(self.wqcfg(wq).replace(wq_state=state), self.wqcfg_at(wq))

    def _reset_tables(self) -> None:
        for wq in range(WQS):
            self.set(WQCFG.encode(op_config=0x3F), self.wqcfg_at(wq))
        for group in range(4):
            self.set(GRPCFG.encode(rdbufs_allowed=96), self.offsets.grpcfg + 64 * group)
        for vector in range(VECTORS):
            self.set(MSIXPERM(0), self.offsets.msix_perm + 8 * vector)

    # ---- the driver's window ----
    def driver_mmio(self) -> TracedMmio:
        """A new window, as a successor maps it; reading pumps this device."""
        return TracedMmio(self.bar0, self.ring, lambda: None, name=self.name, pump=self.pump)


class TracedMmio(WatchedMmio):
    """The driver's window, with every access in the order the driver made it: ("read" | "write", offset[, value])."""

    trace: list[tuple[str, int, int]]
    on_post: Callable[[int], object]
    """Called before each posted write, with its offset."""

    def __init__(self, *args: object, **keywords: object) -> None:
        super().__init__(*args, **keywords)  # type: ignore[arg-type]
        self.trace = []
        self.on_post = lambda offset: None
        self.step = lambda number: None

    def _load(self, offset: int, width: int) -> int:
        value = super()._load(offset, width)
        self.trace.append(("read", offset, value))
        return value

    def read32(self, offset: int) -> int:
        value = super().read32(offset)
        self.trace.append(("read", offset, value))
        return value

    def read64(self, offset: int) -> int:
        value = super().read64(offset)
        self.trace.append(("read", offset, value))
        return value

    def _post(self, offset: int, width_bytes: int, value: int) -> None:
        self.on_post(offset)
        super()._post(offset, width_bytes, value)
        self.trace.append(("write", offset, value))


class MockChannel:
    """A client's kernel channel, both as its client writes it and as the device writes its records."""

    def __init__(self, number: int = 1, slots: int = 32) -> None:
        self.number, self.slots = number, slots
        self.sequence = 0
        names = {
            "channel": "channel", "ring": "completion_ring", "portal": "portal_client",
            "own": "portal_client", "own_device": "portal_device",
        }  # fmt: skip
        self.fds = {key: memfd.create(f"mock-{key}", _pages(LAYOUT[struct])) for key, struct in names.items()}
        self.maps = {key: memfd.map_shared(fd, _pages(LAYOUT[names[key]])) for key, fd in self.fds.items()}
        self.words = {key: Words(window) for key, window in self.maps.items()}
        self.wake_ours, theirs = bells.create_wake_pair()
        self.bell = socket.socket(fileno=theirs)
        self.pidfd = os.pidfd_open(os.getpid())
        self.doorbell = bells.create_doorbell()
        own_ours, self.own_wake = bells.create_wake_pair()
        self.own_bell = socket.socket(fileno=own_ours)
        self.taken = 0
        self.own_taken = 0
        self.set_own(limit=LAYOUT["portal_slots"])

    def handed_over(self) -> list[int]:
        """The nine descriptors of attach, duplicated: whoever gets them owns them."""
        own = (self.fds["own"], self.fds["own_device"], self.doorbell, self.own_wake)
        return [
            os.dup(fd) for fd in (self.fds["channel"], self.fds["ring"], self.fds["portal"], self.wake_ours, self.pidfd, *own)
        ]

    # ---- the client ----
    def push(self, slot: int, sequence: int | None = None) -> int:
        """Append to the pending list; returns the ticket."""
        self.sequence = sequence = self.sequence + 1 if sequence is None else sequence
        tail = self.words["channel"].load64(LAYOUT["channel.pending_tail"])
        at = LAYOUT["channel.pending"] + tail % LAYOUT["channel_slots"] * 8
        self.words["channel"].store64(at, sequence << 16 | slot)
        self.set_tail(tail + 1)
        return sequence << 16 | slot

    def set_tail(self, tail: int) -> None:
        self.words["channel"].store64(LAYOUT["channel.pending_tail"], tail)

    def set_wake_at(self, count: int) -> None:
        self.words["channel"].store64(LAYOUT["channel.wake_at"], count)

    def set_in_submit(self, inside: bool) -> None:
        self.words["portal"].store32(LAYOUT["portal_client.in_submit"], inside)

    def rung(self) -> int:
        """How many bells have come since the last call."""
        try:
            return len(self.bell.recv(4096))
        except BlockingIOError:
            return 0

    def completions(self) -> list[tuple[int, int, int]]:
        """(ticket, status, result) of each entry since the last call."""
        tail = self.words["ring"].load64(LAYOUT["completion_ring.tail"])
        found = [self.entry(number) for number in range(self.taken, tail)]
        self.taken = tail
        return found

    def entry(self, number: int) -> tuple[int, int, int]:
        at = LAYOUT["completion_ring.entry"] + number % LAYOUT["completions"] * 16
        ticket, status, result = struct.unpack_from("<QBB", self.maps["ring"], at)
        return ticket, status, result

    def set_desc(self, slot: int, desc: bytes) -> None:
        """The client's copy of what it submitted."""
        at = LAYOUT["channel.desc"] + 64 * slot
        self.maps["channel"][at : at + 64] = desc

    # ---- the device ----
    def set_own(self, **words: int) -> None:
        """Words of the device's page of the driver's own portal: limit, answered, closed, closed_at."""
        for word, value in words.items():
            store = self.words["own_device"].store64 if word in ("limit", "closed_at") else self.words["own_device"].store32
            store(LAYOUT[f"portal_device.{word}"], value)

    def own_want(self) -> int:
        """The driver's last question for room."""
        return self.words["own"].load32(LAYOUT["portal_client.want"])

    def own_submitted(self) -> list[bytes]:
        """What the driver published by its own portal since the last call."""
        tail = self.words["own"].load64(LAYOUT["portal_client.tail"])
        slots = [LAYOUT["portal_client.slot"] + number % LAYOUT["portal_slots"] * 64 for number in range(self.own_taken, tail)]
        self.own_taken = tail
        return [bytes(self.maps["own"][at : at + 64]) for at in slots]

    def status(self, slot: int) -> int:
        """The record's status byte."""
        return self.maps["channel"][LAYOUT["channel.record"] + 32 * slot]

    def set_status(self, slot: int, status: int) -> None:
        """The record's status byte."""
        self.maps["channel"][LAYOUT["channel.record"] + 32 * slot] = status

    def close(self) -> None:
        for words in self.words.values():
            words.release()
        for window in self.maps.values():
            window.close()
        self.bell.close()
        self.own_bell.close()
        for fd in (*self.fds.values(), self.wake_ours, self.pidfd, self.doorbell, self.own_wake):
            os.close(fd)


def _pages(size: int) -> int:
    return (size + 4095) // 4096 * 4096
