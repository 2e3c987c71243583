/* Serving the device's requests for this process's memory.
 *
 * Who serves        any thread of the library that waits for a completion, while it looks; else the agent's own thread, which
 *                   sleeps at its bell. One at a time (`busy`). Who only waits leaves what might block to the thread.
 * How               vmsplice and read through a pipe of ours: the kernel checks every page as for any access of this process, so
 *                   protections hold and nothing here can raise a signal. (Measured: 0.9 us for 4 KiB, half the time of
 *                   process_vm_readv, whose pages are pinned one by one.) What ends early is done again up to the exact byte.
 * Present           without Block on Fault a page must be present already: /proc/self/pagemap says so; without it, mincore.
 * Claim             before the first store into our memory (shm.h); everything that may block comes before.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "owner.h"
#include "wait.h"

#define PAGE IDXDD_PAGE
#define PIPE_BYTES (512 * 1024)            /* an unaligned COPY fits */
#define JOIN_S 1                           /* its thread may wait for a page that nobody brings */
#define IN_MEMORY (1ull << 63)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; }
static uint64_t page_left(uint64_t address) { return PAGE - address % PAGE; }

/* ---- copying within this process -------------------------------------------------------------------------------------------- */

static void empty_pipe(const struct idxdd_server *server)
{
    char scrap[4096];
    while (read(server->pipe[0], scrap, sizeof scrap) > 0) {}
}

/* Bytes copied; less than `size` is not the exact end yet. */
static uint64_t copy_some(const struct idxdd_server *server, uint64_t to, uint64_t from, uint64_t size)
{
    struct iovec source = {.iov_base = pointer(from), .iov_len = size};
    ssize_t in = vmsplice(server->pipe[1], &source, 1, SPLICE_F_NONBLOCK);
    if (in <= 0)
        return 0;
    ssize_t out = read(server->pipe[0], pointer(to), (size_t)in);
    if (out != in)
        empty_pipe(server);
    return out < 0 ? 0 : (uint64_t)out;
}

/* Bytes copied before the first that could not be. */
static uint64_t copy(const struct idxdd_server *server, uint64_t to, uint64_t from, uint64_t size)
{
    uint64_t done = 0, n;
    while (done < size && (n = copy_some(server, to + done, from + done, size - done)))
        done += n;
    while (done < size) {                  /* pieces that lie in one page at both ends: all or nothing */
        uint64_t piece = least(size - done, least(page_left(to + done), page_left(from + done)));
        if (copy_some(server, to + done, from + done, piece) != piece)
            break;
        done += piece;
    }
    return done;
}

/* The same from the end, page by page of `paged`, which is one of the two. */
static uint64_t copy_back(const struct idxdd_server *server, uint64_t to, uint64_t from, uint64_t size, uint64_t paged)
{
    uint64_t left = size;
    while (left) {
        uint64_t piece = least(left, (paged + left - 1) % PAGE + 1);
        if (copy(server, to + left - piece, from + left - piece, piece) != piece)
            break;
        left -= piece;
    }
    return size - left;
}

static bool is_readable(const struct idxdd_server *server, uint64_t address)
{
    char byte;
    return copy_some(server, (uint64_t)(uintptr_t)&byte, address, 1) == 1;
}

/* ---- presence ------------------------------------------------------------------------------------------------------------------ */

/* <linux/fs.h> of Linux 6.7; older headers lack it. */
struct scan {
    uint64_t size, flags, start, end, walk_end, vector, vector_length, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan)
#define SCAN_PRESENT (1ull << 3)

/* Is no page of these absent? One walk of the page table; holes between mappings pass, the copy will find them. */
static bool all_present(const struct idxdd_server *server, uint64_t page, uint64_t count)
{
    uint64_t region[3];
    struct scan scan = {.size = sizeof scan, .start = page * PAGE, .end = (page + count) * PAGE, .vector = (uint64_t)(uintptr_t)region,
                        .vector_length = 1, .max_pages = 1, .category_inverted = SCAN_PRESENT, .category_mask = SCAN_PRESENT,
                        .return_mask = SCAN_PRESENT};
    return server->pagemap >= 0 && ioctl(server->pagemap, SCAN, &scan) == 0;
}

static bool is_present(const struct idxdd_server *server, uint64_t page)
{
    uint64_t entry;
    unsigned char resident;
    if (server->pagemap >= 0)
        return pread(server->pagemap, &entry, sizeof entry, (off_t)(page * sizeof entry)) == sizeof entry && entry & IN_MEMORY;
    return mincore(pointer(page * PAGE), PAGE, &resident) == 0 && resident & 1;
}

