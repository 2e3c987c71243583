/* VectorWaiter and IrqChannel: what idxdd-irq uses of the data plane. One thread calls these. */
#include "binding.h"

#include "irq_channel.h"
#include "vectors.h"

#include <errno.h>
#include <string.h>

/* ---- VectorWaiter ---- */

typedef struct {
    PyObject_HEAD
    struct idxdd_vectors *vectors;
} VectorWaiter;

static int waiter_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"semaphores", NULL};
    VectorWaiter *self = (VectorWaiter *)op;
    const char *semaphores[IDXDD_WAITER_VECTORS_MAX];
    PyObject *sequence;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:VectorWaiter", names, &sequence))
        return -1;
    PyObject *fast = PySequence_Fast(sequence, "semaphores: a sequence of names");
    if (!fast)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    if (count > (Py_ssize_t)IDXDD_WAITER_VECTORS_MAX) {
        PyErr_Format(PyExc_ValueError, "semaphores: %zd, at most %u", count, IDXDD_WAITER_VECTORS_MAX);
        Py_DECREF(fast);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        semaphores[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(fast, i));
        if (!semaphores[i]) {
            Py_DECREF(fast);
            return -1;
        }
    }
    struct idxdd_vectors *opened = idxdd_vectors_open(semaphores, (uint32_t)count);
    int error = errno;
    Py_DECREF(fast);
    if (!opened) {
        idxdd_raise(error, "interrupt vectors: open semaphores and start their threads");
        return -1;
    }
    if (self->vectors)
        idxdd_vectors_close(self->vectors);
    self->vectors = opened;
    return 0;
}

static bool waiter_open(const VectorWaiter *self)
{
    if (!self->vectors)
        PyErr_SetString(PyExc_ValueError, "VectorWaiter is closed");
    return self->vectors != NULL;
}

static PyObject *waiter_bell(PyObject *op, void *Py_UNUSED(closure))
{
    const VectorWaiter *self = (VectorWaiter *)op;
    return waiter_open(self) ? PyLong_FromLong(idxdd_vectors_bell(self->vectors)) : NULL;
}

static PyObject *waiter_fired(PyObject *op, PyObject *Py_UNUSED(none))
{
    const VectorWaiter *self = (VectorWaiter *)op;
    return waiter_open(self) ? PyLong_FromUnsignedLongLong(idxdd_vectors_fired(self->vectors)) : NULL;
}

