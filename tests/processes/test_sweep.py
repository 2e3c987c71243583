"""idxdd sweep over small programs: each point once, how each run ended, what is told, what is left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from waiting import wait_until

from idxdd.shm.names import names_left

CARELESS = Path(__file__).parents[2] / "clients" / "examples" / "careless.py"


def sweep(json_file: Path, *options: str) -> tuple[int, dict[str, Any], list[str]]:
    """Exit status, the JSON, the table's lines; what went to stderr fails the test."""
    command = [sys.executable, "-m", "idxdd", "sweep", "--spin-us", "0", "--json", str(json_file), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    return done.returncode, json.loads(json_file.read_text()), done.stdout.splitlines()


def runs(document: dict[str, Any]) -> list[tuple[str, int, bool, str, str | None]]:
    """Fault, number, hit, outcome, operation."""
    return [
        (one["fault"], one["nth"], one["hit"], one["outcome"], (one["descriptor"] or {}).get("op")) for one in document["runs"]
    ]


def test_every_point_fails_once_until_none_is_hit(tmp_path: Path) -> None:
    """The example handles a failed copy and not a failed CRC: which run crashed, and at which descriptor, is told."""
    rule = "op=memmove do status xfer_erange"
    code, found, lines = sweep(tmp_path / "json", "--fault", "read", "--rule", rule, "--", sys.executable, str(CARELESS))
    assert code == 1
    assert runs(found) == [
        ("read", 1, True, "ok", "memmove"),
        ("read", 2, True, "crashed", "crcgen"),
        ("read", 3, False, "ok", None),
        ("rule 1", 1, True, "ok", "memmove"),
        ("rule 1", 2, False, "ok", None),
    ]
    crashed = found["runs"][1]
    assert (crashed["signal"], crashed["exit_code"], crashed["rule"]) == ("SIGABRT", None, "when nth=2 do fault read")
    assert crashed["descriptor"]["wq"] == "dsa0/wq0.1"
    assert bytes.fromhex(crashed["descriptor"]["desc"])[7] == 0x10
    assert (found["complete"], found["bad"], found["normal"]["outcome"]) == (True, 1, "ok")
    assert found["descriptors"] == 2
    assert lines[0].split() == ["fault", "nth", "hit", "outcome", "end", "seconds", "descriptor"]
    assert [line.split()[:4] for line in lines[1:5]] == [
        ["none", "-", "-", "ok"],
        ["read", "1", "yes", "ok"],
        ["read", "2", "yes", "crashed"],
        ["read", "3", "-", "ok"],
    ]
    assert lines[7:9] == ["5 runs: 4 ok, 0 failed, 1 crashed, 0 hung", "  crashed: when nth=2 do fault read"]


def test_a_command_that_never_used_the_device_was_just_fine() -> None:
    """A sweep that tried nothing must not read as a program that survives everything."""
    command = [sys.executable, "-m", "idxdd", "sweep", "--spin-us", "0", "--fault", "read", "--json", "-", "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert (done.returncode, json.loads(done.stdout)["descriptors"]) == (0, 0)
    assert done.stderr.startswith("idxdd: sweep: warning: the command submitted no descriptor")
    assert done.stderr.count("\n") == 1


HANGS = """
import idxd_client, time, sys
with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq:
    try:
        wq.noop(timeout=1)
    except idxd_client.IdxdError:
        if sys.argv[1] == "hang": time.sleep(300)
        print("lost it"); sys.exit(7)
"""


def test_hung_and_failed_runs(tmp_path: Path) -> None:
    """A command over its time is killed with all it started; another exit status is only bad when asked so."""
    program = tmp_path / "program.py"
    program.write_text(HANGS)
    # in a shell, so that killing the command alone would leave the program
    hang = ["sh", "-c", f"{sys.executable} {program} hang; exit $?"]
    code, found, _ = sweep(tmp_path / "json", "--fault", "drop", "--timeout", "8", "--stop", "--", *hang)
    assert (code, runs(found)) == (1, [("drop", 1, True, "hung", "noop")])
    assert not found["complete"]
    assert not [pid for pid in Path("/proc").iterdir() if pid.name.isdecimal() and mentions(pid, str(program))]
    fail = ["--fault", "drop", "--max-runs", "1", "--strict", "--", sys.executable, str(program), "fail"]
    code, found, _ = sweep(tmp_path / "json", *fail)
    assert (code, runs(found)[0][3], found["complete"], found["bad"]) == (1, "failed", False, 1)
    assert (found["runs"][0]["exit_code"], found["runs"][0]["output"]) == (7, "lost it\n")


def mentions(pid: Path, word: str) -> bool:
    try:
        return word.encode() in (pid / "cmdline").read_bytes()
    except OSError:
        return False


def test_ctrl_c_ends_a_sweep_and_leaves_nothing(tmp_path: Path) -> None:
    """The run under way is ended, with its daemon; what was found so far is told, and the exit status is 130."""
    started = tmp_path / "started"
    command = [sys.executable, "-m", "idxdd", "sweep", "--json", "-", "--", "sh", "-c", f"touch {started}; sleep 300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_until(started.exists, 30, "the first run has begun")
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert (running.returncode, "interrupted after 0 runs" in said, "Traceback" in said) == (130, True, False)
    assert not names_left(f"sweep-{running.pid}")
    assert not [pid for pid in Path("/proc").iterdir() if pid.name.isdecimal() and mentions(pid, str(started))]
    assert os.listdir(tmp_path) == ["started"]
