/* The operations against the byte-by-byte model, between guard pages: bytes, progress, faults and records exactly. */
#include "crc_kernels.h"
#include "rules.h"
#include "kernels.h"
#include "random_descriptor.h"

#include <pthread.h>

static const uint8_t stepping[] = {OPCODE_NOOP, OPCODE_MEMMOVE, OPCODE_MEMFILL, OPCODE_COMPARE, OPCODE_CRCGEN, OPCODE_COPY_CRC};
static const uint64_t bases[] = {0x7F0000000000ull, 0, (uint64_t)-(int64_t)SPACE_BYTES};
static struct idxdd_space space;
static struct side_by_side run;
static uint8_t contents[SPACE_BYTES];
static unsigned long cases;

static void random_contents(struct random *r, bool alike)
{
    for (unsigned i = 0; i < SPACE_BYTES; i += 8) {
        uint64_t value = alike ? 0x1111111111111111ull : random_next(r);
        memcpy(contents + i, &value, 8);
    }
    for (unsigned i = 0; alike && i < 3; i++)       /* a few differences, anywhere */
        contents[random_below(r, SPACE_BYTES)] ^= (uint8_t)(1 + random_below(r, 255));
}

static void one_run(struct random *r, const uint8_t desc[64], uint64_t slice_max)
{
    run_start(&run, &space, desc, contents);
    CHECK(idxdd_check(&run.op) == 0);
    while (run_on(&run, r, slice_max) && run_repair(&run))
        ;
    cases++;
}

/* Whole and in slices, with any layout: pages together and apart, absent and read-only ones repaired as they are met. */
static void test_random_runs(struct random *r, unsigned rounds)
{
    static const uint64_t slices[] = {1u << 20, 65536, 5000, 97};
    uint8_t desc[64];
    for (unsigned round = 0; round < rounds; round++) {
        space_lay_out(&space, bases[round % 3], (uint32_t)random_next(r) | (uint32_t)random_next(r));
        uint8_t opcode = stepping[random_below(r, sizeof stepping)];
        random_contents(r, opcode == OPCODE_COMPARE && round % 2);
        random_descriptor(r, &space, opcode, desc);
        for (unsigned i = 0; i < PAGES && round % 4; i++)
            if (random_below(r, 4) == 0)
                space_set_access(&space, i, random_below(r, 2) ? ABSENT : READ_ONLY);
        one_run(r, desc, slices[random_below(r, 4)]);
    }
}

/* Operands that pass the end of the address space fault there and touch nothing at its start. */
static void test_end_of_address_space(struct random *r)
{
    static const uint64_t layouts[] = {(uint64_t)-(int64_t)SPACE_BYTES, 0, (uint64_t)-(int64_t)(SPACE_BYTES / 2)};
    uint8_t desc[64];
    for (unsigned round = 0; round < 300; round++) {
        uint8_t opcode = stepping[1 + random_below(r, sizeof stepping - 1)];
        space_lay_out(&space, layouts[round % 3], UINT32_MAX);
        random_contents(r, opcode == OPCODE_COMPARE);
        random_descriptor(r, &space, opcode, desc);
        unsigned operand = random_below(r, 2) && opcode != OPCODE_CRCGEN ? 24 : opcode == OPCODE_MEMFILL ? 24 : 16;
        desc_put(desc, operand, -(random_below(r, 9000)), 8);
        if (random_below(r, 3) == 0 && opcode == OPCODE_MEMMOVE)
            desc_put(desc, 24, load64(desc + 16) + random_below(r, 100), 8);
        run_start(&run, &space, desc, contents);
        if (idxdd_check(&run.op) == 0)
            run_on(&run, r, 1u << 16);
        cases++;
    }
}

