/* CRC kernels, one set per kind of CPU. Private.
 *
 * Convention    `reg` is the reflected register without inversion: the standard CRC is ~kernel(~seed, data).
 *               T10-DIF is not reflected and not inverted: `reg` is its CRC so far.
 * Copying       with `to`, each byte is read once, stored to `to` and the CRC is of what was stored, whoever writes `from` meanwhile.
 */
#ifndef IDXDD_CRC_KERNELS_H
#define IDXDD_CRC_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t idxdd_crc_function(uint64_t reg, uint8_t *to, const uint8_t *from, uint64_t size);

/* CRC-16/T10-DIF of a DIF block: a multiple of 128 bytes, or 8 more. `to` NULL: nothing is copied. */
typedef uint16_t idxdd_crc16_function(uint16_t reg, uint8_t *to, const uint8_t *from, uint64_t size);

struct idxdd_crc_kernels {
    const char *name;
    bool (*supported)(void);
    idxdd_crc_function *crc32c, *crc64nvme;             /* `to` is ignored */
    idxdd_crc_function *copy_crc32c, *copy_crc64nvme;
    idxdd_crc16_function *crc16t10;
};

/* Distances over which a folding kernel moves a 16-byte lane, in bytes. */
enum idxdd_fold { FOLD_16, FOLD_32, FOLD_48, FOLD_64, FOLD_128, FOLD_192, FOLD_256, FOLDS };

/* One polynomial: slicing tables, and for each distance d (bits) x^(d+63) and x^(d-1) mod P, reflected into 64 bits. */
struct idxdd_polynomial {
    uint64_t slices[8][256];
    uint64_t folds[FOLDS][2];
};

/* CRC-32C by folding and by the crc32 instruction at once: bytes a step folds, bytes it adds to each of three chains. */
enum {
    FOLD_STEP = 512, CHAIN_STEP = 80, CHAINED_STEPS = 16,
    CHAIN_BYTES = CHAIN_STEP * CHAINED_STEPS,
    CHAINED_BYTES = FOLD_STEP * CHAINED_STEPS + 3 * CHAIN_BYTES,
};
extern uint32_t idxdd_chains_over[3];           /* over 1, 2, 3 chains: x^(bits - 33) mod P, reflected; written once, before main */

extern struct idxdd_polynomial idxdd_poly32, idxdd_poly64;      /* written once, before main */
extern const struct idxdd_crc_kernels idxdd_crc_portable;
#if defined(__x86_64__)
extern const struct idxdd_crc_kernels idxdd_crc_pclmul, idxdd_crc_avx512;
#endif

/* T10-DIF, MSB first: slices[k][b] is byte b followed by k zero bytes; folds as above, {x^d, x^(d + 64)} mod P. */
enum idxdd_fold16 { FOLD16_8, FOLD16_16, FOLD16_32, FOLD16_48, FOLD16_64, FOLD16_128, FOLDS16 };

struct idxdd_polynomial16 {
    uint16_t slices[8][256];
    uint64_t folds[FOLDS16][2];
    uint64_t last[2];                                           /* x^80, x^64: from a lane to one word */
};

extern struct idxdd_polynomial16 idxdd_poly16;                  /* written once, before main */
idxdd_crc16_function idxdd_crc16_portable;
#if defined(__x86_64__)
idxdd_crc16_function idxdd_crc16_pclmul, idxdd_crc16_avx512;
#endif

/* With the kernel in use. */
uint16_t idxdd_crc16t10(uint16_t seed, uint8_t *to, const uint8_t *from, uint64_t size);

/* Standard CRCs (seed 0 -> standard value) of what was copied. */
uint32_t idxdd_copy_crc32c(uint32_t seed, void *to, const void *from, uint64_t size);
uint64_t idxdd_copy_crc64nvme(uint64_t seed, void *to, const void *from, uint64_t size);

#endif
