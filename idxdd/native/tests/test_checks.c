/* What a descriptor may say: every check of operations.md 4, one rule broken at a time, and what the completion record says. */
#include "random_descriptor.h"
#include "rules.h"

static unsigned long cases;

struct bad {
    const char *what;
    uint8_t opcode, status;
    uint32_t flags;                 /* all 24 bits */
    uint8_t offset, size;           /* overwrite this field ... */
    uint64_t value;                 /* ... with this */
    uint32_t mask;
};

#define NONE 63, 0, 0
#define CR_RCR 0x0C
static const struct bad bad_descriptors[] = {
    {"undefined opcode", 0x0B, 0x10, CR_RCR, NONE, 0}, {"undefined opcode", 0xFF, 0x10, CR_RCR, NONE, 0},
    {"type conversion", 0x18, 0x10, CR_RCR, NONE, 0}, {"scatter fill", 0x1E, 0x10, CR_RCR, NONE, 0},
    {"inter-domain cache flush", 0x27, 0x10, CR_RCR, NONE, 0}, {"update window byte 60", 0x21, 0x12, CR_RCR, 60, 1, 1, 0},
    {"inter-domain copy of nothing", 0x23, 0x13, CR_RCR, 32, 4, 0, 0}, {"inter-domain fill byte 61", 0x24, 0x12, CR_RCR, 61, 1, 1, 0},
    {"inter-domain compare cache control", 0x25, 0x11, 0x10C, NONE, 0x100}, {"inter-domain pattern byte 62", 0x26, 0x12, CR_RCR, 62, 1, 1, 0},
    {"record alignment", 3, 0x1B, CR_RCR, 8, 8, 0x1010, 0},
    {"fence outside batch", 3, 0x11, 0x0D, NONE, 0x1}, {"bit 6", 3, 0x11, 0x4C, NONE, 0x40}, {"bit 15", 3, 0x11, 0x800C, NONE, 0x8000},
    {"check result on move", 3, 0x11, 0x8C, NONE, 0x80}, {"bit 16 on move", 3, 0x11, 0x1000C, NONE, 0x10000},
    {"TC 3 on move", 3, 0x11, 0x080C, NONE, 0x800}, {"cache control 101", 3, 0x11, 0x12C, NONE, 0x120},
    {"cache control 111", 3, 0x11, 0x412C, NONE, 0x4120}, {"several at once", 3, 0x11, 0x8000CD, NONE, 0x8000C1},
    {"size 0", 3, 0x13, CR_RCR, 32, 4, 0, 0}, {"size above maximum", 3, 0x13, CR_RCR, 32, 4, 0x200001, 0},
    {"byte 40", 3, 0x12, CR_RCR, 40, 1, 1, 0}, {"byte 38", 3, 0x12, CR_RCR, 38, 1, 1, 0}, {"byte 63", 3, 0x12, CR_RCR, 63, 1, 1, 0},
    {"handle without RCI", 3, 0x12, CR_RCR, 36, 2, 1, 0}, {"noop byte 16", 0, 0x12, CR_RCR, 16, 1, 1, 0},
    {"noop byte 35", 0, 0x12, CR_RCR, 35, 1, 1, 0}, {"noop with BoF", 0, 0x11, 0x0E, NONE, 0x2},
    {"RCR without CRAV", 3, 0x11, 0x08, NONE, 0x8}, {"record TC without CRAV", 3, 0x11, 0x1000, NONE, 0x1000},
    {"record address without CRAV", 3, 0x12, 0x00, 8, 8, 0x1000, 0},
    {"pattern upper without fill16", 4, 0x12, CR_RCR, 40, 8, 1, 0}, {"fill byte 48", 4, 0x12, 0x4000C, 48, 1, 1, 0},
    {"fill TC 1", 4, 0x11, 0x20C, NONE, 0x200},
    {"compare without RCR", 5, 0x11, 0x04, NONE, 0x8}, {"compare without both", 5, 0x11, 0x00, NONE, 0xC},
    {"compare cache control", 5, 0x11, 0x10C, NONE, 0x100}, {"compare byte 41", 5, 0x12, CR_RCR, 41, 1, 1, 0},
    {"strict ordering on compare", 5, 0x11, 0x200C, NONE, 0x2000},
    {"seed address alignment", 16, 0x1C, 0x1000C, 48, 8, 0x2002, 0}, {"wide seed alignment", 16, 0x1C, 0x9000C, 48, 8, 0x2004, 0},
    {"seed address unused", 16, 0x12, CR_RCR, 48, 8, 0x2000, 0}, {"seed unused", 16, 0x12, 0x1000C, 40, 8, 1, 0},
    {"seed upper half", 16, 0x12, CR_RCR, 44, 4, 1, 0}, {"crc second address", 16, 0x12, CR_RCR, 24, 8, 0x1000, 0},
    {"seed TC without seed address", 16, 0x11, 0x80C, NONE, 0x800}, {"crc cache control", 16, 0x11, 0x10C, NONE, 0x100},
    {"crc without record", 16, 0x11, 0x00, NONE, 0xC}, {"copy with crc overlaps", 17, 0x16, CR_RCR, 24, 8, 0x100FFF, 0},
    {"copy with crc onto itself", 17, 0x16, CR_RCR, 24, 8, 0x100000, 0}, {"bit 20 on crc", 17, 0x11, 0x10000C, NONE, 0x100000},
    {"batch of none", 1, 0x14, CR_RCR, 32, 4, 0, 0}, {"batch above maximum", 1, 0x14, CR_RCR, 32, 4, 17, 0},
    {"batch of one", 1, 0x14, CR_RCR, 32, 4, 1, 0}, {"batch list alignment", 1, 0x18, CR_RCR, 16, 8, 0x100020, 0},
    {"batch BoF", 1, 0x11, 0x0E, NONE, 0x2}, {"batch byte 24", 1, 0x12, CR_RCR, 24, 1, 1, 0},
    {"drain asks for nothing", 2, 0x11, 0x04, NONE, 0x8}, {"drain TC without readback", 2, 0x11, 0x20C, NONE, 0x200},
    {"drain readback address unused", 2, 0x12, CR_RCR, 16, 8, 0x1000, 0}, {"drain BoF", 2, 0x11, 0x0E, NONE, 0x2},
    {"compare pattern without record", 6, 0x11, 0x00, NONE, 0xC}, {"compare pattern TC 2", 6, 0x11, 0x40C, NONE, 0x400},
    {"compare pattern byte 41", 6, 0x12, CR_RCR, 41, 1, 1, 0}, {"compare pattern size 0", 6, 0x13, CR_RCR, 32, 4, 0, 0},
    {"create delta without RCR", 7, 0x11, 0x04, NONE, 0x8}, {"delta above 512 KiB", 7, 0x13, CR_RCR, 32, 4, 0x80008, 0},
    {"delta maximum below 80", 7, 0x15, CR_RCR, 48, 4, 79, 0}, {"delta maximum above WQ", 7, 0x15, CR_RCR, 48, 4, 0x200001, 0},
    {"delta source 1 alignment", 7, 0x1C, CR_RCR, 16, 8, 0x100004, 0}, {"delta source 2 alignment", 7, 0x1C, CR_RCR, 24, 8, 0x800001, 0},
    {"delta size alignment", 7, 0x1C, CR_RCR, 32, 4, 4092, 0}, {"delta over source 1", 7, 0x16, CR_RCR, 40, 8, 0x100000 - 79, 0},
    {"delta over source 2", 7, 0x16, CR_RCR, 40, 8, 0x800FFF, 0}, {"delta touches", 7, 0, CR_RCR, 40, 8, 0x801000, 0},
    {"delta touches from below", 7, 0, CR_RCR, 40, 8, 0x100000 - 80, 0}, {"delta sources overlap", 7, 0, CR_RCR, 24, 8, 0x100000, 0},
    {"delta maximum of any size", 7, 0, CR_RCR, 48, 4, 87, 0}, {"create delta byte 52", 7, 0x12, CR_RCR, 52, 1, 1, 0},
    {"create delta byte 57", 7, 0x12, CR_RCR, 57, 1, 1, 0}, {"create delta mask", 7, 0, CR_RCR, 56, 1, 0xFF, 0},
    {"apply delta of nothing", 8, 0x15, CR_RCR, 40, 4, 0, 0}, {"apply delta below an entry", 8, 0x15, CR_RCR, 40, 4, 9, 0},
    {"apply delta of a part", 8, 0x15, CR_RCR, 40, 4, 85, 0}, {"apply delta above WQ", 8, 0x15, CR_RCR, 40, 4, 0x200010, 0},
    {"apply delta above 512 KiB", 8, 0x13, CR_RCR, 32, 4, 0x80008, 0}, {"apply delta alignment", 8, 0x1C, CR_RCR, 24, 8, 0x800004, 0},
    {"apply delta size alignment", 8, 0x1C, CR_RCR, 32, 4, 4092, 0}, {"apply delta overlap", 8, 0x16, CR_RCR, 16, 8, 0x800FFF, 0},
    {"apply delta overlaps by its end", 8, 0x16, CR_RCR, 16, 8, 0x800000 - 79, 0}, {"apply delta touches", 8, 0, CR_RCR, 16, 8, 0x801000, 0},
    {"apply delta unaligned record", 8, 0, CR_RCR, 16, 8, 0x100003, 0}, {"apply delta byte 44", 8, 0x12, CR_RCR, 44, 1, 1, 0},
    {"apply delta check result", 8, 0x11, 0x8C, NONE, 0x80}, {"apply delta TC 3", 8, 0x11, 0x80C, NONE, 0x800},
    {"dualcast bit 11", 9, 0x17, CR_RCR, 40, 8, 0xC00800, 0}, {"dualcast bit 0", 9, 0x17, CR_RCR, 40, 8, 0xC00001, 0},
    {"dualcast destinations overlap", 9, 0x16, CR_RCR, 40, 8, 0x800000, 0}, {"dualcast onto source", 9, 0x16, CR_RCR, 16, 8, 0x800FFF, 0},
    {"dualcast 2 onto source", 9, 0x16, CR_RCR, 16, 8, 0xC00000 - 4095, 0}, {"dualcast touches", 9, 0, CR_RCR, 40, 8, 0x801000, 0},
    {"dualcast size 0", 9, 0x13, CR_RCR, 32, 4, 0, 0}, {"dualcast byte 48", 9, 0x12, CR_RCR, 48, 1, 1, 0},
    {"dualcast bit 16", 9, 0x11, 0x1000C, NONE, 0x10000},
    {"fetch of nothing", 10, 0x13, CR_RCR, 32, 4, 0, 0}, {"fetch past the end", 10, 0x13, CR_RCR, 16, 8, (uint64_t)-4095, 0},
    {"fetch up to the end", 10, 0, CR_RCR, 16, 8, (uint64_t)-4096, 0}, {"fetch above transfer size", 10, 0, CR_RCR, 32, 4, UINT32_MAX, 0},
    {"fetch stride unused", 10, 0x12, CR_RCR, 48, 4, 4096, 0}, {"fetch stride 0", 10, 0x1C, 0x1000C, NONE, 0},
    {"fetch stride below a page", 10, 0x1C, 0x1000C, 48, 4, 2048, 0}, {"fetch stride", 10, 0, 0x1000C, 48, 4, 1u << 31, 0},
    {"fetch stride no power of two", 10, 0x1C, 0x1000C, 48, 4, 12288, 0}, {"fetch second address", 10, 0x12, CR_RCR, 24, 8, 8, 0},
    {"fetch TC", 10, 0x11, 0x20C, NONE, 0x200}, {"fetch byte 52", 10, 0x12, 0xC, 52, 1, 1, 0},
    {"DIF check without record", 18, 0x11, 0x00, NONE, 0xC}, {"DIF check cache control", 18, 0x11, 0x10C, NONE, 0x100},
    {"DIF check part of a block", 18, 0x13, CR_RCR, 32, 4, 4096, 0}, {"DIF check of nothing", 18, 0x13, CR_RCR, 32, 4, 0, 0},
    {"DIF check above WQ", 18, 0x13, CR_RCR, 32, 4, 520 * 4034, 0}, {"DIF check reserved bit 4", 18, 0x12, CR_RCR, 42, 1, 0x10, 0},
    {"DIF check reserved bit 7", 18, 0x12, CR_RCR, 42, 1, 0x80, 0}, {"DIF check destination flags", 18, 0x12, CR_RCR, 41, 1, 0x80, 0},
    {"DIF check second address", 18, 0x12, CR_RCR, 24, 8, 8, 0}, {"DIF check destination tag", 18, 0x12, CR_RCR, 56, 4, 1, 0},
    {"DIF check source flags", 18, 0, CR_RCR, 40, 1, 0xFF, 0}, {"DIF check byte 43", 18, 0x12, CR_RCR, 43, 1, 1, 0},
    {"DIF insert source flags", 19, 0x12, CR_RCR, 40, 1, 1, 0}, {"DIF insert source tag", 19, 0x12, CR_RCR, 48, 1, 1, 0},
    {"DIF insert destination bit 0", 19, 0x12, CR_RCR, 41, 1, 1, 0}, {"DIF insert destination bit 2", 19, 0x12, CR_RCR, 41, 1, 4, 0},
    {"DIF insert destination flags", 19, 0, CR_RCR, 41, 1, 0xF8, 0}, {"DIF insert overlap", 19, 0x16, CR_RCR, 24, 8, 0x100FFF, 0},
    {"DIF insert overlaps by fields", 19, 0x16, CR_RCR, 24, 8, 0x100000 - 4159, 0}, {"DIF insert touches", 19, 0, CR_RCR, 24, 8, 0x101000, 0},
    {"DIF insert touches from below", 19, 0, CR_RCR, 24, 8, 0x100000 - 4160, 0}, {"DIF insert block", 19, 0x13, CR_RCR, 42, 1, 1, 0},
    {"DIF strip overlap", 20, 0x16, CR_RCR, 24, 8, 0x100000 - 4095, 0}, {"DIF strip touches", 20, 0, CR_RCR, 24, 8, 0x100000 - 4096, 0},
    {"DIF strip destination flags", 20, 0x12, CR_RCR, 41, 1, 0x80, 0}, {"DIF strip part of a block", 20, 0x13, CR_RCR, 32, 4, 4096, 0},
    {"DIF update overlap", 21, 0x16, CR_RCR, 24, 8, 0x100000 + 4159, 0}, {"DIF update touches", 21, 0, CR_RCR, 24, 8, 0x100000 + 4160, 0},
    {"DIF update reserved bit 5", 21, 0x12, CR_RCR, 42, 1, 0x20, 0}, {"DIF update destination bit 1", 21, 0x12, CR_RCR, 41, 1, 2, 0},
    {"DIX without record", 23, 0x11, 0x00, NONE, 0xC}, {"DIX alignment", 23, 0x1C, CR_RCR, 24, 8, 0x800004, 0},
    {"DIX overlap", 23, 0x16, CR_RCR, 24, 8, 0x100000 - 56, 0}, {"DIX touches", 23, 0, CR_RCR, 24, 8, 0x100000 - 64, 0},
    {"DIX alignment before overlap", 23, 0x1C, CR_RCR, 24, 8, 0x100001, 0}, {"DIX source flags", 23, 0x12, CR_RCR, 40, 1, 1, 0},
    {"flush to cache", 32, 0x11, 0x10C, NONE, 0x100}, {"flush with both", 32, 0x11, 0x410C, NONE, 0x4100},
    {"flush with readback", 32, 0, 0x400C, NONE, 0}, {"flush source", 32, 0x12, CR_RCR, 16, 8, 8, 0},
    {"flush nothing", 32, 0x13, CR_RCR, 32, 4, 0, 0}, {"flush TC 1", 32, 0x11, 0x20C, NONE, 0x200},
    {"reduce", 25, 0x10, CR_RCR, NONE, 0},
};

