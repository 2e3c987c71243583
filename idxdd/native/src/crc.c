/* CRC-32C and CRC-64/NVME: the kernels' shared tables and the choice of the kernel by CPU. */
#include "crc_kernels.h"

#include "idxdd/operations.h"

#include <string.h>

#define REFLECTED32 0x82F63B78u                 /* 0x1EDC6F41, bits reversed */
#define REFLECTED64 0x9A6C9329AC4BC9B5ull       /* 0xAD93D23594C93659, bits reversed */

struct idxdd_polynomial idxdd_poly32, idxdd_poly64;
uint32_t idxdd_chains_over[3];

static const struct idxdd_crc_kernels *const available[] = {    /* best last */
    &idxdd_crc_portable,
#if defined(__x86_64__)
    &idxdd_crc_pclmul, &idxdd_crc_avx512,
#endif
};

static const struct idxdd_crc_kernels *kernel = &idxdd_crc_portable;

static uint64_t times_x(uint64_t reflected, uint64_t polynomial) { return reflected >> 1 ^ (reflected & 1 ? polynomial : 0); }

/* slices[k][b]: byte b followed by k zero bytes, so that eight bytes are eight look-ups. */
static void fill_slices(struct idxdd_polynomial *poly, uint64_t polynomial)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t reg = byte;
        for (unsigned bit = 0; bit < 8; bit++)
            reg = times_x(reg, polynomial);
        poly->slices[0][byte] = reg;
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint64_t reg = poly->slices[k - 1][byte];
            poly->slices[k][byte] = reg >> 8 ^ poly->slices[0][reg & 0xFF];
        }
}

/* A carry-less product of two reflected words comes out one x too high, hence the exponents one lower. */
static void fill_folds(struct idxdd_polynomial *poly, uint64_t polynomial, unsigned width)
{
    static const uint16_t bytes[FOLDS] = {16, 32, 48, 64, 128, 192, 256};
    for (unsigned fold = 0; fold < FOLDS; fold++) {
        uint64_t power = 1ull << (width - 1);   /* x^0 */
        unsigned distance = bytes[fold] * 8u;
        for (unsigned exponent = 0; exponent < distance - 1; exponent++)
            power = times_x(power, polynomial);
        poly->folds[fold][1] = power << (64 - width);
        for (unsigned exponent = 0; exponent < 64; exponent++)
            power = times_x(power, polynomial);
        poly->folds[fold][0] = power << (64 - width);
    }
}

/* A product of two 32-bit words is one x too high and the crc32 instruction multiplies by x^32, hence the 33. */
static void fill_chains(void)
{
    uint64_t power = 1u << 31;                  /* x^0 */
    unsigned exponent = 0;
    for (unsigned chains = 1; chains <= 3; chains++) {
        for (; exponent < chains * CHAIN_BYTES * 8u - 33; exponent++)
            power = times_x(power, REFLECTED32);
        idxdd_chains_over[chains - 1] = (uint32_t)power;
    }
}

bool idxdd_crc_force(const char *name)
{
    for (size_t i = 0; i < sizeof available / sizeof *available; i++)
        if (strcmp(available[i]->name, name) == 0 && available[i]->supported()) {
            __atomic_store_n(&kernel, available[i], __ATOMIC_RELAXED);
            return true;
        }
    return false;
}

const char *idxdd_crc_kernel(void) { return __atomic_load_n(&kernel, __ATOMIC_RELAXED)->name; }

__attribute__((constructor)) static void prepare(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    fill_slices(&idxdd_poly32, REFLECTED32);
    fill_slices(&idxdd_poly64, REFLECTED64);
    fill_folds(&idxdd_poly32, REFLECTED32, 32);
    fill_folds(&idxdd_poly64, REFLECTED64, 64);
    fill_chains();
    for (size_t i = 0; i < sizeof available / sizeof *available; i++)
        (void)idxdd_crc_force(available[i]->name);
}

#define KERNEL(which) __atomic_load_n(&kernel, __ATOMIC_RELAXED)->which

uint32_t idxdd_crc32c(uint32_t seed, const void *data, uint64_t size)
{
    return ~(uint32_t)KERNEL(crc32c)(~seed, NULL, data, size);
}

uint64_t idxdd_crc64nvme(uint64_t seed, const void *data, uint64_t size)
{
    return ~KERNEL(crc64nvme)(~seed, NULL, data, size);
}

uint16_t idxdd_crc16t10(uint16_t seed, uint8_t *to, const uint8_t *from, uint64_t size)
{
    return KERNEL(crc16t10)(seed, to, from, size);
}

uint32_t idxdd_copy_crc32c(uint32_t seed, void *to, const void *from, uint64_t size)
{
    return ~(uint32_t)KERNEL(copy_crc32c)(~seed, to, from, size);
}

uint64_t idxdd_copy_crc64nvme(uint64_t seed, void *to, const void *from, uint64_t size)
{
    return ~KERNEL(copy_crc64nvme)(~seed, to, from, size);
}
