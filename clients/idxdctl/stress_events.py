"""What a stress run does to a daemon while its clients work: kills, revokes, halts, work queues that go and come back.

Each kind runs in a thread of its own with its own connection, so that any two may meet; each leaves the device as it found it,
and what it waits for has an end.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from idxd_client.errors import IdxdError, Refused
from idxdctl.options import ask
from idxdd.control.client import ControlClient, connect

AGAIN_S: Final = 120.0
"""A device is whole again, and an idxdd-irq there, within this time."""
LOOK_S: Final = 0.01
YOUNG_OF: Final = 0.2
"""Of the killed idxdd-irq, may have had no time to adopt the device. All of them: nobody would ever be served."""
OFF_S: Final = 0.05
"""A work queue is off so long at most."""
NOT_NOW: Final = frozenset({"EBUSY", "ENXIO", "EPERM", "EIO", "ENODEV", "ENOENT"})
"""Answers of a device that is halted, being reset, or disabled at this moment, or has given out no handle."""


class Disturber(threading.Thread):
    """Does one kind of thing now and then, until stopped. `failure`: why it ended early."""

    def __init__(self, kind: str, socket: str | None, targets: Sequence[str], seed: str, every_s: float) -> None:
        super().__init__(name=f"stress {kind}", daemon=True)
        self.kind = kind
        self.counted: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._among = list(targets)
        self._rng = random.Random(seed)
        self._every_s = every_s
        self._stopping = threading.Event()
        self._connection = connect(socket, AGAIN_S)
        self._do: Callable[[], str] = {
            "kill-irq": self._kill_irq,
            "revokes": self._revoke,
            "halts": self._halt,
            "disable-wqs": self._disable,
        }[kind]

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._every_s * self._rng.uniform(0.3, 1.7)):
                self.counted[self._do()] += 1
        except Exception as error:  # also a mistake of ours: a run that was not disturbed has shown nothing
            self.failure = error
        finally:
            self._connection.close()

    def stop(self) -> None:
        """Returns when it has undone what it did last."""
        self._stopping.set()
        self.join(2 * AGAIN_S)
        if self.is_alive():
            self.failure = IdxdError(f"{self.kind}: a request was not answered within {2 * AGAIN_S:g} s")

    def _any(self) -> str:
        return self._rng.choice(self._among)

    def _told(self, op: str, **arguments: Any) -> str:
        """Ask for it; what came of it, for counting."""
        try:
            ask(self._connection, op, **arguments)
        except Refused as refused:
            if not passing(refused):
                raise
            return f"{op} refused: {refused.code}"
        return op

    # ---- kinds -------------------------------------------------------------------------------------------------------
    def _kill_irq(self) -> str:
        """SIGKILL, then the next one is there."""
        pid = irq_pid(self._connection)
        try:
            os.kill(pid, signal.SIGKILL)
        except PermissionError:
            raise IdxdError(f"kill-irq: idxdd-irq, pid {pid}, belongs to another user") from None
        except ProcessLookupError:
            return "kill-irq too late"
        deadline = time.monotonic() + AGAIN_S
        while irq_pid(self._connection) == pid:
            if time.monotonic() > deadline:
                raise IdxdError(f"kill-irq: there was no other idxdd-irq within {AGAIN_S:g} s")
            time.sleep(LOOK_S)
        if self._rng.random() >= YOUNG_OF:
            ask(self._connection, "list")  # it has adopted the device
        return "kill-irq"

    def _revoke(self) -> str:
        """Every handle of one device."""
        return self._told("revoke", device=self._any())

    def _halt(self) -> str:
        """Halt one device; then the driver has brought it back."""
        device = self._any()
        done = self._told("halt", device=device, reset_type="software")
        wait_enabled(self._connection, [device], "halts")
        return done

    def _disable(self) -> str:
        """Disable a work queue, and enable it again, whatever comes between."""
        wq = self._any()
        done = self._told("disable_wq", wq=wq)
        time.sleep(self._rng.uniform(0, OFF_S))
        enable(self._connection, wq)
        return done


def passing(refused: Refused) -> bool:
    """It may be otherwise in a moment; a role that we have not we shall not get."""
    return refused.code in NOT_NOW and " role, " not in refused.text


def irq_pid(connection: ControlClient) -> int:
    """Of the idxdd-irq that lives now; waits for it."""
    deadline = time.monotonic() + AGAIN_S
    while not (pid := int(ask(connection, "stats")["irq"]["pid"])):
        if time.monotonic() > deadline:
            raise IdxdError(f"there is no idxdd-irq for {AGAIN_S:g} s")
        time.sleep(LOOK_S)
    return pid


def states(connection: ControlClient) -> tuple[dict[str, str], dict[str, str]]:
    """Of every device, and of every configured work queue."""
    devices = ask(connection, "list")["devices"]
    return (
        {device["name"]: device["state"] for device in devices},
        {f"{device['name']}/{wq['name']}": wq["state"] for device in devices for wq in device["wqs"] if wq["size"]},
    )


def wait_enabled(connection: ControlClient, devices: Sequence[str], why: str) -> None:
    """Until these devices are enabled again."""
    deadline = time.monotonic() + AGAIN_S
    while any(states(connection)[0][device] != "enabled" for device in devices):
        if time.monotonic() > deadline:
            raise IdxdError(f"{why}: {', '.join(devices)}: not enabled again within {AGAIN_S:g} s")
        time.sleep(LOOK_S)


def enable(connection: ControlClient, wq: str) -> None:
    """Until the work queue is enabled, whoever did it: a halt's recovery may come before or after."""
    deadline = time.monotonic() + AGAIN_S
    while True:
        refusal = ""
        try:
            ask(connection, "enable_wq", wq=wq)
        except Refused as refused:
            if not passing(refused):
                raise
            refusal = f": {refused}"
        if states(connection)[1].get(wq) == "enabled":
            return
        if time.monotonic() > deadline:
            raise IdxdError(f"{wq}: not enabled again within {AGAIN_S:g} s{refusal}")
        time.sleep(LOOK_S)
