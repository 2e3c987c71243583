/* Address tables: see space.h for who writes what and when memory is freed. */
#include "space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "idxdd/engine.h"

struct range {
    uint64_t address, size;
    uint8_t *memory;
};

struct table {
    uint32_t count;
    struct range range[];
};

struct idxdd_space {
    _Atomic(struct table *) table;
    _Atomic uint32_t hint;          /* range of the last hit; any value is right, a good one is fast */
    _Atomic uint32_t references;
    struct idxdd_agent *agent;      /* the engine's */
    struct agent_slot *windows;
    struct idxdd_space *under;      /* this one is a view of it, with a hole */
    uint64_t hole_at, hole_size;
    bool hole_write;
};

struct idxdd_garbage {
    struct idxdd_garbage *next;
    struct table *table;
    struct range range;             /* memory NULL: only the table */
};

static struct idxdd_garbage *garbage_list; /* the device loop's */

struct idxdd_space *idxdd_space_new(void)
{
    struct idxdd_space *space = calloc(1, sizeof *space);
    struct table *empty = calloc(1, sizeof *empty);
    if (!space || !empty) {
        free(space);
        free(empty);
        return NULL;
    }
    atomic_init(&space->table, empty);
    atomic_init(&space->references, 1);
    return space;
}

void idxdd_space_ref(struct idxdd_space *space) { atomic_fetch_add(&space->references, 1); }

void idxdd_space_unref(struct idxdd_space *space)
{
    if (!space || atomic_fetch_sub(&space->references, 1) != 1)
        return;
    struct table *table = atomic_load(&space->table);
    for (uint32_t i = 0; i < table->count; i++)
        munmap(table->range[i].memory, table->range[i].size);
    free(table);
    free(space);
}

static struct table *table_new(uint32_t count)
{
    struct table *table = malloc(sizeof *table + count * sizeof table->range[0]);
    if (table)
        table->count = count;
    return table;
}

