"""Ordered words and their layout: everything Python knows of shared memory goes through them."""

import ctypes
import mmap
import os
import re
import signal
from pathlib import Path

import pytest
from child import Child

import idxdd.native as native
from idxdd.native import LAYOUT, NativeError, Words

INCLUDE = Path(native.__file__).parent / "include" / "idxdd"
SHM_H = INCLUDE / "shm.h"
PACKED = {"rule": INCLUDE / "inject.h", "trace_record": INCLUDE / "trace.h"}
"""Structs that are no shared memory, but are packed or read in Python."""


@pytest.fixture
def words():
    return Words(bytearray(64))


def test_a_word_reads_back_what_was_stored(words):
    """Both widths, both ends of the range, little-endian as the C side has it."""
    words.store64(0, 0xFFFF_FFFF_FFFF_FFFF)
    words.store64(8, 0x1122_3344_5566_7788)
    words.store32(60, 0xFFFF_FFFF)
    assert words.load64(0) == 0xFFFF_FFFF_FFFF_FFFF
    assert (words.load32(8), words.load32(12)) == (0x5566_7788, 0x1122_3344)
    assert words.load32(60) == 0xFFFF_FFFF
    assert words.exchange32(60, 7) == 0xFFFF_FFFF
    assert words.load32(60) == 7


@pytest.mark.parametrize("offset", [-1, -8, 57, 60, 64, 1 << 62, -(1 << 62), 1 << 80])
def test_outside_the_buffer_is_an_index_error(words, offset):
    """A wrong offset must never become a wild access."""
    with pytest.raises(IndexError):
        words.load64(offset)
    with pytest.raises(IndexError):
        words.store64(offset, 0)


def test_unaligned_words_are_refused(words):
    """An unaligned store is not atomic."""
    for call in (lambda: words.load64(4), lambda: words.load32(2), lambda: words.store32(1, 0), lambda: words.exchange32(3, 0)):
        with pytest.raises(ValueError, match="not aligned"):
            call()
    base = Words(memoryview(bytearray(64))[1:])
    with pytest.raises(ValueError, match="not aligned"):
        base.load64(0)


@pytest.mark.parametrize(("call", "value"), [("store32", 1 << 32), ("store64", 1 << 64), ("exchange32", -1), ("store64", -1)])
def test_a_value_that_does_not_fit_is_refused_and_nothing_stored(words, call, value):
    """Silent truncation would publish a wrong index."""
    with pytest.raises(OverflowError):
        getattr(words, call)(0, value)
    assert words.load64(0) == 0


def test_words_take_numbers_only(words):
    """Floats and missing arguments are mistakes of ours."""
    for call in (lambda: words.store64(0, 1.5), lambda: words.store64(0), lambda: words.load64("0"), lambda: Words(3)):
        with pytest.raises(TypeError):
            call()


def test_read_only_buffers_are_read_only():
    """A store through a read-only mapping would be a SIGSEGV."""
    words = Words(bytes(16))
    assert words.load64(8) == 0
    for call in ("store32", "store64", "exchange32"):
        with pytest.raises(TypeError, match="read-only"):
            getattr(words, call)(0, 1)


def test_released_words_hold_nothing():
    """Quiesce, then unmap: a mapping can be closed only when its words were released."""
    with mmap.mmap(-1, 4096) as window:
        words = Words(window)
        with pytest.raises(BufferError):
            window.close()
        words.release()
        words.release()
        with pytest.raises(ValueError, match="released"):
            words.load32(0)
        with pytest.raises(ValueError, match="released"):
            words.store32(0, 1)


def members(header: str) -> dict[str, set[str]]:
    """Struct name → members, read from the header's text without its help."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    found: dict[str, set[str]] = {}
    pending = [text]
    while pending:
        for match in re.finditer(r"struct (idxdd_\w+) \{((?:[^{}]|\{[^{}]*\})*)\}", pending.pop()):
            body = match[2]
            pending.append(body)
            body = re.sub(r"struct \w+ \{[^{}]*\}", "struct nested", body)
            body = re.sub(r"_Alignas\(\d+\)", "", body)
            names: set[str] = set()
            for line in filter(None, (part.strip() for part in body.split(";"))):
                names.update(re.search(r"(\w+)\s*(?:\[\w+\]\s*)*$", part)[1] for part in line.split(","))
            found[match[1].removeprefix("idxdd_")] = names
    return found


def test_layout_knows_every_member_of_the_header():
    """A member that LAYOUT lacks would be hard-coded somewhere in Python."""
    structs = members(SHM_H.read_text()) | {name: members(path.read_text())[name] for name, path in PACKED.items()}
    assert {"portal_client", "portal_device", "channel", "published_wq", "posted_write", "mmio"} <= structs.keys()
    expected = set(structs) | {f"{struct}.{member}" for struct, names in structs.items() for member in names}
    assert expected <= LAYOUT.keys()
    assert {key for key in LAYOUT if "." in key and not key.endswith("[]")} <= expected


def test_layout_knows_every_constant_of_the_header():
    """#defines and enumerators with their values."""
    text = re.sub(r"/\*.*?\*/", "", SHM_H.read_text(), flags=re.DOTALL)
    numbers = dict(re.findall(r"IDXDD_(\w+) = (\d+)", text)) | dict(re.findall(r"#define IDXDD_(\w+) (\d+)u?\n", text))
    assert len(numbers) > 15
    for name, value in numbers.items():
        assert LAYOUT[name.lower()] == int(value), name
    assert LAYOUT["wqs_max"] == LAYOUT["devices_max"] * LAYOUT["wqs_per_device_max"]
    assert LAYOUT["never"] == 2**64 - 1


