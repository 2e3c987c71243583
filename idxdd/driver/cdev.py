"""The character device of a user WQ: a client's open and its close.

Repeated        an open is found again by the number of its verb, a close by the number it left in the open's record.
"""

from __future__ import annotations

from errno import EBUSY, ENODEV, ENOMEM
from typing import TYPE_CHECKING, Any

from idxdd.driver import evl
from idxdd.driver.device import drain_pasid
from idxdd.driver.workqueue import DriverError, Key, Steps, Wait, integer
from idxdd.driver.wq import Wq, disable_pasid, set_pasid
from idxdd.spec.codes import WqType

if TYPE_CHECKING:
    from idxdd.driver.driver import Driver

Message = dict[str, Any]


def verb_open(driver: Driver, arguments: Message) -> tuple[Key, Steps]:
    """wq, pasid, client."""
    wq = driver.find_wq(arguments)
    numbers = [integer(arguments, key) for key in ("id", "pasid", "client")]
    return ("device", wq.device.index), cdev_open(driver, wq, *numbers, file=integer({"file": 0, **arguments}, "file"))


def cdev_open(driver: Driver, wq: Wq, verb: int, pasid: int, client: int, *, file: int) -> Steps:
    """A client opens a user WQ. EBUSY: dedicated, and open already. ENODEV: no user driver is bound, hence no node.

    A `file` that is open already is taken up again, after a halt say: it is no second open."""
    if not wq.block.bound or wq.type is not WqType.USER:
        raise DriverError(ENODEV, f"{wq.label}: the WQ is not enabled for user clients")
    opened = next((block for block in driver.state.opens() if block.verb == verb), None)
    if opened is None and file:
        held = driver.state.opens_of(wq.global_index, pasid)
        opened = next((block for block in held if (block.client, block.file, block.closing) == (client, file, 0)), None)
    if opened is None:
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
            opened.verb, wq.block.pasid = 0, 0
            wq.clients -= 1
            raise
    return {}


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
    opened.verb = 0
    wq.clients = max(0, wq.clients - 1)
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
