/* Drain: waits in its context until all that its WQ (of its PASID, if shared) accepted before it is finished (operations.md 6).
 *
 * Who looks         after every turn that finished something, and after every request that aborted something: drains_look. The
 *                   predecessors are finished by the same thread, so there is no window between the last one's end and the look.
 */
#include "execute.h"

/* The lowest sequence number that is not finished, over the portals of `pasid`; UINT64_MAX if there is none. */
uint64_t oldest_unfinished(const struct idxdd_engine *e, const struct wq *wq, uint32_t pasid)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < wq->portal_count; i++) {
        const struct portal *p = wq->portals[i];
        if (pasid != IDXDD_NO_PASID && p->pasid != pasid)
            continue;
        if (p->queue_count && p->queue_sequence[p->queue_head] < oldest)
            oldest = p->queue_sequence[p->queue_head];
        for (uint32_t at = p->first_context; at != NONE; at = e->context[at].next)
            if (!e->context[at].limbo && e->context[at].sequence < oldest)
                oldest = e->context[at].sequence;
    }
    return oldest;
}

/* Whose descriptors a drain of this portal waits for. */
uint32_t drained_pasid(const struct wq *wq, const struct portal *p) { return wq->config.limits.dedicated ? IDXDD_NO_PASID : p->pasid; }

/* The portal goes on without it until drains_look finds that it may. */
void drain_waits(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (c->state == CONTEXT_DRAINING)
        return;
    c->state = CONTEXT_DRAINING;
    e->wq[p->wq].draining++;
    e->drains++;
    if (p->current == (uint32_t)(c - e->context))
        p->current = NONE;
}

void drain_goes_on(struct idxdd_engine *e, struct context *c)
{
    if (c->state != CONTEXT_DRAINING)
        return;
    c->state = CONTEXT_RUNNING;
    e->wq[e->portal[c->portal]->wq].draining--;
    e->drains--;
}

enum advance phase_drain(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct wq *wq = &e->wq[p->wq];
    if (oldest_unfinished(e, wq, drained_pasid(wq, p)) < c->sequence) {
        drain_waits(e, p, c);
        return ADVANCE_WAITS;
    }
    drain_goes_on(e, c);
    c->phase = PHASE_READBACK;
    return ADVANCE_MORE;
}

enum advance phase_readback(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    static const struct { uint32_t flag; uint8_t offset, operand; } readback[] = {{FLAG_OP16, 16, OPERAND_READBACK1}, {FLAG_OP17, 24, OPERAND_READBACK2}};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t address = get64(c->op.desc + readback[i].offset), contiguous;
        if (!(idxdd_flags(c->op.desc) & readback[i].flag) || c->readback > i)
            continue;
        if (seldom(c->injected) && inject_readback_fails(e, c, readback[i].operand))
            return park_fault(e, p, c, readback[i].operand, address, false);
        if (idxdd_translate(c->op.space, address, false, &contiguous))
            continue;
        enum help help = ask_agent(e, p, c, IDXDD_AGENT_READ, address, 1);
        if (help == HELP_WAITS)
            return ADVANCE_WAITS;
        if (help == HELP_NONE)
            return park_fault(e, p, c, readback[i].operand, address, false);
        c->readback = (uint8_t)(i + 1);
    }
    end_with(c, OK);
    if (e->wq[p->wq].config.evl_drains)
        end_logged(c, DRAIN_LOGGED);
    return ADVANCE_MORE;
}

/* A drain whose predecessors are gone goes on. Called after turns that finished something. */
void drains_look(struct idxdd_engine *e)
{
    const struct wq *of = NULL; /* whose oldest it is: found once for all drains of a WQ and PASID, a client may have hundreds */
    uint32_t of_pasid = 0;
    uint64_t oldest = 0;
    for (uint32_t i = 0, left = e->drains; left && i < IDXDD_CONTEXTS; i++) {
        struct context *c = &e->context[i];
        if (c->state != CONTEXT_DRAINING)
            continue;
        left--;
        if (c->phase == PHASE_USERS) {
            if (window_settled(e, c))
                drain_goes_on(e, c);
            continue;
        }
        const struct portal *p = e->portal[c->portal];
        const struct wq *wq = &e->wq[p->wq];
        uint32_t pasid = c->op.limits->dedicated ? IDXDD_NO_PASID : p->pasid;
        if (wq != of || pasid != of_pasid) {
            oldest = oldest_unfinished(e, wq, pasid);
            of = wq;
            of_pasid = pasid;
        }
        if (oldest == c->sequence) /* nothing is older than itself */
            drain_goes_on(e, c);
    }
}
