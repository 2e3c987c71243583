/* Shared-memory layouts of idxdd: what lies in each segment that two processes see.
 *
 * Who writes what   every word below has exactly one writer, named at its struct. Words of different writers
 *                   never share a cache line.
 * Order             payload first, then the word that announces it (release); the reader loads that word first
 *                   (acquire). Where a store must be ordered against a later load of another word, both sides
 *                   put a full fence between ("fence" in the comments): see docs/architecture.md, "Protocols".
 * Trust             everything in struct idxdd_portal_client and struct idxdd_channel is written by a client and
 *                   may hold anything at any time; its readers copy once and validate the copy.
 * Sizes             fixed at compile time; the memfds are sealed against shrinking and growing.
 */
#ifndef IDXDD_SHM_H
#define IDXDD_SHM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define IDXDD_LAYOUT_VERSION 1u

#define IDXDD_PAGE 4096u
#define IDXDD_LINE 64u

#define IDXDD_PORTAL_SLOTS 128u       /* a full-size dedicated burst fits */
#define IDXDD_DEVICES_MAX 4u
#define IDXDD_WQS_PER_DEVICE_MAX 16u  /* global WQ index = device * 16 + wq id */
#define IDXDD_WQS_MAX (IDXDD_DEVICES_MAX * IDXDD_WQS_PER_DEVICE_MAX)
#define IDXDD_GROUPS_PER_DEVICE_MAX 16u
#define IDXDD_VECTORS_PER_DEVICE_MAX 32u
#define IDXDD_CHANNEL_SLOTS 256u      /* descriptors of one kernel channel; power of two */
#define IDXDD_COMPLETIONS 512u        /* completion ring; power of two, at least the channel's slots */
#define IDXDD_MMIO_RING 1024u         /* posted writes; power of two */
#define IDXDD_NEVER UINT64_MAX

/* Why a portal was closed: portal_device.closed. 0 = open. */
enum idxdd_closed {
    IDXDD_OPEN = 0,
    IDXDD_CLOSED_WQ_DISABLED = 1,   /* Disable WQ, Disable Device */
    IDXDD_CLOSED_ABORTED = 2,       /* Abort or Reset command */
    IDXDD_CLOSED_HALTED = 3,        /* the device halted */
    IDXDD_CLOSED_REVOKED = 4,       /* fenced at the gate, or revoked by an administrator */
    IDXDD_CLOSED_BY_OWNER = 5,      /* the client asked, or died */
    IDXDD_CLOSED_DEVICE_GONE = 6,   /* the daemon shuts down */
    IDXDD_CLOSED_REMOVED = 7,       /* surprise removal of the device; the daemon lives */
};

/* A portal, client's page. Writer: that client (the portal's owner), nobody else. Reader: the engine; idxdd-irq reads in_submit. */
struct idxdd_portal_client {
    _Alignas(64) _Atomic uint64_t tail;       /* descriptors published so far; slot = number % IDXDD_PORTAL_SLOTS */
    _Atomic uint64_t dropped;                 /* posted writes dropped at the limit (dedicated); becomes SWERR 0x53 */
    _Alignas(64) _Atomic uint64_t wake_at;    /* ring me when done reaches this; 0 = do not ring */
    _Alignas(64) _Atomic uint32_t want;       /* +1 asks for a grant; answered follows */
    _Alignas(64) _Atomic uint32_t in_submit;  /* kernel channels: 1 while inside the gate */
    _Alignas(4096) uint8_t slot[IDXDD_PORTAL_SLOTS][64];
};

/* A portal, device's page; the client has it read-only. Writer: the engine, except `fenced` (the device loop, on idxdd-irq's word). */
struct idxdd_portal_device {
    _Alignas(64) _Atomic uint64_t limit;      /* tail may go so far */
    _Alignas(64) _Atomic uint64_t done;       /* descriptors finished with: completed, failed or aborted */
    _Alignas(64) _Atomic uint32_t answered;   /* the last `want` that was answered */
    _Alignas(64) _Atomic uint32_t closed;     /* enum idxdd_closed */
    _Atomic uint64_t closed_at;               /* first number not accepted; IDXDD_NEVER until the tail has been taken */
    _Alignas(64) _Atomic uint32_t fenced;     /* 1: idxdd-irq has swept the channel and will not touch it again */
    _Alignas(64) _Atomic uint64_t descriptors; /* statistics of this portal: finished descriptors, */
    _Atomic uint64_t bytes;                   /* bytes moved, */
    _Atomic uint64_t retries;                 /* questions answered with "retry", */
    _Atomic uint64_t errors;                  /* records or reports with a status other than 0x01 and 0x02, */
    _Atomic uint64_t interrupts;              /* completion interrupts requested and raised */
};

/* Pending-list entry and completion: slot in bits 15:0, sequence in bits 63:16. Sequence starts at 1. */
static inline uint64_t idxdd_ticket(uint32_t slot, uint64_t sequence) { return sequence << 16 | (slot & 0xffffu); }
static inline uint32_t idxdd_ticket_slot(uint64_t ticket) { return (uint32_t)(ticket & 0xffffu); }
static inline uint64_t idxdd_ticket_sequence(uint64_t ticket) { return ticket >> 16; }

