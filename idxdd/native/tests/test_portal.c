/* The client's side of portals and channels, against an engine and an idxdd-irq played by this program.
 *
 * A submitter that must stop between publishing and its look at `closed` is stopped by its doorbell: a full pipe, on which
 * its ring blocks until the test reads. Run under ThreadSanitizer, too (make sanitize). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "mp.h"

#define WQ 3u
#define ROUNDS 20000u
#define THREADS 3u
#define SECOND_NS 1000000000u

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
            abort(); \
        } \
    } while (0)

struct fake {
    struct idxdd_portal_client *client;
    struct idxdd_portal_device *device;
    struct idxdd_published_device *published;
    struct idxdd_channel *channel_page;
    struct idxdd_completion_ring *ring;
    struct idxdd_published_driver *driver;
    int fds[6];
    int doorbell[2];                  /* [0]: what the engine reads, [1]: what the client writes */
    int wake[2];                      /* [0]: the device's end */
    struct idxdd_submitter submitter;
    struct idxdd_kernel_channel channel;
};

static void *page(int *fd, size_t size)
{
    *fd = memfd_create("test", MFD_CLOEXEC);
    CHECK(*fd >= 0 && ftruncate(*fd, (off_t)((size + 4095) / 4096 * 4096)) == 0);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

/* pipe_doorbell: rings block until the test reads. */
static void fake_open(struct fake *fake, bool dedicated, bool pipe_doorbell)
{
    memset(fake, 0, sizeof *fake);
    fake->client = page(&fake->fds[0], sizeof *fake->client);
    fake->device = page(&fake->fds[1], sizeof *fake->device);
    fake->published = page(&fake->fds[2], sizeof *fake->published);
    fake->channel_page = page(&fake->fds[3], sizeof *fake->channel_page);
    fake->ring = page(&fake->fds[4], sizeof *fake->ring);
    fake->driver = page(&fake->fds[5], sizeof *fake->driver);
    fake->published->layout_version = fake->driver->layout_version = IDXDD_LAYOUT_VERSION;
    fake->device->closed_at = IDXDD_NEVER;
    fake->device->limit = IDXDD_PORTAL_SLOTS;
    fake->driver->wq[WQ].gate = IDXDD_GATE_LIVE;
    if (pipe_doorbell) {
        CHECK(pipe(fake->doorbell) == 0);
        char junk[65536] = {0};
        CHECK(write(fake->doorbell[1], junk, sizeof junk) == (ssize_t)sizeof junk);
    } else {
        fake->doorbell[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        fake->doorbell[0] = dup(fake->doorbell[1]);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fake->wake) == 0);
    CHECK(idxdd_submitter_open(&fake->submitter, fake->fds[0], fake->fds[1], fake->fds[2], fake->doorbell[1], fake->wake[1], dedicated) == 0);
    CHECK(idxdd_channel_open(&fake->channel, &fake->submitter, fake->fds[3], fake->fds[4], fake->fds[5], WQ, 16) == 0);
}

static void fake_close(struct fake *fake)
{
    idxdd_channel_close(&fake->channel);
    idxdd_submitter_close(&fake->submitter);
    munmap(fake->client, sizeof *fake->client);
    munmap(fake->device, sizeof *fake->device);
    munmap(fake->published, sizeof *fake->published);
    munmap(fake->channel_page, sizeof *fake->channel_page);
    munmap(fake->ring, sizeof *fake->ring);
    munmap(fake->driver, sizeof *fake->driver);
    for (int i = 0; i < 6; i++)
        close(fake->fds[i]);
    for (int i = 0; i < 2; i++) {
        close(fake->doorbell[i]);
        close(fake->wake[i]);
    }
}

static void eventually(bool (*condition)(void *), void *context)
{
    for (uint64_t end = idxdd_now_ns() + 20ull * SECOND_NS; !condition(context); usleep(100))
        CHECK(idxdd_now_ns() < end);
}

/* ---- closed while inside ------------------------------------------------------------------------------------------------- */

struct attempt { struct fake *fake; uint32_t count; uint64_t first; int64_t answer; uint64_t tickets[IDXDD_PORTAL_SLOTS]; };

static const uint8_t descs[8][64];

static void *portal_submit(void *context)
{
    struct attempt *attempt = context;
    attempt->answer = idxdd_submitter_submit_many(&attempt->fake->submitter, descs[0], attempt->count, &attempt->first);
    return NULL;
}

static void *channel_submit(void *context)
{
    struct attempt *attempt = context;
    attempt->answer = idxdd_channel_submit(&attempt->fake->channel, descs[0], attempt->count, false, attempt->tickets);
    return NULL;
}

static bool published(void *context)
{
    struct attempt *attempt = context;
    return atomic_load(&attempt->fake->client->tail) == attempt->count;
}

static void let_ring(struct fake *fake)
{
    char junk[65536];
    CHECK(read(fake->doorbell[0], junk, sizeof junk) > 0);
}

/* Publishes `count`; returns with the submitter stopped before its look at `closed`. */
static pthread_t stopped_after_publishing(struct attempt *attempt, void *(*submit)(void *))
{
    pthread_t thread;
    atomic_store(&attempt->fake->published->asleep, 1);
    CHECK(pthread_create(&thread, NULL, submit, attempt) == 0);
    eventually(published, attempt);
    return thread;
}

static void close_decides_by_closed_at(void)
{
    static const struct { uint64_t closed_at; int64_t answer; } rows[] = {
        {0, IDXDD_SUBMIT_CLOSED}, {1, 1}, {2, 2}, {3, 3}, {4, 3},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fake fake;
        fake_open(&fake, true, true);
        struct attempt attempt = {.fake = &fake, .count = 3};
        pthread_t thread = stopped_after_publishing(&attempt, portal_submit);
        atomic_store(&fake.device->closed, IDXDD_CLOSED_HALTED);
        let_ring(&fake);
        usleep(2000);                 /* now it waits for closed_at, not for `closed` */
        atomic_store(&fake.device->closed_at, rows[i].closed_at);
        pthread_join(thread, NULL);
        CHECK(attempt.answer == rows[i].answer);
        fake_close(&fake);
    }
}

static void close_without_closed_at_is_bounded(void)
{
    struct fake fake;
    fake_open(&fake, true, true);
    struct attempt attempt = {.fake = &fake, .count = 1};
    uint64_t start = idxdd_now_ns();
    pthread_t thread = stopped_after_publishing(&attempt, portal_submit);
    atomic_store(&fake.device->closed, IDXDD_CLOSED_HALTED);
    let_ring(&fake);
    pthread_join(thread, NULL);
    CHECK(attempt.answer == IDXDD_SUBMIT_CLOSED && idxdd_now_ns() - start < 3ull * SECOND_NS);
    fake_close(&fake);
}

static void put_completion(struct fake *fake, uint64_t ticket, uint8_t status, uint8_t result)
{
    uint64_t tail = atomic_load(&fake->ring->tail);
    fake->ring->entry[tail % IDXDD_COMPLETIONS] = (struct idxdd_completion){.ticket = ticket, .status = status, .result = result};
    atomic_store(&fake->ring->tail, tail + 1);
}

/* Model c5: the owner goes on after being fenced; the ring decides, and exactly one side completes. */
static void fenced_owner_lets_the_ring_decide(bool swept)
{
    struct fake fake;
    struct idxdd_reaped reaped[8];
    fake_open(&fake, true, true);
    struct attempt attempt = {.fake = &fake, .count = 2};
    pthread_t thread = stopped_after_publishing(&attempt, channel_submit);
    CHECK(atomic_load(&fake.client->in_submit) == 1 && atomic_load(&fake.channel_page->pending_tail) == 2);
    atomic_store(&fake.device->closed, IDXDD_CLOSED_REVOKED);
    atomic_store(&fake.device->closed_at, swept ? 2 : 0);
    let_ring(&fake);
    usleep(2000);
    CHECK(atomic_load(&fake.client->in_submit) == 1);      /* it waits for `fenced` */
    for (unsigned i = 0; swept && i < 2; i++)
        put_completion(&fake, fake.channel_page->pending[i], 0, IDXDD_TXN_ABORTED);
    atomic_store(&fake.device->fenced, 1);
    pthread_join(thread, NULL);
    CHECK(attempt.answer == (swept ? 2 : IDXDD_SUBMIT_CLOSED));
    CHECK(idxdd_channel_reap(&fake.channel, reaped, 8) == (swept ? 2 : 0));
    CHECK(atomic_load(&fake.channel.in_flight) == 0 && atomic_load(&fake.client->in_submit) == 0);
    fake_close(&fake);
}

/* A halt is no fence: what is on the pending list stays idxdd-irq's; what the device refused is marked 0xFF. */
static void closed_owner_leaves_it_to_irq(void)
{
    struct fake fake;
    struct idxdd_reaped reaped[8];
    fake_open(&fake, true, true);
    struct attempt attempt = {.fake = &fake, .count = 3};
    pthread_t thread = stopped_after_publishing(&attempt, channel_submit);
    atomic_store(&fake.device->closed, IDXDD_CLOSED_HALTED);
    atomic_store(&fake.device->closed_at, 1);
    let_ring(&fake);
    pthread_join(thread, NULL);
    CHECK(attempt.answer == 3 && atomic_load(&fake.client->in_submit) == 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK(fake.channel_page->record[idxdd_ticket_slot(attempt.tickets[i])][0] == (i < 1 ? 0 : 0xff));
    CHECK(idxdd_channel_reap(&fake.channel, reaped, 8) == 0);
    for (unsigned i = 0; i < 3; i++)
        put_completion(&fake, attempt.tickets[i], 0, IDXDD_TXN_ABORTED);
    CHECK(idxdd_channel_reap(&fake.channel, reaped, 8) == 3);
    fake_close(&fake);
}

/* ---- sleeping and waking ------------------------------------------------------------------------------------------------- */

/* The engine of this test: accepts, finishes one by one, sleeps at the edge whenever there is nothing to do. */
static void *engine(void *context)
{
    struct fake *fake = context;
    uint64_t head = 0, rung = 0, total = (uint64_t)ROUNDS * THREADS;
    while (head < total) {
        if (atomic_load_explicit(&fake->client->tail, memory_order_acquire) == head) {
            atomic_store(&fake->published->asleep, 1);
            idxdd_fence();
            uint64_t bell;
            if (atomic_load_explicit(&fake->client->tail, memory_order_acquire) == head) {
                uint64_t end = idxdd_now_ns() + 20ull * SECOND_NS;
                while (read(fake->doorbell[0], &bell, sizeof bell) < 0 && idxdd_now_ns() < end)
                    sched_yield();
                CHECK(idxdd_now_ns() < end);           /* a lost wake-up: there is no belt here */
            }
            atomic_store(&fake->published->asleep, 0);
            continue;
        }
        head++;
        atomic_store_explicit(&fake->device->limit, head + IDXDD_PORTAL_SLOTS, memory_order_release);
        atomic_store_explicit(&fake->device->done, head, memory_order_release);
        idxdd_fence();
        uint64_t wake_at = atomic_load_explicit(&fake->client->wake_at, memory_order_acquire);
        if (wake_at && wake_at != rung && head >= wake_at) {
            rung = wake_at;
            (void)!send(fake->wake[0], "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* full: it is readable */
        }
    }
    return NULL;
}

static void *submit_and_wait(void *context)
{
    struct fake *fake = context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int64_t number;
        while ((number = idxdd_submitter_submit(&fake->submitter, descs[0])) == IDXDD_SUBMIT_RETRY)
            sched_yield();
        CHECK(number >= 0);
        uint64_t start = idxdd_now_ns();
        CHECK(idxdd_submitter_wait(&fake->submitter, (uint64_t)number + 1, 20ull * SECOND_NS) == IDXDD_WAIT_DONE);
        if (idxdd_now_ns() - start >= IDXDD_BELT_NS)
            atomic_fetch_add((_Atomic uint64_t *)&fake->driver->generation, 1); /* woken by the belt, or starved of a core */
    }
    return NULL;
}

/* Threads of one process share a portal at the edge of sleep: no wake-up is lost in either direction. */
static void nobody_sleeps_for_ever(void)
{
    struct fake fake;
    pthread_t device, clients[THREADS];
    fake_open(&fake, true, false);
    fake.published->cores = 0;         /* no spinning: every wait goes to sleep */
    CHECK(pthread_create(&device, NULL, engine, &fake) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&clients[i], NULL, submit_and_wait, &fake) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(clients[i], NULL);
    pthread_join(device, NULL);
    CHECK(atomic_load(&fake.client->tail) == (uint64_t)ROUNDS * THREADS && atomic_load(&fake.client->wake_at) == 0);
    printf("%u waits at the edge of sleep, %llu of them longer than the belt\n", ROUNDS * THREADS,
           (unsigned long long)fake.driver->generation);
    CHECK(fake.driver->generation < ROUNDS / 1000); /* the bell wakes, not the belt */
    fake_close(&fake);
}

/* The device finished between the last look and the store of wake_at, which it therefore has not seen: nobody will ring. */
static int done_once_armed(struct idxdd_waiter *waiter)
{
    waiter->number = 1;
    waiter->closed_ns |= atomic_load(waiter->wake_at); /* done stays done */
    return waiter->closed_ns ? IDXDD_WAIT_DONE : IDXDD_WAIT_PENDING;
}

struct sleeper { struct fake *fake; uint64_t number, timeout_ns, woken_ns; int answer; };

static void *sleep_for(void *context)
{
    struct sleeper *sleeper = context;
    sleeper->answer = idxdd_submitter_wait(&sleeper->fake->submitter, sleeper->number, sleeper->timeout_ns);
    sleeper->woken_ns = idxdd_now_ns();
    return NULL;
}

static bool armed_at_two(void *context)
{
    return atomic_load(&((struct fake *)context)->client->wake_at) == 2;
}

static uint64_t wake_after_hand_over_ns(struct fake *fake)
{
    pthread_t threads[2];
    struct sleeper first = {.fake = fake, .number = 1, .timeout_ns = 20000000}, second = {.fake = fake, .number = 2, .timeout_ns = SECOND_NS};
    atomic_store(&fake->device->done, 0);
    CHECK(pthread_create(&threads[0], NULL, sleep_for, &first) == 0);
    usleep(5000);
    CHECK(pthread_create(&threads[1], NULL, sleep_for, &second) == 0);
    pthread_join(threads[0], NULL);
    eventually(armed_at_two, fake);
    uint64_t rung = idxdd_now_ns();
    atomic_store(&fake->device->done, 2);
    CHECK(send(fake->wake[0], "!", 1, 0) == 1);
    pthread_join(threads[1], NULL);
    CHECK(first.answer == IDXDD_WAIT_TIMEOUT && second.answer == IDXDD_WAIT_DONE);
    return second.woken_ns - rung;
}

/* The belt hides a lost wake-up, so these look at the time; the best of some rounds, since the machine may be busy. */
static void the_bell_wakes_not_the_belt(void)
{
    struct fake fake;
    uint64_t armed = UINT64_MAX, handed_over = UINT64_MAX;
    fake_open(&fake, true, false);
    for (unsigned round = 0; round < 8; round++) {
        struct idxdd_waiter waiter = {.look = done_once_armed, .wake_at = &fake.client->wake_at, .target = 1};
        uint64_t start = idxdd_now_ns();
        CHECK(idxdd_bell_wait(&fake.submitter.bell, &waiter, SECOND_NS) == IDXDD_WAIT_DONE);
        uint64_t spent = idxdd_now_ns() - start;
        armed = spent < armed ? spent : armed;
        spent = wake_after_hand_over_ns(&fake);
        handed_over = spent < handed_over ? spent : handed_over;
    }
    CHECK(armed < IDXDD_BELT_NS / 3 && handed_over < IDXDD_BELT_NS / 3);
    fake_close(&fake);
}

/* Threads of one process share a channel: every ticket comes back once. */
static void *submit_to_channel(void *context)
{
    struct fake *fake = context;
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        uint64_t ticket;
        int64_t answer;
        while ((answer = idxdd_channel_submit(&fake->channel, descs[0], 1, false, &ticket)) == IDXDD_SUBMIT_RETRY)
            sched_yield();
        CHECK(answer == 1);
    }
    return NULL;
}

static void channel_gives_each_ticket_once(void)
{
    struct fake fake;
    struct idxdd_reaped reaped[16];
    pthread_t clients[THREADS];
    uint64_t taken = 0, back = 0, total = (uint64_t)ROUNDS / 10 * THREADS, end = idxdd_now_ns() + 60ull * SECOND_NS;
    fake_open(&fake, true, false);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&clients[i], NULL, submit_to_channel, &fake) == 0);
    while (back < total) {
        CHECK(idxdd_now_ns() < end);
        uint64_t tail = atomic_load_explicit(&fake.channel_page->pending_tail, memory_order_acquire);
        atomic_store(&fake.device->limit, tail + IDXDD_PORTAL_SLOTS);
        for (; taken != tail; taken++)
            put_completion(&fake, atomic_load(&fake.channel_page->pending[taken % IDXDD_CHANNEL_SLOTS]), 1, 0);
        back += idxdd_channel_reap(&fake.channel, reaped, 16);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(clients[i], NULL);
    CHECK(back == total && atomic_load(&fake.channel.in_flight) == 0 && atomic_load(&fake.client->in_submit) == 0);
    fake_close(&fake);
}

