/* The rows of operations.md 3 for the operations implemented. */
#include "rules.h"

#include "operands.h"

#define READBACKS (IDXDD_OPFLAG_DRAIN_READBACK1_VALID | IDXDD_OPFLAG_DRAIN_READBACK2_VALID)
#define RECORDED (IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR)
#define DOMAINS (IDXDD_OPFLAG_SRC_ALTERNATE_PASID | IDXDD_OPFLAG_DST_ALTERNATE_PASID)
#define WRITES (FLAG_CC | IDXDD_FLAG_STORD)
#define DIF_FLAGS_RESERVED {42, 0xF0}
#define DESTINATION_DIF_FLAGS_RESERVED {41, 0x07}
#define CRC_FLAGS \
    (IDXDD_OPFLAG_CRC_SEED_ADDR | IDXDD_OPFLAG_CRC_BYPASS_INVERSION | IDXDD_OPFLAG_CRC_BYPASS_REFLECTION | IDXDD_OPFLAG_CRC_SIZE64)
#define CRC_CONDITIONS \
    .gates = {{IDXDD_OPFLAG_CRC_SIZE64, IDXDD_GENCAP_CRC64_MASK, 0}}, \
    .needs = {{IDXDD_FLAG_ADDR3_TCS, IDXDD_OPFLAG_CRC_SEED_ADDR}}, \
    .reserves = { \
        {IDXDD_OPFLAG_CRC_SEED_ADDR, true, BYTES(40, 47)}, \
        {IDXDD_OPFLAG_CRC_SEED_ADDR, false, BYTES(48, 55)}, \
        {IDXDD_OPFLAG_CRC_SIZE64, false, BYTES(44, 47)}, \
    }

