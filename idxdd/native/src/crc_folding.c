/* CRC by carry-less multiplication: 16-byte lanes (pclmul) or four of them in a register (avx512).
 *
 * A lane that lies d bits before another may be multiplied by x^d mod P and added to it: the CRC stays the same and the
 * data get shorter. What is left, 16 bytes and a tail, goes through the crc32 instruction or the slicing tables.
 * CRC-32C without copying is faster still with both at once (avx512).
 */
#include "crc_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#define PCLMUL_TARGET "avx,pclmul,sse4.2"            /* three operands: without the copies it is half as fast again */
#define AVX512_TARGET "avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq,pclmul,sse4.2"
#define PREFETCH_STEP 768u                           /* of CHAINED_BYTES, a step: 16 of them reach a little further */
#define INLINE(t) static inline __attribute__((always_inline, target(t)))

/* One word through the register. */
INLINE("avx,sse4.2") uint64_t word_step(const struct idxdd_polynomial *poly, bool wide, uint64_t reg, uint64_t word)
{
    if (!wide)
        return _mm_crc32_u64(reg, word);
    word ^= reg;
    reg = 0;
#pragma GCC unroll 8
    for (unsigned k = 0; k < 8; k++)
        reg ^= poly->slices[7 - k][word >> 8 * k & 0xFF];
    return reg;
}

/* Fewer than 64 bytes, or data too short to fold. */
INLINE("avx,sse4.2") uint64_t words(const struct idxdd_polynomial *poly, bool wide, uint64_t reg, uint8_t *to, const uint8_t *from,
                                uint64_t size)
{
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        __asm__("" : "+r"(word));               /* read once: the same word is stored and summed */
        if (to) {
            memcpy(to, &word, 8);
            to += 8;
        }
        reg = word_step(poly, wide, reg, word);
    }
    for (; size; size--, from++) {
        uint8_t byte = *(const volatile uint8_t *)from;
        if (to)
            *to++ = byte;
        reg = wide ? reg >> 8 ^ poly->slices[0][(reg ^ byte) & 0xFF] : _mm_crc32_u8((uint32_t)reg, byte);
    }
    return reg;
}

INLINE(PCLMUL_TARGET) __m128i load_lane(uint8_t *to, const uint8_t *from, uint64_t offset)
{
    __m128i lane = _mm_loadu_si128((const __m128i *)(const void *)(from + offset));
    __asm__("" : "+x"(lane));
    if (to)
        _mm_storeu_si128((__m128i *)(void *)(to + offset), lane);
    return lane;
}

INLINE(PCLMUL_TARGET) __m128i fold_lane(const struct idxdd_polynomial *poly, enum idxdd_fold distance, __m128i lane, __m128i onto)
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)poly->folds[distance]);
    return _mm_xor_si128(onto, _mm_xor_si128(_mm_clmulepi64_si128(lane, k, 0x00), _mm_clmulepi64_si128(lane, k, 0x11)));
}

/* The last lane and what follows it. */
INLINE(PCLMUL_TARGET) uint64_t finish(const struct idxdd_polynomial *poly, bool wide, __m128i lane, uint8_t *to, const uint8_t *from,
                                      uint64_t size)
{
    for (; size >= 16; size -= 16, from += 16) {
        lane = fold_lane(poly, FOLD_16, lane, load_lane(to, from, 0));
        if (to)
            to += 16;
    }
    uint64_t reg = word_step(poly, wide, 0, (uint64_t)_mm_cvtsi128_si64(lane));
    reg = word_step(poly, wide, reg, (uint64_t)_mm_extract_epi64(lane, 1));
    return words(poly, wide, reg, to, from, size);
}

