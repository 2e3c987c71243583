/* One descriptor from dispatch to its end, as phases that can stop between slices and park at the device loop.
 *
 * Order             operations.md section 1: checks, work, record (payload first, status last with release), report, interrupt, done.
 * Parking           a fault or a report sends an exit and leaves the context PARKED; context_resume goes on with the phase it stood at.
 *                   An answer whose generation is not the context's does nothing.
 * Event log         a record that is nowhere (RESUME_RUN), a drain's while page requests are off, and the record of a batch with such a
 *                   member leave in an ERROR exit (0x1A, 0x26, 0x27); whoever reads the log writes the record and raises the interrupt.
 */
#include <string.h>

#include "execute.h"

struct context *context_new(struct idxdd_engine *e, struct portal *p)
{
    if (!context_to_be_had(e, p))
        return NULL;
    struct context *c = &e->context[e->free_context];
    e->free_context = c->next;
    c->next = p->first_context;
    p->first_context = (uint32_t)(c - e->context);
    p->contexts++;
    e->contexts_used++;
    c->portal = p->number;
    c->state = CONTEXT_RUNNING;
    c->slot = AGENT_NO_SLOT;
    c->batch_id = IDXDD_BATCH_IDS;
    return c;
}

void context_free(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    uint32_t index = (uint32_t)(c - e->context), *link = &p->first_context;
    while (*link != index)
        link = &e->context[*link].next;
    *link = c->next;
    if (c->state == CONTEXT_DRAINING) {
        e->wq[p->wq].draining--;
        e->drains--;
    }
    if (c->state == CONTEXT_PARKED)
        e->parked--;
    if (c->state == CONTEXT_AGENT && !c->limbo)
        p->stalled = 0;
    p->limbo -= c->limbo;
    if (c->state == CONTEXT_HELD)
        held_leave(e, c);
    if (c->slot != AGENT_NO_SLOT || c->state == CONTEXT_AGENT)
        agent_leave(e, c);
    if (seldom(c->traced | c->batch_traced))
        trace_aborted(e, p, c); /* one that ended has no notes any more */
    c->injected = c->batch_injected = 0;
    c->limbo = c->aborted = 0;
    if (c->batch_id != IDXDD_BATCH_IDS)
        e->batch_ids[c->batch_id / 64] &= ~(1ull << c->batch_id % 64);
    c->state = CONTEXT_FREE;
    c->generation++; /* a late answer finds another generation */
    c->next = e->free_context;
    e->free_context = index;
    p->contexts--;
    e->contexts_used--;
    e->wq[p->wq].ended++;
    if (p->current == index)
        p->current = NONE;
}

void context_begin(struct context *c)
{
    struct idxdd_operation *op = &c->op;
    /* In two parts, which the compiler turns into a few stores each; `domain` means something only where `foreign` says so. */
    memset((uint8_t *)op + offsetof(struct idxdd_operation, progress), 0, offsetof(struct idxdd_operation, domain) - offsetof(struct idxdd_operation, progress));
    memset(op->private_, 0, sizeof op->private_);
    op->batch_member = c->in_batch;
    c->readback = c->domain_uses = 0;
    c->why = c->injected = 0;
    c->record_written = c->report = c->carries_interrupt = c->record_logged = 0;
    c->phase = PHASE_CHECK;
}

void context_start(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct wq *wq = &e->wq[p->wq];
    c->op.space = p->space;
    c->op.limits = &wq->config.limits;
    c->op.pasid = p->pasid;
    c->op.priv = p->priv;
    c->in_batch = c->batch_failed = c->batch_logged = c->batch_told = 0;
    c->member = c->members = c->place = 0;
    context_begin(c);
}

static uint64_t record_address(const struct context *c) { return get64(c->op.desc + 8); }

static uint8_t *reach_record(struct context *c)
{
    uint64_t contiguous;
    uint8_t *record = idxdd_translate(c->op.space, record_address(c), true, &contiguous);
    return record && contiguous >= 32 ? record : NULL;
}

