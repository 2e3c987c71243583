/* The type Portal: a client's portal for Python. The GIL is held while something is published, and released for every wait. */
#include "client_types.h"

#include <errno.h>
#include <math.h>

#include "owner.h"

#define DESC_BYTES 64

PyTypeObject *idxdd_PortalType;

/* ---- entering and leaving ------------------------------------------------------------------------------------------------ */

int idxdd_portal_enter(PortalObject *portal)
{
    if (!portal->open || portal->closing) {
        idxdd_raise(EBADF, "portal is closed");
        return 0;
    }
    if (!idxdd_owned(portal->submitter.owner)) {
        idxdd_raise(ECHILD, "portal belongs to the process that opened it");
        return 0;
    }
    portal->inside++;
    return 1;
}

int idxdd_portal_is_open(const PortalObject *portal)
{
    return portal->open && idxdd_owned(portal->submitter.owner);
}

void idxdd_portal_leave(PortalObject *portal)
{
    if (--portal->inside == 0 && portal->closing && portal->open) {
        portal->open = 0;
        idxdd_submitter_close(&portal->submitter);
    }
}

int idxdd_timeout_ns(PyObject *seconds, uint64_t *timeout_ns)
{
    double value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(value)) {
        PyErr_SetString(PyExc_ValueError, "timeout: not a number");
        return -1;
    }
    *timeout_ns = value <= 0 ? 0 : value >= 1e9 ? UINT64_MAX : (uint64_t)(value * 1e9);
    return 0;
}

int idxdd_wait_interruptible(int (*wait)(void *context, uint64_t timeout_ns), void *context, uint64_t timeout_ns)
{
    uint64_t start = idxdd_now_ns();
    for (;;) {
        int answer;
        uint64_t spent = idxdd_now_ns() - start;
        Py_BEGIN_ALLOW_THREADS
        answer = wait(context, spent < timeout_ns ? timeout_ns - spent : 0);
        Py_END_ALLOW_THREADS
        if (answer != IDXDD_WAIT_INTERRUPTED)
            return answer;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

PyObject *idxdd_wait_result(int answer)
{
    if (answer < 0)
        return NULL;
    if (answer == IDXDD_WAIT_FORKED)
        return idxdd_raise(ECHILD, "portal belongs to the process that opened it");
    return PyLong_FromLong(answer);
}

/* ---- publishing -------------------------------------------------------------------------------------------------------- */

static int get_descriptors(PyObject *object, Py_buffer *view, uint32_t *count)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0)
        return -1;
    if (view->len % DESC_BYTES || view->len / DESC_BYTES > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "descriptors: %zd bytes are not a multiple of %d", view->len, DESC_BYTES);
        PyBuffer_Release(view);
        return -1;
    }
    *count = (uint32_t)(view->len / DESC_BYTES);
    return 0;
}

static int get_descriptor(PyObject *object, Py_buffer *view)
{
    uint32_t count;
    if (get_descriptors(object, view, &count) < 0)
        return -1;
    if (count == 1)
        return 0;
    PyErr_Format(PyExc_ValueError, "descriptor: %zd bytes, not %d", view->len, DESC_BYTES);
    PyBuffer_Release(view);
    return -1;
}

/* The rare rest of a submission: the lock is taken, the WQ is full, or the portal closed meanwhile. */
static int64_t submit_waiting(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, int answer, struct idxdd_burst *burst)
{
    int64_t accepted;
    Py_BEGIN_ALLOW_THREADS
    if (answer == IDXDD_SUBMIT_UNSETTLED)
        accepted = idxdd_submitter_settle(submitter, *burst);
    else
        accepted = idxdd_submitter_submit_many(submitter, descs, count, &burst->first);
    Py_END_ALLOW_THREADS
    return accepted;
}

static int64_t submit(struct idxdd_submitter *submitter, const uint8_t *descs, uint32_t count, struct idxdd_burst *burst)
{
    int answer = idxdd_submitter_publish(submitter, descs, count, true, burst);
    return answer == 1 ? (int64_t)burst->count : submit_waiting(submitter, descs, count, answer, burst);
}

