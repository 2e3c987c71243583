/* Waiting for many semaphores at once: see vectors.h. */
#include "vectors.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES (64u * 1024u)

struct waiter {
    struct idxdd_vectors *all;
    uint64_t bit;
    sem_t *semaphore;
    pthread_t thread;
};

struct idxdd_vectors {
    _Atomic uint64_t fired;
    atomic_bool stopping;
    int bell;
    uint32_t opened, started;
    struct waiter waiter[IDXDD_WAITER_VECTORS_MAX];
};

static void *wait_vector(void *arg)
{
    struct waiter *w = arg;
    const uint64_t one = 1;
    for (;;) {
        if (sem_wait(w->semaphore) < 0)
            continue;                          /* EINTR only: the semaphore is ours */
        if (atomic_load(&w->all->stopping))
            return NULL;
        atomic_fetch_or(&w->all->fired, w->bit);
        (void)!write(w->all->bell, &one, sizeof one);
    }
}

static int start_waiter(struct waiter *w)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc)
        return rc;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    rc = pthread_create(&w->thread, &attr, wait_vector, w);
    pthread_attr_destroy(&attr);
    return rc;
}

struct idxdd_vectors *idxdd_vectors_open(const char *const *names, uint32_t count)
{
    int error = 0;
    if (count > IDXDD_WAITER_VECTORS_MAX) {
        errno = EINVAL;
        return NULL;
    }
    struct idxdd_vectors *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->bell < 0)
        error = errno;
    for (; !error && v->opened < count; v->opened++) {
        struct waiter *w = &v->waiter[v->opened];
        w->all = v;
        w->bit = UINT64_C(1) << v->opened;
        w->semaphore = sem_open(names[v->opened], 0);
        if (w->semaphore == SEM_FAILED) {
            error = errno;
            break;
        }
    }
    sigset_t every, before;                    /* signals are the main thread's */
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (; !error && v->started < count; v->started++)
        if ((error = start_waiter(&v->waiter[v->started])))
            break;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        idxdd_vectors_close(v);
        errno = error;
        return NULL;
    }
    return v;
}

int idxdd_vectors_bell(const struct idxdd_vectors *v)
{
    return v->bell;
}

uint64_t idxdd_vectors_fired(struct idxdd_vectors *v)
{
    uint64_t count;
    (void)!read(v->bell, &count, sizeof count);
    return atomic_exchange(&v->fired, 0);
}

void idxdd_vectors_close(struct idxdd_vectors *v)
{
    atomic_store(&v->stopping, true);
    for (uint32_t i = 0; i < v->started; i++) {
        sem_post(v->waiter[i].semaphore);      /* taken by that thread as its last: the count stays as it was */
        pthread_join(v->waiter[i].thread, NULL);
    }
    for (uint32_t i = 0; i < v->opened; i++)
        sem_close(v->waiter[i].semaphore);
    if (v->bell >= 0)
        close(v->bell);
    free(v);
}
