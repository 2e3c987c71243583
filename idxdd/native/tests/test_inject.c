/* Rules and the trace beside a running engine: for the thread and address sanitizers.
 *
 * Clients stream moves in threads; the loop swaps rules all the time, reads their counters, switches the trace on and off and reads it
 * while it is lapped. Whatever strikes, every descriptor has one of the ends that rules allow, and nothing is left at the end.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "engine_rig.h"
#include "idxdd/inject.h"
#include "idxdd/trace.h"

#define CLIENTS 2
#define ROUNDS 4000
#define BASE 0x100000ull
#define SIZE (256u * 1024u)

struct worker {
    struct rig_client client;
    unsigned seed;
    uint64_t moved, faults, errors;
    _Atomic int over;
};

static struct idxdd_engine *engine;
static struct worker worker[CLIENTS];
static uint64_t hits, events, traced, lost;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A shared WQ may be full: asked for until there is room. */
static uint8_t submit_and_wait(struct rig_client *c, const uint8_t desc[64], uint8_t *record)
{
    uint64_t tail = atomic_load_explicit(&c->page->tail, memory_order_relaxed);
    double until = seconds() + 60;
    while (atomic_load_explicit(&c->device->limit, memory_order_acquire) <= tail) {
        uint32_t want = atomic_load(&c->page->want) + 1;
        atomic_store(&c->page->want, want);
        idxdd_engine_ring(engine);
        while (atomic_load(&c->device->answered) != want)
            sched_yield();
        assert(seconds() < until);
    }
    atomic_store((_Atomic uint8_t *)record, 0);
    memcpy(c->page->slot[tail % IDXDD_PORTAL_SLOTS], desc, 64);
    atomic_store(&c->page->tail, tail + 1);
    uint64_t one = 1;
    assert(write(c->doorbell, &one, 8) == 8);
    uint8_t status;
    while (!(status = atomic_load((_Atomic uint8_t *)record))) {
        sched_yield();
        assert(seconds() < until);
    }
    return status;
}

static void *client_main(void *argument)
{
    struct worker *w = argument;
    struct rig_client *c = &w->client;
    uint8_t desc[64];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t size = 100 + (uint32_t)rand_r(&w->seed) % 3000;
        for (uint32_t k = 0; k < size; k++)
            c->memory[4096 + k] = (uint8_t)(i + k);
        rig_descriptor(desc, 3, 0x0c, BASE, BASE + 4096, BASE + 131072, size);
        uint8_t status = submit_and_wait(c, desc, c->memory);
        uint32_t completed;
        memcpy(&completed, c->memory + 4, 4);
        if (status == 1) {
            assert(memcmp(c->memory + 4096, c->memory + 131072, size) == 0);
            w->moved++;
        } else if (status == 0x83) {
            assert(completed == 99 && memcmp(c->memory + 4096, c->memory + 131072, 99) == 0);
            w->faults++;
        } else {
            assert(status == 0x20);
            w->errors++;
        }
    }
    atomic_store(&w->over, 1);
    return NULL;
}

static uint32_t answer_exits(uint32_t *last_ack)
{
    struct idxdd_exit exits[64];
    uint32_t n = idxdd_engine_exits(engine, exits, 64);
    for (uint32_t i = 0; i < n; i++) {
        if (exits[i].kind == IDXDD_EXIT_ACK)
            *last_ack = exits[i].id;
        else if (exits[i].kind == IDXDD_EXIT_FAULT)
            idxdd_engine_resume(engine, exits[i].context, exits[i].generation, exits[i].id & 1 ? IDXDD_RESUME_RETRY : IDXDD_RESUME_FAIL, 3);
        else if (exits[i].kind == IDXDD_EXIT_INJECTED)
            events++;
    }
    return n;
}

static void settle(uint32_t request)
{
    uint32_t last = 0;
    assert(request);
    double until = seconds() + 60;
    while ((int32_t)(last - request) < 0) {
        if (!answer_exits(&last))
            sched_yield();
        assert(seconds() < until);
    }
}