/* Row 16: the handle must be valid and its entry must agree with the WQ on PASID. */
bool handle_valid(struct idxdd_engine *e, struct context *c, uint32_t wq)
{
    uint16_t handle = get16(c->op.desc + 36);
    if (handle >= IDXDD_HANDLES_MAX)
        return false;
    uint64_t entry = atomic_load_explicit(&e->interrupts.handle[wq / IDXDD_WQS_PER_DEVICE_MAX][handle], memory_order_acquire);
    if (!(entry & IDXDD_HANDLE_VALID))
        return false;
    bool pasid_en = entry & IDXDD_HANDLE_PASID_EN;
    if (pasid_en != (bool)c->op.limits->pasid_enabled || (pasid_en && ((entry >> 32) & 0xfffffu) != c->op.pasid))
        return false;
    c->vector = (uint32_t)entry;
    c->carries_interrupt = 1;
    return true;
}

/* Ignore counts when the interrupt is due, not when the descriptor is checked (registers.md 3.3). */
static bool ignored(const struct idxdd_engine *e, const struct context *c, uint32_t wq)
{
    const _Atomic uint64_t *entry = &e->interrupts.handle[wq / IDXDD_WQS_PER_DEVICE_MAX][get16(c->op.desc + 36)];
    return atomic_load_explicit(entry, memory_order_relaxed) & IDXDD_HANDLE_IGNORE;
}

static enum advance park(struct idxdd_engine *e, struct portal *p, struct context *c, uint32_t kind)
{
    const struct idxdd_operation *op = &c->op;
    struct idxdd_exit *exit = exit_new(e, kind, 0);
    if (c->slot != AGENT_NO_SLOT)
        agent_leave(e, c);
    c->state = CONTEXT_PARKED;
    e->parked++;
    if (p->current == (uint32_t)(c - e->context))
        p->current = NONE;
    exit->wq = p->wq;
    exit->portal = p->number;
    exit->context = (uint32_t)(c - e->context);
    exit->generation = c->generation;
    exit->pasid = op->pasid;
    exit->priv = op->priv;
    exit->invalid_flags = op->invalid_flags;
    exit->bytes_completed = op->bytes_completed;
    exit->batch_index = (uint16_t)c->place;
    exit->in_batch = c->in_batch;
    exit->status = kind == IDXDD_EXIT_ERROR ? c->report : op->status & 0x3f;
    exit->operand = op->fault_operand;
    exit->write = op->fault_write;
    exit->record_written = c->record_written;
    exit->address = op->withheld >> op->fault_operand & 1 && kind == IDXDD_EXIT_ERROR ? 0 : op->fault_address;
    memcpy(exit->desc, op->desc, 64);
    if (kind == IDXDD_EXIT_ERROR) {
        idxdd_record(op, exit->record);
        exit->batch_id = (uint8_t)c->batch_id; /* 0: none */
        exit->first_error = c->in_batch && !c->batch_told && (c->report == HANDLE_INVALID || c->report == RECORD_FAULT);
        c->batch_told |= exit->first_error;
    }
    exit_send(e);
    return ADVANCE_PARKED;
}

/* The event log or SWERR must hear of it. */
static ASIDE enum advance phase_report(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (seldom(c->injected)) {
        enum advance step = inject_before_end(e, p, c);
        if (step != ADVANCE_MORE || c->phase != PHASE_REPORT)
            return step;
    }
    bool of_batch = c->in_batch || idxdd_opcode(c->op.desc) == OP_BATCH;
    if (of_batch && e->wq[p->wq].config.evl_en && !batch_id_take(e, c))
        return ADVANCE_WAITS; /* until one of the other batches ends */
    c->phase = PHASE_INTERRUPT;
    return park(e, p, c, IDXDD_EXIT_ERROR);
}

