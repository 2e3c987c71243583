/* One session of the C client library against the daemon at $IDXDD_SOCKET, as tests/processes/test_client_c.py asks:
 *
 *     client_session connect                    connect and close
 *     client_session all                        every descriptor builder on user WQs, interrupts on kernel WQs, errors
 *     client_session gone                       say "ready", then wait until the daemon's end is noticed
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "idxdd/client.h"
#include "idxdd/spec.h"

#define WAIT_MS 10000
#define SIZE 100000u
#define COUNT 300u

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, idxdd_error()); \
            exit(1); \
        } \
    } while (0)

static struct idxdd_connection *connection;
static uint8_t *source, *destination;
static struct idxdd_record *record;

static uint8_t execute(struct idxdd_wq *wq, const struct idxdd_desc *desc)
{
    int64_t number;
    while ((number = idxdd_submit(wq, desc)) == -EAGAIN) {}
    CHECK(number >= 0);
    CHECK(idxdd_wait(wq, record, number, WAIT_MS) == 0);
    return idxdd_status(record);
}

static void user_wq(const char *name)
{
    struct idxdd_wq *wq;
    struct idxdd_wq_facts facts;
    struct idxdd_desc desc;
    CHECK(idxdd_wq_open(connection, name, &wq) == 0);
    idxdd_wq_facts(wq, &facts);
    CHECK(!facts.kernel && facts.size > 0 && facts.max_transfer_size >= SIZE);

    idxdd_desc_noop(&desc, record);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS);
    idxdd_desc_memmove(&desc, record, destination, source, SIZE);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && memcmp(source, destination, SIZE) == 0);
    idxdd_desc_compare(&desc, record, source, destination, SIZE);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && record->result == 0);
    destination[777] ^= 1;
    idxdd_desc_compare(&desc, record, source, destination, SIZE);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && record->result == 1 && record->bytes_completed == 777);
    idxdd_desc_fill(&desc, record, destination, 0x0807060504030201u, 20);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && destination[0] == 1 && destination[19] == 4);
    memcpy(destination, "123456789", 9);
    idxdd_desc_crc(&desc, record, destination, 0, 9);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && (uint32_t)record->op_specific[0] == 0xe3069283u);
    idxdd_desc_copy_crc(&desc, record, destination + 100, destination, 0, 9);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && (uint32_t)record->op_specific[0] == 0xe3069283u);
    CHECK(memcmp(destination + 100, "123456789", 9) == 0);

    struct idxdd_desc *batch = (struct idxdd_desc *)(void *)(destination + 4096);
    struct idxdd_record *member = (struct idxdd_record *)(void *)(destination + 8192);
    for (unsigned i = 0; i < 4; i++)
        idxdd_desc_memmove(&batch[i], &member[i], destination + 16384 + 64 * i, source + 64 * i, 64);
    idxdd_desc_batch(&desc, record, batch, 4);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS && memcmp(destination + 16384, source, 256) == 0);
    idxdd_desc_drain(&desc, record);
    CHECK(execute(wq, &desc) == IDXDD_STATUS_SUCCESS);

    idxdd_desc_noop(&desc, NULL);      /* no record asked for: it finishes, and there is none, as when a completion is lost */
    memset(record, 0, sizeof *record);
    int64_t number;
    while ((number = idxdd_submit(wq, &desc)) == -EAGAIN) {}
    CHECK(idxdd_wait(wq, record, number, 20) == -ETIMEDOUT);
    struct idxdd_reaped_desc reaped;
    CHECK(idxdd_reap(wq, &reaped, 1, 0) == -EOPNOTSUPP);
    idxdd_wq_close(wq);
}

