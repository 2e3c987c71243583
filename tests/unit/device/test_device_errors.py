"""The SWERR latch, and what each exit of the engine becomes: a status, a report, an answer."""

from dataclasses import replace
from typing import Any

import pytest

from idxdd.native import _native as native
from idxdd.spec.codes import Command, CompletionStatus, Flag, Opcode, Operand
from idxdd.spec.registers import GENCTRL, INTCAUSE, SWERR
from idxdd.testing.mock_driver import DEDICATED, SHARED, MockDriver
from idxdd.testing.profiles import DSA2


def descriptor(opcode: Opcode, flags: int = 0, handle: int = 0) -> bytes:
    made = bytearray(64)
    made[4:7] = flags.to_bytes(3, "little")
    made[7] = opcode
    made[36:38] = handle.to_bytes(2, "little")
    return bytes(made)


def give(driver: MockDriver, kind: int, wq: int = 0, **fields: Any) -> tuple[int, int, int, int]:
    """Let the engine exit; returns its answer (context, generation, action, status)."""
    driver.fake.exit(kind, wq, context=77, generation=5, **fields)
    driver.settle()
    return driver.fake.resumed[-1] if driver.fake.resumed else (0, 0, 0, 0)


def failed(status: int) -> tuple[int, int, int, int]:
    return (77, 5, native.RESUME_FAIL, status)


FINISHED = (77, 5, native.RESUME_FINISH, 0)


def test_the_fields_of_an_error(driver: MockDriver) -> None:
    """Every field where the manual puts it, spelled as raw qwords."""
    driver.enable(DEDICATED, SHARED)
    answer = give(
        driver,
        native.EXIT_ERROR,
        wq=1,
        status=0x03,
        operand=Operand.DESTINATION1,
        write=1,
        priv=1,
        pasid=0xABCDE,
        in_batch=1,
        batch_index=0x123,
        address=0x7F00_1234_5000,
        desc=descriptor(Opcode.MEMMOVE),
    )
    assert answer == FINISHED
    raw = driver.read(SWERR).raw
    assert raw & (1 << 64) - 1 == 0xABCDE << 40 | 3 << 32 | 1 << 16 | 0x03 << 8 | 0b1111_1101
    assert raw >> 64 & (1 << 64) - 1 == 3 << 61 | 0x123
    assert raw >> 128 & (1 << 64) - 1 == 0x7F00_1234_5000
    assert raw >> 192 == 0


def test_flags_and_handles_are_told(driver: MockDriver) -> None:
    """0x11 carries the mask of offending flags, 0x19 the handle; neither an address nor a direction."""
    driver.enable(DEDICATED)
    give(driver, native.EXIT_ERROR, status=0x11, invalid_flags=0x808040, address=1, write=1, desc=descriptor(Opcode.NOOP))
    swerr = driver.read(SWERR)
    assert (swerr.error, swerr.error_info, swerr.err_info_valid, swerr.fault_addr, swerr.fault_rw) == (0x11, 0x808040, 1, 0, 0)
    driver.write(SWERR(3))
    give(driver, native.EXIT_ERROR, status=0x19, record_written=1, desc=descriptor(Opcode.MEMMOVE, handle=0x1234))
    assert (driver.read(SWERR).error, driver.read(SWERR).error_info) == (0x19, 0x1234)
    driver.write(SWERR(3))
    give(driver, native.EXIT_ERROR, status=0x1B, desc=descriptor(Opcode.MEMMOVE))
    assert (driver.read(SWERR).error, driver.read(SWERR).err_info_valid) == (0x1B, 0)


