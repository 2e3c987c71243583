/* Grants: how far each portal's tail may go, so that what a WQ holds is never more than it has room for.
 *
 * Invariant         queued + sum(limit - head) <= capacity, but for what a close or a drain's sweep found beyond a withdrawn limit.
 * Who is served     a portal is active while it shows work or asks; the capacity is divided among active portals. One that met its
 *                   limit with nothing granted starves; freed room goes to the starving in rotation, and an idle portal's grant is
 *                   withdrawn for them (not one that was given to a starving portal just now: its client may still be waking up).
 *                   A descriptor above a withdrawn limit waits in its slot.
 * The answer        `answered` follows `want` only after this was tried: a limit still at the tail then means retry, as ENQCMD.
 */
#include "engine_state.h"

void portal_active(struct wq *wq, struct portal *p, bool active)
{
    if (p->active != active) {
        p->active = active;
        wq->active += active ? 1u : -1u;
    }
}

void grant_set(struct wq *wq, struct portal *p, uint64_t limit)
{
    wq->granted -= portal_granted(p);
    wq->deeds += p->limit != limit;
    p->limit = limit;
    if ((int64_t)(limit - p->limit_max) > 0)
        p->limit_max = limit;
    wq->granted += portal_granted(p);
    atomic_store_explicit(&p->device->limit, limit, memory_order_release);
}

static int32_t room(const struct wq *wq) { return (int32_t)wq->capacity - (int32_t)wq->queued - (int32_t)wq->granted; }

/* One active portal's part. Never less than a few: where more are active than there are entries, portals take turns with a few
 * descriptors each, because waking a client costs more than what one descriptor does. */
static uint32_t share(const struct wq *wq)
{
    uint32_t active = wq->active ? wq->active : 1;
    uint32_t part = wq->capacity / active;
    uint32_t least = wq->capacity < IDXDD_GRANT_MIN ? wq->capacity : IDXDD_GRANT_MIN;
    return part > least ? part : least;
}

/* The starving stand in a queue: first come, first served. */
static void starve(struct wq *wq, struct portal *p)
{
    if (p->starving)
        return;
    p->starving = 1;
    p->starving_next = NULL;
    if (wq->starving++)
        wq->starving_last->starving_next = p;
    else
        wq->starving_first = p;
    wq->starving_last = p;
}

static void starve_no_more(struct wq *wq, struct portal *p)
{
    if (!p->starving)
        return;
    struct portal *before = NULL;
    for (struct portal *q = wq->starving_first; q != p; q = q->starving_next)
        before = q;
    *(before ? &before->starving_next : &wq->starving_first) = p->starving_next;
    if (wq->starving_last == p)
        wq->starving_last = before;
    p->starving = 0;
    wq->starving--;
}

void grant_portal_left(struct wq *wq, struct portal *p)
{
    portal_active(wq, p, false);
    starve_no_more(wq, p);
    p->rung_at = IDXDD_NEVER;
}

/* Take back from portals what they do not use, or hold beyond their share, until there is room for one. */
static void withdraw(struct idxdd_engine *e, struct wq *wq, const struct portal *for_whom)
{
    uint32_t part = share(wq);
    for (uint32_t i = 0; i < wq->portal_count && room(wq) <= 0; i++) {
        struct portal *q = wq->portals[i];
        if (q == for_whom || !q->open || !portal_granted(q))
            continue;
        uint64_t tail = atomic_load_explicit(&q->client->tail, memory_order_acquire);
        bool idle = tail == q->head && e->now_ns >= q->kept_until_ns;
        if (idle) {
            grant_set(wq, q, q->head);
            if (q->rung_at == q->head && q->rings < IDXDD_RINGS_MAX)
                starve(wq, q); /* rung and not there in time: it wakes up to nothing and sleeps on, so another bell is owed */
        } else if (portal_granted(q) > part)
            grant_set(wq, q, q->head + part);
    }
}

/* Granted no further than it has published: each of its submissions asks (FULL, idxdd/inject.h). Not on a dedicated WQ: there the posted
 * write is taken, and dropped. */
static bool metered(const struct wq *wq, const struct portal *p)
{
    return wq->meter && !wq->config.limits.dedicated && meter_covers(wq->meter, p);
}

