/* A client's side of a portal.
 *
 * Who writes what   everything in struct idxdd_portal_client is written here and nowhere else, under `lock`, from the copies
 *                   in struct idxdd_submitter: nothing of that page is ever read back. The device's page is read-only;
 *                   its values are bounded before use (a limit gives room for at most all slots).
 * Order of a burst  slots; tail (release); fence; read `asleep`, ring if set; read `closed`. If closed, what lies at or past
 *                   closed_at was refused; closed_at is awaited, because the engine reads the tail once after it closed.
 * At the limit      want + 1; fence; bell. Shared: the answer is awaited, then limit decides. Dedicated: nobody waits; the
 *                   question lets the device divide again what the WQ holds.
 * Death, fork       a client that stops between slots and tail has published nothing. A forked child has no mapping of this:
 *                   every call compares the owner first.
 * Reopening         numbers go on; slots that were refused are skipped by the device. Ask for it when no call is inside:
 *                   one that waits for closed_at meanwhile is told CLOSED.
 */
#include "portal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "owner.h"

#define ASK_AGAIN_NS 50000000ull
#define CLOSED_GRACE_NS 1000000000u       /* how long `done` may take to reach closed_at before a waiter is told CLOSED */

int idxdd_submitter_open(struct idxdd_submitter *submitter, int client_fd, int device_fd, int published_fd, int doorbell_fd, int wake_fd,
                         bool dedicated)
{
    int error = 0;
    *submitter = (struct idxdd_submitter){.dedicated = dedicated, .doorbell = -1, .owner = idxdd_owner()};
    submitter->bell = (struct idxdd_bell){.fd = -1, .kick = -1, .event = -1, .set = -1};
    if (!submitter->owner)
        return -ENOMEM;
    pthread_mutex_init(&submitter->lock, NULL);
    if (!(submitter->client = idxdd_map_owned(client_fd, sizeof *submitter->client, true)) ||
        !(submitter->device = idxdd_map_owned(device_fd, sizeof *submitter->device, false)) ||
        !(submitter->published = idxdd_map_owned(published_fd, sizeof *submitter->published, false)) ||
        (submitter->doorbell = fcntl(doorbell_fd, F_DUPFD_CLOEXEC, 0)) < 0)
        error = -errno;
    else if (submitter->published->layout_version != IDXDD_LAYOUT_VERSION)
        error = -EPROTO;
    else
        error = idxdd_bell_open(&submitter->bell, wake_fd, submitter->published);
    if (error) {
        idxdd_submitter_close(submitter);
        return error;
    }
    /* The one time that our own page is read: a portal may be taken over with a history. */
    atomic_init(&submitter->tail, atomic_load(&submitter->client->tail));
    submitter->dropped = atomic_load(&submitter->client->dropped);
    submitter->want = atomic_load(&submitter->client->want);
    return 0;
}

void idxdd_submitter_close(struct idxdd_submitter *submitter)
{
    idxdd_bell_close(&submitter->bell);
    if (submitter->doorbell >= 0)
        close(submitter->doorbell);
    submitter->doorbell = -1;
    idxdd_unmap_owned(submitter->client, sizeof *submitter->client, submitter->owner);
    idxdd_unmap_owned((void *)(uintptr_t)submitter->device, sizeof *submitter->device, submitter->owner);
    idxdd_unmap_owned((void *)(uintptr_t)submitter->published, sizeof *submitter->published, submitter->owner);
    submitter->client = NULL;
    submitter->device = NULL;
    submitter->published = NULL;
}

/* ---- publishing -------------------------------------------------------------------------------------------------------- */

void idxdd_submitter_ring(const struct idxdd_submitter *submitter)
{
    uint64_t one = 1;
    if (write(submitter->doorbell, &one, sizeof one) < 0) {} /* never read: at its maximum it is full, and no edge is owed */
}

static void ring_if_asleep(const struct idxdd_submitter *submitter)
{
    if (atomic_load_explicit(&submitter->published->asleep, memory_order_acquire))
        idxdd_submitter_ring(submitter);
}

uint32_t idxdd_submitter_room(const struct idxdd_submitter *submitter)
{
    uint64_t tail = atomic_load_explicit(&submitter->tail, memory_order_relaxed);
    uint64_t limit = atomic_load_explicit(&submitter->device->limit, memory_order_acquire);
    if (limit <= tail)
        return 0;                          /* used up, or withdrawn below the tail */
    return limit - tail < IDXDD_PORTAL_SLOTS ? (uint32_t)(limit - tail) : IDXDD_PORTAL_SLOTS;
}

