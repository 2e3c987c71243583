"""Any register writes and any commands, in any state, on the real device: it answers as a model written from the manual does.

The device has the native engine, the posted ring and its semaphores; the model is tests/device_model.py. After each step
all of BAR0 must be equal, and the entries signalled must be the ones the model says.
"""

import os
from dataclasses import replace
from typing import Any

import pytest
from device_model import CMD, DISABLED, ENABLED, ENTRIES, HALT, MSIX, DeviceModel
from device_system import System
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from idxdd.spec.codes import Command, ResetType
from idxdd.spec.registers import GENCTRL, GRPCFG, WQCFG
from idxdd.testing.mock_driver import DEDICATED, SHARED
from idxdd.testing.profiles import DSA2

PROFILE = replace(DSA2, perf_counters=1)
OFFSETS = [
    *range(0x00, 0xA0, 4), *range(0xA8, 0x110, 4), *range(0x178, 0x198, 4), *range(0x400, 0x450, 4), *range(0x600, 0x710, 4),
    *range(0x800, 0xA10, 4), *range(MSIX, MSIX + 16 * ENTRIES, 4), 0x3000, 0x3004, 0xE000, 0xE004, 0xF000, 0xFFFC,
]  # fmt: skip
"""Registers, tables and their neighbours; commands have a rule of their own, perfmon a test of its own."""

offsets = st.builds(lambda at, off: at + off, st.sampled_from(OFFSETS), st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]))
values = st.one_of(st.just((1 << 64) - 1), st.just(0), st.integers(0, (1 << 64) - 1))
masks = st.builds(lambda block, low: block << 16 | low, st.sampled_from([0, 0, 0, 0, 1, 15]), st.integers(1, 0x1FF))
entries = st.integers(0, ENTRIES)
operands: dict[int, st.SearchStrategy[int]] = {
    Command.ENABLE_WQ: st.integers(0, 9),
    **dict.fromkeys((Command.DISABLE_WQ, Command.DRAIN_WQ, Command.ABORT_WQ, Command.RESET_WQ), masks),
    Command.DRAIN_PASID: st.integers(0, 0xFFFFF),
    Command.ABORT_PASID: st.integers(0, 0xFFFFF),
    Command.REQUEST_INT_HANDLE: entries,
    Command.RELEASE_INT_HANDLE: entries,
}
commands = st.one_of(
    st.sampled_from([int(code) for code in Command if code <= 14]), st.sampled_from([1, 2, 6]), st.integers(0, 31)
)
words = commands.flatmap(lambda code: st.builds(lambda operand: code << 20 | operand, operands.get(code, st.just(0))))


def flaws(**values: list[int]) -> st.SearchStrategy[dict[str, int]]:
    """One field wrong, seldom two: of many only the first would be told."""
    one = st.sampled_from([{name: value} for name, some in values.items() for value in some])
    return st.one_of(one, one, one, st.just({}), st.builds(lambda first, second: first | second, one, one))


wq_flaws = flaws(
    wq_size=[0], mode=[0, 1], priority=[0], bof=[1], pasid_en=[0, 1], wq_ats_disable=[1], wq_prs_disable=[1],
    max_batch_shift=[0, 10, 11], max_sgl_shift=[1], occupancy_table_sel=[1], occupancy_int_en=[1], occupancy_inth=[0, 3, 9],
    op_config=[0, 1 << 0x18],
)  # fmt: skip
group_flaws = flaws(
    wqs=[0, 2, 4, 1 << 8, 3, 9], engines=[0, 2, 1 << 4, 9, 5], use_rdbuf_limit=[1], rdbufs_reserved=[8, 97],
    rdbufs_allowed=[3, 4, 7, 97], work_descs_limit=[1], write_bandwidth_limit=[1],
)  # fmt: skip
strays = st.sampled_from([0] * 40 + [1 << bit for bit in range(25, 31)] + [1 << 19, 1 << 17, 1 << 9])