enum advance park_fault(struct idxdd_engine *e, struct portal *p, struct context *c, uint8_t operand, uint64_t address, bool write)
{
    c->op.fault_operand = operand;
    c->op.fault_address = address;
    c->op.fault_write = write;
    if (seldom(c->traced))
        trace_fault(e, c);
    count_up(&e->wq[p->wq].statistics->faults, 1);
    return park(e, p, c, IDXDD_EXIT_FAULT);
}

void end_with(struct context *c, uint8_t status)
{
    c->op.status = status;
    c->phase = PHASE_RECORD;
}

/* The record leaves in an ERROR exit with this code; who gets it writes the record and raises the interrupt. */
void end_logged(struct context *c, uint8_t code)
{
    c->report = code;
    c->carries_interrupt = 0;
    c->phase = PHASE_REPORT;
}

static enum advance phase_check(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (seldom(e->rules) && !inject_may_begin(e))
        return ADVANCE_WAITS; /* until the loop has pulled some of the exits that rules sent */
    uint8_t status = idxdd_check(&c->op), opcode = idxdd_opcode(c->op.desc);
    if (status == 0 && (idxdd_flags(c->op.desc) & FLAG_RCI) && !handle_valid(e, c, p->wq))
        status = HANDLE_INVALID;
    else if (status && (idxdd_flags(c->op.desc) & FLAG_RCI))
        (void)handle_valid(e, c, p->wq); /* the interrupt is raised for an error too, if it can be */
    if (!status && opcode >= OP_INTER_DOMAIN_FIRST && opcode <= OP_INTER_DOMAIN_LAST)
        status = domains_resolve(e, p, c);
    if (status) {
        c->op.status = status;
        c->why = IDXDD_WHY_CHECK;
    }
    if (status == INVALID_FLAGS && (c->op.invalid_flags & FLAG_RCI))
        c->carries_interrupt = 0; /* what is wrong is the interrupt itself */
    bool wants_record = (idxdd_flags(c->op.desc) & FLAG_CRAV) && (!status || idxdd_wants_record(&c->op));
    if (wants_record)
        c->phase = PHASE_PROBE;
    else
        c->phase = status ? PHASE_RECORD : PHASE_RUN;
    return seldom(e->rules) ? inject_choose(e, p, c) : ADVANCE_MORE;
}

/* `size` bytes at `address`, in the client, by its agent. HELP_NONE: a fault. */
enum help ask_agent(struct idxdd_engine *e, struct portal *p, struct context *c, uint16_t kind, uint64_t address, uint32_t size)
{
    struct agent_request request = {.kind = kind, .flags = IDXDD_AGENT_TOUCH, .address = address, .size = size};
    uint32_t count;
    enum help help = agent_help(e, p, c, &request, &count);
    return help == HELP_DONE && count < size ? HELP_NONE : help;
}

static enum advance phase_probe(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (seldom(c->injected) && inject_record_refused(e, c))
        return park_fault(e, p, c, OPERAND_RECORD, record_address(c), true);
    if (!reach_record(c)) {
        enum help help = ask_agent(e, p, c, IDXDD_AGENT_PREPARE, record_address(c), 32);
        if (help == HELP_WAITS)
            return ADVANCE_WAITS;
        if (help == HELP_NONE)
            return park_fault(e, p, c, OPERAND_RECORD, record_address(c), true);
    }
    c->phase = c->op.status ? PHASE_RECORD : PHASE_RUN;
    return ADVANCE_MORE;
}

