"""Names, the instance lock, and the sweep: one daemon per name, and nothing of a dead one stays."""

import os
import socket
from pathlib import Path

import posix_ipc
import pytest
from child import Child

from idxdd.shm import names
from idxdd.shm.errors import BadInstanceName, ForeignName, InstanceTaken, SharedMemoryFull
from idxdd.shm.names import InstanceLock, names_left, sweep_instance
from idxdd.shm.segment import Segment

HOLDER = """
import sys
from pathlib import Path
from idxdd.shm.bells import Vectors
from idxdd.shm.names import InstanceLock
from idxdd.shm.segment import Segment
import socket
lock = InstanceLock(sys.argv[1])
segment = Segment.create(lock.names.of("dsa0.bar0"), 65536)
vectors = Vectors([lock.names.of("dsa0.v0"), lock.names.of("dsa0.v1")])
if len(sys.argv) > 2:
    lock.record_sockets(Path(sys.argv[2]))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(sys.argv[2])
    listening.listen()
print(lock.generation, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(instance):
    """A second instance name, swept afterwards: only `instance` is looked after by everyone."""
    name = f"{instance}-b"[:32]
    yield name
    sweep_instance(os.geteuid(), name)
    assert names_left(name) == []


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a b", "ä", "x" * 33, "../x", "a\n", "\0"])
def test_bad_instance_names_are_refused(name):
    """A dot or a slash would make the name of another instance, or a path."""
    with pytest.raises(BadInstanceName):
        InstanceLock(name)


def test_names_carry_user_instance_and_generation(instance):
    """Two generations and two users never meet."""
    with InstanceLock(instance) as lock:
        assert lock.names.of("dsa0.bar0") == f"/idxdd.{os.geteuid()}.{instance}.{lock.generation}.dsa0.bar0"


def test_only_one_daemon_of_a_name(instance):
    """The second one is told who the first is."""
    with Child(HOLDER, instance) as child:
        child.line()
        with pytest.raises(InstanceTaken) as caught:
            InstanceLock(instance)
        assert (caught.value.instance, caught.value.pid) == (instance, child.process.pid)
        assert str(child.process.pid) in str(caught.value)
        assert "\n" not in str(caught.value)
        child.kill()
        with InstanceLock(instance) as lock:
            lock.sweep()


def test_generation_grows_at_each_start(instance):
    """A survivor of the last generation must notice; also when the counter itself was removed in between."""
    seen = []
    for _ in range(3):
        with InstanceLock(instance) as lock:
            seen.append(lock.generation)
    with Child(HOLDER, instance) as child:
        seen.append(int(child.line()))
        child.kill()
    with InstanceLock(instance) as lock:
        seen.append(lock.generation)
        lock.sweep()
    assert seen == sorted(seen)
    assert len(set(seen[2:])) == len(seen[2:])


def test_generation_grows_when_the_wall_clock_stands_or_goes_back(instance, monkeypatch):
    """The counter in the lock decides, where there is one."""
    with Child(HOLDER, instance) as child:
        generation = int(child.line())
        child.kill()
    monkeypatch.setattr(names.time, "time_ns", lambda: 0)
    with InstanceLock(instance) as lock:
        assert lock.generation == generation + 1
        lock.sweep()


def test_killed_instance_is_swept_by_its_next_start(instance, tmp_path):
    """kill -9 leaves a segment, semaphores and a socket; the next start of the same name removes them, not its own lock."""
    path = tmp_path / "s"
    with Child(HOLDER, instance, path) as child:
        generation = int(child.line())
        child.kill()
    left = names_left(instance)
    assert f"idxdd.{os.geteuid()}.{instance}.{generation}.dsa0.bar0" in left
    assert f"sem.idxdd.{os.geteuid()}.{instance}.{generation}.dsa0.v1" in left
    assert path.exists()
    with InstanceLock(instance) as lock:
        lock.sweep()  # unless another worker's daemon was faster
        assert names_left(instance) == [f"idxdd.{os.geteuid()}.{instance}.lock"]
        assert not path.exists()
    assert names_left(instance) == []


def test_killed_instance_is_swept_by_any_start_and_a_live_one_is_not(instance, other, tmp_path):
    """A private instance that was killed must not fill /dev/shm for ever; a live one must not notice."""
    path = tmp_path / "s"
    third = f"{instance}-c"[:32]
    with Child(HOLDER, other, path) as dead, Child(HOLDER, third) as live:
        dead.line()
        live.line()
        dead.kill()
        before = names_left(third)
        with InstanceLock(instance) as lock:
            lock.sweep()  # unless another worker's daemon was faster
        assert names_left(other) == []
        assert not path.exists()
        assert names_left(third) == before
        assert len(before) == 4
        live.kill()
        assert len(sweep_instance(os.geteuid(), third)) == 4


def test_sweep_keeps_a_socket_that_someone_listens_on_and_what_is_no_socket(instance, tmp_path):
    """The path may have been given to a live daemon since, or to a file of the user."""
    taken, file = tmp_path / "taken", tmp_path / "file"
    file.write_text("mine")
    program = """
