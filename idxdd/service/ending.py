"""The end of an instance as its clients see it: every portal ends with DEVICE_GONE, so that nobody waits in vain."""

from collections.abc import Iterable

from idxdd.native import STOP_ABORT
from idxdd.service.hardware import Hardware
from idxdd.service.loop import Loop
from idxdd.service.sessions import Session
from idxdd.shm.clock import CLOCK
from idxdd.shm.closed import Closed

SHUTDOWN_S = 1.0


def end_portals(sessions: Iterable[Session], hardware: Hardware, loop: Loop) -> None:
    """Close what is open; returns when the engine has, or after SHUTDOWN_S."""
    open_portals = [portal for session in sessions for portal in session.portals.values() if not portal.closing]
    left = len(open_portals)

    def gone() -> None:
        nonlocal left
        left -= 1

    for portal in open_portals:
        hardware.port.portal_close(portal.engine_number, STOP_ABORT, Closed.DEVICE_GONE, then=gone)
    deadline = CLOCK.deadline(SHUTDOWN_S)
    loop.timers.call_later(SHUTDOWN_S, lambda: None)
    while left and not deadline.expired:
        hardware.port.dispatch()
        loop.handle([pair for pair in loop.wait(block=True) if pair[0] == hardware.engine.exit_bell])
