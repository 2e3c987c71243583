/* The operand checks of operations.md 4, rows 9 to 15, in that order. Addresses end at 2^64: a range that would pass it ends there. */
#include "operands.h"

#include "dif.h"

#define DELTA_TRANSFER_MAX 0x80000u         /* offsets have 16 bits and count groups of 8 */
#define DELTA_RECORD_MIN 80u
#define DELTA_ENTRY 10u
#define PAGE 4096u

/* Do they share a byte? Touching ends do not. */
static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a <= b ? b - a < a_size : a - b < b_size;
}

static bool unaligned(uint64_t value, uint64_t to) { return value & (to - 1); }

static bool above_transfer_max(const struct idxdd_operation *op, uint64_t size) { return size > 1ull << op->limits->max_xfer_shift; }

uint8_t idxdd_check_transfer(const struct idxdd_operation *op)
{
    uint64_t size = desc_size(op->desc);
    return !size || above_transfer_max(op, size) ? IDXDD_STATUS_XFER_ERANGE : 0;
}

/* Source and destination of the transfer size each. */
static uint8_t check_apart(const struct idxdd_operation *op)
{
    uint64_t size = desc_size(op->desc);
    return overlap(desc_address1(op->desc), size, desc_address2(op->desc), size) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

uint8_t idxdd_check_move(const struct idxdd_operation *op)
{
    uint8_t status = idxdd_check_transfer(op);
    return status || has_cap(op->limits, IDXDD_GENCAP_OVERLAP_COPY_MASK) ? status : check_apart(op);
}

static uint8_t check_delta_transfer(const struct idxdd_operation *op)
{
    return desc_size(op->desc) > DELTA_TRANSFER_MAX ? IDXDD_STATUS_XFER_ERANGE : idxdd_check_transfer(op);
}

uint8_t idxdd_check_create_delta(const struct idxdd_operation *op)
{
    uint64_t one = desc_address1(op->desc), two = desc_address2(op->desc), size = desc_size(op->desc);
    uint64_t record = load64(op->desc + 40), record_max = load32(op->desc + 48);
    uint8_t status = check_delta_transfer(op);
    if (status)
        return status;
    if (record_max < DELTA_RECORD_MIN || above_transfer_max(op, record_max))
        return IDXDD_STATUS_DR_ERANGE;
    if (unaligned(one | two | size, 8))
        return IDXDD_STATUS_ADDR_ALIGN;
    return overlap(one, size, record, record_max) || overlap(two, size, record, record_max) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

uint8_t idxdd_check_apply_delta(const struct idxdd_operation *op)
{
    uint64_t record = desc_address1(op->desc), dst = desc_address2(op->desc), size = desc_size(op->desc);
    uint64_t record_size = load32(op->desc + 40);
    uint8_t status = check_delta_transfer(op);
    if (status)
        return status;
    if (!record_size || record_size % DELTA_ENTRY || above_transfer_max(op, record_size))
        return IDXDD_STATUS_DR_ERANGE;
    if (unaligned(dst | size, 8))
        return IDXDD_STATUS_ADDR_ALIGN;
    return overlap(record, record_size, dst, size) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

uint8_t idxdd_check_dualcast(const struct idxdd_operation *op)
{
    uint64_t src = desc_address1(op->desc), one = desc_address2(op->desc), two = load64(op->desc + 40), size = desc_size(op->desc);
    uint8_t status = idxdd_check_transfer(op);
    if (status)
        return status;
    if (unaligned(one ^ two, PAGE))
        return IDXDD_STATUS_DCAST_ERR;
    bool any = overlap(src, size, one, size) || overlap(src, size, two, size) || overlap(one, size, two, size);
    return any ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

/* No bytes move, so the WQ's maximum transfer size says nothing about the region. */
uint8_t idxdd_check_translation_fetch(const struct idxdd_operation *op)
{
    uint64_t region = desc_address1(op->desc), size = desc_size(op->desc), stride = load32(op->desc + 48);
    if (!size || region + (size - 1) < region)
        return IDXDD_STATUS_XFER_ERANGE;
    bool strides = idxdd_flags(op->desc) & IDXDD_OPFLAG_TRANSL_FETCH_STRIDE;
    return strides && (stride < PAGE || unaligned(stride, stride)) ? IDXDD_STATUS_ADDR_ALIGN : 0;
}

uint8_t idxdd_check_crc(const struct idxdd_operation *op)
{
    uint8_t status = idxdd_check_transfer(op);
    if (status)
        return status;
    uint32_t flags = idxdd_flags(op->desc);
    bool from_memory = flags & IDXDD_OPFLAG_CRC_SEED_ADDR;
    return from_memory && unaligned(load64(op->desc + 48), flags & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4) ? IDXDD_STATUS_ADDR_ALIGN : 0;
}

uint8_t idxdd_check_copy_crc(const struct idxdd_operation *op)
{
    uint8_t status = idxdd_check_crc(op);
    return status ? status : check_apart(op);
}

/* Whole blocks; and the two ranges, whose sizes differ by the fields. */
uint8_t idxdd_check_dif(const struct idxdd_operation *op)
{
    struct dif_layout layout = dif_layout(op->desc);
    uint64_t size = desc_size(op->desc);
    uint8_t status = idxdd_check_transfer(op);
    if (status)
        return status;
    if (size % layout.source)
        return IDXDD_STATUS_XFER_ERANGE;
    if (!layout.destination)
        return 0;
    uint64_t written = size / layout.source * layout.destination;
    return overlap(desc_address1(op->desc), size, desc_address2(op->desc), written) ? IDXDD_STATUS_OVERLAP_BUFFERS : 0;
}

uint8_t idxdd_check_dix(const struct idxdd_operation *op)
{
    uint8_t status = idxdd_check_dif(op);
    if (status && status != IDXDD_STATUS_OVERLAP_BUFFERS)
        return status;
    return unaligned(desc_address2(op->desc), 8) ? IDXDD_STATUS_ADDR_ALIGN : status;
}

uint8_t idxdd_check_batch(const struct idxdd_operation *op)
{
    uint64_t count = desc_size(op->desc);
    if (!count || count > 1ull << op->limits->max_batch_shift || (count == 1 && !has_cap(op->limits, IDXDD_GENCAP_BATCH1_MASK)))
        return IDXDD_STATUS_DESC_CNT_ERANGE;
    return unaligned(desc_address1(op->desc), 64) ? IDXDD_STATUS_DESCLIST_ALIGN : 0;
}
