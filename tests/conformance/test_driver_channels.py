"""Conformance of completion, the gate, halt and revoke: CMP-*, SUB-*, HLT-*, REV-* as far as idxdd-irq has a part in them."""

from collections.abc import Iterator

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.irq import IrqReturn
from idxdd.driver.state import DriverState
from idxdd.driver.submit import hold_submitters, quiesce, release_submitters
from idxdd.native import LAYOUT
from idxdd.spec.codes import CmdErr, Command, Flag, Opcode, ResetType, WqType
from idxdd.spec.records import Descriptor
from idxdd.testing.mock_device import MockChannel, MockDevice

SHARED, DEDICATED = 2, 3
DEAD, LIVE, CLOSED = 0, 1, 2
NOERROR, WRITE_FAILED, ABORTED = 0, 2, 3
REVOKED = 1 << 31


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        bench.device.commands.clear()
        yield bench


@pytest.fixture
def channel(bench: DriverBench) -> MockChannel:
    channel = MockChannel()
    bench.attach(channel, SHARED)
    return channel


def interrupt(bench: DriverBench, wq: int = SHARED) -> None:
    bench.device.post(wq + 1)
    bench.run()


# ---- completion ------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("CMP-01")
def test_the_work_list_comes_first(bench: DriverBench, channel: MockChannel) -> None:
    """An old descriptor is called back before newer ones, over all channels of the WQ."""
    other = MockChannel(2)
    bench.attach(other, SHARED)
    old = other.push(0)
    interrupt(bench)
    new = channel.push(0)
    other.set_status(0, 1)
    channel.set_status(0, 1)
    order: list[str] = []
    device_wq = bench.wq(SHARED)
    for name, each in (("new", channel), ("old", other)):
        native = device_wq.channels[each.number].native
        device_wq.channels[each.number].native = _Spy(native, name, order)  # type: ignore[assignment]
    interrupt(bench)
    assert order == ["new work", "old work", "new pending", "old pending"]
    assert (channel.completions(), other.completions()) == ([(new, 1, NOERROR)], [(old, 1, NOERROR)])


class _Spy:
    """Tells which list of which channel is looked at."""

    def __init__(self, native: object, name: str, order: list[str]) -> None:
        self._native, self._name, self._order = native, name, order

    def work_list(self, resubmit: bool) -> object:
        self._order.append(f"{self._name} work")
        return self._native.work_list(resubmit)  # type: ignore[attr-defined]

    def pending_list(self, resubmit: bool) -> object:
        self._order.append(f"{self._name} pending")
        return self._native.pending_list(resubmit)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._native, name)


@pytest.mark.conformance("CMP-02")
def test_pending_newest_first(bench: DriverBench, channel: MockChannel) -> None:
    """Reverse submission order when all are done at the first look."""
    tickets = [channel.push(slot) for slot in range(4)]
    for slot in range(4):
        channel.set_status(slot, 1)
    interrupt(bench)
    assert [ticket for ticket, _, _ in channel.completions()] == tickets[::-1]


@pytest.mark.conformance("CMP-03")
def test_raw_on_the_work_list_masked_on_the_pending_list(bench: DriverBench, channel: MockChannel) -> None:
    """0x80 alone tells the two apart."""
    ticket = channel.push(0)
    channel.set_status(0, 0x80)
    interrupt(bench)
    first = channel.completions()
    interrupt(bench)
    assert (first, channel.completions()) == ([], [(ticket, 0x80, WRITE_FAILED)])


@pytest.mark.conformance("CMP-04")
@pytest.mark.parametrize("on_work_list", [False, True])
def test_0xff_is_an_abort_that_yields_write_failed(bench: DriverBench, channel: MockChannel, on_work_list: bool) -> None:
    """The status is not zero, so it is not ABORTED."""
    ticket = channel.push(0)
    if on_work_list:
        interrupt(bench)
    channel.set_status(0, 0xFF)
    interrupt(bench)
    assert channel.completions() == [(ticket, 0xFF, WRITE_FAILED)]


@pytest.mark.conformance("CMP-05")
def test_an_unfinished_one_goes_to_the_tail_of_the_work_list(bench: DriverBench, channel: MockChannel) -> None:
    """So older ones of earlier interrupts stay in front."""
    first = channel.push(0)
    interrupt(bench)
    second, third = channel.push(1), channel.push(2)
    interrupt(bench)
    for slot in range(3):
        channel.set_status(slot, 1)
    interrupt(bench)
    assert [ticket for ticket, _, _ in channel.completions()] == [first, third, second]


