"""CRC Generation and Copy with CRC; the CRCs of the device, one byte at a time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from idxdd.spec import records
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, Operand, OpFlag
from idxdd.testing.reference.move import check_source_and_destination
from idxdd.testing.reference.run import Effect, Run, advance, refuse

POLYNOMIALS = {16: 0x8BB7, 32: 0x1EDC6F41, 64: 0xAD93D23594C93659}
"""By width: T10-DIF, CRC-32C, CRC-64/NVME."""


def compute(content: bytes, seed: int, width: int, *, inverted: bool = True, reflected: bool = True) -> int:
    """CRC-32C or CRC-64/NVME; any result is the seed of the next piece.

    `inverted`: complement and reverse seed and result; `reflected`: reverse each byte.
    """
    ones = (1 << width) - 1
    register = reverse_bits(seed ^ ones, width) if inverted else seed
    if reflected:
        content = bytes(REVERSED[byte] for byte in content)
    register = divide(content, register, width)
    return reverse_bits(register, width) ^ ones if inverted else register


def guard(content: bytes, *, seed: int = 0, inverted: bool = False) -> int:
    """CRC-16/T10-DIF of one block."""
    return divide(content, seed, 16) ^ (0xFFFF if inverted else 0)


def divide(content: bytes, register: int, width: int) -> int:
    """The remainder, most significant bit first."""
    ones, table = (1 << width) - 1, remainders(width)
    for byte in content:
        register = register << 8 & ones ^ table[register >> width - 8 ^ byte]
    return register


@cache
def remainders(width: int) -> tuple[int, ...]:
    """Of each byte followed by zeros: one bit at a time."""

    def remainder(byte: int) -> int:
        register = byte << width - 8
        for _ in range(8):
            carry = register >> width - 1
            register = register << 1 & (1 << width) - 1 ^ carry * POLYNOMIALS[width]
        return register

    return tuple(remainder(byte) for byte in range(256))


def reverse_bits(value: int, width: int) -> int:
    """Bit 0 becomes bit width - 1, and so on."""
    return int(f"{value:0{width}b}"[::-1], 2)


REVERSED = [reverse_bits(byte, 8) for byte in range(256)]


# ---- the operations ----------------------------------------------------------------------------------------------------
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
        missing = advance(run, width // 8, (Operand.SOURCE2, wanted.seed_addr, False))
        if not missing.succeeded:
            return missing
        seed = int.from_bytes(run.memory.read(wanted.seed_addr, width // 8), "little")
    effect = advance(run, wanted.xfer_size, (Operand.SOURCE1, wanted.src_addr, False), *destination)
    content = run.memory.read(wanted.src_addr, effect.done(wanted.xfer_size))
    for _, address, _ in destination:
        run.memory.write(address, content)
    inverted, reflected = not run.has(OpFlag.CRC_BYPASS_INVERSION), not run.has(OpFlag.CRC_BYPASS_REFLECTION)
    value = compute(content, seed, width, inverted=inverted, reflected=reflected)
    effect.payload = value.to_bytes(8, "little")  # of no bytes: the seed, so that any resume is right
    return effect


def check_crc(run: Run) -> None:
    """A seed in memory is aligned."""
    alignment = 8 if run.has(OpFlag.CRC_SIZE64) else 4
    seed_addr = records.CrcDescriptor.unpack(run.desc).seed_addr
    if run.has(OpFlag.CRC_SEED_ADDR) and seed_addr % alignment:
        refuse(CompletionStatus.ADDR_ALIGN, f"CRC seed address {seed_addr:#x} is not {alignment}-byte aligned")


def check_copy_crc(run: Run) -> None:
    """Besides, a copy never overlaps."""
    check_crc(run)
    check_source_and_destination(run)


def reserved_crc(run: Run) -> Iterable[tuple[int, int]]:
    """The seed or its address, and the upper half of either only where it counts."""
    yield 56, 63
    yield (40, 47) if run.has(OpFlag.CRC_SEED_ADDR) else (48, 55)
    if not run.has(OpFlag.CRC_SIZE64):
        yield 44, 47
    if run.plain.opcode == Opcode.CRCGEN:
        yield 24, 31


def addresses_crc(run: Run) -> Iterable[int]:
    """Source, destination of the copy, seed in memory."""
    yield Flag.ADDR1_TCS
    if run.plain.opcode == Opcode.COPY_CRC:
        yield Flag.ADDR2_TCS
    if run.has(OpFlag.CRC_SEED_ADDR):
        yield Flag.ADDR3_TCS
