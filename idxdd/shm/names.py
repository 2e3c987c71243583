"""Names of an instance, the lock that makes it the only one, and the sweep of what dead ones left.

Who writes what  the lock segment is written by whoever holds its flock: generation, pid, sockets.
Order            the lock is taken before the first name of an instance is created and is unlinked after the last
                 one is gone. So names without a holder of the lock belong to nobody, and only a holder may unlink.
Race             a lock that was unlinked between open and flock locks nothing: the name is compared with what was
                 locked, and taken anew.
Limits           an instance name has 1 to 32 of a-z A-Z 0-9 - _ ; it cannot hold the dot that separates names.
Crash            the kernel drops the flock with its last holder; pid and generation stay readable.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import posix_ipc

from idxdd.shm.clock import CLOCK
from idxdd.shm.errors import BadInstanceName, ForeignName, InstanceTaken, SharedMemoryFull

SHM_DIR: Final = Path("/dev/shm")  # where glibc and musl keep shared memory and named semaphores
INSTANCE_DEFAULT: Final = "default"
LOCK_WAIT_S: Final = 2.0  # a sweep holds a dead instance's lock for milliseconds, on a busy machine for longer
HOLDER_WAIT_S: Final = 0.25  # enough where the process that wrote its pid into the lock is alive
LOCK_SIZE: Final = 4096

_INSTANCE_RULE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_OUR_FILE: Final = re.compile(r"(?P<semaphore>sem\.)?idxdd\.(?P<uid>\d+)\.(?P<instance>[A-Za-z0-9_-]{1,32})\.(?P<rest>.+)")
_LOCK_HEAD: Final = struct.Struct("=QQH")  # generation, pid of the holder (0: none), bytes of socket paths that follow
_PERMISSIONS: Final = 0o600


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """What is created inside gets exactly mode 0600, whatever the umask was: a later open by this user must succeed."""
    previous = os.umask(0o777 & ~_PERMISSIONS)
    try:
        yield
    finally:
        os.umask(previous)


def check_instance(instance: str) -> str:
    """The name itself, if it is one."""
    if not _INSTANCE_RULE.fullmatch(instance):
        raise BadInstanceName(f"instance {instance[:64]!r}: a name has 1 to 32 letters, digits, '-' or '_'")
    return instance


@dataclass(frozen=True)
class Names:
    """What one generation of one instance calls its segments and semaphores, for example .of("dsa0.bar0")."""

    uid: int
    instance: str
    generation: int

    def of(self, what: str) -> str:
        return f"/idxdd.{self.uid}.{self.instance}.{self.generation}.{what}"


class InstanceLock:
    """Being the only daemon of that name: taken for life, generation counted up. Raises InstanceTaken."""

    def __init__(self, instance: str = INSTANCE_DEFAULT) -> None:
        self.instance = check_instance(instance)
        self.uid = os.geteuid()
        self._pid = os.getpid()
        self._fd = _lock(self.uid, instance, wait_s=LOCK_WAIT_S)
        try:
            with _errors_named(f"locking instance {instance!r}"):
                os.posix_fallocate(self._fd, 0, LOCK_SIZE)
            last = _read_head(self._fd)
            self.names = Names(self.uid, instance, _generation_after(last.generation))
            self._write_head(last.sockets)  # kept until swept
        except BaseException:
            self.release()
            raise

    @property
    def generation(self) -> int:
        return self.names.generation

    def record_sockets(self, *paths: Path) -> None:
        """Before they are bound: socket files to remove should this process be killed."""
        self._write_head(paths)

    def _write_head(self, sockets: Iterable[Path]) -> None:
        paths = b"\0".join(os.fsencode(path.absolute()) for path in sockets)
        assert len(paths) <= LOCK_SIZE - _LOCK_HEAD.size
        os.pwrite(self._fd, _LOCK_HEAD.pack(self.generation, self._pid, len(paths)) + paths, 0)

    def sweep(self) -> list[str]:
        """At start, before anything is created: remove what earlier runs of this instance and dead ones left."""
        removed = _remove_sockets(_read_head(self._fd).sockets) + _remove_names(self.uid, self.instance)
        self._write_head(())
        for instance in sorted(_instances_left(self.uid) - {self.instance}):
            removed += sweep_instance(self.uid, instance)
        return removed

    def release(self) -> None:
        """Last of all: the lock's own name goes, then the lock. Idempotent; does nothing in a forked child."""
        if self._fd < 0:
            return
        if os.getpid() == self._pid:
            _unlink(SHM_DIR / _lock_name(self.uid, self.instance)[1:])
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def sweep_instance(uid: int, instance: str) -> list[str]:
    """Remove all an instance left, if its flock is free: segments, semaphores, sockets, last its lock."""
    try:
        fd = _lock(uid, instance, wait_s=0)
    except (InstanceTaken, ForeignName):
        return []
    try:
        removed = _remove_sockets(_read_head(fd).sockets)
        removed += _remove_names(uid, instance)
        return removed + _unlink(SHM_DIR / _lock_name(uid, instance)[1:])
    finally:
        os.close(fd)


