"""The thin binding of the C data plane (idxdd/native). Everything Python knows of C is listed here."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from typing_extensions import Buffer

# ---- constants and layouts -------------------------------------------------------------------------------------------
LAYOUT: Final[dict[str, int]]
"""sizeof and offsetof of every shared structure of shm.h: "portal_client" (size), "portal_client.tail" (offset), ...;
array members as offset plus "<name>[]" = stride ("published_driver.wq", "published_driver.wq[]", "published_wq.gate"),
and the #defines in lower case without prefix ("portal_slots", "channel_slots", "mmio_ring", ...)."""

class NativeError(OSError): ...

# ---- words: ordered access to shared memory ------------------------------------------------------------------------------
class Words:
    """Atomic access to a writable or read-only buffer (an mmap, a memoryview): offsets in bytes, naturally aligned.
    load = acquire, store = release, exchange and fence = sequentially consistent. IndexError outside the buffer."""
    def __init__(self, buffer: Buffer) -> None: ...
    def load32(self, offset: int) -> int: ...
    def load64(self, offset: int) -> int: ...
    def store32(self, offset: int, value: int) -> None: ...
    def store64(self, offset: int, value: int) -> None: ...
    def exchange32(self, offset: int, value: int) -> int: ...
    def release(self) -> None:
        """Let go of the buffer."""

def fence() -> None: ...
def set_parent_death_signal(signal: int) -> None: ...
def cpu_features() -> str: ...
def crc_kernel() -> str: ...
def crc_force(kernel: str) -> bool: ...
def crc32c(data: Buffer, seed: int = 0) -> int: ...
def crc64nvme(data: Buffer, seed: int = 0) -> int: ...
def dont_fork(buffer: Buffer) -> None:
    """madvise(MADV_DONTFORK) on whole pages."""

def map_fixed_private(fd: int, address: int, size: int) -> None:
    """After fork: a private copy-on-write view at the same address."""

def map_fixed_shared(fd: int, address: int, size: int) -> None: ...
def map_shared(fd: int, size: int, writable: bool) -> int:
    """mmap(MAP_SHARED), address. For buffers whose address must be known."""

def unmap(address: int, size: int) -> None: ...
def view(address: int, size: int, writable: bool) -> memoryview: ...

# ---- engine (device loop's side) --------------------------------------------------------------------------------------------
class Exit(NamedTuple):
    kind: int
    id: int
    wq: int
    portal: int
    context: int
    generation: int
    pasid: int
    invalid_flags: int
    bytes_completed: int
    batch_index: int
    in_batch: int
    status: int
    operand: int
    write: int
    priv: int
    record_written: int
    batch_id: int
    first_error: int
    address: int
    desc: bytes
    record: bytes