static PyObject *Portal_submit(PortalObject *self, PyObject *descriptor)
{
    Py_buffer view;
    struct idxdd_burst burst = {0};
    if (get_descriptor(descriptor, &view) < 0)
        return NULL;
    if (!idxdd_portal_enter(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    int64_t accepted = submit(&self->submitter, view.buf, 1, &burst);
    idxdd_portal_leave(self);
    PyBuffer_Release(&view);
    return PyLong_FromLongLong(accepted == 1 ? (long long)burst.first : accepted == 0 ? IDXDD_SUBMIT_RETRY : (long long)accepted);
}

static PyObject *Portal_try_submit(PortalObject *self, PyObject *descriptor)
{
    Py_buffer view;
    int64_t answer;
    if (get_descriptor(descriptor, &view) < 0)
        return NULL;
    if (!idxdd_portal_enter(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    answer = idxdd_submitter_try(&self->submitter, view.buf);
    Py_END_ALLOW_THREADS
    idxdd_portal_leave(self);
    PyBuffer_Release(&view);
    return PyLong_FromLongLong((long long)answer);
}

static PyObject *Portal_submit_many(PortalObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"descriptors", "count", NULL};
    PyObject *descriptors, *limit = Py_None;
    Py_buffer view;
    uint32_t count;
    struct idxdd_burst burst = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:submit_many", names, &descriptors, &limit))
        return NULL;
    if (get_descriptors(descriptors, &view, &count) < 0)
        return NULL;
    if (limit != Py_None) {
        Py_ssize_t wanted = PyLong_AsSsize_t(limit);
        if (wanted < 0 || (size_t)wanted > count) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "count: %zd, but there are %u descriptors", wanted, count);
            PyBuffer_Release(&view);
            return NULL;
        }
        count = (uint32_t)wanted;
    }
    int64_t accepted = 0;
    if (!idxdd_portal_enter(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    if (count)
        accepted = submit(&self->submitter, view.buf, count, &burst);
    idxdd_portal_leave(self);
    PyBuffer_Release(&view);
    return PyLong_FromLongLong(accepted);
}

static PyObject *Portal_post(PortalObject *self, PyObject *descriptor)
{
    Py_buffer view;
    int answer;
    if (get_descriptor(descriptor, &view) < 0)
        return NULL;
    if (!idxdd_portal_enter(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    answer = idxdd_submitter_post(&self->submitter, view.buf);
    Py_END_ALLOW_THREADS
    idxdd_portal_leave(self);
    PyBuffer_Release(&view);
    if (answer == IDXDD_SUBMIT_CLOSED)
        return idxdd_raise(EPIPE, "post: the portal is closed by the device");
    if (answer == IDXDD_SUBMIT_GONE)
        return idxdd_raise(ECONNRESET, "post: the daemon has ended");
    return PyBool_FromLong(answer == 1);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------------- */

struct wait_context { struct idxdd_submitter *submitter; uint64_t number; const uint8_t *status; };

static int wait_once(void *context, uint64_t timeout_ns)
{
    struct wait_context *wait = context;
    return idxdd_submitter_wait_record(wait->submitter, wait->status, wait->number, timeout_ns);
}

static PyObject *wait_for(PortalObject *self, PyObject *number, PyObject *timeout, const uint8_t *status)
{
    struct wait_context context = {.submitter = &self->submitter, .status = status};
    uint64_t timeout_ns;
    context.number = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() || idxdd_timeout_ns(timeout, &timeout_ns) < 0 || !idxdd_portal_enter(self))
        return NULL;
    int answer = idxdd_wait_interruptible(wait_once, &context, timeout_ns);
    idxdd_portal_leave(self);
    return idxdd_wait_result(answer);
}

static PyObject *Portal_wait(PortalObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"number", "timeout", NULL};
    PyObject *number, *timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:wait", names, &number, &timeout))
        return NULL;
    return wait_for(self, number, timeout, NULL);
}

static int wait_room_once(void *argument, uint64_t timeout_ns)
{
    return idxdd_submitter_wait_room(argument, timeout_ns);
}

static PyObject *Portal_wait_room(PortalObject *self, PyObject *timeout)
{
    uint64_t timeout_ns;
    if (idxdd_timeout_ns(timeout, &timeout_ns) < 0 || !idxdd_portal_enter(self))
        return NULL;
    int answer = idxdd_wait_interruptible(wait_room_once, &self->submitter, timeout_ns);
    idxdd_portal_leave(self);
    return idxdd_wait_result(answer);
}

static PyObject *Portal_wait_record(PortalObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"record", "timeout", "number", NULL};
    PyObject *number, *timeout;
    Py_buffer view;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*OO:wait_record", names, &view, &timeout, &number))
        return NULL;
    PyObject *result = NULL;
    if (view.len < 1)
        PyErr_SetString(PyExc_ValueError, "record: empty");
    else
        result = wait_for(self, number, timeout, view.buf);
    PyBuffer_Release(&view);
    return result;
}

static PyObject *Portal_sleeping_fd(PortalObject *self, PyObject *argument)
{
    uint64_t number = PyLong_AsUnsignedLongLong(argument);
    if (PyErr_Occurred() || !idxdd_portal_enter(self))
        return NULL;
    int fd = idxdd_bell_arm(&self->submitter.bell, &self->async.waiter, number);
    idxdd_portal_leave(self);
    return fd < -1 ? idxdd_raise(-fd - 1, "sleeping_fd") : PyLong_FromLong(fd);
}

static PyObject *Portal_drain_bell(PortalObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!idxdd_portal_enter(self))
        return NULL;
    idxdd_bell_drain(&self->submitter.bell, &self->async.waiter);
    idxdd_portal_leave(self);
    Py_RETURN_NONE;
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

static int Portal_init(PortalObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"client_fd", "device_fd", "published_fd", "doorbell_fd", "wake_fd", "dedicated", NULL};
    int client_fd, device_fd, published_fd, doorbell_fd, wake_fd, dedicated;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$iiiiip:Portal", names, &client_fd, &device_fd, &published_fd, &doorbell_fd, &wake_fd,
                                     &dedicated))
        return -1;
    if (self->open) {
        idxdd_raise(EALREADY, "Portal");
        return -1;
    }
    int error = idxdd_submitter_open(&self->submitter, client_fd, device_fd, published_fd, doorbell_fd, wake_fd, dedicated);
    if (error) {
        idxdd_raise(-error, "Portal");
        return -1;
    }
    idxdd_done_waiter_init(&self->async, &self->submitter, 0, NULL);
    self->async.waiter.async = true;
    self->open = 1;
    return 0;
}

