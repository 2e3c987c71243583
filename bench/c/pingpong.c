/* The baseline of a round trip: two processes, two words of shared memory, nothing else.
 *
 *     pingpong COUNT
 *
 * Each word has one writer and a cache line of its own. Both sides spin. Prints median and 99th percentile in ns.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP 1000

struct table {
    _Alignas(CACHE_LINE) _Atomic uint64_t ping;
    _Alignas(CACHE_LINE) _Atomic uint64_t pong;
};

static void answer(struct table *table, uint64_t count)
{
    for (uint64_t n = 1; n <= count; n++) {
        while (atomic_load_explicit(&table->ping, memory_order_acquire) != n)
            relax();
        atomic_store_explicit(&table->pong, n, memory_order_release);
    }
}

static void ask(struct table *table, uint64_t count, uint32_t *trip_ns)
{
    for (uint64_t n = 1; n <= count; n++) {
        uint64_t start = now_ns();
        atomic_store_explicit(&table->ping, n, memory_order_release);
        while (atomic_load_explicit(&table->pong, memory_order_acquire) != n)
            relax();
        trip_ns[n - 1] = (uint32_t)(now_ns() - start);
    }
}

int main(int argc, char **argv)
{
    uint64_t count = argument(argv, argc, 1, "COUNT") + WARM_UP;
    uint32_t *trip_ns = calloc(count, sizeof *trip_ns);
    struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!trip_ns || table == MAP_FAILED)
        die(argv[0], "out of memory");
    pid_t child = fork();
    if (child < 0)
        die(argv[0], "fork failed");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        answer(table, count);
        _exit(0);
    }
    ask(table, count, trip_ns);
    waitpid(child, NULL, 0);
    print_trips(trip_ns + WARM_UP, count - WARM_UP);
    free(trip_ns);
    return 0;
}
