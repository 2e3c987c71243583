/* One client among many: memory moves between two given moments, with DEPTH in flight.
 *
 *     crowd WQ SIZE DEPTH
 *
 * Prints "ready" when its portal is open. Each line "START_NS END_NS" (CLOCK_MONOTONIC) on stdin is a run, answered by one line:
 * moves completed in that time, and how often the WQ was full. End of file ends it. Waiting is the library's: it sleeps on the
 * bell where the cores are fewer than the clients. A user WQ's records are waited for; a kernel WQ's descriptors, completed by
 * interrupt, are reaped.
 */
#include <errno.h>
#include <stdbool.h>

#include "session.h"

#define DEPTH_MAX 128

struct client {
    struct session session;
    uint32_t size, depth;
    uint8_t *source, *destination;
    struct idxdd_record *records;
    int64_t numbers[DEPTH_MAX];
    uint64_t submitted, completed, full;
};

static void count_one(struct client *client, uint8_t status)
{
    if (status != 1) {
        fprintf(stderr, "%s: status 0x%02x\n", client->session.program, status);
        exit(1);
    }
    client->completed++;
}

/* The oldest, and what is there with it. */
static void wait_for_some(struct client *client)
{
    uint32_t slot = (uint32_t)(client->completed % client->depth);
    uint8_t status;
    if (idxdd_wait(client->session.wq, &client->records[slot], client->numbers[slot], WAIT_MS) < 0)
        die(client->session.program, idxdd_error());
    while (client->completed != client->submitted && (status = idxdd_status(&client->records[client->completed % client->depth])))
        count_one(client, status);
}

static void reap_some(struct client *client)
{
    struct idxdd_reaped_desc reaped[DEPTH_MAX];
    int count = idxdd_reap(client->session.wq, reaped, DEPTH_MAX, WAIT_MS);
    if (count < 0)
        die(client->session.program, idxdd_error());
    for (int i = 0; i < count; i++)
        count_one(client, reaped[i].status);
}

static void complete_some(struct client *client)
{
    if (client->session.facts.kernel)
        reap_some(client);
    else
        wait_for_some(client);
}

/* Up to `depth` in flight; false: the WQ is full and nothing of ours is in it. */
static bool submit_some(struct client *client)
{
    struct idxdd_desc descs[DEPTH_MAX];
    int64_t numbers[DEPTH_MAX];
    uint32_t room = client->depth - (uint32_t)(client->submitted - client->completed);
    for (uint32_t i = 0; i < room; i++) {
        uint32_t slot = (uint32_t)((client->submitted + i) % client->depth);
        struct idxdd_record *record = client->session.facts.kernel ? NULL : &client->records[slot];
        size_t at = (size_t)slot * client->size;
        idxdd_desc_memmove(&descs[i], record, client->destination + at, client->source + at, client->size);
    }
    int64_t published = idxdd_submit_many(client->session.wq, descs, room, numbers);
    if (published < 0)
        die(client->session.program, idxdd_error());
    for (int64_t i = 0; i < published; i++)
        client->numbers[(client->submitted + (uint64_t)i) % client->depth] = numbers[i];
    client->submitted += (uint64_t)published;
    client->full += published == 0;
    return client->submitted != client->completed;
}

static void run(struct client *client, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t before, now = now_ns();
    if (now < start_ns)
        sleep_ns(start_ns - now);
    before = client->completed;
    client->full = 0;
    while (now_ns() < end_ns)
        if (submit_some(client))
            complete_some(client);
        else
            idxdd_wait_room(client->session.wq, WAIT_MS);
    printf("%" PRIu64 " %" PRIu64 "\n", client->completed - before, client->full);
    while (client->completed != client->submitted)
        complete_some(client);
    uint64_t written = client->submitted < client->depth ? client->submitted : client->depth;
    if (memcmp(client->source, client->destination, written * client->size))
        die(client->session.program, "the destination differs from the source");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct client client;
    char line[128];
    uint64_t start_ns, end_ns;
    client.size = (uint32_t)argument(argv, argc, 2, "SIZE");
    client.depth = (uint32_t)argument(argv, argc, 3, "DEPTH");
    if (!client.depth || client.depth > DEPTH_MAX)
        die(argv[0], "DEPTH must be between 1 and 128");
    session_open(&client.session, argv[0], argv[1]);
    size_t total = (size_t)client.size * client.depth;
    client.source = session_memory(&client.session, total);
    client.destination = session_memory(&client.session, total);
    client.records = session_memory(&client.session, client.depth * sizeof *client.records);
    for (size_t i = 0; i < total; i++)
        client.source[i] = (uint8_t)(i * 7 + i / 253 + now_ns());
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%" SCNu64 " %" SCNu64, &start_ns, &end_ns) == 2)
        run(&client, start_ns, end_ns);
    idxdd_close(client.session.connection);
    return 0;
}
