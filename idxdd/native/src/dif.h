/* The geometry of DIF and DIX operations (operations.md 9). Private. */
#ifndef IDXDD_DIF_H
#define IDXDD_DIF_H

#include "descriptor.h"

#define DIF_FIELD 8u                        /* follows each block: guard, application tag, reference tag; big-endian */
#define DIF_BLOCK_MAX 4104u

struct dif_layout {
    uint32_t block;                         /* data bytes */
    uint32_t source, destination;           /* bytes of one block there, with its field if it has one; destination 0: none */
};

static inline struct dif_layout dif_layout(const uint8_t *desc)
{
    static const uint16_t blocks[] = {512, 520, 4096, 4104};
    uint32_t block = blocks[desc[42] & 3];
    switch (idxdd_opcode(desc)) {
    case IDXDD_OPCODE_DIF_CHECK: return (struct dif_layout){block, block + DIF_FIELD, 0};
    case IDXDD_OPCODE_DIF_INS: return (struct dif_layout){block, block, block + DIF_FIELD};
    case IDXDD_OPCODE_DIF_STRP: return (struct dif_layout){block, block + DIF_FIELD, block};
    case IDXDD_OPCODE_DIF_UPDT: return (struct dif_layout){block, block + DIF_FIELD, block + DIF_FIELD};
    default: return (struct dif_layout){block, block, DIF_FIELD};      /* DIX Generate */
    }
}

#endif