INLINE(PCLMUL_TARGET) uint64_t fold_pclmul(const struct idxdd_polynomial *poly, bool wide, uint64_t reg, uint8_t *to,
                                           const uint8_t *from, uint64_t size)
{
    if (size < 64)
        return words(poly, wide, reg, to, from, size);
    __m128i x[4];
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        x[i] = load_lane(to, from, 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi64_si128((long long)reg));
    uint64_t at = 64;
    for (; size - at >= 64; at += 64)
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; i++)
            x[i] = fold_lane(poly, FOLD_64, x[i], load_lane(to, from, at + 16 * i));
    x[3] = fold_lane(poly, FOLD_48, x[0], x[3]);
    x[3] = fold_lane(poly, FOLD_32, x[1], x[3]);
    x[3] = fold_lane(poly, FOLD_16, x[2], x[3]);
    return finish(poly, wide, x[3], to ? to + at : NULL, from + at, size - at);
}

INLINE(AVX512_TARGET) __m512i load_lanes(uint8_t *to, const uint8_t *from, uint64_t offset)
{
    __m512i lanes = _mm512_loadu_si512(from + offset);
    __asm__("" : "+v"(lanes));
    if (to)
        _mm512_storeu_si512(to + offset, lanes);
    return lanes;
}

INLINE(AVX512_TARGET) __m512i fold_by(__m512i k, __m512i lanes, __m512i onto)
{
    __m512i low = _mm512_clmulepi64_epi128(lanes, k, 0x00), high = _mm512_clmulepi64_epi128(lanes, k, 0x11);
    return _mm512_ternarylogic_epi64(onto, low, high, 0x96);     /* xor of the three */
}

INLINE(AVX512_TARGET) __m512i constants(const struct idxdd_polynomial *poly, enum idxdd_fold distance)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)poly->folds[distance]));
}

/* Four registers to one, one to its last lane. */
INLINE(AVX512_TARGET) __m512i one_register(const struct idxdd_polynomial *poly, const __m512i x[4])
{
    __m512i y = fold_by(constants(poly, FOLD_192), x[0], x[3]);
    y = fold_by(constants(poly, FOLD_128), x[1], y);
    return fold_by(constants(poly, FOLD_64), x[2], y);
}

INLINE(AVX512_TARGET) __m128i one_lane(const struct idxdd_polynomial *poly, __m512i y)
{
    __m128i lane = _mm512_extracti32x4_epi32(y, 3);
    lane = fold_lane(poly, FOLD_48, _mm512_castsi512_si128(y), lane);
    lane = fold_lane(poly, FOLD_32, _mm512_extracti32x4_epi32(y, 1), lane);
    return fold_lane(poly, FOLD_16, _mm512_extracti32x4_epi32(y, 2), lane);
}

INLINE(AVX512_TARGET) uint64_t chain_step(uint64_t crc, const uint8_t *from)
{
#pragma GCC unroll 10
    for (unsigned i = 0; i < CHAIN_STEP / 8; i++) {
        uint64_t word;
        memcpy(&word, from + 8 * i, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    return crc;
}

/* Four streams at once are more than the prefetchers of a core follow: a step asks for its share of the next round, wherever it is. */
INLINE(AVX512_TARGET) void prefetch_next(const uint8_t *at)
{
#pragma GCC unroll 12
    for (unsigned i = 0; i < PREFETCH_STEP; i += 64)
        _mm_prefetch((const char *)at + i, _MM_HINT_T0);
}

/* CRC-32C without copying: the multiplier is the limit of folding, so meanwhile the crc32 instruction does three chains that lie
 * behind what is folded. They start at 0; what comes before a chain is multiplied over it in the end. */
INLINE(AVX512_TARGET) uint64_t fold_with_chains(uint64_t reg, const uint8_t *from)
{
    const struct idxdd_polynomial *poly = &idxdd_poly32;
    uint64_t crc[3] = {0};
    __m512i x[4], k = constants(poly, FOLD_256);
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        x[i] = load_lanes(NULL, from, 64 * i);
    x[0] = _mm512_xor_si512(x[0], _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)reg)));
    for (uint64_t n = 0; n < CHAINED_STEPS; n++) {
        prefetch_next(from + CHAINED_BYTES + n * PREFETCH_STEP);
        const uint8_t *folded = from + FOLD_STEP * n, *chain = from + FOLD_STEP * CHAINED_STEPS + CHAIN_STEP * n;
#pragma GCC unroll 3
        for (unsigned i = 0; i < 3; i++)
            crc[i] = chain_step(crc[i], chain + CHAIN_BYTES * i);
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; i++)
            x[i] = fold_by(k, x[i], load_lanes(NULL, folded, 256 + 64 * i));
        if (n + 1 < CHAINED_STEPS)
