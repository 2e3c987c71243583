/* Waiting in a client: the wake socket, and whoever of this process sleeps at it. See wait.c for the rules. */
#ifndef IDXDD_WAIT_H
#define IDXDD_WAIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "idxdd/shm.h"

struct idxdd_server;

#define IDXDD_SPIN_NS 40000u               /* how long a waiter looks before it sleeps */
#define IDXDD_YIELD_NS 2000u               /* and from when on it yields between looks */
#define IDXDD_BELT_NS 100000000u           /* a sleeper looks at least so often, whatever the bell does */
#define IDXDD_ANSWER_NS 1000000000u        /* the longest wait for a word of the other side: answered, closed_at */
#define IDXDD_FENCED_NS 2000000000u        /* the longest wait for `fenced` */
#define IDXDD_GONE_LOOK_NS 10000000u       /* polling without sleeping looks for a dead daemon so often */

enum idxdd_wait {
    IDXDD_WAIT_DONE = 0,
    IDXDD_WAIT_TIMEOUT = 1,
    IDXDD_WAIT_CLOSED = 2,
    IDXDD_WAIT_GONE = 3,
    IDXDD_WAIT_INTERRUPTED = 4,            /* a signal arrived: the caller handles it and waits again */
    IDXDD_WAIT_FORKED = 5,                 /* the handle belongs to the parent process */
    IDXDD_WAIT_PENDING = -1,
};

/* Somebody who waits for one condition. `look` answers an enum idxdd_wait and, while pending, sets `number`:
 * the value of the other side's counter at which to be woken. It only loads; it is cheap. */
struct idxdd_waiter {
    int (*look)(struct idxdd_waiter *waiter);
    _Atomic uint64_t *wake_at;
    uint64_t target;                       /* the value of the other side's counter that is waited for */
    uint64_t number;                       /* the value to be woken at; `look` keeps it */
    uint64_t closed_ns;                    /* when `look` first saw the portal closed; 0 = has not */
    struct idxdd_waiter *next;
    _Atomic uint32_t nudged;               /* futex: changes when the waiter should look again */
    bool answered;                         /* `look` has said something other than pending */
    bool async;                            /* no thread: an event loop watches idxdd_bell_fd */
};

struct idxdd_bell {
    const struct idxdd_published_device *published;
    struct idxdd_server *_Atomic server;   /* NULL, or the agent that is served while waiting */
    int fd;                                /* our end of the wake socket; the daemon's and idxdd-irq's end rings */
    int kick;                              /* eventfd: makes the sleeping thread look again */
    int event;                             /* eventfd: makes the event loop look again */
    int set;                               /* epoll of fd and event; what an event loop watches; -1 until asked for */
    pthread_mutex_t lock;                  /* guards everything below, and every store to a wake_at */
    struct idxdd_waiter *first;
    bool polled;                           /* one thread sleeps at `fd` for all */
    _Atomic uint32_t over;                 /* 0, or what every waiter is told: IDXDD_WAIT_GONE, IDXDD_WAIT_CLOSED */
    _Atomic uint64_t looked_ns;
};

int idxdd_bell_open(struct idxdd_bell *bell, int wake_fd, const struct idxdd_published_device *published);
void idxdd_bell_close(struct idxdd_bell *bell);

/* Until waiter->look says something, at most timeout_ns. Any number of threads at once. */
int idxdd_bell_wait(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t timeout_ns);

/* Tell every waiter, now and later, that there is nothing more to wait for. */
void idxdd_bell_over(struct idxdd_bell *bell, uint32_t what);

/* Is the daemon gone? Asks the kernel at most every IDXDD_GONE_LOOK_NS. */
bool idxdd_bell_gone(struct idxdd_bell *bell);

/* Sleep for about pause_ns, less if the daemon ends; for words that nobody rings for. False: the daemon is gone. */
bool idxdd_bell_pause(struct idxdd_bell *bell, uint64_t pause_ns);

/* The same; false: a signal was handled meanwhile. */
bool idxdd_bell_nap(struct idxdd_bell *bell, uint64_t pause_ns);

/* Wait for a word that nobody rings for: spin, then short sleeps. False after limit_ns, or when the daemon is gone. */
bool idxdd_bell_until(struct idxdd_bell *bell, bool (*reached)(void *context), void *context, uint64_t limit_ns);

/* Event loops. Arm `waiter` (async) and return the fd to watch; -1: it need not wait; below -1: -errno - 1.
 * Forget disarms it, and has every other waiter look again. Drain, after the fd was readable, disarms it and empties what made the fd readable. */
int idxdd_bell_arm(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t target);
void idxdd_bell_forget(struct idxdd_bell *bell, struct idxdd_waiter *waiter);
void idxdd_bell_drain(struct idxdd_bell *bell, struct idxdd_waiter *waiter);

uint64_t idxdd_now_ns(void);

/* Orders a store before a later load of another word, on both sides of every protocol. */
static inline void idxdd_fence(void)
{
#ifdef __SANITIZE_THREAD__
    _Atomic uint32_t word = 0;             /* TSan knows no fences; a locked instruction is one */
    atomic_fetch_add(&word, 1);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void idxdd_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

#endif
