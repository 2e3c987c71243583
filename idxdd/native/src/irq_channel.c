/* The lists of a kernel channel: see irq_channel.h for who writes what, and in which order. */
#include "irq_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_MASK 0x7fu
#define STATUS_SUCCESS 0x01u
#define STATUS_INT_HANDLE_INVAL 0x19u

struct done {
    uint64_t ticket;
    uint8_t status, result;
};

enum idxdd_txn_result idxdd_txn_result_of(uint8_t status, bool abort)
{
    if (status == STATUS_SUCCESS)
        return IDXDD_TXN_NOERROR;
    if (status == 0 && abort)
        return IDXDD_TXN_ABORTED;
    return IDXDD_TXN_WRITE_FAILED;
}

/* ---- mapping ---- */

static void *map_checked(int fd, size_t offset, size_t size, int prot, int *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        *error = -errno;
        return NULL;
    }
    if ((size_t)st.st_size < offset + size) {   /* a shorter one would be a SIGBUS later */
        *error = -EINVAL;
        return NULL;
    }
    void *at = mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);
    if (at == MAP_FAILED) {
        *error = -errno;
        return NULL;
    }
    return at;
}

int idxdd_irq_channel_open(struct idxdd_irq_channel *c, int channel_fd, int ring_fd, int portal_client_fd, int wake_fd,
                           uint32_t slots, void *state)
{
    int error = 0;
    memset(c, 0, sizeof *c);
    c->wake_fd = -1;
    if (slots == 0 || slots > IDXDD_CHANNEL_SLOTS)
        return -EINVAL;
    c->slots = slots;
    c->state = state;
    c->channel = map_checked(channel_fd, 0, sizeof *c->channel, PROT_READ, &error);
    if (!error)
        c->record = map_checked(channel_fd, offsetof(struct idxdd_channel, record), sizeof c->channel->record, PROT_READ | PROT_WRITE,
                                &error);
    if (!error)
        c->portal = map_checked(portal_client_fd, 0, sizeof *c->portal, PROT_READ, &error);
    if (!error)
        c->ring = map_checked(ring_fd, 0, sizeof *c->ring, PROT_READ | PROT_WRITE, &error);
    if (!error && (c->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0)) < 0)
        error = -errno;
    if (error)
        idxdd_irq_channel_close(c);
    return error;
}

void idxdd_irq_channel_close(struct idxdd_irq_channel *c)
{
    if (c->channel)
        munmap((void *)(uintptr_t)c->channel, sizeof *c->channel);
    if (c->record)
        munmap(c->record, sizeof c->channel->record);
    if (c->portal)
        munmap((void *)(uintptr_t)c->portal, sizeof *c->portal);
    if (c->ring)
        munmap(c->ring, sizeof *c->ring);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    c->channel = NULL;
    c->record = NULL;
    c->portal = NULL;
    c->ring = NULL;
    c->wake_fd = -1;
    c->work_count = 0;
}

uint32_t idxdd_irq_channel_in_submit(const struct idxdd_irq_channel *c)
{
    return atomic_load_explicit(&c->portal->in_submit, memory_order_seq_cst);
}

/* ---- words ---- */

static uint64_t listed(const struct idxdd_irq_channel *c, uint32_t slot)
{
    return atomic_load_explicit(&c->state->listed[slot], memory_order_relaxed);
}

static void set_listed(struct idxdd_irq_channel *c, uint32_t slot, uint64_t sequence)
{
    atomic_store_explicit(&c->state->listed[slot], sequence, memory_order_release);
}

/* The status byte, read once; acquire: pairs with the engine's release of the record. */
static uint8_t record_status(const struct idxdd_irq_channel *c, uint32_t slot)
{
    return __atomic_load_n(&c->channel->record[slot][0], __ATOMIC_ACQUIRE);
}

