"""Inter-domain operations and Update Window: the plain operations with an operand in another address space (8.3.22 to 8.3.26).

An entry of the permissions table names who may submit, whose memory it is, what is allowed, and through which window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NoReturn

from idxdd.spec import records
from idxdd.spec.codes import CompletionStatus, Opcode, Operand, OpFlag
from idxdd.testing.reference.compare import compared
from idxdd.testing.reference.memory import ADDRESSES, Memory
from idxdd.testing.reference.move import repeated
from idxdd.testing.reference.run import Effect, Refused, Run, fault

READ, WRITE, WINDOW_EN, OFFSET_MODE = 1, 2, 4, 8
"""Flags of Update Window."""
SOURCE, DESTINATION = OpFlag.SRC_ALTERNATE_PASID, OpFlag.DST_ALTERNATE_PASID


@dataclass(frozen=True)
class Entry:
    """One entry of the inter-domain permissions table."""

    access: int
    """PASID of the memory."""
    submitters: frozenset[int]
    usable: bool = True
    allow_update: bool = False
    read: bool = False
    write: bool = False
    window_en: bool = False
    offset_mode: bool = False
    base: int = 0
    size: int = 0


@dataclass
class Domains:
    """What a device knows of other address spaces: its table, and who is there."""

    pasid: int
    """The descriptor's own."""
    table: dict[int, Entry]
    memories: dict[int, Memory]
    offset_mode: bool = True
    suppress_drain: bool = True


@dataclass(frozen=True)
class Place:
    """Where an operand lies."""

    operand: Operand
    memory: Memory
    address: int
    write: bool
    handle: int | None = None
    """The entry it is reached through; None: the descriptor's own memory."""
    withheld: bool = False
    """Its address is not the submitter's to know."""


def places(run: Run) -> list[Place]:
    """The operands, source first, each checked against its entry; Refused with the status and the handle."""
    match run.plain.opcode:
        case Opcode.INTER_DOMAIN_COPY:
            return [_place(run, Operand.SOURCE1), _place(run, Operand.DESTINATION1)]
        case Opcode.INTER_DOMAIN_FILL:
            return [_place(run, Operand.DESTINATION1)]
        case Opcode.INTER_DOMAIN_COMPARE:
            return [_place(run, Operand.SOURCE1), _place(run, Operand.SOURCE2)]
    return [_place(run, Operand.SOURCE1)]


def _place(run: Run, operand: Operand) -> Place:
    first, write = operand is Operand.SOURCE1, operand is Operand.DESTINATION1
    wanted = records.InterDomainDescriptor.unpack(run.desc)
    address = wanted.operand1 if first else wanted.operand2
    if not run.has(SOURCE if first else DESTINATION):
        return Place(operand, run.memory, address, write)
    handle = wanted.idpt_handle1 if first else wanted.idpt_handle2
    domains = run.domains
    entry = domains.table.get(handle) if domains else None
    if domains is None or entry is None or not entry.usable or domains.pasid not in entry.submitters:
        _refuse(CompletionStatus.IDPT_HANDLE_INVAL, f"IDPT entry {handle} is not usable by this PASID", handle)
    if not (entry.write if write else entry.read):
        _refuse(
            CompletionStatus.IDPT_PERMISSION, f"IDPT entry {handle} does not allow to {'write' if write else 'read'}", handle
        )
    if entry.window_en and not _inside(entry, address, wanted.xfer_size):
        _refuse(CompletionStatus.WINDOW_ERANGE, f"the operand passes the window of IDPT entry {handle}", handle)
    if entry.access not in domains.memories:
        _refuse(CompletionStatus.DOMAIN_GONE, f"nobody has PASID {entry.access} of IDPT entry {handle}", None)
    withheld = entry.window_en and entry.offset_mode
    return Place(operand, domains.memories[entry.access], address + withheld * entry.base, write, handle, withheld)