static struct idxdd_limits ordinary(void)
{
    struct idxdd_limits limits = all_allowed;
    limits.gencap &= ~(IDXDD_GENCAP_BATCH1_MASK | IDXDD_GENCAP_DURABLE_WRITE_MASK);
    limits.max_xfer_shift = 21;
    limits.max_batch_shift = 4;
    return limits;
}

static void valid_descriptor(uint8_t desc[64], uint8_t opcode, uint32_t flags)
{
    memset(desc, 0, 64);
    if (opcode > IDXDD_OPCODE_UPDATE_WINDOW && opcode < OPCODES)     /* through whose handle */
        flags |= (idxdd_rules[opcode].required | (idxdd_rules[opcode].required_any & -idxdd_rules[opcode].required_any)) & 0xFF0000;
    desc_put(desc, 4, flags, 3);
    desc[7] = opcode;
    if (opcode == IDXDD_OPCODE_NOOP || opcode == IDXDD_OPCODE_DRAIN || opcode == IDXDD_OPCODE_UPDATE_WINDOW)
        return;
    bool one_address = opcode == IDXDD_OPCODE_BATCH || opcode == IDXDD_OPCODE_TRANSL_FETCH || opcode == IDXDD_OPCODE_CRCGEN
        || opcode == IDXDD_OPCODE_DIF_CHECK || opcode >= OPCODES || !idxdd_rules[opcode].name;
    bool fields = opcode == IDXDD_OPCODE_DIF_CHECK || opcode == IDXDD_OPCODE_DIF_STRP || opcode == IDXDD_OPCODE_DIF_UPDT;
    desc_put(desc, 16, opcode == IDXDD_OPCODE_CFLUSH ? 0 : 0x100000, 8);
    desc_put(desc, 24, one_address ? 0 : 0x800000, 8);
    desc_put(desc, 32, opcode == IDXDD_OPCODE_BATCH ? 4 : fields ? 8 * 520 : 4096, 4);
    if (opcode == IDXDD_OPCODE_CR_DELTA || opcode == IDXDD_OPCODE_DUALCAST)
        desc_put(desc, 40, 0xC00000, 8);
    if (opcode == IDXDD_OPCODE_CR_DELTA)
        desc_put(desc, 48, 80, 4);
    if (opcode == IDXDD_OPCODE_AP_DELTA)
        desc_put(desc, 40, 80, 4);
}

