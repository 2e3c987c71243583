/* The operations against the byte-by-byte model, between guard pages: bytes, progress, faults and records exactly. */
#include "crc_kernels.h"
#include "kernels.h"
#include "random_contents.h"

#include <pthread.h>

static const uint8_t stepping[] = {
    IDXDD_OPCODE_NOOP, IDXDD_OPCODE_MEMMOVE, IDXDD_OPCODE_MEMFILL, IDXDD_OPCODE_COMPARE, IDXDD_OPCODE_COMPVAL,
    IDXDD_OPCODE_CR_DELTA, IDXDD_OPCODE_AP_DELTA, IDXDD_OPCODE_DUALCAST, IDXDD_OPCODE_TRANSL_FETCH, IDXDD_OPCODE_CRCGEN,
    IDXDD_OPCODE_COPY_CRC, IDXDD_OPCODE_DIF_CHECK, IDXDD_OPCODE_DIF_INS, IDXDD_OPCODE_DIF_STRP, IDXDD_OPCODE_DIF_UPDT,
    IDXDD_OPCODE_DIX_GEN, IDXDD_OPCODE_CFLUSH,
};
static const uint64_t bases[] = {0x7F0000000000ull, 0, (uint64_t)-(int64_t)SPACE_BYTES};
static struct idxdd_space space;
static struct side_by_side run;
static uint8_t contents[SPACE_BYTES];
static unsigned long cases;

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
        random_descriptor(r, &space, opcode, desc);
        random_contents(r, &space, desc, contents, true);
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
        random_descriptor(r, &space, opcode, desc);
        unsigned operand = random_below(r, 2) ? 24 : 16;
        uint64_t aligned = opcode == IDXDD_OPCODE_CR_DELTA || opcode == IDXDD_OPCODE_AP_DELTA ? 8 : 1;
        if (opcode == IDXDD_OPCODE_DUALCAST)
            aligned = PAGE_BYTES;
        desc_put(desc, operand, -(random_below(r, 9000) / aligned * aligned), 8);
        if (aligned == PAGE_BYTES)
            desc_put(desc, 40, load64(desc + 40) / PAGE_BYTES * PAGE_BYTES, 8);
        if (random_below(r, 3) == 0 && opcode == IDXDD_OPCODE_MEMMOVE)
            desc_put(desc, 24, load64(desc + 16) + random_below(r, 100), 8);
        random_contents(r, &space, desc, contents, false);
        run_start(&run, &space, desc, contents);
        if (idxdd_check(&run.op))
            continue;
        run_on(&run, r, 1u << 16);
        cases++;
    }
}

/* operations.md 5: what software puts into the descriptor that continues after a partial completion. */
static void rotate_pattern(uint8_t *low, uint8_t *high, unsigned size, uint64_t n)
{
    uint8_t pattern[16] = {0}, rotated[16] = {0};
    memcpy(pattern, low, 8);
    memcpy(pattern + 8, high, size - 8);
    for (unsigned i = 0; i < size; i++)
        rotated[i] = pattern[(i + n) % size];
    memcpy(low, rotated, 8);
    memcpy(high, rotated + 8, size - 8);
}

static void add(uint8_t *desc, unsigned offset, uint64_t n) { desc_put(desc, offset, load64(desc + offset) + n, 8); }

static void continue_after(const struct idxdd_operation *op, uint8_t desc[64])
{
    uint64_t n = op->bytes_completed;
    uint8_t opcode = idxdd_opcode(desc), record[32];
    idxdd_record(op, record);
    if (opcode == IDXDD_OPCODE_TRANSL_FETCH)                /* Bytes Completed means nothing: all of it again */
        return;
    if (opcode == IDXDD_OPCODE_AP_DELTA) {
        add(desc, 16, n);
        desc_put(desc, 40, load32(desc + 40) - n, 4);
        return;
    }
    desc_put(desc, 32, desc_size(desc) - n, 4);
    if (opcode == IDXDD_OPCODE_MEMMOVE && op->result)
        return;
    if (opcode == IDXDD_OPCODE_MEMFILL)
        rotate_pattern(desc + 16, desc + 40, idxdd_flags(desc) & IDXDD_OPFLAG_FILL_PATTERN16 ? 16 : 8, n);
    else if (opcode != IDXDD_OPCODE_CFLUSH)
        add(desc, 16, n);
    if (model_is_dif(opcode)) {
        uint64_t block = model_block(desc), blocks = n / (block + (model_reads_field(opcode) ? 8 : 0));
        add(desc, 24, opcode == IDXDD_OPCODE_DIF_CHECK ? 0 : opcode == IDXDD_OPCODE_DIX_GEN ? 8 * blocks
                : blocks * (block + (model_writes_field(opcode) ? 8 : 0)));
        memcpy(desc + 48, record + 16, 16);                 /* tags as the record has them */
        return;
    }
    if (opcode == IDXDD_OPCODE_COMPVAL)
        rotate_pattern(desc + 24, desc + 24, 8, n);
    else if (opcode != IDXDD_OPCODE_CRCGEN)
        add(desc, 24, n);
    if (opcode == IDXDD_OPCODE_DUALCAST)
        add(desc, 40, n);
    if (opcode == IDXDD_OPCODE_CR_DELTA) {
        add(desc, 40, load32(record + 16));
        desc_put(desc, 48, load32(desc + 48) - load32(record + 16), 4);
    }
    if (n && has_crc_value(&run)) {
        desc_put(desc, 4, idxdd_flags(desc) & ~(uint32_t)IDXDD_OPFLAG_CRC_SEED_ADDR, 3);
        desc_put(desc, 48, 0, 8);
        desc_put(desc, 40, load64(record + 16), idxdd_flags(desc) & IDXDD_OPFLAG_CRC_SIZE64 ? 8 : 4);
    }
}

