/* One operation with DEPTH in flight, submitted one by one, against what the C library does over the same buffers.
 *
 *     operate WQ OPERATION SIZE DEPTH MS TOTAL    OPERATION as in the table below; the rest as in move.c
 *
 * Prints bytes/s of the baseline (0: there is none) and of the device, measured in turns so that both see the same machine.
 * Every record is looked at; what was written, or computed, is checked after the turns.
 */
#include <errno.h>
#include <stdbool.h>

#include "session.h"

#define TURNS 4
#define PER_LOOK_AT_CLOCK 16
#define BLOCK 512u
#define PATTERN 0x1122334455667788u

enum { FILL = 0x04, COMPARE = 0x05, CREATE_DELTA = 0x07, CRC = 0x10, COPY_CRC = 0x11, DIF_CHECK = 0x12, DIF_INSERT = 0x13 };
enum { RECORD = 0x0C, CRC64 = 1 << 19 };

struct operation {
    const char *name;
    uint8_t opcode;
    uint32_t flags;
    enum { NONE, MEMCMP, MEMSET, MEMCPY } baseline;
};

static const struct operation operations[] = {
    {"compare", COMPARE, 0, MEMCMP}, {"fill", FILL, 0, MEMSET}, {"delta", CREATE_DELTA, 0, MEMCMP}, {"crc", CRC, 0, NONE},
    {"crc64", CRC, CRC64, NONE}, {"copy-crc", COPY_CRC, 0, MEMCPY}, {"dif-check", DIF_CHECK, 0, NONE}, {"dif-insert", DIF_INSERT, 0, NONE},
};

struct work {
    struct session session;
    const struct operation *operation;
    uint32_t size, depth, stride;      /* bytes of source of one operation; of destination, and between two */
    size_t total, at;
    uint8_t *source, *destination;
    struct idxdd_record *records;
    int64_t *numbers;
};

static void put(struct idxdd_desc *desc, unsigned offset, const void *value, unsigned size)
{
    memcpy((uint8_t *)desc + offset, value, size);
}

static void put64(struct idxdd_desc *desc, unsigned offset, uint64_t value) { put(desc, offset, &value, 8); }
static void put32(struct idxdd_desc *desc, unsigned offset, uint32_t value) { put(desc, offset, &value, 4); }

/* Piece `i` of the buffers, record in `slot`. */
static void describe(const struct work *work, struct idxdd_desc *desc, uint32_t slot, size_t i)
{
    const struct operation *op = work->operation;
    uint64_t source = (uintptr_t)work->source + i * work->size, destination = (uintptr_t)work->destination + i * work->stride;
    memset(desc, 0, sizeof *desc);
    put32(desc, 4, RECORD | op->flags | (uint32_t)op->opcode << 24);
    put64(desc, 8, (uintptr_t)&work->records[slot]);
    put64(desc, 16, op->opcode == FILL ? PATTERN : op->opcode == DIF_CHECK ? destination : source);
    put64(desc, 24, op->opcode == CRC || op->opcode == DIF_CHECK ? 0 : destination);
    put32(desc, 32, op->opcode == DIF_CHECK ? work->stride : work->size);
    if (op->opcode == CREATE_DELTA) {       /* a record of its own for each slot, behind the pieces */
        put64(desc, 40, (uintptr_t)work->destination + work->total + slot * 128);
        put32(desc, 48, 128);
    }
    memset((uint8_t *)&work->records[slot], 0, sizeof work->records[slot]);
}

static void wait_for(struct work *work, uint32_t slot)
{
    struct idxdd_record *record = &work->records[slot];
    if (idxdd_status(record) == 0 && idxdd_wait(work->session.wq, record, work->numbers[slot], WAIT_MS) < 0)
        die(work->session.program, idxdd_error());
    if (idxdd_status(record) != 1 || ((const uint8_t *)record)[1] != 0) {
        fprintf(stderr, "%s: %s: status 0x%02x, result %u\n", work->session.program, work->operation->name, idxdd_status(record),
                ((const uint8_t *)record)[1]);
        exit(1);
    }
}

static size_t next(struct work *work)
{
    size_t at = work->at;
    work->at = (at + 2) * work->size <= work->total ? at + 1 : 0;
    return at;
}

static void submit(struct work *work, uint32_t slot)
{
    struct idxdd_desc desc;
    describe(work, &desc, slot, next(work));
    while ((work->numbers[slot] = idxdd_submit(work->session.wq, &desc)) == -EAGAIN)
        relax();
    if (work->numbers[slot] < 0)
        die(work->session.program, idxdd_error());
}

static uint64_t device_turn(struct work *work, uint64_t duration_ns, uint64_t *spent_ns)
{
    uint64_t start = now_ns(), count = 0;
    uint32_t slot = 0;
    work->at = 0;
    for (uint32_t i = 0; i < work->depth; i++, count++)
        submit(work, i);
    while (now_ns() - start < duration_ns)
        for (unsigned i = 0; i < PER_LOOK_AT_CLOCK; i++, count++) {
            wait_for(work, slot);
            submit(work, slot);
            slot = slot + 1 == work->depth ? 0 : slot + 1;
        }
    for (uint32_t i = 0; i < work->depth; i++)
        wait_for(work, i);
    *spent_ns += now_ns() - start;
    return count;
}

