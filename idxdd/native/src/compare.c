/* Compare and Compare Pattern (operations.md 8): the exact offset of the first difference.
 *
 * Not memcmp: clients may write while we read, and a comparison that reads a byte twice may then look past its end or find
 * a difference it cannot place. Here each byte is read once and the place comes from what was read.
 */
#include "kernels.h"
#include "reach.h"
#include "rules.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define HOLD(constraint, value) __asm__("" : constraint(value))     /* the compiler may not fetch it from memory again */

static uint64_t differ_portable(const uint8_t *a, const uint8_t *b, uint64_t size)
{
    uint64_t i = 0;
    for (; size - i >= 32; i += 32) {
        uint64_t x[4];
#pragma GCC unroll 4
        for (unsigned k = 0; k < 4; k++) {
            x[k] = load64(a + i + 8 * k) ^ load64(b + i + 8 * k);
            HOLD("+r", x[k]);
        }
        if (x[0] | x[1] | x[2] | x[3])
#pragma GCC unroll 4
            for (unsigned k = 0; k < 4; k++)
                if (x[k])
                    return i + 8 * k + (unsigned)__builtin_ctzll(x[k]) / 8;
    }
    for (; size - i >= 8; i += 8) {
        uint64_t x = load64(a + i) ^ load64(b + i);
        HOLD("+r", x);
        if (x)
            return i + (unsigned)__builtin_ctzll(x) / 8;
    }
    for (; i < size; i++)
        if (a[i] != b[i])
            return i;
    return size;
}

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define AVX2 __attribute__((target("avx2")))

AVX512 static uint64_t differ_avx512(const uint8_t *a, const uint8_t *b, uint64_t size)
{
    uint64_t i = 0;
    for (; size - i >= 256; i += 256) {
        __m512i x[4];
#pragma GCC unroll 4
        for (unsigned k = 0; k < 4; k++) {
            x[k] = _mm512_xor_si512(_mm512_loadu_si512(a + i + 64 * k), _mm512_loadu_si512(b + i + 64 * k));
            HOLD("+v", x[k]);
        }
        __m512i any = _mm512_or_si512(_mm512_or_si512(x[0], x[1]), _mm512_or_si512(x[2], x[3]));
        if (_mm512_test_epi64_mask(any, any))
#pragma GCC unroll 4
            for (unsigned k = 0; k < 4; k++) {
                uint64_t mask = _mm512_test_epi8_mask(x[k], x[k]);
                if (mask)
                    return i + 64 * k + (unsigned)__builtin_ctzll(mask);
            }
    }
    for (; i < size; i += 64) {
        uint64_t left = size - i;
        __mmask64 part = left >= 64 ? UINT64_MAX : (1ull << left) - 1;
        uint64_t mask = _mm512_cmpneq_epi8_mask(_mm512_maskz_loadu_epi8(part, a + i), _mm512_maskz_loadu_epi8(part, b + i));
        if (mask)
            return i + (unsigned)__builtin_ctzll(mask);
    }
    return size;
}

AVX2 static uint64_t differ_avx2(const uint8_t *a, const uint8_t *b, uint64_t size)
{
    uint64_t i = 0;
    for (; size - i >= 128; i += 128) {
        __m256i x[4];
#pragma GCC unroll 4
        for (unsigned k = 0; k < 4; k++) {
            x[k] = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(a + i + 32 * k)),
                                    _mm256_loadu_si256((const __m256i *)(const void *)(b + i + 32 * k)));
            HOLD("+x", x[k]);
        }
        __m256i any = _mm256_or_si256(_mm256_or_si256(x[0], x[1]), _mm256_or_si256(x[2], x[3]));
        if (!_mm256_testz_si256(any, any))
#pragma GCC unroll 4
            for (unsigned k = 0; k < 4; k++) {
                uint32_t mask = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x[k], _mm256_setzero_si256()));
                if (mask)
                    return i + 32 * k + (unsigned)__builtin_ctz(mask);
            }
    }
    return i + differ_portable(a + i, b + i, size - i);
}
#endif

static uint64_t (*differ)(const uint8_t *a, const uint8_t *b, uint64_t size) = differ_portable;

bool idxdd_compare_force(const char *kernel)
{
    if (strcmp(kernel, "portable") == 0) {
        differ = differ_portable;
        return true;
    }
#if defined(__x86_64__)
    if (strcmp(kernel, "avx2") == 0 && __builtin_cpu_supports("avx2")) {
        differ = differ_avx2;
        return true;
    }
    if (strcmp(kernel, "avx512") == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        differ = differ_avx512;
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
    (void)(idxdd_compare_force("avx512") || idxdd_compare_force("avx2"));
}

uint64_t idxdd_differ(const uint8_t *a, const uint8_t *b, uint64_t size) { return differ(a, b, size); }

static enum idxdd_step finish(struct idxdd_operation *op, uint8_t result, uint64_t offset)
{
    bool expected = !(idxdd_flags(op->desc) & IDXDD_FLAG_CR) || result == (op->desc[40] & 1);
    op->status = expected ? IDXDD_STATUS_SUCCESS : IDXDD_STATUS_SUCCESS_PRED;
    op->result = result;
    op->bytes_completed = (uint32_t)offset;
    return IDXDD_DONE;
}

enum idxdd_step idxdd_step_compare(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t one = desc_address1(op->desc), two = desc_address2(op->desc), size = desc_size(op->desc);
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *a = reach(op, one, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        const uint8_t *b = a ? reach(op, two, op->progress, false, IDXDD_OPERAND_SOURCE2, &n) : NULL;
        if (!b)
            return IDXDD_FAULT;
        uint64_t same = differ(a, b, n);
        advance(op, same);
        if (same < n)
            return finish(op, 1, op->progress);
        slice -= n;
    }
    return op->progress < size ? IDXDD_MORE : finish(op, 0, 0);
}

/* Against memory of our own that repeats the pattern: one more stream, but always in the first-level cache. */
#define REPEATED_BYTES 2048u

enum idxdd_step idxdd_step_compare_pattern(struct idxdd_operation *op, uint64_t slice)
{
    uint64_t src = desc_address1(op->desc), size = desc_size(op->desc);
    uint64_t repeated[REPEATED_BYTES / 8 + 1];      /* and one more, for any phase */
    for (unsigned i = 0; i < sizeof repeated / 8 && i < smaller(slice, size) / 8 + 2; i++)
        repeated[i] = load64(op->desc + 24);
    while (slice && op->progress < size) {
        uint64_t n = smaller(slice, size - op->progress);
        const uint8_t *at = reach(op, src, op->progress, false, IDXDD_OPERAND_SOURCE1, &n);
        if (!at)
            return IDXDD_FAULT;
        n = smaller(n, REPEATED_BYTES);
        uint64_t same = differ(at, (const uint8_t *)repeated + op->progress % 8, n);
        advance(op, same);
        if (same < n)
            return finish(op, 1, op->progress);
        slice -= n;
    }
    return op->progress < size ? IDXDD_MORE : finish(op, 0, 0);
}
