"""The daemon as a process: it starts ready, ends clean, is the only one of its name, and survives deaths around it."""

import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ctl import live as live  # fixtures
from daemons import RunningDaemon, alive, child_pids
from daemons import daemon as daemon
from waiting import Lateness, wait_until

import idxd_client
from idxdd.control import wire
from idxdd.control.client import ControlClient, DaemonAbsent, DeviceGone, RequestError
from idxdd.control.exitcodes import ExitCode
from idxdd.native import LAYOUT, Words
from idxdd.shm import names
from idxdd.shm.closed import Closed

RUN = [sys.executable, "-m", "idxdd", "run"]


def stats(daemon: RunningDaemon) -> dict[str, object]:
    with daemon.connect() as client:
        answer, _ = client.request("stats")
    return answer


def open_wq(client: ControlClient, wq: str) -> dict[str, int]:
    answer, fds = client.request("open", wq=wq)
    wire.close_all(fds)
    return answer


# ---- start and end ----------------------------------------------------------------------------------------------------


def test_ready_lists_its_devices_and_ends_clean(daemon: RunningDaemon) -> None:
    """The default configuration: four WQs, two kinds, two modes; SIGTERM gives exit code 0 and leaves no names."""
    with daemon.connect() as client:
        answer, _ = client.request("list")
        (device,) = answer["devices"]
        assert device["state"] == "enabled"
        shape = [(wq["name"], wq["mode"], wq["type"]) for wq in device["wqs"] if wq["state"] == "enabled"]
    assert shape == [
        ("wq0.0", "dedicated", "user"),
        ("wq0.1", "shared", "user"),
        ("wq0.2", "shared", "kernel"),
        ("wq0.3", "dedicated", "kernel"),
    ]
    assert names.names_left(daemon.instance)
    assert daemon.stop() == 0
    assert not names.names_left(daemon.instance)
    assert not os.path.exists(daemon.socket)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_time_of_the_start_ends_it_clean(instance: str, tmp_path: Path, number: int) -> None:
    """Ctrl-C while it starts must not leave names, a socket or an idxdd-irq (conftest looks for all three)."""
    for delay_s in (0.05, 0.12, 0.2, 0.3):
        daemon = RunningDaemon(instance, tmp_path).start(wait=False)
        assert daemon.process is not None
        time.sleep(delay_s)  # the moment is what varies, nothing is waited for
        daemon.process.send_signal(number)
        code = daemon.wait()
        assert code in (0, 1, 130, -number), daemon.said  # 1: within Python's own start
        assert not names.names_left(instance), daemon.said


def test_a_killed_daemon_takes_idxdd_irq_along_and_the_next_one_sweeps(instance: str, tmp_path: Path) -> None:
    """kill -9: clients see the end at once, idxdd-irq never outlives its device, and the same name starts again."""
    daemon = RunningDaemon(instance, tmp_path).start()
    client = daemon.connect()
    irq = daemon.irq_pid()
    daemon.kill()
    assert not alive(irq)
    with Lateness() as late:
        started = time.monotonic()
        with pytest.raises(DeviceGone):
            client.request("list")
        assert time.monotonic() - started < late.limit(1)
    left = names.names_left(instance)
    assert left
    again = RunningDaemon(instance, tmp_path).start()
    assert not set(left) & set(names.names_left(instance)) - {f"idxdd.{os.geteuid()}.{instance}.lock"}
    assert again.stop() == 0


def test_another_instance_sweeps_too(instance: str, tmp_path: Path) -> None:
    """What a killed instance left goes with the next start of any instance of this user."""
    daemon = RunningDaemon(instance, tmp_path).start()
    daemon.kill()
    other = RunningDaemon(f"{instance}-b"[:32], tmp_path).start()
    assert not names.names_left(instance)
    assert other.stop() == 0


# ---- refusals: one line and an exit code ------------------------------------------------------------------------------


