"""Conformance of commands, WQ and device life, and the character device's open and close: CMD-*, WQ-*, DEV-*, CDV-*."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.commands import cmd_exec
from idxdd.driver.config import DEFAULT_CONFIG
from idxdd.driver.device import disable_device, enable_device, request_int_handle
from idxdd.driver.state import DriverState
from idxdd.driver.workqueue import DriverError
from idxdd.driver.wq import check_wq, drv_enable_wq
from idxdd.spec.codes import CmdErr, Command, DriverStatus, WqMode, WqType
from idxdd.spec.registers import CMD, WQCFG

DEDICATED, SHARED, KERNEL_SHARED, KERNEL_DEDICATED, UNUSED = range(5)


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        bench.device.commands.clear()
        bench.device.writes.clear()
        yield bench


@pytest.fixture
def fresh() -> Iterator[DriverBench]:
    bench = DriverBench()
    bench.run()
    bench.device.commands.clear()
    yield bench
    bench.close()


def run(bench: DriverBench, steps: Any) -> tuple[Any, DriverError | None]:
    """A driver function as a work: its result and error."""
    outcome: list[tuple[Any, DriverError | None]] = []
    bench.driver.works.queue(("test", 0), "test", steps, lambda result, error: outcome.append((result, error)))
    bench.run()
    return outcome[0]


def config_without(change: Any) -> list[dict[str, Any]]:
    config = copy.deepcopy(DEFAULT_CONFIG)
    change(config[0])
    return config


# ---- commands --------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("CMD-01")
def test_one_command_at_a_time(bench: DriverBench) -> None:
    """Another waits until the first has completed."""
    device = bench.driver.devices[0]
    bench.device.hold_commands = True
    for key in range(2):
        bench.driver.works.queue(("test", key), "drain", cmd_exec(device, Command.DRAIN_PASID, 10 + key))
    bench.run()
    assert bench.device.commands == [(Command.DRAIN_PASID, 10, True)]
    bench.device.finish_command()
    bench.run()
    assert bench.device.commands[1:] == [(Command.DRAIN_PASID, 11, True)]
    bench.device.finish_command()
    bench.run()


@pytest.mark.conformance("CMD-02")
def test_only_reset_at_probe_and_handle_release_do_without_interrupt(bench: DriverBench) -> None:
    """Everything else sets bit 31."""
    bench.verb("disable_device", device=0)
    silent = {command for command, _, int_req in bench.device.commands if not int_req}
    assert silent == {Command.RELEASE_INT_HANDLE}
    assert len(bench.device.commands) > 8


@pytest.mark.conformance("CMD-03")
def test_operands(bench: DriverBench) -> None:
    """Enable takes the id; disable, drain and reset a mask within a block of 16."""
    bench.verb("disable_wq", wq=KERNEL_DEDICATED)
    bench.verb("enable_wq", wq=KERNEL_DEDICATED)
    operands = {command: operand for command, operand, _ in bench.device.commands}
    assert operands[Command.ENABLE_WQ] == KERNEL_DEDICATED
    assert operands[Command.DRAIN_WQ] == operands[Command.RESET_WQ] == 1 << KERNEL_DEDICATED


@pytest.mark.conformance("CMD-04")
def test_cmd_status_is_the_low_byte(bench: DriverBench) -> None:
    """Of the last CMDSTS."""
    bench.device.refuse[Command.DRAIN_PASID] = CmdErr.NONZERO_RESERVED
    run(bench, cmd_exec(bench.driver.devices[0], Command.DRAIN_PASID, 7))
    assert bench.driver.devices[0].block.cmd_status == CmdErr.NONZERO_RESERVED


@pytest.mark.conformance("CMD-05")
def test_already_enabled_counts_as_success(fresh: DriverBench) -> None:
    """0x10 of Enable Device and 0x21 of Enable WQ."""
    fresh.device.refuse = {Command.ENABLE_DEVICE: CmdErr.DEV_ENABLED, Command.ENABLE_WQ: CmdErr.WQ_ENABLED}
    assert "ok" in fresh.verb("configure", config=None)
    assert fresh.driver.devices[0].state is DriverState.ENABLED
    assert fresh.wq(DEDICATED).enabled


@pytest.mark.conformance("CMD-06")
def test_enabling_an_enabled_device_fails_without_a_command(bench: DriverBench) -> None:
    """ENXIO."""
    _, error = run(bench, enable_device(bench.driver.devices[0]))
    assert error is not None
    assert error.code == "ENXIO"
    assert bench.device.commands == []


@pytest.mark.conformance("CMD-07")
def test_disabling_a_disabled_device_is_done(fresh: DriverBench) -> None:
    """Without a command."""
    assert run(fresh, disable_device(fresh.driver.devices[0])) == (None, None)
    assert fresh.device.commands == []


@pytest.mark.conformance("CMD-08")
def test_a_handle_is_bits_23_to_8(bench: DriverBench) -> None:
    """Of CMDSTS."""
    bench.device.handles[3] = 0xBEEF
    assert run(bench, request_int_handle(bench.driver.devices[0], 3)) == (0xBEEF, None)


@pytest.mark.conformance("CMD-09")
def test_a_command_waits_as_long_as_it_takes(bench: DriverBench) -> None:
    """A drain may take hours."""
    bench.device.hold_commands = True
    number = bench.send("disable_wq", wq=SHARED)
    bench.run()
    bench.clock.advance(3600 * 24)
    bench.run()
    assert number not in bench.answers
    bench.device.hold_commands = False
    bench.device.finish_command()
    bench.run()
    assert "ok" in bench.answers[number]


@pytest.mark.parametrize("quirks", [[], ["DEF-01"]])
def test_a_command_whose_interrupt_is_lost_ends(quirks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was over and its verb hung for ever (`vector=0 do interrupt lost`); the kernel's does, and DEF-01 keeps that."""
    with configured(quirks=quirks) as bench:
        monkeypatch.setattr(bench.device, "raise_cause", lambda cause: None)
        number = bench.send("disable_wq", wq=SHARED)
        bench.run()
        assert number not in bench.answers
        for _ in range(10):
            bench.clock.advance(1)
            bench.run()
        assert (number in bench.answers) == (not quirks)
        said = [text for text in bench.texts() if text.endswith("is over and its interrupt did not come.")]
        assert bool(said) == (not quirks)
        if not quirks:
            assert "ok" in bench.answers[number]
            assert not bench.wq(SHARED).enabled


