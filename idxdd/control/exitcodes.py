"""Exit codes of idxdd and idxdctl: one table for both programs and the README."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a program of this project ends with; `idxdd run` passes its command's own status through."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SHM_FULL = 3
    SOCKET_PATH_TOO_LONG = 4
    SOCKET_TAKEN = 5
    INSTANCE_TAKEN = 6
    NO_PERMISSION = 7
    BAD_CONFIGURATION = 8
    IRQ_CANNOT_START = 9
    DAEMON_ABSENT = 10
    COMMAND_NOT_EXECUTABLE = 126
    COMMAND_NOT_FOUND = 127


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the request failed; the line on stderr says why",
    ExitCode.USAGE: "wrong arguments",
    ExitCode.SHM_FULL: "/dev/shm is full",
    ExitCode.SOCKET_PATH_TOO_LONG: "the socket's path is longer than 107 bytes",
    ExitCode.SOCKET_TAKEN: "another daemon, or something that is not a socket, has the socket's path",
    ExitCode.INSTANCE_TAKEN: "a daemon with this instance name runs already",
    ExitCode.NO_PERMISSION: "no permission, or not the role for it",
    ExitCode.BAD_CONFIGURATION: "the configuration is not valid",
    ExitCode.IRQ_CANNOT_START: "idxdd-irq cannot start",
    ExitCode.DAEMON_ABSENT: "no daemon at the socket, or it went away",
    ExitCode.COMMAND_NOT_EXECUTABLE: "idxdd run, sweep: the command cannot be executed",
    ExitCode.COMMAND_NOT_FOUND: "idxdd run, sweep: the command was not found",
}
