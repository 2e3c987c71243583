/* Fill (operations.md 8): the pattern starts at the destination's first byte, whatever its alignment. */
#include "kernels.h"
#include "reach.h"
#include "rules.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define LINE 64u
#define STRING_LINES_MIN 32u            /* below it a string store takes longer to begin than to store */

typedef uint64_t vector16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t vector32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t vector64 __attribute__((vector_size(64), aligned(1), may_alias));

/* Store `lines` cache lines of the repeated 16 bytes. */
static void store_portable(uint8_t *to, uint64_t lines, const uint8_t pattern[16])
{
    vector16 v;
    memcpy(&v, pattern, 16);
    for (; lines; lines--, to += LINE) {
        *(vector16 *)(to + 0) = v;
        *(vector16 *)(to + 16) = v;
        *(vector16 *)(to + 32) = v;
        *(vector16 *)(to + 48) = v;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void store_avx2(uint8_t *to, uint64_t lines, const uint8_t pattern[16])
{
    uint64_t low = load64(pattern), high = load64(pattern + 8);
    vector32 v = {low, high, low, high};
    for (; lines; lines--, to += LINE) {
        *(vector32 *)(to + 0) = v;
        *(vector32 *)(to + 32) = v;
    }
}

__attribute__((target("avx512f"))) static void store_avx512(uint8_t *to, uint64_t lines, const uint8_t pattern[16])
{
    uint64_t low = load64(pattern), high = load64(pattern + 8);
    vector64 v = {low, high, low, high, low, high, low, high};
    for (; lines >= 4; lines -= 4, to += 4 * LINE) {
        *(vector64 *)(to + 0 * LINE) = v;
        *(vector64 *)(to + 1 * LINE) = v;
        *(vector64 *)(to + 2 * LINE) = v;
        *(vector64 *)(to + 3 * LINE) = v;
    }
    for (; lines; lines--, to += LINE)
        *(vector64 *)to = v;
}
#endif

/* Eight bytes over and over, as the processor's own loop: it need not read the lines it fills, as stores one by one do. */
static bool string_stores;

static void store_string(uint8_t *to, uint64_t lines, uint64_t word)
{
#if defined(__x86_64__)
    uint64_t words = lines * (LINE / 8);
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
#else
    (void)to, (void)lines, (void)word;
#endif
}

static bool has_string_stores(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 9 & 1;       /* ERMS */
#else
    return false;
#endif
}

static void (*store_lines)(uint8_t *to, uint64_t lines, const uint8_t pattern[16]) = store_portable;

bool idxdd_fill_force(const char *kernel)
{
    string_stores = false;
    if (strcmp(kernel, "string") == 0)
        return string_stores = has_string_stores();
    if (strcmp(kernel, "portable") == 0) {
        store_lines = store_portable;
        return true;
    }
#if defined(__x86_64__)
    if (strcmp(kernel, "avx2") == 0 && __builtin_cpu_supports("avx2")) {
        store_lines = store_avx2;
        return true;
    }
    if (strcmp(kernel, "avx512") == 0 && __builtin_cpu_supports("avx512f")) {
        store_lines = store_avx512;
        return true;
    }
#endif
    return false;
}

__attribute__((constructor)) static void choose_kernel(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    (void)(idxdd_fill_force("avx512") || idxdd_fill_force("avx2"));
    (void)idxdd_fill_force("string");
}

/* Fewer than 64 bytes. */
static void store_part(uint8_t *to, uint64_t size, const uint8_t pattern[16])
{
    for (; size >= 16; size -= 16, to += 16)
        memcpy(to, pattern, 16);
    for (uint64_t i = 0; i < size; i++)
        to[i] = pattern[i];
}

/* `twice`: the pattern repeated to 32 bytes, so that 16 bytes from any phase on are one load. */
static void fill(uint8_t *to, uint64_t size, const uint8_t twice[32], uint64_t phase)
{
    if (size >= 4 * LINE) {         /* then every store is of one cache line */
        uint64_t head = -(uintptr_t)to & (LINE - 1);
        store_part(to, head, twice + (phase & 15));
        to += head;
        size -= head;
        phase += head;
    }
    const uint8_t *pattern = twice + (phase & 15);
    if (string_stores && size >= STRING_LINES_MIN * LINE && load64(pattern) == load64(pattern + 8))
        store_string(to, size / LINE, load64(pattern));
    else
        store_lines(to, size / LINE, pattern);
    store_part(to + size / LINE * LINE, size % LINE, pattern);
}

static bool one_byte(const uint8_t pattern[16])
{
    uint64_t low = load64(pattern);
    return low == load64(pattern + 8) && low == pattern[0] * 0x0101010101010101ull;
}

enum idxdd_step idxdd_step_fill(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t dst = desc_address2(op->desc), size = desc_size(op->desc);
    uint64_t low = load64(op->desc + 16), high = idxdd_flags(op->desc) & IDXDD_OPFLAG_FILL_PATTERN16 ? load64(op->desc + 40) : low;
    uint8_t twice[32];
    for (unsigned i = 0; i < 32; i += 16) {
        store64(twice + i, low);
        store64(twice + i + 8, high);
    }
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        uint8_t *to = reach(op, dst, op->progress, true, IDXDD_OPERAND_DESTINATION1, &n);
        if (!to)
            return IDXDD_FAULT;
        if (one_byte(twice))
            memset(to, twice[0], n);
        else
            fill(to, n, twice, op->progress);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}
