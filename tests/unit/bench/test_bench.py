"""The benchmark's arithmetic, its verdicts, and the shape of what it prints and writes, on made-up samples."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import __main__ as program
from bench import machine, measure_watching, report
from bench.rows import ROWS
from bench.samples import Measured, Outcome, Row, details, ratios, select, slowest_share

MORE = Row("rate", "speed", "moves", "M/s", target=3.0)
LESS = Row("trip", "time", "a round trip", "× ping-pong", better="less", target=2.5)
SEEN = Row("seen", "time", "only reported", "")


# ---- arithmetic --------------------------------------------------------------------------------------------------------


def test_the_value_is_the_median_of_the_rounds() -> None:
    """One round that a busy neighbour spoiled must not decide."""
    assert Outcome(MORE, Measured([3.0, 0.1, 3.2])).value == 3.0
    assert Outcome(MORE, Measured([1.0, 2.0])).value == 1.5


def test_ratios_are_taken_round_by_round() -> None:
    """Measured and baseline of one round saw the same machine; the median of ratios is not the ratio of medians."""
    assert ratios([9.0, 2.0, 40.0], [10.0, 4.0, 50.0]) == [0.9, 0.5, 0.8]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        ratios([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="baseline"):
        ratios([1.0], [0.0])


def test_the_slowest_share() -> None:
    """A client that starved shows, and so does a run in which nobody got anything."""
    assert slowest_share([10, 10, 10]) == 1.0
    assert slowest_share([1, 3]) == 0.5
    assert slowest_share([0, 4]) == 0.0
    assert slowest_share([0, 0]) == 0.0


def test_details_are_medians() -> None:
    assert details(few=[1.0, 9.0, 2.0], many=[4.0]) == {"few": 2.0, "many": 4.0}


# ---- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "value", "verdict"),
    [
        (MORE, 3.0, "ok"),
        (MORE, 2.999, "short"),
        (LESS, 2.5, "ok"),
        (LESS, 2.501, "short"),
        (SEEN, 1e9, "-"),
    ],
)
def test_a_verdict_is_the_targets_side(row: Row, value: float, verdict: str) -> None:
    """A number exactly at its target has reached it; "less is better" turns the comparison, and no target is no verdict."""
    assert Outcome(row, Measured([value])).verdict == verdict


def test_what_was_not_measured_has_failed() -> None:
    """It must never look like a number."""
    outcome = Outcome(MORE, None, "no daemon")
    assert (outcome.value, outcome.verdict) == (None, "failed")


def test_what_has_nothing_to_be_measured_against_is_skipped() -> None:
    """A package that is not installed is no failure of ours, and no silence either."""
    outcome = Outcome(MORE, None, "not installed", skipped=True)
    assert (outcome.value, outcome.verdict) == (None, "skipped")
    assert "skipped: not installed" in report.table([outcome])


def test_the_rows_promise_what_the_issue_does() -> None:
    """The targets, written down a second time: a change of one needs a change of both."""
    promised = {row.name: (row.better, row.target) for row in ROWS if row.target is not None}
    assert promised == {
        "move-64k": ("more", 0.90),
        "move-16k": ("more", 0.80),
        "move-4k": ("more", 0.55),
        "small-c": ("more", 3.0),
        "small-python": ("more", 1.0),
        "small-python-many": ("more", 15.0),
        "compare": ("more", 0.8),
        "fill": ("more", 0.8),
        "delta": ("more", 0.5),
        "copy-crc": ("more", 0.6),
        "crc": ("more", 12.0),
        "crc-package": ("more", 0.8),
        "crc64": ("more", 1.0),
        "dif-insert": ("more", 5.0),
        "dif-check": ("more", 5.0),
        "batch": ("more", 10.0),
        "heap-4k": ("less", 8.0),
        "heap-1m": ("more", 0.30),
        "rtt-c": ("less", 2.5),
        "rtt-python": ("less", 5.0),
        "mmio": ("less", 3.0),
        "fault-exit": ("less", 2.0),
        "halt": ("less", 5.0),
        "halt-busy": ("less", 5.0),
        "channel": ("more", 100.0),
        "callback": ("less", 3.0),
        "submitters": ("more", 150.0),
        "revoke-hold": ("less", 30.0),
        "reinit": ("less", 20.0),
        "irq-restart": ("less", 1.0),
        "idle": ("less", 0.3),
        "rss": ("less", 60.0),
        "connections": ("less", 50.0),
        "connections-cpu": ("less", 0.3),
        "question": ("less", 200.0),
        "load": ("less", 100.0),
        "top": ("more", 0.98),
        "trace": ("more", 0.77),
        "serve": ("less", 0.5),
        "list": ("less", 0.5),
        "crowd": ("more", 0.5),
        "crowd-slowest": ("more", 0.25),
    }
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.group for row in ROWS} == set(program.MEASURES)


# ---- selection ---------------------------------------------------------------------------------------------------------


def test_rows_are_selected_by_name_and_by_group() -> None:
    """In the table's order, each once, whatever order they were named in."""
    assert select([MORE, LESS, SEEN], []) == [MORE, LESS, SEEN]
    assert select([MORE, LESS, SEEN], ["time", "rate", "trip"]) == [MORE, LESS, SEEN]
    assert select([MORE, LESS, SEEN], ["seen"]) == [SEEN]
    with pytest.raises(ValueError, match="no row gone; groups are speed, time"):
        select([MORE, LESS, SEEN], ["rate", "gone"])


