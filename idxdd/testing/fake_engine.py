"""A stand-in for native.Engine in one thread: it records what it is asked, acknowledges on demand, and exits as told.

It moves no byte. Requests stay open until acknowledge() (or at once with `automatic`), so that a test can look at the
device while a drain is under way; exits the real engine would make are injected with exit().
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from errno import EAGAIN
from typing import Any, NamedTuple, cast

from typing_extensions import Buffer

from idxdd.native import _native as native
from idxdd.native._native import Exit, Space


class FakeExit(NamedTuple):
    """native.Exit, which only the engine can make, field by field; all 0 unless given."""

    kind: int = 0
    id: int = 0
    wq: int = 0
    portal: int = 0
    context: int = 0
    generation: int = 0
    pasid: int = 0
    invalid_flags: int = 0
    bytes_completed: int = 0
    batch_index: int = 0
    in_batch: int = 0
    status: int = 0
    operand: int = 0
    write: int = 0
    priv: int = 0
    record_written: int = 0
    batch_id: int = 0
    first_error: int = 0
    address: int = 0
    desc: bytes = bytes(64)
    record: bytes = bytes(32)


def make_exit(**fields: Any) -> Exit:
    """An exit as the engine would make it."""
    return cast(Exit, FakeExit(**fields))


@dataclass
class Request:
    """One request as it was made."""

    id: int
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    acknowledged: bool = False


@dataclass
class Vector:
    """One interrupt vector: what the device loop configured, its PBA bit, and how often its semaphore was posted."""

    semaphore: str = ""
    word: memoryview = field(default_factory=lambda: memoryview(bytearray(4)))
    masked: bool = False
    pending: bool = False
    signalled: int = 0

    def fire(self) -> None:
        """As the engine does: behind a mask it pends, with the pending word set it coalesces."""
        if self.masked:
            self.pending = True
        elif not self.word[0]:
            self.word[0] = 1
            self.signalled += 1


class FakeEngine:
    """Same methods as native.Engine where the device loop uses them."""

    def __init__(self, *, automatic: bool = False, ring: int = 512) -> None:
        """`automatic`: acknowledge every request at the next exits(); `ring`: requests open at the same time."""
        self.automatic = automatic
        self.ring = ring
        self.requests: list[Request] = []
        self.resumed: list[tuple[int, int, int, int]] = []
        self.vectors: dict[int, Vector] = {}
        self.handles: dict[tuple[int, int], dict[str, Any] | None] = {}
        self.fenced: list[int] = []
        self._exits: list[Exit] = []
        self._portals = 0

    # ---- the test's side -------------------------------------------------------------------------------------------

    def open_requests(self, name: str | None = None) -> list[Request]:
        """Requests not acknowledged yet, oldest first."""
        return [r for r in self.requests if not r.acknowledged and name in (None, r.name)]

    def asked(self, name: str) -> list[dict[str, Any]]:
        """Arguments of every request of this name so far."""
        return [r.arguments for r in self.requests if r.name == name]

    def acknowledge(self, count: int | None = None) -> int:
        """Acknowledge the `count` oldest open requests (all); returns how many."""
        done = self.open_requests()[:count]
        for request in done:
            request.acknowledged = True
            self._exits.append(make_exit(kind=native.EXIT_ACK, id=request.id))
        return len(done)

    def exit(self, kind: int, wq: int, **fields: Any) -> Exit:
        """Inject an exit of WQ `wq` (global); returns it. Context and generation are unique unless given."""
        number = len(self._exits) + len(self.resumed) + 1
        made = make_exit(**{"kind": kind, "wq": wq, "context": number, "generation": 1, **fields})
        self._exits.append(made)
        return made

    def signalled(self, vector: int) -> int:
        """How often this vector (global) was signalled."""
        return self.vectors[vector].signalled if vector in self.vectors else 0

    def handled(self, vector: int) -> None:
        """The handler of this vector looks: exchange(pending, 0)."""
        self.vectors[vector].word[0] = 0

    def close(self) -> None:
        """Let go of the pending words."""
        for state in self.vectors.values():
            state.word.release()

    # ---- the device loop's side ------------------------------------------------------------------------------------

    def exits(self, maximum: int = 256) -> list[Exit]:
        if self.automatic:
            self.acknowledge()
        taken, self._exits = self._exits[:maximum], self._exits[maximum:]
        return taken

    def resume(self, context: int, generation: int, action: int, status: int = 0) -> int:
        self.resumed.append((context, generation, action, status))
        return 0

    def _request(self, name: str, **arguments: Any) -> int:
        if len(self.open_requests()) >= self.ring:
            raise native.NativeError(EAGAIN, f"{name}: request ring full")
        request = Request(len(self.requests) + 1, name, arguments)
        self.requests.append(request)
        return request.id

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
    ) -> int:
        return self._request(
            "wq_enable",
            wq=wq,
            group=group,
            dedicated=dedicated,
            size=size,
            threshold=threshold,
            priority=priority,
            gencap=gencap,
            opcfg=list(opcfg),
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

    def wq_threshold(self, wq: int, threshold: int) -> int:
        return self._request("wq_threshold", wq=wq, threshold=threshold)

    def wq_stop(self, wqs: Sequence[int], how: int, reason: int) -> int:
        return self._request("wq_stop", wqs=list(wqs), how=how, reason=reason)

    def wq_drain(self, wqs: Sequence[int]) -> int:
        return self._request("wq_drain", wqs=list(wqs))

    def pasid_drain(self, pasid: int, wqs: Sequence[int]) -> int:
        return self._request("pasid_drain", pasid=pasid, wqs=list(wqs))

    def pasid_abort(self, pasid: int, wqs: Sequence[int]) -> int:
        return self._request("pasid_abort", pasid=pasid, wqs=list(wqs))

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
    ) -> tuple[int, int]:
        self._portals += 1
        return self._portals, self._request("portal_add", wq=wq, portal=self._portals, pasid=pasid, priv=priv)

    def portal_close(self, portal: int, how: int, reason: int) -> int:
        return self._request("portal_close", portal=portal, how=how, reason=reason)

    def agent_add(self, space: Space, *, memory_fd: int, bell_fd: int, doorbell_fd: int, timeout: float) -> int:
        return self._request("agent_add", space=space, timeout=timeout)

    def agent_remove(self, space: Space) -> int:
        return self._request("agent_remove", space=space)

    def portal_reopen(self, portal: int) -> int:
        return self._request("portal_reopen", portal=portal)

    def portal_remove(self, portal: int) -> int:
        return self._request("portal_remove", portal=portal)

    def portal_fenced(self, portal: int) -> None:
        self.fenced.append(portal)

    def portal_statistics(self, portal: int) -> dict[str, int]:
        names = ("descriptors", "bytes", "retries", "errors", "interrupts", "done", "in_flight", "closed")
        return dict.fromkeys(names, 0)

    def barrier(self) -> int:
        return self._request("barrier")

    def set_rules(self, rules: Buffer) -> int:
        return self._request("set_rules", rules=bytes(rules))

    def rule_counters(self) -> list[tuple[int, int]]:
        """None ever matches."""
        asked = self.asked("set_rules")
        return [(0, 0)] * (len(asked[-1]["rules"]) // native.LAYOUT["rule"]) if asked else []

    def trace_on(self, records: int) -> int:
        return self._request("trace_on", records=records)

    def trace_off(self) -> int:
        return self._request("trace_off")

    def errors_read(self) -> tuple[bytes, int]:
        return b"", 0

    def wq_counts(self, wq: int) -> tuple[dict[int, int], dict[int, int]]:
        return {}, {}

    def trace_read(self, maximum: int = 1024) -> tuple[bytes, int]:
        """Nothing was executed."""
        return b"", 0

    def vector_config(self, vector: int, semaphore: str, pending: Buffer, pending_offset: int) -> None:
        state = self.vectors.setdefault(vector, Vector())
        state.word.release()
        state.semaphore, state.word = semaphore, memoryview(pending)[pending_offset : pending_offset + 4]

    def vector_mask(self, vector: int, masked: bool) -> bool:
        state = self.vectors[vector]
        state.masked, was_pending = masked, state.pending
        if was_pending and not masked:
            state.pending = False
            state.fire()
        return was_pending

    def vector_pending(self, vector: int) -> bool:
        return self.vectors[vector].pending

    def vector_clear(self, vector: int) -> None:
        self.vectors[vector].pending = False

    def vector_post(self, vector: int) -> None:
        self.vectors[vector].fire()

    def handle_config(
        self,
        device: int,
        handle: int,
        vector: int | None,
        *,
        pasid_en: bool = False,
        pasid: int = 0,
        ignore: bool = False,
    ) -> None:
        valid = {"vector": vector, "pasid_en": pasid_en, "pasid": pasid, "ignore": ignore}
        self.handles[device, handle] = None if vector is None else valid

    def idpt_set(self, device: int, handle: int, **entry: Any) -> int:
        return self._request("idpt_set", device=device, handle=handle, **entry)
