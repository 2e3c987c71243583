/* CRC-16/T10-DIF: its tables, and the kernel that runs everywhere. */
#include "crc_kernels.h"

#include <string.h>

#define POLYNOMIAL 0x8BB7u

struct idxdd_polynomial16 idxdd_poly16;

static uint16_t times_x(uint16_t value) { return (uint16_t)(value << 1 ^ (value & 0x8000 ? POLYNOMIAL : 0)); }

static uint16_t power_of_x(unsigned exponent)
{
    uint16_t power = 1;
    while (exponent--)
        power = times_x(power);
    return power;
}

__attribute__((constructor)) static void prepare(void)
{
    static const uint8_t bytes[FOLDS16] = {8, 16, 32, 48, 64, 128};
    for (unsigned byte = 0; byte < 256; byte++) {
        uint16_t reg = (uint16_t)(byte << 8);
        for (unsigned k = 0; k < 8; k++) {
            for (unsigned bit = 0; bit < 8; bit++)
                reg = times_x(reg);
            idxdd_poly16.slices[k][byte] = reg;
        }
    }
    for (unsigned fold = 0; fold < FOLDS16; fold++) {
        idxdd_poly16.folds[fold][0] = power_of_x(bytes[fold] * 8u);
        idxdd_poly16.folds[fold][1] = power_of_x(bytes[fold] * 8u + 64);
    }
    idxdd_poly16.last[0] = power_of_x(80);
    idxdd_poly16.last[1] = power_of_x(64);
}

uint16_t idxdd_crc16_portable(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size)
{
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        __asm__("" : "+r"(word));               /* read once: the same word is stored and summed */
        if (to) {
            memcpy(to, &word, 8);
            to += 8;
        }
        word = __builtin_bswap64(word) ^ (uint64_t)reg << 48;
        reg = 0;
#pragma GCC unroll 8
        for (unsigned k = 0; k < 8; k++)
            reg ^= idxdd_poly16.slices[k][word >> 8 * k & 0xFF];
    }
    return reg;
}
