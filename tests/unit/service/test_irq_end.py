"""idxdd-irq ends at once when it is told to, also while it waits for a device whose loop has ended already."""

import os
import select
import socket
from collections.abc import Iterator

import pytest
from waiting import wait_until

from idxdd.service.irq_main import Process, ToldToEnd
from idxdd.shm.mmio import MMIO_SIZE, DriverMmio, WaitPolicy
from idxdd.spec.limits import BAR0_BYTES_MIN
from idxdd.spec.registers import CMD


@pytest.fixture
def ends() -> Iterator[tuple[Process, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = Process(theirs.detach(), os.getpid())
    yield process, ours
    process.close()
    ours.close()


def test_a_wait_for_posted_writes_ends_with_the_link(ends: tuple[Process, socket.socket]) -> None:
    """The supervisor killed it after two seconds: nobody applied its writes, and it looked at nothing else for five."""
    process, daemon = ends
    process._endings.register(process.link.sock, 0)
    mmio = DriverMmio(
        bytearray(BAR0_BYTES_MIN), bytearray(MMIO_SIZE), lambda: None, wait=WaitPolicy(timeout_s=60),
        before_sleep=process._end_if_told,
    )  # fmt: skip
    process._end_if_told()
    mmio.write32(CMD.offset, 1)
    daemon.close()
    wait_until(lambda: bool(process._endings.poll(0)), 10, "the link's end is seen")
    with pytest.raises(ToldToEnd):
        mmio.settle()
    mmio.close()


def test_a_signal_ends_the_wait_too(ends: tuple[Process, socket.socket]) -> None:
    """SIGTERM writes to the pipe that the loop watches."""
    process, _ = ends
    read, write = os.pipe()
    process._endings.register(read, select.POLLIN)
    process._end_if_told()
    os.write(write, b"!")
    with pytest.raises(ToldToEnd):
        process._end_if_told()
    os.close(read)
    os.close(write)