static enum advance phase_run(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t slice)
{
    uint8_t opcode = idxdd_opcode(c->op.desc);
    if (opcode == OP_BATCH) {
        batch_begin(e, c);
        return ADVANCE_MORE;
    }
    if (opcode == OP_DRAIN) {
        c->phase = PHASE_DRAIN;
        return ADVANCE_MORE;
    }
    if (opcode == OP_UPDATE_WINDOW) {
        c->phase = PHASE_USERS;
        return park(e, p, c, IDXDD_EXIT_WINDOW);
    }
    if (c->domain_uses && !domains_hold(e, c)) {
        if (c->slot != AGENT_NO_SLOT)
            agent_leave(e, c);
        end_with(c, DOMAIN_GONE);
        c->op.bytes_completed = 0;
        return ADVANCE_MORE;
    }
    if (c->slot != AGENT_NO_SLOT)
        return run_with_agent(e, p, c, slice);
    bool refused = false;
    switch (seldom(c->injected) ? inject_step(e, c, slice, &refused) : idxdd_step(&c->op, slice)) {
    case IDXDD_MORE:
        return ADVANCE_WAITS; /* slice used up */
    case IDXDD_FAULT:
        if (!refused && *idxdd_space_agent(c->op.space) && !(c->op.foreign >> c->op.fault_operand & 1)) /* it speaks for one domain */
            return run_with_agent(e, p, c, slice);
        return park_fault(e, p, c, c->op.fault_operand, c->op.fault_address, c->op.fault_write);
    case IDXDD_DONE:
        break;
    }
    c->phase = PHASE_RECORD;
    return ADVANCE_MORE;
}

static enum advance record_nowhere(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (!c->record_logged)
        return park_fault(e, p, c, OPERAND_RECORD, record_address(c), true);
    c->batch_logged |= c->in_batch;
    end_logged(c, RECORD_FAULT);
    return ADVANCE_MORE;
}

static enum advance phase_record(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (seldom(c->injected)) {
        enum advance step = inject_before_end(e, p, c);
        if (step != ADVANCE_MORE || c->phase != PHASE_RECORD)
            return step;
    }
    uint8_t code = c->op.status & 0x3f;
    bool silent = code == OK || code == OK_PREDICATE || code == BATCH_FAILED;
    if (idxdd_wants_record(&c->op)) {
        uint8_t *record = c->record_logged ? NULL : reach_record(c), bytes[32];
        idxdd_record(&c->op, bytes);
        if (seldom(c->injected))
            inject_record(e, c, bytes);
        if (record) {
            memcpy(record + 1, bytes + 1, 31);
            atomic_store_explicit((_Atomic uint8_t *)record, bytes[0], memory_order_release); /* who sees it non-zero may read the rest */
        } else {
            enum help help = c->record_logged ? HELP_NONE : agent_record(e, p, c, record_address(c), bytes);
            if (help == HELP_WAITS)
                return ADVANCE_WAITS;
            if (help == HELP_NONE)
                return record_nowhere(e, p, c);
        }
        c->record_written = 1;
        if (seldom(c->traced))
            trace_written(e, c, bytes);
    }
    if (code == HANDLE_INVALID || (!silent && !c->record_written))
        c->report = code;
    c->phase = c->report ? PHASE_REPORT : PHASE_INTERRUPT;
    return ADVANCE_MORE;
}

static enum advance phase_interrupt(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    struct wq *wq = &e->wq[p->wq];
    uint8_t code = c->op.status & 0x3f;
    if (seldom(c->injected)) {
        enum advance step = inject_before_interrupt(e, p, c);
        if (step != ADVANCE_MORE)
            return step;
    }
    uint8_t opcode = idxdd_opcode(c->op.desc);
    count_up(&wq->operations[opcode < IDXDD_COUNTED_OPERATIONS ? opcode : IDXDD_COUNTED_OPERATIONS - 1], 1);
    if (code != OK)
        count_up(&wq->statuses[code], 1);
    if ((code != OK && code != OK_PREDICATE) || c->report)
        error_ended(e, p, c);
    if (code != OK && code != OK_PREDICATE) {
        p->errors++;
        count_up(&wq->statistics->errors, 1);
    }
    if (c->carries_interrupt && code != HANDLE_INVALID && !ignored(e, c, p->wq)) {
        p->interrupts++;
        count_up(&wq->statistics->interrupts_requested, 1);
        if (idxdd_vector_raise(&e->interrupts, c->vector))
            count_up(&wq->statistics->interrupts, 1);
        if (seldom(c->traced))
            trace_interrupt(e, c);
    }
    if (!c->in_batch) {
        c->phase = PHASE_FINISHED;
        return ADVANCE_MORE;
    }
    if (seldom(c->traced))
        trace_ended(e, p, c);
    if (code != OK)
        c->batch_failed = 1;
    c->member++;
    c->phase = PHASE_MEMBER;
    return ADVANCE_MORE;
}

