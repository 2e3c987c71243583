"""Kernel channels as idxdd keeps them for idxdd-irq's successors."""

import os
from collections.abc import Iterator

import pytest

from idxdd.service.portals import Channel, Channels


@pytest.fixture
def channels() -> Iterator[tuple[Channels, Channel]]:
    """Two places, one of them taken by an attached channel."""
    made = Channels(2)
    fds = [os.memfd_create("test") for _ in range(3)]
    channel = made.create(2, *fds)
    made.attached(channel)
    yield made, channel
    for fd in fds:
        os.close(fd)


def test_a_detached_channel_is_not_adopted_and_keeps_its_place(channels: tuple[Channels, Channel]) -> None:
    """A successor that adopts it would share its state with the next channel; the place is free once it is forgotten."""
    made, channel = channels
    made.detached(channel)
    assert list(made) == []
    fd = os.memfd_create("test")
    other = made.create(2, fd, fd, fd)
    assert other.state_slot != channel.state_slot
    made.forget(channel)
    again = made.create(2, fd, fd, fd)
    assert again.state_slot == channel.state_slot
    made.forget(other)
    made.forget(again)
    os.close(fd)