# ---- the lock segment ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Head:
    generation: int
    pid: int
    sockets: tuple[Path, ...]


def _read_head(fd: int) -> _Head:
    """What the last holder wrote; a lock that nobody has written yet reads as zeros."""
    raw = os.pread(fd, LOCK_SIZE, 0).ljust(LOCK_SIZE, b"\0")
    generation, pid, size = _LOCK_HEAD.unpack_from(raw)
    sockets = raw[_LOCK_HEAD.size :][:size].split(b"\0")
    return _Head(generation, pid, tuple(Path(os.fsdecode(path)) for path in sockets if path.startswith(b"/")))


def _generation_after(last: int) -> int:
    """Counts up, also where a sweep or a clean end has removed the counter: it starts from the wall clock, in ms."""
    return max(last + 1, time.time_ns() // 1_000_000)


def _lock_name(uid: int, instance: str) -> str:
    return f"/idxdd.{uid}.{instance}.lock"


def _lock(uid: int, instance: str, wait_s: float) -> int:
    """An fd that holds the flock of a segment that still has its name; the fd is not inherited at exec."""
    name = _lock_name(uid, instance)
    sweeper_gone = CLOCK.deadline(wait_s)
    holder_gone = CLOCK.deadline(min(wait_s, HOLDER_WAIT_S))
    while True:
        fd = _open_lock(name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_head(fd).pid or None
            os.close(fd)
            if (holder_gone if pid and _is_alive(pid) else sweeper_gone).expired:
                raise InstanceTaken(instance, pid) from None
            CLOCK.sleep(0.005)
            continue
        if _still_named(fd, name):
            return fd
        os.close(fd)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _open_lock(name: str) -> int:
    with _errors_named(f"lock {name}"), private_umask():
        segment = posix_ipc.SharedMemory(name, posix_ipc.O_CREAT, mode=_PERMISSIONS)
    fd: int = segment.fd
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        os.close(fd)
        raise ForeignName(f"lock {name} belongs to uid {status.st_uid}")
    return fd


def _still_named(fd: int, name: str) -> bool:
    try:
        named = os.stat(SHM_DIR / name[1:], follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), named)


@contextlib.contextmanager
def _errors_named(doing: str) -> Iterator[None]:
    try:
        yield
    except posix_ipc.PermissionsError:
        raise ForeignName(f"{doing}: it exists and belongs to someone else") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG):
            raise
        raise SharedMemoryFull(f"{doing}: no room in {SHM_DIR} ({error.strerror})") from error


# ---- what is left ----------------------------------------------------------------------------------------------------


def _files_of(uid: int) -> Iterator[re.Match[str]]:
    for file in os.listdir(SHM_DIR):
        match = _OUR_FILE.fullmatch(file)
        if match and match["uid"] == str(uid):
            yield match


def _instances_left(uid: int) -> set[str]:
    return {match["instance"] for match in _files_of(uid)}


def names_left(instance: str, uid: int | None = None) -> list[str]:
    """Files in /dev/shm that an instance of this user has now, its lock included."""
    uid = os.geteuid() if uid is None else uid
    return sorted(match.string for match in _files_of(uid) if match["instance"] == instance)


def _remove_names(uid: int, instance: str) -> list[str]:
    lock = _lock_name(uid, instance)[1:]
    return [name for file in names_left(instance, uid) if file != lock for name in _unlink(SHM_DIR / file)]


def _unlink(path: Path) -> list[str]:
    """Remove a name if it is this user's; the name, when it was removed."""
    try:
        if path.lstat().st_uid != os.geteuid():
            return []
        path.unlink()
    except FileNotFoundError:
        return []
    return [path.name]


def _remove_sockets(paths: Iterable[Path]) -> list[str]:
    """Socket files nobody listens on any more: another instance may have been given the same path since."""
    return [name for path in paths if _is_dead_socket(path) for name in _unlink(path)]


def _is_dead_socket(path: Path) -> bool:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
