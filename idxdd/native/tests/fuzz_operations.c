/* Any 64 bytes as a descriptor, any address space: the checks answer, and what passes them does what the model does.
 *
 * Input    64 bytes of descriptor, then the layout: place of the space, pages joined, access of each page, slice, contents.
 * Run      with libFuzzer: clang -fsanitize=fuzzer,address,undefined; without: -DIDXDD_FUZZ_MAIN, then PROGRAM SECONDS [SEED].
 */
#include "random_contents.h"
#include "rules.h"

#include <time.h>

enum {
    LAYOUT_PLACE = 64, LAYOUT_JOINED = 65, LAYOUT_ACCESS = 69, LAYOUT_SLICE = 77, LAYOUT_CONTENTS = 79, LAYOUT_LIMITS = 80,
    INPUT_BYTES = 96,
};
enum { PLACE_RELATIVE = 4, PLACE_ERRORS = 8, PLACE_MEMBER = 16, PLACE_PRIV = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct side_by_side run;
static struct idxdd_space space;
static uint8_t contents[SPACE_BYTES];
static unsigned long executed, faults;

static void check_any_limits(const uint8_t *in)
{
    struct idxdd_limits limits = all_allowed;
    uint64_t bits = load64(in + LAYOUT_LIMITS);
    limits.gencap = load64(in + LAYOUT_LIMITS + 8);
    limits.opcfg[0] = bits & 1 ? UINT64_MAX : bits;
    limits.max_xfer_shift = bits >> 8 & 31;
    limits.max_batch_shift = bits >> 16 & 15;
    limits.bof_enabled = bits >> 24 & 1;
    limits.pasid_enabled = bits >> 25 & 1;
    limits.user_int_en = bits >> 26 & 1;
    limits.dedicated = bits >> 27 & 1;
    limits.privileged_mode = bits >> 28 & 1;
    limits.tc_enabled = bits >> 29 & 3;
    struct idxdd_operation op = {.limits = &limits};
    op.batch_member = in[LAYOUT_PLACE] & PLACE_MEMBER;
    op.priv = in[LAYOUT_PLACE] & PLACE_PRIV;
    memcpy(op.desc, in, 64);
    uint8_t status = idxdd_check(&op);
    CHECK(status == 0 || (status >= IDXDD_STATUS_BAD_OPCODE && status <= IDXDD_STATUS_TRAFFIC_CLASS_CONF));
    CHECK((status == IDXDD_STATUS_INVALID_FLAGS) == (op.invalid_flags != 0));
    CHECK((op.invalid_flags & ~0xFFFFFFu) == 0 && memcmp(op.desc, in, 64) == 0);
    op.status = status ? status : IDXDD_STATUS_SUCCESS;
    uint8_t record[32];
    idxdd_record(&op, record);
    CHECK(record[0] == op.status);
    CHECK(!idxdd_wants_record(&op) || op.desc[4] & IDXDD_FLAG_CRAV);
}

/* Offset `field` of the descriptor holds an address. */
static bool is_address(const uint8_t *desc, unsigned field)
{
    uint8_t opcode = idxdd_opcode(desc);
    switch (field) {
    case 16: return opcode != IDXDD_OPCODE_MEMFILL && opcode != IDXDD_OPCODE_CFLUSH;
    case 24: return opcode != IDXDD_OPCODE_COMPVAL && opcode != IDXDD_OPCODE_TRANSL_FETCH && opcode != IDXDD_OPCODE_DIF_CHECK;
    case 40: return opcode == IDXDD_OPCODE_CR_DELTA || opcode == IDXDD_OPCODE_DUALCAST;
    case 48: return (opcode == IDXDD_OPCODE_CRCGEN || opcode == IDXDD_OPCODE_COPY_CRC) && idxdd_flags(desc) & IDXDD_OPFLAG_CRC_SEED_ADDR;
    default: return false;
    }
}

static void place(const uint8_t *in, uint8_t desc[64])
{
    static const uint64_t bases[] = {0x7F0000000000ull, 0, (uint64_t)-(int64_t)SPACE_BYTES, (uint64_t)-(int64_t)(SPACE_BYTES / 2)};
    uint64_t access = load64(in + LAYOUT_ACCESS);
    space_lay_out(&space, bases[in[LAYOUT_PLACE] & 3], load32(in + LAYOUT_JOINED));
    for (unsigned i = 0; i < PAGES; i++)
        space_set_access(&space, i, (access >> 2 * i & 3) == 0 ? ABSENT : (access >> 2 * i & 3) == 1 ? READ_ONLY : READ_WRITE);
    memcpy(desc, in, 64);
    for (unsigned field = 16; field <= 48 && in[LAYOUT_PLACE] & PLACE_RELATIVE; field += 8)     /* most inputs then reach it */
        if (is_address(desc, field))
            desc_put(desc, field, load64(desc + field) + space.base, 8);
    struct random r = {load64(in + LAYOUT_CONTENTS)};
    random_contents(&r, &space, desc, contents, in[LAYOUT_PLACE] & PLACE_ERRORS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t in[INPUT_BYTES] = {0}, desc[64];
    memcpy(in, data, size < INPUT_BYTES ? size : INPUT_BYTES);
    check_any_limits(in);
    place(in, desc);
    run_start(&run, &space, desc, contents);
    run.op.batch_member = in[LAYOUT_PLACE] & PLACE_MEMBER;
    if (idxdd_check(&run.op) || !idxdd_rules[idxdd_opcode(desc)].step)
        return 0;
    struct random r = {in[LAYOUT_CONTENTS]};
    uint64_t slice = (in[LAYOUT_SLICE] | (uint64_t)in[LAYOUT_SLICE + 1] << 8) + 1;
    if (slice < 64 && desc_size(desc) > 8192)   /* byte by byte only what is short: an input must not take seconds */
        slice += 4096;
    for (unsigned i = 0; run_on(&run, &r, slice) && i < 8 && run_repair(&run); i++)
        faults++;
    executed++;
    return 0;
}

#ifdef IDXDD_FUZZ_MAIN
/* A valid descriptor in relative terms and any layout, then a few changes anywhere. */
static void make_input(struct random *r, uint8_t in[INPUT_BYTES])
{
    static const uint8_t opcodes[] = {
        IDXDD_OPCODE_NOOP, IDXDD_OPCODE_BATCH, IDXDD_OPCODE_DRAIN, IDXDD_OPCODE_MEMMOVE, IDXDD_OPCODE_MEMFILL,
        IDXDD_OPCODE_COMPARE, IDXDD_OPCODE_COMPVAL, IDXDD_OPCODE_CR_DELTA, IDXDD_OPCODE_AP_DELTA, IDXDD_OPCODE_DUALCAST,
        IDXDD_OPCODE_TRANSL_FETCH, IDXDD_OPCODE_CRCGEN, IDXDD_OPCODE_COPY_CRC, IDXDD_OPCODE_DIF_CHECK, IDXDD_OPCODE_DIF_INS,
        IDXDD_OPCODE_DIF_STRP, IDXDD_OPCODE_DIF_UPDT, IDXDD_OPCODE_DIX_GEN, IDXDD_OPCODE_CFLUSH,
    };
    static const struct idxdd_space relative = {.base = 0};
    for (unsigned i = 64; i < INPUT_BYTES; i++)
        in[i] = (uint8_t)random_next(r);
    if (random_below(r, 4))
        memset(in + LAYOUT_JOINED, 0xFF, 4);
    if (random_below(r, 4))
        in[LAYOUT_PLACE] |= PLACE_RELATIVE;
    for (unsigned i = 0; i < 8; i++)                    /* mostly present */
        in[LAYOUT_ACCESS + i] |= random_below(r, 4) ? 0xAA : 0;
    random_descriptor(r, &relative, opcodes[random_below(r, sizeof opcodes)], in);
    for (uint64_t n = random_below(r, 4); n; n--) {
        unsigned at = (unsigned)random_below(r, INPUT_BYTES);
        switch (random_below(r, 3)) {
        case 0: in[at] ^= (uint8_t)(1u << random_below(r, 8)); break;
        case 1: in[at] = (uint8_t)random_next(r); break;
        default: in[at] = random_below(r, 2) ? 0xFF : 0; break;
        }
    }
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    double end = seconds_now() + (argc > 1 ? atof(argv[1]) : 10);
    struct random r = {argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL)};
    unsigned long inputs = 0;
    uint8_t in[INPUT_BYTES];
    printf("seed %llu\n", (unsigned long long)r.state);
    fflush(stdout);
    while (seconds_now() < end) {
        make_input(&r, in);
        LLVMFuzzerTestOneInput(in, sizeof in);
        inputs++;
    }
    printf("%lu inputs, %lu executed, %lu faults repaired\n", inputs, executed, faults);
    return 0;
}
#endif
