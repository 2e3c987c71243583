"""The inter-domain permissions table: locks, handles, resets, and what the engine is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from idxdd.device.profilefile import load
from idxdd.native import Space
from idxdd.spec.codes import CmdErr, Command
from idxdd.spec.registers import GENCAP, IDCAP, IDPT, OFFSETS
from idxdd.testing.mock_driver import MockDriver

OWNER, SUBMITTER = 5, 6
ENTRY = IDPT.encode(
    usable=True, allow_update=True, submitter_pasid=SUBMITTER, access_pasid=OWNER, write_permission=True, window_en=True,
    window_base=0x1000, window_size=0x2000,
)  # fmt: skip
HANDLE_COMMANDS = (Command.REQUEST_IDPT_HANDLE, Command.RELEASE_IDPT_HANDLE)


@pytest.fixture
def domains() -> Iterator[MockDriver]:
    """A device with a table, whose engine acknowledges at once; PASID 5 is somebody."""
    with MockDriver(load("dsa2-interdomain")) as made:
        made.port.bind_pasid(OWNER, Space())
        yield made


def place(driver: MockDriver, entry: IDPT, handle: int) -> None:
    """As the driver does: the first dword last."""
    at = IDPT.entry_offset(handle, driver.read(OFFSETS), driver.read(IDCAP))
    for dword in (*range(1, 8), 0):
        driver.mmio.write32(at + 4 * dword, entry.raw >> 32 * dword & 0xFFFF_FFFF)
    driver.mmio.settle()


def told(driver: MockDriver) -> list[dict[str, Any]]:
    """What the engine was told of entries."""
    driver.settle()
    return [request.arguments for request in driver.fake.requests if request.name == "idpt_set"]


def test_the_capability_is_of_the_profile(domains: MockDriver) -> None:
    """GENCAP.6, IDCAP and the table's place; a dsa2 has none of it."""
    assert domains.read(GENCAP).inter_domain
    assert (domains.read(IDCAP).idpt_size, domains.read(IDCAP).entry_types) == (64, 3)
    assert domains.read(OFFSETS).idpt == 0x9000
    with MockDriver() as plain:
        assert not plain.read(GENCAP).inter_domain
        assert plain.read(IDCAP).raw == 0


def test_an_entry_is_told_when_it_is_usable_and_its_handle_is_out(domains: MockDriver) -> None:
    """Before, nobody gets in; the engine has the address space of the access PASID, not its number."""
    place(domains, ENTRY, 3)
    assert told(domains) == []
    assert domains.command(Command.REQUEST_IDPT_HANDLE, 3) is CmdErr.SUCCESS
    (entry,) = told(domains)
    assert (entry["handle"], entry["usable"], entry["submitter"], entry["write"], entry["read"]) == (
        3,
        True,
        SUBMITTER,
        True,
        False,
    )
    assert (entry["base"], entry["size"], entry["window_en"], entry["update"]) == (0x1000, 0x2000, True, False)
    assert entry["space"] is domains.port.space_of(OWNER)


def test_what_is_locked_while_an_entry_is_usable_or_updatable(domains: MockDriver) -> None:
    """Who may submit cannot change under a handle; the window only through Update Window."""
    place(domains, ENTRY, 0)
    at = IDPT.entry_offset(0, domains.read(OFFSETS), domains.read(IDCAP))
    domains.mmio.write32(at + 4, 0xFFFF_FFFF)
    domains.mmio.write64(at + 8, 0)
    domains.mmio.write32(at, ENTRY.replace(submitter_pasid=9).raw & 0xFFFF_FFFF)
    assert domains.read(IDPT, 0) == ENTRY
    domains.mmio.write32(at, ENTRY.replace(usable=False).raw & 0xFFFF_FFFF)
    domains.mmio.write32(at, ENTRY.replace(usable=False, submitter_pasid=9).raw & 0xFFFF_FFFF)
    domains.mmio.write64(at + 8, 0)
    changed = domains.read(IDPT, 0)
    assert (changed.submitter_pasid, changed.window_base) == (9, 0x1000)
    domains.mmio.write32(at, 0)
    domains.mmio.write64(at + 8, 0)
    assert domains.read(IDPT, 0).window_base == 0


@pytest.mark.parametrize("command", HANDLE_COMMANDS)
def test_handles_of_entries_that_are_not_there(domains: MockDriver, command: Command) -> None:
    """0x51, and a device without a table does not know the command."""
    assert domains.command(command, 64) is CmdErr.INVAL_IDPT_IDX
    assert domains.command(command, 63) is CmdErr.SUCCESS
    with MockDriver() as plain:
        assert plain.command(command, 0) is CmdErr.INVAL_CMD


@pytest.mark.parametrize("how", ["cleared", "released", "reset", "PASID gone"])
def test_an_entry_that_is_taken_away_is_told(domains: MockDriver, how: str) -> None:
    """Each way leaves nobody in: the engine cuts off whoever uses the entry."""
    place(domains, ENTRY, 1)
    domains.command(Command.REQUEST_IDPT_HANDLE, 1)
    if how == "cleared":
        place(domains, IDPT(0), 1)
    elif how == "released":
        domains.command(Command.RELEASE_IDPT_HANDLE, 1)
    elif how == "reset":
        domains.command(Command.RESET_DEVICE)
    else:
        domains.port.unbind_pasid(OWNER)
    first, last = told(domains)
    assert first["space"] is not None
    assert last["space"] is None
    assert last["usable"] is (how == "PASID gone")


def test_the_next_owner_of_a_pasid_is_not_reached(domains: MockDriver) -> None:
    """An entry written before it came does not become a way into it, whatever else happens to the table."""
    place(domains, ENTRY, 1)
    domains.command(Command.REQUEST_IDPT_HANDLE, 1)
    domains.port.unbind_pasid(OWNER)
    domains.port.bind_pasid(OWNER, Space())
    place(domains, ENTRY, 2)
    assert [entry["space"] is None for entry in told(domains)] == [False, True]
