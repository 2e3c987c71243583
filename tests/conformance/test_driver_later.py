"""What later versions of the driver do differently, each with its option on: FLR recovery, the halt check, rate limits."""

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.later import LATER, parse_later
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType, WqState, WqType
from idxdd.spec.registers import EVLCFG, GENCTRL, GENSTS, SWERR
from idxdd.testing.mock_device import MockChannel, MockDevice

USER, SHARED, DEDICATED = 1, 2, 3
ABORTED = 3
CONFIG = [
    {
        "dev": "dsa0",
        "read_buffer_limit": 40,
        "event_log_size": 128,
        "groups": [
            {
                "dev": "group0.1",
                "read_buffers_reserved": 8,
                "read_buffers_allowed": 64,
                "traffic_class_a": 3,
                "desc_progress_limit": 2,
                "grouped_workqueues": [
                    {"dev": "wq0.1", "mode": "shared", "size": 16, "threshold": 9, "priority": 7, "type": "user", "name": "u",
                     "driver_name": "user", "max_batch_size": 64, "max_transfer_size": 65536},
                    {"dev": "wq0.2", "mode": "shared", "size": 8, "threshold": 8, "priority": 3, "type": "kernel", "name": "k"},
                ],
                "grouped_engines": [{"dev": "engine0.2"}, {"dev": "engine0.3"}],
            }
        ],
    }
]  # fmt: skip


def flr_halt(bench: DriverBench) -> None:
    bench.device.halt(ResetType.FLR)
    bench.run()


def wq_states(bench: DriverBench) -> list[int]:
    return [bench.device.wqcfg(wq).wq_state for wq in range(4)]


def test_unknown_names_are_refused() -> None:
    """With those there are."""
    assert parse_later(LATER) == set(LATER)
    with pytest.raises(DriverError, match=r"^later: 'x' is none of flr, "):
        parse_later(["x"])


@pytest.mark.conformance("HLT-14")
def test_an_flr_halt_is_recovered_from() -> None:
    """Error interrupts masked and HALTED kept until the function is reset; then the configuration is there again."""
    with configured(later=["flr"]) as bench:
        bench.answer_asks = False
        before = [bench.device.wqcfg(wq).wq_size for wq in range(4)]
        flr_halt(bench)
        genctrl = GENCTRL(bench.device.get(GENCTRL))
        assert bench.driver.devices[0].state is DriverState.HALTED
        assert bench.device.flrs == 1
        assert (genctrl.softerr_int_en, genctrl.halt_int_en) == (False, False)
        bench.answer_asks = True
        bench.driver.questions.answer(1)
        bench.run()
        genctrl = GENCTRL(bench.device.get(GENCTRL))
        assert (genctrl.softerr_int_en, genctrl.halt_int_en) == (True, True)
        assert bench.driver.devices[0].state is DriverState.ENABLED
        assert bench.device.state is DeviceState.ENABLED
        assert [bench.device.wqcfg(wq).wq_size for wq in range(4)] == before
        assert not any("need FLR" in text for text in bench.texts())


def test_without_the_option_the_device_is_given_up() -> None:
    """As the driver this project follows does."""
    with configured() as bench:
        flr_halt(bench)
        assert (bench.device.flrs, bench.driver.devices[0].state) == (0, DriverState.DISABLED)


@pytest.mark.conformance("HLT-15")
def test_user_wqs_come_back_after_an_flr_and_kernel_wqs_do_not() -> None:
    """Kernel WQs are named, their bits cleared; what their channels held is completed, their gates are dead."""
    with configured(later=["flr"]) as bench:
        channel = MockChannel()
        bench.attach(channel, SHARED)
        ticket = channel.push(0)
        bench.verb("open", wq=0, pasid=5, client=1)
        flr_halt(bench)
        assert wq_states(bench) == [WqState.ENABLED, WqState.ENABLED, WqState.DISABLED, WqState.DISABLED]
        refused = [text for text in bench.texts() if "unable" in text]
        assert refused == [f"HALT: unable to re-enable wq wq0.{wq}" for wq in (SHARED, DEDICATED)]
        device = bench.driver.devices[0]
        assert (device.block.enabled_bitmap, [wq.type for wq in device.wqs[:2]]) == (0b0011, [WqType.USER] * 2)
        assert (bench.wq(SHARED).gate, bench.wq(SHARED).int_handle) == (0, None)
        assert channel.completions() == [(ticket, 0, ABORTED)]
        assert "ok" in bench.verb("open", wq=0, pasid=5, client=1)
        assert bench.device.wqcfg(0).pasid == 5


