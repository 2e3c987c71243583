"""Rules as JSON: {"where": {"wq": ["dsa0/wq0.1"]}, "when": {"nth": 3}, "do": {"action": "fault", "access": "read"}}."""

from typing import Any

from idxdd.device.faults.rule import ACTIONS, BadRule, Rule, What, When, Where, given, kinds
from idxdd.device.faults.text import action_of, unknown
from idxdd.device.faults.values import BadValue

PARTS = ("where", "when", "do")


def document_of(rule: Rule) -> dict[str, Any]:
    """What JSON can hold; parts that say nothing are left out."""
    parts = {"where": _said(rule.where), "when": _said(rule.when), "do": {"action": rule.what.action, **_said(rule.what)}}
    return {name: part for name, part in parts.items() if part}


def _said(part: Where | When | What) -> dict[str, Any]:
    known = kinds(type(part))
    return {name: known[name].document(value) if name in known else value for name, value in given(part)}


def rule_of(document: Any) -> Rule:
    """The rule a document says; a string is the text form. BadRule."""
    if isinstance(document, str):
        return Rule.parse(document)
    if not isinstance(document, dict):
        raise BadRule("rule: must be text or a map of where, when and do")
    for key in document:
        if key not in PARTS:
            raise BadRule(unknown(str(key), PARTS, "rule"))
    doing = document.get("do")
    if not isinstance(doing, dict) or not isinstance(doing.get("action"), str):
        raise BadRule(f"do: must be a map with an action: one of {', '.join(ACTIONS)}")
    name, values = doing["action"], {key: value for key, value in doing.items() if key != "action"}
    action = action_of(name)
    for key in values:
        if key not in action.allowed:
            raise BadRule(f"{key!s:.40}: {name} has no such value")
    flags = {key: values.pop(key) for key in action.flags if key in values}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise BadRule(f"{key}: must be true or false")
    where = Where(**_read(Where, document.get("where", {}), "where"))
    when = When(**_read(When, document.get("when", {}), "when"))
    return Rule(where, when, What(name, **flags, **_read(What, values, name)))


def _read(part: type[Where] | type[When] | type[What], values: Any, name: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise BadRule(f"{name}: must be a map")
    known = kinds(part)
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise BadRule(unknown(str(key), known, name))
        try:
            found[key] = known[key].of_document(value)
        except BadValue as error:
            raise BadRule(f"{key}: {error}") from None
    return found
