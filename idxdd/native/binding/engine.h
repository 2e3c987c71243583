/* The objects of the device loop's side, shared by the files that bind it. */
#ifndef IDXDD_BINDING_ENGINE_H
#define IDXDD_BINDING_ENGINE_H

#include "binding.h"

#include "idxdd/engine.h"
#include "space.h"

typedef struct {
    PyObject_HEAD
    struct idxdd_space *space;
} SpaceObject;

extern PyTypeObject idxdd_SpaceType;

/* A barrier: what was taken out of address spaces before it may be freed when it is acknowledged. */
struct barrier {
    struct barrier *next;
    uint32_t id;
    struct idxdd_garbage *garbage;
};

typedef struct {
    PyObject_HEAD
    struct idxdd_engine *engine;
    struct barrier *barriers;
    uint32_t own_barrier;        /* for what changes left that asked for none; 0: none is under way */
    Py_buffer published;
    PyObject *held;              /* memoryviews of pending words */
    int exit_bell;
} EngineObject;

/* id, or NativeError(errno) for 0. */
PyObject *idxdd_request_id(uint32_t id, const char *doing);

extern PyMethodDef idxdd_domain_methods[], idxdd_interrupt_methods[], idxdd_inject_methods[], idxdd_trace_methods[]; /* of Engine */
int idxdd_bind_space(PyObject *module);
int idxdd_bind_inject(PyObject *module);
int idxdd_bind_trace(PyObject *module);

#endif
