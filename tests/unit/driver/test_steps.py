"""The numbered steps: names of what is stored, and the page that a test stops idxdd-irq by."""

import os
import signal
from pathlib import Path

from idxdd.driver import steps
from idxdd.driver.state import SEGMENT_SIZE, StateSegment
from idxdd.driver.steps import POINTS, create_page
from idxdd.native import LAYOUT, Words


def test_every_store_has_a_name() -> None:
    """A word of the state that no name fits would end a sweep with a KeyError instead of a kill."""
    seen: list[str] = []
    watch = steps.Watch(lambda number: seen.append(POINTS[number]))
    state = StateSegment(bytearray(SEGMENT_SIZE), watch.state)
    state.header.log_number = 3
    state.device(1).command = 1
    state.device(1).store_swerr([1, 2, 3, 4])
    state.device(2).wq(5).int_handle = 1
    state.add_open(1, 2, 3, 4)
    state.channel(7).resubmit = 1
    state.set_batch_failed(3, 255, True)
    state.set_skip(3, 63)
    fault = state.add_fault(3, 9, bytes(64))
    assert fault is not None
    fault.step = 2
    assert list(dict.fromkeys(seen)) == [
        "state.log_number", "state.device.command", "state.device.swerr", "state.wq.int_handle", "state.opens_high",
        "state.open.wq", "state.open.pasid", "state.open.client", "state.open.file", "state.open.closing",
        "state.open.faults", "state.open.copy_failures", "state.open.verb",
        "state.channel.resubmit", "state.evl.bits", "state.fault.entry", "state.fault.step", "state.fault.failed",
        "state.fault.number",
    ]  # fmt: skip


def test_published_words_have_names() -> None:
    """The last WQ of the last device as well."""
    seen: list[str] = []
    words = steps.Watch(lambda number: seen.append(POINTS[number])).published(Words(bytearray(LAYOUT["published_driver"])))
    last = LAYOUT["published_driver"] - LAYOUT["published_driver.wq[]"]
    for offset in (LAYOUT["published_driver.device_state"] + 4, last + LAYOUT["published_wq.gate"]):
        words.store32(offset, 1)
    assert seen == ["published.device_state", "published.wq.gate"]


def test_it_ends_at_the_armed_point_and_time(tmp_path: Path) -> None:
    """Before the third time, once: the page is disarmed by that end, and its successor lives."""
    with create_page(tmp_path / "page") as page:
        page.arm("mmio.CMD", 3)
        child = os.fork()
        if not child:
            theirs = steps.StepsPage(tmp_path / "page")
            for _ in range(5):
                theirs.step(steps.number_of("mmio.INTCAUSE"))
                theirs.step(steps.number_of("mmio.CMD"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert page.hits() == {"mmio.INTCAUSE": 3, "mmio.CMD": 3}
        assert (page.kills, page.armed) == (1, False)
        page.step(steps.number_of("mmio.CMD"))


def test_the_listing_numbers_every_point() -> None:
    """What `python -m idxdd.driver.steps` prints is what a page is armed with."""
    lines = list(steps.listing())
    assert [line.split() for line in lines] == [[str(number), name] for number, name in enumerate(POINTS)]
    assert len(set(POINTS)) == len(POINTS)
