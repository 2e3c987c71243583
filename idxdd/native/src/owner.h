/* Which process a handle belongs to: its mappings are not inherited by fork, so a child must not touch it. */
#ifndef IDXDD_OWNER_H
#define IDXDD_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number of this process, never 0; different in every child, however it was forked. 0: -ENOMEM, no page for it. */
uint64_t idxdd_owner(void);

/* Is `owner` this process? One load. */
extern const volatile uint64_t *idxdd_owner_word;
static inline bool idxdd_owned(uint64_t owner) { return *idxdd_owner_word == owner; }

/* mmap(MAP_SHARED) of a whole file of at least `size` bytes, kept out of children. Address or NULL with errno. */
void *idxdd_map_owned(int fd, size_t size, bool writable);
void idxdd_unmap_owned(void *address, size_t size, uint64_t owner);

#endif
