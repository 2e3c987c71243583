/* One client's work queue and buffers, for the benchmark's programs. Everything ends with the process when something fails. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <idxdd/client.h>

#include "bench.h"

#define WAIT_MS 10000

struct session {
    const char *program;
    struct idxdd_connection *connection;
    struct idxdd_wq *wq;
    struct idxdd_wq_facts facts;
};

static inline void session_open(struct session *session, const char *program, const char *wq_name)
{
    session->program = program;
    if (idxdd_connect(NULL, &session->connection) < 0 || idxdd_wq_open(session->connection, wq_name, &session->wq) < 0)
        die(program, idxdd_error());
    idxdd_wq_facts(session->wq, &session->facts);
}

static inline void *session_memory(struct session *session, size_t size)
{
    void *address;
    if (idxdd_alloc(session->connection, size, &address) < 0)
        die(session->program, idxdd_error());
    return address;
}

#endif
