/* CRC Generation and Copy with CRC (operations.md 8).
 *
 * op->crc is always in the record's form: any result is the right seed for the next piece, so that slices, faults and
 * continuation descriptors all go on in the same way.
 */
#include "crc_kernels.h"
#include "reach.h"
#include "rules.h"

#define STAGE_BYTES 2048u                       /* stays in the first-level cache */

enum { SEED_READ = 0 };                         /* private_: the seed is in op->crc */

static uint64_t reverse_bits_of_bytes(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
    x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
    return (x >> 4 & 0x0F0F0F0F0F0F0F0Full) | (x & 0x0F0F0F0F0F0F0F0Full) << 4;
}

static uint64_t reverse_bits(uint64_t x, bool wide)
{
    x = __builtin_bswap64(reverse_bits_of_bytes(x));
    return wide ? x : x >> 32;
}

static uint64_t standard_crc(bool wide, uint64_t crc, uint8_t *to, const uint8_t *from, uint64_t size)
{
    if (wide)
        return to ? idxdd_copy_crc64nvme(crc, to, from, size) : idxdd_crc64nvme(crc, from, size);
    return to ? idxdd_copy_crc32c((uint32_t)crc, to, from, size) : idxdd_crc32c((uint32_t)crc, from, size);
}

/* Without data reflection: the standard CRC of data whose bytes are reversed, made in a stage of our own. */
static uint64_t reversed_crc(bool wide, uint64_t crc, uint8_t *to, const uint8_t *from, uint64_t size)
{
    uint64_t stage[STAGE_BYTES / 8];
    while (size) {
        uint64_t n = smaller(size, sizeof stage);
        stage[(n - 1) / 8] = 0;
        memcpy(stage, from, n);
        if (to) {
            memcpy(to, stage, n);
            to += n;
        }
        for (unsigned i = 0; i < (n + 7) / 8; i++)
            stage[i] = reverse_bits_of_bytes(stage[i]);
        crc = standard_crc(wide, crc, NULL, (const uint8_t *)stage, n);
        from += n;
        size -= n;
    }
    return crc;
}

static uint64_t crc_piece(uint32_t flags, uint64_t crc, uint8_t *to, const uint8_t *from, uint64_t size)
{
    bool wide = flags & IDXDD_OPFLAG_CRC_SIZE64, bypass = flags & IDXDD_OPFLAG_CRC_BYPASS_INVERSION;
    uint64_t width = wide ? UINT64_MAX : UINT32_MAX;
    if (bypass)                                 /* the seed is the MSB-first register, the kernels' is its mirror, complemented */
        crc = ~reverse_bits(crc, wide) & width;
    crc = (flags & IDXDD_OPFLAG_CRC_BYPASS_REFLECTION ? reversed_crc : standard_crc)(wide, crc, to, from, size);
    return bypass ? reverse_bits(~crc & width, wide) : crc;
}

static bool read_seed(struct idxdd_operation *op, uint32_t flags)
{
    uint64_t size = flags & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4, there = size, seed = 0;
    const uint8_t *at = op->desc + 40;
    if (flags & IDXDD_OPFLAG_CRC_SEED_ADDR)
        at = reach(op, load64(op->desc + 48), 0, false, IDXDD_OPERAND_SOURCE2, &there);
    if (!at)
        return false;
    if (there < size) {                         /* aligned, so never in two pages: half a seed is none */
        fault_at(op, load64(op->desc + 48), false, IDXDD_OPERAND_SOURCE2);
        return false;
    }
    memcpy(&seed, at, size);
    op->crc = seed;
    op->private_[SEED_READ] = 1;
    return true;
}

enum idxdd_step idxdd_step_crc(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t src = desc_address1(op->desc), dst = desc_address2(op->desc), size = desc_size(op->desc);
    uint32_t flags = idxdd_flags(op->desc);
    bool copy = idxdd_opcode(op->desc) == IDXDD_OPCODE_COPY_CRC;
    if (!op->private_[SEED_READ] && !read_seed(op, flags))
        return IDXDD_FAULT;
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *from = reach(op, src, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        uint8_t *to = NULL;
        if (from && copy)
            to = reach(op, dst, op->progress, true, IDXDD_OPERAND_DESTINATION1, &n);
        if (!from || (copy && !to))
            return IDXDD_FAULT;
        op->crc = crc_piece(flags, op->crc, to, from, n);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}

void idxdd_record_crc(const struct idxdd_operation *op, uint8_t record[32]) { store64(record + 16, op->crc); }
