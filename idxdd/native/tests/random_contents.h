/* Memory in which a descriptor finds something to do: records in order, fields that are right, sources that are nearly equal. */
#ifndef RANDOM_CONTENTS_H
#define RANDOM_CONTENTS_H

#include "random_descriptor.h"

/* Bytes of an operand as far as it lies in the space; NULL: not at all. */
static inline uint8_t *contents_of(const struct idxdd_space *space, uint8_t *contents, uint64_t va, uint64_t *room)
{
    uint64_t offset = va - space->base;
    *room = offset < SPACE_BYTES ? SPACE_BYTES - offset : 0;
    return offset < SPACE_BYTES ? contents + offset : NULL;
}

static inline void prepare_record(struct random *r, const struct idxdd_space *space, const uint8_t *desc, uint8_t *contents, bool errors)
{
    uint64_t room, entries = load32(desc + 40) / 10, groups = desc_size(desc) / 8, next = 0;
    uint8_t *at = contents_of(space, contents, desc_address1(desc), &room);
    for (uint64_t i = 0; at && i < entries && 10 * (i + 1) <= room; i++) {
        uint64_t spare = groups > next + entries - i ? (groups - next - (entries - i)) / (1 + random_below(r, entries - i)) : 0;
        uint64_t group = next + random_below(r, spare + 1);
        uint16_t index = (uint16_t)(errors && random_below(r, 64) == 0 ? random_next(r) : group);
        next = group + 1;
        memcpy(at + 10 * i, &index, 2);
    }
}

static inline void prepare_fields(struct random *r, const struct idxdd_space *space, const uint8_t *desc, uint8_t *contents, bool errors)
{
    uint64_t room, block = model_block(desc);
    uint8_t *at = contents_of(space, contents, desc_address1(desc), &room);
    uint32_t ref = load32(desc + 48);
    uint16_t mask = load16(desc + 52), app = load16(desc + 54);
    for (uint64_t k = 0; at && k * (block + 8) < desc_size(desc) && room >= block + 8; k++) {
        model_put_field(at + block, model_guard(desc, at), app & (uint16_t)~mask, ref);
        if (random_below(r, 8) == 0 && (desc[40] & 3) == 2)     /* one that is skipped */
            memset(at + block, 0xFF, 8);
        if (errors && random_below(r, 16) == 0)
            at[random_below(r, block + 8)] ^= (uint8_t)(1 + random_below(r, 255));
        if (errors && random_below(r, 16) == 0)
            memset(at + block + 2 * random_below(r, 2), 0xFF, 6);
        app = (uint16_t)(app + (desc[40] & 0x10 ? 1 : 0));
        ref += desc[40] & 0x80 ? 0 : 1;
        at += block + 8;
        room -= block + 8;
    }
}

/* Random bytes where content does not matter; with `errors`, now and then something is wrong. */
static inline void random_contents(struct random *r, const struct idxdd_space *space, const uint8_t *desc, uint8_t *contents, bool errors)
{
    uint8_t opcode = idxdd_opcode(desc);
    bool compares = opcode == IDXDD_OPCODE_COMPARE || opcode == IDXDD_OPCODE_COMPVAL || opcode == IDXDD_OPCODE_CR_DELTA;
    bool alike = compares && random_below(r, 4);
    for (unsigned i = 0; i < SPACE_BYTES; i += 8) {
        uint64_t value = alike ? 0x1111111111111111ull : random_next(r);
        memcpy(contents + i, &value, 8);
    }
    uint64_t room, first = desc_address1(desc), size = desc_size(desc);
    uint8_t *at = contents_of(space, contents, first, &room);
    for (uint64_t i = 0; at && opcode == IDXDD_OPCODE_COMPVAL && i < size && i < room; i++)
        at[i] = desc[24 + i % 8];
    for (uint64_t n = alike ? random_below(r, opcode == IDXDD_OPCODE_CR_DELTA ? 60 : 3) : 0; n; n--)
        contents[random_below(r, SPACE_BYTES)] ^= (uint8_t)(1 + random_below(r, 255));
    for (uint64_t n = at && size && alike ? random_below(r, 3) : 0; n; n--)
        at[random_below(r, size < room ? size : room)] ^= (uint8_t)(1 + random_below(r, 255));
    if (opcode == IDXDD_OPCODE_AP_DELTA)
        prepare_record(r, space, desc, contents, errors);
    if (model_reads_field(opcode))
        prepare_fields(r, space, desc, contents, errors);
}

#endif
