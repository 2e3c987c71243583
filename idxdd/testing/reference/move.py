"""Operations that move or set bytes: Memory Move, Fill, Dualcast; and those that touch none: Cache Flush, Translation Fetch."""

from __future__ import annotations

from idxdd.spec import limits as spec
from idxdd.spec import records
from idxdd.spec.codes import CompletionStatus, Operand, OpFlag
from idxdd.testing.reference.memory import ADDRESSES, PAGE_BYTES
from idxdd.testing.reference.run import Effect, Run, advance, check_overlap, fault, refuse


def memory_move(run: Run) -> Effect:
    """As if the source were buffered first: backwards when the destination begins inside the source."""
    wanted = records.MemmoveDescriptor.unpack(run.desc)
    source, destination, size = wanted.src_addr, wanted.dst_addr, wanted.xfer_size
    down = source <= destination < source + size
    effect = advance(run, size, (Operand.SOURCE1, source, False), (Operand.DESTINATION1, destination, True), down=down)
    done = effect.done(size)
    skipped = size - done if down else 0
    run.memory.write(destination + skipped, run.memory.read(source + skipped, done))
    effect.result = int(down and not effect.succeeded)
    return effect


def check_move(run: Run) -> None:
    """Overlap is a capability."""
    if not run.limits.gencap.overlap_copy:
        check_source_and_destination(run)


def check_source_and_destination(run: Run) -> None:
    """The transfer size of both."""
    size = run.plain.xfer_size
    check_overlap(run.plain.operand1, size, run.plain.operand2, size, "source and destination")


def fill(run: Run) -> Effect:
    """The pattern over and over, from its first byte."""
    wanted = records.FillDescriptor.unpack(run.desc)
    pattern = wanted.pattern_lower.to_bytes(8, "little")
    if run.has(OpFlag.FILL_PATTERN16):
        pattern += wanted.pattern_upper.to_bytes(8, "little")
    effect = advance(run, wanted.xfer_size, (Operand.DESTINATION1, wanted.dst_addr, True))
    run.memory.write(wanted.dst_addr, repeated(pattern, effect.done(wanted.xfer_size)))
    return effect


def repeated(pattern: bytes, size: int) -> bytes:
    """`size` bytes of the pattern over and over, the last one cut."""
    return (pattern * (size // len(pattern) + 1))[:size]


def dualcast(run: Run) -> Effect:
    """One source, two destinations, the same bytes of both."""
    wanted = records.DualcastDescriptor.unpack(run.desc)
    size = wanted.xfer_size
    effect = advance(
        run, size, (Operand.SOURCE1, wanted.src_addr, False), (Operand.DESTINATION1, wanted.dst1_addr, True),
        (Operand.DESTINATION2, wanted.dst2_addr, True),
    )  # fmt: skip
    content = run.memory.read(wanted.src_addr, effect.done(size))
    run.memory.write(wanted.dst1_addr, content)
    run.memory.write(wanted.dst2_addr, content)
    return effect


def check_dualcast(run: Run) -> None:
    """The destinations lie alike in their pages, and nothing overlaps."""
    wanted = records.DualcastDescriptor.unpack(run.desc)
    source, first, second, size = wanted.src_addr, wanted.dst1_addr, wanted.dst2_addr, wanted.xfer_size
    if (first ^ second) % PAGE_BYTES:
        refuse(CompletionStatus.DCAST_ERR, "the destinations differ in bits 11:0")
    check_overlap(source, size, first, size, "source and destination 1")
    check_overlap(source, size, second, size, "source and destination 2")
    check_overlap(first, size, second, size, "the destinations")


def cache_flush(run: Run) -> Effect:
    """No content changes; the lines must be reachable, as for a read."""
    wanted = records.CacheFlushDescriptor.unpack(run.desc)
    return advance(run, wanted.xfer_size, (Operand.DESTINATION1, wanted.dst_addr, False))


def translation_fetch(run: Run) -> Effect:
    """One translation request every stride, for the page the address lies in; how far a fault let it come is not told."""
    wanted = records.TranslationFetchDescriptor.unpack(run.desc)
    stride = wanted.region_stride if run.has(OpFlag.TRANSL_FETCH_STRIDE) else PAGE_BYTES
    for address in range(wanted.addr, wanted.addr + wanted.region_size, stride):
        if not run.memory.allows(address, False):
            return fault(run, Operand.SOURCE1, address - address % PAGE_BYTES, False, 0)
    return Effect()


def check_translation_fetch(run: Run) -> None:
    """A region inside the address space; a stride of whole pages, a power of two."""
    wanted = records.TranslationFetchDescriptor.unpack(run.desc)
    size, stride = wanted.region_size, wanted.region_stride
    if not 0 < size <= ADDRESSES - wanted.addr:
        refuse(CompletionStatus.XFER_ERANGE, f"region size {size} is 0 or passes the end of the address space")
    least = spec.TRANSLATION_FETCH_STRIDE_BYTES_MIN
    if run.has(OpFlag.TRANSL_FETCH_STRIDE) and (stride < least or stride & stride - 1):
        refuse(CompletionStatus.ADDR_ALIGN, f"stride {stride} is not a power of two from {least}")