/* operations.md 5: what software puts into the descriptor that continues after a partial completion. */
static void continue_after(const struct idxdd_operation *op, uint8_t desc[64])
{
    uint64_t n = op->bytes_completed;
    desc_put(desc, 32, desc_size(desc) - n, 4);
    if (idxdd_opcode(desc) == OPCODE_MEMMOVE && op->result)
        return;
    if (idxdd_opcode(desc) == OPCODE_MEMFILL) {
        unsigned size = idxdd_flags(desc) & FLAG_FILL16 ? 16 : 8;
        uint8_t pattern[16], rotated[16];
        memcpy(pattern, desc + 16, 8);
        memcpy(pattern + 8, desc + 40, 8);
        for (unsigned i = 0; i < size; i++)
            rotated[i] = pattern[(i + n) % size];
        memcpy(desc + 16, rotated, 8);
        if (size == 16)
            memcpy(desc + 40, rotated + 8, 8);
    } else {
        desc_put(desc, 16, desc_address1(desc) + n, 8);
    }
    if (idxdd_opcode(desc) != OPCODE_CRCGEN)
        desc_put(desc, 24, desc_address2(desc) + n, 8);
    if (n && (idxdd_opcode(desc) == OPCODE_CRCGEN || idxdd_opcode(desc) == OPCODE_COPY_CRC)) {
        uint8_t record[32];
        idxdd_record(op, record);
        desc_put(desc, 4, idxdd_flags(desc) & ~(uint32_t)FLAG_CRC_READ_SEED, 3);
        desc_put(desc, 48, 0, 8);
        desc_put(desc, 40, load64(record + 16), idxdd_flags(desc) & FLAG_CRC64 ? 8 : 4);
    }
}

/* One absent page at every place: retried in place, and continued by a new descriptor, the end is that of an unfaulted run. */
static void test_fault_at_every_page(struct random *r, uint8_t opcode, unsigned rounds)
{
    static uint8_t whole[SPACE_BYTES];
    uint8_t desc[64], continued[64];
    for (unsigned round = 0; round < rounds; round++) {
        space_lay_out(&space, bases[round % 3], round % 2 ? UINT32_MAX : (uint32_t)random_next(r));
        random_contents(r, opcode == OPCODE_COMPARE);
        random_descriptor(r, &space, opcode, desc);
        one_run(r, desc, 65536);
        struct idxdd_operation reference = run.op;
        memcpy(whole, run.contents, SPACE_BYTES);
        for (unsigned page = 0; page < PAGES; page++) {
            space_set_access(&space, page, ABSENT);
            one_run(r, desc, 9000);
            CHECK(run.op.crc == reference.crc && run.op.bytes_completed == reference.bytes_completed);
            CHECK(memcmp(run.contents, whole, SPACE_BYTES) == 0);

            space_set_access(&space, page, ABSENT);
            run_start(&run, &space, desc, contents);
            uint64_t before = 0;
            if (run_on(&run, r, 65536)) {
                memcpy(continued, desc, 64);
                run.op.status = STATUS_FAULT;
                before = run.op.bytes_completed;
                continue_after(&run.op, continued);
                CHECK(run_repair(&run));
                run_start(&run, &space, continued, run.contents);
                CHECK(idxdd_check(&run.op) == 0);
                CHECK(!run_on(&run, r, 65536));
            }
            CHECK(run.op.crc == reference.crc && run.op.result == reference.result && run.op.status == reference.status);
            CHECK(run.op.bytes_completed + (run.op.result ? before : 0) == reference.bytes_completed);
            CHECK(memcmp(run.contents, whole, SPACE_BYTES) == 0);
            space_set_access(&space, page, READ_WRITE);
        }
    }
}

/* A difference before the faulting byte wins over the fault; one behind it does not. */
static void test_difference_wins_over_fault(void)
{
    struct random r = {7};
    uint8_t desc[64];
    for (unsigned at = 4090; at < 4102; at++) {
        space_lay_out(&space, bases[0], UINT32_MAX);
        memset(contents, 0, SPACE_BYTES);
        contents[at] = 1;
        desc_begin(desc, OPCODE_COMPARE, 0);
        desc_put(desc, 16, space.base, 8);
        desc_put(desc, 24, space.base + 4 * PAGE_BYTES, 8);
        desc_put(desc, 32, 8000, 4);
        space_set_access(&space, 1, ABSENT);
        run_start(&run, &space, desc, contents);
        bool faulted = run_on(&run, &r, 65536);
        CHECK(faulted == (at >= PAGE_BYTES));
        CHECK(run.op.bytes_completed == (faulted ? PAGE_BYTES : at));
        cases++;
    }
}

