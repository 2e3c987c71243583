/* The engine: one C thread that consumes portals, executes descriptors and writes completion records.
 *
 * Who calls what    the device loop (one thread, the daemon's Python) makes every call here but run(), which is the
 *                   engine's own thread - or the loop itself, when no thread was started (tests, simulation).
 * Requests          loop -> engine, one ring, in order; each is acknowledged by an exit IDXDD_EXIT_ACK with its id, when it is done.
 *                   "Done" of a stop or drain is when no descriptor it covers is left.
 * Exits             engine -> loop, one ring with room for every descriptor in flight and every request; the bell
 *                   (an eventfd) is written after each batch of exits. A parked descriptor keeps its context until the loop
 *                   resumes it; an answer carries the context's generation, and a sweep raises it.
 */
#ifndef IDXDD_ENGINE_H
#define IDXDD_ENGINE_H

#include "idxdd/operations.h"
#include "idxdd/shm.h"

#define IDXDD_SLICE_BYTES (64u * 1024u)
#define IDXDD_CONTEXTS 1024u            /* descriptors in progress or parked, all WQs */
#define IDXDD_PORTALS_MAX 2048u
#define IDXDD_HANDLES_MAX 256u           /* interrupt handles of one device */
#define IDXDD_RANGES_MAX 4096u          /* address ranges of one space */
#define IDXDD_IDPT_MAX 256u              /* entries of one device's inter-domain permissions table */

struct idxdd_engine;
struct idxdd_interrupts;
struct idxdd_space;

struct idxdd_engine_options {
    uint32_t spin_us;                   /* how long to look for work before sleeping; 0 = sleep at once */
    struct idxdd_published_device *published;
    uint64_t batch_seed;                /* not 0: members of a batch run in an order drawn from it, where no fence forbids */
};

struct idxdd_wq_config {
    struct idxdd_limits limits;
    uint32_t group;                     /* global: device * IDXDD_GROUPS_PER_DEVICE_MAX + group */
    uint16_t size;
    uint16_t threshold;                 /* shared: min(threshold, size) is what limited portals may fill */
    uint8_t priority;                   /* 1..15 */
    uint64_t engines;                   /* of the group, bit mask: whom the trace names in rotation; 0 as 1 */
    uint32_t pasid;                     /* dedicated with pasid_en */
    uint8_t pasid_en;
    uint8_t priv;
    uint8_t evl_en;                     /* the event log is on: a record that is nowhere can go there */
    uint8_t evl_drains;                 /* the event log is on and page requests are off: so does a drain's record (0x26) */
};

/* An entry of a device's inter-domain permissions table (registers.md 3.6). */
struct idxdd_idpt_entry {
    uint8_t usable;
    uint8_t many;                       /* type 1: the submitters are bits of a map; else `submitter` alone */
    uint8_t read, write, window_en, offset_mode;
    uint32_t submitter;
    uint64_t base, size, bitmap;        /* window; address of the map */
    struct idxdd_space *space;          /* of the access PASID; NULL: nobody has it */
    struct idxdd_space *bitmap_space;   /* where the map lies; NULL: all zeros */
};

enum idxdd_exit_kind {
    IDXDD_EXIT_ACK = 1,                 /* request `id` is done */
    IDXDD_EXIT_FAULT = 2,               /* parked: address not reachable (address, operand, write) */
    IDXDD_EXIT_ERROR = 3,               /* parked: status must be reported to the event log or SWERR; record_written tells whether a record went out */
    IDXDD_EXIT_WINDOW = 5,              /* parked: an Update Window, to be checked and done in the table; FINISH or FAIL */
    IDXDD_EXIT_OVERFLOW = 4,            /* not parked: a dedicated WQ dropped `id` posted writes, or a tail was garbage (id = 0) */
    IDXDD_EXIT_INJECTED = 6,            /* not parked: rule `id` (inject.h, EVENT) fired at the descriptor `desc` of this WQ and portal */
};

enum idxdd_resume {
    IDXDD_RESUME_RETRY = 1,             /* FAULT: the address may be reachable now */
    IDXDD_RESUME_FAIL = 2,              /* FAULT: end with `status` (the write bit is added here) and the partial result */
    IDXDD_RESUME_FINISH = 3,            /* ERROR: reported; go on */
    IDXDD_RESUME_RUN = 4,               /* FAULT of the completion record: go on without it; an ERROR exit (0x1A) hands it out */
};

struct idxdd_exit {
    uint32_t kind;
    uint32_t id;                        /* ACK: request id; OVERFLOW: count; INJECTED: the rule's id */
    uint32_t wq;                        /* global WQ index */
    uint32_t portal;                    /* engine's portal number */
    uint32_t context, generation;       /* to resume */
    uint32_t pasid;
    uint32_t invalid_flags;
    uint32_t bytes_completed;
    uint16_t batch_index;
    uint8_t in_batch;
    uint8_t status;                     /* ERROR: code to report, without the write bit */
    uint8_t operand, write, priv, record_written;
    uint8_t batch_id;                   /* ERROR with evl_en, of a Batch or its members: one number a batch in progress */
    uint8_t first_error;                /* ERROR 0x19, 0x1A with evl_en: the first of its batch */
    uint64_t address;                   /* FAULT and fault statuses: faulting address */
    uint8_t desc[64];
    uint8_t record[32];                 /* ERROR: the completion record, written or not */
};

