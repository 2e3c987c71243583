"""Settings: which of four places wins, every mistake by name at once, and what a reload may change."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from idxdd.native import LAYOUT
from idxdd.service.settings import BY_NAME, DEVICES_MAX, SETTINGS, BadSetting, Limits, reloaded, resolve

ENVIRON = {"HOME": "/nonexistent"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "idxdd.toml"
    path.write_text(text)
    return str(path)


def test_option_environment_file_default(tmp_path: Path) -> None:
    """In this order; each value knows where it comes from."""
    path = written(tmp_path, '[daemon]\ninstance = "f"\nspin_us = 1\n[limits]\nportals_max = 3\n[log]\nlevel = "debug"\n')
    environ = {**ENVIRON, "IDXDD_INSTANCE": "e", "IDXDD_SPIN_US": "2"}
    found = resolve({"daemon.instance": "o"}, path, environ)
    names = ("daemon.instance", "daemon.spin_us", "limits.portals_max", "limits.buffers_max")
    assert [found.values[name] for name in names] == ["o", 2, 3, Limits.buffers_max]
    assert [found.origins[name].split()[0] for name in names] == ["option", "environment", "file", "default"]
    settings = found.settings()
    assert (settings.instance, settings.spin_us, settings.limits.portals_max, settings.log_level) == ("o", 2, 3, "debug")


def test_the_file_is_looked_for(tmp_path: Path) -> None:
    """A named one must be there; a default one need not; an empty name reads none."""
    path = written(tmp_path, "[daemon]\nspin_us = 7\n")
    assert resolve({}, None, {**ENVIRON, "IDXDD_SETTINGS": path}).values["daemon.spin_us"] == 7
    assert resolve({}, "", {**ENVIRON, "IDXDD_SETTINGS": path}).file == ""
    with pytest.raises(BadSetting, match="No such file"):
        resolve({}, str(tmp_path / "none"), ENVIRON)
    if os.geteuid() != 0:
        home = tmp_path / ".config" / "idxdd"
        home.mkdir(parents=True)
        (home / "idxdd.toml").write_text("[daemon]\nspin_us = 8\n")
        assert resolve({}, None, {"HOME": str(tmp_path)}).values["daemon.spin_us"] == 8


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """By name, with the rule, and what was probably meant."""
    path = written(
        tmp_path,
        '[daemon]\nspinus = 1\ninstance = "a/b"\n[limit]\n[limits]\nportals_max = -1\nbuffers_max = true\n'
        '[log]\nlevel = "loud"\n[roles]\nadmin_users = ["nobody-of-this-name", 1.5]\n'
        '[wq."wq0.1"]\n[wq."dsa0/wq0.1"]\nuser = [1]\n',
    )
    with pytest.raises(BadSetting) as caught:
        resolve({}, path, {**ENVIRON, "IDXDD_SPIN_US": "fast"})
    said = str(caught.value)
    for part in (
        "daemon.spinus is no setting: write spin_us",
        "[limit] is no section: write limits",
        "instance 'a/b' must be 1 to 32",
        "portals_max -1 must be between 0 and 4096",
        "buffers_max True must be a number",
        "level 'loud' must be one of error",
        "'nobody-of-this-name' is not known",
        "environment IDXDD_SPIN_US: spin_us 'fast' must be a number",
        '[wq."wq0.1"] must name a work queue',
        "user is no setting: write users",
    ):
        assert part in said
    assert "\n" not in said


def test_an_option_is_named_as_it_is_typed() -> None:
    """Section and all where the command line has it; a negative number is a number."""
    with pytest.raises(BadSetting) as caught:
        resolve({"log.level": "loud", "daemon.spin_us": "-1"}, "", ENVIRON)
    assert "option --log-level: level 'loud' must be one of error" in str(caught.value)
    assert "option --spin-us: spin_us -1 must be between 0 and" in str(caught.value)


@pytest.mark.parametrize("text", ["[", "a = ", "x = 1", "daemon = 3", "[[daemon]]", "\0", "[daemon]\nspin_us = 99999999999"])
def test_files_that_cannot_be_meant(tmp_path: Path, text: str) -> None:
    """One line with the file's name."""
    path = written(tmp_path, text)
    with pytest.raises(BadSetting, match=r"idxdd\.toml"):
        resolve({}, path, ENVIRON)


