"""Which fault rules can be, one line each for those that cannot; and what the ones that can mean to a descriptor."""

import pytest

from idxdd.device.faults import BadRule, Rule
from idxdd.device.faults.build import on
from idxdd.device.faults.counting import Counted, strikes
from idxdd.device.faults.matching import Point, mismatch, outcome
from idxdd.device.faults.operations import OPERATIONS
from idxdd.device.faults.rule import When
from idxdd.device.faults.text import parse_lines
from idxdd.device.profile import IMPLEMENTED
from idxdd.spec.codes import CompletionStatus, Flag, Opcode
from idxdd.spec.records import Descriptor

IMPOSSIBLE = {
    "op=noop do fault write": "write: noop writes nothing",
    "op=compare do fault write": "write: compare writes nothing",
    "op=memfill do fault read": "read: memfill reads nothing",
    "op=memmove do fault write operand=destination2": "write: memmove does not write destination2",
    "op=memmove do fault list": "list: memmove has no descriptor list",
    "op=batch do fault readback": "readback: batch has no readback",
    "op=batch do fault list at=100": "at: a descriptor list is read 64 bytes at a time: a multiple of 64",
    "op=memmove do fault record at=8": "at: `fault record` has no such value",
    "flags=!crav do fault record": "flags: without crav there is no completion record",
    "op=memmove,noop do fault read": "read: noop reads nothing",
    "op=memmove size=..4096 do fault read at=4096": "at: 4096 lies behind the end of every descriptor of size 4096",
    "op=memmove do status dif_err": "status: memmove cannot end with dif_err; add force to do it all the same",
    "do status 0x33": "status: every operation cannot end with 0x33; add force to do it all the same",
    "do status 0": "status: 0 means that a descriptor is not complete; `do drop` leaves it so",
    "do status dwq_full": "status: dwq_full is never in a record; `do swerr` reports it",
    "do status page_fault_nobof": "status: a page fault has a partial result: say `do fault read at=N`, or add force",
    "do status cra_xlat": "status: a completion record that cannot be written is `do fault record`, or add force",
    "do status priv_bad bytes=4": "bytes: priv_bad is never in a record",
    "do status dr_erange mask=0x1": "mask: belongs to status invalid_flags, not to dr_erange",
    "op=crcgen do corrupt": "corrupt: crcgen writes nothing",
    "do corrupt operand=completion_record at=32": "at: 32 lies behind the end of a completion record of 32 bytes",
    "do corrupt xor=0": "xor: 0 must be between 1 and 255",
    "op=noop do slow 1ms": "op: noop has no operand in memory",
    "do delay": "time: delay needs one: `do delay TIME`",
    "do delay 0s": "time: must be longer than 0",
    "do delay 11m": "time: '11m' must be a time as 10us, 1.5ms or 2s",
    "do delay 601s": "time: 601s must be 600s at most",
    "do interrupt late": "time: `interrupt late` needs one: `do interrupt late 5ms`",
    "do interrupt lost 5ms": "time: `interrupt lost` has none",
    "do interrupt lost vector=3": "vector: belongs to `interrupt spurious`; for those of vector 0 write vector=0 before `do`",
    "flags=!rci do interrupt lost": "flags: without rci there is no completion interrupt",
    "vector=0 op=memmove do interrupt lost": "op: an interrupt of vector 0 has none; with vector=0 only device and cause count",
    "vector=0 do drop": "vector: selects interrupts of vector 0: they can be lost or late",
    "cause=evl do interrupt lost": "cause: belongs to the interrupts of vector 0: say vector=0 too",
    "op=memmove do full": "op: a work queue that is full turns descriptors away unread; say wq, pid, uid or pasid",
    "op=drain member=2 do drop": "member: drain is never in a batch",
    "device=dsa1 wq=dsa0/wq0.1 do drop": "wq: dsa0/wq0.1 is not of device dsa1",
    "wq=dsa0/wq1.1 do drop": "wq: dsa0/wq1.1: dsa0 has no wq1.1; its work queues are dsa0/wq0.0 and so on",
    "wq=wq0.1 do drop": "wq: 'wq0.1' must be a work queue as dsa0/wq0.1",
    "when nth=1 first=2 do drop": "first: nth is said already; one of nth, every, first, chance",
    "when nth=3 times=2 do drop": "times: nth says how often already",
    "when seed=4 do drop": "seed: belongs to chance=",
    "when chance=0 do drop": "chance: '0' must be a probability as 0.01 or 1%, above 0 and at most 1",
    "when nth=0 do drop": "nth: 0 must be between 1 and 4294967295",
    "op=memove do drop": "op: 'memove' is no operation; did you mean memmove?",
    "opp=memmove do drop": "opp: is no field of `where`; did you mean op?",
    "flags=rcii do drop": "flags: 'rcii' is no flag; did you mean rci?",
    "size=9..4 do drop": "size: '9..4' must rise and end at 0xffffffff at most",
    "do fault": "access: fault needs one: `do fault ACCESS`",
    "do fault sideways": "access: 'sideways' is no access: one of read, write, record, list, readback",
    "do drop now": "drop: 'now' is too much",
    "do drop at=4": "at: drop has no such value",
    "do halt hard": "reset: 'hard' is no reset type: one of software, flr, warm, cold",
    "do hault flr": "hault: is no action; did you mean halt?",
    "do swerr success": "status: success is no error",
    "do swerr 0x40": "status: 0x40 is no error that the manual has",
    "op=memmove": "rule: no action: it ends in `do ACTION`, for example `do fault write at=4096`",
    "op=memmove when do drop": "when: says nothing: nth=, every=, first=, chance=, after= or times= follows it",
    "op=memmove op=noop do drop": "op: is said twice",
}