struct idxdd_burst idxdd_submitter_put(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count)
{
    struct idxdd_portal_client *client = submitter->client;
    uint64_t tail = atomic_load_explicit(&submitter->tail, memory_order_relaxed);
    uint32_t slot = (uint32_t)(tail % IDXDD_PORTAL_SLOTS);
    if (count == 1) {
        memcpy(client->slot[slot], descs, 64);
    } else {
        uint32_t straight = count < IDXDD_PORTAL_SLOTS - slot ? count : IDXDD_PORTAL_SLOTS - slot;
        memcpy(client->slot[slot], descs, (size_t)straight * 64);
        memcpy(client->slot[0], descs + (size_t)straight * 64, (size_t)(count - straight) * 64);
    }
    atomic_store_explicit(&submitter->tail, tail + count, memory_order_relaxed);
    atomic_store_explicit(&client->tail, tail + count, memory_order_release);
    idxdd_fence();                         /* partner: the engine's fence after asleep = 1, and after closed */
    ring_if_asleep(submitter);
    return (struct idxdd_burst){.first = tail, .count = count};
}

/* Under the lock: ask for a grant, once until it is answered. */
void idxdd_submitter_want(struct idxdd_submitter *submitter)
{
    if (atomic_load_explicit(&submitter->device->answered, memory_order_acquire) != submitter->want)
        return;
    atomic_store_explicit(&submitter->client->want, ++submitter->want, memory_order_release);
    idxdd_fence();
    ring_if_asleep(submitter);
}

int idxdd_submitter_publish(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, bool try, struct idxdd_burst *burst)
{
    int answer;
    if (!idxdd_owned(submitter->owner))
        return IDXDD_SUBMIT_FORKED;
    if (!try)
        pthread_mutex_lock(&submitter->lock);
    else if (pthread_mutex_trylock(&submitter->lock))
        return IDXDD_SUBMIT_BUSY;
    uint32_t room = idxdd_submitter_room(submitter);
    if (idxdd_submitter_closed(submitter)) {
        answer = IDXDD_SUBMIT_CLOSED;
    } else if (!room) {
        if (submitter->dedicated)
            idxdd_submitter_want(submitter);
        answer = 0;
    } else {
        *burst = idxdd_submitter_put(submitter, descs, count < room ? count : room);
        answer = idxdd_submitter_closed(submitter) ? IDXDD_SUBMIT_UNSETTLED : 1;
    }
    pthread_mutex_unlock(&submitter->lock);
    return answer;
}

static int refusal(const struct idxdd_submitter *submitter)
{
    return idxdd_submitter_closed(submitter) == IDXDD_CLOSED_DEVICE_GONE ? IDXDD_SUBMIT_GONE : IDXDD_SUBMIT_CLOSED;
}

static bool tail_was_taken(void *context)
{
    const struct idxdd_submitter *submitter = context;
    return atomic_load_explicit(&submitter->device->closed_at, memory_order_acquire) != IDXDD_NEVER || !idxdd_submitter_closed(submitter);
}

int64_t idxdd_submitter_settle(struct idxdd_submitter *submitter, struct idxdd_burst burst)
{
    if (!idxdd_bell_until(&submitter->bell, tail_was_taken, submitter, IDXDD_ANSWER_NS))
        return idxdd_bell_gone(&submitter->bell) ? IDXDD_SUBMIT_GONE : refusal(submitter);
    uint64_t closed_at = atomic_load_explicit(&submitter->device->closed_at, memory_order_acquire);
    if (!idxdd_submitter_closed(submitter) || closed_at <= burst.first)
        return refusal(submitter);
    return closed_at - burst.first < burst.count ? (int64_t)(closed_at - burst.first) : (int64_t)burst.count;
}

struct question { const struct idxdd_submitter *submitter; uint32_t want; };

static bool was_answered(void *context)
{
    const struct question *question = context;
    const struct idxdd_portal_device *device = question->submitter->device;
    return (int32_t)(atomic_load_explicit(&device->answered, memory_order_acquire) - question->want) >= 0 ||
           atomic_load_explicit(&device->closed, memory_order_acquire);
}

int idxdd_submitter_ask(struct idxdd_submitter *submitter)
{
    pthread_mutex_lock(&submitter->lock);
    if (idxdd_submitter_room(submitter)) {
        pthread_mutex_unlock(&submitter->lock);
        return 0;
    }
    idxdd_submitter_want(submitter);
    struct question question = {.submitter = submitter, .want = submitter->want};
    pthread_mutex_unlock(&submitter->lock);
    bool answered = idxdd_bell_until(&submitter->bell, was_answered, &question, IDXDD_ANSWER_NS);
    if (idxdd_submitter_closed(submitter))
        return refusal(submitter);
    if (answered)
        return 0;
    return idxdd_bell_gone(&submitter->bell) ? IDXDD_SUBMIT_GONE : IDXDD_SUBMIT_RETRY;
}

