/* The engine's thread against a device loop and clients in threads: for the thread and address sanitizers.
 *
 * Clients stream moves with checked data, some with faults; the loop answers faults, closes and reopens portals, takes ranges
 * out and puts them back, stops and enables the WQ. At the end everything accepted has been finished and nothing is left.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "engine_rig.h"
#include "interrupts.h"

#define CLIENTS 3
#define ROUNDS 8000
#define BASE 0x100000ull
#define SIZE (256u * 1024u)

struct worker {
    struct rig_client client;
    unsigned seed;
    uint64_t moved, faults, refused;
    _Atomic int over;
};

static struct idxdd_engine *engine;
static struct worker worker[CLIENTS];
static _Atomic int reopen[CLIENTS];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define WAIT_FOR(condition) do { double until = seconds() + 30; while (!(condition)) { sched_yield(); assert(seconds() < until); } } while (0)

/* One descriptor at a time, so that the test needs nothing of the client library. Returns the status, 0 if refused. */
static uint8_t submit_and_wait(struct worker *w, const uint8_t desc[64], uint8_t *record)
{
    struct rig_client *c = &w->client;
    uint64_t tail = atomic_load_explicit(&c->page->tail, memory_order_relaxed);
    double until = seconds() + 30;
    while (atomic_load_explicit(&c->device->limit, memory_order_acquire) <= tail) {
        if (atomic_load(&c->device->closed))
            return 0;
        atomic_fetch_add(&c->page->want, 1);
        idxdd_engine_ring(engine);
        sched_yield();
        assert(seconds() < until);
    }
    atomic_store((_Atomic uint8_t *)record, 0);
    memcpy(c->page->slot[tail % IDXDD_PORTAL_SLOTS], desc, 64);
    atomic_store(&c->page->tail, tail + 1);
    uint64_t one = 1;
    assert(write(c->doorbell, &one, 8) == 8);
    for (;;) {
        uint8_t status = atomic_load((_Atomic uint8_t *)record);
        if (status)
            return status;
        if (atomic_load(&c->device->closed)) {
            uint64_t at;
            WAIT_FOR((at = atomic_load(&c->device->closed_at)) != IDXDD_NEVER || !atomic_load(&c->device->closed));
            if (tail >= at)
                return 0; /* dropped */
            WAIT_FOR(atomic_load(&c->device->done) >= at);
            return atomic_load((_Atomic uint8_t *)record); /* 0: aborted */
        }
        sched_yield();
        assert(seconds() < until);
    }
}

static void *client_main(void *argument)
{
    struct worker *w = argument;
    struct rig_client *c = &w->client;
    uint8_t desc[64];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t size = 1 + (uint32_t)rand_r(&w->seed) % 3000, from = 4096 + (uint32_t)rand_r(&w->seed) % 60000, to = 131072 + (uint32_t)rand_r(&w->seed) % 60000;
        bool fault = rand_r(&w->seed) % 16 == 0;
        for (uint32_t k = 0; k < size; k++)
            c->memory[from + k] = (uint8_t)(i + k);
        rig_descriptor(desc, 3, 0x0c, BASE, fault ? 0x77770000 : BASE + from, BASE + to, size);
        uint8_t status = submit_and_wait(w, desc, c->memory);
        if (status == 1) {
            assert(!fault && memcmp(c->memory + from, c->memory + to, size) == 0);
            w->moved++;
        } else if (status == 3) {
            assert(fault);
            w->faults++;
        } else {
            assert(status == 0);
            w->refused++;
            double until = seconds() + 30;
            while (atomic_load(&c->device->closed)) { /* it may be closed again before we look: ask until it is open */
                atomic_store(&reopen[w - worker], 1);
                sched_yield();
                assert(seconds() < until);
            }
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
            idxdd_engine_resume(engine, exits[i].context, exits[i].generation, IDXDD_RESUME_FAIL, exits[i].operand == 5 ? 0x1a : 3);
        else if (exits[i].kind == IDXDD_EXIT_ERROR)
            idxdd_engine_resume(engine, exits[i].context, exits[i].generation, IDXDD_RESUME_FINISH, 0);
    }
    return n;
}

static void settle(uint32_t request)
{
    uint32_t last = 0;
    assert(request);
    double until = seconds() + 30;
    while ((int32_t)(last - request) < 0) {
        if (!answer_exits(&last))
            sched_yield();
        assert(seconds() < until);
    }
}

int main(void)
{
    struct idxdd_engine_options options = {.spin_us = 20, .published = rig_published()};
    struct idxdd_wq_config config = rig_wq(false, 4);
    unsigned seed = 7;
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
    uint32_t last, turns = 0;
    for (;;) {
        bool over = true;
        for (unsigned i = 0; i < CLIENTS; i++)
            over = over && atomic_load(&worker[i].over);
        if (over)
            break;
        if (!answer_exits(&last))
            sched_yield();
        unsigned which = (unsigned)rand_r(&seed) % CLIENTS;
        struct rig_client *c = &worker[which].client;
        if (++turns % 64 == 0)
            settle(idxdd_engine_portal_close(engine, c->number, turns % 128 ? IDXDD_STOP_DRAIN : IDXDD_STOP_ABORT, IDXDD_CLOSED_REVOKED));
        if (turns % 1000 == 0) {
            settle(idxdd_engine_wq_stop(engine, 1, IDXDD_STOP_DRAIN, IDXDD_CLOSED_WQ_DISABLED));
            settle(idxdd_engine_wq_enable(engine, 0, &config));
        }
        if (turns % 50 == 0) { /* a range comes and goes beside the one in use */
            uint64_t size;
            assert(idxdd_space_add(c->space, BASE + (16u << 20), c->memory_fd, 4096) == 0);
            assert(idxdd_space_remove(c->space, BASE + (16u << 20), &size) == 0 && size == 4096);
            struct idxdd_garbage *garbage = idxdd_garbage_take();
            settle(idxdd_engine_barrier(engine));
            idxdd_garbage_free(garbage);
        }
        for (unsigned i = 0; i < CLIENTS; i++)
            if (atomic_exchange(&reopen[i], 0))
                settle(idxdd_engine_portal_reopen(engine, worker[i].client.number));
    }
    uint64_t moved = 0, faults = 0, refused = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(thread[i], NULL);
        settle(idxdd_engine_portal_remove(engine, worker[i].client.number));
        moved += worker[i].moved;
        faults += worker[i].faults;
        refused += worker[i].refused;
    }
    struct idxdd_engine_statistics statistics;
    idxdd_engine_stop(engine);
    idxdd_engine_statistics(engine, &statistics);
    assert(statistics.contexts == 0 && statistics.parked == 0);
    struct idxdd_wq_statistics *wq = &options.published->wq[0];
    assert(wq->accepted == wq->completed + wq->aborted);
    idxdd_engine_free(engine);
    for (unsigned i = 0; i < CLIENTS; i++)
        rig_client_close(&worker[i].client);
    idxdd_garbage_free(idxdd_garbage_take());
    assert(moved && faults && refused);
    printf("test_engine: %lu moved, %lu faults, %lu refused, %lu accepted\n", moved, faults, refused, (unsigned long)wq->accepted);
    return 0;
}
