/* The operations that go by groups, entries, blocks or requests, as plainly as operation_model.h has those that go by bytes. */
#ifndef UNIT_MODEL_H
#define UNIT_MODEL_H

#include "descriptor.h"
#include "fake_space.h"

struct model {
    const struct idxdd_space *space;    /* who may be read and written; not the contents */
    uint8_t before[SPACE_BYTES];        /* Memory Move: as if the whole source were buffered first */
    uint8_t memory[SPACE_BYTES];
    uint64_t progress, reg, crc, fault_address;
    uint32_t completed, record_size;
    uint8_t status, result, fault_operand;
    bool seeded, fault_write;
    int last_group;                     /* Apply Delta Record: of the entry before, -1 = none */
    uint32_t source_ref, destination_ref;
    uint16_t source_app, destination_app;
};

static inline void model_begin(struct model *m, const uint8_t *desc)
{
    m->last_group = -1;
    m->source_ref = load32(desc + 48);
    m->source_app = load16(desc + 54);
    m->destination_ref = load32(desc + 56);
    m->destination_app = load16(desc + 62);
}

/* The byte at base + offset, if it may be used; addresses do not wrap. */
static inline uint8_t *model_byte(struct model *m, uint64_t base, uint64_t offset, bool write, uint8_t operand)
{
    uint64_t va = base + offset;
    if (va >= base && space_allows(m->space, va, write))
        return m->memory + (va - m->space->base);
    m->fault_address = va;
    m->fault_operand = operand;
    m->fault_write = write;
    return NULL;
}

/* All of `size` bytes, or none: copied to `out` if it is not NULL, else from `in`. */
static inline bool model_read(struct model *m, uint64_t base, uint64_t offset, uint8_t operand, uint8_t *out, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t *byte = model_byte(m, base, offset + i, false, operand);
        if (!byte)
            return false;
        out[i] = *byte;
    }
    return true;
}

static inline bool model_write(struct model *m, uint64_t base, uint64_t offset, uint8_t operand, const uint8_t *in, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        if (!model_byte(m, base, offset + i, true, operand))
            return false;
    for (unsigned i = 0; i < size; i++)
        *model_byte(m, base, offset + i, true, operand) = in[i];
    return true;
}

/* ---- delta records ---------------------------------------------------------------------------------------------------- */

static inline bool model_delta_end(struct model *m, const uint8_t *desc, uint8_t result)
{
    m->result = result;
    m->status = !(idxdd_flags(desc) & IDXDD_FLAG_CR) || desc[56] & (1 << result) ? 1 : 2;
    m->completed = result == 2 ? (uint32_t)m->progress : 0;
    return true;
}

static inline bool model_create_group(struct model *m, const uint8_t *desc)
{
    uint8_t one[8], entry[10] = {(uint8_t)(m->progress / 8), (uint8_t)(m->progress / 8 / 256)};
    bool there = model_read(m, desc_address1(desc), m->progress, 1, one, 8) && model_read(m, desc_address2(desc), m->progress, 2, entry + 2, 8);
    if (there && memcmp(one, entry + 2, 8) != 0) {
        if (m->record_size + 10 > load32(desc + 48))
            return model_delta_end(m, desc, 2);
        there = model_write(m, load64(desc + 40), m->record_size, 3, entry, 10);
        m->record_size += there ? 10 : 0;
    }
    m->progress += there ? 8 : 0;
    m->result = !there && m->record_size;
    return there;
}

static inline bool model_apply_entry(struct model *m, const uint8_t *desc)
{
    uint8_t entry[10];
    if (!model_read(m, desc_address1(desc), m->progress, 1, entry, 10))
        return false;
    int group = entry[0] + entry[1] * 256;
    if (group <= m->last_group || (unsigned)group * 8 >= desc_size(desc)) {
        m->status = group <= m->last_group ? 7 : 8;
        m->completed = (uint32_t)m->progress;
        return true;
    }
    if (!model_write(m, desc_address2(desc), (unsigned)group * 8, 3, entry + 2, 8))
        return false;
    m->last_group = group;
    m->progress += 10;
    return true;
}

/* ---- DIF -------------------------------------------------------------------------------------------------------------- */

static inline unsigned model_block(const uint8_t *desc)
{
    unsigned bits = desc[42] & 3u;
    return (bits & 2 ? 4096u : 512u) + (bits & 1 ? 8u : 0);
}

static inline bool model_reads_field(uint8_t opcode)
{
    return opcode == IDXDD_OPCODE_DIF_CHECK || opcode == IDXDD_OPCODE_DIF_STRP || opcode == IDXDD_OPCODE_DIF_UPDT;
}

static inline bool model_writes_field(uint8_t opcode)
{
    return opcode == IDXDD_OPCODE_DIF_INS || opcode == IDXDD_OPCODE_DIF_UPDT || opcode == IDXDD_OPCODE_DIX_GEN;
}

static inline bool model_is_dif(uint8_t opcode) { return model_reads_field(opcode) || model_writes_field(opcode); }

static inline uint16_t model_guard(const uint8_t *desc, const uint8_t *data)
{
    uint32_t reg = desc[42] & 4 ? 0xFFFF : 0;
    for (unsigned i = 0; i < model_block(desc); i++) {
        reg ^= (uint32_t)data[i] << 8;
        for (unsigned bit = 0; bit < 8; bit++)
            reg = reg & 0x8000 ? (reg << 1 ^ 0x8BB7) & 0xFFFF : reg << 1;
    }
    return (uint16_t)(desc[42] & 8 ? ~reg : reg);
}

