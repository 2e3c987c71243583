"""The listening socket: made by us or handed over by systemd; its path is never taken from a living daemon.

Only the holder of the instance lock removes a stale socket, and only after a connect to it was refused.
"""

import contextlib
import errno
import os
import socket
import stat

from idxdd.control.address import SYSTEM_DIRECTORY, check_length
from idxdd.control.errors import PermissionDenied
from idxdd.control.exitcodes import ExitCode

BACKLOG = 128
_SD_LISTEN_FDS_START = 3


class SocketTaken(Exception):
    """Something else has this path; it is left alone."""

    exit_code = ExitCode.SOCKET_TAKEN


class Listener:
    """A listening SEQPACKET socket; closing removes the path if we made it and it is still ours."""

    def __init__(self, sock: socket.socket, path: str, inode: int | None) -> None:
        self.sock = sock
        self.path = path
        self._inode = inode

    def close(self) -> None:
        """Stop listening, remove the path. Idempotent."""
        self.sock.close()
        inode, self._inode = self._inode, None
        with contextlib.suppress(OSError):
            if inode is not None and os.lstat(self.path).st_ino == inode:
                os.unlink(self.path)


def listen(path: str) -> Listener:
    """Listen at `path`. SocketPathTooLong, SocketTaken, PermissionDenied, OSError."""
    handed = _from_systemd()
    if handed is not None:
        return Listener(handed, str(handed.getsockname()), None)
    check_length(path)
    try:
        _make_directory(os.path.dirname(path))
        remove_stale(path)
        return _bound(path)
    except PermissionError as error:
        raise PermissionDenied(f"no permission to listen at {path}: {error.strerror}") from None


def _bound(path: str) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    # A system daemon lets other users in (user role, roles.py); a user's own is that user's alone.
    mode = 0o666 if os.path.dirname(path) == SYSTEM_DIRECTORY else 0o600
    umask = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
        return Listener(sock, path, os.lstat(path).st_ino)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SocketTaken(f"socket {path} was taken meanwhile") from None
        raise
    finally:
        os.umask(umask)


def _make_directory(directory: str) -> None:
    system = directory == SYSTEM_DIRECTORY
    with contextlib.suppress(FileExistsError):
        os.makedirs(directory, mode=0o755 if system else 0o700)
    ours = directory == f"/tmp/idxdd-{os.geteuid()}"  # a name anyone may take first, also for a link to elsewhere
    found = os.lstat(directory) if ours else os.stat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionDenied(f"{directory} is not a directory")
    if found.st_uid not in (0, os.geteuid()):  # a predictable name in /tmp may have been made by somebody else
        raise PermissionDenied(f"directory {directory} belongs to uid {found.st_uid}, neither this user's nor root's")


def remove_stale(path: str, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> None:
    """A socket that nobody listens at any more is taken away. SocketTaken."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketTaken(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):  # a full backlog, or a socket of another type: it lives
                raise
    raise SocketTaken(f"another daemon listens at {path}")


def _from_systemd() -> socket.socket | None:
    """The socket of a .socket unit, if this process was activated by one."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    for fd in range(_SD_LISTEN_FDS_START, _SD_LISTEN_FDS_START + int(count)):
        os.set_inheritable(fd, False)
    sock = socket.socket(fileno=_SD_LISTEN_FDS_START)
    if (
        sock.family != socket.AF_UNIX
        or sock.type != socket.SOCK_SEQPACKET
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise SocketTaken(
            "the socket handed over by systemd is not a listening SOCK_SEQPACKET Unix socket (ListenSequentialPacket=)"
        )
    sock.setblocking(False)
    return sock
