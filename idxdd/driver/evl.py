"""The event log as the driver uses it: set-up, one pass over new entries, and the fault works that deliver records.

Who writes what  the log's memory is the driver's, its entries the device's; head is posted once a pass, after all entries.
Numbers          entries are counted over a device's life (`evl_count`). A fault work is a record under its entry's number; a
                 pass that a predecessor did not finish finds those records and makes none twice. Works run after their pass.
Head             the ring position head's write gets and `evl_next` (count after the pass) are stored before it: the pass is
                 over exactly if the ring's tail is past that position.
Copies           made by idxdd, under the entry's number, once; so a repeated step writes no record a client has used again.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOMEM
from typing import TYPE_CHECKING, Final

from idxdd.driver.oops import oops
from idxdd.driver.state import EVL_ENTRIES_MAX, FaultBlock
from idxdd.driver.workqueue import DriverError, Steps, Wait
from idxdd.shm.hostmemory import host_base
from idxdd.spec.codes import CompletionStatus, DriverStatus, WqType
from idxdd.spec.limits import EVL_ENTRY_BYTES_BY_SUPPORT
from idxdd.spec.records import EventLogEntry, RecordFaultEntry
from idxdd.spec.registers import EVLCFG, EVLSTATUS, GENCFG, GENCTRL

if TYPE_CHECKING:
    from idxdd.driver.device import Device
    from idxdd.driver.state import OpenBlock
    from idxdd.driver.wq import Wq

CODE_MASK: Final = 0x7F
"""The driver's; it leaves out the write bit alone."""
INT_PENDING: Final = 1 << 30
"""In the upper dword of EVLSTATUS."""
RECORD_BYTES: Final = 32
CRA_XLAT, DRAIN_XLAT, BATCH_XLAT = 0x1A, 0x26, 0x27
COUNTED, COPY_FAILED = 1, 2
"""Steps of a fault work."""
FAULTS: Final = (CRA_XLAT, DRAIN_XLAT, BATCH_XLAT)

QueueFault = Callable[["Wq", FaultBlock], None]
"""Queues the work of a fault record on its WQ's own queue."""


# ---- set-up ----------------------------------------------------------------------------------------------------------------
def setup_evl(device: Device) -> None:
    """Before Enable Device: zeroed memory, EVLCFG, then the interrupt, then GENCFG.evl_en. ENOMEM."""
    support = device.caps.gencap.evl_support
    if not support:
        return
    entries, entry_bytes = device.evl_size, EVL_ENTRY_BYTES_BY_SUPPORT[support]
    bitmap_bits = entries * entry_bytes if "DEF-13" in device.quirks else entries
    log = bytes(entries * entry_bytes)
    if bitmap_bits > EVL_ENTRIES_MAX or device.host is None or not device.host.write(host_base(device.index), log):
        device.block.cmd_status = DriverStatus.DEV_EVL_ERR
        raise DriverError(ENOMEM, f"{device.name}: no memory for an event log of {entries} entries")
    device.state_segment.clear_evl(device.index)
    device.block.evl_entries = entries
    device.mmio.write(EVLCFG.encode(log_base=host_base(device.index), log_size=entries))
    device.mmio.write(device.mmio.read(GENCTRL).replace(evl_int_en=True))
    device.mmio.write(device.mmio.read(GENCFG).replace(evl_en=True))


def free_evl(device: Device) -> None:
    """After the device was disabled. Under DEF-11 nothing is freed when a reset has cleared GENCFG before."""
    genconfig = device.mmio.read(GENCFG)
    if not genconfig.evl_en and ("DEF-11" in device.quirks or not device.block.evl_entries):
        return
    if genconfig.evl_en:
        device.mmio.write(genconfig.replace(evl_en=False))
    device.mmio.write(device.mmio.read(GENCTRL).replace(evl_int_en=False))
    device.mmio.write(EVLCFG(0))
    device.block.evl_entries = 0


