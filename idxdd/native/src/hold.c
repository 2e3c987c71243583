/* Contexts that a rule holds back: their completion, their interrupt, their translations. */
#include "injector.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The portal goes on with its other descriptors meanwhile. */
enum advance context_hold(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t ns, uint64_t for_finished)
{
    uint32_t index = (uint32_t)(c - e->context);
    e->injector->held[e->held++] = (struct held){index, engine_now_ns() + least(ns, IDXDD_RULE_HOLD_MAX_NS), for_finished};
    if (c->slot != AGENT_NO_SLOT)
        agent_leave(e, c); /* others need it */
    c->state = CONTEXT_HELD;
    if (p->current == index)
        p->current = NONE;
    return ADVANCE_WAITS;
}

static void let_go(struct idxdd_engine *e, uint32_t at)
{
    e->context[e->injector->held[at].context].state = CONTEXT_RUNNING;
    e->injector->held[at] = e->injector->held[--e->held];
}

/* It ends while it is held: nobody has to let it go on any more. */
void held_leave(struct idxdd_engine *e, const struct context *c)
{
    uint32_t at = 0;
    while (e->injector->held[at].context != (uint32_t)(c - e->context))
        at++;
    e->injector->held[at] = e->injector->held[--e->held];
}

void held_go_on(struct idxdd_engine *e)
{
    while (e->held)
        let_go(e, e->held - 1);
}

/* Called at each visit while somebody is held. Returns how many went on. */
uint32_t held_look(struct idxdd_engine *e)
{
    uint32_t before = e->held;
    uint64_t now_ns = engine_now_ns();
    for (uint32_t i = 0; i < e->held;) {
        const struct held *held = &e->injector->held[i];
        const struct wq *wq = &e->wq[e->portal[e->context[held->context].portal]->wq];
        if (now_ns >= held->until_ns || wq->finished >= held->for_finished)
            let_go(e, i);
        else
            i++;
    }
    return before - e->held;
}

/* How long the engine may sleep; rounded down, so that the last millisecond is looked through. */
int held_sleep_ms(const struct idxdd_engine *e, int most)
{
    uint64_t now_ns = engine_now_ns(), until_ns = now_ns + (uint64_t)most * 1000000u;
    for (uint32_t i = 0; i < e->held; i++)
        until_ns = least(until_ns, e->injector->held[i].until_ns);
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns) / 1000000u);
}
