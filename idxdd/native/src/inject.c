/* What a rule does to a descriptor, at the phase where it happens by itself: see injector.h for stores and holds.
 *
 * Chosen            after the checks (inject_choose): events, statuses, a full WQ and slow translations act there.
 * Faults            an operation sees its memory through a space with a hole: it ends at the hole with the partial result of a missing page
 *                   and is parked as ever. Records, lists and readbacks are refused at their own phases.
 * Ends              before the record: corrupt, drop, reorder, delay; before the interrupt: lost, late.
 */
#include "injector.h"

#include <string.h>

#include "execute.h"
#include "idxdd/spec.h"

#define PAGE 4096u
#define REORDER_NS 1000000000u
#define CORRUPT_PIECE 4096u

#define BIT(what) (1u << (what))

static struct effects *store_of(struct idxdd_engine *e, const struct context *c) { return &e->injector->effects[c - e->context]; }

static bool takes(struct context *c, struct effects *x, enum idxdd_rule_what what)
{
    if (!(x->in_store & BIT(what)))
        return false;
    x->in_store &= (uint16_t)~BIT(what);
    c->injected = x->in_store != 0;
    return true;
}

void inject_forget(struct idxdd_engine *e)
{
    for (uint32_t i = 0; i < IDXDD_CONTEXTS; i++) {
        e->injector->effects[i].in_store = e->injector->batch[i].in_store = 0;
        e->context[i].injected = e->context[i].batch_injected = 0;
    }
    held_go_on(e);
}

/* The Batch's own store waits while its members have theirs. */
void inject_batch_begins(struct idxdd_engine *e, struct context *c)
{
    c->batch_injected = c->injected;
    c->injected = 0;
    if (c->batch_injected)
        e->injector->batch[c - e->context] = *store_of(e, c);
}

void inject_batch_ends(struct idxdd_engine *e, struct context *c)
{
    c->injected = c->batch_injected;
    c->batch_injected = 0;
    if (c->injected)
        *store_of(e, c) = e->injector->batch[c - e->context];
}

/* ---- choosing -------------------------------------------------------------------------------------------------------------------- */

struct choice {
    struct touched touched[TOUCHED_MAX];
    unsigned count;
    uint8_t refused;                 /* status of a check */
};

static const struct touched *operand_of(const struct choice *choice, uint8_t operand)
{
    for (unsigned i = 0; i < choice->count; i++) {
        const struct touched *touched = &choice->touched[i];
        bool record = touched->operand == OPERAND_RECORD;
        if (touched->operand == operand || (!record && operand == (touched->write ? IDXDD_RULE_FIRST_WRITTEN : IDXDD_RULE_FIRST_READ)))
            return touched;
    }
    return NULL;
}

/* What is added to this operand's addresses (offset mode of an inter-domain operation). */
static uint64_t window_of(const struct idxdd_operation *op, uint8_t operand)
{
    return op->foreign >> operand & 1 ? op->window[operand - 1] : 0;
}

/* Can this rule act on this descriptor? Notes where. */
static bool possible(const struct idxdd_rule *rule, const struct context *c, const struct choice *choice, struct effects *x)
{
    bool runs = !choice->refused, dedicated = c->op.limits->dedicated;
    const struct touched *at = operand_of(choice, rule->operand);
    bool of_record = at && at->operand == OPERAND_RECORD;
    switch (rule->what) {
    case IDXDD_RULE_STATUS: return runs;
    case IDXDD_RULE_FAULT:
        if (!at || (of_record ? !runs && !idxdd_wants_record(&c->op) : !runs || rule->offset >= at->size))
            return false;
        x->fault = *at;
        x->fault_at = window_of(&c->op, at->operand) + at->address + rule->offset;
        return x->fault_at >= at->address;
    case IDXDD_RULE_CORRUPT:
        if (!at || !at->write || rule->offset >= at->size || (!of_record && !runs))
            return false;
        x->corrupt_at = window_of(&c->op, at->operand) + at->address + rule->offset;
        x->corrupt_left = rule->count ? rule->count : 1;
        if (x->corrupt_left > at->size - rule->offset)
            x->corrupt_left = (uint32_t)(at->size - rule->offset);
        x->flip = rule->flip;
        x->corrupt_stage = 0;
        x->corrupt_operand = at->operand;
        return of_record || x->corrupt_at >= at->address;
    case IDXDD_RULE_DELAY:
    case IDXDD_RULE_DROP:
    case IDXDD_RULE_REORDER:
    case IDXDD_RULE_EVENT: return true;
    case IDXDD_RULE_FULL: return dedicated && !c->in_batch;
    case IDXDD_RULE_INTERRUPT_LOST:
    case IDXDD_RULE_INTERRUPT_LATE: return c->carries_interrupt;
    case IDXDD_RULE_SLOW: return runs && choice->count;
    default: return false;
    }
}

