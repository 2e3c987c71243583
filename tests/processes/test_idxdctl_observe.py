"""idxdctl's eyes on a real daemon: registers, clients, rates, metrics, the doctor, and the assertion a CI job ends with."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ctl import Ctl
from ctl import ctl as ctl  # fixtures
from ctl import fresh as fresh
from ctl import live as live
from daemons import RunningDaemon
from waiting import wait_until

import idxd_client
from idxd_client import ClosedReason, PortalClosed
from idxdd.control.exitcodes import ExitCode

pytestmark = pytest.mark.xdist_group("idxdctl-observe")
WQ = "dsa0/wq0.1"
READS = ["stats", "regs", "swerr", "clients", "doctor", "assert --min-ops 0", "top --once -i 0.05"]


@pytest.mark.parametrize("command", READS)
def test_every_read_has_json_with_a_schema(ctl: Ctl, command: str) -> None:
    """Programs read these; they look at the version first."""
    done = ctl(*command.split(), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["schema"], found["command"]) == (1, command.split()[0])


@pytest.mark.parametrize("command", READS)
def test_every_read_has_text(ctl: Ctl, command: str) -> None:
    """For people, without an escape sequence where there is no terminal."""
    done = ctl(*command.split())
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "\x1b" not in done.out


def test_registers_are_chosen_and_decoded(ctl: Ctl) -> None:
    """A register, one entry of a table, a whole table; a misspelt one gets a suggestion."""
    assert ctl("regs", "GENSTS").out.split() == ["GENSTS", "0x00000001"]
    assert "state = ENABLED" in ctl("regs", "gensts", "--decode").out
    assert len(json.loads(ctl("regs", "WQCFG", "--json").out)["registers"]) == 8
    assert list(json.loads(ctl("regs", "WQCFG[1]", "--json").out)["registers"]) == ["WQCFG[1]"]
    wrong = ctl("regs", "GENSTAS")
    assert (wrong.code, "GENSTS" in wrong.err) == (ExitCode.USAGE, True)


def test_a_software_error_is_decoded(live: RunningDaemon, ctl: Ctl) -> None:
    """A posted write that a full dedicated WQ drops goes to SWERR, also while the event log is on."""
    assert "no software error" in ctl("swerr").out
    with idxd_client.connect(live.socket) as connection, connection.open_user("dsa0/wq0.0") as queue:
        array = connection.array(1)
        array[0] = idxd_client.Descriptor.noop()
        slot = bytes(array.slots[0])
        assert any(not queue._portal.post(slot) for _ in range(100_000)), "32 entries, faster than they are worked off"
        wait_until(lambda: json.loads(ctl("swerr", "--json").out)["devices"][0]["valid"], 10, "SWERR was saved")
    (error,) = json.loads(ctl("swerr", "--json").out)["devices"]
    fields = error["fields"]
    assert (fields["desc_valid"], fields["wq_idx"], fields["error"]) == (1, 0, 0x53)
    assert any(line.startswith("  ") for line in ctl("swerr").out.splitlines())
    assert re.search(r'"errors":"[0-9a-f,]{71}"', ctl("list", "--json").out)


def test_a_bad_record_address_is_logged_not_latched(live: RunningDaemon, ctl: Ctl) -> None:
    """0x1B has no record to be reported in: with the event log on it goes there, and the driver takes the entry away."""
    logged = "Device error 0x1b"
    with idxd_client.connect(live.socket) as connection, connection.open(WQ) as queue:
        array = connection.array(1)
        array[0] = idxd_client.Descriptor.noop()
        slot = bytearray(array.slots[0])
        slot[8:16] = (0x1001).to_bytes(8, "little")
        array.slots[0][:] = bytes(slot)
        queue.submit_slot(array.slots[0], 5.0)
        wait_until(lambda: logged in live.said, 10, "the driver's log line")
    (error,) = json.loads(ctl("swerr", "--json").out)["devices"]
    assert error["fields"]["error"] != 0x1B


@pytest.mark.parametrize("wq", [WQ, "dsa0/wq0.2"], ids=["user", "kernel"])
def test_a_kicked_client_was_told_that_its_owner_closed_the_portal(live: RunningDaemon, ctl: Ctl, wq: str) -> None:
    """Who takes a client off is an administrator: REVOKED, on a user and on a kernel work queue."""
    with idxd_client.connect(live.socket) as connection, connection.open(wq) as queue:
        queue.noop()
        clients = json.loads(ctl("clients", "--json").out)["clients"]
        (pasid,) = [one["pasid"] for one in clients if (one["pid"], one["wqs"]) == (os.getpid(), [wq])]
        assert ctl("kick", f"pasid:{pasid}").code == 0
        with pytest.raises(PortalClosed) as closed:
            queue.noop()
        assert closed.value.reason is ClosedReason.REVOKED


def test_clients_are_named_and_can_be_kicked(live: RunningDaemon, ctl: Ctl) -> None:
    """Process, user, work queue; the kicked one gets a named error and its things are given back."""
    program = (
        "import idxd_client, sys\n"
        "with idxd_client.connect(sys.argv[1]) as c, c.open('dsa0/wq0.1') as q:\n"
        "    q.noop(); print('open', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    try: q.noop()\n"
        "    except idxd_client.IdxdError as error: print(error, flush=True)\n"
    )
    command = [sys.executable, "-c", program, live.socket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdin
        assert victim.stdout
        assert victim.stdout.readline() == "open\n"
        (client,) = [one for one in json.loads(ctl("clients", "--json").out)["clients"] if one["pid"] == victim.pid]
        assert (client["uid"], client["wqs"], client["completed"]) == (os.geteuid(), [WQ], 1)
        assert str(victim.pid) in ctl("clients").out
        assert ctl("kick", f"pasid:{client['pasid']}").code == 0
        wait_until(lambda: str(victim.pid) not in ctl("clients").out, 10, "the client is gone")
        victim.stdin.write("\n")
        victim.stdin.flush()
        assert victim.stdout.readline() == "dsa0/wq0.1: submit: the portal is closed: revoked\n", "it was not its owner"
    again = ctl("kick", str(victim.pid))
    assert (again.code, "no client" in again.err) == (ExitCode.FAILED, True)
    assert ctl("kick", "everybody").code == ExitCode.USAGE


def test_the_assertion_counts_what_was_done(live: RunningDaemon, ctl: Ctl) -> None:
    """A job that quietly used memcpy must not pass."""
    before = json.loads(ctl("assert", "--min-ops", 0, "--wq", WQ, "--json").out)["ops"]
    with idxd_client.connect(live.socket) as connection, connection.open(WQ) as queue, connection.alloc(8192) as buffer:
        queue.memmove(buffer.region(4096, 4096), buffer.region(0, 4096))
    assert ctl("assert", "--min-ops", before + 1, "--wq", WQ, "--min-bytes", "4K").code == 0
    failed = ctl("assert", "--min-ops", before + 1000, "--wq", WQ)
    assert (failed.code, "did not use the device" in failed.err) == (ExitCode.FAILED, True)
    assert ctl("assert", "--wq", "dsa0/wq0.9").code == ExitCode.FAILED


def test_top_shows_rates(live: RunningDaemon, ctl: Ctl) -> None:
    """Of the interval, not since the start."""
    program = (
        "import idxd_client, sys\nwith idxd_client.connect(sys.argv[1]) as c, c.open('dsa0/wq0.1') as q:\n    while 1: q.noop()"
    )
    with subprocess.Popen([sys.executable, "-c", program, live.socket]) as busy:
        try:
            wait_until(lambda: str(busy.pid) in ctl("clients").out, 10, "it is connected")
            found = json.loads(ctl("top", "--once", "--json", "-i", 0.5).out)
        finally:
            busy.kill()
    (wq,) = [one for one in found["wqs"] if one["wq"] == WQ]
    (client,) = [one for one in found["clients"] if one["pid"] == busy.pid]
    assert 0 < wq["completed_per_s"] < wq["completed"] * 10
    assert client["completed_per_s"] > 0
    assert ctl("top", "--json").code == ExitCode.USAGE


SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="[^"\n]*")(,[a-z]+="[^"\n]*")*\})? [0-9.]+')


def test_metrics_are_prometheus_text(ctl: Ctl) -> None:
    """Each family has its help and type, each sample parses, no sample is there twice."""
    lines = ctl("metrics").out.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)
    assert 'idxdd_wq_completed_total{wq="dsa0/wq0.1"}' in "\n".join(samples)
    families = {re.split(r"[{ ]", line)[0] for line in samples}
    assert families <= {line.split()[2] for line in lines if line.startswith("# TYPE")}


def test_metrics_are_served_on_a_socket(live: RunningDaemon, tmp_path: Path) -> None:
    """One scrape after the other; nonsense and silence end that connection only; nothing is left behind."""
    path = tmp_path / "metrics"
    command = [sys.executable, "-m", "idxdctl.main", "metrics", "--listen", str(path), "--socket", live.socket]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        try:
            assert server.stderr
            assert b"metrics at" in server.stderr.readline()
            assert scrape(path, b"x" * 10000).startswith(b"HTTP/1.0 405")
            answer = scrape(path, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.0 200 OK")
            assert b"idxdd_wq_completed_total" in answer
        finally:
            server.terminate()
        assert server.wait(10) == 0
    assert not path.exists()


def scrape(path: Path, request: bytes) -> bytes:
    found = b""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(request)
        try:
            while chunk := sock.recv(65536):
                found += chunk
        except ConnectionResetError:  # it did not read all of what we said
            pass
    return found


def test_reload_says_what_changed(ctl: Ctl) -> None:
    """Nothing did, here; tests/processes/test_operating.py has the rest."""
    assert "changed: nothing" in ctl("reload").err
    assert json.loads(ctl("reload", "--json").out)["refused"] == []


def test_the_doctor_finds_an_absent_daemon(ctl: Ctl, tmp_path: Path) -> None:
    """Its advice is a command."""
    done = ctl("doctor", "--socket", tmp_path / "nobody")
    assert "idxdd serve" in done.out
    assert "systemctl start" in done.out
