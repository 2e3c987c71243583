"""tests/golden/operations.txt as rules: which flags offend, and which bytes are reserved, for any flags of an operation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import CompletionRecord, InvalidFlagsRecord

CRAV, RCR, RCI, RECORD_TC = 1 << 2, 1 << 3, 1 << 4, 1 << 12
CC1, CC3, CC2 = 1 << 8, 1 << 5, 1 << 14
CC = CC1 | CC2 | CC3
PARTLY_RESERVED = {(Opcode.DIF_INS, 41), (Opcode.DIF_UPDT, 41), (Opcode.DIX_GEN, 41)} | {
    (opcode, 42) for opcode in (Opcode.DIF_CHECK, Opcode.DIF_INS, Opcode.DIF_STRP, Opcode.DIF_UPDT, Opcode.DIX_GEN)
}
"""Bytes with reserved bits: destination DIF flags 2:0, DIF flags 7:4."""
Execute = Callable[[bytes], CompletionRecord]


@dataclass(frozen=True)
class Rules:
    """One row."""

    opcode: Opcode
    flags: tuple[str, ...]
    cache_controls: tuple[str, ...]
    record: str
    required: tuple[str, ...]
    reserved: tuple[str, ...]

    def offending(self, flags: int) -> int:
        """The mask of a 0x11, or 0."""
        allowed = CRAV | RCI | (RCR | RECORD_TC if flags & CRAV else 0)
        for rule in self.flags:
            bit, _, needed = rule.partition("?")
            if not needed or flags >> int(needed) & 1:
                allowed |= 1 << int(bit)
        if f"{bool(flags & CC3):d}{bool(flags & CC2):d}{bool(flags & CC1):d}" in self.cache_controls:
            allowed |= CC
        missing = {"must": (CRAV | RCR) & ~flags, "either": 0 if flags & (RCR | RCI) else RCR, "-": 0}[self.record]
        for rule in self.required:
            wanted = [1 << int(bit) for bit in rule.split("/")]
            missing |= 0 if flags & sum(wanted) else wanted[0]
        return flags & ~allowed | missing

    def is_reserved(self, byte: int, flags: int) -> bool:
        """Must this byte of 16-63 be zero?"""
        for rule in self.reserved:
            where, _, condition = rule.partition("?")
            first, last = map(int, where.split("-"))
            wanted = not condition.startswith("!")
            if first <= byte <= last and (not condition or bool(flags >> int(condition.strip("!")) & 1) is wanted):
                return True
        return byte in (36, 37) and not flags & RCI


def rules() -> Iterator[Rules]:
    """Every row of the table."""
    for line in (Path(__file__).parent / "golden" / "operations.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            head, *columns = line.split("|")
            name, code = head.split()
            opcode = Opcode[name]
            assert opcode == int(code, 16)
            flags, cache_controls, record, reserved = (tuple(column.split()) for column in columns)
            yield Rules(opcode, flags, cache_controls, record[0], record[1:], reserved)


def check_flags(row: Rules, execute: Execute, completion_addr: int) -> None:
    """Each flag by itself and with each of the operation's own, and every cache-control encoding: offending or not, exactly."""
    own = [0, *(1 << bit for bit in range(16, 24))]
    tried = {1 << bit | with_ for bit in range(24) for with_ in own} | {0, CC1, CC2, CC1 | CC2, CC1 | CC3, CC2 | CC3, CC}
    for flags in sorted({extra ^ CRAV ^ RCR for extra in tried}):
        if not flags & CRAV:
            continue  # the record is what tells
        found = execute(_descriptor(row, flags, completion_addr))
        offending = row.offending(flags)
        if offending:
            assert found.code == CompletionStatus.INVALID_FLAGS, f"{row.opcode.name}: flags {flags:#08x}: {found}"
            mask = InvalidFlagsRecord.unpack(found.pack()).invalid_flags
            assert mask == offending, f"{row.opcode.name}: flags {flags:#08x}: {mask:#08x}, not {offending:#08x}"
        else:
            assert found.code != CompletionStatus.INVALID_FLAGS, f"{row.opcode.name}: flags {flags:#08x}: {found}"


def check_reserved(row: Rules, execute: Execute, completion_addr: int) -> None:
    """Each byte by itself, with each flag that could free it."""
    allowed = [CRAV | RCR | extra for extra in (0, RCI, *(1 << bit for bit in range(16, 20)))]
    for flags in (flags for flags in allowed if not row.offending(flags)):
        for byte in range(16, 64):
            found = execute(_descriptor(row, flags, completion_addr, byte))
            reserved = row.is_reserved(byte, flags) or (row.opcode, byte) in PARTLY_RESERVED
            refused = found.code == CompletionStatus.NOZERO_RESERVE
            assert refused is reserved, f"{row.opcode.name}: byte {byte} with flags {flags:#08x}: {found}"


def _descriptor(row: Rules, flags: int, completion_addr: int, byte: int | None = None) -> bytes:
    """All zero but this; what else is wrong with it is looked at later than flags and reserved bytes."""
    desc = bytearray(64)
    desc[4:7], desc[7], desc[8:16] = flags.to_bytes(3, "little"), row.opcode, completion_addr.to_bytes(8, "little")
    if byte is not None:
        desc[byte] = 0xFF
    return bytes(desc)