static void kernel_wq(const char *name)
{
    struct idxdd_wq *wq;
    struct idxdd_desc descs[16];
    struct idxdd_reaped_desc reaped[32];
    int64_t tickets[16];
    unsigned submitted = 0, completed = 0;
    CHECK(idxdd_wq_open(connection, name, &wq) == 0);
    while (completed < COUNT) {
        unsigned want = COUNT - submitted < 16 ? COUNT - submitted : 16;
        for (unsigned i = 0; i < want; i++)
            idxdd_desc_memmove(&descs[i], NULL, destination + 64 * i, source + 64 * i, 64);
        int64_t some = want ? idxdd_submit_many(wq, descs, want, tickets) : 0;
        CHECK(some >= 0);
        submitted += (unsigned)some;
        int count = idxdd_reap(wq, reaped, 32, WAIT_MS);
        CHECK(count > 0);
        for (int i = 0; i < count; i++)
            CHECK(reaped[i].status == IDXDD_STATUS_SUCCESS && reaped[i].result == 0 && reaped[i].record.status == IDXDD_STATUS_SUCCESS);
        completed += (unsigned)count;
    }
    CHECK(completed == COUNT && idxdd_reap(wq, reaped, 32, 0) == -ETIMEDOUT);
    CHECK(memcmp(source, destination, 64 * 16) == 0);
    idxdd_wq_close(wq);
}

static void errors(void)
{
    struct idxdd_wq *wq;
    void *address;
    struct idxdd_desc desc;
    CHECK(idxdd_wq_open(connection, "dsa0/wq0.99", &wq) < 0 && !wq && strstr(idxdd_error(), "open: "));
    CHECK(idxdd_wq_open(connection, "nonsense\n", &wq) < 0 && !wq);  /* a bad frame: the daemon closes the connection */
    CHECK(idxdd_alloc(connection, 4096, &address) == -ECONNRESET && !address);
    CHECK(idxdd_free(connection, &address) == -EINVAL);
    idxdd_close(connection);
    CHECK(idxdd_connect(NULL, &connection) == 0 && idxdd_wq_open(connection, "dsa0/wq0.0", &wq) == 0);
    pid_t child = fork();
    if (child == 0) {
        idxdd_desc_noop(&desc, NULL);
        CHECK(idxdd_submit(wq, &desc) == -ECHILD && idxdd_alloc(connection, 1, &address) == -ECHILD);
        idxdd_close(connection);
        exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    idxdd_desc_noop(&desc, NULL);
    CHECK(idxdd_submit(wq, &desc) >= 0);       /* the child's close has not hurt the parent */
    idxdd_close(connection);
}

static void buffers(void)
{
    void *address;
    CHECK(idxdd_alloc(connection, SIZE, &address) == 0);
    source = address;
    CHECK(idxdd_alloc(connection, SIZE, &address) == 0);
    destination = address;
    CHECK(idxdd_alloc(connection, sizeof *record, &address) == 0);
    record = address;
    for (unsigned i = 0; i < SIZE; i++)
        source[i] = (uint8_t)(i * 7 + i / 256);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void gone(void)
{
    struct idxdd_wq *wq;
    struct idxdd_desc desc;
    CHECK(idxdd_wq_open(connection, "dsa0/wq0.0", &wq) == 0);
    puts("ready");
    fflush(stdout);
    CHECK(idxdd_wait(wq, record, 1000000, 30000) == -ECONNRESET);
    double start = now();
    int64_t answer;
    idxdd_desc_noop(&desc, NULL);
    while ((answer = idxdd_submit(wq, &desc)) >= 0 || answer == -EAGAIN)
        CHECK(now() - start < 1);
    CHECK(answer == -ECONNRESET);
    void *address;
    CHECK(idxdd_alloc(connection, 1, &address) == -ECONNRESET);
    idxdd_close(connection);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    int error = idxdd_connect(NULL, &connection);
    if (error) {
        fprintf(stderr, "%d %s\n", -error, idxdd_error());
        return 2;
    }
    if (strcmp(what, "connect") == 0) {
        idxdd_close(connection);
        return 0;
    }
    buffers();
    if (strcmp(what, "gone") == 0) {
        gone();
    } else {
        user_wq("dsa0/wq0.0");
        user_wq("dsa0/wq0.1");
        kernel_wq("dsa0/wq0.2");
        kernel_wq("dsa0/wq0.3");
        errors();
    }
    puts("ok");
    return 0;
}
