/* The C client library: a session with the daemon, its buffers, its work queues.
 *
 * Who writes what   the connection's lists (buffers, WQs) are guarded by `lists`; the control socket has its own lock.
 * Reach             the agent is started by the first descriptor that names an address outside the buffers.
 * Order             closing: unregister before unmapping, unmap before giving back; a WQ's portal is unmapped before the daemon
 *                   is told, so that no thread of ours can publish into a page that is somebody else's by then.
 * Trust             sizes in answers are checked before anything is mapped; memory files are checked for their size. */
#include "idxdd/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel.h"
#include "control.h"
#include "idxdd/spec.h"
#include "owner.h"
#include "serve.h"

#define HELLO_FDS 2u               /* published_device, published_driver */
#define OPEN_FDS_USER 4u           /* client's page, device's page, doorbell, wake socket */
#define OPEN_FDS_KERNEL 6u         /* and channel, completion ring */
#define AGENT_FDS 3u               /* memory, the agent's bell, the engine's bell */
#define RANGES_KNOWN 4u
#define OBJECT_MAX UINT32_MAX

struct buffer {
    struct buffer *next;
    void *address;
    size_t size;
    uint64_t number;
};

enum reach { REACH_BUFFERS, REACH_ALL, REACH_REFUSED };

struct idxdd_wq {
    struct idxdd_wq *next;
    struct idxdd_connection *connection;
    struct idxdd_wq_facts facts;
    uint64_t portal;
    struct idxdd_submitter submitter;
    struct idxdd_kernel_channel channel;
};

struct idxdd_connection {
    struct idxdd_control control;
    uint64_t owner;
    int published_fd, driver_fd;
    pthread_mutex_t lists;
    struct buffer *buffers;
    struct idxdd_wq *wqs;
    pthread_mutex_t starting;
    struct idxdd_server *server;       /* under `starting` until reach says REACH_ALL */
    _Atomic uint32_t reach;            /* enum reach */
    _Atomic uint64_t changes;          /* of `buffers`: what was known of them is known no more */
};

/* Ranges of buffers this thread has seen, of one connection: most descriptors name few. */
static _Thread_local struct {
    const struct idxdd_connection *connection;
    uint64_t changes;
    uint32_t next;
    struct { uint64_t start, size; } range[RANGES_KNOWN];
} known;

/* ---- requests -------------------------------------------------------------------------------------------------------------- */

static int check_owner(const struct idxdd_connection *connection, const char *doing)
{
    return idxdd_owned(connection->owner) ? 0 : idxdd_fail(-ECHILD, "%s: the connection belongs to the parent process", doing);
}

/* A request whose answer holds nothing of interest. */
static int tell(struct idxdd_connection *connection, const char *op, const struct idxdd_argument *arguments, unsigned count)
{
    struct idxdd_answer answer;
    int error = check_owner(connection, op);
    if (error)
        return error;
    pthread_mutex_lock(&connection->control.lock);
    error = idxdd_control_request(&connection->control, op, arguments, count, &answer);
    pthread_mutex_unlock(&connection->control.lock);
    if (!error)
        idxdd_answer_close(&answer);
    return error;
}

static int not_an_answer(struct idxdd_answer *answer, const char *op)
{
    idxdd_answer_close(answer);
    return idxdd_fail(-EPROTO, "%s: the daemon's answer lacks something", op);
}

/* ---- connection ------------------------------------------------------------------------------------------------------------ */

static int hello(struct idxdd_connection *connection)
{
    struct idxdd_answer answer;
    uint64_t version;
    pthread_mutex_lock(&connection->control.lock);
    int error = idxdd_control_request(&connection->control, "hello", NULL, 0, &answer);
    bool complete = !error && answer.fd_count == HELLO_FDS && idxdd_answer_number(&answer, "version", UINT32_MAX, &version);
    pthread_mutex_unlock(&connection->control.lock);
    if (error)
        return error;
    if (!complete)
        return not_an_answer(&answer, "hello");
    connection->published_fd = answer.fds[0];
    connection->driver_fd = answer.fds[1];
    if (version != IDXDD_CONTROL_VERSION)
        return idxdd_fail(-EPROTO, "hello: the daemon speaks version %llu, this library %u", (unsigned long long)version, IDXDD_CONTROL_VERSION);
    return 0;
}

