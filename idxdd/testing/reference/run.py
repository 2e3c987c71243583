"""One descriptor being executed: what it may do, what it leaves behind, and how a page fault stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from idxdd.spec.codes import CompletionStatus, Flag, Operand
from idxdd.spec.records import Descriptor
from idxdd.spec.registers import GENCAP
from idxdd.testing.reference.memory import ADDRESSES, Memory

if TYPE_CHECKING:
    from idxdd.testing.reference.domains import Domains

ALL_OPCODES = (1 << 256) - 1
CACHE_CONTROL = Flag.CC1 | Flag.CC2 | Flag.CC3


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
    ats_enabled: bool = True
    """Of device and WQ; without it Translation Fetch is no operation."""
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
    rule: str = ""
    """The check that refused it, in words."""


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
    idpt_handle: int | None = None
    """The entry that refused, or through which it faulted."""
    withheld: bool = False
    """The fault address is not told."""
    members: list[Outcome] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Nothing has stopped it."""
        return self.status is CompletionStatus.SUCCESS

    def done(self, size: int) -> int:
        """How many of `size` bytes were processed."""
        return size if self.succeeded else self.bytes_completed


class Refused(Exception):
    """A check failed; the operation was not carried out."""

    def __init__(
        self,
        status: CompletionStatus,
        rule: str,
        *,
        invalid_flags: int = 0,
        reported: bool = False,
        idpt_handle: int | None = None,
    ) -> None:
        super().__init__(status, rule)
        self.status, self.rule, self.invalid_flags, self.reported = status, rule, invalid_flags, reported
        self.idpt_handle = idpt_handle


def refuse(status: CompletionStatus, rule: str) -> NoReturn:
    """Stop before anything is read or written."""
    raise Refused(status, rule)


@dataclass(frozen=True)
class Run:
    """One descriptor and where it runs."""

    desc: bytes
    memory: Memory
    limits: Limits
    in_batch: bool
    priv: bool
    execute_member: Callable[[bytes], Outcome]
    """Of a batch: the same memory, limits and privilege for one more descriptor."""
    domains: Domains | None = None

    @cached_property
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
    cache_controls: frozenset[int] = frozenset({0})
    """Cache-control encodings it accepts, each as its flags; capabilities decide further."""
    op_flags: dict[int, str | None] = field(default_factory=dict)
    """Operation-specific flags, with the GENCAP field each needs."""
    selector_needs: dict[int, int] = field(default_factory=dict)
    """Traffic-class selectors that are accepted only with another flag."""
    required: int = 0
    requires_any: int = 0
    """At least one of these must be set; if none is, the lowest is the offending one."""
    reserved: Callable[[Run], Iterable[tuple[int, int]]] = lambda run: ()
    """Byte ranges (first, last) that must be zero, besides 38-39."""
    reserved_bits: dict[int, int] = field(default_factory=dict)
    """Byte offset, and the bits in it that must be zero."""
    addresses: Callable[[Run], Iterable[int]] = lambda run: ()
    """The traffic-class selectors of the addresses in use."""
    needs_pasid: bool = False
    has_size: bool = True
    """Bytes 32-35 are a transfer size."""
    resolve: Callable[[Run], object] = lambda run: ()
    """What must hold of the permissions table, after everything else."""
    check: Callable[[Run], None] = lambda run: None
    """Its own rules: counts, alignment, overlap."""


def advance(run: Run, size: int, *operands: tuple[Operand, int, bool], down: bool = False) -> Effect:
    """How far `size` bytes of all operands (which, address, write) can be processed: an effect that is a success or a fault."""
    reach = run.memory.reach_down if down else run.memory.reach
    reaches = [(reach(address, size, write), operand, address, write) for operand, address, write in operands]
    done, operand, address, write = min(reaches, key=lambda found: found[0])
    if done == size:
        return Effect()
    return fault(run, operand, address + (size - done - 1 if down else done), write, done)


def fault(run: Run, operand: Operand, address: int, write: bool, done: int) -> Effect:
    """Stopped at this address: with Block on Fault the page request is answered "invalid"."""
    status = CompletionStatus.PAGE_FAULT_IR if run.has(Flag.BOF) else CompletionStatus.PAGE_FAULT_NOBOF
    return Effect(status, bytes_completed=done, fault_addr=address % ADDRESSES, operand=operand, write=write)


def check_result(run: Run, effect: Effect, expected: bool) -> Effect:
    """With Check Result, an unexpected result of a finished operation is the false predicate."""
    if run.has(Flag.CR) and effect.succeeded and not expected:
        effect.status = CompletionStatus.SUCCESS_PRED
    return effect


def overlap(first: int, first_size: int, second: int, second_size: int) -> bool:
    """Do the ranges share a byte? Touching ends do not."""
    return first < second + second_size and second < first + first_size


def check_overlap(first: int, first_size: int, second: int, second_size: int, what: str) -> None:
    """0x16, naming the two."""
    if overlap(first, first_size, second, second_size):
        refuse(CompletionStatus.OVERLAP_BUFFERS, f"{what} overlap")
