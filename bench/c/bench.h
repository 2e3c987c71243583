/* What the benchmark's C programs share: a clock, a session, starting together. Each program is one process and one client. */
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000u
#define CACHE_LINE 64

/* CLOCK_MONOTONIC: the same in every process. */
static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static inline void sleep_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
    while (nanosleep(&left, &left)) {}
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

_Noreturn static inline void die(const char *program, const char *why)
{
    fprintf(stderr, "%s: %s\n", program, why);
    exit(1);
}

static inline uint64_t argument(char **argv, int argc, int at, const char *name)
{
    char *end, *text = at < argc ? argv[at] : "";
    uint64_t value = strtoull(text, &end, 0);
    if (!*text || *end) {
        fprintf(stderr, "%s: %s must be a number, not \"%s\"\n", argv[0], name, text);
        exit(2);
    }
    return value;
}

static inline int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* One line: the median and the 99th percentile of `count` round trips in ns. */
static inline void print_trips(uint32_t *trip_ns, size_t count)
{
    qsort(trip_ns, count, sizeof *trip_ns, compare_u32);
    printf("%" PRIu32 " %" PRIu32 "\n", trip_ns[count / 2], trip_ns[count - 1 - count / 100]);
}

#endif
