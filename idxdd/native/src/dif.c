/* DIF Check, Insert, Strip, Update and DIX Generate (operations.md 9), block by block: read, check, write.
 *
 * The source may change while we read: the guard is of the very bytes that are written. What is to be checked first is
 * therefore copied to a stage, and a block that fails writes nothing.
 */
#include "crc_kernels.h"
#include "dif.h"
#include "pieces.h"
#include "rules.h"

enum { DIF_SEED_ONES = 0x04, DIF_INVERT = 0x08 };                                           /* byte 42 */
enum {                                                                                      /* byte 40 */
    SRC_ALL_F_ERROR = 0x01, SRC_ALL_F = 0x02, SRC_APP_F = 0x04, SRC_APP_REF_F = 0x08,
    SRC_NO_GUARD_CHECK = 0x20, SRC_NO_REF_CHECK = 0x40,
};
enum { DST_KEEP_APP = 0x08, DST_KEEP_GUARD = 0x20, DST_KEEP_REF = 0x40 };                   /* byte 41, Update */
enum { TAG_APP_INCREMENTS = 0x10, TAG_REF_FIXED = 0x80 };                                   /* bytes 40 and 41 */
enum { BAD_GUARD = 0x01, BAD_APP = 0x02, BAD_REF = 0x04, BAD_ALL_F = 0x08 };                /* the record's DIF status */

struct field {
    uint16_t guard, app;
    uint32_t ref;
};

/* One side's tags: `at` is byte 48 (source) or 56 (destination) of the descriptor. */
struct tags {
    uint32_t ref;
    uint16_t mask, app;
};

struct dif {
    struct dif_layout layout;
    uint16_t seed, invert;
    uint8_t source, destination;
    bool reads_field, writes_data, writes_field, update;
    struct tags expected, written;                  /* of the next block */
};

/* What block `k` uses; the mask is not applied yet. */
static struct tags tags_of(const uint8_t *at, uint8_t flags, uint64_t k)
{
    struct tags tags = {load32(at), load16(at + 4), load16(at + 6)};
    if (!(flags & TAG_REF_FIXED))
        tags.ref += (uint32_t)k;
    if (flags & TAG_APP_INCREMENTS)
        tags.app = (uint16_t)(tags.app + k);
    return tags;
}

static void advance_tags(struct tags *tags, uint8_t flags)
{
    tags->ref += !(flags & TAG_REF_FIXED);
    tags->app = (uint16_t)(tags->app + !!(flags & TAG_APP_INCREMENTS));
}

static struct dif begin(const uint8_t *desc, uint64_t blocks_done)
{
    struct dif_layout layout = dif_layout(desc);
    return (struct dif){
        .layout = layout,
        .seed = desc[42] & DIF_SEED_ONES ? 0xFFFF : 0,
        .invert = desc[42] & DIF_INVERT ? 0xFFFF : 0,
        .source = desc[40],
        .destination = desc[41],
        .reads_field = layout.source > layout.block,
        .writes_data = layout.destination >= layout.block,
        .writes_field = layout.destination == DIF_FIELD || layout.destination > layout.block,
        .update = idxdd_opcode(desc) == IDXDD_OPCODE_DIF_UPDT,
        .expected = tags_of(desc + 48, desc[40], blocks_done),
        .written = tags_of(desc + 56, desc[41], blocks_done),
    };
}

static struct field load_field(const uint8_t *at)
{
    uint64_t raw = __builtin_bswap64(load64_once(at));
    return (struct field){(uint16_t)(raw >> 48), (uint16_t)(raw >> 32), (uint32_t)raw};
}

static void store_field(uint8_t *at, struct field field)
{
    store64(at, __builtin_bswap64((uint64_t)field.guard << 48 | (uint64_t)field.app << 32 | field.ref));
}

/* DIF status of a block with this field. */
static uint8_t check_field(const struct dif *dif, struct field stored, uint16_t guard)
{
    bool app_f = stored.app == 0xFFFF, app_ref_f = app_f && stored.ref == UINT32_MAX, all_f = app_ref_f && stored.guard == 0xFFFF;
    if (dif->source & SRC_ALL_F && all_f)
        return dif->source & SRC_ALL_F_ERROR ? BAD_ALL_F : 0;
    if ((dif->source & SRC_APP_F && app_f) || (dif->source & SRC_APP_REF_F && app_ref_f))
        return 0;
    uint8_t status = 0;
    if (!(dif->source & SRC_NO_GUARD_CHECK) && stored.guard != guard)
        status |= BAD_GUARD;
    if (dif->expected.mask != 0xFFFF && (dif->expected.app & ~dif->expected.mask) != stored.app)
        status |= BAD_APP;
    if (!(dif->source & SRC_NO_REF_CHECK) && stored.ref != dif->expected.ref)
        status |= BAD_REF;
    return status;
}

static struct field new_field(const struct dif *dif, struct field stored, uint16_t guard)
{
    struct field field = {guard, (uint16_t)(dif->written.app & ~dif->written.mask), dif->written.ref};
    if (!dif->update)
        return field;
    if (dif->destination & DST_KEEP_GUARD)
        field.guard = stored.guard;
    if (dif->destination & DST_KEEP_APP)
        field.app = stored.app;
    if (dif->destination & DST_KEEP_REF)
        field.ref = stored.ref;
    return field;
}

