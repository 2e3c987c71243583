/* The C client's end of the control socket: one request, one answer, with the descriptors that came along. */
#ifndef IDXDD_CONTROL_H
#define IDXDD_CONTROL_H

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>

#include "mp.h"

#define IDXDD_FRAME_BYTES 65536u
#define IDXDD_FRAME_FDS 16u
#define IDXDD_CONTROL_VERSION 1u

struct idxdd_control {
    int fd;
    uint64_t id;
    pthread_mutex_t lock;         /* keeps a request and its answer together; guards `frame` */
    uint8_t frame[IDXDD_FRAME_BYTES + 1];
};

/* One argument of a request: a number, or text when `text` is set. */
struct idxdd_argument { const char *key; const char *text; uint64_t number; };

struct idxdd_answer {
    struct idxdd_mp ok;           /* lies in the frame: valid until the lock is released */
    int fds[IDXDD_FRAME_FDS];     /* the caller's */
    unsigned fd_count;
};

/* Record what was being done, for idxdd_error(); returns `error` (negative). */
int idxdd_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 0 or negative errno. path NULL: the default; then only this user's and root's daemon is believed. */
int idxdd_control_connect(struct idxdd_control *control, const char *path);
void idxdd_control_close(struct idxdd_control *control);

/* Under control->lock. 0, or negative errno: the daemon's refusal, or -ECONNRESET. On failure no descriptor is left. */
int idxdd_control_request(struct idxdd_control *control, const char *op, const struct idxdd_argument *arguments, unsigned count,
                          struct idxdd_answer *answer);

/* A number of the answer. False: missing or above `maximum`. */
bool idxdd_answer_number(const struct idxdd_answer *answer, const char *key, uint64_t maximum, uint64_t *number);
void idxdd_answer_close(struct idxdd_answer *answer);

#endif
