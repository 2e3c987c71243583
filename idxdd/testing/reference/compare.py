"""Compare and Compare Pattern: the first difference ends them, also before a fault."""

from __future__ import annotations

from idxdd.spec import records
from idxdd.spec.codes import Operand
from idxdd.testing.reference.move import repeated
from idxdd.testing.reference.run import Effect, Run, advance, check_result


def compare(run: Run) -> Effect:
    """Two sources."""
    wanted = records.CompareDescriptor.unpack(run.desc)
    size = wanted.xfer_size
    effect = advance(run, size, (Operand.SOURCE1, wanted.src1_addr, False), (Operand.SOURCE2, wanted.src2_addr, False))
    done = effect.done(size)
    first, second = run.memory.read(wanted.src1_addr, done), run.memory.read(wanted.src2_addr, done)
    return compared(run, effect, first, second, wanted.expected_result)


def compare_pattern(run: Run) -> Effect:
    """One source, and 8 bytes over and over from the first of them."""
    wanted = records.ComparePatternDescriptor.unpack(run.desc)
    effect = advance(run, wanted.xfer_size, (Operand.SOURCE1, wanted.src_addr, False))
    content = run.memory.read(wanted.src_addr, effect.done(wanted.xfer_size))
    pattern = repeated(wanted.pattern.to_bytes(8, "little"), len(content))
    return compared(run, effect, content, pattern, wanted.expected_result)


def compared(run: Run, effect: Effect, first: bytes, second: bytes, expected: int) -> Effect:
    """A difference ends it, whatever came behind."""
    difference = first_difference(first, second)
    if difference is not None:
        effect = Effect(result=1, bytes_completed=difference)
    return check_result(run, effect, effect.result == expected & 1)


def first_difference(first: bytes, second: bytes) -> int | None:
    """Offset of the first byte that differs."""
    return next((at for at, (one, other) in enumerate(zip(first, second, strict=True)) if one != other), None)
