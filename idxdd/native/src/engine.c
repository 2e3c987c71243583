/* The engine's thread: turns, sleep, beginning and end.
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
#include <sys/prctl.h>
#include <unistd.h>

#include "engine_state.h"

#define SPIN_MIN_NS 2000u
#define SPIN_YIELD_NS 2000u
#define LOOKS_PER_CLOCK 32u

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
        if (crowded || e->parked || e->now_ns - start > SPIN_YIELD_NS)
            sched_yield(); /* whom we wait for, the device loop among them, may wait for this very core */
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
