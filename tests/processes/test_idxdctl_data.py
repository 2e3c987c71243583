"""Every data verb of idxdctl on files, through a real device; results checked by programs that know nothing of it."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import crc32c
import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon
from waiting import wait_until

from idxdctl import pieces

PIECE = 8192
"""Of the pieces of these tests, so that small files have several."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Several pieces and a bit."""
    path = tmp_path / "source"
    path.write_bytes(random.Random(7).randbytes(5 * PIECE + 123))
    return path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- oracles -----------------------------------------------------------------------------------------------------------
def crc64_nvme(data: bytes) -> int:
    """Bit by bit, from the published polynomial."""
    value = (1 << 64) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return value ^ (1 << 64) - 1


def t10(data: bytes) -> int:
    """CRC-16/T10-DIF, bit by bit."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8BB7 if value & 0x8000 else 0)) & 0xFFFF
    return value


def protected(data: bytes, block: int, ref: int, app: int, *, fields_only: bool = False) -> bytes:
    """Blocks with their protection fields."""
    made = b""
    for number, at in enumerate(range(0, len(data), block)):
        part = data[at : at + block]
        made += (b"" if fields_only else part) + struct.pack(">HHI", t10(part), app, ref + number)
    return made


# ---- fill, compare, dualcast ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pattern", "size"), [("a5", 1), ("cafe", 3 * PIECE + 5), ("000102030405060708090a0b0c0d0e0f", 20_001)]
)
def test_fill_repeats_its_pattern_over_the_whole_file(ctl: Ctl, tmp_path: Path, pattern: str, size: int) -> None:
    """The device begins with pattern byte 0 in every descriptor: pieces must not show."""
    target = tmp_path / "filled"
    assert ctl("fill", target, "--size", size, "--pattern", pattern).code == 0
    raw = bytes.fromhex(pattern)
    assert target.read_bytes() == (raw * (size // len(raw) + 1))[:size]


@pytest.mark.parametrize("place", [0, PIECE - 1, PIECE, 5 * PIECE + 122])
def test_compare_finds_what_cmp_finds(ctl: Ctl, tmp_path: Path, source: Path, place: int) -> None:
    """The first difference, at the ends of a piece too; the exit code says it as well."""
    other = tmp_path / "other"
    changed = bytearray(source.read_bytes())
    changed[place] ^= 1
    other.write_bytes(changed)
    oracle = subprocess.run(["cmp", source, other], capture_output=True, text=True, check=False)
    done = ctl("compare", source, other)
    assert (done.code, oracle.returncode) == (1, 1)
    assert f"byte {place + 1}" in done.out
    assert f"byte {place + 1}" in oracle.stdout
    assert json.loads(ctl("compare", source, other, "--json").out)["offset"] == place


def test_compare_of_equal_and_of_shorter_files(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """A file that ends early differs, though every byte it has is equal."""
    twin, short = tmp_path / "twin", tmp_path / "short"
    twin.write_bytes(source.read_bytes())
    short.write_bytes(source.read_bytes()[:-7])
    assert ctl("compare", source, twin).code == 0
    done = ctl("compare", source, short)
    assert done.code == 1
    assert f"{short} ends after byte {short.stat().st_size}" in done.out
    (tmp_path / "empty").touch()
    assert ctl("compare", tmp_path / "empty", tmp_path / "empty").code == 0


@pytest.mark.parametrize("place", [0, 9, PIECE + 3, 2 * PIECE + 4])
def test_compare_with_a_pattern(ctl: Ctl, tmp_path: Path, place: int) -> None:
    """Compare Pattern promises no exact offset; the command does."""
    file = tmp_path / "pattern"
    content = bytearray((b"\x01\x02\x03\x04" * PIECE)[: 2 * PIECE + 5])
    file.write_bytes(content)
    assert ctl("compare", file, "--pattern", "01020304").code == 0
    content[place] ^= 0x80
    file.write_bytes(content)
    assert json.loads(ctl("compare", file, "--pattern", "01020304", "--json").out)["offset"] == place


def test_dualcast_writes_two_equal_files(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """Each checked by cmp."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert ctl("dualcast", source, first, second).code == 0
    for copy in (first, second):
        assert subprocess.run(["cmp", source, copy], check=False).returncode == 0


