/* A client's side of a kernel channel: descriptors with interrupts, completed by idxdd-irq. See channel.c for who writes what. */
#ifndef IDXDD_CHANNEL_H
#define IDXDD_CHANNEL_H

#include "portal.h"

#define IDXDD_BLOCK_NS 1000000000u      /* the longest a blocking submission waits for a slot, room or the gate */

enum idxdd_slot_state {
    IDXDD_SLOT_FREE = 0,
    IDXDD_SLOT_ENTERING = 1,            /* inside idxdd_channel_submit; not yet anybody's */
    IDXDD_SLOT_IN_FLIGHT = 2,           /* the caller waits for its completion */
    IDXDD_SLOT_REFUSED = 3,             /* the caller was told no; its completion, if any, is swallowed */
};

struct idxdd_kernel_channel {
    struct idxdd_submitter *submitter;
    struct idxdd_channel *channel;
    const struct idxdd_completion_ring *ring;
    const struct idxdd_published_driver *driver;
    const struct idxdd_published_wq *gate;      /* of this WQ, in *driver */
    uint64_t owner;
    uint64_t pending_tail;              /* mirrors the channel's; guarded by the submitter's lock */
    pthread_mutex_t lock;               /* guards what follows; taken inside the submitter's */
    uint32_t slots;
    uint32_t free_count;
    uint16_t free[IDXDD_CHANNEL_SLOTS];
    uint8_t state[IDXDD_CHANNEL_SLOTS];
    uint64_t sequence_of[IDXDD_CHANNEL_SLOTS];
    uint64_t sequence;                  /* of the last submission; starts at 1 */
    _Atomic uint64_t reaped;            /* entries of the ring that were looked at */
    _Atomic uint32_t in_flight;         /* slots in use */
    _Atomic uint32_t over;              /* the owner closes it: waiters are told CLOSED */
};

/* What idxdd_channel_reap gives back. */
struct idxdd_reaped {
    uint64_t ticket;
    uint8_t status, result;             /* as in struct idxdd_completion */
    uint8_t record[32];
};

/* 0 or -errno. The submitter must outlive the channel; its wake socket rings for both. */
int idxdd_channel_open(struct idxdd_kernel_channel *channel, struct idxdd_submitter *submitter, int channel_fd, int ring_fd, int driver_fd,
                       uint32_t wq, uint32_t slots);
void idxdd_channel_close(struct idxdd_kernel_channel *channel);

/* What the driver's submit answers where this one says IDXDD_SUBMIT_CLOSED: -EIO while the device is not enabled, else -ENXIO. */
int idxdd_channel_refusal(const struct idxdd_kernel_channel *channel);

/* Submit up to `count` (at most a portal's slots) in order. How many, their tickets in tickets[]; or an enum idxdd_submit_answer.
 * `block`: wait up to IDXDD_BLOCK_NS for a slot, room in the WQ, an open gate. */
int64_t idxdd_channel_submit(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, bool block, uint64_t *tickets);

/* Completions since the last call; their slots are free again. */
uint32_t idxdd_channel_reap(struct idxdd_kernel_channel *channel, struct idxdd_reaped *reaped, uint32_t maximum);

/* Entries in the completion ring so far, reaped or not. */
uint64_t idxdd_channel_completed(const struct idxdd_kernel_channel *channel);

/* Until idxdd_channel_completed >= completed. enum idxdd_wait. CLOSED: nothing more comes, or not within a second of the close. */
int idxdd_channel_wait(struct idxdd_kernel_channel *channel, uint64_t completed, uint64_t timeout_ns);

struct idxdd_channel_waiter {
    struct idxdd_waiter waiter;
    struct idxdd_kernel_channel *channel;
};
void idxdd_channel_waiter_init(struct idxdd_channel_waiter *waiting, struct idxdd_kernel_channel *channel, uint64_t completed);

/* ---- the steps, for the binding ---------------------------------------------------------------------------------------------- */

/* Why nothing was submitted; what idxdd_channel_try says besides an enum idxdd_submit_answer. */
enum idxdd_channel_answer { IDXDD_CHANNEL_NO_SLOT = -16, IDXDD_CHANNEL_FULL = -17, IDXDD_CHANNEL_GATE_CLOSED = -18 };

/* Never waits (but for the lock, unless `try`). How many, or negative; UNSETTLED: idxdd_channel_settle must follow. */
int64_t idxdd_channel_try(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, bool try, uint64_t *tickets,
                          struct idxdd_burst *burst);
int64_t idxdd_channel_settle(struct idxdd_kernel_channel *channel, const uint64_t *tickets, struct idxdd_burst burst);

#endif
