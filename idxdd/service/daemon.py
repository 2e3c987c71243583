"""idxdd: the device loop. One thread, one epoll; nothing in it waits for idxdd-irq or for a client.

Who writes what  this thread: register files (through Device), sessions, address tables, `clients` of the published page.
                 The engine's thread: portals, records, counters. idxdd-irq: driver state, its published page, MMIO rings.
Order            a turn: exits, MMIO writes, link, processes that died, at most one frame a client, new clients, timers.
                 When it may sleep: hardware.py.
Crash            killed, it leaves names in /dev/shm; the next start sweeps them. Clients see end of file at once.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idxdd.control.configfile import BadConfigFile, read_config
from idxdd.control.exitcodes import ExitCode
from idxdd.control.protocol import BadFrame, Request
from idxdd.device.device import Device
from idxdd.device.faults import BadRule, Rule
from idxdd.device.profilefile import load as load_profile
from idxdd.driver.state import CHANNELS_MAX, SEGMENT_SIZE
from idxdd.native import STOP_ABORT, Words
from idxdd.service import admin, faults, reports
from idxdd.service.buffers import refusal
from idxdd.service.cdev import Pollers
from idxdd.service.ending import end_portals
from idxdd.service.failure import DaemonFailed, as_failure
from idxdd.service.gate import Gate
from idxdd.service.hardware import Hardware, create_segment
from idxdd.service.link import Frame, Link
from idxdd.service.listen import Listener, listen
from idxdd.service.logs import Log
from idxdd.service.loop import Loop, Rank
from idxdd.service.metrics import Metrics
from idxdd.service.notify import ready_fd, sd_notify
from idxdd.service.operations import OPERATIONS
from idxdd.service.portals import Channel, Channels
from idxdd.service.published import Published
from idxdd.service.reports import WqFacts
from idxdd.service.scrapes import Scrapes
from idxdd.service.sessions import Session, Sessions
from idxdd.service.settings import Resolved, Settings
from idxdd.service.spawn import Spawned
from idxdd.service.supervisor import Supervisor
from idxdd.service.tasks import Fail, Refused, Resume, Steps, run
from idxdd.service.trace import Tracing
from idxdd.service.watchdog import Watchdog, period_s
from idxdd.service.windows import Windows
from idxdd.shm.closed import Closed
from idxdd.shm.names import InstanceLock
from idxdd.spec.codes import ResetType

CHANNELS_PER_FRAME = 1
COPIES_KEPT = 1024  # more than idxdd-irq has under way


class Daemon:
    """One instance: devices, engine, sessions and the supervised idxdd-irq."""

    def __init__(
        self, settings: Settings, log: Log, first_irq: Spawned | None = None, again: Callable[[], Resolved] | None = None
    ) -> None:
        """Take the name, make every segment, listen. DaemonFailed says why not; what was made is removed again.

        `again()` reads the settings anew, for a reload.
        `first_irq`: an idxdd-irq spawned already; it is ours once serve() was called."""
        self._first_irq = first_irq
        self.settings = settings
        self.again = again
        self.resolved = again() if again else None
        self.log = log
        self._later: list[Resume] = []
        self._ending: str | None = None
        self._failure: DaemonFailed | None = None
        self._ready = False
        self.gate = Gate(self)
        self.reload_asked = False
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack, as_failure():
            self._build(stack)
            self._stack = stack.pop_all()

    def _build(self, stack: contextlib.ExitStack) -> None:
        self._signals = self._catch_signals(stack)
        self._config = _read_config(self.settings.config, self.log)
        self._lock = stack.enter_context(InstanceLock(self.settings.instance))
        swept = self._lock.sweep()
        if swept:
            self.log.info(f"removed {len(swept)} names that dead instances left", first=swept[0])
        self._listener: Listener = stack.enter_context(contextlib.closing(listen(self.settings.socket)))
        self._record_socket()
        self.generation = self._lock.generation
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.pages = Published(stack, self.generation)
        self._state = create_segment(stack, self._lock.names.of("driver"), SEGMENT_SIZE)
        profiles = [load_profile(name) for name in self.settings.devices]
        settings = self.settings
        self.hardware = Hardware(stack, self._lock.names, self.pages.window, profiles, settings.spin_us, settings.batch_seed)
        self.engine, self.port = self.hardware.engine, self.hardware.port
        self.channels = Channels(CHANNELS_MAX)
        self.sessions = Sessions(self, self.pages.clients)
        self.tracing = Tracing(self.port, self.sessions.owners.uid_of)
        self.metrics = Metrics(self)
        self.windows = Windows()
        self._rules = _read_rules(self.settings.inject)
        self.faults = faults.arm(self)
        self._copied: dict[int, int] = {}
        self.pollers = Pollers(self.sessions)
        stack.callback(self.pollers.close)
        self.link = Link(self.loop, self.log, self._ask, self._copy, lambda why: self._supervisor.lost(why))
        self.link.swerr = self.pollers.wake
        self._supervisor = Supervisor(
            self.loop,
            self.link,
            self.log,
            adoption=self._adoption,
            adopted=self._adopted,
            failed=lambda why: self._fail(DaemonFailed(why, ExitCode.IRQ_CANNOT_START)),
            first=self._first_irq,
        )
        self._register()
        self._serve_metrics(stack)

    def _serve_metrics(self, stack: contextlib.ExitStack) -> None:
        address = self.settings.metrics
        if address is not None:
            try:
                scrapes = Scrapes(self.loop, self.log, self.metrics, address)
            except OSError as error:
                raise DaemonFailed(f"metrics: cannot listen at {address}: {error.strerror}", ExitCode.SOCKET_TAKEN) from None
            stack.callback(scrapes.close)

    def _catch_signals(self, stack: contextlib.ExitStack) -> socket.socket:
        """First of all: from here on a signal ends the daemon in order. The socket becomes readable with each."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            stack.callback(end.close)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False))
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, self._signalled))
        if not os.isatty(2):  # a terminal that is closed ends what was started in it
            stack.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, self._hung_up))
        return ours

    def _record_socket(self) -> None:
        if self.settings.socket == self._listener.path:
            self._lock.record_sockets(Path(self.settings.socket))

    def _register(self) -> None:
        self.loop.register(self.engine.exit_bell, Rank.DEVICE, lambda _events: self.hardware.exits())
        self.loop.register(self.hardware.bell.fd, Rank.DEVICE, lambda _events: self.hardware.bell.drain())
        self.loop.register(self._listener.sock.fileno(), Rank.LISTENER, lambda _: self.sessions.accept(self._listener.sock))
        self.loop.register(self._signals.fileno(), Rank.SIGNAL, self._taken)

    # ---- running ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run until told to end; everything is removed then. DaemonFailed when it could not start."""
        with self._stack:
            try:
                self.engine.start()
                self._supervisor.start()
                while self._ending is None:
                    self.turn()
                self._end()
            finally:
                self._supervisor.stop()
                self.engine.stop()
        if self._failure is not None:
            raise self._failure

    def turn(self, *, block: bool = True) -> None:
        """One turn of the loop."""
        worked = self.hardware.work()
        later, self._later = self._later, []
        for resume in later:
            resume(None)
        block = block and not worked and not later and not self._later and self._ending is None
        ready = self.hardware.wait(self.loop) if block else self.loop.wait(block=False)
        self.hardware.work()
        self.loop.handle(ready)
        self.loop.timers.run_due()

    def _signalled(self, number: int, _frame: object) -> None:
        self._ending = signal.Signals(number).name

    def _hung_up(self, _number: int, _frame: object) -> None:
        self.reload_asked = True

    def _taken(self, _events: int) -> None:
        """A signal came: what it asks for is done here, in the loop's own turn."""
        self._signals.recv(256)
        if self.reload_asked:
            self.reload_asked = False
            with contextlib.suppress(Refused):
                admin.reload(self, "SIGHUP")

    def _fail(self, failure: DaemonFailed) -> None:
        self._failure = self._failure or failure
        self._ending = self._ending or "failure"

    def _end(self) -> None:
        """Clients learn that the device goes; everything else is the stack's."""
        if self._failure is None:
            self.log.info(f"{self._ending}: ending")
        sd_notify("STOPPING=1")
        self.loop.unregister(self._listener.sock.fileno())
        end_portals(self.sessions, self.hardware, self.loop)

    # ---- readiness -------------------------------------------------------------------------------------------------

    def _adoption(self) -> tuple[Mapping[str, Any], Sequence[int], list[Frame]]:
        channels = list(self.channels)
        arguments = {
            "generation": self.generation,
            "state": self._state.name,
            "quirks": self.settings.quirks,
            "later": self.settings.later,
            "devices": self.hardware.handed,
            "channels": [channel.arguments() for channel in channels],
        }
        groups = [channels[start : start + CHANNELS_PER_FRAME] for start in range(0, len(channels), CHANNELS_PER_FRAME)]
        following: list[Frame] = [
            ({"descriptors": [channel.number for channel in group]}, [fd for channel in group for fd in channel.fds()])
            for group in groups
        ]
        return arguments, [self.pages.driver_fd, self.hardware.bell.fd, self.pages.device_fd], following

    def _adopted(self) -> None:
        def configure() -> Steps:
            yield self.link.verb("configure", config=self._config)

        def configured(_answer: object, refusal: Refused | None) -> None:
            if refusal is not None:
                return self._fail(DaemonFailed(self._misconfigured(refusal.text), ExitCode.BAD_CONFIGURATION))
            self._announce()

        try:
            run(configure(), configured)
        except BadFrame as error:
            self._fail(DaemonFailed(f"configuration: {error}", ExitCode.BAD_CONFIGURATION))

    def _misconfigured(self, text: str) -> str:
        """One problem: one line. More: a line each, below how many there are."""
        problems, path = text.splitlines() or [""], self.settings.config or "default"
        if len(problems) == 1:
            return f"configuration {path}: {problems[0]}"
        return "\n  ".join([f"configuration {path}: {len(problems)} problems, nothing was applied", *problems])

    def _announce(self) -> None:
        self._ready = True
        try:
            self.faults.add(self._rules)
        except BadRule as error:
            return self._fail(DaemonFailed(f"{self.settings.inject}: {error}", ExitCode.BAD_CONFIGURATION))
        for rule in self._rules:
            self.log.warning(f"fault rule: {rule}")
        self.log.info(f"ready: {', '.join(self.devices)} at {self._listener.path}", instance=self.settings.instance)
        sd_notify(f"READY=1\nMAINPID={os.getpid()}")
        ready_fd(self.settings.ready_fd)
        period = period_s()
        if period:
            Watchdog(self.loop.timers, period, self.port.barrier, lambda: self._supervisor.silent_s).beat()

    # ---- what sessions need ----------------------------------------------------------------------------------------

    @property
    def devices(self) -> dict[str, Device]:
        """By name: dsa0, dsa1, ..."""
        return self.hardware.devices

    @property
    def published(self) -> Words:
        """struct idxdd_published_device."""
        return self.pages.device

    @property
    def published_driver(self) -> Words:
        """struct idxdd_published_driver, read-only."""
        return self.pages.driver

    @property
    def irq_pid(self) -> int:
        """0 while there is none."""
        return self._supervisor.pid

    @property
    def irq_restarts(self) -> int:
        return self._supervisor.restarts

    def wq_facts(self, name: str) -> WqFacts:
        """Refused: ENOENT, ENXIO."""
        return reports.wq_facts(self.devices, self.published_driver, name)

    def wq_device(self, wq: int) -> Device:
        """Whose WQ a global index is."""
        return next(device for device in self.devices.values() if device.index == wq // reports.WQS_PER_DEVICE)

    def wq_accepts(self, wq: int) -> bool:
        """The device would take descriptors for this WQ (global index)."""
        return self.hardware.accepts(wq)

    def barrier(self, resume: Resume, _fail: Fail) -> None:
        """Wait: the engine has left every old address table."""
        self.port.barrier(then=lambda: resume(None))

    def next_turn(self, resume: Resume, _fail: Fail) -> None:
        """Wait: everybody else has had a turn."""
        self._later.append(resume)

    def _ask(self, what: str, number: int, done: Callable[[], None]) -> None:
        """idxdd-irq wants a channel closed ("fence"), has swept it ("fenced"), wants its own portal back ("reopen"), or a
        device's function reset ("flr")."""
        if what == "flr":
            device = next(device for device in self.devices.values() if device.index == number)
            return device.reset(ResetType.FLR, then=done) if device.present else done()
        channel = self.channels.get(number)
        if channel is None or what not in ("fence", "fenced", "reopen"):
            return done()  # its owner is gone: nothing can come of it any more
        if what == "fence":
            return self._fence(channel, done)
        if what == "reopen" and channel.own_portal >= 0 and not channel.fenced and self.wq_accepts(channel.wq):
            return self.port.portal_reopen(channel.own_portal, then=done)
        if what == "fenced" and channel.portal >= 0:
            self.engine.portal_fenced(channel.portal)
        done()

    def _copy(self, frame: Mapping[str, Any]) -> int:
        """Deliver a record of the event log, once: a request that is repeated by a successor gets the answer it had."""
        request = frame["request"]
        if request not in self._copied:
            session = self.sessions.of_pasid(frame["pasid"])
            copied = 0 if session is None else session.memory.write_record(frame["address"], frame["record"])
            self._copied[request] = copied
            if len(self._copied) > COPIES_KEPT:
                del self._copied[next(iter(self._copied))]
        return self._copied[request]

    def _fence(self, channel: Channel, done: Callable[[], None]) -> None:
        """Both portals: when `done` is called the device has nothing of this channel any more."""
        channel.fenced = True
        left = len(channel.portals())

        def closed() -> None:
            nonlocal left
            left -= 1
            if not left:
                done()

        for portal in channel.portals():
            self.port.portal_close(portal, STOP_ABORT, Closed.REVOKED, then=closed)
        if not left:
            done()

    # ---- operations ------------------------------------------------------------------------------------------------

    def operation(self, session: Session, request: Request) -> Steps:
        """The steps of one request; they return (answer, descriptors)."""
        self.gate.check(session, request)
        try:
            return (yield from OPERATIONS[request.op](self, session, **request.arguments))
        except OSError as error:  # no descriptors left: the client's request fails, not the daemon
            raise refusal(error, request.op) from None


def _read_rules(path: str | None) -> list[Rule]:
    try:
        return [] if path is None else faults.read_rules(path)
    except BadRule as error:
        raise DaemonFailed(f"fault rules {error}", ExitCode.BAD_CONFIGURATION) from None


def _read_config(path: str | None, log: Log) -> Any:
    """accel-config's JSON as it is; idxdd-irq validates it and has the default for None."""
    if path is None:
        return None
    try:
        config, warnings = read_config(path)
    except BadConfigFile as error:
        raise DaemonFailed(f"configuration {error}", ExitCode.BAD_CONFIGURATION) from None
    for warning in warnings:
        log.warning(f"configuration {path}: {warning}")
    return config