@pytest.mark.conformance("CMD-10")
def test_cmd_is_not_written_while_active(bench: DriverBench) -> None:
    """The driver's half: however many verbs wait, one CMD write (a second would be answered with 0x52)."""
    bench.device.hold_commands = True
    for wq in range(4):
        bench.send("disable_wq", wq=wq)
    bench.run()
    assert sum(offset == CMD.offset for offset, _, _ in bench.device.writes) == 1


# ---- WQs -------------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("WQ-01")
def test_enabling_an_enabled_wq_sends_nothing(bench: DriverBench) -> None:
    """Success."""
    from idxdd.driver.wq import enable_wq

    assert run(bench, enable_wq(bench.wq(SHARED))) == (None, None)
    assert bench.device.commands == []


@pytest.mark.conformance("WQ-02")
def test_disabling_a_disabled_wq_sends_nothing(bench: DriverBench) -> None:
    """Success."""
    from idxdd.driver.wq import disable_wq

    assert run(bench, disable_wq(bench.wq(UNUSED))) == (None, None)
    assert bench.device.commands == []


@pytest.mark.conformance("WQ-03")
def test_reset_leaves_size_and_group(bench: DriverBench) -> None:
    """Everything else goes back to its default."""
    from idxdd.driver.wq import reset_wq

    wq = bench.wq(SHARED)
    run(bench, reset_wq(wq))
    left = (wq.size, wq.group_id, wq.type, wq.name, wq.mode, wq.priority, wq.threshold, wq.max_transfer_size, wq.max_batch_size)
    assert left == (32, 1, WqType.NONE, "", WqMode.SHARED, 0, 0, 2 << 20, 32)


