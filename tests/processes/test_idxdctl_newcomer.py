"""What a newcomer gets wrong: a removed device, an earlier command's error, paths and names that are none."""

from pathlib import Path

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live

from idxdd.control.exitcodes import ExitCode

pytestmark = pytest.mark.xdist_group("idxdctl-newcomer")


def test_a_removed_device_says_so_and_how_it_comes_back(ctl: Ctl) -> None:
    """HW_ERR alone sends its reader to the wrong verb."""
    assert ctl("remove", "dsa0").code == 0
    refused = ctl("enable-device", "dsa0")
    assert refused.code == ExitCode.FAILED
    assert "HW_ERR" in refused.err
    assert "dsa0 is removed: `idxdctl insert dsa0`" in refused.err
    assert "dsa0: disabled (removed)" in ctl("list", "-i").out
    assert "removed" not in ctl("list", "-i", "--json").out
    assert "idxdctl insert dsa0" in ctl("doctor").out
    assert ctl("insert", "dsa0").code == 0


def test_a_halted_device_names_the_reset_it_needs(ctl: Ctl) -> None:
    """Enabling it will not do."""
    assert ctl("halt", "dsa0", "--type", "flr").code == 0
    refused = ctl("enable-device", "dsa0")
    assert "needs a flr reset: `idxdctl flr dsa0`" in refused.err
    assert "idxdctl flr dsa0" in ctl("doctor").out
    assert ctl("flr", "dsa0").code == 0


def test_hints_are_of_this_command(ctl: Ctl) -> None:
    """cmd_status keeps the last error of the device, whoever asked then."""
    assert ctl("reset", "dsa0").code == 0
    assert "WQ_NONE_CONFIGURED" in ctl("enable-device", "dsa0").err
    refused = ctl("enable-wq", "dsa0/wq0.4")
    assert "WQ_NONE_CONFIGURED" not in refused.err
    assert "config-wq dsa0/wq0.4 configures it" in refused.err
    unknown = ctl("enable-device", "dsa7").err
    assert "there is dsa0" in unknown
    assert "config-wq" not in unknown


def test_files_and_paths_that_cannot_be(ctl: Ctl, tmp_path: Path) -> None:
    """One line with the verb and the name that was typed, and the exit code of the table."""
    for arguments, code, words in (
        (("save-config", "-s", tmp_path), ExitCode.FAILED, f"save-config: {tmp_path}: Is a directory"),
        (("metrics", "--listen", tmp_path / "none" / "m.sock"), ExitCode.FAILED, "No such file"),
        (("metrics", "--listen", "0.0.0.0:99"), ExitCode.USAGE, "is an address"),
        (("fill", tmp_path / "f", "--size", "9999999T"), ExitCode.USAGE, "more than a file can have"),
    ):
        done = ctl(*arguments)
        assert (done.code, words in done.err) == (code, True), done.err
        assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_trace_of_a_work_queue_that_is_not(ctl: Ctl) -> None:
    """No records, with success, would mean that nothing was submitted there."""
    assert ctl("trace", "on").code == 0
    assert ctl("ping", "-n", 2).code == 0
    unknown = ctl("trace", "show", "--wq", "dsa0/wq0.77")
    assert unknown.code == ExitCode.FAILED
    assert "no such work queue" in unknown.err
    missing = ctl("why", 999999)
    assert "it has" in missing.err
    assert "overwritten" not in missing.err
    assert ctl("trace", "off", "--discard").code == 0
