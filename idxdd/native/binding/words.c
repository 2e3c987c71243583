/* class Words, fence, LAYOUT: ordered access to shared memory, and where in it things lie. */
#include "binding.h"

#include "idxdd/engine.h"
#include "idxdd/inject.h"
#include "idxdd/shm.h"
#include "idxdd/trace.h"

/* ---- Words ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Py_buffer view;     /* view.obj is NULL once released */
} Words;

static PyObject *words_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"buffer", NULL};
    PyObject *buffer;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:Words", names, &buffer))
        return NULL;
    Words *self = (Words *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    if (PyObject_GetBuffer(buffer, &self->view, PyBUF_SIMPLE) < 0) {
        self->view.obj = NULL;
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void words_dealloc(Words *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyBuffer_Release(&self->view);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *words_release(Words *self, PyObject *Py_UNUSED(none))
{
    PyBuffer_Release(&self->view);
    Py_RETURN_NONE;
}

/* The address of a word, or NULL with an exception: what Python asks for is never trusted to lie inside. */
static void *words_at(Words *self, PyObject *offset_object, Py_ssize_t width, int writing)
{
    if (!self->view.obj) {
        PyErr_SetString(PyExc_ValueError, "the buffer was released");
        return NULL;
    }
    Py_ssize_t offset = PyNumber_AsSsize_t(offset_object, PyExc_IndexError);
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    if (offset < 0 || self->view.len < width || offset > self->view.len - width) {
        PyErr_Format(PyExc_IndexError, "offset %zd + %zd lies outside the buffer of %zd bytes", offset, width, self->view.len);
        return NULL;
    }
    char *address = (char *)self->view.buf + offset;
    if ((uintptr_t)address % (uintptr_t)width) {
        PyErr_Format(PyExc_ValueError, "offset %zd is not aligned to %zd", offset, width);
        return NULL;
    }
    if (writing && self->view.readonly) {
        PyErr_SetString(PyExc_TypeError, "the buffer is read-only");
        return NULL;
    }
    return address;
}

static int words_value(PyObject *object, uint64_t maximum, uint64_t *value)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a word is an int, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
    *value = PyLong_AsUnsignedLongLong(object);
    if (*value == UINT64_MAX && PyErr_Occurred())
        return -1;
    if (*value > maximum) {
        PyErr_Format(PyExc_OverflowError, "%llu does not fit into the word", (unsigned long long)*value);
        return -1;
    }
    return 0;
}

static int words_two(Py_ssize_t count)
{
    if (count == 2)
        return 0;
    PyErr_SetString(PyExc_TypeError, "takes an offset and a value");
    return -1;
}

static PyObject *words_load32(Words *self, PyObject *offset)
{
    _Atomic uint32_t *word = words_at(self, offset, 4, 0);
    return word ? PyLong_FromUnsignedLong(atomic_load_explicit(word, memory_order_acquire)) : NULL;
}

static PyObject *words_load64(Words *self, PyObject *offset)
{
    _Atomic uint64_t *word = words_at(self, offset, 8, 0);
    return word ? PyLong_FromUnsignedLongLong(atomic_load_explicit(word, memory_order_acquire)) : NULL;
}

static PyObject *words_store32(Words *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t value;
    if (words_two(count) < 0 || words_value(args[1], UINT32_MAX, &value) < 0)
        return NULL;
    _Atomic uint32_t *word = words_at(self, args[0], 4, 1);
    if (!word)
        return NULL;
    atomic_store_explicit(word, (uint32_t)value, memory_order_release);
    Py_RETURN_NONE;
}

static PyObject *words_store64(Words *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t value;
    if (words_two(count) < 0 || words_value(args[1], UINT64_MAX, &value) < 0)
        return NULL;
    _Atomic uint64_t *word = words_at(self, args[0], 8, 1);
    if (!word)
        return NULL;
    atomic_store_explicit(word, value, memory_order_release);
    Py_RETURN_NONE;
}

static PyObject *words_exchange32(Words *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t value;
    if (words_two(count) < 0 || words_value(args[1], UINT32_MAX, &value) < 0)
        return NULL;
    _Atomic uint32_t *word = words_at(self, args[0], 4, 1);
    return word ? PyLong_FromUnsignedLong(atomic_exchange_explicit(word, (uint32_t)value, memory_order_seq_cst)) : NULL;
}

static PyMethodDef words_methods[] = {
    {"load32", (PyCFunction)words_load32, METH_O, "Load with acquire."},
    {"load64", (PyCFunction)words_load64, METH_O, "Load with acquire."},
    {"store32", (PyCFunction)(void (*)(void))words_store32, METH_FASTCALL, "Store with release."},
    {"store64", (PyCFunction)(void (*)(void))words_store64, METH_FASTCALL, "Store with release."},
    {"exchange32", (PyCFunction)(void (*)(void))words_exchange32, METH_FASTCALL, "Exchange, sequentially consistent; the old value."},
    {"release", (PyCFunction)words_release, METH_NOARGS, "Let go of the buffer."},
    {0},
};

static PyType_Slot words_slots[] = {
    {Py_tp_doc, "Atomic access to a buffer: offsets in bytes, naturally aligned. IndexError outside of it."},
    {Py_tp_new, words_new},
    {Py_tp_dealloc, words_dealloc},
    {Py_tp_methods, words_methods},
    {0, NULL},
};

static PyType_Spec words_spec = {
    .name = "idxdd.native.Words", .basicsize = sizeof(Words), .flags = Py_TPFLAGS_DEFAULT, .slots = words_slots,
};

static PyObject *native_fence(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    atomic_thread_fence(memory_order_seq_cst);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"fence", native_fence, METH_NOARGS, "Full barrier: stores before it are seen before loads after it are made."},
    {0},
};

/* ---- LAYOUT --------------------------------------------------------------------------------------------------------- */

#define SIZE(type) {#type, sizeof(struct idxdd_##type)}
#define WORD(type, member) {#type "." #member, offsetof(struct idxdd_##type, member)}
#define ARRAY(type, member) \
    WORD(type, member), {#type "." #member "[]", sizeof(((struct idxdd_##type *)0)->member[0])}

static const struct {
    const char *name;
    uint64_t value;
} layout[] = {
    {"layout_version", IDXDD_LAYOUT_VERSION}, {"page", IDXDD_PAGE}, {"line", IDXDD_LINE},
    {"agent_free", IDXDD_AGENT_FREE}, {"agent_asked", IDXDD_AGENT_ASKED}, {"agent_taken", IDXDD_AGENT_TAKEN},
    {"agent_claimed", IDXDD_AGENT_CLAIMED}, {"agent_done", IDXDD_AGENT_DONE}, {"agent_dropped", IDXDD_AGENT_DROPPED},
    {"agent_released", IDXDD_AGENT_RELEASED}, {"agent_state_mask", IDXDD_AGENT_STATE_MASK}, {"agent_copy_bytes", IDXDD_AGENT_COPY_BYTES},
    {"agent_read", IDXDD_AGENT_READ}, {"agent_prepare", IDXDD_AGENT_PREPARE}, {"agent_write", IDXDD_AGENT_WRITE},
    {"agent_record", IDXDD_AGENT_RECORD}, {"agent_copy", IDXDD_AGENT_COPY}, {"agent_touch", IDXDD_AGENT_TOUCH},
    {"agent_backwards", IDXDD_AGENT_BACKWARDS}, {"agent_source_mapped", IDXDD_AGENT_SOURCE_MAPPED},
    {"agent_address_mapped", IDXDD_AGENT_ADDRESS_MAPPED},
    {"agent_slots", IDXDD_AGENT_SLOTS}, {"agent_regions", IDXDD_AGENT_REGIONS}, {"agent_region_bytes", IDXDD_AGENT_REGION_BYTES},
    {"portal_slots", IDXDD_PORTAL_SLOTS}, {"devices_max", IDXDD_DEVICES_MAX}, {"handles_max", IDXDD_HANDLES_MAX}, {"idpt_max", IDXDD_IDPT_MAX},
    {"wqs_per_device_max", IDXDD_WQS_PER_DEVICE_MAX}, {"wqs_max", IDXDD_WQS_MAX},
    {"groups_per_device_max", IDXDD_GROUPS_PER_DEVICE_MAX}, {"vectors_per_device_max", IDXDD_VECTORS_PER_DEVICE_MAX},
    {"channel_slots", IDXDD_CHANNEL_SLOTS}, {"completions", IDXDD_COMPLETIONS}, {"mmio_ring", IDXDD_MMIO_RING},
    {"never", IDXDD_NEVER},

    {"open", IDXDD_OPEN}, {"closed_wq_disabled", IDXDD_CLOSED_WQ_DISABLED}, {"closed_aborted", IDXDD_CLOSED_ABORTED},
    {"closed_halted", IDXDD_CLOSED_HALTED}, {"closed_revoked", IDXDD_CLOSED_REVOKED},
    {"closed_by_owner", IDXDD_CLOSED_BY_OWNER}, {"closed_device_gone", IDXDD_CLOSED_DEVICE_GONE},
    {"closed_removed", IDXDD_CLOSED_REMOVED},
    {"gate_dead", IDXDD_GATE_DEAD}, {"gate_live", IDXDD_GATE_LIVE}, {"gate_closed", IDXDD_GATE_CLOSED},
    {"txn_noerror", IDXDD_TXN_NOERROR}, {"txn_write_failed", IDXDD_TXN_WRITE_FAILED}, {"txn_aborted", IDXDD_TXN_ABORTED},

    SIZE(agent_page), WORD(agent_page, requests), WORD(agent_page, hail), WORD(agent_page, awake), WORD(agent_page, heard),
    ARRAY(agent_page, slot), ARRAY(agent_page, bounce), WORD(agent_slot, word), WORD(agent_slot, address), WORD(agent_slot, source),
    WORD(agent_slot, size), WORD(agent_slot, kind), WORD(agent_slot, flags), WORD(agent_slot, region), WORD(agent_slot, count),
    WORD(agent_slot, at_source),
    SIZE(agent_slot),
    SIZE(portal_client), WORD(portal_client, tail), WORD(portal_client, dropped), WORD(portal_client, wake_at),
    WORD(portal_client, want), WORD(portal_client, in_submit), ARRAY(portal_client, slot),

    SIZE(portal_device), WORD(portal_device, limit), WORD(portal_device, done), WORD(portal_device, answered),
    WORD(portal_device, closed), WORD(portal_device, closed_at), WORD(portal_device, fenced), WORD(portal_device, descriptors),
    WORD(portal_device, bytes), WORD(portal_device, retries), WORD(portal_device, errors), WORD(portal_device, interrupts),

    SIZE(channel), WORD(channel, pending_tail), WORD(channel, wake_at), ARRAY(channel, pending), ARRAY(channel, desc),
    ARRAY(channel, record),

    SIZE(completion), WORD(completion, ticket), WORD(completion, status), WORD(completion, result), ARRAY(completion, rsvd),
    SIZE(completion_ring), WORD(completion_ring, tail), ARRAY(completion_ring, entry),

    SIZE(wq_statistics), WORD(wq_statistics, accepted), WORD(wq_statistics, completed), WORD(wq_statistics, aborted),
    WORD(wq_statistics, bytes), WORD(wq_statistics, retries), WORD(wq_statistics, errors), WORD(wq_statistics, faults),
    WORD(wq_statistics, interrupts), WORD(wq_statistics, interrupts_requested), WORD(wq_statistics, occupancy),
    WORD(wq_statistics, portals), WORD(wq_statistics, state),

    SIZE(published_device), WORD(published_device, layout_version), WORD(published_device, cores),
    WORD(published_device, generation), WORD(published_device, asleep), WORD(published_device, clients),
    ARRAY(published_device, wq),

    SIZE(published_driver), WORD(published_driver, layout_version), WORD(published_driver, rsvd),
    WORD(published_driver, generation), ARRAY(published_driver, device_state), ARRAY(published_driver, wq),
    SIZE(published_wq), WORD(published_wq, gate), WORD(published_wq, int_handle), WORD(published_wq, state),
    WORD(published_wq, mode), WORD(published_wq, type), WORD(published_wq, pool), WORD(published_wq, interrupts),

    SIZE(mmio), WORD(mmio, tail), WORD(mmio, applied), WORD(mmio, loop_asleep), ARRAY(mmio, pending), ARRAY(mmio, entry),
    SIZE(posted_write), WORD(posted_write, offset), WORD(posted_write, width_bytes), WORD(posted_write, value),

    SIZE(rule), WORD(rule, wqs), ARRAY(rule, opcodes), WORD(rule, address_first), WORD(rule, address_last), WORD(rule, size_min),
    WORD(rule, size_max), WORD(rule, pasid), WORD(rule, flags_mask), WORD(rule, flags_value), WORD(rule, member_first),
    WORD(rule, member_last), WORD(rule, scope), WORD(rule, not_before_ns), WORD(rule, skip), WORD(rule, every),
    WORD(rule, hits_max), WORD(rule, seed), WORD(rule, chance), WORD(rule, what), WORD(rule, id), WORD(rule, count),
    WORD(rule, ns), WORD(rule, offset), WORD(rule, fault_address), WORD(rule, bytes_completed), WORD(rule, invalid_flags),
    WORD(rule, status), WORD(rule, result), WORD(rule, operand), WORD(rule, flip), WORD(rule, also),

    SIZE(trace_record), WORD(trace_record, id), WORD(trace_record, batch), WORD(trace_record, accepted_ns),
    WORD(trace_record, dispatched_ns), WORD(trace_record, first_fault_ns), WORD(trace_record, written_ns),
    WORD(trace_record, interrupt_ns), WORD(trace_record, fault_address), WORD(trace_record, pasid), WORD(trace_record, rule),
    WORD(trace_record, bytes_completed), WORD(trace_record, invalid_flags), WORD(trace_record, portal),
    WORD(trace_record, member), WORD(trace_record, vector), WORD(trace_record, wq), WORD(trace_record, engine),
    WORD(trace_record, status), WORD(trace_record, reported), WORD(trace_record, operand), WORD(trace_record, why), WORD(trace_record, rsvd),
    WORD(trace_record, flags), ARRAY(trace_record, desc), ARRAY(trace_record, record),
};

static PyObject *layout_dict(void)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < sizeof layout / sizeof *layout; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(layout[i].value);
        if (!value || PyDict_SetItemString(dict, layout[i].name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

int idxdd_bind_words(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&words_spec);
    int failed = !type || PyModule_AddObjectRef(module, "Words", type) < 0;
    Py_XDECREF(type);
    if (failed)
        return -1;
    PyObject *dict = layout_dict();
    failed = !dict || PyModule_AddObjectRef(module, "LAYOUT", dict) < 0;
    Py_XDECREF(dict);
    return failed ? -1 : PyModule_AddFunctions(module, functions);
}
