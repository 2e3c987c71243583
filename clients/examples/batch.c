/* Three descriptors as one: fill, move, and behind a fence compare, which sees what the others wrote.
 *
 *     cc batch.c $(pkg-config --cflags --libs --static idxdd) -o batch && ./batch
 */
#include <errno.h>
#include <stdio.h>

#include <idxdd/client.h>

#define PAGE_BYTES 4096
#define FLAG_FENCE 1u
#define WAIT_MS 5000

/* What the device reaches without help: all of it in one allocation. */
struct work {
    struct idxdd_desc descs[3];
    struct idxdd_record records[3], all;
    unsigned char source[PAGE_BYTES], destination[PAGE_BYTES];
};

int main(void)
{
    struct idxdd_connection *connection;
    struct idxdd_wq *wq;
    void *memory;
    if (idxdd_connect(NULL, &connection) < 0 || idxdd_wq_open(connection, "dsa0/wq0.1", &wq) < 0 ||
        idxdd_alloc(connection, sizeof(struct work), &memory) < 0) {
        fprintf(stderr, "batch: %s\n", idxdd_error());
        return 1;
    }
    struct work *work = memory;
    idxdd_desc_fill(&work->descs[0], &work->records[0], work->source, 0x0706050403020100u, PAGE_BYTES);
    idxdd_desc_memmove(&work->descs[1], &work->records[1], work->destination, work->source, PAGE_BYTES);
    idxdd_desc_compare(&work->descs[2], &work->records[2], work->source, work->destination, PAGE_BYTES);
    work->descs[1].flags_opcode |= FLAG_FENCE;
    work->descs[2].flags_opcode |= FLAG_FENCE;

    struct idxdd_desc batch;
    int64_t number;
    idxdd_desc_batch(&batch, &work->all, work->descs, 3);
    while ((number = idxdd_submit(wq, &batch)) == -EAGAIN && idxdd_wait_room(wq, WAIT_MS) == 0) {}
    if (number < 0 || idxdd_wait(wq, &work->all, number, WAIT_MS) < 0) {
        fprintf(stderr, "batch: %s\n", idxdd_error());
        return 1;
    }
    int status = idxdd_status(&work->all), different = work->records[2].result;
    printf("status 0x%02x, %u of 3 done, %s\n", status, work->all.bytes_completed, different ? "different" : "equal");
    idxdd_close(connection);
    return status == 1 && !different ? 0 : 1;
}
