/* The engine and a client's agent in threads of one process: for the thread and address sanitizers.
 *
 * Two clients stream moves between library buffers and memory that only their agents reach; a thread serves, and whoever waits looks,
 * too. What an agent reaches (one end of a copy may be a library buffer) is mapped twice: the client looks at one view, its agent at the
 * other, so that a sanitizer, which orders accesses by address, sees what the threads share and not what the device orders.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "engine_rig.h"
#include "serve.h"

#define CLIENTS 2
#define ROUNDS 1500
#define SIZE (256u * 1024u)
#define FAR_BYTES (64u * 1024u)
#define TIMEOUT_NS 20000000000ull        /* under a sanitizer on a loaded machine an agent is slow, not silent */

struct worker {
    struct rig_client client;
    struct idxdd_server server;
    uint8_t *far, *view;                 /* one memory: the agent's, the client's */
    int memory_fd, bell, doorbell, far_fd;
    unsigned seed;
    uint64_t moved, faults;
    _Atomic int over;
};

static struct idxdd_engine *engine;
static struct worker worker[CLIENTS];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint8_t submit_and_wait(struct worker *w, const uint8_t desc[64], uint8_t *record)
{
    struct rig_client *c = &w->client;
    uint64_t tail = atomic_load_explicit(&c->page->tail, memory_order_relaxed), one = 1;
    double until = seconds() + 60;
    while (atomic_load_explicit(&c->device->limit, memory_order_acquire) <= tail) {
        atomic_fetch_add(&c->page->want, 1);
        idxdd_engine_ring(engine);
        sched_yield();
        assert(seconds() < until);
    }
    atomic_store((_Atomic uint8_t *)record, 0);
    memcpy(c->page->slot[tail % IDXDD_PORTAL_SLOTS], desc, 64);
    atomic_store(&c->page->tail, tail + 1);
    assert(write(c->doorbell, &one, 8) == 8);
    bool looks = rand_r(&w->seed) & 1;
    if (looks)
        idxdd_server_enter(&w->server);
    uint8_t status;
    while (!(status = atomic_load((_Atomic uint8_t *)record))) {
        if (!looks || !idxdd_server_look(&w->server, false))
            sched_yield();
        assert(seconds() < until);
    }
    if (looks)
        idxdd_server_leave(&w->server);
    return status;
}

static void *client_main(void *argument)
{
    struct worker *w = argument;
    struct rig_client *c = &w->client;
    uint8_t desc[64];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t size = 1 + (uint32_t)rand_r(&w->seed) % 20000, at = (uint32_t)rand_r(&w->seed) % (FAR_BYTES - 20000);
        bool to_far = rand_r(&w->seed) & 1;
        uint8_t *near = c->memory + 4096, *from = to_far ? near : w->view + at, *to = to_far ? w->view + at : near;
        for (uint32_t k = 0; k < size; k++)
            from[k] = (uint8_t)(i + k);
        uint64_t far = (uint64_t)(uintptr_t)w->far + at;
        rig_descriptor(desc, 3, 0x0c, c->base, to_far ? c->base + 4096 : far, to_far ? far : c->base + 4096, size);
        uint8_t status = submit_and_wait(w, desc, c->memory);
        if (status == 1) {
            assert(memcmp(from, to, size) == 0);
            w->moved++;
        } else {
            assert((status & 0x7f) == 3);
            w->faults++;
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
            idxdd_engine_resume(engine, exits[i].context, exits[i].generation, IDXDD_RESUME_FAIL, 3);
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

static void open_agent(struct worker *w, int published_fd)
{
    w->memory_fd = rig_file(sizeof(struct idxdd_agent_page));
    w->far_fd = rig_file(FAR_BYTES);
    w->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->far = rig_map(w->far_fd, FAR_BYTES, PROT_READ | PROT_WRITE);
    w->view = rig_map(w->far_fd, FAR_BYTES, PROT_READ | PROT_WRITE);
    memset(w->view, 0, FAR_BYTES); /* present: without Block on Fault the agent waits for no page */
    for (uint32_t i = 0; i < FAR_BYTES; i += 4096)
        assert(*(volatile uint8_t *)(w->far + i) == 0);
    assert(idxdd_server_open(&w->server, w->memory_fd, w->bell, w->doorbell, published_fd, true) == 0);
}

static uint32_t add_agent(const struct worker *w)
{
    struct idxdd_agent_options options = {.space = w->client.space, .memory_fd = w->memory_fd, .bell_fd = w->bell, .doorbell_fd = w->doorbell,
                                          .timeout_ns = TIMEOUT_NS};
    return idxdd_engine_agent_add(engine, &options);
}

static void close_worker(struct worker *w)
{
    assert(idxdd_server_close(&w->server));
    rig_client_close(&w->client);
    munmap(w->far, FAR_BYTES);
    munmap(w->view, FAR_BYTES);
    int fds[] = {w->memory_fd, w->far_fd, w->bell, w->doorbell};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        close(fds[i]);
}

int main(void)
{
    int published_fd = rig_file(sizeof(struct idxdd_published_device));
    struct idxdd_engine_options options = {.spin_us = 20, .published = rig_map(published_fd, sizeof *options.published, PROT_READ | PROT_WRITE)};
    options.published->cores = 2;
    struct idxdd_wq_config config = rig_wq(true, 16);
    pthread_t thread[CLIENTS];
    engine = idxdd_engine_new(&options);
    assert(engine && idxdd_engine_start(engine) == 0);
    settle(idxdd_engine_wq_enable(engine, 0, &config));
    settle(idxdd_engine_wq_enable(engine, 1, &config));
    for (unsigned i = 0; i < CLIENTS; i++) {
        worker[i].seed = i + 1;
        rig_client_open(&worker[i].client, engine, i, 2 + i, IDXDD_RIG_TWICE, SIZE);
        open_agent(&worker[i], published_fd);
        settle(add_agent(&worker[i]));
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        assert(pthread_create(&thread[i], NULL, client_main, &worker[i]) == 0);
    uint32_t last, over = 0;
    while (over < CLIENTS) {
        if (!answer_exits(&last))
            sched_yield();
        over = 0;
        for (unsigned i = 0; i < CLIENTS; i++)
            over += (uint32_t)atomic_load(&worker[i].over);
    }
    uint64_t moved = 0, faults = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(thread[i], NULL);
        settle(idxdd_engine_portal_remove(engine, worker[i].client.number));
        settle(idxdd_engine_agent_remove(engine, worker[i].client.space));
        moved += worker[i].moved;
        faults += worker[i].faults;
    }
    idxdd_engine_free(engine);
    for (unsigned i = 0; i < CLIENTS; i++)
        close_worker(&worker[i]);
    idxdd_garbage_free(idxdd_garbage_take());
    munmap(options.published, sizeof *options.published);
    close(published_fd);
    assert(moved && !faults);
    printf("test_agent: %lu moved through agents\n", moved);
    return 0;
}