const struct idxdd_rules idxdd_rules[OPCODES] = {
    [IDXDD_OPCODE_NOOP] = {
        .name = "noop",
        .reserved = BYTES(16, 35) | BYTES(38, 63),
        .step = idxdd_step_noop,
    },
    [IDXDD_OPCODE_BATCH] = {
        .name = "batch", .not_in_batch = true,
        .flags = IDXDD_FLAG_ADDR1_TCS | IDXDD_OPFLAG_BATCH_ERROR,
        .reserved = BYTES(24, 31) | BYTES(38, 63),
        .gates = {{IDXDD_OPFLAG_BATCH_ERROR, IDXDD_GENCAP_BATCH_CONTINUATION_MASK, 0}},
        .operands = idxdd_check_batch,
    },
    [IDXDD_OPCODE_DRAIN] = {
        .name = "drain", .not_in_batch = true,
        .flags = IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | READBACKS | IDXDD_OPFLAG_DRAIN_NO_READBACK_TCA
            | IDXDD_OPFLAG_DRAIN_NO_READBACK_TCB,
        .required_any = IDXDD_FLAG_RCR | IDXDD_FLAG_RCI,
        .reserved = BYTES(32, 35) | BYTES(38, 63),
        .gates = {{READBACKS, IDXDD_GENCAP_DRAIN_READBACK_MASK, 0}},
        .needs = {
            {IDXDD_FLAG_ADDR1_TCS, IDXDD_OPFLAG_DRAIN_READBACK1_VALID},
            {IDXDD_FLAG_ADDR2_TCS, IDXDD_OPFLAG_DRAIN_READBACK2_VALID},
        },
        .reserves = {
            {IDXDD_OPFLAG_DRAIN_READBACK1_VALID, false, BYTES(16, 23)},
            {IDXDD_OPFLAG_DRAIN_READBACK2_VALID, false, BYTES(24, 31)},
        },
    },
    [IDXDD_OPCODE_MEMMOVE] = {
        .name = "memmove",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 63),
        .operands = idxdd_check_move, .step = idxdd_step_move,
    },
    [IDXDD_OPCODE_MEMFILL] = {
        .name = "memfill",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR2_TCS | IDXDD_OPFLAG_FILL_PATTERN16,
        .reserved = BYTES(38, 39) | BYTES(48, 63),
        .gates = {{IDXDD_OPFLAG_FILL_PATTERN16, IDXDD_GENCAP_FILL16_MASK, 0}},
        .reserves = {{IDXDD_OPFLAG_FILL_PATTERN16, false, BYTES(40, 47)}},
        .operands = idxdd_check_transfer, .step = idxdd_step_fill,
    },
    [IDXDD_OPCODE_COMPARE] = {
        .name = "compare",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .required = RECORDED,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
        .operands = idxdd_check_transfer, .step = idxdd_step_compare,
    },
    [IDXDD_OPCODE_COMPVAL] = {
        .name = "compval",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | IDXDD_FLAG_ADDR1_TCS,
        .required = RECORDED,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
        .operands = idxdd_check_transfer, .step = idxdd_step_compare_pattern,
    },
    [IDXDD_OPCODE_CR_DELTA] = {
        .name = "cr_delta",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | IDXDD_FLAG_ADDR3_TCS,
        .required = RECORDED,
        .reserved = BYTES(38, 39) | BYTES(52, 55) | BYTES(57, 63),
        .operands = idxdd_check_create_delta, .step = idxdd_step_create_delta, .record = idxdd_record_create_delta,
    },
    [IDXDD_OPCODE_AP_DELTA] = {
        .name = "ap_delta",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 39) | BYTES(44, 63),
        .operands = idxdd_check_apply_delta, .step = idxdd_step_apply_delta,
    },
    [IDXDD_OPCODE_DUALCAST] = {
        .name = "dualcast",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | IDXDD_FLAG_ADDR3_TCS,
        .reserved = BYTES(38, 39) | BYTES(48, 63),
        .operands = idxdd_check_dualcast, .step = idxdd_step_dualcast,
    },
    [IDXDD_OPCODE_TRANSL_FETCH] = {
        .name = "transl_fetch",
        .flags = IDXDD_FLAG_BOF | IDXDD_OPFLAG_TRANSL_FETCH_STRIDE,
        .reserved = BYTES(24, 31) | BYTES(38, 47) | BYTES(52, 63),
        .gates = {{IDXDD_OPFLAG_TRANSL_FETCH_STRIDE, IDXDD_GENCAP_TRANSLATION_FETCH_STRIDE_MASK, 0}},
        .reserves = {{IDXDD_OPFLAG_TRANSL_FETCH_STRIDE, false, BYTES(48, 51)}},
        .operands = idxdd_check_translation_fetch, .step = idxdd_step_translation_fetch,
    },
    [IDXDD_OPCODE_CRCGEN] = {
        .name = "crcgen",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR3_TCS | CRC_FLAGS,
        .required = RECORDED,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = idxdd_check_crc, .step = idxdd_step_crc, .record = idxdd_record_crc,
    },
    [IDXDD_OPCODE_COPY_CRC] = {
        .name = "copy_crc",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS
            | IDXDD_FLAG_ADDR3_TCS | CRC_FLAGS,
        .required = RECORDED,
        .reserved = BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = idxdd_check_copy_crc, .step = idxdd_step_crc, .record = idxdd_record_crc,
    },
    [IDXDD_OPCODE_DIF_CHECK] = {
        .name = "dif_check",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_ADDR1_TCS,
        .required = RECORDED,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(41, 41) | BYTES(43, 47) | BYTES(56, 63),
        .reserved_bits = {DIF_FLAGS_RESERVED},
        .operands = idxdd_check_dif, .step = idxdd_step_dif, .record = idxdd_record_dif,
    },
    [IDXDD_OPCODE_DIF_INS] = {
        .name = "dif_ins",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 40) | BYTES(43, 55),
        .reserved_bits = {DIF_FLAGS_RESERVED, DESTINATION_DIF_FLAGS_RESERVED},
        .operands = idxdd_check_dif, .step = idxdd_step_dif, .record = idxdd_record_dif,
    },
    [IDXDD_OPCODE_DIF_STRP] = {
        .name = "dif_strp",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 39) | BYTES(41, 41) | BYTES(43, 47) | BYTES(56, 63),
        .reserved_bits = {DIF_FLAGS_RESERVED},
        .operands = idxdd_check_dif, .step = idxdd_step_dif, .record = idxdd_record_dif,
    },
    [IDXDD_OPCODE_DIF_UPDT] = {
        .name = "dif_updt",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 39) | BYTES(43, 47),
        .reserved_bits = {DIF_FLAGS_RESERVED, DESTINATION_DIF_FLAGS_RESERVED},
        .operands = idxdd_check_dif, .step = idxdd_step_dif, .record = idxdd_record_dif,
    },
    [IDXDD_OPCODE_DIX_GEN] = {
        .name = "dix_gen",
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .required = RECORDED,
        .reserved = BYTES(38, 40) | BYTES(43, 55),
        .reserved_bits = {DIF_FLAGS_RESERVED, DESTINATION_DIF_FLAGS_RESERVED},
        .operands = idxdd_check_dix, .step = idxdd_step_dif, .record = idxdd_record_dif,
    },
    [IDXDD_OPCODE_CFLUSH] = {
        .name = "cflush",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CC2 | IDXDD_FLAG_STORD | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(16, 23) | BYTES(38, 63),
        .operands = idxdd_check_transfer, .step = idxdd_step_cache_flush,
    },
    [IDXDD_OPCODE_UPDATE_WINDOW] = {
        .name = "update_window", .not_in_batch = true, .needs_pasid = true,
        .flags = IDXDD_OPFLAG_UPDATE_WINDOW_NO_DRAIN,
        .gates = {{IDXDD_OPFLAG_UPDATE_WINDOW_NO_DRAIN, 0, IDXDD_IDCAP_SUPPRESS_DRAIN_MASK}},
        .reserved = BYTES(32, 35) | BYTES(38, 60),
    },
    [IDXDD_OPCODE_INTER_DOMAIN_COPY] = {
        .name = "inter_domain_copy", .needs_pasid = true,
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | DOMAINS,
        .required_any = DOMAINS,
        .reserved = BYTES(38, 59),
        .operands = idxdd_check_transfer, .step = idxdd_step_inter_domain_copy,
    },
    [IDXDD_OPCODE_INTER_DOMAIN_FILL] = {
        .name = "inter_domain_fill", .needs_pasid = true,
        .flags = IDXDD_FLAG_BOF | WRITES | IDXDD_FLAG_ADDR2_TCS | IDXDD_OPFLAG_DST_ALTERNATE_PASID | IDXDD_OPFLAG_FILL_PATTERN16,
        .required = IDXDD_OPFLAG_DST_ALTERNATE_PASID,
        .reserved = BYTES(38, 39) | BYTES(48, 61),
        .gates = {{IDXDD_OPFLAG_FILL_PATTERN16, IDXDD_GENCAP_FILL16_MASK, 0}},
        .reserves = {{IDXDD_OPFLAG_FILL_PATTERN16, false, BYTES(40, 47)}},
        .operands = idxdd_check_transfer, .step = idxdd_step_fill,
    },
    [IDXDD_OPCODE_INTER_DOMAIN_COMPARE] = {
        .name = "inter_domain_compare", .needs_pasid = true,
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | DOMAINS,
        .required = RECORDED, .required_any = DOMAINS,
        .reserved = BYTES(38, 39) | BYTES(41, 59),
        .operands = idxdd_check_transfer, .step = idxdd_step_compare,
    },
    [IDXDD_OPCODE_INTER_DOMAIN_COMPVAL] = {
        .name = "inter_domain_compval", .needs_pasid = true,
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | IDXDD_FLAG_ADDR1_TCS | IDXDD_OPFLAG_SRC_ALTERNATE_PASID,
        .required = RECORDED | IDXDD_OPFLAG_SRC_ALTERNATE_PASID,
        .reserved = BYTES(38, 39) | BYTES(41, 59) | BYTES(62, 63),
        .operands = idxdd_check_transfer, .step = idxdd_step_compare_pattern,
    },
};
