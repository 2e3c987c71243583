"""A session with the daemon: work queues, buffers, facts; what happens to them after a fork and after a daemon restart."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from idxd_client.arena import Arena
from idxd_client.arrays import DescriptorArray, Report
from idxd_client.buffers import Buffer
from idxd_client.channel import KernelChannel
from idxd_client.completions import renew_lock_in_child
from idxd_client.errors import DaemonAbsent, DeviceGone, ForkedHandle, HandleClosed, IdxdError, WaitTimeout
from idxd_client.queue import Closed
from idxd_client.workqueue import WorkQueue
from idxdd import native
from idxdd.control import client as control

CONNECT_TIMEOUT_S = 10.0
REATTACH_TIMEOUT_S = 10.0
REATTACH_S_PER_GIB = 10.0
"""A daemon reserves and a client copies a GiB in half a second; on a busy machine that takes its time."""
_CONNECT_AGAIN_S = 0.02
_Fds = list[int]


@dataclass
class Opened:
    """The daemon's answer to "open", and the descriptors that came with it."""

    name: str
    number: int
    portal_number: int
    dedicated: bool
    kernel: bool
    size: int
    threshold: int
    max_transfer_size: int
    max_batch_size: int
    pasid: int
    channel_number: int
    slots: int
    channel_address: int
    fds: list[int]
    published_fd: int
    driver_fd: int

    @classmethod
    def of(cls, name: str, answer: dict[str, Any], fds: list[int], published_fd: int, driver_fd: int) -> Self:
        """Typed."""
        return cls(
            name=name,
            number=answer["wq"],
            portal_number=answer["portal"],
            dedicated=bool(answer["dedicated"]),
            kernel=bool(answer["kernel"]),
            size=answer["size"],
            threshold=answer["threshold"],
            max_transfer_size=answer["max_transfer_size"],
            max_batch_size=answer["max_batch_size"],
            pasid=answer["pasid"],
            channel_number=answer.get("channel", 0),
            slots=answer.get("slots", 0),
            channel_address=0,
            fds=fds,
            published_fd=published_fd,
            driver_fd=driver_fd,
        )

    def portal(self) -> native.Portal:
        """Map it: client's page, device's page, bells."""
        client_fd, device_fd, doorbell_fd, wake_fd = self.fds[:4]
        return native.Portal(
            client_fd=client_fd,
            device_fd=device_fd,
            published_fd=self.published_fd,
            doorbell_fd=doorbell_fd,
            wake_fd=wake_fd,
            dedicated=self.dedicated,
        )

    def channel(self, portal: native.Portal) -> native.Channel:
        """Map the channel of a kernel WQ's portal."""
        channel_fd, ring_fd = self.fds[4:6]
        return native.Channel(
            portal=portal,
            channel_fd=channel_fd,
            ring_fd=ring_fd,
            driver_fd=self.driver_fd,
            wq=self.number,
            slots=self.slots,
            wake_fd=self.fds[3],
        )

    def close_fds(self) -> None:
        """The native side keeps its own."""
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)


