"""Known defects of the driver by id: each reproduced when it is on, and its suggested behaviour when it is off."""

from pathlib import Path
from typing import Any

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.commands import cmd_exec
from idxdd.driver.oops import Oops
from idxdd.driver.quirks import DEFAULT_QUIRKS, QUIRKS, parse_quirks
from idxdd.driver.state import OPENS_MAX, DriverState
from idxdd.driver.submit import quiesce
from idxdd.driver.workqueue import DriverError
from idxdd.spec.codes import CmdErr, Command, DeviceState, DriverStatus, InterruptCause, ResetType, WqState
from idxdd.spec.records import EventLogEntry
from idxdd.spec.registers import EVLCFG, EVLSTATUS, SWERR
from idxdd.testing.mock_device import MockChannel, MockDevice

SHARED = 2
ABORTED = 3


def states(bench: DriverBench) -> list[int]:
    return [bench.device.wqcfg(wq).wq_state for wq in range(4)]


def command_codes(bench: DriverBench) -> list[Command]:
    return [command for command, _, _ in bench.device.commands]


def test_every_id_can_be_switched() -> None:
    """DEF-01 to DEF-18, in order; the tests of this file show each of them on and off."""
    assert [*QUIRKS] == [f"DEF-{number:02d}" for number in range(1, 19)]
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert [quirk for quirk in QUIRKS if f'["{quirk}"]' not in texts and f'["-{quirk}"]' not in texts] == []


@pytest.mark.parametrize(("names", "on"), [([], DEFAULT_QUIRKS), (["DEF-02", "-DEF-03"], {"DEF-02", "DEF-09"})])
def test_quirks_are_named(names: list[str], on: set[str]) -> None:
    """Those that are on by default can be switched off."""
    assert parse_quirks(names) == on


@pytest.mark.parametrize("name", ["DEF-19", "def-02", "", "--DEF-02"])
def test_an_unknown_quirk_is_refused_by_name(name: str) -> None:
    """One line, which says what there is."""
    with pytest.raises(DriverError, match=r"^quirks: "):
        parse_quirks([name])


@pytest.mark.parametrize("quirks", [[], ["DEF-01"]])
def test_def_01_a_command_that_a_halt_interrupts(quirks: list[str]) -> None:
    """Off: its waiter gets 0x03. On: it waits for ever, as the kernel's."""
    with configured(quirks=quirks) as bench:
        bench.device.hold_commands = True
        number = bench.send("disable_wq", wq=1)
        bench.run()
        bench.device.set_state(DeviceState.HALT, ResetType.FLR)
        bench.device.raise_cause(InterruptCause.HALT | InterruptCause.CMD)
        bench.run()
        assert (number in bench.answers) == (not quirks)
        assert bench.driver.works.idle == (not quirks)


def test_def_02_off_a_software_halt_recovers() -> None:
    """Reset Device goes out to the halted device, and every WQ comes back."""
    with configured() as bench:
        bench.device.commands.clear()
        bench.device.halt()
        bench.run()
        assert Command.RESET_DEVICE in command_codes(bench)
        assert (bench.driver.devices[0].state, states(bench)) == (DriverState.ENABLED, [WqState.ENABLED] * 4)


@pytest.mark.conformance("HLT-08")
def test_def_02_reinit_of_a_configurable_device_loses_its_configuration() -> None:
    """Nothing is sent to the halted device; cmd_status tells; the enabled bitmap keeps its bits."""
    with configured(quirks=["DEF-02"]) as bench:
        device = bench.driver.devices[0]
        bench.device.commands.clear()
        bench.device.halt()
        bench.run()
        assert bench.device.commands == []
        assert bench.texts() == ["Device is HALTED!"]
        assert (device.state, device.block.cmd_status) == (DriverState.DISABLED, 0x800D0000)
        assert not any(wq.enabled or wq.size for wq in device.wqs)
        assert device.block.enabled_bitmap == 0b1111


