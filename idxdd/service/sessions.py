"""Sessions: one per connection, with its process, PASID, memory and portals; what a client may do to us, and its end.

Who writes what  the loop alone. A session has one request under way at a time; its next frame is read when that is answered.
Order            the end: portals stop at once, the request under way is finished, then what it polls with goes, portals are
                 closed one by one, then windows into and out of its memory, the agent goes, then the address table is
                 cleared, a barrier, and only then the memory and the PASID are free.
Limits           one frame a client and turn; answers a client does not read are bounded, then it is disconnected.
"""

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from idxdd.control import protocol, wire
from idxdd.control.protocol import BadFrame, Request
from idxdd.control.roles import Peer, Role, identify
from idxdd.service import agents, portals, windows
from idxdd.service.buffers import AddressSpace, refusal
from idxdd.service.loop import READ, WRITE, Rank
from idxdd.service.owners import Owners
from idxdd.service.pace import Pace
from idxdd.service.portals import CHANNEL_SIZE, CHANNEL_SLOTS, PORTAL_SLOTS, Portal
from idxdd.service.settings import Settings
from idxdd.service.tasks import Refused, Steps, run

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon

PASID_FIRST = 2
PASID_LAST = (1 << 20) - 1
HELLO_S = 10.0
ACCEPTS_PER_TURN_MAX = 16
ACCEPT_AGAIN_S = 0.2
FOREIGN_MAPPINGS_MAX = 8192
FOREIGN_PORTALS_MAX = 512
FOREIGN_POLLERS_MAX = 512