/* ADVANCE_WAITS: a slice is used up, or the context drains; ADVANCE_PARKED: the device loop has it. */
enum advance context_advance(struct idxdd_engine *e, struct portal *p, struct context *c, uint64_t slice)
{
    uint64_t start = c->op.bytes_moved;
    uint32_t members = 0;
    for (;;) {
        enum advance step = ADVANCE_MORE;
        switch ((enum phase)c->phase) {
        case PHASE_CHECK: step = phase_check(e, p, c); break;
        case PHASE_PROBE: step = phase_probe(e, p, c); break;
        case PHASE_RUN: step = phase_run(e, p, c, slice); break;
        case PHASE_MEMBER:
            if (c->op.bytes_moved - start >= slice || members++ >= IDXDD_DESCRIPTORS_PER_TURN)
                return ADVANCE_WAITS;
            step = phase_member(e, p, c);
            break;
        case PHASE_DRAIN: step = phase_drain(e, p, c); break;
        case PHASE_USERS: step = phase_users(e, p, c); break;
        case PHASE_READBACK: step = phase_readback(e, p, c); break;
        case PHASE_CORRUPT: step = inject_corrupt(e, p, c); break;
        case PHASE_RECORD: step = phase_record(e, p, c); break;
        case PHASE_REPORT: step = phase_report(e, p, c); break;
        case PHASE_INTERRUPT: step = phase_interrupt(e, p, c); break;
        case PHASE_FINISHED: return ADVANCE_FINISHED;
        }
        if (step != ADVANCE_MORE)
            return step;
    }
}

/* The loop's answer to a parked context. */
void context_resume(struct idxdd_engine *e, uint32_t index, uint32_t generation, uint32_t action, uint8_t status)
{
    if (index >= IDXDD_CONTEXTS)
        return;
    struct context *c = &e->context[index];
    if (c->state != CONTEXT_PARKED || c->generation != generation)
        return; /* swept meanwhile */
    c->generation++;
    c->state = CONTEXT_RUNNING;
    e->parked--;
    if (action == IDXDD_RESUME_RUN && (c->phase == PHASE_PROBE || c->phase == PHASE_RECORD)) {
        c->record_logged = 1;
        if (c->phase == PHASE_PROBE)
            c->phase = c->op.status ? PHASE_RECORD : PHASE_RUN;
    }
    if (action != IDXDD_RESUME_FAIL)
        return; /* RETRY: the same phase again; FINISH: the phase after the report */
    uint8_t code = status & 0x3f;
    if (c->phase == PHASE_MEMBER) {
        uint64_t address = c->op.fault_address;
        batch_ends(e, e->portal[c->portal], c, code);
        c->why = IDXDD_WHY_FAULT;
        c->op.fault_address = address;
        c->op.fault_operand = OPERAND_LIST;
        return;
    }
    if (code == RECORD_FAULT) { /* reported by the loop; the operation is not carried out, or its record is lost */
        c->op.status = code;
        c->why = IDXDD_WHY_RECORD_FAULT;
        c->phase = PHASE_INTERRUPT;
        return;
    }
    bool fault_code = code == 0x03 || code == 0x04 || code == 0x06 || code == 0x1f; /* those with a read/write bit */
    c->why = IDXDD_WHY_FAULT;
    end_with(c, fault_code && c->op.fault_write ? code | 0x80 : code);
}

/* The context this portal goes on with, or NONE: the one at work, else one that was resumed. */
uint32_t portal_runnable(const struct idxdd_engine *e, const struct portal *p)
{
    if (p->stalled)
        return NONE;
    if (p->current != NONE)
        return p->current;
    for (uint32_t at = p->first_context; at != NONE; at = e->context[at].next)
        if (e->context[at].state == CONTEXT_RUNNING)
            return at;
    return NONE;
}

