"""Named shared memory between processes of one user: register files, MMIO rings, driver state.

Who writes what  the creator sizes, fills and unlinks a segment; an opener never changes its size.
Order            reserve, then map, then touch: a full /dev/shm is an error here and not a SIGBUS later.
Limits           created exclusively, mode 0600 whatever the umask.
Crash            a name outlives its creator; the next start of any instance of this user sweeps it (names.py).
"""

import errno
import mmap
import os
from types import TracebackType
from typing import Final, Self

import posix_ipc

from idxdd.native import Words
from idxdd.shm.errors import ForeignName, SegmentGone, SegmentMismatch, SharedMemoryFull
from idxdd.shm.names import private_umask

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG})


class Segment:
    """A mapped segment; `buffer` and `words` are windows on it and end with it."""

    def __init__(self, name: str, fd: int, size: int, *, writable: bool, owner: bool) -> None:
        self.name = name
        self.size = size
        self._owner_pid = os.getpid() if owner else 0
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=protection)
        self.buffer = memoryview(self._map)
        self.words = Words(self.buffer)

    @classmethod
    def create(cls, name: str, size: int) -> Self:
        """Make it, exclusively, filled with zeros. Raises SharedMemoryFull; ForeignName if the name is there."""
        with private_umask():
            try:
                fd: int = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600).fd
            except posix_ipc.ExistentialError:
                raise ForeignName(f"creating segment {name}: the name exists already") from None
        try:
            reserve(fd, size, f"segment {name}")
            return cls(name, fd, size, writable=True, owner=True)
        except BaseException:
            posix_ipc.unlink_shared_memory(name)
            raise
        finally:
            os.close(fd)

    def descriptor(self) -> int:
        """Another descriptor of the segment; the caller's to close."""
        fd: int = posix_ipc.SharedMemory(self.name, 0).fd
        return fd

    @classmethod
    def open(cls, name: str, size: int, *, writable: bool = False) -> Self:
        """Map an existing one of exactly that size. Raises SegmentGone, SegmentMismatch, ForeignName."""
        try:
            fd: int = posix_ipc.SharedMemory(name, 0, read_only=not writable).fd
        except posix_ipc.ExistentialError:
            raise SegmentGone(f"opening segment {name}: it does not exist (has the daemon ended?)") from None
        except posix_ipc.PermissionsError:
            raise ForeignName(f"opening segment {name}: permission denied") from None
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid():
                raise ForeignName(f"opening segment {name}: it belongs to uid {status.st_uid}")
            if status.st_size != size:
                raise SegmentMismatch(f"opening segment {name}: {status.st_size} bytes, expected {size}")
            return cls(name, fd, size, writable=writable, owner=False)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Unlink (creator only), then unmap. BufferError while someone still holds a view: quiesce first. Idempotent."""
        if self._owner_pid == os.getpid():
            self._owner_pid = 0
            unlink_segment(self.name)
        self.words.release()
        self.buffer.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segment({self.name!r}, size={self.size})"


def reserve(fd: int, size: int, what: str, *, start: int = 0) -> None:
    """Give a new file its size and its memory, from `start` on. Raises SharedMemoryFull."""
    try:
        os.posix_fallocate(fd, start, size)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise SharedMemoryFull(f"creating {what}: no room for {size} bytes of shared memory ({error.strerror})") from error


def unlink_segment(name: str) -> None:
    """Unlink; that a sweep was faster is no error."""
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        return