int idxdd_connect(const char *path, struct idxdd_connection **out)
{
    struct idxdd_connection *connection = calloc(1, sizeof *connection);
    *out = NULL;
    if (!connection)
        return idxdd_fail(-ENOMEM, "connect: out of memory");
    connection->published_fd = connection->driver_fd = -1;
    connection->control.fd = -1;
    pthread_mutex_init(&connection->lists, NULL);
    pthread_mutex_init(&connection->starting, NULL);
    connection->owner = idxdd_owner();
    int error = connection->owner ? idxdd_control_connect(&connection->control, path) : idxdd_fail(-ENOMEM, "connect: out of memory");
    if (!error)
        error = hello(connection);
    if (error) {
        idxdd_close(connection);
        return error;
    }
    *out = connection;
    return 0;
}

void idxdd_close(struct idxdd_connection *connection)
{
    if (!connection)
        return;
    while (connection->wqs)
        idxdd_wq_close(connection->wqs);
    if (connection->server && idxdd_server_close(connection->server))
        free(connection->server);
    while (connection->buffers)
        idxdd_free(connection, connection->buffers->address);
    idxdd_control_close(&connection->control);
    if (connection->published_fd >= 0)
        close(connection->published_fd);
    if (connection->driver_fd >= 0)
        close(connection->driver_fd);
    free(connection);
}

/* ---- buffers --------------------------------------------------------------------------------------------------------------- */

static int map_buffer(struct buffer *buffer, int fd, uint64_t size)
{
    struct stat file;
    if (fstat(fd, &file) < 0 || file.st_size < 0 || (uint64_t)file.st_size < size)
        return idxdd_fail(-EPROTO, "alloc: the daemon's file is shorter than it says");
    void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (address == MAP_FAILED)
        return idxdd_fail(-errno, "alloc: mmap of %llu bytes: %s", (unsigned long long)size, strerror(errno));
    buffer->address = address;
    buffer->size = size;
    return 0;
}

static int get_buffer(struct idxdd_connection *connection, size_t size, struct buffer *buffer)
{
    struct idxdd_answer answer;
    struct idxdd_argument argument = {.key = "size", .number = size};
    uint64_t rounded = 0;
    pthread_mutex_lock(&connection->control.lock);
    int error = idxdd_control_request(&connection->control, "alloc", &argument, 1, &answer);
    bool complete = !error && answer.fd_count == 1 && idxdd_answer_number(&answer, "buffer", OBJECT_MAX, &buffer->number) &&
                    idxdd_answer_number(&answer, "size", INT64_MAX, &rounded) && rounded >= size;
    pthread_mutex_unlock(&connection->control.lock);
    if (error)
        return error;
    if (!complete)
        return not_an_answer(&answer, "alloc");
    error = map_buffer(buffer, answer.fds[0], rounded);
    idxdd_answer_close(&answer);
    return error;
}

static int register_buffer(struct idxdd_connection *connection, const struct buffer *buffer)
{
    struct idxdd_argument arguments[] = {{.key = "buffer", .number = buffer->number},
                                         {.key = "address", .number = (uint64_t)(uintptr_t)buffer->address}};
    return tell(connection, "map", arguments, 2);
}

static void give_back_buffer(struct idxdd_connection *connection, const struct buffer *buffer)
{
    struct idxdd_argument argument = {.key = "buffer", .number = buffer->number};
    if (buffer->address)
        munmap(buffer->address, buffer->size);
    if (buffer->number)
        tell(connection, "free", &argument, 1);
}

int idxdd_alloc(struct idxdd_connection *connection, size_t size, void **address)
{
    *address = NULL;
    int error = check_owner(connection, "alloc");
    if (error)
        return error;
    struct buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return idxdd_fail(-ENOMEM, "alloc: out of memory");
    error = get_buffer(connection, size, buffer);
    if (!error)
        error = register_buffer(connection, buffer);
    if (error) {
        char why[1024];
        strncpy(why, idxdd_error(), sizeof why - 1);
        why[sizeof why - 1] = 0;
        give_back_buffer(connection, buffer);
        free(buffer);
        return idxdd_fail(error, "%s", why);
    }
    pthread_mutex_lock(&connection->lists);
    buffer->next = connection->buffers;
    connection->buffers = buffer;
    atomic_fetch_add(&connection->changes, 1);
    pthread_mutex_unlock(&connection->lists);
    *address = buffer->address;
    return 0;
}

