/* Device loop -> engine: the request ring, and the portals' numbers.
 *
 * Who writes what   the device loop alone calls these; it owns request_tail, the entries at it, and which portal numbers are in use
 *                   (a number is free again when the loop has pulled the acknowledgement of its removal).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine_state.h"

struct request *request_new(struct idxdd_engine *e, uint32_t kind)
{
    uint32_t tail = atomic_load_explicit(&e->request_tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&e->request_head, memory_order_acquire) >= IDXDD_REQUEST_RING) {
        errno = EAGAIN;
        return NULL;
    }
    struct request *r = &e->request[tail % IDXDD_REQUEST_RING];
    *r = (struct request){.kind = kind};
    if (++e->request_id == 0)
        e->request_id = 1;
    r->id = e->request_id;
    return r;
}

uint32_t request_send(struct idxdd_engine *e, const struct request *r)
{
    uint32_t id = r->id;
    atomic_store_explicit(&e->request_tail, atomic_load_explicit(&e->request_tail, memory_order_relaxed) + 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* partner: the engine stores asleep, fences, looks again */
    if (atomic_load_explicit(&e->options.published->asleep, memory_order_relaxed))
        idxdd_engine_ring(e);
    return id;
}

/* NULL: no memory. Room for it is made before the request, so that what is acknowledged can always be freed. */
struct retired *retired_new(void *memory)
{
    struct retired *retired = malloc(sizeof *retired);
    if (retired)
        *retired = (struct retired){.memory = memory};
    return retired;
}

void retire(struct idxdd_engine *e, struct retired *retired, uint32_t id)
{
    retired->id = id;
    retired->next = e->retired;
    e->retired = retired;
}

static void free_retired(struct idxdd_engine *e, uint32_t id)
{
    for (struct retired **link = &e->retired; *link; link = &(*link)->next)
        if ((*link)->id == id) {
            struct retired *over = *link;
            *link = over->next;
            free(over->memory);
            free(over);
            return;
        }
}

static uint32_t simple(struct idxdd_engine *e, uint32_t kind, uint32_t target, uint64_t wqs, uint32_t value, uint32_t reason)
{
    struct request *r = request_new(e, kind);
    if (!r)
        return 0;
    r->target = target;
    r->wqs = wqs;
    r->value = value;
    r->reason = reason;
    return request_send(e, r);
}

uint32_t idxdd_engine_wq_enable(struct idxdd_engine *e, uint32_t wq, const struct idxdd_wq_config *config)
{
    if (wq >= IDXDD_WQS_MAX) {
        errno = EINVAL;
        return 0;
    }
    struct request *r = request_new(e, REQUEST_WQ_ENABLE);
    if (!r)
        return 0;
    r->target = wq;
    r->config = *config;
    return request_send(e, r);
}

uint32_t idxdd_engine_wq_threshold(struct idxdd_engine *e, uint32_t wq, uint32_t threshold)
{
    if (wq >= IDXDD_WQS_MAX) {
        errno = EINVAL;
        return 0;
    }
    return simple(e, REQUEST_WQ_THRESHOLD, wq, 0, threshold, 0);
}

uint32_t idxdd_engine_wq_stop(struct idxdd_engine *e, uint64_t wqs, enum idxdd_stop how, enum idxdd_closed reason)
{ return simple(e, REQUEST_WQ_STOP, 0, wqs, how, reason); }

uint32_t idxdd_engine_wq_drain(struct idxdd_engine *e, uint64_t wqs) { return simple(e, REQUEST_WQ_DRAIN, 0, wqs, 0, 0); }

uint32_t idxdd_engine_pasid_drain(struct idxdd_engine *e, uint32_t pasid, uint64_t wqs)
{ return simple(e, REQUEST_PASID_DRAIN, pasid, wqs, 0, 0); }

