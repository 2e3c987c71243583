/* The client's end of its agent: reaching this process's own memory for the device. Requests: shm.h, struct idxdd_agent_page. */
#ifndef IDXDD_SERVE_H
#define IDXDD_SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "idxdd/shm.h"

#define IDXDD_SERVER_SPIN_NS 50000u        /* how long the thread looks before it sleeps */

struct idxdd_server {
    struct idxdd_agent_page *page;
    const struct idxdd_published_device *published;
    uint64_t owner;                        /* the process; its children have neither the thread nor the mappings */
    int bell, doorbell;                    /* the device rings us; we ring the device */
    int pagemap, pipe[2];
    pthread_t thread;
    bool started, populates, lost;         /* lost: the thread waits for a page that nobody brings */
    _Atomic uint32_t stop;
    _Atomic uint32_t busy;                 /* one thread serves at a time */
    _Atomic uint64_t seen[2];              /* requests looked at: by waiters, by the thread */
};

/* 0 or -errno. The descriptors are duplicated. Without a thread, whoever calls look() serves. */
int idxdd_server_open(struct idxdd_server *server, int memory_fd, int bell_fd, int doorbell_fd, int published_fd, bool thread);
void idxdd_server_stop(struct idxdd_server *server);     /* end the thread; looking is still allowed */
bool idxdd_server_close(struct idxdd_server *server);    /* false: its thread does not come back; `server` must stay */

/* Serve what is asked. False: nothing. Only the thread may block, at pages that somebody has to bring. */
bool idxdd_server_look(struct idxdd_server *server, bool may_block);

/* Around a stretch of looking, in any thread: the device does not ring meanwhile. */
void idxdd_server_enter(struct idxdd_server *server);
void idxdd_server_leave(struct idxdd_server *server);

#endif
