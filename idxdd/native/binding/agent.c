/* Agent: this process's memory, served to the device. See _native.pyi. */
#include "client_types.h"

#include "serve.h"

typedef struct {
    PyObject_HEAD
    struct idxdd_server server;
} AgentObject;

static PyTypeObject AgentType;

static PyObject *Agent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"memory_fd", "bell_fd", "doorbell_fd", "published_fd", "thread", NULL};
    int memory_fd = -1, bell_fd = -1, doorbell_fd = -1, published_fd = -1, thread = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$iiiip:Agent", names, &memory_fd, &bell_fd, &doorbell_fd, &published_fd, &thread))
        return NULL;
    AgentObject *self = (AgentObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    int error = idxdd_server_open(&self->server, memory_fd, bell_fd, doorbell_fd, published_fd, thread);
    if (error) {
        Py_DECREF(self);
        return idxdd_raise(-error, "start the agent");
    }
    return (PyObject *)self;
}

static void Agent_dealloc(AgentObject *self)
{
    bool ended = true;
    if (self->server.page) {               /* no portal has it any more, so no thread of ours looks */
        Py_BEGIN_ALLOW_THREADS
        ended = idxdd_server_close(&self->server);
        Py_END_ALLOW_THREADS
    }
    if (ended)
        Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *Agent_stop(AgentObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_BEGIN_ALLOW_THREADS
    idxdd_server_stop(&self->server);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *Agent_look(AgentObject *self, PyObject *args)
{
    bool any;
    int may_block = 0;
    if (!PyArg_ParseTuple(args, "|p:look", &may_block))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    any = idxdd_server_look(&self->server, may_block);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(any);
}

/* Portal.serve(agent): its waiters serve this agent from now on; the agent lives as long as the portal. */
static PyObject *native_serve(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *portal;
    AgentObject *agent;
    if (!PyArg_ParseTuple(args, "O!O!:serve", idxdd_PortalType, &portal, &AgentType, &agent))
        return NULL;
    PortalObject *self = (PortalObject *)portal;
    if (self->agent) {
        PyErr_SetString(PyExc_ValueError, "serve: the portal has an agent already");
        return NULL;
    }
    self->agent = Py_NewRef((PyObject *)agent);
    atomic_store_explicit(&self->submitter.bell.server, &agent->server, memory_order_release);
    Py_RETURN_NONE;
}

static PyMethodDef Agent_methods[] = {
    {"stop", (PyCFunction)Agent_stop, METH_NOARGS, "End its thread."},
    {"look", (PyCFunction)Agent_look, METH_VARARGS, "Serve what is asked now; was there anything?"},
    {NULL},
};

static PyTypeObject AgentType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "idxdd.native.Agent", .tp_basicsize = sizeof(AgentObject), .tp_new = Agent_new,
    .tp_dealloc = (destructor)Agent_dealloc, .tp_methods = Agent_methods, .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Serves this process's memory to the device: a thread, and whoever waits at a portal.",
};

/* Where the memory of a buffer lies; the caller keeps the object alive, and its size. */
static PyObject *native_buffer_address(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object;
    int writable;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "Op:buffer_address", &object, &writable))
        return NULL;
    if (PyObject_GetBuffer(object, &view, writable ? PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    PyObject *pair = Py_BuildValue("(Kn)", (unsigned long long)(uintptr_t)view.buf, view.len);
    PyBuffer_Release(&view);
    return pair;
}

static PyMethodDef functions[] = {
    {"buffer_address", native_buffer_address, METH_VARARGS, "(address, bytes) of a contiguous buffer's memory."},
    {"serve", native_serve, METH_VARARGS, "Waiters of this portal serve this agent from now on."},
    {NULL},
};

int idxdd_bind_agent(PyObject *module)
{
    if (PyType_Ready(&AgentType) < 0 || PyModule_AddObjectRef(module, "Agent", (PyObject *)&AgentType) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
