/* Move bytes through the device, from C: connect, open a work queue, allocate, move, wait, check.
 *
 *     cc move.c $(pkg-config --cflags --libs --static idxdd) -o move && ./move dsa0/wq0.0 65536
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <idxdd/client.h>

#define WAIT_MS 5000

static int failed(void)
{
    fprintf(stderr, "move: %s\n", idxdd_error());
    return 1;
}

/* A user WQ writes the record where we ask for it; a kernel WQ has its own, and gives them out in the order of completion. */
static int move(struct idxdd_wq *wq, struct idxdd_record *record, void *destination, const void *source, uint32_t size)
{
    struct idxdd_wq_facts facts;
    struct idxdd_desc desc;
    struct idxdd_reaped_desc reaped;
    int64_t number;
    int answer = 0;

    idxdd_wq_facts(wq, &facts);
    idxdd_desc_memmove(&desc, facts.kernel ? NULL : record, destination, source, size);
    while ((number = idxdd_submit(wq, &desc)) == -EAGAIN) /* the WQ is full */
        if ((answer = idxdd_wait_room(wq, WAIT_MS)) < 0)
            return answer;
    if (number < 0)
        return (int)number;
    if (!facts.kernel)
        return idxdd_wait(wq, record, number, WAIT_MS);
    if ((answer = idxdd_reap(wq, &reaped, 1, WAIT_MS)) == 1)
        *record = reaped.record, record->status = reaped.status;
    return answer < 0 ? answer : 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "dsa0/wq0.0";
    char *end = "";
    unsigned long long size = argc > 2 ? strtoull(argv[2], &end, 0) : 65536;
    struct idxdd_connection *connection;
    struct idxdd_wq *wq;
    void *source, *destination, *record_page;

    if (*end || !size || size > UINT32_MAX) {
        fprintf(stderr, "move: %s is not a size: 1 to %u bytes\n", argv[2], UINT32_MAX);
        return 2;
    }
    if (idxdd_connect(NULL, &connection) < 0)
        return failed();
    if (idxdd_wq_open(connection, name, &wq) < 0 || idxdd_alloc(connection, size, &source) < 0 ||
        idxdd_alloc(connection, size, &destination) < 0 || idxdd_alloc(connection, sizeof(struct idxdd_record), &record_page) < 0)
        return failed();

    for (size_t i = 0; i < size; i++)
        ((unsigned char *)source)[i] = (unsigned char)(i * 7 + i / 256);
    struct idxdd_record *record = record_page;
    if (move(wq, record, destination, source, (uint32_t)size) < 0)
        return failed();

    int status = idxdd_status(record), same = memcmp(source, destination, size) == 0;
    printf("%s: status 0x%02x, %llu bytes, %s\n", name, status, size, same ? "identical" : "different");
    idxdd_close(connection); /* gives the work queue and the buffers back */
    return status == 1 && same ? 0 : 1;
}
