"""The operations in C, alone, under the sanitizers and between guard pages: nothing outside the named memory is touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "idxdd" / "native"
OPERATIONS = [
    "checks",
    "compare",
    "crc",
    "crc_folding",
    "crc_operations",
    "crc_portable",
    "fill",
    "move",
    "operations",
    "record",
    "rules",
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def build(program: str, out: Path, *options: str) -> Path:
    """The test program with the operations' sources and nothing else of the library; make needs the compiler too."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    assert compiler, "no C compiler"
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
    command += [*SANITIZERS, *options, f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    command += [str(NATIVE / "tests" / f"{program}.c"), *(str(NATIVE / "src" / f"{name}.c") for name in OPERATIONS)]
    subprocess.run([*command, "-o", str(out / program), "-pthread"], check=True, timeout=100)
    return out / program


def run(*command: str) -> str:
    """What the program printed; its failure, with its own words, is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(220)
def test_operations_agree_with_the_model_under_sanitizers(tmp_path: Path) -> None:
    """Bytes, progress, faults at every page, records and every check: a client must never reach memory it did not name."""
    program = build("test_operations", tmp_path)
    for seed in ("1", "20260101"):
        assert "cases passed" in run(str(program), seed)


@pytest.mark.timeout(220)
def test_fuzz_target_finds_nothing_in_a_short_run(tmp_path: Path) -> None:
    """The fuzz target builds without libFuzzer and really executes descriptors, so that `make fuzz` means something."""
    program = build("fuzz_operations", tmp_path, "-DIDXDD_FUZZ_MAIN")
    _seed, inputs, executed, faults = (int(word) for word in run(str(program), "3", "1").split() if word.isdigit())
    assert inputs > 100
    assert executed > inputs // 5
    assert faults > 0