static void tell(struct idxdd_engine *e, const struct portal *p, const struct context *c, uint32_t id)
{
    struct idxdd_exit *exit = exit_new(e, IDXDD_EXIT_INJECTED, id);
    exit->wq = p->wq;
    exit->portal = p->number;
    exit->pasid = c->op.pasid;
    exit->priv = c->op.priv;
    exit->in_batch = c->in_batch;
    exit->batch_index = (uint16_t)c->place;
    memcpy(exit->desc, c->op.desc, 64);
    exit_send(e);
    e->events_sent++;
}

static void end_early(struct context *c, const struct idxdd_rule *rule)
{
    struct idxdd_operation *op = &c->op;
    op->status = rule->status;
    op->result = rule->result;
    op->bytes_completed = rule->bytes_completed;
    op->invalid_flags = rule->invalid_flags;
    op->fault_address = rule->fault_address;
    op->fault_operand = rule->operand & 7;
    op->fault_write = rule->status >> 7;
    c->why = IDXDD_WHY_RULE;
    c->phase = idxdd_flags(op->desc) & FLAG_CRAV && idxdd_wants_record(op) ? PHASE_PROBE : PHASE_RECORD;
}

/* Is there room for what the rules of this table may have to tell? */
bool inject_may_begin(const struct idxdd_engine *e)
{
    return !e->rules->events || e->events_sent - atomic_load_explicit(&e->events_pulled, memory_order_relaxed) < IDXDD_RULE_EVENTS_MAX;
}

static void choose(struct idxdd_engine *e, const struct portal *p, struct context *c, const struct choice *choice, struct effects *x)
{
    struct rule_table *table = e->rules;
    for (uint32_t i = 0, next; i < table->count; i = next) {
        const struct idxdd_rule *rule = &table->rule[i];
        bool about = rule_is_about(rule, c, p->wq, choice->touched, choice->count);
        for (next = i + 1; next < table->count && table->rule[next].also; next++)
            about = about || rule_is_about(&table->rule[next], c, p->wq, choice->touched, choice->count);
        if (!about || rule->what >= IDXDD_RULE_WHATS || x->in_store & BIT(rule->what))
            continue;
        struct effects noted = *x;
        if (!possible(rule, c, choice, &noted) || !rule_strikes(table, i))
            continue;
        *x = noted;
        x->in_store |= (uint16_t)BIT(rule->what);
        x->by[rule->what] = rule;
        x->first = x->first ? x->first : rule->id;
        if (c->traced)
            trace_rule(e, c, rule->id);
    }
}

/* Of a descriptor that ends, traced or not. A Batch's own is forgotten when members were looked at. */
uint32_t inject_rule_of(const struct idxdd_engine *e, const struct context *c)
{
    bool batch = idxdd_opcode(c->op.desc) == OP_BATCH;
    return e->rules && (!batch || c->why == IDXDD_WHY_RULE) ? e->injector->effects[c - e->context].first : 0;
}

static void nobody_is_told(struct idxdd_engine *e, struct context *c)
{
    c->why = IDXDD_WHY_RULE;
    if (c->traced)
        trace_dropped(e, c);
}

/* PHASE_CHECK is over, op.status says how; c->phase is where it would go on. */
enum advance inject_choose(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct choice choice = {.refused = c->op.status};
    struct effects *x = store_of(e, c);
    choice.count = idxdd_touched(c->op.desc, choice.touched);
    x->in_store = 0;
    x->first = 0;
    choose(e, p, c, &choice, x);
    c->injected = x->in_store != 0;
    if (!c->injected)
        return ADVANCE_MORE;
    if (takes(c, x, IDXDD_RULE_EVENT))
        tell(e, p, c, x->by[IDXDD_RULE_EVENT]->id);
    if (takes(c, x, IDXDD_RULE_FULL)) {
        portal_overflow(e, p, 1);
        x->in_store = c->injected = c->carries_interrupt = 0;
        c->phase = PHASE_FINISHED;
        nobody_is_told(e, c);
        return ADVANCE_MORE;
    }
    if (takes(c, x, IDXDD_RULE_STATUS))
        end_early(c, x->by[IDXDD_RULE_STATUS]);
    if (takes(c, x, IDXDD_RULE_SLOW))
        return context_hold(e, p, c, (choice.count < 1 ? 1 : choice.count) * x->by[IDXDD_RULE_SLOW]->ns, UINT64_MAX);
    return ADVANCE_MORE;
}

/* ---- faults ------------------------------------------------------------------------------------------------------------------------- */

/* The record is refused, once. */
bool inject_record_refused(struct idxdd_engine *e, struct context *c)
{
    struct effects *x = store_of(e, c);
    return x->fault.operand == OPERAND_RECORD && takes(c, x, IDXDD_RULE_FAULT);
}