static PyObject *waiter_close(PyObject *op, PyObject *Py_UNUSED(none))
{
    VectorWaiter *self = (VectorWaiter *)op;
    struct idxdd_vectors *vectors = self->vectors;
    self->vectors = NULL;
    if (vectors) {
        Py_BEGIN_ALLOW_THREADS
        idxdd_vectors_close(vectors);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static void waiter_dealloc(PyObject *op)
{
    VectorWaiter *self = (VectorWaiter *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (self->vectors)
        idxdd_vectors_close(self->vectors);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef waiter_methods[] = {
    {"fired", waiter_fired, METH_NOARGS, "Bit mask of vectors signalled since the last call; drains the bell."},
    {"close", waiter_close, METH_NOARGS, "End the threads. Idempotent."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef waiter_attributes[] = {
    {"bell", waiter_bell, NULL, "eventfd, readable after a vector fired", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, (void *)"One C thread a vector waits for its semaphore; `bell` becomes readable, `fired` tells which."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, waiter_init},
    {Py_tp_dealloc, waiter_dealloc},
    {Py_tp_methods, waiter_methods},
    {Py_tp_getset, waiter_attributes},
    {0, NULL},
};

static PyType_Spec waiter_spec = {
    .name = "idxdd.native._native.VectorWaiter", .basicsize = sizeof(VectorWaiter), .flags = Py_TPFLAGS_DEFAULT, .slots = waiter_slots,
};

/* ---- IrqChannel ---- */

typedef struct {
    PyObject_HEAD
    struct idxdd_irq_channel channel;
    Py_buffer state;
} IrqChannel;

static void irq_channel_let_go(IrqChannel *self)
{
    if (self->channel.channel)
        idxdd_irq_channel_close(&self->channel);
    if (self->state.obj)
        PyBuffer_Release(&self->state);
}

static int irq_channel_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"channel_fd", "ring_fd", "portal_client_fd", "wake_fd", "slots", "state", "state_offset", NULL};
    IrqChannel *self = (IrqChannel *)op;
    int channel_fd, ring_fd, portal_fd, wake_fd;
    unsigned slots;
    Py_buffer state;
    Py_ssize_t offset;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$iiiiIw*n:IrqChannel", names, &channel_fd, &ring_fd, &portal_fd, &wake_fd,
                                     &slots, &state, &offset))
        return -1;
    irq_channel_let_go(self);
    self->state = state;
    const Py_ssize_t size = (Py_ssize_t)sizeof(struct idxdd_irq_channel_state);
    if (offset < 0 || state.len < size || offset > state.len - size || ((uintptr_t)state.buf + (uintptr_t)offset) % 8) {
        PyBuffer_Release(&self->state);
        PyErr_Format(PyExc_ValueError, "state_offset: %zd does not hold %zd aligned bytes of %zd", offset, size, state.len);
        return -1;
    }
    int rc = idxdd_irq_channel_open(&self->channel, channel_fd, ring_fd, portal_fd, wake_fd, slots, (char *)state.buf + offset);
    if (rc < 0) {
        PyBuffer_Release(&self->state);
        idxdd_raise(-rc, "kernel channel: map channel, ring and portal");
        return -1;
    }
    return 0;
}

static struct idxdd_irq_channel *irq_channel_of(PyObject *op)
{
    IrqChannel *self = (IrqChannel *)op;
    if (!self->channel.channel) {
        PyErr_SetString(PyExc_ValueError, "IrqChannel is closed");
        return NULL;
    }
    return &self->channel;
}

static PyObject *deferred_list(const struct idxdd_deferred *deferred)
{
    PyObject *list = PyList_New((Py_ssize_t)deferred->count);
    for (uint32_t i = 0; list && i < deferred->count; i++) {
        PyObject *entry = Py_BuildValue("(Ki)", (unsigned long long)deferred->entry[i].ticket, (int)deferred->entry[i].status);
        if (!entry)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, entry);
    }
    return list;
}

static PyObject *irq_channel_pass(PyObject *op, PyObject *args, PyObject *kwargs,
                                  uint32_t (*pass)(struct idxdd_irq_channel *, enum idxdd_defer, struct idxdd_deferred *))
{
    static char *names[] = {"defer", NULL};
    struct idxdd_deferred deferred;
    int defer;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i", names, &defer))
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel)
        return NULL;
    pass(channel, (enum idxdd_defer)defer, &deferred);
    return deferred_list(&deferred);
}

static PyObject *irq_channel_work_list(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return irq_channel_pass(op, args, kwargs, idxdd_irq_channel_work_list);
}

static PyObject *irq_channel_pending_list(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return irq_channel_pass(op, args, kwargs, idxdd_irq_channel_pending_list);
}

static PyObject *irq_channel_adopt(PyObject *op, PyObject *Py_UNUSED(none))
{
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyLong_FromUnsignedLong(idxdd_irq_channel_adopt(channel)) : NULL;
}

static PyObject *irq_channel_sweep(PyObject *op, PyObject *Py_UNUSED(none))
{
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyLong_FromUnsignedLong(idxdd_irq_channel_sweep(channel)) : NULL;
}

static PyObject *irq_channel_complete(PyObject *op, PyObject *args)
{
    unsigned long long ticket;
    unsigned char status, result;
    if (!PyArg_ParseTuple(args, "Kbb:complete", &ticket, &status, &result))
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel)
        return NULL;
    return PyBool_FromLong(idxdd_irq_channel_complete(channel, ticket, status, result));
}

