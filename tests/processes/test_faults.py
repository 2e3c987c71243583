"""Every effect of a fault rule on a real device, through a real portal: the exact record, and what became of the data.

Expected values are worked out here by hand from operations.md, not asked of the rules.
"""

import contextlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

import idxd_client
from idxd_client import (
    ClosedReason,
    Connection,
    Descriptor,
    DescriptorAborted,
    IdxdError,
    KernelChannel,
    PortalClosed,
    WaitTimeout,
    WorkQueue,
    WorkQueueFull,
)
from idxdd.control.tracerecord import TraceRecord
from idxdd.spec.codes import Opcode
from idxdd.spec.registers import SWERR
from idxdd.testing import Dsa, on
from idxdd.testing.instance import NotStarted

pytestmark = pytest.mark.dsa_profile("dsa2", "dsa2")
DEDICATED, SHARED, KERNEL = "dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2"
SIZE = 16384
DATA = bytes(index * 7 + index // 256 & 0xFF for index in range(SIZE))


@pytest.fixture
def conn(dsa_module: Dsa) -> Iterator[Connection]:
    with dsa_module.connect() as connection:
        yield connection


class Memory:
    """Source with DATA, destination with zeros."""

    def __init__(self, connection: Connection) -> None:
        self._buffer = connection.alloc(2 * SIZE, owned=False)  # the connection's end gives it back
        self.source, self.destination = self._buffer[:SIZE], self._buffer[SIZE:]
        self.source[:] = DATA
        self.address = self._buffer.address

    def move(self) -> Descriptor:
        return Descriptor.memmove(self.destination, self.source)

    @property
    def moved(self) -> bytes:
        return bytes(self.destination)


@pytest.fixture
def memory(conn: Connection) -> Memory:
    return Memory(conn)


@pytest.fixture
def queue(conn: Connection) -> Iterator[WorkQueue]:
    with conn.open_user(SHARED) as opened:
        yield opened


def record_of(queue: WorkQueue | KernelChannel, descriptor: Descriptor) -> bytes:
    return bytes(queue.submit(descriptor).result(10).record)


def record(
    status: int, *, result: int = 0, info: int = 0, completed: int = 0, address: int = 0, rest: bytes = bytes(16)
) -> bytes:
    """A completion record, field by field (operations.md section 2)."""
    return struct.pack("<BBBBIQ", status, result, info, 0, completed, address) + rest


# ---- statuses and faults -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("status xfer_erange", record(0x13)),
        ("status hw_err1 bytes=77 result=1", record(0x20, result=1, completed=77)),
        ("status invalid_flags mask=0x800040", record(0x11, rest=(0x800040).to_bytes(16, "little"))),
        ("status invalid_flags", record(0x11, rest=(0x40).to_bytes(16, "little"))),
        ("status dif_err force", record(0x09)),
        ("status 0x3f force", record(0x3F)),
        ("status success", record(0x01)),
    ],
    ids=["size", "partial", "mask", "flags", "forced", "unknown", "success"],
)
def test_a_status_is_in_the_record_and_nothing_was_done(
    dsa_module: Dsa, queue: WorkQueue, memory: Memory, what: str, expected: bytes
) -> None:
    """A program must cope with each status: it is told exactly this one, and its data is as it was."""
    dsa_module.inject(f"wq={SHARED} op=memmove when nth=1 do {what}")
    assert record_of(queue, memory.move()) == expected
    assert memory.moved == bytes(SIZE)
    assert record_of(queue, memory.move()) == record(0x01), "the second is not hit"
    assert memory.moved == DATA


