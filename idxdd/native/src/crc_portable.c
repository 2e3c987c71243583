/* Slicing by eight: any CPU. Eight bytes are one load and eight look-ups. */
#include "crc_kernels.h"

#include <stddef.h>
#include <string.h>

static inline __attribute__((always_inline)) uint64_t sliced(const struct idxdd_polynomial *poly, uint64_t reg, uint8_t *to,
                                                             const uint8_t *from, uint64_t size)
{
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        __asm__("" : "+r"(word));               /* read once: the same word is stored and summed */
        if (to) {
            memcpy(to, &word, 8);
            to += 8;
        }
        word ^= reg;
        reg = 0;
#pragma GCC unroll 8
        for (unsigned k = 0; k < 8; k++)
            reg ^= poly->slices[7 - k][word >> 8 * k & 0xFF];
    }
    for (; size; size--, from++) {
        uint8_t byte = *(const volatile uint8_t *)from;
        if (to)
            *to++ = byte;
        reg = reg >> 8 ^ poly->slices[0][(reg ^ byte) & 0xFF];
    }
    return reg;
}

static uint64_t crc32c(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    (void)to;
    return sliced(&idxdd_poly32, reg, NULL, from, size);
}

static uint64_t crc64nvme(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    (void)to;
    return sliced(&idxdd_poly64, reg, NULL, from, size);
}

static uint64_t copy_crc32c(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    return sliced(&idxdd_poly32, reg, to, from, size);
}

static uint64_t copy_crc64nvme(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    return sliced(&idxdd_poly64, reg, to, from, size);
}

static bool supported(void) { return true; }

const struct idxdd_crc_kernels idxdd_crc_portable = {"portable", supported, crc32c, crc64nvme, copy_crc32c, copy_crc64nvme,
                                                     idxdd_crc16_portable};