/* Offsets of a continued delta record count from the new source: software adds what came before. */
static void shift_entries(const uint8_t *continued, uint8_t *memory, uint64_t groups, uint64_t size)
{
    uint8_t *entry = memory + (load64(continued + 40) - space.base);
    for (; size; size -= 10, entry += 10)
        store16(entry, (uint16_t)(load16(entry) + groups));
}

/* A second descriptor after the first has faulted; the end, as software sees it, is that of an unfaulted run. */
static void fault_and_continue(struct random *r, const uint8_t desc[64], const struct idxdd_operation *whole, const uint8_t *memory)
{
    static uint8_t left[SPACE_BYTES];
    uint8_t continued[64], record[32], expected[32];
    uint64_t before = 0, record_before = 0;
    bool create = idxdd_opcode(desc) == IDXDD_OPCODE_CR_DELTA;
    run_start(&run, &space, desc, contents);
    if (run_on(&run, r, 65536)) {
        memcpy(continued, desc, 64);
        run.op.status = IDXDD_STATUS_PAGE_FAULT_NOBOF;
        before = run.op.bytes_completed;
        record_before = create ? run.op.private_[0] : 0;
        continue_after(&run.op, continued);
        if (create && load32(continued + 48) < 80)
            return;                     /* too small a rest: software would start again */
        CHECK(run_repair(&run));
        memcpy(left, run.contents, SPACE_BYTES);
        run_start(&run, &space, continued, left);
        CHECK(idxdd_check(&run.op) == 0);
        CHECK(!run_on(&run, r, 65536));
        if (create)
            shift_entries(continued, run.contents, before / 8, run.op.private_[0]);
    }
    CHECK(memcmp(run.contents, memory, SPACE_BYTES) == 0);
    bool place = whole->result && whole->status != IDXDD_STATUS_DIF_ERR;
    CHECK(run.op.bytes_completed + (place && whole->bytes_completed ? before : 0) == whole->bytes_completed);
    if (create) {
        CHECK(run.op.private_[0] + record_before == whole->private_[0]);
        CHECK(run.op.result == whole->result || (run.op.result == 0 && whole->result == 1 && record_before));
        return;
    }
    idxdd_record(&run.op, record);
    idxdd_record(whole, expected);
    CHECK(run.op.result == whole->result && run.op.status == whole->status);
    CHECK(memcmp(record + 16, expected + 16, 16) == 0);
}