@pytest.mark.conformance("CMP-06")
def test_one_interrupt_one_pass(bench: DriverBench, channel: MockChannel) -> None:
    """Work moved from pending is not looked at again before the next interrupt."""
    channel.push(0)
    bench.driver.interrupt(0, SHARED + 1)
    channel.set_status(0, 1)
    bench.run()
    assert channel.completions() == []


@pytest.mark.conformance("CMP-08")
def test_0x19_without_handle_support_fails() -> None:
    """WRITE_FAILED, once: there is no other handle to try."""
    with configured(MockDevice(int_handles=False)) as bench:
        channel = MockChannel()
        bench.attach(channel, SHARED)
        ticket = channel.push(0)
        channel.set_status(0, 0x19)
        interrupt(bench)
        interrupt(bench)
        assert channel.completions() == [(ticket, 0x19, WRITE_FAILED)]
        assert channel.own_submitted() == []


def revoked(channel: MockChannel, slot: int = 0) -> int:
    """A descriptor that ended 0x19, as its client wrote it; its ticket."""
    channel.set_desc(slot, Descriptor.encode(opcode=Opcode.NOOP, flags=Flag.RCI, pasid=99, int_handle=3).pack())
    ticket = channel.push(slot)
    channel.set_status(slot, 0x19)
    return ticket


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.conformance("CMP-07")
def test_0x19_is_submitted_again_with_the_current_handle(bench: DriverBench, channel: MockChannel, listed: bool) -> None:
    """From either list; the status is cleared first, nothing is called back, the PASID is the channel's own."""
    ticket = revoked(channel)
    if listed:
        channel.set_status(0, 0)
        interrupt(bench)
        channel.set_status(0, 0x19)
    bench.wq(SHARED).set_int_handle(40)
    interrupt(bench)
    again = [Descriptor.unpack(desc) for desc in channel.own_submitted()]
    assert [(desc.opcode, desc.int_handle, desc.pasid) for desc in again] == [(Opcode.NOOP, 40, 1)]
    assert (channel.status(0), channel.completions()) == (0, [])
    channel.set_status(0, 1)
    interrupt(bench)
    assert channel.completions() == [(ticket, 1, NOERROR)]


@pytest.mark.conformance("CMP-07")
def test_0x19_again_is_submitted_again_again(bench: DriverBench, channel: MockChannel) -> None:
    """A handle may be revoked twice."""
    ticket = revoked(channel)
    interrupt(bench)
    channel.set_status(0, 0x19)
    interrupt(bench)
    assert len(channel.own_submitted()) == 2
    channel.set_status(0, 1)
    interrupt(bench)
    assert channel.completions() == [(ticket, 1, NOERROR)]


@pytest.mark.conformance("CMP-09")
@pytest.mark.parametrize("how", ["dead", "disabled", "closed"])
def test_a_resubmission_that_is_refused_fails_the_descriptor(bench: DriverBench, channel: MockChannel, how: str) -> None:
    """EIO and ENXIO: 0xFF in the record, WRITE_FAILED, once."""
    ticket = revoked(channel)
    if how == "dead":
        bench.wq(SHARED).set_gate(DEAD)
    elif how == "disabled":
        bench.driver.devices[0].set_state(DriverState.DISABLED)
    else:
        channel.set_own(closed=1)
        bench.reopens = False
    interrupt(bench)
    interrupt(bench)
    assert (channel.completions(), channel.status(0)) == ([(ticket, 0xFF, WRITE_FAILED)], 0xFF)
    assert channel.own_submitted() == []


@pytest.mark.conformance("CMP-10")
def test_a_full_wq_fails_the_descriptor_after_all_attempts(bench: DriverBench, channel: MockChannel) -> None:
    """1 + 32 attempts, each answered by the device; then one callback."""
    ticket = revoked(channel)
    channel.set_own(limit=0)
    bench.device.post(SHARED + 1)
    questions = 0
    for _ in range(200):
        bench.turn()
        if channel.own_want() != questions:
            questions = channel.own_want()
            channel.set_own(answered=questions)
    assert questions == 33
    assert channel.completions() == [(ticket, 0xFF, WRITE_FAILED)]


def test_a_portal_that_was_closed_is_reopened_for_a_resubmission(bench: DriverBench, channel: MockChannel) -> None:
    """Disabling the WQ closed it; nobody else would reopen ours."""
    ticket = revoked(channel)
    channel.set_own(closed=1)
    interrupt(bench)
    assert bench.asked == [("reopen", 1)]
    assert len(channel.own_submitted()) == 1
    channel.set_status(0, 1)
    interrupt(bench)
    assert channel.completions() == [(ticket, 1, NOERROR)]


