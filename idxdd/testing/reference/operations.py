"""Every operation this model knows: what its descriptor may say (8.3, tables 5-4 and 5-5) and the function that does it."""

from __future__ import annotations

from idxdd.spec.codes import Flag, Opcode, OpFlag
from idxdd.testing.reference.batch import READBACKS, addresses_drain, batch, check_batch, drain, no_op, reserved_drain
from idxdd.testing.reference.compare import compare, compare_pattern
from idxdd.testing.reference.crc import (
    addresses_crc,
    check_copy_crc,
    check_crc,
    copy_with_crc,
    crc_generation,
    reserved_crc,
)
from idxdd.testing.reference.delta import apply_delta, check_apply_delta, check_create_delta, create_delta
from idxdd.testing.reference.dif import RESERVED_DIF_FLAGS, RESERVED_DST_DIF_FLAGS, check_dif, protect
from idxdd.testing.reference.domains import (
    inter_domain_compare,
    inter_domain_compare_pattern,
    inter_domain_copy,
    inter_domain_fill,
    places,
    update_window,
)
from idxdd.testing.reference.move import (
    cache_flush,
    check_dualcast,
    check_move,
    check_translation_fetch,
    dualcast,
    fill,
    memory_move,
    translation_fetch,
)
from idxdd.testing.reference.run import Operation

SOURCE, DESTINATION = int(OpFlag.SRC_ALTERNATE_PASID), int(OpFlag.DST_ALTERNATE_PASID)
BOF, STORD, CR = Flag.BOF, Flag.STORD, Flag.CR
T1, T2, T3 = Flag.ADDR1_TCS, Flag.ADDR2_TCS, Flag.ADDR3_TCS
RECORD_REQUIRED = Flag.CRAV | Flag.RCR
TO_MEMORY = frozenset(int(flags) for flags in (0, Flag.CC1, Flag.CC2, Flag.CC1 | Flag.CC2, Flag.CC3, Flag.CC2 | Flag.CC3))
FLUSH = frozenset({0, int(Flag.CC2)})
CRC_FLAGS: dict[int, str | None] = {
    OpFlag.CRC_SEED_ADDR: None,
    OpFlag.CRC_BYPASS_INVERSION: None,
    OpFlag.CRC_BYPASS_REFLECTION: None,
    OpFlag.CRC_SIZE64: "crc64",
}
SEED_SELECTOR: dict[int, int] = {T3: OpFlag.CRC_SEED_ADDR}

