/* Tables of rules: their swap, where and when of a rule, and the metering of shared WQs (see injector.h for who writes what). */
#include "injector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the loop's side ----------------------------------------------------------------------------------------------------------- */

static struct rule_table *table_new(const struct idxdd_rule *rules, uint32_t count)
{
    struct rule_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->count = count;
    if (count)
        memcpy(table->rule, rules, count * sizeof *rules);
    for (uint32_t i = 0, first = 0; i < count; i++) {
        first = rules[i].also ? first : i;
        table->state[i].random = rules[i].seed;
        table->events |= rules[i].what == IDXDD_RULE_EVENT;
        if (rules[first].what == IDXDD_RULE_FULL)
            table->full |= rules[i].wqs;
    }
    return table;
}

static struct injector *injector_new(void)
{
    struct injector *injector = calloc(1, sizeof *injector);
    if (injector && !(injector->hole = idxdd_space_new())) {
        free(injector);
        return NULL;
    }
    return injector;
}

void injector_free(struct injector *injector)
{
    if (injector)
        idxdd_space_unref(injector->hole);
    free(injector);
}

uint32_t idxdd_engine_set_rules(struct idxdd_engine *e, const struct idxdd_rule *rules, uint32_t count)
{
    if (count > IDXDD_RULES_MAX) {
        errno = EINVAL;
        return 0;
    }
    if (!e->injector_made && count && !(e->injector_made = injector_new())) {
        errno = ENOMEM;
        return 0;
    }
    struct rule_table *table = table_new(rules, count);
    struct retired *retired = retired_new(e->rules_set);
    struct request *r = table && retired ? request_new(e, REQUEST_RULES) : NULL;
    if (!r) {
        int error = table && retired ? errno : ENOMEM;
        free(table);
        free(retired);
        errno = error;
        return 0;
    }
    r->rules = table;
    r->injector = e->injector_made;
    e->rules_set = table;
    retire(e, retired, r->id);
    return request_send(e, r);
}

uint32_t idxdd_engine_rule_counters(const struct idxdd_engine *e, struct idxdd_rule_counters *out, uint32_t maximum)
{
    const struct rule_table *table = e->rules_set;
    uint32_t count = table ? table->count : 0;
    for (uint32_t i = 0; i < count && i < maximum; i++)
        out[i] = (struct idxdd_rule_counters){
            .matched = atomic_load_explicit(&table->state[i].matched, memory_order_relaxed),
            .hits = atomic_load_explicit(&table->state[i].hits, memory_order_relaxed),
        };
    return count;
}

/* ---- where ---------------------------------------------------------------------------------------------------------------------- */

static bool touches(const struct idxdd_rule *rule, const struct touched *touched, unsigned count)
{
    if (rule->address_first == 0 && rule->address_last == UINT64_MAX)
        return true;
    for (unsigned i = 0; i < count; i++) {
        uint64_t last = touched[i].address + (touched[i].size - 1);
        if (last < touched[i].address)
            last = UINT64_MAX; /* addresses end at 2^64 */
        if (touched[i].size && touched[i].address <= rule->address_last && last >= rule->address_first)
            return true;
    }
    return false;
}

static bool scope_holds(const struct idxdd_rule *rule, const struct context *c)
{
    switch (rule->scope) {
    case IDXDD_RULE_ANYWHERE: return true;
    case IDXDD_RULE_MEMBERS: return c->in_batch && c->place >= rule->member_first && c->place <= rule->member_last;
    case IDXDD_RULE_NOT_MEMBERS: return !c->in_batch;
    default: return false;
    }
}

bool rule_is_about(const struct idxdd_rule *rule, const struct context *c, uint32_t wq, const struct touched *touched, unsigned count)
{
    const uint8_t *desc = c->op.desc;
    uint8_t opcode = idxdd_opcode(desc);
    uint32_t size = get32(desc + 32);
    return rule->wqs >> wq & 1 && (rule->pasid == IDXDD_RULE_ANY_PASID || rule->pasid == c->op.pasid)
        && rule->opcodes[opcode >> 6] >> (opcode & 63) & 1 && (idxdd_flags(desc) & rule->flags_mask) == rule->flags_value
        && size >= rule->size_min && size <= rule->size_max && scope_holds(rule, c) && touches(rule, touched, count);
}

