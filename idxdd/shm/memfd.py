"""Sealed memory files: what the daemon makes and clients map.

Who writes what  made by the daemon only; it never maps a file that a client made.
Order            reserve, seal, map, and only then pass on: nobody can shrink a file under our feet (SIGBUS) afterwards.
Limits           mode 0600, so that a read-only fd cannot be reopened for writing by another user through /proc.
"""

import fcntl
import mmap
import os
from typing import Final

from idxdd.shm.segment import reserve

SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
F_SEAL_FUTURE_WRITE: Final = 0x0010  # linux/fcntl.h, since 5.1; Python names it from 3.13 on
MFD_NOEXEC_SEAL: Final = 0x0008  # since 6.3, and demanded by vm.memfd_noexec=2


def create(name: str, size: int, seals: int = SEALS) -> int:
    """A file of that size, memory reserved, sealed; close-on-exec. Raises SharedMemoryFull."""
    fd = _memfd(name)
    try:
        os.fchmod(fd, 0o600)
        reserve(fd, size, f"memory file {name}")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_published(name: str, size: int) -> tuple[int, mmap.mmap]:
    """A file only we can ever write: (fd, our writable map, made before the seal against future writers)."""
    fd = create(name, size, 0)
    try:
        window = map_shared(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS | F_SEAL_FUTURE_WRITE)
    except BaseException:
        os.close(fd)
        raise
    return fd, window


def map_shared(fd: int, size: int, *, writable: bool = True) -> mmap.mmap:
    """Map a file of ours, pre-faulted; size in bytes."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=protection)


def read_only(fd: int) -> int:
    """Another fd for the same file that cannot be written or mapped for writing: this one goes to a client."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def seals(fd: int) -> int:
    """F_SEAL_* bits the file has."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)


def _memfd(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | MFD_NOEXEC_SEAL)
    except OSError:  # an older kernel does not know the flag
        return os.memfd_create(name, flags)


def create_unreserved(name: str) -> int:
    """An empty file without seals: a large one is grown piece by piece and sealed last, so that its maker never stalls."""
    fd = _memfd(name)
    os.fchmod(fd, 0o600)
    return fd


def grow(fd: int, start: int, size: int, what: str) -> None:
    """Reserve `size` more bytes from `start` on. Raises SharedMemoryFull."""
    reserve(fd, size, what, start=start)


def seal(fd: int, seals: int = SEALS) -> None:
    """No change of size from now on."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
