/* No-op round trips, one at a time: submit, wait for the record.
 *
 *     trip WQ COUNT MS           COUNT trips, or as many as MS allow
 *
 * Prints median and 99th percentile in ns. The first trips wake the device and are not counted.
 */
#include <errno.h>

#include "session.h"

#define WARM_UP 1000

static uint64_t trip(const struct session *session, struct idxdd_record *record)
{
    struct idxdd_desc desc;
    idxdd_desc_noop(&desc, record);
    uint64_t start = now_ns();
    int64_t number;
    while ((number = idxdd_submit(session->wq, &desc)) == -EAGAIN)
        relax();
    if (number < 0 || idxdd_wait(session->wq, record, number, WAIT_MS) < 0)
        die(session->program, idxdd_error());
    uint64_t took = now_ns() - start;
    if (idxdd_status(record) != 1)
        die(session->program, "a no-op failed");
    return took;
}

int main(int argc, char **argv)
{
    struct session session;
    size_t count = argument(argv, argc, 2, "COUNT");
    uint32_t *trip_ns = calloc(count, sizeof *trip_ns);
    session_open(&session, argv[0], argv[1]);
    struct idxdd_record *record = session_memory(&session, sizeof *record);
    for (unsigned i = 0; i < WARM_UP; i++)
        trip(&session, record);
    uint64_t end_ns = now_ns() + argument(argv, argc, 3, "MS") * 1000000;
    size_t done = 0;
    while (done < count && (done == 0 || now_ns() < end_ns))
        trip_ns[done++] = (uint32_t)trip(&session, record);
    print_trips(trip_ns, done);
    free(trip_ns);
    idxdd_close(session.connection);
    return 0;
}
