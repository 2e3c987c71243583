"""Known defects of the driver, DEF-01 to DEF-18: which of them this instance reproduces (`quirks = ["DEF-02"]`).

A defect that is on behaves as the kernel's driver does; off, as the suggestion beside it in design.md. The two that are on
by default are behaviour that users see and rely on; "-DEF-03" switches one off.
"""

from collections.abc import Iterable
from errno import EINVAL
from typing import Final

from idxdd.driver.workqueue import DriverError

QUIRKS: Final = {
    "DEF-01": "a command that a halt interrupts is never answered",
    "DEF-02": "re-init after a software halt loses the configuration it needs",
    "DEF-03": "after a halt without recovery the state is disabled, not halted",
    "DEF-04": "a fault work without a copy is never freed",
    "DEF-05": "a WQ index out of range, or an event log entry of a kernel WQ, brings idxdd-irq down",
    "DEF-06": "what has finished is forgotten when a failed submission is found beside it",
    "DEF-07": "a failed submission is completed twice",
    "DEF-08": "a halt is queued again while the first is still to be handled",
    "DEF-09": "the enabled bitmap keeps its bit when a WQ is reset",
    "DEF-10": "quiescing a WQ twice never ends",
    "DEF-11": "the event log of a configurable device is not freed at unbind",
    "DEF-12": "a halt without recovery keeps interrupt handles and the descriptors on the lists",
    "DEF-13": "the skip bitmap has a bit for each byte of the event log: a log of more than 1024 entries finds no memory",
    "DEF-14": "finished descriptors are forgotten when the one before is used again while they are called back",
    "DEF-15": "the event log is read from where the last pass ended, also after the device was enabled again",
    "DEF-16": "a result beside a command's success makes it a failure",
    "DEF-17": "an open that finds no room for its record succeeds",
    "DEF-18": "a revoke brings idxdd-irq down on a device with more vectors than WQs and one",
}
DEFAULT_QUIRKS: Final = frozenset({"DEF-03", "DEF-09"})


def parse_quirks(names: Iterable[str]) -> frozenset[str]:
    """Those that are on: the default ones, those named, without those named after a "-". EINVAL names the first bad one."""
    chosen = set(DEFAULT_QUIRKS)
    for name in names:
        quirk = name.removeprefix("-")
        if quirk not in QUIRKS:
            raise DriverError(EINVAL, f"quirks: {name!r:.40} is none of {', '.join(QUIRKS)}")
        if name.startswith("-"):
            chosen.discard(quirk)
        else:
            chosen.add(quirk)
    return frozenset(chosen)
