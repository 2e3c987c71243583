"""The stress program finds what it is there to find: wrong bytes, late writes, wrong answers, missing and doubled records."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from idxd_client import Buffer, CompletionStatus, Refused
from idxdctl.stress import parse_count
from idxdctl.stress_events import passing
from idxdctl.stress_growth import Growth, Held, names_of, quarters, slope
from idxdctl.stress_rounds import NOWHERE, PIECE_BYTES, Content, Counted, Round, WrongAnswer, crc32c
from idxdctl.stress_run import KINDS, Plan, unbalanced

SUCCESS = bytes((1,)) + bytes(31)


class Memory:
    """Gives buffers that no device knows."""

    def alloc(self, size: int) -> Buffer:
        return Buffer(size)


@pytest.fixture
def content() -> Iterator[Content]:
    made = Content(random.Random(1), Memory())  # type: ignore[arg-type]
    yield made
    made.close()


def carried_out(content: Content, turn: Round) -> list[bytes]:
    """As a device without fault does it: the records, and the destination written."""
    turn.prepare()
    view = memoryview(content.destination)
    records = []
    for piece in turn.pieces:
        record = bytearray(32 if piece.silent else SUCCESS)
        view[piece.at : piece.at + len(piece.written)] = piece.written
        if piece.crc is not None:
            record[16:20] = piece.crc.to_bytes(4, "little")
        if piece.differs_at is not None and piece.differs_at >= 0:
            record[1], record[4:8] = 1, piece.differs_at.to_bytes(4, "little")
        if piece.faults:
            record[0], record[8:16] = CompletionStatus.PAGE_FAULT_NOBOF, NOWHERE.to_bytes(8, "little")
        records.append(bytes(record))
    return records


def a_round(content: Content, operation: str, *, faults: bool = False) -> tuple[Round, int]:
    """One that has such a descriptor, and where."""
    for seed in range(1000):
        turn = Round(random.Random(seed), content, faults=faults, batches=True)
        for index, piece in enumerate(turn.pieces):
            if piece.operation == operation and (not faults or piece.faults):
                return turn, index
    raise AssertionError(operation)


def test_crc32c_is_the_known_one() -> None:
    """The check value of the CRC catalogue."""
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("seed", range(20))
def test_what_is_right_is_found_right(content: Content, seed: int) -> None:
    """Every descriptor of every round is counted once, as what it was to be."""
    turn = Round(random.Random(seed), content, faults=seed % 2 == 1, batches=True)
    counted = turn.check(carried_out(content, turn), closed=False)
    assert counted.succeeded + counted.faulted == turn.count
    assert counted.faulted == sum(piece.faults or piece.silent for piece in turn.pieces)


@pytest.mark.parametrize("operation", ["memmove", "fill", "copy_crc", "batch"])
@pytest.mark.parametrize("where", ["first", "last", "behind"])
def test_one_wrong_byte_is_found(content: Content, operation: str, where: str) -> None:
    """Also behind the piece, where nothing was to be written; so is a write that never came."""
    turn, index = a_round(content, operation)
    records = carried_out(content, turn)
    piece = turn.pieces[index]
    offset = {"first": 0, "last": len(piece.written) - 1, "behind": min(len(piece.written), PIECE_BYTES - 1)}[where]
    view = memoryview(content.destination)
    view[piece.at + offset] ^= 1
    with pytest.raises(WrongAnswer, match=f"byte {offset} of its piece"):
        turn.check(records, closed=False)
    carried_out(content, turn)
    turn.prepare()  # nothing was done, and everything said to be
    with pytest.raises(WrongAnswer):
        turn.check(records, closed=False)


def test_a_late_write_of_the_round_before_is_found(content: Content) -> None:
    """Two rounds take turns with other contents: a write that comes once more does not pass for the new one."""
    first, index = a_round(content, "memmove")
    second = next(turn for seed in range(99) if (turn := Round(random.Random(seed), content, faults=False)).count > index)
    records = carried_out(content, second)
    piece = first.pieces[index]
    memoryview(content.destination)[piece.at : piece.at + len(piece.written)] = piece.written
    with pytest.raises(WrongAnswer):
        second.check(records, closed=False)


@pytest.mark.parametrize(("operation", "at"), [("crc", 16), ("copy_crc", 16), ("compare", 1)])
def test_a_wrong_answer_is_found(content: Content, operation: str, at: int) -> None:
    """A CRC, or whether two sources differ."""
    turn, index = a_round(content, operation)
    records = carried_out(content, turn)
    spoiled = bytearray(records[index])
    spoiled[at] ^= 1
    records[index] = bytes(spoiled)
    with pytest.raises(WrongAnswer):
        turn.check(records, closed=False)


def test_records_that_are_missing_or_bad(content: Content) -> None:
    """A missing one is an abort only if the portal was closed; a bad status never is."""
    turn, index = a_round(content, "noop")
    records = carried_out(content, turn)
    records[index] = bytes(32)
    with pytest.raises(WrongAnswer, match="NONE"):
        turn.check(records, closed=False)
    assert turn.check(records, closed=True) == Counted(turn.count - 1, 0, 1)
    records[index] = bytes((0x10,)) + bytes(31)
    with pytest.raises(WrongAnswer):
        turn.check(records, closed=True)


def test_a_fault_must_be_the_one_that_was_asked_for(content: Content) -> None:
    """At its address, and not a success."""
    turn, index = a_round(content, "memmove", faults=True)
    records = carried_out(content, turn)
    for wrong in (SUCCESS, bytes((3,)) + bytes(31)):
        with pytest.raises(WrongAnswer):
            turn.check([wrong if at == index else record for at, record in enumerate(records)], closed=False)


def test_a_role_that_is_missing_is_no_passing_refusal() -> None:
    """A user's run with --halts must fail, not end well without one halt."""
    assert passing(Refused("ENXIO", "device: dsa0 is halted; only an enabled device halts"))
    assert not passing(Refused("EPERM", "op: halt needs the admin role, which uid 5 has not"))
    assert not passing(Refused("EINVAL", "reset_type: 'x' is none of software"))


