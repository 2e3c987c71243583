/* Descriptors that pass the checks, with operands anywhere in a fake space. */
#ifndef RANDOM_DESCRIPTOR_H
#define RANDOM_DESCRIPTOR_H

#include "operation_run.h"

static inline void desc_put(uint8_t *desc, unsigned offset, uint64_t value, unsigned size) { memcpy(desc + offset, &value, size); }

static inline void desc_begin(uint8_t *desc, uint8_t opcode, uint32_t flags)
{
    memset(desc, 0, 64);
    desc_put(desc, 4, flags | IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR, 3);
    desc[7] = opcode;
}

/* An address whose `size` bytes lie in the space; often at the very edge of a page. */
static inline uint64_t random_address(struct random *r, const struct idxdd_space *space, uint64_t size)
{
    uint64_t room = SPACE_BYTES - size, offset = random_below(r, room + 1);
    if (random_below(r, 2)) {
        uint64_t end = (offset + size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        offset = random_below(r, 2) ? offset / PAGE_BYTES * PAGE_BYTES : end - size;
    }
    return space->base + (offset > room ? room : offset);
}

static inline uint64_t random_size(struct random *r, uint64_t most)
{
    switch (random_below(r, 4)) {
    case 0: return 1 + random_below(r, 80);
    case 1: return 1 + random_below(r, 700);
    default: return 1 + random_below(r, most);
    }
}

/* Anywhere in one half of the space, so that operands of different halves do not overlap. */
static inline uint64_t random_in_half(struct random *r, const struct idxdd_space *space, unsigned half, uint64_t size, uint64_t aligned)
{
    uint64_t offset = (random_address(r, space, size) - space->base) % (SPACE_BYTES / 2 - size + 1);
    return space->base + half * (SPACE_BYTES / 2) + offset / aligned * aligned;
}

static inline void random_delta(struct random *r, const struct idxdd_space *space, uint64_t size, uint8_t *desc)
{
    bool create = idxdd_opcode(desc) == IDXDD_OPCODE_CR_DELTA;
    uint64_t record_size = create ? 80 + random_below(r, 2000) : 10 * (1 + random_below(r, 200));
    unsigned half = random_below(r, 2) & 1;
    size = (size + 7) / 8 * 8;
    if (!create && size < record_size / 10 * 8)
        size = record_size / 10 * 8;
    uint64_t record = random_in_half(r, space, half, record_size, 1), data = random_in_half(r, space, 1 - half, size, 8);
    desc_put(desc, 16, create ? data : record, 8);
    desc_put(desc, 24, create ? random_in_half(r, space, 1 - half, size, 8) : data, 8);
    desc_put(desc, 32, size, 4);
    desc_put(desc, 40, create ? record : record_size, create ? 8 : 4);
    if (create)
        desc_put(desc, 48, record_size, 4);
    if (create && random_below(r, 3) == 0) {
        desc[4] |= IDXDD_FLAG_CR;
        desc[56] = (uint8_t)random_next(r);
    }
}

static inline void random_dif(struct random *r, const struct idxdd_space *space, uint64_t size, uint8_t *desc)
{
    uint8_t opcode = idxdd_opcode(desc);
    bool reads = model_reads_field(opcode), writes = model_writes_field(opcode);
    desc[42] = random_next(r) & 0x0F;
    desc[40] = (uint8_t)(reads ? random_next(r) & (random_below(r, 2) ? 0x90 : 0xFF) : 0);
    desc[41] = (uint8_t)(writes ? random_next(r) & 0xF8 : 0);
    if (reads)
        desc_put(desc, 48, random_below(r, 3) ? random_next(r) : random_next(r) | 0xFFFE0000FFFFFFFEull, 8);
    if (reads && random_below(r, 2))
        desc_put(desc, 52, random_below(r, 2) ? 0 : 0xFFFF, 2);
    if (writes)
        desc_put(desc, 56, random_below(r, 3) ? random_next(r) : random_next(r) | 0xFFFE0000FFFFFFFEull, 8);
    uint64_t block = model_block(desc), count = 1 + size / block, unit = block + (reads ? 8 : 0);
    unsigned half = random_below(r, 2) & 1;
    desc_put(desc, 16, random_in_half(r, space, half, count * unit, 1), 8);
    desc_put(desc, 24, opcode == IDXDD_OPCODE_DIF_CHECK ? 0 : random_in_half(r, space, 1 - half, count * (block + 8), 8), 8);
    desc_put(desc, 32, count * unit, 4);
}

static inline void random_dualcast(struct random *r, const struct idxdd_space *space, uint64_t size, uint8_t *desc)
{
    uint64_t quarter = SPACE_BYTES / 4, offset = random_below(r, quarter - size % quarter);
    size = size < quarter - offset ? size : quarter - offset;
    desc_put(desc, 16, random_in_half(r, space, 0, size, 1), 8);
    desc_put(desc, 24, space->base + 2 * quarter + offset, 8);
    desc_put(desc, 40, space->base + 3 * quarter + offset, 8);
    if (random_below(r, 2))
        desc_put(desc, 24, space->base + 3 * quarter + offset, 8), desc_put(desc, 40, space->base + 2 * quarter + offset, 8);
    desc_put(desc, 32, size, 4);
}

static inline void random_descriptor(struct random *r, const struct idxdd_space *space, uint8_t opcode, uint8_t desc[64])
{
    uint64_t size = random_size(r, 5 * PAGE_BYTES), one = random_address(r, space, size), two = random_address(r, space, size);
    uint32_t specific = (uint32_t)random_next(r) & 0xF0000u;
    if (opcode == IDXDD_OPCODE_COPY_CRC) {              /* may not overlap: each in its half */
        one = space->base + (one - space->base) % (SPACE_BYTES / 2 - size);
        two = space->base + SPACE_BYTES / 2 + (two - space->base) % (SPACE_BYTES / 2 - size);
    } else if (opcode == IDXDD_OPCODE_MEMMOVE && random_below(r, 2)) {
        two = one + random_below(r, space->base + SPACE_BYTES - size - one + 1) % (size + 1);     /* overlap, backwards */
    }
    desc_begin(desc, opcode, 0);
    desc_put(desc, 16, one, 8);
    desc_put(desc, 24, two, 8);
    desc_put(desc, 32, size, 4);
    switch (opcode) {
    case IDXDD_OPCODE_NOOP:
        memset(desc + 16, 0, 20);
        break;
    case IDXDD_OPCODE_MEMFILL:
        desc_put(desc, 16, random_below(r, 4) ? random_next(r) : 0x5555555555555555ull, 8);
        if (specific & IDXDD_OPFLAG_FILL_PATTERN16) {
            desc_put(desc, 4, IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | IDXDD_OPFLAG_FILL_PATTERN16, 3);
            desc_put(desc, 40, random_below(r, 4) ? random_next(r) : 0x5555555555555555ull, 8);
        }
        break;
    case IDXDD_OPCODE_COMPARE:
        desc_put(desc, 4, IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | (specific >> 16 & 1 ? IDXDD_FLAG_CR : 0), 3);
        desc[40] = (uint8_t)random_next(r);
        break;
    case IDXDD_OPCODE_COMPVAL:
        desc_put(desc, 4, IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | (specific >> 16 & 1 ? IDXDD_FLAG_CR : 0), 3);
        desc_put(desc, 24, random_next(r), 8);
        desc[40] = (uint8_t)random_next(r);
        break;
    case IDXDD_OPCODE_CR_DELTA:
    case IDXDD_OPCODE_AP_DELTA:
        random_delta(r, space, size, desc);
        break;
    case IDXDD_OPCODE_DUALCAST:
        random_dualcast(r, space, size, desc);
        break;
    case IDXDD_OPCODE_TRANSL_FETCH:
        desc_put(desc, 24, 0, 8);
        if (specific & IDXDD_OPFLAG_TRANSL_FETCH_STRIDE) {
            desc_put(desc, 4, IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | IDXDD_OPFLAG_TRANSL_FETCH_STRIDE, 3);
            desc_put(desc, 48, 4096u << random_below(r, 4), 4);
        }
        break;
    case IDXDD_OPCODE_CFLUSH:
        desc_put(desc, 16, 0, 8);
        break;
    case IDXDD_OPCODE_DIF_CHECK:
    case IDXDD_OPCODE_DIF_INS:
    case IDXDD_OPCODE_DIF_STRP:
    case IDXDD_OPCODE_DIF_UPDT:
    case IDXDD_OPCODE_DIX_GEN:
        random_dif(r, space, size, desc);
        break;
    case IDXDD_OPCODE_CRCGEN:
        desc_put(desc, 24, 0, 8);
        /* fallthrough */
    case IDXDD_OPCODE_COPY_CRC:
        desc_put(desc, 4, IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | specific, 3);
        if (specific & IDXDD_OPFLAG_CRC_SEED_ADDR)
            desc_put(desc, 48, space->base + random_below(r, SPACE_BYTES / 8) * 8, 8);
        else
            desc_put(desc, 40, random_next(r), specific & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4);
        break;
    }
}

#endif