static inline void model_put_field(uint8_t *at, uint16_t guard, uint16_t app, uint32_t ref)
{
    const uint8_t bytes[8] = {
        (uint8_t)(guard >> 8), (uint8_t)guard, (uint8_t)(app >> 8), (uint8_t)app,
        (uint8_t)(ref >> 24), (uint8_t)(ref >> 16), (uint8_t)(ref >> 8), (uint8_t)ref,
    };
    memcpy(at, bytes, 8);
}

/* operations.md 9, per block, steps 1 to 4: DIF status. */
static inline uint8_t model_check_field(const struct model *m, const uint8_t *desc, const uint8_t *field, uint16_t guard)
{
    uint8_t expected[8], all[8], flags = desc[40];
    uint16_t mask = load16(desc + 52);
    memset(all, 0xFF, 8);
    model_put_field(expected, guard, m->source_app & (uint16_t)~mask, m->source_ref);
    bool f = memcmp(field, all, 8) == 0, app_f = memcmp(field + 2, all, 2) == 0, app_ref_f = memcmp(field + 2, all, 6) == 0;
    if ((flags & 3) == 3 && f)
        return 8;
    if (((flags & 2) && f) || ((flags & 4) && app_f) || ((flags & 8) && app_ref_f))
        return 0;
    return (uint8_t)((!(flags & 0x20) && memcmp(field, expected, 2)) | (mask != 0xFFFF && memcmp(field + 2, expected + 2, 2)) << 1
                     | (!(flags & 0x40) && memcmp(field + 4, expected + 4, 4)) << 2);
}

static inline bool model_dif_block(struct model *m, const uint8_t *desc)
{
    uint8_t opcode = idxdd_opcode(desc), in[4112], fresh[8];
    unsigned block = model_block(desc), source = block + (model_reads_field(opcode) ? 8 : 0);
    if (!model_read(m, desc_address1(desc), m->progress, 1, in, source))
        return false;
    uint16_t guard = model_guard(desc, in);
    if (model_reads_field(opcode) && (m->result = model_check_field(m, desc, in + block, guard)) != 0) {
        m->status = 9;
        m->completed = (uint32_t)m->progress;
        return true;
    }
    model_put_field(fresh, guard, m->destination_app & (uint16_t)~load16(desc + 60), m->destination_ref);
    if (opcode == IDXDD_OPCODE_DIF_UPDT) {
        memcpy(fresh, desc[41] & 0x20 ? in + block : fresh, 2);
        memcpy(fresh + 2, desc[41] & 0x08 ? in + block + 2 : fresh + 2, 2);
        memcpy(fresh + 4, desc[41] & 0x40 ? in + block + 4 : fresh + 4, 4);
    }
    unsigned out = 0, from = opcode == IDXDD_OPCODE_DIX_GEN ? block : 0;
    memcpy(in + block, fresh, 8);
    if (opcode != IDXDD_OPCODE_DIF_CHECK)
        out = block - from + (model_writes_field(opcode) ? 8 : 0);
    if (!model_write(m, desc_address2(desc), m->progress / source * out, 3, in + from, out))
        return false;
    m->progress += source;
    m->source_app = (uint16_t)(m->source_app + (desc[40] & 0x10 ? 1 : 0));
    m->source_ref += desc[40] & 0x80 ? 0 : 1;
    m->destination_app = (uint16_t)(m->destination_app + (desc[41] & 0x10 ? 1 : 0));
    m->destination_ref += desc[41] & 0x80 ? 0 : 1;
    return true;
}

/* ---- what has no data -------------------------------------------------------------------------------------------------- */

static inline bool model_fetch(struct model *m, const uint8_t *desc)
{
    uint64_t stride = idxdd_flags(desc) & IDXDD_OPFLAG_TRANSL_FETCH_STRIDE ? load32(desc + 48) : 4096;
    if (!model_byte(m, (desc_address1(desc) + m->progress) & ~4095ull, 0, false, 1))
        return false;
    m->progress = m->progress + stride < desc_size(desc) ? m->progress + stride : desc_size(desc);
    return true;
}

/* Bytes 16 to 31 of the record, with success and page faults; not the CRC. */
static inline void model_fields(const struct model *m, const uint8_t *desc, uint8_t fields[16])
{
    uint8_t opcode = idxdd_opcode(desc);
    memset(fields, 0, 16);
    if (opcode == IDXDD_OPCODE_CR_DELTA)
        store32(fields, m->record_size);
    if (model_reads_field(opcode)) {
        store32(fields, m->source_ref);
        memcpy(fields + 4, desc + 52, 2);
        store16(fields + 6, m->source_app);
    }
    if (model_writes_field(opcode)) {
        store32(fields + 8, m->destination_ref);
        memcpy(fields + 12, desc + 60, 2);
        store16(fields + 14, m->destination_app);
    }
}

/* The least that a step may do at once, in units of progress; 0: it cannot be said in bytes. */
static inline uint64_t model_unit(const uint8_t *desc)
{
    uint8_t opcode = idxdd_opcode(desc);
    if (model_is_dif(opcode))
        return model_block(desc) + (model_reads_field(opcode) ? 8 : 0);
    return opcode == IDXDD_OPCODE_CR_DELTA ? 8 : opcode == IDXDD_OPCODE_AP_DELTA ? 10 : opcode == IDXDD_OPCODE_TRANSL_FETCH ? 0 : 1;
}

#endif