def test_mapped_files_are_translated_and_flushed(ctl: Ctl, source: Path) -> None:
    """The device reaches the mapping through the agent; nothing of the file changes."""
    before = source.read_bytes()
    assert ctl("translate", source).code == 0
    assert ctl("translate", source, "--stride", "8K").code == 0
    assert ctl("cflush", source).code == 0
    assert source.read_bytes() == before


# ---- CRC -----------------------------------------------------------------------------------------------------------------
def test_crcs_are_those_of_other_libraries(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """Over several pieces, each seeded with the one before; and for the well-known nine digits."""
    content = source.read_bytes()
    assert json.loads(ctl("crc", source, "--json").out)["crc32c"] == f"{crc32c.crc32c(content):08x}"
    assert json.loads(ctl("crc", source, "--kind", "crc64", "--json").out)["crc64"] == f"{crc64_nvme(content):016x}"
    (tmp_path / "check").write_bytes(b"123456789")
    assert ctl("crc", tmp_path / "check").out.split()[0] == "e3069283"
    assert ctl("crc", tmp_path / "check", "--kind", "crc64").out.split()[0] == "ae8b14860a799888"


def test_a_crc_goes_on_from_a_seed(ctl: Ctl, tmp_path: Path) -> None:
    """A result is a seed: two halves give what the whole gives, also where inversion is bypassed."""
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    content = random.Random(3).randbytes(5000)
    for path, part in ((whole, content), (first, content[:1234]), (second, content[1234:])):
        path.write_bytes(part)
    for flags in ([], ["--bypass-inversion"], ["--bypass-inversion", "--bypass-reflection"]):
        half = ctl("crc", first, *flags).out.split()[0]
        assert ctl("crc", second, "--seed", f"0x{half}", *flags).out.split()[0] == ctl("crc", whole, *flags).out.split()[0]


def test_copy_with_crc_copies_and_computes(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """One descriptor does both, so both are checked."""
    copied = tmp_path / "copied"
    done = ctl("crc", source, "--copy-to", copied)
    assert done.out.split()[0] == f"{crc32c.crc32c(source.read_bytes()):08x}"
    assert subprocess.run(["cmp", source, copied], check=False).returncode == 0


@pytest.mark.parametrize("block", [512, 520, 4096, 4104])
def test_t10_guards_of_each_block(ctl: Ctl, tmp_path: Path, block: int) -> None:
    """Against the polynomial, for each block size."""
    file = tmp_path / "blocks"
    file.write_bytes(random.Random(block).randbytes(3 * block))
    found = json.loads(ctl("crc", file, "--kind", "t10", "--block-size", block, "--json").out)["t10"]
    content = file.read_bytes()
    assert found == [f"{t10(content[at : at + block]):04x}" for at in range(0, len(content), block)]


# ---- DIF ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", [512, 4104])
def test_dif_files_are_those_of_plain_python(ctl: Ctl, tmp_path: Path, block: int) -> None:
    """Insert, check, update, strip, DIX: over several pieces, so tags must go on from one to the next."""
    blocks, with_fields, updated, stripped, fields = (tmp_path / name for name in ("a", "b", "c", "d", "e"))
    content = random.Random(block).randbytes(max(3 * PIECE // block, 3) * block)
    blocks.write_bytes(content)
    size, tags = ("--block-size", block), ("--ref-tag", "0x100", "--app-tag", 7)
    assert ctl("dif", "insert", blocks, with_fields, *size, *tags).code == 0
    assert with_fields.read_bytes() == protected(content, block, 0x100, 7)
    assert ctl("dif", "check", with_fields, *size, *tags).code == 0
    new = ("--new-ref-tag", 9, "--new-app-tag", 8)
    assert ctl("dif", "update", with_fields, updated, *size, *tags, *new).code == 0
    assert updated.read_bytes() == protected(content, block, 9, 8)
    assert ctl("dif", "strip", updated, stripped, *size, "--ref-tag", 9, "--app-tag", 8).code == 0
    assert stripped.read_bytes() == content
    assert ctl("dix", "generate", blocks, fields, *size, *tags).code == 0
    assert fields.read_bytes() == protected(content, block, 0x100, 7, fields_only=True)


def test_dif_errors_name_the_block_and_the_field(ctl: Ctl, tmp_path: Path) -> None:
    """What an operator needs: where, and which of the three; and no output file."""
    file, out = tmp_path / "blocks", tmp_path / "out"
    content = bytearray(protected(random.Random(1).randbytes(40 * 512), 512, 0, 0))
    content[30 * 520 + 5] ^= 1
    file.write_bytes(content)
    done = ctl("dif", "check", file)
    assert done.code == 1
    assert f"block 30 (offset {30 * 520}): guard wrong" in done.err
    assert ctl("dif", "strip", file, out).code == 1
    assert not out.exists()
    assert ctl("dif", "check", file, "--no-guard").code == 0
    assert "reference tag" in ctl("dif", "check", file, "--ref-tag", 1).err
    assert "application tag" in ctl("dif", "check", file, "--app-tag", 1).err


# ---- delta ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("longer", "changes"), [(0, 40), (-3000, 5), (2 * PIECE + 3, 0), (0, 0)])
def test_a_delta_makes_the_new_file_of_the_old(ctl: Ctl, tmp_path: Path, source: Path, longer: int, changes: int) -> None:
    """Changed, shortened, lengthened, equal; checked by cmp."""
    chance = random.Random(changes)
    content = bytearray(source.read_bytes())
    for _ in range(changes):
        content[chance.randrange(len(content))] ^= 0xFF
    content = content[:longer] if longer < 0 else content + chance.randbytes(longer)
    new, delta, made = (tmp_path / name for name in ("new", "delta", "made"))
    new.write_bytes(content)
    facts = json.loads(ctl("delta", "create", source, new, delta, "--json").out)
    old_groups, new_groups = (
        struct.unpack(f"<{max(len(content), 0) // 8}Q", data.ljust(len(content), b"\0")[: len(content) // 8 * 8])
        for data in (source.read_bytes()[: len(content)], bytes(content))
    )
    assert facts["changed_groups"] >= sum(a != b for a, b in zip(old_groups, new_groups, strict=True))
    assert ctl("delta", "apply", source, delta, made).code == 0
    assert subprocess.run(["cmp", new, made], check=False).returncode == 0


def test_a_delta_of_another_file_or_damaged_is_refused(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """Applied to the wrong file it would make garbage that looks like a file."""
    new, delta, made, other = (tmp_path / name for name in ("new", "delta", "made", "other"))
    content = bytearray(source.read_bytes())
    content[PIECE] ^= 1
    new.write_bytes(content)
    assert ctl("delta", "create", source, new, delta).code == 0
    other.write_bytes(content)
    assert "was not made from" in ctl("delta", "apply", other, delta, made).err
    good = delta.read_bytes()
    damages = [
        (b"x" + good[1:], "not a delta file"),
        (good[:-1], "are left"),
        (good + b"x", "behind the last piece"),
        (good[:8] + b"\x02" + good[9:], "version 2"),
        (good[:12] + b"\x02" + good[13:], "ends in piece"),
        (good[:40] + b"\x01" + good[41:], "whole groups"),
        (good[:46] + b"\x01" + good[47:], "lies outside"),
        (good[:52] + b"\x0b" + good[53:], "a record of 11 bytes"),
        (good[:-1] + bytes([good[-1] ^ 1]), "damaged"),
        (good[:31] + b"\xff" + good[32:], "no file has"),
        (good[:56] + b"\xff\xff" + good[58:], "DR_OFFSET_ERANGE"),
    ]
    before = files(tmp_path)
    for damaged, said in damages:
        delta.write_bytes(damaged)
        done = ctl("delta", "apply", source, delta, made)
        assert done.code != 0
        assert said in done.err, done.err
    assert files(tmp_path) == before, "no result, and nothing hidden"


# ---- batch ---------------------------------------------------------------------------------------------------------------
BATCH = """
# every member after the fence sees what came before
buffer a 8K from={source}
buffer b 8K to={target} fill=ff
memmove src=a dst=b size=4096
crc src=a+0x1000 size=100 flags=fence
compare src1=a src2=b size=4096 flags=fence
"""


def test_a_batch_file_is_carried_out(ctl: Ctl, tmp_path: Path) -> None:
    """Text and JSON are the same batch; outputs appear when all of it succeeded."""
    source, target, batch = (tmp_path / name for name in ("in", "out", "batch"))
    content = random.Random(8).randbytes(8192)
    source.write_bytes(content)
    batch.write_text(BATCH.format(source=source, target=target))
    found = json.loads(ctl("batch", batch, "--json").out)
    assert [one["outcome"] for one in found["descriptors"]] == [
        "status 0x01 SUCCESS",
        f"status 0x01 SUCCESS, crc {crc32c.crc32c(content[4096:4196]):#x}",
        "status 0x01 SUCCESS, equal",
    ]
    assert target.read_bytes() == content[:4096] + b"\xff" * 4096
    as_json = {
        "buffers": [{"name": "a", "size": "8K", "from": str(source)}, {"name": "b", "size": 8192}],
        "descriptors": [
            {"op": "memmove", "src": "a", "dst": "b", "size": 4096},
            {"op": "crc", "src": "b", "size": 4096, "flags": ["fence"]},
        ],
    }
    batch.write_text(json.dumps(as_json))
    found = json.loads(ctl("batch", batch, "--json").out)
    assert found["descriptors"][1]["crc"] == f"{crc32c.crc32c(content[:4096]):#x}"
    separately = json.loads(ctl("batch", batch, "--separately", "--json").out)
    assert [one["status"] for one in separately["descriptors"]] == ["0x01", "0x11"], "a fence is for a batch only"
    assert "memmove" in ctl("batch", batch, "--dry-run").out


def test_a_failed_member_is_shown_and_nothing_is_written(ctl: Ctl, tmp_path: Path) -> None:
    """What a fence abandoned is told apart from what failed."""
    batch, target = tmp_path / "batch", tmp_path / "out"
    batch.write_text(f"buffer b 4K to={target}\nmemmove src=b dst=b+100 size=0\nnoop\nnoop flags=fence\n")
    done = ctl("batch", batch)
    assert done.code == 1
    assert "XFER_ERANGE" in done.out
    assert "not carried out" in done.out
    assert not target.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no descriptors"),
        ("noop\nfrob src=1", ":2: no operation 'frob'"),
        ("buffer a", "write buffer NAME SIZE"),
        ("buffer a 1X", "'1X' is not a size"),
        ("buffer a 1\nbuffer a 1", "is there already"),
        ("buffer 1a 1", "no name of a buffer"),
        ("buffer a 1 too=x", "no key 'too'"),
        ("noop\nmemmove src=b dst=1 size=1", "no buffer 'b'"),
        ("noop\nmemmove src='", ":2: No closing quotation"),
        ("noop record=32\nnoop", "record and handle"),
        ("noop\nnoop x", "'x' is not NAME=VALUE"),
        ("{", "not JSON"),
        ('{"descriptor": []}', "unknown key 'descriptor'"),
        ('{"descriptors": {}}', "is not a list"),
        ('[1]', "descriptors[0]: is not an object"),
        ("noop", "takes 2 to"),
        ("[" * 100_000, "not JSON"),
        ('{"buffers": [{"name": "a", "size": 8, "from": 0}]}', "buffers[0]: from is not a string"),
        ('[{"op": "noop", "flags": null}, {"op": "noop"}]', "descriptors[0]: flags: None is neither"),
        ('[{"op": "noop", "flags": [1, []]}, {"op": "noop"}]', "no flag '[]'"),
        ('[{"op": "noop", "xfer_size": {}}]', "xfer_size: '{}' is not a number"),
    ],
)  # fmt: skip
def test_bad_batch_files_are_one_line(ctl: Ctl, tmp_path: Path, text: str, said: str) -> None:
    """Line or entry, and rule."""
    batch = tmp_path / "batch"
    batch.write_text(text)
    done = ctl("batch", batch)
    assert done.code != 0
    assert said in done.err
    assert len(done.err.splitlines()) == 1


# ---- limits and ends -------------------------------------------------------------------------------------------------------
def test_bad_arguments_are_refused_before_anything_happens(ctl: Ctl, tmp_path: Path, source: Path) -> None:
    """One line that names it, exit code 2, nothing written."""
    odd = tmp_path / "odd"
    odd.write_bytes(bytes(513))
    out = tmp_path / "out"
    before = files(tmp_path)
    for arguments, said in [
        (("fill", out, "--size", 5, "--pattern", "abc"), "not hexadecimal"),
        (("fill", out, "--size", 5, "--pattern", "aabbcc"), "a pattern has one of"),
        (("fill", "/dev/null", "--size", 5), "not a regular file"),
        (("compare", source), "give a second file"),
        (("compare", source, "--pattern", "00" * 16), "a pattern has one of"),
        (("compare", source, tmp_path / "none"), "No such file"),
        (("dualcast", source, out, out), "same file"),
        (("dualcast", source, source, out), "same file"),
        (("delta", "create", source, source, source), "same file"),
        (("dif", "insert", odd, out), "no whole number of blocks of 512"),
        (("dif", "insert", source, out, "--block-size", 100), "512, 520, 4096, 4104"),
        (("dif", "check", odd, "--app-tag", "0x10000"), "more than 16 bits"),
        (("crc", source, "--kind", "crc16"), "there is crc32c, crc64, t10"),
        (("crc", source, "--seed", "0x100000000"), "more than 32 bits"),
        (("crc", odd, "--kind", "t10"), "no whole number"),
        (("crc", odd, "--kind", "t10", "--seed", 1), "--block-size alone"),
        (("translate", "/dev/null"), "not a regular file"),
    ]:
        done = ctl(*arguments)
        assert done.code == 2, arguments
        assert said in done.err.replace("\n", " "), done.err
    assert files(tmp_path) == before


def test_pieces_keep_to_the_wqs_largest_transfer(ctl: Ctl, fresh: RunningDaemon, tmp_path: Path, source: Path) -> None:
    """A WQ that moves 4 KiB at most serves every verb, or says what it is too small for."""
    assert ctl("disable-wq", "dsa0/wq0.1").code == 0
    assert ctl("config-wq", "dsa0/wq0.1", "-x", 4096).code == 0
    assert ctl("enable-wq", "dsa0/wq0.1").code == 0
    new, delta, made = (tmp_path / name for name in ("new", "delta", "made"))
    new.write_bytes(source.read_bytes()[::-1])
    assert ctl("delta", "create", source, new, delta).code == 0
    assert ctl("delta", "apply", source, delta, made).code == 0
    assert made.read_bytes() == new.read_bytes()
    assert ctl("crc", source).out.split()[0] == f"{crc32c.crc32c(source.read_bytes()):08x}"
    blocks = tmp_path / "blocks"
    blocks.write_bytes(bytes(4104))
    done = ctl("dif", "insert", blocks, made, "--block-size", 4104)
    assert "4104 are needed" in done.err
    assert "max-transfer-size" in done.err


def test_a_killed_command_leaves_nothing(live: RunningDaemon, tmp_path: Path) -> None:
    """A killed copy used to leave its hidden partial file."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(2 << 30)  # sparse: enough to be caught at work
    environ = {**os.environ, "IDXDD_SOCKET": live.socket}
    for arguments in (["copy", source, target, "--procs", "2", "--chunk", "64K"], ["dualcast", source, target, f"{target}2"]):
        command = [sys.executable, "-m", "idxdctl.main", *map(str, arguments)]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        completed = pairwise(iter(lambda: sum(wq["completed"] for wq in stats(live)["wqs"]), None))
        wait_until(lambda: (lambda pair: pair[1] > pair[0])(next(completed)), 20, "it is at work")  # noqa: B023
        assert process.poll() is None, "it was to be killed at work"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        wait_until(lambda: not stats(live)["clients"][1:], 20, "its client processes have ended")
        assert files(tmp_path) == {"source"}


def stats(daemon: RunningDaemon) -> dict[str, list[dict[str, int]]]:
    with daemon.connect() as client:
        return client.request("stats")[0]
