/* A client's side of a kernel channel.
 *
 * Who writes what   everything in struct idxdd_channel is written here (records by the device, too), and in_submit of the
 *                   portal; the completion ring is idxdd-irq's and read-only. Slots, sequences and the ring's cursor are private.
 * Order             in_submit = 1; fence; gate. LIVE: descriptors, pending entries, pending_tail (release), portal slots,
 *                   portal tail (release), fence, `closed`; in_submit = 0. Room in the WQ is looked at before the gate, so
 *                   that publishing what is on the pending list can fail by a close only.
 * Who completes     idxdd-irq, through the ring, everything that is on the pending list - until it stores `fenced`; from then
 *                   on it touches nothing, and what is not in the ring is failed by the owner (settle, reap). So exactly one does.
 * A close without   (halt, abort, disable) leaves that to idxdd-irq: what the device refused gets 0xFF in its record, and
 * a fence           its completion says so. A caller that was told CLOSED or GONE is told nothing more: the slot stays in use
 *                   until its completion has come and was swallowed.
 * Trust             a completion counts if its slot is in flight with that very sequence, once; anything else is a repeat.
 */
#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "owner.h"

#define CLOSED_GRACE_NS 1000000000u
#define PAUSE_NS 200000u
#define IDXDD_DRIVER_ENABLED 1u         /* published_driver.device_state */

#define DESC_FLAGS 4                    /* byte offsets in a descriptor: bits 0..7 of the flags, */
#define DESC_COMPLETION_ADDRESS 8       /* the record's address, */
#define DESC_INT_HANDLE 36              /* and the interrupt handle */
#define FLAG_CRAV 0x04u
#define FLAG_RCR 0x08u
#define FLAG_RCI 0x10u
#define STATUS_ABORT 0xffu              /* what a submitter writes into a record that the device will never write */

int idxdd_channel_open(struct idxdd_kernel_channel *channel, struct idxdd_submitter *submitter, int channel_fd, int ring_fd, int driver_fd,
                       uint32_t wq, uint32_t slots)
{
    *channel = (struct idxdd_kernel_channel){.submitter = submitter, .slots = slots, .owner = submitter->owner};
    if (wq >= IDXDD_WQS_MAX || slots == 0 || slots > IDXDD_CHANNEL_SLOTS)
        return -EINVAL;
    pthread_mutex_init(&channel->lock, NULL);
    if (!(channel->channel = idxdd_map_owned(channel_fd, sizeof *channel->channel, true)) ||
        !(channel->ring = idxdd_map_owned(ring_fd, sizeof *channel->ring, false)) ||
        !(channel->driver = idxdd_map_owned(driver_fd, sizeof *channel->driver, false))) {
        int error = -errno;
        idxdd_channel_close(channel);
        return error;
    }
    if (channel->driver->layout_version != IDXDD_LAYOUT_VERSION) {
        idxdd_channel_close(channel);
        return -EPROTO;
    }
    channel->gate = &channel->driver->wq[wq];
    channel->pending_tail = atomic_load(&channel->channel->pending_tail);
    atomic_init(&channel->reaped, atomic_load(&channel->ring->tail));
    for (uint32_t i = 0; i < slots; i++)
        channel->free[i] = (uint16_t)(slots - 1 - i);
    channel->free_count = slots;
    return 0;
}

void idxdd_channel_close(struct idxdd_kernel_channel *channel)
{
    idxdd_unmap_owned(channel->channel, sizeof *channel->channel, channel->owner);
    idxdd_unmap_owned((void *)(uintptr_t)channel->ring, sizeof *channel->ring, channel->owner);
    idxdd_unmap_owned((void *)(uintptr_t)channel->driver, sizeof *channel->driver, channel->owner);
    channel->channel = NULL;
    channel->ring = NULL;
    channel->driver = NULL;
}

/* ---- slots ------------------------------------------------------------------------------------------------------------- */

static uint32_t take_slots(struct idxdd_kernel_channel *channel, uint32_t count, uint64_t *tickets)
{
    pthread_mutex_lock(&channel->lock);
    if (count > channel->free_count)
        count = channel->free_count;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t slot = channel->free[--channel->free_count];
        channel->state[slot] = IDXDD_SLOT_ENTERING;
        channel->sequence_of[slot] = ++channel->sequence;
        tickets[i] = idxdd_ticket(slot, channel->sequence);
    }
    atomic_fetch_add_explicit(&channel->in_flight, count, memory_order_relaxed);
    pthread_mutex_unlock(&channel->lock);
    return count;
}

