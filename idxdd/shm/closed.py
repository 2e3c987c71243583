"""Why a portal was closed: enum idxdd_closed of shm.h, as both the device and the service write it."""

from enum import IntEnum


class Closed(IntEnum):
    """portal_device.closed."""

    OPEN = 0
    WQ_DISABLED = 1
    ABORTED = 2
    HALTED = 3
    REVOKED = 4
    BY_OWNER = 5
    DEVICE_GONE = 6
    REMOVED = 7