@pytest.mark.parametrize(("text", "line"), IMPOSSIBLE.items())
def test_what_cannot_be_is_refused_by_name(text: str, line: str) -> None:
    """A rule that could never strike would let a test pass that shows nothing: it is refused with the field and the reason."""
    with pytest.raises(BadRule) as refused:
        Rule.parse(text)
    assert str(refused.value) == line


def test_force_gives_any_status() -> None:
    """A client must survive even what the manual rules out; whoever wants that says so."""
    assert str(Rule.parse("op=memmove do status 0x9 force")) == "op=memmove do status dif_err force"
    assert Rule.parse("do status 0x33 force").what.status == 0x33


def test_every_operation_of_the_device_has_its_row() -> None:
    """An operation that the device learns must be known here, or rules without `op` would pass it over."""
    assert set(OPERATIONS) >= {int(opcode) for opcode in IMPLEMENTED}


def test_a_file_names_the_line() -> None:
    """With many rules the number of the line is what one looks for."""
    with pytest.raises(BadRule, match=r"^line 3: wq: "):
        parse_lines("# first\n\nwq=7 do drop\n")


def test_the_python_form_takes_what_python_has() -> None:
    """Codes, lists, ranges and seconds, not only words."""
    built = on(op=[Opcode.MEMMOVE, "noop"], flags=Flag.RCI | Flag.BOF, size=range(64, 4097), addr=(0x1000, 0x1FFF)).nth(2)
    assert (
        str(built.delay(0.0015)) == "op=noop,memmove flags=bof,rci addr=0x1000..0x1fff size=64..4096 when nth=2 do delay 1500us"
    )
    assert on(wq="dsa0/wq0.1").chance(0.25, seed=3).status(CompletionStatus.XFER_ERANGE) == Rule.parse(
        "wq=dsa0/wq0.1 when chance=25% seed=3 do status 0x13"
    )


