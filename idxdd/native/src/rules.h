/* One row per operation: what its descriptor may say (operations.md 3) and the function that carries it out. Private. */
#ifndef IDXDD_RULES_H
#define IDXDD_RULES_H

#include "descriptor.h"

#define BYTES(first, last) ((UINT64_MAX >> (63 - (last))) & (UINT64_MAX << (first)))   /* bit n = byte n of the descriptor */

struct idxdd_gate {                 /* `flags` need this bit of GENCAP, or of IDCAP */
    uint32_t flags;
    uint64_t gencap, idcap;
};

struct idxdd_need {                 /* `flag` is reserved unless `with` is set too */
    uint32_t flag, with;
};

struct idxdd_reserve {              /* `bytes` are reserved while `flag` is `set` */
    uint32_t flag;
    bool set;
    uint64_t bytes;
};

struct idxdd_reserve_bits {         /* `bits` of one byte are reserved */
    uint8_t offset, bits;
};

struct idxdd_rules {
    const char *name;               /* NULL: reserved or not implemented, 0x10 */
    bool not_in_batch;
    bool needs_pasid;               /* row 8: the WQ must have a PASID */
    uint32_t flags;                 /* allowed beside CRAV, RCR, RCI, the record's TC selector and a member's Fence */
    uint32_t required;              /* all of them must be set */
    uint32_t required_any;          /* one of them must be set; if none is, the lowest is reported */
    uint64_t reserved;
    struct idxdd_gate gates[2];
    struct idxdd_need needs[2];
    struct idxdd_reserve reserves[3];
    struct idxdd_reserve_bits reserved_bits[2];
    uint8_t (*operands)(const struct idxdd_operation *op);                  /* rows 9 to 15 of operations.md 4; NULL: none apply */
    enum idxdd_step (*step)(struct idxdd_operation *op, uint64_t slice);    /* NULL: the engine executes it */
    void (*record)(const struct idxdd_operation *op, uint8_t record[32]);   /* bytes 16 to 31, on success and partial completion */
};

extern const struct idxdd_rules idxdd_rules[OPCODES];

/* The step functions. Each does at most `slice` bytes, but at least one group, entry or block, and leaves `progress` exact. */
enum idxdd_step idxdd_step_noop(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_move(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_inter_domain_copy(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_fill(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_compare(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_compare_pattern(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_create_delta(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_apply_delta(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_dualcast(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_translation_fetch(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_crc(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_dif(struct idxdd_operation *op, uint64_t slice);
enum idxdd_step idxdd_step_cache_flush(struct idxdd_operation *op, uint64_t slice);

void idxdd_record_create_delta(const struct idxdd_operation *op, uint8_t record[32]);
void idxdd_record_crc(const struct idxdd_operation *op, uint8_t record[32]);
void idxdd_record_dif(const struct idxdd_operation *op, uint8_t record[32]);

#endif
