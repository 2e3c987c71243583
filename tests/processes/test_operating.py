"""Operating a daemon: reload by signal and by verb, roles and lists, a client that asks too often, settings shown."""

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RunningDaemon
from waiting import wait_until

from idxdd.control import protocol
from idxdd.control.client import ControlClient
from idxdd.control.errors import DaemonAbsent, RequestError
from idxdd.control.exitcodes import ExitCode

OTHER_UID, OTHER_GID, THEIR_GROUP = 54321, 54322, 54323


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "idxdd.toml"


def test_a_reload_changes_what_it_can(instance: str, tmp_path: Path, settings: Path) -> None:
    """By SIGHUP and by verb: limits and lists at once, also for who is connected; the rest is refused by name."""
    settings.write_text("[limits]\nportals_max = 4\n")
    running = RunningDaemon(instance, tmp_path, "--settings", str(settings)).start()
    try:
        with running.connect() as client:
            assert client.request("reload")[0] == {"changed": [], "refused": []}
            settings.write_text('[limits]\nportals_max = 1\n[daemon]\nconfig = "/elsewhere"\n[wq."dsa0/wq0.1"]\nusers = [1]\n')
            assert client.request("reload")[0] == {
                "changed": ["limits.portals_max", "wq.dsa0/wq0.1"],
                "refused": ["daemon.config"],
            }
            client.request("open", wq="dsa0/wq0.1")[1].clear()
            with pytest.raises(RequestError, match="1 portals open"):
                client.request("open", wq="dsa0/wq0.1")
            settings.write_text("[limits]\nportals_max = 2\nnonsense = 1\n")
            os.kill(running.pid, signal.SIGHUP)
            wait_until(lambda: "nothing changed" in running.said, 10, "the bad file is refused")
            settings.write_text("[limits]\nportals_max = 2\n")
            os.kill(running.pid, signal.SIGHUP)
            wait_until(lambda: "reload, SIGHUP: limits.portals_max" in running.said, 10, "it is reloaded")
            client.request("open", wq="dsa0/wq0.1")
        assert "daemon.config is not changed: it needs a restart" in running.said
    finally:
        assert running.stop() == 0, running.said


def test_a_client_that_asks_too_often_waits(instance: str, tmp_path: Path) -> None:
    """It alone; another client is served at once meanwhile."""
    running = RunningDaemon(instance, tmp_path, environ={"IDXDD_CALLS_PER_S_MAX": "50"}).start()
    try:
        with running.connect() as eager, running.connect() as other:
            began = time.monotonic()
            for _ in range(60):
                eager.request("list")
            assert time.monotonic() - began > 0.15, "50 at once, and a fifth of a second for 10 more"
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                more = pool.submit(lambda: [eager.request("list") for _ in range(40)])
                other.request("list")
                assert not more.done(), "the other one was served while this one waits"
        assert running.said.count("asks more than 50 times a second") == 1
    finally:
        assert running.stop() == 0, running.said


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Where another user may look for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="idxdd-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


ASK = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[4])
from idxdd.control import client
os.setgroups([int(group) for group in sys.argv[3].split(",") if group])
os.setgid(int(sys.argv[5]))
os.setuid(int(sys.argv[6]))
said = []
with client.connect(sys.argv[1]) as connection:
    for op, arguments in json.loads(sys.argv[2]):
        try:
            connection.request(op, **arguments)
            said.append("ok")
        except client.RequestError as error:
            said.append(error.code)
