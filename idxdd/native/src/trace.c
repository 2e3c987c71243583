/* The trace: see tracer.h for who writes what, idxdd/trace.h for what a record says. */
#include "tracer.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execute.h"
#include "idxdd/spec.h"

#define COMPARE_CYCLES (1u << 25)        /* about 10 ms */
#define COMPARE_FIRST_NS 1000000u
#define WORDS (sizeof(struct idxdd_trace_record) / 8)

/* ---- the clock ------------------------------------------------------------------------------------------------------------------- */

static bool cycles_are_steady(void)
{
    uint32_t a, b, c, d = 0;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && d >> 8 & 1;
}

static void compare_clocks(struct tracer *t, uint64_t now_ns, uint64_t cycles)
{
    if (t->base_cycles && cycles > t->base_cycles && now_ns > t->base_ns)
        t->nanoseconds_per_cycle = ((now_ns - t->base_ns) << 32) / (cycles - t->base_cycles);
    t->base_ns = now_ns;
    t->base_cycles = cycles;
}

static uint64_t by_the_clock(struct tracer *t, uint64_t cycles)
{
    uint64_t now_ns = engine_now_ns();
    if (t->steady && (!t->base_cycles || now_ns - t->base_ns > COMPARE_FIRST_NS))
        compare_clocks(t, now_ns, cycles);
    return now_ns;
}

/* A record has two times at least, and reading the clock takes as long as a small move. */
static uint64_t now(struct tracer *t)
{
    uint64_t cycles = t->steady ? __builtin_ia32_rdtsc() : 0, passed = cycles - t->base_cycles, now_ns;
    if (t->nanoseconds_per_cycle && passed < COMPARE_CYCLES)
        now_ns = t->base_ns + (passed * t->nanoseconds_per_cycle >> 32);
    else
        now_ns = by_the_clock(t, cycles);
    t->fresh = true;
    return t->last_ns = now_ns > t->last_ns ? now_ns : t->last_ns;
}

/* Accepted now, or together with the one before it. */
uint64_t trace_accepted(struct idxdd_engine *e) { return e->tracer->fresh ? e->tracer->last_ns : now(e->tracer); }

/* Something took time: the next stamp is a new one. */
void trace_stale(struct idxdd_engine *e) { e->tracer->fresh = false; }

/* ---- notes ------------------------------------------------------------------------------------------------------------------------- */

static struct trace_notes *notes_of(struct idxdd_engine *e, const struct context *c) { return &e->tracer->notes[c - e->context]; }

/* The engines of a group take descriptors in rotation. */
static uint8_t next_engine(struct idxdd_engine *e, const struct wq *wq)
{
    uint64_t engines = wq->config.engines ? wq->config.engines : 1;
    uint8_t *last = &e->group_engine[wq->config.group % (sizeof e->group_engine)];
    uint64_t above = *last < 63 ? engines & UINT64_MAX << (*last + 1) : 0;
    return *last = (uint8_t)__builtin_ctzll(above ? above : engines);
}

void trace_dispatched(struct idxdd_engine *e, const struct portal *p, struct context *c, uint64_t accepted_ns)
{
    struct tracer *t = e->tracer;
    uint64_t dispatched_ns = t->fresh ? t->last_ns : now(t);
    *notes_of(e, c) = (struct trace_notes){
        .id = ++e->trace_id, .accepted_ns = accepted_ns ? accepted_ns : dispatched_ns, .dispatched_ns = dispatched_ns,
        .engine = next_engine(e, &e->wq[p->wq]),
    };
    c->traced = 1;
}

void trace_batch_begins(struct idxdd_engine *e, struct context *c)
{
    e->tracer->batch[c - e->context] = *notes_of(e, c);
    c->batch_traced = 1;
    c->traced = 0;
}

void trace_batch_ends(struct idxdd_engine *e, struct context *c)
{
    *notes_of(e, c) = e->tracer->batch[c - e->context];
    c->traced = 1;
    c->batch_traced = 0;
}

void trace_member(struct idxdd_engine *e, struct context *c)
{
    struct tracer *t = e->tracer;
    const struct trace_notes *batch = &t->batch[c - e->context];
    *notes_of(e, c) = (struct trace_notes){
        .id = ++e->trace_id, .batch = batch->id, .accepted_ns = batch->accepted_ns, .dispatched_ns = t->fresh ? t->last_ns : now(t),
        .engine = batch->engine, .flags = IDXDD_TRACE_MEMBER,
    };
    c->traced = 1;
}

