"""What a completion record says, typed: status by name, result, bytes completed, fault address, CRC."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from idxd_client.errors import DescriptorAborted, DescriptorError
from idxdd.spec.codes import COMP_DESC_ABORT, STATUS_CODE_MASK, STATUS_WRITE_FAULT, CompletionStatus, Opcode, TxnResult

RECORD_BYTES = 32
_RECORD = struct.Struct("<BBBxIQIIII")
assert _RECORD.size == RECORD_BYTES
_NOT_FAILED = (CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED)
_MAY_SAY_WRITE = frozenset({0x03, 0x04, 0x06, 0x1A, 0x1F})


def status_of(code: int) -> CompletionStatus | int:
    """By name where the manual has one."""
    try:
        return CompletionStatus(code)
    except ValueError:
        return code


@dataclass(frozen=True, slots=True)
class Result:
    """One completed descriptor. Fields that the manual defines only for some statuses or operations are 0 elsewhere."""

    opcode: Opcode | int
    status: CompletionStatus | int
    result: int
    """Operation's result: compare 0 equal, 1 different; delta 0, 1, 2; a partial move's direction."""
    bytes_completed: int
    """Batch: descriptors completed."""
    fault_address: int
    fault_info: int
    write_fault: bool
    """The faulting access was a write."""
    crc: int
    """CRC and copy+CRC: the value; it is a valid seed for what follows."""
    delta_record_size: int
    invalid_flags: int
    """Status INVALID_FLAGS: which flags were not allowed."""
    record: bytes
    txn: TxnResult | None = None
    """Kernel channels: what the driver told the submitter's callback."""
    members: tuple[Result, ...] = ()
    """Batch: the result of each member; status NONE where a member was not executed or wrote no record."""

    @property
    def ok(self) -> bool:
        """Success, whatever a predicate said."""
        return self.status in _NOT_FAILED

    @property
    def equal(self) -> bool:
        """Compare: no difference was found."""
        return self.ok and self.result == 0

    def raise_for_status(self, doing: str | None = None) -> Result:
        """Itself when it succeeded; DescriptorError, or DescriptorAborted when it was abandoned."""
        if self.ok and self.txn in (None, TxnResult.NOERROR):
            return self
        name = doing or name_of(self.opcode)
        if self.txn is TxnResult.ABORTED:
            raise DescriptorAborted(f"{name}: aborted by the driver")
        raise DescriptorError(name, self)

    def describe(self) -> str:
        """One line: status, and what belongs to it."""
        if isinstance(self.status, CompletionStatus):
            parts = [f"status {self.status:#04x} {self.status.name}"]
        else:
            parts = [f"status {self.status:#04x}"]
        if self.status == CompletionStatus.INVALID_FLAGS:
            parts.append(f"flags {self.invalid_flags:#08x}")
        elif self.status in _MAY_SAY_WRITE:
            parts.append(f"{'writing' if self.write_fault else 'reading'} {self.fault_address:#x}")
            parts.append(f"{self.bytes_completed} completed")
        elif self.status == CompletionStatus.BATCH_FAIL:
            bad = [f"{i}: {name_of(m.opcode)} {m.describe()}" for i, m in enumerate(self.members) if m.status != 0x01]
            parts.append(f"{self.bytes_completed} processed" + (f", member {bad[0]}" if bad else ""))
        return ", ".join(parts)


def name_of(opcode: int) -> str:
    """As users write it: "memmove"."""
    return opcode.name.lower() if isinstance(opcode, Opcode) else f"operation {opcode:#04x}"


def decode(record: bytes, opcode: int, txn: TxnResult | None = None, members: tuple[Result, ...] = ()) -> Result:
    """A result from a 32-byte completion record of an operation."""
    raw, result, fault_info, done, fault_address, low, high, _, _ = _RECORD.unpack(record)
    code = raw if raw == COMP_DESC_ABORT else raw & STATUS_CODE_MASK
    crc = opcode in (Opcode.CRCGEN, Opcode.COPY_CRC)
    return Result(
        opcode=opcode,
        status=status_of(code),
        result=result,
        bytes_completed=done,
        fault_address=fault_address,
        fault_info=fault_info,
        write_fault=code in _MAY_SAY_WRITE and bool(raw & STATUS_WRITE_FAULT),
        crc=(low | high << 32) if crc else 0,
        delta_record_size=low if opcode == Opcode.CR_DELTA else 0,
        invalid_flags=low & 0xFFFFFF if code == CompletionStatus.INVALID_FLAGS else 0,
        record=record,
        txn=txn,
        members=members,
    )