static struct buffer *take_out(struct idxdd_connection *connection, const void *address)
{
    struct buffer *found = NULL;
    pthread_mutex_lock(&connection->lists);
    for (struct buffer **at = &connection->buffers; *at && !found; )
        if ((*at)->address == address) {
            found = *at;
            *at = found->next;
            atomic_fetch_add(&connection->changes, 1);
        } else {
            at = &(*at)->next;
        }
    pthread_mutex_unlock(&connection->lists);
    return found;
}

int idxdd_free(struct idxdd_connection *connection, void *address)
{
    struct idxdd_argument argument = {.key = "address", .number = (uint64_t)(uintptr_t)address};
    struct buffer *buffer = take_out(connection, address);
    if (!buffer)
        return idxdd_fail(-EINVAL, "free: %p is not from idxdd_alloc", address);
    int error = tell(connection, "unmap", &argument, 1);
    give_back_buffer(connection, buffer);
    free(buffer);
    return error;
}

/* ---- memory that is no buffer of ours ------------------------------------------------------------------------------------------ */

static int start_server(struct idxdd_connection *connection)
{
    struct idxdd_answer answer;
    int error = check_owner(connection, "agent");
    if (error)
        return error;
    struct idxdd_server *server = calloc(1, sizeof *server);
    if (!server)
        return idxdd_fail(-ENOMEM, "agent: out of memory");
    pthread_mutex_lock(&connection->control.lock);
    error = idxdd_control_request(&connection->control, "agent", NULL, 0, &answer);
    pthread_mutex_unlock(&connection->control.lock);
    if (!error && answer.fd_count != AGENT_FDS)
        error = not_an_answer(&answer, "agent");
    else if (!error) {
        error = idxdd_server_open(server, answer.fds[0], answer.fds[1], answer.fds[2], connection->published_fd, true);
        if (error)
            idxdd_fail(error, "agent: %s", strerror(-error));
        idxdd_answer_close(&answer);
    }
    if (error) {
        free(server);
        return error;
    }
    connection->server = server;
    return 0;
}

int idxdd_reach(struct idxdd_connection *connection)
{
    int error = 0;
    pthread_mutex_lock(&connection->starting);
    if (!connection->server) {
        error = start_server(connection);
        pthread_mutex_lock(&connection->lists);
        for (struct idxdd_wq *wq = connection->wqs; wq && !error; wq = wq->next)
            atomic_store_explicit(&wq->submitter.bell.server, connection->server, memory_order_release);
        pthread_mutex_unlock(&connection->lists);
        atomic_store(&connection->reach, error ? REACH_REFUSED : REACH_ALL);
    }
    pthread_mutex_unlock(&connection->starting);
    return error;
}

static bool learn_range(struct idxdd_connection *connection, uint64_t address)
{
    bool found = false;
    pthread_mutex_lock(&connection->lists);
    for (const struct buffer *buffer = connection->buffers; buffer && !found; buffer = buffer->next)
        if (address - (uint64_t)(uintptr_t)buffer->address < buffer->size) {
            known.range[known.next].start = (uint64_t)(uintptr_t)buffer->address;
            known.range[known.next].size = buffer->size;
            known.next = (known.next + 1) % RANGES_KNOWN;
            found = true;
        }
    pthread_mutex_unlock(&connection->lists);
    return found;
}

static bool in_buffer(struct idxdd_connection *connection, uint64_t address)
{
    for (unsigned i = 0; i < RANGES_KNOWN; i++)
        if (address - known.range[i].start < known.range[i].size)
            return true;
    return learn_range(connection, address);
}

/* Operations whose second word, or third, is no address. */
static bool has_address(uint8_t opcode, unsigned which)
{
    switch (opcode) {
    case IDXDD_OPCODE_NOOP: case IDXDD_OPCODE_DRAIN: return false;
    case IDXDD_OPCODE_MEMFILL: return which == 1;
    case IDXDD_OPCODE_COMPVAL: case IDXDD_OPCODE_BATCH: case IDXDD_OPCODE_CRCGEN: return which == 0;
    default: return true;
    }
}

