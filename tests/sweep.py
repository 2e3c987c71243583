"""The kill sweep: idxdd-irq ends at one numbered step after the other, under load, on one living device.

A step is met by doing what leads to it (PROVOKED, else anything); then the successor must have brought everything back before
the next step's turn. What the clients of the load are owed, they check themselves (idxdctl stress).
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from raw_client import RawClient
from waiting import wait_until

import idxd_client
from idxdctl.options import ask
from idxdctl.stress_events import enable, irq_pid, wait_enabled
from idxdd.control.client import connect
from idxdd.control.errors import RequestError
from idxdd.driver.steps import StepsPage

KERNEL, SHARED, DEDICATED = "dsa0/wq0.2", "dsa0/wq0.1", "dsa0/wq0.0"
WQS = [DEDICATED, SHARED, KERNEL, "dsa0/wq0.3"]
WHOLE_S = 60.0
MET_S = 2.0
NOT_NOW = frozenset({"EBUSY", "ENXIO", "EPERM", "EIO", "ENODEV", "ENOENT"})

PROVOKED = {
    "revoke": ("state.device.revoke_queued", "state.wq.drain_owed", "state.channel.resubmit", "channel.relist", "portal.",
               "channel.set_status", "link.ask.reopen", "channel.complete"),
    "halt": ("state.device.reinit_queued", "mmio.GEN", "mmio.EVLCFG", "mmio.GRPCFG", "mmio.MSIXPERM", "published.device_state",
             "state.device.state", "state.device.enabled_bitmap", "state.device.evl_entries"),
    "kill": ("state.version", "state.generation", "published.layout_version", "published.generation", "channel.adopt"),
    "linger": ("link.ask.fence", "link.ask.fenced", "state.channel.fence_step"),
    "flood": ("state.device.swerr", "mmio.SWERR", "link.event"),
    "configure": ("state.config",),
    "flr": ("link.ask.flr", "state.device.flr"),
    "count": ("state.event", "mmio.PERFMON"),
}  # fmt: skip
"""What leads to which points, by the beginning of their names. FLR: the daemon has the option that recovers from it."""


class Sweep(threading.Thread):
    """Arms each point in turn and provokes it. A disturbance, as idxdctl.stress_run knows them."""

    kind = "sweep"

    def __init__(self, socket: str, page: StepsPage, points: Sequence[str], seed: int, met_max: int = 0) -> None:
        """`met_max`: enough after so many points; 0: all of them."""
        super().__init__(name="sweep", daemon=True)
        self.counted: Counter[str] = Counter()
        self.failure: Exception | None = None
        self.met: list[str] = []
        self.not_met: list[str] = []
        self.at = ""
        self._points = list(points)
        self._met_max = met_max or len(self._points)
        self._socket, self._page = socket, page
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self._control = connect(socket, 2 * WHOLE_S)
        self._acts: dict[str, Callable[[], object]] = {
            "revoke": lambda: ask(self._control, "revoke", device="dsa0"),
            "halt": lambda: ask(self._control, "halt", device="dsa0", reset_type="software"),
            "flr": lambda: ask(self._control, "halt", device="dsa0", reset_type="flr"),
            "disable": self._disable,
            "kill": self._kill,
            "linger": self._linger,
            "flood": self._flood,
            "configure": self._configure,
            "count": self._count,
        }

    def run(self) -> None:
        try:
            for point in self._points:
                self.at = point
                if self._stopping.is_set() or len(self.met) >= self._met_max:
                    return
                self._step(point)
        except Exception as error:
            self.failure = AssertionError(f"at {self.at}: {type(error).__name__}: {error}")
        finally:
            self._page.disarm()
            self._control.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(3 * WHOLE_S)

    def _step(self, point: str) -> None:
        kills = self._page.kills
        acts = [act for act, starts in PROVOKED.items() if point.startswith(starts)] or ["disable", "revoke", "halt", "disable"]
        self._page.arm(point, self._rng.randrange(1, 3))
        deadline = time.monotonic() + MET_S
        while self._page.kills == kills:
            if time.monotonic() > deadline:
                self._page.disarm()
                break
            self._do(self._rng.choice(acts))
        self._do_whole()
        if self._page.kills == kills:
            self.not_met.append(point)
            return
        self.met.append(point)
        self.counted["kill-irq"] += self._page.kills - kills

    def _do(self, act: str) -> None:
        with contextlib.suppress(idxd_client.PortalClosed):
            try:
                self._acts[act]()
            except RequestError as refused:
                if refused.code not in NOT_NOW:
                    raise
        self.counted[act] += 1
        self._stopping.wait(self._rng.uniform(0, 0.02))

    def _do_whole(self) -> None:
        """The successor has finished the job: everything enabled, gates live, nothing active, the event log read."""
        irq_pid(self._control)
        wait_enabled(self._control, ["dsa0"], self.at)
        for wq in WQS:
            enable(self._control, wq)
        wait_until(self._at_rest, WHOLE_S, f"{self.at}: gates live, no command active, the event log drained")

    def _at_rest(self) -> bool:
        """The load goes on and faults come all the time: the log is drained whenever head is seen to catch up."""
        (device,) = ask(self._control, "list")["devices"]
        registers = ask(self._control, "regs", device="dsa0")["registers"]
        log, command = registers["EVLSTATUS"]["fields"], registers["CMDSTS"]["fields"]
        gates = [wq["gate"] for wq in device["wqs"] if wq["type"] == "kernel" and wq["state"] == "enabled"]
        return set(gates) == {"live"} and log["head"] == log["tail"] and not command["active"]

    # ---- what leads to steps ---------------------------------------------------------------------------------------
    def _disable(self) -> None:
        wq = self._rng.choice(WQS)
        with contextlib.suppress(RequestError):
            ask(self._control, "disable_wq", wq=wq)
        enable(self._control, wq)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(irq_pid(self._control), signal.SIGKILL)
            self.counted["kill-irq"] += 1
        ask(self._control, "list")  # one of its successors has adopted the device

    def _linger(self) -> None:
        """A client inside the gate when it is closed: it is fenced."""
        with RawClient(self._socket, WHOLE_S) as client:
            client.open(KERNEL).store("in_submit", 1)
            with contextlib.suppress(RequestError):
                ask(self._control, "disable_wq", wq=KERNEL)
            enable(self._control, KERNEL)

    def _flood(self) -> None:
        """Posted writes dropped at a full dedicated WQ: SWERR 0x53."""
        with RawClient(self._socket, WHOLE_S) as client:
            portal = client.open(DEDICATED)
            portal.store("dropped", self._rng.randrange(1, 3))
            portal.knock()
            self._stopping.wait(0.01)

    def _count(self) -> None:
        """A performance counter, started and read; all there are, given back: also those of a request that was cut short."""
        with contextlib.suppress(RequestError):
            ask(self._control, "perfmon_start", device="dsa0", category=1, events=1)
        for event in ask(self._control, "perfmon_read", device="dsa0")["events"]:
            ask(self._control, "perfmon_stop", device="dsa0", event=event["event"])

    def _configure(self) -> None:
        """Another name for a WQ: a new configuration is stored."""
        with contextlib.suppress(RequestError):
            ask(self._control, "disable_wq", wq=SHARED)
            attributes: list[list[Any]] = [["name", f"app{self._rng.randrange(1000)}"]]
            ask(self._control, "config", object=SHARED, attributes=attributes)
        enable(self._control, SHARED)
