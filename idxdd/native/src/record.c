/* The completion record: whether one is written and what it says (operations.md 2). */
#include "descriptor.h"

static bool is_fault(uint8_t code)
{
    return code == STATUS_FAULT || code == STATUS_FAULT_REFUSED || code == STATUS_BATCH_FAULT || code == STATUS_READBACK_FAULT;
}

static bool has_crc(const struct idxdd_operation *op, uint8_t code)
{
    uint8_t opcode = idxdd_opcode(op->desc);
    return (opcode == OPCODE_CRCGEN || opcode == OPCODE_COPY_CRC)
        && (code == STATUS_SUCCESS || code == STATUS_FAULT || code == STATUS_FAULT_REFUSED);
}

bool idxdd_wants_record(const struct idxdd_operation *op)
{
    uint32_t flags = idxdd_flags(op->desc);
    if (!(flags & FLAG_CRAV))
        return false;
    switch (op->status & STATUS_CODE) {
    case STATUS_RECORD_FAULT:
    case STATUS_RECORD_ALIGN:
    case STATUS_PRIV:
    case STATUS_DRAIN_EVL:
    case STATUS_BATCH_EVL:
        return false;
    case STATUS_TRAFFIC_CLASS:      /* the record's own traffic class: nothing may be written there */
        return op->limits->tc_enabled >> ((flags & FLAG_CR_TC) != 0) & 1;
    case STATUS_SUCCESS:
    case STATUS_SUCCESS_PRED:
    case STATUS_BATCH_FAIL:
        return flags & FLAG_RCR;
    default:
        return true;
    }
}

void idxdd_record(const struct idxdd_operation *op, uint8_t record[32])
{
    uint8_t code = op->status & STATUS_CODE;
    memset(record, 0, 32);
    record[0] = op->status;
    record[1] = op->result;
    store32(record + 4, op->bytes_completed);
    if (is_fault(code)) {
        if (op->fault_write)
            record[0] |= STATUS_WRITE;
        if (has_cap(op->limits, GENCAP_FAULT_INFO))
            record[2] = (uint8_t)(op->fault_operand << 1);
        store64(record + 8, op->fault_address);
    }
    if (code == STATUS_INVALID_FLAGS)
        store32(record + 16, op->invalid_flags & 0xFFFFFFu);
    else if (has_crc(op, code))
        store64(record + 16, op->crc);
}
