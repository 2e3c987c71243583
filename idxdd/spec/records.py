"""Every structure in memory: descriptors, completion records, event-log entries. Offsets in bytes, little-endian.

`Descriptor` and `CompletionRecord` are what all operations share; the classes below them are views that give the operand
fields the names one operation uses. SWERR, WQCFG, GRPCFG and MSIXPERM are in `registers`.
"""

from typing import Any

from idxdd.spec.codes import STATUS_CODE_MASK, STATUS_WRITE_FAULT, CompletionStatus, Flag, Opcode, Operand
from idxdd.spec.layout import Record, bit, bits, data, reserved, u8, u16, u32, u64

STATUS_CODES = frozenset(int(status) for status in CompletionStatus)


# ---- descriptors -----------------------------------------------------------------------------------------------------------
class Descriptor(Record, size=64):
    """A descriptor as it is written to a portal. Bytes 0-3 count only on shared WQs: elsewhere WQCFG or the batch decides."""

    pasid = bits(19, 0)
    _rsvd_pasid = bits(30, 20)
    priv = bit(31)
    flags = bits(23, 0, "Flag | OpFlag", at=4)
    opcode = bits(7, 0, Opcode, at=7)
    completion_addr = u64(8, "32-byte aligned")
    operand1 = u64(16)
    operand2 = u64(24)
    xfer_size = u32(32, "bytes, or a count")
    int_handle = u16(36, "0 without RCI")
    _rsvd38 = reserved(38, 2)
    op_specific = data(40, 24)

    @property
    def flag_names(self) -> str:
        """The common flags by name, the operation's own as bit numbers."""
        common = [flag.name or "" for flag in Flag if flag & self.flags]
        return "|".join(common + [f"bit{number}" for number in (6, *range(15, 24)) if self.flags >> number & 1])


class BatchDescriptor(Descriptor):
    """Batch."""

    desc_list_addr = u64(16, "64-byte aligned")
    desc_count = u32(32)


class DrainDescriptor(Descriptor):
    """Drain; the addresses count with their readback-valid flags."""

    readback_addr1 = u64(16)
    readback_addr2 = u64(24)


class MemmoveDescriptor(Descriptor):
    """Memory Move."""

    src_addr = u64(16)
    dst_addr = u64(24)


class FillDescriptor(Descriptor):
    """Fill."""

    pattern_lower = u64(16)
    dst_addr = u64(24)
    pattern_upper = u64(40, "16-byte pattern only")


class CompareDescriptor(Descriptor):
    """Compare."""

    src1_addr = u64(16)
    src2_addr = u64(24)
    expected_result = u8(40, "bit 0 counts")


class ComparePatternDescriptor(Descriptor):
    """Compare Pattern."""

    src_addr = u64(16)
    pattern = u64(24)
    expected_result = u8(40, "bit 0 counts")


class CreateDeltaDescriptor(Descriptor):
    """Create Delta Record."""

    src1_addr = u64(16)
    src2_addr = u64(24)
    delta_addr = u64(40)
    max_delta_size = u32(48)
    expected_result_mask = u8(56, "bit n = result n is expected")


class ApplyDeltaDescriptor(Descriptor):
    """Apply Delta Record."""

    delta_addr = u64(16)
    dst_addr = u64(24)
    delta_rec_size = u32(40)


class DualcastDescriptor(Descriptor):
    """Dualcast."""

    src_addr = u64(16)
    dst1_addr = u64(24)
    dst2_addr = u64(40, "bits 11:0 as dst1_addr")


class TranslationFetchDescriptor(Descriptor):
    """Translation Fetch."""

    addr = u64(16)
    region_size = u32(32)
    region_stride = u32(48)


class CrcDescriptor(Descriptor):
    """CRC Generation and Copy with CRC (dst_addr)."""

    src_addr = u64(16)
    dst_addr = u64(24)
    crc_seed = u64(40, "low 32 bits without CRC_SIZE64")
    seed_addr = u64(48, "with CRC_SEED_ADDR")


class DifDescriptor(Descriptor):
    """DIF Check, Insert, Strip, Update and DIX Generate; each uses the side it has."""

    src_addr = u64(16)
    dst_addr = u64(24)
    src_dif_flags = u8(40)
    dst_dif_flags = u8(41)
    dif_flags = u8(42)
    src_ref_tag_seed = u32(48)
    src_app_tag_mask = u16(52)
    src_app_tag_seed = u16(54)
    dst_ref_tag_seed = u32(56)
    dst_app_tag_mask = u16(60)
    dst_app_tag_seed = u16(62)


