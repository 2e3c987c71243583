/* What the files of the binding share. Each registers its types on the module; module.c calls them. */
#ifndef IDXDD_BINDING_H
#define IDXDD_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyObject *idxdd_NativeError;   /* subclass of OSError */

/* Raise NativeError(errno, "doing: strerror"). Returns NULL. */
PyObject *idxdd_raise(int error, const char *doing);

int idxdd_bind_words(PyObject *module);
int idxdd_bind_memory(PyObject *module);
int idxdd_bind_engine(PyObject *module);
int idxdd_bind_portal(PyObject *module);
int idxdd_bind_channel(PyObject *module);
int idxdd_bind_irq(PyObject *module);
int idxdd_bind_crc(PyObject *module);
int idxdd_bind_agent(PyObject *module);

#endif