uint32_t idxdd_engine_pasid_abort(struct idxdd_engine *e, uint32_t pasid, uint64_t wqs)
{ return simple(e, REQUEST_PASID_ABORT, pasid, wqs, 0, 0); }

uint32_t idxdd_engine_barrier(struct idxdd_engine *e) { return simple(e, REQUEST_BARRIER, 0, 0, 0, 0); }

uint32_t idxdd_engine_resume(struct idxdd_engine *e, uint32_t context, uint32_t generation, enum idxdd_resume action, uint8_t status)
{
    struct request *r = request_new(e, REQUEST_RESUME);
    if (!r)
        return 0;
    r->target = context;
    r->value = generation;
    r->reason = action;
    r->status = status;
    return request_send(e, r);
}

static struct portal *portal_new(const struct idxdd_portal_options *options)
{
    struct portal *p = aligned_alloc(64, sizeof *p);
    if (!p) {
        errno = ENOMEM;
        return NULL;
    }
    *p = (struct portal){.wq = options->wq, .pasid = options->pasid, .priv = options->priv, .space = options->space, .rung_at = IDXDD_NEVER,
                         .current = NONE, .first_context = NONE, .doorbell = -1, .wake = -1};
    p->client = mmap(NULL, sizeof *p->client, PROT_READ, MAP_SHARED | MAP_POPULATE, options->client_fd, 0);
    p->device = mmap(NULL, IDXDD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, options->device_fd, 0);
    p->doorbell = fcntl(options->doorbell_fd, F_DUPFD_CLOEXEC, 0);
    p->wake = fcntl(options->wake_fd, F_DUPFD_CLOEXEC, 0);
    if (p->client == MAP_FAILED || p->device == MAP_FAILED || p->doorbell < 0 || p->wake < 0) {
        int error = errno;
        if (p->client != MAP_FAILED)
            munmap(p->client, sizeof *p->client);
        if (p->device != MAP_FAILED)
            munmap(p->device, IDXDD_PAGE);
        if (p->doorbell >= 0)
            close(p->doorbell);
        if (p->wake >= 0)
            close(p->wake);
        free(p);
        errno = error;
        return NULL;
    }
    idxdd_space_ref(p->space);
    return p;
}

uint32_t idxdd_engine_portal_add(struct idxdd_engine *e, const struct idxdd_portal_options *options, uint32_t *number)
{
    uint32_t free_number = 0;
    while (free_number < IDXDD_PORTALS_MAX && e->page[free_number])
        free_number++;
    if (options->wq >= IDXDD_WQS_MAX || free_number == IDXDD_PORTALS_MAX) {
        errno = options->wq >= IDXDD_WQS_MAX ? EINVAL : ENOSPC;
        return 0;
    }
    struct request *r = request_new(e, REQUEST_PORTAL_ADD);
    struct portal *p = r ? portal_new(options) : NULL;
    if (!p)
        return 0;
    p->number = free_number;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = p->doorbell};
    if (epoll_ctl(e->epoll, EPOLL_CTL_ADD, p->doorbell, &event) < 0) {
        int error = errno;
        portal_free(p);
        errno = error;
        return 0;
    }
    e->page[free_number] = p->device;
    r->portal = p;
    *number = free_number;
    return request_send(e, r);
}

uint32_t idxdd_engine_agent_add(struct idxdd_engine *e, const struct idxdd_agent_options *options)
{
    struct request *r = request_new(e, REQUEST_AGENT_ADD);
    if (!r)
        return 0;
    r->agent = idxdd_agent_new(options->space, options->memory_fd, options->bell_fd, options->doorbell_fd, options->timeout_ns);
    if (!r->agent)
        return 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = r->agent->doorbell};
    epoll_ctl(e->epoll, EPOLL_CTL_ADD, r->agent->doorbell, &event);
    return request_send(e, r);
}

uint32_t idxdd_engine_agent_remove(struct idxdd_engine *e, struct idxdd_space *space)
{
    struct request *r = request_new(e, REQUEST_AGENT_REMOVE);
    if (!r)
        return 0;
    idxdd_space_ref(space);
    r->space = space;
    return request_send(e, r);
}

