/* The engine's own state; nothing here is shared with another process.
 *
 * Who writes what   the engine (its thread, or the device loop when it runs inline) writes everything but the request ring's
 *                   tail and entries (device loop) and the exit ring's head (device loop).
 * A descriptor is   in a portal slot -> accepted (portal queue) -> dispatched (context) -> finished. accepted = queued + contexts + finished.
 */
#ifndef IDXDD_ENGINE_STATE_H
#define IDXDD_ENGINE_STATE_H

#include <pthread.h>
#include <stdbool.h>

#include "agent.h"
#include "domains.h"
#include "idxdd/engine.h"
#include "idxdd/inject.h"
#include "idxdd/trace.h"
#include "interrupts.h"
#include "space.h"

#define IDXDD_EXITS 8192u                /* power of two */
#define IDXDD_EXITS_KEPT (IDXDD_CONTEXTS + IDXDD_PORTALS_MAX + IDXDD_RULE_EVENTS_MAX) /* one a context, one overflow a portal, events of rules */
#define IDXDD_REQUEST_RING 4096u         /* power of two; a resume for every context fits beside the loop's own requests */
#define IDXDD_DESCRIPTORS_PER_TURN 64u   /* of one portal, before the next portal's turn */
#define IDXDD_TURN_BYTES (4u * IDXDD_SLICE_BYTES) /* likewise: words shared with the client cross the cores once a turn, not once a slice */
#define IDXDD_DESCRIPTORS_PER_GRANT 8u   /* within a turn: the client fills slots while the engine works */
#define IDXDD_CONTEXTS_PER_PORTAL 32u    /* parked, waiting and running */
#define IDXDD_DRAINS_WAITING 256u        /* contexts of drains that wait: what they wait for needs some, too */
#define IDXDD_OVERFLOW_INTERVAL_NS 1000000
#define IDXDD_GRANT_MIN 4u               /* a share is not divided further, if the WQ holds so many */
#define IDXDD_WAKING_NS 200000           /* a portal that starved keeps its grant so long: its client may be waking up */
#define IDXDD_CLOSES 4u                  /* closes of one portal that can be under way at once: owner, WQ, administrator, shutdown */
#define IDXDD_BATCH_IDS 256u             /* batches that can have entries in the event log at the same time */
#define IDXDD_RINGS_MAX 16u              /* who does not come then has given up; a client that waits asks again by itself */
#define IDXDD_STARVING_MS 1              /* a sleep while somebody starves */
#define IDXDD_BELT_MS 1000               /* a sleep ends by itself after this */

#define IDXDD_LIST_CHUNK 16u             /* members fetched ahead: one request to an agent, and how far out of order they run */

/* Members of a batch that were fetched together. */
struct list_chunk {
    uint32_t first, count;           /* places in the list; count 0: nothing is fetched */
    uint16_t fenced;                 /* bit n: member n waits for all before it */
    uint8_t order[IDXDD_LIST_CHUNK];
    uint8_t desc[IDXDD_LIST_CHUNK][64];
};

enum context_state {
    CONTEXT_FREE = 0,
    CONTEXT_RUNNING,     /* goes on at its portal's next turn */
    CONTEXT_DRAINING,    /* a Drain, waiting for predecessors */
    CONTEXT_PARKED,      /* the device loop has it; idxdd_exit was sent */
    CONTEXT_HELD,        /* by a rule of fault injection (hold.c) */
    CONTEXT_AGENT,       /* its space's agent is asked for memory; its portal stalls */
};

/* Where a descriptor goes on. The phases of one descriptor, in order (operations.md section 1). */
enum phase {
    PHASE_CHECK,         /* rows 1 to 17 */
    PHASE_PROBE,         /* row 4: is the record reachable? */
    PHASE_RUN,
    PHASE_MEMBER,        /* Batch: fetch the next member */
    PHASE_DRAIN,
    PHASE_READBACK,
    PHASE_USERS,         /* Update Window: the table is changed; until nobody uses what was there */
    PHASE_CORRUPT,       /* a rule spoils what was written */
    PHASE_RECORD,
    PHASE_REPORT,        /* an error that the event log or SWERR must hear of */
    PHASE_INTERRUPT,
    PHASE_FINISHED,
};