/* ---- when ------------------------------------------------------------------------------------------------------------------------- */

/* SplitMix64: any seed is a good one, and rules do not share a sequence. */
static uint32_t random_of(struct rule_state *state)
{
    uint64_t x = state->random += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 32);
}

/* It has hits left, and its time has come. */
bool rule_matters(const struct rule_table *table, uint32_t index)
{
    const struct idxdd_rule *rule = &table->rule[index];
    uint64_t hits = atomic_load_explicit(&table->state[index].hits, memory_order_relaxed);
    return !(rule->hits_max && hits >= rule->hits_max) && (!rule->not_before_ns || engine_now_ns() >= rule->not_before_ns);
}

/* One more try of this rule: does it strike? */
bool rule_strikes(struct rule_table *table, uint32_t index)
{
    const struct idxdd_rule *rule = &table->rule[index];
    struct rule_state *state = &table->state[index];
    if (rule->not_before_ns && engine_now_ns() < rule->not_before_ns)
        return false;
    uint64_t before = atomic_load_explicit(&state->matched, memory_order_relaxed);
    count_up(&state->matched, 1);
    if (before < rule->skip || (rule->every > 1 && (before - rule->skip) % rule->every))
        return false;
    if (rule->chance != UINT32_MAX && random_of(state) >= rule->chance)
        return false;
    if (rule->hits_max && atomic_load_explicit(&state->hits, memory_order_relaxed) >= rule->hits_max)
        return false;
    count_up(&state->hits, 1);
    return true;
}

/* ---- full shared WQs ---------------------------------------------------------------------------------------------------------------- */

/* The rules that say of this portal's submissions that the WQ is full: the first from `from` on, or count. `next`: behind it and its others. */
static uint32_t full_rule(const struct rule_table *table, const struct portal *p, uint32_t from, uint32_t *next)
{
    for (uint32_t i = from; i < table->count; i = *next) {
        bool about = false;
        *next = i;
        do {
            const struct idxdd_rule *where = &table->rule[*next];
            about |= where->wqs >> p->wq & 1 && (where->pasid == IDXDD_RULE_ANY_PASID || where->pasid == p->pasid);
        } while (++*next < table->count && table->rule[*next].also);
        if (about && table->rule[i].what == IDXDD_RULE_FULL)
            return i;
    }
    return table->count;
}

/* Does each submission of this portal have to ask? */
bool meter_covers(const struct rule_table *table, const struct portal *p)
{
    uint32_t next = 0;
    for (uint32_t i = full_rule(table, p, 0, &next); i < table->count; i = full_rule(table, p, next, &next))
        if (rule_matters(table, i))
            return true;
    return false;
}

/* One submission: is it turned away? */
bool meter_refuses(struct rule_table *table, const struct portal *p)
{
    uint32_t next = 0;
    for (uint32_t i = full_rule(table, p, 0, &next); i < table->count; i = full_rule(table, p, next, &next))
        if (rule_strikes(table, i))
            return true;
    return false;
}

/* ---- the swap ------------------------------------------------------------------------------------------------------------------------- */

static void meter_wqs(struct idxdd_engine *e, struct rule_table *table)
{
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++) {
        struct wq *wq = &e->wq[i];
        struct rule_table *before = wq->meter;
        wq->meter = table && table->full >> i & 1 ? table : NULL;
        for (uint32_t k = 0; (wq->meter || before) && k < wq->portal_count; k++)
            grant_metered(e, wq, wq->portals[k]);
    }
}

void rules_swap(struct idxdd_engine *e, struct rule_table *table, struct injector *injector)
{
    if (injector)
        e->injector = injector;
    if (e->injector)
        inject_forget(e);
    e->rules = table->count ? table : NULL;
    meter_wqs(e, e->rules);
}