static uint8_t check_once(const struct idxdd_limits *limits, const uint8_t desc[64], bool member, bool priv, uint32_t *mask)
{
    struct idxdd_operation op = {.limits = limits, .batch_member = member, .priv = priv};
    memcpy(op.desc, desc, 64);
    uint8_t status = idxdd_check(&op);
    if (mask)
        *mask = op.invalid_flags;
    cases++;
    return status;
}

static void test_bad_descriptors(void)
{
    struct idxdd_limits limits = ordinary();
    uint8_t desc[64];
    for (unsigned i = 0; i < sizeof bad_descriptors / sizeof *bad_descriptors; i++) {
        const struct bad *bad = &bad_descriptors[i];
        uint32_t mask;
        valid_descriptor(desc, bad->opcode, bad->flags);
        if (bad->size)
            desc_put(desc, bad->offset, bad->value, bad->size);
        uint8_t status = check_once(&limits, desc, false, false, &mask);
        if (status != bad->status || mask != bad->mask) {
            fprintf(stderr, "%s (opcode %#x): status %#x mask %#x, expected %#x %#x\n", bad->what, bad->opcode, status, mask,
                    bad->status, bad->mask);
            abort();
        }
    }
}

/* Every flag that hangs on a capability or on the WQ: fine with it, its bit without it. */
static void test_gated_flags(void)
{
    static const struct { uint8_t opcode; uint32_t flags; uint64_t gencap; uint32_t mask; } gated[] = {
        {3, 0x0E, IDXDD_GENCAP_BLOCK_ON_FAULT_MASK, 0x2},
        {3, 0x10C, IDXDD_GENCAP_CACHE_CONTROL_MASK, 0x100},
        {3, 0x400C, IDXDD_GENCAP_DEST_READBACK_MASK, 0x4000},
        {3, 0x410C, IDXDD_GENCAP_DEST_READBACK_MASK, 0x4100},
        {3, 0x410C, IDXDD_GENCAP_CACHE_CONTROL_MASK, 0x4100},
        {3, 0x2C, IDXDD_GENCAP_DURABLE_WRITE_MASK, 0x20},
        {3, 0x402C, IDXDD_GENCAP_DEST_READBACK_MASK, 0x4020},
        {4, 0x4000C, IDXDD_GENCAP_FILL16_MASK, 0x40000},
        {16, 0x8000C, IDXDD_GENCAP_CRC64_MASK, 0x80000},
        {17, 0x8000C, IDXDD_GENCAP_CRC64_MASK, 0x80000},
        {1, 0x1000C, IDXDD_GENCAP_BATCH_CONTINUATION_MASK, 0x10000},
        {10, 0x1000C, IDXDD_GENCAP_TRANSLATION_FETCH_STRIDE_MASK, 0x10000},
        {32, 0x400C, IDXDD_GENCAP_DEST_READBACK_MASK, 0x4000},
        {32, 0x0E, IDXDD_GENCAP_BLOCK_ON_FAULT_MASK, 0x2},
        {2, 0x1000C, IDXDD_GENCAP_DRAIN_READBACK_MASK, 0x10000},
        {2, 0x2000C, IDXDD_GENCAP_DRAIN_READBACK_MASK, 0x20000},
    };
    uint8_t desc[64];
    uint32_t mask;
    for (unsigned i = 0; i < sizeof gated / sizeof *gated; i++) {
        struct idxdd_limits limits = all_allowed;
        valid_descriptor(desc, gated[i].opcode, gated[i].flags);
        if (gated[i].opcode == IDXDD_OPCODE_TRANSL_FETCH)
            desc_put(desc, 48, 8192, 4);
        CHECK(check_once(&limits, desc, false, false, NULL) == 0);
        limits.gencap &= ~gated[i].gencap;
        CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == gated[i].mask);
    }
    struct idxdd_limits limits = all_allowed;
    valid_descriptor(desc, 3, 0x0E);
    limits.bof_enabled = 0;
    CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == 0x2);
    limits = all_allowed;
    limits.gencap |= IDXDD_GENCAP_STRICT_ORDER_NO_MEMORY_MASK;
    valid_descriptor(desc, 3, 0x200C);
    CHECK(check_once(&all_allowed, desc, false, false, NULL) == 0);
    CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == 0x2000);
}

