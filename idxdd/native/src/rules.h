/* One row per operation: what its descriptor may say (operations.md 3) and the function that carries it out. Private. */
#ifndef IDXDD_RULES_H
#define IDXDD_RULES_H

#include "descriptor.h"

#define BYTES(first, last) ((UINT64_MAX >> (63 - (last))) & (UINT64_MAX << (first)))   /* bit n = byte n of the descriptor */

struct idxdd_gate {                 /* `flags` need this GENCAP bit */
    uint32_t flags;
    uint64_t gencap;
};

struct idxdd_need {                 /* `flag` is reserved unless `with` is set too */
    uint32_t flag, with;
};

struct idxdd_reserve {              /* `bytes` are reserved while `flag` is `set` */
    uint32_t flag;
    bool set;
    uint64_t bytes;
};

struct idxdd_rules {
    const char *name;               /* NULL: reserved or not implemented, 0x10 */
    bool not_in_batch;
    uint32_t flags;                 /* allowed beside CRAV, RCR, RCI, the record's TC selector and a member's Fence */
    uint32_t required;              /* all of them must be set */
    uint32_t required_any;          /* one of them must be set; if none is, the lowest is reported */
    uint64_t reserved;
    struct idxdd_gate gates[2];
    struct idxdd_need needs[2];
    struct idxdd_reserve reserves[3];
    uint8_t (*operands)(const struct idxdd_operation *op);                  /* rows 9 to 15 of operations.md 4; NULL: none apply */
    enum idxdd_step (*step)(struct idxdd_operation *op, uint64_t slice);    /* NULL: the engine executes it */
};

extern const struct idxdd_rules idxdd_rules[OPCODES];

/* The step functions, one file an operation. Each does at most `slice` bytes and leaves `progress` exact. */
enum idxdd_step idxdd_step_noop(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_move(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_fill(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_compare(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_crc(struct idxdd_operation *op, uint64_t slice);

#endif
