/* What the device loop asks for, done by the engine: requests in the order in which they were made, each acknowledged when it is done.
 *
 * Done              a stop or drain: when no descriptor that it covers is left (a waiter is looked at after each turn that finished something).
 *                   A close: when nothing of its portal is in flight (portal_settled). All others: at once.
 * Who asks          requests.c, in the loop's thread.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine_state.h"

/* ---- stops and drains that take time -------------------------------------------------------------------------------- */

static bool waiter_over(const struct idxdd_engine *e, const struct waiter *w)
{
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
        if (w->wqs >> i & 1 && oldest_unfinished(e, &e->wq[i], w->pasid) < w->before[i])
            return false;
    return true;
}

void waiters_look(struct idxdd_engine *e)
{
    for (uint32_t i = 0; e->waiters && i < IDXDD_WAITERS; i++) {
        struct waiter *w = &e->waiter[i];
        if (!w->used || !waiter_over(e, w))
            continue;
        w->used = 0;
        e->waiters--;
        acknowledge(e, w->id);
    }
}

/* Acknowledge `id` when everything accepted so far by these WQs (of this PASID) is finished. */
static void wait_for(struct idxdd_engine *e, uint32_t id, uint64_t wqs, uint32_t pasid)
{
    struct waiter w = {.id = id, .used = 1, .wqs = wqs, .pasid = pasid};
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
        w.before[i] = e->wq[i].sequence;
    if (waiter_over(e, &w)) {
        acknowledge(e, id);
        return;
    }
    for (uint32_t i = 0; i < IDXDD_WAITERS; i++)
        if (!e->waiter[i].used) {
            e->waiter[i] = w;
            e->waiters++;
            return;
        }
    abort(); /* one command of each device, one close of each WQ: never so many at once */
}

/* ---- requests ---------------------------------------------------------------------------------------------------------- */

static void order_wqs(struct idxdd_engine *e)
{
    e->order_count = 0;
    for (uint16_t i = 0; i < IDXDD_WQS_MAX; i++)
        if (e->wq[i].enabled || e->wq[i].portal_count)
            e->order[e->order_count++] = i;
}

static void wq_enable(struct idxdd_engine *e, const struct request *r)
{
    struct wq *wq = &e->wq[r->target];
    wq->config = r->config;
    wq->capacity = wq->config.size;
    if (!wq->config.limits.dedicated && wq->config.threshold < wq->capacity)
        wq->capacity = wq->config.threshold;
    wq->counter = wq->config.priority ? wq->config.priority : 1;
    wq->enabled = 1;
    atomic_store_explicit(&wq->statistics->state, 1, memory_order_relaxed);
    order_wqs(e);
}

static void wqs_stop(struct idxdd_engine *e, const struct request *r)
{
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++) {
        struct wq *wq = &e->wq[i];
        if (!(r->wqs >> i & 1))
            continue;
        wq->enabled = 0;
        atomic_store_explicit(&wq->statistics->state, 0, memory_order_relaxed);
        for (uint32_t k = 0; k < wq->portal_count; k++)
            portal_close(e, wq->portals[k], r->value, r->reason);
    }
    order_wqs(e);
    wait_for(e, r->id, r->wqs, IDXDD_NO_PASID);
}

static void pasid_request(struct idxdd_engine *e, const struct request *r, bool abort)
{
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++) {
        struct wq *wq = &e->wq[i];
        if (!(r->wqs >> i & 1))
            continue;
        for (uint32_t k = 0; k < wq->portal_count; k++)
            if (wq->portals[k]->pasid == r->target && abort)
                portal_close(e, wq->portals[k], IDXDD_STOP_ABORT, IDXDD_CLOSED_ABORTED);
        if (!abort)
            portals_sweep(e, wq, NULL, r->target);
    }
    wait_for(e, r->id, r->wqs, r->target);
}

static void portal_add(struct idxdd_engine *e, struct portal *p)
{
    struct wq *wq = &e->wq[p->wq];
    if (wq->portal_count == wq->portal_room) {
        uint32_t more = wq->portal_room ? wq->portal_room * 2 : 16;
        struct portal **bigger = realloc(wq->portals, more * sizeof(struct portal *));
        if (!bigger)
            abort(); /* 16 KiB at the most */
        wq->portals = bigger;
        wq->portal_room = more;
    }
    wq->portals[wq->portal_count++] = p;
    atomic_store_explicit(&wq->statistics->portals, wq->portal_count, memory_order_relaxed);
    e->portal[p->number] = p;
    portal_reopen(p);
    if (!wq->enabled)
        portal_close(e, p, IDXDD_STOP_ABORT, IDXDD_CLOSED_WQ_DISABLED);
    grant_after_turn(e, wq, p);
    order_wqs(e);
}

void portal_free(struct portal *p)
{
    munmap(p->client, sizeof *p->client);
    munmap(p->device, IDXDD_PAGE);
    close(p->doorbell);
    close(p->wake);
    idxdd_space_unref(p->space);
    free(p);
}

