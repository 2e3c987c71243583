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

struct agent_slot;
struct idxdd_agent;
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

/* How many bytes from `va` on, going up or down (itself included), are not mapped. */
uint64_t idxdd_space_gap(const struct idxdd_space *space, uint64_t va, bool down);

/* Make `hole` (a space without ranges) a view of `under` that ends at [at, at + size) for accesses of this kind. */
void idxdd_space_hole(struct idxdd_space *hole, struct idxdd_space *under, uint64_t at, uint64_t size, bool write);

/* The engine's: who reaches what is not mapped (NULL: nobody), and the windows of the operation at work (NULL: it has none). */
struct idxdd_agent **idxdd_space_agent(struct idxdd_space *space);
struct agent_slot **idxdd_space_windows(struct idxdd_space *space);
uint8_t *agent_window(struct agent_slot *slot, uint64_t va, bool write, uint64_t *contiguous);

/* Everything taken out so far, by any space; free it when no slice that began before can still be running. */
bool idxdd_garbage_waits(void);
struct idxdd_garbage *idxdd_garbage_take(void);
void idxdd_garbage_free(struct idxdd_garbage *garbage);

#endif
