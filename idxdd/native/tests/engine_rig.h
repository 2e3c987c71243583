/* An engine with clients in one process: memfds for their pages, memory of their own. For C tests and the fuzz target. */
#ifndef ENGINE_RIG_H
#define ENGINE_RIG_H

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "idxdd/engine.h"
#include "space.h"

#define RIG_GENCAP (1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 4 | 0xfull << 8 | 1ull << 12 | 1ull << 15 | 31ull << 16 | 10ull << 21)
#define RIG_OPCODES (0x3full | 3ull << 16)

#define IDXDD_RIG_TWICE 0            /* as base: the memory is mapped again, and its addresses are those */

struct rig_client {
    struct idxdd_portal_client *page;
    const struct idxdd_portal_device *device;
    struct idxdd_space *space;
    uint8_t *memory, *twin;
    uint64_t base, size;
    uint32_t number;
    int client_fd, device_fd, doorbell, wake[2], memory_fd;
};

static inline int rig_file(size_t size)
{
    int fd = memfd_create("rig", MFD_CLOEXEC);
    int failed = fd < 0 || ftruncate(fd, (off_t)size);
    assert(!failed);
    return fd;
}

static inline void *rig_map(int fd, size_t size, int protection)
{
    void *at = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
    assert(at != MAP_FAILED);
    return at;
}

static inline struct idxdd_published_device *rig_published(void)
{
    struct idxdd_published_device *published = mmap(NULL, sizeof *published, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(published != MAP_FAILED);
    published->layout_version = IDXDD_LAYOUT_VERSION;
    published->cores = 2;
    return published;
}

static inline struct idxdd_wq_config rig_wq(bool dedicated, uint16_t size)
{
    return (struct idxdd_wq_config){
        .limits = {.gencap = RIG_GENCAP, .opcfg = {RIG_OPCODES}, .max_xfer_shift = 31, .max_batch_shift = 10, .dedicated = dedicated,
                   .user_int_en = 1, .privileged_mode = 1, .tc_enabled = 3},
        .size = size, .threshold = size, .priority = 4,
    };
}

/* The request to add its portal is under way when this returns. */
static inline void rig_client_open_as(struct rig_client *c, struct idxdd_engine *engine, uint32_t wq, uint32_t pasid, uint64_t base, uint64_t size,
                                      bool priv)
{
    c->client_fd = rig_file(sizeof *c->page);
    c->device_fd = rig_file(IDXDD_PAGE);
    c->memory_fd = rig_file(size);
    c->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, c->wake);
    c->page = rig_map(c->client_fd, sizeof *c->page, PROT_READ | PROT_WRITE);
    c->device = rig_map(c->device_fd, IDXDD_PAGE, PROT_READ);
    c->memory = rig_map(c->memory_fd, size, PROT_READ | PROT_WRITE);
    if (base == IDXDD_RIG_TWICE) {
        c->twin = rig_map(c->memory_fd, size, PROT_READ | PROT_WRITE);
        base = (uint64_t)(uintptr_t)c->twin;
    }
    c->base = base;
    c->size = size;
    c->space = idxdd_space_new();
    failed = failed || idxdd_space_add(c->space, base, c->memory_fd, size);
    struct idxdd_portal_options options = {.wq = wq, .client_fd = c->client_fd, .device_fd = c->device_fd, .doorbell_fd = c->doorbell,
                                           .wake_fd = c->wake[0], .space = c->space, .pasid = pasid, .priv = priv};
    failed = failed || !idxdd_engine_portal_add(engine, &options, &c->number);
    assert(!failed);
}

static inline void rig_client_open(struct rig_client *c, struct idxdd_engine *engine, uint32_t wq, uint32_t pasid, uint64_t base, uint64_t size)
{ rig_client_open_as(c, engine, wq, pasid, base, size, false); }

/* After its portal's removal was acknowledged, or the engine is gone. */
static inline void rig_client_close(struct rig_client *c)
{
    munmap(c->page, sizeof *c->page);
    munmap((void *)(uintptr_t)c->device, IDXDD_PAGE);
    munmap(c->memory, c->size);
    if (c->twin)
        munmap(c->twin, c->size);
    idxdd_space_unref(c->space);
    int fds[] = {c->client_fd, c->device_fd, c->memory_fd, c->doorbell, c->wake[0], c->wake[1]};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        close(fds[i]);
}

static inline void rig_descriptor(uint8_t desc[64], uint8_t opcode, uint32_t flags, uint64_t record, uint64_t first, uint64_t second, uint32_t size)
{
    memset(desc, 0, 64);
    memcpy(desc + 4, &flags, 3);
    desc[7] = opcode;
    memcpy(desc + 8, &record, 8);
    memcpy(desc + 16, &first, 8);
    memcpy(desc + 24, &second, 8);
    memcpy(desc + 32, &size, 4);
}

#endif