static void test_checks_by_context(void)
{
    struct idxdd_limits limits = ordinary();
    uint8_t desc[64];
    uint32_t mask;
    for (uint8_t opcode = 0; opcode < OPCODES; opcode++) {          /* OPCFG */
        valid_descriptor(desc, opcode, CR_RCR);
        bool known = idxdd_rules[opcode].name;
        CHECK(check_once(&limits, desc, false, false, NULL) == (known ? 0 : 0x10));
        limits.opcfg[0] &= ~(1ull << opcode);
        CHECK(check_once(&limits, desc, false, false, NULL) == 0x10);
        limits.opcfg[0] |= 1ull << opcode;
        bool member = known && !idxdd_rules[opcode].not_in_batch;
        if (idxdd_rules[opcode].needs_pasid) {
            limits.pasid_enabled = 0;
            CHECK(check_once(&limits, desc, false, false, NULL) == 0x28);
            limits.pasid_enabled = 1;
        }
        CHECK(check_once(&limits, desc, true, false, NULL) == (member ? 0 : 0x10));
    }
    valid_descriptor(desc, 3, 0x0D);                                /* Fence: any member */
    CHECK(check_once(&limits, desc, true, false, NULL) == 0);

    valid_descriptor(desc, 3, 0x1C);                                /* RCI and who may use it */
    desc_put(desc, 36, 5, 2);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);
    limits.user_int_en = 0;
    CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == 0x10);
    CHECK(check_once(&limits, desc, false, true, NULL) == 0);
    limits.pasid_enabled = 0;
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);

    limits = ordinary();                                            /* shared WQ: privilege, bits 30:20 */
    limits.dedicated = 0;
    valid_descriptor(desc, 3, CR_RCR);
    CHECK(check_once(&limits, desc, false, true, NULL) == 0x1D);
    limits.privileged_mode = 1;
    CHECK(check_once(&limits, desc, false, true, NULL) == 0);
    desc_put(desc, 0, 0x800FFFFF, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);
    desc_put(desc, 0, 0x00100001, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0x12);
    CHECK(check_once(&limits, desc, true, false, NULL) == 0);
    limits.dedicated = 1;
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);

    limits.gencap &= ~IDXDD_GENCAP_OVERLAP_COPY_MASK;                   /* overlap; touching ends are fine */
    for (int64_t distance = -4097; distance <= 4097; distance++) {
        valid_descriptor(desc, 3, CR_RCR);
        desc_put(desc, 24, 0x100000 + (uint64_t)distance, 8);
        CHECK(check_once(&limits, desc, false, false, NULL) == (distance > -4096 && distance < 4096 ? 0x16 : 0));
    }
    limits.max_batch_shift = 0;                                     /* Batch1 */
    limits.gencap |= IDXDD_GENCAP_BATCH1_MASK;
    valid_descriptor(desc, 1, CR_RCR);
    desc_put(desc, 32, 1, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);
    desc_put(desc, 32, 2, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0x14);
}