def serve(*options: str, environ: dict[str, str] | None = None, **keywords: object) -> tuple[int, str]:
    """Exit code and what was said of a daemon that must not start."""
    done = subprocess.run(
        [sys.executable, "-m", "idxdd", "serve", *options],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **(environ or {})},
        **keywords,  # type: ignore[call-overload]
    )
    return done.returncode, done.stderr


def one_line(said: str) -> str:
    lines = [line for line in said.splitlines() if "removed" not in line]
    assert len(lines) == 1, said
    assert lines[0].startswith("idxdd: ")
    return lines[0]


def test_a_second_daemon_of_the_same_name_is_refused(daemon: RunningDaemon, tmp_path: Path) -> None:
    """It says which process has the name; the first goes on."""
    code, said = serve("--instance", daemon.instance, "--socket", str(tmp_path / "other"))
    assert code == ExitCode.INSTANCE_TAKEN
    assert f"process {daemon.pid}" in one_line(said)
    assert stats(daemon)["devices"]


def test_a_taken_socket_is_refused(daemon: RunningDaemon) -> None:
    """Another instance at the same path would cut off every client of the first."""
    code, said = serve("--instance", f"{daemon.instance}-b"[:32], "--socket", daemon.socket)
    assert code == ExitCode.SOCKET_TAKEN
    assert daemon.socket in one_line(said)
    assert stats(daemon)["devices"]


def test_a_long_socket_path_is_refused(instance: str, tmp_path: Path) -> None:
    """With the limit and the path."""
    code, said = serve("--instance", instance, "--socket", str(tmp_path / ("x" * 120)))
    assert code == ExitCode.SOCKET_PATH_TOO_LONG
    assert "at most 107" in one_line(said)


@pytest.mark.parametrize(
    ("text", "why"),
    [("[", "not JSON"), ('{"dev": 1}', "config"), ('[{"dev": "dsa0", "nonsense": 1}]', "nonsense"), (None, "No such file")],
)
def test_a_bad_configuration_is_refused(instance: str, tmp_path: Path, text: str | None, why: str) -> None:
    """Before anything is served; the line says what is wrong."""
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    code, said = serve("--instance", instance, "--socket", str(tmp_path / "s"), "--config", str(path))
    assert code == ExitCode.BAD_CONFIGURATION
    assert why in "".join(said.splitlines()[-3:])


def test_every_problem_of_a_bad_configuration_has_its_line(instance: str, tmp_path: Path) -> None:
    """All of them used to be one line of two thousand characters."""
    path = tmp_path / "config.json"
    wq = {"dev": "wq0.0", "mode": "sharedd", "size": 999, "name": "n" * 5000}
    path.write_text(json.dumps([{"dev": "dsa0", "foo": 1, "groups": [{"dev": "group0.0", "grouped_workqueues": [wq]}]}]))
    code, said = serve("--instance", instance, "--socket", str(tmp_path / "s"), "--config", str(path))
    assert code == ExitCode.BAD_CONFIGURATION
    head, *lines = [line for line in said.splitlines() if "config" in line or line.startswith("  ")]
    assert f"{path}: {len(lines)} problems, nothing was applied" in head
    for what in ("foo", "mode", "size", "name"):
        assert sum(f".{what}: " in line for line in lines) == 1, said
    assert max(map(len, lines)) < 1000


def test_full_shared_memory_is_refused(instance: str, tmp_path: Path) -> None:
    """Found when segments are reserved, as an error and not as a SIGBUS later (here by RLIMIT_FSIZE, which gives EFBIG)."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code, said = serve("--instance", instance, "--socket", str(tmp_path / "s"), preexec_fn=small)
    assert code == ExitCode.SHM_FULL
    assert "no room" in one_line(said)


def test_an_irq_that_cannot_start_is_refused(instance: str, tmp_path: Path) -> None:
    """Without the driver's side there is no device to serve (here: its module cannot be imported)."""
    package = tmp_path / "shadow"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import sys\nif sys.orig_argv[-1] == 'idxdd.service.irq_main':\n    sys.exit('sitecustomize: no')\n"
    )
    environ = {"PYTHONPATH": str(package)}
    code, said = serve("--instance", instance, "--socket", str(tmp_path / "s"), environ=environ)
    assert code == ExitCode.IRQ_CANNOT_START
    assert "idxdd-irq cannot start" in said.splitlines()[-1]


