/* From the device's last write to the submitter's callback: one descriptor of a kernel WQ at a time, completed by interrupt.
 *
 *     callback WQ COUNT PAUSE_US
 *
 * The destination shows when the device has carried it out; its record and its interrupt follow at once. Then the submitter
 * waits as any other does. Between two it sleeps, and so does everybody else. Prints median and 99th percentile in ns.
 */
#include "session.h"

#define WARM_UP 20

static uint32_t callback_ns(struct session *session, volatile uint64_t *destination, uint64_t value)
{
    struct idxdd_reaped_desc reaped;
    struct idxdd_desc desc;
    idxdd_desc_fill(&desc, NULL, (void *)(uintptr_t)destination, value, sizeof value);
    if (idxdd_submit(session->wq, &desc) < 0)
        die(session->program, idxdd_error());
    while (*destination != value)
        relax();
    uint64_t start = now_ns();
    if (idxdd_reap(session->wq, &reaped, 1, WAIT_MS) != 1)
        die(session->program, idxdd_error());
    uint64_t took = now_ns() - start;
    if (reaped.status != 1) {
        fprintf(stderr, "%s: status 0x%02x\n", session->program, reaped.status);
        exit(1);
    }
    return (uint32_t)took;
}

int main(int argc, char **argv)
{
    struct session session;
    uint64_t count = argument(argv, argc, 2, "COUNT") + WARM_UP;
    uint64_t pause_ns = argument(argv, argc, 3, "PAUSE_US") * 1000;
    uint32_t *took_ns = calloc(count, sizeof *took_ns);
    if (!took_ns)
        die(argv[0], "out of memory");
    session_open(&session, argv[0], argv[1]);
    volatile uint64_t *destination = session_memory(&session, sizeof *destination);
    for (uint64_t n = 0; n < count; n++) {
        sleep_ns(pause_ns);
        took_ns[n] = callback_ns(&session, destination, n + 1);
    }
    print_trips(took_ns + WARM_UP, count - WARM_UP);
    idxdd_close(session.connection);
    free(took_ns);
    return 0;
}
