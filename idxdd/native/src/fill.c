/* Fill (operations.md 8): the pattern starts at the destination's first byte, whatever its alignment. */
#include "reach.h"
#include "rules.h"

#define LINE 64u

/* One line of the pattern from `phase` on: a line is a multiple of the pattern, so every next line is the same. */
static void spread(uint8_t line[LINE], const uint8_t *pattern, unsigned pattern_size, uint64_t phase)
{
    for (unsigned i = 0; i < LINE; i++)
        line[i] = pattern[(phase + i) & (pattern_size - 1)];
}

static void store_lines(uint8_t *to, uint64_t size, const uint8_t line[LINE])
{
    typedef uint64_t vector __attribute__((vector_size(16), aligned(1), may_alias));
    vector v0, v1, v2, v3;
    memcpy(&v0, line, 16);
    memcpy(&v1, line + 16, 16);
    memcpy(&v2, line + 32, 16);
    memcpy(&v3, line + 48, 16);
    for (; size >= LINE; size -= LINE, to += LINE) {
        *(vector *)(to + 0) = v0;
        *(vector *)(to + 16) = v1;
        *(vector *)(to + 32) = v2;
        *(vector *)(to + 48) = v3;
    }
    memcpy(to, line, size);
}

static void fill(uint8_t *to, uint64_t size, const uint8_t *pattern, unsigned pattern_size, uint64_t phase)
{
    uint8_t line[LINE];
    uint64_t head = smaller(-(uintptr_t)to & (LINE - 1), size);
    if (head) {                     /* then every store is of one cache line */
        spread(line, pattern, pattern_size, phase);
        memcpy(to, line, head);
    }
    spread(line, pattern, pattern_size, phase + head);
    store_lines(to + head, size - head, line);
}

static bool one_byte(const uint8_t *pattern, unsigned size) { return memcmp(pattern, pattern + 1, size - 1) == 0; }

enum idxdd_step idxdd_step_fill(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t dst = desc_address2(op->desc), size = desc_size(op->desc);
    unsigned pattern_size = idxdd_flags(op->desc) & FLAG_FILL16 ? 16 : 8;
    uint8_t pattern[16];
    memcpy(pattern, op->desc + 16, 8);
    memcpy(pattern + 8, op->desc + 40, 8);
    bool plain = one_byte(pattern, pattern_size);
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        uint8_t *to = reach(op, dst, op->progress, true, OPERAND_DESTINATION, &n);
        if (!to)
            return IDXDD_FAULT;
        if (plain)
            memset(to, pattern[0], n);
        else
            fill(to, n, pattern, pattern_size, op->progress);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}
