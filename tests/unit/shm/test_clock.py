"""Time as a thing tests can move: deadlines and timers end when the clock says so, never otherwise."""

import time

from idxdd.shm.clock import CLOCK, FakeClock, Timers


def test_the_clock_is_the_machines():
    """Monotonic nanoseconds: the same in every process here."""
    before = time.monotonic_ns()
    now = CLOCK.now_ns()
    CLOCK.sleep(0.001)
    assert before <= now <= time.monotonic_ns() - 1_000_000


def test_a_deadline_expires_with_its_clock():
    """Bounded waits are tested without waiting."""
    clock = FakeClock()
    deadline = clock.deadline(2.0)
    clock.advance(1.5)
    assert not deadline.expired
    assert deadline.remaining_s == 0.5
    clock.sleep(0.5)
    assert deadline.expired
    assert deadline.remaining_s == 0
    clock.advance(10)
    assert deadline.remaining_s == 0


def test_timers_fire_in_order_and_once():
    """Same time: in order of request, so that a simulation repeats."""
    clock, fired = FakeClock(), []
    timers = Timers(clock)
    for name, seconds in [("late", 2), ("first", 1), ("second", 1)]:
        timers.call_later(seconds, lambda name=name: fired.append(name))
    assert (timers.run_due(), timers.next_in_s(), timers.next_in_ms()) == (0, 1.0, 1000)
    clock.advance(1)
    assert timers.run_due() == 2
    assert fired == ["first", "second"]
    clock.advance(5)
    assert (timers.next_in_s(), timers.next_in_ms()) == (0, 0)
    assert (timers.run_due(), timers.run_due()) == (1, 0)
    assert fired == ["first", "second", "late"]
    assert timers.next_in_s() is None
    assert timers.next_in_ms() is None


def test_a_cancelled_timer_neither_fires_nor_wakes():
    """A loop that wakes for what was cancelled would not be idle."""
    clock, fired = FakeClock(), []
    timers = Timers(clock)
    timer = timers.call_later(1, lambda: fired.append(1))
    timers.call_later(3, lambda: fired.append(3))
    timer.cancel()
    timer.cancel()
    assert (timer.active, len(timers), timers.next_in_s()) == (False, 1, 3.0)
    clock.advance(3)
    assert timers.run_due() == 1
    assert fired == [3]


def test_a_timer_may_cancel_another_that_is_due_and_ask_again():
    """Run in one turn: what was cancelled by an earlier one does not run, what was asked for runs in the next."""
    clock, fired = FakeClock(), []
    timers = Timers(clock)

    def first() -> None:
        fired.append("first")
        second.cancel()
        timers.call_later(0, lambda: fired.append("again"))

    timers.call_later(1, first)
    second = timers.call_later(1, lambda: fired.append("second"))
    clock.advance(1)
    assert timers.run_due() == 1
    assert fired == ["first"]
    assert timers.run_due() == 1
    assert fired == ["first", "again"]


def test_milliseconds_are_rounded_up_and_a_fired_timer_is_over():
    """poll(0) until a timer is due would be a busy loop; so would a timer that stays."""
    clock = FakeClock()
    timers = Timers(clock)
    timer = timers.call_later(0.0001, lambda: None)
    assert timers.next_in_ms() == 1
    clock.advance(0.001)
    assert timer.active
    assert timers.run_due() == 1
    assert not timer.active
    timer.cancel()
    assert not timer.fire()
