/* Engine -> device loop: the exit ring and its bell. */
#include <unistd.h>

#include "engine_state.h"

struct idxdd_exit *exit_new(struct idxdd_engine *e, uint32_t kind, uint32_t id)
{
    /* There is always room: see IDXDD_EXITS. The engine must never wait for the loop. */
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