def test_a_flushed_descriptor_is_not_submitted_again(bench: DriverBench, channel: MockChannel) -> None:
    """Its channel is detached before the resubmission's turn comes: completed once, by the flush."""
    ticket = revoked(channel)
    bench.device.hold_commands = True
    bench.send("disable_wq", wq=SHARED)
    bench.run()
    bench.device.post(SHARED + 1)
    bench.turn()
    bench.send("detach", channel=1)
    bench.device.hold_commands = False
    bench.device.finish_command()
    bench.run()
    assert channel.completions() == [(ticket, 0x19, WRITE_FAILED)]
    assert channel.own_submitted() == []


@pytest.mark.conformance("CMP-11")
def test_predicate_false_is_write_failed(bench: DriverBench, channel: MockChannel) -> None:
    """dmaengine knows only success and failure."""
    ticket = channel.push(0)
    channel.set_status(0, 0x02)
    interrupt(bench)
    assert channel.completions() == [(ticket, 0x02, WRITE_FAILED)]


@pytest.mark.conformance("CMP-13")
def test_what_is_not_listed_is_not_completed(bench: DriverBench, channel: MockChannel) -> None:
    """A record without an entry on the pending list: a descriptor without RCI."""
    channel.set_status(5, 1)
    interrupt(bench)
    assert channel.completions() == []


@pytest.mark.conformance("CMP-14")
def test_the_portal_thread_always_says_handled(bench: DriverBench) -> None:
    """Also with nothing to do; each run is counted."""
    before = _interrupts(bench)
    assert bench.driver.interrupt(0, SHARED + 1) is IrqReturn.HANDLED
    assert _interrupts(bench) == before + 1


def _interrupts(bench: DriverBench) -> int:
    at = LAYOUT["published_driver.wq"] + SHARED * LAYOUT["published_driver.wq[]"] + LAYOUT["published_wq.interrupts"]
    return int.from_bytes(bench.published[at : at + 8], "little")


# ---- submission ------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("SUB-02")
def test_the_pool_is_size_or_threshold(bench: DriverBench) -> None:
    """Published, so that clients size their channels."""
    bench.verb("disable_wq", wq=SHARED)
    settings = next(wq for wq in bench.driver.configs["dsa0"].wqs if wq.id == SHARED)
    settings.threshold = 20
    bench.verb("enable_wq", wq=SHARED)
    at = LAYOUT["published_driver.wq"] + LAYOUT["published_wq.pool"]
    stride = LAYOUT["published_driver.wq[]"]
    pools = [int.from_bytes(bench.published[at + wq * stride :][:4], "little") for wq in (SHARED, DEDICATED)]
    assert pools == [20, 32]


def _queue(bench: DriverBench, steps: object) -> list[object]:
    done: list[object] = []
    bench.driver.works.queue(("test", 0), "test", steps, lambda result, error: done.append(error))  # type: ignore[arg-type]
    return done


@pytest.mark.conformance("SUB-10")
def test_quiesce_waits_for_the_last_submitter(bench: DriverBench, channel: MockChannel) -> None:
    """It returns only after the reference is dropped."""
    channel.set_in_submit(True)
    done = _queue(bench, quiesce(bench.wq(SHARED)))
    bench.turn()
    bench.clock.advance(0.05)
    bench.turn()
    assert (done, bench.wq(SHARED).gate) == ([], DEAD)
    channel.set_in_submit(False)
    bench.run()
    assert done == [None]
    assert bench.asked == []


@pytest.mark.conformance("SUB-11")
def test_a_quiesced_wq_has_a_dead_gate(bench: DriverBench, channel: MockChannel) -> None:
    """What a blocked submitter reads and answers with ENXIO; quiescing again does nothing (DEF-10)."""
    for _ in range(2):
        done = _queue(bench, quiesce(bench.wq(SHARED)))
        bench.run()
        assert (done, bench.wq(SHARED).gate) == ([None], DEAD)


