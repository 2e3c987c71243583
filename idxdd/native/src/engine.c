/* The engine's thread: requests, turns, sleep.
 *
 * A visit           answers the requests, then gives each group one turn per engine of it that could be busy: a turn is one portal of one
 *                   WQ (WQ priority: registers.md 3.2; portals of a WQ in rotation), at most IDXDD_TURN_BYTES and IDXDD_DESCRIPTORS_PER_TURN descriptors.
 * Sleep             asleep = 1; fence; look at every input again; epoll with a belt; asleep = 0 (protocols: sleeping and waking).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "engine_state.h"

#define SPIN_MIN_NS 2000u
#define SPIN_YIELD_NS 2000u
#define LOOKS_PER_CLOCK 32u

uint64_t engine_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void acknowledge(struct idxdd_engine *e, uint32_t id)
{
    exit_new(e, IDXDD_EXIT_ACK, id);
    exit_send(e);
    e->requests_done++;
}

/* ---- stops and drains that take time -------------------------------------------------------------------------------- */

static bool waiter_over(const struct idxdd_engine *e, const struct waiter *w)
{
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
        if (w->wqs >> i & 1 && oldest_unfinished(e, &e->wq[i], w->pasid) < w->before[i])
            return false;
    return true;
}

static void waiters_look(struct idxdd_engine *e)
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

static uint32_t serve_requests(struct idxdd_engine *e)
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

/* ---- turns -------------------------------------------------------------------------------------------------------------- */

static void finish(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    p->descriptors++;
    p->bytes += c->op.bytes_moved;
    e->wq[p->wq].turn_bytes += c->op.bytes_moved;
    e->wq[p->wq].turn_completed++;
    e->wq[p->wq].finished++;
    if (seldom(c->traced))
        trace_ended(e, p, c);
    context_free(e, p, c);
    e->finished++;
}

static bool requests_wait(const struct idxdd_engine *e)
{
    return atomic_load_explicit(&e->request_tail, memory_order_relaxed) != atomic_load_explicit(&e->request_head, memory_order_relaxed)
        && exits_have_room(e);
}

/* What the portal goes on with: the context at work, one that was resumed, or the oldest accepted descriptor. */
static struct context *next_context(struct idxdd_engine *e, struct wq *wq, struct portal *p)
{
    uint32_t at = p->contexts ? portal_runnable(e, p) : NONE;
    if (at != NONE)
        return &e->context[at];
    struct context *c = portal_may_start(e, wq, p) ? context_new(e, p) : NULL;
    if (c) {
        uint64_t accepted_ns = p->queue_accepted_ns[p->queue_head];
        portal_take(p, wq, c);
        context_start(e, p, c);
        if (seldom(e->tracer))
            trace_dispatched(e, p, c, accepted_ns);
    }
    return c;
}

/* One portal's turn: accept, execute up to the quantum, tell the client, grant again. A stop or halt is looked at between slices.
 * False: it was in vain, there is no room, no context, or no number for its batch. */
static bool portal_turn(struct idxdd_engine *e, struct wq *wq, struct portal *p)
{
    uint64_t left = IDXDD_TURN_BYTES, deeds = wq->deeds;
    bool accepts = p->open && wq->enabled;
    wq->turn_bytes = wq->turn_completed = 0;
    if (seldom(e->tracer))
        trace_stale(e);
    portal_active(wq, p, p->open);
    if (accepts)
        portal_accept(e, p, p->limit);
    uint32_t members = 0; /* they count as descriptors do: a batch of many is no shorter for being one */
    for (uint32_t n = 1; n + members <= IDXDD_DESCRIPTORS_PER_TURN && left && !requests_wait(e); n++) {
        struct context *c = next_context(e, wq, p);
        if (!c && accepts && portal_accept(e, p, p->limit)) /* more has come meanwhile */
            c = next_context(e, wq, p);
        if (!c)
            break;
        p->current = (uint32_t)(c - e->context);
        uint32_t member = c->member;
        uint64_t before = c->op.bytes_moved, slice = left < IDXDD_SLICE_BYTES ? left : IDXDD_SLICE_BYTES;
        enum advance how = context_advance(e, p, c, slice);
        uint64_t moved = c->op.bytes_moved - before;
        members += c->member - member;
        wq->deeds += !(how == ADVANCE_WAITS && c->state == CONTEXT_RUNNING && (c->phase == PHASE_REPORT || c->phase == PHASE_CHECK));
        if (seldom(e->tracer) && how != ADVANCE_FINISHED)
            trace_stale(e);
        if (how == ADVANCE_FINISHED)
            finish(e, p, c);
        else if (how == ADVANCE_WAITS && c->state == CONTEXT_RUNNING && moved < slice)
            break; /* a batch that had its share of members */
        left -= moved < left ? moved : left;
        if (n % IDXDD_DESCRIPTORS_PER_GRANT == 0)
            grant_in_turn(wq, p);
    }
    count_up(&wq->statistics->completed, wq->turn_completed);
    count_up(&wq->statistics->bytes, wq->turn_bytes);
    atomic_store_explicit(&wq->statistics->occupancy, wq->queued, memory_order_relaxed);
    grant_after_turn(e, wq, p);
    portal_publish(p);
    if (p->closes)
        portal_settled(e, p);
    if (e->drains && wq->turn_completed)
        drains_look(e);
    if (e->waiters && wq->turn_completed)
        waiters_look(e);
    return wq->deeds != deeds;
}