@pytest.mark.parametrize(
    ("access", "status", "operand", "base"), [("write", 0x83, 3, SIZE), ("read", 0x03, 1, 0)], ids=["write", "read"]
)
@pytest.mark.parametrize("at", [0, 4097, SIZE - 1])
def test_a_fault_has_the_exact_partial_result(
    dsa_module: Dsa, queue: WorkQueue, memory: Memory, access: str, at: int, status: int, operand: int, base: int
) -> None:
    """Bytes before the fault are there, none after; going on from Bytes Completed gives the whole."""
    dsa_module.inject(f"op=memmove when nth=1 do fault {access} at={at}")
    expected = record(status, info=operand << 1, completed=at, address=memory.address + base + at)
    assert record_of(queue, memory.move()) == expected
    assert memory.moved == DATA[:at] + bytes(SIZE - at)
    rest = Descriptor.memmove(memory.destination[at:], memory.source[at:])
    assert record_of(queue, rest) == record(0x01)
    assert memory.moved == DATA


def test_the_operand_can_be_chosen(dsa_module: Dsa, queue: WorkQueue, conn: Connection) -> None:
    """Dualcast's second destination, a compare's second source: byte counts and operand are theirs."""
    dsa_module.inject("op=dualcast do fault write at=100 operand=destination2", "op=compare do fault read at=9 operand=source2")
    with conn.alloc(3 * 4096) as area:
        done = record_of(queue, Descriptor.dualcast(area[4096:8192], area[8192:], area[:4096]))
        assert done == record(0x83, info=4 << 1, completed=100, address=area.address + 8192 + 100)
        done = record_of(queue, Descriptor.compare(area[:4096], area[4096:8192]))
        assert done == record(0x03, info=2 << 1, completed=9, address=area.address + 4096 + 9)


def test_memory_of_the_program_itself_faults_alike(dsa_module: Dsa, queue: WorkQueue) -> None:
    """A heap address, reached through the client's agent: the same rule, the same count."""
    source, destination = bytearray(DATA), bytearray(SIZE)
    dsa_module.inject("op=memmove when nth=1 do fault write at=5000")
    done = queue.submit(Descriptor.memmove(destination, source)).result(10)
    assert (done.record[0], done.bytes_completed) == (0x83, 5000)
    assert destination == DATA[:5000] + bytes(SIZE - 5000)


