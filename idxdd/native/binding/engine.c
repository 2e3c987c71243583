/* Engine: the device loop's side of the data plane. See _native.pyi; space.c, domains.c, interrupts.c, inject.c and trace.c bind the rest of it. */
#include "engine.h"

#include <errno.h>
#include <structmember.h>

/* ---- Engine ------------------------------------------------------------------------------------------------------------- */

static PyTypeObject *ExitType;

static PyStructSequence_Field exit_fields[] = {
    {"kind"}, {"id"}, {"wq"}, {"portal"}, {"context"}, {"generation"}, {"pasid"}, {"invalid_flags"}, {"bytes_completed"},
    {"batch_index"}, {"in_batch"}, {"status"}, {"operand"}, {"write"}, {"priv"}, {"record_written"},
    {"batch_id"}, {"first_error"}, {"address"}, {"desc"}, {"record"}, {NULL},
};
static PyStructSequence_Desc exit_desc = {"idxdd.native.Exit", "What the engine hands to the device loop.", exit_fields, 21};

static PyObject *Engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"published", "spin_us", "batch_seed", NULL};
    Py_buffer published;
    unsigned int spin_us = 100;
    unsigned long long batch_seed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|$IK", names, &published, &spin_us, &batch_seed))
        return NULL;
    if ((size_t)published.len < sizeof(struct idxdd_published_device)) {
        PyBuffer_Release(&published);
        PyErr_Format(PyExc_ValueError, "published: %zu bytes needed", sizeof(struct idxdd_published_device));
        return NULL;
    }
    EngineObject *self = (EngineObject *)type->tp_alloc(type, 0);
    if (!self) {
        PyBuffer_Release(&published);
        return NULL;
    }
    self->published = published;
    self->held = PyList_New(0);
    struct idxdd_engine_options options = {.spin_us = spin_us, .published = published.buf, .batch_seed = batch_seed};
    self->engine = self->held ? idxdd_engine_new(&options) : NULL;
    if (!self->engine) {
        int error = errno;
        Py_DECREF(self);
        return idxdd_raise(error, "create the engine");
    }
    self->exit_bell = idxdd_engine_exit_bell(self->engine);
    return (PyObject *)self;
}

