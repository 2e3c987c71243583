/* The type Channel: a client's kernel channel for Python. It keeps its Portal alive, and counts as inside it while it works. */
#include "client_types.h"

#include <errno.h>
#include <string.h>

#include "channel.h"

#define DESC_BYTES 64

typedef struct {
    PyObject_HEAD
    PortalObject *portal;
    struct idxdd_kernel_channel channel;
    struct idxdd_channel_waiter async;
    Py_ssize_t inside;
    char open;
    char closing;
} ChannelObject;

/* ---- entering and leaving ------------------------------------------------------------------------------------------------ */

static int enter(ChannelObject *self)
{
    if (!self->open || self->closing) {
        idxdd_raise(EBADF, "channel is closed");
        return 0;
    }
    if (!idxdd_portal_enter(self->portal))
        return 0;
    self->inside++;
    return 1;
}

static void leave(ChannelObject *self)
{
    if (--self->inside == 0 && self->closing && self->open) {
        self->open = 0;
        idxdd_channel_close(&self->channel);
    }
    idxdd_portal_leave(self->portal);
}

/* ---- submitting -------------------------------------------------------------------------------------------------------- */

/* The whole of it runs without the GIL only when it has to wait. Portal slots at most. */
static int64_t submit(ChannelObject *self, const uint8_t *descs, uint32_t count, bool block, uint64_t *tickets)
{
    struct idxdd_burst burst;
    int64_t answer = idxdd_channel_try(&self->channel, descs, count, true, tickets, &burst);
    if (answer > 0)
        return answer;
    if (!block && (answer == IDXDD_CHANNEL_NO_SLOT || answer == IDXDD_CHANNEL_GATE_CLOSED))
        return idxdd_bell_gone(&self->portal->submitter.bell) ? IDXDD_SUBMIT_GONE : IDXDD_SUBMIT_RETRY;
    Py_BEGIN_ALLOW_THREADS
    if (answer == IDXDD_SUBMIT_UNSETTLED)
        answer = idxdd_channel_settle(&self->channel, tickets, burst);
    else
        answer = idxdd_channel_submit(&self->channel, descs, count, block, tickets);
    Py_END_ALLOW_THREADS
    return answer;
}

static PyObject *Channel_submit(ChannelObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"descriptor", "block", NULL};
    Py_buffer view;
    int block = 0;
    uint64_t ticket;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|p:submit", names, &view, &block))
        return NULL;
    PyObject *result = NULL;
    if (view.len != DESC_BYTES) {
        PyErr_Format(PyExc_ValueError, "descriptor: %zd bytes, not %d", view.len, DESC_BYTES);
    } else if (enter(self)) {
        int64_t answer = submit(self, view.buf, 1, block, &ticket);
        leave(self);
        result = PyLong_FromLongLong(answer == 1 ? (long long)ticket : (long long)answer);
    }
    PyBuffer_Release(&view);
    return result;
}

static int append_number(PyObject *list, long long number)
{
    PyObject *item = PyLong_FromLongLong(number);
    int error = item ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return error;
}

/* A list that is shorter than asked for: retry later; one that ends with a negative number: that is why, for good. */
static PyObject *submit_all(ChannelObject *self, const uint8_t *descs, size_t count)
{
    uint64_t tickets[IDXDD_PORTAL_SLOTS];
    PyObject *list = PyList_New(0);
    while (list && count) {
        uint32_t part = count < IDXDD_PORTAL_SLOTS ? (uint32_t)count : IDXDD_PORTAL_SLOTS;
        int64_t answer = submit(self, descs, part, false, tickets);
        int error = 0;
        for (int64_t i = 0; i < answer && !error; i++)
            error = append_number(list, (long long)tickets[i]);
        if (answer < 0 && answer != IDXDD_SUBMIT_RETRY)
            error |= append_number(list, answer);
        if (error)
            Py_CLEAR(list);
        if (answer <= 0)
            break;
        descs += (size_t)answer * DESC_BYTES;
        count -= (size_t)answer;
    }
    return list;
}

