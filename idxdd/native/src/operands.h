/* Rows 9 to 15 of operations.md 4, by operation: sizes, alignments, overlap. 0, or the status of the first that fails. Private. */
#ifndef IDXDD_OPERANDS_H
#define IDXDD_OPERANDS_H

#include "descriptor.h"

uint8_t idxdd_check_transfer(const struct idxdd_operation *op);
uint8_t idxdd_check_move(const struct idxdd_operation *op);
uint8_t idxdd_check_create_delta(const struct idxdd_operation *op);
uint8_t idxdd_check_apply_delta(const struct idxdd_operation *op);
uint8_t idxdd_check_dualcast(const struct idxdd_operation *op);
uint8_t idxdd_check_translation_fetch(const struct idxdd_operation *op);
uint8_t idxdd_check_crc(const struct idxdd_operation *op);
uint8_t idxdd_check_copy_crc(const struct idxdd_operation *op);
uint8_t idxdd_check_dif(const struct idxdd_operation *op);
uint8_t idxdd_check_dix(const struct idxdd_operation *op);
uint8_t idxdd_check_batch(const struct idxdd_operation *op);

#endif
