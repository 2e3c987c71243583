/* The baseline of an interrupt: three processes and two semaphores, nothing else. The first posts, the second passes it on, the
 * third notes when it wakes: device, interrupt process, submitter.
 *
 *     chain COUNT PAUSE_US
 *
 * All three sleep before each post. Prints median and 99th percentile, in ns, from the first post to the last waking.
 */
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP 20

struct table {
    sem_t interrupt, wake;
    _Alignas(CACHE_LINE) _Atomic uint64_t posted_ns;
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore)) {}
}

static void post(struct table *table, uint64_t count, uint64_t pause_ns)
{
    for (uint64_t n = 0; n < count; n++) {
        sleep_ns(pause_ns);
        atomic_store_explicit(&table->posted_ns, now_ns(), memory_order_release);
        sem_post(&table->interrupt);
    }
}

static void pass_on(struct table *table, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        wait_for(&table->interrupt);
        sem_post(&table->wake);
    }
}

/* A child that ends with us. */
static bool child(const char *program)
{
    pid_t pid = fork();
    if (pid < 0)
        die(program, "fork failed");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid == 0;
}

int main(int argc, char **argv)
{
    uint64_t count = argument(argv, argc, 1, "COUNT") + WARM_UP;
    uint64_t pause_ns = argument(argv, argc, 2, "PAUSE_US") * 1000;
    uint32_t *took_ns = calloc(count, sizeof *took_ns);
    struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!took_ns || table == MAP_FAILED || sem_init(&table->interrupt, 1, 0) || sem_init(&table->wake, 1, 0))
        die(argv[0], "out of memory");
    if (child(argv[0])) {
        pass_on(table, count);
        _exit(0);
    }
    if (child(argv[0])) {
        post(table, count, pause_ns);
        _exit(0);
    }
    for (uint64_t n = 0; n < count; n++) {
        wait_for(&table->wake);
        took_ns[n] = (uint32_t)(now_ns() - atomic_load_explicit(&table->posted_ns, memory_order_acquire));
    }
    while (wait(NULL) > 0) {}
    print_trips(took_ns + WARM_UP, count - WARM_UP);
    free(took_ns);
    return 0;
}
