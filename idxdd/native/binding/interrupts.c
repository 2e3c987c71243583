/* Interrupt vectors and handles of Engine. See _native.pyi. */
#include "engine.h"

#include "interrupts.h"

static PyObject *Engine_vector_config(EngineObject *self, PyObject *args)
{
    unsigned int vector;
    const char *semaphore;
    PyObject *pending;
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "IsOn", &vector, &semaphore, &pending, &offset))
        return NULL;
    PyObject *view = PyMemoryView_FromObject(pending);
    if (!view)
        return NULL;
    Py_buffer *buffer = PyMemoryView_GET_BUFFER(view);
    if (buffer->readonly || offset < 0 || offset % 4 || offset + 4 > buffer->len) {
        Py_DECREF(view);
        PyErr_SetString(PyExc_ValueError, "pending: an aligned word of a writable buffer is needed");
        return NULL;
    }
    int error = idxdd_vector_config(idxdd_engine_interrupts(self->engine), vector, semaphore, (_Atomic uint32_t *)((char *)buffer->buf + offset));
    int failed = error ? 0 : PyList_Append(self->held, view);
    Py_DECREF(view);
    if (error)
        return idxdd_raise(error, "open an interrupt vector's semaphore");
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static bool vector_number(unsigned int vector)
{
    if (vector < IDXDD_VECTORS_MAX)
        return true;
    PyErr_Format(PyExc_ValueError, "vector: %u is not a global vector", vector);
    return false;
}

static PyObject *Engine_vector_mask(EngineObject *self, PyObject *args)
{
    unsigned int vector;
    int masked;
    if (!PyArg_ParseTuple(args, "Ip", &vector, &masked) || !vector_number(vector))
        return NULL;
    return PyBool_FromLong(idxdd_vector_mask(idxdd_engine_interrupts(self->engine), vector, masked));
}

static PyObject *Engine_vector_pending(EngineObject *self, PyObject *args)
{
    unsigned int vector;
    if (!PyArg_ParseTuple(args, "I", &vector) || !vector_number(vector))
        return NULL;
    return PyBool_FromLong((long)atomic_load(&idxdd_engine_interrupts(self->engine)->vector[vector].pba));
}

static PyObject *Engine_vector_clear(EngineObject *self, PyObject *args)
{
    unsigned int vector;
    if (!PyArg_ParseTuple(args, "I", &vector) || !vector_number(vector))
        return NULL;
    idxdd_vector_clear(idxdd_engine_interrupts(self->engine), vector);
    Py_RETURN_NONE;
}

static PyObject *Engine_vector_post(EngineObject *self, PyObject *args)
{
    unsigned int vector;
    if (!PyArg_ParseTuple(args, "I", &vector) || !vector_number(vector))
        return NULL;
    idxdd_vector_raise(idxdd_engine_interrupts(self->engine), vector);
    Py_RETURN_NONE;
}

static PyObject *Engine_handle_config(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"device", "handle", "vector", "pasid_en", "pasid", "ignore", NULL};
    unsigned int device, handle, pasid = 0;
    int pasid_en = 0, ignore = 0;
    PyObject *vector;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IIO|$pIp", names, &device, &handle, &vector, &pasid_en, &pasid, &ignore))
        return NULL;
    if (device >= IDXDD_DEVICES_MAX || handle >= IDXDD_HANDLES_MAX) {
        PyErr_Format(PyExc_ValueError, "handle_config: no handle %u of device %u", handle, device);
        return NULL;
    }
    uint64_t entry = 0;
    if (vector != Py_None) {
        unsigned long number = PyLong_AsUnsignedLong(vector);
        if (PyErr_Occurred() || !vector_number((unsigned int)number))
            return NULL;
        entry = IDXDD_HANDLE_VALID | number | (uint64_t)(pasid & 0xfffffu) << 32 | (pasid_en ? IDXDD_HANDLE_PASID_EN : 0)
              | (ignore ? IDXDD_HANDLE_IGNORE : 0);
    }
    atomic_store(&idxdd_engine_interrupts(self->engine)->handle[device][handle], entry);
    Py_RETURN_NONE;
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

PyMethodDef idxdd_interrupt_methods[] = {
    {"vector_config", (PyCFunction)Engine_vector_config, METH_VARARGS, "Give a vector its semaphore and pending word."},
    {"vector_mask", (PyCFunction)Engine_vector_mask, METH_VARARGS, "Mask or unmask a vector."},
    {"vector_pending", (PyCFunction)Engine_vector_pending, METH_VARARGS, "The PBA bit."},
    {"vector_clear", (PyCFunction)Engine_vector_clear, METH_VARARGS, "Clear the PBA bit."},
    {"vector_post", (PyCFunction)Engine_vector_post, METH_VARARGS, "Raise a vector."},
    {"handle_config", KEYWORDS(Engine_handle_config), "Set an entry of the interrupt handle table."},
    {NULL},
};
