/* A kernel channel as idxdd-irq sees it: the pending list, the work list and the completion ring.
 *
 * Who writes what   the client: channel (pending list, records) and in_submit; idxdd-irq, one thread: completion ring and
 *                   struct idxdd_irq_channel_state, which lies in the driver-state segment and outlives the process.
 * Order of a take   listed[slot] = sequence for each new entry, in order; then cursor; only then is anything completed.
 *                   So after a kill the entries already listed are a prefix of [cursor, pending_tail).
 * Order of a completion
 *                   ring entry; ring tail (release); listed[slot] = 0; fence; wake_at; bell. So a listed slot whose ticket
 *                   is among the last entries of the ring is done, and a successor only clears it.
 * Trust             pending entries and records may change at any time: each is read once and the copy is judged. An
 *                   index out of range, a slot met twice or a tail that runs away stops this channel (`violation`).
 */
#ifndef IDXDD_IRQ_CHANNEL_H
#define IDXDD_IRQ_CHANNEL_H

#include "idxdd/shm.h"

#include <stdbool.h>

struct idxdd_irq_channel_state {
    _Atomic uint64_t cursor;                      /* pending entries taken so far */
    uint64_t rsvd[7];
    _Atomic uint64_t listed[IDXDD_CHANNEL_SLOTS]; /* sequence of the descriptor idxdd-irq holds of this slot; 0 = none */
};

enum idxdd_channel_violation {
    IDXDD_VIOLATION_NONE = 0,
    IDXDD_VIOLATION_TAIL = 1,      /* pending_tail went back, or beyond what the list holds */
    IDXDD_VIOLATION_INDEX = 2,     /* slot out of range, or sequence 0 */
    IDXDD_VIOLATION_TWICE = 3,     /* a slot that idxdd-irq already holds */
};

struct idxdd_irq_channel {
    const struct idxdd_channel *channel;
    uint8_t (*record)[32];                        /* the records again, writable: see idxdd_irq_channel_set_status */
    const struct idxdd_portal_client *portal;
    struct idxdd_completion_ring *ring;
    struct idxdd_irq_channel_state *state;
    int wake_fd;
    uint32_t slots;
    enum idxdd_channel_violation violation;
    uint64_t rung;                                /* the wake_at that was answered last */
    uint64_t completed;
    uint32_t work_count;                          /* work list: slots, oldest entry first */
    uint16_t work[IDXDD_CHANNEL_SLOTS];
};

/* What a pass gives back: descriptors with status 0x19, for resubmission. */
struct idxdd_deferred {
    uint32_t count;
    struct { uint64_t ticket; uint8_t status; } entry[IDXDD_CHANNEL_SLOTS];
};

/* 0, or -errno. Maps the three fds (the caller keeps them) and duplicates wake_fd. */
int idxdd_irq_channel_open(struct idxdd_irq_channel *c, int channel_fd, int ring_fd, int portal_client_fd, int wake_fd,
                           uint32_t slots, void *state);
void idxdd_irq_channel_close(struct idxdd_irq_channel *c);

uint32_t idxdd_irq_channel_in_submit(const struct idxdd_irq_channel *c);

/* What a pass hands out instead of completing it. */
enum idxdd_defer {
    IDXDD_DEFER_NOTHING = 0,
    IDXDD_DEFER_INVALID_HANDLE = 1,   /* status 0x19: to be submitted again */
    IDXDD_DEFER_FINISHED = 2,         /* everything finished: the caller completes it (known defects, DEF-06, DEF-14) */
};

/* One pass of irq_process_work_list / irq_process_pending_llist. */
uint32_t idxdd_irq_channel_work_list(struct idxdd_irq_channel *c, enum idxdd_defer defer, struct idxdd_deferred *deferred);
uint32_t idxdd_irq_channel_pending_list(struct idxdd_irq_channel *c, enum idxdd_defer defer, struct idxdd_deferred *deferred);

/* Everything pending to the work list, newest first; what has status 0x19 there is completed, whatever else has finished
 * stays. Returns how many were completed. */
uint32_t idxdd_irq_channel_abort_invalid_handles(struct idxdd_irq_channel *c);

/* Whether the client has entered this slot on the pending list since the last take. */
bool idxdd_irq_channel_entered(const struct idxdd_irq_channel *c, uint32_t slot);

/* After a predecessor was reaped: settle what the ring already has, rebuild the work list, ring the client. Returns how many are listed. */
uint32_t idxdd_irq_channel_adopt(struct idxdd_irq_channel *c);

/* Complete everything: a written status as NORMAL, zero as ABORT. Returns how many. */
uint32_t idxdd_irq_channel_sweep(struct idxdd_irq_channel *c);

/* Complete one deferred descriptor. False: idxdd-irq does not hold this ticket. */
bool idxdd_irq_channel_complete(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status, uint8_t result);

/* Write a completion although the ticket is not held: a second one (known defect, DEF-07). Its client drops it as a repeat. */
void idxdd_irq_channel_complete_again(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status, uint8_t result);

/* Put a deferred descriptor back on the tail of the work list (it was submitted again). False: not held. */
bool idxdd_irq_channel_relist(struct idxdd_irq_channel *c, uint64_t ticket);

/* What a resubmission needs. Between a descriptor's record and its completion the record is neither the device's nor the
 * client's, so that idxdd-irq may write its status. False: not held. */
bool idxdd_irq_channel_holds(const struct idxdd_irq_channel *c, uint64_t ticket);
bool idxdd_irq_channel_descriptor(const struct idxdd_irq_channel *c, uint64_t ticket, uint8_t desc[64]);
bool idxdd_irq_channel_set_status(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status);

/* dmaengine result of a raw status byte; abort: completed as ABORT (driver.md section 7). */
enum idxdd_txn_result idxdd_txn_result_of(uint8_t status, bool abort);

#endif
