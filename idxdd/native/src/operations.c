/* Executing one descriptor: No-op and the way to the step of each operation. */
#include "reach.h"
#include "rules.h"

enum idxdd_step idxdd_step(struct idxdd_operation *op, uint64_t slice)
{
    return idxdd_rules[idxdd_opcode(op->desc)].step(op, slice);
}

enum idxdd_step idxdd_step_noop(struct idxdd_operation *op, uint64_t slice)
{
    (void)slice;
    return more_or_done(op, 0);
}