static PyObject *irq_channel_complete_again(PyObject *op, PyObject *args)
{
    unsigned long long ticket;
    unsigned char status, result;
    if (!PyArg_ParseTuple(args, "Kbb:complete_again", &ticket, &status, &result))
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel)
        return NULL;
    idxdd_irq_channel_complete_again(channel, ticket, status, result);
    Py_RETURN_NONE;
}

static PyObject *irq_channel_abort_invalid_handles(PyObject *op, PyObject *Py_UNUSED(none))
{
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyLong_FromUnsignedLong(idxdd_irq_channel_abort_invalid_handles(channel)) : NULL;
}

static PyObject *irq_channel_entered(PyObject *op, PyObject *arg)
{
    unsigned long slot = PyLong_AsUnsignedLong(arg);
    if (slot == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyBool_FromLong(idxdd_irq_channel_entered(channel, (uint32_t)slot)) : NULL;
}

static PyObject *irq_channel_relist(PyObject *op, PyObject *arg)
{
    unsigned long long ticket = PyLong_AsUnsignedLongLong(arg);
    if (ticket == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyBool_FromLong(idxdd_irq_channel_relist(channel, ticket)) : NULL;
}

static bool ticket_of(PyObject *arg, uint64_t *ticket)
{
    *ticket = PyLong_AsUnsignedLongLong(arg);
    return !(*ticket == UINT64_MAX && PyErr_Occurred());
}

static PyObject *irq_channel_holds(PyObject *op, PyObject *arg)
{
    uint64_t ticket;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel || !ticket_of(arg, &ticket))
        return NULL;
    return PyBool_FromLong(idxdd_irq_channel_holds(channel, ticket));
}

static PyObject *irq_channel_descriptor(PyObject *op, PyObject *arg)
{
    uint8_t desc[64];
    uint64_t ticket;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel || !ticket_of(arg, &ticket))
        return NULL;
    if (!idxdd_irq_channel_descriptor(channel, ticket, desc))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)desc, sizeof desc);
}

static PyObject *irq_channel_set_status(PyObject *op, PyObject *args)
{
    unsigned long long ticket;
    unsigned char status;
    if (!PyArg_ParseTuple(args, "Kb:set_status", &ticket, &status))
        return NULL;
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    return channel ? PyBool_FromLong(idxdd_irq_channel_set_status(channel, ticket, status)) : NULL;
}

static PyObject *irq_channel_close(PyObject *op, PyObject *Py_UNUSED(none))
{
    irq_channel_let_go((IrqChannel *)op);
    Py_RETURN_NONE;
}

static void irq_channel_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    irq_channel_let_go((IrqChannel *)op);
    type->tp_free(op);
    Py_DECREF(type);
}

enum attribute { IN_SUBMIT, VIOLATION, COMPLETED, LISTED };

static PyObject *irq_channel_attribute(PyObject *op, void *which)
{
    struct idxdd_irq_channel *channel = irq_channel_of(op);
    if (!channel)
        return NULL;
    switch ((enum attribute)(uintptr_t)which) {
    case IN_SUBMIT:
        return PyLong_FromUnsignedLong(idxdd_irq_channel_in_submit(channel));
    case VIOLATION:
        return PyLong_FromUnsignedLong(channel->violation);
    case COMPLETED:
        return PyLong_FromUnsignedLongLong(channel->completed);
    case LISTED:
        break;
    }
    return PyLong_FromUnsignedLong(channel->work_count);
}

