/* Fuzz target: whatever lies in a portal's page, the engine answers, rests, and touches nothing but the client's memory.
 *
 * Input: a script. Each step is one byte of kind and what it needs: a descriptor into a slot, a word of the client's page, bytes
 * into memory, visits, a close, a reopening, a stop and enabling of the WQ, answers to exits. LLVMFuzzerTestOneInput for libFuzzer;
 * with IDXDD_FUZZ_MAIN a program with a mutator of its own: argv[1] seconds, argv[2] seed.
 */
#include <time.h>

#include "engine_rig.h"

#define BASE 0x10000ull
#define MEMORY (64u * 1024u)
#define IDXDD_FUZZ_WAITS 50   /* the loop has one command at a time under way; the engine holds 64 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct idxdd_engine *engine;
static struct idxdd_published_device *published;
static struct rig_client client[2];
static uint64_t reported;          /* statuses that came to the loop, bit = code */
static unsigned waits;

static void answer_exits(uint8_t choice)
{
    struct idxdd_exit exits[64];
    uint32_t n = idxdd_engine_exits(engine, exits, 64);
    for (uint32_t i = 0; i < n; i++) {
        reported |= 1ull << (exits[i].status & 63);
        uint32_t generation = exits[i].generation - (choice == 7);
        if (exits[i].kind == IDXDD_EXIT_FAULT)
            idxdd_engine_resume(engine, exits[i].context, generation, choice == 3 ? IDXDD_RESUME_RETRY : choice & 4 ? IDXDD_RESUME_RUN : IDXDD_RESUME_FAIL,
                                exits[i].operand == 5 ? 0x1a : exits[i].desc[7] == 1 ? 6 : exits[i].desc[7] == 2 ? 0x1f : 3);
        else if (exits[i].kind == IDXDD_EXIT_ERROR)
            idxdd_engine_resume(engine, exits[i].context, generation, IDXDD_RESUME_FINISH, 0);
    }
}

static void set_up(void)
{
    published = rig_published();
    struct idxdd_engine_options options = {.published = published};
    engine = idxdd_engine_new(&options);
    struct idxdd_wq_config dedicated = rig_wq(true, 16), shared = rig_wq(false, 8);
    shared.evl_en = shared.evl_drains = 1;
    assert(engine && idxdd_engine_wq_enable(engine, 0, &dedicated) && idxdd_engine_wq_enable(engine, 1, &shared));
    rig_client_open(&client[0], engine, 0, 2, BASE, MEMORY);
    rig_client_open(&client[1], engine, 1, 3, BASE, MEMORY);
    idxdd_engine_run(engine, 4);
    answer_exits(0);
}

static void tear_down(void)
{
    idxdd_engine_free(engine);
    rig_client_close(&client[0]);
    rig_client_close(&client[1]);
    idxdd_garbage_free(idxdd_garbage_take());
    munmap(published, sizeof *published);
}

struct script { const uint8_t *at, *end; };

static uint64_t take(struct script *s, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && s->at < s->end; i++)
        value |= (uint64_t)*s->at++ << (8 * i);
    return value;
}

/* Addresses of half the descriptors are pulled into memory, so that the checks behind the first are reached too. */
static void descriptor(struct script *s, struct rig_client *c, uint8_t *to)
{
    uint8_t desc[64] = {0};
    uint8_t tame = (uint8_t)take(s, 1);
    for (unsigned i = 0; i < 64; i++)
        desc[i] = (uint8_t)take(s, 1);
    if (tame & 1) {
        for (unsigned at = 8; at < 32; at += 8) {
            uint64_t address = c->base + (desc[at] | (uint64_t)desc[at + 1] << 8) % MEMORY;
            address &= at == 8 ? ~31ull : tame & 2 ? ~63ull : ~0ull;
            memcpy(desc + at, &address, 8);
        }
        memset(desc, 0, 4);
        desc[34] = desc[35] = 0;
        memset(desc + 36, 0, tame & 4 ? 28 : 4);
        desc[4] |= tame & 8 ? 0x0c : 0;
        desc[4] &= tame & 16 ? 0x0f : 0xff;
        desc[5] &= tame & 16 ? 0 : 0xff;
        desc[6] &= tame & 16 ? 0 : 0xff;
        desc[7] &= tame & 32 ? 0x11 : 0x07;
    }
    memcpy(to, desc, 64);
}

