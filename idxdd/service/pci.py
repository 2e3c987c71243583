"""A device's PCI configuration space for an administrator: read it, write fields of it, as a bus driver would."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from idxdd.device.pciconfig import named
from idxdd.service import reports
from idxdd.service.tasks import Fail, Refused, Resume, Steps
from idxdd.spec.layout import Access, PciRegister
from idxdd.spec.pci import PCI_CONFIG

if TYPE_CHECKING:
    from idxdd.device.device import Device
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session


def _changed(device: "Device", path: str, text: str) -> PciRegister:
    """The register of a field such as PCICMD.bus_master with the field changed. Refused: ENOENT, EPERM, EINVAL."""
    register_name, _, field_name = path.partition(".")
    register = named(register_name.upper())
    field = register.fields.get(field_name) if register is not None else None
    if register is None or field is None:
        raise Refused("ENOENT", f"set: no field {path!r:.40} (named as PCICMD.bus_master)")
    if field.access is not Access.RW:
        raise Refused("EPERM", f"set: {field.path} is read-only")
    try:
        return device.pci.read(register).replace(**{field_name: int(text, 0)})
    except ValueError as error:
        raise Refused("EINVAL", f"set: {path}: {error}") from None


def _pci(daemon: "Daemon", session: "Session", device: str, set: list[list[str]] | None = None) -> Steps:
    """Every register, after the writes; answered when a function reset among them has ended."""
    owner = reports.device_named(daemon.devices, device)
    if not owner.present:
        raise Refused("ENODEV", f"device: {device} was removed; insert it first")
    for path, text in set or ():
        value = _changed(owner, path, text)
        peer = session.peer
        daemon.log.warning(
            f"{device}: {path} = {text:.20}, by pid {peer.pid} of uid {peer.uid}", device=device, uid=peer.uid, pid=peer.pid
        )

        def write(resume: Resume, _fail: Fail, value: PciRegister = value) -> None:
            if not owner.pci.write(value, lambda: resume(True)).flr:
                resume(False)

        if (yield write):  # the driver learns of a reset by the bus
            yield daemon.link.verb("bus_event", device=owner.index)
    return {"registers": {register.__name__: reports.decoded(owner.pci.read(register)) for register in PCI_CONFIG}}, []
    yield


OPERATIONS: dict[str, Callable[..., Steps]] = {"pci": _pci}
