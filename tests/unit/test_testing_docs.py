"""docs/testing.md says what is: every rule in it can be, the three forms agree, every action and field has its row."""

import json
import re
from pathlib import Path

import pytest

from idxdd.device.faults.rule import ACTIONS, WHERE_FIELDS, What, When, kinds
from idxdd.device.faults.text import parse_lines
from idxdd.service.sweep_options import FAULTS
from idxdd.testing import Rule, on

TEXT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
ROWS = dict(re.findall(r"^\| (`[^|]*(?:\\\|[^|]*)*) \| (.*) \|$", TEXT, re.MULTILINE))


def test_every_rule_can_be() -> None:
    """Whatever a reader copies must work as it stands."""
    marked = re.findall(r'dsa_fault\("([^"]+)"\)', TEXT)
    added = re.findall(r"^idxdctl inject (?:add|dry-run) (.*? do [^#\n]*?)(?: --.*)?(?: +#.*)?$", TEXT, re.MULTILINE)
    (block,) = (block for block in re.findall(r"^```\w*\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) if block.startswith("wq="))
    swept = re.findall(r'--rule "([^"]+)"', TEXT.replace("\n", " "))
    assert (len(marked), len(added), len(swept)) == (1, 2, 1)
    for rule in [*marked, *added, *swept]:
        Rule.parse(rule)
    assert len(parse_lines(block.replace("uid=alice", "uid=0"))) == 3


def test_the_three_forms_of_the_example_are_one_rule() -> None:
    """Text, Python and JSON stand beside each other in the manual; they must say the same."""
    text = next(line for line in TEXT.splitlines() if line.startswith("wq=dsa0/wq0.1 op=memmove"))
    python = re.search(r"In Python: `(.*?)` \(", TEXT)
    document = re.search(r"In JSON:\n`(.*?)`", TEXT)
    assert python
    assert document
    assert Rule.parse(text) == eval(python[1], {"on": on}) == Rule.of(json.loads(document[1]))


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_its_row(name: str) -> None:
    """With every value it takes."""
    (said,) = [" ".join(row for row in ROWS if row.startswith(f"`{name}"))]
    assert said, f"no row for {name}"
    for value in (*ACTIONS[name].names, *ACTIONS[name].flags):
        assert re.search(rf"\b{value}(=|\b)", said), f"{name}: {value} is not in its row"


def test_every_field_has_its_row() -> None:
    """Of where and when."""
    said = " ".join(ROWS)
    missing = [name for name in (*WHERE_FIELDS, *kinds(When)) if not re.search(rf"`{name}\b| {name}=", said)]
    assert missing == []
    assert set(kinds(What)) >= {"status", "at"}


def test_the_faults_of_a_sweep_are_named() -> None:
    """`--fault NAME`: those the text mentions are there."""
    assert set(re.findall(r"--fault (\w+)", TEXT)) <= set(FAULTS)
