/* What the engine tells: exits and their bell to the device loop, bells to clients. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_state.h"

_Static_assert(2 * IDXDD_EXITS_KEPT + 1024 <= IDXDD_EXITS, "what descriptors may send fits twice, and acknowledgements beside it");

static uint32_t unread(const struct idxdd_engine *e)
{
    return atomic_load_explicit(&e->exit_tail, memory_order_relaxed) - atomic_load_explicit(&e->exit_head, memory_order_acquire);
}

/* May another request be served, which is acknowledged some time? A loop that asks and does not look is not answered. */
bool exits_have_room(const struct idxdd_engine *e)
{
    return unread(e) + (e->requests_taken - e->requests_done) + IDXDD_EXITS_KEPT < IDXDD_EXITS;
}

/* Is it time that the loop looks? Contexts that were parked and swept may have sent more than one each. */
bool exits_pile_up(const struct idxdd_engine *e) { return unread(e) > IDXDD_EXITS_KEPT; }

struct idxdd_exit *exit_new(struct idxdd_engine *e, uint32_t kind, uint32_t id)
{
    /* There is always room: see exits_have_room. The engine must never wait for the loop, nor overwrite what it has not read. */
    if (unread(e) >= IDXDD_EXITS)
        abort();
    struct idxdd_exit *exit = &e->exit[atomic_load_explicit(&e->exit_tail, memory_order_relaxed) % IDXDD_EXITS];
    *exit = (struct idxdd_exit){.kind = kind, .id = id, .context = NONE, .portal = NONE, .wq = NONE};
    return exit;
}

void exit_send(struct idxdd_engine *e)
{
    uint32_t tail = atomic_load_explicit(&e->exit_tail, memory_order_relaxed);
    atomic_store_explicit(&e->exit_tail, tail + 1, memory_order_release); /* partner: idxdd_engine_exits */
    e->exits_sent++;
}

void exits_ring(struct idxdd_engine *e)
{
    if (e->exits_rung == e->exits_sent)
        return;
    e->exits_rung = e->exits_sent;
    uint64_t one = 1;
    (void)!write(e->exit_bell, &one, sizeof one); /* full means it is readable already */
}

void acknowledge(struct idxdd_engine *e, uint32_t id)
{
    exit_new(e, IDXDD_EXIT_ACK, id);
    exit_send(e);
    e->requests_done++;
}

void portal_ring(struct portal *p)
{
    char byte = 1;
    (void)!send(p->wake, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* a full socket is readable already */
}
