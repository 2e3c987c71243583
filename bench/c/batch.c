/* Batches of COUNT moves of SIZE bytes, DEPTH batches in flight, submitted one by one.
 *
 *     batch WQ COUNT SIZE DEPTH MS
 *
 * Prints members/s. Members ask for no record, each batch for its own; what was moved is compared in the end.
 */
#include <errno.h>

#include "session.h"

struct batches {
    struct session session;
    uint32_t count, size, depth;
    uint8_t *source, *destination;
    struct idxdd_desc *lists;
    struct idxdd_record *records;
    int64_t *numbers;
};

static void write_list(struct batches *b, uint32_t slot)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct idxdd_record unused;
        struct idxdd_desc *member = &b->lists[slot * b->count + i];
        size_t at = ((size_t)slot * b->count + i) * b->size;
        idxdd_desc_memmove(member, &unused, b->destination + at, b->source + at, b->size);
        member->flags_opcode &= ~0xCu;
        member->completion_addr = 0;
    }
}

static void submit(struct batches *b, uint32_t slot)
{
    struct idxdd_desc desc;
    idxdd_desc_batch(&desc, &b->records[slot], &b->lists[slot * b->count], b->count);
    while ((b->numbers[slot] = idxdd_submit(b->session.wq, &desc)) == -EAGAIN)
        relax();
    if (b->numbers[slot] < 0)
        die(b->session.program, idxdd_error());
}

static void wait_for(struct batches *b, uint32_t slot)
{
    struct idxdd_record *record = &b->records[slot];
    if (idxdd_status(record) == 0 && idxdd_wait(b->session.wq, record, b->numbers[slot], WAIT_MS) < 0)
        die(b->session.program, idxdd_error());
    if (idxdd_status(record) != 1)
        die(b->session.program, "a batch failed");
}

int main(int argc, char **argv)
{
    struct batches b = {.count = (uint32_t)argument(argv, argc, 2, "COUNT"), .size = (uint32_t)argument(argv, argc, 3, "SIZE"),
                        .depth = (uint32_t)argument(argv, argc, 4, "DEPTH")};
    uint64_t duration_ns = argument(argv, argc, 5, "MS") * 1000000, count = 0;
    session_open(&b.session, argv[0], argv[1]);
    size_t members = (size_t)b.count * b.depth, bytes = members * b.size;
    if (members == 0 || b.size == 0)
        die(argv[0], "COUNT, SIZE and DEPTH must be above 0");
    b.source = session_memory(&b.session, bytes);
    b.destination = session_memory(&b.session, bytes);
    b.lists = session_memory(&b.session, members * sizeof *b.lists);
    b.records = session_memory(&b.session, b.depth * sizeof *b.records);
    b.numbers = calloc(b.depth, sizeof *b.numbers);
    for (size_t i = 0; i < bytes; i++)
        b.source[i] = (uint8_t)(i * 31 + (i >> 8));
    for (uint32_t slot = 0; slot < b.depth; slot++)
        write_list(&b, slot);
    for (uint32_t slot = 0; slot < b.depth; slot++)
        submit(&b, slot);
    uint64_t start = now_ns();
    for (uint32_t slot = 0; now_ns() - start < duration_ns; slot = slot + 1 == b.depth ? 0 : slot + 1, count += b.count) {
        wait_for(&b, slot);
        submit(&b, slot);
    }
    uint64_t spent_ns = now_ns() - start;
    for (uint32_t slot = 0; slot < b.depth; slot++)
        wait_for(&b, slot);
    if (memcmp(b.source, b.destination, bytes))
        die(argv[0], "the destination differs from the source");
    printf("%.6g\n", (double)count * 1e9 / (double)spent_ns);
    idxdd_close(b.session.connection);
    return 0;
}
