/* Run one descriptor in the library and in the model side by side: same faults, same bytes, same record. */
#ifndef OPERATION_RUN_H
#define OPERATION_RUN_H

#include "operation_model.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* A small generator of our own: the same seed gives the same run everywhere. */
struct random { uint64_t state; };

static inline uint64_t random_next(struct random *r)
{
    r->state += 0x9E3779B97F4A7C15ull;
    uint64_t z = r->state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static inline uint64_t random_below(struct random *r, uint64_t n) { return random_next(r) % n; }

static const struct idxdd_limits all_allowed = {
    .gencap = ~IDXDD_GENCAP_STRICT_ORDER_NO_MEMORY_MASK, .opcfg = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, .max_xfer_shift = 31,
    .max_batch_shift = 10, .bof_enabled = 1, .pasid_enabled = 1, .user_int_en = 1, .dedicated = 1, .tc_enabled = 3,
};

struct side_by_side {
    struct idxdd_operation op;
    struct model model;
    uint8_t contents[SPACE_BYTES];
    unsigned faults;
};

static inline void run_start(struct side_by_side *run, struct idxdd_space *space, const uint8_t desc[64], const uint8_t *contents)
{
    space_copy(space, (uint8_t *)(uintptr_t)contents, true);
    memset(&run->op, 0, sizeof run->op);
    memcpy(run->op.desc, desc, 64);
    run->op.space = space;
    run->op.limits = &all_allowed;
    memset(&run->model, 0, sizeof run->model);
    run->model.space = space;
    memcpy(run->model.before, contents, SPACE_BYTES);
    memcpy(run->model.memory, contents, SPACE_BYTES);
    model_begin(&run->model, desc);
    run->faults = 0;
}

static inline bool has_crc_value(const struct side_by_side *run)
{
    return run->op.desc[7] == IDXDD_OPCODE_CRCGEN || run->op.desc[7] == IDXDD_OPCODE_COPY_CRC;
}

/* What the record says beside status, result and counts; not the CRC. */
static inline void check_fields(const struct side_by_side *run, bool ended)
{
    struct idxdd_operation op = run->op;
    uint8_t record[32], expected[16];
    if (!ended)
        op.status = IDXDD_STATUS_PAGE_FAULT_NOBOF;
    idxdd_record(&op, record);
    model_fields(&run->model, op.desc, expected);
    if (op.status == IDXDD_STATUS_DIF_ERR)
        memset(expected, 0, sizeof expected);
    CHECK(has_crc_value(run) || memcmp(record + 16, expected, sizeof expected) == 0);
}

/* Up to the next fault (true: it may be repaired and run again) or the end. Slices are random, none above `slice_max`. */
static inline bool run_on(struct side_by_side *run, struct random *r, uint64_t slice_max)
{
    struct idxdd_operation *op = &run->op;
    struct model *m = &run->model;
    enum idxdd_step step;
    uint64_t unit = model_unit(op->desc);
    do {
        uint64_t slice = 1 + random_below(r, slice_max), progress = op->progress;
        step = idxdd_step(op, slice);
        CHECK(!unit || op->progress - progress <= (slice > unit ? slice : unit));
        CHECK(step != IDXDD_MORE || op->progress > progress);
    } while (step == IDXDD_MORE);

    bool ended = model_run(m, op->desc);
    CHECK(ended == (step == IDXDD_DONE));
    CHECK(op->progress == m->progress && op->bytes_moved == (unit ? m->progress : 0));
    CHECK(op->result == m->result && op->bytes_completed == m->completed);
    if (has_crc_value(run))
        CHECK(!m->seeded || op->crc == m->crc);
    if (ended) {
        CHECK(op->status == m->status);
    } else {
        CHECK(op->status == 0);
        CHECK(op->fault_address == m->fault_address && op->fault_operand == m->fault_operand && op->fault_write == m->fault_write);
        run->faults++;
    }
    check_fields(run, ended);
    space_copy(op->space, run->contents, false);
    CHECK(memcmp(run->contents, m->memory, SPACE_BYTES) == 0);
    return !ended;
}

/* Make the page of the last fault reachable. false: that address can never be. */
static inline bool run_repair(struct side_by_side *run)
{
    uint64_t offset = run->op.fault_address - run->op.space->base;
    if (offset >= SPACE_BYTES || space_allows(run->op.space, run->op.fault_address, run->op.fault_write))
        return false;       /* the second: an operand that would wrap at 2^64 */
    space_set_access(run->op.space, (unsigned)(offset / PAGE_BYTES), READ_WRITE);
    return true;
}

#endif
