/* Memory moves with DEPTH in flight, submitted one by one, against memcpy over the same buffers.
 *
 *     move WQ SIZE DEPTH MS TOTAL    DEPTH 0: as many as the WQ holds; MS: for each of the two, in all;
 *                                    TOTAL: bytes of each buffer, gone through from start to end, 0: SIZE * DEPTH
 *
 * Prints bytes/s of memcpy and of the device, measured in turns so that both see the same machine. Every record is looked
 * at, and what was moved is compared with the source after each turn of the device.
 */
#include <errno.h>

#include "session.h"

#define TURNS 4
#define MOVES_PER_LOOK_AT_CLOCK 64

struct moves {
    struct session session;
    uint32_t size, depth;
    size_t total, at;                  /* bytes of a buffer; where the next move starts */
    uint8_t *source, *destination;
    struct idxdd_record *records;      /* one for each descriptor in flight; two share a cache line, as in most programs */
    int64_t *numbers;
};

static void wait_for(struct moves *moves, uint32_t slot)
{
    struct idxdd_record *record = &moves->records[slot];
    if (idxdd_status(record) == 0 && idxdd_wait(moves->session.wq, record, moves->numbers[slot], WAIT_MS) < 0)
        die(moves->session.program, idxdd_error());
    if (idxdd_status(record) != 1) {
        fprintf(stderr, "%s: status 0x%02x\n", moves->session.program, idxdd_status(record));
        exit(1);
    }
}

static size_t next_at(struct moves *moves)
{
    size_t at = moves->at;
    moves->at = at + 2 * moves->size <= moves->total ? at + moves->size : 0;
    return at;
}

static void submit(struct moves *moves, uint32_t slot)
{
    struct idxdd_desc desc;
    size_t at = next_at(moves);
    idxdd_desc_memmove(&desc, &moves->records[slot], moves->destination + at, moves->source + at, moves->size);
    while ((moves->numbers[slot] = idxdd_submit(moves->session.wq, &desc)) == -EAGAIN)
        relax();                       /* records are there a moment before their WQ entries are free */
    if (moves->numbers[slot] < 0)
        die(moves->session.program, idxdd_error());
}

/* So many ns of moves; returns how many, and adds what it really took. */
static uint64_t device_turn(struct moves *moves, uint64_t duration_ns, uint64_t *spent_ns)
{
    uint64_t start = now_ns(), count = 0;
    moves->at = 0;
    for (uint32_t slot = 0; slot < moves->depth; slot++, count++)
        submit(moves, slot);
    uint32_t slot = 0;
    while (now_ns() - start < duration_ns)
        for (unsigned i = 0; i < MOVES_PER_LOOK_AT_CLOCK; i++, count++) {
            wait_for(moves, slot);
            submit(moves, slot);
            slot = slot + 1 == moves->depth ? 0 : slot + 1;
        }
    for (uint32_t i = 0; i < moves->depth; i++)
        wait_for(moves, i);
    *spent_ns += now_ns() - start;
    return count;
}

static uint64_t memcpy_turn(struct moves *moves, uint64_t duration_ns, uint64_t *spent_ns)
{
    uint64_t start = now_ns(), count = 0;
    moves->at = 0;
    while (now_ns() - start < duration_ns)
        for (unsigned i = 0; i < MOVES_PER_LOOK_AT_CLOCK; i++, count++) {
            size_t at = next_at(moves);
            memcpy(moves->destination + at, moves->source + at, moves->size);
            __asm__ volatile("" ::: "memory"); /* it shall really be copied each time */
        }
    *spent_ns += now_ns() - start;
    return count;
}

/* Another content each time, so that an old copy does not look like a new one. */
static void fill_source(struct moves *moves, unsigned seed)
{
    for (size_t i = 0; i < moves->total; i += sizeof(uint64_t))
        *(uint64_t *)(moves->source + i) = (i + seed) * 0x9e3779b97f4a7c15u;
}

static void compare(const struct moves *moves, uint64_t count)
{
    uint64_t most = moves->total / moves->size;
    if (memcmp(moves->source, moves->destination, (count < most ? count : most) * moves->size))
        die(moves->session.program, "the destination differs from the source");
}

/* Once through the buffers: page tables of both sides. */
static void touch(struct moves *moves)
{
    for (size_t i = 0; i < moves->total / moves->size + moves->depth; i++) {
        uint32_t slot = (uint32_t)(i % moves->depth);
        if (i >= moves->depth)
            wait_for(moves, slot);
        submit(moves, slot);
    }
    for (uint32_t i = 0; i < moves->depth; i++)
        wait_for(moves, i);
}

int main(int argc, char **argv)
{
    struct moves moves = {.size = (uint32_t)argument(argv, argc, 2, "SIZE"), .depth = (uint32_t)argument(argv, argc, 3, "DEPTH")};
    uint64_t turn_ns = argument(argv, argc, 4, "MS") * 1000000 / TURNS, bytes[2] = {0}, spent_ns[2] = {0};
    session_open(&moves.session, argv[0], argv[1]);
    moves.depth = moves.depth ? moves.depth : moves.session.facts.size;
    moves.total = argument(argv, argc, 5, "TOTAL");
    if (moves.size == 0 || moves.size % sizeof(uint64_t))
        die(argv[0], "SIZE must be a multiple of 8");
    if (moves.total < (size_t)moves.size * moves.depth)
        moves.total = (size_t)moves.size * moves.depth;
    moves.total -= moves.total % moves.size;
    moves.source = session_memory(&moves.session, moves.total);
    moves.destination = session_memory(&moves.session, moves.total);
    moves.records = session_memory(&moves.session, moves.depth * sizeof *moves.records);
    moves.numbers = calloc(moves.depth, sizeof *moves.numbers);
    touch(&moves);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        bytes[0] += memcpy_turn(&moves, turn_ns, &spent_ns[0]) * moves.size;
        fill_source(&moves, turn);
        uint64_t count = device_turn(&moves, turn_ns, &spent_ns[1]);
        bytes[1] += count * moves.size;
        compare(&moves, count);
    }
    for (unsigned i = 0; i < 2; i++)
        printf("%.6g%c", (double)bytes[i] * 1e9 / (double)spent_ns[i], i ? '\n' : ' ');
    idxdd_close(moves.session.connection);
    return 0;
}
