/* Inter-domain operations: handles resolved to address spaces, and windows that change: see domains.h for who writes what. */
#include "execute.h"
#include "idxdd/spec.h"

static const struct idpt_slot *slot_of(const struct idxdd_engine *e, uint32_t wq, uint16_t handle)
{
    return handle < IDXDD_IDPT_MAX ? &e->idpt[wq / IDXDD_WQS_PER_DEVICE_MAX][handle] : NULL;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------- */

void idpt_set(struct idxdd_engine *e, const struct request *r)
{
    struct idpt_slot *slot = &e->idpt[r->target / IDXDD_IDPT_MAX][r->target % IDXDD_IDPT_MAX];
    struct idxdd_idpt_entry old = slot->entry;
    slot->entry = r->idpt;
    if (r->value)
        slot->version++;
    else
        slot->epoch++;
    idxdd_space_unref(old.space); /* no slice is under way, and none begins with what an old epoch found */
    idxdd_space_unref(old.bitmap_space);
}

void idpt_forget(struct idxdd_engine *e)
{
    for (uint32_t i = 0; i < IDXDD_DEVICES_MAX * IDXDD_IDPT_MAX; i++) {
        idxdd_space_unref(e->idpt[i / IDXDD_IDPT_MAX][i % IDXDD_IDPT_MAX].entry.space);
        idxdd_space_unref(e->idpt[i / IDXDD_IDPT_MAX][i % IDXDD_IDPT_MAX].entry.bitmap_space);
    }
}

/* ---- operations.md 4, row 18 ------------------------------------------------------------------------------------------------- */

/* A bit that cannot be read is 0. */
static bool in_bitmap(const struct idxdd_idpt_entry *entry, uint32_t pasid)
{
    uint64_t contiguous = 0, at = entry->bitmap + pasid / 8;
    const uint8_t *byte = entry->bitmap_space ? idxdd_translate(entry->bitmap_space, at, false, &contiguous) : NULL;
    return byte && contiguous && *(const volatile uint8_t *)byte >> pasid % 8 & 1;
}

static bool may_submit(const struct idxdd_idpt_entry *entry, uint32_t pasid)
{
    return entry->usable && (entry->many ? in_bitmap(entry, pasid) : entry->submitter == pasid);
}

/* Does [from, from + size) lie within the window? In offset mode `from` counts from its base. */
static bool in_window(const struct idxdd_idpt_entry *entry, uint64_t from, uint64_t size)
{
    if (!entry->offset_mode && from < entry->base)
        return false;
    uint64_t offset = entry->offset_mode ? from : from - entry->base;
    return offset <= entry->size && size <= entry->size - offset;
}

static uint8_t resolve(const struct idxdd_engine *e, uint32_t wq, struct context *c, uint8_t operand, bool write)
{
    struct idxdd_operation *op = &c->op;
    uint64_t from = get64(op->desc + (operand == IDXDD_OPERAND_SOURCE1 ? 16 : 24));
    uint16_t handle = get16(op->desc + (operand == IDXDD_OPERAND_SOURCE1 ? 60 : 62));
    const struct idpt_slot *slot = slot_of(e, wq, handle);
    op->fault_operand = operand; /* the record names its handle */
    if (!slot || !may_submit(&slot->entry, op->pasid))
        return IDXDD_STATUS_IDPT_HANDLE_INVAL;
    const struct idxdd_idpt_entry *entry = &slot->entry;
    if (!(write ? entry->write : entry->read))
        return IDXDD_STATUS_IDPT_PERMISSION;
    if (entry->window_en && !in_window(entry, from, get32(op->desc + 32)))
        return IDXDD_STATUS_WINDOW_ERANGE;
    if (!entry->space)
        return IDXDD_STATUS_DOMAIN_GONE;
    bool offset = entry->window_en && entry->offset_mode;
    op->window[operand - 1] = offset ? entry->base : 0; /* not into the descriptor, which others are shown */
    op->withheld |= (uint8_t)(offset << operand);
    op->foreign |= (uint8_t)(1u << operand);
    op->domain[operand - 1] = entry->space;
    c->domain_use[c->domain_uses++] = (struct domain_use){handle, slot->epoch, slot->version};
    return 0;
}

/* The handles of an inter-domain operation: source first. 0, or the status; then nothing is foreign. */
uint8_t domains_resolve(const struct idxdd_engine *e, const struct portal *p, struct context *c)
{
    uint32_t flags = idxdd_flags(c->op.desc);
    uint8_t opcode = idxdd_opcode(c->op.desc), status = 0;
    bool compares = opcode == IDXDD_OPCODE_INTER_DOMAIN_COMPARE;
    if (flags & IDXDD_OPFLAG_SRC_ALTERNATE_PASID)
        status = resolve(e, p->wq, c, IDXDD_OPERAND_SOURCE1, false);
    if (!status && flags & IDXDD_OPFLAG_DST_ALTERNATE_PASID)
        status = resolve(e, p->wq, c, compares ? IDXDD_OPERAND_SOURCE2 : IDXDD_OPERAND_DESTINATION1, !compares);
    if (status)
        c->op.foreign = c->op.withheld = c->domain_uses = 0;
    return status;
}

/* Are the entries still those that were resolved? */
bool domains_hold(const struct idxdd_engine *e, const struct context *c)
{
    uint32_t device = e->portal[c->portal]->wq / IDXDD_WQS_PER_DEVICE_MAX;
    for (uint32_t i = 0; i < c->domain_uses; i++)
        if (e->idpt[device][c->domain_use[i].handle].epoch != c->domain_use[i].epoch)
            return false;
    return true;
}

/* ---- Update Window ----------------------------------------------------------------------------------------------------------- */

/* Does nobody use an older version of the entry any more? Who is inside its own agent, which may never answer, is not waited for
 * but cut off. */
bool window_settled(struct idxdd_engine *e, const struct context *c)
{
    uint32_t device = e->portal[c->portal]->wq / IDXDD_WQS_PER_DEVICE_MAX;
    uint16_t handle = get16(c->op.desc + 62);
    const struct idpt_slot *slot = slot_of(e, e->portal[c->portal]->wq, handle);
    for (uint32_t i = 0; slot && i < IDXDD_CONTEXTS; i++) { /* the loop refuses a handle that is none; nobody uses it */
        struct context *user = &e->context[i];
        if (user->state == CONTEXT_FREE || !user->domain_uses || e->portal[user->portal]->wq / IDXDD_WQS_PER_DEVICE_MAX != device)
            continue;
        for (uint32_t k = 0; k < user->domain_uses; k++) {
            struct domain_use *use = &user->domain_use[k];
            if (use->handle != handle || use->version == slot->version)
                continue;
            if (!user->limbo)
                return false;
            use->epoch = slot->epoch - 1;
        }
    }
    return true;
}

/* The device loop has changed the table; the drain of the old values is left. */
enum advance phase_users(struct idxdd_engine *e, struct portal *p, struct context *c)
{
    if (!(idxdd_flags(c->op.desc) & IDXDD_OPFLAG_UPDATE_WINDOW_NO_DRAIN) && !window_settled(e, c)) {
        drain_waits(e, p, c);
        return ADVANCE_WAITS;
    }
    drain_goes_on(e, c);
    end_with(c, OK);
    return ADVANCE_MORE;
}
