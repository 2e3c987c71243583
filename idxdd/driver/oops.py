"""Where the kernel would read past an array or follow a null pointer, if the quirk that leads there is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from idxdd.driver.device import Device


class Oops(Exception):
    """The kernel would have gone down here: idxdd-irq ends, and is started anew."""


def oops(device: Device, where: str) -> NoReturn:
    """Say it and end. What led here must be forgotten before: a successor must not meet it again."""
    device.log("error", f"BUG: unable to handle a bad access, {where}.", device=device.name)
    raise Oops(f"{device.name}: {where}")
