"""Named segments: private, reserved before they are used, never resized by who opens them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from child import Child

from idxdd.shm.errors import ForeignName, SegmentGone, SegmentMismatch, SharedMemoryFull
from idxdd.shm.names import names_left
from idxdd.shm.segment import Segment

SIZE = 64 * 1024


@pytest.fixture
def name(instance_lock):
    return instance_lock.names.of("dsa0.bar0")


def segments(instance: str) -> list[str]:
    """What is there of an instance beside its lock."""
    return [name for name in names_left(instance) if not name.endswith(".lock")]


def test_two_windows_show_the_same_words(name):
    """Creator and opener see each other's stores; the file is gone with its creator."""
    with Segment.create(name, SIZE) as mine:
        assert bytes(mine.buffer) == bytes(SIZE)
        with Segment.open(name, SIZE, writable=True) as other, Segment.open(name, SIZE) as reader:
            mine.words.store64(8, 1)
            other.words.store64(SIZE - 8, 2)
            assert (reader.words.load64(8), mine.words.load64(SIZE - 8)) == (1, 2)
            assert reader.buffer.readonly
            with pytest.raises(TypeError):
                reader.words.store32(0, 1)
        assert Path("/dev/shm", name[1:]).exists()
    assert not Path("/dev/shm", name[1:]).exists()


def test_memory_is_there_before_it_is_used(name):
    """Reserved: every block is allocated, so that no store can be a SIGBUS."""
    with Segment.create(name, SIZE):
        assert Path("/dev/shm", name[1:]).stat().st_blocks * 512 >= SIZE


def test_a_name_in_use_is_not_taken_over(name):
    """Exclusively created: whatever lies there may be someone else's trap."""
    with Segment.create(name, SIZE) as first:
        first.words.store32(0, 7)
        with pytest.raises(ForeignName, match="exists already"):
            Segment.create(name, SIZE)
        assert first.words.load32(0) == 7
        assert Path("/dev/shm", name[1:]).exists()


@pytest.mark.parametrize("expected", [SIZE - 4096, SIZE + 4096, 1])
def test_opening_checks_the_size_and_never_changes_it(name, expected):
    """A layout of another version must be an error, not a truncation under its user's feet."""
    with Segment.create(name, SIZE):
        with pytest.raises(SegmentMismatch, match=f"{SIZE} bytes, expected {expected}"):
            Segment.open(name, expected, writable=True)
        assert Path("/dev/shm", name[1:]).stat().st_size == SIZE


def test_opening_what_is_gone_is_a_named_error(name):
    """The daemon has ended: one line, not a traceback of posix_ipc."""
    with pytest.raises(SegmentGone, match="does not exist"):
        Segment.open(name, SIZE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_segment_of_another_user_is_refused(name):
    """Names can be guessed: a register file that someone else can write is none."""
    with Segment.create(name, SIZE):
        os.chown(Path("/dev/shm", name[1:]), 12345, 12345)
        with pytest.raises(ForeignName, match="12345"):
            Segment.open(name, SIZE)
        os.chown(Path("/dev/shm", name[1:]), os.geteuid(), os.getegid())


@pytest.mark.parametrize("umask", ["777", "077", "000"])
def test_mode_is_0600_whatever_the_umask(name, umask):
    """Also for the semaphores; and the umask is put back."""
    program = """
import os, sys
from idxdd.shm.segment import Segment
from idxdd.shm.bells import Vectors
umask = int(sys.argv[2], 8)
os.umask(umask)
file = sys.argv[1][1:]
with Segment.create(sys.argv[1], 4096), Vectors([sys.argv[1] + ".v0"]):
    modes = [oct(os.stat("/dev/shm/" + path).st_mode & 0o7777) for path in (file, f"sem.{file}.v0")]
print(*modes, os.umask(0) == umask, flush=True)
"""
    with Child(program, name, umask) as child:
        assert child.line() == "0o600 0o600 True"
        assert child.finish() == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EFBIG])
