"""Which rules can be: every rule is looked at here when it is made; one line names the field and what is wrong with it.

Without `op` a rule means every operation that its action can happen to; with `op`, each one named must be such.
"""

from idxdd.device.faults.operations import EVERY_OPERATION, OPERATIONS, PAGE_FAULTS, RECORD, UNRECORDED, gives
from idxdd.device.faults.rule import ACTIONS, BadRule, Rule, What, given
from idxdd.device.faults.values import NO_MEMBER, code_name
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, Operand

DESCRIPTOR_FIELDS = frozenset({"wq", "pid", "uid", "pasid", "op", "flags", "addr", "size", "member"})
UNREAD_FIELDS = ("op", "flags", "addr", "size", "member")
"""Nobody knows them when a work queue is full."""
COUNTS = ("nth", "every", "first", "chance")
SPECIAL = {"record": RECORD, "list": Operand.SOURCE1, "readback": Operand.SOURCE1}
NOT_IN_BATCH = frozenset({Opcode.BATCH, Opcode.DRAIN, Opcode.UPDATE_WINDOW})
WITH_OPERANDS = frozenset(code for code, operation in OPERATIONS.items() if operation.reads or operation.writes)
DOES: dict[str | None, tuple[str, str]] = {
    "read": ("reads nothing", "read"),
    "write": ("writes nothing", "write"),
    "list": ("has no descriptor list", ""),
}
DOES |= {"readback": ("has no readback", ""), None: ("has no operand in memory", "access")}
"""Access: what an operation without it does not do, and the verb for one operand."""


def check(rule: Rule) -> None:
    """BadRule for the first thing that cannot be."""
    _check_values(rule.what)
    _check_when(rule)
    _check_where(rule)
    if rule.of_vector:
        return _check_vector(rule)
    if rule.where.cause is not None:
        raise BadRule("cause: belongs to the interrupts of vector 0: say vector=0 too")
    CHECKS.get(rule.what.action, _check_operations)(rule)


def operations_of(rule: Rule) -> tuple[int, ...]:
    """Opcodes the rule means; without `op`, all its action can happen to."""
    return rule.where.op or tuple(opcode for opcode in EVERY_OPERATION if happens_to(rule.what, opcode))


def happens_to(what: What, opcode: int) -> bool:
    """Can this action happen to this operation?"""
    operation = OPERATIONS.get(opcode)
    if what.action == "status":
        assert what.status is not None
        return what.force or gives(opcode, what.status)
    if what.action not in ("fault", "corrupt", "slow"):
        return True
    if what.access == "record" or what.operand == "completion_record":
        return True
    if operation is None:
        return False
    if what.action == "slow":
        return opcode in WITH_OPERANDS
    if what.access in ("list", "readback"):
        return opcode == (Opcode.BATCH if what.access == "list" else Opcode.DRAIN)
    operands = operation.reads if what.access == "read" else operation.writes
    return bool(operands) and (what.operand is None or Operand[what.operand.upper()] in operands)


def operand_of(what: What, opcode: int) -> Operand:
    """The operand an action means: the one it names, else the first that the operation accesses in that way."""
    if what.operand is not None:
        return Operand[what.operand.upper()]
    if what.access in SPECIAL:
        return SPECIAL[what.access]
    operation = OPERATIONS[opcode]
    return (operation.reads if what.access == "read" else operation.writes)[0]


# ---- one by one -----------------------------------------------------------------------------------------------------------
def _check_values(what: What) -> None:
    action = ACTIONS.get(what.action)
    if action is None:
        raise BadRule(f"do: {what.action!r:.40} is no action: one of {', '.join(ACTIONS)}")
    for name, _ in given(what):
        if name not in action.allowed:
            raise BadRule(f"{name}: {what.action} has no such value")
    for place in action.places[: -1 if action.optional_place else None]:
        if getattr(what, place) is None:
            raise BadRule(f"{place}: {what.action} needs one: `do {what.action} {place.upper()}`")
    if what.time == 0:
        raise BadRule("time: must be longer than 0")


def _check_when(rule: Rule) -> None:
    when = rule.when
    said = [name for name in COUNTS if getattr(when, name) is not None]
    if len(said) > 1:
        raise BadRule(f"{said[1]}: {said[0]} is said already; one of {', '.join(COUNTS)}")
    if when.seed is not None and when.chance is None:
        raise BadRule("seed: belongs to chance=")
    if when.times is not None and said and said[0] in ("nth", "first"):
        raise BadRule(f"times: {said[0]} says how often already")


def _check_where(rule: Rule) -> None:
    where = rule.where
    for wq in where.wq or ():
        device, _, queue = wq.partition("/")
        if where.device not in (None, device):
            raise BadRule(f"wq: {wq} is not of device {where.device}")
        if device[3:] != queue[2:].partition(".")[0]:
            raise BadRule(f"wq: {wq}: {device} has no {queue}; its work queues are {device}/wq{device[3:]}.0 and so on")
    for opcode in where.op or ():
        if where.member not in (None, NO_MEMBER) and opcode in NOT_IN_BATCH:
            raise BadRule(f"member: {code_name(opcode, Opcode)} is never in a batch")


def _check_vector(rule: Rule) -> None:
    sought = sorted(DESCRIPTOR_FIELDS & {name for name, _ in given(rule.where)})
    if sought:
        raise BadRule(f"{sought[0]}: an interrupt of vector 0 has none; with vector=0 only device and cause count")
    if rule.what.action != "interrupt" or rule.what.how == "spurious":
        raise BadRule("vector: selects interrupts of vector 0: they can be lost or late")
    if rule.what.vector is not None:
        raise BadRule("vector: belongs to `interrupt spurious`")
    _check_interrupt_time(rule.what)