static void free_slot(struct idxdd_kernel_channel *channel, uint32_t slot)
{
    channel->state[slot] = IDXDD_SLOT_FREE;
    channel->free[channel->free_count++] = (uint16_t)slot;
    atomic_fetch_sub_explicit(&channel->in_flight, 1, memory_order_relaxed);
}

/* The state of slots that are ENTERING; FREE gives them back, in an order that hands them out again as before. */
static void set_slots(struct idxdd_kernel_channel *channel, const uint64_t *tickets, uint32_t count, enum idxdd_slot_state state)
{
    pthread_mutex_lock(&channel->lock);
    for (uint32_t i = count; i-- > 0;) {
        uint32_t slot = idxdd_ticket_slot(tickets[i]);
        if (channel->state[slot] != IDXDD_SLOT_ENTERING || channel->sequence_of[slot] != idxdd_ticket_sequence(tickets[i]))
            continue;                   /* completed and reaped already */
        if (state == IDXDD_SLOT_FREE)
            free_slot(channel, slot);
        else
            channel->state[slot] = (uint8_t)state;
    }
    pthread_mutex_unlock(&channel->lock);
}

/* ---- submitting -------------------------------------------------------------------------------------------------------- */

static void set_in_submit(struct idxdd_kernel_channel *channel, uint32_t value)
{
    atomic_store_explicit(&channel->submitter->client->in_submit, value, memory_order_release);
}

/* Inside the gate: nothing here can be refused any more. */
static struct idxdd_burst enter(struct idxdd_kernel_channel *channel, const uint8_t *descs, const uint64_t *tickets, uint32_t count)
{
    struct idxdd_channel *shared = channel->channel;
    uint8_t stamped[IDXDD_PORTAL_SLOTS][64];
    uint16_t handle = (uint16_t)atomic_load_explicit(&channel->gate->int_handle, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = idxdd_ticket_slot(tickets[i]);
        uint64_t record = (uint64_t)(uintptr_t)shared->record[slot];
        memcpy(stamped[i], descs + (size_t)i * 64, 64);
        stamped[i][DESC_FLAGS] |= FLAG_CRAV | FLAG_RCR | FLAG_RCI;
        memcpy(&stamped[i][DESC_COMPLETION_ADDRESS], &record, sizeof record);
        memcpy(&stamped[i][DESC_INT_HANDLE], &handle, sizeof handle);
        memset(shared->record[slot], 0, sizeof shared->record[slot]);
        memcpy(shared->desc[slot], stamped[i], 64);
        atomic_store_explicit(&shared->pending[channel->pending_tail++ % IDXDD_CHANNEL_SLOTS], tickets[i], memory_order_relaxed);
    }
    atomic_store_explicit(&shared->pending_tail, channel->pending_tail, memory_order_release); /* on the list before the device has it */
    return idxdd_submitter_put(channel->submitter, stamped[0], count);
}

static int64_t try_locked(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, uint64_t *tickets, struct idxdd_burst *burst)
{
    struct idxdd_submitter *submitter = channel->submitter;
    uint32_t room = idxdd_submitter_room(submitter);
    if (idxdd_submitter_closed(submitter))
        return IDXDD_SUBMIT_CLOSED;
    if (!room) {
        if (submitter->dedicated)
            idxdd_submitter_want(submitter);
        return IDXDD_CHANNEL_FULL;
    }
    if (!(count = take_slots(channel, count < room ? count : room, tickets)))
        return IDXDD_CHANNEL_NO_SLOT;
    set_in_submit(channel, 1);
    idxdd_fence();                      /* partner: idxdd-irq stores the gate, fences, reads in_submit */
    uint32_t gate = atomic_load_explicit(&channel->gate->gate, memory_order_acquire);
    if (gate != IDXDD_GATE_LIVE) {
        set_in_submit(channel, 0);
        set_slots(channel, tickets, count, IDXDD_SLOT_FREE);
        return gate == IDXDD_GATE_CLOSED ? (int64_t)IDXDD_CHANNEL_GATE_CLOSED : (int64_t)IDXDD_SUBMIT_CLOSED;
    }
    *burst = enter(channel, descs, tickets, count);
    if (idxdd_submitter_closed(submitter))
        return IDXDD_SUBMIT_UNSETTLED;  /* still inside the gate: idxdd_channel_settle leaves it */
    set_in_submit(channel, 0);
    set_slots(channel, tickets, count, IDXDD_SLOT_IN_FLIGHT);
    return count;
}

