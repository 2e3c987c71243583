"""The engine's end of an agent, word by word: claims, cancellations, time-outs, partial stores, and pages full of garbage.

The agent here is the test: it writes what a correct, a stopped or a hostile client would, between two visits of the engine.
"""

import struct
import time
from collections.abc import Callable, Iterator

import pytest
from agent_memory import AgentMemory
from engine_bench import CRAV, FILL, MOVE, RCR, Bench, Client, bench, descriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idxdd import native
from idxdd.native import LAYOUT

ASKED, TAKEN, CLAIMED, DONE, DROPPED, RELEASED = (
    LAYOUT[f"agent_{state}"] for state in ("asked", "taken", "claimed", "done", "dropped", "released")
)
PREPARE, WRITE, COPY = (LAYOUT[f"agent_{kind}"] for kind in ("prepare", "write", "copy"))
HEAP = 0x7F00_0000_0000
TIMEOUT_S = 0.03
LONG_S = 20.0
ABORTED, WQ_DISABLED = LAYOUT["closed_aborted"], LAYOUT["closed_wq_disabled"]


class Asked:
    """One request, as the agent's page tells it."""

    def __init__(self, shared: AgentMemory, slot: int) -> None:
        self.shared, self.number = shared, slot
        self.kind, self.flags = struct.unpack_from("<HH", shared.window, shared.slot(slot, "kind"))
        self.address = shared.words.load64(shared.slot(slot, "address"))
        self.source = shared.words.load64(shared.slot(slot, "source"))
        self.size = shared.words.load32(shared.slot(slot, "size"))
        self.region = shared.words.load32(shared.slot(slot, "region"))

    @property
    def state(self) -> int:
        return self.shared.words.load64(self.shared.slot(self.number, "word")) & 7

    def move_to(self, state: int) -> None:
        at = self.shared.slot(self.number, "word")
        self.shared.words.store64(at, self.shared.words.load64(at) & ~7 | state)

    def answer(self, count: int, *, at_source: bool = False) -> None:
        self.shared.words.store32(self.shared.slot(self.number, "count"), count)
        self.shared.words.store32(self.shared.slot(self.number, "at_source"), at_source)
        self.move_to(DONE)

    @property
    def bounce(self) -> memoryview:
        base = LAYOUT["agent_page.bounce"] + self.number * LAYOUT["agent_page.bounce[]"]
        base += self.region * LAYOUT["agent_region_bytes"]
        return memoryview(self.shared.window)[base : base + LAYOUT["agent_region_bytes"]]


class Rig:
    """An engine, one client with an agent that is the test's own hand."""

    def __init__(self, made: Bench, timeout: float) -> None:
        self.bench, self.shared = made, AgentMemory()
        made.wq(0, size=64)
        self.client: Client = made.client(0)
        made.settle(
            made.engine.agent_add(
                self.client.space,
                memory_fd=self.shared.memory,
                bell_fd=self.shared.bell,
                doorbell_fd=self.shared.doorbell,
                timeout=timeout,
            )
        )

    def asked(self) -> Asked:
        """The request that is under way."""
        for _ in range(8):
            self.bench.run()
            for slot in range(LAYOUT["agent_slots"]):
                if self.shared.words.load64(self.shared.slot(slot, "word")) & 7 == ASKED:
                    return Asked(self.shared, slot)
        raise AssertionError("nothing is asked")

    def until(self, what: Callable[[], object], limit_s: float = 5.0) -> None:
        end = time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < end, "not in time"
            self.bench.run(64)

    def fault(self) -> native.Exit:
        """The next FAULT exit; answered with status 3."""
        seen = len(self.bench.exits)
        self.until(lambda: self._faults(seen))
        exit = self._faults(seen)[0]
        self.bench.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, 3)
        self.until(lambda: self.client.record(0)[0])
        return exit

    def _faults(self, seen: int) -> list[native.Exit]:
        return [exit for exit in self.bench.exits[seen:] if exit.kind == native.EXIT_FAULT]

    def move(self, size: int = 8192, record: int = 0) -> bytes:
        return descriptor(MOVE, CRAV | RCR, self.client.base + record, HEAP, HEAP + (1 << 20), size)

    def fill(self, size: int) -> bytes:
        return descriptor(FILL, CRAV | RCR, self.client.base, 0x1122334455667788, HEAP, size)

    def close(self) -> None:
        self.shared.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with bench() as made:
        one = Rig(made, LONG_S)
        yield one
        one.close()


@pytest.fixture
def hasty() -> Iterator[Rig]:
    """Requests are given up soon."""
    with bench() as made:
        one = Rig(made, TIMEOUT_S)
        yield one
        one.close()


def test_a_move_is_one_request(rig: Rig) -> None:
    """Both ends in the client: it copies, nothing passes through the engine."""
    rig.client.publish(rig.move())
    asked = rig.asked()
    assert (asked.kind, asked.address, asked.source, asked.size, asked.flags) == (COPY, HEAP + (1 << 20), HEAP, 8192, 0)
    asked.answer(8192)
    rig.until(lambda: rig.client.get("done") == 1)
    assert rig.client.record(0)[0] == 1


