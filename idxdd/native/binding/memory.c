/* Memory and process calls that Python's own mmap and os do not offer. */
#include "binding.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static PyObject *native_set_parent_death_signal(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signal_number;
    if (!PyArg_ParseTuple(args, "i:set_parent_death_signal", &signal_number))
        return NULL;
    if (signal_number < 0)
        return idxdd_raise(EINVAL, "set_parent_death_signal");
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signal_number) < 0)
        return idxdd_raise(errno, "set_parent_death_signal");
    Py_RETURN_NONE;
}

/* A page shared with what lies beside the buffer would be taken from the child as well: only whole pages. */
static PyObject *native_dont_fork(PyObject *Py_UNUSED(module), PyObject *buffer)
{
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int error = EINVAL;
    if (view.len > 0 && (uintptr_t)view.buf % page == 0 && (size_t)view.len % page == 0)
        error = madvise(view.buf, (size_t)view.len, MADV_DONTFORK) < 0 ? errno : 0;
    PyBuffer_Release(&view);
    if (error)
        return idxdd_raise(error, "dont_fork: whole pages");
    Py_RETURN_NONE;
}

static PyObject *map_fixed(PyObject *args, const char *format, int flags, const char *doing)
{
    int fd;
    unsigned long long address;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, format, &fd, &address, &size))
        return NULL;
    if (size <= 0 || address == 0)
        return idxdd_raise(EINVAL, doing);
    if (mmap((void *)(uintptr_t)address, (size_t)size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
        return idxdd_raise(errno, doing);
    Py_RETURN_NONE;
}

static PyObject *native_map_fixed_private(PyObject *Py_UNUSED(module), PyObject *args)
{
    return map_fixed(args, "iKn:map_fixed_private", MAP_PRIVATE, "map_fixed_private");
}

static PyObject *native_map_fixed_shared(PyObject *Py_UNUSED(module), PyObject *args)
{
    return map_fixed(args, "iKn:map_fixed_shared", MAP_SHARED, "map_fixed_shared");
}

static PyObject *native_map_shared(PyObject *Py_UNUSED(module), PyObject *args, PyObject *keywords)
{
    static char *names[] = {"fd", "size", "writable", NULL};
    int fd, writable;
    Py_ssize_t size;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "inp:map_shared", names, &fd, &size, &writable))
        return NULL;
    if (size <= 0)
        return idxdd_raise(EINVAL, "map_shared");
    void *address = mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return idxdd_raise(errno, "map_shared");
    return PyLong_FromUnsignedLongLong((uintptr_t)address);
}

static PyObject *native_unmap(PyObject *Py_UNUSED(module), PyObject *args)
{
    unsigned long long address;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "Kn:unmap", &address, &size))
        return NULL;
    if (size <= 0 || address == 0)
        return idxdd_raise(EINVAL, "unmap");
    if (munmap((void *)(uintptr_t)address, (size_t)size) < 0)
        return idxdd_raise(errno, "unmap");
    Py_RETURN_NONE;
}

/* The caller keeps the mapping alive for as long as the view: it has no owner of its own. */
static PyObject *native_view(PyObject *Py_UNUSED(module), PyObject *args, PyObject *keywords)
{
    static char *names[] = {"address", "size", "writable", NULL};
    unsigned long long address;
    Py_ssize_t size;
    int writable;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Knp:view", names, &address, &size, &writable))
        return NULL;
    if (size < 0 || address == 0)
        return idxdd_raise(EINVAL, "view");
    return PyMemoryView_FromMemory((char *)(uintptr_t)address, size, writable ? PyBUF_WRITE : PyBUF_READ);
}

static PyMethodDef functions[] = {
    {"set_parent_death_signal", native_set_parent_death_signal, METH_VARARGS, "Be sent this signal when the parent thread ends."},
    {"dont_fork", native_dont_fork, METH_O, "A forked child does not have these whole pages."},
    {"map_fixed_private", native_map_fixed_private, METH_VARARGS, "Replace what is mapped there by a private view of fd."},
    {"map_fixed_shared", native_map_fixed_shared, METH_VARARGS, "Replace what is mapped there by a shared view of fd."},
    {"map_shared", (PyCFunction)(void (*)(void))native_map_shared, METH_VARARGS | METH_KEYWORDS, "Map fd shared; its address."},
    {"unmap", native_unmap, METH_VARARGS, "Unmap [address, address + size)."},
    {"view", (PyCFunction)(void (*)(void))native_view, METH_VARARGS | METH_KEYWORDS, "A memoryview of mapped memory."},
    {0},
};

int idxdd_bind_memory(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
