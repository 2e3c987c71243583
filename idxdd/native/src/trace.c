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
#define SMALL_BYTES 512u
#define SHARED_MAX 4u
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

/* As late as the last stamp, if little was done since: a few small descriptors that write no record share a time. */
static uint64_t now_or_just_before(struct tracer *t, uint64_t bytes)
{
    if (!t->fresh || bytes >= SMALL_BYTES || ++t->shared == SHARED_MAX) {
        t->shared = 0;
        return now(t);
    }
    return t->last_ns;
}

/* Accepted now, or together with the one before it. */
uint64_t trace_accepted(struct idxdd_engine *e) { return e->tracer->fresh ? e->tracer->last_ns : now(e->tracer); }

/* Something took time: the next stamp is a new one. */
void trace_stale(struct idxdd_engine *e) { e->tracer->fresh = false; }

/* ---- notes ------------------------------------------------------------------------------------------------------------------------- */

static struct trace_notes *notes_of(struct idxdd_engine *e, const struct context *c) { return &e->tracer->notes[c - e->context]; }

/* All but the record, which counts only once it was written. */
static void begin(struct trace_notes *notes, uint64_t id, uint64_t accepted_ns, uint64_t dispatched_ns)
{
    notes->id = id;
    notes->accepted_ns = accepted_ns;
    notes->dispatched_ns = dispatched_ns;
    notes->first_fault_ns = notes->written_ns = notes->interrupt_ns = notes->fault_address = 0;
    notes->rule = 0;
    notes->operand = notes->recorded = 0;
}

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
    struct trace_notes *notes = notes_of(e, c);
    begin(notes, ++e->trace_id, accepted_ns ? accepted_ns : dispatched_ns, dispatched_ns);
    notes->batch = 0;
    notes->engine = next_engine(e, &e->wq[p->wq]);
    notes->flags = 0;
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
    struct trace_notes *notes = notes_of(e, c);
    begin(notes, ++e->trace_id, batch->accepted_ns, t->fresh ? t->last_ns : now(t));
    notes->batch = batch->id;
    notes->engine = batch->engine;
    notes->flags = IDXDD_TRACE_MEMBER;
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

/* The words of a record that hold several fields: stored whole, because the reader may be looking. */
enum { WORD_FAULT = 7, WORD_OWNER = 8, WORD_COUNTS = 9, WORD_PLACE = 10, WORD_END = 11, WORD_DESC = 12, WORD_RECORD = 20 };
#define LIES_AT(field, word, byte) _Static_assert(offsetof(struct idxdd_trace_record, field) == 8 * (word) + (byte), #field)
LIES_AT(fault_address, WORD_FAULT, 0);
LIES_AT(pasid, WORD_OWNER, 0);
LIES_AT(rule, WORD_OWNER, 4);
LIES_AT(bytes_completed, WORD_COUNTS, 0);
LIES_AT(invalid_flags, WORD_COUNTS, 4);
LIES_AT(portal, WORD_PLACE, 0);
LIES_AT(member, WORD_PLACE, 2);
LIES_AT(vector, WORD_PLACE, 4);
LIES_AT(wq, WORD_PLACE, 6);
LIES_AT(engine, WORD_PLACE, 7);
LIES_AT(status, WORD_END, 0);
LIES_AT(reported, WORD_END, 1);
LIES_AT(operand, WORD_END, 2);
LIES_AT(why, WORD_END, 3);
LIES_AT(flags, WORD_END, 4);
LIES_AT(desc, WORD_DESC, 0);
LIES_AT(record, WORD_RECORD, 0);

/* Operations whose success needs no more than the first eight bytes of a record: most descriptors. */
#define PLAIN \
    (1ull << OP_BATCH | 1ull << OP_DRAIN | 1ull << IDXDD_OPCODE_NOOP | 1ull << IDXDD_OPCODE_MEMMOVE | 1ull << IDXDD_OPCODE_MEMFILL \
     | 1ull << IDXDD_OPCODE_COMPARE | 1ull << IDXDD_OPCODE_COMPVAL | 1ull << IDXDD_OPCODE_DUALCAST)