OPERATIONS: dict[int, Operation] = {
    Opcode.NOOP: Operation(no_op, has_size=False, reserved=lambda run: [(16, 35), (40, 63)]),
    Opcode.BATCH: Operation(
        batch, T1, op_flags={OpFlag.BATCH_ERROR: "batch_continuation"}, has_size=False, check=check_batch,
        reserved=lambda run: [(24, 31), (40, 63)], addresses=lambda run: [T1],
    ),
    Opcode.DRAIN: Operation(
        drain, T1 | T2, has_size=False, reserved=reserved_drain, addresses=addresses_drain,
        op_flags={
            OpFlag.DRAIN_READBACK1_VALID: "drain_readback", OpFlag.DRAIN_READBACK2_VALID: "drain_readback",
            OpFlag.DRAIN_NO_READBACK_TCA: None, OpFlag.DRAIN_NO_READBACK_TCB: None,
        },
        selector_needs={selector: flag for flag, _, _, _, selector in READBACKS}, requires_any=Flag.RCR | Flag.RCI,
    ),
    Opcode.MEMMOVE: Operation(
        memory_move, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, check=check_move,
        reserved=lambda run: [(40, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.MEMFILL: Operation(
        fill, BOF | STORD | T2, cache_controls=TO_MEMORY, op_flags={OpFlag.FILL_PATTERN16: "fill16"},
        reserved=lambda run: [(48, 63)] if run.has(OpFlag.FILL_PATTERN16) else [(40, 63)], addresses=lambda run: [T2],
    ),
    Opcode.COMPARE: Operation(
        compare, BOF | CR | T1 | T2, required=RECORD_REQUIRED,
        reserved=lambda run: [(41, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.COMPVAL: Operation(
        compare_pattern, BOF | CR | T1, required=RECORD_REQUIRED,
        reserved=lambda run: [(41, 63)], addresses=lambda run: [T1],
    ),
    Opcode.CR_DELTA: Operation(
        create_delta, BOF | CR | STORD | T1 | T2 | T3, cache_controls=TO_MEMORY, required=RECORD_REQUIRED,
        check=check_create_delta, reserved=lambda run: [(52, 55), (57, 63)], addresses=lambda run: [T1, T2, T3],
    ),
    Opcode.AP_DELTA: Operation(
        apply_delta, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, check=check_apply_delta,
        reserved=lambda run: [(44, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.DUALCAST: Operation(
        dualcast, BOF | STORD | T1 | T2 | T3, cache_controls=TO_MEMORY, check=check_dualcast,
        reserved=lambda run: [(48, 63)], addresses=lambda run: [T1, T2, T3],
    ),
    Opcode.TRANSL_FETCH: Operation(
        translation_fetch, BOF, op_flags={OpFlag.TRANSL_FETCH_STRIDE: "translation_fetch_stride"}, has_size=False,
        check=check_translation_fetch,
        reserved=lambda run: [(24, 31), (40, 47), (52, 63)] + [(48, 51)] * (not run.has(OpFlag.TRANSL_FETCH_STRIDE)),
    ),
    Opcode.CRCGEN: Operation(
        crc_generation, BOF | T1 | T3, op_flags=CRC_FLAGS, selector_needs=SEED_SELECTOR, required=RECORD_REQUIRED,
        check=check_crc, reserved=reserved_crc, addresses=addresses_crc,
    ),
    Opcode.COPY_CRC: Operation(
        copy_with_crc, BOF | STORD | T1 | T2 | T3, cache_controls=TO_MEMORY, op_flags=CRC_FLAGS,
        selector_needs=SEED_SELECTOR, required=RECORD_REQUIRED,
        check=check_copy_crc, reserved=reserved_crc, addresses=addresses_crc,
    ),
    Opcode.DIF_CHECK: Operation(
        protect, BOF | T1, required=RECORD_REQUIRED, check=check_dif, reserved_bits={42: RESERVED_DIF_FLAGS},
        reserved=lambda run: [(24, 31), (41, 41), (43, 47), (56, 63)], addresses=lambda run: [T1],
    ),
    Opcode.DIF_INS: Operation(
        protect, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, check=check_dif,
        reserved_bits={41: RESERVED_DST_DIF_FLAGS, 42: RESERVED_DIF_FLAGS},
        reserved=lambda run: [(40, 40), (43, 55)], addresses=lambda run: [T1, T2],
    ),
    Opcode.DIF_STRP: Operation(
        protect, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, check=check_dif, reserved_bits={42: RESERVED_DIF_FLAGS},
        reserved=lambda run: [(41, 41), (43, 47), (56, 63)], addresses=lambda run: [T1, T2],
    ),
    Opcode.DIF_UPDT: Operation(
        protect, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, check=check_dif,
        reserved_bits={41: RESERVED_DST_DIF_FLAGS, 42: RESERVED_DIF_FLAGS},
        reserved=lambda run: [(43, 47)], addresses=lambda run: [T1, T2],
    ),
    Opcode.DIX_GEN: Operation(
        protect, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, required=RECORD_REQUIRED, check=check_dif,
        reserved_bits={41: RESERVED_DST_DIF_FLAGS, 42: RESERVED_DIF_FLAGS},
        reserved=lambda run: [(40, 40), (43, 55)], addresses=lambda run: [T1, T2],
    ),
    Opcode.CFLUSH: Operation(
        cache_flush, BOF | STORD | T2, cache_controls=FLUSH,
        reserved=lambda run: [(16, 23), (40, 63)], addresses=lambda run: [T2],
    ),
    Opcode.UPDATE_WINDOW: Operation(update_window, needs_pasid=True, has_size=False, reserved=lambda run: [(32, 35), (40, 60)]),
    Opcode.INTER_DOMAIN_COPY: Operation(
        inter_domain_copy, BOF | STORD | T1 | T2, cache_controls=TO_MEMORY, op_flags={SOURCE: None, DESTINATION: None},
        requires_any=SOURCE | DESTINATION, needs_pasid=True, resolve=places,
        reserved=lambda run: [(40, 59)], addresses=lambda run: [T1, T2],
    ),
    Opcode.INTER_DOMAIN_FILL: Operation(
        inter_domain_fill, BOF | STORD | T2, cache_controls=TO_MEMORY,
        op_flags={DESTINATION: None, OpFlag.FILL_PATTERN16: "fill16"}, required=DESTINATION, needs_pasid=True, resolve=places,
        reserved=lambda run: [(48, 61)] if run.has(OpFlag.FILL_PATTERN16) else [(40, 61)], addresses=lambda run: [T2],
    ),
    Opcode.INTER_DOMAIN_COMPARE: Operation(
        inter_domain_compare, BOF | CR | T1 | T2, op_flags={SOURCE: None, DESTINATION: None}, required=RECORD_REQUIRED,
        requires_any=SOURCE | DESTINATION, needs_pasid=True, resolve=places,
        reserved=lambda run: [(41, 59)], addresses=lambda run: [T1, T2],
    ),
    Opcode.INTER_DOMAIN_COMPVAL: Operation(
        inter_domain_compare_pattern, BOF | CR | T1, op_flags={SOURCE: None}, required=int(RECORD_REQUIRED) | SOURCE,
        needs_pasid=True, resolve=places, reserved=lambda run: [(41, 59), (62, 63)], addresses=lambda run: [T1],
    ),
}  # fmt: skip
"""By opcode; any other answers 0x10."""