@pytest.mark.conformance("WQ-04")
def test_reset_keeps_the_bitmap_bit_and_disable_clears_it(bench: DriverBench) -> None:
    """DEF-09, as the driver does it."""
    from idxdd.driver.wq import disable_wq, reset_wq

    run(bench, reset_wq(bench.wq(0)))
    run(bench, disable_wq(bench.wq(1)))
    assert bench.driver.devices[0].block.enabled_bitmap & 0b11 == 0b01


@pytest.mark.conformance("WQ-05")
def test_a_mode_bit_is_only_cleared_by_a_reset(bench: DriverBench) -> None:
    """Configuration writes OR the old bits; after Disable (which keeps WQCFG) a dedicated WQ stays dedicated."""
    from idxdd.driver.configure import write_configuration
    from idxdd.driver.wq import disable_wq

    wq = bench.wq(DEDICATED)
    run(bench, disable_wq(wq))
    wq.mode = WqMode.SHARED
    write_configuration(bench.driver.devices[0])
    bench.device.pump()
    assert bench.device.wqcfg(DEDICATED).mode is WqMode.DEDICATED


@pytest.mark.conformance("WQ-06")
def test_the_checks_before_enabling_in_order(bench: DriverBench) -> None:
    """Device, already enabled, group, name, shared support, threshold: each hides those after it."""
    device, wq = bench.driver.devices[0], bench.wq(UNUSED)
    device.caps.wqcap = device.caps.wqcap.replace(shared_mode=False)
    device.set_state(DriverState.DISABLED)
    wq.set_enabled(True)
    expected = [
        (DriverStatus.DEV_NOT_ENABLED, "ENXIO", lambda: device.set_state(DriverState.ENABLED)),
        (DriverStatus.WQ_ENABLED, "EBUSY", lambda: wq.set_enabled(False)),
        (DriverStatus.WQ_NO_GRP, "ENXIO", lambda: setattr(wq, "group_id", 0)),
        (DriverStatus.WQ_NO_NAME, "ENXIO", lambda: setattr(wq, "name", "x")),
        (DriverStatus.WQ_NO_SVM, "ENXIO", lambda: setattr(device.caps, "wqcap", device.caps.wqcap.replace(shared_mode=True))),
        (DriverStatus.WQ_NO_THRESH, "ENXIO", lambda: setattr(wq, "threshold", 1)),
    ]
    found = []
    for _, _, mend in expected:
        with pytest.raises(DriverError) as caught:
            check_wq(wq)
        found.append((device.block.cmd_status, caught.value.code))
        mend()
    check_wq(wq)
    assert found == [(status, code) for status, code, _ in expected]


def test_a_kernel_wq_gets_permission_entry_handle_and_gate(bench: DriverBench) -> None:
    """The system PASID may name its vector; submitters read handle and gate."""
    bench.device.handles[KERNEL_SHARED + 1] = 77
    bench.verb("disable_wq", wq=KERNEL_SHARED)
    assert bench.device.permission(KERNEL_SHARED + 1).raw == 0
    bench.verb("enable_wq", wq=KERNEL_SHARED)
    wq, entry = bench.wq(KERNEL_SHARED), bench.device.permission(KERNEL_SHARED + 1)
    assert (wq.int_handle, wq.gate, entry.pasid_en, entry.pasid) == (77, 1, True, 1)
    assert Command.RELEASE_INT_HANDLE in [command for command, _, _ in bench.device.commands]


def test_without_handle_support_the_vector_is_the_handle() -> None:
    """CMDCAP bit 13 clear."""
    from idxdd.testing.mock_device import MockDevice

    with configured(MockDevice(int_handles=False)) as bench:
        assert bench.wq(KERNEL_SHARED).int_handle == KERNEL_SHARED + 1
        assert Command.REQUEST_INT_HANDLE not in [command for command, _, _ in bench.device.commands]


