"""The pytest plugin as a project would use it: a test file of its own, run by a pytest of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from idxdd.shm.names import names_left

pytest_plugins = ["pytester"]

PROGRAM = """
import sys, idxd_client
with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(4096) as src, conn.alloc(4096) as dst:
    wq.memmove(dst, src)
"""


INI = """[pytest]
addopts = --strict-markers -p no:cacheprovider
filterwarnings =
    error
    ignore:Module already imported so cannot be rewritten; _editable:pytest.PytestAssertRewriteWarning
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a program that knows nothing of idxdd but its client library."""
    pytester.makefile(".py", program=PROGRAM)
    pytester.makeini(INI)
    return pytester


def run(project: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    """One test file in a pytest process; it must leave nothing of its instances behind."""
    project.makepyfile(test_it=textwrap.dedent(text))
    result = project.runpytest_subprocess("-rA", *options)
    left = [name for name in os.listdir("/dev/shm") if f".pytest-{project_pid(result)}-" in name]
    assert not left
    return result


def project_pid(result: pytest.RunResult) -> str:
    """The inner run prints it."""
    pids = [line.split()[-1] for line in result.outlines if line.startswith("inner pid ")]
    return pids[0] if pids else "none"


def test_a_daemon_rules_and_unmodified_programs(project: pytest.Pytester) -> None:
    """The fixture, a rule by mark, calls in this process and a child: the usual test."""
    result = run(
        project,
        """
        import subprocess, sys, os, idxd_client, pytest
        from idxdd.testing import on

        print("inner pid", os.getpid())

        @pytest.mark.dsa_fault("op=memmove when nth=2 do fault write at=100", on(op="crcgen").status("hw_err1"))
        def test_marked(dsa):
            program = [sys.executable, "program.py"]
            assert subprocess.run(program).returncode == 0          # IDXDD_SOCKET leads it to ours
            failed = subprocess.run(program, capture_output=True, text=True)
            assert failed.returncode == 1
            assert "DescriptorError: memmove: status 0x03 PAGE_FAULT_NOBOF" in failed.stderr
            with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(4096) as area:
                with pytest.raises(idxd_client.DescriptorError, match="HW_ERR1"):
                    wq.crc(area)
            assert dsa.hits() == 2

        def test_alone(dsa):
            assert dsa.rules() == []
            assert dsa.stats()["wqs"][0]["completed"] == 0
            assert "dsa0" in dsa.idxdctl("list")
        """,
    )
    result.assert_outcomes(passed=2)


DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
RESUMES = """#!{python}
import idxd_client
from idxd_client import Descriptor
with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(8192) as src, conn.alloc(8192) as dst:
    for round in range(3):
        done = 0
        while done < 8192:
            result = wq.submit(Descriptor.memmove(dst[done:], src[done:])).result()
            done += result.bytes_completed if result.bytes_completed else 8192
"""


def test_the_example_of_the_manual(project: pytest.Pytester) -> None:
    """docs/testing.md's first block as it stands, with a program that resumes."""
    program = project.path / "my-program"
    program.write_text(RESUMES.format(python=sys.executable))
    program.chmod(0o755)
    example = DOCS.read_text().partition("```python\n")[2].partition("```")[0]
    run(project, example).assert_outcomes(passed=2)


