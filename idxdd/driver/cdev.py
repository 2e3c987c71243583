"""The character device of a user WQ: a client's open and its close; what mmap, write and poll check.

Repeated        an open is found again by the number of its verb, a close by the number it left in the open's record.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY, EINVAL, ENODEV, ENOENT, ENOMEM, EPERM
from typing import TYPE_CHECKING, Any, Final

from idxdd.driver import evl
from idxdd.driver.device import drain_pasid
from idxdd.driver.workqueue import DriverError, Key, Steps, Wait, immediately, integer
from idxdd.driver.wq import Wq, disable_pasid, set_pasid
from idxdd.spec.codes import Opcode, WqType
from idxdd.spec.records import Descriptor

if TYPE_CHECKING:
    from idxdd.driver.driver import Driver
    from idxdd.driver.state import OpenBlock

PAGE_BYTES: Final = 4096
RECORD_BYTES: Final = 32
VERSION_2: Final = 0x200

Message = dict[str, Any]


def verb_open(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq, pasid, client."""
    wq = driver.find_wq(arguments)
    numbers = [integer(arguments, key) for key in ("id", "pasid", "client")]
    return ("device", wq.device.index), cdev_open(driver, wq, *numbers, file=integer({"file": 0, **arguments}, "file"))


def cdev_open(driver: Driver, wq: Wq, verb: int, pasid: int, client: int, *, file: int) -> Steps:
    """A client opens a user WQ. EBUSY: dedicated, and open already. ENODEV: no user driver is bound, hence no node.

    A `file` that is open already is taken up again, after a halt say: it is no second open."""
    opened = next((block for block in driver.state.opens() if block.verb == verb), None)
    if not wq.block.bound or wq.type is not WqType.USER:
        if opened is not None:  # a predecessor's, which had not got so far as to say so
            _forget(wq, opened)
        raise DriverError(ENODEV, f"{wq.label}: the WQ is not enabled for user clients")
    if opened is None and file:
        held = driver.state.opens_of(wq.global_index, pasid)
        opened = next((block for block in held if (block.client, block.file, block.closing) == (client, file, 0)), None)
    if opened is None:
        if any(driver.state.opens_of(wq.global_index, pasid)):
            text = "PASID entry already exist in xarray."  # its faults are accounted to the first open
            wq.device.log("warning", text, device=wq.device.name, wq=wq.label, pasid=pasid)
        if wq.dedicated and wq.clients:
            raise DriverError(EBUSY, f"{wq.label}: a dedicated WQ has one client, and it is open already")
        opened = driver.state.add_open(verb, wq.global_index, pasid, client, file)
        if opened is None and "DEF-17" in wq.device.quirks:
            return {}
        if opened is None:
            raise DriverError(ENOMEM, f"{wq.label}: too many opens")
        wq.clients += 1
    if wq.dedicated:
        wq.block.pasid = pasid
        try:
            yield from set_pasid(wq, pasid)
        except DriverError:
            wq.block.pasid = 0
            _forget(wq, opened)
            raise
    return {}


def _forget(wq: Wq, opened: OpenBlock) -> None:
    opened.verb = 0
    wq.clients = max(0, wq.clients - 1)


def verb_close(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq, pasid, client."""
    wq = driver.find_wq(arguments)
    numbers = [integer(arguments, key) for key in ("id", "pasid", "client")]
    return ("device", wq.device.index), cdev_release(driver, wq, *numbers, file=integer({"file": 0, **arguments}, "file"))


def cdev_release(driver: Driver, wq: Wq, verb: int, pasid: int, client: int, *, file: int) -> Steps:
    """Give an open back. Repeated, or after the WQ was disabled, there is nothing left to do."""
    mine = [block for block in driver.state.opens_of(wq.global_index, pasid) if (block.client, block.file) == (client, file)]
    opened = next((block for block in mine if block.closing == verb), None)
    if opened is None:
        opened = next((block for block in mine if not block.closing), None)
        if opened is None or driver.begun(wq.device, verb):
            return {}
        opened.closing = verb
    driver.begin(wq.device, verb)
    if wq.block.bound and wq.type is WqType.USER:
        yield from _stop_pasid(wq, pasid)
        if sum(1 for _ in driver.state.opens_of(wq.global_index, pasid)) == 1:
            evl.evl_drain_pasid(wq, pasid)
            yield Wait(f"{wq.label}: its fault works", lambda: not driver.works.busy(("faults", wq.global_index)))
    _forget(wq, opened)
    return {}


def _stop_pasid(wq: Wq, pasid: int) -> Steps:
    """A halted or reset device refuses; whoever closes has closed all the same: the open is given back."""
    try:
        if wq.dedicated:
            yield from disable_pasid(wq)
        else:
            yield from drain_pasid(wq.device, pasid)
    except DriverError as error:
        wq.device.log("error", f"wq close failed: {error.text}", device=wq.device.name, wq=wq.label)
    if wq.dedicated:
        wq.block.pasid = 0


# ---- mmap, write, poll -----------------------------------------------------------------------------------------------------
def check_mmap(size: int, rawio: bool, capable: Callable[[], bool]) -> None:
    """EPERM: later drivers (`rawio`) map for CAP_SYS_RAWIO only. EINVAL: more than the one page of the limited portal."""
    if rawio and not capable():
        raise DriverError(EPERM, "mmap: needs CAP_SYS_RAWIO; submit by write")
    if size > PAGE_BYTES:
        raise DriverError(EINVAL, f"mmap: the portal is one page of {PAGE_BYTES} bytes, asked for {size}")


def check_user_descriptors(descriptor: bytes, version: int) -> None:
    """What write() looks at in a descriptor before it submits it. EINVAL."""
    desc = Descriptor.unpack(descriptor)
    if desc.opcode == Opcode.BATCH and version < VERSION_2:
        raise DriverError(EINVAL, "write: a Batch is not taken on a device of version 1")
    if desc.completion_addr % RECORD_BYTES:
        raise DriverError(
            EINVAL, f"write: the completion address {desc.completion_addr:#x} is not a multiple of {RECORD_BYTES}"
        )


def verb_file(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq, pasid, client, file: the counters of one open, as its fileK device shows them. ENOENT."""
    wq, pasid = driver.find_wq(arguments), integer(arguments, "pasid")
    for opened in driver.state.opens_of(wq.global_index, pasid):
        if (opened.client, opened.file) == (arguments.get("client"), arguments.get("file")):
            counters = {"cr_faults": opened.faults, "cr_fault_failures": opened.copy_failures}
            return ("list", 0), immediately(counters)
    raise DriverError(ENOENT, f"{wq.label}: no such open")


def verb_poll(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq: whether the device's saved SWERR is valid, which it stays."""
    device = driver.find_wq(arguments).device
    return ("poll", device.index), immediately({"readable": bool(device.block.swerr_saved and device.block.swerr()[0] & 1)})


def forget_opens(driver: Driver, wq: Wq) -> None:
    """The WQ's driver was unbound under its clients."""
    for opened in driver.state.opens():
        if opened.wq == wq.global_index:
            opened.verb = 0
    wq.clients = 0


def count_opens(driver: Driver) -> None:
    """After adoption: the clients of each WQ."""
    for opened in driver.state.opens():
        driver.find_wq({"wq": opened.wq}).clients += 1
