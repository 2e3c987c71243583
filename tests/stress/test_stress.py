"""idxdctl stress against two devices: clients that check everything, with kills, revokes, halts, disabled WQs and faults.

`make test`: some seconds. `make stress` (IDXDD_STRESS=long): 32 clients and 5 million descriptors. A failure prints the command
that repeats it; IDXDD_STRESS_SEED=n is that seed.
"""

import json
import os
import random
import re
from pathlib import Path

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # the fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon
from neighbour import held, told, unbalanced
from waiting import wait_until

from idxdctl.stress_run import KINDS, Found, Plan, Stress
from idxdd.shm import names

LONG = os.environ.get("IDXDD_STRESS") == "long"
SEED = int(os.environ.get("IDXDD_STRESS_SEED") or random.SystemRandom().getrandbits(31) if LONG else 5)
CLIENTS = 32 if LONG else 10
DESCRIPTORS = int(os.environ.get("IDXDD_STRESS_DESCRIPTORS", 5_000_000)) if LONG else 0
SECONDS = 0.0 if LONG else 4.0
GROWTH_KIB_MAX = 4096
"""Of the daemon's own memory while clients come and go; a leak of one session's objects would be several times that."""
DEVICES = 2


@pytest.mark.timeout(900 if LONG else 300)
def test_two_devices_under_load_and_disturbed(instance: str, tmp_path: Path) -> None:
    """Accepted = completed + aborted, each exactly once, every byte right, nothing left and nothing grown, whatever happens."""
    devices = [argument for _ in range(DEVICES) for argument in ("--device", "dsa2")]
    daemon = RunningDaemon(instance, tmp_path, *devices).start()
    try:
        plan = Plan(CLIENTS, DESCRIPTORS, SECONDS, SEED, frozenset(KINDS), every_s=2.0 if LONG else 0.4, timeout_s=60)
        found = Stress(plan, daemon.socket).run()
        print(f"{plan.command()}: {found.finished} descriptors in {found.seconds:.0f} s, {dict(found.events)}")
        assert not found.failures, "\n".join([*found.failures, plan.command(), told(daemon)])
        assert len({wq["wq"] for wq in found.wqs if wq["completed"]}) == 4 * DEVICES
        assert all(found.events[event] for event in ("kill-clients", "kill-irq", "halt", "revoke")), found.events
        _check_growth(found)
        wait_until(lambda: held(daemon) == (1, 0, 0), 20, "sessions, channels and portals are given back")
        assert not unbalanced(daemon)
    finally:
        code = daemon.stop()
    assert code == 0, daemon.said[-2000:]
    assert names.names_left(instance) in ([], [f"idxdd.{os.geteuid()}.{instance}.lock"])


def _check_growth(found: Found) -> None:
    facts = found.growth["idxdd"].facts()
    if facts["samples"] > 20:  # a short run has not warmed up
        assert facts["last"]["anonymous_kib"] - facts["first"]["anonymous_kib"] < GROWTH_KIB_MAX, facts


def test_the_programs_a_user_has(live: RunningDaemon, ctl: Ctl) -> None:
    """stress says how to repeat it and what held; bench holds each number against memcpy; both refuse what is not there."""
    plain = ctl("stress", "--clients", 2, "--descriptors", "2k", "--seed", 77, "--faults")
    assert plain.code == 0, plain.err
    assert "seed 77" in plain.err
    assert re.search(r"^\d+ descriptors in .* right, \d+ faults as asked for, 0 aborted", plain.out, re.M), plain.out
    facts = json.loads(ctl("stress", "--clients", 1, "--descriptors", 500, "--seed", 7, "--json").out)
    assert facts["failures"] == []
    assert facts["descriptors"] >= 500
    assert facts["command"] == "idxdctl stress --clients 1 --seed 7 --every 0.5 --timeout 60 --descriptors 500"
    assert facts["names"]["before"] == facts["names"]["after"]
    wrong = ctl("stress", "--wq", "dsa0/wq0.9")
    assert (wrong.code, wrong.err.count("\n")) == (1, 2), wrong.err  # the seed, and one line
    assert "dsa0/wq0.9: not an enabled work queue" in wrong.err
    rows = json.loads(ctl("bench", "--rounds", 1, "--json").out)["rows"]
    assert rows[0]["what"] == "move 64 KiB"
    assert all(row["median"] > 0 for row in rows)
    assert rows[0]["ratio"]["low"] <= rows[0]["ratio"]["median"] <= rows[0]["ratio"]["high"]
