"""What can happen to an operation: operands it reads and writes, statuses it can end with (operations.md 3, 4, 8)."""

from collections.abc import Mapping
from dataclasses import dataclass

from idxdd.spec.codes import CompletionStatus, Opcode, Operand

S = CompletionStatus
SOURCE1, SOURCE2, DESTINATION1, DESTINATION2 = Operand.SOURCE1, Operand.SOURCE2, Operand.DESTINATION1, Operand.DESTINATION2
RECORD = Operand.COMPLETION_RECORD

ALWAYS = frozenset(
    {S.SUCCESS, S.BAD_OPCODE, S.INVALID_FLAGS, S.NOZERO_RESERVE, S.INT_HANDLE_INVAL, S.CRA_XLAT, S.CRA_ALIGN, S.PRIV_BAD}
    | {S.TRAFFIC_CLASS_CONF}
)
"""Whatever the operation."""
UNRECORDED = frozenset({S.CRA_XLAT, S.CRA_ALIGN, S.PRIV_BAD})
"""Never in a record: event log or SWERR (operations.md 2)."""
PAGE_FAULTS = frozenset({S.PAGE_FAULT_NOBOF, S.PAGE_FAULT_IR, S.BATCH_PAGE_FAULT, S.PFAULT_RDBA})
"""With a partial result that only a fault can make exact."""
SIZED = frozenset({S.XFER_ERANGE})
MEMORY = frozenset({S.PAGE_FAULT_NOBOF, S.PAGE_FAULT_IR, S.HW_ERR1, S.TRANSLATION_FAIL})
STORES = frozenset({S.HW_ERR_DRB})
WINDOWS = frozenset({S.NO_PASID, S.IDPT_HANDLE_INVAL, S.IDPT_PERMISSION, S.WINDOW_ERANGE, S.DOMAIN_GONE})
OFFSETS: Mapping[Operand, int] = {SOURCE1: 16, SOURCE2: 24, DESTINATION1: 24, DESTINATION2: 40, RECORD: 8}


@dataclass(frozen=True)
class Operands:
    """One operation: operands by how they are accessed, and where their addresses lie in the descriptor."""

    reads: tuple[Operand, ...] = ()
    writes: tuple[Operand, ...] = ()
    statuses: frozenset[CompletionStatus] = frozenset()
    """Besides ALWAYS."""
    elsewhere: Mapping[Operand, int] | None = None

    def address_offset(self, operand: Operand) -> int:
        """Byte of the descriptor where the operand's address begins."""
        return (self.elsewhere or OFFSETS).get(operand, OFFSETS[operand])


def _reads(*operands: Operand, more: frozenset[CompletionStatus] = frozenset(), **elsewhere: int) -> Operands:
    return _both(operands, (), more, **elsewhere)


def _writes(*operands: Operand, more: frozenset[CompletionStatus] = frozenset(), **elsewhere: int) -> Operands:
    return _both((SOURCE1,), operands, more, **elsewhere)


def _both(
    reads: tuple[Operand, ...], writes: tuple[Operand, ...], more: frozenset[CompletionStatus], **elsewhere: int
) -> Operands:
    statuses = SIZED | MEMORY | (STORES if writes else frozenset()) | more
    return Operands(reads, writes, statuses, {Operand[name]: offset for name, offset in elsewhere.items()})


def _also(*statuses: CompletionStatus) -> frozenset[CompletionStatus]:
    return frozenset(statuses)


OPERATIONS: Mapping[int, Operands] = {
    Opcode.NOOP: Operands(),
    Opcode.BATCH: Operands(
        (), (), _also(S.BATCH_FAIL, S.BATCH_PAGE_FAULT, S.DESC_CNT_ERANGE, S.DESCLIST_ALIGN, S.TRANSLATION_FAIL)
    ),
    Opcode.DRAIN: Operands((), (), _also(S.PFAULT_RDBA, S.HW_ERR_DRB)),
    Opcode.MEMMOVE: _writes(DESTINATION1, more=_also(S.OVERLAP_BUFFERS)),
    Opcode.MEMFILL: _both((), (DESTINATION1,), frozenset()),
    Opcode.COMPARE: _reads(SOURCE1, SOURCE2, more=_also(S.SUCCESS_PRED)),
    Opcode.COMPVAL: _reads(SOURCE1, more=_also(S.SUCCESS_PRED)),
    Opcode.CR_DELTA: _both(
        (SOURCE1, SOURCE2),
        (DESTINATION1,),
        _also(S.SUCCESS_PRED, S.DR_ERANGE, S.ADDR_ALIGN, S.OVERLAP_BUFFERS),
        DESTINATION1=40,
    ),
    Opcode.AP_DELTA: _writes(
        DESTINATION1, more=_also(S.DR_OFFSET_NOINC, S.DR_OFFSET_ERANGE, S.DR_ERANGE, S.ADDR_ALIGN, S.OVERLAP_BUFFERS)
    ),
    Opcode.DUALCAST: _writes(DESTINATION1, DESTINATION2, more=_also(S.OVERLAP_BUFFERS, S.DCAST_ERR)),
    Opcode.TRANSL_FETCH: _reads(SOURCE1, more=_also(S.ADDR_ALIGN)),
    Opcode.CRCGEN: _reads(SOURCE1, SOURCE2, more=_also(S.ADDR_ALIGN), SOURCE2=48),
    Opcode.COPY_CRC: _both((SOURCE1, SOURCE2), (DESTINATION1,), _also(S.ADDR_ALIGN, S.OVERLAP_BUFFERS), SOURCE2=48),
    Opcode.DIF_CHECK: _reads(SOURCE1, more=_also(S.DIF_ERR)),
    Opcode.DIF_INS: _writes(DESTINATION1, more=_also(S.OVERLAP_BUFFERS)),
    Opcode.DIF_STRP: _writes(DESTINATION1, more=_also(S.DIF_ERR, S.OVERLAP_BUFFERS)),
    Opcode.DIF_UPDT: _writes(DESTINATION1, more=_also(S.DIF_ERR, S.OVERLAP_BUFFERS)),
    Opcode.DIX_GEN: _writes(DESTINATION1, more=_also(S.ADDR_ALIGN, S.OVERLAP_BUFFERS)),
    Opcode.CFLUSH: _both((DESTINATION1,), (), STORES),
    Opcode.UPDATE_WINDOW: Operands((), (), _also(S.NO_PASID, S.IDPT_HANDLE_INVAL, S.WINDOW_UPDATE_REFUSED, S.WINDOW_FIELDS)),
    Opcode.INTER_DOMAIN_COPY: _writes(DESTINATION1, more=WINDOWS),
    Opcode.INTER_DOMAIN_FILL: _both((), (DESTINATION1,), WINDOWS),
    Opcode.INTER_DOMAIN_COMPARE: _reads(SOURCE1, SOURCE2, more=WINDOWS | {S.SUCCESS_PRED}),
    Opcode.INTER_DOMAIN_COMPVAL: _reads(SOURCE1, more=WINDOWS | {S.SUCCESS_PRED}),
}
"""By opcode; every operation a device may carry out."""

EVERY_OPERATION = tuple(sorted(OPERATIONS))


def gives(opcode: int, status: int) -> bool:
    """Can this operation end so?"""
    operation = OPERATIONS.get(opcode)
    return status in ALWAYS if operation is None else status in ALWAYS | operation.statuses
