"""Manual pages: what the programs say, in words that troff understands."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

MAN = Path(__file__).parents[2] / "man"
PAGES = ("idxdctl.1", "idxdd.8")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """man/generate.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("man_generate", MAN / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_what_the_program_says(generate: ModuleType, page: str) -> None:
    """After a change of commands or options: `make man`."""
    assert (MAN / page).read_text() == generate.text_of(page), "stale: run `make man`"


@pytest.mark.parametrize("page", PAGES)
def test_it_renders_without_a_warning(page: str) -> None:
    """As `man -l` would show it; and mandoc's own opinion, where there is one."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff here")
    done = subprocess.run([groff, "-man", "-Tutf8", "-ww", "-z", MAN / page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if mandoc := shutil.which("mandoc"):
        done = subprocess.run([mandoc, "-T", "lint", "-W", "style", MAN / page], capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_every_command_and_every_exit_code_is_in_it(generate: ModuleType) -> None:
    """A reader without a network has only this."""
    from idxdctl.completion import commands
    from idxdctl.main import app
    from idxdd.control.exitcodes import MEANING

    text = (MAN / "idxdctl.1").read_text()
    for name, (_, options) in commands(app).items():
        if not any(other.startswith(f"{name} ") for other in commands(app)):
            assert generate.bold(name) in text, name
            assert all(generate.bold(option) in text for option in options), name
    daemon = (MAN / "idxdd.8").read_text()
    assert all(generate.escaped(meaning.split(";")[0]) in daemon for meaning in MEANING.values() if len(meaning) < 60)


def test_what_troff_would_take_for_a_request_is_escaped(generate: ModuleType) -> None:
    """A sentence that begins with a dot or a quote would vanish."""
    assert generate.escaped(".SH x") == "\\&.SH x"
    assert generate.escaped("'a\\b-c`") == "\\(aqa\\eb\\-c\\(ga"
