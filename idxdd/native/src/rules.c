/* The rows of operations.md 3 for the operations implemented, and their operand checks (operations.md 4, rows 9 to 15). */
#include "rules.h"

static bool overlap(uint64_t a, uint64_t b, uint64_t size)
{
    return (a > b ? a - b : b - a) < size;     /* no sum: a range that would pass 2^64 ends there */
}

static uint8_t check_transfer(const struct idxdd_operation *op)
{
    uint64_t size = desc_size(op->desc);
    return !size || size > 1ull << op->limits->max_xfer_shift ? IDXDD_STATUS_XFER_ERANGE : 0;
}

static uint8_t check_move(const struct idxdd_operation *op)
{
    uint8_t status = check_transfer(op);
    if (status || has_cap(op->limits, IDXDD_GENCAP_OVERLAP_COPY_MASK))
        return status;
    return overlap(desc_address1(op->desc), desc_address2(op->desc), desc_size(op->desc)) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

static uint8_t check_crc(const struct idxdd_operation *op)
{
    uint8_t status = check_transfer(op);
    if (status)
        return status;
    uint32_t flags = idxdd_flags(op->desc);
    uint64_t alignment = flags & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4;
    return flags & IDXDD_OPFLAG_CRC_SEED_ADDR && load64(op->desc + 48) & (alignment - 1) ? IDXDD_STATUS_ADDR_ALIGN : 0;
}

static uint8_t check_copy_crc(const struct idxdd_operation *op)
{
    uint8_t status = check_crc(op);
    if (status)
        return status;
    return overlap(desc_address1(op->desc), desc_address2(op->desc), desc_size(op->desc)) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

static uint8_t check_batch(const struct idxdd_operation *op)
{
    uint64_t count = desc_size(op->desc);
    if (!count || count > 1ull << op->limits->max_batch_shift || (count == 1 && !has_cap(op->limits, IDXDD_GENCAP_BATCH1_MASK)))
        return IDXDD_STATUS_DESC_CNT_ERANGE;
    return desc_address1(op->desc) & 63 ? IDXDD_STATUS_DESCLIST_ALIGN : 0;
}

#define READBACKS (IDXDD_OPFLAG_DRAIN_READBACK1_VALID | IDXDD_OPFLAG_DRAIN_READBACK2_VALID)
#define CRC_FLAGS \
    (IDXDD_OPFLAG_CRC_SEED_ADDR | IDXDD_OPFLAG_CRC_BYPASS_INVERSION | IDXDD_OPFLAG_CRC_BYPASS_REFLECTION | IDXDD_OPFLAG_CRC_SIZE64)
#define CRC_CONDITIONS \
    .gates = {{IDXDD_OPFLAG_CRC_SIZE64, IDXDD_GENCAP_CRC64_MASK}}, \
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
        .gates = {{IDXDD_OPFLAG_BATCH_ERROR, IDXDD_GENCAP_BATCH_CONTINUATION_MASK}},
        .operands = check_batch,
    },
    [IDXDD_OPCODE_DRAIN] = {
        .name = "drain", .not_in_batch = true,
        .flags = IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | READBACKS | IDXDD_OPFLAG_DRAIN_NO_READBACK_TCA
            | IDXDD_OPFLAG_DRAIN_NO_READBACK_TCB,
        .required_any = IDXDD_FLAG_RCR | IDXDD_FLAG_RCI,
        .reserved = BYTES(32, 35) | BYTES(38, 63),
        .gates = {{READBACKS, IDXDD_GENCAP_DRAIN_READBACK_MASK}},
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
        .flags = IDXDD_FLAG_BOF | FLAG_CC | IDXDD_FLAG_STORD | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .reserved = BYTES(38, 63),
        .operands = check_move, .step = idxdd_step_move,
    },
    [IDXDD_OPCODE_MEMFILL] = {
        .name = "memfill",
        .flags = IDXDD_FLAG_BOF | FLAG_CC | IDXDD_FLAG_STORD | IDXDD_FLAG_ADDR2_TCS | IDXDD_OPFLAG_FILL_PATTERN16,
        .reserved = BYTES(38, 39) | BYTES(48, 63),
        .gates = {{IDXDD_OPFLAG_FILL_PATTERN16, IDXDD_GENCAP_FILL16_MASK}},
        .reserves = {{IDXDD_OPFLAG_FILL_PATTERN16, false, BYTES(40, 47)}},
        .operands = check_transfer, .step = idxdd_step_fill,
    },
    [IDXDD_OPCODE_COMPARE] = {
        .name = "compare",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_CR | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS,
        .required = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
        .operands = check_transfer, .step = idxdd_step_compare,
    },
    [IDXDD_OPCODE_CRCGEN] = {
        .name = "crcgen",
        .flags = IDXDD_FLAG_BOF | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR3_TCS | CRC_FLAGS,
        .required = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = check_crc, .step = idxdd_step_crc,
    },
    [IDXDD_OPCODE_COPY_CRC] = {
        .name = "copy_crc",
        .flags = IDXDD_FLAG_BOF | FLAG_CC | IDXDD_FLAG_STORD | IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS
            | IDXDD_FLAG_ADDR3_TCS | CRC_FLAGS,
        .required = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR,
        .reserved = BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = check_copy_crc, .step = idxdd_step_crc,
    },
};
