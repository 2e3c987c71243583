"""Bells: rung, they wake; not one of our ends can be made to block."""

import os
import select
import socket
from pathlib import Path

import posix_ipc
import pytest
from child import Child

from idxdd.shm.bells import Bell, Vectors, create_doorbell, create_wake_pair, watch_doorbell
from idxdd.shm.names import names_left


def test_rings_until_drained_are_one():
    """A bell says "look", not how often."""
    with Bell() as bell, select.epoll() as epoll:
        epoll.register(bell, select.EPOLLIN)
        assert epoll.poll(0) == []
        assert not bell.drain()
        bell.ring()
        bell.ring()
        assert len(epoll.poll(0)) == 1
        assert bell.drain()
        assert not bell.drain()
        assert epoll.poll(0) == []
        assert not os.get_inheritable(bell.fd)


def test_a_full_bell_does_not_block():
    """Whoever holds a copy can fill the counter; our ring must return."""
    with Bell() as bell:
        os.eventfd_write(bell.fd, 2**64 - 2)
        bell.ring()
        assert bell.drain()


def test_a_passed_bell_rings_the_same():
    """idxdd-irq gets the loop's eventfd by number."""
    with Bell() as bell:
        copy = Bell(os.dup(bell.fd))
        copy.ring()
        copy.close()
        copy.close()
        assert bell.drain()


def test_every_ring_of_a_doorbell_is_an_edge():
    """Never read: so a client cannot make the engine block, and still each write wakes it."""
    fd = create_doorbell()
    try:
        with select.epoll() as epoll:
            watch_doorbell(epoll, fd)
            for _ in range(3):
                os.eventfd_write(fd, 1)
                assert epoll.poll(0) == [(fd, select.EPOLLIN)]
                assert epoll.poll(0) == []
    finally:
        os.close(fd)


def fill(fd: int) -> int:
    """Write until refused; how many bytes that took."""
    for written in range(100_000):
        try:
            os.write(fd, b"\1")
        except BlockingIOError:
            return written
    raise AssertionError("never refused")


def test_a_client_that_never_reads_cannot_block_or_fill_us():
    """Our end of the wake pair: a write succeeds or is refused, at once, and little piles up."""
    ours, theirs = create_wake_pair()
    try:
        written = fill(ours)
        assert 0 < written < 64
        assert os.get_blocking(ours) is False
        os.set_blocking(theirs, True)
        assert os.get_blocking(ours) is False
        assert len(os.read(theirs, 100_000)) > 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_wake_reaches_the_client_and_an_end_is_noticed():
    """Readable after a byte; end of file after the daemon's death."""
    ours, theirs = create_wake_pair()
    try:
        with pytest.raises(BlockingIOError):
            os.read(theirs, 1)
        with socket.socket(fileno=ours) as device:
            device.send(b"\1", socket.MSG_NOSIGNAL)
            assert os.read(theirs, 16) == b"\1"
        assert os.read(theirs, 16) == b""
    finally:
        os.close(theirs)


@pytest.fixture
def semaphores(instance_lock):
    return [instance_lock.names.of(f"dsa0.v{vector}") for vector in range(3)]


def semaphore_files(instance: str) -> list[str]:
    return [name for name in names_left(instance) if name.startswith("sem.")]


def test_vectors_start_silent_and_reach_another_process(semaphores):
    """Posted here, waited for there, by name."""
    program = """
import posix_ipc, sys
vector = posix_ipc.Semaphore(sys.argv[1])
print("ready", flush=True)
vector.acquire(10)
print("interrupt", flush=True)
"""
    with Vectors(semaphores) as vectors:
        assert vectors.names == semaphores
        with Child(program, semaphores[1]) as waiter:
            assert waiter.line() == "ready"
            vector = posix_ipc.Semaphore(semaphores[1])
            assert vector.value == 0
            vector.release()
            assert waiter.line() == "interrupt"
            vector.close()


def test_vectors_are_unlinked_by_their_creator(semaphores, instance):
    """All of them, also when a sweep took one."""
    vectors = Vectors(semaphores)
    assert semaphore_files(instance) == sorted(f"sem.{name[1:]}" for name in semaphores)
    posix_ipc.unlink_semaphore(semaphores[1])
    vectors.close()
    vectors.close()
    assert semaphore_files(instance) == []


def test_a_taken_name_is_refused_and_nothing_is_left(semaphores, instance):
    """Exclusively: a semaphore that someone prepared could kill whoever waits on it."""
    with Vectors(semaphores[2:]):
        with pytest.raises(posix_ipc.ExistentialError):
            Vectors(semaphores)
        assert semaphore_files(instance) == [f"sem.{semaphores[2][1:]}"]
    assert not list(Path("/dev/shm").glob(f"sem.idxdd.*{instance}*"))
