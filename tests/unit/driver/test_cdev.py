"""A client's close meets a device that does not obey."""

import pytest
from driver_bench import configured

from idxdd.driver.state import DriverState
from idxdd.spec.codes import CmdErr, Command, DeviceState, ResetType

DEDICATED, SHARED = 0, 1


@pytest.mark.parametrize("wq", [DEDICATED, SHARED])
def test_a_close_while_the_device_is_halted_gives_the_open_back(wq: int) -> None:
    """The close failed with Disable WQ and the open stayed: after the recovery nobody could open the dedicated WQ again."""
    with configured() as bench:
        assert "ok" in bench.verb("open", wq=wq, pasid=5, client=1)
        bench.device.set_state(DeviceState.HALT, ResetType.SOFTWARE)  # the interrupt is still on its way
        assert "ok" in bench.verb("close", wq=wq, pasid=5, client=1)
        bench.device.halt()
        bench.run()
        assert bench.driver.devices[0].state is DriverState.ENABLED
        assert bench.wq(wq).clients == 0
        assert "ok" in bench.verb("open", wq=wq, pasid=6, client=2)


def test_an_open_whose_driver_died_is_forgotten_when_the_wq_is_gone() -> None:
    """The successor refused the repeated open and kept its record: the dedicated WQ stayed taken for ever."""
    with configured() as bench:
        bench.device.hold_commands = True
        number = bench.send("open", wq=DEDICATED, pasid=5, client=1)
        bench.run()
        assert bench.wq(DEDICATED).clients == 1
        bench.kill()
        bench.device.hold_commands = False
        bench.device.finish_command()
        bench.device.halt()  # its recovery unbinds the WQ; the re-enabling fails, so that it stays so
        bench.device.refuse[Command.ENABLE_WQ] = CmdErr.HW_ERR
        bench.survive(bench.start)
        assert bench.answers[number]["error"]["code"] == "ENODEV"
        assert bench.wq(DEDICATED).clients == 0
        assert not list(bench.driver.state.opens())
