/* The trace: one record per descriptor and batch member, written when it has ended.
 *
 * Who writes what   the engine writes records into a ring of its own memory, the device loop reads them, both in this process.
 * Full              the oldest is overwritten; a read says exactly how many were lost since the read before it.
 * Off               no memory, one predictable branch a descriptor. Descriptors under way when it is switched on are not traced.
 * Order             of ends. Ids are in the order of dispatch, members after their Batch; an id is never used twice in an engine's life.
 */
#ifndef IDXDD_TRACE_H
#define IDXDD_TRACE_H

#include <stdint.h>

#define IDXDD_TRACE_RECORDS_MAX (1u << 22)
#define IDXDD_ERRORS_KEPT 256u           /* records of the last errors, kept whether there is a trace or not */

/* What decided how a descriptor ended. The checks carry their row of operations.md 4. */
enum idxdd_why {
    IDXDD_WHY_NONE = 0,
    IDXDD_WHY_CARRIED_OUT = 1,          /* the operation ran to its end: success, or what it found (predicate, DIF error, delta order, read error, ...) */
    IDXDD_WHY_MEMBER_FAILED = 2,        /* Batch, 0x05: all members were processed, one or more did not end with 0x01 */
    IDXDD_WHY_FENCE = 3,                /* Batch, 0x05: a member with Fence after a failed one; the rest was not begun */
    /* refused by a check, before anything was done */
    IDXDD_WHY_RECORD_ALIGNMENT = 16,    /* row 1: completion record address, 0x1B */
    IDXDD_WHY_PRIVILEGE = 17,           /* row 2, 0x1D */
    IDXDD_WHY_RECORD_TRAFFIC_CLASS = 18, /* row 3, 0x1E */
    IDXDD_WHY_OPCODE = 20,              /* row 5, 0x10: not in OPCFG, or unknown */
    IDXDD_WHY_OPCODE_IN_BATCH = 21,     /* row 5, 0x10: Batch, Drain, Update Window as a member */
    IDXDD_WHY_FLAGS = 22,               /* row 6, 0x11: invalid_flags says which */
    IDXDD_WHY_RESERVED = 23,            /* row 7, 0x12 */
    IDXDD_WHY_NO_PASID = 24,            /* row 8, 0x28 */
    IDXDD_WHY_SIZE = 25,                /* row 9, 0x13 */
    IDXDD_WHY_COUNT = 26,               /* row 10, 0x14 */
    IDXDD_WHY_FIELD_VALUE = 27,         /* row 11, 0x15 */
    IDXDD_WHY_LIST_ALIGNMENT = 28,      /* row 12, 0x18 */
    IDXDD_WHY_ALIGNMENT = 29,           /* row 13, 0x1C */
    IDXDD_WHY_DUALCAST_BITS = 30,       /* row 14, 0x17 */
    IDXDD_WHY_OVERLAP = 31,             /* row 15, 0x16 */
    IDXDD_WHY_HANDLE = 32,              /* row 16, 0x19 */
    IDXDD_WHY_TRAFFIC_CLASS = 33,       /* row 17, 0x1E */
    IDXDD_WHY_WINDOW = 34,              /* row 18, 0x29 to 0x2D */
    IDXDD_WHY_CHECK = 35,               /* another status that a check gave */
    /* an address that was not there */
    IDXDD_WHY_FAULT = 48,               /* of an operand: fault_address, operand */
    IDXDD_WHY_RECORD_FAULT = 49,        /* of the completion record: 0x1A; the operation was not carried out, or its record is lost */
    IDXDD_WHY_RECORD_LOGGED = 50,       /* of the completion record: carried out, the record went to the event log (0x1A; of a batch 0x27) */
    IDXDD_WHY_DRAIN_LOGGED = 51,        /* page requests are off: a Drain's record goes to the event log (0x26) */
    /* from outside */
    IDXDD_WHY_ABORTED = 64,             /* its portal, WQ, PASID or device was stopped: no record. dispatched_ns 0: it had not begun */
    IDXDD_WHY_RULE = 80,                /* a rule of fault injection gave this end (status, dropped, full); rules that only delayed, held or
                                         * disturbed leave the `why` as it is: `rule` names them */
};

