"""The README says what is so: its table of exit codes is the program's."""

from pathlib import Path

from idxdd.control.exitcodes import MEANING

README = Path(__file__).parents[2] / "README.md"


def test_the_exit_codes_are_the_programs() -> None:
    """One table for both programs; the README repeats it."""
    text = README.read_text(encoding="utf-8")
    assert [f"| {int(code)} | {meaning} |" in text for code, meaning in MEANING.items()] == [True] * len(MEANING)
