/* The checks of operations.md 4, in its order: the first that fails decides the status. Nothing here touches client memory. */
#include "rules.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

#define COMMON_FLAGS (IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | IDXDD_FLAG_RCI | IDXDD_FLAG_CR_TCS)

/* Bit n: byte n of the descriptor is not zero. */
static inline uint64_t nonzero_bytes(const uint8_t *desc)
{
    uint64_t mask = 0;
#ifdef __SSE2__
    for (unsigned i = 0; i < 64; i += 16) {
        __m128i zero = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(desc + i)), _mm_setzero_si128());
        mask |= (uint64_t)(uint16_t)~_mm_movemask_epi8(zero) << i;
    }
#else
    for (unsigned i = 0; i < 64; i++)
        mask |= (uint64_t)(desc[i] != 0) << i;
#endif
    return mask;
}

static bool tc_enabled(const struct idxdd_limits *limits, uint32_t flags, uint32_t selector)
{
    return limits->tc_enabled >> ((flags & selector) != 0) & 1;
}

/* Reserved encodings of the cache-control bits (operations.md 7); 000 is always fine. */
static bool cache_control_reserved(const struct idxdd_limits *limits, uint32_t flags)
{
    switch (flags & FLAG_CC) {
    case 0: return false;
    case IDXDD_FLAG_CC1: return !has_cap(limits, IDXDD_GENCAP_CACHE_CONTROL_MASK);
    case IDXDD_FLAG_CC2: return !has_cap(limits, IDXDD_GENCAP_DEST_READBACK_MASK);
    case IDXDD_FLAG_CC2 | IDXDD_FLAG_CC1:
        return !has_cap(limits, IDXDD_GENCAP_CACHE_CONTROL_MASK) || !has_cap(limits, IDXDD_GENCAP_DEST_READBACK_MASK);
    case IDXDD_FLAG_CC3: return !has_cap(limits, IDXDD_GENCAP_DURABLE_WRITE_MASK);
    case IDXDD_FLAG_CC3 | IDXDD_FLAG_CC2: return !has_cap(limits, IDXDD_GENCAP_DEST_READBACK_MASK);
    default: return true;
    }
}

/* Row 6: every flag that is set and reserved, and every required one that is missing. */
static uint32_t invalid_flags(const struct idxdd_operation *op, const struct idxdd_rules *rules, uint32_t flags)
{
    const struct idxdd_limits *limits = op->limits;
    uint32_t allowed = COMMON_FLAGS | rules->flags | (op->batch_member ? IDXDD_FLAG_FENCE : 0);
    if (!(flags & IDXDD_FLAG_CRAV))
        allowed &= ~(uint32_t)(IDXDD_FLAG_RCR | IDXDD_FLAG_CR_TCS);
    if (!limits->user_int_en && limits->pasid_enabled && !op->priv)
        allowed &= ~(uint32_t)IDXDD_FLAG_RCI;
    if (!limits->bof_enabled || !has_cap(limits, IDXDD_GENCAP_BLOCK_ON_FAULT_MASK))
        allowed &= ~(uint32_t)IDXDD_FLAG_BOF;
    if (has_cap(limits, IDXDD_GENCAP_STRICT_ORDER_NO_MEMORY_MASK))
        allowed &= ~(uint32_t)IDXDD_FLAG_STORD;
    if (cache_control_reserved(limits, flags) || flags & FLAG_CC & ~rules->flags)       /* an encoding is reserved as a whole */
        allowed &= ~(uint32_t)FLAG_CC;
    for (unsigned i = 0; i < sizeof rules->gates / sizeof *rules->gates; i++)
        if (rules->gates[i].flags && !has_cap(limits, rules->gates[i].gencap) && !(limits->idcap & rules->gates[i].idcap))
            allowed &= ~rules->gates[i].flags;
    for (unsigned i = 0; i < sizeof rules->needs / sizeof *rules->needs; i++)
        if (!(flags & rules->needs[i].with))
            allowed &= ~rules->needs[i].flag;
    uint32_t invalid = (flags & ~allowed) | (rules->required & ~flags);
    if (rules->required_any && !(flags & rules->required_any))
        invalid |= rules->required_any & -rules->required_any;
    return invalid;
}

