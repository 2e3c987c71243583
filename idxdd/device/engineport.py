"""The device loop's side of the engine: requests with continuations, exits handed to who must decide.

Who calls what   one thread, the device loop, calls everything here; the engine's own thread is behind its two rings.
Order            requests reach the engine in the order they were made here, also those that had to wait for room in
                 its ring. A continuation runs inside dispatch(), after the engine did what was asked, in the order of
                 the acknowledgements. An error a continuation raises is a mistake of ours and ends the loop.
"""

from collections import deque
from collections.abc import Callable, Sequence
from errno import EAGAIN
from typing import Protocol

from typing_extensions import Buffer

from idxdd.native import _native as native
from idxdd.native._native import Exit, NativeError, Space

Continuation = Callable[[], None]

WQS_PER_DEVICE = 16
GROUPS_PER_DEVICE = 16
VECTORS_PER_DEVICE = 32
"""Global index = device * this + the device's own index (docs/architecture.md)."""

EXITS_PER_TURN_MAX = 256


class Engine(Protocol):
    """What the port needs of native.Engine; testing.fake_engine.FakeEngine offers the same."""

    def exits(self, maximum: int = ...) -> list[Exit]: ...
    def resume(self, context: int, generation: int, action: int, status: int = ...) -> int: ...
    def wq_enable(
        self,
        wq: int,
        *,
        group: int,
        dedicated: bool,
        size: int,
        threshold: int,
        priority: int,
        gencap: int,
        opcfg: Sequence[int],
        max_xfer_shift: int,
        max_batch_shift: int,
        bof: bool,
        pasid_en: bool,
        pasid: int,
        priv: bool,
        user_int_en: bool,
        privileged_mode: bool,
        tc_enabled: int = ...,
        evl_en: bool = ...,
        evl_drains: bool = ...,
        idcap: int = ...,
        engines: int = ...,
    ) -> int: ...
    def wq_threshold(self, wq: int, threshold: int) -> int: ...
    def wq_stop(self, wqs: Sequence[int], how: int, reason: int) -> int: ...
    def wq_drain(self, wqs: Sequence[int]) -> int: ...
    def pasid_drain(self, pasid: int, wqs: Sequence[int]) -> int: ...
    def pasid_abort(self, pasid: int, wqs: Sequence[int]) -> int: ...
    def portal_add(
        self,
        wq: int,
        *,
        client_fd: int,
        device_fd: int,
        doorbell_fd: int,
        wake_fd: int,
        space: Space,
        pasid: int,
        priv: bool = ...,
    ) -> tuple[int, int]: ...
    def agent_add(self, space: Space, *, memory_fd: int, bell_fd: int, doorbell_fd: int, timeout: float) -> int: ...
    def agent_remove(self, space: Space) -> int: ...
    def portal_close(self, portal: int, how: int, reason: int) -> int: ...
    def portal_reopen(self, portal: int) -> int: ...
    def portal_remove(self, portal: int) -> int: ...
    def portal_fenced(self, portal: int) -> None: ...
    def portal_statistics(self, portal: int) -> dict[str, int]: ...
    def barrier(self) -> int: ...
    def set_rules(self, rules: Buffer) -> int: ...
    def rule_counters(self) -> list[tuple[int, int]]: ...
    def trace_on(self, records: int) -> int: ...
    def trace_off(self) -> int: ...
    def trace_read(self, maximum: int = ...) -> tuple[bytes, int]: ...
    def errors_read(self) -> tuple[bytes, int]: ...
    def wq_counts(self, wq: int) -> tuple[dict[int, int], dict[int, int]]: ...
    def vector_config(self, vector: int, semaphore: str, pending: Buffer, pending_offset: int) -> None: ...
    def vector_mask(self, vector: int, masked: bool) -> bool: ...
    def vector_pending(self, vector: int) -> bool: ...
    def vector_clear(self, vector: int) -> None: ...
    def vector_post(self, vector: int) -> None: ...
    def handle_config(
        self,
        device: int,
        handle: int,
        vector: int | None,
        *,
        pasid_en: bool = ...,
        pasid: int = ...,
        ignore: bool = ...,
    ) -> None: ...
    def idpt_set(
        self,
        device: int,
        handle: int,
        *,
        usable: bool,
        many: bool,
        submitter: int,
        read: bool,
        write: bool,
        window_en: bool,
        offset_mode: bool,
        base: int,
        size: int,
        bitmap: int,
        space: Space | None,
        bitmap_space: Space | None,
        update: bool,
    ) -> int: ...