static uint32_t make_rules(struct idxdd_rule *rule, unsigned *seed)
{
    static const uint32_t what[] = {IDXDD_RULE_STATUS, IDXDD_RULE_FAULT, IDXDD_RULE_DELAY, IDXDD_RULE_REORDER, IDXDD_RULE_FULL, IDXDD_RULE_SLOW, IDXDD_RULE_EVENT};
    uint32_t count = (uint32_t)rand_r(seed) % 6;
    for (uint32_t i = 0; i < count; i++)
        rule[i] = (struct idxdd_rule){
            .wqs = 1, .opcodes = {UINT64_MAX}, .address_last = UINT64_MAX, .size_max = UINT32_MAX, .pasid = rand_r(seed) % 4 ? UINT32_MAX : 2,
            .what = what[(unsigned)rand_r(seed) % (sizeof what / sizeof *what)], .id = i + 1, .chance = 1u << 30, .seed = (uint64_t)rand_r(seed),
            .status = 0x20, .operand = IDXDD_RULE_FIRST_WRITTEN, .offset = 99, .ns = (uint64_t)rand_r(seed) % 200000, .count = 1,
        };
    return count;
}

static void look_at_trace(void)
{
    struct idxdd_trace_record out[32];
    uint64_t dropped;
    uint32_t n = idxdd_engine_trace_read(engine, out, 32, &dropped);
    for (uint32_t i = 0; i < n; i++)
        assert(out[i].id && out[i].desc[7] == 3 && out[i].dispatched_ns >= out[i].accepted_ns && out[i].written_ns >= out[i].dispatched_ns);
    traced += n;
    lost += dropped;
}

int main(void)
{
    struct idxdd_engine_options options = {.spin_us = 20, .published = rig_published()};
    struct idxdd_wq_config config = rig_wq(false, 4);
    struct idxdd_rule rule[8];
    struct idxdd_rule_counters counters[8];
    unsigned seed = 11;
    pthread_t thread[CLIENTS];
    engine = idxdd_engine_new(&options);
    assert(engine && idxdd_engine_start(engine) == 0);
    settle(idxdd_engine_wq_enable(engine, 0, &config));
    for (unsigned i = 0; i < CLIENTS; i++) {
        worker[i].seed = i + 1;
        rig_client_open(&worker[i].client, engine, 0, 2 + i, BASE, SIZE);
    }
    settle(idxdd_engine_barrier(engine));
    for (unsigned i = 0; i < CLIENTS; i++)
        assert(pthread_create(&thread[i], NULL, client_main, &worker[i]) == 0);
    uint32_t last;
    for (uint32_t turns = 0, over = 0; over < CLIENTS; turns++) {
        if (!answer_exits(&last))
            sched_yield();
        look_at_trace();
        if (turns % 32 == 0) {
            uint32_t count = idxdd_engine_rule_counters(engine, counters, 8);
            for (uint32_t i = 0; i < count && i < 8; i++)
                hits += counters[i].hits;
            settle(idxdd_engine_set_rules(engine, rule, make_rules(rule, &seed)));
        }
        if (turns % 200 == 0)
            settle(turns % 600 ? idxdd_engine_trace_on(engine, 16) : idxdd_engine_trace_off(engine));
        over = 0;
        for (unsigned i = 0; i < CLIENTS; i++)
            over += (uint32_t)atomic_load(&worker[i].over);
    }
    settle(idxdd_engine_set_rules(engine, NULL, 0));
    uint64_t moved = 0, faults = 0, errors = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(thread[i], NULL);
        settle(idxdd_engine_portal_remove(engine, worker[i].client.number));
        moved += worker[i].moved;
        faults += worker[i].faults;
        errors += worker[i].errors;
    }
    struct idxdd_engine_statistics statistics;
    idxdd_engine_stop(engine);
    idxdd_engine_statistics(engine, &statistics);
    assert(statistics.contexts == 0 && statistics.parked == 0);
    assert(options.published->wq[0].accepted == options.published->wq[0].completed && moved + faults + errors == CLIENTS * ROUNDS);
    idxdd_engine_free(engine);
    for (unsigned i = 0; i < CLIENTS; i++)
        rig_client_close(&worker[i].client);
    idxdd_garbage_free(idxdd_garbage_take());
    assert(moved && faults && errors && hits && events && traced);
    printf("test_inject: %lu moved, %lu faults, %lu errors, %lu hits, %lu events, %lu traced, %lu lost\n", moved, faults, errors, hits, events, traced, lost);
    return 0;
}
