"""docs/device-coverage.md is whole and names tests that exist."""

import re
from pathlib import Path

import pytest
from observed_codes import HEADINGS, codes_of

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "device-coverage.md").read_text()
ROW = re.compile(r"^\| (0x[0-9a-f]+) \| (\w+) \| (.+) \|$", re.MULTILINE)


@pytest.mark.parametrize("place", list(HEADINGS))
def test_every_code_has_a_row(place: str) -> None:
    """A code that is added must be provoked, or say why it cannot be; a stale table is found here."""
    heading, kind = HEADINGS[place]
    section = TABLE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = ROW.findall(section)
    assert [(int(code, 16), name) for code, name, _ in rows] == [(int(code), kind(code).name) for code in codes_of(place)]


@pytest.mark.parametrize("place", list(HEADINGS))
def test_nothing_the_device_can_say_is_without_a_test(place: str) -> None:
    """Each provoked, by a portal where it is a descriptor's, or with the reason why it cannot be."""
    section = TABLE.split(f"## {HEADINGS[place][0]}\n")[1].split("\n## ")[0]
    assert [name for _, name, tests in ROW.findall(section) if "no test yet" in tests] == []


def test_the_tests_it_names_exist() -> None:
    """Renamed tests leave dead rows."""
    named = set(re.findall(r"`(tests/\S+?\.py)::(\w+)`", TABLE))
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}: make docs"
