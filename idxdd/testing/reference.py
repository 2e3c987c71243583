"""The reference model: what each operation does, as short Python. The oracle of the C engine.

`execute` takes one descriptor as it reached the device and a memory; it changes the memory and says what else anybody
could see: the record, the report to event log or SWERR, the interrupt. It is written from the architecture's text, never from
the engine, and is slow on purpose (the CRC shifts single bits). To add an operation: a function and its row in OPERATIONS.

Where the architecture leaves it open: checks come in the order `_check` has them, everything before the faulting page is done,
a page request is answered "invalid", unused record bytes are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from idxdd.spec import limits as spec
from idxdd.spec import records
from idxdd.spec.codes import STATUS_WRITE_FAULT, CompletionStatus, Flag, Opcode, Operand, OpFlag
from idxdd.spec.records import CompletionRecord, Descriptor
from idxdd.spec.registers import GENCAP

PAGE_BYTES = 4096
ADDRESSES = 1 << 64
CACHE_CONTROL = Flag.CC1 | Flag.CC2 | Flag.CC3
ALL_OPCODES = (1 << 256) - 1


class Memory:
    """An address space with holes: pages that exist, some of them read-only."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._read_only: set[int] = set()

    def map(self, address: int, size: int, *, writable: bool = True) -> None:
        """Make the pages of [address, address + size) exist, zeroed where they are new."""
        for page in range(address // PAGE_BYTES, (address + size + PAGE_BYTES - 1) // PAGE_BYTES):
            self._pages.setdefault(page, bytearray(PAGE_BYTES))
            (self._read_only.discard if writable else self._read_only.add)(page)

    def unmap(self, address: int, size: int) -> None:
        """Take the pages of [address, address + size) away."""
        for page in range(address // PAGE_BYTES, (address + size + PAGE_BYTES - 1) // PAGE_BYTES):
            self._pages.pop(page, None)

    def place(self, address: int, content: bytes) -> None:
        """Map what is needed and put `content` there."""
        self.map(address, len(content))
        self.write(address, content)

    def allows(self, address: int, write: bool) -> bool:
        """Can this byte be accessed?"""
        page = address // PAGE_BYTES
        return page in self._pages and not (write and page in self._read_only)

    def reach(self, address: int, size: int, write: bool) -> int:
        """How many of `size` bytes from `address` upwards can be accessed before a page is missing."""
        done = 0
        while done < size and self.allows(address + done, write):
            done += PAGE_BYTES - (address + done) % PAGE_BYTES
        return min(done, size)

    def reach_down(self, address: int, size: int, write: bool) -> int:
        """How many of `size` bytes can be accessed, going down from the end of [address, address + size)."""
        done = 0
        while done < size and self.allows(address + size - done - 1, write):
            done += (address + size - done - 1) % PAGE_BYTES + 1
        return min(done, size)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes; the caller has looked that they are there."""
        found = bytearray()
        while len(found) < size:
            page, start = divmod(address + len(found), PAGE_BYTES)
            found += self._pages[page][start : start + size - len(found)]
        return bytes(found)

    def write(self, address: int, content: bytes) -> None:
        """Store `content`; the caller has looked that it may."""
        done = 0
        while done < len(content):
            page, start = divmod(address + done, PAGE_BYTES)
            part = content[done : done + PAGE_BYTES - start]
            self._pages[page][start : start + len(part)] = part
            done += len(part)


@dataclass(frozen=True)
class Limits:
    """What device, WQ and PCI configuration allow."""

    gencap: GENCAP
    opcfg: int = ALL_OPCODES
    max_xfer_shift: int = 21
    max_batch_shift: int = 5
    bof_enabled: bool = True
    pasid_enabled: bool = True
    user_int_en: bool = True
    dedicated: bool = True
    priv: bool = False
    """WQCFG.priv, used when dedicated."""
    privileged_mode: bool = True
    tc_enabled: int = 3
    """Bit 0: TC-A of the group is enabled, bit 1: TC-B."""
    evl_en: bool = False
    int_handles: frozenset[int] = frozenset()
    """Interrupt handles this WQ and PASID may name."""


@dataclass(frozen=True)
class Report:
    """What goes to the event log, or to SWERR where there is no log."""

    status: CompletionStatus
    error_info: int = 0
    fault_addr: int = 0
    write: bool = False
    record: bytes | None = None
    """The record that could not be delivered (0x1A with an event log), or a copy of it (0x19)."""


@dataclass(frozen=True)
class Outcome:
    """Everything that can be seen of one descriptor, besides memory."""

    status: CompletionStatus
    record: bytes | None = None
    """What was written at the completion address."""
    report: Report | None = None
    interrupt: int | None = None
    """The handle that was signalled."""
    members: tuple[Outcome, ...] = ()
    """Of a batch: its members, as far as they were processed."""


@dataclass
class Effect:
    """What an operation leaves for its record."""

    status: CompletionStatus = CompletionStatus.SUCCESS
    result: int = 0
    bytes_completed: int = 0
    fault_addr: int = 0
    operand: Operand = Operand.UNKNOWN
    write: bool = False
    payload: bytes = b""
    members: list[Outcome] = field(default_factory=list)


class Refused(Exception):
    """A check failed; the operation was not carried out."""

    def __init__(self, status: CompletionStatus, invalid_flags: int = 0, reported: bool = False) -> None:
        super().__init__(status)
        self.status, self.invalid_flags, self.reported = status, invalid_flags, reported


@dataclass(frozen=True)
class Run:
    """One descriptor being executed."""

    desc: bytes
    memory: Memory
    limits: Limits
    in_batch: bool
    priv: bool

    @property
    def plain(self) -> Descriptor:
        """Under the names all operations share."""
        return Descriptor.unpack(self.desc)

    @property
    def flags(self) -> int:
        """The 24 flag bits."""
        return self.plain.flags

    def has(self, flag: int) -> bool:
        """Is this flag set?"""
        return bool(self.flags & flag)


@dataclass(frozen=True)
class Operation:
    """What one operation accepts, and the function that does it."""

    run: Callable[[Run], Effect]
    flags: int = 0
    """Flags accepted besides the common ones and cache control."""
    writes: bool = False
    """Writes memory: cache control is accepted."""
    op_flags: dict[int, str | None] = field(default_factory=dict)
    """Operation-specific flags, with the GENCAP field each needs."""
    required: int = 0
    reserved: Callable[[Run], Iterable[tuple[int, int]]] = lambda run: ()
    """Byte ranges (first, last) that must be zero."""
    addresses: Callable[[Run], Iterable[Flag]] = lambda run: ()
    """The traffic-class selectors of the addresses in use."""
    has_size: bool = True
    """Bytes 32-35 are a transfer size."""
    check: Callable[[Run], None] = lambda run: None
    """Its own rules: counts, alignment, overlap."""


def execute(desc: bytes, memory: Memory, limits: Limits, *, in_batch: bool = False, priv: bool | None = None) -> Outcome:
    """Carry out one 64-byte descriptor. `priv`: the batch's, for a member; else the WQ or the descriptor decides."""
    if priv is None:
        priv = limits.priv if limits.dedicated else Descriptor.unpack(desc).priv
    run = Run(bytes(desc), memory, limits, in_batch, priv)
    try:
        _check(run)
        return _finish(run, OPERATIONS[run.plain.opcode].run(run))
    except Refused as refused:
        info = refused.invalid_flags.to_bytes(4, "little") if refused.invalid_flags else b""
        return _finish(run, Effect(refused.status, payload=info), refused)


# ---- completion ---------------------------------------------------------------------------------------------------------
SILENT = {CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED, CompletionStatus.BATCH_FAIL}
NEVER_IN_RECORD = {CompletionStatus.CRA_XLAT, CompletionStatus.CRA_ALIGN, CompletionStatus.PRIV_BAD}


def _finish(run: Run, effect: Effect, refused: Refused | None = None) -> Outcome:
    wanted = run.has(Flag.CRAV) and (run.has(Flag.RCR) or effect.status not in SILENT)
    if effect.status in NEVER_IN_RECORD or (refused and refused.reported):
        wanted = False
    record = _record(run, effect) if wanted else None
    report = None
    if record and not _record_reachable(run):  # only with an event log: without one the descriptor was refused
        report, record = (
            Report(CompletionStatus.CRA_XLAT, fault_addr=run.plain.completion_addr, write=True, record=record),
            None,
        )
    elif record and effect.status is CompletionStatus.INT_HANDLE_INVAL:
        report = Report(effect.status, run.plain.int_handle, record=record if run.has(Flag.RCR) else None)
    elif not wanted and effect.status not in SILENT:
        report = _report(run, effect)
    if record:
        run.memory.write(run.plain.completion_addr, record)
    interrupt = run.plain.int_handle if _interrupts(run, effect, refused, report) else None
    return Outcome(effect.status, record, report, interrupt, tuple(effect.members))


def _record(run: Run, effect: Effect) -> bytes:
    info = run.limits.gencap.fault_info
    return CompletionRecord.encode(
        status=effect.status | (STATUS_WRITE_FAULT if effect.write else 0),
        result=effect.result,
        fault_operand=effect.operand if info else 0,
        bytes_completed=effect.bytes_completed,
        fault_addr=effect.fault_addr,
        op_specific=effect.payload.ljust(16, b"\0"),
    ).pack()


def _report(run: Run, effect: Effect) -> Report:
    match effect.status:
        case CompletionStatus.CRA_XLAT:
            return Report(effect.status, fault_addr=run.plain.completion_addr, write=True)
        case CompletionStatus.INVALID_FLAGS:
            return Report(effect.status, int.from_bytes(effect.payload, "little"))
        case CompletionStatus.INT_HANDLE_INVAL:
            return Report(effect.status, run.plain.int_handle)
    return Report(effect.status, effect.operand << 29, effect.fault_addr, effect.write)


def _interrupts(run: Run, effect: Effect, refused: Refused | None, report: Report | None) -> bool:
    if not run.has(Flag.RCI) or run.plain.int_handle not in run.limits.int_handles:
        return False
    if report and report.status is CompletionStatus.CRA_XLAT and report.record:
        return False  # software delivers record and interrupt from the log entry
    return not (refused and refused.invalid_flags & Flag.RCI)


def _record_reachable(run: Run) -> bool:
    return run.memory.allows(run.plain.completion_addr, True)  # 32-byte aligned: never across a page


# ---- checks, in this order -----------------------------------------------------------------------------------------------
def _check(run: Run) -> None:
    plain, limits = run.plain, run.limits
    if run.has(Flag.CRAV) and plain.completion_addr % spec.COMPLETION_RECORD_ALIGN_BYTES:
        _refuse(CompletionStatus.CRA_ALIGN)
    if not limits.dedicated and run.priv and not limits.privileged_mode:
        _refuse(CompletionStatus.PRIV_BAD)
    if run.has(Flag.CRAV) and not _tc_enabled(run, Flag.CR_TCS):
        raise Refused(CompletionStatus.TRAFFIC_CLASS_CONF, reported=True)
    if run.has(Flag.CRAV) and not limits.evl_en and not _record_reachable(run):
        _refuse(CompletionStatus.CRA_XLAT)
    operation = OPERATIONS.get(plain.opcode)
    if operation is None or not limits.opcfg >> plain.opcode & 1 or (run.in_batch and plain.opcode in NOT_IN_BATCH):
        _refuse(CompletionStatus.BAD_OPCODE)
    if invalid := _invalid_flags(run, operation):
        raise Refused(CompletionStatus.INVALID_FLAGS, invalid)
    if any(any(run.desc[first : last + 1]) for first, last in _reserved(run, operation)):
        _refuse(CompletionStatus.NOZERO_RESERVE)
    if not (limits.dedicated or run.in_batch) and int.from_bytes(run.desc[:4], "little") & 0x7FF00000:
        _refuse(CompletionStatus.NOZERO_RESERVE)
    if operation.has_size and not 0 < plain.xfer_size <= 1 << limits.max_xfer_shift:
        _refuse(CompletionStatus.XFER_ERANGE)
    operation.check(run)
    if run.has(Flag.RCI) and plain.int_handle not in limits.int_handles:
        _refuse(CompletionStatus.INT_HANDLE_INVAL)
    if not all(_tc_enabled(run, selector) for selector in operation.addresses(run)):
        _refuse(CompletionStatus.TRAFFIC_CLASS_CONF)


def _refuse(status: CompletionStatus) -> NoReturn:
    raise Refused(status)


def _tc_enabled(run: Run, selector: Flag) -> bool:
    return bool(run.limits.tc_enabled >> run.has(selector) & 1)


def _invalid_flags(run: Run, operation: Operation) -> int:
    """Every offending flag: set and not allowed, or missing and required."""
    gencap, limits = run.limits.gencap, run.limits
    allowed, refused = int(Flag.CRAV | Flag.RCI | operation.flags), 0
    if run.has(Flag.CRAV):
        allowed |= Flag.RCR | Flag.CR_TCS
    if run.in_batch:
        allowed |= Flag.FENCE
    if operation.writes and _cache_control_allowed(run):
        allowed |= CACHE_CONTROL
    for flag, capability in operation.op_flags.items():
        if capability is None or getattr(gencap, capability):
            allowed |= flag
    if not limits.bof_enabled or not gencap.block_on_fault:
        refused |= Flag.BOF
    if limits.pasid_enabled and not limits.user_int_en and not run.priv:
        refused |= Flag.RCI
    if gencap.strict_order_no_memory:
        refused |= Flag.STORD
    for selector, needed in SELECTOR_NEEDS.get(run.plain.opcode, {}).items():
        if not run.has(needed):
            refused |= selector
    # int(): the complement of an IntFlag would lose the bits that have no name
    offending = run.flags & (~int(allowed) | int(refused))
    return offending | int(operation.required) & ~run.flags | _missing_from_drain(run)


def _missing_from_drain(run: Run) -> int:
    lacks = run.plain.opcode == Opcode.DRAIN and not run.has(Flag.RCR | Flag.RCI)
    return Flag.RCR if lacks else 0


def _cache_control_allowed(run: Run) -> bool:
    gencap = run.limits.gencap
    needs = {
        0: True,
        Flag.CC1: gencap.cache_control,
        Flag.CC2: gencap.dest_readback,
        Flag.CC2 | Flag.CC1: gencap.cache_control and gencap.dest_readback,
        Flag.CC3: gencap.durable_write,
        Flag.CC3 | Flag.CC2: gencap.dest_readback,
    }
    return bool(needs.get(run.flags & CACHE_CONTROL, False))


def _reserved(run: Run, operation: Operation) -> Iterable[tuple[int, int]]:
    yield from operation.reserved(run)
    yield 38, 39
    if not run.has(Flag.CRAV):
        yield 8, 15
    if not run.has(Flag.RCI):
        yield 36, 37


def _check_overlap(first: int, second: int, size: int) -> None:
    if first < second + size and second < first + size:
        _refuse(CompletionStatus.OVERLAP_BUFFERS)


# ---- page faults --------------------------------------------------------------------------------------------------------
def _advance(run: Run, size: int, *operands: tuple[Operand, int, bool], down: bool = False) -> Effect:
    """How far `size` bytes of all operands (which, address, write) can be processed: an effect that is a success or a fault."""
    reach = run.memory.reach_down if down else run.memory.reach
    reaches = [(reach(address, size, write), operand, address, write) for operand, address, write in operands]
    done, operand, address, write = min(reaches, key=lambda found: found[0])
    if done == size:
        return Effect()
    status = CompletionStatus.PAGE_FAULT_IR if run.has(Flag.BOF) else CompletionStatus.PAGE_FAULT_NOBOF
    fault_addr = (address + (size - done - 1 if down else done)) % ADDRESSES
    return Effect(status, bytes_completed=done, fault_addr=fault_addr, operand=operand, write=write)


def _processed(effect: Effect, size: int) -> int:
    return size if effect.status is CompletionStatus.SUCCESS else effect.bytes_completed


# ---- operations (8.3) ------------------------------------------------------------------------------------------------------
def no_op(run: Run) -> Effect:
    """Nothing."""
    return Effect()


def drain(run: Run) -> Effect:
    """Everything before has ended, because execution here is one after the other; read back where asked."""
    wanted = records.DrainDescriptor.unpack(run.desc)
    readbacks = (
        (OpFlag.DRAIN_READBACK1_VALID, wanted.readback_addr1, Operand.SOURCE1),
        (OpFlag.DRAIN_READBACK2_VALID, wanted.readback_addr2, Operand.SOURCE2),
    )
    for flag, address, operand in readbacks:
        if run.has(flag) and not run.memory.allows(address, False):
            return Effect(CompletionStatus.PFAULT_RDBA, fault_addr=address, operand=operand)
    return Effect()


def batch(run: Run) -> Effect:
    """Members in order. A failed member stops nobody but a later fence."""
    wanted = records.BatchDescriptor.unpack(run.desc)
    continued = run.limits.gencap.batch_continuation
    effect = Effect()
    failed = run.has(OpFlag.BATCH_ERROR)
    for number in range(wanted.desc_count):
        address = wanted.desc_list_addr + number * spec.DESCRIPTOR_BYTES
        if not run.memory.allows(address, False):
            effect.status, effect.fault_addr, effect.operand = CompletionStatus.BATCH_PAGE_FAULT, address, Operand.SOURCE1
            break
        member = run.memory.read(address, spec.DESCRIPTOR_BYTES)
        if failed and Descriptor.unpack(member).flags & Flag.FENCE:
            break
        outcome = execute(member, run.memory, run.limits, in_batch=True, priv=run.priv)
        effect.members.append(outcome)
        failed |= outcome.status is not CompletionStatus.SUCCESS or _undelivered(outcome)
    effect.bytes_completed = len(effect.members)
    effect.result = int(failed and continued)
    if failed and effect.status is CompletionStatus.SUCCESS:
        effect.status = CompletionStatus.BATCH_FAIL
    return effect


def _undelivered(outcome: Outcome) -> bool:
    return outcome.report is not None and outcome.report.status is CompletionStatus.CRA_XLAT


def memory_move(run: Run) -> Effect:
    """As if the source were buffered first: backwards when the destination begins inside the source."""
    wanted = records.MemmoveDescriptor.unpack(run.desc)
    source, destination, size = wanted.src_addr, wanted.dst_addr, wanted.xfer_size
    down = source <= destination < source + size
    effect = _advance(run, size, (Operand.SOURCE1, source, False), (Operand.DESTINATION1, destination, True), down=down)
    done = _processed(effect, size)
    skipped = size - done if down else 0
    run.memory.write(destination + skipped, run.memory.read(source + skipped, done))
    effect.result = int(down and effect.status is not CompletionStatus.SUCCESS)
    return effect


def fill(run: Run) -> Effect:
    """The pattern over and over, from its first byte."""
    wanted = records.FillDescriptor.unpack(run.desc)
    pattern = wanted.pattern_lower.to_bytes(8, "little")
    if run.has(OpFlag.FILL_PATTERN16):
        pattern += wanted.pattern_upper.to_bytes(8, "little")
    effect = _advance(run, wanted.xfer_size, (Operand.DESTINATION1, wanted.dst_addr, True))
    done = _processed(effect, wanted.xfer_size)
    run.memory.write(wanted.dst_addr, (pattern * (done // len(pattern) + 1))[:done])
    return effect


def compare(run: Run) -> Effect:
    """The first difference ends it, also before a fault."""
    wanted = records.CompareDescriptor.unpack(run.desc)
    size = wanted.xfer_size
    effect = _advance(run, size, (Operand.SOURCE1, wanted.src1_addr, False), (Operand.SOURCE2, wanted.src2_addr, False))
    done = _processed(effect, size)
    first, second = run.memory.read(wanted.src1_addr, done), run.memory.read(wanted.src2_addr, done)
    difference = next((index for index in range(done) if first[index] != second[index]), None)
    if difference is not None:
        effect = Effect(result=1, bytes_completed=difference)
    if run.has(Flag.CR) and effect.status is CompletionStatus.SUCCESS and effect.result != wanted.expected_result & 1:
        effect.status = CompletionStatus.SUCCESS_PRED
    return effect


def crc_generation(run: Run) -> Effect:
    """The CRC of the source."""
    return _crc(run)


def copy_with_crc(run: Run) -> Effect:
    """The source copied, and its CRC."""
    return _crc(run, (Operand.DESTINATION1, records.CrcDescriptor.unpack(run.desc).dst_addr, True))


def _crc(run: Run, *destination: tuple[Operand, int, bool]) -> Effect:
    wanted = records.CrcDescriptor.unpack(run.desc)
    width = 64 if run.has(OpFlag.CRC_SIZE64) else 32
    seed = wanted.crc_seed
    if run.has(OpFlag.CRC_SEED_ADDR):
        fault = _advance(run, width // 8, (Operand.SOURCE2, wanted.seed_addr, False))
        if fault.status is not CompletionStatus.SUCCESS:
            return fault
        seed = int.from_bytes(run.memory.read(wanted.seed_addr, width // 8), "little")
    effect = _advance(run, wanted.xfer_size, (Operand.SOURCE1, wanted.src_addr, False), *destination)
    done = _processed(effect, wanted.xfer_size)
    content = run.memory.read(wanted.src_addr, done)
    for _, address, _ in destination:
        run.memory.write(address, content)
    inverted, reflected = not run.has(OpFlag.CRC_BYPASS_INVERSION), not run.has(OpFlag.CRC_BYPASS_REFLECTION)
    value = crc(
        content, seed, width, inverted=inverted, reflected=reflected
    )  # of no bytes: the seed, so that any resume is right
    effect.payload = value.to_bytes(8, "little")
    return effect


POLYNOMIALS = {32: 0x1EDC6F41, 64: 0xAD93D23594C93659}


def crc(content: bytes, seed: int, width: int, *, inverted: bool = True, reflected: bool = True) -> int:
    """CRC-32C or CRC-64/NVME, one bit at a time.

    `inverted`: complement and reverse seed and result; `reflected`: reverse each byte.
    """
    ones = (1 << width) - 1
    register = reverse_bits(seed ^ ones, width) if inverted else seed
    for byte in content:
        register ^= (reverse_bits(byte, 8) if reflected else byte) << width - 8
        for _ in range(8):
            carry = register >> width - 1
            register = register << 1 & ones ^ carry * POLYNOMIALS[width]
    return reverse_bits(register, width) ^ ones if inverted else register


def reverse_bits(value: int, width: int) -> int:
    """Bit 0 becomes bit width - 1, and so on."""
    return int(f"{value:0{width}b}"[::-1], 2)


# ---- what is accepted, and how it is checked -----------------------------------------------------------------------------
def _check_batch(run: Run) -> None:
    wanted, batch1 = records.BatchDescriptor.unpack(run.desc), run.limits.gencap.batch1
    least = spec.BATCH_COUNT_MIN_WITH_BATCH1 if batch1 else spec.BATCH_COUNT_MIN
    if not least <= wanted.desc_count <= 1 << run.limits.max_batch_shift:
        _refuse(CompletionStatus.DESC_CNT_ERANGE)
    if wanted.desc_list_addr % spec.DESCRIPTOR_LIST_ALIGN_BYTES:
        _refuse(CompletionStatus.DESCLIST_ALIGN)


def _check_move(run: Run) -> None:
    if not run.limits.gencap.overlap_copy:
        _check_overlap(run.plain.operand1, run.plain.operand2, run.plain.xfer_size)


def _check_crc(run: Run) -> None:
    alignment = 8 if run.has(OpFlag.CRC_SIZE64) else 4
    if run.has(OpFlag.CRC_SEED_ADDR) and records.CrcDescriptor.unpack(run.desc).seed_addr % alignment:
        _refuse(CompletionStatus.ADDR_ALIGN)


def _check_copy_crc(run: Run) -> None:
    _check_crc(run)
    _check_overlap(run.plain.operand1, run.plain.operand2, run.plain.xfer_size)


def _reserved_drain(run: Run) -> Iterable[tuple[int, int]]:
    yield from [(32, 35), (40, 63)]
    if not run.has(OpFlag.DRAIN_READBACK1_VALID):
        yield 16, 23
    if not run.has(OpFlag.DRAIN_READBACK2_VALID):
        yield 24, 31


def _reserved_crc(run: Run) -> Iterable[tuple[int, int]]:
    yield 56, 63
    yield (40, 47) if run.has(OpFlag.CRC_SEED_ADDR) else (48, 55)
    if not run.has(OpFlag.CRC_SIZE64):
        yield 44, 47
    if run.plain.opcode == Opcode.CRCGEN:
        yield 24, 31


def _addresses_drain(run: Run) -> Iterable[Flag]:
    if run.has(OpFlag.DRAIN_READBACK1_VALID):
        yield Flag.ADDR1_TCS
    if run.has(OpFlag.DRAIN_READBACK2_VALID):
        yield Flag.ADDR2_TCS


def _addresses_crc(run: Run) -> Iterable[Flag]:
    yield Flag.ADDR1_TCS
    if run.plain.opcode == Opcode.COPY_CRC:
        yield Flag.ADDR2_TCS
    if run.has(OpFlag.CRC_SEED_ADDR):
        yield Flag.ADDR3_TCS


NOT_IN_BATCH = {Opcode.BATCH, Opcode.DRAIN, Opcode.UPDATE_WINDOW}
T1, T2, T3 = Flag.ADDR1_TCS, Flag.ADDR2_TCS, Flag.ADDR3_TCS
RECORD_REQUIRED = Flag.CRAV | Flag.RCR
CRC_FLAGS: dict[int, str | None] = {
    OpFlag.CRC_SEED_ADDR: None,
    OpFlag.CRC_BYPASS_INVERSION: None,
    OpFlag.CRC_BYPASS_REFLECTION: None,
    OpFlag.CRC_SIZE64: "crc64",
}
SELECTOR_NEEDS: dict[int, dict[Flag, OpFlag]] = {
    Opcode.DRAIN: {T1: OpFlag.DRAIN_READBACK1_VALID, T2: OpFlag.DRAIN_READBACK2_VALID},
    Opcode.CRCGEN: {T3: OpFlag.CRC_SEED_ADDR},
    Opcode.COPY_CRC: {T3: OpFlag.CRC_SEED_ADDR},
}
"""Traffic-class selectors that are allowed only with another flag."""

OPERATIONS: dict[int, Operation] = {
    Opcode.NOOP: Operation(no_op, has_size=False, reserved=lambda run: [(16, 35), (40, 63)]),
    Opcode.BATCH: Operation(
        batch, T1, op_flags={OpFlag.BATCH_ERROR: "batch_continuation"}, has_size=False, check=_check_batch,
        reserved=lambda run: [(24, 31), (40, 63)], addresses=lambda run: [T1],
    ),
    Opcode.DRAIN: Operation(
        drain, T1 | T2, has_size=False, reserved=_reserved_drain, addresses=_addresses_drain,
        op_flags={
            OpFlag.DRAIN_READBACK1_VALID: "drain_readback", OpFlag.DRAIN_READBACK2_VALID: "drain_readback",
            OpFlag.DRAIN_NO_READBACK_TCA: None, OpFlag.DRAIN_NO_READBACK_TCB: None,
        },
    ),
    Opcode.MEMMOVE: Operation(
        memory_move, Flag.BOF | Flag.STORD | T1 | T2, writes=True, check=_check_move,
        reserved=lambda run: [(40, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.MEMFILL: Operation(
        fill, Flag.BOF | Flag.STORD | T2, writes=True, op_flags={OpFlag.FILL_PATTERN16: "fill16"}, addresses=lambda run: [T2],
        reserved=lambda run: [(48, 63)] if run.has(OpFlag.FILL_PATTERN16) else [(40, 63)],
    ),
    Opcode.COMPARE: Operation(
        compare, Flag.BOF | Flag.CR | T1 | T2, required=RECORD_REQUIRED,
        reserved=lambda run: [(41, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.CRCGEN: Operation(
        crc_generation, Flag.BOF | T1 | T3, op_flags=CRC_FLAGS, required=RECORD_REQUIRED, check=_check_crc,
        reserved=_reserved_crc, addresses=_addresses_crc,
    ),
    Opcode.COPY_CRC: Operation(
        copy_with_crc, Flag.BOF | Flag.STORD | T1 | T2 | T3, writes=True, op_flags=CRC_FLAGS, required=RECORD_REQUIRED,
        check=_check_copy_crc, reserved=_reserved_crc, addresses=_addresses_crc,
    ),
}  # fmt: skip
"""Every operation this model knows; any other opcode answers 0x10."""
