/* Fuzz target: whatever lies in a portal's page, whatever rules and traces are set, the engine answers, rests, and touches nothing but
 * the client's memory.
 *
 * Input: a script. Each step is one byte of kind and what it needs: a descriptor into a slot, a word of the client's page, bytes
 * into memory, visits, a close, a reopening, a stop and enabling of the WQ, rules, trace, windows, answers to exits. Descriptors are any
 * 64 bytes, or nearly right ones with one thing wrong: these reach the statuses behind the first check. LLVMFuzzerTestOneInput for
 * libFuzzer; with IDXDD_FUZZ_MAIN a program with a mutator of its own: argv[1] seconds, argv[2] seed. It says at the end which statuses of
 * operations.md 4 descriptors ended with, by the engine's own trace, without and with rules, and fails if one was not reached.
 */
#include <time.h>

#include "engine_rig.h"
#include "idxdd/inject.h"
#include "idxdd/spec.h"
#include "idxdd/trace.h"

#define BASE 0x10000ull
#define MEMORY (64u * 1024u)
#define IDXDD_FUZZ_WAITS 50   /* the loop has one command at a time under way; the engine holds 64 */
#define RULES 6u
#define GENCAP (RIG_GENCAP | 1ull << 3 | 1ull << 5 | 0x1full << 7 | 1ull << 13 | 1ull << 14)
#define OPERATIONS (0x7ffull | 0x3full << 16 | 1ull << 0x17 | 1ull << 0x20 | 1ull << 0x21 | 0xfull << 0x23)
#define WINDOWS 4u
#define TAGS_WRONG 32u        /* bytes from there on differ: what a field of DIF may mean */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* operations.md 4, row by row; 0x20 and 0x21 are a broken machine's: only a rule makes them. */
static const uint8_t statuses[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
                                   0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e};

static struct idxdd_engine *engine;
static struct idxdd_published_device *published;
static struct rig_client client[2];
static uint64_t ended[2], told;      /* statuses, bit = code: by themselves and with a rule; those that came to the loop */
static uint64_t records, lost;
static unsigned waits;

struct script { const uint8_t *at, *end; };

static uint64_t take(struct script *s, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && s->at < s->end; i++)
        value |= (uint64_t)*s->at++ << (8 * i);
    return value;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------ */

/* What the device says to an address that is not there. */
static uint8_t fault_code(const struct idxdd_exit *exit, uint8_t choice)
{
    if (exit->operand == IDXDD_OPERAND_COMPLETION_RECORD)
        return IDXDD_STATUS_CRA_XLAT;
    if (exit->desc[7] == IDXDD_OPCODE_BATCH)
        return IDXDD_STATUS_BATCH_PAGE_FAULT;
    if (exit->desc[7] == IDXDD_OPCODE_DRAIN)
        return IDXDD_STATUS_PFAULT_RDBA;
    return choice & 1 ? IDXDD_STATUS_PAGE_FAULT_IR : choice & 2 ? IDXDD_STATUS_TRANSLATION_FAIL : IDXDD_STATUS_PAGE_FAULT_NOBOF;
}

static void answer_exits(uint8_t choice)
{
    struct idxdd_exit exits[64];
    uint32_t n = idxdd_engine_exits(engine, exits, 64);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t generation = exits[i].generation - (choice == 7);
        if (exits[i].kind == IDXDD_EXIT_FAULT) {
            enum idxdd_resume action = choice == 3 ? IDXDD_RESUME_RETRY : choice & 4 ? IDXDD_RESUME_RUN : IDXDD_RESUME_FAIL;
            idxdd_engine_resume(engine, exits[i].context, generation, action, fault_code(&exits[i], choice));
        } else if (exits[i].kind == IDXDD_EXIT_WINDOW) {
            uint8_t code = choice & 1 ? IDXDD_STATUS_WINDOW_UPDATE_REFUSED : IDXDD_STATUS_WINDOW_FIELDS;
            idxdd_engine_resume(engine, exits[i].context, generation, choice & 2 ? IDXDD_RESUME_FINISH : IDXDD_RESUME_FAIL, code);
        } else if (exits[i].kind == IDXDD_EXIT_ERROR) {
            told |= 1ull << (exits[i].status & 63);
            idxdd_engine_resume(engine, exits[i].context, generation, IDXDD_RESUME_FINISH, 0);
        }
    }
}