static bool all_in_buffers(struct idxdd_connection *connection, const struct idxdd_desc *descs, uint32_t count)
{
    uint64_t changes = atomic_load_explicit(&connection->changes, memory_order_acquire);
    if (known.connection != connection || known.changes != changes) {
        memset(&known, 0, sizeof known);
        known.connection = connection;
        known.changes = changes;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct idxdd_desc *desc = &descs[i];
        uint8_t opcode = (uint8_t)(desc->flags_opcode >> 24);
        if (desc->flags_opcode & IDXDD_FLAG_CRAV && !in_buffer(connection, desc->completion_addr))
            return false;
        if ((has_address(opcode, 0) && !in_buffer(connection, desc->source)) || (has_address(opcode, 1) && !in_buffer(connection, desc->destination)))
            return false;
    }
    return true;
}

/* ---- opening a work queue ---------------------------------------------------------------------------------------------------- */

struct opened {
    struct idxdd_answer answer;    /* its descriptors */
    uint64_t channel, slots;
};

static bool read_flag(const struct idxdd_answer *answer, const char *key, bool *flag)
{
    struct idxdd_mp value;
    return idxdd_mp_find(answer->ok, key, &value) && idxdd_mp_boolean(value, flag);
}

static bool read_opened(struct idxdd_wq *wq, struct opened *opened)
{
    const struct idxdd_answer *answer = &opened->answer;
    uint64_t number, size, threshold, batch;
    if (!idxdd_answer_number(answer, "portal", OBJECT_MAX, &wq->portal) || !idxdd_answer_number(answer, "wq", IDXDD_WQS_MAX - 1, &number) ||
        !idxdd_answer_number(answer, "size", UINT32_MAX, &size) || !idxdd_answer_number(answer, "threshold", UINT32_MAX, &threshold) ||
        !idxdd_answer_number(answer, "max_batch_size", UINT32_MAX, &batch) ||
        !idxdd_answer_number(answer, "max_transfer_size", UINT64_MAX, &wq->facts.max_transfer_size) ||
        !read_flag(answer, "dedicated", &wq->facts.dedicated) || !read_flag(answer, "kernel", &wq->facts.kernel))
        return false;
    wq->facts.number = (uint32_t)number;
    wq->facts.size = (uint32_t)size;
    wq->facts.threshold = (uint32_t)threshold;
    wq->facts.max_batch_size = (uint32_t)batch;
    if (!wq->facts.kernel)
        return answer->fd_count == OPEN_FDS_USER;
    return answer->fd_count == OPEN_FDS_KERNEL && idxdd_answer_number(answer, "channel", OBJECT_MAX, &opened->channel) &&
           idxdd_answer_number(answer, "slots", IDXDD_CHANNEL_SLOTS, &opened->slots);
}

static int ask_to_open(struct idxdd_wq *wq, const char *name, struct opened *opened)
{
    struct idxdd_control *control = &wq->connection->control;
    struct idxdd_argument argument = {.key = "wq", .text = name};
    pthread_mutex_lock(&control->lock);
    int error = idxdd_control_request(control, "open", &argument, 1, &opened->answer);
    bool complete = !error && read_opened(wq, opened);
    pthread_mutex_unlock(&control->lock);
    return error || complete ? error : not_an_answer(&opened->answer, "open");
}

static int map_channel(struct idxdd_wq *wq, const struct opened *opened)
{
    const int *fds = opened->answer.fds;
    int error = idxdd_channel_open(&wq->channel, &wq->submitter, fds[4], fds[5], wq->connection->driver_fd, wq->facts.number,
                                   (uint32_t)opened->slots);
    if (error)
        return idxdd_fail(error, "open: channel: %s", strerror(-error));
    struct idxdd_argument arguments[] = {{.key = "channel", .number = opened->channel},
                                         {.key = "address", .number = (uint64_t)(uintptr_t)wq->channel.channel}};
    return tell(wq->connection, "map", arguments, 2);
}