def test_lists_of_users_and_groups(tmp_path: Path) -> None:
    """Names or numbers; the environment has them between commas."""
    path = written(tmp_path, '[roles]\nadmin_users = ["root", 7]\n[wq."dsa0/wq0.2"]\nusers = [5]\ngroups = ["root"]\n')
    access = resolve({}, path, {**ENVIRON, "IDXDD_KERNEL_GROUPS": "root,9"}).settings().access
    assert (access.admin_users, access.kernel_groups) == ({0, 7}, {0, 9})
    assert (access.wqs["dsa0/wq0.2"].users, access.wqs["dsa0/wq0.2"].groups) == ({5}, {0})


def test_every_limit_is_a_setting() -> None:
    """A new one must be thought of here, and variables are not used twice."""
    assert {f"limits.{one.name}" for one in fields(Limits)} <= BY_NAME.keys()
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_reload_changes_what_it_can_and_names_the_rest(setting: Any) -> None:
    """What needs a restart stays as it is, also in `config show`."""
    other: dict[str, Any] = {"daemon.instance": "x", "daemon.socket": "/x", "daemon.config": "/y", "log.level": "error"}
    other["daemon.quirks"] = "DEF-02"
    other["metrics.listen"] = "/z"
    other["daemon.later"] = "flr"
    value = other.get(setting.name, "json" if setting.name == "log.format" else "5")
    now = resolve({}, "", ENVIRON)
    later = resolve({setting.name: value}, "", ENVIRON)
    result, changed, refused = reloaded(now, later)
    assert (setting.name in changed, setting.name in refused) == (setting.reloads, not setting.reloads)
    kept = later if setting.reloads else now
    assert result.values[setting.name] == kept.values[setting.name]


def test_quirks_are_names_of_the_drivers_defects(tmp_path: Path) -> None:
    """A list in the file, commas in the environment, repeated as an option; an unknown one is refused."""
    path = written(tmp_path, '[daemon]\nquirks = ["DEF-02", "-DEF-03"]\n')
    assert resolve({}, path, ENVIRON).settings().quirks == ("DEF-02", "-DEF-03")
    assert resolve({}, "", {**ENVIRON, "IDXDD_QUIRKS": "DEF-01,DEF-10"}).settings().quirks == ("DEF-01", "DEF-10")
    assert resolve({"daemon.quirks": ["DEF-08"]}, path, ENVIRON).settings().quirks == ("DEF-08",)
    with pytest.raises(BadSetting, match=r"quirks .*DEF-6"):
        resolve({"daemon.quirks": ["DEF-6"]}, "", ENVIRON)


def test_later_behaviour_is_chosen_by_name() -> None:
    """Each option is one change of a later kernel; an unknown one is refused with those there are."""
    assert resolve({}, "", {**ENVIRON, "IDXDD_LATER": "flr,halt-cause"}).settings().later == ("flr", "halt-cause")
    with pytest.raises(BadSetting, match=r"later .*'FLR' is none of flr"):
        resolve({"daemon.later": ["FLR"]}, "", ENVIRON)


def test_devices_are_a_list_of_profiles(tmp_path: Path) -> None:
    """From each of the three places; a path counts from where the daemon is started."""
    path = written(tmp_path, '[daemon]\ndevices = ["dsa2", "small.toml"]\n')
    assert resolve({}, path, ENVIRON).settings().devices == ("dsa2", os.path.abspath("small.toml"))
    environ = {**ENVIRON, "IDXDD_DEVICES": "dsa1,dsa2"}
    assert resolve({}, path, environ).settings().devices == ("dsa1", "dsa2")
    found = resolve({"daemon.devices": ["dsa1"]}, path, environ)
    assert (found.settings().devices, found.origins["daemon.devices"]) == (("dsa1",), "option --device")
    assert resolve({}, "", ENVIRON).settings().devices == ("dsa2",)


@pytest.mark.parametrize("value", ["[]", '["dsa2", "dsa2", "dsa2", "dsa2", "dsa2"]', '"dsa2,"', '["dsa2", 1]', "2"])
def test_devices_that_there_cannot_be_are_refused(tmp_path: Path, value: str) -> None:
    """As many as the shared layouts have room for."""
    with pytest.raises(BadSetting, match="devices"):
        resolve({}, written(tmp_path, f"[daemon]\ndevices = {value}\n"), ENVIRON)
    assert LAYOUT["devices_max"] == DEVICES_MAX
