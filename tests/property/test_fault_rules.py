"""The three forms of a rule say the same, whatever the rule; nothing a person types ends in a traceback."""

import json
from collections.abc import Callable
from typing import Any

from fault_rules import descriptors, rules
from hypothesis import given, settings
from hypothesis import strategies as st

from idxdd.device.faults import BadRule, Rule
from idxdd.device.faults.build import on
from idxdd.device.faults.compiled import RULE_BYTES, Progress, compiled, has_rows
from idxdd.device.faults.matching import Point, mismatch, outcome
from idxdd.device.faults.rule import ACTIONS, WHERE_FIELDS
from idxdd.device.faults.rule import given as said
from idxdd.device.faults.text import parse_lines

TYPED = """do when op=memmove nth=3 fault write at=4096 wq=dsa0/wq0.1 = op= do= status 0x13 chance=1% every=0 force late 5ms
size=1.. .. flags=!rci,rci uid=nobody-here member=none 1e9 \0"""
WORDS = st.sampled_from(TYPED.split())


@given(rules())
@settings(max_examples=250, deadline=None)
def test_text_and_json_say_the_same_rule(rule: Rule) -> None:
    """Round trip through both written forms: a rule that is listed can be typed in again, and means the same."""
    assert Rule.parse(str(rule)) == rule
    assert Rule.of(json.loads(json.dumps(rule.document()))) == rule
    assert parse_lines(f"# a comment\n\n{rule}  # and another\n") == [rule]


@given(rules())
@settings(max_examples=250, deadline=None)
def test_the_python_form_says_the_same_rule(rule: Rule) -> None:
    """Every rule can be built by calls, with plain Python values."""
    builder = on(**{name: getattr(rule.where, name) for name in WHERE_FIELDS})
    when = dict(said(rule.when))
    for name in ("nth", "every", "first", "times"):
        if name in when:
            builder = getattr(builder, name)(when[name])
    if "chance" in when:
        builder = builder.chance(when["chance"], *([when["seed"]] if "seed" in when else []))
    if "after" in when:
        builder = builder.after(f"{when['after']}ns")
    what, action = rule.what, ACTIONS[rule.what.action]
    values = {name: value for name, value in said(what) if name != "time"}
    places = [
        values.pop(name) if name != "time" else f"{what.time}ns" for name in action.places if getattr(what, name) is not None
    ]
    built = getattr(builder, what.action.replace("-", "_"))(*places, **values)
    assert built == rule


@given(st.lists(WORDS, max_size=10).map(" ".join) | st.text(max_size=60))
@settings(max_examples=250, deadline=None)
def test_anything_typed_is_a_rule_or_one_line(text: str) -> None:
    """A typo is answered by a line that names the field, never by a traceback."""
    rule, refusal = attempt(Rule.parse, text)
    assert rule is None or Rule.parse(str(rule)) == rule
    assert refusal is None or ("\n" not in refusal and ": " in refusal)


def attempt(read: Callable[[Any], Rule], said: object) -> tuple[Rule | None, str | None]:
    """The rule, or the line that refuses it."""
    try:
        return read(said), None
    except BadRule as error:
        return None, str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["where", "when", "do", "action", "op", "nth", "status", "at"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
@settings(max_examples=250, deadline=None)
def test_any_document_is_a_rule_or_one_line(document: object) -> None:
    """The same for JSON that somebody wrote by hand or sent to hurt."""
    _, refusal = attempt(Rule.of, document)
    assert refusal is None or "\n" not in refusal


@given(rules(), descriptors(), st.none() | st.integers(0, 31))
@settings(max_examples=250, deadline=None)
def test_a_dry_run_answers_for_any_descriptor(rule: Rule, desc: bytes, member: int | None) -> None:
    """Whatever 64 bytes are asked about, there is a reason or an outcome; and every rule fits the engine's."""
    point = Point(desc, "dsa0/wq0.1", pid=7, uid=0, pasid=3, member=member)
    answer = mismatch(rule, point)
    assert answer or outcome(rule, point)
    if has_rows(rule, Progress()):
        packed = compiled(rule, 1, [0, 1], [None, 3], 10**9, Progress())
        assert all(len(one) == RULE_BYTES for one in packed)
