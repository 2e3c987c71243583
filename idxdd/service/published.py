"""The two pages every client may read: one the device writes, one idxdd-irq writes.

Who writes what  the device's page: the engine its counters, the loop `clients`; the driver's page: idxdd-irq alone.
"""

import contextlib
import os

from idxdd.native import LAYOUT, Words
from idxdd.shm import memfd

PAGE = 4096


class Published:
    """Both pages as the daemon holds them; clients get read-only descriptors."""

    def __init__(self, stack: contextlib.ExitStack, generation: int) -> None:
        size = _pages(LAYOUT["published_device"])
        self.device_fd, self.window = memfd.create_published("idxdd-published-device", size)
        stack.callback(os.close, self.device_fd)
        self.device = Words(self.window)
        stack.callback(self.device.release)
        self.device.store32(LAYOUT["published_device.layout_version"], LAYOUT["layout_version"])
        self.device.store32(LAYOUT["published_device.cores"], len(os.sched_getaffinity(0)))
        self.device.store64(LAYOUT["published_device.generation"], generation)
        size = _pages(LAYOUT["published_driver"])
        self.driver_fd = memfd.create("idxdd-published-driver", size)
        stack.callback(os.close, self.driver_fd)
        driver = stack.enter_context(contextlib.closing(memfd.map_shared(self.driver_fd, size, writable=False)))
        self.driver = Words(driver)
        stack.callback(self.driver.release)

    def clients(self, count: int) -> None:
        """Sessions there are now."""
        self.device.store32(LAYOUT["published_device.clients"], count)

    def for_client(self) -> list[int]:
        """Read-only descriptors of both, to be passed on."""
        return [memfd.read_only(self.device_fd), memfd.read_only(self.driver_fd)]


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
