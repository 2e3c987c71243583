/* How an operation gets at client memory: piece by piece, each piece checked, a fault noted exactly. Private. */
#ifndef IDXDD_REACH_H
#define IDXDD_REACH_H

#include "descriptor.h"

static inline uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Clients may write while we read: what was loaded is what counts, the compiler may not fetch it again. */
static inline uint64_t load64_once(const uint8_t *at) { uint64_t v = load64(at); __asm__("" : "+r"(v)); return v; }
static inline uint16_t load16_once(const uint8_t *at) { uint16_t v; memcpy(&v, at, sizeof v); __asm__("" : "+r"(v)); return v; }

static inline enum idxdd_step fault_at(struct idxdd_operation *op, uint64_t va, bool write, uint8_t operand)
{
    op->fault_address = va;
    op->fault_operand = operand;
    op->fault_write = write;
    op->fault_size = 1;
    op->bytes_completed = (uint32_t)op->progress;
    return IDXDD_FAULT;
}

/* Where an operand's addresses count. */
static inline struct idxdd_space *space_of(const struct idxdd_operation *op, uint8_t operand)
{
    return op->foreign >> operand & 1 ? op->domain[operand - 1] : op->space;
}

/* Memory at base + offset; `size` shrinks to what is contiguous. NULL: fault noted. Addresses end at 2^64, they do not wrap. */
static inline uint8_t *reach(struct idxdd_operation *op, uint64_t base, uint64_t offset, bool write, uint8_t operand, uint64_t *size)
{
    uint64_t window = op->foreign >> operand & 1 ? op->window[operand - 1] : 0, va = window + base + offset, contiguous = 0;
    bool wraps = window + base < window || va < offset;
    uint8_t *at = wraps ? NULL : idxdd_translate(space_of(op, operand), va, write, &contiguous);
    if (!at || !contiguous) {
        fault_at(op, va, write, operand);
        op->fault_size = *size;
        return NULL;
    }
    *size = smaller(*size, contiguous);
    if (va + *size < va)
        *size = -va;
    return at;
}

static inline void advance(struct idxdd_operation *op, uint64_t size)
{
    op->progress += size;
    op->bytes_moved += size;
}

/* Between slices, or at the end with success. */
static inline enum idxdd_step more_or_done(struct idxdd_operation *op, uint64_t size)
{
    if (op->progress < size)
        return IDXDD_MORE;
    op->status = IDXDD_STATUS_SUCCESS;
    op->result = 0;
    op->bytes_completed = 0;
    return IDXDD_DONE;
}

#endif
