"""Memory files: what a client is given, it can neither resize nor, where it may only read, write."""

import ctypes
import errno
import fcntl
import mmap
import os

import pytest

import idxdd.native as native
from idxdd.native import Words
from idxdd.shm import memfd
from idxdd.shm.errors import SharedMemoryFull

SIZE = 8192


@pytest.fixture
def fds():
    """Closed at the end, whatever happens."""
    opened: list[int] = []
    yield opened
    for fd in opened:
        os.close(fd)


def test_a_client_cannot_resize_what_we_map(fds):
    """A truncated file would be a SIGBUS in the engine."""
    fds.append(fd := memfd.create("portal", SIZE))
    for size in (0, SIZE - 4096, SIZE + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        os.posix_fallocate(fd, 0, SIZE + 4096)
    assert os.fstat(fd).st_size == SIZE
    assert memfd.seals(fd) & memfd.SEALS == memfd.SEALS


def test_a_client_cannot_add_seals(fds):
    """F_SEAL_WRITE by a client would make our next writable mapping fail."""
    fds.append(fd := memfd.create("portal", SIZE))
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_memory_is_reserved_and_zero(fds):
    """No store into it can fail later."""
    fds.append(fd := memfd.create("portal", SIZE))
    assert os.fstat(fd).st_blocks * 512 >= SIZE
    assert os.pread(fd, SIZE, 0) == bytes(SIZE)


def test_files_are_private_and_closed_on_exec(fds):
    """0600: /proc/PID/fd of a read-only file would else open it for writing to any user."""
    fds.append(fd := memfd.create("portal", SIZE))
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    fds.append(reader := memfd.read_only(fd))
    assert not os.get_inheritable(reader)


def test_a_read_only_fd_is_read_only(fds):
    """Client's end of a device page: reads what we write, maps nothing writable."""
    fds.append(fd := memfd.create("device page", SIZE))
    fds.append(reader := memfd.read_only(fd))
    with memfd.map_shared(fd, SIZE) as window, memfd.map_shared(reader, SIZE, writable=False) as view:
        words, seen = Words(window), Words(view)
        words.store64(64, 42)
        assert seen.load64(64) == 42
        with pytest.raises(TypeError):
            seen.store64(64, 1)
        words.release()
        seen.release()
    with pytest.raises(PermissionError):
        mmap.mmap(reader, SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(OSError, match="Bad file"):
        os.pwrite(reader, b"x", 0)


def test_published_pages_cannot_be_written_by_anyone_else(fds):
    """Sealed against future writers: even the same user who reopens the file gets no writable mapping."""
    fd, window = memfd.create_published("published", SIZE)
    fds.append(fd)
    with window:
        window[0] = 7
        fds.append(again := os.open(f"/proc/self/fd/{fd}", os.O_RDWR))
        with pytest.raises(PermissionError):
            mmap.mmap(again, SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(again, 0)
        window[1] = 8
        with memfd.map_shared(fd, SIZE, writable=False) as view:
            assert (view[0], view[1]) == (7, 8)


def test_a_read_only_mapping_stays_read_only(fds):
    """mprotect must not open what the file descriptor closed."""
    fds.append(fd := memfd.create("device page", SIZE))
    fds.append(reader := memfd.read_only(fd))
    libc = ctypes.CDLL(None, use_errno=True)
    address = native.map_shared(reader, SIZE, False)
    try:
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), mmap.PROT_READ | mmap.PROT_WRITE) == -1
        assert ctypes.get_errno() == errno.EACCES
    finally:
        native.unmap(address, SIZE)


@pytest.mark.parametrize("make", [memfd.create, memfd.create_published])
def test_no_room_is_a_named_error_and_leaks_no_fd(make, monkeypatch):
    """A client that asks for too much must not cost the daemon its descriptors."""
    before = os.listdir("/proc/self/fd")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SharedMemoryFull, match="memory file buffer"):
        make("buffer", SIZE)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_older_kernel_without_noexec_is_served(fds, monkeypatch):
    """MFD_NOEXEC_SEAL is younger than what we support."""
    original = os.memfd_create

    def old(name: str, flags: int) -> int:
        if flags & memfd.MFD_NOEXEC_SEAL:
            raise OSError(errno.EINVAL, "Invalid argument")
        return original(name, flags)

    monkeypatch.setattr(os, "memfd_create", old)
    fds.append(fd := memfd.create("portal", SIZE))
    assert memfd.seals(fd) == memfd.SEALS
