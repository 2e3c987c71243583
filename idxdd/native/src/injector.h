/* Fault injection inside the engine: the table of rules (rule_table.c), what they do to a descriptor (inject.c), who is held (hold.c). Private.
 *
 * Who writes what   the device loop makes a table and hands it over by a request; from then on the engine alone writes it (the counters
 *                   are words, the loop reads them). The table before it is the loop's again with the acknowledgement.
 * An effect         is chosen once, when its descriptor has been checked, and lies in the store of its context until its phase comes.
 *                   A swap of tables empties every store, so that nothing points into a table that is gone.
 * A held context    goes on when its time has come or enough others are finished; both have an end. A swap lets all go on.
 * No rules          engine.rules is NULL and no context has anything in store: one branch a descriptor.
 */
#ifndef IDXDD_INJECTOR_H
#define IDXDD_INJECTOR_H

#include <stdatomic.h>

#include "engine_state.h"
#include "idxdd/inject.h"
#include "touched.h"

struct rule_state {
    _Atomic uint64_t matched, hits;  /* engine; read by the loop */
    uint64_t random;
};

struct rule_table {
    uint32_t count;
    bool events;                     /* some rule sends exits */
    uint64_t full;                   /* WQs whose submissions are looked at */
    struct idxdd_rule rule[IDXDD_RULES_MAX];
    struct rule_state state[IDXDD_RULES_MAX];
};

/* What rules have in store for one descriptor. */
struct effects {
    uint32_t first;                  /* id of the first rule that acted on the descriptor at work; 0: none */
    uint16_t in_store;               /* bit = enum idxdd_rule_what */
    uint8_t corrupt_operand, corrupt_stage;
    uint8_t flip;
    uint32_t corrupt_left;
    uint64_t corrupt_at;             /* these are copies: corrupting goes on after a swap */
    struct touched fault;            /* operand that ends early, */
    uint64_t fault_at;               /* and where */
    const struct idxdd_rule *by[IDXDD_RULE_WHATS];
};

struct held {
    uint32_t context;
    uint64_t until_ns, for_finished; /* of its WQ; UINT64_MAX: time alone */
};

struct injector {
    struct effects effects[IDXDD_CONTEXTS], batch[IDXDD_CONTEXTS]; /* of op, and of the Batch while a member is in op */
    struct held held[IDXDD_CONTEXTS];
    struct idxdd_space *hole;        /* what an operation sees that is to fault */
};

/* rule_table.c */
bool rule_strikes(struct rule_table *table, uint32_t index);
bool rule_matters(const struct rule_table *table, uint32_t index);
bool rule_is_about(const struct idxdd_rule *rule, const struct context *c, uint32_t wq, const struct touched *touched, unsigned count);

/* inject.c */
void inject_forget(struct idxdd_engine *e);

#endif
