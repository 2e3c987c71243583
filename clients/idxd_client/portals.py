"""When a portal is through with the memory that was shown to it."""

from __future__ import annotations

from collections.abc import Callable

from idxdd import native


def finished_on(portal: native.Portal) -> Callable[[], bool]:
    """Tells whether the device has nothing more to write for `portal`: descriptors need not finish in order."""

    def finished() -> bool:
        try:
            done = portal.done
            return done >= portal.tail or (portal.closed != 0 and done >= portal.closed_at)
        except native.NativeError:  # closed since, and drained by that
            return True

    return finished
