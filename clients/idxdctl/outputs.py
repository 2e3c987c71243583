"""Files that commands write: there whole or not at all, whatever happens to the command.

A file is written without a name (O_TMPFILE), which a kill takes away, and gets its name when it is done. Where a file system
has no such files it has a hidden name meanwhile; one that a killed command left is removed by the next command to that place.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from collections.abc import Iterator

from idxdctl.output import Failed
from idxdctl.sizes import format_size
from idxdd.control.exitcodes import ExitCode

FILE_BYTES_MAX = 2**63 - 1
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Errors of write, which knows no name."""
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


def check_source(path: str, what: str) -> int:
    """Bytes of a regular file. Failed: there is none."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise Failed(f"{what}: {path}: {error.strerror}", ExitCode.USAGE) from None
    if not stat.S_ISREG(found.st_mode):
        raise Failed(f"{what}: {path}: not a regular file", ExitCode.USAGE)
    return found.st_size


def check_destination(path: str, what: str, *sources: str) -> None:
    """Failed: what is there is no regular file, or is one of the sources."""
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise Failed(f"{what}: {path}: exists and is not a regular file", ExitCode.USAGE)
    for source in sources:
        if os.path.exists(source) and os.path.samefile(path, source):
            raise Failed(f"{what}: {source} and {path} are the same file", ExitCode.USAGE)


def check_room(path: str, size: int, what: str) -> None:
    """Failed: a file of `size` bytes does not fit beside what is at the path, which stays until the new one is whole."""
    if size > FILE_BYTES_MAX:
        raise Failed(f"{what}: {path}: {size} bytes are more than a file can have, {FILE_BYTES_MAX}", ExitCode.USAGE)
    try:
        found = os.statvfs(os.path.dirname(os.path.realpath(path)))
    except OSError as error:
        raise Failed(f"{what}: {path}: {error.strerror}", ExitCode.USAGE) from None
    free = found.f_bavail * found.f_frsize
    if size > free:
        raise Failed(f"{what}: {path}: {format_size(size)} do not fit, its file system has {format_size(free)} free")


@contextlib.contextmanager
def written(path: str) -> Iterator[int]:
    """A file descriptor to write what shall become `path`; it does if the block ends well, and else nothing has changed."""
    target, path = path, os.path.realpath(path)
    remove_stale(path)
    hidden = _hidden(path, os.getpid())
    fd = _open(path, hidden)
    try:
        with contextlib.suppress(FileNotFoundError):
            _as_before(fd, os.stat(path))
        yield fd
        if not os.fstat(fd).st_nlink:
            # with a dir_fd Python calls linkat, which alone follows the link in /proc
            os.link(f"/proc/self/fd/{fd}", hidden, src_dir_fd=fd, follow_symlinks=True)
        os.replace(hidden, path)
    except OSError as error:
        if (error.errno in _NOT_WRITTEN and error.filename is None) or hidden in (error.filename, error.filename2):
            raise OSError(error.errno, error.strerror, target) from None
        raise
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)


def _as_before(fd: int, before: os.stat_result) -> None:
    """Mode, and owner where we may give files away."""
    with contextlib.suppress(PermissionError):
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode))


def _open(path: str, hidden: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(os.path.dirname(path), flags | os.O_TMPFILE, 0o666)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise OSError(error.errno, error.strerror, path) from None
    try:
        return os.open(hidden, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _hidden(path: str, pid: int | str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.idxdctl-{pid}")


def remove_stale(path: str) -> None:
    """What commands that were killed left beside `path`."""
    pattern = _hidden(glob.escape(path), "*")
    for left in glob.glob(pattern, include_hidden=True):
        pid = left.rpartition("-")[2]
        if pid.isdecimal() and (pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}")):
            with contextlib.suppress(OSError):
                os.unlink(left)


def write_all(fd: int, view: memoryview, offset: int, name: str | None = None) -> None:
    """All of it at this place. OSError with the name; without one `written` gives it its own."""
    put = 0
    try:
        while put < len(view):
            put += os.pwrite(fd, view[put:], offset + put)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None


def read_all(fd: int, view: memoryview, offset: int, name: str) -> None:
    """All of it from this place; OSError when the file has become shorter."""
    got = 0
    while got < len(view):
        count = os.preadv(fd, [view[got:]], offset + got)
        if not count:
            raise OSError(0, "became shorter while it was read", name)
        got += count