@pytest.mark.conformance("HLT-09")
def test_def_02_reinit_of_a_read_only_device_whose_halt_is_gone() -> None:
    """Reset, Enable, and nothing for WQs that the driver still believes to be enabled."""
    with configured(MockDevice(config_en=False), quirks=["DEF-02"]) as bench:
        bench.device.commands.clear()
        bench.device.halt()
        bench.driver.interrupt(0, 0)
        bench.device.set_state(DeviceState.DISABLED)
        bench.run()
        assert command_codes(bench) == [Command.RESET_DEVICE, Command.ENABLE_DEVICE]
        assert bench.driver.devices[0].state is DriverState.ENABLED
        assert [wq.enabled for wq in bench.driver.devices[0].wqs[:4]] == [True] * 4
        assert states(bench) == [WqState.DISABLED] * 4


@pytest.mark.conformance("HLT-10")
@pytest.mark.parametrize("quirks", [[], ["DEF-02"]])
def test_reinit_that_fails_at_enable_leaves_the_device_disabled(quirks: list[str]) -> None:
    """With and without the recovery."""
    with configured(MockDevice(config_en=False), quirks=quirks) as bench:
        bench.device.refuse[Command.ENABLE_DEVICE] = CmdErr.HW_ERR
        bench.device.halt()
        bench.driver.interrupt(0, 0)
        bench.device.set_state(DeviceState.DISABLED)
        bench.run()
        assert bench.driver.devices[0].state is DriverState.DISABLED


@pytest.mark.parametrize(("quirks", "state"), [([], DriverState.DISABLED), (["-DEF-03"], DriverState.HALTED)])
def test_def_03_what_a_device_reads_that_is_given_up(quirks: list[str], state: DriverState) -> None:
    """On by default: sysfs says disabled."""
    with configured(quirks=quirks) as bench:
        bench.device.halt(ResetType.FLR)
        bench.run()
        assert bench.driver.devices[0].state is state


@pytest.mark.parametrize(("quirks", "works"), [([], 1), (["DEF-08"], 2)])
def test_def_08_two_halts_before_the_work_runs(quirks: list[str], works: int) -> None:
    """Off: one work. On: the device is given up twice."""
    with configured(quirks=quirks) as bench:
        for _ in range(2):
            bench.device.halt(ResetType.FLR)
            bench.driver.interrupt(0, 0)
            bench.device.pump()
        bench.run()
        assert bench.texts().count("idxd halted, need FLR.") == works


@pytest.mark.parametrize(("quirks", "bitmap"), [([], 0b1111), (["-DEF-09"], 0b1101)])
def test_def_09_the_bitmap_after_an_unbind(quirks: list[str], bitmap: int) -> None:
    """On by default: a later re-init tries to enable what was unbound."""
    with configured(quirks=quirks) as bench:
        bench.verb("disable_wq", wq=1)
        assert bench.driver.devices[0].block.enabled_bitmap == bitmap


@pytest.mark.parametrize("quirks", [[], ["DEF-10"]])
def test_def_10_a_second_quiesce(quirks: list[str]) -> None:
    """Off: nothing to do. On: it waits for a completion that the first has consumed."""
    with configured(quirks=quirks) as bench:
        ended: list[Any] = []
        for _ in range(2):
            bench.driver.works.queue(("test", 0), "quiesce", quiesce(bench.wq(SHARED)), lambda *end: ended.append(end))
        bench.run()
        assert ended == [(None, None)] * (1 if quirks else 2)


@pytest.mark.parametrize("quirks", [[], ["DEF-12"]])
def test_def_12_interrupts_and_descriptors_after_a_halt_without_recovery(quirks: list[str]) -> None:
    """Off: the lists are flushed and the handle is invalid. On: both stay for ever."""
    with configured(quirks=quirks) as bench:
        channel = MockChannel()
        bench.attach(channel, SHARED)
        ticket = channel.push(0)
        bench.device.halt(ResetType.FLR)
        bench.run()
        assert channel.completions() == ([] if quirks else [(ticket, 0, ABORTED)])
        assert bench.wq(SHARED).int_handle == (SHARED + 1 if quirks else None)
        assert bench.wq(SHARED).gate == 0


