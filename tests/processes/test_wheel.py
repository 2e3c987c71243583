"""The wheel, as somebody gets it who has never seen the sources: it imports, and C programs build against what it installs."""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from daemons import RunningDaemon

ROOT = Path(__file__).parents[2]
DEPENDENCIES = Path(msgpack.__file__).parents[1]
EXAMPLE = ROOT / "clients" / "examples" / "move.c"

IMPORTS = """
import importlib, pathlib, sys
target = pathlib.Path(sys.argv[1]).resolve()
packages = ["idxdd", "idxdd.native._native", "idxdd.service.daemon", "idxdd.service.irq_main", "idxd_client", "idxdctl.main"]
for name in packages:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).resolve().is_relative_to(target), (name, module.__file__)
from idxdd import native
assert native.crc32c(b"123456789") == 0xE3069283
print("imported")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built beside the editable install's objects and unpacked somewhere else."""
    place = tmp_path_factory.mktemp("wheel")
    with (Path(sys.prefix) / ".lock").open("a") as lock:  # the Makefile's: nobody else builds in this tree meanwhile
        fcntl.flock(lock, fcntl.LOCK_EX)
        pip("wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", place / "dist")
    (wheel,) = (place / "dist").glob("idxdd-*.whl")
    pip("install", "--no-deps", "--target", place / "site", wheel)
    return place / "site"


def pip(*arguments: object) -> None:
    """With our own cmake and ninja found."""
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr


def clean_environ(installed: Path) -> dict[str, str]:
    """Nothing of this tree: the wheel, then the directory in which the dependencies lie."""
    path = os.pathsep.join([str(installed), str(DEPENDENCIES)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "IDXDD", "PYTEST"))}
    return {**kept, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}


def test_it_imports_from_another_directory(installed: Path, tmp_path: Path) -> None:
    """In a clean interpreter (-S: no editable install in between), every package comes from the wheel."""
    command = [sys.executable, "-S", "-c", IMPORTS, str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean_environ(installed), timeout=60)
    assert done.stdout == "imported\n", done.stderr


def test_it_brings_the_c_library(installed: Path) -> None:
    """Static library, headers and pkg-config file, and none of the C sources and tests."""
    (library,) = installed.rglob("libidxdd.a")
    (package,) = installed.rglob("idxdd.pc")
    headers = {path.name for path in installed.rglob("*.h")}
    assert library.stat().st_size > 10_000
    assert headers >= {"shm.h", "operations.h", "engine.h", "client.h", "spec.h"}
    assert package.parent.name == "pkgconfig"
    assert not list(installed.rglob("*.c"))
    assert not list(installed.rglob("native/src"))


def test_its_programs_run(installed: Path, tmp_path: Path) -> None:
    """A private instance around idxdctl, both from the wheel."""
    python = [sys.executable, "-S"]
    listing = [*python, "-c", "import sys; from idxdctl.main import main; sys.argv[1:] = ['list']; sys.exit(main())"]
    command = [*python, "-m", "idxdd", "run", "--spin-us", "0", "--", *listing]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean_environ(installed), timeout=60)
    assert done.returncode == 0, done.stderr
    assert "dsa0/wq0.3" in done.stdout


def flags(installed: Path) -> list[str]:
    """What pkg-config says for the installed file, or what it would say where there is none."""
    (package,) = installed.rglob("idxdd.pc")
    if shutil.which("pkg-config"):
        environ = {**os.environ, "PKG_CONFIG_PATH": str(package.parent)}
        command = ["pkg-config", "--static", "--cflags", "--libs", "idxdd"]
        return shlex.split(subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout)
    values: dict[str, str] = {"pcfiledir": str(package.parent)}
    found: list[str] = []
    for line in package.read_text().splitlines():
        for name, value in values.items():
            line = line.replace("${" + name + "}", value)
        name, equals, value = line.partition("=")
        if equals and name.isidentifier():
            values[name] = value
        elif line.startswith(("Cflags:", "Libs")):
            found += shlex.split(line.partition(":")[2])
    return found


@pytest.mark.skipif(not EXAMPLE.exists(), reason="no C example")
def test_a_c_program_builds_against_it(installed: Path, tmp_path: Path, instance: str) -> None:
    """The example compiles without warnings from the pkg-config file alone, and moves its bytes."""
    program = tmp_path / "move"
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    warnings = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2"]
    command = [compiler, *warnings, "-o", str(program), str(EXAMPLE), *flags(installed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    daemon = RunningDaemon(instance, tmp_path).start()
    try:
        environ = {**os.environ, "IDXDD_SOCKET": daemon.socket}
        ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=30, env=environ)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        assert daemon.stop() == 0
