"""Kernel channels come and go: attach maps one (a predecessor's is adopted), detach completes what it still holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from errno import EINVAL
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver.state import CHANNELS_MAX
from idxdd.driver.submit import Channel
from idxdd.driver.workqueue import DriverError, Key, Steps, Wait, immediately, integer
from idxdd.native import _native

if TYPE_CHECKING:
    from idxdd.driver.driver import Driver

CHANNEL_FDS: Final = 9
"""channel, completion ring, portal client's page, wake socket, pidfd; our own portal's two pages, doorbell, wake socket"""

Message = dict[str, Any]


def verb_attach(driver: Driver, arguments: Message, fds: Sequence[int]) -> tuple[Key, Steps]:
    """channel, wq, pasid, slots, state_slot; CHANNEL_FDS descriptors, owned from here on."""
    channel = attach(driver, arguments, fds)
    return ("channel", channel.number), immediately({"slots": arguments["slots"], "pool": channel.wq.pool})


def attach(driver: Driver, arguments: Message, fds: Sequence[int]) -> Channel:
    """Map a channel. One whose state slot it owns already (a predecessor's) is adopted, another starts anew."""
    try:
        return _attach(driver, arguments, fds)
    finally:
        close_all(fds)


def _attach(driver: Driver, arguments: Message, fds: Sequence[int]) -> Channel:
    if len(fds) != CHANNEL_FDS:
        raise DriverError(EINVAL, f"attach: {len(fds)} descriptors, expected {CHANNEL_FDS}")
    number, slot, slots = (integer(arguments, key) for key in ("channel", "state_slot", "slots"))
    if number in driver.channels:
        return driver.channels[number]
    if slot >= CHANNELS_MAX:
        raise DriverError(EINVAL, f"state_slot: {slot} is not below {CHANNELS_MAX}")
    wq, pasid = driver.find_wq(arguments), integer(arguments, "pasid")
    block = driver.state.channel(slot)
    if block.owner != number + 1:
        _evict(driver, slot)
        driver.state.clear_channel(slot)
    try:
        native = _native.IrqChannel(
            channel_fd=fds[0], ring_fd=fds[1], portal_client_fd=fds[2], wake_fd=fds[3], slots=slots,
            state=driver.state.memory, state_offset=driver.state.channel_offset(slot) + block.NATIVE,
        )  # fmt: skip
        portal = _native.Portal(
            client_fd=fds[5], device_fd=fds[6], published_fd=driver.published_device, doorbell_fd=fds[7], wake_fd=fds[8],
            dedicated=wq.dedicated,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DriverError(EINVAL, f"channel {number}: {error}") from error
    block.owner = number + 1
    watch = driver.watch
    channel = Channel(
        number, wq, pasid, watch.channel(native), os.dup(fds[4]), watch.portal(portal), block, driver.questions.ask
    )
    driver.in_slot[slot] = number
    if channel.live:
        channel.native.adopt()
    driver.channels[number] = wq.channels[number] = channel
    return channel


def _evict(driver: Driver, slot: int) -> None:
    """Two channels must never share a state: one that idxdd has given up without a word loses its place."""
    number = driver.in_slot.pop(slot, None)
    channel = driver.channels.pop(number, None) if number is not None else None
    if channel is not None:
        driver.log("warning", f"channel {channel.number}: its place is given to another", wq=channel.wq.label)
        channel.wq.channels.pop(channel.number, None)
        channel.close()


def verb_detach(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """channel."""
    number = integer(arguments, "channel")
    return ("channel", number), _detach(driver, number)


def _detach(driver: Driver, number: int) -> Steps:
    """Complete what its lists hold, then forget the channel. idxdd has closed its portal before."""
    channel = driver.channels.get(number)
    if channel is None:
        return {}
    yield Wait(f"channel {number}: fencing to end", lambda: channel.live or channel.fenced)
    swept = channel.flush_pending()
    channel.close()  # its state stays: until this is answered, a successor gets the channel again
    del driver.channels[number]
    channel.wq.channels.pop(number, None)
    return {"swept": swept}


def close_all(fds: Sequence[int]) -> None:
    """Of descriptors that came with a verb."""
    for fd in fds:
        os.close(fd)