EXIT_ACK: Final[int]
EXIT_FAULT: Final[int]
EXIT_ERROR: Final[int]
EXIT_OVERFLOW: Final[int]
EXIT_WINDOW: Final[int]
EXIT_INJECTED: Final[int]
RULES_MAX: Final[int]
RULE_EVENTS_MAX: Final[int]
RULE_ANYWHERE: Final[int]
RULE_MEMBERS: Final[int]
RULE_NOT_MEMBERS: Final[int]
RULE_STATUS: Final[int]
RULE_FAULT: Final[int]
RULE_CORRUPT: Final[int]
RULE_DELAY: Final[int]
RULE_DROP: Final[int]
RULE_REORDER: Final[int]
RULE_FULL: Final[int]
RULE_INTERRUPT_LOST: Final[int]
RULE_INTERRUPT_LATE: Final[int]
RULE_SLOW: Final[int]
RULE_EVENT: Final[int]
RULE_FIRST_READ: Final[int]
RULE_FIRST_WRITTEN: Final[int]
TRACE_RECORDS_MAX: Final[int]
ERRORS_KEPT: Final[int]
TRACE_RECORD_WRITTEN: Final[int]
TRACE_MEMBER: Final[int]
TRACE_FAULT_WRITE: Final[int]
TRACE_PRIV: Final[int]
TRACE_DROPPED: Final[int]
TRACE_AGENT: Final[int]
WHY_NONE: Final[int]
WHY_CARRIED_OUT: Final[int]
WHY_MEMBER_FAILED: Final[int]
WHY_FENCE: Final[int]
WHY_RECORD_ALIGNMENT: Final[int]
WHY_PRIVILEGE: Final[int]
WHY_RECORD_TRAFFIC_CLASS: Final[int]
WHY_OPCODE: Final[int]
WHY_OPCODE_IN_BATCH: Final[int]
WHY_FLAGS: Final[int]
WHY_RESERVED: Final[int]
WHY_NO_PASID: Final[int]
WHY_SIZE: Final[int]
WHY_COUNT: Final[int]
WHY_FIELD_VALUE: Final[int]
WHY_LIST_ALIGNMENT: Final[int]
WHY_ALIGNMENT: Final[int]
WHY_DUALCAST_BITS: Final[int]
WHY_OVERLAP: Final[int]
WHY_HANDLE: Final[int]
WHY_TRAFFIC_CLASS: Final[int]
WHY_WINDOW: Final[int]
WHY_CHECK: Final[int]
WHY_FAULT: Final[int]
WHY_RECORD_FAULT: Final[int]
WHY_RECORD_LOGGED: Final[int]
WHY_DRAIN_LOGGED: Final[int]
WHY_ABORTED: Final[int]
WHY_RULE: Final[int]
RESUME_RETRY: Final[int]
RESUME_FAIL: Final[int]
RESUME_FINISH: Final[int]
RESUME_RUN: Final[int]
STOP_DRAIN: Final[int]
STOP_ABORT: Final[int]

class Space:
    """The address table of one PASID: ranges of the client's addresses that the daemon has mapped."""
    def add(self, address: int, fd: int, size: int) -> None:
        """Map `fd` (a memfd of ours) shared here and serve [address, address + size). Overlap, or not page-aligned:
        NativeError."""
    def remove(self, address: int) -> int:
        """Take the range starting at `address` out; returns its size. Memory is unmapped when the engine has moved on
        (Engine.barrier)."""
    def ranges(self) -> list[tuple[int, int]]: ...

