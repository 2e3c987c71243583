"""The service: its units are right by systemd's own tools, and run under a real systemd booted in namespaces of its own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from idxdd.service.watchdog import Watchdog, period_s
from idxdd.shm.clock import FakeClock, Timers

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "systemd"
BOOT = REPOSITORY / "tests" / "systemd" / "boot.sh"
EXPOSURE_MAX = 1.5
BOOT_S = 60.0
MEMBER, STRANGER = "idxdd-member", "idxdd-stranger"

pytestmark = pytest.mark.xdist_group("systemd")
needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd"
)


def idxdd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "idxdd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# ---- by systemd's tools ------------------------------------------------------------------------------------------------
@needs_analyze
@pytest.mark.parametrize("unit", ["idxdd.service", "idxdd@.service"])
def test_the_service_is_hardened(unit: str) -> None:
    """Exposure at most 1.5 of 10."""
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={int(EXPOSURE_MAX * 10)}", str(UNITS / unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@needs_analyze
@pytest.mark.parametrize("unit", ["idxdd.service", "idxdd.socket", "idxdd@a.service", "idxdd@a.socket"])
def test_the_units_have_nothing_to_be_verified(tmp_path: Path, unit: str) -> None:
    """A misspelt directive is ignored by systemd, with a line in a log nobody reads: any line fails here."""
    assert idxdd("service", "install", "--root", str(tmp_path)).returncode == 0
    path = tmp_path / "usr/lib/systemd/system" / unit.replace("@a", "@")
    if "@" in unit:
        path = path.rename(path.with_name(unit))
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{path.parent}:"}
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_install_writes_all_of_it_and_remove_keeps_the_settings(tmp_path: Path) -> None:
    """Below a root of one's own; an administrator's settings are never written over."""
    first = idxdd("service", "install", "--root", str(tmp_path))
    assert len(first.stdout.splitlines()) == 12
    for name in (
        "man/man1/idxdctl.1",
        "man/man8/idxdd.8",
        "bash-completion/completions/idxdctl",
        "zsh/site-functions/_idxdctl",
    ):
        assert (tmp_path / "usr/share" / name).stat().st_size > 1000
    settings = tmp_path / "etc/idxdd/idxdd.toml"
    assert idxdd("config", "show", "--settings", str(settings)).returncode == 0
    settings.write_text("# mine\n")
    assert len(idxdd("service", "install", "--root", str(tmp_path)).stdout.splitlines()) == 11
    assert len(idxdd("service", "remove", "--root", str(tmp_path)).stdout.splitlines()) == 11
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [settings]
    assert settings.read_text() == "# mine\n"


NO_DEFAULT = ("socket", "config", "inject", "listen")


def test_every_setting_of_the_shipped_file_is_one(tmp_path: Path) -> None:
    """Comments taken away it is what the defaults are; and none is left out."""
    lines = (UNITS / "idxdd.toml").read_text().splitlines()
    shown = [line.removeprefix("# ") for line in lines if line.startswith("[") or (" = " in line and line.startswith("# "))]
    path = tmp_path / "idxdd.toml"
    path.write_text(
        "\n".join(line for line in shown if not line.startswith(('users = ["alice', 'groups = ["dsa', *NO_DEFAULT)))
    )
    done = idxdd("config", "show", "--json", "--settings", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["settings"]
    keys = {line.partition(" = ")[0] for line in shown}
    assert {name.partition(".")[2] for name in found} <= keys
    bare = json.loads(idxdd("config", "show", "--json", "--settings", "").stdout)["settings"]
    assert {name: one["value"] for name, one in found.items() if name != "daemon.spin_us"} == {
        name: one["value"] for name, one in bare.items() if name != "daemon.spin_us"
    }


# ---- the watchdog ------------------------------------------------------------------------------------------------------
def test_the_watchdog_is_fed_while_everybody_answers() -> None:
    """A hung engine, or an idxdd-irq that stays silent, is not fed for; nor is the engine asked twice."""
    clock = FakeClock()
    timers = Timers(clock)
    asked, fed, silent = [], [], [0.0]
    dog = Watchdog(timers, 15.0, asked.append, lambda: silent[0], fed.append)
    dog.beat()

    def beats(count: int) -> int:
        before = len(fed)
        for _ in range(count):
            clock.advance(5.1)
            timers.run_due()
        return len(fed) - before

    assert (len(fed), len(asked)) == (1, 1)
    assert (beats(3), len(asked)) == (0, 1)  # the engine hangs
    asked[-1]()
    assert (beats(1), len(asked)) == (1, 2)
    asked[-1]()
    silent[0] = 11.0
    assert beats(1) == 0  # idxdd-irq is silent
    silent[0] = 0.5
    asked[-1]()
    assert beats(1) == 1


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "15000000"}, 15.0),
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "x"}, 0.0),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}, 0.001),
    ],
)
def test_the_watchdogs_period(environ: dict[str, str], seconds: float) -> None:
    """systemd says how often, and to whom."""
    assert period_s(environ) == seconds


# ---- under a real systemd ----------------------------------------------------------------------------------------------
class Booted:
    """systemd as the first process of its own namespaces."""

    def __init__(self, base: Path) -> None:
        private = [str(parent) for parent in Path(sys.executable).resolve().parents if not parent.stat().st_mode & 0o001]
        namespaces = ["--fork", "--pid", "--kill-child", "--mount", "--ipc", "--net", "--uts", "--cgroup"]
        self.base = base
        self.log = base.with_suffix(".log")
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", str(BOOT), str(base), *private]
        with self.log.open("wb") as log:
            self.outer = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.pid = 0

    def wait(self) -> None:
        """Until basic.target is reached; AssertionError says what it said instead."""
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")

        def up() -> bool:
            assert self.outer.poll() is None, self.log.read_text()
            self.pid = int((children.read_text().split() or ["0"])[0])
            if not self.pid or Path(f"/proc/{self.pid}/comm").read_text().strip() != "systemd":
                return False
            return self("systemctl", "is-active", "basic.target", check=False).stdout.strip() == "active"

        wait_until(up, BOOT_S, "systemd has booted")

    def __call__(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it inside."""
        inside = ["nsenter", "-t", str(self.pid), "-a", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def as_user(self, user: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command, check=False)

    def show(self, prop: str, unit: str = "idxdd.service") -> str:
        return self("systemctl", "show", "-P", prop, unit).stdout.strip()

    def close(self) -> None:
        """--kill-child takes the whole pid namespace along."""
        self.outer.send_signal(signal.SIGKILL)
        self.outer.wait(20)


def _why_not() -> str:
    if os.geteuid() != 0:
        return "not root: a systemd in namespaces cannot be booted"
    if not Path("/lib/systemd/systemd").exists():
        return "no systemd here: apt-get install systemd"
    for program in ("unshare", "nsenter", "setpriv", "useradd"):
        if shutil.which(program) is None:
            return f"no {program} here"
    probe = ["unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--uts", "--cgroup", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return "namespaces cannot be made here"
    return ""


@pytest.fixture(scope="module")
def booted() -> Iterator[Booted]:
    """One boot for the tests below, with the service installed and two users; skipped where that cannot be."""
    why_not = _why_not()
    if why_not:
        pytest.skip(why_not)
    base = Path(tempfile.mkdtemp(prefix="idxdd-boot-"))
    system = Booted(base)
    try:
        system.wait()
        system(sys.executable, "-m", "idxdd", "service", "install")
        drop_in = "/etc/systemd/system/idxdd.service.d"
        hidden = "ProtectHome=read-only" if str(Path(sys.executable).resolve()).startswith(("/home", "/root")) else ""
        text = f"[Service]\\n{hidden}\\nWatchdogSec=3s\\nRestartSec=100ms\\n"
        system("sh", "-c", f"mkdir -p {drop_in} && printf '{text}' >{drop_in}/test.conf")
        system("systemd-sysusers")
        system("systemd-tmpfiles", "--create")
        for user in (MEMBER, STRANGER):
            system("useradd", "--no-create-home", user)
        system("usermod", "-aG", "idxdd", MEMBER)
        system("systemctl", "daemon-reload")
        yield system
    finally:
        system.close()
        system.log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            base.rmdir()


@pytest.fixture
def service(booted: Booted) -> Iterator[Booted]:
    """Started, and stopped afterwards."""
    booted("systemctl", "reset-failed", check=False)
    done = booted("systemctl", "start", "idxdd.socket", "idxdd.service", check=False)
    assert done.returncode == 0, done.stderr + booted("journalctl", "-u", "idxdd", "--no-pager", check=False).stdout[-3000:]
    yield booted
    booted("systemctl", "stop", "idxdd.service", "idxdd.socket")


IDXDCTL = (sys.executable, "-m", "idxdctl.main")


def main_pid(system: Booted) -> int:
    return int(system.show("MainPID") or 0)


def restarted(system: Booted, before: int) -> int:
    """The new main process, ready."""

    def found() -> int:
        pid = main_pid(system)
        return pid if pid not in (0, before) and system.show("SubState") == "running" else 0

    return int(wait_until(found, 30, "the service was restarted"))


def test_members_of_the_group_use_it_and_strangers_do_not(service: Booted) -> None:
    """By the socket's mode; the daemon runs as its own user, and a member is not an administrator."""
    listed = service.as_user(MEMBER, *IDXDCTL, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[0]["state"] == "enabled"
    assert service.as_user(MEMBER, *IDXDCTL, "ping", "-n", "10").returncode == 0
    refused = service.as_user(MEMBER, *IDXDCTL, "disable-device", "dsa0")
    assert "EPERM" in refused.stderr
    stranger = service.as_user(STRANGER, *IDXDCTL, "list")
    assert (stranger.returncode, "no permission" in stranger.stderr) == (7, True)
    assert service("ps", "-o", "user=", "-p", str(main_pid(service))).stdout.strip() == "idxdd"


def test_a_killed_daemon_is_restarted_as_a_new_generation(service: Booted) -> None:
    """Within RestartSec and a start; configured anew from its files."""
    before = main_pid(service)
    generation = json.loads(service(*IDXDCTL, "stats", "--json").stdout)["generation"]
    service("kill", "-9", str(before))
    restarted(service, before)
    after = json.loads(service(*IDXDCTL, "stats", "--json").stdout)["generation"]
    assert after > generation


def test_a_hung_daemon_is_restarted_by_the_watchdog(service: Booted) -> None:
    """A loop that stands still is not fed for."""
    before = main_pid(service)
    service("kill", "-STOP", str(before))
    restarted(service, before)
    assert "watchdog" in service("journalctl", "-u", "idxdd", "--no-pager").stdout.lower()


def test_a_reload_and_the_journals_fields(service: Booted) -> None:
    """systemctl reload reads the settings again; lines come with fields that journalctl can select."""
    service("sh", "-c", "printf '[limits]\\nportals_max = 3\\n' >/etc/idxdd/idxdd.toml")
    before = main_pid(service)
    service("systemctl", "reload", "idxdd")

    def said() -> bool:
        return "limits.portals_max" in service("journalctl", "-t", "idxdd", "--no-pager", "-o", "cat").stdout

    wait_until(said, 20, "the reload is in the journal")
    assert main_pid(service) == before
    service.as_user(MEMBER, *IDXDCTL, "disable-device", "dsa0")
    wait_until(
        lambda: "may not disable_device" in service("journalctl", "_TRANSPORT=journal", "-t", "idxdd", "--no-pager").stdout,
        20,
        "the refused attempt is in the journal",
    )


def test_a_stop_leaves_nothing(service: Booted) -> None:
    """No name in shared memory, no process, no socket."""
    service("systemctl", "stop", "idxdd.service", "idxdd.socket")
    assert service("sh", "-c", "ls /dev/shm").stdout == ""
    assert service("pgrep", "-u", "idxdd", check=False).stdout == ""
    assert service("sh", "-c", "ls /run/idxdd").stdout == ""


def test_a_client_starts_the_service_by_its_socket(booted: Booted) -> None:
    """Socket activation: the first connection waits until the daemon is there."""
    booted("systemctl", "start", "idxdd.socket")
    try:
        assert booted.show("SubState") != "running"
        assert booted(*IDXDCTL, "list").returncode == 0
        # the client may have its answer before systemd has read READY=1
        wait_until(lambda: booted.show("SubState") == "running", 30, "the service is running")
    finally:
        booted("systemctl", "stop", "idxdd.service", "idxdd.socket")
