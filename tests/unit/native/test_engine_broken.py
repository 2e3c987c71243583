"""What once broke the engine: drains that met drains, tails near the end of their range, reports nobody pulled."""

import time
from collections.abc import Iterator

import pytest
from engine_bench import BATCH, CRAV, DRAIN, MOVE, NEVER, NOOP, RCR, SLOTS, Bench, Client, bench, descriptor

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


def ask_or_publish(client: Client, descriptors: list[bytes]) -> None:
    """Publish of `descriptors` what there is room for, and take it out; ask for room if there is none."""
    granted = client.get("limit") - client.tail
    if descriptors and granted > 0:
        client.publish(*descriptors[:granted])
        del descriptors[:granted]
    elif descriptors:
        client.set("want", client.get("answered") + 1)


def test_drains_leave_contexts_for_what_they_wait_for(rig: Bench) -> None:
    """Drains that waited held every context; what they waited for lay in a queue, needed one, and the engine stood still."""
    rig.wq(2, priority=1, size=128)
    first = rig.client(2, size=1 << 21)
    at = first.base
    member = descriptor(MOVE, 0, 0, at + 0x100000, at + 0x110000, 0x10000)
    first.memory[0x20000 : 0x20000 + 64 * 1024] = member * 1024
    first.publish(
        *[descriptor(BATCH, CRAV | RCR, at, at + 0x20000, size=1024)] * 4,
        descriptor(MOVE, CRAV | RCR, at + 32, at + 0x100000, at + 0x140000, 0x40000),  # a turn's bytes: it ends with this
        first.noop(64),
    )
    rig.engine.run(1)
    others = [rig.client(2, size=4096) for _ in range(40)]
    drains = [[drain(client, 32 * i) for i in range(32)] for client in others]
    for client, left in zip(others, drains, strict=True):  # one after the other: the last ones find few contexts left
        for _ in range(20):
            ask_or_publish(client, left)
            rig.engine.run(2 if left else 1)
            if not left:
                break
    assert first.get("done") < 4, "too late: what the drains wait for must be in the queue"
    for _ in range(5000):
        for client, left in zip(others, drains, strict=True):
            ask_or_publish(client, left)
        rig.run(8)
        if first.get("done") == 6 and all(client.get("done") == 32 for client in others):
            break
    assert first.get("done") == 6
    assert [client.get("done") for client in others] == [32] * 40
    assert all(client.record(32 * i)[0] == 1 for client in others for i in range(32))


def test_parked_descriptors_of_one_client_leave_contexts_to_others(rig: Bench) -> None:
    """A context that an answer freed went to the next of the same portal: 32 portals full of errors kept all of them."""
    rig.wq(2, priority=1, size=128)
    greedy = [rig.client(2, size=0) for _ in range(32)]
    parked: list[native.Exit] = []

    def attack(answers: int) -> None:
        for client in greedy:
            ask_or_publish(client, [descriptor(0x7F)] * 8)
        parked.extend(rig.run(len(greedy)))
        for exit in parked[:answers]:
            rig.engine.resume(exit.context, exit.generation, native.RESUME_FINISH)
        del parked[:answers]

    for _ in range(200):
        attack(0)
    victim = rig.client(0, 3)
    for _ in range(8):
        attack(32)
        victim.publish(victim.noop())
    rig.run()
    assert victim.get("done") == 8


def test_a_portal_that_cannot_be_served_does_not_keep_the_engine_awake(rig: Bench) -> None:
    """A tail above a withdrawn limit counted as work, also while the WQ was full of what the device loop was to answer."""
    first, second = rig.client(1, 2), rig.client(1, 3)
    faults = [descriptor(MOVE, CRAV | RCR, first.base, 0x9999_0000, first.base, 8)] * 36
    parked = []
    for _ in range(200):
        ask_or_publish(first, faults)
        parked += rig.run()
    assert not faults
    second.publish(second.noop())
    time.sleep(0.001)  # grants rest with an idle portal for a while; there is nothing to wait for but time
    parked += rig.run(100)
    assert (len(parked), rig.engine.run(1)) == (32, 0)
    while parked:
        for exit in parked:
            rig.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, 3)
        parked = rig.run(8)
    assert second.record(0)[0] == 1
    assert first.get("done") == 36


def test_members_of_batches_count_in_a_turn(rig: Bench) -> None:
    """A turn was 64 descriptors, also of batches of 63 members: other portals waited for 4032."""
    client = rig.client(0)
    client.memory[0x10000 : 0x10000 + 63 * 64] = descriptor(NOOP) * 63
    client.publish(*[descriptor(BATCH, CRAV | RCR, client.base, client.base + 0x10000, size=63)] * 32)
    rig.engine.run(1)
    assert rig.statistics(0, "completed") <= 2
    rig.run(64)
    assert client.get("done") == 32


def test_a_doorbell_that_cannot_be_watched_is_refused(rig: Bench) -> None:
    """The portal was served without one: whoever rang it slept until the engine's belt."""
    client = rig.client(0)
    options = {"client_fd": client._fds[0], "device_fd": client._fds[1], "wake_fd": client.wake.fileno()}
    with pytest.raises(native.NativeError, match="add a portal"):
        rig.engine.portal_add(0, **options, doorbell_fd=client._fds[3], space=client.space, pasid=2)
    assert rig.client(0).number == client.number + 1
