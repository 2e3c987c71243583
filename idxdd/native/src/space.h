/* Address table of one PASID: which ranges of a client's addresses the daemon has mapped.
 *
 * Who writes what   the device loop alone changes the table; the engine reads it.
 * Order             a change builds a new table and swaps the pointer (release); the engine loads it once per access (acquire)
 *                   and keeps no pointer across slices. What a change took out is garbage until a barrier that was
 *                   asked for afterwards has been acknowledged.
 */
#ifndef IDXDD_SPACE_H
#define IDXDD_SPACE_H

#include <stdatomic.h>
#include <stdint.h>

#include "idxdd/operations.h"

struct idxdd_garbage;

struct idxdd_space *idxdd_space_new(void);
void idxdd_space_ref(struct idxdd_space *space);
void idxdd_space_unref(struct idxdd_space *space);

/* Map `fd` shared and serve [address, address + size). 0 or an errno: EINVAL (alignment, wrap), EEXIST (overlap), ENOSPC (too many). */
int idxdd_space_add(struct idxdd_space *space, uint64_t address, int fd, uint64_t size);

/* Take the range that starts at `address` out. 0 or ENOENT. */
int idxdd_space_remove(struct idxdd_space *space, uint64_t address, uint64_t *size);

uint32_t idxdd_space_count(const struct idxdd_space *space);
void idxdd_space_range(const struct idxdd_space *space, uint32_t index, uint64_t *address, uint64_t *size);

/* Everything taken out so far, by any space; free it when no slice that began before can still be running. */
struct idxdd_garbage *idxdd_garbage_take(void);
void idxdd_garbage_free(struct idxdd_garbage *garbage);

#endif
