"""Portals and kernel channels of a session: opened, reopened and closed in steps; nothing is freed that may still be used.

Order   open:   idxdd-irq first (it may refuse, and may restart the WQ), then pages, then the engine, then the answer.
        close:  the engine stops using the portal, then idxdd-irq the channel or the open, then the engine forgets the
                portal, then our descriptors are closed.
        A channel has a second portal, idxdd-irq's own, for what it submits itself: same WQ, PASID and address space. It is
        there after idxdd-irq has the channel, and gone before the channel's memory; closed until idxdd-irq asks for it, so
        that it holds no grant that clients could use.
Crash   a client may die between any two steps: the step under way is finished, then everything is closed.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idxdd.control.roles import Role
from idxdd.control.wire import close_all
from idxdd.native import LAYOUT, STOP_ABORT, STOP_DRAIN, NativeError
from idxdd.native import Portal as NativePortal
from idxdd.service.buffers import PAGE, check_descriptor, refusal
from idxdd.service.tasks import Fail, Refused, Resume, Steps, acknowledged
from idxdd.shm import bells, memfd
from idxdd.shm.closed import Closed
from idxdd.shm.errors import SharedMemoryFull

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.reports import WqFacts
    from idxdd.service.sessions import Session

SYSTEM_PASID = 1
CHANNEL_SLOTS = LAYOUT["channel_slots"]
PORTAL_SLOTS = LAYOUT["portal_slots"]
CHANNEL_SIZE = -(-LAYOUT["channel"] // PAGE) * PAGE
RING_SIZE = -(-LAYOUT["completion_ring"] // PAGE) * PAGE
CLIENT_PAGE_SIZE = -(-LAYOUT["portal_client"] // PAGE) * PAGE
DEVICE_PAGE_SIZE = -(-LAYOUT["portal_device"] // PAGE) * PAGE


@dataclass
class Channel:
    """A kernel channel as idxdd-irq knows it; kept, with its descriptors, so that a successor can adopt it."""

    number: int
    wq: int
    state_slot: int
    memory: int
    ring: int
    client_page: int
    wake: int
    pidfd: int
    own: "_Pages"
    """idxdd-irq's own portal."""
    portal: int = -1
    own_portal: int = -1
    fenced: bool = False

    def arguments(self) -> dict[str, int]:
        """Keys of the attach verb, and of adopt's list."""
        return {
            "channel": self.number,
            "wq": self.wq,
            "pasid": SYSTEM_PASID,
            "slots": CHANNEL_SLOTS,
            "state_slot": self.state_slot,
        }

    def fds(self) -> list[int]:
        """Descriptors of the attach verb, in its order."""
        mine = [self.memory, self.ring, self.client_page, self.wake, self.pidfd]
        return [*mine, self.own.client, self.own.device, self.own.doorbell, self.own.theirs]

    def portals(self) -> list[int]:
        """The engine's numbers of both."""
        return [number for number in (self.portal, self.own_portal) if number >= 0]

    def close(self) -> None:
        close_all((self.memory, self.ring, self.client_page, self.wake, self.pidfd))
        self.own.close()


class Channels:
    """Every kernel channel: those idxdd-irq has are adopted by its successor."""

    def __init__(self, slots_max: int) -> None:
        self._slots_max = slots_max
        self._attached: dict[int, Channel] = {}
        self._slots: set[int] = set()
        self._next = 1

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._attached.values()))

    def __len__(self) -> int:
        return len(self._attached)

    def get(self, number: int) -> Channel | None:
        return self._attached.get(number)

    def create(self, wq: int, client_page: int, wake: int, pidfd: int) -> Channel:
        """A new one with its memory and ring; client_page and pidfd are duplicated, wake too. Refused: ENOMEM, ENOSPC."""
        slot = next((slot for slot in range(self._slots_max) if slot not in self._slots), None)
        if slot is None:
            raise Refused("ENOSPC", f"wq: all {self._slots_max} kernel channels are in use")
        number, self._next = self._next, self._next + 1
        self._slots.add(slot)
        fds: list[int] = []
        try:
            own = _Pages.create()
        except Refused:
            self._slots.discard(slot)
            raise
        try:
            fds.append(memfd.create("idxdd-channel", CHANNEL_SIZE))
            fds.append(memfd.create("idxdd-ring", RING_SIZE))
            for fd in (client_page, wake, pidfd):
                fds.append(os.dup(fd))
        except (SharedMemoryFull, OSError) as error:
            close_all(fds)
            own.close()
            self._slots.discard(slot)
            raise Refused("ENOMEM", f"wq: {error}") from None
        memory, ring, client_page, wake, pidfd = fds
        return Channel(number, wq, slot, memory, ring, client_page, wake, pidfd, own)

    def attached(self, channel: Channel) -> None:
        """idxdd-irq has it."""
        self._attached[channel.number] = channel

    def detached(self, channel: Channel) -> None:
        """idxdd-irq has it no more: a successor must not adopt it. Its state slot is free when it is forgotten."""
        self._attached.pop(channel.number, None)

    def forget(self, channel: Channel) -> None:
        """Give back what it has; idxdd-irq has it no more (or never had it)."""
        self._attached.pop(channel.number, None)
        self._slots.discard(channel.state_slot)
        channel.close()