static void Engine_dealloc(EngineObject *self)
{
    if (self->engine) {
        Py_BEGIN_ALLOW_THREADS
        idxdd_engine_free(self->engine);
        Py_END_ALLOW_THREADS
    }
    while (self->barriers) {
        struct barrier *next = self->barriers->next;
        idxdd_garbage_free(self->barriers->garbage);
        PyMem_Free(self->barriers);
        self->barriers = next;
    }
    if (self->published.obj)
        PyBuffer_Release(&self->published);
    Py_XDECREF(self->held);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *Engine_start(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    int error = idxdd_engine_start(self->engine);
    if (error)
        return idxdd_raise(error, "start the engine's thread");
    Py_RETURN_NONE;
}

static PyObject *Engine_stop(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_BEGIN_ALLOW_THREADS
    idxdd_engine_stop(self->engine);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *Engine_run(EngineObject *self, PyObject *args)
{
    unsigned int visits = 1;
    if (!PyArg_ParseTuple(args, "|I", &visits))
        return NULL;
    return PyLong_FromUnsignedLong(idxdd_engine_run(self->engine, visits));
}

static PyObject *exit_object(const struct idxdd_exit *exit)
{
    PyObject *object = PyStructSequence_New(ExitType);
    if (!object)
        return NULL;
    const unsigned long values[] = {exit->kind, exit->id, exit->wq, exit->portal, exit->context, exit->generation, exit->pasid,
                                    exit->invalid_flags, exit->bytes_completed, exit->batch_index, exit->in_batch, exit->status,
                                    exit->operand, exit->write, exit->priv, exit->record_written, exit->batch_id, exit->first_error};
    Py_ssize_t n = (Py_ssize_t)(sizeof values / sizeof *values);
    for (Py_ssize_t i = 0; i < n; i++)
        PyStructSequence_SET_ITEM(object, i, PyLong_FromUnsignedLong(values[i]));
    PyStructSequence_SET_ITEM(object, n, PyLong_FromUnsignedLongLong(exit->address));
    PyStructSequence_SET_ITEM(object, n + 1, PyBytes_FromStringAndSize((const char *)exit->desc, 64));
    PyStructSequence_SET_ITEM(object, n + 2, PyBytes_FromStringAndSize((const char *)exit->record, 32));
    return object;
}

static void barrier_over(EngineObject *self, uint32_t id)
{
    for (struct barrier **link = &self->barriers; *link; link = &(*link)->next)
        if ((*link)->id == id) {
            struct barrier *over = *link;
            *link = over->next;
            idxdd_garbage_free(over->garbage);
            PyMem_Free(over);
            return;
        }
}

static uint32_t ask_barrier(EngineObject *self)
{
    struct barrier *barrier = PyMem_Malloc(sizeof *barrier);
    uint32_t id = barrier ? idxdd_engine_barrier(self->engine) : 0;
    if (!id) {
        if (!barrier)
            errno = ENOMEM;
        PyMem_Free(barrier);
        return 0;
    }
    *barrier = (struct barrier){.next = self->barriers, .id = id, .garbage = idxdd_garbage_take()};
    self->barriers = barrier;
    return id;
}

/* Who maps a range asks for no barrier: what it leaves, the table before, goes here. Nobody is told of the acknowledgement. */
static bool of_own_barrier(EngineObject *self, const struct idxdd_exit *exit)
{
    if (exit->kind != IDXDD_EXIT_ACK || !self->own_barrier || exit->id != self->own_barrier)
        return false;
    self->own_barrier = 0;
    return true;
}

static PyObject *Engine_exits(EngineObject *self, PyObject *args)
{
    unsigned int maximum = 256;
    struct idxdd_exit exits[256];
    if (!PyArg_ParseTuple(args, "|I", &maximum))
        return NULL;
    uint32_t n = idxdd_engine_exits(self->engine, exits, maximum < 256 ? maximum : 256);
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < n; i++) {
        if (exits[i].kind == IDXDD_EXIT_ACK)
            barrier_over(self, exits[i].id);
        if (of_own_barrier(self, &exits[i]))
            continue;
        PyObject *object = exit_object(&exits[i]);
        if (!object || PyList_Append(list, object) < 0)
            Py_CLEAR(list);
        Py_XDECREF(object);
    }
    if (!self->own_barrier && idxdd_garbage_waits())
        self->own_barrier = ask_barrier(self);
    return list;
}

PyObject *idxdd_request_id(uint32_t id, const char *doing)
{
    return id ? PyLong_FromUnsignedLong(id) : idxdd_raise(errno, doing);
}

static PyObject *Engine_resume(EngineObject *self, PyObject *args)
{
    unsigned int context, generation, action;
    unsigned char status = 0;
    if (!PyArg_ParseTuple(args, "III|b", &context, &generation, &action, &status))
        return NULL;
    return idxdd_request_id(idxdd_engine_resume(self->engine, context, generation, action, status), "resume a parked descriptor");
}

static bool opcodes(PyObject *sequence, uint64_t opcfg[4])
{
    PyObject *fast = PySequence_Fast(sequence, "opcfg: a sequence of four 64-bit words");
    if (!fast)
        return false;
    bool ok = PySequence_Fast_GET_SIZE(fast) == 4;
    for (Py_ssize_t i = 0; ok && i < 4; i++) {
        opcfg[i] = PyLong_AsUnsignedLongLong(PySequence_Fast_GET_ITEM(fast, i));
        ok = !PyErr_Occurred();
    }
    Py_DECREF(fast);
    if (!ok && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "opcfg: a sequence of four 64-bit words");
    return ok;
}

static PyObject *Engine_wq_enable(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"wq", "group", "dedicated", "size", "threshold", "priority", "gencap", "opcfg", "max_xfer_shift",
                            "max_batch_shift", "bof", "pasid_en", "pasid", "priv", "user_int_en", "privileged_mode", "tc_enabled",
                            "evl_en", "evl_drains", "idcap", "engines", NULL};
    unsigned int wq, group, size, threshold, priority, max_xfer_shift, max_batch_shift, pasid, tc_enabled = 3;
    unsigned long long gencap, idcap = 0, engines = 0;
    int dedicated, bof, pasid_en, priv, user_int_en, privileged_mode, evl_en = 0, evl_drains = 0;
    PyObject *opcfg;
    struct idxdd_wq_config config = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IIpIIIKOIIppIppp|IppKK", names, &wq, &group, &dedicated, &size, &threshold, &priority,
                                     &gencap, &opcfg, &max_xfer_shift, &max_batch_shift, &bof, &pasid_en, &pasid, &priv, &user_int_en,
                                     &privileged_mode, &tc_enabled, &evl_en, &evl_drains, &idcap, &engines)
        || !opcodes(opcfg, config.limits.opcfg))
        return NULL;
    config.limits.gencap = gencap;
    config.limits.idcap = idcap;
    config.limits.max_xfer_shift = (uint8_t)max_xfer_shift;
    config.limits.max_batch_shift = (uint8_t)max_batch_shift;
    config.limits.bof_enabled = (uint8_t)bof;
    config.limits.pasid_enabled = (uint8_t)pasid_en;
    config.limits.user_int_en = (uint8_t)user_int_en;
    config.limits.dedicated = (uint8_t)dedicated;
    config.limits.privileged_mode = (uint8_t)privileged_mode;
    config.limits.tc_enabled = (uint8_t)tc_enabled;
    config.evl_en = (uint8_t)evl_en;
    config.evl_drains = (uint8_t)evl_drains;
    config.group = group;
    config.engines = engines;
    config.size = (uint16_t)size;
    config.threshold = (uint16_t)threshold;
    config.priority = (uint8_t)priority;
    config.pasid = pasid;
    config.pasid_en = (uint8_t)pasid_en;
    config.priv = (uint8_t)priv;
    return idxdd_request_id(idxdd_engine_wq_enable(self->engine, wq, &config), "enable a WQ in the engine");
}

