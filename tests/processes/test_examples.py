"""What a reader copies first must work as printed: every program of clients/examples, against one daemon."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import crc32c
import pytest
from ctl import live as live  # the fixture
from daemons import RunningDaemon

EXAMPLES = Path(__file__).parents[2] / "clients" / "examples"
PIECES = b"".join(i.to_bytes(8, "little") * 512 for i in range(8))
PYTHON = {
    "hello.py": f"hello {crc32c.crc32c(b'hello'):#x}\n",
    "callbacks.py": "100 callbacks, all bytes filled: True\n",
    "with_asyncio.py": ", ".join([f"{crc32c.crc32c(bytes(range(256)) * 256):08x}"] * 8) + "\n",
    "fast.py": None,
    "page_fault.py": "stopped after 8192 bytes: write fault\nstopped after 12288 bytes: write fault\nall bytes equal: True\n",
    "delta.py": "40 bytes sent instead of 65536, replica equal: True\n",
    "protection.py": "8 blocks came back equal: True\nblock 3: guard wrong\n",
    "batch.py": f"9 members done, crc {crc32c.crc32c(PIECES):#010x}\n"
    "status 0x05 BATCH_FAIL, 1 processed, member 0: memfill status 0x13 XFER_ERANGE\n",
}
"""What each prints; None: numbers of its own."""
ELSEWHERE = {"demo.py", "careless.py"}
"""Tested with its kills in test_client.py; and, since it crashes on purpose, in test_sweep.py."""


@pytest.mark.parametrize("name", PYTHON)
def test_python_examples_print_what_they_say(live: RunningDaemon, name: str) -> None:
    """One line of output would be enough to notice that the library has moved on."""
    environ = {**os.environ, "IDXDD_SOCKET": live.socket}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (PYTHON[name] or done.stdout)
    assert done.stdout


def test_every_example_is_tested() -> None:
    """A new one is added to the table above, or it rots."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PYTHON) | ELSEWHERE
    assert {path.name for path in EXAMPLES.glob("*.c")} == {"move.c", "checksum.c", "batch.c"}


# ---- C ---------------------------------------------------------------------------------------------------------------------
def installed(name: str) -> Iterator[Path]:
    """Where the package's C files lie: an editable install keeps them beside the binding, not beside the sources."""
    for folder in sys.path:
        found = Path(folder) / "idxdd" / "native" / name
        if found.exists():
            yield found


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C examples, built as a reader would: header, static library and nothing else."""
    compiler = which("cc") or which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = next(installed("lib/libidxdd.a"), None)
    assert library, "make installs libidxdd.a"
    folder = tmp_path_factory.mktemp("examples")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{library.parents[1] / 'include'}"]
    building = []
    for source in EXAMPLES.glob("*.c"):
        assert len(source.read_text().splitlines()) < 80
        command = [compiler, *flags, source, library, "-pthread", "-o", folder / source.stem]
        building.append(subprocess.Popen(command))
    assert [process.wait(60) for process in building] == [0] * len(building)
    return folder


def run(live: RunningDaemon, program: Path, *arguments: str, given: bytes | None = None) -> tuple[int, str, str]:
    environ = {**os.environ, "IDXDD_SOCKET": live.socket}
    done = subprocess.run([program, *arguments], env=environ, input=given, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("wq", ["dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.3"])
def test_move_works_on_every_kind_of_wq(live: RunningDaemon, programs: Path, wq: str) -> None:
    """On a kernel WQ it used to say "descriptors of a kernel WQ are reaped" and no more."""
    said = run(live, programs / "move", wq, "1000000")
    assert said == (0, f"{wq}: status 0x01, 1000000 bytes, identical\n", "")


@pytest.mark.parametrize("size", ["0", "4294967296", "12x", "-1"])
def test_move_says_what_a_size_is(live: RunningDaemon, programs: Path, size: str) -> None:
    """Size 0 used to end in a message about an allocation."""
    code, out, err = run(live, programs / "move", "dsa0/wq0.0", size)
    assert (code, out) == (2, "")
    assert err == f"move: {size} is not a size: 1 to 4294967295 bytes\n"


def test_checksum_and_batch_do_what_they_say(live: RunningDaemon, programs: Path, tmp_path: Path) -> None:
    """Ordinary memory of the process, and a fence."""
    content = os.urandom(700_001)
    (tmp_path / "f").write_bytes(content)
    crc = f"{crc32c.crc32c(content):08x}"
    assert run(live, programs / "checksum", str(tmp_path / "f")) == (0, f"{crc}  {tmp_path / 'f'}\n", "")
    assert run(live, programs / "checksum", given=content) == (0, f"{crc}  -\n", "")
    assert run(live, programs / "checksum", str(tmp_path / "none"))[0] == 1
    assert run(live, programs / "batch") == (0, "status 0x01, 3 of 3 done, equal\n", "")
