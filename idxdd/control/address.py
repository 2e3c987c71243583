"""Where the control socket lies: IDXDD_SOCKET, else a directory of this user, else the system's."""

import os

from idxdd.control.errors import SocketPathTooLong

ENVIRONMENT = "IDXDD_SOCKET"
DEFAULT_INSTANCE = "default"
SYSTEM_DIRECTORY = "/run/idxdd"
PATH_BYTES_MAX = 107  # sockaddr_un.sun_path less its NUL


def runtime_directory() -> str:
    """The directory this user's daemons put their sockets in."""
    uid = os.geteuid()
    if uid == 0:
        return SYSTEM_DIRECTORY
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(runtime, "idxdd") if runtime else f"/tmp/idxdd-{uid}"


def daemon_socket_path(instance: str = DEFAULT_INSTANCE) -> str:
    """Where a daemon of this instance listens when neither --socket nor IDXDD_SOCKET says otherwise."""
    return os.environ.get(ENVIRONMENT) or os.path.join(runtime_directory(), f"{instance}.sock")


def client_socket_path(instance: str = DEFAULT_INSTANCE) -> str:
    """Where a client looks: its user's own daemon first, then the system's."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return named
    own = os.path.join(runtime_directory(), f"{instance}.sock")
    return own if os.path.exists(own) else os.path.join(SYSTEM_DIRECTORY, f"{instance}.sock")


def check_length(path: str) -> None:
    """SocketPathTooLong when the kernel cannot hold `path` (bytes in the file system's encoding)."""
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise SocketPathTooLong(f"socket path is {length} bytes long, at most {PATH_BYTES_MAX} fit: {path}")