static PyMethodDef irq_channel_methods[] = {
    {"work_list", (PyCFunction)(void (*)(void))irq_channel_work_list, METH_VARARGS | METH_KEYWORDS,
     "One pass over the work list; returns (ticket, status) of what DEFER_* hands out."},
    {"pending_list", (PyCFunction)(void (*)(void))irq_channel_pending_list, METH_VARARGS | METH_KEYWORDS,
     "Take the pending list, newest first; returns (ticket, status) of what DEFER_* hands out."},
    {"abort_invalid_handles", irq_channel_abort_invalid_handles, METH_NOARGS,
     "Everything pending to the work list; what has status 0x19 there is completed. Returns how many."},
    {"entered", irq_channel_entered, METH_O, "Whether the client has entered this slot since the last take."},
    {"adopt", irq_channel_adopt, METH_NOARGS, "After a predecessor was reaped: settle, rebuild, ring. Returns how many are listed."},
    {"sweep", irq_channel_sweep, METH_NOARGS, "Complete everything: written status NORMAL, zero ABORT. Returns how many."},
    {"complete", irq_channel_complete, METH_VARARGS, "Complete one deferred descriptor (ticket, status, result). False: not held."},
    {"complete_again", irq_channel_complete_again, METH_VARARGS, "A second completion of a ticket (ticket, status, result)."},
    {"relist", irq_channel_relist, METH_O, "Put a deferred descriptor back on the work list. False: not held."},
    {"holds", irq_channel_holds, METH_O, "Whether idxdd-irq holds this ticket: listed, not completed."},
    {"descriptor", irq_channel_descriptor, METH_O, "A copy of a held descriptor's 64 bytes; None: not held."},
    {"set_status", irq_channel_set_status, METH_VARARGS, "Write the status byte of a held descriptor's record. False: not held."},
    {"close", irq_channel_close, METH_NOARGS, "Unmap everything. Idempotent."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef irq_channel_attributes[] = {
    {"in_submit", irq_channel_attribute, NULL, "1 while the owner is inside the gate", (void *)IN_SUBMIT},
    {"violation", irq_channel_attribute, NULL, "VIOLATION_*: why the lists are not read any more; 0 = none", (void *)VIOLATION},
    {"completed", irq_channel_attribute, NULL, "completions written by this process", (void *)COMPLETED},
    {"listed", irq_channel_attribute, NULL, "length of the work list", (void *)LISTED},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot irq_channel_slots[] = {
    {Py_tp_doc, (void *)"The driver's view of one channel: pending cursor and `listed` in the driver-state segment."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, irq_channel_init},
    {Py_tp_dealloc, irq_channel_dealloc},
    {Py_tp_methods, irq_channel_methods},
    {Py_tp_getset, irq_channel_attributes},
    {0, NULL},
};

static PyType_Spec irq_channel_spec = {
    .name = "idxdd.native._native.IrqChannel", .basicsize = sizeof(IrqChannel), .flags = Py_TPFLAGS_DEFAULT, .slots = irq_channel_slots,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec, Py_ssize_t state_size)
{
    PyObject *type = PyType_FromSpec(spec);
    if (!type)
        return -1;
    if (state_size) {
        PyObject *size = PyLong_FromSsize_t(state_size);
        int rc = size ? PyObject_SetAttrString(type, "STATE_SIZE", size) : -1;
        Py_XDECREF(size);
        if (rc < 0) {
            Py_DECREF(type);
            return -1;
        }
    }
    int rc = PyModule_AddObjectRef(module, name, type);
    Py_DECREF(type);
    return rc;
}

int idxdd_bind_irq(PyObject *module)
{
    if (add_type(module, "VectorWaiter", &waiter_spec, 0) < 0
        || add_type(module, "IrqChannel", &irq_channel_spec, (Py_ssize_t)sizeof(struct idxdd_irq_channel_state)) < 0
        || PyModule_AddIntConstant(module, "DEFER_NOTHING", IDXDD_DEFER_NOTHING) < 0
        || PyModule_AddIntConstant(module, "DEFER_INVALID_HANDLE", IDXDD_DEFER_INVALID_HANDLE) < 0
        || PyModule_AddIntConstant(module, "DEFER_FINISHED", IDXDD_DEFER_FINISHED) < 0
        || PyModule_AddIntConstant(module, "VIOLATION_TAIL", IDXDD_VIOLATION_TAIL) < 0
        || PyModule_AddIntConstant(module, "VIOLATION_INDEX", IDXDD_VIOLATION_INDEX) < 0
        || PyModule_AddIntConstant(module, "VIOLATION_TWICE", IDXDD_VIOLATION_TWICE) < 0)
        return -1;
    return 0;
}