def test_one_daemon_for_a_module(project: pytest.Pytester) -> None:
    """Profiles and configuration by the module's marks; rules are each test's own."""
    result = run(
        project,
        """
        import os, pytest
        from idxd_client import Descriptor

        pytestmark = [pytest.mark.dsa_profile("dsa1", "dsa2")]
        pids = []

        @pytest.mark.dsa_fault("op=noop do drop", required=False)
        def test_first(dsa_module):
            assert [device["profile"] for device in dsa_module.ask("list")["devices"]] == ["dsa1", "dsa2"]
            assert len(dsa_module.rules()) == 1
            pids.append(dsa_module.pid)

        def test_second(dsa_module):
            assert dsa_module.rules() == []
            assert pids == [dsa_module.pid]

        @pytest.mark.dsa_profile("dsa1")
        def test_its_own(dsa_module):
            pass
        """,
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*dsa_profile: dsa_module is the module's: mark the module*"])


def test_a_configuration_by_mark(project: pytest.Pytester) -> None:
    """accel-config's JSON, as a list or as a file beside the test."""
    result = run(
        project,
        """
        import json, pathlib, pytest
        WQ = {"dev": "wq0.3", "mode": "dedicated", "size": 8, "group_id": 0, "priority": 1, "type": "user",
              "driver_name": "user", "name": "mine"}
        GROUP = {"dev": "group0.0", "grouped_workqueues": [WQ], "grouped_engines": [{"dev": "engine0.0", "group_id": 0}]}
        CONFIG = [{"dev": "dsa0", "groups": [GROUP]}]
        pathlib.Path(__file__).with_name("config.json").write_text(json.dumps(CONFIG))

        def sizes(dsa):
            return {wq["wq"]: wq for wq in dsa.stats()["wqs"]}.keys()

        @pytest.mark.dsa_config(CONFIG)
        def test_list(dsa):
            assert sizes(dsa) == {"dsa0/wq0.3"}

        @pytest.mark.dsa_config("config.json")
        def test_file(dsa):
            assert sizes(dsa) == {"dsa0/wq0.3"}

        @pytest.mark.dsa_config("absent.json")
        def test_absent(dsa):
            pass
        """,
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*idxdd did not start: *configuration*absent.json*"])


def test_what_goes_wrong_is_told(project: pytest.Pytester) -> None:
    """A failed test's report has all the daemon knows. A rule that never struck, one that cannot be, and a daemon that died
    fail their tests; a test may kill its daemon, to see what clients do then."""
    result = run(
        project,
        """
        import os, signal, pytest, idxd_client

        @pytest.mark.dsa_fault("op=memmove when nth=1 do fault write at=64")
        def test_that_fails(dsa):
            with idxd_client.connect() as conn, conn.open("dsa0/wq0.1") as wq, conn.alloc(4096) as src, conn.alloc(4096) as dst:
                wq.memmove(dst, src)

        @pytest.mark.dsa_fault("op=memmove do drop")
        def test_never(dsa):
            pass

        @pytest.mark.dsa_fault("op=noop do fault write")
        def test_impossible(dsa):
            pass

        def test_killed(dsa):
            dsa.kill()

        def test_died(dsa):
            os.kill(dsa.pid, signal.SIGKILL)
        """,
    )
    result.assert_outcomes(failed=1, passed=3, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*DescriptorError: memmove: status 0x03 PAGE_FAULT_NOBOF*64 completed",
            "*idxdd: rules*",
            "op=memmove when nth=1 do fault write at=64  (1 hits of 1 matches)",
            "*idxdd: counters*",
            "dsa0/wq0.1: accepted 1, completed 1, *",
            "*idxdd: last errors*",
            "* wq 1 memmove size 4096: page_fault_nobof (fault, rule *), 64 completed",
            "*idxdd: trace*",
            "1 wq 1 memmove size 4096: page_fault_nobof (fault, rule *), 64 completed",
            "*idxdd: log*",
            "idxdd: ready: dsa0 at *",
        ]
    )
    said = result.stdout.str()
    for line in ("never hit: op=memmove do drop", "write: noop writes nothing", "idxdd ended with exit code 137"):
        assert line in said


def test_it_works_under_xdist(project: pytest.Pytester) -> None:
    """Each worker's tests have daemons of their own."""
    result = run(
        project,
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_many(dsa, number):
            assert dsa.ask("list")["devices"][0]["name"] == "dsa0"
        """,
        "-n2",
    )
    result.assert_outcomes(passed=2)


def test_a_pytest_that_is_killed_takes_its_daemon_along(project: pytest.Pytester, instance: str) -> None:
    """kill -9 of a CI job leaves no daemon; what it leaves in /dev/shm the next start sweeps."""
    said = "print(dsa.socket, dsa.instance, flush=True)"
    project.makepyfile(test_it=f"def test(dsa):\n    {said}\n    import time\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"]
    with subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        socket, name = next(line.split()[-2:] for line in runner.stdout if "pytest-" in line)
        runner.send_signal(signal.SIGKILL)
    from waiting import wait_until

    wait_until(lambda: not names_left(name), 10, "the daemon ended with its parent, and removed its names")
    wait_until(lambda: not Path(socket).parent.exists(), 10, "and its directory")


def test_it_costs_nothing_where_it_is_not_used() -> None:
    """pytest imports every installed plugin in every run: this one brings nothing heavy along."""
    program = "import sys; before = set(sys.modules); import pytest; pytest_modules = set(sys.modules)\n"
    program += "import idxdd.testing.plugin\nprint(sorted(set(sys.modules) - pytest_modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert eval(said) == ["idxdd", "idxdd.testing", "idxdd.testing.plugin"]


def test_the_plugin_is_registered() -> None:
    """By its entry point, without a line in anybody's conftest."""
    from importlib.metadata import entry_points

    (entry,) = [entry for entry in entry_points(group="pytest11") if entry.name == "idxdd"]
    assert Path(str(entry.load().__file__)).name == "plugin.py"
