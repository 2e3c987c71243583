/* Fault injection: what the engine does to descriptors that rules name. The rule language is Python's; this is what it compiles to.
 *
 * A rule            where (which descriptors) x when (which of those) x what (the effect). The rules of a table are tried in order at each
 *                   descriptor that is dispatched, batch members included, after its checks: one that a check refuses has nothing to
 *                   run, so only rules about its end are tried at it (record, delay, drop, reorder, interrupt, full, event).
 *                   Of each kind of effect the first rule that fires is carried out, so rules combine (an event and a delay and a fault);
 *                   a rule that finds its kind taken, or that cannot act on this descriptor (no such operand, offset past its end, no
 *                   interrupt asked for), is not tried: neither matched nor hit.
 * Tables            swapped whole by idxdd_engine_set_rules, acknowledged like every request. With the swap what earlier rules still had in
 *                   store is forgotten and what they hold goes on: no rules, no traces of rules.
 * Counters          a table's, from 0 when it is installed. Writer: the engine; the device loop reads them at any time.
 * Safe              with any bytes: an impossible rule does nothing, or something bounded. Refusing it is the Python half's.
 */
#ifndef IDXDD_INJECT_H
#define IDXDD_INJECT_H

#include <stdint.h>

#define IDXDD_RULES_MAX 256u
#define IDXDD_RULE_HOLD_MAX_NS 600000000000ull /* nothing is held longer: 10 minutes; what a rule says beyond is cut to it */
#define IDXDD_RULE_ANY_PASID UINT32_MAX

enum idxdd_rule_scope {
    IDXDD_RULE_ANYWHERE = 0,
    IDXDD_RULE_MEMBERS = 1,             /* batch members whose index lies in member_first..member_last */
    IDXDD_RULE_NOT_MEMBERS = 2,         /* descriptors from a portal, a Batch itself included */
};

enum idxdd_rule_what {
    IDXDD_RULE_STATUS = 1,              /* not carried out: ends with `status` (bit 7: the access was a write), and the fields below */
    IDXDD_RULE_FAULT = 2,               /* `operand` ends at `offset`, as if the page there were not mapped: FAULT exit, partial result. Once a
                                         * descriptor: after RESUME_RETRY the byte is there. Operand 5: the completion record is refused.
                                         * A Batch's operand 1: fetching the member at offset / 64 */
    IDXDD_RULE_CORRUPT = 3,             /* status as if nothing had happened; byte `offset` of `operand` (a destination, or 5: of the
                                         * record as it is written) and `count` - 1 (0: none) behind it are XORed with `flip` after the
                                         * operation. Destination: only where it succeeded */
    IDXDD_RULE_DELAY = 4,               /* record (and interrupt) `ns` later; other descriptors go on */
    IDXDD_RULE_DROP = 5,                /* carried out, but no record, no report, no interrupt; counted as finished */
    IDXDD_RULE_REORDER = 6,             /* record kept back until `count` further descriptors of its WQ are finished, at most `ns` (0: 1 s) */
    IDXDD_RULE_FULL = 7,                /* the WQ is full. Shared: the submission is answered "retry" (where: WQ and PASID alone count; a try is a
                                         * submission, each one is looked at). Dedicated: the posted write is dropped, OVERFLOW exit, 0x53 */
    IDXDD_RULE_INTERRUPT_LOST = 8,      /* the completion interrupt is not raised */
    IDXDD_RULE_INTERRUPT_LATE = 9,      /* ... `ns` after the record */
    IDXDD_RULE_SLOW = 10,               /* translation: `ns` for each operand in memory, before the operation begins; other descriptors go on */
    IDXDD_RULE_EVENT = 11,              /* exit IDXDD_EXIT_INJECTED with `id`, before the operation begins; not parked. It waits while the device
                                         * loop has IDXDD_RULE_EVENTS_MAX of them unread: none is lost */
};
#define IDXDD_RULE_WHATS 12u

enum idxdd_rule_operand {
    IDXDD_RULE_FIRST_READ = 0xfe,       /* whichever operand the operation reads first */
    IDXDD_RULE_FIRST_WRITTEN = 0xff,
};

#define IDXDD_RULE_EVENTS_MAX 64u

struct idxdd_rule {
    /* where: all of it must hold */
    uint64_t wqs;                       /* bit mask of global WQ indices */
    uint64_t opcodes[4];                /* bit mask */
    uint64_t address_first, address_last; /* a byte of an operand (record, lists and seeds included) lies in it; 0..UINT64_MAX: any descriptor */
    uint32_t size_min, size_max;        /* bytes 32 to 35 of the descriptor: transfer size, descriptor count */
    uint32_t pasid;                     /* IDXDD_RULE_ANY_PASID: any */
    uint32_t flags_mask, flags_value;   /* (flags & mask) == value; 24 bits */
    uint32_t member_first, member_last; /* batch index from 0 */
    uint32_t scope;                     /* enum idxdd_rule_scope */
    /* when: of the descriptors there, in order, from not_before_ns on */
    uint64_t not_before_ns;             /* CLOCK_MONOTONIC; 0: from the start */
    uint64_t skip;                      /* these first ones not */
    uint64_t every;                     /* then the first and every so-many-th after it; 0 = 1: each */
    uint64_t hits_max;                  /* 0: without end */
    uint64_t seed;                      /* of the rule's own generator: same seed, same choices */
    uint32_t chance;                    /* of 2^32 a try; UINT32_MAX: always */
    /* what */
    uint32_t what;                      /* enum idxdd_rule_what */
    uint32_t id;                        /* the number in exits and traces; 0 reads as "none" there */
    uint32_t count;                     /* REORDER, CORRUPT */
    uint64_t ns;                        /* DELAY, REORDER, INTERRUPT_LATE, SLOW */
    uint64_t offset;                    /* FAULT, CORRUPT */
    uint64_t fault_address;             /* STATUS 0x03, 0x04, 0x06, 0x1F */
    uint32_t bytes_completed;           /* STATUS */
    uint32_t invalid_flags;             /* STATUS 0x11 */
    uint8_t status, result;             /* STATUS */
    uint8_t operand;                    /* FAULT, CORRUPT: operand id, or one of enum idxdd_rule_operand; STATUS: of fault information */
    uint8_t flip;                       /* CORRUPT */
    uint32_t also;                      /* 1: one more `where` of the rule before it, whose when, what and counters hold (several PASIDs) */
};

_Static_assert(sizeof(struct idxdd_rule) == 184, "packed in Python, too");

struct idxdd_rule_counters {
    uint64_t matched;                   /* tries: where held, and what was possible */
    uint64_t hits;
};

struct idxdd_engine;

/* A request: id, or 0 with errno (EINVAL: more than IDXDD_RULES_MAX, ENOMEM, EAGAIN). The rules are copied; count 0: none. */
uint32_t idxdd_engine_set_rules(struct idxdd_engine *engine, const struct idxdd_rule *rules, uint32_t count);

/* Of the table set last, at once, even if the engine has not taken it over yet (then 0). Returns how many rules it has. */
uint32_t idxdd_engine_rule_counters(const struct idxdd_engine *engine, struct idxdd_rule_counters *out, uint32_t maximum);

#endif