def test_the_latch(driver: MockDriver) -> None:
    """First error kept, second only overflow and no interrupt; each bit is the software's to clear; overflow outlives valid."""
    driver.write(GENCTRL.encode(softerr_int_en=True))
    driver.enable(DEDICATED)
    give(driver, native.EXIT_ERROR, status=0x12, desc=descriptor(Opcode.NOOP))
    assert driver.fake.signalled(0) == 1
    driver.fake.handled(0)
    driver.write(INTCAUSE(1))
    first = driver.read(SWERR)
    give(driver, native.EXIT_ERROR, status=0x13, desc=descriptor(Opcode.MEMMOVE))
    assert driver.read(SWERR) == first.replace(overflow=True)
    assert driver.read(INTCAUSE).raw == 0
    assert driver.fake.signalled(0) == 1
    driver.write(SWERR(1))
    assert (driver.read(SWERR).valid, driver.read(SWERR).overflow) == (0, 1)
    give(driver, native.EXIT_ERROR, status=0x13, desc=descriptor(Opcode.MEMMOVE))
    latched = driver.read(SWERR)
    assert (latched.valid, latched.overflow, latched.error, latched.operation) == (1, 1, 0x13, 3)
    assert driver.fake.signalled(0) == 2
    driver.write(SWERR(2))
    assert (driver.read(SWERR).valid, driver.read(SWERR).overflow) == (1, 0)


