"""Named errors: each says what was being done when it happened, and carries the exit code a program ends with."""

from __future__ import annotations

from enum import IntEnum
from errno import ENXIO
from typing import TYPE_CHECKING

from idxdd.control.errors import ControlError as IdxdError
from idxdd.control.errors import DaemonAbsent, DeviceGone, PermissionDenied, ProtocolError, SocketPathTooLong
from idxdd.control.errors import RequestError as Refused
from idxdd.control.exitcodes import ExitCode

if TYPE_CHECKING:
    from idxd_client.results import Result

__all__ = [
    "ClosedReason",
    "DaemonAbsent",
    "DescriptorAborted",
    "DescriptorError",
    "DeviceGone",
    "ForkedHandle",
    "HandleClosed",
    "IdxdError",
    "OperandError",
    "PermissionDenied",
    "PortalClosed",
    "ProtocolError",
    "Refused",
    "SocketPathTooLong",
    "WaitTimeout",
    "WorkQueueFull",
]


class ClosedReason(IntEnum):
    """Why a portal was closed (enum idxdd_closed in idxdd/shm.h)."""

    OPEN = 0
    WQ_DISABLED = 1
    ABORTED = 2
    HALTED = 3
    REVOKED = 4
    BY_OWNER = 5
    DEVICE_GONE = 6
    REMOVED = 7


class PortalClosed(IdxdError):
    """The device closed the portal: WQ disabled, aborted, halted, revoked or removed. What it had not accepted was not done.

    `errno`: of a kernel channel what the driver's submit answers, EIO while the device is not enabled, ENXIO when the WQ is
    quiesced. `reopen()` takes the portal up again once its WQ is enabled."""

    def __init__(self, doing: str, reason: int, errno: int = ENXIO) -> None:
        self.errno = errno
        self.reason = ClosedReason(reason) if reason in ClosedReason._value2member_map_ else ClosedReason.ABORTED
        super().__init__(f"{doing}: the portal is closed: {self.reason.name.lower().replace('_', ' ')}")


class WorkQueueFull(IdxdError):
    """The work queue answered "retry" until the time-out."""


class WaitTimeout(IdxdError, TimeoutError):
    """A wait reached its time-out; what was waited for may still happen."""


class HandleClosed(IdxdError):
    """The handle was closed by close()."""


class ForkedHandle(HandleClosed):
    """The handle belongs to the parent process: open one in this process."""


class OperandError(IdxdError, ValueError):
    """An argument cannot be an operand: no address, no size, not contiguous, outside its buffer."""

    exit_code = ExitCode.USAGE


class DescriptorAborted(IdxdError):
    """A descriptor was abandoned when its portal closed: no record was or will be written for it."""


class DescriptorError(IdxdError):
    """A descriptor ended with a status other than success; `result` holds its whole record."""

    def __init__(self, doing: str, result: Result) -> None:
        super().__init__(f"{doing}: {result.describe()}")
        self.result = result
