"""Operation × status in the real engine: what docs/operation-coverage.md shows, cell by cell.

The device's own code decides about faults and Update Windows; the rest is the engine's.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import operation_report
import pytest
from engine_bench import Bench, Client, bench
from operation_limits import COMPLETION, A, B, C
from operation_statuses import (
    CASES,
    HANDLE,
    LIMITED,
    NARROW,
    OPCODES,
    ORPHAN,
    READ_ONLY,
    REPORTED,
    UPDATABLE,
    Case,
    applicable,
)  # fmt: skip

from idxdd import native
from idxdd.device.device import BOF, FLAGS_BYTES, fault_status
from idxdd.device.domains import Domains
from idxdd.device.engineport import EnginePort
from idxdd.device.profilefile import load
from idxdd.device.registerfile import BAR0_SIZE_BYTES, RegisterFile
from idxdd.spec.codes import STATUS_CODE_MASK, CompletionStatus, Opcode
from idxdd.spec.registers import IDPT

OWN, OTHER, NOBODY = 2, 3, 9
PROFILE = load("dsa2-interdomain")
ENTRIES = {
    HANDLE: IDPT.encode(usable=True, submitter_pasid=OWN, access_pasid=OTHER, read_permission=True, write_permission=True),
    READ_ONLY: IDPT.encode(usable=True, submitter_pasid=OWN, access_pasid=OTHER, read_permission=True),
    NARROW: IDPT.encode(
        usable=True, submitter_pasid=OWN, access_pasid=OTHER, read_permission=True, write_permission=True, window_en=True,
        window_base=A, window_size=64,
    ),
    ORPHAN: IDPT.encode(usable=True, submitter_pasid=OWN, access_pasid=NOBODY, read_permission=True, write_permission=True),
    UPDATABLE: IDPT.encode(usable=True, allow_update=True, submitter_pasid=OWN, access_pasid=OWN),
}  # fmt: skip


PAGES = (A, A + 4096, B, B + 4096, C, C + 4096)
DEDICATED, SHARED = 0, 1


class Domain:
    """A client with memory; which WQ it submits to depends on the case."""

    def __init__(self, made: Bench, wq: int, pasid: int, *, priv: bool = False) -> None:
        self.client: Client = made.client(wq, pasid, size=0, priv=priv)
        self.windows = {page: self.client.map(page, b"") for page in (*PAGES, COMPLETION)}

    def clear(self, content: dict[int, bytes]) -> None:
        """Zeros, but for this."""
        for page, window in self.windows.items():
            window[:] = content.get(page, b"").ljust(4096, b"\0")


class Rig:
    """An engine with a client on a dedicated and one on a shared WQ, another domain, and the table between them."""

    def __init__(self, made: Bench) -> None:
        self.bench = made
        self.registers = RegisterFile(mmap.mmap(-1, BAR0_SIZE_BYTES), PROFILE)
        self.port = EnginePort(made.engine)
        self.domains = Domains(0, self.registers, self.port, None, handles=False)
        made.wq(DEDICATED)
        made.wq(SHARED, dedicated=False, threshold=16)
        self.own = {DEDICATED: Domain(made, DEDICATED, OWN), SHARED: Domain(made, SHARED, OWN, priv=True)}
        self.other = Domain(made, DEDICATED, OTHER)
        self.port.bind_pasid(OWN, self.own[DEDICATED].client.space)
        self.port.bind_pasid(OTHER, self.other.client.space)

    def close(self) -> None:
        for domain in (*self.own.values(), self.other):
            for window in domain.windows.values():
                window.release()

    def run(self, case: Case) -> tuple[int, list[int]]:
        """Status of the record (0: none was written) and statuses that were reported."""
        wq = SHARED if case.priv else DEDICATED
        shape = {"bof": True, "opcfg": [OPCODES, 0, 0, 0], "max_xfer_shift": 20, "max_batch_shift": 5, "idcap": 0}
        self.bench.wq(wq, **shape | case.wq)
        domain = self.own[wq]
        domain.clear(case.content)
        self.other.clear({})
        for handle, entry in ENTRIES.items():
            self.registers.write(entry, handle)
            self.domains.request_handle(handle)
        domain.client.publish(case.descriptor())
        reports = list(self._until_done(case, domain.client))
        return domain.windows[COMPLETION][0] & STATUS_CODE_MASK, reports

    def _until_done(self, case: Case, client: Client) -> Iterator[int]:
        """Statuses that were reported on the way."""
        done = client.get("done")
        for _ in range(200):
            for exit in self.bench.run():
                if exit.kind == native.EXIT_WINDOW:
                    self.domains.update_window(exit)
                elif exit.kind == native.EXIT_FAULT:
                    blocks = bool(int.from_bytes(exit.desc[FLAGS_BYTES], "little") & BOF)
                    status = fault_status(exit, translated=case.ats, blocks=blocks)
                    if status is CompletionStatus.CRA_XLAT:
                        yield status
                    self.port.resume(exit, native.RESUME_FAIL, status)
                else:
                    yield exit.status
                    self.port.resume(exit, native.RESUME_FINISH)
            if client.get("done") > done:
                return
        raise AssertionError("every descriptor ends")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One for all cells."""
    with bench() as made:
        rig = Rig(made)
        yield rig
        rig.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_status(rig: Rig, case: Case) -> None:
    """One thing wrong, or nothing: this status, in the record or, where none is written, in the report."""
    found, reports = rig.run(case)
    if case.status in REPORTED or not found:
        assert (found, reports) == (0, [case.status])
    else:
        assert found == case.status
        assert reports == ([case.status] if case.status is CompletionStatus.INT_HANDLE_INVAL else [])


@pytest.mark.parametrize("opcode", [code for code in range(0x18, 0x28) if code not in {case.opcode for case in CASES}])
def test_operations_of_3_0_and_reserved_codes(rig: Rig, opcode: int) -> None:
    """Answered 0x10, whatever OPCFG says."""
    case = Case(Opcode.NOOP, CompletionStatus.BAD_OPCODE, wq={"opcfg": [(1 << 64) - 1] * 4})
    desc = bytearray(case.descriptor())
    desc[7] = opcode

    class Raw(Case):
        def descriptor(self) -> bytes:
            return bytes(desc)

    assert rig.run(Raw(case.opcode, case.status, wq=case.wq)) == (CompletionStatus.BAD_OPCODE, [])


@pytest.mark.parametrize("opcode", sorted({case.opcode for case in CASES}), ids=lambda opcode: opcode.name)
def test_no_cell_is_empty(opcode: Opcode) -> None:
    """Whatever an operation can end with has a test that ends so."""
    shown = {case.status for case in CASES if case.opcode is opcode} | {status for row, status in LIMITED if row is opcode}
    assert not applicable(opcode) - shown
    assert not {case.status for case in CASES if case.opcode is opcode} - applicable(opcode)


def test_the_document_is_what_the_cases_are() -> None:
    """docs/operation-coverage.md is written by `make docs`."""
    document = Path(__file__).parents[2] / "docs" / "operation-coverage.md"
    assert document.read_text() == operation_report.table(), "stale: make docs"
