"""Fault injection's operations: put rules in force, list them with their hits, take them away, say what one would match."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from idxdd.device.device import Device
from idxdd.device.faults import BadRule, Rule
from idxdd.device.faults.armed import Armed, Faults
from idxdd.device.faults.clients import Client
from idxdd.device.faults.counting import strikes
from idxdd.device.faults.matching import Point, mismatch, operations_text, outcome, rule_outcome
from idxdd.device.faults.text import RULES_MAX, parse_lines
from idxdd.service import act, reports
from idxdd.service.tasks import Refused, Steps, run
from idxdd.spec.limits import DESCRIPTOR_BYTES

if TYPE_CHECKING:
    from idxdd.service.daemon import Daemon
    from idxdd.service.sessions import Session

FILE_BYTES_MAX = 1 << 20
ANSWERS_MAX = 128
"""Rules times descriptors of one dry run: an answer is a line of text each."""
PAGE_CHARACTERS = 40_000
ROW_CHARACTERS = 100
CLIENTS_TOLD_MAX = 16
POINT_FIELDS = {"wq": str, "pid": int, "uid": int, "pasid": int, "member": int}


def arm(daemon: "Daemon") -> Faults:
    """The daemon's rules: none yet."""

    def clients() -> Iterator[Client]:
        return (Client(session.peer.pid, session.peer.uid, session.pasid) for session in daemon.sessions)

    return Faults(daemon.port, daemon.devices, clients, daemon.loop.timers.call_later, partial(_unplug, daemon))


def _unplug(daemon: "Daemon", device: Device, back_after_s: float | None) -> None:
    """Surprise removal as an administrator's; the device may return by itself."""

    def back() -> None:
        if not device.present:
            run(act.insertion(daemon, device), partial(_told, daemon, f"{device.name}: inserted"))

    def gone(result: object, refusal: Refused | None) -> None:
        _told(daemon, f"{device.name}: removed", result, refusal)
        if back_after_s is not None:
            daemon.loop.timers.call_later(back_after_s, back)

    run(act.removal(daemon, device), gone)


def _told(daemon: "Daemon", what: str, _result: object, refusal: Refused | None) -> None:
    daemon.log.info(what if refusal is None else f"{what}, but: {refusal.text}")