#pragma GCC unroll 4
            for (unsigned i = 0; i < 4; i++)
                x[i] = fold_by(k, x[i], load_lanes(NULL, folded, 512 + 64 * i));
    }
    reg = finish(poly, false, one_lane(poly, one_register(poly, x)), NULL, NULL, 0);
    const uint64_t before[3] = {reg, crc[0], crc[1]};
    __m128i word = _mm_setzero_si128();
#pragma GCC unroll 3
    for (unsigned i = 0; i < 3; i++) {
        __m128i over = _mm_cvtsi64_si128((long long)idxdd_chains_over[2 - i]);
        word = _mm_xor_si128(word, _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)before[i]), over, 0));
    }
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(word)) ^ crc[2];
}

INLINE(AVX512_TARGET) uint64_t fold_avx512(const struct idxdd_polynomial *poly, bool wide, uint64_t reg, uint8_t *to,
                                           const uint8_t *from, uint64_t size)
{
    for (; !wide && !to && size >= CHAINED_BYTES; size -= CHAINED_BYTES, from += CHAINED_BYTES)
        reg = fold_with_chains(reg, from);
    if (size < 256)
        return fold_pclmul(poly, wide, reg, to, from, size);
    __m512i x[4], k = constants(poly, FOLD_256);
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        x[i] = load_lanes(to, from, 64 * i);
    x[0] = _mm512_xor_si512(x[0], _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)reg)));
    uint64_t at = 256;
    for (; size - at >= 256; at += 256)
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; i++)
            x[i] = fold_by(k, x[i], load_lanes(to, from, at + 64 * i));
    __m512i y = one_register(poly, x);
    k = constants(poly, FOLD_64);
    for (; size - at >= 64; at += 64)
        y = fold_by(k, y, load_lanes(to, from, at));
    return finish(poly, wide, one_lane(poly, y), to ? to + at : NULL, from + at, size - at);
}

/* The four entries of a kernel: one inlined body, so that width and copying cost nothing at run time. */
#define ENTRIES(name, t) \
    __attribute__((target(t))) static uint64_t name##_32(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size) \
    { (void)to; return fold_##name(&idxdd_poly32, false, reg, NULL, from, size); } \
    __attribute__((target(t))) static uint64_t name##_64(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size) \
    { (void)to; return fold_##name(&idxdd_poly64, true, reg, NULL, from, size); } \
    __attribute__((target(t))) static uint64_t name##_copy32(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size) \
    { return fold_##name(&idxdd_poly32, false, reg, to, from, size); } \
    __attribute__((target(t))) static uint64_t name##_copy64(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size) \
    { return fold_##name(&idxdd_poly64, true, reg, to, from, size); }

ENTRIES(pclmul, PCLMUL_TARGET)
ENTRIES(avx512, AVX512_TARGET)

static bool pclmul_supported(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx");
}

static bool avx512_supported(void)
{
    return pclmul_supported() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("vpclmulqdq");
}

const struct idxdd_crc_kernels idxdd_crc_pclmul = {"pclmul", pclmul_supported, pclmul_32, pclmul_64, pclmul_copy32, pclmul_copy64,
                                                   idxdd_crc16_pclmul};
const struct idxdd_crc_kernels idxdd_crc_avx512 = {"avx512", avx512_supported, avx512_32, avx512_64, avx512_copy32, avx512_copy64,
                                                   idxdd_crc16_avx512};
#endif