class Session:
    """One client process."""

    def __init__(self, daemon: "Daemon", sock: socket.socket, peer: Peer, pasid: int, number: int) -> None:
        self.daemon = daemon
        self._mm_check = "mm-check" in daemon.settings.later
        if self._mm_check:
            wire.tell_senders(sock)
        self.sender = 0
        """The process that sent the request under way; 0: not looked at."""
        self.peer = peer
        self.roles: Role = daemon.settings.access.roles(peer)
        self.pasid = pasid
        self.number = number
        self.memory = AddressSpace(daemon.settings.limits)
        self.portals: dict[int, Portal] = {}
        self.has_agent = False
        self.greeted = False
        self._sock: socket.socket | None = sock
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._pace = Pace(daemon.settings.limits.calls_per_s_max)
        self._busy = False
        self._paused = False
        self._ended = False
        self._returning = False
        self._closing = False
        self._next_number = 1
        self._watched = READ
        daemon.loop.register(sock.fileno(), Rank.CLIENT, self._ready, READ)
        daemon.loop.register(peer.pidfd, Rank.PROCESS, lambda _events: self.end("its process died"))
        daemon.port.bind_pasid(pasid, self.memory.space)

    def next_number(self) -> int:
        """A portal number, not used before in this session."""
        number, self._next_number = self._next_number, self._next_number + 1
        return number

    # ---- frames in -------------------------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        if self._outbox:
            self._flush()
        if self._busy or self._closing or self._paused:
            return self.end("it hung up") if not events & (READ | WRITE) else None
        if self._pace.wait_s() > 0:
            return self._pause()
        try:
            frame = wire.receive(sock, fds_max=0, sender=self._mm_check)
        except BlockingIOError:
            return None
        except BadFrame as error:
            return self._reject(error)
        except OSError:
            frame = None
        if frame is None:
            return self.end("it closed its connection")
        try:
            request = protocol.parse_request(frame.payload)
            if self.greeted == (request.op == "hello"):
                raise BadFrame("hello must be the first request, and only that", request.id)
            self.sender = frame.pid
        except BadFrame as error:
            return self._reject(error)
        self._start(request)

    def _pause(self) -> None:
        """It asks more often than it may: what it sends waits in its own socket."""
        self._paused = True
        self._watch()
        self.daemon.loop.timers.call_later(self._pace.wait_s(), self._go_on)
        if not self._pace.told:
            self._pace.told = True
            most = self.daemon.settings.limits.calls_per_s_max
            self.daemon.log.warning(
                f"pid {self.peer.pid} of uid {self.peer.uid} asks more than {most} times a second: it waits",
                pid=self.peer.pid,
                uid=self.peer.uid,
            )

    def _go_on(self) -> None:
        self._paused = False
        self._watch()

    def obey(self, settings: Settings) -> None:
        """After a reload: what it may do from now on; what it holds already stays."""
        self.roles = settings.access.roles(self.peer)
        self.memory.limits = settings.limits
        self._pace.per_s = settings.limits.calls_per_s_max

    def _reject(self, error: BadFrame) -> None:
        """A bad frame is answered once; then the connection ends."""
        self._send(protocol.encode_error(error.request_id, "EPROTO", str(error)), [])
        self._closing = True
        self._flush()

    def _start(self, request: Request) -> None:
        self._busy = True
        self._pace.take()
        run(self.daemon.operation(self, request), lambda result, refusal: self._finished(request, result, refusal))
        if self._busy:  # most requests are answered by now, and need no change of what is watched
            self._watch()

    def _finished(self, request: Request, result: Any, refusal: Refused | None) -> None:
        self._busy = False
        if refusal is not None:
            self._send(protocol.encode_error(request.id, refusal.code, refusal.text), [])
        else:
            answer, fds = result
            if request.op == "hello":
                self.greeted = True
            try:
                self._send(protocol.encode_answer(request.id, answer), fds)
            except BadFrame as error:
                wire.close_all(fds)
                self._send(protocol.encode_error(request.id, "EMSGSIZE", str(error)), [])
        if self._ended:
            self._give_back()
        else:
            self._watch()

    # ---- frames out ------------------------------------------------------------------------------------------------

    def _send(self, payload: bytes, fds: list[int]) -> None:
        if self._sock is None:
            return wire.close_all(fds)
        self._outbox.append((payload, fds))
        self._flush()

    def _flush(self) -> None:
        sock = self._sock
        try:
            while sock is not None and self._outbox and wire.send(sock, *self._outbox[0]):
                wire.close_all(self._outbox.popleft()[1])
        except OSError:
            return self.end("it left before its answer")
        if self._sock is None:
            return
        if self._closing and not self._outbox:
            return self.end("it broke the protocol")
        if len(self._outbox) > self.daemon.settings.limits.outbox_frames_max:
            return self.end("it does not read its answers")
        self._watch()

    def _watch(self) -> None:
        """While a request is under way, and once it broke the protocol, nothing more is read."""
        reading = 0 if self._busy or self._closing or self._paused else READ
        events = reading | (WRITE if self._outbox else 0)
        if self._sock is not None and events != self._watched:
            self._watched = events
            self.daemon.loop.modify(self._sock.fileno(), events)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def end(self, _why: str) -> None:
        """Its process died, or it hung up: stop its portals now, give everything back when its request is done. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self._close_socket()
        self.daemon.loop.unregister(self.peer.pidfd)
        for portal in self.portals.values():
            if not portal.closing:
                portals.stop(self.daemon, portal)
        if not self._busy:
            self._give_back()

    @property
    def ended(self) -> bool:
        """Its process is gone, or it hung up."""
        return self._ended

    def end_unless_greeted(self) -> None:
        """Its time to say hello is over."""
        if not self.greeted:
            self.end("it never said hello")

    def _close_socket(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self.daemon.loop.unregister(sock.fileno())
            sock.close()
        for _, fds in self._outbox:
            wire.close_all(fds)
        self._outbox.clear()

    def _give_back(self) -> None:
        if not self._returning:  # its answer may have been what ended it
            self._returning = True
            run(self._giving_back(), self._given_back)

    def _giving_back(self) -> Steps:
        self.daemon.pollers.leave(self)
        for portal in list(self.portals.values()):
            yield from portals.close_portal(self.daemon, self, portal, abort=True)
        yield from windows.leave(self.daemon, self)
        yield from agents.remove(self.daemon, self)
        yield from self.memory.clear(self.daemon.barrier, lambda count: self.daemon.sessions.count_mappings(self, -count))

    def _given_back(self, _result: object, refusal: Refused | None) -> None:
        assert refusal is None, refusal
        os.close(self.peer.pidfd)
        self.daemon.sessions.ended(self)


class Sessions:
    """All sessions, their PASIDs and what each uid holds."""

    def __init__(self, daemon: "Daemon", published_clients: Callable[[int], None]) -> None:
        """`published_clients(n)`: store how many processes have an open portal."""
        self._daemon = daemon
        self._publish = published_clients
        self._by_pasid: dict[int, Session] = {}
        self.owners = Owners()
        self._next_pasid = PASID_FIRST
        self._next_number = 1
        self._held: dict[tuple[int, str], int] = {}

    def __iter__(self) -> Any:
        return iter(sorted(self._by_pasid.values(), key=lambda session: session.pasid))

    def __len__(self) -> int:
        return len(self._by_pasid)

    def of_pasid(self, pasid: int) -> Session | None:
        """The session whose address space this is; one that has ended has none."""
        session = self._by_pasid.get(pasid)
        return None if session is None or session.ended else session

    def accept(self, listener: socket.socket) -> None:
        """Let in who waits, a few a turn."""
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # the client is gone already
                continue
            except OSError as error:  # no descriptors left
                return self._rest(listener, error)
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                self._admit(sock)
                continue
            sock.close()

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """Look at the listener again later: until descriptors are free it stays readable, and the loop would spin."""
        loop = self._daemon.loop

        def look_again() -> None:
            if listener.fileno() >= 0:
                loop.register(listener.fileno(), Rank.LISTENER, lambda _events: self.accept(listener))

        self._daemon.log.warning(f"no client can be accepted for {ACCEPT_AGAIN_S:g} s: {error.strerror}")
        loop.unregister(listener.fileno())
        loop.timers.call_later(ACCEPT_AGAIN_S, look_again)

    def _admit(self, sock: socket.socket) -> None:
        """OSError: it is gone already, or a limit is reached; then the caller closes the socket."""
        peer = identify(sock)
        limits = self._daemon.settings.limits
        if len(self) >= limits.sessions_max or self._holds(peer.uid, "sessions") >= limits.sessions_per_uid_max:
            os.close(peer.pidfd)
            refusal = protocol.encode_error(0, "EUSERS", "hello: too many clients are connected")
            wire.send(sock, refusal)
            raise OSError("too many sessions")
        session = Session(self._daemon, sock, peer, self._free_pasid(), self._next_number)
        self._next_number += 1
        self._by_pasid[session.pasid] = session
        self._count(peer.uid, "sessions", +1)
        self._daemon.faults.clients_changed()
        self._daemon.loop.timers.call_later(HELLO_S, session.end_unless_greeted)

    def _free_pasid(self) -> int:
        """The next one not in use: one just freed rests as long as possible."""
        while self._next_pasid in self._by_pasid:
            self._next_pasid = PASID_FIRST if self._next_pasid >= PASID_LAST else self._next_pasid + 1
        pasid = self._next_pasid
        self._next_pasid = PASID_FIRST if pasid >= PASID_LAST else pasid + 1
        return pasid

    def ended(self, session: Session) -> None:
        """Everything of it was given back."""
        del self._by_pasid[session.pasid]
        self._daemon.faults.clients_changed()
        self._count(session.peer.uid, "sessions", -1)

    # ---- limits ----------------------------------------------------------------------------------------------------

    def _holds(self, uid: int, what: str) -> int:
        return self._held.get((uid, what), 0)

    def _count(self, uid: int, what: str, change: int) -> None:
        left = self._holds(uid, what) + change
        assert left >= 0, (uid, what)
        if left:
            self._held[uid, what] = left
        else:
            self._held.pop((uid, what), None)

    def count_portals(self, session: Session, change: int) -> None:
        """A portal was opened or closed."""
        self._count(session.peer.uid, "portals", change)
        self._publish(sum(1 for one in self._by_pasid.values() if one.portals))

    def count_mappings(self, session: Session, change: int) -> None:
        """Ranges were mapped or unmapped."""
        if change:
            self._count(session.peer.uid, "mappings", change)

    def count_pollers(self, session: Session, change: int) -> None:
        """Descriptors that poll were made or closed."""
        self._count(session.peer.uid, "pollers", change)

    def check_poller_quota(self, session: Session) -> None:
        """Refused: EMFILE."""
        if Role.ADMIN not in session.roles and self._holds(session.peer.uid, "pollers") >= FOREIGN_POLLERS_MAX:
            raise Refused("EMFILE", f"portal: uid {session.peer.uid} polls with {FOREIGN_POLLERS_MAX} descriptors, its limit")

    def check_portal_quota(self, session: Session) -> None:
        """Refused: EMFILE."""
        most = self._daemon.settings.limits.portals_max
        if len(session.portals) >= most:
            raise Refused("EMFILE", f"wq: this client has {most} portals open, which is its limit")
        in_flight = sum(CHANNEL_SLOTS if portal.channel else PORTAL_SLOTS for portal in session.portals.values())
        most = self._daemon.settings.limits.in_flight_max
        if in_flight + PORTAL_SLOTS > most:
            text = f"wq: {in_flight} descriptors in flight and {PORTAL_SLOTS} of another portal exceed this client's {most}"
            raise Refused("EMFILE", text)
        if Role.ADMIN not in session.roles and self._holds(session.peer.uid, "portals") >= FOREIGN_PORTALS_MAX:
            raise Refused("EMFILE", f"wq: uid {session.peer.uid} has {FOREIGN_PORTALS_MAX} portals open, which is its limit")

    def check_mapping_quota(self, session: Session) -> None:
        """Refused: ENOMEM."""
        if Role.ADMIN not in session.roles and self._holds(session.peer.uid, "mappings") >= FOREIGN_MAPPINGS_MAX:
            raise Refused("ENOMEM", f"address: uid {session.peer.uid} has {FOREIGN_MAPPINGS_MAX} ranges mapped, its limit")


# ---- operations of a session ------------------------------------------------------------------------------------------


def alloc(daemon: "Daemon", session: Session, size: int) -> Steps:
    """A buffer of at least `size` bytes."""
    number, buffer = yield from session.memory.alloc(size, daemon.next_turn)
    try:
        theirs = os.dup(buffer.fd)
    except OSError as error:
        session.memory.free(number)
        raise refusal(error, "size") from None
    return {"buffer": number, "size": buffer.size}, [theirs]


def map_memory(
    daemon: "Daemon", session: Session, address: int, buffer: int | None = None, channel: int | None = None
) -> Steps:
    """Show the device a buffer or a channel at the client's address of it."""
    daemon.sessions.check_mapping_quota(session)
    if buffer is not None:
        found = session.memory.buffers.get(buffer)
        if found is None:
            raise Refused("ENOENT", f"buffer: this client has no buffer {buffer}")
        session.memory.map(found, address)
    else:
        own = next((p.channel for p in session.portals.values() if p.channel is not None and p.channel.number == channel), None)
        if own is None:
            raise Refused("ENOENT", f"channel: this client has no channel {channel}")
        session.memory.map_file(own.memory, CHANNEL_SIZE, address)
    daemon.sessions.count_mappings(session, +1)
    return {}, []
    yield


def unmap(daemon: "Daemon", session: Session, address: int) -> Steps:
    """Take a range out; answered when the engine has left it."""
    yield from session.memory.unmap(address, daemon.barrier)
    daemon.sessions.count_mappings(session, -1)
    return {}, []


def free(_daemon: "Daemon", session: Session, buffer: int) -> Steps:
    """Give a buffer back."""
    session.memory.free(buffer)
    return {}, []
    yield


def close(daemon: "Daemon", session: Session, portal: int) -> Steps:
    """Close a portal: what it had accepted is finished first."""
    return (yield from portals.close_portal(daemon, session, own_portal(session, portal), abort=False))


def reopen(daemon: "Daemon", session: Session, portal: int) -> Steps:
    """Reopen a portal that the device closed."""
    return (yield from portals.reopen(daemon, session, own_portal(session, portal)))


def own_portal(session: Session, number: int) -> Portal:
    """Refused: ENOENT."""
    portal = session.portals.get(number)
    if portal is None:
        raise Refused("ENOENT", f"portal: this client has no portal {number}")
    return portal