static PyObject *Channel_submit_many(ChannelObject *self, PyObject *descriptors)
{
    Py_buffer view;
    if (PyObject_GetBuffer(descriptors, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *list = NULL;
    if (view.len % DESC_BYTES) {
        PyErr_Format(PyExc_ValueError, "descriptors: %zd bytes are not a multiple of %d", view.len, DESC_BYTES);
    } else if (enter(self)) {
        list = submit_all(self, view.buf, (size_t)view.len / DESC_BYTES);
        leave(self);
    }
    PyBuffer_Release(&view);
    return list;
}

/* ---- completions --------------------------------------------------------------------------------------------------------- */

static PyObject *list_of(const struct idxdd_reaped *reaped, uint32_t count)
{
    PyObject *list = PyList_New(count);
    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *item = Py_BuildValue("(KBBy#)", (unsigned long long)reaped[i].ticket, reaped[i].status, reaped[i].result,
                                       (const char *)reaped[i].record, (Py_ssize_t)sizeof reaped[i].record);
        if (item)
            PyList_SET_ITEM(list, i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *Channel_reap(ChannelObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maximum", NULL};
    struct idxdd_reaped reaped[IDXDD_CHANNEL_SLOTS];
    int maximum = IDXDD_CHANNEL_SLOTS;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:reap", names, &maximum))
        return NULL;
    if (maximum < 0)
        return PyErr_Format(PyExc_ValueError, "maximum: %d is negative", maximum);
    if (!enter(self))
        return NULL;
    uint32_t count = idxdd_channel_reap(&self->channel, reaped, maximum < (int)IDXDD_CHANNEL_SLOTS ? (uint32_t)maximum : IDXDD_CHANNEL_SLOTS);
    leave(self);
    return list_of(reaped, count);
}

struct wait_context { struct idxdd_kernel_channel *channel; uint64_t completed; };

static int wait_once(void *context, uint64_t timeout_ns)
{
    struct wait_context *wait = context;
    return idxdd_channel_wait(wait->channel, wait->completed, timeout_ns);
}

static PyObject *Channel_wait(ChannelObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"completed", "timeout", NULL};
    PyObject *completed, *timeout;
    uint64_t timeout_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:wait", names, &completed, &timeout))
        return NULL;
    struct wait_context context = {.channel = &self->channel, .completed = PyLong_AsUnsignedLongLong(completed)};
    if (PyErr_Occurred() || idxdd_timeout_ns(timeout, &timeout_ns) < 0 || !enter(self))
        return NULL;
    int answer = idxdd_wait_interruptible(wait_once, &context, timeout_ns);
    leave(self);
    return idxdd_wait_result(answer);
}

static PyObject *Channel_sleeping_fd(ChannelObject *self, PyObject *argument)
{
    uint64_t completed = PyLong_AsUnsignedLongLong(argument);
    if (PyErr_Occurred() || !enter(self))
        return NULL;
    int fd = idxdd_bell_arm(&self->portal->submitter.bell, &self->async.waiter, completed);
    leave(self);
    return fd < -1 ? idxdd_raise(-fd - 1, "sleeping_fd") : PyLong_FromLong(fd);
}

static PyObject *Channel_drain_bell(ChannelObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!enter(self))
        return NULL;
    idxdd_bell_drain(&self->portal->submitter.bell, &self->async.waiter);
    leave(self);
    Py_RETURN_NONE;
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

static int Channel_init(ChannelObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"portal", "channel_fd", "ring_fd", "driver_fd", "wq", "slots", "wake_fd", NULL};
    PortalObject *portal;
    int channel_fd, ring_fd, driver_fd, wake_fd;
    unsigned wq, slots;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$O!iiiIIi:Channel", names, idxdd_PortalType, &portal, &channel_fd, &ring_fd, &driver_fd,
                                     &wq, &slots, &wake_fd))
        return -1;
    if (self->portal) {
        idxdd_raise(EALREADY, "Channel");
        return -1;
    }
    if (!idxdd_portal_enter(portal))
        return -1;
    int error = idxdd_channel_open(&self->channel, &portal->submitter, channel_fd, ring_fd, driver_fd, wq, slots);
    if (error) {
        idxdd_portal_leave(portal);
        idxdd_raise(-error, "Channel");
        return -1;
    }
    self->portal = (PortalObject *)Py_NewRef(portal);
    idxdd_channel_waiter_init(&self->async, &self->channel, 0);
    self->async.waiter.async = true;
    self->open = 1;
    idxdd_portal_leave(portal);
    return 0;
}

