/* Rules of fault injection, of Engine. See _native.pyi and idxdd/inject.h. */
#include "engine.h"

#include <errno.h>

#include "idxdd/inject.h"

static PyObject *Engine_set_rules(EngineObject *self, PyObject *packed)
{
    Py_buffer rules;
    if (PyObject_GetBuffer(packed, &rules, PyBUF_SIMPLE) < 0)
        return NULL;
    size_t count = (size_t)rules.len / sizeof(struct idxdd_rule);
    uint32_t id = 0;
    if ((size_t)rules.len % sizeof(struct idxdd_rule) || count > IDXDD_RULES_MAX)
        errno = EINVAL;
    else
        id = idxdd_engine_set_rules(self->engine, rules.buf, (uint32_t)count);
    PyBuffer_Release(&rules);
    return idxdd_request_id(id, "set the rules of fault injection");
}

static PyObject *Engine_rule_counters(EngineObject *self, PyObject *Py_UNUSED(ignored))
{
    struct idxdd_rule_counters counters[IDXDD_RULES_MAX];
    uint32_t count = idxdd_engine_rule_counters(self->engine, counters, IDXDD_RULES_MAX);
    PyObject *list = PyList_New(count);
    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *pair = Py_BuildValue("(KK)", (unsigned long long)counters[i].matched, (unsigned long long)counters[i].hits);
        if (!pair)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, pair);
    }
    return list;
}

PyMethodDef idxdd_inject_methods[] = {
    {"set_rules", (PyCFunction)Engine_set_rules, METH_O, "Swap the rules of fault injection."},
    {"rule_counters", (PyCFunction)Engine_rule_counters, METH_NOARGS, "(matched, hits) of each rule."},
    {NULL},
};

int idxdd_bind_inject(PyObject *module)
{
    static const struct { const char *name; long value; } constants[] = {
        {"RULES_MAX", IDXDD_RULES_MAX}, {"RULE_EVENTS_MAX", IDXDD_RULE_EVENTS_MAX},
        {"RULE_ANYWHERE", IDXDD_RULE_ANYWHERE}, {"RULE_MEMBERS", IDXDD_RULE_MEMBERS}, {"RULE_NOT_MEMBERS", IDXDD_RULE_NOT_MEMBERS},
        {"RULE_STATUS", IDXDD_RULE_STATUS}, {"RULE_FAULT", IDXDD_RULE_FAULT}, {"RULE_CORRUPT", IDXDD_RULE_CORRUPT},
        {"RULE_DELAY", IDXDD_RULE_DELAY}, {"RULE_DROP", IDXDD_RULE_DROP}, {"RULE_REORDER", IDXDD_RULE_REORDER},
        {"RULE_FULL", IDXDD_RULE_FULL}, {"RULE_INTERRUPT_LOST", IDXDD_RULE_INTERRUPT_LOST},
        {"RULE_INTERRUPT_LATE", IDXDD_RULE_INTERRUPT_LATE}, {"RULE_SLOW", IDXDD_RULE_SLOW}, {"RULE_EVENT", IDXDD_RULE_EVENT},
        {"RULE_FIRST_READ", IDXDD_RULE_FIRST_READ}, {"RULE_FIRST_WRITTEN", IDXDD_RULE_FIRST_WRITTEN},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    return 0;
}
