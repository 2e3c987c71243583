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
