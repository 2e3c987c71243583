"""What once broke the engine: drains that met drains, tails near the end of their range, reports nobody pulled."""

import time
from collections.abc import Iterator

import pytest
from engine_bench import CRAV, DRAIN, NEVER, RCR, SLOTS, Bench, Client, bench, descriptor

from idxdd import native


@pytest.fixture
def rig() -> Iterator[Bench]:
    """An engine with dedicated WQ 0 (32 entries) and shared WQ 1 (threshold 4)."""
    with bench() as made:
        made.wq(0, priority=1)
        made.wq(1, priority=1, dedicated=False, size=16, threshold=4)
        yield made


def room(rig: Bench, client: Client) -> int:
    """Ask until something is granted; how much it is."""
    for _ in range(4000):
        granted = client.get("limit") - client.tail
        if granted > 0:
            return granted
        client.set("want", client.get("answered") + 1)
        rig.engine.run(1)
    raise AssertionError("nothing is granted")


def drain(client: Client, offset: int) -> bytes:
    return descriptor(DRAIN, CRAV | RCR, client.base + offset)


@pytest.mark.parametrize("wq", [0, 1])
def test_drains_of_several_portals_do_not_sweep_each_other_without_end(rig: Bench, wq: int) -> None:
    """Each acceptance of a drain read the other portals' tails, where it met their drains: the daemon died of its stack."""
    clients = [rig.client(wq) for _ in range(3)]
    for client in clients:
        room(rig, client)
        client.publish(client.noop(512))
        rig.run(2)
    for client in clients:
        client.publish(drain(client, 0), client.noop(64), drain(client, 128), client.noop(192))
    for _ in range(4000):
        rig.engine.run(1)
        if all(client.get("done") == 5 for client in clients):
            break
        for client in clients:
            client.set("want", client.get("answered") + 1)
    rig.engine.exits()
    assert [client.record(offset)[0] for client in clients for offset in (0, 64, 128, 192)] == [1] * 12
    assert rig.statistics(wq, "accepted") == rig.statistics(wq, "completed") == 15


def test_a_drain_comes_after_what_lies_in_front_of_other_drains(rig: Bench) -> None:
    """The drains met by a sweep are no excuse to leave out what other portals had published before (acceptance, rule 6)."""
    first, second, third = clients = [rig.client(0) for _ in range(3)]
    for client in clients:
        room(rig, client)
        client.publish(client.noop(512))
        rig.run(2)
    third.publish(descriptor(3, CRAV | RCR, third.base, 0x9999_0000, third.base + 64, 8))  # a fault: stays until answered
    second.publish(drain(second, 0))
    first.publish(drain(first, 0))
    exits = rig.run(3)
    fault = next(exit for exit in exits if exit.kind == native.EXIT_FAULT)
    rig.run(3)
    assert (first.record(0)[0], second.record(0)[0]) == (0, 0), "a drain overtook what was there"
    rig.engine.resume(fault.context, fault.generation, native.RESUME_FAIL, 3)
    rig.run(4)
    assert (first.record(0)[0], second.record(0)[0]) == (1, 1)


@pytest.mark.parametrize("garbage", [NEVER, NEVER - 1, NEVER - 20, (1 << 63) - 2])
def test_a_tail_that_wraps_does_not_grant_more_than_the_wq_holds(rig: Bench, garbage: int) -> None:
    """Limit and head were compared by size: past the wrap the account of grants ran negative, and the WQ overflowed."""
    bad, others = rig.client(0), [rig.client(0) for _ in range(2)]
    for start in (garbage, garbage - 1000, garbage):
        bad.set("tail", start)
        rig.run(3)
        for _ in range(40):
            bad.publish(bad.noop())
            rig.run(2)
    for _ in range(40):
        for client in others:
            room(rig, client)
            client.publish(client.noop())
            rig.run(1)
    time.sleep(0.001)  # grants rest with an idle portal for a while; there is nothing to wait for but time
    outstanding = sum((client.get("limit") - client.tail) & NEVER for client in [bad, *others])
    assert 0 < outstanding <= 32, [client.get("limit") - client.tail for client in [bad, *others]]


def test_reports_that_nobody_pulls_stay_one_a_portal(rig: Bench) -> None:
    """One report a millisecond and portal, from many portals, filled the exit ring over acknowledgements not yet pulled."""
    client = rig.client(0)
    end = time.monotonic() + 0.02
    tail = 0
    while time.monotonic() < end:
        tail += 10 * SLOTS
        client.set("tail", tail)
        rig.engine.run(1)
    exits = [exit for exit in rig.engine.exits() if exit.kind == native.EXIT_OVERFLOW]
    assert len(exits) == 1
    client.set("tail", tail + 10 * SLOTS)
    assert [exit.kind for exit in rig.run()] == [native.EXIT_OVERFLOW], "pulled: the next one may come"


def test_occupancy_is_nought_when_the_last_portal_was_aborted(rig: Bench) -> None:
    """It was published at the end of turns only, and there is none after the last portal's end."""
    client = rig.client(0)
    client.publish(*[descriptor(3, CRAV | RCR, client.base, 0x9999_0000, client.base, 8)] * 32)
    rig.run(1)
    published = native.Words(rig._published)
    place = native.LAYOUT["published_device.wq"] + native.LAYOUT["wq_statistics.occupancy"]
    client.publish(*[client.noop()] * 20)
    rig.run(1)
    assert published.load32(place) > 0
    rig.settle(rig.engine.portal_close(client.number, native.STOP_ABORT, 5))
    assert published.load32(place) == 0
    published.release()