int64_t idxdd_submitter_submit_many(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, uint64_t *first)
{
    struct idxdd_burst burst = {0};
    int answer = count ? idxdd_submitter_publish(submitter, descs, count, false, &burst) : 0;
    if (answer == 0 && count && !submitter->dedicated) {
        int asked = idxdd_submitter_ask(submitter);
        if (asked < 0)
            return asked == IDXDD_SUBMIT_RETRY ? 0 : asked;
        answer = idxdd_submitter_publish(submitter, descs, count, false, &burst);
    }
    *first = burst.first;
    if (answer == 1)
        return burst.count;
    if (answer == IDXDD_SUBMIT_UNSETTLED)
        return idxdd_submitter_settle(submitter, burst);
    if (answer == IDXDD_SUBMIT_CLOSED)
        return refusal(submitter);
    if (answer == 0 && idxdd_bell_gone(&submitter->bell))
        return IDXDD_SUBMIT_GONE;
    return answer;
}

int64_t idxdd_submitter_submit(struct idxdd_submitter *submitter, const uint8_t *desc)
{
    uint64_t number;
    int64_t count = idxdd_submitter_submit_many(submitter, desc, 1, &number);
    return count == 1 ? (int64_t)number : count == 0 ? IDXDD_SUBMIT_RETRY : count;
}

int64_t idxdd_submitter_try(struct idxdd_submitter *submitter, const uint8_t *desc)
{
    struct idxdd_burst burst = {0};
    int64_t answer = idxdd_submitter_publish(submitter, desc, 1, false, &burst);
    if (answer == 0) {
        pthread_mutex_lock(&submitter->lock);
        idxdd_submitter_want(submitter);
        pthread_mutex_unlock(&submitter->lock);
        return idxdd_bell_gone(&submitter->bell) ? IDXDD_SUBMIT_GONE : IDXDD_SUBMIT_RETRY;
    }
    if (answer == IDXDD_SUBMIT_UNSETTLED)
        answer = idxdd_submitter_settle(submitter, burst);
    if (answer == IDXDD_SUBMIT_CLOSED)
        return refusal(submitter);
    return answer < 0 ? answer : (int64_t)burst.first;
}

bool idxdd_submitter_asking(struct idxdd_submitter *submitter)
{
    pthread_mutex_lock(&submitter->lock);
    bool asking = atomic_load_explicit(&submitter->device->answered, memory_order_acquire) != submitter->want;
    pthread_mutex_unlock(&submitter->lock);
    return asking;
}

