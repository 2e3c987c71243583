"""What later versions of the driver do differently, each behind its name (`later = ["flr"]`); none is on by default."""

from collections.abc import Iterable
from errno import EINVAL
from typing import Final

from idxdd.driver.workqueue import DriverError

LATER: Final = {
    "flr": "6.14: a halt that needs an FLR is recovered from: state saved, function reset, configuration and user WQs restored",
    "halt-cause": "6.14: whether the device is halted is looked at after a halt cause only, not after every software error",
    "swerr-ratelimit": "6.14: the four lines of a software error are rate limited, ten in five seconds each",
    "rawio": "6.9: a portal is mapped for clients with CAP_SYS_RAWIO only; others submit by write()",
    "mm-check": "6.15: a portal is mapped for the process that opened it, and for no child of it",
}


def parse_later(names: Iterable[str]) -> frozenset[str]:
    """Those that are on. EINVAL names the first that there is not."""
    chosen = set()
    for name in names:
        if name not in LATER:
            raise DriverError(EINVAL, f"later: {name!r:.40} is none of {', '.join(LATER)}")
        chosen.add(name)
    return frozenset(chosen)
