"""Verbs and works: what a wrong verb gets, what waits for what, and that no descriptor is left open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.driver import Driver, Message
from idxdd.driver.verbs import VERBS
from idxdd.driver.workqueue import DriverError, Key, Steps, Wait, WorkQueue
from idxdd.testing.mock_device import MockChannel


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        yield bench


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("dance", {}, "EPROTO"),
        ("open", {"wq": 99, "pasid": 2, "client": 1}, "ENOENT"),
        ("open", {"wq": "dsa0/wq0.0", "pasid": 2, "client": 1}, "ENOENT"),
        ("open", {"wq": 0, "pasid": -1, "client": 1}, "EINVAL"),
        ("close", {"wq": 0, "client": 1}, "EINVAL"),
        ("enable_device", {"device": "dsa9"}, "ENODEV"),
        ("enable_device", {}, "ENODEV"),
        ("enable_wq", {"wq": 5}, "ENOENT"),
        ("detach", {}, "EINVAL"),
        ("attach", {"wq": 2}, "EINVAL"),
    ],
)
def test_a_wrong_verb_is_answered(bench: DriverBench, name: str, arguments: dict[str, object], code: str) -> None:
    """With the errno the driver would give and one line."""
    answer = bench.verb(name, **arguments)
    assert answer["error"]["code"] == code
    assert "\n" not in answer["error"]["text"]


def test_two_channels_never_share_a_state(bench: DriverBench) -> None:
    """idxdd gave one up while idxdd-irq was dead: its place was another's, and the newcomer was fenced for "listed twice"."""
    old, new = MockChannel(7), MockChannel(8)
    for channel in (old, new):
        bench.send("attach", channel, channel=channel.number, wq=2, pasid=1, slots=32, state_slot=3)
        bench.run()
    assert sorted(bench.driver.channels) == [8]
    assert sorted(bench.driver.devices[0].wqs[2].channels) == [8]
    old.push(0)
    ticket = new.push(0)
    new.set_status(0, 1)
    bench.driver.interrupt(0, 3)
    bench.run()
    assert [done[0] for done in new.completions()] == [ticket]
    assert old.completions() == []
    assert bench.driver.channels[8].live
    for channel in (old, new):
        channel.close()


def test_ping_is_answered_while_a_command_hangs(bench: DriverBench) -> None:
    """The supervisor must not take a long drain for a dead process."""
    bench.device.hold_commands = True
    bench.send("disable_wq", wq=1)
    bench.run()
    assert "ok" in bench.verb("ping")
    assert len(bench.verb("list")["ok"]["devices"][0]["wqs"]) == 8


def test_verbs_wait_for_adoption() -> None:
    """A verb sent right after adopt is answered after it."""
    bench = DriverBench()
    number = bench.send("list")
    assert number not in bench.answers
    bench.run()
    assert list(bench.answers) == [1, number]
    bench.close()


def test_no_descriptor_is_left_open(bench: DriverBench) -> None:
    """Of refused, repeated and detached channels alike."""
    channel = MockChannel()
    before = open_fds()
    for arguments in (
        {"wq": 2},
        {"channel": 1, "wq": 77, "pasid": 1, "slots": 32, "state_slot": 0},
        {"channel": 1, "wq": 2, "pasid": 1, "slots": 0, "state_slot": 0},
        {"channel": 1, "wq": 2, "pasid": 1, "slots": 32, "state_slot": 128},
    ):
        number = bench.send("attach", channel, **arguments)
        bench.run()
        assert "error" in bench.answers[number]
    good = {"channel": 1, "wq": 2, "pasid": 1, "slots": 32, "state_slot": 0}
    for _ in range(2):
        number = bench.send("attach", channel, **good)
        bench.run()
        assert "ok" in bench.answers[number]
    bench.verb("detach", channel=1)
    assert open_fds() == before
    number = bench.send("list", channel)
    bench.run()
    assert open_fds() == before
    channel.close()
    os.fstat(0)


def test_works_of_one_key_run_in_order_and_of_two_side_by_side() -> None:
    """As a device work queue does."""
    queue, order, gate = WorkQueue(), [], [False]

    def work(name: str, waits: bool) -> Steps:
        if waits:
            yield Wait("the gate", lambda: gate[0])
        order.append(name)

    queue.queue(("device", 0), "a", work("a", True))
    queue.queue(("device", 0), "b", work("b", False))
    queue.queue(("device", 1), "c", work("c", False))
    queue.tick()
    assert (order, queue.statistics()) == (["c"], {"a": "the gate"})
    gate[0] = True
    assert queue.tick() == 2
    assert (order, queue.idle) == (["c", "a", "b"], True)


def test_a_works_error_is_its_own() -> None:
    """The next work of the key runs."""
    queue, ends = WorkQueue(), []

    def fails() -> Steps:
        raise DriverError(16, "busy")
        yield

    def succeeds() -> Steps:
        return 7
        yield

    for steps in (fails(), succeeds()):
        queue.queue(("device", 0), "work", steps, lambda result, error: ends.append((result, error and error.code)))
    queue.tick()
    assert ends == [(None, "EBUSY"), (7, None)]


def fails_at_once(_driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    raise OverflowError("too big")


def fails_at_work(_driver: Driver, _arguments: Message) -> tuple[Key, Steps]:
    return ("ping", 0), _fail()


def _fail() -> Steps:
    yield Wait("nothing", lambda: True)
    raise OverflowError("too big")


def test_a_verb_that_fails_before_its_steps_is_answered_and_the_driver_goes_on(
    bench: DriverBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unanswered it was sent to every successor, and each died of it."""
    monkeypatch.setitem(VERBS, "list", fails_at_once)
    assert bench.verb("list")["error"] == {"code": "EIO", "text": "verb list: OverflowError: too big"}
    assert bench.texts() == ["verb list: OverflowError: too big (a defect of idxdd; the verb is not repeated)"]
    assert "ok" in bench.verb("ping")


def test_a_verb_that_fails_at_work_is_answered_before_the_process_ends(
    bench: DriverBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half done in memory is for a successor to reconcile; the verb must not be sent to it."""
    monkeypatch.setitem(VERBS, "list", fails_at_work)
    number = bench.send("list")
    with pytest.raises(OverflowError):
        bench.run()
    assert bench.answers[number]["error"]["code"] == "EIO"
    assert number not in bench.unanswered
    bench.kill()
    bench.start()
    bench.run()
    assert "ok" in bench.verb("ping")