struct context {
    struct idxdd_operation op;       /* the descriptor, or the batch member, at work */
    uint64_t batch_desc[8];          /* the Batch descriptor while a member is in op */
    uint64_t sequence;               /* order of acceptance within the WQ */
    uint32_t portal;
    uint32_t generation;             /* raised when the context is swept or reused; an answer carries it */
    uint32_t member, members;        /* of a batch: how many are done, and how many there are */
    uint32_t place;                  /* which one is in op: another than `member` only out of order */
    uint32_t next;                   /* free list, or the portal's list */
    uint8_t state, phase;
    uint8_t in_batch;                /* op is a member of batch_desc */
    uint8_t batch_failed;
    uint8_t record_written;
    uint8_t report;                  /* status to report, 0 = none */
    uint8_t slot;                    /* of the agent, AGENT_NO_SLOT: none */
    uint8_t limbo;                   /* the agent is inside and does not come out: nobody waits for it */
    uint8_t aborted;                 /* in limbo, and nothing is to be done when it comes out */
    uint8_t readback;                /* readbacks of a Drain that are done */
    uint8_t carries_interrupt;       /* completion interrupt may be raised: handle checked */
    uint8_t record_logged;           /* the record is nowhere: it goes to the event log instead */
    uint8_t batch_record_logged;     /* the Batch's own, while a member is in op */
    uint8_t batch_logged;            /* a member's record went to the event log */
    uint8_t batch_told;              /* an entry of this batch carried the first-error mark */
    uint8_t domain_uses;             /* IDPT entries that op has resolved */
    struct domain_use domain_use[2];
    uint8_t why;                     /* enum idxdd_why, where it was not the operation that decided; CHECK: the trace finds the row */
    uint8_t injected;                /* a rule has something in store for op, */
    uint8_t batch_injected;          /* for the Batch, while a member is in op */
    uint8_t traced, batch_traced;    /* likewise: the tracer has notes */
    uint16_t batch_id;               /* in the event log; IDXDD_BATCH_IDS: none yet */
    uint32_t vector;
};

/* Trace records, the oldest overwritten; see tracer.h for who writes what, and in which order. */
struct record_ring {
    uint64_t size;
    struct idxdd_trace_record *record;
    _Alignas(64) _Atomic uint64_t claimed, tail;
    uint64_t place;                  /* of record number `tail` */
    _Alignas(64) uint64_t head;
};

struct portal {
    struct idxdd_portal_client *client;     /* mapped read-only for us in effect: we never write it */
    struct idxdd_portal_device *device;
    struct idxdd_space *space;
    uint32_t number, wq, pasid;
    uint8_t priv, used, open, active, starving;
    uint8_t stalled;                 /* its context at work waits for the agent */
    uint32_t limbo;                  /* contexts in limbo */
    int doorbell, wake;
    uint64_t head;                   /* accepted: next number to take */
    uint64_t limit, limit_max;       /* granted now; the highest ever granted */
    uint64_t kept_until_ns;          /* an idle grant is not withdrawn before */
    uint64_t rung_at;                /* head when it was last granted out of the queue of the starving, and rung */
    uint32_t rings;                  /* so often without that it came */
    struct portal *starving_next;    /* who was turned away after it */
    uint32_t close_request[IDXDD_CLOSES], closes; /* to acknowledge when nothing is in flight any more */
    uint64_t dropped_seen, overflow_at_ns;
    uint32_t overflow_exit;          /* place of its last OVERFLOW in the exit ring */
    uint64_t rung;                   /* the wake_at that was rung for */
    uint32_t want_seen;
    uint32_t contexts, first_context;
    uint32_t current;                /* context at work, or NONE */
    uint32_t queue_head, queue_count;
    uint64_t descriptors, bytes, retries, errors, interrupts;
    uint64_t queue_sequence[IDXDD_PORTAL_SLOTS];
    uint64_t queue_accepted_ns[IDXDD_PORTAL_SLOTS]; /* while there is a trace; 0: not known */
    _Alignas(64) uint8_t queue[IDXDD_PORTAL_SLOTS][64];
};