def test_a_list_that_faults_ends_the_batch(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """0x06 with the members before it done: what a program resumes a batch from."""
    dsa_module.inject("op=batch do fault list at=128")
    pieces = [Descriptor.memmove(memory.destination[n : n + 8], memory.source[n : n + 8]) for n in range(0, 32, 8)]
    done = queue.submit(Descriptor.batch(pieces)).result(10)
    assert (done.record[0], done.bytes_completed, done.record[2]) == (0x06, 2, 1 << 1)
    assert memory.moved[:32] == DATA[:16] + bytes(16)


def test_a_readback_that_faults(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """A Drain's explicit readback: 0x1F with the address."""
    dsa_module.inject("op=drain do fault readback")
    done = record_of(queue, Descriptor.drain(memory.destination))
    assert (done[0], struct.unpack_from("<Q", done, 8)[0]) == (0x1F, memory.address + SIZE)


def test_a_member_is_chosen_by_its_index(dsa_module: Dsa, queue: WorkQueue) -> None:
    """One bad member: the batch goes on, and says that one failed."""
    dsa_module.inject("op=noop member=2 do status bad_opcode", "op=noop member=none do status hw_err1 force")
    done = queue.submit(Descriptor.batch([Descriptor.noop()] * 4)).result(10)
    assert (done.record[0], done.bytes_completed) == (0x05, 4)
    assert [member.record[0] for member in done.members] == [0x01, 0x01, 0x10, 0x01]
    assert record_of(queue, Descriptor.noop())[0] == 0x20


class Polled:
    """One descriptor whose record is polled, as a C program does: the driver may deliver it after the descriptor has ended."""

    def __init__(self, queue: WorkQueue, descriptor: Descriptor) -> None:
        self._array = queue.connection.array(1)
        self._array[0] = descriptor
        self._number = queue.submit_slot(self._array.slots[0])
        queue.wait_number(self._number, 10)

    @property
    def record(self) -> bytes:
        return bytes(self._array.records[:32])

    def written(self) -> bytes:
        wait_until(lambda: self.record[0], 10, "the record is there")
        return self.record

    def __enter__(self) -> "Polled":
        return self

    def __exit__(self, *_: object) -> None:
        self._array.close()


def test_a_record_that_cannot_be_written_goes_through_the_event_log(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """The log is on: the operation is done, the driver finds the entry and writes the record."""
    before = counter(dsa_module, "evl_entries")
    dsa_module.inject("op=memmove when nth=1 do fault record")
    with Polled(queue, memory.move()) as moved:
        assert moved.written() == record(0x01)
    assert memory.moved == DATA
    assert counter(dsa_module, "evl_entries") == before + 1


def test_a_log_that_overflows_loses_the_record(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """Its entry is dropped: 0x54 in SWERR, and nobody delivers the record. The next one comes."""
    before = counter(dsa_module, "evl_dropped")
    dsa_module.inject("op=memmove do fault record", "op=memmove when nth=1 do evl-overflow")
    with Polled(queue, memory.move()) as lost, Polled(queue, memory.move()) as delivered:
        assert delivered.written() == record(0x01)
        assert lost.record == bytes(32)
    assert memory.moved == DATA
    wait_until(lambda: swerr(dsa_module).error == 0x54, 10, "0x54 in SWERR")
    assert counter(dsa_module, "evl_dropped") == before + 1


def counter(dsa: Dsa, name: str, device: str = "dsa0") -> int:
    return next(int(one[name]) for one in dsa.stats()["devices"] if one["name"] == device)


def swerr(dsa: Dsa, device: str = "dsa0") -> SWERR:
    """The last software error that the driver saved."""
    words = next(one["errors"] for one in dsa.ask("list")["devices"] if one["name"] == device)
    return SWERR(sum(int(word, 16) << 64 * position for position, word in enumerate(words)))


# ---- success that is none, late, lost, out of order --------------------------------------------------------------------
def test_corrupted_data_with_success(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """What only a program's own check can find: status 0x01, and three bytes are wrong."""
    dsa_module.inject("op=memmove when nth=1 do corrupt at=8191 bytes=3 xor=0x0f")
    assert record_of(queue, memory.move()) == record(0x01)
    wrong = bytes(byte ^ 0x0F for byte in DATA[8191:8194])
    assert memory.moved == DATA[:8191] + wrong + DATA[8194:]


def test_a_corrupted_record(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """A CRC with one bit wrong: the data is right, the record is not."""
    right = queue.crc(memory.source)
    dsa_module.inject("op=crcgen when nth=1 do corrupt operand=completion_record at=16 xor=0x01")
    assert queue.crc(memory.source) == right ^ 1
    assert queue.crc(memory.source) == right


def test_a_delayed_one_comes_later_and_others_do_not_wait(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """Carried out at once; its record is kept back, and nobody else's is."""
    dsa_module.inject("op=memmove when nth=1 do delay 300ms")
    late = queue.submit(memory.move())
    assert record_of(queue, Descriptor.noop()) == record(0x01)
    assert not late.done(), "300 ms have not passed between two submissions; a machine that slow fails all tests"
    assert late.result(10).record == record(0x01)
    traced = last_move(dsa_module)
    assert traced.written_ns - traced.dispatched_ns >= 300_000_000


def last_move(dsa: Dsa) -> TraceRecord:
    return [one for one in dsa.trace(16) if one.desc[7] == Opcode.MEMMOVE][-1]


def test_translation_can_be_slow(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """Each of three operands (source, destination, record) takes its time before the first byte is moved."""
    dsa_module.inject("op=memmove when nth=1 do slow 40ms")
    slow = queue.submit(memory.move())
    assert slow.result(10).record == record(0x01)
    traced = last_move(dsa_module)
    assert traced.written_ns - traced.dispatched_ns >= 3 * 40_000_000
    assert memory.moved == DATA


def test_a_dropped_one_is_never_told(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """The record stays 0 and the portal open, as when hardware loses a completion: the program's time-out path has to run."""
    dsa_module.inject("op=memmove when nth=1 do drop")
    lost = queue.submit(memory.move())
    wait_until(lambda: memory.moved == DATA, 10, "it is carried out")
    with pytest.raises(WaitTimeout):
        lost.result(0.2)
    assert queue.submit(memory.move()).result(10).ok
    assert not lost.done()


def test_completions_out_of_order(dsa_module: Dsa, queue: WorkQueue) -> None:
    """The first of three is completed last: who counts on order is found out."""
    dsa_module.inject("op=noop when nth=1 do reorder 2 10s")
    first, second, third = (queue.submit(Descriptor.noop()) for _ in range(3))
    second.wait(10)
    third.wait(10)
    first.wait(10)
    ended = {one.id: one.written_ns for one in dsa_module.trace(3)}
    ids = sorted(ended)
    assert ended[ids[0]] >= max(ended[ids[1]], ended[ids[2]])


# ---- full work queues --------------------------------------------------------------------------------------------------------
def test_a_full_shared_wq_answers_retry(dsa_module: Dsa, queue: WorkQueue) -> None:
    """ENQCMD's retry: as often as the rule says, then the descriptor is taken; without end, a named error."""
    (number,) = dsa_module.inject(f"wq={SHARED} when first=3 do full")
    assert record_of(queue, Descriptor.noop()) == record(0x01)
    assert dsa_module.hits(number) == 3
    dsa_module.inject(f"wq={SHARED} do full")
    with pytest.raises(WorkQueueFull):
        queue.submit(Descriptor.noop(), timeout=0.1)


def test_a_full_dedicated_wq_drops_it(dsa_module: Dsa, conn: Connection) -> None:
    """A posted write that finds no room is lost, and SWERR says 0x53 and which queue."""
    dsa_module.inject(f"wq={DEDICATED} when nth=1 do full")
    with conn.open_user(DEDICATED) as dedicated:
        with pytest.raises(WaitTimeout):
            dedicated.submit(Descriptor.noop()).result(0.2)
        wait_until(lambda: swerr(dsa_module).error == 0x53, 10, "0x53 in SWERR")
        assert record_of(dedicated, Descriptor.noop()) == record(0x01)
    assert swerr(dsa_module).wq_idx == 0


# ---- interrupts --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def channel(conn: Connection) -> Iterator[KernelChannel]:
    with conn.open_kernel(KERNEL) as opened:
        yield opened


def test_a_lost_interrupt_leaves_its_descriptor_waiting(dsa_module: Dsa, channel: KernelChannel) -> None:
    """Its record is there and nobody looks: the next interrupt completes both."""
    (number,) = dsa_module.inject(f"wq={KERNEL} op=noop when nth=1 do interrupt lost")
    first = channel.submit(Descriptor.noop())
    wait_until(lambda: dsa_module.hits(number) == 1, 10, "the rule was hit")
    wait_until(lambda: any(one.rule == number for one in dsa_module.trace(8)), 10, "the descriptor has ended")
    assert not first.done()
    assert channel.submit(Descriptor.noop()).result(10).ok
    assert first.result(10).ok


def test_a_late_interrupt(dsa_module: Dsa, channel: KernelChannel) -> None:
    """Record first, interrupt later: the callback comes with the interrupt."""
    (number,) = dsa_module.inject(f"wq={KERNEL} op=noop when nth=1 do interrupt late 200ms")
    assert channel.submit(Descriptor.noop()).result(10).ok
    wait_until(lambda: any(one.rule == number and one.interrupt_ns for one in dsa_module.trace(8)), 10, "it is traced")
    (traced,) = [one for one in dsa_module.trace(8) if one.rule == number]
    assert traced.interrupt_ns - traced.written_ns >= 200_000_000


def test_a_spurious_interrupt_of_a_wq_is_harmless(dsa_module: Dsa, channel: KernelChannel) -> None:
    """A handler that finds nothing to do must not complete anything."""

    def runs() -> int:
        return next(int(one["wq_thread_runs"]) for one in dsa_module.stats()["wqs"] if one["wq"] == KERNEL)

    assert channel.submit(Descriptor.noop()).result(10).ok
    before = runs()
    dsa_module.inject("device=dsa0 do interrupt spurious vector=3")
    wait_until(lambda: runs() > before, 10, "wq_thread ran")
    assert channel.submit(Descriptor.noop()).result(10).ok


def test_an_interrupt_of_vector_0_can_be_late_or_lost(dsa_module: Dsa, queue: WorkQueue, memory: Memory) -> None:
    """The event log's interrupt: late, its record is late; lost, the next entry's brings both."""
    late, lost = dsa_module.inject(
        "vector=0 cause=evl when nth=1 do interrupt late 150ms", "vector=0 cause=evl when nth=1 do interrupt lost"
    )
    dsa_module.inject("op=memmove do fault record")
    with Polled(queue, memory.move()) as first:
        assert first.written() == record(0x01)
    assert dsa_module.hits(late) == 1
    with Polled(queue, memory.move()) as second:
        wait_until(lambda: dsa_module.hits(lost) == 1, 10, "the second interrupt is lost")
        dsa_module.inject("device=dsa0 do interrupt spurious")  # the handler runs, and finds the cause
        assert second.written() == record(0x01)


# ---- the device as a whole ---------------------------------------------------------------------------------------------------
SECOND = "dsa1/wq1.1"


@pytest.fixture
def second(dsa_module: Dsa) -> Iterator[Connection]:
    """A connection; the second device is as it was when the test has ended."""
    config = dsa_module.ask("save_config")["config"]
    with dsa_module.connect() as connection:
        yield connection
    dsa_module.remove()
    wait_until(lambda: state(dsa_module) is not None, 10, "the device answers")
    dsa_module.ask("load_config", config=config, force=True, enable=True)


def state(dsa: Dsa) -> str | None:
    """GENSTS.state; None: the device is not there."""
    fields = dsa.ask("regs", device="dsa1")["registers"]["GENSTS"]["fields"]
    return str(fields["state"]) if isinstance(fields["state"], str) else None


def test_an_error_in_swerr_besides(dsa_module: Dsa, second: Connection) -> None:
    """The descriptor is carried out; the driver logs an error with queue, PASID and operation of it."""
    dsa_module.inject(f"wq={SECOND} op=noop when nth=2 do swerr translation_fail")
    with second.open(SECOND) as opened:
        assert [record_of(opened, Descriptor.noop()) for _ in range(3)] == [record(0x01)] * 3
        wait_until(lambda: swerr(dsa_module, "dsa1").error == 0x22, 10, "0x22 in SWERR")
        fields = swerr(dsa_module, "dsa1")
        assert (fields.wq_idx, fields.operation, fields.pasid) == (1, 0, opened.pasid)


def test_handles_are_revoked_and_the_driver_gets_others(dsa_module: Dsa, second: Connection) -> None:
    """Under a kernel channel's feet: everything submitted completes all the same."""
    with second.open_kernel("dsa1/wq1.2") as channel:
        dsa_module.inject("wq=dsa1/wq1.2 op=noop when every=5 times=3 do revoke")
        assert all(channel.submit(Descriptor.noop()).result(10).ok for _ in range(16))
        assert dsa_module.hits() == 3


def test_a_software_halt_closes_portals_and_recovers(dsa_module: Dsa, second: Connection) -> None:
    """The client gets a named error; the driver resets the device, and the portal can be reopened."""
    dsa_module.inject(f"wq={SECOND} op=noop when nth=2 do halt software")
    with second.open_user(SECOND) as opened:
        assert ended(opened).reason is ClosedReason.HALTED
        wait_until(lambda: reopened(opened), 10, "the driver has re-enabled the queue")
        opened.noop()


def ended(queue: WorkQueue) -> PortalClosed:
    """How the portal ends while it is used; the halt comes some descriptors after the one that set it off."""
    with pytest.raises(PortalClosed) as closed:
        use(queue)
    return closed.value


def use(queue: WorkQueue) -> None:
    for _ in range(100_000):
        with contextlib.suppress(DescriptorAborted):  # the one that was under way
            queue.noop()


def reopened(queue: WorkQueue) -> bool:
    try:
        queue.reopen()
    except IdxdError:
        return False
    return True


@pytest.mark.parametrize("reset", ["flr", "warm", "cold"])
def test_a_halt_needs_its_reset(dsa_module: Dsa, second: Connection, reset: str) -> None:
    """The device says which reset brings it back, and stays halted until it gets it."""
    dsa_module.inject(f"device=dsa1 do halt {reset}")
    gensts = dsa_module.ask("regs", device="dsa1")["registers"]["GENSTS"]["fields"]
    assert (gensts["state"], gensts["reset_type"]) == ("HALT", reset.upper())
    dsa_module.ask("bus_reset", device="dsa1", reset_type=reset)
    assert state(dsa_module) == "DISABLED"


def test_removal_and_return(dsa_module: Dsa, second: Connection) -> None:
    """Surprise removal: portals end by name; after its time the device is back, disabled."""
    dsa_module.inject(f"wq={SECOND} when nth=3 do remove 200ms")
    with second.open_user(SECOND) as opened:
        assert ended(opened).reason is ClosedReason.REMOVED
    wait_until(lambda: state(dsa_module) == "DISABLED", 10, "it is back")


# ---- when and who ------------------------------------------------------------------------------------------------------------
def test_counts_go_on_when_rules_come_and_go(dsa_module: Dsa, queue: WorkQueue) -> None:
    """The table is exchanged; the third stays the third, and every second every second."""
    third, even = dsa_module.inject(
        "op=noop when nth=3 do status hw_err1 force", "op=noop when every=2 times=2 do status hw_err_drb force"
    )
    seen = []
    for _ in range(6):
        seen.append(record_of(queue, Descriptor.noop())[0])
        dsa_module.remove(*dsa_module.inject("op=crcgen do drop"))
    assert seen == [0x01, 0x21, 0x20, 0x01, 0x21, 0x01], (
        "of one kind of effect the first rule has precedence, and the other no match"
    )
    counts = {rule["id"]: (rule["matches"], rule["hits"], rule["hits_left"]) for rule in dsa_module.rules()}
    assert counts == {third: (6, 1, 0), even: (5, 2, 0)}


def test_a_rule_finds_processes_that_come_later(dsa_module: Dsa, queue: WorkQueue) -> None:
    """By uid: who connects after the rule was made is met, as who was there."""
    import os

    (number,) = dsa_module.inject(on(uid=os.geteuid(), op="noop").status("hw_err1", force=True))
    assert record_of(queue, Descriptor.noop())[0] == 0x20
    with dsa_module.connect() as other, other.open(SHARED) as theirs:
        assert record_of(theirs, Descriptor.noop())[0] == 0x20
        (other_rule,) = dsa_module.inject("uid=65533 do drop")
        assert record_of(theirs, Descriptor.noop())[0] == 0x20
    assert (dsa_module.hits(number), dsa_module.hits(other_rule)) == (3, 0)


def test_chance_strikes_as_its_dry_run_says(dsa_module: Dsa, queue: WorkQueue) -> None:
    """The engine's generator and the dry run's are one: the same seed, the same descriptors."""
    rule = "op=noop when chance=0.3 seed=11 do status hw_err1 force"
    told = dsa_module.ask("inject_dry_run", rules=[rule], descriptors=[bytes(64).hex()] * 40)["rules"][0]
    dsa_module.inject(rule)
    struck = [record_of(queue, Descriptor.noop())[0] == 0x20 for _ in range(40)]
    assert struck == [one["hit"] for one in told["descriptors"]]
    assert 0 < sum(struck) < 40


def test_a_time_passes_first(dsa_module: Dsa, queue: WorkQueue) -> None:
    """`after`: nothing is matched before, everything then."""
    (number,) = dsa_module.inject("op=noop when after=300ms do status hw_err1 force")
    assert record_of(queue, Descriptor.noop())[0] == 0x01
    wait_until(lambda: record_of(queue, Descriptor.noop())[0] == 0x20, 10, "its time has come")
    assert dsa_module.hits(number) == 1


def test_as_many_rules_as_there_may_be(dsa_module: Dsa, tmp_path: Path) -> None:
    """256 long ones do not fit into one answer: they come in pages, and through the CLI; a 257th is refused."""
    rules = [on(op=list(range(0x40, 0x70)), wq=SHARED, size=number).drop() for number in range(256)]
    numbers = [number for start in range(0, 256, 64) for number in dsa_module.inject(*rules[start : start + 64])]
    assert [rule["id"] for rule in dsa_module.rules()] == numbers
    assert dsa_module.ask("inject_list")["more"]
    listed = json.loads(dsa_module.idxdctl("inject", "list", "--json"))["rules"]
    assert [rule["rule"] for rule in listed] == list(map(str, rules))
    with pytest.raises(idxd_client.Refused, match="rules: 256 are in force, 256 are possible: remove some"):
        dsa_module.inject("do drop")


def test_a_dry_run_over_a_long_trace(dsa_module: Dsa, tmp_path: Path) -> None:
    """More descriptors than an answer has room for are counted on: every hundredth of 300."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text(json.dumps({"descriptor": bytes(64).hex(), "wq": SHARED, "client": {"pid": 7}}) + "\n")
    trace.write_text(trace.read_text() * 300)
    said = dsa_module.idxdctl("inject", "dry-run", "op=noop pid=7 when every=100 do delay 1ms", "--trace", str(trace), "--json")
    (told,) = json.loads(said)["rules"]
    assert [number for number, one in enumerate(told["descriptors"], 1) if one["hit"]] == [100, 200, 300]
    assert (told["wqs"][0], dsa_module.rules()) == (DEDICATED, [])


def test_rules_of_a_file_are_in_force_from_the_start(tmp_path: Path) -> None:
    """As text and as JSON; one that cannot be ends the start, by name of file and number of line."""
    (tmp_path / "rules").write_text("# two\nop=noop when nth=1 do status hw_err1 force\n\ndo delay 1ms  # each\n")
    (tmp_path / "rules.json").write_text('["do drop", {"when": {"nth": 2}, "do": {"action": "halt", "reset": "flr"}}]')
    (tmp_path / "bad").write_text("do drop\nop=noop do fault write\n")
    said = []
    for name in ("rules", "rules.json"):
        dsa = Dsa(options=["--inject", str(tmp_path / name)])
        try:
            said.append([rule["rule"] for rule in dsa.rules()])
        finally:
            assert dsa.stop() == 0
    assert said == [["op=noop when nth=1 do status hw_err1 force", "do delay 1ms"], ["do drop", "when nth=2 do halt flr"]]
    with pytest.raises(NotStarted, match=r"fault rules .*/bad: line 2: write: noop writes nothing"):
        Dsa(options=["--inject", str(tmp_path / "bad")])


REFUSED: list[tuple[Callable[[Dsa], object], str]] = [
    (lambda dsa: dsa.inject("op=noop do fault write"), "write: noop writes nothing"),
    (lambda dsa: dsa.inject("wq=dsa0/wq0.9 do drop"), "wq: no work queue dsa0/wq0.9"),
    (lambda dsa: dsa.inject("do interrupt spurious vector=31"), "vector: dsa0 has vectors 0 to "),
    (lambda dsa: dsa.inject("device=dsa7 do revoke"), "device: no device dsa7 (there is dsa0, dsa1)"),
    (lambda dsa: dsa.inject("do drop", "do dorp"), "rule 2: dorp: is no action; did you mean drop?"),
    (lambda dsa: dsa.inject(*["do drop"] * 257), "rules: 257 are given, 256 are possible"),
    (lambda dsa: dsa.remove(4711), "rule: no rule 4711 is in force"),
]


@pytest.mark.parametrize(("ask", "line"), REFUSED, ids=[line.partition(":")[0] + str(n) for n, (_, line) in enumerate(REFUSED)])
def test_what_cannot_be_is_refused_whole(dsa_module: Dsa, ask: Callable[[Dsa], object], line: str) -> None:
    """One line with the field and the rule; nothing is in force afterwards."""
    with pytest.raises(idxd_client.Refused) as refused:
        ask(dsa_module)
    assert line in str(refused.value)
    assert dsa_module.rules() == []