/* First range that ends after `address`. */
static uint32_t lower_bound(const struct table *table, uint64_t address)
{
    uint32_t low = 0, high = table->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct range *r = &table->range[middle];
        if (r->address + (r->size - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int idxdd_space_add(struct idxdd_space *space, uint64_t address, int fd, uint64_t size)
{
    if (size == 0 || address % IDXDD_PAGE || size % IDXDD_PAGE || address + (size - 1) < address)
        return EINVAL;
    struct table *old = atomic_load(&space->table);
    if (old->count >= IDXDD_RANGES_MAX)
        return ENOSPC;
    uint32_t at = lower_bound(old, address);
    if (at < old->count && old->range[at].address <= address + (size - 1))
        return EEXIST;
    struct table *table = table_new(old->count + 1);
    struct idxdd_garbage *garbage = calloc(1, sizeof *garbage);
    if (!table || !garbage) {
        free(table);
        free(garbage);
        return ENOMEM;
    }
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        int error = errno;
        free(table);
        free(garbage);
        return error;
    }
    memcpy(table->range, old->range, at * sizeof old->range[0]);
    table->range[at] = (struct range){.address = address, .size = size, .memory = memory};
    memcpy(table->range + at + 1, old->range + at, (old->count - at) * sizeof old->range[0]);
    atomic_store_explicit(&space->table, table, memory_order_release); /* partner: idxdd_translate */
    *garbage = (struct idxdd_garbage){.next = garbage_list, .table = old};
    garbage_list = garbage;
    return 0;
}

int idxdd_space_remove(struct idxdd_space *space, uint64_t address, uint64_t *size)
{
    struct table *old = atomic_load(&space->table);
    uint32_t at = lower_bound(old, address);
    if (at >= old->count || old->range[at].address != address)
        return ENOENT;
    struct table *table = table_new(old->count - 1);
    struct idxdd_garbage *garbage = calloc(1, sizeof *garbage);
    if (!table || !garbage) {
        free(table);
        free(garbage);
        return ENOMEM;
    }
    memcpy(table->range, old->range, at * sizeof old->range[0]);
    memcpy(table->range + at, old->range + at + 1, (old->count - at - 1) * sizeof old->range[0]);
    *size = old->range[at].size;
    *garbage = (struct idxdd_garbage){.next = garbage_list, .table = old, .range = old->range[at]};
    garbage_list = garbage;
    atomic_store_explicit(&space->table, table, memory_order_release);
    return 0;
}

uint32_t idxdd_space_count(const struct idxdd_space *space) { return atomic_load(&space->table)->count; }

void idxdd_space_range(const struct idxdd_space *space, uint32_t index, uint64_t *address, uint64_t *size)
{
    const struct range *range = &atomic_load(&space->table)->range[index];
    *address = range->address;
    *size = range->size;
}

uint64_t idxdd_space_gap(const struct idxdd_space *space, uint64_t va, bool down)
{
    const struct table *table = atomic_load_explicit(&space->table, memory_order_acquire);
    uint32_t at = lower_bound(table, va);
    if (at < table->count && table->range[at].address <= va)
        return 0;
    if (!down)
        return at < table->count ? table->range[at].address - va : UINT64_MAX;
    return at ? va - (table->range[at - 1].address + (table->range[at - 1].size - 1)) : UINT64_MAX;
}

struct idxdd_agent **idxdd_space_agent(struct idxdd_space *space) { return &space->agent; }
struct agent_slot **idxdd_space_windows(struct idxdd_space *space) { return &space->windows; }

bool idxdd_garbage_waits(void) { return garbage_list != NULL; }

struct idxdd_garbage *idxdd_garbage_take(void)
{
    struct idxdd_garbage *all = garbage_list;
    garbage_list = NULL;
    return all;
}

void idxdd_garbage_free(struct idxdd_garbage *garbage)
{
    while (garbage) {
        struct idxdd_garbage *next = garbage->next;
        if (garbage->range.memory)
            munmap(garbage->range.memory, garbage->range.size);
        free(garbage->table);
        free(garbage);
        garbage = next;
    }
}

void idxdd_space_hole(struct idxdd_space *hole, struct idxdd_space *under, uint64_t at, uint64_t size, bool write)
{
    hole->under = under;
    hole->hole_at = at;
    hole->hole_size = size;
    hole->hole_write = write;
}

/* What no range of ours has: windows of the agent, or another space with a hole. */
static __attribute__((noinline)) uint8_t *translate_beyond(struct idxdd_space *space, uint64_t va, bool write, uint64_t *contiguous)
{
    *contiguous = 0;
    if (space->windows)
        return agent_window(space->windows, va, write, contiguous);
    if (!space->under)
        return NULL;
    uint8_t *at = idxdd_translate(space->under, va, write, contiguous);
    if (!at || write != space->hole_write || va >= space->hole_at + space->hole_size)
        return at;
    if (va >= space->hole_at) {
        *contiguous = 0;
        return NULL;
    }
    if (*contiguous > space->hole_at - va)
        *contiguous = space->hole_at - va;
    return at;
}

uint8_t *idxdd_translate(struct idxdd_space *space, uint64_t va, bool write, uint64_t *contiguous)
{
    /* every range we map is a client's buffer, readable and writable */
    const struct table *table = atomic_load_explicit(&space->table, memory_order_acquire);
    uint32_t hint = atomic_load_explicit(&space->hint, memory_order_relaxed);
    if (hint >= table->count || va - table->range[hint].address >= table->range[hint].size) {
        hint = lower_bound(table, va);
        if (hint >= table->count || va - table->range[hint].address >= table->range[hint].size)
            return translate_beyond(space, va, write, contiguous);
        atomic_store_explicit(&space->hint, hint, memory_order_relaxed);
    }
    const struct range *range = &table->range[hint];
    uint64_t offset = va - range->address;
    *contiguous = range->size - offset;
    return range->memory + offset;
}