static int map_portal(struct idxdd_wq *wq, const struct opened *opened)
{
    const int *fds = opened->answer.fds;
    int error = idxdd_submitter_open(&wq->submitter, fds[0], fds[1], wq->connection->published_fd, fds[2], fds[3], wq->facts.dedicated);
    if (error)
        return idxdd_fail(error, "open: portal: %s", strerror(-error));
    return wq->facts.kernel ? map_channel(wq, opened) : 0;
}

static void forget_wq(struct idxdd_wq *wq)
{
    struct idxdd_argument argument = {.key = "portal", .number = wq->portal};
    struct idxdd_argument address = {.key = "address", .number = (uint64_t)(uintptr_t)wq->channel.channel};
    if (wq->channel.channel) {
        tell(wq->connection, "unmap", &address, 1); /* the next mapping may get this address */
        idxdd_channel_close(&wq->channel);
    }
    if (wq->submitter.owner)
        idxdd_submitter_close(&wq->submitter);
    if (wq->portal)
        tell(wq->connection, "close", &argument, 1);
    free(wq);
}

int idxdd_wq_open(struct idxdd_connection *connection, const char *name, struct idxdd_wq **out)
{
    struct opened opened = {.answer = {.fd_count = 0}};
    *out = NULL;
    int error = check_owner(connection, "open");
    if (error)
        return error;
    struct idxdd_wq *wq = calloc(1, sizeof *wq);
    if (!wq)
        return idxdd_fail(-ENOMEM, "open: out of memory");
    wq->connection = connection;
    error = ask_to_open(wq, name, &opened);
    if (!error)
        error = map_portal(wq, &opened);
    idxdd_answer_close(&opened.answer);
    if (error) {
        forget_wq(wq);
        return error;
    }
    pthread_mutex_lock(&connection->lists);
    wq->next = connection->wqs;
    connection->wqs = wq;
    if (atomic_load(&connection->reach) == REACH_ALL)
        atomic_store_explicit(&wq->submitter.bell.server, connection->server, memory_order_release);
    pthread_mutex_unlock(&connection->lists);
    *out = wq;
    return 0;
}

void idxdd_wq_close(struct idxdd_wq *wq)
{
    if (!wq)
        return;
    struct idxdd_connection *connection = wq->connection;
    pthread_mutex_lock(&connection->lists);
    for (struct idxdd_wq **at = &connection->wqs; *at; at = &(*at)->next)
        if (*at == wq) {
            *at = wq->next;
            break;
        }
    pthread_mutex_unlock(&connection->lists);
    forget_wq(wq);
}

void idxdd_wq_facts(const struct idxdd_wq *wq, struct idxdd_wq_facts *facts) { *facts = wq->facts; }

int idxdd_wq_reopen(struct idxdd_wq *wq)
{
    struct idxdd_argument argument = {.key = "portal", .number = wq->portal};
    return tell(wq->connection, "reopen", &argument, 1);
}

/* ---- submitting and waiting -------------------------------------------------------------------------------------------------- */

static int submit_error(int64_t answer)
{
    switch (answer) {
    case IDXDD_SUBMIT_RETRY: return idxdd_fail(-EAGAIN, "submit: the WQ is full");
    case IDXDD_SUBMIT_CLOSED: return idxdd_fail(-EPIPE, "submit: the portal is closed");
    case IDXDD_SUBMIT_FORKED: return idxdd_fail(-ECHILD, "submit: the WQ was opened by the parent process");
    default: return idxdd_fail(-ECONNRESET, "submit: the daemon has ended");
    }
}

static int wait_error(int answer)
{
    switch (answer) {
    case IDXDD_WAIT_DONE: return 0;
    case IDXDD_WAIT_TIMEOUT: return idxdd_fail(-ETIMEDOUT, "wait: the time is over");
    case IDXDD_WAIT_CLOSED: return idxdd_fail(-EPIPE, "wait: the portal is closed");
    case IDXDD_WAIT_INTERRUPTED: return idxdd_fail(-EINTR, "wait: a signal arrived");
    case IDXDD_WAIT_FORKED: return idxdd_fail(-ECHILD, "wait: the WQ was opened by the parent process");
    default: return idxdd_fail(-ECONNRESET, "wait: the daemon has ended");
    }
}