class ExitHandler(Protocol):
    """A device: decides about the exits of its WQs."""

    def handle_exit(self, exit: Exit) -> None: ...
    def portal_aborted(self, portal: int) -> None:
        """What this portal (engine's number) had in flight is gone."""


class EnginePort:
    """Requests to the engine with continuations; dispatch() runs those and hands exits to the devices."""

    def __init__(self, engine: Engine, published: Buffer | None = None) -> None:
        """`published`: struct idxdd_published_device, where the engine keeps each WQ's occupancy; None: all read 0."""
        self.engine = engine
        self._published = None if published is None else native.Words(published)
        self._devices: dict[int, ExitHandler] = {}
        self._continuations: dict[int, Continuation | None] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._exits = 0
        self._spaces: dict[int, Space] = {}
        self._pasid_gone: list[Callable[[int], None]] = []

    def register(self, device: int, handler: ExitHandler) -> None:
        """Hand the exits of this device's WQs (global index device * 16 + wq) to `handler`."""
        assert device not in self._devices, f"device {device} is registered already"
        self._devices[device] = handler

    def unregister(self, device: int) -> None:
        """The device goes; its WQs must have been stopped."""
        self._devices.pop(device, None)

    def dispatch(self, maximum: int = EXITS_PER_TURN_MAX) -> int:
        """Pull at most `maximum` exits and act on them; returns how many there were (0 = nothing to do)."""
        exits = self.engine.exits(maximum)
        for exit in exits:
            if exit.kind == native.EXIT_ACK:
                self._acknowledged(exit.id)
            else:
                self._devices[exit.wq // WQS_PER_DEVICE].handle_exit(exit)
        self._exits += len(exits)
        self._post_waiting()
        return len(exits)

    def _acknowledged(self, request: int) -> None:
        then = self._continuations.pop(request)
        if then is not None:
            then()

    # ---- requests ----------------------------------------------------------------------------------------------

    def _request(self, send: Callable[[], int], then: Continuation | None) -> None:
        def post() -> None:
            self._continuations[send()] = then

        self._post_in_order(post)

    def _post_in_order(self, post: Callable[[], None]) -> None:
        """Post, or wait in line: what finds the ring full must not be overtaken by a later request."""
        if self._waiting or not posted(post):
            self._waiting.append(post)

    def _post_waiting(self) -> None:
        while self._waiting and posted(self._waiting[0]):
            self._waiting.popleft()

    def wq_enable(
        self,
        wq: int,
        *,
        group: int,
        dedicated: bool,
        size: int,
        threshold: int,
        priority: int,
        gencap: int,
        opcfg: Sequence[int],
        max_xfer_shift: int,
        max_batch_shift: int,
        bof: bool,
        pasid_en: bool,
        pasid: int,
        priv: bool,
        user_int_en: bool,
        privileged_mode: bool,
        tc_enabled: int = 3,
        evl_en: bool = False,
        evl_drains: bool = False,
        idcap: int = 0,
        engines: int = 0,
        then: Continuation | None = None,
    ) -> None:
        """Let the engine accept descriptors of this WQ (all numbers global)."""

        def send() -> int:
            return self.engine.wq_enable(
                wq,
                group=group,
                dedicated=dedicated,
                size=size,
                threshold=threshold,
                priority=priority,
                gencap=gencap,
                opcfg=opcfg,
                max_xfer_shift=max_xfer_shift,
                max_batch_shift=max_batch_shift,
                bof=bof,
                pasid_en=pasid_en,
                pasid=pasid,
                priv=priv,
                user_int_en=user_int_en,
                privileged_mode=privileged_mode,
                tc_enabled=tc_enabled,
                evl_en=evl_en,
                evl_drains=evl_drains,
                idcap=idcap,
                engines=engines,
            )

        self._request(send, then)

    def wq_threshold(self, wq: int, threshold: int, then: Continuation | None = None) -> None:
        """What limited portals of a shared WQ may fill from now on."""
        self._request(lambda: self.engine.wq_threshold(wq, threshold), then)

    def wq_stop(self, wqs: Sequence[int], how: int, reason: int, then: Continuation | None = None) -> None:
        """Close every portal of these WQs, drain or abort; `then` runs when no descriptor of theirs is left."""
        self._request(lambda: self.engine.wq_stop(wqs, how, reason), then)

    def wq_drain(self, wqs: Sequence[int], then: Continuation | None = None) -> None:
        """`then` runs when all that these WQs had accepted is done; they go on meanwhile."""
        self._request(lambda: self.engine.wq_drain(wqs), then)

    def pasid_drain(self, pasid: int, wqs: Sequence[int], then: Continuation | None = None) -> None:
        """As wq_drain, for the descriptors of one PASID."""
        self._request(lambda: self.engine.pasid_drain(pasid, wqs), then)

    def pasid_abort(self, pasid: int, wqs: Sequence[int], then: Continuation | None = None) -> None:
        """Abandon the descriptors of one PASID in these WQs."""
        self._request(lambda: self.engine.pasid_abort(pasid, wqs), then)

    def portal_add(
        self,
        wq: int,
        *,
        client_fd: int,
        device_fd: int,
        doorbell_fd: int,
        wake_fd: int,
        space: Space,
        pasid: int,
        priv: bool = False,
        then: Continuation | None = None,
    ) -> int:
        """Returns the portal's number at once; it is served when `then` runs. NativeError: no room, or a bad file."""
        portal, request = self.engine.portal_add(
            wq,
            client_fd=client_fd,
            device_fd=device_fd,
            doorbell_fd=doorbell_fd,
            wake_fd=wake_fd,
            space=space,
            pasid=pasid,
            priv=priv,
        )
        self._continuations[request] = then
        return portal

    def agent_add(
        self, space: Space, *, memory_fd: int, bell_fd: int, doorbell_fd: int, timeout: float, then: Continuation | None = None
    ) -> None:
        """Reach what `space` has not mapped through this agent. NativeError: no memory, or a bad file."""
        request = self.engine.agent_add(space, memory_fd=memory_fd, bell_fd=bell_fd, doorbell_fd=doorbell_fd, timeout=timeout)
        self._continuations[request] = then

    def agent_remove(self, space: Space, then: Continuation | None = None) -> None:
        """After the portals of the space."""
        self._request(lambda: self.engine.agent_remove(space), then)

    def portal_close(self, portal: int, how: int, reason: int, then: Continuation | None = None) -> None:
        """Accept nothing more from this portal; drain or abort what it had accepted."""

        def closed() -> None:
            if how == native.STOP_ABORT:
                for device in self._devices.values():
                    device.portal_aborted(portal)
            if then is not None:
                then()

        self._request(lambda: self.engine.portal_close(portal, how, reason), closed)

    def portal_reopen(self, portal: int, then: Continuation | None = None) -> None:
        """At its client's request, after it was closed."""
        self._request(lambda: self.engine.portal_reopen(portal), then)

    def portal_remove(self, portal: int, then: Continuation | None = None) -> None:
        """Forget a closed portal; its number is free again when `then` runs."""
        self._request(lambda: self.engine.portal_remove(portal), then)

    def barrier(self, then: Continuation | None = None) -> None:
        """`then` runs when nothing that was executed before is still using an old address table."""
        self._request(self.engine.barrier, then)

    def set_rules(self, rules: Buffer, then: Continuation | None = None) -> None:
        """Packed rules of fault injection, all at once; b"": none. `then` runs when they hold."""
        self._request(lambda: self.engine.set_rules(rules), then)

    def rule_counters(self) -> list[tuple[int, int]]:
        """(matched, hits) of each rule the engine was given last."""
        return self.engine.rule_counters()

    def trace_on(self, records: int, then: Continuation | None = None) -> None:
        """A new, empty trace of so many records. NativeError: no memory, or too many."""
        self._request(lambda: self.engine.trace_on(records), then)

    def trace_off(self, then: Continuation | None = None) -> None:
        """No trace; what was not read is gone."""
        self._request(self.engine.trace_off, then)

    def trace_read(self, maximum: int = 1024) -> tuple[bytes, int]:
        """Packed records, oldest first, and how many were overwritten unread since the last read."""
        return self.engine.trace_read(maximum)

    def errors_read(self) -> tuple[bytes, int]:
        """The last records of descriptors that did not end well, and how many were overwritten unread; trace or not."""
        return self.engine.errors_read()

    def wq_counts(self, wq: int) -> tuple[dict[int, int], dict[int, int]]:
        """Descriptors and members that ended, by opcode; those that did not end with 0x01, by status."""
        return self.engine.wq_counts(wq)

    def resume(self, exit: Exit, action: int, status: int = 0) -> None:
        """Answer a FAULT or ERROR exit; one whose descriptor was swept away meanwhile does nothing. Not acknowledged."""

        def post() -> None:
            self.engine.resume(exit.context, exit.generation, action, status)

        self._post_in_order(post)

    # ---- other domains ---------------------------------------------------------------------------------------------

    def bind_pasid(self, pasid: int, space: Space) -> None:
        """From now on this PASID is this address space."""
        self._spaces[pasid] = space

    def unbind_pasid(self, pasid: int) -> None:
        """The address space goes: no other domain reaches it any more."""
        if self._spaces.pop(pasid, None) is not None:
            for tell in self._pasid_gone:
                tell(pasid)

    def space_of(self, pasid: int) -> Space | None:
        """The address space of this PASID, if it has one."""
        return self._spaces.get(pasid)

    def on_pasid_gone(self, tell: Callable[[int], None]) -> None:
        """Call `tell` after each unbind_pasid."""
        self._pasid_gone.append(tell)

    def idpt_set(
        self,
        device: int,
        handle: int,
        *,
        usable: bool,
        many: bool,
        submitter: int,
        read: bool,
        write: bool,
        window_en: bool,
        offset_mode: bool,
        base: int,
        size: int,
        bitmap: int,
        space: Space | None,
        bitmap_space: Space | None,
        update: bool,
    ) -> None:
        """An entry of a device's inter-domain permissions table from now on."""

        def send() -> int:
            return self.engine.idpt_set(
                device, handle, usable=usable, many=many, submitter=submitter, read=read, write=write, window_en=window_en,
                offset_mode=offset_mode, base=base, size=size, bitmap=bitmap, space=space, bitmap_space=bitmap_space,
                update=update,
            )  # fmt: skip

        self._request(send, None)

    # ---- read at once ----------------------------------------------------------------------------------------------

    def occupancy(self, wq: int) -> int:
        """Descriptors this WQ (global index) has accepted and not yet dispatched."""
        if self._published is None:
            return 0
        layout = native.LAYOUT
        offset = layout["published_device.wq"] + wq * layout["published_device.wq[]"]
        return self._published.load32(offset + layout["wq_statistics.occupancy"])

    def wq_statistic(self, wq: int, name: str) -> int:
        """A counter of struct idxdd_wq_statistics, since the engine began."""
        if self._published is None:
            return 0
        layout = native.LAYOUT
        return self._published.load64(
            layout["published_device.wq"] + wq * layout["published_device.wq[]"] + layout[f"wq_statistics.{name}"]
        )

    def statistics(self) -> dict[str, int]:
        """Exits seen, requests not yet acknowledged, requests that wait for room."""
        return {"exits": self._exits, "outstanding": len(self._continuations), "waiting": len(self._waiting)}

    def close(self) -> None:
        """Let go of the published buffer."""
        if self._published is not None:
            self._published.release()
            self._published = None


def posted(post: Callable[[], None]) -> bool:
    """Try to post; False if the ring is full."""
    try:
        post()
    except NativeError as error:
        if error.errno != EAGAIN:
            raise
        return False
    return True