static void test_traffic_classes(void)
{
    static const struct { uint8_t opcode; uint32_t flags; uint8_t with_a, with_b; } uses[] = {
        {3, 0x0C, 0, 0x1E}, {3, 0x100C, 0x1E, 0x1E}, {3, 0x160C, 0x1E, 0}, {3, 0x120C, 0x1E, 0x1E},
        {3, 0x00, 0, 0x1E}, {3, 0x600, 0x1E, 0},
        {0, 0x0C, 0, 0x1E}, {0, 0x100C, 0x1E, 0}, {16, 0x120C, 0x1E, 0},
        {16, 0x1120C, 0x1E, 0x1E}, {16, 0x11A0C, 0x1E, 0}, {2, 0x100C, 0x1E, 0},
        {6, 0x120C, 0x1E, 0}, {7, 0x1E0C, 0x1E, 0}, {7, 0x160C, 0x1E, 0x1E}, {9, 0x1E0C, 0x1E, 0}, {9, 0x1A0C, 0x1E, 0x1E},
        {8, 0x160C, 0x1E, 0}, {10, 0x100C, 0x1E, 0}, {18, 0x120C, 0x1E, 0}, {19, 0x160C, 0x1E, 0}, {32, 0x140C, 0x1E, 0},
    };
    uint8_t desc[64];
    for (unsigned i = 0; i < sizeof uses / sizeof *uses; i++)
        for (uint8_t enabled = 1; enabled < 3; enabled++) {
            struct idxdd_limits limits = all_allowed;
            limits.tc_enabled = enabled;
            valid_descriptor(desc, uses[i].opcode, uses[i].flags);
            CHECK(check_once(&limits, desc, false, false, NULL) == (enabled == 1 ? uses[i].with_a : uses[i].with_b));
        }
}

