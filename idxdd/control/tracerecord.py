"""A record of the trace, as the engine writes it (struct idxdd_trace_record in trace.h) and as it travels to clients."""

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple

_FORMAT = struct.Struct("<8Q4I3H7B3x64s32s")
RECORD_BYTES = _FORMAT.size
NO_VECTOR = 0xFFFF


class Why(IntEnum):
    """What decided how a descriptor ended; 16 to 35 are the checks, row n of operations.md section 4 is 15 + n or so named."""

    NONE = 0
    CARRIED_OUT = 1
    MEMBER_FAILED = 2
    FENCE = 3
    RECORD_ALIGNMENT = 16
    PRIVILEGE = 17
    RECORD_TRAFFIC_CLASS = 18
    OPCODE = 20
    OPCODE_IN_BATCH = 21
    FLAGS = 22
    RESERVED = 23
    NO_PASID = 24
    SIZE = 25
    COUNT = 26
    FIELD_VALUE = 27
    LIST_ALIGNMENT = 28
    ALIGNMENT = 29
    DUALCAST_BITS = 30
    OVERLAP = 31
    HANDLE = 32
    TRAFFIC_CLASS = 33
    WINDOW = 34
    CHECK = 35
    FAULT = 48
    RECORD_FAULT = 49
    RECORD_LOGGED = 50
    DRAIN_LOGGED = 51
    ABORTED = 64
    RULE = 80


CHECK_ROWS: dict[int, int] = {
    Why.RECORD_ALIGNMENT: 1,
    Why.PRIVILEGE: 2,
    Why.RECORD_TRAFFIC_CLASS: 3,
    Why.OPCODE: 5,
    Why.OPCODE_IN_BATCH: 5,
    Why.FLAGS: 6,
    Why.RESERVED: 7,
    Why.NO_PASID: 8,
    Why.SIZE: 9,
    Why.COUNT: 10,
    Why.FIELD_VALUE: 11,
    Why.LIST_ALIGNMENT: 12,
    Why.ALIGNMENT: 13,
    Why.DUALCAST_BITS: 14,
    Why.OVERLAP: 15,
    Why.HANDLE: 16,
    Why.TRAFFIC_CLASS: 17,
    Why.WINDOW: 18,
}
"""The row of the checks (operations.md section 4) that refused the descriptor."""


class TraceFlag(IntFlag):
    """enum idxdd_trace_flag."""

    RECORD_WRITTEN = 1
    MEMBER = 2
    FAULT_WRITE = 4
    PRIV = 8
    AGENT = 16
    DROPPED = 32


class TraceRecord(NamedTuple):
    """One descriptor or batch member; times are CLOCK_MONOTONIC in ns, 0: did not happen."""

    id: int
    batch: int
    accepted_ns: int
    dispatched_ns: int
    first_fault_ns: int
    written_ns: int
    interrupt_ns: int
    fault_address: int
    pasid: int
    rule: int
    bytes_completed: int
    invalid_flags: int
    portal: int
    member: int
    vector: int
    wq: int
    engine: int
    status: int
    reported: int
    operand: int
    why: int
    flags: int
    desc: bytes
    record: bytes

    @property
    def ended_ns(self) -> int:
        """The last thing known of it."""
        return max(self[2:7])


def unpack(records: bytes) -> Iterator[TraceRecord]:
    """As many as there are."""
    return map(TraceRecord._make, _FORMAT.iter_unpack(records))


def pack(record: TraceRecord) -> bytes:
    """As the engine writes it."""
    return _FORMAT.pack(*record)