def _check_operations(rule: Rule) -> None:
    what = rule.what
    field = {"status": "status", "fault": what.access or "", "corrupt": "corrupt"}.get(what.action, "op")
    for opcode in rule.where.op or ():
        if not happens_to(what, opcode):
            raise BadRule(f"{field}: {_why_not(what, code_name(opcode, Opcode))}")
    if not operations_of(rule):
        raise BadRule(f"{field}: {_why_not(what, 'every operation')}")


def _why_not(what: What, name: str) -> str:
    if what.action == "status":
        assert what.status is not None
        return f"{name} cannot end with {code_name(what.status, CompletionStatus)}; add force to do it all the same"
    nothing, verb = DOES["write" if what.action == "corrupt" else what.access]
    return f"{name} does not {verb} {what.operand}" if what.operand else f"{name} {nothing}"


def _check_status(rule: Rule) -> None:
    what = rule.what
    assert what.status is not None
    name = code_name(what.status, CompletionStatus)
    if what.status == 0:
        raise BadRule("status: 0 means that a descriptor is not complete; `do drop` leaves it so")
    if what.status & 0x7F > 0x3F:
        raise BadRule(f"status: {name} is never in a record; `do swerr` reports it")
    if not what.force and what.status in PAGE_FAULTS:
        raise BadRule("status: a page fault has a partial result: say `do fault read at=N`, or add force")
    if not what.force and what.status == CompletionStatus.CRA_XLAT:
        raise BadRule("status: a completion record that cannot be written is `do fault record`, or add force")
    if what.mask is not None and what.status != CompletionStatus.INVALID_FLAGS:
        raise BadRule(f"mask: belongs to status invalid_flags, not to {name}")
    for field in ("result", "bytes"):
        if getattr(what, field) is not None and what.status in UNRECORDED:
            raise BadRule(f"{field}: {name} is never in a record")
    _check_operations(rule)


def _check_fault(rule: Rule) -> None:
    what, flags = rule.what, rule.where.flags
    for name in ("at", "operand"):
        special = what.access in SPECIAL and (what.access, name) != ("list", "at")
        if getattr(what, name) is not None and special:
            raise BadRule(f"{name}: `fault {what.access}` has no such value")
    if what.operand == "completion_record":
        raise BadRule("operand: a completion record that cannot be written is `do fault record`")
    if what.access == "list" and (what.at or 0) % 64:
        raise BadRule("at: a descriptor list is read 64 bytes at a time: a multiple of 64")
    if what.access == "record" and flags is not None and flags.are_clear & Flag.CRAV:
        raise BadRule("flags: without crav there is no completion record")
    _check_offset(rule)
    _check_operations(rule)


def _check_corrupt(rule: Rule) -> None:
    what = rule.what
    if what.bytes == 0:
        raise BadRule("bytes: nothing would be corrupted")
    if what.operand == "completion_record" and (what.at or 0) >= 32:
        raise BadRule(f"at: {what.at} lies behind the end of a completion record of 32 bytes")
    if what.operand != "completion_record":
        _check_offset(rule)
    _check_operations(rule)


def _check_offset(rule: Rule) -> None:
    """An offset beyond every descriptor the rule looks for."""
    size, at = rule.where.size, rule.what.at or 0
    if size is None or rule.what.access in SPECIAL or at < max(size.last, 1):
        return
    if not any(opcode in LONGER for opcode in rule.where.op or LONGER):
        raise BadRule(f"at: {at} lies behind the end of every descriptor of size {size.last}")


LONGER = frozenset({Opcode.DIF_INS, Opcode.DIF_UPDT, Opcode.CR_DELTA, Opcode.AP_DELTA, Opcode.TRANSL_FETCH})
"""They have an operand that may be longer than their transfer size."""


def _check_swerr(rule: Rule) -> None:
    name = code_name(rule.what.status or 0, CompletionStatus)
    if rule.what.status not in CompletionStatus._value2member_map_:
        raise BadRule(f"status: {name} is no error that the manual has")
    if rule.what.status in (CompletionStatus.NONE, CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED):
        raise BadRule(f"status: {name} is no error")


def _check_interrupt_time(what: What) -> None:
    if what.how == "late" and what.time is None:
        raise BadRule("time: `interrupt late` needs one: `do interrupt late 5ms`")
    if what.how != "late" and what.time is not None:
        raise BadRule(f"time: `interrupt {what.how}` has none")


def _check_interrupt(rule: Rule) -> None:
    what, flags = rule.what, rule.where.flags
    _check_interrupt_time(what)
    if what.how != "spurious" and what.vector is not None:
        raise BadRule("vector: belongs to `interrupt spurious`; for those of vector 0 write vector=0 before `do`")
    if what.how != "spurious" and flags is not None and flags.are_clear & Flag.RCI:
        raise BadRule("flags: without rci there is no completion interrupt")


def _check_full(rule: Rule) -> None:
    for field in UNREAD_FIELDS:
        if getattr(rule.where, field) is not None:
            raise BadRule(f"{field}: a work queue that is full turns descriptors away unread; say wq, pid, uid or pasid")


CHECKS = {
    "status": _check_status,
    "fault": _check_fault,
    "corrupt": _check_corrupt,
    "swerr": _check_swerr,
    "interrupt": _check_interrupt,
    "full": _check_full,
}