class Machine(RuleBasedStateMachine):
    """The device and the model, step by step."""

    @initialize(up=st.sampled_from([True, True, False]))
    def appear(self, up: bool) -> None:
        instance = f"t-machine-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}"
        self.system = System(instance, PROFILE)
        self.driver = self.system.driver
        self.model = DeviceModel(bytearray(self.driver.bar0))
        if up:
            self.bring_up(wqs=2)

    def post(self, offset: int, width: int, value: int) -> None:
        """As idxdd-irq would, but of any width."""
        self.driver.mmio._post(offset, width, value)
        self.driver.settle()

    @rule(offset=offsets, width=st.sampled_from([1, 2, 4, 4, 4, 8, 8, 3, 16]), value=values)
    def write(self, offset: int, width: int, value: int) -> None:
        if not (offset <= CMD < offset + width or offset & ~3 == CMD):  # that is a command: the other rule
            self._write(offset, width, value & (1 << 8 * min(width, 8)) - 1)

    @precondition(lambda self: self.model.state == DISABLED)
    @rule(wqs=st.integers(0, 3))
    def bring_up(self, wqs: int) -> None:
        """As a driver does: configure, enable the device and some WQs."""
        self.configure()
        self._command(Command.ENABLE_DEVICE)
        for wq in range(wqs):
            self._command(Command.ENABLE_WQ, wq)

    def configure(self, wq_flaws: dict[str, int] = {}, group_flaws: dict[str, int] = {}, limit: int = 96) -> None:  # noqa: B006
        """Something that may be enabled: WQs 0 and 2 dedicated, 1 shared, a group and an engine each; flaws are WQ 0's and
        group 0's."""
        for wq in range(8):
            fields: dict[str, Any] = (SHARED if wq == 1 else DEDICATED) if wq < 3 else {}
            self._write_wq(wq, fields | (wq_flaws if wq == 0 else {}))
        for group in range(4):
            members = {"wqs": 1 << group, "engines": 1 << group} if group < 3 else {}
            fields = {"rdbufs_allowed": 96, **members} | (group_flaws if group == 0 else {})
            self._write_all(GRPCFG.encode(**fields), 0x600 + 64 * group)
        for offset, value in ((0x80, limit), (0xE0, 0), (0xE4, 0)):
            self._write(offset, 4, value)

    def _write_wq(self, wq: int, fields: dict[str, int]) -> None:
        self._write_all(WQCFG.encode(**{"op_config": DSA2.opcap, **fields}), 0x800 + 64 * wq)

    @precondition(lambda self: self.model.state == DISABLED)
    @rule(
        log=st.sampled_from([None, None, (64, 0), (63, 0), (64, 1), (0xFFFF, 3)]),
        pasid=st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
        size=st.sampled_from([16, 16, 16, 96, 97, 0]),
        group=group_flaws,
        limit=st.sampled_from([96, 96, 96, 96, 97, 3]),
    )
    def enable_a_device_with_flaws(
        self, log: tuple[int, int] | None, pasid: int, size: int, group: dict[str, int], limit: int
    ) -> None:
        """Which rule is broken, and which of several is told first?"""
        self.configure({"wq_size": size}, group, limit)
        if log is not None:
            self._write(0xE8, 4, log[0])
            self._write(0x80, 4, 1 << 13 | limit)
        self._write(0xE0, 8, ((1 << 64) - (log[1] << 12) if log and log[1] else 0) | pasid)
        self._command(Command.ENABLE_DEVICE)

    @precondition(lambda self: self.model.state == ENABLED)
    @rule(wq=st.integers(0, 2), flaws=wq_flaws)
    def enable_a_wq_with_flaws(self, wq: int, flaws: dict[str, int]) -> None:
        """The same for a WQ of a device that runs, whose size cannot change."""
        if self.model.wq_state(wq) == ENABLED:
            self._command(Command.RESET_WQ, 1 << wq)
        self._write_wq(wq, (SHARED if wq == 1 else DEDICATED) | flaws)
        self._command(Command.ENABLE_WQ, wq)

    @precondition(lambda self: self.model.state == ENABLED)
    @rule()
    def enable_with_a_log(self) -> None:
        """Restart with an event log, which some WQ options need."""
        self._command(Command.RESET_DEVICE)
        self.configure()
        self._write(0xE8, 4, 64)
        self._write(0x80, 4, 1 << 13 | 96)
        self._command(Command.ENABLE_DEVICE)

    @precondition(lambda self: self.model.state == ENABLED)
    @rule(wq=st.integers(0, 2), entry=st.integers(0, ENTRIES - 1), limit=st.integers(0, 3))
    def arm_an_occupancy_interrupt(self, wq: int, entry: int, limit: int) -> None:
        """With a handle, on a WQ that may be enabled already (then the handle is the one it had)."""
        self._command(Command.REQUEST_INT_HANDLE, entry)
        self._write(0x800 + 64 * wq + 16, 4, entry)
        self._write(0x800 + 64 * wq + 20, 4, 1 << 16 | limit)

    def _command(self, code: int, operand: int = 0) -> None:
        word = 1 << 31 | code << 20 | operand
        self.post(CMD, 4, word)
        self.model.command(word)

    def _write(self, offset: int, width: int, value: int) -> None:
        self.post(offset, width, value)
        self.model.write(offset, width, value)

    def _write_all(self, value: Any, offset: int) -> None:
        for dword in range(value.width_bytes // 4):
            part = value.raw >> 32 * dword & 0xFFFF_FFFF
            self._write(offset + 4 * dword, 4, part)

    @rule(word=words, stray=strays, int_req=st.booleans())
    def command(self, word: int, stray: int, int_req: bool) -> None:
        word |= stray | int_req << 31
        self.post(CMD, 4, word)
        self.model.command(word)

    @rule(width=st.sampled_from([1, 2]), lane=st.integers(0, 3), value=st.integers(0, 0xFFFF))
    def half_a_command(self, width: int, lane: int, value: int) -> None:
        self.post(CMD + lane, width, value & (1 << 8 * width) - 1)

    @rule(reset_type=st.sampled_from([ResetType.SOFTWARE, ResetType.FLR]))
    def halt(self, reset_type: ResetType) -> None:
        self.driver.device.halt(reset_type)
        self.model.halt(reset_type)

    @rule()
    def page_requests_off(self) -> None:
        self.driver.device.set_platform(prs=False)
        self.model.prs_off()

    @rule()
    def gates(self) -> None:
        """All interrupts of errors and halts."""
        self._write(GENCTRL.offset, 4, 7)

    @precondition(lambda self: self.model.state == HALT)
    @rule()
    def function_reset(self) -> None:
        self.driver.device.reset(ResetType.FLR)
        self.driver.settle()
        self.model.function_reset()

    @invariant()
    def equal(self) -> None:
        if not hasattr(self, "system"):
            return
        self.driver.settle()
        ours, theirs = self.driver.bar0, self.model.bar0
        different = [at for at in range(0, 0x10000, 4) if ours[at : at + 4] != theirs[at : at + 4]] if ours != theirs else []
        shown = [f"{at:#x}: {ours[at : at + 4][::-1].hex()} model {theirs[at : at + 4][::-1].hex()}" for at in different]
        assert shown == []
        fired = {entry for entry in range(ENTRIES) if self.system.fired(entry)}
        assert fired == set(self.model.signalled), "entries signalled"
        self.model.signalled.clear()

    def teardown(self) -> None:
        if hasattr(self, "system"):
            self.system.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
pytestmark = pytest.mark.timeout(300)
