/* The inter-domain permissions tables as the engine uses them: who may reach whose memory, through which window. Private.
 *
 * Who writes what   the device loop owns the tables in BAR0; what it changes there comes as requests, and the engine alone writes these copies.
 * A user            is a context whose operation has resolved a handle; it keeps what it found: space, window.
 * Taken away        an entry that the bus writes gets another epoch: its users end with 0x2E before their next slice, for what they
 *                   found may be nobody's any more. Update Window leaves the epoch and raises the version: users of the old values go
 *                   on, and the Update Window waits for them unless it is told not to.
 */
#ifndef IDXDD_DOMAINS_H
#define IDXDD_DOMAINS_H

#include "idxdd/engine.h"

struct idpt_slot {
    struct idxdd_idpt_entry entry;
    uint32_t epoch, version;
};

struct domain_use {
    uint16_t handle;
    uint32_t epoch, version;
};

#endif