class Connection:
    """One process's session. Everything opened through it ends with it; threads may share it, forked children may not."""

    def __init__(self, client: control.ControlClient, timeout: float, *, agent: bool = True) -> None:
        self._timeout = timeout
        self._may_have_agent = agent
        self.agent: native.Agent | None = None
        self._client = client
        self._queues: weakref.WeakSet[WorkQueue | KernelChannel] = weakref.WeakSet()
        self._buffers: weakref.WeakSet[Buffer] = weakref.WeakSet()
        self._abandoned: list[tuple[str, dict[str, int]]] = []
        self._lock = threading.RLock()
        self.path = client.path
        self._greet(client)
        self.arena = Arena(self)
        _connections.add(self)

    def _greet(self, client: control.ControlClient) -> None:
        self._client = client
        self.generation: int = client.hello["generation"]
        self.daemon_pid: int = client.hello["pid"]
        self.instance: str = client.hello["instance"]
        self._published_fd, self._driver_fd = client.hello_fds

    # ---- opening and allocating --------------------------------------------------------------------------------------

    def open(self, wq: str) -> WorkQueue | KernelChannel:
        """Open "dsa0/wq0.1": a WorkQueue if it is a user WQ, a KernelChannel if it is a kernel WQ. Refused: EBUSY, EPERM ..."""
        opened = self._open(wq)
        try:
            queue: WorkQueue | KernelChannel
            if opened.kernel:
                queue = KernelChannel(self, opened)
                self.request("map", channel=opened.channel_number, address=queue.address)
            else:
                self.arena.prepare()
                queue = WorkQueue(self, opened)
        finally:
            opened.close_fds()
        with self._lock:
            self._queues.add(queue)
            if self.agent is not None:
                queue.serve(self.agent)
        return queue

    def open_user(self, wq: str) -> WorkQueue:
        """Open a WQ that must be a user WQ."""
        queue = self.open(wq)
        if not isinstance(queue, WorkQueue):
            queue.close()
            raise IdxdError(f"open {wq}: it is a kernel WQ: use open_kernel()")
        return queue

    def open_kernel(self, wq: str) -> KernelChannel:
        """Open a WQ that must be a kernel WQ."""
        queue = self.open(wq)
        if not isinstance(queue, KernelChannel):
            queue.close()
            raise IdxdError(f"open {wq}: it is a user WQ: use open_user()")
        return queue

    def _open(self, wq: str) -> Opened:
        answer, fds = self._ask("open", wq=wq)
        return Opened.of(wq, answer, fds, self._published_fd, self._driver_fd)

    def alloc(self, size: int, *, owned: bool = True) -> Buffer:
        """`size` bytes (rounded up to pages) that the device and this process share. Refused: ENOMEM beyond the quota."""
        buffer = Buffer(size)
        self._fill(buffer, lambda number, fd: buffer.attach(self, number, fd))
        self._buffers.add(buffer)
        buffer.owned = owned
        return buffer

    def _fill(self, buffer: Buffer, attach: Callable[[int, int], None]) -> None:
        answer, (fd,) = self._ask("alloc", size=buffer.nbytes)
        try:
            attach(answer["buffer"], fd)
        except BaseException:
            os.close(fd)
            raise
        self.request("map", buffer=answer["buffer"], address=buffer.address)

    def reach(self) -> None:
        """Let the device reach any address of this process: starts the agent. Called by the first descriptor that needs it."""
        with self._lock:
            if self.agent is not None or not self._may_have_agent:
                return
            _, fds = self._ask("agent")
            memory_fd, bell_fd, doorbell_fd = fds
            try:
                self.agent = native.Agent(
                    memory_fd=memory_fd, bell_fd=bell_fd, doorbell_fd=doorbell_fd, published_fd=self._published_fd
                )
            finally:
                for fd in fds:
                    os.close(fd)
            for queue in list(self._queues):
                queue.serve(self.agent)

    def array(self, count: int, *, report: Report = "all") -> DescriptorArray:
        """Prebuilt descriptors with their records: the fast path."""
        return DescriptorArray(self, count, report=report)

    # ---- facts -------------------------------------------------------------------------------------------------------

    def list(self) -> dict[str, Any]:
        """Devices with their groups, engines and WQs."""
        return self.request("list")

    def stats(self) -> dict[str, Any]:
        """Counters of the daemon, its WQs, its clients and idxdd-irq."""
        counted = page = self.request("stats")
        while page.get("more"):
            page = self.request("stats", after=page["clients"][-1]["pasid"])
            counted["clients"] += page["clients"]
        return counted

    # ---- asking ------------------------------------------------------------------------------------------------------

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        """One request of the control protocol. Refused, DeviceGone, ProtocolError."""
        answer, fds = self._ask(op, **arguments)
        for fd in fds:
            os.close(fd)
        return answer

    def _ask(self, op: str, **arguments: Any) -> tuple[dict[str, Any], _Fds]:
        while self._abandoned:
            self._give_back(*self._abandoned.pop(0))
        return self._client.request(op, **arguments)

    def _give_back(self, op: str, arguments: dict[str, int]) -> None:
        """Whatever the daemon says: it has forgotten it already, or is gone and everything with it."""
        with contextlib.suppress(IdxdError):
            self._client.request(op, **arguments)

    def free(self, buffer: Buffer) -> None:
        """What Buffer.close() calls."""
        self._buffers.discard(buffer)
        self._give_back("unmap", {"address": buffer.address})
        self._give_back("free", {"buffer": buffer.number})

    def close_portal(self, queue: WorkQueue | KernelChannel, opened: Opened) -> None:
        """What a queue's close() calls."""
        self._queues.discard(queue)
        self._give_back("close", {"portal": opened.portal_number})  # drains: records are still written meanwhile
        if opened.kernel:
            self._give_back("unmap", {"address": opened.channel_address})

    def abandon(self, op: str, **arguments: int) -> None:
        """From a finalizer, which may run inside a request: given back before the next one."""
        self._abandoned.append((op, arguments))

    # ---- daemon restart ----------------------------------------------------------------------------------------------

    def reattach(self, timeout: float | None = None) -> None:
        """Go on with a new daemon at the same socket: buffers keep address and contents, handles keep their WQ.

        What was in flight is lost: its completions end with DeviceGone. `timeout` bounds all of it, the copies of the buffers
        too; without one it is 10 s and 10 s for each GiB of buffers. DaemonAbsent: no daemon came; DeviceGone, WaitTimeout: it
        was there and did not get ready. After any of them nothing is lost: contents stay, and reattach() may be called again.
        """
        with self._lock:
            if isinstance(self._client, Closed):
                self._client.path  # noqa: B018  # says why
            held = sum(buffer.nbytes for buffer in self._buffers)
            bound = REATTACH_TIMEOUT_S + REATTACH_S_PER_GIB * held / (1 << 30) if timeout is None else timeout
            deadline = time.monotonic() + bound
            self._client.close()
            self._greet(connect_again(self.path, bound))
            self._abandoned.clear()
            try:
                self._restore(deadline)
            except BaseException:
                self._client.close()  # the daemon gives back what was restored; the next attempt begins anew
                raise
            self._client.timeout = self._timeout

    def _restore(self, deadline: float) -> None:
        """Everything of this session once more, with the daemon that was just greeted."""
        served = self._stop_agent()
        for buffer in list(self._buffers):
            self._in_time(deadline)
            self._fill(buffer, lambda number, fd, buffer=buffer: buffer.refill(self, number, fd, deadline))  # type: ignore[misc]
        for queue in list(self._queues):
            self._in_time(deadline)
            self._replace(queue)
        if served:
            self._in_time(deadline)
            self.reach()

    def _in_time(self, deadline: float) -> None:
        """The next requests may take what is left. WaitTimeout: nothing is."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout("reattach: the time is over; what the daemon has restored so far is given back")
        self._client.timeout = left

    def _stop_agent(self) -> bool:
        """Was there one?"""
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.stop()
        return agent is not None

    def _replace(self, queue: WorkQueue | KernelChannel) -> None:
        opened = self._open(queue.name)
        try:
            if opened.kernel != isinstance(queue, KernelChannel):
                raise IdxdError(f"reattach: {queue.name} is a {'kernel' if opened.kernel else 'user'} WQ now")
            queue.replace(opened)
            if isinstance(queue, KernelChannel):
                self.request("map", channel=opened.channel_number, address=queue.address)
        finally:
            opened.close_fds()

    # ---- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give everything back. Views of buffers stay readable until they are collected. Idempotent."""
        if isinstance(self._client, Closed):
            return
        with self._lock:
            for queue in list(self._queues):
                queue.close()
            self._stop_agent()
            self.arena.close()
            for buffer in list(self._buffers):
                buffer.close()
            self._end(Closed(HandleClosed, f"the connection to {self.path} was closed"))

    def _end(self, instead: Closed) -> None:
        client, self._client = self._client, instead  # type: ignore[assignment]  # refuses every use
        client.close()
        _connections.discard(self)

    def after_fork_in_child(self) -> None:
        """Close what the child has of the parent's session; every use of it raises ForkedHandle."""
        self._lock = threading.RLock()
        self.agent = None
        for queue in list(self._queues):
            queue.after_fork_in_child()
        for buffer in list(self._buffers):
            buffer.after_fork_in_child()
        self._end(Closed(ForkedHandle, f"the connection to {self.path} belongs to the parent process: connect in this one"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        client = getattr(self, "_client", None)
        if isinstance(client, control.ControlClient):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            client.close()

    def __repr__(self) -> str:
        return f"<Connection {self.path} generation {self.generation}>"


def connect(socket: str | None = None, *, timeout: float = CONNECT_TIMEOUT_S, agent: bool = True) -> Connection:
    """Connect to the daemon at `socket` (default: IDXDD_SOCKET, this user's, the system's). DaemonAbsent ...

    `agent`: the device may reach memory that is not from alloc(), too; a thread for it starts when it is first needed.
    """
    return Connection(control.connect(socket, timeout), timeout, agent=agent)


def connect_again(path: str, timeout: float) -> control.ControlClient:
    """As connect, but waits for a daemon that is not there yet."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return control.connect(path, max(0.1, left))
        except (DaemonAbsent, DeviceGone):
            if left <= 0:
                raise
        time.sleep(_CONNECT_AGAIN_S)


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    renew_lock_in_child()
    for connection in list(_connections):
        connection.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
