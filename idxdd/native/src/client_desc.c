/* Descriptors by operation, for the C client library. Bytes and flags: operations.md sections 3 and 8. */
#include "idxdd/client.h"

#include <string.h>

#include "idxdd/spec.h"

_Static_assert(sizeof(struct idxdd_desc) == 64, "descriptor");
_Static_assert(sizeof(struct idxdd_record) == 32, "completion record");
_Static_assert(offsetof(struct idxdd_desc, completion_addr) == 8 && offsetof(struct idxdd_desc, size) == 32 &&
               offsetof(struct idxdd_desc, int_handle) == 36 && offsetof(struct idxdd_desc, op_specific) == 40, "descriptor");

static uint64_t address_of(const volatile void *pointer) { return (uint64_t)(uintptr_t)pointer; }

static void begin(struct idxdd_desc *desc, struct idxdd_record *record, uint32_t opcode)
{
    *desc = (struct idxdd_desc){.flags_opcode = opcode << 24};
    if (record) {
        memset(record, 0, sizeof *record);
        desc->flags_opcode |= IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR;
        desc->completion_addr = address_of(record);
    }
}

void idxdd_desc_noop(struct idxdd_desc *desc, struct idxdd_record *record) { begin(desc, record, IDXDD_OPCODE_NOOP); }

void idxdd_desc_drain(struct idxdd_desc *desc, struct idxdd_record *record) { begin(desc, record, IDXDD_OPCODE_DRAIN); }

void idxdd_desc_memmove(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, const void *source, uint32_t size)
{
    begin(desc, record, IDXDD_OPCODE_MEMMOVE);
    desc->source = address_of(source);
    desc->destination = address_of(destination);
    desc->size = size;
}

void idxdd_desc_fill(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, uint64_t pattern, uint32_t size)
{
    begin(desc, record, IDXDD_OPCODE_MEMFILL);
    desc->source = pattern;
    desc->destination = address_of(destination);
    desc->size = size;
}

void idxdd_desc_compare(struct idxdd_desc *desc, struct idxdd_record *record, const void *source1, const void *source2, uint32_t size)
{
    begin(desc, record, IDXDD_OPCODE_COMPARE);
    desc->source = address_of(source1);
    desc->destination = address_of(source2);
    desc->size = size;
}

void idxdd_desc_crc(struct idxdd_desc *desc, struct idxdd_record *record, const void *source, uint32_t seed, uint32_t size)
{
    begin(desc, record, IDXDD_OPCODE_CRCGEN);
    desc->source = address_of(source);
    desc->size = size;
    desc->op_specific[0] = seed;
}

void idxdd_desc_copy_crc(struct idxdd_desc *desc, struct idxdd_record *record, void *destination, const void *source, uint32_t seed,
                         uint32_t size)
{
    begin(desc, record, IDXDD_OPCODE_COPY_CRC);
    desc->source = address_of(source);
    desc->destination = address_of(destination);
    desc->size = size;
    desc->op_specific[0] = seed;
}

void idxdd_desc_batch(struct idxdd_desc *desc, struct idxdd_record *record, const struct idxdd_desc *descs, uint32_t count)
{
    begin(desc, record, IDXDD_OPCODE_BATCH);
    desc->source = address_of(descs);
    desc->size = count;
}

uint8_t idxdd_status(const struct idxdd_record *record) { return __atomic_load_n(&record->status, __ATOMIC_ACQUIRE); }