static uint64_t baseline_turn(struct work *work, uint64_t duration_ns, uint64_t *spent_ns)
{
    uint64_t start = now_ns(), count = 0;
    if (work->operation->baseline == NONE)
        return 0;
    work->at = 0;
    while (now_ns() - start < duration_ns)
        for (unsigned i = 0; i < PER_LOOK_AT_CLOCK; i++, count++) {
            size_t at = next(work) * work->size;
            volatile int same = 0;
            switch (work->operation->baseline) {
            case MEMCMP: same = memcmp(work->destination + at, work->source + at, work->size); break;
            case MEMSET: memset(work->destination + at, 0x5A, work->size); break;
            case MEMCPY: memcpy(work->destination + at, work->source + at, work->size); break;
            case NONE: break;
            }
            if (same)
                die(work->session.program, "memcmp differs");
            __asm__ volatile("" ::: "memory");
        }
    *spent_ns += now_ns() - start;
    return count;
}

/* ---- what came out --------------------------------------------------------------------------------------------------------- */

static uint64_t slow_crc(const uint8_t *data, size_t size, bool wide)
{
    uint64_t polynomial = wide ? 0x9A6C9329AC4BC9B5u : 0x82F63B78u, width = wide ? UINT64_MAX : UINT32_MAX, reg = width;
    for (size_t i = 0; i < size; i++) {
        reg ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            reg = reg >> 1 ^ (reg & 1 ? polynomial : 0);
    }
    return ~reg & width;
}

/* The first piece, once more and alone. */
static void check(struct work *work)
{
    const struct operation *op = work->operation;
    uint64_t crc;
    work->at = 0;
    submit(work, 0);
    wait_for(work, 0);
    memcpy(&crc, (const uint8_t *)&work->records[0] + 16, sizeof crc);
    if ((op->opcode == CRC || op->opcode == COPY_CRC) && crc != slow_crc(work->source, work->size, op->flags & CRC64))
        die(work->session.program, "the CRC is wrong");
    if (op->opcode == COPY_CRC && memcmp(work->source, work->destination, work->size))
        die(work->session.program, "the destination differs from the source");
    for (uint32_t i = 0; op->opcode == FILL && i < work->size; i += 8)
        if (memcmp(work->destination + i, &(uint64_t){PATTERN}, 8))
            die(work->session.program, "the pattern is wrong");
    for (uint32_t i = 0; op->opcode == DIF_INSERT && i < work->size / BLOCK; i++)
        if (memcmp(work->destination + i * (BLOCK + 8), work->source + i * BLOCK, BLOCK))
            die(work->session.program, "the blocks differ");
}

/* What compares, deltas and checks of DIF find equal. */
static void prepare(struct work *work)
{
    static const struct operation insert = {"dif-insert", DIF_INSERT, 0, NONE};
    const struct operation *wanted = work->operation;
    for (size_t i = 0; i < work->total; i += 8)
        *(uint64_t *)(work->source + i) = i * 0x9e3779b97f4a7c15u;
    if (wanted->baseline == MEMCMP)
        memcpy(work->destination, work->source, work->total);
    if (wanted->opcode == DIF_CHECK)
        work->operation = &insert;
    for (size_t i = 0; i < work->total / work->size; i++) {  /* once through: page tables of both sides */
        work->at = i;
        submit(work, 0);
        wait_for(work, 0);
    }
    work->operation = wanted;
}

int main(int argc, char **argv)
{
    struct work work = {.size = (uint32_t)argument(argv, argc, 3, "SIZE"), .depth = (uint32_t)argument(argv, argc, 4, "DEPTH")};
    uint64_t turn_ns = argument(argv, argc, 5, "MS") * 1000000 / TURNS, bytes[2] = {0}, spent_ns[2] = {0};
    for (unsigned i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strcmp(argv[2], operations[i].name) == 0)
            work.operation = &operations[i];
    if (!work.operation || work.size == 0 || work.size % BLOCK || work.depth == 0)
        die(argv[0], "OPERATION is not known, or SIZE no multiple of 512, or DEPTH 0");
    session_open(&work.session, argv[0], argv[1]);
    work.total = argument(argv, argc, 6, "TOTAL");
    if (work.total < (size_t)work.size * work.depth)
        work.total = (size_t)work.size * work.depth;
    work.total -= work.total % work.size;
    bool dif = work.operation->opcode == DIF_INSERT || work.operation->opcode == DIF_CHECK;
    work.stride = work.size + (dif ? work.size / BLOCK * 8 : 0);
    work.source = session_memory(&work.session, work.total);
    work.destination = session_memory(&work.session, work.total / work.size * work.stride + work.depth * 128);
    work.records = session_memory(&work.session, work.depth * sizeof *work.records);
    work.numbers = calloc(work.depth, sizeof *work.numbers);
    prepare(&work);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        bytes[0] += baseline_turn(&work, turn_ns, &spent_ns[0]) * work.size;
        bytes[1] += device_turn(&work, turn_ns, &spent_ns[1]) * work.size;
    }
    check(&work);
    for (unsigned i = 0; i < 2; i++)
        printf("%.6g%c", spent_ns[i] ? (double)bytes[i] * 1e9 / (double)spent_ns[i] : 0.0, i ? '\n' : ' ');
    idxdd_close(work.session.connection);
    return 0;
}
