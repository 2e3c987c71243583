/* Cache Flush (operations.md 7): every line touched leaves the caches; memory contents stay. */
#include "reach.h"
#include "rules.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LINE 64u

static void flush_lines(const uint8_t *at, uint64_t size)
{
    for (const uint8_t *line = at - ((uintptr_t)at & (LINE - 1)); line < at + size; line += LINE)
        _mm_clflush(line);
}

__attribute__((target("clflushopt"))) static void flush_lines_unordered(const uint8_t *at, uint64_t size)
{
    for (const uint8_t *line = at - ((uintptr_t)at & (LINE - 1)); line < at + size; line += LINE)
        _mm_clflushopt((void *)(uintptr_t)line);
    _mm_sfence();               /* done before the completion record says so */
}

static void (*flush)(const uint8_t *at, uint64_t size) = flush_lines;

__attribute__((constructor)) static void choose_kernel(void)
{
    uint32_t a, b = 0, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    if (a >= 7) {
        __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
        if (b >> 23 & 1)
            flush = flush_lines_unordered;
    }
}
#else
static void flush(const uint8_t *at, uint64_t size) { (void)at, (void)size; }
#endif

enum idxdd_step idxdd_step_cache_flush(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t address = desc_address2(op->desc), size = desc_size(op->desc);
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *at = reach(op, address, op->progress, false, IDXDD_OPERAND_DESTINATION1, &n);
        if (!at)
            return IDXDD_FAULT;
        flush(at, n);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}
