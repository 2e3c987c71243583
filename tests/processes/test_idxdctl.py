"""idxdctl as a user runs it: a process of its own against a real daemon; one line and an exit code when it fails."""

import ast
import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crc32c
import daemons
import pytest
from ctl import live as live  # the fixtures
from daemons import RunningDaemon
from waiting import wait_until

import idxd_client
from idxdctl.copying import Copy, Worker
from idxdctl.main import main
from idxdd.control.exitcodes import ExitCode

mortal = daemons.daemon
ALL_WQS = ["dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.3"]


def run(daemon: RunningDaemon, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """idxdctl with these arguments and the daemon's socket in the environment; in this process, which is ten times as fast."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name, value in {"IDXDD_SOCKET": daemon.socket, **environ}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["idxdctl", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def spawned(daemon: RunningDaemon, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    command = [sys.executable, "-m", "idxdctl.main", *map(str, arguments)]
    environment = {**os.environ, "IDXDD_SOCKET": daemon.socket}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def answered(daemon: RunningDaemon, *arguments: object) -> dict[str, Any]:
    """What --json printed."""
    done = run(daemon, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == 1
    assert found["command"] == arguments[0]
    return found


@pytest.fixture
def daemon(live: RunningDaemon) -> RunningDaemon:
    """One for all tests of this file but the one that kills it."""
    return live


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """5 MB and a bit that no two chunks of are alike."""
    path = tmp_path / "source"
    path.write_bytes(random.Random(5).randbytes(5_000_123))
    return path


def test_list_and_stats_say_what_there_is(daemon: RunningDaemon) -> None:
    """For people a table, for programs JSON with a schema version."""
    (device,) = json.loads(run(daemon, "list", "--json").stdout)
    wqs = [wq for group in device["groups"] for wq in group["grouped_workqueues"]]
    assert [f"{device['dev']}/{wq['dev']}" for wq in wqs if wq["state"] == "enabled"] == ALL_WQS
    text = run(daemon, "list").stdout
    assert "dsa0: enabled" in text
    assert all(wq in text for wq in ALL_WQS)
    answered(daemon, "ping", "--wq", "dsa0/wq0.0", "-n", 10)
    counted = {wq["wq"]: wq for wq in answered(daemon, "stats")["wqs"]}
    assert counted["dsa0/wq0.0"]["completed"] >= 10
    assert "irq: pid" in run(daemon, "stats").stdout


def test_ping_measures_round_trips(daemon: RunningDaemon) -> None:
    """Percentiles ascend, and are of as many round trips as were asked for, on every kind of WQ."""
    for wq in ALL_WQS:
        found = answered(daemon, "ping", "--wq", wq, "-n", 200)
        points = [found[f"{name}_us"] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
        assert found["count"] == 200
        assert points == sorted(points)
        assert points[0] > 0
    assert "dsa0/wq0.1: 20 round trips, min" in run(daemon, "ping", "-n", 20).stdout


def test_crc_is_that_of_another_library(daemon: RunningDaemon, tmp_path: Path) -> None:
    """Chained over chunks by the seed, for any size, on a user and a kernel WQ."""
    path = tmp_path / "file"
    for size in (0, 1, 1 << 20, (2 << 20) + 17):
        path.write_bytes(random.Random(size).randbytes(size))
        expected = f"{crc32c.crc32c(path.read_bytes()):08x}"
        assert answered(daemon, "crc", path)["crc32c"] == expected
    assert run(daemon, "crc", path, "--wq", "dsa0/wq0.2").stdout == f"{expected}  {path}\n"


def test_copy_through_all_kinds_of_wq_at_once(daemon: RunningDaemon, source: Path, tmp_path: Path) -> None:
    """Four processes, four WQs, one file: every byte, verified, nothing left beside it."""
    target = tmp_path / "target"
    wqs = [argument for wq in ALL_WQS for argument in ("--wq", wq)]
    found = answered(daemon, "copy", source, target, *wqs, "--procs", 4, "--chunk", "64K", "--depth", 4, "--verify")
    assert target.read_bytes() == source.read_bytes()
    assert (found["bytes"], found["verified"]) == (5_000_123, True)
    assert [client["wq"] for client in found["clients"]] == ALL_WQS
    kernel = [client for client in found["clients"] if client["kernel"]]
    assert all(client["callbacks"] == client["descriptors"] and not client["repeated"] for client in kernel)
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_copy_is_exact_for_any_size(daemon: RunningDaemon, tmp_path: Path) -> None:
    """Nothing, one byte, one chunk, and one byte beside it."""
    source, target = tmp_path / "source", tmp_path / "target"
    for size in (0, 1, 65535, 65536, 65537):
        source.write_bytes(random.Random(size).randbytes(size))
        done = run(daemon, "copy", source, target, "--chunk", "64K", "--procs", 2, "--verify")
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == source.read_bytes()
        assert "verified" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr, "no escapes into a pipe"


def test_a_killed_client_is_replaced_behind_what_it_wrote(daemon: RunningDaemon, source: Path, tmp_path: Path) -> None:
    """What a worker reported is in the file: its successor does only the rest, and the copy is whole."""
    target = tmp_path / "target"
    copy = Copy(str(source), str(target), ALL_WQS[:2], procs=2, chunk=16384, depth=2, socket=daemon.socket, replacements=1)

    def kill_one(worker: Worker) -> None:
        if worker.number == 1 and worker.finished and not worker.killed:
            copy.kill(worker)

    copy.watch = kill_one
    copy.run()
    assert target.read_bytes() == source.read_bytes()
    first, killed, successor = copy.workers
    assert (killed.killed, successor.replaces, successor.job.offset) == (True, 1, killed.job.offset + killed.finished)
    assert first.finished + killed.finished + successor.finished == 5_000_123


def test_list_is_quick(daemon: RunningDaemon) -> None:
    """Heavy imports belong to the commands that need them. CPU time, against what any typer program takes on this machine."""

    def cpu_s(command: list[str]) -> float:
        before = os.times()
        subprocess.run(command, env={**os.environ, "IDXDD_SOCKET": daemon.socket}, capture_output=True, check=True, timeout=60)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    told = (
        "import sys; from idxdctl.parts import program; program('list')(['list'], standalone_mode=False); print([*sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], env={**os.environ, "IDXDD_SOCKET": daemon.socket}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    heavy = {
        "numpy",
        "asyncio",
        "rich.console",
        "rich.progress",
        "ctypes",
        "idxd_client",
        "idxdd.testing",
        "idxdd.device",
        "idxdctl.top",
    }
    assert not heavy & set(ast.literal_eval(done.stdout.splitlines()[-1]))
    bare = [sys.executable, "-c", "import typer, msgpack; typer.main.get_command(typer.Typer(callback=print))"]
    rounds = [(cpu_s([sys.executable, "-m", "idxdctl.main", "list"]), cpu_s(bare)) for _ in range(3)]
    assert min(own / max(other, 0.01) for own, other in rounds) < 3, rounds


Failing = Callable[..., None]


@pytest.fixture
def one_line(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Failing:
    """Runs main() here, ten times as fast as a process; it must end with this code and one line with these words."""

    def check(code: int, words: str, *arguments: object, socket: str | None = None) -> None:
        monkeypatch.setenv("IDXDD_SOCKET", socket or daemon.socket)
        monkeypatch.setattr(sys, "argv", ["idxdctl", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (code, "")
        assert said.err.startswith("idxdctl: ")
        assert said.err.count("\n") == 1
        assert words in said.err

    return check


def test_what_goes_wrong_is_one_line_and_an_exit_code(
    daemon: RunningDaemon, one_line: Failing, source: Path, tmp_path: Path
) -> None:
    """Never a traceback; codes are those of the table in the README."""
    one_line(ExitCode.DAEMON_ABSENT, "no daemon", "list", socket=str(tmp_path / "nobody"))
    one_line(ExitCode.SOCKET_PATH_TOO_LONG, "107", "list", "--socket", "/" + "x" * 200)
    one_line(ExitCode.FAILED, "ENXIO", "ping", "--wq", "dsa0/wq0.7")
    one_line(ExitCode.FAILED, "ENOENT", "ping", "--wq", "nonsense")
    one_line(ExitCode.FAILED, "No such file", "crc", tmp_path / "none")
    one_line(ExitCode.USAGE, "no such regular file", "copy", tmp_path / "none", tmp_path / "t")
    one_line(ExitCode.USAGE, "same file", "copy", source, source)
    one_line(ExitCode.FAILED, "No such file", "copy", source, tmp_path / "no" / "t")
    with idxd_client.connect(daemon.socket) as other, other.open("dsa0/wq0.0"):
        one_line(ExitCode.FAILED, "EBUSY", "copy", source, tmp_path / "t", "--wq", "dsa0/wq0.0", "--procs", 2)
    assert not (tmp_path / "t").exists()


def test_the_program_itself_ends_without_a_traceback(daemon: RunningDaemon, source: Path, tmp_path: Path) -> None:
    """As the shell sees it: a refused request, and wrong usage."""
    refused = spawned(daemon, "ping", "--wq", "dsa0/wq0.7")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (ExitCode.FAILED, "", 1)
    usage = spawned(daemon, "copy", source, tmp_path / "t", "--chunk", "1.5M")
    assert usage.returncode == ExitCode.USAGE
    assert "1.5M" in usage.stderr
    assert "Traceback" not in usage.stderr


def test_a_daemon_that_dies_ends_a_copy_with_a_named_error(mortal: RunningDaemon, tmp_path: Path) -> None:
    """Within a second or so, one line, no file half-written in place, no worker left."""
    source, target = tmp_path / "big", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(4 << 30)
    command = [
        sys.executable,
        "-m",
        "idxdctl.main",
        "copy",
        str(source),
        str(target),
        "--procs",
        "2",
        "--socket",
        mortal.socket,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as copy:
        with mortal.connect() as client:
            wait_until(lambda: any(wq["bytes"] for wq in client.request("stats")[0]["wqs"]), 60, "it is at work")
        mortal.kill()
        stdout, stderr = copy.communicate(timeout=60)
    assert (copy.returncode, stdout) == (ExitCode.DAEMON_ABSENT, "")
    # A worker that had not connected yet when the other one was at work already finds no daemon at all.
    assert any(said in stderr for said in ("gone", "went away", "closed", "no daemon at")), stderr
    assert stderr.count("\n") == 1
    assert not target.exists()
    mortal.start()
