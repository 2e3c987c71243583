"""Requests, continuations and the way of an exit to its device."""

from typing import Any

import pytest

from idxdd.device.engineport import EnginePort
from idxdd.native import _native as native
from idxdd.native._native import Exit
from idxdd.testing.fake_engine import FakeEngine, FakeExit


class Recorder:
    """A device that remembers its exits."""

    def __init__(self) -> None:
        self.exits: list[Exit] = []

    def handle_exit(self, exit: Exit) -> None:
        self.exits.append(exit)


def test_a_continuation_runs_once_when_acknowledged() -> None:
    """Not before, not twice: a command would end early, or two times."""
    engine, ran = FakeEngine(), list[str]()
    port = EnginePort(engine)
    port.wq_drain([1], then=lambda: ran.append("drained"))
    port.wq_stop([1], 0, 1)
    assert port.dispatch() == 0
    assert ran == []
    engine.acknowledge()
    assert port.dispatch() == 2
    assert ran == ["drained"]
    assert port.dispatch() == 0
    assert port.statistics() == {"exits": 2, "outstanding": 0, "waiting": 0}


def test_every_request_takes_a_continuation() -> None:
    """The service builds on it for portals, the device for WQs."""
    engine, ran = FakeEngine(automatic=True), list[str]()
    port = EnginePort(engine)
    space: Any = None
    port.wq_threshold(1, 2, lambda: ran.append("threshold"))
    port.pasid_drain(3, [1], lambda: ran.append("pasid_drain"))
    port.pasid_abort(3, [1], lambda: ran.append("pasid_abort"))
    fds = {"client_fd": 0, "device_fd": 0, "doorbell_fd": 0, "wake_fd": 0}
    number = port.portal_add(1, space=space, pasid=2, then=lambda: ran.append("add"), **fds)
    port.portal_close(number, 1, 5, lambda: ran.append("close"))
    port.portal_reopen(number, lambda: ran.append("reopen"))
    port.portal_remove(number, lambda: ran.append("remove"))
    port.barrier(lambda: ran.append("barrier"))
    port.dispatch()
    assert ran == ["threshold", "pasid_drain", "pasid_abort", "add", "close", "reopen", "remove", "barrier"]


def test_a_continuation_may_ask_again() -> None:
    """Abort is a stop whose continuation enables: it is acknowledged in a later turn."""
    engine, ran = FakeEngine(automatic=True), list[str]()
    port = EnginePort(engine)
    port.wq_stop([1], 1, 2, then=lambda: port.barrier(then=lambda: ran.append("second")))
    port.dispatch()
    assert ran == []
    port.dispatch()
    assert ran == ["second"]


def test_a_full_ring_keeps_the_order() -> None:
    """A request that waits for room must not be overtaken: a stop would pass the enable before it."""
    engine, ran = FakeEngine(ring=2), list[int]()
    port = EnginePort(engine)
    for number in range(5):
        port.wq_threshold(number, number, lambda number=number: ran.append(number))  # type: ignore[misc]
    assert port.statistics()["waiting"] == 3
    for _ in range(5):
        engine.acknowledge(1)
        port.dispatch()
    assert ran == [0, 1, 2, 3, 4]
    assert [request["wq"] for request in engine.asked("wq_threshold")] == [0, 1, 2, 3, 4]
    assert port.statistics() == {"exits": 5, "outstanding": 0, "waiting": 0}


def test_an_answer_waits_for_room_too() -> None:
    """A parked descriptor whose answer is lost would stay for ever; answers are not acknowledged."""
    engine = FakeEngine(ring=1)
    port = EnginePort(engine)
    port.barrier()
    port.barrier()
    port.resume(engine.exit(native.EXIT_ERROR, 0, context=4), native.RESUME_FINISH)
    assert engine.resumed == [], "behind the request that waits"
    engine.exits()
    for _ in range(2):
        engine.acknowledge(1)
        port.dispatch()
    assert [answer[0] for answer in engine.resumed] == [4]
    assert port.statistics() == {"exits": 2, "outstanding": 0, "waiting": 0}


def test_other_errors_are_raised() -> None:
    """Only a full ring is worth waiting for."""
    engine = FakeEngine()

    def refuse(wqs: object) -> int:
        raise native.NativeError(22, "wq_drain: Invalid argument")

    engine.wq_drain = refuse  # type: ignore[assignment]
    with pytest.raises(OSError, match="Invalid argument"):
        EnginePort(engine).wq_drain([1])


def test_exits_reach_the_device_that_owns_the_wq() -> None:
    """Global WQ index = device * 16 + wq."""
    engine = FakeEngine()
    port, devices = EnginePort(engine), [Recorder(), Recorder()]
    for index, device in enumerate(devices):
        port.register(index, device)
    for kind, wq in ((native.EXIT_FAULT, 15), (native.EXIT_ERROR, 16), (native.EXIT_OVERFLOW, 31), (native.EXIT_FAULT, 0)):
        engine.exit(kind, wq)
    port.dispatch()
    assert [[exit.wq for exit in device.exits] for device in devices] == [[15, 0], [16, 31]]


def test_dispatch_is_bounded() -> None:
    """One turn of the loop does not starve the others, however many exits there are."""
    engine, recorder = FakeEngine(), Recorder()
    port = EnginePort(engine)
    port.register(0, recorder)
    for _ in range(300):
        engine.exit(native.EXIT_ERROR, 0)
    assert [port.dispatch(), port.dispatch(), port.dispatch()] == [256, 44, 0]


def test_the_fake_exit_is_the_engines() -> None:
    """Tests with a stand-in prove nothing if the real exit has other fields."""
    assert FakeExit._fields == Exit.__match_args__