/* A client that rewrites the source all the time: the CRC is still of the bytes that arrived, and compare places only what it saw. */
static volatile bool scribbling;
static volatile unsigned scribbles;     /* rounds: proof that the client really ran meanwhile */

__attribute__((unused)) static void *scribble(void *source)
{
    struct random r = {11};
    for (; scribbling; scribbles++)
        for (unsigned i = 0; i < 2 * PAGE_BYTES; i += 8)
            __atomic_store_n((uint64_t *)((uint8_t *)source + i), random_next(&r), __ATOMIC_RELAXED);
    return NULL;
}

__attribute__((unused)) static void test_source_changes_meanwhile(void)
{
    pthread_t client;
    space_lay_out(&space, bases[0], UINT32_MAX & ~(1u << 8));
    memset(contents, 0, SPACE_BYTES);
    space_copy(&space, contents, true);
    scribbling = true;
    int failed = pthread_create(&client, NULL, scribble, space.page[6]);
    CHECK(!failed);
    unsigned until = scribbles + 5000;
    for (unsigned n = 0; scribbles < until; n++) {
        unsigned i = n % 600;
        struct idxdd_operation op = {.space = &space, .limits = &all_allowed};
        uint32_t flags = (i & 7u) << 17;
        desc_begin(op.desc, i % 3 ? OPCODE_COPY_CRC : OPCODE_COMPARE, i % 3 ? flags : 0);
        desc_put(op.desc, 16, space.base + 6 * PAGE_BYTES + 3, 8);
        desc_put(op.desc, 24, space.base + 10 * PAGE_BYTES + i, 8);
        desc_put(op.desc, 32, 2 * PAGE_BYTES - 3, 4);
        CHECK(idxdd_check(&op) == 0 && idxdd_step(&op, 65536) == IDXDD_DONE);
        if (i % 3) {
            struct idxdd_operation again = {.space = &space, .limits = &all_allowed};
            desc_begin(again.desc, OPCODE_CRCGEN, flags);
            desc_put(again.desc, 16, space.base + 10 * PAGE_BYTES + i, 8);
            desc_put(again.desc, 32, 2 * PAGE_BYTES - 3, 4);
            CHECK(idxdd_step(&again, 65536) == IDXDD_DONE && again.crc == op.crc);
        } else {
            CHECK(op.result ? op.bytes_completed < 2 * PAGE_BYTES - 3 : op.bytes_completed == 0);
        }
        cases++;
    }
    scribbling = false;
    pthread_join(client, NULL);
}

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
    {"inter-domain copy", 0x23, 0x10, CR_RCR, NONE, 0},
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
};

static struct idxdd_limits ordinary(void)
{
    struct idxdd_limits limits = all_allowed;
    limits.gencap &= ~(1ull << GENCAP_BATCH1 | 1ull << GENCAP_DURABLE);
    limits.max_xfer_shift = 21;
    limits.max_batch_shift = 4;
    return limits;
}

static void valid_descriptor(uint8_t desc[64], uint8_t opcode, uint32_t flags)
{
    memset(desc, 0, 64);
    desc_put(desc, 4, flags, 3);
    desc[7] = opcode;
    bool two = opcode == OPCODE_MEMMOVE || opcode == OPCODE_COMPARE || opcode == OPCODE_COPY_CRC || opcode == OPCODE_MEMFILL;
    if (opcode != OPCODE_NOOP && opcode != OPCODE_DRAIN) {
        desc_put(desc, 16, 0x100000, 8);
        desc_put(desc, 32, opcode == OPCODE_BATCH ? 4 : 4096, 4);
    }
    if (two)
        desc_put(desc, 24, 0x800000, 8);
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
            fprintf(stderr, "%s (opcode %#x): status %#x mask %#x, expected %#x %#x\n", bad->what, bad->opcode, status, mask, bad->status, bad->mask);
            abort();
        }
    }
}