def test_words_of_different_writers_share_no_line():
    """The header's promise; a shared line would make every grant fight with every statistic."""
    for one, other in [
        ("portal_client.tail", "portal_client.wake_at"),
        ("portal_client.want", "portal_client.in_submit"),
        ("portal_device.closed", "portal_device.fenced"),
        ("published_device.asleep", "published_device.clients"),
        ("mmio.tail", "mmio.applied"),
        ("mmio.applied", "mmio.loop_asleep"),
        ("mmio.loop_asleep", "mmio.pending"),
    ]:
        assert LAYOUT[one] // LAYOUT["line"] != LAYOUT[other] // LAYOUT["line"], (one, other)


def test_fixed_maps_show_the_file_or_a_copy_of_it():
    """After a fork the child keeps its buffers' addresses, and its stores must no longer reach the device."""
    fd = os.memfd_create("fixed", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, 8192)
        address = native.map_shared(fd, 8192, True)
        window = native.view(address, 8192, True)
        window[0:4] = b"file"
        native.map_fixed_private(fd, address, 8192)
        assert bytes(window[0:4]) == b"file"
        window[0:4] = b"mine"
        assert os.pread(fd, 4, 0) == b"file"
        native.map_fixed_shared(fd, address, 8192)
        assert bytes(window[0:4]) == b"file"
        window[4096:4100] = b"both"
        assert os.pread(fd, 4, 4096) == b"both"
        read_only = native.view(address, 8192, False)
        assert read_only.readonly
        window.release()
        read_only.release()
        native.unmap(address, 8192)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "call",
    [
        lambda: native.map_shared(-1, 4096, True),
        lambda: native.map_shared(0, 0, True),
        lambda: native.map_fixed_shared(-1, 0, 4096),
        lambda: native.map_fixed_private(-1, 4097, 4096),
        lambda: native.unmap(1, 4096),
        lambda: native.unmap(4096, 0),
        lambda: native.view(0, 16, False),
        lambda: native.dont_fork(bytearray(100)),
        lambda: native.set_parent_death_signal(-1),
        lambda: native.set_parent_death_signal(1000),
    ],
)
def test_impossible_mappings_are_named_errors(call):
    """Address 0, no size, no file: the binding answers, it does not crash."""
    with pytest.raises(NativeError) as caught:
        call()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno > 0


def test_a_forked_child_does_not_have_dont_fork_pages():
    """A portal belongs to one process: the child that touches it anyway dies of it, alone."""
    program = """
import mmap, os, signal
import idxdd.native as native
kept, taken = mmap.mmap(-1, 4096), mmap.mmap(-1, 4096)
native.dont_fork(taken)
for window in (kept, taken):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        window[0]
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
print(taken[0], flush=True)
"""
    with Child(program) as child:
        assert [int(child.line()) for _ in range(3)] == [0, -signal.SIGSEGV, 0]
        assert child.finish() == 0


def test_parent_death_signal_reaches_the_child(wait_until):
    """idxdd-irq must not outlive idxdd."""
    program = """
import os, signal, sys
import idxdd.native as native
ready, tell = os.pipe()
pid = os.fork()
if pid == 0:
    native.set_parent_death_signal(signal.SIGKILL)
    os.write(tell, b"x")
    signal.pause()
os.read(ready, 1)
print(pid, flush=True)
signal.pause()
"""
    with Child(program) as child:
        orphan = int(child.line())
        assert Path(f"/proc/{orphan}").exists()
        child.kill()
        wait_until(lambda: not alive(orphan), 5)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_layout_offsets_are_what_c_writes():
    """A store through ctypes at the documented place is what Words reads: no hidden base."""
    raw = bytearray(LAYOUT["mmio"])
    ctypes.c_uint64.from_buffer(raw, LAYOUT["mmio.applied"]).value = 42
    assert Words(raw).load64(LAYOUT["mmio.applied"]) == 42
