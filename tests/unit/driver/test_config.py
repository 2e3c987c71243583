"""Configuration: accel-config's JSON is taken unchanged, or refused whole with every problem named."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driver_bench import DriverBench

from idxdd.driver.config import DEFAULT_CONFIG, Problem, parse_config
from idxdd.spec.codes import WqMode, WqType

Change = Callable[[dict[str, Any]], None]
SAVED = [
    {
        "dev": "dsa0",
        "max_groups": 4,
        "max_work_queues": 8,
        "state": "enabled",
        "token_limit": 0,
        "event_log_size": 64,
        "groups": [
            {
                "dev": "group0.1",
                "tokens_reserved": 0,
                "use_token_limit": 0,
                "tokens_allowed": 8,
                "traffic_class_a": 1,
                "traffic_class_b": 1,
                "grouped_workqueues": [
                    {
                        "dev": "wq0.5",
                        "mode": "shared",
                        "size": 16,
                        "group_id": 1,
                        "priority": 10,
                        "block_on_fault": 1,
                        "max_batch_size": 1000,
                        "max_transfer_size": "2097152",
                        "cdev_minor": 0,
                        "type": "user",
                        "name": "app1",
                        "driver_name": "user",
                        "threshold": 15,
                        "ats_disable": 0,
                        "op_config": "00000000,00000000,00000000,00000000,00000000,00000000,00000000,0000000b",
                    }
                ],
                "grouped_engines": [{"dev": "engine0.2", "group_id": 1}],
            }
        ],
        "ungrouped_workqueues": [{"dev": "wq0.0"}],
        "ungrouped_engines": [{"dev": "engine0.0"}],
    }
]
"""Shaped as `accel-config save-config` writes it."""


@pytest.fixture
def bench() -> Iterator[DriverBench]:
    bench = DriverBench()
    bench.run()
    yield bench
    bench.close()


def parse(bench: DriverBench, config: Any) -> tuple[list[Any], list[Problem]]:
    return parse_config(config, {"dsa0": (0, bench.driver.devices[0].caps)})


def test_a_saved_configuration_is_taken_unchanged(bench: DriverBench) -> None:
    """Facts that list and save-config add are accepted; limits are rounded up as sysfs does."""
    (device,), problems = parse(bench, SAVED)
    assert problems == []
    (wq,) = device.wqs
    assert (wq.id, wq.group_id, wq.mode, wq.type, wq.size, wq.threshold) == (5, 1, WqMode.SHARED, WqType.USER, 16, 15)
    assert (wq.max_batch_size, wq.max_transfer_size, wq.block_on_fault, wq.op_config) == (1024, 2 << 20, True, 0xB)
    assert device.engines == {2: 1}
    assert device.groups[0].read_buffers_allowed == 8


def test_a_saved_configuration_reaches_the_registers(bench: DriverBench) -> None:
    """What the device then holds."""
    assert "ok" in bench.verb("configure", config=SAVED)
    cfg, group = bench.device.wqcfg(5), bench.device.grpcfg(1)
    assert (cfg.wq_size, cfg.wq_thresh, cfg.mode, cfg.bof, cfg.op_config, cfg.wq_state) == (16, 15, 0, True, 0xB, 1)
    assert (group.wqs, group.engines, group.tc_a, group.rdbufs_allowed) == (1 << 5, 1 << 2, 1, 8)


def _wq(key: str, value: object) -> Change:
    return lambda device: device["groups"][0]["grouped_workqueues"][0].update({key: value})


def _second_wq(**values: object) -> Change:
    def change(device: dict[str, Any]) -> None:
        wqs = device["groups"][0]["grouped_workqueues"]
        wqs.append({**wqs[0], **values})

    return change


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        (_wq("size", 129), "grouped_workqueues[0].size", "EINVAL"),
        (_wq("size", "many"), "grouped_workqueues[0].size", "EINVAL"),
        (_wq("threshold", 17), "grouped_workqueues[0].threshold", "EINVAL"),
        (_wq("threshold", 0), "grouped_workqueues[0].threshold", "WQ_NO_THRESH"),
        (_wq("mode", "private"), "grouped_workqueues[0].mode", "EINVAL"),
        (_wq("type", "iaa"), "grouped_workqueues[0].type", "EINVAL"),
        (_wq("name", ""), "grouped_workqueues[0].name", "WQ_NO_NAME"),
        (_wq("name", "x" * 1025), "grouped_workqueues[0].name", "EINVAL"),
        (_wq("priority", 16), "grouped_workqueues[0].priority", "EINVAL"),
        (_wq("priority", 0), "grouped_workqueues[0].priority", "WQ_PRIORITY_ZERO"),
        (_wq("driver_name", "crypto"), "grouped_workqueues[0].driver_name", "WQ_NO_DRV_NAME"),
        (_wq("max_transfer_size", 0), "grouped_workqueues[0].max_transfer_size", "EINVAL"),
        (_wq("max_transfer_size", 1 << 32), "grouped_workqueues[0].max_transfer_size", "EINVAL"),
        (_wq("prs_disable", 1), "grouped_workqueues[0].block_on_fault", "EOPNOTSUPP"),
        (_wq("op_config", "ffffffff"), "grouped_workqueues[0].op_config", "WQ_OP_CONFIG"),
        (_wq("group_id", 2), "grouped_workqueues[0].group_id", "EINVAL"),
        (_wq("colour", "red"), "grouped_workqueues[0].colour", "ENOENT"),
        (_wq("dev", "wq1.5"), "grouped_workqueues[0].dev", "ENOENT"),
        (_wq("dev", "wq0.8"), "grouped_workqueues[0].dev", "ENOENT"),
        (_second_wq(), "grouped_workqueues[1].dev", "GROUP_WQ_CONFIG"),
        (_second_wq(dev="wq0.6", size=120), "[0]", "WQ_SIZE_SUM_ERANGE"),
        (lambda device: device["groups"][0].pop("grouped_engines"), "[0].groups", "GROUP_CONFIG"),
        (lambda device: device["groups"][0].pop("grouped_workqueues"), "[0].groups", "WQ_NONE_CONFIGURED"),
        (lambda device: device["groups"][0].update(tokens_allowed=3), "[0].groups", "RDBUF_CONFIG"),
        (lambda device: device["groups"][0].update(dev="group0.9"), "groups[0].dev", "ENOENT"),
        (lambda device: device["groups"][0].update(traffic_class_a=8), "groups[0].traffic_class_a", "EINVAL"),
        (lambda device: device.update(dev="dsa7"), "[0].dev", "ENODEV"),
        (lambda device: device.update(groups={}), "[0].groups", "EINVAL"),
        (lambda device: device.update(token_limit=97), "[0].token_limit", "EINVAL"),
    ],
)
def test_each_rule_is_named(bench: DriverBench, change: Change, path: str, code: str) -> None:
    """Path, rule and code of what is wrong, one rule at a time; nothing is applied."""
    config = copy.deepcopy(SAVED)
    change(config[0])
    _, problems = parse(bench, config)
    assert any(problem.path.endswith(path) and problem.code == code for problem in problems), problems
    bench.device.commands.clear()
    answer = bench.verb("configure", config=config)
    assert (answer["error"]["code"], code in answer["error"]["text"]) == ("EINVAL", True)
    assert bench.device.commands == []


@pytest.mark.parametrize(
    "config", [{}, "dsa0", [None], [[]], [{"dev": 3}], [{"dev": "dsa0", "groups": [7]}], [{"dev": "dsa0"}] * 2]
)
def test_any_json_is_answered(bench: DriverBench, config: object) -> None:
    """Never an exception."""
    assert bench.verb("configure", config=config)["error"]["code"] == "EINVAL"


def test_every_problem_is_reported(bench: DriverBench) -> None:
    """Not only the first."""
    config = copy.deepcopy(SAVED)
    _wq("size", -1)(config[0])
    _wq("mode", "x")(config[0])
    _, problems = parse(bench, config)
    assert {problem.path.rsplit(".", 1)[1] for problem in problems} >= {"size", "mode"}


def test_another_configuration_needs_a_disabled_device(bench: DriverBench) -> None:
    """EBUSY; the same one again is answered with success."""
    assert "ok" in bench.verb("configure", config=DEFAULT_CONFIG)
    assert bench.verb("configure", config=SAVED)["error"]["code"] == "EBUSY"
    assert "ok" in bench.verb("configure", config=DEFAULT_CONFIG)
    bench.verb("disable_device", device=0)
    assert "ok" in bench.verb("configure", config=SAVED)
    assert bench.device.wqcfg(5).wq_state == 1