@pytest.mark.parametrize("quirks", [[], ["DEF-16"]])
def test_def_16_a_result_beside_a_success(quirks: list[str]) -> None:
    """Off: the error byte decides. On: the whole word, so that the WQ cannot be enabled."""
    with configured(quirks=quirks) as bench:
        bench.verb("disable_wq", wq=1)
        bench.device.results[Command.ENABLE_WQ] = 5
        answer = bench.verb("enable_wq", wq=1)
        assert ("ok" in answer) == (not quirks)
        assert bench.wq(1).enabled == (not quirks)


def test_def_16_a_handle_is_a_result() -> None:
    """Masked, every handle would be 0."""
    with configured() as bench:
        results: list[object] = []
        steps = cmd_exec(bench.driver.devices[0], Command.REQUEST_INT_HANDLE, 2)
        bench.driver.works.queue(("test", 0), "test", steps, lambda result, error: results.append(result))
        bench.run()
        assert results == [2 << 8]


@pytest.mark.parametrize("quirks", [[], ["DEF-17"]])
def test_def_17_an_open_without_room_for_its_record(quirks: list[str]) -> None:
    """Off: ENOMEM. On: success, and nobody knows of the open."""
    with configured(quirks=quirks) as bench:
        for entry in range(OPENS_MAX):
            block = bench.driver.state.open_block(entry)
            block.wq, block.verb = 1, 1_000_000 + entry
        bench.driver.state.header.opens_high = OPENS_MAX
        answer = bench.verb("open", wq=1, pasid=7, client=1)
        assert answer.get("ok") == ({} if quirks else None)
        assert answer.get("error", {}).get("code") == (None if quirks else "ENOMEM")
        assert bench.wq(1).clients == 0


# ---- what the kernel does not survive ----------------------------------------------------------------------------------
def _goes_on(bench: DriverBench) -> None:
    """idxdd-irq is started anew, meets nothing that would end it again, and works."""
    bench.kill()
    bench.start()
    bench.run()
    assert "ok" in bench.verb("disable_wq", wq=1)


@pytest.mark.parametrize("quirks", [[], ["DEF-05"]])
def test_def_05_a_software_error_of_a_wq_that_there_is_not(quirks: list[str]) -> None:
    """Off: reported, nobody is woken. On: the handler reads past its array, before it has said anything."""
    with configured(quirks=quirks) as bench:
        bench.device.latch_swerr(SWERR.encode(error=0x10, wq_idx_valid=True, wq_idx=9))
        if quirks:
            with pytest.raises(Oops):
                bench.run()
            assert [text[:8] for text in bench.texts()] == ["BUG: una"]
            _goes_on(bench)
        else:
            bench.run()
            assert [text[:6] for text in bench.texts()] == ["err[0]", "err[1]", "err[2]", "err[3]", "SWERR."]
        assert bench.swerr_wakes == []


@pytest.mark.parametrize("quirks", [[], ["DEF-05"]])
def test_def_05_an_event_log_entry_of_a_kernel_wq(quirks: list[str]) -> None:
    """Off: a line, and the log is read on. On: the work queue that only user WQs have is missing, and head stays."""
    with configured(MockDevice(evl=True), quirks=quirks) as bench:
        bench.device.log_entry(EventLogEntry.encode(error=0x1A, wq_idx=SHARED, pasid=7))
        if quirks:
            with pytest.raises(Oops):
                bench.run()
            assert EVLSTATUS(bench.device.get(EVLSTATUS)).head == 0
            _goes_on(bench)
        else:
            bench.run()
            assert bench.texts() == ["Event log entry of wq 2, a kernel WQ."]
            assert EVLSTATUS(bench.device.get(EVLSTATUS)).head == 1
        assert bench.driver.state.faults(0) == []


@pytest.mark.parametrize("quirks", [[], ["DEF-18"]])
@pytest.mark.parametrize("vectors", [9, 12])
def test_def_18_more_vectors_than_wqs_and_one(quirks: list[str], vectors: int) -> None:
    """Off: the loop ends at the last WQ. On: it goes on to the last vector, if there are more."""
    with configured(quirks=quirks) as bench:
        bench.vector_count = vectors
        bench.kill()
        bench.start()
        bench.run()
        bench.device.handles = {SHARED + 1: 40}
        bench.device.raise_cause(1 << 31)
        if quirks and vectors > 9:
            with pytest.raises(Oops):
                bench.run()
            _goes_on(bench)
        else:
            bench.run()
        assert bench.wq(SHARED).int_handle == 40