@pytest.mark.conformance("HLT-16")
def test_what_an_flr_restores() -> None:
    """Read buffers, traffic classes, engines, WQ attributes, the log's size; progress limits are lost."""
    with configured(MockDevice(evl=True, progress_limit=True), later=["flr"]) as bench:
        bench.verb("disable_device", device=0)
        assert bench.verb("load_config", config=CONFIG, enable=True)["ok"]["applied"]
        before, group = bench.device.wqcfg(1), bench.device.grpcfg(1)
        assert group.work_descs_limit == 2
        flr_halt(bench)
        assert bench.device.wqcfg(1) == before
        assert bench.device.grpcfg(1) == group.replace(work_descs_limit=0)
        assert EVLCFG(bench.device.get(EVLCFG)).log_size == 128
        assert bench.driver.devices[0].rdbuf_limit == 40
        assert bench.wq(1).name == "u"


@pytest.mark.conformance("HLT-17")
def test_an_flr_that_fails_leaves_the_device_halted() -> None:
    """Said once; commands go on being refused; another halt starts another."""
    with configured(later=["flr"]) as bench:
        bench.device.refuse_flr = True
        flr_halt(bench)
        assert [line["text"] for line in bench.lines if line["level"] == "error"] == ["FLR failed"]
        assert bench.driver.devices[0].state is DriverState.HALTED
        bench.device.refuse_flr = False
        bench.device.raise_cause(1 << 4)
        bench.run()
        assert bench.driver.devices[0].state is DriverState.ENABLED


def test_a_configuration_that_the_reset_device_refuses_is_said() -> None:
    """The device stays disabled."""
    with configured(later=["flr"]) as bench:
        bench.device.refuse[Command.ENABLE_DEVICE] = CmdErr.HW_ERR
        flr_halt(bench)
        assert any(text.startswith("HALT: binding dsa0 fails") for text in bench.texts())
        assert bench.driver.devices[0].state is DriverState.DISABLED


def test_two_halts_are_one_flr() -> None:
    """The second finds the first queued."""
    with configured(later=["flr"]) as bench:
        for _ in range(2):
            bench.device.set_state(DeviceState.HALT, ResetType.FLR)
            bench.device.raise_cause(1 << 4)
            bench.driver.interrupt(0, 0)
            bench.device.pump()
        bench.run()
        assert bench.device.flrs == 1


def test_other_halts_are_as_ever() -> None:
    """A software halt is re-initialised, a system reset is needed for the rest."""
    with configured(later=["flr"]) as bench:
        bench.device.halt(ResetType.WARM)
        bench.run()
        assert bench.texts() == ["idxd halted, need system reset."]
        assert bench.device.flrs == 0


@pytest.mark.conformance("IRQ-19")
@pytest.mark.parametrize(("later", "read"), [([], True), (["halt-cause"], False)])
def test_whether_a_software_error_leads_to_a_look_at_gensts(later: list[str], read: bool) -> None:
    """Later versions look after a halt cause only."""
    with configured(later=later) as bench:
        bench.mmio.trace.clear()
        bench.device.latch_swerr(SWERR.encode(error=0x10))
        bench.run()
        assert any(entry[:2] == ("read", GENSTS.offset) for entry in bench.mmio.trace) == read


@pytest.mark.parametrize(("later", "lines"), [([], 24), (["swerr-ratelimit"], 8)])
def test_software_errors_may_be_rate_limited(later: list[str], lines: int) -> None:
    """Ten lines in five seconds: two errors' four lines, and none of half an error."""
    with configured(later=later) as bench:
        for operation in range(6):
            bench.device.latch_swerr(SWERR.encode(error=0x10, operation=operation))
            bench.run()
        assert len(bench.lines) == lines
        bench.clock.advance(6)
        bench.device.latch_swerr(SWERR.encode(error=0x10))
        bench.run()
        assert len(bench.lines) == lines + 4
