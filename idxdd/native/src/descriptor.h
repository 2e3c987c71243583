/* A descriptor's fields, flags and codes as the operations read them (operations.md 2 and 3, abi.md 1 and 2). Private. */
#ifndef IDXDD_DESCRIPTOR_H
#define IDXDD_DESCRIPTOR_H

#include "idxdd/operations.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are loaded as they lie");

enum opcode {
    OPCODE_NOOP = 0x00, OPCODE_BATCH = 0x01, OPCODE_DRAIN = 0x02, OPCODE_MEMMOVE = 0x03, OPCODE_MEMFILL = 0x04,
    OPCODE_COMPARE = 0x05, OPCODE_CRCGEN = 0x10, OPCODE_COPY_CRC = 0x11,
    OPCODES = 0x28,                 /* rows of the table of rules; codes above are reserved */
};

enum flag {
    FLAG_FENCE = 1u << 0, FLAG_BOF = 1u << 1, FLAG_CRAV = 1u << 2, FLAG_RCR = 1u << 3, FLAG_RCI = 1u << 4, FLAG_CC3 = 1u << 5,
    FLAG_CR = 1u << 7, FLAG_CC1 = 1u << 8, FLAG_T1 = 1u << 9, FLAG_T2 = 1u << 10, FLAG_T3 = 1u << 11, FLAG_CR_TC = 1u << 12,
    FLAG_STORD = 1u << 13, FLAG_CC2 = 1u << 14,
    FLAG_CC = FLAG_CC1 | FLAG_CC2 | FLAG_CC3,
    /* operation-specific */
    FLAG_BATCH_ERROR = 1u << 16,
    FLAG_READBACK1 = 1u << 16, FLAG_READBACK2 = 1u << 17, FLAG_NO_READBACK_A = 1u << 18, FLAG_NO_READBACK_B = 1u << 19,
    FLAG_FILL16 = 1u << 18,
    FLAG_CRC_READ_SEED = 1u << 16, FLAG_CRC_BYPASS_INVERSION = 1u << 17, FLAG_CRC_BYPASS_REFLECTION = 1u << 18, FLAG_CRC64 = 1u << 19,
};

enum status {
    STATUS_SUCCESS = 0x01, STATUS_SUCCESS_PRED = 0x02, STATUS_FAULT = 0x03, STATUS_FAULT_REFUSED = 0x04, STATUS_BATCH_FAIL = 0x05,
    STATUS_BATCH_FAULT = 0x06, STATUS_BAD_OPCODE = 0x10, STATUS_INVALID_FLAGS = 0x11, STATUS_NONZERO_RESERVED = 0x12,
    STATUS_SIZE = 0x13, STATUS_COUNT = 0x14, STATUS_OVERLAP = 0x16, STATUS_LIST_ALIGN = 0x18, STATUS_RECORD_FAULT = 0x1A,
    STATUS_RECORD_ALIGN = 0x1B, STATUS_ALIGN = 0x1C, STATUS_PRIV = 0x1D, STATUS_TRAFFIC_CLASS = 0x1E, STATUS_READBACK_FAULT = 0x1F,
    STATUS_DRAIN_EVL = 0x26, STATUS_BATCH_EVL = 0x27,
    STATUS_CODE = 0x3F, STATUS_WRITE = 0x80,
};

enum gencap {
    GENCAP_BOF = 0, GENCAP_OVERLAP = 1, GENCAP_CACHE_CONTROL = 2, GENCAP_DURABLE = 5, GENCAP_DEST_READBACK = 8, GENCAP_DRAIN_READBACK = 9,
    GENCAP_FILL16 = 10, GENCAP_CRC64 = 11, GENCAP_FAULT_INFO = 12, GENCAP_BATCH_CONTINUATION = 15, GENCAP_BATCH1 = 52,
    GENCAP_STORD_MEMORY = 53,
};

enum operand { OPERAND_SOURCE = 1, OPERAND_SOURCE2 = 2, OPERAND_SEED = 2, OPERAND_DESTINATION = 3 };

static inline uint32_t load32(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint64_t load64(const uint8_t *at) { uint64_t v; memcpy(&v, at, sizeof v); return v; }
static inline void store32(uint8_t *at, uint32_t v) { memcpy(at, &v, sizeof v); }
static inline void store64(uint8_t *at, uint64_t v) { memcpy(at, &v, sizeof v); }

static inline uint64_t desc_record(const uint8_t *desc) { return load64(desc + 8); }
static inline uint64_t desc_address1(const uint8_t *desc) { return load64(desc + 16); }
static inline uint64_t desc_address2(const uint8_t *desc) { return load64(desc + 24); }
static inline uint32_t desc_size(const uint8_t *desc) { return load32(desc + 32); }

static inline bool has_cap(const struct idxdd_limits *limits, unsigned bit) { return limits->gencap >> bit & 1; }

#endif