def test_a_failed_handle_request_unwinds(fresh: DriverBench) -> None:
    """cmd_status 0x80100000, the WQ disabled again, the permission entry clear, the gate dead."""
    fresh.device.refuse[Command.REQUEST_INT_HANDLE] = CmdErr.NO_HANDLE
    answer = fresh.verb("configure", config=None)
    assert answer["error"]["code"] == "ENXIO"
    assert f"{int(DriverStatus.WQ_IRQ_ERR):#x}" in answer["error"]["text"]
    wq = fresh.wq(KERNEL_SHARED)
    assert (wq.enabled, wq.type, wq.gate, fresh.device.permission(KERNEL_SHARED + 1).raw) == (False, WqType.NONE, 0, 0)
    assert fresh.device.wqcfg(KERNEL_SHARED).wq_state == 0


# ---- devices ---------------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("DEV-01")
def test_a_device_without_a_wq_in_a_group(bench: DriverBench) -> None:
    """ENXIO at bind, cmd_status 0x800d0000."""
    from idxdd.driver.bind import bind_device
    from idxdd.driver.config import DeviceConfig

    bench.verb("disable_device", device=0)
    _, error = run(bench, bind_device(bench.driver.devices[0], DeviceConfig(0, "dsa0", engines={0: 0})))
    assert error is not None
    assert (error.code, bench.driver.devices[0].block.cmd_status) == ("ENXIO", DriverStatus.WQ_NONE_CONFIGURED)


@pytest.mark.conformance("DEV-02")
def test_a_device_without_an_engine_in_a_group(bench: DriverBench) -> None:
    """ENXIO at bind, cmd_status as it was."""
    from idxdd.driver.bind import bind_device
    from idxdd.driver.config import DeviceConfig, WqConfig

    bench.verb("disable_device", device=0)
    bench.driver.devices[0].block.cmd_status = 0x42
    config = DeviceConfig(0, "dsa0", wqs=[WqConfig(0, 0, mode=WqMode.DEDICATED, size=8)])
    _, error = run(bench, bind_device(bench.driver.devices[0], config))
    assert error is not None
    assert (error.code, bench.driver.devices[0].block.cmd_status) == ("ENXIO", 0x42)


@pytest.mark.conformance("DEV-03")
def test_unbind_takes_active_wqs_with_it(bench: DriverBench) -> None:
    """A warning each; afterwards the hardware is reset."""
    bench.verb("disable_device", device=0)
    assert [text for text in bench.texts() if text.startswith("Active wq")] == [
        f"Active wq {n} on disable dsa0." for n in range(4)
    ]
    assert bench.device.commands[-1][0] is Command.RESET_DEVICE
    assert bench.driver.devices[0].state is DriverState.DISABLED


def test_binding_a_bound_device(bench: DriverBench) -> None:
    """ENXIO, cmd_status 0x80000010."""
    answer = bench.verb("enable_device", device="dsa0")
    assert answer["error"]["code"] == "ENXIO"
    assert bench.driver.devices[0].block.cmd_status == DriverStatus.DEV_ENABLED


@pytest.mark.conformance("HLT-11")
def test_after_a_reset_the_error_interrupts_are_on_again(bench: DriverBench) -> None:
    """A reset clears GENCTRL."""
    from idxdd.spec.registers import GENCTRL

    bench.verb("disable_device", device=0)
    assert GENCTRL(bench.device.get(GENCTRL)).raw & 0b11 == 0b11


def test_a_device_comes_back_after_disable(bench: DriverBench) -> None:
    """The configuration is written again from what the daemon was given."""
    bench.verb("disable_device", device=0)
    assert "ok" in bench.verb("enable_device", device=0)
    for wq in range(4):
        assert "ok" in bench.verb("enable_wq", wq=wq)
    assert [bench.device.wqcfg(wq).wq_state for wq in range(5)] == [1, 1, 1, 1, 0]
    assert [bench.device.wqcfg(wq).mode for wq in range(4)] == [1, 0, 0, 1]