# ---- counting -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("when", "hit"),
    [
        (When(), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (When(times=2), [1, 2]),
        (When(nth=3), [3]),
        (When(first=2), [1, 2]),
        (When(every=4), [4, 8]),
        (When(every=2, times=3), [2, 4, 6]),
    ],
)
def test_which_matches_are_hits(when: When, hit: list[int]) -> None:
    """Counting is the contract: the third is the third, and `hits left` says when it is over."""
    counted = Counted(when)
    assert [number for number in range(1, 10) if counted.strike()] == hit
    assert (counted.matches, counted.hits) == (9, len(hit))
    assert counted.left == (None if when.hits_max is None else when.hits_max - len(hit))


def test_chance_is_repeatable_and_about_right() -> None:
    """The same seed strikes the same matches; another one others; about as many as said."""
    struck = {seed: [n for n in range(1, 4001) if strikes(When(chance=0.25, seed=seed), n, 0)] for seed in (1, 2)}
    again = [n for n in range(1, 4001) if strikes(When(chance=0.25, seed=1), n, 0)]
    assert struck[1] == again
    assert struck[1] != struck[2]
    assert all(850 < len(numbers) < 1150 for numbers in struck.values()), "5 sigma"


# ---- matching -------------------------------------------------------------------------------------------------------------
MOVE = Descriptor.encode(
    flags=Flag.CRAV | Flag.RCR, opcode=Opcode.MEMMOVE, completion_addr=0x9000, operand1=0x1000, operand2=0x2000, xfer_size=8192
).pack()
AT = Point(MOVE, "dsa0/wq0.1", pid=42, uid=1000, pasid=3)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("op=memmove", None),
        ("op=noop", "op: memmove"),
        ("device=dsa0", None),
        ("device=dsa1", "device: dsa0"),
        ("wq=dsa0/wq0.0,dsa0/wq0.1", None),
        ("wq=dsa0/wq0.0", "wq: dsa0/wq0.1"),
        ("pid=42 uid=1000 pasid=3", None),
        ("pid=43", "pid: 42"),
        ("flags=crav,!rci", None),
        ("flags=rci", "flags: CRAV|RCR"),
        ("flags=!rcr", "flags: CRAV|RCR"),
        ("size=4096..8192", None),
        ("size=..8191", "size: 8192"),
        ("addr=0x2fff", None),
        ("addr=0x4000..0x8fff", "addr: completion_record 0x9000, source1 0x1000, destination1 0x2000"),
        ("addr=0x9010", None),
        ("member=none", None),
        ("member=0..3", "member: in no batch"),
    ],
)
def test_where(where: str, why: str | None) -> None:
    """Each field alone decides, and a dry run says which one it was."""
    assert mismatch(Rule.parse(f"{where} do drop"), AT) == why


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("fault write at=4096", "ends with 0x83 page_fault_nobof: write of destination1 at 0x3000"),
        ("fault read", "ends with 0x03 page_fault_nobof: read of source1 at 0x1000"),
        ("fault record", "its completion record at 0x9000 cannot be written: 0x1a in the event log or SWERR"),
        ("status xfer_erange bytes=5", "ends with 0x13 xfer_erange, bytes 5; nothing is carried out"),
        ("corrupt at=7 xor=0x1", "success; byte 7 of its destination1 xor 0x01"),
    ],
)
def test_what_a_hit_would_do(what: str, told: str) -> None:
    """A dry run tells status and address before anything is broken."""
    assert outcome(Rule.parse(f"do {what}"), AT) == told
    assert mismatch(Rule.parse(f"do {what}"), AT) is None


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("do fault write at=8192", "at: its destination1 has 8192 bytes"),
        ("do fault list", "op: `fault list` cannot happen to memmove"),
        ("do interrupt lost", "flags: it asks for no interrupt"),
        ("do halt flr", "do: it happens by itself, once, and not to a descriptor"),
        ("vector=0 do interrupt lost", "vector: the rule is about interrupts, not descriptors"),
    ],
)
def test_what_cannot_happen_to_it_is_no_match(rule: str, why: str) -> None:
    """A match that could do nothing would be counted, and the n-th would be another."""
    assert mismatch(Rule.parse(rule), AT) == why