class Engine:
    def __init__(self, published: Buffer, *, spin_us: int = 100, batch_seed: int = 0) -> None:
        """`published`: writable mapping of struct idxdd_published_device."""
    exit_bell: int
    def start(self) -> None:
        """Run in a thread of its own."""
    def stop(self) -> None:
        """End the thread; nothing is executed any more. Idempotent."""
    def run(self, visits: int = 1) -> int:
        """Inline: so many visits in this thread; returns descriptors finished + requests done (0 = nothing to do). Only
        when not started."""
    def exits(self, maximum: int = 256) -> list[Exit]: ...
    def resume(self, context: int, generation: int, action: int, status: int = 0) -> int: ...
    # Each of these queues a request and returns its id; an Exit of kind ACK with that id says it is done.
    def wq_enable(
        self,
        wq: int,
        *,
        group: int,
        dedicated: bool,
        size: int,
        threshold: int,
        priority: int,
        gencap: int,
        opcfg: Sequence[int],
        max_xfer_shift: int,
        max_batch_shift: int,
        bof: bool,
        pasid_en: bool,
        pasid: int,
        priv: bool,
        user_int_en: bool,
        privileged_mode: bool,
        tc_enabled: int = 3,
        evl_en: bool = False,
        evl_drains: bool = False,
        idcap: int = 0,
        engines: int = 0,
    ) -> int:
        """`engines`: of its group, bit mask; the trace names them in rotation."""
    def wq_threshold(self, wq: int, threshold: int) -> int: ...
    def wq_stop(self, wqs: Sequence[int], how: int, reason: int) -> int:
        """Close every portal of these WQs (reason: enum idxdd_closed), then drain or abort; the WQs accept nothing until
        enabled again."""
    def wq_drain(self, wqs: Sequence[int]) -> int:
        """Reads every tail of these WQs once, then waits for all that was accepted; the WQs go on."""
    def pasid_drain(self, pasid: int, wqs: Sequence[int]) -> int: ...
    def pasid_abort(self, pasid: int, wqs: Sequence[int]) -> int:
        """As wq_drain, or abandoning, for the descriptors of one PASID in these WQs."""
    def portal_add(
        self,
        wq: int,
        *,
        client_fd: int,
        device_fd: int,
        doorbell_fd: int,
        wake_fd: int,
        space: Space,
        pasid: int,
        priv: bool = False,
    ) -> tuple[int, int]:
        """(portal number, request id). fds are duplicated or mapped; the caller keeps its own."""
    def agent_add(self, space: Space, *, memory_fd: int, bell_fd: int, doorbell_fd: int, timeout: float) -> int:
        """Reach addresses of `space` that are not mapped through this agent; a request not answered within `timeout` seconds is
        a fault. Remove it after the portals of the space."""
    def agent_remove(self, space: Space) -> int: ...
    def portal_close(self, portal: int, how: int, reason: int) -> int: ...
    def portal_reopen(self, portal: int) -> int: ...
    def portal_remove(self, portal: int) -> int:
        """After it was closed; its number is free again when acknowledged."""
    def portal_fenced(self, portal: int) -> None:
        """Store `fenced` (at once, no request): idxdd-irq has swept the channel."""
    def portal_statistics(self, portal: int) -> dict[str, int]:
        """descriptors, bytes, retries, errors, interrupts, done, in_flight, closed"""
    def barrier(self) -> int:
        """Acknowledged when nothing executed before it is still running on an old address table."""
    # fault injection and trace: idxdd/inject.h, idxdd/trace.h; LAYOUT has "rule" and "trace_record" with their fields
    def set_rules(self, rules: Buffer) -> int:
        """Packed struct idxdd_rule, one after the other; b"": none. All rules at once; what earlier ones held goes on."""
    def rule_counters(self) -> list[tuple[int, int]]:
        """(matched, hits) of each rule set last; an `also` counts in the rule before it."""
    def trace_on(self, records: int) -> int:
        """A new, empty ring of so many records (1 to TRACE_RECORDS_MAX); what another held is gone."""
    def trace_off(self) -> int:
        """No trace; what was not read is gone, its memory when this is acknowledged."""
    def trace_read(self, maximum: int = 1024) -> tuple[bytes, int]:
        """At most 16384 packed struct idxdd_trace_record, oldest first, and how many were overwritten unread since the
        last read."""
    def errors_read(self) -> tuple[bytes, int]:
        """The same of the last ERRORS_KEPT that did not end well, which are kept whether there is a trace or not."""
    def wq_counts(self, wq: int) -> tuple[dict[int, int], dict[int, int]]:
        """Descriptors and members that came to an end: by opcode (63: 63 and above), and by status where it is not 0x01."""
    # interrupts: effective at once
    def vector_config(self, vector: int, semaphore: str, pending: Buffer, pending_offset: int) -> None:
        """`vector`: global = device * 32 + entry; `semaphore`: name for sem_open; `pending`: the device's idxdd_mmio
        mapping."""
    def vector_mask(self, vector: int, masked: bool) -> bool:
        """Returns whether an interrupt was pending (it is then sent on unmask)."""
    def vector_pending(self, vector: int) -> bool:
        """The PBA bit."""
    def vector_clear(self, vector: int) -> None:
        """Clear the PBA bit: what waits behind the mask is forgotten."""
    def vector_post(self, vector: int) -> None:
        """Raise it from the device loop: exchange(pending, 1), post the semaphore if it was 0; masked: set the PBA bit."""
    def handle_config(
        self, device: int, handle: int, vector: int | None, *, pasid_en: bool = False, pasid: int = 0, ignore: bool = False
    ) -> None:
        """vector None: the handle is invalid (0x19)."""
    def idpt_set(
        self,
        device: int,
        handle: int,
        *,
        usable: bool,
        many: bool,
        submitter: int,
        read: bool,
        write: bool,
        window_en: bool,
        offset_mode: bool,
        base: int,
        size: int,
        bitmap: int,
        space: Space | None,
        bitmap_space: Space | None,
        update: bool,
    ) -> int:
        """An entry of the inter-domain permissions table from now on. `update`: by Update Window, which then waits for who
        uses what was before; else who uses it is cut off (0x2E)."""
    def ring(self) -> None:
        """Wake the engine thread."""
    def statistics(self) -> dict[str, int]:
        """visits, sleeps, spin_us, contexts, parked, exits, requests"""

