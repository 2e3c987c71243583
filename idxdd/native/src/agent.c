/* Asking an agent: see agent.h for who writes what. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine_state.h"

#define LOOKS_PER_CLOCK 64u
#define PATIENCE_REGAINED 16u      /* of so many ns that pass, one */
#define PATIENCE_MIN_NS 1000000u

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

struct idxdd_agent *idxdd_agent_new(struct idxdd_space *space, int memory_fd, int bell_fd, int doorbell_fd, uint64_t timeout_ns)
{
    struct stat file;
    struct idxdd_agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return NULL;
    *agent = (struct idxdd_agent){.page = MAP_FAILED, .bell = -1, .doorbell = -1, .timeout_ns = timeout_ns, .patience_ns = timeout_ns};
    for (unsigned i = 0; i < IDXDD_AGENT_SLOTS; i++)
        agent->slot[i].context = NONE;
    errno = EINVAL;
    if (fstat(memory_fd, &file) == 0 && file.st_size >= (off_t)sizeof *agent->page)
        agent->page = mmap(NULL, sizeof *agent->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd, 0);
    agent->bell = fcntl(bell_fd, F_DUPFD_CLOEXEC, 0);
    agent->doorbell = fcntl(doorbell_fd, F_DUPFD_CLOEXEC, 0);
    if (agent->page == MAP_FAILED || agent->bell < 0 || agent->doorbell < 0) {
        int error = errno;
        idxdd_agent_free(agent);
        errno = error;
        return NULL;
    }
    agent->space = space;
    idxdd_space_ref(space);
    return agent;
}

void idxdd_agent_free(struct idxdd_agent *agent)
{
    if (agent->page != MAP_FAILED)
        munmap(agent->page, sizeof *agent->page);
    if (agent->bell >= 0)
        close(agent->bell);
    if (agent->doorbell >= 0)
        close(agent->doorbell);
    if (agent->space)
        idxdd_space_unref(agent->space);
    free(agent);
}

static struct idxdd_agent *agent_of(const struct context *c) { return *idxdd_space_agent(c->op.space); }

struct agent_slot *agent_slot(struct context *c) { return &agent_of(c)->slot[c->slot]; }

static uint64_t word_of(const struct agent_slot *s, uint64_t state) { return s->sequence << 3 | state; }

/* ---- the portal waits meanwhile ------------------------------------------------------------------------------------------ */

static void stall(struct portal *p, struct context *c)
{
    c->state = CONTEXT_AGENT;
    p->stalled = 1;
}

static void go_on(struct idxdd_engine *e, struct context *c)
{
    struct portal *p = e->portal[c->portal];
    c->state = CONTEXT_RUNNING;
    if (c->limbo) {
        c->limbo = 0;
        p->limbo--;
        e->wq[p->wq].ended++; /* what is the oldest must be asked again */
    } else {
        p->stalled = 0;
    }
}

/* ---- slots ------------------------------------------------------------------------------------------------------------------ */

static bool usable(struct idxdd_agent *agent, unsigned i)
{
    struct agent_slot *s = &agent->slot[i];
    if (s->context != NONE)
        return false;
    if (s->held && atomic_load_explicit(&agent->page->slot[i].word, memory_order_acquire) == word_of(s, IDXDD_AGENT_RELEASED))
        s->held = 0;
    return !s->held;
}

static bool take_slot(struct idxdd_engine *e, struct idxdd_agent *agent, struct context *c)
{
    for (unsigned i = 0; i < IDXDD_AGENT_SLOTS; i++)
        if (usable(agent, i)) {
            struct agent_slot *s = &agent->slot[i];
            s->context = (uint32_t)(c - e->context);
            s->asked = s->reply = s->hopeless = 0;
            s->stage = STAGE_STEP;
            memset(s->window, 0, sizeof s->window);
            c->slot = (uint8_t)i;
            return true;
        }
    return false;
}

static bool any_slot_comes_back(const struct idxdd_engine *e, const struct idxdd_agent *agent)
{
    for (unsigned i = 0; i < IDXDD_AGENT_SLOTS; i++)
        if (agent->slot[i].context != NONE && !e->context[agent->slot[i].context].limbo)
            return true;
    return false;
}

static void wake_who_waits_for_a_slot(struct idxdd_engine *e, struct idxdd_agent *agent)
{
    for (uint32_t i = 0; agent->waiting && i < IDXDD_CONTEXTS; i++) {
        struct context *c = &e->context[i];
        if (c->state == CONTEXT_AGENT && c->slot == AGENT_NO_SLOT && agent_of(c) == agent) {
            agent->waiting--;
            go_on(e, c);
        }
    }
}