def test_a_submitter_that_stays_is_fenced_after_100_ms(bench: DriverBench, channel: MockChannel) -> None:
    """Its portal closed first, then its lists swept, then the mark; the others of the WQ go on."""
    other = MockChannel(2)
    bench.attach(other, SHARED)
    ticket, good = channel.push(3), other.push(3)
    channel.set_in_submit(True)
    bench.answer_asks = False
    done = _queue(bench, hold_submitters(bench.wq(SHARED)))
    bench.run()
    assert (bench.asked, channel.completions(), bench.wq(SHARED).gate) == ([("fence", 1)], [], CLOSED)
    bench.driver.questions.answer(1)
    bench.run()
    assert bench.asked == [("fence", 1), ("fenced", 1)]
    assert channel.completions() == [(ticket, 0, ABORTED)]
    assert done == []
    bench.driver.questions.answer(2)
    bench.run()
    assert done == [None]
    release_submitters(bench.wq(SHARED))
    other.set_status(3, 1)
    channel.push(4)
    channel.set_status(4, 1)
    interrupt(bench)
    assert other.completions() == [(good, 1, NOERROR)]
    assert channel.completions() == []


def test_a_dead_owner_stands_nowhere(bench: DriverBench) -> None:
    """It died between the two stores of in_submit: nobody waits for it, nobody is asked to fence it."""
    import subprocess
    import sys

    channel = MockChannel()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        import os

        os.close(channel.pidfd)
        channel.pidfd = os.pidfd_open(child.pid)
        child.wait()
        bench.attach(channel, SHARED)
    channel.set_in_submit(True)
    done = _queue(bench, quiesce(bench.wq(SHARED)))
    bench.turn()
    assert done == [None]
    assert bench.asked == []


@pytest.mark.parametrize("forge", ["index", "twice", "tail"])
def test_garbage_fences_that_channel_and_no_other(bench: DriverBench, channel: MockChannel, forge: str) -> None:
    """What was listed before is aborted or reported; the WQ's other channels notice nothing."""
    other = MockChannel(2)
    bench.attach(other, SHARED)
    held, good = channel.push(1), other.push(1)
    interrupt(bench)
    if forge == "index":
        channel.push(999)
    elif forge == "twice":
        channel.push(1)
    else:
        channel.set_tail(1 << 40)
    interrupt(bench)
    assert bench.asked == [("fence", 1), ("fenced", 1)]
    assert channel.completions() == [(held, 0, ABORTED)]
    assert any("fenced" in text for text in bench.texts())
    other.set_status(1, 1)
    interrupt(bench)
    assert other.completions() == [(good, 1, NOERROR)]


def test_detach_completes_what_is_left(bench: DriverBench, channel: MockChannel) -> None:
    """A client that closes its channel finds every descriptor in the ring."""
    done, open_ = channel.push(0), channel.push(1)
    channel.set_status(0, 1)
    assert bench.verb("detach", channel=1)["ok"] == {"swept": 2}
    assert channel.completions() == [(done, 1, NOERROR), (open_, 0, ABORTED)]
    assert bench.verb("detach", channel=1)["ok"] == {}
    bench.channels.clear()
    channel.close()


# ---- halt ------------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("HLT-01")
def test_a_software_halt_is_believed_at_once_and_handed_over(bench: DriverBench) -> None:
    """The handler returns; the work runs later."""
    bench.device.halt()
    bench.driver.interrupt(0, 0)
    assert bench.driver.devices[0].state is DriverState.HALTED
    assert not bench.driver.works.idle


@pytest.mark.conformance("HLT-02", "HLT-03", "HLT-04", "HLT-05")
@pytest.mark.parametrize(
    ("reset_type", "need"), [(ResetType.FLR, "FLR"), (ResetType.WARM, "system reset"), (ResetType.COLD, "system reset")]
)
def test_any_other_halt_gives_the_device_up(bench: DriverBench, channel: MockChannel, reset_type: ResetType, need: str) -> None:
    """Kernel WQs quiesced, state cleared: the device reads disabled, its WQs have no type, size or group."""
    ticket = channel.push(0)
    bench.device.halt(reset_type)
    bench.run()
    assert f"idxd halted, need {need}." in bench.texts()
    assert bench.driver.devices[0].state is DriverState.DISABLED
    wq = bench.wq(SHARED)
    assert (wq.enabled, wq.type, wq.size, wq.group_id, wq.gate) == (False, WqType.NONE, 0, -1, DEAD)
    assert channel.completions() == [(ticket, 0, ABORTED)]


@pytest.mark.conformance("HLT-06")
def test_a_read_only_device_keeps_its_wq_settings() -> None:
    """Only the device state changes."""
    with configured(MockDevice(config_en=False)) as bench:
        bench.device.halt(ResetType.FLR)
        bench.run()
        assert bench.driver.devices[0].state is DriverState.DISABLED
        assert (bench.wq(SHARED).size, bench.wq(SHARED).group_id) == (32, 2)