static void test_wants_record(void)
{
    struct idxdd_limits limits = all_allowed;
    struct idxdd_operation op = {.limits = &limits};
    for (unsigned status = 1; status < 0x2F; status++) {
        bool success = status == 1 || status == 2 || status == 5;
        bool never = status == 0x1A || status == 0x1B || status == 0x1D || status == 0x26 || status == 0x27;
        op.status = (uint8_t)status;
        op.desc[4] = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR;
        CHECK(idxdd_wants_record(&op) == !never);
        op.desc[4] = IDXDD_FLAG_CRAV;
        CHECK(idxdd_wants_record(&op) == (!success && !never));
        op.desc[4] = 0;
        CHECK(!idxdd_wants_record(&op));
        op.desc[4] = IDXDD_FLAG_RCR;
        CHECK(!idxdd_wants_record(&op));
        cases++;
    }
    op.status = IDXDD_STATUS_TRAFFIC_CLASS_CONF;           /* never through a traffic class that is off */
    op.desc[4] = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR;
    limits.tc_enabled = 2;
    CHECK(!idxdd_wants_record(&op));
    op.desc[5] = IDXDD_FLAG_CR_TCS >> 8;
    CHECK(idxdd_wants_record(&op));
}

static void expect_record(const struct idxdd_operation *op, const char *hex)
{
    uint8_t record[32];
    char got[65];
    idxdd_record(op, record);
    for (unsigned i = 0; i < 32; i++)
        snprintf(got + 2 * i, 3, "%02x", record[i]);
    if (strcmp(got, hex)) {
        fprintf(stderr, "record %s\nexpected %s\n", got, hex);
        abort();
    }
    cases++;
}

