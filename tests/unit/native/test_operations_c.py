"""The operations in C, alone, under the sanitizers and between guard pages: nothing outside the named memory is touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.xdist_group("operations_c"), pytest.mark.timeout(220)]  # the objects are built once

NATIVE = Path(__file__).parents[3] / "idxdd" / "native"
OPERATIONS = [
    "cache_flush",
    "checks",
    "compare",
    "crc",
    "crc16",
    "crc16_folding",
    "crc_folding",
    "crc_operations",
    "crc_portable",
    "delta",
    "dif",
    "dualcast",
    "fill",
    "move",
    "operands",
    "operations",
    "record",
    "rules",
    "translation_fetch",
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def compile_c(out: Path, *arguments: str) -> None:
    """One call of the compiler, under the sanitizers; make needs the compiler too, so it must be there."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    assert compiler, "no C compiler"
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
    command += [*SANITIZERS, f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    subprocess.run([*command, *arguments], check=True, timeout=100, cwd=out)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The operations' object files, and nothing else of the library."""
    out = tmp_path_factory.mktemp("operations")
    compile_c(out, "-c", *(str(NATIVE / "src" / f"{name}.c") for name in OPERATIONS))
    return [str(out / f"{name}.o") for name in OPERATIONS]


def build(program: str, out: Path, objects: list[str], *options: str) -> str:
    """The test program, linked with the operations."""
    compile_c(out, *options, str(NATIVE / "tests" / f"{program}.c"), *objects, "-o", str(out / program), "-pthread")
    return str(out / program)


def run(*command: str) -> str:
    """What the program printed; its failure, with its own words, is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_operations_agree_with_the_model_under_sanitizers(tmp_path: Path, objects: list[str]) -> None:
    """Bytes, progress and faults at every page: a client must never reach memory it did not name."""
    program = build("test_operations", tmp_path, objects)
    for seed in ("1", "20260101"):
        assert "cases passed" in run(program, seed)


def test_checks_and_records_under_sanitizers(tmp_path: Path, objects: list[str]) -> None:
    """One rule broken at a time gets its own status and flag mask; the record says what its status allows."""
    assert "cases passed" in run(build("test_checks", tmp_path, objects))


def test_fuzz_target_finds_nothing_in_a_short_run(tmp_path: Path, objects: list[str]) -> None:
    """The fuzz target builds without libFuzzer and really executes descriptors, so that `make fuzz` means something."""
    program = build("fuzz_operations", tmp_path, objects, "-DIDXDD_FUZZ_MAIN")
    _seed, inputs, executed, faults = (int(word) for word in run(program, "3", "1").split() if word.isdigit())
    assert inputs > 100
    assert executed > inputs // 5
    assert faults > 0