/* How many of `size` bytes lie in pages that are present, from the start on, or down from the end. */
static uint64_t present(const struct idxdd_server *server, uint64_t address, uint64_t size, bool back)
{
    uint64_t first = address / PAGE, pages = (address + size - 1) / PAGE - first + 1, n = 0;
    if (all_present(server, first, pages))
        return size;
    while (n < pages && is_present(server, back ? first + pages - 1 - n : first + n))
        n++;
    if (n == pages)
        return size;
    return !n ? 0 : back ? address + size - (first + pages - n) * PAGE : (first + n) * PAGE - address;
}

/* Bring the pages, for writing too: may take as long as whoever brings them. As present(). */
static uint64_t populate(const struct idxdd_server *server, uint64_t address, uint64_t size, bool write, bool back)
{
    int how = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    uint64_t start = address / PAGE * PAGE, end = address + size, done = 0;
    if (!server->populates || madvise(pointer(start), (end - start + PAGE - 1) / PAGE * PAGE, how) == 0)
        return size;
    while (done < size) {
        uint64_t at = back ? end - done - 1 : address + done;
        if (madvise(pointer(at / PAGE * PAGE), PAGE, how) < 0)
            break;
        done += back ? at % PAGE + 1 : page_left(at);
    }
    return least(done, size);
}

/* ---- one request ------------------------------------------------------------------------------------------------------------------ */

struct job {
    struct idxdd_agent_slot *slot;
    uint64_t sequence;                     /* in place */
    uint64_t address, source, bounce;
    uint32_t size;
    uint16_t kind, flags;
    uint32_t count, at_source;
};

enum outcome { SERVED, DROPPED, LEFT };

static bool move_word(const struct job *job, uint64_t from, uint64_t to)
{
    uint64_t word = job->sequence | from;
    return atomic_compare_exchange_strong(&job->slot->word, &word, job->sequence | to);
}

static bool touches(const struct job *job) { return job->flags & IDXDD_AGENT_TOUCH; }
static bool back(const struct job *job) { return job->flags & IDXDD_AGENT_BACKWARDS; }

/* Cuts the job to what is there, or brings it. False: it must be left to the thread. */
static bool bring(const struct idxdd_server *server, struct job *job, bool write, bool may_block)
{
    bool prepare = job->kind == IDXDD_AGENT_PREPARE;
    uint64_t n = present(server, job->address, job->size, back(job));
    bool all = n == job->size;
    if (!all && touches(job) && !may_block)
        return false;
    if (all || touches(job))
        n = prepare || !all ? populate(server, job->address, job->size, write, back(job)) : job->size;
    else if (n && prepare)
        n = least(n, populate(server, back(job) ? job->address + job->size - n : job->address, n, write, back(job)));
    if (back(job)) {
        job->address += job->size - n;
        job->source += job->size - n;
        job->bounce += job->size - n;
    }
    job->size = (uint32_t)n;
    return true;
}

static bool bring_both(const struct idxdd_server *server, struct job *job, bool may_block)
{
    uint64_t size = job->size;
    uint64_t source = job->flags & IDXDD_AGENT_SOURCE_MAPPED ? size : present(server, job->source, size, false);
    uint64_t address = job->flags & IDXDD_AGENT_ADDRESS_MAPPED ? size : present(server, job->address, size, false);
    if (touches(job) && (source < size || address < size)) {
        if (!may_block)
            return false;
        if (source < size)
            source = populate(server, job->source, size, false, false);
        if (address < size)
            address = populate(server, job->address, size, true, false);
    }
    job->at_source = source <= address;
    job->size = (uint32_t)least(size, least(source, address));
    return true;
}

static uint32_t store_record(const struct idxdd_server *server, const struct job *job)
{
    if (copy(server, job->address + 1, job->bounce + 1, 31) != 31)
        return 0;
    idxdd_fence();                         /* who sees the status may read the rest */
    return copy(server, job->address, job->bounce, 1) == 1 ? 32 : 0;
}