enum idxdd_stop { IDXDD_STOP_DRAIN = 0, IDXDD_STOP_ABORT = 1 };

struct idxdd_portal_options {
    uint32_t wq;
    int client_fd, device_fd;           /* memfds of the two pages */
    int doorbell_fd;                    /* eventfd the client writes; duplicated */
    int wake_fd;                        /* our end of the socketpair; duplicated */
    struct idxdd_space *space;
    uint32_t pasid;
    bool priv;
};

/* NULL with errno set when memory, epoll or eventfd is not to be had. */
struct idxdd_engine *idxdd_engine_new(const struct idxdd_engine_options *options);
void idxdd_engine_free(struct idxdd_engine *engine);
int idxdd_engine_start(struct idxdd_engine *engine);     /* its own thread; 0 or an errno */
void idxdd_engine_stop(struct idxdd_engine *engine);     /* nothing is executed any more when this returns */
uint32_t idxdd_engine_run(struct idxdd_engine *engine, uint32_t visits); /* inline; how much was done */
int idxdd_engine_exit_bell(const struct idxdd_engine *engine);
uint32_t idxdd_engine_exits(struct idxdd_engine *engine, struct idxdd_exit *out, uint32_t maximum);
void idxdd_engine_ring(struct idxdd_engine *engine);

/* Requests. Each returns its id (never 0), or 0 with errno set: EAGAIN when the ring is full (the engine does not answer). */
uint32_t idxdd_engine_wq_enable(struct idxdd_engine *engine, uint32_t wq, const struct idxdd_wq_config *config);
uint32_t idxdd_engine_wq_threshold(struct idxdd_engine *engine, uint32_t wq, uint32_t threshold);
uint32_t idxdd_engine_wq_stop(struct idxdd_engine *engine, uint64_t wqs, enum idxdd_stop how, enum idxdd_closed reason);
uint32_t idxdd_engine_wq_drain(struct idxdd_engine *engine, uint64_t wqs);
uint32_t idxdd_engine_pasid_drain(struct idxdd_engine *engine, uint32_t pasid, uint64_t wqs);
uint32_t idxdd_engine_pasid_abort(struct idxdd_engine *engine, uint32_t pasid, uint64_t wqs);
uint32_t idxdd_engine_portal_add(struct idxdd_engine *engine, const struct idxdd_portal_options *options, uint32_t *number);
uint32_t idxdd_engine_portal_close(struct idxdd_engine *engine, uint32_t portal, enum idxdd_stop how, enum idxdd_closed reason);
uint32_t idxdd_engine_portal_reopen(struct idxdd_engine *engine, uint32_t portal);
uint32_t idxdd_engine_portal_remove(struct idxdd_engine *engine, uint32_t portal);

/* Addresses of `space` that are not mapped are reached through this agent (shm.h); each request has timeout_ns to be answered, then it
 * is a fault. Add once; remove when the portals of the space are removed. */
struct idxdd_agent_options { struct idxdd_space *space; int memory_fd, bell_fd, doorbell_fd; uint64_t timeout_ns; };
uint32_t idxdd_engine_agent_add(struct idxdd_engine *engine, const struct idxdd_agent_options *options);
uint32_t idxdd_engine_agent_remove(struct idxdd_engine *engine, struct idxdd_space *space);
uint32_t idxdd_engine_resume(struct idxdd_engine *engine, uint32_t context, uint32_t generation, enum idxdd_resume action, uint8_t status);
uint32_t idxdd_engine_barrier(struct idxdd_engine *engine);

/* The entry from now on. `update`: by Update Window, whose drain waits for who uses what was before; else who uses it is cut off (0x2E). */
uint32_t idxdd_engine_idpt_set(struct idxdd_engine *engine, uint32_t device, uint32_t handle, const struct idxdd_idpt_entry *entry, bool update);

/* At once, from the device loop. */
int idxdd_engine_portal_fenced(struct idxdd_engine *engine, uint32_t portal);
const struct idxdd_portal_device *idxdd_engine_portal_page(const struct idxdd_engine *engine, uint32_t portal); /* NULL: no such portal */
struct idxdd_interrupts *idxdd_engine_interrupts(struct idxdd_engine *engine);

struct idxdd_engine_statistics { uint64_t visits, sleeps, spin_ns, contexts, parked, exits, requests, finished; };
#define IDXDD_COUNTED_OPERATIONS 64u     /* the last one: every opcode from there on */
#define IDXDD_COUNTED_STATUSES 64u
/* Descriptors and batch members that came to an end, by opcode; those that did not end with 0x01, by status. */
struct idxdd_wq_counts { uint64_t operation[IDXDD_COUNTED_OPERATIONS], status[IDXDD_COUNTED_STATUSES]; };
void idxdd_engine_wq_counts(const struct idxdd_engine *engine, uint32_t wq, struct idxdd_wq_counts *out);
void idxdd_engine_statistics(const struct idxdd_engine *engine, struct idxdd_engine_statistics *out);

#endif
