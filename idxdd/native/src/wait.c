/* How a client waits: spin briefly, then ask to be woken and sleep at the wake socket.
 *
 * Spinning          gives the core away after IDXDD_YIELD_NS: where both run on one, the engine could not answer before.
 * Who writes what   `wake_at` of a portal or channel is this process's word; it is stored under the bell's lock only, so
 *                   that it always holds the smallest number that any waiter of this process still needs.
 * Order             wake_at = n; fence; look again at the counter and at `closed`; only then sleep (settle). The other side:
 *                   counter; fence; read wake_at; ring.
 * Many threads      one of them sleeps at the socket (polled); the others sleep at a futex of their own. Whoever reads the
 *                   socket settles for all: looks for every waiter, nudges those that have their answer, arms the smallest
 *                   number of those that have not, fences, and looks once more. A leaver hands the socket to another one.
 * Event loops       watch one epoll fd: the socket, and an eventfd that is written when a thread took the bell that was
 *                   meant for the loop. The other way round, the sleeping thread is kicked by an eventfd.
 * Limits            no sleep is longer than IDXDD_BELT_NS without a look; end of file on the socket means that the daemon
 *                   is gone and ends every wait.
 */
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "serve.h"

#define PAUSES_PER_LOOK_AT_CLOCK 16u
#define PAUSE_MIN_NS 20000u
#define PAUSE_MAX_NS 1000000u

uint64_t idxdd_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

static uint64_t deadline_after(uint64_t timeout_ns)
{
    uint64_t now = idxdd_now_ns();
    return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

int idxdd_bell_open(struct idxdd_bell *bell, int wake_fd, const struct idxdd_published_device *published)
{
    *bell = (struct idxdd_bell){.published = published, .fd = -1, .kick = -1, .event = -1, .set = -1};
    pthread_mutex_init(&bell->lock, NULL);
    bell->fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
    return bell->fd < 0 ? -errno : 0;
}

void idxdd_bell_close(struct idxdd_bell *bell)
{
    int *const fds[] = {&bell->fd, &bell->kick, &bell->event, &bell->set};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

/* ---- one socket for all waiters; everything here is called under the lock ---------------------------------------------- */

static void ring_eventfd(int fd)
{
    uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0) {} /* full: it is readable already */
}

static void empty_eventfd(int fd)
{
    uint64_t count;
    if (fd >= 0 && read(fd, &count, sizeof count) < 0) {} /* empty already */
}

static void drain(struct idxdd_bell *bell)
{
    char bytes[256];
    for (;;) {
        ssize_t got = recv(bell->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR))
            continue;
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            atomic_store(&bell->over, IDXDD_WAIT_GONE);
        return;
    }
}

