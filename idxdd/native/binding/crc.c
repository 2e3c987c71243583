/* CRC functions for Python: what tests, the reference model and idxdctl compare with. */
#include "binding.h"

#include "idxdd/operations.h"

#include <string.h>

#define CRC_WITHOUT_GIL_BYTES 65536     /* below, handing over the GIL costs more than the CRC */

static PyObject *crc32c(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "seed", NULL};
    (void)module;
    Py_buffer data;
    PyObject *seed = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|O!:crc32c", names, &data, &PyLong_Type, &seed))
        return NULL;
    unsigned long long start = seed ? PyLong_AsUnsignedLongLong(seed) : 0;
    if (!PyErr_Occurred() && start > UINT32_MAX)
        PyErr_SetString(PyExc_OverflowError, "crc32c: seed is more than 32 bits");
    if (PyErr_Occurred()) {
        PyBuffer_Release(&data);
        return NULL;
    }
    uint32_t crc;
    if (data.len < CRC_WITHOUT_GIL_BYTES) {
        crc = idxdd_crc32c((uint32_t)start, data.buf, (uint64_t)data.len);
    } else {
        Py_BEGIN_ALLOW_THREADS
        crc = idxdd_crc32c((uint32_t)start, data.buf, (uint64_t)data.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *crc64nvme(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "seed", NULL};
    (void)module;
    Py_buffer data;
    PyObject *seed = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|O!:crc64nvme", names, &data, &PyLong_Type, &seed))
        return NULL;
    unsigned long long start = seed ? PyLong_AsUnsignedLongLong(seed) : 0;
    if (PyErr_Occurred()) {
        PyBuffer_Release(&data);
        return NULL;
    }
    uint64_t crc;
    if (data.len < CRC_WITHOUT_GIL_BYTES) {
        crc = idxdd_crc64nvme(start, data.buf, (uint64_t)data.len);
    } else {
        Py_BEGIN_ALLOW_THREADS
        crc = idxdd_crc64nvme(start, data.buf, (uint64_t)data.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLongLong(crc);
}

static PyObject *crc_kernel(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    return PyUnicode_FromString(idxdd_crc_kernel());
}

static PyObject *crc_force(PyObject *module, PyObject *arg)
{
    (void)module;
    const char *kernel = PyUnicode_AsUTF8(arg);
    return kernel ? PyBool_FromLong(idxdd_crc_force(kernel)) : NULL;
}

/* The features that kernels ask for, as /proc/cpuinfo names them, separated by spaces. */
static PyObject *cpu_features(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    char features[128] = "";
#if defined(__x86_64__)
    __builtin_cpu_init();
#define FEATURE(builtin, name) if (__builtin_cpu_supports(builtin)) strcat(strcat(features, *features ? " " : ""), name)
    FEATURE("sse4.2", "sse4_2");
    FEATURE("pclmul", "pclmulqdq");
    FEATURE("avx", "avx");
    FEATURE("avx2", "avx2");
    FEATURE("avx512f", "avx512f");
    FEATURE("avx512bw", "avx512bw");
    FEATURE("avx512dq", "avx512dq");
    FEATURE("avx512vl", "avx512vl");
    FEATURE("vpclmulqdq", "vpclmulqdq");
#undef FEATURE
#endif
    return PyUnicode_FromString(features);
}

int idxdd_bind_crc(PyObject *module)
{
    static PyMethodDef functions[] = {
        {"crc32c", (PyCFunction)(void (*)(void))crc32c, METH_VARARGS | METH_KEYWORDS, "CRC-32C of data, going on from seed."},
        {"crc64nvme", (PyCFunction)(void (*)(void))crc64nvme, METH_VARARGS | METH_KEYWORDS, "CRC-64/NVME of data, going on from seed."},
        {"crc_kernel", crc_kernel, METH_NOARGS, "Name of the CRC kernel in use."},
        {"crc_force", crc_force, METH_O, "Use this kernel; False: unknown, or not for this CPU."},
        {"cpu_features", cpu_features, METH_NOARGS, "CPU features that kernels use and this CPU has."},
        {NULL, NULL, 0, NULL},
    };
    return PyModule_AddFunctions(module, functions);
}