static void portal_remove(struct idxdd_engine *e, struct portal *p)
{
    struct wq *wq = &e->wq[p->wq];
    portal_close(e, p, IDXDD_STOP_ABORT, IDXDD_CLOSED_BY_OWNER);
    while (p->first_context != NONE) /* in limbo: its record is nobody's any more */
        context_free(e, p, &e->context[p->first_context]);
    for (uint32_t i = 0; i < wq->portal_count; i++)
        if (wq->portals[i] == p) {
            wq->portals[i] = wq->portals[--wq->portal_count];
            break;
        }
    atomic_store_explicit(&wq->statistics->portals, wq->portal_count, memory_order_relaxed);
    e->portal[p->number] = NULL;
    epoll_ctl(e->epoll, EPOLL_CTL_DEL, p->doorbell, NULL); /* by hand: the client's copy keeps the file, and so the entry, alive */
    portal_free(p);
    order_wqs(e);
    drains_look(e);
}

static void agent_add(struct idxdd_engine *e, struct idxdd_agent *agent)
{
    *idxdd_space_agent(agent->space) = agent;
    agent->next = e->agents;
    e->agents = agent;
}

/* After its portals are gone: no context holds a slot of it. */
static void agent_remove(struct idxdd_engine *e, struct idxdd_space *space)
{
    struct idxdd_agent *agent = *idxdd_space_agent(space), **link = &e->agents;
    if (!agent)
        return;
    for (uint32_t i = 0; i < IDXDD_AGENT_SLOTS; i++)
        if (agent->slot[i].context != NONE)
            context_free(e, e->portal[e->context[agent->slot[i].context].portal], &e->context[agent->slot[i].context]);
    while (*link != agent)
        link = &(*link)->next;
    *link = agent->next;
    *idxdd_space_agent(space) = NULL;
    epoll_ctl(e->epoll, EPOLL_CTL_DEL, agent->doorbell, NULL);
    idxdd_agent_free(agent);
}

static void serve_request(struct idxdd_engine *e, const struct request *r)
{
    struct portal *p = NULL;
    if (r->kind == REQUEST_PORTAL_CLOSE || r->kind == REQUEST_PORTAL_REOPEN || r->kind == REQUEST_PORTAL_REMOVE)
        p = e->portal[r->target];
    switch ((enum request_kind)r->kind) {
    case REQUEST_WQ_ENABLE: wq_enable(e, r); break;
    case REQUEST_WQ_THRESHOLD:
        e->wq[r->target].config.threshold = (uint16_t)r->value;
        if (!e->wq[r->target].config.limits.dedicated)
            e->wq[r->target].capacity = r->value < e->wq[r->target].config.size ? r->value : e->wq[r->target].config.size;
        break;
    case REQUEST_WQ_STOP: wqs_stop(e, r); return;
    case REQUEST_WQ_DRAIN:
        for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
            if (r->wqs >> i & 1)
                portals_sweep(e, &e->wq[i], NULL, IDXDD_NO_PASID);
        wait_for(e, r->id, r->wqs, IDXDD_NO_PASID);
        return;
    case REQUEST_PASID_DRAIN: pasid_request(e, r, false); return;
    case REQUEST_PASID_ABORT: pasid_request(e, r, true); return;
    case REQUEST_PORTAL_ADD: portal_add(e, r->portal); break;
    case REQUEST_PORTAL_CLOSE:
        if (p) {
            bool insists = p->closes == IDXDD_CLOSES - 1; /* no place for another one that waits: what is left is aborted */
            p->close_request[p->closes++] = r->id;
            portal_close(e, p, insists ? IDXDD_STOP_ABORT : r->value, r->reason);
            return; /* acknowledged by portal_settled */
        }
        break;
    case REQUEST_PORTAL_REOPEN:
        if (p && e->wq[p->wq].enabled) {
            portal_reopen(p);
            grant_after_turn(e, &e->wq[p->wq], p);
        }
        break;
    case REQUEST_PORTAL_REMOVE:
        if (p)
            portal_remove(e, p);
        break;
    case REQUEST_RESUME: context_resume(e, r->target, r->value, r->reason, (uint8_t)r->status); e->requests_done++; return;
    case REQUEST_AGENT_ADD: agent_add(e, r->agent); break;
    case REQUEST_AGENT_REMOVE:
        agent_remove(e, r->space);
        idxdd_space_unref(r->space);
        break;
    case REQUEST_IDPT_SET: idpt_set(e, r); break;
    case REQUEST_RULES: rules_swap(e, r->rules, r->injector); break;
    case REQUEST_TRACE: trace_swap(e, r->tracer); break;
    case REQUEST_BARRIER: break; /* between slices no pointer of an old table is held */
    }
    acknowledge(e, r->id);
}

uint32_t serve_requests(struct idxdd_engine *e)
{
    uint32_t head = atomic_load_explicit(&e->request_head, memory_order_relaxed), n = 0;
    while (head != atomic_load_explicit(&e->request_tail, memory_order_acquire) && exits_have_room(e)) {
        e->requests_taken++;
        serve_request(e, &e->request[head % IDXDD_REQUEST_RING]);
        atomic_store_explicit(&e->request_head, ++head, memory_order_release);
        n++;
    }
    if (n && e->drains)
        drains_look(e); /* what a request aborted may have been waited for */
    if (n && e->waiters)
        waiters_look(e);
    return n;
}
