"""What can go wrong between a client and the daemon, by name; each carries the exit code a program ends with."""

from idxdd.control.exitcodes import ExitCode


class ControlError(Exception):
    """Base: something about the control connection; the text says what was being done."""

    exit_code = ExitCode.FAILED


class DaemonAbsent(ControlError):
    """No daemon answers at this socket."""

    exit_code = ExitCode.DAEMON_ABSENT


class PermissionDenied(ControlError):
    """The socket's mode, its directory's or the daemon's policy does not let this user in."""

    exit_code = ExitCode.NO_PERMISSION


class SocketPathTooLong(ControlError):
    """A Unix socket's path holds at most 107 bytes."""

    exit_code = ExitCode.SOCKET_PATH_TOO_LONG


class ProtocolError(ControlError):
    """The other side sent something that is not an answer of this protocol, or speaks another version."""


class DeviceGone(ControlError):
    """The daemon went away, or does not answer, while the connection was in use."""

    exit_code = ExitCode.DAEMON_ABSENT


class RequestError(ControlError):
    """The daemon refused one request; `code` is the errno name the driver would answer."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class NotAllowed(RequestError):
    """This user may not do that, whatever state the device is in: he lacks a role, or is not on a work queue's list."""

    exit_code = ExitCode.NO_PERMISSION