@pytest.mark.conformance("HLT-07")
def test_a_halted_device_is_sent_no_command(bench: DriverBench) -> None:
    """The caller sees 0x03; the log says so."""
    from idxdd.driver.commands import cmd_exec
    from idxdd.spec.codes import DeviceState

    bench.device.set_state(DeviceState.HALT)
    results: list[object] = []
    steps = cmd_exec(bench.driver.devices[0], Command.DRAIN_WQ, 1)
    bench.driver.works.queue(("test", 0), "test", steps, lambda result, error: results.append(result))
    bench.run()
    assert results == [CmdErr.HW_ERR]
    assert bench.device.commands == []
    assert bench.texts() == ["Device is HALTED!"]


@pytest.mark.conformance("HLT-13")
def test_two_halts_are_one_work(bench: DriverBench) -> None:
    """The second finds the first queued (DEF-08)."""
    for _ in range(2):
        bench.device.halt()
        bench.driver.interrupt(0, 0)
        bench.device.pump()
    bench.run()
    assert [command for command, _, _ in bench.device.commands].count(Command.RESET_DEVICE) == 1


def test_a_software_halt_recovers(bench: DriverBench, channel: MockChannel) -> None:
    """Lists flushed, reset, configuration and every WQ back; a dedicated WQ's owner keeps its PASID; gates reopen."""
    bench.verb("open", wq=0, pasid=5, client=1)
    ticket = channel.push(0)
    bench.device.halt()
    bench.run()
    assert channel.completions() == [(ticket, 0, ABORTED)]
    assert [bench.device.wqcfg(wq).wq_state for wq in range(5)] == [1, 1, 1, 1, 0]
    assert (bench.wq(SHARED).gate, bench.wq(DEDICATED).gate) == (LIVE, LIVE)
    assert (bench.device.wqcfg(0).pasid_en, bench.device.wqcfg(0).pasid) == (True, 5)
    assert bench.driver.devices[0].state is DriverState.ENABLED


def test_a_wq_that_cannot_be_enabled_again_is_named(bench: DriverBench) -> None:
    """A warning, its bit cleared, its gate dead."""
    bench.device.refuse[Command.REQUEST_INT_HANDLE] = CmdErr.NO_HANDLE
    bench.device.halt()
    bench.run()
    assert [text for text in bench.texts() if text.startswith("Unable")] == [
        f"Unable to re-enable wq wq0.{wq}" for wq in (SHARED, DEDICATED)
    ]
    assert bench.driver.devices[0].block.enabled_bitmap == 0b0011
    assert (bench.wq(SHARED).gate, bench.wq(DEDICATED).gate) == (DEAD, DEAD)


@pytest.mark.conformance("IRQ-05", "IRQ-14")
def test_a_command_waiter_is_woken_by_a_halt(bench: DriverBench) -> None:
    """DEF-01: the completion is lost with the halt; the verb ends with status 0x03 instead of hanging."""
    bench.device.hold_commands = True
    number = bench.send("close", wq=1, pasid=9, client=1)
    number = bench.send("disable_wq", wq=1)
    bench.run()
    bench.device.halt(ResetType.FLR)
    bench.run()
    assert number in bench.answers


# ---- revoke ----------------------------------------------------------------------------------------------------------------
def revoke(bench: DriverBench) -> None:
    bench.device.commands.clear()
    bench.device.raise_cause(REVOKED)
    bench.run()


@pytest.mark.conformance("REV-01")
def test_revoke_without_handle_support() -> None:
    """One warning, no command."""
    with configured(MockDevice(int_handles=False)) as bench:
        revoke(bench)
        assert bench.texts() == ["Unexpected int handle refresh interrupt."]
        assert bench.device.commands == []


@pytest.mark.conformance("REV-02", "REV-03", "REV-04", "REV-11", "REV-13")
def test_equal_handles_change_nothing(bench: DriverBench) -> None:
    """Asked for in order, for kernel WQs only; no drain, nothing released."""
    revoke(bench)
    assert bench.device.commands == [(Command.REQUEST_INT_HANDLE, wq + 1, True) for wq in (SHARED, DEDICATED)]
    assert bench.wq(SHARED).gate == LIVE