/* Every flag that hangs on a capability or on the WQ: fine with it, its bit without it. */
static void test_gated_flags(void)
{
    static const struct { uint8_t opcode; uint32_t flags; uint8_t gencap; uint32_t mask; } gated[] = {
        {3, 0x0E, GENCAP_BOF, 0x2}, {3, 0x10C, GENCAP_CACHE_CONTROL, 0x100}, {3, 0x400C, GENCAP_DEST_READBACK, 0x4000},
        {3, 0x410C, GENCAP_DEST_READBACK, 0x4100}, {3, 0x410C, GENCAP_CACHE_CONTROL, 0x4100}, {3, 0x2C, GENCAP_DURABLE, 0x20},
        {3, 0x402C, GENCAP_DEST_READBACK, 0x4020}, {4, 0x4000C, GENCAP_FILL16, 0x40000}, {16, 0x8000C, GENCAP_CRC64, 0x80000},
        {17, 0x8000C, GENCAP_CRC64, 0x80000}, {1, 0x1000C, GENCAP_BATCH_CONTINUATION, 0x10000}, {2, 0x1000C, GENCAP_DRAIN_READBACK, 0x10000},
        {2, 0x2000C, GENCAP_DRAIN_READBACK, 0x20000},
    };
    uint8_t desc[64];
    uint32_t mask;
    for (unsigned i = 0; i < sizeof gated / sizeof *gated; i++) {
        struct idxdd_limits limits = all_allowed;
        valid_descriptor(desc, gated[i].opcode, gated[i].flags);
        CHECK(check_once(&limits, desc, false, false, NULL) == 0);
        limits.gencap &= ~(1ull << gated[i].gencap);
        CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == gated[i].mask);
    }
    struct idxdd_limits limits = all_allowed;
    valid_descriptor(desc, 3, 0x0E);
    limits.bof_enabled = 0;
    CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == 0x2);
    limits = all_allowed;
    limits.gencap |= 1ull << GENCAP_STORD_MEMORY;
    valid_descriptor(desc, 3, 0x200C);
    CHECK(check_once(&all_allowed, desc, false, false, NULL) == 0);
    CHECK(check_once(&limits, desc, false, false, &mask) == 0x11 && mask == 0x2000);
}

