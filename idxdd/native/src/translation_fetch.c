/* Translation Fetch (operations.md 8): each page at address, + stride, ... inside the region is translated; no data is touched. */
#include "reach.h"
#include "rules.h"

#define PAGE 4096u

enum idxdd_step idxdd_step_translation_fetch(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t region = desc_address1(op->desc), size = desc_size(op->desc);
    uint64_t stride = idxdd_flags(op->desc) & IDXDD_OPFLAG_TRANSL_FETCH_STRIDE ? load32(op->desc + 48) : PAGE;
    for (uint64_t spent = 0; spent < slice && op->progress < size; spent += PAGE) {
        uint64_t contiguous = 0, address = region + op->progress;
        if (!idxdd_translate(op->space, address, false, &contiguous) || !contiguous) {
            fault_at(op, address & ~(uint64_t)(PAGE - 1), false, IDXDD_OPERAND_SOURCE1);    /* requests are for whole pages */
            op->fault_size = PAGE;
            op->bytes_completed = 0;            /* undefined there: no data has moved */
            return IDXDD_FAULT;
        }
        uint64_t requests = (contiguous - 1) / stride + 1;      /* one answer is good for all of it */
        op->progress = smaller(size, op->progress + requests * stride);
    }
    return more_or_done(op, size);
}
