/* Memory moves with DEPTH in flight, submitted one by one, against memcpy over the same buffers.
 *
 *     move WQ SIZE DEPTH MS      DEPTH 0: as many as the WQ holds; MS: for each of the two, in all
 *
 * Prints bytes/s of memcpy and of the device, measured in turns so that both see the same machine. Every record is looked
 * at, and the destination is compared with the source after each turn of the device.
 */
#include <errno.h>

#include "session.h"

#define TURNS 4
#define MOVES_PER_LOOK_AT_CLOCK 64

struct moves {
    struct session session;
    uint32_t size, depth;
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

static void submit(struct moves *moves, uint32_t slot)
{
    struct idxdd_desc desc;
    size_t at = (size_t)slot * moves->size;
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

static uint64_t memcpy_turn(const struct moves *moves, uint64_t duration_ns, uint64_t *spent_ns)
{
    uint64_t start = now_ns(), count = 0;
    uint32_t slot = 0;
    while (now_ns() - start < duration_ns)
        for (unsigned i = 0; i < MOVES_PER_LOOK_AT_CLOCK; i++, count++) {
            size_t at = (size_t)slot * moves->size;
            memcpy(moves->destination + at, moves->source + at, moves->size);
            __asm__ volatile("" ::: "memory"); /* it shall really be copied each time */
            slot = slot + 1 == moves->depth ? 0 : slot + 1;
        }
    *spent_ns += now_ns() - start;
    return count;
}

static void fill_source(struct moves *moves, unsigned seed)
{
    for (size_t i = 0; i < (size_t)moves->size * moves->depth; i++)
        moves->source[i] = (uint8_t)(i * 13 + i / 251 + seed);
}

int main(int argc, char **argv)
{
    struct moves moves = {.size = (uint32_t)argument(argv, argc, 2, "SIZE"), .depth = (uint32_t)argument(argv, argc, 3, "DEPTH")};
    uint64_t turn_ns = argument(argv, argc, 4, "MS") * 1000000 / TURNS, bytes[2] = {0}, spent_ns[2] = {0};
    session_open(&moves.session, argv[0], argv[1]);
    moves.depth = moves.depth ? moves.depth : moves.session.facts.size;
    size_t total = (size_t)moves.size * moves.depth;
    moves.source = session_memory(&moves.session, total);
    moves.destination = session_memory(&moves.session, total);
    moves.records = session_memory(&moves.session, moves.depth * sizeof *moves.records);
    moves.numbers = calloc(moves.depth, sizeof *moves.numbers);
    uint64_t warm_up = 0;
    device_turn(&moves, turn_ns / 4, &warm_up); /* both sides' page tables */
    for (unsigned turn = 0; turn < TURNS; turn++) {
        bytes[0] += memcpy_turn(&moves, turn_ns, &spent_ns[0]) * moves.size;
        fill_source(&moves, turn);
        bytes[1] += device_turn(&moves, turn_ns, &spent_ns[1]) * moves.size;
        if (memcmp(moves.source, moves.destination, total))
            die(argv[0], "the destination differs from the source");
    }
    for (unsigned i = 0; i < 2; i++)
        printf("%.6g%c", (double)bytes[i] * 1e9 / (double)spent_ns[i], i ? '\n' : ' ');
    idxdd_close(moves.session.connection);
    return 0;
}