def _inside(entry: Entry, address: int, size: int) -> bool:
    start = address if entry.offset_mode else address - entry.base
    return start >= 0 and start + size <= entry.size


def _refuse(status: CompletionStatus, rule: str, handle: int | None) -> NoReturn:
    raise Refused(status, rule, idpt_handle=handle)


def _advance(run: Run, size: int, found: Iterable[Place]) -> Effect:
    """How far all operands can be processed, each in its own memory."""
    reaches = [(place.memory.reach(place.address, size, place.write), place) for place in found]
    done, place = min(reaches, key=lambda reach: reach[0])
    if done == size:
        return Effect()
    effect = fault(run, place.operand, place.address + done, place.write, done)
    effect.idpt_handle, effect.withheld = place.handle, place.withheld
    return effect


def inter_domain_copy(run: Run) -> Effect:
    """Always forwards."""
    source, destination = places(run)
    size = run.plain.xfer_size
    effect = _advance(run, size, (source, destination))
    destination.memory.write(destination.address, source.memory.read(source.address, effect.done(size)))
    return effect


def inter_domain_fill(run: Run) -> Effect:
    """The pattern over and over."""
    (destination,) = places(run)
    wanted = records.FillDescriptor.unpack(run.desc)
    pattern = wanted.pattern_lower.to_bytes(8, "little")
    if run.has(OpFlag.FILL_PATTERN16):
        pattern += wanted.pattern_upper.to_bytes(8, "little")
    effect = _advance(run, wanted.xfer_size, (destination,))
    destination.memory.write(destination.address, repeated(pattern, effect.done(wanted.xfer_size)))
    return effect


def inter_domain_compare(run: Run) -> Effect:
    """Two sources."""
    first, second = places(run)
    size = run.plain.xfer_size
    effect = _advance(run, size, (first, second))
    done = effect.done(size)
    contents = first.memory.read(first.address, done), second.memory.read(second.address, done)
    return compared(run, effect, *contents, records.CompareDescriptor.unpack(run.desc).expected_result)


def inter_domain_compare_pattern(run: Run) -> Effect:
    """One source and a pattern."""
    (source,) = places(run)
    wanted = records.ComparePatternDescriptor.unpack(run.desc)
    effect = _advance(run, wanted.xfer_size, (source,))
    content = source.memory.read(source.address, effect.done(wanted.xfer_size))
    return compared(run, effect, content, repeated(wanted.pattern.to_bytes(8, "little"), len(content)), wanted.expected_result)


def update_window(run: Run) -> Effect:
    """The owner of the memory changes window and permissions of an entry that allows it."""
    wanted, domains = records.UpdateWindowDescriptor.unpack(run.desc), run.domains
    handle, flags = wanted.idpt_handle, wanted.window_flags
    entry = domains.table.get(handle) if domains else None
    if domains is None or entry is None or not entry.allow_update or entry.access != domains.pasid:
        _refuse(CompletionStatus.WINDOW_UPDATE_REFUSED, f"IDPT entry {handle} is not this PASID's to update", handle)
    if not _fields_valid(wanted, domains):
        _refuse(CompletionStatus.WINDOW_FIELDS, "the fields describe no window", None)
    domains.table[handle] = replace(
        entry, read=bool(flags & READ), write=bool(flags & WRITE), window_en=bool(flags & WINDOW_EN),
        offset_mode=bool(flags & OFFSET_MODE), base=wanted.window_base, size=wanted.window_size,
    )  # fmt: skip
    return Effect()


def _fields_valid(wanted: records.UpdateWindowDescriptor, domains: Domains) -> bool:
    flags, base, size = wanted.window_flags, wanted.window_base, wanted.window_size
    if flags >> 4 or (flags & OFFSET_MODE and not domains.offset_mode):
        return False
    if not flags & WINDOW_EN:
        return not (flags & OFFSET_MODE or base or size)
    return bool(size) and base + size <= ADDRESSES