int64_t idxdd_submit_many(struct idxdd_wq *wq, const struct idxdd_desc *descs, uint32_t count, int64_t *numbers)
{
    uint64_t tickets[IDXDD_PORTAL_SLOTS], first = 0;
    int64_t answer;
    if (atomic_load_explicit(&wq->connection->reach, memory_order_relaxed) == REACH_BUFFERS && !all_in_buffers(wq->connection, descs, count))
        idxdd_reach(wq->connection); /* refused: the device answers, with a page fault */
    if (wq->facts.kernel)
        answer = idxdd_channel_submit(&wq->channel, (const uint8_t *)descs, count, false, tickets);
    else
        answer = idxdd_submitter_submit_many(&wq->submitter, (const uint8_t *)descs, count, &first);
    if (answer == IDXDD_SUBMIT_RETRY)
        return 0;
    if (answer < 0)
        return submit_error(answer);
    for (int64_t i = 0; numbers && i < answer; i++)
        numbers[i] = wq->facts.kernel ? (int64_t)tickets[i] : (int64_t)first + i;
    return answer;
}

int64_t idxdd_submit(struct idxdd_wq *wq, const struct idxdd_desc *desc)
{
    int64_t number;
    int64_t answer = idxdd_submit_many(wq, desc, 1, &number);
    return answer == 1 ? number : answer == 0 ? submit_error(IDXDD_SUBMIT_RETRY) : answer;
}

static uint64_t timeout_ns(int timeout_ms) { return timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000u; }

int idxdd_wait(struct idxdd_wq *wq, const struct idxdd_record *record, int64_t number, int timeout_ms)
{
    if (wq->facts.kernel)
        return idxdd_fail(-EOPNOTSUPP, "wait: descriptors of a kernel WQ are reaped");
    int answer = idxdd_submitter_wait_record(&wq->submitter, &record->status, (uint64_t)number + 1, timeout_ns(timeout_ms));
    if (answer == IDXDD_WAIT_DONE && idxdd_status(record) == 0)
        return idxdd_fail(-ECANCELED, "wait: the portal is closed, and the descriptor ended without a record");
    return wait_error(answer);
}

int idxdd_wait_room(struct idxdd_wq *wq, int timeout_ms)
{
    return wait_error(idxdd_submitter_wait_room(&wq->submitter, timeout_ns(timeout_ms)));
}

static int reap_now(struct idxdd_wq *wq, struct idxdd_reaped_desc *reaped, uint32_t maximum)
{
    struct idxdd_reaped some[64];
    uint32_t total = 0, count;
    do {
        uint32_t want = maximum - total < 64 ? maximum - total : 64;
        count = idxdd_channel_reap(&wq->channel, some, want);
        for (uint32_t i = 0; i < count; i++) {
            struct idxdd_reaped_desc *to = &reaped[total + i];
            *to = (struct idxdd_reaped_desc){.ticket = (int64_t)some[i].ticket, .status = some[i].status, .result = some[i].result};
            memcpy(&to->record, some[i].record, sizeof to->record);
        }
        total += count;
    } while (count == 64 && total < maximum);
    return (int)total;
}

int idxdd_reap(struct idxdd_wq *wq, struct idxdd_reaped_desc *reaped, uint32_t maximum, int timeout_ms)
{
    if (!wq->facts.kernel)
        return idxdd_fail(-EOPNOTSUPP, "reap: a user WQ has records to wait for");
    if (!idxdd_owned(wq->connection->owner))
        return wait_error(IDXDD_WAIT_FORKED);
    uint64_t start = idxdd_now_ns(), timeout = timeout_ns(timeout_ms);
    for (;;) {
        uint64_t seen = idxdd_channel_completed(&wq->channel);
        int count = reap_now(wq, reaped, maximum < INT32_MAX ? maximum : INT32_MAX);
        if (count || !maximum)
            return count;
        uint64_t spent = idxdd_now_ns() - start;
        int answer = idxdd_channel_wait(&wq->channel, seen + 1, spent < timeout ? timeout - spent : 0);
        if (answer != IDXDD_WAIT_DONE && !(count = reap_now(wq, reaped, maximum)))
            return wait_error(answer);
        if (count)
            return count;
    }
}