static void step(struct script *s)
{
    uint8_t kind = (uint8_t)take(s, 1);
    struct rig_client *c = &client[kind >> 7];
    uint64_t tail = atomic_load(&c->page->tail);
    struct idxdd_wq_config config = rig_wq(!(kind >> 7), 8);
    config.evl_en = kind >> 4 & 1;
    config.evl_drains = kind >> 5 & 1;
    switch (kind & 15) {
    case 0: case 1: case 2: case 3:
        descriptor(s, c, c->page->slot[tail % IDXDD_PORTAL_SLOTS]);
        atomic_store(&c->page->tail, tail + 1);
        break;
    case 4: descriptor(s, c, c->memory + (take(s, 1) * 64) % MEMORY); break; /* a batch member */
    case 5: atomic_store(&c->page->tail, take(s, 8)); break;
    case 6: atomic_store(&c->page->want, (uint32_t)take(s, 4)); break;
    case 7: atomic_store(&c->page->wake_at, take(s, 2)); break;
    case 8: atomic_store(&c->page->dropped, take(s, 8)); break;
    case 9: idxdd_engine_portal_close(engine, c->number, take(s, 1) & 1, IDXDD_CLOSED_REVOKED); break;
    case 10: idxdd_engine_portal_reopen(engine, c->number); break;
    case 11: if (waits++ < IDXDD_FUZZ_WAITS) idxdd_engine_wq_stop(engine, 1u << (kind >> 7), take(s, 1) & 1, IDXDD_CLOSED_WQ_DISABLED); break;
    case 12: idxdd_engine_wq_enable(engine, kind >> 7, &config); break;
    case 13: if (waits++ < IDXDD_FUZZ_WAITS) idxdd_engine_wq_drain(engine, 3); break;
    default: break;
    }
    idxdd_engine_run(engine, kind >> 4 & 3);
    answer_exits(kind & 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, data + size};
    set_up();
    waits = 0;
    for (unsigned steps = 0; script.at < script.end && steps < 200; steps++)
        step(&script);
    /* it comes to rest: everything is answered, nothing stays in flight but what a stale answer left parked */
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t done = idxdd_engine_run(engine, 1);
        answer_exits(0);
        if (!done && i > 4)
            break;
        assert(i < 1999);
    }
    for (unsigned i = 0; i < 2; i++)
        assert(idxdd_engine_portal_close(engine, client[i].number, IDXDD_STOP_ABORT, IDXDD_CLOSED_BY_OWNER));
    idxdd_engine_run(engine, 4);
    struct idxdd_engine_statistics statistics;
    idxdd_engine_statistics(engine, &statistics);
    assert(statistics.contexts == 0 && statistics.parked == 0);
    for (unsigned i = 0; i < 2; i++)
        assert(published->wq[i].accepted == published->wq[i].completed + published->wq[i].aborted);
    tear_down();
    return 0;
}

#ifdef IDXDD_FUZZ_MAIN
int main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10, seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)time(NULL);
    time_t end = time(NULL) + seconds;
    unsigned long runs = 0;
    static uint8_t script[8192];
    while (time(NULL) < end) {
        unsigned state = seed + (unsigned)runs;
        size_t size = 64 + (size_t)rand_r(&state) % (sizeof script - 64);
        for (size_t i = 0; i < size; i++)
            script[i] = (uint8_t)(rand_r(&state) >> 7);
        for (unsigned i = 0; i < size / 40; i++) /* runs of zero bytes: reserved fields that are zero */
            memset(script + (size_t)rand_r(&state) % (size - 32), 0, (size_t)rand_r(&state) % 32);
        LLVMFuzzerTestOneInput(script, size);
        runs++;
    }
    printf("fuzz_engine: %lu scripts, seed %u, statuses reported to the loop:", runs, seed);
    for (unsigned i = 1; i < 64; i++)
        if (reported >> i & 1)
            printf(" %02x", i);
    printf("\n");
    return 0;
}
#endif
