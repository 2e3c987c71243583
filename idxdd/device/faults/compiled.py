"""A rule as the engine takes it: struct idxdd_rule (inject.h).

A rule that names clients (pid, uid) becomes one of the engine's for each, which count as one. Its counts go on over an
exchange of the engine's table: `progress` says what earlier tables have counted.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idxdd.device.engineport import WQS_PER_DEVICE
from idxdd.device.faults.counting import generator_at, threshold
from idxdd.device.faults.possible import SPECIAL, operations_of
from idxdd.device.faults.rule import DEVICE_ACTIONS, Rule, What, When
from idxdd.device.faults.values import NO_MEMBER
from idxdd.spec.codes import CompletionStatus, Operand

LAYOUT = struct.Struct("<Q4QQQIIIIIIIIQQQQQIIIIQQQIIBBBBI")
RULE_BYTES = 184
assert LAYOUT.size == RULE_BYTES
ANY_PASID = 0xFFFFFFFF
SIZE_LAST = 0xFFFFFFFF
EVERY_OPCODE = (1 << 256) - 1
QWORD = (1 << 64) - 1
NEVER = QWORD >> 1
ANYWHERE, MEMBERS, NOT_MEMBERS = 0, 1, 2
STATUS, FAULT, CORRUPT, DELAY, DROP, REORDER, FULL, INTERRUPT_LOST, INTERRUPT_LATE, SLOW, EVENT = range(1, 12)
EFFECTS = {
    "status": STATUS,
    "fault": FAULT,
    "corrupt": CORRUPT,
    "delay": DELAY,
    "drop": DROP,
    "reorder": REORDER,
    "full": FULL,
    "slow": SLOW,
    "lost": INTERRUPT_LOST,
    "late": INTERRUPT_LATE,
}
FIRST_READ, FIRST_WRITTEN = 0xFE, 0xFF
FLIP = 0xFF
RESERVED_FLAG = 1 << 6
"""The offending flag of a status invalid_flags that names none: bit 6 is never allowed."""


@dataclass(frozen=True)
class Progress:
    """What earlier tables have counted of a rule."""

    matches: int = 0
    hits: int = 0


def wq_mask(rule: Rule, devices: Iterable[int]) -> int:
    """Bits of the global WQ indices that the rule names, of these devices."""
    mask = 0
    if rule.where.wq is not None:
        for name in rule.where.wq:
            device, _, queue = name.partition("/")
            if int(device[3:]) in devices:
                mask |= 1 << int(device[3:]) * WQS_PER_DEVICE + int(queue.rpartition(".")[2])
        return mask
    for index in devices:
        if rule.where.device in (None, f"dsa{index}"):
            mask |= ((1 << WQS_PER_DEVICE) - 1) << index * WQS_PER_DEVICE
    return mask


def compiled(
    rule: Rule, number: int, devices: Iterable[int], pasids: Sequence[int | None], added_ns: int, progress: Progress
) -> list[bytes]:
    """The engine's rules, one a PASID, which count as one."""
    wqs = wq_mask(rule, devices)
    return [
        _packed(rule, number, wqs, ANY_PASID if pasid is None else pasid, added_ns, progress, also=index > 0)
        for index, pasid in enumerate(pasids)
    ]


def _packed(rule: Rule, number: int, wqs: int, pasid: int, added_ns: int, progress: Progress, *, also: bool) -> bytes:
    where, what = rule.where, rule.what
    opcodes = EVERY_OPCODE if any_operation(rule) else sum(1 << opcode for opcode in operations_of(rule))
    addr, size, flags = where.addr, where.size, where.flags
    scope, member = _scope(rule)
    skip, every = _counted(rule.when, progress)
    effect = EFFECTS.get(what.how or what.action, EVENT)
    return LAYOUT.pack(
        wqs,
        *(opcodes >> 64 * word & QWORD for word in range(4)),
        addr.first if addr else 0,
        addr.last if addr else QWORD,
        size.first if size else 0,
        size.last if size else SIZE_LAST,
        pasid,
        flags.are_set | flags.are_clear if flags else 0,
        flags.are_set if flags else 0,
        *member,
        scope,
        added_ns + rule.when.after if rule.when.after else 0,
        skip,
        every,
        _hits_left(rule.when, progress) or 0,
        generator_at(rule.when.seed or 0, progress.matches),
        threshold(rule.when.chance),
        effect,
        number,
        (what.bytes if effect == CORRUPT else what.count) or 0,
        what.time or 0,
        what.at or 0,
        0,
        what.bytes or 0,
        _offending_flags(what),
        what.status or 0 if effect == STATUS else 0,
        what.result or 0,
        _operand(rule.what),
        what.xor or FLIP,
        also,
    )


def any_operation(rule: Rule) -> bool:
    """The rule means every descriptor, whatever its opcode: also those that no operation has."""
    if rule.where.op is not None or rule.what.action == "slow":
        return False
    if rule.what.action in ("fault", "corrupt"):
        return rule.what.access == "record" or rule.what.operand == "completion_record"
    return rule.what.action != "status" or rule.what.force


def _operand(what: What) -> int:
    """Operand id, or the one that the operation accesses first."""
    if what.operand is not None:
        return Operand[what.operand.upper()]
    if what.access in SPECIAL:
        return SPECIAL[what.access]
    return FIRST_READ if what.access == "read" else FIRST_WRITTEN


def _scope(rule: Rule) -> tuple[int, tuple[int, int]]:
    member = rule.where.member
    if member is None:
        return ANYWHERE, (0, 0)
    return (NOT_MEMBERS, (0, 0)) if member == NO_MEMBER else (MEMBERS, (member.first, member.last))


def _offending_flags(what: What) -> int:
    if what.status != CompletionStatus.INVALID_FLAGS:
        return 0
    return what.mask or RESERVED_FLAG


def _hits_left(when: When, progress: Progress) -> int | None:
    """0: it has struck for the last time."""
    if when.nth is not None and progress.matches >= when.nth:
        return 0
    return None if when.hits_max is None else max(0, when.hits_max - progress.hits)


def _counted(when: When, progress: Progress) -> tuple[int, int]:
    """Matches to pass over from here, and every so many-th after. One without hits left passes over all, and counts them."""
    if _hits_left(when, progress) == 0:
        return NEVER, 1
    if when.nth is not None:
        return when.nth - 1 - progress.matches, 1
    if when.every is not None:
        return when.every - 1 - progress.matches % when.every, when.every
    return 0, 1


def has_rows(rule: Rule, progress: Progress) -> bool:
    """Does the engine look for it? Else the device loop does, or it is over."""
    if rule.what.action == "full" and _hits_left(rule.when, progress) == 0:
        return False  # a work queue that may be full has each submission ask: it is left alone when that is over
    return not rule.of_vector and not rule.by_itself


def is_device_action(what: What) -> bool:
    """Does the device loop carry it out?"""
    return what.action in DEVICE_ACTIONS or what.how == "spurious"