int64_t idxdd_channel_try(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, bool try, uint64_t *tickets,
                          struct idxdd_burst *burst)
{
    pthread_mutex_t *lock = &channel->submitter->lock;
    if (!idxdd_owned(channel->owner))
        return IDXDD_SUBMIT_FORKED;
    if (!try)
        pthread_mutex_lock(lock);
    else if (pthread_mutex_trylock(lock))
        return IDXDD_SUBMIT_BUSY;
    int64_t answer = try_locked(channel, descs, count < IDXDD_PORTAL_SLOTS ? count : IDXDD_PORTAL_SLOTS, tickets, burst);
    pthread_mutex_unlock(lock);
    return answer;
}

/* ---- closed while inside ------------------------------------------------------------------------------------------------- */

static bool is_fenced(void *context)
{
    const struct idxdd_submitter *submitter = context;
    return atomic_load_explicit(&submitter->device->fenced, memory_order_acquire);
}

static bool in_ring(const struct idxdd_kernel_channel *channel, uint64_t ticket)
{
    uint64_t tail = atomic_load_explicit(&channel->ring->tail, memory_order_acquire);
    uint64_t oldest = tail > IDXDD_COMPLETIONS ? tail - IDXDD_COMPLETIONS : 0;
    for (uint64_t at = tail; at-- > oldest;)
        if (channel->ring->entry[at % IDXDD_COMPLETIONS].ticket == ticket)
            return true;
    return false;
}

/* What idxdd-irq completed before it swept is in the ring; it reads pending_tail once, so that is all of a burst or nothing. */
static int64_t settle_by_ring(struct idxdd_kernel_channel *channel, const uint64_t *tickets, uint32_t count, enum idxdd_slot_state others)
{
    uint32_t done = 0;
    while (done < count && in_ring(channel, tickets[done]))
        done++;
    set_slots(channel, tickets, done, IDXDD_SLOT_IN_FLIGHT);
    set_slots(channel, tickets + done, count - done, others);
    return done ? (int64_t)done : (int64_t)IDXDD_SUBMIT_CLOSED;
}

/* Closed without a fence: everything is on the pending list, so idxdd-irq completes it; what the device refused is marked. */
static int64_t settle_closed(struct idxdd_kernel_channel *channel, const uint64_t *tickets, struct idxdd_burst burst)
{
    int64_t accepted = idxdd_submitter_settle(channel->submitter, burst);
    if (accepted == IDXDD_SUBMIT_GONE) {
        set_slots(channel, tickets, burst.count, IDXDD_SLOT_REFUSED);
        return accepted;
    }
    for (uint32_t i = accepted > 0 ? (uint32_t)accepted : 0; i < burst.count; i++)
        __atomic_store_n(&channel->channel->record[idxdd_ticket_slot(tickets[i])][0], STATUS_ABORT, __ATOMIC_RELEASE);
    set_slots(channel, tickets, burst.count, IDXDD_SLOT_IN_FLIGHT);
    idxdd_submitter_ring(channel->submitter);
    return burst.count;
}

int64_t idxdd_channel_settle(struct idxdd_kernel_channel *channel, const uint64_t *tickets, struct idxdd_burst burst)
{
    struct idxdd_submitter *submitter = channel->submitter;
    int64_t answer;
    if (idxdd_submitter_closed(submitter) != IDXDD_CLOSED_REVOKED && !is_fenced(submitter)) {
        answer = settle_closed(channel, tickets, burst);
    } else if (idxdd_bell_until(&submitter->bell, is_fenced, submitter, IDXDD_FENCED_NS)) {
        answer = settle_by_ring(channel, tickets, burst.count, IDXDD_SLOT_FREE); /* nobody else will touch them any more */
    } else {
        answer = settle_by_ring(channel, tickets, burst.count, IDXDD_SLOT_REFUSED);
        if (answer < 0 && idxdd_bell_gone(&submitter->bell))
            answer = IDXDD_SUBMIT_GONE;
    }
    set_in_submit(channel, 0);
    return answer;
}

/* ---- waiting to get in ----------------------------------------------------------------------------------------------------- */

static bool gate_is_decided(void *context)
{
    const struct idxdd_kernel_channel *channel = context;
    return atomic_load_explicit(&channel->gate->gate, memory_order_acquire) != IDXDD_GATE_CLOSED || idxdd_submitter_closed(channel->submitter);
}

