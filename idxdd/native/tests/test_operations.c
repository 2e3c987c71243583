/* The operations against the byte-by-byte model, between guard pages: bytes, progress, faults and records exactly. */
#include "crc_kernels.h"
#include "kernels.h"
#include "random_descriptor.h"

#include <pthread.h>

static const uint8_t stepping[] = {
    IDXDD_OPCODE_NOOP, IDXDD_OPCODE_MEMMOVE, IDXDD_OPCODE_MEMFILL,
    IDXDD_OPCODE_COMPARE, IDXDD_OPCODE_CRCGEN, IDXDD_OPCODE_COPY_CRC,
};
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
        random_contents(r, opcode == IDXDD_OPCODE_COMPARE && round % 2);
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
        random_contents(r, opcode == IDXDD_OPCODE_COMPARE);
        random_descriptor(r, &space, opcode, desc);
        unsigned operand = random_below(r, 2) && opcode != IDXDD_OPCODE_CRCGEN ? 24 : opcode == IDXDD_OPCODE_MEMFILL ? 24 : 16;
        desc_put(desc, operand, -(random_below(r, 9000)), 8);
        if (random_below(r, 3) == 0 && opcode == IDXDD_OPCODE_MEMMOVE)
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
    if (idxdd_opcode(desc) == IDXDD_OPCODE_MEMMOVE && op->result)
        return;
    if (idxdd_opcode(desc) == IDXDD_OPCODE_MEMFILL) {
        unsigned size = idxdd_flags(desc) & IDXDD_OPFLAG_FILL_PATTERN16 ? 16 : 8;
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
    if (idxdd_opcode(desc) != IDXDD_OPCODE_CRCGEN)
        desc_put(desc, 24, desc_address2(desc) + n, 8);
    if (n && (idxdd_opcode(desc) == IDXDD_OPCODE_CRCGEN || idxdd_opcode(desc) == IDXDD_OPCODE_COPY_CRC)) {
        uint8_t record[32];
        idxdd_record(op, record);
        desc_put(desc, 4, idxdd_flags(desc) & ~(uint32_t)IDXDD_OPFLAG_CRC_SEED_ADDR, 3);
        desc_put(desc, 48, 0, 8);
        desc_put(desc, 40, load64(record + 16), idxdd_flags(desc) & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4);
    }
}

/* One absent page at every place: retried in place, and continued by a new descriptor, the end is that of an unfaulted run. */
static void test_fault_at_every_page(struct random *r, uint8_t opcode, unsigned rounds)
{
    static uint8_t whole[SPACE_BYTES];
    uint8_t desc[64], continued[64];
    for (unsigned round = 0; round < rounds; round++) {
        space_lay_out(&space, bases[round % 3], round % 2 ? UINT32_MAX : (uint32_t)random_next(r));
        random_contents(r, opcode == IDXDD_OPCODE_COMPARE);
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
                run.op.status = IDXDD_STATUS_PAGE_FAULT_NOBOF;
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
        desc_begin(desc, IDXDD_OPCODE_COMPARE, 0);
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
        desc_begin(op.desc, i % 3 ? IDXDD_OPCODE_COPY_CRC : IDXDD_OPCODE_COMPARE, i % 3 ? flags : 0);
        desc_put(op.desc, 16, space.base + 6 * PAGE_BYTES + 3, 8);
        desc_put(op.desc, 24, space.base + 10 * PAGE_BYTES + i, 8);
        desc_put(op.desc, 32, 2 * PAGE_BYTES - 3, 4);
        CHECK(idxdd_check(&op) == 0 && idxdd_step(&op, 65536) == IDXDD_DONE);
        if (i % 3) {
            struct idxdd_operation again = {.space = &space, .limits = &all_allowed};
            desc_begin(again.desc, IDXDD_OPCODE_CRCGEN, flags);
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
    test_with_each_kernel(test_data, &r);
    printf("%lu cases passed\n", cases);
    return 0;
}
