/* The operands of each operation as a table: operations.md 3 and 8. */
#include "touched.h"

#include "dif.h"

enum length {
    LENGTH_TRANSFER = 1,             /* bytes 32 to 35 */
    LENGTH_LIST,                     /* as many descriptors */
    LENGTH_DELTA,                    /* u32 at 40 */
    LENGTH_DELTA_MAX,                /* u32 at 48 */
    LENGTH_SEED,
    LENGTH_DIF_WRITTEN,
    LENGTH_BYTE,
};

struct row {
    uint8_t offset, operand;
    bool write;
    uint8_t length;
    uint32_t if_flag;                /* 0: always */
};

#define SOURCE {16, IDXDD_OPERAND_SOURCE1, false, LENGTH_TRANSFER, 0}
#define SOURCE2 {24, IDXDD_OPERAND_SOURCE2, false, LENGTH_TRANSFER, 0}
#define DESTINATION {24, IDXDD_OPERAND_DESTINATION1, true, LENGTH_TRANSFER, 0}
#define SEED {48, IDXDD_OPERAND_SOURCE2, false, LENGTH_SEED, IDXDD_OPFLAG_CRC_SEED_ADDR}
#define DIF_WRITTEN {24, IDXDD_OPERAND_DESTINATION1, true, LENGTH_DIF_WRITTEN, 0}

static const struct row rows[OPCODES][TOUCHED_MAX - 1] = {
    [IDXDD_OPCODE_BATCH] = {{16, IDXDD_OPERAND_SOURCE1, false, LENGTH_LIST, 0}},
    [IDXDD_OPCODE_DRAIN] = {{16, IDXDD_OPERAND_SOURCE1, false, LENGTH_BYTE, IDXDD_OPFLAG_DRAIN_READBACK1_VALID},
                            {24, IDXDD_OPERAND_SOURCE2, false, LENGTH_BYTE, IDXDD_OPFLAG_DRAIN_READBACK2_VALID}},
    [IDXDD_OPCODE_MEMMOVE] = {SOURCE, DESTINATION},
    [IDXDD_OPCODE_MEMFILL] = {DESTINATION},
    [IDXDD_OPCODE_COMPARE] = {SOURCE, SOURCE2},
    [IDXDD_OPCODE_COMPVAL] = {SOURCE},
    [IDXDD_OPCODE_CR_DELTA] = {SOURCE, SOURCE2, {40, IDXDD_OPERAND_DESTINATION1, true, LENGTH_DELTA_MAX, 0}},
    [IDXDD_OPCODE_AP_DELTA] = {{16, IDXDD_OPERAND_SOURCE1, false, LENGTH_DELTA, 0}, DESTINATION},
    [IDXDD_OPCODE_DUALCAST] = {SOURCE, DESTINATION, {40, IDXDD_OPERAND_DESTINATION2, true, LENGTH_TRANSFER, 0}},
    [IDXDD_OPCODE_TRANSL_FETCH] = {SOURCE},
    [IDXDD_OPCODE_CRCGEN] = {SOURCE, SEED},
    [IDXDD_OPCODE_COPY_CRC] = {SOURCE, DESTINATION, SEED},
    [IDXDD_OPCODE_DIF_CHECK] = {SOURCE},
    [IDXDD_OPCODE_DIF_INS] = {SOURCE, DIF_WRITTEN},
    [IDXDD_OPCODE_DIF_STRP] = {SOURCE, DIF_WRITTEN},
    [IDXDD_OPCODE_DIF_UPDT] = {SOURCE, DIF_WRITTEN},
    [IDXDD_OPCODE_DIX_GEN] = {SOURCE, DIF_WRITTEN},
    [IDXDD_OPCODE_CFLUSH] = {{24, IDXDD_OPERAND_DESTINATION1, false, LENGTH_TRANSFER, 0}}, /* read as far as pages go */
    [IDXDD_OPCODE_INTER_DOMAIN_COPY] = {SOURCE, DESTINATION},
    [IDXDD_OPCODE_INTER_DOMAIN_FILL] = {DESTINATION},
    [IDXDD_OPCODE_INTER_DOMAIN_COMPARE] = {SOURCE, SOURCE2},
    [IDXDD_OPCODE_INTER_DOMAIN_COMPVAL] = {SOURCE},
};

static uint64_t length_of(const uint8_t *desc, uint8_t length)
{
    uint64_t size = desc_size(desc);
    struct dif_layout dif;
    switch ((enum length)length) {
    case LENGTH_TRANSFER: return size;
    case LENGTH_LIST: return 64 * size;
    case LENGTH_DELTA: return load32(desc + 40);
    case LENGTH_DELTA_MAX: return load32(desc + 48);
    case LENGTH_SEED: return idxdd_flags(desc) & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4;
    case LENGTH_DIF_WRITTEN:
        dif = dif_layout(desc);
        return size / dif.source * dif.destination;
    case LENGTH_BYTE: return 1;
    }
    return 0;
}

unsigned idxdd_touched(const uint8_t desc[64], struct touched out[TOUCHED_MAX])
{
    uint8_t opcode = idxdd_opcode(desc);
    uint32_t flags = idxdd_flags(desc);
    unsigned n = 0;
    for (unsigned i = 0; opcode < OPCODES && i < TOUCHED_MAX - 1; i++) {
        const struct row *row = &rows[opcode][i];
        if (!row->length || (row->if_flag && !(flags & row->if_flag)))
            continue;
        out[n++] = (struct touched){load64(desc + row->offset), length_of(desc, row->length), row->operand, row->write};
    }
    if (flags & IDXDD_FLAG_CRAV)
        out[n++] = (struct touched){desc_record(desc), 32, IDXDD_OPERAND_COMPLETION_RECORD, true};
    return n;
}
