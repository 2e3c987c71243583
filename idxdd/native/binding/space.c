/* Space: the address table of one PASID. See _native.pyi. */
#include "engine.h"

static PyObject *Space_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    SpaceObject *self = (SpaceObject *)type->tp_alloc(type, 0);
    if (self && !(self->space = idxdd_space_new())) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void Space_dealloc(SpaceObject *self)
{
    idxdd_space_unref(self->space);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *Space_add(SpaceObject *self, PyObject *args)
{
    unsigned long long address, size;
    int fd;
    if (!PyArg_ParseTuple(args, "KiK", &address, &fd, &size))
        return NULL;
    int error = idxdd_space_add(self->space, address, fd, size);
    if (error)
        return idxdd_raise(error, "map a range into the address space");
    Py_RETURN_NONE;
}

static PyObject *Space_remove(SpaceObject *self, PyObject *args)
{
    unsigned long long address;
    uint64_t size = 0;
    if (!PyArg_ParseTuple(args, "K", &address))
        return NULL;
    int error = idxdd_space_remove(self->space, address, &size);
    if (error)
        return idxdd_raise(error, "take a range out of the address space");
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *Space_ranges(SpaceObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < idxdd_space_count(self->space); i++) {
        uint64_t address, size;
        idxdd_space_range(self->space, i, &address, &size);
        PyObject *pair = Py_BuildValue("(KK)", (unsigned long long)address, (unsigned long long)size);
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyMethodDef Space_methods[] = {
    {"add", (PyCFunction)Space_add, METH_VARARGS, "Map a memfd and serve [address, address + size)."},
    {"remove", (PyCFunction)Space_remove, METH_VARARGS, "Take the range that starts at address out; returns its size."},
    {"ranges", (PyCFunction)Space_ranges, METH_NOARGS, "[(address, size), ...]"},
    {NULL},
};

PyTypeObject idxdd_SpaceType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "idxdd.native.Space", .tp_basicsize = sizeof(SpaceObject), .tp_new = Space_new,
    .tp_dealloc = (destructor)Space_dealloc, .tp_methods = Space_methods, .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The address table of one PASID.",
};

int idxdd_bind_space(PyObject *module)
{
    if (PyType_Ready(&idxdd_SpaceType) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Space", (PyObject *)&idxdd_SpaceType);
}
