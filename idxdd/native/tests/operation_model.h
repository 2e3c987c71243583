/* The operations once more, byte by byte from operations.md 8 and as plainly as possible: what the library is held against. */
#ifndef OPERATION_MODEL_H
#define OPERATION_MODEL_H

#include "unit_model.h"

static inline uint64_t model_reversed(uint64_t value, unsigned width)
{
    uint64_t reversed = 0;
    for (unsigned i = 0; i < width; i++)
        reversed |= (value >> i & 1) << (width - 1 - i);
    return reversed;
}

/* operations.md 8, steps 1 and 3 of the CRC; `reg` is MSB first. */
static inline uint64_t model_mirror(uint64_t value, uint32_t flags, bool before)
{
    unsigned width = flags & IDXDD_OPFLAG_CRC_SIZE64 ? 64 : 32;
    uint64_t ones = width == 64 ? UINT64_MAX : UINT32_MAX;
    if (flags & IDXDD_OPFLAG_CRC_BYPASS_INVERSION)
        return value & ones;
    return before ? model_reversed(~value & ones, width) : ~model_reversed(value, width) & ones;
}

static inline void model_crc_byte(struct model *m, uint32_t flags, uint8_t byte)
{
    unsigned width = flags & IDXDD_OPFLAG_CRC_SIZE64 ? 64 : 32;
    uint64_t ones = width == 64 ? UINT64_MAX : UINT32_MAX, polynomial = width == 64 ? 0xAD93D23594C93659ull : 0x1EDC6F41u;
    if (!(flags & IDXDD_OPFLAG_CRC_BYPASS_REFLECTION))
        byte = (uint8_t)model_reversed(byte, 8);
    for (int bit = 7; bit >= 0; bit--) {
        uint64_t out = (m->reg >> (width - 1) & 1) ^ (byte >> bit & 1);
        m->reg = ((m->reg << 1) ^ (out ? polynomial : 0)) & ones;
    }
}

static inline bool model_seed(struct model *m, const uint8_t *desc)
{
    uint32_t flags = idxdd_flags(desc);
    unsigned size = flags & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4;
    const uint8_t *at = desc + 40;
    if (flags & IDXDD_OPFLAG_CRC_SEED_ADDR && !(at = model_byte(m, load64(desc + 48), 0, false, 2)))
        return false;
    m->crc = size == 8 ? load64(at) : load32(at);
    m->reg = model_mirror(m->crc, flags, true);
    m->seeded = true;
    return true;
}

/* One byte, or one unit, in the operation's own order. false: a fault. */
static inline bool model_step(struct model *m, const uint8_t *desc)
{
    uint64_t one = desc_address1(desc), two = desc_address2(desc), size = desc_size(desc), k = m->progress;
    uint32_t flags = idxdd_flags(desc);
    uint8_t *a = NULL, *b = NULL;
    bool backwards = idxdd_opcode(desc) == IDXDD_OPCODE_MEMMOVE && two >= one && two - one < size;
    if (backwards)
        k = size - 1 - k;
    switch (idxdd_opcode(desc)) {
    case IDXDD_OPCODE_MEMMOVE:
        if (!(a = model_byte(m, one, k, false, 1)) || !(b = model_byte(m, two, k, true, 3))) {
            m->result = backwards;
            return false;
        }
        *b = m->before[a - m->memory];
        break;
    case IDXDD_OPCODE_MEMFILL:
        if (!(b = model_byte(m, two, k, true, 3)))
            return false;
        *b = flags & IDXDD_OPFLAG_FILL_PATTERN16 ? desc[k % 16 < 8 ? 16 + k % 16 : 40 + k % 16 - 8] : desc[16 + k % 8];
        break;
    case IDXDD_OPCODE_COMPARE:
        if (!(a = model_byte(m, one, k, false, 1)) || !(b = model_byte(m, two, k, false, 2)))
            return false;
        if (*a != *b) {
            m->result = 1;
            m->completed = (uint32_t)k;
            m->status = !(flags & IDXDD_FLAG_CR) || desc[40] & 1 ? 1 : 2;
            return true;
        }
        break;
    case IDXDD_OPCODE_COMPVAL:
        if (!(a = model_byte(m, one, k, false, 1)))
            return false;
        if (*a != desc[24 + k % 8]) {
            m->result = 1;
            m->completed = (uint32_t)k;
            m->status = !(flags & IDXDD_FLAG_CR) || desc[40] & 1 ? 1 : 2;
            return true;
        }
        break;
    case IDXDD_OPCODE_DUALCAST: {
        uint8_t *c;
        if (!(a = model_byte(m, one, k, false, 1)) || !(b = model_byte(m, two, k, true, 3))
            || !(c = model_byte(m, load64(desc + 40), k, true, 4)))
            return false;
        *b = *c = *a;
        break;
    }
    case IDXDD_OPCODE_CFLUSH:
        if (!model_byte(m, two, k, false, 3))
            return false;
        break;
    case IDXDD_OPCODE_CR_DELTA: return model_create_group(m, desc);
    case IDXDD_OPCODE_AP_DELTA: return model_apply_entry(m, desc);
    case IDXDD_OPCODE_TRANSL_FETCH: return model_fetch(m, desc);
    case IDXDD_OPCODE_DIF_CHECK:
    case IDXDD_OPCODE_DIF_INS:
    case IDXDD_OPCODE_DIF_STRP:
    case IDXDD_OPCODE_DIF_UPDT:
    case IDXDD_OPCODE_DIX_GEN: return model_dif_block(m, desc);
    case IDXDD_OPCODE_COPY_CRC:
    case IDXDD_OPCODE_CRCGEN:
        if (!(a = model_byte(m, one, k, false, 1)))
            return false;
        if (idxdd_opcode(desc) == IDXDD_OPCODE_COPY_CRC) {
            if (!(b = model_byte(m, two, k, true, 3)))
                return false;
            *b = *a;
        }
        model_crc_byte(m, flags, *a);
        m->crc = model_mirror(m->reg, flags, false);
        break;
    }
    m->progress++;
    return true;
}

/* Run on to the end (status set) or to a fault (false). */
static inline bool model_run(struct model *m, const uint8_t *desc)
{
    uint8_t opcode = idxdd_opcode(desc);
    uint64_t size = opcode == IDXDD_OPCODE_NOOP ? 0 : opcode == IDXDD_OPCODE_AP_DELTA ? load32(desc + 40) : desc_size(desc);
    bool crc = opcode == IDXDD_OPCODE_CRCGEN || opcode == IDXDD_OPCODE_COPY_CRC;
    m->result = 0;
    m->completed = (uint32_t)m->progress;
    if (crc && !m->seeded && !model_seed(m, desc))
        return false;
    while (!m->status && m->progress < size) {
        if (!model_step(m, desc)) {
            m->completed = opcode == IDXDD_OPCODE_TRANSL_FETCH ? 0 : (uint32_t)m->progress;
            return false;
        }
    }
    if (!m->status && opcode == IDXDD_OPCODE_CR_DELTA)
        return model_delta_end(m, desc, m->record_size != 0);
    if (!m->status) {
        bool compares = opcode == IDXDD_OPCODE_COMPARE || opcode == IDXDD_OPCODE_COMPVAL;
        m->completed = 0;
        m->status = compares && idxdd_flags(desc) & IDXDD_FLAG_CR && desc[40] & 1 ? 2 : 1;
    }
    return true;
}

#endif