# ---- portal, channel (client's side) -----------------------------------------------------------------------------------
WAIT_DONE: Final[int]
WAIT_TIMEOUT: Final[int]
WAIT_CLOSED: Final[int]
WAIT_GONE: Final[int]
SUBMIT_RETRY: Final[int]
SUBMIT_CLOSED: Final[int]
SUBMIT_GONE: Final[int]

class Portal:
    """A client's portal. Threads of one process may share it: a lock inside serialises publishing."""
    def __init__(
        self, *, client_fd: int, device_fd: int, published_fd: int, doorbell_fd: int, wake_fd: int, dedicated: bool
    ) -> None: ...
    tail: int
    done: int
    closed: int
    closed_at: int
    fenced: bool
    limit: int
    asking: bool
    """a question for room is not answered yet"""
    def try_submit(self, descriptor: Buffer) -> int:
        """As submit, but without waiting for an answer: SUBMIT_RETRY when there is no room and the device was asked."""
    def submit(self, descriptor: Buffer) -> int:
        """Publish one 64-byte descriptor. >= 0: its number; SUBMIT_RETRY: the WQ is full (asked and answered, as ENQCMD);
        SUBMIT_CLOSED; SUBMIT_GONE. Releases the GIL only when it must wait."""
    def submit_many(self, descriptors: Buffer, count: int | None = None) -> int:
        """Publish as many of them, in order, as there is room for now; at least one unless the answer is retry (0 then),
        closed or gone (negative)."""
    def post(self, descriptor: Buffer) -> bool:
        """A dedicated WQ's posted write: False = dropped at the limit (SWERR 0x53)."""
    def wait(self, number: int, timeout: float) -> int:
        """Until `done` >= number: spin briefly, then sleep on the bell. WAIT_*; GIL released."""
    def wait_room(self, timeout: float) -> int:
        """After a retry: until there is room (the device rings whom it turned away). WAIT_*."""
    def wait_record(self, record: Buffer, timeout: float, number: int) -> int:
        """Until byte 0 of the record is not 0 (or the portal closed, or the device is gone).
        `number`: of descriptors finished when it may be there (the submission's number + 1). Also WAIT_DONE, with byte 0
        still 0, when the portal is closed and everything published has finished: aborted."""
    def sleeping_fd(self, number: int) -> int:
        """Arm wake_at = number and return the fd that becomes readable (asyncio); -1 if `done` is there already
        (or closed, or gone). One fd per portal, shared with its channel."""
    def drain_bell(self) -> None:
        """Read what the bell holds (after the fd was readable)."""
    def close(self) -> None: ...

class Agent:
    """Serves this process's memory to the device: a C thread, asleep while nothing is asked, and whoever waits at a portal."""
    def __init__(self, *, memory_fd: int, bell_fd: int, doorbell_fd: int, published_fd: int, thread: bool = True) -> None:
        """Without a thread, whoever calls look() serves."""
    def stop(self) -> None:
        """End its thread; waits a second for one that is stuck."""
    def look(self, block: bool = False) -> bool:
        """Serve what is asked now; what might block, at pages that somebody has to bring, only if told so. True: there was
        something."""

def serve(portal: Portal, agent: Agent) -> None:
    """Waiters of this portal serve the agent from now on; it lives as long as the portal."""

def buffer_address(buffer: Buffer, writable: bool) -> tuple[int, int]:
    """(address, bytes) of a C-contiguous buffer; BufferError. The caller keeps it alive, and its size."""