/* Row 7: bytes that must be zero, as bits of nonzero_bytes. */
static uint64_t reserved_bytes(const struct idxdd_rules *rules, uint32_t flags)
{
    uint64_t reserved = rules->reserved;
    if (!(flags & IDXDD_FLAG_CRAV))
        reserved |= BYTES(8, 15);
    if (!(flags & IDXDD_FLAG_RCI))
        reserved |= BYTES(36, 37);
    for (unsigned i = 0; i < sizeof rules->reserves / sizeof *rules->reserves && rules->reserves[i].flag; i++)
        if (((flags & rules->reserves[i].flag) != 0) == rules->reserves[i].set)
            reserved |= rules->reserves[i].bytes;
    return reserved;
}

/* Row 7: bits that must be zero in bytes that are not reserved as a whole. */
static bool reserved_bits_set(const struct idxdd_rules *rules, const uint8_t *desc)
{
    for (unsigned i = 0; i < sizeof rules->reserved_bits / sizeof *rules->reserved_bits; i++)
        if (desc[rules->reserved_bits[i].offset] & rules->reserved_bits[i].bits)
            return true;
    return false;
}

/* Row 17: the traffic class of each address the operation uses. */
static bool traffic_class_bad(const struct idxdd_operation *op, const struct idxdd_rules *rules, uint32_t flags)
{
    uint32_t used = rules->flags & (IDXDD_FLAG_ADDR1_TCS | IDXDD_FLAG_ADDR2_TCS | IDXDD_FLAG_ADDR3_TCS);
    for (unsigned i = 0; i < sizeof rules->needs / sizeof *rules->needs; i++)
        if (!(flags & rules->needs[i].with))
            used &= ~rules->needs[i].flag;
    for (uint32_t selector = IDXDD_FLAG_ADDR1_TCS; selector <= IDXDD_FLAG_ADDR3_TCS; selector <<= 1)
        if (used & selector && !tc_enabled(op->limits, flags, selector))
            return true;
    return false;
}

uint8_t idxdd_check(struct idxdd_operation *op)
{
    const uint8_t *desc = op->desc;
    const struct idxdd_limits *limits = op->limits;
    uint32_t flags = idxdd_flags(desc);
    uint8_t opcode = idxdd_opcode(desc);

    if (flags & IDXDD_FLAG_CRAV && desc_record(desc) & 31)
        return IDXDD_STATUS_CRA_ALIGN;
    if (op->priv && !limits->dedicated && !limits->privileged_mode)
        return IDXDD_STATUS_PRIV_BAD;
    if (flags & IDXDD_FLAG_CRAV && !tc_enabled(limits, flags, IDXDD_FLAG_CR_TCS))
        return IDXDD_STATUS_TRAFFIC_CLASS_CONF;

    const struct idxdd_rules *rules = &idxdd_rules[opcode < OPCODES ? opcode : 0];
    if (opcode >= OPCODES || !rules->name || !(limits->opcfg[opcode >> 6] >> (opcode & 63) & 1)
        || (op->batch_member && rules->not_in_batch))
        return IDXDD_STATUS_BAD_OPCODE;

    /* these two alone are right for every operation that does not ask for flags of its own */
    if (flags != (IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR) || (rules->required | rules->required_any) >> 16) {
        op->invalid_flags = invalid_flags(op, rules, flags);
        if (op->invalid_flags)
            return IDXDD_STATUS_INVALID_FLAGS;
    }
    if (nonzero_bytes(desc) & reserved_bytes(rules, flags) || reserved_bits_set(rules, desc))
        return IDXDD_STATUS_NOZERO_RESERVE;
    if (!limits->dedicated && !op->batch_member && load32(desc) & 0x7FF00000u)
        return IDXDD_STATUS_NOZERO_RESERVE;
    if (rules->needs_pasid && !limits->pasid_enabled)
        return IDXDD_STATUS_NO_PASID;
    if (rules->operands) {
        uint8_t status = rules->operands(op);
        if (status)
            return status;
    }
    if (limits->tc_enabled != 3 && traffic_class_bad(op, rules, flags))
        return IDXDD_STATUS_TRAFFIC_CLASS_CONF;
    return 0;
}