static void nudge(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    atomic_fetch_add(&waiter->nudged, 1);
    if (waiter->async)
        ring_eventfd(bell->event);
    else
        syscall(SYS_futex, &waiter->nudged, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int look(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    int answer = waiter->look(waiter);
    if (answer == IDXDD_WAIT_PENDING && atomic_load(&bell->over))
        answer = (int)atomic_load(&bell->over);
    return answer;
}

static bool answer_those_who_are_done(struct idxdd_bell *bell)
{
    bool any = false;
    for (struct idxdd_waiter *waiter = bell->first; waiter; waiter = waiter->next)
        if (!waiter->answered && look(bell, waiter) != IDXDD_WAIT_PENDING) {
            waiter->answered = any = true;
            nudge(bell, waiter);
        }
    return any;
}

static void arm(const struct idxdd_bell *bell, _Atomic uint64_t *wake_at)
{
    uint64_t smallest = 0;
    for (const struct idxdd_waiter *waiter = bell->first; waiter; waiter = waiter->next)
        if (!waiter->answered && waiter->wake_at == wake_at && (!smallest || waiter->number < smallest))
            smallest = waiter->number;
    atomic_store_explicit(wake_at, smallest, memory_order_release);
}

/* Nobody sleeps whose answer is there; the smallest number of the others is armed. */
static void settle(struct idxdd_bell *bell)
{
    answer_those_who_are_done(bell);
    do {
        for (struct idxdd_waiter *waiter = bell->first; waiter; waiter = waiter->next)
            arm(bell, waiter->wake_at);
        idxdd_fence();                     /* partner: the fence between the counter and the read of wake_at */
    } while (answer_those_who_are_done(bell));
}

static void unlink_waiter(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    for (struct idxdd_waiter **at = &bell->first; *at; at = &(*at)->next)
        if (*at == waiter) {
            *at = waiter->next;
            break;
        }
    arm(bell, waiter->wake_at);
}

static void link_waiter(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    waiter->answered = false;
    waiter->next = bell->first;
    bell->first = waiter;
}

static struct idxdd_waiter *another_sleeper(const struct idxdd_bell *bell)
{
    for (struct idxdd_waiter *waiter = bell->first; waiter; waiter = waiter->next)
        if (!waiter->async && !waiter->answered)
            return waiter;
    return NULL;
}

static void leave(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    unlink_waiter(bell, waiter);
    settle(bell);                          /* what is armed now must be looked at, too */
    struct idxdd_waiter *next = bell->polled ? NULL : another_sleeper(bell);
    if (next)
        nudge(bell, next);                 /* the socket needs somebody to sleep at it */
}

/* ---- sleeping -------------------------------------------------------------------------------------------------------- */

/* Sleeps without the lock; returns with it. False: a signal arrived. */
static bool sleep_at_socket(struct idxdd_bell *bell, uint64_t slice_ns)
{
    if (bell->kick < 0)
        bell->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct pollfd fds[2] = {{.fd = bell->fd, .events = POLLIN}, {.fd = bell->kick, .events = POLLIN}};
    struct timespec slice = timespec_of(slice_ns);
    bell->polled = true;
    pthread_mutex_unlock(&bell->lock);
    bool interrupted = ppoll(fds, 2, &slice, NULL) < 0 && errno == EINTR;
    pthread_mutex_lock(&bell->lock);
    bell->polled = false;
    empty_eventfd(bell->kick);
    drain(bell);
    settle(bell);
    return !interrupted;
}

static bool sleep_at_futex(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t slice_ns)
{
    uint32_t seen = atomic_load(&waiter->nudged);
    struct timespec slice = timespec_of(slice_ns);
    pthread_mutex_unlock(&bell->lock);
    bool interrupted = syscall(SYS_futex, &waiter->nudged, FUTEX_WAIT_PRIVATE, seen, &slice, NULL, 0) < 0 && errno == EINTR;
    pthread_mutex_lock(&bell->lock);
    return !interrupted;
}

static int sleep_until(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t deadline_ns)
{
    int answer;
    pthread_mutex_lock(&bell->lock);
    link_waiter(bell, waiter);
    settle(bell);
    while ((answer = look(bell, waiter)) == IDXDD_WAIT_PENDING) {
        if (waiter->answered) {            /* a portal that was closed has been reopened: ask again */
            waiter->answered = false;
            settle(bell);
            continue;
        }
        uint64_t now = idxdd_now_ns();
        if (now >= deadline_ns) {
            answer = IDXDD_WAIT_TIMEOUT;
            break;
        }
        uint64_t slice = deadline_ns - now < IDXDD_BELT_NS ? deadline_ns - now : IDXDD_BELT_NS;
        if (!(bell->polled ? sleep_at_futex(bell, waiter, slice) : sleep_at_socket(bell, slice))) {
            answer = look(bell, waiter);
            if (answer == IDXDD_WAIT_PENDING)
                answer = IDXDD_WAIT_INTERRUPTED;
            break;
        }
    }
    leave(bell, waiter);
    pthread_mutex_unlock(&bell->lock);
    return answer;
}

static bool cores_to_spare(const struct idxdd_bell *bell)
{
    return atomic_load_explicit(&bell->published->clients, memory_order_relaxed) < bell->published->cores;
}

/* Look for a while; what the device asks of this process's memory is served meanwhile: it may be what is waited for. */
static int spin(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t end_ns, uint64_t deadline_ns)
{
    struct idxdd_server *server = atomic_load_explicit(&bell->server, memory_order_acquire);
    int answer = IDXDD_WAIT_PENDING;
    if (server)
        idxdd_server_enter(server);
    uint64_t start_ns = idxdd_now_ns();
    for (uint64_t now_ns = start_ns; answer == IDXDD_WAIT_PENDING && now_ns < end_ns; now_ns = idxdd_now_ns()) {
        if (now_ns - start_ns > IDXDD_YIELD_NS)
            sched_yield();
        for (unsigned i = 0; i < PAUSES_PER_LOOK_AT_CLOCK; i++) {
            if (server && idxdd_server_look(server, false)) { /* the device is at work for us */
                start_ns = idxdd_now_ns();
                end_ns = deadline_ns < start_ns + IDXDD_SPIN_NS ? deadline_ns : start_ns + IDXDD_SPIN_NS;
            }
            if ((answer = look(bell, waiter)) != IDXDD_WAIT_PENDING)
                break;
            idxdd_relax();
        }
    }
    if (server)
        idxdd_server_leave(server);
    return answer;
}

int idxdd_bell_wait(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t timeout_ns)
{
    int answer = look(bell, waiter);
    if (answer != IDXDD_WAIT_PENDING)
        return answer;
    if (timeout_ns == 0)
        return idxdd_bell_gone(bell) ? look(bell, waiter) : IDXDD_WAIT_TIMEOUT;
    uint64_t deadline = deadline_after(timeout_ns);
    if (cores_to_spare(bell)) {
        uint64_t spun = deadline_after(IDXDD_SPIN_NS);
        answer = spin(bell, waiter, spun < deadline ? spun : deadline, deadline);
        if (answer != IDXDD_WAIT_PENDING)
            return answer;
    }
    return sleep_until(bell, waiter, deadline);
}

void idxdd_bell_over(struct idxdd_bell *bell, uint32_t what)
{
    pthread_mutex_lock(&bell->lock);
    atomic_store(&bell->over, what);
    settle(bell);
    if (bell->polled)
        ring_eventfd(bell->kick);
    pthread_mutex_unlock(&bell->lock);
}

/* ---- words that nobody rings for --------------------------------------------------------------------------------------- */

bool idxdd_bell_nap(struct idxdd_bell *bell, uint64_t pause_ns)
{
    struct pollfd hangup = {.fd = bell->fd, .events = 0};  /* bells for others stay unread */
    struct timespec pause = timespec_of(pause_ns);
    int ready = ppoll(&hangup, 1, &pause, NULL);
    if (ready > 0 && (hangup.revents & (POLLHUP | POLLERR | POLLNVAL)))
        atomic_store(&bell->over, IDXDD_WAIT_GONE);
    return ready >= 0 || errno != EINTR;
}

bool idxdd_bell_pause(struct idxdd_bell *bell, uint64_t pause_ns)
{
    idxdd_bell_nap(bell, pause_ns);
    return atomic_load(&bell->over) != IDXDD_WAIT_GONE;
}

bool idxdd_bell_gone(struct idxdd_bell *bell)
{
    if (atomic_load_explicit(&bell->over, memory_order_relaxed) == IDXDD_WAIT_GONE)
        return true;
    uint64_t now = idxdd_now_ns();
    if (now - atomic_load_explicit(&bell->looked_ns, memory_order_relaxed) < IDXDD_GONE_LOOK_NS)
        return false;
    atomic_store_explicit(&bell->looked_ns, now, memory_order_relaxed);
    return !idxdd_bell_pause(bell, 0);
}

bool idxdd_bell_until(struct idxdd_bell *bell, bool (*reached)(void *context), void *context, uint64_t limit_ns)
{
    uint64_t start = idxdd_now_ns(), pause = PAUSE_MIN_NS;
    uint64_t spin = cores_to_spare(bell) ? IDXDD_SPIN_NS : 0;
    for (;;) {
        if (reached(context))
            return true;
        uint64_t spent = idxdd_now_ns() - start;
        if (spent >= limit_ns)
            return false;
        if (spent < spin) {
            if (spent > IDXDD_YIELD_NS)
                sched_yield();
            idxdd_relax();
            continue;
        }
        if (!idxdd_bell_pause(bell, pause))
            return reached(context);
        pause = pause * 2 < PAUSE_MAX_NS ? pause * 2 : PAUSE_MAX_NS;
    }
}

/* ---- event loops ------------------------------------------------------------------------------------------------------- */

static int open_set(struct idxdd_bell *bell)
{
    bell->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bell->set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN};
    if (bell->event >= 0 && bell->set >= 0 && epoll_ctl(bell->set, EPOLL_CTL_ADD, bell->fd, &interest) == 0 &&
        epoll_ctl(bell->set, EPOLL_CTL_ADD, bell->event, &interest) == 0)
        return 0;
    int error = errno;
    int *const fds[] = {&bell->event, &bell->set};
    for (unsigned i = 0; i < 2; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    return -error;
}

int idxdd_bell_arm(struct idxdd_bell *bell, struct idxdd_waiter *waiter, uint64_t target)
{
    pthread_mutex_lock(&bell->lock);
    int error = bell->set < 0 ? open_set(bell) : 0;
    unlink_waiter(bell, waiter);           /* arming again replaces */
    waiter->target = target;
    waiter->closed_ns = 0;
    if (!error) {
        link_waiter(bell, waiter);
        settle(bell);
        if (waiter->answered)
            unlink_waiter(bell, waiter);
    }
    int fd = error ? error - 1 : waiter->answered ? -1 : bell->set;
    pthread_mutex_unlock(&bell->lock);
    return fd;
}

void idxdd_bell_forget(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    pthread_mutex_lock(&bell->lock);
    unlink_waiter(bell, waiter);
    settle(bell);
    if (bell->polled)
        ring_eventfd(bell->kick);
    pthread_mutex_unlock(&bell->lock);
}

void idxdd_bell_drain(struct idxdd_bell *bell, struct idxdd_waiter *waiter)
{
    pthread_mutex_lock(&bell->lock);
    unlink_waiter(bell, waiter);
    empty_eventfd(bell->event);
    drain(bell);
    for (struct idxdd_waiter *other = bell->first; other; other = other->next)
        if (other->async && other->answered)
            ring_eventfd(bell->event);     /* the channel's waiter shares the fd with its portal's */
    settle(bell);
    if (bell->polled)
        ring_eventfd(bell->kick);          /* the bell may have been that thread's */
    pthread_mutex_unlock(&bell->lock);
}