# ---- accounts --------------------------------------------------------------------------------------------------------


def test_accepted_is_completed_and_aborted() -> None:
    """One that is queued is not lost yet."""
    wq: dict[str, Any] = {"accepted": 10, "completed": 7, "aborted": 2, "occupancy": 1}
    assert unbalanced(wq) == ""
    assert unbalanced(wq | {"aborted": 1}) == "10 accepted, 7 completed, 1 aborted, 1 queued"
    assert unbalanced(wq | {"completed": 9})


def test_the_command_repeats_the_plan() -> None:
    """Whatever was chosen is in it."""
    plan = Plan(32, 5_000_000, 0, 7, frozenset(KINDS), ("dsa0/wq0.1",), 2.0, 60.0, 0.5)
    assert plan.command() == (
        "idxdctl stress --clients 32 --seed 7 --every 2 --timeout 60 --rest 0.5 --descriptors 5000000 --kill-clients"
        " --kill-irq --revokes --halts --disable-wqs --faults --wq dsa0/wq0.1"
    )


@pytest.mark.parametrize(("text", "count"), [("5M", 5_000_000), ("100k", 100_000), ("7", 7)])
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "5G", "-1", "1.5M", "k"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="is not a count"):
        parse_count(text)


def test_growth_is_told_from_levelling_off() -> None:
    """Warming up does not count; the quarters and the line through all samples tell the rest."""
    grown = Growth(1, [Held(float(at), 1000 + at, 0, 5, 6) for at in range(100)])
    facts = grown.facts()
    assert facts["kib_per_hour"] == 3600
    assert facts["first"]["anonymous_kib"] == 1020
    assert facts["quarters_kib"] == sorted(facts["quarters_kib"])
    level = Growth(1, [Held(float(at), 1000 + min(at, 10), 0, 5, 6) for at in range(100)])
    assert level.facts()["kib_per_hour"] == 0
    assert "own memory KiB 1010 -> 1010" in level.line("idxdd")
    assert quarters([1, 2]) == []
    assert slope([(0, 0), (1, 2), (2, 4)]) == 2.0


def test_a_process_that_is_gone_and_names_of_nobody() -> None:
    """A zombie has no sizes, an instance that never was no names: neither is an error."""
    gone = Growth(2**22 - 1)
    gone.look(0.0)
    assert gone.facts() == {"pid": 2**22 - 1, "samples": 0}
    assert "not to be seen" in gone.line("idxdd-irq")
    assert names_of("no-such-instance-anywhere") == 0
