"""explain: which rule refuses a descriptor, what a record means; by the reference model, without a daemon."""

import json
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idxd_client.errors import ExitCode
from idxdctl import fields, statuses
from idxdctl.explain import Holes, answer_of
from idxdctl.main import main
from idxdctl.output import Failed
from idxdd.device import profilefile
from idxdd.spec.codes import CompletionStatus, Opcode
from idxdd.spec.records import VIEWS, view
from idxdd.testing import wq_limits

LIMITS = wq_limits.of_profile(profilefile.load("dsa2"))
Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    """(exit code, stdout, stderr) of `idxdctl explain ...`."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["idxdctl", "explain", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


REFUSED = [
    ("op=noop record=0x1008", 1, "0x1b"),
    ("op=0x0b", 5, "0x10"),
    ("op=memmove src=0x1000 dst=0x9000 size=64 flags=cr", 6, "0x11"),
    ("op=compare src1=0x1000 src2=0x9000 size=64 op_specific=" + "00" * 23 + "01", 7, "0x12"),
    ("op=memmove src=0x1000 dst=0x9000 size=0", 9, "0x13"),
    ("op=memmove src=0x1000 dst=0x9000000 size=4M", 9, "0x13"),
    ("op=batch list=0x1000 count=1", 10, "0x14"),
    ("op=create_delta src=0x1000 src2=0x9000 size=64 delta=0x20000 max_delta_size=79", 11, "0x15"),
    ("op=batch list=0x1010 count=2", 12, "0x18"),
    ("op=create_delta src=0x1001 src2=0x9000 size=64 delta=0x20000 max_delta_size=80", 13, "0x1c"),
    ("op=dualcast src=0x1000 dst1=0x9000 dst2=0x20010 size=64", 14, "0x17"),
    ("op=copy_crc src=0x1000 dst=0x1010 size=64", 15, "0x16"),
    ("op=noop flags=rci handle=3", 16, "0x19"),
]


@pytest.mark.parametrize(("words", "check", "status"), REFUSED, ids=[f"check{row[1]}-{row[2]}" for row in REFUSED])
def test_the_rule_that_refuses_is_named(explain: Explain, words: str, check: int, status: str) -> None:
    """The reason people ask: a status byte alone does not say which of a dozen rules it was."""
    if "op_specific" in words:
        pytest.importorskip("idxdctl.fields")
        raw = bytearray(fields.build({"op": "compare", "src1": 0x1000, "src2": 0x9000, "size": 64, "record": 0x40}).pack())
        raw[4] |= 0x0C
        raw[63] = 1
        words = raw.hex()
    code, out, _ = explain(*words.split(), "--json")
    answer = json.loads(out)["answer"]
    assert code == 0
    assert (answer["accepted"], answer["check"], answer["status"]) == (False, check, status), answer
    assert answer["fix"]
    assert answer["rule"]


def test_what_is_accepted_says_how_it_may_end(explain: Explain) -> None:
    """No promise about memory that the model cannot see."""
    code, out, err = explain("op=compare", "src1=0x1000", "src2=0x2000", "size=64", "flags=cr|bof", "expect=1")
    assert code == 0
    assert "every check passes" in out
    for end in ("0x01", "0x02 SUCCESS_PRED", "0x04 PAGE_FAULT_IR"):
        assert end in out
    assert "is assumed" in err


def test_the_profile_and_the_wq_decide(explain: Explain) -> None:
    """The same descriptor is right on one device and wrong on another."""
    words = ("op=fill", "dst=0x1000", "size=64", "flags=pattern16")
    assert "every check passes" in explain(*words)[1]
    assert "0x11 INVALID_FLAGS" in explain(*words, "--profile", "dsa1")[1]
    bof = ("op=fill", "dst=0x1000", "size=64", "flags=bof")
    assert "every check passes" in explain(*bof)[1]
    assert "not allowed here: BOF" in explain(*bof, "--no-bof")[1]
    assert "0x10 BAD_OPCODE" in explain("op=drain", "--in-batch")[1]
    assert "every check passes" in explain("op=fill", "dst=0x1000", "size=4M", "--max-transfer", "4M")[1]
    code, _, err = explain("op=noop", "--profile", "dsa9")
    assert code == ExitCode.USAGE
    assert "dsa2" in err


def test_a_missing_page_gives_the_record_and_the_rest(explain: Explain) -> None:
    """What to submit next is the part that programs get wrong."""
    words = ["op=memmove", "src=0x1000", "dst=0x9000", "size=16K", "--unmapped", "0xb000", "--json"]
    answer = json.loads(explain(*words)[1])["answer"]
    record = answer["record"]
    assert (answer["status"], record["bytes_completed"], record["fault_address"]) == ("0x03", 8192, "0xb000")
    assert (record["access"], record["operand"]) == ("write", "destination1")
    rest = view(bytes.fromhex(record["continuation"]))
    assert (rest.src_addr, rest.dst_addr, rest.xfer_size) == (0x3000, 0xB000, 8192)  # type: ignore[attr-defined]
    readable = ["op=memmove", "src=0x1000", "dst=0x9000", "size=16K", "--read-only", "0x1000+4K", "--json"]
    assert json.loads(explain(*readable)[1])["answer"]["accepted"], "a source may be read-only"


def test_a_record_is_decoded_with_its_descriptor_or_without(explain: Explain) -> None:
    """A dump of a core file has both; a log line often only the record."""
    raw = "1100000000000000000000000000000040000000000000000000000000000000"
    out = explain("--record", raw)[1]
    assert "status 0x11 INVALID_FLAGS" in out
    assert "bit6" in out
    out = explain("op=crc", "src=0x1000", "size=9", "--record", "01" + "00" * 15 + "839206e3" + "00" * 12)[1]
    assert "crc 0xe3069283" in out
    damaged = explain("op=memmove", "src=0x1000", "dst=0x9000", "size=64", "--record", "03" + "ff" * 31)[1]
    assert "go on" not in damaged, "a record that does not fit its descriptor has no continuation"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to explain"),
        (("op=bla",), "no operation 'bla'"),
        (("op=memmov",), "did you mean memmove"),
        (("op=memmove", "srx=1"), "no field 'srx'"),
        (("op=memmove", "src=x"), "src_addr: 'x' is not a number"),
        (("op=memmove", "src=1", "src=2"), "src is given twice"),
        (("op=memmove", "size=5G"), "xfer_size"),
        (("op=memmove", "flags=foo"), "no flag 'foo'"),
        (("op=memmove", "flags=0x1000000"), "there are 24"),
        (("op=300",), "8 bits"),
        (("src=1",), "no operation"),
        (("zz" * 64,), "not hexadecimal"),
        (("00" * 63,), "has 64 bytes, not 63"),
        (("--record", "00"), "has 32 bytes, not 1"),
        (("--status", "0x100"), "is no status"),
        (("op=noop", "--unmapped", "there"), "is not ADDR"),
        (("op=noop", "--unmapped", "1+x"), "is not ADDR"),
    ],
)
def test_bad_input_is_one_line_that_names_it(explain: Explain, arguments: tuple[str, ...], said: str) -> None:
    """A tool that explains errors must not have errors that need explaining."""
    code, out, err = explain(*arguments)
    assert code == ExitCode.USAGE
    assert said in err.replace("\n", " ")
    assert out == ""


def test_every_status_is_explained(explain: Explain) -> None:
    """A status that is not in the table would be the one somebody meets."""
    for status in CompletionStatus:
        told = statuses.told(int(status))
        assert told.meaning != statuses.told(0x3F).meaning, status
        assert told.where
    assert "a write" in explain("--status", "0x83")[1]
    assert "a write" not in explain("--status", "0x81")[1], "bit 7 means something for five statuses only"
    assert "SUCCESS" in explain("--status", "0x81")[1]
    assert "reserved" in explain("--status", "0x3f")[1]
    assert "DWQ_FULL" in explain("--status", "0x53")[1]
    assert "COMP_DESC_ABORT" in explain("--status", "0xff")[1]


def test_the_checks_are_printed_in_their_order(explain: Explain) -> None:
    """The table is the manual that a newcomer has not."""
    out = explain("--checks", "--json")[1]
    rows = json.loads(out)["checks"]
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["fix"] and row["rule"] and row["where"] for row in rows)


@pytest.mark.parametrize("opcode", sorted(VIEWS))
def test_hex_and_fields_are_the_same_descriptor(opcode: Opcode) -> None:
    """Whatever explain prints can be given back to it, for every operation."""
    raw = bytes(range(1, 8)) + bytes([opcode]) + bytes(range(9, 65))
    decoded = fields.as_descriptor(raw)
    given = {name: value for name, value in decoded.values().items() if not isinstance(value, bytes)}
    rebuilt = fields.build({"op": f"{int(opcode):#x}"} | {k: int(v) for k, v in given.items() if k != "opcode"})  # type: ignore[call-overload]
    for name in given:
        assert getattr(rebuilt, name) == given[name]


@given(raw=st.binary(min_size=60, max_size=60), opcode=st.sampled_from(sorted(VIEWS)), size=st.integers(0, 1 << 14))
@settings(max_examples=100, deadline=None)
def test_any_descriptor_has_an_answer(raw: bytes, opcode: int, size: int) -> None:
    """People ask about descriptors that are wrong in ways nobody thought of; an exception is no answer."""
    desc = bytearray(raw[:32]) + size.to_bytes(4, "little") + raw[32:60]
    desc[7] = opcode
    for flags in (0x0C, int.from_bytes(desc[4:7], "little")):
        desc[4:7] = flags.to_bytes(3, "little")
        for aligned in (False, True):
            if aligned:
                desc[8] &= 0xE0
            asked = fields.as_descriptor(bytes(desc))
            for holes in (Holes([], []), Holes([(0, (1 << 52) - 1)], []), Holes([], [(0, (1 << 52) - 1)])):
                found = answer_of(asked, LIMITS, holes, in_batch=False)
                assert found["accepted"] or found["rule"]


def test_flags_are_named_by_operation() -> None:
    """Bits 23:16 have another name in each operation."""
    assert fields.parse_flags("bof|crc_seed_addr|size64|bit6", Opcode.CRCGEN) == 1 << 1 | 1 << 16 | 1 << 19 | 1 << 6
    assert fields.flag_names(1 << 18, Opcode.MEMFILL) == ["FILL_PATTERN16"]
    assert fields.flag_names(1 << 18 | 1 << 20, Opcode.CRCGEN) == ["CRC_BYPASS_REFLECTION", "bit20"]
    assert fields.parse_flags(["bof", "fence"], Opcode.NOOP) == 3
    assert fields.parse_flags(12, Opcode.NOOP) == 12
    with pytest.raises(Failed, match="no flag 'size64'"):
        fields.parse_flags("size64", Opcode.MEMMOVE)