@pytest.mark.parametrize(("option", "value"), [("--instance", "a.b"), ("--instance", "x" * 33), ("--spin-us", "-1")])
def test_a_bad_option_is_refused(option: str, value: str) -> None:
    """Each names the rule."""
    code, said = serve(option, value)
    assert code == ExitCode.USAGE
    assert "must be" in one_line(said)


# ---- clients ----------------------------------------------------------------------------------------------------------

CLIENT = """
import signal, sys, time
from idxdd.control.client import connect
client = connect(sys.argv[1])
for wq in sys.argv[2:]:
    client.request("open", wq=wq)
client.request("alloc", size=1 << 20)
print("open", flush=True)
signal.pause()
"""


def client_process(daemon: RunningDaemon, *wqs: str) -> "subprocess.Popen[bytes]":
    """A client of its own process with these WQs open; it waits to be killed."""
    process = subprocess.Popen([sys.executable, "-c", CLIENT, daemon.socket, *wqs], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n", daemon.said
    return process


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate(timeout=10)


def test_a_killed_client_gives_everything_back(live: RunningDaemon) -> None:
    """Its dedicated WQ can be opened by the next one, its channels, sessions and descriptors are gone, nothing piles up."""
    table = Path(f"/proc/{live.pid}/fd")
    baseline = 0
    for turn in range(6):
        process = client_process(live, "dsa0/wq0.0", "dsa0/wq0.1", "dsa0/wq0.2", "dsa0/wq0.3")
        busy = stats(live)
        assert busy["channels"] == 2
        kill(process)
        wait_until(lambda: stats(live)["sessions"] == 1, 10, "only the asking session is left")
        assert stats(live)["channels"] == 0
        if turn < 2:  # what is opened once, at the first use, is no leak
            baseline = max(baseline, len(list(table.iterdir())))
        wait_until(
            lambda most=baseline: len(list(table.iterdir())) <= most, 10, "no descriptor more than after the first clients"
        )
    with live.connect() as client:
        assert open_wq(client, "dsa0/wq0.0")["dedicated"]


def test_an_undeliverable_record_costs_nobody_anything(live: RunningDaemon) -> None:
    """A record address that is not there goes through the event log and idxdd-irq back to idxdd, which cannot write it."""
    irq = live.irq_pid()
    with idxd_client.connect(live.socket, agent=False) as connection, connection.open_user("dsa0/wq0.1") as queue:
        array = connection.array(1)
        array[0] = idxd_client.Descriptor.noop()
        slot = bytearray(array.slots[0])
        slot[8:16] = (0x7000_0000_0000).to_bytes(8, "little")
        array.slots[0][:] = bytes(slot)
        for _ in range(20):
            queue.submit_slot(array.slots[0], 5.0)
        queue.wait_number(19)
        queue.noop()
    assert live.irq_pid() == irq
    assert "bad frame" not in live.said


def test_a_client_that_hangs_up_gives_everything_back(live: RunningDaemon) -> None:
    """Closing the connection without closing portals is the same as dying."""
    client = live.connect()
    open_wq(client, "dsa0/wq0.0")
    client.close()
    with live.connect() as other:
        assert wait_until(lambda: try_open(other, "dsa0/wq0.0"), 10, "the dedicated WQ is free again")


def try_open(client: ControlClient, wq: str) -> bool:
    try:
        open_wq(client, wq)
    except RequestError as error:
        if error.code != "EBUSY":
            raise
        return False
    return True


def test_a_dedicated_user_wq_has_one_client(live: RunningDaemon) -> None:
    """The second opener is told EBUSY, as from the character device."""
    with live.connect() as one, live.connect() as other:
        open_wq(one, "dsa0/wq0.0")
        with pytest.raises(RequestError) as refused:
            open_wq(other, "dsa0/wq0.0")
        assert refused.value.code == "EBUSY"


@pytest.mark.parametrize("wq", ["dsa0/wq0.9", "dsa1/wq1.0", "wq0.1", "dsa0/wq1.0", "dsa0/wq0.99"])
def test_a_wq_that_is_not_there(live: RunningDaemon, wq: str) -> None:
    """ENOENT names what was asked for."""
    with live.connect() as client, pytest.raises(RequestError) as refused:
        open_wq(client, wq)
    assert refused.value.code == "ENOENT"


def test_a_wq_without_configuration_cannot_be_opened(live: RunningDaemon) -> None:
    """It exists in the hardware, but no driver has it."""
    with live.connect() as client, pytest.raises(RequestError) as refused:
        open_wq(client, "dsa0/wq0.7")
    assert refused.value.code == "ENXIO"


def test_quotas_are_a_clients_own(instance: str, tmp_path: Path) -> None:
    """Beyond its buffers, bytes or portals a client is refused by name; the next client has its own."""
    environ = {"IDXDD_BUFFERS_MAX": "3", "IDXDD_BUFFER_BYTES_MAX": "65536", "IDXDD_PORTALS_MAX": "2"}
    daemon = RunningDaemon(instance, tmp_path, environ=environ).start()
    try:
        with daemon.connect() as one, daemon.connect() as other:
            assert code_of(lambda: one.request("alloc", size=65537)) == "ENOMEM"
            for client in (one, other):
                for _ in range(3):
                    wire.close_all(client.request("alloc", size=4096)[1])
                assert code_of(lambda: client.request("alloc", size=4096)) == "EMFILE"  # noqa: B023
            one.request("free", buffer=1)
            wire.close_all(one.request("alloc", size=4096)[1])
            for _ in range(2):
                open_wq(one, "dsa0/wq0.1")
            assert code_of(lambda: open_wq(one, "dsa0/wq0.1")) == "EMFILE"
            open_wq(other, "dsa0/wq0.1")
    finally:
        assert daemon.stop() == 0


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as refused:
        call()
    return refused.value.code


def test_buffers_are_mapped_where_the_client_says(live: RunningDaemon) -> None:
    """Overlaps, unaligned addresses, double maps and frees in use are refused; unmap gives the address back."""
    with live.connect() as client:
        first, fds = client.request("alloc", size=10_000)
        wire.close_all(fds)
        assert first["size"] == 12288
        second, fds = client.request("alloc", size=4096)
        wire.close_all(fds)
        client.request("map", buffer=first["buffer"], address=0x10000000)
        assert code_of(lambda: client.request("map", buffer=first["buffer"], address=0x20000000)) == "EBUSY"
        assert code_of(lambda: client.request("map", buffer=second["buffer"], address=0x10002000)) == "EEXIST"
        assert code_of(lambda: client.request("map", buffer=second["buffer"], address=0x10002001)) == "EINVAL"
        assert code_of(lambda: client.request("free", buffer=first["buffer"])) == "EBUSY"
        client.request("unmap", address=0x10000000)
        client.request("map", buffer=second["buffer"], address=0x10002000)
        client.request("free", buffer=first["buffer"])


def test_a_client_cannot_resize_what_it_was_given(live: RunningDaemon) -> None:
    """Shrinking a shared file would be a SIGBUS in the daemon; growing and unsealing are refused as well."""
    with live.connect() as client:
        _, fds = client.request("alloc", size=8192)
        _, more = client.request("open", wq="dsa0/wq0.2")
        for fd in [*fds, more[0], more[4]]:
            for size in (0, 4096, 1 << 20):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, size)
        for fd in (more[1], more[5]):  # device's page, completion ring
            with pytest.raises(OSError, match=r"denied|not permitted|Bad file|Invalid"):
                os.pwrite(fd, b"x", 0)
        wire.close_all([*fds, *more])