struct idxdd_trace_record {
    uint64_t id;                        /* from 1 */
    uint64_t batch;                     /* id of the Batch it was a member of; 0: none */
    /* CLOCK_MONOTONIC; 0: did not happen. accepted <= dispatched <= first_fault <= written <= interrupt.
     * Up to four descriptors of less than 512 bytes that follow each other and write no record share a time. */
    uint64_t accepted_ns;               /* out of its slot; of a member: its Batch's */
    uint64_t dispatched_ns;             /* a context took it, of a member: it was fetched */
    uint64_t first_fault_ns;
    uint64_t written_ns;                /* its record, or the end of the work where no record was due; 0: dropped, aborted, in the log */
    uint64_t interrupt_ns;              /* raised (also if it coalesced or is masked) */
    uint64_t fault_address;             /* of the first fault */
    uint32_t pasid;
    uint32_t rule;                      /* id of the first rule that acted on it; 0: none */
    uint32_t bytes_completed;
    uint32_t invalid_flags;
    uint16_t portal;
    uint16_t member;                    /* index in the batch; of a Batch: members processed */
    uint16_t vector;                    /* global; 0xffff: no interrupt asked for, or its handle was refused */
    uint8_t wq;                         /* global index */
    uint8_t engine;                     /* of the WQ's group, in rotation; members: their Batch's */
    uint8_t status;                     /* raw status byte; 0: no end of its own (aborted) */
    uint8_t reported;                   /* code that went to the event log or SWERR; 0: none */
    uint8_t operand;                    /* of the first fault */
    uint8_t why;                        /* enum idxdd_why */
    uint8_t flags;                      /* enum idxdd_trace_flag */
    uint8_t rsvd[3];
    uint8_t desc[64];                   /* opcode, flags, size, interrupt handle are in here */
    uint8_t record[32];                 /* as written (a corrupting rule included), or as it would have been */
};

enum idxdd_trace_flag {
    IDXDD_TRACE_RECORD_WRITTEN = 1,     /* into the client's memory */
    IDXDD_TRACE_MEMBER = 2,
    IDXDD_TRACE_FAULT_WRITE = 4,        /* the first fault was a write */
    IDXDD_TRACE_PRIV = 8,
    IDXDD_TRACE_DROPPED = 32,           /* by a rule: nobody was told */
    IDXDD_TRACE_AGENT = 16,             /* memory was reached through the client's agent */
};

_Static_assert(sizeof(struct idxdd_trace_record) == 192, "read in Python, too");

struct idxdd_engine;

/* Requests: id, or 0 with errno (EINVAL: 0 or too many, ENOMEM, EAGAIN). On while it is on: a new, empty ring. What was not read before
 * trace_off is gone. */
uint32_t idxdd_engine_trace_on(struct idxdd_engine *engine, uint32_t records);
uint32_t idxdd_engine_trace_off(struct idxdd_engine *engine);

/* The oldest unread records, at most `maximum`, oldest first. Returns how many; *dropped: overwritten unread since the last call. */
uint32_t idxdd_engine_trace_read(struct idxdd_engine *engine, struct idxdd_trace_record *out, uint32_t maximum, uint64_t *dropped);

/* The same of descriptors and members that did not end well (a status other than 0x01 and 0x02, or a report); aborted ones are not among
 * them. Without a trace `id`, `batch` and all times but `written_ns` (then: when it ended) are 0. */
uint32_t idxdd_engine_errors_read(struct idxdd_engine *engine, struct idxdd_trace_record *out, uint32_t maximum, uint64_t *dropped);

#endif
