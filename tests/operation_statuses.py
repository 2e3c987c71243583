"""Every operation with every status it can end with: one descriptor for each cell of docs/operation-coverage.md.

A case is a valid descriptor of its operation with one thing changed: fields, flags, the WQ it runs on, or what is there.
`applicable` says which cells there must be; what the limits (operation_limits.py) show already has no case here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine_bench import GENCAP, OPCAP
from operation_limits import COMPLETION, LIMITS, A, B, C
from operation_rules import rules

from idxdd.spec import registers
from idxdd.spec.codes import CompletionStatus, Flag, Opcode, OpFlag
from idxdd.spec.records import VIEWS

S, Op = CompletionStatus, Opcode
NOWHERE = 0x7000_0000
OPCODES = OPCAP | 1 << 0x21 | 0xF << 0x23
SOURCE, DESTINATION = int(OpFlag.SRC_ALTERNATE_PASID), int(OpFlag.DST_ALTERNATE_PASID)
UNCHECKED = {"src_dif_flags": 0x60, "src_app_tag_mask": 0xFFFF}
HANDLE, READ_ONLY, NARROW, ORPHAN, UPDATABLE, UNUSED = 0, 1, 2, 3, 4, 5
"""IDPT entries of the rig: all of the other domain, the same for reading, 64 bytes of it, nobody's, one that this PASID may
update, none."""

WRONG_MEMBER = struct.pack("<IIQ48x", 0, 0x0B << 24 | int(Flag.CRAV | Flag.RCR), COMPLETION + 64)
"""No operation; it has a record, so that nothing is reported."""

BASES: dict[Opcode, dict[str, int]] = {
    Op.NOOP: {},
    Op.BATCH: {"desc_list_addr": A, "desc_count": 2},
    Op.DRAIN: {},
    Op.MEMMOVE: {"src_addr": A, "dst_addr": B, "xfer_size": 512},
    Op.MEMFILL: {"dst_addr": B, "xfer_size": 512},
    Op.COMPARE: {"src1_addr": A, "src2_addr": B, "xfer_size": 512},
    Op.COMPVAL: {"src_addr": A, "xfer_size": 512},
    Op.CR_DELTA: {"src1_addr": A, "src2_addr": B, "xfer_size": 4096, "delta_addr": C, "max_delta_size": 8000},
    Op.AP_DELTA: {"delta_addr": A, "dst_addr": B, "xfer_size": 4096, "delta_rec_size": 10},
    Op.DUALCAST: {"src_addr": A, "dst1_addr": B, "dst2_addr": C, "xfer_size": 4096},
    Op.TRANSL_FETCH: {"addr": A, "region_size": 8192},
    Op.CRCGEN: {"src_addr": A, "xfer_size": 512},
    Op.COPY_CRC: {"src_addr": A, "dst_addr": B, "xfer_size": 512},
    Op.DIF_CHECK: {"src_addr": A, "xfer_size": 1040} | UNCHECKED,
    Op.DIF_INS: {"src_addr": A, "dst_addr": B, "xfer_size": 1024},
    Op.DIF_STRP: {"src_addr": A, "dst_addr": B, "xfer_size": 1040} | UNCHECKED,
    Op.DIF_UPDT: {"src_addr": A, "dst_addr": B, "xfer_size": 1040} | UNCHECKED,
    Op.DIX_GEN: {"src_addr": A, "dst_addr": B, "xfer_size": 1024},
    Op.CFLUSH: {"dst_addr": A, "xfer_size": 512},
    Op.UPDATE_WINDOW: {"window_base": A, "window_size": 4096, "window_flags": 7, "idpt_handle": UPDATABLE},
    Op.INTER_DOMAIN_COPY: {"operand1": A, "operand2": B, "xfer_size": 512, "idpt_handle2": HANDLE},
    Op.INTER_DOMAIN_FILL: {"operand2": B, "xfer_size": 512, "idpt_handle2": HANDLE},
    Op.INTER_DOMAIN_COMPARE: {"operand1": A, "operand2": B, "xfer_size": 512, "idpt_handle1": HANDLE},
    Op.INTER_DOMAIN_COMPVAL: {"operand1": A, "xfer_size": 512, "idpt_handle1": HANDLE},
}
FLAGS: dict[Opcode, int] = {
    Op.INTER_DOMAIN_COPY: DESTINATION,
    Op.INTER_DOMAIN_FILL: DESTINATION,
    Op.INTER_DOMAIN_COMPARE: SOURCE,
    Op.INTER_DOMAIN_COMPVAL: SOURCE,
}
READS: dict[Opcode, str] = {
    Op.MEMMOVE: "src_addr",
    Op.COMPARE: "src2_addr", Op.COMPVAL: "src_addr", Op.CR_DELTA: "src1_addr", Op.AP_DELTA: "delta_addr",
    Op.DUALCAST: "src_addr", Op.TRANSL_FETCH: "addr", Op.CRCGEN: "src_addr", Op.COPY_CRC: "src_addr", Op.DIF_CHECK: "src_addr",
    Op.DIF_INS: "src_addr", Op.DIF_STRP: "src_addr", Op.DIF_UPDT: "src_addr", Op.DIX_GEN: "src_addr", Op.CFLUSH: "dst_addr",
    Op.INTER_DOMAIN_COPY: "operand1", Op.INTER_DOMAIN_COMPARE: "operand1", Op.INTER_DOMAIN_COMPVAL: "operand1",
}  # fmt: skip
WRITES: dict[Opcode, str] = {
    Op.MEMMOVE: "dst_addr",
    Op.MEMFILL: "dst_addr", Op.CR_DELTA: "delta_addr", Op.AP_DELTA: "dst_addr", Op.DUALCAST: "dst2_addr",
    Op.COPY_CRC: "dst_addr", Op.DIF_INS: "dst_addr", Op.DIF_STRP: "dst_addr", Op.DIF_UPDT: "dst_addr", Op.DIX_GEN: "dst_addr",
    Op.INTER_DOMAIN_COPY: "operand2", Op.INTER_DOMAIN_FILL: "operand2",
}  # fmt: skip
"""An operand that is read or written, by its field."""
SELECTORS = {row.opcode: [1 << int(flag) for flag in row.flags if flag in ("9", "10", "11")] for row in rules()}
REPORTED = {S.CRA_XLAT, S.CRA_ALIGN, S.PRIV_BAD}
"""Told to SWERR or the event log, never by a record."""
WITHOUT_OVERLAP = registers.GENCAP(GENCAP).replace(overlap_copy=False).raw


@dataclass(frozen=True)
class Case:
    """One cell."""

    opcode: Opcode
    status: CompletionStatus
    fields: dict[str, int] = field(default_factory=dict)
    flags: int = 0
    wq: dict[str, Any] = field(default_factory=dict)
    ats: bool = True
    priv: bool = False
    content: dict[int, bytes] = field(default_factory=dict)
    byte38: int = 0

    @property
    def id(self) -> str:
        """Operation and status."""
        return f"{self.opcode.name}-{self.status.name}"

    def descriptor(self) -> bytes:
        """Valid but for what was changed."""
        fields = {"completion_addr": COMPLETION} | BASES[self.opcode] | self.fields
        flags = int(Flag.CRAV | Flag.RCR) | FLAGS.get(self.opcode, 0) | self.flags
        desc = bytearray(VIEWS[self.opcode].encode(opcode=self.opcode, flags=flags, **fields).pack())
        desc[38] = self.byte38
        return bytes(desc)


def _every(opcode: Opcode) -> Iterator[Case]:
    yield Case(opcode, S.SUCCESS)
    yield Case(opcode, S.BAD_OPCODE, wq={"opcfg": [OPCODES & ~(1 << opcode), 0, 0, 0]})
    yield Case(opcode, S.INVALID_FLAGS, flags=1 << 6)
    yield Case(opcode, S.NOZERO_RESERVE, byte38=1)
    yield Case(opcode, S.INT_HANDLE_INVAL, {"int_handle": 77}, int(Flag.RCI))
    yield Case(opcode, S.CRA_XLAT, {"completion_addr": NOWHERE})
    yield Case(opcode, S.CRA_ALIGN, {"completion_addr": COMPLETION + 16})
    yield Case(opcode, S.PRIV_BAD, wq={"dedicated": False, "threshold": 16, "privileged_mode": False}, priv=True)
    selector = next(iter(SELECTORS[opcode]), int(Flag.CR_TCS))
    if opcode is Op.DRAIN:
        selector = int(Flag.CR_TCS)
    yield Case(opcode, S.TRAFFIC_CLASS_CONF, flags=selector, wq={"tc_enabled": 1})


def _memory(opcode: Opcode) -> Iterator[Case]:
    where = READS.get(opcode) or WRITES[opcode]
    yield Case(opcode, S.PAGE_FAULT_NOBOF, {where: NOWHERE})
    yield Case(opcode, S.PAGE_FAULT_IR, {where: NOWHERE}, int(Flag.BOF))
    if "xfer_size" in BASES[opcode]:
        yield Case(opcode, S.XFER_ERANGE, {"xfer_size": 0})
    if opcode in READS and opcode is not Op.TRANSL_FETCH:
        yield Case(opcode, S.HW_ERR1, {READS[opcode]: NOWHERE}, ats=False)
    if opcode in WRITES:
        differs = {A: b"\1"} if opcode is Op.CR_DELTA else {}
        yield Case(opcode, S.HW_ERR_DRB, {WRITES[opcode]: NOWHERE}, ats=False, content=differs)


def _inter_domain(opcode: Opcode) -> Iterator[Case]:
    handle = "idpt_handle2" if FLAGS[opcode] == DESTINATION else "idpt_handle1"
    yield Case(opcode, S.NO_PASID, wq={"pasid_en": False})
    yield Case(opcode, S.IDPT_HANDLE_INVAL, {handle: UNUSED})
    yield Case(opcode, S.WINDOW_ERANGE, {handle: NARROW})
    yield Case(opcode, S.DOMAIN_GONE, {handle: ORPHAN})
    if FLAGS[opcode] == DESTINATION:
        yield Case(opcode, S.IDPT_PERMISSION, {handle: READ_ONLY})
    else:
        yield Case(opcode, S.IDPT_PERMISSION, {handle: UPDATABLE})


OWN = [
    Case(Op.BATCH, S.BATCH_FAIL, content={A: WRONG_MEMBER}),
    Case(Op.BATCH, S.BATCH_PAGE_FAULT, {"desc_list_addr": NOWHERE}),
    Case(Op.BATCH, S.DESC_CNT_ERANGE, {"desc_count": 1}),
    Case(Op.BATCH, S.DESCLIST_ALIGN, {"desc_list_addr": A + 32}),
    Case(Op.BATCH, S.HW_ERR1, {"desc_list_addr": NOWHERE}, ats=False),
    Case(Op.DRAIN, S.PFAULT_RDBA, {"readback_addr1": NOWHERE}, int(OpFlag.DRAIN_READBACK1_VALID)),
    Case(Op.DRAIN, S.HW_ERR_DRB, {"readback_addr1": NOWHERE}, int(OpFlag.DRAIN_READBACK1_VALID), ats=False),
    Case(Op.MEMMOVE, S.OVERLAP_BUFFERS, {"dst_addr": A + 1}, wq={"gencap": WITHOUT_OVERLAP}),
    Case(Op.COMPARE, S.SUCCESS_PRED, {"expected_result": 1}, int(Flag.CR)),
    Case(Op.COMPVAL, S.SUCCESS_PRED, {"expected_result": 1}, int(Flag.CR)),
    Case(Op.CR_DELTA, S.SUCCESS_PRED, {"expected_result_mask": 2}, int(Flag.CR)),
    Case(Op.AP_DELTA, S.DR_OFFSET_NOINC, {"delta_rec_size": 20}),
    Case(Op.AP_DELTA, S.DR_OFFSET_ERANGE, content={A: b"\xff\xff"}),
    Case(Op.DIF_CHECK, S.DIF_ERR, {"src_dif_flags": 0}),
    Case(Op.DIF_STRP, S.DIF_ERR, {"src_dif_flags": 0}),
    Case(Op.DIF_UPDT, S.DIF_ERR, {"src_dif_flags": 0}),
    Case(Op.COPY_CRC, S.ADDR_ALIGN, {"seed_addr": C + 2}, int(OpFlag.CRC_SEED_ADDR)),
    Case(Op.UPDATE_WINDOW, S.NO_PASID, wq={"pasid_en": False}),
    Case(Op.UPDATE_WINDOW, S.WINDOW_UPDATE_REFUSED, {"idpt_handle": HANDLE}),
    Case(Op.UPDATE_WINDOW, S.WINDOW_FIELDS, {"window_size": 0}),
    Case(Op.INTER_DOMAIN_COMPARE, S.SUCCESS_PRED, {"pattern_upper": 1}, int(Flag.CR)),  # byte 40: the result that is expected
    Case(Op.INTER_DOMAIN_COMPVAL, S.SUCCESS_PRED, {"pattern_upper": 1}, int(Flag.CR)),
]
NO_MEMORY = {Op.NOOP, Op.BATCH, Op.DRAIN, Op.UPDATE_WINDOW}
LIMITED = {(limit.opcode, limit.status): limit.id for limit in LIMITS}


def _cases() -> Iterator[Case]:
    for opcode in BASES:
        yield from _every(opcode)
        if opcode not in NO_MEMORY:
            yield from _memory(opcode)
        if opcode in FLAGS:
            yield from _inter_domain(opcode)
    yield from OWN


CASES = list(_cases())

EXTRA: dict[Opcode, set[CompletionStatus]] = {
    Op.BATCH: {S.BATCH_FAIL, S.BATCH_PAGE_FAULT, S.DESC_CNT_ERANGE, S.DESCLIST_ALIGN, S.HW_ERR1},
    Op.DRAIN: {S.PFAULT_RDBA, S.HW_ERR_DRB},
    Op.MEMMOVE: {S.OVERLAP_BUFFERS},
    Op.COMPARE: {S.SUCCESS_PRED},
    Op.COMPVAL: {S.SUCCESS_PRED},
    Op.CR_DELTA: {S.SUCCESS_PRED, S.DR_ERANGE, S.OVERLAP_BUFFERS, S.ADDR_ALIGN},
    Op.AP_DELTA: {S.DR_OFFSET_NOINC, S.DR_OFFSET_ERANGE, S.DR_ERANGE, S.OVERLAP_BUFFERS, S.ADDR_ALIGN},
    Op.DUALCAST: {S.OVERLAP_BUFFERS, S.DCAST_ERR},
    Op.TRANSL_FETCH: {S.ADDR_ALIGN, S.XFER_ERANGE},
    Op.CRCGEN: {S.ADDR_ALIGN},
    Op.COPY_CRC: {S.OVERLAP_BUFFERS, S.ADDR_ALIGN},
    Op.DIF_CHECK: {S.DIF_ERR},
    Op.DIF_INS: {S.OVERLAP_BUFFERS},
    Op.DIF_STRP: {S.OVERLAP_BUFFERS, S.DIF_ERR},
    Op.DIF_UPDT: {S.OVERLAP_BUFFERS, S.DIF_ERR},
    Op.DIX_GEN: {S.OVERLAP_BUFFERS, S.ADDR_ALIGN},
    Op.UPDATE_WINDOW: {S.NO_PASID, S.WINDOW_UPDATE_REFUSED, S.WINDOW_FIELDS},
    Op.INTER_DOMAIN_COMPARE: {S.SUCCESS_PRED},
    Op.INTER_DOMAIN_COMPVAL: {S.SUCCESS_PRED},
}
"""What an operation can end with besides what all do, and all that have memory do (operations.md 2, 4 and 8)."""


def applicable(opcode: Opcode) -> set[CompletionStatus]:
    """The cells of a row that must not be empty."""
    found = {S.SUCCESS, S.BAD_OPCODE, S.INVALID_FLAGS, S.NOZERO_RESERVE, S.INT_HANDLE_INVAL, S.TRAFFIC_CLASS_CONF, *REPORTED}
    if opcode not in NO_MEMORY:
        found |= {S.XFER_ERANGE, S.PAGE_FAULT_NOBOF, S.PAGE_FAULT_IR}
    if opcode in READS and opcode is not Op.TRANSL_FETCH:
        found.add(S.HW_ERR1)
    if opcode in WRITES:
        found.add(S.HW_ERR_DRB)
    if opcode in FLAGS:
        found |= {S.NO_PASID, S.IDPT_HANDLE_INVAL, S.IDPT_PERMISSION, S.WINDOW_ERANGE, S.DOMAIN_GONE}
    return found | EXTRA.get(opcode, set())
