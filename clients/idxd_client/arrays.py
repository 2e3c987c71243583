"""Prebuilt descriptors with their records: the fast path, no Python object per descriptor.

Descriptors and records lie in one library buffer, so that NumPy can fill and read them and a batch can point at them.
With `report="errors"` a record is written only when something went wrong (CRAV without RCR): the portal's count of finished
descriptors then says when they are done, and all-zero records that nothing failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from idxd_client.descriptors import DESCRIPTOR_BYTES, Descriptor
from idxd_client.errors import DescriptorError, OperandError
from idxd_client.results import RECORD_BYTES, Result
from idxdd.spec.codes import Flag

if TYPE_CHECKING:
    from idxd_client.connection import Connection

Report = Literal["all", "errors"]
_FLAGS_OFFSET = 4


class DescriptorArray:
    """`count` descriptors and records; `slots[i]` is what submit_slot() takes."""

    def __init__(self, connection: Connection, count: int, *, report: Report = "all") -> None:
        if count <= 0:
            raise OperandError(f"descriptor array: count must be positive, not {count}")
        self.count = count
        self._connection = connection
        self._report = report
        self._buffer = connection.alloc(count * (DESCRIPTOR_BYTES + RECORD_BYTES))
        memory = memoryview(self._buffer)
        self.descriptors = memory[: count * DESCRIPTOR_BYTES]
        self.records = memory[count * DESCRIPTOR_BYTES : count * (DESCRIPTOR_BYTES + RECORD_BYTES)]
        self.address = self._buffer.address
        """Of the first descriptor: a batch's descriptor list."""
        self.slots = [self.descriptors[i * DESCRIPTOR_BYTES : (i + 1) * DESCRIPTOR_BYTES] for i in range(count)]
        self._zeros = bytes(self.records.nbytes)

    def record_address(self, index: int) -> int:
        """Of the completion record that belongs to descriptor `index`."""
        return self.address + self.descriptors.nbytes + index * RECORD_BYTES

    def __setitem__(self, index: int, descriptor: Descriptor) -> None:
        """Build one; its record is assigned."""
        if descriptor.foreign and self._connection.agent is None:
            self._connection.reach()
        packed = bytearray(descriptor.pack(self.record_address(index)))
        if self._report == "errors":
            flags = int.from_bytes(packed[_FLAGS_OFFSET : _FLAGS_OFFSET + 2], "little") & ~Flag.RCR
            packed[_FLAGS_OFFSET : _FLAGS_OFFSET + 2] = flags.to_bytes(2, "little")
        self.slots[index][:] = packed

    def __len__(self) -> int:
        return self.count

    def clear(self) -> None:
        """Zero every record before the descriptors are submitted (again)."""
        self.records[:] = self._zeros

    def result(self, index: int) -> Result:
        """What record `index` says; status NONE when nothing was written."""
        record = bytes(self.records[index * RECORD_BYTES : (index + 1) * RECORD_BYTES])
        word = int.from_bytes(self.slots[index][_FLAGS_OFFSET : _FLAGS_OFFSET + 4], "little")
        return Result(record, word >> 24, word & 0xFFFFFF)

    def statuses(self) -> bytes:
        """The raw status byte of each record."""
        return bytes(self.records)[::RECORD_BYTES]

    def raise_for_status(self, count: int | None = None) -> None:
        """DescriptorError for the first of `count` that did not succeed; an unwritten record counts with report="all" only."""
        statuses = self.statuses()[: self.count if count is None else count]
        good = b"\x01\x02" if self._report == "all" else b"\x00\x01\x02"
        bad = statuses.lstrip(good)
        if bad:
            index = len(statuses) - len(bad)
            raise DescriptorError(f"descriptor {index} of {self.count}", self.result(index))

    def numpy(self) -> tuple[Any, Any]:
        """Two structured arrays over the same memory: descriptors and records."""
        import numpy as np

        descriptor = np.dtype([
            ("pasid", "<u4"), ("flags", "<u4"), ("record", "<u8"), ("operand1", "<u8"), ("operand2", "<u8"),
            ("size", "<u4"), ("handle", "<u2"), ("reserved", "<u2"), ("specific", "<u8", (3,)),
        ])  # fmt: skip
        record = np.dtype([
            ("status", "u1"), ("result", "u1"), ("fault_info", "u1"), ("unused", "u1"), ("bytes_completed", "<u4"),
            ("fault_address", "<u8"), ("crc", "<u8"), ("specific", "<u8"),
        ])  # fmt: skip
        return np.frombuffer(self.descriptors, descriptor), np.frombuffer(self.records, record)

    def close(self) -> None:
        """Give the memory back."""
        self.slots = []
        self._buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