static enum outcome store(struct idxdd_server *server, struct job *job, bool may_block)
{
    uint32_t asked = job->size;
    if (job->kind == IDXDD_AGENT_COPY ? !bring_both(server, job, may_block) : !bring(server, job, true, may_block))
        return LEFT;
    if (!move_word(job, IDXDD_AGENT_TAKEN, IDXDD_AGENT_CLAIMED))
        return DROPPED;
    if (job->kind == IDXDD_AGENT_RECORD) {
        job->count = job->size == asked ? store_record(server, job) : 0;
    } else if (job->kind == IDXDD_AGENT_WRITE) {
        job->count = (uint32_t)(back(job) ? copy_back(server, job->address, job->bounce, job->size, job->address)
                                          : copy(server, job->address, job->bounce, job->size));
    } else {
        job->count = (uint32_t)copy(server, job->address, job->source, job->size);
        if (job->count < job->size)
            job->at_source = !is_readable(server, job->source + job->count);
    }
    return SERVED;
}

static enum outcome load(struct idxdd_server *server, struct job *job, bool may_block)
{
    if (!bring(server, job, job->kind == IDXDD_AGENT_PREPARE, may_block))
        return LEFT;
    job->count = (uint32_t)(back(job) ? copy_back(server, job->bounce, job->address, job->size, job->address)
                                      : copy(server, job->bounce, job->address, job->size));
    return SERVED;
}

static void answer(const struct idxdd_server *server, const struct job *job, uint64_t state)
{
    job->slot->count = job->count;
    job->slot->at_source = job->at_source;
    if (!move_word(job, state, IDXDD_AGENT_DONE)) {
        atomic_store_explicit(&job->slot->word, job->sequence | IDXDD_AGENT_RELEASED, memory_order_release);
        return;
    }
    idxdd_fence();                         /* partner: the engine stores asleep, fences, looks again */
    uint64_t one = 1;
    if (atomic_load_explicit(&server->published->asleep, memory_order_relaxed) && write(server->doorbell, &one, sizeof one) < 0) {}
}

/* False: left to the thread. */
static bool serve_slot(struct idxdd_server *server, unsigned i, bool may_block, bool *any)
{
    struct idxdd_agent_slot *slot = &server->page->slot[i];
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    struct job job = {.slot = slot, .sequence = word & ~(uint64_t)IDXDD_AGENT_STATE_MASK};
    if ((word & IDXDD_AGENT_STATE_MASK) != IDXDD_AGENT_ASKED || !move_word(&job, IDXDD_AGENT_ASKED, IDXDD_AGENT_TAKEN))
        return true;
    job.address = slot->address;
    job.source = slot->source;
    job.size = slot->size;
    job.kind = slot->kind;
    job.flags = slot->flags;
    bool stores = job.kind >= IDXDD_AGENT_WRITE;
    job.bounce = (uint64_t)(uintptr_t)server->page->bounce[i][slot->region % IDXDD_AGENT_REGIONS];
    if (job.kind == IDXDD_AGENT_WRITE)
        job.bounce += job.source % IDXDD_AGENT_REGION_BYTES;
    switch (stores ? store(server, &job, may_block) : load(server, &job, may_block)) {
    case SERVED: answer(server, &job, stores ? IDXDD_AGENT_CLAIMED : IDXDD_AGENT_TAKEN); break;
    case DROPPED: atomic_store_explicit(&slot->word, job.sequence | IDXDD_AGENT_RELEASED, memory_order_release); break;
    case LEFT:
        if (move_word(&job, IDXDD_AGENT_TAKEN, IDXDD_AGENT_ASKED))
            return false;
        atomic_store_explicit(&slot->word, job.sequence | IDXDD_AGENT_RELEASED, memory_order_release);
        break;
    }
    *any = true;
    return true;
}

static void ring_self(const struct idxdd_server *server)
{
    uint64_t one = 1;
    if (write(server->bell, &one, sizeof one) < 0) {} /* full: it is readable already */
}

bool idxdd_server_look(struct idxdd_server *server, bool may_block)
{
    uint64_t requests = atomic_load_explicit(&server->page->requests, memory_order_acquire);
    if (requests == atomic_load_explicit(&server->seen[may_block], memory_order_relaxed))
        return false;
    if (!idxdd_owned(server->owner) || atomic_exchange_explicit(&server->busy, 1, memory_order_acquire))
        return false;
    bool any = false, all = true;
    requests = atomic_load_explicit(&server->page->requests, memory_order_acquire);
    atomic_store_explicit(&server->page->heard, atomic_load_explicit(&server->page->hail, memory_order_relaxed), memory_order_relaxed);
    for (unsigned i = 0; i < IDXDD_AGENT_SLOTS; i++)
        all &= serve_slot(server, i, may_block, &any);
    atomic_store_explicit(&server->seen[0], requests, memory_order_relaxed);
    if (all)
        atomic_store_explicit(&server->seen[1], requests, memory_order_relaxed);
    atomic_store_explicit(&server->busy, 0, memory_order_release);
    if (!all)
        ring_self(server);
    return any;
}