def test_a_stopped_client_hurts_nobody(live: RunningDaemon) -> None:
    """SIGSTOP with everything open: others open, list and close meanwhile."""
    process = client_process(live, "dsa0/wq0.1", "dsa0/wq0.2")
    os.kill(process.pid, signal.SIGSTOP)
    with live.connect() as client:
        portal = open_wq(client, "dsa0/wq0.2")["portal"]
        client.request("close", portal=portal)
        assert client.request("list")[0]["devices"]
    kill(process)


def test_many_clients_come_and_go(live: RunningDaemon) -> None:
    """Two hundred sessions one after the other: descriptors and memory of the daemon do not grow."""
    table = Path(f"/proc/{live.pid}/fd")
    counts = []
    for number in range(200):
        with live.connect() as client:
            open_wq(client, "dsa0/wq0.1")
        if number in (50, 199):
            wait_until(lambda: stats(live)["sessions"] == 1, 10, "sessions end")
            counts.append(len(list(table.iterdir())))
    wait_until(lambda: len(list(table.iterdir())) <= counts[0], 10, "as many descriptors as after fifty")


# ---- idxdd-irq --------------------------------------------------------------------------------------------------------


def test_a_killed_irq_is_replaced(daemon: RunningDaemon) -> None:
    """Its successor adopts: WQs stay enabled, open portals stay open, and the next verb is answered."""
    with daemon.connect() as client:
        open_wq(client, "dsa0/wq0.0")
        channel = open_wq(client, "dsa0/wq0.2")
        for round_ in range(1, 4):
            irq = daemon.irq_pid()
            os.kill(irq, signal.SIGKILL)
            answer, _ = client.request("list")
            assert answer["devices"][0]["state"] == "enabled"
            assert [wq["clients"] for wq in answer["devices"][0]["wqs"]][:1] == [1]
            assert [wq["channels"] for wq in answer["devices"][0]["wqs"]][2] == [channel["channel"]]
            counted, _ = client.request("stats")
            assert counted["irq"]["restarts"] == round_
            assert counted["irq"]["pid"] not in (0, irq)
        client.request("close", portal=channel["portal"])


