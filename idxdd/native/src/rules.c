/* The rows of operations.md 3 for the operations implemented, and their operand checks (operations.md 4, rows 9 to 15). */
#include "rules.h"

static bool overlap(uint64_t a, uint64_t b, uint64_t size)
{
    return (a > b ? a - b : b - a) < size;     /* no sum: a range that would pass 2^64 ends there */
}

static uint8_t check_transfer(const struct idxdd_operation *op)
{
    uint64_t size = desc_size(op->desc);
    return !size || size > 1ull << op->limits->max_xfer_shift ? STATUS_SIZE : 0;
}

static uint8_t check_move(const struct idxdd_operation *op)
{
    uint8_t status = check_transfer(op);
    if (status || has_cap(op->limits, GENCAP_OVERLAP))
        return status;
    return overlap(desc_address1(op->desc), desc_address2(op->desc), desc_size(op->desc)) ? STATUS_OVERLAP : 0;
}

static uint8_t check_crc(const struct idxdd_operation *op)
{
    uint8_t status = check_transfer(op);
    if (status)
        return status;
    uint32_t flags = idxdd_flags(op->desc);
    uint64_t alignment = flags & FLAG_CRC64 ? 8 : 4;
    return flags & FLAG_CRC_READ_SEED && load64(op->desc + 48) & (alignment - 1) ? STATUS_ALIGN : 0;
}

static uint8_t check_copy_crc(const struct idxdd_operation *op)
{
    uint8_t status = check_crc(op);
    if (status)
        return status;
    return overlap(desc_address1(op->desc), desc_address2(op->desc), desc_size(op->desc)) ? STATUS_OVERLAP : 0;
}

static uint8_t check_batch(const struct idxdd_operation *op)
{
    uint64_t count = desc_size(op->desc);
    if (!count || count > 1ull << op->limits->max_batch_shift || (count == 1 && !has_cap(op->limits, GENCAP_BATCH1)))
        return STATUS_COUNT;
    return desc_address1(op->desc) & 63 ? STATUS_LIST_ALIGN : 0;
}

#define CRC_FLAGS (FLAG_CRC_READ_SEED | FLAG_CRC_BYPASS_INVERSION | FLAG_CRC_BYPASS_REFLECTION | FLAG_CRC64)
#define CRC_CONDITIONS \
    .gates = {{FLAG_CRC64, GENCAP_CRC64}}, \
    .needs = {{FLAG_T3, FLAG_CRC_READ_SEED}}, \
    .reserves = {{FLAG_CRC_READ_SEED, true, BYTES(40, 47)}, {FLAG_CRC_READ_SEED, false, BYTES(48, 55)}, {FLAG_CRC64, false, BYTES(44, 47)}}

const struct idxdd_rules idxdd_rules[OPCODES] = {
    [OPCODE_NOOP] = {
        .name = "noop",
        .reserved = BYTES(16, 35) | BYTES(38, 63),
        .step = idxdd_step_noop,
    },
    [OPCODE_BATCH] = {
        .name = "batch", .not_in_batch = true,
        .flags = FLAG_T1 | FLAG_BATCH_ERROR,
        .reserved = BYTES(24, 31) | BYTES(38, 63),
        .gates = {{FLAG_BATCH_ERROR, GENCAP_BATCH_CONTINUATION}},
        .operands = check_batch,
    },
    [OPCODE_DRAIN] = {
        .name = "drain", .not_in_batch = true,
        .flags = FLAG_T1 | FLAG_T2 | FLAG_READBACK1 | FLAG_READBACK2 | FLAG_NO_READBACK_A | FLAG_NO_READBACK_B,
        .required_any = FLAG_RCR | FLAG_RCI,
        .reserved = BYTES(32, 35) | BYTES(38, 63),
        .gates = {{FLAG_READBACK1 | FLAG_READBACK2, GENCAP_DRAIN_READBACK}},
        .needs = {{FLAG_T1, FLAG_READBACK1}, {FLAG_T2, FLAG_READBACK2}},
        .reserves = {{FLAG_READBACK1, false, BYTES(16, 23)}, {FLAG_READBACK2, false, BYTES(24, 31)}},
    },
    [OPCODE_MEMMOVE] = {
        .name = "memmove",
        .flags = FLAG_BOF | FLAG_CC | FLAG_STORD | FLAG_T1 | FLAG_T2,
        .reserved = BYTES(38, 63),
        .operands = check_move, .step = idxdd_step_move,
    },
    [OPCODE_MEMFILL] = {
        .name = "memfill",
        .flags = FLAG_BOF | FLAG_CC | FLAG_STORD | FLAG_T2 | FLAG_FILL16,
        .reserved = BYTES(38, 39) | BYTES(48, 63),
        .gates = {{FLAG_FILL16, GENCAP_FILL16}},
        .reserves = {{FLAG_FILL16, false, BYTES(40, 47)}},
        .operands = check_transfer, .step = idxdd_step_fill,
    },
    [OPCODE_COMPARE] = {
        .name = "compare",
        .flags = FLAG_BOF | FLAG_CR | FLAG_T1 | FLAG_T2,
        .required = FLAG_CRAV | FLAG_RCR,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
        .operands = check_transfer, .step = idxdd_step_compare,
    },
    [OPCODE_CRCGEN] = {
        .name = "crcgen",
        .flags = FLAG_BOF | FLAG_T1 | FLAG_T3 | CRC_FLAGS,
        .required = FLAG_CRAV | FLAG_RCR,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = check_crc, .step = idxdd_step_crc,
    },
    [OPCODE_COPY_CRC] = {
        .name = "copy_crc",
        .flags = FLAG_BOF | FLAG_CC | FLAG_STORD | FLAG_T1 | FLAG_T2 | FLAG_T3 | CRC_FLAGS,
        .required = FLAG_CRAV | FLAG_RCR,
        .reserved = BYTES(38, 39) | BYTES(56, 63),
        CRC_CONDITIONS,
        .operands = check_copy_crc, .step = idxdd_step_crc,
    },
};