/* Threads that wait for the channel leave, and the last one unmaps. */
static void close_channel(ChannelObject *self)
{
    if (!self->open || self->closing)
        return;
    atomic_store(&self->channel.over, 1);
    if (idxdd_portal_is_open(self->portal))
        idxdd_bell_forget(&self->portal->submitter.bell, &self->async.waiter);
    self->closing = 1;
    if (self->inside == 0) {
        self->open = 0;
        idxdd_channel_close(&self->channel);
    }
}

static PyObject *Channel_close(ChannelObject *self, PyObject *Py_UNUSED(ignored))
{
    close_channel(self);
    Py_RETURN_NONE;
}

static void Channel_dealloc(ChannelObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    close_channel(self);
    Py_XDECREF(self->portal);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *Channel_get_address(ChannelObject *self, void *Py_UNUSED(closure))
{
    if (!enter(self))
        return NULL;
    PyObject *address = PyLong_FromVoidPtr(self->channel.channel);
    leave(self);
    return address;
}

static PyObject *Channel_get_size(ChannelObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(sizeof(struct idxdd_channel));
}

static PyObject *Channel_get_in_flight(ChannelObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(atomic_load(&self->channel.in_flight));
}

static PyObject *Channel_get_refusal(ChannelObject *self, void *Py_UNUSED(closure))
{
    if (!enter(self))
        return NULL;
    PyObject *refusal = PyLong_FromLong(-idxdd_channel_refusal(&self->channel));
    leave(self);
    return refusal;
}

static PyObject *Channel_get_completed(ChannelObject *self, void *Py_UNUSED(closure))
{
    if (!enter(self))
        return NULL;
    PyObject *completed = PyLong_FromUnsignedLongLong(idxdd_channel_completed(&self->channel));
    leave(self);
    return completed;
}

static PyMethodDef methods[] = {
    {"submit", (PyCFunction)Channel_submit, METH_VARARGS | METH_KEYWORDS, "Submit one 64-byte descriptor: its ticket, or SUBMIT_*."},
    {"submit_many", (PyCFunction)Channel_submit_many, METH_O,
     "Submit descriptors in order: tickets of those there was room for; a negative last one (SUBMIT_*) says why there is no more."},
    {"reap", (PyCFunction)Channel_reap, METH_VARARGS | METH_KEYWORDS,
     "Completions since the last call: (ticket, status, txn result, 32-byte record)."},
    {"wait", (PyCFunction)Channel_wait, METH_VARARGS | METH_KEYWORDS, "Until `completed` is reached, at most timeout seconds: WAIT_*."},
    {"sleeping_fd", (PyCFunction)Channel_sleeping_fd, METH_O, "Ask to be woken at `completed`; the fd to watch (the portal's), or -1."},
    {"drain_bell", (PyCFunction)Channel_drain_bell, METH_NOARGS, "Read what the bell holds, after the fd was readable."},
    {"close", (PyCFunction)Channel_close, METH_NOARGS, "Let go of the mappings."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef words[] = {
    {"address", (getter)Channel_get_address, NULL, "of struct idxdd_channel in this process", NULL},
    {"size", (getter)Channel_get_size, NULL, "bytes of struct idxdd_channel", NULL},
    {"in_flight", (getter)Channel_get_in_flight, NULL, "slots in use: submitted and not reaped", NULL},
    {"refusal", (getter)Channel_get_refusal, NULL, "errno of a refused submission: EIO, the device is not enabled; ENXIO", NULL},
    {"completed", (getter)Channel_get_completed, NULL, "entries in the completion ring so far, reaped or not", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A client's kernel channel: descriptors with interrupts, completed by idxdd-irq."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Channel_init},
    {Py_tp_dealloc, Channel_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, words},
    {0, NULL},
};

static PyType_Spec spec = {.name = "idxdd.native._native.Channel", .basicsize = sizeof(ChannelObject), .flags = Py_TPFLAGS_DEFAULT, .slots = slots};

int idxdd_bind_channel(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int error = type ? PyModule_AddObjectRef(module, "Channel", type) : -1;
    Py_XDECREF(type);
    return error;
}
