"""The work queues of one device: their configuration handed to the engine, their state, their occupancy.

Who decides      WQCFG.wq_state is written here, when the engine has acknowledged; submissions are accepted or refused by
                 the engine alone. Occupancy is the engine's number, copied into WQCFG at each tick.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial

from idxdd.device.engineport import GROUPS_PER_DEVICE, WQS_PER_DEVICE, Continuation, EnginePort
from idxdd.device.evl import EventLog
from idxdd.device.interrupts import Interrupts
from idxdd.device.profile import Platform
from idxdd.device.registerfile import BusWrite, RegisterFile
from idxdd.device.state import change_wq
from idxdd.native import _native as native
from idxdd.shm.closed import Closed
from idxdd.spec.codes import DeviceState, Opcode, WqMode, WqState
from idxdd.spec.registers import GENCAP, GENCFG, GENSTS, GRPCFG, IDCAP, OPCAP, WQCAP, WQCFG

log = logging.getLogger(__name__)

DWORD_THRESHOLD = WQCFG.wq_thresh.byte // 4
DWORD_OCCUPANCY_INT = (WQCFG.occupancy_int_en.byte // 4, WQCFG.occupancy_int_generated.byte // 4)
QWORD = (1 << 64) - 1

Guard = Callable[[Continuation], Continuation]


class Wqs:
    """WQs 0..profile.wqs - 1 of one device."""

    def __init__(
        self,
        device: int,
        registers: RegisterFile,
        port: EnginePort,
        interrupts: Interrupts,
        log: EventLog,
        platform: Callable[[], Platform],
    ) -> None:
        self._device = device
        self._registers = registers
        self._port = port
        self._interrupts = interrupts
        self._log = log
        self._platform = platform
        self.count = registers.profile.wqs
        self.occupancy_interrupts = 0
        self.indices = [self.index(wq_id) for wq_id in range(self.count)]
        """Global indices of all of them."""
        self._looked: list[int | None] = [None] * self.count  # occupancy when refresh() looked; None: look again
        registers.on_write(WQCFG, self._written)

    def index(self, wq_id: int) -> int:
        """Global index."""
        return self._device * WQS_PER_DEVICE + wq_id

    def config(self, wq_id: int) -> WQCFG:
        """The WQ's registers now."""
        return self._registers.read(WQCFG, wq_id)

    def state(self, wq_id: int) -> WqState:
        """What WQCFG.wq_state says."""
        return self._registers.get(WQCFG.wq_state, wq_id)

    def enabled(self) -> list[int]:
        """Ids of the WQs that are Enabled."""
        return [wq_id for wq_id in range(self.count) if self.state(wq_id) is WqState.ENABLED]

    def accepts(self, wq_id: int) -> bool:
        """Device and WQ are Enabled: a submission would be taken (registers.md section 4, row 2)."""
        return self._registers.get(GENSTS.state) is DeviceState.ENABLED and self.state(wq_id) is WqState.ENABLED

    def set_state(self, wq_ids: Iterable[int], new: WqState) -> None:
        """Move WQs to a state; those that are in it stay."""
        for wq_id in wq_ids:
            self._looked[wq_id] = None
            if self.state(wq_id) is not new:
                log.debug("wq%d.%d: state %s -> %s", self._device, wq_id, self.state(wq_id).name, new.name)
                change_wq(self._registers, wq_id, new)

    def reset(self, wq_id: int, *, keep_size: bool) -> None:
        """WQCFG to its initial value; Reset WQ keeps the size, Reset Device does not (registers.md section 9)."""
        self._looked[wq_id] = None
        initial = self._registers.initial(WQCFG)
        self._registers.write(initial.replace(wq_size=self.config(wq_id).wq_size) if keep_size else initial, wq_id)

    # ---- requests to the engine ------------------------------------------------------------------------------------

    def enable(self, wq_id: int, then: Continuation) -> None:
        """Let the engine accept descriptors with the configuration the registers hold."""
        registers, wq, group = self._registers, self.config(wq_id), self.group(wq_id)
        flags, mapped = registers.read(GRPCFG, group), self._platform().traffic_classes
        opcap = registers.read(OPCAP).opcodes
        operations = wq.op_config & opcap if registers.read(WQCAP).op_config else opcap
        if not self._platform().ats or wq.wq_ats_disable:
            operations &= ~(1 << Opcode.TRANSL_FETCH)  # operations.md section 4, row 5

        def enabled() -> None:
            if self._registers.get(WQCFG.wq_thresh, wq_id) != wq.wq_thresh:  # writable at all times, so also meanwhile
                self._tell_threshold(wq_id)
            then()

        self._port.wq_enable(
            self.index(wq_id),
            group=self._device * GROUPS_PER_DEVICE + group,
            dedicated=wq.mode is WqMode.DEDICATED,
            size=wq.wq_size,
            threshold=wq.wq_thresh,
            priority=wq.priority if registers.read(WQCAP).priority else 1,
            gencap=registers.read(GENCAP).raw,
            opcfg=[operations >> 64 * word & QWORD for word in range(4)],
            max_xfer_shift=wq.max_xfer_shift,
            max_batch_shift=wq.max_batch_shift,
            bof=wq.bof,
            pasid_en=wq.pasid_en,
            pasid=wq.pasid,
            priv=wq.priv,
            user_int_en=registers.read(GENCFG).user_int_en,
            privileged_mode=self._platform().privileged_mode,
            tc_enabled=(mapped >> flags.tc_a & 1) | (mapped >> flags.tc_b & 1) << 1,
            evl_en=self._log.active,
            evl_drains=self._log.active and not requests_pages(wq, self._platform()),
            idcap=registers.read(IDCAP).raw,
            engines=flags.engines,
            then=enabled,
        )

    def stop(self, wq_ids: Iterable[int], how: int, reason: int, then: Continuation) -> None:
        """Drain or abort these WQs and accept nothing more; `then` runs when nothing of theirs is left."""
        stopped = frozenset(wq_ids)

        def nothing_left() -> None:
            self._log.forget_wqs(stopped)
            then()

        if stopped:
            self._port.wq_stop([self.index(wq_id) for wq_id in sorted(stopped)], how, reason, nothing_left)
        else:
            then()

    def drain(self, wq_ids: Iterable[int], then: Continuation) -> None:
        """`then` runs when all that these WQs had accepted is done."""
        indices = [self.index(wq_id) for wq_id in wq_ids]
        if indices:
            self._port.wq_drain(indices, then)
        else:
            then()

    def abort(self, wq_ids: Iterable[int], when_done: Guard, then: Continuation) -> None:
        """Abandon what these WQs hold; they stay Enabled: the engine stops them and starts them again, unless `when_done`
        finds that a halt came between."""
        aborted = list(wq_ids)
        stopped = set(aborted)

        def started(wq_id: int) -> None:
            stopped.discard(wq_id)
            if not stopped:
                then()

        def start_again() -> None:
            for wq_id in aborted:
                self.enable(wq_id, partial(started, wq_id))
            if not aborted:
                then()

        self.stop(aborted, native.STOP_ABORT, Closed.ABORTED, when_done(start_again))

    def abort_pasid(self, pasid: int, then: Continuation) -> None:
        """Abandon what one PASID has in these WQs."""

        def nothing_left() -> None:
            self._log.forget_wqs(range(self.count), pasid)
            then()

        self._port.pasid_abort(pasid, self.indices, nothing_left)

    def group(self, wq_id: int) -> int:
        """The group that holds the WQ; Enable Device made sure that there is one."""
        return next(g for g in range(self._registers.count(GRPCFG)) if self._registers.read(GRPCFG, g).wqs >> wq_id & 1)

    # ---- occupancy -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring WQCFG.occupancy up to date, and raise the occupancy interrupts that are due. Called each turn of the loop: a WQ
        whose occupancy is what it was, and that nobody wrote to, is left alone."""
        if not self._registers.profile.occupancy:
            return
        for wq_id, index in enumerate(self.indices):
            occupancy = self._port.occupancy(index)
            if occupancy != self._looked[wq_id]:
                self._show_occupancy(wq_id, occupancy)
                self._look_at_occupancy(wq_id)
                self._looked[wq_id] = None if self._armed(wq_id) else occupancy

    def _show_occupancy(self, wq_id: int, occupancy: int) -> None:
        shown = 0 if self.state(wq_id) is WqState.DISABLED else min(occupancy, WQCFG.occupancy.value_max)
        if shown != self._registers.get(WQCFG.occupancy, wq_id):
            self._registers.set(WQCFG, wq_id, occupancy=shown)

    def waits_for_occupancy(self) -> bool:
        """An occupancy interrupt is armed: tick() must be called now and then, also when nothing else happens."""
        return any(looked is None and self._armed(wq_id) for wq_id, looked in enumerate(self._looked))

    def _armed(self, wq_id: int) -> bool:
        get = self._registers.get
        enabled = get(WQCFG.occupancy_int_en, wq_id) and self.state(wq_id) is WqState.ENABLED
        return enabled and not get(WQCFG.occupancy_int_generated, wq_id)

    def _look_at_occupancy(self, wq_id: int) -> None:
        if not self._registers.get(WQCFG.occupancy_int_en, wq_id):
            return
        wq = self.config(wq_id)
        armed = wq.wq_state is WqState.ENABLED and not wq.occupancy_int_generated
        if armed and wq.occupancy <= wq.occupancy_limit and self._interrupts.is_handle(wq.occupancy_inth):
            self._registers.set(WQCFG, wq_id, occupancy_int_generated=True)
            self.occupancy_interrupts += 1
            self._interrupts.raise_handle(wq.occupancy_inth)

    def _written(self, write: BusWrite) -> None:
        self._looked[write.index] = None
        if write.dword == DWORD_THRESHOLD and self.state(write.index) is WqState.ENABLED and write.before != write.after:
            self._tell_threshold(write.index)
        elif write.dword in DWORD_OCCUPANCY_INT:
            self._look_at_occupancy(write.index)

    def _tell_threshold(self, wq_id: int) -> None:
        self._port.wq_threshold(self.index(wq_id), self._registers.get(WQCFG.wq_thresh, wq_id))

    def statistics(self) -> dict[str, int]:
        """WQs Enabled, and occupancy interrupts raised."""
        return {"wqs_enabled": len(self.enabled()), "occupancy_interrupts": self.occupancy_interrupts}


def requests_pages(wq: WQCFG, platform: Platform) -> bool:
    """May a fault of this WQ ask the host for the page? (registers.md 1.2: without translation PRS is ignored)"""
    return platform.ats and platform.prs and not wq.wq_ats_disable and not wq.wq_prs_disable
