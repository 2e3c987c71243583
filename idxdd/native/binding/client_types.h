/* What the types Portal and Channel share. */
#ifndef IDXDD_BINDING_CLIENT_TYPES_H
#define IDXDD_BINDING_CLIENT_TYPES_H

#include "binding.h"

#include "portal.h"

/* `inside` counts the calls that use the mappings, those without the GIL too: close() leaves the unmapping to the last one. */
typedef struct {
    PyObject_HEAD
    struct idxdd_submitter submitter;
    struct idxdd_done_waiter async;
    PyObject *agent;       /* whom its waiters serve, or NULL */
    Py_ssize_t inside;
    char open;             /* mappings exist */
    char closing;          /* close() was called */
} PortalObject;

extern PyTypeObject *idxdd_PortalType;

/* Enter and leave a call. False: NativeError EBADF (closed) or ECHILD (opened by the parent process) is raised. */
int idxdd_portal_enter(PortalObject *portal);
void idxdd_portal_leave(PortalObject *portal);

/* Does the portal still have its mappings, in this process? */
int idxdd_portal_is_open(const PortalObject *portal);

/* Seconds as Python gives them; negative counts as 0, infinity as for ever. -1: an exception is raised. */
int idxdd_timeout_ns(PyObject *seconds, uint64_t *timeout_ns);

/* A wait result as Python sees it; -1: an exception is raised. INTERRUPTED must be handled before. */
PyObject *idxdd_wait_result(int answer);

/* Run one wait without the GIL, again after each signal that raised nothing. Returns an enum idxdd_wait, or -1: an exception is raised. */
int idxdd_wait_interruptible(int (*wait)(void *context, uint64_t timeout_ns), void *context, uint64_t timeout_ns);

#endif
