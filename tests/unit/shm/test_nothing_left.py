"""The suite's own guard: what a test leaves behind is found and removed."""

import os
import signal
from pathlib import Path

import conftest
from child import Child

from idxdd.shm.names import InstanceLock, names_left

LEAVER = """
import os, subprocess, sys
from idxdd.shm.names import InstanceLock
from idxdd.shm.segment import Segment
lock = InstanceLock(sys.argv[1])
Segment.create(lock.names.of("driver"), 4096)
orphan = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env=os.environ | {"OF": sys.argv[1]},
                          start_new_session=True)
print(orphan.pid, flush=True)
os._exit(0)
"""


def test_a_segment_and_an_orphan_are_found_and_removed(instance, wait_until):
    """An orphan in a session of its own is nobody's child any more: it is known by the instance it was started for."""
    with Child(LEAVER, instance) as child:
        orphan = int(child.line())
        assert child.finish() == 0
    wait_until(lambda: instance.encode() in Path(f"/proc/{orphan}/environ").read_bytes())
    left = conftest._left(instance, set())
    assert len(left) == 3
    assert any(entry.startswith(f"process {orphan} ") for entry in left)
    assert any(entry.endswith(".driver") for entry in left)
    conftest._remove(instance, set())
    wait_until(lambda: not conftest._left(instance, set()))


def test_a_child_that_forgot_its_name_is_found(instance):
    """A client started by a test carries no instance; it is our child all the same."""
    before = {process.pid for process in conftest._children()}
    with Child("import sys; print(1, flush=True); sys.stdin.read()") as child:
        child.line()
        assert [process.pid for process in conftest._processes(instance, before)] == [child.process.pid]
        os.kill(child.process.pid, signal.SIGTERM)
        child.process.wait(10)
    assert conftest._left(instance, before) == []


def test_what_is_held_is_not_removed(instance):
    """Removing a leak must not take a live instance's names."""
    with InstanceLock(instance):
        conftest._remove(instance, set())
        assert len(names_left(instance)) == 1
