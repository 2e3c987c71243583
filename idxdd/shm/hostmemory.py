"""Host memory of one device: what its driver allocates for it and programs the address of (the event log).

Who writes what  the driver owns the memory and decides what lies where; the device writes where it was told to.
Order            the writer's last word is somewhere else (EVLSTATUS.tail): bytes here are stored before that one.
Addresses        a device's window starts at host_base(device) in the address space that registers hold; what lies in no
                 window is memory that does not exist, and an access to it fails.
Crash            the segment outlives idxdd-irq, so that a successor finds the entries its predecessor had not read.
"""

from typing import Final

from typing_extensions import Buffer

HOST_MEMORY_BASE: Final = 1 << 40
HOST_MEMORY_STRIDE: Final = 1 << 32
HOST_MEMORY_SIZE: Final = 4 << 20
"""65536 entries of 64 bytes: the largest log that EVLCFG can describe."""


def host_base(device: int) -> int:
    """Address of the first byte of this device's window."""
    return HOST_MEMORY_BASE + device * HOST_MEMORY_STRIDE


class HostMemory:
    """A window on the segment of one device; device and driver use the same one, each on its own mapping."""

    def __init__(self, buffer: Buffer, device: int) -> None:
        self.base = host_base(device)
        self._view = memoryview(buffer).cast("B")
        self.size = len(self._view)

    def read(self, address: int, size: int) -> bytes | None:
        """`size` bytes from `address` on; None if they are not all inside."""
        offset = self._offset(address, size)
        return None if offset is None else bytes(self._view[offset : offset + size])

    def write(self, address: int, data: bytes) -> bool:
        """Store `data` at `address`; False, and nothing stored, if it is not all inside."""
        offset = self._offset(address, len(data))
        if offset is None:
            return False
        self._view[offset : offset + len(data)] = data
        return True

    def _offset(self, address: int, size: int) -> int | None:
        offset = address - self.base
        return offset if 0 <= offset <= self.size - size else None

    def close(self) -> None:
        """Let go of the buffer."""
        self._view.release()