int idxdd_submitter_post(struct idxdd_submitter *submitter, const uint8_t *desc)
{
    struct idxdd_burst burst;
    int answer = idxdd_submitter_publish(submitter, desc, 1, false, &burst);
    if (answer == 0) {
        pthread_mutex_lock(&submitter->lock);
        atomic_store_explicit(&submitter->client->dropped, ++submitter->dropped, memory_order_release);
        pthread_mutex_unlock(&submitter->lock);
        idxdd_submitter_ring(submitter);   /* even if awake: the count is looked at when the portal is visited */
        return idxdd_bell_gone(&submitter->bell) ? IDXDD_SUBMIT_GONE : 0;
    }
    if (answer == IDXDD_SUBMIT_UNSETTLED) {
        int64_t accepted = idxdd_submitter_settle(submitter, burst);
        return accepted < 0 ? (int)accepted : 1;
    }
    return answer == IDXDD_SUBMIT_CLOSED ? refusal(submitter) : answer;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------------- */

/* A closed portal: what was accepted still finishes, and counts; nothing past closed_at ever will. */
static int look_at_closed(struct idxdd_done_waiter *done, uint64_t finished)
{
    const struct idxdd_portal_device *device = done->submitter->device;
    uint32_t closed = atomic_load_explicit(&device->closed, memory_order_acquire);
    if (!closed) {
        done->waiter.closed_ns = 0;
        return IDXDD_WAIT_PENDING;
    }
    if (closed == IDXDD_CLOSED_DEVICE_GONE)
        return IDXDD_WAIT_GONE;
    uint64_t closed_at = atomic_load_explicit(&device->closed_at, memory_order_acquire);
    uint64_t now = idxdd_now_ns();
    if (!done->waiter.closed_ns)
        done->waiter.closed_ns = now;
    if ((closed_at != IDXDD_NEVER && finished >= closed_at) || now - done->waiter.closed_ns >= CLOSED_GRACE_NS)
        return IDXDD_WAIT_CLOSED;
    if (closed_at < done->waiter.number)
        done->waiter.number = closed_at;
    return IDXDD_WAIT_PENDING;
}

static bool record_is_there(const uint8_t *status)
{
    return status && __atomic_load_n(status, __ATOMIC_ACQUIRE);
}

static int look_at_done(struct idxdd_waiter *waiter)
{
    struct idxdd_done_waiter *done = (struct idxdd_done_waiter *)waiter;
    if (record_is_there(done->status))
        return IDXDD_WAIT_DONE;
    bool closed = atomic_load_explicit(&done->submitter->device->closed, memory_order_acquire) != IDXDD_OPEN;
    uint64_t finished = atomic_load_explicit(&done->submitter->device->done, memory_order_acquire);
    if (finished >= waiter->target &&
        (!done->status || record_is_there(done->status) ||
         (closed && finished >= atomic_load_explicit(&done->submitter->tail, memory_order_relaxed))))
        return IDXDD_WAIT_DONE;            /* of an open portal a record may come later than `done`: out of the event log, or never */
    waiter->number = finished < waiter->target ? waiter->target : finished + 1;
    int answer = look_at_closed(done, finished);
    if (answer != IDXDD_WAIT_PENDING && record_is_there(done->status))
        return IDXDD_WAIT_DONE;            /* written before `done` and `closed`, which were read in between */
    return answer;
}

void idxdd_done_waiter_init(struct idxdd_done_waiter *done, struct idxdd_submitter *submitter, uint64_t number, const uint8_t *status)
{
    *done = (struct idxdd_done_waiter){.submitter = submitter, .status = status};
    done->waiter.target = number;
    done->waiter.look = look_at_done;
    done->waiter.wake_at = &submitter->client->wake_at;
}

int idxdd_submitter_wait_record(struct idxdd_submitter *submitter, const uint8_t *status, uint64_t number, uint64_t timeout_ns)
{
    struct idxdd_done_waiter done;
    if (!idxdd_owned(submitter->owner))
        return IDXDD_WAIT_FORKED;
    idxdd_done_waiter_init(&done, submitter, number, status);
    return idxdd_bell_wait(&submitter->bell, &done.waiter, timeout_ns);
}

static int look_at_room(struct idxdd_waiter *waiter)
{
    const struct idxdd_submitter *submitter = ((struct idxdd_done_waiter *)waiter)->submitter;
    if (idxdd_submitter_room(submitter))
        return IDXDD_WAIT_DONE;
    uint32_t closed = idxdd_submitter_closed(submitter);
    return !closed ? IDXDD_WAIT_PENDING : closed == IDXDD_CLOSED_DEVICE_GONE ? IDXDD_WAIT_GONE : IDXDD_WAIT_CLOSED;
}

int idxdd_submitter_wait_room(struct idxdd_submitter *submitter, uint64_t timeout_ns)
{
    uint64_t start = idxdd_now_ns(), deadline = timeout_ns > UINT64_MAX - start ? UINT64_MAX : start + timeout_ns; /* for ever */
    if (!idxdd_owned(submitter->owner))
        return IDXDD_WAIT_FORKED;
    for (uint64_t now;;) {
        _Atomic uint64_t unarmed = 0;      /* the device rings whom it turned away, armed or not */
        struct idxdd_done_waiter room = {.submitter = submitter};
        room.waiter.look = look_at_room;
        room.waiter.wake_at = &unarmed;
        now = idxdd_now_ns();
        uint64_t left = deadline > now ? deadline - now : 0;
        int answer = idxdd_bell_wait(&submitter->bell, &room.waiter, left < ASK_AGAIN_NS ? left : ASK_AGAIN_NS);
        if (answer != IDXDD_WAIT_TIMEOUT || left <= ASK_AGAIN_NS)
            return answer;
        if (idxdd_submitter_ask(submitter) == IDXDD_SUBMIT_GONE) /* a belt: the device forgets whom it has rung often in vain */
            return IDXDD_WAIT_GONE;
    }
}

int idxdd_submitter_wait(struct idxdd_submitter *submitter, uint64_t number, uint64_t timeout_ns)
{
    return idxdd_submitter_wait_record(submitter, NULL, number, timeout_ns);
}