struct wq {
    struct idxdd_wq_config config;
    struct idxdd_wq_statistics *statistics;
    struct portal **portals;
    uint32_t portal_count, portal_room, turn;
    uint32_t capacity;               /* size, or min(threshold, size) */
    uint32_t queued;                 /* accepted, not dispatched */
    uint32_t granted;                /* sum over portals of limit - head */
    uint32_t active;                 /* portals that showed work at their last look */
    uint32_t starving;               /* portals at their limit without a grant, */
    struct portal *starving_first, *starving_last; /* in the order in which they were turned away */
    uint32_t counter;                /* dispatch credit of this round: registers.md 3.2 */
    uint64_t sequence;               /* descriptors accepted so far */
    uint64_t finished;               /* so many of them, a member counts with its Batch */
    struct rule_table *meter;        /* its submissions are looked at, one by one: NULL or engine.rules */
    uint64_t ended;                  /* raised when an accepted descriptor is finished or aborted */
    uint64_t oldest, oldest_at;      /* what oldest_unfinished() said of oldest_pasid when `ended` was oldest_at; 0: nothing yet */
    uint32_t oldest_pasid;
    uint64_t deeds;                  /* accepted, advanced, granted, answered: a turn that did none of these was in vain */
    _Atomic uint64_t operations[IDXDD_COUNTED_OPERATIONS], statuses[IDXDD_COUNTED_STATUSES]; /* the device loop reads them */
    uint8_t enabled;                 /* accepts */
    uint32_t draining;               /* contexts in CONTEXT_DRAINING */
    uint64_t turn_bytes, turn_completed;
};

enum request_kind {
    REQUEST_WQ_ENABLE = 1, REQUEST_WQ_THRESHOLD, REQUEST_WQ_STOP, REQUEST_WQ_DRAIN, REQUEST_PASID_DRAIN, REQUEST_PASID_ABORT,
    REQUEST_AGENT_ADD, REQUEST_AGENT_REMOVE,
    REQUEST_RULES, REQUEST_TRACE,
    REQUEST_IDPT_SET,
    REQUEST_PORTAL_ADD, REQUEST_PORTAL_CLOSE, REQUEST_PORTAL_REOPEN, REQUEST_PORTAL_REMOVE, REQUEST_RESUME, REQUEST_BARRIER,
};

struct request {
    uint32_t kind, id;
    uint32_t target;                 /* wq, portal or context */
    uint32_t value;                  /* threshold, how, generation, ... */
    uint32_t reason, status;
    uint64_t wqs;                    /* bit mask of global WQ indices */
    struct portal *portal;
    struct idxdd_agent *agent;
    struct idxdd_space *space;
    struct idxdd_wq_config config;
    struct idxdd_idpt_entry idpt;
    struct rule_table *rules;
    struct injector *injector;
    struct tracer *tracer;
};

/* What the engine was given before, to be freed when it has acknowledged what it was given instead. */
struct retired {
    struct retired *next;
    uint32_t id;
    void *memory;
};

#define IDXDD_NO_PASID UINT32_MAX

/* A stop or drain that has not ended yet. */
struct waiter {
    uint32_t id;
    uint8_t used, all;               /* all: until nothing at all is in flight (stop); else until `before` */
    uint64_t wqs;
    uint32_t pasid;                  /* IDXDD_NO_PASID: any */
    uint64_t before[IDXDD_WQS_MAX];  /* sequence numbers: everything below must be finished */
};

#define IDXDD_WAITERS 64u
#define NONE UINT32_MAX
#define PORTAL_LEAVING 1         /* not a page: the number is in use until its removal is acknowledged */