static PyObject *Engine_wq_threshold(EngineObject *self, PyObject *args)
{
    unsigned int wq, threshold;
    if (!PyArg_ParseTuple(args, "II", &wq, &threshold))
        return NULL;
    return idxdd_request_id(idxdd_engine_wq_threshold(self->engine, wq, threshold), "change a WQ's threshold");
}

static bool wq_mask(PyObject *sequence, uint64_t *mask)
{
    PyObject *fast = PySequence_Fast(sequence, "wqs: a sequence of global WQ indices");
    if (!fast)
        return false;
    *mask = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast); i++) {
        unsigned long wq = PyLong_AsUnsignedLong(PySequence_Fast_GET_ITEM(fast, i));
        if (PyErr_Occurred() || wq >= IDXDD_WQS_MAX) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "wqs: %lu is not a global WQ index", wq);
            Py_DECREF(fast);
            return false;
        }
        *mask |= 1ull << wq;
    }
    Py_DECREF(fast);
    return true;
}

static PyObject *Engine_wq_stop(EngineObject *self, PyObject *args)
{
    PyObject *wqs;
    unsigned int how, reason;
    uint64_t mask;
    if (!PyArg_ParseTuple(args, "OII", &wqs, &how, &reason) || !wq_mask(wqs, &mask))
        return NULL;
    return idxdd_request_id(idxdd_engine_wq_stop(self->engine, mask, how, reason), "stop WQs");
}