@dataclass
class _Pages:
    """The descriptors of a portal while it is being made."""

    client: int
    device: int
    doorbell: int
    ours: int
    theirs: int

    @classmethod
    def create(cls) -> "_Pages":
        made: list[int] = []
        try:
            made.append(check_descriptor(memfd.create("idxdd-portal", CLIENT_PAGE_SIZE), "wq"))
            made.append(memfd.create("idxdd-portal-device", DEVICE_PAGE_SIZE, 0))  # the engine maps it, then it is sealed
            made.append(bells.create_doorbell())
            made.extend(bells.create_wake_pair())
        except (SharedMemoryFull, OSError) as error:
            close_all(made)
            raise Refused("ENOMEM", f"wq: {error}") from None
        return cls(*made)

    def close(self) -> None:
        close_all((self.client, self.device, self.doorbell, self.ours, self.theirs))


@dataclass
class Portal:
    """One open WQ of a session."""

    number: int
    engine_number: int
    facts: "WqFacts"
    channel: Channel | None
    closing: bool = False
    unmapped: _Pages | None = None
    """What the daemon has kept: nobody has mapped the portal."""
    writer: NativePortal | None = None
    """On them, once something was written."""

    def close_pages(self) -> None:
        """Of a portal that nobody mapped."""
        if self.writer is not None:
            self.writer.close()
        if self.unmapped is not None:
            self.unmapped.close()
        self.unmapped = self.writer = None


def open_wq(daemon: "Daemon", session: "Session", name: str, *, mapped: bool = True) -> Steps:
    """The open operation; (answer, descriptors for the client). Not `mapped`: the daemon keeps the pages (cdev.py)."""
    facts = daemon.wq_facts(name)
    if not mapped and facts.kernel:
        raise Refused("ENODEV", f"wq: {name} is a kernel work queue: it has no character device")
    if facts.kernel and Role.KERNEL_CHANNEL not in session.roles:
        raise Refused("EPERM", f"wq: {name} is a kernel work queue; uid {session.peer.uid} has the user role only")
    daemon.sessions.check_portal_quota(session)
    pages = _Pages.create()
    portal: Portal | None = None
    try:
        steps = _open_kernel if facts.kernel else _open_user
        portal = yield from steps(daemon, session, facts, pages)
        session.portals[portal.number] = portal
        _note_owner(daemon, session, portal)
        daemon.sessions.count_portals(session, +1)
        answer = {"portal": portal.number, **daemon.wq_facts(name).answer(), "pasid": session.pasid}
        if portal.channel is not None:
            answer |= {"channel": portal.channel.number, "slots": CHANNEL_SLOTS}
        if not mapped:
            portal.unmapped = pages
            return answer, []
        try:
            return answer, _for_client(pages, portal.channel)
        except OSError as error:
            yield from close_portal(daemon, session, portal, abort=True)
            raise refusal(error, "wq") from None
    finally:
        if portal is None or portal.unmapped is None:
            pages.close()


def pages_for_client(portal: Portal) -> list[int]:
    """Of one that was not mapped when it was opened. Refused: ENOMEM."""
    assert portal.unmapped is not None
    try:
        return _for_client(portal.unmapped, None)
    except OSError as error:
        raise refusal(error, "portal") from None


def _for_client(pages: _Pages, channel: Channel | None) -> list[int]:
    """Its copies, in the order of the answer. OSError: none is left open."""
    shared = [(os.dup, pages.client), (memfd.read_only, pages.device), (os.dup, pages.doorbell), (os.dup, pages.theirs)]
    if channel is not None:
        shared += [(os.dup, channel.memory), (memfd.read_only, channel.ring)]
    made: list[int] = []
    try:
        for copy, fd in shared:
            made.append(copy(fd))
    except OSError:
        close_all(made)
        raise
    return made


def _open_user(daemon: "Daemon", session: "Session", facts: "WqFacts", pages: _Pages) -> Steps:
    own = session.next_number()
    yield daemon.link.verb("open", wq=facts.wq, pasid=session.pasid, client=session.number, file=own)
    try:
        number = yield from _add(daemon, session, facts, pages, session.pasid, privileged=False)
    except Refused:
        yield daemon.link.verb("close", wq=facts.wq, pasid=session.pasid, client=session.number, file=own)
        raise
    return Portal(own, number, facts, None)


def _open_kernel(daemon: "Daemon", session: "Session", facts: "WqFacts", pages: _Pages) -> Steps:
    channel = daemon.channels.create(facts.wq, pages.client, pages.ours, session.peer.pidfd)
    try:
        yield daemon.link.verb("attach", channel.fds(), **channel.arguments())
    except Refused:
        daemon.channels.forget(channel)
        raise
    daemon.channels.attached(channel)
    try:
        channel.own_portal = yield from _add(daemon, session, facts, channel.own, SYSTEM_PASID, privileged=True)
        yield acknowledged(daemon.port.portal_close, channel.own_portal, STOP_ABORT, Closed.BY_OWNER)
        channel.portal = yield from _add(daemon, session, facts, pages, SYSTEM_PASID, privileged=True)
    except Refused:
        yield daemon.link.verb("detach", channel=channel.number)
        daemon.channels.detached(channel)
        yield from _remove_own(daemon, channel)
        daemon.channels.forget(channel)
        raise
    if channel.fenced:  # before the portal was there to be closed
        yield acknowledged(daemon.port.portal_close, channel.portal, STOP_ABORT, Closed.REVOKED)
    return Portal(session.next_number(), channel.portal, facts, channel)