static struct portal *next_portal(struct idxdd_engine *e, struct wq *wq)
{
    for (uint32_t i = 0; i < wq->portal_count; i++) {
        struct portal *p = wq->portals[(wq->turn + i) % wq->portal_count];
        if (portal_has_work(e, p)) {
            wq->turn = (wq->turn + i + 1) % wq->portal_count;
            return p;
        }
        if (p->active && !p->queue_count && !p->contexts)
            portal_active(wq, p, false);
    }
    return NULL;
}

static uint32_t look_at_agents(struct idxdd_engine *e)
{
    uint64_t before = e->agents_answered;
    agents_look(e);
    if (e->limbo_changed) { /* who waited for a record that its client holds back waits no longer */
        e->limbo_changed = false;
        for (uint32_t i = 0; i < IDXDD_PORTALS_MAX; i++)
            if (e->portal[i] && e->portal[i]->limbo && e->portal[i]->closes)
                portal_settled(e, e->portal[i]);
        drains_look(e);
        waiters_look(e);
    }
    return (uint32_t)(e->agents_answered - before);
}

/* Priority: each WQ with work has a credit, reloaded when all of its group's are used up (registers.md 3.2). */
static uint32_t visit(struct idxdd_engine *e)
{
    uint32_t done = serve_requests(e);
    e->visits++;
    if (e->agents_asked)
        done += look_at_agents(e);
    if (seldom(e->held))
        done += held_look(e);
    e->starving = 0;
    e->vain = exits_pile_up(e);
    if (e->vain) { /* the loop looks first; what descriptors may send until then has room */
        exits_ring(e);
        return done;
    }
    for (uint32_t i = 0; i < e->order_count; i++) {
        struct wq *wq = &e->wq[e->order[i]];
        if (wq->starving) {
            done += grant_to_starving(e, wq);
            e->starving += wq->starving != 0;
        }
        for (wq->counter = wq->config.priority ? wq->config.priority : 1; wq->counter; wq->counter--) {
            struct portal *p = next_portal(e, wq);
            if (!p)
                break;
            if (portal_turn(e, wq, p))
                done++;
            else
                e->vain = true;
            if (requests_wait(e))
                break;
        }
    }
    exits_ring(e);
    return done;
}

uint32_t idxdd_engine_run(struct idxdd_engine *e, uint32_t visits)
{
    uint32_t done = 0;
    e->now_ns = engine_now_ns();
    while (visits--)
        done += visit(e);
    return done;
}

/* ---- the thread ------------------------------------------------------------------------------------------------------------ */

static void sleep_until_rung(struct idxdd_engine *e)
{
    struct idxdd_published_device *published = e->options.published;
    atomic_store(&published->asleep, 1);
    atomic_thread_fence(memory_order_seq_cst); /* partner: who publishes fences, then reads asleep */
    if (visit(e) == 0) {
        struct epoll_event events[16];
        e->sleeps++;
        int most_ms = e->starving || e->vain ? IDXDD_STARVING_MS : IDXDD_BELT_MS;
        if (seldom(e->held))
            most_ms = held_sleep_ms(e, most_ms);
        epoll_wait(e->epoll, events, 16, e->agents_asked ? agents_sleep_ms(e, most_ms) : most_ms);
    }
    atomic_store(&published->asleep, 0);
    e->now_ns = engine_now_ns();
}

/* Look for work for a while. The budget adapts: what came during the spin lengthens it, a vain spin shortens it. */
static bool spin(struct idxdd_engine *e)
{
    uint32_t most = e->options.spin_us * 1000u;
    if (!most)
        return visit(e) != 0;
    bool crowded = atomic_load_explicit(&e->options.published->clients, memory_order_relaxed) >= e->options.published->cores;
    uint64_t start = engine_now_ns();
    for (;;) {
        for (uint32_t i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (visit(e)) {
                e->spin_ns = e->spin_ns * 2 < most ? e->spin_ns * 2 : most;
                return true;
            }
            __builtin_ia32_pause();
        }
        e->now_ns = engine_now_ns();
        if (e->now_ns - start > e->spin_ns)
            break;
        if (crowded || e->now_ns - start > SPIN_YIELD_NS)
            sched_yield(); /* whom we wait for may wait for this very core */
    }
    e->spin_ns = e->spin_ns / 2 > SPIN_MIN_NS ? e->spin_ns / 2 : SPIN_MIN_NS;
    return false;
}

