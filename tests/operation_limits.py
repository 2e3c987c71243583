"""Descriptors just inside and just outside each operation's own rules (5.5): sizes, alignment, overlap, delta sizes.

Each breaks one rule, or none; written from the architecture by hand. Regions do not touch and are mapped for two pages each.
"""

from typing import NamedTuple

from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.spec.records import VIEWS

A, B, C, D, COMPLETION = 0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000, 0x50_0000
REGIONS = (A, B, C, D, COMPLETION)
REGION_BYTES = 8192
MAX_XFER_SHIFT = 20
MORE = (1 << MAX_XFER_SHIFT) + 1
OK, SIZE, UNSUPPORTED, OVERLAP, ALIGN, PAGES, FAULT = (
    CompletionStatus.SUCCESS, CompletionStatus.XFER_ERANGE, CompletionStatus.DR_ERANGE, CompletionStatus.OVERLAP_BUFFERS,
    CompletionStatus.ADDR_ALIGN, CompletionStatus.DCAST_ERR, CompletionStatus.PAGE_FAULT_NOBOF,
)  # fmt: skip


class Limit(NamedTuple):
    """One descriptor and how it ends."""

    opcode: Opcode
    fields: dict[str, int]
    status: CompletionStatus
    flags: int = 0

    @property
    def id(self) -> str:
        """Operation, status and fields."""
        fields = "-".join(f"{name}={value:x}" for name, value in self.fields.items())
        return f"{self.opcode.name}-{self.status.name}-{fields}"

    def descriptor(self) -> bytes:
        """With a record."""
        flags = int(Flag.CRAV | Flag.RCR) | self.flags
        desc = VIEWS[self.opcode].encode(opcode=self.opcode, flags=flags, completion_addr=COMPLETION, **self.fields)
        return desc.pack()


def _delta(status: CompletionStatus, **changed: int) -> Limit:
    fields = {"src1_addr": A, "src2_addr": B, "xfer_size": 4096, "delta_addr": C, "max_delta_size": 8000}
    return Limit(Opcode.CR_DELTA, fields | changed, status)


def _apply(status: CompletionStatus, **changed: int) -> Limit:
    return Limit(Opcode.AP_DELTA, {"delta_addr": A, "dst_addr": B, "xfer_size": 4096, "delta_rec_size": 10} | changed, status)


def _dualcast(status: CompletionStatus, **changed: int) -> Limit:
    return Limit(Opcode.DUALCAST, {"src_addr": A, "dst1_addr": B, "dst2_addr": C, "xfer_size": 4096} | changed, status)


def _dif(opcode: Opcode, status: CompletionStatus, **changed: int) -> Limit:
    unchecked = {"src_dif_flags": 0x60, "src_app_tag_mask": 0xFFFF} if opcode in (0x12, 0x14, 0x15) else {}
    fields = {"src_addr": A, "xfer_size": 520 * 4 if unchecked else 2048} | unchecked
    return Limit(opcode, fields | ({} if opcode == Opcode.DIF_CHECK else {"dst_addr": B}) | changed, status)


def _fetch(status: CompletionStatus, flags: int = 0, **changed: int) -> Limit:
    return Limit(Opcode.TRANSL_FETCH, {"addr": A, "region_size": 8192} | changed, status, flags)


STRIDE = int(OpFlag.TRANSL_FETCH_STRIDE)
SEED, SEED64 = int(OpFlag.CRC_SEED_ADDR), int(OpFlag.CRC_SEED_ADDR | OpFlag.CRC_SIZE64)
CHECK, INSERT, STRIP, UPDATE, DIX = Opcode.DIF_CHECK, Opcode.DIF_INS, Opcode.DIF_STRP, Opcode.DIF_UPDT, Opcode.DIX_GEN