static void close_portal(PortalObject *self)
{
    if (!self->open || self->closing)
        return;
    self->closing = 1;
    if (idxdd_owned(self->submitter.owner))
        idxdd_bell_over(&self->submitter.bell, IDXDD_WAIT_CLOSED);  /* threads that wait leave, and the last one unmaps */
    self->inside++;
    idxdd_portal_leave(self);
}

static PyObject *Portal_close(PortalObject *self, PyObject *Py_UNUSED(ignored))
{
    close_portal(self);
    Py_RETURN_NONE;
}

static void Portal_dealloc(PortalObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    close_portal(self);
    Py_XDECREF(self->agent);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

enum word { WORD_TAIL, WORD_DONE, WORD_CLOSED, WORD_CLOSED_AT, WORD_FENCED, WORD_LIMIT, WORD_ASKING };

static PyObject *Portal_word(PortalObject *self, void *closure)
{
    unsigned long long value = 0;
    if (!idxdd_portal_enter(self))
        return NULL;
    const struct idxdd_portal_device *device = self->submitter.device;
    switch ((enum word)(intptr_t)closure) {
    case WORD_TAIL: value = atomic_load(&self->submitter.tail); break;
    case WORD_DONE: value = atomic_load(&device->done); break;
    case WORD_CLOSED: value = atomic_load(&device->closed); break;
    case WORD_CLOSED_AT: value = atomic_load(&device->closed_at); break;
    case WORD_FENCED: value = atomic_load(&device->fenced); break;
    case WORD_LIMIT: value = atomic_load(&device->limit); break;
    case WORD_ASKING: value = idxdd_submitter_asking(&self->submitter); break;
    }
    idxdd_portal_leave(self);
    return (intptr_t)closure == WORD_FENCED || (intptr_t)closure == WORD_ASKING ? PyBool_FromLong(value != 0) : PyLong_FromUnsignedLongLong(value);
}

static PyMethodDef methods[] = {
    {"submit", (PyCFunction)Portal_submit, METH_O, "Publish one 64-byte descriptor: its number, or SUBMIT_*."},
    {"try_submit", (PyCFunction)Portal_try_submit, METH_O, "As submit, but never waits for room: SUBMIT_RETRY once it has asked."},
    {"submit_many", (PyCFunction)Portal_submit_many, METH_VARARGS | METH_KEYWORDS,
     "Publish as many descriptors, in order, as there is room for: how many, 0 = retry, or SUBMIT_*."},
    {"post", (PyCFunction)Portal_post, METH_O, "A dedicated WQ's posted write: False = dropped at the limit."},
    {"wait", (PyCFunction)Portal_wait, METH_VARARGS | METH_KEYWORDS, "Until `done` >= number, at most timeout seconds: WAIT_*."},
    {"wait_room", (PyCFunction)Portal_wait_room, METH_O, "After a retry: until there is room, at most timeout seconds: WAIT_*."},
    {"wait_record", (PyCFunction)Portal_wait_record, METH_VARARGS | METH_KEYWORDS,
     "Until byte 0 of the record is not 0, or all has finished and the portal is closed, at most timeout seconds: WAIT_*."},
    {"sleeping_fd", (PyCFunction)Portal_sleeping_fd, METH_O, "Ask to be woken at `number`; the fd to watch, or -1."},
    {"drain_bell", (PyCFunction)Portal_drain_bell, METH_NOARGS, "Read what the bell holds, after the fd was readable."},
    {"close", (PyCFunction)Portal_close, METH_NOARGS, "Let go of mappings and descriptors; waiting threads return."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef words[] = {
    {"tail", (getter)Portal_word, NULL, "descriptors published", (void *)WORD_TAIL},
    {"done", (getter)Portal_word, NULL, "descriptors finished with", (void *)WORD_DONE},
    {"closed", (getter)Portal_word, NULL, "why the portal is closed; 0 = open", (void *)WORD_CLOSED},
    {"closed_at", (getter)Portal_word, NULL, "first number not accepted", (void *)WORD_CLOSED_AT},
    {"fenced", (getter)Portal_word, NULL, "idxdd-irq has swept the channel", (void *)WORD_FENCED},
    {"limit", (getter)Portal_word, NULL, "how far the tail may go", (void *)WORD_LIMIT},
    {"asking", (getter)Portal_word, NULL, "a question for room is not answered yet", (void *)WORD_ASKING},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A client's portal. Threads of one process may share it."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Portal_init},
    {Py_tp_dealloc, Portal_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, words},
    {0, NULL},
};

static PyType_Spec spec = {.name = "idxdd.native._native.Portal", .basicsize = sizeof(PortalObject), .flags = Py_TPFLAGS_DEFAULT, .slots = slots};

int idxdd_bind_portal(PyObject *module)
{
    static const struct { const char *name; long value; } constants[] = {
        {"WAIT_DONE", IDXDD_WAIT_DONE}, {"WAIT_TIMEOUT", IDXDD_WAIT_TIMEOUT},
        {"WAIT_CLOSED", IDXDD_WAIT_CLOSED}, {"WAIT_GONE", IDXDD_WAIT_GONE},
        {"SUBMIT_RETRY", IDXDD_SUBMIT_RETRY}, {"SUBMIT_CLOSED", IDXDD_SUBMIT_CLOSED}, {"SUBMIT_GONE", IDXDD_SUBMIT_GONE},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    idxdd_PortalType = (PyTypeObject *)PyType_FromSpec(&spec);
    return idxdd_PortalType ? PyModule_AddObjectRef(module, "Portal", (PyObject *)idxdd_PortalType) : -1;
}
