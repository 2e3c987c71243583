/* idxdd, the C client library: open a work queue, hand it descriptors, wait for their records.
 *
 *     struct idxdd_connection *connection;
 *     struct idxdd_wq *wq;
 *     idxdd_connect(NULL, &connection);
 *     idxdd_wq_open(connection, "dsa0/wq0.1", &wq);
 *
 * Answers      0 or a count, or a negative errno; idxdd_error() has the line that says what was being done.
 *              -EAGAIN the WQ is full (a shared one was asked, as ENQCMD is) · -EPIPE the portal is closed (WQ disabled, device
 *              halted, revoked) · -ECONNRESET the daemon has ended · -ECHILD the handle was opened by the parent process ·
 *              -ETIMEDOUT · -EINTR a signal arrived · -EOPNOTSUPP not on this type of WQ · else what the driver answers.
 * Threads      may share every handle; closing is for when nobody is inside.
 * Fork         handles belong to the process that opened them. Buffers stay shared with a child, as MAP_SHARED is.
 * Addresses    descriptors carry this process's own addresses. Memory from idxdd_alloc the device reaches by itself; any other (heap,
 *              stack, files, read-only) through a thread of this library, which the first such descriptor starts.
 */
#ifndef IDXDD_CLIENT_H
#define IDXDD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct idxdd_connection;
struct idxdd_wq;

/* A descriptor as the device reads it: 64 bytes (Intel DSA architecture specification, section 8). */
struct idxdd_desc {
    uint32_t pasid;                      /* ignored: a portal has its client's */
    uint32_t flags_opcode;               /* flags in bits 23:0, opcode in 31:24 */
    uint64_t completion_addr;            /* 32-byte aligned */
    uint64_t source;
    uint64_t destination;
    uint32_t size;                       /* bytes; a count for Batch */
    uint16_t int_handle;
    uint16_t reserved;
    uint64_t op_specific[3];
};

/* A completion record: status is 0 until the device has written everything else. */
struct idxdd_record {
    uint8_t status;                      /* code in bits 5:0; bit 7: a faulting access was a write */
    uint8_t result;
    uint16_t fault_info;
    uint32_t bytes_completed;
    uint64_t fault_addr;
    uint64_t op_specific[2];             /* CRC in the first */
};

struct idxdd_wq_facts {
    uint32_t number;                     /* device * 16 + WQ id */
    uint32_t size;                       /* entries */
    uint32_t threshold;                  /* shared WQ */
    uint32_t max_batch_size;             /* descriptors */
    uint64_t max_transfer_size;          /* bytes */
    bool dedicated;
    bool kernel;                         /* completed by idxdd-irq: idxdd_reap, not idxdd_wait */
};

/* ---- connection ---------------------------------------------------------------------------------------------------------- */

/* path NULL: $IDXDD_SOCKET, else default.sock of this user's own daemon, else of the system's. */
int idxdd_connect(const char *path, struct idxdd_connection **connection);

/* Closes its WQs and frees its buffers, too. NULL is allowed. */
void idxdd_close(struct idxdd_connection *connection);

/* What the last call that failed was doing, in this thread; "" if none has. */
const char *idxdd_error(void);

/* Zeroed memory that the device reaches at this process's address; size is rounded up to pages. */
int idxdd_alloc(struct idxdd_connection *connection, size_t size, void **address);
int idxdd_free(struct idxdd_connection *connection, void *address);

/* Let the device reach all of this process's memory from now on. Members of a batch that name other memory than their Batch
 * descriptor's list need it; else the first such descriptor does it. -EEXIST and others: what the daemon answers. */
int idxdd_reach(struct idxdd_connection *connection);

/* ---- work queue ---------------------------------------------------------------------------------------------------------- */

int idxdd_wq_open(struct idxdd_connection *connection, const char *name, struct idxdd_wq **wq);
void idxdd_wq_close(struct idxdd_wq *wq);
void idxdd_wq_facts(const struct idxdd_wq *wq, struct idxdd_wq_facts *facts);

/* After -EPIPE, when the WQ is enabled again: descriptors that were refused are skipped. When nobody is inside. */
int idxdd_wq_reopen(struct idxdd_wq *wq);

/* One descriptor: its number (kernel WQ: its ticket), which counts up from 0, or negative. */
int64_t idxdd_submit(struct idxdd_wq *wq, const struct idxdd_desc *desc);

/* As many of `count` as there is room for, in order: how many, 0 = none now. numbers (NULL, or room for count): as idxdd_submit's. */
int64_t idxdd_submit_many(struct idxdd_wq *wq, const struct idxdd_desc *descs, uint32_t count, int64_t *numbers);

/* User WQ: until the record of submission `number` is written. Negative timeout_ms: for ever.
 * -ECANCELED: the portal is closed, and the descriptor was aborted. One whose completion is lost, or that asked for no record,
 * is -ETIMEDOUT, as its record stays 0. */
int idxdd_wait(struct idxdd_wq *wq, const struct idxdd_record *record, int64_t number, int timeout_ms);

/* After -EAGAIN: until there is room to submit again. */
int idxdd_wait_room(struct idxdd_wq *wq, int timeout_ms);

/* Kernel WQ: a descriptor that idxdd-irq has completed. */
struct idxdd_reaped_desc {
    int64_t ticket;
    uint8_t status;                      /* the record's, as it was completed; 0 = aborted before it was written */
    uint8_t result;                      /* dmaengine's: 0 no error, 2 write failed, 3 aborted */
    struct idxdd_record record;
};

/* Kernel WQ: completions since the last call, waiting for the first one if there is none. How many; 0 only with maximum 0. */
int idxdd_reap(struct idxdd_wq *wq, struct idxdd_reaped_desc *reaped, uint32_t maximum, int timeout_ms);

/* ---- descriptors --------------------------------------------------------------------------------------------------------- */

/* Each asks for a record at `record` (kernel WQ: NULL, its channel has its own) and zeroes it. */
void idxdd_desc_noop(struct idxdd_desc *desc, struct idxdd_record *record);
void idxdd_desc_memmove(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, const void *source, uint32_t size);
void idxdd_desc_fill(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, uint64_t pattern, uint32_t size);
void idxdd_desc_compare(struct idxdd_desc *desc, struct idxdd_record *record, const void *source1, const void *source2, uint32_t size);
/* CRC-32C; seed 0 for the first piece, the last result for the next. */
void idxdd_desc_crc(struct idxdd_desc *desc, struct idxdd_record *record, const void *source, uint32_t seed, uint32_t size);
void idxdd_desc_copy_crc(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, const void *source, uint32_t seed,
                         uint32_t size);
void idxdd_desc_batch(struct idxdd_desc *desc, struct idxdd_record *record, const struct idxdd_desc *descs, uint32_t count);
void idxdd_desc_drain(struct idxdd_desc *desc, struct idxdd_record *record);

/* A record's status, with acquire: who sees it non-zero may read the rest. */
uint8_t idxdd_status(const struct idxdd_record *record);

#ifdef __cplusplus
}
#endif

#endif