static void read_trace(void)
{
    struct idxdd_trace_record out[64];
    uint64_t dropped;
    uint32_t n;
    while ((n = idxdd_engine_trace_read(engine, out, 64, &dropped)) || dropped) {
        lost += dropped;
        records += n;
        for (uint32_t i = 0; i < n; i++) {
            const struct idxdd_trace_record *r = &out[i];
            const uint64_t times[] = {r->accepted_ns, r->dispatched_ns, r->first_fault_ns, r->written_ns, r->interrupt_ns};
            uint64_t before = 0;
            for (unsigned k = 0; k < 5; k++) {
                assert(!times[k] || times[k] >= before);
                before = times[k] ? times[k] : before;
            }
            assert(r->id && r->why != IDXDD_WHY_NONE && r->wq < 2);
            if (r->why != IDXDD_WHY_ABORTED)
                ended[r->rule != 0] |= 1ull << (r->status & 63) | (r->reported ? 1ull << (r->reported & 63) : 0);
        }
    }
}

static struct idxdd_wq_config wq_config(unsigned wq, uint8_t choice)
{
    struct idxdd_wq_config config = rig_wq(wq == 0, 16);
    config.limits.gencap = GENCAP;
    config.limits.idcap = UINT64_MAX;
    config.limits.opcfg[0] = choice & 1 ? OPERATIONS : OPERATIONS & ~(1ull << IDXDD_OPCODE_TRANSL_FETCH);
    config.limits.bof_enabled = choice >> 1 & 1;
    config.limits.pasid_enabled = config.pasid_en = choice >> 2 & 1;
    config.limits.privileged_mode = choice >> 3 & 1;
    config.limits.tc_enabled = choice >> 4 & 1 ? 3 : 1;
    config.limits.user_int_en = 1;
    config.evl_en = choice >> 5 & 1;
    config.evl_drains = choice >> 6 & 1;
    config.engines = 0xf;
    return config;
}

static void open_window(uint32_t handle, uint8_t choice, bool update)
{
    struct idxdd_idpt_entry entry = {
        .usable = choice & 1, .read = choice >> 1 & 1, .write = choice >> 2 & 1, .window_en = choice >> 3 & 1, .offset_mode = choice >> 4 & 1,
        .submitter = choice & 32 ? 2 : 3, .base = BASE, .size = MEMORY / 2, .space = choice & 64 ? client[choice >> 7].space : NULL,
    };
    idxdd_engine_idpt_set(engine, 0, handle, &entry, update);
}

