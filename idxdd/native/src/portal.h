/* A client's side of a portal: publish descriptors, wait for them. See portal.c for who writes what. */
#ifndef IDXDD_PORTAL_H
#define IDXDD_PORTAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "idxdd/shm.h"
#include "wait.h"

enum idxdd_submit_answer {
    IDXDD_SUBMIT_RETRY = -1,      /* the WQ is full; a shared WQ was asked and answered, as ENQCMD is */
    IDXDD_SUBMIT_CLOSED = -2,     /* refused: the portal is closed */
    IDXDD_SUBMIT_GONE = -3,       /* the daemon has ended */
    IDXDD_SUBMIT_FORKED = -4,     /* the portal belongs to the parent process */
    IDXDD_SUBMIT_BUSY = -5,       /* idxdd_submitter_publish only: another thread is inside */
    IDXDD_SUBMIT_UNSETTLED = -6,  /* idxdd_submitter_publish only: closed meanwhile, see idxdd_submitter_settle */
};

/* One process's hold on a portal. */
struct idxdd_submitter {
    struct idxdd_portal_client *client;
    const struct idxdd_portal_device *device;
    const struct idxdd_published_device *published;
    uint64_t owner;
    int doorbell;
    bool dedicated;
    pthread_mutex_t lock;         /* guards publishing: the slots, and the four words below, which mirror the client's page */
    _Atomic uint64_t tail;        /* stored under the lock, loaded by waiters */
    uint64_t dropped;
    uint32_t want;
    struct idxdd_bell bell;
};

/* What one call published: numbers first .. first + count - 1. */
struct idxdd_burst { uint64_t first; uint32_t count; };

/* 0 or -errno. The descriptors stay the caller's. wake_fd: our end of a stream or seqpacket socket pair. */
int idxdd_submitter_open(struct idxdd_submitter *submitter, int client_fd, int device_fd, int published_fd, int doorbell_fd, int wake_fd,
                         bool dedicated);
void idxdd_submitter_close(struct idxdd_submitter *submitter);

/* Publish one descriptor; may wait up to a second for an answer. Its number, or an enum idxdd_submit_answer. */
int64_t idxdd_submitter_submit(struct idxdd_submitter *submitter, const uint8_t *desc);

/* Publish as many of `count`, in order, as there is room for; *first is the number of the first. How many, 0 = retry, or negative. */
int64_t idxdd_submitter_submit_many(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, uint64_t *first);

/* Never waits for room: its number, RETRY (asked for room; idxdd_submitter_asking tells when that is answered), CLOSED, GONE. */
int64_t idxdd_submitter_try(struct idxdd_submitter *submitter, const uint8_t *desc);
bool idxdd_submitter_asking(struct idxdd_submitter *submitter);

/* A dedicated WQ's posted write: 1 = published, 0 = dropped at the limit and counted, negative as above. */
int idxdd_submitter_post(struct idxdd_submitter *submitter, const uint8_t *desc);

/* Until done >= number (counted from the portal's first descriptor, so number + 1 of a submission). enum idxdd_wait. */
int idxdd_submitter_wait(struct idxdd_submitter *submitter, uint64_t number, uint64_t timeout_ns);

/* Until *status is not 0; `number` as for idxdd_submitter_wait says when to look. Also done when the portal is closed and
 * everything published has finished: a descriptor that was aborted leaves 0 there. While it is open the record decides. */
int idxdd_submitter_wait_record(struct idxdd_submitter *submitter, const uint8_t *status, uint64_t number, uint64_t timeout_ns);

/* After a retry: until there is room, or the portal closed. */
int idxdd_submitter_wait_room(struct idxdd_submitter *submitter, uint64_t timeout_ns);

/* Make `waiter` (async, the caller's) wait for done >= number, for idxdd_bell_arm. */
struct idxdd_done_waiter {
    struct idxdd_waiter waiter;
    struct idxdd_submitter *submitter;
    const uint8_t *status;        /* NULL: `done` alone decides */
};
void idxdd_done_waiter_init(struct idxdd_done_waiter *done, struct idxdd_submitter *submitter, uint64_t number, const uint8_t *status);

/* ---- the steps, for callers that hold something (the GIL, the gate) while they do not wait ------------------------------ */

/* Never waits (but for the lock, unless `try`). 1: published; 0: no room; CLOSED, FORKED, BUSY; UNSETTLED: published, but the portal closed. */
int idxdd_submitter_publish(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, bool try, struct idxdd_burst *burst);

/* After UNSETTLED: how many of the burst were accepted, or CLOSED, GONE. Waits (bounded) for closed_at. */
int64_t idxdd_submitter_settle(struct idxdd_submitter *submitter, struct idxdd_burst burst);

/* Ask for room and wait for the answer: 0 = answered, look again; negative: CLOSED, GONE, RETRY (no answer within a second). */
int idxdd_submitter_ask(struct idxdd_submitter *submitter);

/* Under the lock: how many may be published; publish so many at most (slots filled from `descs`), tail, fence, bell. */
uint32_t idxdd_submitter_room(const struct idxdd_submitter *submitter);
struct idxdd_burst idxdd_submitter_put(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count);
void idxdd_submitter_want(struct idxdd_submitter *submitter);
void idxdd_submitter_ring(const struct idxdd_submitter *submitter);

static inline uint32_t idxdd_submitter_closed(const struct idxdd_submitter *submitter)
{
    return atomic_load_explicit(&submitter->device->closed, memory_order_acquire);
}

#endif
