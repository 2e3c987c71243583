"""The text form of rules: `wq=dsa0/wq0.1 op=memmove when nth=3 do fault write at=4096`.

    rule  = [ field=value ... ] [ "when" field=value ... ] "do" action [ value ... ] [ field=value ... ] [ word ... ]

A file holds a rule a line; "#" begins a comment, empty lines do not count.
"""

from collections.abc import Iterable
from typing import Any

from idxdd.device.faults.rule import ACTIONS, TEXT_CHARACTERS_MAX, Action, BadRule, Rule, What, When, Where, given, kinds
from idxdd.device.faults.values import BadValue

RULES_MAX = 256
"""In one file, and in force at once."""


def parse(text: str) -> Rule:
    """The rule a text says. BadRule."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise BadRule(f"rule: longer than {TEXT_CHARACTERS_MAX} characters")
    words = text.split()
    if "do" not in words:
        raise BadRule("rule: no action: it ends in `do ACTION`, for example `do fault write at=4096`")
    middle = words.index("do")
    places, actions = words[:middle], words[middle + 1 :]
    moment = places.index("when") if "when" in places else len(places)
    if "when" in places and moment == len(places) - 1:
        raise BadRule("when: says nothing: nth=, every=, first=, chance=, after= or times= follows it")
    where = Where(**_pairs(Where, places[:moment], "where"))
    when = When(**_pairs(When, places[moment + 1 :], "when"))
    return Rule(where, when, _what(actions))


def _pairs(part: type[Where] | type[When] | type[What], words: Iterable[str], name: str) -> dict[str, Any]:
    known = kinds(part)
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            raise BadRule(unknown(key, known, name))
        if not equals:
            raise BadRule(f"{key}: needs a value: {key}=...")
        if key in found:
            raise BadRule(f"{key}: is said twice")
        found[key] = read(key, known, value)
    return found


def read(key: str, known: dict[str, Any], value: str) -> Any:
    """One value. BadRule names the field."""
    try:
        return known[key].parse(value)
    except BadValue as error:
        raise BadRule(f"{key}: {error}") from None


def unknown(key: str, known: Iterable[str], part: str) -> str:
    """One line about a field that is none."""
    from difflib import get_close_matches

    close = get_close_matches(key, list(known), 1)
    return f"{key[:40]}: is no field of `{part}`" + (f"; did you mean {close[0]}?" if close else f": {', '.join(known)}")


def action_of(name: str) -> Action:
    """The row of an action. BadRule."""
    if name not in ACTIONS:
        raise BadRule(unknown(name, ACTIONS, "do").replace("field of `do`", "action"))
    return ACTIONS[name]


def _what(words: list[str]) -> What:
    if not words:
        raise BadRule(f"do: no action: one of {', '.join(ACTIONS)}")
    name, rest = words[0], words[1:]
    action, known = action_of(name), kinds(What)
    found: dict[str, Any] = {}
    places = list(action.places)
    named: list[str] = []
    for word in rest:
        if "=" in word:
            named.append(word)
        elif word in action.flags:
            found[word] = True
        elif places:
            place = places.pop(0)
            found[place] = read(place, known, word)
        else:
            raise BadRule(f"{name}: {word!r:.40} is too much")
    for word in named:
        key = word.partition("=")[0]
        if key not in action.names:
            raise BadRule(unknown(key, action.names, name) if action.names else f"{key[:40]}: {name} has no such value")
    found.update(_pairs(What, named, name))
    return What(name, **found)


def text_of(rule: Rule) -> str:
    """The one spelling of a rule."""
    parts = [_spelled(rule.where)] if any(given(rule.where)) else []
    if any(given(rule.when)):
        parts += ["when", _spelled(rule.when)]
    return " ".join([*parts, "do", what_text(rule.what)])


def what_text(what: What) -> str:
    """The part behind `do`."""
    action, known = ACTIONS[what.action], kinds(What)
    words = [what.action]
    words += [known[name].write(value) for name in action.places if (value := getattr(what, name)) is not None]
    words += [f"{name}={known[name].write(value)}" for name in action.names if (value := getattr(what, name)) is not None]
    return " ".join(words + [name for name in action.flags if getattr(what, name)])


def _spelled(part: Where | When) -> str:
    known = kinds(type(part))
    return " ".join(f"{name}={known[name].write(value)}" for name, value in given(part))


def parse_lines(text: str) -> list[Rule]:
    """The rules of a file, in order. BadRule names the line."""
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        try:
            rules.append(parse(said))
        except BadRule as error:
            raise BadRule(f"line {number}: {error}") from None
        if len(rules) > RULES_MAX:
            raise BadRule(f"line {number}: more than {RULES_MAX} rules")
    return rules