static void test_checks_by_context(void)
{
    struct idxdd_limits limits = ordinary();
    uint8_t desc[64];
    uint32_t mask;
    for (uint8_t opcode = 0; opcode < 0x12; opcode++) {             /* OPCFG */
        valid_descriptor(desc, opcode, CR_RCR);
        bool known = idxdd_rules[opcode].name;
        CHECK(check_once(&limits, desc, false, false, NULL) == (known ? 0 : 0x10));
        limits.opcfg[0] &= ~(1ull << opcode);
        CHECK(check_once(&limits, desc, false, false, NULL) == 0x10);
        limits.opcfg[0] |= 1ull << opcode;
        CHECK(check_once(&limits, desc, true, false, NULL) == (known && opcode != OPCODE_BATCH && opcode != OPCODE_DRAIN ? 0 : 0x10));
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

    limits.gencap &= ~(1ull << GENCAP_OVERLAP);                     /* overlap; touching ends are fine */
    for (int64_t distance = -4097; distance <= 4097; distance++) {
        valid_descriptor(desc, 3, CR_RCR);
        desc_put(desc, 24, 0x100000 + (uint64_t)distance, 8);
        CHECK(check_once(&limits, desc, false, false, NULL) == (distance > -4096 && distance < 4096 ? 0x16 : 0));
    }
    limits.max_batch_shift = 0;                                     /* Batch1 */
    limits.gencap |= 1ull << GENCAP_BATCH1;
    valid_descriptor(desc, 1, CR_RCR);
    desc_put(desc, 32, 1, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0);
    desc_put(desc, 32, 2, 4);
    CHECK(check_once(&limits, desc, false, false, NULL) == 0x14);
}

static void test_traffic_classes(void)
{
    static const struct { uint8_t opcode; uint32_t flags; uint8_t with_a, with_b; } uses[] = {
        {3, 0x0C, 0, 0x1E}, {3, 0x100C, 0x1E, 0x1E}, {3, 0x160C, 0x1E, 0}, {3, 0x120C, 0x1E, 0x1E}, {3, 0x00, 0, 0x1E}, {3, 0x600, 0x1E, 0},
        {0, 0x0C, 0, 0x1E}, {0, 0x100C, 0x1E, 0}, {16, 0x120C, 0x1E, 0}, {16, 0x1120C, 0x1E, 0x1E}, {16, 0x11A0C, 0x1E, 0}, {2, 0x100C, 0x1E, 0},
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
        op.desc[4] = FLAG_CRAV | FLAG_RCR;
        CHECK(idxdd_wants_record(&op) == !never);
        op.desc[4] = FLAG_CRAV;
        CHECK(idxdd_wants_record(&op) == (!success && !never));
        op.desc[4] = 0;
        CHECK(!idxdd_wants_record(&op));
        op.desc[4] = FLAG_RCR;
        CHECK(!idxdd_wants_record(&op));
        cases++;
    }
    op.status = STATUS_TRAFFIC_CLASS;           /* never through a traffic class that is off */
    op.desc[4] = FLAG_CRAV | FLAG_RCR;
    limits.tc_enabled = 2;
    CHECK(!idxdd_wants_record(&op));
    op.desc[5] = FLAG_CR_TC >> 8;
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
    no_fault_info.gencap &= ~(1ull << GENCAP_FAULT_INFO);
    struct idxdd_operation op = {.limits = &limits, .status = 1, .crc = 0x1122334455667788ull, .fault_address = 0xABCDEF0123456789ull,
                                 .fault_operand = 3, .fault_write = 1, .invalid_flags = 0xC0FFEE};
    op.desc[7] = OPCODE_MEMMOVE;
    expect_record(&op, "0100000000000000000000000000000000000000000000000000000000000000");
    op.desc[7] = OPCODE_CRCGEN;
    expect_record(&op, "0100000000000000000000000000000088776655443322110000000000000000");
    op.status = 3, op.bytes_completed = 0x1000, op.result = 1;
    expect_record(&op, "83010600001000008967452301efcdab88776655443322110000000000000000");
    op.limits = &no_fault_info;
    expect_record(&op, "83010000001000008967452301efcdab88776655443322110000000000000000");
    op.limits = &limits, op.status = 0x84, op.fault_write = 0, op.fault_operand = 1, op.desc[7] = OPCODE_COMPARE;
    expect_record(&op, "84010200001000008967452301efcdab00000000000000000000000000000000");
    op.status = 6;
    expect_record(&op, "06010200001000008967452301efcdab00000000000000000000000000000000");
    op.status = 0x11, op.bytes_completed = 0, op.result = 0;
    expect_record(&op, "11000000000000000000000000000000eeffc000000000000000000000000000");
    op.status = 0x12;
    expect_record(&op, "1200000000000000000000000000000000000000000000000000000000000000");
}

/* Every kernel this CPU supports passes the same tests. */
static void test_with_each_kernel(void (*test)(struct random *r), struct random *r)
{
    static const char *const crc[] = {"portable", "pclmul", "avx512"}, *const others[] = {"portable", "avx2", "avx512"};
    for (unsigned i = 0; i < 3; i++) {
        bool any = idxdd_crc_force(crc[i]);
        any |= idxdd_compare_force(others[i]);
        any |= idxdd_fill_force(others[i]);
        if (any)
            test(r);
        printf("%s: %s\n", crc[i], any ? "tested" : "not on this CPU");
    }
}

static void test_data(struct random *r)
{
    test_random_runs(r, 3000);
    test_end_of_address_space(r);
    for (unsigned i = 1; i < sizeof stepping; i++)
        test_fault_at_every_page(r, stepping[i], 4);
    test_difference_wins_over_fault();
#if !defined(__SANITIZE_THREAD__)       /* its race is the point: between processes nobody can forbid it */
    test_source_changes_meanwhile();
#endif
}

int main(int argc, char **argv)
{
    struct random r = {argc > 1 ? strtoull(argv[1], NULL, 0) : 1};
    printf("seed %llu\n", (unsigned long long)r.state);
    test_bad_descriptors();
    test_gated_flags();
    test_checks_by_context();
    test_traffic_classes();
    test_wants_record();
    test_records();
    test_with_each_kernel(test_data, &r);
    printf("%lu cases passed\n", cases);
    return 0;
}