def test_many_channels_are_adopted(daemon: RunningDaemon) -> None:
    """More than one frame's descriptors: all of them arrive at the successor."""
    with daemon.connect() as client:
        opened = [open_wq(client, "dsa0/wq0.2")["channel"] for _ in range(20)]
        os.kill(daemon.irq_pid(), signal.SIGKILL)
        answer, _ = client.request("list")
        assert answer["devices"][0]["wqs"][2]["channels"] == opened


def test_a_hung_irq_is_killed_and_replaced(daemon: RunningDaemon) -> None:
    """SIGSTOP: nothing tells but its silence; within the watchdog's time there is a new one, and never two."""
    irq = daemon.irq_pid()
    os.kill(irq, signal.SIGSTOP)
    with daemon.connect(timeout=20) as client:
        assert client.request("list")[0]["devices"]
    assert child_pids(daemon.pid) == [daemon.irq_pid()]
    assert daemon.irq_pid() != irq


def test_an_irq_that_keeps_dying_is_tried_later_and_later(daemon: RunningDaemon) -> None:
    """A broken idxdd-irq must not make the daemon a fork bomb; control requests that need no verb are still answered."""
    for _ in range(4):
        pid = wait_until(daemon.irq_pid, 10, "there is an idxdd-irq")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: daemon.irq_pid() != pid, 10, "it is reaped")
    assert "starting another in 0 s" in daemon.said
    assert wait_until(daemon.irq_pid, 10, "there is an idxdd-irq")


def test_an_irq_that_was_killed_at_work_is_replaced_at_once(daemon: RunningDaemon) -> None:
    """Copies once failed ("open: the daemon does not answer") because each kill of a young idxdd-irq that had adopted and
    worked made the next one start later: the back-off is for those that cannot start."""
    with daemon.connect() as client:
        for _ in range(6):
            assert client.request("list")[0]["devices"]
            os.kill(daemon.irq_pid(), signal.SIGKILL)
        assert client.request("list")[0]["devices"]
    delays = [line.rpartition(" in ")[2] for line in daemon.said.splitlines() if "starting another" in line]
    assert delays == ["0 s"] * 6


