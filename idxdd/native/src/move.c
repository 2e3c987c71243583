/* Memory Move (operations.md 8): as if the whole source were buffered first.
 *
 * Where the destination starts inside the source the copy runs backwards, so that what is left to read is never overwritten,
 * whatever slice or fault comes between; progress then counts from the end. memmove throughout: two addresses may be
 * the same memory.
 */
#include "reach.h"
#include "rules.h"

#define PAGE 4096u

static enum idxdd_step move_forwards(struct idxdd_operation *op, uint64_t src, uint64_t dst, uint64_t size, uint64_t slice)
{
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *from = reach(op, src, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        uint8_t *to = from ? reach(op, dst, op->progress, true, IDXDD_OPERAND_DESTINATION1, &n) : NULL;
        if (!to)
            return IDXDD_FAULT;
        memmove(to, from, n);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}

/* Memory of `size` bytes that ends at base + end; they lie in one page, so all or none of it is there. `wanted`: of the slice. */
static uint8_t *reach_back(struct idxdd_operation *op, uint64_t base, uint64_t end, bool write, uint8_t operand, uint64_t size,
                           uint64_t wanted)
{
    uint64_t va = base + end - size, contiguous = 0, last = base + end - 1;
    uint8_t *at = last >= base ? idxdd_translate(op->space, va, write, &contiguous) : NULL;
    if (at && contiguous >= size)
        return at;
    op->result = 1;
    fault_at(op, last, write, operand);
    op->fault_size = wanted;
    return NULL;
}

/* Bytes from the start of the page of base + end - 1 up to base + end. */
static uint64_t page_part(uint64_t base, uint64_t end) { return ((base + end - 1) & (PAGE - 1)) + 1; }

static enum idxdd_step move_backwards(struct idxdd_operation *op, uint64_t src, uint64_t dst, uint64_t size, uint64_t slice)
{
    op->direction = 1;
    while (slice && op->progress < size) {
        uint64_t end = size - op->progress, n = smaller(slice, end), from_size = 0, to_size = 0;
        uint64_t start = end - n, wanted = n;
        uint8_t *from = NULL, *to = NULL;
        if (src + end > src && dst + end > dst) {   /* mostly the whole slice is there: one piece */
            from = idxdd_translate(op->space, src + start, false, &from_size);
            to = idxdd_translate(op->space, dst + start, true, &to_size);
        }
        if (!from || !to || from_size < n || to_size < n) {
            n = smaller(n, smaller(page_part(src, end), page_part(dst, end)));
            from = reach_back(op, src, end, false, IDXDD_OPERAND_SOURCE1, n, wanted);
            to = from ? reach_back(op, dst, end, true, IDXDD_OPERAND_DESTINATION1, n, wanted) : NULL;
            if (!to)
                return IDXDD_FAULT;
        }
        memmove(to, from, n);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}

/* Between domains equal addresses are not the same memory, and an overlap is undefined: always forwards. */
enum idxdd_step idxdd_step_inter_domain_copy(struct idxdd_operation *op, uint64_t slice)
{
    return move_forwards(op, desc_address1(op->desc), desc_address2(op->desc), desc_size(op->desc), slice);
}

enum idxdd_step idxdd_step_move(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t src = desc_address1(op->desc), dst = desc_address2(op->desc), size = desc_size(op->desc);
    if (op->progress == 0 && size <= slice) {   /* small, and all of it there: direction does not show */
        uint64_t from_size = 0, to_size = 0;
        const uint8_t *from = idxdd_translate(op->space, src, false, &from_size);
        uint8_t *to = idxdd_translate(op->space, dst, true, &to_size);
        if (from && to && from_size >= size && to_size >= size && src + (size - 1) >= src && dst + (size - 1) >= dst) {
            memmove(to, from, size);
            advance(op, size);
            return more_or_done(op, size);
        }
    }
    if (dst >= src && dst - src < size)
        return move_backwards(op, src, dst, size, slice);
    return move_forwards(op, src, dst, size, slice);
}