def _note_owner(daemon: "Daemon", session: "Session", portal: Portal) -> None:
    """For the trace, and for what is counted by user."""
    daemon.sessions.owners.opened(session, portal, portal.engine_number)
    if portal.channel is not None:
        daemon.sessions.owners.opened(session, portal, portal.channel.own_portal, irq=True)


def _note_end(daemon: "Daemon", number: int) -> None:
    """It is about to be removed; its errors are fetched while it is known whose they are."""
    counted = daemon.engine.portal_statistics(number)
    if counted["errors"]:
        daemon.tracing.errors.fetch()
    daemon.sessions.owners.closed(number, counted)


def _remove_own(daemon: "Daemon", channel: Channel) -> Steps:
    """idxdd-irq has let go of the channel; what it had submitted itself ends here."""
    number, channel.own_portal = channel.own_portal, -1
    if number >= 0:
        yield acknowledged(daemon.port.portal_close, number, STOP_ABORT, Closed.BY_OWNER)
        _note_end(daemon, number)
        yield acknowledged(daemon.port.portal_remove, number)


def _add(daemon: "Daemon", session: "Session", facts: "WqFacts", pages: _Pages, pasid: int, *, privileged: bool) -> Steps:
    """Give the portal to the engine; its number there."""
    if not daemon.wq_accepts(facts.wq):
        raise Refused("ENXIO", f"wq: {facts.name} is not enabled")
    made: list[int] = []

    def wait(resume: Resume, fail: Fail) -> None:
        try:
            made.append(
                daemon.port.portal_add(
                    facts.wq,
                    client_fd=pages.client,
                    device_fd=pages.device,
                    doorbell_fd=pages.doorbell,
                    wake_fd=pages.ours,
                    space=session.memory.space,
                    pasid=pasid,
                    priv=privileged,
                    then=lambda: resume(None),
                )
            )
        except NativeError as error:
            return fail(refusal(error, "wq"))
        memfd.seal(pages.device, memfd.SEALS | memfd.F_SEAL_FUTURE_WRITE)

    yield wait
    return made[0]


def reopen(daemon: "Daemon", session: "Session", portal: Portal) -> Steps:
    """Take up a closed portal again: its WQ must be enabled; a fenced channel stays closed."""
    facts = daemon.wq_facts(portal.facts.name)
    if facts.kernel != portal.facts.kernel or facts.dedicated != portal.facts.dedicated:
        raise Refused("ENXIO", f"portal: {facts.name} has another type or mode now; open it anew")
    if portal.channel is not None and portal.channel.fenced:
        raise Refused("ENXIO", f"portal: its channel on {facts.name} was fenced; open it anew")
    if portal.channel is None:
        yield daemon.link.verb("open", wq=facts.wq, pasid=session.pasid, client=session.number, file=portal.number)
    if not daemon.wq_accepts(facts.wq):
        raise Refused("ENXIO", f"portal: {facts.name} is not enabled")
    yield acknowledged(daemon.port.portal_reopen, portal.engine_number)
    return {}, []


def stop(daemon: "Daemon", portal: Portal) -> None:
    """The owner is dead: accept nothing more, at once; close_portal() does the rest."""
    daemon.port.portal_close(portal.engine_number, STOP_ABORT, Closed.BY_OWNER)


def close_portal(daemon: "Daemon", session: "Session", portal: Portal, *, abort: bool) -> Steps:
    """Close it and give everything back; drains what was accepted unless `abort`."""
    portal.closing = True
    yield acknowledged(daemon.port.portal_close, portal.engine_number, STOP_ABORT if abort else STOP_DRAIN, Closed.BY_OWNER)
    try:
        if portal.channel is None:
            yield daemon.link.verb("close", wq=portal.facts.wq, pasid=session.pasid, client=session.number, file=portal.number)
        else:
            yield daemon.link.verb("detach", channel=portal.channel.number)
    except Refused as refusal_:
        daemon.log.warning(f"closing {portal.facts.name}: {refusal_.text}", code=refusal_.code)
    if portal.channel is not None:
        daemon.channels.detached(portal.channel)  # at once: idxdd-irq may die before the portal is removed
    _note_end(daemon, portal.engine_number)
    yield acknowledged(daemon.port.portal_remove, portal.engine_number)
    if portal.channel is not None:
        yield from _remove_own(daemon, portal.channel)
        daemon.channels.forget(portal.channel)
    portal.close_pages()
    session.portals.pop(portal.number, None)
    daemon.sessions.count_portals(session, -1)
    return {}, []