def test_a_client_that_stays_inside_the_gate_is_fenced(daemon: RunningDaemon) -> None:
    """It would hold a disable forever: its portal is revoked, its channel swept and marked fenced; another client goes on."""
    with daemon.connect() as stuck, daemon.connect() as other:
        _, fds = stuck.request("open", wq="dsa0/wq0.2")
        free = open_wq(other, "dsa0/wq0.2")["portal"]
        page = mmap.mmap(fds[0], LAYOUT["portal_client"])
        device = mmap.mmap(fds[1], 4096, prot=mmap.PROT_READ)
        words = Words(page), Words(device)
        words[0].store32(LAYOUT["portal_client.in_submit"], 1)
        with Lateness() as late:
            started = time.monotonic()
            other.request("disable_wq", wq="dsa0/wq0.2")
            assert time.monotonic() - started < late.limit(2)
        wait_until(lambda: words[1].load32(LAYOUT["portal_device.fenced"]) == 1, 5, "the channel is fenced")
        assert words[1].load32(LAYOUT["portal_device.closed"]) == Closed.REVOKED
        other.request("enable_wq", wq="dsa0/wq0.2")
        other.request("reopen", portal=free)
        for word in words:
            word.release()
        page.close()
        device.close()
        wire.close_all(fds)


# ---- administration ---------------------------------------------------------------------------------------------------


def test_disable_and_enable(live: RunningDaemon) -> None:
    """An administrator's verbs go through real commands; an open portal reopens at its client's request."""
    with live.connect() as client:
        portal = open_wq(client, "dsa0/wq0.1")["portal"]
        client.request("disable_wq", wq="dsa0/wq0.1")
        assert code_of(lambda: open_wq(client, "dsa0/wq0.1")) in ("ENXIO", "ENODEV")
        assert code_of(lambda: client.request("reopen", portal=portal)) in ("ENXIO", "ENODEV")
        client.request("enable_wq", wq="dsa0/wq0.1")
        client.request("reopen", portal=portal)
        client.request("disable_device", device="dsa0")
        assert client.request("list")[0]["devices"][0]["state"] == "disabled"
        client.request("enable_device", device="dsa0")
        assert client.request("list")[0]["devices"][0]["state"] == "enabled"


def test_registers_by_name(live: RunningDaemon) -> None:
    """Decoded through the spec, all of them, in one frame."""
    with live.connect() as client:
        found = client.request("regs", device="dsa0")[0]["registers"]
    assert found["GENSTS"]["fields"]["state"] == "ENABLED"
    assert found["VERSION"]["value"] == "0x00000200"
    assert found["WQCFG[1]"]["fields"]["mode"] == "SHARED"


# ---- idxdd run --------------------------------------------------------------------------------------------------------


def run(*command: str, instance: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*RUN, "--instance", instance, "--", *command], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 37", 37), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_run_passes_the_status_through(instance: str, script: str, code: int) -> None:
    """128 + n for a signal, as a shell does it."""
    assert run("sh", "-c", script, instance=instance).returncode == code


def test_run_gives_the_command_a_device(instance: str) -> None:
    """The environment names the private socket; nothing else is needed."""
    script = (
        "from idxdd.control.client import connect\nimport json\nwith connect() as c: print(json.dumps(c.request('list')[0]))"
    )
    done = run(sys.executable, "-c", script, instance=instance)
    assert json.loads(done.stdout)["devices"][0]["state"] == "enabled", done.stderr


def test_a_file_in_the_users_directory_is_not_the_daemons(tmp_path: Path) -> None:
    """`python -m` looks for modules in the current directory first: a script named signal.py ran inside the daemon."""
    (tmp_path / "signal.py").write_text('raise SystemExit("shadowed")\n')
    command = [str(Path(sys.executable).with_name("idxdd")), "run", "--", "true"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "shadowed" in done.stderr) == (0, False), done.stderr