print(json.dumps(said))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_has_the_roles_that_the_lists_give(instance: str, open_directory: Path) -> None:
    """By uid and by supplementary group; what is refused is logged once, with who and what."""
    settings = open_directory / "idxdd.toml"
    settings.write_text(f'[roles]\nkernel_groups = [{THEIR_GROUP}]\n[wq."dsa0/wq0.1"]\ngroups = [{THEIR_GROUP}]\n')
    running = RunningDaemon(instance, open_directory, "--settings", str(settings)).start()
    try:
        os.chmod(running.socket, 0o666)

        def ask(groups: str) -> list[str]:
            ops = [("open", {"wq": f"dsa0/wq0.{number}"}) for number in (0, 1, 2)] + [("disable_wq", {"wq": "dsa0/wq0.3"})] * 3
            arguments = (running.socket, json.dumps(ops), groups, json.dumps(sys.path), OTHER_GID, OTHER_UID)
            command = [sys.executable, "-c", ASK, *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            found: list[str] = json.loads(done.stdout)
            return found

        assert ask("") == ["ok", "EACCES", "EPERM", "EPERM", "EPERM", "EPERM"]
        assert ask(str(THEIR_GROUP)) == ["ok", "ok", "ok", "EPERM", "EPERM", "EPERM"]
        assert running.said.count(f"uid {OTHER_UID}") == running.said.count("refused: uid")
        assert running.said.count("may not disable_wq") == 1
        assert running.said.count("may not open dsa0/wq0.1") == 1
    finally:
        assert running.stop() == 0, running.said


def test_a_client_has_so_many_descriptors_in_flight(instance: str, tmp_path: Path) -> None:
    """The engine's queues are everybody's: what one client's portals have slots for is limited, beside their number."""
    running = RunningDaemon(instance, tmp_path, environ={"IDXDD_IN_FLIGHT_MAX": "500"}).start()
    try:
        with running.connect() as one, running.connect() as other:
            one.request("open", wq="dsa0/wq0.2")[1].clear()  # a channel of 256
            portal = one.request("open", wq="dsa0/wq0.1")[0]["portal"]
            with pytest.raises(RequestError, match="384 descriptors in flight and 128 of another portal"):
                one.request("open", wq="dsa0/wq0.1")
            other.request("open", wq="dsa0/wq0.1")
            one.request("close", portal=portal)
            one.request("open", wq="dsa0/wq0.1")
    finally:
        assert running.stop() == 0, running.said


def test_a_socket_that_was_removed(instance: str, tmp_path: Path) -> None:
    """By a tidy-up of /tmp: who is connected goes on, who comes is told what to do, and the daemon ends as it should."""
    running = RunningDaemon(instance, tmp_path).start()
    try:
        with running.connect() as client:
            os.unlink(running.socket)
            with pytest.raises(DaemonAbsent, match="start one with"):
                running.connect()
            client.request("list")
            client.request("open", wq="dsa0/wq0.1")
        Path(running.socket).write_text("somebody else's")
    finally:
        assert running.stop() == 0, running.said
    assert Path(running.socket).read_text() == "somebody else's", "what is not ours is not removed"


def test_two_administrators_at_once(instance: str, tmp_path: Path) -> None:
    """Each load is whole: what is there in the end is one of the two configurations, never some of each."""
    running = RunningDaemon(instance, tmp_path).start()
    try:
        with running.connect() as first, running.connect() as second:
            (device,) = first.request("save_config")[0]["config"]

            def other(size: int) -> list[dict[str, Any]]:
                made = json.loads(json.dumps(device))
                for group in made["groups"]:
                    for wq in group.get("grouped_workqueues", []):
                        wq["size"] = size
                        wq["threshold"] = min(wq.get("threshold", 0), size)
                return [made]

            def load(client: ControlClient, size: int) -> list[str]:
                said = []
                for _ in range(6):
                    try:
                        answer = client.request("load_config", config=other(size), force=True, enable=True)[0]
                        said.append("applied" if answer["applied"] else "problems")
                    except RequestError as error:
                        said.append(error.code)
                return said

            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                outcomes = [pool.submit(load, client, size) for client, size in ((first, 8), (second, 16))]
                said = [word for outcome in outcomes for word in outcome.result(60)]
            assert set(said) <= {"applied", "EBUSY"}, said
            assert "applied" in said
            (left,) = first.request("save_config")[0]["config"]
            sizes = {wq["size"] for group in left["groups"] for wq in group.get("grouped_workqueues", [])}
            assert sizes in ({8}, {16})
    finally:
        assert running.stop() == 0, running.said


def test_a_daemon_that_dies_while_it_is_configured(instance: str, tmp_path: Path) -> None:
    """The next one has the configuration of its file, whole: nothing of a load that was under way."""
    running = RunningDaemon(instance, tmp_path).start()
    with running.connect() as client:
        before = client.request("save_config")[0]["config"]
        changed = json.loads(json.dumps(before))
        for wq in changed[0]["groups"][0]["grouped_workqueues"]:
            wq["name"] = "changed"
        payload = protocol.encode_request(77, "load_config", {"config": changed, "force": True, "enable": True})
        client._sock.send(payload)  # and do not wait for the answer
        running.kill()
    running.start()
    try:
        with running.connect() as client:
            assert client.request("save_config")[0]["config"] == before
    finally:
        assert running.stop() == 0, running.said


def _ask_for_ever(sock: socket.socket, question: bytes) -> None:
    for _ in range(100_000):
        sock.send(question)


def test_a_client_that_never_reads_is_put_off(instance: str, tmp_path: Path) -> None:
    """Its answers fill its socket, then a few frames here, then it is disconnected; others are served all the time."""
    running = RunningDaemon(instance, tmp_path).start()
    try:
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        deaf.connect(running.socket)
        deaf.settimeout(20)
        deaf.send(protocol.encode_request(0, "hello", {}))
        question = protocol.encode_request(1, "list", {})
        with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
            _ask_for_ever(deaf, question)
        deaf.close()
        with running.connect() as client:
            wait_until(lambda: client.request("stats")[0]["sessions"] == 1, 10, "it is gone")
    finally:
        assert running.stop() == 0, running.said


def show(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "idxdd", "config", "show", *options]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False)


def test_settings_are_shown_with_their_origin(settings: Path) -> None:
    """Before a daemon is started with them, by the same rules."""
    settings.write_text("[limits]\nportals_max = 4\n")
    done = show("--origin", "--settings", str(settings), IDXDD_BUFFERS_MAX="9")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["limits.portals_max"].endswith(f"= 4  # file {settings}")
    assert lines["limits.buffers_max"].endswith("= 9  # environment IDXDD_BUFFERS_MAX")
    assert lines["limits.sessions_max"].endswith("# default")
    found = json.loads(show("--json", "--settings", str(settings)).stdout)
    assert (found["schema"], found["settings"]["limits.portals_max"]["value"]) == (1, 4)
    settings.write_text("[limits]\nportals = 4\n")
    wrong = show("--settings", str(settings))
    assert (wrong.returncode, "portals is no setting" in wrong.stderr) == (ExitCode.USAGE, True)
