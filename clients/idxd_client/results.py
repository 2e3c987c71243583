"""What a completion record says, typed: status by name, result, bytes completed, fault address, CRC."""

from __future__ import annotations

from idxd_client.errors import DescriptorAborted, DescriptorError
from idxdd.spec.codes import (
    COMP_DESC_ABORT,
    STATUS_CODE_MASK,
    STATUS_WRITE_FAULT,
    CompletionStatus,
    Opcode,
    OpFlag,
    TxnResult,
)

RECORD_BYTES = 32
_STATUSES: dict[int, CompletionStatus] = {int(status): status for status in CompletionStatus}
_OPCODES: dict[int, Opcode] = {int(opcode): opcode for opcode in Opcode}
_MAY_SAY_WRITE = frozenset({0x03, 0x04, 0x06, 0x1A, 0x1F})
_COMPARES = (Opcode.COMPARE, Opcode.COMPVAL)
_DELTA_RESULTS = ("equal", "different", "does not fit")
_DIF_ERRORS = {0x01: "guard", 0x02: "application tag", 0x04: "reference tag", 0x08: "all-ones field"}
_NOT_FAILED = (CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED)


class Result:
    """One completed descriptor: its record, read field by field. What the manual leaves undefined for a status is noise."""

    __slots__ = ("flags", "members", "opcode", "record", "txn")

    def __init__(
        self, record: bytes, opcode: int, flags: int = 0, *, txn: TxnResult | None = None, members: tuple[Result, ...] = ()
    ) -> None:
        self.record = record
        self.opcode = opcode
        self.flags = flags
        """The descriptor's: they decide whether a CRC has 32 or 64 bits."""
        self.txn = txn
        """Kernel channels: what the driver told the submitter's callback."""
        self.members = members
        """Batch: the result of each member; status NONE where a member was not executed or wrote no record."""

    @property
    def status(self) -> CompletionStatus | int:
        """By name where the manual has one."""
        raw = self.record[0]
        code = raw if raw == COMP_DESC_ABORT else raw & STATUS_CODE_MASK
        return _STATUSES.get(code, code)

    @property
    def write_fault(self) -> bool:
        """The faulting access was a write."""
        return self.status in _MAY_SAY_WRITE and bool(self.record[0] & STATUS_WRITE_FAULT)

    @property
    def result(self) -> int:
        """The operation's: compare 0 equal, 1 different; delta 0, 1, 2; a partial move's direction."""
        return self.record[1]

    @property
    def fault_info(self) -> int:
        """Bits 3:1 which operand faulted, bit 0 the address is withheld."""
        return self.record[2]

    @property
    def bytes_completed(self) -> int:
        """Batch: descriptors completed."""
        return _number(self.record, 4, 4)

    @property
    def fault_address(self) -> int:
        """Where it faulted; bits 11:0 may be 0."""
        return _number(self.record, 8, 8)

    @property
    def crc(self) -> int:
        """CRC and copy+CRC: the value, a valid seed for what follows."""
        if self.opcode not in (Opcode.CRCGEN, Opcode.COPY_CRC):
            return 0
        return _number(self.record, 16, 8 if self.flags & OpFlag.CRC_SIZE64 else 4)

    @property
    def delta_record_size(self) -> int:
        """Create delta: bytes of the record."""
        return _number(self.record, 16, 4) if self.opcode == Opcode.CR_DELTA else 0

    @property
    def invalid_flags(self) -> int:
        """Status INVALID_FLAGS: which flags were not allowed."""
        return _number(self.record, 16, 3) if self.status == CompletionStatus.INVALID_FLAGS else 0

    @property
    def dif_error(self) -> str:
        """Status DIF_ERR: what of the block's field was wrong."""
        if self.status != CompletionStatus.DIF_ERR:
            return ""
        return ", ".join(name for bit, name in _DIF_ERRORS.items() if self.result & bit) or f"{self.result:#04x}"

    @property
    def source_tags(self) -> tuple[int, int]:
        """DIF check, strip, update: (reference tag, application tag) for the next block; after a success or a page fault."""
        return _number(self.record, 16, 4), _number(self.record, 22, 2)

    @property
    def destination_tags(self) -> tuple[int, int]:
        """DIF insert, update, DIX: the same of the destination."""
        return _number(self.record, 24, 4), _number(self.record, 30, 2)

    @property
    def ok(self) -> bool:
        """Success, whatever a predicate said."""
        return self.status in _NOT_FAILED

    @property
    def equal(self) -> bool:
        """Compare, create delta: no difference was found."""
        return self.ok and self.result == 0

    def raise_for_status(self, doing: str | None = None) -> Result:
        """Itself when it succeeded; DescriptorError, or DescriptorAborted when it was abandoned."""
        if self.ok and self.txn in (None, TxnResult.NOERROR):
            return self
        name = doing or name_of(self.opcode)
        if self.txn is TxnResult.ABORTED:
            raise DescriptorAborted(f"{name}: aborted by the driver")
        raise DescriptorError(name, self)

    def __repr__(self) -> str:
        return f"<Result {name_of(self.opcode)}: {self.describe()}>"

    def describe(self) -> str:
        """One line: status, and what belongs to it."""
        if isinstance(self.status, CompletionStatus):
            parts = [f"status {self.status:#04x} {self.status.name}"]
        else:
            parts = [f"status {self.status:#04x}"]
        if self.ok:
            parts += self._outcome()
        elif self.status == CompletionStatus.DIF_ERR:
            parts.append(f"{self.dif_error} wrong after {self.bytes_completed} good bytes")
        elif self.status == CompletionStatus.INVALID_FLAGS:
            parts.append(f"flags {self.invalid_flags:#08x}")
        elif self.status in _MAY_SAY_WRITE:
            parts.append(f"{'writing' if self.write_fault else 'reading'} {self.fault_address:#x}")
            parts.append(f"{self.bytes_completed} completed")
        elif self.status == CompletionStatus.BATCH_FAIL:
            bad = [f"{i}: {name_of(m.opcode)} {m.describe()}" for i, m in enumerate(self.members) if m.status != 0x01]
            parts.append(f"{self.bytes_completed} processed" + (f", member {bad[0]}" if bad else ""))
        return ", ".join(parts)

    def _outcome(self) -> list[str]:
        """What a success found out."""
        if self.opcode in _COMPARES:
            return [f"different at {self.bytes_completed}" if self.result else "equal"]
        if self.opcode == Opcode.CR_DELTA:
            found = _DELTA_RESULTS[self.result] if self.result < len(_DELTA_RESULTS) else f"result {self.result}"
            return [found, f"record of {self.delta_record_size} bytes"]
        if self.opcode in (Opcode.CRCGEN, Opcode.COPY_CRC):
            return [f"crc {self.crc:#x}"]
        return []


def name_of(opcode: int) -> str:
    """As users write it: "memmove"."""
    known = _OPCODES.get(opcode)
    return known.name.lower() if known is not None else f"operation {opcode:#04x}"


def _number(record: bytes, offset: int, size: int) -> int:
    return int.from_bytes(record[offset : offset + size], "little")