void trace_fault(struct idxdd_engine *e, const struct context *c)
{
    struct trace_notes *notes = notes_of(e, c);
    if (notes->first_fault_ns)
        return;
    notes->first_fault_ns = now(e->tracer);
    notes->fault_address = c->op.fault_address;
    notes->operand = c->op.fault_operand;
    notes->flags |= c->op.fault_write ? IDXDD_TRACE_FAULT_WRITE : 0;
}

void trace_by_agent(struct idxdd_engine *e, const struct context *c) { notes_of(e, c)->flags |= IDXDD_TRACE_AGENT; }

void trace_written(struct idxdd_engine *e, const struct context *c, const uint8_t record[32])
{
    struct trace_notes *notes = notes_of(e, c);
    memcpy(notes->record, record, 32);
    notes->recorded = 1;
    notes->flags |= IDXDD_TRACE_RECORD_WRITTEN;
    notes->written_ns = now(e->tracer);
}

void trace_interrupt(struct idxdd_engine *e, const struct context *c) { notes_of(e, c)->interrupt_ns = now(e->tracer); }

/* The first counts. */
void trace_rule(struct idxdd_engine *e, const struct context *c, uint32_t rule)
{
    if (!notes_of(e, c)->rule)
        notes_of(e, c)->rule = rule;
}

void trace_dropped(struct idxdd_engine *e, const struct context *c) { notes_of(e, c)->flags |= IDXDD_TRACE_DROPPED; }

/* ---- why ---------------------------------------------------------------------------------------------------------------------------- */

static uint8_t refused_because(const struct idxdd_operation *op)
{
    static const uint8_t row[] = {
        [IDXDD_STATUS_CRA_ALIGN] = IDXDD_WHY_RECORD_ALIGNMENT, [IDXDD_STATUS_PRIV_BAD] = IDXDD_WHY_PRIVILEGE,
        [IDXDD_STATUS_BAD_OPCODE] = IDXDD_WHY_OPCODE, [IDXDD_STATUS_INVALID_FLAGS] = IDXDD_WHY_FLAGS,
        [IDXDD_STATUS_NOZERO_RESERVE] = IDXDD_WHY_RESERVED, [IDXDD_STATUS_NO_PASID] = IDXDD_WHY_NO_PASID,
        [IDXDD_STATUS_XFER_ERANGE] = IDXDD_WHY_SIZE, [IDXDD_STATUS_DESC_CNT_ERANGE] = IDXDD_WHY_COUNT,
        [IDXDD_STATUS_DR_ERANGE] = IDXDD_WHY_FIELD_VALUE, [IDXDD_STATUS_DESCLIST_ALIGN] = IDXDD_WHY_LIST_ALIGNMENT,
        [IDXDD_STATUS_ADDR_ALIGN] = IDXDD_WHY_ALIGNMENT, [IDXDD_STATUS_DCAST_ERR] = IDXDD_WHY_DUALCAST_BITS,
        [IDXDD_STATUS_OVERLAP_BUFFERS] = IDXDD_WHY_OVERLAP, [IDXDD_STATUS_INT_HANDLE_INVAL] = IDXDD_WHY_HANDLE,
    };
    uint8_t code = op->status & IDXDD_STATUS_CODE_MASK, opcode = idxdd_opcode(op->desc);
    uint32_t flags = idxdd_flags(op->desc);
    if (code == IDXDD_STATUS_TRAFFIC_CLASS_CONF) {
        bool record = flags & FLAG_CRAV && !(op->limits->tc_enabled >> ((flags & IDXDD_FLAG_CR_TCS) != 0) & 1);
        return record ? IDXDD_WHY_RECORD_TRAFFIC_CLASS : IDXDD_WHY_TRAFFIC_CLASS;
    }
    bool never = opcode == OP_BATCH || opcode == OP_DRAIN || opcode == IDXDD_OPCODE_UPDATE_WINDOW;
    if (code == IDXDD_STATUS_BAD_OPCODE && op->batch_member && never)
        return IDXDD_WHY_OPCODE_IN_BATCH;
    if (code >= 0x29 && code <= 0x2d)
        return IDXDD_WHY_WINDOW;
    return code < sizeof row && row[code] ? row[code] : IDXDD_WHY_CHECK;
}

static uint8_t why_of(const struct context *c)
{
    if (c->why == IDXDD_WHY_CHECK)
        return refused_because(&c->op);
    if (c->report == DRAIN_LOGGED)
        return IDXDD_WHY_DRAIN_LOGGED;
    if (c->report == BATCH_LOGGED || (c->record_logged && c->report == RECORD_FAULT))
        return IDXDD_WHY_RECORD_LOGGED;
    if (c->why)
        return c->why;
    return (c->op.status & IDXDD_STATUS_CODE_MASK) == BATCH_FAILED ? IDXDD_WHY_MEMBER_FAILED : IDXDD_WHY_CARRIED_OUT;
}

