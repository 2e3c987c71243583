"""An accel-config user's usual session, typed at idxdctl, against a real daemon: same names, same options, same JSON."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon

import idxd_client
from idxdd.control.exitcodes import ExitCode

pytestmark = pytest.mark.xdist_group("idxdctl-config")
PROFILES = Path("/etc/accel-config/contrib/configs")
PROFILE = """[{"dev": "dsa0", "token_limit": 0, "groups": [{"dev": "group0.0",
  "grouped_workqueues": [{"priority": 10, "dev": "wq0.0", "mode": "shared", "size": 16, "group_id": 0, "block_on_fault": 0,
    "max_batch_size": 32, "max_transfer_size": 16384, "type": "user", "driver_name": "user", "name": "app1", "threshold": 15}],
  "grouped_engines": [{"dev": "engine0.0", "group_id": 0},]}]}]"""


def listed(ctl: Ctl, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ctl("list", "--json", *options).out)
    return found


def test_the_usual_session(ctl: Ctl) -> None:
    """reset, config-engine, config-wq, enable-device, enable-wq, list, disable; what is refused says why and what to do."""
    assert ctl("reset", "dsa0").code == 0
    refused = ctl("enable-device", "dsa0")
    assert refused.code == ExitCode.FAILED
    assert "0x800d0000 WQ_NONE_CONFIGURED" in refused.err
    assert "load-config" in refused.err.splitlines()[-1]
    for arguments in (
        ("config-engine", "dsa0/engine0.2", "--group-id=1"),
        ("config-wq", "dsa0/wq0.3", "-m", "shared", "--wq-size=16", "-g", 1, "-p", 10, "-y", "user", "-n", "app", "-t", 12),
        ("enable-device", "dsa0"),
        ("enable-wq", "dsa0/wq0.3"),
    ):
        done = ctl(*arguments)
        assert done.code == 0, done.err
    (device,) = listed(ctl)
    (group,) = [group for group in device["groups"] if "grouped_workqueues" in group]
    (wq,) = group["grouped_workqueues"]
    assert (wq["dev"], wq["size"], wq["threshold"], wq["state"], wq["name"]) == ("wq0.3", 16, 12, "enabled", "app")
    assert group["grouped_engines"] == [{"dev": "engine0.2", "group_id": 1}]
    with idxd_client.connect() as connection, connection.open("dsa0/wq0.3") as queue:
        queue.noop()
        used = ctl("disable-wq", "dsa0/wq0.3")
        assert used.code == ExitCode.FAILED
        assert "1 client(s)" in used.err
        assert "--force" in used.err
    assert ctl("config-wq", "dsa0/wq0.3", "-s", 8).code == ExitCode.FAILED
    assert ctl("disable-device", "dsa0", "--force").code == 0
    assert listed(ctl) == []
    assert listed(ctl, "-i")[0]["state"] == "disabled"


def test_a_file_goes_in_and_comes_out(ctl: Ctl, tmp_path: Path) -> None:
    """`dev` anywhere, an old name and a loose comma: with a warning. Saved, loaded and saved again it is the same."""
    path, saved, again = tmp_path / "profile.conf", tmp_path / "saved.conf", tmp_path / "again.conf"
    path.write_text(PROFILE)
    assert ctl("load-config", "-c", path, "-e").code == ExitCode.FAILED
    done = ctl("load-config", "-c", path, "-e", "-f")
    assert done.code == 0, done.err
    assert "token_limit is deprecated; write read_buffer_limit" in done.err
    assert "a comma before a closing bracket" in done.err
    assert ctl("save-config", "-s", saved).code == 0
    assert ctl("load-config", "-c", saved, "-f").code == 0
    assert ctl("save-config", "-s", again).code == 0
    assert saved.read_text() == again.read_text()
    assert '"dev":"dsa0"' in saved.read_text()


def test_a_bad_file_changes_nothing_and_every_problem_is_a_line(ctl: Ctl, tmp_path: Path) -> None:
    """Path, rule, code and what to write instead; the last line counts them."""
    before = listed(ctl)
    path = tmp_path / "bad.conf"
    path.write_text(PROFILE.replace('"threshold"', '"treshold"').replace('"size": 16', '"size": 999'))
    done = ctl("load-config", "-c", path, "-e", "-f")
    assert done.code == ExitCode.BAD_CONFIGURATION
    lines = done.err.splitlines()
    assert any("[0].groups[0].grouped_workqueues[0].treshold" in line and "write threshold" in line for line in lines)
    assert any(".size" in line and "[EINVAL]" in line for line in lines)
    assert lines[-1].endswith("problems, nothing was applied")
    assert listed(ctl) == before
    answer = json.loads(ctl("load-config", "-c", path, "--json").out)
    assert (answer["schema"], answer["applied"], answer["problem_count"]) == (1, False, len(answer["problems"]))


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", "7", '[{"dev": "dsa9"}]', '[{"dev": "dsa0", "groups": [{"dev": "group0.0"}]}]']
)
def test_wrong_files_are_answered(ctl: Ctl, tmp_path: Path, text: str) -> None:
    """Not JSON, nothing in it, a device that is not there: one line or more, never a change."""
    before = listed(ctl)
    path = tmp_path / "wrong.conf"
    path.write_text(text)
    done = ctl("load-config", "-c", path, "-f", "-e")
    assert done.code == (0 if text == "[]" else ExitCode.BAD_CONFIGURATION)
    assert listed(ctl) == before


@pytest.mark.skipif(not PROFILES.is_dir(), reason="accel-config is not installed: its profiles are not here")
def test_the_profiles_that_come_with_accel_config_load(ctl: Ctl) -> None:
    """Unchanged, as their users have them."""
    for path in PROFILES.glob("*.conf"):
        done = ctl("load-config", "-c", path, "-f", "-e")
        assert done.code == 0, (path, done.err)


def test_list_takes_accel_configs_filters(ctl: Ctl) -> None:
    """One device, group, WQ or engine; kinds left out; idle ones on request."""
    (device,) = listed(ctl, "-q", "dsa0/wq0.1")
    assert [wq["dev"] for group in device["groups"] for wq in group.get("grouped_workqueues", [])] == ["wq0.1"]
    (device,) = listed(ctl, "-g", "dsa0/group0.2")
    assert [group["dev"] for group in device["groups"]] == ["group0.2"]
    assert listed(ctl, "-d", "dsa7") == []
    assert "groups" not in listed(ctl, "-D")[0]
    assert all("grouped_workqueues" not in group for group in listed(ctl, "-E")[0]["groups"])
    assert "ungrouped workqueues" not in listed(ctl)[0]
    assert len(listed(ctl, "-i")[0]["ungrouped workqueues"]) == 4


def test_several_names_are_counted(ctl: Ctl) -> None:
    """`all`, names without their device, and one that fails: the rest is done, the exit code tells."""
    done = ctl("disable-wq", "dsa0/wq0.0", "wq0.1", "dsa0/wq0.7")
    assert (done.code, "disabled 2 wq(s) out of 3" in done.err) == (0, True) or "disabled 3 wq(s)" in done.err
    done = ctl("enable-wq", "all", "--json")
    assert done.code == ExitCode.FAILED
    answer = json.loads(done.out)
    assert {"dsa0/wq0.0", "dsa0/wq0.1"} == set(answer["enabled"])
    assert {failure["code"] for failure in answer["failed"]} == {"EBUSY", "ENOENT"}


def test_the_names_of_two_administrators_do_not_mix(live: RunningDaemon, ctl: Ctl) -> None:
    """Two loads at once: one of the two configurations stands at the end, whole."""
    one = json.loads(PROFILE.replace("},]", "}]"))
    other = json.loads(json.dumps(one).replace("wq0.0", "wq0.5").replace("app1", "app2"))

    def load(config: Any) -> None:
        with live.connect() as client:
            client.request("load_config", config=config, force=True, enable=True)

    threads = [threading.Thread(target=load, args=(config,)) for config in (one, other, one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (device,) = listed(ctl)
    (wq,) = [wq for group in device["groups"] for wq in group.get("grouped_workqueues", [])]
    assert (wq["dev"], wq["name"]) in {("wq0.0", "app1"), ("wq0.5", "app2")}
    assert wq["state"] == "enabled"