static void *thread_main(void *engine)
{
    struct idxdd_engine *e = engine;
    prctl(PR_SET_NAME, "idxdd-engine");
    e->now_ns = engine_now_ns();
    while (atomic_load_explicit(&e->running, memory_order_acquire)) {
        if (!spin(e))
            sleep_until_rung(e);
    }
    return NULL;
}

int idxdd_engine_start(struct idxdd_engine *e)
{
    if (e->started)
        return EALREADY;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the device loop's */
    atomic_store(&e->running, 1);
    int error = pthread_create(&e->thread, NULL, thread_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    e->started = error == 0;
    return error;
}

void idxdd_engine_ring(struct idxdd_engine *e)
{
    uint64_t one = 1;
    (void)!write(e->request_bell, &one, sizeof one);
}

void idxdd_engine_stop(struct idxdd_engine *e)
{
    if (!e->started)
        return;
    atomic_store(&e->running, 0);
    idxdd_engine_ring(e);
    pthread_join(e->thread, NULL);
    e->started = false;
}

static int watch(struct idxdd_engine *e, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd}; /* never read: every write is an edge */
    return epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? errno : 0;
}

struct idxdd_engine *idxdd_engine_new(const struct idxdd_engine_options *options)
{
    struct idxdd_engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->options = *options;
    e->spin_ns = options->spin_us * 1000u;
    e->errors.size = IDXDD_ERRORS_KEPT;
    e->errors.record = e->error;
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
        e->wq[i].statistics = &options->published->wq[i];
    for (uint32_t i = 0; i < IDXDD_CONTEXTS; i++)
        e->context[i].next = i + 1 < IDXDD_CONTEXTS ? i + 1 : NONE;
    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    e->request_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    e->exit_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->epoll < 0 || e->request_bell < 0 || e->exit_bell < 0 || watch(e, e->request_bell)) {
        int error = errno;
        idxdd_engine_free(e);
        errno = error;
        return NULL;
    }
    return e;
}

void idxdd_engine_free(struct idxdd_engine *e)
{
    if (!e)
        return;
    idxdd_engine_stop(e);
    for (uint32_t head = e->request_head; head != e->request_tail; head++) {
        struct request *r = &e->request[head % IDXDD_REQUEST_RING];
        if (r->kind == REQUEST_PORTAL_ADD)
            portal_free(r->portal);
        else if (r->kind == REQUEST_AGENT_ADD)
            idxdd_agent_free(r->agent);
        else if (r->kind == REQUEST_AGENT_REMOVE)
            idxdd_space_unref(r->space);
        else if (r->kind == REQUEST_IDPT_SET) {
            idxdd_space_unref(r->idpt.space);
            idxdd_space_unref(r->idpt.bitmap_space);
        }
    }
    idpt_forget(e);
    for (uint32_t i = 0; i < IDXDD_PORTALS_MAX; i++)
        if (e->portal[i])
            portal_free(e->portal[i]);
    while (e->agents) {
        struct idxdd_agent *next = e->agents->next;
        *idxdd_space_agent(e->agents->space) = NULL;
        idxdd_agent_free(e->agents);
        e->agents = next;
    }
    for (uint32_t i = 0; i < IDXDD_WQS_MAX; i++)
        free(e->wq[i].portals);
    while (e->retired) {
        struct retired *next = e->retired->next;
        free(e->retired->memory);
        free(e->retired);
        e->retired = next;
    }
    free(e->rules_set);
    free(e->tracer_set);
    injector_free(e->injector_made);
    idxdd_interrupts_close(&e->interrupts);
    int fds[] = {e->epoll, e->request_bell, e->exit_bell};
    for (unsigned i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(e);
}

int idxdd_engine_exit_bell(const struct idxdd_engine *e) { return e->exit_bell; }
struct idxdd_interrupts *idxdd_engine_interrupts(struct idxdd_engine *e) { return &e->interrupts; }

void idxdd_engine_wq_counts(const struct idxdd_engine *e, uint32_t wq, struct idxdd_wq_counts *out)
{
    for (uint32_t i = 0; i < IDXDD_COUNTED_OPERATIONS; i++)
        out->operation[i] = atomic_load_explicit(&e->wq[wq].operations[i], memory_order_relaxed);
    for (uint32_t i = 0; i < IDXDD_COUNTED_STATUSES; i++)
        out->status[i] = atomic_load_explicit(&e->wq[wq].statuses[i], memory_order_relaxed);
}

void idxdd_engine_statistics(const struct idxdd_engine *e, struct idxdd_engine_statistics *out)
{
    *out = (struct idxdd_engine_statistics){
        .visits = e->visits, .sleeps = e->sleeps, .spin_ns = e->spin_ns, .contexts = e->contexts_used, .parked = e->parked,
        .exits = e->exits_sent, .requests = e->requests_done, .finished = e->finished,
    };
}