# ---- the pass --------------------------------------------------------------------------------------------------------------
def process_evl_entries(device: Device, queue: QueueFault) -> None:
    """Clear int_pending, then read tail, once; handle what lies between; move head once."""
    block, mmio = device.block, device.mmio
    if not block.evl_entries:
        device.log("warning", "Event log interrupt without an event log.", device=device.name)
        return
    mmio.write32(EVLSTATUS.offset + 4, INT_PENDING)
    status = mmio.read(EVLSTATUS)
    head = (block.evl_shadow if "DEF-15" in device.quirks else status.head) % block.evl_entries
    number = block.evl_count
    while head != status.tail % block.evl_entries:
        number += 1
        process_evl_entry(device, head, number, queue)
        head = (head + 1) % block.evl_entries
    block.evl_position = mmio.position
    block.evl_next = number  # after its position: without it the pass does not count
    mmio.write32(EVLSTATUS.offset, head)
    block.evl_shadow = head
    block.evl_count = number


def adopt_evl(device: Device, queue: QueueFault) -> None:
    """After a predecessor: its last pass counts if head was posted; its fault works go on."""
    block = device.block
    if block.evl_next > block.evl_count and device.mmio.position > block.evl_position:
        block.evl_count = block.evl_next
    for fault in device.state_segment.faults(device.index):
        _queue(device, fault, queue)


def _entry_address(device: Device, index: int) -> int:
    return host_base(device.index) + index * EVL_ENTRY_BYTES_BY_SUPPORT[device.caps.gencap.evl_support]


def read_entry(device: Device, index: int) -> EventLogEntry:
    """The first 64 bytes of an entry."""
    assert device.host is not None
    data = device.host.read(_entry_address(device, index), EventLogEntry.size_bytes)
    assert data is not None, "the log lies inside the memory it was set up in"
    return EventLogEntry.unpack(data)


def process_evl_entry(device: Device, index: int, number: int, queue: QueueFault) -> None:
    """Skip it, warn about it, or make a fault work of a copy. desc_valid and wq_idx_valid are not looked at."""
    if device.state_segment.take_skip(device.index, index):
        return
    entry = read_entry(device, index)
    code = entry.error & CODE_MASK
    if code not in FAULTS:
        if device.may_warn("evl"):
            text = f"Device error {code:#x} operation: {entry.operation:#x} fault addr: {entry.fault_addr:#x}"
            device.log("warning", text, device=device.name)
        return
    info = RecordFaultEntry.unpack(entry.pack())
    if info.rci:
        device.log("debug", "Completion Int Req set, ignoring!", device=device.name, pasid=entry.pasid)
    if code == DRAIN_XLAT and not info.rcr:
        return
    if entry.wq_idx >= len(device.wqs) or device.wqs[entry.wq_idx].type is WqType.KERNEL:
        if "DEF-05" in device.quirks:
            device.block.causes_owed = 0  # int_pending is cleared and head stays where it is, as in the kernel
            oops(device, f"process_evl_entry: work queue of wq {entry.wq_idx}")
        which = "which there is not" if entry.wq_idx >= len(device.wqs) else "a kernel WQ"
        device.log("warning", f"Event log entry of wq {entry.wq_idx}, {which}.", device=device.name)
        return
    fault = device.state_segment.add_fault(device.index, number, entry.pack())
    if fault is None:
        device.log("warning", "Failed to service fault work.", device=device.name)
    else:
        _queue(device, fault, queue)


def _queue(device: Device, fault: FaultBlock, queue: QueueFault) -> None:
    if fault.number not in device.faults_queued:
        device.faults_queued.add(fault.number)
        queue(device.wqs[EventLogEntry.unpack(fault.entry()).wq_idx], fault)


