/* The operations: one descriptor in, bytes moved, record fields out. No threads, no shared words, no system call.
 *
 * A run of one descriptor is: idxdd_check (status or go), then idxdd_step until it says something other than IDXDD_MORE,
 * each call doing at most `slice` bytes, then idxdd_record to lay out the completion record. The engine owns order,
 * fairness, parking and interrupts; this file owns what operations.md says an operation does.
 */
#ifndef IDXDD_OPERATIONS_H
#define IDXDD_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Address translation of one PASID. `translate` answers for address `va`: a pointer, and how many bytes from there are
 * contiguous (0 = not mapped, or not writable when `write`). The answer holds until the current slice ends. */
struct idxdd_space;
uint8_t *idxdd_translate(struct idxdd_space *space, uint64_t va, bool write, uint64_t *contiguous);

/* What the WQ and the device allow; filled at Enable WQ, read-only while the WQ is enabled. */
struct idxdd_limits {
    uint64_t gencap;             /* GENCAP as of registers.md 2.1 */
    uint64_t idcap;              /* IDCAP, 2.11 */
    uint64_t opcfg[4];           /* allowed opcodes */
    uint8_t max_xfer_shift;
    uint8_t max_batch_shift;
    uint8_t bof_enabled;         /* WQCFG.bof */
    uint8_t pasid_enabled;       /* WQCFG.pasid_en */
    uint8_t user_int_en;         /* GENCFG.user_int_en */
    uint8_t dedicated;
    uint8_t privileged_mode;     /* PCI PASID capability: privileged mode enabled */
    uint8_t tc_enabled;          /* bit 0: TC-A of the group is enabled, bit 1: TC-B */
};

/* One descriptor being worked on. `desc` is the engine's own copy: nobody else can change it. */
struct idxdd_operation {
    uint8_t desc[64];
    struct idxdd_space *space;
    const struct idxdd_limits *limits;
    uint32_t pasid;              /* from the portal, never from the descriptor */
    uint8_t priv;
    uint8_t batch_member;        /* Fence allowed; Batch, Drain and Update Window are not */
    /* progress: kept between slices, input of the record */
    uint64_t progress;           /* source bytes fully processed and written */
    uint8_t status;              /* 0 while running */
    uint8_t result;
    uint8_t direction;           /* memory move: 1 = backwards */
    uint8_t fault_operand;       /* operand id for fault info (operations.md section 2) */
    uint8_t fault_write;         /* the faulting access was a write */
    uint64_t fault_address;
    uint64_t fault_size;         /* how much was wanted from there on; direction 1: up to there, inclusive */
    uint64_t bytes_moved;        /* for statistics */
    uint64_t crc;                /* CRC register / result */
    uint32_t invalid_flags;      /* for 0x11 */
    uint32_t bytes_completed;    /* as the record will show it */
    uint8_t foreign;             /* bit n: operand n lies in another domain, domain[n - 1] (inter-domain operations) */
    uint8_t withheld;            /* bit n: the address of operand n is the other domain's secret (offset mode) */
    struct idxdd_space *domain[4]; /* these two are set where `foreign` says so, and only there */
    uint64_t window[4];          /* what is added to the addresses of operand n: [n - 1]; 0 but in offset mode */
    uint64_t private_[8];        /* an operation's own notes */
};

enum idxdd_step {
    IDXDD_MORE = 0,              /* slice used up; call again */
    IDXDD_DONE = 1,              /* status (and result, crc, bytes_completed) are set */
    IDXDD_FAULT = 2,             /* fault_address, fault_operand, fault_write set; calling again retries from there */
};

static inline uint8_t idxdd_opcode(const uint8_t *desc) { return desc[7]; }
static inline uint32_t idxdd_flags(const uint8_t *desc)
{ return (uint32_t)desc[4] | (uint32_t)desc[5] << 8 | (uint32_t)desc[6] << 16; }

/* Rows 1 to 17 of operations.md section 4 (but 4 and 16, which need memory or the handle table), in that order, for the opcodes implemented here.
 * 0 = go on; else the status, with invalid_flags set for 0x11. Batch, Drain and Update Window are checked too; the engine
 * executes them. */
uint8_t idxdd_check(struct idxdd_operation *op);

/* Do up to `slice` bytes. Not for Batch, Drain and Update Window. */
enum idxdd_step idxdd_step(struct idxdd_operation *op, uint64_t slice);

/* Should a completion record be written for op->status? (operations.md section 2; CRAV and RCR) */
bool idxdd_wants_record(const struct idxdd_operation *op);

/* The 32 bytes of the completion record for op->status: fields by status as in operations.md section 2; unused bytes 0. Byte 0 = status. */
void idxdd_record(const struct idxdd_operation *op, uint8_t record[32]);

/* CRC kernels, chosen at run time by CPU. The CRC register convention of each is given in crc.c. */
uint32_t idxdd_crc32c(uint32_t seed, const void *data, uint64_t size);     /* CRC-32C, seed 0 -> standard value */
uint64_t idxdd_crc64nvme(uint64_t seed, const void *data, uint64_t size);  /* CRC-64/NVME, seed 0 -> standard value */
const char *idxdd_crc_kernel(void);                                        /* name of the kernel in use */
bool idxdd_crc_force(const char *kernel);                                  /* "portable", or a name the CPU supports: for tests */

#endif
