"""The world failed: one class per way, each message says what was being done."""


class IdxdError(Exception):
    """Base of every named error of this project; `str()` is one line for a user."""


class InstanceTaken(IdxdError):
    """Another daemon holds this instance."""

    def __init__(self, instance: str, pid: int | None) -> None:
        self.instance = instance
        self.pid = pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"instance {instance!r} is taken: {holder} holds it (choose another name, or stop that daemon)")


class BadInstanceName(IdxdError):
    """The name of an instance breaks its rule."""


class ForeignName(IdxdError):
    """A name of ours exists and belongs to someone else."""


class SharedMemoryFull(IdxdError):
    """There is no room for a segment, found before anything was mapped."""


class SegmentGone(IdxdError):
    """A segment to be opened does not exist."""


class SegmentMismatch(IdxdError):
    """A segment exists, but is not of the size its layout has."""


class DeviceGone(IdxdError):
    """The device did not do in time what it always does."""
