/* The trace inside the engine: notes while a descriptor is under way, a ring of records of those that have ended (idxdd/trace.h). Private.
 *
 * Who writes what   the engine: notes, records, `claimed`, `tail`. The device loop: `head`. The ring is made by the loop and handed over by a
 *                   request; it is the loop's again with the acknowledgement of the next one.
 * Errors            the last of them go to a ring of their own, in the engine, whether there is a tracer or not.
 * Order             claimed = n + 1; release fence; record n; tail = n + 1 (release). The reader copies record n, acquire fence, looks at
 *                   claimed: what was claimed a ring's length further was being overwritten, and counts as lost.
 */
#ifndef IDXDD_TRACER_H
#define IDXDD_TRACER_H

#include <stdatomic.h>

#include "engine_state.h"
#include "idxdd/trace.h"

struct trace_notes {
    uint64_t id, batch, accepted_ns, dispatched_ns, first_fault_ns, written_ns, interrupt_ns, fault_address;
    uint32_t rule;
    uint8_t engine, operand, flags, recorded;
    uint8_t record[32];
};

struct tracer {
    struct record_ring ring;
    /* the clock: CLOCK_MONOTONIC by the cycle counter, compared again every few milliseconds; never backwards */
    uint64_t base_ns, base_cycles, nanoseconds_per_cycle; /* 32.32; 0: the clock itself is read */
    uint64_t last_ns;
    bool fresh;                      /* last_ns was taken just now, and nothing was done since */
    uint32_t shared;                 /* descriptors since, that took it over */
    bool steady;                     /* the cycle counter runs evenly */
    struct trace_notes notes[IDXDD_CONTEXTS], batch[IDXDD_CONTEXTS];
    struct idxdd_trace_record record[];
};

#endif
