/* The completion record: whether one is written and what it says (operations.md 2). */
#include "rules.h"

static bool is_fault(uint8_t code)
{
    return code == IDXDD_STATUS_PAGE_FAULT_NOBOF || code == IDXDD_STATUS_PAGE_FAULT_IR || code == IDXDD_STATUS_BATCH_PAGE_FAULT
        || code == IDXDD_STATUS_PFAULT_RDBA;
}

/* Statuses with which the operation's own fields mean something; a DIF error leaves its tags undefined. */
static bool ran(uint8_t code)
{
    return code == IDXDD_STATUS_SUCCESS || code == IDXDD_STATUS_SUCCESS_PRED || code == IDXDD_STATUS_PAGE_FAULT_NOBOF
        || code == IDXDD_STATUS_PAGE_FAULT_IR;
}

/* Statuses that name an IDPT entry: row 18 of operations.md 4, and a fault in another domain. */
static bool names_entry(const struct idxdd_operation *op, uint8_t code)
{
    bool window = code >= IDXDD_STATUS_IDPT_HANDLE_INVAL && code <= IDXDD_STATUS_WINDOW_UPDATE_REFUSED;
    return window || (is_fault(code) && op->foreign >> op->fault_operand & 1);
}

bool idxdd_wants_record(const struct idxdd_operation *op)
{
    uint32_t flags = idxdd_flags(op->desc);
    if (!(flags & IDXDD_FLAG_CRAV))
        return false;
    switch (op->status & IDXDD_STATUS_CODE_MASK) {
    case IDXDD_STATUS_CRA_XLAT:
    case IDXDD_STATUS_CRA_ALIGN:
    case IDXDD_STATUS_PRIV_BAD:
    case IDXDD_STATUS_DRAIN_EVL:
    case IDXDD_STATUS_BATCH_EVL_ERR:
        return false;
    case IDXDD_STATUS_TRAFFIC_CLASS_CONF:      /* the record's own traffic class: nothing may be written there */
        return op->limits->tc_enabled >> ((flags & IDXDD_FLAG_CR_TCS) != 0) & 1;
    case IDXDD_STATUS_SUCCESS:
    case IDXDD_STATUS_SUCCESS_PRED:
    case IDXDD_STATUS_BATCH_FAIL:
        return flags & IDXDD_FLAG_RCR;
    default:
        return true;
    }
}

void idxdd_record(const struct idxdd_operation *op, uint8_t record[32])
{
    uint8_t code = op->status & IDXDD_STATUS_CODE_MASK;
    memset(record, 0, 32);
    record[0] = op->status;
    record[1] = op->result;
    store32(record + 4, op->bytes_completed);
    if (is_fault(code)) {
        if (op->fault_write)
            record[0] |= IDXDD_STATUS_WRITE_FAULT;
        if (has_cap(op->limits, IDXDD_GENCAP_FAULT_INFO_MASK))
            record[2] = (uint8_t)(op->fault_operand << 1);
        store64(record + 8, op->fault_address);
        if (op->withheld >> op->fault_operand & 1) {
            if (has_cap(op->limits, IDXDD_GENCAP_FAULT_INFO_MASK))
                record[2] |= 1;
            store64(record + 8, 0);
        }
    }
    if (names_entry(op, code))
        memcpy(record + 16, op->desc + (op->fault_operand == IDXDD_OPERAND_SOURCE1 ? 60 : 62), 2);
    if (code == IDXDD_STATUS_INVALID_FLAGS)
        store32(record + 16, op->invalid_flags & 0xFFFFFFu);
    else if (ran(code) && idxdd_opcode(op->desc) < OPCODES && idxdd_rules[idxdd_opcode(op->desc)].record)
        idxdd_rules[idxdd_opcode(op->desc)].record(op, record);
}
