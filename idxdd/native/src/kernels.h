/* For tests: the comparison and fill kernels, chosen by CPU before main. Private. */
#ifndef IDXDD_KERNELS_H
#define IDXDD_KERNELS_H

#include <stdbool.h>

/* "portable", "avx2", "avx512"; false: this CPU cannot. */
bool idxdd_compare_force(const char *kernel);
bool idxdd_fill_force(const char *kernel);

#endif
