/* msgpack, as far as the control frames use it. Every length is checked against what is left before it is believed. */
#include "mp.h"

#include <string.h>

#define DEPTH_MAX 16u

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static void put(struct idxdd_mp_writer *writer, const void *bytes, size_t count)
{
    if (writer->overflow || count > (size_t)(writer->end - writer->at)) {
        writer->overflow = true;
        return;
    }
    memcpy(writer->at, bytes, count);
    writer->at += count;
}

static void put_head(struct idxdd_mp_writer *writer, uint8_t type, uint64_t number, unsigned bytes)
{
    uint8_t head[9] = {type};
    for (unsigned i = 0; i < bytes; i++)
        head[1 + i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    put(writer, head, 1 + bytes);
}

void idxdd_mp_put_map(struct idxdd_mp_writer *writer, uint8_t pairs)
{
    put_head(writer, (uint8_t)(0x80 | (pairs & 0x0f)), 0, 0);
}

void idxdd_mp_put_text(struct idxdd_mp_writer *writer, const char *text)
{
    size_t length = strlen(text);
    if (length > 255) {
        writer->overflow = true;
        return;
    }
    put_head(writer, 0xd9, length, 1);
    put(writer, text, length);
}

void idxdd_mp_put_number(struct idxdd_mp_writer *writer, uint64_t number)
{
    if (number < 0x80)
        put_head(writer, (uint8_t)number, 0, 0);
    else
        put_head(writer, 0xcf, number, 8);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

/* What a first byte says: how many bytes of payload, how many values inside. */
struct head { uint8_t type; uint64_t number; uint64_t payload; uint64_t items; };

static bool take_number(struct idxdd_mp *value, unsigned bytes, uint64_t *number)
{
    if (bytes > (size_t)(value->end - value->at))
        return false;
    *number = 0;
    for (unsigned i = 0; i < bytes; i++)
        *number = *number << 8 | *value->at++;
    return true;
}

static bool take_head(struct idxdd_mp *value, struct head *head)
{
    if (value->at == value->end)
        return false;
    uint8_t type = *value->at++;
    *head = (struct head){.type = type};
    if (type <= 0x7f || type >= 0xe0) {
        head->number = type;
        return true;
    }
    if (type <= 0x8f) { head->type = 0xdf; head->items = 2u * (type & 0x0f); return true; }
    if (type <= 0x9f) { head->type = 0xdd; head->items = type & 0x0f; return true; }
    if (type <= 0xbf) { head->type = 0xdb; head->payload = type & 0x1f; return true; }
    switch (type) {
    case 0xc0: case 0xc2: case 0xc3: return true;
    case 0xc4: case 0xc5: case 0xc6: head->type = 0xc6; return take_number(value, 1u << (type - 0xc4), &head->payload);
    case 0xca: head->payload = 4; return true;
    case 0xcb: head->payload = 8; return true;
    case 0xcc: case 0xcd: case 0xce: case 0xcf: head->type = 0xcf; return take_number(value, 1u << (type - 0xcc), &head->number);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: head->type = 0xd3; return take_number(value, 1u << (type - 0xd0), &head->number);
    case 0xd9: case 0xda: case 0xdb: head->type = 0xdb; return take_number(value, 1u << (type - 0xd9), &head->payload);
    case 0xdc: case 0xdd: head->type = 0xdd; return take_number(value, type == 0xdc ? 2 : 4, &head->items);
    case 0xde: case 0xdf:
        head->type = 0xdf;
        if (!take_number(value, type == 0xde ? 2 : 4, &head->items))
            return false;
        head->items *= 2;
        return true;
    default: return false;                 /* extension types are not used here; 0xc1 never */
    }
}

static bool skip(struct idxdd_mp *value, unsigned depth)
{
    struct head head;
    if (depth == 0 || !take_head(value, &head) || head.payload > (uint64_t)(value->end - value->at))
        return false;
    value->at += head.payload;
    for (uint64_t i = 0; i < head.items; i++)
        if (!skip(value, depth - 1))
            return false;
    return true;
}

bool idxdd_mp_skip(struct idxdd_mp *value) { return skip(value, DEPTH_MAX); }

bool idxdd_mp_text(struct idxdd_mp value, const char **text, size_t *length)
{
    struct head head;
    if (!take_head(&value, &head) || head.type != 0xdb || head.payload > (uint64_t)(value.end - value.at))
        return false;
    *text = (const char *)value.at;
    *length = (size_t)head.payload;
    return true;
}

bool idxdd_mp_find(struct idxdd_mp map, const char *key, struct idxdd_mp *value)
{
    struct head head;
    if (!take_head(&map, &head) || head.type != 0xdf)
        return false;
    for (uint64_t i = 0; i < head.items; i += 2) {
        const char *name;
        size_t length;
        bool found = idxdd_mp_text(map, &name, &length) && length == strlen(key) && memcmp(name, key, length) == 0;
        if (!idxdd_mp_skip(&map))
            return false;
        if (found) {
            *value = map;
            return true;
        }
        if (!idxdd_mp_skip(&map))
            return false;
    }
    return false;
}

bool idxdd_mp_number(struct idxdd_mp value, uint64_t *number)
{
    struct head head;
    if (!take_head(&value, &head) || (head.type > 0x7f && head.type != 0xcf))
        return false;
    *number = head.number;
    return true;
}

bool idxdd_mp_boolean(struct idxdd_mp value, bool *truth)
{
    struct head head;
    if (!take_head(&value, &head) || (head.type != 0xc2 && head.type != 0xc3))
        return false;
    *truth = head.type == 0xc3;
    return true;
}