static PyObject *Engine_wq_drain(EngineObject *self, PyObject *wqs)
{
    uint64_t mask;
    if (!wq_mask(wqs, &mask))
        return NULL;
    return idxdd_request_id(idxdd_engine_wq_drain(self->engine, mask), "drain WQs");
}

static PyObject *Engine_pasid_drain(EngineObject *self, PyObject *args)
{
    unsigned int pasid;
    PyObject *wqs;
    uint64_t mask;
    if (!PyArg_ParseTuple(args, "IO", &pasid, &wqs) || !wq_mask(wqs, &mask))
        return NULL;
    return idxdd_request_id(idxdd_engine_pasid_drain(self->engine, pasid, mask), "drain a PASID");
}

static PyObject *Engine_pasid_abort(EngineObject *self, PyObject *args)
{
    unsigned int pasid;
    PyObject *wqs;
    uint64_t mask;
    if (!PyArg_ParseTuple(args, "IO", &pasid, &wqs) || !wq_mask(wqs, &mask))
        return NULL;
    return idxdd_request_id(idxdd_engine_pasid_abort(self->engine, pasid, mask), "abort a PASID");
}

static PyObject *Engine_portal_add(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"wq", "client_fd", "device_fd", "doorbell_fd", "wake_fd", "space", "pasid", "priv", NULL};
    struct idxdd_portal_options options = {0};
    SpaceObject *space;
    int priv = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IiiiiO!I|p", names, &options.wq, &options.client_fd, &options.device_fd,
                                     &options.doorbell_fd, &options.wake_fd, &idxdd_SpaceType, &space, &options.pasid, &priv))
        return NULL;
    options.space = space->space;
    options.priv = priv;
    uint32_t number, id = idxdd_engine_portal_add(self->engine, &options, &number);
    if (!id)
        return idxdd_raise(errno, "add a portal");
    return Py_BuildValue("(II)", number, id);
}

static PyObject *Engine_agent_add(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"space", "memory_fd", "bell_fd", "doorbell_fd", "timeout", NULL};
    struct idxdd_agent_options options = {0};
    SpaceObject *space;
    double timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$iiid:agent_add", names, &idxdd_SpaceType, &space, &options.memory_fd, &options.bell_fd,
                                     &options.doorbell_fd, &timeout))
        return NULL;
    if (!(timeout > 0 && timeout <= 3600)) {
        PyErr_SetString(PyExc_ValueError, "timeout: more than 0, at most 3600 seconds");
        return NULL;
    }
    options.space = space->space;
    options.timeout_ns = (uint64_t)(timeout * 1e9);
    return idxdd_request_id(idxdd_engine_agent_add(self->engine, &options), "add an agent");
}

static PyObject *Engine_agent_remove(EngineObject *self, PyObject *space)
{
    if (!PyObject_TypeCheck(space, &idxdd_SpaceType)) {
        PyErr_SetString(PyExc_TypeError, "agent_remove: a Space is needed");
        return NULL;
    }
    return idxdd_request_id(idxdd_engine_agent_remove(self->engine, ((SpaceObject *)space)->space), "remove an agent");
}

static PyObject *Engine_portal_close(EngineObject *self, PyObject *args)
{
    unsigned int portal, how, reason;
    if (!PyArg_ParseTuple(args, "III", &portal, &how, &reason))
        return NULL;
    return idxdd_request_id(idxdd_engine_portal_close(self->engine, portal, how, reason), "close a portal");
}

static PyObject *Engine_portal_reopen(EngineObject *self, PyObject *portal)
{
    unsigned long number = PyLong_AsUnsignedLong(portal);
    if (PyErr_Occurred())
        return NULL;
    return idxdd_request_id(idxdd_engine_portal_reopen(self->engine, (uint32_t)number), "reopen a portal");
}

