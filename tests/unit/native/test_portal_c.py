"""The C side of portals and channels, alone: closes in the middle of a submission, wake-ups and threads, under sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "idxdd" / "native"
SOURCES = ["channel", "mp", "owner", "portal", "serve", "wait"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_portal_and_channel(tmp_path: Path, sanitizer: str) -> None:
    """Order between threads is what this code is about: a race that the data does not show, the sanitizer does."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    assert compiler, "no C compiler"
    program = tmp_path / "test_portal"
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
    command += [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    command += [str(NATIVE / "tests" / "test_portal.c"), *(str(NATIVE / "src" / f"{name}.c") for name in SOURCES)]
    subprocess.run([*command, "-o", str(program), "-pthread"], check=True, timeout=100)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["ok"]), done.stdout + done.stderr
