/* The trace, of Engine. See _native.pyi and idxdd/trace.h. */
#include "engine.h"

#include <errno.h>

#include "idxdd/trace.h"

#define READ_MAX 16384u              /* 3 MiB: one read does not keep the loop long */

static PyObject *Engine_trace_on(EngineObject *self, PyObject *records)
{
    unsigned long count = PyLong_AsUnsignedLong(records);
    if (PyErr_Occurred())
        return NULL;
    errno = EINVAL;
    return idxdd_request_id(count > UINT32_MAX ? 0 : idxdd_engine_trace_on(self->engine, (uint32_t)count), "switch the trace on");
}

static PyObject *Engine_trace_off(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    return idxdd_request_id(idxdd_engine_trace_off(self->engine), "switch the trace off");
}

static PyObject *Engine_trace_read(EngineObject *self, PyObject *args)
{
    unsigned int maximum = 1024;
    if (!PyArg_ParseTuple(args, "|I", &maximum))
        return NULL;
    maximum = maximum < READ_MAX ? maximum : READ_MAX;
    PyObject *records = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)maximum * (Py_ssize_t)sizeof(struct idxdd_trace_record));
    if (!records)
        return NULL;
    uint64_t dropped;
    uint32_t n = idxdd_engine_trace_read(self->engine, (struct idxdd_trace_record *)PyBytes_AS_STRING(records), maximum, &dropped);
    if (_PyBytes_Resize(&records, (Py_ssize_t)n * (Py_ssize_t)sizeof(struct idxdd_trace_record)) < 0)
        return NULL;
    return Py_BuildValue("(NK)", records, (unsigned long long)dropped);
}

static PyObject *Engine_errors_read(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    struct idxdd_trace_record records[IDXDD_ERRORS_KEPT];
    uint64_t dropped;
    uint32_t n = idxdd_engine_errors_read(self->engine, records, IDXDD_ERRORS_KEPT, &dropped);
    return Py_BuildValue("(y#K)", (const char *)records, (Py_ssize_t)(n * sizeof *records), (unsigned long long)dropped);
}

static PyObject *counts(const uint64_t *count, uint32_t size)
{
    PyObject *found = PyDict_New();
    for (uint32_t i = 0; found && i < size; i++) {
        if (!count[i])
            continue;
        PyObject *key = PyLong_FromUnsignedLong(i), *value = PyLong_FromUnsignedLongLong(count[i]);
        if (!key || !value || PyDict_SetItem(found, key, value) < 0)
            Py_CLEAR(found);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return found;
}

static PyObject *Engine_wq_counts(EngineObject *self, PyObject *number)
{
    unsigned long wq = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (wq >= IDXDD_WQS_MAX) {
        PyErr_Format(PyExc_ValueError, "wq: %lu is not below %u", wq, IDXDD_WQS_MAX);
        return NULL;
    }
    struct idxdd_wq_counts found;
    idxdd_engine_wq_counts(self->engine, (uint32_t)wq, &found);
    PyObject *operations = counts(found.operation, IDXDD_COUNTED_OPERATIONS);
    PyObject *statuses = operations ? counts(found.status, IDXDD_COUNTED_STATUSES) : NULL;
    if (!statuses) {
        Py_XDECREF(operations);
        return NULL;
    }
    return Py_BuildValue("(NN)", operations, statuses);
}

PyMethodDef idxdd_trace_methods[] = {
    {"trace_on", (PyCFunction)Engine_trace_on, METH_O, "A new, empty trace of so many records."},
    {"trace_off", (PyCFunction)Engine_trace_off, METH_NOARGS, "No trace any more."},
    {"trace_read", (PyCFunction)Engine_trace_read, METH_VARARGS, "Packed records, oldest first, and how many were lost."},
    {"errors_read", (PyCFunction)Engine_errors_read, METH_NOARGS, "The same of the last errors."},
    {"wq_counts", (PyCFunction)Engine_wq_counts, METH_O, "Ends by opcode, and by status where it is not 0x01."},
    {NULL},
};

int idxdd_bind_trace(PyObject *module)
{
    static const struct { const char *name; long value; } constants[] = {
        {"TRACE_RECORDS_MAX", IDXDD_TRACE_RECORDS_MAX}, {"ERRORS_KEPT", IDXDD_ERRORS_KEPT},
        {"TRACE_RECORD_WRITTEN", IDXDD_TRACE_RECORD_WRITTEN},
        {"TRACE_MEMBER", IDXDD_TRACE_MEMBER}, {"TRACE_FAULT_WRITE", IDXDD_TRACE_FAULT_WRITE}, {"TRACE_PRIV", IDXDD_TRACE_PRIV},
        {"TRACE_DROPPED", IDXDD_TRACE_DROPPED}, {"TRACE_AGENT", IDXDD_TRACE_AGENT},
        {"WHY_NONE", IDXDD_WHY_NONE}, {"WHY_CARRIED_OUT", IDXDD_WHY_CARRIED_OUT}, {"WHY_MEMBER_FAILED", IDXDD_WHY_MEMBER_FAILED},
        {"WHY_FENCE", IDXDD_WHY_FENCE}, {"WHY_RECORD_ALIGNMENT", IDXDD_WHY_RECORD_ALIGNMENT}, {"WHY_PRIVILEGE", IDXDD_WHY_PRIVILEGE},
        {"WHY_RECORD_TRAFFIC_CLASS", IDXDD_WHY_RECORD_TRAFFIC_CLASS}, {"WHY_OPCODE", IDXDD_WHY_OPCODE},
        {"WHY_OPCODE_IN_BATCH", IDXDD_WHY_OPCODE_IN_BATCH}, {"WHY_FLAGS", IDXDD_WHY_FLAGS}, {"WHY_RESERVED", IDXDD_WHY_RESERVED},
        {"WHY_NO_PASID", IDXDD_WHY_NO_PASID}, {"WHY_SIZE", IDXDD_WHY_SIZE}, {"WHY_COUNT", IDXDD_WHY_COUNT},
        {"WHY_FIELD_VALUE", IDXDD_WHY_FIELD_VALUE}, {"WHY_LIST_ALIGNMENT", IDXDD_WHY_LIST_ALIGNMENT},
        {"WHY_ALIGNMENT", IDXDD_WHY_ALIGNMENT}, {"WHY_DUALCAST_BITS", IDXDD_WHY_DUALCAST_BITS}, {"WHY_OVERLAP", IDXDD_WHY_OVERLAP},
        {"WHY_HANDLE", IDXDD_WHY_HANDLE}, {"WHY_TRAFFIC_CLASS", IDXDD_WHY_TRAFFIC_CLASS}, {"WHY_WINDOW", IDXDD_WHY_WINDOW},
        {"WHY_CHECK", IDXDD_WHY_CHECK}, {"WHY_FAULT", IDXDD_WHY_FAULT}, {"WHY_RECORD_FAULT", IDXDD_WHY_RECORD_FAULT},
        {"WHY_RECORD_LOGGED", IDXDD_WHY_RECORD_LOGGED}, {"WHY_DRAIN_LOGGED", IDXDD_WHY_DRAIN_LOGGED}, {"WHY_ABORTED", IDXDD_WHY_ABORTED},
        {"WHY_RULE", IDXDD_WHY_RULE},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    return 0;
}