# ---- the lists ---------------------------------------------------------------------------------------------------------
def _with_channel(bench: DriverBench) -> MockChannel:
    channel = MockChannel()
    bench.attach(channel, SHARED)
    return channel


@pytest.mark.conformance("SUB-08")
@pytest.mark.parametrize("quirks", [[], ["DEF-06"]])
def test_def_06_what_has_finished_beside_a_failed_submission(quirks: list[str]) -> None:
    """Off: every finished one is completed itself. On: they are forgotten, until the channel is swept."""
    with configured(quirks=quirks) as bench:
        channel = _with_channel(bench)
        done, victim = channel.push(0), channel.push(1)
        channel.set_status(0, 1)
        channel.set_status(1, 0xFF)
        for _ in range(2):
            bench.device.post(SHARED + 1)
            bench.run()
        assert channel.completions() == [(victim, 0xFF, 2)] + ([] if quirks else [(done, 1, 0)])
        bench.verb("detach", channel=1)
        assert channel.completions() == ([(done, 1, 0)] if quirks else [])
        bench.channels.clear()
        channel.close()


@pytest.mark.parametrize("quirks", [[], ["DEF-07"]])
def test_def_07_a_failed_submission_is_freed(quirks: list[str]) -> None:
    """Off: once. On: twice; a client that knows its tickets drops the second."""
    with configured(quirks=quirks) as bench:
        channel = _with_channel(bench)
        victim, good = channel.push(1), channel.push(2)
        channel.set_status(1, 0xFF)
        channel.set_status(2, 1)
        bench.device.post(SHARED + 1)
        bench.run()
        completed = channel.completions()
        assert completed.count((victim, 0xFF, 2)) == (2 if quirks else 1)
        assert completed.count((good, 1, 0)) == 1


@pytest.mark.parametrize(("quirks", "forgotten"), [([], False), (["DEF-14"], True)])
def test_def_14_a_descriptor_used_again_while_others_are_called_back(quirks: list[str], forgotten: bool) -> None:
    """Off: all that had finished is completed. On: the walk has lost its way after the one that was used again."""
    with configured(quirks=quirks) as bench:
        channel = _with_channel(bench)
        tickets = [channel.push(slot) for slot in range(3)]
        bench.device.post(SHARED + 1)
        bench.run()
        for slot in range(3):
            channel.set_status(slot, 1)
        channel.push(2)  # the newest was first on the list: its owner was called back and enters it at once
        channel.set_status(2, 0)
        native = bench.wq(SHARED).channels[1].native
        held = [native.holds(ticket) for ticket in tickets]
        assert held == [True] * 3
        channel.set_status(2, 1)
        bench.driver.interrupt(0, SHARED + 1)
        done = [ticket for ticket, _, _ in channel.completions()]
        assert (tickets[2] in done, tickets[1] in done, tickets[0] in done) == (True, not forgotten, not forgotten)


@pytest.mark.parametrize("quirks", [[], ["DEF-13"]])
def test_def_13_the_skip_bitmap_of_a_large_log(quirks: list[str]) -> None:
    """Off: one bit an entry. On: one a byte of the log, so that a large one finds no memory."""
    with configured(MockDevice(evl=True), quirks=quirks) as bench:
        for size, fits in ((1024, True), (1025, not quirks), (65535, not quirks)):
            bench.verb("disable_device", device=0)
            assert "ok" in bench.verb("config", object="dsa0", attributes=[["event_log_size", str(size)]])
            answer = bench.verb("enable_device", device=0)
            assert ("ok" in answer) == fits, size
            if fits:
                assert EVLCFG(bench.device.get(EVLCFG)).log_size == size
            else:
                assert answer["error"]["code"] == "ENOMEM"
                assert bench.driver.devices[0].block.cmd_status == DriverStatus.DEV_EVL_ERR