def test_valid_is_the_last_word_stored(driver: MockDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver reads in another process: who sees valid must see the whole error."""
    driver.enable(DEDICATED)
    registers, stored = driver.device.registers, list[int]()

    class Words:
        load32 = registers._words.load32

        def store32(self, offset: int, value: int) -> None:
            stored.append(offset)

    error = SWERR.encode(valid=True, error=0x03, wq_idx=1, pasid=5, batch_idx=1, error_info=3, fault_addr=(1 << 64) - 1)
    with monkeypatch.context() as patch:
        patch.setattr(registers, "_words", Words())
        registers.write(error)
    assert stored == [0xD4, 0xD0, 0xCC, 0xC8, 0xC4, 0xC0]


def test_reset_device_keeps_the_latch(driver: MockDriver) -> None:
    """An error must not vanish because the driver resets before it looks."""
    driver.enable(DEDICATED)
    give(driver, native.EXIT_ERROR, status=0x12, desc=descriptor(Opcode.NOOP))
    before = driver.read(SWERR)
    driver.command(Command.RESET_DEVICE)
    assert driver.read(SWERR) == before


def test_dropped_writes_of_a_dedicated_wq(driver: MockDriver) -> None:
    """One is an error, two are an error and an overflow, a tail that was never granted is one error."""
    driver.enable(DEDICATED)
    for count, overflow in ((1, False), (5, True), (0, False)):
        driver.fake.exit(native.EXIT_OVERFLOW, 0, id=count, pasid=9)
        driver.settle()
        swerr = driver.read(SWERR)
        assert (swerr.valid, swerr.error, swerr.desc_valid, swerr.wq_idx_valid, swerr.wq_idx) == (1, 0x53, 1, 1, 0)
        assert (swerr.overflow, swerr.pasid) == (overflow, 9)
        driver.write(SWERR(3))
    assert driver.fake.resumed == [], "nothing was parked"
    assert driver.device.statistics()["dropped"] == 6


MOVE, BATCH, DRAIN = descriptor(Opcode.MEMMOVE), descriptor(Opcode.BATCH), descriptor(Opcode.DRAIN)
BLOCKING = descriptor(Opcode.MEMMOVE, Flag.BOF)
BLOCKING_WQ = DEDICATED | {"bof": 1}
NO_ATS_WQ = DEDICATED | {"wq_ats_disable": 1}
STATUS = CompletionStatus


@pytest.mark.parametrize(
    ("wq", "desc", "operand", "write", "status"),
    [
        pytest.param(DEDICATED, MOVE, Operand.SOURCE1, 0, STATUS.PAGE_FAULT_NOBOF, id="operand"),
        pytest.param(BLOCKING_WQ, MOVE, Operand.SOURCE1, 0, STATUS.PAGE_FAULT_NOBOF, id="wq may block, descriptor does not"),
        pytest.param(DEDICATED, BLOCKING, Operand.SOURCE1, 0, STATUS.PAGE_FAULT_NOBOF, id="descriptor would block, wq may not"),
        pytest.param(BLOCKING_WQ, BLOCKING, Operand.DESTINATION1, 1, STATUS.PAGE_FAULT_IR, id="blocking"),
        pytest.param(DEDICATED, BATCH, Operand.SOURCE1, 0, STATUS.BATCH_PAGE_FAULT, id="descriptor list"),
        pytest.param(DEDICATED, DRAIN, Operand.SOURCE1, 0, STATUS.PFAULT_RDBA, id="readback 1"),
        pytest.param(DEDICATED, DRAIN, Operand.SOURCE2, 0, STATUS.PFAULT_RDBA, id="readback 2"),
        pytest.param(NO_ATS_WQ, MOVE, Operand.SOURCE1, 0, STATUS.HW_ERR1, id="untranslated read"),
        pytest.param(NO_ATS_WQ, MOVE, Operand.DESTINATION1, 1, STATUS.HW_ERR_DRB, id="untranslated write"),
        pytest.param(NO_ATS_WQ, BATCH, Operand.SOURCE1, 0, STATUS.HW_ERR1, id="untranslated list"),
        pytest.param(NO_ATS_WQ, DRAIN, Operand.SOURCE1, 0, STATUS.HW_ERR_DRB, id="untranslated readback"),
    ],
)
def test_faults_of_operands(
    driver: MockDriver, wq: dict[str, int], desc: bytes, operand: Operand, write: int, status: CompletionStatus
) -> None:
    """Operations.md section 5: the status goes to the record; SWERR hears of it only by a later ERROR exit."""
    driver.enable(wq)
    assert give(driver, native.EXIT_FAULT, desc=desc, operand=operand, write=write, address=0x1000) == failed(status)
    assert not driver.read(SWERR).valid


@pytest.mark.parametrize("switch", ["ats", "prs"])
def test_faults_follow_the_pci_switches(switch: str) -> None:
    """Without ATS the whole device works untranslated; without PRS nothing blocks."""
    profile = replace(DSA2, platform=replace(DSA2.platform, **{switch: False}))
    with MockDriver(profile) as driver:
        driver.enable(DEDICATED)
        expected = STATUS.HW_ERR1 if switch == "ats" else STATUS.PAGE_FAULT_NOBOF
        assert give(driver, native.EXIT_FAULT, desc=BLOCKING, operand=Operand.SOURCE1) == failed(expected)


@pytest.mark.parametrize("desc", [MOVE, BLOCKING, BATCH, DRAIN])
def test_a_record_that_cannot_be_written_is_reported(driver: MockDriver, desc: bytes) -> None:
    """0x1A never goes to a record: SWERR tells address and direction, and the descriptor ends."""
    driver.enable(BLOCKING_WQ)
    answer = give(driver, native.EXIT_FAULT, desc=desc, operand=Operand.COMPLETION_RECORD, write=1, address=0xDEAD000, pasid=4)
    assert answer == failed(STATUS.CRA_XLAT)
    swerr = driver.read(SWERR)
    assert (swerr.valid, swerr.error, swerr.fault_rw, swerr.fault_addr, swerr.pasid) == (1, 0x1A, 1, 0xDEAD000, 4)
    assert (swerr.desc_valid, swerr.wq_idx_valid, swerr.err_info_valid) == (1, 1, 0)


def test_an_untranslated_record_write_vanishes(driver: MockDriver) -> None:
    """Without translation the device never learns that its write went nowhere; the count is for us."""
    driver.enable(NO_ATS_WQ)
    answer = give(driver, native.EXIT_FAULT, desc=MOVE, operand=Operand.COMPLETION_RECORD, write=1)
    assert answer == failed(STATUS.CRA_XLAT)
    assert not driver.read(SWERR).valid
    assert driver.device.statistics()["records_lost"] == 1