static _Atomic uint64_t *claim(struct record_ring *ring)
{
    uint64_t n = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    _Atomic uint64_t *to = (_Atomic uint64_t *)&ring->record[ring->place];
    ring->place = ring->place + 1 == ring->size ? 0 : ring->place + 1;
    atomic_store_explicit(&ring->claimed, n + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* partner: the reader's acquire fence in front of its look at `claimed` */
    return to;
}

static void publish(struct record_ring *ring)
{
    uint64_t n = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    atomic_store_explicit(&ring->tail, n + 1, memory_order_release);
}

static void put(_Atomic uint64_t *to, unsigned word, uint64_t value) { atomic_store_explicit(&to[word], value, memory_order_relaxed); }

static inline void put_bytes(_Atomic uint64_t *to, unsigned word, const uint8_t *bytes, unsigned words)
{
#pragma GCC unroll 8
    for (unsigned i = 0; i < words; i++)
        put(to, word + i, get64(bytes + 8 * i));
}

static void put_times(_Atomic uint64_t *to, const struct trace_notes *notes)
{
    const uint64_t times[] = {notes->id, notes->batch, notes->accepted_ns, notes->dispatched_ns, notes->first_fault_ns, notes->written_ns,
                              notes->interrupt_ns, notes->fault_address};
#pragma GCC unroll 8
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        put(to, i, times[i]);
}

static void put_record(_Atomic uint64_t *to, const struct context *c, const struct trace_notes *notes)
{
    const struct idxdd_operation *op = &c->op;
    uint8_t opcode = idxdd_opcode(op->desc), bytes[32];
    if (notes->recorded) {
        put_bytes(to, WORD_RECORD, notes->record, 4);
    } else if (op->status == OK && opcode < 64 && PLAIN >> opcode & 1) {
        put(to, WORD_RECORD, op->status | (uint64_t)op->result << 8 | (uint64_t)op->bytes_completed << 32);
        for (unsigned i = 1; i < 4; i++)
            put(to, WORD_RECORD + i, 0);
    } else {
        idxdd_record(op, bytes);
        put_bytes(to, WORD_RECORD, bytes, 4);
    }
}

static void write_record(struct record_ring *ring, const struct portal *p, const struct context *c, const struct trace_notes *notes, uint8_t why)
{
    const struct idxdd_operation *op = &c->op;
    _Atomic uint64_t *to = claim(ring);
    bool is_member = notes->flags & IDXDD_TRACE_MEMBER;
    uint64_t member = (is_member ? c->place : idxdd_opcode(op->desc) == OP_BATCH ? c->member : 0) & 0xffffu;
    uint64_t vector = c->carries_interrupt ? c->vector & 0xffffu : UINT16_MAX;
    uint64_t flags = notes->flags | (op->priv ? IDXDD_TRACE_PRIV : 0);
    put_times(to, notes);
    put(to, WORD_OWNER, op->pasid | (uint64_t)notes->rule << 32);
    put(to, WORD_COUNTS, op->bytes_completed | (uint64_t)op->invalid_flags << 32);
    put(to, WORD_PLACE, p->number | member << 16 | vector << 32 | (uint64_t)p->wq << 48 | (uint64_t)notes->engine << 56);
    put(to, WORD_END, op->status | (uint64_t)c->report << 8 | (uint64_t)notes->operand << 16 | (uint64_t)why << 24 | flags << 32);
    put_bytes(to, WORD_DESC, op->desc, 8);
    put_record(to, c, notes);
    if (op->withheld >> notes->operand & 1)
        put(to, WORD_FAULT, 0); /* where it lies is the other domain's secret */
    publish(ring);
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
    };
    untraced.rule = inject_rule_of(e, c);
    struct trace_notes notes = c->traced ? *notes_of(e, c) : untraced;
    if (!notes.written_ns)
        notes.written_ns = engine_now_ns();
    write_record(&e->errors, p, c, &notes, why_of(c));
}

static bool was_told(const struct context *c) { return c->report == DRAIN_LOGGED || c->report == BATCH_LOGGED || c->report == RECORD_FAULT; }

/* It has ended: by itself, or by a rule. */
void trace_ended(struct idxdd_engine *e, const struct portal *p, struct context *c)
{
    struct trace_notes *notes = notes_of(e, c);
    if (!notes->written_ns && !was_told(c) && !(notes->flags & IDXDD_TRACE_DROPPED))
        notes->written_ns = now_or_just_before(e->tracer, c->op.bytes_moved);
    write_record(&e->tracer->ring, p, c, notes, why_of(c));
    c->traced = 0;
}

static void aborted(struct idxdd_engine *e, const struct portal *p, struct context *c, struct trace_notes *notes)
{
    c->op.status = 0;
    c->op.bytes_completed = 0;
    c->report = 0;
    notes->flags &= (uint8_t)~IDXDD_TRACE_RECORD_WRITTEN;
    notes->recorded = 0;
    write_record(&e->tracer->ring, p, c, notes, IDXDD_WHY_ABORTED);
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
    struct context never = {.op = {.pasid = p->pasid, .priv = p->priv}};
    struct trace_notes notes = {.id = ++e->trace_id, .accepted_ns = accepted_ns};
    memcpy(never.op.desc, desc, 64);
    write_record(&e->tracer->ring, p, &never, &notes, IDXDD_WHY_ABORTED);
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
