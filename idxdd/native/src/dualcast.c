/* Dualcast (operations.md 8): each byte of the source is read once, so that both destinations get the same, whoever writes it. */
#include "kernels.h"
#include "reach.h"
#include "rules.h"

#define LINE 64u
#define LOADED() __asm__ volatile("" : : : "memory")     /* what was loaded before is not fetched again after */

typedef uint64_t vector16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t vector32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t vector64 __attribute__((vector_size(64), aligned(1), may_alias));

/* `lines` cache lines from `from` to both. */
#define COPY_LINES(vector) \
    for (; lines; lines--, from += LINE, one += LINE, two += LINE) { \
        vector v[LINE / sizeof(vector)]; \
        for (unsigned i = 0; i < LINE / sizeof(vector); i++) \
            v[i] = ((const vector *)from)[i]; \
        LOADED(); \
        for (unsigned i = 0; i < LINE / sizeof(vector); i++) { \
            ((vector *)one)[i] = v[i]; \
            ((vector *)two)[i] = v[i]; \
        } \
    }

static void copy_portable(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t lines) { COPY_LINES(vector16) }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void copy_avx2(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t lines)
{ COPY_LINES(vector32) }

__attribute__((target("avx512f"))) static void copy_avx512(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t lines)
{ COPY_LINES(vector64) }
#endif

static void (*copy_lines)(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t lines) = copy_portable;

bool idxdd_dualcast_force(const char *kernel)
{
    if (strcmp(kernel, "portable") == 0) {
        copy_lines = copy_portable;
        return true;
    }
#if defined(__x86_64__)
    if (strcmp(kernel, "avx2") == 0 && __builtin_cpu_supports("avx2")) {
        copy_lines = copy_avx2;
        return true;
    }
    if (strcmp(kernel, "avx512") == 0 && __builtin_cpu_supports("avx512f")) {
        copy_lines = copy_avx512;
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
    (void)(idxdd_dualcast_force("avx512") || idxdd_dualcast_force("avx2"));
}

/* Fewer than 64 bytes. */
static void copy_part(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t size)
{
    uint8_t part[LINE];
    memcpy(part, from, size);
    LOADED();
    memcpy(one, part, size);
    memcpy(two, part, size);
}

/* The destinations agree in bits 11:0 of their addresses, so that one head aligns the stores to both. */
static void copy_twice(uint8_t *one, uint8_t *two, const uint8_t *from, uint64_t size)
{
    uint64_t head = size >= 4 * LINE ? -(uintptr_t)one & (LINE - 1) : 0, lines = (size - head) / LINE, body = head + lines * LINE;
    copy_part(one, two, from, head);
    copy_lines(one + head, two + head, from + head, lines);
    copy_part(one + body, two + body, from + body, size - body);
}

enum idxdd_step idxdd_step_dualcast(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t src = desc_address1(op->desc), one = desc_address2(op->desc), two = load64(op->desc + 40), size = desc_size(op->desc);
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *from = reach(op, src, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        uint8_t *to1 = from ? reach(op, one, op->progress, true, IDXDD_OPERAND_DESTINATION1, &n) : NULL;
        uint8_t *to2 = to1 ? reach(op, two, op->progress, true, IDXDD_OPERAND_DESTINATION2, &n) : NULL;
        if (!to2)
            return IDXDD_FAULT;
        copy_twice(to1, to2, from, n);
        advance(op, n);
        slice -= n;
    }
    return more_or_done(op, size);
}