@pytest.mark.conformance("REV-05", "REV-06")
def test_a_new_handle_is_switched_while_nobody_is_inside(bench: DriverBench, channel: MockChannel) -> None:
    """Held submitters read the new handle when the gate opens again."""
    bench.device.handles = {SHARED + 1: 40}
    channel.set_in_submit(True)
    bench.device.raise_cause(REVOKED)
    for _ in range(20):
        bench.turn()
    assert (bench.wq(SHARED).gate, bench.wq(SHARED).int_handle) == (CLOSED, SHARED + 1)
    channel.set_in_submit(False)
    bench.run()
    assert (bench.wq(SHARED).gate, bench.wq(SHARED).int_handle) == (LIVE, 40)


@pytest.mark.conformance("REV-09", "REV-10")
def test_a_refused_handle_gates_the_wq(bench: DriverBench, channel: MockChannel) -> None:
    """Handle invalid, gate dead, state still enabled; 0x19 ends WRITE_FAILED, the unfinished stay."""
    revoked, unfinished = channel.push(0), channel.push(1)
    channel.set_status(0, 0x19)
    bench.device.refuse[Command.REQUEST_INT_HANDLE] = CmdErr.NO_HANDLE
    revoke(bench)
    wq = bench.wq(SHARED)
    assert (wq.int_handle, wq.gate, wq.enabled) == (None, DEAD, True)
    assert "get int handle 3 failed: -6" in bench.texts()
    assert channel.completions() == [(revoked, 0x19, WRITE_FAILED)]
    assert unfinished
    assert bench.wq(SHARED).channels[1].native.listed == 1


@pytest.mark.conformance("REV-08")
def test_the_drain_asks_for_nothing_but_an_interrupt(bench: DriverBench, channel: MockChannel) -> None:
    """Descriptors that carry the old handle get 0x19 and raise nothing: the drain's interrupt makes wq_thread find them."""
    revoked(channel)
    bench.device.handles = {SHARED + 1: 40}
    revoke(bench)
    (drain,) = channel.own_submitted()
    assert drain == Descriptor.encode(opcode=Opcode.DRAIN, flags=Flag.RCI, priv=True, pasid=1, int_handle=40).pack()
    interrupt(bench)  # what the drain causes
    assert [Descriptor.unpack(desc).int_handle for desc in channel.own_submitted()] == [40]


@pytest.mark.conformance("REV-07")
def test_a_dedicated_wq_is_drained_100_us_after_its_gate_opened(bench: DriverBench) -> None:
    """Earlier posted writes reach the device first."""
    channel = MockChannel(2)
    bench.attach(channel, DEDICATED)
    bench.device.handles = {DEDICATED + 1: 41}
    bench.device.raise_cause(REVOKED)
    for _ in range(50):
        bench.turn()
    assert (bench.wq(DEDICATED).gate, bench.wq(DEDICATED).int_handle) == (LIVE, 41)
    bench.clock.advance(99e-6)
    bench.turn()
    assert channel.own_submitted() == []
    bench.clock.advance(2e-6)
    bench.turn()
    assert len(channel.own_submitted()) == 1


def test_a_drain_that_cannot_be_sent_is_warned_about(bench: DriverBench, channel: MockChannel) -> None:
    """As the driver does; nothing hangs."""
    channel.set_own(closed=1)
    bench.reopens = False
    bench.device.handles = {SHARED + 1: 40}
    revoke(bench)
    assert "Failed to submit drain desc on wq 2" in bench.texts()
    assert bench.driver.works.idle


@pytest.mark.conformance("REV-12")
def test_a_revoke_without_room_for_its_work_quiesces_every_kernel_wq(bench: DriverBench, channel: MockChannel) -> None:
    """As the kernel when it gets no memory in the interrupt: one error line, no command, gates dead, submitters told."""
    bench.driver.works.limit = 0
    revoke(bench)
    assert bench.texts() == ["Failed to allocate work for int handle revoke"]
    assert bench.device.commands == []
    assert [(bench.wq(wq).gate, bench.wq(wq).enabled) for wq in (SHARED, DEDICATED)] == [(DEAD, True), (DEAD, True)]
    bench.kill()
    bench.start()
    bench.run()
    assert bench.device.commands == [], "it is no work that a successor owes"


@pytest.mark.conformance("CMP-08")
def test_0x19_without_room_for_its_resubmission_fails(bench: DriverBench, channel: MockChannel) -> None:
    """WRITE_FAILED, as without memory for the kernel's work item."""
    ticket = revoked(channel)
    bench.driver.works.limit = 0
    interrupt(bench)
    assert (channel.completions(), channel.own_submitted()) == ([(ticket, 0x19, WRITE_FAILED)], [])