def test_no_room_is_a_named_error_and_leaves_no_name(name, instance, monkeypatch, number):
    """What would else be a SIGBUS in the middle of a register write."""

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SharedMemoryFull, match=f"{SIZE} bytes"):
        Segment.create(name, SIZE)
    assert segments(instance) == []


def test_other_failures_are_not_called_full(name, instance, monkeypatch):
    """EIO is not "no room"; the name goes all the same."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "posix_fallocate", broken)
    with pytest.raises(OSError, match="broken"):
        Segment.create(name, SIZE)
    assert segments(instance) == []


def test_a_limit_of_the_process_is_met_before_mapping(name, instance):
    """The kernel's own refusal (RLIMIT_FSIZE), in a process of its own."""
    program = """
import resource, sys
from idxdd.shm.errors import SharedMemoryFull
from idxdd.shm.segment import Segment
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
Segment.create(sys.argv[1], 8192).close()
try:
    Segment.create(sys.argv[1], 65536)
except SharedMemoryFull as error:
    print(error, flush=True)
"""
    with Child(program, name) as child:
        assert "no room for 65536 bytes" in child.line()
        assert child.finish() == 0
    assert segments(instance) == []


def namespaces() -> bool:
    """Whether this user may mount a /dev/shm of his own."""
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces(), reason="no mount namespaces here")
def test_a_really_full_dev_shm_is_an_error_and_not_a_sigbus(name):
    """A tmpfs of 64 KiB over /dev/shm in a namespace of its own."""
    program = """
import os, sys
from idxdd.shm.errors import SharedMemoryFull
from idxdd.shm.names import InstanceLock
from idxdd.shm.segment import Segment
fits = Segment.create(sys.argv[1] + ".fits", 32768)
fits.buffer[:] = b"x" * 32768
try:
    Segment.create(sys.argv[1], 65536)
except SharedMemoryFull:
    print("full", flush=True)
try:
    kept = [Segment.create(sys.argv[1] + str(i), 4096) for i in range(20)]
except SharedMemoryFull:
    print("full", flush=True)
try:
    InstanceLock("full")
except SharedMemoryFull:
    print("full", "idxdd.0.full.lock" in os.listdir("/dev/shm"), flush=True)
"""
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", program, name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["full", "full", "full", "False"]), done.stderr


def test_closing_waits_for_nobody_but_says_who_holds_on(name):
    """Quiesce, then unmap: a view that is still used keeps the mapping, and the name is gone in any case."""
    segment = Segment.create(name, SIZE)
    view = segment.buffer[0:8]
    with pytest.raises(BufferError):
        segment.close()
    assert not Path("/dev/shm", name[1:]).exists()
    view.release()
    segment.close()
    segment.close()


def test_a_killed_creator_leaves_a_name_that_a_sweep_removes(name, instance, instance_lock):
    """The name, nothing else, outlives a kill -9; the memory goes with the last mapping."""
    program = """
import sys
from idxdd.shm.segment import Segment
segment = Segment.create(sys.argv[1], 65536)
segment.words.store32(0, 77)
print("ready", flush=True)
sys.stdin.read()
"""
    with Child(program, name) as child:
        child.line()
        with Segment.open(name, SIZE) as reader:
            child.kill()
            assert segments(instance) == [name[1:]]
            assert name[1:] in instance_lock.sweep()
            assert reader.words.load32(0) == 77
    assert segments(instance) == []


def test_only_the_creator_unlinks(name):
    """idxdd-irq ends more often than idxdd: its exit must not take the register file's name away."""
    opener = """
import sys
from idxdd.shm.segment import Segment
with Segment.open(sys.argv[1], 65536, writable=True) as segment:
    segment.words.store32(4, 9)
"""
    with Segment.create(name, SIZE) as segment, Child(opener, name) as child:
        assert child.finish() == 0
        assert segment.words.load32(4) == 9
        Segment.open(name, SIZE).close()