class Channel:
    """A client's kernel channel: descriptors with interrupts, completed by idxdd-irq."""
    def __init__(
        self, *, portal: Portal, channel_fd: int, ring_fd: int, driver_fd: int, wq: int, slots: int, wake_fd: int
    ) -> None: ...
    address: int
    size: int
    in_flight: int
    completed: int
    refusal: int
    """errno where a submission is refused: EIO, the device is not enabled; ENXIO, the WQ is quiesced"""
    def submit(self, descriptor: Buffer, block: bool = False) -> int:
        """Allocate a slot, copy the descriptor in (completion address, CRAV, RCR, RCI and the handle are set here), pass
        the gate,
        append to the pending list, publish. >= 0: ticket; SUBMIT_RETRY: no free slot or WQ full; SUBMIT_CLOSED: gate dead,
        portal closed or channel fenced."""
    def submit_many(self, descriptors: Buffer) -> list[int]:
        """Tickets of those there was room for, in order; a negative last entry (SUBMIT_CLOSED, SUBMIT_GONE)
        says why there is no more."""
    def reap(self, maximum: int = 256) -> list[tuple[int, int, int, bytes]]:
        """Completions since the last call: (ticket, status, txn result, 32-byte record); slots are free again."""
    def wait(self, completed: int, timeout: float) -> int: ...
    def sleeping_fd(self, completed: int) -> int: ...
    def drain_bell(self) -> None: ...
    def close(self) -> None: ...

# ---- channel (idxdd-irq's side), vectors ----------------------------------------------------------------------------------
DEFER_NOTHING: Final[int]
DEFER_INVALID_HANDLE: Final[int]
DEFER_FINISHED: Final[int]
VIOLATION_TAIL: Final[int]
VIOLATION_INDEX: Final[int]
VIOLATION_TWICE: Final[int]

class VectorWaiter:
    """One C thread a vector waits for its semaphore; `bell` becomes readable, `fired` tells which."""
    def __init__(self, semaphores: Sequence[str]) -> None: ...
    bell: int
    def fired(self) -> int:
        """Bit mask of vectors signalled since the last call; drains the bell."""
    def close(self) -> None: ...

class IrqChannel:
    """The driver's view of one channel: pending cursor and work list private, `listed` in the driver-state segment."""
    def __init__(
        self,
        *,
        channel_fd: int,
        ring_fd: int,
        portal_client_fd: int,
        wake_fd: int,
        slots: int,
        state: Buffer,
        state_offset: int,
    ) -> None:
        """`state`: driver-state segment; struct idxdd_irq_channel_state at state_offset (cursor, listed[slots])."""
    STATE_SIZE: Final[int]
    in_submit: int
    violation: int
    """VIOLATION_*: why its lists are not read any more; 0 = none"""
    completed: int
    """completions written by this process"""
    listed: int
    """length of the work list"""
    def work_list(self, defer: int) -> list[tuple[int, int]]:
        """One pass; completes what is finished. What DEFER_* hands out is returned as (ticket, status) instead."""
    def pending_list(self, defer: int) -> list[tuple[int, int]]:
        """Take the pending list, newest first; what is unfinished goes to the work list."""
    def abort_invalid_handles(self) -> int:
        """Everything pending to the work list; what has status 0x19 there is completed, the rest stays. Returns how many."""
    def entered(self, slot: int) -> bool:
        """Whether the client has entered this slot since the last take."""
    def adopt(self) -> int:
        """After a predecessor was reaped: settle what the ring has, rebuild the work list, ring the client. Returns its
        length."""
    def sweep(self) -> int:
        """Complete everything on both lists: written status as NORMAL, zero as ABORT. Returns how many."""
    def complete(self, ticket: int, status: int, result: int) -> bool:
        """Complete one descriptor; False: not held."""
    def complete_again(self, ticket: int, status: int, result: int) -> None:
        """A second completion of a ticket that is completed (DEF-07)."""
    def relist(self, ticket: int) -> bool:
        """A returned descriptor was submitted again: back to the tail of the work list. False: not held."""
    def holds(self, ticket: int) -> bool:
        """Listed, and not completed."""
    def descriptor(self, ticket: int) -> bytes | None:
        """A copy of a held descriptor; None: not held."""
    def set_status(self, ticket: int, status: int) -> bool:
        """Write the status byte of a held descriptor's record; False: not held."""
    def close(self) -> None: ...