def test_order_within_a_portal(rig: Rig) -> None:
    """What comes after a descriptor that waits for its agent waits too: writes of one portal stay in order."""
    rig.client.publish(rig.move(), rig.client.noop(64))
    asked = rig.asked()
    rig.bench.run(100)
    assert rig.client.record(64)[0] == 0
    asked.answer(8192)
    rig.until(lambda: rig.client.record(64)[0])
    assert rig.client.record(0)[0] == 1


def test_other_portals_go_on(rig: Rig) -> None:
    """It delays its own portal only."""
    other = rig.bench.client(0, 3)
    rig.client.publish(rig.move())
    asked = rig.asked()
    other.publish(other.noop())
    rig.until(lambda: other.record(0)[0])
    asked.answer(8192)
    rig.until(lambda: rig.client.get("done") == 1)


@pytest.mark.parametrize("at_source", [True, False])
def test_a_partial_copy_is_a_fault_at_that_byte(rig: Rig, at_source: bool) -> None:
    """Bytes Completed, address, operand and write bit are those of the end that gave out."""
    rig.client.publish(rig.move())
    rig.asked().answer(4096, at_source=at_source)
    exit = rig.fault()
    assert (exit.address, exit.write, exit.bytes_completed) == (
        HEAP + 4096 + (0 if at_source else 1 << 20),
        not at_source,
        4096,
    )
    assert exit.operand == (1 if at_source else 3)


def test_a_store_that_fails_half_way_is_not_counted(rig: Rig) -> None:
    """The page was freed between its preparation and the store: the step is done again with what room there is."""
    rig.client.publish(rig.fill(8192))
    prepare = rig.asked()
    assert (prepare.kind, prepare.address, prepare.size) == (PREPARE, HEAP, 8192)
    prepare.answer(8192)
    write = rig.asked()
    assert (write.kind, write.size) == (WRITE, 8192)
    write.answer(4096)
    again = rig.asked()
    assert (again.kind, again.address, again.size) == (WRITE, HEAP, 4096)
    assert bytes(again.bounce[:8]) == struct.pack("<Q", 0x1122334455667788)
    again.answer(4096)
    exit = rig.fault()
    assert (exit.address, exit.write, exit.bytes_completed) == (HEAP + 4096, 1, 4096)


def test_a_store_that_fails_at_once(rig: Rig) -> None:
    """Nothing was written, nothing counts."""
    rig.client.publish(rig.fill(8192))
    rig.asked().answer(8192)
    rig.asked().answer(0)
    exit = rig.fault()
    assert (exit.address, exit.write, exit.bytes_completed) == (HEAP, 1, 0)


def test_nobody_takes_it(hasty: Rig) -> None:
    """Asked and cancelled: a page fault, and the agent is asked nothing more until it has heard the hail."""
    hasty.client.publish(hasty.move())
    asked = hasty.asked()
    exit = hasty.fault()
    assert (exit.address, exit.bytes_completed) == (HEAP, 0)
    assert asked.state == 0
    hail = hasty.shared.words.load32(LAYOUT["agent_page.hail"])
    assert hail != hasty.shared.words.load32(LAYOUT["agent_page.heard"])
    hasty.client.memory[0] = 0
    hasty.client.publish(hasty.move())
    started = time.monotonic()
    hasty.fault()
    assert time.monotonic() - started < TIMEOUT_S, "it is not waited for twice"
    hasty.shared.words.store32(LAYOUT["agent_page.heard"], hail)
    time.sleep(0.05)  # patience comes back with time
    hasty.client.memory[0] = 0
    hasty.client.publish(hasty.move())
    hasty.asked().answer(8192)
    hasty.until(lambda: hasty.client.record(0)[0] == 1)


def test_taken_and_dropped(hasty: Rig) -> None:
    """It blocks at a page before it stores anything: a page fault; its bounce buffer rests until it is released."""
    hasty.client.publish(hasty.move())
    asked = hasty.asked()
    asked.move_to(TAKEN)
    hasty.fault()
    assert asked.state == DROPPED
    hasty.shared.words.store32(LAYOUT["agent_page.heard"], hasty.shared.words.load32(LAYOUT["agent_page.hail"]))
    time.sleep(0.05)
    hasty.client.publish(hasty.move())
    other = hasty.asked()
    assert other.number != asked.number
    other.answer(8192)
    hasty.until(lambda: hasty.client.get("done") == 2)
    asked.move_to(RELEASED)
    hasty.client.publish(hasty.move())
    assert hasty.asked().number == asked.number


def test_claimed_holds_its_record_back_and_no_command(hasty: Rig) -> None:
    """Past its time a claimed request may still store: its record waits, a drain and the descriptors behind it do not."""
    hasty.client.publish(hasty.move(), hasty.client.noop(64))
    asked = hasty.asked()
    asked.move_to(CLAIMED)
    drain = hasty.bench.engine.wq_drain([0])
    hasty.until(lambda: hasty.bench.acknowledged(drain))
    assert hasty.client.record(0)[0] == 0
    assert hasty.client.record(64)[0] == 1
    assert hasty.client.get("done") == 1
    asked.answer(8192)
    hasty.until(lambda: hasty.client.record(0)[0] == 1)
    assert hasty.client.get("done") == 2


