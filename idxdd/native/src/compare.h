/* For tests: the comparison kernel. Private. */
#ifndef IDXDD_COMPARE_H
#define IDXDD_COMPARE_H

#include <stdbool.h>

bool idxdd_compare_force(const char *kernel);   /* "portable", "avx2", "avx512"; false: this CPU cannot */

#endif
