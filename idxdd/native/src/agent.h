/* The engine's end of the agents: what it asks them, and the windows through which an operation sees what they brought.
 *
 * Who writes what   the engine alone, everything here. Of the shared page it reads back only a slot's word and answer.
 * A context         holds one slot of its space's agent from the first address that is not mapped to its end; while a request is
 *                   under way it is in CONTEXT_AGENT and its portal stalls, so that its descriptors keep their order.
 * Time              a request not answered in time is cancelled and counts as a fault. One that was claimed cannot be: its
 *                   context is in limbo: it keeps its slot and its record back, and nobody waits for it any more.
 * Silence           an agent that let a request pass is asked nothing until it has heard the hail: a stopped client is waited for once.
 */
#ifndef IDXDD_AGENT_H
#define IDXDD_AGENT_H

#include "idxdd/operations.h"
#include "idxdd/shm.h"

struct idxdd_engine;
struct portal;
struct context;

#define AGENT_NO_SLOT UINT8_MAX

/* Client memory in a region of the slot's bounce buffer. */
struct window {
    uint64_t va, size;               /* size 0: none */
    uint8_t *at;
    uint64_t used;                   /* when: the one not used for longest is replaced */
    uint8_t write, dirty, operand;
};

enum stage { STAGE_STEP = 0, STAGE_STORE, STAGE_OUTCOME, STAGE_FETCH };
enum reply { REPLY_NONE = 0, REPLY_DONE, REPLY_LOST };

struct agent_request {
    uint16_t kind, flags;
    uint64_t address, source;
    uint32_t size, region;
};

struct agent_slot {
    struct agent_request request;    /* as it was made */
    uint32_t context;                /* whose; NONE: nobody's */
    uint8_t held;                    /* dropped: not used until the client has released it */
    uint8_t asked;                   /* a request is under way */
    uint8_t reply;                   /* enum reply: its end, not looked at yet */
    uint8_t writes;                  /* the request stores into client memory */
    uint8_t at_source;
    uint8_t stage, outcome;          /* enum stage, enum idxdd_step */
    bool refused;                    /* the fault of the last step is a rule's */
    uint8_t hopeless;                /* a store at `hopeless_at` has failed */
    uint32_t count;
    uint64_t sequence, deadline_ns, hopeless_at, clock;
    struct window window[IDXDD_AGENT_REGIONS];
    struct idxdd_operation before;   /* the last step: done again if its stores cannot all be made */
};

struct idxdd_agent {
    struct idxdd_agent *next;
    struct idxdd_agent_page *page;
    struct idxdd_space *space;
    int bell, doorbell;
    uint32_t asked;                  /* slots with a request under way */
    uint32_t waiting;                /* contexts that wait for a slot */
    uint32_t hail;
    uint64_t requests, timeout_ns;
    uint64_t patience_ns, patience_at_ns; /* how long it may still be waited for */
    struct agent_slot slot[IDXDD_AGENT_SLOTS];
};

enum help {
    HELP_DONE,                       /* *count bytes */
    HELP_WAITS,                      /* come again */
    HELP_NONE,                       /* no agent, or it did not answer */
};

struct idxdd_agent *idxdd_agent_new(struct idxdd_space *space, int memory_fd, int bell_fd, int doorbell_fd, uint64_t timeout_ns);
void idxdd_agent_free(struct idxdd_agent *agent);

/* The answer to `request`, which is made if none is under way; when there is an answer, `request` becomes the one it is to. */
enum help agent_help(struct idxdd_engine *e, struct portal *p, struct context *c, struct agent_request *request, uint32_t *count);
struct agent_slot *agent_slot(struct context *c);

/* A completion record into the client: the status byte is stored last. */
enum help agent_record(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t address, const uint8_t record[32]);

/* What a READ into region 0 brought. */
uint8_t *agent_memory(struct context *c);

/* Take the context's request back. False: the agent is inside. */
bool agent_cancel(struct idxdd_engine *e, struct context *c);

/* The context lets go of its slot, whatever is going on there. */
void agent_leave(struct idxdd_engine *e, struct context *c);

void agents_look(struct idxdd_engine *e);
int agents_sleep_ms(const struct idxdd_engine *e, int most);

#endif