/* 0: try again; negative: what to tell the caller. */
static int wait_to_get_in(struct idxdd_kernel_channel *channel, int64_t answer, uint64_t left_ns)
{
    struct idxdd_bell *bell = &channel->submitter->bell;
    if (answer == IDXDD_CHANNEL_FULL && !channel->submitter->dedicated) {
        int asked = idxdd_submitter_ask(channel->submitter);
        if (asked < 0)
            return asked;
    }
    if (answer == IDXDD_CHANNEL_GATE_CLOSED)
        idxdd_bell_until(bell, gate_is_decided, channel, left_ns);
    else if (!idxdd_bell_nap(bell, PAUSE_NS < left_ns ? PAUSE_NS : left_ns)) /* nobody rings for a freed slot or a moved limit */
        return IDXDD_SUBMIT_RETRY;      /* as the driver's allocation, which a signal interrupts; at the gate nothing does */
    return idxdd_bell_gone(bell) ? IDXDD_SUBMIT_GONE : 0;
}

static int64_t try_and_settle(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, uint64_t *tickets)
{
    struct idxdd_burst burst;
    int64_t answer = idxdd_channel_try(channel, descs, count, false, tickets, &burst);
    return answer == IDXDD_SUBMIT_UNSETTLED ? idxdd_channel_settle(channel, tickets, burst) : answer;
}

static int64_t as_refusal(const struct idxdd_kernel_channel *channel, int64_t answer)
{
    if (answer <= IDXDD_CHANNEL_NO_SLOT)
        return idxdd_bell_gone(&channel->submitter->bell) ? IDXDD_SUBMIT_GONE : IDXDD_SUBMIT_RETRY;
    if (answer == IDXDD_SUBMIT_CLOSED && idxdd_submitter_closed(channel->submitter) == IDXDD_CLOSED_DEVICE_GONE)
        return IDXDD_SUBMIT_GONE;
    return answer;
}

int idxdd_channel_refusal(const struct idxdd_kernel_channel *channel)
{
    size_t wq = (size_t)(channel->gate - channel->driver->wq);
    uint32_t state = atomic_load_explicit(&channel->driver->device_state[wq / IDXDD_WQS_PER_DEVICE_MAX], memory_order_acquire);
    return state == IDXDD_DRIVER_ENABLED ? -ENXIO : -EIO;
}

int64_t idxdd_channel_submit(struct idxdd_kernel_channel *channel, const uint8_t *descs, uint32_t count, bool block, uint64_t *tickets)
{
    if (count == 0)
        return 0;
    int64_t answer = try_and_settle(channel, descs, count, tickets);
    if (!block) {
        if (answer == IDXDD_CHANNEL_FULL && !channel->submitter->dedicated) {
            int asked = idxdd_submitter_ask(channel->submitter);
            answer = asked < 0 ? asked : try_and_settle(channel, descs, count, tickets);
        }
        return as_refusal(channel, answer);
    }
    uint64_t start = idxdd_now_ns();
    while (answer <= IDXDD_CHANNEL_NO_SLOT) {
        uint64_t spent = idxdd_now_ns() - start;
        if (spent >= IDXDD_BLOCK_NS)
            break;
        int waited = wait_to_get_in(channel, answer, IDXDD_BLOCK_NS - spent);
        answer = waited < 0 ? waited : try_and_settle(channel, descs, count, tickets);
    }
    return as_refusal(channel, answer);
}

/* ---- completions --------------------------------------------------------------------------------------------------------- */

static void give_back(struct idxdd_kernel_channel *channel, struct idxdd_reaped *reaped, uint64_t ticket)
{
    reaped->ticket = ticket;
    memcpy(reaped->record, channel->channel->record[idxdd_ticket_slot(ticket)], sizeof reaped->record);
}

/* One entry of the ring. True: *reaped is filled. */
static bool reap_entry(struct idxdd_kernel_channel *channel, struct idxdd_completion entry, struct idxdd_reaped *reaped)
{
    uint32_t slot = idxdd_ticket_slot(entry.ticket);
    if (slot >= channel->slots || channel->state[slot] == IDXDD_SLOT_FREE || channel->sequence_of[slot] != idxdd_ticket_sequence(entry.ticket))
        return false;                   /* a repeat */
    bool wanted = channel->state[slot] != IDXDD_SLOT_REFUSED;
    if (wanted) {
        give_back(channel, reaped, entry.ticket);
        reaped->status = entry.status;
        reaped->result = entry.result;
    }
    free_slot(channel, slot);
    return wanted;
}

