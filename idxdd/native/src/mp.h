/* As much msgpack as the control frames need: maps with text keys, unsigned numbers, booleans, text. Nothing is allocated. */
#ifndef IDXDD_MP_H
#define IDXDD_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idxdd_mp_writer {
    uint8_t *at, *end;
    bool overflow;                /* something did not fit: the frame must not be sent */
};
void idxdd_mp_put_map(struct idxdd_mp_writer *writer, uint8_t pairs); /* at most 15 */
void idxdd_mp_put_text(struct idxdd_mp_writer *writer, const char *text);
void idxdd_mp_put_number(struct idxdd_mp_writer *writer, uint64_t number);

/* A position in a frame; the frame is the other side's and may hold anything. */
struct idxdd_mp { const uint8_t *at, *end; };

/* Step over one value of any type. False: cut short, too deep, or a byte that means nothing. */
bool idxdd_mp_skip(struct idxdd_mp *value);

/* Inside the map at `map`: *value stands at the value of `key`. False: not a map, or no such key. */
bool idxdd_mp_find(struct idxdd_mp map, const char *key, struct idxdd_mp *value);

bool idxdd_mp_number(struct idxdd_mp value, uint64_t *number);
bool idxdd_mp_boolean(struct idxdd_mp value, bool *truth);
bool idxdd_mp_text(struct idxdd_mp value, const char **text, size_t *length);

#endif
