/* An address space for tests: 32 pages, each mapped, read-only or absent; absent and neighbouring host memory traps. */
#ifndef FAKE_SPACE_H
#define FAKE_SPACE_H

#include "idxdd/operations.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define PAGES 32u
#define SPACE_BYTES (PAGES * PAGE_BYTES)

enum access { ABSENT, READ_ONLY, READ_WRITE };

/* Host memory: a guard page, then the pages; one that is not `joined` to the page before it has a guard between. */
struct idxdd_space {
    uint64_t base;
    enum access access[PAGES];
    bool joined[PAGES];
    uint8_t *page[PAGES];
    uint8_t *host;
};

#define HOST_BYTES ((2 * PAGES + 1) * (size_t)PAGE_BYTES)

/* Where the pages lie; their contents are lost. */
static inline void space_lay_out(struct idxdd_space *space, uint64_t base, uint32_t joined)
{
    if (!space->host) {
        space->host = mmap(NULL, HOST_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert(space->host != MAP_FAILED);
    }
    int failed = mprotect(space->host, HOST_BYTES, PROT_NONE);
    uint8_t *at = space->host + PAGE_BYTES;
    space->base = base;
    for (unsigned i = 0; i < PAGES; i++) {
        space->joined[i] = i && joined >> i & 1;
        if (i && !space->joined[i])
            at += PAGE_BYTES;
        space->page[i] = at;
        space->access[i] = READ_WRITE;
        at += PAGE_BYTES;
        failed |= mprotect(space->page[i], PAGE_BYTES, PROT_READ | PROT_WRITE);
    }
    assert(!failed);
}

static inline void space_set_access(struct idxdd_space *space, unsigned page, enum access access)
{
    static const int protection[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    if (space->access[page] == access)
        return;
    int failed = mprotect(space->page[page], PAGE_BYTES, protection[access]);
    assert(!failed);
    space->access[page] = access;
}

static inline bool space_allows(const struct idxdd_space *space, uint64_t va, bool write)
{
    uint64_t offset = va - space->base;
    return offset < SPACE_BYTES && space->access[offset / PAGE_BYTES] >= (write ? READ_WRITE : READ_ONLY);
}

/* All contents, whatever the protections are. */
static inline void space_copy(struct idxdd_space *space, uint8_t *memory, bool in)
{
    for (unsigned i = 0; i < PAGES; i++) {
        enum access access = space->access[i];
        space_set_access(space, i, READ_WRITE);
        if (in)
            memcpy(space->page[i], memory + i * PAGE_BYTES, PAGE_BYTES);
        else
            memcpy(memory + i * PAGE_BYTES, space->page[i], PAGE_BYTES);
        space_set_access(space, i, access);
    }
}

uint8_t *idxdd_translate(struct idxdd_space *space, uint64_t va, bool write, uint64_t *contiguous)
{
    uint64_t offset = va - space->base;
    *contiguous = 0;
    if (!space_allows(space, va, write))
        return NULL;
    unsigned page = (unsigned)(offset / PAGE_BYTES), last = page;
    while (last + 1 < PAGES && space->joined[last + 1] && space->access[last + 1] >= (write ? READ_WRITE : READ_ONLY))
        last++;
    *contiguous = (uint64_t)(last + 1) * PAGE_BYTES - offset;
    return space->page[page] + offset % PAGE_BYTES;
}

#endif
