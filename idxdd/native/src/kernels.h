/* Kernels that more than one operation uses, and for tests the choice among them, made by CPU before main. Private. */
#ifndef IDXDD_KERNELS_H
#define IDXDD_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* Offset of the first difference, or `size`. Each byte is read once. */
uint64_t idxdd_differ(const uint8_t *a, const uint8_t *b, uint64_t size);

/* "portable", "avx2", "avx512"; false: this CPU cannot. Of Fill also "string": patterns of 8 bytes, besides whichever of those is in use. */
bool idxdd_compare_force(const char *kernel);
bool idxdd_fill_force(const char *kernel);
bool idxdd_dualcast_force(const char *kernel);

#endif