class ComputeDescriptor(Descriptor):
    """Type Conversion, Reduce, Reduce Dualcast (3.0); for Type Conversion operand 2 is the destination."""

    src1_addr = u64(16)
    src2_addr = u64(24)
    element_count = u32(32)
    dst1_addr = u64(40)
    dst2_addr = u64(48)
    input_type = bits(3, 0, at=56)
    output_type = bits(7, 4, at=56)
    compute_type = bits(3, 0, at=57)
    compute_flags = bits(15, 4, at=57)
    inter_domain_selector = u8(59)
    idpt_handle1 = u16(60)
    idpt_handle2 = u16(62)


class ScatterGatherDescriptor(Descriptor):
    """Gather Reduce, Gather Copy, Scatter Copy, Scatter Fill (3.0): the SGL is operand 1 of gathers, operand 2 of scatters."""

    element_count = u32(40)
    sgl_size = u16(44)
    base_addr = u64(48)
    input_type = bits(3, 0, at=56)
    output_type = bits(7, 4, at=56)
    compute_type = bits(3, 0, at=57)
    compute_flags = bits(15, 4, at=57)
    sgl_format = bits(7, 4, at=59)
    src_idpt_handle = u16(60)
    dst_idpt_handle = u16(62)


class CacheFlushDescriptor(Descriptor):
    """Cache Flush."""

    dst_addr = u64(24)


class UpdateWindowDescriptor(Descriptor):
    """Update Window."""

    window_base = u64(16)
    window_size = u64(24)
    window_flags = u8(61, "0 read, 1 write, 2 window enable, 3 offset mode")
    idpt_handle = u16(62)


class InterDomainDescriptor(Descriptor):
    """Inter-domain Copy, Fill, Compare, Compare Pattern: as the plain operation, plus handles."""

    pattern_upper = u64(40)
    idpt_handle1 = u16(60)
    idpt_handle2 = u16(62)


# ---- completion records ------------------------------------------------------------------------------------------------------
class CompletionRecord(Record, size=32):
    """Written back by the device; `status` last, with release: who sees it non-zero may read the rest."""

    status = u8(0, "5:0 CompletionStatus, 7 the faulting access was a write")
    result = u8(1, "by operation, or DIF status")
    fault_withheld = bit(0, "fault address masked or not available", at=2)
    fault_operand = bits(3, 1, Operand, at=2)
    _rsvd3 = reserved(3, 1)
    bytes_completed = u32(4, "batch: descriptors completed")
    fault_addr = u64(8)
    op_specific = data(16, 16)

    @property
    def code(self) -> CompletionStatus | int:
        """The status without the write bit, by name where it has one."""
        code = self.status & STATUS_CODE_MASK
        return CompletionStatus(code) if code in STATUS_CODES else code

    @property
    def write_fault(self) -> bool:
        """The faulting access was a write."""
        return bool(self.status & STATUS_WRITE_FAULT)


class InvalidFlagsRecord(CompletionRecord):
    """Status 0x11."""

    invalid_flags = bits(23, 0, at=16)


class DeltaRecord(CompletionRecord):
    """Create Delta Record."""

    delta_rec_size = u32(16, "bytes")


class CrcRecord(CompletionRecord):
    """CRC Generation, Copy with CRC."""

    crc_value = u64(16, "32 bits without CRC_SIZE64")


class DifRecord(CompletionRecord):
    """DIF Check, Insert, Strip, Update, DIX Generate: what the next block would use."""

    src_ref_tag = u32(16)
    src_app_tag_mask = u16(20)
    src_app_tag = u16(22)
    dst_ref_tag = u32(24)
    dst_app_tag_mask = u16(28)
    dst_app_tag = u16(30)


class ScatterGatherRecord(CompletionRecord):
    """Scatter and gather operations, inter-domain faults."""

    idpt_handle = u16(16)
    sgl_completed = u16(20, "SGL entries")


