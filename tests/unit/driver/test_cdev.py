"""A client's close meets a device that does not obey."""

import pytest
from driver_bench import configured

from idxdd.driver.state import DriverState
from idxdd.spec.codes import DeviceState, ResetType

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
