"""Which descriptors a rule means, and what would happen to one: the dry run, and what the engine is tested against."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from idxdd.device.faults.compiled import FLIP, any_operation
from idxdd.device.faults.operations import OPERATIONS
from idxdd.device.faults.possible import operand_of, operations_of
from idxdd.device.faults.rule import ACTIONS, Rule, What, kinds
from idxdd.device.faults.text import what_text
from idxdd.device.faults.values import ADDRESS_MAX, Span, code_name
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, Operand, OpFlag
from idxdd.spec.limits import COMPLETION_RECORD_BYTES, DESCRIPTOR_BYTES
from idxdd.spec.records import Descriptor


@dataclass(frozen=True)
class Point:
    """A descriptor and where it comes from; what is None is not known, and matches."""

    desc: bytes
    wq: str | None = None
    pid: int | None = None
    uid: int | None = None
    pasid: int | None = None
    member: int | None = None
    """Index in its batch."""


class Extent(NamedTuple):
    """An operand in memory."""

    operand: Operand
    address: int
    size: int

    @property
    def last(self) -> int:
        """Its last byte."""
        return min(self.address + self.size - 1, ADDRESS_MAX)


def extents(desc: Descriptor) -> Iterator[Extent]:
    """Operands of a descriptor in memory: the record first, then what the operation reads and writes."""
    raw = desc.pack()
    flags = int(desc.flags)
    if flags & Flag.CRAV:
        yield Extent(Operand.COMPLETION_RECORD, desc.completion_addr, COMPLETION_RECORD_BYTES)
    if desc.opcode == Opcode.BATCH:
        yield Extent(Operand.SOURCE1, desc.operand1, desc.xfer_size * DESCRIPTOR_BYTES)
    if desc.opcode == Opcode.DRAIN:
        for flag, operand, address in READBACKS:
            if flags & flag:
                yield Extent(operand, int.from_bytes(raw[address : address + 8], "little"), 1)
    operation = OPERATIONS.get(desc.opcode)
    for operand in (*operation.reads, *operation.writes) if operation else ():
        size = size_of(operand, desc, raw)
        if size:
            offset = operation.address_offset(operand) if operation else 0
            yield Extent(operand, int.from_bytes(raw[offset : offset + 8], "little"), size)


READBACKS = (
    (OpFlag.DRAIN_READBACK1_VALID, Operand.SOURCE1, 16),
    (OpFlag.DRAIN_READBACK2_VALID, Operand.SOURCE2, 24),
)
DIF_BLOCKS = (512, 520, 4096, 4104)
DIF_FIELD = 8


def size_of(operand: Operand, desc: Descriptor, raw: bytes) -> int:
    """Bytes of an operand; 0: the descriptor has none such."""
    size, opcode = desc.xfer_size, desc.opcode
    if opcode in (Opcode.CRCGEN, Opcode.COPY_CRC) and operand is Operand.SOURCE2:
        flags = int(desc.flags)
        return (8 if flags & OpFlag.CRC_SIZE64 else 4) if flags & OpFlag.CRC_SEED_ADDR else 0
    if opcode == Opcode.CR_DELTA and operand is Operand.DESTINATION1:
        return int.from_bytes(raw[48:52], "little")
    if opcode == Opcode.AP_DELTA and operand is Operand.SOURCE1:
        return int.from_bytes(raw[40:44], "little")
    if operand is Operand.DESTINATION1 and opcode in (Opcode.DIF_INS, Opcode.DIF_STRP, Opcode.DIX_GEN):
        block = DIF_BLOCKS[raw[42] & 3]
        if opcode == Opcode.DIF_STRP:
            return size // (block + DIF_FIELD) * block
        return size // block * (DIF_FIELD if opcode == Opcode.DIX_GEN else block + DIF_FIELD)
    return size


def mismatch(rule: Rule, point: Point) -> str | None:
    """The field that does not match, and why; None: the rule means this descriptor."""
    where, desc = rule.where, Descriptor.unpack(point.desc)
    name = code_name(desc.opcode, Opcode)
    if rule.of_vector:
        return "vector: the rule is about interrupts, not descriptors"
    if rule.by_itself:
        return "do: it happens by itself, once, and not to a descriptor"
    if where.op is not None and desc.opcode not in where.op:
        return f"op: {name}"
    if where.op is None and not any_operation(rule) and desc.opcode not in operations_of(rule):
        return f"op: `{what_text(rule.what)}` cannot happen to {name}"
    if point.wq is not None:
        if where.device is not None and point.wq.partition("/")[0] != where.device:
            return f"device: {point.wq.partition('/')[0]}"
        if where.wq is not None and point.wq not in where.wq:
            return f"wq: {point.wq}"
    for field in ("pid", "uid", "pasid"):
        wanted, found = getattr(where, field), getattr(point, field)
        if wanted is not None and found is not None and wanted != found:
            return f"{field}: {found}"
    return _mismatch_of_descriptor(rule, point, desc)


def _mismatch_of_descriptor(rule: Rule, point: Point, desc: Descriptor) -> str | None:
    where = rule.where
    flags = int(desc.flags)
    if where.flags is not None and (where.flags.are_set & ~flags or where.flags.are_clear & flags):
        return f"flags: {desc.flag_names or 'none'}"
    if where.addr is not None and not any(_overlap(where.addr, extent) for extent in extents(desc)):
        return "addr: " + (", ".join(f"{one.operand.name.lower()} {one.address:#x}" for one in extents(desc)) or "none")
    if where.size is not None and desc.xfer_size not in where.size:
        return f"size: {desc.xfer_size}"
    if where.member is not None and (-1 if point.member is None else point.member) not in where.member:
        return "member: " + ("in no batch" if point.member is None else str(point.member))
    if rule.what.action == "interrupt" and rule.what.how != "spurious" and not flags & Flag.RCI:
        return "flags: it asks for no interrupt"
    if rule.what.action in ("fault", "corrupt"):
        return _unreached(rule.what, desc)
    return None


def _unreached(what: What, desc: Descriptor) -> str | None:
    """The operand of a fault or a corruption is not there, or too short."""
    operand = operand_of(what, desc.opcode)
    found = [one for one in extents(desc) if one.operand is operand]
    if what.access == "readback":
        found = [one for one in extents(desc) if one.operand is not Operand.COMPLETION_RECORD]
    if not found:
        return f"flags: it has no {operand.name.lower()}"
    if (what.at or 0) >= found[0].size:
        return f"at: its {operand.name.lower()} has {found[0].size} bytes"
    return None


def _overlap(span: Span, extent: Extent) -> bool:
    return extent.address <= span.last and span.first <= extent.last


# ---- what would happen -------------------------------------------------------------------------------------------------------
def outcome(rule: Rule, point: Point) -> str:
    """In one line, what a hit does to this descriptor."""
    what, desc = rule.what, Descriptor.unpack(point.desc)
    if what.action == "status":
        assert what.status is not None
        name = code_name(what.status, CompletionStatus)
        return f"ends with {what.status:#04x} {name}{_given_result(what)}; nothing is carried out"
    if what.action == "fault":
        return _fault_outcome(what, desc)
    if what.action == "corrupt":
        operand = operand_of(what, desc.opcode).name.lower()
        first, count = what.at or 0, what.bytes or 1
        bytes = f"byte {first}" if count == 1 else f"bytes {first} to {first + count - 1}"
        return f"success; {bytes} of its {operand} xor {what.xor or FLIP:#04x}"
    return rule_outcome(rule)


def rule_outcome(rule: Rule) -> str:
    """What a hit does, whatever the descriptor."""
    return f"{what_text(rule.what)}: {ACTIONS[rule.what.action].text}"


def _given_result(what: What) -> str:
    return "".join(f", {name} {value}" for name in ("result", "bytes", "mask") if (value := getattr(what, name)) is not None)


def _fault_outcome(what: What, desc: Descriptor) -> str:
    if what.access == "record":
        return f"its completion record at {desc.completion_addr:#x} cannot be written: 0x1a in the event log or SWERR"
    if what.access == "list":
        address = int.from_bytes(desc.pack()[16:24], "little") + (what.at or 0)
        return f"ends with 0x06 batch_page_fault at {address:#x}, {(what.at or 0) // 64} members processed"
    if what.access == "readback":
        return "ends with 0x1f pfault_rdba"
    operand = operand_of(what, desc.opcode)
    base = next((one.address for one in extents(desc) if one.operand is operand), 0)
    blocks = Flag.BOF in Flag(int(desc.flags) & 0xFFFF)
    code = CompletionStatus.PAGE_FAULT_IR if blocks else CompletionStatus.PAGE_FAULT_NOBOF
    raw = code | (0x80 if what.access == "write" else 0)
    return f"ends with {raw:#04x} {code.name.lower()}: {what.access} of {operand.name.lower()} at {base + (what.at or 0):#x}"


def operations_text(rule: Rule) -> str:
    """The operations a rule means, by name."""
    return kinds(type(rule.where))["op"].write(operations_of(rule))
