"""The reference model: what each operation does, as short Python. The oracle of the C engine.

`execute` takes one descriptor as it reached the device and a memory; it changes the memory and says what else anybody
could see: the record, the report to event log or SWERR, the interrupt. It is written from the architecture's text, never
from the engine, and is slow on purpose (a CRC goes byte by byte). To add an operation: a function and its row in
`operations`. It knows every operation of DSA 1.0 and 2.0; those of 3.0 and everything undefined answer
0x10.

Where the architecture leaves it open:
- checks come in the order `checks.check` has them; a missing flag is told by its bit;
- everything before the faulting page is done, as far as it is whole: blocks of DIF, groups of a created delta record, entries
  of an applied one; a page request is answered "invalid";
- of operands that stop an operation at the same byte, the one read or written first is told: sources, then destinations;
- Create Delta stores as long as the next entry fits, and at one group overflow comes before a missing page;
- equal offsets in a delta record are not increasing;
- a DIF error leaves the failing block's destination as it was, and no tags in the record; application tags are told unmasked,
  and advance also where the field is passed through;
- equal addresses in two domains are not the same memory: an inter-domain copy runs forwards; its operands are checked against
  their entries source first; an entry whose PASID nobody has answers 0x2E;
- Compare Pattern tells the exact first difference;
- Translation Fetch is not bound by the WQ's transfer size, uses a stride of 4096 and tells the page's address;
- Cache Flush reads: a page that is only readable can be flushed;
- a CRC over no bytes is its seed; unused record bytes are 0.
"""

from __future__ import annotations

from idxdd.spec.records import Descriptor
from idxdd.testing.reference.checks import check
from idxdd.testing.reference.completion import finish, refused_outcome
from idxdd.testing.reference.domains import Domains, Entry
from idxdd.testing.reference.memory import PAGE_BYTES, Memory
from idxdd.testing.reference.operations import OPERATIONS
from idxdd.testing.reference.resume import RESUMABLE, continuation
from idxdd.testing.reference.run import ALL_OPCODES, Limits, Outcome, Refused, Report, Run

__all__ = [
    "ALL_OPCODES",
    "OPERATIONS",
    "PAGE_BYTES",
    "RESUMABLE",
    "Domains",
    "Entry",
    "Limits",
    "Memory",
    "Outcome",
    "Report",
    "continuation",
    "execute",
]


def execute(
    desc: bytes,
    memory: Memory,
    limits: Limits,
    *,
    in_batch: bool = False,
    priv: bool | None = None,
    domains: Domains | None = None,
) -> Outcome:
    """Carry out one 64-byte descriptor. `priv`: the batch's, for a member; else the WQ or the descriptor decides. `domains`:
    the permissions table and the other address spaces; None: the table is empty."""
    if priv is None:
        priv = limits.priv if limits.dedicated else Descriptor.unpack(desc).priv

    def execute_member(member: bytes) -> Outcome:
        return execute(member, memory, limits, in_batch=True, priv=priv, domains=domains)

    run = Run(bytes(desc), memory, limits, in_batch, priv, execute_member, domains)
    try:
        return finish(run, check(run, OPERATIONS.get(run.plain.opcode)).run(run))
    except Refused as refused:
        return refused_outcome(run, refused)