/* Reading one of a Drain's addresses back fails, once. */
bool inject_readback_fails(struct idxdd_engine *e, struct context *c, uint8_t operand)
{
    struct effects *x = store_of(e, c);
    return x->fault.operand == operand && takes(c, x, IDXDD_RULE_FAULT);
}

/* Fetching this member fails, once: the Batch's store. */
bool inject_list_ends(struct idxdd_engine *e, struct context *c)
{
    struct effects *x = &e->injector->batch[c - e->context];
    if (!(x->in_store & BIT(IDXDD_RULE_FAULT)) || x->fault.operand != OPERAND_LIST || (x->fault_at - x->fault.address) / 64 != c->member)
        return false;
    x->in_store &= (uint16_t)~BIT(IDXDD_RULE_FAULT);
    c->batch_injected = x->in_store != 0;
    return true;
}

/* A move backwards works a page at a time: up to the hole by slices that end there, then the fault. */
static enum idxdd_step step_backwards(struct context *c, const struct effects *x, uint64_t slice)
{
    struct idxdd_operation *op = &c->op;
    uint64_t above = get32(op->desc + 32) - (x->fault_at - x->fault.address) - 1;
    if (op->progress < above) {
        op->direction = 1;
        return idxdd_step(op, slice < above - op->progress ? slice : above - op->progress);
    }
    op->direction = op->result = 1;
    op->fault_address = x->fault_at;
    op->fault_operand = x->fault.operand;
    op->fault_write = x->fault.write;
    op->fault_size = 1;
    op->bytes_completed = (uint32_t)op->progress;
    return IDXDD_FAULT;
}

static bool runs_backwards(const struct idxdd_operation *op)
{
    uint64_t source = get64(op->desc + 16), destination = get64(op->desc + 24);
    return idxdd_opcode(op->desc) == IDXDD_OPCODE_MEMMOVE && destination >= source && destination - source < get32(op->desc + 32);
}

/* Where the addresses of this operand count. */
static struct idxdd_space **space_of_operand(struct idxdd_operation *op, uint8_t operand)
{
    return op->foreign >> operand & 1 ? &op->domain[operand - 1] : &op->space;
}

static enum idxdd_step step_with_hole(struct idxdd_engine *e, struct context *c, const struct effects *x, uint64_t slice)
{
    struct idxdd_operation *op = &c->op;
    struct idxdd_space **seen = space_of_operand(op, x->fault.operand), *real = *seen, *hole = e->injector->hole;
    bool pages = idxdd_opcode(op->desc) == IDXDD_OPCODE_TRANSL_FETCH; /* its requests are for whole pages */
    if (pages)
        idxdd_space_hole(hole, real, x->fault_at & ~(uint64_t)(PAGE - 1), PAGE, false);
    else
        idxdd_space_hole(hole, real, x->fault_at, 1, x->fault.write);
    *seen = hole;
    enum idxdd_step step = idxdd_step(op, slice);
    *seen = real;
    return step;
}

static bool fault_is_ours(const struct idxdd_operation *op, const struct effects *x)
{
    bool pages = idxdd_opcode(op->desc) == IDXDD_OPCODE_TRANSL_FETCH;
    uint64_t at = pages ? x->fault_at & ~(uint64_t)(PAGE - 1) : x->fault_at;
    return op->fault_address == at && op->fault_write == x->fault.write;
}

/* idxdd_step, with what is in store for it. *refused: the fault is a rule's, nobody need be asked for that byte. */
enum idxdd_step inject_step(struct idxdd_engine *e, struct context *c, uint64_t slice, bool *refused)
{
    struct effects *x = store_of(e, c);
    *refused = false;
    if (!(x->in_store & BIT(IDXDD_RULE_FAULT)) || x->fault.operand == OPERAND_RECORD)
        return idxdd_step(&c->op, slice);
    enum idxdd_step step = runs_backwards(&c->op) ? step_backwards(c, x, slice) : step_with_hole(e, c, x, slice);
    if (step == IDXDD_FAULT && fault_is_ours(&c->op, x))
        *refused = takes(c, x, IDXDD_RULE_FAULT);
    return step;
}

/* Must this operation be carried out piece by piece, so that it meets its fault? */
bool inject_faults(struct idxdd_engine *e, const struct context *c)
{
    const struct effects *x = store_of(e, c);
    return x->in_store & BIT(IDXDD_RULE_FAULT) && x->fault.operand != OPERAND_RECORD;
}

/* ---- the end -------------------------------------------------------------------------------------------------------------------------- */

static bool succeeded(const struct context *c) { return c->op.status == OK || c->op.status == OK_PREDICATE; }