def test_run_says_what_cannot_be_run(instance: str, tmp_path: Path) -> None:
    """127 and 126 as a shell; a bad configuration as the daemon would."""
    assert run("/nowhere/command", instance=instance).returncode == ExitCode.COMMAND_NOT_FOUND
    plain = tmp_path / "plain"
    plain.touch()
    assert run(str(plain), instance=instance).returncode == ExitCode.COMMAND_NOT_EXECUTABLE
    done = subprocess.run(
        [*RUN, "--instance", instance, "--config", "/nowhere", "--", "true"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == ExitCode.BAD_CONFIGURATION
    assert done.stderr.count("\n") == 1, done.stderr


def start_run(instance: str, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*RUN, "--instance", instance, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


WAIT = ["sh", "-c", "trap 'exit 9' INT; echo $IDXDD_SOCKET; while :; do sleep 0.05; done"]


def test_ctrl_c_reaches_the_command_and_everything_is_removed(instance: str) -> None:
    """The terminal signals the whole foreground group: the command decides, the daemon ends afterwards."""
    process = start_run(instance, *WAIT)
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    assert os.path.exists(path)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(15) == 9
    assert not os.path.exists(os.path.dirname(path))
    process.communicate()


def test_sigterm_is_passed_on(instance: str) -> None:
    """A service manager ends the runner: the command gets it, everything is removed."""
    process = start_run(instance, *WAIT)
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 143
    assert not os.path.exists(path)
    process.communicate()


def test_a_killed_runner_leaves_nothing(instance: str) -> None:
    """kill -9 of the runner: daemon and command get SIGTERM, and the daemon removes its names. The command used to live on."""
    command = ["sh", "-c", "echo $IDXDD_SOCKET; exec sleep 30 >/dev/null"]
    process = subprocess.Popen(
        [*RUN, "--instance", instance, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    wait_until(lambda: len(child_pids(process.pid)) == 2, 15, "daemon and command run")
    children = child_pids(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not os.path.exists(os.path.dirname(path)), 10, "the daemon has removed the directory")
    wait_until(lambda: not names.names_left(instance), 10, "the daemon has removed its names")
    wait_until(lambda: not any(alive(pid) for pid in children), 10, "the command has ended")


def test_the_daemon_of_a_run_dies(instance: str) -> None:
    """The command gets its named error and ends by itself; the runner says what happened and passes the status through."""
    script = (
        "import sys, os, signal\n"
        "from idxdd.control.client import connect, DeviceGone\n"
        "with connect() as c:\n"
        "    os.kill(c.hello['pid'], signal.SIGKILL)\n"
        "    try: c.request('list')\n"
        "    except DeviceGone: sys.exit(21)\n"
    )
    done = run(sys.executable, "-c", script, instance=instance)
    assert done.returncode == 21, done.stderr
    names.sweep_instance(os.geteuid(), instance)


def test_absent_after_the_end(instance: str, tmp_path: Path) -> None:
    """A client that comes too late is told so at once."""
    daemon = RunningDaemon(instance, tmp_path).start()
    assert daemon.stop() == 0
    with pytest.raises(DaemonAbsent):
        daemon.connect()


def test_readiness_is_told_to_systemd(instance: str, tmp_path: Path) -> None:
    """Type=notify: READY=1 when clients can connect, STOPPING=1 at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(15)
        daemon = RunningDaemon(instance, tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}).start(wait=False)
        assert b"READY=1" in notify.recv(1024)
        assert stats(daemon)["devices"]
        assert daemon.stop() == 0
        assert notify.recv(1024) == b"STOPPING=1"


@pytest.mark.parametrize("kind", ["start", "idle"])
def test_it_is_quick_to_start_and_idle_when_idle(daemon: RunningDaemon, kind: str) -> None:
    """No numbers of a benchmark here, only what would be a mistake: a busy loop, or an import that takes seconds."""
    assert daemon.process is not None
    if kind == "start":
        assert cpu_s(daemon.pid) < 2
        return
    irq = daemon.irq_pid()
    before = cpu_s(daemon.pid) + cpu_s(irq)
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > 1, 5)
    assert cpu_s(daemon.pid) + cpu_s(irq) - before < 0.1


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
