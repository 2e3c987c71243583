"""A stress run: many client processes, what disturbs them, and the accounts that must balance at the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from idxd_client import connect as connect_client
from idxd_client.errors import IdxdError
from idxdctl.options import all_stats, ask
from idxdctl.stress_events import AGAIN_S, Disturber, enable, states, wait_enabled
from idxdctl.stress_growth import Growth, names_of
from idxdctl.stress_worker import Job
from idxdd.control.client import ControlClient, connect

KINDS: Final = ("kill-clients", "kill-irq", "revokes", "halts", "disable-wqs", "faults")
DISTURBING: Final = frozenset({"revokes", "halts", "disable-wqs", "kill-irq"})
"""Under these a descriptor may be aborted, a portal closed, a channel fenced."""
LOOK_S: Final = 0.1
GROWTH_S: Final = 1.0
GIVEN_BACK_S: Final = 20.0
START_S: Final = 120.0
IRQ, LONGEST = "idxdd-irq", "the idxdd-irq that lived longest"


class StressFailed(IdxdError):
    """Something that must hold did not."""


@dataclass(frozen=True)
class Plan:
    """What a run does; the same plan makes the same clients do the same work, in whatever order they get to run."""

    clients: int
    descriptors: int
    """0: until the time is over."""
    seconds: float
    """0: until the descriptors are done."""
    seed: int
    kinds: frozenset[str] = frozenset()
    wqs: tuple[str, ...] = ()
    """Empty: every enabled one."""
    every_s: float = 0.5
    """Between two disturbances of a kind, on the average."""
    timeout_s: float = 60.0
    """Longer than this nothing that was accepted may take."""
    rest_s: float = 0.0
    """Of a client between two work queues, on the average."""

    def command(self) -> str:
        """What repeats it."""
        words = [f"idxdctl stress --clients {self.clients} --seed {self.seed} --every {self.every_s:g}"]
        words += [f"--timeout {self.timeout_s:g}"] + ([f"--rest {self.rest_s:g}"] if self.rest_s else [])
        words += [f"--descriptors {self.descriptors}"] if self.descriptors else []
        words += [f"--seconds {self.seconds:g}"] if self.seconds else []
        words += [f"--{kind}" for kind in KINDS if kind in self.kinds] + [f"--wq {wq}" for wq in self.wqs]
        return " ".join(words)


@dataclass
class Client:
    """One worker process and what it said last."""

    job: Job
    process: subprocess.Popen[bytes]
    ready: bool = False
    killed: bool = False
    """By us."""
    ended: bool = False
    error: str = ""
    tally: dict[str, int] = field(default_factory=dict)
    pending: bytes = b""

    @property
    def finished(self) -> int:
        """Descriptors that have ended, and how is known."""
        return sum(self.tally.get(name, 0) for name in ("succeeded", "faulted", "aborted"))


@dataclass
class Found:
    """What a run found; `failures` is empty when all held."""

    plan: Plan
    seconds: float = 0.0
    tally: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    wqs: list[dict[str, Any]] = field(default_factory=list)
    growth: dict[str, Growth] = field(default_factory=dict)
    names: tuple[int, int] = (0, 0)
    failures: list[str] = field(default_factory=list)

    @property
    def finished(self) -> int:
        return sum(self.tally[name] for name in ("succeeded", "faulted", "aborted"))

    def facts(self) -> dict[str, Any]:
        """For --json."""
        return {
            "seed": self.plan.seed,
            "command": self.plan.command(),
            "seconds": round(self.seconds, 3),
            "descriptors": self.finished,
            "descriptors_per_second": round(self.finished / self.seconds) if self.seconds else 0,
            "clients": dict(self.tally),
            "events": dict(self.events),
            "wqs": self.wqs,
            "growth": {name: growth.facts() for name, growth in self.growth.items()},
            "names": {"before": self.names[0], "after": self.names[1]},
            "failures": self.failures,
        }


class Disturbance(Protocol):
    """A thread that disturbs the daemon until stopped."""

    kind: str
    counted: Counter[str]
    failure: Exception | None

    def start(self) -> None: ...
    def is_alive(self) -> bool: ...
    def stop(self) -> None:
        """Returns when what it did last is undone."""


class Stress:
    """One run. `watch(finished)` is called now and then; `others`: further disturbances; a run ends when they have ended."""

    def __init__(
        self,
        plan: Plan,
        socket: str | None = None,
        watch: Callable[[int], object] = lambda _finished: None,
        others: Sequence[Disturbance] = (),
    ) -> None:
        self.plan = plan
        self._others = others
        self.found = Found(plan)
        self._socket = socket
        self._watch = watch
        self._disturbed = bool(DISTURBING & plan.kinds or others)
        self._rng = random.Random(plan.seed)
        self._clients: list[Client] = []
        self._gone: list[Client] = []
        self._selector = selectors.DefaultSelector()
        self._started = 0

    def run(self) -> Found:
        """Everything; what did not hold is in `failures`. IdxdError: it could not be started, or the daemon ended."""
        with connect(self._socket, 2 * AGAIN_S) as control:
            devices, wqs = states(control)
            self._wqs = list(self.plan.wqs) or [wq for wq, state in wqs.items() if state == "enabled"]
            strangers = [wq for wq in self._wqs if wqs.get(wq) != "enabled"]
            if strangers or not self._wqs:
                raise StressFailed(f"stress: {', '.join(strangers) or 'no work queue'}: not an enabled work queue")
            self._devices = sorted({wq.split("/")[0] for wq in self._wqs} & devices.keys())
            before = all_stats(control)
            self._alone = before["sessions"] == 1  # nobody else is connected: what is left at the end is ours
            self.found.names = (names_of(control.hello["instance"]), 0)
            self.found.growth = {"idxdd": Growth(control.hello["pid"])}
            start = time.monotonic()
            try:
                with self._disturbers() as disturbers:
                    self._work(control, start, disturbers)
                self._settle(control)
                self._end()
            finally:
                self._stop()
            self.found.seconds = time.monotonic() - start
            self._account()
            self._judge(control, before)
        return self.found

    # ---- clients -----------------------------------------------------------------------------------------------------
    def _start(self) -> Client:
        chosen = self._rng.sample(self._wqs, min(len(self._wqs), self._rng.randrange(1, 4)))
        job = Job(
            self._started, self._rng.getrandbits(48), chosen, self._socket, "faults" in self.plan.kinds,
            self._disturbed, self.plan.timeout_s, self.plan.rest_s,
        )  # fmt: skip
        self._started += 1
        command = [sys.executable, "-P", "-m", "idxdctl.stress_worker", json.dumps(asdict(job)), str(os.getpid())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client = Client(job, process)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, client)
        self._clients.append(client)
        return client

    def _listen(self, seconds: float) -> None:
        """What the workers say within this time."""
        for key, _ in self._selector.select(seconds):
            client: Client = key.data
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fileobj)
                self._ended(client)
                continue
            *lines, client.pending = (client.pending + data).split(b"\n")
            for line in lines:
                self._take(client, json.loads(line))

    def _take(self, client: Client, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "error":
            client.error = f"{event['class']}: {event['text']}"
        elif kind == "ready":
            client.ready = True
        else:
            client.tally = event
            client.ended = kind == "end"

    def _ended(self, client: Client) -> None:
        status = client.process.wait()
        for stream in (client.process.stdin, client.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._clients.remove(client)
        self._gone.append(client)
        if client.error or not (client.killed or (client.ended and status == 0)):
            told = client.error or f"ended with status {status}"
            self.found.failures.append(f"client {client.job.number}, pid {client.process.pid}: {told}")

    def _kill(self) -> None:
        """One of them, wherever it is; another in its place."""
        alive = [client for client in self._clients if client.ready and not client.killed]
        if alive:
            victim = self._rng.choice(alive)
            victim.killed = True
            victim.process.send_signal(signal.SIGKILL)
            self.found.events["kill-clients"] += 1
            self._start()

    @property
    def finished(self) -> int:
        """Descriptors that ended, all clients together."""
        return sum(client.finished for client in (*self._clients, *self._gone))

    # ---- the run -----------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _disturbers(self) -> Iterator[list[Disturbance]]:
        plan = self.plan
        targets = {"halts": self._devices, "revokes": self._devices, "disable-wqs": self._wqs, "kill-irq": ()}
        disturbers: list[Disturbance] = [
            Disturber(kind, self._socket, targets[kind], f"{plan.seed} {kind}", plan.every_s)
            for kind in KINDS
            if kind in DISTURBING & plan.kinds
        ]
        disturbers += self._others
        try:
            yield disturbers
        finally:
            for disturber in disturbers:
                if disturber.is_alive():
                    disturber.stop()
                self.found.events += disturber.counted
                if disturber.failure is not None:
                    self.found.failures.append(str(disturber.failure))

    def _work(self, control: ControlClient, start: float, disturbers: list[Disturbance]) -> None:
        for _ in range(self.plan.clients):
            self._start()
        self._until(lambda: all(client.ready for client in self._clients), START_S, "the clients to start")
        for disturber in disturbers:
            disturber.start()
        began = now = time.monotonic()
        kill_at = began + self._pause() if "kill-clients" in self.plan.kinds else float("inf")
        progress, look_at = deque([(began, self.finished)], maxlen=2), began
        while not self.found.failures and not self._over(now - began):
            self._listen(LOOK_S)
            now = time.monotonic()
            if now >= kill_at:
                self._kill()
                kill_at = now + self._pause()
            if now >= look_at:
                self._look(control, now - start)
                look_at = now + max(GROWTH_S, (now - start) / 500)
            finished = self.finished
            if finished != progress[-1][1]:
                progress.append((now, finished))
            elif now - progress[-1][0] > self.plan.timeout_s:
                self.found.failures.append(f"no descriptor has ended for {self.plan.timeout_s:g} s")
            self.found.failures += [str(d.failure) for d in disturbers if d.failure is not None and not d.is_alive()]
            self._watch(finished)
        for disturber in disturbers:
            if disturber.failure is not None and str(disturber.failure) in self.found.failures:
                disturber.failure = None  # told already

    def _over(self, seconds: float) -> bool:
        if self._others:
            return not any(other.is_alive() for other in self._others)
        done = bool(self.plan.descriptors) and self.finished >= self.plan.descriptors
        return done or bool(self.plan.seconds and seconds >= self.plan.seconds)

    def _pause(self) -> float:
        return self.plan.every_s * self._rng.uniform(0.3, 1.7)

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and not self.found.failures:
            if time.monotonic() > deadline:
                self.found.failures.append(f"waited {seconds:g} s for {what}")
            self._listen(LOOK_S)

    def _look(self, control: ControlClient, at_s: float) -> None:
        """How much the daemon and the idxdd-irq that lives now hold."""
        growth, pid = self.found.growth, int(ask(control, "stats")["irq"]["pid"])
        last = growth.get(IRQ)
        if pid and (last is None or last.pid != pid):
            if last is not None and (LONGEST not in growth or len(last.samples) > len(growth[LONGEST].samples)):
                growth[LONGEST] = last
            growth[IRQ] = Growth(pid)
        for name in ("idxdd", IRQ):
            if name in growth:
                growth[name].look(at_s)

    def _settle(self, control: ControlClient) -> None:
        """Nothing disturbs any more: every device and work queue is as it was."""
        if not self._disturbed:
            return
        try:
            wait_enabled(control, self._devices, "after the last disturbance")
            for wq in self._wqs:
                enable(control, wq)
        except IdxdError as error:
            self.found.failures.append(str(error))

    def _end(self) -> None:
        """Tell all to stop; each must end well by itself."""
        for client in self._clients:
            assert client.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                client.process.stdin.close()
        deadline = time.monotonic() + self.plan.timeout_s + GIVEN_BACK_S
        while self._clients and time.monotonic() < deadline:
            self._listen(LOOK_S)
        self.found.failures += [
            f"client {client.job.number}, pid {client.process.pid}: it did not end" for client in self._clients
        ]

    def _stop(self) -> None:
        for client in self._clients:
            client.process.kill()
            client.process.wait()
            for stream in (client.process.stdin, client.process.stdout):
                assert stream is not None
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._selector.close()

    # ---- accounts ----------------------------------------------------------------------------------------------------
    def _account(self) -> None:
        for client in self._gone:
            longest = max(self.found.tally["longest_ms"], client.tally.get("longest_ms", 0))
            self.found.tally.update(client.tally)
            self.found.tally["longest_ms"] = longest
            if client.ended and client.tally["submitted"] != client.finished:
                self.found.failures.append(
                    f"client {client.job.number}: {client.tally['submitted']} submitted, {client.finished} ended"
                )

    def _judge(self, control: ControlClient, before: dict[str, Any]) -> None:
        """What the daemon says must fit what the clients say, and nothing may be left."""
        deadline = time.monotonic() + GIVEN_BACK_S
        while (left := self._left(after := all_stats(control), before)) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        failures = self.found.failures
        failures += left
        counted = [delta(wq, was) for wq, was in pairs(after, before)]
        self.found.wqs = counted
        failures += [f"{wq['wq']}: {unbalanced(wq)}" for wq in counted if unbalanced(wq)]
        if self._alone:
            failures += self._against_clients(counted)
        restarts, killed = after["irq"]["restarts"] - before["irq"]["restarts"], self.found.events["kill-irq"]
        if restarts > killed + self.found.events["kill-irq too late"]:
            failures.append(f"idxdd-irq was restarted {restarts} times and killed {killed} times")
        if (control.hello["generation"], True) != (after["generation"], bool(after["irq"]["pid"])):
            failures.append("the daemon has started anew")
        failures += self._at_rest(control)
        self.found.names = (self.found.names[0], names_of(control.hello["instance"]))
        if self.found.names[0] != self.found.names[1]:
            failures.append(f"{self.found.names[0]} names in /dev/shm before, {self.found.names[1]} after")

    def _left(self, after: dict[str, Any], before: dict[str, Any]) -> list[str]:
        """What has not been given back; empty as soon as it has."""
        found = []
        for key in ("sessions", "channels"):
            if after[key] > before[key]:
                found.append(f"{after[key]} {key}, {before[key]} before")
        for wq, was in pairs(after, before):
            if wq["portals"] > was["portals"]:
                found.append(f"{wq['wq']}: {wq['portals']} portals, {was['portals']} before")
        if self._alone:
            for key in ("contexts", "parked"):
                if after["engine"][key]:
                    found.append(f"the engine has {after['engine'][key]} {key}")
            found += [f"{wq['wq']}: {wq['occupancy']} are queued" for wq in after["wqs"] if wq["occupancy"]]
            if after["irq"]["unanswered"] > 1:  # a ping may be under way
                found.append(f"{after['irq']['unanswered']} verbs are unanswered")
        return found

    def _against_clients(self, counted: list[dict[str, Any]]) -> list[str]:
        """Their accounts against the device's: equal if nothing was killed or disturbed, else not more."""
        tally = self.found.tally
        accepted, completed = (sum(wq[name] for wq in counted) for name in ("accepted", "completed"))
        ended = tally["succeeded"] + tally["faulted"]
        if not self._disturbed and not self.found.events["kill-clients"] and not self.found.failures:
            if (accepted, completed) != (tally["submitted"], ended):
                return [f"the device: {accepted} accepted, {completed} completed; clients: {tally['submitted']}, {ended}"]
        elif completed < ended:
            return [f"the device completed {completed}, the clients that lived saw {ended}"]
        return []

    def _at_rest(self, control: ControlClient) -> list[str]:
        """Gates open, no command active, event logs read to the end, and every work queue takes a descriptor."""
        found = []
        for device in ask(control, "list")["devices"]:
            if device["name"] not in self._devices:
                continue
            found += [
                f"{device['name']}/{wq['name']}: its gate is {wq['gate']}"
                for wq in device["wqs"]
                if wq["type"] == "kernel" and f"{device['name']}/{wq['name']}" in self._wqs and wq["gate"] != "live"
            ]
            found += [
                f"{device['name']}/{wq['name']}: {wq['clients']} clients, channels {wq['channels']}"
                for wq in device["wqs"]
                if self._alone and f"{device['name']}/{wq['name']}" in self._wqs and (wq["clients"] or wq["channels"])
            ]
            registers = ask(control, "regs", device=device["name"])["registers"]
            log, command = registers["EVLSTATUS"]["fields"], registers["CMDSTS"]["fields"]
            if log["head"] != log["tail"]:
                found.append(f"{device['name']}: the event log stands at {log['head']} of {log['tail']}")
            if command["active"]:
                found.append(f"{device['name']}: a command is active")
        with connect_client(self._socket) as connection:
            for wq in self._wqs:
                try:
                    with connection.open(wq) as queue:
                        queue.noop(timeout=self.plan.timeout_s)
                except IdxdError as error:
                    found.append(f"{wq}: {error}")
        return found


def pairs(after: dict[str, Any], before: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each work queue that is configured still, and what it had counted; a lost configuration shows when it is opened."""
    known = {wq["wq"]: wq for wq in before["wqs"]}
    return [(wq, known[wq["wq"]]) for wq in after["wqs"] if wq["wq"] in known]


def delta(wq: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What was counted since; occupancy and portals as they are."""
    return {name: value if name in ("wq", "occupancy", "portals") else value - before[name] for name, value in wq.items()}


def unbalanced(wq: dict[str, Any]) -> str:
    """Accepted = completed + aborted; empty when it is so."""
    if wq["accepted"] == wq["completed"] + wq["aborted"] + wq["occupancy"]:
        return ""
    return f"{wq['accepted']} accepted, {wq['completed']} completed, {wq['aborted']} aborted, {wq['occupancy']} queued"
