/* Create and Apply Delta Record (operations.md 8): 10 bytes for each 8-byte group that differs, its index and its new contents.
 *
 * Sources, and the record to apply, may change while we read. A group of each source is loaded once, so what was compared is
 * what is stored; an entry is loaded once, so what was checked is what is applied.
 */
#include "kernels.h"
#include "pieces.h"
#include "rules.h"

#define GROUP 8u
#define ENTRY 10u
#define DENSE_GROUPS 8u         /* so many equal ones after a difference, and the search for the next is left to the kernel */

enum { RECORD_SIZE = 0 };       /* private_ of Create: bytes of the record written */
enum { NEXT_GROUP = 0 };        /* private_ of Apply: the lowest index that still is in order */

/* ---- create ----------------------------------------------------------------------------------------------------------- */

/* Where the next entry goes, as far as memory is contiguous there. */
struct record {
    uint8_t *at;
    uint64_t room;
};

enum append { APPENDED, RECORD_FULL, RECORD_FAULT };

static enum append append(struct idxdd_operation *op, struct record *record, uint64_t source_offset, uint64_t contents)
{
    uint64_t size = op->private_[RECORD_SIZE], max = load32(op->desc + 48), address = load64(op->desc + 40);
    uint8_t entry[ENTRY];
    struct pieces split;
    if (size + ENTRY > max)
        return RECORD_FULL;
    store16(entry, (uint16_t)(source_offset / GROUP));
    store64(entry + 2, contents);
    if (record->room < ENTRY) {
        record->room = max - size;
        record->at = reach(op, address, size, true, IDXDD_OPERAND_DESTINATION1, &record->room);
        if (!record->at)
            return RECORD_FAULT;
    }
    op->private_[RECORD_SIZE] = size + ENTRY;
    if (record->room >= ENTRY) {
        memcpy(record->at, entry, ENTRY);
        record->at += ENTRY;
        record->room -= ENTRY;
        return APPENDED;
    }
    record->room = 0;           /* it lies across two pieces: both or none */
    if (!reach_pieces(op, &split, address, size, ENTRY, true, IDXDD_OPERAND_DESTINATION1)) {
        op->private_[RECORD_SIZE] = size;
        return RECORD_FAULT;
    }
    scatter(&split, entry);
    return APPENDED;
}

/* Groups in `size` contiguous bytes of both sources; progress stops at the one whose entry was not stored. */
static enum append compare_groups(struct idxdd_operation *op, struct record *record, const uint8_t *one, const uint8_t *two, uint64_t size)
{
    uint64_t start = op->progress, i = 0;
    enum append appended = APPENDED;
    while (i < size && appended == APPENDED) {
        i += idxdd_differ(one + i, two + i, size - i) & ~(uint64_t)(GROUP - 1);
        for (unsigned equal = 0; i < size && equal < DENSE_GROUPS; i += GROUP) {
            uint64_t contents = load64_once(two + i);
            if (load64_once(one + i) == contents) {
                equal++;
                continue;
            }
            equal = 0;
            appended = append(op, record, start + i, contents);
            if (appended != APPENDED)
                break;
        }
    }
    advance(op, i);
    return appended;
}

static enum idxdd_step created(struct idxdd_operation *op, uint8_t result)
{
    bool expected = !(idxdd_flags(op->desc) & IDXDD_FLAG_CR) || op->desc[56] >> result & 1;
    op->status = expected ? IDXDD_STATUS_SUCCESS : IDXDD_STATUS_SUCCESS_PRED;
    op->result = result;
    op->bytes_completed = result == 2 ? (uint32_t)op->progress : 0;
    return IDXDD_DONE;
}

static enum idxdd_step create_fault(struct idxdd_operation *op)
{
    op->result = op->private_[RECORD_SIZE] != 0;
    op->bytes_completed = (uint32_t)op->progress;
    return IDXDD_FAULT;
}

enum idxdd_step idxdd_step_create_delta(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t one = desc_address1(op->desc), two = desc_address2(op->desc), size = desc_size(op->desc);
    struct record record = {0};
    slice = larger(slice, GROUP) / GROUP * GROUP;
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *a = reach(op, one, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        const uint8_t *b = a ? reach(op, two, op->progress, false, IDXDD_OPERAND_SOURCE2, &n) : NULL;
        if (!b)
            return create_fault(op);
        switch (compare_groups(op, &record, a, b, n)) {
        case APPENDED: break;
        case RECORD_FULL: return created(op, 2);
        case RECORD_FAULT: return create_fault(op);
        }
        slice -= n;
    }
    return op->progress < size ? IDXDD_MORE : created(op, op->private_[RECORD_SIZE] != 0);
}

void idxdd_record_create_delta(const struct idxdd_operation *op, uint8_t record[32])
{
    store32(record + 16, (uint32_t)op->private_[RECORD_SIZE]);
}

/* ---- apply ------------------------------------------------------------------------------------------------------------ */

static enum idxdd_step refuse(struct idxdd_operation *op, uint8_t status)
{
    op->status = status;
    op->result = 0;
    op->bytes_completed = (uint32_t)op->progress;
    return IDXDD_DONE;
}

/* One entry: IDXDD_MORE, or the end. */
static enum idxdd_step apply_entry(struct idxdd_operation *op, const uint8_t *entry)
{
    uint64_t group = load16_once(entry), size = GROUP;
    if (group < op->private_[NEXT_GROUP])
        return refuse(op, IDXDD_STATUS_DR_OFFSET_NOINC);
    if (group * GROUP >= desc_size(op->desc))
        return refuse(op, IDXDD_STATUS_DR_OFFSET_ERANGE);
    uint8_t *to = reach(op, desc_address2(op->desc), group * GROUP, true, IDXDD_OPERAND_DESTINATION1, &size);
    if (!to)
        return IDXDD_FAULT;
    memcpy(to, entry + 2, GROUP);       /* aligned: always in one page */
    op->private_[NEXT_GROUP] = group + 1;
    advance(op, ENTRY);
    return IDXDD_MORE;
}

enum idxdd_step idxdd_step_apply_delta(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t record = desc_address1(op->desc), size = load32(op->desc + 40);
    slice = larger(slice, ENTRY) / ENTRY * ENTRY;
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *from = reach(op, record, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        uint8_t whole[ENTRY];
        struct pieces split;
        if (!from)
            return IDXDD_FAULT;
        if (n < ENTRY) {
            if (!reach_pieces(op, &split, record, op->progress, ENTRY, false, IDXDD_OPERAND_SOURCE1))
                return IDXDD_FAULT;
            gather(whole, &split);
            from = whole;
            n = ENTRY;
        }
        for (n /= ENTRY; n; n--, from += ENTRY, slice -= ENTRY) {
            enum idxdd_step step = apply_entry(op, from);
            if (step != IDXDD_MORE)
                return step;
        }
    }
    return more_or_done(op, size);
}