/* ---- the thread ------------------------------------------------------------------------------------------------------------------------ */

void idxdd_server_enter(struct idxdd_server *server) { atomic_fetch_add(&server->page->awake, 1); }

static bool left_something(struct idxdd_server *server)
{
    atomic_fetch_sub(&server->page->awake, 1);
    idxdd_fence();                         /* partner: the device announces, fences, reads awake */
    return atomic_load(&server->page->requests) != atomic_load(&server->seen[1]);
}

void idxdd_server_leave(struct idxdd_server *server)
{
    if (left_something(server))
        ring_self(server);
}

static bool cores_to_spare(const struct idxdd_server *server)
{
    return atomic_load_explicit(&server->published->clients, memory_order_relaxed) < server->published->cores;
}

static void *thread_main(void *argument)
{
    struct idxdd_server *server = argument;
    prctl(PR_SET_NAME, "idxdd-agent");
    while (!atomic_load(&server->stop)) {
        idxdd_server_enter(server);
        uint64_t spin_ns = cores_to_spare(server) ? IDXDD_SERVER_SPIN_NS : 0, end_ns = idxdd_now_ns() + spin_ns;
        do {
            if (idxdd_server_look(server, true))
                end_ns = idxdd_now_ns() + spin_ns;
            if (atomic_load_explicit(&server->page->awake, memory_order_relaxed) > 1)
                sched_yield(); /* a waiter looks, too: it or the engine may need this very core */
            else
                idxdd_relax();
        } while (!atomic_load_explicit(&server->stop, memory_order_relaxed) && idxdd_now_ns() < end_ns);
        if (left_something(server))
            continue;
        struct pollfd bell = {.fd = server->bell, .events = POLLIN};
        uint64_t count;
        if (poll(&bell, 1, -1) > 0 && read(server->bell, &count, sizeof count) < 0) {}
    }
    return NULL;
}

static int start(struct idxdd_server *server)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
    int error = pthread_create(&server->thread, NULL, thread_main, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server->started = error == 0;
    return -error;
}

static bool populates(const struct idxdd_server *server)
{
    return madvise(pointer((uint64_t)(uintptr_t)server->page->bounce), PAGE, MADV_POPULATE_WRITE) == 0;
}

int idxdd_server_open(struct idxdd_server *server, int memory_fd, int bell_fd, int doorbell_fd, int published_fd, bool thread)
{
    *server = (struct idxdd_server){.bell = -1, .doorbell = -1, .pagemap = -1, .pipe = {-1, -1}};
    server->owner = idxdd_owner();
    server->page = idxdd_map_owned(memory_fd, sizeof *server->page, true);
    server->published = server->page ? idxdd_map_owned(published_fd, sizeof *server->published, false) : NULL;
    server->bell = fcntl(bell_fd, F_DUPFD_CLOEXEC, 0);
    server->doorbell = fcntl(doorbell_fd, F_DUPFD_CLOEXEC, 0);
    int error = 0;
    if (!server->owner || !server->published || server->bell < 0 || server->doorbell < 0 || pipe2(server->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        error = errno ? -errno : -ENOMEM;
    if (!error) {
        if (fcntl(server->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) < 0) {} /* over the user's limit: then it takes more turns */
        server->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        server->populates = populates(server);
        error = thread ? start(server) : 0;
    }
    if (error)
        idxdd_server_close(server);
    return error;
}

void idxdd_server_stop(struct idxdd_server *server)
{
    if (!server->started || !idxdd_owned(server->owner))
        return;
    atomic_store(&server->stop, 1);
    ring_self(server);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += JOIN_S;
    server->lost = pthread_timedjoin_np(server->thread, NULL, &limit) != 0;
    if (server->lost)
        pthread_detach(server->thread);
    server->started = false;
}

bool idxdd_server_close(struct idxdd_server *server)
{
    idxdd_server_stop(server);
    if (server->lost)
        return false;
    idxdd_unmap_owned(server->page, sizeof *server->page, server->owner);
    idxdd_unmap_owned((void *)(uintptr_t)server->published, sizeof *server->published, server->owner);
    int fds[] = {server->bell, server->doorbell, server->pagemap, server->pipe[0], server->pipe[1]};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *server = (struct idxdd_server){.bell = -1, .doorbell = -1, .pagemap = -1, .pipe = {-1, -1}};
    return true;
}
