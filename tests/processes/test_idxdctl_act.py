"""idxdctl makes a device halt, be reset, revoke handles, leave and return while clients work: what they see, what returns."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon
from waiting import wait_until

from idxdd.control.exitcodes import ExitCode

pytestmark = pytest.mark.xdist_group("idxdctl-act")
USER, KERNEL = "dsa0/wq0.1", "dsa0/wq0.2"

TRAFFIC = """
import json, sys, threading, time, idxd_client
from idxd_client import Descriptor, DescriptorAborted, IdxdError, KernelChannel, PortalClosed, Refused
seen = {"done": 0, "failed": 0, "called": 0, "twice": 0, "closed": [], "reopened": 0, "dropped": 0, "wrong": 0, "other": []}
numbers = set()
def called(completion):
    seen["called"] += 1
    seen["twice"] += completion.number in numbers
    numbers.add(completion.number)
def submit(queue, descriptor):
    if isinstance(queue, KernelChannel):
        return queue.submit(descriptor, callback=called, timeout=10)
    return queue.submit(descriptor, timeout=10)
def reopen(queue):
    while not over:
        try:
            queue.reopen()
            seen["reopened"] += 1
            return
        except Refused:
            time.sleep(0.01)
over = []
def listen():
    for line in sys.stdin:
        print(json.dumps(seen), flush=True)
    over.append(1)
threading.Thread(target=listen, daemon=True).start()
with (
    idxd_client.connect(sys.argv[1]) as connection,
    connection.open(sys.argv[2]) as queue,
    connection.alloc(16 * 8192) as buffer,
):
    places = [(buffer.region(8192 * i, 4096), buffer.region(8192 * i + 4096, 4096)) for i in range(8)]
    round_ = 0
    while not over:
        round_ += 1
        try:
            batch = []
            for source, target in places:
                source.view[:8] = round_.to_bytes(8, "little")
                batch.append((submit(queue, Descriptor.memmove(target, source, 4096)), source, target))
        except PortalClosed as error:
            seen["closed"].append(error.reason.name)
        for completion, source, target in batch:
            try:
                result = completion.result(10)
                good = result.ok
                seen["done" if good else "failed"] += 1
                seen["wrong"] += bool(good and bytes(target.view[:8]) != bytes(source.view[:8]))
            except (PortalClosed, DescriptorAborted) as error:
                seen["dropped"] += 1
                if isinstance(error, PortalClosed):
                    seen["closed"].append(error.reason.name)
            except IdxdError as error:
                seen["other"].append(str(error))
        if len(batch) < len(places) or seen["closed"][seen["reopened"]:]:
            reopen(queue)
            del seen["closed"][seen["reopened"]:]
"""


class Traffic:
    """A client process that moves 4 KiB pieces without end, and tells what it saw when it is asked."""

    def __init__(self, daemon: RunningDaemon, wq: str) -> None:
        command = [sys.executable, "-c", TRAFFIC, daemon.socket, wq]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seen(self) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert (found["wrong"], found["twice"], found["other"]) == (0, 0, []), found
        return found

    def goes_on(self, more: int = 200) -> dict[str, Any]:
        """What it saw when that many more descriptors were done."""
        before = self.seen()["done"]
        wait_until(lambda: self.seen()["done"] >= before + more, 20, "its descriptors are done")
        return self.seen()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            assert self.process.wait(20) == 0
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()


@pytest.fixture
def user(live: RunningDaemon) -> Iterator[Traffic]:
    traffic = Traffic(live, USER)
    yield traffic
    traffic.end()


@pytest.fixture
def kernel(live: RunningDaemon) -> Iterator[Traffic]:
    traffic = Traffic(live, KERNEL)
    yield traffic
    traffic.end()


def again(ctl: Ctl) -> None:
    """What an operator does after a reset the driver was not part of."""
    assert ctl("disable-device", "dsa0", "--force").code == 0
    assert ctl("enable-device", "dsa0").code == 0
    assert ctl("enable-wq", "dsa0/wq0.0", USER, KERNEL, "dsa0/wq0.3").code == 0


def gensts(ctl: Ctl) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ctl("regs", "GENSTS", "--json").out)["registers"]["GENSTS"]
    return found


def test_revocations_are_not_noticed(ctl: Ctl, kernel: Traffic) -> None:
    """Handle after handle under a working channel: every descriptor succeeds and is called back once, however often its
    handle was gone when it finished."""
    kernel.goes_on()
    revoked = []
    for _ in range(8):
        revoked += json.loads(ctl("revoke", "dsa0", "--wq", KERNEL, "--json").out)["revoked"]
        kernel.goes_on(50)
    seen = kernel.seen()
    assert len(set(revoked)) == len(revoked) == 8, "each time another number"
    assert (seen["failed"], seen["dropped"], seen["closed"]) == (0, 0, [])
    assert len(json.loads(ctl("revoke", "dsa0", "--json").out)["revoked"]) == 2, "one for each kernel WQ"
    kernel.goes_on()


def test_a_software_halt_passes(live: RunningDaemon, ctl: Ctl, user: Traffic, kernel: Traffic) -> None:
    """The driver brings the device back by itself; a user client gets PortalClosed (halted), reopens and goes on; a kernel
    channel's callbacks come, once each."""
    user.goes_on()
    kernel.goes_on()
    done = ctl("halt", "dsa0", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["reset_type"], facts["not_enabled_again"]) == ("software", [])
    assert {"dsa0", USER, KERNEL} <= set(facts["enabled_again"])
    assert set(user.goes_on()["closed"]) == {"HALTED"}
    assert kernel.goes_on()["reopened"] >= 1
    assert "halted, needs a software reset, by pid" in live.said
    assert gensts(ctl)["fields"]["state"] == "ENABLED"