static void test_records(void)
{
    struct idxdd_limits limits = all_allowed, no_fault_info = all_allowed;
    no_fault_info.gencap &= ~IDXDD_GENCAP_FAULT_INFO_MASK;
    struct idxdd_operation op = {.limits = &limits, .status = 1, .crc = 0x1122334455667788ull, .fault_address = 0xABCDEF0123456789ull,
                                 .fault_operand = 3, .fault_write = 1, .invalid_flags = 0xC0FFEE};
    op.desc[7] = IDXDD_OPCODE_MEMMOVE;
    expect_record(&op, "0100000000000000000000000000000000000000000000000000000000000000");
    op.desc[7] = IDXDD_OPCODE_CRCGEN;
    expect_record(&op, "0100000000000000000000000000000088776655443322110000000000000000");
    op.status = 3, op.bytes_completed = 0x1000, op.result = 1;
    expect_record(&op, "83010600001000008967452301efcdab88776655443322110000000000000000");
    op.limits = &no_fault_info;
    expect_record(&op, "83010000001000008967452301efcdab88776655443322110000000000000000");
    op.limits = &limits, op.status = 0x84, op.fault_write = 0, op.fault_operand = 1, op.desc[7] = IDXDD_OPCODE_COMPARE;
    expect_record(&op, "84010200001000008967452301efcdab00000000000000000000000000000000");
    op.status = 6;
    expect_record(&op, "06010200001000008967452301efcdab00000000000000000000000000000000");
    op.status = 0x11, op.bytes_completed = 0, op.result = 0;
    expect_record(&op, "11000000000000000000000000000000eeffc000000000000000000000000000");
    op.status = 0x12;
    expect_record(&op, "1200000000000000000000000000000000000000000000000000000000000000");
}