struct idxdd_engine {
    struct idxdd_engine_options options;
    struct idxdd_interrupts interrupts;
    struct wq wq[IDXDD_WQS_MAX];
    struct portal *portal[IDXDD_PORTALS_MAX];
    struct context context[IDXDD_CONTEXTS];
    struct list_chunk list[IDXDD_CONTEXTS]; /* of the context of that number; apart, for most are never used */
    uint32_t free_context;
    uint32_t contexts_used, parked, drains;
    uint64_t batch_ids[IDXDD_BATCH_IDS / 64]; /* bit = in use */
    struct waiter waiter[IDXDD_WAITERS];
    struct idpt_slot idpt[IDXDD_DEVICES_MAX][IDXDD_IDPT_MAX];
    uint32_t waiters;
    uint32_t enabled_count;
    uint16_t order[IDXDD_WQS_MAX];   /* WQs with portals or enabled, by group */
    uint32_t order_count;

    struct rule_table *rules;        /* NULL: none (inject.c) */
    struct injector *injector;
    uint32_t held;                   /* contexts in CONTEXT_HELD */
    uint64_t events_sent;
    struct tracer *tracer;           /* NULL: no trace (trace.c) */
    uint64_t trace_id;               /* the last one given */
    struct record_ring errors;
    struct idxdd_trace_record error[IDXDD_ERRORS_KEPT];
    uint8_t group_engine[IDXDD_DEVICES_MAX * IDXDD_GROUPS_PER_DEVICE_MAX]; /* whose turn it was */

    struct idxdd_agent *agents;
    uint32_t agents_asked;           /* requests under way */
    uint64_t agents_answered;        /* or given up */
    bool limbo_changed;              /* a drain or stop may be over */

    int epoll, request_bell, exit_bell;
    uint64_t exits_rung;
    uint32_t starving;               /* WQs with a starving portal at the last visit */
    bool vain;                       /* a turn of the last visit did nothing */
    uint64_t now_ns;                 /* refreshed at each visit that did something slow enough to care */
    uint64_t visits, sleeps, exits_sent, requests_taken, requests_done, finished;
    uint32_t spin_ns;                /* adaptive, at most options.spin_us */

    _Alignas(64) _Atomic uint32_t request_head; /* engine */
    _Alignas(64) _Atomic uint32_t request_tail; /* loop */
    uint32_t request_id;             /* from here on: the device loop's */
    struct rule_table *rules_set;    /* what was asked for last */
    struct injector *injector_made;
    struct tracer *tracer_set;
    struct retired *retired;
    _Atomic uint64_t events_pulled;  /* INJECTED exits; the engine looks at it */
    struct idxdd_portal_device *page[IDXDD_PORTALS_MAX]; /* numbers in use */
    uint32_t leaving[IDXDD_PORTALS_MAX], leavers;         /* removal under way: its request */
    _Alignas(64) _Atomic uint32_t exit_tail;    /* engine */
    _Alignas(64) _Atomic uint32_t exit_head;    /* loop */
    _Alignas(64) _Atomic uint32_t running;      /* the thread shall go on */
    bool started;
    pthread_t thread;
    struct request request[IDXDD_REQUEST_RING];
    struct idxdd_exit exit[IDXDD_EXITS];
};

/* Faults on demand and traces are off as a rule: their code lies apart, and asking for them costs a branch that is not taken. */
#define seldom(condition) __builtin_expect(!!(condition), 0)
#define ASIDE __attribute__((noinline))
#define RARE __attribute__((noinline, cold))

static inline uint64_t get64(const uint8_t *p) { uint64_t v; __builtin_memcpy(&v, p, 8); return v; }
static inline uint32_t get32(const uint8_t *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
static inline uint16_t get16(const uint8_t *p) { uint16_t v; __builtin_memcpy(&v, p, 2); return v; }

/* A statistics word has one writer, so no read-modify-write is needed; readers only want whole values. */
static inline void count_up(_Atomic uint64_t *word, uint64_t by)
{ atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed); }

/* Granted and not accepted yet. By difference: after a garbage tail the numbers may wrap. */
static inline uint32_t portal_granted(const struct portal *p)
{ return (int64_t)(p->limit - p->head) > 0 ? (uint32_t)(p->limit - p->head) : 0; }