static void set_up(void)
{
    published = rig_published();
    struct idxdd_engine_options options = {.published = published};
    engine = idxdd_engine_new(&options);
    struct idxdd_wq_config dedicated = wq_config(0, 0x1f), shared = wq_config(1, 0x7f);
    assert(engine && idxdd_engine_wq_enable(engine, 0, &dedicated) && idxdd_engine_wq_enable(engine, 1, &shared));
    rig_client_open(&client[0], engine, 0, 2, BASE, MEMORY);
    rig_client_open_as(&client[1], engine, 1, 3, BASE, MEMORY, true);
    for (uint32_t i = 0; i < WINDOWS; i++)
        open_window(i, (const uint8_t[]){0x47, 0xff, 0x07, 0xe7}[i], false); /* as it is, by offset, of nobody, the other's */
    assert(idxdd_engine_trace_on(engine, 512));
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

/* ---- descriptors ---------------------------------------------------------------------------------------------------------------- */

static void put64(uint8_t *desc, unsigned at, uint64_t value) { memcpy(desc + at, &value, 8); }
static void put32(uint8_t *desc, unsigned at, uint32_t value) { memcpy(desc + at, &value, 4); }
static void put16(uint8_t *desc, unsigned at, uint16_t value) { memcpy(desc + at, &value, 2); }

/* What the operation needs beside two addresses and a size. */
static void operation_fields(struct script *s, uint8_t *desc)
{
    static const uint16_t block[] = {512, 520, 4096, 4104};
    uint8_t choice = (uint8_t)take(s, 1);
    switch (desc[7]) {
    case IDXDD_OPCODE_NOOP: memset(desc + 16, 0, 20); break;
    case IDXDD_OPCODE_BATCH:
        put64(desc, 24, 0);
        put32(desc, 32, 2 + choice % 6);
        break;
    case IDXDD_OPCODE_DRAIN:
        put32(desc, 32, 0);
        desc[6] = choice & 3;
        if (!(choice & 1))
            put64(desc, 16, 0);
        if (!(choice & 2))
            put64(desc, 24, 0);
        break;
    case IDXDD_OPCODE_MEMFILL: put64(desc, 16, choice * 0x0101010101010101ull); break;
    case IDXDD_OPCODE_COMPARE: case IDXDD_OPCODE_COMPVAL:
        desc[4] |= choice & 1 ? IDXDD_FLAG_CR : 0;
        desc[40] = choice >> 1 & 1;
        break;
    case IDXDD_OPCODE_CR_DELTA:
        put64(desc, 40, BASE + MEMORY - 4096);
        put32(desc, 48, 80 + choice);
        break;
    case IDXDD_OPCODE_AP_DELTA: put32(desc, 40, 10u * (1 + choice % 16)); break;
    case IDXDD_OPCODE_DUALCAST: put64(desc, 40, BASE + MEMORY / 2 + (desc[24] | (uint64_t)desc[25] << 8) % 4096); break;
    case IDXDD_OPCODE_TRANSL_FETCH: put64(desc, 24, 0); break;
    case IDXDD_OPCODE_CRCGEN: put64(desc, 24, 0); break;
    case IDXDD_OPCODE_DIF_CHECK: case IDXDD_OPCODE_DIF_INS: case IDXDD_OPCODE_DIF_STRP: case IDXDD_OPCODE_DIF_UPDT: case IDXDD_OPCODE_DIX_GEN: {
        bool with_field = desc[7] == IDXDD_OPCODE_DIF_CHECK || desc[7] == IDXDD_OPCODE_DIF_STRP || desc[7] == IDXDD_OPCODE_DIF_UPDT;
        desc[42] = choice & 3;
        put32(desc, 32, block[choice & 3] + (with_field ? 8u : 0u));
        if (desc[7] == IDXDD_OPCODE_DIF_CHECK)
            put64(desc, 24, 0);
        desc[desc[7] == IDXDD_OPCODE_DIF_CHECK || desc[7] == IDXDD_OPCODE_DIF_STRP ? 48 : 56] = choice >= TAGS_WRONG;
        break;
    }
    case IDXDD_OPCODE_CFLUSH: put64(desc, 16, 0); break;
    case IDXDD_OPCODE_UPDATE_WINDOW:
        put64(desc, 16, BASE);
        put64(desc, 24, 4096);
        put32(desc, 32, 0);
        desc[61] = choice & 15;
        put16(desc, 62, choice % WINDOWS);
        break;
    default:
        if (desc[7] >= IDXDD_OPCODE_INTER_DOMAIN_COPY) {
            bool source = desc[7] != IDXDD_OPCODE_INTER_DOMAIN_FILL, destination = desc[7] != IDXDD_OPCODE_INTER_DOMAIN_COMPVAL;
            desc[6] = (uint8_t)((source ? 1 : 0) | (destination ? 2 : 0));
            put16(desc, 60, source ? choice % (WINDOWS + 1) : 0);
            put16(desc, 62, destination ? choice / 8 % (WINDOWS + 1) : 0);
        }
    }
}

/* One that its operation would carry out, but for one thing perhaps. */
static void nearly_right(struct script *s, const struct rig_client *c, uint8_t *desc)
{
    static const uint8_t operations[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17, 0x20, 0x21, 0x23, 0x24, 0x25, 0x26};
    uint8_t operation = (uint8_t)take(s, 1), wrong = (uint8_t)take(s, 1), where = (uint8_t)take(s, 1), flags = (uint8_t)take(s, 1);
    uint32_t size = 8u * (1 + (uint32_t)take(s, 1));
    memset(desc, 0, 64);
    desc[7] = operations[operation % sizeof operations];
    desc[4] = IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR | (flags & 0x80 ? IDXDD_FLAG_RCI : 0);
    put64(desc, 8, c->base + MEMORY - 8192 + 32u * (flags & 0x7f));
    put64(desc, 16, c->base + 64u * (where & 15));
    put64(desc, 24, c->base + MEMORY / 4 + 64u * (where >> 4));
    put32(desc, 32, size);
    operation_fields(s, desc);
    switch (wrong % 48) {
    case 0: desc[4 + where % 3] ^= (uint8_t)(1u << (flags & 7)); break;
    case 1: desc[where % 64] ^= (uint8_t)(1u << (flags & 7)); break;
    case 2: put32(desc, 32, 0); break;
    case 3: put32(desc, 32, UINT32_MAX); break;
    case 4: put64(desc, 8, BASE + MEMORY + 0x10000); break;
    case 5: put64(desc, 8, c->base + 1); break;
    case 6: put64(desc, 16, BASE + MEMORY - size / 2); break;
    case 7: put64(desc, 24, BASE + MEMORY - size / 2); break;
    case 8: put64(desc, 24, (uint64_t)desc[16] | (uint64_t)desc[17] << 8 | (uint64_t)desc[18] << 16); break;
    case 9: put64(desc, 16, c->base + 4); break;
    case 10: put32(desc, 40, 9); break;
    case 11: put32(desc, 48, 8); break;
    case 12: put64(desc, 40, c->base + 5); break;
    case 13: desc[4] |= IDXDD_FLAG_RCI; put16(desc, 36, 77); break;
    case 14: desc[5] |= IDXDD_FLAG_CR_TCS >> 8; break;
    case 15: desc[5] |= IDXDD_FLAG_ADDR1_TCS >> 8; break;
    case 16: desc[5] |= IDXDD_FLAG_ADDR2_TCS >> 8; break;
    case 17: desc[4] &= (uint8_t)~(IDXDD_FLAG_CRAV | IDXDD_FLAG_RCR); put64(desc, 8, 0); break;
    case 18: desc[4] |= IDXDD_FLAG_FENCE; break;
    case 19: desc[4] |= IDXDD_FLAG_BOF; break;
    case 20: put64(desc, 16, c->base + 32); break;
    case 21: put64(desc, 40, c->base + MEMORY / 2 + 8); break;
    case 23: put64(desc, 16, BASE + MEMORY - 64); break;
    case 24: put64(desc, 16, BASE + MEMORY + 0x5000); break;
    case 22: desc[7] = (uint8_t)(0x18 + where % 8); break;
    default: break;
    }
}

/* Addresses of half the others are pulled into memory. */
static void any_bytes(struct script *s, const struct rig_client *c, uint8_t tame, uint8_t *desc)
{
    for (unsigned i = 0; i < 64; i++)
        desc[i] = (uint8_t)take(s, 1);
    if (!(tame & 1))
        return;
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

static void descriptor(struct script *s, struct rig_client *c, uint8_t *to)
{
    uint8_t desc[64], tame = (uint8_t)take(s, 1);
    if (tame & 0xc0)
        nearly_right(s, c, desc);
    else
        any_bytes(s, c, tame, desc);
    memcpy(to, desc, 64);
}

/* ---- rules ----------------------------------------------------------------------------------------------------------------------- */

static void rules(struct script *s)
{
    struct idxdd_rule table[RULES];
    uint32_t count = (uint32_t)take(s, 1) % (RULES + 1);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *bytes = (uint8_t *)&table[i], tame = (uint8_t)take(s, 1);
        for (size_t at = 0; at < sizeof table[i]; at++)
            bytes[at] = tame & 1 ? 0 : (uint8_t)take(s, 1);
        table[i].wqs = 3;
        table[i].pasid = IDXDD_RULE_ANY_PASID;
        memset(table[i].opcodes, 0xff, sizeof table[i].opcodes);
        if (!(tame & 1))
            continue;
        table[i].address_last = UINT64_MAX;
        table[i].size_max = table[i].member_last = table[i].chance = UINT32_MAX;
        table[i].what = (uint32_t)take(s, 1) % (IDXDD_RULE_WHATS + 1);
        table[i].id = 1 + i;
        table[i].status = tame & 0x40 ? (uint8_t)take(s, 1) : statuses[take(s, 1) % sizeof statuses];
        table[i].operand = tame & 2 ? IDXDD_RULE_FIRST_READ : tame & 4 ? IDXDD_RULE_FIRST_WRITTEN : (uint8_t)take(s, 1) & 7;
        table[i].offset = take(s, 1) * (tame & 8 ? 7 : 1);
        table[i].count = tame >> 4;
        table[i].skip = take(s, 1) & 3;
        table[i].every = take(s, 1) & 3;
        table[i].ns = take(s, 2);
        table[i].flip = 1;
        table[i].also = i && tame & 0x80;
    }
    idxdd_engine_set_rules(engine, table, count);
}

/* ---- steps ----------------------------------------------------------------------------------------------------------------------- */

static void more(struct script *s, struct rig_client *c, unsigned wq)
{
    uint8_t choice = (uint8_t)take(s, 1);
    struct idxdd_wq_config config = wq_config(wq, (uint8_t)take(s, 1));
    struct idxdd_rule_counters counters[IDXDD_RULES_MAX];
    switch (choice & 7) {
    case 0: rules(s); break;
    case 1: idxdd_engine_rule_counters(engine, counters, IDXDD_RULES_MAX); break;
    case 2: idxdd_engine_trace_on(engine, 1 + (uint32_t)take(s, 1)); break;
    case 3:
        if (choice & 8)
            idxdd_engine_trace_off(engine);
        break;
    case 4: open_window((uint32_t)take(s, 1) % WINDOWS, (uint8_t)take(s, 1), choice & 8); break;
    case 5: idxdd_engine_wq_enable(engine, wq, &config); break;
    case 6:
        for (unsigned i = 0; i < 64; i++) /* a delta record, tags of DIF, what is compared */
            c->memory[(choice >> 3) * 64 + i] = (uint8_t)take(s, 1);
        break;
    default: idxdd_engine_set_rules(engine, NULL, 0); break;
    }
}

static void words(struct script *s, struct rig_client *c)
{
    switch (take(s, 1) & 7) {
    case 0: atomic_store(&c->page->tail, take(s, 8)); break;
    case 1: atomic_store(&c->page->dropped, take(s, 8)); break;
    case 2: atomic_store(&c->page->wake_at, take(s, 2)); break;
    default: atomic_store(&c->page->want, (uint32_t)take(s, 4)); break;
    }
}

static void disturb(struct script *s, const struct rig_client *c, unsigned wq)
{
    uint8_t choice = (uint8_t)take(s, 1);
    if ((choice & 3) == 0)
        idxdd_engine_portal_close(engine, c->number, choice >> 2 & 1, IDXDD_CLOSED_REVOKED);
    else if ((choice & 3) == 1 && waits++ < IDXDD_FUZZ_WAITS)
        idxdd_engine_wq_stop(engine, 1u << wq, choice >> 2 & 1, IDXDD_CLOSED_WQ_DISABLED);
    else if ((choice & 3) == 2 && waits++ < IDXDD_FUZZ_WAITS)
        idxdd_engine_wq_drain(engine, 3);
    else if (waits++ < IDXDD_FUZZ_WAITS)
        (choice & 4 ? idxdd_engine_pasid_abort : idxdd_engine_pasid_drain)(engine, 2 + wq, 3);
}

static void step(struct script *s)
{
    uint8_t kind = (uint8_t)take(s, 1);
    struct rig_client *c = &client[kind >> 7];
    uint64_t tail = atomic_load(&c->page->tail);
    struct idxdd_wq_config config = wq_config(kind >> 7, (uint8_t)(0x1f | (kind & 0x60)));
    switch (kind & 15) {
    case 0: case 1: case 2: case 3: case 4: case 5:
        descriptor(s, c, c->page->slot[tail % IDXDD_PORTAL_SLOTS]);
        atomic_store(&c->page->tail, tail + 1);
        break;
    case 6: case 7: descriptor(s, c, c->memory + (take(s, 1) & 31) * 64); break; /* a batch member */
    case 8: words(s, c); break;
    case 9:
        idxdd_engine_wq_enable(engine, kind >> 7, &config);
        idxdd_engine_portal_reopen(engine, c->number);
        break;
    case 10: disturb(s, c, kind >> 7); break;
    case 11: idxdd_engine_portal_reopen(engine, c->number); break;
    default: more(s, c, kind >> 7); break;
    }
    idxdd_engine_run(engine, kind >> 4 & 3);
    answer_exits(kind & 7);
    read_trace();
}

/* It comes to rest: without rules nobody is held, everything is answered. */
static void rest(void)
{
    assert(idxdd_engine_set_rules(engine, NULL, 0));
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t done = idxdd_engine_run(engine, 1);
        answer_exits(0);
        read_trace();
        if (!done && i > 4)
            return;
    }
    assert(!"it does not come to rest");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, data + size};
    set_up();
    waits = 0;
    for (unsigned steps = 0; script.at < script.end && steps < 200; steps++)
        step(&script);
    rest();
    for (unsigned i = 0; i < 2; i++)
        assert(idxdd_engine_portal_close(engine, client[i].number, IDXDD_STOP_ABORT, IDXDD_CLOSED_BY_OWNER));
    idxdd_engine_run(engine, 4);
    struct idxdd_engine_statistics statistics;
    idxdd_engine_statistics(engine, &statistics);
    assert(statistics.contexts == 0 && statistics.parked == 0);
    for (unsigned i = 0; i < 2; i++)
        assert(published->wq[i].accepted == published->wq[i].completed + published->wq[i].aborted);
    read_trace();
    tear_down();
    return 0;
}

#ifdef IDXDD_FUZZ_MAIN
/* How many of them are missing. */
static unsigned report(const char *what, uint64_t reached)
{
    unsigned missing = 0;
    printf("fuzz_engine: statuses %s:", what);
    for (unsigned i = 0; i < sizeof statuses; i++)
        if (reached >> statuses[i] & 1)
            printf(" %02x", statuses[i]);
    printf("; not reached:");
    for (unsigned i = 0; i < sizeof statuses; i++)
        if (!(reached >> statuses[i] & 1)) {
            printf(" %02x", statuses[i]);
            missing++;
        }
    printf(missing ? "\n" : " none\n");
    return missing;
}

int main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10, seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)time(NULL);
    time_t end = time(NULL) + seconds;
    unsigned long runs = 0;
    static uint8_t script[8192];
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("fuzz_engine: seed %u\n", seed);
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
    printf("fuzz_engine: %lu scripts, seed %u; %llu descriptors traced, %llu lost from the trace\n", runs, seed, (unsigned long long)records,
           (unsigned long long)lost);
    report("without rules", ended[0]);
    report("in reports to the loop", told);
    return report("in all", ended[0] | ended[1]) && seconds >= 60;
}
#endif
