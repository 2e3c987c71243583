/* An operation whose memory is not all mapped: windows of client memory, brought by the agent, stored back by it.
 *
 * Order             step as far as memory is there (STEP); store what was written into windows (STORE); only then look at how the
 *                   step ended (OUTCOME); what was missing is fetched (FETCH), and it steps again.
 * Exactness         progress counts only what has been stored: if a store fails half-way, the step is taken back (`before`), its
 *                   window cut to what can be stored, and done again.
 * A window to write is read first: an operation need not fill all of it, and what it did not is stored as it was.
 */
#include <string.h>

#include "agent.h"
#include "engine_state.h"
#include "idxdd/spec.h"

#define COPY_DISTANCE_MIN 4096u          /* ranges that overlap are copied in pieces of their distance, but not in tiny ones */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint16_t touch_flag(const struct idxdd_operation *op)
{
    return idxdd_flags(op->desc) & IDXDD_FLAG_BOF && op->limits->bof_enabled ? IDXDD_AGENT_TOUCH : 0;
}

/* ---- windows ---------------------------------------------------------------------------------------------------------------- */

uint8_t *agent_window(struct agent_slot *s, uint64_t va, bool write, uint64_t *contiguous)
{
    for (unsigned i = 0; i < IDXDD_AGENT_REGIONS; i++) {
        struct window *w = &s->window[i];
        if (w->write != write || va - w->va >= w->size)
            continue;
        w->used = ++s->clock;
        w->dirty |= write;
        *contiguous = w->size - (va - w->va);
        return w->at + (va - w->va);
    }
    return NULL;
}

static struct window *oldest_window(struct agent_slot *s)
{
    struct window *oldest = &s->window[0];
    for (unsigned i = 0; i < IDXDD_AGENT_REGIONS; i++) {
        struct window *w = &s->window[i];
        if (!w->size)
            return w;
        if (w->used < oldest->used)
            oldest = w;
    }
    return oldest;
}

static uint8_t *region_of(struct context *c, uint32_t region)
{
    return (*idxdd_space_agent(c->op.space))->page->bounce[c->slot][region];
}

static void forget_windows(struct agent_slot *s)
{
    memset(s->window, 0, sizeof s->window);
    s->stage = STAGE_STEP;
    s->hopeless = 0;
}

/* ---- fetching what is missing --------------------------------------------------------------------------------------------------- */

static bool is_hopeless(const struct context *c, const struct agent_slot *s)
{
    return s->hopeless && c->op.fault_write && c->op.fault_address == s->hopeless_at;
}

static enum advance give_up(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    agent_leave(e, c);
    return park_fault(e, p, c, c->op.fault_operand, c->op.fault_address, c->op.fault_write);
}

/* What the operation wants at fault_address, as far as nothing of it is mapped. */
static struct agent_request fetch_request(const struct context *c)
{
    const struct idxdd_operation *op = &c->op;
    uint64_t size = least(op->fault_size ? op->fault_size : 1, IDXDD_AGENT_REGION_BYTES), va = op->fault_address;
    bool back = op->direction;
    size = least(size, idxdd_space_gap(op->space, va, back));
    if (back)
        va -= size - 1;
    else if (va + (size - 1) < va)
        size = -va;
    uint16_t kind = op->fault_write ? IDXDD_AGENT_PREPARE : IDXDD_AGENT_READ;
    return (struct agent_request){.kind = kind, .flags = (uint16_t)(touch_flag(op) | (back ? IDXDD_AGENT_BACKWARDS : 0)), .address = va,
                                  .size = (uint32_t)size};
}