/* A portal has no more contexts than are left: a few portals with parked descriptors cannot take them all. */
static inline bool context_to_be_had(const struct idxdd_engine *e, const struct portal *p)
{ return p->contexts < IDXDD_CONTEXTS_PER_PORTAL && p->contexts < IDXDD_CONTEXTS - e->contexts_used; }

/* exits.c */
struct idxdd_exit *exit_new(struct idxdd_engine *e, uint32_t kind, uint32_t id);
bool exits_have_room(const struct idxdd_engine *e);
bool exits_pile_up(const struct idxdd_engine *e);
void exit_send(struct idxdd_engine *e);
void exits_ring(struct idxdd_engine *e);
void acknowledge(struct idxdd_engine *e, uint32_t id);
void portal_ring(struct portal *p);

/* grants.c */
void grant_metered(struct idxdd_engine *e, struct wq *wq, struct portal *p);
void grant_in_turn(struct wq *wq, struct portal *p);
bool grant_to_starving(struct idxdd_engine *e, struct wq *wq);
void grant_after_turn(struct idxdd_engine *e, struct wq *wq, struct portal *p);
void grant_set(struct wq *wq, struct portal *p, uint64_t limit);
void grant_portal_left(struct wq *wq, struct portal *p);
void portal_active(struct wq *wq, struct portal *p, bool active);

/* consumer.c */
uint32_t portal_accept(struct idxdd_engine *e, struct portal *p, uint64_t up_to);
void portals_sweep(struct idxdd_engine *e, struct wq *wq, const struct portal *but, uint32_t pasid);
void portal_take(struct portal *p, struct wq *wq, struct context *c);
bool portal_may_start(const struct idxdd_engine *e, struct wq *wq, const struct portal *p);
void portal_close(struct idxdd_engine *e, struct portal *p, uint32_t how, uint32_t reason);
void portal_reopen(struct portal *p);
void portal_settled(struct idxdd_engine *e, struct portal *p);
void portal_publish(struct portal *p);
void portal_overflow(struct idxdd_engine *e, struct portal *p, uint32_t count);
bool portal_has_work(struct idxdd_engine *e, const struct portal *p);
static inline uint64_t portal_in_flight(const struct portal *p) { return p->queue_count + p->contexts; }

/* execute.c */
enum advance { ADVANCE_MORE, ADVANCE_FINISHED, ADVANCE_PARKED, ADVANCE_WAITS };
struct context *context_new(struct idxdd_engine *e, struct portal *p);
void context_free(struct idxdd_engine *e, struct portal *p, struct context *c);
enum advance park_fault(struct idxdd_engine *e, struct portal *p, struct context *c, uint8_t operand, uint64_t address, bool write);
void context_start(struct idxdd_engine *e, struct portal *p, struct context *c);
enum advance context_advance(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t slice);
void context_resume(struct idxdd_engine *e, uint32_t index, uint32_t generation, uint32_t action, uint8_t status);
uint32_t portal_runnable(const struct idxdd_engine *e, const struct portal *p);

/* drain.c */
uint64_t oldest_unfinished(const struct idxdd_engine *e, const struct wq *wq, uint32_t pasid);
uint32_t drained_pasid(const struct wq *wq, const struct portal *p);
void drains_look(struct idxdd_engine *e);

/* domains.c */
uint8_t domains_resolve(const struct idxdd_engine *e, const struct portal *p, struct context *c);
bool domains_hold(const struct idxdd_engine *e, const struct context *c);
void idpt_set(struct idxdd_engine *e, const struct request *r);
void idpt_forget(struct idxdd_engine *e);
bool window_settled(struct idxdd_engine *e, const struct context *c);
ASIDE enum advance phase_users(struct idxdd_engine *e, struct portal *p, struct context *c);

/* requests.c */
struct request *request_new(struct idxdd_engine *e, uint32_t kind);
uint32_t request_send(struct idxdd_engine *e, const struct request *r);
struct retired *retired_new(void *memory);
void retire(struct idxdd_engine *e, struct retired *retired, uint32_t id);

