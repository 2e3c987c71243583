/* Raising interrupts: see interrupts.h. */
#include "interrupts.h"

#include <errno.h>

int idxdd_vector_config(struct idxdd_interrupts *interrupts, uint32_t vector, const char *semaphore, _Atomic uint32_t *pending)
{
    if (vector >= IDXDD_VECTORS_MAX)
        return EINVAL;
    struct idxdd_vector *v = &interrupts->vector[vector];
    sem_t *sem = sem_open(semaphore, 0);
    if (sem == SEM_FAILED)
        return errno;
    sem_t *old = atomic_load(&v->semaphore);
    v->pending = pending;
    atomic_store(&v->semaphore, sem);
    if (old)
        sem_close(old);
    return 0;
}

bool idxdd_vector_raise(struct idxdd_interrupts *interrupts, uint32_t vector)
{
    struct idxdd_vector *v = &interrupts->vector[vector];
    sem_t *semaphore = atomic_load_explicit(&v->semaphore, memory_order_acquire);
    if (!semaphore)
        return false;
    if (atomic_load(&v->masked)) {
        atomic_store(&v->pba, 1);
        /* unmasked meanwhile: idxdd_vector_mask has looked at pba before or after this store; exactly one of us sends it */
        if (atomic_load(&v->masked) || !atomic_exchange(&v->pba, 0))
            return false;
    }
    if (atomic_exchange(v->pending, 1))
        return false; /* the handler has not looked yet: coalesced */
    sem_post(semaphore);
    return true;
}

bool idxdd_vector_mask(struct idxdd_interrupts *interrupts, uint32_t vector, bool masked)
{
    struct idxdd_vector *v = &interrupts->vector[vector];
    atomic_store(&v->masked, masked);
    if (masked)
        return atomic_load(&v->pba);
    if (!atomic_exchange(&v->pba, 0))
        return false;
    idxdd_vector_raise(interrupts, vector);
    return true;
}

void idxdd_vector_clear(struct idxdd_interrupts *interrupts, uint32_t vector)
{
    atomic_store(&interrupts->vector[vector].pba, 0);
}

void idxdd_interrupts_close(struct idxdd_interrupts *interrupts)
{
    for (unsigned i = 0; i < IDXDD_VECTORS_MAX; i++) {
        sem_t *semaphore = atomic_exchange(&interrupts->vector[i].semaphore, NULL);
        if (semaphore)
            sem_close(semaphore);
    }
}