def read_rules(path: str) -> list[Rule]:
    """The rules of a file: text, a rule a line, or JSON. BadRule names file and line."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode()
    except OSError as error:
        raise BadRule(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRule(f"{path}: not text") from None
    if len(data) > FILE_BYTES_MAX:
        raise BadRule(f"{path}: longer than {FILE_BYTES_MAX} bytes")
    try:
        return rules_of(text)
    except BadRule as error:
        raise BadRule(f"{path}: {error}") from None


def rules_of(text: str) -> list[Rule]:
    """Of the text of a file."""
    if text.lstrip()[:1] not in ("[", "{"):
        return parse_lines(text)
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRule(f"not JSON: {error}") from None
    return _rules(document if isinstance(document, list) else [document])


def _rules(documents: list[Any]) -> list[Rule]:
    if len(documents) > RULES_MAX:
        raise BadRule(f"rules: {len(documents)} are given, {RULES_MAX} are possible")
    found = []
    for number, document in enumerate(documents, 1):
        try:
            found.append(Rule.of(document))
        except BadRule as error:
            raise BadRule(f"rule {number}: {error}" if len(documents) > 1 else str(error)) from None
    return found


# ---- operations -----------------------------------------------------------------------------------------------------------


def _inject(daemon: "Daemon", session: "Session", rules: Any) -> Steps:
    try:
        added = daemon.faults.add(_rules(rules if isinstance(rules, list) else [rules]))
    except BadRule as error:
        raise Refused("EINVAL", str(error)) from None
    for one in added:
        daemon.log.warning(f"fault rule {one.number} by pid {session.peer.pid}: {one.rule}", pid=session.peer.pid)
    yield daemon.barrier  # in force when answered
    return {"ids": [one.number for one in added], **_page(added)}, []


def _inject_list(daemon: "Daemon", _session: "Session", after: int = 0) -> Steps:
    return _page([one for one in daemon.faults.entries() if one.number > after]), []
    yield


def _page(rules: list[Armed]) -> dict[str, Any]:
    """As many as a frame has room for; `more` tells whether there are others behind them."""
    page: list[dict[str, Any]] = []
    room = PAGE_CHARACTERS
    for one in rules:
        document = one.document()
        room -= len(document["rule"]) + ROW_CHARACTERS
        if room < 0:
            break
        page.append(document)
    return {"rules": page, "more": len(page) < len(rules)}


def _inject_remove(daemon: "Daemon", session: "Session", rule: int) -> Steps:
    gone = {one.number: one for one in daemon.faults.entries()}
    try:
        removed = daemon.faults.remove([rule] if rule else None)
    except KeyError:
        known = ", ".join(map(str, gone)) or "none"
        raise Refused("ENOENT", f"rule: no rule {rule} is in force (there is {known})") from None
    for number in removed:
        daemon.log.info(f"fault rule {number} removed by pid {session.peer.pid}, {gone[number].progress.hits} hits")
    yield daemon.barrier
    return {"ids": removed, **_page([gone[number] for number in removed])}, []


def _inject_dry_run(
    daemon: "Daemon", _session: "Session", rules: Any, descriptors: Any = None, matches: int = 0, hits: int = 0
) -> Steps:
    """`matches`, `hits`: of descriptors asked about before these."""
    try:
        found = _rules(rules if isinstance(rules, list) else [rules])
        points = _points(descriptors if isinstance(descriptors, list) else [descriptors] if descriptors else [])
        for rule in found:
            daemon.faults.check(rule)
        if len(found) * max(len(points), 1) > ANSWERS_MAX:
            raise BadRule(f"descriptors: {len(points)} for {len(found)} rules: at most {ANSWERS_MAX} answers at once")
    except BadRule as error:
        raise Refused("EINVAL", str(error)) from None
    return {"rules": [_dry_run(daemon, rule, points, matches, hits) for rule in found]}, []
    yield


def _dry_run(daemon: "Daemon", rule: Rule, points: list[Point], matches: int, hits: int) -> dict[str, Any]:
    """What a rule means here and now, and what it would do to each of some descriptors, the first first."""
    told: dict[str, Any] = {"rule": str(rule), "does": rule_outcome(rule), "by_itself": rule.by_itself}
    if not rule.by_itself and not rule.of_vector:
        told |= {"wqs": _wqs(daemon, rule), "operations": operations_text(rule).split(",")}
        told["clients"] = [client._asdict() for client in daemon.faults.clients_of(rule)[:CLIENTS_TOLD_MAX]]
    answers = []
    for point in points:
        why = mismatch(rule, point)
        matches += why is None
        hit = why is None and strikes(rule.when, matches, hits)
        hits += hit
        answer: dict[str, Any] = {"matches": why is None, "hit": hit}
        answers.append(answer | ({"outcome": outcome(rule, point)} if hit else {"why": why or f"match {matches} is no hit"}))
    return told | ({"descriptors": answers} if points else {})


def _wqs(daemon: "Daemon", rule: Rule) -> list[str]:
    """Configured work queues that the rule looks at."""
    there = [one["wq"] for one in reports.stats(daemon, 1 << 20)["wqs"]]
    where = rule.where
    return [wq for wq in there if (where.wq is None or wq in where.wq) and where.device in (None, wq.partition("/")[0])]


def _points(documents: list[Any]) -> list[Point]:
    return [_point(document, number) for number, document in enumerate(documents, 1)]


def _point(document: Any, number: int) -> Point:
    """128 hexadecimal digits, or a map with these as `desc` and what else is known, as a trace has it."""
    given = document if isinstance(document, dict) else {"desc": document}
    at = f"descriptor {number}"
    try:
        desc = bytes.fromhex(given.get("desc", ""))
    except (TypeError, ValueError):
        raise BadRule(f"{at}: desc must be hexadecimal") from None
    if len(desc) != DESCRIPTOR_BYTES:
        raise BadRule(f"{at}: desc has {len(desc)} bytes, a descriptor has {DESCRIPTOR_BYTES}")
    known = {name: given[name] for name in POINT_FIELDS if given.get(name) is not None}
    for name, value in known.items():
        if not isinstance(value, POINT_FIELDS[name]) or isinstance(value, bool):
            raise BadRule(f"{at}: {name} must be {'text' if POINT_FIELDS[name] is str else 'a number'}")
    return Point(desc, **known)


OPERATIONS: dict[str, Callable[..., Steps]] = {
    "inject": _inject,
    "inject_list": _inject_list,
    "inject_remove": _inject_remove,
    "inject_dry_run": _inject_dry_run,
}