@pytest.mark.parametrize("arguments", [["--rows", "gone"], ["--rounds", "0"]])
def test_wrong_arguments_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is measured."""
    assert program.main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


# ---- what is printed and written ---------------------------------------------------------------------------------------

OUTCOMES = [
    Outcome(MORE, Measured([3.25, 2.0, 4.0])),
    Outcome(LESS, Measured([3.1], {"pingpong_ns": 140.0})),
    Outcome(SEEN, Measured([1234.5])),
    Outcome(MORE, None, "no daemon"),
]


def test_the_table() -> None:
    """Columns in line, the median first, lowest and highest round beside it, the target with its side."""
    lines = report.table(OUTCOMES).splitlines()
    assert [line.split() for line in lines] == [
        ["row", "what", "measured", "rounds", "target"],
        ["rate", "moves", "3.25", "M/s", "2", "–", "4", "≥", "3", "M/s", "ok"],
        ["trip", "a", "round", "trip", "3.1", "×", "ping-pong", "≤", "2.5", "×", "ping-pong", "short"],
        ["seen", "only", "reported", "1234", "-"],
        ["rate", "moves", "≥", "3", "M/s", "failed:", "no", "daemon"],
    ]
    assert len({line.index(word) for line, word in zip(lines[1:3], ["ok", "short"], strict=True)}) == 1
    assert [line.index("≥ 3 M/s") + len("≥ 3 M/s") for line in (lines[1], lines[4])] == [lines[0].index("target") + 6] * 2


def test_the_json() -> None:
    """What a program reads: a schema version, the machine, every sample; a failure is null, not a number."""
    facts = json.loads(report.dumps(report.facts(OUTCOMES, {"cores": 2}, {"rounds": 3})))
    assert facts["schema"] == report.SCHEMA
    assert (facts["machine"], facts["run"]) == ({"cores": 2}, {"rounds": 3})
    assert facts["rows"][0] == {
        "row": "rate",
        "group": "speed",
        "what": "moves",
        "unit": "M/s",
        "better": "more",
        "target": 3.0,
        "value": 3.25,
        "samples": [3.25, 2.0, 4.0],
        "details": {},
        "verdict": "ok",
        "failure": "",
    }
    assert facts["rows"][1]["details"] == {"pingpong_ns": 140.0}
    assert (facts["rows"][3]["value"], facts["rows"][3]["failure"]) == (None, "no daemon")


def test_a_number_that_is_none_is_not_written() -> None:
    """NaN is no JSON: other readers would choke on the file long after the run."""
    with pytest.raises(ValueError, match="JSON"):
        report.dumps(report.facts([Outcome(MORE, Measured([float("nan")]))], {}, {}))


# ---- the machine -------------------------------------------------------------------------------------------------------


def test_the_cpus_name() -> None:
    """The first core's, in full; other architectures have no such line."""
    assert machine.cpu_model("processor\t: 0\nmodel name\t: Fast: 3000\nmodel name\t: Slow\n") == "Fast: 3000"
    assert machine.cpu_model("processor\t: 0\n") == os.uname().machine


def test_cpu_time_of_a_process_with_a_nasty_name() -> None:
    """The name in /proc/PID/stat is the process's own choice: blanks and brackets must not shift the fields."""
    fields = ["S", *map(str, range(4, 53))]
    fields[11], fields[12] = "150", "50"
    assert machine.stat_seconds(f"17 (a) S 1 (b) {' '.join(fields)}\n", 100) == 2.0


def test_cpu_time_of_this_process() -> None:
    """Both clocks see work that was done, and agree within a few ticks."""
    before = machine.threads_seconds(os.getpid()), machine.cpu_seconds(os.getpid())
    start = time.process_time()
    while time.process_time() - start < 0.1:
        pass
    used = machine.threads_seconds(os.getpid()) - before[0], machine.cpu_seconds(os.getpid()) - before[1]
    assert used[0] >= 0.09
    assert abs(used[0] - used[1]) < 0.05


def test_the_program_starts_as_the_makefile_starts_it() -> None:
    """`python -m bench` from the tree, where nothing of tests/ is on the path."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(group in done.stdout for group in program.MEASURES)


def test_an_interval_holds_what_pairs_scatter_around() -> None:
    """Ratios multiply: 2 and 1/2 are as far from 1; more scatter, a wider interval."""
    mean, low, high = measure_watching.interval([2.0, 0.5] * 15)
    assert mean == pytest.approx(1.0)
    assert low * high == pytest.approx(1.0)
    assert low < 0.9 < 1.1 < high
    mean, low, high = measure_watching.interval([0.5 + 0.001 * i for i in range(30)])
    assert 0.5 < low < mean < high < 0.53
