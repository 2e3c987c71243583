/* The inter-domain permissions table, of Engine. See _native.pyi. */
#include "engine.h"

static bool optional_space(PyObject *given, struct idxdd_space **space)
{
    if (given != Py_None && !PyObject_TypeCheck(given, &idxdd_SpaceType)) {
        PyErr_SetString(PyExc_TypeError, "idpt_set: a Space or None");
        return false;
    }
    *space = given == Py_None ? NULL : ((SpaceObject *)given)->space;
    return true;
}

static PyObject *Engine_idpt_set(EngineObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"device", "handle", "usable", "many", "submitter", "read", "write", "window_en", "offset_mode", "base", "size",
                            "bitmap", "space", "bitmap_space", "update", NULL};
    unsigned int device, handle, submitter;
    int usable, many, read, write, window_en, offset_mode, update;
    unsigned long long base, size, bitmap;
    PyObject *space, *bitmap_space;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "II$ppIppppKKKOOp:idpt_set", names, &device, &handle, &usable, &many, &submitter, &read,
                                     &write, &window_en, &offset_mode, &base, &size, &bitmap, &space, &bitmap_space, &update))
        return NULL;
    struct idxdd_idpt_entry entry = {
        .usable = (uint8_t)usable, .many = (uint8_t)many, .read = (uint8_t)read, .write = (uint8_t)write, .window_en = (uint8_t)window_en,
        .offset_mode = (uint8_t)offset_mode, .submitter = submitter, .base = base, .size = size, .bitmap = bitmap,
    };
    if (!optional_space(space, &entry.space) || !optional_space(bitmap_space, &entry.bitmap_space))
        return NULL;
    return idxdd_request_id(idxdd_engine_idpt_set(self->engine, device, handle, &entry, update), "set an IDPT entry");
}

PyMethodDef idxdd_domain_methods[] = {
    {"idpt_set", (PyCFunction)(void (*)(void))Engine_idpt_set, METH_VARARGS | METH_KEYWORDS,
     "Set an entry of the inter-domain permissions table."},
    {NULL},
};