LIMITS = [
    _delta(OK), _delta(OK, delta_addr=C + 1), _delta(OK, src2_addr=A), _delta(OK, max_delta_size=80),
    _delta(OK, max_delta_size=85), _delta(OK, delta_addr=A + 4096, max_delta_size=4096), _delta(OK, max_delta_size=MORE - 1),
    _delta(SIZE, xfer_size=0), _delta(SIZE, xfer_size=0x80008), _delta(FAULT, xfer_size=0x80000),
    _delta(UNSUPPORTED, max_delta_size=79), _delta(UNSUPPORTED, max_delta_size=MORE), _delta(UNSUPPORTED, max_delta_size=0),
    _delta(ALIGN, src1_addr=A + 1), _delta(ALIGN, src2_addr=B + 4), _delta(ALIGN, xfer_size=4095),
    _delta(OVERLAP, delta_addr=A + 4095), _delta(OVERLAP, delta_addr=B - 79, max_delta_size=80),
    _delta(OVERLAP, delta_addr=A - 7999),
    _apply(OK), _apply(OK, delta_addr=A + 1), _apply(OK, delta_addr=B + 4096),
    _apply(OK, delta_addr=B + 4086, dst_addr=B + 4096),
    _apply(SIZE, xfer_size=0), _apply(SIZE, xfer_size=0x80008),
    _apply(UNSUPPORTED, delta_rec_size=0), _apply(UNSUPPORTED, delta_rec_size=9), _apply(UNSUPPORTED, delta_rec_size=11),
    _apply(UNSUPPORTED, delta_rec_size=(MORE // 10 + 1) * 10),
    _apply(ALIGN, dst_addr=B + 4), _apply(ALIGN, xfer_size=4094),
    _apply(OVERLAP, delta_addr=B + 4095), _apply(OVERLAP, delta_addr=B - 9),
    _dualcast(OK), _dualcast(OK, dst1_addr=B + 5, dst2_addr=C + 5), _dualcast(OK, src_addr=B + 4096),
    _dualcast(OK, dst2_addr=B + 4096), _dualcast(SIZE, xfer_size=0), _dualcast(SIZE, xfer_size=MORE),
    _dualcast(PAGES, dst1_addr=B + 1), _dualcast(PAGES, dst2_addr=C + 2048),
    _dualcast(OVERLAP, src_addr=C + 4095), _dualcast(OVERLAP, src_addr=B - 1), _dualcast(OVERLAP, dst2_addr=B),
    _dualcast(OVERLAP, dst2_addr=B + 4096, xfer_size=4097),
    *(_dif(opcode, OK) for opcode in (CHECK, INSERT, STRIP, UPDATE, DIX)),
    *(_dif(opcode, SIZE, xfer_size=0) for opcode in (CHECK, INSERT, STRIP, UPDATE, DIX)),
    *(_dif(opcode, SIZE, xfer_size=512) for opcode in (CHECK, STRIP, UPDATE)),
    *(_dif(opcode, SIZE, xfer_size=520) for opcode in (INSERT, DIX)),
    *(_dif(opcode, OK, xfer_size=520, dif_flags=1) for opcode in (INSERT, DIX)),
    *(_dif(opcode, OK, xfer_size=528, dif_flags=1) for opcode in (CHECK, STRIP, UPDATE)),
    *(_dif(opcode, OK, xfer_size=4104, dif_flags=2) for opcode in (CHECK, STRIP, UPDATE)),
    *(_dif(opcode, OK, xfer_size=4112, dif_flags=3) for opcode in (CHECK, STRIP, UPDATE)),
    _dif(INSERT, OK, dst_addr=A + 2048), _dif(INSERT, OVERLAP, dst_addr=A + 2047),
    _dif(INSERT, OK, src_addr=B + 2080), _dif(INSERT, OVERLAP, src_addr=B + 2079),
    _dif(STRIP, OK, dst_addr=A + 2080), _dif(STRIP, OVERLAP, dst_addr=A + 2079),
    _dif(STRIP, OK, src_addr=B + 2048), _dif(STRIP, OVERLAP, src_addr=B + 2047),
    _dif(UPDATE, OK, dst_addr=A + 2080), _dif(UPDATE, OVERLAP, dst_addr=A + 2079), _dif(UPDATE, OVERLAP, dst_addr=A),
    _dif(DIX, OK, dst_addr=A + 2048), _dif(DIX, OVERLAP, dst_addr=A + 2040), _dif(DIX, OK, src_addr=B + 32),
    _dif(DIX, OVERLAP, src_addr=B + 31), _dif(DIX, ALIGN, dst_addr=B + 4), _dif(INSERT, OK, dst_addr=B + 1),
    _fetch(OK), _fetch(SIZE, region_size=0), _fetch(FAULT, region_size=8193), _fetch(OK, region_size=1),
    _fetch(SIZE, addr=(1 << 64) - 4096, region_size=4097), _fetch(FAULT, addr=(1 << 64) - 4096, region_size=4096),
    _fetch(FAULT, region_size=MORE), _fetch(OK, STRIDE, region_stride=4096), _fetch(OK, STRIDE, region_stride=1 << 31),
    _fetch(ALIGN, STRIDE, region_stride=0), _fetch(ALIGN, STRIDE, region_stride=2048),
    _fetch(ALIGN, STRIDE, region_stride=12288), _fetch(OK, STRIDE, region_size=1 << 31, region_stride=1 << 31),
    Limit(Opcode.CRCGEN, {"src_addr": A, "xfer_size": 1, "seed_addr": B + 4}, OK, SEED),
    Limit(Opcode.CRCGEN, {"src_addr": A, "xfer_size": 1, "seed_addr": B + 4}, ALIGN, SEED64),
    Limit(Opcode.CRCGEN, {"src_addr": A, "xfer_size": 1, "seed_addr": B + 8}, OK, SEED64),
    Limit(Opcode.COPY_CRC, {"src_addr": A, "dst_addr": A + 99, "xfer_size": 100}, OVERLAP),
    Limit(Opcode.COPY_CRC, {"src_addr": A, "dst_addr": A + 100, "xfer_size": 100}, OK),
    *(Limit(opcode, fields | {"xfer_size": size}, SIZE)
      for opcode, fields in ((Opcode.COMPVAL, {"src_addr": A}), (Opcode.CFLUSH, {"dst_addr": A})) for size in (0, MORE)),
    Limit(Opcode.CFLUSH, {"dst_addr": A + 1, "xfer_size": 8191}, OK),
    Limit(Opcode.CFLUSH, {"dst_addr": A, "xfer_size": 8193}, FAULT),
]  # fmt: skip
"""Every row; memory is zero, so that delta records are empty but the one of Apply Delta, which sets group 0."""
