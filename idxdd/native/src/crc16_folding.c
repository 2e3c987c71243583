/* CRC-16/T10-DIF by carry-less multiplication, as crc_folding.c: 16-byte lanes (pclmul) or four of them in a register (avx512).
 *
 * Most significant bit first: a lane's first byte is its highest, hence the byte reversal on each load, and then a lane is
 * high * x^64 + low. The constants have 16 bits, so a folded lane is short and the last one is soon a word.
 */
#include "crc_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#define PCLMUL_TARGET "avx,pclmul,sse4.2"            /* three operands: without the copies it is half as fast again */
#define AVX512_TARGET "avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq,pclmul,sse4.2"
#define INLINE(t) static inline __attribute__((always_inline, target(t)))
#define TARGET(t) __attribute__((target(t)))

INLINE(PCLMUL_TARGET) __m128i reversed(__m128i lane)
{
    return _mm_shuffle_epi8(lane, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

INLINE(PCLMUL_TARGET) __m128i load_lane(uint8_t *to, const uint8_t *from, uint64_t offset)
{
    __m128i lane = _mm_loadu_si128((const __m128i *)(const void *)(from + offset));
    __asm__("" : "+x"(lane));                   /* read once: the same lane is stored and summed */
    if (to)
        _mm_storeu_si128((__m128i *)(void *)(to + offset), lane);
    return reversed(lane);
}

INLINE(PCLMUL_TARGET) __m128i fold_lane(enum idxdd_fold16 distance, __m128i lane, __m128i onto)
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)idxdd_poly16.folds[distance]);
    return _mm_xor_si128(onto, _mm_xor_si128(_mm_clmulepi64_si128(lane, k, 0x00), _mm_clmulepi64_si128(lane, k, 0x11)));
}

/* lane * x^16 mod P: to 80 bits, to 64, and the rest by table. */
INLINE(PCLMUL_TARGET) uint16_t reduce(__m128i lane)
{
    __m128i k = _mm_loadu_si128((const __m128i *)(const void *)idxdd_poly16.last);
    __m128i low = _mm_slli_si128(_mm_move_epi64(lane), 2);
    lane = _mm_xor_si128(_mm_clmulepi64_si128(lane, k, 0x01), low);
    lane = _mm_xor_si128(_mm_clmulepi64_si128(lane, k, 0x11), lane);
    uint64_t word = (uint64_t)_mm_cvtsi128_si64(lane);
    uint16_t reg = (uint16_t)word;
#pragma GCC unroll 6
    for (unsigned k8 = 0; k8 < 6; k8++)
        reg ^= idxdd_poly16.slices[k8][word >> (16 + 8 * k8) & 0xFF];
    return reg;
}

/* The last lane and the 8 bytes that may follow it. */
INLINE(PCLMUL_TARGET) uint16_t finish(__m128i lane, uint8_t *to, const uint8_t *from, uint64_t at, uint64_t size)
{
    if (at < size) {
        __m128i word = _mm_loadl_epi64((const __m128i *)(const void *)(from + at));
        __asm__("" : "+x"(word));
        if (to)
            _mm_storel_epi64((__m128i *)(void *)(to + at), word);
        lane = fold_lane(FOLD16_8, lane, _mm_srli_si128(reversed(word), 8));
    }
    return reduce(lane);
}

INLINE(PCLMUL_TARGET) uint16_t fold_pclmul(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    __m128i x[4];
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        x[i] = load_lane(to, from, 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_set_epi64x((long long)((uint64_t)reg << 48), 0));
    uint64_t at = 64;
    for (; size - at >= 64; at += 64)
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; i++)
            x[i] = fold_lane(FOLD16_64, x[i], load_lane(to, from, at + 16 * i));
    x[3] = fold_lane(FOLD16_48, x[0], x[3]);
    x[3] = fold_lane(FOLD16_32, x[1], x[3]);
    x[3] = fold_lane(FOLD16_16, x[2], x[3]);
    return finish(x[3], to, from, at, size);
}

INLINE(AVX512_TARGET) __m512i load_lanes(uint8_t *to, const uint8_t *from, uint64_t offset)
{
    __m512i lanes = _mm512_loadu_si512(from + offset);
    __asm__("" : "+v"(lanes));
    if (to)
        _mm512_storeu_si512(to + offset, lanes);
    __m128i order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_shuffle_epi8(lanes, _mm512_broadcast_i32x4(order));
}

INLINE(AVX512_TARGET) __m512i fold_lanes(enum idxdd_fold16 distance, __m512i lanes, __m512i onto)
{
    __m512i k = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)idxdd_poly16.folds[distance]));
    __m512i low = _mm512_clmulepi64_epi128(lanes, k, 0x00), high = _mm512_clmulepi64_epi128(lanes, k, 0x11);
    return _mm512_ternarylogic_epi64(onto, low, high, 0x96);     /* xor of the three */
}

INLINE(AVX512_TARGET) uint16_t fold_avx512(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    __m512i x = load_lanes(to, from, 0), y = load_lanes(to, from, 64);
    __m128i seed = _mm_set_epi64x((long long)((uint64_t)reg << 48), 0);
    x = _mm512_xor_si512(x, _mm512_zextsi128_si512(seed));
    uint64_t at = 128;
    for (; size - at >= 128; at += 128) {
        x = fold_lanes(FOLD16_128, x, load_lanes(to, from, at));
        y = fold_lanes(FOLD16_128, y, load_lanes(to, from, at + 64));
    }
    y = fold_lanes(FOLD16_64, x, y);
    __m128i lane = _mm512_extracti32x4_epi32(y, 3);
    lane = fold_lane(FOLD16_48, _mm512_castsi512_si128(y), lane);
    lane = fold_lane(FOLD16_32, _mm512_extracti32x4_epi32(y, 1), lane);
    lane = fold_lane(FOLD16_16, _mm512_extracti32x4_epi32(y, 2), lane);
    return finish(lane, to, from, at, size);
}

/* Copying or not is decided outside the loops. */
TARGET(PCLMUL_TARGET) uint16_t idxdd_crc16_pclmul(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    return to ? fold_pclmul(reg, to, from, size) : fold_pclmul(reg, NULL, from, size);
}

TARGET(AVX512_TARGET) uint16_t idxdd_crc16_avx512(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    return to ? fold_avx512(reg, to, from, size) : fold_avx512(reg, NULL, from, size);
}
#endif
