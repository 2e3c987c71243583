/* Interrupt vectors on idxdd-irq's side: a thread a vector waits for its semaphore and says so on one bell.
 *
 * Who writes what   a thread: its bit of `fired` (or), then the eventfd; the collector: eventfd read, then fired := 0 (exchange).
 * Order             bit before bell, bell before exchange: a bit set after the exchange finds its bell unread.
 *                   The vector's pending word is the driver's to clear, after this and before it looks (model e).
 */
#ifndef IDXDD_VECTORS_H
#define IDXDD_VECTORS_H

#include <stdint.h>

#define IDXDD_WAITER_VECTORS_MAX 64u

struct idxdd_vectors;

/* NULL: errno says why. */
struct idxdd_vectors *idxdd_vectors_open(const char *const *names, uint32_t count);
int idxdd_vectors_bell(const struct idxdd_vectors *v);
uint64_t idxdd_vectors_fired(struct idxdd_vectors *v);
/* Ends the threads and frees everything. */
void idxdd_vectors_close(struct idxdd_vectors *v);

#endif
