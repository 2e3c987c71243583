/* The module idxdd.native._native: collects what the other files of this folder register. */
#include "binding.h"

#include <errno.h>
#include <string.h>

PyObject *idxdd_NativeError;

PyObject *idxdd_raise(int error, const char *doing)
{
    PyObject *args = Py_BuildValue("(iN)", error, PyUnicode_FromFormat("%s: %s", doing, strerror(error)));
    if (args) {
        PyErr_SetObject(idxdd_NativeError, args);
        Py_DECREF(args);
    }
    return NULL;
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Binding of the C data plane; see _native.pyi.", .m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    idxdd_NativeError = PyErr_NewExceptionWithDoc("idxdd.native.NativeError", "A system call of the data plane failed.", PyExc_OSError, NULL);
    if (!idxdd_NativeError || PyModule_AddObjectRef(module, "NativeError", idxdd_NativeError) < 0)
        return NULL;
    int (*const binders[])(PyObject *) = {idxdd_bind_words, idxdd_bind_memory, idxdd_bind_crc, idxdd_bind_engine,
                                          idxdd_bind_portal, idxdd_bind_channel, idxdd_bind_irq, idxdd_bind_agent};
    for (size_t i = 0; i < sizeof binders / sizeof *binders; i++)
        if (binders[i](module) < 0)
            return NULL;
    return module;
}