/* Operation fields: the size of a delta record, tags of the next DIF block; only while they mean something. */
static void test_records_of_operations(void)
{
    struct idxdd_limits limits = all_allowed;
    struct idxdd_operation op = {.limits = &limits, .status = 1, .result = 1, .private_ = {0x1234}};
    valid_descriptor(op.desc, IDXDD_OPCODE_CR_DELTA, CR_RCR);
    expect_record(&op, "0101000000000000000000000000000034120000000000000000000000000000");
    op.status = 2, op.result = 2, op.bytes_completed = 4096;
    expect_record(&op, "0202000000100000000000000000000034120000000000000000000000000000");
    op.status = 0x12, op.result = 0, op.bytes_completed = 0;
    expect_record(&op, "1200000000000000000000000000000000000000000000000000000000000000");

    valid_descriptor(op.desc, IDXDD_OPCODE_DIF_UPDT, CR_RCR);
    desc_put(op.desc, 40, 0x10 | 0x80 << 8, 2);                         /* source: application tag increments; destination: reference fixed */
    desc_put(op.desc, 48, 0xFFFE00FFFFFFFFFFull, 8);
    desc_put(op.desc, 56, 0x8765432112345678ull, 8);
    op.status = 1, op.progress = 3 * 520;
    expect_record(&op, "0100000000000000000000000000000002000000ff0001007856341221436587");
    op.status = 3, op.bytes_completed = 3 * 520, op.fault_address = 0x4000, op.fault_operand = 1;
    expect_record(&op, "03000200180600000040000000000000" "02000000ff0001007856341221436587");
    op.status = 9, op.result = 5;
    expect_record(&op, "0905000018060000000000000000000000000000000000000000000000000000");
    op.desc[7] = IDXDD_OPCODE_DIF_STRP;
    op.status = 1, op.result = 0, op.bytes_completed = 0;
    expect_record(&op, "0100000000000000000000000000000002000000ff0001000000000000000000");
    op.desc[7] = IDXDD_OPCODE_DIX_GEN;
    op.progress = 1024;
    expect_record(&op, "0100000000000000000000000000000000000000000000007856341221436587");
}

int main(void)
{
    test_bad_descriptors();
    test_gated_flags();
    test_checks_by_context();
    test_traffic_classes();
    test_wants_record();
    test_records();
    test_records_of_operations();
    printf("%lu cases passed\n", cases);
    return 0;
}
