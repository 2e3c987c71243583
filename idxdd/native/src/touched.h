/* Which memory a descriptor names: its operands as fault information counts them (operations.md 2), where they begin and how long they are. Private. */
#ifndef IDXDD_TOUCHED_H
#define IDXDD_TOUCHED_H

#include <stdbool.h>
#include <stdint.h>

struct touched {
    uint64_t address, size;
    uint8_t operand;                 /* OPERAND_*, spec.h */
    bool write;
};

#define TOUCHED_MAX 5u

/* Data, lists, seeds and readbacks first, in the order in which they are named, the completion record last. Returns how many. */
unsigned idxdd_touched(const uint8_t desc[64], struct touched out[TOUCHED_MAX]);

#endif
