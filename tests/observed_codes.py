"""Which test provokes which code: a pytest plugin that watches the device and the records that tests read.

`make docs` runs the device's tests with it and writes docs/device-coverage.md; no test has to say what it provokes, and none
can say what it does not. Watched: CMDSTS.error, INTCAUSE and SWERR as the register file stores them, entries as they reach
host memory, completion records as engine_bench.Client reads them from the client's memory. What a descriptor provokes counts
with the native engine behind the device only: a test that injects the stand-in's exits shows what the device does with them.
"""

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import pytest

from idxdd.device.engineport import EnginePort
from idxdd.device.registerfile import RegisterFile
from idxdd.native import Engine
from idxdd.shm.hostmemory import HostMemory
from idxdd.spec.codes import STATUS_CODE_MASK, CmdErr, CompletionStatus, InterruptCause
from idxdd.spec.records import EventLogEntry
from idxdd.spec.registers import CMDSTS, INTCAUSE, SWERR

TESTS_NAMED_MAX = 3
Place = tuple[str, int]
HEADINGS = {
    "record": ("Status codes in completion records", CompletionStatus),
    "SWERR": ("Errors in SWERR", CompletionStatus),
    "event log": ("Errors in the event log", CompletionStatus),
    "CMDSTS": ("Command errors", CmdErr),
    "INTCAUSE": ("Interrupt causes", InterruptCause),
}
LOG_ONLY = frozenset({CompletionStatus.DRAIN_EVL, CompletionStatus.BATCH_EVL_ERR})
SWERR_ONLY = frozenset(
    {
        CompletionStatus.PCI_CONFIG_CHANGED,
        CompletionStatus.DWQ_FULL,
        CompletionStatus.EVL_WRITE_FAILED,
        CompletionStatus.TRANSLATION_FAIL,
    }
)
NEVER_RECORD = LOG_ONLY | SWERR_ONLY - {CompletionStatus.TRANSLATION_FAIL} | {
    CompletionStatus.NONE, CompletionStatus.CRA_XLAT, CompletionStatus.CRA_ALIGN, CompletionStatus.PRIV_BAD,
    CompletionStatus.CMD_WHILE_ACTIVE,
}  # fmt: skip
SUCCESSES = frozenset(
    {CompletionStatus.NONE, CompletionStatus.SUCCESS, CompletionStatus.SUCCESS_PRED, CompletionStatus.BATCH_FAIL}
)
OF_DESCRIPTORS = ("record", "SWERR", "event log")
"""Places where a code counts only if a portal provoked it."""
BY_REGISTERS = frozenset({CompletionStatus.CMD_WHILE_ACTIVE, CompletionStatus.PCI_CONFIG_CHANGED})
"""But for these, which no descriptor is behind."""
REASONS: dict[type[IntEnum] | type[IntFlag], dict[int, str]] = {
    CompletionStatus: {
        CompletionStatus.TRANSLATION_FAIL: "no paging service that could fail; fault injection can say it",
    },
    CmdErr: {CmdErr.NO_IDPT_HANDLE: "every entry has a handle of its own: they do not run out"},
    InterruptCause: {},
}
"""Why nothing can provoke a code on this device."""


def codes_of(place: str) -> list[int]:
    """Codes that can appear there."""
    kind = HEADINGS[place][1]
    if place == "record":
        return [code for code in kind if code not in NEVER_RECORD]
    if place == "SWERR":
        return [code for code in kind if code not in SUCCESSES | LOG_ONLY]
    if place == "event log":
        return [code for code in kind if code not in SUCCESSES | SWERR_ONLY]
    return list(kind)


class Observer:
    """Notes, while a test runs, every code that appears."""

    def __init__(self) -> None:
        self.test = ""
        self.real = False
        """The test's device has the native engine."""
        self.seen: dict[Place, dict[str, None]] = {}

    def note(self, place: str, code: int) -> None:
        real = self.real or place not in OF_DESCRIPTORS or code in BY_REGISTERS
        if self.test and real:
            self.seen.setdefault((place, code), {})[self.test] = None

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Stand behind the places where codes appear."""
        write, store = RegisterFile.write, HostMemory.write

        def register_written(registers: RegisterFile, value: Any, index: int = 0) -> None:
            if isinstance(value, CMDSTS) and not value.active:
                self.note("CMDSTS", value.error)
            elif isinstance(value, SWERR) and value.valid:
                self.note("SWERR", value.error)
            elif isinstance(value, INTCAUSE):
                for cause in InterruptCause(value.raw):
                    self.note("INTCAUSE", cause)
            write(registers, value, index)

        def memory_written(memory: HostMemory, address: int, data: bytes) -> bool:
            stored = store(memory, address, data)
            if stored and len(data) >= EventLogEntry.size_bytes:
                self.note("event log", EventLogEntry.unpack(data).error)
            return stored

        patch.setattr(RegisterFile, "write", register_written)
        patch.setattr(HostMemory, "write", memory_written)
        from engine_bench import Bench, Client

        start, begin, read = EnginePort.__init__, Bench.__init__, Client.record

        def port_made(port: EnginePort, engine: Any, *arguments: Any) -> None:
            self.real = isinstance(engine, Engine)
            start(port, engine, *arguments)

        def bench_made(bench: Bench) -> None:
            self.real = True
            begin(bench)

        patch.setattr(EnginePort, "__init__", port_made)
        patch.setattr(Bench, "__init__", bench_made)

        def record_read(client: Client, offset: int) -> bytes:
            record = read(client, offset)
            if record[0]:
                self.note("record", record[0] & STATUS_CODE_MASK)
            return record

        patch.setattr(Client, "record", record_read)

    def table(self) -> str:
        """The document."""
        parts = [
            "# What the tests provoke\n\n"
            "Made by `make docs`: each row is a code and up to three tests in which it was seen: in a register, in the event\n"
            "log, or in a completion record that the real engine wrote. Do not edit.\n"
        ]
        for place, (heading, kind) in HEADINGS.items():
            parts.append(f"\n## {heading}\n\n| code | name | seen in |\n|---|---|---|\n")
            parts += [self._row(place, code, kind) for code in codes_of(place)]
        return "".join(parts)

    def _row(self, place: str, code: int, kind: Any) -> str:
        tests = sorted(self.seen.get((place, code), {}))
        if tests:
            more = f" and {len(tests) - TESTS_NAMED_MAX} more" if len(tests) > TESTS_NAMED_MAX else ""
            where = "<br>".join(f"`{test}`" for test in tests[:TESTS_NAMED_MAX]) + more
        else:
            where = f"– ({REASONS[kind].get(code, 'no test yet')})"
        return f"| {code:#04x} | {kind(code).name} | {where} |\n"


OBSERVER = Observer()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--codes-table", help="write the table of provoked codes to this file (without -n)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--codes-table"):
        patch = pytest.MonkeyPatch()
        OBSERVER.watch(patch)
        config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    OBSERVER.test, OBSERVER.real = item.nodeid.split("[")[0], False
    try:
        return (yield)  # type: ignore[return-value]
    finally:
        OBSERVER.test = ""


def pytest_sessionfinish(session: pytest.Session) -> None:
    place = session.config.getoption("--codes-table")
    if place and session.testsfailed == 0:
        Path(place).write_text(OBSERVER.table())