uint32_t idxdd_engine_idpt_set(struct idxdd_engine *e, uint32_t device, uint32_t handle, const struct idxdd_idpt_entry *entry, bool update)
{
    if (device >= IDXDD_DEVICES_MAX || handle >= IDXDD_IDPT_MAX) {
        errno = EINVAL;
        return 0;
    }
    struct request *r = request_new(e, REQUEST_IDPT_SET);
    if (!r)
        return 0;
    r->target = device * IDXDD_IDPT_MAX + handle;
    r->value = update;
    r->idpt = *entry;
    if (entry->space)
        idxdd_space_ref(entry->space);
    if (entry->bitmap_space)
        idxdd_space_ref(entry->bitmap_space);
    return request_send(e, r);
}

static uint32_t portal_request(struct idxdd_engine *e, uint32_t kind, uint32_t portal, uint32_t how, uint32_t reason)
{
    if (portal >= IDXDD_PORTALS_MAX || !e->page[portal]) {
        errno = ENOENT;
        return 0;
    }
    return simple(e, kind, portal, 0, how, reason);
}

uint32_t idxdd_engine_portal_close(struct idxdd_engine *e, uint32_t portal, enum idxdd_stop how, enum idxdd_closed reason)
{ return portal_request(e, REQUEST_PORTAL_CLOSE, portal, how, reason); }

uint32_t idxdd_engine_portal_reopen(struct idxdd_engine *e, uint32_t portal)
{ return portal_request(e, REQUEST_PORTAL_REOPEN, portal, 0, 0); }

uint32_t idxdd_engine_portal_remove(struct idxdd_engine *e, uint32_t portal)
{
    uint32_t id = portal_request(e, REQUEST_PORTAL_REMOVE, portal, 0, 0);
    if (id) {
        e->page[portal] = (struct idxdd_portal_device *)PORTAL_LEAVING;
        e->leaving[portal] = id;
        e->leavers++;
    }
    return id;
}

int idxdd_engine_portal_fenced(struct idxdd_engine *e, uint32_t portal)
{
    const struct idxdd_portal_device *page = idxdd_engine_portal_page(e, portal);
    if (!page)
        return ENOENT;
    atomic_store(&e->page[portal]->fenced, 1); /* the one word of this page that is not the engine's */
    return 0;
}

const struct idxdd_portal_device *idxdd_engine_portal_page(const struct idxdd_engine *e, uint32_t portal)
{
    if (portal >= IDXDD_PORTALS_MAX || !e->page[portal] || e->page[portal] == (struct idxdd_portal_device *)PORTAL_LEAVING)
        return NULL;
    return e->page[portal];
}

uint32_t idxdd_engine_exits(struct idxdd_engine *e, struct idxdd_exit *out, uint32_t maximum)
{
    uint32_t head = atomic_load_explicit(&e->exit_head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&e->exit_tail, memory_order_acquire); /* partner: exit_send */
    uint32_t n = 0;
    for (; head != tail && n < maximum; head++, n++) {
        out[n] = e->exit[head % IDXDD_EXITS];
        if (out[n].kind == IDXDD_EXIT_INJECTED)
            atomic_fetch_add_explicit(&e->events_pulled, 1, memory_order_relaxed);
        if (out[n].kind == IDXDD_EXIT_ACK && e->retired)
            free_retired(e, out[n].id);
        if (out[n].kind == IDXDD_EXIT_ACK && e->leavers)
            for (uint32_t i = 0; i < IDXDD_PORTALS_MAX; i++)
                if (e->leaving[i] == out[n].id) {
                    e->leaving[i] = 0;
                    e->page[i] = NULL;
                    e->leavers--;
                    break;
                }
    }
    atomic_store_explicit(&e->exit_head, head, memory_order_release);
    return n;
}
