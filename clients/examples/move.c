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

static int move(struct idxdd_wq *wq, struct idxdd_record *record, void *destination, const void *source, uint32_t size)
{
    struct idxdd_desc desc;
    int64_t number;
    idxdd_desc_memmove(&desc, record, destination, source, size);
    while ((number = idxdd_submit(wq, &desc)) == -EAGAIN) {} /* the WQ is full */
    if (number < 0)
        return (int)number;
    return idxdd_wait(wq, record, number, WAIT_MS);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "dsa0/wq0.0";
    size_t size = argc > 2 ? strtoul(argv[2], NULL, 0) : 65536;
    struct idxdd_connection *connection;
    struct idxdd_wq *wq;
    void *source, *destination, *record_page;

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
    printf("%s: status 0x%02x, %zu bytes, %s\n", name, status, size, same ? "identical" : "different");
    idxdd_close(connection); /* gives the work queue and the buffers back */
    return status == 1 && same ? 0 : 1;
}
