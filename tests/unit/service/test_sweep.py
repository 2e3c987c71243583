"""What a sweep is told and refuses, and how runs are judged; the runs themselves are tests/processes/test_sweep.py."""

from pathlib import Path

import pytest

from idxdd.device.faults import Rule
from idxdd.service.main import main
from idxdd.service.sweep import CRASHED, FAILED, HUNG, OK, Options, Outcome, Sweep, templates
from idxdd.service.sweep_options import DEFAULT_FAULTS, FAULTS


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--", "no-such-command"], 127, "sweep: no-such-command: command not found"),
        ([], 2, "sweep: no command: idxdd sweep -- COMMAND ..."),
        (["--fault", "fire", "--", "true"], 2, "sweep: fault: 'fire' is none of read, write,"),
        (["--rule", "op=noop do fault write", "--", "true"], 2, "sweep: write: noop writes nothing"),
        (["--rule", "when nth=2 do drop", "--", "true"], 2, "sweep: when: the sweep says which match it is"),
        (["--rule", "vector=0 do interrupt lost", "--", "true"], 2, "sweep: vector: a sweep is over descriptors"),
        (["--", "sh", "-c", "echo oh no; kill -SEGV $$"], 1, "without a fault the command crashed (SIGSEGV): oh no"),
        (["--device", "dsa9", "--", "true"], 8, "sweep: no daemon: idxdd: profile dsa9"),
    ],
    ids=["absent", "none", "fault", "impossible", "counted", "vector", "crashes", "daemon"],
)
def test_what_cannot_be_swept(options: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and an exit code of the table."""
    assert main(["sweep", *options]) == code
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "mode", "line"),
    [("#!/bin/sh\n", 0o644, "not executable"), ("", 0o755, "sweep: the command cannot be executed: Exec format error")],
    ids=["mode", "format"],
)
def test_a_file_that_is_not_executable_was_not_found(
    tmp_path: Path, text: str, mode: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """126 as a shell and `idxdd run`, in one line: 127 sends people looking for a typing error in the path."""
    program = tmp_path / "program"
    program.write_text(text)
    program.chmod(mode)
    assert main(["sweep", "--", str(program)]) == 126
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_every_fault_has_a_name() -> None:
    """Each template is a rule that can be, and the default ones happen to descriptors."""
    assert [str(rule) for _, rule in templates([], [])] == [FAULTS[name] for name in DEFAULT_FAULTS]
    assert dict(templates(list(FAULTS), [])) == {name: Rule.parse(text) for name, text in FAULTS.items()}
    assert [name for name, _ in templates([], ["do drop", "op=noop do drop"])] == ["rule 1", "rule 2"]


def outcome(word: str, nth: int, hit: bool) -> Outcome:
    return Outcome("f", "r", nth, word, 0, None, 0.1, hit, None)


class Played(Sweep):
    """A sweep whose runs end as written down."""

    def __init__(self, words: list[list[str]], **options: object) -> None:
        two = (("one", Rule.parse("do drop")), ("two", Rule.parse("do drop")))
        super().__init__(Options(("true",), two[: len(words)], **options))  # type: ignore[arg-type]
        self._words = {name: row for (name, _), row in zip(two, words, strict=False)}

    def _run(self, name: str, template: Rule | None, nth: int) -> Outcome:
        if template is None:
            return outcome(OK, 0, False)
        row = self._words[name]
        return outcome(row[nth - 1], nth, nth < len(row))


def numbers(sweep: Played) -> list[int]:
    return [one.nth for one in sweep.run()]


def test_a_fault_is_over_with_the_first_run_it_missed() -> None:
    """Then the next fault begins, whatever the runs ended with."""
    sweep = Played([[OK, CRASHED, OK], [FAILED, OK]])
    assert numbers(sweep) == [0, 1, 2, 3, 1, 2]
    assert (sweep.complete, [sweep.is_bad(one) for one in sweep.outcomes]) == (True, [False, True, False, False, False])


def test_limits() -> None:
    """--max-runs, --stop, --strict."""
    assert numbers(Played([[OK] * 9], runs_max=4)) == [0, 1, 2, 3, 4]
    assert numbers(Played([[OK, HUNG, OK]], stop_at_first=True)) == [0, 1, 2]
    assert numbers(Played([[FAILED, OK, OK]], stop_at_first=True)) == [0, 1, 2, 3]
    strict = Played([[FAILED, OK, OK]], stop_at_first=True, strict=True)
    assert (numbers(strict), strict.complete) == ([0, 1], False)
