"""Rules of fault injection and trace records as the engine packs them, by field name: for tests of the data plane."""

import struct

from engine_bench import Bench

from idxdd import native
from idxdd.control.tracerecord import TraceRecord, unpack
from idxdd.native import LAYOUT

ALL64 = (1 << 64) - 1
ALL32 = (1 << 32) - 1
WIDE = (
    "wqs",
    "address_first",
    "address_last",
    "not_before_ns",
    "skip",
    "every",
    "hits_max",
    "seed",
    "ns",
    "offset",
    "fault_address",
)
NARROW = ("status", "result", "operand", "flip")
DEFAULTS: dict[str, int] = {
    "wqs": ALL64,
    "address_last": ALL64,
    "size_max": ALL32,
    "pasid": ALL32,
    "member_last": ALL32,
    "chance": ALL32,
    "id": 1,
}


def rule(what: int, *, opcodes: tuple[int, ...] | None = None, **fields: int) -> bytes:
    """One packed struct idxdd_rule: any descriptor, always, unless a field says otherwise."""
    packed = bytearray(LAYOUT["rule"])
    mask = ALL64 << 192 | ALL64 << 128 | ALL64 << 64 | ALL64 if opcodes is None else sum(1 << opcode for opcode in opcodes)
    for word in range(4):
        struct.pack_into("<Q", packed, LAYOUT["rule.opcodes"] + 8 * word, mask >> 64 * word & ALL64)
    for name, value in {**DEFAULTS, **fields, "what": what}.items():
        kind = "<Q" if name in WIDE else "<B" if name in NARROW else "<I"
        struct.pack_into(kind, packed, LAYOUT[f"rule.{name}"], value)
    return bytes(packed)


def install(bench: Bench, *rules: bytes) -> None:
    """Swap the table; these hold when this returns."""
    bench.settle(bench.engine.set_rules(b"".join(rules)))


def hits(bench: Bench) -> list[int]:
    """Hits of each rule."""
    return [count for _, count in bench.engine.rule_counters()]


def times(record: TraceRecord) -> list[int]:
    """Of what happened to it, in the order in which it must have."""
    return [at for at in record[2:7] if at]


def trace_on(bench: Bench, records: int = 1024) -> None:
    """A new trace; it holds when this returns."""
    bench.settle(bench.engine.trace_on(records))


def traced(bench: Bench, maximum: int = 1024) -> tuple[list[TraceRecord], int]:
    """What the engine has traced since the last call, and how many were lost."""
    packed, dropped = bench.engine.trace_read(maximum)
    return list(unpack(packed)), dropped


def faults(exits: list[native.Exit]) -> list[native.Exit]:
    """The parked faults among them."""
    return [exit for exit in exits if exit.kind == native.EXIT_FAULT]