static enum advance fetch(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct agent_request request = fetch_request(c);
    struct window *w = c->slot == AGENT_NO_SLOT ? NULL : oldest_window(agent_slot(c));
    uint32_t count;
    if (w) {
        request.region = (uint32_t)(w - agent_slot(c)->window);
        if (!agent_slot(c)->reply)
            *w = (struct window){0}; /* from now on the agent writes there */
    }
    switch (agent_help(e, p, c, &request, &count)) {
    case HELP_WAITS: return ADVANCE_WAITS;
    case HELP_NONE: return give_up(e, p, c);
    case HELP_DONE: break;
    }
    if (!count)
        return give_up(e, p, c);
    struct agent_slot *s = agent_slot(c);
    uint64_t skipped = request.flags & IDXDD_AGENT_BACKWARDS ? request.size - count : 0;
    *w = (struct window){.va = request.address + skipped, .size = count, .at = region_of(c, request.region) + skipped, .used = ++s->clock,
                         .write = c->op.fault_write, .operand = c->op.fault_operand};
    s->stage = STAGE_STEP;
    return ADVANCE_MORE;
}

/* ---- storing what was written ----------------------------------------------------------------------------------------------------- */

/* Only `count` bytes of `w` could be stored: the step again, with so much room. */
static void take_back(struct context *c, struct agent_slot *s, struct window *w, uint32_t count)
{
    bool back = s->before.direction || c->op.direction;
    c->op = s->before;
    c->op.direction = back;
    s->hopeless = 1;
    s->hopeless_at = back ? w->va + w->size - count - 1 : w->va + count;
    if (back) {
        w->va += w->size - count;
        w->at += w->size - count;
    }
    w->size = count;
    for (unsigned i = 0; i < IDXDD_AGENT_REGIONS; i++)
        s->window[i].dirty = 0;
    s->stage = STAGE_STEP;
}

static enum advance store(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct agent_slot *s = agent_slot(c);
    struct window *w = s->window;
    while (w < s->window + IDXDD_AGENT_REGIONS && !w->dirty)
        w++;
    if (w == s->window + IDXDD_AGENT_REGIONS) {
        s->stage = STAGE_OUTCOME;
        return ADVANCE_MORE;
    }
    uint32_t count, region = (uint32_t)(w - s->window);
    bool back = c->op.direction;
    struct agent_request request = {.kind = IDXDD_AGENT_WRITE, .flags = (uint16_t)(touch_flag(&c->op) | (back ? IDXDD_AGENT_BACKWARDS : 0)),
                                    .address = w->va, .size = (uint32_t)w->size, .region = region,
                                    .source = (uint64_t)(w->at - region_of(c, region))};
    enum help help = agent_help(e, p, c, &request, &count);
    if (help == HELP_WAITS)
        return ADVANCE_WAITS;
    if (help == HELP_DONE && count == w->size) {
        w->dirty = 0;
        return ADVANCE_MORE;
    }
    if (count && help == HELP_DONE) {
        take_back(c, s, w, count);
        return ADVANCE_MORE;
    }
    struct idxdd_operation *op = &c->op;
    uint64_t address = back ? w->va + w->size - 1 : w->va;
    uint8_t operand = w->operand;
    *op = s->before;
    op->direction = back;
    op->result = back;
    op->fault_address = address;
    op->fault_operand = operand;
    op->fault_write = 1;
    op->bytes_completed = (uint32_t)op->progress;
    return give_up(e, p, c);
}

/* ---- Memory Move: within the client, in one go --------------------------------------------------------------------------------------- */

static uint64_t piece_at(const struct context *c, uint64_t va, uint16_t mapped, uint16_t *flags)
{
    uint64_t contiguous;
    if (!idxdd_translate(c->op.space, va, mapped == IDXDD_AGENT_ADDRESS_MAPPED, &contiguous))
        return idxdd_space_gap(c->op.space, va, false);
    *flags |= mapped;
    return contiguous;
}