static PyObject *Engine_portal_remove(EngineObject *self, PyObject *portal)
{
    unsigned long number = PyLong_AsUnsignedLong(portal);
    if (PyErr_Occurred())
        return NULL;
    return idxdd_request_id(idxdd_engine_portal_remove(self->engine, (uint32_t)number), "remove a portal");
}

static PyObject *Engine_portal_fenced(EngineObject *self, PyObject *portal)
{
    unsigned long number = PyLong_AsUnsignedLong(portal);
    if (PyErr_Occurred())
        return NULL;
    int error = idxdd_engine_portal_fenced(self->engine, (uint32_t)number);
    if (error)
        return idxdd_raise(error, "mark a portal as fenced");
    Py_RETURN_NONE;
}

#define LOAD(word) ((unsigned long long)atomic_load_explicit(&(word), memory_order_relaxed))

static PyObject *Engine_portal_statistics(EngineObject *self, PyObject *portal)
{
    unsigned long number = PyLong_AsUnsignedLong(portal);
    if (PyErr_Occurred())
        return NULL;
    const struct idxdd_portal_device *page = idxdd_engine_portal_page(self->engine, (uint32_t)number);
    if (!page)
        return idxdd_raise(ENOENT, "read a portal's statistics");
    return Py_BuildValue("{sKsKsKsKsKsKsKsK}", "descriptors", LOAD(page->descriptors), "bytes", LOAD(page->bytes), "retries",
                         LOAD(page->retries), "errors", LOAD(page->errors), "interrupts", LOAD(page->interrupts), "done",
                         LOAD(page->done), "limit", LOAD(page->limit), "closed", LOAD(page->closed));
}

static PyObject *Engine_barrier(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    return idxdd_request_id(ask_barrier(self), "ask the engine for a barrier");
}

static PyObject *Engine_ring(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    idxdd_engine_ring(self->engine);
    Py_RETURN_NONE;
}

static PyObject *Engine_statistics(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    struct idxdd_engine_statistics s;
    idxdd_engine_statistics(self->engine, &s);
    return Py_BuildValue("{sKsKsKsKsKsKsKsK}", "visits", (unsigned long long)s.visits, "sleeps", (unsigned long long)s.sleeps, "spin_ns",
                         (unsigned long long)s.spin_ns, "contexts", (unsigned long long)s.contexts, "parked", (unsigned long long)s.parked,
                         "exits", (unsigned long long)s.exits, "requests", (unsigned long long)s.requests, "finished",
                         (unsigned long long)s.finished);
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef Engine_methods[] = {
    {"start", (PyCFunction)Engine_start, METH_NOARGS, "Run in a thread of its own."},
    {"stop", (PyCFunction)Engine_stop, METH_NOARGS, "End the thread."},
    {"run", (PyCFunction)Engine_run, METH_VARARGS, "So many visits in this thread."},
    {"exits", (PyCFunction)Engine_exits, METH_VARARGS, "What the engine handed over."},
    {"resume", (PyCFunction)Engine_resume, METH_VARARGS, "Answer a parked descriptor."},
    {"wq_enable", KEYWORDS(Engine_wq_enable), "Configure a WQ and let it accept."},
    {"wq_threshold", (PyCFunction)Engine_wq_threshold, METH_VARARGS, "Change the threshold of a shared WQ."},
    {"wq_stop", (PyCFunction)Engine_wq_stop, METH_VARARGS, "Close all portals of WQs, drain or abort."},
    {"wq_drain", (PyCFunction)Engine_wq_drain, METH_O, "Wait for all that WQs have accepted."},
    {"pasid_drain", (PyCFunction)Engine_pasid_drain, METH_VARARGS, "Wait for all of one PASID in WQs."},
    {"pasid_abort", (PyCFunction)Engine_pasid_abort, METH_VARARGS, "Abort all of one PASID in WQs."},
    {"portal_add", KEYWORDS(Engine_portal_add), "Serve a portal."},
    {"agent_add", (PyCFunction)(void (*)(void))Engine_agent_add, METH_VARARGS | METH_KEYWORDS, "Reach what is not mapped through this agent."},
    {"agent_remove", (PyCFunction)Engine_agent_remove, METH_O, "The space has no agent any more."},
    {"portal_close", (PyCFunction)Engine_portal_close, METH_VARARGS, "Close a portal, drain or abort."},
    {"portal_reopen", (PyCFunction)Engine_portal_reopen, METH_O, "Reopen a closed portal at its client's request."},
    {"portal_remove", (PyCFunction)Engine_portal_remove, METH_O, "Forget a portal."},
    {"portal_fenced", (PyCFunction)Engine_portal_fenced, METH_O, "Store fenced."},
    {"portal_statistics", (PyCFunction)Engine_portal_statistics, METH_O, "Counters of a portal."},
    {"barrier", (PyCFunction)Engine_barrier, METH_NOARGS, "Acknowledged when no old address table is in use."},
    {"ring", (PyCFunction)Engine_ring, METH_NOARGS, "Wake the engine."},
    {"statistics", (PyCFunction)Engine_statistics, METH_NOARGS, "Counters of the engine."},
    {NULL},
};

static PyMemberDef Engine_members[] = {
    {"exit_bell", T_INT, offsetof(EngineObject, exit_bell), READONLY, "eventfd: readable when there are exits"},
    {NULL},
};

static PyTypeObject EngineType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "idxdd.native.Engine", .tp_basicsize = sizeof(EngineObject), .tp_new = Engine_new,
    .tp_dealloc = (destructor)Engine_dealloc, .tp_methods = Engine_methods, .tp_members = Engine_members, .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The engine: executes descriptors, in a thread of its own or inline.",
};

