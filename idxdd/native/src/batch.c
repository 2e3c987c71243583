/* Batch: the list of members, one after the other in the Batch's own context (operations.md 6).
 *
 * A member          lies in op while it is at work, the Batch descriptor in batch_desc meanwhile; it goes through the phases of any descriptor
 *                   and comes back to PHASE_MEMBER. The list is copied a descriptor at a time: what is checked is what is executed.
 * Event log         members whose record is nowhere leave it to the log; so does the batch then (0x27), after all of theirs.
 */
#include <string.h>

#include "execute.h"

#define GENCAP_BATCH_CONTINUATION (1ull << 15)

/* A number for the batch of this context, kept until it ends. False: every number is in use. */
bool batch_id_take(struct idxdd_engine *e, struct context *c)
{
    for (uint32_t i = 0; c->batch_id == IDXDD_BATCH_IDS && i < IDXDD_BATCH_IDS / 64; i++)
        if (~e->batch_ids[i]) {
            uint32_t bit = (uint32_t)__builtin_ctzll(~e->batch_ids[i]);
            e->batch_ids[i] |= 1ull << bit;
            c->batch_id = (uint16_t)(64 * i + bit);
        }
    return c->batch_id != IDXDD_BATCH_IDS;
}

/* PHASE_RUN of a Batch. */
void batch_begin(struct idxdd_engine *e, struct context *c)
{
    if (c->injected)
        inject_batch_begins(e, c);
    if (c->traced)
        trace_batch_begins(e, c);
    memcpy(c->batch_desc, c->op.desc, 64);
    c->members = get32(c->op.desc + 32);
    c->member = 0;
    c->batch_record_logged = c->record_logged;
    c->batch_failed = (idxdd_flags(c->op.desc) & FLAG_OP16) != 0; /* Batch Error: an earlier part of this batch failed */
    c->phase = PHASE_MEMBER;
}

/* The batch itself is at work again: its own descriptor in op, its own checks behind it. */
void batch_ends(struct idxdd_engine *e, struct portal *p, struct context *c, uint8_t status)
{
    uint64_t moved = c->op.bytes_moved;
    bool continuation = c->op.limits->gencap & GENCAP_BATCH_CONTINUATION;
    memcpy(c->op.desc, c->batch_desc, 64);
    c->in_batch = 0;
    context_begin(c);
    if (c->batch_injected)
        inject_batch_ends(e, c);
    if (c->batch_traced)
        trace_batch_ends(e, c);
    if (idxdd_flags(c->op.desc) & FLAG_RCI)
        (void)handle_valid(e, c, p->wq);
    c->op.bytes_moved = moved;
    c->op.bytes_completed = c->member;
    c->op.result = c->batch_failed && continuation;
    c->record_logged = c->batch_record_logged;
    end_with(c, status);
    if (c->batch_logged && ((idxdd_flags(c->op.desc) & FLAG_RCI) || idxdd_wants_record(&c->op)))
        end_logged(c, BATCH_LOGGED);
}

enum advance phase_member(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    const uint8_t *batch = (const uint8_t *)c->batch_desc;
    if (c->member == c->members) {
        batch_ends(e, p, c, c->batch_failed ? BATCH_FAILED : OK);
        return ADVANCE_MORE;
    }
    uint64_t address = get64(batch + 16) + 64ull * c->member, contiguous, moved = c->op.bytes_moved;
    bool ends = c->batch_injected && inject_list_ends(e, c);
    uint8_t *member = ends ? NULL : idxdd_translate(c->op.space, address, false, &contiguous);
    if (!ends && (!member || contiguous < 64)) {
        enum help help = ask_agent(e, p, c, IDXDD_AGENT_READ, address, 64);
        if (help == HELP_WAITS)
            return ADVANCE_WAITS;
        member = help == HELP_DONE ? agent_memory(c) : NULL;
    }
    if (!member) {
        c->in_batch = 0; /* the fault is the Batch's own */
        memcpy(c->op.desc, c->batch_desc, 64);
        return park_fault(e, p, c, OPERAND_LIST, address, false);
    }
    memcpy(c->op.desc, member, 64); /* copied once: what is checked is what is executed */
    if ((c->batch_failed || c->batch_logged) && (idxdd_flags(c->op.desc) & FLAG_FENCE)) {
        c->batch_failed = 1; /* a record that is not in memory yet counts: what comes next may read it */
        batch_ends(e, p, c, BATCH_FAILED);
        c->why = IDXDD_WHY_FENCE;
        return ADVANCE_MORE;
    }
    c->in_batch = 1;
    context_begin(c);
    if (c->batch_traced)
        trace_member(e, c);
    c->op.bytes_moved = moved;
    return ADVANCE_MORE;
}
