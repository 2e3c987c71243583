/* A portal as its one consumer sees it: acceptance, close, reopen, what the client is told.
 *
 * Accepted          the engine has read a tail past the slot and the slot lies below `limit`; at a close or in front of a drain: below
 *                   the highest limit ever granted. Acceptance copies the slot once; nothing reads the slot afterwards.
 * Close             closed (seq_cst), fence, tail once, what lies below it is accepted, closed_at, bell. The submitter looks at `closed`
 *                   after its own fence, so either we see its slot or it sees the close.
 * Trust             tail, want, dropped and wake_at are the client's and may hold anything.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine_state.h"
#include "idxdd/operations.h"

#define OPCODE_DRAIN 0x02

bool portal_has_work(struct idxdd_engine *e, const struct portal *p)
{
    if (p->contexts && portal_runnable(e, p) != NONE)
        return true;
    if (portal_may_start(e, &e->wq[p->wq], p))
        return true;
    return p->open
        && ((!p->queue_count && atomic_load_explicit(&p->client->tail, memory_order_acquire) != p->head)
            || atomic_load_explicit(&p->client->want, memory_order_relaxed) != p->want_seen
            || atomic_load_explicit(&p->client->dropped, memory_order_relaxed) != p->dropped_seen);
}

void portal_overflow(struct idxdd_engine *e, struct portal *p, uint32_t count)
{
    uint32_t pulled = atomic_load_explicit(&e->exit_head, memory_order_acquire);
    e->now_ns = engine_now_ns();
    if (p->overflow_at_ns && (e->now_ns - p->overflow_at_ns < IDXDD_OVERFLOW_INTERVAL_NS || (int32_t)(pulled - p->overflow_exit) <= 0))
        return; /* a client that does nothing else must neither keep the device loop busy nor fill the exit ring: one of each portal */
    p->overflow_at_ns = e->now_ns;
    p->overflow_exit = atomic_load_explicit(&e->exit_tail, memory_order_relaxed);
    struct idxdd_exit *exit = exit_new(e, IDXDD_EXIT_OVERFLOW, count);
    exit->wq = p->wq;
    exit->portal = p->number;
    exit->pasid = p->pasid;
    exit->priv = p->priv;
    exit_send(e);
}

/* What a drain does to the tails of other portals when it is accepted. */
enum at_drain {
    DRAIN_SWEEPS, /* what is there now comes before it */
    DRAIN_STOPS,  /* it stays in its slot */
    DRAIN_ALONE,  /* it is accepted as it is, and nothing behind it */
};

static bool accept_one(struct idxdd_engine *e, struct wq *wq, struct portal *p, enum at_drain how)
{
    uint32_t at = (p->queue_head + p->queue_count) % IDXDD_PORTAL_SLOTS;
    memcpy(p->queue[at], p->client->slot[p->head % IDXDD_PORTAL_SLOTS], 64);
    bool drain = p->queue[at][7] == OPCODE_DRAIN;
    if (drain && how == DRAIN_STOPS)
        return false; /* copied again when it is accepted: only that copy counts */
    if (drain && how == DRAIN_SWEEPS)
        portals_sweep(e, wq, p, drained_pasid(wq, p));
    p->queue_sequence[at] = wq->sequence++;
    if (seldom(e->tracer))
        p->queue_accepted_ns[at] = trace_accepted(e);
    p->queue_count++;
    wq->queued++;
    if (portal_granted(p))
        wq->granted--;
    p->head++;
    return true;
}

