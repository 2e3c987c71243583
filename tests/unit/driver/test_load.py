"""load-config, save-config, config-*, reset: the driver's errno for each rule; everything or nothing, also when killed."""

from collections.abc import Iterator
from typing import Any

import pytest
from driver_bench import DriverBench, configured

from idxdd.driver.config import DEFAULT_CONFIG
from idxdd.spec.codes import CmdErr, Command, DeviceState, DriverStatus, WqState

WQ1 = "dsa0/wq0.1"
ENABLED, DISABLED = WqState.ENABLED, WqState.DISABLED


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    with configured() as bench:
        yield bench


def other_config() -> list[dict[str, Any]]:
    """One WQ of another shape in another group."""
    wq = {"dev": "wq0.5", "mode": "shared", "size": 24, "group_id": 2, "priority": 7, "block_on_fault": 1, "type": "user"}
    wq |= {"name": "five", "driver_name": "user", "threshold": 20, "max_batch_size": 64, "max_transfer_size": 65536}
    group = {"dev": "group0.2", "grouped_workqueues": [wq], "grouped_engines": [{"dev": "engine0.3", "group_id": 2}]}
    return [{"dev": "dsa0", "read_buffer_limit": 0, "groups": [group]}]


def saved(bench: DriverBench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.verb("save_config")["ok"]["config"]
    return found


def states(bench: DriverBench) -> list[WqState]:
    return [bench.device.wqcfg(wq).wq_state for wq in range(8)]


# ---- load and save -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("config", [DEFAULT_CONFIG, other_config()])
def test_the_round_trip_is_identity(bench: DriverBench, config: list[dict[str, Any]]) -> None:
    """What save-config writes loads as what was saved, to the last attribute; and nothing that was given is lost."""
    assert bench.verb("load_config", config=config, force=True, enable=True)["ok"]["applied"]
    first = saved(bench)
    for group in config[0]["groups"]:
        (mine,) = [other for other in first[0]["groups"] if other["dev"] == group["dev"]]
        for wq, again in zip(group["grouped_workqueues"], mine["grouped_workqueues"], strict=True):
            assert wq.items() <= again.items()
        assert group["grouped_engines"] == mine["grouped_engines"]
    assert bench.verb("load_config", config=first, force=True)["ok"]["applied"]
    assert saved(bench) == first


def test_what_list_prints_loads_again(bench: DriverBench) -> None:
    """accel-config's list has more keys than its configuration; its readers feed it back."""
    listed = bench.verb("topology")["ok"]["devices"]
    before = saved(bench)
    assert bench.verb("load_config", config=listed, force=True, enable=True)["ok"]["problem_count"] == 0
    assert saved(bench) == before


def test_an_enabled_device_is_left_alone_without_force(bench: DriverBench) -> None:
    """EBUSY, and not one command."""
    bench.device.commands.clear()
    error = bench.verb("load_config", config=other_config(), enable=True)["error"]
    assert (error["code"], "--force" in error["text"]) == ("EBUSY", True)
    assert bench.device.commands == []


def test_force_replaces_an_enabled_configuration(bench: DriverBench) -> None:
    """The old WQs are disabled, the new one is enabled; without enable the device stays disabled."""
    answer = bench.verb("load_config", config=other_config(), force=True, enable=True)["ok"]
    assert answer["enabled"] == ["dsa0", "dsa0/wq0.5"]
    assert states(bench) == [ENABLED if wq == 5 else DISABLED for wq in range(8)]
    assert bench.verb("load_config", config=DEFAULT_CONFIG, force=True)["ok"]["enabled"] == []
    assert bench.device.state is DeviceState.DISABLED


def test_a_dry_run_changes_nothing(bench: DriverBench) -> None:
    """Checked whole, also on an enabled device."""
    before = saved(bench)
    assert not bench.verb("load_config", config=other_config(), dry_run=True)["ok"]["applied"]
    assert saved(bench) == before


def test_all_problems_at_once_with_path_rule_code_and_fix(bench: DriverBench) -> None:
    """Whoever repairs a file wants to repair it once."""
    config = other_config()
    wq = config[0]["groups"][0]["grouped_workqueues"][0]
    wq["treshold"] = wq.pop("threshold")
    wq |= {"size": 999, "name": "x" * 5000}
    config[0]["token_limit"] = 0
    answer = bench.verb("load_config", config=config, force=True, enable=True)["ok"]
    problems = {problem["path"].rpartition(".")[2]: problem for problem in answer["problems"]}
    assert not answer["applied"]
    assert {"treshold", "size", "name", "threshold"} <= problems.keys()
    assert problems["treshold"]["fix"] == "write threshold"
    assert problems["threshold"]["code"] == "WQ_NO_THRESH"
    assert [warning["fix"] for warning in answer["warnings"]] == ["write read_buffer_limit"]
    assert states(bench)[:4] == [ENABLED] * 4


def test_thousands_of_problems_fit_an_answer(bench: DriverBench) -> None:
    """An answer that is too long for a frame would end idxdd-irq."""
    config = [{"dev": "dsa0", **{f"key{number}" * 20: 1 for number in range(2000)}}]
    answer = bench.verb("load_config", config=config)["ok"]
    assert answer["problem_count"] > 2000
    assert len(answer["problems"]) == 100


def test_a_failing_enable_puts_the_former_configuration_back(bench: DriverBench) -> None:
    """Nothing is half done: the WQs that were enabled are enabled again."""
    before, refuse = saved(bench), bench.device._execute

    def execute(command: Command, operand: int) -> tuple[int, int]:
        if command is Command.ENABLE_WQ and operand == 5:
            return int(CmdErr.WQ_SIZE_ZERO), 0
        return refuse(command, operand)

    bench.device._execute = execute  # type: ignore[method-assign]
    error = bench.verb("load_config", config=other_config(), force=True, enable=True)["error"]
    assert error["code"] == "ENXIO"
    assert "the former configuration is in force" in error["text"]
    assert saved(bench) == before
    assert states(bench) == [ENABLED] * 4 + [DISABLED] * 4


@pytest.mark.parametrize("budget", range(0, 366, 12))
def test_killed_anywhere_it_is_the_new_configuration(budget: int) -> None:
    """The verb is repeated to the successor; at the end everything is as if nobody had been killed."""
    with configured(counting=True) as bench:
        bench.budget = budget
        number = 0

        def load() -> None:
            nonlocal number
            number = bench._number + 1
            bench.send("load_config", config=other_config(), force=True, enable=True)

        bench.survive(load)
        assert bench.answers[number]["ok"]["applied"]
        assert saved(bench)[0]["groups"][0]["dev"] == "group0.2"
        assert states(bench) == [ENABLED if wq == 5 else DISABLED for wq in range(8)]
        assert bench.driver.devices[0].wqs[5].block.bound == 1
        bench.budget = None


# ---- config-* ----------------------------------------------------------------------------------------------------------
def write(bench: DriverBench, target: str, *pairs: tuple[str, str]) -> str:
    """errno's name, or an empty string."""
    answer = bench.verb("config", object=target, attributes=[list(pair) for pair in pairs])
    return str(answer["error"]["code"]) if "error" in answer else ""


@pytest.mark.parametrize(
    ("target", "attribute", "text", "code"),
    [
        (WQ1, "size", "16", "EPERM"),  # the device is enabled
        (WQ1, "size", "many", "EINVAL"),  # parsed first
        (WQ1, "size", "0x10", "EINVAL"),  # base 10
        (WQ1, "priority", "3", "EPERM"),  # the WQ is enabled
        (WQ1, "threshold", "99", "EINVAL"),  # range before state
        (WQ1, "threshold", "0x10", "ENXIO"),  # base 0; the WQ is enabled
        (WQ1, "block_on_fault", "1", "ENXIO"),
        (WQ1, "mode", "private", "EPERM"),  # state before value
        (WQ1, "name", "", "EPERM"),
        (WQ1, "clients", "1", "EACCES"),
        (WQ1, "colour", "red", "ENOENT"),
        ("dsa0/wq0.5", "priority", "16", "EINVAL"),
        ("dsa0/wq0.5", "priority", "-1", "EINVAL"),
        ("dsa0/wq0.5", "mode", "private", "EINVAL"),
        ("dsa0/wq0.5", "name", "", "EINVAL"),
        ("dsa0/wq0.5", "name", "x" * 1025, "EINVAL"),
        ("dsa0/wq0.5", "driver_name", "x" * 129, "EINVAL"),
        ("dsa0/wq0.5", "group_id", "4", "EINVAL"),
        ("dsa0/wq0.5", "group_id", "-2", "EINVAL"),
        ("dsa0/wq0.5", "block_on_fault", "maybe", "EINVAL"),
        ("dsa0/wq0.5", "max_batch_size", "0", "EINVAL"),
        ("dsa0/wq0.5", "max_transfer_size", "4294967296", "EINVAL"),
        ("dsa0/wq0.5", "op_config", "xyz", "EINVAL"),
        ("dsa0/wq0.5", "type", "iaa", "EINVAL"),
        ("dsa0", "read_buffer_limit", "8", "EPERM"),
        ("dsa0", "max_engines", "8", "EACCES"),
        ("dsa0", "event_log_size", "64", "EOPNOTSUPP"),  # the mock device has no event log
        ("dsa0/group0.0", "read_buffers_reserved", "8", "EPERM"),
        ("dsa0/group0.0", "work_queues", "wq0.0", "EACCES"),
        ("dsa0/engine0.0", "group_id", "7", "EINVAL"),
        ("dsa0/wq0.8", "size", "1", "ENOENT"),
        ("dsa0/wq1.0", "size", "1", "ENOENT"),
        ("dsa7", "read_buffer_limit", "1", "ENOENT"),
        ("wq0.1", "size", "1", "ENOENT"),
    ],
)
def test_each_check_answers_with_its_errno(bench: DriverBench, target: str, attribute: str, text: str, code: str) -> None:
    """The driver's checks, in the driver's order: which of two broken rules answers is part of the interface."""
    before = saved(bench)
    assert write(bench, target, (attribute, text)) == code
    assert saved(bench) == before


def test_a_session_as_an_accel_config_user_knows_it(bench: DriverBench) -> None:
    """disable, config-wq, config-engine, enable; cmd_status says why in between."""
    bench.verb("reset_device", device="dsa0")
    error = bench.verb("enable_device", device="dsa0")["error"]
    assert error["code"] == "ENXIO"
    assert bench.driver.devices[0].block.cmd_status == DriverStatus.WQ_NONE_CONFIGURED
    assert write(bench, "dsa0/engine0.1", ("group_id", "1")) == ""
    pairs = (("mode", "shared"), ("size", "16"), ("group_id", "1"), ("priority", "10"), ("type", "user"))
    assert write(bench, WQ1, *pairs) == ""
    assert "ok" in bench.verb("enable_device", device="dsa0")
    assert bench.verb("enable_wq", wq=1)["error"]["code"] == "ENXIO"
    assert bench.driver.devices[0].block.cmd_status == DriverStatus.WQ_NO_NAME
    assert write(bench, WQ1, ("name", "app1")) == ""
    assert bench.verb("enable_wq", wq=1)["error"]["code"] == "ENXIO"
    assert bench.driver.devices[0].block.cmd_status == DriverStatus.WQ_NO_THRESH
    assert write(bench, WQ1, ("threshold", "15"), ("driver_name", "crypto")) == ""
    assert bench.verb("enable_wq", wq=1)["error"]["code"] == "ENODEV"
    assert bench.driver.devices[0].block.cmd_status == DriverStatus.WQ_NO_DRV_NAME
    assert write(bench, WQ1, ("driver_name", "user")) == ""
    assert "ok" in bench.verb("enable_wq", wq=1)
    cfg = bench.device.wqcfg(1)
    assert (cfg.wq_size, cfg.wq_thresh, cfg.priority, cfg.wq_state) == (16, 15, 10, ENABLED)


def test_the_first_refusal_leaves_everything_as_it_was(bench: DriverBench) -> None:
    """Several options of one command are one change."""
    before = saved(bench)
    assert write(bench, "dsa0/wq0.5", ("mode", "dedicated"), ("priority", "3"), ("size", "1000")) == "EPERM"
    assert saved(bench) == before


def test_side_effects_are_the_drivers(bench: DriverBench) -> None:
    """A new type clears the name, dedicated clears the threshold, PRS off clears block on fault, limits are rounded up."""
    bench.verb("disable_device", device="dsa0")
    five = "dsa0/wq0.1"
    assert write(bench, five, ("block_on_fault", "1"), ("max_batch_size", "33"), ("prs_disable", "y")) in ("", "ENOENT")
    assert write(bench, five, ("type", "kernel"), ("mode", "dedicated"), ("max_transfer_size", "5000")) == ""
    (wq,) = [wq for group in saved(bench)[0]["groups"] for wq in group["grouped_workqueues"] if wq["dev"] == "wq0.1"]
    assert (wq["name"], wq["threshold"], wq["max_transfer_size"]) == ("", 0, 8192)


def test_a_half_written_configuration_survives_a_kill(bench: DriverBench) -> None:
    """It need not be fit to be enabled to be remembered."""
    bench.verb("reset_device", device="dsa0")
    assert write(bench, "dsa0/wq0.6", ("size", "10"), ("type", "user")) == ""
    before = saved(bench)
    bench.kill()
    bench.start()
    bench.run()
    assert saved(bench) == before
    assert before[0]["ungrouped_workqueues"][0]["size"] == 10


def test_reset_forgets_everything(bench: DriverBench) -> None:
    """As a fresh device: no WQ, no engine, in no group."""
    assert "ok" in bench.verb("reset_device", device="dsa0")
    (device,) = bench.verb("topology")["ok"]["devices"]
    assert device["state"] == "disabled"
    assert {wq["size"] for wq in device["ungrouped workqueues"]} == {0}
    assert len(device["ungrouped_engines"]) == device["max_engines"]
    assert bench.verb("reset_device", device="dsa1")["error"]["code"] == "ENOENT"


def test_the_topology_has_accel_configs_keys_in_its_order(bench: DriverBench) -> None:
    """Whoever parses accel-config's list parses this; documented by accel-config-list(1)."""
    (device,) = bench.verb("topology")["ok"]["devices"]
    assert list(device)[:9] == [
        *("dev", "read_buffer_limit", "max_groups", "max_work_queues", "max_engines", "work_queue_size", "numa_node"),
        *("op_cap", "gen_cap"),
    ]
    group = device["groups"][1]
    assert (
        list(group)
        == [
            *("dev", "read_buffers_reserved", "use_read_buffer_limit", "read_buffers_allowed", "traffic_class_a"),
            *("traffic_class_b", "grouped_workqueues", "grouped_engines"),
        ]
        or "desc_progress_limit" in group
    )
    (wq,) = group["grouped_workqueues"]
    assert list(wq)[:12] == [
        *("dev", "mode", "size", "group_id", "priority", "block_on_fault", "max_batch_size", "max_transfer_size", "type"),
        *("name", "driver_name", "threshold"),
    ]
    assert (wq["state"], wq["mode"], group["grouped_engines"]) == ("enabled", "shared", [{"dev": "engine0.1", "group_id": 1}])