/* rule_table.c */
bool meter_covers(const struct rule_table *table, const struct portal *p);
bool meter_refuses(struct rule_table *table, const struct portal *p);
void rules_swap(struct idxdd_engine *e, struct rule_table *table, struct injector *injector);
void injector_free(struct injector *injector);

/* inject.c: each only while `injected` (or rules, or batch_injected) says that there is something */
RARE bool inject_may_begin(const struct idxdd_engine *e);
RARE uint32_t inject_rule_of(const struct idxdd_engine *e, const struct context *c); /* at any time */
RARE enum advance inject_choose(struct idxdd_engine *e, struct portal *p, struct context *c);
RARE void inject_batch_begins(struct idxdd_engine *e, struct context *c);
RARE void inject_batch_ends(struct idxdd_engine *e, struct context *c);
RARE bool inject_record_refused(struct idxdd_engine *e, struct context *c);
RARE bool inject_readback_fails(struct idxdd_engine *e, struct context *c, uint8_t operand);
RARE bool inject_list_ends(struct idxdd_engine *e, struct context *c);
RARE enum idxdd_step inject_step(struct idxdd_engine *e, struct context *c, uint64_t slice, bool *refused);
RARE bool inject_faults(struct idxdd_engine *e, const struct context *c);
RARE enum advance inject_before_end(struct idxdd_engine *e, struct portal *p, struct context *c);
RARE enum advance inject_corrupt(struct idxdd_engine *e, struct portal *p, struct context *c);
RARE void inject_record(struct idxdd_engine *e, const struct context *c, uint8_t record[32]);
RARE enum advance inject_before_interrupt(struct idxdd_engine *e, struct portal *p, struct context *c);

/* hold.c */
enum advance context_hold(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t ns, uint64_t for_finished);
void held_leave(struct idxdd_engine *e, const struct context *c);
void held_go_on(struct idxdd_engine *e);
uint32_t held_look(struct idxdd_engine *e);
int held_sleep_ms(const struct idxdd_engine *e, int most);

/* trace.c: each only while there is a tracer, and (but for the first four and the last) `traced` says that it has notes */
ASIDE uint64_t trace_accepted(struct idxdd_engine *e);
ASIDE void trace_stale(struct idxdd_engine *e);
ASIDE void trace_never_begun(struct idxdd_engine *e, const struct portal *p, const uint8_t desc[64], uint64_t accepted_ns);
ASIDE void trace_dispatched(struct idxdd_engine *e, const struct portal *p, struct context *c, uint64_t accepted_ns);
ASIDE void trace_batch_begins(struct idxdd_engine *e, struct context *c);
ASIDE void trace_batch_ends(struct idxdd_engine *e, struct context *c);
ASIDE void trace_member(struct idxdd_engine *e, struct context *c);
ASIDE void trace_fault(struct idxdd_engine *e, const struct context *c);
ASIDE void trace_by_agent(struct idxdd_engine *e, const struct context *c);
ASIDE void trace_written(struct idxdd_engine *e, const struct context *c, const uint8_t record[32]);
ASIDE void trace_interrupt(struct idxdd_engine *e, const struct context *c);
ASIDE void trace_rule(struct idxdd_engine *e, const struct context *c, uint32_t rule);
ASIDE void trace_dropped(struct idxdd_engine *e, const struct context *c);
ASIDE void trace_ended(struct idxdd_engine *e, const struct portal *p, struct context *c);
ASIDE void error_ended(struct idxdd_engine *e, const struct portal *p, const struct context *c); /* whether there is a tracer or not */
ASIDE void trace_aborted(struct idxdd_engine *e, const struct portal *p, struct context *c);
ASIDE void trace_swap(struct idxdd_engine *e, struct tracer *tracer);

/* reached.c */
ASIDE enum advance run_with_agent(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t slice);

/* attend.c */
uint32_t serve_requests(struct idxdd_engine *e);
void waiters_look(struct idxdd_engine *e);
void portal_free(struct portal *p);

/* clock.c */
uint64_t engine_now_ns(void);

#endif