def test_each_other_halt_needs_its_reset(live: RunningDaemon, ctl: Ctl, user: Traffic) -> None:
    """The driver gives up and says what is needed; a weaker reset does not help; after the right one, the operator goes on."""
    resets = [("flr", ("flr",)), ("warm", ("bus-reset", "--type", "warm")), ("cold", ("bus-reset", "--type", "cold"))]
    for strength, (kind, command) in enumerate(resets):
        user.goes_on(50)
        done = ctl("halt", "dsa0", "--type", kind)
        assert (done.code, f"idxdctl {' '.join([command[0], 'dsa0', *command[1:]])}" in done.err) == (0, True), done.err
        assert gensts(ctl)["fields"] == {"state": "HALT", "reset_type": kind.upper()}
        assert ctl("enable-device", "dsa0").code == ExitCode.FAILED
        if strength:
            weaker = resets[strength - 1][1]
            assert "still halted" in ctl(weaker[0], "dsa0", *weaker[1:]).err
        assert "reset done, disabled" in ctl(command[0], "dsa0", *command[1:]).err
        again(ctl)
        assert set(user.goes_on(50)["closed"]) == {"HALTED"}
    assert "idxd halted, need FLR." in live.said
    assert live.said.count("idxd halted, need system reset.") == 2


def test_an_flr_in_full_work(ctl: Ctl, user: Traffic, kernel: Traffic) -> None:
    """Nobody halted: the device is simply new. Clients are told, nothing hangs, and disable-device finds its way."""
    user.goes_on(50)
    kernel.goes_on(50)
    found = json.loads(ctl("flr", "dsa0", "--json").out)
    assert (found["state"], found["reset_type"]) == ("DISABLED", "flr")
    again(ctl)
    assert "ABORTED" in user.goes_on(50)["closed"]
    kernel.goes_on(50)


def test_a_device_that_is_removed_comes_back_as_new(live: RunningDaemon, ctl: Ctl, user: Traffic, kernel: Traffic) -> None:
    """Surprise removal in full work, with kernel channels whose handles can no longer be given back."""
    user.goes_on(50)
    kernel.goes_on(50)
    assert "removed" in ctl("remove", "dsa0").err
    assert ctl("regs", "GENSTS").out.split() == ["GENSTS", "0xffffffff"]
    for command in (["remove", "dsa0"], ["halt", "dsa0"], ["flr", "dsa0"], ["revoke", "dsa0"]):
        refused = ctl(*command)
        assert (refused.code, "was removed" in refused.err) == (ExitCode.FAILED, True), refused.err
    assert ctl("enable-device", "dsa0").code == ExitCode.FAILED
    assert "DISABLED" in json.loads(ctl("insert", "dsa0", "--json").out)["state"]
    assert ctl("insert", "dsa0").code == ExitCode.FAILED
    again(ctl)
    assert "REMOVED" in user.goes_on(50)["closed"]
    kernel.goes_on(50)
    assert "inserted, by pid" in live.said


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("halt dsa7", "there is dsa0"),
        ("flr wq0.1", "there is dsa0"),
        ("revoke dsa0 --handle 99", "out are:"),
        ("revoke dsa0 --wq dsa0/wq0.1", "kernel work queue"),
        ("revoke dsa0 --wq dsa0/wq0.77", "no work queue"),
        ("insert dsa0", "was not removed"),
    ],
)
def test_what_cannot_be_done_is_one_line(ctl: Ctl, command: str, says: str) -> None:
    """With the field, the rule, and what there is instead."""
    done = ctl(*command.split())
    assert (done.code, len(done.err.splitlines())) == (ExitCode.FAILED, 1)
    assert says in done.err


def test_a_disabled_device_does_not_halt(ctl: Ctl) -> None:
    """Only Enabled and Drain lead to Halt (registers.md section 5)."""
    assert ctl("disable-device", "dsa0", "--force").code == 0
    done = ctl("halt", "dsa0")
    assert (done.code, "only an enabled device halts" in done.err) == (ExitCode.FAILED, True)
    again(ctl)


def test_the_log_is_read_by_programs(live: RunningDaemon, tmp_path: Path) -> None:
    """Who made the device act is in the line's fields."""
    line = next(line for line in live.said.splitlines() if "halted, needs a software reset" in line)
    assert "device=dsa0" in line
    assert "uid=" in line