# ---- event log ---------------------------------------------------------------------------------------------------------------
class EventLogEntry(Record, size=64):
    """One entry of the event log (5.9.1)."""

    _rsvd0 = bits(1, 0)
    desc_valid = bit(2)
    wq_idx_valid = bit(3)
    batch = bit(4, "concerns a batch member")
    fault_rw = bit(5, "1 = write (0x03, 0x04, 0x06, 0x1A, 0x1F)")
    priv = bit(6)
    err_info_valid = bit(7, "0x11 has valid information even with 0")
    error = bits(15, 8, "CompletionStatus")
    wq_idx = bits(23, 16)
    batch_id = bits(31, 24)
    operation = bits(39, 32, "opcode")
    pasid = bits(59, 40)
    batch_idx = u16(8, "position in the batch")
    _rsvd10 = reserved(10, 2)
    error_info = u32(12, "as in the views below")
    fault_addr = u64(16, "0x1A, 0x26, 0x27: completion record address")
    _rsvd24 = reserved(24, 8)
    completion_record = data(32, 32, "0x19, 0x1A, 0x26, 0x27 with rcr = 1")


class RecordFaultEntry(EventLogEntry):
    """Error information of 0x19, 0x1A, 0x26, 0x27."""

    int_handle = u16(12)
    rci = bit(16, at=12)
    ims_portal = bit(17, at=12)
    rcr = bit(18, at=12)
    first_err_in_batch = bit(19, at=12)
    operand = bits(31, 29, Operand, at=12)


class PageFaultEntry(EventLogEntry):
    """Error information of 0x03, 0x04, 0x06, 0x1F."""

    idpt_handle = u16(12)
    operand = bits(31, 29, Operand, at=12)


class DeltaEntry(Record, size=10):
    """One difference of a delta record."""

    group = u16(0, "offset in units of 8 bytes")
    replacement = data(2, 8)


VIEWS: dict[Opcode, type[Descriptor]] = {
    Opcode.NOOP: Descriptor,
    Opcode.BATCH: BatchDescriptor,
    Opcode.DRAIN: DrainDescriptor,
    Opcode.MEMMOVE: MemmoveDescriptor,
    Opcode.MEMFILL: FillDescriptor,
    Opcode.COMPARE: CompareDescriptor,
    Opcode.COMPVAL: ComparePatternDescriptor,
    Opcode.CR_DELTA: CreateDeltaDescriptor,
    Opcode.AP_DELTA: ApplyDeltaDescriptor,
    Opcode.DUALCAST: DualcastDescriptor,
    Opcode.TRANSL_FETCH: TranslationFetchDescriptor,
    Opcode.CRCGEN: CrcDescriptor,
    Opcode.COPY_CRC: CrcDescriptor,
    Opcode.DIF_CHECK: DifDescriptor,
    Opcode.DIF_INS: DifDescriptor,
    Opcode.DIF_STRP: DifDescriptor,
    Opcode.DIF_UPDT: DifDescriptor,
    Opcode.DIX_GEN: DifDescriptor,
    Opcode.TYPE_CONVERT: ComputeDescriptor,
    Opcode.REDUCE: ComputeDescriptor,
    Opcode.REDUCE_DUALCAST: ComputeDescriptor,
    Opcode.GATHER_REDUCE: ScatterGatherDescriptor,
    Opcode.GATHER_COPY: ScatterGatherDescriptor,
    Opcode.SCATTER_COPY: ScatterGatherDescriptor,
    Opcode.SCATTER_FILL: ScatterGatherDescriptor,
    Opcode.CFLUSH: CacheFlushDescriptor,
    Opcode.UPDATE_WINDOW: UpdateWindowDescriptor,
    Opcode.INTER_DOMAIN_COPY: InterDomainDescriptor,
    Opcode.INTER_DOMAIN_FILL: InterDomainDescriptor,
    Opcode.INTER_DOMAIN_COMPARE: InterDomainDescriptor,
    Opcode.INTER_DOMAIN_COMPVAL: InterDomainDescriptor,
}
"""The view that names the operands of each operation."""

RECORDS: tuple[type[Record], ...] = (
    Descriptor, *dict.fromkeys(view for view in VIEWS.values() if view is not Descriptor),
    CompletionRecord, InvalidFlagsRecord, DeltaRecord, CrcRecord, DifRecord, ScatterGatherRecord,
    EventLogEntry, RecordFaultEntry, PageFaultEntry, DeltaEntry,
)  # fmt: skip
"""Everything this module declares, in the order of the docs."""


def view(descriptor: bytes | bytearray | memoryview) -> Descriptor:
    """The descriptor under the names its operation uses; an unknown opcode gives the plain one."""
    plain = Descriptor.unpack(descriptor)
    kind: type[Any] = VIEWS.get(plain.opcode, Descriptor)
    return kind(plain.raw)  # type: ignore[no-any-return]
