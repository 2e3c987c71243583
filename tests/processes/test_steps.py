"""The numbered steps in real processes: idxdd-irq ends at the point a test arms, and its successor finishes the job."""

from pathlib import Path

from daemons import RunningDaemon
from waiting import wait_until

from idxd_client import connect
from idxdd.driver.steps import VARIABLE, create_page
from idxdd.spec.codes import CompletionStatus

KERNEL = "dsa0/wq0.2"


def test_killed_at_armed_points_under_load(instance: str, tmp_path: Path) -> None:
    """Between acknowledging and handling, before a ring entry, before a command is written: nothing is lost or done twice."""
    with create_page(tmp_path / "steps") as page:
        daemon = RunningDaemon(instance, tmp_path, environ={VARIABLE: str(tmp_path / "steps")}).start()
        try:
            with connect(daemon.socket) as connection, connection.open(KERNEL) as wq, daemon.connect() as control:
                source, target = connection.alloc(4096), connection.alloc(4096)
                for kill, point in enumerate(("channel.pending_list", "state.device.causes_owed", "mmio.CMD"), 1):
                    source[:] = bytes([kill]) * 4096
                    page.arm(point)
                    if point != "channel.pending_list":
                        control.request("disable_wq", wq="dsa0/wq0.1")
                        control.request("enable_wq", wq="dsa0/wq0.1")
                    assert wq.memmove(target, source, 4096).status == CompletionStatus.SUCCESS
                    wait_until(lambda kill=kill: page.kills == kill, 10, f"idxdd-irq ends at {point}")
                    wait_until(lambda: connection.list()["devices"][0]["wqs"][1]["state"] == "enabled", 10, "enabled again")
                    assert bytes(target[:]) == bytes([kill]) * 4096
            assert page.hits()["mmio.CMD"] > 4
            assert not page.armed
        finally:
            assert daemon.stop() == 0