/* False: the ranges overlap so that it must go through windows. */
static bool copy_request(const struct context *c, struct agent_request *request)
{
    const struct idxdd_operation *op = &c->op;
    uint64_t from = get64(op->desc + 16), to = get64(op->desc + 24), size = get32(op->desc + 32);
    if (idxdd_opcode(op->desc) != IDXDD_OPCODE_MEMMOVE || (to >= from && to - from < size) || op->progress >= size)
        return false;
    uint64_t n = least(size - op->progress, IDXDD_AGENT_COPY_BYTES), distance = from > to ? from - to : UINT64_MAX;
    if (distance < n) {
        if (distance < COPY_DISTANCE_MIN)
            return false;
        n = distance;
    }
    uint64_t source = from + op->progress, address = to + op->progress;
    if (source < from || address < to)
        return false;
    uint16_t flags = touch_flag(op);
    n = least(n, piece_at(c, source, IDXDD_AGENT_SOURCE_MAPPED, &flags));
    n = least(n, piece_at(c, address, IDXDD_AGENT_ADDRESS_MAPPED, &flags));
    if (source + (n - 1) < source)
        n = -source;
    if (address + (n - 1) < address)
        n = least(n, -address);
    *request = (struct agent_request){.kind = IDXDD_AGENT_COPY, .flags = flags, .address = address, .source = source, .size = (uint32_t)n};
    return true;
}

static enum advance copy(struct idxdd_engine *e, struct portal *p, struct context *c, struct agent_request *request)
{
    uint32_t count;
    switch (agent_help(e, p, c, request, &count)) {
    case HELP_WAITS: return ADVANCE_WAITS;
    case HELP_NONE: return give_up(e, p, c);
    case HELP_DONE: break;
    }
    struct agent_slot *s = agent_slot(c);
    struct idxdd_operation *op = &c->op;
    op->progress += count;
    op->bytes_moved += count;
    s->stage = STAGE_STEP;
    if (count == request->size)
        return ADVANCE_MORE;
    op->fault_write = !s->at_source;
    op->fault_operand = s->at_source ? IDXDD_OPERAND_SOURCE1 : IDXDD_OPERAND_DESTINATION1;
    op->fault_address = (s->at_source ? request->source : request->address) + count;
    op->bytes_completed = (uint32_t)op->progress;
    return give_up(e, p, c);
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------------- */

static void step(struct idxdd_engine *e, struct context *c, struct agent_slot *s, uint64_t slice)
{
    struct agent_slot **windows = idxdd_space_windows(c->op.space);
    s->before = c->op;
    *windows = s;
    s->refused = false;
    s->outcome = (uint8_t)(seldom(c->injected) ? inject_step(e, c, slice, &s->refused) : idxdd_step(&c->op, slice));
    *windows = NULL;
    s->stage = STAGE_STORE;
}

/* PHASE_RUN once a step has met an address that is not mapped. */
enum advance run_with_agent(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t slice)
{
    for (;;) {
        struct agent_slot *s = c->slot == AGENT_NO_SLOT ? NULL : agent_slot(c);
        struct agent_request request;
        enum advance how = ADVANCE_MORE;
        switch (s ? (enum stage)s->stage : STAGE_FETCH) {
        case STAGE_STEP: step(e, c, s, slice); break;
        case STAGE_STORE: how = store(e, p, c); break;
        case STAGE_OUTCOME:
            s->stage = STAGE_STEP;
            switch ((enum idxdd_step)s->outcome) {
            case IDXDD_MORE: return ADVANCE_WAITS; /* slice used up */
            case IDXDD_DONE:
                forget_windows(s);
                c->phase = PHASE_RECORD;
                return ADVANCE_MORE;
            case IDXDD_FAULT:
                if (s->refused || is_hopeless(c, s) || c->op.foreign >> c->op.fault_operand & 1)
                    return give_up(e, p, c);
                s->stage = STAGE_FETCH;
                break;
            }
            break;
        case STAGE_FETCH:
            if (s && s->reply ? s->request.kind == IDXDD_AGENT_COPY : !(c->injected && inject_faults(e, c)) && copy_request(c, &request))
                how = copy(e, p, c, &request);
            else
                how = fetch(e, p, c);
            break;
        }
        if (how != ADVANCE_MORE)
            return how;
    }
}