import sys
from pathlib import Path
from idxdd.shm.names import InstanceLock
lock = InstanceLock(sys.argv[1])
lock.record_sockets(*map(Path, sys.argv[2:]))
print("ready", flush=True)
sys.stdin.read()
"""
    with Child(program, instance, taken, file) as child:
        child.line()
        child.kill()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(taken))
        listening.listen()
        with InstanceLock(instance) as lock:
            removed = [name for name in lock.sweep() if instance in str(name)]  # others may have left something, too
        assert removed == []
    assert taken.exists()
    assert file.read_text() == "mine"


def test_another_users_names_are_never_touched(instance):
    """The uid in the name is part of the name: we neither remove nor lock it."""
    foreign = f"/idxdd.{os.geteuid() + 1}.{instance}.1.dsa0.bar0"
    segment = posix_ipc.SharedMemory(foreign, posix_ipc.O_CREX, mode=0o600)
    os.close(segment.fd)
    try:
        with InstanceLock(instance) as lock:
            lock.sweep()
        assert Path("/dev/shm", foreign[1:]).exists()
    finally:
        posix_ipc.unlink_shared_memory(foreign)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_names_squatted_by_another_user_are_refused(instance):
    """Anyone may create files in /dev/shm: a lock that is not ours is no lock."""
    path = Path("/dev/shm", f"idxdd.0.{instance}.lock")
    path.touch()
    os.chown(path, 12345, 12345)
    try:
        with pytest.raises(ForeignName, match=r"12345|someone else"):  # fs.protected_regular decides how far we get
            InstanceLock(instance)
        assert sweep_instance(0, instance) == []
        assert path.exists()
    finally:
        path.unlink()


def test_a_lock_unlinked_while_we_opened_it_is_noticed(instance, monkeypatch):
    """Else two daemons would hold "the" lock: one of a name, one of a file without a name."""
    original, opened = names._open_lock, []

    def open_then_lose_it(name: str) -> int:
        fd = original(name)
        opened.append(os.fstat(fd).st_ino)
        if len(opened) == 1:
            posix_ipc.unlink_shared_memory(name)
            other = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600)
            os.close(other.fd)
        return fd

    monkeypatch.setattr(names, "_open_lock", open_then_lose_it)
    with InstanceLock(instance) as lock:
        assert len(opened) == 2
        assert os.fstat(lock._fd).st_ino == Path("/dev/shm", f"idxdd.{lock.uid}.{instance}.lock").stat().st_ino


def test_a_start_waits_for_a_sweep(instance):
    """A sweeper holds the lock of a dead instance for a moment; that is not a second daemon, though its pid is in there."""
    with Child(HOLDER, instance) as dead:
        dead.line()
        dead.kill()
    program = """
import os, sys
from idxdd.shm import names
fd = names._lock(os.geteuid(), sys.argv[1], 0)
print("ready", flush=True)
sys.stdin.readline()
for file in names.names_left(sys.argv[1]):
    os.unlink("/dev/shm/" + file)
"""
    with Child(program, instance) as sweeper:
        sweeper.line()
        looks = 0
        original = names.CLOCK.sleep

        def look(seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                sweeper.say("go")
            original(seconds)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(names, "LOCK_WAIT_S", 10)
            patch.setattr(names, "HOLDER_WAIT_S", 0)
            patch.setattr(type(names.CLOCK), "sleep", lambda _, seconds: look(seconds))
            with InstanceLock(instance):
                assert looks >= 1
    assert names_left(instance) == []


def test_many_starts_at_once_make_one_daemon(instance):
    """Eight processes race for a name, beside the sweep of one that was killed; exactly one wins each round."""
    program = """
import sys
from idxdd.shm.errors import InstanceTaken
from idxdd.shm import names
sys.stdin.readline()
try:
    lock = names.InstanceLock(sys.argv[1])
    lock.sweep()
    print("won", flush=True)
except InstanceTaken as error:
    print("taken", flush=True)
sys.stdin.read()
"""
    children = [Child(program, instance) for _ in range(8)]
    try:
        for child in children:
            child.say("go")
        assert sorted(child.line() for child in children) == ["taken"] * 7 + ["won"]
    finally:
        for child in children:
            child.kill()
            child.__exit__(None, None, None)
        sweep_instance(os.geteuid(), instance)


def test_a_forked_child_does_not_give_the_lock_away(instance):
    """A child that runs our exit path must not unlink what its parent still holds."""
    program = """
import os, sys
from idxdd.shm.names import InstanceLock, names_left
lock = InstanceLock(sys.argv[1])
pid = os.fork()
if pid == 0:
    lock.release()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(names_left(sys.argv[1])), flush=True)
sys.stdin.read()
lock.release()
"""
    with Child(program, instance) as holder:
        assert holder.line() == "0 1"
        with pytest.raises(InstanceTaken):
            InstanceLock(instance)
        assert holder.finish() == 0


def test_a_full_shared_memory_leaves_no_lock_behind(instance, monkeypatch):
    """One clear error, and no half-made name."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SharedMemoryFull, match="no room"):
        InstanceLock(instance)
    assert names_left(instance) == []


def test_the_lock_is_private_under_any_umask(instance):
    """umask 0777 would make a lock that its own user cannot open again; 0 one that others can."""
    program = """
import os, sys
from idxdd.shm.names import InstanceLock
os.umask(int(sys.argv[2], 8))
lock = InstanceLock(sys.argv[1])
print(oct(os.stat(f"/dev/shm/idxdd.{lock.uid}.{sys.argv[1]}.lock").st_mode & 0o7777), oct(os.umask(0)), flush=True)
lock.release()
"""
    for umask in ("777", "000"):
        with Child(program, instance, umask) as child:
            assert child.line() == f"0o600 {oct(int(umask, 8))}"
            assert child.finish() == 0


def test_segments_of_a_generation_go_with_it(instance):
    """The sweep under our own lock is what makes a fixed name safe to create exclusively."""
    with InstanceLock(instance) as lock, Segment.create(lock.names.of("driver"), 4096):
        assert len(names_left(instance)) == 2
    assert names_left(instance) == []