static bool give(struct wq *wq, struct portal *p)
{
    uint32_t have = portal_granted(p), part = share(wq);
    uint64_t base = p->head + have;
    int32_t free_entries = room(wq);
    bool stuck = p->contexts >= IDXDD_CONTEXTS_PER_PORTAL; /* all parked: what it has in its queue stays there, and is its part */
    uint32_t held = have + (stuck ? p->queue_count : 0);
    if (held >= part || free_entries <= 0)
        return have > 0;
    uint32_t more = part - held;
    if (more > (uint32_t)free_entries)
        more = (uint32_t)free_entries;
    uint32_t slots = IDXDD_PORTAL_SLOTS - have - p->queue_count; /* our copy of the queue is as long as the ring of slots */
    if (have + p->queue_count >= IDXDD_PORTAL_SLOTS)
        slots = 0;
    if (more > slots)
        more = slots;
    if (metered(wq, p)) {
        uint64_t published = atomic_load_explicit(&p->client->tail, memory_order_acquire) - base;
        if (published > IDXDD_PORTAL_SLOTS)
            published = 0; /* garbage */
        more = published < more ? (uint32_t)published : more;
    }
    if (more)
        grant_set(wq, p, base + more);
    return portal_granted(p) > 0;
}

/* Freed room goes to those who were turned away; each is rung, it may be asleep. */
static void serve_starving(struct idxdd_engine *e, struct wq *wq)
{
    for (struct portal *q = wq->starving_first, *next; q && room(wq) > 0; q = next) {
        next = q->starving_next;
        if (!give(wq, q))
            continue;
        starve_no_more(wq, q);
        q->kept_until_ns = e->now_ns + IDXDD_WAKING_NS;
        q->rings = q->rung_at == q->head ? q->rings + 1 : 1;
        q->rung_at = q->head;
        portal_ring(q);
    }
}

/* A portal that streams gets back what it used before its turn ends; nobody starves, so nobody is passed over. */
void grant_in_turn(struct wq *wq, struct portal *p)
{
    if (p->open && wq->enabled && !wq->starving)
        give(wq, p);
}

/* Nobody has a turn, but somebody starves: what idle portals were given to wake up with may be free by now. */
bool grant_to_starving(struct idxdd_engine *e, struct wq *wq)
{
    uint32_t before = wq->starving;
    e->now_ns = engine_now_ns();
    withdraw(e, wq, NULL);
    serve_starving(e, wq);
    return wq->starving < before;
}

/* The rules have changed: withdraw what a metered portal has not used, or give the others theirs. */
void grant_metered(struct idxdd_engine *e, struct wq *wq, struct portal *p)
{
    if (p->open && metered(wq, p))
        grant_set(wq, p, p->head); /* what is published above it is found at the next turn */
    grant_after_turn(e, wq, p);
}

/* One submission that asks: turned away by a rule, or let through alone. */
static void answer_metered(struct wq *wq, struct portal *p, uint64_t tail)
{
    if (meter_refuses(wq->meter, p) || room(wq) <= 0 || tail - p->head >= IDXDD_PORTAL_SLOTS) {
        p->retries++;
        count_up(&wq->statistics->retries, 1);
    } else {
        grant_set(wq, p, tail + 1);
    }
}

void grant_after_turn(struct idxdd_engine *e, struct wq *wq, struct portal *p)
{
    if (!p->open || !wq->enabled)
        return;
    uint32_t want = atomic_load_explicit(&p->client->want, memory_order_acquire);
    bool asks = want != p->want_seen;
    uint64_t tail = atomic_load_explicit(&p->client->tail, memory_order_acquire);
    if (tail != p->head && !portal_granted(p))
        starve(wq, p); /* published above a limit that was withdrawn: it waits in its slot */
    if (wq->starving) {
        if (room(wq) <= 0) {
            e->now_ns = engine_now_ns();
            withdraw(e, wq, p);
        }
        serve_starving(e, wq);
    }
    if (!wq->starving)
        give(wq, p);
    if (!asks)
        return;
    portal_active(wq, p, true);
    p->rings = 0;
    if ((int64_t)(p->limit - tail) <= 0 && metered(wq, p)) {
        answer_metered(wq, p, tail);
    } else if ((int64_t)(p->limit - tail) <= 0) {
        e->now_ns = engine_now_ns();
        starve(wq, p);
        withdraw(e, wq, p);
        serve_starving(e, wq);
        if ((int64_t)(p->limit - tail) <= 0) {
            p->retries++;
            count_up(&wq->statistics->retries, 1);
        }
    }
    p->want_seen = want;
    wq->deeds++;
    atomic_store_explicit(&p->device->answered, want, memory_order_release); /* after limit: partner is the submitter's look at limit */
}