/* One block of contiguous memory; not 0: its DIF status, and nothing is written. */
static uint8_t do_block(struct dif *dif, uint8_t *to, const uint8_t *from)
{
    uint8_t stage[DIF_BLOCK_MAX];
    uint32_t block = dif->layout.block;
    uint8_t *data = !dif->writes_data ? NULL : dif->reads_field ? stage : to;
    uint16_t guard = idxdd_crc16t10(dif->seed, data, from, block) ^ dif->invert;
    struct field stored = {0};
    if (dif->reads_field) {
        stored = load_field(from + block);
        uint8_t status = check_field(dif, stored, guard);
        if (status)
            return status;
    }
    if (data == stage)
        memcpy(to, stage, block);
    if (dif->writes_field)
        store_field(dif->writes_data ? to + block : to, new_field(dif, stored, guard));
    advance_tags(&dif->expected, dif->source);
    advance_tags(&dif->written, dif->destination);
    return 0;
}

static enum idxdd_step failed(struct idxdd_operation *op, uint8_t dif_status)
{
    op->status = IDXDD_STATUS_DIF_ERR;
    op->result = dif_status;
    op->bytes_completed = (uint32_t)op->progress;
    return IDXDD_DONE;
}

/* One block that does not lie in one piece, or whose destination is missing: that shows only after its checks. */
static enum idxdd_step do_split_block(struct idxdd_operation *op, struct dif *dif)
{
    struct dif_layout layout = dif->layout;
    uint64_t blocks_done = op->progress / layout.source;
    uint8_t in[DIF_BLOCK_MAX + DIF_FIELD], out[DIF_BLOCK_MAX + DIF_FIELD];
    struct pieces from, to;
    if (!reach_pieces(op, &from, desc_address1(op->desc), op->progress, layout.source, false, IDXDD_OPERAND_SOURCE1))
        return IDXDD_FAULT;
    gather(in, &from);
    uint8_t status = do_block(dif, out, in);
    if (status)
        return failed(op, status);
    if (!reach_pieces(op, &to, desc_address2(op->desc), blocks_done * layout.destination, layout.destination, true,
                      IDXDD_OPERAND_DESTINATION1))
        return IDXDD_FAULT;
    scatter(&to, out);
    advance(op, layout.source);
    return IDXDD_MORE;
}

/* Blocks that lie in one piece at both ends, from here on. 0 with a fault noted or without: the next block does not. */
static uint64_t contiguous_blocks(struct idxdd_operation *op, const struct dif_layout *layout, uint64_t blocks, uint8_t **to,
                                  const uint8_t **from)
{
    uint64_t source = blocks * layout->source, destination = blocks * layout->destination;
    uint64_t written = op->progress / layout->source * layout->destination;
    *from = reach(op, desc_address1(op->desc), op->progress, false, IDXDD_OPERAND_SOURCE1, &source);
    if (!*from)
        return 0;
    if (layout->destination) {
        *to = reach(op, desc_address2(op->desc), written, true, IDXDD_OPERAND_DESTINATION1, &destination);
        if (!*to)
            return 0;
        blocks = destination / layout->destination;
    }
    return smaller(blocks, source / layout->source);
}

enum idxdd_step idxdd_step_dif(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t size = desc_size(op->desc), unit = dif_layout(op->desc).source;
    uint64_t left = larger(slice / unit, 1);
    struct dif dif = begin(op->desc, op->progress / unit);
    while (left && op->progress < size) {
        uint8_t *to = NULL;
        const uint8_t *from;
        uint64_t blocks = contiguous_blocks(op, &dif.layout, smaller(left, (size - op->progress) / unit), &to, &from);
        if (!blocks) {
            enum idxdd_step step = do_split_block(op, &dif);
            if (step == IDXDD_FAULT)            /* those behind it are wanted, too */
                op->fault_size += (smaller(left, (size - op->progress) / unit) - 1) * (op->fault_write ? dif.layout.destination : unit);
            if (step != IDXDD_MORE)
                return step;
            left--;
            continue;
        }
        left -= blocks;
        for (; blocks; blocks--, from += unit, to += to ? dif.layout.destination : 0) {
            uint8_t status = do_block(&dif, to, from);
            if (status)
                return failed(op, status);
            advance(op, unit);
        }
    }
    return more_or_done(op, size);
}

static void put_tags(uint8_t *at, const uint8_t *seed, uint8_t flags, uint64_t k)
{
    struct tags tags = tags_of(seed, flags, k);
    store32(at, tags.ref);
    store16(at + 4, tags.mask);
    store16(at + 6, tags.app);
}

/* What the next block would use; the mask is not applied to the tag beside it. */
void idxdd_record_dif(const struct idxdd_operation *op, uint8_t record[32])
{
    const uint8_t *desc = op->desc;
    struct dif_layout layout = dif_layout(desc);
    uint64_t blocks_done = op->progress / layout.source;
    if (layout.source > layout.block)
        put_tags(record + 16, desc + 48, desc[40], blocks_done);
    if (layout.destination == DIF_FIELD || layout.destination > layout.block)
        put_tags(record + 24, desc + 56, desc[41], blocks_done);
}