def test_abort_while_claimed(rig: Rig) -> None:
    """The command ends at once; `done` counts the descriptor only when the agent is out; it gets no record."""
    rig.client.publish(rig.move())
    asked = rig.asked()
    asked.move_to(CLAIMED)
    rig.bench.settle(rig.bench.engine.wq_stop([0], native.STOP_ABORT, ABORTED))
    assert (rig.client.get("closed"), rig.client.get("done")) == (ABORTED, 0)
    asked.answer(8192)
    rig.until(lambda: rig.client.get("done") == 1)
    assert rig.client.record(0)[0] == 0


@pytest.mark.parametrize("state", [ASKED, TAKEN, DONE])
def test_abort_before_a_claim(rig: Rig, state: int) -> None:
    """Nothing is stored any more: it is over at once."""
    rig.client.publish(rig.move())
    asked = rig.asked()
    asked.move_to(state)
    rig.bench.settle(rig.bench.engine.wq_stop([0], native.STOP_ABORT, ABORTED))
    assert rig.client.get("done") == 1
    assert asked.state == {ASKED: 0, TAKEN: DROPPED, DONE: DONE}[state]


def test_the_session_ends_while_claimed(rig: Rig) -> None:
    """Its owner is gone: everything of it goes, whatever its words say."""
    rig.client.publish(rig.move())
    rig.asked().move_to(CLAIMED)
    rig.bench.settle(rig.bench.engine.portal_close(rig.client.number, native.STOP_ABORT, ABORTED))
    rig.bench.settle(rig.bench.engine.portal_remove(rig.client.number))
    rig.bench.settle(rig.bench.engine.agent_remove(rig.client.space))
    rig.bench.settle(rig.bench.engine.barrier())


def test_more_portals_than_slots(rig: Rig) -> None:
    """Who finds no slot waits for one."""
    portals = [rig.client, *(portal_beside(rig, number) for number in range(LAYOUT["agent_slots"] + 1))]
    for portal in portals:
        portal.publish(descriptor(MOVE, 0, 0, HEAP, HEAP + (1 << 20), 4096))
    for _ in portals:
        rig.asked().answer(4096)
    rig.until(lambda: all(portal.get("done") == 1 for portal in portals))


def portal_beside(rig: Rig, number: int) -> Client:
    """One more portal of the same client: the same address space."""
    portal = rig.bench.client(0, 2, base=0x200000 * (number + 1), size=0)
    rig.bench.settle(rig.bench.engine.portal_remove(portal.number))
    portal.space = rig.client.space
    portal.number, request = rig.bench.engine.portal_add(
        0, client_fd=portal._fds[0], device_fd=portal._fds[1], doorbell_fd=portal.doorbell,
        wake_fd=portal._device_end.fileno(), space=portal.space, pasid=2,
    )  # fmt: skip
    rig.bench.settle(request)
    return portal


def test_an_answer_that_is_too_long(rig: Rig) -> None:
    """A count beyond what was asked for counts as nothing."""
    rig.client.publish(rig.move())
    rig.asked().answer(8193)
    assert rig.fault().bytes_completed == 0


pokes = st.lists(
    st.tuples(
        st.sampled_from(["word", "count", "at_source", "address", "size", "kind", "region", "heard", "awake", "requests"]),
        st.integers(0, LAYOUT["agent_slots"] - 1),
        st.one_of(st.integers(0, 7), st.integers(0, (1 << 32) - 1)),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pokes=pokes, operation=st.sampled_from(["move", "fill"]))
def test_garbage(pokes: list[tuple[str, int, int, bool]], operation: str) -> None:
    """Whatever the client writes into its page, its descriptors end or are held by its own claim, and commands end in time."""
    with bench() as made:
        rig = Rig(made, 0.002)
        rig.client.publish(*[rig.move() if operation == "move" else rig.fill(9000) for _ in range(3)])
        for word, slot, value, keeps_sequence in pokes:
            for exit in made.run(3):
                if exit.kind == native.EXIT_FAULT:
                    made.engine.resume(exit.context, exit.generation, native.RESUME_FAIL, 3)
            if word in ("heard", "awake"):
                rig.shared.words.store32(LAYOUT[f"agent_page.{word}"], value)
            elif word == "requests":
                rig.shared.words.store64(LAYOUT["agent_page.requests"], value)
            elif word in ("word", "address"):
                at = rig.shared.slot(slot, word)
                old = rig.shared.words.load64(at)
                rig.shared.words.store64(at, old & ~7 | value & 7 if keeps_sequence else value)
            elif word == "kind":
                struct.pack_into("<H", rig.shared.window, rig.shared.slot(slot, word), value & 0xFFFF)
            else:
                rig.shared.words.store32(rig.shared.slot(slot, word), value)
        stop = made.engine.wq_stop([0], native.STOP_ABORT, ABORTED)
        rig.until(lambda: made.acknowledged(stop))
        rig.close()
