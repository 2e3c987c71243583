"""Completion files, metrics text, the doctor's rules, rates: what needs no daemon."""

import subprocess
from pathlib import Path
from shutil import which

import pytest
import typer

from idxdctl import doctor
from idxdctl.accfg import status_text
from idxdctl.completion import SHELLS, commands
from idxdctl.main import app
from idxdctl.metrics import samples
from idxdctl.parts import PARTS, program
from idxdctl.rates import rates
from idxdd.service.metrics import _family

SHIPPED = Path(__file__).parents[3] / "clients" / "completions"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shipped_completion_is_of_these_commands(shell: str) -> None:
    """`idxdctl completion SHELL > clients/completions/...` after a change of the commands."""
    name, write = SHELLS[shell]
    assert (SHIPPED / name).read_text() == write(commands(app))


@pytest.mark.skipif(which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_options() -> None:
    """As readline would ask it."""
    script = f". {SHIPPED / 'idxdctl.bash'}; COMP_WORDS=(idxdctl {{}}); COMP_CWORD={{}}; _idxdctl; echo ${{COMPREPLY[@]}}"

    def complete(words: str, position: int) -> list[str]:
        text = script.replace("{}", words, 1).replace("{}", str(position), 1).replace("{{", "{").replace("}}", "}")
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split()

    assert complete("config-", 1) == ["config-device", "config-engine", "config-group", "config-wq"]
    assert "--wq-size" in complete("config-wq --wq", 2)
    assert complete("delta cr", 2) == ["create"]
    assert complete("delta create --jso", 3) == ["--json"]


def test_the_table_of_commands_is_that_of_the_modules() -> None:
    """A command that is in no row would be loaded with all the others, one in a wrong row would not be found."""
    for module, names in PARTS.items():
        group = typer.main.get_command(program(names[0]))
        assert tuple(group.commands) == names, module  # type: ignore[attr-defined]


def test_every_command_has_help() -> None:
    """`idxdctl --help` is the documentation a newcomer needs."""
    for name, (text, options) in commands(app).items():
        assert text, name
        assert "--help" in options


def test_labels_are_escaped() -> None:
    """A name must not end a line of the metrics; who reads them gets the name back."""
    text = _family("idxdd_x", "counter", "X.", [({"name": 'a"b\\c\nd}', "other": "e"}, 7), ({}, 1.5)])
    assert len(text.splitlines()) == 4
    first, second = samples(text)
    assert first == {"name": "idxdd_x", "labels": {"name": 'a"b\\c\nd}', "other": "e"}, "value": 7.0}
    assert second == {"name": "idxdd_x", "labels": {}, "value": 1.5}


def test_cmd_status_has_a_name_and_a_text() -> None:
    """The driver's own codes, the device's, and success."""
    assert status_text(0x80030000) == ("WQ_NO_GRP", "WQ belongs to no group")
    assert status_text(0x11)[0]
    assert status_text(0) == ("", "")


@pytest.mark.parametrize(
    ("release", "state"),
    [("6.8.0-1-amd64", "ok"), ("5.10.0", "note"), ("4.19", "fail"), ("6.5", "ok"), ("5.4.0", "note"), ("weird", "fail")],
)
def test_the_doctor_knows_kernels(release: str, state: str) -> None:
    """Too old is a failure with what is needed."""
    assert doctor._kernel(release).state == state


def test_the_doctor_looks_where_it_is_told(tmp_path: Path) -> None:
    """No shared memory, no proc: findings, not tracebacks."""
    found = {check.name: check for check in doctor.checks(str(tmp_path / "s"), proc=tmp_path / "p", shm=tmp_path / "shm")}
    assert (found["shared memory"].state, "mount" in found["shared memory"].fix) == ("fail", True)
    assert found["cpu flags"].state == "warn"
    assert found["socket"].state == "warn"
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "cpuinfo").write_text("flags\t\t: fpu sse4_2 enqcmd\n")
    found = {check.name: check for check in doctor.checks(str(tmp_path / "s"), proc=tmp_path / "p", shm=tmp_path)}
    assert "pclmulqdq" in found["cpu flags"].found
    assert "enqcmd" in found["cpu dsa"].found


def _counted(generation: int, completed: int) -> dict[str, object]:
    names = ("accepted", "completed", "aborted", "bytes", "retries", "faults", "errors", "interrupts", "occupancy")
    wqs = [{"wq": f"dsa0/wq0.{n}", "group": group, **dict.fromkeys(names, completed)} for n, group in enumerate((1, 1, None))]
    return {"generation": generation, "devices": [], "wqs": wqs, "clients": [], "irq": {}, "engine": {}}


def test_rates_are_of_the_interval_and_of_one_generation() -> None:
    """A restarted daemon counts from 0 again: never a negative rate."""
    assert rates(_counted(1, 100), _counted(1, 150), 0.5)["wqs"][0]["completed_per_s"] == 100.0
    assert rates(_counted(1, 1000), _counted(2, 50), 0.5)["wqs"][0]["completed_per_s"] == 100.0
    assert rates(_counted(1, 100), _counted(1, 150), 0.0)["wqs"][0]["completed_per_s"] == 0.0


def test_groups_are_the_sums_of_their_work_queues() -> None:
    """A WQ without a group is in none."""
    (group,) = rates(_counted(1, 100), _counted(1, 150), 0.5)["groups"]
    assert (group["group"], group["wqs"], group["completed_per_s"], group["occupancy"]) == ("dsa0/group0.1", 2, 200.0, 300)
