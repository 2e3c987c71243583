"""Halts that come while the work after a halt is running."""

import pytest
from driver_bench import configured

from idxdd.driver.state import DriverState
from idxdd.spec.codes import CmdErr, Command, DeviceState, InterruptCause, ResetType
from idxdd.spec.registers import GENSTS

TURNS = 40
"""More than one re-init takes."""


@pytest.mark.parametrize("turns", range(0, TURNS, 2))
def test_a_halt_in_the_middle_of_a_reinit_is_recovered_from_too(turns: int) -> None:
    """Its interrupt found the work queued, and the work that was running did not look again: the device stayed halted."""
    with configured() as bench:
        device = bench.driver.devices[0]
        enabled = [wq.id for wq in device.wqs if wq.enabled]
        bench.device.halt()
        for _ in range(turns):
            bench.turn()
        if GENSTS(bench.device.get(GENSTS)).state is DeviceState.ENABLED:
            bench.device.halt()
        bench.run()
        assert device.state is DriverState.ENABLED, bench.texts()
        assert [wq.id for wq in device.wqs if wq.enabled] == enabled, bench.texts()
        assert not device.block.reinit_queued


@pytest.mark.parametrize("turns", range(0, TURNS, 2))
def test_a_halt_that_needs_more_in_the_middle_of_a_reinit(turns: int) -> None:
    """Reset Device was refused and the work ended with an error, its mark left: no halt was ever handled again."""
    with configured() as bench:
        device = bench.driver.devices[0]
        bench.device.halt()
        for _ in range(turns):
            bench.turn()
        bench.device.halt(ResetType.FLR)
        bench.device.refuse[Command.RESET_DEVICE] = CmdErr.HW_ERR
        bench.run()
        assert device.state is DriverState.DISABLED  # DEF-03
        assert "idxd halted, need FLR." in bench.texts()
        assert not device.block.reinit_queued


def test_an_error_while_the_device_is_being_reset() -> None:
    """Its interrupt looked at GENSTS, found the halt, and told the work that Reset Device had failed: the configuration was
    written while the reset was still going on, which then cleared it, and Enable Device failed with 0x16."""
    with configured() as bench:
        device, mock = bench.driver.devices[0], bench.device
        mock.hold_commands = True
        mock.halt()
        bench.run()
        assert mock.commands[-1][0] is Command.RESET_DEVICE
        sent = len(mock.commands)
        mock.raise_cause(InterruptCause.ERR)
        bench.run()
        assert len(mock.commands) == sent, "nothing is sent before the reset is over"
        mock.hold_commands = False
        mock.finish_command()
        bench.run()
        assert device.state is DriverState.ENABLED, bench.texts()
