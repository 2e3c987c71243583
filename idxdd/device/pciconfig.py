"""PCI configuration space of one device, as a bus driver reads and writes it (registers.md 1.1, 1.2; specification App. C).

What is behind it  the switches are Device.platform: a write changes them, a read shows them. A change of bus mastering, ATS,
                   PASID or PRS while the device is not Disabled is error 0x51 and a halt, which Device.set_platform does.
Writes             by the register's access modes; read-only and unassigned bits stay. DEVCTL.initiate_flr starts a function
                   reset and reads 0. After a reset the switches are the profile's, as an operating system restores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from idxdd.spec.codes import ResetType
from idxdd.spec.layout import Access, Field, PciRegister
from idxdd.spec.pci import ATSCAP, DEVCTL, MSIXCAP, PASIDCAP, PCI_CONFIG, PCICMD, PRSCAP, VC0CTL

if TYPE_CHECKING:
    from idxdd.device.device import Device
    from idxdd.device.engineport import Continuation

P = TypeVar("P", bound=PciRegister)

SWITCHES: Final[dict[Field[Any], str]] = {
    PCICMD.bus_master: "bus_master",
    ATSCAP.enable: "ats",
    PASIDCAP.enable: "pasid",
    PASIDCAP.privileged_mode_en: "privileged_mode",
    PRSCAP.enable: "prs",
    PRSCAP.allocation: "prs_allocation",
    PRSCAP.capacity: "prs_capacity",
    VC0CTL.tc_map: "traffic_classes",
}
"""Fields that are switches of the platform, by name."""


@dataclass(frozen=True)
class Written:
    """What a write did."""

    register: PciRegister
    """As it reads now."""
    flr: bool
    """A function reset was asked for."""


class PciConfig:
    """The configuration space of `device`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._kept: dict[type[PciRegister], int] = {}
        self.restart()

    def restart(self) -> None:
        """As after power-on; memory space is on, as the bus driver leaves it."""
        self._kept = {register: register.initial().raw for register in PCI_CONFIG}
        self._kept[PCICMD] = PCICMD.encode(memory_space=True).raw
        self._kept[MSIXCAP] = MSIXCAP.initial().replace(table_size=self._device.profile.vectors - 1, msix_enable=True).raw

    @property
    def messages_leave(self) -> bool:
        """May an interrupt message leave the device?"""
        msix = self.read(MSIXCAP)
        return self._device.platform.bus_master and msix.msix_enable and not msix.function_mask

    def read(self, register: type[P]) -> P:
        """A register as software reads it."""
        value = register(self._kept[register])
        platform = self._device.platform
        shown = {field.name: getattr(platform, name) for field, name in SWITCHES.items() if field.owner is register}
        return value.replace(**shown) if shown else value

    def write(self, value: PciRegister, then: Continuation = lambda: None) -> Written:
        """Write a whole register; `then` runs when a function reset it asked for has ended."""
        register = type(value)
        writable = sum(field.mask for field in register.fields.values() if field.access is Access.RW)
        before = self.read(register)
        after = register(before.raw & ~writable | value.raw & writable)
        flr = isinstance(after, DEVCTL) and after.initiate_flr
        if isinstance(after, DEVCTL):
            after = after.replace(initiate_flr=False)
        switches = {name: getattr(after, field.name) for field, name in SWITCHES.items() if field.owner is register}
        if isinstance(after, VC0CTL):
            after = after.replace(tc_map=after.tc_map | 1)  # class 0 is always mapped
            switches = {"traffic_classes": after.tc_map}
        self._kept[register] = after.raw
        if switches:
            self._device.set_platform(**switches)
        if register is MSIXCAP:
            self._device.interrupts.set_bus_master(self.messages_leave)
        if flr:
            self._device.reset(ResetType.FLR, then)
        return Written(self.read(register), flr)


def named(name: str) -> type[PciRegister] | None:
    """PCICMD, ATSCAP, ...; None: there is no such register."""
    return next((register for register in PCI_CONFIG if register.__name__ == name), None)