/* A concept a file: what other files bind of Engine. */
static int add_methods(PyMethodDef *methods)
{
    for (; methods->ml_name; methods++) {
        PyObject *method = PyDescr_NewMethod(&EngineType, methods);
        int failed = !method || PyDict_SetItemString(EngineType.tp_dict, methods->ml_name, method) < 0;
        Py_XDECREF(method);
        if (failed)
            return -1;
    }
    PyType_Modified(&EngineType);
    return 0;
}

int idxdd_bind_engine(PyObject *module)
{
    static const struct { const char *name; long value; } constants[] = {
        {"EXIT_ACK", IDXDD_EXIT_ACK}, {"EXIT_FAULT", IDXDD_EXIT_FAULT}, {"EXIT_ERROR", IDXDD_EXIT_ERROR},
        {"EXIT_OVERFLOW", IDXDD_EXIT_OVERFLOW}, {"EXIT_INJECTED", IDXDD_EXIT_INJECTED}, {"EXIT_WINDOW", IDXDD_EXIT_WINDOW},
        {"RESUME_RETRY", IDXDD_RESUME_RETRY}, {"RESUME_FAIL", IDXDD_RESUME_FAIL},
        {"RESUME_FINISH", IDXDD_RESUME_FINISH}, {"RESUME_RUN", IDXDD_RESUME_RUN}, {"STOP_DRAIN", IDXDD_STOP_DRAIN}, {"STOP_ABORT", IDXDD_STOP_ABORT},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    ExitType = PyStructSequence_NewType(&exit_desc);
    if (!ExitType || PyModule_AddObjectRef(module, "Exit", (PyObject *)ExitType) < 0)
        return -1;
    if (idxdd_bind_space(module) < 0 || idxdd_bind_inject(module) < 0 || idxdd_bind_trace(module) < 0)
        return -1;
    if (PyType_Ready(&EngineType) < 0 || add_methods(idxdd_interrupt_methods) < 0 || add_methods(idxdd_domain_methods) < 0
        || add_methods(idxdd_inject_methods) < 0 || add_methods(idxdd_trace_methods) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Engine", (PyObject *)&EngineType);
}