# ---- open and close --------------------------------------------------------------------------------------------------------
@pytest.mark.conformance("CDV-01")
def test_a_dedicated_wq_has_one_client(bench: DriverBench) -> None:
    """EBUSY for the second, also when it is the same process."""
    assert "ok" in bench.verb("open", wq=DEDICATED, pasid=5, client=1)
    assert bench.verb("open", wq=DEDICATED, pasid=6, client=2)["error"]["code"] == "EBUSY"
    assert bench.verb("open", wq=DEDICATED, pasid=5, client=1)["error"]["code"] == "EBUSY"
    assert "ok" in bench.verb("close", wq=DEDICATED, pasid=5, client=1)
    assert "ok" in bench.verb("open", wq=DEDICATED, pasid=6, client=2)


@pytest.mark.conformance("CDV-02")
def test_a_dedicated_open_writes_the_pasid_between_disable_and_enable(bench: DriverBench) -> None:
    """WQCFG.pasid is writable only while the WQ is Disabled."""
    bench.verb("open", wq=DEDICATED, pasid=5, client=1)
    pasid_at = bench.device.wqcfg_at(DEDICATED) + 8
    order = [offset for offset, _, _ in bench.device.writes if offset in (CMD.offset, pasid_at)]
    assert order == [CMD.offset, pasid_at, CMD.offset]
    assert [command for command, _, _ in bench.device.commands] == [Command.DISABLE_WQ, Command.ENABLE_WQ]
    cfg = bench.device.wqcfg(DEDICATED)
    assert (cfg.pasid_en, cfg.pasid) == (True, 5)
    bench.verb("close", wq=DEDICATED, pasid=5, client=1)
    cfg = bench.device.wqcfg(DEDICATED)
    assert (cfg.pasid_en, cfg.pasid, cfg.wq_state) == (False, 0, 1)


@pytest.mark.conformance("CDV-05")
def test_closing_a_shared_wq_drains_the_pasid(bench: DriverBench) -> None:
    """Its own, and nothing else."""
    bench.verb("open", wq=SHARED, pasid=9, client=1)
    bench.verb("close", wq=SHARED, pasid=9, client=1)
    assert bench.device.commands == [(Command.DRAIN_PASID, 9, True)]


def test_an_open_of_a_wq_without_a_node(bench: DriverBench) -> None:
    """A disabled WQ and a kernel WQ have no character device."""
    for wq in (UNUSED, KERNEL_SHARED):
        assert bench.verb("open", wq=wq, pasid=5, client=1)["error"]["code"] == "ENODEV"


def test_wqcfg_of_the_default_configuration(bench: DriverBench) -> None:
    """What the device gets of it."""
    cfg = bench.device.wqcfg(KERNEL_SHARED)
    assert cfg == WQCFG.encode(
        wq_size=32, wq_thresh=32, priority=10, pasid_en=True, priv=True, max_xfer_shift=31, max_batch_shift=10, wq_state=1,
        op_config=0x3F,
    )  # fmt: skip
    group = bench.device.grpcfg(2)
    assert (group.wqs, group.engines, group.rdbufs_allowed) == (1 << 2, 1 << 2, 96)


def test_driver_name_mismatch_is_a_problem_of_the_configuration(fresh: DriverBench) -> None:
    """Named with path, rule and code before anything is applied."""

    def change(device: dict[str, Any]) -> None:
        device["groups"][0]["grouped_workqueues"][0]["driver_name"] = "crypto"

    answer = fresh.verb("configure", config=config_without(change))
    assert "[0].groups[0].grouped_workqueues[0].driver_name" in answer["error"]["text"]
    assert "WQ_NO_DRV_NAME" in answer["error"]["text"]
    assert fresh.device.commands == []


def test_enabling_twice_is_busy(bench: DriverBench) -> None:
    """EBUSY, cmd_status 0x80000021."""
    _, error = run(bench, drv_enable_wq(bench.wq(SHARED), WqType.USER))
    assert error is not None
    assert (error.code, bench.driver.devices[0].block.cmd_status) == ("EBUSY", DriverStatus.WQ_ENABLED)
