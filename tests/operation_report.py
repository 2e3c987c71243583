"""docs/operation-coverage.md: operation × status, each cell with the test that shows it. Written by `make docs`."""

from pathlib import Path

from operation_statuses import CASES, LIMITED, REPORTED, applicable

from idxdd.spec.codes import CompletionStatus, Flag, Opcode

STATUSES = "tests/property/test_operation_statuses.py::test_status"
LIMITS = "tests/property/test_engine_rules.py::test_limit"
NOT_HERE = {
    CompletionStatus.TRANSLATION_FAIL: "no paging service that could fail; a rule of fault injection can make one",
    CompletionStatus.DRAIN_EVL: "in the event log only: `tests/unit/device/test_device_engine.py`",
    CompletionStatus.BATCH_EVL_ERR: "in the event log only: `tests/unit/device/test_device_engine.py`",
}
CODES = [code for code in CompletionStatus if 0 < code <= CompletionStatus.DOMAIN_GONE and code not in NOT_HERE]
DOCUMENT = Path(__file__).parents[1] / "docs" / "operation-coverage.md"


def cell(opcode: Opcode, status: CompletionStatus) -> str:
    """R: told by a record; r: told to SWERR or the event log; L: shown by a limit of the operation; nothing: cannot happen."""
    if status not in applicable(opcode):
        return ""
    for case in CASES:
        if case.opcode is opcode and case.status is status:
            return "r" if status in REPORTED or case.flags == Flag.CR_TCS else "R"
    assert (opcode, status) in LIMITED, f"{opcode.name}: no test for {status.name}"
    return "L"


def table() -> str:
    """The document."""
    rows = sorted({case.opcode for case in CASES})
    used = [code for code in CODES if any(cell(opcode, code) for opcode in rows)]
    lines = [
        "# Operation × status",
        "",
        "Made by `make docs` from tests/operation_statuses.py and tests/operation_limits.py; a test fails when it is stale,",
        "another when a cell that can happen has no test. Each letter is a descriptor that the engine ends with this status:",
        "",
        f"- **R** in its completion record: `{STATUSES}[OPERATION-STATUS]`",
        "- **r** in SWERR or the event log, for no record can tell it: the same test",
        f"- **L** at a limit of the operation: `{LIMITS}`, named below",
        "- nothing: the architecture gives the operation no way to end so",
        "",
        "0x11 and 0x12 besides flag by flag and byte by byte: `tests/property/test_engine_rules.py::test_flags`,",
        "`::test_reserved_bytes`. Any status of any descriptor, valid or not, against the reference model:",
        "`tests/property/test_engine_reference.py`, `test_domains_reference.py`, `test_agent_reference.py`.",
        "",
        "| operation | " + " | ".join(f"{code:02x}" for code in used) + " |",
        "|---" * (len(used) + 1) + "|",
    ]
    lines += [f"| {opcode.name} | " + " | ".join(cell(opcode, code) for code in used) + " |" for opcode in rows]
    lines += ["", "| code | status |", "|---|---|", *(f"| {code:02x} | {code.name} |" for code in used), ""]
    lines += ["Not in the table:", "", *(f"- {code:02x} {code.name}: {why}" for code, why in NOT_HERE.items()), ""]
    lines += ["Cells shown by a limit:", ""]
    lines += [
        f"- {opcode.name}, {code.name}: `{LIMITS}[{LIMITED[opcode, code]}]`"
        for opcode in rows
        for code in used
        if cell(opcode, code) == "L"
    ]
    lines += ["", "Operations of DSA 3.0 and reserved codes end with 10: `::test_operations_of_3_0_and_reserved_codes`."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(table())
