/* What must be had whole, though the memory it lies in may not be one piece: a delta entry, a DIF block. Private.
 *
 * A piece never ends inside a page, so three pages hold the largest of them (4104 + 8 bytes); the
 * fourth piece is for a rule of fault injection, which may end memory anywhere.
 */
#ifndef IDXDD_PIECES_H
#define IDXDD_PIECES_H

#include "reach.h"

#define PIECES 4u

struct pieces {
    uint8_t *at[PIECES];
    uint64_t size[PIECES];
    unsigned count;
};

/* All `size` bytes at base + offset, or a fault noted and nothing touched. */
static inline bool reach_pieces(struct idxdd_operation *op, struct pieces *pieces, uint64_t base, uint64_t offset, uint64_t size,
                                bool write, uint8_t operand)
{
    for (pieces->count = 0; size && pieces->count < PIECES; pieces->count++) {
        uint64_t n = size;
        uint8_t *at = reach(op, base, offset, write, operand, &n);
        if (!at)
            return false;
        pieces->at[pieces->count] = at;
        pieces->size[pieces->count] = n;
        offset += n;
        size -= n;
    }
    return size == 0;
}

static inline void gather(uint8_t *to, const struct pieces *from)
{
    for (unsigned i = 0; i < from->count; to += from->size[i++])
        memcpy(to, from->at[i], from->size[i]);
    __asm__ volatile("" : : : "memory");        /* from here on the copy is what counts */
}

static inline void scatter(const struct pieces *to, const uint8_t *from)
{
    for (unsigned i = 0; i < to->count; from += to->size[i++])
        memcpy(to->at[i], from, to->size[i]);
}

#endif
