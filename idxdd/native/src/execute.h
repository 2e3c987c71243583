/* What the phases of a descriptor share: execute.c (every descriptor), batch.c, drain.c. Private. */
#ifndef IDXDD_EXECUTE_H
#define IDXDD_EXECUTE_H

#include "engine_state.h"
#include "idxdd/operations.h"

enum { OP_BATCH = 0x01, OP_DRAIN = 0x02, OP_UPDATE_WINDOW = 0x21, OP_INTER_DOMAIN_FIRST = 0x23, OP_INTER_DOMAIN_LAST = 0x26 };
enum { FLAG_FENCE = 0x1, FLAG_CRAV = 0x4, FLAG_RCI = 0x10, FLAG_OP16 = 0x10000, FLAG_OP17 = 0x20000 };
enum { OK = 0x01, OK_PREDICATE = 0x02, BATCH_FAILED = 0x05, INVALID_FLAGS = 0x11, HANDLE_INVALID = 0x19, RECORD_FAULT = 0x1a, DOMAIN_GONE = 0x2e };
enum { DRAIN_LOGGED = 0x26, BATCH_LOGGED = 0x27 }; /* of the event log only */
enum { OPERAND_LIST = 1, OPERAND_READBACK1 = 1, OPERAND_READBACK2 = 2, OPERAND_RECORD = 5 };

/* execute.c */
void context_begin(struct context *c); /* op holds a new descriptor, or member: PHASE_CHECK */
bool handle_valid(struct idxdd_engine *e, struct context *c, uint32_t wq);
enum help ask_agent(struct idxdd_engine *e, struct portal *p, struct context *c, uint16_t kind, uint64_t address, uint32_t size);
void end_with(struct context *c, uint8_t status);
void end_logged(struct context *c, uint8_t code);

/* batch.c */
bool batch_id_take(struct idxdd_engine *e, struct context *c);
ASIDE void batch_begin(struct idxdd_engine *e, struct context *c);
ASIDE void batch_ends(struct idxdd_engine *e, struct portal *p, struct context *c, uint8_t status);
ASIDE enum advance phase_member(struct idxdd_engine *e, struct portal *p, struct context *c);

/* drain.c */
void drain_waits(struct idxdd_engine *e, struct portal *p, struct context *c);
void drain_goes_on(struct idxdd_engine *e, struct context *c);
ASIDE enum advance phase_drain(struct idxdd_engine *e, struct portal *p, struct context *c);
ASIDE enum advance phase_readback(struct idxdd_engine *e, struct portal *p, struct context *c);

#endif
