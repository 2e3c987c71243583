/* A descriptor's fields as the operations read them; flags and codes are spec.h's. Private. */
#ifndef IDXDD_DESCRIPTOR_H
#define IDXDD_DESCRIPTOR_H

#include "idxdd/operations.h"
#include "idxdd/spec.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are loaded as they lie");

#define OPCODES 0x28u               /* rows of the table of rules; codes above are reserved */
#define FLAG_CC (IDXDD_FLAG_CC1 | IDXDD_FLAG_CC2 | IDXDD_FLAG_CC3)

static inline uint16_t load16(const uint8_t *at) { uint16_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint32_t load32(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint64_t load64(const uint8_t *at) { uint64_t v; memcpy(&v, at, sizeof v); return v; }
static inline void store16(uint8_t *at, uint16_t v) { memcpy(at, &v, sizeof v); }
static inline void store32(uint8_t *at, uint32_t v) { memcpy(at, &v, sizeof v); }
static inline void store64(uint8_t *at, uint64_t v) { memcpy(at, &v, sizeof v); }

static inline uint64_t desc_record(const uint8_t *desc) { return load64(desc + 8); }
static inline uint64_t desc_address1(const uint8_t *desc) { return load64(desc + 16); }
static inline uint64_t desc_address2(const uint8_t *desc) { return load64(desc + 24); }
static inline uint32_t desc_size(const uint8_t *desc) { return load32(desc + 32); }

static inline bool has_cap(const struct idxdd_limits *limits, uint64_t mask) { return (limits->gencap & mask) != 0; }

#endif
