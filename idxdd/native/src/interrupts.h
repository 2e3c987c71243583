/* Interrupt vectors and the interrupt handle table, as the engine and the device loop use them.
 *
 * Who writes what   configuration (semaphore, mask, handles): the device loop. A vector's pending word: exchanged to 1 by
 *                   whoever raises it here, to 0 by idxdd-irq. The PBA bit (pba): exchanged on both sides of this file.
 * Order             make the cause visible, then raise: exchange(pending, 1), post the semaphore if it was 0
 *                   (protocols: interrupt vectors). Plain stores would lose interrupts.
 */
#ifndef IDXDD_INTERRUPTS_H
#define IDXDD_INTERRUPTS_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "idxdd/engine.h"

#define IDXDD_VECTORS_MAX (IDXDD_DEVICES_MAX * IDXDD_VECTORS_PER_DEVICE_MAX)

struct idxdd_vector {
    sem_t *_Atomic semaphore;
    _Atomic uint32_t *pending;
    _Atomic uint32_t masked;
    _Atomic uint32_t pba;
};

/* One word an entry, so that a change is seen whole: bit 63 valid, 62 ignore, 61 pasid_en, 51:32 pasid, 31:0 global vector. */
#define IDXDD_HANDLE_VALID (1ull << 63)
#define IDXDD_HANDLE_IGNORE (1ull << 62)
#define IDXDD_HANDLE_PASID_EN (1ull << 61)

struct idxdd_interrupts {
    struct idxdd_vector vector[IDXDD_VECTORS_MAX];
    _Atomic uint64_t handle[IDXDD_DEVICES_MAX][IDXDD_HANDLES_MAX];
};

int idxdd_vector_config(struct idxdd_interrupts *interrupts, uint32_t vector, const char *semaphore, _Atomic uint32_t *pending);
/* Forget an interrupt that waits behind the mask. */
void idxdd_vector_clear(struct idxdd_interrupts *interrupts, uint32_t vector);
bool idxdd_vector_mask(struct idxdd_interrupts *interrupts, uint32_t vector, bool masked);
/* True if the semaphore was posted. */
bool idxdd_vector_raise(struct idxdd_interrupts *interrupts, uint32_t vector);
void idxdd_interrupts_close(struct idxdd_interrupts *interrupts);

#endif