/* ---- frames ---------------------------------------------------------------------------------------------------------------- */

/* Whatever the bytes are, reading stays inside them (under AddressSanitizer: malloc'ed to the byte). */
static void wild_frames_are_read_within_bounds(void)
{
    uint64_t random = 88172645463325252ull;
    for (unsigned round = 0; round < 200000; round++) {
        uint8_t *frame;
        size_t size = round % 40;
        CHECK((frame = malloc(size ? size : 1)) != NULL);
        for (size_t i = 0; i < size; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            frame[i] = (uint8_t)(random >> 32);
        }
        if (size && round % 2)
            frame[0] = (uint8_t)(0x80 | random % 16);
        struct idxdd_mp at = {.at = frame, .end = frame + size}, value = at;
        const char *text;
        size_t length;
        uint64_t number;
        bool truth;
        if (idxdd_mp_skip(&value))
            CHECK(value.at > frame && value.at <= frame + size);
        if (idxdd_mp_find(at, "ok", &value) && idxdd_mp_text(value, &text, &length))
            CHECK(length <= size);
        (void)(idxdd_mp_number(at, &number) | idxdd_mp_boolean(at, &truth));
        free(frame);
    }
    static const uint8_t huge[] = {0xdf, 0xff, 0xff, 0xff, 0xff, 0x01};
    struct idxdd_mp map = {.at = huge, .end = huge + sizeof huge};
    CHECK(!idxdd_mp_skip(&map));
}

int main(void)
{
    close_decides_by_closed_at();
    close_without_closed_at_is_bounded();
    fenced_owner_lets_the_ring_decide(true);
    fenced_owner_lets_the_ring_decide(false);
    closed_owner_leaves_it_to_irq();
    the_bell_wakes_not_the_belt();
    nobody_sleeps_for_ever();
    channel_gives_each_ticket_once();
    wild_frames_are_read_within_bounds();
    puts("ok");
    return 0;
}
