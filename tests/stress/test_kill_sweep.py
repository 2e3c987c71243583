"""idxdd-irq is killed at its numbered steps, in real processes, under load, on one device that lives through all of it.

`make test`: ten steps of one seed. `make stress` (IDXDD_STRESS=long): every step. IDXDD_STRESS_SEED=n: that order and load.
"""

import os
import random
from pathlib import Path

import pytest
from daemons import RunningDaemon
from neighbour import held, told, unbalanced
from sweep import Sweep
from waiting import wait_until

from idxdctl.stress_run import Plan, Stress
from idxdd.driver.steps import POINTS, VARIABLE, create_page

LONG = os.environ.get("IDXDD_STRESS") == "long"
SEED = int(os.environ.get("IDXDD_STRESS_SEED") or (random.SystemRandom().getrandbits(31) if LONG else 7))
STEPS = 0 if LONG else 10
CLIENTS = 6 if LONG else 2


@pytest.mark.timeout(900 if LONG else 300)
def test_idxdd_irq_killed_at_numbered_steps_under_load(instance: str, tmp_path: Path) -> None:
    """Its successor finishes the job from wherever it stood: nothing is lost or completed twice, nobody waits in vain."""
    points = random.Random(SEED).sample(POINTS, len(POINTS))
    with create_page(tmp_path / "steps") as page:
        daemon = RunningDaemon(instance, tmp_path, environ={VARIABLE: str(tmp_path / "steps"), "IDXDD_LATER": "flr"}).start()
        try:
            sweep = Sweep(daemon.socket, page, points, SEED, STEPS)
            plan = Plan(CLIENTS, 0, 0, SEED, frozenset({"faults"}), timeout_s=60)
            found = Stress(plan, daemon.socket, others=[sweep]).run()
            print(f"seed {SEED}: {len(sweep.met)} steps met, {found.finished} descriptors in {found.seconds:.0f} s")
            print(f"seed {SEED}: not met: {', '.join(sweep.not_met) or 'none'}")
            assert not found.failures, "\n".join([*found.failures, f"IDXDD_STRESS_SEED={SEED}", told(daemon)])
            assert len(sweep.met) >= (STEPS or len(POINTS) // 2), sweep.not_met
            wait_until(lambda: held(daemon) == (1, 0, 0), 20, "sessions, channels and portals are given back")
            assert not unbalanced(daemon)
        finally:
            code = daemon.stop()
        assert code == 0, daemon.said[-2000:]