static bool holds(const struct idxdd_irq_channel *c, uint64_t ticket)
{
    uint32_t slot = idxdd_ticket_slot(ticket);
    uint64_t sequence = idxdd_ticket_sequence(ticket);
    return slot < c->slots && sequence != 0 && listed(c, slot) == sequence;
}

static void ring_bell(struct idxdd_irq_channel *c)
{
    char one = 1;   /* full: it is readable already; closed: nobody waits */
    (void)!send(c->wake_fd, &one, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- completing ---- */

static void complete_all(struct idxdd_irq_channel *c, const struct done *done, uint32_t count)
{
    if (count == 0)
        return;
    uint64_t tail = atomic_load_explicit(&c->ring->tail, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        struct idxdd_completion *e = &c->ring->entry[(tail + i) % IDXDD_COMPLETIONS];
        e->ticket = done[i].ticket;
        e->status = done[i].status;
        e->result = done[i].result;
    }
    tail += count;
    atomic_store_explicit(&c->ring->tail, tail, memory_order_release);
    for (uint32_t i = 0; i < count; i++)
        set_listed(c, idxdd_ticket_slot(done[i].ticket), 0);
    c->completed += count;

    atomic_thread_fence(memory_order_seq_cst);   /* pairs with the waiter: wake_at, fence, tail */
    uint64_t wake_at = atomic_load_explicit(&c->channel->wake_at, memory_order_relaxed);
    if (wake_at != 0 && wake_at != c->rung && tail >= wake_at) {
        c->rung = wake_at;
        ring_bell(c);
    }
}

/* Sort one finished descriptor: to `done`, or to `deferred` when it is handed out. */
static void sort_finished(uint64_t ticket, uint8_t status, enum idxdd_defer defer, struct done *done, uint32_t *count,
                          struct idxdd_deferred *deferred)
{
    if (defer == IDXDD_DEFER_FINISHED || (defer == IDXDD_DEFER_INVALID_HANDLE && status == STATUS_INT_HANDLE_INVAL)) {
        deferred->entry[deferred->count].ticket = ticket;
        deferred->entry[deferred->count++].status = status;
        return;
    }
    done[(*count)++] = (struct done){ticket, status, (uint8_t)idxdd_txn_result_of(status, false)};
}

bool idxdd_irq_channel_complete(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status, uint8_t result)
{
    if (!holds(c, ticket))
        return false;
    uint32_t slot = idxdd_ticket_slot(ticket), kept = 0;
    for (uint32_t i = 0; i < c->work_count; i++)
        if (c->work[i] != slot)
            c->work[kept++] = c->work[i];
    c->work_count = kept;
    complete_all(c, &(struct done){ticket, status, result}, 1);
    return true;
}

void idxdd_irq_channel_complete_again(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status, uint8_t result)
{
    if (idxdd_ticket_slot(ticket) < c->slots && listed(c, idxdd_ticket_slot(ticket)) == 0)
        complete_all(c, &(struct done){ticket, status, result}, 1);
}

bool idxdd_irq_channel_relist(struct idxdd_irq_channel *c, uint64_t ticket)
{
    uint32_t slot = idxdd_ticket_slot(ticket);
    if (!holds(c, ticket))
        return false;
    for (uint32_t i = 0; i < c->work_count; i++)
        if (c->work[i] == slot)
            return false;
    c->work[c->work_count++] = (uint16_t)slot;
    return true;
}

/* ---- resubmission ---- */

bool idxdd_irq_channel_holds(const struct idxdd_irq_channel *c, uint64_t ticket)
{
    return holds(c, ticket);
}

bool idxdd_irq_channel_descriptor(const struct idxdd_irq_channel *c, uint64_t ticket, uint8_t desc[64])
{
    if (!holds(c, ticket))
        return false;
    memcpy(desc, c->channel->desc[idxdd_ticket_slot(ticket)], 64);
    return true;
}

bool idxdd_irq_channel_set_status(struct idxdd_irq_channel *c, uint64_t ticket, uint8_t status)
{
    if (!holds(c, ticket))
        return false;
    __atomic_store_n(&c->record[idxdd_ticket_slot(ticket)][0], status, __ATOMIC_RELEASE);
    return true;
}

/* ---- the lists ---- */

uint32_t idxdd_irq_channel_work_list(struct idxdd_irq_channel *c, enum idxdd_defer defer, struct idxdd_deferred *deferred)
{
    struct done done[IDXDD_CHANNEL_SLOTS];
    uint32_t count = 0, kept = 0;
    deferred->count = 0;
    for (uint32_t i = 0; i < c->work_count; i++) {
        uint32_t slot = c->work[i];
        uint8_t status = record_status(c, slot);
        if (status == 0)                       /* the raw byte: 0x80 alone is finished here */
            c->work[kept++] = (uint16_t)slot;
        else
            sort_finished(idxdd_ticket(slot, listed(c, slot)), status, defer, done, &count, deferred);
    }
    c->work_count = kept;
    complete_all(c, done, count);
    return count;
}

/* Take the new entries: copies their slots (oldest first) and lists them. A violation ends the take and the channel. */
static uint32_t take_pending(struct idxdd_irq_channel *c, uint16_t *slots)
{
    uint64_t cursor = atomic_load_explicit(&c->state->cursor, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&c->channel->pending_tail, memory_order_acquire);
    uint32_t taken = 0;
    if (tail == cursor || c->violation)
        return 0;
    if (tail - cursor > IDXDD_CHANNEL_SLOTS) {
        c->violation = IDXDD_VIOLATION_TAIL;
        return 0;
    }
    for (uint64_t n = cursor; n != tail; n++) {
        uint64_t ticket = atomic_load_explicit(&c->channel->pending[n % IDXDD_CHANNEL_SLOTS], memory_order_relaxed);
        uint32_t slot = idxdd_ticket_slot(ticket);
        uint64_t sequence = idxdd_ticket_sequence(ticket);
        if (slot >= c->slots || sequence == 0)
            c->violation = IDXDD_VIOLATION_INDEX;
        else if (listed(c, slot) != 0)
            c->violation = IDXDD_VIOLATION_TWICE;
        if (c->violation) {
            tail = n;
            break;
        }
        set_listed(c, slot, sequence);
        slots[taken++] = (uint16_t)slot;
    }
    atomic_store_explicit(&c->state->cursor, tail, memory_order_release);
    return taken;
}

uint32_t idxdd_irq_channel_pending_list(struct idxdd_irq_channel *c, enum idxdd_defer defer, struct idxdd_deferred *deferred)
{
    struct done done[IDXDD_CHANNEL_SLOTS];
    uint16_t slots[IDXDD_CHANNEL_SLOTS];
    uint32_t count = 0;
    deferred->count = 0;
    for (uint32_t i = take_pending(c, slots); i-- > 0;) {   /* newest first, as the driver's lock-free list */
        uint8_t status = record_status(c, slots[i]);
        if ((status & STATUS_MASK) == 0)       /* masked: 0x80 alone is not finished here */
            c->work[c->work_count++] = slots[i];
        else
            sort_finished(idxdd_ticket(slots[i], listed(c, slots[i])), status, defer, done, &count, deferred);
    }
    complete_all(c, done, count);
    return count;
}

uint32_t idxdd_irq_channel_abort_invalid_handles(struct idxdd_irq_channel *c)
{
    struct done done[IDXDD_CHANNEL_SLOTS];
    uint16_t slots[IDXDD_CHANNEL_SLOTS];
    uint32_t count = 0, kept = 0;
    for (uint32_t i = take_pending(c, slots); i-- > 0;)
        c->work[c->work_count++] = slots[i];
    for (uint32_t i = 0; i < c->work_count; i++) {
        uint32_t slot = c->work[i];
        uint8_t status = record_status(c, slot);
        if (status == STATUS_INT_HANDLE_INVAL)
            done[count++] = (struct done){idxdd_ticket(slot, listed(c, slot)), status, (uint8_t)idxdd_txn_result_of(status, true)};
        else
            c->work[kept++] = (uint16_t)slot;
    }
    c->work_count = kept;
    complete_all(c, done, count);
    return count;
}

bool idxdd_irq_channel_entered(const struct idxdd_irq_channel *c, uint32_t slot)
{
    uint64_t tail = atomic_load_explicit(&c->channel->pending_tail, memory_order_acquire);
    uint64_t at = atomic_load_explicit(&c->state->cursor, memory_order_relaxed);
    for (uint32_t left = IDXDD_CHANNEL_SLOTS; at != tail && left > 0; at++, left--)
        if (idxdd_ticket_slot(atomic_load_explicit(&c->channel->pending[at % IDXDD_CHANNEL_SLOTS], memory_order_relaxed)) == slot)
            return true;
    return false;
}

/* ---- adoption, sweep ---- */

static bool in_ring(const struct idxdd_irq_channel *c, uint64_t ticket)
{
    uint64_t tail = atomic_load_explicit(&c->ring->tail, memory_order_relaxed);
    uint64_t back = tail < IDXDD_COMPLETIONS ? tail : IDXDD_COMPLETIONS;
    for (uint64_t n = tail - back; n != tail; n++)
        if (c->ring->entry[n % IDXDD_COMPLETIONS].ticket == ticket)
            return true;
    return false;
}

/* The predecessor may have listed some entries without moving its cursor: step over them, they are no repeat. */
static void skip_listed(struct idxdd_irq_channel *c)
{
    uint64_t cursor = atomic_load_explicit(&c->state->cursor, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&c->channel->pending_tail, memory_order_acquire);
    if (tail - cursor > IDXDD_CHANNEL_SLOTS)
        return;                                /* the next take finds the violation */
    while (cursor != tail) {
        uint64_t ticket = atomic_load_explicit(&c->channel->pending[cursor % IDXDD_CHANNEL_SLOTS], memory_order_relaxed);
        if (!holds(c, ticket))
            break;
        cursor++;
    }
    atomic_store_explicit(&c->state->cursor, cursor, memory_order_release);
}

uint32_t idxdd_irq_channel_adopt(struct idxdd_irq_channel *c)
{
    for (uint32_t slot = 0; slot < c->slots; slot++)
        if (listed(c, slot) != 0 && in_ring(c, idxdd_ticket(slot, listed(c, slot))))
            set_listed(c, slot, 0);
    skip_listed(c);
    c->work_count = 0;
    for (uint32_t slot = 0; slot < c->slots; slot++) {
        if (listed(c, slot) == 0)
            continue;
        uint32_t at = c->work_count++;         /* newest first: the order the list most likely had */
        for (; at > 0 && listed(c, c->work[at - 1]) < listed(c, slot); at--)
            c->work[at] = c->work[at - 1];
        c->work[at] = (uint16_t)slot;
    }
    ring_bell(c);
    return c->work_count;
}

uint32_t idxdd_irq_channel_sweep(struct idxdd_irq_channel *c)
{
    struct done done[IDXDD_CHANNEL_SLOTS];
    uint16_t slots[IDXDD_CHANNEL_SLOTS];
    uint32_t count = 0;
    take_pending(c, slots);                    /* what is valid of it is listed now */
    for (uint32_t slot = 0; slot < c->slots; slot++) {
        if (listed(c, slot) == 0)
            continue;
        uint8_t status = record_status(c, slot);
        done[count++] = (struct done){idxdd_ticket(slot, listed(c, slot)), status, (uint8_t)idxdd_txn_result_of(status, true)};
    }
    c->work_count = 0;
    complete_all(c, done, count);
    return count;
}