static uint32_t accept_up_to(struct idxdd_engine *e, struct portal *p, uint64_t up_to, enum at_drain how)
{
    struct wq *wq = &e->wq[p->wq];
    uint64_t tail = atomic_load_explicit(&p->client->tail, memory_order_acquire); /* partner: the submitter's release */
    uint64_t dropped = atomic_load_explicit(&p->client->dropped, memory_order_relaxed);
    if (dropped != p->dropped_seen) {
        uint64_t count = dropped - p->dropped_seen;
        p->dropped_seen = dropped;
        wq->deeds++;
        portal_overflow(e, p, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
    }
    if (tail - p->head > IDXDD_PORTAL_SLOTS) { /* behind us, or further than a ring: garbage */
        portal_overflow(e, p, 0);
        wq->deeds++;
        wq->granted -= portal_granted(p);
        p->head = p->limit = p->limit_max = tail;
        atomic_store_explicit(&p->device->limit, tail, memory_order_release);
        return 0;
    }
    uint32_t n = 0;
    while (p->head != tail && (int64_t)(up_to - p->head) > 0 && p->queue_count < IDXDD_PORTAL_SLOTS) {
        if (!accept_one(e, wq, p, how))
            break;
        n++;
        if (how == DRAIN_ALONE)
            break;
    }
    wq->deeds += n;
    if (n)
        count_up(&wq->statistics->accepted, n);
    return n;
}

/* Accept what lies below `up_to`. Returns how many. */
uint32_t portal_accept(struct idxdd_engine *e, struct portal *p, uint64_t up_to) { return accept_up_to(e, p, up_to, DRAIN_SWEEPS); }

static bool swept(const struct portal *q, const struct portal *but, uint32_t pasid)
{
    return q != but && q->open && (pasid == IDXDD_NO_PASID || q->pasid == pasid);
}

/* A drain that is met here comes after all that lies in front of other drains, and does not sweep in turn: two portals' drains would
 * else sweep each other without end. Ends: a queue of ours holds no more than a ring of slots. */
void portals_sweep(struct idxdd_engine *e, struct wq *wq, const struct portal *but, uint32_t pasid)
{
    uint32_t drains;
    do {
        for (uint32_t i = 0; i < wq->portal_count; i++)
            if (swept(wq->portals[i], but, pasid))
                accept_up_to(e, wq->portals[i], wq->portals[i]->limit_max, DRAIN_STOPS);
        drains = 0;
        for (uint32_t i = 0; i < wq->portal_count && !drains; i++)
            if (swept(wq->portals[i], but, pasid))
                drains = accept_up_to(e, wq->portals[i], wq->portals[i]->limit_max, DRAIN_ALONE);
    } while (drains);
}

/* May the oldest descriptor of the queue start? Of drains only so many wait, and the others stay in their queues; but one that
 * has nothing to wait for always starts, and so does what it would have waited for: the oldest of all gets a context. */
bool portal_may_start(const struct idxdd_engine *e, struct wq *wq, const struct portal *p)
{
    if (!p->queue_count || p->stalled || !context_to_be_had(e, p))
        return false;
    if (e->drains < IDXDD_DRAINS_WAITING || p->queue[p->queue_head][7] != OPCODE_DRAIN)
        return true;
    uint32_t pasid = drained_pasid(wq, p);
    if (wq->oldest_at != wq->ended || wq->oldest_pasid != pasid) { /* hundreds of portals may ask for the same between two ends */
        wq->oldest = oldest_unfinished(e, wq, pasid);
        wq->oldest_pasid = pasid;
        wq->oldest_at = wq->ended;
    }
    return wq->oldest == p->queue_sequence[p->queue_head];
}

void portal_take(struct portal *p, struct wq *wq, struct context *c)
{
    memcpy(c->op.desc, p->queue[p->queue_head], 64);
    c->sequence = p->queue_sequence[p->queue_head];
    p->queue_head = (p->queue_head + 1) % IDXDD_PORTAL_SLOTS;
    p->queue_count--;
    wq->queued--;
}

void portal_publish(struct portal *p)
{
    struct idxdd_portal_device *device = p->device;
    atomic_store_explicit(&device->descriptors, p->descriptors, memory_order_relaxed);
    atomic_store_explicit(&device->bytes, p->bytes, memory_order_relaxed);
    atomic_store_explicit(&device->retries, p->retries, memory_order_relaxed);
    atomic_store_explicit(&device->errors, p->errors, memory_order_relaxed);
    atomic_store_explicit(&device->interrupts, p->interrupts, memory_order_relaxed);
    uint64_t done = p->head - portal_in_flight(p);
    atomic_store_explicit(&device->done, done, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* partner: the waiter stores wake_at, fences, looks at done again */
    uint64_t wake_at = atomic_load_explicit(&p->client->wake_at, memory_order_relaxed);
    if (wake_at && wake_at != p->rung && (int64_t)(done - wake_at) >= 0) {
        p->rung = wake_at;
        portal_ring(p);
    } else if (!wake_at) {
        p->rung = 0; /* the waiter is awake: the same number may be waited for again */
    }
}

static void abort_descriptors(struct idxdd_engine *e, struct portal *p)
{
    struct wq *wq = &e->wq[p->wq];
    uint32_t aborted = p->queue_count, next;
    wq->ended += p->queue_count + p->contexts;
    for (uint32_t i = 0; e->tracer && i < p->queue_count; i++) {
        uint32_t at = (p->queue_head + i) % IDXDD_PORTAL_SLOTS;
        trace_never_begun(e, p, p->queue[at], p->queue_accepted_ns[at]);
    }
    wq->queued -= p->queue_count;
    p->queue_count = 0;
    atomic_store_explicit(&wq->statistics->occupancy, wq->queued, memory_order_relaxed); /* there may be no turn after this */
    for (uint32_t at = p->first_context; at != NONE; at = next) {
        struct context *c = &e->context[at];
        next = c->next;
        aborted += !c->aborted;
        if (c->state != CONTEXT_AGENT || agent_cancel(e, c)) {
            context_free(e, p, c);
            continue;
        }
        c->aborted = 1; /* the agent may still store: `done` must not count it before */
        if (!c->limbo) {
            c->limbo = 1;
            p->limbo++;
            p->stalled = 0;
        }
    }
    p->current = NONE;
    if (aborted)
        count_up(&wq->statistics->aborted, aborted);
}

void portal_close(struct idxdd_engine *e, struct portal *p, uint32_t how, uint32_t reason)
{
    struct wq *wq = &e->wq[p->wq];
    if (p->open) {
        p->open = 0;
        atomic_store(&p->device->closed, reason);
        atomic_thread_fence(memory_order_seq_cst);
        portal_accept(e, p, p->limit_max);
        grant_set(wq, p, p->head);
        grant_portal_left(wq, p);
        atomic_store_explicit(&p->device->closed_at, p->head, memory_order_release);
    }
    if (how == IDXDD_STOP_ABORT)
        abort_descriptors(e, p);
    portal_publish(p);
    portal_ring(p);
    portal_settled(e, p);
}

/* Nothing of a closed portal is in flight any more: say so to whoever asked for the close. */
void portal_settled(struct idxdd_engine *e, struct portal *p)
{
    if (portal_in_flight(p) > p->limbo)
        return;
    for (uint32_t i = 0; i < p->closes; i++)
        acknowledge(e, p->close_request[i]);
    p->closes = 0;
}

/* At the client's request only: it knows which of its slots were dropped. */
void portal_reopen(struct portal *p)
{
    if (p->open)
        return;
    p->head = atomic_load_explicit(&p->client->tail, memory_order_acquire);
    p->limit = p->limit_max = p->head;
    p->want_seen = atomic_load_explicit(&p->client->want, memory_order_relaxed);
    p->dropped_seen = atomic_load_explicit(&p->client->dropped, memory_order_relaxed);
    p->open = 1;
    atomic_store_explicit(&p->device->limit, p->limit, memory_order_release);
    atomic_store_explicit(&p->device->answered, p->want_seen, memory_order_release);
    portal_publish(p);
    atomic_store_explicit(&p->device->closed_at, IDXDD_NEVER, memory_order_release);
    atomic_store(&p->device->closed, IDXDD_OPEN);
}