/* ---- records ------------------------------------------------------------------------------------------------------------------------ */

static void push(struct record_ring *t, const struct idxdd_trace_record *record)
{
    uint64_t n = atomic_load_explicit(&t->tail, memory_order_relaxed), words[WORDS];
    _Atomic uint64_t *to = (_Atomic uint64_t *)&t->record[n % t->size];
    memcpy(words, record, sizeof words);
    atomic_store_explicit(&t->claimed, n + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* partner: the reader's acquire fence in front of its look at `claimed` */
    for (unsigned i = 0; i < WORDS; i++)
        atomic_store_explicit(&to[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&t->tail, n + 1, memory_order_release);
}

static bool was_told(const struct context *c) { return c->report == DRAIN_LOGGED || c->report == BATCH_LOGGED || c->report == RECORD_FAULT; }

static struct idxdd_trace_record record_of(const struct portal *p, const struct context *c, const struct trace_notes *notes, uint8_t why)
{
    const struct idxdd_operation *op = &c->op;
    bool batch = idxdd_opcode(op->desc) == OP_BATCH;
    struct idxdd_trace_record record = {
        .id = notes->id, .batch = notes->batch, .accepted_ns = notes->accepted_ns, .dispatched_ns = notes->dispatched_ns,
        .first_fault_ns = notes->first_fault_ns, .written_ns = notes->written_ns, .interrupt_ns = notes->interrupt_ns,
        .fault_address = notes->fault_address, .pasid = op->pasid, .rule = notes->rule, .bytes_completed = op->bytes_completed,
        .invalid_flags = op->invalid_flags, .portal = (uint16_t)p->number, .member = (uint16_t)(notes->batch || batch ? c->place : 0),
        .vector = c->carries_interrupt ? (uint16_t)c->vector : UINT16_MAX, .wq = (uint8_t)p->wq, .engine = notes->engine,
        .status = op->status, .reported = c->report, .operand = notes->operand, .why = why,
        .flags = notes->flags | (op->priv ? IDXDD_TRACE_PRIV : 0),
    };
    memcpy(record.desc, op->desc, 64);
    if (op->withheld) { /* effective addresses are the other domain's secret */
        memset(record.desc + 16, 0, 16);
        record.fault_address = 0;
    }
    if (notes->recorded)
        memcpy(record.record, notes->record, 32);
    else
        idxdd_record(op, record.record);
    return record;
}

static void put(struct idxdd_engine *e, const struct portal *p, const struct context *c, const struct trace_notes *notes, uint8_t why)
{
    struct idxdd_trace_record record = record_of(p, c, notes, why);
    push(&e->tracer->ring, &record);
}

/* It did not end well: kept apart, so that the last errors can be asked for without a trace. */
void error_ended(struct idxdd_engine *e, const struct portal *p, const struct context *c)
{
    const struct idxdd_operation *op = &c->op;
    bool faulted = op->fault_address && why_of(c) >= IDXDD_WHY_FAULT;
    struct trace_notes untraced = {
        .fault_address = faulted ? op->fault_address : 0, .operand = faulted ? op->fault_operand : 0,
        .flags = (uint8_t)((c->in_batch ? IDXDD_TRACE_MEMBER : 0) | (faulted && op->fault_write ? IDXDD_TRACE_FAULT_WRITE : 0)
                           | (c->record_written ? IDXDD_TRACE_RECORD_WRITTEN : 0)),
        .batch = c->in_batch,
    };
    struct trace_notes notes = c->traced ? *notes_of(e, c) : untraced;
    if (!notes.written_ns)
        notes.written_ns = engine_now_ns();
    struct idxdd_trace_record record = record_of(p, c, &notes, why_of(c));
    record.batch = c->traced ? notes.batch : 0;
    push(&e->errors, &record);
}

/* It has ended: by itself, or by a rule. */
void trace_ended(struct idxdd_engine *e, const struct portal *p, struct context *c)
{
    struct trace_notes *notes = notes_of(e, c);
    if (!notes->written_ns && !was_told(c) && !(notes->flags & IDXDD_TRACE_DROPPED))
        notes->written_ns = now(e->tracer);
    put(e, p, c, notes, why_of(c));
    c->traced = 0;
}

static void aborted(struct idxdd_engine *e, const struct portal *p, struct context *c, struct trace_notes *notes)
{
    c->op.status = 0;
    c->op.bytes_completed = 0;
    c->report = 0;
    put(e, p, c, notes, IDXDD_WHY_ABORTED);
}

/* A context that is taken away: the member at work, and its Batch. */
void trace_aborted(struct idxdd_engine *e, const struct portal *p, struct context *c)
{
    if (c->traced)
        aborted(e, p, c, notes_of(e, c));
    if (c->batch_traced) {
        memcpy(c->op.desc, c->batch_desc, 64);
        aborted(e, p, c, &e->tracer->batch[c - e->context]);
    }
    c->traced = c->batch_traced = 0;
}

/* Accepted, and aborted before a context took it. */
void trace_never_begun(struct idxdd_engine *e, const struct portal *p, const uint8_t desc[64], uint64_t accepted_ns)
{
    struct idxdd_trace_record record = {
        .id = ++e->trace_id, .accepted_ns = accepted_ns, .pasid = p->pasid, .portal = (uint16_t)p->number, .vector = UINT16_MAX,
        .wq = (uint8_t)p->wq, .why = IDXDD_WHY_ABORTED, .flags = p->priv ? IDXDD_TRACE_PRIV : 0,
    };
    memcpy(record.desc, desc, 64);
    push(&e->tracer->ring, &record);
}

/* ---- on, off ------------------------------------------------------------------------------------------------------------------------ */

/* Descriptors under way belong to no trace any more; those in queues have no time of acceptance. */
void trace_swap(struct idxdd_engine *e, struct tracer *tracer)
{
    for (uint32_t i = 0; i < IDXDD_CONTEXTS; i++)
        e->context[i].traced = e->context[i].batch_traced = 0;
    for (uint32_t i = 0; i < IDXDD_PORTALS_MAX; i++)
        if (e->portal[i])
            memset(e->portal[i]->queue_accepted_ns, 0, sizeof e->portal[i]->queue_accepted_ns);
    e->tracer = tracer;
}

static uint32_t swap(struct idxdd_engine *e, struct tracer *tracer)
{
    struct retired *retired = retired_new(e->tracer_set);
    struct request *r = retired ? request_new(e, REQUEST_TRACE) : NULL;
    if (!r) {
        int error = retired ? errno : ENOMEM;
        free(retired);
        free(tracer);
        errno = error;
        return 0;
    }
    r->tracer = tracer;
    e->tracer_set = tracer;
    retire(e, retired, r->id);
    return request_send(e, r);
}

uint32_t idxdd_engine_trace_on(struct idxdd_engine *e, uint32_t records)
{
    if (!records || records > IDXDD_TRACE_RECORDS_MAX) {
        errno = EINVAL;
        return 0;
    }
    uint64_t bytes = sizeof(struct tracer) + (uint64_t)records * sizeof(struct idxdd_trace_record);
    struct tracer *tracer = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!tracer) {
        errno = ENOMEM;
        return 0;
    }
    memset(tracer, 0, offsetof(struct tracer, notes)); /* the rest is written before it is read */
    tracer->ring.size = records;
    tracer->ring.record = tracer->record;
    tracer->steady = cycles_are_steady();
    return swap(e, tracer);
}

uint32_t idxdd_engine_trace_off(struct idxdd_engine *e) { return swap(e, NULL); }

static uint32_t pull(struct record_ring *t, struct idxdd_trace_record *out, uint32_t maximum, uint64_t *dropped)
{
    uint32_t n = 0;
    uint64_t tail = atomic_load_explicit(&t->tail, memory_order_acquire); /* partner: push */
    while (n < maximum && t->head != tail) {
        if (tail - t->head > t->size) {
            *dropped += tail - t->size - t->head;
            t->head = tail - t->size;
        }
        uint64_t words[WORDS];
        _Atomic uint64_t *from = (_Atomic uint64_t *)&t->record[t->head % t->size];
        for (unsigned i = 0; i < WORDS; i++)
            words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire); /* partner: push claims before it writes */
        if (atomic_load_explicit(&t->claimed, memory_order_relaxed) - t->head > t->size) {
            tail = atomic_load_explicit(&t->tail, memory_order_acquire);
            ++*dropped; /* overwritten while it was copied */
        } else {
            memcpy(&out[n++], words, sizeof words);
        }
        t->head++;
    }
    return n;
}

uint32_t idxdd_engine_trace_read(struct idxdd_engine *e, struct idxdd_trace_record *out, uint32_t maximum, uint64_t *dropped)
{
    *dropped = 0;
    return e->tracer_set ? pull(&e->tracer_set->ring, out, maximum, dropped) : 0;
}

uint32_t idxdd_engine_errors_read(struct idxdd_engine *e, struct idxdd_trace_record *out, uint32_t maximum, uint64_t *dropped)
{
    *dropped = 0;
    return pull(&e->errors, out, maximum, dropped);
}