/* After the fence: what is in flight and not in the ring is nobody's but ours. */
static uint32_t fail_the_rest(struct idxdd_kernel_channel *channel, struct idxdd_reaped *reaped, uint32_t maximum)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < channel->slots && count < maximum; slot++) {
        uint8_t state = channel->state[slot];
        if (state == IDXDD_SLOT_IN_FLIGHT) {
            struct idxdd_reaped *failed = &reaped[count++];
            give_back(channel, failed, idxdd_ticket(slot, channel->sequence_of[slot]));
            failed->status = failed->record[0];
            failed->result = failed->status == 0 ? IDXDD_TXN_ABORTED : failed->status == 1 ? IDXDD_TXN_NOERROR : IDXDD_TXN_WRITE_FAILED;
        }
        if (state == IDXDD_SLOT_IN_FLIGHT || state == IDXDD_SLOT_REFUSED)
            free_slot(channel, slot);
    }
    return count;
}

uint32_t idxdd_channel_reap(struct idxdd_kernel_channel *channel, struct idxdd_reaped *reaped, uint32_t maximum)
{
    uint32_t count = 0;
    if (!idxdd_owned(channel->owner))
        return 0;
    pthread_mutex_lock(&channel->lock);
    bool fenced = is_fenced(channel->submitter); /* before the tail: idxdd-irq stores `fenced` last */
    uint64_t tail = atomic_load_explicit(&channel->ring->tail, memory_order_acquire);
    uint64_t at = atomic_load_explicit(&channel->reaped, memory_order_relaxed);
    if (tail - at > IDXDD_COMPLETIONS)
        at = tail - IDXDD_COMPLETIONS;  /* what was overwritten was a repeat: there are fewer slots than entries */
    for (; at != tail && count < maximum; at++)
        count += reap_entry(channel, channel->ring->entry[at % IDXDD_COMPLETIONS], &reaped[count]);
    atomic_store_explicit(&channel->reaped, at, memory_order_relaxed);
    if (fenced && at == tail)
        count += fail_the_rest(channel, reaped + count, maximum - count);
    pthread_mutex_unlock(&channel->lock);
    return count;
}

uint64_t idxdd_channel_completed(const struct idxdd_kernel_channel *channel)
{
    return atomic_load_explicit(&channel->ring->tail, memory_order_acquire);
}

static int look_at_completions(struct idxdd_waiter *waiter)
{
    const struct idxdd_kernel_channel *channel = ((struct idxdd_channel_waiter *)waiter)->channel;
    bool fenced = is_fenced(channel->submitter);
    uint64_t completed = idxdd_channel_completed(channel);
    waiter->number = waiter->target;
    if (completed >= waiter->target)
        return IDXDD_WAIT_DONE;
    if (atomic_load_explicit(&channel->over, memory_order_relaxed))
        return IDXDD_WAIT_CLOSED;
    uint32_t closed = idxdd_submitter_closed(channel->submitter);
    if (!closed) {
        waiter->closed_ns = 0;
        return IDXDD_WAIT_PENDING;
    }
    if (closed == IDXDD_CLOSED_DEVICE_GONE)
        return IDXDD_WAIT_GONE;
    uint64_t now = idxdd_now_ns();
    if (!waiter->closed_ns)
        waiter->closed_ns = now;
    uint64_t unread = completed - atomic_load_explicit(&channel->reaped, memory_order_relaxed);
    if (fenced || unread >= atomic_load_explicit(&channel->in_flight, memory_order_relaxed) || now - waiter->closed_ns >= CLOSED_GRACE_NS)
        return IDXDD_WAIT_CLOSED;
    return IDXDD_WAIT_PENDING;
}

void idxdd_channel_waiter_init(struct idxdd_channel_waiter *waiting, struct idxdd_kernel_channel *channel, uint64_t completed)
{
    *waiting = (struct idxdd_channel_waiter){.channel = channel};
    waiting->waiter.target = completed;
    waiting->waiter.look = look_at_completions;
    waiting->waiter.wake_at = &channel->channel->wake_at;
}

int idxdd_channel_wait(struct idxdd_kernel_channel *channel, uint64_t completed, uint64_t timeout_ns)
{
    struct idxdd_channel_waiter waiting;
    if (!idxdd_owned(channel->owner))
        return IDXDD_WAIT_FORKED;
    idxdd_channel_waiter_init(&waiting, channel, completed);
    return idxdd_bell_wait(&channel->submitter->bell, &waiting.waiter, timeout_ns);
}
