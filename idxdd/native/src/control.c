/* The C client's end of the control socket: frames as in docs/architecture.md, "Control protocol". */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "idxdd/client.h"
#include "wait.h"

#define TIMEOUT_NS 10000000000u
#define CONNECT_PAUSE_US 5000
#define SYSTEM_SOCKET "/run/idxdd/default.sock"

/* ---- what went wrong ----------------------------------------------------------------------------------------------------- */

static _Thread_local char error_text[1400];

const char *idxdd_error(void) { return error_text; }

int idxdd_fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return error;
}

static int errno_named(const char *name, size_t length)
{
    static const struct { const char *name; int error; } table[] = {
        {"EPERM", EPERM}, {"ENOENT", ENOENT}, {"EIO", EIO}, {"ENXIO", ENXIO}, {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM},
        {"EACCES", EACCES}, {"EBUSY", EBUSY}, {"EEXIST", EEXIST}, {"ENODEV", ENODEV}, {"EINVAL", EINVAL}, {"ENOSPC", ENOSPC},
        {"EMFILE", EMFILE}, {"ERANGE", ERANGE}, {"EPROTO", EPROTO}, {"ETIMEDOUT", ETIMEDOUT}, {"EOPNOTSUPP", EOPNOTSUPP},
        {"EDQUOT", EDQUOT}, {"ECANCELED", ECANCELED}, {"EBADF", EBADF}, {"EPIPE", EPIPE}, {"EALREADY", EALREADY},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return table[i].error;
    return EIO;
}

/* ---- where the daemon listens ---------------------------------------------------------------------------------------------- */

static const char *default_path(char *own, size_t size)
{
    uid_t uid = geteuid();
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (uid == 0)
        return SYSTEM_SOCKET;
    if (runtime && *runtime)
        snprintf(own, size, "%s/idxdd/default.sock", runtime);
    else
        snprintf(own, size, "/tmp/idxdd-%u/default.sock", uid);
    return access(own, F_OK) == 0 ? own : SYSTEM_SOCKET;
}

/* A default path may lie in /tmp, where anyone can listen. */
static bool is_trusted(int fd, const char *path)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (strcmp(path, SYSTEM_SOCKET) == 0)
        return true;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static int connect_to(struct idxdd_control *control, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = TIMEOUT_NS / 1000000000u};
    if (strlen(path) >= sizeof address.sun_path)
        return idxdd_fail(-ENAMETOOLONG, "connect: socket path is %zu bytes long, at most %zu fit: %s", strlen(path),
                          sizeof address.sun_path - 1, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    control->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (control->fd < 0)
        return idxdd_fail(-errno, "connect: socket: %s", strerror(errno));
    setsockopt(control->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(control->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    uint64_t end = idxdd_now_ns() + TIMEOUT_NS;
    while (connect(control->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        if (error != EINTR && !(error == EAGAIN && idxdd_now_ns() < end))
            return idxdd_fail(-error, "connect: no daemon at %s: %s (start one with `idxdd serve`, or set IDXDD_SOCKET)", path, strerror(error));
        usleep(CONNECT_PAUSE_US);          /* the backlog is full, and a Unix socket with a time-out does not wait */
    }
    return 0;
}

int idxdd_control_connect(struct idxdd_control *control, const char *path)
{
    char own[256];
    const char *environment = getenv("IDXDD_SOCKET");
    bool named = true;
    control->fd = -1;
    pthread_mutex_init(&control->lock, NULL);
    if (!path)
        path = environment;
    if (!path || !*path) {
        named = false;
        path = default_path(own, sizeof own);
    }
    int error = connect_to(control, path);
    if (!error && !named && !is_trusted(control->fd, path))
        error = idxdd_fail(-EACCES, "connect: the socket %s belongs neither to this user nor to root", path);
    if (error)
        idxdd_control_close(control);
    return error;
}

void idxdd_control_close(struct idxdd_control *control)
{
    if (control->fd >= 0)
        close(control->fd);
    control->fd = -1;
}

/* ---- one request ----------------------------------------------------------------------------------------------------------- */

void idxdd_answer_close(struct idxdd_answer *answer)
{
    while (answer->fd_count)
        close(answer->fds[--answer->fd_count]);
}

static int send_request(struct idxdd_control *control, const char *op, const struct idxdd_argument *arguments, unsigned count)
{
    uint8_t request[1024];
    struct idxdd_mp_writer writer = {.at = request, .end = request + sizeof request};
    idxdd_mp_put_map(&writer, (uint8_t)(3 + count));
    idxdd_mp_put_text(&writer, "v");
    idxdd_mp_put_number(&writer, IDXDD_CONTROL_VERSION);
    idxdd_mp_put_text(&writer, "id");
    idxdd_mp_put_number(&writer, ++control->id);
    idxdd_mp_put_text(&writer, "op");
    idxdd_mp_put_text(&writer, op);
    for (unsigned i = 0; i < count; i++) {
        idxdd_mp_put_text(&writer, arguments[i].key);
        if (arguments[i].text)
            idxdd_mp_put_text(&writer, arguments[i].text);
        else
            idxdd_mp_put_number(&writer, arguments[i].number);
    }
    if (writer.overflow)
        return idxdd_fail(-EINVAL, "%s: an argument is too long", op);
    ssize_t sent;
    do
        sent = send(control->fd, request, (size_t)(writer.at - request), MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? idxdd_fail(-ECONNRESET, "%s: the daemon went away: %s", op, strerror(errno)) : 0;
}

static void take_fds(struct msghdr *message, struct idxdd_answer *answer)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < count && answer->fd_count < IDXDD_FRAME_FDS; i++)
            memcpy(&answer->fds[answer->fd_count++], CMSG_DATA(control) + i * sizeof(int), sizeof(int));
    }
}

static int receive_answer(struct idxdd_control *control, const char *op, struct idxdd_answer *answer)
{
    union { struct cmsghdr align; char bytes[CMSG_SPACE(IDXDD_FRAME_FDS * sizeof(int))]; } space;
    struct iovec payload = {.iov_base = control->frame, .iov_len = sizeof control->frame};
    struct msghdr message = {.msg_iov = &payload, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    ssize_t got;
    do
        got = recvmsg(control->fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return idxdd_fail(-ECONNRESET, "%s: the daemon %s", op, got < 0 && errno == EAGAIN ? "does not answer" : "went away");
    take_fds(&message, answer);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return idxdd_fail(-EPROTO, "%s: the daemon's answer is too long", op);
    answer->ok = (struct idxdd_mp){.at = control->frame, .end = control->frame + got};
    return 0;
}

static int refused(const char *op, struct idxdd_mp error)
{
    struct idxdd_mp code, text;
    const char *name, *line;
    size_t name_length, line_length;
    if (!idxdd_mp_find(error, "code", &code) || !idxdd_mp_text(code, &name, &name_length) || !idxdd_mp_find(error, "text", &text) ||
        !idxdd_mp_text(text, &line, &line_length))
        return idxdd_fail(-EPROTO, "%s: the daemon's answer is not one", op);
    int length = line_length < 1024 ? (int)line_length : 1024;
    return idxdd_fail(-errno_named(name, name_length), "%s: %.*s", op, length, line);
}

static int parse_answer(const struct idxdd_control *control, const char *op, struct idxdd_answer *answer)
{
    struct idxdd_mp frame = answer->ok, whole = frame, id, error;
    uint64_t number;
    if (!idxdd_mp_skip(&whole) || whole.at != whole.end || !idxdd_mp_find(frame, "id", &id) || !idxdd_mp_number(id, &number) ||
        (number != control->id && number != 0))
        return idxdd_fail(-EPROTO, "%s: the daemon's answer is not one", op);
    if (idxdd_mp_find(frame, "ok", &answer->ok))
        return 0;
    return idxdd_mp_find(frame, "error", &error) ? refused(op, error) : idxdd_fail(-EPROTO, "%s: the daemon's answer is not one", op);
}

int idxdd_control_request(struct idxdd_control *control, const char *op, const struct idxdd_argument *arguments, unsigned count,
                          struct idxdd_answer *answer)
{
    answer->fd_count = 0;
    if (control->fd < 0)
        return idxdd_fail(-ECONNRESET, "%s: the connection is closed", op);
    int error = send_request(control, op, arguments, count);
    if (!error)
        error = receive_answer(control, op, answer);
    bool broken = error == -ECONNRESET || error == -EPROTO;
    if (!error)
        error = parse_answer(control, op, answer);
    if (error)
        idxdd_answer_close(answer);
    if (broken)
        idxdd_control_close(control);      /* a late answer must not meet the next request */
    return error;
}

bool idxdd_answer_number(const struct idxdd_answer *answer, const char *key, uint64_t maximum, uint64_t *number)
{
    struct idxdd_mp value;
    return idxdd_mp_find(answer->ok, key, &value) && idxdd_mp_number(value, number) && *number <= maximum;
}