/* What is nobody's any more: the tail of PHASE_INTERRUPT counts it and goes on with the batch. */
static enum advance drop(struct idxdd_engine *e, struct context *c, struct effects *x)
{
    x->in_store = c->injected = c->carries_interrupt = c->report = 0;
    c->phase = PHASE_INTERRUPT;
    nobody_is_told(e, c);
    return ADVANCE_MORE;
}

/* Before the record, or the report of one that is nowhere. Unless it says MORE with the phase as it was, the phase is over. */
enum advance inject_before_end(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct effects *x = store_of(e, c);
    bool destination = x->in_store & BIT(IDXDD_RULE_CORRUPT) && x->by[IDXDD_RULE_CORRUPT]->operand != OPERAND_RECORD;
    if (destination && takes(c, x, IDXDD_RULE_CORRUPT) && succeeded(c) && c->why != IDXDD_WHY_RULE) {
        c->phase = PHASE_CORRUPT;
        return ADVANCE_MORE;
    }
    if (takes(c, x, IDXDD_RULE_DROP))
        return drop(e, c, x);
    if (takes(c, x, IDXDD_RULE_REORDER)) {
        const struct idxdd_rule *rule = x->by[IDXDD_RULE_REORDER];
        return context_hold(e, p, c, rule->ns ? rule->ns : REORDER_NS, e->wq[p->wq].finished + rule->count);
    }
    if (takes(c, x, IDXDD_RULE_DELAY))
        return context_hold(e, p, c, x->by[IDXDD_RULE_DELAY]->ns, UINT64_MAX);
    return ADVANCE_MORE;
}

static void flip(uint8_t *at, uint64_t count, uint8_t with)
{
    for (uint64_t i = 0; i < count; i++)
        at[i] ^= with;
}

/* The record as it is about to be written. */
void inject_record(struct idxdd_engine *e, const struct context *c, uint8_t record[32])
{
    const struct effects *x = store_of(e, c);
    if (x->in_store & BIT(IDXDD_RULE_CORRUPT) && x->by[IDXDD_RULE_CORRUPT]->operand == OPERAND_RECORD)
        flip(record + (x->by[IDXDD_RULE_CORRUPT]->offset & 31), x->corrupt_left, x->flip);
}

/* The same bytes, by the agent: fetched, changed, stored. */
static enum help corrupt_with_agent(struct idxdd_engine *e, struct portal *p, struct context *c, struct effects *x, uint64_t size)
{
    uint32_t count;
    struct agent_request request = {.kind = IDXDD_AGENT_READ, .flags = IDXDD_AGENT_TOUCH, .address = x->corrupt_at, .size = (uint32_t)size};
    if (x->corrupt_stage == 0) {
        enum help help = agent_help(e, p, c, &request, &count);
        if (help != HELP_DONE || count < size)
            return help == HELP_WAITS ? HELP_WAITS : HELP_NONE;
        flip(agent_memory(c), size, x->flip);
        x->corrupt_stage = 1;
    }
    request.kind = IDXDD_AGENT_WRITE;
    enum help help = agent_help(e, p, c, &request, &count);
    if (help != HELP_WAITS)
        x->corrupt_stage = 0;
    return help == HELP_DONE && count < size ? HELP_NONE : help;
}

/* PHASE_CORRUPT: the operation has succeeded; some of what it wrote is wrong. What cannot be reached any more is left as it is. */
enum advance inject_corrupt(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct effects *x = store_of(e, c);
    struct idxdd_space *space = *space_of_operand(&c->op, x->corrupt_operand);
    while (x->corrupt_left) {
        uint64_t contiguous, size = x->corrupt_left;
        uint8_t *at = idxdd_translate(space, x->corrupt_at, true, &contiguous);
        if (at) {
            size = size < contiguous ? size : contiguous;
            flip(at, size, x->flip);
        } else {
            size = size < CORRUPT_PIECE ? size : CORRUPT_PIECE;
            uint64_t gap = idxdd_space_gap(space, x->corrupt_at, false);
            size = size < gap ? size : gap;
            enum help help = space == c->op.space ? corrupt_with_agent(e, p, c, x, size) : HELP_NONE;
            if (help == HELP_WAITS)
                return ADVANCE_WAITS;
            if (help == HELP_NONE)
                break;
        }
        x->corrupt_at += size;
        x->corrupt_left -= (uint32_t)size;
    }
    c->phase = PHASE_RECORD;
    return ADVANCE_MORE;
}

/* Before the completion interrupt is raised. */
enum advance inject_before_interrupt(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct effects *x = store_of(e, c);
    if (takes(c, x, IDXDD_RULE_INTERRUPT_LOST))
        c->carries_interrupt = 0;
    if (takes(c, x, IDXDD_RULE_INTERRUPT_LATE))
        return context_hold(e, p, c, x->by[IDXDD_RULE_INTERRUPT_LATE]->ns, UINT64_MAX);
    return ADVANCE_MORE;
}