/* A kernel channel. Writer: that client; the device writes `record` (and only through the client's address space); between the
 * device's record and the completion, idxdd-irq may write the status byte (resubmission).
 * Readers: idxdd-irq, the device. */
struct idxdd_channel {
    _Alignas(64) _Atomic uint64_t pending_tail; /* entries appended to `pending` so far */
    _Alignas(64) _Atomic uint64_t wake_at;      /* ring me when the completion ring's tail reaches this; 0 = do not ring */
    _Alignas(4096) _Atomic uint64_t pending[IDXDD_CHANNEL_SLOTS]; /* tickets; index = number % IDXDD_CHANNEL_SLOTS */
    _Alignas(4096) uint8_t desc[IDXDD_CHANNEL_SLOTS][64];
    _Alignas(4096) uint8_t record[IDXDD_CHANNEL_SLOTS][32];
};

/* dmaengine results as the driver maps them (driver.md section 7). */
enum idxdd_txn_result { IDXDD_TXN_NOERROR = 0, IDXDD_TXN_WRITE_FAILED = 2, IDXDD_TXN_ABORTED = 3 };

struct idxdd_completion {
    uint64_t ticket;
    uint8_t status;         /* raw status byte of the record when it was completed; 0 for ABORT of an unfinished one */
    uint8_t result;         /* enum idxdd_txn_result */
    uint8_t rsvd[6];
};

/* Completion ring of a channel; the client has it read-only. Writer: idxdd-irq. */
struct idxdd_completion_ring {
    _Alignas(64) _Atomic uint64_t tail;         /* completions written so far; index = number % IDXDD_COMPLETIONS */
    _Alignas(4096) struct idxdd_completion entry[IDXDD_COMPLETIONS];
};

/* Counters of one WQ. Writer: the engine. */
struct idxdd_wq_statistics {
    _Alignas(64) _Atomic uint64_t accepted;
    _Atomic uint64_t completed;                 /* finished by the device, whatever the status */
    _Atomic uint64_t aborted;                   /* abandoned without a record */
    _Atomic uint64_t bytes;
    _Atomic uint64_t retries;
    _Atomic uint64_t errors;
    _Atomic uint64_t faults;
    _Atomic uint64_t interrupts;                /* completion interrupts signalled (semaphore posted) */
    _Alignas(64) _Atomic uint64_t interrupts_requested; /* completion interrupts asked for by descriptors */
    _Atomic uint32_t occupancy;                 /* accepted, not yet dispatched */
    _Atomic uint32_t portals;
    _Atomic uint32_t state;                     /* WQCFG.wq_state as the engine acts on it: 0 or 1 */
};

/* Published by the device, read-only to every client. Writers: engine (asleep, wq), device loop (the rest). */
struct idxdd_published_device {
    uint32_t layout_version;
    uint32_t cores;
    uint64_t generation;
    _Alignas(64) _Atomic uint32_t asleep;       /* the engine sleeps: ring after publishing */
    _Alignas(64) _Atomic uint32_t clients;      /* processes with an open portal: a waiter spins only while cores suffice */
    _Alignas(64) struct idxdd_wq_statistics wq[IDXDD_WQS_MAX];
};

enum idxdd_gate { IDXDD_GATE_DEAD = 0, IDXDD_GATE_LIVE = 1, IDXDD_GATE_CLOSED = 2 };

/* Published by the driver, read-only to every client. Writer: idxdd-irq. */
struct idxdd_published_driver {
    uint32_t layout_version;
    uint32_t rsvd;
    uint64_t generation;                        /* of the device it drives */
    _Alignas(64) _Atomic uint32_t device_state[IDXDD_DEVICES_MAX]; /* 0 disabled, 1 enabled, 2 halted */
    struct idxdd_published_wq {
        _Alignas(64) _Atomic uint32_t gate;     /* enum idxdd_gate */
        _Atomic uint32_t int_handle;            /* 0xffffffff = none */
        _Atomic uint32_t state;                 /* the driver's belief: 0 disabled, 1 enabled */
        _Atomic uint32_t mode;                  /* 1 dedicated, 0 shared */
        _Atomic uint32_t type;                  /* 0 none, 1 kernel, 2 user */
        _Atomic uint32_t pool;                  /* descriptors a channel may use: size (dedicated) or threshold (shared) */
        _Atomic uint64_t interrupts;            /* runs of this WQ's wq_thread */
    } wq[IDXDD_WQS_MAX];
};

/* The agent's page: how the device gets at addresses of a client that it has not mapped. One per session, a sealed memfd.
 *
 * A request     the device fills a slot and sets word = ASKED; a thread of the client takes it (TAKEN: it uses the slot's bounce
 *               buffer), claims it before it stores anything into its own memory (CLAIMED), and answers (DONE).
 * The word      sequence << 3 | state; both sides change it by compare-and-swap. The device cancels: ASKED -> FREE, and
 *               TAKEN -> DROPPED, after which the slot is not used again until the client has set RELEASED.
 *               A claimed one cannot be cancelled: its descriptor's record waits.
 * One line      request, word and answer of a slot are never written by both sides at once, so they travel as one line.
 * Trust         everything here may be overwritten by the client at any time: the device keeps its own copy of what it asked
 *               for, and copies and checks the answer once. */
