/* Batch: the list of members, one after the other in the Batch's own context (operations.md 6).
 *
 * A member          lies in op while it is at work, the Batch descriptor in batch_desc meanwhile; it goes through the phases of any descriptor
 *                   and comes back to PHASE_MEMBER. What is copied from the list is what is checked and executed.
 * Fetching          a mapped list a descriptor at a time; one that an agent reads, or that runs out of order, in chunks that end with a
 *                   page, so that a page which is not there is met after the last member before it, as ever.
 * Out of order      with options.batch_seed: members of a chunk between two fences run in an order drawn from the seed and the
 *                   batch's number in its WQ. Counts stay what they are in order: a chunk is finished before the next begins, a
 *                   fence is looked at when all before it are done.
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
    if (seldom(c->injected))
        inject_batch_begins(e, c);
    if (seldom(c->traced))
        trace_batch_begins(e, c);
    memcpy(c->batch_desc, c->op.desc, 64);
    c->members = get32(c->op.desc + 32);
    c->member = c->place = 0;
    e->list[c - e->context].count = 0;
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
    if (seldom(c->batch_injected))
        inject_batch_ends(e, c);
    if (seldom(c->batch_traced))
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

static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Each stretch that begins with a fence, shuffled in itself: its first place stays where the fence is looked at. */
static void shuffle(struct list_chunk *list, uint64_t seed)
{
    for (uint32_t from = 0, to; from < list->count; from = to) {
        for (to = from + 1; to < list->count && !(list->fenced >> to & 1);)
            to++;
        for (uint32_t left = to - from; left > 1; left--) {
            seed = mixed(seed + 0x9e3779b97f4a7c15u);
            uint32_t other = from + (uint32_t)(seed % left), last = from + left - 1;
            uint8_t swapped = list->order[last];
            list->order[last] = list->order[other];
            list->order[other] = swapped;
        }
    }
}

/* Members from the current one on, no further than its page. False: come again (*help), or the first is not there. */
static bool fetch_chunk(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t address, bool shuffled, enum help *help)
{
    struct list_chunk *list = &e->list[c - e->context];
    uint32_t count = (uint32_t)(IDXDD_PAGE - address % IDXDD_PAGE) / 64, size;
    uint64_t contiguous;
    const uint8_t *from = idxdd_translate(c->op.space, address, false, &contiguous);
    count = count < IDXDD_LIST_CHUNK ? count : IDXDD_LIST_CHUNK;
    count = count < c->members - c->member ? count : c->members - c->member;
    *help = HELP_NONE;
    if (!from) {
        struct agent_request request = {.kind = IDXDD_AGENT_READ, .flags = IDXDD_AGENT_TOUCH, .address = address, .size = 64 * count};
        *help = agent_help(e, p, c, &request, &size);
        if (*help != HELP_DONE)
            return false;
        from = agent_memory(c);
        contiguous = size;
    }
    count = count < contiguous / 64 ? count : (uint32_t)(contiguous / 64);
    *list = (struct list_chunk){.first = c->member, .count = count};
    memcpy(list->desc, from, 64 * count);
    for (uint32_t i = 0; i < count; i++) {
        list->order[i] = (uint8_t)i;
        list->fenced |= (uint16_t)((idxdd_flags(list->desc[i]) & FLAG_FENCE ? 1u : 0u) << i);
    }
    if (shuffled)
        shuffle(list, mixed(e->options.batch_seed ^ mixed(c->sequence)) + c->member);
    return count != 0;
}

/* The member whose turn it is into op; is there a fence before it? False: come again (*help), or it is not there. */
static bool next_member(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t address, bool *fenced, enum help *help)
{
    struct list_chunk *list = &e->list[c - e->context];
    bool in_order = !e->options.batch_seed || c->batch_injected;
    if (!list->count || c->member - list->first >= list->count) {
        uint64_t contiguous;
        const uint8_t *member = in_order ? idxdd_translate(c->op.space, address, false, &contiguous) : NULL;
        *help = HELP_NONE;
        if (member && contiguous >= 64) {
            c->place = c->member;
            memcpy(c->op.desc, member, 64); /* copied once: what is checked is what is executed */
            *fenced = idxdd_flags(c->op.desc) & FLAG_FENCE;
            return true;
        }
        if (!fetch_chunk(e, p, c, address, !in_order, help))
            return false;
    }
    uint32_t turn = c->member - list->first;
    c->place = list->first + list->order[turn];
    *fenced = list->fenced >> turn & 1;
    memcpy(c->op.desc, list->desc[list->order[turn]], 64);
    return true;
}

enum advance phase_member(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    const uint8_t *batch = (const uint8_t *)c->batch_desc;
    if (c->member == c->members) {
        batch_ends(e, p, c, c->batch_failed ? BATCH_FAILED : OK);
        return ADVANCE_MORE;
    }
    uint64_t address = get64(batch + 16) + 64ull * c->member, moved = c->op.bytes_moved;
    bool ends = c->batch_injected && inject_list_ends(e, c), fenced = false;
    enum help help = HELP_NONE;
    bool there = !ends && next_member(e, p, c, address, &fenced, &help);
    if (!there && help == HELP_WAITS)
        return ADVANCE_WAITS;
    if (!there) {
        c->in_batch = 0; /* the fault is the Batch's own */
        memcpy(c->op.desc, c->batch_desc, 64);
        return park_fault(e, p, c, OPERAND_LIST, address, false);
    }
    if ((c->batch_failed || c->batch_logged) && fenced) {
        c->batch_failed = 1; /* a record that is not in memory yet counts: what comes next may read it */
        batch_ends(e, p, c, BATCH_FAILED);
        c->why = IDXDD_WHY_FENCE;
        return ADVANCE_MORE;
    }
    c->in_batch = 1;
    context_begin(c);
    if (seldom(c->batch_traced))
        trace_member(e, c);
    c->op.bytes_moved = moved;
    return ADVANCE_MORE;
}
