"""Conformance items that the device decides: masked vectors, and portals of a halted device."""

from collections.abc import Iterator

import pytest
from device_system import System, device_system

from idxdd.spec.codes import CmdErr, Command, InterruptCause, ResetType
from idxdd.spec.registers import GENCTRL, INTCAUSE, MSIX, PBA
from idxdd.testing.mock_driver import DEDICATED, SHARED


@pytest.fixture
def system(instance: str) -> Iterator[System]:
    with device_system(instance) as made:
        yield made


@pytest.mark.conformance("IRQ-22")
@pytest.mark.parametrize("cause", list(InterruptCause))
def test_every_cause_of_vector_0_is_masked_and_delivered_on_unmask(system: System, cause: InterruptCause) -> None:
    """The cause is set behind the mask and pends; opening the mask sends one interrupt, on the real semaphore."""
    gates = GENCTRL.encode(softerr_int_en=True, halt_int_en=True, evl_int_en=True)
    system.driver.write(gates)
    system.driver.change(MSIX, 0, masked=True)
    assert system.driver.device.interrupts.raise_cause(cause)
    assert (system.driver.read(INTCAUSE).causes, system.driver.read(PBA).pending) == (cause, 1)
    assert not system.fired(0)
    system.driver.change(MSIX, 0, masked=False)
    assert system.driver.read(PBA).pending == 0
    assert (system.fired(0), system.fired(0)) == (True, False)


@pytest.mark.conformance("HLT-12")
@pytest.mark.parametrize("wq", [DEDICATED, SHARED], ids=["dedicated", "shared"])
def test_mappings_survive_a_halt_and_what_is_stored_there_is_dropped(system: System, wq: dict[str, int]) -> None:
    """The client's pages stay writable memory; a descriptor stored into the halted device's portal never runs, not after
    the reset either."""
    system.driver.enable(wq)
    client = system.client()
    system.run(client, client.noop(0))
    system.driver.device.halt(ResetType.SOFTWARE)
    system.driver.settle()
    assert client.get("closed") == 3
    client.publish(client.noop(32))
    system.driver.settle()
    assert client.record(32)[0] == 0
    assert system.driver.command(Command.RESET_DEVICE) is CmdErr.SUCCESS
    system.driver.enable(wq)
    system.run(other := system.client(), other.noop(0))
    assert (other.record(0)[0], client.record(32)[0]) == (1, 0)