# ---- fault work ------------------------------------------------------------------------------------------------------------
def evl_fault_work(device: Device, fault: FaultBlock) -> Steps:
    """Deliver the record of one entry to its owner's memory; the batch members' failures decide about the batch's record."""
    entry = RecordFaultEntry.unpack(fault.entry())
    code, number = entry.error & CODE_MASK, fault.number
    record = bytearray(entry.completion_record)
    if fault.step < COUNTED:
        _before_copy(device, fault, entry, code)
    if fault.failed:
        if record[0] == CompletionStatus.SUCCESS:
            record[0] = CompletionStatus.BATCH_FAIL
        record[1] = 1
    length = RECORD_BYTES if code != BATCH_XLAT or entry.rcr or fault.failed else 0
    if length:
        copied = yield from _copy(device, entry, bytes(record[:length]), number)
        if copied < length and fault.step < COPY_FAILED:
            _copy_failed(device, entry, code, length, copied)
            fault.step = COPY_FAILED
    elif "DEF-04" in device.quirks:
        return  # the record is never freed
    device.faults_queued.discard(number)
    fault.number = 0


def _before_copy(device: Device, fault: FaultBlock, entry: RecordFaultEntry, code: int) -> None:
    """Counters and the memory of failed batches, once: `step` is stored last."""
    segment = device.state_segment
    if code == CRA_XLAT and entry.batch and entry.first_err_in_batch:
        segment.set_batch_failed(device.index, entry.batch_id, False)
    if code == BATCH_XLAT:
        fault.failed = fault.failed or segment.batch_failed(device.index, entry.batch_id)  # a predecessor may have cleared it
        segment.set_batch_failed(device.index, entry.batch_id, False)
    if code != DRAIN_XLAT:
        device.block.evl_faults += 1
        for opened in _user_context(device, entry):
            opened.faults += 1
    fault.step = COUNTED


def _user_context(device: Device, entry: RecordFaultEntry) -> list[OpenBlock]:
    """The open that faults of this PASID on this WQ are accounted to: the first of a process that has several."""
    return list(device.state_segment.opens_of(device.wqs[entry.wq_idx].global_index, entry.pasid))[:1]


def _copy(device: Device, entry: RecordFaultEntry, record: bytes, number: int) -> Steps:
    """How many bytes of it idxdd wrote into the owner's memory; the status byte goes last, and only after all others."""
    wq = device.wqs[entry.wq_idx]
    if not _user_context(device, entry):
        device.log("warning", "No user context", device=device.name, wq=wq.label, pasid=entry.pasid)
        return 0
    answer = device.copy_record(entry.pasid, entry.fault_addr, record, device.index << 48 | number)
    yield Wait(f"{wq.label}: a completion record to be copied", lambda: answer() is not None)
    return answer()


def _copy_failed(device: Device, entry: RecordFaultEntry, code: int, asked: int, copied: int) -> None:
    wq = device.wqs[entry.wq_idx]
    if code != DRAIN_XLAT:
        device.block.evl_copy_failures += 1
        for opened in _user_context(device, entry):
            opened.copy_failures += 1
    which = {CRA_XLAT: "", BATCH_XLAT: "batch ", DRAIN_XLAT: "drain "}[code]
    text = f"Failed to write to {which}completion record: ({asked}:{copied})"
    device.log("debug", text, device=device.name, wq=wq.label, pasid=entry.pasid)
    if code == CRA_XLAT and entry.batch:
        device.state_segment.set_batch_failed(device.index, entry.batch_id, True)


# ---- close -----------------------------------------------------------------------------------------------------------------
def evl_drain_pasid(wq: Wq, pasid: int) -> None:
    """Mark the unread entries of a client that closes this WQ: their owner's memory will be another's."""
    device = wq.device
    entries = device.block.evl_entries
    if not entries:
        return
    status = device.mmio.read(EVLSTATUS)
    index = status.head % entries
    while index != status.tail % entries:
        entry = read_entry(device, index)
        if (entry.wq_idx, entry.pasid) == (wq.id, pasid):
            device.state_segment.set_skip(device.index, index)
        index = (index + 1) % entries