static void request_over(struct idxdd_engine *e, struct idxdd_agent *agent, struct agent_slot *s)
{
    s->asked = 0;
    agent->asked--;
    e->agents_asked--;
}

void agent_leave(struct idxdd_engine *e, struct context *c)
{
    struct idxdd_agent *agent = agent_of(c);
    if (c->slot == AGENT_NO_SLOT) {
        if (c->state == CONTEXT_AGENT)
            agent->waiting--;
        return;
    }
    struct agent_slot *s = &agent->slot[c->slot];
    if (s->asked && !agent_cancel(e, c)) {
        request_over(e, agent, s);
        s->held = 1;
    }
    s->context = NONE;
    c->slot = AGENT_NO_SLOT;
    wake_who_waits_for_a_slot(e, agent);
}

/* ---- requests --------------------------------------------------------------------------------------------------------------- */

static void ring(const struct idxdd_agent *agent)
{
    uint64_t one = 1;
    (void)!write(agent->bell, &one, sizeof one); /* full means it is readable already */
}

static void announce(struct idxdd_agent *agent)
{
    atomic_store_explicit(&agent->page->requests, ++agent->requests, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* partner: a thread that stops looking lowers awake, fences, looks once more */
    if (!atomic_load_explicit(&agent->page->awake, memory_order_relaxed))
        ring(agent);
}

static void ask(struct idxdd_engine *e, struct idxdd_agent *agent, unsigned i, const struct agent_request *request)
{
    struct agent_slot *s = &agent->slot[i];
    struct idxdd_agent_slot *shared = &agent->page->slot[i];
    s->sequence++;
    s->asked = 1;
    s->writes = request->kind == IDXDD_AGENT_WRITE || request->kind == IDXDD_AGENT_RECORD || request->kind == IDXDD_AGENT_COPY;
    s->request = *request;
    s->deadline_ns = engine_now_ns() + agent->patience_ns;
    shared->address = request->address;
    shared->source = request->source;
    shared->size = request->size;
    shared->kind = request->kind;
    shared->flags = request->flags;
    shared->region = request->region;
    atomic_store_explicit(&shared->word, word_of(s, IDXDD_AGENT_ASKED), memory_order_release);
    agent->asked++;
    e->agents_asked++;
    announce(agent);
}

static bool is_silent(const struct idxdd_agent *agent)
{
    return atomic_load_explicit(&agent->page->heard, memory_order_relaxed) != agent->hail;
}

static void hail(struct idxdd_agent *agent)
{
    agent->hail = atomic_load_explicit(&agent->page->heard, memory_order_relaxed) + 1;
    atomic_store_explicit(&agent->page->hail, agent->hail, memory_order_relaxed);
    announce(agent);
    ring(agent); /* whoever said it would look has not */
}

/* What it may still be waited for: an agent that lets requests pass one after the other delays its WQ's drains by little more than one. */
static bool has_patience(struct idxdd_agent *agent)
{
    if (agent->patience_ns >= agent->timeout_ns)
        return true;
    uint64_t now_ns = engine_now_ns();
    agent->patience_ns = least(agent->timeout_ns, agent->patience_ns + (now_ns - agent->patience_at_ns) / PATIENCE_REGAINED);
    agent->patience_at_ns = now_ns;
    return agent->patience_ns >= PATIENCE_MIN_NS;
}

enum help agent_help(struct idxdd_engine *e, struct portal *p, struct context *c, struct agent_request *request, uint32_t *count)
{
    struct idxdd_agent *agent = agent_of(c);
    *count = 0;
    if (!agent)
        return HELP_NONE;
    if (c->slot != AGENT_NO_SLOT && agent->slot[c->slot].reply) {
        struct agent_slot *s = &agent->slot[c->slot];
        bool done = s->reply == REPLY_DONE;
        s->reply = REPLY_NONE;
        *count = s->count;
        *request = s->request;
        return done ? HELP_DONE : HELP_NONE;
    }
    if (is_silent(agent) || !has_patience(agent))
        return HELP_NONE;
    if (c->slot == AGENT_NO_SLOT && !take_slot(e, agent, c)) {
        if (!any_slot_comes_back(e, agent))
            return HELP_NONE;
        agent->waiting++;
        stall(p, c);
        return HELP_WAITS;
    }
    ask(e, agent, c->slot, request);
    if (seldom(c->traced))
        trace_by_agent(e, c);
    stall(p, c);
    return HELP_WAITS;
}

uint8_t *agent_memory(struct context *c) { return agent_of(c)->page->bounce[c->slot][0]; }

enum help agent_record(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t address, const uint8_t record[32])
{
    struct agent_request request = {.kind = IDXDD_AGENT_RECORD, .address = address, .size = 32, .flags = IDXDD_AGENT_TOUCH};
    struct idxdd_agent *agent = agent_of(c);
    uint32_t count;
    if (agent && c->slot == AGENT_NO_SLOT && !is_silent(agent))
        take_slot(e, agent, c);
    if (c->slot != AGENT_NO_SLOT && !agent_slot(c)->reply)
        memcpy(agent_memory(c), record, 32);
    enum help help = agent_help(e, p, c, &request, &count);
    return help == HELP_DONE && count < 32 ? HELP_NONE : help;
}

bool agent_cancel(struct idxdd_engine *e, struct context *c)
{
    if (c->slot == AGENT_NO_SLOT || !agent_slot(c)->asked)
        return true;
    struct idxdd_agent *agent = agent_of(c);
    struct agent_slot *s = &agent->slot[c->slot];
    _Atomic uint64_t *word = &agent->page->slot[c->slot].word;
    uint64_t asked = word_of(s, IDXDD_AGENT_ASKED), taken = word_of(s, IDXDD_AGENT_TAKEN);
    bool out = atomic_compare_exchange_strong(word, &asked, word_of(s, IDXDD_AGENT_FREE));
    if (!out && atomic_compare_exchange_strong(word, &taken, word_of(s, IDXDD_AGENT_DROPPED)))
        s->held = out = true;
    if (!out && atomic_load_explicit(word, memory_order_acquire) == word_of(s, IDXDD_AGENT_DONE))
        out = true;
    if (!out && !s->writes)
        s->held = out = true; /* not a word of ours: it can do no more than spoil the bounce buffer */
    if (out)
        request_over(e, agent, s);
    return out;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static void answered(struct idxdd_engine *e, struct idxdd_agent *agent, unsigned i)
{
    struct agent_slot *s = &agent->slot[i];
    const struct idxdd_agent_slot *shared = &agent->page->slot[i];
    uint32_t count = *(const volatile uint32_t *)&shared->count;
    s->count = count <= s->request.size ? count : 0;
    s->at_source = *(const volatile uint32_t *)&shared->at_source != 0;
    s->reply = REPLY_DONE;
    request_over(e, agent, s);
}

static void too_late(struct idxdd_engine *e, struct idxdd_agent *agent, struct context *c)
{
    struct portal *p = e->portal[c->portal];
    struct agent_slot *s = agent_slot(c);
    agent->patience_ns = 0;
    agent->patience_at_ns = engine_now_ns();
    if (!is_silent(agent))
        hail(agent);
    if (agent_cancel(e, c)) {
        s->reply = REPLY_LOST;
        go_on(e, c);
        return;
    }
    c->limbo = 1; /* the agent is inside: its record waits, and nothing else */
    p->limbo++;
    e->wq[p->wq].ended++;
    p->stalled = 0;
    p->current = NONE;
    s->deadline_ns = UINT64_MAX;
    e->limbo_changed = true;
    wake_who_waits_for_a_slot(e, agent); /* not for this one */
}

static void agent_look(struct idxdd_engine *e, struct idxdd_agent *agent, uint64_t now_ns)
{
    for (unsigned i = 0; agent->asked && i < IDXDD_AGENT_SLOTS; i++) {
        struct agent_slot *s = &agent->slot[i];
        if (!s->asked)
            continue;
        struct context *c = &e->context[s->context];
        if (atomic_load_explicit(&agent->page->slot[i].word, memory_order_acquire) == word_of(s, IDXDD_AGENT_DONE)) {
            answered(e, agent, i);
            if (c->aborted) {
                struct portal *p = e->portal[c->portal];
                context_free(e, p, c);
                portal_publish(p);
            } else {
                go_on(e, c);
            }
            e->agents_answered++;
        } else if (now_ns > s->deadline_ns) {
            too_late(e, agent, c);
            e->agents_answered++;
        }
    }
}

/* Called at each visit while a request is under way. */
void agents_look(struct idxdd_engine *e)
{
    uint64_t now_ns = e->visits % LOOKS_PER_CLOCK ? 0 : engine_now_ns();
    for (struct idxdd_agent *agent = e->agents; agent; agent = agent->next)
        if (agent->asked)
            agent_look(e, agent, now_ns);
}

/* How long the engine may sleep. */
int agents_sleep_ms(const struct idxdd_engine *e, int most)
{
    uint64_t now_ns = engine_now_ns(), until_ns = now_ns + (uint64_t)most * 1000000u;
    for (const struct idxdd_agent *agent = e->agents; agent; agent = agent->next)
        for (unsigned i = 0; agent->asked && i < IDXDD_AGENT_SLOTS; i++)
            if (agent->slot[i].asked && agent->slot[i].deadline_ns < until_ns)
                until_ns = agent->slot[i].deadline_ns;
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns + 999999u) / 1000000u);
}