/* One absent page at every place: retried in place, and continued by a new descriptor. */
static void test_fault_at_every_page(struct random *r, uint8_t opcode, unsigned rounds)
{
    static uint8_t memory[SPACE_BYTES];
    uint8_t desc[64];
    for (unsigned round = 0; round < rounds; round++) {
        space_lay_out(&space, bases[round % 3], round % 2 ? UINT32_MAX : (uint32_t)random_next(r));
        random_descriptor(r, &space, opcode, desc);
        random_contents(r, &space, desc, contents, false);
        one_run(r, desc, 65536);
        struct idxdd_operation whole = run.op;
        memcpy(memory, run.contents, SPACE_BYTES);
        for (unsigned page = 0; page < PAGES; page++) {
            space_set_access(&space, page, ABSENT);
            one_run(r, desc, 9000);
            CHECK(run.op.crc == whole.crc && run.op.status == whole.status && run.op.result == whole.result);
            CHECK(run.op.bytes_completed == whole.bytes_completed && memcmp(run.contents, memory, SPACE_BYTES) == 0);

            space_set_access(&space, page, ABSENT);
            fault_and_continue(r, desc, &whole, memory);
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

/* A client that rewrites the source all the time: what was summed, compared or copied is what arrived, whatever was there when. */
static volatile bool scribbling;
static volatile unsigned scribbles;     /* rounds: proof that the client really ran meanwhile */

__attribute__((unused)) static void *scribble(void *source)
{
    struct random r = {11};
    for (; scribbling; scribbles++)
        for (unsigned i = 0; i < 2 * PAGE_BYTES; i += 8) {
            uint64_t value = random_next(&r);
            __atomic_store_n((uint64_t *)((uint8_t *)source + i), value & 1 ? value : 0, __ATOMIC_RELAXED);
        }
    return NULL;
}

enum { SCRIBBLED = 6 * PAGE_BYTES, COPY = 10 * PAGE_BYTES, OTHER_COPY = 14 * PAGE_BYTES, ZEROS = 18 * PAGE_BYTES };

__attribute__((unused)) static struct idxdd_operation do_one(uint8_t opcode, uint32_t flags, uint64_t one, uint64_t two, uint64_t size,
                                                             uint64_t at40, uint64_t at48)
{
    struct idxdd_operation op = {.space = &space, .limits = &all_allowed};
    desc_begin(op.desc, opcode, flags);
    desc_put(op.desc, 16, space.base + one, 8);
    desc_put(op.desc, 24, two ? space.base + two : 0, 8);
    desc_put(op.desc, 32, size, 4);
    desc_put(op.desc, 40, at40, 8);
    desc_put(op.desc, 48, at48, 8);
    CHECK(idxdd_check(&op) == 0 && idxdd_step(&op, 65536) == IDXDD_DONE);
    cases++;
    return op;
}

__attribute__((unused)) static void scribbled_once(unsigned i)
{
    uint64_t size = 2 * PAGE_BYTES - 3, blocks = i << 16 & 0xF0000;         /* byte 42: any block and guard */
    uint32_t flags = (i & 7u) << 17;
    struct idxdd_operation op = do_one(IDXDD_OPCODE_COMPARE, 0, SCRIBBLED + 3, COPY + i, size, 0, 0);
    CHECK(op.result ? op.bytes_completed < size : op.bytes_completed == 0);

    op = do_one(IDXDD_OPCODE_COPY_CRC, flags, SCRIBBLED + 3, COPY + i, size, 0, 0);
    CHECK(do_one(IDXDD_OPCODE_CRCGEN, flags, COPY + i, 0, size, 0, 0).crc == op.crc);

    do_one(IDXDD_OPCODE_DUALCAST, 0, SCRIBBLED + 3, COPY + i, size, space.base + OTHER_COPY + i, 0);
    CHECK(do_one(IDXDD_OPCODE_COMPARE, 0, COPY + i, OTHER_COPY + i, size, 0, 0).result == 0);

    static const uint16_t block_bytes[] = {512, 520, 4096, 4104};
    uint64_t block = block_bytes[i & 3];
    do_one(IDXDD_OPCODE_DIF_INS, 0, SCRIBBLED + i % 80, COPY + i, block, blocks, 0);
    CHECK(do_one(IDXDD_OPCODE_DIF_CHECK, 0, COPY + i, 0, block + 8, blocks, 0).status == IDXDD_STATUS_SUCCESS);

    op = do_one(IDXDD_OPCODE_CR_DELTA, 0, ZEROS, SCRIBBLED, 8192, space.base + COPY + i, 4000);
    for (const uint8_t *entry = space.page[10] + i, *end = entry + op.private_[0]; entry < end; entry += 10)
        CHECK(load64(entry + 2) != 0);          /* of zeros there would be no entry */
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
    unsigned until = scribbles + 3000;
    for (unsigned n = 0; scribbles < until; n++)
        scribbled_once(n % 600);
    scribbling = false;
    pthread_join(client, NULL);
}

/* Every kernel this CPU supports passes the same tests. */
static void test_with_each_kernel(void (*test)(struct random *r), struct random *r)
{
    static const char *const crc[] = {"portable", "pclmul", "avx512", "avx512"}, *const others[] = {"portable", "avx2", "avx512", "string"};
    for (unsigned i = 0; i < 4; i++) {
        bool any = idxdd_crc_force(crc[i]);
        any |= idxdd_compare_force(others[i]);
        any |= idxdd_fill_force(others[i]);
        any |= idxdd_dualcast_force(others[i]);
        if (any)
            test(r);
        printf("%s: %s\n", others[i], any ? "tested" : "not on this CPU");
    }
}

static void test_data(struct random *r)
{
    test_random_runs(r, 2000);
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
