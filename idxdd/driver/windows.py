"""Inter-domain windows: entries of the IDPT, written for an owner that asked for it. Linux has no such interface yet.

Who decides      idxdd knows whose PASID is whose and gives each window its entry; here it is written. The entry itself is all
                 the state there is, so a verb that a successor repeats writes what is there already.
Order            an entry's first dword is written last, and cleared first: while it is usable the rest is as it shall be.
"""

from __future__ import annotations

from errno import EINVAL, EIO, EOPNOTSUPP
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver.commands import cmd_exec
from idxdd.driver.workqueue import DriverError, Key, Steps
from idxdd.spec.codes import Command
from idxdd.spec.registers import IDCAP, IDPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from idxdd.driver.device import Device
    from idxdd.driver.driver import Driver, Message

QWORDS: Final = 4
_QWORD: Final = 1 << 64


def verb_set_window(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device, entry (index), qwords (the entry): answers the handle."""
    device = driver.find_device(arguments)
    return ("device", device.index), set_window(device, arguments.get("entry"), arguments.get("qwords"))


def verb_clear_window(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """device, entry."""
    device = driver.find_device(arguments)
    return ("device", device.index), clear_window(device, arguments.get("entry"))


def set_window(device: Device, entry: object, qwords: object) -> Steps:
    """Write the IDPT entry and get its handle. Answers `handle`."""
    at = _place(device, entry)
    if not isinstance(qwords, list) or len(qwords) != QWORDS or not all(_is_qword(word) for word in qwords):
        raise DriverError(EINVAL, f"qwords: must be {QWORDS} numbers of 64 bits")
    assert isinstance(entry, int)
    _clear(device, at)
    for number in range(1, QWORDS):
        device.mmio.write64(at + 8 * number, qwords[number])
    device.mmio.write32(at + 4, qwords[0] >> 32)
    device.mmio.write32(at, qwords[0] & 0xFFFFFFFF)
    handle = entry
    if device.caps.cmdcap >> Command.REQUEST_IDPT_HANDLE & 1:
        status = yield from cmd_exec(device, Command.REQUEST_IDPT_HANDLE, entry)
        if status & 0xFF:
            _clear(device, at)
            raise DriverError(EIO, f"{device.name}: Request IDPT Handle ended with {status & 0xFF:#04x}")
        handle = status >> 8 & 0xFFFF
    if device.mmio.read(IDPT, at=at).raw != sum(word << 64 * number for number, word in enumerate(qwords)):
        raise DriverError(EIO, f"{device.name}: IDPT entry {entry} did not take what was written")
    return {"handle": handle}


def clear_window(device: Device, entry: object) -> Steps:
    """Nobody reaches anything through the entry when this is answered."""
    at = _place(device, entry)
    assert isinstance(entry, int)
    _clear(device, at)
    if device.caps.cmdcap >> Command.RELEASE_IDPT_HANDLE & 1:
        yield from cmd_exec(device, Command.RELEASE_IDPT_HANDLE, entry)
    device.mmio.settle(f"{device.name}: clearing IDPT entry {entry}")
    return {}


def _clear(device: Device, at: int) -> None:
    for dword in range(2 * QWORDS):
        device.mmio.write32(at + 4 * dword, 0)


def _place(device: Device, entry: object) -> int:
    """Offset of an entry. DriverError: EOPNOTSUPP, EINVAL."""
    idcap = device.mmio.read(IDCAP)
    if not device.caps.gencap.inter_domain or not idcap.idpt_size:
        raise DriverError(EOPNOTSUPP, f"{device.name}: has no inter-domain operations")
    if not isinstance(entry, int) or not 0 <= entry < idcap.idpt_size:
        raise DriverError(EINVAL, f"entry: {device.name} has {idcap.idpt_size} IDPT entries")
    return IDPT.entry_offset(entry, device.caps.offsets, idcap)


def _is_qword(word: Any) -> bool:
    return isinstance(word, int) and not isinstance(word, bool) and 0 <= word < _QWORD


VERBS: Final[dict[str, Callable[[Driver, Message], tuple[Key, Steps]]]] = {
    "set_window": verb_set_window,
    "clear_window": verb_clear_window,
}