#define IDXDD_AGENT_SLOTS 4u
#define IDXDD_AGENT_REGIONS 4u
#define IDXDD_AGENT_REGION_BYTES 65536u
#define IDXDD_AGENT_COPY_BYTES 524288u /* the most one COPY moves: a command waits no longer for it */

enum idxdd_agent_state {
    IDXDD_AGENT_FREE = 0, IDXDD_AGENT_ASKED = 1, IDXDD_AGENT_TAKEN = 2, IDXDD_AGENT_CLAIMED = 3, IDXDD_AGENT_DONE = 4,
    IDXDD_AGENT_DROPPED = 5, IDXDD_AGENT_RELEASED = 6,
};
#define IDXDD_AGENT_STATE_MASK 7u

enum idxdd_agent_kind {
    IDXDD_AGENT_READ = 1,               /* address -> bounce buffer */
    IDXDD_AGENT_PREPARE = 2,            /* the same, of what may be written there, too */
    IDXDD_AGENT_WRITE = 3,              /* bounce buffer -> address */
    IDXDD_AGENT_RECORD = 4,             /* the same for 32 bytes, the first of them last */
    IDXDD_AGENT_COPY = 5,               /* source -> address, both the client's */
};

enum idxdd_agent_flag {
    IDXDD_AGENT_TOUCH = 1,              /* Block on Fault: pages that are not present may be waited for */
    IDXDD_AGENT_BACKWARDS = 2,          /* page by page from the end; count is from the end */
    IDXDD_AGENT_SOURCE_MAPPED = 4,      /* COPY: this end lies in a library buffer: present, whatever the page map says */
    IDXDD_AGENT_ADDRESS_MAPPED = 8,
};

struct idxdd_agent_slot {
    _Alignas(64) _Atomic uint64_t word;
    uint64_t address, source;           /* device */
    uint32_t size;
    uint16_t kind, flags;
    uint32_t region;                    /* which 64 KiB of the slot's bounce buffer */
    uint32_t count;                     /* client: bytes done before the first that cannot be */
    uint32_t at_source;                 /* client, COPY: it was the source that could not be read */
};

struct idxdd_agent_page {
    _Alignas(64) _Atomic uint64_t requests; /* device: requests and hails so far; "look" */
    _Atomic uint32_t hail;                  /* device: raised when a request was not answered in time */
    _Alignas(64) _Atomic uint32_t awake;    /* client: threads that look by themselves; 0 = ring */
    _Alignas(64) _Atomic uint32_t heard;    /* client: the last hail it saw; until then it is asked nothing */
    _Alignas(64) struct idxdd_agent_slot slot[IDXDD_AGENT_SLOTS];
    _Alignas(4096) uint8_t bounce[IDXDD_AGENT_SLOTS][IDXDD_AGENT_REGIONS][IDXDD_AGENT_REGION_BYTES];
};

/* Between idxdd and idxdd-irq only (posix shared memory, 0600); one per device. Writer of tail, entry, pending := 0: idxdd-irq.
 * Writer of applied, loop_asleep, pending := 1 (exchange on both sides): the device. */
struct idxdd_mmio {
    _Alignas(64) _Atomic uint64_t tail;         /* writes posted */
    _Alignas(64) _Atomic uint64_t applied;      /* writes applied */
    _Alignas(64) _Atomic uint32_t loop_asleep;  /* ring the loop's eventfd after posting */
    _Alignas(64) _Atomic uint32_t pending[IDXDD_VECTORS_PER_DEVICE_MAX];
    _Alignas(64) struct idxdd_posted_write {
        uint32_t offset;
        uint32_t width_bytes;                   /* 1, 2, 4 or 8 */
        uint64_t value;
    } entry[IDXDD_MMIO_RING];
};

_Static_assert(sizeof(struct idxdd_portal_client) == 4096 + 8192, "portal, client's page");
_Static_assert(sizeof(struct idxdd_portal_device) <= 4096, "portal, device's page");
_Static_assert(sizeof(struct idxdd_agent_slot) == 64, "one line");
_Static_assert(sizeof(struct idxdd_completion) == 16, "completion");
_Static_assert(offsetof(struct idxdd_channel, record) % 32 == 0, "records are 32-byte aligned");
_Static_assert((IDXDD_CHANNEL_SLOTS & (IDXDD_CHANNEL_SLOTS - 1)) == 0, "power of two");
_Static_assert((IDXDD_COMPLETIONS & (IDXDD_COMPLETIONS - 1)) == 0, "power of two");
_Static_assert(IDXDD_COMPLETIONS >= IDXDD_CHANNEL_SLOTS, "a completion is never overwritten before its slot is used again");

#endif
